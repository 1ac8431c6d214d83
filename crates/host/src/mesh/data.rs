//! What comes on a link: judged, given to who listens here, and sent on.
//!
//! # Invariants
//! - Nothing that comes on a link is recorded here or answered with a client's rights: it is offered to live listeners
//!   and goes on by its envelope alone. What is sent to be kept is [`mirror`](super::mirror)'s.
//! - What a judgement was is kept for the same envelope and subject until anything changes that it could depend on.
//! - A refusal is counted by its reason, and told once a while.
//!
//! # Cost
//! A message whose like came before costs one look-up and what its receivers cost; nothing waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use door::{Class, Fabric, Group, KEEPS_AHEAD, KEEPS_UNTAKEN, NOBODY, Parcel, Spread, Taker, Tracer, Way};
use event::{Headers, Subject};
use link::mesh::{Ended, Frame, Letter, Opened};
use mesh::envelope::Envelope;
use mesh::names::{Name, NodeId};
use mesh::node::{Input, Onward, Refusal};
use mesh::plan::{LinkKind, LinkPlan};
use mesh::wire::Note;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::body::{Body, Conn};
use super::far::{Led, group, hops};
use super::replies::Asker;
use super::traces::Relay;
use super::within::told;

/// Judgements that are kept for one link. Inboxes come and go: when it is full, it begins anew.
const KEPT_MAX: usize = 8_192;

/// Bytes of what they are kept by, for one link: ten times what those of usual envelopes have.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// How often the log says that a link brings what is refused.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(10);

/// How long the reader of a link pauses for receivers that are full but make progress, at most.
const PRESSED_PAUSE: Duration = Duration::from_millis(2);

/// Bytes of messages in one batch from which on the reader pauses for receivers.
const MUCH_BYTES: usize = 16 << 10;

/// Carries a link until it ends; why it did.
pub(super) async fn carry(
    body: &Arc<Body>,
    opened: Opened,
    plan: &LinkPlan,
    peer: NodeId,
    dialled: bool,
    end: &CancellationToken,
) -> Ended {
    let number = body.connection_number();
    let (out, mut reader) = opened.start();
    let (link, counts) = (plan.id.clone(), Default::default());
    let (messages, refused) = counts;
    let bounds = Arc::default();
    let conn =
        Conn { number, link: link.clone(), peer: peer.clone(), out: Arc::clone(&out), messages, refused, bounds };
    let conn = Arc::new(conn);
    body.joined(Arc::clone(&conn));
    body.tell_and_wait(Input::Up { conn: number, link, peer, dialled }).await;
    let class = if plan.kind == LinkKind::Peer { Class::Peer } else { Class::Remote };
    let mut intake = Intake::new(Arc::clone(body), conn, class);
    let ended = loop {
        let each = &mut |frame: Frame<'_>| intake.take(frame);
        tokio::select! {
            read = reader.batch(each) => if let Err(ended) = read {
                break ended;
            },
            () = end.cancelled() => out.close("the link is planned no more"),
        }
        intake.flush().await;
        for note in std::mem::take(&mut intake.notes) {
            body.tell(Input::Heard { conn: number, note }).await;
        }
        if let Some(why) = intake.broken {
            out.close(why);
        }
    };
    body.left(number);
    body.tell(Input::Down { conn: number }).await;
    ended
}

/// What a judgement was.
struct Kept {
    epoch: u64,
    /// Where it goes; or why it goes nowhere.
    way: Result<Arc<Way>, Refusal>,
    /// Why destinations of it were lost.
    lost: Vec<Refusal>,
    /// Who awaits answers to it; `None`: it is not for anybody here.
    asker: Option<Asker>,
    /// Notes that it is refused, where it is traced.
    relay: Option<Box<Relay>>,
}

/// What comes on one link.
struct Intake {
    body: Arc<Body>,
    conn: Arc<Conn>,
    class: Class,
    /// By the bytes of the envelope and the subject.
    kept: HashMap<Box<[u8]>, Arc<Kept>>,
    kept_bytes: usize,
    key: Vec<u8>,
    /// The last of them: the next message is often alike.
    last: Option<(Box<[u8]>, Arc<Kept>)>,
    notes: Vec<Note>,
    first: Vec<Arc<dyn Taker>>,
    batch_bytes: usize,
    /// Not yet added to the fabric's counts.
    taken: u64,
    refused: u64,
    told: Option<Instant>,
    broken: Option<&'static str>,
}

impl Intake {
    fn new(body: Arc<Body>, conn: Arc<Conn>, class: Class) -> Self {
        Intake {
            body,
            conn,
            class,
            kept: HashMap::new(),
            kept_bytes: 0,
            key: Vec::new(),
            last: None,
            notes: Vec::new(),
            first: Vec::new(),
            batch_bytes: 0,
            taken: 0,
            refused: 0,
            told: None,
            broken: None,
        }
    }

    fn take(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Message(letter) => self.message(&letter),
            Frame::Note(bytes) => match Note::decode(bytes) {
                Ok(note) => self.notes.push(note),
                Err(_) => self.broken = Some("a note cannot be read"),
            },
            Frame::Keep(letter) => self.keep(&letter),
            Frame::Kept(bytes) => self.body.custody.kept(&self.body, &self.conn, bytes),
            _ => self.broken = Some("a frame that is not for a link"),
        }
    }

    fn message(&mut self, letter: &Letter<'_>) {
        self.body.counts.messages.fetch_add(1, Ordering::Relaxed);
        self.body.counts.message_bytes.fetch_add(letter.payload.len() as u64, Ordering::Relaxed);
        if !is_clean(letter) {
            self.body.counts.malformed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let kept = self.judgement(letter);
        let way = match &kept.way {
            Ok(way) => way,
            Err(why) => {
                if let Some(relay) = &kept.relay {
                    relay.refused(&parcel(letter), *why);
                }
                return self.refuse(*why);
            }
        };
        self.conn.messages.fetch_add(1, Ordering::Relaxed);
        kept.lost.iter().for_each(|why| self.body.counts.refuse(*why, 1));
        if let Some(asker) = kept.asker.as_ref().filter(|_| !letter.reply.is_empty()) {
            self.body.replies.awaited(letter.reply, asker);
        }
        let first = &mut self.first;
        let (taken, refused) = way.offer(&parcel(letter), NOBODY, &mut |taker| first.push(Arc::clone(taker)));
        self.taken += taken;
        self.refused += refused;
        self.batch_bytes += letter.payload.len() + letter.head.len();
    }

    fn refuse(&mut self, why: Refusal) {
        self.body.counts.refuse(why, 1);
        self.conn.refused.fetch_add(1, Ordering::Relaxed);
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            warn!(peer = %self.conn.peer, link = %self.conn.link, why = why.word(), "a message of a peer is refused");
        }
    }

    /// What is to be done with a message: as before, or judged anew.
    fn judgement(&mut self, letter: &Letter<'_>) -> Arc<Kept> {
        let epoch = self.body.epoch();
        let live = &self.body.live;
        let holds = |kept: &Kept| kept.epoch == epoch && kept.way.as_ref().map_or(true, |way| live.is_current(way));
        self.key.clear();
        self.key.extend_from_slice(letter.head);
        self.key.extend_from_slice(letter.subject.as_bytes());
        if let Some((key, kept)) = &self.last
            && **key == *self.key
            && holds(kept)
        {
            return Arc::clone(kept);
        }
        let found = self.kept.get(&*self.key).filter(|kept| holds(kept)).cloned();
        let kept = found.unwrap_or_else(|| {
            let kept = Arc::new(self.judge(letter, epoch));
            if self.kept.len() >= KEPT_MAX || self.kept_bytes >= KEPT_BYTES_MAX {
                self.kept.clear();
                self.kept_bytes = 0;
            }
            self.kept_bytes += self.key.len();
            self.kept.insert(self.key.as_slice().into(), Arc::clone(&kept));
            kept
        });
        self.last = Some((self.key.as_slice().into(), Arc::clone(&kept)));
        kept
    }

    fn judge(&self, letter: &Letter<'_>, epoch: u64) -> Kept {
        let refused = |why, relay| Kept { epoch, way: Err(why), lost: Vec::new(), asker: None, relay };
        let (Ok(envelope), Ok(_)) = (Envelope::decode(letter.head), Subject::parse(letter.subject)) else {
            return refused(Refusal::Shape, None);
        };
        match self.body.ask(|node| node.judge(self.conn.number, &envelope, letter.subject)) {
            Ok(onward) => {
                let relay = self.relay(&envelope, &onward.lost);
                let mut way = self.way(letter.subject, &onward, &envelope);
                way.tracer = relay.map(|relay| Arc::new(relay) as Arc<dyn Tracer>);
                let way = Ok(Arc::new(way));
                let asker = self.asker(&envelope).filter(|_| !onward.here.is_empty());
                let lost = onward.lost.into_iter().map(|(_, why)| why).collect();
                Kept { epoch, way, lost, asker, relay: None }
            }
            Err(why) => refused(why, self.relay(&envelope, &[]).map(Box::new)),
        }
    }

    /// Who notes what becomes of a message; `None`: it is not traced.
    fn relay(&self, envelope: &Envelope, lost: &[(Name, Refusal)]) -> Option<Relay> {
        let (traces, conn) = (&self.body.traces, &*self.conn);
        envelope.traced.then(|| Relay::new(traces, conn, envelope.segment.as_ref(), lost))
    }

    /// Who awaits answers to a message.
    fn asker(&self, envelope: &Envelope) -> Option<Asker> {
        match (envelope.origin == self.conn.peer, envelope.origin.domain == self.body.id.domain) {
            (true, true) => Some(Asker::Peer(self.conn.number)),
            (_, false) => Some(Asker::Domain(envelope.origin.domain.clone())),
            // It came by the hub, which hears of interests first.
            (false, true) => None,
        }
    }

    /// The way of a message: its listeners here, and the links that it goes on by.
    fn way(&self, subject: &str, onward: &Onward, envelope: &Envelope) -> Way {
        let led = Led::by(subject, false);
        let near = self.body.live.near(subject, self.class);
        let mut direct = if onward.here.direct { near.direct } else { Vec::new() };
        direct.extend(hops(&self.body, &onward.direct, &led));
        let mut groups: Vec<(Arc<str>, Group)> = Vec::new();
        // One who went ahead until now takes it as one who keeps what nobody takes: it was on its way.
        let goes = |queue: &str| near.groups.iter().any(|(name, _)| name.as_deref() == Some(queue));
        let late = onward.here.queues.contains(KEEPS_AHEAD) && !goes(KEEPS_AHEAD);
        for (queue, members) in near.groups {
            let meant = |queue: &Arc<str>| onward.here.queues.contains(queue) || (late && **queue == *KEEPS_UNTAKEN);
            if let Some(queue) = queue.filter(meant) {
                let members = told(&queue, members, &self.body.id.domain, envelope);
                groups.push((queue, members));
            }
        }
        for far in &onward.groups {
            let beyond = group(&self.body, far, &led);
            match groups.iter_mut().find(|(queue, _)| *queue == far.queue) {
                Some((_, members)) => {
                    members.far.extend(beyond.far);
                    members.everywhere.extend(beyond.everywhere);
                }
                None => groups.push((Arc::clone(&far.queue), beyond)),
            }
        }
        let mut way = Way::new(direct, groups.into_iter().map(|(_, group)| group).collect(), near.stamp);
        way.from = self.class;
        way.spread = if onward.every { Spread::Every } else { Spread::One };
        if onward.here.direct {
            way.repeaters = near.repeaters;
        }
        way
    }

    fn keep(&mut self, letter: &Letter<'_>) {
        let (body, conn) = (Arc::clone(&self.body), Arc::clone(&self.conn));
        if !is_clean(letter) || Subject::parse(letter.subject).is_err() {
            body.counts.malformed.fetch_add(1, Ordering::Relaxed);
        } else if let Err(why) = body.custody.keep(&body, &conn, letter) {
            self.refuse(why);
        }
    }

    /// Has sent what receivers took, and pauses for a moment where much came and they are full.
    async fn flush(&mut self) {
        for taker in &self.first {
            taker.flush();
        }
        if self.taken + self.refused > 0 {
            self.body.live.count(self.taken, self.refused);
            (self.taken, self.refused) = (0, 0);
        }
        let much = std::mem::take(&mut self.batch_bytes) >= MUCH_BYTES;
        if much {
            let pressed = |first: &[Arc<dyn Taker>]| first.iter().any(|taker| taker.is_pressed());
            if pressed(&self.first) || self.last.as_ref().is_some_and(|(_, kept)| is_pressed(kept)) {
                sleep(PRESSED_PAUSE).await;
            }
        }
        self.first.clear();
    }
}

fn is_pressed(kept: &Kept) -> bool {
    kept.way.as_ref().is_ok_and(|way| way.hops().any(|hop| hop.taker.is_pressed()))
}

fn parcel<'a>(letter: &Letter<'a>) -> Parcel<'a> {
    let Letter { head: _, subject, reply, status, headers, payload } = *letter;
    Parcel { subject, reply, status, headers, payload }
}

/// Whether reply and headers are such that they can be handed to clients of any protocol. The subject is looked at when
/// the message is judged.
fn is_clean(letter: &Letter<'_>) -> bool {
    let status = letter.status.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    let headers = letter.headers.is_empty() || Headers::from_block(Bytes::copy_from_slice(letter.headers)).is_ok();
    let reply = letter.reply.is_empty() || Subject::parse(letter.reply).is_ok();
    status && headers && reply
}

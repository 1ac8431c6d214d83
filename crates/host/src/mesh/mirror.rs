//! Streams of this node that are kept in other domains too, with custody.
//!
//! Each mirror has a durable consumer of its stream for each domain. Its messages are sent in order, a window ahead of
//! what the far side has confirmed; what it confirms is acknowledged. Where an answer stays out, or something was lost
//! on the way, all that is not confirmed is sent anew: the far side takes each once.
//!
//! # Invariants
//! - Nothing is acknowledged that the far side has not recorded.
//! - At most [`WINDOW`] messages, and of those at most [`WINDOW_BYTES`], are under way.
//! - A mirror that does not get on says why, and tries again for ever.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use event::{Pattern, encode_token};
use journal::{Ack, AckPolicy, AckToken, ConsumerConfig, ConsumerError, Delivery, Journal};
use link::mesh::{Letter, Put};
use mesh::names::Name;
use parking_lot::Mutex;
use plan::{Declared, MirrorSpec};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::body::{Body, Conn};
use super::kept::{Head, What, Word};
use crate::entropy::seed;
use crate::federation::feed::Feed;

/// Messages of one mirror that are under way to one domain, at most: a round trip of 20 ms at 50,000 a second.
const WINDOW: usize = 1_024;

/// Bytes of those, at most, but for one message.
const WINDOW_BYTES: usize = 2 << 20;

/// How long an answer may stay out before all is sent anew: longer than any way that is up.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How long a message waits for room on its link, or for a way, before that is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The first pause after something went wrong, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Longer than any answer stays out: it is this task that sends anew, not the consumer.
const ACK_WAIT: Duration = Duration::from_hours(24);

/// What a mirror does, as people read it.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// Everything up to this position is kept there.
    confirmed: u64,
    /// Messages that are not yet.
    owed: u64,
    /// Why it does not get on.
    why: Option<String>,
}

/// One mirror, to one domain.
struct Mirror {
    body: Arc<Body>,
    journal: Arc<dyn Journal>,
    name: String,
    spec: MirrorSpec,
    to: Name,
    standing: Mutex<Standing>,
    end: CancellationToken,
}

/// The mirrors of this node.
#[derive(Default)]
pub(crate) struct Mirrors(Mutex<BTreeMap<(String, Name), Arc<Mirror>>>);

impl Mirrors {
    /// The mirrors as people read them, by name and domain.
    pub(crate) fn rows(&self) -> Value {
        let all = self.0.lock();
        let row = |mirror: &Arc<Mirror>| {
            let Standing { confirmed, owed, why } = mirror.standing.lock().clone();
            let state = if why.is_some() { "waiting" } else { "keeping" };
            let (stream, into) = (&mirror.spec.stream, mirror.stream_there());
            let to = mirror.to.as_str();
            json!({ "name": mirror.name, "stream": stream, "to": to, "as": into, "confirmed": confirmed, "owed": owed,
                "state": state, "why": why })
        };
        all.values().map(row).collect()
    }

    /// Follows what is declared until the node stops.
    pub(super) async fn follow(
        self: Arc<Self>,
        body: Arc<Body>,
        journal: Arc<dyn Journal>,
        mut declared: watch::Receiver<Arc<Declared>>,
    ) {
        declared.mark_changed();
        loop {
            tokio::select! {
                () = body.end.cancelled() => return,
                changed = declared.changed() => if changed.is_err() {
                    return;
                },
            }
            let now = Arc::clone(&declared.borrow_and_update());
            self.want(&body, &journal, now.mirrors());
        }
    }

    pub(super) fn want(&self, body: &Arc<Body>, journal: &Arc<dyn Journal>, declared: &BTreeMap<String, MirrorSpec>) {
        let mut wanted = BTreeMap::new();
        for (name, spec) in declared {
            for to in spec.to.iter().filter_map(|to| Name::parse(to).ok()).filter(|to| *to != body.id.domain) {
                wanted.insert((name.clone(), to), spec);
            }
        }
        let mut all = self.0.lock();
        all.retain(|key, mirror| {
            let stays = wanted.get(key).is_some_and(|spec| **spec == mirror.spec);
            if !stays {
                mirror.end.cancel();
            }
            stays
        });
        for ((name, to), spec) in wanted {
            all.entry((name.clone(), to.clone())).or_insert_with(|| {
                let (body, journal, end) = (Arc::clone(body), Arc::clone(journal), body.end.child_token());
                let (spec, standing) = (spec.clone(), Mutex::default());
                let mirror = Arc::new(Mirror { body, journal, name, spec, to, standing, end });
                tokio::spawn(Arc::clone(&mirror).run());
                mirror
            });
        }
    }
}

impl Mirror {
    /// What the stream is called there.
    fn stream_there(&self) -> &str {
        if self.spec.stream_there.is_empty() { &self.spec.stream } else { &self.spec.stream_there }
    }

    fn consumer(&self) -> String {
        format!("mirror-{}-{}", encode_token(&self.name), encode_token(self.to.as_str()))
    }

    async fn run(self: Arc<Self>) {
        let mut pause = PAUSE_MIN;
        while !self.end.is_cancelled() {
            let began = Instant::now();
            let ended = tokio::select! {
                () = self.end.cancelled() => break,
                ended = self.attempt() => ended,
            };
            let why = ended.err();
            if why.is_some() && self.standing.lock().why != why {
                warn!(mirror = self.name, to = %self.to, why, "a mirror does not get on");
            }
            pause =
                if why.is_none() || began.elapsed() > PAUSE_MAX * 2 { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            if why.is_some() {
                self.standing.lock().why = why;
            }
            tokio::select! {
                () = self.end.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        self.body.custody.forget(&self.name, &self.to);
    }

    /// Makes the consumer and sends until something goes wrong, or was lost. An error is why it does not get on.
    async fn attempt(&self) -> Result<(), String> {
        let (stream, consumer) = (&self.spec.stream, self.consumer());
        let info = match self.journal.consumer_reset(stream, &consumer, None).await {
            Ok(info) => info,
            Err(ConsumerError::NotFound { .. }) => {
                let filters = self.spec.filters.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
                let config = ConsumerConfig {
                    filters,
                    description: format!("Keeps the stream in the domain {}", self.to),
                    ack: AckPolicy::All,
                    ack_wait: ACK_WAIT,
                    ack_pending_max: Some(2 * WINDOW as u64),
                    dead_letter: false,
                    ..ConsumerConfig::new(&consumer)
                };
                info!(mirror = self.name, to = %self.to, "a stream is kept in another domain from now on");
                self.journal.consumer_create(stream, config).await.map_err(|error| error.to_string())?
            }
            Err(error) => return Err(error.to_string()),
        };
        {
            let mut standing = self.standing.lock();
            standing.confirmed = standing.confirmed.max(info.ack_floor);
            standing.owed = info.pending + info.ack_pending;
        }
        let answers = self.body.custody.answers(&self.name, &self.to);
        let run = seed().map_err(|error| error.to_string())?[0];
        let feed = Feed::open(&self.journal, stream, &consumer);
        let (under_way, since) = (VecDeque::new(), Instant::now());
        Sending { mirror: self, run, previous: 0, under_way, bytes: 0, since, conn: None }.go(feed, answers).await
    }
}

/// What is under way of one mirror.
struct Sending<'a> {
    mirror: &'a Mirror,
    run: u64,
    /// The position that was sent last.
    previous: u64,
    under_way: VecDeque<(u64, usize, AckToken)>,
    bytes: usize,
    /// When the far side last confirmed something, or nothing was under way.
    since: Instant,
    /// The connection that they went to.
    conn: Option<Arc<Conn>>,
}

/// Waits for the end of a connection.
async fn over(conn: Option<&Arc<Conn>>) {
    match conn {
        Some(conn) => conn.out.over().await,
        None => std::future::pending().await,
    }
}

impl Sending<'_> {
    async fn go(mut self, mut feed: Feed, mut answers: mpsc::Receiver<Word>) -> Result<(), String> {
        let mut next: Option<Delivery> = None;
        loop {
            while self.has_room()
                && let Some(delivery) = next.take()
            {
                let sent = self.send(&delivery);
                if let Ok(true) = sent {
                    next = feed.held();
                    continue;
                }
                self.mirror.standing.lock().why = sent.err();
                next = Some(delivery);
                break;
            }
            let room = self.has_room();
            let late = self.since + ANSWER_WAIT;
            tokio::select! {
                biased;
                word = answers.recv() => match word {
                    Some(word) if word.run == self.run => if !self.answered(word)? {
                        return Ok(());
                    },
                    Some(_) => {}
                    None => return Ok(()),
                },
                delivery = feed.next(), if next.is_none() && room => match delivery {
                    Some(delivery) => next = Some(delivery),
                    None => return Err(format!("the stream '{}' is not there any more", self.mirror.spec.stream)),
                },
                () = sleep(LOOK_AGAIN), if next.is_some() && room => {}
                // What is under way is lost with it.
                () = over(self.conn.as_ref()), if !self.under_way.is_empty() => return Ok(()),
                () = sleep_until(late), if !self.under_way.is_empty() => {
                    return Err(format!("the domain {} does not answer", self.mirror.to));
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < WINDOW && self.bytes < WINDOW_BYTES
    }

    /// Sends one. `false`: its link has no room now.
    fn send(&mut self, delivery: &Delivery) -> Result<bool, String> {
        let (mirror, stored) = (self.mirror, &delivery.stored);
        let subject = stored.message.subject.as_str();
        let leg = mirror.body.ask(|node| node.toward(&mirror.to, subject));
        let leg = leg.map_err(|why| format!("there is no way to the domain {}: {why}", mirror.to))?;
        let conn = mirror.body.conn(leg.conn).ok_or_else(|| "the link has just ended".to_owned())?;
        if self.under_way.is_empty() {
            self.since = Instant::now();
        }
        let envelope = leg.envelope.encode();
        let (position, previous, run) = (stored.seq, self.previous, self.run);
        let (name, stream, into) = (mirror.name.as_str(), mirror.spec.stream.as_str(), mirror.stream_there());
        let head = Head { envelope: &envelope, run, position, previous, mirror: name, stream, into }.encode();
        let (headers, payload) = (stored.message.headers.as_block(), &stored.message.payload);
        let letter = Letter { head: &head, subject, reply: "", status: "", headers, payload };
        mirror.body.custody.sent_on(name, &mirror.to, conn.number);
        match conn.out.keep(&letter) {
            Put::No => return Ok(false),
            Put::First => conn.out.wake(),
            Put::Yes => {}
        }
        if self.conn.as_ref().is_none_or(|before| before.number != conn.number) {
            self.conn = Some(conn);
        }
        self.previous = position;
        let bytes = stored.message.size();
        self.under_way.push_back((position, bytes, delivery.token.clone()));
        self.bytes += bytes;
        mirror.standing.lock().owed = delivery.pending + self.under_way.len() as u64;
        Ok(true)
    }

    /// What the far side says. `false`: all that is not confirmed is to be sent anew.
    fn answered(&mut self, word: Word) -> Result<bool, String> {
        match word.what {
            What::Refused(why) => return Err(format!("the domain {} takes nothing: {why}", self.mirror.to)),
            What::Again => return Ok(false),
            What::Confirmed => {}
        }
        let mut done = None;
        while let Some((position, bytes, _)) = self.under_way.front() {
            if *position > word.position {
                break;
            }
            self.bytes -= bytes;
            done = self.under_way.pop_front();
        }
        if let Some((position, _, token)) = done {
            self.since = Instant::now();
            self.mirror.journal.acknowledge(token, Ack::Done, false, Box::new(|_| ()));
            let mut standing = self.mirror.standing.lock();
            standing.confirmed = position;
            standing.owed = standing.owed.saturating_sub(1).max(self.under_way.len() as u64);
            if self.under_way.is_empty() {
                standing.owed = 0;
            }
            standing.why = None;
        }
        Ok(true)
    }
}

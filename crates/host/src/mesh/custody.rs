//! What other nodes bring to be kept here, or further on.
//!
//! ```text
//!  keep ──▶ judged ──▶ for another domain: goes on by its envelope, and where it came from is remembered
//!                  └─▶ for this one: for another node of it: goes on to that
//!                                    else: in order? ──▶ recorded ──▶ confirmed, the way back that it came
//!  ask ───▶ the same way; the node that it is for brings from then on what it is asked for
//! ```
//!
//! # Invariants
//! - Only a stream that was made for it takes what is brought: one that is there already, for anything else, is never
//!   written to. It is made when the first message comes, and no more than [`STREAMS_MAX`] are.
//! - Recorded exactly once in effect, in order: a message is taken only behind the one that was sent before it, and how
//!   far a stream came is read from its own last message after a restart. It bears its id
//!   `<domain>/<stream>/<position>` besides.
//! - Confirmed means recorded, with the proof that the engine gives.
//! - What comes as asked for is taken only where this node asks for it.
//! - A word of what was kept is believed only of the connection that the messages went to.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use event::{Headers, Message, Pattern, Subject, encode_token};
use journal::{Append, Journal, ReadError, StreamConfig, StreamError};
use link::mesh::{Letter, Put};
use mesh::envelope::Envelope;
use mesh::names::{Name, NodeId};
use mesh::node::Refusal;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::body::{Body, Conn};
use super::kept::{ASKED, Head, Kind, Place, What, Word};
use super::pull::Pull;

/// The header that says where a mirrored message is from: `<domain>/<stream>/<position>`.
pub(super) const SOURCE_HEADER: &str = "Tidings-Source";

/// What a stream's metadata says that it is kept for.
const METADATA: &str = "tidings.mirror";

/// When the stream was made that it is kept for, as [`Head::born`].
const METADATA_BORN: &str = "tidings.mirror.born";

/// Streams that are made for other domains, at most: whoever holds a link could else make any number.
const STREAMS_MAX: usize = 1_024;

/// Ways back that are remembered, at most.
const WAYS_MAX: usize = 16_384;

/// How long a stream that could not be written to is left alone.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// A confirmation is sent at the latest after so many messages, and when none is under way any more.
const CONFIRM_EVERY: u64 = 64;

/// Answers that wait for one mirror of this node; beyond, the latest are dropped and all is sent again.
const ANSWERS_MAX: usize = 4_096;

/// The first token of the subjects of streams that keep others'.
pub(super) const COPIES: &str = "$MIRROR";

/// What is said to one who brings what nobody asked for.
const NOT_ASKED: &str = "nobody asks for it here";

/// The domain and the stream that something is from, and the stream that it goes into.
type Key = (String, String, String);

/// What is sent under one name to one domain by one node.
type Route = (String, String, String);

/// A stream that is kept here.
enum Kept {
    /// How far it came is being read.
    Loading,
    /// It takes what comes behind `taken`; what is recorded is up to `recorded`.
    Ready { taken: u64, recorded: u64, born: u64 },
    /// It takes nothing, for this reason.
    Refused(String, Instant),
}

#[derive(Default)]
struct Held {
    /// By the domain and the stream that it is from, and the stream that it goes into.
    streams: BTreeMap<Key, Kept>,
    /// Where what is under way came from, and where it went.
    ways: BTreeMap<Route, (u64, u64)>,
    /// Mirrors of this node, by name and domain: who is told the answers, and the connection that they may come on.
    senders: BTreeMap<(String, String), (mpsc::Sender<Word>, u64)>,
    /// What this node asks others for, by the name that it comes under.
    pulls: BTreeMap<String, Arc<Pull>>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Custody {
    journal: OnceLock<Arc<dyn Journal>>,
    held: Mutex<Held>,
}

/// Where the answer to a message goes.
#[derive(Clone)]
pub(super) struct Back {
    body: Weak<Body>,
    conn: u64,
    word: Word,
}

impl Back {
    pub(super) fn say(&self, position: u64, what: What) {
        let Some(conn) = self.body.upgrade().and_then(|body| body.conn(self.conn)) else { return };
        // A link that has ended: all is sent again.
        let _ended = conn.out.kept(&Word { position, what, ..self.word.clone() }.encode());
    }
}

impl Custody {
    /// Has what is brought recorded there. Only the first call counts.
    pub(super) fn record_in(&self, journal: Arc<dyn Journal>) {
        let _kept = self.journal.set(journal);
    }

    /// Answers for a mirror of this node are told to whoever asks last.
    pub(super) fn answers(&self, mirror: &str, to: &Place) -> mpsc::Receiver<Word> {
        let (sender, receiver) = mpsc::channel(ANSWERS_MAX);
        self.held.lock().senders.insert((mirror.to_owned(), to.to_string()), (sender, 0));
        receiver
    }

    /// Answers for a mirror may come on this connection alone.
    pub(super) fn sent_on(&self, mirror: &str, to: &Place, conn: u64) {
        if let Some((_, on)) = self.held.lock().senders.get_mut(&(mirror.to_owned(), to.to_string())) {
            *on = conn;
        }
    }

    /// A mirror of this node has ended.
    pub(super) fn forget(&self, mirror: &str, to: &Place) {
        self.held.lock().senders.remove(&(mirror.to_owned(), to.to_string()));
    }

    /// From now on this is asked for, and taken when it comes.
    pub(super) fn asks(&self, pull: &Arc<Pull>) {
        self.held.lock().pulls.insert(pull.name.clone(), Arc::clone(pull));
    }

    /// It is asked for no more.
    pub(super) fn asks_not(&self, pull: &Arc<Pull>) {
        let mut held = self.held.lock();
        if held.pulls.get(&pull.name).is_some_and(|each| Arc::ptr_eq(each, pull)) {
            held.pulls.remove(&pull.name);
        }
    }

    /// Up to which position a stream of another domain is recorded here, as far as that is known.
    pub(super) fn recorded_of(&self, domain: &Name, stream: &str, into: &str) -> Option<u64> {
        match self.held.lock().streams.get(&(domain.to_string(), stream.to_owned(), into.to_owned()))? {
            Kept::Ready { recorded, .. } => Some(*recorded),
            _ => None,
        }
    }

    /// A message came that is to be kept here, or further on.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn keep(&self, body: &Arc<Body>, conn: &Arc<Conn>, letter: &Letter<'_>) -> Result<(), Refusal> {
        let head = Head::decode(letter.head).ok_or(Refusal::Shape)?;
        let envelope = Envelope::decode(head.envelope).map_err(|_| Refusal::Shape)?;
        let onward = body.ask(|node| node.judge(conn.number, &envelope, letter.subject))?;
        if let Some((_, why)) = onward.lost.iter().find(|(_, why)| *why != Refusal::NoWay) {
            return Err(*why);
        }
        let own = &body.id;
        let leg = match &envelope.to[..] {
            [(to, _)] if *to != own.domain => onward.direct.into_iter().next().ok_or(Refusal::NoWay)?,
            [_] if !head.node.is_empty() && *head.node != *own.node.as_str() => {
                let node = Name::parse(head.node).map_err(|_| Refusal::Shape)?;
                body.ask(|asked| asked.inward(&node, Some(&envelope)))?
            }
            [_] => return self.here(body, conn, &head, &envelope, letter),
            // From a node of the own domain: for this one, or for one that only this one is linked with.
            [] if envelope.here.direct && *head.node == *own.node.as_str() => {
                return self.here(body, conn, &head, &envelope, letter);
            }
            [] if !envelope.nodes.is_empty() => onward.direct.into_iter().next().ok_or(Refusal::NoWay)?,
            _ => return Err(Refusal::Shape),
        };
        let next = body.conn(leg.conn).ok_or(Refusal::NoWay)?;
        let encoded = leg.envelope.encode();
        // Inside a domain the envelope names it no more: so it is this one.
        let domain = envelope.to.first().map_or(&own.domain, |(to, _)| to);
        let route = (envelope.origin.to_string(), head.mirror.to_owned(), place(domain, head.node));
        let mut held = self.held.lock();
        if held.ways.len() >= WAYS_MAX {
            held.ways.clear();
        }
        held.ways.insert(route, (conn.number, next.number));
        drop(held);
        let head = Head { envelope: &encoded, ..head }.encode();
        // Without room it is lost here, and sent again from where it is kept.
        if next.out.keep(&Letter { head: &head, ..*letter }) == Put::First {
            next.out.wake();
        }
        Ok(())
    }

    /// A message, or a question, is for this node.
    fn here(
        &self,
        body: &Arc<Body>,
        conn: &Arc<Conn>,
        head: &Head<'_>,
        envelope: &Envelope,
        letter: &Letter<'_>,
    ) -> Result<(), Refusal> {
        let (origin, mirror, to) = (&envelope.origin, head.mirror.to_owned(), place(&body.id.domain, head.node));
        let word = Word { origin: origin.to_string(), mirror, to, run: head.run, position: 0, what: What::Confirmed };
        let back = Back { body: Arc::downgrade(body), conn: conn.number, word };
        match head.kind {
            Kind::Ask => body.mirrors.asked(body, origin, head, letter.payload, back),
            Kind::Bring => self.record(body, head, origin, letter, back),
        }
        Ok(())
    }

    /// A peer says what was kept.
    pub(super) fn kept(&self, body: &Arc<Body>, conn: &Arc<Conn>, bytes: &[u8]) {
        let Some(word) = Word::decode(bytes) else { return };
        let held = self.held.lock();
        if word.origin == body.id.to_string() {
            let sender = held.senders.get(&(word.mirror.clone(), word.to.clone()));
            if let Some((sender, _)) = sender.filter(|(_, on)| *on == conn.number) {
                // One that is dropped is told again with the next.
                let _full = sender.try_send(word);
            }
            return;
        }
        let way = held.ways.get(&(word.origin.clone(), word.mirror.clone(), word.to)).copied();
        drop(held);
        if let Some((from, _)) = way.filter(|(_, onto)| *onto == conn.number)
            && let Some(back) = body.conn(from)
        {
            let _ended = back.out.kept(bytes);
        }
    }

    fn record(&self, body: &Arc<Body>, head: &Head<'_>, origin: &NodeId, letter: &Letter<'_>, back: Back) {
        let Some(journal) = self.journal.get() else {
            return back.say(0, What::Refused("this node keeps nothing for others".to_owned()));
        };
        let domain = origin.domain.as_str();
        let key = (domain.to_owned(), head.stream.to_owned(), head.into.to_owned());
        let mut held = self.held.lock();
        if head.mirror.starts_with(ASKED) {
            match held.pulls.get(head.mirror).filter(|pull| pull.is(origin, head.stream, head.into)) {
                Some(pull) => pull.heard(head.left),
                None => return back.say(0, What::Refused(NOT_ASKED.to_owned())),
            }
        }
        match held.streams.get_mut(&key) {
            Some(Kept::Ready { born, .. }) if *born != head.born => {
                return back.say(0, What::Refused(other(&key)));
            }
            Some(Kept::Ready { taken, recorded, .. }) => {
                if head.position <= *taken {
                    return back.say(*recorded, What::Confirmed);
                }
                if head.previous > *taken {
                    return back.say(*taken, What::Again);
                }
                *taken = head.position;
            }
            Some(Kept::Loading) => return,
            Some(Kept::Refused(why, since)) if since.elapsed() < REFUSED_FOR => {
                return back.say(0, What::Refused(why.clone()));
            }
            _ => {
                if held.streams.len() >= STREAMS_MAX {
                    return back.say(0, What::Refused("too many streams are kept here for others".to_owned()));
                }
                held.streams.insert(key.clone(), Kept::Loading);
                tokio::spawn(load(Arc::clone(body), Arc::clone(journal), key, head.born, back));
                return;
            }
        }
        drop(held);
        let source = format!("{domain}/{}/{}", head.stream, head.position);
        let Some(append) = append(head.into, &source, letter) else {
            return back.say(0, What::Refused("a message cannot be kept: its headers are too long".to_owned()));
        };
        let (body, position) = (Arc::downgrade(body), head.position);
        let done = move |result: Result<journal::Receipt, journal::AppendError>| {
            let Some(body) = body.upgrade() else { return };
            body.custody.recorded(&key, position, result.map(|_| ()).map_err(|error| error.to_string()), &back);
        };
        journal.append(append, Box::new(done));
    }

    /// A message is recorded, or could not be.
    fn recorded(&self, key: &Key, position: u64, result: Result<(), String>, back: &Back) {
        let mut held = self.held.lock();
        let Some(kept) = held.streams.get_mut(key) else { return };
        let said = match (result, &mut *kept) {
            (Ok(()), Kept::Ready { taken, recorded, .. }) => {
                *recorded = position.max(*recorded);
                let due = *recorded == *taken || position.is_multiple_of(CONFIRM_EVERY);
                due.then_some((*recorded, What::Confirmed))
            }
            (Ok(()), _) => None,
            (Err(why), kept) => {
                warn!(stream = key.2, from = key.0, why, "what is to be kept for another domain is not");
                *kept = Kept::Refused(why.clone(), Instant::now());
                Some((0, What::Refused(why)))
            }
        };
        drop(held);
        if let Some((position, what)) = said {
            back.say(position, what);
        }
    }
}

fn append(into: &str, source: &str, letter: &Letter<'_>) -> Option<Append> {
    let headers = match letter.headers {
        [] => Headers::EMPTY,
        block => Headers::from_block(Bytes::copy_from_slice(block)).ok()?,
    };
    let headers = headers.with(SOURCE_HEADER, source).ok()?;
    let subject = Subject::parse(letter.subject).ok()?;
    let message = Message { subject, reply: None, headers, payload: Bytes::copy_from_slice(letter.payload) };
    let id = Some(Bytes::copy_from_slice(source.as_bytes()));
    Some(Append { into: Some(into.to_owned()), id, ..Append::new(message) })
}

/// A place as a head names it.
fn place(domain: &Name, node: &str) -> String {
    if node.is_empty() { domain.to_string() } else { format!("{domain}/{node}") }
}

/// What is said where a stream holds the messages of an older one of the same name.
fn other((domain, stream, into): &Key) -> String {
    format!(
        "the stream '{stream}' of {domain} was made anew, and '{into}' holds what the one before had: remove it, or \
         name another"
    )
}

/// Reads how far a stream came, and makes it where it is not there.
async fn load(body: Arc<Body>, journal: Arc<dyn Journal>, key: Key, born: u64, back: Back) {
    let (domain, stream, into) = &key;
    let source = format!("{domain}/{stream}");
    let found = match come_to(&*journal, &source, into).await {
        Ok(None) => make(&*journal, &source, into, born).await.map(|()| 0),
        Ok(Some((_, other_born))) if other_born != born => Err(other(&key)),
        Ok(Some((position, _))) => Ok(position),
        Err(why) => Err(why),
    };
    let kept = match found {
        Ok(position) => Kept::Ready { taken: position, recorded: position, born },
        Err(why) => {
            warn!(stream = into, from = source, why, "a stream of another domain is not kept here");
            Kept::Refused(why, Instant::now())
        }
    };
    let said = match &kept {
        Kept::Refused(why, _) => (0, What::Refused(why.clone())),
        Kept::Ready { recorded, .. } => (*recorded, What::Again),
        Kept::Loading => return,
    };
    body.custody.held.lock().streams.insert(key, kept);
    back.say(said.0, said.1);
}

/// The position up to which a stream has what it is to have, and when that was made which it is from; `None`: it is not
/// there.
pub(super) async fn come_to(journal: &dyn Journal, source: &str, into: &str) -> Result<Option<(u64, u64)>, String> {
    let info = match journal.stream_info(into).await {
        Ok(info) => info,
        Err(StreamError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if info.config.metadata.get(METADATA).is_none_or(|of| of != source) {
        return Err(format!("a stream '{into}' is there already, and not to keep {source}: name another"));
    }
    let born = info.config.metadata.get(METADATA_BORN).and_then(|born| born.parse().ok()).unwrap_or(0);
    match journal.last(into, &Pattern::all()).await {
        Ok(stored) => {
            let value = stored.message.headers.get(SOURCE_HEADER).unwrap_or_default();
            let position = value.strip_prefix(source).and_then(|rest| rest.strip_prefix('/')?.parse().ok());
            let position = position.ok_or_else(|| format!("the last message of '{into}' is not from {source}"))?;
            Ok(Some((position, born)))
        }
        Err(ReadError::NoMessage) => Ok(Some((0, born))),
        Err(error) => Err(error.to_string()),
    }
}

/// Makes a stream that keeps another domain's.
async fn make(journal: &dyn Journal, source: &str, into: &str, born: u64) -> Result<(), String> {
    // Streams have subjects; nobody publishes to this one.
    let (domain, stream) = source.split_once('/').unwrap_or((source, ""));
    let subject = format!("{COPIES}.{}.{}.{}", encode_token(domain), encode_token(stream), encode_token(into));
    let pattern = Pattern::parse(&subject).map_err(|error| error.to_string())?;
    let mut config = StreamConfig::new(into, [pattern]);
    config.description = format!("Kept for another domain: {source}");
    config.metadata.insert(METADATA.to_owned(), source.to_owned());
    config.metadata.insert(METADATA_BORN.to_owned(), born.to_string());
    journal.stream_create(config).await.map_err(|error| error.to_string())?;
    info!(stream = into, from = source, "a stream is made to keep another domain's");
    Ok(())
}

//! What other nodes bring to be kept here, or further on.
//!
//! ```text
//!  keep ──▶ judged ──▶ for another domain: goes on by its envelope, and where it came from is remembered
//!                  └─▶ for this one: in order? ──▶ recorded ──▶ confirmed, the way back that it came
//! ```
//!
//! # Invariants
//! - Only a stream that was made for it takes what is brought: one that is there already, for anything else, is never
//!   written to. It is made when the first message comes, and no more than [`STREAMS_MAX`] are.
//! - Recorded exactly once in effect, in order: a message is taken only behind the one that was sent before it, and how
//!   far a stream came is read from its own last message after a restart. It bears its id
//!   `<domain>/<stream>/<position>` besides.
//! - Confirmed means recorded, with the proof that the engine gives.
//! - A word of what was kept is believed only of the connection that the messages went to.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use event::{Headers, Message, Pattern, Subject, encode_token};
use journal::{Append, Journal, ReadError, StreamConfig, StreamError};
use link::mesh::{Letter, Put};
use mesh::envelope::Envelope;
use mesh::names::Name;
use mesh::node::Refusal;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::body::{Body, Conn};
use super::kept::{Head, What, Word};

/// The header that says where a mirrored message is from: `<domain>/<stream>/<position>`.
pub(super) const SOURCE_HEADER: &str = "Tidings-Source";

/// What a stream's metadata says that it is kept for.
const METADATA: &str = "tidings.mirror";

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

/// What is sent under one name to one domain by one node.
type Route = (String, String, String);

/// A stream that is kept here.
enum Kept {
    /// How far it came is being read.
    Loading,
    /// It takes what comes behind `taken`; what is recorded is up to `recorded`.
    Ready { taken: u64, recorded: u64 },
    /// It takes nothing, for this reason.
    Refused(String, Instant),
}

#[derive(Default)]
struct Held {
    /// By the domain and the stream that it is from, and the stream that it goes into.
    streams: BTreeMap<(String, String, String), Kept>,
    /// Where what is under way came from, and where it went.
    ways: BTreeMap<Route, (u64, u64)>,
    /// Mirrors of this node, by name and domain: who is told the answers, and the connection that they may come on.
    senders: BTreeMap<(String, String), (mpsc::Sender<Word>, u64)>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Custody {
    journal: OnceLock<Arc<dyn Journal>>,
    held: Mutex<Held>,
}

/// Where the answer to a message goes.
#[derive(Clone)]
struct Back {
    body: Weak<Body>,
    conn: u64,
    word: Word,
}

impl Back {
    fn say(&self, position: u64, what: What) {
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
    pub(super) fn answers(&self, mirror: &str, to: &Name) -> mpsc::Receiver<Word> {
        let (sender, receiver) = mpsc::channel(ANSWERS_MAX);
        self.held.lock().senders.insert((mirror.to_owned(), to.to_string()), (sender, 0));
        receiver
    }

    /// Answers for a mirror may come on this connection alone.
    pub(super) fn sent_on(&self, mirror: &str, to: &Name, conn: u64) {
        if let Some((_, on)) = self.held.lock().senders.get_mut(&(mirror.to_owned(), to.to_string())) {
            *on = conn;
        }
    }

    /// A mirror of this node has ended.
    pub(super) fn forget(&self, mirror: &str, to: &Name) {
        self.held.lock().senders.remove(&(mirror.to_owned(), to.to_string()));
    }

    /// A message came that is to be kept here, or further on.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn keep(&self, body: &Arc<Body>, conn: &Arc<Conn>, letter: &Letter<'_>) -> Result<(), Refusal> {
        let head = Head::decode(letter.head).ok_or(Refusal::Shape)?;
        let envelope = Envelope::decode(head.envelope).map_err(|_| Refusal::Shape)?;
        let onward = body.ask(|node| node.judge(conn.number, &envelope, letter.subject))?;
        let [(to, _)] = &envelope.to[..] else { return Err(Refusal::Shape) };
        let origin = &envelope.origin;
        if *to == body.id.domain {
            let (origin, mirror, to) = (origin.to_string(), head.mirror.to_owned(), to.to_string());
            let word = Word { origin, mirror, to, run: head.run, position: 0, what: What::Confirmed };
            let back = Back { body: Arc::downgrade(body), conn: conn.number, word };
            self.record(body, &head, envelope.origin.domain.as_str(), letter, back);
            return Ok(());
        }
        let leg = onward.direct.first().ok_or(Refusal::NoWay)?;
        let next = body.conn(leg.conn).ok_or(Refusal::NoWay)?;
        let encoded = leg.envelope.encode();
        let route = (origin.to_string(), head.mirror.to_owned(), to.to_string());
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

    fn record(&self, body: &Arc<Body>, head: &Head<'_>, domain: &str, letter: &Letter<'_>, back: Back) {
        let Some(journal) = self.journal.get() else {
            return back.say(0, What::Refused("this node keeps nothing for others".to_owned()));
        };
        let key = (domain.to_owned(), head.stream.to_owned(), head.into.to_owned());
        let mut held = self.held.lock();
        match held.streams.get_mut(&key) {
            Some(Kept::Ready { taken, recorded }) => {
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
                tokio::spawn(load(Arc::clone(body), Arc::clone(journal), key, back));
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
    fn recorded(&self, key: &(String, String, String), position: u64, result: Result<(), String>, back: &Back) {
        let mut held = self.held.lock();
        let Some(kept) = held.streams.get_mut(key) else { return };
        let said = match (result, &mut *kept) {
            (Ok(()), Kept::Ready { taken, recorded }) => {
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

/// Reads how far a stream came, and makes it where it is not there.
async fn load(body: Arc<Body>, journal: Arc<dyn Journal>, key: (String, String, String), back: Back) {
    let (domain, stream, into) = &key;
    let source = format!("{domain}/{stream}");
    let kept = match come_to(&*journal, &source, into).await {
        Ok(position) => Kept::Ready { taken: position, recorded: position },
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

/// The position up to which a stream has what it is to have.
async fn come_to(journal: &dyn Journal, source: &str, into: &str) -> Result<u64, String> {
    match journal.stream_info(into).await {
        Ok(info) if info.config.metadata.get(METADATA).is_some_and(|of| of == source) => {}
        Ok(_) => return Err(format!("a stream '{into}' is there already, and not to keep {source}: name another")),
        Err(StreamError::NotFound(_)) => {
            // Streams have subjects; nobody publishes to this one.
            let (domain, stream) = source.split_once('/').unwrap_or((source, ""));
            let subject = format!("$MIRROR.{}.{}.{}", encode_token(domain), encode_token(stream), encode_token(into));
            let pattern = Pattern::parse(&subject).map_err(|error| error.to_string())?;
            let mut config = StreamConfig::new(into, [pattern]);
            config.description = format!("Kept for another domain: {source}");
            config.metadata.insert(METADATA.to_owned(), source.to_owned());
            journal.stream_create(config).await.map_err(|error| error.to_string())?;
            info!(stream = into, from = source, "a stream is made to keep another domain's");
            return Ok(0);
        }
        Err(error) => return Err(error.to_string()),
    }
    match journal.last(into, &Pattern::all()).await {
        Ok(stored) => {
            let value = stored.message.headers.get(SOURCE_HEADER).unwrap_or_default();
            let position = value.strip_prefix(source).and_then(|rest| rest.strip_prefix('/')?.parse().ok());
            position.ok_or_else(|| format!("the last message of '{into}' is not from {source}"))
        }
        Err(ReadError::NoMessage) => Ok(0),
        Err(error) => Err(error.to_string()),
    }
}

//! Frames of custody that come on links: for this node, or further on.
//!
//! ```text
//!  keep ──▶ judged ──▶ for another node or domain: goes on by its envelope
//!                  └─▶ for this one: `copies` records it, and says so to the node that it is from
//!  word ──▶ judged ──▶ goes on alike
//!                  └─▶ what was kept: to the sender's task; what is asked for, and answers: to `mirror`
//! ```
//!
//! # Invariants
//! - What goes on is remembered nowhere: a word finds its way back by its own envelope, judged like a message.
//! - A word is told only to the sender whose far side it is from, by the domain where it entered the mesh. That domain is
//!   proven as far as every message's is: it lies on the way.
//! - What waits for want of room is dropped here, and comes again from where it is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use journal::Journal;
use link::mesh::{Letter, Put};
use mesh::envelope::Envelope;
use mesh::names::{Name, NodeId};
use mesh::node::{Forbidden, Handed, Refusal};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::body::{Body, Conn};
use super::copies::Copies;
use super::kept::{self, Head, What, Word};

/// Words that wait for one sender; beyond, the latest are dropped and all is sent again.
const WORDS_MAX: usize = 4_096;

/// Bytes of words and notes that wait for a link from which no more words are given to it: they are said again.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// Bytes of a word, at most: what a frame holds, with room for the envelope's names to grow on the way.
const WORD_BYTES_MAX: usize = 56_000;

/// A domain, or a node of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Whereto {
    pub(super) domain: Name,
    pub(super) node: Option<Name>,
}

impl Whereto {
    /// Reads DOMAIN or DOMAIN/NODE; `None`: nothing can be called so.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (domain, node) = text.split_once('/').map_or((text, None), |(domain, node)| (domain, Some(node)));
        let node = node.map(Name::parse).transpose().ok()?;
        Some(Whereto { domain: Name::parse(domain).ok()?, node })
    }

    pub(super) fn of(id: &NodeId) -> Self {
        Whereto { domain: id.domain.clone(), node: Some(id.node.clone()) }
    }

    /// Whether a node is meant.
    pub(super) fn means(&self, id: &NodeId) -> bool {
        self.domain == id.domain && self.node.as_ref().is_none_or(|node| *node == id.node)
    }
}

impl fmt::Display for Whereto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{}/{node}", self.domain),
            None => write!(f, "{}", self.domain),
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Custody {
    /// What is kept here for others.
    pub(super) copies: Arc<Copies>,
    /// Who of this node sends, by flow and destination.
    senders: Mutex<BTreeMap<(String, Whereto), mpsc::Sender<Word>>>,
}

/// The words that one sender of this node is told. Nothing is left of it when it is dropped.
pub(super) struct Words<'a> {
    custody: &'a Custody,
    key: (String, Whereto),
    receiver: mpsc::Receiver<Word>,
}

impl Words<'_> {
    /// The next word; `None`: another sender took its place.
    pub(super) async fn next(&mut self) -> Option<Word> {
        self.receiver.recv().await
    }
}

impl Drop for Words<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        let mut senders = self.custody.senders.lock();
        // One that took its place is open.
        if senders.get(&self.key).is_some_and(mpsc::Sender::is_closed) {
            senders.remove(&self.key);
        }
    }
}

/// A rule in the way, in words.
pub(super) fn forbidden(rule: &Forbidden, subject: &str) -> String {
    let verb = if rule.why == Refusal::PublishRule { "publish" } else { "subscribe" };
    format!("the rule NameAcl/{} does not let the domain {} {verb} to {subject}", rule.rule, rule.domain)
}

impl Custody {
    /// Has what is brought recorded there. Only the first call counts.
    pub(super) fn record_in(&self, journal: Arc<dyn Journal>) {
        self.copies.record_in(journal);
    }

    /// Words for a sender of this node are told to whoever asks last, until he drops what he is given.
    pub(super) fn words(&self, flow: &str, to: &Whereto) -> Words<'_> {
        let (sender, receiver) = mpsc::channel(WORDS_MAX);
        let key = (flow.to_owned(), to.clone());
        self.senders.lock().insert(key.clone(), sender);
        Words { custody: self, key, receiver }
    }

    /// How many of this node send.
    #[cfg(test)]
    pub(super) fn senders(&self) -> usize {
        self.senders.lock().len()
    }

    /// Says something to another node.
    ///
    /// # Errors
    /// There is no way to it, or the word is too long.
    pub(super) fn say(body: &Body, to: &Whereto, flow: &str, run: u64, what: What) -> Result<(), Refusal> {
        let leg = body.ask(|node| node.straight(&to.domain, to.node.as_ref()))?;
        let conn = body.conn(leg.conn).ok_or(Refusal::NoWay)?;
        let node = to.node.as_ref().map(ToString::to_string).unwrap_or_default();
        let word = Word { envelope: leg.envelope.encode(), node, flow: flow.to_owned(), run, what };
        put(&conn, &word)
    }

    /// A message came that is to be kept here, or further on.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn keep(&self, body: &Arc<Body>, conn: &Arc<Conn>, letter: &Letter<'_>) -> Result<(), Refusal> {
        let head = Head::decode(letter.head).ok_or(Refusal::Shape)?;
        let envelope = Envelope::decode(head.envelope).map_err(|_| Refusal::Shape)?;
        let node = kept::node(head.node).map_err(|()| Refusal::Shape)?;
        let origin = &envelope.origin;
        let (handed, may) = body.ask(|mesh| {
            let handed = mesh.hand(conn.number, &envelope, node.as_ref())?;
            let to = envelope.to.first().map_or(&body.id.domain, |(domain, _)| domain);
            Ok((handed, mesh.may_cross(&origin.domain, to, letter.subject)))
        })?;
        if let Err(rule) = may {
            if handed == Handed::Here {
                let why = What::Refused(forbidden(&rule, letter.subject));
                // Who cannot be told finds out that nothing is confirmed.
                let _away = Self::say(body, &Whereto::of(origin), head.flow, head.run, why);
            }
            return Err(rule.why);
        }
        let Handed::On(leg) = handed else {
            self.copies.take(body, origin, &head, letter);
            return Ok(());
        };
        let next = body.conn(leg.conn).ok_or(Refusal::NoWay)?;
        let encoded = leg.envelope.encode();
        let head = Head { envelope: &encoded, ..head }.encode();
        // Without room it is lost here, and sent again from where it is kept.
        if next.out.keep(&Letter { head: &head, ..*letter }) == Put::First {
            next.out.wake();
        }
        Ok(())
    }

    /// A word came, for this node or further on.
    pub(super) fn kept(&self, body: &Arc<Body>, conn: &Arc<Conn>, bytes: &[u8]) {
        if let Err(why) = self.word(body, conn, bytes) {
            body.counts.refuse(why, 1);
            conn.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn word(&self, body: &Arc<Body>, conn: &Arc<Conn>, bytes: &[u8]) -> Result<(), Refusal> {
        let word = Word::decode(bytes).ok_or(Refusal::Shape)?;
        let envelope = Envelope::decode(&word.envelope).map_err(|_| Refusal::Shape)?;
        let node = kept::node(&word.node).map_err(|()| Refusal::Shape)?;
        match body.ask(|mesh| mesh.hand(conn.number, &envelope, node.as_ref()))? {
            Handed::On(leg) => {
                let next = body.conn(leg.conn).ok_or(Refusal::NoWay)?;
                put(&next, &Word { envelope: leg.envelope.encode(), ..word })
            }
            Handed::Here => {
                self.heard(body, &envelope.origin, word);
                Ok(())
            }
        }
    }

    fn heard(&self, body: &Arc<Body>, origin: &NodeId, word: Word) {
        let mirrors = &body.mirrors;
        match word.what {
            What::Confirmed(_) | What::Again(_) | What::Refused(_) => {
                let senders = self.senders.lock();
                let of = |to: Whereto| senders.get(&(word.flow.clone(), to));
                let domain = Whereto { domain: origin.domain.clone(), node: None };
                if let Some(sender) = of(Whereto::of(origin)).or_else(|| of(domain)) {
                    // One that is dropped is said again with the next.
                    let _full = sender.try_send(word);
                }
            }
            What::Ask { stream, into, filters } => mirrors.asked(body, origin, &word.flow, (stream, into, filters)),
            What::Serving(owed) => mirrors.answered(origin, &word.flow, Ok(owed)),
            What::Denied(why) => mirrors.answered(origin, &word.flow, Err(why)),
        }
    }
}

/// Gives a word to a link, where it has room.
fn put(conn: &Conn, word: &Word) -> Result<(), Refusal> {
    let bytes = word.encode();
    if bytes.len() > WORD_BYTES_MAX {
        return Err(Refusal::Shape);
    }
    if conn.out.urgent_waiting() <= WAITING_BYTES_MAX {
        // A link that has ended: what is not confirmed is sent again.
        let _ended = conn.out.kept(&bytes);
    }
    Ok(())
}

//! Atomic batches: messages that are kept until the last has come, and then recorded all or none.
//!
//! # Invariants
//! - A batch is of one stream; its messages come in order, without a gap.
//! - What waits here is bounded in batches and in bytes, and given up after [`TIMEOUT`] of silence.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use door::{ConnectionId, Principal, PublishError};
use event::Subject;
use journal::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use journal::{Append, AppendError, Expect, Receipt};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::JetStream;
use super::errors::{self as e, ApiError};
use super::publish::{Asked, Extra, Publish};

/// Longest name of a batch, in bytes: NATS's.
const ID_BYTES_MAX: usize = 64;
/// Batches of one stream that are open at a time: NATS's.
const OPEN_OF_STREAM_MAX: usize = 50;
/// Batches that are open at a time: NATS's.
const OPEN_MAX: usize = 1_000;
/// Bytes of all open batches: two of the largest.
const OPEN_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;
/// How long a batch may be silent: NATS's.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long until a batch is tried again that the journal had no room for.
const AGAIN: Duration = Duration::from_millis(2);

/// What a message says of the batch that it is part of.
#[derive(Debug, Clone, Default)]
pub(super) struct BatchHeaders {
    pub(super) id: String,
    pub(super) seq: Option<u64>,
    pub(super) commit: Option<String>,
}

/// A stream and a batch of it.
type Key = (Arc<str>, String);

/// A batch that is not complete.
struct Open {
    appends: Vec<Append>,
    bytes: usize,
    heard: Instant,
}

/// All of them.
#[derive(Default)]
pub(super) struct Batches {
    open: Mutex<HashMap<Key, Open>>,
}

/// What came of a message of a batch.
enum Step {
    /// It waits for the others.
    Kept {
        /// It is the first.
        first: bool,
    },
    /// The batch is complete.
    Complete(Vec<Append>),
    /// The batch is given up, for a reason that is told where there is one.
    Over(ApiError, Option<&'static str>),
}

impl Batches {
    fn step(&self, key: &Key, headers: &BatchHeaders, append: Append, now: Instant) -> Step {
        let Some(seq) = headers.seq.filter(|seq| *seq > 0) else {
            return Step::Over(e::ATOMIC_MISSING_SEQ, None);
        };
        let (closes, bare) = match headers.commit.as_deref() {
            None => (false, false),
            Some("1") => (true, false),
            Some("eob") => (true, true),
            Some(_) => {
                self.open.lock().remove(key);
                return Step::Over(e::ATOMIC_BAD_COMMIT, None);
            }
        };
        let count = if bare { seq - 1 } else { seq };
        let too_large = count > BATCH_MESSAGES_MAX as u64;
        let mut open = self.open.lock();
        if !open.contains_key(key) {
            if seq != 1 {
                let error = if too_large { too_large_error() } else { e::ATOMIC_INCOMPLETE };
                return Step::Over(error, None);
            }
            let of_stream = open.keys().filter(|(stream, _)| *stream == key.0).count();
            let bytes: usize = open.values().map(|open| open.bytes).sum();
            if of_stream >= OPEN_OF_STREAM_MAX || open.len() >= OPEN_MAX || bytes >= OPEN_BYTES_MAX {
                return Step::Over(e::ATOMIC_TOO_MANY, None);
            }
        }
        let size = append.message.size();
        let batch = open.entry(key.clone()).or_insert(Open { appends: Vec::new(), bytes: 0, heard: now });
        let expected = batch.appends.len() as u64 + 1;
        if seq != expected || (seq == 1 && bare) {
            open.remove(key);
            return Step::Over(e::ATOMIC_INCOMPLETE, Some("incomplete"));
        }
        if too_large || batch.bytes + size > BATCH_BYTES_MAX {
            open.remove(key);
            return Step::Over(too_large_error(), Some("large"));
        }
        if !bare {
            batch.appends.push(append);
        }
        (batch.bytes, batch.heard) = (batch.bytes + size, now);
        if !closes {
            return Step::Kept { first: seq == 1 };
        }
        Step::Complete(open.remove(key).map(|batch| batch.appends).unwrap_or_default())
    }

    /// When a batch is given up; `None`: it is over.
    fn ends(&self, key: &Key) -> Option<Instant> {
        self.open.lock().get(key).map(|open| open.heard + TIMEOUT)
    }

    fn give_up(&self, key: &Key) {
        self.open.lock().remove(key);
    }
}

fn too_large_error() -> ApiError {
    ApiError::of_append(&AppendError::BatchTooLarge)
}

impl JetStream {
    /// A message of a batch.
    pub(super) fn take_batch(self: &Arc<Self>, mut publish: Publish, asked: Asked, stream: &Arc<str>, atomic: bool) {
        let Asked { id, expect, ttl, rollup, batch, .. } = asked;
        let headers = batch.unwrap_or_default();
        let reply = publish.append.message.reply.take();
        let refuse = |error: &ApiError| self.refuse(reply.as_ref(), stream, error);
        if !atomic {
            return refuse(&e::ATOMIC_DISABLED);
        }
        if headers.id.len() > ID_BYTES_MAX {
            return refuse(&e::ATOMIC_BAD_ID);
        }
        publish.append.into = None;
        let append = Append { id, expect, ttl, rollup, ..publish.append };
        let key = (Arc::clone(stream), headers.id.clone());
        match self.batches.step(&key, &headers, append, Instant::now()) {
            Step::Kept { first } => {
                if first {
                    self.watch_batch(key);
                }
                if let Some(reply) = &reply {
                    self.answer(reply, b"");
                }
            }
            Step::Complete(appends) => {
                if appends.iter().any(|append| append.expect.last_id.is_some()) {
                    return refuse(&ApiError::of_append(&AppendError::BatchUnsupported("Nats-Expected-Last-Msg-Id")));
                }
                let commit = Commit { who: publish.who, without: publish.without, key, reply: reply.clone() };
                self.commit(commit, appends);
            }
            Step::Over(error, reason) => {
                if let Some(reason) = reason {
                    self.batch_abandoned(&key, reason);
                }
                refuse(&error);
            }
        }
    }

    /// Gives a batch up that is silent for too long.
    fn watch_batch(self: &Arc<Self>, key: Key) {
        let own = Arc::downgrade(self);
        self.spawn(async move {
            while let Some(ends) = own.upgrade().and_then(|own| own.batches.ends(&key)) {
                if ends > Instant::now() {
                    tokio::time::sleep_until(ends).await;
                    continue;
                }
                if let Some(own) = own.upgrade() {
                    own.batches.give_up(&key);
                    own.batch_abandoned(&key, "timeout");
                }
            }
        });
    }

    fn batch_abandoned(&self, (stream, id): &Key, reason: &str) {
        self.advise_typed(
            &format!("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.{stream}"),
            "stream_batch_abandoned",
            json!({ "account": "$G", "stream": &**stream, "batch": id, "reason": reason }),
        );
    }

    fn commit(self: &Arc<Self>, commit: Commit, appends: Vec<Append>) {
        let (own, again) = (Arc::clone(self), appends.clone());
        let (who, without) = (commit.who.clone(), commit.without);
        self.port.publish_all_then(&who, without, appends, move |outcome| own.committed(commit, again, outcome));
    }

    fn committed(
        self: &Arc<Self>,
        commit: Commit,
        appends: Vec<Append>,
        outcome: Result<Receipt, (usize, PublishError)>,
    ) {
        let (stream, id) = &commit.key;
        match outcome {
            Ok(receipt) => {
                let count = appends.len() as u64;
                if let Some(known) = self.catalogue.get(stream) {
                    for (place, append) in (1_u64..).zip(&appends) {
                        let again = self.republish(&known, &append.message, receipt.seq + place - count, false);
                        if let Some(again) = again {
                            self.record_again(again, || ());
                        }
                    }
                }
                let extra = Extra { batch: Some((id, count)), ..Extra::default() };
                self.acknowledge_publish(commit.reply.as_ref(), &receipt, &extra);
            }
            Err((_, PublishError::Journal(AppendError::Busy))) => {
                let own = Arc::clone(self);
                self.spawn(async move {
                    tokio::time::sleep(AGAIN).await;
                    own.commit(commit, appends);
                });
            }
            Err((index, error)) => {
                let expects = appends.get(index).is_some_and(|append| append.expect != Expect::default());
                let error = match &error {
                    PublishError::Journal(AppendError::BatchUnsupported(_)) if expects => {
                        ApiError::new(400, 10164, "wrong last sequence")
                    }
                    PublishError::Journal(AppendError::BatchUnsupported(_)) => {
                        ApiError::of_append(&AppendError::BatchUnsupported("Nats-Rollup"))
                    }
                    error => ApiError::of_publish(error),
                };
                self.refuse(commit.reply.as_ref(), stream, &error);
            }
        }
    }
}

/// Who completes which batch.
struct Commit {
    who: Principal,
    without: ConnectionId,
    key: Key,
    reply: Option<Subject>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Message;

    fn step(batches: &Batches, seq: u64, commit: Option<&str>) -> String {
        let headers = BatchHeaders { id: "b".into(), seq: Some(seq), commit: commit.map(ToOwned::to_owned) };
        let append = Append::new(Message::new(Subject::parse("a").unwrap(), "x"));
        match batches.step(&("S".into(), "b".into()), &headers, append, Instant::now()) {
            Step::Kept { first } => format!("kept {first}"),
            Step::Complete(appends) => format!("complete {}", appends.len()),
            Step::Over(error, reason) => format!("{} {}", error.err_code, reason.unwrap_or_default()),
        }
    }

    #[test]
    fn a_batch_is_complete_without_gaps_or_given_up() {
        let batches = Batches::default();
        assert_eq!(step(&batches, 1, None), "kept true");
        assert_eq!(step(&batches, 2, None), "kept false");
        assert_eq!(step(&batches, 3, Some("1")), "complete 3");
        assert_eq!(step(&batches, 1, None), "kept true");
        assert_eq!(step(&batches, 2, Some("eob")), "complete 1");
        assert_eq!(step(&batches, 1, None), "kept true");
        assert_eq!(step(&batches, 3, None), "10176 incomplete");
        assert_eq!(step(&batches, 2, None), "10176 ");
        assert_eq!(step(&batches, 1, Some("no")), "10200 ");
        assert_eq!(step(&batches, 1001, Some("1")), "10199 ");
        assert_eq!(step(&batches, 0, None), "10175 ");
        assert!(batches.open.lock().is_empty());
    }
}

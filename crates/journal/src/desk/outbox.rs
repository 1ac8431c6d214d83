//! What the desk has said and not yet handed over, and what it waits to hear of.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::consumer::{Delivery, FetchEnd};
use crate::error::{AckError, ConsumerError};
use crate::news::JournalEvent;
use crate::stream::Append;

use super::stored::Entry;
use super::{Key, Output, Reply, Request, Ticket, What};

/// What a read is for; the number is a consumer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// To find where a new consumer starts.
    Open(u64),
    /// To deliver for the first time.
    Next(u64),
    /// To deliver again.
    Back(u64),
    /// To make dead letters.
    Dying(u64),
    /// To know how many are left.
    Count(u64),
    /// To find what nobody waits for any more.
    Sweep,
}

/// A save that is not durable yet.
#[derive(Debug, Default)]
pub(super) struct Saving {
    pub(super) replies: Vec<(Ticket, Reply)>,
    pub(super) consumers: Vec<u64>,
    pub(super) gone: Vec<Entry>,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    outputs: VecDeque<Output>,
    key_last: Key,
    reads: BTreeMap<Key, (Arc<str>, Aim)>,
    letters: BTreeMap<Key, (u64, u64)>,
    saves: BTreeMap<Key, Saving>,
    /// Fetches that ended and are still listed under their consumer.
    pub(super) ended: Vec<Request>,
}

impl Outbox {
    pub(super) fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn key(&mut self) -> Key {
        self.key_last += 1;
        self.key_last
    }

    pub(super) fn read(&mut self, stream: &Arc<str>, aim: Aim, what: What) -> Key {
        let key = self.key();
        self.reads.insert(key, (stream.clone(), aim));
        self.outputs.push_back(Output::Read { key, stream: stream.clone(), what });
        key
    }

    pub(super) fn take_read(&mut self, key: Key) -> Option<(Arc<str>, Aim)> {
        self.reads.remove(&key)
    }

    pub(super) fn letter(&mut self, consumer: u64, seq: u64, append: Append) {
        let key = self.key();
        self.letters.insert(key, (consumer, seq));
        self.outputs.push_back(Output::DeadLetter { key, append });
    }

    pub(super) fn take_letter(&mut self, key: Key) -> Option<(u64, u64)> {
        self.letters.remove(&key)
    }

    pub(super) fn save(&mut self, bytes: Vec<u8>, saving: Saving) {
        let (key, synced) = (self.key(), !saving.replies.is_empty());
        self.saves.insert(key, saving);
        self.outputs.push_back(Output::Save { key, bytes, synced });
    }

    pub(super) fn take_save(&mut self, key: Key) -> Option<Saving> {
        self.saves.remove(&key)
    }

    pub(super) fn deliver(&mut self, request: Request, delivery: Delivery) {
        self.outputs.push_back(Output::Deliver { request, delivery });
    }

    pub(super) fn end(&mut self, request: Request, end: FetchEnd) {
        self.ended.push(request);
        self.outputs.push_back(Output::End { request, end });
    }

    pub(super) fn retire(&mut self, stream: &Arc<str>, seqs: Vec<u64>) {
        self.outputs.push_back(Output::Retire { stream: stream.clone(), seqs });
    }

    pub(super) fn tell(&mut self, event: JournalEvent) {
        self.outputs.push_back(Output::Tell { event });
    }

    pub(super) fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.outputs.push_back(Output::Reply { ticket, reply });
    }
}

impl Reply {
    /// The same verb's answer where what it did could not be kept.
    pub(super) fn unsaved(&self, why: &str) -> Reply {
        match self {
            Reply::Consumer(_) => Reply::Consumer(Err(ConsumerError::Storage(String::from(why)))),
            Reply::Unit(_) => Reply::Unit(Err(ConsumerError::Storage(String::from(why)))),
            Reply::Ack(_) => Reply::Ack(Err(AckError::Closed(String::from(why)))),
        }
    }
}

//! What a journal tells of itself while it works.
//!
//! Told after the fact, in the order in which it became one; not kept, and not told again after a
//! restart. What is told of is not always durable yet.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use event::Moment;

use crate::config::StreamConfig;

/// Who is told. Called from the engine's own threads: must not block, and must not call the journal
/// and wait for its answer.
pub type Watcher = Box<dyn Fn(JournalEvent) + Send + Sync>;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalEvent {
    /// There is a new stream.
    StreamCreated {
        /// The stream.
        stream: Arc<str>,
    },
    /// A stream was declared anew.
    StreamUpdated {
        /// The stream.
        stream: Arc<str>,
    },
    /// A stream is gone.
    StreamDeleted {
        /// The stream.
        stream: Arc<str>,
    },
    /// There is a new consumer.
    ConsumerCreated {
        /// The stream.
        stream: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
    },
    /// A consumer is gone: deleted, unused for too long, or with its stream.
    ConsumerDeleted {
        /// The stream.
        stream: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
    },
    /// A consumer delivers nothing before a moment.
    Paused {
        /// The stream.
        stream: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
        /// Until when.
        until: Moment,
    },
    /// A consumer is paused no more: told so, not because its moment came.
    Resumed {
        /// The stream.
        stream: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
    },
    /// A message was delivered as often as its consumer allows and not acknowledged.
    MaxDeliveries {
        /// The stream.
        stream: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
        /// The message's position.
        seq: u64,
        /// How often it was delivered.
        deliveries: u64,
        /// Of its first delivery, as [`AckToken::order`](crate::AckToken::order).
        order: u64,
    },
    /// A message was given up by its user: [`Ack::Give`](crate::Ack::Give).
    Terminated {
        /// The stream.
        stream: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
        /// The message's position.
        seq: u64,
        /// How often it was delivered.
        deliveries: u64,
        /// Of the delivery that is spoken of.
        order: u64,
        /// What the user said.
        reason: String,
    },
    /// A message was refused by its user: [`Ack::Again`](crate::Ack::Again).
    Naked {
        /// The stream.
        stream: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
        /// The message's position.
        seq: u64,
        /// How often it was delivered.
        deliveries: u64,
        /// Of the delivery that is spoken of.
        order: u64,
    },
    /// A user was pinned.
    Pinned {
        /// The stream.
        stream: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
        /// The priority group.
        group: String,
        /// The pin.
        pin: Arc<str>,
    },
    /// A user is pinned no more.
    Unpinned {
        /// The stream.
        stream: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
        /// The priority group.
        group: String,
        /// Why.
        why: Unpinned,
    },
}

/// The streams that there are, so that an engine can tell what became of them.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    /// By name.
    known: BTreeMap<Arc<str>, StreamConfig>,
}

impl Streams {
    /// A stream is declared so: what that makes of it, if anything.
    pub fn stated(&mut self, config: &StreamConfig) -> Option<JournalEvent> {
        let stream: Arc<str> = Arc::from(config.name.as_str());
        match self.known.insert(stream.clone(), config.clone()) {
            None => Some(JournalEvent::StreamCreated { stream }),
            Some(before) if before != *config => Some(JournalEvent::StreamUpdated { stream }),
            Some(_) => None,
        }
    }

    /// A stream is gone.
    pub fn deleted(&mut self, stream: &str) -> Option<JournalEvent> {
        self.known.remove_entry(stream).map(|(stream, _)| JournalEvent::StreamDeleted { stream })
    }
}

/// Why a user is pinned no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpinned {
    /// It was asked for.
    Asked,
    /// It did not fetch for as long as it may.
    Silent,
}

//! The contract that every engine keeps.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

use event::{Moment, Pattern, Subject};

use crate::config::StreamConfig;
use crate::consumer::{Ack, AckToken, ConsumerConfig, ConsumerInfo, Fetch, Sink};
use crate::error::{AckError, AppendError, BatchError, ConsumerError, ReadError, StreamError};
use crate::news::Watcher;
use crate::stream::{Append, Page, Purge, Read, Receipt, Stored, StreamInfo, SubjectState};

/// What is called when a verb is done. Called once, from the engine's thread: must not block.
pub type Done<T> = Box<dyn FnOnce(T) + Send>;

/// What a verb gives: the work has begun when it is made, and goes on if it is dropped, save that
/// a read that waits stops waiting.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An answer, and what completes it. Dropping the completer answers `lost`.
pub fn answer<T: Send + 'static>(lost: impl FnOnce() -> T + Send + 'static) -> (Done<T>, Answer<T>) {
    let (sender, receiver) = futures_channel::oneshot::channel();
    let done = Box::new(move |value| {
        // A dropped answer asked not to be told.
        let _unwanted = sender.send(value);
    });
    (done, Box::pin(async move { receiver.await.unwrap_or_else(|_| lost()) }))
}

/// An answer that is there already.
pub fn ready<T: Send + 'static>(value: T) -> Answer<T> {
    Box::pin(core::future::ready(value))
}

/// Whether the journal can do its work, told truthfully.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why it cannot accept and acknowledge now; `None`: it can.
    pub refusing: Option<String>,
    /// Appends taken in and not yet acknowledged.
    pub waiting: u64,
    /// How long the oldest of them has waited, in nanoseconds.
    pub oldest_nanos: u64,
    /// Damaged records found since it was opened.
    pub damaged: u64,
}

/// A journal. The crate's documentation has its promises; the suite holds every engine to them.
///
/// Verbs of one caller on one stream take effect in the order of the calls.
pub trait Journal: Send + Sync {
    /// Records a message in the stream that captures its subject. `done` is called when the
    /// receipt's proof holds. Receipts of one stream are given in order of position.
    fn append(&self, append: Append, done: Done<Result<Receipt, AppendError>>);

    /// Records several messages in one stream, all or none, at consecutive positions; the receipt is
    /// the last one's. At most [`BATCH_MESSAGES_MAX`](crate::limits::BATCH_MESSAGES_MAX). All are judged
    /// before any is recorded, as [`rules::admit_all`](crate::rules::admit_all) says; no reader sees
    /// part of them.
    fn append_all(&self, appends: Vec<Append>, done: Done<Result<Receipt, BatchError>>);

    /// Creates a stream. The same declaration a second time is answered as the first.
    fn stream_create(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>>;

    /// Changes a stream's declaration, and applies new limits at once.
    fn stream_update(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>>;

    /// Deletes a stream with its messages and consumers.
    fn stream_delete(&self, stream: &str) -> Answer<Result<(), StreamError>>;

    /// One stream.
    fn stream_info(&self, stream: &str) -> Answer<Result<StreamInfo, StreamError>>;

    /// All streams, by name.
    fn streams(&self) -> Answer<Vec<StreamInfo>>;

    /// The name of the stream that captures a subject, if one does.
    fn captured_by(&self, subject: &Subject) -> Option<alloc::sync::Arc<str>>;

    /// A number that grows whenever what [`Journal::captured_by`] answers may have changed: who keeps
    /// an answer looks here whether it still holds. Costs one load.
    fn version(&self) -> u64;

    /// What a stream holds of each subject that the pattern matches, in byte order of the subjects,
    /// after `after`, at most `limit`.
    fn subjects(
        &self,
        stream: &str,
        pattern: &Pattern,
        after: Option<Subject>,
        limit: usize,
    ) -> Answer<Result<Vec<SubjectState>, ReadError>>;

    /// Removes messages; answers how many.
    fn purge(&self, stream: &str, purge: Purge) -> Answer<Result<u64, StreamError>>;

    /// Removes one message.
    fn delete(&self, stream: &str, seq: u64) -> Answer<Result<(), StreamError>>;

    /// Reads one page. Reads never block writes.
    fn read(&self, stream: &str, read: Read) -> Answer<Result<Page, ReadError>>;

    /// The message at a position.
    fn get(&self, stream: &str, seq: u64) -> Answer<Result<Stored, ReadError>>;

    /// Positions from `from` on, between a stream's first and last, that hold nothing: in order, at
    /// most `limit`.
    fn deleted(&self, stream: &str, from: u64, limit: usize) -> Answer<Result<Vec<u64>, ReadError>>;

    /// The last message of a subject, or of all that a pattern matches.
    fn last(&self, stream: &str, pattern: &Pattern) -> Answer<Result<Stored, ReadError>>;

    /// Creates a consumer. The same declaration a second time is answered as the first.
    fn consumer_create(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>>;

    /// Changes a consumer's declaration; outstanding deliveries stay.
    fn consumer_update(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>>;

    /// Deletes a consumer; its fetches end.
    fn consumer_delete(&self, stream: &str, consumer: &str) -> Answer<Result<(), ConsumerError>>;

    /// One consumer.
    fn consumer_info(&self, stream: &str, consumer: &str) -> Answer<Result<ConsumerInfo, ConsumerError>>;

    /// All consumers of a stream, by name.
    fn consumers(&self, stream: &str) -> Answer<Result<Vec<ConsumerInfo>, ConsumerError>>;

    /// Delivers nothing before `until`; `None` resumes.
    fn consumer_pause(
        &self,
        stream: &str,
        consumer: &str,
        until: Option<Moment>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>>;

    /// Forgets what is outstanding and starts over: behind the acknowledgement floor, or at the position
    /// `to`, which a consumer that starts at the last or at new messages refuses. Counts its
    /// deliveries anew.
    fn consumer_reset(
        &self,
        stream: &str,
        consumer: &str,
        to: Option<u64>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        let _unused = to;
        ready(Err(ConsumerError::NotFound { stream: stream.into(), name: consumer.into() }))
    }

    /// Lets go of the pinned user of a priority group: the next to be served is pinned.
    fn consumer_unpin(&self, stream: &str, consumer: &str, group: &str) -> Answer<Result<(), ConsumerError>> {
        let _unused = group;
        ready(Err(ConsumerError::NotFound { stream: stream.into(), name: consumer.into() }))
    }

    /// Has a watcher told of what happens, from now on until the journal is dropped.
    fn watch(&self, watcher: Watcher) {
        drop(watcher);
    }

    /// Pulls. Everything, refusal too, is told to the sink.
    fn fetch(&self, stream: &str, consumer: &str, fetch: Fetch, sink: Box<dyn Sink>);

    /// Says something of a delivery. `done` is called when it is taken; it survives a crash within
    /// a second, or at once where `synced`.
    fn acknowledge(&self, token: AckToken, ack: Ack, synced: bool, done: Done<Result<(), AckError>>);

    /// Sinks that took a pause may take more: asks them soon, and not only when it is their time.
    fn nudge(&self) {}

    /// Whether the engine itself carries out what streams have to do with each other: mirrors, sources,
    /// republishing. Where it does not, the node does.
    fn relates(&self) -> bool {
        false
    }

    /// How it is.
    fn health(&self) -> Health;

    /// Takes nothing more, brings everything to rest, and lets go of its files.
    fn close(&self) -> Answer<()>;
}

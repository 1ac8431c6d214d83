//! Moving: everything that a journal holds, copied to a NATS JetStream server or cluster.
//!
//! Positions stay what they are: a stream is created with the position at which the source begins, each
//! message is appended on the condition that the one before it is the last, and a position that holds
//! nothing is taken by a placeholder, which is deleted again. So the last position in the target says
//! how far a move came, and a move that was broken off goes on from there.
//!
//! # What differs afterwards
//! - A message's moment is when it was copied. Lifetimes of single messages and remembered message ids
//!   are not copied: the source does not tell them.
//! - A consumer begins behind its acknowledgement floor: what was acknowledged above the floor is
//!   delivered once more. On work queues and interest streams it begins at what is left.

use std::sync::Arc;

use journal::{
    Append, AppendError, ConsumerConfig, ConsumerError, ConsumerInfo, ConsumerStart, Expect, Journal, Read, ReadError,
    Receipt, Retention, Stored, StreamConfig, StreamError, StreamInfo, answer,
};
use thiserror::Error;

use crate::engine::JetStream;

/// Messages that are copied between two looks at the source.
const PAGE: usize = 1_000;

/// How far a move is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The stream at work.
    pub stream: String,
    /// Messages of it that are in the target.
    pub done: u64,
    /// Messages of it in all.
    pub total: u64,
}

/// What became of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The stream.
    pub stream: String,
    /// Messages copied by this run.
    pub copied: u64,
    /// Messages in the source, and in the target now.
    pub messages: (u64, u64),
    /// Last positions in the source, and in the target now.
    pub last: (u64, u64),
    /// Positions that hold nothing, kept so.
    pub gaps: u64,
    /// Consumers copied.
    pub consumers: u64,
}

/// Why a move stopped. What is copied stays; a second run goes on.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The stream cannot be declared, or what it holds cannot be told.
    #[error("the stream '{0}': {1}")]
    Stream(String, StreamError),
    /// The source does not give its messages.
    #[error("the stream '{0}' cannot be read: {1}")]
    Read(String, ReadError),
    /// The target does not take a message.
    #[error("position {1} of the stream '{0}' is not taken: {2}")]
    Append(String, u64, AppendError),
    /// A consumer cannot be declared.
    #[error("the consumer '{1}' of the stream '{0}': {2}")]
    Consumer(String, String, ConsumerError),
    /// The target has another count of messages than the source.
    #[error(
        "the stream '{stream}' has {found} messages in the target and {expected} in the source; nothing was deleted"
    )]
    Count {
        /// The stream.
        stream: String,
        /// In the source.
        expected: u64,
        /// In the target.
        found: u64,
    },
}

/// Copies all streams and consumers of a journal that nobody writes to.
///
/// # Errors
/// [`MigrateError`]; a second run goes on where this one stopped.
pub async fn migrate(
    from: Arc<dyn Journal>,
    to: &JetStream,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Vec<Moved>, MigrateError> {
    let mut all = Vec::new();
    for source in from.streams().await {
        all.push(stream(&*from, to, &source, &mut progress).await?);
    }
    Ok(all)
}

async fn stream(
    from: &dyn Journal,
    to: &JetStream,
    source: &StreamInfo,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<Moved, MigrateError> {
    let name = source.config.name.clone();
    let failed = |error| MigrateError::Stream(name.clone(), error);
    let target = begin(to, source).await.map_err(failed)?;
    let consumers = from.consumers(&name).await;
    let consumers = consumers.map_err(|error| MigrateError::Consumer(name.clone(), String::new(), error))?;
    let plain = source.config.retention == Retention::Limits;
    if !plain {
        declare(to, &name, &consumers, plain).await?;
    }
    let mut copy = Copy { to, name: &name, last: target.state.last, copied: 0, gaps: 0 };
    let (mut next, total) = (copy.last + 1, source.state.messages);
    loop {
        let page = from.read(&name, Read::from(next, PAGE)).await;
        let page = page.map_err(|error| MigrateError::Read(name.clone(), error))?;
        copy.page(page.messages).await?;
        next = page.next;
        progress(Progress { stream: name.clone(), done: target.state.messages + copy.copied, total });
        if page.next > page.last {
            break;
        }
    }
    copy.reach(source.state.last + 1).await?;
    let (copied, gaps) = (copy.copied, copy.gaps);
    if plain {
        to.stream_update(StreamConfig { first: 0, ..source.config.clone() }).await.map_err(failed)?;
        declare(to, &name, &consumers, plain).await?;
    }
    let found = to.stream_info(&name).await.map_err(failed)?.state;
    if found.messages != total {
        return Err(MigrateError::Count { stream: name.clone(), expected: total, found: found.messages });
    }
    let (messages, last) = ((total, found.messages), (source.state.last, found.last));
    let consumers = consumers.len() as u64;
    Ok(Moved { stream: name.clone(), copied, messages, last, gaps, consumers })
}

/// Declares the stream, without the limits that would let go of what is copied, where it is not there.
async fn begin(to: &JetStream, source: &StreamInfo) -> Result<StreamInfo, StreamError> {
    let name = &source.config.name;
    match to.stream_info(name).await {
        Err(StreamError::NotFound(_)) => {}
        found => return found,
    }
    let first = source.state.first.min(source.state.last + 1);
    let bare = StreamConfig {
        first: if first > 1 { first } else { 0 },
        messages_max: None,
        bytes_max: None,
        messages_per_subject_max: None,
        discard_new_per_subject: false,
        age_max: None,
        deny_delete: false,
        deny_purge: false,
        sealed: false,
        transform: None,
        ..source.config.clone()
    };
    to.stream_create(bare).await
}

async fn declare(to: &JetStream, stream: &str, consumers: &[ConsumerInfo], plain: bool) -> Result<(), MigrateError> {
    for info in consumers.iter().filter(|info| info.config.durable) {
        let start = if plain { ConsumerStart::Seq(info.ack_floor + 1) } else { ConsumerStart::All };
        let config = ConsumerConfig { start, ..info.config.clone() };
        match to.consumer_create(stream, config).await {
            Ok(_) | Err(ConsumerError::Exists(_)) => {}
            Err(error) => {
                return Err(MigrateError::Consumer(stream.to_owned(), info.config.name.clone(), error));
            }
        }
    }
    Ok(())
}

struct Copy<'a> {
    to: &'a JetStream,
    name: &'a str,
    /// Last position in the target, with what is on its way.
    last: u64,
    copied: u64,
    gaps: u64,
}

impl Copy<'_> {
    /// Copies messages, with the positions between them.
    async fn page(&mut self, messages: Vec<Stored>) -> Result<(), MigrateError> {
        let mut waiting = Vec::with_capacity(messages.len());
        for stored in messages {
            if stored.seq > self.last + 1 {
                self.settle(&mut waiting).await?;
                self.fill(&stored).await?;
            }
            self.copied += 1;
            waiting.push(self.append(Append::new(stored.message)));
        }
        self.settle(&mut waiting).await
    }

    fn append(&mut self, append: Append) -> (u64, journal::Answer<Result<Receipt, AppendError>>) {
        let (done, receipt) = answer(|| Err(AppendError::Closed(String::from("the engine is shutting down"))));
        let expect = Expect { last: Some(self.last), ..Expect::default() };
        self.last += 1;
        self.to.append(Append { expect, ..append }, done);
        (self.last, receipt)
    }

    async fn settle(
        &mut self,
        waiting: &mut Vec<(u64, journal::Answer<Result<Receipt, AppendError>>)>,
    ) -> Result<(), MigrateError> {
        for (seq, receipt) in waiting.drain(..) {
            receipt.await.map_err(|error| MigrateError::Append(self.name.to_owned(), seq, error))?;
        }
        Ok(())
    }

    /// Takes the positions before a message with placeholders of its subject, and deletes them.
    async fn fill(&mut self, before: &Stored) -> Result<(), MigrateError> {
        let first = self.last + 1;
        let mut waiting = Vec::new();
        while self.last + 1 < before.seq {
            let mut message = before.message.clone();
            message.payload = bytes::Bytes::new();
            message.headers = event::Headers::EMPTY;
            waiting.push(self.append(Append::new(message)));
        }
        self.settle(&mut waiting).await?;
        for seq in first..before.seq {
            self.gaps += 1;
            match self.to.delete(self.name, seq).await {
                Ok(()) | Err(StreamError::NoMessage(_)) => {}
                Err(error) => return Err(MigrateError::Stream(self.name.to_owned(), error)),
            }
        }
        Ok(())
    }

    /// Takes the positions behind the last message, where the source gave more than it holds.
    async fn reach(&mut self, end: u64) -> Result<(), MigrateError> {
        if self.last + 1 >= end {
            return Ok(());
        }
        let Ok(info) = self.to.stream_info(self.name).await else { return Ok(()) };
        let literal = info
            .config
            .subjects
            .iter()
            .find_map(|pattern| event::Subject::parse(&pattern.as_str().replace(['*', '>'], "_")).ok());
        let Some(subject) = literal else { return Ok(()) };
        let message = event::Message::new(subject, bytes::Bytes::new());
        self.fill(&Stored { seq: end, time: event::Moment::EPOCH, message }).await
    }
}

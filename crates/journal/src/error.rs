//! What can go wrong: one enum for each verb. Each variant says when, and whether to try again.

use alloc::string::String;

use event::Pattern;
use thiserror::Error;

/// Why an append was refused. Nothing was recorded, but where the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// No stream captures the subject. Create one, or publish to another subject.
    #[error("no stream captures the subject '{0}'; create one that does, or publish to a captured subject")]
    NoStream(String),
    /// The subject is captured by another stream than expected.
    #[error("the subject is captured by the stream '{found}', not by '{expected}'")]
    OtherStream {
        /// What was expected.
        expected: String,
        /// What captures it.
        found: String,
    },
    /// Another was there first. Read, decide anew, try again.
    #[error("expected last position {expected}, found {found}")]
    LastSeq {
        /// What was expected.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// As `LastSeq`, for a subject.
    #[error("expected last position {expected} of the subject, found {found}")]
    LastSubjectSeq {
        /// What was expected.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// As `LastSeq`, for the last message id.
    #[error("expected last message id '{expected}', found '{found}'")]
    LastId {
        /// What was expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The message is larger than the stream takes.
    #[error("the message has {size} bytes with its subject and headers; the stream takes {max}")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// The message id is longer than [`MESSAGE_ID_BYTES_MAX`](crate::limits::MESSAGE_ID_BYTES_MAX).
    #[error("the message id has more than {} bytes", crate::limits::MESSAGE_ID_BYTES_MAX)]
    IdTooLong,
    /// The stream takes no lifetime.
    #[error("the stream does not allow messages with a lifetime (allow_ttl)")]
    TtlNotAllowed,
    /// There is no stream of the name that was given.
    #[error("there is no stream '{0}'")]
    NotFound(String),
    /// The stream is sealed: it takes nothing any more.
    #[error("the stream is sealed")]
    Sealed,
    /// The stream takes no message in the place of others.
    #[error("the stream does not allow a message to take the place of others (allow_rollup)")]
    RollupNotAllowed,
    /// The stream takes no batches.
    #[error("the stream does not allow atomic batches (allow_atomic)")]
    BatchNotAllowed,
    /// More messages, or bytes, than a batch takes.
    #[error(
        "a batch takes at most {} messages and {} bytes",
        crate::limits::BATCH_MESSAGES_MAX,
        crate::limits::BATCH_BYTES_MAX
    )]
    BatchTooLarge,
    /// A message id that the batch holds twice, or that was recorded within the window.
    #[error("the batch holds a message that was recorded already")]
    BatchDuplicate,
    /// What a batch cannot say of this message: a precondition that an earlier message of the batch
    /// decides, or a rollup of what the batch itself brings.
    #[error("a batch cannot say this of the message: {0}")]
    BatchUnsupported(&'static str),
    /// The position that was given is not behind the last. Never worth trying again.
    #[error("position {seq} was given, and the last is {last}")]
    Position {
        /// What was given.
        seq: u64,
        /// The last position.
        last: u64,
    },
    /// The stream is at a limit and discards new messages. Try again when there is room.
    #[error("the stream is full: {limit}")]
    Full {
        /// Which limit.
        limit: &'static str,
    },
    /// The disk is full, or may not be written. Try again when there is room; nothing is lost.
    #[error("the journal cannot write: {0}")]
    Storage(String),
    /// More is waiting than the engine takes in. Try again in a moment.
    #[error("the journal is busy: too much is waiting to be written")]
    Busy,
    /// The engine failed and trusts its files no more, or is shutting down. **Whether the message
    /// was recorded is unknown.** Try again, with the same message id, when the node is back.
    #[error("the journal is closed: {0}")]
    Closed(String),
}

/// Why a batch was refused. Nothing of it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("message {index} of the batch: {error}")]
pub struct BatchError {
    /// Which message, counted from 0; 0 where it is the batch as such.
    pub index: usize,
    /// Why.
    pub error: AppendError,
}

/// Why a stream, or what was asked of it, was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StreamError {
    /// There is no such stream.
    #[error("there is no stream '{0}'")]
    NotFound(String),
    /// A stream of that name exists with another configuration. Update it instead.
    #[error("the stream '{0}' exists with another configuration; update it instead")]
    Exists(String),
    /// Two streams would capture the same subjects.
    #[error("the subjects '{ours}' of the stream '{name}' overlap '{theirs}' of the stream '{other}'")]
    Overlap {
        /// The stream that was refused.
        name: String,
        /// Its pattern.
        ours: Pattern,
        /// The stream that exists.
        other: String,
        /// Its pattern.
        theirs: Pattern,
    },
    /// A field of the configuration is wrong.
    #[error("the field '{field}' {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
    /// There is no message at that position.
    #[error("there is no message at position {0}")]
    NoMessage(u64),
    /// The stream's configuration denies it.
    #[error("the stream's configuration denies it ({0})")]
    Denied(&'static str),
    /// As [`AppendError::Storage`].
    #[error("the journal cannot write: {0}")]
    Storage(String),
    /// As [`AppendError::Closed`].
    #[error("the journal is closed: {0}")]
    Closed(String),
}

/// Why a read was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// There is no such stream.
    #[error("there is no stream '{0}'")]
    NotFound(String),
    /// There is no message at that position, or none of that subject.
    #[error("there is no such message")]
    NoMessage,
    /// More filters than a read takes.
    #[error("a read takes at most {} filters", crate::limits::PATTERNS_MAX)]
    Filters,
    /// The record is there and its checksum is wrong.
    #[error("the record at position {0} is damaged")]
    Damaged(u64),
    /// The disk does not give the bytes. Perhaps later.
    #[error("the journal cannot read: {0}")]
    Storage(String),
    /// The engine is shutting down.
    #[error("the journal is closed: {0}")]
    Closed(String),
}

/// Why a consumer, or what was asked of it, was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConsumerError {
    /// There is no such stream.
    #[error("there is no stream '{0}'")]
    NoStream(String),
    /// There is no such consumer.
    #[error("there is no consumer '{name}' on the stream '{stream}'")]
    NotFound {
        /// The stream.
        stream: String,
        /// The consumer.
        name: String,
    },
    /// The stream has as many consumers as it takes.
    #[error("the stream takes at most {0} consumers")]
    TooMany(u64),
    /// A consumer of that name exists with another configuration.
    #[error("the consumer '{0}' exists with another configuration; update it instead")]
    Exists(String),
    /// A field of the configuration is wrong.
    #[error("the field '{field}' {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
    /// The stream is a work queue, which does not allow it.
    #[error("the stream is a work queue: {0}")]
    Queue(QueueError),
    /// The consumer cannot start over from there.
    #[error("it cannot be reset: {0}")]
    Reset(&'static str),
    /// The consumer has no such priority group, or pins nobody.
    #[error("the consumer has no priority group '{0}' that is pinned")]
    NoGroup(String),
    /// As [`AppendError::Storage`].
    #[error("the journal cannot write: {0}")]
    Storage(String),
    /// As [`AppendError::Closed`].
    #[error("the journal is closed: {0}")]
    Closed(String),
}

/// What a work queue asks of its consumers, so that each message is one consumer's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueueError {
    /// Each message must be acknowledged by itself.
    #[error("its consumers must acknowledge each message (ack: explicit)")]
    NotExplicit,
    /// It must start at the first message.
    #[error("its consumers must start at the first message (start: all)")]
    NotAll,
    /// It takes everything, and is not the only consumer.
    #[error("a consumer without filters must be its only one")]
    Unfiltered,
    /// Its filters overlap another's.
    #[error("the filters must not overlap those of '{other}'")]
    Overlap {
        /// The other consumer.
        other: String,
    },
}

/// Why a fetch was refused, or ended early.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// There is no such stream or consumer.
    #[error("there is no consumer '{name}' on the stream '{stream}'")]
    NotFound {
        /// The stream.
        stream: String,
        /// The consumer.
        name: String,
    },
    /// Too many fetches wait on the consumer. Try again when one has ended.
    #[error("{max} fetches wait on the consumer already")]
    Waiting {
        /// How many may.
        max: u64,
    },
    /// The batch is zero.
    #[error("a batch has at least 1 message")]
    Batch,
    /// The batch is beyond the consumer's `batch_max`.
    #[error("the consumer gives at most {max} messages to a fetch")]
    BatchMax {
        /// How many.
        max: u64,
    },
    /// The bytes are beyond the consumer's `bytes_max`.
    #[error("the consumer gives at most {max} bytes to a fetch")]
    BytesMax {
        /// How many.
        max: u64,
    },
    /// The wait is beyond the consumer's `expires_max`.
    #[error("a fetch waits at most {max:?} on the consumer")]
    ExpiresMax {
        /// How long.
        max: core::time::Duration,
    },
    /// Thresholds are for consumers of the overflow policy.
    #[error("the consumer's priority policy is not overflow")]
    NotOverflow,
    /// A pin is for consumers of the pinning policy.
    #[error("the consumer's priority policy is not pinned")]
    NotPinned,
    /// The priority is beyond 9.
    #[error("a priority is 0 to 9")]
    Priority,
    /// The consumer has priority groups, and none is named.
    #[error("the consumer asks for a priority group")]
    GroupMissing,
    /// The consumer has no such priority group.
    #[error("the consumer has no priority group '{0}'")]
    GroupUnknown(String),
    /// The disk does not give the bytes. Perhaps later.
    #[error("the journal cannot read: {0}")]
    Storage(String),
    /// The engine is shutting down.
    #[error("the journal is closed: {0}")]
    Closed(String),
}

/// Why an acknowledgement was refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AckError {
    /// The text is no token.
    #[error("'{0}' is not an acknowledgement token")]
    Malformed(String),
    /// There is no such consumer, or it is a new one of an old one's name.
    #[error("there is no consumer '{name}' on the stream '{stream}' that made this delivery")]
    NotFound {
        /// The stream.
        stream: String,
        /// The consumer.
        name: String,
    },
    /// The token is of another consumer than the one that was asked.
    #[error("the token belongs to the consumer '{0}'")]
    OtherConsumer(String),
    /// The message was acknowledged, or given up, already.
    #[error("the message at position {0} was acknowledged already, or given up")]
    Already(u64),
    /// The consumer never made this delivery.
    #[error("the consumer made no such delivery of position {0}")]
    Unknown(u64),
    /// The consumer asks for no acknowledgements.
    #[error("the consumer takes no acknowledgements")]
    NotWanted,
    /// As [`AppendError::Closed`].
    #[error("the journal is closed: {0}")]
    Closed(String),
}

//! What goes into a stream and what comes out of it.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use event::{Message, Moment, Pattern, Subject};

use crate::config::StreamConfig;

/// What must be so for an append to be taken. All that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    /// The stream that captures the subject has this name.
    pub stream: Option<String>,
    /// The stream's last position is this one (0: nothing was ever recorded).
    pub last: Option<u64>,
    /// The last position of `subject`, or of the message's own subject, is this one (0: none there).
    pub last_of_subject: Option<u64>,
    /// What `last_of_subject` speaks of, if not the message's own subject. May be a pattern.
    pub subject: Option<Pattern>,
    /// The id of the last message recorded with one is this.
    pub last_id: Option<String>,
}

/// Which earlier messages a message takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollup {
    /// All of its subject.
    Subject,
    /// All of the stream.
    All,
}

/// A message to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The message. Its `reply` is not recorded.
    pub message: Message,
    /// The stream that it is recorded in, whatever that captures: for what mirrors and sources bring.
    /// `None`: the one that captures the subject.
    pub into: Option<String>,
    /// An id that makes a second append of the same fact, within the window, a duplicate.
    pub id: Option<Bytes>,
    /// Preconditions.
    pub expect: Expect,
    /// How long the message lives, counted from when it is recorded.
    /// [`TTL_NEVER`](crate::limits::TTL_NEVER): for ever, the stream's `age_max` notwithstanding.
    pub ttl: Option<Duration>,
    /// Which earlier messages go, in the same instant. Needs the stream's `allow_rollup`.
    pub rollup: Option<Rollup>,
    /// Position and moment, where they are given elsewhere: for mirrors. Behind the last position;
    /// those passed over hold nothing. A moment before the last message's counts as that. What a
    /// message id and a lifetime are judged by was judged there.
    pub at: Option<(u64, Moment)>,
}

impl Append {
    /// An append without id, preconditions or lifetime.
    pub fn new(message: Message) -> Self {
        Append { message, into: None, id: None, expect: Expect::default(), ttl: None, rollup: None, at: None }
    }
}

/// What a receipt proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// In this process's memory: gone when it ends.
    Memory,
    /// Handed to the operating system, not yet synced (`sync: interval`).
    Written,
    /// On this node's disk, synced.
    Disk,
    /// On this many replicas.
    Replicas(u8),
}

/// Where a message was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The stream.
    pub stream: alloc::sync::Arc<str>,
    /// The position: of the earlier message, for a duplicate.
    pub seq: u64,
    /// Whether a message of the same id was there already, so that nothing was recorded.
    pub duplicate: bool,
    /// What this receipt proves.
    pub proof: Proof,
}

/// A recorded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its position.
    pub seq: u64,
    /// When it was recorded. Never before the message ahead of it.
    pub time: Moment,
    /// The message, without reply subject.
    pub message: Message,
}

/// Where a read starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first message at or after this position.
    Seq(u64),
    /// At the first message recorded at or after this moment.
    Time(Moment),
    /// After the last message that there is now.
    New,
}

/// How far a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To this position, itself included.
    Seq(u64),
    /// To the last message recorded at or before this moment.
    Time(Moment),
}

/// A read of one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Where it starts.
    pub start: Start,
    /// Only messages that one of these matches. Empty: all.
    pub filters: Vec<Pattern>,
    /// Only the last message of each subject, in order of position, as of now. Such a read ends at
    /// the stream's end as it was when the read began, and does not wait.
    pub last_per_subject: bool,
    /// How far it goes: as if nothing had been recorded behind. With `last_per_subject`, the last message
    /// of each subject up to there, as far as it is still kept; that costs a look-up for each message
    /// of a subject that has some behind. Such a read does not wait.
    pub until: Option<Until>,
    /// Most messages; at most [`PAGE_MESSAGES_MAX`](crate::limits::PAGE_MESSAGES_MAX).
    pub limit: usize,
    /// Most bytes, save that a page holds at least one message.
    pub bytes: usize,
    /// Where nothing matches up to the end: how long to wait for the first message that does.
    pub wait: Option<Duration>,
}

impl Read {
    /// A page of up to `limit` messages from a position, unfiltered, without waiting.
    pub fn from(seq: u64, limit: usize) -> Self {
        Read {
            start: Start::Seq(seq),
            filters: Vec::new(),
            last_per_subject: false,
            until: None,
            limit,
            bytes: crate::limits::PAGE_BYTES_MAX,
            wait: None,
        }
    }
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The messages, in order of position.
    pub messages: Vec<Stored>,
    /// Where to go on: every message before this position was given or does not match.
    pub next: u64,
    /// The stream's last position when the page was made. `next > last`: the page reached the end.
    pub last: u64,
    /// Positions of damaged records that were passed over, so that no gap is silent.
    pub damaged: Vec<u64>,
}

/// What a purge removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purge {
    /// Only messages that this matches.
    pub filter: Option<Pattern>,
    /// Only messages before this position. Not with `keep`.
    pub before: Option<u64>,
    /// All but the newest so many (of those that `filter` matches). Not with `before`.
    pub keep: Option<u64>,
}

/// What a stream holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Messages there are.
    pub messages: u64,
    /// Bytes of them, counted as [`Message::size`].
    pub bytes: u64,
    /// First position there is; `last + 1` where there is none (1 in a stream never written).
    pub first: u64,
    /// When the first was recorded.
    pub first_time: Moment,
    /// Last position ever given; 0 in a stream never written.
    pub last: u64,
    /// When that was.
    pub last_time: Moment,
    /// Distinct subjects there are.
    pub subjects: u64,
    /// Positions between first and last that hold nothing.
    pub deleted: u64,
    /// Records found damaged since the journal was opened.
    pub damaged: u64,
}

/// A stream: what was declared and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// The declaration, with its defaults filled.
    pub config: StreamConfig,
    /// When it was created.
    pub created: Moment,
    /// What it holds.
    pub state: StreamState,
    /// How many consumers it has.
    pub consumers: u64,
    /// Bytes that it takes up on disk; 0 in memory.
    pub disk_bytes: u64,
}

/// What a stream holds of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectState {
    /// The subject.
    pub subject: Subject,
    /// Messages there are.
    pub messages: u64,
    /// First position.
    pub first: u64,
    /// Last position.
    pub last: u64,
}

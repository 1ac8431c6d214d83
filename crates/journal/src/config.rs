//! How a stream is declared.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use event::{Moment, Pattern, Transform};

use crate::limits::DUPLICATE_WINDOW_DEFAULT;

/// Where a stream's messages are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// On disk: they survive a restart.
    #[default]
    File,
    /// In memory: they are gone after a restart; the stream itself and its configuration are not.
    Memory,
}

/// What makes a message go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Retention {
    /// The limits alone.
    #[default]
    Limits,
    /// Also as soon as every consumer that wants it has acknowledged it.
    Interest,
    /// Also as soon as one consumer has acknowledged it; consumers' filters must not overlap.
    WorkQueue,
}

/// What happens to a message that would break a limit by count or bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Discard {
    /// The oldest messages go.
    #[default]
    Old,
    /// The new message is refused with [`AppendError::Full`](crate::AppendError::Full).
    New,
}

/// What is published again, elsewhere. Carried out by doors and links: a journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Republish {
    /// Which messages, by their subjects as recorded, and to where.
    pub transform: Transform,
    /// Without their payloads.
    pub headers_only: bool,
}

/// Another stream whose messages are taken over. Carried out by the node: a journal keeps it, and
/// takes the messages by [`Append::into`](crate::Append::into).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// That stream's name.
    pub stream: String,
    /// Where in it to start; `None`: at its first message.
    pub start: Option<SourceStart>,
    /// Only messages that this matches.
    pub filter: Option<Pattern>,
    /// What becomes of subjects; the first whose source matches. Where there are some, only messages
    /// that one matches are taken. Not with `filter`.
    pub transforms: Vec<Transform>,
}

impl Source {
    /// A source that takes a whole stream as it is.
    pub fn new(stream: impl Into<String>) -> Self {
        Source { stream: stream.into(), start: None, filter: None, transforms: Vec::new() }
    }
}

/// Where a source starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStart {
    /// At the first message at or after this position.
    Seq(u64),
    /// At the first message recorded at or after this moment.
    Time(Moment),
}

/// A stream's declaration. `None` in a limit is "no limit".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// 1 to 255 letters, digits, `_`, `-`: the name is a token of NATS subjects and a folder name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Which messages it captures. No two streams of a journal overlap. None with `mirror`; there may
    /// be none with `sources`.
    pub subjects: Vec<Pattern>,
    /// Where messages are kept. Cannot be changed later.
    pub storage: Storage,
    /// What makes messages go. Cannot be changed later.
    pub retention: Retention,
    /// What happens at `messages_max` and `bytes_max`.
    pub discard: Discard,
    /// With [`Discard::New`]: whether `messages_per_subject_max` refuses too, in place of discarding.
    pub discard_new_per_subject: bool,
    /// Most messages.
    pub messages_max: Option<u64>,
    /// Most bytes, counted as [`event::Message::size`].
    pub bytes_max: Option<u64>,
    /// Most messages of one subject.
    pub messages_per_subject_max: Option<u64>,
    /// Age after which a message goes.
    pub age_max: Option<Duration>,
    /// Largest message, counted as [`event::Message::size`].
    pub message_bytes_max: Option<u32>,
    /// How long a message id is remembered. Zero: not at all.
    pub duplicate_window: Duration,
    /// Most consumers.
    pub consumers_max: Option<u64>,
    /// Whether messages may carry a lifetime of their own.
    pub allow_ttl: bool,
    /// Whether a message may take the place of all earlier ones. Not with `deny_purge`.
    pub allow_rollup: bool,
    /// Whether [`Journal::append_all`](crate::Journal::append_all) is taken.
    pub allow_atomic: bool,
    /// Whether doors offer to read single messages directly; a journal keeps it.
    pub allow_direct: bool,
    /// Whether deleting single messages is refused.
    pub deny_delete: bool,
    /// Whether purging is refused.
    pub deny_purge: bool,
    /// Whether nothing is recorded and removed any more but what lifetimes and limits remove.
    /// Cannot be undone.
    pub sealed: bool,
    /// The first position that a new stream gives; 0 as 1. Without effect later.
    pub first: u64,
    /// How long a marker lives that is recorded in the place of the last message of a subject, where
    /// that goes by age or by its own lifetime; at least [`MARKER_TTL_MIN`](crate::limits::MARKER_TTL_MIN).
    /// Needs `allow_ttl`.
    pub marker_ttl: Option<Duration>,
    /// What becomes of a subject before anything else is judged; one that the source does not match
    /// stays as it is.
    pub transform: Option<Transform>,
    /// What is published again.
    pub republish: Option<Republish>,
    /// The stream that this one is a copy of, with its positions and moments. It captures nothing
    /// then. Can be taken away later, not added or changed.
    pub mirror: Option<Source>,
    /// Streams whose messages are taken over, besides those captured.
    pub sources: Vec<Source>,
    /// Copies, where the engine is a cluster; 1 on the embedded engine.
    pub replicas: u8,
    /// What users and doors note about the stream; kept as it is.
    pub metadata: BTreeMap<String, String>,
}

impl StreamConfig {
    /// A stream in a file, without limits, with the default window.
    pub fn new(name: impl Into<String>, subjects: impl IntoIterator<Item = Pattern>) -> Self {
        StreamConfig {
            name: name.into(),
            description: String::new(),
            subjects: subjects.into_iter().collect(),
            storage: Storage::File,
            retention: Retention::Limits,
            discard: Discard::Old,
            discard_new_per_subject: false,
            messages_max: None,
            bytes_max: None,
            messages_per_subject_max: None,
            age_max: None,
            message_bytes_max: None,
            duplicate_window: DUPLICATE_WINDOW_DEFAULT,
            consumers_max: None,
            allow_ttl: true,
            allow_rollup: false,
            allow_atomic: false,
            allow_direct: false,
            deny_delete: false,
            deny_purge: false,
            sealed: false,
            first: 0,
            marker_ttl: None,
            transform: None,
            republish: None,
            mirror: None,
            sources: Vec::new(),
            replicas: 1,
            metadata: BTreeMap::new(),
        }
    }

    /// Whether the stream captures a subject.
    pub fn captures(&self, subject: &str) -> bool {
        self.subjects.iter().any(|pattern| pattern.matches(subject))
    }
}

//! How a stream is declared.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use event::Pattern;

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

/// A stream's declaration. `None` in a limit is "no limit".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// 1 to 255 letters, digits, `_`, `-`: the name is a token of NATS subjects and a folder name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Which messages it captures. No two streams of a journal overlap.
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
    /// Whether messages may carry a lifetime of their own.
    pub allow_ttl: bool,
    /// Whether deleting single messages is refused.
    pub deny_delete: bool,
    /// Whether purging is refused.
    pub deny_purge: bool,
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
            allow_ttl: true,
            deny_delete: false,
            deny_purge: false,
            replicas: 1,
            metadata: BTreeMap::new(),
        }
    }

    /// Whether the stream captures a subject.
    pub fn captures(&self, subject: &str) -> bool {
        self.subjects.iter().any(|pattern| pattern.matches(subject))
    }
}

//! Streams as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use event::{Moment, Pattern};
use journal::limits::DUPLICATE_WINDOW_DEFAULT;
use journal::{Discard, Purge, Retention, Storage, StreamConfig, StreamInfo, SubjectState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{agree, names};
use crate::problem::Problem;

names!(
    /// Where a stream's messages are kept.
    StorageName of Storage { File, Memory }
);
names!(
    /// What makes a message go.
    RetentionName of Retention { Limits, Interest, WorkQueue }
);
names!(
    /// What happens at a limit: the oldest goes, or the new one is refused.
    DiscardName of Discard { Old, New }
);

fn one() -> u8 {
    1
}

/// A stream's declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamDeclaration {
    /// Its name; in a request it may be left out, or must be the path's.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The patterns of the subjects that it captures.
    #[serde(with = "super::patterns")]
    #[schema(value_type = Vec<String>)]
    pub subjects: Vec<Pattern>,
    /// Where messages are kept. Cannot be changed.
    #[serde(default)]
    pub storage: StorageName,
    /// What makes messages go. Cannot be changed.
    #[serde(default)]
    pub retention: RetentionName,
    /// What happens at a limit.
    #[serde(default)]
    pub discard: DiscardName,
    /// Whether `messages_per_subject_max` refuses too.
    #[serde(default)]
    pub discard_new_per_subject: bool,
    /// Most messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_max: Option<u64>,
    /// Most bytes of subjects, headers and payloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// Most messages of one subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_subject_max: Option<u64>,
    /// Age at which a message goes, such as `168h`.
    #[serde(default, with = "super::duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub age_max: Option<Duration>,
    /// Largest message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_bytes_max: Option<u32>,
    /// How long a message id is remembered; `2m` if not given, or `age_max` where that is shorter.
    #[serde(default, with = "super::duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub duplicate_window: Option<Duration>,
    /// Whether messages may carry a lifetime.
    #[serde(default = "super::yes")]
    pub allow_ttl: bool,
    /// Whether deleting single messages is refused.
    #[serde(default)]
    pub deny_delete: bool,
    /// Whether purging is refused.
    #[serde(default)]
    pub deny_purge: bool,
    /// Copies; 1 on the embedded engine.
    #[serde(default = "one")]
    pub replicas: u8,
    /// What users note about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl StreamDeclaration {
    /// The declaration under the path's name.
    ///
    /// # Errors
    /// A problem where the body names another.
    pub fn named(self, name: &str) -> Result<StreamConfig, Problem> {
        agree(&self.name, name)?;
        let window = DUPLICATE_WINDOW_DEFAULT.min(self.age_max.unwrap_or(Duration::MAX));
        Ok(StreamConfig {
            name: name.to_owned(),
            description: self.description,
            subjects: self.subjects,
            storage: self.storage.into(),
            retention: self.retention.into(),
            discard: self.discard.into(),
            discard_new_per_subject: self.discard_new_per_subject,
            messages_max: self.messages_max,
            bytes_max: self.bytes_max,
            messages_per_subject_max: self.messages_per_subject_max,
            age_max: self.age_max,
            message_bytes_max: self.message_bytes_max,
            duplicate_window: self.duplicate_window.unwrap_or(window),
            allow_ttl: self.allow_ttl,
            deny_delete: self.deny_delete,
            deny_purge: self.deny_purge,
            replicas: self.replicas,
            metadata: self.metadata,
            ..StreamConfig::new(name, [])
        })
    }
}

impl From<StreamConfig> for StreamDeclaration {
    fn from(config: StreamConfig) -> Self {
        StreamDeclaration {
            name: config.name,
            description: config.description,
            subjects: config.subjects,
            storage: config.storage.into(),
            retention: config.retention.into(),
            discard: config.discard.into(),
            discard_new_per_subject: config.discard_new_per_subject,
            messages_max: config.messages_max,
            bytes_max: config.bytes_max,
            messages_per_subject_max: config.messages_per_subject_max,
            age_max: config.age_max,
            message_bytes_max: config.message_bytes_max,
            duplicate_window: Some(config.duplicate_window),
            allow_ttl: config.allow_ttl,
            deny_delete: config.deny_delete,
            deny_purge: config.deny_purge,
            replicas: config.replicas,
            metadata: config.metadata,
        }
    }
}

/// What a stream holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct StreamStateView {
    messages: u64,
    bytes: u64,
    first_seq: u64,
    #[serde(with = "super::moment", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    first_time: Option<Moment>,
    last_seq: u64,
    #[serde(with = "super::moment", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_time: Option<Moment>,
    subjects: u64,
    deleted: u64,
    damaged: u64,
}

/// A stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct StreamView {
    config: StreamDeclaration,
    #[schema(value_type = String, format = DateTime)]
    created: String,
    state: StreamStateView,
    consumers: u64,
    disk_bytes: u64,
}

impl From<StreamInfo> for StreamView {
    fn from(info: StreamInfo) -> Self {
        let state = info.state;
        StreamView {
            config: info.config.into(),
            created: info.created.to_string(),
            state: StreamStateView {
                messages: state.messages,
                bytes: state.bytes,
                first_seq: state.first,
                first_time: (state.messages > 0).then_some(state.first_time),
                last_seq: state.last,
                last_time: (state.last > 0).then_some(state.last_time),
                subjects: state.subjects,
                deleted: state.deleted,
                damaged: state.damaged,
            },
            consumers: info.consumers,
            disk_bytes: info.disk_bytes,
        }
    }
}

/// Every stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct StreamList {
    /// By name.
    pub streams: Vec<StreamView>,
}

/// What a stream holds of one subject.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubjectView {
    subject: String,
    messages: u64,
    first_seq: u64,
    last_seq: u64,
}

impl From<SubjectState> for SubjectView {
    fn from(state: SubjectState) -> Self {
        let SubjectState { subject, messages, first, last } = state;
        SubjectView { subject: subject.as_str().to_owned(), messages, first_seq: first, last_seq: last }
    }
}

/// Subjects, in byte order.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubjectList {
    /// One for each.
    pub subjects: Vec<SubjectView>,
}

/// What to remove. Without any field: everything.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    /// Only messages that this pattern matches.
    #[serde(default, deserialize_with = "super::pattern::deserialize")]
    #[schema(value_type = Option<String>)]
    filter: Option<Pattern>,
    /// Only messages before this position. Not with `keep`.
    #[serde(default)]
    before: Option<u64>,
    /// All but the newest so many. Not with `before`.
    #[serde(default)]
    keep: Option<u64>,
}

impl PurgeRequest {
    /// The journal's purge.
    ///
    /// # Errors
    /// A problem where both `before` and `keep` are given.
    pub fn judged(self) -> Result<Purge, Problem> {
        if self.before.is_some() && self.keep.is_some() {
            return Err(Problem::field("keep", "cannot be given together with 'before'"));
        }
        Ok(Purge { filter: self.filter, before: self.before, keep: self.keep })
    }
}

/// How many messages were removed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Purged {
    /// So many.
    pub purged: u64,
}

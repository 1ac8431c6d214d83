//! Streams and consumers as JSON: what a client declares, and what it is told.
//!
//! Wire types, each with its way to the journal's type and back. An absent limit is no limit; a
//! field that is not known is refused by name.

use std::collections::BTreeMap;
use std::time::Duration;

use event::{Moment, Pattern};
use journal::limits::{ACK_PENDING_DEFAULT, ACK_WAIT_DEFAULT, DUPLICATE_WINDOW_DEFAULT};
use journal::{
    AckPolicy, ConsumerConfig, ConsumerInfo, ConsumerStart, Discard, Purge, Retention, Storage, StreamConfig,
    StreamInfo, SubjectState,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::codec::span;
use crate::problem::Problem;

/// Reads a JSON body.
///
/// # Errors
/// A problem naming the field, where one is at fault, and the place.
pub fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.into_inner());
        let text = inner.to_string();
        if !inner.is_data() {
            return Problem::body(format!("the body is not JSON: {text}"));
        }
        // An unknown field's own name stands in the message only.
        let unknown = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let name = unknown.map_or(path, ToOwned::to_owned);
        let name = if name == "." { String::new() } else { name };
        Problem::field(&name, &format!("is wrong: {text}"))
    })?;
    reader.end().map_err(|error| Problem::body(format!("the body goes on after its JSON: {error}")))?;
    Ok(value)
}

mod duration {
    use super::{Duration, span};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_str(&span::print(*value)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| span::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

mod durations {
    use super::{Duration, span};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value.iter().map(|each| span::print(*each)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        let texts: Vec<String> = Vec::deserialize(deserializer)?;
        texts.iter().map(|text| span::parse(text).map_err(D::Error::custom)).collect()
    }
}

mod moment {
    use super::Moment;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &Option<Moment>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Moment>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| Moment::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

mod patterns {
    use super::Pattern;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &[Pattern], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value.iter().map(Pattern::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
        let texts: Vec<String> = Vec::deserialize(deserializer)?;
        let parse = |text: &String| {
            let shown: String = text.chars().take(64).collect();
            Pattern::parse(text).map_err(|error| D::Error::custom(format!("'{shown}': {error}")))
        };
        texts.iter().map(parse).collect()
    }
}

mod pattern {
    use super::Pattern;
    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pattern>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| Pattern::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

/// The same names on the wire as in the journal, in lower case; the first is the default.
macro_rules! names {
    ($(#[$doc:meta])* $wire:ident of $domain:ident { $first:ident $(, $rest:ident)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "lowercase")]
        #[allow(missing_docs)]
        pub enum $wire { #[default] $first $(, $rest)* }

        impl From<$wire> for $domain {
            fn from(wire: $wire) -> Self {
                match wire { $wire::$first => $domain::$first $(, $wire::$rest => $domain::$rest)* }
            }
        }

        impl From<$domain> for $wire {
            fn from(domain: $domain) -> Self {
                match domain { $domain::$first => $wire::$first $(, $domain::$rest => $wire::$rest)* }
            }
        }
    };
}

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
names!(
    /// What must be acknowledged.
    AckName of AckPolicy { Explicit, All, None }
);

fn yes() -> bool {
    true
}

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
    #[serde(with = "patterns")]
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
    #[serde(default, with = "duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub age_max: Option<Duration>,
    /// Largest message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_bytes_max: Option<u32>,
    /// How long a message id is remembered; `2m` if not given, or `age_max` where that is shorter.
    #[serde(default, with = "duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub duplicate_window: Option<Duration>,
    /// Whether messages may carry a lifetime.
    #[serde(default = "yes")]
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
        })
    }
}

fn agree(body: &str, path: &str) -> Result<(), Problem> {
    if body.is_empty() || body == path {
        return Ok(());
    }
    let shown: String = body.chars().take(64).collect();
    Err(Problem::field("name", &format!("is '{shown}' in the body and '{path}' in the path")))
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
    #[serde(with = "moment", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    first_time: Option<Moment>,
    last_seq: u64,
    #[serde(with = "moment", skip_serializing_if = "Option::is_none")]
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
    #[serde(default, deserialize_with = "pattern::deserialize")]
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

/// Where a consumer starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum StartName {
    #[default]
    All,
    Last,
    New,
    LastPerSubject,
    Seq,
    Time,
}

/// A consumer's declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerDeclaration {
    /// Its name; in a request it may be left out, or must be the path's.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Whether it outlives inactivity and restarts.
    #[serde(default = "yes")]
    pub durable: bool,
    /// Patterns of the subjects that it takes; none: all.
    #[serde(default, with = "patterns")]
    #[schema(value_type = Vec<String>)]
    pub filters: Vec<Pattern>,
    /// Where it starts. Cannot be changed.
    #[serde(default)]
    pub start: StartName,
    /// With `start: seq`: the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_seq: Option<u64>,
    /// With `start: time`: the moment.
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start_time: Option<Moment>,
    /// What must be acknowledged. Cannot be changed.
    #[serde(default)]
    pub ack: AckName,
    /// How long a delivery may go unacknowledged; `30s` if not given.
    #[serde(default, with = "duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ack_wait: Option<Duration>,
    /// Waits before the second, third, … delivery.
    #[serde(default, with = "durations", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub backoff: Vec<Duration>,
    /// Deliveries after which a message is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_max: Option<u64>,
    /// Whether what is given up goes to the dead-letter stream.
    #[serde(default = "yes")]
    pub dead_letter: bool,
    /// Most deliveries outstanding; 1,000 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_pending_max: Option<u64>,
    /// Nothing is delivered before this moment.
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pause_until: Option<Moment>,
    /// How long without a fetch before it goes.
    #[serde(default, with = "duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub inactive: Option<Duration>,
    /// What users note about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl ConsumerDeclaration {
    /// The declaration under the path's name.
    ///
    /// # Errors
    /// A problem where the body names another, or where `start` and its fields do not agree.
    pub fn named(self, name: &str) -> Result<ConsumerConfig, Problem> {
        agree(&self.name, name)?;
        let start = self.start()?;
        Ok(ConsumerConfig {
            name: name.to_owned(),
            description: self.description,
            durable: self.durable,
            filters: self.filters,
            start,
            ack: self.ack.into(),
            ack_wait: self.ack_wait.unwrap_or(ACK_WAIT_DEFAULT),
            backoff: self.backoff,
            deliver_max: self.deliver_max,
            dead_letter: self.dead_letter,
            ack_pending_max: self.ack_pending_max.unwrap_or(ACK_PENDING_DEFAULT),
            pause_until: self.pause_until,
            inactive: self.inactive,
            metadata: self.metadata,
        })
    }

    fn start(&self) -> Result<ConsumerStart, Problem> {
        if self.start_seq.is_some() && self.start != StartName::Seq {
            return Err(Problem::field("start_seq", "needs start: seq"));
        }
        if self.start_time.is_some() && self.start != StartName::Time {
            return Err(Problem::field("start_time", "needs start: time"));
        }
        Ok(match self.start {
            StartName::All => ConsumerStart::All,
            StartName::Last => ConsumerStart::Last,
            StartName::New => ConsumerStart::New,
            StartName::LastPerSubject => ConsumerStart::LastPerSubject,
            StartName::Seq => {
                let missing = || Problem::field("start_seq", "is required by start: seq");
                ConsumerStart::Seq(self.start_seq.ok_or_else(missing)?)
            }
            StartName::Time => {
                let missing = || Problem::field("start_time", "is required by start: time");
                ConsumerStart::Time(self.start_time.ok_or_else(missing)?)
            }
        })
    }
}

impl From<ConsumerConfig> for ConsumerDeclaration {
    fn from(config: ConsumerConfig) -> Self {
        let (start, start_seq, start_time) = match config.start {
            ConsumerStart::All => (StartName::All, None, None),
            ConsumerStart::Last => (StartName::Last, None, None),
            ConsumerStart::New => (StartName::New, None, None),
            ConsumerStart::LastPerSubject => (StartName::LastPerSubject, None, None),
            ConsumerStart::Seq(seq) => (StartName::Seq, Some(seq), None),
            ConsumerStart::Time(time) => (StartName::Time, None, Some(time)),
        };
        ConsumerDeclaration {
            name: config.name,
            description: config.description,
            durable: config.durable,
            filters: config.filters,
            start,
            start_seq,
            start_time,
            ack: config.ack.into(),
            ack_wait: Some(config.ack_wait),
            backoff: config.backoff,
            deliver_max: config.deliver_max,
            dead_letter: config.dead_letter,
            ack_pending_max: Some(config.ack_pending_max),
            pause_until: config.pause_until,
            inactive: config.inactive,
            metadata: config.metadata,
        }
    }
}

/// A consumer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsumerView {
    stream: String,
    config: ConsumerDeclaration,
    #[schema(value_type = String, format = DateTime)]
    created: String,
    delivered: u64,
    deliveries: u64,
    ack_floor: u64,
    ack_pending: u64,
    redelivered: u64,
    pending: u64,
    waiting: u64,
    dead: u64,
}

impl From<ConsumerInfo> for ConsumerView {
    fn from(info: ConsumerInfo) -> Self {
        ConsumerView {
            stream: info.stream.as_ref().to_owned(),
            config: info.config.into(),
            created: info.created.to_string(),
            delivered: info.delivered,
            deliveries: info.deliveries,
            ack_floor: info.ack_floor,
            ack_pending: info.ack_pending,
            redelivered: info.redelivered,
            pending: info.pending,
            waiting: info.waiting,
            dead: info.dead,
        }
    }
}

/// Every consumer of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsumerList {
    /// By name.
    pub consumers: Vec<ConsumerView>,
}

/// A pull.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchRequest {
    /// Most messages; 10 if not given.
    #[serde(default)]
    pub batch: Option<u64>,
    /// Most bytes of subjects, headers and payloads.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// How long to wait for the batch to fill, such as `5s`. Not given: not at all.
    #[serde(default, with = "duration")]
    #[schema(value_type = Option<String>)]
    pub wait: Option<Duration>,
}

/// What is said of deliveries. Each verb takes some of the fields.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokensRequest {
    /// The deliveries' tokens.
    pub tokens: Vec<String>,
    /// `ack` only: answer when the acknowledgement would survive a crash.
    #[serde(default)]
    pub sync: bool,
    /// `nak` only: how long until it is delivered again; the back-off's, if not given.
    #[serde(default, with = "duration")]
    #[schema(value_type = Option<String>)]
    pub delay: Option<Duration>,
    /// `term` only: why, as the dead letter will say.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What the journal said of one token.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenFault {
    /// The token.
    pub token: String,
    /// The problem type's slug.
    pub error: &'static str,
    /// What went wrong.
    pub detail: String,
}

/// What became of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub struct Acknowledged {
    /// How many were taken.
    pub acknowledged: u64,
    /// Those that were not.
    pub errors: Vec<TokenFault>,
}

/// Until when nothing is delivered. Neither field, or `null`: resume.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// A moment. Not with `for`.
    #[serde(default, with = "moment")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Moment>,
    /// A duration from now, such as `10m`. Not with `until`.
    #[serde(default, rename = "for", with = "duration")]
    #[schema(value_type = Option<String>)]
    pub span: Option<Duration>,
}

/// Where an event or a message was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptView {
    /// The stream.
    pub stream: String,
    /// The position; of the earlier one, for a duplicate.
    pub seq: u64,
    /// Whether it was there already.
    pub duplicate: bool,
    /// The subject that it was published to.
    pub subject: String,
}

/// Where the events of a batch were recorded, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptList {
    /// One for each.
    pub events: Vec<ReceiptView>,
}

/// A message that no stream captures was handed to those who listen now.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveredView {
    /// To so many.
    pub delivered: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_comes_back() {
        let text = r#"{"subjects":["a.>"],"storage":"memory","retention":"workqueue","discard":"new","age_max":"90s",
            "messages_max":5,"metadata":{"a":"b"},"duplicate_window":"30s"}"#;
        let config = body::<StreamDeclaration>(text.as_bytes()).unwrap().named("S").unwrap();
        let wire = serde_json::to_string(&StreamDeclaration::from(config.clone())).unwrap();
        assert!(wire.contains(r#""age_max":"90s""#) && !wire.contains("bytes_max"), "{wire}");
        assert_eq!(body::<StreamDeclaration>(wire.as_bytes()).unwrap().named("S").unwrap(), config);

        let text = r#"{"start":"seq","start_seq":4,"backoff":["1s","1m"],"filters":["a"],"ack":"all"}"#;
        let config = body::<ConsumerDeclaration>(text.as_bytes()).unwrap().named("c").unwrap();
        let wire = serde_json::to_string(&ConsumerDeclaration::from(config.clone())).unwrap();
        assert_eq!(body::<ConsumerDeclaration>(wire.as_bytes()).unwrap().named("c").unwrap(), config);
    }

    fn refuse<T: DeserializeOwned>(text: &str, named: &str) {
        let problem = body::<T>(text.as_bytes()).err().unwrap_or_else(|| panic!("{text} was taken"));
        let json = String::from_utf8(problem.to_json(None)).unwrap();
        assert!(json.contains(named), "{text}: {json}");
    }

    #[test]
    fn the_faulty_field_is_named() {
        refuse::<StreamDeclaration>(r#"{"subjects":["a"],"maxmessages":1}"#, r#""field":"maxmessages""#);
        refuse::<StreamDeclaration>(r#"{"subjects":["a..b"]}"#, r#""field":"subjects""#);
        refuse::<StreamDeclaration>(r#"{"subjects":["a"],"age_max":"soon"}"#, r#""field":"age_max""#);
        refuse::<StreamDeclaration>(r#"{"subjects":["a"],"storage":"tape"}"#, r#""field":"storage""#);
        refuse::<StreamDeclaration>(r#"{"subjects":["a"],"messages_max":-1}"#, r#""field":"messages_max""#);
        refuse::<StreamDeclaration>("{}", "subjects");
        refuse::<StreamDeclaration>(r#"{"subjects":["a"]} x"#, "goes on");
        refuse::<StreamDeclaration>(r#"{"subjects":"#, "not JSON");
        refuse::<StreamDeclaration>(&"[".repeat(100_000), "is wrong");
        refuse::<FetchRequest>(r#"{"wait":5}"#, r#""field":"wait""#);
        let problem = body::<ConsumerDeclaration>(br#"{"start":"seq"}"#).unwrap().named("c").unwrap_err();
        assert!(problem.detail().contains("start_seq"));
    }
}

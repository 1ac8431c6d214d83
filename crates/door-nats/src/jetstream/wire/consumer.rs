//! A consumer as the API has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Time, words, zero};

words! {
    /// What must be acknowledged.
    AckPolicy { None = "none", All = "all", Explicit = "explicit", FlowControl = "flow_control", }
}
words! {
    /// At what pace a push goes.
    ReplayPolicy { Instant = "instant", Original = "original", }
}
words! {
    /// Whether a request may create, change, or both.
    Action { Any = "", Create = "create", Update = "update", }
}
words! {
    /// Which fetch is served first.
    Priority {
        None = "none",
        Overflow = "overflow",
        PinnedClient = "pinned_client",
        Prioritized = "prioritized",
    }
}

/// Where a consumer starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DeliverPolicy {
    #[default]
    All,
    Last,
    New,
    ByStartSequence,
    ByStartTime,
    LastPerSubject,
}

impl DeliverPolicy {
    const WORDS: [(&'static str, DeliverPolicy); 6] = [
        ("all", DeliverPolicy::All),
        ("last", DeliverPolicy::Last),
        ("new", DeliverPolicy::New),
        ("by_start_sequence", DeliverPolicy::ByStartSequence),
        ("by_start_time", DeliverPolicy::ByStartTime),
        ("last_per_subject", DeliverPolicy::LastPerSubject),
    ];
}

impl Serialize for DeliverPolicy {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let word = DeliverPolicy::WORDS.iter().find(|(_, policy)| policy == self).map_or("all", |(word, _)| word);
        to.serialize_str(word)
    }
}

impl<'de> Deserialize<'de> for DeliverPolicy {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "undefined" {
            return Ok(DeliverPolicy::All);
        }
        let found = DeliverPolicy::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, policy)| *policy).ok_or_else(|| serde::de::Error::custom(format!("can not unmarshal {text:?}")))
    }
}

/// A consumer's declaration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct ConsumerForm {
    #[serde(skip_serializing_if = "zero")]
    pub(crate) durable_name: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) description: String,
    pub(crate) deliver_policy: DeliverPolicy,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) opt_start_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) opt_start_time: Option<Time>,
    pub(crate) ack_policy: AckPolicy,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) ack_wait: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) max_deliver: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) backoff: Vec<i64>,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) filter_subject: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) filter_subjects: Vec<String>,
    pub(crate) replay_policy: ReplayPolicy,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) rate_limit_bps: u64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) sample_freq: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) max_waiting: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) max_ack_pending: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) flow_control: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) headers_only: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) max_batch: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) max_expires: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) max_bytes: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) deliver_subject: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) deliver_group: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) idle_heartbeat: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) inactive_threshold: i64,
    pub(crate) num_replicas: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) mem_storage: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) direct: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) sourcing: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause_until: Option<Time>,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) priority_groups: Vec<String>,
    #[serde(skip_serializing_if = "Priority::is_default")]
    pub(crate) priority_policy: Priority,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) priority_timeout: i64,
}

/// `CONSUMER.CREATE` and `CONSUMER.DURABLE.CREATE`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CreateConsumer {
    pub(crate) stream_name: String,
    pub(crate) config: ConsumerForm,
    pub(crate) action: Action,
    pub(crate) pedantic: bool,
}

/// What a journal's declaration has no field for. Kept as one JSON in its metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct ConsumerRest {
    /// Where a push consumer delivers; empty: it is pulled.
    #[serde(skip_serializing_if = "zero")]
    pub(crate) deliver_subject: String,
    /// The queue group of those who listen there.
    #[serde(skip_serializing_if = "zero")]
    pub(crate) deliver_group: String,
    /// Whether a push waits for answers to flow control.
    #[serde(skip_serializing_if = "zero")]
    pub(crate) flow_control: bool,
    /// How often an idle push says that it is there, in nanoseconds; 0: not.
    #[serde(skip_serializing_if = "zero")]
    pub(crate) idle_heartbeat: i64,
    /// `ack_wait` where nothing is acknowledged, in nanoseconds.
    #[serde(skip_serializing_if = "zero")]
    pub(crate) ack_wait: i64,
    /// `max_ack_pending` where nothing is acknowledged.
    #[serde(skip_serializing_if = "zero")]
    pub(crate) max_ack_pending: i64,
    /// Whether a single filter was given as a list.
    #[serde(skip_serializing_if = "zero")]
    pub(crate) filter_list: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) num_replicas: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) direct: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) sourcing: bool,
}

/// A position of the consumer and one of the stream.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct SequencePair {
    pub(crate) consumer_seq: u64,
    pub(crate) stream_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_active: Option<Time>,
}

/// A priority group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct GroupReply {
    pub(crate) group: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) pinned_client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pinned_ts: Option<Time>,
}

/// A consumer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ConsumerInfoReply {
    pub(crate) stream_name: String,
    pub(crate) name: String,
    pub(crate) created: Time,
    pub(crate) config: ConsumerForm,
    pub(crate) delivered: SequencePair,
    pub(crate) ack_floor: SequencePair,
    pub(crate) num_ack_pending: u64,
    pub(crate) num_redelivered: u64,
    pub(crate) num_waiting: u64,
    pub(crate) num_pending: u64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) push_bound: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) paused: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) pause_remaining: u64,
    pub(crate) ts: Time,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) priority_groups: Vec<GroupReply>,
}

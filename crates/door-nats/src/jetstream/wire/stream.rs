//! A stream as the API has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Time, words, zero};

words! {
    /// What makes messages go.
    Retention { Limits = "limits", Interest = "interest", WorkQueue = "workqueue", }
}
words! {
    /// What gives way at a limit.
    Discard { Old = "old", New = "new", }
}
words! {
    /// Where messages are.
    Storage { File = "file", Memory = "memory", }
}
words! {
    /// How a NATS server would compress. Kept, and told again.
    Compression { None = "none", S2 = "s2", }
}
words! {
    /// When a NATS server would write. Kept, and told again; ours always syncs.
    PersistMode { Unset = "", Default = "default", Async = "async", }
}

/// What becomes of subjects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TransformForm {
    pub(crate) src: String,
    pub(crate) dest: String,
}

/// What is published again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RepublishForm {
    #[serde(skip_serializing_if = "zero")]
    pub(crate) src: String,
    pub(crate) dest: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) headers_only: bool,
}

/// A stream in another account or domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ExternalForm {
    pub(crate) api: String,
    pub(crate) deliver: String,
}

/// A consumer that a source is to use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceConsumerForm {
    #[serde(skip_serializing_if = "zero")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) deliver_subject: String,
}

/// Another stream whose messages are taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceForm {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) opt_start_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) opt_start_time: Option<Time>,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) filter_subject: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) subject_transforms: Vec<TransformForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) external: Option<ExternalForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) consumer: Option<SourceConsumerForm>,
}

/// Where a NATS cluster would put it. Kept, and told again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PlacementForm {
    #[serde(skip_serializing_if = "zero")]
    pub(crate) cluster: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) tags: Vec<String>,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) preferred: String,
}

/// What consumers of the stream may ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ConsumerLimits {
    #[serde(skip_serializing_if = "zero")]
    pub(crate) inactive_threshold: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) max_ack_pending: i64,
}

/// Declares the form and the request, which has one field more.
macro_rules! stream_form {
    ($(#[$doc:meta])* $name:ident { $($extra:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        #[allow(clippy::struct_excessive_bools)]
        pub(crate) struct $name {
            pub(crate) name: String,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) description: String,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) subjects: Vec<String>,
            pub(crate) retention: Retention,
            pub(crate) max_consumers: i64,
            pub(crate) max_msgs: i64,
            pub(crate) max_bytes: i64,
            pub(crate) max_age: i64,
            pub(crate) max_msgs_per_subject: i64,
            pub(crate) max_msg_size: i32,
            pub(crate) discard: Discard,
            pub(crate) storage: Storage,
            pub(crate) num_replicas: i64,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) no_ack: bool,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) duplicate_window: i64,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) placement: Option<PlacementForm>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) mirror: Option<SourceForm>,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) sources: Vec<SourceForm>,
            pub(crate) compression: Compression,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) first_seq: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) subject_transform: Option<TransformForm>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) republish: Option<RepublishForm>,
            pub(crate) allow_direct: bool,
            pub(crate) mirror_direct: bool,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) discard_new_per_subject: bool,
            pub(crate) sealed: bool,
            pub(crate) deny_delete: bool,
            pub(crate) deny_purge: bool,
            pub(crate) allow_rollup_hdrs: bool,
            pub(crate) consumer_limits: ConsumerLimits,
            pub(crate) allow_msg_ttl: bool,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) subject_delete_marker_ttl: i64,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) allow_msg_counter: bool,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) allow_atomic: bool,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) allow_msg_schedules: bool,
            #[serde(skip_serializing_if = "PersistMode::is_default")]
            pub(crate) persist_mode: PersistMode,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) allow_batched: bool,
            #[serde(skip_serializing_if = "zero")]
            pub(crate) metadata: BTreeMap<String, String>,
            $($extra)*
        }
    };
}

stream_form! {
    /// A stream's declaration, in replies.
    StreamForm {}
}

/// A stream's declaration, in requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StreamRequest {
    pub(crate) form: StreamForm,
    pub(crate) pedantic: bool,
}

impl<'de> Deserialize<'de> for StreamRequest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Whole::deserialize(from).map(Whole::split)
    }
}

stream_form! {
    /// As it is read: a flattened struct could not tell which fields nobody knows.
    Whole { pedantic: bool, }
}

impl Whole {
    fn split(self) -> StreamRequest {
        let form = StreamForm {
            name: self.name,
            description: self.description,
            subjects: self.subjects,
            retention: self.retention,
            max_consumers: self.max_consumers,
            max_msgs: self.max_msgs,
            max_bytes: self.max_bytes,
            max_age: self.max_age,
            max_msgs_per_subject: self.max_msgs_per_subject,
            max_msg_size: self.max_msg_size,
            discard: self.discard,
            storage: self.storage,
            num_replicas: self.num_replicas,
            no_ack: self.no_ack,
            duplicate_window: self.duplicate_window,
            placement: self.placement,
            mirror: self.mirror,
            sources: self.sources,
            compression: self.compression,
            first_seq: self.first_seq,
            subject_transform: self.subject_transform,
            republish: self.republish,
            allow_direct: self.allow_direct,
            mirror_direct: self.mirror_direct,
            discard_new_per_subject: self.discard_new_per_subject,
            sealed: self.sealed,
            deny_delete: self.deny_delete,
            deny_purge: self.deny_purge,
            allow_rollup_hdrs: self.allow_rollup_hdrs,
            consumer_limits: self.consumer_limits,
            allow_msg_ttl: self.allow_msg_ttl,
            subject_delete_marker_ttl: self.subject_delete_marker_ttl,
            allow_msg_counter: self.allow_msg_counter,
            allow_atomic: self.allow_atomic,
            allow_msg_schedules: self.allow_msg_schedules,
            persist_mode: self.persist_mode,
            allow_batched: self.allow_batched,
            metadata: self.metadata,
        };
        StreamRequest { form, pedantic: self.pedantic }
    }
}

/// What a journal's declaration has no field for. Kept as one JSON in its metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StreamRest {
    #[serde(skip_serializing_if = "zero")]
    pub(crate) max_msg_size: i32,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) no_ack: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) placement: Option<PlacementForm>,
    #[serde(skip_serializing_if = "Compression::is_default")]
    pub(crate) compression: Compression,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) mirror_direct: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) consumer_limits: ConsumerLimits,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) allow_msg_counter: bool,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) allow_msg_schedules: bool,
    #[serde(skip_serializing_if = "PersistMode::is_default")]
    pub(crate) persist_mode: PersistMode,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) allow_batched: bool,
    /// Consumers that the mirror and the sources are to use, in their order. Told again; ours need none.
    #[serde(skip_serializing_if = "zero")]
    pub(crate) consumers: Vec<Option<SourceConsumerForm>>,
}

/// What a stream holds.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct StateReply {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) first_seq: u64,
    pub(crate) first_ts: Time,
    pub(crate) last_seq: u64,
    pub(crate) last_ts: Time,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) num_subjects: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subjects: Option<BTreeMap<String, u64>>,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) num_deleted: u64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) deleted: Vec<u64>,
    pub(crate) consumer_count: u64,
}

/// Who leads: this node.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ClusterReply {
    pub(crate) leader: String,
}

/// How a mirror or source is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct SourceReply {
    pub(crate) name: String,
    pub(crate) lag: u64,
    /// Nanoseconds since something was heard of it; -1: never.
    pub(crate) active: i64,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) filter_subject: String,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) subject_transforms: Vec<TransformForm>,
}

/// A stream.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StreamInfoReply {
    pub(crate) config: StreamForm,
    pub(crate) created: Time,
    pub(crate) state: StateReply,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<ClusterReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mirror: Option<SourceReply>,
    #[serde(skip_serializing_if = "zero")]
    pub(crate) sources: Vec<SourceReply>,
    pub(crate) ts: Time,
}

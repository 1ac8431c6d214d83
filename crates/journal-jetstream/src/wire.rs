//! The JetStream interface's JSON, as far as this engine reads it. Requests are built where they are sent.
//!
//! Source: NATS architecture, ADR-2 and the server's `jetstream_api.go`. Durations are nanoseconds,
//! moments RFC 3339; the zero moment of the year 1 stands for none.

use std::collections::BTreeMap;

use event::Moment;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// What the server says is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{description} ({err_code})")]
pub(crate) struct ApiError {
    #[serde(default)]
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) err_code: u32,
    #[serde(default)]
    pub(crate) description: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) error: Option<ApiError>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct State {
    #[serde(default)]
    pub(crate) messages: u64,
    #[serde(default)]
    pub(crate) bytes: u64,
    #[serde(default)]
    pub(crate) first_seq: u64,
    #[serde(default)]
    pub(crate) first_ts: String,
    #[serde(default)]
    pub(crate) last_seq: u64,
    #[serde(default)]
    pub(crate) last_ts: String,
    #[serde(default)]
    pub(crate) num_subjects: u64,
    #[serde(default)]
    pub(crate) num_deleted: u64,
    #[serde(default)]
    pub(crate) consumer_count: u64,
    #[serde(default)]
    pub(crate) subjects: Option<BTreeMap<String, u64>>,
    #[serde(default)]
    pub(crate) deleted: Option<Vec<u64>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Stream {
    pub(crate) config: Object,
    #[serde(default)]
    pub(crate) created: String,
    #[serde(default)]
    pub(crate) state: State,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Streams {
    #[serde(default)]
    pub(crate) total: usize,
    #[serde(default)]
    pub(crate) streams: Option<Vec<Stream>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Names {
    #[serde(default)]
    pub(crate) streams: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Place {
    #[serde(default)]
    pub(crate) consumer_seq: u64,
    #[serde(default)]
    pub(crate) stream_seq: u64,
    #[serde(default)]
    pub(crate) last_active: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Group {
    pub(crate) group: String,
    #[serde(default)]
    pub(crate) pinned_client_id: String,
    #[serde(default)]
    pub(crate) pinned_ts: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Consumer {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) created: String,
    pub(crate) config: Object,
    #[serde(default)]
    pub(crate) delivered: Place,
    #[serde(default)]
    pub(crate) ack_floor: Place,
    #[serde(default)]
    pub(crate) num_ack_pending: u64,
    #[serde(default)]
    pub(crate) num_redelivered: u64,
    #[serde(default)]
    pub(crate) num_waiting: u64,
    #[serde(default)]
    pub(crate) num_pending: u64,
    #[serde(default)]
    pub(crate) priority_groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Consumers {
    #[serde(default)]
    pub(crate) total: usize,
    #[serde(default)]
    pub(crate) consumers: Option<Vec<Consumer>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Purged {
    #[serde(default)]
    pub(crate) purged: u64,
}

/// An answer of which only matters that it came.
#[derive(Debug, Deserialize)]
pub(crate) struct Anything {}

#[derive(Debug, Deserialize)]
pub(crate) struct Got {
    pub(crate) message: GotMessage,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GotMessage {
    pub(crate) subject: String,
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) hdrs: String,
    #[serde(default)]
    pub(crate) data: String,
    #[serde(default)]
    pub(crate) time: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PubAck {
    #[serde(default)]
    pub(crate) error: Option<ApiError>,
    #[serde(default)]
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) duplicate: bool,
}

/// A notice that a message is beyond its deliveries.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MaxDeliveries {
    pub(crate) stream: String,
    pub(crate) consumer: String,
    pub(crate) stream_seq: u64,
    #[serde(default)]
    pub(crate) deliveries: u64,
    #[serde(default)]
    pub(crate) timestamp: String,
}

/// A moment as the server writes it; the epoch for the zero moment and for what is none.
pub(crate) fn moment(text: &str) -> Moment {
    Moment::parse(text).unwrap_or_default()
}

//! Small requests.

use serde::Deserialize;

use super::Time;

/// A page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Page {
    pub(crate) offset: i64,
}

/// `STREAM.NAMES` and `STREAM.LIST`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamNames {
    pub(crate) offset: i64,
    pub(crate) subject: String,
}

/// `STREAM.INFO`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamInfoRequest {
    pub(crate) offset: i64,
    pub(crate) deleted_details: bool,
    pub(crate) subjects_filter: String,
}

/// `STREAM.PURGE`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamPurge {
    pub(crate) seq: u64,
    pub(crate) filter: String,
    pub(crate) keep: u64,
}

/// `STREAM.MSG.DELETE`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MessageDelete {
    pub(crate) seq: u64,
    /// Taken and not told apart: nothing of a deleted message can be read again.
    #[allow(dead_code)]
    pub(crate) no_erase: bool,
}

/// `STREAM.MSG.GET` and `DIRECT.GET`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MessageGet {
    pub(crate) seq: u64,
    pub(crate) last_by_subj: String,
    pub(crate) next_by_subj: String,
    pub(crate) batch: i64,
    pub(crate) max_bytes: i64,
    pub(crate) start_time: Option<Time>,
    pub(crate) multi_last: Vec<String>,
    pub(crate) up_to_seq: u64,
    pub(crate) up_to_time: Option<Time>,
    pub(crate) no_hdr: bool,
}

/// `CONSUMER.PAUSE`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConsumerPause {
    pub(crate) pause_until: Time,
}

/// `CONSUMER.RESET`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConsumerReset {
    pub(crate) seq: u64,
}

/// `CONSUMER.UNPIN`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConsumerUnpin {
    pub(crate) group: String,
}

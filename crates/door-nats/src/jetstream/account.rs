//! `$JS.API.INFO`: what this door's one account uses, and what bounds it.

use std::sync::atomic::{AtomicU64, Ordering};

use door::Principal;
use serde::Serialize;

use super::streams::wire_ok;
use super::{Answered, JetStream};
use crate::limits::API_LEVEL;

/// Counts requests.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) total: AtomicU64,
    pub(crate) errors: AtomicU64,
}

#[derive(Serialize)]
struct Limits {
    max_memory: i64,
    max_storage: i64,
    max_streams: i64,
    max_consumers: i64,
    max_ack_pending: i64,
    memory_max_stream_bytes: i64,
    storage_max_stream_bytes: i64,
    max_bytes_required: bool,
}

#[derive(Serialize)]
struct Api {
    level: u32,
    total: u64,
    errors: u64,
}

#[derive(Serialize)]
struct Account {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    streams: usize,
    consumers: u64,
    limits: Limits,
    api: Api,
}

impl JetStream {
    /// `INFO`
    pub(super) async fn account_info(&self, who: &Principal) -> Answered {
        let streams = self.port.streams(who).await;
        let sum = |storage, of: &dyn Fn(&journal::StreamInfo) -> u64| {
            streams.iter().filter(|info| info.config.storage == storage).map(of).sum()
        };
        let reserved = |info: &journal::StreamInfo| info.config.bytes_max.unwrap_or(0);
        let used = |info: &journal::StreamInfo| info.state.bytes;
        wire_ok(&Account {
            memory: sum(journal::Storage::Memory, &used),
            storage: sum(journal::Storage::File, &used),
            reserved_memory: sum(journal::Storage::Memory, &reserved),
            reserved_storage: sum(journal::Storage::File, &reserved),
            streams: streams.len(),
            consumers: streams.iter().map(|info| info.consumers).sum(),
            limits: Limits {
                max_memory: -1,
                max_storage: -1,
                max_streams: -1,
                max_consumers: -1,
                max_ack_pending: -1,
                memory_max_stream_bytes: -1,
                storage_max_stream_bytes: -1,
                max_bytes_required: false,
            },
            api: Api {
                level: API_LEVEL,
                total: self.counters.total.load(Ordering::Relaxed),
                errors: self.counters.errors.load(Ordering::Relaxed),
            },
        })
    }
}

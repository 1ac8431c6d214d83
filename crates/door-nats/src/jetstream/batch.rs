//! Atomic batches, and counters.

use std::sync::Arc;

use super::JetStream;
use super::errors::{self as e};
use super::known::Known;
use super::publish::Publish;

/// What a message says of the batch that it is part of.
#[derive(Debug, Clone, Default)]
pub(super) struct BatchHeaders {
    pub(super) id: String,
    pub(super) seq: Option<u64>,
    pub(super) commit: Option<String>,
}

impl JetStream {
    /// A message of a batch.
    pub(super) fn take_batch(
        self: &Arc<Self>,
        publish: Publish,
        _batch: BatchHeaders,
        stream: &str,
        _known: Option<Arc<Known>>,
    ) {
        self.refuse(publish.append.message.reply.as_ref(), stream, &e::ATOMIC_DISABLED);
    }

    /// A message that adds to a counter.
    pub(super) fn take_increment(self: &Arc<Self>, publish: Publish, _by: String, stream: &str) {
        self.refuse(publish.append.message.reply.as_ref(), stream, &e::INCR_DISABLED);
    }
}

//! What the door counts, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the door has counted since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections now, of both listeners.
    pub connections: u64,
    /// Connections taken.
    pub connected: u64,
    /// Connections refused: too many, from one address or in all.
    pub refused: u64,
    /// Requests answered.
    pub requests: u64,
    /// Requests answered with 400 and above.
    pub faults: u64,
    /// Readers that are blocked now.
    pub blocked: u64,
    /// Blocked readers that were answered since their answer changed.
    pub woken: u64,
    /// Blocked readers that were answered since their time was over.
    pub timed_out: u64,
    /// Answers that were encoded.
    pub encoded: u64,
    /// Answers that were looked at and found as they were.
    pub unchanged: u64,
    /// Readers that took an answer encoded for another.
    pub shared: u64,
    /// Answers kept now.
    pub kept: u64,
    /// Bytes of them.
    pub kept_bytes: u64,
    /// Streams open now, by server-sent events.
    pub sse: u64,
    /// Streams open now, by gRPC.
    pub grpc: u64,
    /// Snapshots that were built for streams.
    pub snapshots: u64,
    /// Streams that began with a snapshot.
    pub snapshots_sent: u64,
    /// Streams that went on from a position.
    pub resumed: u64,
    /// Batches of changes that were encoded for streams.
    pub batches: u64,
    /// Batches that were handed to streams.
    pub batches_sent: u64,
}

/// The counters behind them.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) connections: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) blocked: AtomicU64,
    pub(crate) woken: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) encoded: AtomicU64,
    pub(crate) unchanged: AtomicU64,
    pub(crate) shared: AtomicU64,
    pub(crate) sse: AtomicU64,
    pub(crate) grpc: AtomicU64,
    pub(crate) snapshots: AtomicU64,
    pub(crate) snapshots_sent: AtomicU64,
    pub(crate) resumed: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) batches_sent: AtomicU64,
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One less.
pub(crate) fn uncount(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}

impl Totals {
    /// All of them, now.
    pub(crate) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: load(&self.connections),
            connected: load(&self.connected),
            refused: load(&self.refused),
            requests: load(&self.requests),
            faults: load(&self.faults),
            blocked: load(&self.blocked),
            woken: load(&self.woken),
            timed_out: load(&self.timed_out),
            encoded: load(&self.encoded),
            unchanged: load(&self.unchanged),
            shared: load(&self.shared),
            kept: 0,
            kept_bytes: 0,
            sse: load(&self.sse),
            grpc: load(&self.grpc),
            snapshots: load(&self.snapshots),
            snapshots_sent: load(&self.snapshots_sent),
            resumed: load(&self.resumed),
            batches: load(&self.batches),
            batches_sent: load(&self.batches_sent),
        }
    }
}

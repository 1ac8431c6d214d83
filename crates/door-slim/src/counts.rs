//! What the door counts, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::session::Dropped;

/// What the door has counted since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Links now.
    pub links: u64,
    /// Links that were negotiated.
    pub negotiated: u64,
    /// Connections, streams and negotiations that were refused.
    pub refused: u64,
    /// Names and instances subscribed now.
    pub subscriptions: u64,
    /// Messages published.
    pub published: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Messages handed to links.
    pub delivered: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Messages that nobody took, and whose sender was told.
    pub unroutable: u64,
    /// Messages kept in an inbox.
    pub kept: u64,
    /// Messages of an inbox that were delivered.
    pub inbox_delivered: u64,
    /// Messages not handed on, by reason. Every reason is listed, 0 or not.
    pub dropped: Vec<(&'static str, u64)>,
}

/// The counters behind them.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) links: AtomicU64,
    pub(crate) negotiated: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) subscriptions: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) unroutable: AtomicU64,
    pub(crate) kept: AtomicU64,
    pub(crate) inbox_delivered: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// One less.
pub(crate) fn less(counter: &AtomicU64, count: u64) {
    counter.fetch_sub(count, Ordering::Relaxed);
}

impl Totals {
    /// One more that was dropped.
    pub(crate) fn dropped(&self, why: Dropped) {
        let place = Dropped::ALL.iter().position(|each| *each == why).and_then(|place| self.dropped.get(place));
        place.into_iter().for_each(|counter| add(counter, 1));
    }

    /// All of them, now.
    pub(crate) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let dropped = Dropped::ALL.iter().zip(&self.dropped).map(|(why, counter)| (why.text(), load(counter)));
        Counts {
            links: load(&self.links),
            negotiated: load(&self.negotiated),
            refused: load(&self.refused),
            subscriptions: load(&self.subscriptions),
            published: load(&self.published),
            bytes_in: load(&self.bytes_in),
            delivered: load(&self.delivered),
            bytes_out: load(&self.bytes_out),
            unroutable: load(&self.unroutable),
            kept: load(&self.kept),
            inbox_delivered: load(&self.inbox_delivered),
            dropped: dropped.collect(),
        }
    }
}

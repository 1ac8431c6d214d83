//! What is counted, for metrics: as a controller or as a node that is led.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was counted since the door was opened: of the nodes that this one leads, or of this node under its controller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes that are registered now.
    pub nodes: u64,
    /// How often one was taken.
    pub registered: u64,
    /// How often one was turned away.
    pub rejected: u64,
    /// Commands that were told.
    pub commands: u64,
    /// Links and routes of them that could not be had.
    pub failed: u64,
}

/// The counters behind them.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    now: AtomicU64,
    registered: AtomicU64,
    rejected: AtomicU64,
    commands: AtomicU64,
    failed: AtomicU64,
}

impl Totals {
    /// A node is registered.
    pub(crate) fn enter(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
        self.registered.fetch_add(1, Ordering::Relaxed);
    }

    /// One that was is so no longer.
    pub(crate) fn leave(&self) {
        // One that never was has nothing to take back.
        let _was = self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| now.checked_sub(1));
    }

    /// A node was turned away.
    pub(crate) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// A command was told.
    pub(crate) fn command(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    /// So many links and routes could not be had.
    pub(crate) fn failed(&self, count: usize) {
        self.failed.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// All of them, now.
    pub(crate) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            nodes: load(&self.now),
            registered: load(&self.registered),
            rejected: load(&self.rejected),
            commands: load(&self.commands),
            failed: load(&self.failed),
        }
    }
}

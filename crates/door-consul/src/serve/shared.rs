//! What all connections of the door share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use door::Catalogue;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::answers::Answers;
use crate::counts::{Counts, Totals};
use crate::feeds::Feeds;
use crate::limits::WAIT_JITTER_PART;
use crate::options::Options;

/// Connections, of whom.
#[derive(Default)]
pub(crate) struct Seats {
    pub(crate) total: usize,
    pub(crate) by_address: HashMap<IpAddr, usize>,
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) catalogue: Catalogue,
    pub(crate) options: Options,
    pub(crate) totals: Totals,
    pub(crate) answers: Answers,
    pub(crate) feeds: Feeds,
    pub(crate) seats: Mutex<Seats>,
    pub(crate) tasks: TaskTracker,
    /// What chance is made of.
    dice: AtomicU64,
}

impl Shared {
    pub(crate) fn new(catalogue: Catalogue, options: Options, tasks: TaskTracker) -> Self {
        let seed = catalogue.port().now().nanos();
        Shared {
            catalogue,
            options,
            totals: Totals::default(),
            answers: Answers::new(),
            feeds: Feeds::default(),
            seats: Mutex::default(),
            tasks,
            dice: AtomicU64::new(seed),
        }
    }

    /// How long to wait: what was asked, within the limit, and by chance up to a part more.
    pub(crate) fn wait(&self, asked: Option<Duration>) -> Duration {
        let wait = asked.unwrap_or(self.options.wait_default).min(self.options.wait_max);
        // SplitMix64: enough to spread readers.
        let mut dice = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        dice = (dice ^ (dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        dice = (dice ^ (dice >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = u32::try_from((dice ^ (dice >> 31)) >> 48).unwrap_or(0);
        wait + wait / WAIT_JITTER_PART * share / (1 << 16)
    }

    /// See [`ConsulDoor::counts`](super::ConsulDoor::counts).
    pub(crate) fn counts(&self) -> Counts {
        let (kept, kept_bytes) = self.answers.kept();
        Counts { kept, kept_bytes, ..self.totals.counts() }
    }
}

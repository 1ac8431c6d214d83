//! When a peer is tried: back-off with jitter, and the breaker.
//!
//! Failures in a row are counted, not failed batches: those that were on their way when the first failed
//! say nothing new. Costs a few words a peer.

use core::time::Duration;

use event::Moment;

use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX, BREAKER_FAILURES};

/// Whether a peer is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// It is, as much as there is to send.
    Closed,
    /// It is not, for a while.
    Open,
    /// It is probed with one fact.
    HalfOpen,
}

impl Breaker {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Breaker::Closed => "closed",
            Breaker::Open => "open",
            Breaker::HalfOpen => "half-open",
        }
    }
}

/// A wait that doubles with each failure, of which chance takes up to half: peers that failed together
/// do not come back together.
pub fn backoff(chance: u64, failures: u32, most: Duration) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1_u32 << failures.saturating_sub(1).min(20)).min(most);
    let half = u64::try_from(doubled.as_nanos() / 2).unwrap_or(u64::MAX);
    doubled - Duration::from_nanos(chance % half.max(1))
}

/// See the module.
#[derive(Debug)]
pub struct Pace {
    breaker: Breaker,
    failures: u32,
    /// Before this nothing is sent.
    until: Moment,
    /// Batches after this one were sent knowing of the last failure.
    known: u64,
    seed: u64,
}

impl Pace {
    pub fn new(seed: u64) -> Self {
        Pace { breaker: Breaker::Closed, failures: 0, until: Moment::EPOCH, known: 0, seed }
    }

    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// Any number: splitmix64.
    pub fn chance(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.seed;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// How many batches may be on their way: one, while it fails.
    pub fn flights(&self, most: usize) -> usize {
        if self.failures == 0 { most.max(1) } else { 1 }
    }

    /// How many facts a batch may have: one, where it is a probe.
    pub fn facts(&self, most: usize) -> usize {
        if self.breaker == Breaker::Closed { most.max(1) } else { 1 }
    }

    pub fn may_send(&self, now: Moment) -> bool {
        now >= self.until
    }

    /// When it may be tried again, where that is not now.
    pub fn wake(&self) -> Option<Moment> {
        (self.failures > 0).then_some(self.until)
    }

    /// A batch is sent; true where the breaker moved.
    pub fn sent(&mut self) -> bool {
        let moved = self.breaker == Breaker::Open;
        if moved {
            self.breaker = Breaker::HalfOpen;
        }
        moved
    }

    /// A batch ended; true where the breaker moved. `answered`: the peer took or judged some of it;
    /// `failed`: some of it is to be sent again.
    pub fn answered(&mut self, now: Moment, batch: u64, sent: u64, answered: bool, failed: bool) -> bool {
        let before = self.breaker;
        if answered {
            (self.breaker, self.failures) = (Breaker::Closed, u32::from(failed));
            self.until = if failed { now.after(BACKOFF_FIRST / 2) } else { Moment::EPOCH };
        } else if failed && batch > self.known {
            self.known = sent;
            self.failures = self.failures.saturating_add(1);
            let chance = self.chance();
            self.until = now.after(backoff(chance, self.failures, BACKOFF_MAX));
            if before == Breaker::HalfOpen || self.failures >= BREAKER_FAILURES {
                self.breaker = Breaker::Open;
            }
        }
        before != self.breaker
    }

    /// The clock was set back.
    pub fn set_back(&mut self, now: Moment) {
        self.until = self.until.min(now.after(BACKOFF_MAX));
    }

    /// Forgets all failures; true where the breaker moved.
    pub fn forgive(&mut self) -> bool {
        let moved = self.breaker != Breaker::Closed;
        (self.breaker, self.failures, self.until) = (Breaker::Closed, 0, Moment::EPOCH);
        moved
    }
}

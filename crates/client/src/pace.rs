//! When it is dialled again.

use std::time::Duration;

use crate::limits::STEADY;

/// A wait that doubles with each failure, with chance in it: clients that lost a hub at once do not all come
/// back at once.
#[derive(Debug)]
pub struct Pace {
    first: Duration,
    most: Duration,
    failures: u32,
    seed: u64,
}

impl Pace {
    pub fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Pace { first, most: most.max(first), failures: 0, seed }
    }

    /// Dials that failed, and connections that did not last, in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A dial failed, or a connection ended that had lasted so long.
    pub fn failed(&mut self, lasted: Duration) {
        self.failures = if lasted >= STEADY { 1 } else { self.failures.saturating_add(1) };
    }

    /// How long to wait now.
    pub fn wait(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.saturating_sub(1).min(20)).min(self.most);
        let half = u64::try_from(doubled.as_nanos() / 2).unwrap_or(u64::MAX);
        doubled - Duration::from_nanos(self.chance() % half.max(1))
    }

    /// Any number: splitmix64.
    fn chance(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.seed;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_begin_anew_after_a_connection_that_lasted() {
        let mut pace = Pace::new(Duration::from_millis(500), Duration::from_secs(30), 7);
        for most in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            pace.failed(Duration::ZERO);
            let wait = pace.wait().as_millis();
            assert!((most / 2..=most).contains(&wait), "{wait} of {most}");
        }
        pace.failed(STEADY);
        assert!(pace.wait() <= Duration::from_millis(500));
    }
}

//! Whether waiting a little for what is about to come is worth it, learned from whether it came.
//!
//! A wait that was in vain makes the next ones rarer, one in two, four, up to [`RAREST`]; one that
//! was not makes them the rule again. So a closed loop of publishers gets its waits, and a trickle
//! pays for one in sixty-four.

/// At the rarest, one wait in so many.
const RAREST: u32 = 64;

/// What was learned.
#[derive(Debug)]
pub struct Patience {
    /// One wait in so many.
    every: u32,
    /// Occasions until the next one.
    left: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { every: 1, left: 0 }
    }
}

impl Patience {
    /// Whether to wait on this occasion.
    pub fn allows(&mut self) -> bool {
        let now = self.left == 0;
        self.left = if now { self.every - 1 } else { self.left - 1 };
        now
    }

    /// Says whether what was waited for came.
    pub fn learn(&mut self, came: bool) {
        self.every = if came { 1 } else { (self.every * 2).min(RAREST) };
        self.left = self.every - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(patience: &mut Patience, occasions: usize, came: bool) -> usize {
        let mut count = 0;
        for _ in 0..occasions {
            if patience.allows() {
                count += 1;
                patience.learn(came);
            }
        }
        count
    }

    #[test]
    fn what_comes_is_waited_for_and_what_does_not_is_rarely() {
        let mut patience = Patience::default();
        assert_eq!(waits(&mut patience, 100, true), 100);
        assert!(waits(&mut patience, 1000, false) < 30);
        assert!(waits(&mut patience, 100, true) > 30);
        assert_eq!(waits(&mut patience, 100, true), 100);
    }
}

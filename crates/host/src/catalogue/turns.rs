//! Who may look: a turn for each look, and apart those that take long.
//!
//! # Invariants
//! - A look keeps a quick turn for [`HELD`] at most. What takes longer goes on in a slow turn where one is free, else it
//!   is begun anew when one is; and next time it waits for a slow turn at once.
//! - So who answers soon waits for others for as long as the quick turns take, whatever hangs. What hangs waits for its
//!   like.
//! - A look that was broken off for want of a turn finds nothing: nobody is judged by the others' slowness.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Looks that are under way at a time, of those that answer soon; and as many of those that do not.
const TURNS_MAX: usize = 256;
/// How long a look may take to be a quick one.
const HELD: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Turns {
    quick: Semaphore,
    slow: Semaphore,
    held: Duration,
}

/// Whether something took long when it was last looked at.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slow(bool);

impl Turns {
    pub(super) fn new() -> Self {
        Turns::of(TURNS_MAX, HELD)
    }

    fn of(max: usize, held: Duration) -> Self {
        Turns { quick: Semaphore::new(max), slow: Semaphore::new(max), held }
    }

    /// Looks when it is its turn. `look` may be begun twice; the first is dropped then.
    pub(super) async fn take<L: Future>(&self, slow: &mut Slow, look: impl Fn() -> L) -> L::Output {
        if !slow.0 {
            let turn = self.quick.acquire().await;
            let mut looking = pin!(look());
            if let Ok(found) = timeout(self.held, &mut looking).await {
                return found;
            }
            slow.0 = true;
            let longer = self.slow.try_acquire();
            drop(turn);
            if longer.is_ok() {
                return looking.await;
            }
        }
        // Neither is ever closed.
        let _turn = self.slow.acquire().await;
        let began = Instant::now();
        let found = look().await;
        slow.0 = began.elapsed() > self.held;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::sync::Arc;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn what_hangs_does_not_starve_what_answers() {
        let turns = Arc::new(Turns::of(2, Duration::from_millis(1)));
        for _ in 0..10 {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.take(&mut Slow::default(), pending::<()>).await });
        }
        tokio::task::yield_now().await;
        for _ in 0..5 {
            let mut slow = Slow::default();
            let found = timeout(PATIENCE, turns.take(&mut slow, || ready(7))).await;
            assert_eq!((found, slow), (Ok(7), Slow(false)));
        }
        assert_eq!(turns.slow.available_permits(), 0, "what hangs waits for its like");
    }

    #[tokio::test]
    async fn what_answers_soon_again_is_quick_again() {
        let turns = Turns::of(1, Duration::from_secs(3600));
        let mut slow = Slow(true);
        assert_eq!(timeout(PATIENCE, turns.take(&mut slow, || ready(1))).await, Ok(1));
        assert_eq!(slow, Slow(false));
    }
}

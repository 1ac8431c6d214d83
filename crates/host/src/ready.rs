//! Whether the node can accept and acknowledge: the truth behind `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use journal::{Health, Journal};

/// Age of the oldest unanswered append at which the disk counts as stalled: a slow fdatasync takes
/// tens of milliseconds, a sick disk takes seconds.
pub const STALLED_AFTER: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Readiness {
    journal: Arc<dyn Journal>,
    stopping: AtomicBool,
}

impl Readiness {
    pub(crate) fn new(journal: Arc<dyn Journal>) -> Self {
        Readiness { journal, stopping: AtomicBool::new(false) }
    }

    /// From now on the node is going down.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Nothing, or why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        judge(self.stopping.load(Ordering::Acquire), &self.journal.health())
    }
}

fn judge(stopping: bool, health: &Health) -> Result<(), String> {
    if stopping {
        return Err(String::from("the node is shutting down"));
    }
    if let Some(reason) = &health.refusing {
        return Err(reason.clone());
    }
    let oldest = Duration::from_nanos(health.oldest_nanos);
    if health.waiting > 0 && oldest > STALLED_AFTER {
        return Err(format!(
            "the disk is stalled: {} appends wait, the oldest for {:.1} s",
            health.waiting,
            oldest.as_secs_f64()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stopping: bool, health: Health, part: Option<&str>) {
        match (judge(stopping, &health), part) {
            (Ok(()), None) => {}
            (Err(reason), Some(part)) => assert!(reason.contains(part), "{reason}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn ready_means_able_to_accept_and_acknowledge() {
        let waiting = |seconds: u64| Health { waiting: 2, oldest_nanos: seconds * 1_000_000_000, ..Health::default() };
        check(false, Health::default(), None);
        check(false, waiting(4), None);
        check(false, waiting(6), Some("stalled: 2 appends wait, the oldest for 6.0 s"));
        check(false, Health { refusing: Some("no space left".into()), ..Health::default() }, Some("no space left"));
        check(true, Health::default(), Some("shutting down"));
    }
}

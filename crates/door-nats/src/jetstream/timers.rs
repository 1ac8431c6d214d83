//! What the door does at a time: heartbeats, pauses, second looks.
//!
//! One task for all of them. Who waits is held weakly: what is dropped is forgotten when its time
//! comes, which is why nobody waits longer than [`LOOK_EVERY`] at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Longest time between two looks at one that waits: bounds how long the dead are kept.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something that happens at a time.
pub(super) trait Timed: Send + Sync {
    /// Does what is due; when it is to be asked again. `None`: never.
    fn due(self: Arc<Self>, now: Instant) -> Option<Instant>;
}

#[derive(Default)]
struct Queue {
    /// Tells apart what is due at one time.
    next: u64,
    due: BTreeMap<(Instant, u64), Weak<dyn Timed>>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Timers {
    queue: Mutex<Queue>,
    sooner: Notify,
}

impl Timers {
    /// Has one asked at `when`, or within [`LOOK_EVERY`].
    pub(super) fn at(&self, when: Instant, timed: Weak<dyn Timed>) {
        let when = when.min(Instant::now() + LOOK_EVERY);
        let mut queue = self.queue.lock();
        let sooner = queue.due.first_key_value().is_none_or(|((first, _), _)| when < *first);
        queue.next += 1;
        let place = (when, queue.next);
        queue.due.insert(place, timed);
        drop(queue);
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// Does what is due; when something is due next.
    pub(super) fn turn(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut queue = self.queue.lock();
            let first = queue.due.first_entry()?;
            let (when, _) = *first.key();
            if when > now {
                return Some(when);
            }
            let timed = first.remove();
            drop(queue);
            let again = timed.upgrade().and_then(|timed| timed.due(now));
            if let Some(again) = again {
                self.at(again.max(now + Duration::from_millis(1)), timed);
            }
        }
    }

    /// Does what is due for as long as it is polled.
    pub(super) async fn run(&self) {
        loop {
            match self.turn(Instant::now()) {
                None => self.sooner.notified().await,
                Some(when) => tokio::select! {
                    () = tokio::time::sleep_until(when) => {}
                    () = self.sooner.notified() => {}
                },
            }
        }
    }
}

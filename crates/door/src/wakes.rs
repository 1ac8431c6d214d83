//! Who waits for a change of what.
//!
//! A reader registers what it waits for, looks, and waits. Whoever changes something wakes those who wait for it,
//! and nobody else.
//!
//! # Invariants
//! - A [`Waiting`] is registered from its creation on: what is woken after that is not missed, whether it was
//!   polled by then or not.
//! - What nobody waits for takes no memory.
//!
//! # Cost
//! Registering and leaving take one lock and one look-up each. Waking what nobody waits for costs one look-up.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// What is waited for, by key.
pub struct Wakes<K>(Arc<Mutex<HashMap<K, Slot>>>);

struct Slot {
    notify: Arc<Notify>,
    /// How many wait.
    count: usize,
}

impl<K> Clone for Wakes<K> {
    fn clone(&self) -> Self {
        Wakes(Arc::clone(&self.0))
    }
}

impl<K> Default for Wakes<K> {
    fn default() -> Self {
        Wakes(Arc::default())
    }
}

/// Ends when something that it waits for is woken.
pub struct Waiting<K: Hash + Eq> {
    wakes: Wakes<K>,
    keys: Vec<K>,
    notified: Vec<Pin<Box<OwnedNotified>>>,
}

impl<K: Hash + Eq + Clone> Wakes<K> {
    /// Waits for any of these; for nothing, for ever.
    pub fn wait(&self, keys: &[K]) -> Waiting<K> {
        let mut slots = self.0.lock();
        let mut notified = Vec::with_capacity(keys.len());
        for key in keys {
            let slot = slots.entry(key.clone()).or_insert_with(|| Slot { notify: Arc::default(), count: 0 });
            slot.count += 1;
            notified.push(Box::pin(Arc::clone(&slot.notify).notified_owned()));
        }
        Waiting { wakes: self.clone(), keys: keys.to_vec(), notified }
    }

    /// Wakes who waits for one of these.
    pub fn wake<'k>(&self, keys: impl IntoIterator<Item = &'k K>)
    where
        K: 'k,
    {
        let slots = self.0.lock();
        if slots.is_empty() {
            return;
        }
        let woken: Vec<Arc<Notify>> =
            keys.into_iter().filter_map(|key| slots.get(key)).map(|slot| Arc::clone(&slot.notify)).collect();
        drop(slots);
        woken.iter().for_each(|notify| notify.notify_waiters());
    }

    /// Wakes everyone.
    pub fn wake_all(&self) {
        let woken: Vec<Arc<Notify>> = self.0.lock().values().map(|slot| Arc::clone(&slot.notify)).collect();
        woken.iter().for_each(|notify| notify.notify_waiters());
    }

    /// Whether somebody waits for a key.
    pub fn is_waited_for(&self, key: &K) -> bool {
        self.0.lock().contains_key(key)
    }

    /// How many keys are waited for.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Hash + Eq> Future for Waiting<K> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // The first that has ended is enough; who asks again is told the same.
        match self.notified.iter_mut().any(|one| one.as_mut().poll(context).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

// Nothing in it is pinned but what is boxed.
impl<K: Hash + Eq> Unpin for Waiting<K> {}

impl<K: Hash + Eq> Drop for Waiting<K> {
    fn drop(&mut self) {
        self.notified.clear();
        let mut slots = self.wakes.0.lock();
        for key in &self.keys {
            let Some(slot) = slots.get_mut(key) else { continue };
            slot.count -= 1;
            if slot.count == 0 {
                slots.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over(waiting: &mut Waiting<u32>) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        Pin::new(waiting).poll(&mut context).is_ready()
    }

    #[test]
    fn who_waits_is_woken_by_what_it_waits_for_and_by_nothing_else() {
        let wakes = Wakes::default();
        let (mut one, mut both) = (wakes.wait(&[1]), wakes.wait(&[1, 2]));
        wakes.wake(&[3]);
        assert!(!is_over(&mut one) && !is_over(&mut both));
        wakes.wake(&[2]);
        assert!(!is_over(&mut one) && is_over(&mut both));
        wakes.wake(&[1]);
        assert!(is_over(&mut one));
        assert!(is_over(&mut one) && is_over(&mut both), "as often as it is asked");
    }

    #[test]
    fn what_is_woken_before_the_first_poll_is_not_missed() {
        let wakes = Wakes::default();
        let mut waiting = wakes.wait(&[1]);
        wakes.wake(&[1]);
        assert!(is_over(&mut waiting));
    }

    #[test]
    fn what_nobody_waits_for_takes_no_memory() {
        let wakes: Wakes<u32> = Wakes::default();
        let (one, other) = (wakes.wait(&[1]), wakes.wait(&[1, 2]));
        assert_eq!(wakes.len(), 2);
        drop(other);
        assert_eq!(wakes.len(), 1);
        drop(one);
        assert!(wakes.is_empty());
    }
}

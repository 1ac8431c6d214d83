//! Where readers of the same thing wait, with one registration for all of them.
//!
//! What changes wakes the gate, and the gate wakes one reader. That one looks; where what all wait for has
//! changed, it wakes the others. So a change that makes no difference to anybody costs one wake, whatever the
//! number of readers, and no task stands between them and what changes.
//!
//! # Invariants
//! - Who polls by the protocol below misses nothing: what changes after [`Gate::arm`] returned is seen by the look
//!   that follows, or makes [`Gate::is_due`] true, or wakes. Who changes what readers look at wakes all afterwards.
//! - The reader that was woken owes a look. Where it goes away instead, another is woken.
//! - Neither lock is held while a reader is woken; the readers' lock is not held while anything is registered, so
//!   whatever changes may wake the gate under a lock of its own.
//!
//! ```text
//! loop {  calls = gate.calls();  if gate.arm(…) { look }  ready? return;
//!         place.sleep(waker);  if !gate.is_due(calls) { return Pending }  }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

/// What a gate is registered with: ends when there may be news.
pub(crate) type News = Pin<Box<dyn Future<Output = ()> + Send>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Gate {
    /// There may be news that nobody has looked at.
    due: AtomicBool,
    /// How often readers were woken together.
    calls: AtomicU64,
    /// The rights that its readers last looked at.
    rights: AtomicU64,
    news: Mutex<Option<News>>,
    sleepers: Mutex<Sleepers>,
}

#[derive(Default)]
struct Sleepers {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Where the search for one to wake goes on.
    next: usize,
}

#[derive(Default)]
struct Slot {
    waker: Option<Waker>,
    /// Told by others of what all are woken for.
    quiet: bool,
}

/// A reader's place at a gate.
pub(crate) struct Place {
    gate: Arc<Gate>,
    slot: usize,
}

impl Gate {
    /// Takes a place.
    pub(crate) fn enter(self: &Arc<Self>) -> Place {
        self.enter_as(false)
    }

    /// Takes a place of one who is told by others of what all are woken for: it is woken where one is needed to
    /// look, and where everyone is.
    pub(crate) fn enter_quietly(self: &Arc<Self>) -> Place {
        self.enter_as(true)
    }

    fn enter_as(self: &Arc<Self>, quiet: bool) -> Place {
        let mut sleepers = self.sleepers.lock();
        let slot = sleepers.free.pop().unwrap_or_else(|| {
            sleepers.slots.push(Slot::default());
            sleepers.slots.len() - 1
        });
        if let Some(taken) = sleepers.slots.get_mut(slot) {
            taken.quiet = quiet;
        }
        drop(sleepers);
        Place { gate: Arc::clone(self), slot }
    }

    /// Sees to it that the gate is registered for news that come from now on. Where that is said to be new, the caller
    /// must look; else somebody did since, or is about to, and wakes whom it concerns.
    pub(crate) fn arm(self: &Arc<Self>, mut register: impl FnMut() -> News) -> bool {
        let mut news = self.news.lock();
        // What is registered was polled, and has not ended: it wakes the gate.
        if !self.due.swap(false, Ordering::AcqRel) && news.is_some() {
            return false;
        }
        let waker = Waker::from(Arc::clone(self));
        loop {
            let mut fresh = register();
            let pending = fresh.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
            let before = news.replace(fresh);
            drop(before);
            if pending {
                return true;
            }
        }
    }

    /// How often readers were woken together: what a reader knows before it arms and looks.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Acquire)
    }

    /// Whether there may be news: that nobody has looked at, or that a reader was called for since it knew the calls.
    /// To be asked by who sleeps, before it does nothing.
    pub(crate) fn is_due(&self, calls: u64) -> bool {
        self.due.load(Ordering::Acquire) || self.calls() != calls
    }

    /// Wakes all who are not told by others.
    pub(crate) fn wake_all(&self) {
        self.wake_those(|slot| !slot.quiet);
    }

    /// Wakes everyone.
    pub(crate) fn wake_everyone(&self) {
        self.wake_those(|_| true);
    }

    fn wake_those(&self, which: impl Fn(&Slot) -> bool) {
        // Before the places are looked at: who takes one afterwards sees it.
        self.calls.fetch_add(1, Ordering::AcqRel);
        let mut sleepers = self.sleepers.lock();
        let slots = sleepers.slots.iter_mut().filter(|slot| which(slot));
        let wakers: Vec<Waker> = slots.filter_map(|slot| slot.waker.take()).collect();
        drop(sleepers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Wakes everyone where nobody did for these rights: who is woken may be anybody, and each has to look.
    pub(crate) fn wake_for(&self, rights: u64) {
        if self.rights.swap(rights, Ordering::AcqRel) != rights {
            self.wake_everyone();
        }
    }

    /// Whether anyone has a place.
    pub(crate) fn is_used(&self) -> bool {
        let sleepers = self.sleepers.lock();
        sleepers.slots.len() > sleepers.free.len()
    }

    fn wake_one(&self) {
        let mut sleepers = self.sleepers.lock();
        let (count, start) = (sleepers.slots.len(), sleepers.next);
        let found = (0..count)
            .map(|step| (start + step) % count)
            .find(|at| sleepers.slots.get(*at).is_some_and(|slot| slot.waker.is_some()));
        let Some(at) = found else { return };
        sleepers.next = at + 1;
        let waker = sleepers.slots.get_mut(at).and_then(|slot| slot.waker.take());
        drop(sleepers);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.due.store(true, Ordering::Release);
        self.wake_one();
    }
}

impl Place {
    /// Has the reader woken from now on. Ask [`Gate::is_due`] afterwards.
    pub(crate) fn sleep(&self, waker: &Waker) {
        let mut sleepers = self.gate.sleepers.lock();
        if let Some(slot) = sleepers.slots.get_mut(self.slot) {
            match &mut slot.waker {
                Some(held) => held.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sleepers = self.gate.sleepers.lock();
        let waker = sleepers.slots.get_mut(self.slot).and_then(|slot| slot.waker.take());
        sleepers.free.push(self.slot);
        let empty = sleepers.slots.len() == sleepers.free.len();
        if empty {
            *sleepers = Sleepers::default();
        }
        drop(sleepers);
        drop(waker);
        if self.gate.due.load(Ordering::Acquire) {
            self.gate.wake_one();
        }
        if empty {
            let mut news = self.gate.news.lock();
            let left = if self.gate.is_used() { None } else { news.take() };
            drop(news);
            drop(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::Notify;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn registered(notify: &Arc<Notify>) -> News {
        Box::pin(Arc::clone(notify).notified_owned())
    }

    struct Reader {
        woken: Arc<Woken>,
        place: Place,
    }

    fn reader(gate: &Arc<Gate>) -> Reader {
        let woken = Arc::new(Woken::default());
        let place = gate.enter();
        place.sleep(&Waker::from(Arc::clone(&woken)));
        Reader { woken, place }
    }

    fn count(readers: &[Reader]) -> usize {
        readers.iter().map(|reader| reader.woken.0.load(Ordering::SeqCst)).sum()
    }

    #[test]
    fn news_wake_one_reader_who_may_wake_all() {
        let (gate, notify) = (Arc::new(Gate::default()), Arc::new(Notify::new()));
        gate.arm(|| registered(&notify));
        let readers: Vec<_> = (0..5).map(|_| reader(&gate)).collect();
        assert!(!gate.is_due(gate.calls()));
        notify.notify_waiters();
        assert_eq!((count(&readers), gate.is_due(gate.calls())), (1, true));
        gate.arm(|| registered(&notify));
        assert!(!gate.is_due(gate.calls()));
        gate.wake_all();
        assert_eq!(count(&readers), 5);
        notify.notify_waiters();
        assert_eq!((count(&readers), gate.is_due(gate.calls())), (5, true), "nobody sleeps, so the next looks");
    }

    #[test]
    fn a_reader_that_was_woken_and_goes_leaves_its_look_to_another() {
        let (gate, notify) = (Arc::new(Gate::default()), Arc::new(Notify::new()));
        gate.arm(|| registered(&notify));
        let mut readers: Vec<_> = (0..3).map(|_| reader(&gate)).collect();
        notify.notify_waiters();
        let first = readers.iter().position(|reader| reader.woken.0.load(Ordering::SeqCst) == 1).unwrap();
        readers.remove(first);
        assert_eq!(count(&readers), 1);
    }

    #[test]
    fn the_last_reader_takes_the_registration_away() {
        let (gate, notify) = (Arc::new(Gate::default()), Arc::new(Notify::new()));
        gate.arm(|| registered(&notify));
        let readers: Vec<_> = (0..3).map(|_| reader(&gate)).collect();
        assert!(gate.is_used() && gate.news.lock().is_some());
        let places: Vec<Place> = readers.into_iter().map(|reader| reader.place).collect();
        drop(places);
        assert!(!gate.is_used() && gate.news.lock().is_none());
    }

    #[test]
    fn news_between_the_look_and_the_sleep_are_not_missed() {
        let (gate, notify) = (Arc::new(Gate::default()), Arc::new(Notify::new()));
        gate.arm(|| registered(&notify));
        notify.notify_waiters();
        let _reader = reader(&gate);
        assert!(gate.is_due(gate.calls()));
    }
}

//! A bounded buffer between tasks, with a policy for when it is full.
//!
//! Invariants: nothing is taken out of order; what does not fit is refused or waits, and never grows the buffer,
//! save for what is put back, and for marks: things of no bytes, which take no room and are not counted. The lock is held for a few instructions, and across no await.

use std::collections::VecDeque;
use std::pin::pin;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::options::{Bound, Policy};

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Queue<T> {
    bound: Bound,
    inner: Mutex<Inner<T>>,
    filled: Notify,
    freed: Notify,
}

/// What became of something that was brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Brought<T> {
    /// It is in, and so many others are not any longer.
    In(u64),
    /// It was dropped.
    Dropped,
    /// It has to wait.
    Wait(T),
    /// Nothing is taken any more.
    Closed,
}

impl<T> Queue<T> {
    pub fn new(bound: Bound) -> Self {
        let inner = Inner { items: VecDeque::new(), bytes: 0, closed: false };
        Queue { bound, inner: Mutex::new(inner), filled: Notify::new(), freed: Notify::new() }
    }

    /// Brings something of a size, without waiting.
    pub fn bring(&self, item: T, bytes: usize) -> Brought<T> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Brought::Closed;
        }
        let mut dropped = 0;
        while !self.fits(&inner, bytes) {
            match self.bound.policy {
                Policy::Block => return Brought::Wait(item),
                Policy::DropNewest => return Brought::Dropped,
                Policy::DropOldest => {
                    dropped += inner.pop().map_or(0, |(_, bytes)| u64::from(bytes > 0));
                }
            }
        }
        inner.items.push_back((item, bytes));
        inner.bytes += bytes;
        drop(inner);
        self.filled.notify_waiters();
        Brought::In(dropped)
    }

    /// Brings something, and waits for room where the policy says so.
    pub async fn push(&self, mut item: T, bytes: usize) -> Brought<T> {
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.bring(item, bytes) {
                Brought::Wait(back) => item = back,
                brought => return brought,
            }
            freed.await;
        }
    }

    fn fits(&self, inner: &Inner<T>, bytes: usize) -> bool {
        inner.bytes == 0
            || (inner.items.len() < self.bound.events && inner.bytes.saturating_add(bytes) <= self.bound.bytes)
    }

    /// Takes what is first, without waiting.
    pub fn take(&self) -> Option<T> {
        let taken = self.inner.lock().pop();
        if taken.is_some() {
            self.freed.notify_waiters();
        }
        taken.map(|(item, _)| item)
    }

    /// Takes what is first, and waits for something; `None`: it is closed, and empty. May be given up at any
    /// time: nothing is lost.
    pub async fn pop(&self) -> Option<T> {
        loop {
            let mut filled = pin!(self.filled.notified());
            filled.as_mut().enable();
            if let Some(item) = self.take() {
                return Some(item);
            }
            if self.is_closed() {
                // What came between the two looks is taken.
                return self.take();
            }
            filled.await;
        }
    }

    /// Brings a mark, which takes no room; false: nothing is taken any more.
    pub fn mark(&self, item: T) -> bool {
        let mut inner = self.inner.lock();
        if inner.closed {
            return false;
        }
        inner.items.push_back((item, 0));
        drop(inner);
        self.filled.notify_waiters();
        true
    }

    /// Puts something back to the front, be it full or closed.
    pub fn put_back(&self, item: T, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.items.push_front((item, bytes));
        inner.bytes += bytes;
        drop(inner);
        self.filled.notify_waiters();
    }

    /// Takes nothing any more; what is in can be taken out.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.filled.notify_waiters();
        self.freed.notify_waiters();
    }

    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// How many are in it, marks besides.
    pub fn len(&self) -> usize {
        self.inner.lock().items.iter().filter(|(_, bytes)| *bytes > 0).count()
    }

    /// Empties it; gives how many were in it.
    pub fn clear(&self) -> u64 {
        let mut inner = self.inner.lock();
        let dropped = inner.items.iter().filter(|(_, bytes)| *bytes > 0).count() as u64;
        inner.items.clear();
        inner.bytes = 0;
        drop(inner);
        self.freed.notify_waiters();
        dropped
    }
}

impl<T> Inner<T> {
    fn pop(&mut self) -> Option<(T, usize)> {
        let (item, bytes) = self.items.pop_front()?;
        self.bytes -= bytes;
        Some((item, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn queue(events: usize, bytes: usize, policy: Policy) -> Queue<u32> {
        Queue::new(Bound { events, bytes, policy })
    }

    #[test]
    fn what_does_not_fit_is_treated_as_the_policy_says() {
        let oldest = queue(2, 10, Policy::DropOldest);
        assert_eq!(
            [oldest.bring(1, 1), oldest.bring(2, 1), oldest.bring(3, 1)].map(|b| b == Brought::In(0)),
            [true, true, false]
        );
        assert_eq!(oldest.bring(4, 10), Brought::In(2), "for its bytes all others go");
        assert_eq!((oldest.take(), oldest.take()), (Some(4), None));
        let newest = queue(1, 10, Policy::DropNewest);
        assert_eq!((newest.bring(1, 99), newest.bring(2, 1)), (Brought::In(0), Brought::Dropped));
        assert!(newest.mark(3));
        assert_eq!((newest.take(), newest.len(), newest.take()), (Some(1), 0, Some(3)));
        let block = queue(1, 10, Policy::Block);
        assert_eq!((block.bring(1, 1), block.bring(2, 1)), (Brought::In(0), Brought::Wait(2)));
        block.put_back(0, 1);
        assert_eq!((block.len(), block.take(), block.clear()), (2, Some(0), 1));
        block.close();
        assert_eq!(block.bring(3, 1), Brought::Closed);
    }

    #[tokio::test]
    async fn who_brings_waits_for_room_and_who_takes_for_something() {
        let queue = Arc::new(queue(1, 10, Policy::Block));
        let other = Arc::clone(&queue);
        let bringing = tokio::spawn(async move {
            for number in 0..1_000 {
                assert_eq!(other.push(number, 1).await, Brought::In(0));
            }
            other.close();
        });
        let mut got = Vec::new();
        while let Some(number) = queue.pop().await {
            got.push(number);
        }
        assert_eq!(got, (0..1_000).collect::<Vec<_>>());
        bringing.await.unwrap();
        assert_eq!(queue.push(1, 1).await, Brought::Closed);
    }
}

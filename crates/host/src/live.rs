//! Who listens now: the [`Fabric`] on forwarding tables.
//!
//! # Invariants
//! - A subscription that was made hears every message that is offered after.
//! - Delivering never waits for a subscriber: each has a bounded buffer, and what does not fit is
//!   dropped for that one and counted.
//!
//! # Cost
//! A change marks the table stale; the next delivery makes a new one, so that ten thousand
//! subscribers that come at once cost one table, not ten thousand. Without subscribers a delivery
//! costs one atomic read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use door::{Fabric, Subscriber, SubscriberId};
use event::{Message, Pattern};
use parking_lot::Mutex;
use route::{Class, Destination, ForwardingTable, Interests};

#[derive(Default)]
struct Members {
    interests: Interests,
    subscribers: BTreeMap<SubscriberId, Subscriber>,
    next: SubscriberId,
}

/// What deliveries go by. Never changes.
#[derive(Default)]
struct Table {
    forwarding: ForwardingTable,
    subscribers: BTreeMap<SubscriberId, Subscriber>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Live {
    /// The one place where membership changes. Held for the change, or for making a table.
    members: Mutex<Members>,
    table: ArcSwap<Table>,
    stale: AtomicBool,
    subscribers: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
}

impl Live {
    /// How many listen.
    pub(crate) fn subscribers(&self) -> u64 {
        self.subscribers.load(Ordering::Relaxed)
    }

    /// Messages handed to subscribers so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Messages dropped so far because a subscriber was slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Members) -> T) -> T {
        let mut members = self.members.lock();
        let result = change(&mut members);
        self.subscribers.store(members.subscribers.len() as u64, Ordering::Release);
        self.stale.store(true, Ordering::Release);
        result
    }

    fn refresh(&self) {
        let members = self.members.lock();
        if self.stale.swap(false, Ordering::AcqRel) {
            let table = Table { forwarding: members.interests.table(), subscribers: members.subscribers.clone() };
            self.table.store(Arc::new(table));
        }
    }
}

fn destination(id: SubscriberId) -> Destination {
    Destination { class: Class::Client, number: id }
}

impl Fabric for Live {
    fn is_quiet(&self) -> bool {
        self.subscribers.load(Ordering::Acquire) == 0
    }

    fn deliver(&self, message: &Message) -> u64 {
        if self.is_quiet() {
            return 0;
        }
        if self.stale.load(Ordering::Acquire) {
            self.refresh();
        }
        let table = self.table.load();
        let (mut taken, mut dropped) = (0, 0);
        for destination in table.forwarding.matches(message.subject.as_str(), Class::Client) {
            match table.subscribers.get(&destination.number) {
                Some(subscriber) if subscriber.offer(message) => taken += 1,
                Some(_) => dropped += 1,
                None => {}
            }
        }
        self.delivered.fetch_add(taken, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        taken
    }

    fn subscribe(&self, patterns: &[Pattern], subscriber: Subscriber) -> SubscriberId {
        self.change(|members| {
            let id = members.next;
            members.next += 1;
            for pattern in patterns {
                members.interests.add(destination(id), pattern);
            }
            members.subscribers.insert(id, subscriber);
            id
        })
    }

    fn unsubscribe(&self, id: SubscriberId) {
        self.change(|members| {
            members.interests.leave(destination(id));
            members.subscribers.remove(&id);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use door::{Heard, Subscription};
    use event::Subject;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn message(subject: &str, payload: &'static str) -> Message {
        Message::new(Subject::parse(subject).unwrap(), payload)
    }

    #[tokio::test]
    async fn each_hears_once_what_any_of_its_patterns_matches() {
        let live = Arc::new(Live::default());
        assert!(live.is_quiet());
        let mut both = Subscription::new(live.clone(), &[pattern("a.>"), pattern("a.*")], 8, 1024);
        let mut other = Subscription::new(live.clone(), &[pattern("b")], 8, 1024);
        assert_eq!(live.deliver(&message("a.b", "1")), 1);
        assert_eq!(live.deliver(&message("b", "2")), 1);
        assert_eq!(live.deliver(&message("c", "3")), 0);
        assert_eq!(both.next().await, Some(Heard::Message(message("a.b", "1"))));
        assert_eq!(other.next().await, Some(Heard::Message(message("b", "2"))));
        drop((both, other));
        assert!(live.is_quiet() && live.deliver(&message("b", "4")) == 0);
        assert_eq!(live.table.load().subscribers.len(), 2, "nothing is made while nobody listens");
    }

    #[tokio::test]
    async fn who_does_not_keep_up_loses_alone() {
        let live = Arc::new(Live::default());
        let mut slow = Subscription::new(live.clone(), &[pattern("a")], 1, 1024);
        let mut quick = Subscription::new(live.clone(), &[pattern("a")], 8, 1024);
        for payload in ["1", "2", "3"] {
            live.deliver(&message("a", payload));
        }
        assert_eq!((live.delivered(), live.dropped()), (4, 2));
        assert_eq!(slow.next().await, Some(Heard::Dropped(2)));
        for payload in ["1", "2", "3"] {
            assert_eq!(quick.next().await, Some(Heard::Message(message("a", payload))));
        }
    }
}

//! The live half of publishing: the forwarding table of the local clients, and their buffers.
//!
//! # Invariants
//! - A subscriber hears every message delivered after `subscribe` returned, and none after
//!   `unsubscribe` did, save those that were on their way.
//! - Delivering takes no lock, but for the first delivery after a change, which makes the new table.
//!   So ten thousand subscribers who come one after another cost one table, not ten thousand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use door::{Fabric, Subscriber, SubscriberId};
use event::{Message, Pattern};
use parking_lot::Mutex;
use route::{Class, Destination, ForwardingTable, Interests};

/// Hands messages to the clients that listen now.
#[derive(Default)]
pub struct Forwarding {
    control: Mutex<Control>,
    data: ArcSwap<Data>,
    stale: AtomicBool,
    subscribers: AtomicUsize,
}

#[derive(Default)]
struct Control {
    interests: Interests,
    subscribers: BTreeMap<u64, Subscriber>,
    number: u64,
}

#[derive(Default)]
struct Data {
    table: ForwardingTable,
    subscribers: BTreeMap<u64, Subscriber>,
}

impl Forwarding {
    /// Nobody listens yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How many listen now.
    pub fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::Relaxed)
    }

    fn data(&self) -> arc_swap::Guard<Arc<Data>> {
        if self.stale.load(Ordering::Acquire) {
            let control = self.control.lock();
            // Whoever had the lock before may have made it already.
            if self.stale.load(Ordering::Acquire) {
                let (table, subscribers) = (control.interests.table(), control.subscribers.clone());
                self.data.store(Arc::new(Data { table, subscribers }));
                self.stale.store(false, Ordering::Release);
            }
        }
        self.data.load()
    }
}

impl Fabric for Forwarding {
    fn is_quiet(&self) -> bool {
        self.subscribers.load(Ordering::Acquire) == 0
    }

    fn deliver(&self, message: &Message) -> u64 {
        if self.is_quiet() {
            return 0;
        }
        let data = self.data();
        let wanted = data.table.matches(message.subject.as_str(), Class::Client);
        let taken = wanted.iter().filter_map(|destination| data.subscribers.get(&destination.number));
        taken.filter(|subscriber| subscriber.offer(message)).count() as u64
    }

    fn subscribe(&self, patterns: &[Pattern], subscriber: Subscriber) -> SubscriberId {
        let mut control = self.control.lock();
        control.number += 1;
        let number = control.number;
        for pattern in patterns {
            control.interests.add(Destination { class: Class::Client, number }, pattern);
        }
        control.subscribers.insert(number, subscriber);
        self.changed(&control);
        number
    }

    fn unsubscribe(&self, id: SubscriberId) {
        let mut control = self.control.lock();
        control.interests.leave(Destination { class: Class::Client, number: id });
        control.subscribers.remove(&id);
        self.changed(&control);
    }
}

impl Forwarding {
    fn changed(&self, control: &Control) {
        self.stale.store(true, Ordering::Release);
        self.subscribers.store(control.subscribers.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use door::{Heard, Subscription};
    use event::Subject;

    fn message(subject: &str) -> Message {
        Message::new(Subject::parse(subject).unwrap(), "x")
    }

    #[tokio::test]
    async fn who_listens_hears_once_and_who_left_hears_nothing() {
        let fabric = Forwarding::new();
        assert_eq!(fabric.deliver(&message("a.b")), 0);
        let patterns = ["a.>", "a.*"].map(|text| Pattern::parse(text).unwrap());
        let mut first = Subscription::new(fabric.clone(), &patterns, 10, 1000);
        let second = Subscription::new(fabric.clone(), &patterns[..1], 10, 1000);
        assert_eq!((fabric.deliver(&message("a.b")), fabric.deliver(&message("b"))), (2, 0));
        assert_eq!(first.next().await, Some(Heard::Message(message("a.b"))));
        drop(second);
        assert_eq!((fabric.deliver(&message("a.c")), fabric.subscribers()), (1, 1));
        assert_eq!(first.next().await, Some(Heard::Message(message("a.c"))));
        drop(first);
        assert!(fabric.is_quiet() && fabric.data.load().table.version() > 0);
    }
}

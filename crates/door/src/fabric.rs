//! Who listens now.
//!
//! A [`Fabric`] finds the subscribers of a message; [`Subscriber`] and [`Subscription`] are the two
//! ends of one subscriber's bounded buffer.
//!
//! # Invariants
//! - Offering a message never waits. Where a buffer is full, by messages or by bytes, the message
//!   is dropped for that subscriber alone, and counted; the next message that it takes tells the
//!   count first.
//! - A subscription that is dropped leaves nothing behind in the fabric.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use event::{Message, Pattern};
use tokio::sync::mpsc;

/// Names one subscriber of a fabric.
pub type SubscriberId = u64;

/// Hands messages to whoever wants them now. Implemented by the host on forwarding tables.
pub trait Fabric: Send + Sync {
    /// Whether nobody listens at all, so that a message need not be kept for them.
    fn is_quiet(&self) -> bool;

    /// Offers a message to each subscriber that wants it, once; how many took it. Must not block:
    /// it is called from engines' own threads.
    fn deliver(&self, message: &Message) -> u64;

    /// Adds a subscriber for all that any of the patterns matches.
    fn subscribe(&self, patterns: &[Pattern], subscriber: Subscriber) -> SubscriberId;

    /// Takes a subscriber out. Unknown ones are ignored.
    fn unsubscribe(&self, id: SubscriberId);
}

/// A fabric without subscribers, for nodes and tests that need none: they hear nothing.
#[derive(Debug, Default)]
pub struct Quiet;

impl Fabric for Quiet {
    fn is_quiet(&self) -> bool {
        true
    }

    fn deliver(&self, _message: &Message) -> u64 {
        0
    }

    fn subscribe(&self, _patterns: &[Pattern], _subscriber: Subscriber) -> SubscriberId {
        0
    }

    fn unsubscribe(&self, _id: SubscriberId) {}
}

#[derive(Debug, Default)]
struct Counts {
    /// Bytes of the messages in the buffer.
    bytes: AtomicUsize,
    /// Messages dropped and not yet told.
    dropped: AtomicU64,
}

/// The end of a subscriber's buffer that the fabric holds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Subscriber {
    sender: mpsc::Sender<Message>,
    counts: Arc<Counts>,
    bytes_max: usize,
}

impl Subscriber {
    /// Offers a message; `false` where it was dropped, or the subscriber is gone. Never waits.
    pub fn offer(&self, message: &Message) -> bool {
        let size = message.size();
        let before = self.counts.bytes.fetch_add(size, Ordering::Relaxed);
        // A buffer takes at least one message, however large.
        let room = before == 0 || before.saturating_add(size) <= self.bytes_max;
        if room && self.sender.try_send(message.clone()).is_ok() {
            return true;
        }
        self.counts.bytes.fetch_sub(size, Ordering::Relaxed);
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Message),
    /// So many messages were dropped since this was last told, because the subscriber was slow.
    Dropped(u64),
}

/// The end of a subscriber's buffer that the subscriber holds. Dropping it unsubscribes.
pub struct Subscription {
    receiver: mpsc::Receiver<Message>,
    counts: Arc<Counts>,
    leave: Option<(Arc<dyn Fabric>, SubscriberId)>,
}

impl Subscription {
    /// Subscribes to a fabric with a buffer of so many messages and bytes.
    pub fn new(fabric: Arc<dyn Fabric>, patterns: &[Pattern], messages_max: usize, bytes_max: usize) -> Self {
        let (subscriber, mut subscription) = Subscription::pair(messages_max, bytes_max);
        let id = fabric.subscribe(patterns, subscriber);
        subscription.leave = Some((fabric, id));
        subscription
    }

    /// Both ends of a buffer that belongs to no fabric yet.
    pub fn pair(messages_max: usize, bytes_max: usize) -> (Subscriber, Subscription) {
        let (sender, receiver) = mpsc::channel(messages_max.max(1));
        let counts = Arc::new(Counts::default());
        let subscriber = Subscriber { sender, counts: Arc::clone(&counts), bytes_max };
        (subscriber, Subscription { receiver, counts, leave: None })
    }

    /// What comes next; `None` where the fabric is gone. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Heard> {
        let dropped = self.counts.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            return Some(Heard::Dropped(dropped));
        }
        let message = self.receiver.recv().await?;
        self.counts.bytes.fetch_sub(message.size(), Ordering::Relaxed);
        Some(Heard::Message(message))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some((fabric, id)) = self.leave.take() {
            fabric.unsubscribe(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Subject;

    fn message(payload: &'static str) -> Message {
        Message::new(Subject::parse("a").unwrap(), payload)
    }

    #[tokio::test]
    async fn a_full_buffer_drops_and_tells_the_count() {
        let (subscriber, mut subscription) = Subscription::pair(2, 1000);
        let taken: Vec<bool> = ["1", "2", "3", "4"].into_iter().map(|p| subscriber.offer(&message(p))).collect();
        assert_eq!(taken, [true, true, false, false]);
        assert_eq!(subscription.next().await, Some(Heard::Dropped(2)));
        assert_eq!(subscription.next().await, Some(Heard::Message(message("1"))));
        assert_eq!(subscription.next().await, Some(Heard::Message(message("2"))));
        assert!(subscriber.offer(&message("5")));
        assert_eq!(subscription.next().await, Some(Heard::Message(message("5"))));
        drop(subscriber);
        assert_eq!(subscription.next().await, None);
    }

    #[tokio::test]
    async fn a_buffer_is_bounded_by_bytes_and_takes_one_of_any_size() {
        let (subscriber, mut subscription) = Subscription::pair(100, 4);
        assert!(subscriber.offer(&message("longer than four")));
        assert!(!subscriber.offer(&message("x")));
        assert_eq!(subscription.next().await, Some(Heard::Dropped(1)));
        assert!(matches!(subscription.next().await, Some(Heard::Message(_))));
        assert!(subscriber.offer(&message("x")) && subscriber.offer(&message("y")) && !subscriber.offer(&message("z")));
    }
}

//! A listener that keeps messages in a bounded buffer until they are asked for.
//!
//! # Invariants
//! - Where the buffer is full, by messages or by bytes, the message is dropped for that listener
//!   alone, and counted; the next thing that it hears is the count.
//! - A subscription that is dropped leaves nothing behind in the fabric.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use event::{Message, Pattern};
use tokio::sync::mpsc;

use crate::access::Principal;
use crate::fabric::{Class, Fabric, Listener, ListenerId, NOBODY, Parcel, Taker, Took};

#[derive(Debug, Default)]
struct Counts {
    /// Bytes of the messages in the buffer.
    bytes: AtomicUsize,
    /// Messages dropped and not yet told.
    dropped: AtomicU64,
}

/// The end of a buffer that the fabric holds.
#[derive(Debug)]
struct Hand {
    sender: mpsc::Sender<Message>,
    counts: Arc<Counts>,
    bytes_max: usize,
}

impl Taker for Hand {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        let size = parcel.size();
        let before = self.counts.bytes.fetch_add(size, Ordering::Relaxed);
        // A buffer takes at least one message, however large.
        let room = before == 0 || before.saturating_add(size) <= self.bytes_max;
        if room
            && let Ok(place) = self.sender.try_reserve()
            && let Some(message) = parcel.to_message()
        {
            place.send(message);
            return Took::Yes;
        }
        self.counts.bytes.fetch_sub(size, Ordering::Relaxed);
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        Took::No
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

/// The end of the buffer that the subscriber holds. Dropping it unsubscribes.
pub struct Subscription {
    receiver: mpsc::Receiver<Message>,
    counts: Arc<Counts>,
    leave: Option<(Arc<dyn Fabric>, ListenerId)>,
    /// Judges what comes, by whatever address, where rules close anything to who listens.
    guard: Option<Principal>,
}

impl Subscription {
    /// Subscribes to a fabric with a buffer of so many messages and bytes.
    pub fn new(fabric: Arc<dyn Fabric>, patterns: &[Pattern], messages_max: usize, bytes_max: usize) -> Self {
        let (taker, mut subscription) = Subscription::pair(messages_max, bytes_max);
        let class = Class::Client;
        let id = fabric.join(Listener { patterns: patterns.to_vec(), queue: None, connection: NOBODY, class, taker });
        subscription.leave = Some((fabric, id));
        subscription
    }

    /// Both ends of a buffer that belongs to no fabric yet.
    pub fn pair(messages_max: usize, bytes_max: usize) -> (Arc<dyn Taker>, Subscription) {
        let (sender, receiver) = mpsc::channel(messages_max.max(1));
        let counts = Arc::new(Counts::default());
        let hand = Hand { sender, counts: Arc::clone(&counts), bytes_max };
        (Arc::new(hand), Subscription { receiver, counts, leave: None, guard: None })
    }

    /// What comes next; `None` where the fabric is gone. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Heard> {
        let dropped = self.counts.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            return Some(Heard::Dropped(dropped));
        }
        loop {
            let message = self.receiver.recv().await?;
            self.counts.bytes.fetch_sub(message.size(), Ordering::Relaxed);
            if self.guard.as_ref().is_none_or(|who| who.is_open_to(message.subject.as_str())) {
                return Some(Heard::Message(message));
            }
        }
    }

    /// From here on nothing is heard that rules close to who listens.
    pub(crate) fn judge_by(&mut self, who: &Principal) {
        self.guard = who.is_ruled().then(|| who.clone());
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some((fabric, id)) = self.leave.take() {
            fabric.leave(id);
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

    fn took(taker: &Arc<dyn Taker>, payload: &'static str) -> bool {
        taker.take(&Parcel::of(&message(payload))) != Took::No
    }

    #[tokio::test]
    async fn a_full_buffer_drops_and_tells_the_count() {
        let (taker, mut subscription) = Subscription::pair(2, 1000);
        let taken: Vec<bool> = ["1", "2", "3", "4"].into_iter().map(|p| took(&taker, p)).collect();
        assert_eq!(taken, [true, true, false, false]);
        assert_eq!(subscription.next().await, Some(Heard::Dropped(2)));
        assert_eq!(subscription.next().await, Some(Heard::Message(message("1"))));
        assert_eq!(subscription.next().await, Some(Heard::Message(message("2"))));
        assert!(took(&taker, "5"));
        assert_eq!(subscription.next().await, Some(Heard::Message(message("5"))));
        drop(taker);
        assert_eq!(subscription.next().await, None);
    }

    #[tokio::test]
    async fn a_buffer_is_bounded_by_bytes_and_takes_one_of_any_size() {
        let (taker, mut subscription) = Subscription::pair(100, 4);
        assert!(took(&taker, "longer than four"));
        assert!(!took(&taker, "x"));
        assert_eq!(subscription.next().await, Some(Heard::Dropped(1)));
        assert!(matches!(subscription.next().await, Some(Heard::Message(_))));
        assert!(took(&taker, "x") && took(&taker, "y") && !took(&taker, "z"));
    }
}

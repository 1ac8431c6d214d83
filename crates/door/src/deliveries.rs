//! One fetch's deliveries, on the asking side.
//!
//! # Invariants
//! - The buffer has room for the whole batch, so an engine never has to pause, and memory is
//!   bounded by the fetch's own limits.
//! - What was delivered and never handed on goes back at once: a client that leaves in the middle
//!   of a fetch costs nobody an acknowledgement wait.

use std::sync::Arc;
use std::time::Duration;

use journal::{Ack, Delivery, FetchEnd, FetchError, Journal, Sink, Want};
use tokio::sync::{mpsc, oneshot};

/// The deliveries of one fetch, as they come.
pub struct Deliveries {
    journal: Arc<dyn Journal>,
    receiver: mpsc::Receiver<Delivery>,
    ended: oneshot::Receiver<FetchEnd>,
    held: Vec<Delivery>,
}

struct Hand {
    sender: mpsc::Sender<Delivery>,
    ended: oneshot::Sender<FetchEnd>,
}

impl Sink for Hand {
    fn deliver(&mut self, delivery: Delivery) -> Want {
        match self.sender.try_send(delivery) {
            Ok(()) => Want::More,
            Err(_) => Want::Closed,
        }
    }

    fn ready(&mut self) -> Option<bool> {
        (!self.sender.is_closed()).then(|| self.sender.capacity() > 0)
    }

    fn end(self: Box<Self>, end: FetchEnd) {
        // A user that is gone does not ask why the fetch ended.
        let _unwanted = self.ended.send(end);
    }
}

impl Deliveries {
    /// The two ends of a fetch of at most `batch` messages.
    pub(crate) fn pair(journal: Arc<dyn Journal>, batch: usize) -> (Box<dyn Sink>, Deliveries) {
        let (sender, receiver) = mpsc::channel(batch.max(1));
        let (end, ended) = oneshot::channel();
        let sink = Box::new(Hand { sender, ended: end });
        (sink, Deliveries { journal, receiver, ended, held: Vec::new() })
    }

    /// The next delivery, which is the caller's from now on; `None` where the fetch ended. Safe to
    /// drop while it waits.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.receiver.recv().await
    }

    /// Why the fetch ended. Waits until it has.
    pub async fn end(mut self) -> FetchEnd {
        self.ended_with().await
    }

    async fn ended_with(&mut self) -> FetchEnd {
        let lost = || FetchEnd::Failed(FetchError::Closed("the fetch was given up".into()));
        (&mut self.ended).await.unwrap_or_else(|_| lost())
    }

    /// Every delivery and why the fetch ended. Where this is dropped while it waits, what was
    /// delivered so far goes back.
    pub async fn collect(mut self) -> (Vec<Delivery>, FetchEnd) {
        while let Some(delivery) = self.receiver.recv().await {
            self.held.push(delivery);
        }
        let end = self.ended_with().await;
        (std::mem::take(&mut self.held), end)
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.receiver.close();
        let mut back = std::mem::take(&mut self.held);
        while let Ok(delivery) = self.receiver.try_recv() {
            back.push(delivery);
        }
        for delivery in back {
            let again = Ack::Again { delay: Some(Duration::ZERO) };
            self.journal.acknowledge(delivery.token, again, false, Box::new(|_| ()));
        }
    }
}

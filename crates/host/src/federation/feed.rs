//! A consumer's deliveries as they come, for whoever works them off at his own pace.
//!
//! # Invariants
//! - At most [`HELD_MAX`] deliveries are held; the engine pauses beyond.
//! - What was never handed on goes back at once when the feed is dropped.
//! - After [`Feed::close`] the engine gives nothing more to it.

use std::sync::Arc;
use std::time::Duration;

use journal::{Ack, Delivery, Fetch, Journal, Sink, Want};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Deliveries held, at most: a batch to a peer, so that the next is there when one was sent.
const HELD_MAX: usize = 1_024;

/// How long the engine may take to let go of it.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The deliveries.
pub(crate) struct Feed {
    journal: Arc<dyn Journal>,
    receiver: mpsc::Receiver<Delivery>,
    ended: Option<oneshot::Receiver<()>>,
    full: bool,
}

/// The engine's end of it, which it drops when it gives no more.
struct Hand(mpsc::Sender<Delivery>, #[expect(dead_code, reason = "it tells by being dropped")] oneshot::Sender<()>);

impl Sink for Hand {
    fn deliver(&mut self, delivery: Delivery) -> Want {
        match self.0.try_send(delivery) {
            Ok(()) if self.0.capacity() == 0 => Want::Pause,
            Ok(()) => Want::More,
            Err(_) => Want::Closed,
        }
    }

    fn ready(&mut self) -> Option<bool> {
        (!self.0.is_closed()).then(|| self.0.capacity() > 0)
    }

    fn end(self: Box<Self>, _end: journal::FetchEnd) {}
}

impl Feed {
    /// Begins to pull everything that a consumer gives.
    pub(crate) fn open(journal: &Arc<dyn Journal>, stream: &str, consumer: &str) -> Feed {
        let (sender, receiver) = mpsc::channel(HELD_MAX);
        let (end, ended) = oneshot::channel();
        let fetch = Fetch { batch: u64::MAX, wait: Some(Duration::MAX), ..Fetch::default() };
        journal.fetch(stream, consumer, fetch, Box::new(Hand(sender, end)));
        Feed { journal: Arc::clone(journal), receiver, ended: Some(ended), full: false }
    }

    /// The next delivery; `None` where the consumer is gone or the engine failed. Safe to drop while it waits.
    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        if self.full && self.receiver.len() <= HELD_MAX / 2 {
            self.full = false;
            self.journal.nudge();
        }
        let delivery = self.receiver.recv().await;
        self.full |= self.receiver.len() + 1 >= HELD_MAX;
        delivery
    }

    /// Ends it, and waits until the engine has let go of it.
    pub(crate) async fn close(mut self) {
        let ended = self.ended.take();
        drop(self);
        if let Some(ended) = ended {
            // One that cannot let go now does when it can: what it gives until then comes again.
            let _late = timeout(CLOSE_WAIT, ended).await;
        }
    }

    /// The next delivery, where one is held.
    pub(crate) fn held(&mut self) -> Option<Delivery> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.receiver.close();
        while let Ok(delivery) = self.receiver.try_recv() {
            let again = Ack::Again { delay: Some(Duration::ZERO) };
            self.journal.acknowledge(delivery.token, again, false, Box::new(|_| ()));
        }
        self.journal.nudge();
    }
}

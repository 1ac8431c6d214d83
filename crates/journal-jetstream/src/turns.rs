//! Turns: what one caller asks of a stream takes effect in the order of the calls.
//!
//! A verb takes its turn when it is called, and waits, where it works, for those before it. Readers
//! wait for the turns before them and keep nobody waiting.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The turns of every stream.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, watch::Receiver<()>>>);

/// What is before a verb.
pub(crate) struct Before(Option<watch::Receiver<()>>);

/// A turn. Dropping it ends it.
pub(crate) struct Turn(#[expect(dead_code, reason = "its end is what is told")] watch::Sender<()>);

impl Turns {
    /// Takes a turn on a stream.
    pub(crate) fn take(&self, stream: &str) -> (Before, Turn) {
        let (sender, receiver) = watch::channel(());
        let mut turns = self.0.lock();
        turns.retain(|_, turn| turn.has_changed().is_ok());
        let before = turns.insert(stream.to_owned(), receiver);
        (Before(before), Turn(sender))
    }

    /// What is before a reader.
    pub(crate) fn before(&self, stream: &str) -> Before {
        Before(self.0.lock().get(stream).filter(|turn| turn.has_changed().is_ok()).cloned())
    }
}

impl Before {
    /// Waits until it is over.
    pub(crate) async fn over(self) {
        if let Some(mut turn) = self.0 {
            while turn.changed().await.is_ok() {}
        }
    }
}

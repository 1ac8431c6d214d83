//! What the door itself must know of streams to answer at once.
//!
//! Kept for each stream whose declaration was seen. What is not here is not special: a stream that was
//! declared through another door has no setting that only this one knows. [`Known`]s are replaced when
//! a stream is declared anew through this door, and forgotten when the journal tells of a change.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event::Subject;
use journal::StreamConfig;
use parking_lot::{Mutex, RwLock};

use super::stream_forms::rest_of;
use super::wire::StreamRest;

/// Subjects of one stream whose last positions are kept: a few megabytes.
const LASTS_MAX: usize = 65_536;

/// One stream.
#[derive(Debug)]
pub(crate) struct Known {
    /// As it is declared.
    pub(crate) config: StreamConfig,
    /// What only this door keeps of it.
    pub(crate) rest: StreamRest,
    /// Of a stream whose messages are published again: the last position of each of its subjects, as
    /// far as the door saw them; forgotten where there are more than [`LASTS_MAX`].
    lasts: Mutex<HashMap<Subject, u64>>,
}

impl Known {
    /// The last position of a subject before this one, which becomes the last.
    pub(crate) fn last_of(&self, subject: &Subject, seq: u64) -> u64 {
        let mut lasts = self.lasts.lock();
        if lasts.len() >= LASTS_MAX {
            lasts.clear();
        }
        lasts.insert(subject.clone(), seq).unwrap_or(0)
    }

    /// Whether a publish has to look at what is kept here.
    fn is_special(&self) -> bool {
        let StreamRest { max_msg_size, no_ack, allow_msg_counter, .. } = &self.rest;
        *max_msg_size > 0 || *no_ack || *allow_msg_counter || self.config.republish.is_some()
    }
}

/// All that was seen.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    streams: RwLock<HashMap<Arc<str>, Arc<Known>>>,
    /// How many of them ask more of a publish than that it is recorded.
    special: AtomicUsize,
}

impl Catalogue {
    /// Notes a declaration.
    pub(crate) fn note(&self, config: &StreamConfig) -> Arc<Known> {
        let known =
            Arc::new(Known { rest: rest_of(&config.metadata), config: config.clone(), lasts: Mutex::default() });
        let mut streams = self.streams.write();
        if let Some(same) = streams.get(config.name.as_str()).filter(|same| same.config == *config) {
            return Arc::clone(same);
        }
        streams.insert(config.name.as_str().into(), Arc::clone(&known));
        self.count(&streams, known.is_special());
        drop(streams);
        known
    }

    /// Forgets a stream.
    pub(crate) fn forget(&self, stream: &str) {
        let mut streams = self.streams.write();
        let gone = streams.remove(stream);
        self.count(&streams, gone.is_some_and(|known| known.is_special()));
    }

    /// Counts the special ones anew, where that may have changed.
    fn count(&self, streams: &HashMap<Arc<str>, Arc<Known>>, changed: bool) {
        if changed || self.some_special() {
            let special = streams.values().filter(|known| known.is_special()).count();
            self.special.store(special, Ordering::Release);
        }
    }

    /// Whether any stream asks more of a publish than that it is recorded.
    pub(crate) fn some_special(&self) -> bool {
        self.special.load(Ordering::Acquire) > 0
    }

    /// A stream, where it was seen.
    pub(crate) fn get(&self, stream: &str) -> Option<Arc<Known>> {
        self.streams.read().get(stream).cloned()
    }
}

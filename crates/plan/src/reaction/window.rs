//! The facts that wait for a run, and when their time has come.
//!
//! Without a window they go at once. A window counts from the first that waits; a quiet time
//! (debounce) from the last *new* one, at most a minute after the first or, where there is a window too, at
//! most the window. A full batch goes at once.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use event::{Fact, Moment};

/// Facts of one run, at most: routerd's own bound.
pub const BATCH_FACTS_MAX: usize = 1024;

/// Payload, ids, types and subjects of one run, at most, in bytes: routerd's own bound.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a quiet time may be put off after the first fact: routerd's own ceiling.
pub const DEBOUNCE_CEILING: Duration = Duration::from_secs(60);

/// The facts that wait, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Window {
    window: Option<Duration>,
    debounce: Option<Duration>,
    // By arrival; a fact is in it once, and its holder keeps the key.
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
    arrivals: u64,
}

#[derive(Debug)]
struct Waiting {
    id: String,
    at: Moment,
    bytes: usize,
}

impl Window {
    pub(crate) fn new(window: Option<Duration>, debounce: Option<Duration>) -> Self {
        Window { window, debounce, waiting: BTreeMap::new(), bytes: 0, arrivals: 0 }
    }

    /// Puts a fact behind the others and gives its place.
    pub(crate) fn push(&mut self, now: Moment, fact: &Fact) -> u64 {
        let bytes = size(fact);
        self.arrivals += 1;
        self.bytes += bytes;
        self.waiting.insert(self.arrivals, Waiting { id: fact.id.clone(), at: now, bytes });
        self.arrivals
    }

    /// Takes a fact out before its time.
    pub(crate) fn remove(&mut self, place: u64) {
        if let Some(waiting) = self.waiting.remove(&place) {
            self.bytes -= waiting.bytes;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When they are to go; `None`: there are none.
    pub(crate) fn due(&self) -> Option<Moment> {
        let first = self.waiting.values().next()?.at;
        let last = self.waiting.values().next_back()?.at;
        if self.waiting.len() >= BATCH_FACTS_MAX || self.bytes >= BATCH_BYTES_MAX {
            return Some(first);
        }
        let window = self.window.filter(|span| !span.is_zero());
        let quiet = self.debounce.filter(|span| !span.is_zero());
        Some(match (window, quiet) {
            (None, None) => first,
            (Some(window), None) => first.after(window),
            (window, Some(quiet)) => first.after(window.unwrap_or(DEBOUNCE_CEILING)).min(last.after(quiet)),
        })
    }

    /// The ids of the next batch, oldest first: as many as one run may have.
    pub(crate) fn take(&mut self) -> Vec<String> {
        let (mut ids, mut bytes) = (Vec::new(), 0);
        while let Some(entry) = self.waiting.first_entry() {
            bytes += entry.get().bytes;
            if ids.len() >= BATCH_FACTS_MAX || (!ids.is_empty() && bytes > BATCH_BYTES_MAX) {
                break;
            }
            let waiting = entry.remove();
            self.bytes -= waiting.bytes;
            ids.push(waiting.id);
        }
        ids
    }
}

/// What a fact adds to a batch, in bytes: its id, type, subject, and its payload as JSON without escapes.
fn size(fact: &Fact) -> usize {
    let payload: usize = fact.payload.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
    fact.id.len() + fact.kind.len() + fact.subject.len() + payload + 1
}

//! Who waits for a stream's next message.

use std::collections::BTreeMap;

use event::{Pattern, Wanted};

use crate::live::Added;

/// Called once, when what was waited for is there. Must not block.
pub type Wake = Box<dyn FnOnce() + Send>;

/// A set of waiters, each with its filters.
#[derive(Default)]
pub struct Waiters {
    next: u64,
    wanted: Wanted<u64>,
    waiting: BTreeMap<u64, (Vec<Pattern>, Wake)>,
}

impl Waiters {
    /// Adds a waiter; no filters: any message wakes it. Returns what removes it.
    pub fn add(&mut self, filters: Vec<Pattern>, wake: Wake) -> u64 {
        let key = self.next;
        self.next += 1;
        let filters = if filters.is_empty() { vec![Pattern::all()] } else { filters };
        for filter in &filters {
            self.wanted.insert(filter, key);
        }
        self.waiting.insert(key, (filters, wake));
        key
    }

    /// Removes a waiter, uncalled.
    pub fn remove(&mut self, key: u64) -> Option<Wake> {
        let (filters, wake) = self.waiting.remove(&key)?;
        for filter in &filters {
            self.wanted.remove(filter, &key);
        }
        Some(wake)
    }

    /// Removes those that want one of these messages, to be called when the lock is let go of.
    #[must_use]
    pub fn take(&mut self, added: &[Added]) -> Vec<Wake> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut woken = Vec::new();
        for message in added {
            self.wanted.each(std::str::from_utf8(&message.subject).unwrap_or_default(), &mut |key| woken.push(*key));
        }
        woken.into_iter().filter_map(|key| self.remove(key)).collect()
    }

    /// Removes all, to be called when the lock is let go of.
    #[must_use]
    pub fn take_all(&mut self) -> Vec<Wake> {
        let keys: Vec<u64> = self.waiting.keys().copied().collect();
        keys.into_iter().filter_map(|key| self.remove(key)).collect()
    }
}

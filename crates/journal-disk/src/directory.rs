//! Which streams there are, as readers see it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use event::Wanted;
use parking_lot::RwLock;

use crate::live::Shared;

/// All streams by name, and by the subjects that they capture.
#[derive(Default)]
pub struct Directory {
    inner: RwLock<Inner>,
    /// Grows with every change of what is captured, after the change.
    version: AtomicU64,
}

#[derive(Default)]
struct Inner {
    streams: BTreeMap<Arc<str>, Arc<Shared>>,
    captures: Wanted<u32>,
    names: BTreeMap<u32, Arc<str>>,
}

impl Directory {
    /// A stream.
    pub fn get(&self, name: &str) -> Option<Arc<Shared>> {
        self.inner.read().streams.get(name).cloned()
    }

    /// All, by name.
    pub fn all(&self) -> Vec<Arc<Shared>> {
        self.inner.read().streams.values().cloned().collect()
    }

    /// The stream that captures a subject.
    pub fn captured_by(&self, subject: &str) -> Option<Arc<str>> {
        let inner = self.inner.read();
        let mut found = None;
        inner.captures.each(subject, &mut |stream| found = Some(*stream));
        found.and_then(|stream| inner.names.get(&stream).cloned())
    }

    /// As [`journal::Journal::version`].
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Adds a stream, or takes in its new declaration.
    pub fn put(&self, shared: &Arc<Shared>) {
        let config = shared.live.read().config.clone();
        let mut inner = self.inner.write();
        inner.streams.insert(shared.name.clone(), shared.clone());
        inner.names.insert(shared.id, shared.name.clone());
        for pattern in &config.subjects {
            inner.captures.insert(pattern, shared.id);
        }
        drop(inner);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Takes out what [`Directory::put`] added under this declaration.
    pub fn remove(&self, shared: &Shared, config: &journal::StreamConfig) {
        let mut inner = self.inner.write();
        for pattern in &config.subjects {
            inner.captures.remove(pattern, &shared.id);
        }
        inner.names.remove(&shared.id);
        if inner.streams.get(&shared.name).is_some_and(|found| found.id == shared.id) {
            inner.streams.remove(&shared.name);
        }
        drop(inner);
        self.version.fetch_add(1, Ordering::Release);
    }
}

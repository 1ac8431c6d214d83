//! A reader's place in a table, and the framing of what it is told.
//!
//! ```text
//!            resumable
//!   start ───────────────────────────────▶ live ──▶ Changes, again and again
//!     │ anew, or behind the floor            │ its position was forgotten, or is ahead of the table
//!     ▼                                      ▼
//!   NewSnapshotToFollow ─▶ Items … ─▶ EndOfSnapshot ─▶ live
//! ```
//!
//! # Invariants
//! 1. Who applies all frames up to an end of snapshot or a batch of changes holds what the table held at the position
//!    told there, but for keys that changed behind it, which follow; who was told all there is holds what the table
//!    holds. So it is though the table changed while a snapshot was told in pieces: what changed meanwhile comes
//!    within the snapshot.
//! 2. After the end of a snapshot nothing comes that happened at or before its position.
//! 3. Positions told never fall, but after a new snapshot that follows a table that lost what it once knew.
//!
//! A follower owns no value and no buffer: it costs a key and a few numbers.

use alloc::vec::Vec;
use core::ops::Bound;

use crate::table::{Change, Table};

/// What a reader is told next.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a, K, V> {
    /// Drop what you hold: all of it follows.
    NewSnapshotToFollow {
        /// The position that the reader wished to resume from, if any. (gRPC readers that begin anew are not told
        /// that a snapshot follows: they know.)
        resumed: Option<u64>,
    },
    /// A part of the snapshot. Removals are of what an earlier part held. No position goes with it.
    Items(Vec<Change<'a, K, V>>),
    /// The snapshot is complete. `position` can be resumed from.
    EndOfSnapshot {
        /// What the reader holds is true at this position.
        position: u64,
    },
    /// What changed since.
    Changes {
        /// What the reader holds now is true at this position, which can be resumed from.
        upto: u64,
        /// In order of position; the latest of each key only.
        changes: Vec<Change<'a, K, V>>,
    },
}

#[derive(Debug, Clone)]
enum Stage<K> {
    /// Nothing was told yet. Resumes there if it can.
    Start(Option<u64>),
    /// A snapshot is to be told, whatever could be resumed.
    Anew(Option<u64>),
    /// Items up to and with this key were told, as they were at the position.
    Items { at: u64, told: Option<K> },
    /// All items were told; what changed up to the position was too.
    Mending { upto: u64 },
    /// The snapshot is complete, or there was none.
    Live { upto: u64 },
}

/// A place in a table. See the module's head.
#[derive(Debug, Clone)]
pub struct Follower<K> {
    stage: Stage<K>,
    chunk: usize,
}

impl<K: Ord + Clone> Follower<K> {
    /// A reader that resumes after a position (0 is as none), or begins with a snapshot. A frame holds at most
    /// `chunk` items, save that a position is never split.
    pub fn new(after: Option<u64>, chunk: usize) -> Self {
        Follower { stage: Stage::Start(after.filter(|after| *after > 0)), chunk: chunk.max(1) }
    }

    /// The position that the reader can resume from; `None` while it is told a snapshot.
    pub fn position(&self) -> Option<u64> {
        match self.stage {
            Stage::Start(after) | Stage::Anew(after) => after,
            Stage::Live { upto } => Some(upto),
            Stage::Items { .. } | Stage::Mending { .. } => None,
        }
    }

    /// Begins anew with a snapshot: for a reader that may see other things than before.
    pub fn reset(&mut self) {
        self.stage = Stage::Anew(self.position());
    }

    /// What the reader is to be told next; `None`: nothing until the table changes.
    pub fn next<'a, V>(&mut self, table: &'a Table<K, V>) -> Option<Frame<'a, K, V>> {
        match &mut self.stage {
            Stage::Start(Some(after)) if *after >= table.floor() && *after <= table.position() => {
                let upto = *after;
                self.stage = Stage::Live { upto };
                self.live(upto, table)
            }
            Stage::Start(after) | Stage::Anew(after) => {
                let after = *after;
                Some(self.snapshot(after, table))
            }
            Stage::Items { at, told } => {
                let (at, told) = (*at, told.take());
                self.items(at, told, table)
            }
            Stage::Mending { upto } => {
                let upto = *upto;
                self.mend(upto, table)
            }
            Stage::Live { upto } => {
                let upto = *upto;
                self.live(upto, table)
            }
        }
    }

    fn snapshot<'a, V>(&mut self, resumed: Option<u64>, table: &'a Table<K, V>) -> Frame<'a, K, V> {
        self.stage = Stage::Items { at: table.position(), told: None };
        Frame::NewSnapshotToFollow { resumed }
    }

    fn items<'a, V>(&mut self, at: u64, told: Option<K>, table: &'a Table<K, V>) -> Option<Frame<'a, K, V>> {
        let from = told.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        // What changed since `at` comes when the snapshot is mended, and only then.
        let rest = table.range::<K, _>((from, Bound::Unbounded)).filter(|(_, entry)| entry.changed <= at);
        let items: Vec<_> = rest.take(self.chunk).map(|(key, entry)| Change::Put(key, entry)).collect();
        match items.last() {
            Some(last) if items.len() == self.chunk => {
                self.stage = Stage::Items { at, told: Some(last.key().clone()) };
            }
            Some(_) => self.stage = Stage::Mending { upto: at },
            None => return self.mend(at, table),
        }
        Some(Frame::Items(items))
    }

    fn mend<'a, V>(&mut self, upto: u64, table: &'a Table<K, V>) -> Option<Frame<'a, K, V>> {
        match table.since(upto, self.chunk) {
            Err(_) => Some(self.snapshot(Some(upto), table)),
            Ok(news) if news.changes.is_empty() => {
                self.stage = Stage::Live { upto };
                Some(Frame::EndOfSnapshot { position: upto })
            }
            Ok(news) => {
                self.stage = Stage::Mending { upto: news.upto };
                Some(Frame::Items(news.changes))
            }
        }
    }

    fn live<'a, V>(&mut self, upto: u64, table: &'a Table<K, V>) -> Option<Frame<'a, K, V>> {
        if upto > table.position() {
            return Some(self.snapshot(Some(upto), table));
        }
        match table.since(upto, self.chunk) {
            Err(_) => Some(self.snapshot(Some(upto), table)),
            Ok(news) if news.changes.is_empty() => None,
            Ok(news) => {
                self.stage = Stage::Live { upto: news.upto };
                Some(Frame::Changes { upto: news.upto, changes: news.changes })
            }
        }
    }
}

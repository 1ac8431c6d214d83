//! Streams of what happens: a snapshot, then changes, each encoded once for all who follow the same.
//!
//! # Invariants
//! - Nothing that happened at or before the position of a reader's snapshot is told to it afterwards, and nothing
//!   behind it is left out, but what was overtaken by what is told.
//! - A reader is a position: it has no buffer. Who is slow is told fewer, newer changes.
//! - A snapshot serves all who arrive within [`SNAPSHOT_KEPT`](crate::limits::SNAPSHOT_KEPT), followed by what
//!   happened since. What is told to one reader alone (that a snapshot follows) is no part of it.
//!
//! # Cost
//! A reader costs a place, a timer and a few numbers, some 500 bytes beside its connection.

mod cursor;
mod encode;
mod follow;
mod line;
pub(crate) mod message;
mod topic;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::answers::{Gate, blocks};
use crate::counts::{Totals, count};
use line::Line;

use crate::limits::{BATCH_CHANGES_MAX, BATCHES_KEPT, SNAPSHOT_KEPT};

pub(crate) use cursor::{Cursor, Reader};
pub(crate) use encode::Format;
pub(crate) use follow::Follow;
pub(crate) use line::tell;
pub(crate) use topic::{Forgotten, Instances, Told, Topic};

/// Bytes that are shared, and compressed once where anybody asks for that.
pub(crate) struct Piece {
    plain: Bytes,
    packed: OnceLock<Bytes>,
}

impl Piece {
    fn new(plain: Bytes) -> Self {
        Piece { plain, packed: OnceLock::new() }
    }

    fn bytes(&self, packed: bool) -> Bytes {
        if packed { self.packed.get_or_init(|| blocks(&self.plain)).clone() } else { self.plain.clone() }
    }
}

/// All that is there at a position.
pub(crate) struct Snapshot {
    at: u64,
    made: Instant,
    pieces: Vec<Piece>,
}

/// What happened between two positions.
struct Batch {
    /// Who knows all up to here, and not up to `upto`, is told it, from the first change that it does not know.
    from: u64,
    upto: u64,
    piece: Piece,
    /// Where the changes of each position begin.
    marks: Vec<(u64, usize)>,
}

impl Batch {
    fn behind(&self, after: u64, packed: bool) -> Bytes {
        match self.marks.iter().find(|(at, _)| *at > after) {
            Some((_, 0)) => self.piece.bytes(packed),
            Some((_, start)) if packed => blocks(self.piece.plain.get(*start..).unwrap_or_default()),
            Some((_, start)) => self.piece.plain.slice(*start..),
            None => Bytes::new(),
        }
    }
}

/// What a reader is told next.
pub(crate) enum Next {
    /// These bytes; it then knows all up to the position.
    Piece(Bytes, u64),
    /// Nothing; it knows all up to the position.
    Nothing(u64),
    /// A snapshot: what it missed is not remembered.
    Snapshot,
}

#[derive(Default)]
struct Core {
    /// What the topic said it may have changed up to, when it was last looked at.
    looked: u64,
    /// All up to here was looked at.
    at: u64,
    /// Nothing happened behind here, up to `at`.
    quiet: u64,
    batches: VecDeque<Arc<Batch>>,
    snapshot: Option<Arc<Snapshot>>,
}

/// A topic in a format, and what its readers share.
pub(crate) struct Feed {
    topic: Topic,
    format: Format,
    pub(crate) gate: Arc<Gate>,
    core: Mutex<Core>,
    /// Readers whose sockets are written by whoever finds that something happened.
    lines: Mutex<Lines>,
}

/// See [`Feed`].
#[derive(Default)]
struct Lines {
    slots: Vec<Option<Arc<Line>>>,
    free: Vec<usize>,
}

impl Lines {
    fn insert(&mut self, line: Arc<Line>) -> usize {
        match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.slots.get_mut(slot) {
                    *place = Some(line);
                }
                slot
            }
            None => {
                self.slots.push(Some(line));
                self.slots.len() - 1
            }
        }
    }

    fn remove(&mut self, slot: usize) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = None;
            self.free.push(slot);
        }
    }
}

impl Feed {
    fn new(topic: Topic, format: Format) -> Self {
        Feed { topic, format, gate: Arc::default(), core: Mutex::default(), lines: Mutex::default() }
    }

    /// Registers for news, and looks where that is new; all that follows is then as of now.
    fn arm(&self, totals: &Totals) {
        if self.gate.arm(|| self.topic.register()) {
            drop(self.advance(totals));
        }
    }

    /// Looks at what happened since the last look. Where something did, all readers are told or woken.
    fn advance(&self, totals: &Totals) -> parking_lot::MutexGuard<'_, Core> {
        let (core, news) = self.advanced(totals);
        if !news {
            return core;
        }
        let (batches, quiet) = (core.batches.iter().cloned().collect::<Vec<_>>(), core.quiet);
        drop(core);
        self.gate.wake_all();
        let lines: Vec<_> = self.lines.lock().slots.iter().flatten().cloned().collect();
        let told = lines.iter().filter(|line| line.push(&batches, quiet)).count();
        totals.batches_sent.fetch_add(told as u64, Ordering::Relaxed);
        self.core.lock()
    }

    /// Whether a line's task has to write, as things are now.
    fn is_behind(&self, line: &Line) -> bool {
        let quiet = self.core.lock().quiet;
        line.is_behind(quiet)
    }

    fn advanced(&self, totals: &Totals) -> (parking_lot::MutexGuard<'_, Core>, bool) {
        let mut core = self.core.lock();
        let changed = self.topic.changed();
        if core.at == 0 {
            // The first reader gets a snapshot, or resumes before this.
            let (at, _) =
                if matches!(self.topic, Topic::List { .. }) { self.topic.snapshot() } else { (changed, Vec::new()) };
            (core.looked, core.at, core.quiet) = (at, at, at);
            return (core, false);
        }
        if changed == core.looked {
            return (core, false);
        }
        core.looked = changed;
        let mut news = false;
        loop {
            match self.topic.since(core.at, BATCH_CHANGES_MAX) {
                Ok((upto, told)) if told.is_empty() => {
                    core.at = core.at.max(upto);
                    break;
                }
                Ok((upto, told)) => {
                    news = true;
                    let batch = self.batch(core.quiet, upto, &told, totals);
                    core.keep(batch);
                    (core.at, core.quiet) = (upto, upto);
                }
                Err(Forgotten) => {
                    // Who is behind finds out by itself.
                    news = true;
                    core.batches.clear();
                    core.snapshot = None;
                    (core.at, core.quiet) = (changed, changed);
                    break;
                }
            }
        }
        if core.snapshot.as_ref().is_some_and(|snapshot| snapshot.made.elapsed() > SNAPSHOT_KEPT) {
            core.snapshot = None;
        }
        (core, news)
    }

    fn batch(&self, from: u64, upto: u64, told: &[Told], totals: &Totals) -> Arc<Batch> {
        count(&totals.batches);
        let (bytes, marks) = self.format.changes(told);
        Arc::new(Batch { from, upto, piece: Piece::new(bytes), marks })
    }

    /// Whether a reader that knows all up to a position can go on from there.
    fn resumes(&self, after: u64, totals: &Totals) -> bool {
        let core = self.advance(totals);
        let known = after <= core.at && (after >= core.quiet || core.covering(after).is_some());
        known || self.topic.since(after, 1).is_ok()
    }

    /// All that is there, at most a while ago.
    fn snapshot(&self, totals: &Totals) -> Arc<Snapshot> {
        let mut core = self.advance(totals);
        count(&totals.snapshots_sent);
        let kept = core.snapshot.as_ref().filter(|kept| kept.made.elapsed() <= SNAPSHOT_KEPT);
        // What happened since it must still be there to be told.
        if let Some(kept) = kept.filter(|kept| kept.at >= core.quiet || core.covering(kept.at).is_some()) {
            return Arc::clone(kept);
        }
        count(&totals.snapshots);
        let (at, items) = self.topic.snapshot();
        let pieces = self.format.snapshot(at, &items).into_iter().map(Piece::new).collect();
        let snapshot = Arc::new(Snapshot { at, made: Instant::now(), pieces });
        core.snapshot = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// What a reader that knows all up to a position is told next, as of the last look.
    fn next(&self, after: u64, packed: bool, totals: &Totals) -> Next {
        let mut core = self.core.lock();
        if after >= core.quiet {
            return Next::Nothing(after.max(core.at));
        }
        let found = core.covering(after);
        let batch = match found {
            Some(batch) => batch,
            None => match self.topic.since(after, BATCH_CHANGES_MAX) {
                Err(Forgotten) => return Next::Snapshot,
                Ok((upto, told)) if told.is_empty() => return Next::Nothing(upto.max(after)),
                Ok((upto, told)) => {
                    let batch = self.batch(after, upto, &told, totals);
                    core.keep(Arc::clone(&batch));
                    batch
                }
            },
        };
        drop(core);
        count(&totals.batches_sent);
        let bytes = batch.behind(after, packed);
        if bytes.is_empty() { Next::Nothing(batch.upto) } else { Next::Piece(bytes, batch.upto) }
    }
}

impl Core {
    fn keep(&mut self, batch: Arc<Batch>) {
        if self.batches.len() >= BATCHES_KEPT {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }

    /// The batch that brings who knows all up to a position furthest.
    fn covering(&self, after: u64) -> Option<Arc<Batch>> {
        let covers = |batch: &&Arc<Batch>| batch.from <= after && after < batch.upto;
        self.batches.iter().filter(covers).max_by_key(|batch| batch.upto).cloned()
    }
}

/// All feeds that anybody reads.
#[derive(Default)]
pub(crate) struct Feeds(Mutex<HashMap<String, Weak<Feed>>>);

impl Feeds {
    /// A feed. `key` names topic and format: two that differ have different ones.
    pub(crate) fn feed(&self, key: String, format: Format, topic: impl FnOnce() -> Topic) -> Arc<Feed> {
        let mut feeds = self.0.lock();
        if let Some(feed) = feeds.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let feed = Arc::new(Feed::new(topic(), format));
        feeds.insert(key, Arc::downgrade(&feed));
        feed
    }

    /// Wakes every reader.
    pub(crate) fn wake_all(&self) {
        let feeds: Vec<_> = self.0.lock().values().filter_map(Weak::upgrade).collect();
        feeds.iter().for_each(|feed| feed.gate.wake_everyone());
    }
}

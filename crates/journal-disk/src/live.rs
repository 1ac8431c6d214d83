//! One stream as its readers see it: what is committed, and nothing else.
//!
//! The writer changes it only in [`Live::publish`], after what it publishes is as durable as the
//! engine promises. Readers hold the lock for memory work alone; every read of a file is made
//! without it, from a handle and a range that were copied out.
//!
//! # Invariants
//! 1. `state.last` is the last position that a reader may see.
//! 2. The segments' bases grow; the last segment is the one appended to, and alone has an
//!    [`Indexing::Active`] that still grows. There is none before the first message.
//! 3. Bytes of a segment before `flushed` are in its file; from `flushed` on they are in `tail`.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use event::Moment;
use journal::{StreamConfig, StreamState};
use parking_lot::{Mutex, RwLock};

use crate::disk::{Disk, File};
use crate::gone::Gone;
use crate::index::Indexing;
use crate::segment;
use crate::subjects::{Entry, SubjectTable};
use crate::waiters::Waiters;

/// What the threads of an engine share of one stream.
pub struct Shared {
    /// The stream's number: its directory, and the name of its records.
    pub id: u32,
    /// Its name.
    pub name: Arc<str>,
    /// What is committed.
    pub live: RwLock<Live>,
    /// Who waits for messages.
    pub waiters: Mutex<Waiters>,
    /// The disk that its files are on.
    pub disk: Arc<dyn Disk>,
    /// Which files of the engine are open.
    pub handles: Arc<Handles>,
    /// Positions found damaged since the engine was opened, at most [`DAMAGED_MAX`].
    pub damaged: Mutex<BTreeSet<u64>>,
    /// Whether somebody wants to be told of its messages.
    pub watched: AtomicBool,
    /// How many consumers it has.
    pub consumers: AtomicU64,
}

/// Damaged positions that are remembered, so that each is counted once.
const DAMAGED_MAX: usize = 100_000;

/// Files of segments and their indexes that stay open, save those with something that is not synced.
/// A process may often have 1,024 files open, and a connection is one, too.
const HANDLES_MAX: usize = 256;
/// How many are looked at to close one, when one is opened.
const HANDLES_TRIED: usize = 8;

/// The files of segments that are open, the longest open first.
#[derive(Default)]
pub struct Handles {
    open: Mutex<VecDeque<Weak<SegmentFile>>>,
}

impl Handles {
    /// Notes that a file was opened, and closes another where too many are.
    fn note(&self, file: &Arc<SegmentFile>) {
        let mut open = self.open.lock();
        open.push_back(Arc::downgrade(file));
        for _ in 0..HANDLES_TRIED.min(open.len().saturating_sub(HANDLES_MAX)) {
            let Some(oldest) = open.pop_front().and_then(|oldest| oldest.upgrade()) else { continue };
            if oldest.dirty.load(Ordering::Relaxed) {
                open.push_back(Arc::downgrade(&oldest));
            } else {
                *oldest.handle.lock() = None;
            }
        }
    }
}

/// A file that is opened again where it was closed meanwhile.
pub struct Reopened {
    /// The file.
    pub file: Arc<SegmentFile>,
    /// The disk that it is on.
    pub disk: Arc<dyn Disk>,
    /// Which are open.
    pub handles: Arc<Handles>,
}

impl Reopened {
    fn open(&self) -> io::Result<Arc<dyn File>> {
        self.file.open(self.disk.as_ref(), &self.handles)
    }
}

impl File for Reopened {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.open()?.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.open()?.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.open()?.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.open()?.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.open()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.open()?.sync_data()
    }
}

impl Shared {
    /// The handle of one of its files.
    ///
    /// # Errors
    /// What the disk says of opening it.
    pub fn open(&self, file: &Arc<SegmentFile>) -> io::Result<Arc<dyn File>> {
        file.open(self.disk.as_ref(), &self.handles)
    }

    /// Remembers that the record at a position is damaged.
    pub fn note_damaged(&self, seq: u64) {
        let mut damaged = self.damaged.lock();
        if damaged.len() < DAMAGED_MAX && damaged.insert(seq) {
            tracing::error!(stream = %self.name, seq, "a record is damaged");
        }
    }
}

/// What is committed.
pub struct Live {
    /// The declaration.
    pub config: Arc<StreamConfig>,
    /// When it was created.
    pub created: Moment,
    /// What it holds. `first_time` only where `first_timed`.
    pub state: StreamState,
    /// Whether `state.first_time` is that of `state.first`.
    pub first_timed: bool,
    /// Its subjects.
    pub table: SubjectTable,
    /// Positions that hold nothing.
    pub gone: Gone,
    /// Its segments, oldest first.
    pub segments: VecDeque<Segment>,
    /// Whether the stream was deleted.
    pub deleted: bool,
}

/// One segment.
pub struct Segment {
    /// The first position that it may hold; its file's name.
    pub base: u64,
    /// Its file; none where the stream is kept in memory.
    pub file: Option<Arc<SegmentFile>>,
    /// Bytes, the file's header and what is not flushed included.
    pub len: u64,
    /// Bytes in the file.
    pub flushed: u64,
    /// When its first message was recorded.
    pub first_time: Moment,
    /// What is not flushed, in order.
    pub tail: VecDeque<Chunk>,
    /// Where its messages are.
    pub index: Indexing,
}

/// Records that lie one behind the other.
#[derive(Clone)]
pub struct Chunk {
    /// Where the first byte belongs in the file.
    pub at: u64,
    /// The records.
    pub bytes: Bytes,
}

/// A segment's file, opened when it is needed.
pub struct SegmentFile {
    /// Its path.
    pub path: String,
    handle: Mutex<Option<Arc<dyn File>>>,
    /// Whether something was written to it and not synced.
    pub dirty: AtomicBool,
    /// Whether its name is not durable yet.
    pub created: AtomicBool,
}

impl SegmentFile {
    /// A file that may not exist yet.
    pub fn new(path: String) -> Self {
        SegmentFile { path, handle: Mutex::new(None), dirty: AtomicBool::default(), created: AtomicBool::default() }
    }

    /// The handle.
    ///
    /// # Errors
    /// What the disk says of opening it.
    fn open(self: &Arc<Self>, disk: &dyn Disk, handles: &Handles) -> io::Result<Arc<dyn File>> {
        let mut handle = self.handle.lock();
        if let Some(file) = handle.as_ref() {
            return Ok(file.clone());
        }
        let file = disk.open(&self.path)?;
        *handle = Some(file.clone());
        drop(handle);
        handles.note(self);
        Ok(file)
    }

    /// Takes the handle of a file just made.
    pub fn opened(self: &Arc<Self>, file: Arc<dyn File>, handles: &Handles) {
        *self.handle.lock() = Some(file);
        handles.note(self);
    }
}

/// A message that is being published.
#[derive(Debug, Clone)]
pub struct Added {
    /// Its position.
    pub seq: u64,
    /// When it was recorded.
    pub time: Moment,
    /// Its subject.
    pub subject: Bytes,
    /// Where its subject is in [`Changes::subjects`], unless the commit cleared all behind it.
    pub place: usize,
    /// Its size, as [`event::Message::size`].
    pub size: u32,
    /// Where its record starts, counted from the first byte that is published with it.
    pub at: u64,
    /// Whether it is a marker; known only where the stream leaves markers.
    pub marker: bool,
}

/// A subject that a commit touches.
#[derive(Debug)]
pub struct Touched {
    /// The subject.
    pub subject: Bytes,
    /// What there is of it then; of a subject that has no message any more a count of 0.
    pub entry: Entry,
    /// Its id, where it was held before. Ids change only when a commit is published.
    pub id: Option<u32>,
}

/// What one commit changes in one stream.
#[derive(Default)]
pub struct Changes {
    /// New messages, in order.
    pub added: Vec<Added>,
    /// Subjects whose entries changed, in the order they were first touched.
    pub subjects: Vec<Touched>,
    /// Positions that hold nothing any more.
    pub gone: Vec<u64>,
    /// The records' bytes, in order.
    pub bytes: Vec<Bytes>,
    /// Whether nothing is left of what was committed before.
    pub cleared: bool,
    /// Where opening reads them from: the segment that holds them already, in which `at` counts.
    pub placed: Option<u64>,
}

impl Live {
    /// Makes a commit visible.
    pub fn publish(
        &mut self,
        shared: &Shared,
        changes: &Changes,
        state: StreamState,
        first_timed: bool,
        segment_bytes: u64,
    ) {
        // Before anything is taken in, so that what the index is told keeps its id.
        if changes.cleared {
            (0..self.table.ids()).for_each(|id| self.table.release(id));
        }
        let mut ids = Vec::new();
        if !changes.cleared {
            ids.extend(
                changes.subjects.iter().map(|each| each.id.unwrap_or_else(|| intern(&mut self.table, &each.subject))),
            );
        }
        self.append(shared, changes, &ids, segment_bytes);
        for (place, Touched { subject, entry, .. }) in changes.subjects.iter().enumerate() {
            let id = ids.get(place).copied().unwrap_or_else(|| intern(&mut self.table, subject));
            if entry.count == 0 {
                self.table.release(id);
            } else {
                self.table.set(id, *entry);
            }
        }
        if changes.cleared {
            // Subjects that came and went within the commit.
            for id in 0..self.table.ids() {
                if self.table.entry(id).count == 0 {
                    self.table.release(id);
                }
            }
        }
        for seq in &changes.gone {
            self.gone.insert(*seq);
        }
        self.gone.forget_before(state.first);
        self.drop_dead_memory(state.first);
        (self.state, self.first_timed) = (state, first_timed);
    }

    /// `ids`: by place in the changes' subjects; none where they cleared what was there.
    fn append(&mut self, shared: &Shared, changes: &Changes, ids: &[u32], segment_bytes: u64) {
        let id_of = |table: &mut SubjectTable, added: &Added| {
            ids.get(added.place).copied().unwrap_or_else(|| intern(table, &added.subject))
        };
        if let Some(base) = changes.placed {
            let at = self.segments.partition_point(|segment| segment.base < base);
            for added in &changes.added {
                let id = id_of(&mut self.table, added);
                if let Some(segment) = self.segments.get_mut(at) {
                    segment.index.push(id, added.seq, added.at, added.time, added.size);
                }
            }
            return;
        }
        if changes.bytes.is_empty() {
            return;
        }
        let full = self.segments.back().is_none_or(|segment| segment.len >= segment_bytes);
        if full {
            let base = changes.added.first().map_or(self.state.last + 1, |added| added.seq);
            let first_time = changes.added.first().map_or(self.state.last_time, |added| added.time);
            // Only effects so far: the open segment takes them, whatever its size.
            let same_base = self.segments.back().is_some_and(|segment| segment.base == base);
            if !same_base {
                self.start_segment(shared, base, first_time);
            }
        }
        let Some(segment) = self.segments.back_mut() else { return };
        let start = segment.len;
        for bytes in &changes.bytes {
            segment.tail.push_back(Chunk { at: segment.len, bytes: bytes.clone() });
            segment.len += bytes.len() as u64;
        }
        for added in &changes.added {
            let id = id_of(&mut self.table, added);
            segment.index.push(id, added.seq, start + added.at, added.time, added.size);
        }
    }

    /// Closes the open segment if it has so many bytes.
    pub fn seal_if(&mut self, shared: &Shared, bytes: u64) {
        if self.segments.back().is_some_and(|segment| segment.len >= bytes && segment.base <= self.state.last) {
            self.start_segment(shared, self.state.last + 1, self.state.last_time);
        }
    }

    /// Takes a message that is accounted for into its segment's index.
    pub fn reindex(&mut self, base: u64, subject: &[u8], seq: u64, offset: u64, time: Moment, size: u32) {
        // One whose subject is gone is found by position only.
        let id = self.table.find(std::str::from_utf8(subject).unwrap_or_default()).unwrap_or(u32::MAX - 1);
        let at = self.segments.partition_point(|segment| segment.base < base);
        if let Some(segment) = self.segments.get_mut(at) {
            segment.index.push(id, seq, offset, time, size);
        }
    }

    /// Lets go of whole segments of a stream in memory that nothing is left of.
    fn drop_dead_memory(&mut self, first: u64) {
        while self.segments.len() > 1
            && self.segments.get(1).is_some_and(|next| next.base <= first)
            && self.segments.front().is_some_and(|segment| segment.file.is_none())
        {
            self.segments.pop_front();
        }
    }

    /// Closes the open segment and opens one behind it.
    pub fn start_segment(&mut self, shared: &Shared, base: u64, first_time: Moment) {
        let file = (self.config.storage == journal::Storage::File)
            .then(|| Arc::new(SegmentFile::new(segment::path(shared.id, base))));
        self.segments.push_back(Segment {
            base,
            file,
            len: segment::HEADER,
            flushed: segment::HEADER,
            first_time,
            tail: VecDeque::new(),
            index: Indexing::active(),
        });
    }

    /// The segment that holds a position, or the first behind it: its place in `segments`.
    pub fn segment_of(&self, seq: u64) -> Option<usize> {
        let behind = self.segments.partition_point(|segment| segment.base <= seq);
        let place = behind.saturating_sub(1);
        (place < self.segments.len()).then_some(place)
    }

    /// Whether there is a message at a position.
    pub fn holds(&self, seq: u64) -> bool {
        seq >= self.state.first && seq <= self.state.last && !self.gone.contains(seq)
    }

    /// Bytes that the stream takes up on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.segments.iter().filter(|segment| segment.file.is_some()).map(|segment| segment.flushed).sum()
    }

    /// Bytes that wait to be flushed.
    pub fn unflushed(&self) -> u64 {
        self.segments.iter().filter(|segment| segment.file.is_some()).map(|segment| segment.len - segment.flushed).sum()
    }
}

fn intern(table: &mut SubjectTable, subject: &[u8]) -> u32 {
    table.intern(std::str::from_utf8(subject).unwrap_or_default())
}

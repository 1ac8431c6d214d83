//! The writer: takes requests, judges them, writes one frame of the log for all, syncs it once,
//! makes it visible, and answers all.
//!
//! It is stepped from outside with the time as an argument, and does the same work at the same
//! calls: no thread, no clock, no entropy, no order from a hash map. The threaded rim is
//! [`crate::DiskJournal`].
//!
//! # Invariants
//! 1. Nothing is answered before it is as durable as [`Options::sync`] says.
//! 2. Room in the log is made before anything is judged, so a full disk refuses and leaves all as it was.
//! 3. After a failed write or sync of the log nothing more is taken: [`Core::closed`] says why.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use event::{Moment, Wanted};
use journal::{Proof, Retention, StreamInfo};

use crate::batch::Batch;
use crate::checkpoint::Standing;
use crate::directory::Directory;
use crate::disk::Disk;
use crate::live::Handles;
#[cfg(doc)]
use crate::live::Shared;
use crate::ops::{Op, Refusal, Reply};
use crate::record::{Draft, Kind};
use crate::stream::{Files, Stream};
use crate::wal::Wal;

/// When what was written is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before it is answered.
    Always,
    /// At this interval; a crash of the machine loses what was answered since.
    Interval(Duration),
}

/// How an engine is set up. The sizes are settable so that tests reach their edges soon.
#[derive(Debug, Clone)]
pub struct Options {
    /// When what was written is synced.
    pub sync: Sync,
    /// Entropy: the key of hashes that strangers' bytes go through.
    pub seed: [u64; 2],
    /// Bytes of a file of the write-ahead log.
    pub wal_file_bytes: u64,
    /// Bytes after which a segment is closed.
    pub segment_bytes: u64,
    /// Bytes of the log after which a checkpoint is due.
    pub checkpoint_bytes: u64,
    /// Bytes of the log, behind which the checkpoint has fallen, at which appends are refused.
    pub wal_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Options {
            sync: Sync::Always,
            seed: [0, 0],
            wal_file_bytes: 8 * MIB,
            segment_bytes: 16 * MIB,
            checkpoint_bytes: 8 * MIB,
            wal_bytes_max: 128 * MIB,
        }
    }
}

/// Most requests of one commit: bounds how long the first of them waits for the last.
const COMMIT_OPS_MAX: usize = 8192;
/// Most bytes of one commit, save that it takes at least one request: half a file of the log.
const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a frame whose room is kept for the next.
const FRAME_KEPT: usize = 1024 * 1024;
/// Bytes kept free in each commit for messages that expire in it.
const EFFECTS_BYTES: usize = 64 * 1024;
/// Messages that expire in one commit at most; the others follow in the next.
pub(crate) const EXPIRED_MAX: usize = EFFECTS_BYTES / (64 + event::limits::SUBJECT_BYTES_MAX);

const _: () = assert!(EXPIRED_MAX > 16);

/// What was judged for the next commit.
#[derive(Default)]
pub(crate) struct Open {
    replies: Vec<Reply>,
    /// Whether it has to be synced.
    force: bool,
    ops: usize,
    /// Bytes of the log that it may need.
    bytes: usize,
}

/// What a commit does to the set of streams, once it is durable.
pub(crate) enum Act {
    Put(u32),
    Update { stream: u32, old: Arc<journal::StreamConfig> },
    Drop(Box<Stream>),
}

/// Told of messages that became visible, of streams that [`Shared::watched`] is set for: the stream,
/// and position and subject of each.
pub type Observer = Box<dyn Fn(&Arc<str>, Vec<(u64, bytes::Bytes)>) + Send>;

/// Told why appends are refused for now.
type RefusingTold = Box<dyn Fn(Option<&str>) + Send>;

/// See the module.
pub struct Core {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) handles: Arc<Handles>,
    pub(crate) options: Options,
    pub(crate) wal: Wal,
    pub(crate) streams: BTreeMap<u32, Stream>,
    pub(crate) names: BTreeMap<Arc<str>, u32>,
    pub(crate) captures: Wanted<u32>,
    pub(crate) next_stream: u32,
    pub(crate) directory: Arc<Directory>,
    pub(crate) queue: VecDeque<Op>,
    pub(crate) closed: Option<String>,
    pub(crate) standing: Standing,
    pub(crate) desk: Vec<Vec<u8>>,
    pub(crate) acts: Vec<Act>,
    /// Streams that the commit at hand touches.
    pub(crate) touched: BTreeSet<u32>,
    pub(crate) batch: Batch,
    /// The frame of the commit before, whose room is used again.
    pub(crate) frame: Vec<u8>,
    pub(crate) open: Open,
    pub(crate) refusing: Option<String>,
    /// Room in the log that could not be made when `refusing` was set, in bytes.
    pub(crate) refused_bytes: usize,
    pub(crate) observer: Option<Observer>,
    /// Told why appends are refused, or that they are not any more, before anybody is answered so.
    pub(crate) refusing_told: Option<RefusingTold>,
    /// Called when a commit is durable, before anything is answered.
    pub(crate) durable: Option<Box<dyn Fn() + Send>>,
    /// When each stream's next message expires, or earlier: those of them where one does.
    pub(crate) dues: BTreeSet<(Moment, u32)>,
    pub(crate) synced_at: Moment,
    /// Answers that wait for a later sync.
    pub(crate) unsynced: Vec<Reply>,
    pub(crate) recovered: crate::open::Recovered,
    pub(crate) _lock: Box<dyn Send + std::marker::Sync>,
}

impl Core {
    /// Adds a request. It is answered by a later [`Core::commit`].
    pub fn submit(&mut self, op: Op) {
        match &self.closed {
            Some(why) => op.refuse(&Refusal::Closed(why.clone())),
            None => self.queue.push_back(op),
        }
    }

    /// What readers share.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.clone()
    }

    /// Why nothing is taken any more.
    pub fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    /// Why appends are refused for now.
    pub fn refusing(&self) -> Option<&str> {
        self.closed.as_deref().or(self.refusing.as_deref())
    }

    /// Where the log ends: how many bytes were ever recorded, about.
    pub fn log_end(&self) -> u64 {
        self.wal.end()
    }

    /// What the consumers kept: in order, the last whole and the changes behind it.
    pub fn desk(&self) -> &[Vec<u8>] {
        &self.desk
    }

    /// What opening found.
    pub fn recovered(&self) -> &crate::open::Recovered {
        &self.recovered
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Sets who is told of new messages.
    pub fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    /// Where streams have their files.
    pub(crate) fn files(&self) -> Files<'_> {
        Files { disk: &self.disk, handles: &self.handles }
    }

    /// What receipts prove.
    pub(crate) fn proof(&self) -> Proof {
        match self.options.sync {
            Sync::Always => Proof::Disk,
            Sync::Interval(_) => Proof::Written,
        }
    }

    /// Does all that waits, in as many commits as it takes, and what is due.
    pub fn commit(&mut self, now: Moment) {
        loop {
            self.commit_once(now);
            if self.queue.is_empty() {
                return;
            }
        }
    }

    /// One commit.
    pub fn commit_once(&mut self, now: Moment) {
        self.prepare(now);
        let expiring = self.wake().is_some_and(|wake| wake <= now);
        if self.open.ops == 0 {
            if !expiring || self.make_room(EFFECTS_BYTES).is_err() {
                return;
            }
            self.batch = Batch::new(std::mem::take(&mut self.frame));
        }
        let mut open = std::mem::take(&mut self.open);
        if expiring && self.closed.is_none() {
            open.force |= self.options.sync == Sync::Always;
            if let Err(error) = self.expire(now) {
                self.fail_reading(&error);
            }
        }
        self.finish(open.replies, open.force, now);
    }

    /// Judges what waits, as much of it as one commit takes, ahead of [`Core::commit_once`]: a writer
    /// that waits for more has this done already.
    pub fn prepare(&mut self, now: Moment) {
        loop {
            let (ops, bytes) = self.gather();
            if ops.is_empty() {
                return;
            }
            if let Err(refusal) = self.make_room(bytes) {
                ops.into_iter().for_each(|op| op.refuse(&refusal));
                continue;
            }
            if self.open.ops == 0 {
                self.batch = Batch::new(std::mem::take(&mut self.frame));
            }
            self.open.ops += ops.len();
            self.open.bytes = bytes;
            for op in ops {
                let always = self.options.sync == Sync::Always;
                self.open.force |= match &op {
                    Op::Desk { synced, .. } => *synced,
                    Op::Create(..) | Op::Update(..) | Op::Drop(..) => true,
                    Op::Retire(..) | Op::DeskWhole(_) => false,
                    Op::Append(..) | Op::AppendAll(..) | Op::Purge(..) | Op::Delete(..) => always,
                };
                // Once something cannot be judged nothing is written: what is left is refused with it.
                match &self.closed {
                    None => {
                        let reply = self.judge(op, now);
                        self.open.replies.extend(reply);
                    }
                    Some(why) => op.refuse(&Refusal::Closed(why.clone())),
                }
            }
        }
    }

    /// What the commit at hand still takes of what waits, and the bytes that all of it may need.
    fn gather(&mut self) -> (Vec<Op>, usize) {
        let (mut ops, mut bytes) = (Vec::new(), self.open.bytes.max(EFFECTS_BYTES));
        while let Some(op) = self.queue.front() {
            let (weight, count) = (op.weight(), self.open.ops + ops.len());
            if count >= COMMIT_OPS_MAX || (count > 0 && bytes + weight > COMMIT_BYTES_MAX) {
                break;
            }
            bytes += weight;
            ops.extend(self.queue.pop_front());
        }
        (ops, bytes)
    }

    fn make_room(&mut self, bytes: usize) -> Result<(), Refusal> {
        if let Some(why) = &self.closed {
            return Err(Refusal::Closed(why.clone()));
        }
        if self.wal.held() > self.options.wal_bytes_max {
            let cause = self.standing.error.clone().unwrap_or_else(|| "it is slower than the appends".to_owned());
            let why = format!("too much waits to be moved from the log into the segments: {cause}");
            self.set_refusing(Some(why.clone()));
            return Err(Refusal::Storage(why));
        }
        match self.wal.ensure_room(bytes) {
            Ok(()) => {
                self.set_refusing(None);
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                self.set_refusing(Some(why.clone()));
                self.refused_bytes = bytes;
                Err(Refusal::Storage(why))
            }
        }
    }

    fn set_refusing(&mut self, why: Option<String>) {
        if self.refusing != why {
            self.refusing = why;
            self.tell_refusing();
        }
    }

    fn tell_refusing(&self) {
        if let Some(told) = &self.refusing_told {
            told(self.refusing());
        }
    }

    /// Writes, syncs, makes visible, answers.
    fn finish(&mut self, replies: Vec<Reply>, force: bool, now: Moment) {
        for id in std::mem::take(&mut self.touched) {
            if let Some(stream) = self.streams.get_mut(&id)
                && let Some(first) = stream.take_trim()
            {
                let memory = stream.config.storage == journal::Storage::Memory;
                self.batch.add(&Draft::bare(Kind::Trim, id, first, now), memory);
            }
        }
        let mut batch = std::mem::take(&mut self.batch);
        if self.closed.is_none()
            && batch.log_bytes() > 0
            && let Err(error) = self.write(&mut batch, force, now)
        {
            self.fail(&format!("the write-ahead log failed: {error}"));
        }
        if let Some(why) = self.closed.clone() {
            let unsynced = std::mem::take(&mut self.unsynced);
            unsynced.into_iter().chain(replies).for_each(|reply| reply.fail(&why));
            for op in std::mem::take(&mut self.queue) {
                op.refuse(&Refusal::Closed(why.clone()));
            }
            return;
        }
        if let Some(durable) = self.durable.as_ref().filter(|_| !replies.is_empty()) {
            durable();
        }
        self.publish(batch);
        replies.into_iter().for_each(Reply::settle);
    }

    fn write(&mut self, batch: &mut Batch, force: bool, now: Moment) -> std::io::Result<()> {
        // Judging may need more than was foreseen, where a purge removes single messages.
        self.wal.ensure_room(batch.log_bytes())?;
        self.wal.write(&mut batch.frame)?;
        if force {
            self.wal.sync()?;
            self.synced_at = now;
        }
        Ok(())
    }

    fn publish(&mut self, mut batch: Batch) {
        let mut acts = std::mem::take(&mut self.acts);
        for act in &acts {
            if let Act::Put(id) = act
                && let Some(stream) = self.streams.get(id)
            {
                self.directory.put(&stream.shared);
            }
        }
        for (id, bytes) in batch.take_runs() {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let added = stream.publish(vec![bytes], None, self.options.segment_bytes);
            if let Some(observer) = &self.observer
                && !added.is_empty()
                // Where interest decides what is kept, the desk judges messages that nobody wants, too.
                && (stream.config.retention == Retention::Interest || stream.shared.watched.load(Ordering::SeqCst))
            {
                let told = added.into_iter().map(|each| (each.seq, each.subject)).collect();
                observer(&stream.shared.name, told);
            }
        }
        if batch.frame.capacity() <= FRAME_KEPT {
            self.frame = batch.frame;
        }
        for act in acts.drain(..) {
            match act {
                Act::Put(_) => {}
                Act::Update { stream, old } => {
                    if let Some(stream) = self.streams.get(&stream) {
                        stream.shared.live.write().config = stream.config.clone();
                        self.directory.remove(&stream.shared, &old);
                        self.directory.put(&stream.shared);
                    }
                }
                Act::Drop(stream) => self.bury(&stream),
            }
        }
    }

    fn bury(&mut self, stream: &Stream) {
        self.directory.remove(&stream.shared, &stream.config);
        let mut live = stream.shared.live.write();
        live.deleted = true;
        live.segments.clear();
        drop(live);
        let woken = stream.shared.waiters.lock().take_all();
        woken.into_iter().for_each(|wake| wake());
        self.standing.condemned.push(stream.shared.id);
    }

    pub(crate) fn fail(&mut self, why: &str) {
        if self.closed.is_none() {
            tracing::error!(why, "the journal is closed");
            self.closed = Some(why.to_owned());
            self.tell_refusing();
        }
    }

    /// Takes nothing more: all is done that was asked.
    pub(crate) fn rest(&mut self) {
        if self.closed.is_none() {
            tracing::debug!("the journal is at rest");
            self.closed = Some("it was closed".to_owned());
            self.tell_refusing();
        }
    }

    /// Does what is due by time: expiry, and the sync of `Interval`.
    pub fn tick(&mut self, now: Moment) {
        self.commit(now);
        if self.refusing.is_some() {
            // The cause may be gone; it is told by whether there is room now for what was refused.
            let _noted = self.make_room(self.refused_bytes.max(EFFECTS_BYTES));
        }
        while self.closed.is_none() && self.wake().is_some_and(|wake| wake <= now) {
            let before = self.wake();
            self.commit_once(now);
            if self.wake() == before {
                break;
            }
        }
        if self.closed.is_none() && self.wal.dirty() && self.sync_due(now) {
            if let Err(error) = self.wal.sync() {
                self.fail(&format!("the write-ahead log failed: {error}"));
            }
            self.synced_at = now;
            for reply in std::mem::take(&mut self.unsynced) {
                match &self.closed {
                    None => reply.settle(),
                    Some(why) => reply.fail(why),
                }
            }
        }
    }

    /// How long a change of the consumers may stay unsynced under `Sync::Always`.
    const DESK_SYNC: Duration = Duration::from_millis(200);

    fn sync_interval(&self) -> Duration {
        match self.options.sync {
            Sync::Always => Self::DESK_SYNC,
            Sync::Interval(interval) => interval,
        }
    }

    fn sync_due(&self, now: Moment) -> bool {
        now.since(self.synced_at) >= self.sync_interval() || now < self.synced_at
    }

    /// When [`Core::tick`] has something to do.
    pub fn next_wake(&self) -> Option<Moment> {
        let sync = self.wal.dirty().then(|| self.synced_at.after(self.sync_interval()));
        match (sync, self.wake()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When the next message expires, or earlier.
    fn wake(&self) -> Option<Moment> {
        self.dues.first().map(|(moment, _)| *moment)
    }

    /// Notes when something of a stream expires, if that is earlier than was noted. What is later is
    /// found out at the moment that was.
    pub(crate) fn note_due(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some(due) = stream.due() else { return };
        if stream.due_noted.is_some_and(|noted| noted <= due) {
            return;
        }
        if let Some(before) = stream.due_noted.replace(due) {
            self.dues.remove(&(before, id));
        }
        self.dues.insert((due, id));
    }

    /// Whether a file of the log should be made ahead.
    pub(crate) fn wants_spare(&self) -> bool {
        self.closed.is_none() && self.wal.wants_spare()
    }

    /// What makes one, on another thread.
    pub(crate) fn spare_maker(&self) -> Box<dyn Fn() -> std::io::Result<()> + Send> {
        let (disk, bytes) = (self.disk.clone(), self.options.wal_file_bytes);
        Box::new(move || crate::wal::make_spare(disk.as_ref(), bytes))
    }

    /// Says how that went.
    pub(crate) fn spare_made(&mut self, result: &std::io::Result<()>) {
        match result {
            Ok(()) => self.wal.spare_made(),
            Err(error) => tracing::debug!(%error, "a file of the log could not be made ahead"),
        }
    }

    /// What a stream holds.
    pub fn info(&self, name: &str) -> Option<StreamInfo> {
        let stream = self.streams.get(self.names.get(name)?)?;
        Some(crate::read::info(&stream.shared))
    }
}

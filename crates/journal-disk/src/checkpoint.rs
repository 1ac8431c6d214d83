//! Checkpoints: what is in the log moves into the segments, so that the log can be used again and
//! opening has little to read.
//!
//! [`Core::begin_checkpoint`] takes down, between two commits, what is; [`Checkpoint::run`] does the
//! slow work, on another thread perhaps, while commits go on; [`Core::end_checkpoint`] lets go of
//! what is no longer needed. A crash between any two steps leaves the catalogue before, with the
//! log that it needs: the log is kept from the last catalogue but one.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event::Moment;
use journal::Storage;

use crate::blob;
use crate::catalog::{self, Catalog, Listed};
use crate::core::Core;
use crate::disk::Disk;
use crate::index::Indexing;
use crate::live::{Chunk, Segment, Shared};
use crate::segment;
use crate::snapshot;

/// Bytes recorded in a stream, at least, before it gets another snapshot.
const SNAPSHOT_EVERY: u64 = 8 * 1024 * 1024;
/// Bytes of one write to a segment, at most.
const WRITE_BYTES: usize = 1024 * 1024;
/// Bytes of an open segment from which a clean end closes it, so that opening need not read it.
const SEAL_AT_CLOSE: u64 = 128 * 1024;
/// Catalogues, and snapshots of each stream, that are kept.
const KEPT: usize = 2;

/// Where the checkpoints stand.
#[derive(Debug, Default)]
pub struct Standing {
    /// The newest catalogue's number.
    number: u64,
    /// Where the log goes on after it.
    lsn: u64,
    running: bool,
    /// Streams that are no more and whose files are.
    pub condemned: Vec<u32>,
    /// Why the last one failed.
    pub error: Option<String>,
    snapshots: BTreeMap<u32, Snapped>,
}

/// A stream's newest snapshot.
#[derive(Debug, Clone, Copy, Default)]
struct Snapped {
    number: u64,
    bytes: u64,
    first: u64,
    /// Where it is: segment and length.
    place: (u64, u64),
}

impl Standing {
    /// As opening found it.
    pub fn new(number: u64, lsn: u64) -> Self {
        Standing { number, lsn, ..Standing::default() }
    }
}

/// One checkpoint. See the module.
pub struct Checkpoint {
    number: u64,
    lsn: u64,
    catalog: Catalog,
    streams: Vec<Arc<Shared>>,
    snapshots: Vec<(u32, snapshot::Taken, Snapped)>,
    condemned: Vec<u32>,
    disk: Arc<dyn Disk>,
    /// Whether a segment could not be synced: what it then reads back may not be on the disk.
    distrusted: AtomicBool,
}

impl Core {
    /// Whether enough was recorded for a checkpoint, and none runs.
    pub fn checkpoint_due(&self) -> bool {
        !self.standing.running && self.wal.end().saturating_sub(self.standing.lsn) >= self.options.checkpoint_bytes
    }

    /// Takes down what is. `None` while another runs, or after a failure. `all`: with a snapshot of
    /// every stream that changed.
    ///
    /// # Errors
    /// Where what is cannot be written down.
    pub fn begin_checkpoint(&mut self, all: bool) -> io::Result<Option<Checkpoint>> {
        if self.standing.running || self.closed.is_some() {
            return Ok(None);
        }
        // Under `Sync::Interval`, too, the catalogue never speaks of what the log has not durably.
        self.wal.sync().inspect_err(|error| self.fail(&format!("the write-ahead log failed: {error}")))?;
        let number = self.standing.number + 1;
        let mut catalog = Catalog { lsn: self.wal.end(), next_stream: self.next_stream, ..Catalog::default() };
        catalog.desk.clone_from(&self.desk);
        let mut snapshots = Vec::new();
        for (id, stream) in &mut self.streams {
            let before = self.standing.snapshots.get(id).copied().unwrap_or_default();
            let file = stream.config.storage == Storage::File;
            if all && file {
                stream.shared.live.write().seal_if(&stream.shared, SEAL_AT_CLOSE);
            }
            let live = stream.shared.live.read();
            let place = live.segments.back().map_or((0, 0), |last| (last.base, last.len));
            let (first, last) = (live.state.first, live.state.last);
            let segments: Vec<_> = if file {
                live.segments.iter().map(|each| (each.base, each.len, each.first_time)).collect()
            } else {
                Vec::new()
            };
            let recorded = recorded_since(&live.segments, before.place);
            let dead = live.segments.get(1).is_some_and(|second| second.base <= first && second.base > before.first);
            drop(live);
            let due = recorded >= SNAPSHOT_EVERY.max(before.bytes / 2) || dead || (all && place != before.place);
            let mut snapped = before;
            if file && due && place.0 > 0 {
                let taken = snapshot::take(stream)?;
                snapped = Snapped { number, bytes: taken.bytes(), first, place };
                snapshots.push((*id, taken, snapped));
            }
            catalog.streams.push(Listed {
                id: *id,
                created: stream.created,
                // At a clean end no position was taken ahead for nothing.
                last: if file || all { last } else { last.max(stream.reserved) },
                snapshot: snapped.number,
                config: stream.config.clone(),
                segments,
            });
        }
        self.standing.running = true;
        Ok(Some(Checkpoint {
            number,
            lsn: catalog.lsn,
            catalog,
            streams: self.streams.values().map(|stream| stream.shared.clone()).collect(),
            snapshots,
            condemned: self.standing.condemned.clone(),
            disk: self.disk.clone(),
            distrusted: AtomicBool::new(false),
        }))
    }

    /// Takes in how a checkpoint went.
    pub fn end_checkpoint(&mut self, done: Checkpoint, result: io::Result<()>) {
        self.standing.running = false;
        if let Err(error) = result {
            let said = error.to_string();
            if self.standing.error.as_ref() != Some(&said) {
                tracing::warn!(%error, "a checkpoint failed; the log is kept, and it is tried again");
            }
            self.standing.error = Some(said);
            if done.distrusted.load(Ordering::Relaxed) {
                // A second sync would say that all is well. Opening anew writes it again, from the log.
                self.fail(&format!("a segment could not be synced: {error}"));
            }
            return;
        }
        if self.standing.error.take().is_some() {
            tracing::info!("checkpoints succeed again");
        }
        let before = std::mem::replace(&mut self.standing.lsn, done.lsn);
        self.standing.number = done.number;
        for (id, _, snapped) in done.snapshots {
            self.standing.snapshots.insert(id, snapped);
        }
        self.standing.condemned.retain(|id| !done.condemned.contains(id));
        let streams = &self.streams;
        self.standing.snapshots.retain(|id, _| streams.contains_key(id));
        if let Err(error) = self.wal.release(before) {
            tracing::warn!(%error, "old files of the log could not be removed");
        }
    }

    /// Forgets a checkpoint that was begun and will not run.
    pub(crate) fn abandon_checkpoint(&mut self) {
        self.standing.running = false;
    }

    /// Does a whole checkpoint here and now.
    ///
    /// # Errors
    /// What the disk says. The log is kept, and the next one tries again.
    pub fn checkpoint(&mut self, _now: Moment) -> io::Result<()> {
        self.checkpoint_with(false)
    }

    fn checkpoint_with(&mut self, all: bool) -> io::Result<()> {
        let Some(checkpoint) = self.begin_checkpoint(all)? else { return Ok(()) };
        let result = checkpoint.run();
        let told = result.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string())).copied();
        self.end_checkpoint(checkpoint, result);
        told
    }

    /// Moves what is committed into the segments' files, unsynced.
    ///
    /// # Errors
    /// What the disk says. What was not moved stays in memory and in the log.
    pub fn flush(&mut self, _now: Moment) -> io::Result<()> {
        for stream in self.streams.values() {
            flush(&stream.shared)?;
        }
        Ok(())
    }

    /// Does all that waits and brings everything to rest, so that opening has nothing to replay.
    pub fn close(&mut self, now: Moment) {
        self.commit(now);
        if self.closed.is_none()
            && let Err(error) = self.checkpoint_with(true)
        {
            tracing::warn!(%error, "the last checkpoint failed; opening will replay the log");
        }
        self.rest();
        for stream in self.streams.values() {
            let woken = stream.shared.waiters.lock().take_all();
            woken.into_iter().for_each(|wake| wake());
        }
    }

    /// What the snapshots cover, as opening found it.
    pub(crate) fn snapped(&mut self, stream: u32, number: u64, first: u64, place: (u64, u64)) {
        // Its size is not known any more: the next one comes when the least was recorded.
        self.standing.snapshots.insert(stream, Snapped { number, bytes: 0, first, place });
    }
}

fn recorded_since(segments: &std::collections::VecDeque<Segment>, place: (u64, u64)) -> u64 {
    let of = |each: &Segment| if each.base == place.0 { each.len.saturating_sub(place.1) } else { each.len };
    segments.iter().rev().take_while(|each| each.base >= place.0).map(of).sum()
}

impl Checkpoint {
    /// Does the work: flushes and syncs the segments, writes indexes and snapshots, and then the
    /// catalogue that speaks of them.
    ///
    /// # Errors
    /// What the disk says. The catalogue before is still good.
    pub fn run(&self) -> io::Result<()> {
        for shared in &self.streams {
            flush(shared)?;
            sync(shared).inspect_err(|_| self.distrusted.store(true, Ordering::Relaxed))?;
            write_indexes(shared)?;
        }
        for (id, taken, _) in &self.snapshots {
            self.disk.make_dir(&segment::dir(*id))?;
            snapshot::write(self.disk.as_ref(), *id, self.number, taken)?;
        }
        let catalog = self.catalog.encode().map_err(io::Error::other)?;
        Catalog::write(self.disk.as_ref(), self.number, &catalog)?;
        self.clean()
    }

    fn clean(&self) -> io::Result<()> {
        let disk = self.disk.as_ref();
        for number in blob::numbers(disk, "", catalog::PREFIX)?.into_iter().skip(KEPT) {
            disk.remove(&format!("{}.{number}", catalog::PREFIX))?;
        }
        for (id, _, snapped) in &self.snapshots {
            let dir = segment::dir(*id);
            for number in blob::numbers(disk, &dir, snapshot::PREFIX)?.into_iter().skip(KEPT) {
                disk.remove(&format!("{dir}/{}.{number}", snapshot::PREFIX))?;
            }
            if let Some(shared) = self.streams.iter().find(|shared| shared.id == *id) {
                remove_dead(shared, snapped.first)?;
            }
        }
        for id in &self.condemned {
            match disk.remove_dir(&segment::dir(*id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Removes segments that end before `first`, which is the first position of a durable snapshot.
fn remove_dead(shared: &Shared, first: u64) -> io::Result<()> {
    loop {
        let mut live = shared.live.write();
        if live.segments.get(1).is_none_or(|second| second.base > first) {
            return Ok(());
        }
        let Some(dead) = live.segments.pop_front() else { return Ok(()) };
        drop(live);
        for path in [segment::path(shared.id, dead.base), segment::index_path(shared.id, dead.base)] {
            match shared.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
}

/// Moves a stream's tails into their files, unsynced. One thread at a time.
///
/// # Errors
/// What the disk says. What was not moved stays where it was.
pub fn flush(shared: &Shared) -> io::Result<()> {
    while let Some(job) = next_flush(shared) {
        let file = match shared.open(&job.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && job.at == segment::HEADER => {
                shared.disk.make_dir(&segment::dir(shared.id))?;
                let file = shared.disk.create(&job.file.path)?;
                job.file.opened(file.clone(), &shared.handles);
                file
            }
            other => other?,
        };
        if job.at == segment::HEADER {
            // Nothing is in it yet, though an earlier try may have made it.
            job.file.created.store(true, Ordering::Relaxed);
            file.write_at(&segment::header(shared.id, job.base), 0)?;
        }
        let mut bytes = Vec::with_capacity(job.chunks.iter().map(|chunk| chunk.bytes.len()).sum());
        job.chunks.iter().for_each(|chunk| bytes.extend_from_slice(&chunk.bytes));
        job.file.dirty.store(true, Ordering::Relaxed);
        file.write_at(&bytes, job.at)?;
        let mut live = shared.live.write();
        let at = live.segments.partition_point(|segment| segment.base < job.base);
        if let Some(segment) = live.segments.get_mut(at).filter(|segment| segment.base == job.base) {
            segment.flushed += bytes.len() as u64;
            segment.tail.drain(..job.chunks.len().min(segment.tail.len()));
            if segment.tail.is_empty() {
                segment.tail.shrink_to_fit();
            }
        }
    }
    Ok(())
}

struct Flush {
    base: u64,
    at: u64,
    file: Arc<crate::live::SegmentFile>,
    chunks: Vec<Chunk>,
}

fn next_flush(shared: &Shared) -> Option<Flush> {
    let live = shared.live.read();
    let segment = live.segments.iter().find(|segment| segment.file.is_some() && !segment.tail.is_empty())?;
    let mut bytes = 0;
    let chunks = segment
        .tail
        .iter()
        .take_while(|chunk| {
            let take = bytes == 0 || bytes + chunk.bytes.len() <= WRITE_BYTES;
            bytes += chunk.bytes.len();
            take
        })
        .cloned()
        .collect();
    Some(Flush { base: segment.base, at: segment.flushed, file: segment.file.clone()?, chunks })
}

/// Makes what was flushed durable.
fn sync(shared: &Shared) -> io::Result<()> {
    let files: Vec<_> = shared.live.read().segments.iter().filter_map(|segment| segment.file.clone()).collect();
    for file in &files {
        if file.dirty.swap(false, Ordering::Relaxed) {
            shared.open(file).and_then(|file| file.sync_data()).inspect_err(|_| {
                file.dirty.store(true, Ordering::Relaxed);
            })?;
        }
    }
    let created: Vec<_> = files.iter().filter(|file| file.created.load(Ordering::Relaxed)).collect();
    if !created.is_empty() {
        shared.disk.sync_dir(&segment::dir(shared.id))?;
        shared.disk.sync_dir("streams")?;
        created.iter().for_each(|file| file.created.store(false, Ordering::Relaxed));
    }
    Ok(())
}

/// Writes the indexes of segments that were closed, and lets go of them in memory.
fn write_indexes(shared: &Shared) -> io::Result<()> {
    loop {
        let live = shared.live.read();
        let closed = live.segments.len().saturating_sub(1);
        let found = live.segments.iter().take(closed).find_map(|segment| match &segment.index {
            Indexing::Active(builder) if segment.file.is_some() => Some((segment.base, builder.finish())),
            _ => None,
        });
        drop(live);
        let Some((base, bytes)) = found else { return Ok(()) };
        let (path, temporary) = (segment::index_path(shared.id, base), segment::index_temporary(shared.id));
        match shared.disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = shared.disk.create(&temporary)?;
        file.write_at(&bytes, 0)?;
        file.sync_data()?;
        shared.disk.rename(&temporary, &path)?;
        shared.disk.sync_dir(&segment::dir(shared.id))?;
        let mut live = shared.live.write();
        let at = live.segments.partition_point(|segment| segment.base < base);
        if let Some(segment) = live.segments.get_mut(at).filter(|segment| segment.base == base) {
            segment.index = Indexing::sealed(base);
        }
    }
}

//! Opening: the newest catalogue that is whole, each stream's snapshot and what its segments hold
//! behind it, and then the log from where the catalogue says.
//!
//! Work is in proportion to what was recorded since the last checkpoint, not to what is held. What
//! is damaged is told in [`Recovered`] and never hides what is healthy behind it.
//!
//! # Invariant
//! Nothing is removed but what a whole catalogue or the log explains: a stream's directory whose
//! number the catalogue gave away and lists no more, or that the log fills again. What has segments
//! and is not explained goes into `damaged/`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use event::{Moment, Wanted};
use journal::{Storage, StreamConfig};
use thiserror::Error;

use crate::batch::Batch;
use crate::blob;
use crate::catalog::{self, Catalog, Listed};
use crate::checkpoint::{Standing, flush};
use crate::core::{Core, Options};
use crate::directory::Directory;
use crate::disk::Disk;
use crate::index::{self, Indexing};
use crate::live::{Segment, SegmentFile};
use crate::record::{Kind, Record};
use crate::segment;
use crate::snapshot;
use crate::stream::Stream;
use crate::verify::aside;
use crate::wal::{self, Wal};

/// Bytes of a stream's records that replay gathers before it makes them visible.
const REPLAY_BYTES: usize = 256 * 1024;

/// Why a data directory cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another node has it. Stop that one, or choose another directory.
    #[error("{0}")]
    InUse(String),
    /// It holds nothing that could be opened safely. `tidings verify` says what is damaged.
    #[error("the data directory is damaged: {0}; run 'tidings verify' on it")]
    Damaged(String),
    /// A later release wrote it. Use that one.
    #[error("the data directory was written by a later release: {0}")]
    Version(String),
    /// The disk refuses.
    #[error("the data directory cannot be opened: {0}")]
    Io(#[from] io::Error),
}

/// What opening found.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Damage that was passed over, in words.
    pub damage: Vec<String>,
    /// Bytes of the log's torn end that were cut off: what was never acknowledged.
    pub cut: u64,
    /// Records taken from the log.
    pub replayed: u64,
}

impl Core {
    /// Opens a data directory, or makes a new one.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(disk: Arc<dyn Disk>, options: Options, now: Moment) -> Result<Core, OpenError> {
        disk.make_dir("")?;
        let lock = disk.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse(error.to_string()),
            _ => OpenError::Io(error),
        })?;
        disk.make_dir("streams")?;
        let mut recovered = Recovered::default();
        let (number, catalog) = read_catalog(disk.as_ref(), options.wal_file_bytes, &mut recovered)?;
        let (from, next_stream) = (catalog.lsn, catalog.next_stream.max(1));
        let wal = Wal::idle(disk.clone(), options.wal_file_bytes, from);
        let covered = log_covers(disk.as_ref(), options.wal_file_bytes, from)?;
        if !covered {
            recovered.damage.push(format!("the write-ahead log is missing at {from}, where the catalogue goes on"));
        }
        let mut core = Core {
            standing: Standing::new(number, from),
            disk,
            options,
            wal,
            streams: BTreeMap::new(),
            names: BTreeMap::new(),
            captures: Wanted::default(),
            next_stream,
            directory: Arc::new(Directory::default()),
            queue: VecDeque::new(),
            closed: None,
            desk: catalog.desk,
            acts: Vec::new(),
            handles: Arc::default(),
            touched: BTreeSet::new(),
            batch: Batch::default(),
            frame: Vec::new(),
            open: crate::core::Open::default(),
            refusing: None,
            refused_bytes: 0,
            observer: None,
            refusing_told: None,
            durable: None,
            dues: BTreeSet::new(),
            synced_at: now,
            unsynced: Vec::new(),
            recovered,
            _lock: lock,
        };
        for listed in catalog.streams {
            let stream = core.load(listed, covered)?;
            core.adopt(stream);
        }
        core.remove_dropped(next_stream)?;
        core.replay(from)?;
        core.set_aside_unexplained()?;
        core.acts.clear();
        for stream in core.streams.values() {
            core.directory.put(&stream.shared);
        }
        let ids: Vec<u32> = core.streams.keys().copied().collect();
        ids.into_iter().for_each(|id| core.note_due(id));
        for damage in &core.recovered.damage {
            tracing::warn!(damage, "damage was found and passed over");
        }
        Ok(core)
    }

    /// A stream as its snapshot and segments have it.
    fn load(&mut self, listed: Listed, covered: bool) -> io::Result<Stream> {
        let config = StreamConfig::clone(&listed.config);
        let mut stream = Stream::empty(self.files(), &self.options, listed.id, config, listed.created);
        if listed.config.storage == Storage::Memory {
            stream.pass_reserved(listed.last);
            return Ok(stream);
        }
        let segments = self.present(&listed, covered)?;
        let first_base = segments.first().map_or(0, |(base, _, _)| *base);
        let (mut base, mut len) = (0, 0);
        if listed.snapshot > 0 {
            match self.load_snapshot(&listed, first_base) {
                Some(snapshot) => {
                    (base, len) = (snapshot.base, snapshot.len);
                    self.snapped(listed.id, listed.snapshot, snapshot.state.first, (base, len));
                    stream.restore(snapshot);
                }
                None => self.recovered.damage.push(format!(
                    "the snapshot of the stream '{}': its segments are read instead",
                    listed.config.name
                )),
            }
        }
        if base == 0 {
            stream.start_at(if segments.is_empty() { listed.last + 1 } else { first_base });
        }
        // Segments that were dead already may be gone; the others may not.
        for (place, (each, _, _)) in listed.segments.iter().enumerate() {
            let end = listed.segments.get(place + 1).map_or(u64::MAX, |(next, _, _)| *next);
            if end > stream.state.first && !segments.iter().any(|(there, _, _)| there == each) {
                self.recovered.damage.push(format!("{} is missing", segment::path(listed.id, *each)));
            }
        }
        let mut live = stream.shared.live.write();
        live.segments = segments
            .iter()
            .map(|(each, len, first_time)| Segment {
                base: *each,
                file: Some(Arc::new(SegmentFile::new(segment::path(listed.id, *each)))),
                len: *len,
                flushed: *len,
                first_time: *first_time,
                tail: VecDeque::new(),
                index: if *each < base { Indexing::sealed(*each) } else { Indexing::active() },
            })
            .collect();
        drop(live);
        for (each, end, _) in segments.iter().filter(|(each, _, _)| *each >= base) {
            let known = if *each == base { len } else { segment::HEADER };
            self.scan_segment(&mut stream, *each, known, *end)?;
        }
        Ok(stream)
    }

    /// The listed segments whose files are there. `covered`: the log has what came behind them.
    fn present(&mut self, listed: &Listed, covered: bool) -> io::Result<Vec<(u64, u64, Moment)>> {
        let dir = segment::dir(listed.id);
        let names = match self.disk.list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let there: BTreeSet<u64> = names.iter().filter_map(|name| segment::base_of(name, ".seg")).collect();
        let mut present = Vec::new();
        for (base, len, time) in &listed.segments {
            if there.contains(base) || *len <= segment::HEADER {
                present.push((*base, *len, *time));
            }
        }
        for base in there.iter().filter(|base| !listed.segments.iter().any(|(each, _, _)| each == *base)) {
            let path = segment::path(listed.id, *base);
            if covered {
                // Begun after the checkpoint: the log has all that is in it. Or dead before it.
                self.disk.remove(&path)?;
            } else {
                self.set_aside(&path)?;
            }
        }
        Ok(present)
    }

    fn load_snapshot(&self, listed: &Listed, first_base: u64) -> Option<snapshot::Snapshot> {
        let numbers = blob::numbers(self.disk.as_ref(), &segment::dir(listed.id), snapshot::PREFIX).ok()?;
        for number in numbers.into_iter().filter(|number| *number <= listed.snapshot) {
            match snapshot::read(self.disk.as_ref(), listed.id, number) {
                // An older one may count messages whose segments are gone.
                Ok(snapshot) if number == listed.snapshot || snapshot.state.first >= first_base => {
                    return Some(snapshot);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(stream = listed.config.name, number, %error, "a snapshot is unusable"),
            }
        }
        None
    }

    /// Reads a segment into its index, and what lies behind `known` into the stream.
    fn scan_segment(&mut self, stream: &mut Stream, base: u64, known: u64, end: u64) -> io::Result<()> {
        if end <= segment::HEADER {
            return Ok(());
        }
        let path = segment::path(stream.shared.id, base);
        let file = self.disk.open(&path)?;
        let shared = stream.shared.clone();
        let mut gathered = 0;
        let segment_bytes = self.options.segment_bytes;
        let broken = index::scan(file.as_ref(), segment::HEADER, end, &mut |offset, bytes| {
            let Ok(record) = Record::read(&bytes) else { return Ok(()) };
            if record.head.stream != shared.id {
                return Ok(());
            }
            if offset >= known {
                stream.replay(&record, offset)?;
                gathered += bytes.len();
                if gathered >= REPLAY_BYTES {
                    stream.publish(Vec::new(), Some(base), segment_bytes);
                    gathered = 0;
                }
            } else if record.head.kind == Kind::Message {
                let size = u32::try_from(record.size()).unwrap_or(u32::MAX);
                shared.live.write().reindex(base, &record.subject, record.head.seq, offset, record.head.time, size);
            }
            Ok(())
        })?;
        stream.publish(Vec::new(), Some(base), segment_bytes);
        if broken > 0 {
            self.recovered.damage.push(format!("{path}: {broken} broken places"));
        }
        Ok(())
    }

    /// Removes directories of streams that the catalogue knew once and does not list any more.
    fn remove_dropped(&mut self, next_stream: u32) -> io::Result<()> {
        for (name, id) in self.directories()? {
            if id < next_stream && !self.streams.contains_key(&id) {
                self.disk.remove_dir(&format!("streams/{name}"))?;
            }
        }
        Ok(())
    }

    /// Puts aside directories of streams that neither the catalogue nor the log knows.
    fn set_aside_unexplained(&mut self) -> io::Result<()> {
        for (name, id) in self.directories()? {
            if self.streams.contains_key(&id) || self.standing.condemned.contains(&id) {
                continue;
            }
            let path = format!("streams/{name}");
            if has_segments(self.disk.as_ref(), &path)? {
                self.set_aside(&path)?;
            } else {
                self.disk.remove_dir(&path)?;
            }
        }
        Ok(())
    }

    fn directories(&self) -> io::Result<Vec<(String, u32)>> {
        let names = self.disk.list("streams")?;
        Ok(names.into_iter().filter_map(|name| Some((name.clone(), u32::from_str_radix(&name, 16).ok()?))).collect())
    }

    /// Moves what nothing explains into `damaged/`, and tells.
    fn set_aside(&mut self, path: &str) -> io::Result<()> {
        let disk = self.disk.as_ref();
        disk.make_dir(aside::DIR)?;
        disk.sync_dir("")?;
        if let Some(to) = aside::move_aside(disk, path)? {
            self.recovered.damage.push(format!("{path} is explained by no catalogue and no log: moved to {to}"));
        }
        Ok(())
    }

    /// Does what the log has from a place on, as it is read: no more of it is held than a file.
    fn replay(&mut self, from: u64) -> io::Result<()> {
        let (disk, slot_bytes) = (self.disk.clone(), self.options.wal_file_bytes);
        let (mut gathered, mut result) = (BTreeMap::new(), Ok(()));
        let (wal, replayed) = Wal::open(disk, slot_bytes, from, &mut |bytes| {
            self.recovered.replayed += 1;
            if result.is_ok() {
                result = self.replay_record(&mut gathered, &bytes);
            }
        })?;
        result?;
        self.wal = wal;
        self.recovered.damage.extend(replayed.damage.iter().map(ToString::to_string));
        self.recovered.cut = replayed.cut;
        for (id, buffer) in gathered {
            if let Some(stream) = self.streams.get_mut(&id).filter(|_| !buffer.is_empty()) {
                stream.publish(vec![buffer.into()], None, self.options.segment_bytes);
            }
        }
        Ok(())
    }

    fn replay_record(&mut self, gathered: &mut BTreeMap<u32, Vec<u8>>, bytes: &Bytes) -> io::Result<()> {
        let Ok(record) = Record::read(bytes) else { return Ok(()) };
        let id = record.head.stream;
        match record.head.kind {
            Kind::StreamPut => match catalog::config_of(&record.payload) {
                Ok(config) if self.streams.contains_key(&id) => self.redeclare_replayed(id, config),
                Ok(config) => {
                    // What an earlier life left there is in the log, all of it.
                    match self.disk.remove_dir(&segment::dir(id)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                    self.next_stream = self.next_stream.max(id + 1);
                    self.add_stream(id, config, record.head.time);
                }
                Err(why) => self.recovered.damage.push(format!("the declaration of stream {id}: {why}")),
            },
            Kind::StreamDelete => {
                gathered.remove(&id);
                if let Some(stream) = self.forget(id) {
                    self.standing.condemned.push(stream.shared.id);
                }
            }
            Kind::Desk => self.desk.push(record.payload.to_vec()),
            Kind::Reserve => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.pass_reserved(record.head.seq);
                }
            }
            _ => {
                let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
                let buffer = gathered.entry(id).or_default();
                stream.replay(&record, buffer.len() as u64)?;
                buffer.extend_from_slice(bytes);
                if buffer.len() >= REPLAY_BYTES {
                    stream.publish(vec![std::mem::take(buffer).into()], None, self.options.segment_bytes);
                    // What cannot be moved now stays in memory and in the log.
                    let _later = flush(&stream.shared);
                }
            }
        }
        Ok(())
    }

    fn redeclare_replayed(&mut self, id: u32, config: StreamConfig) {
        self.redeclare(id, config);
        if let Some(stream) = self.streams.get(&id) {
            stream.shared.live.write().config = stream.config.clone();
        }
    }
}

/// The newest catalogue that is whole, and the newest number there is.
fn read_catalog(disk: &dyn Disk, slot_bytes: u64, recovered: &mut Recovered) -> Result<(u64, Catalog), OpenError> {
    let numbers = blob::numbers(disk, "", catalog::PREFIX)?;
    let newest = numbers.first().copied().unwrap_or(0);
    for number in &numbers {
        match Catalog::read(disk, *number) {
            Ok(catalog) => return Ok((newest, catalog)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => recovered.damage.push(error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return Err(OpenError::Version(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if newest > 0 {
        return Err(OpenError::Damaged(recovered.damage.join("; ")));
    }
    match past_without_catalog(disk, slot_bytes)? {
        Some(why) => {
            Err(OpenError::Damaged(format!("there is no catalogue ('{}.<number>'), and {why}", catalog::PREFIX)))
        }
        None => Ok((0, Catalog::default())),
    }
}

/// The files of the log: where each begins and ends, in order.
fn log_files(disk: &dyn Disk, slot_bytes: u64) -> io::Result<Vec<(u64, u64)>> {
    let names = match disk.list("wal") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let mut files = Vec::new();
    for slot in names.iter().filter_map(|name| u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok()) {
        let slots = (disk.open(&wal::path(slot))?.len()? / slot_bytes).max(1);
        files.push((slot * slot_bytes, (slot + slots) * slot_bytes));
    }
    Ok(files)
}

/// Whether the log has the place where a catalogue goes on.
fn log_covers(disk: &dyn Disk, slot_bytes: u64, lsn: u64) -> io::Result<bool> {
    Ok(lsn == 0 || log_files(disk, slot_bytes)?.iter().any(|(start, end)| *start <= lsn && lsn <= *end))
}

/// Why a directory without a catalogue is not a new one, whose log has everything from its first day.
///
/// # Errors
/// What the disk says.
pub(crate) fn past_without_catalog(disk: &dyn Disk, slot_bytes: u64) -> io::Result<Option<String>> {
    let files = log_files(disk, slot_bytes)?;
    if let Some((start, _)) = files.first().filter(|(start, _)| *start > 0) {
        return Ok(Some(format!("the write-ahead log begins at {start}: what came before is not in it")));
    }
    if let Some(pair) = files.windows(2).find(|pair| pair[0].1 != pair[1].0) {
        return Ok(Some(format!("the write-ahead log has a gap at {}", pair[0].1)));
    }
    if !files.is_empty() && wal::begins(disk)? {
        return Ok(None);
    }
    let names = match disk.list("streams") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    for name in names.iter().filter(|name| u32::from_str_radix(name, 16).is_ok()) {
        if has_segments(disk, &format!("streams/{name}"))? {
            return Ok(Some(format!("the write-ahead log does not say what is in 'streams/{name}'")));
        }
    }
    Ok(None)
}

fn has_segments(disk: &dyn Disk, dir: &str) -> io::Result<bool> {
    Ok(disk.list(dir)?.iter().any(|name| segment::base_of(name, ".seg").is_some()))
}

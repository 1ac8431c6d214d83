//! The embedded engine, stepped.

use std::sync::{Arc, Mutex, PoisonError};

use event::Moment;
use journal::StreamError;
use journal_disk::disk::Disk;
use journal_disk::{Core, Op, Options, Reader};

use super::verb::{Ask, Found, Told, Verb};
use crate::disk::SimDisk;

/// Bytes of a file of the log: small, so that runs reach its edges.
const WAL_FILE_BYTES: u64 = 64 * 1024;
/// Bytes after which a segment is closed: a few messages.
const SEGMENT_BYTES: u64 = 4 * 1024;
/// Bytes of the log after which a checkpoint is due.
const CHECKPOINT_BYTES: u64 = 32 * 1024;
/// Bytes of the log at which appends are refused.
const WAL_BYTES_MAX: u64 = 1024 * 1024;

/// Where an answer comes to.
#[derive(Clone, Default)]
pub struct Slot(Arc<Mutex<Option<Told>>>);

impl Slot {
    /// The answer, if there is one.
    pub fn take(&self) -> Option<Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn done<T>(&self, told: impl FnOnce(T) -> Told + Send + 'static) -> journal::Done<T> {
        let slot = self.clone();
        Box::new(move |value| {
            *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(told(value));
        })
    }
}

/// See the module.
pub struct Engine {
    core: Core,
}

impl Engine {
    /// Opens the journal on a disk.
    pub fn open(disk: &SimDisk, now: Moment) -> Result<Self, String> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = Options {
            seed: [1, 2],
            wal_file_bytes: WAL_FILE_BYTES,
            segment_bytes: SEGMENT_BYTES,
            checkpoint_bytes: CHECKPOINT_BYTES,
            wal_bytes_max: WAL_BYTES_MAX,
            ..Options::default()
        };
        let core = Core::open(disk, options, now).map_err(|error| error.to_string())?;
        Ok(Engine { core })
    }

    /// Hands a request over.
    pub fn submit(&mut self, verb: &Verb) -> Slot {
        let slot = Slot::default();
        let info = |told: Result<journal::StreamInfo, StreamError>| Told::Info(told.map(Box::new));
        self.core.submit(match verb.clone() {
            Verb::Append(append) => Op::Append(append, slot.done(Told::Append)),
            Verb::Create(config) => Op::Create(config, slot.done(info)),
            Verb::Update(config) => Op::Update(config, slot.done(info)),
            Verb::Drop(name) => Op::Drop(name, slot.done(Told::Unit)),
            Verb::Purge(name, purge) => Op::Purge(name, purge, slot.done(Told::Count)),
            Verb::Delete(name, seq) => Op::Delete(name, seq, slot.done(Told::Unit)),
            Verb::Retire(name, seqs) => Op::Retire(name, seqs),
            Verb::Keep(bytes, synced) => Op::Desk { bytes, synced, done: slot.done(Told::Kept) },
            Verb::Whole(bytes) => Op::DeskWhole(bytes),
        });
        slot
    }

    /// Does all that waits.
    pub fn commit(&mut self, now: Moment) {
        self.core.commit(now);
        if self.core.checkpoint_due() {
            self.checkpoint(now);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Moment) {
        self.core.tick(now);
    }

    /// Moves what is in the log to segments.
    pub fn flush(&mut self, now: Moment) {
        // What could not be moved stays in the log.
        let _later = self.core.flush(now);
    }

    /// Makes a checkpoint.
    pub fn checkpoint(&mut self, now: Moment) {
        // The log is kept where it fails, and the next one tries again.
        let _later = self.core.checkpoint(now);
    }

    /// Comes to rest.
    pub fn close(&mut self, now: Moment) {
        self.core.close(now);
    }

    /// Why it takes nothing any more.
    pub fn closed(&self) -> Option<&str> {
        self.core.closed()
    }

    /// What was kept of the consumers.
    pub fn kept(&self) -> &[Vec<u8>] {
        self.core.desk()
    }

    /// Whether there is a stream.
    pub fn has(&self, stream: &str) -> bool {
        self.core.info(stream).is_some()
    }

    /// Damage that opening found, in words.
    pub fn damage(&self) -> &[String] {
        &self.core.recovered().damage
    }

    /// Whether it refuses for now.
    pub fn refusing(&self) -> bool {
        self.core.refusing().is_some()
    }

    /// Answers from what is committed.
    pub fn ask(&self, ask: &Ask) -> Found {
        let reader = Reader::new(self.core.directory());
        match ask {
            Ask::Read(name, read) => Found::Page(reader.page(name, read)),
            Ask::Get(name, seq) => Found::Stored(reader.get(name, *seq)),
            Ask::Last(name, pattern) => Found::Stored(reader.last(name, pattern)),
            Ask::Subjects(name, pattern, after, limit) => {
                Found::Subjects(reader.subjects(name, pattern, after.as_ref(), *limit))
            }
            Ask::Info(name) => {
                let info = reader.info(name).ok_or_else(|| StreamError::NotFound(name.clone()));
                Found::Info(info.map(Box::new))
            }
            Ask::Streams => Found::Streams(reader.streams()),
            Ask::CapturedBy(subject) => Found::Name(reader.captured_by(subject)),
        }
    }
}

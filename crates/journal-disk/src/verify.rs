//! Checks a data directory that no node has open: what is damaged, what was lost with it, and what
//! is safe. With `repair` it moves damaged bytes aside, so that nothing damaged is left in place.
//!
//! It walks the catalogues, each listed stream's snapshot, segments and indexes, and the log, and
//! judges them with the codecs that the engine opens them with. It never deletes: what it takes out
//! of its place is in `damaged/`, under its path with `-` for `/`, and its offset where it is a part.
//!
//! # What is where
//! - A **snapshot** or an **index** is found again from the segments, so its damage loses nothing.
//! - A **catalogue** is kept twice; the one before leads to the same state through the log.
//! - A **message** is in a segment and, for a while, in the log; it is lost where both are damaged.
//!
//! # Repair
//! A segment or a file of the log keeps its length: it is written anew beside its place, with a
//! record that holds nothing where the damaged ones were, or with the message's copy from the log,
//! and renamed into place. Where a message was lost, the stream's snapshots and the segment's index
//! are moved aside too, so that the next opening counts what there is.
//!
//! # Cost
//! Reads everything once. Holds one segment, and the log, in memory.

pub(crate) mod aside;
mod log;
mod repair;
mod segments;
mod still;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::blob;
use crate::catalog::{self, Catalog, Listed};
use crate::core::Options;
use crate::disk::Disk;

/// Why a directory cannot be checked.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// A node has it. Stop the node first.
    #[error("{0}")]
    InUse(String),
    /// It is no data directory.
    #[error("there is no journal in the directory: it holds neither a catalogue nor a log")]
    Nothing,
    /// A later release wrote it. Use that one.
    #[error("the data directory was written by a later release: {0}")]
    Version(String),
    /// The disk refuses.
    #[error("the data directory cannot be checked: {0}")]
    Io(#[from] io::Error),
}

/// What is at hand, for a line that shows progress.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The file, relative to the data directory.
    pub file: &'a str,
    /// Files done, this one not included.
    pub done: usize,
    /// Files there are to do.
    pub total: usize,
}

/// What of a file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A catalogue.
    Catalog,
    /// A stream's snapshot.
    Snapshot,
    /// A segment that is not there.
    Segment,
    /// A segment's header.
    SegmentHeader,
    /// Records of a segment.
    Records,
    /// A segment's index.
    Index,
    /// The header of a frame of the log.
    LogHeader,
    /// Records of the log.
    LogRecords,
}

/// What became of the content of a damaged range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Safety {
    /// It is made anew from what is healthy: nothing is lost.
    Derived,
    /// Every message of it is whole elsewhere; says where.
    Copy(String),
    /// These positions, each range inclusive, have no whole copy. Empty: no message was in it, or
    /// none that was still held.
    Lost(Vec<(u64, u64)>),
}

/// One damaged range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the data directory.
    pub file: String,
    /// Where the range begins, in bytes.
    pub offset: u64,
    /// How long it is; 0 where the file is missing.
    pub len: u64,
    /// What it is a part of.
    pub part: Part,
    /// The stream's name, where it belongs to one that is known.
    pub stream: Option<String>,
    /// What became of its content.
    pub safety: Safety,
    /// What was done about it.
    pub repaired: Option<String>,
}

impl Finding {
    /// Whether a message was lost.
    pub fn is_loss(&self) -> bool {
        matches!(&self.safety, Safety::Lost(positions) if !positions.is_empty())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.part {
            Part::Catalog => "a catalogue is damaged or missing",
            Part::Snapshot => "a snapshot is damaged",
            Part::Segment => "a segment is missing",
            Part::SegmentHeader => "the header of a segment is damaged",
            Part::Records => "records of a segment are damaged",
            Part::Index => "the index of a segment is damaged",
            Part::LogHeader => "a frame of the log has a damaged header",
            Part::LogRecords => "records of the log are damaged",
        };
        write!(f, "{}, {} bytes at {}: {what}", self.file, self.len, self.offset)?;
        if let Some(stream) = &self.stream {
            write!(f, ", of the stream '{stream}'")?;
        }
        match &self.safety {
            Safety::Derived => write!(f, "; nothing is lost: it is made anew")?,
            Safety::Copy(place) => write!(f, "; nothing is lost: {place} has it whole")?,
            Safety::Lost(positions) if positions.is_empty() => write!(f, "; no message is lost")?,
            Safety::Lost(positions) => {
                write!(f, "; lost: {}", if positions.len() == 1 { "position" } else { "positions" })?;
                for (place, (from, to)) in positions.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    match from == to {
                        true => write!(f, "{comma} {from}")?,
                        false => write!(f, "{comma} {from} to {to}")?,
                    }
                }
            }
        }
        match &self.repaired {
            Some(done) => write!(f, "; {done}"),
            None => Ok(()),
        }
    }
}

/// What is healthy of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub dir: String,
    /// Healthy messages in its segments and, behind them, in the log; purged ones that are not
    /// overwritten yet included.
    pub healthy: u64,
    /// Bytes of its segments that were checked.
    pub bytes: u64,
    /// Positions lost.
    pub lost: u64,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Every listed stream that is kept in files.
    pub streams: Vec<StreamReport>,
    /// Every damaged range.
    pub findings: Vec<Finding>,
    /// Bytes of the log's torn end: they were never acknowledged, and the next opening cuts them.
    pub torn: u64,
    /// Healthy records in the log.
    pub log_records: u64,
    /// Snapshots and indexes that are not there. Nothing is lost: they are made anew when needed.
    pub missing: Vec<String>,
    /// Whether no catalogue is whole, so that a node cannot open the directory.
    pub closed: bool,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_healthy(&self) -> bool {
        self.findings.is_empty() && !self.closed
    }

    /// Whether a message was lost.
    pub fn is_loss(&self) -> bool {
        self.closed || self.findings.iter().any(Finding::is_loss)
    }
}

/// Checks a data directory. `options` are those of the node, for the length of the log's files.
///
/// # Errors
/// [`VerifyError`]. Damage is no error.
pub fn verify(
    disk: Arc<dyn Disk>,
    options: &Options,
    repair: bool,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Report, VerifyError> {
    if !disk.list("")?.iter().any(|name| name == "wal" || name.starts_with(catalog::PREFIX)) {
        return Err(VerifyError::Nothing);
    }
    let _lock = disk.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => VerifyError::InUse(error.to_string()),
        _ => VerifyError::Io(error),
    })?;
    let mut survey = Survey { disk, report: Report::default(), listed: Vec::new(), progress, done: 0, total: 0 };
    let catalog = survey.catalogs(options.wal_file_bytes)?;
    survey.listed = catalog.streams.into_iter().filter(|each| each.config.storage == journal::Storage::File).collect();
    survey.total = 1 + survey.listed.iter().map(|each| 1 + each.segments.len()).sum::<usize>();
    let log = survey.log(options.wal_file_bytes, catalog.lsn)?;
    let listed = std::mem::take(&mut survey.listed);
    let mut patches = BTreeMap::new();
    for stream in &listed {
        survey.stream(stream, &log, &mut patches)?;
    }
    survey.unlisted(&log, &listed);
    survey.log_findings(&log, &listed, &mut patches);
    let Survey { disk, mut report, .. } = survey;
    if repair {
        repair::run(disk.as_ref(), &mut report, &listed, patches)?;
    }
    Ok(report)
}

/// What a file is to be given in place of its damaged ranges: offset and bytes.
type Patches = BTreeMap<String, Vec<(u64, Vec<u8>)>>;

struct Survey<'a> {
    disk: Arc<dyn Disk>,
    report: Report,
    listed: Vec<Listed>,
    progress: &'a mut dyn FnMut(Progress<'_>),
    done: usize,
    total: usize,
}

/// What the log holds.
struct Log {
    slot_bytes: u64,
    /// Healthy messages: by stream and position.
    messages: BTreeMap<(u32, u64), Bytes>,
    /// The broken ranges that are still needed.
    damage: Vec<crate::wal::Damage>,
    /// Names of the streams that it declares.
    declared: BTreeMap<u32, String>,
}

impl Survey<'_> {
    fn step(&mut self, file: &str) {
        (self.progress)(Progress { file, done: self.done, total: self.total });
        self.done += 1;
    }

    fn find(&mut self, file: &str, range: (u64, u64), part: Part, stream: Option<&Listed>, safety: Safety) {
        self.report.findings.push(Finding {
            file: file.to_owned(),
            offset: range.0,
            len: range.1,
            part,
            stream: stream.map(|stream| stream.config.name.clone()),
            safety,
            repaired: None,
        });
    }

    /// The newest catalogue that is whole.
    fn catalogs(&mut self, slot_bytes: u64) -> Result<Catalog, VerifyError> {
        let mut newest = None;
        let mut broken = Vec::new();
        for number in blob::numbers(self.disk.as_ref(), "", catalog::PREFIX)? {
            match Catalog::read(self.disk.as_ref(), number) {
                Ok(catalog) => newest = newest.or(Some(catalog)),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    return Err(VerifyError::Version(error.to_string()));
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    broken.push(format!("{}.{number}", catalog::PREFIX));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.report.closed = newest.is_none()
            && (!broken.is_empty() || crate::open::past_without_catalog(self.disk.as_ref(), slot_bytes)?.is_some());
        if self.report.closed && broken.is_empty() {
            self.find(catalog::PREFIX, (0, 0), Part::Catalog, None, Safety::Lost(Vec::new()));
        }
        for file in broken {
            let len = self.disk.open(&file)?.len()?;
            let safety = match self.report.closed {
                true => Safety::Lost(Vec::new()),
                false => Safety::Copy("another catalogue, with the log,".to_owned()),
            };
            self.find(&file, (0, len), Part::Catalog, None, safety);
        }
        Ok(newest.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;

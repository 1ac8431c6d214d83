//! The log: replayed as the engine would, onto a disk that keeps nothing.
//!
//! What the catalogue says is in the segments is read for its copies only; damage there is no
//! finding. Behind that, a stream's messages follow one another, so that a position left out is lost.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::repair::filler;
use super::still::Still;
use super::{Finding, Log, Part, Patches, Safety, StreamReport, Survey, VerifyError};
use crate::catalog::{Listed, config_of};
use crate::disk::Disk;
use crate::record::{Head, Kind, Record};
use crate::wal::{self, Wal};

impl Survey<'_> {
    /// Reads all of the log there is.
    pub(super) fn log(&mut self, slot_bytes: u64, needed_from: u64) -> Result<Log, VerifyError> {
        self.step("wal");
        let mut log = Log { slot_bytes, messages: BTreeMap::new(), damage: Vec::new(), declared: BTreeMap::new() };
        let disk: Arc<dyn Disk> = Arc::new(Still(self.disk.clone()));
        let mut count = 0;
        let (_, replayed) = match Wal::open(disk, slot_bytes, 0, &mut |bytes| {
            let Ok(head) = Head::read(&bytes) else { return };
            count += 1;
            match head.kind {
                Kind::Message => {
                    log.messages.insert((head.stream, head.seq), bytes);
                }
                Kind::StreamPut => {
                    let config = Record::read(&bytes).ok().and_then(|record| config_of(&record.payload).ok());
                    log.declared.extend(config.map(|config| (head.stream, config.name)));
                }
                Kind::StreamDelete => {
                    log.declared.remove(&head.stream);
                }
                _ => {}
            }
        }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(log),
            other => other?,
        };
        self.report.log_records = count;
        self.report.torn = replayed.cut;
        log.damage = replayed.damage.into_iter().filter(|damage| damage.lsn + damage.len > needed_from).collect();
        Ok(log)
    }

    /// Tells the streams that only the log knows so far.
    pub(super) fn unlisted(&mut self, log: &Log, listed: &[Listed]) {
        for (id, name) in log.declared.iter().filter(|(id, _)| !listed.iter().any(|each| each.id == **id)) {
            let healthy = log.messages.range((*id, 0)..=(*id, u64::MAX)).count() as u64;
            let dir = crate::segment::dir(*id);
            self.report.streams.push(StreamReport { name: name.clone(), dir, healthy, ..StreamReport::default() });
        }
    }

    /// Tells the broken ranges of the log. To be called when the streams have been read.
    pub(super) fn log_findings(&mut self, log: &Log, listed: &[Listed], patches: &mut Patches) {
        if log.damage.is_empty() {
            return;
        }
        let lost = lost_in(log, listed);
        // Which range held which position is not known: the first is told of all.
        let mut left = Some(lost);
        for damage in &log.damage {
            let (file, offset) = place(log, damage.lsn, self.disk.as_ref());
            let patch = match damage.header_of {
                Some(records) => frame_header(damage.lsn, records),
                None => filler(u32::MAX, damage.len),
            };
            patches.entry(file.clone()).or_default().push((offset, patch));
            if damage.header_of.is_some() {
                let safety = Safety::Copy("the frame behind it".to_owned());
                self.find(&file, (offset, damage.len), Part::LogHeader, None, safety);
                continue;
            }
            let lost = left.take().unwrap_or_default();
            if lost.is_empty() {
                self.find(&file, (offset, damage.len), Part::LogRecords, None, Safety::Lost(Vec::new()));
            }
            for (name, positions) in lost {
                let streams = &mut self.report.streams;
                if let Some(report) = streams.iter_mut().find(|each| each.name == name) {
                    report.lost += positions.iter().map(|(from, to)| to - from + 1).sum::<u64>();
                }
                self.report.findings.push(Finding {
                    file: file.clone(),
                    offset,
                    len: damage.len,
                    part: Part::LogRecords,
                    stream: Some(name),
                    safety: Safety::Lost(positions),
                    repaired: None,
                });
            }
        }
    }
}

/// Positions behind the catalogue's that the log should hold and does not, by the stream's name.
fn lost_in(log: &Log, listed: &[Listed]) -> BTreeMap<String, Vec<(u64, u64)>> {
    let known = listed.iter().map(|each| (each.id, each.config.name.clone(), each.last));
    let unlisted = log.declared.iter().filter(|(id, _)| !listed.iter().any(|each| each.id == **id));
    let mut lost: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for (id, name, mut last) in known.chain(unlisted.map(|(id, name)| (*id, name.clone(), 0))) {
        for (_, seq) in log.messages.range((id, last + 1)..=(id, u64::MAX)).map(|(key, _)| *key) {
            if seq > last + 1 {
                lost.entry(name.clone()).or_default().push((last + 1, seq - 1));
            }
            last = seq;
        }
    }
    lost
}

/// The file and the offset that a position of the log is in. A frame may span slots: its file is the
/// last that begins at or before it.
fn place(log: &Log, lsn: u64, disk: &dyn Disk) -> (String, u64) {
    let slot = (0..=lsn / log.slot_bytes).rev().find(|slot| disk.open(&wal::path(*slot)).is_ok()).unwrap_or(0);
    (wal::path(slot), lsn - slot * log.slot_bytes)
}

fn frame_header(lsn: u64, records: u64) -> Vec<u8> {
    let len = u32::try_from(records).unwrap_or(0);
    let mut header = Vec::with_capacity(wal::FRAME_HEADER);
    header.extend_from_slice(&wal::frame_crc(len, lsn).to_le_bytes());
    header.extend_from_slice(&len.to_le_bytes());
    header.extend_from_slice(&lsn.to_le_bytes());
    header
}

//! A stream's snapshot, segments and indexes.

use std::io;

use bytes::Bytes;

use super::repair::filler;
use super::{Log, Part, Patches, Safety, StreamReport, Survey, VerifyError};
use crate::catalog::Listed;
use crate::disk::File;
use crate::gone::Gone;
use crate::postings::Index;
use crate::record::{self, Kind};
use crate::sealed::DecodeError;
use crate::segment;
use crate::snapshot;
use crate::wal::skip;

/// What a healthy snapshot says is held no more.
#[derive(Default)]
struct Held {
    first: u64,
    gone: Gone,
}

/// A broken range of a segment and the positions that were in it, unless they were removed before.
struct Broken {
    offset: u64,
    len: u64,
    /// Inclusive; `from > to`: none.
    positions: (u64, u64),
}

impl Survey<'_> {
    /// Reads one stream.
    pub(super) fn stream(&mut self, stream: &Listed, log: &Log, patches: &mut Patches) -> Result<(), VerifyError> {
        let dir = segment::dir(stream.id);
        let held = self.snapshot(stream, &dir)?;
        let name = stream.config.name.clone();
        let behind = log.messages.range((stream.id, stream.last + 1)..=(stream.id, u64::MAX)).count() as u64;
        let mut report = StreamReport { name, dir, healthy: behind, ..StreamReport::default() };
        for (place, (base, len, _)) in stream.segments.iter().enumerate() {
            let last = stream.segments.get(place + 1).map_or(stream.last, |(next, _, _)| next.saturating_sub(1));
            let range = (*base, *len, last);
            self.segment(stream, range, &held, log, patches, &mut report)?;
        }
        self.report.streams.push(report);
        Ok(())
    }

    fn snapshot(&mut self, stream: &Listed, dir: &str) -> Result<Held, VerifyError> {
        let path = format!("{dir}/{}.{}", snapshot::PREFIX, stream.snapshot);
        self.step(&path);
        if stream.snapshot == 0 {
            return Ok(Held::default());
        }
        match snapshot::read(self.disk.as_ref(), stream.id, stream.snapshot) {
            Ok(snapshot) => Ok(Held { first: snapshot.state.first, gone: snapshot.gone }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.report.missing.push(path);
                Ok(Held::default())
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let len = self.disk.open(&path).and_then(|file| file.len()).unwrap_or(0);
                self.find(&path, (0, len), Part::Snapshot, Some(stream), Safety::Derived);
                Ok(Held::default())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn segment(
        &mut self,
        stream: &Listed,
        (base, len, last): (u64, u64, u64),
        held: &Held,
        log: &Log,
        patches: &mut Patches,
        report: &mut StreamReport,
    ) -> Result<(), VerifyError> {
        let path = segment::path(stream.id, base);
        self.step(&path);
        if len <= segment::HEADER {
            return Ok(());
        }
        let file = match self.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let positions = held.of((base, last));
                report.lost += count(&positions);
                self.find(&path, (0, 0), Part::Segment, Some(stream), Safety::Lost(positions));
                return Ok(());
            }
            other => other?,
        };
        let whole = segment::header(stream.id, base);
        let mut header = whole.map(|_| 0);
        file.read_at(&mut header, 0)?;
        if header != whole {
            self.find(&path, (0, segment::HEADER), Part::SegmentHeader, Some(stream), Safety::Derived);
            patches.entry(path.clone()).or_default().push((0, whole.to_vec()));
        }
        let (healthy, broken) = read(file.as_ref(), stream.id, (base, len, last))?;
        report.healthy += healthy;
        report.bytes += len;
        for range in broken {
            let copies = copies(log, stream.id, &range);
            let positions = held.of(range.positions);
            let (safety, patch) = match copies {
                Some(bytes) => (Safety::Copy("the log".to_owned()), bytes),
                None => (Safety::Lost(positions.clone()), filler(stream.id, range.len)),
            };
            if matches!(safety, Safety::Lost(_)) {
                report.lost += count(&positions);
            }
            patches.entry(path.clone()).or_default().push((range.offset, patch));
            self.find(&path, (range.offset, range.len), Part::Records, Some(stream), safety);
        }
        self.index(stream, base)
    }

    fn index(&mut self, stream: &Listed, base: u64) -> Result<(), VerifyError> {
        let path = segment::index_path(stream.id, base);
        let file = match self.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The segment that was open at the last checkpoint has none.
                if stream.segments.last().is_some_and(|(last, _, _)| *last != base) {
                    self.report.missing.push(path);
                }
                return Ok(());
            }
            other => other?,
        };
        let len = file.len()?;
        let checked = match Index::open(file) {
            Err(DecodeError::Io(error)) => return Err(error.into()),
            Err(_) => Err(io::ErrorKind::InvalidData.into()),
            Ok(index) => index.check(),
        };
        match checked {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.find(&path, (0, len), Part::Index, Some(stream), Safety::Derived);
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

impl Held {
    /// The positions of a range that were still held, as ranges.
    fn of(&self, (from, to): (u64, u64)) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for seq in from.max(self.first)..=to {
            if self.gone.contains(seq) {
                continue;
            }
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => ranges.push((seq, seq)),
            }
        }
        ranges
    }
}

fn count(ranges: &[(u64, u64)]) -> u64 {
    ranges.iter().map(|(from, to)| to - from + 1).sum()
}

/// Reads a segment: how many messages are healthy, and what is broken.
fn read(file: &dyn File, stream: u32, (base, len, last): (u64, u64, u64)) -> io::Result<(u64, Vec<Broken>)> {
    let want = usize::try_from(len - segment::HEADER).map_err(io::Error::other)?;
    let mut whole = vec![0; want];
    let found = file.read_at(&mut whole, segment::HEADER)?;
    whole.truncate(found);
    let mut rest = Bytes::from(whole);
    let (mut offset, mut before, mut healthy) = (segment::HEADER, base.saturating_sub(1), 0);
    let mut broken: Vec<Broken> = Vec::new();
    // Ranges from here on wait for the next healthy message to bound their positions.
    let mut waiting = 0;
    while !rest.is_empty() {
        let len = match record::check(&rest) {
            Ok(head) => {
                if head.kind == Kind::Message && head.stream == stream && head.seq > before {
                    bound(&mut broken[waiting..], before + 1, head.seq - 1);
                    waiting = broken.len();
                    before = head.seq;
                    healthy += 1;
                }
                head.len
            }
            Err(why) => {
                let len = skip(&rest, why).clamp(1, rest.len());
                match broken.last_mut() {
                    Some(last) if last.offset + last.len == offset => last.len += len as u64,
                    _ => broken.push(Broken { offset, len: len as u64, positions: (1, 0) }),
                }
                len
            }
        };
        let _passed = rest.split_to(len);
        offset += len as u64;
    }
    if offset < len {
        match broken.last_mut() {
            Some(last) if last.offset + last.len == offset => last.len += len - offset,
            _ => broken.push(Broken { offset, len: len - offset, positions: (1, 0) }),
        }
    }
    bound(&mut broken[waiting..], before + 1, last);
    Ok((healthy, broken))
}

/// The positions between two healthy messages were in the ranges between them: which in which is
/// not known, so the first is told of all.
fn bound(broken: &mut [Broken], from: u64, to: u64) {
    if let Some(first) = broken.first_mut() {
        first.positions = (from, to);
    }
}

/// The records of a range from the log, where it has them all and they fill the range.
fn copies(log: &Log, stream: u32, range: &Broken) -> Option<Vec<u8>> {
    let (from, to) = range.positions;
    let mut bytes = Vec::new();
    for seq in from..=to {
        bytes.extend_from_slice(log.messages.get(&(stream, seq))?);
        if bytes.len() as u64 > range.len {
            return None;
        }
    }
    (!bytes.is_empty() && bytes.len() as u64 == range.len).then_some(bytes)
}

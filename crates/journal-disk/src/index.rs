//! Where a segment's messages are: an index in memory that grows with the open segment, and those of
//! closed ones, which are opened when first needed and made anew where they are missing or damaged.
//!
//! What an index says of a subject is a hint: its id may have been another subject's once. Messages
//! that it names then are gone, so who checks that a message is there need not check its subject.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use event::Moment;
use parking_lot::Mutex;

use crate::live::{Reopened, SegmentFile, Shared};
use crate::postings::{Builder, Index};
use crate::record::{self, Kind};
use crate::segment;

/// A segment's index.
pub enum Indexing {
    /// In memory: the segment is open, or was closed since the last checkpoint.
    Active(Box<Builder>),
    /// In a file.
    Sealed(Arc<Sealed>),
}

/// The index of a closed segment.
pub struct Sealed {
    base: u64,
    loaded: Mutex<Option<Arc<Loaded>>>,
}

/// An index that can be asked.
pub enum Loaded {
    /// Its file.
    File(Index),
    /// Made anew from the segment.
    Built(Box<Builder>),
}

impl Indexing {
    /// The index of a segment that nothing is in.
    pub fn active() -> Self {
        Indexing::Active(Box::default())
    }

    /// The index of a closed segment.
    pub fn sealed(base: u64) -> Self {
        Indexing::Sealed(Arc::new(Sealed { base, loaded: Mutex::new(None) }))
    }

    /// Takes a message in.
    pub fn push(&mut self, id: u32, seq: u64, offset: u64, time: Moment, size: u32) {
        if let Indexing::Active(builder) = self {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            let _taken = builder.push(id, seq, offset, time.nanos(), size);
        }
    }
}

impl Sealed {
    /// Opens the index, or makes it.
    ///
    /// # Errors
    /// What the disk says of the segment itself.
    pub fn load(&self, shared: &Shared) -> io::Result<Arc<Loaded>> {
        if let Some(loaded) = self.loaded.lock().as_ref() {
            return Ok(loaded.clone());
        }
        let path = segment::index_path(shared.id, self.base);
        let (disk, handles) = (shared.disk.clone(), shared.handles.clone());
        let file = Reopened { file: Arc::new(SegmentFile::new(path.clone())), disk, handles };
        let opened = Index::open(Arc::new(file)).map_err(|error| error.to_string());
        let loaded = Arc::new(match opened {
            Ok(index) => Loaded::File(index),
            Err(why) => {
                tracing::warn!(path, why, "an index is made anew");
                Loaded::Built(Box::new(build(shared, self.base)?))
            }
        });
        *self.loaded.lock() = Some(loaded.clone());
        Ok(loaded)
    }

    fn rebuild(&self, shared: &Shared) -> io::Result<Arc<Loaded>> {
        let loaded = Arc::new(Loaded::Built(Box::new(build(shared, self.base)?)));
        *self.loaded.lock() = Some(loaded.clone());
        Ok(loaded)
    }

    /// Where to start reading for a position; `None`: no message at or behind it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn locate(&self, shared: &Shared, seq: u64) -> io::Result<Option<u64>> {
        Ok(match self.load(shared)?.as_ref() {
            Loaded::File(index) => index.locate(seq),
            Loaded::Built(builder) => builder.locate(seq),
        }
        .map(u64::from))
    }

    /// The next position of a subject.
    ///
    /// # Errors
    /// What the disk says.
    pub fn next(&self, shared: &Shared, id: u32, from: u64) -> io::Result<Option<(u64, u64)>> {
        let loaded = self.load(shared)?;
        let found = match loaded.as_ref() {
            Loaded::File(index) => match index.next(id, from) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => match self.rebuild(shared)?.as_ref() {
                    Loaded::Built(builder) => builder.next(id, from),
                    Loaded::File(_) => None,
                },
                other => other?,
            },
            Loaded::Built(builder) => builder.next(id, from),
        };
        Ok(found.map(|(seq, offset)| (seq, u64::from(offset))))
    }

    /// A position at or before the first message recorded at or after a moment; `None`: none is.
    ///
    /// # Errors
    /// What the disk says.
    pub fn locate_time(&self, shared: &Shared, moment: Moment) -> io::Result<Option<u64>> {
        Ok(match self.load(shared)?.as_ref() {
            Loaded::File(index) => index.locate_time(moment.nanos()),
            Loaded::Built(builder) => builder.locate_time(moment.nanos()),
        }
        .map(|(seq, _)| seq))
    }
}

/// Makes a segment's index from its records, for the subjects that the stream still has.
fn build(shared: &Shared, base: u64) -> io::Result<Builder> {
    let live = shared.live.read();
    let found = live.segments.iter().find(|segment| segment.base == base);
    let place = found.and_then(|segment| Some((segment.file.clone()?, segment.flushed)));
    drop(live);
    let mut builder = Builder::new();
    let Some((file, end)) = place else { return Ok(builder) };
    let file = shared.open(&file)?;
    scan(file.as_ref(), segment::HEADER, end, &mut |offset, bytes| {
        let Ok(head) = record::Head::read(&bytes) else { return Ok(()) };
        if head.kind == Kind::Message && head.stream == shared.id {
            let subject = bytes.get(head.subject_range()).unwrap_or_default();
            let id = shared.live.read().table.find(std::str::from_utf8(subject).unwrap_or_default());
            // A subject that is gone has no id: its messages are found by position only.
            let (offset, size) =
                (u32::try_from(offset).unwrap_or(u32::MAX), u32::try_from(head.len).unwrap_or(u32::MAX));
            builder.push(id.unwrap_or(u32::MAX - 1), head.seq, offset, head.time.nanos(), size);
        }
        Ok(())
    })?;
    Ok(builder)
}

/// Gives each whole record between two offsets of a file, with its offset; returns how many broken
/// places were passed over.
///
/// # Errors
/// What the disk says; what `visit` says.
pub fn scan(
    file: &dyn crate::disk::File,
    from: u64,
    end: u64,
    visit: &mut dyn FnMut(u64, Bytes) -> io::Result<()>,
) -> io::Result<u64> {
    let mut whole = vec![0; usize::try_from(end.saturating_sub(from)).map_err(io::Error::other)?];
    let count = file.read_at(&mut whole, from)?;
    let mut broken_count = u64::from(count < whole.len());
    whole.truncate(count);
    let mut rest = Bytes::from(whole);
    let mut offset = from;
    while !rest.is_empty() {
        let len = match record::check(&rest) {
            Ok(head) => {
                visit(offset, rest.slice(..head.len))?;
                head.len
            }
            Err(broken) => {
                broken_count += 1;
                crate::wal::skip(&rest, broken).clamp(1, rest.len())
            }
        };
        let _passed = rest.split_to(len);
        offset += len as u64;
    }
    Ok(broken_count)
}

/// The next committed position of a subject from `from` on; it may be gone.
///
/// # Errors
/// What the disk says.
pub fn next_of(shared: &Shared, subject: &[u8], from: u64) -> io::Result<Option<u64>> {
    let live = shared.live.read();
    let Some(id) = live.table.find(std::str::from_utf8(subject).unwrap_or_default()) else { return Ok(None) };
    drop(live);
    Ok(next_of_id(shared, id, from)?.map(|(seq, _)| seq))
}

/// As [`next_of`], by the subject's id; with the base of the segment that it is in.
///
/// # Errors
/// What the disk says.
pub fn next_of_id(shared: &Shared, id: u32, mut from: u64) -> io::Result<Option<(u64, u64)>> {
    loop {
        let live = shared.live.read();
        let Some(mut at) = live.segment_of(from) else { return Ok(None) };
        let sealed = loop {
            let Some(segment) = live.segments.get(at) else { return Ok(None) };
            match &segment.index {
                Indexing::Active(builder) => {
                    if let Some((seq, _)) = builder.next(id, from) {
                        return Ok(Some((seq, segment.base)));
                    }
                    at += 1;
                }
                Indexing::Sealed(sealed) => {
                    break (sealed.clone(), segment.base, live.segments.get(at + 1).map(|next| next.base));
                }
            }
        };
        drop(live);
        let (sealed, base, next) = sealed;
        if let Some((seq, _)) = sealed.next(shared, id, from)? {
            return Ok(Some((seq, base)));
        }
        let Some(next) = next else { return Ok(None) };
        from = next;
    }
}

//! Walks a stream's messages in order of position, from its files and from what is not flushed yet.
//!
//! A cursor takes the stream's lock only to find out where to read, never while it reads. Segments
//! may be sealed, flushed, rewritten or removed under it: it finds its place again by position.
//! Broken records are passed over; the positions that they held are missing from what it gives.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::File;
use crate::index::Indexing;
use crate::live::{SegmentFile, Shared};
use crate::record::{self, Broken, Head, Kind, Record};
use crate::wal::skip;

/// Where a cursor is: a segment, by its base and its file, and an offset in it.
struct Place {
    base: u64,
    file: Option<Arc<SegmentFile>>,
    offset: u64,
}

/// See the module.
pub struct Cursor {
    shared: Arc<Shared>,
    want: u64,
    last: u64,
    chunk: usize,
    place: Option<Place>,
    /// The bytes from `place.offset` on.
    buffer: Bytes,
    /// Broken records met.
    pub broken: u64,
}

/// What to read next.
enum Source {
    Bytes(Bytes),
    File { file: Arc<dyn File>, len: usize },
    Moved,
    End,
}

impl Cursor {
    /// A cursor from `want` to `last`, both included, that reads files `chunk` bytes at a time.
    pub fn new(shared: Arc<Shared>, want: u64, last: u64, chunk: usize) -> Self {
        Cursor { shared, want, last, chunk, place: None, buffer: Bytes::new(), broken: 0 }
    }

    /// A cursor at a known record of a segment.
    pub fn want(&self) -> u64 {
        self.want
    }

    /// Lets the cursor go on to a later last position.
    pub fn extend(&mut self, last: u64) {
        self.last = last;
    }

    /// The next message's record, deleted ones included as long as their bytes are there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn next(&mut self) -> io::Result<Option<(Head, Bytes)>> {
        loop {
            if self.want > self.last {
                return Ok(None);
            }
            match record::check(&self.buffer) {
                Ok(head) => {
                    let bytes = self.buffer.split_to(head.len);
                    self.advance(head.len);
                    let ours = head.kind == Kind::Message && head.stream == self.shared.id && head.seq >= self.want;
                    if !ours {
                        continue;
                    }
                    if head.seq > self.last {
                        self.want = self.last + 1;
                        return Ok(None);
                    }
                    self.want = head.seq + 1;
                    return Ok(Some((head, bytes)));
                }
                Err(broken) => {
                    if !self.more(broken)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// As [`Cursor::next`], taken apart.
    ///
    /// # Errors
    /// What the disk says.
    pub fn next_record(&mut self) -> io::Result<Option<Record>> {
        while let Some((_, bytes)) = self.next()? {
            if let Ok(record) = Record::read(&bytes) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The record at a position at or behind the cursor; `None` where it is not there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn seek(&mut self, seq: u64) -> io::Result<Option<Record>> {
        while self.want <= seq {
            match self.next()? {
                Some((head, bytes)) if head.seq == seq => return Ok(Record::read(&bytes).ok()),
                Some((head, _)) if head.seq > seq => return Ok(None),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    fn advance(&mut self, len: usize) {
        if let Some(place) = self.place.as_mut() {
            place.offset += len as u64;
        }
    }

    /// Gets more bytes, or passes over broken ones. `false` at the end.
    fn more(&mut self, broken: Broken) -> io::Result<bool> {
        let had = self.buffer.len();
        let need = match broken {
            Broken::Short(need) => need,
            // Enough behind it to find where the next record starts.
            Broken::Checksum { len } => len + record::HEADER,
            Broken::Head => record::HEADER * 2,
        };
        if had < need || matches!(broken, Broken::Short(_)) {
            let before = self.place.as_ref().map(|place| (place.base, place.offset));
            if !self.refill(need)? {
                return Ok(false);
            }
            let after = self.place.as_ref().map(|place| (place.base, place.offset));
            if self.buffer.len() > had || before != after {
                return Ok(true);
            }
        }
        if self.buffer.is_empty() {
            return self.refill(self.chunk);
        }
        self.broken += 1;
        let count = skip(&self.buffer, broken).max(1).min(self.buffer.len());
        let _passed = self.buffer.split_to(count);
        self.advance(count);
        Ok(true)
    }

    fn refill(&mut self, need: usize) -> io::Result<bool> {
        loop {
            match self.source(need.max(self.chunk))? {
                Source::End => return Ok(false),
                Source::Moved => {}
                Source::Bytes(bytes) => {
                    self.buffer = bytes;
                    return Ok(true);
                }
                Source::File { file, len } => {
                    let mut bytes = vec![0; len];
                    let offset = self.place.as_ref().map_or(0, |place| place.offset);
                    let count = file.read_at(&mut bytes, offset)?;
                    bytes.truncate(count);
                    if count == 0 {
                        // The file is shorter than it was written: what is missing is broken.
                        self.leave();
                        continue;
                    }
                    self.buffer = bytes.into();
                    return Ok(true);
                }
            }
        }
    }

    /// Gives up what is left of the file's flushed part.
    fn leave(&mut self) {
        self.broken += 1;
        self.buffer = Bytes::new();
        let live = self.shared.live.read();
        let Some(place) = self.place.as_mut() else { return };
        if let Some(segment) = live.segments.iter().find(|segment| segment.base == place.base) {
            place.offset = if place.offset < segment.flushed { segment.flushed } else { segment.len };
        }
    }

    fn source(&mut self, need: usize) -> io::Result<Source> {
        let shared = self.shared.clone();
        let live = shared.live.read();
        let held = self.place.as_ref().and_then(|place| {
            let at = live.segments.partition_point(|segment| segment.base < place.base);
            let segment = live.segments.get(at)?;
            let same = segment.base == place.base
                && match (&segment.file, &place.file) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                    (None, None) => true,
                    _ => false,
                };
            same.then_some((at, place.offset))
        });
        let (at, offset) = match held {
            Some(held) => held,
            None => {
                self.buffer = Bytes::new();
                self.want = self.want.max(live.state.first);
                if self.want > self.last {
                    return Ok(Source::End);
                }
                let Some(at) = live.segment_of(self.want) else { return Ok(Source::End) };
                let Some(segment) = live.segments.get(at) else { return Ok(Source::End) };
                self.want = self.want.max(segment.base);
                let (base, file) = (segment.base, segment.file.clone());
                let offset = match &segment.index {
                    Indexing::Active(index) => index.locate(self.want).map_or(segment.len, u64::from),
                    Indexing::Sealed(sealed) => {
                        let (sealed, len) = (sealed.clone(), segment.len);
                        drop(live);
                        let offset = sealed.locate(&shared, self.want)?.unwrap_or(len);
                        self.place = Some(Place { base, file, offset });
                        return Ok(Source::Moved);
                    }
                };
                self.place = Some(Place { base, file, offset });
                (at, offset)
            }
        };
        let Some(segment) = live.segments.get(at) else { return Ok(Source::End) };
        if offset >= segment.len {
            self.buffer = Bytes::new();
            self.place = None;
            let Some(next) = live.segments.get(at + 1) else { return Ok(Source::End) };
            self.want = self.want.max(next.base);
            self.place = Some(Place { base: next.base, file: next.file.clone(), offset: crate::segment::HEADER });
            return Ok(Source::Moved);
        }
        if offset >= segment.flushed {
            let behind = segment.tail.partition_point(|chunk| chunk.at <= offset);
            let chunk = behind.checked_sub(1).and_then(|place| segment.tail.get(place));
            let bytes = chunk.map(|chunk| {
                let skip = usize::try_from(offset - chunk.at).unwrap_or(usize::MAX).min(chunk.bytes.len());
                chunk.bytes.slice(skip..)
            });
            return Ok(bytes.filter(|bytes| !bytes.is_empty()).map_or(Source::End, Source::Bytes));
        }
        let len = usize::try_from(segment.flushed - offset).unwrap_or(usize::MAX).min(need);
        let file = segment.file.clone();
        drop(live);
        match file {
            Some(file) => Ok(Source::File { file: shared.open(&file)?, len }),
            None => Ok(Source::End),
        }
    }
}

//! Postings of a sealed segment, read from its index file.

use std::io;
use std::sync::Arc;

use super::bits::{Place, SHAPE_BYTES_MAX, VARINT_BYTES_MAX, read_shape, read_varint};
use super::{
    BLOCK_BYTES, BLOCK_RECORDS, Block, ENTRY_BYTES, FENCE_ENTRIES, GROUP_BYTES, GROUP_POSTINGS, HEADER_BYTES, MAGIC,
    MARK, PAGE_BYTES, Summary, VERSION, block_before, block_of,
};
use crate::disk::File;
use crate::sealed::{DecodeError, FileReader, Opener};

/// An index file. Its blocks are in memory, its lists are read when they are asked for.
pub struct Index {
    file: Arc<dyn File>,
    summary: Summary,
    blocks: Vec<Block>,
    /// First id of each run of [`FENCE_ENTRIES`] dictionary entries.
    fences: Vec<u32>,
    /// Checksums of the body's pages.
    pages: Vec<u32>,
    body_at: u64,
    body_len: u32,
    lists_at: u32,
    shapes_at: u32,
}

impl Index {
    /// Reads header and blocks.
    ///
    /// # Errors
    /// [`DecodeError`] where they are damaged, cut short, or of a later version.
    pub fn open(file: Arc<dyn File>) -> Result<Self, DecodeError> {
        let mut reader = FileReader::new(file.clone(), 0);
        let mut header = [0; HEADER_BYTES];
        Opener::raw(&mut reader).fill(&mut header)?;
        let (mut parts, crc) = (&header[..HEADER_BYTES - 4], &header[HEADER_BYTES - 4..]);
        if header[..4] != MAGIC {
            return Err(DecodeError::Magic("a segment's index"));
        }
        if crc32c::crc32c(parts).to_le_bytes() != *crc {
            return Err(DecodeError::Checksum);
        }
        let (mut parts, _) = Opener::begin(&mut parts, MAGIC, VERSION, "a segment's index")?;
        let [records, subjects, blocks, end] = parts.words()?;
        let [first_seq, last_seq, last_time] = parts.longs()?;
        let [lists_at, shapes_at, body_len] = parts.words()?;
        let summary = Summary { records, subjects, end, first_seq, last_seq, last_time };
        let (block_count, fences) = (blocks as usize, (subjects as usize).div_ceil(FENCE_ENTRIES));
        let pages = (body_len as usize).div_ceil(PAGE_BYTES);
        let head_len = block_count * BLOCK_BYTES + fences * 4 + pages * 4;
        let makes_sense = block_count == (records as usize).div_ceil(BLOCK_RECORDS)
            && lists_at as usize == subjects as usize * ENTRY_BYTES
            && lists_at <= shapes_at
            && shapes_at <= body_len;
        if !makes_sense {
            return Err(DecodeError::Malformed("its counts and offsets do not agree"));
        }
        let body_at = (HEADER_BYTES + head_len + 4) as u64;
        if file.len()? < body_at + u64::from(body_len) {
            return Err(DecodeError::Checksum);
        }
        let mut head = vec![0; head_len];
        let mut input = Opener::raw(&mut reader);
        input.fill(&mut head)?;
        input.check()?;
        let (blocks, rest) = head.split_at(block_count * BLOCK_BYTES);
        let words: Vec<u32> = rest.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let (fences, pages) = words.split_at(fences);
        let blocks = blocks.as_chunks().0.iter().map(read_block).collect();
        let (fences, pages) = (fences.to_vec(), pages.to_vec());
        Ok(Index { file, summary, blocks, fences, pages, body_at, body_len, lists_at, shapes_at })
    }

    /// What the segment holds.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Bytes of memory that it takes up, slack included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.blocks.capacity() * size_of::<Block>()
            + (self.fences.capacity() + self.pages.capacity()) * 4
    }

    /// As [`Builder::locate`](super::Builder::locate). Reads nothing.
    pub fn locate(&self, seq: u64) -> Option<u32> {
        if seq > self.summary.last_seq {
            return None;
        }
        self.blocks.get(block_of(&self.blocks, seq)).map(|block| block.offset)
    }

    /// As [`Builder::locate_time`](super::Builder::locate_time). Reads nothing.
    pub fn locate_time(&self, time: u64) -> Option<(u64, u32)> {
        if time > self.summary.last_time {
            return None;
        }
        self.blocks.get(block_before(&self.blocks, time)).map(|block| (block.seq, block.offset))
    }

    /// Position and offset of the first record of a subject id at or after a position.
    ///
    /// # Errors
    /// `InvalidData` where a page that it needs is damaged; what reading the file says.
    pub fn next(&self, subject: u32, from_seq: u64) -> io::Result<Option<(u64, u32)>> {
        self.cursor(subject, from_seq)?.advance()
    }

    /// The records of a subject id from a position on.
    ///
    /// # Errors
    /// As [`Index::next`].
    pub fn cursor(&self, subject: u32, from_seq: u64) -> io::Result<Cursor<'_>> {
        let mut cursor = Cursor {
            index: self,
            lists: Pages::new(self),
            shapes: Pages::new(self),
            list: None,
            group: Vec::new(),
            within: 0,
            block: usize::MAX,
            places: Vec::new(),
        };
        if from_seq <= self.summary.last_seq {
            cursor.seek(subject, from_seq)?;
        }
        Ok(cursor)
    }

    /// The subject ids there are, by id, each with how many records it has. Reads dictionary and
    /// lists once.
    pub fn subjects(&self) -> Subjects<'_> {
        Subjects { index: self, entries: Pages::new(self), lists: Pages::new(self), next: 0 }
    }

    /// Reads everything and compares every checksum.
    ///
    /// # Errors
    /// As [`Index::next`].
    pub fn check(&self) -> io::Result<()> {
        let mut pages = Pages::new(self);
        (0..self.pages.len() as u32).try_for_each(|page| pages.load(page))
    }
}

fn read_block(bytes: &[u8; BLOCK_BYTES]) -> Block {
    let words: [u32; BLOCK_BYTES / 4] =
        std::array::from_fn(|word| std::array::from_fn(|byte| bytes[word * 4 + byte])).map(u32::from_le_bytes);
    let [seq, seq_high, time, time_high, offset, shape] = words;
    let long = |low, high| u64::from(low) | u64::from(high) << 32;
    Block { seq: long(seq, seq_high), time: long(time, time_high), offset, shape }
}

/// Reads the body through its last page.
struct Pages<'a> {
    index: &'a Index,
    page: u32,
    bytes: Vec<u8>,
}

impl<'a> Pages<'a> {
    fn new(index: &'a Index) -> Self {
        Pages { index, page: u32::MAX, bytes: Vec::new() }
    }

    fn load(&mut self, page: u32) -> io::Result<()> {
        if self.page == page {
            return Ok(());
        }
        self.page = u32::MAX;
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a page of the index is damaged");
        let crc = *self.index.pages.get(page as usize).ok_or_else(damaged)?;
        let start = page as usize * PAGE_BYTES;
        self.bytes.resize(PAGE_BYTES.min(self.index.body_len as usize - start), 0);
        let mut read = 0;
        while read < self.bytes.len() {
            let at = self.index.body_at + (start + read) as u64;
            match self.index.file.read_at(&mut self.bytes[read..], at)? {
                0 => return Err(damaged()),
                more => read += more,
            }
        }
        if crc32c::crc32c(&self.bytes) != crc {
            return Err(damaged());
        }
        self.page = page;
        Ok(())
    }

    /// Fills the buffer from `at`, as far as the body reaches; says how far.
    fn fill(&mut self, at: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() && at + filled < self.index.body_len as usize {
            let from = at + filled;
            self.load((from / PAGE_BYTES) as u32)?;
            let part = &self.bytes[from % PAGE_BYTES..];
            let len = part.len().min(buffer.len() - filled);
            buffer[filled..filled + len].copy_from_slice(&part[..len]);
            filled += len;
        }
        Ok(filled)
    }

    fn words<const N: usize>(&mut self, at: usize) -> io::Result<[u32; N]> {
        let mut bytes = [[0; 4]; N];
        self.fill(at, bytes.as_flattened_mut())?;
        Ok(bytes.map(u32::from_le_bytes))
    }

    /// The number at `at`, and how many bytes it takes up.
    fn varint(&mut self, at: usize) -> io::Result<(u32, usize)> {
        let mut bytes = [0; VARINT_BYTES_MAX];
        let filled = self.fill(at, &mut bytes)?;
        let mut rest = &bytes[..filled];
        let value = read_varint(&mut rest).ok_or_else(malformed)?;
        Ok((value, filled - rest.len()))
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the index is malformed")
}

/// Where a list is.
#[derive(Clone, Copy)]
struct List {
    count: u32,
    /// Its table of groups, where it has more than one.
    table_at: usize,
    data_at: usize,
    /// The group that is decoded.
    group: usize,
}

impl List {
    fn groups(&self) -> usize {
        (self.count as usize).div_ceil(GROUP_POSTINGS)
    }
}

/// The records of one subject id, in order. Each step costs a few nanoseconds; each 128th reads a
/// page of the list, and each new block a page of the shapes, unless it is at hand.
pub struct Cursor<'a> {
    index: &'a Index,
    lists: Pages<'a>,
    shapes: Pages<'a>,
    list: Option<List>,
    /// Ordinals of the group.
    group: Vec<u32>,
    within: usize,
    /// The block whose places are decoded.
    block: usize,
    places: Vec<Place>,
}

impl Cursor<'_> {
    /// Position and offset of the next record; `None` at the end.
    ///
    /// # Errors
    /// As [`Index::next`].
    pub fn advance(&mut self) -> io::Result<Option<(u64, u32)>> {
        loop {
            if let Some(ordinal) = self.group.get(self.within).copied() {
                self.within += 1;
                let place = self.place(ordinal)?;
                return Ok(Some(place));
            }
            match self.list {
                Some(list) if list.group + 1 < list.groups() => self.load_group(list.group + 1)?,
                _ => return Ok(None),
            }
        }
    }

    fn seek(&mut self, subject: u32, from_seq: u64) -> io::Result<()> {
        let Some(at) = self.entry(subject)? else { return Ok(()) };
        let from = self.ordinal_from(from_seq)?;
        if at & MARK != 0 {
            self.group.extend(Some(at & !MARK).filter(|ordinal| *ordinal >= from));
            return Ok(());
        }
        let list = self.index.list(&mut self.lists, at)?;
        self.list = Some(list);
        let (mut low, mut high) = (0, list.groups());
        while high - low > 1 {
            let middle = low.midpoint(high);
            let [first] = self.lists.words(list.table_at + middle * GROUP_BYTES)?;
            if first <= from {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.load_group(low)?;
        self.within = self.group.partition_point(|ordinal| *ordinal < from);
        Ok(())
    }

    /// What the dictionary says of an id.
    fn entry(&mut self, subject: u32) -> io::Result<Option<u32>> {
        let Some(run) = self.index.fences.partition_point(|first| *first <= subject).checked_sub(1) else {
            return Ok(None);
        };
        let (mut low, mut high) = (run * FENCE_ENTRIES, (run + 1) * FENCE_ENTRIES);
        high = high.min(self.index.summary.subjects as usize);
        while low < high {
            let middle = low.midpoint(high);
            let [id, at] = self.lists.words(middle * ENTRY_BYTES)?;
            match id.cmp(&subject) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(at)),
            }
        }
        Ok(None)
    }

    fn load_group(&mut self, number: usize) -> io::Result<()> {
        let Some(list) = self.list.as_mut() else { return Ok(()) };
        list.group = number;
        let mut at = list.data_at;
        let mut count = (list.count as usize).saturating_sub(number * GROUP_POSTINGS).min(GROUP_POSTINGS);
        self.group.clear();
        self.within = 0;
        if list.groups() > 1 {
            let [first, offset] = self.lists.words(list.table_at + number * GROUP_BYTES)?;
            at += offset as usize;
            self.group.push(first);
            count -= 1;
        }
        let mut bytes = [0; GROUP_POSTINGS * VARINT_BYTES_MAX];
        let filled = self.lists.fill(at, &mut bytes[..count * VARINT_BYTES_MAX])?;
        let mut rest = &bytes[..filled];
        for _ in 0..count {
            let step = read_varint(&mut rest).ok_or_else(malformed)?;
            let ordinal = self.group.last().map_or(Some(step), |last| last.checked_add(step)).ok_or_else(malformed)?;
            self.group.push(ordinal);
        }
        Ok(())
    }

    /// The ordinal of the first record at or after a position.
    fn ordinal_from(&mut self, seq: u64) -> io::Result<u32> {
        let blocks = &self.index.blocks;
        let number = block_of(blocks, seq);
        let first = (number * BLOCK_RECORDS) as u32;
        let Some(block) = blocks.get(number).filter(|block| block.seq < seq) else { return Ok(first) };
        let len = self.index.summary.records.saturating_sub(first).min(BLOCK_RECORDS as u32);
        if block.is_gapless() {
            return Ok(first + u32::try_from(seq - block.seq).unwrap_or(u32::MAX).min(len));
        }
        self.load_block(number)?;
        Ok(first + self.places.partition_point(|place| place.0 < seq) as u32)
    }

    fn place(&mut self, ordinal: u32) -> io::Result<Place> {
        self.load_block(ordinal as usize / BLOCK_RECORDS)?;
        self.places.get(ordinal as usize % BLOCK_RECORDS).copied().ok_or_else(malformed)
    }

    fn load_block(&mut self, number: usize) -> io::Result<()> {
        if self.block == number {
            return Ok(());
        }
        self.block = usize::MAX;
        let block = self.index.blocks.get(number).ok_or_else(malformed)?;
        let at = self.index.shapes_at as usize + (block.shape & !MARK) as usize;
        let mut bytes = [0; SHAPE_BYTES_MAX];
        let filled = self.shapes.fill(at, &mut bytes)?;
        let records = (self.index.summary.records as usize - number * BLOCK_RECORDS).min(BLOCK_RECORDS);
        read_shape(&bytes[..filled], (block.seq, block.offset), records, &mut self.places);
        self.block = number;
        Ok(())
    }
}

impl Index {
    /// The blocks and the bytes of their shapes.
    pub(super) fn shapes(&self) -> io::Result<(Vec<Block>, Vec<u8>)> {
        let mut bytes = vec![0; (self.body_len - self.shapes_at) as usize];
        Pages::new(self).fill(self.shapes_at as usize, &mut bytes)?;
        Ok((self.blocks.clone(), bytes))
    }

    /// Gives each subject id with its ordinals, until `take` says that they make no sense.
    pub(super) fn lists(&self, take: &mut dyn FnMut(u32, &[u32]) -> bool) -> io::Result<()> {
        let mut entries = Pages::new(self);
        let mut cursor = self.cursor(0, u64::MAX)?;
        let mut ordinals = Vec::new();
        for entry in 0..self.summary.subjects as usize {
            let [id, at] = entries.words(entry * ENTRY_BYTES)?;
            ordinals.clear();
            if at & MARK != 0 {
                ordinals.push(at & !MARK);
            } else {
                let list = self.list(&mut cursor.lists, at)?;
                cursor.list = Some(list);
                for group in 0..list.groups() {
                    cursor.load_group(group)?;
                    ordinals.extend_from_slice(&cursor.group);
                }
            }
            if !take(id, &ordinals) {
                return Err(malformed());
            }
        }
        Ok(())
    }

    fn list(&self, pages: &mut Pages<'_>, at: u32) -> io::Result<List> {
        let at = self.lists_at as usize + at as usize;
        let (count, len) = pages.varint(at)?;
        let table_at = at + len;
        let mut list = List { count, table_at, data_at: table_at, group: 0 };
        if list.groups() > 1 {
            list.data_at += list.groups() * GROUP_BYTES;
        }
        if count > self.summary.records || list.data_at > self.shapes_at as usize {
            return Err(malformed());
        }
        Ok(list)
    }
}

/// The subject ids of a segment. See [`Index::subjects`].
pub struct Subjects<'a> {
    index: &'a Index,
    entries: Pages<'a>,
    lists: Pages<'a>,
    next: u32,
}

impl Iterator for Subjects<'_> {
    /// Id and count.
    type Item = io::Result<(u32, u32)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.index.summary.subjects {
            return None;
        }
        let entry = self.next as usize * ENTRY_BYTES;
        self.next += 1;
        let mut count = || {
            let [id, at] = self.entries.words(entry)?;
            if at & MARK != 0 {
                return Ok((id, 1));
            }
            Ok((id, self.index.list(&mut self.lists, at)?.count))
        };
        Some(count())
    }
}

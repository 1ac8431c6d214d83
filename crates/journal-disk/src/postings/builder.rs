//! Postings of the active segment, in memory.

use std::collections::HashMap;
use std::io;

use super::Index;
use super::bits::{Place, SHAPE_BYTES_MAX, read_shape, write_shape, write_varint};
use super::{
    BLOCK_BYTES, BLOCK_RECORDS, Block, ENTRY_BYTES, FENCE_ENTRIES, GROUP_BYTES, GROUP_POSTINGS, HEADER_BYTES, MAGIC,
    MARK, PAGE_BYTES, RECORDS_MAX, Summary, VERSION, block_before, block_of,
};

const NONE: u32 = u32::MAX;
/// Postings from one skip to the next: a walk follows at most so many links.
const SKIP_POSTINGS: u32 = 64;
/// Slots with which the look-up by id begins; it doubles when more than 4 of 5 are full.
const SLOTS_MIN: usize = 16;

/// Takes the records of one segment in order. See the module.
#[derive(Default)]
pub struct Builder {
    summary: Summary,
    blocks: Vec<Block>,
    shapes: Vec<u8>,
    /// Places of the block that is not full yet.
    open: Vec<Place>,
    /// By ordinal: the next ordinal of the same subject.
    links: Vec<u32>,
    lists: Vec<List>,
    /// Places in `lists`, by id; [`NONE`] where empty.
    slots: Vec<u32>,
    /// By place in `lists`, for lists that are long: every [`SKIP_POSTINGS`]th ordinal.
    skips: HashMap<u32, Vec<u32>>,
}

struct List {
    id: u32,
    head: u32,
    tail: u32,
    count: u32,
}

impl Builder {
    /// An empty segment.
    pub fn new() -> Self {
        Builder::default()
    }

    /// What it holds.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.summary.records == 0
    }

    /// Bytes of memory that it takes up, slack included.
    pub fn memory_bytes(&self) -> usize {
        let skips = self.skips.values().map(|skip| skip.capacity() * 4 + 48).sum::<usize>();
        size_of::<Self>()
            + self.blocks.capacity() * size_of::<Block>()
            + self.shapes.capacity()
            + self.open.capacity() * size_of::<Place>()
            + self.links.capacity() * 4
            + self.lists.capacity() * size_of::<List>()
            + self.slots.capacity() * 4
            + skips
    }

    /// Adds the next record: `size` bytes at `offset`, recorded at `time`, in nanoseconds since the
    /// epoch. Says `false`, and adds nothing, where its position or offset does not lie behind the
    /// last record's, or the segment has [`RECORDS_MAX`] records.
    pub fn push(&mut self, subject: u32, seq: u64, offset: u32, time: u64, size: u32) -> bool {
        let Summary { records: ordinal, end, last_seq, last_time, .. } = self.summary;
        let behind = ordinal == 0 || seq > last_seq && offset >= end;
        if !behind || ordinal == RECORDS_MAX {
            return false;
        }
        let time = time.max(last_time);
        if self.open.len() == BLOCK_RECORDS {
            self.close_block();
        }
        if self.open.is_empty() {
            push_tight(&mut self.blocks, Block { seq, time, offset, shape: 0 });
        }
        self.open.push((seq, offset));
        self.link(subject, ordinal);
        if ordinal == 0 {
            self.summary.first_seq = seq;
        }
        self.summary.records += 1;
        self.summary.subjects = self.lists.len() as u32;
        self.summary.end = offset.saturating_add(size);
        self.summary.last_seq = seq;
        self.summary.last_time = time;
        true
    }

    fn close_block(&mut self) {
        let shape = self.shapes.len() as u32;
        if self.shapes.capacity() - self.shapes.len() < SHAPE_BYTES_MAX {
            self.shapes.reserve_exact(SHAPE_BYTES_MAX.max(self.shapes.len() / 4));
        }
        let gapless = write_shape(&self.open, &mut self.shapes);
        if let Some(block) = self.blocks.last_mut() {
            block.shape = shape | if gapless { MARK } else { 0 };
        }
        self.open.clear();
    }

    fn link(&mut self, id: u32, ordinal: u32) {
        push_tight(&mut self.links, NONE);
        match self.list_of(id) {
            Some(place) => {
                let list = &mut self.lists[place as usize];
                self.links[list.tail as usize] = ordinal;
                list.tail = ordinal;
                if list.count.is_multiple_of(SKIP_POSTINGS) {
                    self.skips.entry(place).or_default().push(ordinal);
                }
                list.count += 1;
            }
            None => self.add_list(List { id, head: ordinal, tail: ordinal, count: 1 }),
        }
    }

    fn add_list(&mut self, list: List) {
        if self.lists.len() * 5 >= self.slots.len() * 4 {
            self.grow();
        }
        let slot = self.slot_of(list.id);
        self.slots[slot] = self.lists.len() as u32;
        push_tight(&mut self.lists, list);
    }

    fn grow(&mut self) {
        self.slots = vec![NONE; (self.slots.len() * 2).max(SLOTS_MIN)];
        for place in 0..self.lists.len() {
            let slot = self.slot_of(self.lists[place].id);
            self.slots[slot] = place as u32;
        }
    }

    /// The slot of an id: its own, or the empty one where it would be. Ids are given by this engine
    /// in order, so that a multiplicative hash spreads them.
    fn slot_of(&self, id: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (id.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask;
        while self.slots[slot] != NONE && self.lists[self.slots[slot] as usize].id != id {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn list_of(&self, id: u32) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        Some(self.slots[self.slot_of(id)]).filter(|place| *place != NONE)
    }

    /// The ids there are, each with how many records it has, in no order that means anything.
    pub fn subjects(&self) -> impl Iterator<Item = (u32, u32)> {
        self.lists.iter().map(|list| (list.id, list.count))
    }

    /// Position and offset of the first record of a subject id at or after a position.
    pub fn next(&self, subject: u32, from_seq: u64) -> Option<(u64, u32)> {
        let place = self.list_of(subject)?;
        let list = &self.lists[place as usize];
        let from = self.ordinal_from(from_seq);
        if list.tail < from {
            return None;
        }
        let mut ordinal = list.head;
        if let Some(skips) = self.skips.get(&place) {
            let passed = skips.partition_point(|skip| *skip <= from);
            ordinal = passed.checked_sub(1).map_or(ordinal, |last| skips[last]);
        }
        while ordinal < from {
            ordinal = self.links[ordinal as usize];
        }
        self.place(ordinal)
    }

    /// The offset of a record at or before the first whose position is at or after `seq`, fewer than
    /// 64 records ahead of it. `None` where there is no such record.
    pub fn locate(&self, seq: u64) -> Option<u32> {
        if self.is_empty() || seq > self.summary.last_seq {
            return None;
        }
        Some(self.blocks[block_of(&self.blocks, seq)].offset)
    }

    /// Position and offset of a record at or before the first that was recorded at or after `time`.
    /// `None` where there is no such record.
    pub fn locate_time(&self, time: u64) -> Option<(u64, u32)> {
        if self.is_empty() || time > self.summary.last_time {
            return None;
        }
        let block = self.blocks[block_before(&self.blocks, time)];
        Some((block.seq, block.offset))
    }

    /// The ordinal of the first record at or after a position.
    fn ordinal_from(&self, seq: u64) -> u32 {
        let number = block_of(&self.blocks, seq);
        let first = (number * BLOCK_RECORDS) as u32;
        let Some(block) = self.blocks.get(number).filter(|block| block.seq < seq) else { return first };
        let len = (self.summary.records - first).min(BLOCK_RECORDS as u32);
        if block.is_gapless() {
            return first + u32::try_from(seq - block.seq).unwrap_or(u32::MAX).min(len);
        }
        let within = self.with_block(number, |places| places.partition_point(|place| place.0 < seq));
        first + within as u32
    }

    fn place(&self, ordinal: u32) -> Option<Place> {
        let (number, within) = (ordinal as usize / BLOCK_RECORDS, ordinal as usize % BLOCK_RECORDS);
        self.with_block(number, |places| places.get(within).copied())
    }

    fn with_block<T>(&self, number: usize, look: impl FnOnce(&[Place]) -> T) -> T {
        if number + 1 == self.blocks.len() {
            return look(&self.open);
        }
        let block = self.blocks[number];
        let mut places = Vec::with_capacity(BLOCK_RECORDS);
        let shape = self.shapes.get((block.shape & !MARK) as usize..).unwrap_or_default();
        read_shape(shape, (block.seq, block.offset), BLOCK_RECORDS, &mut places);
        look(&places)
    }

    /// A builder that holds what an index does, and takes the records that follow.
    ///
    /// # Errors
    /// As [`Index::next`].
    pub fn resume(index: &Index) -> io::Result<Self> {
        let summary = index.summary();
        let (blocks, mut shapes) = index.shapes()?;
        let mut builder =
            Builder { summary, blocks, links: vec![NONE; summary.records as usize], ..Builder::default() };
        if let Some(last) = builder.blocks.last_mut() {
            let at = (last.shape & !MARK) as usize;
            let records = (summary.records as usize - 1) % BLOCK_RECORDS + 1;
            let shape = shapes.get(at..).unwrap_or_default();
            read_shape(shape, (last.seq, last.offset), records, &mut builder.open);
            shapes.truncate(at);
            last.shape = 0;
        }
        builder.shapes = shapes;
        index.lists(&mut |id, ordinals| builder.resume_list(id, ordinals))?;
        Ok(builder)
    }

    fn resume_list(&mut self, id: u32, ordinals: &[u32]) -> bool {
        let (Some(head), Some(tail)) = (ordinals.first(), ordinals.last()) else { return false };
        let sound = ordinals.is_sorted_by(|a, b| a < b) && *tail < self.summary.records;
        if !sound || self.list_of(id).is_some() {
            return false;
        }
        for (from, to) in ordinals.iter().zip(&ordinals[1..]) {
            self.links[*from as usize] = *to;
        }
        let skips: Vec<u32> = ordinals.iter().copied().step_by(SKIP_POSTINGS as usize).skip(1).collect();
        if !skips.is_empty() {
            self.skips.insert(self.lists.len() as u32, skips);
        }
        self.add_list(List { id, head: *head, tail: *tail, count: ordinals.len() as u32 });
        true
    }

    /// The bytes of the index file, as `docs/format/index.md` draws them. Costs a walk over all
    /// records.
    pub fn finish(&self) -> Vec<u8> {
        let mut shapes = self.shapes.clone();
        let mut blocks = self.blocks.clone();
        if let Some(block) = blocks.last_mut() {
            block.shape = shapes.len() as u32;
            if write_shape(&self.open, &mut shapes) {
                block.shape |= MARK;
            }
        }
        let mut by_id: Vec<u32> = (0..self.lists.len() as u32).collect();
        by_id.sort_unstable_by_key(|place| self.lists[*place as usize].id);

        let mut body = vec![0; by_id.len() * ENTRY_BYTES];
        let lists_at = body.len() as u32;
        let mut ordinals = Vec::new();
        for (entry, place) in by_id.iter().enumerate() {
            let list = &self.lists[*place as usize];
            let at = if list.count == 1 {
                list.head | MARK
            } else {
                let at = body.len() as u32 - lists_at;
                ordinals.clear();
                ordinals.extend(std::iter::successors(Some(list.head), |ordinal| {
                    Some(self.links[*ordinal as usize]).filter(|next| *next != NONE)
                }));
                write_list(&ordinals, &mut body);
                at
            };
            let entry = &mut body[entry * ENTRY_BYTES..][..ENTRY_BYTES];
            entry[..4].copy_from_slice(&list.id.to_le_bytes());
            entry[4..].copy_from_slice(&at.to_le_bytes());
        }
        let shapes_at = body.len() as u32;
        body.append(&mut shapes);

        let mut bytes = self.header(lists_at, shapes_at, body.len() as u32);
        let head_at = bytes.len();
        for block in &blocks {
            bytes.extend_from_slice(&block.seq.to_le_bytes());
            bytes.extend_from_slice(&block.time.to_le_bytes());
            bytes.extend_from_slice(&block.offset.to_le_bytes());
            bytes.extend_from_slice(&block.shape.to_le_bytes());
        }
        let fences = by_id.iter().step_by(FENCE_ENTRIES).map(|place| self.lists[*place as usize].id);
        let pages = body.chunks(PAGE_BYTES).map(crc32c::crc32c);
        bytes.extend(fences.chain(pages).flat_map(u32::to_le_bytes));
        let crc = crc32c::crc32c(&bytes[head_at..]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.append(&mut body);
        bytes
    }

    fn header(&self, lists_at: u32, shapes_at: u32, body_len: u32) -> Vec<u8> {
        let summary = self.summary;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.blocks.len() * BLOCK_BYTES + body_len as usize);
        bytes.extend_from_slice(&MAGIC);
        for word in [VERSION, summary.records, summary.subjects, self.blocks.len() as u32, summary.end] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for long in [summary.first_seq, summary.last_seq, summary.last_time] {
            bytes.extend_from_slice(&long.to_le_bytes());
        }
        for word in [lists_at, shapes_at, body_len] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// A list: its count; for a long one a table of groups; each group's postings as differences. The
/// first ordinal of a group stands in the table, or where there is none, ahead of the differences.
fn write_list(ordinals: &[u32], out: &mut Vec<u8>) {
    write_varint(ordinals.len() as u32, out);
    let table_at = out.len();
    let groups = ordinals.len().div_ceil(GROUP_POSTINGS);
    if groups > 1 {
        out.resize(table_at + groups * GROUP_BYTES, 0);
    }
    let data_at = out.len();
    for (number, group) in ordinals.chunks(GROUP_POSTINGS).enumerate() {
        let offset = (out.len() - data_at) as u32;
        if groups > 1 {
            let entry = &mut out[table_at + number * GROUP_BYTES..][..GROUP_BYTES];
            entry[..4].copy_from_slice(&group[0].to_le_bytes());
            entry[4..].copy_from_slice(&offset.to_le_bytes());
        } else {
            write_varint(group[0], out);
        }
        for (a, b) in group.iter().zip(&group[1..]) {
            write_varint(b - a, out);
        }
    }
}

/// Pushes, with room that grows by an eighth, so that slack stays small.
fn push_tight<T>(items: &mut Vec<T>, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact((items.len() / 8).max(16));
    }
    items.push(item);
}

//! What a stream holds of each subject: a table from subject to a small id to [`Entry`].
//!
//! It knows no file and no message. Ids are dense, stay the same while the subject is held, and are
//! used again after [`SubjectTable::release`].
//!
//! # Invariants
//! - A subject that is held has one row and one slot; a row that is not held is in the free list.
//! - A slot is found from its subject's hash by walking over full slots of one shard.
//! - The hash is SipHash 1-3 under the table's own key: who does not know it cannot crowd a shard.
//!
//! # Cost
//! Per subject: its text, 36 bytes of row, and 10 to 20 bytes of slot, about 75 bytes at 20 bytes of
//! text. A clone costs a pointer for each chunk and shard; who changes one afterwards copies that one.
//! A shard holds at most 8,192 slots and is then split, so that no insertion
//! moves more than that, and no growth holds the table twice. Rows and texts are in chunks.
//! Finding a subject: one hash, one slot, one row, one text. Decoding is copying.

#![expect(clippy::cast_possible_truncation, reason = "halves of packed words; lengths are bounded by the chunks")]

mod slots;

use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;

use event::Pattern;
use event::limits::SUBJECT_BYTES_MAX;
use siphasher::sip::SipHasher13;

use self::slots::{Shard, Slots};
use crate::sealed::{DecodeError, Opener, Sealer};

const MAGIC: [u8; 4] = *b"TSUB";
const VERSION: u32 = 1;

/// Bytes of a row: text place 8, first 8, last 8, count 8, size of the last 4.
const ROW_BYTES: usize = 36;
/// Rows of a chunk: 18 KiB, so that the last chunk's slack is small and a chunk is one read.
const CHUNK_ROWS: usize = 512;
/// Bytes of a text chunk, for the same reason. An offset in it fits 16 bits.
const CHUNK_TEXT_BYTES: usize = 32 * 1024;
const NO_ID: u32 = u32::MAX;

const _: () = assert!(SUBJECT_BYTES_MAX <= CHUNK_TEXT_BYTES && CHUNK_TEXT_BYTES <= 1 << 16);

/// What is known of one subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    /// First position that holds it.
    pub first: u64,
    /// Last position that holds it.
    pub last: u64,
    /// Messages there are.
    pub count: u64,
    /// Size of the last message, in bytes.
    pub last_size: u32,
}

/// The table. See the module.
#[derive(Clone)]
pub struct SubjectTable {
    key: [u64; 2],
    rows: Rows,
    texts: Texts,
    slots: Slots,
    live: u32,
    free: u32,
}

impl SubjectTable {
    /// An empty table whose hash has this key.
    pub fn new(key: [u64; 2]) -> Self {
        SubjectTable {
            key,
            rows: Rows::default(),
            texts: Texts::default(),
            slots: Slots::default(),
            live: 0,
            free: NO_ID,
        }
    }

    /// Subjects held.
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Every id is below this.
    pub fn ids(&self) -> u32 {
        self.rows.len
    }

    /// Bytes of memory that it takes up, slack included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.rows.chunks.bytes() + self.texts.chunks.bytes() + self.slots.bytes()
    }

    fn hash(&self, subject: &str) -> u32 {
        (SipHasher13::new_with_keys(self.key[0], self.key[1]).hash(subject.as_bytes()) >> 32) as u32
    }

    /// The id of a subject, if it is held.
    pub fn find(&self, subject: &str) -> Option<u32> {
        self.slots.find(self.hash(subject), |id| self.text_bytes(id) == subject.as_bytes())
    }

    /// The id of a subject; it is taken in, with an empty [`Entry`], where it is not held.
    ///
    /// The subject is as [`event::Subject`] has it: not empty, at most [`SUBJECT_BYTES_MAX`] bytes.
    /// What lies beyond that length is cut off.
    pub fn intern(&mut self, subject: &str) -> u32 {
        let hash = self.hash(subject);
        if let Some(id) = self.slots.find(hash, |id| self.text_bytes(id) == subject.as_bytes()) {
            return id;
        }
        let place = self.texts.push(&subject.as_bytes()[..subject.len().min(SUBJECT_BYTES_MAX)]);
        let row = Row { text: place, entry: Entry::default() };
        let id = match self.free {
            NO_ID => self.rows.push(row),
            id => {
                self.free = self.rows.get(id).next_free();
                self.rows.set(id, row);
                id
            }
        };
        self.slots.insert(hash, id);
        self.live += 1;
        id
    }

    fn text_bytes(&self, id: u32) -> &[u8] {
        self.texts.get(self.rows.get(id).text)
    }

    /// The subject under an id; empty where none is held under it.
    pub fn text(&self, id: u32) -> &str {
        std::str::from_utf8(self.text_bytes(id)).unwrap_or_default()
    }

    /// What is known under an id; all zero where none is held under it.
    pub fn entry(&self, id: u32) -> Entry {
        self.rows.get(id).entry
    }

    /// Sets what is known under an id that is held.
    pub fn set(&mut self, id: u32, entry: Entry) {
        let row = self.rows.get(id);
        if row.is_held() {
            self.rows.set(id, Row { entry, ..row });
        }
    }

    /// Lets go of a subject. Its id may be given to another.
    pub fn release(&mut self, id: u32) {
        let row = self.rows.get(id);
        if !row.is_held() {
            return;
        }
        self.slots.remove(self.hash(self.text(id)), id);
        self.rows.set(id, Row::free(self.free));
        self.free = id;
        self.live -= 1;
        if self.live == 0 {
            *self = SubjectTable::new(self.key);
            return;
        }
        self.texts.dead += Row::text_len(row.text);
        if self.texts.dead > CHUNK_TEXT_BYTES && self.texts.dead * 2 > self.texts.used {
            self.compact_texts();
        }
    }

    /// Each release pays for the copying of as many bytes as it left behind.
    fn compact_texts(&mut self) {
        let mut texts = Texts::default();
        for id in 0..self.rows.len {
            let row = self.rows.get(id);
            if row.is_held() {
                self.rows.set(id, Row { text: texts.push(self.texts.get(row.text)), ..row });
            }
        }
        self.texts = texts;
    }

    /// The ids of all subjects that a pattern matches, in no order that means anything. A pattern
    /// without wildcard costs one look-up, any other a walk over all subjects.
    pub fn matching(&self, pattern: &Pattern) -> impl Iterator<Item = u32> + use<'_> {
        let ids = match pattern.literal() {
            None => 0..self.rows.len,
            Some(subject) => match self.find(subject.as_str()) {
                Some(id) => id..id + 1,
                None => 0..0,
            },
        };
        let pattern = pattern.clone();
        ids.filter(move |id| {
            let text = self.text(*id);
            !text.is_empty() && pattern.matches(text)
        })
    }

    /// The ids of the first `limit` subjects that come after `after`, in byte order, and that a
    /// pattern matches. Costs a walk over all subjects.
    pub fn after(&self, after: Option<&str>, pattern: &Pattern, limit: usize) -> Vec<u32> {
        let mut first: BinaryHeap<(&str, u32)> = BinaryHeap::new();
        for id in self.matching(pattern) {
            let text = self.text(id);
            if after.is_some_and(|after| text <= after) {
                continue;
            }
            if first.len() < limit {
                first.push((text, id));
            } else if let Some(mut last) = first.peek_mut().filter(|last| text < last.0) {
                *last = (text, id);
            }
        }
        first.into_sorted_vec().into_iter().map(|(_, id)| id).collect()
    }

    /// Writes the table, as `docs/format/subjects.md` draws it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn encode(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut out = Sealer::begin(out, MAGIC, VERSION)?;
        for long in self.key {
            out.write(&long.to_le_bytes())?;
        }
        let count = |items: usize| u32::try_from(items).map_err(|_| io::Error::other("too many subjects"));
        let texts = &self.texts.chunks.0;
        for word in [
            self.rows.len,
            self.live,
            self.free,
            count(self.texts.dead)?,
            count(texts.len())?,
            count(self.slots.shards.len())?,
            count(self.slots.directory.len())?,
        ] {
            out.write(&word.to_le_bytes())?;
        }
        let shard_head = |shard: &Arc<Shard>| [shard.depth, shard.used, shard.slots.len() as u32];
        let heads = texts.iter().map(|chunk| chunk.len() as u32);
        let heads = heads.chain(self.slots.shards.iter().flat_map(shard_head));
        let heads: Vec<u8> = heads.chain(self.slots.directory.iter().copied()).flat_map(u32::to_le_bytes).collect();
        out.write(&heads)?;
        out.seal()?;
        for chunk in texts.iter().chain(&self.rows.chunks.0) {
            out.write(chunk.as_slice())?;
        }
        let mut bytes = Vec::new();
        for shard in &self.slots.shards {
            bytes.clear();
            bytes.extend(shard.slots.iter().flat_map(|slot| slot.to_le_bytes()));
            out.write(&bytes)?;
        }
        out.seal()
    }

    /// Reads a table that [`SubjectTable::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] where it is damaged or not such a table.
    pub fn decode(input: &mut dyn io::Read) -> Result<Self, DecodeError> {
        let (mut input, _) = Opener::begin(input, MAGIC, VERSION, "a subject table")?;
        let key = input.longs::<2>()?;
        let [rows, live, free, dead, texts, shards, directory] = input.words::<7>()?;
        let text_lens = words(&mut input, texts as usize)?;
        let shard_heads = words(&mut input, shards as usize * 3)?;
        let directory = words(&mut input, directory as usize)?;
        input.check()?;

        let text_chunks =
            text_lens.iter().map(|len| chunk(&mut input, *len as usize)).collect::<Result<Vec<_>, _>>()?;
        let used = text_chunks.iter().map(|chunk| chunk.len()).sum();
        let texts = Texts { chunks: Chunks(text_chunks), used, dead: dead as usize };
        let mut row_chunks = Vec::with_capacity((rows as usize).div_ceil(CHUNK_ROWS));
        for first in (0..rows as usize).step_by(CHUNK_ROWS) {
            row_chunks.push(chunk(&mut input, (rows as usize - first).min(CHUNK_ROWS) * ROW_BYTES)?);
        }
        let rows = Rows { chunks: Chunks(row_chunks), len: rows };
        let slots = Slots::decode(&mut input, &shard_heads, directory)?;
        input.check()?;
        let table = SubjectTable { key, rows, texts, slots, live, free };
        if table.slots.makes_sense(table.rows.len, live) && (free == NO_ID || free < table.rows.len) {
            Ok(table)
        } else {
            Err(DecodeError::Malformed("its slots and rows do not agree"))
        }
    }
}

/// Words of a count that is not checked yet: memory is taken as they come.
fn words(input: &mut Opener<'_>, count: usize) -> Result<Vec<u32>, DecodeError> {
    let mut words = Vec::new();
    let mut buffer = [0; 4096];
    let mut left = count * 4;
    while left > 0 {
        let part = &mut buffer[..left.min(4096)];
        input.fill(part)?;
        left -= part.len();
        words.extend(part.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)));
    }
    Ok(words)
}

fn chunk(input: &mut Opener<'_>, len: usize) -> Result<Arc<Vec<u8>>, DecodeError> {
    let mut chunk = vec![0; len];
    input.fill(&mut chunk)?;
    Ok(Arc::new(chunk))
}

/// Bytes in chunks. The first grows by an eighth at a time, the others have their room at once.
#[derive(Clone, Default)]
struct Chunks(Vec<Arc<Vec<u8>>>);

impl Chunks {
    /// Appends bytes that stay together, in chunks of at most `size` bytes; says chunk and offset.
    fn push(&mut self, bytes: &[u8], size: usize) -> (usize, usize) {
        if self.0.last().is_none_or(|last| last.len() + bytes.len() > size) {
            let room = if self.0.is_empty() { bytes.len() } else { size };
            self.0.push(Arc::new(Vec::with_capacity(room)));
        }
        let place = self.0.len() - 1;
        let chunk = Arc::make_mut(&mut self.0[place]);
        let offset = chunk.len();
        if chunk.capacity() - offset < bytes.len() {
            chunk.reserve_exact((bytes.len() + offset / 8).min(size - offset));
        }
        chunk.extend_from_slice(bytes);
        (place, offset)
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Arc<Vec<u8>>>()
            + self.0.iter().map(|chunk| size_of::<Vec<u8>>() + chunk.capacity()).sum::<usize>()
    }
}

#[derive(Clone, Copy)]
struct Row {
    /// Place of the text: chunk in the upper 32 bits of 48, offset in the lower 16; its length in
    /// the 16 above. Length 0: a free row, whose next is in the lower 32 bits.
    text: u64,
    entry: Entry,
}

impl Row {
    fn free(next: u32) -> Self {
        Row { text: u64::from(next), entry: Entry::default() }
    }

    fn is_held(&self) -> bool {
        Row::text_len(self.text) > 0
    }

    fn text_len(text: u64) -> usize {
        (text >> 48) as usize
    }

    fn next_free(&self) -> u32 {
        (self.text & u64::from(u32::MAX)) as u32
    }
}

#[derive(Clone, Default)]
struct Rows {
    chunks: Chunks,
    len: u32,
}

impl Rows {
    fn get(&self, id: u32) -> Row {
        let id = id as usize;
        let offset = id % CHUNK_ROWS * ROW_BYTES;
        let bytes = self.chunks.0.get(id / CHUNK_ROWS).and_then(|chunk| chunk.get(offset..offset + ROW_BYTES));
        let Some(bytes) = bytes else { return Row::free(NO_ID) };
        let (longs, rest) = bytes.as_chunks();
        let long = |place: usize| longs.get(place).map_or(0, |long| u64::from_le_bytes(*long));
        let last_size = rest.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        Row { text: long(0), entry: Entry { first: long(1), last: long(2), count: long(3), last_size } }
    }

    fn set(&mut self, id: u32, row: Row) {
        let id = id as usize;
        let offset = id % CHUNK_ROWS * ROW_BYTES;
        let chunk = self.chunks.0.get_mut(id / CHUNK_ROWS).map(Arc::make_mut);
        if let Some(bytes) = chunk.and_then(|chunk| chunk.get_mut(offset..offset + ROW_BYTES)) {
            bytes.copy_from_slice(&row.bytes());
        }
    }

    fn push(&mut self, row: Row) -> u32 {
        let id = self.len;
        self.chunks.push(&row.bytes(), CHUNK_ROWS * ROW_BYTES);
        self.len += 1;
        id
    }
}

impl Row {
    fn bytes(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        let Entry { first, last, count, last_size } = self.entry;
        for (place, long) in [self.text, first, last, count].into_iter().enumerate() {
            bytes[place * 8..place * 8 + 8].copy_from_slice(&long.to_le_bytes());
        }
        bytes[32..].copy_from_slice(&last_size.to_le_bytes());
        bytes
    }
}

#[derive(Clone, Default)]
struct Texts {
    chunks: Chunks,
    /// Bytes pushed.
    used: usize,
    /// Of them, bytes of subjects that are held no more.
    dead: usize,
}

impl Texts {
    fn push(&mut self, text: &[u8]) -> u64 {
        let (chunk, offset) = self.chunks.push(text, CHUNK_TEXT_BYTES);
        self.used += text.len();
        (text.len() as u64) << 48 | (chunk as u64) << 16 | offset as u64
    }

    fn get(&self, place: u64) -> &[u8] {
        let (len, chunk, offset) = (Row::text_len(place), (place >> 16) as u32 as usize, (place & 0xffff) as usize);
        if len == 0 {
            return &[];
        }
        self.chunks.0.get(chunk).and_then(|chunk| chunk.get(offset..offset + len)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;

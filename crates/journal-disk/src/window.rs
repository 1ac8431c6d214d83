//! The de-duplication window: which message ids were recorded lately, and at which position.
//!
//! It knows no clock and no file. An id is known by 128 bits of SipHash 1-3 under the window's own
//! random key, so that two ids are mistaken for one with a chance of about `n² / 2^129`, whoever
//! chooses them. Purging messages does not touch it: an id is remembered until its time is over.
//!
//! # Invariants
//! - Entries stand in a ring in the order of insertion, and their times do not decrease: where the
//!   clock went back, an entry has the time of the one ahead. So none is forgotten early.
//! - Every entry that is remembered has one slot; the slot holds the entry's place in the ring.
//! - In a shard, slots stand in the order of their homes (robin hood), without holes between a slot
//!   and its home.
//!
//! # Cost
//! Per id: 24 bytes of entry and 7 to 14 bytes of slot, at most 40 with all slack from 10,000 ids on.
//! A clone costs a pointer for each chunk and shard; who changes one afterwards copies that one.
//! Times are kept in milliseconds, rounded up. A look-up of an unknown id reads tags only.
//! [`Window::expire`] does a bounded step; insertion expires two entries for each it adds.

#![expect(clippy::cast_possible_truncation, reason = "a place keeps its lower half; lengths are bounded by the chunks")]

mod slots;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use event::Moment;
use siphasher::sip128::SipHasher13;

use self::slots::Slots;
use crate::sealed::{DecodeError, Opener, Sealer};

const MAGIC: [u8; 4] = *b"TWIN";
const VERSION: u32 = 1;

/// Bytes of an entry: hash 16, position less the chunk's 4, time less the chunk's 4.
const ENTRY_BYTES: usize = 24;
/// Entries of a chunk: 6 KiB, so that the two chunks at the ring's ends cost little.
const CHUNK_ENTRIES: usize = 256;
/// Entries that one call of [`Window::expire`] forgets at most: under a millisecond.
pub const EXPIRE_STEP: usize = 4096;

/// An id's hash, as [`Window::hash`] makes it.
pub type IdHash = [u8; 16];

/// The window. See the module.
#[derive(Clone)]
pub struct Window {
    key: [u64; 2],
    millis: u64,
    ring: Ring,
    slots: Slots,
}

impl Window {
    /// An empty window of this length, whose hash has this key. The key is random and secret.
    pub fn new(key: [u64; 2], window: Duration) -> Self {
        Window { key, millis: millis_of(window), ring: Ring::default(), slots: Slots::default() }
    }

    /// Sets how long ids are remembered; what is forgotten already stays so.
    pub fn set_window(&mut self, window: Duration) {
        self.millis = millis_of(window);
    }

    /// Ids remembered, those whose time is over but that were not forgotten yet included.
    pub fn len(&self) -> usize {
        self.slots.used
    }

    /// Whether no id is remembered.
    pub fn is_empty(&self) -> bool {
        self.slots.used == 0
    }

    /// Bytes of memory that it takes up, slack included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.ring.bytes() + self.slots.bytes()
    }

    /// The hash by which this window knows an id.
    pub fn hash(&self, id: &[u8]) -> IdHash {
        SipHasher13::new_with_keys(self.key[0], self.key[1]).hash(id).as_bytes()
    }

    /// The position under which an id was inserted, if its time is not over.
    pub fn get(&self, hash: &IdHash, now: Moment) -> Option<u64> {
        let at = self.slots.find(hash, &self.ring)?;
        let entry = self.ring.get(at)?;
        self.is_alive(entry.millis, now).then_some(entry.seq)
    }

    fn is_alive(&self, millis: u64, now: Moment) -> bool {
        // The end is compared in nanoseconds, so that an id is never forgotten a fraction early.
        now.nanos() < millis.saturating_add(self.millis).saturating_mul(NANOS_PER_MILLI)
    }

    /// Remembers that an id was recorded at a position. Where the id is remembered already, the new
    /// position and time take the place of the old.
    pub fn insert(&mut self, hash: IdHash, seq: u64, now: Moment) {
        if self.millis == 0 {
            return;
        }
        self.forget(now, 2);
        let known = self.slots.find(&hash, &self.ring);
        let at = self.ring.push(Entry { hash, seq, millis: now.nanos().div_ceil(NANOS_PER_MILLI) });
        match known {
            Some(old) => self.slots.replace(&hash, old, at),
            None => self.slots.insert(&hash, at, &self.ring),
        }
    }

    /// Forgets ids whose time is over, at most [`EXPIRE_STEP`]; says whether it stopped at that.
    pub fn expire(&mut self, now: Moment) -> bool {
        let more = self.forget(now, EXPIRE_STEP);
        if self.slots.is_sparse() {
            self.slots = Slots::of(&self.ring);
        }
        more
    }

    fn forget(&mut self, now: Moment, most: usize) -> bool {
        for _ in 0..most {
            let Some(entry) = self.ring.get(self.ring.head) else { return false };
            if self.is_alive(entry.millis, now) {
                return false;
            }
            self.slots.remove(&entry.hash, self.ring.head);
            self.ring.pop();
        }
        true
    }

    /// Writes the window, as `docs/format/window.md` draws it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn encode(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut out = Sealer::begin(out, MAGIC, VERSION)?;
        let ring = &self.ring;
        for long in [self.key[0], self.key[1], self.millis, ring.head as u64, ring.last_millis] {
            out.write(&long.to_le_bytes())?;
        }
        let (shards, directory) = (&self.slots.shards, &self.slots.directory);
        for word in [ring.chunks.len(), shards.len(), directory.len()] {
            out.write(&u32::try_from(word).map_err(|_| io::Error::other("too many ids"))?.to_le_bytes())?;
        }
        for chunk in &ring.chunks {
            out.write(&chunk.seq.to_le_bytes())?;
            out.write(&chunk.millis.to_le_bytes())?;
            out.write(&(chunk.entries.len() as u32).to_le_bytes())?;
        }
        for shard in shards {
            for word in [shard.depth, shard.used, shard.tags.len() as u32] {
                out.write(&word.to_le_bytes())?;
            }
        }
        let places: Vec<u8> = directory.iter().flat_map(|place| place.to_le_bytes()).collect();
        out.write(&places)?;
        out.seal()?;
        for chunk in &ring.chunks {
            out.write(chunk.entries.as_flattened())?;
        }
        let mut bytes = Vec::new();
        for shard in shards {
            bytes.clear();
            bytes.extend(shard.tags.iter().flat_map(|tag| tag.to_le_bytes()));
            bytes.extend(shard.places.iter().flat_map(|place| place.to_le_bytes()));
            out.write(&bytes)?;
        }
        out.seal()
    }

    /// Reads a window that [`Window::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] where it is damaged or not such a window.
    pub fn decode(input: &mut dyn io::Read) -> Result<Self, DecodeError> {
        let (mut input, _) = Opener::begin(input, MAGIC, VERSION, "a de-duplication window")?;
        let [key0, key1, millis, head, last_millis] = input.longs::<5>()?;
        let [chunks, shards, directory] = input.words::<3>()?;
        let mut chunk_heads = Vec::new();
        for _ in 0..chunks {
            chunk_heads.push((input.longs::<2>()?, input.words::<1>()?));
        }
        let mut shard_heads = Vec::new();
        for _ in 0..shards {
            shard_heads.push(input.words::<3>()?);
        }
        let mut places = Vec::new();
        for _ in 0..directory {
            places.push(input.words::<1>()?[0]);
        }
        input.check()?;
        let ring = Ring::decode(&mut input, &chunk_heads, head, last_millis)?;
        let slots = Slots::decode(&mut input, &shard_heads, places)?;
        input.check()?;
        if !slots.makes_sense(&ring) {
            return Err(DecodeError::Malformed("its slots and entries do not agree"));
        }
        Ok(Window { key: [key0, key1], millis, ring, slots })
    }
}

const NANOS_PER_MILLI: u64 = 1_000_000;

fn millis_of(window: Duration) -> u64 {
    u64::try_from(window.as_nanos().div_ceil(u128::from(NANOS_PER_MILLI))).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy)]
struct Entry {
    hash: IdHash,
    seq: u64,
    millis: u64,
}

/// Entries in order of insertion. A place counts from the first entry ever; slots keep its lower 32
/// bits, which are enough while less than 2^32 entries are remembered.
#[derive(Clone, Default)]
struct Ring {
    chunks: VecDeque<Chunk>,
    /// Place of the oldest entry. It is in the first chunk.
    head: usize,
    last_millis: u64,
}

#[derive(Clone)]
struct Chunk {
    seq: u64,
    millis: u64,
    entries: Arc<Vec<[u8; ENTRY_BYTES]>>,
}

impl Ring {
    fn start(&self) -> usize {
        self.head - self.head % CHUNK_ENTRIES
    }

    fn end(&self) -> usize {
        match self.chunks.back() {
            None => self.head,
            Some(last) => self.start() + (self.chunks.len() - 1) * CHUNK_ENTRIES + last.entries.len(),
        }
    }

    fn get(&self, at: usize) -> Option<Entry> {
        let offset = at.checked_sub(self.start())?;
        let chunk = self.chunks.get(offset / CHUNK_ENTRIES)?;
        let bytes = chunk.entries.get(offset % CHUNK_ENTRIES)?;
        let (hash, rest) = bytes.split_first_chunk::<16>()?;
        let (seq, millis) = rest.split_first_chunk::<4>()?;
        let millis = millis.first_chunk::<4>()?;
        Some(Entry {
            hash: *hash,
            seq: chunk.seq.saturating_add(u64::from(u32::from_le_bytes(*seq))),
            millis: chunk.millis.saturating_add(u64::from(u32::from_le_bytes(*millis))),
        })
    }

    fn hash_at(&self, place: u32) -> Option<IdHash> {
        self.get(self.whole(place)).map(|entry| entry.hash)
    }

    /// The place whose lower half this is.
    fn whole(&self, place: u32) -> usize {
        let head = self.head as u32;
        self.head + place.wrapping_sub(head) as usize
    }

    fn push(&mut self, mut entry: Entry) -> usize {
        entry.millis = entry.millis.max(self.last_millis);
        self.last_millis = entry.millis;
        let delta = |chunk: &Chunk| {
            let seq = u32::try_from(entry.seq.checked_sub(chunk.seq)?).ok()?;
            Some((seq, u32::try_from(entry.millis - chunk.millis).ok()?))
        };
        let last = self.chunks.back().filter(|chunk| chunk.entries.len() < CHUNK_ENTRIES);
        let (seq, millis) = match last.map(delta) {
            Some(Some(deltas)) => deltas,
            Some(None) => {
                // What does not fit the chunk begins another; the rest of this one is blank.
                if let Some(chunk) = self.chunks.back_mut() {
                    let blank = chunk.entries.last().copied().unwrap_or([0; ENTRY_BYTES]);
                    Arc::make_mut(&mut chunk.entries).resize(CHUNK_ENTRIES, blank);
                }
                self.open_chunk(entry)
            }
            None => self.open_chunk(entry),
        };
        let at = self.end();
        if let Some(chunk) = self.chunks.back_mut() {
            let mut bytes = [0; ENTRY_BYTES];
            bytes[..16].copy_from_slice(&entry.hash);
            bytes[16..20].copy_from_slice(&seq.to_le_bytes());
            bytes[20..].copy_from_slice(&millis.to_le_bytes());
            let entries = Arc::make_mut(&mut chunk.entries);
            if entries.len() == entries.capacity() {
                entries.reserve_exact((entries.len() / 4).max(4).min(CHUNK_ENTRIES - entries.len()));
            }
            entries.push(bytes);
        }
        at
    }

    fn open_chunk(&mut self, entry: Entry) -> (u32, u32) {
        let mut entries = Vec::new();
        if self.chunks.is_empty() {
            // An empty ring starts at a chunk's start.
            self.head = self.head.next_multiple_of(CHUNK_ENTRIES);
        } else {
            entries.reserve_exact(CHUNK_ENTRIES);
        }
        self.chunks.push_back(Chunk { seq: entry.seq, millis: entry.millis, entries: Arc::new(entries) });
        (0, 0)
    }

    fn pop(&mut self) {
        self.head += 1;
        if self.head.is_multiple_of(CHUNK_ENTRIES) || self.end() <= self.head {
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
            self.last_millis = 0;
        }
    }

    fn bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Chunk>()
            + self
                .chunks
                .iter()
                .map(|chunk| size_of_val(&*chunk.entries) + chunk.entries.capacity() * ENTRY_BYTES)
                .sum::<usize>()
    }

    fn decode(
        input: &mut Opener<'_>,
        heads: &[([u64; 2], [u32; 1])],
        head: u64,
        last_millis: u64,
    ) -> Result<Self, DecodeError> {
        let head = usize::try_from(head).map_err(|_| DecodeError::Malformed("its head is too far"))?;
        let mut chunks = VecDeque::with_capacity(heads.len());
        for (number, ([seq, millis], [len])) in heads.iter().enumerate() {
            let len = *len as usize;
            let last = number + 1 == heads.len();
            if len > CHUNK_ENTRIES || len < CHUNK_ENTRIES && !last || *millis > last_millis {
                return Err(DecodeError::Malformed("a chunk has a wrong length or time"));
            }
            let mut entries = vec![[0; ENTRY_BYTES]; len];
            input.fill(entries.as_flattened_mut())?;
            chunks.push_back(Chunk { seq: *seq, millis: *millis, entries: Arc::new(entries) });
        }
        let ring = Ring { chunks, head, last_millis };
        if !ring.chunks.is_empty() && ring.end() <= head {
            return Err(DecodeError::Malformed("its head is behind its end"));
        }
        Ok(ring)
    }
}

#[cfg(test)]
mod tests;

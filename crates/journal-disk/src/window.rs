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
//! Times are kept in milliseconds, rounded up. A look-up of an unknown id reads tags only.
//! [`Window::expire`] does a bounded step; insertion expires two entries for each it adds.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use event::Moment;
use siphasher::sip128::SipHasher13;

use crate::sealed::{DecodeError, Opener, Sealer};

const MAGIC: [u8; 4] = *b"TWIN";
const VERSION: u32 = 1;

/// Bytes of an entry: hash 16, position less the chunk's 4, time less the chunk's 4.
const ENTRY_BYTES: usize = 24;
/// Entries of a chunk: 6 KiB, so that the two chunks at the ring's ends cost little.
const CHUNK_ENTRIES: usize = 256;
/// Slots with which a shard begins.
const SHARD_SLOTS_MIN: usize = 16;
/// Slots beyond which a shard is split. A tag holds the home's 12 bits and 4 more of the hash.
const SHARD_SLOTS_MAX: usize = 4096;
/// Bits of the hash that may choose a shard. 2^32 entries, the most that places can tell apart, need 21.
const DEPTH_MAX: u32 = 24;
/// A shard grows when more than 7 of 8 slots are full.
const LOAD: (usize, usize) = (7, 8);
/// Entries that one call of [`Window::expire`] forgets at most: under a millisecond.
pub const EXPIRE_STEP: usize = 4096;

/// The tag of an empty slot.
const EMPTY: u16 = 0;

/// An id's hash, as [`Window::hash`] makes it.
pub type IdHash = [u8; 16];

/// The window. See the module.
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
#[derive(Default)]
struct Ring {
    chunks: VecDeque<Chunk>,
    /// Place of the oldest entry. It is in the first chunk.
    head: usize,
    last_millis: u64,
}

struct Chunk {
    seq: u64,
    millis: u64,
    entries: Vec<[u8; ENTRY_BYTES]>,
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
                    chunk.entries.resize(CHUNK_ENTRIES, blank);
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
            if chunk.entries.len() == chunk.entries.capacity() {
                chunk.entries.reserve_exact((chunk.entries.len() / 4).max(4).min(CHUNK_ENTRIES - chunk.entries.len()));
            }
            chunk.entries.push(bytes);
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
        self.chunks.push_back(Chunk { seq: entry.seq, millis: entry.millis, entries });
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
            + self.chunks.iter().map(|chunk| chunk.entries.capacity() * ENTRY_BYTES).sum::<usize>()
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
            chunks.push_back(Chunk { seq: *seq, millis: *millis, entries });
        }
        let ring = Ring { chunks, head, last_millis };
        if !ring.chunks.is_empty() && ring.end() <= head {
            return Err(DecodeError::Malformed("its head is behind its end"));
        }
        Ok(ring)
    }
}

/// Slots, in shards chosen by the upper bits of the hash (extendible hashing).
#[derive(Default)]
struct Slots {
    directory: Vec<u32>,
    shards: Vec<Shard>,
    used: usize,
}

/// A tag is 16 bits of the hash; the home of a slot is its tag's lower bits. 0 marks an empty slot,
/// so that a hash of 0 takes another tag of the same home.
struct Shard {
    depth: u32,
    used: u32,
    tags: Vec<u16>,
    places: Vec<u32>,
}

fn tag_of(hash: &IdHash) -> u16 {
    let tag = u16::from_le_bytes([hash[0], hash[1]]);
    if tag == EMPTY { 1 << 15 } else { tag }
}

/// The bits that choose a shard, uppermost first.
fn chooser(hash: &IdHash) -> u32 {
    u32::from_be_bytes([hash[4], hash[5], hash[6], hash[7]])
}

impl Shard {
    fn new(depth: u32, slots: usize) -> Self {
        Shard { depth, used: 0, tags: vec![EMPTY; slots], places: vec![0; slots] }
    }

    fn mask(&self) -> usize {
        self.tags.len() - 1
    }

    fn is_full(&self) -> bool {
        (self.used as usize + 1) * LOAD.1 > self.tags.len() * LOAD.0
    }

    /// How far the slot at `at` stands from its home.
    fn distance(&self, at: usize) -> usize {
        at.wrapping_sub(usize::from(self.tags[at])) & self.mask()
    }

    fn find(&self, tag: u16, mut is: impl FnMut(u32) -> bool) -> Option<usize> {
        let mask = self.mask();
        let mut at = usize::from(tag) & mask;
        for distance in 0..=mask {
            let found = self.tags[at];
            if found == EMPTY || self.distance(at) < distance {
                return None;
            }
            if found == tag && is(self.places[at]) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn insert(&mut self, mut tag: u16, mut place: u32) {
        let mask = self.mask();
        let mut at = usize::from(tag) & mask;
        let mut distance = 0;
        while self.tags[at] != EMPTY {
            let found = self.distance(at);
            if found < distance {
                std::mem::swap(&mut self.tags[at], &mut tag);
                std::mem::swap(&mut self.places[at], &mut place);
                distance = found;
            }
            at = (at + 1) & mask;
            distance += 1;
        }
        self.tags[at] = tag;
        self.places[at] = place;
        self.used += 1;
    }

    fn remove(&mut self, mut at: usize) {
        let mask = self.mask();
        self.used -= 1;
        loop {
            let next = (at + 1) & mask;
            if self.tags[next] == EMPTY || self.distance(next) == 0 {
                self.tags[at] = EMPTY;
                return;
            }
            self.tags[at] = self.tags[next];
            self.places[at] = self.places[next];
            at = next;
        }
    }
}

impl Slots {
    /// Slots for all entries of a ring that are the newest of their id.
    fn of(ring: &Ring) -> Self {
        let mut slots = Slots::default();
        for at in ring.head..ring.end() {
            let Some(entry) = ring.get(at) else { break };
            match slots.find(&entry.hash, ring) {
                Some(old) => slots.replace(&entry.hash, old, at),
                None => slots.insert(&entry.hash, at, ring),
            }
        }
        slots
    }

    fn depth(&self) -> u32 {
        self.directory.len().trailing_zeros()
    }

    fn shard_of(&self, hash: &IdHash) -> usize {
        self.directory[(u64::from(chooser(hash)) >> (32 - self.depth())) as usize] as usize
    }

    fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.tags.len()).sum()
    }

    fn is_sparse(&self) -> bool {
        self.shards.len() > 1 && self.used * 8 < self.capacity()
    }

    fn find(&self, hash: &IdHash, ring: &Ring) -> Option<usize> {
        if self.directory.is_empty() {
            return None;
        }
        let shard = &self.shards[self.shard_of(hash)];
        let at = shard.find(tag_of(hash), |place| ring.hash_at(place).as_ref() == Some(hash))?;
        Some(ring.whole(shard.places[at]))
    }

    fn replace(&mut self, hash: &IdHash, old: usize, new: usize) {
        let shard = self.shard_of(hash);
        let shard = &mut self.shards[shard];
        if let Some(at) = shard.find(tag_of(hash), |place| place == old as u32) {
            shard.places[at] = new as u32;
        }
    }

    fn insert(&mut self, hash: &IdHash, at: usize, ring: &Ring) {
        if self.directory.is_empty() {
            self.directory.push(0);
            self.shards.push(Shard::new(0, SHARD_SLOTS_MIN));
        }
        while self.shards[self.shard_of(hash)].is_full() {
            self.grow(self.shard_of(hash), ring);
        }
        let shard = self.shard_of(hash);
        self.shards[shard].insert(tag_of(hash), at as u32);
        self.used += 1;
    }

    fn remove(&mut self, hash: &IdHash, at: usize) {
        if self.directory.is_empty() {
            return;
        }
        let shard = self.shard_of(hash);
        let shard = &mut self.shards[shard];
        if let Some(at) = shard.find(tag_of(hash), |place| place == at as u32) {
            shard.remove(at);
            self.used -= 1;
        }
        if self.used == 0 {
            *self = Slots::default();
        }
    }

    fn grow(&mut self, index: usize, ring: &Ring) {
        let (depth, slots) = (self.shards[index].depth, self.shards[index].tags.len());
        if slots < SHARD_SLOTS_MAX {
            let old = std::mem::replace(&mut self.shards[index], Shard::new(depth, slots * 2));
            for (tag, place) in old.tags.into_iter().zip(old.places).filter(|(tag, _)| *tag != EMPTY) {
                self.shards[index].insert(tag, place);
            }
            return;
        }
        if depth == self.depth() {
            self.directory = self.directory.iter().flat_map(|shard| [*shard, *shard]).collect();
        }
        let upper = self.shards.len();
        let bit = 1u32 << (31 - depth);
        let old = std::mem::replace(&mut self.shards[index], Shard::new(depth + 1, slots));
        self.shards.push(Shard::new(depth + 1, slots));
        for (tag, place) in old.tags.into_iter().zip(old.places).filter(|(tag, _)| *tag != EMPTY) {
            let is_upper = ring.hash_at(place).is_some_and(|hash| chooser(&hash) & bit != 0);
            self.shards[if is_upper { upper } else { index }].insert(tag, place);
        }
        let step = self.depth() - depth - 1;
        for (place, shard) in self.directory.iter_mut().enumerate() {
            if *shard as usize == index && place >> step & 1 == 1 {
                *shard = upper as u32;
            }
        }
    }

    fn bytes(&self) -> usize {
        let of = |shard: &Shard| shard.tags.capacity() * 2 + shard.places.capacity() * 4;
        self.directory.capacity() * 4
            + self.shards.capacity() * size_of::<Shard>()
            + self.shards.iter().map(of).sum::<usize>()
    }

    fn decode(input: &mut Opener<'_>, heads: &[[u32; 3]], directory: Vec<u32>) -> Result<Self, DecodeError> {
        let mut slots = Slots { directory, ..Slots::default() };
        let mut bytes = Vec::new();
        for [depth, used, len] in heads {
            if !len.is_power_of_two() || *len as usize > SHARD_SLOTS_MAX {
                return Err(DecodeError::Malformed("a shard's length is not a power of two within bounds"));
            }
            bytes.resize(*len as usize * 6, 0);
            input.fill(&mut bytes)?;
            let (tags, places) = bytes.split_at(*len as usize * 2);
            let tags = tags.as_chunks().0.iter().map(|tag| u16::from_le_bytes(*tag)).collect();
            let places = places.as_chunks().0.iter().map(|place| u32::from_le_bytes(*place)).collect();
            slots.shards.push(Shard { depth: *depth, used: *used, tags, places });
            slots.used += *used as usize;
        }
        Ok(slots)
    }

    /// Whether every walk ends and no slot points outside the ring.
    fn makes_sense(&self, ring: &Ring) -> bool {
        let entries = ring.end() - ring.head;
        let inside = |place: u32| ring.whole(place) - ring.head < entries;
        let shard_does = |shard: &Shard| {
            let used = shard.tags.iter().zip(&shard.places).filter(|(tag, _)| **tag != EMPTY);
            let sound = used.clone().all(|(_, place)| inside(*place));
            sound && used.count() == shard.used as usize && (shard.used as usize) < shard.tags.len()
        };
        (self.directory.len().is_power_of_two() || self.directory.is_empty() && self.shards.is_empty())
            && self.directory.len() <= 1 << DEPTH_MAX
            && self.directory.iter().all(|shard| (*shard as usize) < self.shards.len())
            && self.shards.iter().all(|shard| shard.depth <= self.depth() && shard_does(shard))
    }
}

#[cfg(test)]
#[path = "window/tests.rs"]
mod tests;

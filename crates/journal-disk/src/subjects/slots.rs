//! The slots of a subject table: from a subject's hash to its id.

#![expect(clippy::cast_possible_truncation, reason = "a slot packs hash and id")]

use std::sync::Arc;

use crate::sealed::{DecodeError, Opener};

/// Slots with which a shard begins.
const SHARD_SLOTS_MIN: usize = 16;
/// Slots beyond which a shard is split: bounds what one insertion moves, to 64 KiB.
pub const SHARD_SLOTS_MAX: usize = 8192;
/// Bits of the hash that may choose a shard: bounds the directory, to 1 MiB.
const DEPTH_MAX: u32 = 18;
/// A shard grows when more than 13 of 16 slots are full: 10 to 20 bytes of slots per subject.
const LOAD: (usize, usize) = (13, 16);

const EMPTY: u64 = u64::MAX;

const _: () = assert!(SHARD_SLOTS_MAX.is_power_of_two() && SHARD_SLOTS_MIN.is_power_of_two());

/// Slots, in shards chosen by the upper bits of the hash (extendible hashing). A slot is the hash
/// in the upper half and the id in the lower.
#[derive(Clone, Default)]
pub struct Slots {
    /// By the upper bits of the hash; as many places as a power of two, or none yet.
    pub directory: Vec<u32>,
    pub shards: Vec<Arc<Shard>>,
}

#[derive(Clone)]
pub struct Shard {
    /// How many upper bits of the hash all its slots share.
    pub depth: u32,
    pub used: u32,
    pub slots: Vec<u64>,
}

impl Shard {
    fn new(depth: u32, slots: usize) -> Self {
        Shard { depth, used: 0, slots: vec![EMPTY; slots] }
    }

    fn is_full(&self) -> bool {
        (self.used as usize + 1) * LOAD.1 > self.slots.len() * LOAD.0
    }

    /// The slot's place, walking from its home to the first empty slot.
    fn place(&self, hash: u32, mut is: impl FnMut(u64) -> bool) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut place = hash as usize & mask;
        loop {
            let slot = self.slots[place];
            if slot == EMPTY {
                return None;
            }
            if (slot >> 32) as u32 == hash && is(slot) {
                return Some(place);
            }
            place = (place + 1) & mask;
        }
    }

    fn insert(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut place = (slot >> 32) as usize & mask;
        while self.slots[place] != EMPTY {
            place = (place + 1) & mask;
        }
        self.slots[place] = slot;
        self.used += 1;
    }

    /// Empties a place, and moves those behind it up, so that every slot is still found.
    fn remove(&mut self, mut hole: usize) {
        let mask = self.slots.len() - 1;
        self.used -= 1;
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let slot = self.slots[place];
            if slot == EMPTY {
                break;
            }
            let home = (slot >> 32) as usize & mask;
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = place;
            }
        }
        self.slots[hole] = EMPTY;
    }
}

impl Slots {
    fn depth(&self) -> u32 {
        self.directory.len().trailing_zeros()
    }

    fn shard_of(&self, hash: u32) -> usize {
        self.directory[(u64::from(hash) >> (32 - self.depth())) as usize] as usize
    }

    pub fn find(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.directory.is_empty() {
            return None;
        }
        let shard = &self.shards[self.shard_of(hash)];
        shard.place(hash, |slot| is(slot as u32)).map(|place| shard.slots[place] as u32)
    }

    pub fn insert(&mut self, hash: u32, id: u32) {
        if self.directory.is_empty() {
            self.directory.push(0);
            self.shards.push(Arc::new(Shard::new(0, SHARD_SLOTS_MIN)));
        }
        while self.shards[self.shard_of(hash)].is_full() {
            self.grow(self.shard_of(hash));
        }
        let shard = self.shard_of(hash);
        Arc::make_mut(&mut self.shards[shard]).insert(u64::from(hash) << 32 | u64::from(id));
    }

    pub fn remove(&mut self, hash: u32, id: u32) {
        if self.directory.is_empty() {
            return;
        }
        let shard = self.shard_of(hash);
        let shard = &mut self.shards[shard];
        if let Some(place) = shard.place(hash, |slot| slot as u32 == id) {
            Arc::make_mut(shard).remove(place);
        }
    }

    fn grow(&mut self, index: usize) {
        let (depth, slots) = (self.shards[index].depth, self.shards[index].slots.len());
        if slots < SHARD_SLOTS_MAX || depth == DEPTH_MAX {
            let mut grown = Shard::new(depth, slots * 2);
            self.shards[index].slots.iter().filter(|slot| **slot != EMPTY).for_each(|slot| grown.insert(*slot));
            self.shards[index] = Arc::new(grown);
            return;
        }
        if depth == self.depth() {
            self.directory = self.directory.iter().flat_map(|shard| [*shard, *shard]).collect();
        }
        let upper = self.shards.len();
        let bit = 1u64 << (63 - depth);
        let (mut low, mut high) = (Shard::new(depth + 1, slots), Shard::new(depth + 1, slots));
        for slot in self.shards[index].slots.iter().filter(|slot| **slot != EMPTY) {
            if slot & bit == 0 { low.insert(*slot) } else { high.insert(*slot) }
        }
        self.shards[index] = Arc::new(low);
        self.shards.push(Arc::new(high));
        let step = self.depth() - depth - 1;
        for (place, shard) in self.directory.iter_mut().enumerate() {
            if *shard as usize == index && place >> step & 1 == 1 {
                *shard = upper as u32;
            }
        }
    }

    pub fn bytes(&self) -> usize {
        self.directory.capacity() * 4
            + self.shards.capacity() * size_of::<Arc<Shard>>()
            + self.shards.iter().map(|shard| size_of::<Shard>() + shard.slots.capacity() * 8).sum::<usize>()
    }

    pub fn decode(input: &mut Opener<'_>, heads: &[u32], directory: Vec<u32>) -> Result<Self, DecodeError> {
        let mut shards = Vec::with_capacity(heads.len() / 3);
        let mut bytes = Vec::new();
        for [depth, used, len] in heads.as_chunks::<3>().0 {
            if !len.is_power_of_two() || used >= len {
                return Err(DecodeError::Malformed("a shard's length is not a power of two above its use"));
            }
            bytes.resize(*len as usize * 8, 0);
            input.fill(&mut bytes)?;
            let slots = bytes.as_chunks().0.iter().map(|slot| u64::from_le_bytes(*slot)).collect();
            shards.push(Arc::new(Shard { depth: *depth, used: *used, slots }));
        }
        Ok(Slots { directory, shards })
    }

    /// Whether every walk ends and every id has a row.
    pub fn makes_sense(&self, rows: u32, live: u32) -> bool {
        let ids_in = |shard: &Arc<Shard>| shard.slots.iter().all(|slot| *slot == EMPTY || (*slot as u32) < rows);
        let used = |shard: &Arc<Shard>| shard.slots.iter().filter(|slot| **slot != EMPTY).count() as u64;
        let deep = |shard: &Arc<Shard>| shard.depth <= self.depth();
        (self.directory.len().is_power_of_two() || self.directory.is_empty() && self.shards.is_empty())
            && self.directory.len() <= 1 << DEPTH_MAX
            && self.directory.iter().all(|shard| (*shard as usize) < self.shards.len())
            && self.shards.iter().all(|shard| ids_in(shard) && deep(shard) && used(shard) == u64::from(shard.used))
            && self.shards.iter().map(|shard| u64::from(shard.used)).sum::<u64>() == u64::from(live)
    }
}

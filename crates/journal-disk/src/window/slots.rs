//! The slots of a de-duplication window: from an id's hash to its entry's place in the ring.

#![expect(clippy::cast_possible_truncation, reason = "a place keeps its lower half; lengths are bounded by the shards")]

use std::sync::Arc;

use super::{IdHash, Ring};
use crate::sealed::{DecodeError, Opener};

/// Slots with which a shard begins.
const SHARD_SLOTS_MIN: usize = 16;
/// Slots beyond which a shard is split. A tag holds the home's 12 bits and 4 more of the hash.
const SHARD_SLOTS_MAX: usize = 4096;
/// Bits of the hash that may choose a shard. 2^32 entries, the most that places can tell apart, need 21.
const DEPTH_MAX: u32 = 24;
/// A shard grows when more than 7 of 8 slots are full.
const LOAD: (usize, usize) = (7, 8);
/// The tag of an empty slot.
const EMPTY: u16 = 0;

/// Slots, in shards chosen by the upper bits of the hash (extendible hashing).
#[derive(Clone, Default)]
pub struct Slots {
    pub directory: Vec<u32>,
    pub shards: Vec<Arc<Shard>>,
    pub used: usize,
}

/// A tag is 16 bits of the hash; the home of a slot is its tag's lower bits. 0 marks an empty slot,
/// so that a hash of 0 takes another tag of the same home.
#[derive(Clone)]
pub struct Shard {
    pub depth: u32,
    pub used: u32,
    pub tags: Vec<u16>,
    pub places: Vec<u32>,
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

    /// Gives all slots that are full.
    fn each(&self, mut give: impl FnMut(u16, u32)) {
        let full = self.tags.iter().zip(&self.places).filter(|(tag, _)| **tag != EMPTY);
        full.for_each(|(tag, place)| give(*tag, *place));
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
    pub fn of(ring: &Ring) -> Self {
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

    pub fn is_sparse(&self) -> bool {
        self.shards.len() > 1 && self.used * 8 < self.capacity()
    }

    pub fn find(&self, hash: &IdHash, ring: &Ring) -> Option<usize> {
        if self.directory.is_empty() {
            return None;
        }
        let shard = &self.shards[self.shard_of(hash)];
        let at = shard.find(tag_of(hash), |place| ring.hash_at(place).as_ref() == Some(hash))?;
        Some(ring.whole(shard.places[at]))
    }

    pub fn replace(&mut self, hash: &IdHash, old: usize, new: usize) {
        let shard = self.shard_of(hash);
        let shard = &mut self.shards[shard];
        if let Some(at) = shard.find(tag_of(hash), |place| place == old as u32) {
            Arc::make_mut(shard).places[at] = new as u32;
        }
    }

    pub fn insert(&mut self, hash: &IdHash, at: usize, ring: &Ring) {
        if self.directory.is_empty() {
            self.directory.push(0);
            self.shards.push(Arc::new(Shard::new(0, SHARD_SLOTS_MIN)));
        }
        while self.shards[self.shard_of(hash)].is_full() {
            self.grow(self.shard_of(hash), ring);
        }
        let shard = self.shard_of(hash);
        Arc::make_mut(&mut self.shards[shard]).insert(tag_of(hash), at as u32);
        self.used += 1;
    }

    pub fn remove(&mut self, hash: &IdHash, at: usize) {
        if self.directory.is_empty() {
            return;
        }
        let shard = self.shard_of(hash);
        let shard = &mut self.shards[shard];
        if let Some(at) = shard.find(tag_of(hash), |place| place == at as u32) {
            Arc::make_mut(shard).remove(at);
            self.used -= 1;
        }
        if self.used == 0 {
            *self = Slots::default();
        }
    }

    fn grow(&mut self, index: usize, ring: &Ring) {
        let (depth, slots) = (self.shards[index].depth, self.shards[index].tags.len());
        if slots < SHARD_SLOTS_MAX {
            let mut grown = Shard::new(depth, slots * 2);
            self.shards[index].each(|tag, place| grown.insert(tag, place));
            self.shards[index] = Arc::new(grown);
            return;
        }
        if depth == self.depth() {
            self.directory = self.directory.iter().flat_map(|shard| [*shard, *shard]).collect();
        }
        let upper = self.shards.len();
        let bit = 1u32 << (31 - depth);
        let (mut low, mut high) = (Shard::new(depth + 1, slots), Shard::new(depth + 1, slots));
        self.shards[index].each(|tag, place| {
            let is_upper = ring.hash_at(place).is_some_and(|hash| chooser(&hash) & bit != 0);
            if is_upper { high.insert(tag, place) } else { low.insert(tag, place) }
        });
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
        let of = |shard: &Arc<Shard>| size_of::<Shard>() + shard.tags.capacity() * 2 + shard.places.capacity() * 4;
        self.directory.capacity() * 4
            + self.shards.capacity() * size_of::<Arc<Shard>>()
            + self.shards.iter().map(of).sum::<usize>()
    }

    pub fn decode(input: &mut Opener<'_>, heads: &[[u32; 3]], directory: Vec<u32>) -> Result<Self, DecodeError> {
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
            slots.shards.push(Arc::new(Shard { depth: *depth, used: *used, tags, places }));
            slots.used += *used as usize;
        }
        Ok(slots)
    }

    /// Whether every walk ends and no slot points outside the ring.
    pub fn makes_sense(&self, ring: &Ring) -> bool {
        let entries = ring.end() - ring.head;
        let inside = |place: u32| ring.whole(place) - ring.head < entries;
        let shard_does = |shard: &Arc<Shard>| {
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

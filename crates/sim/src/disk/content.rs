//! What one file holds: what is read back now, and what would survive.
//!
//! A file is sectors; a sector that is not there is zero. Beside the sectors as they are read
//! (**live**, the page cache) stand the **durable** ones, and for each sector written since the
//! last sync every version that it had. A crash gives each such sector its durable or any later
//! version, independently: so writes tear, come late and change places.
//!
//! Invariants: bytes of a sector beyond the file's length are zero; a sector in `dirty` has at
//! least one version.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chance::Chance;

/// What is written whole or not at all, in bytes: what disks promise.
pub const SECTOR_BYTES: u64 = 512;

/// [`SECTOR_BYTES`], as a length.
pub const SECTOR_LEN: usize = 512;

/// A sector's bytes; `None`: all zero.
type Sector = Option<Arc<[u8; SECTOR_LEN]>>;

/// How a crash treats what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Everything unsynced is lost.
    Lost,
    /// Everything unsynced was written in time.
    Kept,
    /// Each sector is kept so many times in 256.
    Torn(u64),
}

impl Fate {
    /// Draws one.
    pub fn draw(chance: &mut Chance) -> Fate {
        match chance.below(8) {
            0 | 1 => Fate::Lost,
            2 => Fate::Kept,
            _ => Fate::Torn(chance.between(8, 248)),
        }
    }
}

/// A file's content.
#[derive(Debug, Clone, Default)]
pub struct Content {
    live: BTreeMap<u64, Arc<[u8; SECTOR_LEN]>>,
    live_len: u64,
    durable: BTreeMap<u64, Arc<[u8; SECTOR_LEN]>>,
    durable_len: u64,
    dirty: BTreeMap<u64, Vec<Sector>>,
    lens: Vec<u64>,
    /// A bit for each sector that has room on the disk.
    room: Vec<u64>,
    room_count: u64,
}

impl Content {
    /// Its length now.
    pub fn len(&self) -> u64 {
        self.live_len
    }

    /// Sectors that it takes up.
    pub fn sectors(&self) -> u64 {
        self.room_count
    }

    fn has_room(&self, sector: u64) -> bool {
        let word = usize::try_from(sector / 64).ok().and_then(|place| self.room.get(place));
        word.is_some_and(|word| word & (1 << (sector % 64)) != 0)
    }

    fn make_room(&mut self, sector: u64) {
        let Ok(place) = usize::try_from(sector / 64) else { return };
        if self.room.len() <= place {
            self.room.resize(place + 1, 0);
        }
        let bit = 1 << (sector % 64);
        if let Some(word) = self.room.get_mut(place).filter(|word| **word & bit == 0) {
            *word |= bit;
            self.room_count += 1;
        }
    }

    fn recount_room(&mut self) {
        let end = self.live_len.div_ceil(SECTOR_BYTES);
        for (place, word) in self.room.iter_mut().enumerate() {
            let first = place as u64 * 64;
            if first >= end {
                *word = 0;
            } else if end - first < 64 {
                *word &= (1 << (end - first)) - 1;
            }
        }
        self.room_count = self.room.iter().map(|word| u64::from(word.count_ones())).sum();
    }

    fn set_live(&mut self, sector: u64, bytes: Sector) {
        self.dirty.entry(sector).or_default().push(bytes.clone());
        match bytes {
            Some(bytes) => self.live.insert(sector, bytes),
            None => self.live.remove(&sector),
        };
    }

    fn set_live_len(&mut self, len: u64) {
        if len != self.live_len {
            self.live_len = len;
            self.lens.push(len);
        }
    }

    /// Reads; gives how many bytes there were.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let there = usize::try_from(self.live_len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buffer.len().min(there);
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let inside = usize::try_from(at % SECTOR_BYTES).unwrap_or(0);
            let step = (SECTOR_LEN - inside).min(count - done);
            let target = &mut buffer[done..done + step];
            match self.live.get(&(at / SECTOR_BYTES)) {
                Some(sector) => target.copy_from_slice(&sector[inside..inside + step]),
                None => target.fill(0),
            }
            done += step;
        }
        count
    }

    /// Writes as far as `free` new sectors reach, and takes from it what was used; gives how many
    /// bytes were written.
    pub fn write(&mut self, bytes: &[u8], offset: u64, free: &mut u64) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let number = at / SECTOR_BYTES;
            if !self.has_room(number) {
                if *free == 0 {
                    break;
                }
                *free -= 1;
                self.make_room(number);
            }
            let inside = usize::try_from(at % SECTOR_BYTES).unwrap_or(0);
            let step = (SECTOR_LEN - inside).min(bytes.len() - done);
            let mut sector = self.live.get(&number).map_or([0; SECTOR_LEN], |sector| **sector);
            sector[inside..inside + step].copy_from_slice(&bytes[done..done + step]);
            self.set_live(number, Some(Arc::new(sector)));
            done += step;
        }
        self.set_live_len(self.live_len.max(offset + done as u64));
        done
    }

    /// Takes room up to `len` and extends the file to it; gives `false`, and takes none, where
    /// `free` sectors are too few.
    pub fn allocate(&mut self, len: u64, free: u64) -> bool {
        let sectors = len.div_ceil(SECTOR_BYTES);
        let missing = (0..sectors).filter(|sector| !self.has_room(*sector)).count() as u64;
        if missing > free {
            return false;
        }
        for sector in 0..sectors {
            self.make_room(sector);
        }
        self.set_live_len(self.live_len.max(len));
        true
    }

    /// Cuts or extends. Extending takes no room.
    pub fn set_len(&mut self, len: u64) {
        if len < self.live_len {
            let gone: Vec<u64> = self.live.range(len.div_ceil(SECTOR_BYTES)..).map(|(sector, _)| *sector).collect();
            for sector in gone {
                self.set_live(sector, None);
            }
            let cut = self.live.get(&(len / SECTOR_BYTES)).map(|sector| masked(sector, len % SECTOR_BYTES));
            if let Some(cut) = cut {
                self.set_live(len / SECTOR_BYTES, Some(cut));
            }
        }
        self.set_live_len(len);
        self.recount_room();
    }

    /// Makes everything durable.
    pub fn sync(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            put(&mut self.durable, sector, versions.into_iter().next_back().flatten());
        }
        self.lens.clear();
        self.durable_len = self.live_len;
    }

    /// A sync that fails: some sectors are written, the others will never be, though they read back
    /// as if they were. The length stays unsynced.
    pub fn fail_sync(&mut self, chance: &mut Chance) {
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            if chance.happens(1, 2) {
                put(&mut self.durable, sector, versions.into_iter().next_back().flatten());
            }
        }
    }

    /// Loses power: what survives is all that is left.
    pub fn crash(&mut self, fate: Fate, chance: &mut Chance) {
        let cut = self.settle_len(fate, chance);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let kept = match fate {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Torn(times) => chance.happens(times, 256),
            };
            if kept {
                let newest = versions.len() - 1;
                let older = fate != Fate::Kept && newest > 0 && chance.happens(1, 4);
                let place = if older { chance.index(newest) } else { newest };
                put(&mut self.durable, sector, versions.into_iter().nth(place).flatten());
            } else if sector * SECTOR_BYTES >= cut {
                self.durable.remove(&sector);
            }
        }
        let gone: Vec<u64> =
            self.durable.range(self.durable_len.div_ceil(SECTOR_BYTES)..).map(|(sector, _)| *sector).collect();
        for sector in gone {
            self.durable.remove(&sector);
        }
        if let Some(last) = self.durable.get_mut(&(self.durable_len / SECTOR_BYTES)) {
            *last = masked(last, self.durable_len % SECTOR_BYTES);
        }
        self.live.clone_from(&self.durable);
        self.live_len = self.durable_len;
        for sector in self.durable.keys().copied().collect::<Vec<_>>() {
            self.make_room(sector);
        }
        self.recount_room();
    }

    /// Decides which length survives; gives the shortest that the file had on the way to it, since
    /// a cut that survives frees what lay beyond.
    fn settle_len(&mut self, fate: Fate, chance: &mut Chance) -> u64 {
        let mut lens = std::mem::take(&mut self.lens);
        lens.insert(0, self.durable_len);
        let survivor = match fate {
            Fate::Lost => 0,
            Fate::Kept => lens.len() - 1,
            Fate::Torn(_) => chance.index(lens.len()),
        };
        lens.truncate(survivor + 1);
        self.durable_len = lens.last().copied().unwrap_or(self.durable_len);
        lens.into_iter().min().unwrap_or(0)
    }

    /// Offsets of the sectors that hold bytes other than zero, durably.
    pub fn written(&self) -> impl Iterator<Item = u64> + '_ {
        self.durable.keys().map(|sector| sector * SECTOR_BYTES)
    }

    /// Flips a bit of a sector that was written, on the disk and in what is read back.
    pub fn flip(&mut self, offset: u64, bit: u8) {
        let (number, inside) = (offset / SECTOR_BYTES, usize::try_from(offset % SECTOR_BYTES).unwrap_or(0));
        for sectors in [&mut self.live, &mut self.durable] {
            if let Some(sector) = sectors.get_mut(&number) {
                Arc::make_mut(sector)[inside] ^= 1 << (bit % 8);
            }
        }
    }

    /// Calls `each` with all that makes this content differ from another, in order.
    pub fn describe(&self, each: &mut impl FnMut(&[u8])) {
        each(&self.live_len.to_le_bytes());
        each(&self.durable_len.to_le_bytes());
        for sectors in [&self.live, &self.durable] {
            for (number, sector) in sectors {
                if sector.iter().any(|byte| *byte != 0) {
                    each(&number.to_le_bytes());
                    each(&sector[..]);
                }
            }
        }
    }
}

fn masked(sector: &[u8; SECTOR_LEN], len: u64) -> Arc<[u8; SECTOR_LEN]> {
    let mut bytes = *sector;
    bytes[usize::try_from(len).unwrap_or(0)..].fill(0);
    Arc::new(bytes)
}

fn put(sectors: &mut BTreeMap<u64, Arc<[u8; SECTOR_LEN]>>, number: u64, bytes: Sector) {
    match bytes {
        Some(bytes) => sectors.insert(number, bytes),
        None => sectors.remove(&number),
    };
}

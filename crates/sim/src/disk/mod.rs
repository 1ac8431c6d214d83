//! A disk in memory that behaves as badly as a real one may.
//!
//! It keeps what [`journal_disk::disk`] asks of a disk and not a bit more:
//! - what was written and not synced survives a power failure sector by sector, in any order, or
//!   not at all ([`SimDisk::crash`]); a process that dies loses nothing ([`SimDisk::kill`]);
//! - names survive only once their directory was synced;
//! - a sync that fails leaves bytes that read back and are not on the disk, as Linux does, and the
//!   next sync says nothing of them;
//! - it fills up in the middle of a write, and gets room again;
//! - writes, syncs and reads fail when told to, and the power fails in the middle of anything;
//! - bits of what was synced flip.
//!
//! All chance comes from a seed. It knows no time. A power failure makes every open file and lock
//! useless: what was opened before gives errors, as to a program that is no more.
//!
//! Cost: memory for every sector ever written and not removed, and a tree walk per sector; a full
//! walk of all names for each file created, written beyond its room, or dropped.

mod content;
mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal_disk::disk::{Disk, File};

use crate::chance::Chance;
pub use content::SECTOR_BYTES;
use names::{Number, Tree};

/// A fault that comes by countdown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Countdown {
    /// How many go well before.
    pub after: u64,
    /// How many then fail.
    pub times: u64,
}

impl Countdown {
    fn strikes(&mut self) -> bool {
        if self.times == 0 {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// The faults that lie ahead. Default: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Writes that fail, part of them written.
    pub writes: Countdown,
    /// Syncs, of files and of directories, that fail.
    pub syncs: Countdown,
    /// Reads that fail.
    pub reads: Countdown,
    /// Whether all changes are refused, as on a disk mounted read-only.
    pub read_only: bool,
    /// Changes and syncs after which the power fails.
    pub power: Option<u64>,
}

/// A bit that was flipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    /// The file.
    pub path: String,
    /// The byte, from the file's start.
    pub offset: u64,
    /// Which of its bits, 0 to 7.
    pub bit: u8,
}

/// What was done to the disk so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Faults that struck.
    pub faults: u64,
}

/// The disk. A clone is another handle to the same one.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    tree: Tree,
    /// Handles open in this generation, by file.
    open: BTreeMap<Number, u64>,
    /// Grows with each crash: what was opened before is of no use.
    generation: u64,
    locked: bool,
    down: bool,
    /// Sectors that the disk has.
    capacity: Option<u64>,
    used: u64,
    faults: Faults,
    chance: Chance,
    counts: Counts,
}

struct SimFile {
    state: Arc<Mutex<State>>,
    number: Number,
    generation: u64,
}

struct SimLock {
    state: Arc<Mutex<State>>,
    generation: u64,
}

fn failed(what: &str) -> io::Error {
    io::Error::other(format!("simulated disk: {what}"))
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "simulated disk: no space left")
}

fn hold(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimDisk {
    /// An empty disk without limits or faults. The seed decides how failures tear.
    pub fn new(seed: u64) -> Self {
        let state = State {
            tree: Tree::new(),
            open: BTreeMap::new(),
            generation: 0,
            locked: false,
            down: false,
            capacity: None,
            used: 0,
            faults: Faults::default(),
            chance: Chance::new(seed),
            counts: Counts::default(),
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Sets the faults that lie ahead, in place of those that did.
    pub fn set_faults(&self, faults: Faults) {
        hold(&self.state).faults = faults;
    }

    /// The faults that still lie ahead.
    pub fn faults(&self) -> Faults {
        hold(&self.state).faults
    }

    /// Sets how many bytes the disk has; `None`: without limit. It may have fewer than are used.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        hold(&self.state).capacity = bytes.map(|bytes| bytes / SECTOR_BYTES);
    }

    /// Bytes used.
    pub fn used(&self) -> u64 {
        hold(&self.state).used * SECTOR_BYTES
    }

    /// Whether the power failed, or a program was told that it was killed.
    pub fn is_down(&self) -> bool {
        hold(&self.state).down
    }

    /// The power fails and comes back: unsynced writes and names survive as chance has it.
    pub fn crash(&self, chance: &mut Chance) {
        let mut state = hold(&self.state);
        state.end_generation();
        state.tree.crash(chance);
        state.recount();
    }

    /// The program dies; the machine goes on: nothing is lost.
    pub fn kill(&self) {
        let mut state = hold(&self.state);
        state.end_generation();
        let State { tree, open, .. } = &mut *state;
        tree.sweep(open);
        state.recount();
    }

    /// Flips a bit that was written to a file whose path `wanted` takes; `None` where none was.
    pub fn flip(&self, chance: &mut Chance, wanted: impl Fn(&str) -> bool) -> Option<Flip> {
        let mut state = hold(&self.state);
        let files = state.tree.files();
        let files: Vec<_> = files.into_iter().filter(|(path, _)| wanted(path)).collect();
        let (path, number) = chance.pick(&files)?.clone();
        let content = state.tree.file(number)?;
        let sectors: Vec<u64> = content.written().collect();
        let offset = chance.pick(&sectors)? + chance.below(SECTOR_BYTES);
        let offset = offset.min(content.len().saturating_sub(1));
        let bit = u8::try_from(chance.below(8)).unwrap_or(0);
        content.flip(offset, bit);
        Some(Flip { path, offset, bit })
    }

    /// Flips a given bit; `false` where there is no such file.
    pub fn flip_at(&self, flip: &Flip) -> bool {
        let mut state = hold(&self.state);
        let Some(number) = state.tree.find(&flip.path).ok() else { return false };
        state.tree.file(number).map(|content| content.flip(flip.offset, flip.bit)).is_some()
    }

    /// Every file with its length, in order of the paths.
    pub fn files(&self) -> Vec<(String, u64)> {
        let mut state = hold(&self.state);
        let files = state.tree.files();
        files.into_iter().map(|(path, number)| (path, state.tree.file(number).map_or(0, |file| file.len()))).collect()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        hold(&self.state).counts
    }

    /// A number that all bytes, lengths and names, live and durable, decide.
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        hold(&self.state).tree.describe(&mut |bytes| digest.take(bytes));
        digest.value()
    }
}

/// A number that a run of bytes decides. Tells runs apart; no protection against malice.
#[derive(Debug, Clone, Copy)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Takes bytes in; where one take ends and the next begins counts.
    pub fn take(&mut self, bytes: &[u8]) {
        let mut mix = |word: u64| {
            self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        };
        mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            mix(u64::from_le_bytes(word));
        }
    }

    /// The number.
    pub fn value(self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

impl State {
    fn end_generation(&mut self) {
        self.generation += 1;
        self.open.clear();
        self.locked = false;
        self.down = false;
        self.faults.power = None;
    }

    fn recount(&mut self) {
        self.used = self.tree.sectors(&self.open);
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used))
    }

    fn alive(&self) -> io::Result<()> {
        if self.down { Err(failed("the power is off")) } else { Ok(()) }
    }

    /// What stands before every change and sync.
    fn change(&mut self) -> io::Result<()> {
        self.alive()?;
        match &mut self.faults.power {
            Some(0) => {
                self.down = true;
                self.counts.faults += 1;
                return Err(failed("the power is off"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        if self.faults.read_only {
            self.counts.faults += 1;
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "simulated disk: read-only"));
        }
        Ok(())
    }

    fn handle(state: &Arc<Mutex<State>>, this: &mut State, number: Number) -> Arc<dyn File> {
        *this.open.entry(number).or_insert(0) += 1;
        Arc::new(SimFile { state: Arc::clone(state), number, generation: this.generation })
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut state = hold(&self.state);
        state.change()?;
        let number = state.tree.create(path)?;
        Ok(State::handle(&self.state, &mut state, number))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut state = hold(&self.state);
        state.alive()?;
        let number = state.tree.find(path)?;
        if state.tree.file(number).is_none() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                format!("simulated disk: '{path}' is a directory"),
            ));
        }
        Ok(State::handle(&self.state, &mut state, number))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = hold(&self.state);
        state.alive()?;
        state.tree.list(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = hold(&self.state);
        state.change()?;
        state.tree.rename(from, to)?;
        state.recount();
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = hold(&self.state);
        state.change()?;
        state.tree.remove(path)?;
        state.recount();
        Ok(())
    }

    fn make_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = hold(&self.state);
        state.change()?;
        state.tree.make_dir(dir)
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = hold(&self.state);
        state.change()?;
        state.tree.remove_dir(dir)?;
        state.recount();
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = hold(&self.state);
        state.change()?;
        state.counts.syncs += 1;
        if state.faults.syncs.strikes() {
            state.counts.faults += 1;
            return Err(failed("input/output error at sync of a directory"));
        }
        state.tree.sync_dir(dir)
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = hold(&self.state);
        state.alive()?;
        if state.locked {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "simulated disk: process 1 has it"));
        }
        state.locked = true;
        Ok(Box::new(SimLock { state: Arc::clone(&self.state), generation: state.generation }))
    }
}

impl SimFile {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = hold(&self.state);
        if state.generation != self.generation {
            return Err(failed("the file was opened before the crash"));
        }
        state.alive()?;
        work(&mut state)
    }
}

fn gone() -> io::Error {
    failed("the file is gone")
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state| {
            state.counts.reads += 1;
            if state.faults.reads.strikes() {
                state.counts.faults += 1;
                return Err(failed("input/output error at read"));
            }
            Ok(state.tree.file(self.number).ok_or_else(gone)?.read(buffer, offset))
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state| {
            let dies = state.change();
            if dies.is_err() && !state.down {
                return dies;
            }
            state.counts.writes += 1;
            let strikes = dies.is_err() || state.faults.writes.strikes();
            let part = if strikes { state.chance.index(bytes.len() + 1) } else { bytes.len() };
            let before = state.free();
            let mut free = before;
            let file = state.tree.file(self.number).ok_or_else(gone)?;
            let written = file.write(&bytes[..part], offset, &mut free);
            state.used += before - free;
            if strikes {
                state.counts.faults += u64::from(dies.is_ok());
                return dies.and(Err(failed("input/output error at write")));
            }
            if written < bytes.len() {
                state.counts.faults += 1;
                return Err(full());
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.tree.file(self.number).ok_or_else(gone)?.len()))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.with(|state| {
            state.change()?;
            let free = state.free();
            let file = state.tree.file(self.number).ok_or_else(gone)?;
            let before = file.sectors();
            if !file.allocate(len, free) {
                state.counts.faults += 1;
                return Err(full());
            }
            let taken = file.sectors() - before;
            state.used += taken;
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state| {
            state.change()?;
            state.tree.file(self.number).ok_or_else(gone)?.set_len(len);
            state.recount();
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            state.change()?;
            state.counts.syncs += 1;
            let strikes = state.faults.syncs.strikes();
            let State { tree, chance, counts, .. } = state;
            let file = tree.file(self.number).ok_or_else(gone)?;
            if strikes {
                counts.faults += 1;
                file.fail_sync(chance);
                return Err(failed("input/output error at sync"));
            }
            file.sync();
            Ok(())
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = hold(&self.state);
        if state.generation != self.generation {
            return;
        }
        let left = state.open.get_mut(&self.number).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            state.open.remove(&self.number);
            let State { tree, open, .. } = &mut *state;
            tree.sweep(open);
            state.recount();
        }
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = hold(&self.state);
        if state.generation == self.generation {
            state.locked = false;
        }
    }
}

//! Answers that readers share: one for each different question, kept for those who ask again, waited for by those
//! who have it already.
//!
//! # Cost
//! A reader that waits costs its place (a waker) and its connection. A wake of all costs each of them one look at
//! an answer that is there already.

mod cell;
mod gate;
mod pack;
mod wait;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

pub(crate) use cell::{Cell, Content, Encoded, Kind, Question};
pub(crate) use gate::{Gate, News, Place};
pub(crate) use pack::{GZIP_HEAD, blocks, digest, gzip};
pub(crate) use wait::{Met, Until, wait};

use crate::limits::{ANSWER_KEPT, ANSWERS_BYTES_MAX, ANSWERS_MAX};

/// See the module.
pub(crate) struct Answers {
    cells: Mutex<HashMap<Arc<str>, Arc<Cell>>>,
    began: Instant,
    /// Cells at which the next sweep is made.
    sweep_at: AtomicU64,
    stopping: AtomicBool,
}

impl Answers {
    pub(crate) fn new() -> Self {
        let stopping = AtomicBool::new(false);
        Answers { cells: Mutex::default(), began: Instant::now(), sweep_at: AtomicU64::new(64), stopping }
    }

    /// The cell of a question. `key` names the question: two that could be answered differently have different ones.
    pub(crate) fn cell(&self, key: &str, question: impl FnOnce() -> Box<dyn Question>) -> Arc<Cell> {
        let second = self.began.elapsed().as_secs();
        let mut cells = self.cells.lock();
        if let Some(cell) = cells.get(key) {
            cell.touch(second);
            return Arc::clone(cell);
        }
        if cells.len() as u64 >= self.sweep_at.load(Ordering::Relaxed) {
            sweep(&mut cells, second);
            self.sweep_at.store((cells.len() as u64 + 16).max(64) * 5 / 4, Ordering::Relaxed);
        }
        let cell = Arc::new(Cell::new(question()));
        cell.touch(second);
        cells.insert(key.into(), Arc::clone(&cell));
        cell
    }

    /// How many are kept, and their bytes.
    pub(crate) fn kept(&self) -> (u64, u64) {
        let cells = self.cells.lock();
        (cells.len() as u64, cells.values().map(|cell| cell.bytes()).sum())
    }

    /// Has everyone who waits take what there is, from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let cells: Vec<_> = self.cells.lock().values().cloned().collect();
        cells.iter().for_each(|cell| cell.gate.wake_all());
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Lets cells go that nobody waits for: those that were not asked for a while, and beyond the limits the oldest.
fn sweep(cells: &mut HashMap<Arc<str>, Arc<Cell>>, second: u64) {
    let kept = ANSWER_KEPT.as_secs();
    // Who holds a cell asks or waits just now.
    let is_idle = |cell: &Arc<Cell>| Arc::strong_count(cell) == 1 && !cell.gate.is_used();
    cells.retain(|_, cell| !is_idle(cell) || second.saturating_sub(cell.used()) < kept);
    let mut bytes: u64 = cells.values().map(|cell| cell.bytes()).sum();
    let (mut count, bytes_max) = (cells.len(), ANSWERS_BYTES_MAX as u64);
    if count <= ANSWERS_MAX && bytes <= bytes_max {
        return;
    }
    let idle = cells.iter().filter(|(_, cell)| is_idle(cell));
    let mut idle: Vec<_> = idle.map(|(key, cell)| (cell.used(), Arc::clone(key), cell.bytes())).collect();
    idle.sort_unstable();
    for (_, key, size) in idle {
        if count <= ANSWERS_MAX / 2 && bytes <= bytes_max / 2 {
            return;
        }
        cells.remove(&key);
        (count, bytes) = (count - 1, bytes - size);
    }
}

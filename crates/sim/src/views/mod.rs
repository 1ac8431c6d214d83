//! A catalogue that is followed, and what must hold whatever happens to who follows and to the node.
//!
//! A **seed** gives some readers, each of one service, and **steps**: instances are registered, changed, renamed and
//! deregistered, nodes change, checks change, strangers publish; readers are told a little, go, resume where they were
//! or at any position they were ever at, and may see other nodes than before; time passes, a little or days; the node
//! crashes, and is rebuilt from the last message of each subject. Beside the catalogue stands a table that is kept by a
//! checkpoint and the tail. Both are the pure machines that a real node is made of: `catalog` and `view`.
//!
//! Checked all the time: a reader is asked only when it was woken; it is told nothing at or below its position, nothing
//! twice, nothing that it may not see; its position does not fall but after a new snapshot; what it holds at a position
//! is what was so there, but for what changed since; each write names the last position of its subject. Checked at the
//! end, without waking anybody: every reader holds what is so.
//!
//! It knows no clock and no thread: the same seed does the same.

mod oracle;
mod reader;
mod run;
mod story;
mod stream;

pub use run::Counts;
use story::steps;

use crate::seeds;

/// What came of a run.
pub type Report = seeds::Report<Counts>;

/// Runs a seed with so many steps.
pub fn run_seed(seed: u64, count: usize) -> Report {
    run::run(seed, &steps(seed, count))
}

/// Takes out of a failing run what it does not need to fail.
pub fn shrink(seed: u64, count: usize, report: Report) -> Report {
    seeds::shrink(steps(seed, count), report, |steps| run::run(seed, steps), |report| report.failure.is_some())
}

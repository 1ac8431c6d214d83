//! Hubs that are linked, and what must hold whatever happens to the links.
//!
//! A **seed** gives a few hubs, whom each of them dials (all, a ring, a row, some; one side or both; one hub by
//! two addresses; itself), which rooms each keeps, messengers, and **steps**: events are sent; connections die,
//! seen by one side, both or none; hubs lose their memory; links are taken out and put in. Each hub is the pure
//! machines that a real one is made of: `mesh::hub` and `route`, over streams that survive.
//!
//! Checked all the time: no messenger gets an event twice; no event comes back to its hub, or goes further than
//! one hop; what is out on a link is bounded. Checked at the end, when all is mended: each pair of hubs that
//! is to be linked is so by one connection, the one that the smaller id dialled where both stood at once; what
//! was recorded of a kept room since the link was first up is at the other hub, once in its stream; what was sent
//! live came at most once, and exactly once where its connection lived and nothing was refused; and of a last
//! round of events, sent when all is at rest, every messenger that is to gets each exactly once.
//!
//! It knows no clock and no thread: the same seed does the same.

mod check;
mod node;
mod run;
mod story;
mod wire;

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

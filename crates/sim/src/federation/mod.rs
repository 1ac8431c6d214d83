//! Sites that exchange facts over links that fail, and what must hold all the same.
//!
//! A **seed** gives a few nodes, links between them, and **steps**: facts are told, refreshed, changed,
//! withdrawn; links are cut and mended; nodes crash; clocks are set wrong. Each node is the pure machines
//! that a real one is made of (the table of facts, the outboxes, the judgement of what comes in, the
//! envelope's bytes) over the journal in memory, of which only what was synced survives a crash. Requests
//! and answers are lost, late, doubled and out of order.
//!
//! Checked all the time: a node pushes only what was told there, of itself; what a peer answered for is in
//! its stream; nobody is told about himself. Checked at the end, when all is mended: what was acknowledged
//! to those who told it is recorded; no stream has one state of a fact twice; every peer holds exactly what
//! it wants of what holds at the others; and the doctor finds nothing.
//!
//! It knows no clock and no thread: the same seed does the same.

mod check;
mod link;
mod node;
mod run;
mod story;

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

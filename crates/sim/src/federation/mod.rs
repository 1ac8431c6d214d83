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

use std::fmt;

pub use run::Counts;
use story::steps;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What happened, a line each.
    pub log: Vec<String>,
    /// Why it failed; `None`: it went well.
    pub failure: Option<String>,
    /// A number that the log and all streams decide.
    pub digest: u64,
    /// What was met on the way.
    pub counts: Counts,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.log {
            writeln!(f, "  {line}")?;
        }
        match &self.failure {
            Some(why) => writeln!(f, "  {why}"),
            None => writeln!(f, "  went well; digest {:016x}, {:?}", self.digest, self.counts),
        }
    }
}

/// Runs a seed with so many steps.
pub fn run_seed(seed: u64, count: usize) -> Report {
    run::run(seed, &steps(seed, count))
}

/// Takes out of a failing run what it does not need to fail.
pub fn shrink(seed: u64, count: usize, report: Report) -> Report {
    let mut steps = steps(seed, count);
    let mut best = report;
    let mut chunk = steps.len().div_ceil(2).max(1);
    loop {
        let (mut at, mut shorter) = (0, false);
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(fewer.len()));
            let report = run::run(seed, &fewer);
            if report.failure.is_some() {
                (steps, best, shorter) = (fewer, report, true);
            } else {
                at += chunk;
            }
        }
        if chunk == 1 && !shorter {
            return best;
        }
        chunk = chunk.div_ceil(2).max(1);
    }
}

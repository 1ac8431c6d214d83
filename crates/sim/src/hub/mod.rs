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
    /// A number that the log, all streams and all messengers decide.
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

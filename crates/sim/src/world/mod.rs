//! The embedded engine on a simulated disk, beside the engine in memory.
//!
//! A **seed** gives **steps**; a step is asked of both engines at the same simulated moment, and
//! both must answer alike. When the simulated power fails or the process is killed, the engine
//! is opened again, and must hold what it acknowledged, and of what it had not acknowledged a
//! beginning, in order and whole; the engine in memory is brought to the same state, and the run
//! goes on.
//!
//! It knows no clock and no thread: the same seed does the same.

mod counter;
mod engine;
mod oracle;
mod run;
mod step;
mod verb;

use std::fmt;

pub use run::Counts;
pub use step::Menu;
use step::{Step, steps};

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was done and answered, a line each.
    pub log: Vec<String>,
    /// Why it failed, and at which step; `None`: it went well.
    pub failure: Option<(usize, String)>,
    /// A number that all answers and the disk's bytes decide.
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
            Some((usize::MAX, why)) => writeln!(f, "  at the end: {why}"),
            Some((place, why)) => writeln!(f, "  step {place}: {why}"),
            None => writeln!(f, "  went well; digest {:016x}, {:?}", self.digest, self.counts),
        }
    }
}

/// Runs a seed.
pub fn run_seed(seed: u64, count: usize, menu: Menu) -> Report {
    run::run(seed, &numbered(seed, count, menu), menu)
}

fn numbered(seed: u64, count: usize, menu: Menu) -> Vec<(usize, Step)> {
    steps(seed, count, menu).into_iter().enumerate().collect()
}

/// Takes out of a failing run what it does not need to fail.
pub fn shrink(seed: u64, count: usize, menu: Menu, report: Report) -> Report {
    /// Runs spent on one failure at most.
    const TRIES: usize = 2_000;
    let mut steps = numbered(seed, count, menu);
    let mut best = report;
    let end = |report: &Report, steps: &[(usize, Step)]| {
        let failed = report.failure.as_ref().map_or(usize::MAX, |(place, _)| *place);
        steps.iter().take_while(|(place, _)| *place <= failed).count()
    };
    steps.truncate(end(&best, &steps));
    let (mut chunk, mut tries) = (steps.len().div_ceil(2).max(1), 0);
    loop {
        let (mut at, mut shorter) = (0, false);
        while at < steps.len() && tries < TRIES {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(fewer.len()));
            tries += 1;
            let report = run::run(seed, &fewer, menu);
            if report.failure.is_some() {
                fewer.truncate(end(&report, &fewer));
                (steps, best, shorter) = (fewer, report, true);
            } else {
                at += chunk;
            }
        }
        if tries >= TRIES || (chunk == 1 && !shorter) {
            return best;
        }
        chunk = chunk.div_ceil(2).max(1);
    }
}

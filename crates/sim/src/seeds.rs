//! What all worlds have in common: what came of a run, and how a failing one is made short.

use std::fmt;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report<Counts> {
    /// What happened, a line each.
    pub log: Vec<String>,
    /// Why it failed; `None`: it went well.
    pub failure: Option<String>,
    /// A number that the log and everything recorded decide.
    pub digest: u64,
    /// What was met on the way.
    pub counts: Counts,
}

impl<Counts: fmt::Debug> fmt::Display for Report<Counts> {
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

/// Takes out of a failing run the steps that it does not need to fail: halves first, then less and less,
/// until no single one can go.
pub(crate) fn shrink<Step: Clone, Report>(
    mut steps: Vec<Step>,
    report: Report,
    run: impl Fn(&[Step]) -> Report,
    failed: impl Fn(&Report) -> bool,
) -> Report {
    let mut best = report;
    let mut chunk = steps.len().div_ceil(2).max(1);
    loop {
        let (mut at, mut shorter) = (0, false);
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(fewer.len()));
            let report = run(&fewer);
            if failed(&report) {
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

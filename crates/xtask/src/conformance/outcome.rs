//! What became of a test, and how it is told: files for machines, a table for people.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

/// Longest reason that is kept, in characters: a line, not a report.
const REASON_MAX: usize = 300;

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// Not so.
    Failed,
    /// The suite itself leaves it out.
    Skipped,
}

/// A test and what became of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The suite's name for it.
    pub name: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, where it did not pass: one line.
    pub reason: String,
    /// How long it took.
    pub seconds: f64,
}

impl Outcome {
    /// An outcome, its reason cut to a line.
    pub fn new(name: &str, verdict: Verdict, reason: &str, seconds: f64) -> Self {
        let line: String = reason.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(REASON_MAX).collect();
        let outcome = Outcome { name: name.to_string(), verdict, reason: line, seconds };
        if verdict == Verdict::Failed {
            println!("  failed: {}: {}", outcome.name, outcome.reason);
        }
        outcome
    }
}

/// A suite in the table.
pub struct Row {
    /// The suite.
    pub suite: String,
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many the suite left out.
    pub skipped: usize,
    /// How long it took.
    pub took: Duration,
}

impl Row {
    /// Counts.
    pub fn of(suite: &str, outcomes: &[Outcome], took: Duration) -> Self {
        let count = |verdict| outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
        Row {
            suite: suite.to_string(),
            passed: count(Verdict::Passed),
            failed: count(Verdict::Failed),
            skipped: count(Verdict::Skipped),
            took,
        }
    }
}

/// Writes what was found.
pub fn write(folder: &Path, row: &Row, outcomes: &[Outcome]) -> Result<(), String> {
    let tests: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let verdict = format!("{:?}", outcome.verdict).to_lowercase();
            json!({"name": outcome.name, "outcome": verdict, "reason": outcome.reason, "seconds": outcome.seconds})
        })
        .collect();
    let whole = json!({
        "suite": row.suite, "passed": row.passed, "failed": row.failed, "skipped": row.skipped,
        "seconds": row.took.as_secs(), "tests": tests,
    });
    let mut failures = String::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Failed) {
        let _infallible = writeln!(failures, "{}\t{}", outcome.name, outcome.reason);
    }
    let write = |name: String, text: String| {
        fs::write(folder.join(&name), text).map_err(|error| format!("{}: {error}", folder.join(&name).display()))
    };
    write(format!("{}.json", row.suite), format!("{whole:#}\n"))?;
    write(format!("{}.failures.txt", row.suite), failures)
}

/// The table.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("\n| suite | passed | failed | skipped | seconds |\n|---|---|---|---|---|\n");
    for row in rows {
        let Row { suite, passed, failed, skipped, took } = row;
        let _infallible = writeln!(text, "| {suite} | {passed} | {failed} | {skipped} | {} |", took.as_secs());
    }
    text
}

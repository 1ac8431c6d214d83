//! `cargo xtask test`: all levels in one command, counted into one closing line.
//!
//! What cannot run is said as `skipped: NAME: reason` and counted. Cost: minutes; with `--long` more.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::crash;
use crate::faults;
use crate::node;
use crate::random::fresh_seed;
use crate::street;
use crate::tree::root;

/// Kills of the crash loop, short and long.
const KILLS: (u64, u64) = (10, 200);
/// How long each fuzz target is given, short and long, in milliseconds.
const FUZZ_MS: (u64, u64) = (2_000, 60_000);
/// Seeds of the storm, short and long.
const SEEDS: (u64, u64) = (300, 5_000);

/// What was counted.
#[derive(Debug, Default)]
pub struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    /// Counts one check, and says it when it failed.
    pub fn note(&mut self, name: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                println!("passed: {name}");
                self.passed += 1;
            }
            Err(reason) => {
                println!("failed: {name}: {reason}");
                self.failed += 1;
            }
        }
    }

    /// Counts and says what could not run.
    pub fn skip(&mut self, name: &str, reason: &str) {
        println!("skipped: {name}: {reason}");
        self.skipped += 1;
    }

    /// The closing line; whether nothing failed.
    pub fn close(&self) -> bool {
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        self.failed == 0
    }
}

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The long form.
    pub long: bool,
    /// Only these steps; empty: all.
    pub only: Vec<String>,
    /// The seed, where one is given.
    pub seed: Option<u64>,
}

type Step = fn(&Wanted, &mut Tally) -> Result<(), String>;

const STEPS: &[(&str, Step)] = &[
    ("cargo", cargo),
    ("sim", sim),
    ("fuzz", fuzz),
    ("faults", faulty),
    ("crash", crashing),
    ("street", on_the_street),
];

/// Runs all that is wanted.
pub fn run(wanted: &Wanted) -> Result<bool, String> {
    let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
    if let Some(strange) = wanted.only.iter().find(|only| !names.contains(&only.as_str())) {
        return Err(format!("there is no step '{strange}'; there are {}", names.join(", ")));
    }
    let mut tally = Tally::default();
    let steps = STEPS.iter().filter(|(name, _)| wanted.only.is_empty() || wanted.only.iter().any(|only| only == name));
    for (name, step) in steps {
        let begun = Instant::now();
        println!("\n-- {name}");
        if let Err(reason) = step(wanted, &mut tally) {
            tally.note(name, Err(reason));
        }
        println!("-- {name}: {:.1} s", begun.elapsed().as_secs_f64());
    }
    println!();
    Ok(tally.close())
}

fn either(wanted: &Wanted, (short, long): (u64, u64)) -> u64 {
    if wanted.long { long } else { short }
}

fn cargo(_: &Wanted, tally: &mut Tally) -> Result<(), String> {
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    if std::env::var_os("TIDINGS_NATS_SERVER").is_none() {
        let reason = "some of its stories fail on three servers, or take minutes; docs/scale.md lists what does not hold. \
                      With TIDINGS_NATS_SERVER naming a nats-server, cargo test runs them";
        tally.skip("the journal's suite on NATS servers", reason);
    }
    counted("cargo test", command, tally)
}

/// Where the street's environment is.
fn street_target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    root().join(target)
}

fn sim(wanted: &Wanted, tally: &mut Tally) -> Result<(), String> {
    let (seeds, from) = (either(wanted, SEEDS), wanted.seed.unwrap_or_else(fresh_seed) % (1 << 40));
    println!("sim: {seeds} seeds from {from}");
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--locked", "--package", "sim", "--", "--twice"]);
    command.args(["--seeds", &seeds.to_string(), "--from", &from.to_string()]);
    let status = command.current_dir(root()).stdin(Stdio::null()).status().map_err(|error| error.to_string())?;
    let outcome = if status.success() { Ok(()) } else { Err(format!("see above: {status}")) };
    tally.note(&format!("sim, {seeds} seeds from {from}, each twice"), outcome);
    Ok(())
}

/// The fuzz targets are the tests in files named `fuzz_…`; here they get time of their own.
fn fuzz(wanted: &Wanted, tally: &mut Tally) -> Result<(), String> {
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--locked", "--no-fail-fast", "--test", "fuzz_*"]);
    command.env("BOLERO_RANDOM_TEST_TIME_MS", either(wanted, FUZZ_MS).to_string());
    command.env("BOLERO_RANDOM_ITERATIONS", "1000000000");
    let before = tally.passed + tally.failed;
    counted("fuzz", command, tally)?;
    if tally.passed + tally.failed == before {
        tally.skip("fuzz", "no test file has a name that begins with fuzz_");
    }
    Ok(())
}

fn faulty(_: &Wanted, tally: &mut Tally) -> Result<(), String> {
    faults::run_all(&node::build(false)?, tally)
}

fn crashing(wanted: &Wanted, tally: &mut Tally) -> Result<(), String> {
    let seed = wanted.seed.unwrap_or_else(fresh_seed);
    let passed = crash::run(&crash::Plan { kills: either(wanted, KILLS), seed, release: wanted.long })?;
    tally.note("crash loop", if passed { Ok(()) } else { Err(format!("see above; seed {seed}")) });
    Ok(())
}

fn on_the_street(_: &Wanted, tally: &mut Tally) -> Result<(), String> {
    let binary = node::build(false)?;
    street::programs();
    match street::prepare(&street_target()) {
        Ok(python) => counted("street", street::command(&python, &binary), tally),
        Err(reason) => {
            tally.skip("street", &reason);
            Ok(())
        }
    }
}

/// Runs a program, shows what it says, and adds up the results that it prints.
fn counted(name: &str, mut command: Command, tally: &mut Tally) -> Result<(), String> {
    command.current_dir(root()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot run {name}: {error}"))?;
    let (mut lines, mut failed) = (0, 0);
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok) {
        let dull = line.ends_with("... ok") || line.is_empty() || line == "running 0 tests" || is_empty_result(&line);
        if !dull {
            println!("{line}");
        }
        if let Some((more_passed, more_failed, more_skipped)) = result(&line) {
            (tally.passed, tally.skipped) = (tally.passed + more_passed, tally.skipped + more_skipped);
            (failed, lines) = (failed + more_failed, lines + 1);
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    tally.failed += failed;
    if (!status.success() && failed == 0) || lines == 0 {
        return Err(format!("{name} ended with {status} and {lines} results"));
    }
    Ok(())
}

fn is_empty_result(line: &str) -> bool {
    line.starts_with("test result: ok. 0 passed; 0 failed; 0 ignored")
}

/// Passed, failed and skipped, from cargo's line `test result: …` or pytest's `=== … in 1.2s ===`.
fn result(line: &str) -> Option<(u64, u64, u64)> {
    let cargo = line.starts_with("test result: ");
    let pytest = (line.starts_with('=') || line.starts_with(char::is_numeric)) && line.contains(" in ");
    if !cargo && !pytest {
        return None;
    }
    let words: Vec<&str> = line.split([' ', ';', ',', '.']).filter(|word| !word.is_empty()).collect();
    let number = |of: &str| {
        let pairs = words.windows(2).find(|pair| pair[1] == of && pair[0].parse::<u64>().is_ok());
        pairs.and_then(|pair| pair[0].parse::<u64>().ok())
    };
    let sum = |names: &[&str]| names.iter().filter_map(|name| number(name)).sum::<u64>();
    let found = (sum(&["passed"]), sum(&["failed", "error", "errors"]), sum(&["ignored", "skipped"]));
    (cargo || found != (0, 0, 0)).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_from_what_the_runners_print() {
        for (line, expected) in [
            (
                "test result: ok. 20 passed; 1 failed; 2 ignored; 0 measured; 5 filtered out; finished in 0.01s",
                Some((20, 1, 2)),
            ),
            ("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out", Some((0, 0, 0))),
            ("=== 1 failed, 12 passed, 3 skipped in 4.56s ===", Some((12, 1, 3))),
            ("12 passed in 4.56s", Some((12, 0, 0))),
            ("=== 2 errors in 0.1s ===", Some((0, 2, 0))),
            ("3 files in here", None),
            ("test a_test ... ok", None),
        ] {
            assert_eq!(result(line), expected, "{line}");
        }
    }

    #[test]
    fn a_program_that_ends_badly_without_a_result_fails() {
        let mut tally = Tally::default();
        let mut command = Command::new("sh");
        command.args(["-c", "echo '1 passed in 0.1s'; exit 3"]);
        assert!(counted("sh", command, &mut tally).is_err());
        let mut command = Command::new("sh");
        command.args(["-c", "echo nothing"]);
        assert!(counted("sh", command, &mut tally).is_err());
        assert_eq!((tally.passed, tally.failed), (1, 0));
    }
}

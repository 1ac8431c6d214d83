//! The suites of the crate `async-nats`: test binaries, each test a process in a cage of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cage::{Finished, Run, each};
use super::outcome::{Outcome, Verdict};
use super::{Bench, checkout};
use crate::tree::list;

/// How long a test may take: the longest of them takes half of it.
const TEST_MAX: Duration = Duration::from_secs(180);

/// How long listing tests may take.
const LIST_MAX: Duration = Duration::from_secs(30);

/// Runs some test binaries as one suite.
pub fn run(bench: &Bench, name: &str, binaries: &[&str]) -> Result<Vec<Outcome>, String> {
    let folder = checkout(bench.wanted.nats_rs.as_ref(), "nats-rs")?;
    let built = build(bench, &folder)?;
    let folder = folder.join("async-nats");
    let mut tests = Vec::new();
    for binary in binaries {
        let path = built.get(*binary).ok_or(format!("{name}: async-nats has no test binary {binary}"))?;
        let words = vec![path.display().to_string(), String::from("--list")];
        let run = Run { words, folder: &folder, environment: Vec::new(), limit: LIST_MAX };
        let listed = bench.cage.run(run)?;
        let names = listed.output.lines().filter_map(|line| line.strip_suffix(": test"));
        tests.extend(names.map(|test| (*binary, path.clone(), test.to_string())));
    }
    tests.retain(|(binary, _, test)| bench.wanted.has(&format!("{binary}::{test}")));
    if tests.is_empty() {
        return Err(format!("{name}: no test was found"));
    }
    each(tests, bench.wanted.jobs, |(binary, path, test)| one(bench, &folder, binary, &path, &test))
}

fn one(bench: &Bench, folder: &Path, binary: &str, path: &Path, test: &str) -> Result<Outcome, String> {
    let begun = Instant::now();
    let words = [&path.display().to_string(), "--exact", test, "--nocapture"].map(str::to_string).to_vec();
    let environment = vec![("RUST_BACKTRACE", String::from("0"))];
    let finished = bench.cage.run(Run { words, folder, environment, limit: TEST_MAX })?;
    let (verdict, reason) = read(&finished);
    Ok(Outcome::new(&format!("{binary}::{test}"), verdict, &reason, begun.elapsed().as_secs_f64()))
}

fn read(finished: &Finished) -> (Verdict, String) {
    match finished.success {
        Some(true) if finished.output.contains("test result: ok. 1 passed") => (Verdict::Passed, String::new()),
        Some(true) => (Verdict::Skipped, String::from("ignored by the suite")),
        Some(false) => (Verdict::Failed, panic_of(&finished.output)),
        None => {
            let said = panic_of(&finished.output);
            (Verdict::Failed, format!("not done after {} s; {said}", TEST_MAX.as_secs()))
        }
    }
}

/// What the first panic says, and where.
fn panic_of(output: &str) -> String {
    let Some((_, after)) = output.split_once("panicked at ") else {
        let last = output.lines().rev().find(|line| !line.trim().is_empty());
        return last.map_or_else(|| String::from("no word"), |line| format!("last line: {line}"));
    };
    let mut lines = after.lines();
    let place = lines.next().unwrap_or_default().trim_end_matches(':');
    let said: Vec<&str> = lines.take_while(|line| !line.starts_with("note:")).take(4).collect();
    format!("{} ({place})", said.join(" "))
}

/// Builds the test binaries; by name, where they are. Without debug information: it is most of their size.
fn build(bench: &Bench, folder: &Path) -> Result<BTreeMap<String, PathBuf>, String> {
    let target = std::env::var_os("NATS_RS_TARGET_DIR").map_or_else(|| bench.folder.join("nats-rs"), PathBuf::from);
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--package", "async-nats", "--no-run", "--message-format", "json-render-diagnostics"]);
    cargo.env("CARGO_TARGET_DIR", target).env("CARGO_PROFILE_TEST_DEBUG", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    let built = cargo.current_dir(folder).stderr(Stdio::null()).output().map_err(|error| error.to_string())?;
    if !built.status.success() {
        return Err(String::from("the tests of async-nats do not build; try `cargo test --no-run` there"));
    }
    let printed = String::from_utf8_lossy(&built.stdout);
    let messages = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let tests = messages.filter(|message| list(&message["target"]["kind"]).any(|kind| kind == "test"));
    let found = tests.filter_map(|message| {
        Some((message["target"]["name"].as_str()?.to_string(), PathBuf::from(message["executable"].as_str()?)))
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_is_the_reason() {
        let output =
            "running 1 test\n\nthread 'a' (1) panicked at tests/a.rs:7:9:\nassertion failed: x\nnote: run with\n";
        assert_eq!(panic_of(output), "assertion failed: x (tests/a.rs:7:9)");
        assert_eq!(panic_of("one\nSegmentation fault\n\n"), "last line: Segmentation fault");
        assert_eq!(panic_of(""), "no word");
    }
}

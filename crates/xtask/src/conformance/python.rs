//! The suites that run with pytest: in portions, each in a cage of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::cage::{Run, each};
use super::outcome::{Outcome, Verdict};
use super::{Bench, checkout};
use crate::street;

/// Our pytest plugin, and its name.
const REPORT: (&str, &str) = ("conformance_report", include_str!("report.py"));

/// What the suites need from PyPI.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// How long a test may take, in seconds: the longest of them takes half of it.
const TEST_SECONDS_MAX: u64 = 60;

/// How long finding the tests may take.
const COLLECT_MAX: Duration = Duration::from_secs(120);

/// Tests in a portion: a start of pytest each, and what a crash takes along.
const PORTION: usize = 8;

/// Runs a suite.
pub fn run(
    bench: &Bench,
    name: &str,
    folder: &str,
    tests: &str,
    paths: &[&str],
    environment: &'static [(&'static str, &'static str)],
) -> Result<Vec<Outcome>, String> {
    let checkout = checkout(bench.wanted.nats_py.as_ref(), "nats-py")?;
    let interpreter = bench.wanted.python.clone().unwrap_or_else(|| String::from("python3.13"));
    let python = street::environment(&interpreter, &bench.folder.join("python"), REQUIREMENTS)?;
    let plugins = bench.folder.join("plugins");
    fs::create_dir_all(&plugins).map_err(|error| error.to_string())?;
    fs::write(plugins.join(format!("{}.py", REPORT.0)), REPORT.1).map_err(|error| error.to_string())?;
    let mut imports: Vec<String> = paths.iter().map(|path| checkout.join(path).display().to_string()).collect();
    imports.push(plugins.display().to_string());
    let pytest = Pytest {
        bench,
        python: python.display().to_string(),
        folder: &checkout.join(folder),
        imports: imports.join(":"),
        environment,
        name,
    };
    let listed = pytest.run("list", &["--collect-only", tests], COLLECT_MAX)?;
    let names = listed.iter().filter_map(|line| line["name"].as_str());
    let names: Vec<String> = names.filter(|test| bench.wanted.has(test)).map(str::to_string).collect();
    if names.is_empty() {
        return Err(format!("{name}: no test was found"));
    }
    let portions: Vec<_> = names.chunks(PORTION).map(<[String]>::to_vec).enumerate().collect();
    let done = each(portions, bench.wanted.jobs, |(at, portion)| pytest.portion(at, &portion))?;
    Ok(done.into_iter().flatten().collect())
}

struct Pytest<'a> {
    bench: &'a Bench,
    python: String,
    folder: &'a Path,
    imports: String,
    environment: &'static [(&'static str, &'static str)],
    name: &'a str,
}

impl Pytest<'_> {
    fn portion(&self, at: usize, tests: &[String]) -> Result<Vec<Outcome>, String> {
        let words: Vec<&str> = tests.iter().map(String::as_str).collect();
        let limit = Duration::from_secs(TEST_SECONDS_MAX * (tests.len() as u64 + 1));
        let lines = self.run(&at.to_string(), &words, limit)?;
        let mut last: BTreeMap<&str, &Value> = BTreeMap::new();
        for line in &lines {
            let name = line["name"].as_str().unwrap_or_default();
            // A failure in a test is not undone by its clean-up.
            if last.get(name).is_none_or(|before| before["outcome"] != "failed") {
                last.insert(name, line);
            }
        }
        Ok(tests.iter().map(|test| read(test, last.get(test.as_str()).copied())).collect())
    }

    fn run(&self, part: &str, words: &[&str], limit: Duration) -> Result<Vec<Value>, String> {
        let report = self.bench.cage.folder().join(format!("{}-{part}.jsonl", self.name));
        let _absent = fs::remove_file(&report);
        let mut all = vec![self.python.clone()];
        let timeout = format!("--timeout={TEST_SECONDS_MAX}");
        let fixed = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", REPORT.0, "-o", "log_level=CRITICAL"];
        all.extend(fixed.iter().chain([&timeout.as_str()]).chain(words).map(|word| (*word).to_string()));
        let mut environment: Vec<_> =
            self.environment.iter().map(|(name, value)| (*name, (*value).to_string())).collect();
        environment.push(("PYTHONPATH", self.imports.clone()));
        environment.push(("PYTHONDONTWRITEBYTECODE", String::from("1")));
        environment.push(("CONFORMANCE_REPORT", report.display().to_string()));
        let run = Run { words: all, folder: self.folder, environment, limit };
        let finished = self.bench.cage.run(run)?;
        let Ok(text) = fs::read_to_string(&report) else {
            let said: Vec<&str> = finished.output.lines().collect();
            return Err(format!("pytest found nothing:\n{}", said[said.len().saturating_sub(20)..].join("\n")));
        };
        let _gone = fs::remove_file(&report);
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

fn read(test: &str, line: Option<&Value>) -> Outcome {
    let Some(line) = line else {
        return Outcome::new(test, Verdict::Failed, "never begun: what ran before it ended the run", 0.0);
    };
    let seconds = line["seconds"].as_f64().unwrap_or_default();
    let reason = line["reason"].as_str().unwrap_or_default();
    match line["outcome"].as_str() {
        Some("passed") => Outcome::new(test, Verdict::Passed, "", seconds),
        Some("skipped") => Outcome::new(test, Verdict::Skipped, reason, seconds),
        Some("begun") => Outcome::new(test, Verdict::Failed, "begun and never ended", seconds),
        _ => Outcome::new(test, Verdict::Failed, reason, seconds),
    }
}

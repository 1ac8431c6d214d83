//! `cargo xtask conformance`: the test suites of the NATS clients, which we did not write, run against
//! a server in place of `nats-server`.
//!
//! The suites start a server by its name; the name is given to the server under test by a folder that
//! stands first on `PATH`. Every run is in a cage of its own ([`cage`]), so that fixed ports collide
//! with nothing and no server outlives its test. Nothing is fetched but Python packages: the checkouts
//! of the suites are given. What is found goes to `target/conformance/SERVER/SUITE.json`, and the
//! names and reasons of failures to `SUITE.failures.txt` beside it.
//!
//! Cost: minutes of waiting a suite, little computing.

mod cage;
mod outcome;
mod python;
mod rust;
mod suites;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::flags::Flags;
use crate::node;
use crate::tree::root;
use cage::Cage;
use outcome::{Outcome, Row};
use suites::{Kind, SUITES, Suite};

/// Cages at once, where nothing is said: tests wait more than they compute.
const JOBS: usize = 4;

/// What to run and on what.
pub struct Wanted {
    suites: Vec<String>,
    only: Vec<String>,
    server: Option<PathBuf>,
    label: Option<String>,
    nats_py: Option<PathBuf>,
    nats_rs: Option<PathBuf>,
    python: Option<String>,
    jobs: usize,
    release: bool,
}

impl Wanted {
    /// Takes the flags of the command.
    pub fn take(flags: &mut Flags) -> Result<Self, String> {
        let path = |flags: &mut Flags, name: &str| flags.all(name).pop().map(PathBuf::from);
        let jobs = flags.number("jobs")?.map_or(JOBS, |jobs| usize::try_from(jobs).unwrap_or(JOBS).max(1));
        Ok(Wanted {
            suites: flags.all("suite"),
            only: flags.all("only"),
            server: path(flags, "server"),
            label: flags.all("label").pop(),
            nats_py: path(flags, "nats-py"),
            nats_rs: path(flags, "nats-rs"),
            python: flags.all("python").pop(),
            jobs,
            release: flags.has("release"),
        })
    }

    fn has(&self, test: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| test.contains(part))
    }
}

/// What a run of suites needs to know.
struct Bench {
    wanted: Wanted,
    cage: Cage,
    /// Where the results go.
    results: PathBuf,
    /// Where everything else goes.
    folder: PathBuf,
}

/// Runs the suites; `false` where a test failed.
pub fn run(wanted: Wanted) -> Result<bool, String> {
    let chosen: Vec<&Suite> = SUITES.iter().filter(|suite| suite.is_wanted(&wanted.suites)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
        return Err(format!("there is no such suite; there are {}", names.join(", ")));
    }
    let folder = target().join("conformance");
    let (server, label) = server(&wanted)?;
    let results = folder.join(&label);
    let cage = Cage::new(&folder.join(format!("run-{}", std::process::id())), &server)?;
    let bench = Bench { wanted, cage, results, folder };
    fs::create_dir_all(&bench.results).map_err(|error| format!("{}: {error}", bench.results.display()))?;

    let mut rows = Vec::new();
    for suite in chosen {
        let begun = Instant::now();
        println!("{} with {label}", suite.name);
        let outcomes = match suite.kind {
            Kind::Python { folder, tests, paths, environment } => {
                python::run(&bench, suite.name, folder, tests, paths, environment)?
            }
            Kind::Rust { tests } => rust::run(&bench, suite.name, tests)?,
        };
        rows.push(finish(&bench, suite, outcomes, begun)?);
    }
    print!("{}", outcome::table(&rows));
    Ok(rows.iter().all(|row| row.failed == 0))
}

fn finish(bench: &Bench, suite: &Suite, mut outcomes: Vec<Outcome>, begun: Instant) -> Result<Row, String> {
    outcomes.sort_by(|a, b| a.name.cmp(&b.name));
    let row = Row::of(suite.name, &outcomes, begun.elapsed());
    // A part of a suite does not replace what the whole has shown.
    if bench.wanted.only.is_empty() {
        outcome::write(&bench.results, &row, &outcomes)?;
    }
    Ok(row)
}

/// The server under test, and the name under which its results are kept.
fn server(wanted: &Wanted) -> Result<(PathBuf, String), String> {
    if let Some(given) = &wanted.server {
        let path = given.canonicalize().map_err(|error| format!("{}: {error}", given.display()))?;
        return Ok((path, wanted.label.clone().unwrap_or_else(|| String::from("nats-server"))));
    }
    let tidings = node::build(wanted.release)?;
    node::build_package("nats-shim", "nats-server", wanted.release)
        .map(|shim| (shim, String::from("tidings")))
        .map_err(|reason| format!("{reason} (and {} is built)", tidings.display()))
}

fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from))
}

/// A checkout that a flag names.
fn checkout(given: Option<&PathBuf>, flag: &str) -> Result<PathBuf, String> {
    let given = given.ok_or(format!("--{flag} DIR is needed: a checkout of the suite"))?;
    given.canonicalize().map_err(|error| format!("--{flag} {}: {error}", given.display()))
}

fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", folder.display())),
        _ => Ok(()),
    }
}

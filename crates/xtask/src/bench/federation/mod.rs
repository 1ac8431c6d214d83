//! `cargo xtask bench federation`: what the exchange of facts between two and more nodes costs.
//!
//! Every node is the optimised binary with a data folder of its own, driven over HTTP; what is between
//! nodes (links that are cut, peers that are light or dead) is in this program. One clock measures: the
//! one of this program, which states facts at one node and watches another. The nodes and this program
//! share the machine's cores. A row that finds a fact missing or doubled fails and shows no figure.

mod cut;
mod drain;
mod hole;
mod latency;
mod peers;
mod proxy;
mod site;

use std::fs;
use std::path::{Path, PathBuf};

use site::Site;

use super::LOAD_MAX;
use crate::flags::Flags;
use crate::node;

/// Rounds of each row, where none are asked for.
const ROUNDS: u64 = 3;
/// Rounds of a quick run.
const ROUNDS_QUICK: u64 = 1;

/// What is run, with what, and how much of it.
struct Bench {
    binary: PathBuf,
    folder: PathBuf,
    quick: bool,
    rounds: u64,
}

/// A name, what it measures, and the measuring.
type Row = (&'static str, &'static str, fn(&Bench) -> Result<(), String>);

const ROWS: &[Row] = &[
    ("latency", "emit over HTTP at one node until the second has it on disk and shows it", latency::run),
    ("full", "the same, and what emit and receive cost, with empty and with full stores", latency::run_full),
    ("single", "a backlog pushed one fact a request, durable at both ends", drain::single),
    ("batch", "a backlog pushed in batches, durable at both ends", drain::batch),
    ("hole", "50 peers, one of them accepts and never answers", hole::run),
    ("cut", "a partition under 1,000 facts a second", cut::run),
];

/// Runs the rows that are wanted; `false` where one of them failed. A figure that is missed is no failure.
pub fn run(flags: &mut Flags) -> Result<bool, String> {
    let quick = flags.has("quick");
    let rounds = flags.number("rounds")?.unwrap_or(if quick { ROUNDS_QUICK } else { ROUNDS }).max(1);
    let only: Vec<String> = flags.all("only").iter().flat_map(|names| names.split(',').map(str::to_string)).collect();
    flags.nothing_left()?;
    if let Some(unknown) = only.iter().find(|name| ROWS.iter().all(|row| row.0 != name.as_str())) {
        let names: Vec<&str> = ROWS.iter().map(|row| row.0).collect();
        return Err(format!("there is no row '{unknown}'; there are {}", names.join(", ")));
    }
    let folder = node::scratch("bench-federation")?;
    let binary = node::build(true)?;
    let binary = binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?;
    let busy = super::load() > LOAD_MAX;
    for (name, value) in super::machine(&folder)? {
        println!("{name:<9} {value}");
    }
    let bench = Bench { binary, folder: folder.clone(), quick, rounds };
    println!("rounds    {rounds}; medians (least to greatest)");
    let mut failed = 0;
    for (name, title, row) in ROWS.iter().filter(|row| only.is_empty() || only.iter().any(|name| name == row.0)) {
        println!("\n{name}: {title}");
        if let Err(reason) = row(&bench) {
            println!("FAILED: {reason}");
            failed += 1;
        }
    }
    let _left_behind = fs::remove_dir_all(&folder);
    if busy {
        println!("\nNOT VALID: the machine was busy when this began; run it again on a quiet one");
    }
    Ok(failed == 0)
}

impl Bench {
    /// So many, or fewer in a quick run.
    fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// A node on an empty folder.
    fn site(&self, name: &str) -> Result<Site, String> {
        let folder = self.folder.join(name);
        let _absent = fs::remove_dir_all(&folder);
        Site::start(&self.binary, &folder, name)
    }

    /// Two nodes on empty folders that know the group, and not each other.
    fn pair(&self) -> Result<(Site, Site), String> {
        let (a, b) = (self.site("a")?, self.site("b")?);
        for site in [&a, &b] {
            site.declare(&[site.group()?])?;
        }
        Ok((a, b))
    }
}

/// A file with what it is to hold.
fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

//! `cargo xtask bench hub`: messengers, repeaters and hubs at the hub door.
//!
//! Every node is the optimised binary on an empty folder. The load is this program: raw sockets and frames
//! by hand, one thread that publishes and one that reads, so that the node is measured; what the load itself
//! took of the processor stands beside the rate, because both share the machine. A row that finds an event
//! missing, doubled or out of order fails and shows no figure.

mod crowd;
mod deliver;
mod event;
mod frames;
mod idle;
mod load;
mod site;
mod stalled;
mod triangle;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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
    ("deliver", "1,000 messengers over 100 rooms, v2 events of 1 KiB, one hub", deliver::run),
    ("idle", "10,000 messengers that hear nothing", idle::run),
    ("stalled", "the same crowd beside one connection that reads, and beside one that does not", stalled::run),
    ("triangle", "three hubs, each linked with each, 10,000 events/s of 1 KiB", triangle::run),
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
    let files = raise_files()?;
    let folder = node::scratch("bench-hub")?;
    let binary = node::build(true)?;
    let binary = binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?;
    let busy = super::load() > LOAD_MAX;
    for (name, value) in super::machine(&folder)? {
        println!("{name:<9} {value}");
    }
    println!("files     {files} may be open in one process");
    println!("rounds    {rounds}; medians (least to greatest)");
    let bench = Bench { binary, folder: folder.clone(), quick, rounds };
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

/// Lets this process, and so the nodes that it starts, open as many files as it may.
fn raise_files() -> Result<u64, String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).map_err(|error| format!("files: {error}"))?;
    Ok(maximum.or(current).unwrap_or(u64::MAX))
}

impl Bench {
    /// So many, or fewer in a quick run.
    fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// So many seconds, or a fifth of them in a quick run.
    fn time(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds) / if self.quick { 5 } else { 1 }
    }

    /// A node on an empty folder.
    fn site(&self, name: &str) -> Result<Site, String> {
        Site::start(&self.binary, &self.folder, name)
    }
}

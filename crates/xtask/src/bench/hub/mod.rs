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

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use site::Site;

use super::rows::{self, Bench, Row};
use crate::flags::Flags;

const ROWS: &[Row] = &[
    ("deliver", "1,000 messengers over 100 rooms, v2 events of 1 KiB, one hub", deliver::run),
    ("idle", "10,000 messengers that hear nothing", idle::run),
    ("stalled", "the same crowd beside one connection that reads, and beside one that does not", stalled::run),
    ("triangle", "three hubs, each linked with each, 10,000 events/s of 1 KiB", triangle::run),
];

/// Runs the rows that are wanted; `false` where one of them failed. A figure that is missed is no failure.
pub fn run(flags: &mut Flags) -> Result<bool, String> {
    let files = format!("{} may be open in one process", raise_files()?);
    rows::run(flags, "bench-hub", ROWS, &[("files", files)])
}

/// Lets this process, and so the nodes that it starts, open as many files as it may.
fn raise_files() -> Result<u64, String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).map_err(|error| format!("files: {error}"))?;
    Ok(maximum.or(current).unwrap_or(u64::MAX))
}

/// So many seconds, or a fifth of them in a quick run.
fn time(bench: &Bench, seconds: u64) -> Duration {
    Duration::from_secs(seconds) / if bench.quick { 5 } else { 1 }
}

/// A node on an empty folder.
fn start(bench: &Bench, name: &str) -> Result<Site, String> {
    Site::start(&bench.binary, &bench.folder, name)
}

//! `cargo xtask bench views`: watchers of the catalogue, a storm of them, the catalogue itself, names over DNS.
//!
//! Every node is the optimised binary on an empty folder. The load is this program: one thread with all
//! connections, so that the node is measured; what the load itself took of the processor stands beside what
//! the node took, because both share the machine. A row that finds a wake missing, doubled or out of order
//! fails and shows no figure.
//!
//! The targets are shares of what Consul 1.8.7 takes for the same by long polling, on a machine like the one
//! that the figures in `docs/benchmarks.md` come from.

mod catalogue;
mod crowd;
mod dns;
mod grpc;
mod idle;
mod poll;
mod push;
mod service;
mod site;
mod storm;
mod streams;
mod sync;

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::rows::{self, Bench, Row};
use crate::flags::Flags;

const ROWS: &[Row] = &[
    ("poll-500x100", "500 blocking queries on 100 instances, one of which changes every 2 s", poll::small),
    ("poll-5000x10", "5,000 blocking queries on 10 instances, one of which changes every 2 s", poll::large),
    ("push-500x100", "500 streams of events on 100 instances, one of which changes every 2 s", push::small),
    ("push-5000x10", "5,000 streams of events on 10 instances, one of which changes every 2 s", push::large),
    ("grpc-500x100", "the same 500 by gRPC, 100 subscriptions on each connection", streams::small),
    ("grpc-5000x10", "the same 5,000 by gRPC, 100 subscriptions on each connection", streams::large),
    ("storm", "10,000 streams of events that begin within a second, on 2,000 instances", storm::run),
    ("idle", "10,000 subscriptions over gRPC that hear nothing, on ten connections", idle::run),
    ("catalogue", "100,000 instances in 1,000 services: registered, held, found again", catalogue::run),
    ("sync", "a view of 100,000 users kept in PostgreSQL, from an empty table and then at 5,000 changes/s", sync::run),
    ("dns", "questions over UDP, beside dnsperf on the same machine", dns::run),
];

/// Runs the rows that are wanted; `false` where one of them failed. A figure that is missed is no failure.
pub fn run(flags: &mut Flags) -> Result<bool, String> {
    let files = format!("{} may be open in one process", raise_files()?);
    rows::run(flags, "bench-views", ROWS, &[("files", files)])
}

/// Lets this process, and so the nodes that it starts, open as many files as it may.
fn raise_files() -> Result<u64, String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).map_err(|error| format!("files: {error}"))?;
    Ok(maximum.or(current).unwrap_or(u64::MAX))
}

/// What real Consul took, by long polling, and so what ours is held to.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Those that watch.
    pub watchers: usize,
    /// Instances of the service that they watch.
    pub instances: usize,
    /// From the change until it was read, in 99 of 100 watchers.
    pub original_p99: Duration,
    /// Its processor time for one change.
    pub original_cpu: Duration,
}

/// 500 watchers.
pub const SMALL: Load = Load {
    watchers: 500,
    instances: 100,
    original_p99: Duration::from_millis(1267),
    original_cpu: Duration::from_millis(860),
};
/// 5,000 watchers.
pub const LARGE: Load = Load {
    watchers: 5_000,
    instances: 10,
    original_p99: Duration::from_millis(2353),
    original_cpu: Duration::from_millis(1670),
};

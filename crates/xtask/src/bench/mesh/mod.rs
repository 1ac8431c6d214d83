//! `cargo xtask bench mesh`: links between nodes, and what moves over them.
//!
//! Every node is the optimised binary on an empty folder, each in a domain of its own unless a row says otherwise; the
//! first of them is the controller. The load is this program, over NATS connections, on the same cores. A row that finds
//! a message missing, doubled or out of order where none may be fails and shows no figure.

mod custody;
mod failover;
mod hops;
mod names;
mod site;
mod slim;
mod throughput;

use std::process::{Command, Stdio};

use super::rows::{self, Bench, Row};
use crate::flags::Flags;
use crate::tree::root;

const ROWS: &[Row] = &[
    ("hops", "one message of 128 B at a time, over no link, one, two and three", hops::run),
    ("throughput", "128 B from a node to a node over one link, both ends NATS", throughput::run),
    ("custody", "a mirrored stream whose far node is killed and comes back", custody::run),
    ("failover", "a domain of three nodes, whose gateway is killed or stopped while messages pass", failover::run),
    ("names", "interests: their memory and their matching, and how soon a neighbour knows them", names::run),
    ("controller", "thousands of nodes at one controller, and proofs, without nodes", |bench| {
        pure(bench, "controller")
    }),
    ("slim", "the SLIM door beside the original's own node", slim::run),
];

/// Runs the rows that are wanted; `false` where one of them failed. A figure that is missed is no failure.
pub fn run(flags: &mut Flags) -> Result<bool, String> {
    rows::run(flags, "bench-mesh", ROWS, &[])
}

/// Runs a program of the crate mesh, which prints its own figures.
fn pure(bench: &Bench, example: &str) -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "--locked", "--quiet", "--package", "mesh", "--example", example, "--"]);
    if bench.quick {
        cargo.arg("--quick");
    }
    let status = cargo.current_dir(root()).stdin(Stdio::null()).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}")) }
}

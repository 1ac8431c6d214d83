//! Domains that are linked, and what must hold whatever happens to nodes, links and plans.
//!
//! A **seed** gives a few domains of a few nodes each, full meshes and hubs; topologies of segments with weighted
//! edges; rules of names; perhaps a domain whose gateways lie; and **steps**: clients come and go, messages are
//! published, connections die, seen by one side before the other, nodes are cut off, killed and started again,
//! plans change, and come late, twice and in another order. Each node is the pure machine that a real one is made of,
//! `mesh::node`; what it is to do is done by a body that is as dull as a real one.
//!
//! Checked all the time: nobody gets a message twice, and of a queue group one member; no message is at a domain that
//! shares no segment with the one where it entered, whatever a rogue sends; no copy is on a link that does not carry
//! its segment; copies of a message end. Checked at the end, when all is mended and the last plan has come: each
//! planned link is up by one connection, the same at both ends; each node knows of the others' wishes exactly what they
//! are; and of a last round of messages, from every node and
//! of every subject, exactly those get it who are to, once.
//!
//! It knows no clock and no thread: the same seed does the same.

mod body;
mod check;
pub mod control;
mod planner;
mod rogue;
mod run;
mod story;

pub use run::Counts;
use story::steps;

use crate::seeds;

/// What came of a run.
pub type Report = seeds::Report<Counts>;

/// Runs a seed with so many steps.
pub fn run_seed(seed: u64, count: usize) -> Report {
    run::run(seed, &steps(seed, count))
}

/// Takes out of a failing run what it does not need to fail.
pub fn shrink(seed: u64, count: usize, report: Report) -> Report {
    seeds::shrink(steps(seed, count), report, |steps| run::run(seed, steps), |report| report.failure.is_some())
}

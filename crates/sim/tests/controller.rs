//! Controllers and the nodes that they lead: some hundred seeds on every change. Thousands run by the binary.

mod worlds;

use sim::mesh::control::{Counts, run_seed};

/// Steps of each run.
const STEPS: usize = 80;

#[test]
fn every_node_ends_with_the_plan_of_who_leads_whatever_dies_hangs_or_comes_late() {
    let total = worlds::run_all(("controller", STEPS), 0..200, run_seed, Counts::add);
    let met = [
        ("told", total.told, 20_000),
        ("connections", total.connections, 5_000),
        ("ended", total.ended, 5_000),
        ("moved", total.moved, 500),
        ("rejected", total.rejected, 1_000),
    ];
    worlds::did_something(&total, &met);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    worlds::repeats(STEPS, 1_000..1_010, run_seed);
}

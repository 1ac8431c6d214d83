//! A catalogue that is followed through crashes: some hundred seeds on every change. Thousands run by the binary.

mod worlds;

use sim::views::{Counts, run_seed};

/// Steps of each run.
const STEPS: usize = 200;

#[test]
fn no_reader_misses_anything_is_told_anything_twice_or_steps_back() {
    let total = worlds::run_all(("views", STEPS), 0..200, run_seed, Counts::add);
    let met = [
        ("recorded", total.recorded, 10_000),
        ("snapshots", total.snapshots, 2_000),
        ("changes", total.changes, 5_000),
        ("resumed", total.resumed, 1_500),
        ("crashes", total.crashes, 800),
        ("permits", total.permits, 800),
        ("checkpoints", total.checkpoints, 800),
    ];
    worlds::did_something(&total, &met);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    worlds::repeats(STEPS, 1_000..1_010, run_seed);
}

//! Domains that are linked: some hundred seeds on every change. Thousands run by the binary.

mod worlds;

use sim::mesh::{Counts, run_seed};

/// Steps of each run.
const STEPS: usize = 120;

#[test]
fn nobody_gets_a_message_twice_or_from_outside_its_segments_whatever_happens_to_links_and_plans() {
    let total = worlds::run_all(("mesh", STEPS), 0..200, run_seed, Counts::add);
    let met = [
        ("published", total.published, 10_000),
        ("got", total.got, 20_000),
        ("copies", total.copies, 20_000),
        ("notes", total.notes, 20_000),
        ("connections", total.connections, 2_000),
        ("refused", total.refused, 500),
        ("lies", total.lies, 300),
    ];
    worlds::did_something(&total, &met);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    worlds::repeats(STEPS, 1_000..1_010, run_seed);
}

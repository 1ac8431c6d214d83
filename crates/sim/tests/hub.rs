//! Hubs that are linked: some hundred seeds on every change. Thousands run by the binary.

mod worlds;

use sim::hub::{Counts, run_seed};

/// Steps of each run.
const STEPS: usize = 150;

#[test]
fn nothing_kept_is_lost_nothing_comes_twice_and_one_link_stays_whatever_happens_to_it() {
    let total = worlds::run_all(("hub", STEPS), 0..200, run_seed, Counts::add);
    let met = [
        ("published", total.published, 10_000),
        ("taken", total.taken, 10_000),
        ("duplicates", total.duplicates, 100),
        ("sent again", total.again, 500),
        ("doubled", total.doubled, 200),
        ("died", total.died, 1_000),
        ("crashes", total.crashes, 500),
        ("refused", total.refused, 50),
        ("agreed", total.agreed, 10_000),
        ("exact", total.exact, 5_000),
    ];
    worlds::did_something(&total, &met);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    worlds::repeats(STEPS, 1_000..1_010, run_seed);
}

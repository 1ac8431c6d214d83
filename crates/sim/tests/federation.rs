//! Sites that exchange facts: some dozens of seeds on every change. Thousands run by the binary.

mod worlds;

use sim::federation::{Counts, run_seed};

/// Steps of each run.
const STEPS: usize = 120;

#[test]
fn whatever_the_links_do_nothing_is_lost_or_doubled_and_all_agree_in_the_end() {
    let total = worlds::run_all(("federation", STEPS), 0..60, run_seed, Counts::add);
    let Counts { told, withdrawn, replays, stale, duplicates, received, lost, crashes, timeouts, agreed, .. } = total;
    let met = [
        ("told", told, 1_000),
        ("withdrawn", withdrawn, 100),
        ("replays", replays, 20),
        ("stale", stale, 20),
        ("duplicates", duplicates, 100),
        ("received", received, 1_000),
        ("lost", lost, 200),
        ("crashes", crashes, 100),
        ("timeouts", timeouts, 50),
        ("agreed", agreed, 500),
    ];
    worlds::did_something(&total, &met);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    worlds::repeats(STEPS, 1_000..1_010, run_seed);
}

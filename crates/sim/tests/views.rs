//! A catalogue that is followed through crashes: some hundred seeds on every change. Thousands run by the binary.

use sim::views::{Counts, Report, run_seed};

/// Steps of each run.
const STEPS: usize = 200;

fn check(seeds: std::ops::Range<u64>) -> Counts {
    let mut total = Counts::default();
    for seed in seeds {
        let Report { failure, counts, .. } = run_seed(seed, STEPS);
        if let Some(why) = failure {
            panic!(
                "seed {seed} failed: {why}\nsee it again: cargo run -p sim -- views --seeds 1 --from {seed} --ops {STEPS}"
            );
        }
        total.add(&counts);
    }
    total
}

#[test]
fn no_reader_misses_anything_is_told_anything_twice_or_steps_back() {
    let total = check(0..200);
    println!("{total:?}");
    for (what, count, least) in [
        ("recorded", total.recorded, 10_000),
        ("snapshots", total.snapshots, 2_000),
        ("changes", total.changes, 5_000),
        ("resumed", total.resumed, 1_500),
        ("crashes", total.crashes, 800),
        ("permits", total.permits, 800),
        ("checkpoints", total.checkpoints, 800),
    ] {
        assert!(count >= least, "the runs do something: {what} {count}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 1_000..1_010 {
        let (one, two) = (run_seed(seed, STEPS), run_seed(seed, STEPS));
        assert_eq!(one.log, two.log, "seed {seed}");
        assert_eq!(one.digest, two.digest, "seed {seed}");
    }
}

//! Hubs that are linked: some hundred seeds on every change. Thousands run by the binary.

use sim::hub::{Counts, Report, run_seed};

/// Steps of each run.
const STEPS: usize = 150;

fn check(seeds: std::ops::Range<u64>) -> Counts {
    let mut total = Counts::default();
    for seed in seeds {
        let Report { failure, counts, .. } = run_seed(seed, STEPS);
        if let Some(why) = failure {
            panic!(
                "seed {seed} failed: {why}\nsee it again: cargo run -p sim -- hub --seeds 1 --from {seed} --ops {STEPS}"
            );
        }
        total.add(&counts);
    }
    total
}

#[test]
fn nothing_kept_is_lost_nothing_comes_twice_and_one_link_stays_whatever_happens_to_it() {
    let total = check(0..200);
    println!("{total:?}");
    for (what, count, least) in [
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

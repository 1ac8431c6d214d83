//! Sites that exchange facts: some dozens of seeds on every change. Thousands run by the binary.

use sim::federation::{Counts, Report, run_seed};

/// Steps of each run.
const STEPS: usize = 120;

fn check(seeds: std::ops::Range<u64>) -> Counts {
    let mut total = Counts::default();
    for seed in seeds {
        let Report { failure, counts, .. } = run_seed(seed, STEPS);
        if let Some(why) = failure {
            panic!(
                "seed {seed} failed: {why}\nsee it again: cargo run -p sim -- federation --seeds 1 --from {seed} --ops {STEPS}"
            );
        }
        total.add(&counts);
    }
    total
}

#[test]
fn whatever_the_links_do_nothing_is_lost_or_doubled_and_all_agree_in_the_end() {
    let total = check(0..60);
    println!("{total:?}");
    let Counts { told, withdrawn, replays, stale, duplicates, received, lost, crashes, timeouts, agreed, .. } = total;
    for (what, count, least) in [
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

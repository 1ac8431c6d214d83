//! Domains that are linked: some hundred seeds on every change. Thousands run by the binary.

use sim::mesh::{Counts, Report, run_seed};

/// Steps of each run.
const STEPS: usize = 120;

fn check(seeds: std::ops::Range<u64>) -> Counts {
    let mut total = Counts::default();
    for seed in seeds {
        let Report { failure, counts, .. } = run_seed(seed, STEPS);
        if let Some(why) = failure {
            panic!(
                "seed {seed} failed: {why}\nsee it again: cargo run -p sim -- mesh --seeds 1 --from {seed} --ops {STEPS}"
            );
        }
        total.add(&counts);
    }
    total
}

#[test]
fn nobody_gets_a_message_twice_or_from_outside_its_segments_whatever_happens_to_links_and_plans() {
    let total = check(0..200);
    println!("{total:?}");
    for (what, count, least) in [
        ("published", total.published, 10_000),
        ("got", total.got, 20_000),
        ("copies", total.copies, 20_000),
        ("notes", total.notes, 20_000),
        ("connections", total.connections, 2_000),
        ("refused", total.refused, 500),
        ("lies", total.lies, 300),
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

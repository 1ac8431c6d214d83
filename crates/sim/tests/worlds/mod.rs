//! What the tests of all worlds do: run many seeds, and some of them twice.

use std::fmt::Debug;
use std::ops::Range;

use sim::seeds::Report;

/// Runs seeds of a world, and fails with how to see it again. What they met together.
#[track_caller]
pub fn run_all<C: Default>(
    (world, steps): (&str, usize),
    seeds: Range<u64>,
    run: impl Fn(u64, usize) -> Report<C>,
    add: impl Fn(&mut C, &C),
) -> C {
    let mut total = C::default();
    for seed in seeds {
        let Report { failure, counts, .. } = run(seed, steps);
        if let Some(why) = failure {
            let again = format!("cargo run -p sim -- {world} --seeds 1 --from {seed} --ops {steps}");
            panic!("seed {seed} failed: {why}\nsee it again: {again}");
        }
        add(&mut total, &counts);
    }
    total
}

/// What the runs met is enough to have tried something.
#[track_caller]
pub fn did_something(total: &impl Debug, counts: &[(&str, u64, u64)]) {
    println!("{total:?}");
    for (what, count, least) in counts {
        assert!(count >= least, "the runs do something: {what} {count}");
    }
}

/// The same seed does the same, to the letter.
#[track_caller]
pub fn repeats<C>(steps: usize, seeds: Range<u64>, run: impl Fn(u64, usize) -> Report<C>) {
    for seed in seeds {
        let (one, two) = (run(seed, steps), run(seed, steps));
        assert_eq!(one.log, two.log, "seed {seed}");
        assert_eq!(one.digest, two.digest, "seed {seed}");
    }
}

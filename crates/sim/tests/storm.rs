//! A bounded storm: every seed here runs on every change. Thousands run by the binary.

use sim::world::{Menu, Report, run_seed};

/// Steps of each run.
const STEPS: usize = 250;

fn check(menu: Menu, seeds: std::ops::Range<u64>) {
    let mut total = sim::world::Counts::default();
    for seed in seeds {
        let Report { failure, counts, .. } = run_seed(seed, STEPS, menu);
        if let Some((place, why)) = failure {
            let again = format!("cargo run -p sim -- --seeds 1 --from {seed} --ops {STEPS} --faults {menu}");
            panic!("seed {seed} failed at step {place}: {why}\nsee it again: {again}");
        }
        total.add(&counts);
    }
    println!("{menu}: {total:?}");
    assert!(total.agreed > 1_000 && total.reads > 100, "the runs do something: {total:?}");
    match menu {
        Menu::None => assert_eq!((total.crashes, total.refused), (0, 0)),
        Menu::Crash => assert!(total.crashes > 100 && total.survived > 0 && total.open > total.survived, "{total:?}"),
        Menu::All => assert!(total.crashes > 100 && total.refused > 0, "{total:?}"),
        Menu::Flip => assert!(total.flips > 20 && total.damaged > 0, "{total:?}"),
    }
}

#[test]
fn both_engines_answer_alike() {
    check(Menu::None, 0..70);
}

#[test]
fn what_was_acknowledged_survives_crashes() {
    check(Menu::Crash, 1_000..1_100);
}

#[test]
fn nothing_is_lost_to_a_full_or_failing_disk() {
    check(Menu::All, 2_000..2_100);
}

#[test]
fn a_flipped_bit_costs_what_it_hits_and_is_named() {
    check(Menu::Flip, 3_000..3_050);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 4_000..4_020 {
        let menu = Menu::of(seed);
        let (one, two) = (run_seed(seed, STEPS, menu), run_seed(seed, STEPS, menu));
        assert_eq!(one.log, two.log, "seed {seed}");
        assert_eq!(one.digest, two.digest, "seed {seed}");
    }
}

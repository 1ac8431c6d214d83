//! A backlog is pushed: it is stated while the peer is not known, and then the peer is declared.
//!
//! The rate is taken from the moment before the peer is declared until the receiver has the last fact on
//! disk, by the count of its stream. What waits is read from the sender's disk, and every fact that the
//! receiver acknowledges is on its own.

use std::thread;
use std::time::Instant;

use super::Bench;
use super::site::{LOOK, PATIENCE, Site, ids, peer};
use crate::bench::spread::Spread;

/// Facts of a backlog, one by one and in batches: some seconds at the rates that are asked.
const SINGLE: usize = 20_000;
const SINGLE_QUICK: usize = 1_000;
const BATCH: usize = 200_000;
const BATCH_QUICK: usize = 10_000;
/// What is asked.
const SINGLE_RATE_MIN: f64 = 2_000.0;
const BATCH_RATE_MIN: f64 = 50_000.0;
/// Parts of which the slowest is shown.
const PARTS: usize = 4;

/// One fact a request.
pub fn single(bench: &Bench) -> Result<(), String> {
    run(bench, "off", bench.count(SINGLE, SINGLE_QUICK), SINGLE_RATE_MIN)
}

/// Many facts a request.
pub fn batch(bench: &Bench) -> Result<(), String> {
    run(bench, "auto", bench.count(BATCH, BATCH_QUICK), BATCH_RATE_MIN)
}

fn run(bench: &Bench, batch: &str, facts: usize, asked: f64) -> Result<(), String> {
    let (mut whole, mut slowest, mut loaded) = (Spread::default(), Spread::default(), Spread::default());
    for _ in 0..bench.rounds {
        let (a, b) = bench.pair()?;
        let begun = Instant::now();
        a.load("d", facts)?;
        loaded.add(facts as f64 / begun.elapsed().as_secs_f64());
        let curve = drain(&a, &b, batch, facts)?;
        b.check(ids("d", facts))?;
        whole.add(rate(&curve, 0, facts));
        let part = |number: usize| rate(&curve, facts * number / PARTS, facts * (number + 1) / PARTS);
        slowest.add((1..PARTS).map(part).fold(f64::INFINITY, f64::min));
    }
    whole.print_rate(&format!("{facts} facts, from the peer's declaration to the last on disk"), Some(asked));
    slowest.print_rate("the slowest of the last three quarters", None);
    loaded.print_rate("stated before, over 64 connections", None);
    Ok(())
}

/// Seconds since the peer was declared, and how many facts the receiver then had.
type Curve = Vec<(f64, usize)>;

fn drain(a: &Site, b: &Site, batch: &str, facts: usize) -> Result<Curve, String> {
    let mut conn = b.node.connect()?;
    let (begun, mut curve) = (Instant::now(), vec![(0.0, 0)]);
    a.declare(&[peer("b", &b.endpoint(), batch)])?;
    let (mut last, mut moved) = (0, Instant::now());
    while last < facts {
        let now = b.recorded(&mut conn)?;
        if now > last {
            (last, moved) = (now, Instant::now());
            curve.push((begun.elapsed().as_secs_f64(), now));
        }
        if moved.elapsed() > PATIENCE {
            return Err(a.told(&b.told(&format!("{last} of {facts} facts, and no more come"))));
        }
        thread::sleep(LOOK);
    }
    Ok(curve)
}

/// How many a second, between two counts of the curve.
fn rate(curve: &Curve, from: usize, to: usize) -> f64 {
    let at = |count: usize| curve.iter().find(|(_, reached)| *reached >= count).copied().unwrap_or_default();
    let ((begun, first), (ended, last)) = (at(from), at(to));
    (last - first.min(last)) as f64 / (ended - begun).max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_taken_between_the_points_that_reached_the_counts() {
        let curve = vec![(0.0, 0), (1.0, 10), (2.0, 30), (4.0, 40)];
        let check = |from, to, expected: f64| assert!((rate(&curve, from, to) - expected).abs() < 1e-9);
        check(0, 40, 10.0);
        check(10, 30, 20.0);
        check(11, 40, 5.0);
    }
}

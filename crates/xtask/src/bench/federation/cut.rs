//! A partition: facts are stated at a steady rate while the link to the peer is cut and heals.
//!
//! Converged is when the receiver has everything that was acknowledged up to 100 ms before, for the first
//! time after the link healed; facts go on being stated meanwhile. In the end the receiver's stream is
//! read whole: every fact that was acknowledged once, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::proxy::{Link, Mode};
use super::site::{LOOK, PATIENCE, Site, emit, ids, peer};
use crate::bench::spread::Spread;

/// Facts in a second.
const RATE: u32 = 1_000;
/// Connections over which they are stated.
const CONNECTIONS: u32 = 8;
/// How long the link is whole before, and after.
const WHOLE: Duration = Duration::from_secs(2);
/// How long it is cut.
const CUT: Duration = Duration::from_secs(60);
const CUT_QUICK: Duration = Duration::from_secs(10);
/// What passes at once, and so is nothing that was missed.
const FRESH: Duration = Duration::from_millis(100);
/// What is under way when the link is cut may still arrive for so long.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// How much of the rate must be kept up for the figures to count.
const RATE_KEPT_MIN: f64 = 0.95;
/// What converging is held to.
const CONVERGED_MAX: Duration = Duration::from_secs(5);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let cut = if bench.quick { CUT_QUICK } else { CUT };
    for (mode, what) in [(Mode::Silent, "packets vanish"), (Mode::Closed, "connections are closed")] {
        let [mut converged, mut behind, mut emitted, mut rate] = <[Spread; 4]>::default();
        let mut facts = 0;
        for _ in 0..bench.rounds {
            let mut round = round(bench, mode, cut)?;
            converged.add(round.converged.as_secs_f64());
            behind.add(round.behind as f64);
            rate.add(round.rate);
            emitted.add_percentile(&mut round.emitted, 99);
            facts += round.facts;
        }
        let length = format!("{} s, {what}", cut.as_secs());
        converged.print_time(&format!("{length}: healed to converged"), Some(CONVERGED_MAX));
        rate.print_rate(&format!("{length}: stated meanwhile"), Some(f64::from(RATE) * RATE_KEPT_MIN));
        emitted.print_time(&format!("{length}: emit's own answer, p99"), None);
        let [behind, ..] = behind.three();
        super::super::figure(&format!("{length}: facts that waited when it healed"), &format!("{behind:.0}"), None);
        let all = format!("{facts} of {facts}");
        super::super::figure(&format!("{length}: facts there once"), &all, Some(("none lost, none doubled", true)));
    }
    Ok(())
}

/// What a round measured.
struct Round {
    converged: Duration,
    behind: usize,
    emitted: Vec<Duration>,
    facts: usize,
    /// Facts acknowledged in a second, from the first to the last.
    rate: f64,
}

/// When each fact was acknowledged, and how long that took.
type Acknowledged = Mutex<Vec<(Instant, Duration)>>;

fn round(bench: &Bench, mode: Mode, cut: Duration) -> Result<Round, String> {
    let (a, b) = bench.pair()?;
    let link = Link::to(b.node.http)?;
    a.declare(&[peer("b", &link.endpoint(), "auto")])?;
    let (over, acknowledged) = (AtomicBool::new(false), Acknowledged::default());
    thread::scope(|scope| {
        let stating: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (a, over, acknowledged) = (&a, &over, &acknowledged);
                scope.spawn(move || state(a, number, over, acknowledged))
            })
            .collect();
        let watched = watch(&b, &link, mode, cut, &acknowledged);
        over.store(true, Ordering::Relaxed);
        let mut stated: Vec<usize> = Vec::new();
        for task in stating {
            stated.push(task.join().unwrap_or_else(|_| Err("a thread panicked".to_string()))?);
        }
        let (converged, behind) = watched.map_err(|said| a.told(&b.told(&said)))?;
        let facts = stated.iter().sum();
        b.until(facts).map_err(|said| a.told(&said))?;
        let wanted = stated.iter().enumerate().flat_map(|(number, count)| ids(&format!("c{number}-"), *count));
        b.check(wanted.collect())?;
        let acknowledged = locked(&acknowledged);
        let took = acknowledged.first().zip(acknowledged.last()).map_or(Duration::ZERO, |(a, b)| b.0 - a.0);
        let rate = facts as f64 / took.as_secs_f64().max(1e-9);
        let emitted = acknowledged.iter().map(|(_, took)| *took).collect();
        Ok(Round { converged, behind, emitted, facts, rate })
    })
}

fn locked(acknowledged: &Acknowledged) -> std::sync::MutexGuard<'_, Vec<(Instant, Duration)>> {
    acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
}

/// States facts at an even pace until it is over; how many.
fn state(a: &Site, number: u32, over: &AtomicBool, acknowledged: &Acknowledged) -> Result<usize, String> {
    let mut conn = a.node.connect()?;
    let pace = Duration::from_secs(1) * CONNECTIONS / RATE;
    let (begun, mut count) = (Instant::now() + pace * number / CONNECTIONS, 0);
    while !over.load(Ordering::Relaxed) {
        let due = begun + pace * count;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        emit(&mut conn, &format!("c{number}-{count}")).map_err(|said| a.told(&said))?;
        let now = Instant::now();
        locked(acknowledged).push((now, now - sent));
        count += 1;
    }
    Ok(count as usize)
}

/// Cuts and heals; how long converging took, and how many facts waited when the link healed.
fn watch(
    b: &Site,
    link: &Link,
    mode: Mode,
    cut: Duration,
    acknowledged: &Acknowledged,
) -> Result<(Duration, usize), String> {
    let mut conn = b.node.connect()?;
    caught_up(b, acknowledged)?;
    thread::sleep(WHOLE);
    link.set(mode);
    thread::sleep(UNDER_WAY);
    let before = b.recorded(&mut conn)?;
    thread::sleep(cut - UNDER_WAY);
    let there = b.recorded(&mut conn)?;
    if there > before {
        return Err(format!("{} facts passed a link that was cut", there - before));
    }
    let behind = locked(acknowledged).len().saturating_sub(there);
    link.set(Mode::Whole);
    let converged = caught_up(b, acknowledged)?;
    thread::sleep(WHOLE);
    Ok((converged, behind))
}

/// Waits until everything acknowledged up to a moment ago is there; how long that took.
fn caught_up(b: &Site, acknowledged: &Acknowledged) -> Result<Duration, String> {
    let (mut conn, begun) = (b.node.connect()?, Instant::now());
    while begun.elapsed() < PATIENCE {
        let asked = Instant::now();
        let there = b.recorded(&mut conn)?;
        // In order of time: the list is appended to.
        let due = locked(acknowledged).partition_point(|(at, _)| *at + FRESH < asked);
        if due > 0 && there >= due {
            return Ok(begun.elapsed());
        }
        thread::sleep(LOOK);
    }
    Err("the receiver does not catch up".to_string())
}

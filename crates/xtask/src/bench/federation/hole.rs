//! One of 50 peers accepts and never answers. The others are receivers in this program; what is measured is
//! the time from the request that states a fact until each of the 49 has it.
//!
//! Rounds with and without the dead peer alternate, each on a fresh node. Without, the fiftieth answers too.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::peers::{Came, Peer};
use super::site::{PATIENCE, emit, peer};
use crate::bench::spread::Spread;

/// Peers.
const PEERS: usize = 50;
/// Facts of a round.
const FACTS: usize = 300;
const FACTS_QUICK: usize = 40;
/// Facts before them: the node learns what its peers speak.
const WARM_UP: usize = 20;
/// Between two facts: 1,000 pushes a second in all.
const PACE: Duration = Duration::from_millis(50);
/// How much more than without the dead peer.
const DEARER_MAX: f64 = 1.2;

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let facts = bench.count(FACTS, FACTS_QUICK);
    let mut figures: [[Spread; 2]; 2] = Default::default();
    for pair in 0..bench.rounds {
        // The first of a pair is now the one kind, now the other.
        let first = pair % 2 == 1;
        for dead in [first, !first] {
            let mut times = round(bench, dead, facts)?;
            let [p50, p99] = &mut figures[usize::from(dead)];
            p50.add_percentile(&mut times, 50);
            p99.add_percentile(&mut times, 99);
        }
    }
    for (what, [p50, p99]) in ["all 50 answer", "one of 50 is dead"].iter().zip(&figures) {
        p50.print_time(&format!("{what}: emitted to received by one of the 49, p50"), None);
        p99.print_time(&format!("{what}: emitted to received by one of the 49, p99"), None);
    }
    let mut ratio = Spread::default();
    ratio.add(figures[1][1].median() / figures[0][1].median().max(f64::MIN_POSITIVE));
    ratio.print_ratio("p99 with the dead peer beside without", DEARER_MAX);
    Ok(())
}

fn round(bench: &Bench, dead: bool, facts: usize) -> Result<Vec<Duration>, String> {
    let site = bench.site("a")?;
    let (told, came) = channel();
    let (unwatched, _nobody) = channel();
    let mut peers = (1..PEERS).map(|_| Peer::light(told.clone())).collect::<Result<Vec<_>, _>>()?;
    peers.push(if dead { Peer::hole()? } else { Peer::light(unwatched)? });
    let names = peers.iter().enumerate();
    let mut resources: Vec<_> = names.map(|(n, each)| peer(&format!("p{n}"), &each.endpoint(), "auto")).collect();
    resources.insert(0, site.group()?);
    site.declare(&resources)?;
    let mut conn = site.node.connect()?;
    let mut run = |prefix: &str, count: usize| {
        let mut sent = BTreeMap::new();
        let begun = Instant::now();
        for number in 0..count {
            let due = PACE * u32::try_from(number).unwrap_or(u32::MAX);
            thread::sleep(due.saturating_sub(begun.elapsed()));
            let id = format!("{prefix}{number}");
            sent.insert(id.clone(), Instant::now());
            emit(&mut conn, &id)?;
        }
        collect(&sent, &came)
    };
    run("warm", WARM_UP).and_then(|_| run("f", facts)).map_err(|said| site.told(&said))
}

/// The time that each fact took to each of the 49.
fn collect(sent: &BTreeMap<String, Instant>, came: &Receiver<Came>) -> Result<Vec<Duration>, String> {
    let expected = sent.len() * (PEERS - 1);
    let mut times = Vec::with_capacity(expected);
    while times.len() < expected {
        let missing = |_| format!("{} of {expected} pushes came, and no more do", times.len());
        let Came { id, at } = came.recv_timeout(PATIENCE).map_err(missing)?;
        if let Some(sent) = sent.get(&id) {
            times.push(at.saturating_duration_since(*sent));
        }
    }
    Ok(times)
}

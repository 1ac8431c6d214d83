//! What a connection costs that hears nothing: the node's resident memory, and its processor.

use std::time::{Duration, Instant};

use super::Bench;
use super::crowd::Crowd;
use super::load::{Listens, messengers, rooms};
use super::site::Site;
use crate::bench::spread::Spread;

/// Connections.
const CONNECTIONS: usize = 10_000;
const CONNECTIONS_QUICK: usize = 1_000;
/// Rooms that they are in.
const ROOMS: usize = 100;
/// Connections before the first look at memory: what the node needs once is not counted.
const FIRST: usize = 10;
/// How long the node rests before its memory is read.
const REST: Duration = Duration::from_secs(2);
/// Seconds over which the processor is looked at: two rounds of pings.
const SECONDS: u64 = 60;
/// What the memory of one is held to, in bytes.
const BYTES_MAX: f64 = 12.0 * 1024.0;

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let count = bench.count(CONNECTIONS, CONNECTIONS_QUICK);
    let [mut memory, mut after, mut cpu] = [(); 3].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let site = super::start(bench, "hub")?;
        let (rooms, mut crowd) = (rooms(ROOMS), Crowd::new()?);
        let listens: Vec<Listens> = (0..count as u64).map(|number| Listens::Room(number % ROOMS as u64)).collect();
        messengers(&mut crowd, site.hub, &listens[..FIRST], &rooms).map_err(|said| site.told(&said))?;
        rest(&mut crowd, REST)?;
        let before = resident(&site)?;
        messengers(&mut crowd, site.hub, &listens[FIRST..], &rooms).map_err(|said| site.told(&said))?;
        rest(&mut crowd, REST)?;
        let each = |now: f64| (now - before) / (count - FIRST) as f64;
        memory.add(each(resident(&site)?));
        let (used, time) = (site.node.cpu()?, super::time(bench, SECONDS));
        rest(&mut crowd, time).map_err(|said| site.told(&said))?;
        cpu.add(100.0 * (site.node.cpu()?.saturating_sub(used)).as_secs_f64() / time.as_secs_f64());
        after.add(each(resident(&site)?));
        if crowd.len() != count {
            return Err(site.told("somebody is missing"));
        }
    }
    memory.print_bytes(&format!("memory of an idle connection, of {count}"), Some(BYTES_MAX));
    after.print_bytes("the same a while later, pings answered", Some(BYTES_MAX));
    cpu.print_percent("of one core, for all of them", None);
    Ok(())
}

/// Answers pings for so long.
fn rest(crowd: &mut Crowd, time: Duration) -> Result<(), String> {
    let begun = Instant::now();
    while begun.elapsed() < time {
        crowd.turn(Duration::from_millis(50), &mut |_, _, _| Ok(()))?;
    }
    Ok(())
}

fn resident(site: &Site) -> Result<f64, String> {
    site.node.resident().map(|bytes| bytes as f64).ok_or_else(|| site.told("its memory cannot be read"))
}

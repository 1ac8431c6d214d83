//! Three hubs, each linked with each: every event is to come once to every messenger, whichever hub it
//! entered at.

use std::time::Duration;

use super::Bench;
use super::crowd::Crowd;
use super::load::{Listens, PUBLISHERS, Plan, drive, messengers, rooms};
use crate::bench::spread::Spread;

/// Events in a second, all hubs together.
const EVENTS_PER_SECOND: f64 = 10_000.0;
/// How far apart they are.
const PACE: Duration = Duration::from_micros(100);
/// How close to the rate the load must have come.
const HELD: f64 = 0.99;
/// Rooms of the events.
const ROOMS: usize = 100;
/// Messengers of each hub that hear every room.
const LISTENERS: usize = 2;
/// Seconds that are measured, behind those that are not.
const SECONDS: u64 = 10;
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let [mut events, mut rate, mut cpu, mut p50, mut p99] = [(); 5].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let sites = [super::start(bench, "hub-a")?, super::start(bench, "hub-b")?, super::start(bench, "hub-c")?];
        let [a, b, c] = &sites;
        // Both sides of a link dial, as originals do.
        a.link(&[b, c])?;
        b.link(&[a, c])?;
        c.link(&[a, b])?;
        sites.iter().try_for_each(|site| site.until_linked(2))?;
        let (rooms, mut crowd, mut listens) = (rooms(ROOMS), Crowd::new()?, Vec::new());
        for site in &sites {
            messengers(&mut crowd, site.hub, &[Listens::All; LISTENERS], &rooms).map_err(|said| site.told(&said))?;
            listens.extend([Listens::All; LISTENERS]);
        }
        let hubs: [_; PUBLISHERS] = [a.hub, b.hub, c.hub, a.hub];
        let measured = super::time(bench, SECONDS);
        let plan = Plan { rooms, hubs, listens, pace: Some(PACE), warm_up: WARM_UP, measured };
        let mut seen = Vec::new();
        let done = drive(&mut crowd, &plan, || {
            seen.push(sites.iter().map(|site| site.node.cpu()).sum::<Result<Duration, String>>()?);
            Ok(())
        });
        let logs = || sites.iter().map(|site| site.told("")).collect::<Vec<_>>().join("\n");
        let mut done = done.map_err(|said| format!("{said}\n{}", logs()))?;
        events.add(done.events);
        rate.add(done.rate);
        if let [before, after] = seen.as_slice() {
            cpu.add(100.0 * after.saturating_sub(*before).as_secs_f64() / done.took.as_secs_f64());
        }
        p50.add_percentile(&mut done.times, 50);
        p99.add_percentile(&mut done.times, 99);
    }
    events.print_rate("events, each once at every messenger of every hub", Some(EVENTS_PER_SECOND * HELD));
    rate.print_rate("deliveries", None);
    cpu.print_percent("of one core, the three nodes together", None);
    p50.print_time("from when it was due until it was read: p50", None);
    p99.print_time("from when it was due until it was read: p99", None);
    Ok(())
}

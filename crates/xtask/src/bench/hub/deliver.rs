//! How many deliveries a hub sustains, what each costs, and how long one takes at half that rate.

use std::time::Duration;

use super::Bench;
use super::crowd::Crowd;
use super::load::{Listens, Measured, PUBLISHERS, Plan, drive, messengers, rooms};
use super::site::Site;
use crate::bench::spread::Spread;
use crate::node::processor_time;

/// Messengers, and the rooms they are in.
pub const MESSENGERS: u64 = 1_000;
pub const ROOMS: u64 = 100;
/// Seconds that are measured, behind those that are not.
const SECONDS: u64 = 10;
const WARM_UP: Duration = Duration::from_secs(1);
/// What p99 at half the sustained rate is held to.
const P99_MAX: Duration = Duration::from_millis(20);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let [mut rate, mut events, mut cpu, mut load, mut p50, mut p99, mut half] = [(); 7].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let site = super::start(bench, "hub")?;
        let (mut crowd, mut plan) = crowd(&site)?;
        plan.measured = super::time(bench, SECONDS);
        let (full, used) = metered(&site, &mut crowd, &plan).map_err(|said| site.told(&said))?;
        rate.add(full.rate);
        events.add(full.events);
        cpu.add(used[0].as_secs_f64() / full.deliveries.max(1.0));
        load.add(used[1].as_secs_f64() / full.deliveries.max(1.0));
        plan.pace = Some(Duration::from_secs_f64(2.0 / full.events.max(1.0)));
        let (mut slow, _) = metered(&site, &mut crowd, &plan).map_err(|said| site.told(&said))?;
        half.add(slow.rate);
        p50.add_percentile(&mut slow.times, 50);
        p99.add_percentile(&mut slow.times, 99);
    }
    rate.print_rate("deliveries sustained", None);
    events.print_rate("events sustained", None);
    cpu.print_time("the node's CPU a delivery", None);
    load.print_time("the load's CPU a delivery, for comparison", None);
    half.print_rate("deliveries at half that rate", None);
    p50.print_time("from when it was due until it was read, at half the rate: p50", None);
    p99.print_time("from when it was due until it was read, at half the rate: p99", Some(P99_MAX));
    Ok(())
}

/// Every messenger in its room, and the plan for events to all rooms.
pub fn crowd(site: &Site) -> Result<(Crowd, Plan), String> {
    let rooms = rooms(usize::try_from(ROOMS).unwrap_or_default());
    let listens: Vec<Listens> = (0..MESSENGERS).map(|number| Listens::Room(number % ROOMS)).collect();
    let mut crowd = Crowd::new()?;
    messengers(&mut crowd, site.hub, &listens, &rooms).map_err(|said| site.told(&said))?;
    let hubs = [site.hub; PUBLISHERS];
    let plan = Plan { rooms, hubs, listens, pace: None, warm_up: WARM_UP, measured: Duration::from_secs(SECONDS) };
    Ok((crowd, plan))
}

/// Runs a plan, and says what the node and this program used of the processor while it was measured.
fn metered(site: &Site, crowd: &mut Crowd, plan: &Plan) -> Result<(Measured, [Duration; 2]), String> {
    let mut seen: Vec<[Duration; 2]> = Vec::new();
    let measured = drive(crowd, plan, || {
        seen.push([site.node.cpu()?, processor_time(std::process::id())?]);
        Ok(())
    })?;
    let used = match seen.as_slice() {
        [before, after] => [after[0].saturating_sub(before[0]), after[1].saturating_sub(before[1])],
        _ => [Duration::ZERO; 2],
    };
    Ok((measured, used))
}

//! A large catalogue: how fast it is registered, what it takes in memory, how soon it is there again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::site::{Site, register, registration};
use crate::bench::spread::Spread;

/// Instances, and services that they are of.
const INSTANCES: usize = 100_000;
const INSTANCES_QUICK: usize = 10_000;
const SERVICES: usize = 1_000;
/// Connections that register at the same time.
const CONNECTIONS: usize = 64;
/// How long the node rests before its memory is read.
const REST: Duration = Duration::from_secs(2);
/// What a start is held to, from being started to the first answer.
const START_MAX: Duration = Duration::from_secs(1);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let count = bench.count(INSTANCES, INSTANCES_QUICK);
    let [mut rate, mut memory, mut start, mut after] = [(); 4].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let site = Site::start(&bench.binary, &bench.folder)?;
        thread::sleep(REST);
        let empty = site.resident()?;
        let begun = Instant::now();
        fill(&site, count).map_err(|said| site.told(&said))?;
        rate.add(count as f64 / begun.elapsed().as_secs_f64());
        thread::sleep(REST);
        memory.add((site.resident()? - empty) / count as f64);
        let site = site.again()?;
        let begun = Instant::now();
        until_whole(&site, count).map_err(|said| site.told(&said))?;
        start.add((site.node.start + begun.elapsed()).as_secs_f64());
        thread::sleep(REST);
        after.add((site.resident()? - empty) / count as f64);
    }
    rate.print_rate("registrations, each answered when it is on disk", None);
    memory.print_bytes(&format!("memory of an instance, of {count}"), None);
    start.print_time("from the start until a service is answered whole", Some(START_MAX));
    after.print_bytes("memory of an instance after the start", None);
    Ok(())
}

fn name(number: usize) -> String {
    format!("service-{:04}", number % SERVICES)
}

fn fill(site: &Site, count: usize) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let one = || -> Result<(), String> {
        let mut conn = site.connect()?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            register(&mut conn, &registration(&name(number), number, 0))?;
        }
    };
    thread::scope(|scope| {
        let tasks: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(one)).collect();
        tasks.into_iter().try_for_each(|task| task.join().unwrap_or_else(|_| Err("a connection panicked".to_string())))
    })
}

/// Asks for the last service until it has all its instances.
fn until_whole(site: &Site, count: usize) -> Result<(), String> {
    let (mut conn, last) = (site.connect()?, name(count - 1));
    let wanted = (0..count).filter(|number| name(*number) == last).count();
    let path = format!("/v1/health/service/{last}");
    let begun = Instant::now();
    loop {
        let answer = conn.get(&path).map_err(|error| error.to_string())?;
        let found = answer.json().as_array().map_or(0, Vec::len);
        if answer.status == 200 && found == wanted {
            return Ok(());
        }
        if begun.elapsed() > super::service::PATIENCE {
            return Err(format!("{last} has {found} of {wanted} instances: {}", answer.status));
        }
    }
}

//! How soon a node's neighbour knows the names that it announces: the machines alone, then two nodes and a link.

use std::thread;
use std::time::{Duration, Instant};

use super::site::{Mesh, Site};
use super::{Bench, pure};
use crate::bench::nats::wire::Wire;
use crate::bench::spread::Spread;

/// Names that clients of one node begin to listen to.
const NAMES: usize = 100_000;
/// Connections that they come on.
const CLIENTS: usize = 4;
/// Of how many names it is tried that messages from the neighbour come.
const TRIED: usize = 1_000;
/// What is asked for.
const KNOWN_MAX: Duration = Duration::from_secs(1);
/// How often it is looked how many names the neighbour knows.
const LOOK: Duration = Duration::from_millis(5);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    pure(bench, "names")?;
    let [mut known, mut gone, mut first_cpu, mut second_cpu] = [(); 4].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let mesh = Mesh::chain(&bench.binary, &bench.folder, &[("a", "a1"), ("b", "b1")])?;
        let [first, second] = &mesh.sites[..] else { return Err("two nodes".to_string()) };
        let mut linked = first.wire()?;
        linked.subscribe("linked", "", 1)?;
        mesh.until_heard(second, &mut linked, "linked")?;
        let before = (first.node.cpu()?, second.node.cpu()?, wishes(second)?);
        let clients: Vec<Wire> = (0..CLIENTS).map(|_| first.wire()).collect::<Result<_, _>>()?;
        let begun = Instant::now();
        let clients = announce(clients)?;
        until(second, before.2 + NAMES as u64)?;
        known.add(begun.elapsed().as_secs_f64());
        let after = (first.node.cpu()?, second.node.cpu()?);
        first_cpu.add((after.0 - before.0).as_secs_f64() / NAMES as f64);
        second_cpu.add((after.1 - before.1).as_secs_f64() / NAMES as f64);
        let clients = try_some(second, clients)?;
        let begun = Instant::now();
        drop(clients);
        until(second, before.2)?;
        gone.add(begun.elapsed().as_secs_f64());
    }
    known.print_time("100,000 names of a node's clients, known at its neighbour", Some(KNOWN_MAX));
    first_cpu.print_time("processor time of the node a name", None);
    second_cpu.print_time("processor time of its neighbour a name", None);
    gone.print_time("the clients go: known at the neighbour that none is left", None);
    Ok(())
}

/// A name as the SLIM door spells it.
fn spelt(number: usize) -> String {
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("slim.873e580376ea963b.219303c7c93f9668.{mixed:016x}.{number:032x}")
}

/// Each client begins to listen to its part of the names, all at a time.
fn announce(clients: Vec<Wire>) -> Result<Vec<Wire>, String> {
    let subscribe = |(part, mut wire): (usize, Wire)| {
        let numbers = (part..NAMES).step_by(CLIENTS);
        let lines: String = numbers.map(|number| format!("SUB {} {}\r\n", spelt(number), number + 1)).collect();
        wire.send(lines.as_bytes()).and_then(|()| wire.flush()).map(|()| wire)
    };
    let threads: Vec<_> =
        clients.into_iter().enumerate().map(|client| thread::spawn(move || subscribe(client))).collect();
    threads.into_iter().map(|thread| thread.join().map_err(|_| "a client failed".to_string())?).collect()
}

/// How many names a node knows of others.
fn wishes(site: &Site) -> Result<u64, String> {
    let text = site.node.connect()?.get("/metrics").map_err(|error| site.told(&error.to_string()))?.text();
    let line = text.lines().find_map(|line| line.strip_prefix("tidings_mesh_wishes "));
    let value = line.and_then(|value| value.trim().parse().ok());
    value.ok_or_else(|| site.told("the metrics say nothing of wishes"))
}

fn until(site: &Site, count: u64) -> Result<(), String> {
    let begun = Instant::now();
    while wishes(site)? != count {
        if begun.elapsed() > super::site::PATIENCE {
            return Err(site.told(&format!("it knows {} names, not {count}", wishes(site)?)));
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Messages of the neighbour to some of the names come, each to its client.
fn try_some(from: &Site, mut clients: Vec<Wire>) -> Result<Vec<Wire>, String> {
    let mut publisher = from.wire()?;
    let tried = (0..NAMES).step_by(NAMES / TRIED);
    let lines: String = tried.clone().map(|number| format!("PUB {} 1\r\nx\r\n", spelt(number))).collect();
    publisher.send(lines.as_bytes())?;
    publisher.flush()?;
    for (part, client) in clients.iter_mut().enumerate() {
        for number in tried.clone().filter(|number| number % CLIENTS == part) {
            let message = client.message().map_err(|said| from.told(&said))?;
            let line = client.text(&message.line);
            if !line.contains(&spelt(number)) {
                return Err(from.told(&format!("{line} came, not {}", spelt(number))));
            }
        }
    }
    Ok(clients)
}

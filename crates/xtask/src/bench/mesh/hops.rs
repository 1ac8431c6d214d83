//! What a link adds to the time of a message.

use std::time::{Duration, Instant};

use super::Bench;
use super::site::Mesh;
use crate::bench::spread::Spread;

/// A chain of so many links.
const DOMAINS: [(&str, &str); 4] = [("a", "a1"), ("b", "b1"), ("c", "c1"), ("d", "d1")];
/// Messages that are measured to each node, behind those that are not.
const MESSAGES: usize = 5_000;
const WARM_UP: usize = 500;
/// Bytes of a payload.
const SIZE: usize = 128;
/// What a hop may add to the median.
const HOP_MAX: Duration = Duration::from_micros(100);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let mut medians: [Spread; DOMAINS.len()] = Default::default();
    let mut tails: [Spread; DOMAINS.len()] = Default::default();
    let mut added = Spread::default();
    for _ in 0..bench.rounds {
        let mesh = Mesh::chain(&bench.binary, &bench.folder, &DOMAINS)?;
        let mut p50s = Vec::new();
        for (hops, (p50, p99)) in medians.iter_mut().zip(&mut tails).enumerate() {
            let mut times = times(&mesh, hops, bench.count(MESSAGES, MESSAGES / 5))?;
            let mut one = Spread::default();
            one.add_percentile(&mut times, 50);
            p50s.push(one.median());
            p50.add(one.median());
            p99.add_percentile(&mut times, 99);
        }
        let (Some(none), Some(most)) = (p50s.first(), p50s.last()) else { continue };
        added.add((most - none) / (DOMAINS.len() - 1) as f64);
    }
    for (hops, (p50, p99)) in medians.iter().zip(&tails).enumerate() {
        p50.print_time(&format!("over {hops} links: p50"), None);
        p99.print_time(&format!("over {hops} links: p99"), None);
    }
    added.print_time("added for each link, p50", Some(HOP_MAX));
    Ok(())
}

/// The times from when a message is written until it is read, one after the other.
fn times(mesh: &Mesh, hops: usize, messages: usize) -> Result<Vec<Duration>, String> {
    let (Some(first), Some(last)) = (mesh.sites.first(), mesh.sites.get(hops)) else {
        return Err("there are fewer nodes".to_string());
    };
    let subject = format!("hops.{hops}");
    let mut reader = last.wire()?;
    reader.subscribe(&subject, "", 1)?;
    mesh.until_heard(first, &mut reader, &subject)?;
    let mut writer = first.wire()?;
    let frame = [format!("PUB {subject} {SIZE}\r\n").as_bytes(), &[b'x'; SIZE], b"\r\n"].concat();
    let mut times = Vec::with_capacity(messages);
    for number in 0..messages + WARM_UP {
        let begun = Instant::now();
        writer.send(&frame)?;
        let message = reader.message().map_err(|said| last.told(&said))?;
        let took = begun.elapsed();
        if message.body.len() != SIZE {
            return Err(format!("a message of {} bytes came", message.body.len()));
        }
        if number >= WARM_UP {
            times.push(took);
        }
    }
    Ok(times)
}

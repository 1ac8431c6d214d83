//! A gateway that dies, or hangs, while messages pass through it.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::site::{Mesh, Site};
use crate::bench::nats::wire::Wire;
use crate::bench::spread::Spread;

const SUBJECT: &str = "alive";
/// How far apart messages are.
const PACE: Duration = Duration::from_millis(1);
/// How long messages pass before the gateway goes, and after.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER_KILL: Duration = Duration::from_secs(3);
const AFTER_STOP: Duration = Duration::from_secs(7);
/// How long nothing may come.
const KILLED_MAX: Duration = Duration::from_millis(100);
const STOPPED_MAX: Duration = Duration::from_secs(4);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let [mut killed, mut lost, mut stopped] = [(); 3].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let (outage, gone) = round(bench, "-KILL", AFTER_KILL)?;
        killed.add(outage.as_secs_f64());
        lost.add(gone as f64);
        stopped.add(round(bench, "-STOP", AFTER_STOP)?.0.as_secs_f64());
    }
    killed.print_time("a gateway is killed: nothing comes for", Some(KILLED_MAX));
    lost.print_count("messages lost of 1,000 a second");
    stopped.print_time("a gateway is stopped: nothing comes for", Some(STOPPED_MAX));
    Ok(())
}

/// The longest time in which nothing came, and how many messages were lost.
fn round(bench: &Bench, signal: &str, after: Duration) -> Result<(Duration, u64), String> {
    let nodes = [("a", "a1"), ("b", "b1"), ("b", "b2"), ("b", "b3")];
    let mesh = Mesh::chain(&bench.binary, &bench.folder, &nodes)?;
    let first = &mesh.sites[0];
    let mut gateway = None;
    mesh.until("there is a gateway", || {
        gateway = gateway_of(first)?;
        Ok(gateway.is_some())
    })?;
    let gateway = gateway.unwrap_or_default();
    let dies = mesh.sites.iter().find(|site| site.name == gateway);
    let dies = dies.ok_or_else(|| format!("'{gateway}' is no node of these"))?;
    let hears = mesh.sites.iter().find(|site| site.domain == "b" && site.name != gateway);
    let hears = hears.ok_or("there is no other node")?;
    let mut reader = hears.wire()?;
    reader.subscribe(SUBJECT, "", 1)?;
    mesh.until_heard(first, &mut reader, SUBJECT)?;
    let writer = first.wire()?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(writer, &over));
        let ended = listen(&mut reader, dies, signal, after);
        over.store(true, Ordering::Relaxed);
        let sent = publisher.join().map_err(|_| "the publisher failed".to_string())??;
        let (outage, last, heard) = ended?;
        if signal == "-STOP" {
            act(dies, "-CONT")?;
        }
        // Those after the last that was heard were on their way when it ended.
        let lost = (last + 1).min(sent).saturating_sub(heard);
        Ok((outage, lost))
    })
}

/// The node of domain b that holds the link to domain a, where one is up.
fn gateway_of(first: &Site) -> Result<Option<String>, String> {
    let links = first.ask("GET", "/v1/mesh/links", &serde_json::json!({}))?;
    let text = links.to_string();
    let all = links["links"].as_array().cloned().unwrap_or_default();
    let up = all.iter().find_map(|link| {
        let text = link.to_string();
        let peer = ["b/b1", "b/b2", "b/b3"].into_iter().find(|peer| text.contains(peer));
        (text.contains("a/a1")).then_some(peer).flatten()
    });
    if up.is_none() && all.len() > 10 {
        return Err(format!("no link to b: {text}"));
    }
    Ok(up.map(|peer| peer.trim_start_matches("b/").to_string()))
}

fn publish(mut writer: Wire, over: &AtomicBool) -> Result<u64, String> {
    let (begun, mut sent) = (Instant::now(), 0_u64);
    while !over.load(Ordering::Relaxed) {
        writer.send(format!("PUB {SUBJECT} 12\r\n{sent:012}\r\n").as_bytes())?;
        sent += 1;
        let due = begun + PACE * u32::try_from(sent).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(sent)
}

fn act(site: &Site, signal: &str) -> Result<(), String> {
    let status = Command::new("kill").args([signal, &site.node.pid().to_string()]).status();
    status.map(|_| ()).map_err(|error| error.to_string())
}

/// Reads while the gateway goes: the longest silence, the last number and how many came. None may come twice.
fn listen(reader: &mut Wire, dies: &Site, signal: &str, after: Duration) -> Result<(Duration, u64, u64), String> {
    let begun = Instant::now();
    let (mut heard, mut last, mut outage, mut at) = (0, None::<u64>, Duration::ZERO, Instant::now());
    let mut gone = false;
    while begun.elapsed() < BEFORE + after {
        if !gone && begun.elapsed() > BEFORE {
            act(dies, signal)?;
            gone = true;
        }
        if !reader.fill_for(PACE * 10)? {
            continue;
        }
        while let Some(got) = reader.buffered()? {
            let crate::bench::nats::wire::Got::Message(message) = got else { continue };
            let number: u64 = reader.text(&message.body).parse().map_err(|_| "a payload is no number".to_string())?;
            if last.is_some_and(|last| number <= last) {
                return Err(format!("{number} came after {last:?}"));
            }
            (last, heard) = (Some(number), heard + 1);
            if gone {
                outage = outage.max(at.elapsed());
            }
            at = Instant::now();
        }
    }
    let last = last.ok_or("nothing was heard")?;
    if at.elapsed() > after / 2 {
        return Err(format!("nothing is heard since {:?} before the end", at.elapsed()));
    }
    Ok((outage, last, heard))
}

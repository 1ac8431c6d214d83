//! `cargo xtask bench`: the figures of `docs/benchmarks.md`, with the machine they come from.
//!
//! `journal` runs the engine beside a raw program, in one run: an example of the crate journal-disk.
//! `http` drives the optimised binary from outside, as its users do, and reads its start, its memory
//! and its disk use from the operating system. `nats` compares the NATS door and JetStream with
//! nats-server. `federation` runs several nodes that push facts to one another. `hub` crowds the hub door.
//! `views` watches the catalogue of services, and asks for names. `mesh` joins nodes, and serves SLIM's clients.

mod federation;
mod hub;
mod load;
mod mesh;
mod nats;
mod process;
mod rows;
mod spread;
mod views;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::flags::Flags;
use crate::node;
use crate::tree::root;

/// A machine that is busier than this at the start gives no valid figures.
const LOAD_MAX: f64 = 2.0;
/// Syncs that are timed to describe the disk.
const SYNCS: u32 = 200;

/// Runs one benchmark.
pub fn run(flags: &mut Flags) -> Result<bool, String> {
    let kind = flags.all("").pop().unwrap_or_default();
    if kind == "nats" {
        return nats::run(flags);
    }
    if kind == "federation" {
        return federation::run(flags);
    }
    if kind == "hub" {
        return hub::run(flags);
    }
    if kind == "mesh" {
        return mesh::run(flags);
    }
    if kind == "views" {
        return views::run(flags);
    }
    if kind == "mesh" {
        return mesh::run(flags);
    }
    let quick = flags.has("quick");
    flags.nothing_left()?;
    let folder = node::scratch("bench")?;
    let busy = load() > LOAD_MAX;
    for (name, value) in machine(&folder)? {
        println!("{name:<9} {value}");
    }
    let done = match kind.as_str() {
        "journal" => journal(quick),
        "http" => load::run(&folder, quick).and_then(|()| process::run(&folder, quick)),
        other => Err(format!(
            "there is no benchmark '{other}'; there are journal, http, nats, federation, hub, views and mesh"
        )),
    };
    let _left_behind = fs::remove_dir_all(&folder);
    done?;
    if busy {
        println!("\nNOT VALID: the machine was busy when this began; run it again on a quiet one");
    }
    Ok(true)
}

fn journal(quick: bool) -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "--locked", "--quiet", "--package", "journal-disk", "--example", "bench", "--"]);
    if quick {
        cargo.arg("--quick");
    }
    let status = cargo.current_dir(root()).stdin(Stdio::null()).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("the benchmark ended with {status}")) }
}

/// What runs or waits to run, averaged over a minute.
fn load() -> f64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// What the figures depend on, by name.
fn machine(folder: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let busy = load();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("\t: unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo").lines().next().unwrap_or_default().replace("MemTotal:", "");
    let sync = time_sync(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let model = model.trim_start_matches(['\t', ':', ' ']);
    Ok(vec![
        ("machine", format!("{cores} cores, {model}, {}", memory.trim())),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_string()),
        ("disk", format!("one fdatasync of 4 KiB: {} (median of {SYNCS})", spell(sync))),
        ("load", format!("{busy:.2} at the start")),
    ])
}

/// The median time of one small write and its sync, into a file that has the room.
fn time_sync(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join("sync");
    let file = fs::File::create(&path)?;
    file.write_all_at(&[0; 4096 * 64], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for count in 0..SYNCS {
        let begun = Instant::now();
        file.write_all_at(&[1; 4096], u64::from(count % 64) * 4096)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    fs::remove_file(&path)?;
    Ok(percentile(&mut times, 50))
}

/// The value that so many in a hundred do not exceed.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(place).copied().unwrap_or_default()
}

/// A duration for people.
pub fn spell(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        0.0..1_000.0 => format!("{micros:.0} µs"),
        1_000.0..1_000_000.0 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// A figure with what it is to be.
pub fn figure(name: &str, value: &str, met: Option<(&str, bool)>) {
    let judged = met.map_or(String::new(), |(target, met)| format!("{target}: {}", if met { "met" } else { "MISSED" }));
    println!("{name:<58} {value:>14}  {judged}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        for (percent, expected) in [(50, 50), (99, 99), (100, 100), (1, 1)] {
            assert_eq!(percentile(&mut times, percent), Duration::from_millis(expected));
        }
        assert_eq!(percentile(&mut [], 50), Duration::ZERO);
        assert_eq!(percentile(&mut [Duration::from_secs(1)], 99), Duration::from_secs(1));
    }
}

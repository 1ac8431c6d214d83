//! The process from outside: how soon it is ready, what memory it holds, what it takes up on disk.
//!
//! The stores are filled by an example of the crate journal-disk, without the node. Before a kill the
//! node records some more, so that there is a tail to recover.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{figure, percentile, spell};
use crate::api::{self, Way};
use crate::node::{self, Launch, Node};
use crate::tree::root;

/// Bytes of a payload.
const PAYLOAD_BYTES: u64 = 128;
/// Bytes of a subject as the filling program makes them.
const SUBJECT_BYTES: u64 = 16;
/// Starts of which the median is taken.
const STARTS: usize = 5;
/// Messages that are recorded before each kill.
const TAIL: usize = 200;
/// How long a node rests before its memory is read.
const REST: Duration = Duration::from_millis(500);
const MIB: u64 = 1024 * 1024;

/// A store to be measured, with the targets of its figures.
struct Store {
    name: &'static str,
    messages: u64,
    subjects: u64,
    /// Milliseconds to ready, after a clean stop and after a kill.
    start_max: (u64, u64),
    /// Resident memory in MiB.
    memory_max: Option<u64>,
}

const STORES: &[Store] = &[
    Store { name: "1M messages", messages: 1_000_000, subjects: 1_000, start_max: (20, 50), memory_max: Some(30) },
    Store {
        name: "1M on 1M subjects",
        messages: 1_000_000,
        subjects: 1_000_000,
        start_max: (100, 100),
        memory_max: Some(100),
    },
    Store { name: "10M messages", messages: 10_000_000, subjects: 1_000, start_max: (30, 60), memory_max: None },
];

/// Measures and prints.
pub fn run(folder: &Path, quick: bool) -> Result<(), String> {
    let binary = node::build(true)?;
    println!("\nprocess: medians of {STARTS} starts; ready is /readyz answering 200");
    let empty = folder.join("empty");
    fs::create_dir_all(&empty).map_err(|error| error.to_string())?;
    let node = Launch::new(&binary, &empty).start()?;
    figure("empty: start to ready", &spell(node.start), None);
    memory("empty", &node, Some(12))?;
    node.stop()?;
    for store in STORES.iter().filter(|store| !quick || store.messages <= 1_000_000) {
        let here = folder.join("store");
        let launch = Launch::new(&binary, &here);
        fill(&launch.data, store)?;
        measure(&launch, store)?;
        fs::remove_dir_all(&here).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn fill(data: &Path, store: &Store) -> Result<(), String> {
    fs::create_dir_all(data).map_err(|error| error.to_string())?;
    let numbers = [store.messages, store.subjects, PAYLOAD_BYTES].map(|number| number.to_string());
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "--locked", "--quiet", "--package", "journal-disk", "--example", "fill", "--"]);
    let status = cargo.arg(data).args(numbers).current_dir(root()).stdin(Stdio::null()).status();
    let status = status.map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("filling ended with {status}")) }
}

fn measure(launch: &Launch, store: &Store) -> Result<(), String> {
    let name = store.name;
    let (mut clean, mut killed) = (Vec::new(), Vec::new());
    // The first start may still finish what the filling program left.
    launch.start()?.stop()?;
    for start in 0..STARTS {
        let node = launch.start()?;
        clean.push(node.start);
        if start == 0 {
            memory(name, &node, store.memory_max)?;
            room(store, &node, &launch.data)?;
        }
        tail(&node, start)?;
        node.kill()?;
        let node = launch.start()?;
        killed.push(node.start);
        node.stop()?;
    }
    let (clean, killed) = (percentile(&mut clean, 50), percentile(&mut killed, 50));
    let target = |max: u64, time: Duration| (format!("under {max} ms"), time < Duration::from_millis(max));
    for (what, time, max) in [("a clean stop", clean, store.start_max.0), ("kill -9", killed, store.start_max.1)] {
        let (words, met) = target(max, time);
        figure(&format!("{name}: start to ready after {what}"), &spell(time), Some((&words, met)));
    }
    Ok(())
}

fn tail(node: &Node, start: usize) -> Result<(), String> {
    let mut conn = node.connect()?;
    for count in 0..TAIL {
        let id = format!("tail-{start}-{count}");
        let response = api::send(&mut conn, Way::Publish, "events.tail", &id, b"tail").map_err(|e| e.to_string())?;
        api::receipt(&response)?;
    }
    Ok(())
}

fn memory(name: &str, node: &Node, max: Option<u64>) -> Result<(), String> {
    std::thread::sleep(REST);
    let resident = node.resident().ok_or("the memory of the node cannot be read")?;
    let target = max.map(|max| (format!("under {max} MiB"), resident < max * MIB));
    let value = format!("{:.1} MiB", resident as f64 / MIB as f64);
    figure(&format!("{name}: resident memory"), &value, target.as_ref().map(|(words, met)| (words.as_str(), *met)));
    Ok(())
}

/// What the stream takes up beside the bytes of its messages; the rest of the directory is the log.
fn room(store: &Store, node: &Node, data: &Path) -> Result<(), String> {
    let info = api::done(&mut node.connect()?, "GET", "/v1/streams/EVENTS", &Value::Null)?;
    let bytes = info["disk_bytes"].as_u64().ok_or_else(|| format!("no disk_bytes in {info}"))?;
    let ratio = bytes as f64 / (store.messages * (PAYLOAD_BYTES + SUBJECT_BYTES)) as f64;
    let name = store.name;
    figure(
        &format!("{name}: bytes of the stream on disk over bytes of its messages"),
        &format!("{ratio:.2}"),
        Some(("under 1.4", ratio < 1.4)),
    );
    let whole = disk_bytes(data) as f64 / MIB as f64;
    figure(&format!("{name}: whole directory, log and indexes too"), &format!("{whole:.0} MiB"), None);
    Ok(())
}

/// Blocks that the files below a folder take up, in bytes.
fn disk_bytes(folder: &Path) -> u64 {
    let mut waiting: Vec<PathBuf> = vec![folder.to_path_buf()];
    let mut bytes = 0;
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => bytes += metadata.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    bytes
}

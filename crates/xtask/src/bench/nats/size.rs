//! What a server takes up and how soon it is back: memory, starts, many subjects, many streams.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::publish::{fill, state};
use super::read::{consumer, fetch_all, settle};
use super::server::{Kind, Programs, Server};
use super::wire::Wire;
use super::{Scale, Values};
use crate::bench::percentile;

/// How long a server rests before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);
/// Starts of which the median is taken.
const STARTS: usize = 3;
/// Consumers that are there at a start, each with some that it acknowledged.
const CONSUMERS: u64 = 10;
/// Messages that each of them acknowledged.
const ACKNOWLEDGED: u64 = 1000;

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn resident(server: &Server) -> Result<f64, String> {
    thread::sleep(SETTLE);
    server.resident()
}

/// Memory: idle, with messages, with message ids in the window.
pub fn memory(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    let server = programs.start(kind)?;
    let idle = resident(&server)?;
    fill(&server, scale.of(1_000_000), 1, false)?;
    let messages = resident(&server)?;
    drop(server);
    let server = programs.start(kind)?;
    fill(&server, scale.of(1_000_000), 1, true)?;
    Ok(vec![("idle", idle), ("messages", messages), ("ids", resident(&server)?)])
}

/// As many subjects as messages: memory before and after a start, and the start.
pub fn subjects(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    let mut server = programs.start(kind)?;
    let all = scale.of(1_000_000);
    fill(&server, all, all, false)?;
    let before = resident(&server)?;
    let start = starts(&mut server, all)?;
    Ok(vec![("memory", before), ("start", start), ("memory_start", resident(&server)?)])
}

/// The median of some clean restarts, after each of which the stream is whole.
fn starts(server: &mut Server, all: u64) -> Result<f64, String> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(server.restart()?);
        let (stored, last) = state(&mut server.connect()?)?;
        if (stored, last) != (all, all) {
            return Err(format!("after the start {stored} of {all} are there, the last at {last}"));
        }
    }
    Ok(nanos(percentile(&mut times, 50)))
}

/// Ten thousand streams.
pub fn streams(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    let mut server = programs.start(kind)?;
    let all = scale.of(10_000);
    let mut control = server.connect()?;
    // A server may have streams of its own from the start.
    let before = count(&mut control)?;
    let begun = Instant::now();
    for number in 0..all {
        let config = json!({"name": format!("S{number}"), "subjects": [format!("t.{number}")], "retention": "limits",
            "storage": "file", "discard": "old", "num_replicas": 1, "max_consumers": -1, "max_msgs": -1,
            "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1});
        control.api(&format!("STREAM.CREATE.S{number}"), &config)?;
    }
    let creation = begun.elapsed();
    let memory = resident(&server)?;
    let start = server.restart()?;
    let after = count(&mut server.connect()?)?;
    if after != before + all {
        return Err(format!("after the start there are {after} streams, and not {before} and {all}"));
    }
    Ok(vec![("memory", memory), ("creation", nanos(creation)), ("start", nanos(start))])
}

/// How many streams there are.
fn count(control: &mut Wire) -> Result<u64, String> {
    let account = control.api("INFO", &Value::Null)?;
    account["streams"].as_u64().ok_or_else(|| format!("no number of streams in {account}"))
}

/// Starts with a million messages, without and with consumers.
pub fn start(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    let mut server = programs.start(kind)?;
    let all = scale.of(1_000_000);
    fill(&server, all, 1, false)?;
    let without = starts(&mut server, all)?;
    let mut control = server.connect()?;
    for number in 0..CONSUMERS {
        let name = format!("c{number}");
        consumer(&mut control, &name)?;
        fetch_all(&mut server.connect()?, &name, ACKNOWLEDGED)?;
        settle(&mut control, &name, ACKNOWLEDGED)?;
    }
    let with = starts(&mut server, all)?;
    let mut control = server.connect()?;
    for number in 0..CONSUMERS {
        settle(&mut control, &format!("c{number}"), ACKNOWLEDGED)?;
    }
    Ok(vec![("without", without), ("with", with)])
}

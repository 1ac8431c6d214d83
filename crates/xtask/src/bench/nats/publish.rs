//! Messages into a stream: with so many unacknowledged at a time, with one, and with nobody waiting.
//!
//! One connection, one thread: it writes as many as were acknowledged since it wrote last. Every
//! acknowledgement is read: an error, a duplicate or a position that comes twice ends the run.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::core::SIZE;
use super::server::{ANSWER_MAX, Kind, Programs, Server};
use super::wire::{Batch, Got, Wire, number};
use super::{Scale, Values, per_message, rate};
use crate::bench::percentile;

/// Unacknowledged messages at a time.
pub const WINDOW: usize = 256;
/// Unacknowledged messages at a time where a store is only to be filled.
const WINDOW_FILL: usize = 2048;
/// The stream of all rows.
pub const STREAM: &str = "B";
/// Consumers that wait for nothing.
const IDLE: u64 = 1000;
/// How long the memory of a server is given to settle.
const SETTLE: Duration = Duration::from_secs(1);
/// How long what is still on its way into a stream may take.
const ARRIVE_MAX: Duration = Duration::from_secs(60);

/// When publishing ends.
#[derive(Debug, Clone, Copy)]
enum Until {
    Count(u64),
    Time(Duration),
}

/// What publishing took.
#[derive(Debug, Default)]
struct Published {
    count: u64,
    took: Duration,
    /// Of each message, where one is under way at a time.
    times: Vec<Duration>,
}

/// Declares the stream.
pub fn declare(wire: &mut Wire, subject: &str) -> Result<(), String> {
    declare_replicated(wire, subject, 1)
}

fn declare_replicated(wire: &mut Wire, subject: &str, replicas: u64) -> Result<(), String> {
    // The window for message ids outlasts a slow run.
    let config = json!({"name": STREAM, "subjects": [subject], "retention": "limits", "storage": "file",
        "discard": "old", "num_replicas": replicas, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
        "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1, "duplicate_window": 600_000_000_000_u64,
        "allow_direct": true});
    wire.api(&format!("STREAM.CREATE.{STREAM}"), &config).map(drop)
}

/// What a stream holds: messages, last position.
pub fn state(wire: &mut Wire) -> Result<(u64, u64), String> {
    let info = wire.api(&format!("STREAM.INFO.{STREAM}"), &Value::Null)?;
    let field = |name: &str| info["state"][name].as_u64().ok_or_else(|| format!("no state.{name} in {info}"));
    Ok((field("messages")?, field("last_seq")?))
}

/// Fills the stream, with subjects `s.00000000` and on.
pub fn fill(server: &Server, messages: u64, subjects: u64, id: bool) -> Result<(), String> {
    let mut control = server.connect()?;
    declare(&mut control, "s.>")?;
    let id = id.then_some("id-########");
    publish(server.address, subjects, id, WINDOW_FILL, Until::Count(messages))?;
    let (stored, last) = state(&mut control)?;
    if (stored, last) == (messages, messages) { Ok(()) } else { Err(format!("{stored} of {messages} stored")) }
}

fn publish(
    address: SocketAddr,
    subjects: u64,
    id: Option<&str>,
    window: usize,
    until: Until,
) -> Result<Published, String> {
    let mut wire = Wire::open(address)?;
    wire.subscribe("_INBOX.p", "", 1)?;
    let subject = if subjects > 1 { "s.########" } else { "s.one" };
    let mut batch = Batch::new(subject, subjects, "_INBOX.p", id, SIZE, window);
    let base = state(&mut Wire::open(address)?)?.1;
    let mut done = Published::default();
    let (mut sent, mut positions, mut room) = (0, 0, window);
    let begun = Instant::now();
    loop {
        let left = match until {
            Until::Count(count) => usize::try_from(count - sent).unwrap_or(window),
            Until::Time(time) => {
                if begun.elapsed() < time {
                    window
                } else {
                    0
                }
            }
        };
        let now = room.min(left);
        let written = Instant::now();
        if now > 0 {
            wire.send(batch.numbered(base + sent, now))?;
            sent += now as u64;
            room -= now;
        }
        if sent == done.count {
            break;
        }
        wire.fill()?;
        while let Some(got) = wire.buffered()? {
            let Got::Message(message) = got else { continue };
            if message.head.is_empty() {
                positions += acknowledged(wire.bytes(&message.body))? - base;
                done.count += 1;
                room += 1;
            } else {
                return Err(format!("a publish was answered with {}", wire.text(&message.head)));
            }
        }
        if window == 1 && room == 1 {
            done.times.push(written.elapsed());
        }
    }
    done.took = begun.elapsed();
    if positions != sent * (sent + 1) / 2 {
        return Err(format!("{sent} acknowledgements, and their positions sum up to {positions}"));
    }
    Ok(done)
}

/// The position that an acknowledgement names.
fn acknowledged(body: &[u8]) -> Result<u64, String> {
    let refused = || format!("a publish was answered with {}", String::from_utf8_lossy(body));
    let at = body.windows(6).position(|window| window == b"\"seq\":").ok_or_else(refused)? + 6;
    let rest = body[at..].trim_ascii_start();
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let strange = body.windows(8).any(|window| window == b"\"error\":" || window == b"\"duplica");
    match number(&rest[..digits]) {
        Some(position) if !strange => Ok(position as u64),
        _ => Err(refused()),
    }
}

/// Publishes for a while on a new stream, and checks what is stored.
fn measure(
    programs: &Programs,
    kind: Kind,
    window: usize,
    subjects: u64,
    id: bool,
    time: Duration,
) -> Result<Values, String> {
    let server = programs.start(kind)?;
    let mut control = server.connect()?;
    declare(&mut control, "s.>")?;
    let cpu = server.cpu()?;
    let mut done = publish(server.address, subjects, id.then_some("id-########"), window, Until::Time(time))?;
    let used = server.cpu()? - cpu;
    let (stored, last) = state(&mut control)?;
    if (stored, last) != (done.count, done.count) {
        return Err(format!("{} acknowledged, {stored} stored, the last at {last}", done.count));
    }
    let mut values = vec![("rate", rate(done.count, done.took)), ("cpu", per_message(used, done.count))];
    if window == 1 {
        values.push(("p50", percentile(&mut done.times, 50).as_secs_f64() * 1e9));
        values.push(("p99", percentile(&mut done.times, 99).as_secs_f64() * 1e9));
    }
    Ok(values)
}

/// One subject.
pub fn plain(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    measure(programs, kind, WINDOW, 1, false, scale.time(3))
}

/// Ten thousand subjects.
pub fn subjects(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    measure(programs, kind, WINDOW, 10_000, false, scale.time(3))
}

/// A message id on each.
pub fn ids(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    measure(programs, kind, WINDOW, 1, true, scale.time(3))
}

/// One under way at a time.
pub fn one(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    measure(programs, kind, 1, 1, false, scale.time(3))
}

/// What consumers that wait for nothing cost each publish.
pub fn idle_consumers(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    let server = programs.start(kind)?;
    let mut control = server.connect()?;
    declare(&mut control, "s.>")?;
    let cost = |control: &mut Wire| -> Result<(f64, f64), String> {
        let cpu = server.cpu()?;
        let done = publish(server.address, 1, None, WINDOW, Until::Time(scale.time(3)))?;
        // What consumers were told of may still be worked on.
        thread::sleep(SETTLE / 2);
        state(control)?;
        Ok((rate(done.count, done.took), per_message(server.cpu()? - cpu, done.count)))
    };
    // The first of a fresh server pays for its growing.
    cost(&mut control)?;
    let without = cost(&mut control)?;
    for consumer in 0..scale.of(IDLE) {
        let name = format!("c{consumer}");
        let config = json!({"stream_name": STREAM, "action": "", "config": {"durable_name": name, "name": name,
            "deliver_policy": "new", "ack_policy": "explicit", "replay_policy": "instant"}});
        control.api(&format!("CONSUMER.CREATE.{STREAM}.{name}"), &config)?;
    }
    let with = cost(&mut control)?;
    let added = (with.1 / without.1 - 1.0) * 100.0;
    Ok(vec![("added", added), ("cpu", without.1), ("cpu_with", with.1), ("rate", without.0), ("rate_with", with.0)])
}

/// Publishes that nobody waits for: how many are there in the end.
pub fn unanswered(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    let server = programs.start(kind)?;
    let mut control = server.connect()?;
    declare(&mut control, "s.>")?;
    let mut wire = server.connect()?;
    let frames = Batch::frames_in_write(SIZE);
    let (mut batch, all) = (Batch::new("s.one", 1, "", None, SIZE, frames), scale.of(1_000_000));
    let begun = Instant::now();
    let mut sent = 0;
    while sent < all {
        let now = (all - sent).min(frames as u64);
        wire.send(batch.numbered(sent, usize::try_from(now).unwrap_or(frames)))?;
        sent += now;
    }
    wire.flush()?;
    let took = begun.elapsed();
    let mut stored = state(&mut control)?.0;
    let waited = Instant::now();
    while stored < all && waited.elapsed() < ARRIVE_MAX {
        thread::sleep(SETTLE);
        let now = state(&mut control)?.0;
        if now == stored {
            break;
        }
        stored = now;
    }
    Ok(vec![("kept", stored as f64 * 100.0 / all as f64), ("rate", rate(all, took))])
}

/// Three replicas on a cluster: straight to it, and through a node of ours whose engine it is.
pub fn cluster(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    if kind != Kind::Ours {
        return straight(programs, kind == Kind::NatsSynced, scale);
    }
    let mut values = Vec::new();
    for (key, synced) in [("rate", false), ("rate_synced", true)] {
        let nodes = programs.cluster(synced)?;
        let urls: Vec<String> = nodes.iter().map(|node| format!("nats://{}", node.address)).collect();
        let arguments = ["--engine".to_string(), urls.join(","), "--replicas".to_string(), "3".to_string()];
        until_led(&nodes)?;
        let server = programs.start_with(Kind::Ours, &arguments)?;
        declare(&mut server.connect()?, "s.>")?;
        let done = publish(server.address, 1, None, WINDOW, Until::Time(scale.time(5)))?;
        replicated(&nodes, done.count)?;
        values.push((key, rate(done.count, done.took)));
    }
    Ok(values)
}

fn straight(programs: &Programs, synced: bool, scale: &Scale) -> Result<Values, String> {
    let nodes = programs.cluster(synced)?;
    until_led(&nodes)?;
    let first = nodes.first().ok_or("a cluster of none")?;
    declare_replicated(&mut first.connect()?, "s.>", 3)?;
    let done = publish(first.address, 1, None, WINDOW, Until::Time(scale.time(5)))?;
    replicated(&nodes, done.count)?;
    Ok(vec![(if synced { "rate_synced" } else { "rate" }, rate(done.count, done.took))])
}

/// Waits until the cluster takes a stream of three replicas.
fn until_led(nodes: &[Server]) -> Result<(), String> {
    let first = nodes.first().ok_or("a cluster of none")?;
    let config = json!({"name": "FIRST", "subjects": ["first"], "num_replicas": 3, "storage": "file"});
    let begun = Instant::now();
    loop {
        // Without a leader a node is silent.
        let mut wire = first.connect()?.impatient(ANSWER_MAX);
        match wire.api("STREAM.CREATE.FIRST", &config) {
            Ok(_) => return first.connect()?.api("STREAM.DELETE.FIRST", &Value::Null).map(drop),
            Err(reason) if begun.elapsed() > ARRIVE_MAX => return Err(reason),
            Err(_) => thread::sleep(SETTLE / 10),
        }
    }
}

/// What was acknowledged is in a stream of three replicas.
fn replicated(nodes: &[Server], count: u64) -> Result<(), String> {
    let mut wire = nodes.first().ok_or("a cluster of none")?.connect()?;
    let list = wire.api("STREAM.LIST", &Value::Null)?;
    let streams = list["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let holds = |stream: &&Value| {
        stream["config"]["num_replicas"].as_u64() == Some(3) && stream["state"]["messages"].as_u64() >= Some(count)
    };
    if streams.iter().any(|stream| holds(&stream)) {
        return Ok(());
    }
    Err(format!("no stream of three replicas holds {count} messages: {list}"))
}

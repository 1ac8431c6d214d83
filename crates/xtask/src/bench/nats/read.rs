//! Messages out of a stream: fetched and acknowledged, replayed in order, and one by one by subject.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::core::SIZE;
use super::publish::{STREAM, fill};
use super::server::{Kind, Programs};
use super::wire::{Message, Wire, number};
use super::{Scale, Values, per_message, rate};
use crate::bench::percentile;

/// Messages of a fetch.
const BATCH: u64 = 100;
/// Fetches under way at a time.
const FETCHES: u64 = 2;
/// Subjects that single messages are asked of.
const SUBJECTS: u64 = 10_000;
/// How long the last acknowledgements may take to be counted.
const COUNTED_MAX: Duration = Duration::from_secs(20);
/// The consumer's name.
const CONSUMER: &str = "c";

/// Fetches and acknowledges each message.
pub fn fetch(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    let server = programs.start(kind)?;
    let all = scale.of(500_000);
    fill(&server, all, 1, false)?;
    let mut control = server.connect()?;
    consumer(&mut control, CONSUMER)?;
    let mut wire = server.connect()?;
    let (cpu, begun) = (server.cpu()?, Instant::now());
    fetch_all(&mut wire, CONSUMER, all)?;
    settle(&mut control, CONSUMER, all)?;
    let (took, used) = (begun.elapsed(), server.cpu()? - cpu);
    Ok(vec![("rate", rate(all, took)), ("cpu", per_message(used, all))])
}

/// Declares a durable consumer that is fetched from and acknowledges each.
pub fn consumer(control: &mut Wire, name: &str) -> Result<(), String> {
    let config = json!({"stream_name": STREAM, "action": "create", "config": {"durable_name": name, "name": name,
        "deliver_policy": "all", "ack_policy": "explicit", "ack_wait": 30_000_000_000_u64, "max_deliver": -1,
        "max_ack_pending": 1000, "replay_policy": "instant"}});
    control.api(&format!("CONSUMER.CREATE.{STREAM}.{name}"), &config).map(drop)
}

/// Fetches so many messages, a whole number of batches, from the first on.
pub fn fetch_all(wire: &mut Wire, name: &str, all: u64) -> Result<(), String> {
    wire.subscribe("_INBOX.f", "", 1)?;
    let body = format!("{{\"batch\":{BATCH},\"expires\":30000000000}}");
    let ask = format!("PUB $JS.API.CONSUMER.MSG.NEXT.{STREAM}.{name} _INBOX.f {}\r\n{body}\r\n", body.len());
    let mut asked = 0;
    while asked < FETCHES * BATCH && asked < all {
        wire.send(ask.as_bytes())?;
        asked += BATCH;
    }
    let (mut got, mut out) = (0, Vec::new());
    while got < all {
        let message = wire.message()?;
        let place = delivered(wire, &message)?;
        got += 1;
        if place.stream != got || place.consumer != got {
            return Err(format!("delivery {got} has the line {}", wire.text(&message.line)));
        }
        out.extend_from_slice(b"PUB ");
        out.extend_from_slice(reply(wire, &message)?);
        out.extend_from_slice(b" 4\r\n+ACK\r\n");
        if got % BATCH == 0 {
            if asked < all {
                out.extend_from_slice(ask.as_bytes());
                asked += BATCH;
            }
            wire.send(&out)?;
            out.clear();
        }
    }
    wire.send(&out)?;
    wire.flush()
}

/// Waits until every acknowledgement is counted.
pub fn settle(control: &mut Wire, name: &str, all: u64) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let info = control.api(&format!("CONSUMER.INFO.{STREAM}.{name}"), &Value::Null)?;
        let (floor, pending) = (&info["ack_floor"]["stream_seq"], &info["num_ack_pending"]);
        if floor.as_u64() == Some(all) && pending.as_u64() == Some(0) {
            return Ok(());
        }
        if begun.elapsed() > COUNTED_MAX {
            return Err(format!("{all} acknowledged, but the floor is {floor}, and {pending} are pending"));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn reply<'a>(wire: &'a Wire, message: &Message) -> Result<&'a [u8], String> {
    let line = wire.bytes(&message.line);
    let words = line.split(|byte| *byte == b' ').nth(2);
    words.ok_or_else(|| format!("a message without a reply: {}", wire.text(&message.line)))
}

/// Positions in `$JS.ACK.<stream>.<consumer>.<delivered>.<stream>.<consumer>.<time>.<pending>`.
struct Place {
    stream: u64,
    consumer: u64,
}

fn delivered(wire: &Wire, message: &Message) -> Result<Place, String> {
    if message.body.len() != SIZE || !message.head.is_empty() {
        let (line, head) = (wire.text(&message.line), wire.text(&message.head));
        return Err(format!("not a delivery: {line} {}", head.trim()));
    }
    let reply = reply(wire, message)?;
    let mut words = reply.rsplit(|byte| *byte == b'.').skip(2);
    let consumer = words.next().and_then(number);
    match (words.next().and_then(number), consumer) {
        (Some(stream), Some(consumer)) => Ok(Place { stream: stream as u64, consumer: consumer as u64 }),
        _ => Err(format!("no positions in {}", String::from_utf8_lossy(reply))),
    }
}

/// Replays the stream to an ordered consumer, as clients make one.
pub fn replay(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    let server = programs.start(kind)?;
    let all = scale.of(1_000_000);
    fill(&server, all, 1, false)?;
    let mut control = server.connect()?;
    let mut wire = server.connect()?;
    wire.subscribe("_INBOX.o", "", 1)?;
    let config = json!({"stream_name": STREAM, "action": "create", "config": {"name": "ordered",
        "deliver_subject": "_INBOX.o", "deliver_policy": "all", "ack_policy": "none", "max_deliver": 1,
        "ack_wait": 79_200_000_000_000_u64, "flow_control": true, "idle_heartbeat": 5_000_000_000_u64,
        "mem_storage": true, "num_replicas": 1, "replay_policy": "instant",
        "inactive_threshold": 300_000_000_000_u64}});
    let (cpu, begun) = (server.cpu()?, Instant::now());
    control.api(&format!("CONSUMER.CREATE.{STREAM}.ordered"), &config)?;
    let (mut got, mut asked) = (0, 0_u64);
    while got < all {
        let message = wire.message()?;
        if !message.head.is_empty() {
            asked += u64::from(answer_status(&mut wire, &message)?);
            continue;
        }
        let place = delivered(&wire, &message)?;
        got += 1;
        if place.stream != got || place.consumer != got {
            return Err(format!("message {got} has the line {}", wire.text(&message.line)));
        }
    }
    let (took, used) = (begun.elapsed(), server.cpu()? - cpu);
    control.api(&format!("CONSUMER.DELETE.{STREAM}.ordered"), &Value::Null)?;
    if asked == 0 && all >= 1_000_000 {
        return Err("no flow control was asked for in the whole replay".to_string());
    }
    Ok(vec![("rate", rate(all, took)), ("cpu", per_message(used, all))])
}

/// Answers a request of flow control, and the one that a heartbeat names; whether it was one.
fn answer_status(wire: &mut Wire, message: &Message) -> Result<bool, String> {
    let head = wire.text(&message.head);
    if !head.starts_with("NATS/1.0 100") {
        return Err(format!("the server says: {}", head.trim()));
    }
    let stalled = head.lines().find_map(|line| line.strip_prefix("Nats-Consumer-Stalled: "));
    // subject sid [reply] head total
    let line = wire.text(&message.line);
    let words: Vec<&str> = line.split(' ').collect();
    let subject = if words.len() == 5 { words.get(2).copied() } else { stalled };
    match subject {
        Some(subject) => wire.send(format!("PUB {} 0\r\n\r\n", subject.trim()).as_bytes()).map(|()| true),
        None => Ok(false),
    }
}

/// Asks for the last message of one subject after another, one request at a time.
pub fn direct(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    let server = programs.start(kind)?;
    // Ten messages on each subject, so that the last is not the only one.
    fill(&server, SUBJECTS * 10, SUBJECTS, false)?;
    let mut wire = server.connect()?;
    wire.subscribe("_INBOX.d", "", 1)?;
    let all = scale.of(40_000);
    let mut times = Vec::with_capacity(usize::try_from(all).unwrap_or(0));
    let (cpu, begun) = (server.cpu()?, Instant::now());
    for count in 0..all {
        // A prime step visits the subjects in no order that a cache would like.
        let subject = count * 7919 % SUBJECTS;
        let asked = Instant::now();
        wire.send(format!("PUB $JS.API.DIRECT.GET.{STREAM}.s.{subject:08} _INBOX.d 0\r\n\r\n").as_bytes())?;
        let message = wire.message()?;
        times.push(asked.elapsed());
        // The first message has the number 0 and the position 1.
        let number = SUBJECTS * 9 + subject;
        let head = wire.bytes(&message.head);
        let sequence = format!("Nats-Sequence: {}\r\n", number + 1);
        let found = head.windows(sequence.len()).any(|window| window == sequence.as_bytes());
        let expected = u32::try_from(number).unwrap_or(0).to_le_bytes();
        if !found || !wire.bytes(&message.body).starts_with(&expected) {
            return Err(format!("subject {subject} is answered with {}", wire.text(&message.head)));
        }
    }
    let (took, used) = (begun.elapsed(), server.cpu()? - cpu);
    let nanos = |times: &mut [Duration], percent| percentile(times, percent).as_secs_f64() * 1e9;
    let (p50, p99) = (nanos(&mut times, 50), nanos(&mut times, 99));
    Ok(vec![("rate", rate(all, took)), ("p50", p50), ("p99", p99), ("cpu", per_message(used, all))])
}

//! Messages that are not stored: publish, fan-out, queue group, request and reply.
//!
//! Every frame of a run has one length, so a receiver steps from frame to frame, compares the line,
//! reads the number, and looks for nothing. Publishers stay a bounded number of bytes ahead of the
//! slowest receiver: neither server is to be judged by how it cuts off who falls behind.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::server::{Kind, Programs, Server};
use super::wire::{Batch, Wire};
use super::{Scale, Values, per_message, rate};
use crate::bench::percentile;

/// Payload bytes.
pub const SIZE: usize = 128;
/// Payload bytes of a request.
const REQUEST_SIZE: usize = 16;
/// Bytes that the publishers may be ahead of the slowest receiver, all receivers together.
const AHEAD_BYTES: u64 = 64 * 1024 * 1024;
/// How long a publisher that is ahead rests.
const REST: Duration = Duration::from_micros(50);
/// How long a receiver waits before it looks whether all has come to others.
const PATIENCE: Duration = Duration::from_millis(200);
/// The subject of all of it.
const SUBJECT: &str = "b.core";

/// Who sends how much to whom.
struct Plan {
    publishers: u64,
    /// Messages of each publisher.
    each: u64,
    receivers: u64,
    queue: &'static str,
}

impl Plan {
    fn messages(&self) -> u64 {
        self.publishers * self.each
    }

    /// Copies of each message.
    fn copies(&self) -> u64 {
        if self.queue.is_empty() { self.receivers } else { 1 }
    }
}

/// Four publishers, one subscriber.
pub fn publish(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    run(programs, kind, &Plan { publishers: 4, each: scale.of(1_000_000), receivers: 1, queue: "" })
}

/// One publisher, a hundred subscribers.
pub fn fan_out(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    run(programs, kind, &Plan { publishers: 1, each: scale.of(100_000), receivers: 100, queue: "" })
}

/// One publisher, one queue group of four.
pub fn queue_group(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    run(programs, kind, &Plan { publishers: 1, each: scale.of(3_000_000), receivers: 4, queue: "q" })
}

/// How far everybody is.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    received: AtomicU64,
    failed: AtomicBool,
}

/// What one receiver saw.
#[derive(Debug, Clone, Default)]
struct Seen {
    count: u64,
    /// The next number of each publisher that may come.
    next: Vec<u64>,
    /// The sum of all numbers: that none is missing and none came twice, where receivers share.
    sum: u64,
    /// When the last came.
    last: Option<Instant>,
}

fn run(programs: &Programs, kind: Kind, plan: &Plan) -> Result<Values, String> {
    let server = programs.start(kind)?;
    let mut wires = Vec::new();
    for _ in 0..plan.receivers {
        let mut wire = server.connect()?;
        wire.subscribe(SUBJECT, plan.queue, 1)?;
        wires.push(wire);
    }
    // A hundred receivers share a thread; those of a queue group get unequal shares and have each their own.
    let groups = if plan.queue.is_empty() { vec![wires] } else { wires.into_iter().map(|wire| vec![wire]).collect() };
    let (progress, cpu, begun) = (Progress::default(), server.cpu()?, Instant::now());
    let seen = thread::scope(|scope| {
        let (progress, server) = (&progress, &server);
        let receivers: Vec<_> =
            groups.into_iter().map(|group| scope.spawn(move || receive(group, plan, progress))).collect();
        let publishers: Vec<_> =
            (0..plan.publishers).map(|mark| scope.spawn(move || send(server.address, mark, plan, progress))).collect();
        for publisher in publishers {
            publisher.join().map_err(|_| "a publisher panicked")??;
        }
        let mut seen = Vec::new();
        for receiver in receivers {
            seen.extend(receiver.join().map_err(|_| "a receiver panicked")??);
        }
        Ok::<_, String>(seen)
    })?;
    let used = server.cpu()? - cpu;
    let last = seen.iter().filter_map(|one| one.last).max();
    let took = last.map_or_else(|| begun.elapsed(), |last| last - begun);
    judge(plan, &seen)?;
    let deliveries = plan.messages() * plan.copies();
    Ok(vec![("rate", rate(deliveries, took)), ("cpu", per_message(used, deliveries))])
}

/// Every message came as often as it was to.
fn judge(plan: &Plan, seen: &[Seen]) -> Result<(), String> {
    let (count, sum) = seen.iter().fold((0, 0), |(count, sum), one| (count + one.count, sum + one.sum));
    let all = plan.publishers * (plan.each * (plan.each - 1) / 2) * plan.copies();
    if count == plan.messages() * plan.copies() && sum == all {
        return Ok(());
    }
    Err(format!("{count} deliveries of {} × {}, their numbers {sum} and not {all}", plan.messages(), plan.copies()))
}

fn send(address: SocketAddr, mark: u64, plan: &Plan, progress: &Progress) -> Result<(), String> {
    let result = send_all(address, mark, plan, progress);
    progress.failed.fetch_or(result.is_err(), Ordering::Relaxed);
    result
}

fn send_all(address: SocketAddr, mark: u64, plan: &Plan, progress: &Progress) -> Result<(), String> {
    let mut wire = Wire::open(address)?;
    let frames = Batch::frames_in_write(SIZE);
    let mark = u32::try_from(mark).map_err(|error| error.to_string())?;
    let mut batch = Batch::new(SUBJECT, 1, "", None, SIZE, frames).mark(mark);
    let ahead = AHEAD_BYTES / plan.copies() / SIZE as u64;
    let mut at = 0;
    while at < plan.each {
        while progress.sent.load(Ordering::Relaxed) > ahead + progress.received.load(Ordering::Relaxed) / plan.copies()
        {
            if progress.failed.load(Ordering::Relaxed) {
                return Err("a receiver failed".to_string());
            }
            thread::sleep(REST);
        }
        let count = (plan.each - at).min(frames as u64);
        wire.send(batch.numbered(at, usize::try_from(count).unwrap_or(frames)))?;
        progress.sent.fetch_add(count, Ordering::Relaxed);
        at += count;
    }
    wire.flush()
}

fn receive(wires: Vec<Wire>, plan: &Plan, progress: &Progress) -> Result<Vec<Seen>, String> {
    let result = receive_all(wires, plan, progress);
    progress.failed.fetch_or(result.is_err(), Ordering::Relaxed);
    result
}

/// Reads its connections in turn until all has come. Each gets the same, so none waits for another for long.
fn receive_all(mut wires: Vec<Wire>, plan: &Plan, progress: &Progress) -> Result<Vec<Seen>, String> {
    let publishers = usize::try_from(plan.publishers).unwrap_or(1);
    let mut seen = vec![Seen { next: vec![0; publishers], ..Seen::default() }; wires.len()];
    let done = |seen: &[Seen]| {
        if plan.queue.is_empty() {
            seen.iter().all(|one| one.count == plan.messages())
        } else {
            progress.received.load(Ordering::Relaxed) >= plan.messages()
        }
    };
    while !done(&seen) {
        for (wire, one) in wires.iter_mut().zip(&mut seen) {
            if plan.queue.is_empty() && one.count >= plan.messages() {
                continue;
            }
            if !wire.fill_for(PATIENCE)? {
                continue;
            }
            let before = one.count;
            take_frames(wire, one)?;
            one.last = Some(Instant::now());
            progress.received.fetch_add(one.count - before, Ordering::Relaxed);
        }
        if progress.failed.load(Ordering::Relaxed) {
            return Err("another connection failed".to_string());
        }
    }
    Ok(seen)
}

/// Takes all whole frames.
fn take_frames(wire: &mut Wire, seen: &mut Seen) -> Result<(), String> {
    const LINE: &[u8] = b"MSG b.core 1 128\r\n";
    const FRAME: usize = LINE.len() + SIZE + 2;
    loop {
        let mut taken = 0;
        for frame in wire.unread().chunks_exact(FRAME) {
            let (line, body) = frame.split_at(LINE.len());
            let ([n0, n1, n2, n3, p0, p1, p2, p3, ..], true) = (body, line == LINE) else { break };
            let number = u64::from(u32::from_le_bytes([*n0, *n1, *n2, *n3]));
            let publisher = u32::from_le_bytes([*p0, *p1, *p2, *p3]) as usize;
            let next = seen.next.get_mut(publisher).ok_or("a payload that nobody sent")?;
            if number < *next {
                return Err(format!("publisher {publisher}: number {number} where {next} or more was to come"));
            }
            *next = number + 1;
            seen.count += 1;
            seen.sum += number;
            taken += FRAME;
        }
        wire.skip(taken);
        // A PING, most likely; a message of another form is a failure, and so is an error.
        if !wire.control()? {
            let unread = wire.unread();
            if unread.len() < FRAME && (unread.is_empty() || unread.starts_with(b"M")) {
                return Ok(());
            }
            return match wire.buffered()? {
                None => Ok(()),
                Some(_) => Err("a message of another form".to_string()),
            };
        }
    }
}

/// One request at a time.
pub fn request(programs: &Programs, kind: Kind, scale: &Scale) -> Result<Values, String> {
    let server = programs.start(kind)?;
    let (count, warm) = (scale.of(20_000), 500);
    let mut service = server.connect()?;
    service.subscribe("b.service", "", 1)?;
    let cpu = server.cpu()?;
    let mut times = thread::scope(|scope| {
        let answering = scope.spawn(move || answer(service, count + warm));
        let asked = ask(&server, count, warm);
        answering.join().map_err(|_| "the service panicked")?.and(asked)
    })?;
    let used = server.cpu()? - cpu;
    let micros = |times: &mut [Duration], percent| percentile(times, percent).as_secs_f64() * 1e9;
    let (p50, p99) = (micros(&mut times, 50), micros(&mut times, 99));
    Ok(vec![("p50", p50), ("p99", p99), ("cpu", per_message(used, count + warm))])
}

fn answer(mut service: Wire, count: u64) -> Result<(), String> {
    let mut frame = Vec::new();
    for _ in 0..count {
        let message = service.message()?;
        let reply =
            service.bytes(&message.line).split(|byte| *byte == b' ').nth(2).ok_or("a request without a reply")?;
        frame.clear();
        frame.extend_from_slice(b"PUB ");
        frame.extend_from_slice(reply);
        frame.extend_from_slice(b" 16\r\n");
        frame.extend_from_slice(service.bytes(&message.body));
        frame.extend_from_slice(b"\r\n");
        service.send(&frame)?;
    }
    Ok(())
}

fn ask(server: &Server, count: u64, warm: u64) -> Result<Vec<Duration>, String> {
    let mut wire = server.connect()?;
    wire.subscribe("_INBOX.b.*", "", 1)?;
    let mut batch = Batch::new("b.service", 1, "_INBOX.b.########", None, REQUEST_SIZE, 1);
    let mut times = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    for number in 0..count + warm {
        let begun = Instant::now();
        wire.send(batch.numbered(number, 1))?;
        let message = wire.message()?;
        let took = begun.elapsed();
        let expected = u32::try_from(number).unwrap_or(0).to_le_bytes();
        if !wire.bytes(&message.body).starts_with(&expected) || !message.head.is_empty() {
            return Err(format!("request {number} was answered with {}", wire.text(&message.body)));
        }
        if number >= warm {
            times.push(took);
        }
    }
    Ok(times)
}

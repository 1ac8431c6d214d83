//! Events in, deliveries out: publishers at a rate, or as fast as the slowest messenger takes them, and a
//! crowd that checks every delivery.
//!
//! Events are numbered. Number n is of room n modulo the number of rooms and is sent by publisher n modulo
//! the number of publishers, so that the events of a room come from one connection and their order is known.
//! A missing, doubled or misplaced event fails the run.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::event::{self, Event};
use super::frames;
use super::site::PATIENCE;

/// Connections that publish. Divides the number of rooms, so that a room has one publisher.
pub const PUBLISHERS: usize = 4;
/// Deliveries that may be under way for each messenger: so far a publisher without a rate is ahead.
const AHEAD: u64 = 24;
/// How long a publisher that is ahead, or early, rests.
const REST: Duration = Duration::from_micros(50);
/// How long a look for frames waits.
const WAIT: Duration = Duration::from_millis(20);
/// Events that are put together for one round of writes.
const BATCH: u64 = 100;

/// What is run.
pub struct Plan {
    /// The rooms.
    pub rooms: Vec<String>,
    /// Where each publisher connects.
    pub hubs: [SocketAddr; PUBLISHERS],
    /// The rooms of each member of the crowd that is counted; those behind them are read and not counted.
    pub listens: Vec<Listens>,
    /// How far apart events are; without it as many come as are taken.
    pub pace: Option<Duration>,
    /// What is not counted.
    pub warm_up: Duration,
    /// What is.
    pub measured: Duration,
}

/// What a member of the crowd is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listens {
    /// The room with this number.
    Room(u64),
    /// Every room.
    All,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// Deliveries in a second.
    pub rate: f64,
    /// Events sent in a second.
    pub events: f64,
    /// Deliveries in what was measured.
    pub deliveries: f64,
    /// How long that was.
    pub took: Duration,
    /// From when each event was due until it was read.
    pub times: Vec<Duration>,
}

/// How far everybody is.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    received: AtomicU64,
    over: AtomicBool,
    counting: AtomicBool,
}

/// Names of rooms, all of one length.
pub fn rooms(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("ITB-{number:04}")).collect()
}

impl Plan {
    /// Copies that an event of each room makes.
    fn copies(&self) -> Vec<u64> {
        let mut copies = vec![0; self.rooms.len()];
        for listens in &self.listens {
            for (room, copies) in (0..).zip(&mut copies) {
                *copies += u64::from(*listens == Listens::All || *listens == Listens::Room(room));
            }
        }
        copies
    }
}

/// Runs it; `between` is called when counting begins and when it ends.
pub fn drive(
    crowd: &mut Crowd,
    plan: &Plan,
    mut between: impl FnMut() -> Result<(), String>,
) -> Result<Measured, String> {
    let mut wires = Vec::new();
    for hub in plan.hubs {
        wires.push(frames::connect(hub, "/connect/messenger")?.0);
    }
    let (progress, base) = (Progress::default(), Instant::now());
    thread::scope(|scope| {
        let progress = &progress;
        let reader = scope.spawn(move || receive(crowd, plan, progress, base));
        let measured = publish(&mut wires, plan, progress, base, &mut between);
        progress.over.store(true, Ordering::Release);
        let times = reader.join().map_err(|_| "the reader panicked")?;
        // Why nothing came is told before why nothing could be sent.
        let times = times?;
        measured.map(|measured| Measured { times, ..measured })
    })
}

fn publish(
    wires: &mut [TcpStream],
    plan: &Plan,
    progress: &Progress,
    base: Instant,
    between: &mut impl FnMut() -> Result<(), String>,
) -> Result<Measured, String> {
    let mut events: Vec<Event> = plan.rooms.iter().map(|room| Event::new(room)).collect();
    let copies = plan.copies();
    let ahead = AHEAD * plan.listens.len() as u64;
    let (mut sent, mut owed) = (0_u64, 0_u64);
    let mut batch = vec![Vec::new(); wires.len()];
    let mut window = None;
    loop {
        let now = base.elapsed();
        let over = now >= plan.warm_up + plan.measured;
        if over || (window.is_none() && now >= plan.warm_up) {
            let received = progress.received.load(Ordering::Acquire);
            between()?;
            let Some((begun, before, sent_before)) = window else {
                window = Some((now, received, sent));
                progress.counting.store(true, Ordering::Release);
                continue;
            };
            progress.counting.store(false, Ordering::Release);
            let (took, deliveries) = (now - begun, (received - before) as f64);
            let seconds = took.as_secs_f64();
            let events = (sent - sent_before) as f64 / seconds;
            return Ok(Measured { rate: deliveries / seconds, events, deliveries, took, times: Vec::new() });
        }
        let due = match plan.pace {
            Some(pace) => nanos(now) / nanos(pace).max(1) - sent,
            None if owed.saturating_sub(progress.received.load(Ordering::Acquire)) < ahead => BATCH,
            None => 0,
        };
        if due == 0 || progress.over.load(Ordering::Acquire) {
            if progress.over.load(Ordering::Acquire) {
                return Err("the crowd gave up".to_string());
            }
            thread::sleep(REST);
            continue;
        }
        for number in sent..sent + due.min(BATCH) {
            let room = usize::try_from(number).unwrap_or_default() % events.len();
            let time = plan.pace.map_or(now, |pace| Duration::from_nanos(nanos(pace) * number));
            batch[room % wires.len()].extend_from_slice(events[room].stamped(number, time));
            owed += copies[room];
        }
        sent += due.min(BATCH);
        progress.sent.store(owed, Ordering::Release);
        for (wire, batch) in wires.iter_mut().zip(&mut batch) {
            wire.write_all(batch).map_err(|error| format!("a publisher cannot write: {error}"))?;
            batch.clear();
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn receive(crowd: &mut Crowd, plan: &Plan, progress: &Progress, base: Instant) -> Result<Vec<Duration>, String> {
    let done = listen(crowd, plan, progress, base);
    // A publisher that waits for deliveries is to stop, too.
    progress.over.store(true, Ordering::Release);
    done
}

fn listen(crowd: &mut Crowd, plan: &Plan, progress: &Progress, base: Instant) -> Result<Vec<Duration>, String> {
    let rooms = plan.rooms.len() as u64;
    // The next number for a member of one room; for a member of all, of each room.
    let mut next: Vec<Vec<u64>> = plan.listens.iter().map(|listens| listens.first(rooms)).collect();
    let (mut times, mut received, mut heard_last) = (Vec::new(), 0_u64, Instant::now());
    loop {
        let counting = progress.counting.load(Ordering::Acquire);
        let before = received;
        crowd.turn(WAIT, &mut |member, payload, now| {
            let Some(next) = next.get_mut(member) else { return Ok(()) };
            let (number, due) = event::read(payload)?;
            let place = if next.len() == 1 { 0 } else { usize::try_from(number % rooms).unwrap_or_default() };
            if next[place] != number {
                return Err(format!("the event {number} came in place of {}", next[place]));
            }
            next[place] += rooms;
            received += 1;
            if counting {
                times.push(now.saturating_duration_since(base + due));
            }
            Ok(())
        })?;
        progress.received.store(received, Ordering::Release);
        if received > before {
            heard_last = Instant::now();
        }
        let over = progress.over.load(Ordering::Acquire);
        if over && received == progress.sent.load(Ordering::Acquire) {
            return Ok(times);
        }
        if heard_last.elapsed() > PATIENCE {
            let sent = progress.sent.load(Ordering::Acquire);
            return Err(format!("{} of {sent} deliveries are missing", sent.saturating_sub(received)));
        }
    }
}

impl Listens {
    /// The first numbers that may come.
    fn first(self, rooms: u64) -> Vec<u64> {
        match self {
            Listens::Room(room) => vec![room],
            Listens::All => (0..rooms).collect(),
        }
    }

    /// The name of what it subscribes to.
    pub fn room(self, rooms: &[String]) -> &str {
        match self {
            Listens::Room(room) => {
                usize::try_from(room).ok().and_then(|room| rooms.get(room)).map_or("*", String::as_str)
            }
            Listens::All => "*",
        }
    }
}

/// Connects messengers that are subscribed; each subscription stands when this answers.
pub fn messengers(crowd: &mut Crowd, hub: SocketAddr, listens: &[Listens], rooms: &[String]) -> Result<(), String> {
    let before = crowd.pongs;
    for listens in listens {
        let (mut stream, kept) = frames::connect(hub, "/connect/messenger")?;
        // The hub takes frames in order: behind the pong, the subscription stands.
        let frames = [frames::subscribe(listens.room(rooms)), frames::frame(frames::PING, &[])].concat();
        stream.write_all(&frames).map_err(|error| format!("cannot subscribe: {error}"))?;
        crowd.join(stream, kept)?;
    }
    let begun = Instant::now();
    while crowd.pongs < before + listens.len() as u64 {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} of {} pings were answered", crowd.pongs - before, listens.len()));
        }
        crowd.turn(WAIT, &mut |_, _, _| Ok(()))?;
    }
    Ok(())
}

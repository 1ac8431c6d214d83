//! Whether one that does not read delays the others: p99 of the crowd beside a connection that reads, beside
//! the same connection that does not, and beside one that reads again, in turn.
//!
//! A window's p99 moves by itself. So each window gives one p99, the medians of many are compared, and the windows
//! before are compared with those after: that they differ by nothing but chance is what the row can tell apart.
//!
//! The hub cuts off who does not read. So that somebody stalls all the time, one more comes every five seconds.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};

use super::Bench;
use super::crowd::Crowd;
use super::deliver;
use super::frames;
use super::load::{Plan, drive};
use super::site::Site;
use crate::bench::spread::Spread;

/// How far apart events are: 2,000 in a second, ten deliveries each.
const PACE: Duration = Duration::from_micros(500);
/// Seconds that are measured, of each window.
const SECONDS: u64 = 10;
/// Turns of a round, of three windows each.
const TURNS: usize = 6;
/// How often somebody new stalls: when the one before has been cut off, at 2 MiB/s.
const NEXT: Duration = Duration::from_secs(5);
/// How often a sleeper looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes that the kernel takes for who does not read, as asked for; it doubles them.
const RECEIVE_BYTES: usize = 4096;
/// How much greater p99 may be.
const GREATER_MAX: f64 = 1.2;

/// The p99 of each window, by what was beside the crowd.
#[derive(Default)]
struct Windows {
    /// One that reads, before the others.
    before: Spread,
    /// Those that do not read.
    stalled: Spread,
    /// One that reads, afterwards.
    after: Spread,
}

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    for kind in ["messenger", "hub", "repeater"] {
        let (mut all, mut cut) = (Windows::default(), Spread::default());
        for _ in 0..bench.rounds {
            let site = super::start(bench, "hub")?;
            windows(bench, &site, kind, &mut all).map_err(|said| site.told(&said))?;
            let counts = site.counts()?;
            let slow = counts.iter().filter(|(name, _)| name.contains("\"slow"));
            cut.add(slow.fold(0.0, |sum, (_, count)| sum + count));
        }
        all.before.print_time(&format!("p99 beside a {kind} that reads"), None);
        all.stalled.print_time(&format!("p99 beside a {kind} that does not"), None);
        all.after.print_time(&format!("p99 beside a {kind} that reads, again"), None);
        let least = f64::MIN_POSITIVE;
        let reads = f64::midpoint(all.before.median(), all.after.median()).max(least);
        let [mut ratio, mut chance] = [Spread::default(), Spread::default()];
        ratio.add(all.stalled.median() / reads);
        chance.add(all.after.median() / all.before.median().max(least));
        ratio.print_ratio(&format!("beside a stalled {kind}, over beside one that reads"), GREATER_MAX);
        chance.print_ratio("by chance: beside one that reads, over the same", GREATER_MAX);
        cut.print_count("cut off and counted in a round");
    }
    Ok(())
}

/// Adds the windows of a round.
fn windows(bench: &Bench, site: &Site, kind: &str, all: &mut Windows) -> Result<(), String> {
    let (mut crowd, mut plan) = deliver::crowd(site)?;
    plan.pace = Some(PACE);
    plan.measured = super::time(bench, SECONDS);
    for _ in 0..TURNS {
        all.before.add_percentile(&mut beside_reader(&mut crowd, &plan, site, kind)?, 99);
        let over = AtomicBool::new(false);
        let mut times = thread::scope(|scope| {
            let sleepers = scope.spawn(|| stall(site.hub, kind, &over));
            let measured = drive(&mut crowd, &plan, || Ok(()));
            over.store(true, Ordering::Release);
            sleepers.join().map_err(|_| "a sleeper panicked")?.and(measured)
        })?
        .times;
        all.stalled.add_percentile(&mut times, 99);
        all.after.add_percentile(&mut beside_reader(&mut crowd, &plan, site, kind)?, 99);
    }
    Ok(())
}

/// The times of the crowd beside one that reads. It leaves then: a repeater that reads would take its share of
/// what goes to those that do not.
fn beside_reader(crowd: &mut Crowd, plan: &Plan, site: &Site, kind: &str) -> Result<Vec<Duration>, String> {
    let (mut stream, kept) = frames::connect(site.hub, &format!("/connect/{kind}"))?;
    greet(&mut stream, kind)?;
    let reader = crowd.join(stream, kept)?;
    let times = drive(crowd, plan, || Ok(()))?.times;
    crowd.leave(reader)?;
    Ok(times)
}

/// Connections that never read, one more every while.
fn stall(hub: SocketAddr, kind: &str, over: &AtomicBool) -> Result<(), String> {
    let mut sleepers = Vec::new();
    while !over.load(Ordering::Acquire) {
        let mut stream = narrow(hub)?;
        frames::upgrade(&mut stream, hub, &format!("/connect/{kind}"))?;
        greet(&mut stream, kind)?;
        sleepers.push(stream);
        let mut rested = Duration::ZERO;
        while rested < NEXT && !over.load(Ordering::Acquire) {
            thread::sleep(LOOK);
            rested += LOOK;
        }
    }
    Ok(())
}

/// A messenger wants everything; hubs and repeaters get what is theirs.
fn greet(stream: &mut TcpStream, kind: &str) -> Result<(), String> {
    if kind != "messenger" {
        return Ok(());
    }
    stream.write_all(&frames::subscribe("*")).map_err(|error| format!("cannot subscribe: {error}"))
}

/// A connection for which the kernel takes little.
fn narrow(hub: SocketAddr) -> Result<TcpStream, String> {
    let failed = |error: rustix::io::Errno| format!("cannot connect to {hub}: {error}");
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).map_err(failed)?;
    sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BYTES).map_err(failed)?;
    connect(&socket, &hub).map_err(failed)?;
    Ok(TcpStream::from(socket))
}

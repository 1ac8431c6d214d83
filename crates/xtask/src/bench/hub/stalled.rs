//! Whether one that does not read delays the others: p99 of the crowd beside a connection that reads, and
//! beside the same connection that does not, in turn.
//!
//! The hub cuts off who does not read. So that somebody stalls all the time, one more comes every five seconds.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};

use super::Bench;
use super::deliver;
use super::frames;
use super::load::drive;
use super::site::Site;
use crate::bench::percentile;
use crate::bench::spread::Spread;

/// How far apart events are: 2,000 in a second, ten deliveries each.
const PACE: Duration = Duration::from_micros(500);
/// Seconds that are measured, of each window.
const SECONDS: u64 = 10;
/// Windows of each in a round.
const TURNS: usize = 2;
/// How often somebody new stalls: when the one before has been cut off, at 2 MiB/s.
const NEXT: Duration = Duration::from_secs(5);
/// How often a sleeper looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes that the kernel takes for who does not read, as asked for; it doubles them.
const RECEIVE_BYTES: usize = 4096;
/// How much greater p99 may be.
const GREATER_MAX: f64 = 1.2;

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    for kind in ["messenger", "hub", "repeater"] {
        let [mut nobody, mut awake, mut stalled, mut ratio, mut cut] = [(); 5].map(|()| Spread::default());
        for _ in 0..bench.rounds {
            let site = super::start(bench, "hub")?;
            let [mut alone, mut reads, mut does_not] = windows(bench, &site, kind).map_err(|said| site.told(&said))?;
            nobody.add_percentile(&mut alone, 99);
            awake.add_percentile(&mut reads, 99);
            stalled.add_percentile(&mut does_not, 99);
            let (reads, does_not) = (percentile(&mut reads, 99), percentile(&mut does_not, 99));
            ratio.add(does_not.as_secs_f64() / reads.as_secs_f64().max(f64::MIN_POSITIVE));
            let counts = site.counts()?;
            let slow = counts.iter().filter(|(name, _)| name.contains("\"slow"));
            cut.add(slow.fold(0.0, |sum, (_, count)| sum + count));
        }
        nobody.print_time("p99 beside nobody", None);
        awake.print_time(&format!("p99 beside a {kind} that reads"), None);
        stalled.print_time(&format!("p99 beside a {kind} that does not"), None);
        ratio.print_ratio(&format!("p99 beside a stalled {kind}, over beside one that reads"), GREATER_MAX);
        cut.print_count("cut off and counted in a round");
    }
    Ok(())
}

/// The times of the crowd by itself, beside one that reads, and beside those that stall, some windows of each in turn.
fn windows(bench: &Bench, site: &Site, kind: &str) -> Result<[Vec<Duration>; 3], String> {
    let (mut crowd, mut plan) = deliver::crowd(site)?;
    plan.pace = Some(PACE);
    plan.measured = super::time(bench, SECONDS);
    let [mut nobody, mut awake, mut stalled] = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        nobody.extend(drive(&mut crowd, &plan, || Ok(()))?.times);
        let (mut stream, kept) = frames::connect(site.hub, &format!("/connect/{kind}"))?;
        greet(&mut stream, kind)?;
        let reader = crowd.join(stream, kept)?;
        awake.extend(drive(&mut crowd, &plan, || Ok(()))?.times);
        // A repeater that reads would take its share of what goes to those that do not.
        crowd.leave(reader)?;
        let over = AtomicBool::new(false);
        stalled.extend(
            thread::scope(|scope| {
                let sleepers = scope.spawn(|| stall(site.hub, kind, &over));
                let measured = drive(&mut crowd, &plan, || Ok(()));
                over.store(true, Ordering::Release);
                sleepers.join().map_err(|_| "a sleeper panicked")?.and(measured)
            })?
            .times,
        );
    }
    Ok([nobody, awake, stalled])
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

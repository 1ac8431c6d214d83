//! Whether one that does not read delays the others: p99 of the crowd beside a connection that reads, and
//! beside the same connection that does not, in turn.
//!
//! The hub cuts off who does not read. So that somebody stalls all the time, one more comes every second.

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
/// How often somebody new stalls.
const NEXT: Duration = Duration::from_secs(1);
/// How often a sleeper looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes that the kernel takes for who does not read, as asked for; it doubles them.
const RECEIVE_BYTES: usize = 4096;
/// How much greater p99 may be.
const GREATER_MAX: f64 = 1.2;

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    for kind in ["messenger", "hub", "repeater"] {
        let [mut awake, mut stalled, mut ratio, mut cut] = [(); 4].map(|()| Spread::default());
        for _ in 0..bench.rounds {
            let site = bench.site("hub")?;
            let windows = windows(bench, &site, kind).map_err(|said| site.told(&said))?;
            awake.add(windows[0].as_secs_f64());
            stalled.add(windows[1].as_secs_f64());
            ratio.add(windows[1].as_secs_f64() / windows[0].as_secs_f64().max(f64::MIN_POSITIVE));
            let counts = site.counts()?;
            cut.add(counts.iter().filter(|(name, _)| name.contains("disconnected")).map(|(_, count)| count).sum());
        }
        awake.print_time(&format!("p99 beside a {kind} that reads"), None);
        stalled.print_time(&format!("p99 beside a {kind} that does not"), None);
        ratio.print_ratio(&format!("p99 beside a stalled {kind}, over beside one that reads"), GREATER_MAX);
        cut.print_count("cut off and counted in a round");
    }
    Ok(())
}

/// p99 with everybody awake, and with one that stalls.
fn windows(bench: &Bench, site: &Site, kind: &str) -> Result<[Duration; 2], String> {
    let (mut crowd, mut plan) = deliver::crowd(site)?;
    plan.pace = Some(PACE);
    plan.measured = bench.time(SECONDS);
    let reader = {
        let (mut stream, kept) = frames::connect(site.hub, &format!("/connect/{kind}"))?;
        greet(&mut stream, kind)?;
        crowd.join(stream, kept)?
    };
    let awake = p99(&mut crowd, &plan)?;
    // From here on the others of its kind do not read; the repeater that did would take every second event.
    crowd.leave(reader)?;
    let over = AtomicBool::new(false);
    let stalled = thread::scope(|scope| {
        let sleepers = scope.spawn(|| stall(site.hub, kind, &over));
        let stalled = p99(&mut crowd, &plan);
        over.store(true, Ordering::Release);
        sleepers.join().map_err(|_| "a sleeper panicked")?.and(stalled)
    })?;
    Ok([awake, stalled])
}

fn p99(crowd: &mut Crowd, plan: &Plan) -> Result<Duration, String> {
    let mut measured = drive(crowd, plan, || Ok(()))?;
    Ok(crate::bench::percentile(&mut measured.times, 99))
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

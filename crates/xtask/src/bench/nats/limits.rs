//! What the machine itself allows, beside which the servers' figures stand: a round trip through a relay
//! on the loopback, as a request through a broker takes it, a stream of bytes, and one sync.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Values;
use super::report::{Unit, spell};
use crate::bench::{self, percentile};

/// The row's name.
pub const NAME: &str = "limits";
/// Round trips that are timed.
const TRIPS: usize = 20_000;
/// Bytes of one: a small request with its line.
const TRIP_BYTES: usize = 48;
/// Bytes that are streamed, and in what writes.
const STREAM_BYTES: usize = 2 << 30;
const WRITE_BYTES: usize = 64 * 1024;

/// Measures; each figure with its name.
pub fn measure(folder: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let failed = |error: std::io::Error| format!("the machine's limits: {error}");
    let trips = relay().map_err(failed)?;
    let stream = stream().map_err(failed)?;
    let sync = bench::time_sync(folder).map_err(failed)?;
    let [p50, p99] = ["p50", "p99"].map(|key| trips.iter().find(|(known, _)| *known == key).map_or(0.0, |pair| pair.1));
    let trip = format!("{}, {}", spell(Unit::Nanos, p50), spell(Unit::Nanos, p99));
    Ok(vec![
        ("loopback round trip through a relay, 48 B, p50 and p99", trip),
        ("loopback stream, writes of 64 KiB", format!("{:.2} GB/s", stream / 1e9)),
        ("one fdatasync of 4 KiB into a file that has the room, p50", spell(Unit::Nanos, sync.as_secs_f64() * 1e9)),
    ])
}

/// A connected pair, without delays.
fn pair() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

/// Passes on what comes from one connection to another until it ends.
fn pass(mut from: TcpStream, mut to: TcpStream) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; TRIP_BYTES];
        while from.read_exact(&mut buffer).is_ok() && to.write_all(&buffer).is_ok() {}
    })
}

fn relay() -> std::io::Result<Values> {
    let (mut client, relay_client) = pair()?;
    let (relay_service, service) = pair()?;
    let tasks = [
        pass(relay_client.try_clone()?, relay_service.try_clone()?),
        pass(relay_service, relay_client),
        pass(service.try_clone()?, service),
    ];
    let (mut buffer, mut times) = ([7; TRIP_BYTES], Vec::with_capacity(TRIPS));
    for _ in 0..TRIPS {
        let begun = Instant::now();
        client.write_all(&buffer)?;
        client.read_exact(&mut buffer)?;
        times.push(begun.elapsed());
    }
    client.shutdown(std::net::Shutdown::Both)?;
    drop(client);
    // Each passes on the end by ending: the first by its read, the rest by theirs.
    let _detached = tasks;
    let nanos = |times: &mut [Duration], percent| percentile(times, percent).as_secs_f64() * 1e9;
    Ok(vec![("p50", nanos(&mut times, 50)), ("p99", nanos(&mut times, 99))])
}

fn stream() -> std::io::Result<f64> {
    let (mut near, mut far) = pair()?;
    let begun = Instant::now();
    let reading = thread::spawn(move || -> std::io::Result<usize> {
        let (mut buffer, mut sum) = (vec![0; WRITE_BYTES], 0);
        loop {
            match far.read(&mut buffer)? {
                0 => return Ok(sum),
                bytes => sum += bytes,
            }
        }
    });
    let buffer = vec![7; WRITE_BYTES];
    for _ in 0..STREAM_BYTES / WRITE_BYTES {
        near.write_all(&buffer)?;
    }
    drop(near);
    let read = reading.join().map_err(|_| std::io::Error::other("the reader panicked"))??;
    Ok(read as f64 / begun.elapsed().as_secs_f64())
}

//! Intake over HTTP: many connections, each with one durable event at a time.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{figure, percentile, spell};
use crate::api::{self, Way};
use crate::http::Connection;
use crate::node::{self, Launch};

/// Connections that publish at the same time.
const CONNECTIONS: usize = 64;
/// Bytes of an event's data.
const DATA_BYTES: [usize; 2] = [128, 1024];
/// How long each measurement takes.
const MEASURED: Duration = Duration::from_secs(10);
/// How long a quick one takes.
const MEASURED_QUICK: Duration = Duration::from_secs(2);
/// What is not counted at the beginning.
const WARM_UP: Duration = Duration::from_millis(500);

/// Measures and prints.
pub fn run(folder: &Path, quick: bool) -> Result<(), String> {
    let binary = node::build(true)?;
    let here = folder.join("load");
    std::fs::create_dir_all(&here).map_err(|error| error.to_string())?;
    let node = Launch::new(&binary, &here).start()?;
    println!("\nintake: CloudEvents in binary mode, one by one, each answered when it is on disk");
    for connections in [1, CONNECTIONS] {
        for bytes in DATA_BYTES {
            let measured = if quick { MEASURED_QUICK } else { MEASURED };
            let mut times = measure(node.http, connections, bytes, measured)?;
            let rate = times.len() as f64 / measured.as_secs_f64();
            let name = format!("{connections} connections, {bytes} B");
            figure(&format!("{name}: events a second"), &format!("{rate:.0}"), None);
            figure(&format!("{name}: p50"), &spell(percentile(&mut times, 50)), None);
            figure(&format!("{name}: p99"), &spell(percentile(&mut times, 99)), None);
        }
    }
    node.stop().map(drop)
}

/// The time of every request that was answered within what is measured.
fn measure(address: SocketAddr, connections: usize, bytes: usize, measured: Duration) -> Result<Vec<Duration>, String> {
    let run = std::process::id();
    let begun = Instant::now();
    let one = |number: usize| -> Result<Vec<Duration>, String> {
        let mut conn = Connection::open(address).map_err(|error| error.to_string())?;
        let (payload, mut times, mut count) = (vec![b'x'; bytes], Vec::new(), 0_u64);
        while begun.elapsed() < WARM_UP + measured {
            let id = format!("{run}-{connections}-{bytes}-{number}-{count}");
            let sent = Instant::now();
            let response = api::send(&mut conn, Way::Binary, "events.bench", &id, &payload);
            let response = response.map_err(|error| error.to_string())?;
            api::receipt(&response)?;
            if begun.elapsed() > WARM_UP {
                times.push(sent.elapsed());
            }
            count += 1;
        }
        Ok(times)
    };
    let lists: Result<Vec<Vec<Duration>>, String> = thread::scope(|scope| {
        let tasks: Vec<_> = (0..connections).map(|number| scope.spawn(move || one(number))).collect();
        tasks.into_iter().map(|task| task.join().unwrap_or_else(|_| Err("a connection panicked".to_string()))).collect()
    });
    lists.map(|lists| lists.concat())
}

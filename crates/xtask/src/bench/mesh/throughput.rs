//! How many small messages a link carries.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::site::Mesh;
use crate::bench::nats::wire::{Batch, Wire};
use crate::bench::spread::Spread;

/// Bytes of a payload.
const SIZE: usize = 128;
/// Messages of a round.
const MESSAGES: u64 = 4_000_000;
const MESSAGES_QUICK: u64 = 500_000;
/// Messages that may be under way: as many as a buffer of a link holds easily.
const WINDOW: u64 = 16_384;
/// What is asked for.
const RATE_MIN: f64 = 300_000.0;
const SUBJECT: &str = "load.x";

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let [mut rate, mut first_cpu, mut second_cpu] = [(); 3].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let mesh = Mesh::chain(&bench.binary, &bench.folder, &[("a", "a1"), ("b", "b1")])?;
        let [first, second] = &mesh.sites[..] else { return Err("two nodes".to_string()) };
        let mut reader = second.wire()?;
        reader.subscribe(SUBJECT, "", 1)?;
        mesh.until_heard(first, &mut reader, SUBJECT)?;
        let writer = first.wire()?;
        let messages = if bench.quick { MESSAGES_QUICK } else { MESSAGES };
        let before = (first.node.cpu()?, second.node.cpu()?);
        let took = drive(writer, reader, messages)
            .map_err(|said| format!("{said}\n{}\n{}", first.told(""), second.told("")))?;
        let after = (first.node.cpu()?, second.node.cpu()?);
        rate.add(messages as f64 / took.as_secs_f64());
        let micros = |before: Duration, after: Duration| (after - before).as_secs_f64() / messages as f64;
        first_cpu.add(micros(before.0, after.0));
        second_cpu.add(micros(before.1, after.1));
    }
    rate.print_rate("messages over the link, none lost, in order", Some(RATE_MIN));
    first_cpu.print_time("processor time of the sending node a message", None);
    second_cpu.print_time("processor time of the receiving node a message", None);
    Ok(())
}

/// Publishes on one connection and reads on the other, each in a thread.
fn drive(mut writer: Wire, mut reader: Wire, messages: u64) -> Result<Duration, String> {
    let (read, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut batch = Batch::new(SUBJECT, 1, "", None, SIZE, Batch::frames_in_write(SIZE));
            let mut sent = 0;
            while sent < messages && !failed.load(Ordering::Relaxed) {
                let ahead = sent - read.load(Ordering::Relaxed);
                if ahead + batch.frames() as u64 > WINDOW {
                    thread::sleep(Duration::from_micros(50));
                    continue;
                }
                let frames = batch.frames().min(usize::try_from(messages - sent).unwrap_or(usize::MAX));
                writer.send(batch.numbered(sent, frames))?;
                sent += frames as u64;
            }
            Ok::<_, String>(())
        });
        let all = (0..messages).try_for_each(|number| {
            let message = reader.message()?;
            let found = reader.bytes(&message.body).first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            read.store(number + 1, Ordering::Relaxed);
            if found.map(u64::from) == Some(number) { Ok(()) } else { Err(format!("{found:?} came, not {number}")) }
        });
        failed.store(all.is_err(), Ordering::Relaxed);
        let took = begun.elapsed();
        let published = publisher.join().map_err(|_| "the publisher failed".to_string())?;
        all.and(published).map(|()| took)
    })
}

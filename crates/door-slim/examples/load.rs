//! A load for the SLIM door: one that publishes, and those that read, each on a connection of its own. They sign and
//! frame as stock clients do, and do nothing else, so that it is the node that is measured.
//!
//! `load ADDRESS [--count N] [--size BYTES] [--members N] [--stopped N] [--pairs N]` says on standard output what came,
//! as JSON: `{"seconds", "sent", "received": [of each reader]}`.

#![allow(clippy::unwrap_used, reason = "a program of the benches: what cannot be is its end")]
#![allow(clippy::cast_possible_truncation, reason = "its numbers are small")]

#[path = "../tests/door/support.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use support::{Client, Head, To, one};

/// Messages handed over at a time.
const BATCH: usize = 64;
/// How long nothing may come before what is missing is taken for lost.
const SILENCE: Duration = Duration::from_secs(5);

fn flag(name: &str, default: usize) -> usize {
    let mut args = std::env::args().skip_while(|each| each != name);
    args.nth(1).map_or(default, |value| value.parse().expect("a flag's value is a number"))
}

fn name(pair: usize, member: usize) -> To {
    one(pair as u64, member as u128)
}

/// Reads until so many came, or nothing does any more.
async fn receive(mut client: Client, count: usize) -> usize {
    let mut came = 0;
    while came < count {
        match tokio::time::timeout(SILENCE, client.raw()).await {
            Ok(Ok(_)) => came += 1,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    came
}

async fn publish(client: Client, head: Head, count: usize, size: usize) {
    let message = client.published(&head, &vec![7; size]).0;
    let mut batch = BytesMut::new();
    for _ in 0..BATCH {
        batch.put_u8(0);
        batch.put_u32(message.len() as u32);
        batch.put_slice(&message);
    }
    let batch: Bytes = batch.freeze();
    let each = batch.len() / BATCH;
    let mut left = count;
    while left > 0 {
        let now = left.min(BATCH);
        client.send_bytes(batch.slice(..now * each)).await;
        left -= now;
    }
    // What was sent is read, and the link stays until then.
    tokio::time::sleep(SILENCE).await;
}

#[tokio::main]
async fn main() {
    let address: SocketAddr =
        std::env::args().nth(1).and_then(|at| at.parse().ok()).expect("the first argument is an address");
    let (count, size) = (flag("--count", 100_000), flag("--size", 128));
    let (members, stopped, pairs) = (flag("--members", 1), flag("--stopped", 0), flag("--pairs", 1));
    let (mut readers, mut idle, mut senders) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        for member in 0..members + stopped {
            let mut client = Client::open_as(address, &format!("reader-{pair}-{member}"), 2, None).await;
            client.subscribe(name(pair, member)).await;
            if member < members { readers.push(client) } else { idle.push(client) }
        }
        senders.push(Client::open_as(address, &format!("sender-{pair}"), 2, None).await);
    }
    let begun = Instant::now();
    let reading: Vec<_> = readers.into_iter().map(|client| tokio::spawn(receive(client, count))).collect();
    for (pair, client) in senders.into_iter().enumerate() {
        let to = To(name(pair, 0).0, None);
        let head = if members + stopped > 1 { Head::every(to) } else { Head::to(name(pair, 0)) };
        tokio::spawn(publish(client, head, count, size));
    }
    let mut received = Vec::new();
    for each in reading {
        received.push(each.await.expect("a reader does not panic"));
    }
    let mut seconds = begun.elapsed().as_secs_f64();
    if received.iter().any(|came| *came < count) {
        seconds -= SILENCE.as_secs_f64();
    }
    let said = serde_json::json!({"seconds": seconds, "sent": count * pairs, "received": received});
    println!("{said}");
    drop(idle);
}

//! One fact at a time: from the first byte of the request at one node until the other, which recorded it,
//! shows it to a follower of its stream.
//!
//! The figure includes the request to the first node, its sync, the push, the sync of the second, and the
//! server-sent event that tells of it: a follower sees nothing that is not on disk.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Bench;
use super::site::{PATIENCE, STREAM, Site, emit, peer, push};
use crate::bench::spread::Spread;

/// Facts of one round.
const SINGLES: usize = 2_000;
const SINGLES_QUICK: usize = 200;
/// Facts before them, which are not counted.
const WARM_UP: usize = 50;
/// Facts of a full store.
const FULL: usize = 100_000;
const FULL_QUICK: usize = 5_000;
/// What the time of one is held to, p50 and p99.
const P50_MAX: Duration = Duration::from_millis(5);
const P99_MAX: Duration = Duration::from_millis(20);
/// How much dearer than with an empty store something may be: what rounds differ by anyway.
const DEARER_MAX: f64 = 1.2;

/// What one round measured.
#[derive(Debug, Default)]
struct Singles {
    seen: Vec<Duration>,
    emit: Vec<Duration>,
    receive: Vec<Duration>,
}

/// Measures and prints, with empty stores.
pub fn run(bench: &Bench) -> Result<(), String> {
    let count = bench.count(SINGLES, SINGLES_QUICK);
    let mut figures = Figures::default();
    for round in 0..bench.rounds {
        let (a, b) = joined(bench)?;
        figures.add(singles(&a, &b, &format!("r{round}-"), count)?);
    }
    figures.seen[0].print_time("emitted to seen on the second node: p50", Some(P50_MAX));
    figures.seen[1].print_time("emitted to seen on the second node: p99", Some(P99_MAX));
    figures.emit[0].print_time("of that, emit's own answer: p50", None);
    figures.emit[1].print_time("of that, emit's own answer: p99", None);
    Ok(())
}

/// The same pair with empty stores, and with full ones.
pub fn run_full(bench: &Bench) -> Result<(), String> {
    let (count, full) = (bench.count(SINGLES, SINGLES_QUICK), bench.count(FULL, FULL_QUICK));
    let (mut empty, mut filled) = (Figures::default(), Figures::default());
    for round in 0..bench.rounds {
        let (a, b) = joined(bench)?;
        let mut measured = singles(&a, &b, &format!("e{round}-"), count)?;
        measured.receive = receives(&b, &format!("er{round}-"), count)?;
        empty.add(measured);
        let there = b.recorded(&mut b.node.connect()?)?;
        a.load(&format!("f{round}-"), full)?;
        b.until(there + full)?;
        let mut measured = singles(&a, &b, &format!("s{round}-"), count)?;
        measured.receive = receives(&b, &format!("sr{round}-"), count)?;
        filled.add(measured);
    }
    for (what, empty, filled) in [
        ("emitted to seen", &empty.seen, &filled.seen),
        ("emit, round trip", &empty.emit, &filled.emit),
        ("receive, round trip", &empty.receive, &filled.receive),
    ] {
        for (place, percent) in [(0, 50), (1, 99)] {
            empty[place].print_time(&format!("{what}, empty stores: p{percent}"), None);
            filled[place].print_time(&format!("{what}, {full} facts in each: p{percent}"), None);
        }
        let mut ratio = Spread::default();
        ratio.add(filled[0].median() / empty[0].median().max(f64::MIN_POSITIVE));
        ratio.print_ratio(&format!("{what}: full beside empty, medians of p50"), DEARER_MAX);
    }
    Ok(())
}

/// p50 and p99 of each, over the rounds.
#[derive(Debug, Default)]
struct Figures {
    seen: [Spread; 2],
    emit: [Spread; 2],
    receive: [Spread; 2],
}

impl Figures {
    fn add(&mut self, mut singles: Singles) {
        for (spreads, times) in [
            (&mut self.seen, &mut singles.seen),
            (&mut self.emit, &mut singles.emit),
            (&mut self.receive, &mut singles.receive),
        ] {
            spreads[0].add_percentile(times, 50);
            spreads[1].add_percentile(times, 99);
        }
    }
}

/// Two nodes of which the first pushes to the second.
fn joined(bench: &Bench) -> Result<(Site, Site), String> {
    let (a, b) = bench.pair()?;
    a.declare(&[peer("b", &b.endpoint(), "auto")])?;
    Ok((a, b))
}

/// States facts at one node, each when the one before was seen at the other.
fn singles(a: &Site, b: &Site, prefix: &str, count: usize) -> Result<Singles, String> {
    // The first fact makes the stream.
    let mut conn = a.node.connect()?;
    let before = b.recorded(&mut b.node.connect()?)?;
    emit(&mut conn, &format!("{prefix}first")).map_err(|said| a.told(&said))?;
    b.until(before + 1).map_err(|said| a.told(&said))?;
    let follower = Follower::start(b, before + 2)?;
    let mut singles = Singles::default();
    for number in 0..WARM_UP + count {
        let id = format!("{prefix}{number}");
        let sent = Instant::now();
        emit(&mut conn, &id).map_err(|said| a.told(&said))?;
        let answered = sent.elapsed();
        let seen = follower.wait(&id).map_err(|said| a.told(&said))?;
        if number >= WARM_UP {
            singles.emit.push(answered);
            singles.seen.push(seen.saturating_duration_since(sent));
        }
    }
    Ok(singles)
}

/// Pushes facts by hand, one after another.
fn receives(b: &Site, prefix: &str, count: usize) -> Result<Vec<Duration>, String> {
    let (mut conn, mut times) = (b.node.connect()?, Vec::new());
    for number in 0..WARM_UP + count {
        let sent = Instant::now();
        push(&mut conn, &format!("{prefix}{number}")).map_err(|said| b.told(&said))?;
        if number >= WARM_UP {
            times.push(sent.elapsed());
        }
    }
    Ok(times)
}

/// Who follows a node's stream and notes when each fact came.
struct Follower {
    stream: TcpStream,
    seen: Receiver<(String, Instant)>,
}

impl Follower {
    /// Follows from a position.
    fn start(site: &Site, from: usize) -> Result<Follower, String> {
        let failed = |error: std::io::Error| format!("cannot follow: {error}");
        let mut stream = TcpStream::connect(site.node.http).map_err(failed)?;
        let path = format!("/v1/streams/{STREAM}/messages?from={from}");
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(ask.as_bytes()).map_err(failed)?;
        let mut reader = BufReader::new(stream.try_clone().map_err(failed)?);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).map_err(failed)? == 0 {
                return Err(format!("cannot follow: {head}"));
            }
        }
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("cannot follow: {head}"));
        }
        let (told, seen) = channel();
        thread::spawn(move || {
            for line in BufReader::new(Chunks { inner: reader, left: 0 }).lines().map_while(Result::ok) {
                let now = Instant::now();
                let Some(data) = line.strip_prefix("data: ") else { continue };
                let message: Value = serde_json::from_str(data).unwrap_or_default();
                let id = message["event"]["id"].as_str().unwrap_or_default().to_string();
                if told.send((id, now)).is_err() {
                    return;
                }
            }
        });
        Ok(Follower { stream, seen })
    }

    /// When a fact came; others that came before it are passed over.
    fn wait(&self, id: &str) -> Result<Instant, String> {
        loop {
            let (seen, at) = self.seen.recv_timeout(PATIENCE).map_err(|_| format!("'{id}' was never seen"))?;
            if seen == id {
                return Ok(at);
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _closed = self.stream.shutdown(Shutdown::Both);
    }
}

/// A body in chunks, as the bytes that it is.
struct Chunks<R> {
    inner: R,
    left: usize,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.left == 0 {
            let mut line = String::new();
            if self.inner.read_line(&mut line)? == 0 {
                return Ok(0);
            }
            let size = line.trim_end();
            if !size.is_empty() {
                self.left = usize::from_str_radix(size, 16).map_err(std::io::Error::other)?;
                if self.left == 0 {
                    return Ok(0);
                }
            }
        }
        let most = out.len().min(self.left);
        let read = self.inner.read(&mut out[..most])?;
        self.left -= read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_chunks_is_read_whole_however_it_is_cut() {
        let mut read = String::new();
        let body = &b"3\r\nabc\r\nB\r\ndefghijklmn\r\n0\r\n\r\n"[..];
        Chunks { inner: body, left: 0 }.read_to_string(&mut read).unwrap();
        assert_eq!(read, "abcdefghijklmn");
    }
}

//! Watchers by gRPC: a hundred subscriptions on each connection, as programs have them that follow many services.

use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::grpc::{self, Reader};
use super::service::{self, Figures, LOOK, NAME, PATIENCE, Watching};
use super::site::Site;
use super::{Bench, LARGE, Load, SMALL};

/// The share of the original's processor time that ours may take.
const SHARE: u32 = 100;
/// Subscriptions on each connection.
const STREAMS: usize = 100;
/// How long nobody is told anything before all have the snapshot.
const SILENCE: Duration = Duration::from_secs(1);

/// 500 watchers.
pub fn small(bench: &Bench) -> Result<(), String> {
    run(bench, &SMALL)
}

/// 5,000 watchers.
pub fn large(bench: &Bench) -> Result<(), String> {
    run(bench, &LARGE)
}

fn run(bench: &Bench, load: &Load) -> Result<(), String> {
    let mut figures = Figures::default();
    for _ in 0..bench.rounds {
        let site = Site::start(&bench.binary, &bench.folder)?;
        round(bench, load, &site, &mut figures).map_err(|said| site.told(&said))?;
    }
    figures.print(load, SHARE);
    Ok(())
}

fn round(bench: &Bench, load: &Load, site: &Site, figures: &mut Figures) -> Result<(), String> {
    service::fill(&mut site.connect()?, load.instances)?;
    let (mut crowd, mut readers) = connect(site, load.watchers / STREAMS, STREAMS)?;
    subscribe(&mut crowd, &mut readers, 0..STREAMS)?;
    quiet(&mut crowd, &mut readers, STREAMS, SILENCE)?;
    readers.iter_mut().for_each(|reader| reader.told.clear());
    service::measure(bench, site, &mut crowd, &mut Subscribers(readers), figures)
}

/// Connections for so many streams each.
pub fn connect(site: &Site, connections: usize, streams: usize) -> Result<(Crowd, Vec<Reader>), String> {
    let (mut crowd, mut readers) = (Crowd::new()?, Vec::new());
    for _ in 0..connections {
        crowd.join(site.grpc, &grpc::preface())?;
        readers.push(Reader::new(streams));
    }
    Ok((crowd, readers))
}

/// Begins these streams on each connection.
pub fn subscribe(crowd: &mut Crowd, readers: &mut [Reader], streams: std::ops::Range<usize>) -> Result<(), String> {
    for number in streams {
        for member in 0..readers.len() {
            crowd.send(member, &grpc::subscribe(grpc::stream(number), NAME))?;
        }
        turn(crowd, readers)?;
    }
    Ok(())
}

/// Reads what there is.
pub fn turn(crowd: &mut Crowd, readers: &mut [Reader]) -> Result<(), String> {
    crowd.turn(LOOK, &mut |member, bytes, _| readers.get_mut(member).ok_or("nobody")?.take(bytes))
}

/// Until each of the first streams of each connection was told something, and then nobody anything for a while.
pub fn quiet(crowd: &mut Crowd, readers: &mut [Reader], streams: usize, silence: Duration) -> Result<(), String> {
    let (begun, mut last, mut before) = (Instant::now(), Instant::now(), 0);
    loop {
        let begun_streams = |reader: &Reader| reader.messages.iter().filter(|count| **count > 0).count();
        let (told, now): (usize, u64) = readers
            .iter()
            .map(|reader| (begun_streams(reader), reader.messages.iter().sum::<u64>()))
            .fold((0, 0), |(told, all), (more, count)| (told + more, all + count));
        if now > before {
            (before, last) = (now, Instant::now());
        }
        if told == readers.len() * streams && last.elapsed() > silence {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("{told} of {} subscriptions began", readers.len() * streams));
        }
        turn(crowd, readers)?;
    }
}

/// All subscriptions, by connection.
struct Subscribers(Vec<Reader>);

impl Watching for Subscribers {
    fn count(&self) -> usize {
        self.0.len() * STREAMS
    }

    fn heard(&mut self, member: usize, bytes: &[u8], told: &mut Vec<(usize, u64)>) -> Result<Option<Vec<u8>>, String> {
        let reader = self.0.get_mut(member).ok_or("nobody")?;
        let answer = reader.take(bytes)?;
        told.extend(reader.told.drain(..).map(|(place, mark)| (member * STREAMS + place, mark)));
        Ok(answer)
    }
}

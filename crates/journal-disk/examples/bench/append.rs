//! Durable appends: 64 in flight, and one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use journal_disk::record::{Draft, Kind};

use crate::drive::{self, Counting, Load};
use crate::{Figures, Outcome, ROUNDS, Setup};

/// Publishers in flight, and records of the raw program's batch.
const FLYING: u64 = 64;
/// Subjects that the messages are spread over.
const SUBJECTS: u64 = 1_000;
/// Bytes that the raw program's file has; it begins again at its end.
const RAW_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The records of a batch, one behind the other.
fn records(load: &Load, count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        let message = load.message(number);
        let draft = Draft {
            subject: message.subject.as_str().as_bytes(),
            payload: &message.payload,
            ..Draft::bare(Kind::Message, 1, number, drive::now())
        };
        draft.encode(&mut bytes);
    }
    bytes
}

struct Raw {
    file: File,
    at: u64,
}

impl Raw {
    fn new(path: &Path) -> Outcome<Self> {
        let file = File::create(path)?;
        let zeros = vec![0; 1024 * 1024];
        for at in (0..RAW_FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(Raw { file, at: 0 })
    }

    fn write(&mut self, batch: &[u8]) -> Outcome<()> {
        if self.at + batch.len() as u64 > RAW_FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(batch, self.at)?;
        self.file.sync_data()?;
        self.at += batch.len() as u64;
        Ok(())
    }
}

pub fn throughput(setup: &Setup, figures: &mut Figures, payload: usize) -> Outcome<()> {
    let count = setup.scaled(if payload > 512 { 400_000 } else { 1_000_000 });
    let load = Load::new(SUBJECTS, payload)?;
    let batch = records(&load, FLYING);
    let mut raw = Raw::new(&setup.dir.join("raw"))?;
    let (mut raw_rates, mut rates, mut batches, mut ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..count / FLYING {
            raw.write(&batch)?;
        }
        let raw_rate = (count / FLYING * FLYING) as f64 / start.elapsed().as_secs_f64();

        let dir = setup.fresh("append")?;
        let disk = Counting::new(&dir)?;
        let syncs = disk.syncs.clone();
        let journal = drive::open_on(Arc::new(disk))?;
        drive::create(&journal)?;
        // The log's first files are made, and the threads are awake.
        drive::append(&journal, &load, count / 20, FLYING)?;
        let before = syncs.load(Ordering::Relaxed);
        let took = drive::append(&journal, &load, count, FLYING)?;
        let rate = count as f64 / took.as_secs_f64();
        batches.push(count as f64 / (syncs.load(Ordering::Relaxed) - before) as f64);
        drop(journal);
        crate::remove(&dir)?;
        raw_rates.push(raw_rate);
        rates.push(rate);
        ratios.push(rate / raw_rate * 100.0);
    }
    std::fs::remove_file(setup.dir.join("raw"))?;
    figures.add(format!("raw: batches of 64 × {payload} B, one fdatasync each"), "records/s", raw_rates);
    figures.add(format!("journal: durable append, 64 in flight, {payload} B"), "records/s", rates);
    figures.add(format!("journal: of raw, {payload} B"), "%", ratios);
    figures.add(format!("journal: records for each fdatasync, {payload} B"), "records", batches);
    Ok(())
}

pub fn latency(setup: &Setup, figures: &mut Figures) -> Outcome<()> {
    let count = setup.scaled(40_000).max(2_000);
    let load = Load::new(SUBJECTS, 128)?;
    let one = records(&load, 1);
    let mut raw = Raw::new(&setup.dir.join("raw"))?;
    let mut rounds: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let mut raw_times = Vec::new();
        for _ in 0..count {
            let start = Instant::now();
            raw.write(&one)?;
            raw_times.push(start.elapsed());
        }
        let dir = setup.fresh("latency")?;
        let journal = drive::open(&dir)?;
        drive::create(&journal)?;
        drive::append(&journal, &load, count / 10, 1)?;
        let mut times = Vec::new();
        for _ in 0..count {
            times.push(drive::append(&journal, &load, 1, 1)?);
        }
        drop(journal);
        crate::remove(&dir)?;
        for (place, micros) in percentiles(raw_times).into_iter().chain(percentiles(times)).enumerate() {
            rounds[place].push(micros);
        }
    }
    std::fs::remove_file(setup.dir.join("raw"))?;
    let [raw_half, raw_most, half, most] = rounds;
    let ratios = half.iter().zip(&raw_half).map(|(ours, raw)| ours / raw).collect();
    figures.add("raw: one record and one fdatasync, p50", "µs", raw_half);
    figures.add("raw: one record and one fdatasync, p99", "µs", raw_most);
    figures.add("journal: one in flight, p50", "µs", half);
    figures.add("journal: one in flight, p99", "µs", most);
    figures.add("journal: one in flight, p50, of raw", "times", ratios);
    Ok(())
}

/// p50 and p99, in microseconds.
fn percentiles(mut times: Vec<Duration>) -> [f64; 2] {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    [50, 99].map(|part| at(part).as_secs_f64() * 1e6)
}

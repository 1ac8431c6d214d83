//! Reading: all of a stream, and one subject of ten thousand.

use std::path::Path;
use std::time::Instant;

use event::Pattern;
use journal::limits::PAGE_MESSAGES_MAX;
use journal::{Journal, Read};
use journal_disk::Reader;

use crate::drive::{self, Load};
use crate::{Figures, Outcome, ROUNDS, Setup};

/// Subjects: a filter by one matches one message of so many.
const SUBJECTS: u64 = 10_000;
/// Messages in flight while a stream is filled.
const FILL_FLYING: u64 = 4_096;
/// Subjects that are read, one after the other, in a round.
const FILTERS: u64 = 100;

pub fn run(setup: &Setup, figures: &mut Figures) -> Outcome<()> {
    let large = setup.scaled(1_000_000).max(4 * SUBJECTS);
    let small = large / 4;
    let dir = setup.fresh("read")?;
    fill(&dir, large)?;
    let journal = drive::open(&dir)?;
    let reader = journal.reader();
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let count = all(&reader, None)?;
        // The first round warms the page cache.
        if round > 0 {
            rates.push(count as f64 / start.elapsed().as_secs_f64());
        }
    }
    figures.add(format!("journal: sequential read of {large} × 128 B, warm"), "records/s", rates);
    filtered(&reader, large, figures)?;
    drop(journal);
    on_disk(&dir, large, figures)?;
    let dir = setup.fresh("read")?;
    fill(&dir, small)?;
    let journal = drive::open(&dir)?;
    filtered(&journal.reader(), small, figures)?;
    drop(journal);
    crate::remove(&dir)?;
    Ok(())
}

pub fn fill(dir: &Path, count: u64) -> Outcome<()> {
    fill_over(dir, count, SUBJECTS)
}

/// A stream of messages of 128 B, ended cleanly.
pub fn fill_over(dir: &Path, count: u64, subjects: u64) -> Outcome<()> {
    let journal = drive::open(dir)?;
    drive::create(&journal)?;
    drive::append(&journal, &Load::new(subjects, 128)?, count, FILL_FLYING)?;
    drive::wait(journal.close());
    Ok(())
}

/// Reads to the end; says how many messages came.
fn all(reader: &Reader, filter: Option<Pattern>) -> Outcome<u64> {
    let (mut from, mut count) = (1, 0);
    loop {
        let mut read = Read::from(from, PAGE_MESSAGES_MAX);
        read.filters.extend(filter.clone());
        let page = reader.page(drive::STREAM, &read)?;
        count += page.messages.len() as u64;
        from = page.next;
        if page.next > page.last {
            return Ok(count);
        }
    }
}

fn filtered(reader: &Reader, messages: u64, figures: &mut Figures) -> Outcome<()> {
    let (mut times, mut matches) = (Vec::new(), 0);
    for round in 0..=ROUNDS as u64 {
        let start = Instant::now();
        matches = 0;
        for number in 0..FILTERS {
            let subject = drive::subject((number * 97 + round * 13) % SUBJECTS)?;
            matches += all(reader, Some(subject.into()))?;
        }
        if round > 0 {
            times.push(start.elapsed().as_secs_f64() * 1e6 / matches as f64);
        }
    }
    let of_one = matches / FILTERS;
    figures.add(
        format!("journal: a match, 1 subject of {SUBJECTS}, {messages} messages ({of_one} match)"),
        "µs",
        times,
    );
    Ok(())
}

/// What the stream takes up, all files of the directory counted, after a clean end.
fn on_disk(dir: &Path, messages: u64, figures: &mut Figures) -> Outcome<()> {
    let (streams, all) = (bytes(&dir.join("streams"))?, bytes(dir)?);
    let size = (128 + 20) as f64;
    figures.add("disk: bytes of a message of 128 B, streams", "B", vec![streams as f64 / messages as f64]);
    figures.add("disk: bytes of a message of 128 B, all files", "B", vec![all as f64 / messages as f64]);
    figures.add("disk: streams, of size with subject", "times", vec![streams as f64 / messages as f64 / size]);
    Ok(())
}

fn bytes(dir: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        sum += if about.is_dir() { bytes(&entry.path())? } else { about.len() };
    }
    Ok(sum)
}

//! Opening, each time in a process of its own: how long it takes and what it holds then.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use journal::Journal;

use crate::drive::{self, Load};
use crate::{Figures, Outcome, ROUNDS, Setup, read};

/// Messages that a kill leaves behind the last checkpoint, at most so many: those of a log file.
const TAIL: u64 = 30_000;

pub fn run(setup: &Setup, figures: &mut Figures) -> Outcome<()> {
    let million = setup.scaled(1_000_000);
    measure(setup, figures, million, 1_000)?;
    measure(setup, figures, million, million)?;
    if !setup.quick {
        measure(setup, figures, 10 * million, 1_000)?;
    }
    Ok(())
}

fn measure(setup: &Setup, figures: &mut Figures, messages: u64, subjects: u64) -> Outcome<()> {
    let dir = setup.fresh("open")?;
    read::fill_over(&dir, messages, subjects)?;
    let what = format!("{messages} messages on {subjects} subjects");
    children(&dir, figures, &format!("open: {what}, after a clean end"))?;
    let journal = drive::open(&dir)?;
    drive::append(&journal, &Load::new(subjects, 128)?, TAIL, 1_024)?;
    drop(journal);
    children(&dir, figures, &format!("open: {what}, after a kill"))?;
    crate::remove(&dir)?;
    Ok(())
}

fn children(dir: &Path, figures: &mut Figures, name: &str) -> Outcome<()> {
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let output = Command::new(std::env::current_exe()?).arg("--open").arg(dir).output()?;
        let said = String::from_utf8(output.stdout)?;
        let mut numbers = said.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        let (Some(millis), Some(mib)) = (numbers.next(), numbers.next()) else {
            return Err(format!("a child said {said:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        };
        times.push(millis);
        memory.push(mib);
    }
    figures.add(name, "ms", times);
    figures.add(format!("{name}: memory then"), "MiB", memory);
    Ok(())
}

/// Opens the directory, prints milliseconds and MiB of resident memory, and ends like a kill.
pub fn child(dir: &Path) -> Outcome<()> {
    let start = Instant::now();
    let journal = drive::open(dir)?;
    let info = drive::wait(journal.stream_info(drive::STREAM))?;
    let took = start.elapsed();
    if info.state.messages == 0 {
        return Err("the stream is empty".into());
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0.0);
    println!("{} {}", took.as_secs_f64() * 1e3, kib / 1024.0);
    Ok(())
}

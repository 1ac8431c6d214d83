//! What a subject and a message id cost in memory.

use std::time::{Duration, Instant};

use journal_disk::subjects::SubjectTable;
use journal_disk::window::Window;

use crate::{Figures, ROUNDS, Setup, drive};

pub fn run(setup: &Setup, figures: &mut Figures) {
    let count = setup.scaled(1_000_000);
    subjects(count, figures);
    ids(count, figures);
}

fn subjects(count: u64, figures: &mut Figures) {
    let names: Vec<String> = (0..count).map(|number| format!("events.device.{number:06}")).collect();
    let (mut intern, mut find, mut memory, mut load) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut table = SubjectTable::new([1, 2]);
        let start = Instant::now();
        for name in &names {
            table.intern(name);
        }
        intern.push(each(start, count));
        let start = Instant::now();
        let found = names.iter().filter(|name| table.find(name).is_some()).count();
        find.push(each(start, found as u64));
        memory.push(table.memory_bytes() as f64 / count as f64);
        let mut bytes = Vec::new();
        if table.encode(&mut bytes).is_err() {
            return;
        }
        drop(table);
        let start = Instant::now();
        let again = SubjectTable::decode(&mut bytes.as_slice());
        load.push(start.elapsed().as_secs_f64() * 1e3);
        drop(again);
    }
    figures.add(format!("subject table: memory of one of {count} subjects of 20 B"), "B", memory);
    figures.add("subject table: taking in a new subject", "ns", intern);
    figures.add("subject table: finding a subject", "ns", find);
    figures.add(format!("subject table: reading {count} subjects"), "ms", load);
}

fn ids(count: u64, figures: &mut Figures) {
    let now = drive::now();
    let (mut insert, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut window = Window::new([1, 2], Duration::from_secs(120));
        let start = Instant::now();
        for number in 0..count {
            let hash = window.hash(&number.to_le_bytes());
            if window.get(&hash, now).is_none() {
                window.insert(hash, number, now);
            }
        }
        insert.push(each(start, count));
        memory.push(window.memory_bytes() as f64 / count as f64);
    }
    figures.add(format!("window: memory of one of {count} ids"), "B", memory);
    figures.add("window: looking up and taking in a new id", "ns", insert);
}

fn each(start: Instant, count: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

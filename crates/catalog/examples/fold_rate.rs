//! What 100,000 instances in 1,000 services cost: `cargo run --release -p catalog --example fold_rate`.
//!
//! Prints how long the fold of their messages takes, and what the process holds for each.

use std::time::Instant;

use catalog::{CheckDraft, Command, Definition, Form, Register, ServiceDraft, SetCheck, State, Status};
use event::Moment;
use journal::Stored;

const SERVICES: usize = 1_000;
const INSTANCES: usize = 100_000;
const NODES: usize = 2_000;

fn resident() -> usize {
    let pages: usize = std::fs::read_to_string("/proc/self/statm")
        .unwrap_or_default()
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * 4096
}

fn registration(number: usize) -> Command {
    let (name, node) = (format!("service-{:04}", number % SERVICES), format!("node-{:04}", number / 7 % NODES));
    let mut register = Register::new(Form::Agent { replace_existing_checks: false }, node);
    register.service = Some(ServiceDraft {
        id: format!("{name}-{number}"),
        name,
        tags: vec!["v1".into(), "primary".into()],
        address: format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255),
        meta: vec![("version".into(), "1.2.3".into())],
        port: 8080,
        ..ServiceDraft::default()
    });
    let definition = Definition { ttl: Some(std::time::Duration::from_secs(30)), ..Definition::default() };
    register.checks = vec![CheckDraft { definition, status: "passing".into(), ..CheckDraft::default() }];
    Command::Register(Box::new(register))
}

/// The messages that a command comes to, recorded and folded.
fn record(state: &mut State, command: &Command, log: &mut Vec<Stored>, now: Moment) {
    for write in state.judge(command, now).expect("registrations are fit").writes {
        let stored = Stored { seq: state.position() + 1, time: now, message: write.append().message };
        state.fold(&stored, &mut Vec::new()).expect("what is written is fit");
        log.push(stored);
    }
}

/// The same, where messages are read ahead of their fold.
fn ahead(log: &[Stored]) {
    let mut state = State::new("dc1");
    let (mut reader, mut touched, began) = (state.reader(), Vec::new(), Instant::now());
    let read: Vec<_> = log.iter().map(|stored| reader.read(stored)).collect();
    println!("of which they are read: {:.3} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    for (stored, read) in log.iter().zip(read) {
        touched.clear();
        state.fold_read(stored, read, &mut touched).expect("what was fit is fit again");
    }
    println!("and folded: {:.3} s", began.elapsed().as_secs_f64());
}

fn main() {
    let now = Moment::from_nanos(1_700_000_000_000_000_000);
    let (mut state, mut log) = (State::new("dc1"), Vec::new());
    let began = Instant::now();
    (0..INSTANCES).for_each(|number| record(&mut state, &registration(number), &mut log, now));
    println!("judge and fold: {:.2} µs each", began.elapsed().as_secs_f64() * 1e6 / INSTANCES as f64);
    let bytes: usize = log.iter().map(|stored| stored.message.size()).sum();
    println!("a record: {} bytes", bytes / log.len());
    let before = resident();
    let mut again = State::new("dc1");
    let (mut touched, began) = (Vec::new(), Instant::now());
    for stored in &log {
        touched.clear();
        again.fold(stored, &mut touched).expect("what was fit is fit again");
    }
    println!("fold of {INSTANCES} messages: {:.3} s", began.elapsed().as_secs_f64());
    println!("an instance: {} bytes", (resident() - before) / INSTANCES);
    ahead(&log);
    println!("{:?} (instances, services, nodes)", again.sizes());
    let began = Instant::now();
    for number in 0..INSTANCES {
        let (name, node) = (number % SERVICES, format!("node-{:04}", number / 7 % NODES));
        let check_id = format!("service:service-{name:04}-{number}");
        let set = SetCheck { node, check_id, status: Status::Warning, output: "slow".into(), ttl: true };
        record(&mut again, &Command::SetCheck(set), &mut log, now);
    }
    println!("a check's change: {:.2} µs", began.elapsed().as_secs_f64() * 1e6 / INSTANCES as f64);
}

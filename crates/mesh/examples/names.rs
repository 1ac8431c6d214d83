//! How many names a node can know of, how fast it is told, and how fast it finds who wants a subject.
//!
//! Run it optimised: `cargo run --release -p mesh --example names`. It prints a figure a line with what it is to be;
//! with `--quick` each is measured once.
//! Memory is what the operating system says that this process holds, so the allocator's own waste is in it.

#![allow(clippy::expect_used, clippy::cast_precision_loss, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::{Moment, Pattern};
use mesh::names::{LinkId, Name, NodeId};
use mesh::node::{Input, Node, Output};
use mesh::plan::{Generation, LinkKind, LinkPlan, Plan, SegmentPlan};
use mesh::wire::{Note, Part, Source, Wish};

/// Names that one node announces to its neighbour.
const ANNOUNCED: u64 = 100_000;
/// Names that are matched against, and patterns with wildcards beside them.
const KNOWN: u64 = 1_000_000;
const WILD: u64 = 1_000;
/// Names in a note, as nodes send them.
const IN_A_NOTE: u64 = 256;
/// Messages that are matched in one measurement, and measurements.
const MATCHED: u64 = 200_000;
const ROUNDS: usize = 9;
const ROUNDS_QUICK: usize = 1;

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// A name as SLIM's door makes it: three components and an instance.
fn spelt(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("slim.873e580376ea963b.219303c7c93f9668.{mixed:016x}.{:032x}", u128::from(mixed) << 32 | u128::from(number))
}

fn wish(text: &str) -> Wish {
    Wish { pattern: Pattern::parse(text).expect("a pattern"), queue: None }
}

/// A node of domain a with a link to b in segment s, on connection 1; or the other way round.
fn node(own: &str, other: &str) -> Node {
    let mut node = Node::new(NodeId::new(name(own), name("1")), 7);
    let link = LinkId::parse("link").expect("an id");
    let [one, two] = [own.min(other), own.max(other)].map(name);
    let edges = vec![(one.clone(), two.clone(), 1)];
    let plan = Plan {
        generation: Generation { epoch: 1, number: 1 },
        segments: vec![Arc::new(SegmentPlan { name: name("s"), domains: vec![one, two], edges })],
        links: vec![LinkPlan {
            id: link.clone(),
            kind: LinkKind::Remote,
            domain: name(other),
            node: Some(name("1")),
            dial: None,
            key: [0; 32],
            segments: vec![name("s")],
        }],
        ..Plan::default()
    };
    node.handle(Moment::EPOCH, Input::Plan(plan));
    let peer = NodeId::new(name(other), name("1"));
    node.handle(Moment::EPOCH, Input::Up { conn: 1, link, peer, dialled: own < other });
    node
}

/// Lets notes travel between two nodes, as bytes, until none do.
fn exchange(one: &mut Node, two: &mut Node) {
    loop {
        let mut any = false;
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut *one, &mut *two) } else { (&mut *two, &mut *one) };
            while let Some(output) = from.poll() {
                let Output::Send { note, .. } = output else { continue };
                let note = Note::decode(&note.encode()).expect("a note");
                to.handle(Moment::EPOCH, Input::Heard { conn: 1, note });
                from.handle(Moment::EPOCH, Input::Room { conn: 1 });
                any = true;
            }
        }
        if !any {
            return;
        }
    }
}

/// The time from the first of so many names at one node until the last is known at its neighbour.
fn announced() -> Duration {
    let (mut one, mut two) = (node("a", "b"), node("b", "a"));
    exchange(&mut one, &mut two);
    let wishes: Vec<Wish> = (0..ANNOUNCED).map(|number| wish(&spelt(number))).collect();
    let begun = Instant::now();
    for wish in wishes {
        one.handle(Moment::EPOCH, Input::Local { wish, present: true });
    }
    exchange(&mut one, &mut two);
    let took = begun.elapsed();
    let known: u64 = two.sources().iter().filter(|source| source.conn.is_some()).map(|source| source.wishes).sum();
    assert_eq!(known, ANNOUNCED);
    took
}

/// What this process holds, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// A node whose neighbour wants very many names, and the bytes that each takes.
fn laden() -> (Node, f64) {
    let mut node = node("a", "b");
    while node.poll().is_some() {}
    let source = Source::Domain { domain: name("b"), segment: name("s") };
    let before = resident();
    let mut hear = |add: Vec<Wish>| {
        let part = Part { source: source.clone(), anew: false, add, remove: Vec::new() };
        node.handle(Moment::EPOCH, Input::Heard { conn: 1, note: Note::Wishes(vec![part]) });
        while node.poll().is_some() {}
    };
    for first in (0..KNOWN).step_by(usize::try_from(IN_A_NOTE).unwrap_or(1)) {
        hear((first..(first + IN_A_NOTE).min(KNOWN)).map(|number| wish(&spelt(number))).collect());
    }
    let each = resident().saturating_sub(before) as f64 / KNOWN as f64;
    hear((0..WILD).map(|number| wish(&format!("wild.*.{number}.>"))).collect());
    (node, each)
}

/// The median time of one of many.
fn median(rounds: usize, subjects: &[String], mut each: impl FnMut(&str)) -> Duration {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            subjects.iter().for_each(|subject| each(subject));
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[rounds / 2] / u32::try_from(subjects.len()).unwrap_or(1)
}

fn figure(name: &str, value: &str, target: &str, met: bool) {
    println!("{name:<66} {value:>12}  {target}: {}", if met { "met" } else { "MISSED" });
}

fn main() {
    let quick = std::env::args().any(|word| word == "--quick");
    let rounds = if quick { ROUNDS_QUICK } else { ROUNDS };
    let (node, each) = laden();
    figure("memory for each of 1,000,000 names of 87 bytes", &format!("{each:.0} bytes"), "200 bytes", each < 200.0);

    // A stride that visits names far apart: none is in a cache by accident.
    let known: Vec<String> = (0..MATCHED).map(|number| spelt(number * 7_919 % KNOWN)).collect();
    let unknown: Vec<String> = (0..MATCHED).map(|number| spelt(number + KNOWN)).collect();
    let micro = Duration::from_micros(1);
    for (what, subjects) in [("wanted by one", &known), ("wanted by nobody", &unknown)] {
        let took = median(rounds, subjects, |subject| {
            black_box(node.wants(black_box(subject)));
        });
        let title = format!("a subject, {what}, against 1,000,000 names and 1,000 patterns");
        figure(&title, &format!("{took:.0?}"), "1 µs", took < micro);
    }
    let took = median(rounds, &known, |subject| {
        black_box(node.beyond(black_box(subject)));
    });
    println!("{:<66} {:>12}", "the same with the copies and their envelopes made", format!("{took:.0?}"));

    drop(node);
    let mut times: Vec<Duration> = (0..rounds.min(3)).map(|_| announced()).collect();
    times.sort_unstable();
    let took = times[times.len() / 2];
    figure("100,000 names of one node known at its neighbour", &format!("{took:.0?}"), "1 s", took.as_secs_f64() < 1.0);
}

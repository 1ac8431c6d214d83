//! A controller and the nodes that it leads, and what must hold whatever happens between them.
//!
//! A **seed** gives a few domains of a few nodes each, some of which share an address or have none; topologies that
//! take turns; and **steps**: nodes start, die, leave, hang and wake, lose their channel and find it again, links are
//! cut and domains kept apart, what is declared changes, clocks jump, and another controller takes over while the one before it
//! goes on for a while. What they tell each other takes its time, in order on a channel and in no order otherwise.
//!
//! Checked all the time: no plan moves a node backwards; a plan has each link and gateway in its own domain, carries
//! on a link only segments of both ends, and gives a key to nobody but the ends of its link; the sweep finds
//! nothing. Checked at the end, when all is mended: each node follows the plan that it was told last; each pair of
//! neighbours is linked by one connection that both ends plan alike, whose nodes are the gateways in the plans
//! of all; every peer is linked; no edge is left out; gateways share the load; and then nothing more is told.
//!
//! It knows no clock and no thread: the same seed does the same.

mod body;
mod check;
mod run;

use mesh::topology::{Adjacent, Document, SegmentText};
pub use run::Counts;

use crate::chance::Chance;
use crate::seeds;

/// What came of a run.
pub type Report = seeds::Report<Counts>;

/// What is done to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A node starts, anew where it ran.
    Start(usize),
    /// It dies: all that was connected to it sees that.
    Kill(usize),
    /// It says that it leaves.
    Leave(usize),
    /// It stops answering; what is connected to it sees that some time later.
    Hang(usize),
    /// It answers again.
    Wake(usize),
    /// Its channel to the controller ends.
    Channel(usize),
    /// One of the connections between nodes ends.
    Cut(usize),
    /// Two domains cannot be connected.
    Jam(usize, usize),
    /// All can.
    Clear,
    /// Another topology is declared.
    Declare(usize),
    /// Another controller leads, and the one before does not know yet.
    TakeOver,
    /// The controllers' clocks jump to so many seconds before or after what they were.
    Skew(u64),
    /// Milliseconds go by.
    Wait(u64),
}

/// What is there from the beginning.
struct Setting {
    /// By domain, its number of nodes.
    domains: Vec<usize>,
    /// By domain: what leads to it from others.
    doors: Vec<Door>,
    documents: Vec<Document>,
}

/// What leads to the nodes of a domain from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Each has an address.
    Each,
    /// One address leads to all.
    Shared,
    /// None has an address.
    Closed,
}

fn domain_name(domain: usize) -> String {
    format!("d{domain}")
}

fn setting(chance: &mut Chance) -> Setting {
    let count = usize::try_from(chance.between(2, 6)).unwrap_or(2);
    let domains = (0..count).map(|_| usize::try_from(chance.between(1, 4)).unwrap_or(1)).collect();
    let doors = (0..count).map(|_| match chance.below(8) {
        0 => Door::Shared,
        1 => Door::Closed,
        _ => Door::Each,
    });
    let doors = doors.collect();
    let documents = (0..3).map(|_| document(chance, count)).collect();
    Setting { domains, doors, documents }
}

fn row(domain: String, neighbor: String, weight: u32) -> Adjacent {
    Adjacent { domain, neighbors: vec![neighbor], weight }
}

fn document(chance: &mut Chance, count: usize) -> Document {
    match chance.below(4) {
        0 => Document { links: vec![row("*".into(), "*".into(), 1)], ..Document::default() },
        1 => {
            let links = vec![row(domain_name(0), "$domain".into(), 1)];
            let star = SegmentText { name: "s-$domain".into(), links };
            Document { segments: vec![star], ..Document::default() }
        }
        2 => {
            let chain = (1..count).map(|at| row(domain_name(at - 1), domain_name(at), 1 + u32::from(at % 2 == 0)));
            Document { links: chain.collect(), ..Document::default() }
        }
        _ => {
            let segments = (0..chance.between(1, 3)).map(|number| {
                let mut links: Vec<Adjacent> = Vec::new();
                for one in 0..count {
                    let near = (one + 1..count).filter(|_| chance.happens(1, 2)).map(domain_name).collect::<Vec<_>>();
                    if !near.is_empty() {
                        links.push(Adjacent { domain: domain_name(one), neighbors: near, weight: 1 });
                    }
                }
                SegmentText { name: format!("s{number}"), links }
            });
            Document { segments: segments.collect(), ..Document::default() }
        }
    }
}

/// The steps of a seed.
fn steps(seed: u64, count: usize) -> Vec<Step> {
    let root = Chance::new(seed);
    let setting = setting(&mut root.branch(1));
    let mut chance = root.branch(2);
    let nodes: usize = setting.domains.iter().sum();
    let mut steps = Vec::new();
    for node in 0..nodes {
        if chance.happens(9, 10) {
            steps.push(Step::Start(node));
        }
        if chance.happens(1, 3) {
            steps.push(Step::Wait(chance.below(100)));
        }
    }
    while steps.len() < count.max(nodes) {
        let (node, domains) = (chance.index(nodes), setting.domains.len());
        steps.push(match chance.below(25) {
            0..=2 => Step::Start(node),
            3..=4 => Step::Kill(node),
            5 => Step::Leave(node),
            6 => Step::Hang(node),
            7..=8 => Step::Wake(node),
            9..=10 => Step::Channel(node),
            11..=12 => Step::Cut(chance.index(64)),
            13 => Step::Jam(chance.index(domains), chance.index(domains)),
            14..=15 => Step::Clear,
            16 => Step::Declare(chance.index(3)),
            17 => Step::TakeOver,
            18 => Step::Wait(chance.between(1_000, 10_000)),
            19 => Step::Skew(chance.below(7_200)),
            _ => Step::Wait(chance.below(500)),
        });
    }
    steps
}

/// Runs a seed with so many steps.
pub fn run_seed(seed: u64, count: usize) -> Report {
    run::run(seed, &steps(seed, count))
}

/// Takes out of a failing run what it does not need to fail.
pub fn shrink(seed: u64, count: usize, report: Report) -> Report {
    seeds::shrink(steps(seed, count), report, |steps| run::run(seed, steps), |report| report.failure.is_some())
}

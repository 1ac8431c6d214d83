//! What a seed says is done: the nodes, the links, and the steps.

use crate::chance::Chance;

/// Facts that a node tells by a name of their own: few, so that they meet again.
const FACTS: u64 = 6;
/// Values that a fact has: few, so that it comes back to one.
const VALUES: u64 = 3;

/// The nodes and links of a seed.
#[derive(Debug, Clone)]
pub struct Setting {
    /// How many nodes.
    pub nodes: usize,
    /// Who pushes to whom, and the beginning of the subjects that are wanted.
    pub links: Vec<(usize, usize, Option<&'static str>)>,
    /// Of 256 packets, how many are lost.
    pub lost: u64,
    /// Of 256 packets, how many come twice.
    pub doubled: u64,
    /// Longest way of a packet, in milliseconds.
    pub slow: u64,
    /// Most facts of a batch.
    pub facts_max: usize,
    /// Most batches on their way.
    pub flights_max: usize,
}

impl Setting {
    /// Of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed).branch(1);
        let nodes = 2 + chance.index(3);
        let mut links = Vec::new();
        for from in 0..nodes {
            for to in (0..nodes).filter(|to| *to != from) {
                if chance.happens(3, 4) {
                    links.push((from, to, chance.happens(1, 4).then_some("10.")));
                }
            }
        }
        Setting {
            nodes,
            links,
            lost: [0, 10, 60][chance.index(3)],
            doubled: [0, 20, 80][chance.index(3)],
            slow: [5, 100, 3_000][chance.index(3)],
            facts_max: 1 + chance.index(8),
            flights_max: 1 + chance.index(3),
        }
    }
}

/// Something that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A node tells a fact, for so many seconds; 0: for ever.
    Tell { node: usize, fact: u64, value: u64, life: u64 },
    /// Whoever told something last at a node tells the very same again.
    Again { node: usize },
    /// A node takes a fact back.
    Withdraw { node: usize, fact: u64 },
    /// A node says that an observation is over.
    Over { node: usize, fact: u64 },
    /// A node discovers something that takes the place of what it discovered before.
    Found { node: usize, key: u64 },
    /// Nothing comes through between two nodes.
    Cut { one: usize, two: usize },
    /// It does again.
    Mend { one: usize, two: usize },
    /// A node loses its memory and what is not synced, and is back after so many milliseconds.
    Crash { node: usize, down: u64 },
    /// A node's clock is off by so many milliseconds.
    Skew { node: usize, millis: i64 },
}

/// A step and how many milliseconds after the one before it is done.
pub type Timed = (u64, Step);

/// The steps of a seed.
pub fn steps(seed: u64, count: usize) -> Vec<Timed> {
    let setting = Setting::of(seed);
    let mut chance = Chance::new(seed).branch(2);
    (0..count)
        .map(|_| {
            let gap = if chance.happens(1, 3) { chance.below(3) } else { chance.below(2_500) };
            (gap, step(&setting, &mut chance))
        })
        .collect()
}

fn step(setting: &Setting, chance: &mut Chance) -> Step {
    let node = chance.index(setting.nodes);
    let other = (node + 1 + chance.index(setting.nodes - 1)) % setting.nodes;
    let fact = chance.below(FACTS);
    let life = if chance.happens(1, 5) { 0 } else { chance.between(2, 90) };
    match chance.below(100) {
        0..50 => Step::Tell { node, fact, value: chance.below(VALUES), life },
        50..57 => Step::Again { node },
        57..65 => Step::Withdraw { node, fact },
        65..69 => Step::Over { node, fact },
        69..77 => Step::Found { node, key: chance.below(2) },
        77..83 => Step::Cut { one: node, two: other },
        83..91 => Step::Mend { one: node, two: other },
        91..96 => Step::Crash { node, down: chance.below(8_000) },
        _ => Step::Skew { node, millis: skew(chance) },
    }
}

/// Mostly a little, sometimes ten minutes: more than a signature is fresh.
fn skew(chance: &mut Chance) -> i64 {
    let most = [0, 200, 20_000, 600_000][chance.index(4)];
    let off = i64::try_from(chance.below(2 * most + 1)).unwrap_or(0);
    off - i64::try_from(most).unwrap_or(0)
}

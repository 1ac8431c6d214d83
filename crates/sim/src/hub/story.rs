//! What a seed says is done: the hubs, who dials whom, and the steps.

use std::collections::BTreeSet;

use mesh::hub::{Load, Target};

use crate::chance::Chance;

/// Rooms there are.
pub const ROOMS: usize = 4;

/// The hubs and links of a seed.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The node id of each hub; their order is not that of the indices.
    pub names: Vec<String>,
    /// Whom each hub dials: a name, and the index of the hub that the address leads to. A hub may be dialled by
    /// two addresses, and may dial itself.
    pub targets: Vec<Vec<(String, usize)>>,
    /// The rooms that each hub keeps.
    pub kept: Vec<BTreeSet<usize>>,
    /// The rooms of each messenger, by its hub; `None`: all of them. And whether it asks for what was before.
    pub messengers: Vec<Vec<(Option<Vec<usize>>, bool)>>,
    /// Longest way of a frame, in milliseconds.
    pub slow: u64,
    /// Of 256 messages, how many a hub cannot keep.
    pub full: u64,
    /// Whether what a hub sends again may come after something new.
    pub late: bool,
    /// What may be out on a link for each stream.
    pub owed: Load,
}

impl Setting {
    /// Of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed).branch(1);
        let hubs = 2 + chance.index(4);
        let turn = chance.index(hubs);
        let names = (0..hubs).map(|hub| format!("node-{}", (hub * 3 + turn) % 5)).collect();
        let kept = (0..hubs).map(|_| (0..ROOMS).filter(|room| *room > 0 && chance.happens(2, 3)).collect()).collect();
        let messengers = (0..hubs).map(|_| (0..=chance.index(3)).map(|_| messenger(&mut chance)).collect()).collect();
        let targets = targets(hubs, &mut chance);
        Setting {
            names,
            targets,
            kept,
            messengers,
            slow: [3, 50, 2_000][chance.index(3)],
            full: [0, 4, 20][chance.index(3)],
            late: chance.happens(1, 2),
            owed: Load { messages: 1 + chance.index(12), bytes: [20, 10_000][chance.index(2)] },
        }
    }

    /// What a hub is told to dial.
    pub fn wanted(&self, hub: usize, without: &BTreeSet<(usize, usize)>) -> Vec<Target> {
        let targets = self.targets.get(hub).into_iter().flatten().enumerate();
        let target =
            |(name, to): &(String, usize)| Target { name: name.as_str().into(), address: to.to_string().into() };
        targets.filter(|(place, _)| !without.contains(&(hub, *place))).map(|(_, each)| target(each)).collect()
    }

    /// The pairs of hubs that are to be linked, the lower index first.
    pub fn pairs(&self) -> BTreeSet<(usize, usize)> {
        let all = self.targets.iter().enumerate().flat_map(|(from, to)| to.iter().map(move |(_, to)| (from, *to)));
        all.filter(|(from, to)| from != to).map(|(from, to)| (from.min(to), from.max(to))).collect()
    }
}

/// What a messenger wants.
pub fn messenger(chance: &mut Chance) -> (Option<Vec<usize>>, bool) {
    let rooms = (0..ROOMS).filter(|_| chance.happens(1, 2)).collect();
    (chance.happens(2, 3).then_some(rooms), chance.happens(1, 4))
}

/// Every hub with every other, in a ring, in a row, or as it comes; and of each pair one dials, or both.
fn targets(hubs: usize, chance: &mut Chance) -> Vec<Vec<(String, usize)>> {
    let mut targets = vec![Vec::new(); hubs];
    let shape = chance.below(4);
    let both = chance.below(3);
    for one in 0..hubs {
        for two in one + 1..hubs {
            let linked = match shape {
                0 => true,
                1 => two == one + 1 || (one == 0 && two == hubs - 1),
                2 => two == one + 1,
                _ => chance.happens(2, 3),
            };
            let dials = if both == 2 { chance.below(2) } else { both };
            let (first, second) = if chance.happens(1, 2) { (one, two) } else { (two, one) };
            if linked {
                targets[first].push((format!("to-{second}"), second));
            }
            if linked && dials == 1 {
                targets[second].push((format!("to-{first}"), first));
            }
            if linked && chance.happens(1, 8) {
                targets[first].push((format!("again-to-{second}"), second));
            }
        }
        if chance.happens(1, 8) {
            targets[one].push((String::from("myself"), one));
        }
    }
    targets
}

/// Something that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A messenger sends an event into a room of a hub.
    Publish { hub: usize, room: usize },
    /// The connections between two hubs die; of each, each side sees it or does not.
    Flap { one: usize, two: usize },
    /// Nothing comes through between two hubs.
    Cut { one: usize, two: usize },
    /// It does again.
    Mend { one: usize, two: usize },
    /// A hub loses its memory, and is back after so many milliseconds.
    Crash { hub: usize, down: u64 },
    /// A messenger leaves, and another comes.
    Messenger { hub: usize },
    /// A link is taken out of what a hub is told to dial, or put into it again.
    Toggle { hub: usize, place: usize },
    /// A hub is asked to dial at once.
    Nudge { hub: usize },
}

/// A step and how many milliseconds after the one before it is done.
pub type Timed = (u64, Step);

/// The steps of a seed.
pub fn steps(seed: u64, count: usize) -> Vec<Timed> {
    let setting = Setting::of(seed);
    let mut chance = Chance::new(seed).branch(2);
    (0..count)
        .map(|_| {
            let gap = if chance.happens(1, 2) { chance.below(4) } else { chance.below(1_500) };
            (gap, step(&setting, &mut chance))
        })
        .collect()
}

fn step(setting: &Setting, chance: &mut Chance) -> Step {
    let hubs = setting.names.len();
    let hub = chance.index(hubs);
    let other = (hub + 1 + chance.index(hubs - 1)) % hubs;
    match chance.below(100) {
        0..62 => Step::Publish { hub, room: chance.index(ROOMS) },
        62..72 => Step::Flap { one: hub, two: other },
        72..76 => Step::Cut { one: hub, two: other },
        76..84 => Step::Mend { one: hub, two: other },
        84..89 => Step::Crash { hub, down: chance.below(8_000) },
        89..93 => Step::Messenger { hub },
        93..98 => Step::Toggle { hub, place: chance.index(4) },
        _ => Step::Nudge { hub },
    }
}

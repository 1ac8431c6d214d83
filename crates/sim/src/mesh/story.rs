//! What a seed decides: the domains, their topologies and rules, and the steps.

use std::collections::BTreeSet;
use std::sync::Arc;

use event::Pattern;
use mesh::acl::{AclRule, Who};
use mesh::names::{Name, NodeId};
use mesh::plan::SegmentPlan;
use mesh::wire::Wish;

use crate::chance::Chance;

/// Subjects that are published.
pub const SUBJECTS: [&str; 6] = ["a", "a.x", "a.y", "b.x", "b.y.z", "c"];

/// Patterns that clients want.
const PATTERNS: [&str; 9] = [">", "a", "a.x", "a.*", "b.>", "*.x", "b.y.z", "c", "*"];

/// Queue groups.
const QUEUES: [&str; 2] = ["q", "r"];

/// A domain.
#[derive(Debug, Clone)]
pub struct Domain {
    /// Its name.
    pub name: Name,
    /// Its nodes, by number.
    pub nodes: Vec<usize>,
    /// The node that relays, in a domain of that shape.
    pub hub: Option<usize>,
}

/// What does not change in a run.
#[derive(Debug, Clone)]
pub struct World {
    /// The domains.
    pub domains: Vec<Domain>,
    /// The nodes, by number.
    pub nodes: Vec<NodeId>,
    /// Topologies; a step changes from one to another.
    pub topologies: Vec<Vec<Arc<SegmentPlan>>>,
    /// Rules; a step changes from one to another.
    pub rules: Vec<Arc<[AclRule]>>,
    /// The domain whose gateways lie.
    pub rogue: Option<usize>,
    /// Whether both ends of a link between peers dial.
    pub both_dial: bool,
    /// Whether dialling ends do not know which node takes a link between domains.
    pub shared_ingress: bool,
}

/// A step.
#[derive(Debug, Clone)]
pub enum Step {
    /// So many small things happen: frames come, connections are made and found dead, plans come.
    Run(u64),
    /// A client at a node comes or goes.
    Want {
        /// The node.
        node: usize,
        /// What it wants.
        wish: Wish,
        /// Whether it comes.
        present: bool,
    },
    /// A message is published.
    Publish {
        /// Where.
        node: usize,
        /// Its subject.
        subject: &'static str,
        /// Whether all members of groups are to get it.
        every: bool,
    },
    /// A connection dies.
    Cut(u64),
    /// Two nodes cannot reach each other from now on, or can again.
    Part {
        /// One.
        one: usize,
        /// The other.
        two: usize,
        /// Whether they cannot.
        cut: bool,
    },
    /// A node ends.
    Kill(usize),
    /// A node begins, with nothing but its clients.
    Start(usize),
    /// Another topology and other rules hold: a new plan for everybody.
    Plan {
        /// Which topology.
        topology: usize,
        /// Which rules.
        rules: usize,
    },
    /// The gateways of the rogue domain lie.
    Lie,
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("names are made up of letters and digits")
}

/// A wish for a pattern.
pub fn wish(pattern: &str, queue: Option<&str>) -> Wish {
    Wish { pattern: Pattern::parse(pattern).expect("patterns are from a list"), queue: queue.map(Into::into) }
}

/// The world of a seed.
pub fn world(seed: u64) -> World {
    let mut chance = Chance::new(seed).branch(1);
    let (mut domains, mut nodes) = (Vec::new(), Vec::new());
    let letters = ["a", "b", "c", "d", "e", "f"];
    let count = chance.index(letters.len()) + 1;
    for letter in letters.iter().take(count) {
        let domain = name(letter);
        let first = nodes.len();
        for number in 0..chance.between(1, 4) {
            nodes.push(NodeId::new(domain.clone(), name(&format!("n{number}"))));
        }
        let numbers: Vec<usize> = (first..nodes.len()).collect();
        let hub = if chance.happens(1, 2) { chance.pick(&numbers).copied() } else { None };
        domains.push(Domain { name: domain, nodes: numbers, hub });
    }
    let count = chance.between(1, 3);
    let topologies = (0..count).map(|_| topology(&mut chance, &domains)).collect();
    let rules = (0..chance.between(1, 2)).map(|_| rules(&mut chance, &domains)).collect();
    let rogue = if chance.happens(1, 3) { Some(chance.index(domains.len())) } else { None };
    let (both_dial, shared_ingress) = (chance.happens(1, 3), chance.happens(1, 3));
    World { domains, nodes, topologies, rules, rogue, both_dial, shared_ingress }
}

fn topology(chance: &mut Chance, domains: &[Domain]) -> Vec<Arc<SegmentPlan>> {
    let segments = chance.between(1, 3);
    (0..segments)
        .map(|number| {
            let inside: BTreeSet<Name> =
                domains.iter().filter(|_| chance.happens(3, 4)).map(|domain| domain.name.clone()).collect();
            let inside: Vec<Name> = inside.into_iter().collect();
            let mut edges = Vec::new();
            for (place, one) in inside.iter().enumerate() {
                for two in &inside[place + 1..] {
                    if chance.happens(1, 2) {
                        edges.push((one.clone(), two.clone(), u32::try_from(chance.between(1, 3)).unwrap_or(1)));
                    }
                }
            }
            Arc::new(SegmentPlan { name: name(&format!("s{number}")), domains: inside, edges })
        })
        .collect()
}

fn rules(chance: &mut Chance, domains: &[Domain]) -> Arc<[AclRule]> {
    let mut list = || {
        let named = domains.iter().filter(|_| chance.happens(1, 2)).map(|domain| Who::Domain(domain.name.clone()));
        let list: Vec<Who> = named.collect();
        chance.happens(1, 2).then_some(list)
    };
    let (publish, subscribe) = (list(), list());
    if chance.happens(1, 2) {
        return Arc::from([]);
    }
    let subjects = vec![wish("b.>", None).pattern];
    Arc::from([AclRule { name: "b".into(), subjects, publish, subscribe }])
}

/// The steps of a seed.
pub fn steps(seed: u64, count: usize) -> Vec<Step> {
    let world = world(seed);
    let mut chance = Chance::new(seed).branch(2);
    let mut steps = vec![Step::Plan { topology: 0, rules: 0 }, Step::Run(60)];
    while steps.len() < count {
        steps.push(step(&mut chance, &world));
        if chance.happens(1, 2) {
            steps.push(Step::Run(chance.between(1, 40)));
        }
    }
    steps
}

fn step(chance: &mut Chance, world: &World) -> Step {
    let node = chance.index(world.nodes.len());
    match chance.below(100) {
        0..35 => {
            let pattern = chance.pick(&PATTERNS).copied().unwrap_or(">");
            let queue = chance.pick(&QUEUES).copied().filter(|_| chance.happens(1, 2));
            Step::Want { node, wish: wish(pattern, queue), present: chance.happens(2, 3) }
        }
        35..70 => {
            let subject = chance.pick(&SUBJECTS).copied().unwrap_or("a");
            Step::Publish { node, subject, every: chance.happens(1, 3) }
        }
        70..76 => Step::Cut(chance.number()),
        76..82 => Step::Part { one: node, two: chance.index(world.nodes.len()), cut: chance.happens(1, 2) },
        82..86 => Step::Kill(node),
        86..91 => Step::Start(node),
        91..95 => Step::Plan { topology: chance.index(world.topologies.len()), rules: chance.index(world.rules.len()) },
        _ => Step::Lie,
    }
}

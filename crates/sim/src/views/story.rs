//! What a seed says is done.

use crate::chance::Chance;

/// Services there are, as they are followed.
pub const SERVICES: [&str; 3] = ["web", "db", "cache"];

/// Nodes there are.
pub const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// Ids of instances on a node.
pub const IDS: [&str; 3] = ["x", "y", "z"];

/// Readers of a run.
pub const READERS: usize = 6;

/// Something that is done.
#[derive(Debug, Clone)]
pub enum Step {
    /// An instance is registered: service, node, id, port.
    Register(usize, usize, usize, i64),
    /// An instance goes: node, id.
    Deregister(usize, usize),
    /// A node goes with all on it.
    Leave(usize),
    /// A node has another address.
    Move(usize, u8),
    /// A check of an instance stands so: node, id, status.
    Check(usize, usize, usize),
    /// A stranger publishes an instance, or its removal: service, node, id, port.
    Stranger(usize, usize, usize, Option<i64>),
    /// A reader is told at most so many frames.
    Tell(usize, usize),
    /// A reader goes, and comes again where it was; or at one of its earlier positions, so many ago.
    Resume(usize, usize),
    /// A reader goes for good, and another begins with a snapshot, of this service.
    Begin(usize, usize),
    /// A reader may see the instances of these nodes from now on: a bit each.
    Permit(usize, u8),
    /// So many seconds pass.
    Pass(u64),
    /// The node crashes.
    Crash,
    /// What is kept by checkpoints is written.
    Checkpoint,
}

/// The steps of a seed.
pub fn steps(seed: u64, count: usize) -> Vec<Step> {
    let mut chance = Chance::new(seed).branch(2);
    (0..count).map(|_| step(&mut chance)).collect()
}

fn step(chance: &mut Chance) -> Step {
    let (service, node, id) = (chance.index(SERVICES.len()), chance.index(NODES.len()), chance.index(IDS.len()));
    let (reader, port) = (chance.index(READERS), i64::try_from(chance.below(4)).unwrap_or(0));
    match chance.below(100) {
        0..=24 => Step::Register(service, node, id, port),
        25..=34 => Step::Deregister(node, id),
        35..=36 => Step::Leave(node),
        37..=40 => Step::Move(node, u8::try_from(chance.below(3)).unwrap_or(0)),
        41..=46 => Step::Check(node, id, chance.index(3)),
        47..=50 => Step::Stranger(service, node, id, chance.happens(2, 3).then_some(port)),
        51..=78 => Step::Tell(reader, 1 + chance.index(4)),
        79..=85 => Step::Resume(reader, if chance.happens(1, 2) { 0 } else { chance.index(8) }),
        86..=87 => Step::Begin(reader, service),
        88..=90 => Step::Permit(reader, u8::try_from(chance.below(8)).unwrap_or(0)),
        91..=93 => Step::Pass(if chance.happens(1, 4) { 40 * 3_600 } else { chance.between(1, 400) }),
        94..=96 => Step::Crash,
        _ => Step::Checkpoint,
    }
}

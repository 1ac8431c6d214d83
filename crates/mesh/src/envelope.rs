//! For whom a message is that travels between nodes.
//!
//! A message goes to a **set of destinations**. Each node that it comes to takes out what is for itself, and splits
//! the rest by the next hop; a destination is in one copy at any time, so nobody gets a message twice, whatever state
//! the nodes' plans are in, and what circles ends with its hops.
//!
//! ```text
//! version u8 (1) | flags u8: 1 every, 2 has a segment, 4 traced | hops u8 | origin: domain, node
//!   | segment? | here: deliver | nodes: name, deliver | to: domain, deliver
//! deliver   flag direct | queue groups
//! ```
//!
//! with numbers, texts and lists as `codec` has them. The same destinations have the same bytes, so a receiver may
//! keep what came of judging them.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::codec::{CodecError, Reader, Writer};
use crate::names::{Name, NodeId};

/// The version of the bytes.
const VERSION: u8 = 1;

const EVERY: u8 = 1;
const SEGMENT: u8 = 2;
const TRACED: u8 = 4;

/// Hops that a message has when it enters: through ten domains of which each relays by its hub.
pub const HOPS_MAX: u8 = 32;

/// Most destinations of one envelope: with the longest of names and no queue groups, 18 KB. Who has more sends two.
pub const DESTINATIONS_MAX: usize = 256;

/// Most queue groups of one destination.
pub const QUEUES_MAX: usize = 256;

/// Longest name of a queue group that other nodes hear of, in bytes.
pub const QUEUE_BYTES_MAX: usize = 512;

/// The queue group whose members take messages before everybody else does, for what they keep: other domains may have
/// members for single subjects only.
pub const AHEAD: &str = "keeps ahead";

/// Most bytes of an envelope. Who has more destinations sends two.
pub const ENVELOPE_BYTES_MAX: usize = 48 * 1024;

/// Who of a node or a domain is to get a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deliver {
    /// Whoever listens on its own.
    pub direct: bool,
    /// The queue groups of which one member, or with [`Envelope::every`] all, get it.
    pub queues: BTreeSet<Arc<str>>,
}

/// Where a message came from and for whom this copy of it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Envelope {
    /// The node where the message entered.
    pub origin: NodeId,
    /// The segment that it travels in; `None`: it stays within the domain where it entered.
    pub segment: Option<Name>,
    /// How many links it may still take.
    pub hops: u8,
    /// Whether all members of a queue group are to get it.
    pub every: bool,
    /// Whether each node that it comes to notes what became of it.
    pub traced: bool,
    /// For the receiving node's own clients. Empty on a link between domains.
    pub here: Deliver,
    /// For other nodes of the receiver's domain: a hub hands them on. Empty on a link between domains. Sorted.
    pub nodes: Vec<(Name, Deliver)>,
    /// For domains. Sorted.
    pub to: Vec<(Name, Deliver)>,
}

impl Deliver {
    /// For nobody.
    pub const NOBODY: Deliver = Deliver { direct: false, queues: BTreeSet::new() };

    /// For whoever listens on its own.
    pub fn direct() -> Self {
        Deliver { direct: true, queues: BTreeSet::new() }
    }

    /// For a queue group.
    pub fn queue(queue: &Arc<str>) -> Self {
        Deliver { direct: false, queues: BTreeSet::from([Arc::clone(queue)]) }
    }

    /// Whether it is for nobody.
    pub fn is_empty(&self) -> bool {
        !self.direct && self.queues.is_empty()
    }
}

impl Envelope {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.byte(VERSION);
        let flag = |set, flag| if set { flag } else { 0 };
        let segment = flag(self.segment.is_some(), SEGMENT);
        writer.byte(flag(self.every, EVERY) | segment | flag(self.traced, TRACED));
        writer.byte(self.hops);
        writer.node(&self.origin);
        if let Some(segment) = &self.segment {
            writer.name(segment);
        }
        write_deliver(&mut writer, &self.here);
        for list in [&self.nodes, &self.to] {
            writer.list(list, |writer, (name, deliver)| {
                writer.name(name);
                write_deliver(writer, deliver);
            });
        }
        writer.finish()
    }

    /// The same bytes for a message that is traced.
    pub fn traced(bytes: &[u8]) -> Vec<u8> {
        let mut traced = bytes.to_vec();
        if let Some(flags) = traced.get_mut(1) {
            *flags |= TRACED;
        }
        traced
    }

    /// Reads what [`Envelope::encode`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] where it did not: names out of order or twice among them.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let flags = reader.byte()?;
        if flags & !(EVERY | SEGMENT | TRACED) != 0 {
            return Err(CodecError::Value);
        }
        let envelope = Envelope {
            every: flags & EVERY != 0,
            traced: flags & TRACED != 0,
            hops: reader.byte()?,
            origin: reader.node()?,
            segment: if flags & SEGMENT == 0 { None } else { Some(reader.name()?) },
            here: read_deliver(&mut reader)?,
            nodes: read_destinations(&mut reader)?,
            to: read_destinations(&mut reader)?,
        };
        reader.finish()?;
        Ok(envelope)
    }
}

fn write_deliver(writer: &mut Writer, deliver: &Deliver) {
    writer.flag(deliver.direct);
    writer.number(deliver.queues.len() as u64);
    for queue in &deliver.queues {
        writer.text(queue);
    }
}

fn read_deliver(reader: &mut Reader<'_>) -> Result<Deliver, CodecError> {
    let direct = reader.flag()?;
    let mut queues = BTreeSet::new();
    for queue in reader.list(QUEUES_MAX, |reader| reader.text(QUEUE_BYTES_MAX))? {
        if queues.last().is_some_and(|last: &Arc<str>| **last >= *queue) {
            return Err(CodecError::Value);
        }
        queues.insert(queue.into());
    }
    Ok(Deliver { direct, queues })
}

fn read_destinations(reader: &mut Reader<'_>) -> Result<Vec<(Name, Deliver)>, CodecError> {
    let list = reader.list(DESTINATIONS_MAX, |reader| Ok((reader.name()?, read_deliver(reader)?)))?;
    let sorted = list.windows(2).all(|pair| matches!(pair, [(one, _), (two, _)] if one < two));
    let meant = list.iter().all(|(_, deliver)| !deliver.is_empty());
    if sorted && meant { Ok(list) } else { Err(CodecError::Value) }
}

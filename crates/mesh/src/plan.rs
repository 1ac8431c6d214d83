//! What a controller tells a node: its whole desired state.
//!
//! A [`Plan`] is immutable and complete; a node applies only one of a greater [`Generation`] than it has. It travels
//! and is stored as bytes:
//!
//! ```text
//! version u8 (1) | epoch | number | segments | shape | gateways | links | rules | standing
//! segment   name | domains | edges: name, name, weight
//! shape     0 | 1, name of the hub
//! gateway   domain | node
//! link      id | kind u8 | domain | node? | dial? | key, 32 bytes | segments
//! rule      name | patterns | publish? | subscribe?
//! who       0 | 1, domain | 2, principal | 3, domain, principal
//! ```
//!
//! with numbers, texts, lists and flags as `codec` has them; `?` is a flag and, if it is 1, the value.
//!
//! Invariant: every plan has one spelling, and reading it gives the same plan. A plan holds keys: whoever keeps it
//! keeps it from others, and nothing here prints one.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use event::Pattern;

pub use crate::acl::{AclRule, Who};
pub use crate::codec::CodecError;
use crate::codec::{Reader, Writer};
use crate::names::{LinkId, Name, NodeId};

/// The version of the bytes.
const VERSION: u8 = 1;

/// Most items of one list of a plan. Bounds what one plan may make a node hold.
const ITEMS_MAX: usize = 1 << 20;

/// Bytes of a link's key.
pub const KEY_BYTES: usize = 32;

/// The order of plans: of a later epoch, or of the same and with a greater number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// Which controller led.
    pub epoch: u64,
    /// Its count.
    pub number: u64,
}

/// What a node is to do and may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Which plan it is.
    pub generation: Generation,
    /// The segments that the node's domain is in, sorted by name.
    pub segments: Vec<Arc<SegmentPlan>>,
    /// How the nodes of the domain are linked.
    pub shape: Shape,
    /// By neighbour domain: the node of the own domain that holds the link to it. Sorted.
    pub gateways: Vec<(Name, NodeId)>,
    /// The links of the node.
    pub links: Vec<LinkPlan>,
    /// Who may use which names.
    pub acl: Arc<[AclRule]>,
    /// What the own domain wants although nobody there listens; each gateway tells it.
    pub standing: Vec<Pattern>,
}

/// A segment: its domains, and which of them are neighbours. All sorted; weights from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentPlan {
    /// Its name.
    pub name: Name,
    /// Its domains.
    pub domains: Vec<Name>,
    /// Its edges, walked both ways, with their weights.
    pub edges: Vec<(Name, Name, u32)>,
}

/// How the nodes of a domain are linked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Shape {
    /// Each with each: one hop, nobody relays.
    #[default]
    FullMesh,
    /// Each with the hub, which relays.
    Hub(Name),
}

/// What kind of link it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkKind {
    /// To a node of the same domain.
    Peer,
    /// To a node of another domain.
    Remote,
}

/// A link that a node holds.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkPlan {
    /// What both ends call it.
    pub id: LinkId,
    /// What kind of link it is.
    pub kind: LinkKind,
    /// The domain of the other end.
    pub domain: Name,
    /// The node at the other end; `None`: whichever of the domain takes it.
    pub node: Option<Name>,
    /// Where to dial, `host:port`; `None`: the other end dials.
    pub dial: Option<Arc<str>>,
    /// What proves both ends.
    pub key: [u8; KEY_BYTES],
    /// The segments that it carries, sorted. Empty for a link to a peer.
    pub segments: Vec<Name>,
}

impl fmt::Debug for LinkPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LinkPlan { id, kind, domain, node, dial, key: _, segments } = self;
        let mut shown = f.debug_struct("LinkPlan");
        shown.field("id", id).field("kind", kind).field("domain", domain).field("node", node).field("dial", dial);
        shown.field("segments", segments).finish_non_exhaustive()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

impl Plan {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.byte(VERSION);
        writer.number(self.generation.epoch);
        writer.number(self.generation.number);
        writer.list(&self.segments, |writer, segment| write_segment(writer, segment));
        match &self.shape {
            Shape::FullMesh => writer.byte(0),
            Shape::Hub(hub) => {
                writer.byte(1);
                writer.name(hub);
            }
        }
        writer.list(&self.gateways, |writer, (domain, node)| {
            writer.name(domain);
            writer.node(node);
        });
        writer.list(&self.links, write_link);
        writer.list(&self.acl, write_rule);
        writer.list(&self.standing, Writer::pattern);
        writer.finish()
    }

    /// Reads what [`Plan::encode`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] where it did not.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let plan = Plan {
            generation: Generation { epoch: reader.number()?, number: reader.number()? },
            segments: reader.list(ITEMS_MAX, |reader| read_segment(reader).map(Arc::new))?,
            shape: match reader.byte()? {
                0 => Shape::FullMesh,
                1 => Shape::Hub(reader.name()?),
                _ => return Err(CodecError::Value),
            },
            gateways: reader.list(ITEMS_MAX, |reader| Ok((reader.name()?, reader.node()?)))?,
            links: reader.list(ITEMS_MAX, read_link)?,
            acl: reader.list(ITEMS_MAX, read_rule)?.into(),
            standing: reader.list(ITEMS_MAX, Reader::pattern)?,
        };
        reader.finish()?;
        Ok(plan)
    }
}

fn write_segment(writer: &mut Writer, segment: &SegmentPlan) {
    writer.name(&segment.name);
    writer.list(&segment.domains, Writer::name);
    writer.list(&segment.edges, |writer, (one, two, weight)| {
        writer.name(one);
        writer.name(two);
        writer.number(u64::from(*weight));
    });
}

fn read_segment(reader: &mut Reader<'_>) -> Result<SegmentPlan, CodecError> {
    Ok(SegmentPlan {
        name: reader.name()?,
        domains: reader.list(ITEMS_MAX, Reader::name)?,
        edges: reader.list(ITEMS_MAX, |reader| Ok((reader.name()?, reader.name()?, reader.small()?)))?,
    })
}

fn write_link(writer: &mut Writer, link: &LinkPlan) {
    writer.text(link.id.as_str());
    writer.byte(match link.kind {
        LinkKind::Peer => 0,
        LinkKind::Remote => 1,
    });
    writer.name(&link.domain);
    writer.option(link.node.as_ref(), Writer::name);
    writer.option(link.dial.as_ref(), |writer, dial| writer.text(dial));
    writer.raw(&link.key);
    writer.list(&link.segments, Writer::name);
}

fn read_link(reader: &mut Reader<'_>) -> Result<LinkPlan, CodecError> {
    Ok(LinkPlan {
        id: reader.link()?,
        kind: match reader.byte()? {
            0 => LinkKind::Peer,
            1 => LinkKind::Remote,
            _ => return Err(CodecError::Value),
        },
        domain: reader.name()?,
        node: reader.option(Reader::name)?,
        dial: reader.option(Reader::shared_text)?,
        key: reader.raw(KEY_BYTES)?.try_into().map_err(|_| CodecError::Short)?,
        segments: reader.list(ITEMS_MAX, Reader::name)?,
    })
}

fn write_rule(writer: &mut Writer, rule: &AclRule) {
    writer.text(&rule.name);
    writer.list(&rule.subjects, Writer::pattern);
    for list in [&rule.publish, &rule.subscribe] {
        writer.option(list.as_ref(), |writer, list| writer.list(list, write_who));
    }
}

fn write_who(writer: &mut Writer, who: &Who) {
    match who {
        Who::Anyone => writer.byte(0),
        Who::Domain(domain) => {
            writer.byte(1);
            writer.name(domain);
        }
        Who::Principal(principal) => {
            writer.byte(2);
            writer.text(principal);
        }
        Who::Member(domain, principal) => {
            writer.byte(3);
            writer.name(domain);
            writer.text(principal);
        }
    }
}

fn read_rule(reader: &mut Reader<'_>) -> Result<AclRule, CodecError> {
    let who = |reader: &mut Reader<'_>| {
        Ok(match reader.byte()? {
            0 => Who::Anyone,
            1 => Who::Domain(reader.name()?),
            2 => Who::Principal(reader.shared_text()?),
            3 => Who::Member(reader.name()?, reader.shared_text()?),
            _ => return Err(CodecError::Value),
        })
    };
    Ok(AclRule {
        name: reader.shared_text()?,
        subjects: reader.list(ITEMS_MAX, Reader::pattern)?,
        publish: reader.option(|reader| reader.list(ITEMS_MAX, who))?,
        subscribe: reader.option(|reader| reader.list(ITEMS_MAX, who))?,
    })
}

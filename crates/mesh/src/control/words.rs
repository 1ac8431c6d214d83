//! What a controller is told, and what it wants done.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use event::Pattern;

use crate::names::{LinkId, Name, NodeId};
use crate::plan::{AclRule, Generation, Plan, Shape};
use crate::proof::Broken;
use crate::topology::{Topology, Warning};

/// Where the keys of links come from: the same text gives the same 32 bytes at every controller of a mesh, and
/// nobody else can tell them. Such as a keyed hash under a secret that the controllers share.
pub trait Keys: Send + Sync {
    /// The key of a text.
    fn key(&self, text: &str) -> [u8; 32];
}

impl<F: Fn(&str) -> [u8; 32] + Send + Sync> Keys for F {
    fn key(&self, text: &str) -> [u8; 32] {
        self(text)
    }
}

/// What was declared. It replaces all that was declared before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The domains whose nodes are taken.
    pub domains: Vec<DomainRule>,
    /// Whether nodes of any other domain are taken too. Who they are was proven elsewhere.
    pub open: bool,
    /// Which domains may be neighbours.
    pub topology: Topology,
    /// Who may use which names.
    pub acl: Arc<[AclRule]>,
    /// Routes that stand.
    pub routes: Vec<RouteRule>,
}

impl Default for Declared {
    fn default() -> Self {
        let topology = Topology::edited();
        Declared { domains: Vec::new(), open: false, topology, acl: Arc::from([]), routes: Vec::new() }
    }
}

/// A domain that was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRule {
    /// Its name.
    pub name: Name,
    /// How its nodes are linked.
    pub shape: Shape,
}

/// A route that was declared: messages of these subjects go to these domains, whoever listens there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// Its name, for reports.
    pub name: Arc<str>,
    /// The subjects.
    pub subjects: Vec<Pattern>,
    /// The domains; `None`: each.
    pub to: Option<BTreeSet<Name>>,
}

/// Where a node can be dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// By nodes of its own domain: `host:port`. `None`: not at all.
    pub listen: Option<Arc<str>>,
    /// By nodes of other domains. Several nodes may have the same, such as a load balancer's. `None`: not at all.
    pub external: Option<Arc<str>>,
}

/// A link that a node has up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub link: LinkId,
    /// Who proved to be at its other end.
    pub peer: NodeId,
    /// Where this node dialled; `None`: the other did.
    pub dialled: Option<Arc<str>>,
}

/// What happened. A **session** is a control channel: a number that is unique for ever at this controller.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// This controller leads from now on, with an epoch greater than that of any before it.
    Lead {
        /// The epoch.
        epoch: u64,
    },
    /// It does not lead any longer.
    Follow,
    /// What is declared from now on.
    Resources(Declared),
    /// A node, whose membership of its domain was proven, registered.
    Registered {
        /// Its control channel.
        session: u64,
        /// Who it is.
        node: NodeId,
        /// Where it can be dialled.
        endpoints: Endpoints,
        /// The plan that it follows; all zero: none.
        plan: Generation,
        /// The links that it has up.
        up: Vec<Standing>,
        /// Whether it keeps the routes that it is told, and is told them: a node of a foreign make.
        routes: bool,
    },
    /// A control channel ended, or went silent.
    Gone {
        /// Which.
        session: u64,
    },
    /// A node says that it leaves.
    Deregistered {
        /// Its control channel.
        session: u64,
    },
    /// A node applied a plan.
    Acked {
        /// Its control channel.
        session: u64,
        /// The plan.
        generation: Generation,
        /// Links of it that it could not bring about yet, with the reason.
        failed: Vec<(LinkId, Arc<str>)>,
    },
    /// A link is up at a node. Where nobody was said to take it, this says who did.
    Up {
        /// The node's control channel.
        session: u64,
        /// The link.
        up: Standing,
    },
    /// A link is down at a node.
    Down {
        /// The node's control channel.
        session: u64,
        /// The link.
        link: LinkId,
        /// What is shown as the reason.
        why: Arc<str>,
    },
    /// A node tells all its links anew, as it does from time to time: what was lost of earlier reports is mended.
    Links {
        /// The node's control channel.
        session: u64,
        /// Those that are up. All others are not.
        up: Vec<Standing>,
    },
    /// A node announces a name for routes, or takes it back.
    Announced {
        /// The node's control channel.
        session: u64,
        /// The name.
        name: Pattern,
        /// Whether it is wanted there.
        wanted: bool,
    },
    /// Time went on.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// A plan is to be told. It replaces all that were told before on this channel.
    Tell {
        /// The control channel.
        session: u64,
        /// The plan.
        plan: Arc<Plan>,
    },
    /// All routes of a node that is told them.
    Routes {
        /// The control channel.
        session: u64,
        /// The routes.
        routes: Arc<[RouteAt]>,
    },
    /// A node is turned away, and its channel closed.
    Reject {
        /// The control channel.
        session: u64,
        /// Why.
        why: Rejected,
    },
    /// Something that operators are told.
    Report(Report),
}

/// A route at a gateway: what matches the name goes over this link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteAt {
    /// The name.
    pub name: Pattern,
    /// The segment.
    pub segment: Name,
    /// The domain that wants it.
    pub to: Name,
    /// The link.
    pub link: LinkId,
}

/// Why a node is turned away.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rejected {
    /// Another controller leads.
    NotLeading,
    /// It follows a plan of a later controller than this one, which does not lead any longer.
    Deposed,
    /// Its domain is not declared.
    UnknownDomain(Name),
    /// Another node registered under its id since. Final: two nodes with one id would take turns.
    Superseded(NodeId),
    /// Its domain has as many nodes as it may have.
    Full(Name),
}

impl Rejected {
    /// Whether to stay away, instead of trying again after a while.
    pub fn is_final(&self) -> bool {
        matches!(self, Rejected::Superseded(_))
    }

    /// One word, for counting.
    pub fn word(&self) -> &'static str {
        match self {
            Rejected::NotLeading => "not-leading",
            Rejected::Deposed => "deposed",
            Rejected::UnknownDomain(_) => "unknown-domain",
            Rejected::Superseded(_) => "superseded",
            Rejected::Full(_) => "full",
        }
    }
}

/// Something that operators are told.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A node came.
    Joined(NodeId),
    /// A node went.
    Left {
        /// Which.
        node: NodeId,
        /// Whether it said so.
        said: bool,
    },
    /// A link between two domains is held by other nodes than before.
    Moved {
        /// The domains, in order.
        pair: (Name, Name),
        /// Why.
        why: Arc<str>,
    },
    /// What was declared breaks an invariant: what held before goes on.
    Broken(Vec<Broken>),
    /// Parts of the topology were left out.
    Warnings(Vec<Warning>),
    /// A node told of a plan of a later epoch than this controller's, and was turned away.
    Deposed {
        /// Which.
        node: NodeId,
        /// The later epoch.
        epoch: u64,
    },
    /// A link was told of by somebody who has no part in it.
    Foreign {
        /// Who told.
        node: NodeId,
        /// The link.
        link: LinkId,
    },
    /// The sweep found plans that were not as they should be, and told them anew. It should find none.
    Mended(usize),
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::NotLeading => f.write_str("another controller leads"),
            Rejected::Deposed => f.write_str("the node follows a later controller than this one"),
            Rejected::UnknownDomain(domain) => write!(f, "the domain '{domain}' is not declared"),
            Rejected::Superseded(node) => write!(f, "another node registered as '{node}': give each its own id"),
            Rejected::Full(domain) => write!(f, "the domain '{domain}' has as many nodes as it may have"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Joined(node) => write!(f, "{node} came"),
            Report::Left { node, said: true } => write!(f, "{node} left"),
            Report::Left { node, said: false } => write!(f, "{node} is gone"),
            Report::Moved { pair: (one, two), why } => write!(f, "the link of {one} and {two} has other ends: {why}"),
            Report::Broken(broken) => {
                f.write_str("what was declared is not applied")?;
                broken.iter().try_for_each(|each| write!(f, "; {each}"))
            }
            Report::Warnings(warnings) => {
                f.write_str("parts of the topology are left out")?;
                warnings.iter().take(8).try_for_each(|each| write!(f, "; {each}"))
            }
            Report::Deposed { node, epoch } => write!(
                f,
                "{node} follows a controller of the later epoch {epoch}, and is turned away; where there is no other \
                 controller, this one's clock or data was set back: remove 'mesh/plan' at the node"
            ),
            Report::Foreign { node, link } => write!(f, "{node} told of the link '{link}', in which it has no part"),
            Report::Mended(count) => write!(f, "{count} plans were not as they should be"),
        }
    }
}

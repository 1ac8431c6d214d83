//! What a controller shows of itself.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use event::Pattern;

use super::links::Link;
use super::routes::ROUTES_SHOWN_MAX;
use super::{Controller, Endpoints};
use crate::names::{LinkId, Name, NodeId};
use crate::plan::{Generation, LinkKind, Shape};
use crate::topology::{Mode, Warning};

/// How far a link is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LinkState {
    /// It is in a plan that was not acknowledged yet.
    #[default]
    Pending,
    /// The node that dials knows of it.
    Connecting,
    /// It is up.
    Applied,
    /// It could not be brought about; it is tried again.
    Failed(Arc<str>),
}

impl LinkState {
    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            LinkState::Pending => "pending",
            LinkState::Connecting => "connecting",
            LinkState::Applied => "applied",
            LinkState::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkState::Failed(why) => write!(f, "failed: {why}"),
            other => f.write_str(other.word()),
        }
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The epoch, while it leads.
    pub epoch: Option<u64>,
    /// How the topology changes.
    pub mode: Mode,
    /// The nodes that are counted on.
    pub nodes: Vec<NodeView>,
    /// The links: those between domains, then those between peers.
    pub links: Vec<LinkView>,
    /// The domains that are declared, or there.
    pub domains: Vec<DomainView>,
    /// Routes that were announced or declared, as far as they are shown.
    pub routes: Vec<RouteView>,
    /// Pairs of domains that are to be linked and have nobody who can hold the link.
    pub unheld: Vec<(Name, Name)>,
    /// What was left out of the topology.
    pub warnings: Vec<Warning>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Which.
    pub id: NodeId,
    /// Whether it has a control channel.
    pub connected: bool,
    /// Where it can be dialled.
    pub endpoints: Endpoints,
    /// The plan that it was told.
    pub told: Generation,
    /// The plan that it applied.
    pub acked: Generation,
    /// How many links to other domains it holds.
    pub remote_links: usize,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// What both ends call it. One between peers is unique in their domain alone.
    pub id: LinkId,
    /// What kind of link it is.
    pub kind: LinkKind,
    /// Who dials.
    pub from: NodeId,
    /// The domain of who takes it.
    pub to_domain: Name,
    /// Who takes it; `None`: nobody claimed it yet.
    pub to: Option<NodeId>,
    /// Where it is dialled.
    pub address: Option<Arc<str>>,
    /// The segments that it carries; none between peers.
    pub segments: Vec<Name>,
    /// How far it is.
    pub state: LinkState,
    /// Whether messages go over it: not while another serves in its place.
    pub serves: bool,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainView {
    /// Which.
    pub name: Name,
    /// Whether it was declared.
    pub declared: bool,
    /// How its nodes are linked.
    pub shape: Shape,
    /// Its nodes that are counted on.
    pub nodes: usize,
    /// The segments that it is in.
    pub segments: Vec<Name>,
    /// Its gateways: the neighbour, and who holds the link to it.
    pub gateways: Vec<(Name, NodeId)>,
}

/// A route: how a name is reached from a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// The name.
    pub name: Pattern,
    /// Where messages are published.
    pub from: Name,
    /// The gateway there.
    pub at: Option<NodeId>,
    /// The next domain.
    pub next: Name,
    /// The domain that wants it.
    pub to: Name,
    /// The segment.
    pub segment: Name,
    /// The link.
    pub link: Option<LinkId>,
    /// How far that is.
    pub state: LinkState,
}

/// Why a link between nodes of two makes is not up.
const MIXED: &str = "one end is a node of SLIM's own make and the other is not: they have no link in common. Declare no link \
                     between their domains; link them as replicas of one domain, with --slim-peer";

impl Controller {
    /// What it shows of itself. Costs as much as there is of it.
    pub fn status(&self) -> Status {
        Status {
            epoch: self.epoch,
            mode: self.declared.topology.mode(),
            nodes: self.node_views(),
            links: self.remote_views().into_iter().chain(self.peer_views()).collect(),
            domains: self.domain_views(),
            routes: self.routes_view(ROUTES_SHOWN_MAX),
            unheld: self.unheld(),
            warnings: self.warnings.clone(),
        }
    }

    /// Pairs of domains that both have nodes, of which none can hold the link: nobody can be dialled.
    fn unheld(&self) -> Vec<(Name, Name)> {
        let there = |domain: &Name| self.members.contains_key(domain);
        let pairs = self.pairs.iter().filter(|((one, two), pair)| pair.serving.is_none() && there(one) && there(two));
        pairs.map(|(pair, _)| pair.clone()).collect()
    }

    fn node_views(&self) -> Vec<NodeView> {
        let views = self.nodes.iter().map(|(id, state)| NodeView {
            id: id.clone(),
            connected: state.session.is_some(),
            endpoints: state.endpoints.clone(),
            told: state.told.as_ref().map(|(_, plan)| plan.generation).unwrap_or_default(),
            acked: state.acked,
            remote_links: state.holds.len(),
        });
        views.collect()
    }

    fn remote_views(&self) -> Vec<LinkView> {
        let views = self.links.iter().map(|(id, link)| {
            let pair = self.pairs.get(&link.pair);
            LinkView {
                id: id.clone(),
                kind: LinkKind::Remote,
                from: link.dialer.clone(),
                to_domain: link.taken_by.clone(),
                to: link.acceptor.clone(),
                address: Some(Arc::clone(&link.address)),
                segments: pair.map(|pair| pair.segments.clone()).unwrap_or_default(),
                state: self.seen(link),
                serves: pair.is_some_and(|pair| pair.serving.as_ref() == Some(id)),
            }
        });
        views.collect()
    }

    /// How far a link is; of one between nodes of two makes, that it cannot be.
    fn seen(&self, link: &Link) -> LinkState {
        let foreign = |node: &NodeId| self.nodes.get(node).map(|state| state.routes);
        let dialer = foreign(&link.dialer);
        let mut makes = self.members.get(&link.taken_by).into_iter().flatten().filter_map(foreign);
        let taker = match &link.acceptor {
            Some(node) => foreign(node),
            // Nobody claimed it yet: any of the domain may.
            None => makes.next().filter(|first| makes.all(|make| make == *first)),
        };
        match (dialer, taker) {
            (Some(one), Some(two)) if one != two && link.state != LinkState::Applied => LinkState::Failed(MIXED.into()),
            _ => link.state.clone(),
        }
    }

    fn peer_views(&self) -> Vec<LinkView> {
        let mut views = Vec::new();
        for (node, state) in self.nodes.iter().filter(|(_, state)| state.session.is_some()) {
            let Some((_, plan)) = &state.told else { continue };
            for link in plan.links.iter().filter(|link| link.kind == LinkKind::Peer) {
                let Some(peer) = link.node.clone() else { continue };
                let peer = NodeId { domain: link.domain.clone(), node: peer };
                let there = self.nodes.get(&peer);
                // Each is shown once: by who dials, or by who has a control channel.
                if link.dial.is_none() && there.is_some_and(|peer| peer.session.is_some()) {
                    continue;
                }
                let up = |state: &super::NodeState| state.up.contains_key(&link.id);
                let up = up(state) || there.is_some_and(up);
                views.push(LinkView {
                    id: link.id.clone(),
                    kind: LinkKind::Peer,
                    from: node.clone(),
                    to_domain: link.domain.clone(),
                    to: Some(peer),
                    address: link.dial.clone(),
                    segments: Vec::new(),
                    state: if up { LinkState::Applied } else { LinkState::Connecting },
                    serves: true,
                });
            }
        }
        views
    }

    fn domain_views(&self) -> Vec<DomainView> {
        let all: BTreeSet<&Name> = self.known.iter().chain(self.members.keys()).collect();
        let views = all.into_iter().map(|name| {
            let common = self.common(name);
            DomainView {
                name: name.clone(),
                declared: self.declared.domains.iter().any(|rule| rule.name == *name),
                shape: common.shape,
                nodes: common.members.len(),
                segments: self.segments.of(name).map(|segment| segment.name.clone()).collect(),
                gateways: common.gateways,
            }
        });
        views.collect()
    }
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{} nodes, {} links", self.nodes.len(), self.links.len());
        f.debug_struct("Controller").field("epoch", &self.epoch).field("holds", &text).finish_non_exhaustive()
    }
}

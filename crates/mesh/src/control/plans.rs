//! The plan of each node, and telling it until it is acknowledged.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::{Moment, Pattern};

use super::limits::{RETELL_FIRST, RETELL_MAX};
use super::links::ordered;
use super::{Act, Controller, LinkState, Timer, back_off};
use crate::names::{LinkId, Name, NodeId};
use crate::plan::{Generation, LinkKind, LinkPlan, Plan, SegmentPlan, Shape};
use crate::segment::Segments;

/// What the plans of one domain's nodes have in common.
pub(super) struct Common {
    pub(super) shape: Shape,
    segments: Vec<Arc<SegmentPlan>>,
    pub(super) gateways: Vec<(Name, NodeId)>,
    standing: Vec<Pattern>,
    /// The nodes that are counted on.
    pub(super) members: Vec<NodeId>,
}

impl Controller {
    /// Makes the plans of all domains that something changed for, and tells those that are not as they were.
    pub(super) fn plan(&mut self, now: Moment) {
        if self.epoch.is_none() {
            return;
        }
        if core::mem::take(&mut self.edges) {
            self.redraw();
        }
        for domain in core::mem::take(&mut self.dirty) {
            let nodes: Vec<_> = self.connected(&domain).map(|(node, _)| node.clone()).collect();
            if nodes.is_empty() {
                continue;
            }
            let common = self.common(&domain);
            for node in nodes {
                self.plan_node(now, &node, &common);
                self.tell_routes(&node);
            }
        }
    }

    /// Leaves out the edges that cannot be walked, and marks the domains for which that changes anything.
    fn redraw(&mut self) {
        let live = self.segments.without(&self.out(), &self.live);
        let differs = |one: &Segments, two: &Segments, domain: &Name| {
            let (mut one, mut two) = (one.of(domain), two.of(domain));
            loop {
                match (one.next(), two.next()) {
                    (None, None) => return false,
                    (Some(one), Some(two)) if Arc::ptr_eq(one, two) => {}
                    _ => return true,
                }
            }
        };
        let domains: BTreeSet<_> = live.domains().chain(self.live.domains()).cloned().collect();
        self.dirty.extend(domains.into_iter().filter(|domain| differs(&live, &self.live, domain)));
        self.live = live;
    }

    pub(super) fn common(&self, domain: &Name) -> Common {
        let counted = |node: &&NodeId| self.nodes.get(*node).is_some_and(super::NodeState::counts);
        let members: Vec<_> = self.members.get(domain).into_iter().flatten().filter(counted).cloned().collect();
        let rule = self.declared.domains.iter().find(|rule| rule.name == *domain);
        let shape = match rule.map(|rule| &rule.shape) {
            // While the hub that was declared is not there, the first node stands in for it.
            Some(Shape::Hub(hub)) if !members.iter().any(|node| node.node == *hub) => {
                members.first().map_or(Shape::FullMesh, |node| Shape::Hub(node.node.clone()))
            }
            Some(shape) => shape.clone(),
            None => Shape::FullMesh,
        };
        let near = self.near.get(domain).into_iter().flatten();
        let gateways = near.filter_map(|other| {
            let pair = self.pairs.get(&ordered(domain, other))?;
            let link = self.links.get(pair.serving.as_ref()?)?;
            Some((other.clone(), link.end_in(domain)?.clone()))
        });
        let routes = self.declared.routes.iter();
        let here = routes.filter(|route| route.to.as_ref().is_none_or(|to| to.contains(domain)));
        let standing: BTreeSet<Pattern> = here.flat_map(|route| route.subjects.iter().cloned()).collect();
        Common {
            shape,
            segments: self.live.of(domain).cloned().collect(),
            gateways: gateways.collect(),
            standing: standing.into_iter().collect(),
            members,
        }
    }

    fn plan_node(&mut self, now: Moment, node: &NodeId, common: &Common) {
        let mut links = self.peer_links(node, common);
        links.extend(self.remote_links(node));
        let Some((session, state)) = self.nodes.get_mut(node).and_then(|state| Some((state.session?, state))) else {
            return;
        };
        let before = state.told.as_ref();
        let mut plan = Plan {
            generation: before.map(|(_, plan)| plan.generation).unwrap_or_default(),
            segments: common.segments.clone(),
            shape: common.shape.clone(),
            gateways: common.gateways.clone(),
            links,
            acl: Arc::clone(&self.declared.acl),
            standing: common.standing.clone(),
        };
        let epoch = self.epoch.unwrap_or_default();
        let same = before.is_some_and(|(_, before)| before.generation.epoch == epoch && **before == plan);
        if same && before.is_some_and(|(told, before)| *told == session || before.generation == state.acked) {
            return;
        }
        self.number += 1;
        plan.generation = Generation { epoch, number: self.number };
        let plan = Arc::new(plan);
        state.told = Some((session, Arc::clone(&plan)));
        state.attempts = 0;
        self.acts.push_back(Act::Tell { session, plan });
        self.at(now.after(RETELL_FIRST), Timer::Node(node.clone()));
    }

    /// The links of a node to its peers. Of two nodes the smaller dials, unless only the other can.
    fn peer_links(&self, node: &NodeId, common: &Common) -> Vec<LinkPlan> {
        let linked = |peer: &&NodeId| {
            *peer != node
                && match &common.shape {
                    Shape::FullMesh => true,
                    Shape::Hub(hub) => node.node == *hub || peer.node == *hub,
                }
        };
        let listens = |node: &NodeId| self.nodes.get(node).and_then(|state| state.endpoints.listen.clone());
        let peers = common.members.iter().filter(linked);
        let plans = peers.filter_map(|peer| {
            let (small, great) = if node < peer { (node, peer) } else { (peer, node) };
            let (dialer, address) = match (listens(great), listens(small)) {
                (Some(address), _) => (small, Some(address)),
                (None, address) => (great, address),
            };
            Some(LinkPlan {
                id: LinkId::parse(&format!("{}~{}", small.node, great.node)).ok()?,
                kind: LinkKind::Peer,
                domain: peer.domain.clone(),
                node: Some(peer.node.clone()),
                dial: address.filter(|_| dialer == node),
                key: self.keys.key(&format!("peer {} {} {}", node.domain, small.node, great.node)),
                segments: Vec::new(),
            })
        });
        plans.collect()
    }

    /// The links of a node to other domains: those that it is an end of, and those that it may take.
    fn remote_links(&self, node: &NodeId) -> Vec<LinkPlan> {
        let Some(state) = self.nodes.get(node) else { return Vec::new() };
        let may_take = |id: &&LinkId| {
            self.links.get(*id).is_some_and(|link| state.endpoints.external.as_ref() == Some(&link.address))
        };
        let offered = self.offered.get(&node.domain).into_iter().flatten().filter(may_take);
        let ids: BTreeSet<&LinkId> = state.holds.iter().chain(offered).collect();
        let plans = ids.into_iter().filter_map(|id| {
            let link = self.links.get(id)?;
            let dials = link.dialer == *node;
            let other = if dials { link.acceptor.as_ref().filter(|_| !link.shared) } else { Some(&link.dialer) };
            let (one, two) = &link.pair;
            Some(LinkPlan {
                id: id.clone(),
                kind: LinkKind::Remote,
                domain: if *one == node.domain { two.clone() } else { one.clone() },
                node: other.map(|other| other.node.clone()),
                dial: dials.then(|| Arc::clone(&link.address)),
                key: link.key,
                segments: self.pairs.get(&link.pair)?.segments.clone(),
            })
        });
        plans.collect()
    }

    /// A node applied a plan.
    pub(super) fn acked(&mut self, now: Moment, session: u64, generation: Generation, failed: Vec<(LinkId, Arc<str>)>) {
        let Some(node) = self.node_of(session) else { return };
        let Some(state) = self.nodes.get_mut(&node) else { return };
        state.acked = generation;
        let Some((_, told)) = state.told.clone().filter(|(_, told)| told.generation == generation) else { return };
        for link in told.links.iter().filter(|link| link.dial.is_some()) {
            if let Some(link) = self.links.get_mut(&link.id).filter(|link| link.state == LinkState::Pending) {
                link.state = LinkState::Connecting;
            }
        }
        self.links_failed(now, &node, failed);
    }

    /// Tells a plan again that was not acknowledged.
    pub(super) fn tell_again(&mut self, now: Moment, node: &NodeId) {
        let Some(state) = self.nodes.get_mut(node) else { return };
        let (Some(session), Some((told, plan))) = (state.session, state.told.clone()) else { return };
        if told != session || state.acked == plan.generation {
            return;
        }
        // The timer of an earlier plan says nothing of this one.
        state.attempts = state.attempts.saturating_add(1);
        let wait = back_off(RETELL_FIRST, state.attempts, RETELL_MAX);
        self.acts.push_back(Act::Tell { session, plan });
        self.at(now.after(wait), Timer::Node(node.clone()));
    }

    /// Tells a node its routes, where it is told any and they are not as they were.
    fn tell_routes(&mut self, node: &NodeId) {
        let Some(session) = self.nodes.get(node).filter(|state| state.routes).and_then(|state| state.session) else {
            return;
        };
        let routes: Arc<[_]> = self.routes_at(node).into();
        let Some(state) = self.nodes.get_mut(node) else { return };
        let told = state.told_routes.replace((session, Arc::clone(&routes)));
        if told.is_none_or(|(told, before)| told != session || before != routes) {
            self.acts.push_back(Act::Routes { session, routes });
        }
    }
}

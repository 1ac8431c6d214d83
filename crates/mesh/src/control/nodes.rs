//! The nodes of a controller: who is there, what each told, and who counts on whom.
//!
//! A node is **connected** while it has a control channel. Without one it is **away**, and stays as long as a
//! connected node reports a link to it. Then it is dropped.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::Moment;

use super::limits::{BALANCE, DOMAIN_NODES_MAX, NODES_MAX};
use super::{Act, Controller, Endpoints, Rejected, Report, RouteAt, Standing};
use crate::names::{LinkId, Name, NodeId};
use crate::plan::{Generation, Plan};

/// A node that registers.
pub(super) struct Registration {
    pub(super) session: u64,
    pub(super) node: NodeId,
    pub(super) endpoints: Endpoints,
    pub(super) plan: Generation,
    pub(super) routes: bool,
}

/// What is known of a node.
#[derive(Debug, Default)]
pub(super) struct NodeState {
    /// Its control channel.
    pub(super) session: Option<u64>,
    pub(super) endpoints: Endpoints,
    /// Whether it is told routes.
    pub(super) routes: bool,
    /// Unique by link: what it told to be up.
    pub(super) up: BTreeMap<LinkId, Standing>,
    /// Connected nodes that told of a link to it, each with the link.
    pub(super) held_by: BTreeSet<(NodeId, LinkId)>,
    /// The links to other domains that it is an end of.
    pub(super) holds: BTreeSet<LinkId>,
    /// What it was told last, and on which session.
    pub(super) told: Option<(u64, Arc<Plan>)>,
    pub(super) told_routes: Option<(u64, Arc<[RouteAt]>)>,
    /// What it applied.
    pub(super) acked: Generation,
    /// How often the plan was told without an answer.
    pub(super) attempts: u32,
}

impl NodeState {
    /// Whether it is counted on.
    pub(super) fn counts(&self) -> bool {
        self.session.is_some() || !self.held_by.is_empty()
    }
}

impl Controller {
    pub(super) fn registered(&mut self, now: Moment, registration: Registration, up: Vec<Standing>) {
        let Registration { session, node, endpoints, plan, routes } = registration;
        if let Err(why) = self.may_register(&node, plan) {
            self.acts.push_back(Act::Reject { session, why: why.clone() });
            if why == Rejected::Deposed {
                // It is one node that says so. Who leads is for the lease to say, not for a node.
                self.acts.push_back(Act::Report(Report::Deposed { node, epoch: plan.epoch }));
            }
            return;
        }
        let first = self.members.get(&node.domain).is_none_or(BTreeSet::is_empty);
        self.members.entry(node.domain.clone()).or_default().insert(node.clone());
        let state = self.nodes.entry(node.clone()).or_default();
        let moved = state.endpoints != endpoints;
        let fresh = state.told.is_none();
        (state.endpoints, state.routes, state.acked) = (endpoints, routes, plan);
        if let Some(old) = state.session.replace(session).filter(|old| *old != session) {
            self.sessions.remove(&old);
            self.acts.push_back(Act::Reject { session: old, why: Rejected::Superseded(node.clone()) });
        }
        self.sessions.insert(session, node.clone());
        self.settle(now, plan);
        if fresh {
            self.acts.push_back(Act::Report(Report::Joined(node.clone())));
        }
        if moved {
            self.endpoints_moved(&node);
        }
        if first && self.declared.open {
            self.expand(now);
        }
        self.link_report(now, session, up);
        self.hold_all(now, &node.domain);
        self.edges |= first;
        self.dirty.insert(node.domain);
        self.gather(now);
        self.balance_at = Some(now.after(BALANCE));
    }

    fn may_register(&self, node: &NodeId, plan: Generation) -> Result<(), Rejected> {
        let Some(epoch) = self.epoch else { return Err(Rejected::NotLeading) };
        if plan.epoch > epoch {
            return Err(Rejected::Deposed);
        }
        let known = self.declared.open || self.known.contains(&node.domain);
        if !known {
            return Err(Rejected::UnknownDomain(node.domain.clone()));
        }
        // Who is known by what others tell keeps nobody out.
        let full = self.connected(&node.domain).count() >= DOMAIN_NODES_MAX || self.sessions.len() >= NODES_MAX;
        if full && !self.nodes.contains_key(node) {
            return Err(Rejected::Full(node.domain.clone()));
        }
        Ok(())
    }

    /// A control channel ended. What the node told of its links is not known any longer.
    pub(super) fn gone(&mut self, now: Moment, session: u64, said: bool) {
        let Some(node) = self.sessions.remove(&session) else { return };
        let Some(state) = self.nodes.get_mut(&node) else { return };
        state.session = None;
        let up = core::mem::take(&mut state.up);
        let held = !state.held_by.is_empty();
        for up in up.into_values() {
            self.let_go(now, &node, &up.link, &up.peer);
        }
        if said || !held {
            self.drop_node(now, &node, said);
        } else {
            // Nothing new is given to it; what nobody reports of its links, others take over now.
            self.move_unheld(now, &node);
        }
        self.balance_at = Some(now.after(BALANCE));
    }

    /// A node does not tell of a link to a peer any longer.
    pub(super) fn let_go(&mut self, now: Moment, node: &NodeId, link: &LinkId, peer: &NodeId) {
        let Some(state) = self.nodes.get_mut(peer) else { return };
        state.held_by.remove(&(node.clone(), link.clone()));
        if !state.counts() {
            self.drop_node(now, peer, false);
        }
    }

    /// A node tells of a link to a peer, which may be one that was never heard of: it is one that an earlier controller
    /// led, and that has no channel to this one yet.
    pub(super) fn count_on(&mut self, node: &NodeId, up: &Standing) {
        let members = self.members.entry(up.peer.domain.clone()).or_default();
        if !self.nodes.contains_key(&up.peer) {
            if members.len() >= DOMAIN_NODES_MAX {
                return;
            }
            members.insert(up.peer.clone());
            let mut state = NodeState::default();
            if up.peer.domain == node.domain {
                state.endpoints.listen = up.dialled.clone();
            } else {
                state.endpoints.external = up.dialled.clone();
            }
            self.nodes.insert(up.peer.clone(), state);
            self.dirty.insert(up.peer.domain.clone());
            self.edges = true;
        }
        if let Some(state) = self.nodes.get_mut(&up.peer) {
            state.held_by.insert((node.clone(), up.link.clone()));
        }
    }

    /// Forgets a node: its links get other ends.
    pub(super) fn drop_node(&mut self, now: Moment, node: &NodeId, said: bool) {
        let Some(state) = self.nodes.remove(node) else { return };
        if let Some(members) = self.members.get_mut(&node.domain) {
            members.remove(node);
            if members.is_empty() {
                self.members.remove(&node.domain);
                self.edges = true;
            }
        }
        if let Some(session) = state.session {
            self.sessions.remove(&session);
        }
        for up in state.up.into_values() {
            self.let_go(now, node, &up.link, &up.peer);
        }
        self.acts.push_back(Act::Report(Report::Left { node: node.clone(), said }));
        if self.routes.drop_node(node) {
            self.routes_changed();
        }
        for link in state.holds {
            self.replace(now, &link, "a node is gone", &BTreeSet::from([node.clone()]));
        }
        self.dirty.insert(node.domain.clone());
        if self.declared.open && !self.members.contains_key(&node.domain) {
            self.expand(now);
        }
        self.mend(now);
    }

    /// Turns away the nodes of domains that are not among these.
    pub(super) fn turn_away(&mut self, now: Moment, domains: &BTreeSet<Name>) {
        let gone: Vec<_> = self.nodes.keys().filter(|node| !domains.contains(&node.domain)).cloned().collect();
        for node in gone {
            if let Some(session) = self.nodes.get(&node).and_then(|state| state.session) {
                let why = Rejected::UnknownDomain(node.domain.clone());
                self.acts.push_back(Act::Reject { session, why });
            }
            self.drop_node(now, &node, false);
        }
    }

    /// The node of a session.
    pub(super) fn node_of(&self, session: u64) -> Option<NodeId> {
        self.sessions.get(&session).cloned()
    }

    /// The connected nodes of a domain.
    pub(super) fn connected<'a>(&'a self, domain: &Name) -> impl Iterator<Item = (&'a NodeId, &'a NodeState)> {
        let members = self.members.get(domain).into_iter().flatten();
        let states = members.filter_map(|node| Some((node, self.nodes.get(node)?)));
        states.filter(|(_, state)| state.session.is_some())
    }
}

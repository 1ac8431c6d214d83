//! Routes: who announced which names, and where that leads from each domain that reaches them.
//!
//! A name that a node of a domain announces is a template: it stands for one route at each domain that reaches that
//! one, in each segment that both are in, over the link towards it on the tree of the domain that wants it. Nodes of
//! our own make find this by interest; those of a foreign make are told.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use event::{Moment, Pattern};

use super::limits::ANNOUNCED_MAX;
use super::links::ordered;
use super::{Controller, RouteAt, RouteView};
use crate::names::{Name, NodeId};
use crate::segment::Segments;
use crate::tree::{Graph, Tree};

/// The names that were announced.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Unique by name and domain: the nodes that announce it there.
    wanted: BTreeMap<Pattern, BTreeMap<Name, BTreeSet<NodeId>>>,
    /// Unique by node: what it announces.
    by_node: BTreeMap<NodeId, BTreeSet<Pattern>>,
}

impl Routes {
    /// Says whether a domain wants a name that it did not want before, or not any longer.
    fn set(&mut self, node: &NodeId, name: Pattern, wanted: bool) -> bool {
        let names = self.by_node.entry(node.clone()).or_default();
        if wanted {
            if names.len() >= ANNOUNCED_MAX || !names.insert(name.clone()) {
                return false;
            }
            let nodes = self.wanted.entry(name).or_default().entry(node.domain.clone()).or_default();
            nodes.insert(node.clone());
            nodes.len() == 1
        } else {
            names.remove(&name) && self.unset(node, &name)
        }
    }

    fn unset(&mut self, node: &NodeId, name: &Pattern) -> bool {
        let Some(domains) = self.wanted.get_mut(name) else { return false };
        let Some(nodes) = domains.get_mut(&node.domain) else { return false };
        nodes.remove(node);
        if !nodes.is_empty() {
            return false;
        }
        domains.remove(&node.domain);
        if domains.is_empty() {
            self.wanted.remove(name);
        }
        true
    }

    /// Forgets what a node announced; says whether that changes anything.
    pub(super) fn drop_node(&mut self, node: &NodeId) -> bool {
        let names = self.by_node.remove(node).unwrap_or_default();
        // Each is taken back, whatever the others change.
        let changed = names.iter().filter(|name| self.unset(node, name)).count();
        changed > 0
    }
}

/// Trees that were asked for, by segment and root.
#[derive(Default)]
struct Trees(BTreeMap<(Name, Name), Option<Tree>>);

impl Trees {
    /// The domain towards `to` from `from`, in each segment of both.
    fn towards<'a>(&'a mut self, segments: &'a Segments, from: &'a Name, to: &'a Name) -> Vec<(Name, Name)> {
        let both = segments.of(to).filter(|segment| segment.domains.binary_search(from).is_ok());
        let ways = both.filter_map(|segment| {
            let tree = self
                .0
                .entry((segment.name.clone(), to.clone()))
                .or_insert_with(|| Graph::new(&segment.domains, &segment.edges).tree(to));
            Some((segment.name.clone(), tree.as_ref()?.parent(from)?.clone()))
        });
        ways.collect()
    }
}

impl Controller {
    pub(super) fn announced(&mut self, now: Moment, session: u64, name: Pattern, wanted: bool) {
        let Some(node) = self.node_of(session) else { return };
        if self.routes.set(&node, name, wanted) {
            self.routes_changed();
            self.gather(now);
        }
    }

    /// Nodes that are told routes may be due for others.
    pub(super) fn routes_changed(&mut self) {
        let told = self.nodes.iter().filter(|(_, state)| state.routes && state.session.is_some());
        self.dirty.extend(told.map(|(node, _)| node.domain.clone()));
    }

    /// The routes at a node: those over the links that serve and that it is an end of. Sorted.
    pub fn routes_at(&self, node: &NodeId) -> Vec<RouteAt> {
        let mut trees = Trees::default();
        let mut routes = Vec::new();
        for (name, to) in self.leading() {
            for (segment, next) in trees.towards(&self.live, &node.domain, to) {
                let pair = self.pairs.get(&ordered(&node.domain, &next));
                let Some(link) = pair.and_then(|pair| pair.serving.clone()) else { continue };
                let ours = self.links.get(&link).is_some_and(|link| link.end_in(&node.domain) == Some(node));
                if ours {
                    routes.push(RouteAt { name: name.clone(), segment, to: to.clone(), link });
                }
            }
        }
        routes.sort_unstable();
        routes.dedup();
        routes
    }

    /// All routes: what was announced and declared, expanded over the domains that reach it. At most so many.
    pub(super) fn routes_view(&self, most: usize) -> Vec<RouteView> {
        let mut trees = Trees::default();
        let mut views = Vec::new();
        let domains: Vec<&Name> = self.live.domains().collect();
        for (name, to) in self.leading() {
            for from in domains.iter().filter(|from| **from != to) {
                for (segment, next) in trees.towards(&self.live, from, to) {
                    if views.len() >= most {
                        return views;
                    }
                    let pair = self.pairs.get(&ordered(from, &next));
                    let id = pair.and_then(|pair| pair.serving.clone());
                    let link = id.as_ref().and_then(|id| self.links.get(id));
                    views.push(RouteView {
                        name: name.clone(),
                        from: Name::clone(from),
                        at: link.and_then(|link| link.end_in(from)).cloned(),
                        next,
                        to: to.clone(),
                        segment,
                        state: link.map(|link| link.state.clone()).unwrap_or_default(),
                        link: id,
                    });
                }
            }
        }
        views
    }

    /// Each name with each domain that wants it.
    fn leading(&self) -> Vec<(&Pattern, &Name)> {
        let announced = self.routes.wanted.iter();
        let announced = announced.flat_map(|(name, domains)| domains.keys().map(move |domain| (name, domain)));
        let declared = self.declared.routes.iter().flat_map(|route| {
            let to = self.known.iter().filter(move |domain| route.to.as_ref().is_none_or(|to| to.contains(*domain)));
            to.flat_map(move |domain| route.subjects.iter().map(move |name| (name, domain)))
        });
        let mut all: Vec<_> = announced.chain(declared).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The names that nodes announced, each with the domains that want it.
    pub fn announced_names(&self) -> impl Iterator<Item = (&Pattern, impl Iterator<Item = &Name>)> {
        self.routes.wanted.iter().map(|(name, domains)| (name, domains.keys()))
    }
}

/// Routes that a status shows at most.
pub(super) const ROUTES_SHOWN_MAX: usize = 10_000;

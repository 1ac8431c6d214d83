//! Where things go by a plan: next domains, next nodes, and what may come from whom.
//!
//! From a domain C what is for a domain T goes to C's parent on the tree of T; what T wants is told the same way, the
//! other way round. So both take one path, and who sees the wish can be reached by it.
//!
//! Costs: to make one takes a tree for each domain of each segment; segments that are as before are taken over.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::names::{Name, NodeId};
use crate::plan::{Plan, SegmentPlan, Shape};
use crate::tree::{Distance, Graph, Tree};

#[derive(Debug)]
struct Part {
    plan: Arc<SegmentPlan>,
    trees: BTreeMap<Name, Tree>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Routes {
    own: NodeId,
    shape: Shape,
    gateways: BTreeMap<Name, Name>,
    parts: BTreeMap<Name, Arc<Part>>,
}

impl Routes {
    /// The routes of a plan. `before` saves work.
    pub(crate) fn new(own: &NodeId, plan: &Plan, before: Option<&Routes>) -> Self {
        let mut parts = BTreeMap::new();
        for segment in plan.segments.iter().filter(|segment| segment.domains.contains(&own.domain)) {
            let kept = before.and_then(|before| before.parts.get(&segment.name)).filter(|part| part.plan == *segment);
            let part = kept.map_or_else(|| Arc::new(Part::new(segment)), Arc::clone);
            parts.insert(segment.name.clone(), part);
        }
        let ours = plan.gateways.iter().filter(|(_, node)| node.domain == own.domain);
        let gateways = ours.map(|(domain, node)| (domain.clone(), node.node.clone())).collect();
        Routes { own: own.clone(), shape: plan.shape.clone(), gateways, parts }
    }

    /// Whether a domain is in a segment that the own domain is in too.
    pub(crate) fn is_in(&self, domain: &Name, segment: &str) -> bool {
        self.parts.get(segment).is_some_and(|part| part.trees.contains_key(domain))
    }

    /// The domain that what is for another goes to next.
    pub(crate) fn next_domain(&self, to: &Name, segment: &str) -> Option<&Name> {
        self.tree(to, segment)?.parent(&self.own.domain)
    }

    /// How far a domain is from the own.
    pub(crate) fn distance(&self, to: &Name, segment: &str) -> Option<Distance> {
        self.tree(to, segment)?.distance(&self.own.domain)
    }

    /// Whether a neighbour sends what is for a domain by way of the own domain: so it is to hear what that wants.
    pub(crate) fn feeds(&self, neighbour: &Name, to: &Name, segment: &str) -> bool {
        self.tree(to, segment).and_then(|tree| tree.parent(neighbour)) == Some(&self.own.domain)
    }

    /// Whether the way from one domain to another leads from a neighbour to the own domain.
    pub(crate) fn passes(&self, from: &Name, neighbour: &Name, to: &Name, segment: &str) -> bool {
        self.feeds(neighbour, to, segment) && self.leads(from, neighbour, to, segment)
    }

    /// Whether the way from one domain to another leads through the own domain, or ends or begins there.
    pub(crate) fn touches(&self, from: &Name, to: &Name, segment: &str) -> bool {
        self.leads(from, &self.own.domain, to, segment)
    }

    fn leads(&self, from: &Name, through: &Name, to: &Name, segment: &str) -> bool {
        let Some(tree) = self.tree(to, segment) else { return false };
        let mut at = tree.distance(from).map(|_| from);
        while let Some(domain) = at {
            if domain == through {
                return true;
            }
            at = tree.parent(domain);
        }
        false
    }

    /// The node of the own domain that holds the link to a neighbour domain. Where no plan says, it is this one.
    pub(crate) fn gateway<'a>(&'a self, neighbour: &Name) -> &'a Name {
        self.gateways.get(neighbour).unwrap_or(&self.own.node)
    }

    /// The node that what is for another node of the own domain goes to next.
    pub(crate) fn next_node<'a>(&'a self, to: &'a Name) -> &'a Name {
        match &self.shape {
            Shape::Hub(hub) if *hub != self.own.node => hub,
            _ => to,
        }
    }

    /// Whether this node relays between the nodes of its domain.
    pub(crate) fn is_hub(&self) -> bool {
        matches!(&self.shape, Shape::Hub(hub) if *hub == self.own.node)
    }

    /// The hub, where another node is that.
    pub(crate) fn other_hub(&self) -> Option<&Name> {
        match &self.shape {
            Shape::Hub(hub) if *hub != self.own.node => Some(hub),
            _ => None,
        }
    }

    /// The segments of the own domain, in order.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Name> {
        self.parts.keys()
    }

    fn tree(&self, root: &Name, segment: &str) -> Option<&Tree> {
        self.parts.get(segment)?.trees.get(root)
    }
}

impl Part {
    fn new(plan: &Arc<SegmentPlan>) -> Self {
        let graph = Graph::new(&plan.domains, &plan.edges);
        let trees = graph.names().iter().filter_map(|name| Some((name.clone(), graph.tree(name)?))).collect();
        Part { plan: Arc::clone(plan), trees }
    }
}

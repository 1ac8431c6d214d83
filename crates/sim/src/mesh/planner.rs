//! A controller of few words: whom it holds for alive it gives a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::acl::AclRule;
use mesh::names::{LinkId, Name, NodeId};
use mesh::plan::{Generation, LinkKind, LinkPlan, Plan, SegmentPlan, Shape};

use super::story::World;

/// What the plans of one generation are made of.
pub struct Truth<'a> {
    /// The world.
    pub world: &'a World,
    /// The segments.
    pub segments: &'a [Arc<SegmentPlan>],
    /// The rules.
    pub rules: &'a Arc<[AclRule]>,
    /// By node: whether it is held for alive.
    pub alive: &'a [bool],
    /// Which generation.
    pub generation: u64,
}

/// A key that both ends of a link are given.
fn key(id: &str) -> [u8; 32] {
    let mut key = [0; 32];
    for (place, byte) in id.bytes().enumerate() {
        key[place % 32] ^= byte;
    }
    key
}

impl Truth<'_> {
    /// The plan of each node.
    pub fn plans(&self) -> Vec<Plan> {
        let gateways = self.gateways();
        (0..self.world.nodes.len()).map(|node| self.plan(node, &gateways)).collect()
    }

    /// By pair of neighbour domains, the smaller first: the node of each that holds the link, and what that carries.
    fn gateways(&self) -> BTreeMap<(Name, Name), (usize, usize, Vec<Name>)> {
        let mut pairs: BTreeMap<(Name, Name), Vec<Name>> = BTreeMap::new();
        for segment in self.segments {
            for (one, two, _) in &segment.edges {
                let pair = (one.min(two).clone(), one.max(two).clone());
                pairs.entry(pair).or_default().push(segment.name.clone());
            }
        }
        let mut turn = 0;
        let mut chosen = BTreeMap::new();
        for ((one, two), segments) in pairs {
            let mut pick = |domain: &Name| {
                let nodes = &self.world.domains.iter().find(|each| each.name == *domain)?.nodes;
                let alive: Vec<usize> = nodes.iter().copied().filter(|node| self.alive[*node]).collect();
                turn += 1;
                let all = if alive.is_empty() { nodes.clone() } else { alive };
                Some(all[turn % all.len()])
            };
            if let (Some(here), Some(there)) = (pick(&one), pick(&two)) {
                chosen.insert((one, two), (here, there, segments));
            }
        }
        chosen
    }

    fn plan(&self, node: usize, gateways: &BTreeMap<(Name, Name), (usize, usize, Vec<Name>)>) -> Plan {
        let own = &self.world.nodes[node];
        let mut plan = Plan {
            generation: Generation { epoch: 1, number: self.generation },
            segments: self.segments.iter().filter(|segment| segment.domains.contains(&own.domain)).cloned().collect(),
            acl: Arc::clone(self.rules),
            links: self.peers(node),
            ..Plan::default()
        };
        let domain = self.world.domains.iter().find(|domain| domain.name == own.domain);
        if let Some(hub) = domain.and_then(|domain| domain.hub) {
            plan.shape = Shape::Hub(self.world.nodes[hub].node.clone());
        }
        for ((one, two), (here, there, segments)) in gateways {
            let ours = if *one == own.domain {
                (two, *here, *there)
            } else if *two == own.domain {
                (one, *there, *here)
            } else {
                continue;
            };
            let (neighbour, gateway, other) = ours;
            plan.gateways.push((neighbour.clone(), self.world.nodes[gateway].clone()));
            if gateway == node {
                let peer = &self.world.nodes[other];
                plan.links.push(self.link(own, peer, LinkKind::Remote, segments));
            }
        }
        plan.gateways.sort();
        plan
    }

    fn peers(&self, node: usize) -> Vec<LinkPlan> {
        let Some(domain) = self.world.domains.iter().find(|domain| domain.nodes.contains(&node)) else {
            return Vec::new();
        };
        let linked = |other: &&usize| **other != node && domain.hub.is_none_or(|hub| hub == node || hub == **other);
        let link = |other: &usize| self.link(&self.world.nodes[node], &self.world.nodes[*other], LinkKind::Peer, &[]);
        domain.nodes.iter().filter(linked).map(link).collect()
    }

    fn link(&self, own: &NodeId, peer: &NodeId, kind: LinkKind, segments: &[Name]) -> LinkPlan {
        let id = format!("{}|{}", own.min(peer), own.max(peer));
        let dials = own < peer || (self.world.both_dial && kind == LinkKind::Peer);
        let hidden = self.world.shared_ingress && kind == LinkKind::Remote && dials;
        LinkPlan {
            key: key(&id),
            id: LinkId::parse(&id).expect("two node ids are a link's id"),
            kind,
            domain: peer.domain.clone(),
            node: if hidden { None } else { Some(peer.node.clone()) },
            dial: dials.then(|| Arc::from(peer.to_string())),
            segments: segments.to_vec(),
        }
    }
}

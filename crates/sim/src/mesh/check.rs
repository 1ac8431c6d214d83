//! A simple model of who is to get a message when all is at rest, and what must never be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh::acl::{Acl, AclRule, Asker};
use mesh::names::Name;
use mesh::plan::SegmentPlan;
use mesh::wire::{Source, Wish};

use super::body::{Body, Got};
use super::story::World;

/// What holds, for the model.
pub struct Model<'a> {
    /// The world.
    pub world: &'a World,
    /// The segments.
    pub segments: &'a [Arc<SegmentPlan>],
    /// The rules.
    pub rules: &'a Arc<[AclRule]>,
    /// The nodes.
    pub bodies: &'a [Body],
}

/// Whether two domains are in a segment together.
pub fn share(segments: &[Arc<SegmentPlan>], one: &Name, two: &Name) -> bool {
    one == two || segments.iter().any(|segment| segment.domains.contains(one) && segment.domains.contains(two))
}

/// Whether there is a way between two domains within one segment.
fn joined(segments: &[Arc<SegmentPlan>], one: &Name, two: &Name) -> bool {
    one == two || segments.iter().any(|segment| flood(segment, one).contains(two))
}

fn flood<'a>(segment: &'a SegmentPlan, from: &Name) -> BTreeSet<&'a Name> {
    let mut reached: BTreeSet<&Name> = segment.domains.iter().filter(|domain| *domain == from).collect();
    loop {
        let before = reached.len();
        for (one, two, _) in &segment.edges {
            if reached.contains(one) || reached.contains(two) {
                reached.extend([one, two]);
            }
        }
        if reached.len() == before {
            return reached;
        }
    }
}

impl Model<'_> {
    /// Compares what was got of one message with what is to be; `Err` says what is wrong.
    pub fn check(&self, from: usize, subject: &str, every: bool, got: &BTreeMap<Got, u64>) -> Result<(), String> {
        let mut direct = BTreeSet::new();
        let mut groups: BTreeMap<Arc<str>, BTreeSet<usize>> = BTreeMap::new();
        for domain in &self.world.domains {
            let wanted = self.wanted_by(from, &domain.name, subject);
            for node in &domain.nodes {
                let own = self.bodies[*node].wanted(subject);
                if own.direct && wanted.contains(&None) {
                    direct.insert(*node);
                }
                for queue in own.queues.into_iter().filter(|queue| wanted.contains(&Some(Arc::clone(queue)))) {
                    groups.entry(queue).or_default().insert(*node);
                }
            }
        }
        let mut left = got.clone();
        for node in direct {
            let number = left.keys().find(|each| each.node == node && each.queue.is_none()).cloned();
            match number.and_then(|key| left.remove(&key)) {
                Some(1) => {}
                other => return Err(format!("node {node} got it {} times", other.unwrap_or(0))),
            }
        }
        for (queue, members) in groups {
            let keys: Vec<Got> = left.keys().filter(|each| each.queue.as_ref() == Some(&queue)).cloned().collect();
            let took: Vec<(usize, u64)> = keys.iter().map(|key| (key.node, left.remove(key).unwrap_or(0))).collect();
            let right = match every {
                true => took == members.iter().map(|node| (*node, 1)).collect::<Vec<_>>(),
                false => matches!(took.as_slice(), [(node, 1)] if members.contains(node)),
            };
            if !right {
                return Err(format!("group {queue} of {members:?}, every {every}: got by {took:?}"));
            }
        }
        if left.is_empty() { Ok(()) } else { Err(format!("nobody was to get {left:?}")) }
    }

    /// Compares what each node knows of others' wishes with what they are: no more, no less; `Err` says what is wrong.
    pub fn check_known(&self) -> Result<(), String> {
        for body in self.bodies {
            let Some(node) = &body.node else { continue };
            let own = &self.world.nodes[body.number];
            let mut expected = BTreeMap::new();
            for domain in &self.world.domains {
                if domain.name == own.domain {
                    for other in domain.nodes.iter().filter(|other| **other != body.number) {
                        let source = Source::Node(self.world.nodes[*other].node.clone());
                        expected.insert(source, self.bodies[*other].wishes.clone());
                    }
                    continue;
                }
                let acl = Acl::new(Arc::clone(self.rules));
                let asker = Asker { domain: &domain.name, principal: None };
                let wishes = domain.nodes.iter().flat_map(|node| &self.bodies[*node].wishes);
                let told: BTreeSet<Wish> =
                    wishes.filter(|wish| acl.may_listen(&asker, &wish.pattern).is_ok()).cloned().collect();
                for segment in self.segments.iter().filter(|each| flood(each, &own.domain).contains(&domain.name)) {
                    let source = Source::Domain { domain: domain.name.clone(), segment: segment.name.clone() };
                    expected.insert(source, told.clone());
                }
            }
            let known = node.sources().into_iter().filter(|view| view.conn.is_some() && view.wishes > 0);
            let known: BTreeMap<Source, BTreeSet<Wish>> = known
                .map(|view| (view.source.clone(), node.wishes(&view.source, 1_000).0.into_iter().collect()))
                .collect();
            expected.retain(|_, wishes| !wishes.is_empty());
            if known != expected {
                return Err(format!("node {} knows {known:?}, not {expected:?}", body.number));
            }
        }
        Ok(())
    }

    /// Whether anybody in a domain is to get messages of a subject from a node, directly and by group.
    fn wanted_by(&self, from: usize, domain: &Name, subject: &str) -> BTreeSet<Option<Arc<str>>> {
        let origin = &self.world.nodes[from].domain;
        let acl = Acl::new(Arc::clone(self.rules));
        let asker = |domain| Asker { domain, principal: None };
        let inner = origin == domain;
        let may = acl.may_publish(&asker(origin), subject).is_ok() && acl.may_hear(&asker(domain), subject).is_ok();
        if !(inner || (may && joined(self.segments, origin, domain))) {
            return BTreeSet::new();
        }
        let told = |wish: &&Wish| {
            let admitted = inner || acl.may_listen(&asker(domain), &wish.pattern).is_ok();
            admitted && wish.pattern.matches(subject)
        };
        let nodes = self.world.domains.iter().filter(|each| each.name == *domain).flat_map(|each| &each.nodes);
        nodes.flat_map(|node| self.bodies[*node].wishes.iter()).filter(told).map(|wish| wish.queue.clone()).collect()
    }
}

//! Messages about nodes become what holds.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::fold::{At, positioned_check, positions};
use super::{Place, State, Touch, Unfit};
use crate::address::lower;
use crate::limits::CHECKS_MAX;
use crate::model::{Check, Health, InstanceKey, Node};
use crate::stored::{self, NodeRecord, Owner};

impl State {
    pub(super) fn fold_node(
        &mut self,
        at: At,
        low: &str,
        payload: &[u8],
        touched: &mut Vec<Touch>,
    ) -> Result<(), Unfit> {
        let mut record: NodeRecord<'_> = stored::read(payload)?;
        if record.checks.len() > CHECKS_MAX {
            return Err("it has too many checks".into());
        }
        if record.node.node.0.is_empty() {
            record.node.node = low.into();
        }
        if *lower(&record.node.node.0) != *low {
            return Err("Node is not that of its subject".into());
        }
        let low = self.texts.take(low);
        let datacenter = Arc::clone(&self.datacenter);
        let node = core::mem::take(&mut record.node).into_node(&datacenter, &mut self.texts);
        // One that was implied comes to be with its first record.
        let old = self.places.get(&low).filter(|place| !place.implied);
        let (old_node, old_checks) = old.map(|place| (Arc::clone(&place.node), place.checks.clone())).unzip();
        let owner = Owner { node: &Arc::clone(&node.node), service: None };
        let mut checks: Vec<Arc<Check>> = Vec::with_capacity(record.checks.len());
        for record in record.checks {
            let check = record.into_check(&owner, &mut self.texts)?;
            if checks.iter().any(|each| each.check_id == check.check_id) {
                return Err("two of its checks have one CheckID".into());
            }
            let was = old_checks.iter().flatten().find(|was| was.check_id == check.check_id);
            checks.push(positioned_check(check, was, at));
        }
        let node = positioned_node(node, old_node.as_ref(), at);
        let node_same = old_node.is_some_and(|old| Arc::ptr_eq(&old, &node));
        let checks_same = old_checks.is_some_and(|old| old == checks);
        self.put_node(at, &low, &node, checks, (node_same, checks_same), touched);
        Ok(())
    }

    fn put_node(
        &mut self,
        at: At,
        low: &Arc<str>,
        node: &Arc<Node>,
        checks: Vec<Arc<Check>>,
        (node_same, checks_same): (bool, bool),
        touched: &mut Vec<Touch>,
    ) {
        let place = self.places.entry(Arc::clone(low)).or_default();
        place.position = at.position;
        place.implied = false;
        if node_same && checks_same {
            return;
        }
        self.runs.exchange(low, &place.checks, &checks);
        let old_checks = core::mem::replace(&mut place.checks, checks.clone());
        place.own(&Arc::default(), &old_checks, &checks);
        place.node = Arc::clone(node);
        touched.push(Touch::Node(Arc::clone(low)));
        if !node_same {
            place.changed = at.position;
            self.nodes.put(at.position, Arc::clone(low), Arc::clone(node));
            touched.push(Touch::Nodes);
        }
        if !checks_same {
            place.checks_changed = at.position;
            self.checks_changed = at.position;
            touched.push(Touch::Checks);
        }
        self.restate_instances(at, low, !checks_same, touched);
    }

    /// The node of some instances is another, or its checks are: each is told again.
    fn restate_instances(&mut self, at: At, low: &Arc<str>, checks_changed: bool, touched: &mut Vec<Touch>) {
        let Some(place) = self.places.get_mut(low) else { return };
        for (id, seat) in &mut place.instances {
            let Some(group) = self.groups.get_mut(&seat.service) else { continue };
            let old = &seat.health;
            let checks = place.checks.iter().chain(old.own_checks()).cloned().collect();
            let (service, position) = (Arc::clone(&old.service), old.position);
            seat.health = Arc::new(Health { node: Arc::clone(&place.node), service, checks, position });
            let key = InstanceKey { node: Arc::clone(low), id: Arc::clone(id) };
            group.table.put(at.position, key, Arc::clone(&seat.health));
            if checks_changed {
                group.checks_changed = at.position;
            }
            let touch = Touch::Service(Arc::clone(&seat.service));
            if touched.last() != Some(&touch) {
                touched.push(touch);
            }
        }
    }

    /// A node's record went. Instances that are still there keep it as a name.
    pub(super) fn remove_node(&mut self, at: At, low: &str, touched: &mut Vec<Touch>) {
        let Some((low, mut place)) = self.places.remove_entry(low) else {
            self.nodes.restore_removal(at.position, low.into());
            self.checks_changed = at.position;
            return;
        };
        if place.implied {
            // The stream is read again, and the record was there once: what it may have changed counts as changed.
            (place.changed, place.checks_changed, self.checks_changed) = (at.position, at.position, at.position);
            self.nodes.put(at.position, Arc::clone(&low), Arc::clone(&place.node));
            self.places.insert(Arc::clone(&low), place);
            self.restate_instances(at, &low, true, &mut Vec::new());
            return;
        }
        if !place.checks.is_empty() {
            self.checks_changed = at.position;
            touched.push(Touch::Checks);
        }
        self.runs.exchange(&low, &place.checks, []);
        touched.push(Touch::Node(Arc::clone(&low)));
        touched.push(Touch::Nodes);
        self.nodes.remove(at.position, &*low);
        let own = core::mem::take(&mut place.checks);
        place.own(&Arc::default(), &own, []);
        if place.instances.is_empty() {
            return;
        }
        let name = Arc::clone(&place.node.node);
        self.imply(at, &low, &name, touched);
        if let Some(implied) = self.places.get_mut(&low) {
            *implied = Place {
                instances: place.instances,
                owners: place.owners,
                superseded: place.superseded,
                checks_changed: if own.is_empty() { place.checks_changed } else { at.position },
                node: Arc::clone(&implied.node),
                implied: true,
                position: 0,
                checks: Vec::new(),
                changed: at.position,
            };
        }
        self.restate_instances(at, &low, !own.is_empty(), touched);
    }

    /// A node of which nothing but instances was known goes with the last of them.
    pub(super) fn release_place(&mut self, at: At, low: &Arc<str>, touched: &mut Vec<Touch>) {
        let goes = self.places.get(low).is_some_and(|place| place.implied && place.instances.is_empty());
        if goes {
            self.places.remove(low);
            self.nodes.remove(at.position, &**low);
            touched.push(Touch::Nodes);
        }
    }
}

fn positioned_node(mut node: Node, old: Option<&Arc<Node>>, at: At) -> Arc<Node> {
    if let Some(old) = old.filter(|old| old.same(&node)) {
        return Arc::clone(old);
    }
    let said = (node.created, node.changed);
    let was = old.map(|old| (old.created, old.changed));
    (node.created, node.changed) = positions(said, was, false, at.position);
    Arc::new(node)
}

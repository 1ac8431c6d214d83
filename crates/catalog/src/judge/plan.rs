//! A node with all that is on it, as it is to be: changed in memory, then compared with what is.
//!
//! A check belongs to the node or to one instance, and its id is unique on the node: put elsewhere, it goes from where
//! it was.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::Moment;

use super::{record, removal};
use crate::address::{Address, lower};
use crate::command::Refused;
use crate::limits::{CHECKS_MAX, RECORD_BYTES_MAX};
use crate::model::{Check, Health, Node, Service, Status};
use crate::state::State;
use crate::stored::{self, CheckRecord, InstanceRecord, NodePart, NodeRecord, ServiceRecord};
use crate::write::Write;

/// An instance as it is to be.
#[derive(Debug, Clone)]
struct Planned {
    service: Service,
    checks: Vec<Check>,
}

/// See the module's head.
pub(super) struct Plan<'a> {
    state: &'a State,
    now: Moment,
    low: String,
    name: Arc<str>,
    /// The node's record; `None`: it goes, or there is none.
    node: Option<Node>,
    checks: Vec<Check>,
    /// Those that are looked at; `None`: it goes.
    instances: BTreeMap<Arc<str>, Option<Planned>>,
}

fn own(health: &Health) -> Vec<Check> {
    health.own_checks().map(|check| (**check).clone()).collect()
}

impl<'a> Plan<'a> {
    pub(super) fn new(state: &'a State, node: &str, now: Moment) -> Self {
        let found = state.node(node);
        let is_told = found.filter(|found| !found.is_implied());
        Plan {
            state,
            now,
            low: lower(node).into_owned(),
            name: found.map_or_else(|| node.into(), |found| Arc::clone(&found.node().node)),
            node: is_told.map(|found| (**found.node()).clone()),
            checks: found
                .map(|found| found.own_checks().iter().map(|check| (**check).clone()).collect())
                .unwrap_or_default(),
            instances: BTreeMap::new(),
        }
    }

    /// The node's record.
    pub(super) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    pub(super) fn put_node(&mut self, node: Node) {
        self.name = Arc::clone(&node.node);
        self.node = Some(node);
    }

    fn load(&mut self, id: &str) -> Option<&mut Planned> {
        if !self.instances.contains_key(id) {
            let health = self.state.instance(&self.low, id)?;
            let planned = Planned { service: (*health.service).clone(), checks: own(health) };
            self.instances.insert(Arc::clone(&health.service.id), Some(planned));
        }
        self.instances.get_mut(id)?.as_mut()
    }

    /// An instance as it is to be.
    pub(super) fn service(&mut self, id: &str) -> Option<&Service> {
        self.load(id).map(|planned| &planned.service)
    }

    pub(super) fn put_service(&mut self, service: Service) {
        let checks = self.load(&service.id).map(|planned| core::mem::take(&mut planned.checks)).unwrap_or_default();
        self.instances.insert(Arc::clone(&service.id), Some(Planned { service, checks }));
    }

    /// Takes out the checks of an instance that are not named.
    pub(super) fn keep_checks(&mut self, id: &str, kept: impl Fn(&Check) -> bool) {
        if let Some(planned) = self.load(id) {
            planned.checks.retain(|check| kept(check));
        }
    }

    pub(super) fn remove_instance(&mut self, id: &str) {
        if let Some(health) = self.state.instance(&self.low, id) {
            self.instances.insert(Arc::clone(&health.service.id), None);
        }
    }

    pub(super) fn remove_all(&mut self) {
        if let Some(node) = self.state.node(&self.low) {
            for health in node.instances() {
                self.instances.insert(Arc::clone(&health.service.id), None);
            }
        }
        self.node = None;
        self.checks.clear();
    }

    /// A check of an instance, or of the node, that nothing is known of yet.
    pub(super) fn new_check(&mut self, id: &str, name: &str, service: &str) -> Check {
        let of = self.load(service).map(|planned| {
            let service = &planned.service;
            (Arc::clone(&service.id), Arc::clone(&service.service), Arc::clone(&service.tags))
        });
        let (service_id, service_name, service_tags) = of.unwrap_or_default();
        Check {
            node: Arc::clone(&self.name),
            check_id: id.into(),
            name: name.into(),
            status: Status::Critical,
            notes: Arc::default(),
            output: Arc::default(),
            service_id,
            service_name,
            service_tags,
            kind: Arc::default(),
            definition: None,
            agent: Arc::default(),
            since: Moment::EPOCH,
            recorded: Moment::EPOCH,
            created: 0,
            changed: 0,
        }
    }

    /// A check is there, of the instance that it names or of the node, in place of any with its id.
    pub(super) fn put_check(&mut self, check: Check) {
        let service = Arc::clone(&check.service_id);
        if self.state.check(&self.low, &check.check_id).is_some_and(|old| old.service_id != service) {
            let id = Arc::clone(&check.check_id);
            self.remove_check(&id);
        }
        let checks = if service.is_empty() {
            &mut self.checks
        } else {
            match self.load(&service) {
                Some(planned) => &mut planned.checks,
                None => return,
            }
        };
        match checks.iter_mut().find(|each| each.check_id == check.check_id) {
            Some(place) => *place = check,
            None => checks.push(check),
        }
    }

    pub(super) fn remove_check(&mut self, id: &str) {
        self.checks.retain(|check| *check.check_id != *id);
        let owner = self.state.check(&self.low, id).map(|check| Arc::clone(&check.service_id));
        if let Some(owner) = owner.filter(|owner| !owner.is_empty()) {
            self.keep_checks(&owner, |check| *check.check_id != *id);
        }
    }

    /// What must be recorded for it to be so.
    pub(super) fn writes(mut self) -> Result<Vec<Write>, Refused> {
        let mut writes = Vec::new();
        let instances = core::mem::take(&mut self.instances);
        let node_first = self.node.is_some() || !self.checks.is_empty();
        if node_first {
            writes.extend(self.node_write()?);
        }
        for (id, planned) in &instances {
            self.instance_writes(id, planned.as_ref(), &mut writes)?;
        }
        if !node_first && let Some(last) = self.state.node_position(&self.low) {
            writes.push(removal(
                self.state,
                &Address::Node(self.low.as_str().into()),
                "catalog.node.removed",
                last,
                self.now,
            )?);
        }
        Ok(writes)
    }

    fn node_write(&mut self) -> Result<Option<Write>, Refused> {
        let old = self.state.node(&self.low).filter(|old| !old.is_implied());
        let fresh = || Node {
            node: Arc::clone(&self.name),
            datacenter: Arc::clone(self.state.datacenter()),
            ..Node::default()
        };
        let mut node = self.node.take().unwrap_or_else(fresh);
        let old_node = old.map(|old| old.node());
        let node_same = old_node.is_some_and(|old| old.same(&node));
        let old_checks = old.map(|old| old.own_checks()).unwrap_or_default();
        let checks_same = same_checks(old_checks.iter(), &self.checks);
        if node_same && checks_same {
            return Ok(None);
        }
        (node.created, node.changed) = place(old_node.map(|old| (old.created, old.changed)), node_same);
        let checks = self.placed(&self.checks, old_checks.iter())?;
        let record_of =
            NodeRecord { node: NodePart::from(&node), checks: checks.iter().map(CheckRecord::from).collect() };
        let kind = if node_same { "catalog.check.changed" } else { "catalog.node.registered" };
        let payload = written(&record_of)?;
        let last = self.state.node_position(&self.low);
        record(self.state, &Address::Node(self.low.as_str().into()), kind, payload, last, self.now).map(Some)
    }

    fn instance_writes(&self, id: &str, planned: Option<&Planned>, writes: &mut Vec<Write>) -> Result<(), Refused> {
        let old = self.state.instance(&self.low, id);
        let low = self.low.as_str();
        let address = |service| Address::Instance { service: lower(service), node: low.into(), id: id.into() };
        let gone =
            old.filter(|old| planned.is_none_or(|new| lower(&new.service.service) != lower(&old.service.service)));
        if let Some(gone) = gone {
            let address = address(&gone.service.service);
            writes.push(removal(self.state, &address, "catalog.instance.removed", gone.position, self.now)?);
        }
        for stale in self.state.superseded(&self.low, id) {
            if planned.is_none_or(|new| *lower(&new.service.service) != **stale) {
                writes.push(removal(self.state, &address(stale), "catalog.instance.removed", 0, self.now)?);
            }
        }
        let Some(Planned { service, checks }) = planned else { return Ok(()) };
        let old_service = old.map(|old| &old.service);
        let service_same = old_service.is_some_and(|old| old.same(service));
        let old_checks: Vec<_> = old.into_iter().flat_map(|old| old.own_checks()).collect();
        if service_same && same_checks(old_checks.iter().copied(), checks) {
            return Ok(());
        }
        let mut service = service.clone();
        (service.created, service.changed) = place(old_service.map(|old| (old.created, old.changed)), service_same);
        let checks = self.placed(checks, old_checks.iter().copied())?;
        let record_of = InstanceRecord {
            node: (&self.name).into(),
            service: ServiceRecord::from(&service),
            checks: checks.iter().map(CheckRecord::from).collect(),
        };
        let payload = written(&record_of)?;
        let kind = if service_same { "catalog.check.changed" } else { "catalog.instance.registered" };
        let last = old.filter(|_| gone.is_none()).map(|old| old.position);
        writes.push(record(self.state, &address(&service.service), kind, payload, last, self.now)?);
        Ok(())
    }

    /// Checks with what is known of their age.
    fn placed<'c>(
        &self,
        checks: &[Check],
        old: impl Iterator<Item = &'c Arc<Check>> + Clone,
    ) -> Result<Vec<Check>, Refused> {
        if checks.len() > CHECKS_MAX {
            return Err(Refused::invalid(format!("Invalid check: more than {CHECKS_MAX}")));
        }
        let placed = checks.iter().map(|check| {
            let old = old.clone().find(|old| old.check_id == check.check_id);
            let mut check = check.clone();
            let same = old.is_some_and(|old| old.same(&check));
            (check.created, check.changed) = place(old.map(|old| (old.created, old.changed)), same);
            check.since = match old {
                Some(old) if old.status == check.status => old.since,
                _ => self.now,
            };
            check
        });
        Ok(placed.collect())
    }
}

/// The positions that a record names of a part: of one that changed only when it came to be.
fn place(old: Option<(u64, u64)>, same: bool) -> (u64, u64) {
    match old {
        Some((created, changed)) => (created, if same { changed } else { 0 }),
        None => (0, 0),
    }
}

fn same_checks<'c>(old: impl Iterator<Item = &'c Arc<Check>>, new: &[Check]) -> bool {
    let mut old = old.fuse();
    new.iter().all(|new| old.next().is_some_and(|old| old.same(new))) && old.next().is_none()
}

fn written<T: serde::Serialize>(record: &T) -> Result<Vec<u8>, Refused> {
    let payload = stored::written(record).map_err(Refused::failed)?;
    if payload.len() > RECORD_BYTES_MAX {
        return Err(Refused::too_large(format!("the registration has more than {RECORD_BYTES_MAX} bytes")));
    }
    Ok(payload)
}

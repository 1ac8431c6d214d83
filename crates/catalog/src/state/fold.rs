//! Messages become what holds: the way in, and instances.

use alloc::sync::Arc;
use alloc::vec::Vec;

use event::{Message, Moment};
use journal::Stored;

use super::reader::{Instance, WasRead};
use super::{Place, Seat, State, Touch, Unfit};
use crate::address::{self, Address};
use crate::limits::REMOVAL_KEPT;
use crate::model::{Check, Health, InstanceKey, Node, Service};

/// Where and when a message stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) position: u64,
    pub(super) time: Moment,
}

impl State {
    /// Folds a message, and says what it touched. Messages come in order of position; one that was folded is passed
    /// over.
    ///
    /// # Errors
    /// [`Unfit`]: it says nothing that can be understood. Nothing is changed then, but [`State::position`], and what
    /// the next message at its subject has to follow. (It stands in the place of what was there: who reads only the
    /// last message of each subject finds nothing.)
    pub fn fold(&mut self, stored: &Stored, touched: &mut Vec<Touch>) -> Result<(), Unfit> {
        self.fold_read(stored, WasRead::default(), touched)
    }

    /// The same, of a message that a [`Reader`](super::Reader) has read.
    ///
    /// # Errors
    /// [`Unfit`], as above.
    pub fn fold_read(&mut self, stored: &Stored, read: WasRead, touched: &mut Vec<Touch>) -> Result<(), Unfit> {
        if stored.seq <= self.position {
            return Ok(());
        }
        self.advance(stored);
        let subject = &stored.message.subject;
        let Some(address) = address::parse(&self.datacenter, subject)? else { return Ok(()) };
        let at = At { position: stored.seq, time: stored.time };
        if stored.message.payload.is_empty() && self.is_removal(stored, &address) {
            let kind = stored.message.headers.get("ce-type").unwrap_or_default();
            let ours = kind.starts_with("catalog.") && kind.ends_with(".removed");
            let expires = ours.then(|| stored.time.after(REMOVAL_KEPT));
            self.markers.add(subject, stored.seq, expires);
            self.recorded_anew(&address);
            self.removed(at, &address, &stored.message, touched);
            return Ok(());
        }
        let folded = self.told(at, &address, &stored.message, read, touched);
        match folded {
            Ok(()) => {
                self.recorded_anew(&address);
                self.markers.clear(subject);
            }
            Err(_) => self.markers.add(subject, stored.seq, None),
        }
        folded
    }

    fn advance(&mut self, stored: &Stored) {
        // What lies between, and is not there any more, was superseded, or was a removal that nobody keeps any more.
        if self.cut > Moment::EPOCH {
            if stored.seq > self.position + 1 && self.folded <= self.cut {
                self.floor_ahead = stored.seq - 1;
            }
            if stored.time > self.cut {
                self.raise_floor();
            }
        }
        self.gaps |= stored.seq > self.position + 1;
        self.position = stored.seq;
        self.folded = stored.time;
        self.nothing.reach(stored.seq);
        self.markers.prune(stored.time);
    }

    /// What is recorded of an instance under a service is its own again, or nothing.
    fn recorded_anew(&mut self, address: &Address<'_>) {
        let Address::Instance { service, node, id } = address else { return };
        let Some(place) = self.places.get_mut(&**node) else { return };
        if let Some(services) = place.superseded.get_mut(&**id) {
            services.remove(&**service);
            if services.is_empty() {
                place.superseded.remove(&**id);
            }
        }
    }

    fn removed(&mut self, at: At, address: &Address<'_>, message: &Message, touched: &mut Vec<Touch>) {
        match address {
            Address::Instance { service, node, id } => self.remove_instance(at, service, node, id, touched),
            Address::Node(node) => self.remove_node(at, node, touched),
            Address::Key(key) => self.remove_key(at, key, &message.headers, touched),
            Address::Session(id) => self.remove_session(at, id, touched),
            Address::Event { .. } => {}
        }
    }

    fn told(
        &mut self,
        at: At,
        address: &Address<'_>,
        message: &Message,
        read: WasRead,
        touched: &mut Vec<Touch>,
    ) -> Result<(), Unfit> {
        match address {
            Address::Instance { service, node, id } => {
                let told = match read.instance() {
                    Some(told) => told?,
                    None => Instance::read(service, node, id, &message.payload, &mut self.texts)?,
                };
                self.fold_instance(at, told, touched);
                Ok(())
            }
            Address::Node(node) => self.fold_node(at, node, &message.payload, touched),
            Address::Key(key) => self.fold_key(at, key, message, touched),
            Address::Session(id) => self.fold_session(at, id, &message.payload, touched),
            Address::Event { name, id } => {
                self.fold_event(at, name, id, message, touched);
                Ok(())
            }
        }
    }

    /// Whether an empty message is a removal. A key may have an empty value, and an event an empty payload: there the
    /// type says it, and where nothing is said an empty message about a key removes it.
    fn is_removal(&self, stored: &Stored, address: &Address<'_>) -> bool {
        match address {
            Address::Event { .. } => false,
            Address::Key(_) => {
                let headers = &stored.message.headers;
                headers.get("ce-type").is_none_or(|kind| kind == super::header::KEY_REMOVED)
                    && headers.get(super::header::FLAGS).is_none()
            }
            _ => true,
        }
    }

    fn fold_instance(&mut self, at: At, told: Instance, touched: &mut Vec<Touch>) {
        let Instance { low, node: node_low, node_name, service, mut checks } = told;
        let node_name = self.places.get(&*node_low).map_or(node_name, |place| Arc::clone(&place.node.node));
        let key = InstanceKey { node: Arc::clone(&node_low), id: Arc::clone(&service.id) };
        let seat = self.places.get(&*node_low).and_then(|place| place.instances.get(&key.id)).cloned();
        let (old, moved) = match seat {
            Some(seat) if seat.service == low => (Some(seat.health), None),
            seat => (None, seat),
        };
        let service = positioned_service(service, old.as_deref(), at);
        checks.iter_mut().for_each(|check| check.node = Arc::clone(&node_name));
        let own = positioned_checks(checks, old.as_deref(), at);
        if let Some(was) = moved {
            self.take_out(at, &was.service, &key, touched);
            // Its message is still there.
            let (of, node) = ((&*was.service).into(), (&*key.node).into());
            let address = Address::Instance { service: of, node, id: (&*key.id).into() };
            if let Ok(subject) = address.subject(&self.datacenter) {
                self.markers.add(&subject, was.health.position, None);
            }
            if let Some(place) = self.places.get_mut(&key.node) {
                place.superseded.entry(Arc::clone(&key.id)).or_default().insert(was.service);
            }
        }
        self.imply(at, &node_low, &node_name, touched);
        self.put_instance(at, &low, key, service, own, old, touched);
    }

    #[expect(clippy::too_many_arguments, reason = "what makes one instance, each of another kind")]
    fn put_instance(
        &mut self,
        at: At,
        low: &Arc<str>,
        key: InstanceKey,
        service: Arc<Service>,
        own: Vec<Arc<Check>>,
        old: Option<Arc<Health>>,
        touched: &mut Vec<Touch>,
    ) {
        let Some(place) = self.places.get_mut(&key.node) else { return };
        let checks: Vec<_> = place.checks.iter().cloned().chain(own).collect();
        let health = Arc::new(Health { node: Arc::clone(&place.node), service, checks, position: at.position });
        let checks_same = old.as_ref().is_some_and(|old| old.checks == health.checks);
        let service_same = old.as_ref().is_some_and(|old| Arc::ptr_eq(&old.service, &health.service));
        let seat = Seat { service: Arc::clone(low), health: Arc::clone(&health) };
        place.instances.insert(Arc::clone(&key.id), seat);
        if checks_same && service_same {
            // Told again. Nothing changed but the position that a precondition names.
            if let Some(group) = self.groups.get_mut(low) {
                group.table.restate(&key, health);
            }
            return;
        }
        if !service_same {
            place.changed = at.position;
        }
        if !checks_same {
            place.checks_changed = at.position;
            self.checks_changed = at.position;
            touched.push(Touch::Checks);
            let were = old.iter().flat_map(|old| old.own_checks());
            place.own(&key.id, were.clone(), health.own_checks());
            self.runs.exchange(&key.node, were, health.own_checks());
        }
        touched.push(Touch::Node(Arc::clone(&key.node)));
        touched.push(Touch::Service(Arc::clone(low)));
        let (tags, name) = (Arc::clone(&health.service.tags), Arc::clone(&health.service.service));
        let old_tags = old.as_ref().map(|old| Arc::clone(&old.service.tags)).unwrap_or_default();
        let unknown = self.gaps && old.is_none();
        let group = self.group(low, &name);
        let mut listed = unknown || group.table.is_empty() || group.name != name;
        group.name = name;
        listed |= count_tags(&mut group.tags, &tags, &old_tags);
        if !checks_same {
            group.checks_changed = at.position;
        }
        group.table.put(at.position, key, health);
        if listed {
            self.services_changed = at.position;
            touched.push(Touch::Services);
        }
    }

    fn remove_instance(&mut self, at: At, low: &str, node: &str, id: &str, touched: &mut Vec<Touch>) {
        let key = InstanceKey { node: self.texts.take(node), id: id.into() };
        let low = self.texts.take(low);
        let is_there =
            self.places.get(node).and_then(|place| place.instances.get(id)).is_some_and(|was| was.service == low);
        if is_there {
            self.take_out(at, &low, &key, touched);
            self.release_place(at, &key.node, touched);
        } else {
            self.remember_removed(at, &low, key);
        }
    }

    /// An instance went that was not known to be there: the stream is read again, and only the removal is left. What
    /// it may have changed then counts as changed.
    fn remember_removed(&mut self, at: At, low: &Arc<str>, key: InstanceKey) {
        match self.places.get_mut(&key.node) {
            Some(place) => {
                place.changed = at.position;
                place.checks_changed = at.position;
            }
            None => self.nodes.restore_removal(at.position, Arc::clone(&key.node)),
        }
        let group = self.group(low, low);
        // One that is known to be gone does not go again.
        if group.table.removed(&key..=&key).next().is_none() {
            group.table.restore_removal(at.position, key);
        }
        group.checks_changed = at.position;
        self.services_changed = at.position;
        self.checks_changed = at.position;
        self.bury(low);
    }

    /// Takes an instance out of a service.
    pub(super) fn take_out(&mut self, at: At, low: &Arc<str>, key: &InstanceKey, touched: &mut Vec<Touch>) {
        let Some(group) = self.groups.get_mut(low) else { return };
        let Some(entry) = group.table.remove(at.position, key) else { return };
        let mut listed = count_tags(&mut group.tags, &[], &entry.value.service.tags);
        listed |= group.table.is_empty();
        let had_checks = entry.value.own_checks().next().is_some();
        if !entry.value.checks.is_empty() {
            group.checks_changed = at.position;
        }
        if let Some(place) = self.places.get_mut(&key.node) {
            place.instances.remove(&key.id);
            place.own(&key.id, entry.value.own_checks(), []);
            place.changed = at.position;
            if had_checks {
                place.checks_changed = at.position;
            }
        }
        touched.push(Touch::Service(Arc::clone(low)));
        touched.push(Touch::Node(Arc::clone(&key.node)));
        if had_checks {
            self.checks_changed = at.position;
            touched.push(Touch::Checks);
            self.runs.exchange(&key.node, entry.value.own_checks(), []);
        }
        if listed {
            self.services_changed = at.position;
            touched.push(Touch::Services);
        }
        self.bury(low);
    }

    /// Sees to it that there is a node.
    pub(super) fn imply(&mut self, at: At, low: &Arc<str>, name: &Arc<str>, touched: &mut Vec<Touch>) {
        if self.places.contains_key(low) {
            return;
        }
        let (created, changed) = (at.position, at.position);
        let datacenter = Arc::clone(&self.datacenter);
        let node = Arc::new(Node { node: Arc::clone(name), datacenter, created, changed, ..Node::default() });
        let place = Place { node: Arc::clone(&node), implied: true, changed, ..Place::default() };
        self.places.insert(Arc::clone(low), place);
        self.nodes.put(at.position, Arc::clone(low), node);
        touched.push(Touch::Nodes);
    }
}

/// Counts the tags of an instance that came for those of one that went; says whether the set of tags changed.
fn count_tags(
    counts: &mut alloc::collections::BTreeMap<Arc<str>, usize>,
    come: &[Arc<str>],
    gone: &[Arc<str>],
) -> bool {
    if come == gone {
        return false;
    }
    let before = counts.len();
    let mut changed = false;
    for tag in come {
        let count = counts.entry(Arc::clone(tag)).or_default();
        changed |= *count == 0;
        *count += 1;
    }
    for tag in gone {
        if let Some(count) = counts.get_mut(tag) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(tag);
                changed = true;
            }
        }
    }
    changed || counts.len() != before
}

/// Which position a part has: the one that it says, where it says one, never behind the message nor before what it
/// was.
pub(super) fn positions(said: (u64, u64), old: Option<(u64, u64)>, same: bool, at: u64) -> (u64, u64) {
    let created = old.map(|old| old.0).or((said.0 > 0).then_some(said.0)).unwrap_or(at).min(at);
    let changed = match old {
        Some(old) if same => old.1,
        Some(old) if said.1 > 0 => said.1.clamp(old.1.min(at), at),
        None if said.1 > 0 => said.1.min(at),
        _ => at,
    };
    (created, changed.max(created))
}

fn positioned_service(mut service: Service, old: Option<&Health>, at: At) -> Arc<Service> {
    let old = old.map(|old| &old.service);
    let same = old.is_some_and(|old| old.same(&service));
    if let Some(old) = old.filter(|_| same) {
        return Arc::clone(old);
    }
    let said = (service.created, service.changed);
    (service.created, service.changed) = positions(said, old.map(|old| (old.created, old.changed)), same, at.position);
    Arc::new(service)
}

/// The checks of an instance, each as old as it is.
fn positioned_checks(checks: Vec<Check>, old: Option<&Health>, at: At) -> Vec<Arc<Check>> {
    let was = |id: &str| old.and_then(|old| old.own_checks().find(|check| *check.check_id == *id));
    let positioned = checks.into_iter().map(|check| {
        let old = was(&check.check_id);
        positioned_check(check, old, at)
    });
    positioned.collect()
}

pub(super) fn positioned_check(mut check: Check, old: Option<&Arc<Check>>, at: At) -> Arc<Check> {
    let same = old.is_some_and(|old| old.same(&check));
    if let Some(old) = old.filter(|_| same) {
        return Arc::clone(old);
    }
    let said = (check.created, check.changed);
    (check.created, check.changed) = positions(said, old.map(|old| (old.created, old.changed)), same, at.position);
    check.recorded = at.time;
    check.since = match old {
        Some(old) if old.status == check.status => old.since,
        _ if check.since > Moment::EPOCH => check.since.min(at.time),
        _ => at.time,
    };
    Arc::new(check)
}

//! What holds, as readers ask for it.

use alloc::string::String;
use alloc::sync::Arc;
use core::ops::Bound;

use event::{Moment, Subject};
use view::{Entry, Table};

use super::{Group, Instances, Place, State};
use crate::address::lower;
use crate::model::{Check, Health, Node, Pair, Session, Status, UserEvent};
use crate::write::Expectation;

/// A service with at least one instance.
#[derive(Debug, Clone, Copy)]
pub struct ServiceView<'a> {
    low: &'a Arc<str>,
    group: &'a Group,
}

impl<'a> ServiceView<'a> {
    /// Its name, as its newest instance writes it.
    pub fn name(&self) -> &'a Arc<str> {
        &self.group.name
    }

    /// Its name in lower case.
    pub fn low(&self) -> &'a Arc<str> {
        self.low
    }

    /// The tags of its instances, each once, in their order.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &'a Arc<str>> + use<'a> {
        self.group.tags.keys()
    }

    /// Its instances.
    pub fn instances(&self) -> &'a Instances {
        &self.group.table
    }
}

/// A node.
#[derive(Debug, Clone, Copy)]
pub struct NodeView<'a>(&'a Place);

impl<'a> NodeView<'a> {
    /// Its record.
    pub fn node(&self) -> &'a Arc<Node> {
        &self.0.node
    }

    /// Its own checks.
    pub fn own_checks(&self) -> &'a [Arc<Check>] {
        &self.0.checks
    }

    /// Its own checks and those of its instances.
    pub fn checks(&self) -> impl Iterator<Item = &'a Arc<Check>> + use<'a> {
        self.0.checks.iter().chain(self.instances().flat_map(|health| health.own_checks()))
    }

    /// The instances on it, in the order of their ids.
    pub fn instances(&self) -> impl Iterator<Item = &'a Arc<Health>> + use<'a> {
        self.0.instances.values().map(|seat| &seat.health)
    }

    /// Whether nothing but its instances is known of it.
    pub fn is_implied(&self) -> bool {
        self.0.implied
    }
}

impl State {
    fn at_least_one(&self, position: u64) -> u64 {
        position.max(self.floor).max(1)
    }

    /// The instances of a service; `None`: it has none.
    pub fn service(&self, name: &str) -> Option<&Instances> {
        self.groups.get(&*lower(name)).map(|group| &group.table).filter(|table| !table.is_empty())
    }

    /// The table that a follower of a service is given, whether the service is there or not: one that began while it
    /// was not is told when it comes.
    pub fn instances(&self, name: &str) -> &Instances {
        self.groups.get(&*lower(name)).map_or(&self.nothing, |group| &group.table)
    }

    /// When the answer about a service's instances last changed. Of one that nothing is known of, a position that
    /// does not move because of others.
    pub fn service_changed(&self, name: &str) -> u64 {
        self.at_least_one(self.instances(name).changed())
    }

    /// When a check of a service's instances last changed.
    pub fn service_checks_changed(&self, name: &str) -> u64 {
        let group = self.groups.get(&*lower(name));
        self.at_least_one(group.map_or(self.nothing.floor(), |group| group.checks_changed.max(group.table.floor())))
    }

    /// The services that have instances, in the order of their names.
    pub fn services(&self) -> impl Iterator<Item = ServiceView<'_>> {
        let all = self.groups.iter().map(|(low, group)| ServiceView { low, group });
        all.filter(|service| !service.group.table.is_empty())
    }

    /// When a service came or went, or the tags of one changed.
    pub fn services_changed(&self) -> u64 {
        self.at_least_one(self.services_changed)
    }

    /// An instance by its node and id.
    pub fn instance(&self, node: &str, id: &str) -> Option<&Arc<Health>> {
        self.places.get(&*lower(node))?.instances.get(id).map(|seat| &seat.health)
    }

    /// Services, in lower case, under which an instance is still recorded, though it is another's now.
    pub(crate) fn superseded(&self, node: &str, id: &str) -> impl Iterator<Item = &Arc<str>> {
        self.places.get(&*lower(node)).and_then(|place| place.superseded.get(id)).into_iter().flatten()
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<NodeView<'_>> {
        self.places.get(&*lower(name)).map(NodeView)
    }

    /// When a node, or an instance on it, last changed, checks not counted.
    pub fn node_changed(&self, name: &str) -> u64 {
        let low = lower(name);
        let place = self.places.get(&*low).map_or(0, |place| place.changed);
        self.at_least_one(place.max(self.nodes.changed_of(&*low)))
    }

    /// When a check of a node, or of an instance on it, last changed.
    pub fn node_checks_changed(&self, name: &str) -> u64 {
        let low = lower(name);
        match self.places.get(&*low) {
            Some(place) => self.at_least_one(place.checks_changed.max(place.node.created)),
            None => self.at_least_one(self.nodes.changed_of(&*low)),
        }
    }

    /// All nodes, in the order of their names.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.places.values().map(NodeView)
    }

    /// The table of nodes, by their names in lower case.
    pub fn node_table(&self) -> &Table<Arc<str>, Arc<Node>> {
        &self.nodes
    }

    /// When the list of nodes last changed, or what is said of one.
    pub fn nodes_changed(&self) -> u64 {
        self.at_least_one(self.nodes.changed())
    }

    /// All checks with their nodes, node by node.
    pub fn checks(&self) -> impl Iterator<Item = (&Arc<Node>, &Arc<Check>)> {
        self.nodes().flat_map(|node| node.checks().map(move |check| (node.node(), check)))
    }

    /// When any check last changed.
    pub fn checks_changed(&self) -> u64 {
        self.at_least_one(self.checks_changed)
    }

    /// The checks that a Tidings node makes: those with a definition that name it.
    pub fn checks_to_run(&self, agent: &str) -> impl Iterator<Item = &Arc<Check>> + use<'_> {
        self.runs.of(agent)
    }

    /// When what a check says was last recorded to have changed; `None`: it is not there.
    pub fn changed_at(&self, check: &Check) -> Option<Moment> {
        self.check(&check.node, &check.check_id).map(|check| check.recorded)
    }

    /// Since when a check has been critical; `None`: it is not, or not there.
    pub fn critical_since(&self, check: &Check) -> Option<Moment> {
        let check = self.check(&check.node, &check.check_id)?;
        (check.status == Status::Critical).then_some(check.since)
    }

    /// How many instances, services and nodes there are.
    pub fn sizes(&self) -> (usize, usize, usize) {
        let instances = self.places.values().map(|place| place.instances.len()).sum();
        (instances, self.groups.len() - self.extinct.len().min(self.groups.len()), self.places.len())
    }

    /// A key's value.
    pub fn key(&self, key: &str) -> Option<&Entry<Arc<Pair>>> {
        self.keys.get(key)
    }

    /// When a key last changed, or went; of one that nothing is known of, a position that does not move because of
    /// others.
    pub fn key_changed(&self, key: &str) -> u64 {
        self.at_least_one(self.keys.changed_of(key))
    }

    /// The keys that begin so, in their order.
    pub fn keys<'a>(&'a self, prefix: &'a str) -> impl DoubleEndedIterator<Item = &'a Arc<Pair>> {
        let range = prefixed(prefix);
        self.keys.range::<str, _>((range.0, as_ref(&range.1))).map(|(_, entry)| &entry.value)
    }

    /// The table of keys.
    pub fn key_table(&self) -> &Table<Arc<str>, Arc<Pair>> {
        &self.keys
    }

    /// When a key that begins so last changed, or went.
    pub fn prefix_changed(&self, prefix: &str) -> u64 {
        if prefix.is_empty() {
            return self.at_least_one(self.keys.changed());
        }
        let range = prefixed(prefix);
        let range = (range.0, as_ref(&range.1));
        let held = self.keys.range::<str, _>(range).map(|(_, entry)| entry.changed).max();
        let gone = self.keys.removed::<str, _>(range).map(|(_, at)| at).max();
        self.at_least_one(held.max(gone).unwrap_or(0).max(self.keys.floor()))
    }

    /// A session.
    pub fn session(&self, id: &str) -> Option<&Arc<Session>> {
        self.sessions.get(id).map(|entry| &entry.value)
    }

    /// When a session last changed, or went.
    pub fn session_changed(&self, id: &str) -> u64 {
        self.at_least_one(self.sessions.changed_of(id))
    }

    /// All sessions, in the order of their ids.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.iter().map(|(_, entry)| &entry.value)
    }

    /// When any session last changed.
    pub fn sessions_changed(&self) -> u64 {
        self.at_least_one(self.sessions.changed())
    }

    /// The keys that a session holds, in their order.
    pub fn keys_held_by<'a>(&'a self, session: &str) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        self.held.get(session).into_iter().flatten()
    }

    /// The last user events, the eldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Arc<UserEvent>> {
        self.events.iter()
    }

    /// When the last user event was fired.
    pub fn events_changed(&self) -> u64 {
        self.at_least_one(self.events.back().map_or(0, |event| event.position))
    }

    /// What a message expects of its subject, where what holds was recorded at `known`; `None`: it holds nothing.
    pub(crate) fn expect(&self, subject: &Subject, known: Option<u64>, now: Moment) -> Expectation {
        self.markers.expect(subject, known, self.position, now)
    }

    /// The last position of a node's subject; `None`: it has no record.
    pub(crate) fn node_position(&self, name: &str) -> Option<u64> {
        self.places.get(&*lower(name)).filter(|place| !place.implied).map(|place| place.position)
    }
}

/// The keys that begin so, as a range: the end is the first text behind all of them.
fn prefixed(prefix: &str) -> (Bound<&str>, Bound<String>) {
    let mut end = String::from(prefix);
    while let Some(last) = end.pop() {
        // The character behind it; there is none behind the last of all.
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            end.push(next);
            return (Bound::Included(prefix), Bound::Excluded(end));
        }
    }
    (Bound::Included(prefix), Bound::Unbounded)
}

fn as_ref(bound: &Bound<String>) -> Bound<&str> {
    match bound {
        Bound::Excluded(end) => Bound::Excluded(end.as_str()),
        Bound::Included(end) => Bound::Included(end.as_str()),
        Bound::Unbounded => Bound::Unbounded,
    }
}

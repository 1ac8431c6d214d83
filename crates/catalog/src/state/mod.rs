//! What holds, folded from messages.
//!
//! # Invariants
//! 1. The last message of a subject decides: folding the last message of each subject in order of position gives the
//!    same instances, nodes, keys and sessions as folding all messages.
//! 2. An instance is unique by node and id: registered under another service's name, it goes from the first.
//! 3. Every instance stands on a node. Where nothing else is known of the node, it is implied: a name without address,
//!    which goes with its last instance.
//! 4. Every `…_changed` is a position, rises only, and is never 0; it rises where the answer that it belongs to
//!    changed. Where what was removed is not remembered it may rise without: never the other way round.
//! 5. What does not parse changes nothing.
//!
//! # Costs
//! A fold costs a few look-ups in ordered maps, and the parsing of one record; a node's record besides one new
//! [`Health`] for each of its instances. An instance with one check takes about 1.3 KiB.

mod fold;
pub(crate) mod header;
mod keys;
mod markers;
mod nodes;
mod read;
mod reader;
mod runs;
mod sessions;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::Moment;
use thiserror::Error;
use view::Table;

use crate::address::lower;
use crate::limits::{EXTINCT_MAX, SERVICE_REMOVALS_MAX, TABLE_REMOVALS_MAX};
use crate::model::{Check, Health, InstanceKey, Node, Pair, Session, UserEvent};
use crate::text::Texts;
pub use read::{NodeView, ServiceView};
pub use reader::{Reader, WasRead};

/// The table of a service: its instances, by node and id.
pub type Instances = Table<InstanceKey, Arc<Health>>;

/// What a fold touched, and what a reader waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Touch {
    /// A service, in lower case: its instances, their nodes, their checks.
    Service(Arc<str>),
    /// Which services there are, or their tags.
    Services,
    /// A node, in lower case: itself, its checks, the services on it and theirs.
    Node(Arc<str>),
    /// Which nodes there are, and what is said of them.
    Nodes,
    /// Any check.
    Checks,
    /// A key.
    Key(Arc<str>),
    /// Any key that begins so: only ever waited for.
    Keys(Arc<str>),
    /// Any session.
    Sessions,
    /// A user event was fired.
    Events,
}

impl Touch {
    /// The prefix, of [`Touch::Keys`].
    pub fn prefix(&self) -> Option<&Arc<str>> {
        if let Touch::Keys(prefix) = self { Some(prefix) } else { None }
    }

    /// The key, of [`Touch::Key`].
    pub fn key(&self) -> Option<&Arc<str>> {
        if let Touch::Key(key) = self { Some(key) } else { None }
    }

    /// A service of any case.
    pub fn service(name: &str) -> Touch {
        Touch::Service(lower(name).into())
    }

    /// A node of any case.
    pub fn node(name: &str) -> Touch {
        Touch::Node(lower(name).into())
    }
}

/// Why a message of the stream is not folded. It changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Unfit(pub String);

impl From<&str> for Unfit {
    fn from(text: &str) -> Self {
        Unfit(text.into())
    }
}

impl From<String> for Unfit {
    fn from(text: String) -> Self {
        Unfit(text)
    }
}

/// A service by its name.
#[derive(Debug, Clone)]
struct Group {
    /// As its newest instance writes it.
    name: Arc<str>,
    table: Instances,
    /// How many instances have each tag.
    tags: BTreeMap<Arc<str>, usize>,
    /// When a check of an instance changed, or went.
    checks_changed: u64,
}

/// An instance on its node.
#[derive(Debug, Clone)]
struct Seat {
    /// The service, in lower case.
    service: Arc<str>,
    /// As in the service's table.
    health: Arc<Health>,
}

/// What is known of a node beside its record.
#[derive(Debug, Clone, Default)]
struct Place {
    node: Arc<Node>,
    /// Nothing but its instances is known.
    implied: bool,
    /// The last position of its subject.
    position: u64,
    checks: Vec<Arc<Check>>,
    /// Its instances, by id.
    instances: BTreeMap<Arc<str>, Seat>,
    /// Whose each check is: an instance's, or (empty) the node's own.
    owners: BTreeMap<Arc<str>, Arc<str>>,
    /// Services under which an instance is still recorded, though a later message registered it under another.
    superseded: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// When it, or an instance on it, changed: not counting checks.
    changed: u64,
    /// When one of its checks, or those of its instances, changed.
    checks_changed: u64,
}

/// See the module's head.
#[derive(Debug, Clone)]
pub struct State {
    datacenter: Arc<str>,
    position: u64,
    /// What was removed up to here may be unknown.
    floor: u64,
    /// Removals before this moment may be gone from the stream. The epoch: none are.
    cut: Moment,
    /// Messages are missing from what was folded: what an instance took out of the list of services when it was last
    /// told is not known.
    gaps: bool,
    /// What is to be the floor once all of that age is folded.
    floor_ahead: u64,
    /// When the last message folded was recorded.
    folded: Moment,
    texts: Texts,
    groups: BTreeMap<Arc<str>, Group>,
    /// Services without instances, by when the last one went.
    extinct: BTreeSet<(u64, Arc<str>)>,
    /// An empty table that stands for every service that nothing is known of.
    nothing: Instances,
    services_changed: u64,
    nodes: Table<Arc<str>, Arc<Node>>,
    places: BTreeMap<Arc<str>, Place>,
    checks_changed: u64,
    runs: runs::Runs,
    keys: Table<Arc<str>, Arc<Pair>>,
    sessions: Table<Arc<str>, Arc<Session>>,
    /// Which keys each session holds.
    held: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Until when a key cannot be acquired.
    delayed: BTreeMap<Arc<str>, Moment>,
    events: VecDeque<Arc<UserEvent>>,
    markers: markers::Markers,
}

impl Place {
    /// Checks that were an instance's, or (empty) the node's, are these now.
    fn own<'a>(
        &mut self,
        owner: &Arc<str>,
        were: impl IntoIterator<Item = &'a Arc<Check>>,
        are: impl IntoIterator<Item = &'a Arc<Check>>,
    ) {
        for check in were {
            if self.owners.get(&check.check_id) == Some(owner) {
                self.owners.remove(&check.check_id);
            }
        }
        for check in are {
            self.owners.insert(Arc::clone(&check.check_id), Arc::clone(owner));
        }
    }
}

impl State {
    /// Nothing, of a datacenter.
    pub fn new(datacenter: &str) -> Self {
        State {
            datacenter: lower(datacenter).into(),
            position: 0,
            floor: 0,
            cut: Moment::EPOCH,
            gaps: false,
            floor_ahead: 0,
            folded: Moment::EPOCH,
            texts: Texts::default(),
            groups: BTreeMap::new(),
            extinct: BTreeSet::new(),
            nothing: Table::new(0),
            services_changed: 0,
            nodes: Table::new(TABLE_REMOVALS_MAX),
            places: BTreeMap::new(),
            checks_changed: 0,
            runs: runs::Runs::default(),
            keys: Table::new(TABLE_REMOVALS_MAX),
            sessions: Table::new(TABLE_REMOVALS_MAX),
            held: BTreeMap::new(),
            delayed: BTreeMap::new(),
            events: VecDeque::new(),
            markers: markers::Markers::default(),
        }
    }

    /// Tells the time before a stream is folded that was there before: removals that are older than they are kept
    /// ([`crate::limits::REMOVAL_KEPT`]) may be missing from it, so positions of that age cannot be resumed from.
    pub fn begin(&mut self, now: Moment) {
        self.cut = now.before(crate::limits::REMOVAL_KEPT);
    }

    /// Tells that all is folded that was there before: what [`State::begin`] said is in force.
    pub fn settle(&mut self) {
        self.gaps = false;
        self.raise_floor();
    }

    fn raise_floor(&mut self) {
        self.cut = Moment::EPOCH;
        let ahead = core::mem::take(&mut self.floor_ahead);
        if ahead > 0 {
            self.forget(ahead);
        }
    }

    /// The datacenter, in lower case.
    pub fn datacenter(&self) -> &Arc<str> {
        &self.datacenter
    }

    /// The position of the last message folded.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A service's group, made where there is none. One that is empty is not extinct until it is buried again.
    fn group(&mut self, low: &Arc<str>, name: &Arc<str>) -> &mut Group {
        let floor = self.nothing.floor();
        let group = self.groups.entry(Arc::clone(low)).or_insert_with(|| {
            let mut table = Table::new(SERVICE_REMOVALS_MAX);
            table.forget(floor);
            Group { name: Arc::clone(name), table, tags: BTreeMap::new(), checks_changed: 0 }
        });
        if group.table.is_empty() {
            self.extinct.remove(&(group.table.changed(), Arc::clone(low)));
        }
        group
    }

    /// Remembers that a service has no instance any more, and forgets the eldest of too many.
    fn bury(&mut self, low: &Arc<str>) {
        let Some(group) = self.groups.get(low).filter(|group| group.table.is_empty()) else { return };
        self.extinct.insert((group.table.changed(), Arc::clone(low)));
        while self.extinct.len() > EXTINCT_MAX {
            let Some((at, low)) = self.extinct.pop_first() else { break };
            self.groups.remove(&low);
            self.nothing.forget(at);
        }
    }

    /// What was removed up to a position may be unknown.
    fn forget(&mut self, upto: u64) {
        self.floor = self.floor.max(upto);
        self.nothing.forget(upto);
        self.nodes.forget(upto);
        self.keys.forget(upto);
        self.sessions.forget(upto);
        self.groups.values_mut().for_each(|group| group.table.forget(upto));
        let empty = self.groups.iter().filter(|(_, group)| group.table.is_empty());
        self.extinct = empty.map(|(low, group)| (group.table.changed(), Arc::clone(low))).collect();
    }
}

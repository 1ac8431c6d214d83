//! Which connections there are to which hubs, what is dialled and when, and which of two stays.
//!
//! ```text
//!              its time has come          taken
//!  WAITING ──────────────────────▶ DIALLING ─────▶ LINKED ──┐
//!    ▲  ▲                             │ failed       │ lost │ another connection to the same hub stays
//!    │  └─── after a wait that grows ─┴──────────────┘      ▼
//!    └───────────────────────────────────────────────── COVERED: that one ended
//! ```
//!
//! A **link** is named by the node id of the peer, where it told one: the name is the same whoever dialled,
//! so what is owed on the link goes on after either redial. A peer that tells none is named by the target
//! that led to it, or by the number of the connection where it dialled.
//!
//! Of two connections between two nodes the one that the smaller node id dialled stays, and both sides come
//! to that by themselves. Before a newcomer is turned away for the one that stands, that one is **probed**:
//! a peer that dials again mostly lost the connection, unseen on this side. Meanwhile the newcomer waits.
//!
//! Whoever acts on these outputs keeps this:
//! - each [`Output::Dial`] is answered by [`Input::Dialled`], with a deadline.
//! - a connection that is to be closed is closed in the peer's hearing, and what it still sends before it
//!   answers the close is taken: so nothing on its way is lost to a doubled link. This holds for one that
//!   waits, too.
//! - what is sent to a peer goes on the connection of the last [`Output::Up`] of its link.
//!
//! Invariants:
//! - a link has one connection that is up, and at most one that waits.
//! - no connection to this node itself stays.
//! - of each target at most one dial is on its way.
//!
//! Costs: a few tree operations an input; [`Links::next_wake`] looks at every target.

#[cfg(test)]
mod tests;
mod view;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use event::Moment;

use super::limits::{PROBE, REDIAL_FIRST, REDIAL_MAX, STEADY};
pub use view::{LinkView, TargetState, TargetView};

/// A hub that is to be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Unique among the targets.
    pub name: Arc<str>,
    /// Where it is, in words of whoever dials.
    pub address: Arc<str>,
}

/// Why a connection ended, or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Another connection to the same hub stays.
    Doubled,
    /// It leads to this node itself.
    Itself,
    /// Its target is not wanted any longer, or has another address now.
    Unwanted,
    /// It did not answer a probe while the peer dialled anew.
    Silent,
    /// The link's name belongs to another peer that is linked.
    NameTaken,
    /// It was lost; the text is of who told so.
    Lost(Arc<str>),
}

impl Why {
    /// One word, for counting.
    pub fn word(&self) -> &'static str {
        match self {
            Why::Doubled => "doubled",
            Why::Itself => "itself",
            Why::Unwanted => "unwanted",
            Why::Silent => "silent",
            Why::NameTaken => "name-taken",
            Why::Lost(_) => "lost",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Doubled => "another connection to this hub stays",
            Why::Itself => "it leads to this node itself",
            Why::Unwanted => "the link is not wanted any longer, or has another address",
            Why::Silent => "it did not answer while the peer dialled anew",
            Why::NameTaken => "the link's name belongs to another peer",
            Why::Lost(why) => why,
        })
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// From now on these are dialled, and no others. Where a name occurs twice, the last one counts.
    Want(Vec<Target>),
    /// A dial ended: with a connection and the node id that the peer told, or with what went wrong.
    Dialled {
        /// The target.
        name: Arc<str>,
        /// The connection's number, unique for ever, and the peer's node id.
        outcome: Result<(u64, Option<Arc<str>>), String>,
    },
    /// A peer dialled this node.
    Accepted {
        /// The connection's number, unique for ever.
        connection: u64,
        /// The peer's node id, where it told one.
        peer: Option<Arc<str>>,
    },
    /// A connection ended that was not asked to.
    Lost {
        /// Which.
        connection: u64,
        /// What is shown as the reason.
        why: String,
    },
    /// A connection answered the ping of [`Output::Probe`].
    Heard {
        /// Which.
        connection: u64,
    },
    /// Targets that wait are dialled at once: all, or one.
    Nudge(Option<Arc<str>>),
    /// Time went on.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Dial, and answer with [`Input::Dialled`].
    Dial {
        /// The target.
        name: Arc<str>,
        /// Its address.
        address: Arc<str>,
    },
    /// Close a connection; what the module says about closing holds.
    Close {
        /// Which.
        connection: u64,
        /// The reason, to be logged and counted.
        why: Why,
    },
    /// Ping a connection now, and answer with [`Input::Heard`] when the pong comes.
    Probe {
        /// Which.
        connection: u64,
    },
    /// A link is up, on this connection. Where it was up on another, [`Output::Down`] came before.
    Up {
        /// Which.
        connection: u64,
        /// Its name: see the module.
        link: Arc<str>,
        /// The peer's node id, where it told one.
        peer: Option<Arc<str>>,
        /// The target that led to it, where this node dialled.
        target: Option<Arc<str>>,
    },
    /// A link is not up any longer on this connection.
    Down {
        /// Which.
        connection: u64,
        /// Its name.
        link: Arc<str>,
        /// The reason.
        why: Why,
    },
}

/// A target, as it is.
#[derive(Debug)]
struct Dialled {
    address: Arc<str>,
    place: Place,
    /// What was asked for is not what is being dialled.
    stale: bool,
    wanted: bool,
    failures: u32,
    error: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Waiting(Moment),
    Dialling,
    Linked(u64),
    /// The name of the link that another connection has.
    Covered(Arc<str>),
}

#[derive(Debug)]
struct Connection {
    link: Arc<str>,
    peer: Option<Arc<str>>,
    /// Where this node dialled.
    target: Option<Arc<str>>,
    since: Moment,
}

/// The connections of a link.
#[derive(Debug)]
struct Standing {
    connection: u64,
    waiting: Option<u64>,
    /// Until when the connection has to answer.
    probe: Option<Moment>,
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Links {
    now: Moment,
    me: Arc<str>,
    seed: u64,
    targets: BTreeMap<Arc<str>, Dialled>,
    connections: BTreeMap<u64, Connection>,
    standing: BTreeMap<Arc<str>, Standing>,
    outputs: VecDeque<Output>,
}

impl Links {
    /// A machine without links, for the node of this id. The seed decides the jitter.
    pub fn new(me: impl Into<Arc<str>>, seed: u64) -> Self {
        Links {
            now: Moment::EPOCH,
            me: me.into(),
            seed,
            targets: BTreeMap::new(),
            connections: BTreeMap::new(),
            standing: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Moment, input: Input) {
        if now < self.now {
            self.set_back(now);
        }
        self.now = now;
        match input {
            Input::Want(targets) => self.want(targets),
            Input::Dialled { name, outcome } => self.dialled(&name, outcome),
            Input::Accepted { connection, peer } => self.taken(connection, peer, None),
            Input::Lost { connection, why } => self.end(connection, Why::Lost(why.into()), false),
            Input::Heard { connection } => self.heard(connection),
            Input::Nudge(name) => self.nudge(name.as_deref()),
            Input::Tick => {}
        }
    }

    /// What is to be done next; `None`: nothing until something happens or it is time to wake.
    pub fn poll(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.wake();
        }
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is to be handled.
    pub fn next_wake(&self) -> Option<Moment> {
        let waiting = self.targets.values().filter_map(|target| match target.place {
            Place::Waiting(due) => Some(due),
            _ => None,
        });
        waiting.chain(self.standing.values().filter_map(|standing| standing.probe)).min()
    }

    /// The clock was set back: nothing waits longer for it than it may.
    fn set_back(&mut self, now: Moment) {
        for target in self.targets.values_mut() {
            if let Place::Waiting(due) = &mut target.place {
                *due = (*due).min(now.after(REDIAL_MAX));
            }
        }
        for standing in self.standing.values_mut() {
            standing.probe = standing.probe.map(|due| due.min(now.after(PROBE)));
        }
        for connection in self.connections.values_mut() {
            connection.since = connection.since.min(now);
        }
    }

    fn want(&mut self, targets: Vec<Target>) {
        let wanted: BTreeMap<Arc<str>, Arc<str>> = targets.into_iter().map(|each| (each.name, each.address)).collect();
        let mut unwanted = Vec::new();
        for (name, target) in &mut self.targets {
            let address = wanted.get(name);
            let changed = address.is_none_or(|address| *address != target.address);
            target.wanted = address.is_some();
            if let Some(address) = address.filter(|_| changed) {
                target.address = Arc::clone(address);
                (target.failures, target.error) = (0, None);
            }
            match target.place {
                Place::Linked(connection) if changed => unwanted.push(connection),
                Place::Dialling => target.stale |= changed,
                _ if changed => target.place = Place::Waiting(self.now),
                _ => {}
            }
        }
        // Removed targets that are being dialled are kept until the dial is answered.
        self.targets.retain(|_, target| target.wanted || matches!(target.place, Place::Linked(_) | Place::Dialling));
        for (name, address) in wanted {
            let place = Place::Waiting(self.now);
            let target = Dialled { address, place, stale: false, wanted: true, failures: 0, error: None };
            self.targets.entry(name).or_insert(target);
        }
        for connection in unwanted {
            self.end(connection, Why::Unwanted, true);
        }
    }

    fn dialled(&mut self, name: &Arc<str>, outcome: Result<(u64, Option<Arc<str>>), String>) {
        let target = self.targets.get_mut(name).filter(|target| target.place == Place::Dialling);
        let Some(target) = target else {
            // Nobody asked for it.
            if let Ok((connection, _)) = outcome {
                self.outputs.push_back(Output::Close { connection, why: Why::Unwanted });
            }
            return;
        };
        let stale = core::mem::take(&mut target.stale);
        match outcome {
            Ok((connection, _)) if stale => {
                self.outputs.push_back(Output::Close { connection, why: Why::Unwanted });
                self.again(name, &Why::Unwanted, true);
            }
            Err(_) if stale => self.again(name, &Why::Unwanted, true),
            Ok((connection, peer)) => {
                target.place = Place::Linked(connection);
                self.taken(connection, peer, Some(Arc::clone(name)));
            }
            Err(why) => self.again(name, &Why::Lost(why.into()), false),
        }
    }

    /// A connection was made, by whomever.
    fn taken(&mut self, connection: u64, peer: Option<Arc<str>>, target: Option<Arc<str>>) {
        let link = match (&peer, &target) {
            (Some(name), _) | (None, Some(name)) => Arc::clone(name),
            (None, None) => Arc::from(format!("connection-{connection}")),
        };
        let itself = peer.as_ref() == Some(&self.me);
        let new = Connection { link: Arc::clone(&link), peer, target, since: self.now };
        if self.connections.contains_key(&connection) {
            return;
        }
        let known = self.standing.get(&link).map(|standing| (standing.connection, standing.waiting));
        let known = known.and_then(|(up, waiting)| Some((up, waiting, self.connections.get(&up)?)));
        let Some((up, waiting, standing)) = known.filter(|_| !itself) else {
            self.connections.insert(connection, new);
            if itself {
                return self.end(connection, Why::Itself, true);
            }
            return self.up(&link, connection);
        };
        let (same, stays) = (standing.peer == new.peer, self.stays(standing, &new));
        self.connections.insert(connection, new);
        if !same {
            return self.end(connection, Why::NameTaken, true);
        }
        if let Some(waiting) = waiting {
            self.end(waiting, Why::Doubled, true);
        }
        let due = self.now.after(PROBE);
        if let Some(standing) = self.standing.get_mut(&link) {
            standing.waiting = Some(connection);
            if stays {
                standing.probe = Some(due);
                return self.outputs.push_back(Output::Probe { connection: up });
            }
        }
        self.end(up, Why::Doubled, true);
    }

    /// Whether the connection that stands does so against a new one, if it is alive.
    fn stays(&self, standing: &Connection, new: &Connection) -> bool {
        let smaller_is_here = standing.peer.as_ref().is_some_and(|peer| self.me < *peer);
        let by_smaller = |each: &Connection| each.target.is_some() == smaller_is_here;
        by_smaller(standing) || !by_smaller(new)
    }

    fn up(&mut self, link: &Arc<str>, connection: u64) {
        let Some(found) = self.connections.get(&connection) else { return };
        let (peer, target) = (found.peer.clone(), found.target.clone());
        self.standing.insert(Arc::clone(link), Standing { connection, waiting: None, probe: None });
        if let Some(target) = target.as_ref().and_then(|name| self.targets.get_mut(name)) {
            target.error = None;
        }
        self.outputs.push_back(Output::Up { connection, link: Arc::clone(link), peer, target });
    }

    /// A connection is over: what waits for its place takes it.
    fn end(&mut self, connection: u64, why: Why, close: bool) {
        let Some(gone) = self.connections.remove(&connection) else { return };
        if close {
            self.outputs.push_back(Output::Close { connection, why: why.clone() });
        }
        let link = gone.link;
        match self.standing.get_mut(&link) {
            Some(standing) if standing.connection == connection => {
                let waiting = standing.waiting;
                self.standing.remove(&link);
                self.outputs.push_back(Output::Down { connection, link: Arc::clone(&link), why: why.clone() });
                match waiting {
                    Some(waiting) => self.up(&link, waiting),
                    None => self.uncover(&link),
                }
            }
            Some(standing) if standing.waiting == Some(connection) => standing.waiting = None,
            _ => {}
        }
        let Some(name) = gone.target else { return };
        let steady = self.now.since(gone.since) >= STEADY;
        let ended_alone = matches!(why, Why::Unwanted | Why::NameTaken | Why::Itself);
        if !ended_alone && self.standing.contains_key(&link) {
            if let Some(target) = self.targets.get_mut(&name) {
                target.place = Place::Covered(link);
            }
        } else {
            self.again(&name, &why, steady);
        }
    }

    /// The connection that covered some targets is gone: its peer may come back by itself, so they wait a bit.
    fn uncover(&mut self, link: &Arc<str>) {
        for target in self.targets.values_mut() {
            if target.place == Place::Covered(Arc::clone(link)) {
                let chance = chance(&mut self.seed);
                target.place = Place::Waiting(self.now.after(backoff(chance, 1)));
            }
        }
    }

    /// A target is to be dialled again, after its wait; or is let go of, where nobody wants it.
    fn again(&mut self, name: &Arc<str>, why: &Why, steady: bool) {
        let Some(target) = self.targets.get_mut(name) else { return };
        if !target.wanted {
            self.targets.remove(name);
            return;
        }
        if *why == Why::Unwanted {
            target.place = Place::Waiting(self.now);
            return;
        }
        target.failures = if steady { 1 } else { target.failures.saturating_add(1) };
        target.error = Some(match why {
            Why::Lost(text) => Arc::clone(text),
            other => Arc::from(format!("{other}")),
        });
        // What leads to this node itself does so for long.
        let failures = if *why == Why::Itself { u32::MAX } else { target.failures };
        target.place = Place::Waiting(self.now.after(backoff(chance(&mut self.seed), failures)));
    }

    fn heard(&mut self, connection: u64) {
        let Some(link) = self.connections.get(&connection).map(|found| Arc::clone(&found.link)) else { return };
        let standing = self.standing.get_mut(&link).filter(|standing| standing.connection == connection);
        if let Some(standing) = standing
            && standing.probe.take().is_some()
            && let Some(waiting) = standing.waiting
        {
            self.end(waiting, Why::Doubled, true);
        }
    }

    fn nudge(&mut self, name: Option<&str>) {
        for (_, target) in self.targets.iter_mut().filter(|(each, _)| name.is_none_or(|name| name == &***each)) {
            if let Place::Waiting(due) = &mut target.place {
                *due = (*due).min(self.now);
            }
        }
    }

    /// Does what time asks for.
    fn wake(&mut self) {
        let silent = self.standing.values().filter(|standing| standing.probe.is_some_and(|due| due <= self.now));
        let silent: Vec<u64> = silent.map(|standing| standing.connection).collect();
        for connection in silent {
            self.end(connection, Why::Silent, true);
        }
        for (name, target) in &mut self.targets {
            if matches!(target.place, Place::Waiting(due) if due <= self.now) {
                target.place = Place::Dialling;
                let (name, address) = (Arc::clone(name), Arc::clone(&target.address));
                self.outputs.push_back(Output::Dial { name, address });
            }
        }
    }
}

/// Any number: splitmix64.
fn chance(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *seed;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A wait that doubles with each failure, of which chance takes up to half: hubs that lost each other at
/// once do not all dial at once.
fn backoff(chance: u64, failures: u32) -> core::time::Duration {
    let doubled = REDIAL_FIRST.saturating_mul(1_u32 << failures.saturating_sub(1).min(20)).min(REDIAL_MAX);
    let half = u64::try_from(doubled.as_nanos() / 2).unwrap_or(u64::MAX);
    doubled - core::time::Duration::from_nanos(chance % half.max(1))
}

//! A node of the mesh: what its neighbours want, where a message goes, and what may come in.
//!
//! ```text
//!  Plan ───▶ routes ──┐                        ┌──▶ beyond: where what enters here goes
//!  Up, Down ▶ links ──┼──▶ settle: who may     ├──▶ judge: what came on a link, whether, and whereto
//!  Local ──▶ wishes ──┘    tell, who is told   └──▶ notes to each neighbour
//!  Heard ───▶ wishes
//! ```
//!
//! **Wishes travel** by source: each node of a domain tells its peers what its own clients want, and a gateway what it
//! hears of other domains; a hub hands both on. To a neighbour domain the wishes of all nodes are told as one: when
//! the first comes and the last goes. A domain's wishes go on from domain to domain along its tree, each told by
//! one link only. When a connection comes up, each end tells all; from then on, what changes. What changes while a
//! neighbour is slow waits as one entry for each wish, and is told as it is when there is room; where too much waits,
//! all is told anew.
//!
//! **Invariants**
//! - Only a plan of a greater generation changes anything.
//! - A link has one connection. Of two, the one that the smaller node id dialled stays; dialled by the same, the
//!   later one.
//! - A source is told by one connection: the one on the way to it by the plan that stands. What others say of it is
//!   not taken; when the plan changes so that it may be, it is asked for.
//! - A destination of a message is in one copy at any time ([`crate::envelope`]).
//!
//! What is absent: sockets, keys and proofs. Who is at the other end of a connection is told.
//!
//! Costs: a wish that comes or goes costs its pattern's depth and an entry for each connection that is told of it. A
//! plan, or a connection that comes or goes, costs a look at each domain of each segment, and the end of a source a
//! walk over all patterns.

mod custody;
mod hear;
mod onward;
mod settle;
mod tell;
#[cfg(test)]
mod tests;
mod words;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use event::{Moment, Pattern};

use crate::acl::Acl;
use crate::envelope::QUEUE_BYTES_MAX;
use crate::interest::{Interests, SourceNumber};
use crate::names::{LinkId, Name, NodeId};
use crate::plan::{LinkKind, LinkPlan, Plan};
use crate::routes::Routes;
use crate::wire::{Source, Wish};
pub use custody::{Forbidden, Handed};
pub use tell::NOTES_AHEAD;
use tell::Out;
pub use words::{Beyond, Ending, FarGroup, Input, Leg, LinkView, Onward, Output, Refusal, Report, SourceView};

/// Most patterns that a node holds, its own and all that it is told: with the longest names of SLIM, 800 MB. What
/// neighbours tell beyond is refused.
pub const PATTERNS_MAX: usize = 4_000_000;

/// Most wishes that one connection may tell: whoever makes them up leaves half the room to others.
pub const WISHES_OF_LINK_MAX: u64 = PATTERNS_MAX as u64 / 2;

/// Most memory that the wishes of one connection may take, in bytes: two million names of SLIM, or some hundred thousand
/// patterns with wildcards. Longer ones are fewer.
pub const WISHES_BYTES_OF_LINK_MAX: u64 = 512 << 20;

/// First tokens that are told apart when ways change; of more, all ways are made anew.
const TOUCHED_MAX: usize = 256;

/// Sources that one peer may tell of in vain and that are remembered: 100 segments of 100 domains, and more. Who tells
/// of others makes them up.
const OWED_MAX: usize = 65_536;

/// The source of what this node's own clients want.
const OWN: SourceNumber = 0;

/// The source of what the own domain wants although nobody listens.
const STANDING: SourceNumber = 1;

/// A connection that is up.
#[derive(Debug)]
struct Conn {
    link: LinkId,
    peer: NodeId,
    dialled: bool,
    kind: LinkKind,
    segments: Vec<Name>,
    /// The sources that the peer is told of.
    tells: BTreeSet<Source>,
    /// The segments of those in which it is told of the own domain.
    own_in: Vec<Name>,
    /// Sources of which the peer may have told what is not held here, and why: they are asked for when that changes.
    owed: BTreeMap<Source, Refusal>,
    /// Whether the peer has told all that it had to tell at first.
    full: bool,
    out: Out,
}

impl Conn {
    /// Remembers that the peer told of a source in vain.
    fn owe(&mut self, source: &Source, why: Refusal) {
        if self.owed.len() < OWED_MAX || self.owed.contains_key(source) {
            self.owed.insert(source.clone(), why);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    plan: Plan,
    planned: bool,
    acl: Acl,
    routes: Routes,
    interests: Interests,
    conns: BTreeMap<u64, Conn>,
    /// By link: the connection that is up. One for each link.
    by_link: BTreeMap<LinkId, u64>,
    /// By node of the own domain: the connection to it.
    peers: BTreeMap<Name, u64>,
    /// By neighbour domain and segment: the connection that carries it.
    carriers: BTreeMap<(Name, Name), u64>,
    touched: BTreeSet<Box<str>>,
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node without plan, links and wishes. The seed decides how patterns are hashed: no stranger may know it.
    pub fn new(id: NodeId, seed: u64) -> Self {
        let mut interests = Interests::new(seed);
        interests.begin(Source::Node(id.node.clone()), None);
        let domain = id.domain.clone();
        interests.begin(Source::Domain { domain: domain.clone(), segment: domain }, None);
        Node {
            routes: Routes::new(&id, &Plan::default(), None),
            id,
            plan: Plan::default(),
            planned: false,
            acl: Acl::default(),
            interests,
            conns: BTreeMap::new(),
            by_link: BTreeMap::new(),
            peers: BTreeMap::new(),
            carriers: BTreeMap::new(),
            touched: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Who it is.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// The plan that stands.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Something happened.
    pub fn handle(&mut self, _now: Moment, input: Input) {
        match input {
            Input::Plan(plan) => self.planned(plan),
            Input::Up { conn, link, peer, dialled } => self.up(conn, &link, peer, dialled),
            Input::Down { conn } => self.down(conn),
            Input::Heard { conn, note } => self.heard(conn, note),
            Input::Room { conn } => self.room(conn),
            // No peer could read a longer name of a group: its members are found at this node alone.
            Input::Local { wish, .. } if wish.queue.as_ref().is_some_and(|queue| queue.len() > QUEUE_BYTES_MAX) => {}
            Input::Local { wish, present } => self.wished(OWN, &wish, present),
            Input::Tick => {}
        }
        self.tell_all();
        self.tell_touched();
    }

    /// What is to be done next; `None`: nothing more.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due: never, since nothing here waits for time.
    pub fn wake(&self) -> Option<Moment> {
        None
    }

    /// Whether nobody listens beyond this node.
    pub fn is_quiet(&self) -> bool {
        self.interests.sources().all(|(_, known)| known.conn.is_none() || known.wishes == 0)
    }

    /// The links as they stand, in the order of the plan.
    pub fn links(&self) -> Vec<LinkView> {
        let view = |plan: &LinkPlan| {
            let up = self.by_link.get(&plan.id).and_then(|conn| Some((*conn, self.conns.get(conn)?)));
            let full = up.is_some_and(|(_, conn)| conn.full);
            LinkView { plan: plan.clone(), up: up.map(|(number, conn)| (number, conn.peer.clone())), full }
        };
        self.plan.links.iter().map(view).collect()
    }

    /// Whose wishes are known here, and how many; this node's own too.
    pub fn sources(&self) -> Vec<SourceView> {
        let shown = self.interests.sources().filter(|(number, _)| *number != STANDING);
        shown
            .map(|(_, known)| SourceView { source: known.source.clone(), conn: known.conn, wishes: known.wishes })
            .collect()
    }

    /// At most so many wishes of a source, in no order that means anything, and whether that is all.
    pub fn wishes(&self, source: &Source, most: usize) -> (Vec<Wish>, bool) {
        let mut wishes = Vec::new();
        let Some(asked) = self.interests.number(source) else { return (wishes, true) };
        let mut at = Some(0);
        while let Some(row) = at {
            at = self.interests.walk(row, |number, pattern, queue| {
                if number == asked && wishes.len() <= most {
                    wishes.push(Wish { pattern: pattern.clone(), queue: queue.cloned() });
                }
                wishes.len() > most
            });
            if wishes.len() > most {
                wishes.truncate(most);
                return (wishes, false);
            }
        }
        (wishes, true)
    }

    /// Hands the wishes of every source that are in the next part of a walk, which begins at 0, to `each`; where the
    /// part after that begins, `None` at the end. Between two parts the node may change. Costs some thousand rows.
    pub fn wishes_part(&self, from: usize, mut each: impl FnMut(&Source, Wish)) -> Option<usize> {
        self.interests.walk(from, |number, pattern, queue| {
            if let Some(known) = self.interests.known(number).filter(|_| number != STANDING) {
                each(&known.source, Wish { pattern: pattern.clone(), queue: queue.cloned() });
            }
            false
        })
    }

    /// A wish came or went: of this node's clients, or of the domain.
    fn wished(&mut self, source: SourceNumber, wish: &Wish, present: bool) {
        let changed = if present { self.interests.add(source, wish) } else { self.interests.remove(source, wish) };
        if changed {
            self.changed(source, wish);
        }
    }

    /// Has those told who are to know of a wish that came or went, and ways made anew.
    fn changed(&mut self, source: SourceNumber, wish: &Wish) {
        let Some(known) = self.interests.known(source) else { return };
        if known.conn.is_some() {
            touch(&mut self.touched, &wish.pattern);
        }
        if source != STANDING {
            let told = known.source.clone();
            for conn in self.conns.values_mut().filter(|conn| conn.tells.contains(&told)) {
                conn.out.change(&told, wish, &conn.tells);
            }
        }
        if self.is_own(source) && !self.interests.any_holds(wish, |each| each != source && self.is_own(each)) {
            self.own_changed(wish);
        }
    }

    /// Has neighbour domains told of a wish that the own domain has now, or has no longer.
    fn own_changed(&mut self, wish: &Wish) {
        for conn in self.conns.values_mut() {
            for segment in &conn.own_in {
                let told = Source::Domain { domain: self.id.domain.clone(), segment: segment.clone() };
                conn.out.change(&told, wish, &conn.tells);
            }
        }
    }

    /// Whether a source is in the own domain.
    fn is_own(&self, source: SourceNumber) -> bool {
        source == STANDING
            || matches!(self.interests.known(source), Some(known) if matches!(known.source, Source::Node(_)))
    }

    fn tell_touched(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        let touched = core::mem::take(&mut self.touched);
        let all = touched.len() > TOUCHED_MAX || touched.contains(">") || touched.contains("*");
        let patterns = if all {
            alloc::vec![Pattern::all()]
        } else {
            touched.iter().filter_map(|text| Pattern::parse(text).ok()).collect()
        };
        self.outputs.push_back(Output::Touched(patterns));
    }
}

/// Remembers that ways for a pattern's subjects changed: told apart by first token.
fn touch(touched: &mut BTreeSet<Box<str>>, pattern: &Pattern) {
    let text = pattern.as_str();
    let first = text.split('.').next().unwrap_or_default();
    if touched.len() > TOUCHED_MAX || touched.contains(first) {
        return;
    }
    touched.insert(first.into());
    if first.len() < text.len() && first != "*" {
        touched.insert(alloc::format!("{first}.>").into());
    }
}

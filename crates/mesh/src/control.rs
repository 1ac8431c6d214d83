//! The controller: what each node of a mesh is to do, from what is declared and what is there.
//!
//! ```text
//!  resources ─┐                      ┌─▶ plan of a node ─▶ told ─▶ acknowledged
//!  nodes ─────┼─▶ pairs of domains ──┤                       ▲          │ not in time
//!  links up ──┘   and who holds them └─▶ routes              └──────────┘ again, later and later
//! ```
//!
//! It is a machine: [`Controller::handle`] is told what happened, [`Controller::poll`] says what is to be done until
//! there is nothing, [`Controller::wake`] when it wants to be told the time. It knows no socket, no clock, no
//! secret: who a node is was proven before it is told here, and keys come from [`Keys`].
//!
//! A **pair** of domains that are neighbours in some segment has one link that serves, held by a node of each: the
//! one that dials and the one that takes it. Where several nodes of a domain share an external address, whoever
//! of them takes the link claims it by reporting it; until then nobody there is its gateway. A pair keeps its
//! nodes while they are there. When one is lost, another of its domain is chosen in the same step: the least
//! loaded, and of several the one that a hash of the pair and the node prefers. Where loads drift apart a link is
//! moved, and the old one serves until the new one is up.
//!
//! Invariants:
//! - a node is told the whole of what it is to do, under a generation that is greater than any it was told before,
//!   and nothing while this controller does not lead.
//! - the same events in the same order give the same plans.
//! - a node that has no control channel is counted on while somebody who has one reports a link to it: what works
//!   is left alone. Nothing new is given to it.
//! - an edge is in the trees of a segment if both its domains have nodes and its link is up, or is given time.
//! - what breaks a declared invariant is not applied.
//!
//! Sources: the routing service of SLIM's control plane for what it must do, and its faults for what it must not;
//! rendezvous hashing: D. Thaler and C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996).
//!
//! Costs: a plan is made anew for the nodes of the domains that something changed for: O(links + gateways) each; a
//! change of what is reachable makes anew the segments concerned, and the plans of their domains.

pub mod limits;
mod links;
mod nodes;
mod plans;
mod routes;
mod status;
mod words;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use event::Moment;

use crate::names::{LinkId, Name, NodeId};
use crate::plan::Generation;
use crate::proof::Reach;
use crate::segment::Segments;
use crate::topology::Warning;
use limits::{GATHER, SETTLE, SWEEP};
use links::{Link, Pair};
use nodes::NodeState;
use routes::Routes;
pub use status::{DomainView, LinkState, LinkView, NodeView, RouteView, Status};
pub use words::{Act, Declared, DomainRule, Endpoints, Event, Keys, Rejected, Report, RouteAt, RouteRule, Standing};

/// Something whose time comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A plan of a node that was not acknowledged.
    Node(NodeId),
    /// A link that is not up, or that another took the place of.
    Link(LinkId),
    /// Everything.
    Sweep,
}

/// The controller. See the module.
pub struct Controller {
    keys: Box<dyn Keys>,
    /// The epoch, while it leads.
    epoch: Option<u64>,
    /// The number of the last plan.
    number: u64,
    /// When it began to lead, where it followed another.
    settles: Option<Moment>,
    declared: Declared,
    /// The domains whose nodes are taken; what the topology was expanded over.
    known: BTreeSet<Name>,
    /// What the topology comes to.
    segments: Segments,
    /// The same without the edges that are out.
    live: Segments,
    /// Unique by the two domains, in order: those that are neighbours.
    pairs: BTreeMap<(Name, Name), Pair>,
    warnings: Vec<Warning>,
    /// Unique by node id: nodes that have a control channel, or had one.
    nodes: BTreeMap<NodeId, NodeState>,
    /// Unique by session: the nodes that have a control channel.
    sessions: BTreeMap<u64, NodeId>,
    /// Unique by id: links between domains.
    links: BTreeMap<LinkId, Link>,
    routes: Routes,
    /// Unique by domain: its nodes.
    members: BTreeMap<Name, BTreeSet<NodeId>>,
    /// Unique by domain: its neighbours.
    near: BTreeMap<Name, BTreeSet<Name>>,
    /// Unique by domain: links that whoever of its nodes may take.
    offered: BTreeMap<Name, BTreeSet<LinkId>>,
    /// Domains whose nodes may be due for another plan.
    dirty: BTreeSet<Name>,
    /// Whether edges may have come or gone.
    edges: bool,
    /// The latest time that was reckoned with, and how far the clock is behind that: it may have jumped back.
    latest: Moment,
    behind: Duration,
    timers: BTreeSet<(Moment, Timer)>,
    /// When plans are made of what was gathered.
    plans_at: Option<Moment>,
    /// When the loads of gateways are looked at.
    balance_at: Option<Moment>,
    acts: VecDeque<Act>,
}

impl Controller {
    /// A controller that does not lead yet.
    pub fn new(keys: Box<dyn Keys>) -> Self {
        Controller {
            keys,
            epoch: None,
            number: 0,
            settles: None,
            declared: Declared::default(),
            known: BTreeSet::new(),
            segments: Segments::default(),
            live: Segments::default(),
            pairs: BTreeMap::new(),
            warnings: Vec::new(),
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            links: BTreeMap::new(),
            routes: Routes::default(),
            members: BTreeMap::new(),
            near: BTreeMap::new(),
            offered: BTreeMap::new(),
            dirty: BTreeSet::new(),
            edges: false,
            latest: Moment::EPOCH,
            behind: Duration::ZERO,
            timers: BTreeSet::new(),
            plans_at: None,
            balance_at: None,
            acts: VecDeque::new(),
        }
    }

    /// Takes what happened. A clock that jumps back stops nothing.
    pub fn handle(&mut self, now: Moment, event: Event) {
        let now = self.steady(now);
        match event {
            Event::Lead { epoch } => self.lead(now, epoch),
            Event::Follow => self.follow(&Rejected::NotLeading),
            Event::Resources(declared) => self.resources(now, declared),
            Event::Registered { session, node, endpoints, plan, up, routes } => {
                self.registered(now, nodes::Registration { session, node, endpoints, plan, routes }, up);
            }
            Event::Gone { session } => self.gone(now, session, false),
            Event::Deregistered { session } => self.gone(now, session, true),
            Event::Acked { session, generation, failed } => self.acked(now, session, generation, failed),
            Event::Up { session, up } => self.link_up(now, session, up),
            Event::Down { session, link, why } => self.link_down(now, session, &link, &why),
            Event::Links { session, up } => self.link_report(now, session, up),
            Event::Announced { session, name, wanted } => self.announced(now, session, name, wanted),
            Event::Tick => {}
        }
        if self.edges || !self.dirty.is_empty() {
            self.gather(now);
        }
        self.tick(now);
    }

    /// The next thing that is to be done; `None` when there is nothing.
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When it wants to be told the time, by the clock that it was told last.
    pub fn wake(&self) -> Option<Moment> {
        let timer = self.timers.first().map(|(at, _)| *at);
        [timer, self.plans_at, self.balance_at].into_iter().flatten().min().map(|at| at.before(self.behind))
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.epoch.is_some()
    }

    /// Who could reach whom, were every link up: what a change of the topology is proven against.
    pub fn reach(&self) -> Reach {
        Reach::of(&self.segments, &self.known)
    }

    /// What was declared.
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// The domains whose nodes are taken.
    pub fn known(&self) -> &BTreeSet<Name> {
        &self.known
    }

    /// The segments, as the topology has them.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The segments, with the edges that can be walked now.
    pub fn live(&self) -> &Segments {
        &self.live
    }

    /// A time that does not go back, and goes on as the clock does.
    fn steady(&mut self, now: Moment) -> Moment {
        let reckoned = now.after(self.behind);
        if reckoned < self.latest {
            self.behind += self.latest.since(reckoned);
        }
        self.latest = self.latest.max(reckoned);
        self.latest
    }

    fn lead(&mut self, now: Moment, epoch: u64) {
        if self.epoch.is_some_and(|known| known >= epoch) {
            return;
        }
        self.epoch = Some(epoch);
        self.number = 0;
        self.settles = None;
        self.at(now.after(SWEEP), Timer::Sweep);
        self.all_dirty();
        self.expand(now);
        self.pair_up(now);
    }

    /// Forgets all nodes: who leads now hears of them.
    fn follow(&mut self, why: &Rejected) {
        self.epoch = None;
        for session in core::mem::take(&mut self.sessions).into_keys() {
            self.acts.push_back(Act::Reject { session, why: why.clone() });
        }
        self.nodes.clear();
        self.links.clear();
        self.pairs.clear();
        self.members.clear();
        self.near.clear();
        self.offered.clear();
        self.routes = Routes::default();
        self.dirty.clear();
        self.timers.clear();
        (self.plans_at, self.balance_at) = (None, None);
    }

    fn resources(&mut self, now: Moment, declared: Declared) {
        let before = core::mem::replace(&mut self.declared, declared);
        let domains = |declared: &Declared| -> BTreeMap<Name, DomainRule> {
            declared.domains.iter().map(|rule| (rule.name.clone(), rule.clone())).collect()
        };
        let (was, is) = (domains(&before), domains(&self.declared));
        if before.acl != self.declared.acl || before.routes != self.declared.routes {
            self.all_dirty();
        }
        self.dirty.extend(is.iter().filter(|(name, rule)| was.get(*name) != Some(rule)).map(|(name, _)| name.clone()));
        if !self.declared.open {
            self.turn_away(now, &is.into_keys().collect());
        }
        self.expand(now);
    }

    /// Makes the segments anew of what is declared and of who is there.
    fn expand(&mut self, now: Moment) {
        let mut known: BTreeSet<Name> = self.declared.domains.iter().map(|rule| rule.name.clone()).collect();
        if self.declared.open {
            known.extend(self.nodes.keys().map(|node| node.domain.clone()));
        }
        let (segments, warnings) = self.declared.topology.expand(&known);
        let reach = Reach::of(&segments, &known);
        let invariants = self.declared.topology.invariants();
        let broken: Vec<_> = invariants.iter().filter_map(|each| reach.broken(each)).map(|(first, _)| first).collect();
        let never = |each: &crate::proof::Broken| each.invariant.word() == "never";
        self.known = known;
        if broken.iter().any(never) {
            self.acts.push_back(Act::Report(Report::Broken(broken)));
            return;
        }
        if !broken.is_empty() {
            self.acts.push_back(Act::Report(Report::Broken(broken)));
        }
        if warnings != self.warnings && !warnings.is_empty() {
            self.acts.push_back(Act::Report(Report::Warnings(warnings.clone())));
        }
        self.warnings = warnings;
        if segments != self.segments {
            self.segments = segments;
            self.pair_up(now);
        }
        if !self.dirty.is_empty() {
            self.gather(now);
        }
    }

    /// Does what its time has come for.
    fn tick(&mut self, now: Moment) {
        while let Some((at, timer)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, timer.clone()));
            match timer {
                Timer::Node(node) => self.tell_again(now, &node),
                Timer::Link(link) => self.link_due(now, &link),
                Timer::Sweep => self.sweep(now),
            }
        }
        if self.balance_at.is_some_and(|at| at <= now) {
            self.balance_at = None;
            self.balance(now);
        }
        if self.plans_at.is_some_and(|at| at <= now) {
            self.plans_at = None;
            self.plan(now);
        }
    }

    fn at(&mut self, at: Moment, timer: Timer) {
        self.timers.insert((at, timer));
    }

    /// Plans are made soon, with what else happens until then.
    fn gather(&mut self, now: Moment) {
        self.plan_at(now.after(GATHER));
    }

    /// Plans are made now: something is to be mended.
    fn mend(&mut self, now: Moment) {
        self.plan_at(now);
    }

    fn plan_at(&mut self, at: Moment) {
        let at = self.settles.map_or(at, |until| until.max(at));
        self.plans_at = Some(self.plans_at.map_or(at, |known| known.min(at)));
    }

    /// A node came that was led before this controller was: more will.
    fn settle(&mut self, now: Moment, plan: Generation) {
        if self.settles.is_none() && self.number == 0 && plan != Generation::default() {
            self.settles = Some(now.after(SETTLE));
        }
    }

    fn all_dirty(&mut self) {
        self.dirty.extend(self.nodes.keys().map(|node| node.domain.clone()));
    }

    /// Computes everything anew, and compares it with what was told.
    fn sweep(&mut self, now: Moment) {
        self.at(now.after(SWEEP), Timer::Sweep);
        if self.settles.is_some_and(|until| until > now) {
            return;
        }
        // What was gathered until now is told first: it is not amiss.
        self.plans_at = None;
        self.plan(now);
        self.all_dirty();
        self.edges = true;
        let told = self.number;
        self.plan(now);
        let mended = usize::try_from(self.number - told).unwrap_or(usize::MAX);
        if mended > 0 {
            self.acts.push_back(Act::Report(Report::Mended(mended)));
        }
    }
}

/// A wait that doubles with each attempt.
fn back_off(first: Duration, attempts: u32, max: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(attempts.min(16)).unwrap_or(u32::MAX)).min(max)
}

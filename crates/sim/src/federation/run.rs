//! The world: time, the nodes, and what is on its way between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use event::{Fact, Moment};
use federation::envelope;
use federation::intake::{Binding, Freshness, Reject, judge};
use federation::outbox::{Input, Outcome, Shape};
use federation::peer::PeerSpec;

use super::Report;
use super::check;
use super::link::{Packet, Request};
use super::node::{Ask, Begun, GROUP, Node, Peer, Waiter};
use super::story::{Setting, Step, Timed};
use crate::chance::Chance;

/// When every run begins: 2025-05-30T10:13:20Z.
const BEGIN: Moment = Moment::from_nanos(1_748_600_000_000_000_000);
/// How long a request is waited for, in milliseconds.
const TIMEOUT: u64 = 4_000;
/// How long the world has to come to rest when all is mended.
const REST: Duration = Duration::from_secs(120);
/// Lines of the log; a run that goes on and on tells no more.
const LINES_MAX: usize = 20_000;

/// What was met in runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Facts that were told and acknowledged, with refreshes and changes.
    pub told: u64,
    /// Tellings that were known.
    pub known: u64,
    /// Facts taken back, and observations said to be over.
    pub withdrawn: u64,
    /// Requests that came to a node.
    pub requests: u64,
    /// Of these, the ones that had come before.
    pub replays: u64,
    /// Of these, the ones from a clock that is too far off.
    pub stale: u64,
    /// Facts that a node was told by a peer and knew.
    pub duplicates: u64,
    /// Facts that a node was told by a peer and recorded.
    pub received: u64,
    /// Packets that were lost.
    pub lost: u64,
    /// Crashes.
    pub crashes: u64,
    /// Pushes that got no answer.
    pub timeouts: u64,
    /// Facts that two nodes agree upon at the end.
    pub agreed: u64,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Counts) {
        let Counts { told, known, withdrawn, requests, replays, stale, duplicates, received, .. } = other;
        self.told += told;
        self.known += known;
        self.withdrawn += withdrawn;
        self.requests += requests;
        self.replays += replays;
        self.stale += stale;
        self.duplicates += duplicates;
        self.received += received;
        self.lost += other.lost;
        self.crashes += other.crashes;
        self.timeouts += other.timeouts;
        self.agreed += other.agreed;
    }
}

/// Something that is to happen.
#[derive(Debug)]
enum Event {
    Step(usize),
    Sync { node: usize, life: u64 },
    Fold { node: usize, life: u64 },
    Wake { node: usize, life: u64 },
    Start { node: usize },
    Arrive(Packet),
    Timeout { node: usize, life: u64, peer: usize, batch: u64 },
}

/// Everything there is.
pub struct World {
    now: Moment,
    setting: Setting,
    chance: Chance,
    pub nodes: Vec<Node>,
    cut: BTreeSet<(usize, usize)>,
    queue: BTreeMap<(Moment, u64), Event>,
    queued: u64,
    signed: u64,
    tellings: u64,
    last_told: Vec<Option<Fact>>,
    /// What was acknowledged to whoever told it: node, position, id of the state.
    pub acked: Vec<(usize, u64, Vec<u8>)>,
    /// What peers answered for: who, the fact and when it was observed.
    pub answered: BTreeSet<(usize, String, Option<Moment>)>,
    /// Ids that had more than one life: who missed an end holds them longer.
    pub lives: BTreeSet<String>,
    pub counts: Counts,
    log: Vec<String>,
}

/// Runs steps in the setting of a seed.
pub fn run(seed: u64, steps: &[Timed]) -> Report {
    let mut world = match World::new(seed) {
        Ok(world) => world,
        Err(why) => return Report { log: Vec::new(), failure: Some(why), digest: 0, counts: Counts::default() },
    };
    let failure = world.play(steps).err();
    let digest = check::digest(&world.nodes, &world.log);
    Report { log: world.log, failure, digest, counts: world.counts }
}

impl World {
    fn new(seed: u64) -> Result<Self, String> {
        let setting = Setting::of(seed);
        let name = |node: usize| format!("site-{node}");
        let mut nodes = (0..setting.nodes).map(|node| Node::new(name(node), BEGIN)).collect::<Result<Vec<_>, _>>()?;
        for (from, to, prefix) in &setting.links {
            let subject_prefixes = prefix.map(String::from).into_iter().collect();
            let spec = PeerSpec { name: name(*to), types: Vec::new(), subject_prefixes };
            if let Some(node) = nodes.get_mut(*from) {
                node.peers.push(Peer::new(*to, spec));
            }
        }
        let mut world = World {
            now: BEGIN,
            chance: Chance::new(seed).branch(3),
            last_told: vec![None; setting.nodes],
            setting,
            nodes,
            cut: BTreeSet::new(),
            queue: BTreeMap::new(),
            queued: 0,
            signed: 0,
            tellings: 0,
            acked: Vec::new(),
            answered: BTreeSet::new(),
            lives: BTreeSet::new(),
            counts: Counts::default(),
            log: Vec::new(),
        };
        for node in 0..world.nodes.len() {
            world.start(node)?;
        }
        Ok(world)
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if self.log.len() < LINES_MAX {
            let after = self.now.since(BEGIN).as_millis();
            self.log.push(format!("{after:>7} ms  {}", line()));
        }
    }

    fn at(&mut self, millis: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now.after(Duration::from_millis(millis)), self.queued), event);
    }

    fn shape(&self) -> Shape {
        Shape { facts_max: self.setting.facts_max, bytes_max: 4_000, flights_max: self.setting.flights_max }
    }

    fn play(&mut self, steps: &[Timed]) -> Result<(), String> {
        let mut at = 0;
        for (index, (gap, _)) in steps.iter().enumerate() {
            at += gap;
            self.at(at, Event::Step(index));
        }
        self.until(self.now.after(Duration::from_millis(at)), steps)?;
        self.mend_all()?;
        let rest = self.now.after(REST);
        while self.now < rest && !self.is_quiet() {
            self.until(self.now.after(Duration::from_secs(1)), steps)?;
        }
        if !self.is_quiet() {
            return Err(String::from("it does not come to rest when all is mended"));
        }
        for node in 0..self.nodes.len() {
            self.fold(node)?;
        }
        self.say(|| String::from("at rest"));
        self.counts.agreed += check::all(self)?;
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        let under_way = |event: &Event| matches!(event, Event::Arrive(_) | Event::Sync { .. } | Event::Fold { .. });
        self.nodes.iter().all(Node::is_quiet) && !self.queue.values().any(under_way)
    }

    /// Does what is to happen up to a moment.
    fn until(&mut self, end: Moment, steps: &[Timed]) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((now, _), event) = entry.remove_entry();
            self.now = now;
            self.happen(event, steps)?;
        }
        self.now = end;
        Ok(())
    }

    /// Everything that can be mended is: what is to happen then must come out right.
    fn mend_all(&mut self) -> Result<(), String> {
        self.say(|| String::from("all is mended"));
        self.cut.clear();
        (self.setting.lost, self.setting.doubled) = (0, 0);
        for node in 0..self.nodes.len() {
            self.set_clock(node, 0)?;
            if !self.nodes.get(node).is_some_and(|node| node.up) {
                self.start(node)?;
            }
        }
        Ok(())
    }

    fn node(&mut self, node: usize) -> Result<&mut Node, String> {
        self.nodes.get_mut(node).ok_or_else(|| format!("there is no node {node}"))
    }

    fn clock(&self, node: usize) -> Moment {
        self.nodes.get(node).map_or(self.now, |node| node.clock(self.now))
    }

    fn happen(&mut self, event: Event, steps: &[Timed]) -> Result<(), String> {
        let lives = |nodes: &[Node], node: usize, life: u64| nodes.get(node).is_some_and(|n| n.up && n.life == life);
        match event {
            Event::Step(index) => match steps.get(index) {
                Some((_, step)) => self.step(*step),
                None => Ok(()),
            },
            Event::Start { node } if !self.nodes.get(node).is_some_and(|node| node.up) => self.start(node),
            Event::Start { .. } => Ok(()),
            Event::Sync { node, life } if lives(&self.nodes, node, life) => self.sync(node),
            Event::Fold { node, life } if lives(&self.nodes, node, life) => self.fold(node),
            Event::Wake { node, life } if lives(&self.nodes, node, life) => {
                self.node(node)?.wake = None;
                self.fold(node)
            }
            Event::Timeout { node, life, peer, batch } if lives(&self.nodes, node, life) => {
                self.answer(node, peer, batch, None)
            }
            Event::Arrive(packet) => self.arrive(packet),
            Event::Sync { .. } | Event::Fold { .. } | Event::Wake { .. } | Event::Timeout { .. } => Ok(()),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        self.say(|| format!("{step:?}"));
        match step {
            Step::Tell { node, fact, value, life } => {
                let kind = if fact % 3 == 0 { "x.observed" } else { "seen" };
                let mut told = self.fact(node, &format!("n{node}-{fact}"), kind, fact, life);
                told.payload.insert("value".into(), value.to_string());
                self.tell(node, told)
            }
            Step::Withdraw { node, fact } => {
                let id = format!("n{node}-{fact}");
                if self.node(node)?.facts.get(&id).is_none_or(|entry| entry.withdrawn) {
                    return Ok(());
                }
                let mut told = self.fact(node, &id, "withdrawn", fact, 0);
                told.withdrawn = true;
                self.lives.insert(id);
                self.tell(node, told)
            }
            Step::Over { node, fact } => {
                self.tellings += 1;
                let told = self.fact(node, &format!("n{node}-over-{}", self.tellings), "x.expired", fact, 0);
                self.lives.insert(format!("n{node}-{fact}"));
                self.tell(node, told)
            }
            Step::Found { node, key } => {
                self.tellings += 1;
                let id = format!("n{node}-found-{}", self.tellings);
                let mut told = self.fact(node, &id, "routerd.client.ipv4.observed", key, 0);
                told.dedupe_key = format!("n{node}-vm-{key}");
                told.payload.insert("source".into(), "provider-discovery".into());
                self.tell(node, told)
            }
            Step::Again { node } => match self.last_told.get(node).cloned().flatten() {
                Some(fact) => self.tell(node, fact),
                None => Ok(()),
            },
            Step::Cut { one, two } => {
                self.cut.extend([(one, two), (two, one)]);
                Ok(())
            }
            Step::Mend { one, two } => {
                self.cut.remove(&(one, two));
                self.cut.remove(&(two, one));
                Ok(())
            }
            Step::Crash { node, down } => self.crash(node, down),
            Step::Skew { node, millis } => self.set_clock(node, millis),
        }
    }

    /// A fact of a node, observed now by its clock.
    fn fact(&self, node: usize, id: &str, kind: &str, about: u64, life: u64) -> Fact {
        let now = self.clock(node);
        let mut fact = Fact::new(GROUP, id, kind);
        fact.source = format!("site-{node}");
        fact.subject =
            if about.is_multiple_of(2) { format!("10.{node}.0.{about}") } else { format!("fd00:{node}::{about}") };
        fact.observed = Some(self.nodes.get(node).map_or(now, |node| node.facts.stamp(id, now)));
        fact.expires = (life > 0).then(|| now.after(Duration::from_secs(life)));
        fact
    }

    fn tell(&mut self, node: usize, fact: Fact) -> Result<(), String> {
        if !self.node(node)?.up {
            return Ok(());
        }
        if let Some(last) = self.last_told.get_mut(node) {
            *last = Some(fact.clone());
        }
        match self.node(node)?.begin(&fact, None, Waiter::Client)? {
            Begun::Known => self.counts.known += 1,
            Begun::Conflict => return Err(format!("an id of its own is another's: {fact:?}")),
            Begun::Asked => self.counts.withdrawn += u64::from(fact.withdrawn || fact.kind == "x.expired"),
        }
        self.need_sync(node);
        Ok(())
    }

    fn need_sync(&mut self, node: usize) {
        let millis = self.chance.below(8);
        if let Some(found) = self.nodes.get_mut(node).filter(|node| !node.sync_due && node.needs_sync()) {
            found.sync_due = true;
            let life = found.life;
            self.at(millis, Event::Sync { node, life });
        }
    }

    fn sync(&mut self, node: usize) -> Result<(), String> {
        let clock = self.clock(node);
        let found = self.node(node)?;
        found.sync_due = false;
        let synced = found.sync(clock)?;
        let news = !synced.is_empty();
        for done in synced {
            match done.waiter {
                Waiter::Client => {
                    self.counts.told += 1;
                    self.acked.push((node, done.seq, done.state));
                }
                Waiter::Request { ask, place } => self.resolve(node, ask, place, Outcome::Delivered)?,
            }
        }
        let millis = self.chance.below(20);
        let found = self.node(node)?;
        if news && !found.fold_due {
            found.fold_due = true;
            let life = found.life;
            self.at(millis, Event::Fold { node, life });
        }
        Ok(())
    }

    fn fold(&mut self, node: usize) -> Result<(), String> {
        let clock = self.clock(node);
        let found = self.node(node)?;
        found.fold_due = false;
        found.fold(clock)?;
        let peers = found.peers.len();
        for peer in 0..peers {
            self.pump(node, peer)?;
        }
        self.need_wake(node)
    }

    fn pump(&mut self, node: usize, index: usize) -> Result<(), String> {
        let clock = self.clock(node);
        let found = self.node(node)?;
        let (life, pushes) = (found.life, found.pump(index, clock)?);
        let to = found.peers.get(index).map(|peer| peer.to).ok_or("no such peer")?;
        for push in pushes {
            self.say(|| format!("{node} → {to} batch {} of {}", push.batch, push.bodies.len()));
            self.signed += 1;
            let timestamp = i64::try_from(clock.nanos() / 1_000_000_000).unwrap_or(i64::MAX);
            let (batch, signature, bodies) = (push.batch, self.signed.to_le_bytes(), push.bodies);
            let request = Request { from: node, to, life, batch, timestamp, signature, bodies };
            self.send(Packet::Request(request));
            self.at(TIMEOUT, Event::Timeout { node, life, peer: index, batch });
        }
        self.need_sync(node);
        Ok(())
    }

    /// Has the node woken when an outbox or an expiry wants it, by its clock.
    fn need_wake(&mut self, node: usize) -> Result<(), String> {
        let (now, clock) = (self.now, self.clock(node));
        let found = self.node(node)?;
        let life = found.life;
        let outboxes = found.peers.iter().filter_map(|peer| peer.outbox.next_wake());
        let Some(wake) = outboxes.chain(found.facts.next_expiry()).min() else { return Ok(()) };
        let millis = u64::try_from(wake.since(clock).as_millis()).unwrap_or(u64::MAX).min(5_000) + 1;
        let at = now.after(Duration::from_millis(millis));
        if found.wake.is_none_or(|known| at < known) {
            found.wake = Some(at);
            self.at(millis, Event::Wake { node, life });
        }
        Ok(())
    }

    fn send(&mut self, packet: Packet) {
        let copies = 1 + u64::from(self.chance.happens(self.setting.doubled, 256));
        for _ in 0..copies {
            if self.cut.contains(&packet.ends()) || self.chance.happens(self.setting.lost, 256) {
                self.counts.lost += 1;
                continue;
            }
            let millis = 1 + self.chance.below(self.setting.slow);
            self.at(millis, Event::Arrive(packet.clone()));
        }
    }

    fn arrive(&mut self, packet: Packet) -> Result<(), String> {
        let (from, to) = packet.ends();
        if self.cut.contains(&(from, to)) || !self.node(to)?.up {
            self.counts.lost += 1;
            return Ok(());
        }
        match packet {
            Packet::Request(request) => self.receive(request),
            Packet::Answer { life, batch, outcomes, .. } => {
                let found = self.node(to)?;
                let peer = found.peers.iter().position(|peer| peer.to == from);
                match peer.filter(|_| found.life == life) {
                    Some(peer) => self.answer(to, peer, batch, Some(outcomes)),
                    None => Ok(()),
                }
            }
        }
    }

    /// A node is pushed facts.
    fn receive(&mut self, request: Request) -> Result<(), String> {
        self.counts.requests += 1;
        let Request { from, to, life, batch, timestamp, signature, bodies } = request;
        let clock = self.clock(to);
        let seconds = i64::try_from(clock.nanos() / 1_000_000_000).unwrap_or(i64::MAX);
        let found = self.node(to)?;
        if !Freshness::new(Duration::ZERO).check(seconds, timestamp) {
            self.counts.stale += 1;
            let outcomes = bodies.iter().map(|_| refused(&Reject::StaleTimestamp)).collect();
            self.send(Packet::Answer { from: to, to: from, life, batch, outcomes });
            return Ok(());
        }
        let replayed = !found.replays.note(seconds, timestamp, &signature);
        found.asked += 1;
        let ask = found.asked;
        let binding =
            Binding { name: format!("site-{from}"), group: GROUP.into(), sources: Some(vec![format!("site-{from}")]) };
        let own = found.name.clone();
        let facts = bodies.iter().map(|body| envelope::decode(body)).collect::<Result<Vec<Fact>, _>>();
        let facts = facts.map_err(|error| format!("a body that is no fact: {error}"))?;
        let told = facts.iter().map(|fact| (fact.id.clone(), fact.observed)).collect();
        found.asks.insert(ask, Ask { from, life, batch, facts: told, outcomes: vec![None; facts.len()] });
        self.counts.replays += u64::from(replayed);
        for (place, fact) in facts.into_iter().enumerate() {
            judge(&binding, &fact, &own).map_err(|reject| format!("{own} is pushed what it must not be: {reject}"))?;
            self.say(|| format!("{to} is told {} ({:?}, until {:?})", fact.id, fact.observed, fact.expires));
            let waiter = Waiter::Request { ask, place };
            match self.node(to)?.begin(&fact, Some(&binding.name), waiter)? {
                Begun::Known => {
                    self.counts.duplicates += 1;
                    self.resolve(to, ask, place, Outcome::Delivered)?;
                }
                Begun::Conflict => self.resolve(to, ask, place, refused(&Reject::Conflict(fact.id.clone())))?,
                Begun::Asked => self.counts.received += 1,
            }
        }
        self.need_sync(to);
        Ok(())
    }

    /// One fact of a request is done with; the last has the answer sent.
    fn resolve(&mut self, node: usize, ask: u64, place: usize, outcome: Outcome) -> Result<(), String> {
        let found = self.node(node)?;
        let Some(open) = found.asks.get_mut(&ask) else { return Ok(()) };
        if let Some(slot) = open.outcomes.get_mut(place) {
            *slot = Some(outcome);
        }
        if open.outcomes.iter().any(Option::is_none) {
            return Ok(());
        }
        if let Some(Ask { from, life, batch, facts, outcomes }) = found.asks.remove(&ask) {
            let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
            let taken = facts.into_iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Delivered);
            self.answered.extend(taken.map(|((id, observed), _)| (node, id, observed)));
            self.send(Packet::Answer { from: node, to: from, life, batch, outcomes });
        }
        Ok(())
    }

    /// A batch was answered, or not in time.
    fn answer(&mut self, node: usize, index: usize, batch: u64, outcomes: Option<Vec<Outcome>>) -> Result<(), String> {
        let clock = self.clock(node);
        let found = self.node(node)?;
        let Some(peer) = found.peers.get_mut(index) else { return Ok(()) };
        let Some(seqs) = peer.flights.remove(&batch) else { return Ok(()) };
        let late = outcomes.is_none();
        let outcomes = outcomes.map(|outcomes| seqs.into_iter().zip(outcomes).collect()).unwrap_or_default();
        peer.outbox.handle(clock, Input::Answered { batch, outcomes });
        self.counts.timeouts += u64::from(late);
        self.pump(node, index)?;
        self.need_wake(node)
    }

    fn crash(&mut self, node: usize, down: u64) -> Result<(), String> {
        let clock = self.clock(node);
        let mut chance = self.chance.branch(self.queued);
        let found = self.node(node)?;
        if !found.up {
            return Ok(());
        }
        found.crash(clock, &mut chance)?;
        self.counts.crashes += 1;
        self.at(down, Event::Start { node });
        Ok(())
    }

    fn start(&mut self, node: usize) -> Result<(), String> {
        let (clock, shape, seed) = (self.clock(node), self.shape(), self.chance.number());
        self.say(|| format!("{node} starts"));
        self.node(node)?.start(clock, seed, shape)?;
        self.fold(node)
    }

    fn set_clock(&mut self, node: usize, millis: i64) -> Result<(), String> {
        // What waits is synced first: a message id is remembered by the clock.
        if self.node(node)?.up {
            self.sync(node)?;
        }
        self.node(node)?.skew = millis;
        if self.node(node)?.up { self.fold(node) } else { Ok(()) }
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        self.now
    }
}

fn refused(reject: &Reject) -> Outcome {
    Outcome::Refused { status: reject.status(), text: reject.body().trim_end().to_owned() }
}

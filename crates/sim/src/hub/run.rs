//! The world: time, the hubs, and what is on its way between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use event::Moment;
use mesh::hub::Input;

use super::node::{Act, Hub};
use super::story::{ROOMS, Setting, Step, Timed, messenger};
use super::wire::{End, Frame, Pipe, connection, side};
use super::{Report, check};
use crate::chance::Chance;

/// When every run begins: 2025-05-30T10:13:20Z.
const BEGIN: Moment = Moment::from_nanos(1_748_600_000_000_000_000);
/// A connection that died unseen is found out within so many milliseconds.
const UNSEEN: u64 = 60_000;
/// How long the world has to come to rest when all is mended: a connection that died unseen, then the longest
/// wait before a redial, twice.
const REST: Duration = Duration::from_secs(400);
/// Lines of the log; a run that goes on and on tells no more.
const LINES_MAX: usize = 20_000;

/// What was met in runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that messengers sent.
    pub published: u64,
    /// Events that a hub took from another one.
    pub taken: u64,
    /// Events that came to a hub a second time, and were known.
    pub duplicates: u64,
    /// Events that were sent again.
    pub again: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Of these, the ones that were closed because there was another.
    pub doubled: u64,
    /// Connections that died.
    pub died: u64,
    /// Crashes of hubs.
    pub crashes: u64,
    /// Events that could not be recorded.
    pub refused: u64,
    /// Kept events that were found where they are to be, at the end.
    pub agreed: u64,
    /// Live events that were to come exactly once, and did.
    pub exact: u64,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Counts) {
        self.published += other.published;
        self.taken += other.taken;
        self.duplicates += other.duplicates;
        self.again += other.again;
        self.connections += other.connections;
        self.doubled += other.doubled;
        self.died += other.died;
        self.crashes += other.crashes;
        self.refused += other.refused;
        self.agreed += other.agreed;
        self.exact += other.exact;
    }
}

/// Something that is to happen.
#[derive(Debug)]
enum Event {
    Step(usize),
    Wake {
        hub: usize,
        life: u64,
    },
    Start {
        hub: usize,
    },
    /// A dial comes to the hub that it leads to, or to nobody.
    Reach {
        from: usize,
        life: u64,
        name: Arc<str>,
        to: usize,
    },
    Dialled {
        from: usize,
        life: u64,
        name: Arc<str>,
        outcome: Result<usize, &'static str>,
    },
    Arrive {
        pipe: usize,
        side: usize,
        frame: Frame,
    },
    /// A side finds out that a pipe is broken.
    Lost {
        pipe: usize,
        side: usize,
    },
    Record {
        hub: usize,
        life: u64,
    },
}

/// Everything there is.
pub struct World {
    now: Moment,
    pub setting: Setting,
    seed: u64,
    chance: Chance,
    pub hubs: Vec<Hub>,
    pub pipes: Vec<Pipe>,
    cut: BTreeSet<(usize, usize)>,
    without: BTreeSet<(usize, usize)>,
    queue: BTreeMap<(Moment, u64), Event>,
    queued: u64,
    /// Where each event was sent, and into which room; its number is the place.
    pub events: Vec<(usize, usize)>,
    /// How often each hub took an event; apart from it those that were sent with a position.
    pub taken: BTreeMap<(usize, u64), (u64, u64)>,
    /// Live events that were sent to a hub, and by which pipe.
    pub expected: BTreeMap<(usize, u64), usize>,
    pub counts: Counts,
    pub log: Vec<String>,
}

/// Runs steps in the setting of a seed.
pub fn run(seed: u64, steps: &[Timed]) -> Report {
    let mut world = World::new(seed);
    let failure = world.play(steps).err();
    for hub in &world.hubs {
        world.counts.duplicates += hub.duplicates;
        world.counts.doubled += hub.doubled;
        world.counts.again += hub.again;
    }
    let digest = check::digest(&world);
    Report { log: world.log, failure, digest, counts: world.counts }
}

impl World {
    fn new(seed: u64) -> Self {
        let setting = Setting::of(seed);
        let kept = setting.names.iter().zip(&setting.kept);
        World {
            now: BEGIN,
            seed,
            chance: Chance::new(seed).branch(3),
            hubs: kept.map(|(name, kept)| Hub::new(name, kept, setting.owed, setting.late)).collect(),
            setting,
            pipes: Vec::new(),
            cut: BTreeSet::new(),
            without: BTreeSet::new(),
            queue: BTreeMap::new(),
            queued: 0,
            events: Vec::new(),
            taken: BTreeMap::new(),
            expected: BTreeMap::new(),
            counts: Counts::default(),
            log: Vec::new(),
        }
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if self.log.len() < LINES_MAX {
            let after = self.now.since(BEGIN).as_millis();
            self.log.push(format!("{after:>7} ms  {}", line()));
        }
    }

    fn at(&mut self, millis: u64, event: Event) {
        self.at_moment(self.now.after(Duration::from_millis(millis)), event);
    }

    fn at_moment(&mut self, moment: Moment, event: Event) {
        self.queued += 1;
        self.queue.insert((moment, self.queued), event);
    }

    fn play(&mut self, steps: &[Timed]) -> Result<(), String> {
        for hub in 0..self.hubs.len() {
            self.start(hub)?;
        }
        let mut at = 0;
        for (index, (gap, _)) in steps.iter().enumerate() {
            at += gap;
            self.at(at, Event::Step(index));
        }
        self.until(self.now.after(Duration::from_millis(at)), steps)?;
        self.mend_all()?;
        self.rest(steps)?;
        check::linked(self)?;
        self.counts.agreed += check::nothing_kept_is_lost(self)?;
        self.say(|| String::from("at rest"));
        let from = self.events.len() as u64;
        for (hub, room) in (0..self.hubs.len()).flat_map(|hub| (0..ROOMS).map(move |room| (hub, room))) {
            self.publish(hub, room)?;
        }
        self.rest(steps)?;
        check::last_round(self, from)?;
        self.counts.exact += check::what_was_sent_live(self)?;
        self.counts.agreed += check::nothing_kept_is_lost(self)?;
        Ok(())
    }

    fn rest(&mut self, steps: &[Timed]) -> Result<(), String> {
        let rest = self.now.after(REST);
        while self.now < rest && !self.is_quiet() {
            self.until(self.now.after(Duration::from_secs(1)), steps)?;
        }
        if self.is_quiet() {
            return Ok(());
        }
        let busy: Vec<&Arc<str>> = self.hubs.iter().filter(|hub| !hub.is_quiet()).map(|hub| &hub.name).collect();
        let linked = check::linked(self).err().unwrap_or_default();
        let next = self.queue.values().find(|event| !matches!(event, Event::Wake { .. }));
        Err(format!("it does not come to rest when all is mended: {busy:?} are busy; {linked}; next {next:?}"))
    }

    fn is_quiet(&self) -> bool {
        let waits = |event: &Event| matches!(event, Event::Wake { .. });
        self.hubs.iter().all(Hub::is_quiet) && self.queue.values().all(waits) && check::linked(self).is_ok()
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
        self.without.clear();
        self.setting.full = 0;
        for hub in 0..self.hubs.len() {
            if !self.is_up(hub) {
                self.start(hub)?;
            }
            self.want(hub)?;
        }
        Ok(())
    }

    fn is_up(&self, hub: usize) -> bool {
        self.hubs.get(hub).is_some_and(|hub| hub.up)
    }

    fn lives(&self, hub: usize, life: u64) -> bool {
        self.hubs.get(hub).is_some_and(|hub| hub.up && hub.life == life)
    }

    fn hub(&mut self, hub: usize) -> Result<&mut Hub, String> {
        self.hubs.get_mut(hub).ok_or_else(|| format!("there is no hub {hub}"))
    }

    fn happen(&mut self, event: Event, steps: &[Timed]) -> Result<(), String> {
        match event {
            Event::Step(index) => match steps.get(index) {
                Some((_, step)) => self.step(*step),
                None => Ok(()),
            },
            Event::Start { hub } if !self.is_up(hub) => self.start(hub),
            Event::Wake { hub, life } if self.lives(hub, life) => {
                self.hub(hub)?.wake = None;
                self.link(hub, Input::Tick)
            }
            Event::Reach { from, life, name, to } => self.reach(from, life, name, to),
            Event::Dialled { from, life, name, outcome } => self.dialled(from, life, name, outcome),
            Event::Arrive { pipe, side, frame } => self.arrive(pipe, side, frame),
            Event::Lost { pipe, side } => self.lost(pipe, side),
            Event::Record { hub, life } if self.lives(hub, life) => {
                let fails = self.chance.happens(self.setting.full, 256);
                self.counts.refused += u64::from(fails);
                self.hub(hub)?.record(fails)?;
                self.act(hub)
            }
            Event::Start { .. } | Event::Wake { .. } | Event::Record { .. } => Ok(()),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        self.say(|| format!("{step:?}"));
        let pair = |one: usize, two: usize| (one.min(two), one.max(two));
        match step {
            Step::Publish { hub, room } => self.publish(hub, room),
            Step::Flap { one, two } => self.break_all(one, two, None),
            Step::Cut { one, two } => {
                self.cut.insert(pair(one, two));
                self.break_all(one, two, None)
            }
            Step::Mend { one, two } => {
                self.cut.remove(&pair(one, two));
                Ok(())
            }
            Step::Crash { hub, down } => self.crash(hub, down),
            Step::Messenger { hub } if self.is_up(hub) => {
                let (rooms, replays) = messenger(&mut self.chance);
                self.hub(hub)?.disconnect();
                self.hub(hub)?.connect(rooms, replays)
            }
            Step::Toggle { hub, place } => {
                if !self.without.remove(&(hub, place)) {
                    self.without.insert((hub, place));
                }
                self.want(hub)
            }
            Step::Nudge { hub } => self.link(hub, Input::Nudge(None)),
            Step::Messenger { .. } => Ok(()),
        }
    }

    fn publish(&mut self, hub: usize, room: usize) -> Result<(), String> {
        if !self.is_up(hub) {
            return Ok(());
        }
        let event = self.events.len() as u64;
        self.events.push((hub, room));
        self.counts.published += 1;
        self.hub(hub)?.publish(room, event)?;
        if self.chance.happens(1, 3) {
            self.hub(hub)?.save();
        }
        self.act(hub)
    }

    fn want(&mut self, hub: usize) -> Result<(), String> {
        let targets = self.setting.wanted(hub, &self.without);
        self.link(hub, Input::Want(targets))
    }

    fn link(&mut self, hub: usize, input: Input) -> Result<(), String> {
        let now = self.now;
        let found = self.hub(hub)?;
        if !found.up {
            return Ok(());
        }
        found.link(now, input)?;
        self.act(hub)
    }

    /// Does what a hub wants done, and has it woken when it wants to be.
    fn act(&mut self, hub: usize) -> Result<(), String> {
        while let Some(act) = self.hub(hub)?.act() {
            let life = self.hub(hub)?.life;
            match act {
                Act::Dial { name, address } => {
                    let (millis, to) = (self.chance.below(self.setting.slow), address.parse().unwrap_or(usize::MAX));
                    self.at(millis, Event::Reach { from: hub, life, name, to });
                }
                Act::Close { connection, why } => {
                    self.say(|| format!("{hub} closes {connection}: {why}"));
                    let (pipe, side) = side(connection);
                    self.send(connection, Frame::Close);
                    if let Some(end) = self.pipes.get_mut(pipe).and_then(|pipe| pipe.ends.get_mut(side)) {
                        *end = if *end == End::Open { End::Closing } else { *end };
                    }
                }
                Act::Send { connection, frame } => {
                    self.expect(hub, connection, &frame)?;
                    self.send(connection, frame);
                }
                Act::Drop { peer } => {
                    let other = self.hubs.iter().position(|each| each.name == peer).ok_or("a peer that is none")?;
                    self.break_all(hub, other, Some(true))?;
                }
                Act::Record => {
                    let millis = self.chance.below(20);
                    self.at(millis, Event::Record { hub, life });
                }
                Act::Taken { event, at } => self.took(hub, event, at)?,
                Act::Refused { event } => {
                    self.expected.remove(&(hub, event));
                }
                Act::Say(line) => self.say(|| line),
            }
        }
        let found = self.hub(hub)?;
        let (life, wake) = (found.life, found.links.next_wake());
        let earlier = wake.filter(|due| found.wake.is_none_or(|wake| *due < wake));
        if let Some(due) = earlier {
            found.wake = Some(due);
            let due = due.max(self.now);
            self.at_moment(due, Event::Wake { hub, life });
        }
        Ok(())
    }

    /// Remembers what is sent live, to ask for it at the end; and that nothing is sent on.
    fn expect(&mut self, hub: usize, connection: u64, frame: &Frame) -> Result<(), String> {
        let Frame::Event { event, at, .. } = frame else { return Ok(()) };
        let (origin, _) = usize::try_from(*event).ok().and_then(|at| self.events.get(at)).ok_or("no such event")?;
        if *origin != hub {
            return Err(format!("{hub} sends on event {event} of {origin}"));
        }
        let (pipe, side) = side(connection);
        let found = self.pipes.get(pipe).ok_or("no such connection")?;
        let (to, broken) = (found.hubs[1 - side].0, found.broken);
        if at.is_none() && !broken && self.expected.insert((to, *event), pipe).is_some() {
            return Err(format!("event {event} is sent to {to} twice"));
        }
        Ok(())
    }

    fn took(&mut self, hub: usize, event: u64, at: bool) -> Result<(), String> {
        self.counts.taken += 1;
        if usize::try_from(event).ok().and_then(|at| self.events.get(at)).is_some_and(|(origin, _)| *origin == hub) {
            return Err(format!("event {event} came back to {hub}"));
        }
        let times = self.taken.entry((hub, event)).or_default();
        *if at { &mut times.1 } else { &mut times.0 } += 1;
        if times.0 > 1 || (times.0 > 0 && times.1 > 0) {
            return Err(format!("{hub} took event {event} twice, which was sent live"));
        }
        Ok(())
    }

    fn send(&mut self, connection: u64, frame: Frame) {
        let (index, side) = side(connection);
        let millis = self.chance.below(self.setting.slow);
        let arrives = self.now.after(Duration::from_millis(millis));
        let Some(pipe) = self.pipes.get_mut(index).filter(|pipe| !pipe.broken) else { return };
        if pipe.ends[side] == End::Open || (frame == Frame::Closed && pipe.ends[side] == End::Closing) {
            let other = 1 - side;
            pipe.last[other] = pipe.last[other].max(arrives);
            let arrives = pipe.last[other];
            self.at_moment(arrives, Event::Arrive { pipe: index, side: other, frame });
        }
    }

    fn arrive(&mut self, index: usize, side: usize, frame: Frame) -> Result<(), String> {
        let now = self.now;
        let Some(pipe) = self.pipes.get_mut(index).filter(|pipe| !pipe.broken) else { return Ok(()) };
        let ((hub, _), end) = (pipe.hubs[side], pipe.ends[side]);
        match (end, frame) {
            (End::Gone, _) => Ok(()),
            (End::Closing, Frame::Close | Frame::Closed) => {
                pipe.ends[side] = End::Gone;
                Ok(())
            }
            (End::Open, Frame::Close) => {
                self.send(connection(index, side), Frame::Closed);
                if let Some(pipe) = self.pipes.get_mut(index) {
                    pipe.ends[side] = End::Gone;
                }
                let why = String::from("the peer closed it");
                self.link(hub, Input::Lost { connection: connection(index, side), why })
            }
            (_, frame) => {
                self.hub(hub)?.frame(now, connection(index, side), frame)?;
                if self.chance.happens(1, 4) {
                    self.hub(hub)?.save();
                }
                self.act(hub)
            }
        }
    }

    fn reach(&mut self, from: usize, life: u64, name: Arc<str>, to: usize) -> Result<(), String> {
        let millis = self.chance.below(self.setting.slow);
        let cut = self.cut.contains(&(from.min(to), from.max(to)));
        if !self.lives(from, life) || cut || !self.is_up(to) || self.chance.happens(self.setting.full, 256) {
            self.at(millis, Event::Dialled { from, life, name, outcome: Err("refused") });
            return Ok(());
        }
        let (peer, lives) = (Arc::clone(&self.hub(from)?.name), [(from, life), (to, self.hub(to)?.life)]);
        let comes = self.now.after(Duration::from_millis(millis));
        let index = self.pipes.len();
        self.pipes.push(Pipe { hubs: lives, ends: [End::Open; 2], broken: false, last: [comes; 2] });
        self.counts.connections += 1;
        self.say(|| format!("{from} reaches {to}: {} and {}", connection(index, 0), connection(index, 1)));
        self.at_moment(comes, Event::Dialled { from, life, name, outcome: Ok(index) });
        self.link(to, Input::Accepted { connection: connection(index, 1), peer: Some(peer) })
    }

    fn dialled(&mut self, from: usize, life: u64, name: Arc<str>, got: Result<usize, &str>) -> Result<(), String> {
        if !self.lives(from, life) {
            return Ok(());
        }
        let found = got.map_err(String::from).and_then(|index| {
            let pipe = self.pipes.get(index).filter(|pipe| !pipe.broken).ok_or("broken")?;
            Ok((connection(index, 0), self.hubs.get(pipe.hubs[1].0).map(|hub| Arc::clone(&hub.name))))
        });
        self.link(from, Input::Dialled { name, outcome: found })
    }

    /// Breaks every connection between two hubs; who sees it is chance, where it is not told.
    fn break_all(&mut self, one: usize, two: usize, seen: Option<bool>) -> Result<(), String> {
        let between = |pipe: &Pipe| {
            let (first, second) = (pipe.hubs[0].0, pipe.hubs[1].0);
            !pipe.broken && ((first, second) == (one, two) || (first, second) == (two, one))
        };
        let broken: Vec<usize> = (0..self.pipes.len()).filter(|at| self.pipes.get(*at).is_some_and(between)).collect();
        for index in broken {
            self.break_one(index, seen);
        }
        Ok(())
    }

    fn break_one(&mut self, index: usize, seen: Option<bool>) {
        let Some(pipe) = self.pipes.get_mut(index) else { return };
        pipe.broken = true;
        let ends = pipe.ends;
        // What is on its way may come or not from now on.
        let taken = &self.taken;
        self.expected.retain(|key, by| *by != index || taken.contains_key(key));
        if ends == [End::Gone; 2] {
            return;
        }
        self.counts.died += 1;
        for side in 0..2 {
            let seen = seen.unwrap_or_else(|| self.chance.happens(1, 2));
            let millis = if seen { self.chance.below(50) } else { self.chance.between(UNSEEN / 2, UNSEEN) };
            self.at(millis, Event::Lost { pipe: index, side });
        }
    }

    fn lost(&mut self, index: usize, side: usize) -> Result<(), String> {
        let Some(pipe) = self.pipes.get_mut(index) else { return Ok(()) };
        let (hub, life) = pipe.hubs[side];
        let told = pipe.ends[side] == End::Open;
        pipe.ends[side] = End::Gone;
        if !told || !self.lives(hub, life) {
            return Ok(());
        }
        self.link(hub, Input::Lost { connection: connection(index, side), why: String::from("reset") })
    }

    fn crash(&mut self, hub: usize, down: u64) -> Result<(), String> {
        if !self.is_up(hub) {
            return Ok(());
        }
        self.counts.crashes += 1;
        self.hub(hub)?.crash();
        let of = |pipe: &Pipe| !pipe.broken && pipe.hubs.iter().any(|(each, _)| *each == hub);
        let broken: Vec<usize> = (0..self.pipes.len()).filter(|at| self.pipes.get(*at).is_some_and(of)).collect();
        for index in broken {
            self.break_one(index, None);
        }
        self.at(down, Event::Start { hub });
        Ok(())
    }

    fn start(&mut self, hub: usize) -> Result<(), String> {
        self.say(|| format!("{hub} starts"));
        let messengers = self.setting.messengers.get(hub).cloned().unwrap_or_default();
        let seed = self.seed.wrapping_mul(31).wrapping_add(hub as u64);
        let found = self.hub(hub)?;
        found.start(seed ^ (found.life << 32));
        for (rooms, replays) in messengers {
            found.connect(rooms, replays)?;
        }
        self.want(hub)
    }
}

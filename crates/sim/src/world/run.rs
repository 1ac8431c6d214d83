//! One run: the steps of a seed, asked of both engines.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use event::Moment;
use journal::desk::{Key, Removed};
use journal::limits::{PAGE_BYTES_MAX, PAGE_MESSAGES_MAX};
use journal::{Append, Expect, Purge, Read, Start, Storage, Stored};

use super::Report;
use super::counter::{Counter, Wants};
use super::engine::{Engine, Slot};
use super::oracle::Oracle;
use super::step::{self, Menu, SHARES, Step, Wish};
use super::verb::{Ask, Found, Told, Verb, short};
use crate::chance::Chance;
use crate::disk::{Countdown, Digest, Faults, Flip, SimDisk};

/// Requests that wait before the engine is told to commit them.
const WAITING_MAX: usize = 40;
/// Bits that flip at once.
const FLIPS_MAX: u64 = 3;
/// When every run begins.
const BEGIN: Moment = Moment::from_nanos(1_800_000_000_000_000_000);

/// What was met on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps done.
    pub steps: u64,
    /// Requests that both engines answered alike, or refused alike.
    pub agreed: u64,
    /// Reads that both answered alike.
    pub reads: u64,
    /// Requests that the disk did not let be done.
    pub refused: u64,
    /// Power failures and killed processes.
    pub crashes: u64,
    /// Requests of which a crash left open whether they were done.
    pub open: u64,
    /// Of those, the ones that survived.
    pub survived: u64,
    /// Bits flipped.
    pub flips: u64,
    /// Messages that were missing for it, and were named.
    pub damaged: u64,
    /// Deliveries of consumers.
    pub deliveries: u64,
    /// Acknowledgements taken.
    pub acknowledged: u64,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Counts) {
        self.steps += other.steps;
        self.agreed += other.agreed;
        self.reads += other.reads;
        self.refused += other.refused;
        self.crashes += other.crashes;
        self.open += other.open;
        self.survived += other.survived;
        self.flips += other.flips;
        self.damaged += other.damaged;
        self.deliveries += other.deliveries;
        self.acknowledged += other.acknowledged;
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Killed: the disk keeps all.
    Kill,
    /// The power failed: the seed decides what the disk keeps.
    Crash(u64),
}

/// A request that was submitted.
struct Waiting {
    verb: Verb,
    slot: Slot,
    /// What the consumers know it by.
    key: Option<Key>,
}

struct World {
    chance: Chance,
    disk: SimDisk,
    engine: Option<Engine>,
    oracle: Oracle,
    now: Moment,
    /// The latest that it ever was. While the clock stands before it, whether a window is over that
    /// once was is nobody's promise, so no ids are given.
    latest: Moment,
    waiting: Vec<Waiting>,
    counter: Counter,
    /// What was removed for the consumers since the journal was opened: a crash may undo it, and the
    /// consumers would do it again. With when its stream was created, which tells streams apart.
    retired: Vec<(Moment, Verb)>,
    /// Changes of the consumers that a later sync answers.
    lingering: Vec<(Key, Slot)>,
    /// How the process ends where the power countdown strikes.
    doom: End,
    log: Vec<String>,
    digest: Digest,
    counts: Counts,
    /// Faults that had struck when the disk was last known to be well.
    struck: u64,
}

/// Runs steps, each with its place in its seed.
pub fn run(seed: u64, steps: &[(usize, Step)], menu: Menu) -> Report {
    let mut world = World {
        chance: Chance::new(seed).branch(3),
        disk: SimDisk::new(seed),
        engine: None,
        oracle: Oracle::default(),
        now: BEGIN,
        latest: BEGIN,
        waiting: Vec::new(),
        counter: Counter::default(),
        retired: Vec::new(),
        lingering: Vec::new(),
        doom: End::Kill,
        log: Vec::new(),
        digest: Digest::default(),
        counts: Counts::default(),
        struck: 0,
    };
    let mut failure = world.open().err().map(|why| (0, why));
    for (place, step) in steps {
        if failure.is_some() {
            break;
        }
        world.note(format!("{place}: {}", short(step)));
        world.counts.steps += 1;
        let done =
            catch_unwind(AssertUnwindSafe(|| world.step(*place, step))).unwrap_or_else(|why| Err(panicked(&why)));
        failure = done.err().map(|why| (*place, why));
    }
    if failure.is_none() {
        let done = catch_unwind(AssertUnwindSafe(|| world.finish(menu))).unwrap_or_else(|why| Err(panicked(&why)));
        failure = done.err().map(|why| (usize::MAX, why));
    }
    world.digest.take(&world.disk.digest().to_le_bytes());
    let World { log, digest, counts, .. } = world;
    Report { log, failure, digest: digest.value(), counts }
}

fn panicked(why: &Box<dyn std::any::Any + Send>) -> String {
    let text = why.downcast_ref::<String>().cloned();
    let text = text.or_else(|| why.downcast_ref::<&str>().map(ToString::to_string));
    format!("panicked: {}", text.unwrap_or_default())
}

impl World {
    fn note(&mut self, line: String) {
        self.digest.take(line.as_bytes());
        self.log.push(line);
    }

    fn engine(&mut self) -> Result<&mut Engine, String> {
        self.engine.as_mut().ok_or_else(|| "the engine is not open".to_string())
    }

    /// Whether the disk gave a reason to refuse since it was last well.
    fn disturbed(&self) -> bool {
        self.disk.counts().faults > self.struck
    }

    fn step(&mut self, place: usize, step: &Step) -> Result<(), String> {
        if let Some(verb) = self.verb(place, step) {
            return self.submit(verb);
        }
        if let Some(ask) = self.ask(step) {
            return self.compare(&ask);
        }
        if step.is_of_consumers() {
            self.commit()?;
            self.counter.ask(self.now, step);
            return self.serve();
        }
        match step {
            Step::Commit => self.commit(),
            Step::Tick => self.pass(self.now),
            Step::Later(span) => self.pass(self.now.after(*span)),
            Step::Earlier(span) => self.pass(self.now.before(*span)),
            Step::Flush => self.work(Engine::flush),
            Step::Checkpoint => {
                self.commit()?;
                if place.is_multiple_of(2) {
                    self.serve()?;
                    let whole = self.counter.whole();
                    self.submit(Verb::Whole(whole))?;
                }
                self.work(Engine::checkpoint)
            }
            Step::Restart => self.restart(),
            Step::Kill { within } => self.end(*within, End::Kill),
            Step::Crash { within, seed } => self.end(*within, End::Crash(*seed)),
            Step::Heal => self.heal(),
            Step::Flip { .. } => Ok(()),
            _ => {
                self.disturb(step);
                Ok(())
            }
        }
    }

    fn disturb(&mut self, step: &Step) {
        let mut faults = self.disk.faults();
        match step {
            Step::Writes(countdown) => faults.writes = *countdown,
            Step::Syncs(countdown) => faults.syncs = *countdown,
            Step::Reads(countdown) => faults.reads = *countdown,
            Step::ReadOnly(on) => faults.read_only = *on,
            Step::Room(bytes) => self.disk.set_capacity(bytes.map(|bytes| self.disk.used() + bytes)),
            _ => {}
        }
        self.disk.set_faults(faults);
    }

    /// A position at a share of a stream.
    fn position(&self, name: &str, share: u64) -> u64 {
        let Found::Info(Ok(info)) = self.oracle.ask(&Ask::Info(name.to_string())) else { return share % 10 };
        let state = info.state;
        let span = state.last.saturating_sub(state.first) + 2;
        state.first.saturating_sub(1) + span * share / SHARES
    }

    /// The request that a step stands for.
    fn verb(&mut self, place: usize, step: &Step) -> Option<Verb> {
        Some(match step {
            Step::Create { stream, shape } => Verb::Create(step::stream_config(*stream, *shape)),
            Step::Update { stream, shape } => Verb::Update(self.update(*stream, *shape)),
            Step::Drop { stream } => Verb::Drop(step::stream_name(*stream)),
            Step::Append { stream, subject, size, id, ttl, wish } => Verb::Append(Append {
                id: id.filter(|_| self.now >= self.latest).map(|id| Bytes::from(format!("id{id}"))),
                expect: self.expect(*stream, *subject, wish),
                ttl: *ttl,
                ..Append::new(step::message(*stream, *subject, *size, place))
            }),
            Step::Purge { stream, filter, before, keep } => {
                let name = step::stream_name(*stream);
                let purge = Purge {
                    filter: filter.map(|filter| step::filter(*stream, filter)),
                    before: before.map(|share| self.position(&name, share)),
                    keep: *keep,
                };
                Verb::Purge(name, purge)
            }
            Step::Delete { stream, share } => {
                let name = step::stream_name(*stream);
                let seq = self.position(&name, *share);
                Verb::Delete(name, seq)
            }
            _ => return None,
        })
    }

    /// A declaration that differs in limits from what stands, mostly.
    fn update(&self, stream: u64, shape: u64) -> journal::StreamConfig {
        let mut config = step::stream_config(stream, shape);
        let found = self.oracle.ask(&Ask::Info(config.name.clone()));
        let Found::Info(Ok(info)) = found else { return config };
        // What a longer window would remember of before is nobody's promise.
        config.duplicate_window = config.duplicate_window.min(info.config.duplicate_window);
        if !shape.is_multiple_of(8) {
            (config.storage, config.retention) = (info.config.storage, info.config.retention);
            config.deny_delete |= info.config.deny_delete;
            config.deny_purge |= info.config.deny_purge;
        }
        config
    }

    fn expect(&self, stream: u64, subject: u64, wish: &Wish) -> Expect {
        let name = step::stream_name(stream);
        let info = self.oracle.ask(&Ask::Info(name.clone()));
        let last = if let Found::Info(Ok(info)) = info { info.state.last } else { 0 };
        let pattern = wish.pattern.then(|| step::filter(stream, subject % 6));
        let of = pattern.clone().unwrap_or_else(|| step::subject(stream, subject).into());
        let last_of = match self.oracle.ask(&Ask::Last(name.clone(), of)) {
            Found::Stored(Ok(stored)) => stored.seq,
            _ => 0,
        };
        Expect {
            stream: wish.stream.map(|right| if right { name } else { "OTHER".to_string() }),
            last: wish.last.map(|off| last + off),
            last_of_subject: wish.subject.map(|off| last_of + off),
            subject: pattern.filter(|_| wish.subject.is_some()),
            last_id: wish.id.map(|id| format!("id{id}")),
        }
    }

    /// The question that a step stands for.
    fn ask(&self, step: &Step) -> Option<Ask> {
        Some(match step {
            Step::Read { stream, share, by_time, filters, last, limit, bytes } => {
                let name = step::stream_name(*stream);
                let seq = self.position(&name, *share);
                let start = if *by_time { Start::Time(self.time_of(&name, seq)) } else { Start::Seq(seq) };
                let filters = filters.iter().map(|filter| step::filter(*stream, *filter)).collect();
                let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
                let (limit, bytes) = (size(*limit), size(*bytes));
                Ask::Read(name, Read { start, filters, last_per_subject: *last, until: None, limit, bytes, wait: None })
            }
            Step::Get { stream, share } => {
                let name = step::stream_name(*stream);
                let seq = self.position(&name, *share);
                Ask::Get(name, seq)
            }
            Step::Last { stream, filter } => Ask::Last(step::stream_name(*stream), step::filter(*stream, *filter)),
            Step::Subjects { stream, filter, after, limit } => Ask::Subjects(
                step::stream_name(*stream),
                step::filter(*stream, *filter),
                after.map(|number| step::subject(*stream, number)),
                usize::try_from(*limit).unwrap_or(1),
            ),
            Step::Info { stream } if stream.is_multiple_of(2) => Ask::Info(step::stream_name(*stream)),
            Step::Info { stream: 1 } => Ask::Streams,
            Step::Info { stream } => Ask::CapturedBy(step::subject(*stream, 1)),
            _ => return None,
        })
    }

    /// The moment of the message at a position, or now.
    fn time_of(&self, name: &str, seq: u64) -> Moment {
        match self.oracle.ask(&Ask::Get(name.to_string(), seq)) {
            Found::Stored(Ok(stored)) => stored.time,
            _ => self.now,
        }
    }

    fn compare(&mut self, ask: &Ask) -> Result<(), String> {
        let faults = self.disk.counts().faults;
        let mut theirs = self.engine()?.ask(ask).bare();
        if self.disk.counts().faults > faults {
            // A read failed: the answer may be a refusal, or lack what could not be read.
            self.disk.set_faults(Faults { reads: Countdown::default(), ..self.disk.faults() });
            theirs = self.engine()?.ask(ask).bare();
        }
        let ours = self.oracle.ask(ask).bare();
        self.counts.reads += 1;
        self.note(format!("    {}", short(&theirs)));
        if self.alike(ask, &theirs, &ours) { Ok(()) } else { Err(differs(ask, &theirs, &ours)) }
    }

    /// Whether two answers say the same. Where a page ends between two messages that match, it may
    /// say of any position between them that the next page starts there.
    fn alike(&self, ask: &Ask, theirs: &Found, ours: &Found) -> bool {
        let (Ask::Read(name, read), Found::Page(Ok(theirs)), Found::Page(Ok(ours))) = (ask, theirs, ours) else {
            return theirs == ours;
        };
        if (&theirs.messages, theirs.last, &theirs.damaged) != (&ours.messages, ours.last, &ours.damaged) {
            return false;
        }
        let (from, to) = (theirs.next.min(ours.next), theirs.next.max(ours.next));
        let between = Read { start: Start::Seq(from), limit: 1, ..read.clone() };
        let Found::Page(Ok(page)) = self.oracle.ask(&Ask::Read(name.clone(), between)) else { return false };
        page.messages.first().is_none_or(|stored| stored.seq >= to)
    }

    fn submit(&mut self, verb: Verb) -> Result<(), String> {
        let slot = self.engine()?.submit(&verb);
        self.waiting.push(Waiting { verb, slot, key: None });
        if self.waiting.len() >= WAITING_MAX { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), String> {
        let now = self.now;
        self.engine()?.commit(now);
        self.settle()
    }

    /// Lets the consumers go on until they want nothing more.
    fn serve(&mut self) -> Result<(), String> {
        /// Turns after which they never will.
        const TURNS_MAX: usize = 10_000;
        let now = self.now;
        for _ in 0..TURNS_MAX {
            for (key, slot) in std::mem::take(&mut self.lingering) {
                match slot.take() {
                    Some(told) => self.counter.told(now, &Verb::Keep(Vec::new(), false), key, &told),
                    None => self.lingering.push((key, slot)),
                }
            }
            let Some(engine) = &self.engine else { return Ok(()) };
            let wants = self.counter.serve(engine, now)?;
            if wants.is_empty() {
                return Ok(());
            }
            let crashes = self.counts.crashes;
            self.give(wants)?;
            if self.counts.crashes != crashes {
                return Ok(());
            }
        }
        Err("the consumers come to no rest".to_string())
    }

    /// Does what the consumers want.
    fn give(&mut self, wants: Wants) -> Result<(), String> {
        for (verb, key) in wants {
            let slot = self.engine()?.submit(&verb);
            self.waiting.push(Waiting { verb, slot, key });
        }
        self.commit()
    }

    /// Takes the answers to what waited, and recovers where the engine is no more.
    fn settle(&mut self) -> Result<(), String> {
        let mut open: Vec<Verb> = Vec::new();
        let mut least = 0;
        let refusing = self.engine.as_ref().is_none_or(Engine::refusing);
        for Waiting { verb, slot, key } in std::mem::take(&mut self.waiting) {
            let told = slot.take();
            if matches!(verb, Verb::Retire(..) | Verb::Whole(..) | Verb::Keep(..)) {
                self.settle_quiet(verb, key, told, slot, refusing, &mut open);
                continue;
            }
            match told {
                Some(told) if told.is_storage() => {
                    self.note(format!("    {} ← {}", short(&told), short(&verb)));
                    self.counts.refused += 1;
                    if !self.disturbed() {
                        return Err(format!("refused without a fault: {told:?}"));
                    }
                    if let Some(key) = key {
                        self.counter.told(self.now, &verb, key, &told);
                    }
                }
                Some(told) if !told.is_closed() => {
                    if !open.is_empty() {
                        least = if told.is_ok() { open.len() + 1 } else { least };
                        open.push(verb);
                        continue;
                    }
                    self.agree(&verb, told, key)?;
                }
                _ => open.push(verb),
            }
        }
        if self.gone() {
            return self.recover(&open, least);
        }
        match open.first() {
            Some(verb) => Err(format!("was not answered: {verb:?}")),
            None => Ok(()),
        }
    }

    /// Settles what nobody is told of.
    fn settle_quiet(
        &mut self,
        verb: Verb,
        key: Option<Key>,
        told: Option<Told>,
        slot: Slot,
        refusing: bool,
        open: &mut Vec<Verb>,
    ) {
        if self.gone() || !open.is_empty() {
            open.push(verb);
            return;
        }
        match (told, key) {
            (Some(told), Some(key)) => self.counter.told(self.now, &verb, key, &told),
            (None, Some(key)) => self.lingering.push((key, slot)),
            (_, None) if !refusing => {
                self.oracle.apply(&verb, self.now);
                if let Verb::Retire(name, _) = &verb
                    && let Found::Info(Ok(info)) = self.oracle.ask(&Ask::Info(name.clone()))
                {
                    self.retired.push((info.created, verb));
                }
            }
            (_, None) => {}
        }
    }

    /// Compares an answer with the oracle's, and tells the consumers what they need to know.
    fn agree(&mut self, verb: &Verb, told: Told, key: Option<Key>) -> Result<(), String> {
        let now = self.now;
        let theirs = told.bare();
        let ours = self.oracle.apply(verb, now).bare();
        self.note(format!("    {}", short(&theirs)));
        self.counts.agreed += 1;
        if ours != theirs {
            return Err(differs(verb, &theirs, &ours));
        }
        if let Some(key) = key {
            self.counter.told(now, verb, key, &theirs);
        }
        if !theirs.is_ok() {
            return Ok(());
        }
        let Some(engine) = &self.engine else { return Ok(()) };
        match (verb, theirs) {
            (Verb::Append(append), Told::Append(Ok(receipt))) if !receipt.duplicate => {
                let info = self.oracle.ask(&Ask::Info(receipt.stream.to_string()));
                let time = if let Found::Info(Ok(info)) = info { info.state.last_time } else { now };
                self.counter.appended(now, &receipt.stream, receipt.seq, append, time);
            }
            (Verb::Create(config), _) => self.counter.stream(now, &config.name, engine),
            (Verb::Update(config), _) => {
                self.counter.stream(now, &config.name, engine);
                self.counter.removed(now, &config.name, Removed::Some);
            }
            (Verb::Drop(name), _) => {
                self.counter.dropped(now, name);
                self.retired.retain(|(_, verb)| !matches!(verb, Verb::Retire(each, _) if each == name));
            }
            (Verb::Purge(name, _), _) => self.counter.removed(now, name, Removed::Some),
            (Verb::Delete(name, seq), _) => self.counter.removed(now, name, Removed::One(*seq)),
            _ => {}
        }
        Ok(())
    }

    fn gone(&self) -> bool {
        self.disk.is_down() || self.engine.as_ref().is_none_or(|engine| engine.closed().is_some())
    }

    /// Lets the engine do what time asks for, at a moment.
    fn pass(&mut self, to: Moment) -> Result<(), String> {
        self.commit()?;
        (self.now, self.latest) = (to, self.latest.max(to));
        self.engine()?.tick(to);
        if self.gone() {
            return self.recover(&[], 0);
        }
        if self.engine()?.refusing() {
            if !self.disturbed() {
                return Err("refuses without a fault".to_string());
            }
            return self.heal();
        }
        self.oracle.tick(to);
        self.counter.tick(to);
        self.serve()
    }

    /// Lets the engine do work of its own.
    fn work(&mut self, work: impl FnOnce(&mut Engine, Moment)) -> Result<(), String> {
        self.commit()?;
        let now = self.now;
        work(self.engine()?, now);
        if self.gone() { self.recover(&[], 0) } else { Ok(()) }
    }

    /// All faults are over: the engine must take everything again.
    fn heal(&mut self) -> Result<(), String> {
        self.commit()?;
        self.disk.set_faults(Faults { power: self.disk.faults().power, ..Faults::default() });
        self.disk.set_capacity(None);
        for work in [Engine::tick, Engine::flush, Engine::checkpoint, Engine::tick] {
            let now = self.now;
            work(self.engine()?, now);
            if self.gone() {
                return self.recover(&[], 0);
            }
        }
        self.struck = self.disk.counts().faults;
        if self.engine()?.refusing() {
            return Err("refuses though the fault is over".to_string());
        }
        self.oracle.tick(self.now);
        self.same_state(&mut Vec::new())
    }

    fn restart(&mut self) -> Result<(), String> {
        self.commit()?;
        let (now, crashes) = (self.now, self.counts.crashes);
        self.counter.close(now);
        self.serve()?;
        if self.counts.crashes != crashes {
            return Ok(());
        }
        self.engine()?.close(now);
        if self.disk.is_down() {
            return self.recover(&[], 0);
        }
        self.engine = None;
        self.counter.rest();
        self.oracle.restart();
        if self.open().is_err() {
            self.disk.kill();
            self.calm();
            self.open()?;
        }
        if self.gone() {
            return self.recover(&[], 0);
        }
        self.oracle.tick(self.now);
        self.same_state(&mut Vec::new())?;
        self.serve()
    }

    fn calm(&mut self) {
        self.disk.set_faults(Faults::default());
        self.disk.set_capacity(None);
        self.struck = self.disk.counts().faults;
    }

    fn open(&mut self) -> Result<(), String> {
        let faults = self.disk.counts().faults;
        let mut engine = Engine::open(&self.disk, self.now)?;
        if self.disk.counts().faults > faults && !engine.damage().is_empty() {
            // A read that failed counts as damage: what it cost must be back when it succeeds.
            drop(engine);
            self.disk.kill();
            self.calm();
            engine = Engine::open(&self.disk, self.now)?;
        }
        engine.tick(self.now);
        self.engine = Some(engine);
        self.forget()
    }

    /// Deletes the streams that are kept in memory, which must be empty now: see [`Oracle::restart`].
    fn forget(&mut self) -> Result<(), String> {
        let now = self.now;
        let Found::Streams(streams) = self.engine()?.ask(&Ask::Streams) else { return Ok(()) };
        for info in streams.into_iter().filter(|info| info.config.storage == Storage::Memory) {
            if info.state.messages > 0 {
                return Err(format!("a stream in memory remembers: {info:?}"));
            }
            self.counter.doubt(&info.config.name);
            let of = |verb: &Verb| matches!(verb, Verb::Retire(each, _) if *each == info.config.name);
            self.retired.retain(|(_, verb)| !of(verb));
            self.engine()?.submit(&Verb::Drop(info.config.name));
            self.engine()?.commit(now);
        }
        let Some(engine) = &self.engine else { return Ok(()) };
        self.counter.open(engine, now)
    }

    fn end(&mut self, within: Option<u64>, how: End) -> Result<(), String> {
        self.doom = how;
        match within {
            Some(steps) => {
                self.disk.set_faults(Faults { power: Some(steps), ..self.disk.faults() });
                Ok(())
            }
            None => {
                let open: Vec<Verb> = std::mem::take(&mut self.waiting).into_iter().map(|each| each.verb).collect();
                self.recover(&open, 0)
            }
        }
    }

    /// Ends the process, opens the journal again, and finds out how much of `open` survived: at
    /// least `least` of it.
    fn recover(&mut self, open: &[Verb], least: usize) -> Result<(), String> {
        self.counts.crashes += 1;
        self.counts.open += open.len() as u64;
        self.engine = None;
        self.lingering.clear();
        self.waiting.clear();
        for verb in open {
            if let Verb::Drop(name) = verb {
                self.counter.doubt(name);
            }
        }
        let how = match self.doom {
            End::Crash(_) => self.doom,
            End::Kill if self.disk.is_down() || self.chance.happens(1, 2) => End::Kill,
            End::Kill => End::Crash(self.chance.number()),
        };
        self.note(format!("    ends ({how:?}), {} of {} were not answered", open.len() - least, open.len()));
        self.die(how);
        if self.chance.happens(1, 2) {
            self.calm();
        }
        if let Err(why) = self.open() {
            self.note(format!("    does not open: {why}"));
            if !self.disturbed() {
                return Err(format!("does not open: {why}"));
            }
            self.disk.kill();
            self.calm();
            self.open()?;
        }
        if self.gone() || self.engine()?.refusing() {
            self.engine = None;
            self.die(how);
            self.calm();
            self.open()?;
        }
        self.doom = End::Kill;
        self.retire_again()?;
        if self.gone() || self.engine()?.refusing() {
            self.engine = None;
            self.die(how);
            self.calm();
            self.open()?;
            self.retire_again()?;
        }
        self.survivors(open, least)
    }

    /// Removes for the consumers what a crash may have brought back.
    fn retire_again(&mut self) -> Result<(), String> {
        let now = self.now;
        for (created, verb) in self.retired.clone() {
            let Verb::Retire(name, _) = &verb else { continue };
            let there = self.engine()?.ask(&Ask::Info(name.clone()));
            if matches!(&there, Found::Info(Ok(info)) if info.created == created) {
                self.engine()?.submit(&verb);
            }
        }
        self.engine()?.commit(now);
        Ok(())
    }

    fn die(&mut self, how: End) {
        match how {
            End::Kill => self.disk.kill(),
            End::Crash(seed) => self.disk.crash(&mut Chance::new(seed)),
        }
        let digest = self.disk.digest();
        self.digest.take(&digest.to_le_bytes());
    }

    /// Brings the oracle to what survived.
    fn survivors(&mut self, open: &[Verb], least: usize) -> Result<(), String> {
        let mut differences = Vec::new();
        for count in 0..=open.len() {
            if count > 0
                && let Some(verb) = open.get(count - 1)
            {
                self.oracle.apply(verb, self.now);
            }
            if count < least {
                continue;
            }
            let mut candidate = self.oracle.clone();
            candidate.restart();
            candidate.tick(self.now);
            std::mem::swap(&mut self.oracle, &mut candidate);
            match self.same_state(&mut differences) {
                Ok(()) => {
                    self.counts.survived += count as u64;
                    self.note(format!("    {count} of {} survived", open.len()));
                    return self.take_stock();
                }
                Err(why) if self.gone() => return Err(why),
                Err(_) => std::mem::swap(&mut self.oracle, &mut candidate),
            }
        }
        let all = differences.join("\n      ");
        Err(format!("what survived is no beginning of what was submitted, {} open:\n      {all}", open.len()))
    }

    /// Tells the consumers' checks what is there after a crash.
    fn take_stock(&mut self) -> Result<(), String> {
        self.counter.forget();
        for name in self.oracle.streams().into_iter().map(|config| config.name) {
            let Found::Page(Ok(page)) = self.oracle.ask(&Ask::Read(name.clone(), whole())) else { continue };
            page.messages.iter().for_each(|stored| self.counter.found(&name, stored));
        }
        self.serve()
    }

    /// Compares everything that can be read.
    fn same_state(&mut self, differences: &mut Vec<String>) -> Result<(), String> {
        for attempt in 0..2 {
            let (asks, mut failed, faults) = (self.asks(), None, self.disk.counts().faults);
            for ask in asks {
                let ours = self.oracle.ask(&ask).bare();
                let theirs = self.engine()?.ask(&ask).bare();
                if self.disk.counts().faults > faults && attempt == 0 {
                    // A read failed: what could not be read is asked for again.
                    self.calm();
                }
                if !self.alike(&ask, &theirs, &ours) {
                    failed = Some(differs(&ask, &theirs, &ours));
                    break;
                }
            }
            match failed {
                None => return Ok(()),
                Some(why) if attempt == 1 => {
                    differences.push(why.clone());
                    return Err(why);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn asks(&self) -> Vec<Ask> {
        let mut asks = vec![Ask::Streams];
        for name in self.oracle.streams().into_iter().map(|config| config.name) {
            asks.push(Ask::Read(name.clone(), whole()));
            asks.push(Ask::Read(name.clone(), Read { last_per_subject: true, ..whole() }));
            asks.push(Ask::Subjects(name, event::Pattern::all(), None, PAGE_MESSAGES_MAX));
        }
        asks
    }

    /// The end of every run: all is well again, and everything is compared once more.
    fn finish(&mut self, menu: Menu) -> Result<(), String> {
        self.heal()?;
        self.restart()?;
        self.calm();
        self.restart()?;
        self.drain()?;
        if menu == Menu::Flip { self.flips() } else { Ok(()) }
    }

    /// Has every consumer deliver all that it owes.
    fn drain(&mut self) -> Result<(), String> {
        /// Longer than any wait of a consumer.
        const LONG: Duration = Duration::from_secs(61);
        /// Waits in a row without a delivery after which none will come: longer than any pause.
        const QUIET: u32 = 3;
        // What waits for a moment does so by the clock as it was before it was set back.
        self.pass(self.latest)?;
        let mut quiet = 0;
        while quiet < QUIET {
            let now = self.now;
            let Some(engine) = &self.engine else { return Ok(()) };
            let (wants, some) = self.counter.drain(engine, now)?;
            self.give(wants)?;
            self.serve()?;
            if some {
                quiet = 0;
            } else {
                quiet += 1;
                self.pass(self.now.after(LONG))?;
            }
        }
        self.counts.deliveries += self.counter.deliveries;
        self.counts.acknowledged += self.counter.acknowledged;
        let Some(engine) = &self.engine else { return Ok(()) };
        self.counter.owes(engine)
    }

    /// Flips bits of the closed journal: what is missing afterwards must be named, and the rest be there.
    fn flips(&mut self) -> Result<(), String> {
        self.work(Engine::flush)?;
        self.work(Engine::checkpoint)?;
        if self.chance.happens(1, 2) {
            let now = self.now;
            self.engine()?.close(now);
        }
        self.engine = None;
        self.disk.kill();
        let count = self.chance.between(1, FLIPS_MAX);
        let mut flips: Vec<Flip> = Vec::new();
        for _ in 0..count {
            // There are two catalogues so that one may be damaged; where both are, opening is refused.
            let spared = flips.iter().any(|flip| flip.path.starts_with("catalog"));
            let wanted = |path: &str| !(spared && path.starts_with("catalog"));
            flips.extend(self.disk.flip(&mut self.chance, wanted));
        }
        for flip in &flips {
            self.note(format!("    flipped {flip:?}"));
        }
        self.counts.flips += flips.len() as u64;
        self.oracle.restart();
        self.open().map_err(|why| format!("after {flips:?}: {why}"))?;
        let streams = self.oracle.streams();
        for name in streams.into_iter().map(|config| config.name) {
            self.damage(&name, flips.len() as u64).map_err(|why| format!("after {flips:?}: {why}"))?;
        }
        Ok(())
    }

    fn damage(&mut self, name: &str, flips: u64) -> Result<(), String> {
        let ask = Ask::Read(name.to_string(), whole());
        let (ours, theirs) = (self.oracle.ask(&ask), self.engine()?.ask(&ask));
        let (Found::Page(Ok(ours)), Found::Page(Ok(theirs))) = (&ours, &theirs) else {
            return Err(differs(&ask, &theirs, &ours));
        };
        let there: BTreeMap<u64, &Stored> = theirs.messages.iter().map(|stored| (stored.seq, stored)).collect();
        let mut missing = 0;
        for stored in &ours.messages {
            match there.get(&stored.seq) {
                Some(found) if *found == stored => {}
                Some(found) => return Err(format!("{name}: another message: {}, was {}", short(found), short(stored))),
                None if theirs.damaged.contains(&stored.seq) => missing += 1,
                // Where what is known of the stream is damaged too, damage is told by its place alone.
                None if flips > 1 && !self.engine()?.damage().is_empty() => {}
                None => return Err(format!("{name}: {} is missing and not named: {:?}", stored.seq, theirs.damaged)),
            }
        }
        let extra = theirs.messages.iter().find(|stored| !ours.messages.contains(stored));
        // The record that says that it went may be what was hit: then the damage was told at opening.
        if let Some(extra) = extra.filter(|_| self.engine.as_ref().is_none_or(|engine| engine.damage().is_empty())) {
            return Err(format!("{name}: came back from the dead: {}", short(extra)));
        }
        self.counts.damaged += missing;
        let told = self.engine()?.ask(&Ask::Info(name.to_string()));
        match told {
            Found::Info(Ok(info)) if missing == 0 || info.state.damaged > 0 => {}
            other => return Err(format!("{name}: {missing} are missing, and it tells nothing: {}", short(&other))),
        }
        // A flip hits one record; one in a length may cost its neighbour.
        if missing > 2 * flips { Err(format!("{name}: {missing} are missing for {flips} bits")) } else { Ok(()) }
    }
}

/// A read of all there is.
pub fn whole() -> Read {
    Read { bytes: PAGE_BYTES_MAX, ..Read::from(1, PAGE_MESSAGES_MAX) }
}

/// Shows where two answers part.
fn differs(what: &impl std::fmt::Debug, theirs: &impl std::fmt::Debug, ours: &impl std::fmt::Debug) -> String {
    /// Characters shown before the place.
    const BEFORE: usize = 160;
    let (theirs, ours) = (format!("{theirs:?}"), format!("{ours:?}"));
    let same = theirs.chars().zip(ours.chars()).take_while(|(one, two)| one == two).count();
    let skip = same.saturating_sub(BEFORE);
    let from = |text: &str| text.chars().skip(skip).take(4 * BEFORE).collect::<String>();
    format!("{}\n    engine: …{}\n    oracle: …{}", short(what), from(&theirs), from(&ours))
}

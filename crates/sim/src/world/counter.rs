//! The engine's consumers, stepped: the journal's desk, and what must hold of what it delivers.
//!
//! Unlike streams, consumers are not compared with an oracle: how much of what nobody waited for
//! survives a crash is open. What is checked instead:
//! - a delivery is of a message that was recorded, as it was, and that the filters match;
//! - what was acknowledged, and the acknowledgement answered, is not delivered again; after a crash,
//!   where the answer waited for the disk;
//! - first deliveries come in order of position, and none is made more often than `deliver_max`;
//! - at the end, every message that is there and that a consumer of everything wants was
//!   acknowledged or became a dead letter: none was skipped;
//! - a durable consumer whose creation was answered survives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use event::Moment;
use journal::desk::{Desk, Input, Key, Output, Removed, Reply, What};
use journal::{
    Ack, AckPolicy, AckToken, Append, ConsumerConfig, ConsumerStart, Delivery, Fetch, Page, ReadError, Stored,
};

use super::engine::Engine;
use super::step;
use super::verb::{Ask, Found, Verb, short};

/// Deliveries that are remembered for acknowledging.
const HELD_MAX: usize = 64;

/// What is known of one consumer, by its stream, its name, and when it was created.
#[derive(Debug, Clone, Default)]
struct Known {
    config: Option<ConsumerConfig>,
    /// First delivered last, since opening.
    first: u64,
    /// Delivered at least once.
    seen: BTreeSet<u64>,
    /// Acknowledged, and whether that survives a crash.
    done: BTreeMap<u64, bool>,
    /// Acknowledged, given up or refused to be: not owed any more, even if a crash undid it.
    once_done: BTreeSet<u64>,
    /// Whether its declaration was changed: then what it owes is not known.
    changed: bool,
}

/// What a request to the desk waits for.
#[derive(Debug)]
enum Asked {
    Create(String, Box<ConsumerConfig>),
    Delete(String, String),
    Say(AckToken, Ack, bool),
    Other,
}

/// See the module.
#[derive(Default)]
pub struct Counter {
    desk: Desk,
    tickets: BTreeMap<u64, Asked>,
    next: u64,
    known: BTreeMap<(String, String, u64), Known>,
    /// Durable consumers whose creation was answered: stream and name.
    promised: BTreeSet<(String, String)>,
    held: Vec<AckToken>,
    /// Everything that was recorded, by stream and position.
    recorded: BTreeMap<(String, u64), Stored>,
    /// Deliveries made.
    pub deliveries: u64,
    /// Acknowledgements taken.
    pub acknowledged: u64,
}

/// What the desk wants of the engine.
pub type Wants = Vec<(Verb, Option<Key>)>;

impl Counter {
    /// Ends all fetches and wants all that is not yet saved to be saved.
    pub fn close(&mut self, now: Moment) {
        self.desk.handle(now, Input::Close);
    }

    /// Notes that whatever was done is on the disk.
    pub fn rest(&mut self) {
        self.known.values_mut().flat_map(|known| known.done.values_mut()).for_each(|synced| *synced = true);
    }

    /// Notes that nobody knows whether a stream was deleted.
    pub fn doubt(&mut self, stream: &str) {
        self.promised.retain(|(each, _)| each != stream);
        self.known.retain(|(each, ..), _| each != stream);
    }

    /// Forgets what was recorded, before [`Counter::found`] tells anew.
    pub fn forget(&mut self) {
        self.recorded.clear();
    }

    /// Begins again with what the engine kept.
    pub fn open(&mut self, engine: &Engine, now: Moment) -> Result<(), String> {
        self.desk = Desk::new();
        self.tickets.clear();
        self.held.clear();
        for bytes in engine.kept() {
            self.desk.apply(bytes).map_err(|error| format!("a change of the consumers is damaged: {error:?}"))?;
        }
        for known in self.known.values_mut() {
            known.first = 0;
            known.done.retain(|_, synced| *synced);
        }
        let Found::Streams(streams) = engine.ask(&Ask::Streams) else { return Ok(()) };
        for info in streams {
            self.stream(now, &info.config.name, engine);
        }
        self.desk.handle(now, Input::Opened);
        for (stream, name) in &self.promised {
            if engine.has(stream) && self.desk.info(stream, name).is_err() {
                return Err(format!("the durable consumer '{name}' of '{stream}' is gone"));
            }
        }
        Ok(())
    }

    /// Tells of a stream.
    pub fn stream(&mut self, now: Moment, name: &str, engine: &Engine) {
        let Found::Info(Ok(info)) = engine.ask(&Ask::Info(name.to_string())) else { return };
        let (retention, state) = (info.config.retention, info.state);
        self.desk.handle(now, Input::Stream { stream: name, retention, first: state.first, last: state.last });
    }

    /// Tells of a message.
    pub fn appended(&mut self, now: Moment, stream: &str, seq: u64, append: &Append, time: Moment) {
        let message = append.message.clone();
        self.desk.handle(now, Input::Appended { stream, seq, subject: message.subject.as_str() });
        self.recorded.insert((stream.to_string(), seq), Stored { seq, time, message });
    }

    /// Takes note of what survived a crash without having been answered.
    pub fn found(&mut self, stream: &str, stored: &Stored) {
        self.recorded.insert((stream.to_string(), stored.seq), stored.clone());
    }

    /// Tells that a stream is gone.
    pub fn dropped(&mut self, now: Moment, stream: &str) {
        self.desk.handle(now, Input::StreamDeleted { stream });
        self.promised.retain(|(each, _)| each != stream);
        self.recorded.retain(|(each, _), _| each != stream);
        self.known.retain(|(each, ..), _| each != stream);
    }

    /// Tells that messages are gone.
    pub fn removed(&mut self, now: Moment, stream: &str, removed: Removed) {
        self.desk.handle(now, Input::Removed { stream, removed });
    }

    /// Answers what [`Counter::serve`] wanted.
    pub fn told(&mut self, now: Moment, verb: &Verb, key: Key, told: &super::verb::Told) {
        match (verb, told) {
            (_, super::verb::Told::Kept(result)) => self.desk.handle(now, Input::Saved { key, result: result.clone() }),
            (_, super::verb::Told::Append(result)) => {
                let result = result.clone().map(|_| ());
                self.desk.handle(now, Input::DeadLettered { key, result });
            }
            _ => {}
        }
    }

    fn ticket(&mut self, asked: Asked) -> u64 {
        self.next += 1;
        self.tickets.insert(self.next, asked);
        self.next
    }

    /// Asks what a step stands for; `false` where it is none of the consumers'.
    pub fn ask(&mut self, now: Moment, asked: &step::Step) -> bool {
        use step::Step;
        match asked {
            Step::Hire { stream, consumer, shape } => {
                let config = step::consumer_config(*stream, *consumer, *shape);
                let name = step::stream_name(*stream);
                let ticket = self.ticket(Asked::Create(name.clone(), Box::new(config.clone())));
                self.desk.handle(now, Input::Create { ticket, stream: &name, config });
            }
            Step::Retrain { stream, consumer, shape } => {
                let (name, who) = (step::stream_name(*stream), step::consumer_name(*consumer));
                let mut config = step::consumer_config(*stream, *consumer, *shape);
                if let Ok(info) = self.desk.info(&name, &who) {
                    (config.start, config.ack, config.durable) =
                        (info.config.start, info.config.ack, info.config.durable);
                    self.known.iter_mut().filter(|((s, c, _), _)| *s == name && *c == who).for_each(|(_, known)| {
                        known.changed = true;
                    });
                }
                let ticket = self.ticket(Asked::Other);
                self.desk.handle(now, Input::Update { ticket, stream: &name, config });
            }
            Step::Dismiss { stream, consumer } => {
                let (name, who) = (step::stream_name(*stream), step::consumer_name(*consumer));
                self.promised.remove(&(name.clone(), who.clone()));
                let ticket = self.ticket(Asked::Delete(name.clone(), who.clone()));
                self.desk.handle(now, Input::Delete { ticket, stream: &name, consumer: &who });
            }
            Step::Pause { stream, consumer, span } => {
                let (name, who) = (step::stream_name(*stream), step::consumer_name(*consumer));
                let ticket = self.ticket(Asked::Other);
                let until = span.map(|span| now.after(span));
                self.desk.handle(now, Input::Pause { ticket, stream: &name, consumer: &who, until });
            }
            Step::Fetch { stream, consumer, batch, bytes } => {
                let fetch = Fetch { batch: *batch, bytes: *bytes, wait: None, ..Fetch::default() };
                self.fetch(now, &step::stream_name(*stream), &step::consumer_name(*consumer), fetch);
            }
            Step::Say { which, word, synced } => self.say(now, *which, *word, *synced),
            _ => return false,
        }
        true
    }

    fn fetch(&mut self, now: Moment, stream: &str, consumer: &str, fetch: Fetch) {
        self.next += 1;
        self.desk.handle(now, Input::Fetch { request: self.next, stream, consumer, fetch });
    }

    fn say(&mut self, now: Moment, which: u64, word: u64, synced: bool) {
        let place = usize::try_from(which % HELD_MAX as u64).unwrap_or(0);
        if place >= self.held.len() {
            return;
        }
        let token = if word == 11 { self.held[place].clone() } else { self.held.remove(place) };
        let ack = match word {
            6 => Ack::Again { delay: None },
            7 => Ack::Again { delay: Some(Duration::from_secs(5)) },
            8 | 11 => Ack::Progress,
            9 => Ack::Give { reason: "said so".to_string() },
            _ => Ack::Done,
        };
        self.acknowledge(now, token, ack, synced);
    }

    fn acknowledge(&mut self, now: Moment, token: AckToken, ack: Ack, synced: bool) {
        let ticket = self.ticket(Asked::Say(token.clone(), ack.clone(), synced));
        self.desk.handle(now, Input::Ack { ticket, token, ack, synced });
    }

    /// Lets time do its work.
    pub fn tick(&mut self, now: Moment) {
        self.desk.handle(now, Input::Tick);
    }

    /// What is to be kept in place of all changes so far.
    pub fn whole(&self) -> Vec<u8> {
        self.desk.snapshot()
    }

    /// Does what the desk asks, and gives what it wants of the engine.
    pub fn serve(&mut self, engine: &Engine, now: Moment) -> Result<Wants, String> {
        let mut wants = Wants::new();
        while let Some(output) = self.desk.poll(now) {
            match output {
                Output::Read { key, stream, what } => {
                    let result = read(engine, &stream, &what);
                    self.desk.handle(now, Input::Page { key, result });
                }
                Output::Deliver { delivery, .. } => self.delivered(&delivery)?,
                Output::End { .. } | Output::Tell { .. } => {}
                Output::Save { key, bytes, synced } => wants.push((Verb::Keep(bytes, synced), Some(key))),
                Output::DeadLetter { key, append } => {
                    let captured = engine.ask(&Ask::CapturedBy(append.message.subject.clone()));
                    if captured == Found::Name(None) {
                        let config = journal::desk::dead_stream().map_err(|error| error.to_string())?;
                        wants.push((Verb::Create(config), None));
                    }
                    wants.push((Verb::Append(append), Some(key)));
                }
                Output::Retire { stream, seqs } => wants.push((Verb::Retire(stream.to_string(), seqs), None)),
                Output::Reply { ticket, reply } => self.replied(ticket, reply)?,
            }
        }
        Ok(wants)
    }

    fn delivered(&mut self, delivery: &Delivery) -> Result<(), String> {
        let Delivery { token, stored, .. } = delivery;
        self.deliveries += 1;
        let wrong = |what: &str| Err(format!("{what}: {token} {}", short(stored)));
        if self.recorded.get(&(token.stream.to_string(), stored.seq)) != Some(stored) {
            return wrong("delivered what was not recorded");
        }
        let info = self.desk.info(&token.stream, &token.consumer).map_err(|error| error.to_string())?;
        let place = (token.stream.to_string(), token.consumer.to_string(), info.created.nanos());
        let known = self.known.entry(place).or_default();
        let filters = &info.config.filters;
        let wanted = |filter: &event::Pattern| filter.matches(stored.message.subject.as_str());
        // What is outstanding stays when the filters change.
        if !known.changed && !filters.is_empty() && !filters.iter().any(wanted) {
            return wrong("delivered what the filters do not match");
        }
        if known.done.contains_key(&stored.seq) {
            return wrong("delivered again what was acknowledged");
        }
        if !known.changed && info.config.deliver_max.is_some_and(|max| token.attempt > max) {
            return wrong("delivered too often");
        }
        if token.attempt == 1 {
            if stored.seq <= known.first && !known.changed {
                return wrong("first delivered out of order");
            }
            known.first = stored.seq;
        }
        known.seen.insert(stored.seq);
        if info.config.ack == AckPolicy::None {
            known.once_done.insert(stored.seq);
        } else if self.held.len() < HELD_MAX {
            self.held.push(token.clone());
        }
        Ok(())
    }

    fn replied(&mut self, ticket: u64, reply: Reply) -> Result<(), String> {
        match (self.tickets.remove(&ticket), reply) {
            (Some(Asked::Create(stream, config)), Reply::Consumer(Ok(info))) => {
                let tag = info.created.nanos();
                let known = self.known.entry((stream.clone(), config.name.clone(), tag)).or_default();
                known.config = Some(info.config.clone());
                if info.config.durable && info.config.inactive.is_none() {
                    self.promised.insert((stream, config.name));
                }
            }
            (Some(Asked::Delete(stream, name)), Reply::Unit(Ok(()))) => {
                self.known.retain(|(s, c, _), _| *s != stream || *c != name);
            }
            (Some(Asked::Say(token, ack, synced)), Reply::Ack(Ok(()))) => {
                self.acknowledged += 1;
                self.said(&token, &ack, synced);
            }
            (None, reply) => return Err(format!("the desk answered what nobody asked: {reply:?}")),
            _ => {}
        }
        Ok(())
    }

    fn said(&mut self, token: &AckToken, ack: &Ack, synced: bool) {
        let Ok(info) = self.desk.info(&token.stream, &token.consumer) else { return };
        let place = (token.stream.to_string(), token.consumer.to_string(), info.created.nanos());
        let all = info.config.ack == AckPolicy::All;
        let Some(known) = self.known.get_mut(&place) else { return };
        match ack {
            Ack::Done => {
                let from = if all { 0 } else { token.seq };
                for seq in known.seen.range(from..=token.seq) {
                    *known.done.entry(*seq).or_insert(false) |= synced;
                    known.once_done.insert(*seq);
                }
            }
            Ack::Give { .. } => {
                known.once_done.insert(token.seq);
            }
            Ack::Again { .. } | Ack::Progress => {}
        }
    }

    /// Asks every consumer for all that it has, and acknowledges it; gives whether any gave something.
    pub fn drain(&mut self, engine: &Engine, now: Moment) -> Result<(Wants, bool), String> {
        let before = self.deliveries;
        let places: BTreeSet<(String, String)> =
            self.known.keys().map(|(stream, name, _)| (stream.clone(), name.clone())).collect();
        for (stream, name) in places {
            self.fetch(
                now,
                &stream,
                &name,
                Fetch { batch: HELD_MAX as u64 / 4, bytes: None, wait: None, ..Fetch::default() },
            );
        }
        let mut wants = self.serve(engine, now)?;
        for token in std::mem::take(&mut self.held) {
            self.acknowledge(now, token, Ack::Done, true);
        }
        wants.extend(self.serve(engine, now)?);
        Ok((wants, self.deliveries > before))
    }

    /// Checks that nothing is owed: see the module.
    pub fn owes(&self, engine: &Engine) -> Result<(), String> {
        for ((stream, name, tag), known) in &self.known {
            let Some(config) = known.config.as_ref().filter(|config| config.start == ConsumerStart::All) else {
                continue;
            };
            let Ok(info) = self.desk.info(stream, name) else { continue };
            if known.changed || info.created.nanos() != *tag || config.deliver_max.is_some() {
                continue;
            }
            let read = journal::Read { filters: config.filters.clone(), ..super::run::whole() };
            let Found::Page(Ok(page)) = engine.ask(&Ask::Read(stream.clone(), read)) else { continue };
            if let Some(stored) = page.messages.iter().find(|stored| !known.once_done.contains(&stored.seq)) {
                return Err(format!("the consumer '{name}' of '{stream}' skipped {}: {info:?}", short(stored)));
            }
        }
        Ok(())
    }
}

fn read(engine: &Engine, stream: &str, what: &What) -> Result<Page, ReadError> {
    let each = |found: &mut dyn Iterator<Item = Found>| {
        let mut page = Page { messages: Vec::new(), next: 0, last: 0, damaged: Vec::new() };
        if let Found::Info(Ok(info)) = engine.ask(&Ask::Info(stream.to_string())) {
            (page.next, page.last) = (info.state.last + 1, info.state.last);
        }
        for found in found {
            match found {
                Found::Stored(Ok(stored)) => page.messages.push(stored),
                Found::Stored(Err(ReadError::NoMessage)) => {}
                Found::Stored(Err(ReadError::Damaged(seq))) => page.damaged.push(seq),
                Found::Stored(Err(error)) => return Err(error),
                _ => {}
            }
        }
        Ok(page)
    };
    match what {
        What::Next(read) => match engine.ask(&Ask::Read(stream.to_string(), read.clone())) {
            Found::Page(page) => page,
            _ => Err(ReadError::NotFound(stream.to_string())),
        },
        What::Seqs(seqs) => each(&mut seqs.iter().map(|seq| engine.ask(&Ask::Get(stream.to_string(), *seq)))),
        What::Count { .. } => Err(ReadError::NoMessage),
        What::Last(patterns) => {
            each(&mut patterns.iter().map(|pattern| engine.ask(&Ask::Last(stream.to_string(), pattern.clone()))))
        }
    }
}

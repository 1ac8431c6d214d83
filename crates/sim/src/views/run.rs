//! The world: the stream, the catalogue folded from it, the table that is kept by checkpoints, and the readers.

use std::sync::Arc;
use std::time::Duration;

use catalog::{CheckDraft, Command, Form, Health, InstanceKey, Register, ServiceDraft, SetCheck, State, Status, Touch};
use event::{Message, Moment, Subject};
use journal::Stored;
use view::Table;

use super::Report;
use super::oracle::Oracle;
use super::reader::{Reader, Short, Shown, Told};
use super::story::{IDS, NODES, READERS, SERVICES, Step};
use super::stream::Stream;
use crate::chance::Chance;

/// When every run begins: 2025-05-30T10:13:20Z.
const BEGIN: Moment = Moment::from_nanos(1_748_600_000_000_000_000);

/// Removals that the kept table remembers: few, so that its floor moves.
const REMOVALS_MAX: usize = 3;

/// What was met in runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were recorded.
    pub recorded: u64,
    /// Commands that came to nothing, or were refused.
    pub idle: u64,
    /// Snapshots that were told.
    pub snapshots: u64,
    /// Batches of changes that were told.
    pub changes: u64,
    /// Readers that came again and were told only what they missed.
    pub resumed: u64,
    /// Crashes.
    pub crashes: u64,
    /// Permissions that changed.
    pub permits: u64,
    /// Checkpoints that were written.
    pub checkpoints: u64,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Counts) {
        self.recorded += other.recorded;
        self.idle += other.idle;
        self.snapshots += other.snapshots;
        self.changes += other.changes;
        self.resumed += other.resumed;
        self.crashes += other.crashes;
        self.permits += other.permits;
        self.checkpoints += other.checkpoints;
    }
}

impl Shown for InstanceKey {
    type Value = Arc<Health>;

    fn short(&self) -> Short {
        (self.node.to_string(), self.id.to_string())
    }

    fn value(health: &Arc<Health>) -> String {
        let checks: Vec<_> = health.own_checks().map(|check| check.status.as_str()).collect();
        format!("{}:{} {}", health.node.address, health.service.port, checks.join(","))
    }
}

impl Shown for String {
    type Value = usize;

    fn short(&self) -> Short {
        (self.clone(), String::new())
    }

    fn value(value: &usize) -> String {
        value.to_string()
    }
}

/// What is on the disk of the table that is kept.
#[derive(Debug, Clone, Default)]
struct Checkpoint {
    entries: Vec<(String, u64, u64, usize)>,
    removed: Vec<(String, u64)>,
    floor: u64,
    position: u64,
}

struct World {
    now: Moment,
    stream: Stream,
    state: State,
    kept: Table<String, usize>,
    checkpoint: Checkpoint,
    oracle: Oracle,
    readers: Vec<Reader<InstanceKey>>,
    /// Of the kept table.
    follower: Reader<String>,
    /// Readers that came again, and were not told anything yet.
    again: Vec<bool>,
    counts: Counts,
    log: Vec<String>,
}

/// Runs steps in the setting of a seed.
pub fn run(seed: u64, steps: &[Step]) -> Report {
    let mut chance = Chance::new(seed).branch(1);
    let mut chunk = || 1 + chance.index(4);
    let readers = (0..READERS).map(|reader| Reader::new(reader % SERVICES.len(), 7, chunk())).collect();
    let mut world = World {
        now: BEGIN,
        stream: Stream::default(),
        state: State::new("dc1"),
        kept: Table::new(REMOVALS_MAX),
        checkpoint: Checkpoint::default(),
        oracle: Oracle::new(),
        readers,
        follower: Reader::new(0, 7, chunk()),
        again: vec![false; READERS],
        counts: Counts::default(),
        log: Vec::new(),
    };
    let failure = world.play(steps).err();
    let digest = digest(&world.log);
    Report { log: world.log, failure, digest, counts: world.counts }
}

/// FNV-1a over all lines.
fn digest(log: &[String]) -> u64 {
    log.iter()
        .flat_map(|line| line.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn at<'a>(names: &[&'a str], place: usize) -> &'a str {
    names.get(place).copied().unwrap_or_default()
}

/// The command that a step is, if it is one.
fn command(step: &Step) -> Option<Command> {
    let node_of = |node: usize| String::from(at(&NODES, node));
    let id_of = |id: usize| String::from(at(&IDS, id));
    Some(match step {
        Step::Register(service, node, id, port) => {
            let (name, id) = (String::from(at(&SERVICES, *service)), id_of(*id));
            let mut register = Register::new(Form::Catalog, node_of(*node));
            (register.address, register.skip_node_update) = (String::from("10.0.0.1"), true);
            let check = CheckDraft {
                id: format!("check-{id}"),
                service_id: id.clone(),
                status: String::from("passing"),
                ..CheckDraft::default()
            };
            register.service = Some(ServiceDraft { id, name, port: *port, ..ServiceDraft::default() });
            register.checks = vec![check];
            Command::Register(Box::new(register))
        }
        Step::Deregister(node, id) => {
            Command::Deregister { node: node_of(*node), service_id: id_of(*id), check_id: String::new() }
        }
        Step::Leave(node) => {
            Command::Deregister { node: node_of(*node), service_id: String::new(), check_id: String::new() }
        }
        Step::Move(node, host) => {
            let mut register = Register::new(Form::Catalog, node_of(*node));
            register.address = format!("10.0.0.{host}");
            Command::Register(Box::new(register))
        }
        Step::Check(node, id, status) => Command::SetCheck(SetCheck {
            node: node_of(*node),
            check_id: format!("check-{}", id_of(*id)),
            status: [Status::Passing, Status::Warning, Status::Critical].get(*status).copied()?,
            output: String::new(),
            ttl: false,
        }),
        _ => return None,
    })
}

impl World {
    fn play(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            self.log.push(format!("{} {step:?}", self.stream.position()));
            self.step(step)?;
        }
        self.log.push(String::from("the end"));
        // Nobody is woken: who sleeps is to hold what is so.
        for reader in 0..self.readers.len() {
            while self.tell(reader)? != Told::Nothing {}
            let Some(reader) = self.readers.get(reader) else { continue };
            reader.judge(self.oracle.now(at(&SERVICES, reader.service)))?;
        }
        while self.tell_kept()? != Told::Nothing {}
        self.follower.judge(self.oracle.now(""))
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Stranger(service, node, id, port) => self.stranger(*service, *node, *id, *port),
            Step::Tell(reader, frames) => {
                for _ in 0..*frames {
                    self.tell(*reader)?;
                }
                self.tell_kept().map(|_| ())
            }
            Step::Resume(reader, ago) => {
                if let (Some(reader), Some(again)) = (self.readers.get_mut(*reader), self.again.get_mut(*reader)) {
                    reader.resume(*ago);
                    *again = true;
                }
                self.follower.resume(*ago);
                Ok(())
            }
            Step::Begin(reader, service) => {
                if let Some(reader) = self.readers.get_mut(*reader) {
                    *reader = Reader::new(*service, reader.permitted, 2);
                }
                Ok(())
            }
            Step::Permit(reader, nodes) => {
                if let Some(reader) = self.readers.get_mut(*reader) {
                    reader.permit(*nodes);
                    self.counts.permits += 1;
                }
                Ok(())
            }
            Step::Pass(seconds) => {
                self.now = self.now.after(Duration::from_secs(*seconds));
                Ok(())
            }
            Step::Crash => self.crash(),
            Step::Checkpoint => {
                self.checkpoint();
                Ok(())
            }
            other => match command(other) {
                Some(command) => self.judge(&command),
                None => Ok(()),
            },
        }
    }

    fn judge(&mut self, command: &Command) -> Result<(), String> {
        let Ok(judged) = self.state.judge(command, self.now) else {
            self.counts.idle += 1;
            return Ok(());
        };
        self.counts.idle += u64::from(judged.writes.is_empty());
        judged.writes.iter().try_for_each(|write| self.stream.judge(write, self.now))?;
        for write in judged.writes {
            let ends = write.ttl.map(|ttl| self.now.after(ttl));
            let stored = self.stream.record(write.append().message, ends, self.now);
            self.fold(&stored)?;
        }
        Ok(())
    }

    fn stranger(&mut self, service: usize, node: usize, id: usize, port: Option<i64>) -> Result<(), String> {
        let (node, id) = (at(&NODES, node), at(&IDS, id));
        let here = self.state.instance(node, id).map(|health| health.service.service.to_string());
        // A stranger that registers what is another service's, or removes it, leaves the first where it was.
        let service = here.unwrap_or_else(|| String::from(at(&SERVICES, service)));
        let subject = format!("catalog.dc1.{service}.{node}.{id}");
        let subject = Subject::parse(&subject).map_err(|why| why.to_string())?;
        let payload = port.map(|port| format!(r#"{{"Service":{{"Port":{port}}}}}"#)).unwrap_or_default();
        let stored = self.stream.record(Message::new(subject, payload), None, self.now);
        self.fold(&stored)
    }

    fn fold(&mut self, stored: &Stored) -> Result<(), String> {
        self.counts.recorded += 1;
        let mut touched = Vec::new();
        self.state.fold(stored, &mut touched).map_err(|unfit| unfit.to_string())?;
        keep(&mut self.kept, stored);
        self.oracle.fold(stored)?;
        self.follower.awake = true;
        for touch in touched {
            let Touch::Service(low) = touch else { continue };
            let mine = self.readers.iter_mut().filter(|reader| at(&SERVICES, reader.service) == &*low);
            mine.for_each(|reader| reader.awake = true);
        }
        Ok(())
    }

    fn tell(&mut self, reader: usize) -> Result<Told, String> {
        let Some(each) = self.readers.get_mut(reader).filter(|reader| reader.awake) else { return Ok(Told::Nothing) };
        let service = at(&SERVICES, each.service);
        let told = each.take(self.state.instances(service), self.oracle.history(service))?;
        self.counts.snapshots += u64::from(told == Told::Snapshot);
        self.counts.changes += u64::from(told == Told::Changes);
        if let Some(again) = self.again.get_mut(reader).filter(|again| **again) {
            self.counts.resumed += u64::from(told == Told::Changes);
            *again = false;
        }
        self.log.push(format!("  reader {reader}: {told:?}"));
        Ok(told)
    }

    fn tell_kept(&mut self) -> Result<Told, String> {
        if !self.follower.awake {
            return Ok(Told::Nothing);
        }
        self.follower.take(&self.kept, self.oracle.history(""))
    }

    /// All that is not on a disk is lost; every connection is.
    fn crash(&mut self) -> Result<(), String> {
        self.counts.crashes += 1;
        self.state = State::new("dc1");
        self.state.begin(self.now);
        for stored in self.stream.latest(self.now) {
            self.state.fold(&stored, &mut Vec::new()).map_err(|unfit| unfit.to_string())?;
        }
        self.state.settle();
        self.restore();
        self.readers.iter_mut().for_each(|reader| reader.resume(0));
        self.again.iter_mut().for_each(|again| *again = true);
        self.follower.resume(0);
        Ok(())
    }

    fn checkpoint(&mut self) {
        self.counts.checkpoints += 1;
        let entries = self.kept.iter().map(|(key, entry)| (key.clone(), entry.created, entry.changed, entry.value));
        self.checkpoint = Checkpoint {
            entries: entries.collect(),
            removed: self.kept.removed::<String, _>(..).map(|(key, at)| (key.clone(), at)).collect(),
            floor: self.kept.floor(),
            position: self.stream.position(),
        };
    }

    fn restore(&mut self) {
        let Checkpoint { entries, removed, floor, position } = self.checkpoint.clone();
        self.kept = Table::new(REMOVALS_MAX);
        entries.into_iter().for_each(|(key, created, changed, value)| self.kept.restore(created, changed, key, value));
        removed.into_iter().for_each(|(key, at)| self.kept.restore_removal(at, key));
        self.kept.forget(floor);
        self.kept.reach(position);
        let tail = self.stream.log.iter().filter(|stored| stored.seq > position);
        tail.for_each(|stored| keep(&mut self.kept, stored));
    }
}

/// The latest size of each subject: empty ones go.
fn keep(kept: &mut Table<String, usize>, stored: &Stored) {
    let subject = stored.message.subject.to_string();
    match stored.message.payload.len() {
        0 => _ = kept.remove(stored.seq, &subject),
        size => kept.put(stored.seq, subject, size),
    }
    kept.reach(stored.seq);
}

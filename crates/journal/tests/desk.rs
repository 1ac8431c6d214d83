//! Consumers under random users, faults and crashes: nothing is lost, nothing acknowledged comes
//! again, and what was saved gives back what there was.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use event::{Message, Moment, Pattern, Subject};
use journal::desk::{Desk, Input, Output, Reply, What, dead_stream};
use journal::memory::Memory;
use journal::{
    Ack, AckPolicy, Append, ConsumerConfig, ConsumerStart, Delivery, Fetch, Page, ReadError, Retention, StreamConfig,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Fetch {
        consumer: usize,
        batch: u8,
        wait: bool,
    },
    /// Says something of one of the deliveries that are out.
    Say {
        place: u8,
        ack: u8,
        synced: bool,
    },
    /// Lets go of a delivery: the sink said that it is closed.
    Untaken(u8),
    Remove(u8),
    Pause {
        consumer: usize,
        span: u8,
    },
    Wait(u16),
    Crash,
    Restart,
    /// Reads fail, or work again.
    Fail(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_u8).prop_map(Step::Append),
        6 => (0..3_usize, 1..12_u8, any::<bool>()).prop_map(|(consumer, batch, wait)| Step::Fetch { consumer, batch, wait }),
        10 => (any::<u8>(), 0..12_u8, any::<bool>()).prop_map(|(place, ack, synced)| Step::Say { place, ack, synced }),
        1 => any::<u8>().prop_map(Step::Untaken),
        1 => (1..40_u8).prop_map(Step::Remove),
        1 => (0..3_usize, 0..20_u8).prop_map(|(consumer, span)| Step::Pause { consumer, span }),
        4 => (1..6_000_u16).prop_map(Step::Wait),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Fail),
    ]
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A rim with a log that can lose what it has not synced.
struct World {
    now: Moment,
    memory: Memory,
    desk: Desk,
    log: Vec<Vec<u8>>,
    /// How much of the log survives a crash.
    synced: usize,
    out: Vec<Delivery>,
    next: u64,
    /// Positions that a consumer said it is done with, and was told that it counts.
    done: BTreeMap<usize, BTreeSet<u64>>,
    /// Of those, the ones that no crash can undo.
    safe: BTreeMap<usize, BTreeSet<u64>>,
    /// Positions that were delivered, ever.
    told: BTreeSet<(usize, u64)>,
    asked: BTreeMap<u64, (usize, Vec<u64>, bool)>,
    refused: u64,
    failing: bool,
    untaken: Option<u64>,
}

fn configs() -> [ConsumerConfig; 3] {
    let pattern = |text| Pattern::parse(text).unwrap();
    let base = |name: &str| ConsumerConfig { ack_wait: Duration::from_secs(3), ..ConsumerConfig::new(name) };
    [
        ConsumerConfig { ack_pending_max: Some(7), ..base("a") },
        ConsumerConfig {
            filters: vec![pattern("s.1"), pattern("s.2")],
            deliver_max: Some(4),
            backoff: vec![Duration::from_secs(1), Duration::from_secs(2)],
            ..base("b")
        },
        ConsumerConfig { ack: AckPolicy::All, start: ConsumerStart::LastPerSubject, ..base("c") },
    ]
}

impl World {
    fn new(retention: Retention) -> Self {
        let now = Moment::from_nanos(1_000_000_000_000);
        let mut config = StreamConfig::new("S", [Pattern::parse("s.>").unwrap()]);
        config.retention = retention;
        let mut memory = Memory::new();
        memory.stream_create(now, config).unwrap();
        memory.stream_create(now, dead_stream().unwrap()).unwrap();
        let mut world = World {
            now,
            memory,
            desk: Desk::new(),
            log: Vec::new(),
            synced: 0,
            out: Vec::new(),
            next: 0,
            done: BTreeMap::new(),
            safe: BTreeMap::new(),
            told: BTreeSet::new(),
            asked: BTreeMap::new(),
            refused: 0,
            failing: false,
            untaken: None,
        };
        world.open();
        for config in configs() {
            world.next += 1;
            let ticket = world.next;
            world.desk.handle(now, Input::Create { ticket, stream: "S", config });
        }
        world.serve();
        world
    }

    fn open(&mut self) {
        for info in self.memory.streams() {
            let (retention, first, last) = (info.config.retention, info.state.first, info.state.last);
            self.desk.handle(self.now, Input::Stream { stream: &info.config.name, retention, first, last });
        }
        self.desk.handle(self.now, Input::Opened);
        self.serve();
    }

    fn reopen(&mut self, crash: bool) {
        if crash {
            self.log.truncate(self.synced);
            // Whether one acknowledgement stands for them is not known any more.
            self.out.retain(|each| *each.token.consumer != *NAMES[2]);
            for (consumer, done) in &mut self.done {
                done.clone_from(self.safe.entry(*consumer).or_default());
            }
        } else {
            self.desk.handle(self.now, Input::Close);
            self.serve();
            self.sync();
        }
        self.desk = Desk::new();
        for bytes in &self.log {
            self.desk.apply(bytes).unwrap();
        }
        self.asked.clear();
        self.open();
        // A snapshot, and the log again behind it, is the same.
        let mut other = Desk::new();
        other.apply(&self.desk.snapshot()).unwrap();
        assert_eq!(other.snapshot(), self.desk.snapshot());
        self.log = vec![self.desk.snapshot()];
        self.synced = 1;
    }

    fn read(&self, what: What, stream: &str) -> Result<Page, ReadError> {
        if self.failing {
            return Err(ReadError::Storage("made to fail".into()));
        }
        let page = |messages| Page { messages, next: u64::MAX, last: 0, damaged: Vec::new() };
        match what {
            What::Next(read) => self.memory.read(stream, &read),
            What::Seqs(seqs) => {
                let some: Vec<u64> = seqs.iter().copied().take(3).collect();
                let next = if some.len() < seqs.len() { some.last().unwrap() + 1 } else { u64::MAX };
                let found = some.iter().filter_map(|seq| self.memory.get(stream, *seq).ok()).collect();
                Ok(Page { next, ..page(found) })
            }
            What::Count { .. } => Err(ReadError::NoMessage),
            What::Last(patterns) => {
                Ok(page(patterns.iter().filter_map(|pattern| self.memory.last(stream, pattern).ok()).collect()))
            }
        }
    }

    fn serve(&mut self) {
        let mut reads = VecDeque::new();
        loop {
            while let Some(output) = self.desk.poll(self.now) {
                match output {
                    Output::Read { key, stream, what } => reads.push_back((key, stream, what)),
                    other => self.act(other),
                }
            }
            let Some((key, stream, what)) = reads.pop_front() else { return };
            let result = self.read(what, &stream);
            self.desk.handle(self.now, Input::Page { key, result });
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Read { .. } => {}
            Output::Deliver { request, delivery } => self.deliver(request, delivery),
            Output::End { .. } | Output::Tell { .. } => {}
            Output::Save { key, bytes, synced } => {
                self.log.push(bytes);
                if synced {
                    self.sync();
                }
                self.desk.handle(self.now, Input::Saved { key, result: Ok(()) });
            }
            Output::DeadLetter { key, append } => {
                let result = self.memory.append(self.now, append).map(|_| ());
                self.desk.handle(self.now, Input::DeadLettered { key, result });
            }
            Output::Retire { stream, seqs } => self.memory.retire(&stream, &seqs),
            Output::Reply { ticket, reply: Reply::Ack(result) } => {
                let (consumer, seqs, synced) = self.asked.remove(&ticket).unwrap();
                if result.is_ok() {
                    self.done.entry(consumer).or_default().extend(seqs);
                    if synced {
                        self.sync();
                    }
                } else {
                    self.refused += 1;
                }
            }
            Output::Reply { reply, .. } => assert!(!matches!(reply, Reply::Consumer(Err(_))), "{reply:?}"),
        }
    }

    fn sync(&mut self) {
        self.synced = self.log.len();
        self.safe.clone_from(&self.done);
    }

    fn deliver(&mut self, request: u64, delivery: Delivery) {
        let consumer = NAMES.iter().position(|name| **name == *delivery.token.consumer).unwrap();
        let done = self.done.get(&consumer).is_some_and(|done| done.contains(&delivery.stored.seq));
        assert!(!done, "{} was acknowledged", delivery.token);
        assert!(configs()[consumer].deliver_max.is_none_or(|max| delivery.token.attempt <= max), "{}", delivery.token);
        if self.untaken.take().is_some() {
            // One that is acknowledged with all before it was not, if its user never had it.
            let same = |each: &Delivery| consumer == 2 && each.token.consumer == delivery.token.consumer;
            self.out.retain(|each| !same(each) || each.stored.seq != delivery.stored.seq);
            let untaken = Some(delivery.token);
            return self.desk.handle(self.now, Input::Cancel { request, untaken });
        }
        self.told.insert((consumer, delivery.stored.seq));
        self.out.push(delivery);
    }

    fn say(&mut self, delivery: &Delivery, ack: Ack, synced: bool) {
        self.next += 1;
        let consumer = NAMES.iter().position(|name| **name == *delivery.token.consumer).unwrap();
        let seqs = match &ack {
            Ack::Done if consumer == 2 => {
                let theirs = self.out.iter().filter(|each| each.token.consumer == delivery.token.consumer);
                let own = std::iter::once(delivery.stored.seq);
                theirs.map(|each| each.stored.seq).filter(|seq| *seq <= delivery.stored.seq).chain(own).collect()
            }
            Ack::Done => vec![delivery.stored.seq],
            _ => Vec::new(),
        };
        self.asked.insert(self.next, (consumer, seqs, synced));
        let token = delivery.token.clone();
        self.desk.handle(self.now, Input::Ack { ticket: self.next, token, ack, synced });
    }

    fn append(&mut self, number: u8) {
        let subject = Subject::parse(&format!("s.{number}")).unwrap();
        let append = Append::new(Message::new(subject.clone(), "p"));
        let seq = self.memory.append(self.now, append).unwrap().seq;
        self.desk.handle(self.now, Input::Appended { stream: "S", seq, subject: subject.as_str() });
    }

    fn fetch(&mut self, consumer: usize, batch: u64, wait: Option<Duration>) {
        self.next += 1;
        let fetch = Fetch { batch, bytes: None, wait, ..Fetch::default() };
        self.desk.handle(self.now, Input::Fetch { request: self.next, stream: "S", consumer: NAMES[consumer], fetch });
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now.after(span);
        while let Some(wake) = self.desk.wake_at().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.desk.handle(self.now, Input::Tick);
            self.serve();
        }
        self.now = end;
        self.desk.handle(self.now, Input::Tick);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Append(number) => self.append(number),
            Step::Fetch { consumer, batch, wait } => {
                self.fetch(consumer, u64::from(batch), wait.then_some(Duration::from_secs(20)));
            }
            Step::Say { place, ack, synced } => {
                if self.out.is_empty() {
                    return;
                }
                let place = usize::from(place) % self.out.len();
                let delivery = self.out[place].clone();
                let ack = match ack {
                    0 => Ack::Again { delay: None },
                    1 => Ack::Again { delay: Some(Duration::from_secs(2)) },
                    2 => Ack::Progress,
                    3 => Ack::Give { reason: "no".into() },
                    _ => Ack::Done,
                };
                self.say(&delivery, ack, synced);
            }
            Step::Untaken(any) => self.untaken = Some(u64::from(any)),
            Step::Remove(seq) => {
                if self.memory.delete("S", u64::from(seq)).is_ok() && seq % 2 == 0 {
                    let removed = journal::desk::Removed::One(u64::from(seq));
                    self.desk.handle(self.now, Input::Removed { stream: "S", removed });
                }
            }
            Step::Pause { consumer, span } => {
                self.next += 1;
                let until = (span > 0).then(|| self.now.after(Duration::from_secs(u64::from(span))));
                let name = NAMES[consumer];
                let input = Input::Pause { ticket: self.next, stream: "S", consumer: name, until };
                self.desk.handle(self.now, input);
            }
            Step::Wait(millis) => self.wait(Duration::from_millis(u64::from(millis))),
            Step::Crash => self.reopen(true),
            Step::Restart => self.reopen(false),
            Step::Fail(failing) => self.failing = failing,
        }
        self.serve();
    }

    /// Lets every consumer finish: then it was told of every message that is there.
    fn finish(&mut self) {
        self.failing = false;
        for (consumer, name) in NAMES.into_iter().enumerate() {
            for _ in 0..200 {
                self.untaken = None;
                self.out.clear();
                self.fetch(consumer, 100, None);
                self.serve();
                for delivery in std::mem::take(&mut self.out) {
                    self.say(&delivery, Ack::Done, true);
                    self.serve();
                }
                self.wait(Duration::from_secs(3));
                self.serve();
            }
            let info = self.desk.info("S", name).unwrap();
            assert_eq!((info.ack_pending, info.waiting), (0, 0), "{info:?}");
            assert_eq!(info.ack_floor, info.delivered);
        }
    }
}

fn run(retention: Retention, steps: Vec<Step>) {
    let mut world = World::new(retention);
    for step in steps {
        world.take(step);
    }
    world.finish();
    let dead: BTreeSet<(String, u64)> = {
        let page = world.memory.read("DEAD", &journal::Read::from(1, 1000)).unwrap();
        let of = |stored: &journal::Stored| {
            let header = |name| stored.message.headers.get(name).unwrap().to_owned();
            (header("Tidings-Dead-Consumer"), header("Tidings-Dead-Seq").parse().unwrap())
        };
        let all: Vec<_> = page.messages.iter().map(of).collect();
        let set: BTreeSet<_> = all.iter().cloned().collect();
        assert_eq!(all.len(), set.len(), "no dead letter twice");
        set
    };
    let left = world.memory.read("S", &journal::Read::from(1, 1000)).unwrap();
    if retention == Retention::Interest {
        assert_eq!(left.messages, [], "all were done with");
    }
    for stored in left.messages {
        for (place, config) in configs().into_iter().enumerate() {
            let wanted = config.filters.is_empty()
                || config.filters.iter().any(|filter| filter.matches(stored.message.subject.as_str()));
            let done = world.done.get(&place).is_some_and(|done| done.contains(&stored.seq));
            // One acknowledgement stands for all before it, also for those that a crash made others forget.
            let done = done || (config.ack == AckPolicy::All && world.told.contains(&(place, stored.seq)));
            let given_up = dead.contains(&(config.name.clone(), stored.seq));
            assert!(!wanted || done || given_up, "{} was never told of {}", config.name, stored.seq);
        }
    }
}

proptest! {
    #[test]
    fn every_message_is_done_with_once(steps in proptest::collection::vec(step(), 1..150)) {
        run(Retention::Limits, steps);
    }

    #[test]
    fn interest_loses_and_keeps_nothing(steps in proptest::collection::vec(step(), 1..100)) {
        run(Retention::Interest, steps);
    }
}

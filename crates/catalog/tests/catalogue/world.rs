//! A catalogue over a stream that is made up: it holds what was recorded to what was expected, and can be read again
//! as after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use catalog::{Command, Expectation, Judged, Outcome, Refused, State, Touch, Write};
use event::{Headers, Message, Moment, Subject};
use journal::Stored;

/// When all begins.
pub const START: Moment = Moment::from_nanos(1_700_000_000_000_000_000);

/// See the module.
pub struct World {
    pub state: State,
    pub now: Moment,
    pub log: Vec<Stored>,
    pub touched: Vec<Touch>,
    last: BTreeMap<Subject, u64>,
}

impl World {
    pub fn new() -> Self {
        World { state: State::new("dc1"), now: START, log: vec![], touched: vec![], last: BTreeMap::new() }
    }

    pub fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    pub fn judge(&self, command: &Command) -> Result<Judged, Refused> {
        self.state.judge(command, self.now)
    }

    /// Judges a command, records what it comes to, folds it.
    pub fn run(&mut self, command: Command) -> Result<Outcome, Refused> {
        let judged = self.judge(&command)?;
        self.touched.clear();
        let before = self.log.len() as u64;
        for (place, write) in judged.writes.iter().enumerate() {
            self.expect(write, before);
            assert!(place == 0 || judged.writes[..place].iter().all(|each| each.subject != write.subject));
        }
        for write in judged.writes {
            self.record(write.subject, write.headers, write.payload.to_vec()).unwrap();
        }
        Ok(judged.outcome)
    }

    fn expect(&self, write: &Write, position: u64) {
        let last = self.last.get(&write.subject).copied().unwrap_or(0);
        match write.expect {
            Expectation::Any => {}
            Expectation::Subject(expected) => assert_eq!(expected, last, "{}", write.subject),
            Expectation::Stream(expected) => assert_eq!(expected, position),
        }
        assert_eq!(write.removal, write.payload.is_empty() && write.ttl.is_some() && !is_event(&write.subject));
        assert_eq!(write.clone().append().message.subject, write.subject);
    }

    /// Records a message as it is.
    pub fn record(&mut self, subject: Subject, headers: Headers, payload: Vec<u8>) -> Result<(), catalog::Unfit> {
        let message = Message { subject: subject.clone(), reply: None, headers, payload: payload.into() };
        let stored = Stored { seq: self.log.len() as u64 + 1, time: self.now, message };
        self.last.insert(subject, stored.seq);
        self.log.push(stored.clone());
        self.state.fold(&stored, &mut self.touched)
    }

    /// Records what a stranger publishes.
    pub fn publish(&mut self, subject: &str, payload: &str) -> Result<(), catalog::Unfit> {
        self.touched.clear();
        self.record(Subject::parse(subject).unwrap(), Headers::EMPTY, payload.as_bytes().to_vec())
    }

    /// Whether anything was ever recorded at a subject.
    pub fn holds(&self, subject: &str) -> bool {
        self.last.contains_key(&Subject::parse(subject).unwrap())
    }

    /// Whether what a stranger publishes would come to nothing.
    pub fn is_unfit(&self, subject: &str, payload: &str) -> bool {
        let message = Message::new(Subject::parse(subject).unwrap(), payload.as_bytes().to_vec());
        let stored = Stored { seq: self.log.len() as u64 + 1, time: self.now, message };
        self.state.clone().fold(&stored, &mut Vec::new()).is_err()
    }

    /// Whether a subject is of an instance that is registered under another service.
    pub fn is_another_services(&self, subject: &str) -> bool {
        let tokens: Vec<_> = subject.split('.').map(|token| event::decode_token(token).unwrap_or_default()).collect();
        let [_, _, service, node, id] = tokens.as_slice() else { return false };
        self.state.instance(node, id).is_some_and(|health| health.service.service.to_lowercase() != *service)
    }

    /// What is found after a restart, from the last message of each subject.
    pub fn restarted(&self) -> State {
        let mut state = State::new("dc1");
        state.begin(self.now);
        for stored in &self.log {
            if self.last.get(&stored.message.subject) == Some(&stored.seq) {
                // What was unfit before is so again.
                let _ = state.fold(stored, &mut Vec::new());
            }
        }
        state.settle();
        state
    }

    /// The same, where all messages are read before any is folded.
    pub fn restarted_ahead(&self) -> State {
        let mut state = State::new("dc1");
        state.begin(self.now);
        let mut reader = state.reader();
        let latest = self.log.iter().filter(|stored| self.last.get(&stored.message.subject) == Some(&stored.seq));
        let read: Vec<_> = latest.map(|stored| (stored, reader.read(stored))).collect();
        for (stored, read) in read {
            let _ = state.fold_read(stored, read, &mut Vec::new());
        }
        state.end_reading(reader);
        state.settle();
        state
    }

    pub fn is_touched(&self, touch: &Touch) -> bool {
        self.touched.contains(touch)
    }
}

fn is_event(subject: &Subject) -> bool {
    subject.tokens().nth(2) == Some("%event")
}

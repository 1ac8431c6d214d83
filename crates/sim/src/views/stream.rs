//! The stream as it survives: the last message of each subject, removals for as long as they are kept.

use std::collections::BTreeMap;

use catalog::{Expectation, Write};
use event::{Message, Moment, Subject};
use journal::Stored;

/// See the module.
#[derive(Debug, Default)]
pub struct Stream {
    /// The last message of each subject, and when it goes.
    last: BTreeMap<Subject, (Stored, Option<Moment>)>,
    /// All that was ever recorded: for who reads the tail.
    pub log: Vec<Stored>,
}

impl Stream {
    /// The last position.
    pub fn position(&self) -> u64 {
        self.log.len() as u64
    }

    /// Whether a write may be recorded.
    pub fn judge(&self, write: &Write, now: Moment) -> Result<(), String> {
        let found = self.last.get(&write.subject).filter(|(_, ends)| ends.is_none_or(|ends| now < ends));
        let found = found.map_or(0, |(stored, _)| stored.seq);
        let is_so = match write.expect {
            Expectation::Any => true,
            Expectation::Subject(last) => last == found,
            Expectation::Stream(last) => last == self.position(),
        };
        if is_so { Ok(()) } else { Err(format!("{}: {:?}, and the last is {found}", write.subject, write.expect)) }
    }

    /// Records a message.
    pub fn record(&mut self, message: Message, ends: Option<Moment>, now: Moment) -> Stored {
        let stored = Stored { seq: self.position() + 1, time: now, message };
        self.last.insert(stored.message.subject.clone(), (stored.clone(), ends));
        self.log.push(stored.clone());
        stored
    }

    /// The last message of each subject, in order of position.
    pub fn latest(&self, now: Moment) -> Vec<Stored> {
        let there = self.last.values().filter(|(_, ends)| ends.is_none_or(|ends| now < ends));
        let mut all: Vec<_> = there.map(|(stored, _)| stored.clone()).collect();
        all.sort_by_key(|stored| stored.seq);
        all
    }
}

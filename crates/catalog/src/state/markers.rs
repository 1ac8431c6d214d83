//! The last positions of subjects where they are not those of what holds: what a precondition names.
//!
//! A removal is a message that stays for a while. While it is there, it is the last of its subject; afterwards there is
//! none. So who creates what is absent must know which. And a message that was unfit stands at its subject, though
//! nothing came of it.

use alloc::collections::BTreeMap;

use event::{Moment, Subject};

use crate::limits::REMOVED_MAX;
use crate::write::Expectation;

/// The removals, and the unfit messages, that may still be in the stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Markers {
    /// Removals that go by themselves, and when.
    passing: BTreeMap<Subject, (u64, Moment)>,
    /// The same, in their order.
    order: BTreeMap<u64, Subject>,
    /// What stays until something takes its place.
    lasting: BTreeMap<Subject, u64>,
    /// Until then a removal that is not known here may be in the stream.
    doubt: Moment,
    /// What lasts was forgotten.
    doubt_lasts: bool,
}

impl Markers {
    /// A subject was removed, until a moment, or its last message is one that stays.
    pub(super) fn add(&mut self, subject: &Subject, position: u64, expires: Option<Moment>) {
        self.clear(subject);
        match expires {
            Some(expires) => {
                self.passing.insert(subject.clone(), (position, expires));
                self.order.insert(position, subject.clone());
            }
            None => {
                self.lasting.insert(subject.clone(), position);
            }
        }
        if self.lasting.len() > REMOVED_MAX {
            self.lasting.pop_first();
            self.doubt_lasts = true;
        }
        while self.order.len() > REMOVED_MAX {
            let Some((_, subject)) = self.order.pop_first() else { break };
            if let Some((_, expires)) = self.passing.remove(&subject) {
                self.doubt = self.doubt.max(expires);
            }
        }
    }

    /// A subject holds something again.
    pub(super) fn clear(&mut self, subject: &Subject) {
        self.lasting.remove(subject);
        if let Some((position, _)) = self.passing.remove(subject) {
            self.order.remove(&position);
        }
    }

    /// Forgets those that went before a moment.
    pub(super) fn prune(&mut self, now: Moment) {
        // In order of position, so of time; a few a call are enough to keep up.
        for _ in 0..4 {
            let Some(first) = self.order.first_entry() else { return };
            if self.passing.get(first.get()).is_some_and(|(_, expires)| *expires >= now) {
                return;
            }
            let subject = first.remove();
            self.passing.remove(&subject);
        }
    }

    /// What is expected of a subject, where what holds was recorded at `known`; `None`: it holds nothing.
    pub(super) fn expect(&self, subject: &Subject, known: Option<u64>, stream: u64, now: Moment) -> Expectation {
        if let Some(at) = self.lasting.get(subject) {
            return Expectation::Subject(known.unwrap_or(0).max(*at));
        }
        match (known, self.passing.get(subject)) {
            (Some(known), _) => Expectation::Subject(known),
            (None, Some((position, expires))) => Expectation::Subject(if now < *expires { *position } else { 0 }),
            (None, None) if self.doubt_lasts || now < self.doubt => Expectation::Stream(stream),
            (None, None) => Expectation::Subject(0),
        }
    }
}

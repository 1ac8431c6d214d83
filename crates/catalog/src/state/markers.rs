//! Where subjects were removed: what a precondition on an absent one names.
//!
//! A removal is a message that stays for a while. While it is there, it is the last of its subject; afterwards there is
//! none. So who creates what is absent must know which.

use alloc::collections::BTreeMap;

use event::{Moment, Subject};

use crate::limits::REMOVED_MAX;
use crate::write::Expectation;

#[derive(Debug, Clone, Copy)]
struct Marker {
    position: u64,
    /// When it goes; `None`: nobody knows.
    expires: Option<Moment>,
}

/// The removals that may still be in the stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Markers {
    by_subject: BTreeMap<Subject, Marker>,
    by_position: BTreeMap<u64, Subject>,
    /// Until then a removal that is not known here may be in the stream. `None`: for ever.
    doubt: Option<Moment>,
    never_ends: bool,
}

impl Markers {
    /// A subject was removed.
    pub(super) fn add(&mut self, subject: &Subject, position: u64, expires: Option<Moment>) {
        self.clear(subject);
        self.by_subject.insert(subject.clone(), Marker { position, expires });
        self.by_position.insert(position, subject.clone());
        while self.by_position.len() > REMOVED_MAX {
            let Some((_, subject)) = self.by_position.pop_first() else { break };
            match self.by_subject.remove(&subject).and_then(|marker| marker.expires) {
                Some(expires) => self.doubt = self.doubt.max(Some(expires)),
                None => self.never_ends = true,
            }
        }
    }

    /// A subject is there again.
    pub(super) fn clear(&mut self, subject: &Subject) {
        if let Some(marker) = self.by_subject.remove(subject) {
            self.by_position.remove(&marker.position);
        }
    }

    /// Forgets those that went before a moment.
    pub(super) fn prune(&mut self, now: Moment) {
        // In order of position, so of time but for those that never go; a few a call are enough to keep up.
        for _ in 0..4 {
            let Some(first) = self.by_position.first_entry() else { return };
            let gone = self.by_subject.get(first.get()).is_none_or(|marker| marker.expires.is_some_and(|at| at < now));
            if !gone {
                return;
            }
            let subject = first.remove();
            self.by_subject.remove(&subject);
        }
    }

    /// What is expected of a subject that holds nothing.
    pub(super) fn expect(&self, subject: &Subject, stream: u64, now: Moment) -> Expectation {
        match self.by_subject.get(subject) {
            Some(marker) if marker.expires.is_none_or(|expires| now < expires) => Expectation::Subject(marker.position),
            Some(_) => Expectation::Subject(0),
            None if self.never_ends || self.doubt.is_some_and(|until| now < until) => Expectation::Stream(stream),
            None => Expectation::Subject(0),
        }
    }
}

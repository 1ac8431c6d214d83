//! How facts ended, remembered for a while, so that a late copy is known as one.
//!
//! Bounded: the one that is to be forgotten soonest goes first. Costs about 150 bytes a fact.

use alloc::collections::{BTreeMap, BTreeSet};

use event::Moment;

use super::state::State;
use crate::fingerprint;
use crate::limits::ENDED_MAX;

/// Ends of facts by a fingerprint of their ids, which is as wide as makes two alike unlikely.
#[derive(Debug, Default)]
pub struct Ended {
    states: BTreeMap<u128, (Moment, State)>,
    by_end: BTreeSet<(Moment, u128)>,
}

impl Ended {
    /// How a fact ended.
    pub fn get(&self, id: &str) -> Option<State> {
        if self.states.is_empty() {
            return None;
        }
        self.states.get(&fingerprint::wide(id)).map(|(_, state)| *state)
    }

    /// Remembers how a fact ended.
    pub fn insert(&mut self, id: &str, state: State, until: Moment) {
        let key = fingerprint::wide(id);
        if let Some((before, _)) = self.states.insert(key, (until, state)) {
            self.by_end.remove(&(before, key));
        }
        self.by_end.insert((until, key));
        if self.states.len() > ENDED_MAX
            && let Some((_, key)) = self.by_end.pop_first()
        {
            self.states.remove(&key);
        }
    }

    /// Forgets a fact that holds again.
    pub fn remove(&mut self, id: &str) {
        let key = fingerprint::wide(id);
        if let Some((until, _)) = self.states.remove(&key) {
            self.by_end.remove(&(until, key));
        }
    }

    /// Forgets what is to be forgotten by now.
    pub fn expire(&mut self, now: Moment) {
        while let Some((_, key)) = self.by_end.first().filter(|(until, _)| *until < now).copied() {
            self.by_end.pop_first();
            self.states.remove(&key);
        }
    }
}

//! What a told fact is to the state that is known of it.

use event::{Fact, Moment};

use crate::fingerprint::Fingerprint;

/// What a fact is to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Not known, or known and over: told again later, or for longer.
    New,
    /// Known, and holds longer.
    Refresh,
    /// Known, and observed or taken back later without anything new. Of what is told here it is a duplicate; of what a
    /// peer tells it is news, because what came between may still be on its way.
    Again,
    /// Known, and observed later to be something else.
    Changed,
    /// Takes back, or forbids in advance, what was observed no later.
    Withdrawal,
    /// Says nothing that is not known, or is older than what is known.
    Duplicate,
    /// Another source's fact has this id.
    Conflict,
}

impl Judged {
    /// Whether it is to be recorded, told by a peer (`received`) or here.
    pub fn is_news(self, received: bool) -> bool {
        match self {
            Judged::New | Judged::Refresh | Judged::Changed | Judged::Withdrawal => true,
            Judged::Again => received,
            Judged::Duplicate | Judged::Conflict => false,
        }
    }
}

/// What is known of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Of the source's name.
    pub source: u64,
    pub observed: Option<Moment>,
    pub expires: Option<Moment>,
    /// Whether it was taken back by a withdrawal of its own.
    pub withdrawn: bool,
    /// Whether somebody said that it is over: only a later observation brings it back.
    pub over: bool,
    pub fingerprint: u64,
}

/// A source's fingerprint.
pub fn source_of(source: &str) -> u64 {
    Fingerprint::new(3).text(source).value()
}

/// The later expiry. An expiry, once told, counts: "for ever" does not replace it, and gives way to it, so
/// that the order in which both are told does not matter.
pub fn longer(known: Option<Moment>, told: Option<Moment>) -> Option<Moment> {
    // `None` is the least.
    known.max(told)
}

impl State {
    /// What a fact is to this state.
    pub fn judge(&self, fact: &Fact, fingerprint: u64) -> Judged {
        if self.source != source_of(&fact.source) {
            return Judged::Conflict;
        }
        let later = fact.observed > self.observed;
        if fact.withdrawn {
            let current = fact.observed.is_none() || fact.observed >= self.observed;
            return match self.withdrawn {
                false if current => Judged::Withdrawal,
                true if later => Judged::Again,
                _ => Judged::Duplicate,
            };
        }
        if self.over {
            return if later { Judged::New } else { Judged::Duplicate };
        }
        if fingerprint != self.fingerprint {
            return if later { Judged::Changed } else { Judged::Duplicate };
        }
        // An older observation with a later expiry is of a life that was over in between.
        let longer = longer(self.expires, fact.expires) != self.expires;
        match longer && fact.observed >= self.observed {
            true => Judged::Refresh,
            false if later => Judged::Again,
            false => Judged::Duplicate,
        }
    }

    /// What a fact is, where this is how the last one of its id ended: that no longer has a say in whose
    /// the id is.
    pub fn judge_ended(&self, fact: &Fact, fingerprint: u64) -> Judged {
        match self.judge(fact, fingerprint) {
            Judged::Conflict if fact.withdrawn => Judged::Withdrawal,
            judged @ (Judged::Withdrawal | Judged::Again) if fact.withdrawn => judged,
            Judged::Duplicate if fact.withdrawn || fact.observed <= self.observed => Judged::Duplicate,
            _ => Judged::New,
        }
    }
}

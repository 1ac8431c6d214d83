//! Deliveries that this node made, and what was said of them.
//!
//! The servers know what is outstanding, and tell nobody message by message. What is kept here lets a
//! second acknowledgement be told from a first, and gives a dead letter its times. It is lost with the
//! node, and then only the servers' word counts: docs/scale.md.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::Message as Wire;
use event::Moment;

use crate::limits::SETTLED_MAX;

/// What the reply subject of a delivery tells.
///
/// ```text
/// $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<attempt>.<seq>.<order>.<time, ns>.<pending>[.<random>]
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) attempt: u64,
    pub(crate) seq: u64,
    pub(crate) order: u64,
    pub(crate) time: Moment,
    pub(crate) pending: u64,
}

impl Mark {
    pub(crate) fn of(wire: &Wire) -> Option<Mark> {
        wire.reply.as_ref().and_then(|reply| Mark::parse(reply.as_str()))
    }

    fn parse(reply: &str) -> Option<Mark> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let skipped = if tokens.len() > 7 { 4 } else { 2 };
        let mut numbers = tokens.iter().skip(skipped).map(|token| token.parse::<u64>().ok());
        let mut next = || numbers.next().flatten();
        let (attempt, seq, order) = (next()?, next()?, next()?);
        Some(Mark { attempt, seq, order, time: Moment::from_nanos(next()?), pending: next()? })
    }
}

/// One message that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) attempt: u64,
    pub(crate) order: u64,
    pub(crate) first: Moment,
    pub(crate) last: Moment,
}

/// What one consumer has out, by position.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    out: BTreeMap<u64, Flight>,
    /// Done with, above the floor.
    settled: BTreeSet<u64>,
}

impl Flights {
    /// A delivery was made.
    pub(crate) fn delivered(&mut self, mark: &Mark, now: Moment) {
        self.settled.remove(&mark.seq);
        let first = self.out.get(&mark.seq).map_or(now, |flight| flight.first);
        self.out.insert(mark.seq, Flight { attempt: mark.attempt, order: mark.order, first, last: now });
    }

    pub(crate) fn get(&self, seq: u64) -> Option<Flight> {
        self.out.get(&seq).copied()
    }

    pub(crate) fn is_settled(&self, seq: u64) -> bool {
        self.settled.contains(&seq)
    }

    pub(crate) fn settle(&mut self, seq: u64) {
        self.out.remove(&seq);
        self.settled.insert(seq);
        if self.settled.len() > SETTLED_MAX {
            self.settled.pop_first();
        }
    }

    /// All up to a position are done with.
    pub(crate) fn settle_through(&mut self, seq: u64) {
        self.out = self.out.split_off(&(seq + 1));
        self.settle(seq);
    }

    /// The servers' floor: nothing at or below it is out.
    pub(crate) fn floor(&mut self, floor: u64) {
        self.out = self.out.split_off(&(floor + 1));
        self.settled = self.settled.split_off(&(floor + 1));
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_subject_is_read_in_both_forms() {
        let expected = Mark { attempt: 2, seq: 7, order: 9, time: Moment::from_nanos(5), pending: 3 };
        assert_eq!(Mark::parse("$JS.ACK.S.c.2.7.9.5.3"), Some(expected));
        assert_eq!(Mark::parse("$JS.ACK._.hash.S.c.2.7.9.5.3.x"), Some(expected));
        assert_eq!(Mark::parse("$JS.ACK._.hash.S.c.2.7.9.5.3"), Some(expected));
        for bad in ["", "$JS.ACK.S.c", "$JS.ACK.S.c.x.7.9.5.3", "_INBOX.x"] {
            assert_eq!(Mark::parse(bad), None, "{bad}");
        }
    }
}

//! How many messages a consumer has still to deliver.
//!
//! The engine is asked for a count when a consumer that has something before it is described, or begins
//! to deliver; from then on the count is kept: what is read leaves it, and a page that reaches the end
//! makes it zero. What comes meanwhile is counted by position where nothing is filtered, and asked for
//! with the next page where something is. Between two questions, messages that limits remove ahead of
//! the cursor are not noticed.

use super::Consumer;
use crate::desk::outbox::{Aim, Outbox};
use crate::desk::{Key, What};
use crate::error::ReadError;

/// Messages from the cursor on, up to a position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    count: u64,
    upto: u64,
}

/// A question that the engine has not answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    key: Key,
    /// Up to where it counts.
    upto: u64,
    /// What was read, or given back, since.
    shift: i64,
    /// Whether it counts from the cursor on, and not only what came since the last.
    whole: bool,
}

impl Consumer {
    /// Messages not yet delivered. `first` and `last` are the stream's.
    pub(in crate::desk) fn pending(&self, first: u64, last: u64) -> u64 {
        let behind = if self.at_end {
            0
        } else {
            match self.tally {
                Some(tally) => tally.count + last.saturating_sub(tally.upto.max(self.cursor.saturating_sub(1))),
                None => (last + 1).saturating_sub(self.cursor.max(first)),
            }
        };
        (self.ahead.len() + self.firsts.len()) as u64 + behind
    }

    /// Whether a delivery may say what is behind it.
    pub(super) fn is_counted(&self) -> bool {
        self.at_end || (self.tally.is_some() && self.asked.is_none())
    }

    /// Whether the engine must be asked before anything can be said. `last` is the stream's last position.
    pub(in crate::desk) fn uncounted(&self, last: u64) -> bool {
        !self.at_end && self.cursor <= last
    }

    /// Whether a count is under way.
    pub(in crate::desk) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Asks for a count of everything, unless that is under way.
    pub(in crate::desk) fn count_all(&mut self, last: u64, outbox: &mut Outbox) {
        if self.asked.is_none_or(|asked| !asked.whole || asked.upto < last) {
            self.ask_count(self.cursor, last, true, outbox);
        }
    }

    /// Asks for what the next page of at most so many messages makes needed.
    pub(super) fn count_ahead(&mut self, limit: usize, last: u64, outbox: &mut Outbox) {
        let reaches = (last + 1).saturating_sub(self.cursor) <= limit as u64;
        if reaches || self.asked.is_some() {
            return;
        }
        match self.tally {
            None => self.ask_count(self.cursor, last, true, outbox),
            Some(tally) if !self.config.filters.is_empty() && tally.upto < last => {
                self.ask_count(self.cursor.max(tally.upto + 1), last, false, outbox);
            }
            Some(_) => {}
        }
    }

    fn ask_count(&mut self, from: u64, upto: u64, whole: bool, outbox: &mut Outbox) {
        let filters = self.config.filters.clone();
        let key = outbox.read(&self.stream, Aim::Count(self.id), What::Count { filters, from, upto });
        self.asked = Some(Asked { key, upto, shift: 0, whole });
    }

    /// Takes in a count. Where there is none, positions stand for it.
    pub(in crate::desk) fn counted(&mut self, key: Key, result: &Result<u64, ReadError>) {
        let Some(asked) = self.asked.take_if(|asked| asked.key == key) else { return };
        if self.at_end {
            return;
        }
        if asked.upto < self.cursor {
            // The cursor went past what was asked for: from there on, positions are counted.
            return self.tally_none();
        }
        let positions = (asked.upto + 1).saturating_sub(self.cursor);
        let found = match (result, self.tally) {
            (Err(_), _) => positions,
            (Ok(count), Some(tally)) if !asked.whole => tally.count + count,
            (Ok(count), _) => count.saturating_add_signed(asked.shift),
        };
        self.tally = Some(Tally { count: found.min(positions), upto: asked.upto });
    }

    /// So many messages were read and the cursor moved behind them; or given back, and it moved before.
    pub(super) fn shift_tally(&mut self, messages: i64) {
        if let Some(asked) = &mut self.asked {
            asked.shift += messages;
        }
        match &mut self.tally {
            Some(tally) if tally.upto >= self.cursor => tally.count = tally.count.saturating_add_signed(messages),
            Some(tally) => *tally = Tally { count: 0, upto: self.cursor.saturating_sub(1) },
            None => {}
        }
    }

    /// All before the cursor is known, and so is that nothing lies between it and the end that there was.
    pub(super) fn tally_none(&mut self) {
        (self.tally, self.asked) = (Some(Tally { count: 0, upto: self.cursor.saturating_sub(1) }), None);
    }

    /// Nothing is known any more.
    pub(super) fn forget_tally(&mut self) {
        (self.tally, self.asked) = (None, None);
    }

    /// A message at or behind the cursor is gone.
    pub(super) fn removed_ahead(&mut self) {
        if self.config.filters.is_empty() && self.asked.is_none() {
            if let Some(tally) = &mut self.tally {
                tally.count = tally.count.saturating_sub(1);
            }
        } else {
            self.forget_tally();
        }
    }
}

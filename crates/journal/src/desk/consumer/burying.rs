//! What a consumer gives up.

use alloc::string::String;
use alloc::vec::Vec;

use event::Moment;

use crate::error::ReadError;
use crate::stream::Page;

use super::Consumer;
use crate::desk::outbox::{Aim, Outbox};
use crate::desk::{AHEAD_MESSAGES_MAX, Key, RETRY_EVERY, What, dead};

/// A message that is given up.
#[derive(Debug, Clone)]
pub(in crate::desk) struct Dying {
    pub(in crate::desk) reason: String,
    /// Whether its dead letter is on its way.
    pub(super) sent: bool,
    pub(super) not_before: Moment,
}

impl Dying {
    pub(in crate::desk) fn new(reason: String) -> Self {
        Dying { reason, sent: false, not_before: Moment::EPOCH }
    }
}

impl Consumer {
    /// Whether what it gives up becomes a dead letter.
    pub(super) fn letters(&self) -> bool {
        self.config.dead_letter && *self.stream != *crate::limits::DEAD_STREAM
    }

    /// Has dead letters written, or counts them where none are.
    pub(super) fn bury(&mut self, now: Moment, outbox: &mut Outbox) {
        if self.dying.is_empty() || self.dying_read.is_some() {
            return;
        }
        let due = self.dying.iter().filter(|(_, dying)| !dying.sent && dying.not_before <= now);
        let seqs: Vec<u64> = due.map(|(seq, _)| *seq).take(AHEAD_MESSAGES_MAX).collect();
        if seqs.is_empty() {
            return;
        }
        if !self.letters() {
            self.dead += seqs.len() as u64;
            return seqs.into_iter().for_each(|seq| self.finish(seq));
        }
        let key = outbox.read(&self.stream, Aim::Dying(self.id), What::Seqs(seqs.clone()));
        self.dying_read = Some((key, seqs));
    }

    /// Takes in messages that are given up. Those that are gone are done with.
    pub(in crate::desk) fn dying_page(
        &mut self,
        now: Moment,
        key: Key,
        result: Result<Page, ReadError>,
        outbox: &mut Outbox,
    ) {
        let Some((_, seqs)) = self.dying_read.take_if(|(asked, _)| *asked == key) else { return };
        let (messages, next) = match result {
            Ok(page) => (page.messages, page.next),
            Err(_) => {
                let later = now.after(RETRY_EVERY);
                let asked = self.dying.iter_mut().filter(|(seq, _)| seqs.contains(seq));
                return asked.for_each(|(_, dying)| dying.not_before = later);
            }
        };
        for seq in seqs.into_iter().filter(|seq| *seq < next) {
            let found = messages.binary_search_by_key(&seq, |stored| stored.seq).ok();
            let letter = found.and_then(|place| messages.get(place)).and_then(|stored| {
                let (flight, dying) = (self.flights.get(seq)?, self.dying.get(&seq)?);
                Some(dead::letter(self, stored, flight, &dying.reason))
            });
            match (letter, self.dying.get_mut(&seq)) {
                (Some(append), Some(dying)) => {
                    dying.sent = true;
                    outbox.letter(self.id, seq, append);
                }
                _ => self.finish(seq),
            }
        }
    }

    pub(in crate::desk) fn dead_lettered(&mut self, now: Moment, seq: u64, recorded: bool) {
        if recorded {
            self.dead += 1;
            self.finish(seq);
        } else if let Some(dying) = self.dying.get_mut(&seq) {
            (dying.sent, dying.not_before) = (false, now.after(RETRY_EVERY));
        }
    }
}

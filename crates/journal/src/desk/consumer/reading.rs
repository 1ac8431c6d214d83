//! What a consumer reads ahead of its deliveries.

use alloc::string::ToString;
use alloc::vec::Vec;

use event::Wanted;

use crate::consumer::{AckPolicy, FetchEnd};
use crate::error::{FetchError, ReadError};
use crate::stream::{Page, Read};

use super::Consumer;
use crate::desk::outbox::{Aim, Outbox};
use crate::desk::{AHEAD_BYTES_MAX, AHEAD_MESSAGES_MAX, Key, What};

/// What is to be delivered next.
pub(super) enum Next {
    /// To be delivered again.
    Again,
    /// To be delivered for the first time.
    New,
    /// What is next is being read.
    Reading,
    /// Nothing is there, or may be delivered now.
    Nothing,
}

impl Consumer {
    /// Finds out what is next, and asks for what that needs.
    pub(super) fn next(&mut self, first: u64, last: u64, outbox: &mut Outbox) -> Next {
        while self.back.front().is_some_and(|stored| !self.flights.is_again(stored.seq)) {
            self.back.pop_front();
        }
        let lowest = self.flights.again().next();
        if let Some(lowest) = lowest {
            // One that came due meanwhile may lie before those that were read.
            if self.back.front().is_some_and(|stored| stored.seq == lowest) {
                return Next::Again;
            }
            if self.back_read.is_none() {
                let most = usize::try_from(self.fetches.wanted()).unwrap_or(usize::MAX).min(AHEAD_MESSAGES_MAX);
                let seqs: Vec<u64> = self.flights.again().take(most.max(1)).collect();
                self.back.clear();
                let key = outbox.read(&self.stream, Aim::Back(self.id), What::Seqs(seqs.clone()));
                self.back_read = Some((key, seqs));
            }
            return Next::Reading;
        }
        let outstanding = self.flights.len() as u64;
        let free = self.config.ack_pending_max.map_or(u64::MAX, |max| max.saturating_sub(outstanding));
        if self.config.ack != AckPolicy::None && free == 0 {
            return Next::Nothing;
        }
        if self.ahead.len() > 1 || (self.at_end && !self.ahead.is_empty()) {
            if !self.is_counted() && self.cursor <= last {
                if self.asked.is_none() {
                    self.count_all(last, outbox);
                }
                return Next::Reading;
            }
            return Next::New;
        }
        if self.at_end {
            return Next::Nothing;
        }
        if self.next_read.is_none() {
            self.read_next(first, last, free, outbox);
        }
        Next::Reading
    }

    pub(super) fn read_next(&mut self, first: u64, last: u64, free: u64, outbox: &mut Outbox) {
        if self.ahead.is_empty() {
            self.cursor = self.cursor.max(first);
        }
        let free = if self.config.ack == AckPolicy::None { u64::MAX } else { free };
        // One more than is wanted: whether anything follows is then known.
        let wanted = self.fetches.wanted().min(free).saturating_add(1);
        let limit = usize::try_from(wanted).unwrap_or(usize::MAX).min(AHEAD_MESSAGES_MAX);
        self.count_ahead(limit, last, outbox);
        let filters = self.config.filters.clone();
        let read = Read { filters, bytes: AHEAD_BYTES_MAX, ..Read::from(self.cursor, limit) };
        let what = if self.firsts.is_empty() {
            What::Next(read)
        } else {
            What::Seqs(self.firsts.iter().take(limit).copied().collect())
        };
        self.next_asked = self.firsts.len().min(limit);
        self.next_read = Some(outbox.read(&self.stream, Aim::Next(self.id), what));
    }

    /// Takes in a page of new messages. `last` is the stream's last position that is known of.
    pub(in crate::desk) fn next_page(
        &mut self,
        key: Key,
        result: Result<Page, ReadError>,
        last: u64,
        watching: &mut Wanted<u64>,
        outbox: &mut Outbox,
    ) {
        if self.next_read != Some(key) {
            return;
        }
        self.next_read = None;
        let page = match result {
            Ok(page) => page,
            Err(error) => return self.fail(&error, outbox),
        };
        self.changed = true;
        if self.next_asked > 0 {
            let asked = self.firsts.iter().take(self.next_asked);
            let looked_up = asked.take_while(|seq| **seq < page.next).count();
            self.firsts.drain(..looked_up);
            let mut messages = page.messages;
            messages.retain(|stored| self.wants(stored.message.subject.as_str()));
            return self.ahead.extend(messages);
        }
        self.cursor = page.next.max(self.cursor);
        self.shift_tally(-i64::try_from(page.messages.len()).unwrap_or(i64::MAX));
        self.ahead.extend(page.messages);
        if self.cursor > last {
            self.watch(watching);
        }
    }

    /// Takes in messages to be delivered again. Those that are gone are done with.
    pub(in crate::desk) fn back_page(&mut self, key: Key, result: Result<Page, ReadError>, outbox: &mut Outbox) {
        let Some((_, seqs)) = self.back_read.take_if(|(asked, _)| *asked == key) else { return };
        match result {
            Ok(page) => {
                self.back = page.messages.into();
                for seq in seqs.into_iter().filter(|seq| *seq < page.next) {
                    if self.flights.is_again(seq) && self.back.binary_search_by_key(&seq, |found| found.seq).is_err() {
                        self.finish(seq);
                    }
                }
            }
            Err(error) => self.fail(&error, outbox),
        }
    }

    pub(super) fn fail(&mut self, error: &ReadError, outbox: &mut Outbox) {
        let failed = FetchEnd::Failed(FetchError::Storage(error.to_string()));
        self.fetches.take_all().into_iter().for_each(|request| outbox.end(request, failed.clone()));
    }
}

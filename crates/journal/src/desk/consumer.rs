//! One consumer: its cursor, what it has read ahead, its flights and its fetches.
//!
//! # Invariants
//! - Every message before [`Consumer::position`] that the filters match was delivered or is a
//!   flight; none at or behind it was.
//! - `at_end` only while `watching`: then nothing that the filters match lies behind what is in
//!   `ahead`, and the desk tells of the next that does.
//! - The last message in `ahead` is delivered only once it is known whether another follows, so
//!   that a delivery that leaves nothing behind says so.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use event::{Moment, Pattern, Subject, Wanted};

use crate::config::Retention;
use crate::consumer::{Ack, AckPolicy, AckToken, ConsumerConfig, ConsumerInfo, Delivery, FetchEnd};
use crate::error::{AckError, FetchError, ReadError};
use crate::stream::{Page, Read, Start, Stored};

use super::fetches::{Fetches, Served};
use super::flights::{Flight, Flights, Place};
use super::outbox::{Aim, Outbox};
use super::{AHEAD_BYTES_MAX, AHEAD_MESSAGES_MAX, Key, RETRY_EVERY, Ticket, What, dead};

/// Changed flights after which a change is saved without delay: bounds the change's size to about 100 KiB.
const TOUCHED_MAX: usize = 8 * 1024;

/// A message that is given up.
#[derive(Debug, Clone)]
pub(super) struct Dying {
    pub(super) reason: String,
    /// Whether its dead letter is on its way.
    sent: bool,
    not_before: Moment,
}

impl Dying {
    pub(super) fn new(reason: String) -> Self {
        Dying { reason, sent: false, not_before: Moment::EPOCH }
    }
}

#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) id: u64,
    pub(super) stream: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) tag: u64,
    pub(super) config: ConsumerConfig,
    pub(super) created: Moment,
    pub(super) retention: Retention,
    /// The verb that waits for its start to be found.
    pub(super) opening: Option<Ticket>,
    /// Where it started, once that is known.
    pub(super) origin: u64,
    /// The next position to be read.
    pub(super) cursor: u64,
    /// Positions to be read before the cursor, in order: the last of each subject when it was created.
    pub(super) firsts: VecDeque<u64>,
    /// The last position when it was created, where it has such positions; 0: it never had.
    pub(super) until: u64,
    pub(super) delivered: u64,
    pub(super) order: u64,
    pub(super) dead: u64,
    pub(super) flights: Flights,
    pub(super) dying: BTreeMap<u64, Dying>,
    pub(super) fetches: Fetches,
    pub(super) ahead: VecDeque<Stored>,
    back: VecDeque<Stored>,
    next_read: Option<Key>,
    /// How many of `firsts` the read is of; 0: it is of the cursor.
    next_asked: usize,
    back_read: Option<(Key, Vec<u64>)>,
    dying_read: Option<(Key, Vec<u64>)>,
    at_end: bool,
    watching: bool,
    /// Positions that it is done with, for the stream's retention; with their subjects under
    /// [`Retention::Interest`].
    pub(super) done: Vec<(u64, Option<Subject>)>,
    /// Flights that changed since the last save, in any order, perhaps twice.
    pub(super) touched: Vec<u64>,
    pub(super) changed: bool,
    /// Whether the next save must hold all of it.
    pub(super) whole: bool,
    /// When it was last used.
    pub(super) active: Moment,
    /// Its entry in the desk's timers.
    pub(super) wake: Option<Moment>,
    /// Whether it is in the desk's queue.
    pub(super) queued: bool,
}

/// Where a new consumer is put.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) id: u64,
    pub(super) stream: Arc<str>,
    pub(super) tag: u64,
    pub(super) created: Moment,
    pub(super) retention: Retention,
}

enum Next {
    /// To be delivered again.
    Again,
    /// To be delivered for the first time.
    New,
    /// What is next is being read.
    Reading,
    Nothing,
}

impl Consumer {
    pub(super) fn new(place: Seat, config: ConsumerConfig) -> Self {
        Consumer {
            id: place.id,
            stream: place.stream,
            name: Arc::from(config.name.as_str()),
            tag: place.tag,
            config,
            created: place.created,
            retention: place.retention,
            opening: None,
            origin: 1,
            cursor: 1,
            firsts: VecDeque::new(),
            until: 0,
            delivered: 0,
            order: 0,
            dead: 0,
            flights: Flights::default(),
            dying: BTreeMap::new(),
            fetches: Fetches::default(),
            ahead: VecDeque::new(),
            back: VecDeque::new(),
            next_read: None,
            next_asked: 0,
            back_read: None,
            dying_read: None,
            at_end: false,
            watching: false,
            done: Vec::new(),
            touched: Vec::new(),
            changed: true,
            whole: true,
            active: place.created,
            wake: None,
            queued: false,
        }
    }

    /// The lowest position that was not delivered, as far as it is known.
    pub(super) fn position(&self) -> u64 {
        let front = self.ahead.front().map(|stored| stored.seq).or(self.firsts.front().copied());
        front.unwrap_or(self.cursor)
    }

    pub(super) fn ack_floor(&self) -> u64 {
        self.flights.first().map_or(self.delivered, |seq| seq.saturating_sub(1))
    }

    pub(super) fn info(&self, first: u64, last: u64) -> ConsumerInfo {
        ConsumerInfo {
            stream: self.stream.clone(),
            config: self.config.clone(),
            created: self.created,
            delivered: self.delivered,
            deliveries: self.order,
            ack_floor: self.ack_floor(),
            ack_pending: self.flights.len() as u64,
            redelivered: self.flights.iter().filter(|flight| flight.attempt > 1).count() as u64,
            pending: self.pending(first, last),
            waiting: self.fetches.len() as u64,
            dead: self.dead,
        }
    }

    fn pending(&self, first: u64, last: u64) -> u64 {
        let behind = if self.at_end { 0 } else { (last + 1).saturating_sub(self.cursor.max(first)) };
        (self.ahead.len() + self.firsts.len()) as u64 + behind
    }

    pub(super) fn wants(&self, subject: &str) -> bool {
        self.config.filters.is_empty() || self.config.filters.iter().any(|filter| filter.matches(subject))
    }

    /// Whether a position needs it no more, if it ever did.
    pub(super) fn is_done(&self, seq: u64) -> bool {
        let passed_over = || {
            let ahead = self.ahead.binary_search_by_key(&seq, |stored| stored.seq).is_ok();
            seq <= self.until && !ahead && self.firsts.binary_search(&seq).is_err()
        };
        self.opening.is_none() && (seq < self.position() || passed_over()) && self.flights.get(seq).is_none()
    }

    fn paused(&self, now: Moment) -> bool {
        self.config.pause_until.is_some_and(|until| now < until)
    }

    /// How long after delivery number `attempt` the next is due.
    fn wait(&self, attempt: u64) -> Duration {
        self.backoff(attempt).unwrap_or(self.config.ack_wait)
    }

    fn backoff(&self, attempt: u64) -> Option<Duration> {
        let place = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        self.config.backoff.get(place).or(self.config.backoff.last()).copied()
    }

    fn exhausted(&self, attempt: u64) -> bool {
        self.config.deliver_max.is_some_and(|max| attempt >= max)
    }

    fn touch(&mut self, seq: u64) {
        self.changed = true;
        if self.config.durable {
            self.touched.push(seq);
        }
    }

    pub(super) fn unsaved(&self) -> bool {
        self.changed && self.config.durable && self.opening.is_none()
    }

    pub(super) fn touched_many(&self) -> bool {
        self.touched.len() >= TOUCHED_MAX
    }

    // What the stream tells.

    /// A message that it wants came: the first since the end was reached.
    pub(super) fn appended(&mut self, seq: u64, watching: &mut Wanted<u64>) {
        if self.at_end && self.ahead.is_empty() && self.next_read.is_none() {
            self.cursor = self.cursor.max(seq);
        }
        self.unwatch(watching);
    }

    fn watch(&mut self, watching: &mut Wanted<u64>) {
        self.at_end = true;
        if !self.watching {
            self.watching = true;
            for pattern in &self.patterns() {
                watching.insert(pattern, self.id);
            }
        }
    }

    pub(super) fn unwatch(&mut self, watching: &mut Wanted<u64>) {
        self.at_end = false;
        if self.watching {
            self.watching = false;
            for pattern in &self.patterns() {
                watching.remove(pattern, &self.id);
            }
        }
    }

    /// Its filters, one at least.
    pub(super) fn patterns(&self) -> Vec<Pattern> {
        if self.config.filters.is_empty() { Vec::from([Pattern::all()]) } else { self.config.filters.clone() }
    }

    /// Forgets what it read ahead.
    pub(super) fn rewind(&mut self) {
        while let Some(stored) = self.ahead.pop_back() {
            self.go_back(stored.seq);
        }
        self.next_read = None;
    }

    /// Has a position read again, and what follows it.
    fn go_back(&mut self, seq: u64) {
        self.at_end = false;
        if seq <= self.until {
            self.firsts.push_front(seq);
        } else {
            self.cursor = seq;
        }
    }

    /// Takes other filters, from behind the last position that it delivered on.
    pub(super) fn refilter(&mut self) {
        self.rewind();
        self.cursor = self.origin.max(self.delivered + 1);
    }

    /// All before a position is gone.
    pub(super) fn removed_below(&mut self, first: u64) {
        while self.ahead.front().is_some_and(|stored| stored.seq < first) {
            self.ahead.pop_front();
        }
        self.back.retain(|stored| stored.seq >= first);
        self.firsts.retain(|seq| *seq >= first);
        if self.cursor < first {
            (self.cursor, self.changed) = (first, true);
        }
        if let Some(last) = first.checked_sub(1) {
            self.flights.up_to(last).into_iter().for_each(|seq| self.finish(seq));
        }
    }

    /// The message at a position is gone.
    pub(super) fn removed_one(&mut self, seq: u64) {
        self.ahead.retain(|stored| stored.seq != seq);
        self.back.retain(|stored| stored.seq != seq);
        self.finish(seq);
    }

    /// Messages are gone, nobody knows which.
    pub(super) fn removed_some(&mut self) {
        self.rewind();
        self.back.clear();
    }

    /// The stream is shorter than it was.
    pub(super) fn truncated(&mut self, last: u64) {
        if self.cursor > last + 1 {
            (self.cursor, self.changed) = (last + 1, true);
            (self.delivered, self.until) = (self.delivered.min(last), self.until.min(last));
            self.firsts.retain(|seq| *seq <= last);
            self.flights.from(last + 1).into_iter().for_each(|seq| self.finish(seq));
        }
    }

    // What users say.

    pub(super) fn acknowledge(&mut self, now: Moment, seq: u64, ack: &Ack) -> Result<(), AckError> {
        if self.config.ack == AckPolicy::None {
            return Err(AckError::NotWanted);
        }
        let Some(flight) = self.flights.get(seq) else {
            return Err(if seq > self.delivered { AckError::Unknown(seq) } else { AckError::Already(seq) });
        };
        let (attempt, place) = (flight.attempt, flight.place);
        self.active = now;
        match ack {
            Ack::Done if self.config.ack == AckPolicy::All => {
                let before = self.flights.taken_up_to(seq);
                before.into_iter().for_each(|seq| self.finish(seq));
            }
            Ack::Done => self.finish(seq),
            _ if place == Place::Dying => return Err(AckError::Already(seq)),
            Ack::Give { reason } => self.give_up(seq, reason.clone()),
            Ack::Progress => self.put(seq, Place::Out(now.after(self.wait(attempt)))),
            Ack::Again { .. } if self.exhausted(attempt) => {
                self.give_up(seq, format_exhausted("refused", attempt));
            }
            Ack::Again { delay } => match delay.or(self.backoff(attempt)).filter(|delay| !delay.is_zero()) {
                Some(delay) => self.put(seq, Place::Out(now.after(delay))),
                None => self.put(seq, Place::Again),
            },
        }
        Ok(())
    }

    /// A delivery was not taken: as if it had not been made.
    pub(super) fn untaken(&mut self, token: &AckToken) {
        let seq = token.seq;
        if self.config.ack == AckPolicy::None {
            self.rewind();
            if self.position() > seq {
                self.go_back(seq);
                (self.delivered, self.changed) = (seq.saturating_sub(1), true);
                self.done.retain(|(done, _)| *done != seq);
            }
            return;
        }
        let out = |flight: &&Flight| flight.attempt == token.attempt && matches!(flight.place, Place::Out(_));
        if self.flights.get(seq).filter(out).is_some() {
            self.flights.change(seq, |flight| flight.attempt -= 1);
            self.put(seq, Place::Again);
        }
    }

    fn put(&mut self, seq: u64, place: Place) {
        self.flights.change(seq, |flight| flight.place = place);
        self.touch(seq);
    }

    fn give_up(&mut self, seq: u64, reason: String) {
        self.put(seq, Place::Dying);
        self.dying.insert(seq, Dying::new(dead::reason(&reason)));
    }

    fn finish(&mut self, seq: u64) {
        let Some(flight) = self.flights.land(seq) else { return };
        if flight.place == Place::Dying {
            self.dying.remove(&seq);
        }
        self.touch(seq);
        if self.retention != Retention::Limits {
            self.done.push((seq, flight.subject));
        }
    }

    // What time does.

    /// Whether nobody used it for as long as it may go unused.
    pub(super) fn expired(&self, now: Moment) -> bool {
        self.expires().is_some_and(|moment| moment <= now)
    }

    fn expires(&self) -> Option<Moment> {
        let idle = self.fetches.is_empty() && self.opening.is_none();
        self.config.inactive.filter(|_| idle).map(|span| self.active.after(span))
    }

    pub(super) fn wake_next(&self, now: Moment) -> Option<Moment> {
        let pause = self.config.pause_until.filter(|until| *until > now);
        let dying = if self.dying.is_empty() {
            None
        } else {
            let waits = self.dying.values().filter(|dying| !dying.sent && dying.not_before > now);
            waits.map(|dying| dying.not_before).min()
        };
        let moments = [self.flights.next_due(), self.fetches.deadline(), pause, dying, self.expires()];
        moments.into_iter().flatten().min()
    }

    /// Has delivered again what is due, or gives it up.
    fn recall(&mut self, now: Moment) {
        while let Some(seq) = self.flights.overdue(now) {
            let attempt = self.flights.get(seq).map_or(0, |flight| flight.attempt);
            if self.exhausted(attempt) {
                self.give_up(seq, format_exhausted("not acknowledged", attempt));
            } else {
                // Saved as due, which is the same after a restart.
                self.flights.change(seq, |flight| flight.place = Place::Again);
            }
        }
    }

    pub(super) fn tick(&mut self, now: Moment, outbox: &mut Outbox) {
        self.recall(now);
        let expired = self.fetches.take_expired(now);
        if !expired.is_empty() {
            self.active = now;
        }
        expired.into_iter().for_each(|request| outbox.end(request, FetchEnd::Expired));
    }

    // What it does.

    /// Makes one delivery, or asks for what that needs. Whether there may be more to do at once.
    pub(super) fn step(&mut self, now: Moment, (first, last): (u64, u64), outbox: &mut Outbox) -> bool {
        if self.opening.is_some() {
            return false;
        }
        self.recall(now);
        self.bury(now, outbox);
        if self.fetches.is_empty() {
            self.rewind();
            return false;
        }
        if self.paused(now) {
            self.end_impatient(now, outbox);
            return false;
        }
        let Some((request, bytes)) = self.fetches.turn() else { return false };
        let again = match self.next(first, outbox) {
            Next::Reading => return false,
            Next::Nothing => {
                self.end_impatient(now, outbox);
                return false;
            }
            Next::Again => true,
            Next::New => false,
        };
        let from = if again { &mut self.back } else { &mut self.ahead };
        let Some(stored) = from.pop_front() else { return false };
        let size = stored.message.size() as u64;
        if size > bytes {
            from.push_front(stored);
            self.fetches.remove(request);
            self.active = now;
            outbox.end(request, FetchEnd::Bytes);
            return true;
        }
        let attempt = if again { self.fly_again(now, stored.seq) } else { self.fly(now, &stored) };
        self.order += 1;
        let token = AckToken {
            stream: self.stream.clone(),
            consumer: self.name.clone(),
            tag: self.tag,
            seq: stored.seq,
            attempt,
            order: self.order,
        };
        outbox.deliver(request, Delivery { token, stored, pending: self.pending(first, last) });
        if self.fetches.served(size) == Served::Full {
            self.active = now;
            outbox.end(request, FetchEnd::Full);
        }
        true
    }

    fn end_impatient(&mut self, now: Moment, outbox: &mut Outbox) {
        let ended = self.fetches.take_impatient();
        if !ended.is_empty() {
            self.active = now;
        }
        ended.into_iter().for_each(|request| outbox.end(request, FetchEnd::Expired));
        if self.fetches.is_empty() {
            self.rewind();
        }
    }

    fn next(&mut self, first: u64, outbox: &mut Outbox) -> Next {
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
        let free = self.config.ack_pending_max.saturating_sub(outstanding);
        if self.config.ack != AckPolicy::None && free == 0 {
            return Next::Nothing;
        }
        if self.ahead.len() > 1 || (self.at_end && !self.ahead.is_empty()) {
            return Next::New;
        }
        if self.at_end {
            return Next::Nothing;
        }
        if self.next_read.is_none() {
            self.read_next(first, free, outbox);
        }
        Next::Reading
    }

    fn read_next(&mut self, first: u64, free: u64, outbox: &mut Outbox) {
        if self.ahead.is_empty() {
            self.cursor = self.cursor.max(first);
        }
        let free = if self.config.ack == AckPolicy::None { u64::MAX } else { free };
        // One more than is wanted: whether anything follows is then known.
        let wanted = self.fetches.wanted().min(free).saturating_add(1);
        let limit = usize::try_from(wanted).unwrap_or(usize::MAX).min(AHEAD_MESSAGES_MAX);
        let read = Read {
            start: Start::Seq(self.cursor),
            filters: self.config.filters.clone(),
            last_per_subject: false,
            limit,
            bytes: AHEAD_BYTES_MAX,
            wait: None,
        };
        let what = if self.firsts.is_empty() {
            What::Next(read)
        } else {
            What::Seqs(self.firsts.iter().take(limit).copied().collect())
        };
        self.next_asked = self.firsts.len().min(limit);
        self.next_read = Some(outbox.read(&self.stream, Aim::Next(self.id), what));
    }

    /// Takes in a page of new messages. `last` is the stream's last position that is known of.
    pub(super) fn next_page(
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
        self.ahead.extend(page.messages);
        if self.cursor > last {
            self.watch(watching);
        }
    }

    /// Takes in messages to be delivered again. Those that are gone are done with.
    pub(super) fn back_page(&mut self, key: Key, result: Result<Page, ReadError>, outbox: &mut Outbox) {
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

    fn fail(&mut self, error: &ReadError, outbox: &mut Outbox) {
        let failed = FetchEnd::Failed(FetchError::Storage(error.to_string()));
        self.fetches.take_all().into_iter().for_each(|request| outbox.end(request, failed.clone()));
    }

    fn fly(&mut self, now: Moment, stored: &Stored) -> u64 {
        self.delivered = stored.seq;
        self.changed = true;
        let interest = self.retention == Retention::Interest;
        let subject = interest.then(|| stored.message.subject.clone());
        if self.config.ack == AckPolicy::None {
            if self.retention != Retention::Limits {
                self.done.push((stored.seq, subject));
            }
            return 1;
        }
        let place = Place::Out(now.after(self.wait(1)));
        self.flights.insert(Flight { seq: stored.seq, attempt: 1, first: now, last: now, place, subject });
        self.touch(stored.seq);
        1
    }

    fn fly_again(&mut self, now: Moment, seq: u64) -> u64 {
        let attempt = self.flights.get(seq).map_or(0, |flight| flight.attempt) + 1;
        let place = Place::Out(now.after(self.wait(attempt)));
        self.flights.change(seq, |flight| {
            (flight.attempt, flight.last, flight.place) = (attempt, now, place);
            if attempt == 1 {
                flight.first = now;
            }
        });
        self.touch(seq);
        attempt
    }

    // Dead letters.

    /// Has dead letters written, or counts them where none are.
    fn bury(&mut self, now: Moment, outbox: &mut Outbox) {
        if self.dying.is_empty() || self.dying_read.is_some() {
            return;
        }
        let due = self.dying.iter().filter(|(_, dying)| !dying.sent && dying.not_before <= now);
        let seqs: Vec<u64> = due.map(|(seq, _)| *seq).take(AHEAD_MESSAGES_MAX).collect();
        if seqs.is_empty() {
            return;
        }
        if !self.config.dead_letter || *self.stream == *crate::limits::DEAD_STREAM {
            self.dead += seqs.len() as u64;
            return seqs.into_iter().for_each(|seq| self.finish(seq));
        }
        let key = outbox.read(&self.stream, Aim::Dying(self.id), What::Seqs(seqs.clone()));
        self.dying_read = Some((key, seqs));
    }

    /// Takes in messages that are given up. Those that are gone are done with.
    pub(super) fn dying_page(&mut self, now: Moment, key: Key, result: Result<Page, ReadError>, outbox: &mut Outbox) {
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

    pub(super) fn dead_lettered(&mut self, now: Moment, seq: u64, recorded: bool) {
        if recorded {
            self.dead += 1;
            self.finish(seq);
        } else if let Some(dying) = self.dying.get_mut(&seq) {
            (dying.sent, dying.not_before) = (false, now.after(RETRY_EVERY));
        }
    }
}

fn format_exhausted(what: &str, attempt: u64) -> String {
    alloc::format!("{what} after {attempt} deliveries")
}

//! One consumer: its cursor, what it has read ahead, its flights and its fetches.
//!
//! # Invariants
//! - Every message before [`Consumer::position`] that the filters match was delivered or is a
//!   flight; none at or behind it was.
//! - `at_end` only while `watching`: then nothing that the filters match lies behind what is in
//!   `ahead`, and the desk tells of the next that does.
//! - The last message in `ahead` is delivered only once it is known whether another follows, so
//!   that a delivery that leaves nothing behind says so.

mod burying;
mod pins;
mod reading;
mod tally;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use event::{Moment, Pattern, Subject, Wanted};

use crate::config::Retention;
use crate::consumer::{Ack, AckPolicy, AckToken, ConsumerConfig, ConsumerInfo, ConsumerStart, Delivery, FetchEnd};
use crate::error::AckError;
use crate::news::JournalEvent;
use crate::stream::Stored;

use super::fetches::{Fetches, Served, Turn};
use super::flights::{Flight, Flights, Place};
use super::outbox::Outbox;
use super::{Key, Ticket, dead};

pub(super) use burying::Dying;
use pins::Pin;
use reading::Next;
use tally::{Asked, Tally};

/// Changed flights after which a change is saved without delay: bounds the change's size to about 100 KiB.
const TOUCHED_MAX: usize = 8 * 1024;

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
    /// The acknowledgement floor: a position, and the order of a delivery.
    pub(super) acked: u64,
    pub(super) acked_order: u64,
    pub(super) last_delivered: Option<Moment>,
    pub(super) last_acknowledged: Option<Moment>,
    /// Positions that were delivered as often as may be, and that the stream keeps all the same. Only
    /// where its retention asks who wants them.
    pub(super) spent: BTreeSet<u64>,
    /// Of those, what was not saved yet.
    pub(super) newly_spent: Vec<u64>,
    /// The user that is pinned.
    pub(super) pin: Option<Pin>,
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
    /// What lies behind the cursor, as far as that is known.
    tally: Option<Tally>,
    asked: Option<Asked>,
    /// Verbs that wait for a count, and whether they wait for a save then.
    pub(super) askers: Vec<(Ticket, bool)>,
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
            acked: 0,
            acked_order: 0,
            last_delivered: None,
            last_acknowledged: None,
            spent: BTreeSet::new(),
            newly_spent: Vec::new(),
            pin: None,
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
            tally: None,
            asked: None,
            askers: Vec::new(),
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

    /// The last position before which nothing is outstanding.
    pub(super) fn floor(&self) -> u64 {
        self.flights.first().map_or(self.delivered, |flight| flight.seq.saturating_sub(1))
    }

    /// Puts it where it starts to deliver. `first` is the stream's first position.
    pub(super) fn start_at(&mut self, seq: u64, first: u64) {
        (self.origin, self.cursor) = (seq, seq.max(self.until + 1));
        self.delivered = seq.max(first).saturating_sub(1);
        (self.acked, self.acked_order) = (self.delivered, 0);
    }

    /// Lifts the acknowledgement floor over a delivery that is done with.
    fn lift_floor(&mut self, seq: u64, order: u64) {
        match self.flights.first() {
            None => (self.acked, self.acked_order) = (self.delivered, self.order),
            Some(_) if order != self.acked_order + 1 => {}
            Some(next) if next.seq > seq && next.order > order => {
                (self.acked, self.acked_order) = (next.seq - 1, next.order - 1);
            }
            Some(_) => (self.acked, self.acked_order) = (seq, order),
        }
    }

    pub(super) fn info(&self, first: u64, last: u64) -> ConsumerInfo {
        ConsumerInfo {
            stream: self.stream.clone(),
            config: self.config.clone(),
            created: self.created,
            delivered: self.delivered,
            deliveries: self.order,
            last_delivered: self.last_delivered,
            ack_floor: self.acked,
            ack_floor_order: self.acked_order,
            last_acknowledged: self.last_acknowledged,
            ack_pending: self.flights.len() as u64,
            redelivered: self.flights.iter().filter(|flight| flight.attempt > 1).count() as u64,
            pending: self.pending(first, last),
            waiting: self.fetches.len() as u64,
            dead: self.dead,
            groups: self.groups(),
        }
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
        self.opening.is_none()
            && (seq < self.position() || passed_over())
            && self.flights.get(seq).is_none()
            && !self.spent.contains(&seq)
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
        if self.config.kept() {
            self.touched.push(seq);
        }
    }

    pub(super) fn unsaved(&self) -> bool {
        self.changed && self.config.kept() && self.opening.is_none()
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
        if self.at_end && self.next_read.is_none() {
            self.tally_none();
        }
        self.unwatch(watching);
    }

    fn watch(&mut self, watching: &mut Wanted<u64>) {
        self.at_end = true;
        self.tally_none();
        self.listen(watching);
    }

    /// Has it told of the next message, whether or not what is there was read.
    fn listen(&mut self, watching: &mut Wanted<u64>) {
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
            self.shift_tally(1);
        }
    }

    /// Forgets all deliveries, and goes on from a position.
    pub(super) fn restart(&mut self, now: Moment, seq: u64) {
        self.rewind();
        self.forget_tally();
        self.flights = Flights::default();
        self.dying.clear();
        self.back.clear();
        (self.back_read, self.dying_read) = (None, None);
        self.firsts.clear();
        self.spent.clear();
        self.newly_spent.clear();
        self.touched.clear();
        (self.until, self.cursor, self.order) = (0, seq, 0);
        (self.delivered, self.acked, self.acked_order) = (seq - 1, seq - 1, 0);
        (self.last_delivered, self.last_acknowledged) = (None, None);
        (self.active, self.changed, self.whole) = (now, true, true);
    }

    pub(super) fn pause(&mut self, now: Moment, until: Option<Moment>, outbox: &mut Outbox) {
        let before = core::mem::replace(&mut self.config.pause_until, until);
        if before == until {
            return;
        }
        let (stream, consumer) = (self.stream.clone(), self.name.clone());
        outbox.tell(match until.filter(|until| *until > now) {
            Some(until) => JournalEvent::Paused { stream, consumer, until },
            None => JournalEvent::Resumed { stream, consumer },
        });
    }

    /// Does what another declaration asks of what is outstanding.
    pub(super) fn reconfigure(&mut self, now: Moment, config: &ConsumerConfig, outbox: &mut Outbox) {
        self.pause(now, config.pause_until, outbox);
        if config.priority != self.config.priority {
            self.pin = None;
        }
        if config.ack_wait == self.config.ack_wait && config.backoff == self.config.backoff {
            return;
        }
        let undelayed = |flight: &&Flight| flight.place == Place::Out(flight.last.after(self.wait(flight.attempt)));
        let out = self.flights.iter().filter(undelayed).map(|flight| (flight.seq, flight.attempt, flight.last));
        let out: Vec<(u64, u64, Moment)> = out.collect();
        self.config.ack_wait = config.ack_wait;
        self.config.backoff.clone_from(&config.backoff);
        for (seq, attempt, last) in out {
            self.put(seq, Place::Out(last.after(self.wait(attempt))));
        }
    }

    /// Takes other filters, from behind the last position that it delivered on.
    pub(super) fn refilter(&mut self) {
        self.rewind();
        self.forget_tally();
        self.cursor = self.origin.max(self.delivered + 1);
    }

    /// All before a position is gone.
    pub(super) fn removed_below(&mut self, first: u64) {
        self.spent = self.spent.split_off(&first);
        while self.ahead.front().is_some_and(|stored| stored.seq < first) {
            self.ahead.pop_front();
        }
        self.back.retain(|stored| stored.seq >= first);
        self.firsts.retain(|seq| *seq >= first);
        if self.cursor < first {
            (self.cursor, self.changed) = (first, true);
            self.forget_tally();
        }
        if let Some(last) = first.checked_sub(1) {
            self.flights.up_to(last).into_iter().for_each(|seq| self.finish(seq));
        }
    }

    /// The message at a position is gone.
    pub(super) fn removed_one(&mut self, seq: u64) {
        self.ahead.retain(|stored| stored.seq != seq);
        if seq >= self.cursor {
            self.removed_ahead();
        }
        self.back.retain(|stored| stored.seq != seq);
        self.spent.remove(&seq);
        self.finish(seq);
    }

    /// Messages are gone, nobody knows which.
    pub(super) fn removed_some(&mut self) {
        self.rewind();
        self.forget_tally();
        self.back.clear();
    }

    /// The stream is shorter than it was.
    pub(super) fn truncated(&mut self, last: u64) {
        // One that starts at a position waits for it.
        let last = if matches!(self.config.start, ConsumerStart::Seq(_)) { last.max(self.origin - 1) } else { last };
        self.forget_tally();
        if self.cursor > last + 1 {
            (self.cursor, self.changed) = (last + 1, true);
            (self.delivered, self.until) = (self.delivered.min(last), self.until.min(last));
            self.acked = self.acked.min(last);
            self.firsts.retain(|seq| *seq <= last);
            self.flights.from(last + 1).into_iter().for_each(|seq| self.finish(seq));
        }
    }

    // What users say.

    pub(super) fn acknowledge(
        &mut self,
        now: Moment,
        token: &AckToken,
        ack: &Ack,
        outbox: &mut Outbox,
    ) -> Result<(), AckError> {
        if self.config.ack == AckPolicy::None {
            return Err(AckError::NotWanted);
        }
        let seq = token.seq;
        let Some(flight) = self.flights.get(seq) else { return self.acknowledge_late(seq, ack) };
        if token.tag == 0 && !flight.was(token.attempt, token.order) {
            return Err(AckError::Unknown(seq));
        }
        let (attempt, place) = (flight.attempt, flight.place);
        self.active = now;
        match ack {
            Ack::Done => {
                self.last_acknowledged = Some(now);
                if self.config.ack == AckPolicy::All {
                    let before = self.flights.taken_up_to(seq);
                    before.into_iter().for_each(|seq| self.finish(seq));
                    if self.acked_order < token.order {
                        (self.acked, self.acked_order) = (self.acked.max(seq), token.order);
                    }
                } else {
                    self.finish(seq);
                }
            }
            _ if place == Place::Dying => return Err(AckError::Already(seq)),
            Ack::Give { reason } => {
                let reason = dead::reason(reason);
                let (stream, consumer) = (self.stream.clone(), self.name.clone());
                let (deliveries, order) = (token.attempt, token.order);
                let told = reason.clone();
                outbox.tell(JournalEvent::Terminated { stream, consumer, seq, deliveries, order, reason: told });
                self.last_acknowledged = Some(now);
                self.give_up(seq, reason);
            }
            Ack::Progress => self.put(seq, Place::Out(now.after(self.wait(attempt)))),
            Ack::Again { delay } => {
                let (stream, consumer) = (self.stream.clone(), self.name.clone());
                let (deliveries, order) = (token.attempt, token.order);
                outbox.tell(JournalEvent::Naked { stream, consumer, seq, deliveries, order });
                self.refuse(now, seq, attempt, *delay, outbox);
            }
        }
        Ok(())
    }

    /// A message that is not outstanding: only one that is spent may still be done with.
    fn acknowledge_late(&mut self, seq: u64, ack: &Ack) -> Result<(), AckError> {
        if matches!(ack, Ack::Done) && self.spent.remove(&seq) {
            self.done.push((seq, None));
            (self.changed, self.whole) = (true, true);
            return Ok(());
        }
        Err(if seq > self.delivered { AckError::Unknown(seq) } else { AckError::Already(seq) })
    }

    fn refuse(&mut self, now: Moment, seq: u64, attempt: u64, delay: Option<Duration>, outbox: &mut Outbox) {
        if self.exhausted(attempt) {
            return self.exhaust(seq, attempt, "refused", outbox);
        }
        match delay.or(self.backoff(attempt)).filter(|delay| !delay.is_zero()) {
            Some(delay) => self.put(seq, Place::Out(now.after(delay))),
            None => self.put(seq, Place::Again),
        }
    }

    /// A delivery was not taken: as if it had not been made.
    pub(super) fn untaken(&mut self, token: &AckToken) {
        let seq = token.seq;
        if token.order == self.order {
            (self.order, self.changed) = (self.order.saturating_sub(1), true);
        }
        if self.config.ack == AckPolicy::None {
            self.rewind();
            if self.position() > seq {
                self.go_back(seq);
                (self.delivered, self.changed) = (seq.saturating_sub(1), true);
                self.acked = self.delivered;
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
        self.dying.insert(seq, Dying::new(reason));
    }

    /// Gives up a message that was delivered as often as may be.
    fn exhaust(&mut self, seq: u64, attempt: u64, what: &str, outbox: &mut Outbox) {
        let order = self.flights.get(seq).map_or(0, |flight| flight.order);
        let (stream, consumer) = (self.stream.clone(), self.name.clone());
        outbox.tell(JournalEvent::MaxDeliveries { stream, consumer, seq, deliveries: attempt, order });
        if self.letters() || self.retention == Retention::Limits {
            return self.give_up(seq, alloc::format!("{what} after {attempt} deliveries"));
        }
        // Nobody is done with it, so the stream keeps it.
        self.spent.insert(seq);
        self.newly_spent.push(seq);
        self.dead += 1;
        self.land(seq);
    }

    /// Takes a flight out and lifts the floor.
    fn land(&mut self, seq: u64) -> Option<Flight> {
        let flight = self.flights.land(seq)?;
        if flight.place == Place::Dying {
            self.dying.remove(&seq);
        }
        self.lift_floor(seq, flight.order);
        self.touch(seq);
        Some(flight)
    }

    fn finish(&mut self, seq: u64) {
        let Some(flight) = self.land(seq) else { return };
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
        let pin = self.pin.as_ref().map(|pin| pin.until);
        let moments = [self.flights.next_due(), self.fetches.deadline(), pause, dying, pin, self.expires()];
        moments.into_iter().flatten().min()
    }

    /// Has delivered again what is due, or gives it up.
    fn recall(&mut self, now: Moment, outbox: &mut Outbox) {
        while let Some(seq) = self.flights.overdue(now) {
            let attempt = self.flights.get(seq).map_or(0, |flight| flight.attempt);
            if self.exhausted(attempt) {
                self.exhaust(seq, attempt, "not acknowledged", outbox);
            } else {
                // Saved as due, which is the same after a restart.
                self.flights.change(seq, |flight| flight.place = Place::Again);
            }
        }
    }

    pub(super) fn tick(&mut self, now: Moment, outbox: &mut Outbox) {
        self.recall(now, outbox);
        self.unpin_silent(now, outbox);
        let expired = self.fetches.take_expired(now);
        if !expired.is_empty() {
            self.active = now;
        }
        expired.into_iter().for_each(|request| outbox.end(request, FetchEnd::Expired));
    }

    // What it does.

    /// Makes one delivery, or asks for what that needs. Whether there may be more to do at once.
    pub(super) fn step(
        &mut self,
        now: Moment,
        (first, last): (u64, u64),
        watching: &mut Wanted<u64>,
        outbox: &mut Outbox,
    ) -> bool {
        if self.opening.is_some() {
            return false;
        }
        self.recall(now, outbox);
        self.bury(now, outbox);
        if self.fetches.is_empty() {
            self.rewind();
            return false;
        }
        if self.paused(now) {
            self.end_impatient(now, outbox);
            return false;
        }
        let (request, bytes, pins) = match self.turn(first, last) {
            Turn::Of { request, bytes, pins } => (request, bytes, pins),
            Turn::WrongPin(request) => {
                self.active = now;
                outbox.end(request, FetchEnd::WrongPin);
                return true;
            }
            Turn::Nobody => {
                if self.config.priority.is_some() {
                    self.end_impatient(now, outbox);
                    self.listen(watching);
                }
                return false;
            }
        };
        let again = match self.next(first, last, outbox) {
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
        if pins {
            self.pin_turn(now, outbox);
        }
        let delivery = self.make(now, stored, again, (first, last));
        outbox.deliver(request, delivery);
        if self.fetches.served(size) == Served::Full {
            self.active = now;
            outbox.end(request, FetchEnd::Full);
        }
        true
    }

    fn make(&mut self, now: Moment, stored: Stored, again: bool, (first, last): (u64, u64)) -> Delivery {
        self.order += 1;
        let attempt = if again { self.fly_again(now, stored.seq) } else { self.fly(now, &stored) };
        self.last_delivered = Some(now);
        let token = AckToken {
            stream: self.stream.clone(),
            consumer: self.name.clone(),
            tag: self.tag,
            seq: stored.seq,
            attempt,
            order: self.order,
        };
        let pin = self.pin.as_ref().map(|pin| pin.id.clone());
        Delivery { token, stored, pending: self.pending(first, last), pin }
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

    fn fly(&mut self, now: Moment, stored: &Stored) -> u64 {
        self.delivered = stored.seq;
        self.changed = true;
        let interest = self.retention == Retention::Interest;
        let subject = interest.then(|| stored.message.subject.clone());
        if self.config.ack == AckPolicy::None {
            if self.retention != Retention::Limits {
                self.done.push((stored.seq, subject));
            }
            (self.acked, self.acked_order) = (stored.seq, self.order);
            return 1;
        }
        let place = Place::Out(now.after(self.wait(1)));
        let (seq, order) = (stored.seq, self.order);
        let (order_last, attempt) = (order, 1);
        self.flights.insert(Flight { seq, attempt, order, order_last, first: now, last: now, place, subject });
        self.touch(stored.seq);
        1
    }

    fn fly_again(&mut self, now: Moment, seq: u64) -> u64 {
        let attempt = self.flights.get(seq).map_or(0, |flight| flight.attempt) + 1;
        let place = Place::Out(now.after(self.wait(attempt)));
        let order = self.order;
        self.flights.change(seq, |flight| {
            (flight.attempt, flight.last, flight.place, flight.order_last) = (attempt, now, place, order);
            if attempt == 1 {
                flight.first = now;
            }
        });
        self.touch(seq);
        attempt
    }
}

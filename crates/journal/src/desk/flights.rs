//! Deliveries that are outstanding on one consumer.
//!
//! # Invariants
//! - `ring` is in ascending order of position. Landed flights stay in it until those before them
//!   have landed, or until they are more than those that have not.
//! - A flight that is [`Place::Out`] has an entry in `due` for its moment; entries that no flight
//!   agrees with mean nothing.
//! - `again` holds exactly the positions of flights that are [`Place::Again`].

use alloc::collections::{BTreeSet, BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;

use event::{Moment, Subject};

/// Where a flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// With a user, or delayed: due again at this moment.
    Out(Moment),
    /// To be delivered again now.
    Again,
    /// Given up; its dead letter is not recorded yet.
    Dying,
    /// Done with.
    Landed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) seq: u64,
    /// Deliveries so far. 0: its only one was not taken.
    pub(super) attempt: u64,
    /// The order of its first delivery, taken or not; 0: not known.
    pub(super) order: u64,
    /// The order of its last delivery.
    pub(super) order_last: u64,
    pub(super) first: Moment,
    pub(super) last: Moment,
    pub(super) place: Place,
    /// Kept only where the stream's retention asks who wants it.
    pub(super) subject: Option<Subject>,
}

impl Flight {
    /// Whether it was delivered as attempt so-and-so, and in that order.
    pub(super) fn was(&self, attempt: u64, order: u64) -> bool {
        let between = (2..self.attempt).contains(&attempt) && self.order < order && order < self.order_last;
        self.order == 0
            || (attempt == 1 && self.attempt > 0 && order == self.order)
            || (attempt == self.attempt && attempt > 0 && order == self.order_last)
            || between
    }
}

#[derive(Debug, Default)]
pub(super) struct Flights {
    ring: VecDeque<Flight>,
    live: usize,
    due: BinaryHeap<Reverse<(Moment, u64)>>,
    again: BTreeSet<u64>,
}

/// Landed flights and stale entries that are not worth a clean-up.
const SLACK: usize = 64;

impl Flights {
    /// How many are outstanding.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.ring.iter().filter(|flight| flight.place != Place::Landed)
    }

    /// The one with the lowest position that is outstanding.
    pub(super) fn first(&self) -> Option<&Flight> {
        self.ring.front()
    }

    fn place_of(&self, seq: u64) -> Option<usize> {
        let front = self.ring.front()?.seq;
        let place = if front == seq { 0 } else { self.ring.binary_search_by_key(&seq, |flight| flight.seq).ok()? };
        self.ring.get(place).filter(|flight| flight.place != Place::Landed).map(|_| place)
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Flight> {
        self.ring.get(self.place_of(seq)?)
    }

    pub(super) fn is_again(&self, seq: u64) -> bool {
        self.again.contains(&seq)
    }

    /// Positions to be delivered again, in order.
    pub(super) fn again(&self) -> impl Iterator<Item = u64> + '_ {
        self.again.iter().copied()
    }

    /// Adds a flight, of whatever place.
    pub(super) fn insert(&mut self, flight: Flight) {
        let (seq, place) = (flight.seq, flight.place);
        if place == Place::Landed {
            return;
        }
        self.land(seq);
        if self.ring.back().is_none_or(|back| back.seq < seq) {
            self.ring.push_back(flight);
        } else {
            match self.ring.binary_search_by_key(&seq, |flight| flight.seq) {
                Ok(at) => {
                    if let Some(landed) = self.ring.get_mut(at) {
                        *landed = flight;
                    }
                }
                Err(at) => self.ring.insert(at, flight),
            }
        }
        self.live += 1;
        self.index(seq, place);
    }

    fn index(&mut self, seq: u64, place: Place) {
        match place {
            Place::Out(due) => self.due.push(Reverse((due, seq))),
            Place::Again => drop(self.again.insert(seq)),
            Place::Dying | Place::Landed => {}
        }
    }

    /// Changes a flight.
    pub(super) fn change(&mut self, seq: u64, change: impl FnOnce(&mut Flight)) {
        let place = self.place_of(seq);
        let Some(flight) = place.and_then(|place| self.ring.get_mut(place)) else { return };
        let before = flight.place;
        change(flight);
        let after = flight.place;
        if before != after {
            if before == Place::Again {
                self.again.remove(&seq);
            }
            self.index(seq, after);
        }
    }

    /// Takes a flight out.
    pub(super) fn land(&mut self, seq: u64) -> Option<Flight> {
        let place = self.place_of(seq)?;
        let flight = self.ring.get_mut(place)?;
        let taken = Flight { subject: flight.subject.take(), ..*flight };
        flight.place = Place::Landed;
        self.live -= 1;
        if taken.place == Place::Again {
            self.again.remove(&seq);
        }
        while self.ring.front().is_some_and(|flight| flight.place == Place::Landed) {
            self.ring.pop_front();
        }
        if self.ring.len() > 2 * self.live + SLACK {
            self.ring.retain(|flight| flight.place != Place::Landed);
        }
        if self.due.len() > 2 * self.live + SLACK {
            let out = |flight: &Flight| match flight.place {
                Place::Out(due) => Some(Reverse((due, flight.seq))),
                _ => None,
            };
            self.due = self.ring.iter().filter_map(out).collect();
        }
        Some(taken)
    }

    /// Positions up to and with this one, in order.
    pub(super) fn up_to(&self, seq: u64) -> Vec<u64> {
        self.iter().map(|flight| flight.seq).take_while(|each| *each <= seq).collect()
    }

    /// Positions up to and with this one that were delivered and taken, in order.
    pub(super) fn taken_up_to(&self, seq: u64) -> Vec<u64> {
        let before = self.iter().take_while(|flight| flight.seq <= seq);
        before.filter(|flight| flight.attempt > 0 || flight.seq == seq).map(|flight| flight.seq).collect()
    }

    /// Positions from this one on, in order.
    pub(super) fn from(&self, seq: u64) -> Vec<u64> {
        self.iter().map(|flight| flight.seq).filter(|each| *each >= seq).collect()
    }

    /// The next position whose wait is over; it stays [`Place::Out`] until it is changed.
    pub(super) fn overdue(&mut self, now: Moment) -> Option<u64> {
        while let Some(Reverse((moment, seq))) = self.due.peek().copied() {
            let stands = self.get(seq).is_some_and(|flight| flight.place == Place::Out(moment));
            if stands && moment > now {
                return None;
            }
            self.due.pop();
            if stands {
                return Some(seq);
            }
        }
        None
    }

    /// When the next wait may be over: never after it is.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due.peek().map(|Reverse((moment, _))| *moment)
    }
}

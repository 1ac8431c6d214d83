//! From the desk to what is saved of it, and back.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::Moment;

use super::consumer::{Consumer, Dying, Seat};
use super::flights::{Flight, Place};
use super::stored::{self, Corrupt, Entry, Position, SavedFlight, SavedPlace};
use super::{Desk, Retention};

impl Consumer {
    /// What is to be saved of it; counts it as saved.
    pub(super) fn take_entry(&mut self) -> Entry {
        self.changed = false;
        let touched = core::mem::take(&mut self.touched);
        let (stream, name) = (self.stream.to_string(), self.name.to_string());
        if core::mem::take(&mut self.whole) {
            self.newly_spent.clear();
            return self.entry();
        }
        let position = self.saved_position();
        let mut seqs = touched;
        seqs.retain(|seq| *seq > position.floor);
        seqs.sort_unstable();
        seqs.dedup();
        let (mut flights, mut landed) = (Vec::new(), Vec::new());
        for seq in seqs {
            match self.flights.get(seq) {
                Some(flight) => flights.push(self.saved_flight(flight)),
                None => landed.push(seq),
            }
        }
        let mut spent = core::mem::take(&mut self.newly_spent);
        spent.sort_unstable();
        Entry::Change { stream, name, tag: self.tag, position, flights, landed, spent }
    }

    /// All of it.
    pub(super) fn entry(&self) -> Entry {
        Entry::Whole {
            stream: self.stream.to_string(),
            tag: self.tag,
            created: self.created,
            config: self.config.clone(),
            position: self.saved_position(),
            origin: self.origin,
            firsts: self.ahead_firsts(),
            flights: self.flights.iter().map(|flight| self.saved_flight(flight)).collect(),
            spent: self.spent.iter().copied().collect(),
        }
    }

    fn ahead_firsts(&self) -> Vec<u64> {
        let ahead = self.ahead.iter().map(|stored| stored.seq).filter(|seq| *seq <= self.until);
        ahead.chain(self.firsts.iter().copied()).collect()
    }

    fn saved_position(&self) -> Position {
        Position {
            cursor: self.position(),
            until: self.until,
            delivered: self.delivered,
            order: self.order,
            dead: self.dead,
            floor: self.floor(),
            acked: self.acked,
            acked_order: self.acked_order,
        }
    }

    fn saved_flight(&self, flight: &Flight) -> SavedFlight {
        let place = match flight.place {
            Place::Out(due) => SavedPlace::Out(due),
            Place::Again | Place::Landed => SavedPlace::Out(flight.last),
            Place::Dying => {
                SavedPlace::Dying(self.dying.get(&flight.seq).map(|dying| dying.reason.clone()).unwrap_or_default())
            }
        };
        let Flight { seq, attempt, order, order_last, first, last, .. } = *flight;
        SavedFlight { seq, attempt, order, order_last, first, last, place }
    }

    fn restore(&mut self, position: &Position, flights: Vec<SavedFlight>, landed: &[u64], spent: Vec<u64>) {
        (self.cursor, self.until) = (position.cursor.max(position.until + 1), position.until);
        self.firsts.retain(|seq| *seq >= position.cursor);
        (self.delivered, self.order, self.dead) = (position.delivered, position.order, position.dead);
        (self.acked, self.acked_order) = (position.acked, position.acked_order);
        self.spent.extend(spent);
        for seq in self.flights.up_to(position.floor).into_iter().chain(landed.iter().copied()) {
            self.flights.land(seq);
            self.dying.remove(&seq);
        }
        for saved in flights {
            let SavedFlight { seq, attempt, order, order_last, first, last, place } = saved;
            self.dying.remove(&seq);
            let place = match place {
                SavedPlace::Out(due) => Place::Out(due),
                SavedPlace::Dying(reason) => {
                    self.dying.insert(seq, Dying::new(reason));
                    Place::Dying
                }
            };
            self.flights.insert(Flight { seq, attempt, order, order_last, first, last, place, subject: None });
        }
        (self.changed, self.whole) = (false, false);
    }
}

impl Desk {
    /// All durable consumers, for [`Desk::apply`].
    pub fn snapshot(&self) -> Vec<u8> {
        let durable = self.consumers.values().filter(|consumer| consumer.config.kept() && consumer.opening.is_none());
        stored::encode(&durable.map(Consumer::entry).collect::<Vec<Entry>>())
    }

    /// Takes in a snapshot or a saved change, at opening.
    ///
    /// # Errors
    /// [`Corrupt`], and then nothing was taken in.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        stored::decode(bytes)?.into_iter().for_each(|entry| self.apply_entry(entry));
        Ok(())
    }

    fn apply_entry(&mut self, entry: Entry) {
        match entry {
            Entry::Whole { stream, tag, created, config, position, origin, firsts, flights, spent } => {
                self.forget(&stream, &config.name);
                self.consumer_next += 1;
                self.tag_last = self.tag_last.max(tag);
                let stream: Arc<str> = Arc::from(stream);
                let seat = Seat { id: self.consumer_next, stream, tag, created, retention: Retention::Limits };
                let mut consumer = Consumer::new(seat, config);
                (consumer.origin, consumer.firsts) = (origin, firsts.into());
                consumer.restore(&position, flights, &[], spent);
                self.seat(consumer);
            }
            Entry::Change { stream, name, tag, position, flights, landed, spent } => {
                let found = self.find(&stream, &name);
                let consumer = found.and_then(|id| self.consumers.get_mut(&id)).filter(|found| found.tag == tag);
                // Older than the snapshot, where there is no such consumer.
                if let Some(consumer) = consumer.filter(|found| found.order <= position.order) {
                    consumer.restore(&position, flights, &landed, spent);
                }
            }
            Entry::Gone { stream, name, tag } => {
                let found = self.find(&stream, &name).and_then(|id| self.consumers.get(&id));
                if found.is_some_and(|found| found.tag == tag) {
                    self.forget(&stream, &name);
                }
            }
        }
    }

    fn forget(&mut self, stream: &str, name: &str) {
        let Some(room) = self.rooms.get_mut(stream) else { return };
        let consumer = room.consumers.remove(name).and_then(|id| self.consumers.remove(&id));
        if let Some(consumer) = consumer {
            for pattern in &consumer.patterns() {
                room.interest.remove(pattern, &consumer.id);
            }
        }
    }

    /// All streams were told: consumers of others go, and the rest begin.
    pub(super) fn opened(&mut self, now: Moment) {
        let untold = self.rooms.iter().filter(|(_, room)| !room.told).map(|(stream, _)| stream.clone());
        for stream in untold.collect::<Vec<Arc<str>>>() {
            self.stream_deleted(now, &stream);
        }
        for id in self.consumers.keys().copied().collect::<Vec<u64>>() {
            let Some(consumer) = self.consumers.get_mut(&id) else { continue };
            let Some(room) = self.rooms.get(&consumer.stream) else { continue };
            consumer.retention = room.retention;
            consumer.active = now;
            consumer.truncated(room.last);
            self.after(now, id);
        }
        for stream in self.rooms.keys().cloned().collect::<Vec<Arc<str>>>() {
            self.sweep(&stream);
        }
    }
}

//! Which messages nobody waits for any more, where the stream's retention asks.
//!
//! Under [`Retention::WorkQueue`] a message goes when one consumer is done with it; under
//! [`Retention::Interest`] when all that want it are. What acknowledgements decide is decided when
//! they come. What changes otherwise (a consumer goes, its filters change, a crash came between an
//! acknowledgement and the removal) is found by a **sweep** over the stream, a page at a time.

use alloc::sync::Arc;
use alloc::vec::Vec;

use event::{Moment, Subject};

use crate::config::Retention;
use crate::error::ReadError;
use crate::stream::{Page, Read, Stored};

use super::consumer::Consumer;
use super::outbox::Aim;
use super::{AHEAD_MESSAGES_MAX, Desk, Key, RETRY_EVERY, Room, What};

/// Most positions of one removal: bounds what the engine notes at once.
const RETIRE_MAX: usize = 1_000;

/// A walk over the stream.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    next: u64,
    reading: Option<Key>,
}

impl Desk {
    /// Decides of what a consumer is done with.
    pub(super) fn settle_done(&mut self, id: u64) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let done = core::mem::take(&mut consumer.done);
        let (stream, retention) = (consumer.stream.clone(), consumer.retention);
        let Some(room) = self.rooms.get(&stream) else { return };
        // Of a flight that was restored the subject is not known: anybody may want it.
        let wants = |other: &Consumer, subject: &Option<Subject>| {
            subject.as_ref().is_none_or(|subject| other.wants(subject.as_str()))
        };
        let needed = |(seq, subject): &(u64, Option<Subject>)| {
            let others = room.consumers.values().filter(|other| **other != id);
            let mut others = others.filter_map(|other| self.consumers.get(other));
            retention == Retention::Interest && others.any(|other| !other.is_done(*seq) && wants(other, subject))
        };
        let unsure = done.iter().any(|each| each.1.is_none() && needed(each));
        let retired: Vec<u64> = done.iter().filter(|each| !needed(each)).map(|(seq, _)| *seq).collect();
        if let Some(room) = self.rooms.get_mut(&stream).filter(|_| !retired.is_empty()) {
            room.retiring.extend(retired);
            self.untidy.insert(stream.clone());
        }
        if unsure {
            self.sweep(&stream);
        }
    }

    /// Begins a sweep, or begins it again.
    pub(super) fn sweep(&mut self, stream: &Arc<str>) {
        let Some(room) = self.rooms.get_mut(stream).filter(|room| room.retention != Retention::Limits) else { return };
        room.sweep = Some(Sweep { next: room.first, reading: None });
        self.untidy.insert(stream.clone());
    }

    /// As [`Desk::sweep`], from where one already is: what is behind it has not changed.
    pub(super) fn sweep_on(&mut self, stream: &Arc<str>) {
        let Some(room) = self.rooms.get_mut(stream) else { return };
        let next = room.sweep.as_ref().map_or(room.first, |sweep| sweep.next);
        room.sweep = Some(Sweep { next, reading: None });
        self.untidy.insert(stream.clone());
    }

    /// Hands over what is to go, and goes on with a sweep.
    pub(super) fn tidy(&mut self, stream: &Arc<str>) {
        let Some(room) = self.rooms.get_mut(stream) else { return };
        let retiring = core::mem::take(&mut room.retiring);
        retiring.chunks(RETIRE_MAX).for_each(|seqs| self.outbox.retire(stream, seqs.to_vec()));
        if let Some(sweep) = room.sweep.as_mut().filter(|sweep| sweep.reading.is_none()) {
            let read = Read::from(sweep.next, AHEAD_MESSAGES_MAX);
            sweep.reading = Some(self.outbox.read(stream, Aim::Sweep, What::Next(read)));
        }
    }

    /// Goes on with sweeps whose reads failed, once it is time.
    pub(super) fn sweep_again(&mut self, now: Moment) {
        if self.sweep_at.is_some_and(|moment| moment <= now) {
            self.sweep_at = None;
            let swept = self.rooms.iter().filter(|(_, room)| room.sweep.is_some());
            self.untidy.extend(swept.map(|(stream, _)| stream.clone()));
        }
    }

    /// Takes in a page of a sweep.
    pub(super) fn swept(&mut self, now: Moment, stream: &Arc<str>, key: Key, result: Result<Page, ReadError>) {
        let Some(room) = self.rooms.get(stream) else { return };
        if room.sweep.as_ref().is_none_or(|sweep| sweep.reading != Some(key)) {
            return;
        }
        let Ok(page) = result else {
            let again = now.after(RETRY_EVERY);
            self.sweep_at = Some(self.sweep_at.map_or(again, |moment| moment.min(again)));
            if let Some(sweep) = self.rooms.get_mut(stream).and_then(|room| room.sweep.as_mut()) {
                sweep.reading = None;
            }
            return;
        };
        let retired: Vec<u64> = page.messages.iter().filter_map(|m| self.unneeded(room, m)).collect();
        let Some(room) = self.rooms.get_mut(stream) else { return };
        room.retiring.extend(retired);
        room.sweep = (page.next <= page.last).then_some(Sweep { next: page.next, reading: None });
        self.untidy.insert(stream.clone());
    }

    fn unneeded(&self, room: &Room, stored: &Stored) -> Option<u64> {
        let subject = stored.message.subject.as_str();
        let consumers = room.consumers.values().filter_map(|id| self.consumers.get(id));
        let mut wanting = consumers.filter(|consumer| consumer.wants(subject));
        let gone = match room.retention {
            Retention::Limits => false,
            Retention::Interest => wanting.all(|consumer| consumer.is_done(stored.seq)),
            Retention::WorkQueue => wanting.any(|consumer| consumer.is_done(stored.seq)),
        };
        gone.then_some(stored.seq)
    }
}

//! Streams and consumers as they come, change and go.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::{Moment, Wanted};

use crate::config::Retention;
use crate::consumer::{AckPolicy, ConsumerConfig, ConsumerStart, FetchEnd};
use crate::error::{ConsumerError, FetchError, QueueError, ReadError};
use crate::limits::PAGE_MESSAGES_MAX;
use crate::news::{JournalEvent, Unpinned};
use crate::rules;
use crate::stream::{Page, Read, Start};

use super::consumer::{Consumer, Seat};
use super::outbox::{Aim, Saving};
use super::stored::Entry;
use super::{AHEAD_BYTES_MAX, Desk, Key, RETRY_EVERY, Removed, Reply, Room, SHUT, Ticket, What, not_found, stored};

impl Desk {
    pub(super) fn room(&mut self, stream: &str) -> &mut Room {
        let new = || Room {
            retention: Retention::Limits,
            first: 1,
            last: 0,
            consumers: alloc::collections::BTreeMap::new(),
            watching: Wanted::default(),
            interest: Wanted::default(),
            retiring: Vec::new(),
            sweep: None,
            told: false,
        };
        self.rooms.entry(Arc::from(stream)).or_insert_with(new)
    }

    pub(super) fn stream(&mut self, stream: &str, retention: Retention, first: u64, last: u64) {
        let room = self.room(stream);
        // Of messages that were not told one by one it is not known whether anybody wants them.
        let untold = room.told && last > room.last && retention == Retention::Interest;
        (room.retention, room.told) = (retention, true);
        (room.first, room.last) = (room.first.max(first), room.last.max(last));
        if untold {
            self.sweep_on(&Arc::from(stream));
        }
    }

    pub(super) fn stream_deleted(&mut self, now: Moment, stream: &str) {
        let ids = self.rooms.get(stream).map(|room| room.consumers.values().copied().collect::<Vec<u64>>());
        ids.unwrap_or_default().into_iter().for_each(|id| self.drop_consumer(now, id));
        self.rooms.remove(stream);
    }

    pub(super) fn removed(&mut self, now: Moment, stream: &str, removed: Removed) {
        let Some(room) = self.rooms.get_mut(stream) else { return };
        if let Removed::Below(first) = removed {
            room.first = room.first.max(first);
        }
        for id in room.consumers.values().copied().collect::<Vec<u64>>() {
            let (Some(room), Some(consumer)) = (self.rooms.get_mut(stream), self.consumers.get_mut(&id)) else {
                continue;
            };
            match removed {
                Removed::Below(first) => consumer.removed_below(first),
                Removed::One(seq) => consumer.removed_one(seq),
                Removed::Some => {
                    consumer.removed_some();
                    // Who waits looks again: this stands for messages that came untold, too.
                    consumer.unwatch(&mut room.watching);
                }
            }
            self.after(now, id);
        }
    }

    pub(super) fn create(&mut self, now: Moment, ticket: Ticket, stream: &str, config: ConsumerConfig) {
        if let Err(error) = self.try_create(now, ticket, stream, config) {
            self.outbox.reply(ticket, Reply::Consumer(Err(error)));
        }
    }

    fn try_create(
        &mut self,
        now: Moment,
        ticket: Ticket,
        stream: &str,
        config: ConsumerConfig,
    ) -> Result<(), ConsumerError> {
        if self.closed {
            return Err(ConsumerError::Closed(SHUT.to_string()));
        }
        let room = self.rooms.get(stream).ok_or_else(|| ConsumerError::NoStream(stream.to_string()))?;
        let config = rules::check_consumer(config)?;
        if let Some(id) = room.consumers.get(config.name.as_str()).copied() {
            let same = self.consumers.get(&id).is_some_and(|found| same(&found.config, &config));
            if !same {
                return Err(ConsumerError::Exists(config.name));
            }
            // As durable as the first answer was.
            self.answer_info(now, id, ticket);
            return Ok(());
        }
        self.check_queue(room, &config, true)?;
        let (retention, last) = (room.retention, room.last);
        self.consumer_next += 1;
        self.tag_last = now.nanos().max(self.tag_last + 1);
        let seat =
            Seat { id: self.consumer_next, stream: Arc::from(stream), tag: self.tag_last, created: now, retention };
        let (id, start) = (seat.id, config.start);
        let mut consumer = Consumer::new(seat, config);
        let first = room.first;
        match start {
            ConsumerStart::All => consumer.start_at(1, first),
            ConsumerStart::New => consumer.start_at(last + 1, first),
            ConsumerStart::Seq(seq) => consumer.start_at(seq.max(1), first),
            ConsumerStart::LastPerSubject => {
                (consumer.until, consumer.opening) = (last, Some(ticket));
                self.outbox.read(&consumer.stream, Aim::Open(id), last_of_each(&consumer, 1));
            }
            ConsumerStart::Last => {
                let what = What::Last(consumer.patterns());
                self.outbox.read(&consumer.stream, Aim::Open(id), what);
                consumer.opening = Some(ticket);
            }
            ConsumerStart::Time(time) => {
                let read = Read { start: Start::Time(time), ..Read::from(1, 1) };
                self.outbox.read(&consumer.stream, Aim::Open(id), What::Next(read));
                consumer.opening = Some(ticket);
            }
        }
        let opening = consumer.opening.is_some();
        self.seat(consumer);
        self.after(now, id);
        if !opening {
            self.tell_created(id);
            self.answer_info(now, id, ticket);
        }
        Ok(())
    }

    fn tell_created(&mut self, id: u64) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let (stream, consumer) = (consumer.stream.clone(), consumer.name.clone());
        self.outbox.tell(JournalEvent::ConsumerCreated { stream, consumer });
    }

    /// Lists a consumer under its stream.
    pub(super) fn seat(&mut self, consumer: Consumer) {
        let (id, name, patterns) = (consumer.id, consumer.name.clone(), consumer.patterns());
        let room = self.room(&consumer.stream);
        room.consumers.insert(name, id);
        for pattern in &patterns {
            room.interest.insert(pattern, id);
        }
        self.consumers.insert(id, consumer);
    }

    /// The place where a new consumer starts was read.
    pub(super) fn opened_at(&mut self, now: Moment, id: u64, result: Result<Page, ReadError>) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let page = match result {
            Ok(page) => page,
            Err(error) => {
                let ticket = consumer.opening.take();
                self.drop_consumer(now, id);
                let told = Reply::Consumer(Err(ConsumerError::Storage(error.to_string())));
                return ticket.into_iter().for_each(|ticket| self.outbox.reply(ticket, told.clone()));
            }
        };
        let (first, last) = self.rooms.get(&consumer.stream).map_or((1, 0), |room| (room.first, room.last));
        let next = page.next;
        let start = match consumer.config.start {
            ConsumerStart::LastPerSubject => {
                let seqs = page.messages.iter().map(|stored| stored.seq);
                consumer.firsts.extend(seqs.take_while(|seq| *seq <= consumer.until));
                if next <= consumer.until {
                    self.outbox.read(&consumer.stream, Aim::Open(id), last_of_each(consumer, next));
                    return;
                }
                consumer.firsts.front().copied().unwrap_or(consumer.until.max(1))
            }
            ConsumerStart::Last => page.messages.iter().map(|stored| stored.seq).max().unwrap_or(last + 1),
            _ => page.messages.first().map_or(page.next, |stored| stored.seq),
        };
        consumer.start_at(start, first);
        self.tell_created(id);
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if let Some(ticket) = consumer.opening.take() {
            self.answer_info(now, id, ticket);
        }
        self.after(now, id);
    }

    pub(super) fn update(&mut self, now: Moment, ticket: Ticket, stream: &str, config: ConsumerConfig) {
        if let Err(error) = self.try_update(now, ticket, stream, config) {
            self.outbox.reply(ticket, Reply::Consumer(Err(error)));
        }
    }

    fn try_update(
        &mut self,
        now: Moment,
        ticket: Ticket,
        stream: &str,
        config: ConsumerConfig,
    ) -> Result<(), ConsumerError> {
        let room = self.rooms.get(stream).ok_or_else(|| ConsumerError::NoStream(stream.to_string()))?;
        let id = room.consumers.get(config.name.as_str()).copied();
        let id = id.ok_or_else(|| not_found(stream, &config.name))?;
        let old = self.consumers.get(&id).ok_or_else(|| not_found(stream, &config.name))?;
        let config = rules::check_consumer_update(&old.config, config)?;
        self.check_queue(room, &config, false)?;
        let Some(room) = self.rooms.get_mut(stream) else { return Ok(()) };
        let Some(consumer) = self.consumers.get_mut(&id) else { return Ok(()) };
        consumer.reconfigure(now, &config, &mut self.outbox);
        let refiltered = consumer.config.filters != config.filters;
        if refiltered {
            consumer.unwatch(&mut room.watching);
            consumer.refilter();
            for pattern in &consumer.patterns() {
                room.interest.remove(pattern, &id);
            }
        }
        consumer.config = config;
        (consumer.whole, consumer.changed) = (true, true);
        if refiltered {
            for pattern in &consumer.patterns() {
                room.interest.insert(pattern, id);
            }
            let stream = consumer.stream.clone();
            self.sweep(&stream);
        }
        self.after(now, id);
        self.answer_info(now, id, ticket);
        Ok(())
    }

    /// Under [`Retention::WorkQueue`] each message is one consumer's.
    fn check_queue(&self, room: &Room, config: &ConsumerConfig, new: bool) -> Result<(), ConsumerError> {
        if room.retention != Retention::WorkQueue {
            return Ok(());
        }
        if new && config.ack != AckPolicy::Explicit {
            return Err(ConsumerError::Queue(QueueError::NotExplicit));
        }
        if new && config.start != ConsumerStart::All {
            return Err(ConsumerError::Queue(QueueError::NotAll));
        }
        let others = room.consumers.values().filter_map(|id| self.consumers.get(id));
        let mut others = others.filter(|other| *other.name != *config.name);
        let all = [event::Pattern::all()];
        let ours = if config.filters.is_empty() { &all[..] } else { &config.filters };
        let overlap = others.find(|other| {
            let theirs = other.patterns();
            ours.iter().any(|ours| theirs.iter().any(|theirs| ours.overlaps(theirs)))
        });
        match overlap {
            None => Ok(()),
            Some(_) if new && config.filters.is_empty() => Err(ConsumerError::Queue(QueueError::Unfiltered)),
            Some(other) => Err(ConsumerError::Queue(QueueError::Overlap { other: other.name.to_string() })),
        }
    }

    /// Starts a consumer over.
    pub(super) fn reset(&mut self, now: Moment, ticket: Ticket, stream: &str, name: &str, to: Option<u64>) {
        let asked = self.found(stream, name).and_then(|id| {
            let consumer = self.consumers.get(&id).ok_or_else(|| not_found(stream, name))?;
            Ok((id, consumer.reset_to(to)?))
        });
        let (id, seq) = match asked {
            Ok(asked) => asked,
            Err(error) => return self.outbox.reply(ticket, Reply::Consumer(Err(error))),
        };
        self.tag_last = now.nanos().max(self.tag_last + 1);
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        // What was saved before is of another tag, so that it counts no more.
        consumer.tag = self.tag_last;
        if let Some(room) = self.rooms.get_mut(stream) {
            consumer.unwatch(&mut room.watching);
        }
        consumer.restart(now, seq);
        let stream = consumer.stream.clone();
        self.sweep(&stream);
        self.after(now, id);
        self.answer_info(now, id, ticket);
    }

    /// Lets go of the user that is pinned.
    pub(super) fn unpin(&mut self, now: Moment, ticket: Ticket, stream: &str, name: &str, group: &str) {
        let asked = self.found(stream, name).and_then(|id| {
            let consumer = self.consumers.get_mut(&id).ok_or_else(|| not_found(stream, name))?;
            consumer.check_unpin(group)?;
            consumer.unpin(Unpinned::Asked, &mut self.outbox);
            Ok(id)
        });
        if let Ok(id) = asked {
            self.after(now, id);
        }
        self.outbox.reply(ticket, Reply::Unit(asked.map(|_| ())));
    }

    fn found(&self, stream: &str, name: &str) -> Result<u64, ConsumerError> {
        let room = self.rooms.get(stream).ok_or_else(|| ConsumerError::NoStream(stream.to_string()))?;
        room.consumers.get(name).copied().ok_or_else(|| not_found(stream, name))
    }

    pub(super) fn pause(&mut self, now: Moment, ticket: Ticket, stream: &str, name: &str, until: Option<Moment>) {
        let found = self.find(stream, name);
        let Some(consumer) = found.and_then(|id| self.consumers.get_mut(&id)) else {
            let error = self.info(stream, name).err().unwrap_or_else(|| not_found(stream, name));
            return self.outbox.reply(ticket, Reply::Consumer(Err(error)));
        };
        let id = consumer.id;
        consumer.pause(now, until, &mut self.outbox);
        (consumer.whole, consumer.changed) = (true, true);
        self.after(now, id);
        self.answer_info(now, id, ticket);
    }

    pub(super) fn delete(&mut self, now: Moment, ticket: Ticket, stream: &str, name: &str) {
        let Some(id) = self.find(stream, name) else {
            let error = self.info(stream, name).err().unwrap_or_else(|| not_found(stream, name));
            return self.outbox.reply(ticket, Reply::Unit(Err(error)));
        };
        let durable = self.consumers.get(&id).is_some_and(|consumer| consumer.config.kept());
        self.drop_consumer(now, id);
        let told = Reply::Unit(Ok(()));
        if durable {
            self.waiting.push((ticket, told));
        } else {
            self.outbox.reply(ticket, told);
        }
    }

    /// Takes a consumer out; its fetches end.
    pub(super) fn drop_consumer(&mut self, now: Moment, id: u64) {
        let Some(mut consumer) = self.consumers.remove(&id) else { return };
        for request in consumer.fetches.take_all() {
            self.requests.remove(&request);
            self.outbox.end(request, FetchEnd::ConsumerDeleted);
        }
        if let Some(wake) = consumer.wake {
            self.timers.remove(&(wake, id));
        }
        self.dirty.remove(&id);
        if let Some(ticket) = consumer.opening.take() {
            let error = not_found(&consumer.stream, &consumer.name);
            self.outbox.reply(ticket, Reply::Consumer(Err(error)));
        }
        for (ticket, _) in core::mem::take(&mut consumer.askers) {
            let error = not_found(&consumer.stream, &consumer.name);
            self.outbox.reply(ticket, Reply::Consumer(Err(error)));
        }
        if consumer.opening.is_none() {
            let (stream, consumer) = (consumer.stream.clone(), consumer.name.clone());
            self.outbox.tell(JournalEvent::ConsumerDeleted { stream, consumer });
        }
        if consumer.config.kept() {
            let (stream, name) = (consumer.stream.to_string(), consumer.name.to_string());
            self.gone.push(Entry::Gone { stream, name, tag: consumer.tag });
            self.save_at = Some(now);
        }
        if let Some(room) = self.rooms.get_mut(&consumer.stream) {
            room.consumers.remove(&consumer.name);
            consumer.unwatch(&mut room.watching);
            for pattern in &consumer.patterns() {
                room.interest.remove(pattern, &id);
            }
        }
        let stream = consumer.stream.clone();
        if self.rooms.get(&stream).is_some_and(|room| room.retention == Retention::Interest) {
            self.sweep(&stream);
        }
    }

    /// Answers how a consumer stands.
    pub(super) fn describe(&mut self, now: Moment, ticket: Ticket, stream: &str, name: &str) {
        match self.found(stream, name) {
            Ok(id) => self.answer_counted(now, id, ticket, false),
            Err(error) => self.outbox.reply(ticket, Reply::Consumer(Err(error))),
        }
    }

    fn answer_info(&mut self, now: Moment, id: u64, ticket: Ticket) {
        self.answer_counted(now, id, ticket, true);
    }

    /// Answers how a consumer stands once that is counted; and where `saved`, when it is durable.
    fn answer_counted(&mut self, now: Moment, id: u64, ticket: Ticket, saved: bool) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let last = self.rooms.get(&consumer.stream).map_or(0, |room| room.last);
        if consumer.opening.is_none() && consumer.uncounted(last) {
            consumer.askers.push((ticket, saved));
            return consumer.count_all(last, &mut self.outbox);
        }
        self.answer_now(now, id, ticket, saved);
    }

    pub(super) fn answer_now(&mut self, now: Moment, id: u64, ticket: Ticket, saved: bool) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let range = self.rooms.get(&consumer.stream).map_or((1, 0), |room| (room.first, room.last));
        let info = consumer.info(range.0, range.1);
        let kept = saved && info.config.kept();
        let told = Reply::Consumer(Ok(info));
        if kept {
            self.settle(now, id);
            self.waiting.push((ticket, told));
        } else {
            self.outbox.reply(ticket, told);
        }
    }

    /// Hands over all changes.
    pub(super) fn save(&mut self) {
        self.save_at = None;
        let mut saving = Saving { replies: core::mem::take(&mut self.waiting), ..Saving::default() };
        saving.gone = core::mem::take(&mut self.gone);
        let mut entries = saving.gone.clone();
        for id in core::mem::take(&mut self.dirty) {
            if let Some(consumer) = self.consumers.get_mut(&id).filter(|consumer| consumer.unsaved()) {
                entries.push(consumer.take_entry());
                saving.consumers.push(id);
            }
        }
        if entries.is_empty() && saving.replies.is_empty() {
            return;
        }
        self.outbox.save(stored::encode(&entries), saving);
    }

    pub(super) fn saved(&mut self, now: Moment, key: Key, result: Result<(), alloc::string::String>) {
        let Some(saving) = self.outbox.take_save(key) else { return };
        let Err(why) = result else {
            return saving.replies.into_iter().for_each(|(ticket, told)| self.outbox.reply(ticket, told));
        };
        saving.replies.iter().for_each(|(ticket, told)| self.outbox.reply(*ticket, told.unsaved(&why)));
        self.gone.extend(saving.gone);
        for id in saving.consumers {
            if let Some(consumer) = self.consumers.get_mut(&id) {
                (consumer.whole, consumer.changed) = (true, true);
                self.dirty.insert(id);
            }
        }
        if !self.closed {
            self.save_at = Some(now.after(RETRY_EVERY));
        }
    }

    pub(super) fn close(&mut self, now: Moment) {
        self.closed = true;
        for consumer in self.consumers.values_mut() {
            for request in consumer.fetches.take_all() {
                self.outbox.end(request, FetchEnd::Failed(FetchError::Closed(SHUT.to_string())));
            }
            consumer.rewind();
        }
        self.requests.clear();
        self.save_at = Some(now);
    }
}

/// A page of the last messages of each subject.
fn last_of_each(consumer: &Consumer, from: u64) -> What {
    let filters = consumer.config.filters.clone();
    What::Next(Read { filters, last_per_subject: true, bytes: AHEAD_BYTES_MAX, ..Read::from(from, PAGE_MESSAGES_MAX) })
}

/// Whether two declarations are one; a pause is not part of it.
fn same(a: &ConsumerConfig, b: &ConsumerConfig) -> bool {
    let bare = |config: &ConsumerConfig| ConsumerConfig { pause_until: None, ..config.clone() };
    bare(a) == bare(b)
}

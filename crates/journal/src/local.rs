//! A journal in memory: [`Memory`] behind a lock, with a clock.
//!
//! What `--engine memory` runs, and what doors are tested on. Everything is gone when it is dropped.
//! It has no thread of its own: each verb does its work before it returns, and who hosts it calls
//! [`Local::tick`] now and then, so that what waits for time to pass goes on.
//!
//! # Invariants
//! - No callback, sink or waker runs while the lock is held.
//! - Callbacks run in the order of what they tell of: one caller at a time runs them, the one that
//!   found nobody at it; a callback that calls the journal adds to the end.
//! - A read that waits is known by its key in `readers` until it is answered or dropped.

mod consumers;
mod readers;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use event::{Moment, Pattern, Subject};
use spin::Mutex;

use crate::config::StreamConfig;
use crate::consumer::{Ack, AckToken, ConsumerConfig, ConsumerInfo, Fetch, Sink};
use crate::contract::{Answer, Done, Health, Journal, ready};
use crate::desk::Removed;
use crate::error::{AckError, AppendError, BatchError, ConsumerError, ReadError, StreamError};
use crate::memory::Memory;
use crate::news::Watcher;
use crate::rules::check_consumers;
use crate::stream::{Append, Page, Purge, Read, Receipt, Stored, StreamInfo, SubjectState};

use consumers::Consumers;
use readers::Readers;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

type Call = Box<dyn FnOnce() + Send>;

/// See the module. Clones share one journal.
#[derive(Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    /// Grows with every change of what streams capture.
    version: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    memory: Memory,
    readers: Readers,
    consumers: Consumers,
    calls: VecDeque<Call>,
    calling: bool,
    closed: bool,
}

/// What every verb answers after [`Journal::close`].
const CLOSED: &str = "it was shut down";

impl Local {
    /// An empty journal.
    pub fn new(clock: Clock) -> Self {
        Local { shared: Arc::new(Shared { clock, version: AtomicU64::new(0), state: Mutex::default() }) }
    }

    /// Does what time has made due.
    pub fn tick(&self) {
        self.shared.with(|_, _| ());
    }

    /// When something is due next.
    pub fn wake_at(&self) -> Option<Moment> {
        let state = self.shared.state.lock();
        [state.memory.wake_at(), state.readers.wake_at(), state.consumers.wake_at()].into_iter().flatten().min()
    }
}

impl Shared {
    /// Does something with the state, as of now, and then runs what that called for.
    fn with<T>(&self, work: impl FnOnce(&mut State, Moment) -> T) -> T {
        let now = (self.clock)();
        let result = {
            let mut state = self.state.lock();
            state.tick(now);
            let result = work(&mut state, now);
            state.tell_markers(now);
            state.settle(now);
            result
        };
        self.run();
        result
    }

    fn run(&self) {
        let mut state = self.state.lock();
        if state.calling {
            return;
        }
        state.calling = true;
        while let Some(call) = state.calls.pop_front() {
            drop(state);
            call();
            state = self.state.lock();
            if state.calls.is_empty() {
                let now = (self.clock)();
                state.settle(now);
            }
        }
        state.calling = false;
    }

    /// Does a verb on a stream, unless the journal is closed.
    fn on_streams<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State, Moment) -> Result<T, StreamError>,
    ) -> Answer<Result<T, StreamError>> {
        ready(self.with(
            |state, now| {
                if state.closed { Err(StreamError::Closed(CLOSED.to_string())) } else { work(state, now) }
            },
        ))
    }

    fn asked<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Memory) -> Result<T, ReadError>,
    ) -> Answer<Result<T, ReadError>> {
        ready(self.with(
            |state, _| {
                if state.closed { Err(ReadError::Closed(CLOSED.to_string())) } else { ask(&state.memory) }
            },
        ))
    }
}

impl State {
    fn tick(&mut self, now: Moment) {
        self.memory.tick(now);
        self.tell_markers(now);
        self.readers.tick(&self.memory, now, &mut self.calls);
        self.consumers.tick(now, &mut self.calls);
    }

    /// Lets consumers do what they can.
    fn settle(&mut self, now: Moment) {
        self.consumers.settle(&mut self.memory, &mut self.readers, now, &mut self.calls);
    }

    /// Records a message and tells whoever waits for it.
    fn append(&mut self, append: Append, now: Moment) -> Result<Receipt, AppendError> {
        if self.closed {
            return Err(AppendError::Closed(CLOSED.to_string()));
        }
        let (subject, rollup) = (append.message.subject.clone(), append.rollup);
        let receipt = self.memory.append(now, append)?;
        self.tell_markers(now);
        if !receipt.duplicate {
            self.tell_appended(now, &receipt, &subject);
        }
        if rollup.is_some() {
            self.tell_rolled_up(now, &receipt.stream);
        }
        Ok(receipt)
    }

    /// As [`State::append`], all or none.
    fn append_all(&mut self, appends: Vec<Append>, now: Moment) -> Result<Receipt, BatchError> {
        if self.closed {
            return Err(BatchError { index: 0, error: AppendError::Closed(CLOSED.to_string()) });
        }
        let subjects: Vec<Subject> = appends.iter().map(|append| append.message.subject.clone()).collect();
        let rolled_up = appends.iter().any(|append| append.rollup.is_some());
        let receipt = self.memory.append_all(now, appends)?;
        self.tell_markers(now);
        let first = receipt.seq + 1 - subjects.len() as u64;
        for (seq, subject) in (first..).zip(&subjects) {
            self.tell_appended(now, &Receipt { seq, ..receipt.clone() }, subject);
        }
        if rolled_up {
            self.tell_rolled_up(now, &receipt.stream);
        }
        Ok(receipt)
    }

    /// Tells whoever waits for a message; its subject as recorded, where it is still there.
    fn tell_appended(&mut self, now: Moment, receipt: &Receipt, subject: &Subject) {
        let recorded = self.memory.get(&receipt.stream, receipt.seq).map(|stored| stored.message.subject);
        let subject = recorded.as_ref().unwrap_or(subject);
        self.readers.appended(&self.memory, &receipt.stream, subject, &mut self.calls);
        self.consumers.appended(now, receipt, subject);
    }

    /// Tells whoever waits for them of markers that took the place of messages.
    fn tell_markers(&mut self, now: Moment) {
        for (stream, seq, subject) in self.memory.take_markers() {
            let receipt = Receipt { stream, seq, duplicate: false, proof: crate::stream::Proof::Memory };
            self.tell_appended(now, &receipt, &subject);
        }
    }

    fn tell_rolled_up(&mut self, now: Moment, stream: &str) {
        self.consumers.removed(now, stream, Removed::Some);
        self.forget_removed(now, stream);
    }

    /// Tells consumers what limits and lifetimes have removed.
    fn forget_removed(&mut self, now: Moment, stream: &str) {
        if let Some(first) = self.memory.first(stream) {
            self.consumers.removed(now, stream, Removed::Below(first));
        }
    }

    fn info(&self, mut info: StreamInfo) -> StreamInfo {
        info.consumers = self.consumers.count(&info.config.name);
        info
    }
}

impl Journal for Local {
    fn append(&self, append: Append, done: Done<Result<Receipt, AppendError>>) {
        self.shared.with(|state, now| {
            let result = state.append(append, now);
            state.calls.push_back(Box::new(move || done(result)));
        });
    }

    fn append_all(&self, appends: Vec<Append>, done: Done<Result<Receipt, BatchError>>) {
        self.shared.with(|state, now| {
            let result = state.append_all(appends, now);
            state.calls.push_back(Box::new(move || done(result)));
        });
    }

    fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    fn deleted(&self, stream: &str, from: u64, limit: usize) -> Answer<Result<Vec<u64>, ReadError>> {
        self.shared.asked(|memory| memory.deleted(stream, from, limit))
    }

    fn stream_create(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>> {
        self.shared.on_streams(|state, now| {
            let info = state.memory.stream_create(now, config)?;
            self.shared.version.fetch_add(1, Ordering::Release);
            state.consumers.stream(now, &info);
            Ok(state.info(info))
        })
    }

    fn stream_update(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>> {
        self.shared.on_streams(|state, now| {
            let info = state.memory.stream_update(now, config)?;
            self.shared.version.fetch_add(1, Ordering::Release);
            state.tell_markers(now);
            state.consumers.stream(now, &info);
            state.consumers.removed(now, &info.config.name, Removed::Some);
            state.forget_removed(now, &info.config.name);
            Ok(state.info(info))
        })
    }

    fn stream_delete(&self, stream: &str) -> Answer<Result<(), StreamError>> {
        self.shared.on_streams(|state, now| {
            state.memory.stream_delete(stream)?;
            self.shared.version.fetch_add(1, Ordering::Release);
            state.readers.deleted(stream, &mut state.calls);
            state.consumers.stream_deleted(now, stream);
            Ok(())
        })
    }

    fn stream_info(&self, stream: &str) -> Answer<Result<StreamInfo, StreamError>> {
        self.shared.on_streams(|state, _| Ok(state.info(state.memory.stream_info(stream)?)))
    }

    fn streams(&self) -> Answer<Vec<StreamInfo>> {
        ready(self.shared.with(|state, _| state.memory.streams().into_iter().map(|info| state.info(info)).collect()))
    }

    fn captured_by(&self, subject: &Subject) -> Option<Arc<str>> {
        self.shared.state.lock().memory.captured_by(subject)
    }

    fn subjects(
        &self,
        stream: &str,
        pattern: &Pattern,
        after: Option<Subject>,
        limit: usize,
    ) -> Answer<Result<Vec<SubjectState>, ReadError>> {
        self.shared.asked(|memory| memory.subjects(stream, pattern, after.as_ref(), limit))
    }

    fn purge(&self, stream: &str, purge: Purge) -> Answer<Result<u64, StreamError>> {
        self.shared.on_streams(|state, now| {
            let purged = state.memory.purge(stream, &purge)?;
            state.consumers.removed(now, stream, Removed::Some);
            state.forget_removed(now, stream);
            Ok(purged)
        })
    }

    fn delete(&self, stream: &str, seq: u64) -> Answer<Result<(), StreamError>> {
        self.shared.on_streams(|state, now| {
            state.memory.delete(stream, seq)?;
            state.consumers.removed(now, stream, Removed::One(seq));
            Ok(())
        })
    }

    fn read(&self, stream: &str, read: Read) -> Answer<Result<Page, ReadError>> {
        let shared = self.shared.clone();
        self.shared.with(|state, now| {
            if state.closed {
                return ready(Err(ReadError::Closed(CLOSED.to_string())));
            }
            match state.memory.read(stream, &read) {
                Ok(page)
                    if page.messages.is_empty()
                        && !read.last_per_subject
                        && read.until.is_none()
                        && read.wait.is_some() =>
                {
                    Readers::wait(shared, state, now, stream, read, page.next)
                }
                result => ready(result),
            }
        })
    }

    fn get(&self, stream: &str, seq: u64) -> Answer<Result<Stored, ReadError>> {
        self.shared.asked(|memory| memory.get(stream, seq))
    }

    fn last(&self, stream: &str, pattern: &Pattern) -> Answer<Result<Stored, ReadError>> {
        self.shared.asked(|memory| memory.last(stream, pattern))
    }

    fn consumer_create(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        let full = {
            let state = self.shared.state.lock();
            let new = state.consumers.info(stream, &config.name).is_err();
            let room = state.memory.config(stream).map(|held| check_consumers(held, state.consumers.count(stream)));
            room.filter(|_| new).and_then(Result::err)
        };
        match full {
            Some(error) => ready(Err(error)),
            None => self.shared.on_consumers(|consumers, now, done| consumers.create(now, stream, config, done)),
        }
    }

    fn consumer_update(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.shared.on_consumers(|consumers, now, done| consumers.update(now, stream, config, done))
    }

    fn consumer_delete(&self, stream: &str, consumer: &str) -> Answer<Result<(), ConsumerError>> {
        self.shared.on_consumers(|consumers, now, done| consumers.delete(now, stream, consumer, done))
    }

    fn consumer_info(&self, stream: &str, consumer: &str) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.shared.with(|state, now| state.forget_removed(now, stream));
        self.shared.on_consumers(|consumers, now, done| consumers.describe(now, stream, consumer, done))
    }

    fn consumers(&self, stream: &str) -> Answer<Result<Vec<ConsumerInfo>, ConsumerError>> {
        ready(self.shared.with(|state, now| {
            state.forget_removed(now, stream);
            state.consumers.list(stream)
        }))
    }

    fn consumer_pause(
        &self,
        stream: &str,
        consumer: &str,
        until: Option<Moment>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.shared.on_consumers(|consumers, now, done| consumers.pause(now, stream, consumer, until, done))
    }

    fn consumer_reset(
        &self,
        stream: &str,
        consumer: &str,
        to: Option<u64>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.shared.on_consumers(|consumers, now, done| consumers.reset(now, stream, consumer, to, done))
    }

    fn consumer_unpin(&self, stream: &str, consumer: &str, group: &str) -> Answer<Result<(), ConsumerError>> {
        self.shared.on_consumers(|consumers, now, done| consumers.unpin(now, stream, consumer, group, done))
    }

    fn watch(&self, watcher: Watcher) {
        self.shared.with(|state, _| state.consumers.watch(watcher));
    }

    fn fetch(&self, stream: &str, consumer: &str, fetch: Fetch, sink: Box<dyn Sink>) {
        self.shared.with(|state, now| {
            if state.closed {
                return consumers::refuse(sink, &mut state.calls);
            }
            let open = consumers::Open { sink, shared: Arc::downgrade(&self.shared) };
            state.consumers.fetch(now, stream, consumer, fetch, open);
        });
    }

    fn acknowledge(&self, token: AckToken, ack: Ack, synced: bool, done: Done<Result<(), AckError>>) {
        self.shared.with(|state, now| {
            if state.closed {
                state.calls.push_back(Box::new(move || done(Err(AckError::Closed(CLOSED.to_string())))));
            } else {
                state.consumers.acknowledge(now, token, ack, synced, done);
            }
        });
    }

    fn nudge(&self) {
        self.shared.with(|state, now| state.consumers.nudge(now, &mut state.calls));
    }

    fn health(&self) -> Health {
        let closed = self.shared.state.lock().closed;
        Health { refusing: closed.then(|| CLOSED.to_string()), ..Health::default() }
    }

    fn close(&self) -> Answer<()> {
        self.shared.with(|state, now| {
            state.closed = true;
            state.readers.close(&mut state.calls);
            state.consumers.close(now);
        });
        ready(())
    }
}

//! Consumers, as one machine: all consumers of all streams of an engine.
//!
//! The desk is told what happened and answers with what is to be done. It holds no message for long,
//! reads no clock, writes no file, and calls nobody. An engine drives it; the part of the engine that
//! does so is called the **rim** here.
//!
//! # How a rim drives it
//!
//! ```text
//!   handle(now, input)         any number of times
//!   while let Some(output) = poll(now) { do it }
//!   wake_at()                  by then at the latest: handle(now, Input::Tick)
//! ```
//!
//! A rim that has several inputs at hand gives them all before it polls: saves, reads and removals
//! are then gathered. Deliveries are made one by one, by `poll`, so what a sink says to one (see
//! below) counts for the next.
//!
//! **Opening.** [`Desk::apply`] for the last [`Desk::snapshot`], then for each saved change behind
//! it, in order; then [`Input::Stream`] for each stream; then [`Input::Opened`]. Consumers of
//! streams that were not told are dropped. A change older than the snapshot may be applied again.
//!
//! **Streams.** [`Input::Stream`] when one is created or updated, before anything else of it.
//! [`Input::Appended`] for each message that readers can see (durable), in order; it costs a look-up
//! where nobody waits. Where they were too many to be told one by one, [`Input::Stream`] with the last
//! position, and [`Removed::Some`], in their place. [`Input::Removed`] after a purge, a deletion of one message and an update of
//! limits; for messages that limits and lifetimes remove it is welcome, not needed.
//!
//! | [`Output`] | what the rim does |
//! |---|---|
//! | `Read` | Reads as [`What`] says, off the desk's thread where that may take long, and answers [`Input::Page`] with the same key: always, also with an error. For `Last` only `Page::messages` counts. For `Seqs` it may stop after about [`AHEAD_BYTES_MAX`] bytes; `Page::next` is behind the last position that it looked up. |
//! | `Deliver` | Gives it to the request's sink. [`Want::More`](crate::Want::More): nothing. `Pause`: [`Input::Hold`]. `Closed`: drops the sink, [`Input::Cancel`] with `untaken`. The request unknown (the sink dropped before): `Cancel` too. |
//! | `End` | Takes the sink out and tells it. |
//! | `Save` | Keeps the bytes, in the order of the outputs; [`Input::Saved`] once they are durable. With `synced`, somebody waits for that: at the next commit. Without: within a second. |
//! | `DeadLetter` | Appends to the stream [`DEAD_STREAM`](crate::limits::DEAD_STREAM), creating it first ([`dead_stream`]) if no stream captures the subject; [`Input::DeadLettered`] with its result. |
//! | `Tell` | Tells whoever watches. |
//! | `Retire` | Removes these messages from the stream, if they are there, whatever its `deny_delete` says. Need not be durable. |
//! | `Reply` | Completes the verb that brought the ticket. |
//!
//! **Sinks.** The rim holds the sink of each request from [`Input::Fetch`] to `End` or `Closed`.
//! About every 100 ms it asks the sinks of [`Desk::held`] and, less often, of [`Desk::waiting`]
//! [`ready`](crate::Sink::ready): `Some(true)`: [`Input::Ready`] if held; `None`: [`Input::Cancel`].
//!
//! **Requests, tickets, keys.** Requests and tickets are numbers of the rim's choice, unique while in
//! use. Keys are the desk's.
//!
//! **Closing.** [`Input::Close`], then poll until drained: all fetches end, all state is saved.
//!
//! # Invariants
//! 1. A message is delivered for the first time in order of position; what is delivered again comes
//!    before what is new, in order of position.
//! 2. The cursor and the flights that it passed are saved in the same change: nothing that is not
//!    acknowledged is skipped, whichever change was the last to survive.
//! 3. A message that is given up is done with only after its dead letter is recorded, whose message
//!    id makes a second one a duplicate.
//! 4. What an acknowledgement of an older delivery of a message says counts, as in JetStream.
//!
//! # Cost
//! A delivery and its acknowledgement: four look-ups in small trees, one entry in a ring, one in a
//! heap. An outstanding delivery takes about 100 bytes. An idle consumer costs nothing; one that
//! waits costs a walk in a trie for the messages that it wants. A consumer reads ahead what its
//! waiting fetches can take, at most [`AHEAD_MESSAGES_MAX`] messages or [`AHEAD_BYTES_MAX`] bytes.

mod admin;
mod consumer;
mod dead;
mod fetches;
mod flights;
mod grammar;
mod interest;
mod outbox;
mod restore;
pub mod stored;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use event::{Moment, Wanted};

use crate::config::Retention;
use crate::consumer::{Ack, AckToken, ConsumerInfo, Fetch, FetchEnd};
use crate::error::{AckError, ConsumerError, FetchError, ReadError};
use crate::stream::Page;

pub use dead::dead_stream;
pub use grammar::{Input, Key, Output, Removed, Reply, Request, Ticket, What};
pub use stored::Corrupt;

use consumer::Consumer;
use interest::Sweep;
use outbox::{Aim, Outbox};

/// Most messages that a consumer reads ahead of its deliveries: bounds memory, with [`AHEAD_BYTES_MAX`].
pub const AHEAD_MESSAGES_MAX: usize = 256;

/// Most bytes that a consumer reads ahead, save that it reads one message.
pub const AHEAD_BYTES_MAX: usize = 1024 * 1024;

/// How long a change that nobody waits for may go unsaved: well under the second that is promised.
pub const SAVE_EVERY: Duration = Duration::from_millis(250);

/// How long after a dead letter or a save was refused it is tried again.
pub const RETRY_EVERY: Duration = Duration::from_secs(1);

/// A stream, as far as consumers care.
#[derive(Debug)]
struct Room {
    retention: Retention,
    first: u64,
    last: u64,
    /// By name, which is unique in a stream.
    consumers: BTreeMap<Arc<str>, u64>,
    /// Consumers to be told of the next message that they want.
    watching: Wanted<u64>,
    /// All consumers, by filter; kept only under [`Retention::Interest`].
    interest: Wanted<u64>,
    /// Positions that all are done with, not yet retired.
    retiring: Vec<u64>,
    sweep: Option<Sweep>,
    /// Whether it was told since opening.
    told: bool,
}

/// All consumers of an engine. See the module.
#[derive(Debug, Default)]
pub struct Desk {
    rooms: BTreeMap<Arc<str>, Room>,
    /// By a number that is given once.
    consumers: BTreeMap<u64, Consumer>,
    consumer_next: u64,
    tag_last: u64,
    /// Which consumer a fetch waits on.
    requests: BTreeMap<Request, u64>,
    /// Each consumer has at most one entry here, at or before its next due moment.
    timers: BTreeSet<(Moment, u64)>,
    /// Consumers that may have something to do; each is at most once in it.
    runnable: VecDeque<u64>,
    /// Streams with positions to retire or a sweep to go on with.
    untidy: BTreeSet<Arc<str>>,
    /// When sweeps whose reads failed are gone on with.
    sweep_at: Option<Moment>,
    dirty: BTreeSet<u64>,
    /// Entries to save that are no consumer's any more.
    gone: Vec<stored::Entry>,
    save_at: Option<Moment>,
    /// Tickets that wait for the next save.
    waiting: Vec<(Ticket, Reply)>,
    outbox: Outbox,
    closed: bool,
}

impl Desk {
    /// A desk without consumers.
    pub fn new() -> Self {
        Desk::default()
    }

    /// Takes in what happened. Answers come from [`Desk::poll`].
    pub fn handle(&mut self, now: Moment, input: Input<'_>) {
        match input {
            Input::Stream { stream, retention, first, last } => self.stream(stream, retention, first, last),
            Input::Opened => self.opened(now),
            Input::StreamDeleted { stream } => self.stream_deleted(now, stream),
            Input::Appended { stream, seq, subject } => self.appended(stream, seq, subject),
            Input::Removed { stream, removed } => self.removed(now, stream, removed),
            Input::Create { ticket, stream, config } => self.create(now, ticket, stream, config),
            Input::Update { ticket, stream, config } => self.update(now, ticket, stream, config),
            Input::Delete { ticket, stream, consumer } => self.delete(now, ticket, stream, consumer),
            Input::Pause { ticket, stream, consumer, until } => self.pause(now, ticket, stream, consumer, until),
            Input::Info { ticket, stream, consumer } => self.describe(now, ticket, stream, consumer),
            Input::Counted { key, result } => self.counted(now, key, &result),
            Input::Reset { ticket, stream, consumer, to } => self.reset(now, ticket, stream, consumer, to),
            Input::Unpin { ticket, stream, consumer, group } => self.unpin(now, ticket, stream, consumer, group),
            Input::Fetch { request, stream, consumer, fetch } => self.fetch(now, request, stream, consumer, &fetch),
            Input::Hold { request } => self.on_request(request, |consumer| consumer.fetches.hold(request)),
            Input::Ready { request } => self.on_request(request, |consumer| consumer.fetches.release(request)),
            Input::Cancel { request, untaken } => self.cancel(now, request, untaken.as_ref()),
            Input::Ack { ticket, token, ack, synced } => self.acknowledge(now, ticket, &token, &ack, synced),
            Input::Page { key, result } => self.page(now, key, result),
            Input::DeadLettered { key, result } => self.dead_lettered(now, key, result.is_ok()),
            Input::Saved { key, result } => self.saved(now, key, result),
            Input::Tick => self.tick(now),
            Input::Close => self.close(now),
        }
    }

    /// What is to be done next; `None`: nothing before the next input.
    pub fn poll(&mut self, now: Moment) -> Option<Output> {
        loop {
            if let Some(output) = self.outbox.pop() {
                return Some(output);
            }
            if self.save_at.is_some_and(|moment| moment <= now) {
                self.save();
            } else if let Some(id) = self.runnable.pop_front() {
                self.run(now, id);
            } else if let Some(stream) = self.untidy.pop_first() {
                self.tidy(&stream);
            } else if !self.waiting.is_empty() {
                self.save();
            } else {
                return None;
            }
        }
    }

    /// When the next [`Input::Tick`] is due.
    pub fn wake_at(&self) -> Option<Moment> {
        let timer = self.timers.first().map(|(moment, _)| *moment);
        timer.into_iter().chain(self.save_at).chain(self.sweep_at).min()
    }

    /// How many consumers a stream has.
    pub fn count(&self, stream: &str) -> u64 {
        self.rooms.get(stream).map_or(0, |room| room.consumers.len() as u64)
    }

    /// One consumer. What is pending is at most what it says; [`Input::Info`] has it counted.
    ///
    /// # Errors
    /// [`ConsumerError::NoStream`] or [`ConsumerError::NotFound`].
    pub fn info(&self, stream: &str, consumer: &str) -> Result<ConsumerInfo, ConsumerError> {
        let room = self.rooms.get(stream).ok_or_else(|| ConsumerError::NoStream(stream.to_string()))?;
        let found = room.consumers.get(consumer).and_then(|id| self.consumers.get(id));
        found.map(|found| found.info(room.first, room.last)).ok_or_else(|| not_found(stream, consumer))
    }

    /// All consumers of a stream, by name.
    ///
    /// # Errors
    /// [`ConsumerError::NoStream`].
    pub fn list(&self, stream: &str) -> Result<Vec<ConsumerInfo>, ConsumerError> {
        let room = self.rooms.get(stream).ok_or_else(|| ConsumerError::NoStream(stream.to_string()))?;
        let consumers = room.consumers.values().filter_map(|id| self.consumers.get(id));
        Ok(consumers.map(|consumer| consumer.info(room.first, room.last)).collect())
    }

    /// Fetches whose sinks said [`Want::Pause`](crate::Want::Pause).
    pub fn held(&self) -> Vec<Request> {
        self.consumers.values().flat_map(|consumer| consumer.fetches.held()).collect()
    }

    /// All fetches that wait.
    pub fn waiting(&self) -> impl Iterator<Item = Request> + '_ {
        self.requests.keys().copied()
    }

    fn appended(&mut self, stream: &str, seq: u64, subject: &str) {
        let Some(room) = self.rooms.get_mut(stream) else { return };
        room.last = room.last.max(seq);
        if room.retention == Retention::Interest && !room.interest.any(subject) {
            room.retiring.push(seq);
            self.untidy.insert(Arc::from(stream));
        }
        if room.watching.is_empty() {
            return;
        }
        let mut woken = Vec::new();
        room.watching.each(subject, &mut |id| woken.push(*id));
        for id in woken {
            let Some(consumer) = self.consumers.get_mut(&id) else { continue };
            consumer.appended(seq, &mut room.watching);
            if !consumer.fetches.is_empty() && !consumer.queued {
                consumer.queued = true;
                self.runnable.push_back(id);
            }
        }
    }

    fn fetch(&mut self, now: Moment, request: Request, stream: &str, name: &str, fetch: &Fetch) {
        if self.closed {
            return self.outbox.end(request, FetchEnd::Failed(FetchError::Closed(SHUT.to_string())));
        }
        let Some(id) = self.find(stream, name) else {
            let error = FetchError::NotFound { stream: stream.to_string(), name: name.to_string() };
            return self.outbox.end(request, FetchEnd::Failed(error));
        };
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        match consumer.ask(now, request, fetch) {
            Ok(()) => {
                self.requests.insert(request, id);
                self.after(now, id);
            }
            Err(end) => self.outbox.end(request, end),
        }
    }

    fn on_request(&mut self, request: Request, work: impl FnOnce(&mut Consumer)) {
        let Some(id) = self.requests.get(&request).copied() else { return };
        if let Some(consumer) = self.consumers.get_mut(&id) {
            work(consumer);
            self.runnable(id);
        }
    }

    fn cancel(&mut self, now: Moment, request: Request, untaken: Option<&AckToken>) {
        let by_token = untaken.and_then(|token| self.find(&token.stream, &token.consumer));
        let Some(id) = self.requests.remove(&request).or(by_token) else { return };
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.active = now;
        consumer.fetches.remove(request);
        if let Some(token) = untaken.filter(|token| token.tag == consumer.tag) {
            consumer.untaken(token);
        }
        self.after(now, id);
    }

    fn acknowledge(&mut self, now: Moment, ticket: Ticket, token: &AckToken, ack: &Ack, synced: bool) {
        let found = self.find(&token.stream, &token.consumer);
        let consumer =
            found.and_then(|id| self.consumers.get_mut(&id)).filter(|found| token.tag == 0 || found.tag == token.tag);
        let Some(consumer) = consumer else {
            let error = AckError::NotFound { stream: token.stream.to_string(), name: token.consumer.to_string() };
            return self.outbox.reply(ticket, Reply::Ack(Err(error)));
        };
        let (id, durable) = (consumer.id, consumer.config.kept());
        let result = consumer.acknowledge(now, token, ack, &mut self.outbox);
        if result.is_ok() {
            self.after(now, id);
        }
        if result.is_ok() && synced && durable {
            self.waiting.push((ticket, Reply::Ack(result)));
        } else {
            self.outbox.reply(ticket, Reply::Ack(result));
        }
    }

    fn page(&mut self, now: Moment, key: Key, result: Result<Page, ReadError>) {
        let Some((stream, aim)) = self.outbox.take_read(key) else { return };
        let Some(room) = self.rooms.get_mut(&stream) else { return };
        if let Aim::Sweep = aim {
            return self.swept(now, &stream, key, result);
        }
        let (Aim::Open(id) | Aim::Next(id) | Aim::Back(id) | Aim::Dying(id)) = aim else {
            // A count that the rim could not make.
            let error = result.err().unwrap_or(ReadError::NoMessage);
            if let Aim::Count(id) = aim {
                self.counted_of(now, id, key, &Err(error));
            }
            return;
        };
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        match aim {
            Aim::Open(_) => return self.opened_at(now, id, result),
            Aim::Next(_) => {
                room.last = room.last.max(result.as_ref().map_or(0, |page| page.last));
                consumer.next_page(key, result, room.last, &mut room.watching, &mut self.outbox);
            }
            Aim::Back(_) => consumer.back_page(key, result, &mut self.outbox),
            _ => consumer.dying_page(now, key, result, &mut self.outbox),
        }
        self.after(now, id);
    }

    fn counted(&mut self, now: Moment, key: Key, result: &Result<u64, ReadError>) {
        if let Some((_, Aim::Count(id))) = self.outbox.take_read(key) {
            self.counted_of(now, id, key, result);
        }
    }

    fn counted_of(&mut self, now: Moment, id: u64, key: Key, result: &Result<u64, ReadError>) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.counted(key, result);
        if consumer.is_asked() {
            return;
        }
        for (ticket, saved) in core::mem::take(&mut consumer.askers) {
            self.answer_now(now, id, ticket, saved);
        }
        self.after(now, id);
    }

    fn dead_lettered(&mut self, now: Moment, key: Key, recorded: bool) {
        let Some((id, seq)) = self.outbox.take_letter(key) else { return };
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.dead_lettered(now, seq, recorded);
            self.after(now, id);
        }
    }

    fn tick(&mut self, now: Moment) {
        self.sweep_again(now);
        while let Some((_, id)) = self.timers.first().copied().filter(|(moment, _)| *moment <= now) {
            self.timers.pop_first();
            let Some(consumer) = self.consumers.get_mut(&id) else { continue };
            consumer.wake = None;
            if consumer.expired(now) {
                self.drop_consumer(now, id);
                continue;
            }
            consumer.tick(now, &mut self.outbox);
            self.after(now, id);
        }
    }

    /// Lets a consumer take one step.
    fn run(&mut self, now: Moment, id: u64) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.queued = false;
        let Some(room) = self.rooms.get_mut(&consumer.stream) else { return };
        let more = consumer.step(now, (room.first, room.last), &mut room.watching, &mut self.outbox);
        self.settle(now, id);
        if more {
            self.runnable(id);
        }
    }

    /// What follows when something happened to a consumer.
    fn after(&mut self, now: Moment, id: u64) {
        self.settle(now, id);
        self.runnable(id);
    }

    fn settle(&mut self, now: Moment, id: u64) {
        while let Some(request) = self.outbox.ended.pop() {
            self.requests.remove(&request);
        }
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let wake = consumer.wake_next(now);
        if consumer.unsaved() && self.dirty.insert(id) {
            let due = now.after(SAVE_EVERY);
            self.save_at = Some(self.save_at.map_or(due, |moment| moment.min(due)));
        }
        if consumer.touched_many() {
            self.save_at = Some(now);
        }
        if !consumer.done.is_empty() {
            self.settle_done(id);
        }
        self.schedule(id, wake);
    }

    fn find(&self, stream: &str, name: &str) -> Option<u64> {
        self.rooms.get(stream)?.consumers.get(name).copied()
    }

    fn runnable(&mut self, id: u64) {
        if let Some(consumer) = self.consumers.get_mut(&id).filter(|consumer| !consumer.queued) {
            consumer.queued = true;
            self.runnable.push_back(id);
        }
    }

    /// Has a consumer woken at a moment, or before.
    fn schedule(&mut self, id: u64, moment: Option<Moment>) {
        let (Some(moment), Some(consumer)) = (moment, self.consumers.get_mut(&id)) else { return };
        if consumer.wake.is_some_and(|wake| wake <= moment) {
            return;
        }
        if let Some(wake) = consumer.wake.replace(moment) {
            self.timers.remove(&(wake, id));
        }
        self.timers.insert((moment, id));
    }
}

/// What verbs answer after [`Input::Close`].
const SHUT: &str = "it was shut down";

fn not_found(stream: &str, name: &str) -> ConsumerError {
    ConsumerError::NotFound { stream: stream.to_string(), name: name.to_string() }
}

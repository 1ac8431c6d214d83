//! The consumers' thread: it owns the journal's desk, hands it what happened, and does what it asks.
//!
//! The writer's notices of new messages wait in its queue, at most [`NOTICES_MAX`] of them. What comes
//! beyond is told of its stream only, once: the desk then has those who wait look for themselves.
//! Until that is taken in, all further notices of the stream come to the same, so that no wake-up is
//! lost and none comes before an earlier one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use event::{Moment, Pattern};
use journal::desk::{Desk, Input, Output, Removed, Reply, Request, Ticket, What, dead_stream};
use journal::{
    Ack, AckError, AckToken, Answer, Append, AppendError, ConsumerConfig, ConsumerError, ConsumerInfo, Done, Fetch,
    FetchEnd, FetchError, JournalEvent, Page, ReadError, Retention, Sink, StreamConfig, StreamInfo, Streams, Want,
    Watcher, answer,
};
use parking_lot::{Condvar, Mutex};

use crate::Clock;
use crate::directory::Directory;
use crate::disk_journal::shut;
use crate::ops::Op;
use crate::pool::Pool;
use crate::read::Reader;
use crate::writer::Inbox;

/// How often sinks that took a pause are asked, by the machine's own clock or the engine's,
/// whichever is first: their users are outside.
const HELD_EVERY: Duration = Duration::from_millis(100);
/// How often sinks that wait are asked whether their user is still there.
const WAITING_EVERY: Duration = Duration::from_millis(500);
/// Longest sleep, so that a clock that is set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Bytes of saved changes after which the whole is taken down in their place.
const WHOLE_EVERY: usize = 1024 * 1024;
/// Verbs that may wait; more are refused. What the engine itself tells is always taken.
const EVENTS_MAX: usize = 262_144;
/// New messages that wait to be told one by one: some 8 MiB of them.
const NOTICES_MAX: usize = if cfg!(test) { 64 } else { 65_536 };

/// What verbs answer after the end.
const CLOSED: &str = "it was closed";

/// What the thread works with.
pub struct Parts {
    /// The streams.
    pub directory: Arc<Directory>,
    /// The way to the writer.
    pub inbox: Arc<Inbox>,
    /// Who reads.
    pub pool: Arc<Pool>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

type Told<T> = Done<Result<T, ConsumerError>>;

enum Event {
    Appended(Arc<str>, Vec<(u64, Bytes)>),
    Stream(Box<StreamInfo>),
    StreamDeleted(String),
    Removed(String, Option<u64>),
    Page(u64, Result<Page, ReadError>),
    Counted(u64, Result<u64, ReadError>),
    DeadLettered(u64, Result<(), AppendError>),
    Saved(u64, Result<(), String>),
    Create(String, ConsumerConfig, Told<ConsumerInfo>),
    Update(String, ConsumerConfig, Told<ConsumerInfo>),
    Delete(String, String, Told<()>),
    Pause(String, String, Option<Moment>, Told<ConsumerInfo>),
    Reset(String, String, Option<u64>, Told<ConsumerInfo>),
    Unpin(String, String, String, Told<()>),
    Watch(Watcher),
    Info(String, String, Told<ConsumerInfo>),
    List(String, Told<Vec<ConsumerInfo>>),
    /// With the moment it was asked, from which its wait counts.
    Fetch(Moment, String, String, Fetch, Box<dyn Sink>),
    Ack(AckToken, Ack, bool, Done<Result<(), AckError>>),
    Close(Done<()>),
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    /// New messages in `events`.
    notices: usize,
    /// Streams whose new messages were too many to be told: taken in behind `events`.
    grown: BTreeSet<Arc<str>>,
    nudged: bool,
    /// Whether sinks that took a pause are to be asked at once.
    asked: bool,
    stopped: bool,
    closed: bool,
}

/// The way to the thread.
pub struct Consumers {
    queue: Mutex<Queue>,
    wake: Condvar,
    clock: Arc<dyn Clock>,
}

enum Waiting {
    Consumer(Told<ConsumerInfo>),
    Unit(Told<()>),
    Ack(Done<Result<(), AckError>>),
}

/// What the thread owns.
struct Counter {
    parts: Parts,
    way: Arc<Consumers>,
    desk: Desk,
    tickets: BTreeMap<Ticket, Waiting>,
    sinks: BTreeMap<Request, Box<dyn Sink>>,
    watchers: Vec<Watcher>,
    streams: Streams,
    /// Streams whose number of consumers may have changed.
    recount: BTreeSet<Arc<str>>,
    next: u64,
    saved: usize,
    asked_held: (Instant, Moment),
    asked_waiting: (Instant, Moment),
    closing: Option<Done<()>>,
}

impl Consumers {
    /// Starts the thread, with what the consumers kept.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(parts: Parts, kept: &[Vec<u8>]) -> io::Result<(Arc<Consumers>, JoinHandle<()>)> {
        let way = Arc::new(Consumers { queue: Mutex::default(), wake: Condvar::new(), clock: parts.clock.clone() });
        let mut desk = Desk::new();
        for bytes in kept {
            if let Err(error) = desk.apply(bytes) {
                tracing::error!(?error, "a change of the consumers is damaged and passed over");
            }
        }
        let now = parts.clock.now();
        let mut counter = Counter {
            way: way.clone(),
            desk,
            tickets: BTreeMap::new(),
            sinks: BTreeMap::new(),
            watchers: Vec::new(),
            streams: Streams::default(),
            recount: BTreeSet::new(),
            next: 0,
            saved: kept.iter().map(Vec::len).sum(),
            asked_held: (Instant::now(), now),
            asked_waiting: (Instant::now(), now),
            closing: None,
            parts,
        };
        counter.opened(now);
        let thread = thread::Builder::new().name("journal-consume".to_owned()).spawn(move || counter.run())?;
        Ok((way, thread))
    }

    fn tell(&self, event: Event) {
        let mut queue = self.queue.lock();
        queue.events.push_back(event);
        drop(queue);
        self.wake.notify_one();
    }

    /// Tells a verb, or gives it back.
    fn ask(&self, event: Event) -> Result<(), Box<Event>> {
        let mut queue = self.queue.lock();
        if queue.closed || queue.stopped || queue.events.len() >= EVENTS_MAX {
            return Err(Box::new(event));
        }
        queue.events.push_back(event);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    fn asked<T: Send + 'static>(&self, event: impl FnOnce(Told<T>) -> Event) -> Answer<Result<T, ConsumerError>> {
        let (done, answer) = answer(|| Err(ConsumerError::Closed(CLOSED.to_owned())));
        match self.ask(event(done)) {
            Ok(()) => answer,
            Err(_refused) => shut(),
        }
    }

    /// Messages that readers can see.
    pub fn appended(&self, stream: &Arc<str>, added: Vec<(u64, Bytes)>) {
        let mut queue = self.queue.lock();
        if queue.grown.contains(stream) || queue.notices + added.len() > NOTICES_MAX {
            queue.grown.insert(stream.clone());
        } else {
            queue.notices += added.len();
            queue.events.push_back(Event::Appended(stream.clone(), added));
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// A stream was declared, or declared anew.
    pub fn stream(&self, info: &StreamInfo) {
        self.tell(Event::Stream(Box::new(info.clone())));
    }

    /// A stream is gone.
    pub fn stream_deleted(&self, stream: &str) {
        self.tell(Event::StreamDeleted(stream.to_owned()));
    }

    /// Messages are gone: the one at a position, or some.
    pub fn removed(&self, stream: &str, seq: Option<u64>) {
        self.tell(Event::Removed(stream.to_owned(), seq));
    }

    /// See [`journal::Journal::consumer_create`].
    pub fn create(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.asked(|done| Event::Create(stream.to_owned(), config, done))
    }

    /// See [`journal::Journal::consumer_update`].
    pub fn update(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.asked(|done| Event::Update(stream.to_owned(), config, done))
    }

    /// See [`journal::Journal::consumer_delete`].
    pub fn delete(&self, stream: &str, consumer: &str) -> Answer<Result<(), ConsumerError>> {
        self.asked(|done| Event::Delete(stream.to_owned(), consumer.to_owned(), done))
    }

    /// See [`journal::Journal::consumer_pause`].
    pub fn pause(
        &self,
        stream: &str,
        consumer: &str,
        until: Option<Moment>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.asked(|done| Event::Pause(stream.to_owned(), consumer.to_owned(), until, done))
    }

    /// See [`journal::Journal::consumer_reset`].
    pub fn reset(&self, stream: &str, consumer: &str, to: Option<u64>) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.asked(|done| Event::Reset(stream.to_owned(), consumer.to_owned(), to, done))
    }

    /// See [`journal::Journal::consumer_unpin`].
    pub fn unpin(&self, stream: &str, consumer: &str, group: &str) -> Answer<Result<(), ConsumerError>> {
        self.asked(|done| Event::Unpin(stream.to_owned(), consumer.to_owned(), group.to_owned(), done))
    }

    /// See [`journal::Journal::watch`].
    pub fn watch(&self, watcher: Watcher) {
        self.tell(Event::Watch(watcher));
    }

    /// See [`journal::Journal::consumer_info`].
    pub fn info(&self, stream: &str, consumer: &str) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.asked(|done| Event::Info(stream.to_owned(), consumer.to_owned(), done))
    }

    /// See [`journal::Journal::consumers`].
    pub fn list(&self, stream: &str) -> Answer<Result<Vec<ConsumerInfo>, ConsumerError>> {
        self.asked(|done| Event::List(stream.to_owned(), done))
    }

    /// See [`journal::Journal::fetch`].
    pub fn fetch(&self, stream: &str, consumer: &str, fetch: Fetch, sink: Box<dyn Sink>) {
        let now = self.clock.now();
        let refused = self.ask(Event::Fetch(now, stream.to_owned(), consumer.to_owned(), fetch, sink));
        if let Err(refused) = refused
            && let Event::Fetch(_, _, _, _, sink) = *refused
        {
            sink.end(FetchEnd::Failed(FetchError::Closed(CLOSED.to_owned())));
        }
    }

    /// See [`journal::Journal::acknowledge`].
    pub fn acknowledge(&self, token: AckToken, ack: Ack, synced: bool, done: Done<Result<(), AckError>>) {
        if let Err(refused) = self.ask(Event::Ack(token, ack, synced, done))
            && let Event::Ack(_, _, _, done) = *refused
        {
            done(Err(AckError::Closed(CLOSED.to_owned())));
        }
    }

    /// Ends all fetches, saves all, and then says so.
    pub fn close(&self, done: Done<()>) {
        if let Err(refused) = self.ask(Event::Close(done))
            && let Event::Close(done) = *refused
        {
            done(());
        }
    }

    /// Ends at once, as a kill would.
    pub fn stop(&self) {
        self.queue.lock().stopped = true;
        self.wake.notify_one();
    }

    /// See [`journal::Journal::nudge`].
    pub fn ask_sinks(&self) {
        let mut queue = self.queue.lock();
        queue.asked = true;
        queue.nudged = true;
        drop(queue);
        self.wake.notify_one();
    }

    /// Has the thread look at the clock.
    pub fn nudge(&self) {
        self.queue.lock().nudged = true;
        self.wake.notify_one();
    }
}

impl Counter {
    /// Tells the desk what streams there are.
    fn opened(&mut self, now: Moment) {
        for shared in self.parts.directory.all() {
            if self.desk.count(&shared.name) > 0 {
                shared.watched.store(true, Ordering::SeqCst);
                self.recount.insert(shared.name.clone());
            }
            self.tell_stream(now, &shared.name);
            let _there = self.streams.stated(&shared.live.read().config);
        }
        self.desk.handle(now, Input::Opened);
        self.serve(now);
    }

    fn tell_stream(&mut self, now: Moment, name: &str) {
        let Some(shared) = self.parts.directory.get(name) else { return };
        let live = shared.live.read();
        let (retention, first, last) = (live.config.retention, live.state.first, live.state.last);
        drop(live);
        self.desk.handle(now, Input::Stream { stream: name, retention, first, last });
    }

    fn run(mut self) {
        loop {
            let Some((events, grown)) = self.take() else { return };
            let now = self.parts.clock.now();
            for event in events {
                self.take_in(now, event);
            }
            for stream in grown {
                self.tell_stream(now, &stream);
                // Nothing need be gone: it has those who wait read again from where they are.
                self.desk.handle(now, Input::Removed { stream: &stream, removed: Removed::Some });
            }
            self.desk.handle(now, Input::Tick);
            self.ask_sinks(now);
            self.serve(now);
            self.count();
            if let Some(done) = self.closing.take() {
                self.whole();
                return done(());
            }
        }
    }

    /// Waits for events, or until something is due. `None`: the end.
    fn take(&self) -> Option<(VecDeque<Event>, BTreeSet<Arc<str>>)> {
        let left = |asked: (Instant, Moment), every: Duration| every.saturating_sub(asked.0.elapsed());
        let held = (!self.desk.held().is_empty()).then(|| left(self.asked_held, HELD_EVERY));
        let waiting = (!self.sinks.is_empty()).then(|| left(self.asked_waiting, WAITING_EVERY));
        let asked_at = [held, waiting].into_iter().flatten().min().map(|left| Instant::now() + left);
        let until = self.desk.wake_at();
        let mut queue = self.way.queue.lock();
        loop {
            if queue.stopped {
                queue.closed = true;
                return None;
            }
            let now = self.parts.clock.now();
            let due = until.is_some_and(|until| until <= now);
            if !queue.events.is_empty() || !queue.grown.is_empty() || due || std::mem::take(&mut queue.nudged) {
                queue.notices = 0;
                return Some((std::mem::take(&mut queue.events), std::mem::take(&mut queue.grown)));
            }
            let asking = asked_at.map(|at| at.saturating_duration_since(Instant::now()));
            if asking.is_some_and(|left| left.is_zero()) {
                return Some((VecDeque::new(), BTreeSet::new()));
            }
            match [until.map(|until| until.since(now).min(SLEEP_MAX)), asking].into_iter().flatten().min() {
                Some(span) => {
                    let _timed_out = self.way.wake.wait_for(&mut queue, span);
                }
                None => self.way.wake.wait(&mut queue),
            }
        }
    }

    fn ticket(&mut self, waiting: Waiting) -> Ticket {
        self.next += 1;
        self.tickets.insert(self.next, waiting);
        self.next
    }

    fn take_in(&mut self, now: Moment, event: Event) {
        match event {
            Event::Appended(stream, added) => {
                for (seq, subject) in added {
                    let subject = std::str::from_utf8(&subject).unwrap_or_default();
                    self.desk.handle(now, Input::Appended { stream: &stream, seq, subject });
                }
            }
            Event::Stream(info) => self.declared(now, &info.config),
            Event::StreamDeleted(stream) => self.deleted(now, &stream),
            Event::Removed(stream, seq) => self.removed(now, &stream, seq),
            Event::Page(key, result) => self.desk.handle(now, Input::Page { key, result }),
            Event::Counted(key, result) => self.desk.handle(now, Input::Counted { key, result }),
            Event::DeadLettered(key, result) => self.desk.handle(now, Input::DeadLettered { key, result }),
            Event::Saved(key, result) => self.desk.handle(now, Input::Saved { key, result }),
            Event::Create(stream, config, done) => self.create(now, &stream, config, done),
            Event::Update(stream, config, done) => {
                let ticket = self.ticket(Waiting::Consumer(done));
                self.desk.handle(now, Input::Update { ticket, stream: &stream, config });
            }
            Event::Delete(stream, consumer, done) => {
                let ticket = self.ticket(Waiting::Unit(done));
                self.desk.handle(now, Input::Delete { ticket, stream: &stream, consumer: &consumer });
            }
            Event::Pause(stream, consumer, until, done) => {
                let ticket = self.ticket(Waiting::Consumer(done));
                self.desk.handle(now, Input::Pause { ticket, stream: &stream, consumer: &consumer, until });
            }
            Event::Reset(stream, consumer, to, done) => {
                let ticket = self.ticket(Waiting::Consumer(done));
                self.desk.handle(now, Input::Reset { ticket, stream: &stream, consumer: &consumer, to });
            }
            Event::Unpin(stream, consumer, group, done) => {
                let ticket = self.ticket(Waiting::Unit(done));
                self.desk.handle(now, Input::Unpin { ticket, stream: &stream, consumer: &consumer, group: &group });
            }
            Event::Watch(watcher) => self.watchers.push(watcher),
            Event::Info(stream, consumer, done) => {
                let ticket = self.ticket(Waiting::Consumer(done));
                self.desk.handle(now, Input::Info { ticket, stream: &stream, consumer: &consumer });
            }
            Event::List(stream, done) => done(self.desk.list(&stream)),
            Event::Fetch(asked, stream, consumer, fetch, sink) => {
                self.next += 1;
                let request = self.next;
                self.sinks.insert(request, sink);
                self.desk.handle(asked.min(now), Input::Fetch { request, stream: &stream, consumer: &consumer, fetch });
            }
            Event::Ack(token, ack, synced, done) => {
                let ticket = self.ticket(Waiting::Ack(done));
                self.desk.handle(now, Input::Ack { ticket, token, ack, synced });
            }
            Event::Close(done) => {
                self.way.queue.lock().closed = true;
                self.desk.handle(now, Input::Close);
                self.closing = Some(done);
            }
        }
    }

    fn declared(&mut self, now: Moment, config: &StreamConfig) {
        self.tell_stream(now, &config.name);
        self.recount.insert(Arc::from(config.name.as_str()));
        let news = self.streams.stated(config);
        self.happened(news);
    }

    fn deleted(&mut self, now: Moment, stream: &str) {
        self.desk.handle(now, Input::StreamDeleted { stream });
        let news = self.streams.deleted(stream);
        self.happened(news);
    }

    fn create(&mut self, now: Moment, stream: &str, config: ConsumerConfig, done: Told<ConsumerInfo>) {
        if let Some(error) = self.full(stream, &config.name) {
            return done(Err(error));
        }
        self.watch(now, stream);
        let ticket = self.ticket(Waiting::Consumer(done));
        self.desk.handle(now, Input::Create { ticket, stream, config });
    }

    fn removed(&mut self, now: Moment, stream: &str, seq: Option<u64>) {
        if let Some(seq) = seq {
            return self.desk.handle(now, Input::Removed { stream, removed: Removed::One(seq) });
        }
        if let Some(shared) = self.parts.directory.get(stream) {
            let first = shared.live.read().state.first;
            self.desk.handle(now, Input::Removed { stream, removed: Removed::Below(first) });
        }
        self.desk.handle(now, Input::Removed { stream, removed: Removed::Some });
    }

    /// Why a stream takes no consumer of a new name.
    fn full(&self, stream: &str, name: &str) -> Option<ConsumerError> {
        let shared = self.parts.directory.get(stream)?;
        let config = shared.live.read().config.clone();
        let full = journal::rules::check_consumers(&config, self.desk.count(stream)).err()?;
        self.desk.info(stream, name).is_err().then_some(full)
    }

    /// Has the writer tell of a stream's messages from now on, and the desk know those before.
    fn watch(&mut self, now: Moment, stream: &str) {
        if let Some(shared) = self.parts.directory.get(stream) {
            shared.watched.store(true, Ordering::SeqCst);
            self.recount.insert(shared.name.clone());
            self.tell_stream(now, stream);
        }
    }

    /// Brings up to date how many consumers each stream has, of those where that may have changed.
    fn count(&mut self) {
        for stream in std::mem::take(&mut self.recount) {
            let Some(shared) = self.parts.directory.get(&stream) else { continue };
            let count = self.desk.count(&shared.name);
            shared.consumers.store(count, Ordering::Relaxed);
            if count == 0 && shared.live.read().config.retention != Retention::Interest {
                shared.watched.store(false, Ordering::SeqCst);
            }
        }
    }

    fn ask_sinks(&mut self, now: Moment) {
        let due = |asked: (Instant, Moment), every| asked.0.elapsed() >= every || now.since(asked.1) >= every;
        let asked = std::mem::take(&mut self.way.queue.lock().asked);
        if asked || due(self.asked_held, HELD_EVERY) {
            self.asked_held = (Instant::now(), now);
            for request in self.desk.held() {
                match self.sinks.get_mut(&request).map(|sink| sink.ready()) {
                    Some(Some(true)) => self.desk.handle(now, Input::Ready { request }),
                    Some(Some(false)) => {}
                    _ => self.cancel(now, request),
                }
            }
        }
        if due(self.asked_waiting, WAITING_EVERY) {
            self.asked_waiting = (Instant::now(), now);
            let waiting: Vec<Request> = self.desk.waiting().collect();
            for request in waiting {
                if self.sinks.get_mut(&request).is_none_or(|sink| sink.ready().is_none()) {
                    self.cancel(now, request);
                }
            }
        }
    }

    fn cancel(&mut self, now: Moment, request: Request) {
        self.close_sink(request);
        self.desk.handle(now, Input::Cancel { request, untaken: None });
    }

    fn close_sink(&mut self, request: Request) {
        if let Some(sink) = self.sinks.remove(&request) {
            sink.end(FetchEnd::Closed);
        }
    }

    /// Does what the desk asks, until it asks no more.
    fn serve(&mut self, now: Moment) {
        while let Some(output) = self.desk.poll(now) {
            match output {
                Output::Read { key, stream, what } => self.read(key, &stream, what),
                Output::Deliver { request, delivery } => self.deliver(now, request, delivery),
                Output::End { request, end } => {
                    if let Some(sink) = self.sinks.remove(&request) {
                        sink.end(end);
                    }
                }
                Output::Save { key, bytes, synced } => {
                    self.saved += bytes.len();
                    let way = self.way.clone();
                    let done: Done<Result<(), String>> = Box::new(move |result| way.tell(Event::Saved(key, result)));
                    self.parts.inbox.submit(Op::Desk { bytes, synced, done });
                }
                Output::DeadLetter { key, append } => self.dead_letter(key, append),
                Output::Retire { stream, seqs } => self.parts.inbox.submit(Op::Retire(stream.to_string(), seqs)),
                Output::Tell { event } => self.happened(Some(event)),
                Output::Reply { ticket, reply } => self.reply(ticket, reply),
            }
        }
        if self.saved >= WHOLE_EVERY {
            self.whole();
        }
    }

    /// Takes the whole down in the place of the changes so far.
    fn whole(&mut self) {
        let bytes = self.desk.snapshot();
        self.saved = 0;
        self.parts.inbox.submit(Op::DeskWhole(bytes));
    }

    fn happened(&mut self, event: Option<JournalEvent>) {
        if let Some(event) = event {
            if let JournalEvent::ConsumerCreated { stream, .. } | JournalEvent::ConsumerDeleted { stream, .. } = &event
            {
                self.recount.insert(stream.clone());
            }
            self.watchers.iter().for_each(|watcher| watcher(event.clone()));
        }
    }

    fn read(&self, key: u64, stream: &Arc<str>, what: What) {
        let (stream, way) = (stream.clone(), self.way.clone());
        let taken = self.parts.pool.submit(Box::new(move |reader| {
            let result = match what {
                What::Count { filters, from, upto } => {
                    return way.tell(Event::Counted(key, reader.count(&stream, &filters, from, upto)));
                }
                What::Next(read) => reader.page(&stream, &read),
                What::Seqs(seqs) => each(reader, &stream, seqs.iter().map(|seq| reader.get(&stream, *seq))),
                What::Last(patterns) => {
                    let last = |pattern: &Pattern| reader.last(&stream, pattern);
                    each(reader, &stream, patterns.iter().map(last))
                }
            };
            way.tell(Event::Page(key, result));
        }));
        if !taken {
            self.way.tell(Event::Page(key, Err(ReadError::Storage("too many reads wait".to_owned()))));
        }
    }

    fn deliver(&mut self, now: Moment, request: Request, delivery: journal::Delivery) {
        let token = delivery.token.clone();
        let want = self.sinks.get_mut(&request).map_or(Want::Closed, |sink| sink.deliver(delivery));
        match want {
            Want::More => {}
            Want::Pause => self.desk.handle(now, Input::Hold { request }),
            Want::Closed => {
                self.close_sink(request);
                self.desk.handle(now, Input::Cancel { request, untaken: Some(token) });
            }
        }
    }

    fn dead_letter(&self, key: u64, append: Append) {
        if self.parts.directory.captured_by(append.message.subject.as_str()).is_none() {
            match dead_stream() {
                Ok(config) => {
                    let way = self.way.clone();
                    self.parts.inbox.submit(Op::Create(
                        config,
                        Box::new(move |result| match result {
                            Ok(info) => way.stream(&info),
                            Err(error) => tracing::warn!(%error, "the stream of dead letters cannot be made"),
                        }),
                    ));
                }
                Err(error) => tracing::error!(%error, "the stream of dead letters cannot be declared"),
            }
        }
        let way = self.way.clone();
        let done = Box::new(move |result: Result<journal::Receipt, AppendError>| {
            way.tell(Event::DeadLettered(key, result.map(|_| ())));
        });
        self.parts.inbox.submit(Op::Append(append, done));
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        match (self.tickets.remove(&ticket), reply) {
            (Some(Waiting::Consumer(done)), Reply::Consumer(result)) => done(result),
            (Some(Waiting::Unit(done)), Reply::Unit(result)) => done(result),
            (Some(Waiting::Ack(done)), Reply::Ack(result)) => done(result),
            _ => tracing::error!(ticket, "the desk answered what nobody asked"),
        }
    }
}

/// The messages that are there, as one page.
fn each(
    reader: &Reader,
    stream: &str,
    found: impl Iterator<Item = Result<journal::Stored, ReadError>>,
) -> Result<Page, ReadError> {
    let state = reader.info(stream).ok_or_else(|| ReadError::NotFound(stream.to_owned()))?.state;
    let mut page = Page { messages: Vec::new(), next: state.last + 1, last: state.last, damaged: Vec::new() };
    for result in found {
        match result {
            Ok(stored) => page.messages.push(stored),
            Err(ReadError::NoMessage) => {}
            Err(ReadError::Damaged(seq)) => page.damaged.push(seq),
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests;

//! The rim of the [`Desk`] in memory: reads at once, saves nothing, and hands deliveries to sinks.
//!
//! # Invariants
//! - A sink is either in `sinks` or out with a call; while one is out, the desk is not polled, so
//!   what a sink says to a delivery is known before the next is made.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::time::Duration;

use event::{Moment, Pattern, Subject};

use crate::consumer::{Ack, AckToken, ConsumerConfig, ConsumerInfo, Delivery, Fetch, FetchEnd, Sink, Want};
use crate::contract::{Answer, Done, answer};
use crate::desk::{Desk, Input, Output, Removed, Reply, Request, What, dead_stream};
use crate::error::{AckError, AppendError, ConsumerError, FetchError, ReadError};
use crate::limits::PAGE_MESSAGES_MAX;
use crate::memory::Memory;
use crate::news::{JournalEvent, Streams, Watcher};
use crate::stream::{Append, Page, Read, Receipt, Start, StreamInfo};

use super::{CLOSED, Call, Readers, Shared};

/// How often sinks that wait are asked whether their users are still there.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// What a fetch brings.
pub(super) struct Open {
    pub(super) sink: Box<dyn Sink>,
    pub(super) shared: Weak<Shared>,
}

enum Waiter {
    Consumer(Done<Told<ConsumerInfo>>),
    Unit(Done<Told<()>>),
    Ack(Done<Result<(), AckError>>),
}

#[derive(Default)]
pub(super) struct Consumers {
    desk: Desk,
    sinks: BTreeMap<Request, Open>,
    waiters: BTreeMap<u64, Waiter>,
    watchers: Vec<Arc<Watcher>>,
    /// What watchers are to be told of streams.
    news: VecDeque<JournalEvent>,
    streams: Streams,
    /// Names requests and tickets.
    next: u64,
    /// Sinks that are out with a call.
    out: usize,
    probe_at: Moment,
}

type Told<T> = Result<T, ConsumerError>;

impl Shared {
    pub(super) fn on_consumers<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Consumers, Moment, Done<Told<T>>),
    ) -> Answer<Told<T>> {
        let (done, told) = answer(|| Err(ConsumerError::Closed(CLOSED.to_string())));
        self.with(|state, now| work(&mut state.consumers, now, done));
        told
    }

    /// Takes back a sink that was out with a delivery.
    fn delivered(&self, request: Request, open: Open, token: AckToken, want: Want) {
        let now = (self.clock)();
        let mut state = self.state.lock();
        let consumers = &mut state.consumers;
        consumers.out -= 1;
        match want {
            Want::More => {}
            Want::Pause => consumers.desk.handle(now, Input::Hold { request }),
            Want::Closed => {
                consumers.desk.handle(now, Input::Cancel { request, untaken: Some(token) });
                drop(state);
                return open.sink.end(FetchEnd::Closed);
            }
        }
        consumers.sinks.insert(request, open);
    }

    /// Takes back a sink that was asked whether it is ready.
    fn probed(&self, request: Request, open: Open, ready: Option<bool>) {
        let now = (self.clock)();
        let mut state = self.state.lock();
        let consumers = &mut state.consumers;
        consumers.out -= 1;
        match ready {
            Some(true) => consumers.desk.handle(now, Input::Ready { request }),
            Some(false) => {}
            None => {
                consumers.desk.handle(now, Input::Cancel { request, untaken: None });
                drop(state);
                return open.sink.end(FetchEnd::Closed);
            }
        }
        consumers.sinks.insert(request, open);
    }
}

impl Consumers {
    pub(super) fn wake_at(&self) -> Option<Moment> {
        self.desk.wake_at()
    }

    pub(super) fn count(&self, stream: &str) -> u64 {
        self.desk.count(stream)
    }

    /// Asks the sinks now, as far as none is out.
    pub(super) fn nudge(&mut self, now: Moment, calls: &mut VecDeque<Call>) {
        self.probe_at = Moment::EPOCH;
        self.tick(now, calls);
    }

    pub(super) fn tick(&mut self, now: Moment, calls: &mut VecDeque<Call>) {
        self.desk.handle(now, Input::Tick);
        if now < self.probe_at || self.out > 0 {
            return;
        }
        self.probe_at = now.after(PROBE_EVERY);
        let requests: Vec<Request> = self.sinks.keys().copied().collect();
        for request in requests {
            let Some(mut open) = self.sinks.remove(&request) else { continue };
            self.out += 1;
            calls.push_back(Box::new(move || {
                let ready = open.sink.ready();
                if let Some(shared) = open.shared.upgrade() {
                    shared.probed(request, open, ready);
                }
            }));
        }
    }

    /// Does what the desk wants done, up to the next delivery.
    pub(super) fn settle(
        &mut self,
        memory: &mut Memory,
        readers: &mut Readers,
        now: Moment,
        calls: &mut VecDeque<Call>,
    ) {
        while let Some(event) = self.news.pop_front() {
            tell(&self.watchers, event, calls);
        }
        while self.out == 0 {
            let Some(output) = self.desk.poll(now) else { return };
            match output {
                Output::Read { key, stream, what: What::Count { filters, from, upto } } => {
                    let result = count(memory, &stream, &filters, from, upto);
                    self.desk.handle(now, Input::Counted { key, result });
                }
                Output::Read { key, stream, what } => {
                    let result = read(memory, &stream, what);
                    self.desk.handle(now, Input::Page { key, result });
                }
                Output::Deliver { request, delivery } => self.deliver(now, request, delivery, calls),
                Output::End { request, end } => {
                    if let Some(open) = self.sinks.remove(&request) {
                        calls.push_back(Box::new(move || open.sink.end(end)));
                    }
                }
                Output::Save { key, .. } => self.desk.handle(now, Input::Saved { key, result: Ok(()) }),
                Output::DeadLetter { key, append } => {
                    let result = self.dead_letter(memory, readers, now, append, calls);
                    self.desk.handle(now, Input::DeadLettered { key, result });
                }
                Output::Retire { stream, seqs } => memory.retire(&stream, &seqs),
                Output::Tell { event } => tell(&self.watchers, event, calls),
                Output::Reply { ticket, reply } => self.reply(ticket, reply, calls),
            }
        }
    }

    fn deliver(&mut self, now: Moment, request: Request, delivery: Delivery, calls: &mut VecDeque<Call>) {
        let Some(mut open) = self.sinks.remove(&request) else {
            return self.desk.handle(now, Input::Cancel { request, untaken: Some(delivery.token) });
        };
        self.out += 1;
        calls.push_back(Box::new(move || {
            let token = delivery.token.clone();
            let want = open.sink.deliver(delivery);
            if let Some(shared) = open.shared.upgrade() {
                shared.delivered(request, open, token, want);
            }
        }));
    }

    fn dead_letter(
        &mut self,
        memory: &mut Memory,
        readers: &mut Readers,
        now: Moment,
        append: Append,
        calls: &mut VecDeque<Call>,
    ) -> Result<(), AppendError> {
        let subject = append.message.subject.clone();
        if memory.captured_by(&subject).is_none()
            && let Ok(config) = dead_stream()
            && let Ok(info) = memory.stream_create(now, config)
        {
            self.stream(now, &info);
        }
        let receipt = memory.append(now, append)?;
        if !receipt.duplicate {
            readers.appended(memory, &receipt.stream, &subject, calls);
            self.appended(now, &receipt, &subject);
        }
        Ok(())
    }

    fn reply(&mut self, ticket: u64, reply: Reply, calls: &mut VecDeque<Call>) {
        match (self.waiters.remove(&ticket), reply) {
            (Some(Waiter::Consumer(done)), Reply::Consumer(told)) => calls.push_back(Box::new(move || done(told))),
            (Some(Waiter::Unit(done)), Reply::Unit(told)) => calls.push_back(Box::new(move || done(told))),
            (Some(Waiter::Ack(done)), Reply::Ack(told)) => calls.push_back(Box::new(move || done(told))),
            // A waiter that is dropped answers that the journal is closed.
            (_, _) => {}
        }
    }

    fn name(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn ticket(&mut self, waiter: Waiter) -> u64 {
        let ticket = self.name();
        self.waiters.insert(ticket, waiter);
        ticket
    }

    pub(super) fn stream(&mut self, now: Moment, info: &StreamInfo) {
        self.news.extend(self.streams.stated(&info.config));
        let (config, state) = (&info.config, &info.state);
        let (retention, first, last) = (config.retention, state.first, state.last);
        self.desk.handle(now, Input::Stream { stream: &config.name, retention, first, last });
    }

    pub(super) fn stream_deleted(&mut self, now: Moment, stream: &str) {
        self.desk.handle(now, Input::StreamDeleted { stream });
        self.news.extend(self.streams.deleted(stream));
    }

    pub(super) fn appended(&mut self, now: Moment, receipt: &Receipt, subject: &Subject) {
        let input = Input::Appended { stream: &receipt.stream, seq: receipt.seq, subject: subject.as_str() };
        self.desk.handle(now, input);
    }

    pub(super) fn removed(&mut self, now: Moment, stream: &str, removed: Removed) {
        self.desk.handle(now, Input::Removed { stream, removed });
    }

    pub(super) fn create(&mut self, now: Moment, stream: &str, config: ConsumerConfig, done: Done<Told<ConsumerInfo>>) {
        let ticket = self.ticket(Waiter::Consumer(done));
        self.desk.handle(now, Input::Create { ticket, stream, config });
    }

    pub(super) fn update(&mut self, now: Moment, stream: &str, config: ConsumerConfig, done: Done<Told<ConsumerInfo>>) {
        let ticket = self.ticket(Waiter::Consumer(done));
        self.desk.handle(now, Input::Update { ticket, stream, config });
    }

    pub(super) fn delete(&mut self, now: Moment, stream: &str, consumer: &str, done: Done<Told<()>>) {
        let ticket = self.ticket(Waiter::Unit(done));
        self.desk.handle(now, Input::Delete { ticket, stream, consumer });
    }

    pub(super) fn pause(
        &mut self,
        now: Moment,
        stream: &str,
        consumer: &str,
        until: Option<Moment>,
        done: Done<Told<ConsumerInfo>>,
    ) {
        let ticket = self.ticket(Waiter::Consumer(done));
        self.desk.handle(now, Input::Pause { ticket, stream, consumer, until });
    }

    pub(super) fn reset(
        &mut self,
        now: Moment,
        stream: &str,
        consumer: &str,
        to: Option<u64>,
        done: Done<Told<ConsumerInfo>>,
    ) {
        let ticket = self.ticket(Waiter::Consumer(done));
        self.desk.handle(now, Input::Reset { ticket, stream, consumer, to });
    }

    pub(super) fn unpin(&mut self, now: Moment, stream: &str, consumer: &str, group: &str, done: Done<Told<()>>) {
        let ticket = self.ticket(Waiter::Unit(done));
        self.desk.handle(now, Input::Unpin { ticket, stream, consumer, group });
    }

    pub(super) fn watch(&mut self, watcher: Watcher) {
        self.watchers.push(Arc::new(watcher));
    }

    pub(super) fn describe(&mut self, now: Moment, stream: &str, consumer: &str, done: Done<Told<ConsumerInfo>>) {
        let ticket = self.ticket(Waiter::Consumer(done));
        self.desk.handle(now, Input::Info { ticket, stream, consumer });
    }

    pub(super) fn info(&self, stream: &str, consumer: &str) -> Told<ConsumerInfo> {
        self.desk.info(stream, consumer)
    }

    pub(super) fn list(&self, stream: &str) -> Told<Vec<ConsumerInfo>> {
        self.desk.list(stream)
    }

    pub(super) fn fetch(&mut self, now: Moment, stream: &str, consumer: &str, fetch: Fetch, open: Open) {
        let request = self.name();
        self.sinks.insert(request, open);
        self.desk.handle(now, Input::Fetch { request, stream, consumer, fetch });
    }

    pub(super) fn acknowledge(
        &mut self,
        now: Moment,
        token: AckToken,
        ack: Ack,
        synced: bool,
        done: Done<Result<(), AckError>>,
    ) {
        let ticket = self.ticket(Waiter::Ack(done));
        self.desk.handle(now, Input::Ack { ticket, token, ack, synced });
    }

    pub(super) fn close(&mut self, now: Moment) {
        self.desk.handle(now, Input::Close);
    }
}

fn count(memory: &Memory, stream: &str, filters: &[Pattern], from: u64, upto: u64) -> Result<u64, ReadError> {
    let mut read = Read { filters: filters.to_vec(), ..Read::from(from, PAGE_MESSAGES_MAX) };
    let mut count = 0;
    loop {
        let page = memory.read(stream, &read)?;
        count += page.messages.iter().filter(|stored| stored.seq <= upto).count() as u64;
        if page.next > upto.min(page.last) {
            return Ok(count);
        }
        read.start = Start::Seq(page.next);
    }
}

fn read(memory: &Memory, stream: &str, what: What) -> Result<Page, ReadError> {
    let gathered = |messages| Page { messages, next: u64::MAX, last: 0, damaged: Vec::new() };
    match what {
        What::Next(read) => memory.read(stream, &read),
        What::Seqs(seqs) => Ok(gathered(seqs.iter().filter_map(|seq| memory.get(stream, *seq).ok()).collect())),
        // Answered elsewhere.
        What::Count { .. } => Ok(gathered(Vec::new())),
        What::Last(patterns) => {
            Ok(gathered(patterns.iter().filter_map(|pattern| memory.last(stream, pattern).ok()).collect()))
        }
    }
}

/// Has an event told to all that watch.
fn tell(watchers: &[Arc<Watcher>], event: JournalEvent, calls: &mut VecDeque<Call>) {
    if !watchers.is_empty() {
        let watchers = watchers.to_vec();
        calls.push_back(Box::new(move || watchers.iter().for_each(|watcher| watcher(event.clone()))));
    }
}

/// A fetch of a journal that is closed.
pub(super) fn refuse(sink: Box<dyn Sink>, calls: &mut VecDeque<Call>) {
    let end = FetchEnd::Failed(FetchError::Closed(CLOSED.to_string()));
    calls.push_back(Box::new(move || sink.end(end)));
}

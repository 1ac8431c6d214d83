//! What an engine brings to the suite, and the table at which the stories work.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use event::{Message, Moment, Pattern, Subject};
use spin::Mutex;

use crate::{
    Ack, AckError, AckToken, Answer, Append, AppendError, ConsumerConfig, Delivery, Fetch, FetchEnd, Journal, Page,
    Read, Receipt, Sink, Start, StreamConfig, Want, answer,
};

/// An engine under test.
pub trait Bench {
    /// The journal; another one after [`Bench::reopen`].
    fn journal(&self) -> Arc<dyn Journal>;
    /// Lets the engine work for a moment. Called in a loop by whoever waits.
    fn idle(&mut self);
    /// Moves the engine's clock on, or waits so long.
    fn advance(&mut self, span: Duration);
    /// Moves the engine's clock back, if it has one that can be moved.
    fn step_back(&mut self, span: Duration);
    /// What time it is for the engine.
    fn now(&self) -> Moment;
    /// Whether messages survive [`Bench::reopen`].
    fn durable(&self) -> bool;
    /// Closes and opens it; where `crash`, without closing.
    fn reopen(&mut self, crash: bool);
    /// Why this engine cannot show what a story tells. Asked before the story, by its name.
    fn cannot(&mut self, _story: &str) -> Option<&'static str> {
        None
    }
    /// Whether a stream's bytes are counted as [`Message::size`], and not as they are stored.
    fn counts_sizes(&self) -> bool {
        true
    }
}

/// Turns of [`Bench::idle`] after which what was waited for will not come.
const TURNS_MAX: usize = 200_000;

/// A bench with short words for what stories do. Its helpers panic where the engine breaks the
/// contract: that is what fails a story.
pub struct Table {
    bench: Box<dyn Bench>,
}

/// What a fetch gave.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The deliveries, in order.
    pub deliveries: Vec<Delivery>,
    /// How it ended.
    pub end: Option<FetchEnd>,
}

impl Fetched {
    /// The positions delivered.
    pub fn seqs(&self) -> Vec<u64> {
        self.deliveries.iter().map(|delivery| delivery.stored.seq).collect()
    }
}

/// A sink that keeps what it gets, and closes after so many.
struct Keep {
    into: Arc<Mutex<Fetched>>,
    room: u64,
}

impl Sink for Keep {
    fn deliver(&mut self, delivery: Delivery) -> Want {
        if self.room == 0 {
            return Want::Closed;
        }
        self.room -= 1;
        self.into.lock().deliveries.push(delivery);
        Want::More
    }

    fn ready(&mut self) -> Option<bool> {
        (self.room > 0).then_some(true)
    }

    fn end(self: Box<Self>, end: FetchEnd) {
        self.into.lock().end = Some(end);
    }
}

/// A pattern from a text known to be one.
pub fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).expect("a pattern")
}

/// A message from texts known to make one.
pub fn message(subject: &str, payload: &str) -> Message {
    Message::new(Subject::parse(subject).expect("a subject"), payload.as_bytes().to_vec())
}

impl Table {
    /// Sets the table.
    pub fn new(bench: Box<dyn Bench>) -> Self {
        Table { bench }
    }

    /// The journal.
    pub fn journal(&self) -> Arc<dyn Journal> {
        self.bench.journal()
    }

    /// The bench.
    pub fn bench(&mut self) -> &mut dyn Bench {
        &mut *self.bench
    }

    /// Whether the engine can show what a story tells.
    pub fn can(&mut self, story: &str) -> bool {
        self.bench.cannot(story).is_none()
    }

    /// Waits for an answer.
    pub fn wait<T>(&mut self, mut answer: Answer<T>) -> T {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..TURNS_MAX {
            if let Poll::Ready(value) = answer.as_mut().poll(&mut context) {
                return value;
            }
            self.bench.idle();
        }
        panic!("no answer came");
    }

    /// Waits until something holds.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Table) -> bool) {
        for _ in 0..TURNS_MAX / 10 {
            if holds(self) {
                return;
            }
            self.bench.idle();
        }
        panic!("never: {what}");
    }

    /// Declares a stream, changed from the default by `change`.
    pub fn stream(&mut self, name: &str, subjects: &str, change: impl FnOnce(&mut StreamConfig)) -> StreamConfig {
        let mut config = StreamConfig::new(name, [pattern(subjects)]);
        change(&mut config);
        let made = self.journal().stream_create(config.clone());
        self.wait(made).expect("the stream is created").config
    }

    /// Appends, and waits for the receipt.
    pub fn append(&mut self, append: Append) -> Result<Receipt, AppendError> {
        let (done, receipt) = answer(|| Err(AppendError::Closed(String::from("lost"))));
        self.journal().append(append, done);
        self.wait(receipt)
    }

    /// Appends a message that must be taken; gives its position.
    pub fn put(&mut self, subject: &str, payload: &str) -> u64 {
        self.append(Append::new(message(subject, payload))).expect("the message is taken").seq
    }

    /// Appends `n` messages `<subject>` with payloads `1` to `n`.
    pub fn put_many(&mut self, subject: &str, n: usize) {
        for number in 1..=n {
            self.put(subject, &format!("{number}"));
        }
    }

    /// Reads a page.
    pub fn read(&mut self, stream: &str, read: Read) -> Page {
        let page = self.journal().read(stream, read);
        self.wait(page).expect("the page is read")
    }

    /// The positions that a stream holds.
    pub fn seqs(&mut self, stream: &str) -> Vec<u64> {
        self.read(stream, Read::from(1, 1000)).messages.iter().map(|stored| stored.seq).collect()
    }

    /// The positions that a read from `start` gives under filters.
    pub fn matching(&mut self, stream: &str, start: Start, filters: &[&str]) -> Vec<u64> {
        let filters = filters.iter().map(|text| pattern(text)).collect();
        let page = self.read(stream, Read { start, filters, ..Read::from(1, 1000) });
        page.messages.iter().map(|stored| stored.seq).collect()
    }

    /// Waits until a stream holds just these positions.
    pub fn until_seqs(&mut self, stream: &str, expected: &[u64]) {
        let stream = String::from(stream);
        self.until(&format!("{stream} holds {expected:?}"), |table| table.seqs(&stream) == expected);
    }

    /// Declares a consumer, changed from the default by `change`.
    pub fn consumer(&mut self, stream: &str, name: &str, change: impl FnOnce(&mut ConsumerConfig)) {
        let mut config = ConsumerConfig::new(name);
        change(&mut config);
        let made = self.journal().consumer_create(stream, config);
        self.wait(made).expect("the consumer is created");
    }

    /// Begins a fetch whose sink closes after `room` deliveries.
    pub fn begin(&mut self, stream: &str, consumer: &str, fetch: Fetch, room: u64) -> Arc<Mutex<Fetched>> {
        let into = Arc::new(Mutex::new(Fetched::default()));
        self.journal().fetch(stream, consumer, fetch, Box::new(Keep { into: into.clone(), room }));
        into
    }

    /// Waits for the end of a fetch.
    pub fn ended(&mut self, fetch: &Arc<Mutex<Fetched>>) -> Fetched {
        self.until("the fetch ends", |_| fetch.lock().end.is_some());
        core::mem::take(&mut *fetch.lock())
    }

    /// Fetches what is there, without waiting.
    pub fn fetch(&mut self, stream: &str, consumer: &str, batch: u64) -> Fetched {
        let begun =
            self.begin(stream, consumer, Fetch { batch, bytes: None, wait: None, ..Fetch::default() }, u64::MAX);
        self.ended(&begun)
    }

    /// Fetches until just these positions were delivered; gives the deliveries.
    pub fn until_fetched(&mut self, stream: &str, consumer: &str, expected: &[u64]) -> Vec<Delivery> {
        let mut all: Vec<Delivery> = Vec::new();
        self.until(&format!("{consumer} delivers {expected:?}"), |table| {
            all.extend(table.fetch(stream, consumer, 100).deliveries);
            all.len() >= expected.len()
        });
        let seqs: Vec<u64> = all.iter().map(|delivery| delivery.stored.seq).collect();
        assert_eq!(seqs, expected, "what {consumer} delivers");
        all
    }

    /// Says something of a delivery, and waits for the answer.
    pub fn say(&mut self, token: &AckToken, ack: Ack) -> Result<(), AckError> {
        let (done, taken) = answer(|| Err(AckError::Closed(String::from("lost"))));
        self.journal().acknowledge(token.clone(), ack, true, done);
        self.wait(taken)
    }

    /// Acknowledges a delivery.
    pub fn done(&mut self, delivery: &Delivery) {
        self.say(&delivery.token, Ack::Done).expect("the acknowledgement is taken");
    }

    /// Moves the clock on.
    pub fn advance(&mut self, span: Duration) {
        self.bench.advance(span);
    }
}

//! Deliveries against the engine in memory, on a plain fabric, with scripted receivers.

mod asked;
mod pulled;
mod pushed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use door::suite::Plain;
use door::{Access, Fabric, Limits, Listener, ListenerId, Parcel, Port, Principal, Taker, Took};
use event::{Headers, Message, Moment, Pattern, Subject};
use journal::local::Local;
use journal::{AckPolicy, Append, ConsumerConfig, ConsumerInfo, Journal, StreamConfig};
use parking_lot::Mutex;

use super::{JetStream, Request};
use crate::Options;

/// A receiver that writes down what it is given.
#[derive(Default)]
struct Inbox {
    lines: Mutex<Vec<String>>,
    pressed: AtomicBool,
    full: AtomicBool,
}

impl Taker for Inbox {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        if self.full.load(Ordering::SeqCst) {
            return Took::No;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", "|");
        let parts = [parcel.subject, parcel.reply, parcel.status, &text(parcel.headers), &text(parcel.payload)];
        let line = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ");
        self.lines.lock().push(line);
        Took::First
    }

    fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }
}

impl Inbox {
    /// What came since the last time.
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock())
    }
}

/// A node with a stream `S` that captures `a.>`, and its consumers.
struct Table {
    time: Arc<AtomicU64>,
    journal: Local,
    fabric: Arc<Plain>,
    jetstream: Arc<JetStream>,
}

impl Table {
    /// In an executor whose time is paused.
    async fn new() -> Table {
        let time = Arc::new(AtomicU64::new(1_000_000_000));
        let clock = Arc::clone(&time);
        let journal = Local::new(Arc::new(move || Moment::from_nanos(clock.load(Ordering::SeqCst))));
        let fabric = Arc::new(Plain::default());
        let port = Port::new(Arc::new(journal.clone()), fabric.clone(), Access::open(), Limits::default());
        let jetstream = JetStream::new(port, Options::default().jetstream, String::from("test"));
        let stream = StreamConfig::new("S", vec![Pattern::parse("a.>").unwrap()]);
        journal.stream_create(stream).await.unwrap();
        Table { time, journal, fabric, jetstream }
    }

    async fn consumer(&self, config: ConsumerConfig) -> ConsumerInfo {
        let info = self.journal.consumer_create("S", config).await.unwrap();
        self.jetstream.delivering.learn(&info, &[Pattern::parse("a.>").unwrap()]);
        info
    }

    fn listen(&self, pattern: &str, queue: Option<&str>) -> (Arc<Inbox>, ListenerId) {
        let inbox = Arc::new(Inbox::default());
        let patterns = vec![Pattern::parse(pattern).unwrap()];
        let id = self.fabric.join(Listener {
            patterns,
            queue: queue.map(Arc::from),
            connection: 1,
            class: door::Class::Client,
            taker: inbox.clone(),
        });
        (inbox, id)
    }

    fn publish(&self, subject: &str, payload: &str) {
        let message = Message::new(Subject::parse(subject).unwrap(), payload.to_owned());
        self.journal.append(Append::new(message), Box::new(|receipt| drop(receipt.unwrap())));
    }

    fn request(&self, subject: &str, reply: &str, body: &str) -> Option<Request> {
        let request = Request {
            subject: subject.to_owned(),
            reply: Some(Subject::parse(reply).unwrap()),
            headers: Headers::EMPTY,
            payload: Bytes::copy_from_slice(body.as_bytes()),
        };
        self.jetstream.request_now(&Principal::anyone(), request)
    }

    /// Asks for messages of the consumer `C`, which is in use.
    fn next(&self, body: &str) {
        assert!(self.request("$JS.API.CONSUMER.MSG.NEXT.S.C", "in.x", body).is_none());
    }

    fn say(&self, delivery: &str, reply: &str, body: &str) {
        self.jetstream.acknowledge(&Principal::anyone(), delivery, reply, body.as_bytes());
    }

    /// Lets time pass, in small steps.
    async fn pass(&self, millis: u64) {
        for _ in 0..millis.div_ceil(10) {
            self.time.fetch_add(10_000_000, Ordering::SeqCst);
            tokio::time::advance(Duration::from_millis(10)).await;
            self.journal.tick();
            tokio::task::yield_now().await;
        }
    }
}

fn explicit() -> ConsumerConfig {
    ConsumerConfig { dead_letter: false, ..ConsumerConfig::new("C") }
}

fn without_acks() -> ConsumerConfig {
    ConsumerConfig { ack: AckPolicy::None, ack_pending_max: None, ..explicit() }
}

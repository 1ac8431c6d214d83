//! Pull consumers: requests for messages, and what their inboxes are told.
//!
//! A request becomes one fetch of the journal's, whose sink writes each delivery into the asking
//! connection's own buffer. Nothing is kept of it here but the sink, which the journal holds.
//!
//! # Invariants
//! - A request without interest in its inbox ends in silence, and what it was about to be given goes
//!   back at once.
//! - Each request ends with its last message, or with one status.
//!
//! Source: ADR-13 and ADR-42 of NATS's architecture, and what a server of version 2.15.1 answers.

use std::sync::Arc;
use std::time::Duration;

use door::{Parcel, Port, Principal, Taker};
use event::{Headers, Subject};
use journal::{Delivery, FetchEnd, FetchError, Journal, Sink, Want};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::groups::{Ask, refusal};
use super::outlet::{Offered, Outlet, Receivers};
use super::posts::Post;
use super::timers::{Timed, Timers};
use super::{JetStream, Request};
use crate::limits::{API_LEVEL, PRESSED_PAUSE};

/// What the subjects of requests for messages begin with.
pub(super) const NEXT: &str = "$JS.API.CONSUMER.MSG.NEXT.";
/// Says which level of the API a request needs.
const LEVEL: &str = "Nats-Required-Api-Level";

impl JetStream {
    /// Takes a request for messages of a consumer that is in use. Gives it back where it is not.
    pub(super) fn next_now(&self, who: &Principal, request: Request) -> Option<Request> {
        let Some(reply) = &request.reply else { return None };
        let name = request.subject.strip_prefix(NEXT).unwrap_or_default();
        let Some(post) = self.delivering.posts.get(name) else { return Some(request) };
        self.ask(who, post, reply, &request.headers, &request.payload);
        None
    }

    /// Takes a request for messages of a consumer that may not be in use yet.
    pub(super) async fn next(&self, who: &Principal, request: &Request) {
        let Some(reply) = &request.reply else { return };
        let name = request.subject.strip_prefix(NEXT).unwrap_or_default();
        match self.find(name).await {
            Some(post) => self.ask(who, post, reply, &request.headers, &request.payload),
            None => self.no_responders(reply, &request.subject),
        }
    }

    /// Says that nobody is there to answer.
    pub(super) fn no_responders(&self, reply: &Subject, subject: &str) {
        let headers = format!("Nats-Subject: {subject}\r\n");
        self.say(reply.as_str(), "503", headers.as_bytes());
    }

    fn say(&self, to: &str, status: &str, headers: &[u8]) {
        self.port.send(to, &Parcel { status, headers, ..Parcel::new(to, b"") });
    }

    /// Asks the journal in the name of whoever listens to `reply`.
    pub(super) fn ask(&self, who: &Principal, post: Arc<Post>, reply: &Subject, headers: &Headers, body: &[u8]) {
        let to = reply.as_str();
        if post.pushing.is_some() {
            return self.say(to, "409 Consumer is push based", b"");
        }
        if headers.get(LEVEL).is_some_and(|level| level.parse().map_or(true, |level: u32| level > API_LEVEL)) {
            return self.say(to, "412 Required Api Level", b"");
        }
        if !post.is_open_to(who) {
            return self.say(to, "403 Permissions Violation", b"");
        }
        let ask = match Ask::parse(body) {
            Ok(ask) => ask,
            Err(why) => return self.say(to, &format!("400 Bad Request - {why}"), b""),
        };
        let mut outlet = Outlet::new(Arc::clone(self.port.fabric()), to, Receivers::Any, &post.acknowledged);
        if !outlet.is_wanted() {
            return;
        }
        let timers = &self.delivering.timers;
        let now = Instant::now();
        let pulse = ask.heartbeat.map(|every| {
            let pulse = Arc::new(Pulse {
                post: Arc::clone(&post),
                port: self.port.clone(),
                to: to.into(),
                every,
                last: Mutex::new(now),
            });
            let (when, weak) = (now + every, Arc::downgrade(&pulse));
            timers.at(when, weak);
            pulse
        });
        let pull = Pull {
            outlet,
            left: ask.fetch.batch,
            bytes: ask.fetch.bytes,
            given: 0,
            since: now,
            deadline: ask.expires.map(|expires| now + expires),
            no_wait: ask.fetch.no_wait,
            pulse,
            relief: None,
            timers: Arc::clone(timers),
            journal: Arc::clone(self.port.journal()),
            over: false,
            post,
        };
        let post = Arc::clone(&pull.post);
        self.port.journal().fetch(&post.stream, &post.consumer, ask.fetch, Box::new(pull));
    }
}

/// Tells a client that hears nothing that it is not forgotten. Dropped with the request.
struct Pulse {
    post: Arc<Post>,
    port: Port,
    to: Box<str>,
    every: Duration,
    last: Mutex<Instant>,
}

impl Timed for Pulse {
    fn due(self: Arc<Self>, now: Instant) -> Option<Instant> {
        let mut last = self.last.lock();
        if now < *last + self.every {
            return Some(*last + self.every);
        }
        *last = now;
        drop(last);
        let headers = heartbeat(self.post.last());
        let parcel = Parcel { status: HEARTBEAT, headers: headers.as_bytes(), ..Parcel::new(&self.to, b"") };
        (self.port.send(&self.to, &parcel) > 0).then(|| now + self.every)
    }
}

/// The status of a heartbeat.
pub(super) const HEARTBEAT: &str = "100 Idle Heartbeat";

/// What a heartbeat says of the last delivery.
pub(super) fn heartbeat((order, seq): (u64, u64)) -> String {
    format!("Nats-Last-Consumer: {order}\r\nNats-Last-Stream: {seq}\r\n")
}

/// Waits for a laden receiver in the place of a sink that paused, and then has the journal go on.
pub(super) struct Relief {
    pub(super) taker: Arc<dyn Taker>,
    pub(super) journal: Arc<dyn Journal>,
}

impl Relief {
    /// How soon it is looked again.
    const EVERY: Duration = Duration::from_millis(1);

    /// Looks until the receiver has taken enough.
    pub(super) fn wait(taker: Arc<dyn Taker>, journal: &Arc<dyn Journal>, timers: &Timers) -> Arc<Relief> {
        let relief = Arc::new(Relief { taker, journal: Arc::clone(journal) });
        let weak = Arc::downgrade(&relief);
        timers.at(Instant::now() + Relief::EVERY, weak);
        relief
    }
}

impl Timed for Relief {
    fn due(self: Arc<Self>, now: Instant) -> Option<Instant> {
        if self.taker.is_laden() {
            return Some(now + Relief::EVERY);
        }
        self.journal.nudge();
        None
    }
}

/// One request's end of a fetch.
struct Pull {
    post: Arc<Post>,
    outlet: Outlet,
    /// Messages still to come.
    left: u64,
    /// Bytes still to come, as NATS counts them.
    bytes: Option<u64>,
    given: u64,
    since: Instant,
    deadline: Option<Instant>,
    no_wait: bool,
    pulse: Option<Arc<Pulse>>,
    /// Where it paused for a laden receiver.
    relief: Option<Arc<Relief>>,
    timers: Arc<Timers>,
    journal: Arc<dyn Journal>,
    /// Whether the client was told the end.
    over: bool,
}

impl Pull {
    fn say(&mut self, status: &str, headers: &[u8]) {
        if self.outlet.is_wanted() {
            let parcel = Parcel { status, headers, ..Parcel::new(self.outlet.to(), b"") };
            self.outlet.send(&parcel);
        }
        self.over = true;
    }

    /// A status with what was still to come.
    fn say_left(&mut self, status: &str) {
        let (left, bytes) = (self.left, self.bytes.unwrap_or_default());
        self.say(status, format!("Nats-Pending-Messages: {left}\r\nNats-Pending-Bytes: {bytes}\r\n").as_bytes());
    }

    fn expired(&mut self) {
        let over = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if self.no_wait && !over && (self.given > 0 || self.deadline.is_none()) {
            self.say("404 No Messages", b"");
        } else {
            self.say_left("408 Request Timeout");
        }
    }

    fn failed(&mut self, error: &FetchError) {
        match refusal(error) {
            // A client with heartbeats would ask again at once; it is to notice that none come.
            Some(_) if matches!(error, FetchError::Waiting { .. }) && self.pulse.is_some() => {}
            Some(status) if matches!(error, FetchError::Closed(_)) => self.say_left(&status),
            Some(status) => self.say(&status, b""),
            None => self.say("409 Consumer Deleted", b""),
        }
    }
}

impl Sink for Pull {
    fn deliver(&mut self, delivery: Delivery) -> Want {
        if self.over || !self.outlet.is_wanted() {
            return Want::Closed;
        }
        let headers_only = self.post.shape.headers_only;
        let size = self.outlet.prepare(&delivery, headers_only) as u64;
        if self.bytes.is_some_and(|bytes| size > bytes) {
            self.say_left("409 Message Size Exceeds MaxBytes");
            return Want::Closed;
        }
        let Offered::Taken { first } = self.outlet.offer(&delivery, headers_only) else { return Want::Closed };
        self.post.delivered(delivery.token.order, delivery.stored.seq);
        if let Some(pulse) = self.pulse.as_ref().filter(|_| first) {
            *pulse.last.lock() = Instant::now();
        }
        self.left = self.left.saturating_sub(1);
        self.given += 1;
        self.bytes = self.bytes.map(|bytes| bytes - size);
        if self.bytes == Some(0) {
            self.over = true;
            return Want::Pause;
        }
        match self.outlet.laden().filter(|_| self.left > 0) {
            None => Want::More,
            Some(taker) => {
                self.relief = Some(Relief::wait(taker, &self.journal, &self.timers));
                Want::Pause
            }
        }
    }

    fn ready(&mut self) -> Option<bool> {
        if self.over || !self.outlet.is_wanted() {
            return None;
        }
        if self.relief.as_ref().is_some_and(|relief| relief.taker.is_laden()) {
            return Some(false);
        }
        self.relief = None;
        Some(true)
    }

    fn end(mut self: Box<Self>, end: FetchEnd) {
        if self.over {
            return;
        }
        match end {
            FetchEnd::Full if self.bytes.is_some() => self.say_left("409 Batch Completed"),
            FetchEnd::Full | FetchEnd::Closed => {}
            FetchEnd::Expired => self.expired(),
            FetchEnd::Bytes => self.say_left("409 Message Size Exceeds MaxBytes"),
            FetchEnd::ConsumerDeleted => self.say("409 Consumer Deleted", b""),
            FetchEnd::WrongPin if self.since.elapsed() < PRESSED_PAUSE => self.say("423 Nats-Pin-Id mismatch", b""),
            FetchEnd::WrongPin => self.say_left("423 Nats-Wrong-Pin-Id"),
            FetchEnd::Failed(error) => self.failed(&error),
        }
    }
}

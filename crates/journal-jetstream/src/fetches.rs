//! Fetching: pulls of the servers' messages into a sink.
//!
//! A pull asks for what the fetch still lacks. What arrives is handed to the sink in order; while the
//! sink pauses, it lies here, and no more than one pull's batch can. A pull whose server goes away (a
//! new leader, a shutdown, silence in place of heartbeats) is asked anew for the rest.
//!
//! # Invariants
//! - The sink is told of its end exactly once, and nothing follows.
//! - What arrived and was not taken is given back to the servers at once, for another to have.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use async_nats::{Message as Wire, Subscriber};
use bytes::Bytes;
use event::Moment;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use journal::limits::WAIT_MAX;
use journal::{
    AckPolicy, AckToken, ConsumerConfig, ConsumerError, Delivery, Fetch, FetchEnd, FetchError, PriorityPolicy, Sink,
    Want,
};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::api::{API, nanos};
use crate::codec::{delivered, number, pin};
use crate::consumers::{Consumer, ask, find};
use crate::engine::Shared;
use crate::flights::Mark;
use crate::keeper;
use crate::limits::{HEARTBEAT, PUSH_WINDOW, REQUEST_DEADLINE, RETRY_PAUSE, SINK_ASKED_EVERY};
use crate::turns::Turn;
use crate::wire::Object;

/// How long one pull of a push-like fetch waits on the servers.
const PUSH_WAIT: Duration = Duration::from_secs(30);

/// What the servers' answer to a pull may take beyond its own wait.
const GRACE: Duration = Duration::from_secs(3);

/// Silence after which a pull that does not wait is asked about.
const NOT_A_WORD: Duration = Duration::from_millis(100);

/// How long the answer to a pull that waits for nothing may take.
const NOTHING: Duration = Duration::from_secs(5);

pub(crate) fn now() -> Moment {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Moment::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Runs a fetch to its end, and tells the sink.
pub(crate) async fn fetch(
    shared: Arc<Shared>,
    stream: String,
    consumer: String,
    fetch: Fetch,
    sink: Box<dyn Sink>,
    turn: Turn,
) {
    let found = find(&shared, &stream, &consumer).await.map_err(|error| failure(&stream, &consumer, error));
    let push = fetch.batch == u64::MAX;
    let checked = found.and_then(|found| checked(&found.config, &fetch, push).map(|()| found));
    let consumer = match checked {
        Ok(consumer) => consumer,
        Err(error) => return sink.end(FetchEnd::Failed(error)),
    };
    let _place = match Place::take(&consumer) {
        Ok(place) => place,
        Err(error) => return sink.end(FetchEnd::Failed(error)),
    };
    let endless = push || fetch.wait == Some(Duration::MAX);
    let wait = fetch.wait.map(|wait| wait.min(WAIT_MAX));
    let words = words(&consumer.config, &fetch);
    let unclaimed = std::mem::take(&mut *consumer.unclaimed.lock());
    let pull = Pull {
        words,
        no_wait: fetch.no_wait,
        shared,
        consumer,
        sink,
        push,
        left: fetch.batch,
        bytes: fetch.bytes,
        until: if endless { None } else { wait.map(|wait| Instant::now() + wait) },
        waits: push || wait.is_some(),
        asked: 0,
        one: false,
        lying: unclaimed,
        paused: false,
        answers: None,
        heard: Instant::now(),
        failing: None,
        expired: false,
        returned: Vec::new(),
        inbox: String::new(),
        pulls: 0,
        turn: Some(turn),
    };
    pull.run().await;
}

/// A place among the fetches of this node that wait on a consumer.
struct Place(Arc<Consumer>);

impl Place {
    fn take(consumer: &Arc<Consumer>) -> Result<Place, FetchError> {
        let max = consumer.config.waiting_max;
        let place = Place(Arc::clone(consumer));
        if consumer.waiting.fetch_add(1, Ordering::AcqRel) >= max {
            return Err(FetchError::Waiting { max });
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Holds a fetch against the consumer's declaration, as the servers do.
fn checked(config: &ConsumerConfig, fetch: &Fetch, push: bool) -> Result<(), FetchError> {
    let policy = config.priority.as_ref().map(|priority| priority.policy);
    if fetch.batch == 0 {
        return Err(FetchError::Batch);
    }
    if let Some(max) = config.batch_max.filter(|max| !push && fetch.batch > *max) {
        return Err(FetchError::BatchMax { max });
    }
    if let Some(max) = config.bytes_max.filter(|max| fetch.bytes.is_some_and(|bytes| bytes > *max)) {
        return Err(FetchError::BytesMax { max });
    }
    if let Some(max) =
        config.expires_max.filter(|max| fetch.wait.is_some_and(|wait| wait > *max && wait != Duration::MAX))
    {
        return Err(FetchError::ExpiresMax { max });
    }
    if (fetch.min_pending > 0 || fetch.min_ack_pending > 0) && policy != Some(PriorityPolicy::Overflow) {
        return Err(FetchError::NotOverflow);
    }
    if fetch.pin.as_ref().is_some_and(|pin| !pin.is_empty()) && policy != Some(PriorityPolicy::Pinned) {
        return Err(FetchError::NotPinned);
    }
    if fetch.priority > 9 {
        return Err(FetchError::Priority);
    }
    match (&config.priority, &fetch.group) {
        (Some(_), Some(group)) if group.is_empty() => Err(FetchError::GroupMissing),
        (Some(priority), Some(group)) if !priority.groups.contains(group) => {
            Err(FetchError::GroupUnknown(group.clone()))
        }
        _ => Ok(()),
    }
}

/// What a fetch says of its place among others, in every pull of it.
fn words(config: &ConsumerConfig, fetch: &Fetch) -> Object {
    let mut words = Object::new();
    let mut put = |field: &str, value: serde_json::Value| drop(words.insert(field.to_owned(), value));
    let Some(priority) = &config.priority else { return words };
    let group = fetch.group.as_ref().or(priority.groups.first());
    if let Some(group) = group {
        put("group", json!(group));
    }
    match priority.policy {
        PriorityPolicy::Overflow => {
            if fetch.min_pending > 0 {
                put("min_pending", json!(fetch.min_pending));
            }
            if fetch.min_ack_pending > 0 {
                put("min_ack_pending", json!(fetch.min_ack_pending));
            }
        }
        PriorityPolicy::Pinned => {
            if let Some(pin) = &fetch.pin {
                put("id", json!(pin));
            }
        }
        PriorityPolicy::Prioritized => put("priority", json!(fetch.priority)),
    }
    words
}

fn failure(stream: &str, consumer: &str, error: ConsumerError) -> FetchError {
    match error {
        ConsumerError::NotFound { .. } | ConsumerError::NoStream(_) => {
            FetchError::NotFound { stream: stream.to_owned(), name: consumer.to_owned() }
        }
        other => FetchError::Storage(other.to_string()),
    }
}

struct Pull {
    shared: Arc<Shared>,
    consumer: Arc<Consumer>,
    sink: Box<dyn Sink>,
    push: bool,
    /// Messages that the fetch still lacks.
    left: u64,
    /// Bytes that it may still take.
    bytes: Option<u64>,
    /// When its wait is over.
    until: Option<Instant>,
    waits: bool,
    /// Whether it ends once something was given and nothing more is there.
    no_wait: bool,
    words: Object,
    /// Messages that the servers were asked for and did not give yet.
    asked: u64,
    /// The next message is asked for alone, to be weighed here.
    one: bool,
    lying: VecDeque<Delivery>,
    paused: bool,
    answers: Option<Subscriber>,
    heard: Instant,
    /// Since when no server answers.
    failing: Option<Instant>,
    /// The servers have no more, and what lies here is the rest.
    expired: bool,
    /// Delivered to us and not taken.
    returned: Vec<(AckToken, Option<Delivery>)>,
    inbox: String,
    pulls: u64,
    turn: Option<Turn>,
}

impl Pull {
    async fn run(mut self) {
        let mut asking = interval(SINK_ASKED_EVERY);
        asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            if let Some(end) = self.hand_over() {
                break end;
            }
            if self.left == 0 {
                break FetchEnd::Full;
            }
            if self.wants_more() {
                let asked = self.ask().await;
                self.turn = None;
                if let Err(error) = asked {
                    break FetchEnd::Failed(FetchError::Storage(error));
                }
            }
            let answers = self.answers.as_mut();
            let next = async {
                match answers {
                    Some(answers) => answers.next().await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                biased;
                wire = next => match wire {
                    Some(wire) => self.take(wire).await,
                    None => Some(FetchEnd::Failed(FetchError::Closed(String::from("the engine is shutting down")))),
                },
                _ = asking.tick() => self.look_around().await,
            };
            if let Some(end) = ended {
                break end;
            }
        };
        self.finish(end).await;
    }

    fn is_acked(&self) -> bool {
        self.consumer.config.ack != AckPolicy::None
    }

    fn wants_more(&self) -> bool {
        if self.push {
            return !self.paused && self.lying.is_empty() && self.asked <= PUSH_WINDOW / 2;
        }
        self.asked == 0 && self.lying.is_empty()
    }

    /// Sends a pull for what is lacking.
    async fn ask(&mut self) -> Result<(), String> {
        let batch = if self.one { 1 } else { self.left.min(if self.push { PUSH_WINDOW } else { u64::MAX }) };
        let mut what = self.words.clone();
        let mut put = |field: &str, value| drop(what.insert(field.to_owned(), value));
        put("batch", json!(batch));
        let left = self.until.map_or(PUSH_WAIT, |until| until.saturating_duration_since(Instant::now()));
        if self.waits && !self.one {
            let left = left.max(Duration::from_millis(1));
            put("expires", json!(nanos(left)));
            if left >= HEARTBEAT * 2 {
                put("idle_heartbeat", json!(nanos(HEARTBEAT / 2)));
            }
            if self.no_wait {
                put("no_wait", json!(true));
            }
        } else {
            // With a wait of its own it would wait for a first message.
            put("no_wait", json!(true));
        }
        if let Some(bytes) = self.bytes.filter(|_| !self.one) {
            put("max_bytes", json!(bytes.max(1)));
        }
        let client = &self.shared.client;
        let inbox = client.new_inbox();
        if self.answers.is_none() {
            self.answers = Some(client.subscribe(format!("{inbox}.>")).await.map_err(|error| error.to_string())?);
            self.inbox = inbox;
        }
        let subject = format!("{API}CONSUMER.MSG.NEXT.{}.{}", self.consumer.stream, self.consumer.name);
        let body = serde_json::Value::Object(what).to_string().into_bytes();
        let reply = format!("{}.{}", self.inbox, self.pulls);
        client.publish_with_reply(subject, reply, body.into()).await.map_err(|error| error.to_string())?;
        self.pulls += 1;
        self.asked += batch;
        self.heard = Instant::now();
        Ok(())
    }

    /// Takes what the servers sent. Says how the fetch ends, if it does.
    async fn take(&mut self, wire: Wire) -> Option<FetchEnd> {
        self.heard = Instant::now();
        match wire.status.map(|status| status.as_u16()) {
            None => {
                self.failing = None;
                self.arrived(wire)
            }
            Some(100) => None,
            Some(status) => self.status(status, &wire).await,
        }
    }

    fn arrived(&mut self, wire: Wire) -> Option<FetchEnd> {
        let mark = Mark::of(&wire)?;
        self.asked = self.asked.saturating_sub(1);
        let pin = pin(&wire);
        let stored = delivered(wire, mark.seq, mark.time)?;
        let token = AckToken {
            stream: Arc::clone(&self.consumer.stream),
            consumer: Arc::clone(&self.consumer.name),
            tag: self.consumer.tag(),
            seq: mark.seq,
            attempt: mark.attempt,
            order: mark.order,
        };
        if self.consumer.config.ack != AckPolicy::None {
            self.consumer.flights.lock().delivered(&mark, now());
            if self.consumer.config.deliver_max.is_some_and(|max| mark.attempt >= max) {
                keeper::expect(&self.shared, &self.consumer, mark);
            }
        }
        self.lying.push_back(Delivery { token, stored, pending: mark.pending, pin });
        None
    }

    async fn status(&mut self, status: u16, wire: &Wire) -> Option<FetchEnd> {
        let why = wire.description.as_deref().unwrap_or_default();
        let lacking = number(wire, "Nats-Pending-Messages");
        self.asked = lacking.map_or(0, |lacking| self.asked.saturating_sub(lacking));
        match status {
            404 | 408 if self.one => Some(FetchEnd::Expired),
            404 | 408 if self.is_endless() || self.asked > 0 => None,
            404 | 408 => self.lying.is_empty().then_some(FetchEnd::Expired).or_else(|| self.expire_after_lying()),
            409 if why.contains("Consumer Deleted") => Some(FetchEnd::ConsumerDeleted),
            409 if why.contains("MaxWaiting") => {
                Some(FetchEnd::Failed(FetchError::Waiting { max: self.consumer.config.waiting_max }))
            }
            409 if why.contains("Exceeds MaxBytes") => {
                (self.asked, self.one) = (0, true);
                None
            }
            409 if why.contains("Batch Completed") => None,
            423 => Some(FetchEnd::WrongPin),
            503 => self.unheard().await,
            _ => self.pause_and_ask_anew(why).await,
        }
    }

    /// Whether a pull whose wait is over is followed by another.
    fn is_endless(&self) -> bool {
        self.waits && self.until.is_none() && !self.no_wait
    }

    /// The end came while messages lie here: they are handed over first.
    fn expire_after_lying(&mut self) -> Option<FetchEnd> {
        self.left = self.lying.len() as u64;
        self.expired = true;
        None
    }

    /// Nobody takes the pull: the consumer is gone, or has no leader now.
    async fn unheard(&mut self) -> Option<FetchEnd> {
        let (stream, name) = (self.consumer.stream.to_string(), self.consumer.name.to_string());
        match ask(&self.shared, &stream, &name).await {
            Ok(_) => self.pause_and_ask_anew("no server answers for the consumer").await,
            Err(ConsumerError::NotFound { .. } | ConsumerError::NoStream(_)) => Some(FetchEnd::ConsumerDeleted),
            Err(_) => self.pause_and_ask_anew("no server answers for the consumer").await,
        }
    }

    async fn pause_and_ask_anew(&mut self, why: &str) -> Option<FetchEnd> {
        let since = *self.failing.get_or_insert_with(Instant::now);
        let over = self.until.is_some_and(|until| Instant::now() >= until);
        if over {
            return Some(FetchEnd::Expired);
        }
        if !self.waits && since.elapsed() >= REQUEST_DEADLINE {
            return Some(FetchEnd::Failed(FetchError::Storage(why.to_owned())));
        }
        sleep(RETRY_PAUSE.0).await;
        self.asked = 0;
        None
    }

    /// Every now and then: is the user there, are the servers?
    async fn look_around(&mut self) -> Option<FetchEnd> {
        match self.sink.ready() {
            None => return Some(FetchEnd::Closed),
            Some(ready) => self.paused = !ready,
        }
        if self.consumer.gone.load(Ordering::Acquire) {
            return Some(FetchEnd::ConsumerDeleted);
        }
        if self.shared.catalogue.get(&self.consumer.stream).is_none() {
            return self.unheard().await;
        }
        let silent = self.heard.elapsed();
        if self.until.is_some_and(|until| Instant::now() >= until + GRACE) {
            return Some(FetchEnd::Expired);
        }
        if self.asked > 0 && !self.waits && silent >= NOT_A_WORD && self.lying.is_empty() && self.is_at_limit().await {
            return Some(FetchEnd::Expired);
        }
        let patience = if self.waits && self.until.is_none_or(|until| until > Instant::now() + HEARTBEAT * 2) {
            HEARTBEAT * 2
        } else {
            NOTHING + GRACE
        };
        if self.asked > 0 && silent >= patience && self.lying.is_empty() {
            return self.unheard().await;
        }
        None
    }

    /// Whether the consumer has as many outstanding as it may: the servers then keep even a pull that
    /// does not wait.
    async fn is_at_limit(&mut self) -> bool {
        let (stream, name) = (self.consumer.stream.to_string(), self.consumer.name.to_string());
        self.heard = Instant::now();
        match (self.consumer.config.ack_pending_max, ask(&self.shared, &stream, &name).await) {
            (Some(max), Ok((wire, _))) => wire.num_ack_pending >= max,
            _ => false,
        }
    }

    /// Hands to the sink what lies here. Says how the fetch ends, if it does.
    fn hand_over(&mut self) -> Option<FetchEnd> {
        while !self.paused && self.left > 0 {
            let Some(delivery) = self.lying.front() else { break };
            let size = delivery.stored.message.size() as u64;
            if self.bytes.is_some_and(|bytes| size > bytes) {
                return Some(FetchEnd::Bytes);
            }
            let Some(delivery) = self.lying.pop_front() else { break };
            // Without acknowledgements the servers do not deliver it again.
            let given_back = (delivery.token.clone(), (!self.is_acked()).then(|| delivery.clone()));
            match self.sink.deliver(delivery) {
                Want::More => {}
                Want::Pause => self.paused = true,
                Want::Closed => {
                    self.returned.push(given_back);
                    return Some(FetchEnd::Closed);
                }
            }
            self.bytes = self.bytes.map(|bytes| bytes - size);
            self.one = false;
            if !self.push {
                self.left -= 1;
            }
        }
        (self.expired && self.left == 0).then_some(FetchEnd::Expired)
    }

    /// Gives back what was not taken, and tells the sink.
    async fn finish(mut self, end: FetchEnd) {
        if let Some(mut answers) = self.answers.take()
            && self.asked > 0
        {
            // First no more is wanted, then what came meanwhile goes back.
            let _lost = answers.unsubscribe().await;
            let _lost = self.shared.client.flush().await;
            while let Some(Some(wire)) = answers.next().now_or_never() {
                if wire.status.is_none() {
                    self.arrived(wire);
                }
            }
        }
        let acked = self.is_acked();
        let lying = self.lying.drain(..).map(|delivery| (delivery.token.clone(), (!acked).then_some(delivery)));
        self.returned.extend(lying);
        let said = self.returned.iter().filter(|_| acked);
        let said = said.map(|(token, _)| crate::acks::say(&self.shared, token, Bytes::from_static(b"-NAK"), true));
        // What does not arrive comes again when its wait is over.
        let _lost = join_all(said.collect::<Vec<_>>()).await;
        let unclaimed = self.returned.into_iter().filter_map(|(_, delivery)| delivery);
        self.consumer.unclaimed.lock().extend(unclaimed);
        drop(self.turn.take());
        self.sink.end(end);
    }
}

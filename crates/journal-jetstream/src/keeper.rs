//! The keeper of dead letters.
//!
//! A message that its consumer gives up in so many words ([`journal::Ack::Give`]) is recorded as a dead
//! letter first, and ended after. One that goes beyond its deliveries is ended by the server, which
//! keeps the message in its stream and publishes a notice, once. Notices are kept: the stream
//! [`NOTICES`] captures them, and one shared consumer hands each to one of the nodes, which records the
//! dead letter and acknowledges the notice after. So nothing is lost while no node runs, nor when one
//! dies in between; the dead letter's id keeps it from being recorded twice within the window.
//!
//! # What differs
//! A dead letter of this kind has the time of its first delivery only if the node that records it made
//! that delivery.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Request;
use bytes::Bytes;
use event::{Headers, Message, Moment, Subject, encode_token};
use futures_util::StreamExt;
use journal::desk::dead_stream;
use journal::limits::{DEAD_PREFIX, DEAD_STREAM};
use journal::{AckPolicy, AckToken, Append, AppendError, ReadError, Retention, StreamError, answer};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::api::{API, Fault, call, nanos};
use crate::consumers::{Consumer, ask};
use crate::declared::keeps_dead_letters;
use crate::engine::{self, Shared};
use crate::flights::Mark;
use crate::limits::RETRY_PAUSE;
use crate::wire::{Anything, MaxDeliveries, Stream, moment};
use crate::{acks, reads, streams};

/// The engine's own stream of notices.
pub(crate) const NOTICES: &str = "TIDINGS_NOTICES";
const KEEPER: &str = "keeper";
const CAPTURED: &str = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>";

/// Longest reason that is kept, in characters: as the other engines have it.
const REASON_CHARS_MAX: usize = 512;
/// Notices that are taken up at a time.
const BATCH: u64 = 64;
/// What the server's clock may be behind ours.
const A_LITTLE: Duration = Duration::from_millis(50);
/// How long one pull waits.
const WAIT: Duration = Duration::from_secs(20);

/// Makes sure that notices are kept.
pub(crate) async fn ensure(shared: &Arc<Shared>) -> Result<(), Fault> {
    if shared.catalogue.has_notices() {
        return Ok(());
    }
    let stream = json!({
        "name": NOTICES, "description": "Notices of messages beyond their deliveries, until they are dead letters",
        "subjects": [CAPTURED], "retention": "workqueue", "storage": "file", "num_replicas": shared.replicas,
        "discard": "old", "max_msgs": 1_000_000, "max_consumers": -1,
    });
    let made: Result<Stream, Fault> = call(&shared.client, &format!("STREAM.CREATE.{NOTICES}"), &stream).await;
    match made {
        Err(fault) if fault.number() != 10058 => return Err(fault),
        _ => {}
    }
    let consumer = json!({
        "name": KEEPER, "durable_name": KEEPER, "ack_policy": "explicit", "deliver_policy": "all",
        "ack_wait": nanos(Duration::from_secs(30)), "max_deliver": -1, "replay_policy": "instant",
    });
    let body = json!({ "stream_name": NOTICES, "config": consumer, "action": "" });
    let made: Result<Anything, Fault> =
        call(&shared.client, &format!("CONSUMER.CREATE.{NOTICES}.{KEEPER}"), &body).await;
    made?;
    shared.catalogue.note_notices();
    Ok(())
}

/// Sets the keeper to work, as soon as there is something to keep.
pub(crate) fn start(shared: &Arc<Shared>) {
    let (weak, mut changes) = (Arc::downgrade(shared), shared.catalogue.watch());
    tokio::spawn(async move {
        while let Some(shared) = weak.upgrade() {
            if shared.catalogue.has_notices() {
                if let Err(error) = round(&shared).await {
                    debug!(%error, "cannot take up notices of undeliverable messages");
                    sleep(RETRY_PAUSE.1).await;
                }
            } else {
                drop(shared);
                if changes.changed().await.is_err() {
                    return;
                }
            }
        }
    });
}

/// Takes up notices until a pull's wait is over.
async fn round(shared: &Arc<Shared>) -> Result<(), String> {
    let inbox = shared.client.new_inbox();
    let mut answers = shared.client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
    let what = json!({ "batch": BATCH, "expires": nanos(WAIT) }).to_string().into_bytes();
    let subject = format!("{API}CONSUMER.MSG.NEXT.{NOTICES}.{KEEPER}");
    shared.client.publish_with_reply(subject, inbox, what.into()).await.map_err(|error| error.to_string())?;
    loop {
        let Ok(Some(wire)) = timeout(WAIT + WAIT / 2, answers.next()).await else {
            return Err(String::from("silence"));
        };
        match wire.status.map(|status| status.as_u16()) {
            None => {}
            Some(404 | 408) => return Ok(()),
            Some(status) => return Err(format!("status {status}")),
        }
        let Some(reply) = wire.reply else { continue };
        let body = match serde_json::from_slice::<MaxDeliveries>(&wire.payload) {
            Ok(notice) => match given_up(shared, &notice).await {
                Ok(()) => Bytes::from_static(b"+ACK"),
                Err(error) => {
                    warn!(%error, stream = notice.stream, consumer = notice.consumer, "a dead letter must wait");
                    Bytes::from_static(b"-NAK {\"delay\": 1000000000}")
                }
            },
            Err(_) => Bytes::from_static(b"+TERM"),
        };
        shared.client.publish(reply, body).await.map_err(|error| error.to_string())?;
    }
}

/// The server finds out that a message is beyond its deliveries when somebody pulls. So that its dead
/// letter does not wait for a user, the last wait is followed by a pull that can take nothing.
pub(crate) fn expect(shared: &Arc<Shared>, consumer: &Arc<Consumer>, mark: Mark) {
    let config = &consumer.config;
    let place = usize::try_from(mark.attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let wait = config.backoff.get(place).or(config.backoff.last()).copied().unwrap_or(config.ack_wait);
    let (shared, consumer) = (Arc::clone(shared), Arc::clone(consumer));
    tokio::spawn(async move {
        sleep(wait + A_LITTLE).await;
        let out = consumer.flights.lock().get(mark.seq).is_some_and(|flight| flight.attempt == mark.attempt);
        if out {
            let what = json!({ "batch": 1, "no_wait": true, "max_bytes": 1 }).to_string().into_bytes();
            let subject = format!("{API}CONSUMER.MSG.NEXT.{}.{}", consumer.stream, consumer.name);
            let request = Request::new().payload(what.into()).timeout(Some(A_LITTLE * 10));
            // Whatever it answers, it has looked.
            let _looked = shared.client.send_request(subject, request).await;
        }
    });
}

/// Records the dead letter of a notice.
async fn given_up(shared: &Arc<Shared>, notice: &MaxDeliveries) -> Result<(), String> {
    let (wire, consumer) = match ask(shared, &notice.stream, &notice.consumer).await {
        Ok(found) => found,
        Err(journal::ConsumerError::NotFound { .. } | journal::ConsumerError::NoStream(_)) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    // What was not declared here is not ours to keep.
    if keeps_dead_letters(&wire.config).is_none() {
        return Ok(());
    }
    let flight = consumer.flights.lock().get(notice.stream_seq);
    let last = Some(moment(&notice.timestamp)).filter(|time| *time != Moment::EPOCH);
    let letter = Letter {
        seq: notice.stream_seq,
        deliveries: notice.deliveries,
        reason: format!("delivered {} times without being acknowledged", notice.deliveries),
        first: flight.map(|flight| flight.first),
        last: flight.map(|flight| flight.last).or(last),
        consumer: Arc::clone(&consumer),
    };
    letter.keep(shared).await?;
    consumer.flights.lock().settle(notice.stream_seq);
    let lets_go = shared.catalogue.get(&notice.stream).is_some_and(|known| known.config.retention != Retention::Limits);
    if lets_go && consumer.config.ack != AckPolicy::None {
        let token = AckToken {
            stream: Arc::clone(&consumer.stream),
            consumer: Arc::clone(&consumer.name),
            tag: consumer.tag(),
            seq: notice.stream_seq,
            attempt: notice.deliveries,
            order: 0,
        };
        acks::say(shared, &token, Bytes::from_static(b"+ACK"), false).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// How many dead letters of a consumer are recorded.
pub(crate) async fn count(shared: &Shared, stream: &str, consumer: &str) -> u64 {
    if shared.catalogue.get(DEAD_STREAM).is_none() {
        return 0;
    }
    let subject = letters(stream, consumer);
    let what = json!({ "subjects_filter": subject });
    let asked: Result<Stream, Fault> = call(&shared.client, &format!("STREAM.INFO.{DEAD_STREAM}"), &what).await;
    asked.ok().and_then(|stream| stream.state.subjects?.get(&subject).copied()).unwrap_or(0)
}

fn letters(stream: &str, consumer: &str) -> String {
    format!("{DEAD_PREFIX}.{}.{}", encode_token(stream), encode_token(consumer))
}

/// A message that is given up.
pub(crate) struct Letter {
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) seq: u64,
    pub(crate) deliveries: u64,
    pub(crate) reason: String,
    pub(crate) first: Option<Moment>,
    pub(crate) last: Option<Moment>,
}

impl Letter {
    /// Records it, if the consumer wants that and the message is still there.
    pub(crate) async fn keep(&self, shared: &Arc<Shared>) -> Result<(), String> {
        let Consumer { stream, config, unkept, .. } = &*self.consumer;
        if !config.dead_letter {
            unkept.fetch_add(1, Ordering::AcqRel);
            return Ok(());
        }
        let stored = match reads::get(Arc::clone(shared), stream.to_string(), self.seq).await {
            Ok(stored) => stored,
            Err(ReadError::NoMessage | ReadError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        if shared.catalogue.get(DEAD_STREAM).is_none() {
            let config = dead_stream().map_err(|error| error.to_string())?;
            match streams::create(Arc::clone(shared), config).await {
                Ok(_) | Err(StreamError::Exists(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let (done, receipt) = answer(|| Err(AppendError::Closed(String::from("the engine is shutting down"))));
        engine::append(shared, self.written(stored.message), done);
        receipt.await.map(|_| ()).map_err(|error| error.to_string())
    }

    fn written(&self, message: Message) -> Append {
        let Consumer { stream, name, .. } = &*self.consumer;
        let line = |c: char| if c.is_control() { ' ' } else { c };
        let reason: String = self.reason.chars().take(REASON_CHARS_MAX).map(line).collect();
        let mut history = vec![
            ("Tidings-Dead-Stream", stream.to_string()),
            ("Tidings-Dead-Consumer", name.to_string()),
            ("Tidings-Dead-Subject", message.subject.to_string()),
            ("Tidings-Dead-Seq", self.seq.to_string()),
            ("Tidings-Dead-Deliveries", self.deliveries.to_string()),
            ("Tidings-Dead-Reason", reason),
        ];
        history.extend(self.first.map(|time| ("Tidings-Dead-First-Delivered", time.to_string())));
        history.extend(self.last.map(|time| ("Tidings-Dead-Last-Delivered", time.to_string())));
        let history = || history.iter().map(|(name, value)| (*name, value.as_str()));
        let all = Headers::from_pairs(message.headers.iter().chain(history()));
        let headers =
            all.or_else(|_| Headers::from_pairs(history().chain(std::iter::once(("Tidings-Dead-Headers", "dropped")))));
        let subject = Subject::parse(&letters(stream, name)).unwrap_or_else(|_| message.subject.clone());
        let id = format!("{stream}/{name}/{}/{}", self.consumer.tag(), self.seq);
        let headers = headers.unwrap_or_default();
        let message = Message { subject, reply: None, headers, payload: message.payload };
        Append { id: Some(Bytes::from(id)), ..Append::new(message) }
    }
}

//! Publishes to subjects that a stream captures: what their headers ask for, and their acknowledgement.
//!
//! # Invariants
//! - An acknowledgement is sent when the journal's receipt is there, and says what the receipt says.
//! - What the journal has no room for is kept, in order, and tried again: nothing is dropped. Sessions
//!   do not read while the port is pressed, so what is kept here is what they had read already.
//!
//! # Cost
//! A message without headers costs one append and one small reply; headers are read in one pass.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use door::{ConnectionId, Parcel, Principal, PublishError, Published, Way};
use event::{Message, Pattern, Subject};
use journal::limits::TTL_NEVER;
use journal::{Append, AppendError, Expect, Receipt, Rollup};
use parking_lot::Mutex;
use serde::Serialize;

use super::JetStream;
use super::batch::BatchHeaders;
use super::errors::{self as e, ApiError};
use super::known::Known;

/// How long until what the journal had no room for is tried again.
const AGAIN: Duration = Duration::from_millis(1);

/// A publish on its way.
#[derive(Clone)]
pub(super) struct Publish {
    pub(super) who: Principal,
    pub(super) way: Arc<Way>,
    pub(super) without: ConnectionId,
    pub(super) append: Append,
    /// The way of the acknowledgement, as it was when the message came.
    pub(super) answer: Option<Arc<Way>>,
}

/// What waits for room.
#[derive(Default)]
pub(super) struct Held {
    waiting: Mutex<BTreeMap<u64, Publish>>,
    next: AtomicU64,
    /// Whether anything waits, or is being tried again.
    some: AtomicBool,
    /// Whether the journal said, since this was last cleared, that it has no room.
    refused: AtomicBool,
}

/// What headers ask for.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) id: Option<Bytes>,
    pub(super) expect: Expect,
    pub(super) ttl: Option<Duration>,
    pub(super) rollup: Option<Rollup>,
    /// An increment of a counter, as text.
    pub(super) increment: Option<String>,
    pub(super) batch: Option<BatchHeaders>,
    /// When to publish again, and to where.
    pub(super) schedule: Option<String>,
    pub(super) schedule_target: String,
    /// What is wrong, to be said once it is known which stream it is.
    pub(super) wrong: Option<ApiError>,
}

/// Reads what headers ask for.
pub(super) fn read_headers(message: &Message) -> Asked {
    let mut asked = Asked::default();
    let mut subject = None;
    for (name, value) in message.headers.iter() {
        let Some(name) = name.strip_prefix("Nats-") else {
            continue;
        };
        let position = || value.parse::<u64>().unwrap_or(u64::MAX);
        match name {
            "Msg-Id" => asked.id = Some(Bytes::copy_from_slice(value.as_bytes())).filter(|id| !id.is_empty()),
            "Expected-Stream" => asked.expect.stream = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "Expected-Last-Sequence" => asked.expect.last = Some(position()),
            "Expected-Last-Subject-Sequence" => asked.expect.last_of_subject = Some(position()),
            "Expected-Last-Subject-Sequence-Subject" => subject = Some(value),
            "Expected-Last-Msg-Id" => asked.expect.last_id = Some(value.to_owned()).filter(|id| !id.is_empty()),
            "Rollup" if value.eq_ignore_ascii_case("sub") => asked.rollup = Some(Rollup::Subject),
            "Rollup" if value.eq_ignore_ascii_case("all") => asked.rollup = Some(Rollup::All),
            "Rollup" => asked.wrong = Some(ApiError::new(500, 10111, format!("rollup value invalid: {value:?}"))),
            "TTL" => match lifetime(value) {
                Some(ttl) => asked.ttl = Some(ttl).filter(|ttl| !ttl.is_zero()),
                None => asked.wrong = Some(e::TTL_INVALID),
            },
            "Incr" => asked.increment = Some(value.to_owned()),
            "Schedule" => asked.schedule = Some(value.to_owned()).filter(|pattern| !pattern.is_empty()),
            "Schedule-Target" => value.clone_into(&mut asked.schedule_target),
            "Batch-Id" => asked.batch.get_or_insert_default().id = value.to_owned(),
            "Batch-Sequence" => asked.batch.get_or_insert_default().seq = value.parse().ok(),
            "Batch-Commit" => asked.batch.get_or_insert_default().commit = Some(value.to_owned()),
            _ => {}
        }
    }
    match (subject, asked.expect.last_of_subject) {
        (Some(_), None) => asked.wrong = Some(e::EXPECTED_SUBJECT_ALONE),
        (Some(subject), Some(_)) => asked.expect.subject = Pattern::parse(subject).ok(),
        (None, _) => {}
    }
    asked.batch = asked.batch.filter(|batch| !batch.id.is_empty());
    asked
}

/// Reads a lifetime: seconds, a span such as `1h30m`, or `never`. `None`: it is none.
fn lifetime(text: &str) -> Option<Duration> {
    if text.eq_ignore_ascii_case("never") {
        return Some(TTL_NEVER);
    }
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    }
    let event::units::Span(span) = text.parse().ok()?;
    (span >= Duration::from_secs(1)).then(|| Duration::from_secs(span.as_secs()))
}

/// What an acknowledgement has beyond the receipt.
#[derive(Default)]
pub(super) struct Extra<'a> {
    pub(super) value: Option<&'a str>,
    pub(super) batch: Option<(&'a str, u64)>,
}

/// An acknowledgement. The name of a stream needs no escaping.
pub(super) fn acknowledgement(receipt: &Receipt, extra: &Extra<'_>) -> String {
    let mut text = String::with_capacity(receipt.stream.len() + 48);
    // Writing to a string does not fail.
    let _ = write!(text, "{{\"stream\":\"{}\",\"seq\":{}", receipt.stream, receipt.seq);
    if receipt.duplicate {
        text.push_str(",\"duplicate\":true");
    }
    if let Some(value) = extra.value {
        let _ = write!(text, ",\"val\":\"{value}\"");
    }
    if let Some((id, count)) = extra.batch {
        let _ = write!(text, ",\"batch\":{},\"count\":{count}", serde_json::Value::from(id));
    }
    text.push('}');
    text
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a ApiError,
    stream: &'a str,
    seq: u64,
}

impl JetStream {
    /// See [`JetStream::publish`].
    pub(super) fn take(self: &Arc<Self>, publish: Publish) {
        let message = &publish.append.message;
        if message.headers.is_empty() && !self.catalogue.some_special() {
            return self.record(publish);
        }
        self.take_special(publish);
    }

    /// A publish whose headers or stream may ask for something.
    fn take_special(self: &Arc<Self>, mut publish: Publish) {
        let message = &publish.append.message;
        let stream = self.port.captured_by(&message.subject);
        let known = stream.as_deref().and_then(|stream| self.catalogue.get(stream));
        let mut asked = read_headers(message);
        let wrong = asked.wrong.take().or_else(|| {
            let known = known.as_deref()?;
            check_special(known, message, &asked)
        });
        if let Some(error) = wrong {
            return self.refuse(message.reply.as_ref(), stream.as_deref().unwrap_or_default(), &error);
        }
        if let (Some(stream), Some(_)) = (&stream, &asked.batch) {
            let atomic = known.as_deref().is_some_and(|known| known.config.allow_atomic);
            return self.take_batch(publish, asked, stream, atomic);
        }
        let Asked { id, expect, ttl, rollup, increment, .. } = asked;
        let append = &mut publish.append;
        (append.id, append.expect, append.ttl, append.rollup) = (id, expect, ttl, rollup);
        match (&stream, increment) {
            (Some(stream), Some(by)) => self.take_increment(publish, &by, stream),
            _ => self.record(publish),
        }
    }

    /// Records a message, or keeps it until there is room.
    pub(super) fn record(self: &Arc<Self>, publish: Publish) {
        if self.held.some.load(Ordering::Acquire) {
            return self.hold(publish, None);
        }
        self.append(publish, None);
    }

    fn append(self: &Arc<Self>, publish: Publish, ticket: Option<u64>) {
        if publish.append.message.reply.is_some() && ticket.is_none() && self.port.has_room() {
            return self.append_once(publish);
        }
        let (again, own) = (publish.clone(), Arc::clone(self));
        let Publish { who, way, without, append, answer } = publish;
        self.port.publish_from(&who, without, Some(&way), append, move |outcome| match outcome {
            Err(PublishError::Journal(AppendError::Busy)) => own.hold(again, ticket),
            outcome => own.recorded(&again.append.message, answer.as_deref(), outcome),
        });
    }

    /// The same for a publisher that is told: while there is room, no copy is kept to try again. Where
    /// another took the room meanwhile, the publisher hears that the journal is busy.
    fn append_once(self: &Arc<Self>, publish: Publish) {
        let own = Arc::clone(self);
        let Publish { who, way, without, append, answer } = publish;
        let told = self.catalogue.some_special().then(|| append.message.clone());
        let named = match &told {
            Some(_) => None,
            None => Some((append.message.subject.clone(), append.message.reply.clone())),
        };
        self.port.publish_from(&who, without, Some(&way), append, move |outcome| {
            let message = told.or_else(|| {
                let (subject, reply) = named?;
                Some(Message { reply, ..Message::new(subject, Bytes::new()) })
            });
            if let Some(message) = message {
                own.recorded(&message, answer.as_deref(), outcome);
            }
        });
    }

    /// Keeps a message until there is room, in its place among the others.
    fn hold(self: &Arc<Self>, publish: Publish, ticket: Option<u64>) {
        self.held.refused.store(true, Ordering::Release);
        let mut waiting = self.held.waiting.lock();
        let ticket = ticket.unwrap_or_else(|| self.held.next.fetch_add(1, Ordering::Relaxed));
        waiting.insert(ticket, publish);
        let begins = !self.held.some.swap(true, Ordering::AcqRel);
        drop(waiting);
        if begins {
            let own = Arc::clone(self);
            self.spawn(async move { own.try_again().await });
        }
    }

    /// Tries what waits until nothing does.
    async fn try_again(self: Arc<Self>) {
        loop {
            tokio::time::sleep(AGAIN).await;
            self.held.refused.store(false, Ordering::Release);
            loop {
                let next = {
                    let mut waiting = self.held.waiting.lock();
                    if waiting.is_empty() {
                        self.held.some.store(false, Ordering::Release);
                        return;
                    }
                    waiting.pop_first()
                };
                let Some((ticket, publish)) = next else {
                    break;
                };
                self.append(publish, Some(ticket));
                if self.held.refused.load(Ordering::Acquire) {
                    break;
                }
            }
        }
    }

    /// Answers, and tells on, what became of a message.
    pub(super) fn recorded(
        self: &Arc<Self>,
        message: &Message,
        answer: Option<&Way>,
        outcome: Result<Published, PublishError>,
    ) {
        let reply = message.reply.as_ref();
        match outcome {
            Ok(Published::Recorded(receipt)) => {
                let known = self.catalogue.some_special().then(|| self.catalogue.get(&receipt.stream)).flatten();
                let again =
                    known.as_ref().and_then(|known| self.republish(known, message, receipt.seq, receipt.duplicate));
                let reply = reply.filter(|_| !known.is_some_and(|known| known.rest.no_ack));
                let Some(again) = again else {
                    if let Some(reply) = reply {
                        let text = acknowledgement(&receipt, &Extra::default());
                        self.answer_along(answer, reply, text.as_bytes());
                    }
                    return;
                };
                let (own, reply) = (Arc::clone(self), reply.cloned());
                self.record_again(again, move || own.acknowledge_publish(reply.as_ref(), &receipt, &Extra::default()));
            }
            Ok(Published::Delivered(_)) => {}
            Err(PublishError::Journal(AppendError::NoStream(_))) => {
                let Some(reply) = reply else {
                    return;
                };
                let headers = format!("Nats-Subject: {}\r\n", message.subject.as_str());
                let none = Parcel { status: "503", headers: headers.as_bytes(), ..Parcel::new(reply.as_str(), b"") };
                self.port.send(reply.as_str(), &none);
            }
            Err(error) => {
                let stream = self.port.captured_by(&message.subject);
                self.refuse(reply, stream.as_deref().unwrap_or_default(), &ApiError::of_publish(&error));
            }
        }
    }

    /// Sends an acknowledgement, where one is awaited.
    pub(super) fn acknowledge_publish(&self, reply: Option<&Subject>, receipt: &Receipt, extra: &Extra<'_>) {
        if let Some(reply) = reply {
            self.answer(reply, acknowledgement(receipt, extra).as_bytes());
        }
    }

    /// Sends a refusal, where an answer is awaited.
    pub(super) fn refuse(&self, reply: Option<&Subject>, stream: &str, error: &ApiError) {
        let Some(reply) = reply else {
            return;
        };
        if self.catalogue.get(stream).is_some_and(|known| known.rest.no_ack) {
            return;
        }
        let refusal = Refusal { error, stream, seq: 0 };
        self.answer(reply, &serde_json::to_vec(&refusal).unwrap_or_default());
    }
}

/// What a stream of this door does not take.
fn check_special(known: &Known, message: &Message, asked: &Asked) -> Option<ApiError> {
    let size = message.headers.as_block().len() + message.payload.len();
    let expects = asked.expect != Expect::default() || asked.rollup.is_some();
    match () {
        () if known.rest.max_msg_size > 0 && size > usize::try_from(known.rest.max_msg_size).unwrap_or(usize::MAX) => {
            Some(e::MESSAGE_TOO_LARGE)
        }
        () if asked.schedule.is_some() => check_schedule(known, message, asked),
        () if asked.increment.is_some() && !known.rest.allow_msg_counter => Some(e::INCR_DISABLED),
        () if asked.increment.is_some() && !message.payload.is_empty() => Some(e::INCR_PAYLOAD),
        () if asked.increment.is_some() && expects => Some(e::INCR_INVALID),
        () if asked.increment.is_none() && known.rest.allow_msg_counter => Some(e::INCR_MISSING),
        () => None,
    }
}

/// What is wrong with when a message is to be published again, and to where.
fn check_schedule(known: &Known, message: &Message, asked: &Asked) -> Option<ApiError> {
    let pattern = asked.schedule.as_deref()?;
    if !known.rest.allow_msg_schedules {
        return Some(e::SCHEDULES_DISABLED);
    }
    if pattern.strip_prefix("@at ").is_some_and(|time| event::Moment::parse(time.trim()).is_err()) {
        return Some(e::SCHEDULE_PATTERN);
    }
    let target = asked.schedule_target.as_str();
    let good = target != message.subject.as_str() && Subject::parse(target).is_ok() && known.config.captures(target);
    (!good).then_some(e::SCHEDULE_TARGET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_seconds_a_span_or_never() {
        for (text, expected) in [
            ("never", Some(TTL_NEVER)),
            ("5", Some(Duration::from_secs(5))),
            ("0", Some(Duration::ZERO)),
            ("1h30m", Some(Duration::from_secs(5400))),
            ("500ms", None),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(lifetime(text), expected, "{text}");
        }
    }

    #[test]
    fn an_acknowledgement_says_what_the_receipt_says() {
        let receipt = Receipt { stream: "S".into(), seq: 7, duplicate: true, proof: journal::Proof::Disk };
        let extra = Extra { value: Some("3"), batch: Some(("b\"", 2)) };
        let text = acknowledgement(&receipt, &extra);
        assert_eq!(text, r#"{"stream":"S","seq":7,"duplicate":true,"val":"3","batch":"b\"","count":2}"#);
    }
}

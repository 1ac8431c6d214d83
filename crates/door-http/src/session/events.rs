//! `POST /v1/events`: the CloudEvents intake; `GET /v1/events/{id}`: one event back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use door::{Principal, PublishError, Published};
use event::{Moment, Subject};
use journal::limits::PAGE_MESSAGES_MAX;
use journal::{Append, Read, Start, Stored};
use serde::Serialize;
use std::time::Duration;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use crate::codec::cloud::{self, Intake, Mode};
use crate::codec::declare::{DeliveredView, ReceiptView};
use crate::codec::message::{self, MessageView};
use crate::limits::{BATCH_BYTES_MAX, ENVELOPE_BYTES_MAX, FOLLOW_BYTES_MAX, SCAN_MESSAGES_MAX};
use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::call::{Call, json, json_bytes, lifetime, subject};

/// What became of one event: recorded, or handed only to those who listen now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Outcome {
    /// Recorded.
    Recorded(ReceiptView),
    /// Not recorded.
    Delivered(DeliveredView),
}

impl Outcome {
    pub(crate) fn of(published: Published, subject: Subject) -> Self {
        match published {
            Published::Recorded(receipt) => Outcome::Recorded(ReceiptView {
                stream: receipt.stream.as_ref().to_owned(),
                seq: receipt.seq,
                duplicate: receipt.duplicate,
                subject: subject.as_str().to_owned(),
            }),
            Published::Delivered(delivered) => Outcome::Delivered(DeliveredView { delivered }),
        }
    }

    pub(crate) fn response(&self) -> Response {
        match self {
            Outcome::Recorded(receipt) => json(StatusCode::CREATED, receipt),
            Outcome::Delivered(delivered) => json(StatusCode::ACCEPTED, delivered),
        }
    }
}

/// What became of a batch, in its order.
#[derive(Debug, Serialize, ToSchema)]
pub struct Outcomes {
    events: Vec<Outcome>,
}

/// Records an event, or a batch of them: the CloudEvents 1.0 HTTP binding.
///
/// Binary mode (`ce-` headers, data in the body), structured (`application/cloudevents+json`) and
/// batch (`application/cloudevents-batch+json`). Every event of a batch is judged before any is
/// recorded. An event whose `source` and `id` were recorded within the stream's window is a duplicate.
#[utoipa::path(post, path = "/v1/events", tag = "events",
    params(
        ("subject" = Option<String>, Query, description = "Routing subject; `events.` and the type if not given"),
        ("ttl" = Option<String>, Query, description = "Lifetime, such as `1h`"),
    ),
    request_body(content((Vec<u8> = "application/octet-stream"), (Object = "application/cloudevents+json"),
        (Vec<Object> = "application/cloudevents-batch+json"))),
    responses(
        (status = 201, description = "On disk: one receipt, or `events` with one for each of a batch", body = ReceiptView),
        (status = 202, description = "No stream captures it; handed to those who listen now", body = DeliveredView),
        (status = 400, description = "A faulty attribute, named", content_type = "application/problem+json"),
        (status = 413, description = "Too large", content_type = "application/problem+json"),
        (status = 415, description = "A format that is not spoken", content_type = "application/problem+json"),
        (status = 429, description = "Busy; Retry-After says when", content_type = "application/problem+json"),
        (status = 503, description = "Cannot write; Retry-After says when", content_type = "application/problem+json"),
    ))]
pub async fn post_events(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    let query = call.query(&["subject", "ttl"], &[])?;
    let (named, ttl) = (query.text("subject").map(subject).transpose()?, lifetime(&query)?);
    let payload_max = door.port.limits().payload_bytes_max;
    let envelope_max = payload_max.saturating_add(payload_max / 3).saturating_add(ENVELOPE_BYTES_MAX);
    let intake = match cloud::mode(call.headers())? {
        Mode::Binary => {
            let body = call.body(payload_max).await?;
            cloud::binary(call.headers(), body)?
        }
        Mode::Structured => {
            let body = call.body(envelope_max).await?;
            cloud::structured(&body)?
        }
        Mode::Batch => {
            let body = call.body(envelope_max.max(BATCH_BYTES_MAX)).await?;
            return record_batch(&door, &call.who, cloud::batch(&body)?, named.as_ref(), ttl).await;
        }
    };
    let append = append(intake, named.as_ref(), ttl)?;
    let subject = append.message.subject.clone();
    let published = door.port.publish(&call.who, append).await?;
    Ok(Outcome::of(published, subject).response())
}

fn append(intake: Intake, named: Option<&Subject>, ttl: Option<Duration>) -> Result<Append, Problem> {
    let refused = |error| Problem::event(&error);
    let subject = match named {
        Some(subject) => subject.clone(),
        None => intake.event.routing_subject().map_err(refused)?,
    };
    let id = intake.message_id();
    let message = intake.into_message(subject).map_err(refused)?;
    Ok(Append { id: Some(id), ttl, ..Append::new(message) })
}

async fn record_batch(
    door: &Shared,
    who: &Principal,
    batch: Vec<Intake>,
    named: Option<&Subject>,
    ttl: Option<Duration>,
) -> Result<Response, Problem> {
    let max = door.port.limits().payload_bytes_max;
    let mut appends = Vec::with_capacity(batch.len());
    for (index, intake) in batch.into_iter().enumerate() {
        let append = append(intake, named, ttl).map_err(|problem| problem.at(index))?;
        door.port.may_publish(who, &append.message.subject).map_err(|error| Problem::from(error).at(index))?;
        let size = append.message.payload.len();
        if size > max {
            return Err(Problem::from(PublishError::PayloadTooLarge { size, max }).at(index));
        }
        appends.push(append);
    }
    let mut answers = Vec::with_capacity(appends.len());
    for append in appends {
        let (sender, receiver) = oneshot::channel();
        let subject = append.message.subject.clone();
        door.port.publish_then(who, append, move |outcome| {
            // Whoever left does not want to know.
            let _unwanted = sender.send(outcome);
        });
        answers.push((subject, receiver));
    }
    let mut events = Vec::with_capacity(answers.len());
    let mut fault: Option<Problem> = None;
    for (index, (subject, receiver)) in answers.into_iter().enumerate() {
        match receiver.await {
            Ok(Ok(published)) => events.push(Outcome::of(published, subject)),
            Ok(Err(error)) => _ = fault.get_or_insert_with(|| Problem::from(error).at(index)),
            Err(_) => _ = fault.get_or_insert_with(|| Problem::closed("the journal gave it up").at(index)),
        }
    }
    match fault {
        // The rest may be sent again as it is: what was recorded is a duplicate then.
        Some(problem) => Err(problem.with("recorded", events.len())),
        None => Ok(json(StatusCode::CREATED, &Outcomes { events })),
    }
}

/// The message of an event, by the event's id.
///
/// Looks through a stream from a moment on, at most 2,000,000 messages.
#[utoipa::path(get, path = "/v1/events/{id}", tag = "events",
    params(
        ("id" = String, Path, description = "The event's id"),
        ("source" = Option<String>, Query, description = "The event's source, where an id is not enough"),
        ("since" = Option<String>, Query, description = "RFC 3339, or a duration back, such as `1h`"),
        ("stream" = Option<String>, Query, description = "The stream; EVENTS if not given"),
    ),
    responses(
        (status = 200, description = "The message", body = MessageView),
        (status = 404, description = "Not found, or not within reach", content_type = "application/problem+json"),
    ))]
pub async fn get_event(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["source", "since", "stream"], &[])?;
    let stream = query.text("stream").unwrap_or(&door.options.event_stream);
    let since = query.moment("since", door.port.now())?;
    let stored = find(&door, &call.who, stream, call.param("id"), query.text("source"), since).await?;
    let mut out = Vec::new();
    message::message(&mut out, stream, &stored);
    Ok(json_bytes(StatusCode::OK, out))
}

async fn find(
    door: &Shared,
    who: &Principal,
    stream: &str,
    id: &str,
    source: Option<&str>,
    since: Option<Moment>,
) -> Result<Stored, Problem> {
    let mut read = Read::from(1, PAGE_MESSAGES_MAX);
    read.bytes = FOLLOW_BYTES_MAX;
    read.start = since.map_or(Start::Seq(1), Start::Time);
    let mut looked = 0;
    let is = |stored: &Stored, name: &str, wanted: &str| {
        stored.message.headers.get(name).is_some_and(|value| event::cloud::decode_value(value) == wanted)
    };
    while looked < SCAN_MESSAGES_MAX {
        let page = door.port.read(who, stream, read.clone()).await?;
        looked += page.messages.len() as u64;
        let found = page
            .messages
            .into_iter()
            .find(|stored| is(stored, "ce-id", id) && source.is_none_or(|source| is(stored, "ce-source", source)));
        if let Some(stored) = found {
            return Ok(stored);
        }
        if page.next > page.last {
            let detail = format!("no event with this id is among the {looked} messages that were looked through");
            return Err(Problem::no_message(detail).with("looked", looked));
        }
        read.start = Start::Seq(page.next);
    }
    let detail = format!("not among the first {looked} messages; say with 'since' where to begin");
    Err(Problem::no_message(detail).with("looked", looked))
}

//! `/v1/streams/{stream}/messages`: reading, following, and removing one.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use event::Pattern;
use journal::limits::{PAGE_MESSAGES_MAX, WAIT_MAX};
use journal::{Page, Read, Start, Stored};

use crate::codec::message::{MessageView, PageView};
use crate::codec::query::Query;
use crate::codec::{cloud, kept, message};
use crate::limits::{LIST_BYTES_MAX, LIST_DEFAULT};
use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::call::{Call, json_bytes};
use crate::session::caller::Caller;
use crate::session::follow::{self, Follow};

const LIST_PARAMETERS: [&str; 6] = ["from", "since", "limit", "wait", "last_per_subject", "last_event_id"];

#[derive(Clone, Copy)]
enum Form {
    Json,
    Batch,
    Follow,
}

/// Reads a stream, or follows it.
///
/// As JSON a page of messages; as `application/cloudevents-batch+json` the events of that page; as
/// `text/event-stream` everything from there on, as it comes, resumed by `Last-Event-ID`.
#[utoipa::path(get, path = "/v1/streams/{stream}/messages", tag = "messages",
    params(
        ("stream" = String, Path, description = "The stream"),
        ("from" = Option<String>, Query, description = "A position, or `new`; the first if not given"),
        ("since" = Option<String>, Query, description = "RFC 3339, or a duration back, such as `1h`; not with `from`"),
        ("filter" = Option<Vec<String>>, Query, description = "Only subjects that one of these patterns matches"),
        ("limit" = Option<u64>, Query, description = "At most so many; 100 if not given; following: no end"),
        ("wait" = Option<String>, Query, description = "How long to wait for the first message, such as `10s`"),
        ("last_per_subject" = Option<bool>, Query, description = "Only the last message of each subject; following: those first"),
        ("last_event_id" = Option<u64>, Query, description = "As the header Last-Event-ID: after this position"),
    ),
    responses(
        (status = 200, description = "A page, or what follows", content(
            (PageView = "application/json"), (Vec<Object> = "application/cloudevents-batch+json"),
            (String = "text/event-stream"))),
        (status = 403, description = "Filters that the token does not allow", content_type = "application/problem+json"),
        (status = 404, description = "There is no such stream", content_type = "application/problem+json"),
        (status = 406, description = "Nothing acceptable", content_type = "application/problem+json"),
    ))]
pub async fn get_messages(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&LIST_PARAMETERS, &["filter"])?;
    let offered = [("application/json", Form::Json), (cloud::BATCH, Form::Batch), ("text/event-stream", Form::Follow)];
    let form = call.accepts(&offered)?;
    let (start, filters) = (start(&query, call.headers(), &door)?, query.patterns("filter")?);
    let limit = query.count("limit", PAGE_MESSAGES_MAX)?;
    let (wait, last_per_subject) = (query.span("wait")?, query.flag("last_per_subject")?);
    let stream = call.param("stream").to_owned();
    if let Form::Follow = form {
        // What is refused is refused before the body begins.
        let probe = Read { filters: filters.clone(), bytes: 1, ..Read::from(u64::MAX, 1) };
        door.port.read(&call.who, &stream, probe).await?;
        let remaining = limit.map(|limit| limit as u64);
        let caller = Caller::of(&door, &call)?;
        let follow = Follow { door: door.clone(), caller, stream, filters, start, last_per_subject, remaining };
        return Ok(follow::response(follow::body(follow)));
    }
    let limit = limit.unwrap_or(LIST_DEFAULT);
    let wait = wait.map(|wait| wait.min(WAIT_MAX));
    let read = Read { start, filters, last_per_subject, until: None, limit, bytes: LIST_BYTES_MAX, wait };
    let page = tokio::select! {
        biased;
        page = door.port.read(&call.who, &stream, read) => page?,
        () = door.options.shutdown.cancelled() => return Err(Problem::closed("the node is shutting down")),
    };
    let mut out = Vec::new();
    if let Form::Json = form {
        message::page(&mut out, &stream, &page);
        return Ok(json_bytes(StatusCode::OK, out));
    }
    let skipped = message::batch(&mut out, &page);
    Ok(batch_response(&page, skipped, out))
}

fn batch_response(page: &Page, skipped: usize, out: Vec<u8>) -> Response {
    let headers = [
        ("tidings-next", HeaderValue::from(page.next)),
        ("tidings-last", HeaderValue::from(page.last)),
        ("tidings-skipped", HeaderValue::from(skipped)),
        ("tidings-damaged", HeaderValue::from(page.damaged.len())),
        ("content-type", HeaderValue::from_static(cloud::BATCH)),
    ];
    (headers.map(|(name, value)| (HeaderName::from_static(name), value)), out).into_response()
}

fn start(query: &Query<'_>, headers: &HeaderMap, door: &Shared) -> Result<Start, Problem> {
    let told = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    if let Some(text) = query.text("last_event_id").or(told).filter(|text| !text.is_empty()) {
        let last: u64 = text.parse().map_err(|_| Problem::query("last_event_id", "must be a position"))?;
        return Ok(Start::Seq(last.saturating_add(1)));
    }
    match (query.text("from"), query.moment("since", door.port.now())?) {
        (Some(_), Some(_)) => Err(Problem::query("since", "cannot be given together with 'from'")),
        (None, Some(moment)) => Ok(Start::Time(moment)),
        (None, None) => Ok(Start::Seq(1)),
        (Some("new"), None) => Ok(Start::New),
        (Some(text), None) => {
            let wrong = || Problem::query("from", "must be a position, or 'new'");
            text.parse().map(Start::Seq).map_err(|_| wrong())
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum One {
    Json,
    Structured,
    Raw,
}

/// One message.
///
/// As JSON; as `application/cloudevents+json` the event in it; as `application/octet-stream`, or with
/// `raw=true`, its payload, with its headers as the response's: the binary mode of CloudEvents.
#[utoipa::path(get, path = "/v1/streams/{stream}/messages/{seq}", tag = "messages",
    params(
        ("stream" = String, Path, description = "The stream"),
        ("seq" = u64, Path, description = "The position"),
        ("raw" = Option<bool>, Query, description = "The payload, and the headers as headers"),
    ),
    responses(
        (status = 200, description = "The message", content(
            (MessageView = "application/json"), (Object = "application/cloudevents+json"),
            (Vec<u8> = "application/octet-stream"))),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
    ))]
pub async fn get_message(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let raw = call.query(&["raw"], &[])?.flag("raw")?;
    let (stream, seq) = (call.param("stream"), call.seq()?);
    let offered =
        [("application/json", One::Json), (cloud::STRUCTURED, One::Structured), ("application/octet-stream", One::Raw)];
    let form = if raw { One::Raw } else { call.accepts(&offered)? };
    let stored = door.port.get(&call.who, stream, seq).await?;
    let mut out = Vec::new();
    match form {
        One::Raw => return Ok(raw_response(stream, &stored)),
        One::Json => message::message(&mut out, stream, &stored),
        One::Structured => {
            if !message::event(&mut out, &stored.message) {
                let detail = "the message carries no event; known are: application/json, application/octet-stream";
                return Err(Problem::not_acceptable("").detailed(detail));
            }
            return Ok(([(header::CONTENT_TYPE, cloud::STRUCTURED)], out).into_response());
        }
    }
    Ok(json_bytes(StatusCode::OK, out))
}

fn raw_response(stream: &str, stored: &Stored) -> Response {
    let mut response = stored.message.payload.clone().into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    kept::give(&stored.message, headers);
    if !headers.contains_key(header::CONTENT_TYPE) && !headers.contains_key("ce-specversion") {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    for (name, value) in [
        ("tidings-stream", stream),
        ("tidings-seq", &stored.seq.to_string()),
        ("tidings-time", &stored.time.to_string()),
        ("tidings-subject", stored.message.subject.as_str()),
    ] {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    // A stranger's bytes must not become a page of this origin.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response
}

/// Removes one message.
#[utoipa::path(delete, path = "/v1/streams/{stream}/messages/{seq}", tag = "messages",
    params(("stream" = String, Path, description = "The stream"), ("seq" = u64, Path, description = "The position")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 409, description = "The stream denies it", content_type = "application/problem+json"),
    ))]
pub async fn delete_message(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    door.port.delete(&call.who, call.param("stream"), call.seq()?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The last message of a stream, or of the subjects that a pattern matches.
#[utoipa::path(get, path = "/v1/streams/{stream}/last", tag = "messages",
    params(
        ("stream" = String, Path, description = "The stream"),
        ("filter" = Option<String>, Query, description = "A pattern; everything if not given"),
    ),
    responses(
        (status = 200, description = "The message", body = MessageView),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
    ))]
pub async fn get_last(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let pattern = call.query(&["filter"], &[])?.patterns("filter")?.pop().unwrap_or_else(Pattern::all);
    let stored = door.port.last(&call.who, call.param("stream"), &pattern).await?;
    let mut out = Vec::new();
    message::message(&mut out, call.param("stream"), &stored);
    Ok(json_bytes(StatusCode::OK, out))
}

//! `POST /v1/publish/{subject}`: any bytes to any subject; `GET /v1/subscribe`: what is published now.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use door::{Heard, Subscription};
use event::{Message, Pattern};
use futures_util::stream;
use journal::{Append, Expect};
use std::convert::Infallible;

use crate::codec::declare::{DeliveredView, ReceiptView};
use crate::codec::{kept, message};
use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::call::{Call, lifetime, or_all, subject};
use crate::session::caller::Caller;
use crate::session::events::Outcome;
use crate::session::follow;

const EXPECTATIONS: [&str; 7] =
    ["id", "ttl", "expect_stream", "expect_last", "expect_last_of_subject", "expect_subject", "expect_last_id"];

/// Publishes any bytes to a subject.
///
/// The request's headers are kept with the message, save those that are about the connection, the
/// transport or credentials.
#[utoipa::path(post, path = "/v1/publish/{subject}", tag = "messages",
    params(
        ("subject" = String, Path, description = "The subject"),
        ("id" = Option<String>, Query, description = "Message id: a second one within the window is a duplicate"),
        ("ttl" = Option<String>, Query, description = "Lifetime, such as `1h`"),
        ("expect_stream" = Option<String>, Query, description = "The stream that must capture it"),
        ("expect_last" = Option<u64>, Query, description = "The stream's last position"),
        ("expect_last_of_subject" = Option<u64>, Query, description = "The last position of the subject"),
        ("expect_subject" = Option<String>, Query, description = "The pattern that `expect_last_of_subject` speaks of"),
        ("expect_last_id" = Option<String>, Query, description = "The last message id"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "On disk", body = ReceiptView),
        (status = 202, description = "No stream captures it; handed to those who listen now", body = DeliveredView),
        (status = 400, description = "A faulty subject or parameter", content_type = "application/problem+json"),
        (status = 404, description = "No stream captures it and nobody listens", content_type = "application/problem+json"),
        (status = 412, description = "A precondition does not hold", content_type = "application/problem+json"),
        (status = 413, description = "Too large", content_type = "application/problem+json"),
        (status = 429, description = "Busy, or the stream is full", content_type = "application/problem+json"),
        (status = 503, description = "Cannot write", content_type = "application/problem+json"),
    ))]
pub async fn post_publish(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    let subject = subject(call.param("subject"))?;
    let (id, ttl, expect) = expectations(&call)?;
    door.port.may_publish(&call.who, &subject)?;
    let headers = kept::keep(call.headers())?;
    let payload = call.body(door.port.limits().payload_bytes_max).await?;
    let message = Message { subject: subject.clone(), reply: None, headers, payload };
    let published = door.port.publish(&call.who, Append { id, expect, ttl, ..Append::new(message) }).await?;
    Ok(Outcome::of(published, subject).response())
}

type Conditions = (Option<Bytes>, Option<std::time::Duration>, Expect);

fn expectations(call: &Call) -> Result<Conditions, Problem> {
    let query = call.query(&EXPECTATIONS, &[])?;
    let expect = Expect {
        stream: query.text("expect_stream").map(ToOwned::to_owned),
        last: query.number("expect_last")?,
        last_of_subject: query.number("expect_last_of_subject")?,
        subject: query.patterns("expect_subject")?.pop(),
        last_id: query.text("expect_last_id").map(ToOwned::to_owned),
    };
    if expect.subject.is_some() && expect.last_of_subject.is_none() {
        return Err(Problem::query("expect_subject", "needs expect_last_of_subject"));
    }
    let id = query.text("id").map(|text| Bytes::copy_from_slice(text.as_bytes()));
    if id.as_ref().is_some_and(Bytes::is_empty) {
        return Err(Problem::query("id", "must not be empty"));
    }
    Ok((id, lifetime(&query)?, expect))
}

/// What is published from now on, as server-sent events, recorded or not.
///
/// Never slows a publisher: what a slow client has no room for is dropped, and `event: dropped` tells
/// how many. For what must not be lost, follow a stream or use a consumer.
#[utoipa::path(get, path = "/v1/subscribe", tag = "messages",
    params(("subject" = Vec<String>, Query, description = "Patterns; everything if not given")),
    responses(
        (status = 200, description = "`event: message`, `event: dropped`", content_type = "text/event-stream"),
        (status = 403, description = "A pattern that the token does not allow", content_type = "application/problem+json"),
    ))]
pub async fn get_subscribe(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let patterns = or_all(call.query(&[], &["subject"])?.patterns("subject")?);
    call.accepts(&[("text/event-stream", ())])?;
    let caller = Caller::of(&door, &call)?;
    let subscription = door.port.subscribe(caller.who(), &patterns)?;
    let ear = Some((Ear { door, caller, patterns, subscription }, true));
    let heard = stream::unfold(ear, |ear| async move {
        let (mut ear, first) = ear?;
        let heard = if first { Ok(Some(follow::hello())) } else { ear.listen().await };
        match heard {
            Ok(bytes) => Some((Ok::<_, Infallible>(bytes?), Some((ear, false)))),
            Err(problem) => Some((Ok(follow::failure(&problem)), None)),
        }
    });
    Ok(follow::response(Body::from_stream(heard)))
}

/// Who hears what is published.
struct Ear {
    door: Shared,
    caller: Caller,
    patterns: Vec<Pattern>,
    subscription: Subscription,
}

impl Ear {
    /// The next piece of the body; `None`: it is over.
    async fn listen(&mut self) -> Result<Option<Bytes>, Problem> {
        tokio::select! {
            biased;
            () = self.door.options.shutdown.cancelled() => Ok(None),
            changed = self.caller.changed() => {
                changed?;
                self.door.port.judge(self.caller.who(), &self.patterns, &mut self.subscription)?;
                Ok(Some(Bytes::from_static(message::HEARTBEAT)))
            }
            heard = self.subscription.next() => Ok(heard.map(|heard| match heard {
                Heard::Message(heard) => {
                    let mut out = Vec::new();
                    message::sse(&mut out, None, "message", |out| message::live(out, &heard));
                    out.into()
                }
                Heard::Dropped(count) => dropped(count),
            })),
            () = tokio::time::sleep(self.door.options.heartbeat) => Ok(Some(Bytes::from_static(message::HEARTBEAT))),
        }
    }
}

fn dropped(count: u64) -> Bytes {
    let (mut out, json) = (Vec::new(), format!("{{\"dropped\":{count}}}"));
    message::sse(&mut out, None, "dropped", |out| out.extend_from_slice(json.as_bytes()));
    out.into()
}

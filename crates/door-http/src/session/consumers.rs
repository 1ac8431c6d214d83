//! `/v1/streams/{stream}/consumers`: declaring consumers, pulling, and answering deliveries.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use door::{Deliveries, Principal};
use futures_util::stream;
use journal::limits::WAIT_MAX;
use journal::{Ack, AckError, AckToken, Delivery, Fetch, FetchEnd};

use crate::codec::declare::{
    self, Acknowledged, ConsumerDeclaration, ConsumerList, ConsumerView, FetchRequest, PauseRequest, TokenFault,
    TokensRequest,
};
use crate::codec::message::{self, FetchedView};
use crate::limits::{FETCH_BYTES_MAX, FETCH_DEFAULT, PUSH_MESSAGES_MAX, TOKENS_MAX};
use crate::problem::{Problem, ack_slug};
use crate::serve::Shared;
use crate::session::call::{Call, json, json_bytes};
use crate::session::caller::Caller;
use crate::session::follow;

/// Every consumer of a stream.
#[utoipa::path(get, path = "/v1/streams/{stream}/consumers", tag = "consumers",
    params(("stream" = String, Path, description = "The stream")),
    responses((status = 200, description = "The consumers, by name", body = ConsumerList)))]
pub async fn list_consumers(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let consumers = door.port.consumers(&call.who, call.param("stream")).await?;
    Ok(json(StatusCode::OK, &ConsumerList { consumers: consumers.into_iter().map(ConsumerView::from).collect() }))
}

/// One consumer.
#[utoipa::path(get, path = "/v1/streams/{stream}/consumers/{consumer}", tag = "consumers",
    params(("stream" = String, Path, description = "The stream"), ("consumer" = String, Path, description = "The consumer")),
    responses(
        (status = 200, description = "The consumer", body = ConsumerView),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
    ))]
pub async fn get_consumer(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let info = door.port.consumer_info(&call.who, call.param("stream"), call.param("consumer")).await?;
    Ok(json(StatusCode::OK, &ConsumerView::from(info)))
}

/// Creates a consumer, or changes it. What is left out takes its default, also in a change.
#[utoipa::path(put, path = "/v1/streams/{stream}/consumers/{consumer}", tag = "consumers",
    params(("stream" = String, Path, description = "The stream"), ("consumer" = String, Path, description = "The consumer")),
    request_body = ConsumerDeclaration,
    responses(
        (status = 200, description = "Changed", body = ConsumerView),
        (status = 201, description = "Created", body = ConsumerView),
        (status = 400, description = "A faulty field, named", content_type = "application/problem+json"),
        (status = 404, description = "There is no such stream", content_type = "application/problem+json"),
    ))]
pub async fn put_consumer(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let bytes = call.json_bytes().await?;
    let declared: ConsumerDeclaration = declare::body(if bytes.is_empty() { b"{}" } else { &bytes })?;
    let config = declared.named(call.param("consumer"))?;
    let (info, created) = door.port.consumer_put(&call.who, call.param("stream"), config).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &ConsumerView::from(info)))
}

/// Deletes a consumer; its fetches end.
#[utoipa::path(delete, path = "/v1/streams/{stream}/consumers/{consumer}", tag = "consumers",
    params(("stream" = String, Path, description = "The stream"), ("consumer" = String, Path, description = "The consumer")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
    ))]
pub async fn delete_consumer(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    door.port.consumer_delete(&call.who, call.param("stream"), call.param("consumer")).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Delivers nothing until a moment, or for a duration; without either, resumes.
#[utoipa::path(post, path = "/v1/streams/{stream}/consumers/{consumer}/pause", tag = "consumers",
    params(("stream" = String, Path, description = "The stream"), ("consumer" = String, Path, description = "The consumer")),
    request_body = Option<PauseRequest>,
    responses((status = 200, description = "The consumer", body = ConsumerView)))]
pub async fn post_pause(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let request = call.json::<Option<PauseRequest>>().await?.unwrap_or_default();
    let until = match (request.until, request.span) {
        (Some(_), Some(_)) => return Err(Problem::field("for", "cannot be given together with 'until'")),
        (until, None) => until,
        (None, Some(span)) => Some(door.port.now().after(span)),
    };
    let info = door.port.consumer_pause(&call.who, call.param("stream"), call.param("consumer"), until).await?;
    Ok(json(StatusCode::OK, &ConsumerView::from(info)))
}

/// Pulls messages from a consumer.
///
/// As JSON one batch; as `text/event-stream` a push that goes on until the client leaves. What was
/// not handed to a client that left is delivered to another at once.
#[utoipa::path(post, path = "/v1/streams/{stream}/consumers/{consumer}/fetch", tag = "consumers",
    params(("stream" = String, Path, description = "The stream"), ("consumer" = String, Path, description = "The consumer")),
    request_body = FetchRequest,
    responses(
        (status = 200, description = "The deliveries", content(
            (FetchedView = "application/json"), (String = "text/event-stream"))),
        (status = 404, description = "There is no such consumer", content_type = "application/problem+json"),
        (status = 429, description = "Too many fetches wait", content_type = "application/problem+json"),
    ))]
pub async fn post_fetch(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let push = call.accepts(&[("application/json", false), ("text/event-stream", true)])?;
    let request: FetchRequest = call.json().await?;
    let (stream, consumer) = (call.param("stream").to_owned(), call.param("consumer").to_owned());
    let batch = request.batch.unwrap_or(if push { PUSH_MESSAGES_MAX } else { FETCH_DEFAULT });
    let bytes = Some(request.max_bytes.unwrap_or(FETCH_BYTES_MAX).min(FETCH_BYTES_MAX));
    if push {
        let (batch, caller) = (batch.min(PUSH_MESSAGES_MAX), Caller::of(&door, &call)?);
        let fetch = Fetch { batch, bytes, wait: Some(door.options.heartbeat), ..Fetch::default() };
        let mut push = Push { door, caller, stream, consumer, fetch, deliveries: None, hello: true };
        push.renew().await?;
        return Ok(follow::response(push.body()));
    }
    let fetch = Fetch { batch, bytes, wait: request.wait.map(|wait| wait.min(WAIT_MAX)), ..Fetch::default() };
    let work = fetched(&door, &call.who, &stream, &consumer, fetch, request.max_bytes.is_none());
    let (messages, end) = tokio::select! {
        biased;
        fetched = work => fetched?,
        () = door.options.shutdown.cancelled() => return Err(Problem::closed("the node is shutting down")),
    };
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"messages\":[");
    for (place, delivery) in messages.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        message::delivery(&mut out, delivery);
    }
    out.extend_from_slice(b"],\"end\":");
    message::string(&mut out, end_name(&end));
    out.push(b'}');
    Ok(json_bytes(StatusCode::OK, out))
}

async fn fetched(
    door: &Shared,
    who: &Principal,
    stream: &str,
    consumer: &str,
    fetch: Fetch,
    any_size: bool,
) -> Result<(Vec<Delivery>, FetchEnd), Problem> {
    let once = async |fetch| -> Result<(Vec<Delivery>, FetchEnd), Problem> {
        let (messages, end) = door.port.fetch(who, stream, consumer, fetch).await?.collect().await;
        match end {
            FetchEnd::Failed(error) if messages.is_empty() => Err(error.into()),
            FetchEnd::ConsumerDeleted if messages.is_empty() => {
                Err(journal::FetchError::NotFound { stream: stream.into(), name: consumer.into() }.into())
            }
            end => Ok((messages, end)),
        }
    };
    let (messages, end) = once(fetch).await?;
    if any_size && end == FetchEnd::Bytes && messages.is_empty() {
        // The door's own limit must not hide a message that is larger than it.
        return once(Fetch { batch: 1, bytes: None, wait: None, ..Fetch::default() }).await;
    }
    Ok((messages, end))
}

fn end_name(end: &FetchEnd) -> &'static str {
    match end {
        FetchEnd::Full => "full",
        FetchEnd::Expired => "expired",
        FetchEnd::Bytes => "bytes",
        FetchEnd::ConsumerDeleted => "consumer_deleted",
        FetchEnd::Closed | FetchEnd::WrongPin => "closed",
        FetchEnd::Failed(_) => "failed",
    }
}

/// A push: one fetch after another, each begun when the client has taken what the last one gave.
struct Push {
    door: Shared,
    caller: Caller,
    stream: String,
    consumer: String,
    fetch: Fetch,
    deliveries: Option<Deliveries>,
    hello: bool,
}

impl Push {
    fn body(self) -> Body {
        let steps = stream::unfold(Some(Box::new(self)), |push| async move {
            let mut push = push?;
            let door = push.door.clone();
            let step = tokio::select! {
                biased;
                () = door.options.shutdown.cancelled() => return None,
                step = push.step() => step,
            };
            match step {
                Ok(bytes) => Some((Ok::<_, Infallible>(bytes), Some(push))),
                Err(problem) => Some((Ok(follow::failure(&problem)), None)),
            }
        });
        Body::from_stream(steps)
    }

    async fn renew(&mut self) -> Result<(), Problem> {
        let fetch = self.fetch.clone();
        self.deliveries = Some(self.door.port.fetch(self.caller.who(), &self.stream, &self.consumer, fetch).await?);
        Ok(())
    }

    async fn step(&mut self) -> Result<Bytes, Problem> {
        if std::mem::take(&mut self.hello) {
            return Ok(follow::hello());
        }
        loop {
            if self.deliveries.is_none() {
                self.renew().await?;
            }
            let Some(deliveries) = &mut self.deliveries else { continue };
            let next = tokio::select! {
                biased;
                changed = self.caller.changed() => {
                    changed?;
                    // What it holds goes back, and who asks is judged anew.
                    self.deliveries = None;
                    continue;
                }
                next = deliveries.next() => next,
            };
            if let Some(delivery) = next {
                let mut out = Vec::new();
                let seq = delivery.stored.seq;
                message::sse(&mut out, Some(seq), "message", |out| message::delivery(out, &delivery));
                return Ok(out.into());
            }
            let Some(ended) = self.deliveries.take() else { continue };
            match ended.end().await {
                FetchEnd::Full | FetchEnd::Closed | FetchEnd::WrongPin => {}
                FetchEnd::Expired => return Ok(Bytes::from_static(message::HEARTBEAT)),
                // The door's own limit must not hide a message that is larger than it.
                FetchEnd::Bytes => {
                    let one = Fetch { batch: 1, bytes: None, wait: Some(Duration::ZERO), ..Fetch::default() };
                    let deliveries = self.door.port.fetch(self.caller.who(), &self.stream, &self.consumer, one).await?;
                    self.deliveries = Some(deliveries);
                }
                FetchEnd::ConsumerDeleted => return Err(Problem::no_message("the consumer was deleted")),
                FetchEnd::Failed(error) => return Err(error.into()),
            }
        }
    }
}

/// Acknowledges deliveries: they are done with.
#[utoipa::path(post, path = "/v1/streams/{stream}/consumers/{consumer}/ack", tag = "consumers",
    params(("stream" = String, Path, description = "The stream"), ("consumer" = String, Path, description = "The consumer")),
    request_body = TokensRequest,
    responses(
        (status = 200, description = "All were taken", body = Acknowledged),
        (status = 207, description = "Some were not; `errors` says which and why", body = Acknowledged),
        (status = 409, description = "The one was not", content_type = "application/problem+json"),
    ))]
pub async fn post_ack(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    let request = tokens(&mut call, &["sync"]).await?;
    let sync = request.sync;
    acknowledge(&door, (&call.who, call.param("stream"), call.param("consumer")), request, &Ack::Done, sync).await
}

/// Gives deliveries back, to be made again.
#[utoipa::path(post, path = "/v1/streams/{stream}/consumers/{consumer}/nak", tag = "consumers",
    params(("stream" = String, Path, description = "The stream"), ("consumer" = String, Path, description = "The consumer")),
    request_body = TokensRequest,
    responses(
        (status = 200, description = "All were taken", body = Acknowledged),
        (status = 207, description = "Some were not", body = Acknowledged),
        (status = 409, description = "The one was not", content_type = "application/problem+json"),
    ))]
pub async fn post_nak(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    let request = tokens(&mut call, &["delay"]).await?;
    let ack = Ack::Again { delay: request.delay };
    acknowledge(&door, (&call.who, call.param("stream"), call.param("consumer")), request, &ack, false).await
}

/// Gives messages up: they are never delivered again, and become dead letters.
#[utoipa::path(post, path = "/v1/streams/{stream}/consumers/{consumer}/term", tag = "consumers",
    params(("stream" = String, Path, description = "The stream"), ("consumer" = String, Path, description = "The consumer")),
    request_body = TokensRequest,
    responses(
        (status = 200, description = "All were taken", body = Acknowledged),
        (status = 207, description = "Some were not", body = Acknowledged),
        (status = 409, description = "The one was not", content_type = "application/problem+json"),
    ))]
pub async fn post_term(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    let request = tokens(&mut call, &["reason"]).await?;
    let ack = Ack::Give { reason: request.reason.clone().unwrap_or_else(|| "terminated".to_owned()) };
    acknowledge(&door, (&call.who, call.param("stream"), call.param("consumer")), request, &ack, false).await
}

/// Says that deliveries are still at work: their wait is counted anew.
#[utoipa::path(post, path = "/v1/streams/{stream}/consumers/{consumer}/progress", tag = "consumers",
    params(("stream" = String, Path, description = "The stream"), ("consumer" = String, Path, description = "The consumer")),
    request_body = TokensRequest,
    responses(
        (status = 200, description = "All were taken", body = Acknowledged),
        (status = 207, description = "Some were not", body = Acknowledged),
        (status = 409, description = "The one was not", content_type = "application/problem+json"),
    ))]
pub async fn post_progress(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    let request = tokens(&mut call, &[]).await?;
    acknowledge(&door, (&call.who, call.param("stream"), call.param("consumer")), request, &Ack::Progress, false).await
}

async fn tokens(call: &mut Call, taken: &[&str]) -> Result<TokensRequest, Problem> {
    call.no_query()?;
    let bytes = call.json_bytes().await?;
    let request: TokensRequest = declare::body(&bytes)?;
    let given = [("sync", request.sync), ("delay", request.delay.is_some()), ("reason", request.reason.is_some())];
    if let Some((name, _)) = given.into_iter().find(|(name, given)| *given && !taken.contains(name)) {
        return Err(Problem::field(name, "is not for this verb"));
    }
    if request.tokens.is_empty() || request.tokens.len() > TOKENS_MAX {
        return Err(Problem::field("tokens", &format!("must be 1 to {TOKENS_MAX} tokens")));
    }
    Ok(request)
}

async fn acknowledge(
    door: &Shared,
    (who, stream, consumer): (&Principal, &str, &str),
    request: TokensRequest,
    ack: &Ack,
    sync: bool,
) -> Result<Response, Problem> {
    let parsed: Vec<Result<AckToken, AckError>> = request.tokens.iter().map(|text| text.parse()).collect();
    let answers = door.port.acknowledge(who, stream, consumer, parsed, ack, sync).await?;
    let single = answers.len() == 1;
    let mut taken = Acknowledged { acknowledged: 0, errors: Vec::new() };
    for (token, answer) in request.tokens.into_iter().zip(answers) {
        match answer {
            Ok(()) => taken.acknowledged += 1,
            Err(error) if single => return Err(Problem::from(error).with("token", token)),
            Err(error) => {
                let (slug, detail) = (ack_slug(&error), error.to_string());
                taken.errors.push(TokenFault { token, error: slug, detail });
            }
        }
    }
    let status = if taken.errors.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok(json(status, &taken))
}

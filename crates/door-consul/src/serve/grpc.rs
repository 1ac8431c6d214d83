//! `subscribe.StateChangeSubscription/Subscribe`: one request, a stream of events, by gRPC over HTTP/2.
//!
//! A frame is a byte that says whether the message is compressed, its length in four bytes, and the message; what
//! came of the call stands in the trailers. Source: gRPC over HTTP2, and `proto/private/pbsubscribe` of Consul by its
//! field numbers.

use std::sync::Arc;

use catalog::Health;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use prost::Message as _;
use tokio::time::timeout;

use super::body::Sent;
use super::desk::{Answer, Desk, token};
use super::stream::{key, topic};
use crate::codec::{Endpoint, Params};
use crate::counts::count;
use crate::feeds::message::{Subject, SubscribeRequest, topics};
use crate::feeds::{Follow, Format, Reader};
use crate::limits::GRPC_REQUEST_BYTES_MAX;
use crate::session::{Sieve, Sight, same_datacenter};

/// The one method.
const SUBSCRIBE: &str = "/subscribe.StateChangeSubscription/Subscribe";
/// Bytes before a message.
const FRAME_BYTES: usize = 5;

/// Why a call ends before it began: a status of gRPC, and words.
type Refusal = (u16, String);

const UNKNOWN: u16 = 2;
const INVALID_ARGUMENT: u16 = 3;
const PERMISSION_DENIED: u16 = 7;
const UNIMPLEMENTED: u16 = 12;
const UNAVAILABLE: u16 = 14;

/// Answers one call.
pub(crate) async fn answer(desk: &Desk, request: Request<Incoming>) -> Answer {
    subscribe(desk, request).await.unwrap_or_else(|(code, text)| {
        count(&desk.shared.totals.faults);
        refused(code, &text)
    })
}

async fn subscribe(desk: &Desk, request: Request<Incoming>) -> Result<Answer, Refusal> {
    if request.uri().path() != SUBSCRIBE {
        return Err((UNIMPLEMENTED, String::from("unknown service or method")));
    }
    if !desk.shared.catalogue.is_ready() {
        return Err((UNAVAILABLE, String::from("No cluster leader")));
    }
    let presented = token(request.headers(), &Params::default());
    let wanted = message(desk, request.into_body()).await?;
    let (endpoint, name) = subject(&wanted)?;
    let elsewhere = |_| (UNKNOWN, String::from("No path to datacenter"));
    same_datacenter(&wanted.datacenter, &desk.shared.options.datacenter).map_err(elsewhere)?;
    let presented = Some(wanted.token).filter(|token| !token.is_empty()).or(presented);
    let rights = desk.shared.catalogue.port().access_version();
    let denied = |_| (PERMISSION_DENIED, String::from("Permission denied"));
    let sight = Sight::of(&desk.who(presented.as_deref()).map_err(denied)?);
    if endpoint != Endpoint::CatalogServices && !sight.service(&desk.shared.catalogue, &name) {
        return Err((PERMISSION_DENIED, String::from("Permission denied")));
    }
    let sieve = Sieve::of::<Health>(&Params::default()).unwrap_or_default();
    let key = key(Format::Grpc, endpoint, &name, &sieve, &sight.key(rights));
    let feed = desk.shared.feeds.feed(key, Format::Grpc, || topic(desk, endpoint, &name, sieve, sight.clone()));
    let reader = Reader { token: presented.map(Into::into), sight, rights, packed: false };
    let follow = Follow::new(Arc::clone(&desk.shared), feed, wanted.index, reader);
    let mut response = Response::new(Sent::Flow(Box::new(follow)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// The request's one message.
async fn message(desk: &Desk, body: Incoming) -> Result<SubscribeRequest, Refusal> {
    let invalid = |why: &str| (INVALID_ARGUMENT, why.to_owned());
    let body = Limited::new(body, GRPC_REQUEST_BYTES_MAX).collect();
    let body = match timeout(desk.shared.options.slow_deadline, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Err(invalid("the request cannot be read, or is too large")),
        Err(_) => return Err(invalid("the request took too long")),
    };
    let (head, message) = body.split_at_checked(FRAME_BYTES).ok_or_else(|| invalid("the request has no message"))?;
    match head {
        [0, length @ ..] if message.len() as u64 == length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)) => {
            SubscribeRequest::decode(message).map_err(|error| invalid(&error.to_string()))
        }
        [0, ..] => Err(invalid("the request must be one message")),
        _ => Err((UNIMPLEMENTED, String::from("compressed messages are not taken"))),
    }
}

/// What is to be followed.
fn subject(wanted: &SubscribeRequest) -> Result<(Endpoint, String), Refusal> {
    let invalid = |why: &str| (INVALID_ARGUMENT, why.to_owned());
    let (wildcard, name) = match &wanted.subject {
        Some(Subject::Wildcard(wildcard)) => (*wildcard, String::new()),
        Some(Subject::Named(named)) => (false, named.key.clone()),
        None => (false, wanted.key.clone()),
    };
    let endpoint = match wanted.topic {
        topics::SERVICE_HEALTH => Endpoint::HealthService,
        topics::SERVICE_HEALTH_CONNECT => Endpoint::HealthConnect,
        topics::SERVICE_LIST if wildcard => return Ok((Endpoint::CatalogServices, String::new())),
        topics::SERVICE_LIST => {
            return Err(invalid("topic ServiceList can only be consumed using WildcardSubject"));
        }
        other => return Err(invalid(&format!("topic {other} is not known"))),
    };
    match (wildcard, name.is_empty()) {
        (true, _) => Err(invalid("topic does not support wildcard subscriptions")),
        (false, true) => Err(invalid("either WildcardSubject or NamedSubject.Key is required")),
        (false, false) => Ok((endpoint, name)),
    }
}

fn refused(code: u16, text: &str) -> Answer {
    let mut response = Response::new(Sent::Ended);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code));
    let text: String = text.chars().map(|c| if (' '..='~').contains(&c) && c != '%' { c } else { '?' }).collect();
    if let Ok(text) = HeaderValue::from_str(&text) {
        headers.insert("grpc-message", text);
    }
    response
}

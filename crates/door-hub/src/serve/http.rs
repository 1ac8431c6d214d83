//! Requests: upgrades, posted events, and what tells how the door is.

mod answers;
mod upgrade;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use door::{Class, NOBODY, Principal, PublishError, Taker, Unauthenticated};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming as Body;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION,
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::carrier::{Incoming, carry, dropped};
use super::shared::Shared;
use crate::codec::{Posted, Source, post};
use crate::limits::HEAD_DEADLINE;
use crate::session::{Dropped, Kind};

pub(super) use answers::listing;
pub(super) use upgrade::{TIDINGS_HUB, TIDINGS_HUB_VERSION, TIDINGS_NODE, take};

/// Which of the two listeners a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The hub's.
    Hub,
    /// The repeater's.
    Repeater,
}

pub(super) type Answer = Response<Full<Bytes>>;

/// An answer that says no.
type Refusal = Box<Answer>;

/// One listener's requests from one address.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) role: Role,
    pub(super) address: SocketAddr,
}

impl Desk {
    /// Answers one request.
    pub(super) async fn answer(self, request: Request<Body>) -> Result<Answer, Infallible> {
        let mut answer = self.route(request).await;
        answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        Ok(answer)
    }

    async fn route(&self, request: Request<Body>) -> Answer {
        let path = request.uri().path().to_owned();
        let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(&path);
        let parts: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let method = request.method().clone();
        if method == Method::OPTIONS {
            return preflight();
        }
        let (get, posted) = (method == Method::GET, method == Method::POST);
        match (self.role, parts.as_slice()) {
            (Role::Hub, ["connect", kind]) if get => {
                let kind = match *kind {
                    "messenger" => Kind::Messenger,
                    "repeater" => Kind::Repeater,
                    "hub" => Kind::Hub,
                    _ => return text(StatusCode::BAD_REQUEST, "invalid connection type"),
                };
                self.connect(request, kind, None).await
            }
            (Role::Repeater, ["connect", _, id]) if get => {
                let id = Arc::from(*id);
                self.connect(request, Kind::Peer, Some(id)).await
            }
            (Role::Hub, ["event"]) if posted => self.event(request, Source::Post, Class::Client).await,
            (Role::Repeater, ["send"]) if posted => self.event(request, Source::Repeater, Class::Repeater).await,
            (Role::Hub, ["interconnect", address]) if posted => self.interconnect(&request, address).await,
            (_, ["status"]) if get => self.guarded(&request, || answers::status(&self.shared, self.role)),
            (_, ["health"]) if get => answers::health(&self.shared),
            (_, ["log-level"]) if get => self.log_level(),
            (_, ["log-level", level]) if method == Method::PUT => self.set_log_level(&request, level),
            (Role::Hub, ["connect", _] | ["event"] | ["interconnect", _]) => not_allowed(),
            (Role::Repeater, ["connect", _, _] | ["send"]) => not_allowed(),
            (_, ["status" | "health" | "log-level"] | ["log-level", _]) => not_allowed(),
            _ => as_json(StatusCode::NOT_FOUND, &json!({"message": "Not Found"})),
        }
    }

    /// Who asks: by `Authorization: Bearer`, or by `?token=`, since browsers cannot set headers of an upgrade.
    fn who(&self, request: &Request<Body>) -> Result<Principal, Refusal> {
        let given = bearer(request.headers()).map(str::to_owned).or_else(|| query(request, "token"));
        self.shared.port.authenticate(given.as_deref()).map_err(|error| {
            self.shared.totals.refused.fetch_add(1, Ordering::Relaxed);
            let why = match error {
                Unauthenticated::Missing => "this node wants a token: 'Authorization: Bearer …' or '?token=…'",
                Unauthenticated::Unknown => "this node does not know the token",
            };
            let mut answer = text(StatusCode::UNAUTHORIZED, why);
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            Box::new(answer)
        })
    }

    fn guarded(&self, request: &Request<Body>, answer: impl FnOnce() -> Answer) -> Answer {
        match self.who(request) {
            Ok(_) => answer(),
            Err(refusal) => *refusal,
        }
    }

    /// `POST /event` and, at the repeater, `POST /send`.
    async fn event(&self, request: Request<Body>, source: Source, class: Class) -> Answer {
        let who = match self.who(&request) {
            Ok(who) => who,
            Err(refusal) => return *refusal,
        };
        if source == Source::Repeater && !is_json(request.headers()) {
            // The original's words for a body that is not said to be JSON.
            let why = "code=415, message=Unsupported Media Type";
            return as_json(StatusCode::BAD_REQUEST, &json!(why));
        }
        let max = self.shared.options.payload_bytes_max;
        let body = match timeout(HEAD_DEADLINE, Limited::new(request.into_body(), max).collect()).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                self.shared.totals.dropped(Dropped::TooLarge, 1);
                return text(StatusCode::PAYLOAD_TOO_LARGE, &format!("an event has at most {max} bytes here"));
            }
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        };
        let body = body.to_bytes();
        let room = match post(&body) {
            Ok(Posted(room)) => room,
            Err(why) => return text(StatusCode::BAD_REQUEST, &why),
        };
        self.shared.totals.events_in.fetch_add(1, Ordering::Relaxed);
        self.shared.totals.bytes_in.fetch_add(body.len() as u64, Ordering::Relaxed);
        let outcome = self.publish(&who, class, source, room.as_bytes(), &body).await;
        match outcome {
            Ok(()) if source == Source::Repeater => text(StatusCode::OK, "ok"),
            Ok(()) => text(StatusCode::OK, "Processing event"),
            Err((status, why)) => text(status, &why),
        }
    }

    async fn publish(
        &self,
        who: &Principal,
        class: Class,
        source: Source,
        room: &[u8],
        payload: &[u8],
    ) -> Result<(), (StatusCode, String)> {
        let totals = &self.shared.totals;
        let Some(found) = self.shared.room(who, class, room) else {
            totals.dropped(Dropped::Room, 1);
            return Err((StatusCode::BAD_REQUEST, String::from("the room's name is too long")));
        };
        if !found.is_allowed() {
            totals.dropped(Dropped::NotAllowed, 1);
            let room = String::from_utf8_lossy(room);
            let why = format!("the token '{}' may not publish to the room '{room}'", who.name());
            return Err((StatusCode::FORBIDDEN, why));
        }
        let (sender, receiver) = oneshot::channel();
        let mut takers: Vec<Arc<dyn Taker>> = Vec::new();
        let incoming = Incoming { source, without: NOBODY, payload, id: None };
        carry(&self.shared, who, &found, incoming, &mut |taker| takers.push(Arc::clone(taker)), move |outcome| {
            // Whoever left does not want to know.
            let _unwanted = sender.send(outcome);
        });
        takers.iter().for_each(|taker| taker.flush());
        match receiver.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                totals.dropped(dropped(&error), 1);
                Err((refusal(&error), error.to_string()))
            }
            Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, String::from("the journal gave it up"))),
        }
    }

    async fn interconnect(&self, request: &Request<Body>, address: &str) -> Answer {
        match self.who(request) {
            Err(refusal) => return *refusal,
            Ok(who) if !who.is_admin() => {
                return text(StatusCode::FORBIDDEN, "only an administrator's token may connect hubs");
            }
            Ok(_) => {}
        }
        match self.shared.links.interconnect(&self.shared, address).await {
            Ok(said) => text(StatusCode::OK, &said),
            Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("Couldn't establish hub connction: {why}")),
        }
    }

    fn log_level(&self) -> Answer {
        as_json(StatusCode::OK, &json!({"log-level": &**self.shared.log_level.lock()}))
    }

    fn set_log_level(&self, request: &Request<Body>, level: &str) -> Answer {
        self.guarded(request, || match level {
            "debug" | "info" | "warn" | "error" | "panic" | "fatal" => {
                *self.shared.log_level.lock() = level.into();
                self.log_level()
            }
            _ => text(StatusCode::BAD_REQUEST, "a log level is debug, info, warn or error"),
        })
    }
}

fn refusal(error: &PublishError) -> StatusCode {
    match error {
        PublishError::NotAllowed(_) => StatusCode::FORBIDDEN,
        PublishError::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        PublishError::Unfit(_) => StatusCode::BAD_REQUEST,
        PublishError::Journal(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// The first value of a query's parameter.
pub(super) fn query<B>(request: &Request<B>, name: &str) -> Option<String> {
    let pairs = request.uri().query()?.split('&');
    let value = pairs.filter_map(|pair| pair.split_once('=')).find(|(each, _)| *each == name)?.1;
    Some(decoded(&value.replace('+', "%20")))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("application/json")
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn text(status: StatusCode, body: &str) -> Answer {
    response(status, "text/plain; charset=UTF-8", body.to_owned())
}

fn as_json(status: StatusCode, body: &serde_json::Value) -> Answer {
    response(status, "application/json; charset=UTF-8", body.to_string())
}

fn not_allowed() -> Answer {
    as_json(StatusCode::METHOD_NOT_ALLOWED, &json!({"message": "Method Not Allowed"}))
}

fn preflight() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let methods = HeaderValue::from_static("GET, HEAD, PUT, PATCH, POST, DELETE");
    answer.headers_mut().insert(ALLOW, methods.clone());
    answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    let headers = HeaderValue::from_static("authorization, content-type");
    answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
    answer
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

//! Answers, as HTTP carries them.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::header::{
    ALLOW, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use super::body::Sent;
use super::desk::Answer;
use crate::answers::{Encoded, Kind, gzip};
use crate::codec::{Consistency, Endpoint, Fault, Reading, json};
use crate::limits::GZIP_BYTES_MIN;
use crate::session::Written;

const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const BACKEND: HeaderName = HeaderName::from_static("x-consul-query-backend");
const POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");
const FILTERED: HeaderName = HeaderName::from_static("x-consul-results-filtered-by-acls");
const HASH: HeaderName = HeaderName::from_static("x-consul-contenthash");
const CACHE: HeaderName = HeaderName::from_static("x-cache");
const AGE: HeaderName = hyper::header::AGE;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const RAW: HeaderValue = HeaderValue::from_static("text/plain");
const ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");
const ZERO: HeaderValue = HeaderValue::from_static("0");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// How an answer is to look.
pub(crate) struct Manner {
    consistency: Option<Consistency>,
    cached: bool,
    pretty: bool,
    gzip: bool,
    open: bool,
    hash: bool,
}

impl Manner {
    pub(crate) fn of(endpoint: Endpoint, reading: &Reading, gzip: bool, open: bool) -> Self {
        let told = matches!(
            endpoint,
            Endpoint::CatalogNodes
                | Endpoint::CatalogServices
                | Endpoint::CatalogService
                | Endpoint::CatalogConnect
                | Endpoint::CatalogNode
                | Endpoint::CatalogNodeServices
                | Endpoint::HealthNode
                | Endpoint::HealthChecks
                | Endpoint::HealthState
                | Endpoint::HealthService
                | Endpoint::HealthConnect
        );
        Manner {
            consistency: told.then_some(reading.consistency),
            cached: reading.cached,
            pretty: reading.pretty,
            gzip,
            open,
            hash: endpoint == Endpoint::AgentService,
        }
    }
}

/// An answer to who reads. `hit`: what the reader waits for was there already.
pub(crate) fn read(answer: &Encoded, manner: &Manner, hit: bool) -> Answer {
    let content = &answer.content;
    let mut response = Response::new(Sent::Ended);
    *response.status_mut() = StatusCode::from_u16(content.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    // As many as there usually are, in one go.
    headers.reserve(8);
    match content.kind {
        Kind::Json => _ = headers.insert(CONTENT_TYPE, JSON),
        Kind::Raw => {
            headers.insert(CONTENT_TYPE, RAW);
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        }
        Kind::None => {}
    }
    headers.insert(VARY, ENCODING);
    if answer.index > 0 {
        headers.insert(INDEX, HeaderValue::from(answer.index));
        headers.insert(LEADER, TRUE);
        headers.insert(CONTACT, ZERO);
    }
    if let Some(consistency) = manner.consistency {
        let said = match consistency {
            Consistency::Leader => "leader",
            Consistency::Stale => "stale",
            Consistency::Consistent => "consistent",
        };
        headers.insert(CONSISTENCY, HeaderValue::from_static(said));
        headers.insert(BACKEND, HeaderValue::from_static("blocking-query"));
    }
    headers.insert(POLICY, HeaderValue::from_static(if manner.open { "allow" } else { "deny" }));
    if content.filtered {
        headers.insert(FILTERED, TRUE);
    }
    if manner.cached {
        headers.insert(CACHE, HeaderValue::from_static(if hit { "HIT" } else { "MISS" }));
        headers.insert(AGE, ZERO);
    }
    if let Some(hash) = manner.hash.then(|| HeaderValue::from_str(answer.hash()).ok()).flatten() {
        headers.insert(HASH, hash);
    }
    let body = body(answer, manner);
    if let Body::Packed(_) = body {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let (Body::Plain(bytes) | Body::Packed(bytes)) = body;
    *response.body_mut() = Sent::whole(bytes);
    response
}

enum Body {
    Plain(Bytes),
    Packed(Bytes),
}

fn body(answer: &Encoded, manner: &Manner) -> Body {
    let content = &answer.content;
    let packs = manner.gzip && content.body.len() >= GZIP_BYTES_MIN && content.kind != Kind::None;
    if manner.pretty && content.kind == Kind::Json {
        let text = std::str::from_utf8(&content.body).unwrap_or_default();
        let text = json::indented(text);
        return if packs { Body::Packed(gzip(text.as_bytes())) } else { Body::Plain(text.into()) };
    }
    if packs { Body::Packed(answer.packed()) } else { Body::Plain(content.body.clone()) }
}

/// An answer to who wrote.
pub(crate) fn written(written: Written, pretty: bool) -> Answer {
    let Written { status, body } = written;
    let body = if pretty && !body.is_empty() { json::indented(&body) } else { body };
    let empty = body.is_empty();
    let mut response = Response::new(Sent::whole(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    if !empty {
        response.headers_mut().insert(CONTENT_TYPE, JSON);
    }
    response.headers_mut().insert(VARY, ENCODING);
    response
}

/// A refusal.
pub(crate) fn fault(fault: &Fault) -> Answer {
    let text = match &fault.text {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::copy_from_slice(text.as_bytes()),
    };
    let mut response = Response::new(Sent::whole(text));
    *response.status_mut() = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, TEXT);
    headers.insert(VARY, ENCODING);
    if fault.status >= 500 {
        headers.insert(INDEX, HeaderValue::from_static("1"));
        headers.insert(LEADER, HeaderValue::from_static("false"));
    }
    if let Some(allow) = fault.allow.as_ref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
        headers.insert(ALLOW, allow);
    }
    response
}

/// What an endpoint takes.
pub(crate) fn options(allow: &str) -> Answer {
    let mut response = Response::new(Sent::whole(Bytes::new()));
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

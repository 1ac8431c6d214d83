//! One request, as its handler sees it: who asks, the path's parts, the query, the headers, and the
//! body, which is read only where the handler wants it, and only up to what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use door::Principal;
use event::{Pattern, Subject};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::cloud::is_json;
use crate::codec::declare;
use crate::codec::query::Query;
use crate::limits::{BODIES_BYTES_MAX, BODY_WAIT_MAX, DECLARATION_BYTES_MAX};
use crate::problem::Problem;
use crate::serve::Shared;

/// Bytes of bodies in memory, over all requests.
#[derive(Debug, Default, Clone)]
pub struct Bodies(Arc<AtomicUsize>);

/// One request's share, given back when dropped.
struct Room {
    bodies: Bodies,
    bytes: usize,
}

impl Room {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        self.bytes += bytes;
        let before = self.bodies.0.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > BODIES_BYTES_MAX {
            return Err(Problem::busy("too many bytes of requests are in memory"));
        }
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.bodies.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// One request.
pub struct Call {
    /// Who asks.
    pub who: Principal,
    params: Vec<(String, String)>,
    parts: Parts,
    body: Body,
    room: Room,
}

impl FromRequest<Shared> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request, door: &Shared) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let params = RawPathParams::from_request_parts(&mut parts, door).await;
        let params = params.map_err(|error| Problem::request(format!("the path is malformed: {error}")))?;
        let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        // The outermost layer puts it there for every route that needs one.
        let nobody = || Problem::from(door::Unauthenticated::Missing);
        let who = parts.extensions.remove::<Principal>().ok_or_else(nobody)?;
        let room = Room { bodies: door.bodies.clone(), bytes: 0 };
        Ok(Call { who, params, parts, body, room })
    }
}

impl Call {
    /// A part of the path.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(each, _)| each == name).map_or("", |(_, value)| value)
    }

    /// A part of the path that is a position.
    ///
    /// # Errors
    /// A problem where it is none.
    pub fn seq(&self) -> Result<u64, Problem> {
        let text = self.param("seq");
        text.parse().map_err(|_| Problem::request(format!("'{text}' is not a position: a whole number from 1")))
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The query, of which the names must be known.
    ///
    /// # Errors
    /// A problem naming the parameter.
    pub fn query(&self, known: &[&str], repeat: &[&str]) -> Result<Query<'_>, Problem> {
        Query::parse(self.parts.uri.query(), known, repeat)
    }

    /// No query at all.
    ///
    /// # Errors
    /// A problem naming a parameter.
    pub fn no_query(&self) -> Result<(), Problem> {
        self.query(&[], &[]).map(|_| ())
    }

    /// The body, of at most `max` bytes.
    ///
    /// # Errors
    /// 413 where it is larger, 408 where it does not come, 429 where all bodies together are too many.
    pub async fn body(&mut self, max: usize) -> Result<Bytes, Problem> {
        let too_large = || Problem::too_large(format!("the body may have at most {max} bytes"), max);
        let told = self.parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let told: usize = told.unwrap_or(0);
        if told > max {
            return Err(too_large());
        }
        let Some(first) = self.frame().await? else {
            return Ok(Bytes::new());
        };
        if first.len() > max {
            return Err(too_large());
        }
        self.room.grow(first.len())?;
        if first.len() == told {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(told.max(first.len()));
        whole.extend_from_slice(&first);
        while let Some(piece) = self.frame().await? {
            if whole.len() + piece.len() > max {
                return Err(too_large());
            }
            self.room.grow(piece.len())?;
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = tokio::time::timeout(BODY_WAIT_MAX, self.body.frame()).await;
            match frame.map_err(|_| Problem::timeout())? {
                None => return Ok(None),
                Some(Err(error)) => return Err(Problem::request(format!("the body broke off: {error}"))),
                // Trailers say nothing here.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }

    /// The body as JSON. An empty one is the default.
    ///
    /// # Errors
    /// As [`Call::body`]; 415 where it is another media type; 400 naming the field.
    pub async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T, Problem> {
        let bytes = self.json_bytes().await?;
        if bytes.is_empty() { Ok(T::default()) } else { declare::body(&bytes) }
    }

    /// The body's bytes, which are to be JSON, or nothing.
    ///
    /// # Errors
    /// As [`Call::json`].
    pub async fn json_bytes(&mut self) -> Result<Bytes, Problem> {
        let bytes = self.body(DECLARATION_BYTES_MAX).await?;
        let media_type = self.parts.headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        if let Some(other) = media_type.filter(|media_type| !bytes.is_empty() && !is_json(media_type)) {
            let shown: String = other.chars().take(64).collect();
            let detail = format!("the body must be JSON, not '{shown}'; send Content-Type: application/json");
            return Err(Problem::media_type(detail));
        }
        Ok(bytes)
    }

    /// Which of the media types the client wants most; the first, where it does not say.
    ///
    /// # Errors
    /// 406 where it wants none of them.
    pub fn accepts<T: Copy>(&self, offered: &[(&str, T)]) -> Result<T, Problem> {
        negotiate(&self.parts.headers, offered)
    }
}

fn negotiate<T: Copy>(headers: &HeaderMap, offered: &[(&str, T)]) -> Result<T, Problem> {
    let mut ranges: Vec<(String, u32)> = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        for part in value.to_str().unwrap_or_default().split(',') {
            let mut pieces = part.split(';').map(str::trim);
            let range = pieces.next().unwrap_or_default().to_ascii_lowercase();
            let weight = pieces.find_map(|piece| piece.strip_prefix("q=")).and_then(|text| text.parse::<f32>().ok());
            // In thousandths, which is all that the grammar has (RFC 9110, section 12.4.2).
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let weight = (weight.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32;
            if !range.is_empty() && weight > 0 {
                ranges.push((range, weight));
            }
        }
    }
    let names = || offered.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let none = || Problem::not_acceptable(&names());
    if ranges.is_empty() {
        return offered.first().map(|(_, value)| *value).ok_or_else(none);
    }
    ranges.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    let fits = |range: &str, name: &str| {
        range == "*/*"
            || range == name
            || range.strip_suffix("/*").is_some_and(|kind| name.split('/').next() == Some(kind))
    };
    let found = ranges.iter().find_map(|(range, _)| offered.iter().find(|(name, _)| fits(range, name)));
    found.map(|(_, value)| *value).ok_or_else(none)
}

/// A response of JSON bytes.
pub fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

/// A response of JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => json_bytes(status, bytes),
        // Only a map with keys that are no text could fail, and no wire type has one.
        Err(error) => Problem::closed(error.to_string()).into_response(),
    }
}

/// A subject that a client named.
///
/// # Errors
/// A problem showing it.
pub fn subject(text: &str) -> Result<Subject, Problem> {
    Subject::parse(text).map_err(|error| Problem::subject(text, &error))
}

/// Either these patterns, or the one that matches all.
pub fn or_all(patterns: Vec<Pattern>) -> Vec<Pattern> {
    if patterns.is_empty() { vec![Pattern::all()] } else { patterns }
}

/// A lifetime, which cannot be nothing.
///
/// # Errors
/// A problem naming the parameter.
pub fn lifetime(query: &Query<'_>) -> Result<Option<Duration>, Problem> {
    match query.span("ttl")? {
        Some(Duration::ZERO) => Err(Problem::query("ttl", "must be longer than zero")),
        ttl => Ok(ttl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn check(accept: &str, expected: Option<u8>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        let offered = [("application/json", 1), ("text/event-stream", 2)];
        assert_eq!(negotiate(&headers, &offered).ok(), expected, "{accept}");
    }

    #[test]
    fn the_client_gets_what_it_wants_most() {
        check("*/*", Some(1));
        check("text/event-stream", Some(2));
        check("application/json;q=0.5, text/*", Some(2));
        check("application/json, text/event-stream", Some(1));
        check("image/png", None);
        check("application/json;q=0", Some(1));
        check("", Some(1));
        check("text/html, */*;q=0.1", Some(1));
    }
}

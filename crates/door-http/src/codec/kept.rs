//! Which HTTP headers a message keeps when it is published, and which it gives back when it is read.
//!
//! # Invariants
//! - Credentials are never recorded.
//! - A recorded header cannot change how a response is framed, cached, or trusted by a browser.

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use event::{Headers, Message};

use crate::problem::Problem;

/// Prefix of the headers in which this door speaks for itself.
pub const OWN_PREFIX: &str = "tidings-";

/// Headers of a request that are about the connection, the transport, the browser or the sender's
/// rights, and not about the payload. Names in lower case.
pub const NOT_KEPT: [&str; 40] = [
    // Hop by hop: RFC 9110, section 7.6.1.
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    // Framing and routing of this request.
    "host",
    "content-length",
    "expect",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "max-forwards",
    "alt-used",
    "priority",
    // What the answer should be.
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "prefer",
    // Who asks.
    "authorization",
    "proxy-authorization",
    "cookie",
    "user-agent",
    "origin",
    "referer",
    "dnt",
    "upgrade-insecure-requests",
    "from",
];

/// Recorded headers that a response does not repeat, besides [`NOT_KEPT`]: they would speak for this
/// node. Names in lower case.
pub const NOT_GIVEN: [&str; 16] = [
    "date",
    "server",
    "set-cookie",
    "location",
    "refresh",
    "retry-after",
    "www-authenticate",
    "proxy-authenticate",
    "strict-transport-security",
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "clear-site-data",
    "cache-control",
    "etag",
    "link",
];

fn is_kept(name: &str) -> bool {
    !NOT_KEPT.contains(&name) && !name.starts_with("sec-") && !name.starts_with(OWN_PREFIX)
}

/// The headers that a published message keeps.
///
/// # Errors
/// A problem naming the header that cannot be kept, or saying that they are too long together.
pub fn keep(headers: &HeaderMap) -> Result<Headers, Problem> {
    let mut pairs = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        if !is_kept(name.as_str()) {
            continue;
        }
        let value = std::str::from_utf8(value.as_bytes());
        let value = value.map_err(|_| Problem::request(format!("the header '{name}' is not UTF-8")))?;
        pairs.push((name.as_str(), value));
    }
    Headers::from_pairs(pairs).map_err(|error| Problem::request(error.to_string()))
}

/// Adds a message's headers to a response's.
pub fn give(message: &Message, headers: &mut HeaderMap) {
    for (name, value) in message.headers.iter() {
        let lower = name.to_ascii_lowercase();
        if !is_kept(&lower) || NOT_GIVEN.contains(&lower.as_str()) || lower.starts_with("access-control-") {
            continue;
        }
        let (name, value) = (HeaderName::from_bytes(lower.as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Subject;

    #[test]
    fn credentials_and_transport_are_not_kept() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "cookie", "host", "sec-fetch-mode", "content-type", "x-mine", "traceparent"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        let kept = keep(&headers).unwrap();
        let names: Vec<&str> = kept.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["content-type", "x-mine", "traceparent"]);
    }

    #[test]
    fn a_recorded_header_does_not_speak_for_the_node() {
        let pairs = [("Set-Cookie", "a=b"), ("Content-Length", "5"), ("Content-Type", "text/html"), ("X", "é")];
        let mut message = Message::new(Subject::parse("a").unwrap(), "x");
        message.headers = Headers::from_pairs(pairs).unwrap();
        let mut headers = HeaderMap::new();
        give(&message, &mut headers);
        let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "x"]);
    }
}

//! Server-sent events: the same paths as blocking queries, asked for by `Accept: text/event-stream`.

use std::sync::Arc;

use catalog::Health;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::Shared;
use super::body::Sent;
use super::desk::{Answer, Asked, Desk, Heads};
use crate::codec::{Endpoint, Fault, Params, unsigned};
use crate::feeds::{Cursor, Feed, Follow, Format, Instances, Reader, Topic};
use crate::session::{Sieve, Sight};

/// A stream that was asked for.
pub(crate) struct Stream {
    feed: Arc<Feed>,
    reader: Reader,
    after: u64,
}

/// Whether a stream is asked for, of something that is told as one.
pub(crate) fn is_wanted(endpoint: Endpoint, headers: &impl Heads) -> bool {
    let told = matches!(endpoint, Endpoint::HealthService | Endpoint::HealthConnect | Endpoint::CatalogServices);
    let accepted = headers.header("accept").filter(|_| told).unwrap_or_default();
    accepted.split(',').any(|one| one.trim().starts_with("text/event-stream"))
}

/// The position that a reader has: what it was last told, or the index of an answer that it has.
pub(crate) fn last(headers: &impl Heads, params: &Params) -> u64 {
    headers.header("last-event-id").or(params.first("index")).and_then(unsigned).unwrap_or(0)
}

/// What names what is followed: two topics that differ have different names.
pub(crate) fn key(format: Format, endpoint: Endpoint, name: &str, sieve: &Sieve, sight: &str) -> String {
    format!("{format:?} {endpoint:?} {:?} {sight} {}", name.to_lowercase(), sieve.key())
}

/// What is followed.
pub(crate) fn topic(desk: &Desk, endpoint: Endpoint, name: &str, sieve: Sieve, sight: Sight) -> Topic {
    let catalogue = desk.shared.catalogue.clone();
    let instances = |sieve, sight| Instances { catalogue: catalogue.clone(), name: name.into(), sieve, sight };
    match endpoint {
        Endpoint::HealthService => Topic::Health(instances(sieve, sight)),
        Endpoint::HealthConnect => Topic::Connect { of: instances(sieve, sight), names: Mutex::default() },
        _ => Topic::List { catalogue, sight, known: Mutex::default() },
    }
}

/// Opens a stream.
///
/// # Errors
/// [`Fault`]: who asks may not, or a parameter cannot be read.
pub(crate) fn open(desk: &Desk, asked: &Asked, after: u64) -> Result<Stream, Fault> {
    let rights = desk.shared.catalogue.port().access_version();
    let sight = Sight::of(&desk.who(asked.token.as_deref())?);
    let list = asked.endpoint == Endpoint::CatalogServices;
    if asked.name.is_empty() && !list {
        return Err(Fault::bad("Missing service name"));
    }
    if !list && !sight.service(&desk.shared.catalogue, &asked.name) {
        return Err(Fault::denied());
    }
    let sieve = if list { Sieve::default() } else { Sieve::of::<Health>(&asked.params)? };
    let key = key(Format::Events, asked.endpoint, &asked.name, &sieve, &sight.key(rights));
    let feed =
        desk.shared.feeds.feed(key, Format::Events, || topic(desk, asked.endpoint, &asked.name, sieve, sight.clone()));
    let token = asked.token.as_deref().map(Into::into);
    Ok(Stream { feed, reader: Reader { token, sight, rights, packed: asked.gzip }, after })
}

/// A stream as the body of an answer.
pub(crate) fn flow(shared: &Arc<Shared>, stream: Stream) -> Answer {
    let Stream { feed, reader, after } = stream;
    let packed = reader.packed;
    let follow = Follow::new(Arc::clone(shared), feed, after, reader);
    let mut response = Response::new(Sent::Flow(Box::new(follow)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A stream on a socket of its own, whose end is that of the connection.
pub(crate) async fn tell(shared: Arc<Shared>, stream: Stream, socket: TcpStream) {
    let Stream { feed, reader, after } = stream;
    let packed = if reader.packed { "Content-Encoding: gzip\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
         Vary: Accept-Encoding\r\n{packed}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    crate::feeds::tell(shared, socket, Cursor::new(feed, after, reader), head.into()).await;
}

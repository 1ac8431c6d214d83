//! `dataplane.proto.v1.DataPlaneService/OpenChannel`: messages both ways on one stream of HTTP/2.
//!
//! The heads of the answer are sent at once: a stock client says nothing before it has them.
//!
//! Source: gRPC over HTTP2.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response};
use tokio::time::{Instant, sleep_until};

use super::carrier::Carrier;
use super::outbound::{Outbound, Over};
use super::pace;
use super::shared::{Connection, Shared};
use crate::codec::{Frames, Piece};
use crate::limits::READ_BYTES;

/// The one method.
pub(crate) const OPEN_CHANNEL: &str = "/dataplane.proto.v1.DataPlaneService/OpenChannel";

/// The body of an answer: what waits for a link, and how it ended. Who drops it ends the link.
pub(crate) struct Sent {
    out: Option<Arc<Connection>>,
}

impl Sent {
    /// A body that has ended.
    pub(crate) fn nothing() -> Self {
        Sent { out: None }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.out.iter().for_each(|connection| connection.out.end((0, String::new())));
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(connection) = &self.out else {
            return Poll::Ready(None);
        };
        match connection.out.poll_take(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(None) => {
                let over = connection.out.over().unwrap_or_default();
                self.out = None;
                let mut trailers = HeaderMap::new();
                status(&mut trailers, &over);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.out.is_none()
    }
}

/// Says how a call ended.
fn status(headers: &mut HeaderMap, (code, text): &Over) {
    headers.insert("grpc-status", HeaderValue::from(*code));
    let text: String = text.chars().map(|c| if (' '..='~').contains(&c) && c != '%' { c } else { '?' }).collect();
    if let Ok(text) = HeaderValue::from_str(&text)
        && !text.is_empty()
    {
        headers.insert("grpc-message", text);
    }
}

/// The answer to a call that ends before it began.
pub(crate) fn refused(code: u16, text: &str) -> Response<Sent> {
    let mut response = Response::new(Sent::nothing());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    status(response.headers_mut(), &(code, text.to_owned()));
    response
}

/// Opens a link: what it is answered with, while its messages are read beside.
pub(crate) fn open(shared: &Arc<Shared>, connection: Arc<Connection>, body: Incoming) -> Response<Sent> {
    let mut response = Response::new(Sent { out: Some(Arc::clone(&connection)) });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let carrier = Carrier::new(shared, &connection);
    shared.tasks.spawn(read(body, carrier));
    response
}

/// Reads a link's messages until it ends.
pub(crate) async fn read(mut body: Incoming, mut carrier: Carrier) {
    let (shared, connection) = (Arc::clone(&carrier.shared), Arc::clone(&carrier.connection));
    let mut frames = Frames::new(shared.options.message_bytes_max);
    let late = Instant::now() + shared.options.negotiation_deadline;
    carrier.judge();
    loop {
        let read = tokio::select! {
            read = body.frame() => read,
            () = ended(&connection.out) => break,
            () = carrier.access_changed() => {
                carrier.judge();
                continue;
            }
            () = sleep_until(late), if !carrier.is_open() => {
                carrier.late();
                break;
            }
        };
        let Some(Ok(mut frame)) = read else { break };
        let mut count = 0;
        loop {
            if let Ok(bytes) = frame.into_data() {
                count += bytes.len();
                frames.take(bytes, |piece| take(&mut carrier, piece));
            }
            if count >= READ_BYTES || connection.out.is_over() {
                break;
            }
            // What is there already is read before anybody is woken.
            match body.frame().now_or_never() {
                Some(Some(Ok(next))) => frame = next,
                Some(_) | None => break,
            }
        }
        pace(&mut carrier).await;
    }
    drop(carrier);
    connection.out.end((0, String::new()));
    shared.leave(connection.id);
}

fn take(carrier: &mut Carrier, piece: Piece) {
    match piece {
        Piece::Message(message) => carrier.message(&message),
        Piece::TooLong(begin, size) => carrier.too_large(&begin, size),
        Piece::Unreadable => carrier.unreadable(),
    }
}

async fn ended(out: &Outbound) {
    out.ended().await;
}

//! What is sent and what is read on a call.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response};
use prost::Message;
use tokio::sync::mpsc;

use super::{Code, Status, frame, take};

/// Part of an answer.
pub(crate) enum Part {
    /// A frame.
    Message(Bytes),
    /// The end.
    End(Status),
}

/// An answer's body.
pub(crate) struct Reply {
    ready: VecDeque<Part>,
    flow: Option<mpsc::Receiver<Part>>,
    over: bool,
}

impl Reply {
    /// What is sent as it comes.
    pub(crate) fn flow(flow: mpsc::Receiver<Part>) -> Response<Reply> {
        respond(Reply { ready: VecDeque::new(), flow: Some(flow), over: false })
    }

    /// Messages, and a good end.
    pub(crate) fn all<M: Message>(messages: &[M]) -> Response<Reply> {
        let ready = messages.iter().map(|message| Part::Message(frame(message)));
        respond(Reply { ready: ready.collect(), flow: None, over: false })
    }

    /// A bad end.
    pub(crate) fn refused(status: Status) -> Response<Reply> {
        respond(Reply { ready: VecDeque::from([Part::End(status)]), flow: None, over: false })
    }
}

fn respond(reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let part = match (self.ready.pop_front(), &mut self.flow) {
            (Some(part), _) => part,
            (None, Some(flow)) => match flow.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(part) => part.unwrap_or_else(|| Part::End(Status::ok())),
            },
            (None, None) => Part::End(Status::ok()),
        };
        Poll::Ready(Some(Ok(match part {
            Part::Message(bytes) => Frame::data(bytes),
            Part::End(status) => {
                self.over = true;
                Frame::trailers(trailers(&status))
            }
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status.code as u16));
    let text: String =
        status.text.chars().map(|c| if (' '..='~').contains(&c) && c != '%' { c } else { '?' }).collect();
    if let Ok(text) = HeaderValue::from_str(&text)
        && !text.is_empty()
    {
        trailers.insert("grpc-message", text);
    }
    trailers
}

/// The messages that come on a call.
pub(crate) struct Incoming {
    body: hyper::body::Incoming,
    read: BytesMut,
}

impl Incoming {
    pub(crate) fn new(body: hyper::body::Incoming) -> Self {
        Incoming { body, read: BytesMut::new() }
    }

    /// The next message; `None` at the end, an error where the other side says why it ended. Nothing is lost when it is dropped before it is ready.
    pub(crate) async fn next<M: Message + Default>(&mut self) -> Option<Result<M, Status>> {
        loop {
            match take(&mut self.read) {
                Ok(Some(bytes)) => {
                    let invalid = |error: prost::DecodeError| Status::new(Code::InvalidArgument, error.to_string());
                    return Some(M::decode(bytes).map_err(invalid));
                }
                Ok(None) => {}
                Err(status) => return Some(Err(status)),
            }
            let frame = self.body.frame().await?.ok()?;
            match frame.into_data() {
                Ok(bytes) => self.read.extend_from_slice(&bytes),
                Err(frame) => {
                    if let Some(status) = frame.into_trailers().ok().and_then(|trailers| ended(&trailers)) {
                        return Some(Err(status));
                    }
                }
            }
        }
    }
}

/// How a call ended, where it ended badly.
fn ended(trailers: &HeaderMap) -> Option<Status> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let code = text("grpc-status");
    (!matches!(code, "" | "0")).then(|| Status::new(Code::Unavailable, format!("({code}) {}", text("grpc-message"))))
}

//! Following a stream as server-sent events.
//!
//! # Invariants
//! - Nothing is pushed into a buffer: the next page is read when the client has taken the one
//!   before. A slow client holds one page in memory and slows nobody.
//! - What is sent is in order of position, without gap: damaged records are told as
//!   `event: damaged`, and a reader that resumes with the last id gets what follows it.
//! - Who may not read it any longer hears nothing more of it.
//! - A failure is told as `event: error` with a problem, and ends the body.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use event::Pattern;
use futures_util::stream;
use journal::{Page, Read, Start};
use tokio::time::Instant;

use crate::codec::message;
use crate::limits::{FOLLOW_BYTES_MAX, FOLLOW_MESSAGES_MAX};
use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::caller::Caller;

/// What to follow.
pub struct Follow {
    /// The node.
    pub door: Shared,
    /// Who asks.
    pub caller: Caller,
    /// The stream.
    pub stream: String,
    /// Only messages that one of these matches; none: all.
    pub filters: Vec<Pattern>,
    /// Where to start.
    pub start: Start,
    /// Begin with the last message of each subject, then follow.
    pub last_per_subject: bool,
    /// End after so many messages.
    pub remaining: Option<u64>,
}

/// A response of server-sent events.
pub fn response(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Reverse proxies gather small writes unless they are asked not to.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

/// The first bytes of a following: they tell the client that it is connected, and when to return.
pub fn hello() -> Bytes {
    Bytes::from_static(b"retry: 1000\n: following\n\n")
}

/// A problem as the last event of a body that has begun.
pub fn failure(problem: &Problem) -> Bytes {
    let mut out = Vec::new();
    message::sse(&mut out, None, "error", |out| out.extend_from_slice(&problem.to_json(None)));
    out.into()
}

enum State {
    First(Box<Follow>),
    Going(Box<Follow>),
    Over,
}

/// The body that follows.
pub fn body(follow: Follow) -> Body {
    let steps = stream::unfold(State::First(Box::new(follow)), |state| async move {
        let (bytes, state) = match state {
            State::First(follow) => (hello(), State::Going(follow)),
            State::Going(mut follow) => match follow.step().await {
                Ok(Some(bytes)) => (bytes, State::Going(follow)),
                Ok(None) => return None,
                Err(problem) => (failure(&problem), State::Over),
            },
            State::Over => return None,
        };
        Some((Ok::<_, Infallible>(bytes), state))
    });
    Body::from_stream(steps)
}

impl Follow {
    async fn step(&mut self) -> Result<Option<Bytes>, Problem> {
        let door = self.door.clone();
        if self.remaining == Some(0) {
            return Ok(None);
        }
        tokio::select! {
            biased;
            () = door.options.shutdown.cancelled() => Ok(None),
            page = self.page() => page.map(Some),
        }
    }

    async fn page(&mut self) -> Result<Bytes, Problem> {
        let (began, heartbeat) = (Instant::now(), self.door.options.heartbeat);
        loop {
            let limit = self.remaining.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
            let read = Read {
                start: self.start,
                filters: self.filters.clone(),
                last_per_subject: self.last_per_subject,
                until: None,
                limit: limit.min(FOLLOW_MESSAGES_MAX),
                bytes: FOLLOW_BYTES_MAX,
                wait: (!self.last_per_subject).then(|| heartbeat.saturating_sub(began.elapsed())),
            };
            let who = self.caller.who().clone();
            let page = tokio::select! {
                biased;
                changed = self.caller.changed() => {
                    changed?;
                    continue;
                }
                page = self.door.port.read(&who, &self.stream, read) => page?,
            };
            self.start = Start::Seq(page.next);
            // Past the end of what was there, the rest is followed as it comes.
            self.last_per_subject &= page.next <= page.last;
            if !page.messages.is_empty() || !page.damaged.is_empty() {
                return Ok(self.written(&page));
            }
            if began.elapsed() >= heartbeat {
                return Ok(Bytes::from_static(message::HEARTBEAT));
            }
        }
    }

    fn written(&mut self, page: &Page) -> Bytes {
        let mut out = Vec::new();
        if !page.damaged.is_empty() {
            let json = format!("{{\"damaged\":{:?}}}", page.damaged);
            message::sse(&mut out, None, "damaged", |out| out.extend_from_slice(json.as_bytes()));
        }
        for stored in &page.messages {
            message::sse(&mut out, Some(stored.seq), "message", |out| message::message(out, &self.stream, stored));
        }
        self.remaining = self.remaining.map(|count| count.saturating_sub(page.messages.len() as u64));
        out.into()
    }
}

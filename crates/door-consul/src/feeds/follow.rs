//! A reader of a feed, as the body of an answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use tokio::time::{Instant, Sleep, sleep};

use super::cursor::{Cursor, Reader};
use super::{Feed, Format};
use crate::answers::Place;
use crate::counts::{count, uncount};
use crate::limits::ALIVE_INTERVAL;
use crate::serve::{Flow, Piece, Shared};

/// See the module.
pub(crate) struct Follow {
    shared: Arc<Shared>,
    cursor: Cursor,
    place: Place,
    alive: Pin<Box<Sleep>>,
}

/// Why a stream of gRPC ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Other rights are in force: subscribe again.
    Rights,
    /// The node stops: subscribe elsewhere, with what you hold.
    Stopping,
}

impl Follow {
    /// A reader that knows all up to a position; 0: nothing.
    pub(crate) fn new(shared: Arc<Shared>, feed: Arc<Feed>, after: u64, reader: Reader) -> Self {
        count(if feed.format == Format::Grpc { &shared.totals.grpc } else { &shared.totals.sse });
        let place = feed.gate.enter();
        let alive = Box::pin(sleep(ALIVE_INTERVAL));
        Follow { shared, cursor: Cursor::new(feed, after, reader), place, alive }
    }

    fn end(&self, why: End) -> Piece {
        if self.cursor.format() == Format::Events {
            return Piece::End;
        }
        let (code, text) = match why {
            End::Rights => ("10", "the subscription was closed: permissions have changed; subscribe again"),
            End::Stopping => ("14", "the node stops"),
        };
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert("grpc-status", HeaderValue::from_static(code));
        trailers.insert("grpc-message", HeaderValue::from_static(text));
        Piece::Trailers(trailers)
    }
}

impl Flow for Follow {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        loop {
            let calls = self.cursor.feed.gate.calls();
            self.cursor.feed.arm(&self.shared.totals);
            if self.shared.answers.is_stopping() {
                return Poll::Ready(self.end(End::Stopping));
            }
            if !self.cursor.is_allowed(&self.shared) {
                return Poll::Ready(self.end(End::Rights));
            }
            if let Some(bytes) = self.cursor.told(&self.shared) {
                return Poll::Ready(Piece::Data(bytes));
            }
            if self.alive.as_mut().poll(context).is_ready() {
                self.alive.as_mut().reset(Instant::now() + ALIVE_INTERVAL);
                let alive = self.cursor.alive();
                if !alive.is_empty() {
                    return Poll::Ready(Piece::Data(alive));
                }
                continue;
            }
            self.place.sleep(context.waker());
            if !self.cursor.feed.gate.is_due(calls) && !self.shared.answers.is_stopping() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let totals = &self.shared.totals;
        uncount(if self.cursor.format() == Format::Grpc { &totals.grpc } else { &totals.sse });
    }
}

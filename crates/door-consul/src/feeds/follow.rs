//! A reader of a feed, as the body of an answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use tokio::time::{Instant, Sleep, sleep};

use super::{Feed, Format, Next, Snapshot};
use crate::answers::{GZIP_HEAD, Place};
use crate::counts::{count, uncount};
use crate::limits::ALIVE_INTERVAL;
use crate::serve::{Flow, Piece, Shared};
use crate::session::Sight;

/// How far a reader is.
enum Stage {
    /// Nothing was told yet. Goes on from the position, where it can.
    Start(u64),
    /// Pieces of a snapshot up to this one were told.
    Told(Arc<Snapshot>, usize),
    /// All up to the position was told.
    Live(u64),
}

/// Who reads, as far as that decides what is told.
pub(crate) struct Reader {
    /// What was presented.
    pub(crate) token: Option<Box<str>>,
    /// What may be seen with it.
    pub(crate) sight: Sight,
    /// Which rights were in force when that was found out.
    pub(crate) rights: u64,
    /// Whether it takes compressed bytes.
    pub(crate) packed: bool,
}

/// See the module.
pub(crate) struct Follow {
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    place: Place,
    stage: Stage,
    reader: Reader,
    /// What is to be told before anything else.
    before: Option<bytes::Bytes>,
    alive: Pin<Box<Sleep>>,
}

/// The ends of a stream of gRPC.
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
        let counter = if feed.format == Format::Grpc { &shared.totals.grpc } else { &shared.totals.sse };
        count(counter);
        let place = feed.gate.enter();
        let before = reader.packed.then(|| bytes::Bytes::from_static(&GZIP_HEAD));
        let alive = Box::pin(sleep(ALIVE_INTERVAL));
        Follow { shared, feed, place, stage: Stage::Start(after), reader, before, alive }
    }

    /// Whether what may be seen is still the same.
    fn is_allowed(&mut self) -> bool {
        let port = self.shared.catalogue.port();
        let rights = port.access_version();
        if rights == self.reader.rights {
            return true;
        }
        self.feed.gate.wake_for(rights);
        self.reader.rights = rights;
        let Ok(who) = port.authenticate(self.reader.token.as_deref()) else {
            return false;
        };
        // Who sees a part might see another: it begins anew, from where it is.
        self.reader.sight.sees_everything() && who.reads_everything()
    }

    fn end(&self, why: End) -> Piece {
        if self.feed.format == Format::Events {
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

    /// What there is to tell now.
    fn told(&mut self) -> Option<bytes::Bytes> {
        if let Some(before) = self.before.take() {
            return Some(before);
        }
        let (totals, packed) = (&self.shared.totals, self.reader.packed);
        loop {
            match &mut self.stage {
                Stage::Start(after) => {
                    let after = *after;
                    if after > 0 && self.feed.resumes(after, totals) {
                        count(&totals.resumed);
                        self.stage = Stage::Live(after);
                    } else {
                        self.stage = Stage::Told(self.feed.snapshot(totals), 0);
                        let follows = self.feed.format.snapshot_follows();
                        if after > 0 && !follows.is_empty() {
                            return Some(follows);
                        }
                    }
                }
                Stage::Told(snapshot, place) => {
                    if let Some(piece) = snapshot.pieces.get(*place) {
                        *place += 1;
                        return Some(piece.bytes(packed));
                    }
                    self.stage = Stage::Live(snapshot.at);
                }
                Stage::Live(after) => match self.feed.next(*after, packed, totals) {
                    Next::Piece(bytes, upto) => {
                        *after = upto;
                        return Some(bytes);
                    }
                    Next::Nothing(upto) => {
                        *after = upto;
                        return None;
                    }
                    Next::Snapshot => self.stage = Stage::Start((*after).max(1)),
                },
            }
        }
    }
}

impl Flow for Follow {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        loop {
            self.feed.arm();
            if self.shared.answers.is_stopping() {
                return Poll::Ready(self.end(End::Stopping));
            }
            if !self.is_allowed() {
                return Poll::Ready(self.end(End::Rights));
            }
            if let Some(bytes) = self.told() {
                return Poll::Ready(Piece::Data(bytes));
            }
            if self.alive.as_mut().poll(context).is_ready() {
                self.alive.as_mut().reset(Instant::now() + ALIVE_INTERVAL);
                let alive = self.feed.format.alive();
                if !alive.is_empty() {
                    let alive = if self.reader.packed { crate::answers::blocks(&alive) } else { alive };
                    return Poll::Ready(Piece::Data(alive));
                }
                continue;
            }
            self.place.sleep(context.waker());
            if !self.feed.gate.is_due() && !self.shared.answers.is_stopping() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let totals = &self.shared.totals;
        uncount(if self.feed.format == Format::Grpc { &totals.grpc } else { &totals.sse });
    }
}

//! Bodies of answers: whole and shared, or a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

/// What a stream brings next.
pub(crate) enum Piece {
    /// Bytes.
    Data(Bytes),
    /// The end, with what is said behind it.
    Trailers(HeaderMap),
    /// The end.
    End,
}

/// A body that comes piece by piece.
pub(crate) trait Flow: Send {
    /// What comes next. Not called again after an end.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Piece>;
}

/// The body of an answer.
pub(crate) enum Sent {
    /// Shared bytes; `None` where they were sent.
    Whole(Option<Bytes>),
    /// A stream.
    Flow(Box<dyn Flow>),
    /// A stream that has ended.
    Ended,
}

impl Sent {
    /// A body that is there.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Sent::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let flow = match &mut *self {
            Sent::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Sent::Ended => return Poll::Ready(None),
            Sent::Flow(flow) => flow,
        };
        let Poll::Ready(piece) = flow.poll_piece(context) else {
            return Poll::Pending;
        };
        Poll::Ready(match piece {
            Piece::Data(bytes) => Some(Ok(Frame::data(bytes))),
            Piece::Trailers(trailers) => {
                *self = Sent::Ended;
                Some(Ok(Frame::trailers(trailers)))
            }
            Piece::End => {
                *self = Sent::Ended;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Sent::Whole(None) | Sent::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Sent::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Sent::Flow(_) => SizeHint::default(),
            Sent::Ended => SizeHint::with_exact(0),
        }
    }
}

//! Reading a body that somebody sends: so many bytes, in so much time, within what all of them may hold.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use federation::intake::Reject;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{BODY_PAUSE_MAX, BODY_WAIT_MAX, DRAIN_BYTES_MAX, HELD_BYTES_MAX};

/// Bytes that one permit stands for.
const PERMIT_BYTES: usize = 1 << 10;

/// How long a body may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyWaits {
    /// Between one piece and the next.
    pub pause: Duration,
    /// From the head to the end.
    pub whole: Duration,
}

impl Default for BodyWaits {
    fn default() -> Self {
        BodyWaits { pause: BODY_PAUSE_MAX, whole: BODY_WAIT_MAX }
    }
}

/// Room for bodies: [`HELD_BYTES_MAX`] of them.
#[derive(Debug)]
pub(crate) struct Room(Semaphore);

/// Room taken, given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held<'a>(Option<SemaphorePermit<'a>>);

impl Default for Room {
    fn default() -> Self {
        Room(Semaphore::new(HELD_BYTES_MAX / PERMIT_BYTES))
    }
}

impl Room {
    /// Takes room for so many bytes more. [`Reject::Busy`] where there is none.
    pub fn take<'a>(&'a self, held: &mut Held<'a>, bytes: usize) -> Result<(), Reject> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).map_err(|_| Reject::Busy)?;
        let more = self.0.try_acquire_many(permits).map_err(|_| Reject::Busy)?;
        match &mut held.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// Reads a body of `most` bytes at most.
///
/// # Errors
/// [`Reject::ReadBody`] where it breaks off or comes too slowly, [`Reject::TooLarge`], [`Reject::Busy`].
pub(crate) async fn read<'a, B>(
    body: B,
    most: usize,
    waits: BodyWaits,
    room: &'a Room,
    held: &mut Held<'a>,
) -> Result<Bytes, Reject>
where
    B: Body<Data = Bytes>,
{
    let end = Instant::now() + waits.whole;
    let mut body = pin!(body);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > most {
        if announced <= most + DRAIN_BYTES_MAX {
            drain(body, announced, waits.pause).await;
        }
        return Err(Reject::TooLarge);
    }
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    loop {
        let pause = end.min(Instant::now() + waits.pause);
        let frame = match timeout_at(pause, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) | Err(_) => return Err(Reject::ReadBody),
        };
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > most {
            drain(body, DRAIN_BYTES_MAX, waits.pause).await;
            return Err(Reject::TooLarge);
        }
        room.take(held, data.len())?;
        // Most bodies come in one piece, which is then not copied.
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// Reads on to the end, if that is near: a connection that is closed with bytes unread is reset, and the
/// answer lost with it.
async fn drain<B: Body<Data = Bytes>>(mut body: std::pin::Pin<&mut B>, most: usize, wait: Duration) {
    let mut left = most;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    let _either_way = timeout(wait, read).await;
}

//! A connection over TCP without anything between: bytes are read into a buffer of the thread's, so
//! that an idle connection has none, and written from whichever thread has them.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{Closed, Outbound};
use crate::limits::{PRESSED_PAUSE, READ_BYTES};
use crate::session::{Connection, Session, Wait};

/// How long to wait before looking again whether the journal or a receiver has room.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Reads without a pause, after which other connections have their turn.
const TURN_READS: u32 = 16;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads, and hands what comes to the session, until the connection ends.
pub(super) async fn receive(mut socket: OwnedReadHalf, mut session: Session, connection: Arc<Connection>) {
    let mut left: Vec<u8> = Vec::new();
    let mut wait = Wait::Bytes(1);
    let mut reads = 0;
    loop {
        let came = match wait {
            Wait::Bytes(needed) => {
                tokio::select! {
                    biased;
                    came = read(&mut socket, &mut session, &mut left, needed) => came,
                    () = connection.out.ended() => None,
                }
            }
            Wait::Closed => None,
            Wait::Journal | Wait::Requests | Wait::Proof => {
                match wait {
                    Wait::Requests => session.requests_have_room().await,
                    Wait::Proof => session.prove().await,
                    _ => tokio::time::sleep(LOOK_AGAIN).await,
                }
                let (used, wait) = session.process(&left);
                left.drain(..used);
                Some(wait).filter(|_| connection.out.closed().is_none())
            }
        };
        let Some(next) = came else {
            break;
        };
        wait = next;
        if session.flush() {
            pause(&mut session).await;
        }
        reads += 1;
        if reads == TURN_READS {
            reads = 0;
            tokio::task::yield_now().await;
        }
    }
    connection.out.close(Closed::Client);
}

/// Waits a moment for receivers that have much to take and are taking it.
pub(super) async fn pause(session: &mut Session) {
    let mut waited = Duration::ZERO;
    while waited < PRESSED_PAUSE {
        tokio::time::sleep(LOOK_AGAIN).await;
        waited += LOOK_AGAIN;
        if !session.flush() {
            return;
        }
    }
}

/// Reads once, waiting for it, and hands what came to the session; `None` where the other side is gone.
async fn read(socket: &mut OwnedReadHalf, session: &mut Session, left: &mut Vec<u8>, needed: usize) -> Option<Wait> {
    if needed > READ_BYTES {
        return read_long(socket, session, left, needed).await;
    }
    std::future::poll_fn(|context| {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(2 * READ_BYTES, 0);
            let held = left.len().min(READ_BYTES);
            if let (Some(place), Some(bytes)) = (buffer.get_mut(..held), left.get(..held)) {
                place.copy_from_slice(bytes);
            }
            let mut room = ReadBuf::new(buffer.get_mut(held..held + READ_BYTES).unwrap_or_default());
            let count = match Pin::new(&mut *socket).poll_read(context, &mut room) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Ready(Ok(())) => room.filled().len(),
            };
            if count == 0 {
                return Poll::Ready(None);
            }
            let bytes = buffer.get(..held + count).unwrap_or_default();
            let (used, wait) = session.process(bytes);
            left.clear();
            left.extend_from_slice(bytes.get(used..).unwrap_or_default());
            if left.is_empty() && left.capacity() > READ_BYTES {
                *left = Vec::new();
            }
            Poll::Ready(Some(wait))
        })
    })
    .await
}

/// Reads an operation that is longer than the thread's buffer into one of its own.
async fn read_long(
    socket: &mut OwnedReadHalf,
    session: &mut Session,
    left: &mut Vec<u8>,
    needed: usize,
) -> Option<Wait> {
    left.reserve(needed.saturating_sub(left.len()));
    match socket.read_buf(left).await {
        Ok(0) | Err(_) => return None,
        Ok(_) => {}
    }
    if left.len() < needed {
        return Some(Wait::Bytes(needed));
    }
    let (used, wait) = session.process(left);
    left.drain(..used);
    Some(wait)
}

/// Sends what others could not, until the connection has ended and all was said.
pub(super) async fn send(socket: Arc<OwnedWriteHalf>, out: Arc<Outbound>) {
    while let Some((bytes, mut sent)) = out.next().await {
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            if matches!(out.closed(), Some(Closed::Write | Closed::SlowPending | Closed::SlowDeadline)) {
                return;
            }
            match socket.try_write(rest) {
                Ok(0) => return out.close(Closed::Write),
                Ok(count) => {
                    sent += count;
                    out.moved();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::select! {
                        ready = socket.writable() => if ready.is_err() { return out.close(Closed::Write) },
                        () = out.ended() => {
                            // What is left is offered once more; who does not take it now is gone.
                            if socket.try_write(rest).is_err() {
                                return;
                            }
                        }
                    }
                }
                Err(_) => return out.close(Closed::Write),
            }
        }
        out.sent(bytes);
    }
    finish(&socket);
}

/// Tells the other side that nothing follows.
fn finish(socket: &OwnedWriteHalf) {
    let shut = rustix::net::shutdown(socket.as_ref(), rustix::net::Shutdown::Both);
    if let Err(error) = shut {
        tracing::debug!(%error, "the other side was gone");
    }
}

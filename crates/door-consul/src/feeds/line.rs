//! A reader whose socket is written by whoever finds that something happened, where it takes that at once.
//!
//! So a change costs each reader one write and nothing else: no task wakes for it. A reader's own task writes the
//! beginning, whatever the socket did not take at once, and what the reader missed by that; and it notices that the
//! other side is gone.
//!
//! # Invariants
//! - Only one writes at a time: others while the line is `live`, its own task while it is not.
//! - A line that is live was told all up to `after`. Whoever cannot tell it all of the next leaves it to the task.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::Batch;
use super::cursor::Cursor;
use crate::counts::{count, uncount};
use crate::limits::ALIVE_INTERVAL;
use crate::serve::Shared;

/// See the module.
pub(crate) struct Line {
    socket: TcpStream,
    packed: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: bool,
    after: u64,
    /// What others began to write and the socket did not take.
    rest: Bytes,
    /// The task's, which waits.
    waker: Option<Waker>,
}

/// Why a line's task goes on.
enum Why {
    /// It is to look, or to write.
    Look,
    /// Nothing happened for a while.
    Idle,
    /// The other side is gone.
    Gone,
}

impl Line {
    /// Tells a live line what it does not know of all up to a position. Whether it was told all of it at once.
    pub(super) fn push(&self, batches: &[Arc<Batch>], quiet: u64) -> bool {
        let mut state = self.state.lock();
        while state.live {
            if state.after >= quiet {
                return true;
            }
            let after = state.after;
            let Some(batch) = batches.iter().find(|batch| batch.from <= after && after < batch.upto) else { break };
            let bytes = batch.behind(after, self.packed);
            state.after = batch.upto;
            match self.try_chunk(&bytes) {
                None => continue,
                Some(rest) => state.rest = rest,
            }
            break;
        }
        state.live = false;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        false
    }

    /// Takes the line from others; what they left to write.
    fn take(&self, cursor: &mut Cursor) -> Bytes {
        let mut state = self.state.lock();
        state.live = false;
        if state.after > 0 {
            cursor.told_by_others(state.after);
        }
        std::mem::take(&mut state.rest)
    }

    /// Leaves the line to others.
    fn leave(&self, after: u64) {
        let mut state = self.state.lock();
        (state.live, state.after) = (true, after);
    }

    /// Whether others left something to the task, which otherwise is woken when they do.
    fn is_left(&self, context: &Context<'_>) -> bool {
        let mut state = self.state.lock();
        if state.live {
            state.waker = Some(context.waker().clone());
        }
        !state.live
    }

    /// Writes bytes as a chunk (RFC 9112, 7.1), as far as the socket takes it at once; what is left. What is wrong with
    /// the socket shows again where that is written.
    fn try_chunk(&self, bytes: &Bytes) -> Option<Bytes> {
        if bytes.is_empty() {
            return None;
        }
        let head = format!("{:x}\r\n", bytes.len());
        let parts = [head.as_bytes(), bytes, b"\r\n"];
        let wrote = self.socket.try_write_vectored(&parts.map(IoSlice::new)).unwrap_or(0);
        if wrote == parts.iter().map(|part| part.len()).sum::<usize>() {
            return None;
        }
        let mut rest = Vec::with_capacity(head.len() + bytes.len() + 2);
        parts.iter().for_each(|part| rest.extend_from_slice(part));
        let mut rest = Bytes::from(rest);
        rest.advance(wrote);
        Some(rest)
    }

    /// Writes bytes as a chunk.
    async fn chunk(&self, bytes: &Bytes) -> io::Result<()> {
        self.write(self.try_chunk(bytes).unwrap_or_default()).await
    }

    /// Says that nothing comes any more, where the socket takes that.
    fn end(&self) {
        // Who is gone, or does not read, sees the end of the connection all the same.
        let _unsaid = self.socket.try_write(b"0\r\n\r\n");
    }

    /// Writes all of it, as it is.
    async fn write(&self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.socket.try_write(&bytes) {
                Ok(count) => bytes.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the other side is gone; what it says more is not read.
    fn poll_gone(&self, context: &mut Context<'_>) -> bool {
        let mut byte = [0];
        let mut room = tokio::io::ReadBuf::new(&mut byte);
        matches!(self.socket.poll_peek(context, &mut room), Poll::Ready(Ok(0) | Err(_)))
    }
}

/// Tells a reader, from a head on, until it or the door goes, or it may not know any more.
pub(crate) async fn tell(shared: Arc<Shared>, socket: TcpStream, mut cursor: Cursor, head: Bytes) {
    let line = Arc::new(Line { socket, packed: cursor.reader.packed, state: Mutex::default() });
    let feed = Arc::clone(&cursor.feed);
    let slot = feed.lines.lock().insert(Arc::clone(&line));
    count(&shared.totals.sse);
    // Who is gone does not want to know why.
    let _ended = told(&shared, &line, &mut cursor, head).await;
    uncount(&shared.totals.sse);
    feed.lines.lock().remove(slot);
}

async fn told(shared: &Shared, line: &Line, cursor: &mut Cursor, head: Bytes) -> io::Result<()> {
    let deadline = shared.options.write_deadline;
    let stuck = |_| io::Error::from(io::ErrorKind::TimedOut);
    let feed = Arc::clone(&cursor.feed);
    let place = feed.gate.enter_quietly();
    timeout(deadline, line.write(head)).await.map_err(stuck)??;
    let mut alive = pin!(sleep(ALIVE_INTERVAL));
    loop {
        let calls = feed.gate.calls();
        feed.arm(&shared.totals);
        if shared.answers.is_stopping() || !cursor.is_allowed(shared) {
            let rest = line.take(cursor);
            timeout(deadline, line.write(rest)).await.map_err(stuck)??;
            line.end();
            return Ok(());
        }
        if feed.is_behind(line) {
            let rest = line.take(cursor);
            timeout(deadline, line.write(rest)).await.map_err(stuck)??;
            while let Some(bytes) = cursor.told(shared) {
                timeout(deadline, line.chunk(&bytes)).await.map_err(stuck)??;
            }
            line.leave(cursor.position().unwrap_or(0));
            // What happened before it was left is not pushed to it.
            if feed.is_behind(line) {
                continue;
            }
        }
        let why = std::future::poll_fn(|context| {
            place.sleep(context.waker());
            if feed.gate.is_due(calls) || shared.answers.is_stopping() || line.is_left(context) {
                return Poll::Ready(Why::Look);
            }
            if line.poll_gone(context) {
                return Poll::Ready(Why::Gone);
            }
            Pin::new(&mut alive.as_mut()).poll(context).map(|()| Why::Idle)
        });
        match why.await {
            Why::Look => {}
            Why::Gone => return Ok(()),
            Why::Idle => {
                alive.as_mut().reset(Instant::now() + ALIVE_INTERVAL);
                let rest = line.take(cursor);
                timeout(deadline, line.write(rest)).await.map_err(stuck)??;
                timeout(deadline, line.chunk(&cursor.alive())).await.map_err(stuck)??;
            }
        }
    }
}

impl Line {
    /// Whether the task has to write: others were not left the line, or what they were to tell it is not told.
    pub(super) fn is_behind(&self, quiet: u64) -> bool {
        let state = self.state.lock();
        !state.live || state.after < quiet
    }
}

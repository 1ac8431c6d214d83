//! What waits to be sent to one client.
//!
//! Whoever delivers writes the message, encoded, into the client's buffer, and goes on. The buffer is
//! sent by whoever holds the baton: the thread that delivered, where the socket takes bytes without
//! waiting, or the connection's own writer.
//!
//! # Invariants
//! - One at a time holds the baton, so bytes leave in the order in which they were put.
//! - Nothing here waits. A client for which more than `max_pending` bytes wait is given up.
//! - Who puts bytes into a buffer that nobody is about to send is told so ([`Took::First`]).

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use door::Took;
use parking_lot::Mutex;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use crate::limits::PRESSED_BYTES;

/// Largest buffer that is kept for the next time, in bytes.
const KEPT_BYTES_MAX: usize = 256 * 1024;
/// How long a receiver may make no progress before senders no longer pause for it.
const PROGRESS_NANOS: u64 = 20_000_000;
/// How often a sender that flushes goes on with what came meanwhile, before it leaves the rest to
/// the connection's writer.
const ROUNDS_MAX: usize = 4;

/// Why a connection ended, as logs and tools name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    Client,
    SlowPending,
    SlowDeadline,
    Stale,
    Authentication,
    AuthenticationTimeout,
    Protocol,
    Payload,
    ControlLine,
    Connections,
    Shutdown,
    Write,
}

impl Closed {
    /// As NATS's monitoring names it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Closed::Client => "Client Closed",
            Closed::SlowPending => "Slow Consumer (Pending Bytes)",
            Closed::SlowDeadline => "Slow Consumer (Write Deadline)",
            Closed::Stale => "Stale Connection",
            Closed::Authentication => "Authentication Failure",
            Closed::AuthenticationTimeout => "Authentication Timeout",
            Closed::Protocol => "Protocol Violation",
            Closed::Payload => "Maximum Message Payload Exceeded",
            Closed::ControlLine => "Maximum Control Line Exceeded",
            Closed::Connections => "Maximum Connections Exceeded",
            Closed::Shutdown => "Server Shutdown",
            Closed::Write => "Write Error",
        }
    }
}

#[derive(Default)]
struct State {
    /// What waits.
    bytes: Vec<u8>,
    /// A buffer to take its place.
    spare: Vec<u8>,
    /// What the baton's holder handed to the writer, and how much of it was sent.
    handed: Option<(Vec<u8>, usize)>,
    /// Somebody holds the baton: he sends what comes meanwhile.
    sending: bool,
    /// Somebody was told to see to it.
    told: bool,
    closed: Option<Closed>,
}

/// See the module.
pub(crate) struct Outbound {
    state: Mutex<State>,
    /// Bytes that wait, for those who only want to know.
    waiting: AtomicUsize,
    /// When bytes were last sent, in nanoseconds since `began`.
    progress: AtomicU64,
    began: Instant,
    is_closed: AtomicBool,
    writer: Notify,
    ended: Notify,
    /// The socket, where bytes can be written to it from any thread.
    direct: Option<Arc<OwnedWriteHalf>>,
    max_pending: usize,
    pub(crate) messages: AtomicU64,
    pub(crate) message_bytes: AtomicU64,
}

impl Outbound {
    pub(crate) fn new(direct: Option<Arc<OwnedWriteHalf>>, max_pending: usize) -> Self {
        Outbound {
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            progress: AtomicU64::new(0),
            began: Instant::now(),
            is_closed: AtomicBool::new(false),
            writer: Notify::new(),
            ended: Notify::new(),
            direct,
            max_pending,
            messages: AtomicU64::new(0),
            message_bytes: AtomicU64::new(0),
        }
    }

    /// Puts bytes. [`Took::No`] where the client is gone, or is given up for what waits already.
    pub(crate) fn put(&self, write: impl FnOnce(&mut Vec<u8>)) -> Took {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return Took::No;
        }
        write(&mut state.bytes);
        let waiting = state.bytes.len() + state.handed.as_ref().map_or(0, |(bytes, sent)| bytes.len() - sent);
        self.waiting.store(waiting, Ordering::Relaxed);
        if waiting > self.max_pending {
            drop(state);
            self.close(Closed::SlowPending);
            return Took::No;
        }
        if state.sending || state.told {
            return Took::Yes;
        }
        state.told = true;
        // Nothing waited until now: the client's time to take it begins.
        self.progress.store(self.nanos(), Ordering::Relaxed);
        Took::First
    }

    /// Puts bytes and has them sent soon.
    pub(crate) fn say(&self, bytes: &[u8]) {
        if self.put(|out| out.extend_from_slice(bytes)) == Took::First {
            self.wake();
        }
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether much waits, and goes out.
    pub(crate) fn is_pressed(&self) -> bool {
        self.waiting() > PRESSED_BYTES
            && self.nanos().saturating_sub(self.progress.load(Ordering::Relaxed)) < PROGRESS_NANOS
    }

    /// Whether much waits.
    pub(crate) fn is_laden(&self) -> bool {
        self.waiting() > PRESSED_BYTES
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long ago the last bytes went out.
    pub(crate) fn since_progress(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.nanos().saturating_sub(self.progress.load(Ordering::Relaxed)))
    }

    /// Sends what waits from this thread, as far as the socket takes it.
    pub(crate) fn flush(&self) {
        let Some(socket) = &self.direct else {
            return self.wake();
        };
        for _ in 0..ROUNDS_MAX {
            let Some(bytes) = self.take() else {
                return;
            };
            let mut sent = 0;
            while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
                match socket.try_write(rest) {
                    Ok(0) => return self.close(Closed::Write),
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.hand_over(bytes, sent),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return self.close(Closed::Write),
                }
            }
            if !self.give_back(bytes) {
                return;
            }
        }
        self.state.lock().told = true;
        self.wake();
    }

    /// Has the connection's writer send what waits.
    pub(crate) fn wake(&self) {
        self.writer.notify_one();
    }

    /// Takes the baton with what waits; `None` where there is nothing, or somebody else has it.
    fn take(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        if state.sending {
            return None;
        }
        state.told = false;
        if state.bytes.is_empty() || state.closed.is_some() {
            return None;
        }
        state.sending = true;
        let spare = mem::take(&mut state.spare);
        Some(mem::replace(&mut state.bytes, spare))
    }

    /// Gives the baton back after all was sent; whether more waits.
    fn give_back(&self, mut bytes: Vec<u8>) -> bool {
        self.progress.store(self.nanos(), Ordering::Relaxed);
        let mut state = self.state.lock();
        state.sending = false;
        if bytes.capacity() <= KEPT_BYTES_MAX {
            bytes.clear();
            state.spare = bytes;
        }
        self.waiting.store(state.bytes.len(), Ordering::Relaxed);
        !state.bytes.is_empty()
    }

    fn hand_over(&self, bytes: Vec<u8>, sent: usize) {
        if sent > 0 {
            self.progress.store(self.nanos(), Ordering::Relaxed);
        }
        self.state.lock().handed = Some((bytes, sent));
        self.wake();
    }

    /// For the writer: what is to be sent next, from which byte on. Waits; `None` where the
    /// connection has ended and nothing is left to say.
    pub(crate) async fn next(&self) -> Option<(Vec<u8>, usize)> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(handed) = state.handed.take() {
                    return Some(handed);
                }
                if !state.sending {
                    state.told = false;
                    if !state.bytes.is_empty() {
                        state.sending = true;
                        let spare = mem::take(&mut state.spare);
                        return Some((mem::replace(&mut state.bytes, spare), 0));
                    }
                    if state.closed.is_some() {
                        return None;
                    }
                }
            }
            self.writer.notified().await;
        }
    }

    /// For the writer: all of it was sent.
    pub(crate) fn sent(&self, bytes: Vec<u8>) {
        self.give_back(bytes);
    }

    /// For the writer: some bytes went out.
    pub(crate) fn moved(&self) {
        self.progress.store(self.nanos(), Ordering::Relaxed);
    }

    /// Ends the connection; what waits is still sent where the client takes it. The first reason stays.
    pub(crate) fn close(&self, why: Closed) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(why);
        if matches!(why, Closed::SlowPending | Closed::SlowDeadline | Closed::Write | Closed::Client) {
            state.bytes = Vec::new();
            state.handed = None;
            state.sending = false;
        }
        drop(state);
        self.is_closed.store(true, Ordering::Release);
        self.writer.notify_one();
        self.ended.notify_waiters();
        self.ended.notify_one();
    }

    pub(crate) fn closed(&self) -> Option<Closed> {
        if !self.is_closed.load(Ordering::Acquire) {
            return None;
        }
        self.state.lock().closed
    }

    /// Waits until the connection has ended.
    pub(crate) async fn ended(&self) {
        while !self.is_closed.load(Ordering::Acquire) {
            self.ended.notified().await;
        }
    }

    /// Lets go of memory that an idle connection does not need.
    pub(crate) fn rest(&self) {
        if let Some(mut state) = self.state.try_lock()
            && !state.sending
            && state.bytes.is_empty()
        {
            state.bytes = Vec::new();
            state.spare = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_to_put_is_told_to_see_to_it_until_it_is_sent() {
        let out = Outbound::new(None, 100);
        let put = |text: &str| out.put(|bytes| bytes.extend_from_slice(text.as_bytes()));
        assert_eq!((put("a"), put("b")), (Took::First, Took::Yes));
        let (bytes, from) = out.next().await.unwrap();
        assert_eq!((&bytes[..], from), (&b"ab"[..], 0));
        assert_eq!(put("c"), Took::Yes, "whoever sends goes on with it");
        out.sent(bytes);
        let (bytes, _) = out.next().await.unwrap();
        assert_eq!(&bytes[..], b"c");
        out.sent(bytes);
        assert_eq!(put("d"), Took::First);
    }

    #[tokio::test]
    async fn what_was_said_before_the_end_is_sent_and_a_slow_client_is_given_up() {
        let out = Outbound::new(None, 4);
        out.say(b"bye");
        out.close(Closed::Protocol);
        assert_eq!(out.put(|bytes| bytes.push(1)), Took::No);
        let (bytes, _) = out.next().await.unwrap();
        out.sent(bytes);
        assert!(out.next().await.is_none());
        let slow = Outbound::new(None, 4);
        assert_eq!(slow.put(|bytes| bytes.extend_from_slice(b"12345")), Took::No);
        assert_eq!(slow.closed(), Some(Closed::SlowPending));
        assert!(slow.next().await.is_none());
    }
}

//! What waits to be sent on one connection.
//!
//! Whoever delivers writes the frame into the connection's buffer, and goes on. The buffer is sent by whoever
//! holds the baton: the thread that delivered, where the socket takes bytes without waiting, or the
//! connection's own task.
//!
//! # Invariants
//! - One at a time holds the baton, so bytes leave in the order in which they were put.
//! - Nothing here waits. A connection for which more bytes or events wait than it may have is given up.
//! - Who puts bytes into a buffer that nobody is about to send is told so ([`Took::First`]).
//!
//! # Cost
//! One copy of each event. A connection for which nothing waits has no buffer.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use door::Took;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::limits::PRESSED_BYTES;

/// Largest buffer that is kept for the next time while a connection is busy, in bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Bytes waiting beyond which a buffer gets at once all the room that it may need. Growing it by and by would copy
/// megabytes while the sender waits; memory that is not written to is not taken.
const GROWN_BYTES: usize = 512 * 1024;
/// How long a receiver may make no progress before senders no longer pause for it.
const PROGRESS_NANOS: u64 = 20_000_000;
/// How often a sender that flushes goes on with what came meanwhile, before it leaves the rest to
/// the connection's task.
const ROUNDS_MAX: usize = 4;

/// Why a connection ended, as logs and metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The other side said goodbye, or is gone.
    Client,
    /// More waited for it than may.
    SlowPending,
    /// It took nothing for the write deadline.
    SlowDeadline,
    /// No pong came for the read deadline.
    Silent,
    /// It broke the protocol's rules.
    Protocol,
    /// It sent a frame longer than is taken.
    TooLong,
    /// The socket failed.
    Write,
    /// It is a link that is not to be, for a reason that the log has.
    Link,
    /// Nothing was to be sent for the idle time.
    Idle,
    /// The node stops.
    Shutdown,
}

impl Closed {
    /// Every reason.
    pub(crate) const ALL: [Closed; 10] = [
        Closed::Client,
        Closed::SlowPending,
        Closed::SlowDeadline,
        Closed::Silent,
        Closed::Protocol,
        Closed::TooLong,
        Closed::Write,
        Closed::Link,
        Closed::Idle,
        Closed::Shutdown,
    ];

    /// As metrics name it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Closed::Client => "client",
            Closed::SlowPending => "slow-pending",
            Closed::SlowDeadline => "slow-deadline",
            Closed::Silent => "no-pong",
            Closed::Protocol => "protocol",
            Closed::TooLong => "too-long",
            Closed::Write => "write-failed",
            Closed::Link => "link",
            Closed::Idle => "idle",
            Closed::Shutdown => "shutdown",
        }
    }

    /// Whether what waits is of no use any more.
    fn is_lost(self) -> bool {
        matches!(self, Closed::SlowPending | Closed::SlowDeadline | Closed::Silent | Closed::Write)
    }
}

/// How far a sender came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Nothing waits, or somebody else sends it.
    Done,
    /// The socket takes nothing for now.
    Blocked,
    /// The connection has ended and all was said.
    Over,
}

#[derive(Default)]
struct State {
    /// What waits.
    bytes: Vec<u8>,
    /// How many events that is.
    messages: u32,
    /// A buffer to take its place.
    spare: Vec<u8>,
    /// What the baton's holder handed to the connection's task, how much of it was sent, and how many
    /// events it had.
    handed: Option<(Vec<u8>, usize)>,
    handed_messages: u32,
    /// Somebody holds the baton: he sends what comes meanwhile.
    sending: bool,
    /// Somebody was told to see to it.
    told: bool,
    closed: Option<Closed>,
    /// Events that were given up when it ended.
    lost: u32,
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
    /// The socket, where bytes can be written to it from any thread.
    direct: Option<Arc<TcpStream>>,
    bytes_max: usize,
    messages_max: u32,
    pub(crate) messages: AtomicU64,
    pub(crate) message_bytes: AtomicU64,
}

impl Outbound {
    pub(crate) fn new(direct: Option<Arc<TcpStream>>, bytes_max: usize, messages_max: u32) -> Self {
        Outbound {
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            progress: AtomicU64::new(0),
            began: Instant::now(),
            is_closed: AtomicBool::new(false),
            writer: Notify::new(),
            direct,
            bytes_max,
            messages_max,
            messages: AtomicU64::new(0),
            message_bytes: AtomicU64::new(0),
        }
    }

    /// Puts `count` events of `size` bytes of payload. [`Took::No`] where the connection is gone, or is given
    /// up for what waits already.
    pub(crate) fn put(&self, count: u32, size: usize, write: impl FnOnce(&mut Vec<u8>)) -> Took {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return Took::No;
        }
        if state.bytes.len() > GROWN_BYTES && state.bytes.capacity() < self.bytes_max {
            let more = self.bytes_max.saturating_sub(state.bytes.len());
            state.bytes.reserve_exact(more);
        }
        write(&mut state.bytes);
        state.messages = state.messages.saturating_add(count);
        let waiting = state.bytes.len() + state.handed.as_ref().map_or(0, |(bytes, sent)| bytes.len() - sent);
        self.waiting.store(waiting, Ordering::Relaxed);
        let messages = state.messages.saturating_add(state.handed_messages);
        if waiting > self.bytes_max || messages > self.messages_max {
            // It is the caller's to count, or to hand to another.
            state.messages = state.messages.saturating_sub(count);
            drop(state);
            self.close(Closed::SlowPending);
            return Took::No;
        }
        self.messages.fetch_add(u64::from(count), Ordering::Relaxed);
        self.message_bytes.fetch_add(size as u64, Ordering::Relaxed);
        if state.sending || state.told {
            return Took::Yes;
        }
        state.told = true;
        // Nothing waited until now: the time to take it begins.
        self.progress.store(self.nanos(), Ordering::Relaxed);
        Took::First
    }

    /// Puts bytes that are no event, and has them sent soon.
    pub(crate) fn say(&self, bytes: &[u8]) {
        if self.put(0, 0, |out| out.extend_from_slice(bytes)) == Took::First {
            self.wake();
        }
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Events that wait.
    pub(crate) fn waiting_messages(&self) -> u32 {
        let state = self.state.lock();
        state.messages.saturating_add(state.handed_messages)
    }

    /// Whether much waits, and goes out.
    pub(crate) fn is_pressed(&self) -> bool {
        self.is_laden() && self.nanos().saturating_sub(self.progress.load(Ordering::Relaxed)) < PROGRESS_NANOS
    }

    /// Whether much waits.
    pub(crate) fn is_laden(&self) -> bool {
        self.waiting() > PRESSED_BYTES.min(self.bytes_max / 2)
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long bytes have waited without any going out; `None`: none wait.
    pub(crate) fn stuck(&self) -> Option<Duration> {
        let since = || Duration::from_nanos(self.nanos().saturating_sub(self.progress.load(Ordering::Relaxed)));
        (self.waiting() > 0).then(since)
    }

    /// Sends what waits from this thread, as far as the socket takes it.
    pub(crate) fn flush(&self) {
        let Some(socket) = &self.direct else {
            return self.wake();
        };
        for _ in 0..ROUNDS_MAX {
            let Some((bytes, sent)) = self.take(false) else {
                return;
            };
            if self.write(socket, bytes, sent) == Pushed::Blocked {
                return self.wake();
            }
            if !self.more_waits() {
                return;
            }
        }
        self.state.lock().told = true;
        self.wake();
    }

    /// For the connection's task: sends what waits and is its to send, as far as the socket takes it.
    pub(crate) fn push(&self, socket: &TcpStream) -> Pushed {
        while let Some((bytes, sent)) = self.take(true) {
            if self.write(socket, bytes, sent) == Pushed::Blocked {
                return Pushed::Blocked;
            }
        }
        if self.closed().is_some() && !self.state.lock().sending { Pushed::Over } else { Pushed::Done }
    }

    /// Writes until all is sent or the socket is full; then what is left is the connection's task's.
    fn write(&self, socket: &TcpStream, bytes: Vec<u8>, mut sent: usize) -> Pushed {
        let before = sent;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match socket.try_write(rest) {
                Ok(0) => self.close(Closed::Write),
                Ok(count) => {
                    sent += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if sent > before {
                        self.moved();
                    }
                    self.keep(bytes, sent);
                    return Pushed::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => self.close(Closed::Write),
            }
            break;
        }
        self.sent(bytes);
        Pushed::Done
    }

    /// Has the connection's task send what waits.
    pub(crate) fn wake(&self) {
        self.writer.notify_one();
    }

    /// Waits to be woken.
    pub(crate) async fn woken(&self) {
        self.writer.notified().await;
    }

    fn more_waits(&self) -> bool {
        !self.state.lock().bytes.is_empty()
    }

    /// Takes the baton with what waits; `None` where there is nothing, or somebody else has it. The
    /// connection's own task takes what was handed to it first.
    pub(crate) fn take(&self, own: bool) -> Option<(Vec<u8>, usize)> {
        let mut state = self.state.lock();
        if own && let Some(handed) = state.handed.take() {
            return Some(handed);
        }
        if state.sending {
            return None;
        }
        state.told = false;
        if state.bytes.is_empty() || state.closed.is_some_and(Closed::is_lost) {
            return None;
        }
        state.sending = true;
        state.handed_messages = mem::take(&mut state.messages);
        let spare = mem::take(&mut state.spare);
        Some((mem::replace(&mut state.bytes, spare), 0))
    }

    /// Gives the baton back after all was sent.
    pub(crate) fn sent(&self, mut bytes: Vec<u8>) {
        self.moved();
        let mut state = self.state.lock();
        state.sending = false;
        state.handed_messages = 0;
        if bytes.capacity() <= KEPT_BYTES_MAX {
            bytes.clear();
            state.spare = bytes;
        }
        self.waiting.store(state.bytes.len(), Ordering::Relaxed);
        // Who ended it while this was sent waits for the end of it.
        if state.closed.is_some() {
            drop(state);
            self.wake();
        }
    }

    /// Leaves the rest of it, and the baton, to the connection's task.
    pub(crate) fn keep(&self, bytes: Vec<u8>, sent: usize) {
        let mut state = self.state.lock();
        if state.closed.is_some_and(Closed::is_lost) {
            state.sending = false;
            return;
        }
        let waiting = state.bytes.len() + bytes.len() - sent;
        state.handed = Some((bytes, sent));
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Some bytes went out.
    pub(crate) fn moved(&self) {
        self.progress.store(self.nanos(), Ordering::Relaxed);
    }

    /// Ends the connection; what waits is still sent where the other side takes it. The first reason stays.
    pub(crate) fn close(&self, why: Closed) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(why);
        if why.is_lost() {
            state.bytes = Vec::new();
            state.lost = mem::take(&mut state.messages).saturating_add(state.handed_messages);
            state.handed_messages = 0;
            if state.handed.take().is_some() {
                state.sending = false;
            }
        }
        drop(state);
        self.is_closed.store(true, Ordering::Release);
        self.writer.notify_one();
    }

    pub(crate) fn closed(&self) -> Option<Closed> {
        if !self.is_closed.load(Ordering::Acquire) {
            return None;
        }
        self.state.lock().closed
    }

    /// Events that were not sent, once it has ended and nothing sends any more.
    pub(crate) fn lost(&self) -> u32 {
        let state = self.state.lock();
        state.lost.saturating_add(state.messages).saturating_add(state.handed_messages)
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

    #[test]
    fn the_first_to_put_is_told_to_see_to_it_until_it_is_sent() {
        let out = Outbound::new(None, 100, 10);
        let put = |text: &str| out.put(1, text.len(), |bytes| bytes.extend_from_slice(text.as_bytes()));
        assert_eq!((put("a"), put("b")), (Took::First, Took::Yes));
        let (bytes, from) = out.take(true).unwrap();
        assert_eq!((&bytes[..], from), (&b"ab"[..], 0));
        assert_eq!(put("c"), Took::Yes, "whoever sends goes on with it");
        assert!(out.take(true).is_none() && out.take(false).is_none());
        out.keep(bytes, 1);
        assert_eq!((out.waiting(), out.waiting_messages()), (2, 3));
        assert!(out.take(false).is_none(), "the rest is the connection's task's");
        let (bytes, sent) = out.take(true).unwrap();
        assert_eq!((&bytes[..], sent), (&b"ab"[..], 1));
        out.sent(bytes);
        let (bytes, _) = out.take(true).unwrap();
        assert_eq!(&bytes[..], b"c");
        out.sent(bytes);
        assert_eq!(put("d"), Took::First);
    }

    #[test]
    fn who_does_not_read_is_given_up_by_bytes_and_by_events() {
        let many = Outbound::new(None, 4, 10);
        assert_eq!(many.put(1, 5, |bytes| bytes.extend_from_slice(b"12345")), Took::No);
        assert_eq!(many.closed(), Some(Closed::SlowPending));
        assert!(many.take(true).is_none());
        let long = Outbound::new(None, 1000, 2);
        for expected in [Took::First, Took::Yes, Took::No] {
            assert_eq!(long.put(1, 1, |bytes| bytes.push(0)), expected);
        }
        assert_eq!(long.put(1, 1, |bytes| bytes.push(0)), Took::No);
        assert_eq!(long.messages.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_was_said_before_the_end_is_still_sent() {
        let out = Outbound::new(None, 100, 10);
        out.say(b"bye");
        out.close(Closed::Protocol);
        assert_eq!(out.put(1, 1, |bytes| bytes.push(1)), Took::No);
        let (bytes, _) = out.take(true).unwrap();
        assert_eq!(bytes, b"bye");
        out.sent(bytes);
        assert!(out.take(true).is_none());
    }
}

//! What waits to be sent on one link.
//!
//! Whoever delivers writes the message, with its frame, into the link's buffer, and goes on. The link's own task takes
//! what waits there in one piece.
//!
//! # Invariants
//! - Nothing here waits. Where a message has no room it is refused, and the link stays; it ends when it takes nothing
//!   for long, or lets the node's own words pile up.
//! - Who puts bytes into a buffer that nobody is about to take is told so ([`Took::First`]).
//! - What is taken always begins and ends with a frame, unless it is cut at [`CHUNK_BYTES`].

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use door::Took;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::codec::{Signer, framed};
use crate::limits::{CHUNK_BYTES, PRESSED_BYTES, PROGRESS, SAID_BYTES_MAX};

/// How a stream ended: a status of gRPC, and words.
pub(crate) type Over = (u16, String);

#[derive(Default)]
struct State {
    bytes: BytesMut,
    signer: Signer,
    /// Who takes them is asleep.
    waker: Option<Waker>,
    /// Somebody was told to see to it.
    told: bool,
    over: Option<Over>,
}

/// See the module.
pub(crate) struct Outbound {
    state: Mutex<State>,
    /// Bytes that wait, for those who only want to know.
    waiting: AtomicUsize,
    /// When bytes were last taken, in nanoseconds since `began`.
    progress: AtomicU64,
    began: Instant,
    is_over: AtomicBool,
    ended: Notify,
    bytes_max: usize,
    pub(crate) messages: AtomicU64,
}

impl Outbound {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Outbound {
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            progress: AtomicU64::new(0),
            began: Instant::now(),
            is_over: AtomicBool::new(false),
            ended: Notify::new(),
            bytes_max,
            messages: AtomicU64::new(0),
        }
    }

    /// Puts a message of about `size` bytes, which `write` writes with its frame. [`Took::No`] where there is no room,
    /// or the link is gone.
    pub(crate) fn put(&self, size: usize, write: impl FnOnce(&mut BytesMut, &mut Signer)) -> Took {
        let mut state = self.state.lock();
        if state.over.is_some() || state.bytes.len().saturating_add(size) > self.bytes_max {
            return Took::No;
        }
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.write(&mut state, write)
    }

    fn write(&self, state: &mut State, write: impl FnOnce(&mut BytesMut, &mut Signer)) -> Took {
        if state.bytes.is_empty() {
            // Nothing waited until now: the time to take it begins.
            self.moved();
        }
        write(&mut state.bytes, &mut state.signer);
        self.waiting.store(state.bytes.len(), Ordering::Relaxed);
        match std::mem::replace(&mut state.told, true) {
            true => Took::Yes,
            false => Took::First,
        }
    }

    /// Says something of the node's own, and has it sent soon.
    pub(crate) fn say(&self, message: &[u8]) {
        let mut state = self.state.lock();
        if state.over.is_some() {
            return;
        }
        if state.bytes.len().saturating_add(message.len()) > self.bytes_max.saturating_add(SAID_BYTES_MAX) {
            drop(state);
            return self.end((8, String::from("the link does not read what it is told")));
        }
        let took = self.write(&mut state, |out, _| framed(out, message));
        drop(state);
        if took == Took::First {
            self.wake();
        }
    }

    /// Has what waits taken.
    pub(crate) fn wake(&self) {
        let waker = self.state.lock().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Takes what waits; `None`: it is over, and all was taken.
    pub(crate) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state.lock();
        if state.bytes.is_empty() {
            if state.over.is_some() {
                return Poll::Ready(None);
            }
            state.told = false;
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = state.bytes.len().min(CHUNK_BYTES);
        let taken = state.bytes.split_to(count).freeze();
        self.waiting.store(state.bytes.len(), Ordering::Relaxed);
        self.moved();
        Poll::Ready(Some(taken))
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether much waits, and is being taken.
    pub(crate) fn is_pressed(&self) -> bool {
        self.is_laden() && self.since_progress() < PROGRESS
    }

    /// Whether much waits.
    pub(crate) fn is_laden(&self) -> bool {
        self.waiting() > PRESSED_BYTES.min(self.bytes_max / 2)
    }

    /// How long bytes have waited without any being taken; `None`: none wait.
    pub(crate) fn stuck(&self) -> Option<Duration> {
        (self.waiting() > 0).then(|| self.since_progress())
    }

    fn since_progress(&self) -> Duration {
        Duration::from_nanos(self.nanos().saturating_sub(self.progress.load(Ordering::Relaxed)))
    }

    fn moved(&self) {
        self.progress.store(self.nanos(), Ordering::Relaxed);
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Ends the link; what waits is still sent where the other side takes it. The first reason stays.
    pub(crate) fn end(&self, over: Over) {
        self.state.lock().over.get_or_insert(over);
        self.is_over.store(true, Ordering::Release);
        self.ended.notify_one();
        self.wake();
    }

    /// Waits until it is to end: for the one task that reads.
    pub(crate) async fn ended(&self) {
        if !self.is_over() {
            self.ended.notified().await;
        }
    }

    /// Whether it is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// How it ended.
    pub(crate) fn over(&self) -> Option<Over> {
        self.state.lock().over.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(out: &Outbound, text: &str) -> Took {
        out.put(text.len(), |bytes, _| bytes.extend_from_slice(text.as_bytes()))
    }

    fn take(out: &Outbound) -> Poll<Option<Bytes>> {
        out.poll_take(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_first_to_put_is_told_to_see_to_it() {
        let out = Outbound::new(100);
        assert!(take(&out).is_pending());
        assert_eq!((put(&out, "a"), put(&out, "b")), (Took::First, Took::Yes));
        assert_eq!(take(&out), Poll::Ready(Some(Bytes::from_static(b"ab"))));
        assert_eq!(put(&out, "c"), Took::Yes, "who takes has not been asleep since");
        assert_eq!(take(&out), Poll::Ready(Some(Bytes::from_static(b"c"))));
        assert!(take(&out).is_pending());
        assert_eq!(put(&out, "d"), Took::First);
    }

    #[test]
    fn who_does_not_read_loses_messages_and_is_told_the_end() {
        let out = Outbound::new(4);
        assert_eq!((put(&out, "1234"), put(&out, "5")), (Took::First, Took::No));
        out.say(b"a word");
        out.end((0, String::new()));
        out.end((3, String::from("later")));
        assert_eq!(put(&out, ""), Took::No);
        assert_eq!(take(&out), Poll::Ready(Some(Bytes::from_static(b"1234\0\0\0\0\x06a word"))));
        assert_eq!(take(&out), Poll::Ready(None));
        assert_eq!(out.over(), Some((0, String::new())));
    }
}

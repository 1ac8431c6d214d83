//! What waits to be sent on one link.
//!
//! Whoever sends writes the frame into the link's buffer and goes on. The buffer is encrypted and sent by whoever holds
//! the baton, which is the state of encryption: the thread that wrote, where the socket takes bytes without waiting, or
//! the link's own task.
//!
//! # Invariants
//! - One at a time holds the baton, so records leave in the order in which they were encrypted.
//! - Nothing here waits. What is urgent (control, notes, signs of life) goes before messages, and is never dropped: a
//!   link for which too much of it waits is given up.
//! - Transient messages beyond [`WAITING_BYTES_MAX`] are dropped and counted. Messages in custody beyond
//!   [`CUSTODY_BYTES_MAX`] are not taken: they are safe where they are, and come again.
//! - Who puts bytes into a buffer that nobody is about to send is told so ([`Put::First`]).
//!
//! # Cost
//! One copy and the encryption of each message. A link for which nothing waits keeps a few chunks at most.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::frame::{FRAME_HEAD_BYTES, Kind, Letter, frame_head};
use super::limits::{
    CHUNK_BYTES_MAX, CONTROL_BYTES_MAX, CUSTODY_BYTES_MAX, PRESSED_BYTES, URGENT_BYTES_MAX, WAITING_BYTES_MAX,
};
use super::record::{Lane, RoundTrip, Sealer, is_far};

/// Chunks that are encrypted and sent at a time: the urgent ones that come meanwhile wait for no more.
const CHUNKS_AT_ONCE: usize = 4;
/// Chunks that are kept for the next time.
const SPARE_CHUNKS_MAX: usize = 8;
/// Bytes of a buffer of encrypted records that is kept for the next time.
const KEPT_BYTES_MAX: usize = 128 << 10;
/// How often a sender that flushes goes on with what came meanwhile, before it leaves the rest to the link's task.
const ROUNDS_MAX: usize = 4;
/// How often the speed of a link is looked at.
const SPEED_WINDOW_NANOS: u64 = 20_000_000;
/// Bytes that a link must have taken within a window for senders to pause for it: 25 MB/s. A slower one would hold
/// them back from others.
const SPEED_BYTES_MIN: u64 = 512 << 10;

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The other side is gone.
    #[error("the other side is gone")]
    Gone,
    /// The other side ended it, and said why.
    #[error("the other side ended it: {0}")]
    Told(String),
    /// Nothing came from it for too long.
    #[error("the other side is silent")]
    Silent,
    /// More control waits for it than may.
    #[error("the other side does not keep up with control")]
    Overrun,
    /// It sent what cannot be.
    #[error("the other side broke the rules: {0}")]
    Broken(String),
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Failed(String),
    /// We ended it.
    #[error("{0}")]
    Closed(String),
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// There is no room, or the link has ended.
    No,
    /// It waits, and somebody is about to send it.
    Yes,
    /// It waits to be [flushed](Outbound::flush) or [woken](Outbound::wake).
    First,
}

/// Counts of one link.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages that were taken to be sent.
    pub messages: AtomicU64,
    /// Bytes of their frames.
    pub message_bytes: AtomicU64,
    /// Transient messages that were dropped for want of room.
    pub dropped: AtomicU64,
    /// Records that were sent.
    pub records: AtomicU64,
    /// Bytes on the wire.
    pub wire_bytes: AtomicU64,
}

#[derive(Default)]
struct Chunks {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// Who has it sends.
struct Baton {
    sealer: Sealer,
    socket: Arc<TcpStream>,
    /// Encrypted, and how much of it was sent.
    out: Vec<u8>,
    sent: usize,
}

struct State {
    urgent: Chunks,
    bulk: Chunks,
    /// `None`: somebody sends, and will see what comes meanwhile.
    baton: Option<Box<Baton>>,
    /// Somebody was told to see to it.
    told: bool,
    spare: Vec<Vec<u8>>,
    ended: Option<Ended>,
    /// It has ended and all was said.
    gone: bool,
}

/// See the module.
pub struct Outbound {
    state: Mutex<State>,
    /// Bytes of messages that wait, for those who only want to know.
    waiting: AtomicUsize,
    began: Instant,
    /// When something last came from the other side, in nanoseconds since `began`.
    heard: AtomicU64,
    /// The window of time in which bytes are counted, those of it, and those of the one before.
    window: AtomicU64,
    window_bytes: AtomicU64,
    speed: AtomicU64,
    writer: Notify,
    over: CancellationToken,
    pub(super) round_trip: RoundTrip,
    /// What it did so far.
    pub counts: Counts,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("waiting", &self.waiting()).field("ended", &self.ended()).finish()
    }
}

impl Outbound {
    pub(super) fn new(sealer: Sealer, socket: Arc<TcpStream>) -> Self {
        let baton = Box::new(Baton { sealer, socket, out: Vec::new(), sent: 0 });
        let state = State {
            urgent: Chunks::default(),
            bulk: Chunks::default(),
            baton: Some(baton),
            told: false,
            spare: Vec::new(),
            ended: None,
            gone: false,
        };
        Outbound {
            state: Mutex::new(state),
            waiting: AtomicUsize::new(0),
            began: Instant::now(),
            heard: AtomicU64::new(0),
            window: AtomicU64::new(0),
            window_bytes: AtomicU64::new(0),
            speed: AtomicU64::new(0),
            writer: Notify::new(),
            over: CancellationToken::new(),
            round_trip: RoundTrip::default(),
            counts: Counts::default(),
        }
    }

    /// Puts a transient message. Without room it is dropped, and counted.
    pub fn message(&self, letter: &Letter<'_>) -> Put {
        let put = self.letter(Kind::Message, letter, WAITING_BYTES_MAX);
        if put == Put::No {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        put
    }

    /// Puts a message that is kept here until the far side has it. Without room it is to come again.
    pub fn keep(&self, letter: &Letter<'_>) -> Put {
        self.letter(Kind::Keep, letter, CUSTODY_BYTES_MAX)
    }

    fn letter(&self, kind: Kind, letter: &Letter<'_>, waiting_max: usize) -> Put {
        // One that is larger than the room may wait alone.
        let Some(size) = letter.frame_bytes().filter(|_| self.waiting() < waiting_max) else {
            return Put::No;
        };
        let lengths = letter.lengths(kind, size);
        let (subject, reply, status) = (letter.subject.as_bytes(), letter.reply.as_bytes(), letter.status.as_bytes());
        let parts = [&lengths[..], letter.head, subject, reply, status, letter.headers, letter.payload];
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return Put::No;
        }
        let State { bulk, spare, .. } = &mut *state;
        bulk.put(Lane::Bulk, size, &parts, spare);
        self.waiting.store(bulk.bytes, Ordering::Relaxed);
        let put = state.see_to_it();
        drop(state);
        self.counts.messages.fetch_add(1, Ordering::Relaxed);
        self.counts.message_bytes.fetch_add(size as u64, Ordering::Relaxed);
        put
    }

    /// Puts control, and has it sent soon. `false`: it is too long, or the link has ended.
    pub fn control(&self, bytes: &[u8]) -> bool {
        self.urgent(Kind::Control, bytes)
    }

    /// Puts a note, and has it sent soon. `false`: it is too long, or the link has ended.
    pub fn note(&self, bytes: &[u8]) -> bool {
        self.urgent(Kind::Note, bytes)
    }

    /// Puts what was kept, and has it sent soon. `false`: it is too long, or the link has ended.
    pub fn kept(&self, bytes: &[u8]) -> bool {
        self.urgent(Kind::Kept, bytes)
    }

    pub(super) fn urgent(&self, kind: Kind, bytes: &[u8]) -> bool {
        if bytes.len() > CONTROL_BYTES_MAX {
            return false;
        }
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return false;
        }
        if state.urgent.bytes > URGENT_BYTES_MAX {
            drop(state);
            self.end(Ended::Overrun);
            return false;
        }
        let State { urgent, spare, .. } = &mut *state;
        urgent.put(Lane::Urgent, FRAME_HEAD_BYTES + bytes.len(), &[&frame_head(kind, bytes.len()), bytes], spare);
        let put = state.see_to_it();
        drop(state);
        if put == Put::First {
            self.wake();
        }
        true
    }

    /// Bytes of messages that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes of control and notes that wait.
    pub fn urgent_waiting(&self) -> usize {
        self.state.lock().urgent.bytes
    }

    /// Whether much waits, and goes out so fast that a short pause of those who send helps.
    pub fn is_pressed(&self) -> bool {
        let recent = || self.nanos().saturating_sub(self.window.load(Ordering::Relaxed)) < 3 * SPEED_WINDOW_NANOS;
        self.is_laden() && self.speed.load(Ordering::Relaxed) >= SPEED_BYTES_MIN && recent()
    }

    /// Whether much waits.
    pub fn is_laden(&self) -> bool {
        self.waiting() > PRESSED_BYTES
    }

    /// The shortest time there and back that was measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip.shortest()
    }

    pub(super) fn nanos(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn heard(&self) {
        self.heard.store(self.nanos(), Ordering::Relaxed);
    }

    /// For how long nothing came from the other side.
    pub fn silence(&self) -> Duration {
        Duration::from_nanos(self.nanos().saturating_sub(self.heard.load(Ordering::Relaxed)))
    }

    /// Sends what waits from this thread, as far as the socket takes it.
    pub fn flush(&self) {
        for _ in 0..ROUNDS_MAX {
            match self.push(false) {
                Pushed::Done => return,
                Pushed::Blocked => return self.wake(),
                Pushed::More => {}
            }
        }
        self.wake();
    }

    /// Has the link's task send what waits.
    pub fn wake(&self) {
        self.writer.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.writer.notified().await;
    }

    /// Sends a few chunks of what waits. The link's `own` task goes on with what the socket would not take.
    pub(super) fn push(&self, own: bool) -> Pushed {
        let mut state = self.state.lock();
        let Some(mut baton) = state.baton.take() else { return Pushed::Done };
        let began = baton.sent < baton.out.len();
        state.told = false;
        if began && !own || !began && state.is_empty() {
            state.baton = Some(baton);
            return Pushed::Done;
        }
        let mut chunks: [Vec<u8>; CHUNKS_AT_ONCE] = std::array::from_fn(|_| Vec::new());
        if !began {
            chunks.iter_mut().for_each(|place| *place = state.next().unwrap_or_default());
        }
        drop(state);
        let far = is_far(&self.round_trip);
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            self.counts.records.fetch_add(1, Ordering::Relaxed);
            if !baton.sealer.seal(chunk, far, &mut baton.out) {
                self.end(Ended::Failed("a record could not be encrypted".to_owned()));
            }
        }
        let pushed = self.write(&mut baton);
        let mut state = self.state.lock();
        state.spare(chunks);
        self.waiting.store(state.bulk.bytes, Ordering::Relaxed);
        if state.gone {
            // The socket goes with the baton.
            return Pushed::Done;
        }
        state.baton = Some(baton);
        if pushed == Pushed::Done && !state.is_empty() {
            state.told = true;
            return Pushed::More;
        }
        pushed
    }

    fn write(&self, baton: &mut Baton) -> Pushed {
        let before = baton.sent;
        let mut pushed = Pushed::Done;
        while let Some(rest) = baton.out.get(baton.sent..).filter(|rest| !rest.is_empty()) {
            match baton.socket.try_write(rest) {
                Ok(0) => self.end(Ended::Gone),
                Ok(count) => {
                    baton.sent += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    pushed = Pushed::Blocked;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.end(Ended::Failed(error.to_string())),
            }
            baton.sent = baton.out.len();
        }
        self.moved((baton.sent - before) as u64);
        if pushed == Pushed::Done {
            baton.sent = 0;
            if baton.out.capacity() > KEPT_BYTES_MAX && self.waiting() == 0 {
                baton.out = Vec::new();
            }
            baton.out.clear();
        }
        pushed
    }

    /// So many bytes went out.
    fn moved(&self, bytes: u64) {
        self.counts.wire_bytes.fetch_add(bytes, Ordering::Relaxed);
        let (now, window) = (self.nanos(), self.window.load(Ordering::Relaxed));
        let taken = self.window_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let passed = now.saturating_sub(window);
        if passed >= SPEED_WINDOW_NANOS {
            let speed = u128::from(taken) * u128::from(SPEED_WINDOW_NANOS) / u128::from(passed.max(1));
            self.speed.store(u64::try_from(speed).unwrap_or(u64::MAX), Ordering::Relaxed);
            self.window_bytes.store(0, Ordering::Relaxed);
            self.window.store(now, Ordering::Relaxed);
        }
    }

    /// Ends the link, and tells the other side why as far as it still takes it. The first reason stays.
    pub fn close(&self, why: &str) {
        let end = why.char_indices().map(|(at, _)| at).find(|at| *at >= 200).unwrap_or(why.len());
        self.urgent(Kind::Bye, why.get(..end).unwrap_or_default().as_bytes());
        self.end(Ended::Closed(why.to_owned()));
    }

    pub(super) fn end(&self, why: Ended) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.bulk = Chunks::default();
        if !matches!(why, Ended::Closed(_)) {
            state.urgent = Chunks::default();
        }
        state.ended = Some(why);
        drop(state);
        self.waiting.store(0, Ordering::Relaxed);
        self.over.cancel();
        self.wake();
    }

    /// Lets go of the socket after the end.
    pub(super) fn let_go(&self) {
        let mut state = self.state.lock();
        let baton = state.baton.take();
        state.gone = true;
        (state.urgent, state.bulk, state.spare) = (Chunks::default(), Chunks::default(), Vec::new());
        drop(state);
        drop(baton);
    }

    /// Why it ended; `None`: it has not.
    pub fn ended(&self) -> Option<Ended> {
        self.state.lock().ended.clone()
    }

    /// Waits until it has ended.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }
}

/// How far a sender came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Nothing waits, or somebody else sends it.
    Done,
    /// More has come.
    More,
    /// The socket takes nothing for now.
    Blocked,
}

impl State {
    fn is_empty(&self) -> bool {
        self.urgent.waiting.is_empty() && self.bulk.waiting.is_empty()
    }

    /// Whether whoever put something is to see that it is sent.
    fn see_to_it(&mut self) -> Put {
        let idle = self.baton.as_ref().is_some_and(|baton| baton.sent >= baton.out.len());
        if !idle || self.told {
            return Put::Yes;
        }
        self.told = true;
        Put::First
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let chunks = if self.urgent.waiting.is_empty() { &mut self.bulk } else { &mut self.urgent };
        let chunk = chunks.waiting.pop_front()?;
        chunks.bytes = chunks.bytes.saturating_sub(chunk.len() - 1);
        Some(chunk)
    }

    fn spare(&mut self, chunks: [Vec<u8>; CHUNKS_AT_ONCE]) {
        for mut chunk in chunks {
            if chunk.capacity() > 0 && self.spare.len() < SPARE_CHUNKS_MAX {
                chunk.clear();
                self.spare.push(chunk);
            }
        }
    }
}

impl Chunks {
    /// Appends a frame in these parts, in one chunk where it fits into one.
    fn put(&mut self, lane: Lane, size: usize, parts: &[&[u8]], spare: &mut Vec<Vec<u8>>) {
        self.bytes += size;
        let fits = |chunk: &Vec<u8>| chunk.len() + size <= CHUNK_BYTES_MAX;
        if !self.waiting.back().is_some_and(fits) {
            self.begin(lane, spare);
        }
        if let Some(chunk) = self.waiting.back_mut().filter(|chunk| fits(chunk)) {
            parts.iter().for_each(|part| chunk.extend_from_slice(part));
            return;
        }
        for part in parts {
            let mut part = *part;
            while !part.is_empty() {
                let room = self.waiting.back().map_or(0, |chunk| CHUNK_BYTES_MAX - chunk.len());
                let (now, later) = part.split_at(room.min(part.len()));
                if let Some(chunk) = self.waiting.back_mut() {
                    chunk.extend_from_slice(now);
                }
                part = later;
                if !part.is_empty() {
                    self.begin(lane, spare);
                }
            }
        }
    }

    fn begin(&mut self, lane: Lane, spare: &mut Vec<Vec<u8>>) {
        let mut chunk = spare.pop().unwrap_or_default();
        chunk.push(lane as u8);
        self.waiting.push_back(chunk);
    }
}

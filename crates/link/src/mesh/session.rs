//! A link that is open: its two halves, its signs of life, its end.
//!
//! What comes is read by whoever owns the [`Reader`], a batch at a time; what is sent goes through [`Outbound`], from
//! any thread. A task of the link's own sends what others could not, says every [`HEARTBEAT`] that we are there, and
//! ends a link that is silent.
//!
//! # Invariants
//! - A peer that hangs is noticed within three seconds: anything that comes is a sign of life, nothing else is.
//! - A frame is handed on at most once and in the order of its lane.
//! - The end of either half is the end of the link. Its reason is kept, the first of several.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::frame::{Frame, Kind, encode, length_of, next};
use super::handshake::{Hello, Noise, read_block};
use super::limits::{BATCH_BYTES_MAX, FRAME_BYTES_MAX, HEARTBEAT, RECORD_BYTES_MAX, SILENCE_MAX};
use super::outbound::{Ended, Outbound, Pushed};
use super::record::{Lane, Opener, Sealer};

/// Bytes read at a time: two of the largest records.
const READ_BYTES: usize = 2 * (RECORD_BYTES_MAX + LENGTH_BYTES);

/// Bytes of the length before a record.
const LENGTH_BYTES: usize = 2;

/// Bytes of a frame that comes in parts that are kept for the next one.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// How long a link that ended may take what was said to it.
const LINGER: Duration = Duration::from_millis(500);

/// Times that a link is looked at and found silent before it ends: a machine that slept has heard nobody.
const SILENT_TIMES: u32 = 2;

/// A link after its handshake.
pub struct Opened {
    socket: TcpStream,
    sealer: Sealer,
    opener: Opener,
    /// What the dialling end said first.
    pub hello: Hello,
    /// What the other end told of itself; it holds the key.
    pub told: Vec<u8>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("hello", &self.hello).finish_non_exhaustive()
    }
}

impl Opened {
    pub(super) fn new(socket: TcpStream, noise: Noise, hello: Hello, told: Vec<u8>) -> Self {
        let (sealer, opener) = (Sealer::new(Arc::clone(&noise)), Opener::new(noise));
        Opened { socket, sealer, opener, hello, told }
    }

    /// Says that we have the keys.
    pub(super) async fn ready(&mut self) -> io::Result<()> {
        use tokio::io::AsyncWriteExt;
        let ready = encode(&Frame::Ready).unwrap_or_default();
        let mut out = Vec::new();
        let chunk = [&[Lane::Urgent as u8][..], &ready].concat();
        self.sealer.seal(&chunk, false, &mut out);
        self.socket.write_all(&out).await
    }

    /// Waits until the other end says so; `false`: it has not.
    pub(super) async fn await_ready(&mut self) -> io::Result<bool> {
        let record = read_block(&mut self.socket).await?;
        let opened = self.opener.open(&record);
        Ok(opened
            .is_some_and(|(_, frames)| matches!(next(frames), Ok(Some((Frame::Ready, used))) if used == frames.len())))
    }

    /// The address of the other end.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.socket.peer_addr().ok()
    }

    /// Starts the link: its sending half, and its reading half, which somebody must read all the time.
    pub fn start(self) -> (Arc<Outbound>, Reader) {
        let socket = Arc::new(self.socket);
        let out = Arc::new(Outbound::new(self.sealer, Arc::clone(&socket)));
        tokio::spawn(send(Arc::clone(&out), Arc::clone(&socket)));
        let reader = Reader {
            socket,
            out: Arc::clone(&out),
            opener: self.opener,
            bytes: vec![0; READ_BYTES].into_boxed_slice(),
            begin: 0,
            end: 0,
            lanes: [const { Vec::new() }; 2],
            more: false,
        };
        (out, reader)
    }
}

/// The link's own task.
async fn send(out: Arc<Outbound>, socket: Arc<TcpStream>) {
    let mut ticks = interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut blocked, mut silent) = (false, 0);
    while !out.is_over() {
        tokio::select! {
            () = out.woken() => {}
            _ = socket.writable(), if blocked => {}
            _ = ticks.tick() => {
                silent = if out.silence() > SILENCE_MAX { silent + 1 } else { 0 };
                if silent >= SILENT_TIMES {
                    out.end(Ended::Silent);
                }
                out.urgent(Kind::Ping, &out.nanos().to_be_bytes());
            }
        }
        blocked = push(&out).await == Pushed::Blocked;
    }
    let last = async {
        while push(&out).await == Pushed::Blocked {
            if socket.writable().await.is_err() {
                break;
            }
        }
    };
    // Who takes nothing any more is not told why.
    let _late = timeout(LINGER, last).await;
    out.let_go();
}

async fn push(out: &Outbound) -> Pushed {
    loop {
        match out.push(true) {
            Pushed::More => tokio::task::consume_budget().await,
            pushed => return pushed,
        }
    }
}

/// What comes on a link.
pub struct Reader {
    socket: Arc<TcpStream>,
    out: Arc<Outbound>,
    opener: Opener,
    bytes: Box<[u8]>,
    begin: usize,
    end: usize,
    /// The beginning of a frame whose rest is in records that are to come, for each lane.
    lanes: [Vec<u8>; 2],
    /// Whole records are there that were not looked at.
    more: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("out", &self.out).finish_non_exhaustive()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.out.end(Ended::Closed("nobody reads it any more".to_owned()));
    }
}

impl Reader {
    /// Waits for bytes, and hands on the frames that they complete. Signs of life are answered here. Safe to drop while
    /// it waits.
    ///
    /// # Errors
    /// The link has ended, for this reason.
    pub async fn batch(&mut self, each: &mut (dyn FnMut(Frame<'_>) + Send)) -> Result<(), Ended> {
        if self.more {
            return self.records(each).map_err(|why| self.fail(why));
        }
        loop {
            tokio::select! {
                biased;
                () = self.out.over() => return Err(self.why()),
                ready = self.socket.readable() => if let Err(error) = ready {
                    return Err(self.fail(Ended::Failed(error.to_string())));
                },
            }
            let room = self.bytes.get_mut(self.end..).unwrap_or_default();
            match self.socket.try_read(room) {
                Ok(0) => return Err(self.fail(Ended::Gone)),
                Ok(count) => {
                    self.end += count;
                    self.out.heard();
                    return self.records(each).map_err(|why| self.fail(why));
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(self.fail(Ended::Failed(error.to_string()))),
            }
        }
    }

    /// The sending half.
    pub fn out(&self) -> &Arc<Outbound> {
        &self.out
    }

    fn fail(&self, why: Ended) -> Ended {
        self.out.end(why);
        self.why()
    }

    fn why(&self) -> Ended {
        self.out.ended().unwrap_or(Ended::Gone)
    }

    fn records(&mut self, each: &mut (dyn FnMut(Frame<'_>) + Send)) -> Result<(), Ended> {
        let Reader { out, opener, bytes, begin, end, lanes, more, .. } = self;
        let mut unpacked = 0;
        *more = false;
        while let Some(waiting) = bytes.get(*begin..*end)
            && let Some((length, rest)) = waiting.split_first_chunk::<LENGTH_BYTES>()
            && let Some(record) = rest.get(..usize::from(u16::from_be_bytes(*length)))
        {
            if unpacked > BATCH_BYTES_MAX {
                *more = true;
                break;
            }
            *begin += LENGTH_BYTES + record.len();
            let opened = opener.open(record).ok_or_else(|| broken("a record that is not what comes next"))?;
            unpacked += opened.1.len();
            let lane = &mut lanes[opened.0 as usize];
            frames(opened.1, lane, &mut |frame| hand(out, frame, each))?;
        }
        if begin == end {
            (*begin, *end) = (0, 0);
        } else if *begin > 0 {
            bytes.copy_within(*begin..*end, 0);
            (*begin, *end) = (0, *end - *begin);
        }
        Ok(())
    }
}

fn broken(what: &str) -> Ended {
    Ended::Broken(what.to_owned())
}

/// Hands a frame on, or does what it asks for.
fn hand(out: &Outbound, frame: Frame<'_>, each: &mut (dyn FnMut(Frame<'_>) + Send)) -> Result<(), Ended> {
    match frame {
        Frame::Ping(number) => {
            out.urgent(Kind::Pong, &number.to_be_bytes());
        }
        Frame::Pong(number) => {
            // A number that we never sent is in the future, or shorter than any way: it is not believed below 1 us.
            let nanos = out.nanos().saturating_sub(number);
            if nanos >= 1_000 {
                out.round_trip.measured(nanos);
            }
        }
        Frame::Bye(why) => {
            let shown = why.chars().filter(|c| !c.is_control()).collect();
            return Err(Ended::Told(shown));
        }
        Frame::Ready => return Err(broken("ready twice")),
        frame => each(frame),
    }
    Ok(())
}

/// Hands on the frames of a chunk, the first of which may have begun in `begun`, where the last is left if it goes on.
fn frames(
    chunk: &[u8],
    begun: &mut Vec<u8>,
    each: &mut dyn FnMut(Frame<'_>) -> Result<(), Ended>,
) -> Result<(), Ended> {
    let error = |error: super::frame::FrameError| Ended::Broken(error.to_string());
    let mut rest = chunk;
    while !begun.is_empty() && !rest.is_empty() {
        let needed = length_of(begun).max(super::frame::FRAME_HEAD_BYTES);
        let (now, later) = rest.split_at(needed.saturating_sub(begun.len()).min(rest.len()));
        begun.extend_from_slice(now);
        rest = later;
        match next(begun).map_err(error)? {
            Some((frame, _)) => {
                each(frame)?;
                begun.clear();
                if begun.capacity() > KEPT_BYTES_MAX {
                    *begun = Vec::new();
                }
            }
            None if now.is_empty() => return Err(broken("a frame without end")),
            None => {}
        }
    }
    while let Some((frame, used)) = next(rest).map_err(error)? {
        each(frame)?;
        rest = rest.get(used..).unwrap_or_default();
    }
    debug_assert!(begun.len() <= FRAME_BYTES_MAX + super::frame::FRAME_HEAD_BYTES);
    if !rest.is_empty() {
        begun.extend_from_slice(rest);
    }
    Ok(())
}

/// For fuzzing: frames out of the chunks of one lane, however they are cut; how many there are.
///
/// # Errors
/// What is wrong with them.
#[doc(hidden)]
pub fn frames_of<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<usize, Ended> {
    let (mut begun, mut count) = (Vec::new(), 0);
    for chunk in chunks {
        frames(chunk, &mut begun, &mut |_| {
            count += 1;
            Ok(())
        })?;
    }
    Ok(count)
}

/// A link that carries control alone: what a node and its controller say to each other.
#[derive(Debug)]
pub struct Talk {
    reader: Reader,
    waiting: VecDeque<Vec<u8>>,
}

impl Talk {
    /// Starts a link for control. What is said goes through the first, from any task; it must be asked for what comes
    /// all the time, since a link that nobody reads is silent.
    pub fn start(opened: Opened) -> (Arc<Outbound>, Talk) {
        let (out, reader) = opened.start();
        (out, Talk { reader, waiting: VecDeque::new() })
    }

    /// What the other end says next. Safe to drop while it waits.
    ///
    /// # Errors
    /// The link has ended, for this reason.
    pub async fn next(&mut self) -> Result<Vec<u8>, Ended> {
        loop {
            if let Some(control) = self.waiting.pop_front() {
                return Ok(control);
            }
            let waiting = &mut self.waiting;
            let mut stranger = false;
            let each = &mut |frame: Frame<'_>| match frame {
                Frame::Control(bytes) => waiting.push_back(bytes.to_vec()),
                _ => stranger = true,
            };
            self.reader.batch(each).await?;
            if stranger {
                return Err(self.reader.fail(broken("a frame that is not for a controller")));
            }
        }
    }
}

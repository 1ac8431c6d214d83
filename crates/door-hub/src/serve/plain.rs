//! A connection's task: bytes are read into a buffer of the thread's, so that an idle connection has none, and
//! what others could not send is sent here.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use super::carrier::Carrier;
use super::outbound::{Closed, Pushed};
use crate::limits::{PRESSED_PAUSE, READ_BYTES};
use crate::session::{Session, Wait};

/// How long to wait before looking again whether the journal or a receiver has room.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long a connection that ended may take what was still said to it, and say goodbye.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of one read from which on a sender counts as one that sends much, and pauses for receivers.
const MUCH: usize = READ_BYTES / 4;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a read brought.
enum Came {
    /// The other side is gone.
    Gone,
    /// Nothing, for now.
    Nothing,
    /// So many bytes.
    Bytes(usize),
}

/// One connection's reading side.
pub(super) struct Reader {
    pub(super) session: Session,
    pub(super) hand: Carrier,
    /// Bytes that make no whole frame yet.
    left: Vec<u8>,
    wait: Wait,
}

impl Reader {
    /// `left` came together with the head of the request.
    pub(super) fn new(session: Session, hand: Carrier, left: &[u8]) -> Self {
        Reader { session, hand, left: left.to_vec(), wait: Wait::Bytes(2) }
    }

    /// Whether bytes are to be read.
    fn reads(&self) -> bool {
        let lost =
            || matches!(self.hand.connection.out.closed(), Some(why) if why != Closed::Link && why != Closed::Idle);
        matches!(self.wait, Wait::Bytes(_)) && !lost()
    }

    /// Takes the frames of what was kept, again.
    fn again(&mut self) {
        let mut left = std::mem::take(&mut self.left);
        let (used, wait) = self.session.process(&mut left, &mut self.hand);
        left.drain(..used);
        self.keep(left);
        self.waits(wait);
    }

    fn keep(&mut self, left: Vec<u8>) {
        self.left = if left.is_empty() && left.capacity() > 0 { Vec::new() } else { left };
    }

    fn waits(&mut self, wait: Wait) {
        self.wait = wait;
        match wait {
            Wait::Bytes(_) | Wait::Hand => {}
            Wait::Closed => self.hand.connection.out.close(Closed::Client),
            Wait::Fault(crate::codec::Fault::Protocol) => self.hand.connection.out.close(Closed::Protocol),
            Wait::Fault(crate::codec::Fault::TooLong) => self.hand.connection.out.close(Closed::TooLong),
        }
    }

    /// Takes what one call of `read` brings.
    fn take(&mut self, mut read: impl FnMut(&mut ReadBuf<'_>) -> Poll<io::Result<()>>) -> Poll<Came> {
        let needed = if let Wait::Bytes(needed) = self.wait { needed } else { 0 };
        if needed > READ_BYTES {
            return self.take_long(needed, read);
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(2 * READ_BYTES, 0);
            let held = self.left.len().min(READ_BYTES);
            if let (Some(place), Some(bytes)) = (buffer.get_mut(..held), self.left.get(..held)) {
                place.copy_from_slice(bytes);
            }
            let mut room = ReadBuf::new(buffer.get_mut(held..held + READ_BYTES).unwrap_or_default());
            let count = match read(&mut room) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Came::Gone),
                Poll::Ready(Ok(())) => room.filled().len(),
            };
            if count == 0 {
                return Poll::Ready(Came::Gone);
            }
            let bytes = buffer.get_mut(..held + count).unwrap_or_default();
            let (used, wait) = self.session.process(bytes, &mut self.hand);
            let rest = bytes.get(used..).unwrap_or_default();
            let mut left = std::mem::take(&mut self.left);
            left.clear();
            left.extend_from_slice(rest);
            self.keep(left);
            self.waits(wait);
            Poll::Ready(Came::Bytes(count))
        })
    }

    /// Reads a frame that is longer than the thread's buffer into one of its own, which grows as it comes.
    fn take_long(
        &mut self,
        needed: usize,
        mut read: impl FnMut(&mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<Came> {
        let held = self.left.len();
        let room = needed.saturating_sub(held).min(held.max(READ_BYTES)).max(1);
        self.left.resize(held + room, 0);
        let mut place = ReadBuf::new(self.left.get_mut(held..).unwrap_or_default());
        let read = read(&mut place);
        let count = place.filled().len();
        self.left.truncate(held + count);
        match read {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Came::Gone),
            Poll::Ready(Ok(())) if count == 0 => return Poll::Ready(Came::Gone),
            Poll::Ready(Ok(())) => {}
        }
        if self.left.len() >= needed {
            self.again();
        }
        Poll::Ready(Came::Bytes(count))
    }

    /// After a read: has sent what receivers took.
    async fn flush(&mut self, came: &Came) {
        let much = matches!(came, Came::Bytes(count) if *count >= MUCH);
        if !self.hand.flush() || !much {
            return;
        }
        let mut waited = Duration::ZERO;
        while waited < PRESSED_PAUSE {
            sleep(LOOK_AGAIN).await;
            waited += LOOK_AGAIN;
            if !self.hand.is_pressed() {
                return;
            }
        }
    }

    fn gone(&self, came: &Came) {
        if matches!(came, Came::Gone) {
            self.hand.connection.out.close(Closed::Client);
        }
    }
}

/// Waits for the moment at which a connection that has ended is cut.
async fn cut(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Serves a connection without anything between it and the socket, until it has ended.
pub(super) async fn run(socket: Arc<TcpStream>, mut reader: Reader) {
    let out = Arc::clone(&reader.hand.connection.out);
    let (mut blocked, mut deadline, mut gone) = (false, None, false);
    reader.again();
    reader.flush(&Came::Nothing).await;
    loop {
        let mut came = Came::Nothing;
        tokio::select! {
            () = out.woken() => {}
            _ = socket.writable(), if blocked => {}
            ready = socket.readable(), if reader.reads() && !gone => {
                came = if ready.is_err() { Came::Gone } else { read(&mut reader, &socket) };
            }
            () = sleep(LOOK_AGAIN), if reader.wait == Wait::Hand => reader.again(),
            () = cut(deadline) => break,
        }
        reader.gone(&came);
        gone |= matches!(came, Came::Gone);
        reader.flush(&came).await;
        blocked = match out.push(&socket) {
            Pushed::Done => false,
            Pushed::Blocked => true,
            Pushed::Over if !gone && matches!(out.closed(), Some(Closed::Link | Closed::Idle)) && reader.reads() => {
                false
            }
            Pushed::Over => break,
        };
        if deadline.is_none() && out.closed().is_some() {
            deadline = Some(Instant::now() + LINGER);
        }
    }
    if let Err(error) = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both) {
        tracing::trace!(%error, "the other side was gone");
    }
}

fn read(reader: &mut Reader, socket: &TcpStream) -> Came {
    let came = reader.take(|room| match socket.try_read(room.initialize_unfilled()) {
        Ok(count) => {
            room.advance(count);
            Poll::Ready(Ok(()))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    });
    match came {
        Poll::Ready(came) => came,
        Poll::Pending => Came::Nothing,
    }
}

/// Serves a connection with TLS between it and the socket, until it has ended.
pub(super) async fn run_streamed<S: AsyncRead + AsyncWrite + Send + Unpin>(stream: S, mut reader: Reader) {
    let out = Arc::clone(&reader.hand.connection.out);
    let (mut source, mut drain) = tokio::io::split(stream);
    let mut sending: Option<(Vec<u8>, usize)> = None;
    let (mut deadline, mut unflushed, mut gone) = (None, false, false);
    reader.again();
    loop {
        sending = sending.or_else(|| out.take(true));
        let over = out.closed().is_some() && sending.is_none() && !unflushed;
        if over && !(!gone && matches!(out.closed(), Some(Closed::Link | Closed::Idle)) && reader.reads()) {
            break;
        }
        if deadline.is_none() && out.closed().is_some() {
            deadline = Some(Instant::now() + LINGER);
        }
        let mut came = Came::Nothing;
        let rest = sending.as_ref().and_then(|(bytes, sent)| bytes.get(*sent..)).unwrap_or_default();
        tokio::select! {
            () = out.woken() => {}
            sent = send_some(&mut drain, rest), if !rest.is_empty() || unflushed => match sent {
                Ok(count) => {
                    out.moved();
                    unflushed = count > 0;
                    sending = sending.map(|(bytes, sent)| (bytes, sent + count));
                }
                Err(_) => {
                    unflushed = false;
                    sending = None;
                    out.close(Closed::Write);
                }
            },
            read = std::future::poll_fn(|context| {
                reader.take(|room| std::pin::Pin::new(&mut source).poll_read(context, room))
            }), if reader.reads() && !gone => came = read,
            () = sleep(LOOK_AGAIN), if reader.wait == Wait::Hand => reader.again(),
            () = cut(deadline) => break,
        }
        reader.gone(&came);
        gone |= matches!(came, Came::Gone);
        reader.flush(&came).await;
        if let Some((bytes, _)) = sending.take_if(|(bytes, sent)| *sent == bytes.len()) {
            out.sent(bytes);
        }
        if matches!(out.closed(), Some(Closed::Write | Closed::SlowPending | Closed::SlowDeadline | Closed::Silent)) {
            return;
        }
    }
    // Who is gone is not told that he is to go.
    let _gone = tokio::time::timeout(LINGER, drain.shutdown()).await;
}

/// Sends some of these bytes, and how many; where there are none, what is on its way.
async fn send_some(drain: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return drain.flush().await.map(|()| 0);
    }
    match drain.write(bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

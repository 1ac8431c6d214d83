//! Reading over plain HTTP/1.1 without anything between the request and the socket: what thousands of watchers do.
//!
//! A connection has no buffer: bytes are read into the thread's, and kept only while a head is not whole. What is not
//! a plain `GET` of something that is there (writes, other versions, what cannot be read) is left to hyper, with the
//! bytes that came, for the rest of the connection.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use bytes::{Buf as _, Bytes};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::body::Sent;
use super::desk::{Answer, Desk, Heads, Step};
use super::stream;
use crate::counts::count;
use crate::limits::HEAD_BYTES_MAX;

/// Headers of a request that are looked at; whoever sends more is left to hyper.
const HEADERS_MAX: usize = 48;
/// What HTTP/2 begins with where nothing was agreed before.
const PREFACE: &[u8] = b"PRI ";

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is left of a connection, with what was read of it.
pub(crate) enum Left {
    /// HTTP/1.
    One(TcpStream, Bytes),
    /// HTTP/2.
    Two(TcpStream, Bytes),
    /// Nothing: it has ended.
    Nothing,
}

/// What the bytes of a request come to.
enum Read {
    /// More are needed.
    More,
    /// This is a matter of hyper's.
    Other,
    /// A request of so many bytes.
    Request { bytes: usize, step: Result<Step, crate::codec::Fault>, closes: bool },
}

/// What became of a request.
enum Next {
    /// The next one may come.
    Again,
    /// The connection is to end.
    Close,
}

struct Parsed<'a, 'b>(&'a [httparse::Header<'b>]);

impl Heads for Parsed<'_, '_> {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    }
}

/// Serves a connection as far as it goes.
pub(crate) async fn serve(socket: TcpStream, desk: &Desk, stopping: &CancellationToken) -> Left {
    let mut left: Vec<u8> = Vec::new();
    loop {
        let read = tokio::select! {
            read = timeout(desk.shared.options.slow_deadline, request(&socket, &mut left, desk)) => read,
            () = stopping.cancelled() => return Left::Nothing,
        };
        let (step, closes) = match read {
            Ok(Ok(Read::Request { step, closes, .. })) => (step, closes),
            Ok(Ok(Read::Other)) if left.starts_with(PREFACE) => return Left::Two(socket, left.into()),
            Ok(Ok(_)) => return Left::One(socket, left.into()),
            Ok(Err(_)) | Err(_) => return Left::Nothing,
        };
        let answer = match step {
            Ok(Step::Stream(stream)) => {
                Box::pin(stream::tell(Arc::clone(&desk.shared), *stream, socket)).await;
                return Left::Nothing;
            }
            Ok(Step::Done(answer)) => answer,
            Ok(Step::Wait(asked, waits)) => {
                let gone = gone(&socket);
                tokio::select! {
                    answer = desk.wait(asked, waits) => answer.unwrap_or_else(|fault| desk.refused(&fault)),
                    () = gone => return Left::Nothing,
                }
            }
            // Those are hyper's: `request` does not bring them.
            Ok(Step::Write(_)) => return Left::Nothing,
            Err(fault) => desk.refused(&fault),
        };
        let closes = closes || stopping.is_cancelled();
        match write(&socket, answer, closes, desk).await {
            Ok(Next::Again) => {}
            Ok(Next::Close) | Err(_) => return Left::Nothing,
        }
    }
}

/// Reads the next request. What was read of one that is not taken here stays in `left`.
async fn request(socket: &TcpStream, left: &mut Vec<u8>, desk: &Desk) -> io::Result<Read> {
    if !left.is_empty() {
        // What came behind the request before.
        match taken(left, desk) {
            Read::More => {}
            read => return Ok(read),
        }
    }
    loop {
        socket.readable().await?;
        let read = BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(HEAD_BYTES_MAX, 0);
            match socket.try_read(buffer) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    let came = buffer.get(..count).unwrap_or_default();
                    Ok(Some(taken_with(left, came, desk)))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        match read {
            None | Some(Read::More) => {}
            Some(read) => return Ok(read),
        }
    }
}

/// Takes a request from the bytes that are left.
fn taken(left: &mut Vec<u8>, desk: &Desk) -> Read {
    let read = parse(left, desk);
    if let Read::Request { bytes, .. } = &read {
        left.drain(..*bytes);
        if left.is_empty() {
            *left = Vec::new();
        }
    }
    read
}

/// Takes a request from the bytes that are left and those that came.
fn taken_with(left: &mut Vec<u8>, came: &[u8], desk: &Desk) -> Read {
    if !left.is_empty() {
        left.extend_from_slice(came);
        return taken(left, desk);
    }
    let read = parse(came, desk);
    let rest = match &read {
        Read::Request { bytes, .. } => came.get(*bytes..).unwrap_or_default(),
        Read::More | Read::Other => came,
    };
    left.extend_from_slice(rest);
    read
}

fn parse(bytes: &[u8], desk: &Desk) -> Read {
    // A few bytes tell already that it is none of these: what `GET` is short of is waited for.
    if !bytes.starts_with(b"GET ") && (bytes.len() >= 4 || !b"GET ".starts_with(bytes)) {
        return Read::Other;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let bytes = match request.parse(bytes) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Read::More,
        Ok(httparse::Status::Partial) | Err(_) => return Read::Other,
    };
    let heads = Parsed(request.headers);
    let has_body = heads.header("content-length").is_some_and(|length| length != "0");
    let other = has_body || ["transfer-encoding", "upgrade", "expect"].iter().any(|name| heads.header(name).is_some());
    let Some(target) = request.path.filter(|path| path.starts_with('/')) else { return Read::Other };
    if other || request.version != Some(1) {
        return Read::Other;
    }
    count(&desk.shared.totals.requests);
    let closes = heads.header("connection").is_some_and(says_close);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let step = desk.begin("GET", path, query, &heads);
    Read::Request { bytes, step, closes }
}

/// Whether a list of what is said of a connection has that it is to end.
fn says_close(value: &str) -> bool {
    value.split(',').any(|one| one.trim().eq_ignore_ascii_case("close"))
}

/// Ends when the other side is gone.
async fn gone(socket: &TcpStream) {
    std::future::poll_fn(|context| {
        let mut byte = [0];
        let mut room = ReadBuf::new(&mut byte);
        match socket.poll_peek(context, &mut room) {
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(()),
            // What it says more is the next request's; from now on only its answer shows whether it is there.
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

/// Writes an answer, head and body in one go where the socket takes them.
async fn write(socket: &TcpStream, answer: Answer, closes: bool, desk: &Desk) -> io::Result<Next> {
    let (parts, body) = answer.into_parts();
    let mut body = match body {
        Sent::Whole(bytes) => bytes.unwrap_or_default(),
        Sent::Flow(_) | Sent::Ended => Bytes::new(),
    };
    let mut head = Vec::with_capacity(512);
    let reason = parts.status.canonical_reason().unwrap_or("");
    head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).as_bytes());
    for (name, value) in &parts.headers {
        title(&mut head, name.as_str());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    let date = httpdate::HttpDate::from(SystemTime::now());
    let close = if closes { "Connection: close\r\n" } else { "" };
    head.extend_from_slice(format!("Date: {date}\r\n{close}Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    drop(parts);
    let mut head = Bytes::from(head);
    loop {
        match socket.try_write_vectored(&[IoSlice::new(&head), IoSlice::new(&body)]) {
            Ok(count) => {
                let of_head = count.min(head.len());
                head.advance(of_head);
                body.advance(count - of_head);
                if head.is_empty() && body.is_empty() {
                    return Ok(if closes { Next::Close } else { Next::Again });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let writable = timeout(desk.shared.options.write_deadline, socket.writable()).await;
                writable.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Writes a name in lower case as `Like-This`.
fn title(out: &mut Vec<u8>, name: &str) {
    let mut begins = true;
    for byte in name.bytes() {
        out.push(if begins { byte.to_ascii_uppercase() } else { byte });
        begins = byte == b'-';
    }
}

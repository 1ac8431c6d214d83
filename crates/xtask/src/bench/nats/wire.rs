//! The load's side of the NATS protocol, made to cost as little as it can: the two cores are shared
//! with the server that is measured.
//!
//! A [`Wire`] is one blocking connection: it cuts frames out of one buffer, answers the server's
//! PINGs, and fails at the first `-ERR`. A [`Batch`] is many publishes of one size, put together once;
//! before each write only their numbers are changed. Nothing here is a client for anybody's use: no
//! reconnect, no TLS, and subjects are not checked.
//!
//! Source: the protocol as NATS documents it (INFO, CONNECT, PUB, HPUB, SUB, MSG, HMSG, PING, PONG).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Bytes that one read may bring. Large, so that a busy connection costs few reads; small enough for the
/// caches, with a hundred connections too.
const READ_BYTES: usize = 128 * 1024;
/// Bytes that a batch writes at once.
pub const WRITE_BYTES: usize = 64 * 1024;
/// How long a server may stay silent while something is expected of it.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the kernel may wait before the silence is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What the client says of itself.
const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"name\":\"bench\",\
    \"lang\":\"rust\",\"version\":\"1\",\"protocol\":1,\"headers\":true,\"no_responders\":true,\"echo\":true}\r\nPING\r\n";

/// A message in the buffer of its connection, until the next one is taken.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// `subject sid [reply] …`: the line without its verb.
    pub line: Range<usize>,
    /// The header block, empty where there is none.
    pub head: Range<usize>,
    /// The payload.
    pub body: Range<usize>,
}

/// What the server sent.
#[derive(Debug)]
pub enum Got {
    /// A message.
    Message(Message),
    /// The answer to a PING.
    Pong,
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What is in the buffer and not yet taken.
    held: Range<usize>,
    inbox: u64,
    /// How long a read waits now.
    patience: Duration,
    /// How long the server may stay silent.
    silence: Duration,
    /// When the server last sent something, or something was first expected.
    heard: Instant,
}

impl Wire {
    /// Connects, and waits until the server has taken the CONNECT.
    pub fn open(address: SocketAddr) -> Result<Wire, String> {
        let failed = |error: std::io::Error| format!("cannot connect to {address}: {error}");
        let stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(LOOK)).map_err(failed)?;
        stream.set_write_timeout(Some(SILENCE_MAX)).map_err(failed)?;
        let heard = Instant::now();
        let mut wire = Wire {
            stream,
            buffer: vec![0; READ_BYTES],
            held: 0..0,
            inbox: 0,
            patience: LOOK,
            silence: SILENCE_MAX,
            heard,
        };
        wire.send(CONNECT.as_bytes())?;
        wire.pong()?;
        Ok(wire)
    }

    /// Gives up earlier than usual on a server that is silent.
    pub fn impatient(mut self, silence: Duration) -> Wire {
        self.silence = silence;
        self
    }

    /// Writes all of it.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("cannot write: {error}"))
    }

    /// Subscribes, and waits until the server has.
    pub fn subscribe(&mut self, subject: &str, queue: &str, sid: u32) -> Result<(), String> {
        self.send(format!("SUB {subject} {queue} {sid}\r\n").replace("  ", " ").as_bytes())?;
        self.flush()
    }

    /// Waits until the server has taken everything that was sent.
    pub fn flush(&mut self) -> Result<(), String> {
        self.send(b"PING\r\n")?;
        self.pong()
    }

    fn pong(&mut self) -> Result<(), String> {
        match self.next()? {
            Got::Pong => Ok(()),
            Got::Message(message) => Err(format!("a message and not a PONG: {}", self.text(&message.line))),
        }
    }

    /// The bytes of a part of the message that was taken last.
    pub fn bytes(&self, part: &Range<usize>) -> &[u8] {
        self.buffer.get(part.clone()).unwrap_or_default()
    }

    /// A part of the message that was taken last, for people.
    pub fn text(&self, part: &Range<usize>) -> String {
        String::from_utf8_lossy(self.bytes(part)).into_owned()
    }

    /// What was read and not taken yet.
    pub fn unread(&self) -> &[u8] {
        self.bytes(&self.held)
    }

    /// Takes so many bytes of what is unread.
    pub fn skip(&mut self, bytes: usize) {
        self.held.start = (self.held.start + bytes).min(self.held.end);
    }

    /// Reads once, at least one byte.
    pub fn fill(&mut self) -> Result<(), String> {
        self.heard = Instant::now();
        while !self.fill_for(LOOK.min(self.silence))? {}
        Ok(())
    }

    /// Reads once; `false` where nothing came for so long, up to what may be looked at.
    pub fn fill_for(&mut self, wait: Duration) -> Result<bool, String> {
        self.make_room();
        if self.patience != wait {
            self.stream.set_read_timeout(Some(wait)).map_err(|error| error.to_string())?;
            self.patience = wait;
        }
        match self.stream.read(&mut self.buffer[self.held.end..]) {
            Ok(0) => Err(format!("the server closed the connection{}", self.last_words())),
            Ok(bytes) => {
                self.held.end += bytes;
                self.heard = Instant::now();
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if self.heard.elapsed() > self.silence {
                    return Err(format!("the server was silent for {:?}", self.silence));
                }
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(format!("cannot read: {error}")),
        }
    }

    fn make_room(&mut self) {
        if self.held.is_empty() {
            self.held = 0..0;
        } else if self.buffer.len() - self.held.end < READ_BYTES / 4 {
            self.buffer.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
            if self.buffer.len() - self.held.end < READ_BYTES / 4 {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
    }

    fn last_words(&self) -> String {
        let unread = String::from_utf8_lossy(self.unread());
        unread.find("-ERR").map(|at| format!(": {}", unread[at..].trim())).unwrap_or_default()
    }

    /// The next message or PONG; waits for it.
    pub fn next(&mut self) -> Result<Got, String> {
        loop {
            if let Some(got) = self.buffered()? {
                return Ok(got);
            }
            self.fill()?;
        }
    }

    /// The next message; waits for it.
    pub fn message(&mut self) -> Result<Message, String> {
        loop {
            if let Got::Message(message) = self.next()? {
                return Ok(message);
            }
        }
    }

    /// The next message or PONG, if all of it was read already.
    pub fn buffered(&mut self) -> Result<Option<Got>, String> {
        while self.control()? {}
        let unread = self.unread();
        let Some(end) = unread.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let (begun, line) = (self.held.start, unread[..end].strip_suffix(b"\r").unwrap_or(&unread[..end]));
        let length = line.len();
        match line {
            [b'M', b'S', b'G', b' ', rest @ ..] => {
                let total = last_number(rest)?;
                Ok(self.cut(begun + 4..begun + length, end + 1, 0, total))
            }
            [b'H', b'M', b'S', b'G', b' ', rest @ ..] => {
                let total = last_number(rest)?;
                let before = rest.iter().rposition(|byte| *byte == b' ').unwrap_or(0);
                let head = last_number(&rest[..before])?;
                Ok(self.cut(begun + 5..begun + length, end + 1, head, total))
            }
            b"PONG" => {
                self.skip(end + 1);
                Ok(Some(Got::Pong))
            }
            other => Err(format!("the server says: {}", String::from_utf8_lossy(other))),
        }
    }

    /// Takes one line that is neither a message nor a PONG, and answers a PING; whether there was one.
    pub fn control(&mut self) -> Result<bool, String> {
        let unread = self.unread();
        let Some(b'P' | b'I' | b'+') = unread.first() else { return Ok(false) };
        let Some(end) = unread.iter().position(|byte| *byte == b'\n') else { return Ok(false) };
        let line = &unread[..end];
        if line.starts_with(b"PING") {
            self.skip(end + 1);
            self.send(b"PONG\r\n")?;
            return Ok(true);
        }
        let taken = line.starts_with(b"INFO") || line.starts_with(b"+OK");
        if taken {
            self.skip(end + 1);
        }
        Ok(taken)
    }

    fn cut(&mut self, line: Range<usize>, at: usize, head: usize, total: usize) -> Option<Got> {
        if self.held.len() < at + total + 2 {
            return None;
        }
        let begun = self.held.start + at;
        self.skip(at + total + 2);
        Some(Got::Message(Message { line, head: begun..begun + head, body: begun + head..begun + total }))
    }

    /// Asks, on a connection with nothing else under way, and answers the reply.
    pub fn ask(&mut self, subject: &str, body: &[u8]) -> Result<Message, String> {
        if self.inbox == 0 {
            self.subscribe(&self.inbox_of("*"), "", 9)?;
        }
        self.inbox += 1;
        let reply = self.inbox_of(&self.inbox.to_string());
        let mut frame = format!("PUB {subject} {reply} {}\r\n", body.len()).into_bytes();
        frame.extend_from_slice(body);
        frame.extend_from_slice(b"\r\n");
        self.send(&frame)?;
        loop {
            let message = self.message()?;
            if self.bytes(&message.line).starts_with(reply.as_bytes()) {
                return Ok(message);
            }
        }
    }

    fn inbox_of(&self, last: &str) -> String {
        let port = self.stream.local_addr().map_or(0, |address| address.port());
        format!("_INBOX.ask{port}.{last}")
    }

    /// Asks the JetStream API; an answer with an error is one.
    pub fn api(&mut self, verb: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let message = self.ask(&format!("$JS.API.{verb}"), body.as_bytes())?;
        if !message.head.is_empty() {
            return Err(format!("{verb}: {}", self.text(&message.head).trim()));
        }
        let answer: Value = serde_json::from_slice(self.bytes(&message.body)).map_err(|e| format!("{verb}: {e}"))?;
        if answer["error"].is_null() { Ok(answer) } else { Err(format!("{verb}: {}", answer["error"])) }
    }
}

/// The number behind the last blank.
pub fn last_number(line: &[u8]) -> Result<usize, String> {
    let digits = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    number(digits).ok_or_else(|| format!("no size at the end of '{}'", String::from_utf8_lossy(line)))
}

/// A number of digits alone.
pub fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + usize::from(digit - b'0')))
}

/// A place in each frame of a batch that holds its number, in digits, modulo a bound.
#[derive(Debug, Clone)]
struct Field {
    places: Range<usize>,
    modulo: u64,
}

/// Publishes of one size, put together once. The payload begins with the number of the message (32 bits,
/// little end first) and a mark of its publisher.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    frame: usize,
    fields: Vec<Field>,
    number_at: usize,
}

/// The digits of a number in a batch, as they stand in its template.
pub const DIGITS: &str = "########";

impl Batch {
    /// A batch of so many frames. `DIGITS` in the subject or the message id becomes the message's number,
    /// in the subject modulo `subjects`.
    pub fn new(subject: &str, subjects: u64, reply: &str, id: Option<&str>, size: usize, frames: usize) -> Batch {
        let line = match id {
            None => format!("PUB {subject} {reply} {size}\r\n"),
            Some(id) => {
                let head = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
                format!("HPUB {subject} {reply} {} {}\r\n{head}", head.len(), head.len() + size)
            }
        };
        let line = line.replace("  ", " ");
        let find = |from: usize, modulo| {
            let at = line.get(from..).and_then(|rest| rest.find(DIGITS)).map(|at| at + from);
            at.map(|at| Field { places: at..at + DIGITS.len(), modulo })
        };
        let first = find(0, if subject.contains(DIGITS) { subjects } else { u64::MAX });
        let second = first.as_ref().and_then(|field| find(field.places.end, u64::MAX));
        let mut frame = line.clone().into_bytes();
        frame.resize(line.len() + size, b'x');
        frame.extend_from_slice(b"\r\n");
        let fields = first.into_iter().chain(second).collect();
        Batch { bytes: frame.repeat(frames), frame: frame.len(), fields, number_at: line.len() }
    }

    /// How many frames fill one write.
    pub fn frames_in_write(size: usize) -> usize {
        (WRITE_BYTES / (size + 32)).max(1)
    }

    /// How many frames it has.
    pub fn frames(&self) -> usize {
        self.bytes.len() / self.frame
    }

    /// Marks every payload with its publisher.
    pub fn mark(mut self, publisher: u32) -> Batch {
        for frame in self.bytes.chunks_exact_mut(self.frame) {
            if let Some(place) = frame.get_mut(self.number_at + 4..self.number_at + 8) {
                place.copy_from_slice(&publisher.to_le_bytes());
            }
        }
        self
    }

    /// The bytes of so many frames, numbered from `first`.
    pub fn numbered(&mut self, first: u64, frames: usize) -> &[u8] {
        let used = frames.min(self.frames()) * self.frame;
        for (frame, number) in self.bytes[..used].chunks_exact_mut(self.frame).zip(first..) {
            #[expect(clippy::cast_possible_truncation, reason = "no run has more than 2^32 messages")]
            let low = number as u32;
            frame[self.number_at..self.number_at + 4].copy_from_slice(&low.to_le_bytes());
            for field in &self.fields {
                let mut rest = number % field.modulo;
                for place in frame[field.places.clone()].iter_mut().rev() {
                    *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                    rest /= 10;
                }
            }
        }
        &self.bytes[..used]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_frames_that_differ_in_their_numbers_alone() {
        let mut batch = Batch::new("a.########", 10, "r", Some("########"), 8, 2).mark(7);
        let text = batch.numbered(19, 2).to_vec();
        let frame = |subject: &str, number: u8| {
            let head = format!("NATS/1.0\r\nNats-Msg-Id: 000000{number}\r\n\r\n");
            let mut frame = format!("HPUB a.{subject} r {} {}\r\n{head}", head.len(), head.len() + 8).into_bytes();
            frame.extend_from_slice(&[number, 0, 0, 0, 7, 0, 0, 0, b'\r', b'\n']);
            frame
        };
        assert_eq!(text, [frame("00000009", 19), frame("00000000", 20)].concat());
    }

    #[test]
    fn sizes_are_read_from_the_end_of_a_line() {
        for (line, expected) in [("a 1 128", Some(128)), ("a 1 r 0", Some(0)), ("a 1 x", None), ("", None)] {
            assert_eq!(last_number(line.as_bytes()).ok(), expected, "{line}");
        }
    }
}

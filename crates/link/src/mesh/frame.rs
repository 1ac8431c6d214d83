//! The frames of a native link: bytes to frames and back. Pure.
//!
//! ```text
//! frame    kind u8 | length u32 | body                      numbers are big-endian, length is of the body
//! ready    (nothing): the end that dialled has the keys too
//! control  bytes                                            between a node and its controller
//! note     bytes                                            interests, between nodes
//! message  head u16 | subject u16 | reply u16 | status u16 | headers u32 | those five | payload
//! keep     as a message: to be kept at the far side
//! kept     bytes: what was kept
//! ping     u64                                              pong repeats it
//! bye      text: why the link ends
//! ```
//!
//! What is absent: the meaning of control, notes and heads. Subjects are checked to be text, not their grammar.
//!
//! # Invariants
//! - Nothing that a stranger sends makes this panic, or hold more than the bytes that came.
//! - A body that is longer than its parts, or shorter, is refused.

use std::str;

use event::limits::{HEADERS_BYTES_MAX, PAYLOAD_BYTES_MAX, SUBJECT_BYTES_MAX};
use thiserror::Error;

use super::limits::{CONTROL_BYTES_MAX, FRAME_BYTES_MAX, HEAD_BYTES_MAX, STATUS_BYTES_MAX};

/// Bytes before the body of a frame.
pub(super) const FRAME_HEAD_BYTES: usize = 5;

/// Bytes of the lengths of a message's parts.
pub(super) const PARTS_BYTES: usize = 12;

/// Bytes of the text of a `bye` that are read.
const BYE_BYTES_MAX: usize = 256;

/// What begins a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Ready = 0,
    Control = 1,
    Note = 2,
    Message = 3,
    Keep = 4,
    Kept = 5,
    Ping = 6,
    Pong = 7,
    Bye = 8,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        use Kind::{Bye, Control, Keep, Kept, Message, Note, Ping, Pong, Ready};
        [Ready, Control, Note, Message, Keep, Kept, Ping, Pong, Bye].into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Bytes that the body of such a frame may have.
    fn bytes_max(self) -> usize {
        match self {
            Kind::Ready => 0,
            Kind::Control | Kind::Note => CONTROL_BYTES_MAX,
            Kind::Message | Kind::Keep => FRAME_BYTES_MAX,
            Kind::Kept => HEAD_BYTES_MAX,
            Kind::Ping | Kind::Pong => 8,
            Kind::Bye => BYE_BYTES_MAX,
        }
    }
}

/// A message on a link: where it goes, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Letter<'a> {
    /// Where it comes from and goes to: bytes whose meaning is the mesh's.
    pub head: &'a [u8],
    /// Its subject.
    pub subject: &'a str,
    /// Where an answer is awaited; empty: nowhere.
    pub reply: &'a str,
    /// A status line; empty: none.
    pub status: &'a str,
    /// Its header block.
    pub headers: &'a [u8],
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> Letter<'a> {
    /// Bytes of its frame. `None`: some part of it is longer than may be.
    pub(super) fn frame_bytes(&self) -> Option<usize> {
        let fits = self.head.len() <= HEAD_BYTES_MAX
            && self.subject.len() <= SUBJECT_BYTES_MAX
            && self.reply.len() <= SUBJECT_BYTES_MAX
            && self.status.len() <= STATUS_BYTES_MAX
            && self.headers.len() <= HEADERS_BYTES_MAX
            && self.payload.len() <= PAYLOAD_BYTES_MAX;
        let parts = self.head.len() + self.subject.len() + self.reply.len() + self.status.len() + self.headers.len();
        fits.then_some(FRAME_HEAD_BYTES + PARTS_BYTES + parts + self.payload.len())
    }

    /// What stands before its parts: the frame's head and the lengths.
    pub(super) fn lengths(&self, kind: Kind, frame_bytes: usize) -> [u8; FRAME_HEAD_BYTES + PARTS_BYTES] {
        let mut out = [0; FRAME_HEAD_BYTES + PARTS_BYTES];
        let short = |part: usize| u16::try_from(part).unwrap_or(u16::MAX).to_be_bytes();
        let headers = u32::try_from(self.headers.len()).unwrap_or(u32::MAX).to_be_bytes();
        out[..FRAME_HEAD_BYTES].copy_from_slice(&frame_head(kind, frame_bytes - FRAME_HEAD_BYTES));
        out[5..7].copy_from_slice(&short(self.head.len()));
        out[7..9].copy_from_slice(&short(self.subject.len()));
        out[9..11].copy_from_slice(&short(self.reply.len()));
        out[11..13].copy_from_slice(&short(self.status.len()));
        out[13..].copy_from_slice(&headers);
        out
    }

    fn read(body: &'a [u8]) -> Result<Letter<'a>, FrameError> {
        let (lengths, mut rest) = body.split_at_checked(PARTS_BYTES).ok_or(FrameError::Parts)?;
        let short = |at: usize| lengths.get(at..at + 2).map_or(0, |two| usize::from(two[0]) << 8 | usize::from(two[1]));
        let headers = short(8) << 16 | short(10);
        let mut part = |bytes: usize, most: usize| {
            let (part, after) = rest.split_at_checked(bytes).filter(|_| bytes <= most).ok_or(FrameError::Parts)?;
            rest = after;
            Ok(part)
        };
        let text = |part: &'a [u8]| str::from_utf8(part).map_err(|_| FrameError::Text);
        let letter = Letter {
            head: part(short(0), HEAD_BYTES_MAX)?,
            subject: text(part(short(2), SUBJECT_BYTES_MAX)?)?,
            reply: text(part(short(4), SUBJECT_BYTES_MAX)?)?,
            status: text(part(short(6), STATUS_BYTES_MAX)?)?,
            headers: part(headers, HEADERS_BYTES_MAX)?,
            payload: &[],
        };
        if rest.len() > PAYLOAD_BYTES_MAX {
            return Err(FrameError::Parts);
        }
        Ok(Letter { payload: rest, ..letter })
    }
}

/// One frame, borrowed from the record that it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The end that dialled has proven that it holds the key.
    Ready,
    /// Between a node and its controller.
    Control(&'a [u8]),
    /// Interests, between nodes.
    Note(&'a [u8]),
    /// A transient message.
    Message(Letter<'a>),
    /// A message that is to be recorded at the far side.
    Keep(Letter<'a>),
    /// What was recorded.
    Kept(&'a [u8]),
    /// Asks for a pong.
    Ping(u64),
    /// Repeats what a ping said.
    Pong(u64),
    /// Why the other side ends the link.
    Bye(&'a str),
}

/// Why bytes are no frame. The link ends: what follows cannot be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A kind that this version does not know.
    #[error("kind {0} is not known")]
    Kind(u8),
    /// Longer than such a frame may be.
    #[error("a frame of {0} bytes is longer than may be")]
    Long(usize),
    /// Its parts do not make its length, or one is longer than may be.
    #[error("the parts of a frame do not fit")]
    Parts,
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
}

/// What begins a frame with a body of so many bytes.
pub(super) fn frame_head(kind: Kind, body_bytes: usize) -> [u8; FRAME_HEAD_BYTES] {
    let [a, b, c, d] = u32::try_from(body_bytes).unwrap_or(u32::MAX).to_be_bytes();
    [kind as u8, a, b, c, d]
}

/// The first frame of these bytes and how many it takes; `None`: it is not complete.
///
/// # Errors
/// As soon as it is plain that no frame begins here.
pub fn next(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else {
        return Ok(None);
    };
    let [kind, length @ ..] = *head;
    let (kind, length) = (Kind::of(kind).ok_or(FrameError::Kind(kind))?, u32::from_be_bytes(length));
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > kind.bytes_max() {
        return Err(FrameError::Long(length));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let number = || body.try_into().map(u64::from_be_bytes).map_err(|_| FrameError::Parts);
    let frame = match kind {
        Kind::Ready => Frame::Ready,
        Kind::Control => Frame::Control(body),
        Kind::Note => Frame::Note(body),
        Kind::Message => Frame::Message(Letter::read(body)?),
        Kind::Keep => Frame::Keep(Letter::read(body)?),
        Kind::Kept => Frame::Kept(body),
        Kind::Ping => Frame::Ping(number()?),
        Kind::Pong => Frame::Pong(number()?),
        Kind::Bye => Frame::Bye(str::from_utf8(body).map_err(|_| FrameError::Text)?),
    };
    Ok(Some((frame, FRAME_HEAD_BYTES + length)))
}

/// Bytes that a frame whose first bytes are these will have; 0: not known yet. For who gathers one in parts.
pub(super) fn length_of(bytes: &[u8]) -> usize {
    let head = bytes.first_chunk::<FRAME_HEAD_BYTES>();
    head.map_or(0, |[_, a, b, c, d]| FRAME_HEAD_BYTES + u32::from_be_bytes([*a, *b, *c, *d]) as usize)
}

/// The frame as bytes. `None`: a part of it is longer than may be.
pub fn encode(frame: &Frame<'_>) -> Option<Vec<u8>> {
    let plain = |kind: Kind, body: &[u8]| {
        (body.len() <= kind.bytes_max()).then(|| [&frame_head(kind, body.len())[..], body].concat())
    };
    let letter = |kind: Kind, letter: &Letter<'_>| {
        let lengths = letter.lengths(kind, letter.frame_bytes()?);
        let (subject, reply, status) = (letter.subject.as_bytes(), letter.reply.as_bytes(), letter.status.as_bytes());
        Some([&lengths[..], letter.head, subject, reply, status, letter.headers, letter.payload].concat())
    };
    match frame {
        Frame::Ready => plain(Kind::Ready, b""),
        Frame::Control(bytes) => plain(Kind::Control, bytes),
        Frame::Note(bytes) => plain(Kind::Note, bytes),
        Frame::Message(message) => letter(Kind::Message, message),
        Frame::Keep(message) => letter(Kind::Keep, message),
        Frame::Kept(bytes) => plain(Kind::Kept, bytes),
        Frame::Ping(number) => plain(Kind::Ping, &number.to_be_bytes()),
        Frame::Pong(number) => plain(Kind::Pong, &number.to_be_bytes()),
        Frame::Bye(why) => plain(Kind::Bye, why.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame: &Frame<'_>) {
        let bytes = encode(frame).unwrap();
        for cut in 0..bytes.len() {
            assert_eq!(next(&bytes[..cut]), Ok(None), "{frame:?} cut at {cut}");
        }
        let more = [&bytes[..], b"\x07more"].concat();
        assert_eq!(next(&more), Ok(Some((*frame, bytes.len()))));
        assert_eq!(length_of(&bytes), bytes.len());
    }

    #[test]
    fn every_frame_is_read_as_it_was_written_and_waits_for_its_last_byte() {
        let letter = Letter {
            head: b"\x00head",
            subject: "a.b",
            reply: "_INBOX.1",
            status: "503",
            headers: b"NATS/1.0\r\nA: b\r\n\r\n",
            payload: &[7; 300],
        };
        for frame in [
            Frame::Ready,
            Frame::Control(b"plan"),
            Frame::Note(b""),
            Frame::Message(letter),
            Frame::Message(Letter { subject: "a", ..Letter::default() }),
            Frame::Keep(letter),
            Frame::Kept(b"1"),
            Frame::Ping(1),
            Frame::Pong(u64::MAX),
            Frame::Bye("the plan has changed"),
        ] {
            check(&frame);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_at_once() {
        assert_eq!(next(&[9, 0, 0, 0, 0]), Err(FrameError::Kind(9)));
        assert_eq!(next(&[1, 255, 0, 0, 0]), Err(FrameError::Long(255 << 24)));
        assert_eq!(next(&[6, 0, 0, 0, 4, 0, 0, 0, 0]), Err(FrameError::Parts));
        assert_eq!(next(&[0, 0, 0, 0, 1, 0]), Err(FrameError::Long(1)));
        assert_eq!(next(&[8, 0, 0, 0, 1, 0xff]), Err(FrameError::Text));
        let mut message = encode(&Frame::Message(Letter { subject: "a", ..Letter::default() })).unwrap();
        message[6] = 2;
        assert_eq!(next(&message), Err(FrameError::Parts), "a head longer than what came");
        message[6] = 0;
        *message.last_mut().unwrap() = 0xff;
        assert_eq!(next(&message), Err(FrameError::Text));
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let subject = "a".repeat(SUBJECT_BYTES_MAX + 1);
        assert_eq!(encode(&Frame::Message(Letter { subject: &subject, ..Letter::default() })), None);
        assert_eq!(encode(&Frame::Bye(&subject)), None);
    }
}

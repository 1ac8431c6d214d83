//! gRPC's frames: a byte that says whether the message is compressed, its length in four bytes, and the message.
//!
//! # Invariants
//! - Of a message that is too long the beginning is kept, and the rest is passed over: what follows it is read.
//!
//! Source: gRPC over HTTP2.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::limits::PARTIAL_BYTES;

/// Bytes before a message.
pub(crate) const HEAD_BYTES: usize = 5;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A message.
    Message(Bytes),
    /// The beginning of a message that is longer than may be, and its length.
    TooLong(Bytes, usize),
    /// A message that is compressed, or a head that is none: nothing after it can be read.
    Unreadable,
}

/// Puts messages together of what comes.
#[derive(Debug)]
pub(crate) struct Frames {
    held: BytesMut,
    /// What is left to be passed over.
    passing: usize,
    max: usize,
}

impl Frames {
    /// Frames of messages of at most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Frames { held: BytesMut::new(), passing: 0, max }
    }

    /// Takes bytes, and calls `piece` for each message that is whole.
    pub(crate) fn take(&mut self, mut bytes: Bytes, mut piece: impl FnMut(Piece)) {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let count = self.passing.min(bytes.len());
                bytes.advance(count);
                self.passing -= count;
                continue;
            }
            if self.held.is_empty() {
                match self.whole(&mut bytes) {
                    Some(found) => {
                        piece(found);
                        continue;
                    }
                    None if bytes.is_empty() => return,
                    None => {}
                }
            }
            self.gather(&mut bytes, &mut piece);
        }
    }

    /// A message that lies in what came as a whole.
    fn whole(&self, bytes: &mut Bytes) -> Option<Piece> {
        let length = head(bytes)?;
        match length {
            Err(()) => {
                bytes.clear();
                Some(Piece::Unreadable)
            }
            Ok(length) if length > self.max || bytes.len() < HEAD_BYTES + length => None,
            Ok(length) => {
                bytes.advance(HEAD_BYTES);
                Some(Piece::Message(bytes.split_to(length)))
            }
        }
    }

    /// Adds to what is held as much as its message needs.
    fn gather(&mut self, bytes: &mut Bytes, piece: &mut impl FnMut(Piece)) {
        let wanted = match head(&self.held) {
            None => HEAD_BYTES,
            Some(Err(())) => {
                self.held.clear();
                bytes.clear();
                return piece(Piece::Unreadable);
            }
            Some(Ok(length)) if length > self.max => HEAD_BYTES + length.min(PARTIAL_BYTES),
            Some(Ok(length)) => HEAD_BYTES + length,
        };
        let count = wanted.saturating_sub(self.held.len()).min(bytes.len());
        self.held.extend_from_slice(&bytes.split_to(count));
        let Some(Ok(length)) = head(&self.held) else { return };
        let kept = if length > self.max { length.min(PARTIAL_BYTES) } else { length };
        if self.held.len() < HEAD_BYTES + kept {
            return;
        }
        let mut whole = self.held.split().freeze();
        whole.advance(HEAD_BYTES);
        if length > self.max {
            self.passing = length - kept;
            piece(Piece::TooLong(whole, length));
        } else {
            piece(Piece::Message(whole));
        }
    }
}

/// The length of the message that begins here; `None` where its head is not whole.
fn head(bytes: &[u8]) -> Option<Result<usize, ()>> {
    match bytes {
        [0, a, b, c, d, ..] => Some(Ok(u32::from_be_bytes([*a, *b, *c, *d]) as usize)),
        [0, ..] | [] => None,
        _ => Some(Err(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(message: &[u8]) -> Vec<u8> {
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(message);
        frame
    }

    fn check(bytes: &[u8], max: usize, expected: &[Piece]) {
        for size in [1, 2, 3, 5, 7, 64, bytes.len().max(1)] {
            let (mut frames, mut pieces) = (Frames::new(max), Vec::new());
            for chunk in bytes.chunks(size) {
                frames.take(Bytes::copy_from_slice(chunk), |piece| pieces.push(piece));
            }
            assert_eq!(pieces, expected, "in chunks of {size}");
        }
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let message = |text: &'static [u8]| Piece::Message(Bytes::from_static(text));
        let bytes = [frame(b"first"), frame(b""), frame(b"third")].concat();
        check(&bytes, 100, &[message(b"first"), message(b""), message(b"third")]);
    }

    #[test]
    fn what_follows_a_message_that_is_too_long_is_read() {
        let long = vec![7; PARTIAL_BYTES + 100];
        let bytes = [frame(&long), frame(b"next")].concat();
        let begin = Bytes::from(vec![7; PARTIAL_BYTES]);
        check(&bytes, 50, &[Piece::TooLong(begin, long.len()), Piece::Message(Bytes::from_static(b"next"))]);
    }

    #[test]
    fn nothing_is_read_after_a_head_that_is_none() {
        let mut frames = Frames::new(100);
        let mut pieces = Vec::new();
        frames.take(Bytes::from([&[1, 0, 0, 0, 1, 9][..], &frame(b"x")].concat()), |piece| pieces.push(piece));
        assert_eq!(pieces, [Piece::Unreadable]);
    }
}

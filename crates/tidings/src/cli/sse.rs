//! Server-sent events of a node, read from a body that blocks.

use std::io::Read;

use client::sse::{SseEvent, SseParser};

/// Bytes that are read at a time, at most.
const PIECE_BYTES: usize = 64 * 1024;

/// Reads events from a body.
pub struct SseReader<R> {
    from: R,
    parser: SseParser,
    piece: Vec<u8>,
}

impl<R: Read> SseReader<R> {
    /// Reads from the start of a body.
    pub fn new(from: R) -> Self {
        SseReader { from, parser: SseParser::default(), piece: vec![0; PIECE_BYTES] }
    }

    /// Waits for the next event. `None`: the body ended.
    pub fn next(&mut self) -> std::io::Result<Option<SseEvent>> {
        loop {
            if let Some(event) = self.parser.next_event() {
                return Ok(Some(event));
            }
            let count = self.from.read(&mut self.piece)?;
            if count == 0 {
                return Ok(None);
            }
            let piece = self.piece.get(..count).unwrap_or_default();
            self.parser.feed(piece).map_err(std::io::Error::other)?;
        }
    }
}

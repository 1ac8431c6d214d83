//! Server-sent events, the reader's side (WHATWG HTML, section 9.2.6).
//!
//! Takes bytes as they come and gives whole events. Knows no socket. One event is bounded by [`EVENT_BYTES_MAX`], so
//! that a stranger cannot fill the memory. A line ends with a line feed, with or without a carriage return before it.

use std::collections::VecDeque;

use thiserror::Error;

/// Largest event, in bytes: the largest message, in base64, with its headers.
pub const EVENT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// One event.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// What to resume after.
    pub id: Option<String>,
    /// The kind; empty stands for `message`.
    pub kind: String,
    /// The data, its lines joined.
    pub data: String,
}

/// Why bytes are no events. What comes after them cannot be understood either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SseError {
    /// One is larger than [`EVENT_BYTES_MAX`].
    #[error("an event is larger than any message")]
    TooLarge,
    /// A line is not UTF-8.
    #[error("an event is no UTF-8")]
    NotText,
}

/// Bytes to events. Comments (heartbeats), retry hints and events without data are passed over.
#[derive(Debug, Default)]
pub struct SseParser {
    /// The line that has not ended.
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    /// Bytes of the event so far.
    size: usize,
    ready: VecDeque<SseEvent>,
}

impl SseParser {
    /// Takes bytes.
    ///
    /// # Errors
    /// [`SseError`]; events before the fault are ready.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.size += piece.len();
            if self.size > EVENT_BYTES_MAX {
                return Err(SseError::TooLarge);
            }
            self.line.extend_from_slice(piece);
            if self.line.pop_if(|byte| *byte == b'\n').is_some() {
                self.line.pop_if(|byte| *byte == b'\r');
                let line = std::mem::take(&mut self.line);
                self.take(std::str::from_utf8(&line).map_err(|_| SseError::NotText)?);
                // Its room serves the next line, unless it was a large one.
                self.line = line;
                self.line.clear();
                self.line.shrink_to(LINE_BYTES_KEPT);
            }
        }
        Ok(())
    }

    /// The next event that is whole.
    pub fn next_event(&mut self) -> Option<SseEvent> {
        self.ready.pop_front()
    }

    fn take(&mut self, line: &str) {
        if line.is_empty() {
            let (event, has_data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.has_data));
            self.size = 0;
            self.ready.extend(has_data.then_some(event));
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.kind = value.to_owned(),
            _ => {}
        }
    }
}

/// Bytes of room that one line leaves for the next.
const LINE_BYTES_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &[(&str, &str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(a, b, c)| ((*a).into(), (*b).into(), (*c).into())).collect();
        for size in (1..9).chain([body.len()]) {
            let (mut parser, mut found) = (SseParser::default(), Vec::new());
            for piece in body.as_bytes().chunks(size) {
                parser.feed(piece).unwrap();
                while let Some(SseEvent { id, kind, data }) = parser.next_event() {
                    found.push((id.unwrap_or_default(), kind, data));
                }
            }
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn events_are_cut_at_empty_lines() {
        check("id: 1\nevent: message\ndata: {\"a\":1}\n\n", &[("1", "message", "{\"a\":1}")]);
        check("data:x\r\ndata: y\r\n\r\ndata: z\n\n", &[("", "", "x\ny"), ("", "", "z")]);
    }

    #[test]
    fn heartbeats_and_cut_events_are_passed_over() {
        check(": heartbeat\n\n:\n\nretry: 5\n\nid: 2\ndata: a\n\n", &[("2", "", "a")]);
        check("id: 3\ndata: whole\n\nid: 4\ndata: cut", &[("3", "", "whole")]);
    }

    #[test]
    fn what_is_no_event_is_told() {
        let mut parser = SseParser::default();
        assert_eq!(parser.feed(b"data: a\n\ndata: \xff\n\n"), Err(SseError::NotText));
        assert_eq!(parser.next_event().map(|event| event.data).as_deref(), Some("a"));
        let (mut parser, piece) = (SseParser::default(), vec![b'x'; 1024 * 1024]);
        let fed = (0..=EVENT_BYTES_MAX / piece.len()).try_for_each(|_| parser.feed(&piece));
        assert_eq!(fed, Err(SseError::TooLarge));
        // Many lines of one event, too.
        let (mut parser, piece) = (SseParser::default(), [b"data: ", piece.as_slice(), b"\n"].concat());
        let fed = (0..=EVENT_BYTES_MAX / piece.len()).try_for_each(|_| parser.feed(&piece));
        assert_eq!(fed, Err(SseError::TooLarge));
    }
}

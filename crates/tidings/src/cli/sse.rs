//! Server-sent events, the reader's side (WHATWG HTML, section 9.2.6).
//!
//! Takes bytes as they come and gives whole events. Knows no socket. One event is bounded by
//! [`EVENT_BYTES_MAX`], so that a stranger cannot fill the memory.

use std::io::{BufRead, BufReader, Read};

/// Largest event, in bytes: the largest message, in base64, with its headers.
const EVENT_BYTES_MAX: usize = 128 * 1024 * 1024;

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

/// Reads events from a body.
pub struct SseReader<R> {
    from: BufReader<R>,
    line: Vec<u8>,
}

impl<R: Read> SseReader<R> {
    /// Reads from the start of a body.
    pub fn new(from: R) -> Self {
        SseReader { from: BufReader::new(from), line: Vec::new() }
    }

    /// Waits for the next event; comments (heartbeats) and retry hints are passed over. `None`: the body ended.
    pub fn next(&mut self) -> std::io::Result<Option<SseEvent>> {
        let mut event = SseEvent::default();
        let (mut size, mut has_data) = (0, false);
        loop {
            self.line.clear();
            let limit = (EVENT_BYTES_MAX - size) as u64 + 1;
            size += self.from.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
            if size > EVENT_BYTES_MAX {
                return Err(std::io::Error::other("an event of the node is larger than any message"));
            }
            if self.line.pop_if(|byte| *byte == b'\n').is_none() {
                return Ok(None);
            }
            self.line.pop_if(|byte| *byte == b'\r');
            if self.line.is_empty() {
                if has_data {
                    return Ok(Some(event));
                }
                (event, size) = (SseEvent::default(), 0);
                continue;
            }
            let text = String::from_utf8_lossy(&self.line);
            let (field, value) = text.split_once(':').unwrap_or((&text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => {
                    if has_data {
                        event.data.push('\n');
                    }
                    event.data.push_str(value);
                    has_data = true;
                }
                "id" => event.id = Some(value.to_owned()),
                "event" => event.kind = value.to_owned(),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: &[(&str, &str, &str)]) {
        let mut reader = SseReader::new(body.as_bytes());
        let mut found = Vec::new();
        while let Some(event) = reader.next().unwrap() {
            found.push((event.id.unwrap_or_default(), event.kind, event.data));
        }
        let expected: Vec<_> = expected.iter().map(|(a, b, c)| ((*a).into(), (*b).into(), (*c).into())).collect();
        assert_eq!(found, expected);
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
}

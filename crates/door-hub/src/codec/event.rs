//! Events on the wire: `ROOM`, a newline, the payload.
//!
//! The originals keep the separator in what they parse and add one of their own when they send it on, so
//! that each hop over a socket adds a newline. Whoever reads the payload by another door never sees it.

use crate::codec::frame::{Mask, Opcode, write_frame};

/// Where an event entered, as its header `Hub-From` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A messenger's frame.
    Messenger,
    /// The body of a `POST`.
    Post,
    /// A repeater's frame.
    Repeater,
    /// A hub's frame.
    Hub,
    /// Another door.
    Elsewhere,
}

/// The header's name with what follows it, as this door writes it.
const NAME: &str = "Hub-From: ";

impl Source {
    /// The line of a header block; empty of what this door did not bring.
    pub fn line(self) -> &'static str {
        match self {
            Source::Messenger => "Hub-From: messenger\r\n",
            Source::Post => "Hub-From: post\r\n",
            Source::Repeater => "Hub-From: repeater\r\n",
            Source::Hub => "Hub-From: hub\r\n",
            Source::Elsewhere => "",
        }
    }

    /// Where the message with this header block entered.
    pub fn of(headers: &[u8]) -> Source {
        if headers.is_empty() {
            return Source::Elsewhere;
        }
        let line = |line: &[u8]| match line.strip_prefix(NAME.as_bytes())?.trim_ascii_end() {
            b"messenger" => Some(Source::Messenger),
            b"post" => Some(Source::Post),
            b"repeater" => Some(Source::Repeater),
            b"hub" => Some(Source::Hub),
            _ => None,
        };
        // This door writes it first.
        headers.split(|byte| *byte == b'\n').find_map(line).unwrap_or(Source::Elsewhere)
    }

    /// Whether a newline was parsed on its way here, and so is added on its way on.
    pub fn is_parsed(self) -> bool {
        matches!(self, Source::Messenger | Source::Repeater | Source::Hub)
    }
}

/// Room and payload of a frame; `None` where it has no newline.
pub fn split(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', frame)?;
    Some((frame.get(..end)?, frame.get(end + 1..)?))
}

/// Writes an event's frame; `newlines` besides the separator.
pub fn write_event(into: &mut Vec<u8>, mask: Mask, room: &[u8], newlines: usize, payload: &[u8]) {
    let separator = b"\n\n\n\n".get(..=newlines).unwrap_or(b"\n");
    write_frame(into, Opcode::Binary, mask, &[room, separator, payload]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_split_at_the_first_newline() {
        assert_eq!(split(b"ITB-1101\n{}\n"), Some((&b"ITB-1101"[..], &b"{}\n"[..])));
        assert_eq!(split(b"\n"), Some((&b""[..], &b""[..])));
        assert_eq!(split(b"ITB-1101"), None);
    }

    #[test]
    fn each_hop_adds_a_newline() {
        let mut bytes = Vec::new();
        write_event(&mut bytes, None, b"ITB-1101", 1, b"{\"k\":1}");
        assert_eq!(&bytes[2..], b"ITB-1101\n\n{\"k\":1}");
        bytes.clear();
        write_event(&mut bytes, None, b"A", 0, b"");
        assert_eq!(bytes, b"\x82\x02A\n");
    }

    #[test]
    fn headers_say_where_it_entered() {
        for source in [Source::Messenger, Source::Post, Source::Repeater, Source::Hub, Source::Elsewhere] {
            assert_eq!(Source::of(source.line().as_bytes()), source);
            assert_eq!(Source::of(format!("ce-id: 1\r\n{}x: y\r\n", source.line()).as_bytes()), source);
        }
        assert_eq!(Source::of(b"X-Hub-From: hub\r\n"), Source::Elsewhere);
    }
}

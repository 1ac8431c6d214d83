//! The header block as it travels: a first line, perhaps with a status, then the lines that
//! [`Headers`](event::Headers) keeps, then an empty line.

/// What every block begins with.
pub const HEAD: &[u8] = b"NATS/1.0";

/// Splits a block into its status (empty: none) and its lines, as [`Headers`](event::Headers) keeps
/// them; `None` where it is no block.
pub fn split_block(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = block.strip_prefix(HEAD)?;
    let end = memchr::memmem::find(rest, b"\r\n")?;
    let (status, rest) = rest.split_at(end);
    // What is left begins with the first line's end and ends with the last line's and an empty one.
    let lines = rest.strip_prefix(b"\r\n")?.strip_suffix(b"\r\n")?;
    if !lines.is_empty() && !lines.ends_with(b"\r\n") {
        return None;
    }
    Some((status.trim_ascii(), lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(block: &str, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(status, lines)| (status.as_bytes(), lines.as_bytes()));
        assert_eq!(split_block(block.as_bytes()), expected, "{block:?}");
    }

    #[test]
    fn the_parts_of_a_block() {
        check("NATS/1.0\r\n\r\n", Some(("", "")));
        check("NATS/1.0\r\nA: 1\r\n\r\n", Some(("", "A: 1\r\n")));
        check("NATS/1.0 503\r\n\r\n", Some(("503", "")));
        check("NATS/1.0 100 Idle Heartbeat\r\nA: 1\r\nB: 2\r\n\r\n", Some(("100 Idle Heartbeat", "A: 1\r\nB: 2\r\n")));
        for bad in ["", "NATS/1.0", "NATS/1.0\r\n", "HTTP/1.1\r\n\r\n", "NATS/1.0\r\nA: 1", "NATS/1.0\r\nA: 1\r\n"] {
            check(bad, None);
        }
    }
}

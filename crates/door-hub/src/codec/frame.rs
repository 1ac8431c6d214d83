//! WebSocket frames: RFC 6455, section 5.
//!
//! ```text
//! fin:1 rsv:3 opcode:4 | mask:1 length:7 | length:0, 16 or 64 | mask:0 or 32 | payload
//! ```
//!
//! # Cost
//! A frame is read where it lies and unmasked in place; one is written straight behind what waits.

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of a message that has begun.
    Continuation,
    /// A message of text, or its beginning.
    Text,
    /// A message of bytes, or its beginning.
    Binary,
    /// The end.
    Close,
    /// A question whether the other side is there.
    Ping,
    /// Its answer.
    Pong,
}

/// Which side of a connection bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who dialled: masks what it sends.
    Client,
    /// Who was dialled: does not.
    Server,
}

/// What frames of one's own are masked with; servers' are not.
pub type Mask = Option<[u8; 4]>;

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Whether the message ends with it.
    pub fin: bool,
    /// What it is.
    pub opcode: Opcode,
    /// What its payload is masked with.
    pub mask: Mask,
    /// Bytes of the head.
    pub head: usize,
    /// Bytes of the payload.
    pub payload: usize,
}

/// Why bytes are no frame. The connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not a frame that may come: reserved bits, an unknown opcode, a mask missing or too much, a control
    /// frame that is long or in parts.
    Protocol,
    /// Longer than is taken.
    TooLong,
}

impl Fault {
    /// The status that the other side is told: RFC 6455, section 7.4.1.
    pub fn code(self) -> u16 {
        match self {
            Fault::Protocol => 1002,
            Fault::TooLong => 1009,
        }
    }
}

/// What comes next in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A whole frame.
    Frame(Head),
    /// So many bytes are needed in all before more can be said.
    More(usize),
    /// The connection ends.
    Fault(Fault),
}

/// Longest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;
/// Longest head: two bytes, a length of eight, a mask.
const HEAD_BYTES_MAX: usize = 14;

/// What `bytes` begin with, which come from `side`; a payload has at most `max` bytes.
pub fn next(bytes: &[u8], side: Side, max: usize) -> Next {
    let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else {
        return Next::More(2);
    };
    let opcode = match first & 0x0f {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Next::Fault(Fault::Protocol),
    };
    let (fin, masked) = (first & 0x80 != 0, second & 0x80 != 0);
    if first & 0x70 != 0 || masked != (side == Side::Client) {
        return Next::Fault(Fault::Protocol);
    }
    let short = usize::from(second & 0x7f);
    if first & 0x08 != 0 && (!fin || short > CONTROL_BYTES_MAX) {
        return Next::Fault(Fault::Protocol);
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let head = 2 + extended + if masked { 4 } else { 0 };
    let Some(whole) = bytes.get(2..head) else {
        return Next::More(head);
    };
    let (length, mask) = whole.split_at(extended.min(whole.len()));
    let payload = match extended {
        0 => short,
        _ => {
            let length = length.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
            usize::try_from(length).unwrap_or(usize::MAX)
        }
    };
    if payload > max {
        return Next::Fault(Fault::TooLong);
    }
    match head + payload {
        needed if bytes.len() < needed => Next::More(needed),
        _ => Next::Frame(Head { fin, opcode, mask: mask.try_into().ok(), head, payload }),
    }
}

/// Takes a mask off, or puts it on.
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Writes one whole frame of these parts.
pub fn write_frame(into: &mut Vec<u8>, opcode: Opcode, mask: Mask, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    into.reserve(HEAD_BYTES_MAX + length);
    let code = match opcode {
        Opcode::Continuation => 0,
        Opcode::Text => 1,
        Opcode::Binary => 2,
        Opcode::Close => 8,
        Opcode::Ping => 9,
        Opcode::Pong => 10,
    };
    into.push(0x80 | code);
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => into.push(masked | short),
        (_, Ok(length)) => {
            into.push(masked | 126);
            into.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            into.push(masked | 127);
            into.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        into.extend_from_slice(&mask);
    }
    let start = into.len();
    for part in parts {
        into.extend_from_slice(part);
    }
    if let (Some(mask), Some(payload)) = (mask, into.get_mut(start..)) {
        unmask(payload, mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bytes: &[u8], side: Side, expected: Next) {
        assert_eq!(next(bytes, side, 1000), expected, "{bytes:02x?}");
    }

    #[test]
    fn frames_as_the_original_sends_them() {
        let head = |fin, opcode, mask, head, payload| Next::Frame(Head { fin, opcode, mask, head, payload });
        check(&[0x88, 2, 3, 0xe9], Side::Server, head(true, Opcode::Close, None, 2, 2));
        check(&[0x89, 0x80, 1, 2, 3, 4], Side::Client, head(true, Opcode::Ping, Some([1, 2, 3, 4]), 6, 0));
        check(&[0x02, 0x81, 1, 2, 3, 4, 5], Side::Client, head(false, Opcode::Binary, Some([1, 2, 3, 4]), 6, 1));
        for part in 0..2 {
            check(&[0x82; 1][..part], Side::Server, Next::More(2));
        }
        check(&[0x82, 126, 0], Side::Server, Next::More(4));
        check(&[0x82, 126, 0, 200], Side::Server, Next::More(204));
    }

    #[test]
    fn what_may_not_come_ends_the_connection() {
        let protocol = Next::Fault(Fault::Protocol);
        check(&[0xc2, 0], Side::Server, protocol);
        check(&[0x83, 0], Side::Server, protocol);
        check(&[0x82, 0], Side::Client, protocol);
        check(&[0x82, 0x80], Side::Server, protocol);
        check(&[0x09, 0], Side::Server, protocol);
        check(&[0x89, 126, 0, 126], Side::Server, protocol);
        check(&[0x82, 127, 0, 0, 0, 0, 4, 0, 0, 0], Side::Server, Next::Fault(Fault::TooLong));
        check(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255], Side::Server, Next::Fault(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn a_frame_comes_back(payload: Vec<u8>, more: usize, mask: Option<[u8; 4]>) {
            let long = payload.repeat(1 + more % 300);
            let mut bytes = Vec::new();
            write_frame(&mut bytes, Opcode::Binary, mask, &[&long]);
            let side = if mask.is_some() { Side::Client } else { Side::Server };
            let Next::Frame(head) = next(&bytes, side, long.len()) else { panic!("no frame") };
            prop_assert_eq!(head.head + head.payload, bytes.len());
            if let Some(mask) = head.mask {
                unmask(&mut bytes[head.head..], mask);
            }
            prop_assert_eq!(&bytes[head.head..], &long[..]);
            for cut in 0..bytes.len().min(20) {
                prop_assert!(matches!(next(&bytes[..cut], side, long.len()), Next::More(needed) if needed > cut));
            }
        }
    }
}

//! WebSocket by hand, as a client needs it: the upgrade, frames out, frames in.
//!
//! A client's frames must be masked; the mask here is zero, which is one of those allowed and costs
//! nothing. Frames in are one piece each: a server that fragments is refused.
//! Source: RFC 6455, sections 4.1 and 5.2.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A change of subscriptions.
pub const TEXT: u8 = 1;
/// An event.
pub const BINARY: u8 = 2;
/// The end.
pub const CLOSE: u8 = 8;
/// Is somebody there?
pub const PING: u8 = 9;
/// Yes.
pub const PONG: u8 = 10;

/// How long a connect, a read of the upgrade, or a write may take.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Bytes of the answer to an upgrade.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The key of the upgrade, and what a server makes of it: the example of the RFC, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Connects as an original's client does. Gives what came behind the answer, too.
pub fn connect(address: SocketAddr, path: &str) -> Result<(TcpStream, Vec<u8>), String> {
    let failed = |error: std::io::Error| format!("cannot connect to {address}{path}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, SILENCE_MAX).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    stream.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
    stream.set_write_timeout(Some(SILENCE_MAX)).map_err(failed)?;
    let rest = upgrade(&mut stream, address, path)?;
    Ok((stream, rest))
}

/// Asks for the upgrade on a connection.
pub fn upgrade(stream: &mut TcpStream, address: SocketAddr, path: &str) -> Result<Vec<u8>, String> {
    let ask = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).map_err(|error| format!("{path}: {error}"))?;
    let (mut read, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let more = stream.read(&mut part).map_err(|error| format!("{path}: no answer to the upgrade: {error}"))?;
        read.extend_from_slice(&part[..more]);
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            if !head.starts_with("HTTP/1.1 101") || !head.contains(ACCEPT) {
                return Err(format!("{path}: not upgraded: {head}"));
            }
            return Ok(read.split_off(end + 4));
        }
        if more == 0 || read.len() > HEAD_BYTES_MAX {
            return Err(format!("{path}: not upgraded: {}", String::from_utf8_lossy(&read)));
        }
    }
}

/// A client's frame.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const FINAL: u8 = 0x80;
    const MASKED: u8 = 0x80;
    let mut frame = vec![FINAL | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(MASKED | u8::try_from(length).unwrap_or_default()),
        length => match u16::try_from(length) {
            Ok(length) => {
                frame.push(MASKED | 126);
                frame.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                frame.push(MASKED | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        },
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The frame that subscribes to a room.
pub fn subscribe(room: &str) -> Vec<u8> {
    frame(TEXT, format!("{{\"rooms\":[\"{room}\"],\"create\":true}}").as_bytes())
}

/// A server's frame as its head says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub opcode: u8,
    /// Where its payload begins.
    pub at: usize,
    /// Where it ends.
    pub end: usize,
}

/// Reads a head; nothing where it is not whole yet.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return Err(format!("a frame that is cut, extended or masked: {first:02x} {second:02x}"));
    }
    let (at, length): (usize, usize) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, rest) => match rest.first_chunk::<8>() {
            None => return Ok(None),
            Some(long) => (10, usize::try_from(u64::from_be_bytes(*long)).map_err(|error| error.to_string())?),
        },
        (126, _) => return Ok(None),
        (length, _) => (2, usize::from(length)),
    };
    let end = at.checked_add(length).ok_or("a frame without an end")?;
    Ok(Some(Head { opcode: first & 0x0f, at, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_length_that_its_head_says() {
        for (length, at) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut masked = frame(BINARY, &vec![7; length]);
            assert_eq!(masked.len(), at + 4 + length);
            // A server's frame is the same without the mask.
            masked[1] &= 0x7f;
            let server = [&masked[..at], &masked[at + 4..]].concat();
            assert_eq!(head(&server), Ok(Some(Head { opcode: BINARY, at, end: at + length })), "{length}");
            assert_eq!(head(&server[..at - 1]), Ok(None), "{length}");
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_refused() {
        for bytes in [[0x02, 0x00], [0xc2, 0x00], [0x82, 0x80]] {
            assert!(head(&bytes).is_err(), "{bytes:?}");
        }
    }
}

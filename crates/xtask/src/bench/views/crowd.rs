//! Thousands of HTTP connections on one thread: whoever has something to read is read.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// Bytes of one read: several answers, and small enough to stay in the processor's cache.
const READ_BYTES: usize = 256 * 1024;
/// Connections that one look finds ready.
const READY_MAX: usize = 1024;

/// Connections that are read together.
#[derive(Debug)]
pub struct Crowd {
    epoll: OwnedFd,
    members: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new() -> Result<Crowd, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
        Ok(Crowd { epoll, members: Vec::new(), buffer: vec![0; READ_BYTES] })
    }

    /// Connects, sends a request, and takes the connection in; gives its number, from zero up.
    pub fn join(&mut self, address: SocketAddr, request: &[u8]) -> Result<usize, String> {
        let mut stream = TcpStream::connect(address).map_err(|error| format!("cannot connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        stream.write_all(request).map_err(|error| format!("cannot write: {error}"))?;
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        let number = self.members.len();
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).map_err(|error| format!("epoll: {error}"))?;
        self.members.push(stream);
        Ok(number)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Sends a request: small, so that it always finds room.
    pub fn send(&mut self, member: usize, request: &[u8]) -> Result<(), String> {
        let stream = self.members.get_mut(member).ok_or("there is no such connection")?;
        stream.write_all(request).map_err(|error| format!("connection {member} cannot write: {error}"))
    }

    /// Waits for what comes, at most so long, and hands on what was read: whose, the bytes, when. What `heard`
    /// answers is sent on that connection.
    pub fn turn(
        &mut self,
        wait: Duration,
        heard: &mut impl FnMut(usize, &[u8], Instant) -> Result<Option<Vec<u8>>, String>,
    ) -> Result<(), String> {
        let wait = Timespec::try_from(wait).map_err(|error| error.to_string())?;
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(READY_MAX);
        match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&wait)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(format!("epoll: {error}")),
        }
        for event in ready {
            let number = usize::try_from(event.data.u64()).map_err(|error| error.to_string())?;
            let stream = self.members.get_mut(number).ok_or("there is no such connection")?;
            let more = match stream.read(&mut self.buffer) {
                Ok(0) => return Err(format!("connection {number}: the server closed it")),
                Ok(more) => more,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
                Err(error) => return Err(format!("connection {number} cannot read: {error}")),
            };
            let answer = heard(number, &self.buffer[..more], Instant::now())
                .map_err(|reason| format!("connection {number}: {reason}"))?;
            if let Some(request) = answer {
                self.send(number, &request)?;
            }
        }
        Ok(())
    }
}

/// The answers of one connection, as far as they came.
#[derive(Debug, Default)]
pub struct Answer {
    kept: Vec<u8>,
}

/// A whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Its status.
    pub status: u16,
    /// Its `X-Consul-Index`.
    pub index: u64,
    /// The greatest mark in its body.
    pub mark: Option<u64>,
}

impl Answer {
    /// Takes what was read; gives the answer when it is whole. One at a time: a request follows each.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<Whole>, String> {
        self.kept.extend_from_slice(bytes);
        let Some(end) = find(&self.kept, b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&self.kept[..end]).map_err(|error| error.to_string())?;
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).find_map(|(_, value)| value.trim().parse().ok())
        };
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status line")?;
        let length: u64 = header("content-length").ok_or_else(|| format!("no length: {head}"))?;
        let length = usize::try_from(length).map_err(|error| error.to_string())?;
        let body = &self.kept[end + 4..];
        if body.len() < length {
            self.kept.reserve(length - body.len());
            return Ok(None);
        }
        let whole = Whole { status, index: header("x-consul-index").unwrap_or(0), mark: marks(body).max() };
        if status != 200 {
            return Err(format!("{status}: {}", String::from_utf8_lossy(body)));
        }
        self.kept.clear();
        Ok(Some(whole))
    }
}

/// The marks of registrations in a text, in order.
pub fn marks(text: &[u8]) -> impl Iterator<Item = u64> + '_ {
    const NAME: &[u8] = b"\"mark\":\"";
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = find(rest, NAME)? + NAME.len();
        let digits = rest.get(at..at + 8)?;
        rest = &rest[at..];
        std::str::from_utf8(digits).ok()?.parse().ok()
    })
}

/// Where a part begins.
pub fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    let first = *part.first()?;
    let mut from = 0;
    while let Some(found) = text.get(from..)?.iter().position(|byte| *byte == first) {
        if text[from + found..].starts_with(part) {
            return Some(from + found);
        }
        from += found + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_last_byte_came() {
        let text = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\ncontent-length: 19\r\n\r\n{\"mark\":\"00000012\"}";
        let mut answer = Answer::default();
        for cut in 0..text.len() - 1 {
            assert_eq!(answer.take(&text[cut..=cut]).unwrap(), None);
        }
        let whole = answer.take(&text[text.len() - 1..]).unwrap();
        assert_eq!(whole, Some(Whole { status: 200, index: 7, mark: Some(12) }));
        assert!(answer.take(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").is_err());
    }

    #[test]
    fn marks_are_found_in_order() {
        let found: Vec<u64> = marks(b"\"mark\":\"00000003\",\"mark\":\"00000001\"\"mark\":\"1\"").collect();
        assert_eq!(found, [3, 1]);
        assert_eq!(find(b"aab", b"ab"), Some(1));
        assert_eq!(find(b"aa", b"ab"), None);
    }
}

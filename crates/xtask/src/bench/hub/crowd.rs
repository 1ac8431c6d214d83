//! Thousands of connections on one thread: whoever has something to read is read, frame by frame.
//!
//! One read takes what a connection has, up to a buffer that all share, so that a connection costs
//! nothing between its frames but the part of a frame that it waits for.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::frames;

/// Bytes of one read. Several frames of 1 KiB, and small enough to stay in the processor's cache.
const READ_BYTES: usize = 128 * 1024;
/// Connections that one look finds ready.
const READY_MAX: usize = 1024;

/// Connections that are read together.
#[derive(Debug)]
pub struct Crowd {
    epoll: OwnedFd,
    members: Vec<Member>,
    buffer: Vec<u8>,
    /// Pings that were answered.
    pub pings: u64,
    /// Pongs that came.
    pub pongs: u64,
}

#[derive(Debug)]
struct Member {
    stream: TcpStream,
    /// The beginning of a frame that is not whole yet.
    kept: Vec<u8>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new() -> Result<Crowd, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
        Ok(Crowd { epoll, members: Vec::new(), buffer: vec![0; READ_BYTES], pings: 0, pongs: 0 })
    }

    /// Takes in a connection, with what was read of it already; gives its number, from zero up.
    pub fn join(&mut self, stream: TcpStream, kept: Vec<u8>) -> Result<usize, String> {
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        let number = self.members.len();
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).map_err(|error| format!("epoll: {error}"))?;
        self.members.push(Member { stream, kept });
        Ok(number)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Closes a connection; its number is not used again.
    pub fn leave(&mut self, member: usize) -> Result<(), String> {
        let member = self.members.get(member).ok_or("there is no such connection")?;
        epoll::delete(&self.epoll, &member.stream).map_err(|error| format!("epoll: {error}"))?;
        member.stream.shutdown(std::net::Shutdown::Both).map_err(|error| error.to_string())
    }

    /// Waits for what comes, at most so long, and hands on each event: whose, its payload, when it was read.
    pub fn turn(
        &mut self,
        wait: Duration,
        heard: &mut impl FnMut(usize, &[u8], Instant) -> Result<(), String>,
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
            self.read(number, heard).map_err(|reason| format!("connection {number}: {reason}"))?;
        }
        Ok(())
    }

    fn read(
        &mut self,
        number: usize,
        heard: &mut impl FnMut(usize, &[u8], Instant) -> Result<(), String>,
    ) -> Result<(), String> {
        let member = self.members.get_mut(number).ok_or("there is no such connection")?;
        let held = member.kept.len();
        if self.buffer.len() < held + READ_BYTES {
            self.buffer.resize(held + READ_BYTES, 0);
        }
        self.buffer[..held].copy_from_slice(&member.kept);
        let more = match member.stream.read(&mut self.buffer[held..]) {
            Ok(0) => return Err("the server closed it".to_string()),
            Ok(more) => more,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(error) => return Err(format!("cannot read: {error}")),
        };
        let now = Instant::now();
        let mut unread = &self.buffer[..held + more];
        while let Some(head) = frames::head(unread)?.filter(|head| head.end <= unread.len()) {
            let (payload, rest) = (&unread[head.at..head.end], &unread[head.end..]);
            match head.opcode {
                frames::BINARY => heard(number, payload, now)?,
                frames::PING => {
                    let pong = frames::frame(frames::PONG, &[]);
                    member.stream.write_all(&pong).map_err(|error| format!("cannot write: {error}"))?;
                    self.pings += 1;
                }
                frames::PONG => self.pongs += 1,
                frames::CLOSE => {
                    let why = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
                    return Err(format!("the server closed it: {:?} {why}", payload.get(..2)));
                }
                other => return Err(format!("a frame with the opcode {other}")),
            }
            unread = rest;
        }
        member.kept.clear();
        member.kept.extend_from_slice(unread);
        Ok(())
    }
}

//! What a plugin writes, up to a bound.
//!
//! A pipe of our own rather than the executor's: at a plugin's end it is to be emptied of what is in it
//! now, without waiting for processes that still hold its other end.

use std::io::{self, ErrorKind, PipeWriter};

use rustix::io::{Errno, read};
use tokio::net::unix::pipe::Receiver;

/// Bytes taken at a time: an eighth of what a pipe holds.
const PIECE_BYTES: usize = 8 * 1024;

/// More came than may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// The reading end.
pub(crate) struct Intake {
    pipe: Receiver,
    taken: Vec<u8>,
    bytes_max: usize,
}

impl Intake {
    /// A pipe, and its writing end for the plugin.
    pub(crate) fn new(bytes_max: usize) -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        Ok((Intake { pipe: Receiver::from_owned_fd(reader.into())?, taken: Vec::new(), bytes_max }, writer))
    }

    /// Takes what comes, until nobody can write any more. May be dropped and called again.
    pub(crate) async fn fill(&mut self) -> Result<(), TooLong> {
        while self.pipe.readable().await.is_ok() {
            let mut piece = [0; PIECE_BYTES];
            match self.pipe.try_read(&mut piece) {
                Ok(0) => break,
                Ok(length) => self.take(&piece, length)?,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Takes what is there now, and waits for nothing.
    pub(crate) fn drain(&mut self) -> Result<(), TooLong> {
        let mut piece = [0; PIECE_BYTES];
        loop {
            // Not by way of the executor, whose word that nothing is there may be old.
            match read(&self.pipe, &mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => self.take(&piece, length)?,
                Err(Errno::INTR) => {}
                Err(_) => return Ok(()),
            }
        }
    }

    /// Most bytes that it takes.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What came.
    pub(crate) fn into_taken(self) -> Vec<u8> {
        self.taken
    }

    fn take(&mut self, piece: &[u8], length: usize) -> Result<(), TooLong> {
        self.taken.extend_from_slice(piece.get(..length).unwrap_or(piece));
        if self.taken.len() > self.bytes_max { Err(TooLong) } else { Ok(()) }
    }
}

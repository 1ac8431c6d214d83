//! The disk as the engine sees it: everything the engine does to files goes through [`Disk`] and
//! [`File`], so that a simulated disk can stand in.
//!
//! Paths are relative to the data directory, with `/` between their parts.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

/// A directory tree.
pub trait Disk: Send + Sync {
    /// Creates a file and opens it. Fails with `AlreadyExists` where there is one.
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a file that exists.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;
    /// Names in a directory, sorted. Fails with `NotFound` where there is none.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Renames a file or directory, replacing a file that stands there. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Creates a directory and those above it; it may exist already.
    fn make_dir(&self, dir: &str) -> io::Result<()>;
    /// Removes a directory with all in it.
    fn remove_dir(&self, dir: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Takes the data directory for this process, until the guard is dropped. Fails with
    /// `WouldBlock`, and a message that names the holder, where another has it.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. Offsets are in bytes.
#[expect(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait File: Send + Sync {
    /// Reads into the buffer; fewer bytes than it holds only at the file's end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all the bytes. Not durable before [`File::sync_data`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Its length.
    fn len(&self) -> io::Result<u64>;
    /// Makes room up to `len`, so that writing there cannot fail for want of space. New bytes are zero.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends it. New bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Returns when all written bytes, and the length, are durable. After a failure nothing that was
    /// written since the last success may be trusted.
    fn sync_data(&self) -> io::Result<()>;
}

thread_local! {
    /// Whether this thread reads only what needs no waiting, and whether it met what does.
    static HURRY: Cell<Hurry> = const { Cell::new(Hurry { hurried: false, met: false }) };
}

#[derive(Clone, Copy)]
struct Hurry {
    hurried: bool,
    met: bool,
}

/// Does work whose reads do not wait for the disk: `None` where one would have to. What files do not
/// know whether they wait, they do.
pub fn at_once<T>(work: impl FnOnce() -> T) -> Option<T> {
    HURRY.set(Hurry { hurried: true, met: false });
    let done = work();
    let Hurry { met, .. } = HURRY.replace(Hurry { hurried: false, met: false });
    (!met).then_some(done)
}

/// For a file: whether a read must not wait now.
pub fn is_hurried() -> bool {
    HURRY.get().hurried
}

/// For a file: a read would have to wait, and was not made.
pub fn would_wait() -> io::Error {
    HURRY.set(Hurry { hurried: true, met: true });
    io::ErrorKind::WouldBlock.into()
}

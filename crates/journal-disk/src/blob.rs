//! A file that is written whole or not at all: a magic, a version, a checksum, and bytes.
//!
//! ```text
//! magic 8 bytes │ version u32 │ crc32c of version, len and bytes u32 │ len u64 │ bytes
//! ```
//!
//! Written beside its place, synced, and renamed into it, so a crash leaves the old or the new.

use std::io::{self, Read, Write};

use bytes::Buf;

use crate::disk::{Disk, File};
use crate::sealed::FileReader;

const HEADER: usize = 24;
/// Bytes read at a time.
const WINDOW: usize = 256 * 1024;
const TEMPORARY: &str = "new.tmp";

/// Replaces `dir/name` with what `fill` writes: no more of it is held than a window. Durable when it
/// returns.
///
/// # Errors
/// What the disk says, or `fill`. What stood there before still stands.
pub fn write(
    disk: &dyn Disk,
    dir: &str,
    name: &str,
    magic: &[u8; 8],
    version: u32,
    fill: &dyn Fn(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = join(dir, TEMPORARY);
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&temporary)?;
    let mut body = Body { file: file.as_ref(), held: Vec::new(), len: 0, crc: 0 };
    fill(&mut body)?;
    body.flush()?;
    let len = body.len;
    let crc =
        crc32c::crc32c_combine(checksum(version, len, &[]), body.crc, usize::try_from(len).map_err(io::Error::other)?);
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(magic);
    header.extend_from_slice(&version.to_le_bytes());
    header.extend_from_slice(&crc.to_le_bytes());
    header.extend_from_slice(&len.to_le_bytes());
    file.write_at(&header, 0)?;
    file.sync_data()?;
    disk.rename(&temporary, &join(dir, name))?;
    disk.sync_dir(dir)
}

/// The bytes behind the header, as they are written.
struct Body<'a> {
    file: &'a dyn File,
    /// Not written yet.
    held: Vec<u8>,
    /// Bytes so far, those held included.
    len: u64,
    crc: u32,
}

impl Write for Body<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.held.len() + bytes.len() > WINDOW {
            self.flush()?;
        }
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.held.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.held, HEADER as u64 + self.len - self.held.len() as u64)?;
        self.held.clear();
        Ok(())
    }
}

/// Reads `dir/name`: its version and bytes.
///
/// # Errors
/// `InvalidData` where it is damaged or something else; otherwise what the disk says.
pub fn read(disk: &dyn Disk, dir: &str, name: &str, magic: &[u8; 8]) -> io::Result<(u32, Vec<u8>)> {
    let (version, mut reader) = open(disk, dir, name, magic)?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok((version, bytes))
}

/// Checks `dir/name` whole, and gives its version and its bytes to be read: no more of them is held
/// than a window at a time.
///
/// # Errors
/// As [`read`].
pub fn open(disk: &dyn Disk, dir: &str, name: &str, magic: &[u8; 8]) -> io::Result<(u32, impl io::Read + use<>)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("'{}' is damaged", join(dir, name)));
    let file = disk.open(&join(dir, name))?;
    let mut header = [0; HEADER];
    if file.read_at(&mut header, 0)? < HEADER || header[..8] != magic[..] {
        return Err(damaged());
    }
    let mut fields = &header[8..];
    let (version, crc, len) = (fields.get_u32_le(), fields.get_u32_le(), fields.get_u64_le());
    if len > file.len()? {
        return Err(damaged());
    }
    let bytes = || FileReader::new(file.clone(), HEADER as u64).take(len);
    let (mut found, mut window, mut checking) = (checksum(version, len, &[]), vec![0; WINDOW], bytes());
    loop {
        match checking.read(&mut window)? {
            0 => break,
            count => found = crc32c::crc32c_append(found, window.get(..count).unwrap_or_default()),
        }
    }
    if found != crc || checking.limit() > 0 {
        return Err(damaged());
    }
    Ok((version, io::BufReader::with_capacity(WINDOW, bytes())))
}

/// A damaged version must not look like a later release's.
fn checksum(version: u32, len: u64, bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&version.to_le_bytes()), &len.to_le_bytes());
    crc32c::crc32c_append(crc, bytes)
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// The numbers of the files `<prefix>.<number>` in a directory, newest first.
///
/// # Errors
/// What the disk says.
pub fn numbers(disk: &dyn Disk, dir: &str, prefix: &str) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> =
        disk.list(dir)?.iter().filter_map(|name| name.strip_prefix(prefix)?.strip_prefix('.')?.parse().ok()).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}

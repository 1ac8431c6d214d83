//! A sealed part: a magic word, a version, a body, and checksums that cover all of it.
//!
//! ```text
//! magic 4 | version u32 | body … | crc32c u32 | body … | crc32c u32
//! ```
//! Each checksum covers every byte of the part ahead of it, the magic word and earlier checksums
//! included. A codec seals its counts before what they count, so that no count is trusted, and no
//! memory taken for it, before it has been checked. Numbers are little-endian. This module knows no
//! codec and no file; it streams, so that neither side holds the whole part.

use std::io;
use std::sync::Arc;

use crate::disk::File;

/// Why bytes are not what they should be. Trying again helps only after [`DecodeError::Io`].
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They could not be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// They begin with another magic word.
    #[error("is not {0}")]
    Magic(&'static str),
    /// A later release wrote them.
    #[error("has version {found}; this release reads up to {newest}")]
    Version {
        /// Theirs.
        found: u32,
        /// The newest that is understood.
        newest: u32,
    },
    /// The checksum does not agree: they are damaged or cut short.
    #[error("is damaged: its checksum does not agree")]
    Checksum,
    /// The checksum agrees and the content does not make sense.
    #[error("is malformed: {0}")]
    Malformed(&'static str),
}

/// Writes a sealed part.
pub struct Sealer<'a> {
    out: &'a mut dyn io::Write,
    crc: u32,
}

impl<'a> Sealer<'a> {
    /// Starts a part.
    ///
    /// # Errors
    /// What the writer says.
    pub fn begin(out: &'a mut dyn io::Write, magic: [u8; 4], version: u32) -> io::Result<Self> {
        let mut sealer = Sealer { out, crc: 0 };
        sealer.write(&magic)?;
        sealer.write(&version.to_le_bytes())?;
        Ok(sealer)
    }

    /// Adds to the body.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.out.write_all(bytes)
    }

    /// Adds the checksum of all so far.
    ///
    /// # Errors
    /// What the writer says.
    pub fn seal(&mut self) -> io::Result<()> {
        let crc = self.crc;
        self.write(&crc.to_le_bytes())
    }
}

/// Reads a sealed part.
pub struct Opener<'a> {
    input: &'a mut dyn io::Read,
    crc: u32,
}

impl<'a> Opener<'a> {
    /// Starts a part; says its version. `what` names the part in an error.
    ///
    /// # Errors
    /// [`DecodeError`] where it is another part or one of a later version.
    pub fn begin(
        input: &'a mut dyn io::Read,
        magic: [u8; 4],
        newest: u32,
        what: &'static str,
    ) -> Result<(Self, u32), DecodeError> {
        let mut opener = Opener { input, crc: 0 };
        let [found, version] = opener.words::<2>()?;
        if found != u32::from_le_bytes(magic) {
            return Err(DecodeError::Magic(what));
        }
        if version == 0 || version > newest {
            return Err(DecodeError::Version { found: version, newest });
        }
        Ok((opener, version))
    }

    /// Reads what has no magic word of its own, up to its checksum.
    pub fn raw(input: &'a mut dyn io::Read) -> Self {
        Opener { input, crc: 0 }
    }

    /// Fills the buffer from the body.
    ///
    /// # Errors
    /// [`DecodeError::Checksum`] where the part ends before; [`DecodeError::Io`].
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DecodeError> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => DecodeError::Checksum,
            _ => DecodeError::Io(error),
        })?;
        self.crc = crc32c::crc32c_append(self.crc, buffer);
        Ok(())
    }

    /// The next numbers of the body.
    ///
    /// # Errors
    /// As [`Opener::fill`].
    pub fn words<const N: usize>(&mut self) -> Result<[u32; N], DecodeError> {
        let mut bytes = [[0u8; 4]; N];
        self.fill(bytes.as_flattened_mut())?;
        Ok(bytes.map(u32::from_le_bytes))
    }

    /// The next long numbers of the body.
    ///
    /// # Errors
    /// As [`Opener::fill`].
    pub fn longs<const N: usize>(&mut self) -> Result<[u64; N], DecodeError> {
        let mut bytes = [[0u8; 8]; N];
        self.fill(bytes.as_flattened_mut())?;
        Ok(bytes.map(u64::from_le_bytes))
    }

    /// Compares the checksum that stands here.
    ///
    /// # Errors
    /// [`DecodeError::Checksum`]; [`DecodeError::Io`].
    pub fn check(&mut self) -> Result<(), DecodeError> {
        let expected = self.crc;
        let [found] = self.words()?;
        if found == expected { Ok(()) } else { Err(DecodeError::Checksum) }
    }
}

/// Reads a file from an offset on, without a buffer of its own.
pub struct FileReader {
    file: Arc<dyn File>,
    offset: u64,
}

impl FileReader {
    /// Reads from `offset`.
    pub fn new(file: Arc<dyn File>, offset: u64) -> Self {
        FileReader { file, offset }
    }

    /// Where the next read starts.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl io::Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

//! A segment's file: a header, then records.
//!
//! ```text
//! streams/<stream>/<base, 16 hex digits>.seg
//! magic "TIDSEG01" │ stream u32 │ 0 u32 │ base u64 │ crc32c of these u32 │ 0 u32 │ records
//! ```

/// Bytes before the first record.
pub const HEADER: u64 = HEADER_BYTES as u64;
/// As [`HEADER`].
pub const HEADER_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"TIDSEG01";

/// The directory of a stream.
pub fn dir(stream: u32) -> String {
    format!("streams/{stream:08x}")
}

/// A segment's file.
pub fn path(stream: u32, base: u64) -> String {
    format!("{}/{base:016x}.seg", dir(stream))
}

/// The file of a segment's index.
pub fn index_path(stream: u32, base: u64) -> String {
    format!("{}/{base:016x}.idx", dir(stream))
}

/// The base in a segment file's name.
pub fn base_of(name: &str, suffix: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(suffix)?, 16).ok()
}

/// The header's bytes.
pub fn header(stream: u32, base: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&stream.to_le_bytes());
    header[16..24].copy_from_slice(&base.to_le_bytes());
    let crc = crc32c::crc32c(&header[..24]);
    header[24..28].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Whether the bytes begin with the header of this segment.
pub fn check_header(bytes: &[u8], stream: u32, base: u64) -> bool {
    bytes.get(..HEADER_BYTES) == Some(&header(stream, base)[..])
}

/// Where an index is written before it gets its name.
pub fn index_temporary(stream: u32) -> String {
    format!("{}/index.tmp", dir(stream))
}

//! Compression, and what contents are told apart by.

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compression, FlushCompress};

/// The head of a stream of gzip without a name: RFC 1952, section 2.3.
pub(crate) const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A whole gzip stream. Empty where it cannot be made, which is never: it is memory that is written to.
pub(crate) fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.map(Bytes::from).unwrap_or_default()
}

/// Blocks of deflate that stand for themselves: they refer to nothing before them and end at a byte, so that they
/// can be part of any stream, behind any other blocks.
pub(crate) fn blocks(bytes: &[u8]) -> Bytes {
    let mut packer = flate2::Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(bytes.len() / 4 + 64);
    let mut taken = 0;
    loop {
        out.reserve(4096);
        let rest = bytes.get(taken..).unwrap_or_default();
        let before = (packer.total_in(), out.len());
        if packer.compress_vec(rest, &mut out, FlushCompress::Full).is_err() {
            break;
        }
        taken = usize::try_from(packer.total_in()).unwrap_or(usize::MAX);
        if taken >= bytes.len() && (out.len() < out.capacity() || before == (packer.total_in(), out.len())) {
            break;
        }
    }
    out.into()
}

/// A digest that tells contents apart, in hexadecimal digits: FNV-1a of 64 bits. It guards against nobody.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn blocks_stand_behind_any_others() {
        let pieces: [&[u8]; 4] = [b"event: snapshot\n\n", &b"x".repeat(300_000), b"", b"the end, the end, the end"];
        let mut stream = GZIP_HEAD.to_vec();
        for piece in [pieces[0], pieces[1], pieces[3], pieces[1], pieces[2], pieces[0]] {
            stream.extend_from_slice(&blocks(piece));
        }
        let expected = [pieces[0], pieces[1], pieces[3], pieces[1], pieces[2], pieces[0]].concat();
        let mut read = vec![0; expected.len()];
        flate2::read::GzDecoder::new(&stream[..]).read_exact(&mut read).unwrap();
        assert!(read == expected);
    }

    #[test]
    fn gzip_comes_back() {
        let bytes = b"[{\"a\":1}]".repeat(1000);
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&gzip(&bytes)[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
        assert_ne!(digest(b"a"), digest(b"b"));
    }
}

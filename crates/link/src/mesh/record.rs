//! The records of a link: chunks of frames, compressed where that helps, encrypted, with a length before each.
//!
//! ```text
//! record   length u16 | encrypted: lane u8, with 0x80 where the rest is compressed | bytes of that lane
//! ```
//! The bytes of a lane, put together, are frames. A frame that is longer than a chunk goes on in the next of its lane,
//! and chunks of the other lane may come between.
//!
//! # Invariants
//! - Each record has a place, counted from zero in each direction: one that is left out, repeated or changed is not
//!   understood, and the link ends.
//! - A record is never larger after it was decompressed than it may be without.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::handshake::Noise;
use super::limits::{
    CHUNK_BYTES_MAX, COMPRESS_BYTES_MIN, COMPRESS_REST_RECORDS, COMPRESS_ROUND_TRIP_MIN, RECORD_BYTES_MAX, TAG_BYTES,
};

/// Set in the lane's byte where the rest of the chunk is compressed.
const COMPRESSED: u8 = 0x80;

/// How hard compressing tries: the least, for the sender waits.
const LEVEL: i32 = 1;

/// What a chunk is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Lane {
    /// Control, notes, signs of life: goes first.
    Urgent = 0,
    /// Messages.
    Bulk = 1,
}

/// The shortest way there and back that was measured on a link.
#[derive(Debug)]
pub(super) struct RoundTrip(AtomicU64);

impl Default for RoundTrip {
    fn default() -> Self {
        RoundTrip(AtomicU64::new(u64::MAX))
    }
}

impl RoundTrip {
    pub(super) fn measured(&self, nanos: u64) {
        self.0.fetch_min(nanos, Ordering::Relaxed);
    }

    /// `None`: not measured yet.
    pub(super) fn shortest(&self) -> Option<Duration> {
        let nanos = self.0.load(Ordering::Relaxed);
        (nanos != u64::MAX).then_some(Duration::from_nanos(nanos))
    }
}

/// Makes records of chunks.
pub(super) struct Sealer {
    noise: Noise,
    place: u64,
    packer: Option<zstd::bulk::Compressor<'static>>,
    packed: Vec<u8>,
    /// Records that are sent as they are before compressing is tried again.
    rest: u32,
}

impl Sealer {
    pub(super) fn new(noise: Noise) -> Self {
        Sealer { noise, place: 0, packer: None, packed: Vec::new(), rest: 0 }
    }

    /// Appends the record of a chunk. `false`: no more can be encrypted on this link.
    pub(super) fn seal(&mut self, chunk: &[u8], far: bool, out: &mut Vec<u8>) -> bool {
        let packed = far && self.pack(chunk);
        let chunk = if packed { &self.packed[..] } else { chunk };
        let record = chunk.len() + TAG_BYTES;
        let Ok(length) = u16::try_from(record) else { return false };
        out.extend_from_slice(&length.to_be_bytes());
        let begin = out.len();
        out.resize(begin + record, 0);
        let place = out.get_mut(begin..).unwrap_or_default();
        let sealed = self.noise.write_message(self.place, chunk, place);
        self.place += 1;
        sealed.is_ok_and(|bytes| bytes == record)
    }

    /// Compresses a chunk, if that makes it smaller by an eighth.
    fn pack(&mut self, chunk: &[u8]) -> bool {
        if chunk.len() < COMPRESS_BYTES_MIN {
            return false;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        if self.packer.is_none() {
            self.packer = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        let (Some(packer), Some((lane, body))) = (&mut self.packer, chunk.split_first()) else { return false };
        self.packed.clear();
        self.packed.resize(chunk.len() - chunk.len() / 8, 0);
        let room = self.packed.get_mut(1..).unwrap_or_default();
        // No room for it: it shrinks too little.
        let Ok(bytes) = packer.compress_to_buffer(body, room) else {
            self.rest = COMPRESS_REST_RECORDS;
            return false;
        };
        self.packed.truncate(1 + bytes);
        if let Some(first) = self.packed.first_mut() {
            *first = lane | COMPRESSED;
        }
        true
    }
}

/// Whether a way there and back is so long that compressing helps.
pub(super) fn is_far(round_trip: &RoundTrip) -> bool {
    round_trip.shortest().is_some_and(|shortest| shortest >= COMPRESS_ROUND_TRIP_MIN)
}

/// Makes chunks of records.
pub(super) struct Opener {
    noise: Noise,
    place: u64,
    plain: Vec<u8>,
    unpacker: Option<zstd::bulk::Decompressor<'static>>,
    unpacked: Vec<u8>,
}

impl Opener {
    pub(super) fn new(noise: Noise) -> Self {
        Opener { noise, place: 0, plain: Vec::new(), unpacker: None, unpacked: Vec::new() }
    }

    /// The lane and the bytes of a record, without its length. `None`: it is not what comes next from the other end.
    pub(super) fn open(&mut self, record: &[u8]) -> Option<(Lane, &[u8])> {
        let bytes = record.len().checked_sub(TAG_BYTES)?;
        if self.plain.len() < RECORD_BYTES_MAX {
            self.plain.resize(RECORD_BYTES_MAX, 0);
        }
        let read = self.noise.read_message(self.place, record, &mut self.plain).ok()?;
        if read != bytes {
            return None;
        }
        self.place += 1;
        let (lane, body) = self.plain.get(..read)?.split_first()?;
        let known = match lane & !COMPRESSED {
            0 => Lane::Urgent,
            1 => Lane::Bulk,
            _ => return None,
        };
        if lane & COMPRESSED == 0 {
            return Some((known, body));
        }
        if self.unpacker.is_none() {
            self.unpacker = zstd::bulk::Decompressor::new().ok();
        }
        self.unpacked.resize(CHUNK_BYTES_MAX, 0);
        let bytes = self.unpacker.as_mut()?.decompress_to_buffer(body, &mut self.unpacked[..]).ok()?;
        self.unpacked.get(..bytes).map(|body| (known, body))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ends() -> (Noise, Noise) {
        let new = || snow::Builder::new("Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s".parse().unwrap());
        let mut one = new().psk(0, &[1; 32]).unwrap().build_initiator().unwrap();
        let mut two = new().psk(0, &[1; 32]).unwrap().build_responder().unwrap();
        let (mut first, mut second, mut told) = ([0; 99], [0; 99], [0; 99]);
        let bytes = one.write_message(&[], &mut first).unwrap();
        two.read_message(&first[..bytes], &mut told).unwrap();
        let bytes = two.write_message(&[], &mut second).unwrap();
        one.read_message(&second[..bytes], &mut told).unwrap();
        let stateless = |state: snow::HandshakeState| Arc::new(state.into_stateless_transport_mode().unwrap());
        (stateless(one), stateless(two))
    }

    fn chunk(body: &[u8]) -> Vec<u8> {
        [&[Lane::Bulk as u8][..], body].concat()
    }

    #[test]
    fn a_record_is_opened_once_and_in_its_place() {
        let (one, two) = ends();
        let (mut sealer, mut opener) = (Sealer::new(one), Opener::new(two));
        let records = [b"first", b"other"].map(|body| {
            let mut out = Vec::new();
            assert!(sealer.seal(&chunk(body), false, &mut out));
            out.split_off(2)
        });
        assert!(opener.open(&records[1]).is_none(), "one was left out");
        assert_eq!(opener.open(&records[0]), Some((Lane::Bulk, &b"first"[..])));
        assert!(opener.open(&records[0]).is_none(), "it was there already");
        let mut changed = records[1].clone();
        changed[0] ^= 1;
        assert!(opener.open(&changed).is_none() && opener.open(b"short").is_none());
        assert_eq!(opener.open(&records[1]), Some((Lane::Bulk, &b"other"[..])));
    }

    #[test]
    fn what_shrinks_is_compressed_on_a_long_way_alone() {
        let (one, two) = ends();
        let (mut sealer, mut opener) = (Sealer::new(one), Opener::new(two));
        let alike = b"the same words ".repeat(CHUNK_BYTES_MAX / 15);
        let mut seal = |body: &[u8], far| {
            let mut out = Vec::new();
            assert!(sealer.seal(&chunk(body), far, &mut out));
            assert_eq!(opener.open(&out[2..]), Some((Lane::Bulk, body)));
            out.len()
        };
        assert!(seal(&alike, true) < alike.len() / 10);
        assert!(seal(&alike, false) > alike.len());
        let mut noise = 1_u64;
        let random = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.to_be_bytes()[0]
        });
        let random: Vec<u8> = random.take(9_000).collect();
        assert!(seal(&random, true) > random.len());
        assert!(seal(&alike, true) > alike.len(), "it rests after what did not shrink");
    }

    #[test]
    fn what_unpacks_to_more_than_a_record_may_hold_is_refused() {
        let (one, two) = ends();
        let packed = zstd::bulk::compress(&vec![0; CHUNK_BYTES_MAX + 1], 1).unwrap();
        let chunk = [&[Lane::Bulk as u8 | COMPRESSED][..], &packed].concat();
        let (mut sealer, mut out) = (Sealer::new(one), Vec::new());
        assert!(sealer.seal(&chunk, false, &mut out));
        assert!(Opener::new(two).open(&out[2..]).is_none());
    }
}

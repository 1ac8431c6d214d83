//! A block's shape, and numbers of variable length.
//!
//! ```text
//! shape: size_min u32 | size_bits u8 | gap_bits u8 | sizes less size_min, packed | gaps, packed
//! ```
//! For each record of a block but the first: how many bytes its offset, and how many positions more
//! than one its position, is behind the record ahead. Each packed run ends at a byte's end.

use super::BLOCK_RECORDS;

/// Bytes of a shape ahead of the packed runs.
const SHAPE_HEAD: usize = 6;
/// Longest shape, in bytes: sizes of 32 bits and gaps of 64.
pub const SHAPE_BYTES_MAX: usize = SHAPE_HEAD + BLOCK_RECORDS * (4 + 8);

/// A record's position and offset.
pub type Place = (u64, u32);

/// Appends the shape of a block; says whether its positions are without gaps.
pub fn write_shape(places: &[Place], out: &mut Vec<u8>) -> bool {
    let pairs = || places.iter().zip(places.iter().skip(1));
    let sizes = || pairs().map(|(a, b)| u64::from(b.1.saturating_sub(a.1)));
    let gaps = || pairs().map(|(a, b)| b.0.saturating_sub(a.0).saturating_sub(1));
    let size_min = sizes().min().unwrap_or(0);
    let size_bits = width(sizes().map(|size| size - size_min).max());
    let gap_bits = width(gaps().max());
    out.extend_from_slice(&(size_min as u32).to_le_bytes());
    out.extend_from_slice(&[size_bits, gap_bits]);
    pack(sizes().map(|size| size - size_min), size_bits, out);
    pack(gaps(), gap_bits, out);
    gap_bits == 0
}

/// Reads the shape of a block of `records` that begins at `first`; what does not make sense ends it.
pub fn read_shape(bytes: &[u8], first: Place, records: usize, out: &mut Vec<Place>) {
    out.clear();
    out.push(first);
    let Some((head, rest)) = bytes.split_first_chunk::<SHAPE_HEAD>() else { return };
    let size_min = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let (size_bits, gap_bits) = (head[4].min(32), head[5].min(64));
    let steps = records.saturating_sub(1);
    let gaps_at = (steps * usize::from(size_bits)).div_ceil(8);
    let gaps = rest.get(gaps_at..).unwrap_or_default();
    let (mut seq, mut offset) = first;
    for step in 0..steps {
        let size = unpack(rest, step, size_bits) as u32;
        offset = offset.saturating_add(size_min).saturating_add(size);
        seq = seq.saturating_add(1).saturating_add(unpack(gaps, step, gap_bits));
        out.push((seq, offset));
    }
}

fn width(max: Option<u64>) -> u8 {
    (64 - max.unwrap_or(0).leading_zeros()) as u8
}

fn pack(values: impl Iterator<Item = u64>, bits: u8, out: &mut Vec<u8>) {
    let (mut held, mut count) = (0u128, 0);
    for value in values {
        held |= u128::from(value) << count;
        count += bits;
        while count >= 8 {
            out.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        out.push(held as u8);
    }
}

fn unpack(bytes: &[u8], index: usize, bits: u8) -> u64 {
    if bits == 0 {
        return 0;
    }
    let start = index * usize::from(bits);
    let mut word = [0; 16];
    let part = bytes.get(start / 8..).unwrap_or_default();
    let len = part.len().min((start % 8 + usize::from(bits)).div_ceil(8));
    word[..len].copy_from_slice(&part[..len]);
    let value = u128::from_le_bytes(word) >> (start % 8);
    (value as u64) & (u64::MAX >> (64 - u32::from(bits)))
}

/// Appends a number in groups of seven bits, lowest first, each but the last with its upper bit set.
pub fn write_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front; `None` where there is none.
pub fn read_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 127).checked_shl(shift)?;
        if byte & 128 == 0 {
            return Some(value);
        }
    }
    None
}

/// Longest number, in bytes.
pub const VARINT_BYTES_MAX: usize = 5;

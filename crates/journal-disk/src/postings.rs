//! Which records of one segment hold a subject, and where a position or a moment is in it.
//!
//! A [`Builder`] takes the records of the active segment as they are appended and answers at once;
//! [`Builder::finish`] gives the bytes of the segment's index file, which an [`Index`] reads without
//! holding it. Neither knows a segment file nor a record's bytes. Records are numbered by their
//! **ordinal** in the segment; 64 of them make a **block**.
//!
//! Postings name subjects by the ids that [`SubjectTable`](crate::subjects::SubjectTable) gives.
//! Ids are used again, so postings are hints: who reads the record compares the subject that stands
//! in it.
//!
//! # Invariants
//! - Positions, offsets and ordinals grow together; times do not decrease.
//! - Positions may have gaps (after compaction). A block without gaps is marked, and needs no look
//!   into its shape to find a position's ordinal.
//!
//! # Cost
//! A builder takes 4 bytes of link, about 1 of shape and 0.4 of block per record, and 26 bytes per
//! distinct subject. An index holds 24 bytes per block and 4 per 4 KiB page in memory. Finding a
//! match reads a page of the dictionary, one or two of the list and one of the shapes, however long
//! the segment and the list are.

#![expect(clippy::cast_possible_truncation, reason = "a segment and its index are shorter than 4 GiB")]

mod bits;
mod builder;
mod index;

pub use builder::Builder;
pub use index::{Cursor, Index, Subjects};

/// The magic word of an index file.
pub const MAGIC: [u8; 4] = *b"TIDX";
/// The newest version of the format.
pub const VERSION: u32 = 1;

/// Records of a block: a look into it decodes at most so many.
const BLOCK_RECORDS: usize = 64;
/// Bytes of a block's entry in the index: position 8, time 8, offset 4, shape 4.
const BLOCK_BYTES: usize = 24;
/// Bytes of a page, the unit that is read and checked.
const PAGE_BYTES: usize = 4096;
/// Bytes of the header.
const HEADER_BYTES: usize = 64;
/// Bytes of a dictionary entry: id 4, list or ordinal 4.
const ENTRY_BYTES: usize = 8;
/// Dictionary entries under one fence: half a page, so that a look-up reads one.
const FENCE_ENTRIES: usize = 256;
/// Postings of a group: a look into a list decodes at most so many.
const GROUP_POSTINGS: usize = 128;
/// Bytes of a group's entry in a list: first ordinal 4, offset 4.
const GROUP_BYTES: usize = 8;
/// Marks a dictionary entry that holds the one ordinal itself, and a shape without gaps.
const MARK: u32 = 1 << 31;
/// Most records of a segment: an ordinal leaves room for [`MARK`].
pub const RECORDS_MAX: u32 = MARK - 1;

const _: () = assert!(PAGE_BYTES.is_multiple_of(FENCE_ENTRIES * ENTRY_BYTES));

/// Where a block begins.
#[derive(Debug, Clone, Copy)]
struct Block {
    seq: u64,
    time: u64,
    offset: u32,
    /// Offset of its shape among the shapes, with [`MARK`] where its positions have no gaps.
    shape: u32,
}

impl Block {
    fn is_gapless(&self) -> bool {
        self.shape & MARK != 0
    }
}

/// The block that holds the first position at or after `seq`, if the segment has one: the last that
/// begins at or before it, or the first.
fn block_of(blocks: &[Block], seq: u64) -> usize {
    blocks.partition_point(|block| block.seq <= seq).saturating_sub(1)
}

/// The last block that begins before `time`, or the first.
fn block_before(blocks: &[Block], time: u64) -> usize {
    blocks.partition_point(|block| block.time < time).saturating_sub(1)
}

/// What is known of a segment as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records there are.
    pub records: u32,
    /// Distinct subject ids.
    pub subjects: u32,
    /// Offset behind the last record: tells an index of another state of the segment.
    pub end: u32,
    /// First position.
    pub first_seq: u64,
    /// Last position.
    pub last_seq: u64,
    /// When the last was recorded, in nanoseconds since the epoch.
    pub last_time: u64,
}

#[cfg(test)]
mod tests;

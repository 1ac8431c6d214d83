//! What is true now: the latest fact of each key at an exact position, and what changed since any other.
//!
//! A [`Table`] is a fold: the latest value of each key, when it came to be and when it last changed, and the
//! removals of late. A [`Follower`] is a reader's place in it: nothing but a position, so a reader that waits costs
//! nothing, and one that is slow is told fewer, newer changes. What it is told is framed: a new snapshot to follow,
//! items, the end of the snapshot, changes. A [`Fold`] keeps a table as a declared [`rule`] says.
//!
//! It knows no stream, clock, task or byte of a protocol: who folds, who waits and who encodes stands above.

#![no_std]
extern crate alloc;

mod fold;
mod follow;
pub mod rule;
mod table;

pub use fold::{Bounds, Fold, Index, ROW_BYTES, Row, Told};
pub use follow::{Follower, Frame};
pub use table::{Change, Changes, Entry, Forgotten, Range, Removed, Table};

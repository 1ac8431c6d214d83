//! The embedded engine.

mod batch;
mod blob;
mod catalog;
mod checkpoint;
mod core;
mod cursor;
mod directory;
pub mod disk;
mod gone;
mod index;
mod judge;
mod live;
mod open;
mod ops;
pub mod postings;
mod read;
mod real;
pub mod record;
pub mod sealed;
pub mod segment;
mod snapshot;
mod stream;
pub mod subjects;
pub mod verify;
mod waiters;
pub mod wal;
pub mod window;

pub use crate::core::{Core, Observer, Options, Sync};
pub use crate::directory::Directory;
pub use crate::open::{OpenError, Recovered};
pub use crate::ops::{Op, Refusal};
pub use crate::read::Reader;
pub use crate::real::RealDisk;

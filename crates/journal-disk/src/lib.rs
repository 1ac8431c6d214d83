//! The embedded engine.

mod batch;
mod blob;
mod catalog;
mod checkpoint;
mod consumers;
mod core;
mod count;
mod cursor;
mod directory;
pub mod disk;
mod disk_journal;
mod gone;
mod index;
mod judge;
mod live;
mod open;
mod ops;
mod patience;
mod pool;
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
mod writer;

pub use crate::core::{Core, Observer, Options, Sync};
pub use crate::directory::Directory;
pub use crate::disk_journal::DiskJournal;
pub use crate::open::{OpenError, Recovered};
pub use crate::ops::{Op, Refusal};
pub use crate::read::Reader;
pub use crate::real::RealDisk;

/// Tells the time.
pub trait Clock: Send + std::marker::Sync {
    /// What time it is.
    fn now(&self) -> event::Moment;
}

impl<F: Fn() -> event::Moment + Send + std::marker::Sync> Clock for F {
    fn now(&self) -> event::Moment {
        self()
    }
}

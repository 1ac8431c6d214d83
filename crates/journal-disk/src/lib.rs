//! The embedded engine.

pub mod disk;
pub mod sealed;
pub mod subjects;
pub mod window;
pub mod postings;

//! The body: clock, entropy, sockets, disks, tasks.
//!
//! The one place where the engines, the forwarding table and the doors are joined into a
//! [`Node`]. No protocol and no rule of the journal lives here.

pub mod config;
mod error;
mod fabric;
pub mod file;
pub mod units;

pub use config::Config;
pub use error::{FileFault, StartError};
pub use fabric::Forwarding;

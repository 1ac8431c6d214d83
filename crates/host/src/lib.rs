//! The body: clock, entropy, sockets, disks, tasks.
//!
//! The one place where the engines, the forwarding table and the doors are joined into a
//! [`Node`]. No protocol and no rule of the journal lives here.

pub mod config;
mod error;
pub mod file;
mod live;
mod metered;
mod metrics;
pub mod ports;
mod tls;
mod tokens;
pub mod units;
mod watch;

pub use config::Config;
pub use error::{FileFault, StartError};
pub use tokens::read_tokens;

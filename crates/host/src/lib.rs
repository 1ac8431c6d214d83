//! The body: clock, entropy, sockets, disks, tasks.
//!
//! The one place where the engines, the forwarding table and the doors are joined into a
//! [`Node`]. No protocol and no rule of the journal lives here.

mod catalogue;
mod clock;
pub mod config;
mod engine;
mod entropy;
mod error;
mod federation;
pub mod file;
mod http;
mod hub;
mod live;
mod mesh;
mod metered;
mod metrics;
pub mod migrate;
mod nats;
mod node;
pub mod ports;
mod recorded;
mod reload;
pub mod resources;
mod rooms;
pub mod schemas;
mod scrape;
mod signals;
mod slim;
mod slimctl;
mod slimnode;
mod tls;
mod tokens;
pub mod units;
pub mod verify;
mod views;
mod watch;

pub use config::Config;
pub use error::{FileFault, StartError};
pub use node::{Ended, Node, STOP_DEADLINE};
pub use slim::inbox_of;
pub use tokens::read_tokens;

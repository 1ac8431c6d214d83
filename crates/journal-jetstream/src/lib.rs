//! The engine on a NATS JetStream server or cluster: the contract of [`journal`], kept by servers that
//! hold the messages.
//!
//! It is no server and keeps no state of its own that matters: streams, messages, consumers and their
//! positions live in JetStream, with a declaration's few extras in its metadata under `tidings.`, so
//! that any number of nodes, and any NATS client beside them, work on one cluster. What a node holds
//! in memory (the list of streams, deliveries that are out) it can read again.
//!
//! # Invariants
//! - A receipt says on how many replicas the message is, and no more: whether those have synced it is
//!   the servers' setting (`sync_interval`).
//! - An append that carries an id, or was given one here, is in the stream once, whatever fails while
//!   it is on its way, if it is answered within the stream's window of ids.
//! - A reader that begins after a receipt finds what the receipt speaks of, though the replica that
//!   answers lags: the end of a page is checked with the stream's leader.
//!
//! Sources: NATS architecture ADR-1, ADR-8, ADR-13, ADR-15, ADR-31, ADR-43; the server's own tests.
//! What differs from the embedded engine, and why, is listed in `docs/scale.md`.

mod acks;
mod api;
mod batches;
mod catalogue;
mod codec;
mod connect;
mod consumers;
mod courier;
mod declared;
mod engine;
mod fetches;
mod flights;
mod follow;
mod keeper;
pub mod limits;
mod migrate;
mod reads;
mod streams;
mod turns;
mod verdict;
mod wire;

pub use connect::{Address, AddressError, ConnectError, Credentials, Options};
pub use engine::JetStream;
pub use migrate::{MigrateError, Moved, Progress, migrate};

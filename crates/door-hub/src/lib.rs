//! The hub door: messengers, repeaters and hubs of the central event system over WebSockets.
//!
//! | room | what it is |
//! |---|---|
//! | [`codec`] | bytes to frames, events, changes and back; pure, fuzzed |
//! | `session` | one connection's state: what a frame does, what a tick does; pure, scripted |
//! | `serve` | sockets, buffers, TLS, upgrades, dials, the repeater's own role |
//!
//! # Invariants
//! - Rooms are subjects: room `R` is `room.<R encoded>`, and the subscription `*` is `room.*`.
//! - The bytes of an event after its first newline are never changed; whoever reads the room by another
//!   door sees them as they came.
//! - Who reaches whom is not said here: a connection has a class, and the fabric knows the rule.
//! - A connection that does not read is given up with a reason, and counted; nobody waits for it.
//! - Nothing that a stranger sends panics, or costs more than its limits.
//!
//! Source: byuoitav/central-event-system and byuoitav/common, by their bytes on the wire.

pub mod codec;
mod counts;
pub mod limits;
mod options;
mod serve;
mod session;

pub use counts::{Connections, Counts};
pub use options::{Bearer, Format, Link, Options, Target, Tls};
pub use serve::{HubDoor, Sockets};

//! The NATS door: any NATS client connects here and finds subjects, queue groups, requests, and
//! JetStream, as it finds them at a NATS server.
//!
//! | room | what it is |
//! |---|---|
//! | [`codec`] | bytes to operations and back; pure, fuzzed |
//! | `session` | one connection's state: who it is, what it subscribed to, what its operations do |
//! | `serve` | sockets, buffers, TLS, WebSocket, monitoring |
//! | `jetstream` | `$JS.API.>`, acknowledgements, pull and push consumers, on the journal's contract |
//!
//! # Invariants
//! - A publish acknowledgement says what the journal's receipt says: on disk.
//! - A client that publishes more than the journal takes is not read from until there is room:
//!   nothing is dropped for want of it.
//! - A client that does not read is disconnected with a reason and counted; nobody else waits for it.
//! - Nothing that a stranger sends panics, or costs more than its limits.
//!
//! Source: the NATS client protocol and the JetStream API as servers of version 2.11 to 2.15 speak
//! them. Users may be vouched for by JWT; accounts that keep subjects apart, and NATS's own
//! clustering, are not spoken.

pub mod codec;
mod jetstream;
mod jwt;
pub mod limits;
mod options;
mod serve;
mod session;

pub use jwt::{Trust, TrustError};
pub use options::{Authentication, HandshakeFirst, JetStreamOptions, NatsPermissions, NatsUser, Options, Secret, Tls};
pub use serve::{NatsDoor, Sockets};

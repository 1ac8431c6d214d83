//! The Consul door: catalogue, health, keys, sessions over HTTP with blocking queries and as a stream; gRPC.
//!
//! | room | what it is |
//! |---|---|
//! | [`codec`] | paths, parameters, bodies, shapes of answers, refusals; pure, fuzzed |
//! | `answers` | answers that readers share, and where those wait who have them already |
//! | `feeds` | streams of what happens: a snapshot, then changes, encoded once for all who follow the same |
//! | `session` | what a request asks for: endpoints to questions and [commands](command), fuzzed |
//! | `serve` | sockets, TLS, HTTP, the framing of gRPC |
//!
//! # Invariants
//! - An index is a position of the catalogue's stream. It rises only where the answer that carries it has become
//!   another, and is never 0.
//! - A blocked reader is answered when its own answer has become another, or at its deadline; by nothing else.
//! - An answer is encoded once, whoever many take it.
//! - Nothing that a stranger sends panics, or costs more than its limits.
//!
//! Source: the HTTP API of Consul 1.8 and what newer ones added, by its bytes on the wire.

mod answers;
pub mod codec;
mod counts;
mod feeds;
pub mod limits;
mod options;
mod serve;
mod session;

pub use counts::Counts;
pub use options::{Options, Tls};
pub use serve::{ConsulDoor, Sockets};
pub use session::command;

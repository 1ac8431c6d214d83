//! The bytes of SLIM's data plane: protobuf, read in place and written with edits. Pure; fuzzed.
//!
//! A message is looked at where it lies. What is handed on is its own bytes with a few fields of its header
//! replaced, so that whatever this code does not know survives.
//!
//! # Invariants
//! - What [`read`] takes, a client's own decoder takes too: fields that it knows have the right form to the last,
//!   and texts are UTF-8. So nobody can end another's stream by a message that only he cannot read.
//! - A field of the header stands there once: two readers cannot see two names.
//!
//! # Cost
//! No allocation. One pass over a message, but for the bytes of its payload.
//!
//! Source: `data_plane.proto` of agntcy/slim, by the numbers of its fields.

mod frame;
pub(crate) mod mac;
mod message;
mod name;
mod shape;
mod wire;
mod write;

pub(crate) use frame::{Frames, Piece};
pub(crate) use mac::Key;
pub use message::{Bad, Change, Header, Kind, Message, Negotiation, Publish, Session, read};
pub(crate) use message::partial;
pub use name::{Encoded, Name, component, pattern, subject};
pub(crate) use write::{Answer, Reply, ack, answer, forward, forwarded_bytes, framed, reply};

//! The SLIM door: the data plane of agntcy/slim for its unmodified clients, over gRPC and WebSockets.
//!
//! | room | what it is |
//! |---|---|
//! | [`codec`] | protobuf read in place and written with edits, names, tags, frames; pure, fuzzed |
//! | `session` | one link's state: negotiation, tags, what a message is to do; scripted |
//! | `serve` | sockets, streams, buffers, subscriptions, the inbox |
//!
//! # Invariants
//! - A name is a subject: `slim.<c0>.<c1>.<c2>` for any instance, `slim.<c0>.<c1>.<c2>.<id>` for one. The payload of
//!   the fabric's message is the whole SLIM message as it came; a few fields of its header are replaced when it
//!   leaves on a link, and nothing else.
//! - One copy goes over a link, however many of its subscriptions match. A publisher's own link has none.
//! - A link that does not read loses messages, counted, and is ended when it reads nothing for long; nobody waits
//!   for it.
//! - What a stranger says of other connections (`recv_from`, `forward_to`, `incoming_conn`) is not acted upon, and
//!   not handed on.
//! - Nothing that a stranger sends panics, ends another's stream, or costs more than its limits.
//!
//! Source: agntcy/slim, `data_plane.proto` and what its node 2.3.0 was seen to do.

pub mod codec;
mod counts;
pub mod limits;
mod options;
mod serve;
mod session;

pub use counts::Counts;
pub use options::{Options, Present, Presented, Replica, Tls};
pub use serve::{Changed, Dial, INBOX_PREFIX, Link, Listed, Reins, Route, SlimDoor, inbox_of, inbox_pattern};

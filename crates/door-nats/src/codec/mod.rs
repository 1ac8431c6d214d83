//! Bytes to operations, and what is sent back to bytes. Pure: no socket, no clock, no state.
//!
//! ```text
//! client → server   CONNECT {json}   PUB subject [reply] n ⏎ payload   HPUB subject [reply] h n ⏎ headers payload
//!                   SUB subject [queue] sid   UNSUB sid [max]   PING   PONG
//! server → client   INFO {json}   MSG subject sid [reply] n ⏎ payload   HMSG subject sid [reply] h n ⏎ headers payload
//!                   +OK   -ERR 'text'   PING   PONG
//! ```
//!
//! Lines end with CR LF; a line feed alone is taken too, as NATS takes it. Verbs are told without
//! regard to case. Source: the NATS client protocol.

mod block;
mod hello;
mod operation;
mod write;

pub use block::{HEAD, split_block};
pub use hello::{Connect, Info};
pub use operation::{Fault, Next, Operation, Publish, next};
pub use write::{error_line, header_bytes, push_message, push_number};

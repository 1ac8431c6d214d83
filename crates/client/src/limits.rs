//! Every limit of the client, with its unit and its reason.

use std::time::Duration;

/// Longest name of a room, in bytes: what a Tidings node takes.
pub const ROOM_BYTES_MAX: usize = 1_024;

/// How long a connection may take to begin, with name look-up, TLS and upgrade: the original's handshake timeout.
pub const DIAL: Duration = Duration::from_secs(10);

/// How long a frame may take to be written: the original hub's own write deadline.
pub const WRITE: Duration = Duration::from_secs(10);

/// How long nothing may come: hubs ping every 30 s, and the original messenger waits as long.
pub const READ: Duration = Duration::from_secs(90);

/// How long the hub has to answer a close.
pub const CLOSE_ANSWER: Duration = Duration::from_secs(2);

/// How long a connection must have lasted for the failures before it to be forgotten.
pub const STEADY: Duration = Duration::from_secs(10);

/// Most rooms in one change of the subscriptions: such a frame stays far below what any hub takes.
pub const ROOMS_IN_CHANGE_MAX: usize = 256;

/// Longest answer of a refused upgrade that is shown, in bytes.
pub const REFUSAL_BYTES_MAX: usize = 512;

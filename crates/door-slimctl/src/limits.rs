//! The limits, each with its unit and its reason.

use std::time::Duration;

/// Largest message, in bytes: as the original's.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most connections of a listener: some for each node of a mesh.
pub const CONNECTIONS_MAX: usize = 4096;
/// Most calls of a connection at once.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// How long the first bytes of a connection, and a handshake of TLS, may take.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a call of an operator may take to say what it asks.
pub const ASK_DEADLINE: Duration = Duration::from_secs(15);
/// How long a node may take to register: as the original's.
pub const REGISTER_DEADLINE: Duration = Duration::from_secs(15);
/// How long the controller may take to say whether a node is taken: less than a node waits for it (10 s).
pub const DECIDE_DEADLINE: Duration = Duration::from_secs(8);
/// After how long a node that cannot be taken now tries again: it does not wait by itself.
pub const LATER: Duration = Duration::from_secs(2);
/// How often a silent connection is pinged, and how long the answer may take: a node that hangs is noticed in both.
pub const PING_INTERVAL: Duration = Duration::from_secs(2);
/// See [`PING_INTERVAL`].
pub const PING_DEADLINE: Duration = Duration::from_secs(2);
/// How often a node is asked which links it has. A node does not say by itself that one ended.
pub const SWEEP: Duration = Duration::from_secs(5);
/// How long a node may take to answer what an operator asked of it.
pub const LIST_DEADLINE: Duration = Duration::from_secs(10);
/// Messages that may wait for a node before its channel ends.
pub const WAITING_MAX: usize = 256;
/// Entries of one part of a list, as the original sends them.
pub const CHUNK: usize = 100;
/// Entries of a node's whole list that are taken.
pub const LIST_MAX: usize = 100_000;
/// Names of one node that are taken.
pub const NAMES_MAX: usize = 100_000;
/// Bytes of each text of a name that is kept for listings.
pub const TEXT_BYTES_MAX: usize = 256;
/// Bytes of a secret, at least: as the original's.
pub const SECRET_BYTES_MIN: usize = 32;
/// For how long a token proves something after it was made: as the original's.
pub const TOKEN_VALID: Duration = Duration::from_secs(3600);
/// How far a token may be ahead of this clock: as the original's.
pub const TOKEN_SKEW: Duration = Duration::from_secs(5);
/// Links to other domains that this node dials at its controller's word: more than a mesh has domains.
pub const LINKS_MAX: usize = 1024;
/// Longest name of a link, in bytes; the original's are UUIDs.
pub const LINK_BYTES_MAX: usize = 512;
/// Bytes of routes in the message by which this node registers: it must fit into one, whatever else is in it.
pub const ROUTES_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4;
/// How long a controller may take to be dialled, TLS with it.
pub const DIAL_DEADLINE: Duration = Duration::from_secs(5);
/// How long a controller may take to say whether this node is taken.
pub const REGISTERED_DEADLINE: Duration = Duration::from_secs(15);
/// How long links that are dialled anew are waited for before a command is acknowledged: the controller tries again.
pub const LINKS_DEADLINE: Duration = Duration::from_secs(3);
/// How long a controller may take to read what this node says before the channel is given up.
pub const SAY_DEADLINE: Duration = Duration::from_secs(10);
/// Wait before a controller is dialled again, at first and at most.
pub const AGAIN_FIRST: Duration = Duration::from_millis(200);
/// See [`AGAIN_FIRST`].
pub const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Wait after a controller turned this node away: only a person can change that.
pub const REJECTED_PAUSE: Duration = Duration::from_secs(60);
/// How long a channel lives at least for its end to be no failure.
pub const STEADY: Duration = Duration::from_secs(10);
/// How long taking leave of a controller may take when this node stops.
pub const LEAVE_DEADLINE: Duration = Duration::from_secs(1);
/// Names that a controller is told in one message: far below its largest.
pub const NAMES_PER_MESSAGE: usize = 500;

const _: () = assert!(NAMES_PER_MESSAGE * 3 * TEXT_BYTES_MAX < MESSAGE_BYTES_MAX);

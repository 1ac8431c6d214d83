//! What a messenger may be told.

use std::fmt;
use std::time::Duration;

use crate::limits;

/// What happens to an event when the buffer for it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Whoever brings it waits. Of received events: nothing more is read, so that the hub may cut off.
    Block,
    /// The oldest events go, and are counted.
    DropOldest,
    /// The event is not taken, and is counted.
    DropNewest,
}

/// A bounded buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Most events; at least one is taken.
    pub events: usize,
    /// Most bytes of events, save that a single one may be larger.
    pub bytes: usize,
    /// What happens beyond that.
    pub policy: Policy,
}

/// From when on a Tidings node repeats the events of rooms that it keeps. Other hubs ignore it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// An RFC 3339 time, a duration such as `10m`, or a position.
    Since(String),
    /// The last event of each key and device.
    Last,
}

/// A secret that a client shows. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub(crate) String);

impl<T: Into<String>> From<T> for Token {
    fn from(text: T) -> Self {
        Token(text.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Whose certificates are believed, with `wss://`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Authorities {
    /// Those of the system.
    #[default]
    System,
    /// Those of this PEM text.
    Pem(Vec<u8>),
}

/// What a messenger may be told. All fields have a default.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the first connect fails for a reason that may pass, go on trying instead of giving an error; what
    /// went wrong is in [`crate::Messenger::state`]. A wrong address, or an answer 4xx, is an error all the same.
    /// Default: false.
    pub keep_trying: bool,
    /// Shown to the hub as a bearer token. Default: none.
    pub token: Option<Token>,
    /// Asked for on the first connection alone: after a reconnect nothing is repeated. Default: none.
    pub replay: Option<Replay>,
    /// Default: the system's.
    pub authorities: Authorities,
    /// Events that wait to be sent. Default: 1,000 events, 64 MiB, [`Policy::Block`].
    pub outgoing: Bound,
    /// Events that wait to be received. Default: 5,000 events, 64 MiB, [`Policy::DropOldest`].
    pub incoming: Bound,
    /// Largest event that is received, in bytes with its room; a larger one ends the connection.
    /// Default: 64 MiB.
    pub frame_bytes_max: usize,
    /// First wait before a redial; doubled with each failure, of which chance takes up to half. Default: 0.5 s.
    pub redial_first: Duration,
    /// Longest wait before a redial. Default: 30 s.
    pub redial_max: Duration,
    /// How long nothing may come from the hub until the connection counts as lost. Default: 90 s.
    pub read_deadline: Duration,
    /// How long [`crate::Messenger::close`] waits for events to be sent. Default: 5 s.
    pub close_deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Options {
            keep_trying: false,
            token: None,
            replay: None,
            authorities: Authorities::System,
            outgoing: Bound { events: 1_000, bytes: 64 * MIB, policy: Policy::Block },
            incoming: Bound { events: 5_000, bytes: 64 * MIB, policy: Policy::DropOldest },
            frame_bytes_max: 64 * MIB,
            redial_first: Duration::from_millis(500),
            redial_max: Duration::from_secs(30),
            read_deadline: limits::READ,
            close_deadline: Duration::from_secs(5),
        }
    }
}

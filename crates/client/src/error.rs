//! What can go wrong, one enum a verb.

use thiserror::Error;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// The address is none. Trying again is of no use.
    #[error("'{address}' is no address of a hub: {why}; it is written like ws://host:7100")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// TLS cannot be set up with the options. Trying again is of no use.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The hub answered that it does not take this client. Where the status is 4xx, trying again is of no use.
    #[error("the hub refuses the connection with {status}: {text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        text: String,
    },
    /// Nobody answered, or not in time, or not as a hub does. It may pass.
    #[error("the hub cannot be reached: {0}")]
    Unreachable(String),
}

impl ConnectError {
    /// Whether trying again is of no use.
    pub fn is_final(&self) -> bool {
        match self {
            ConnectError::Address { .. } | ConnectError::Tls(_) => true,
            // Too early, or too much at once, passes.
            ConnectError::Refused { status, .. } => (400..500).contains(status) && !matches!(status, 408 | 425 | 429),
            ConnectError::Unreachable(_) => false,
        }
    }
}

/// Why an event was not taken, or a room.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// The messenger was closed.
    #[error("the messenger is closed")]
    Closed,
    /// The buffer is full, and its policy is to drop the newest. It was counted.
    #[error("the buffer of events to be sent is full; the event was dropped")]
    Full,
    /// The connection was lost before the hub answered.
    #[error("the connection was lost before the hub answered")]
    Lost,
    /// A room cannot be called so.
    #[error("a room's name has no line break and at most {max} bytes", max = crate::ROOM_BYTES_MAX)]
    Room,
    /// The event cannot be written as JSON.
    #[error("the event cannot be written as JSON: {0}")]
    Body(String),
}

/// Why a body is no event of the second version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the body is no event: {0}")]
pub struct BodyError(pub String);

//! What bounds a port's memory, with its units and reasons.

use event::limits::PAYLOAD_BYTES_DEFAULT;

/// Bytes of messages handed to the journal and not yet answered, where nothing is configured.
pub const IN_FLIGHT_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
/// Messages that wait for one live subscriber before they are dropped: about a second of one
/// stream at a rate that a person could follow through a filter.
pub const LIVE_MESSAGES_DEFAULT: usize = 1024;
/// Bytes that wait for one live subscriber before messages are dropped.
pub const LIVE_BYTES_DEFAULT: usize = 4 * 1024 * 1024;

/// What bounds a port's memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest payload, in bytes.
    pub payload_bytes_max: usize,
    /// Most bytes of appends in flight; beyond, [`AppendError::Busy`]. One append is always taken.
    pub in_flight_bytes_max: usize,
    /// Most messages waiting for one live subscriber.
    pub live_messages_max: usize,
    /// Most bytes waiting for one live subscriber.
    pub live_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            payload_bytes_max: PAYLOAD_BYTES_DEFAULT,
            in_flight_bytes_max: IN_FLIGHT_BYTES_DEFAULT,
            live_messages_max: LIVE_MESSAGES_DEFAULT,
            live_bytes_max: LIVE_BYTES_DEFAULT,
        }
    }
}

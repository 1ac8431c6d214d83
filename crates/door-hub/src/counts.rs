//! What the door counts, for metrics.

/// Connections of each kind, now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Messengers.
    pub messengers: u64,
    /// Repeaters that connected to this hub.
    pub repeaters: u64,
    /// Hubs, whoever dialled.
    pub hubs: u64,
    /// Repeaters and devices that connected to this node's repeater (`/connect/:room/:id`).
    pub peers: u64,
    /// Open connections to repeater targets.
    pub targets: u64,
}

/// What the door has counted since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections now.
    pub connections: Connections,
    /// Connections taken and dialled.
    pub connected: u64,
    /// Requests to connect that were refused.
    pub refused: u64,
    /// Events that came in.
    pub events_in: u64,
    /// Bytes of their payloads.
    pub bytes_in: u64,
    /// Events handed to connections and targets.
    pub deliveries: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Events that came again over a link and were recognised.
    pub duplicates: u64,
    /// Links that are declared or asked for, and those that are up.
    pub links: u64,
    /// See `links`.
    pub links_up: u64,
    /// Events pushed to targets over HTTP and WebSockets, and taken.
    pub pushed: u64,
    /// Attempts that were made again.
    pub push_retries: u64,
    /// Events not delivered, by reason. Every reason is listed, 0 or not.
    pub dropped: Vec<(&'static str, u64)>,
    /// Connections that ended, by reason. Every reason is listed, 0 or not.
    pub disconnected: Vec<(&'static str, u64)>,
}

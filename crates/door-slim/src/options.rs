//! What the door is told: by the host, typed and complete.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ServerConfig;

use crate::limits;

/// What is presented to a client that speaks TLS. Asked anew for each connection, so that a
/// certificate can be replaced.
pub type Tls = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// Another node of the same names, as a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// What it calls itself. Of two, the one with the smaller name dials.
    pub node: String,
    /// Where it listens, `host:port`.
    pub address: String,
}

/// What the door is told.
#[derive(Clone)]
pub struct Options {
    /// The node, as negotiations say it.
    pub node: String,
    /// The domain, as negotiations say it; of a link of replicas both must say the same.
    pub domain: String,
    /// What negotiations say of the version: three numbers.
    pub version: String,
    /// Whether every message must have a right tag. Else a link without a key may be used, and one with a key may
    /// subscribe without a tag.
    pub require_header_mac: bool,
    /// Whether links without a key of ML-KEM are refused.
    pub enforce_pqc: bool,
    /// Whether links that say they come from a replica are taken; such links have no tags.
    pub peers: bool,
    /// The replicas that there are, this node left out or not.
    pub replicas: Vec<Replica>,
    /// Largest message, in bytes; beyond, its sender is told.
    pub message_bytes_max: usize,
    /// Most connections.
    pub connections_max: usize,
    /// Most subscriptions of one link.
    pub subscriptions_max: usize,
    /// Most bytes that wait for one link.
    pub pending_bytes_max: usize,
    /// How long a link may take to negotiate.
    pub negotiation_deadline: Duration,
    /// How long a link may take nothing while bytes wait for it.
    pub write_deadline: Duration,
    /// How often a silent connection is pinged.
    pub ping_interval: Duration,
    /// How long the answer to a ping may take.
    pub ping_deadline: Duration,
    /// Where WebSockets are taken; `None`: at every path.
    pub path: Option<String>,
    /// With TLS: what is presented.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            node: String::from("tidings"),
            domain: String::new(),
            version: String::from(env!("CARGO_PKG_VERSION")),
            require_header_mac: true,
            enforce_pqc: false,
            peers: false,
            replicas: Vec::new(),
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            connections_max: limits::CONNECTIONS_DEFAULT,
            subscriptions_max: limits::SUBSCRIPTIONS_DEFAULT,
            pending_bytes_max: limits::PENDING_BYTES_DEFAULT,
            negotiation_deadline: limits::NEGOTIATION_DEADLINE_DEFAULT,
            write_deadline: limits::WRITE_DEADLINE_DEFAULT,
            ping_interval: limits::PING_INTERVAL_DEFAULT,
            ping_deadline: limits::PING_DEADLINE_DEFAULT,
            path: None,
            tls: None,
        }
    }
}

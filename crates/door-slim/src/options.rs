//! What the door is told: by the host, typed and complete.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::limits;

/// What is presented to a client that speaks TLS. Asked anew for each connection, so that a
/// certificate can be replaced.
pub type Tls = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// What this node dials others with.
#[derive(Clone, Default)]
pub struct Presented {
    /// With TLS: whom it believes.
    pub tls: Option<Arc<ClientConfig>>,
    /// The whole `authorization` header; `None`: it has nothing to show.
    pub authorization: Option<Box<str>>,
}

/// Says what others are dialled with; told whether TLS is needed. Asked anew for each link, so that files can be
/// replaced. An error says which cannot be used.
pub type Present = Arc<dyn Fn(bool) -> Pin<Box<dyn Future<Output = Result<Presented, String>> + Send>> + Send + Sync>;

/// Another node of the same names, as a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// What it calls itself. Of two, the one with the smaller name dials.
    pub node: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Whether it is dialled with TLS.
    pub tls: bool,
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
    /// The replicas that there are, this node left out or not. Links that say they come from one of them are taken, and
    /// have no tags.
    pub replicas: Vec<Replica>,
    /// Whether a controller leads this node: links between domains subscribe nothing then but what it tells.
    pub led: bool,
    /// What replicas and other domains are dialled with; `None`: nothing is presented, and TLS is not spoken.
    pub present: Option<Present>,
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
            replicas: Vec::new(),
            led: false,
            present: None,
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

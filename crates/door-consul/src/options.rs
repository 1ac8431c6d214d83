//! What the door is told: by the host, typed and complete.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ServerConfig;

use crate::limits;

/// What is presented to a client that speaks TLS. Asked anew for each connection, so that a
/// certificate can be replaced.
pub type Tls = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// What the door is told.
#[derive(Clone)]
pub struct Options {
    /// The node's name, as `agent/self` and registrations without a node say it.
    pub node: String,
    /// The node's id, a UUID, as `agent/self` says it; empty: none is said.
    pub node_id: String,
    /// The datacenter that the door answers for.
    pub datacenter: String,
    /// The node's address, as its registrations say it.
    pub address: String,
    /// What `status/leader` and `status/peers` say.
    pub leader: SocketAddr,
    /// What `agent/self` says of the version.
    pub version: String,
    /// Most connections of both listeners together.
    pub connections_max: usize,
    /// Most connections from one address; beyond, 429.
    pub per_address_max: usize,
    /// Largest body of a request, in bytes; beyond, 413.
    pub body_bytes_max: usize,
    /// How long a blocked reader waits where it says nothing.
    pub wait_default: Duration,
    /// How long a blocked reader waits at most.
    pub wait_max: Duration,
    /// How long a client may take over TLS, a head, or a body.
    pub slow_deadline: Duration,
    /// How long a connection may take nothing of an answer.
    pub write_deadline: Duration,
    /// With TLS on the HTTP listener: what is presented.
    pub tls: Option<Tls>,
    /// With TLS on the gRPC listener: what is presented.
    pub grpc_tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            node: String::from("tidings"),
            node_id: String::new(),
            datacenter: String::from("dc1"),
            address: String::from("127.0.0.1"),
            leader: SocketAddr::from(([127, 0, 0, 1], 8300)),
            version: String::from(env!("CARGO_PKG_VERSION")),
            connections_max: limits::CONNECTIONS_DEFAULT,
            per_address_max: limits::PER_ADDRESS_DEFAULT,
            body_bytes_max: limits::BODY_BYTES_DEFAULT,
            wait_default: limits::WAIT_DEFAULT,
            wait_max: limits::WAIT_MAX,
            slow_deadline: limits::SLOW_DEADLINE_DEFAULT,
            write_deadline: limits::WRITE_DEADLINE_DEFAULT,
            tls: None,
            grpc_tls: None,
        }
    }
}

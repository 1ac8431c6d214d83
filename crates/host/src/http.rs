//! The HTTP door, joined to this node: its socket, its tasks, and what it asks the host for.

use std::sync::Arc;

use door::Port;
use journal::Journal;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::rustls::ServerConfig;

use crate::metrics::Metrics;
use crate::ready::Readiness;

/// What the door is made of.
pub(crate) struct HttpParts {
    pub(crate) port: Port,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) connections_max: usize,
}

/// The open door.
pub(crate) struct HttpDoor {}

impl HttpDoor {
    /// Serves from now on.
    pub(crate) fn open(_runtime: &Runtime, _listener: TcpListener, _parts: HttpParts) -> Self {
        HttpDoor {}
    }

    /// Accepts nothing more, and waits for what is in flight.
    pub(crate) async fn close(self) {}
}

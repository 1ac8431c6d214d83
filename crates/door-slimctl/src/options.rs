//! What the door is told: by the host, typed and complete.

use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;

use crate::limits;

/// What is presented to a client that speaks TLS. Asked anew for each connection, so that a certificate can be
/// replaced.
pub type Tls = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// What the door is told.
#[derive(Clone)]
pub struct Options {
    /// Most connections of each listener.
    pub connections_max: usize,
    /// With TLS: what is presented.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Options { connections_max: limits::CONNECTIONS_MAX, tls: None }
    }
}

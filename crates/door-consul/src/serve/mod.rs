//! Sockets, TLS, HTTP/1 and HTTP/2: the dull part.
//!
//! A connection has one task, over HTTP/2 one more for each request. A blocked reader is a place at its answer's gate
//! and a timer; nothing else runs for it. Reading over plain HTTP/1 goes by `thin`; all else is hyper's.

mod accept;
mod body;
mod desk;
mod grpc;
mod respond;
mod shared;
mod socket;
mod stream;
mod thin;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use door::Catalogue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::counts::Counts;
use crate::options::Options;
use accept::Role;

pub(crate) use body::{Flow, Piece};
pub(crate) use shared::Shared;

/// The sockets that the door listens on, bound by the host.
pub struct Sockets {
    /// HTTP: 8500.
    pub http: TcpListener,
    /// gRPC: 8502.
    pub grpc: Option<TcpListener>,
}

/// The open door. Must be opened inside an executor.
pub struct ConsulDoor {
    shared: Arc<Shared>,
    address: SocketAddr,
    grpc: Option<SocketAddr>,
    /// Ends what accepts, and every connection.
    stopping: CancellationToken,
}

impl ConsulDoor {
    /// Opens the door.
    ///
    /// # Errors
    /// Where a socket does not say its address.
    pub fn open(sockets: Sockets, catalogue: Catalogue, options: Options) -> io::Result<ConsulDoor> {
        let Sockets { http, grpc } = sockets;
        let address = http.local_addr()?;
        let grpc_address = grpc.as_ref().map(TcpListener::local_addr).transpose()?;
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared::new(catalogue, options, tasks.clone()));
        tasks.spawn(accept::listen(http, Arc::clone(&shared), Role::Http, stopping.clone()));
        if let Some(listener) = grpc {
            tasks.spawn(accept::listen(listener, Arc::clone(&shared), Role::Grpc, stopping.clone()));
        }
        Ok(ConsulDoor { shared, address, grpc: grpc_address, stopping })
    }

    /// Where HTTP is spoken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where gRPC is spoken.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Answers who is blocked with what there is, ends streams, and returns when everything has come to rest. What
    /// was counted can still be asked.
    pub async fn close(&self) {
        self.shared.answers.stop();
        self.shared.feeds.wake_all();
        self.stopping.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

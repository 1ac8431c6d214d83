//! Sockets, buffers, TLS, WebSocket, monitoring: the dull part.
//!
//! Each connection has two tasks: one reads and hands bytes to the session, one sends what others
//! could not send at once. One task for the whole door looks after time: questions whether clients
//! are there, deadlines, memory of idle connections.

mod accept;
mod monitor;
mod outbound;
mod plain;
mod stream;
mod time;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use door::Port;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::codec::error_line;
use crate::jetstream::JetStream;
use crate::options::Options;
use crate::session::{Shared, Totals};

pub(crate) use outbound::{Closed, Outbound};

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
    shared: Arc<Shared>,
    /// Ends what accepts.
    accepting: CancellationToken,
    /// Ends everything.
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// Random text for names and nonces: `bytes` bytes, in base64 that fits into a subject's token.
pub(crate) fn random_text(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    // Where the system gives no entropy nothing is safe; names that repeat are refused elsewhere.
    let _filled = SystemRandom::new().fill(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}

impl NatsDoor {
    /// Opens the door.
    ///
    /// # Errors
    /// Where a socket does not say its address.
    pub fn open(sockets: Sockets, port: Port, options: Options) -> std::io::Result<NatsDoor> {
        let address = sockets.clients.local_addr()?;
        let jetstream = JetStream::new(port.clone(), options.jetstream.clone(), options.name.clone());
        let shared = Arc::new(Shared {
            port,
            jetstream,
            server_id: server_id(),
            address,
            began: Instant::now(),
            began_at: SystemTime::now(),
            lame: AtomicBool::new(false),
            connections: Mutex::default(),
            next: AtomicU64::new(1),
            totals: Totals::default(),
            proving: tokio::sync::Mutex::default(),
            options,
        });
        let (accepting, stopping, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let door = NatsDoor { shared, accepting, stopping, tasks };
        door.spawn_all(sockets);
        Ok(door)
    }

    fn spawn_all(&self, sockets: Sockets) {
        let Sockets { clients, websocket, monitor } = sockets;
        let acceptor = accept::Acceptor {
            shared: Arc::clone(&self.shared),
            accepting: self.accepting.clone(),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(acceptor.clone().clients(clients));
        if let Some(listener) = websocket {
            self.tasks.spawn(acceptor.websocket(listener));
        }
        if let Some(listener) = monitor {
            self.tasks.spawn(monitor::serve(listener, Arc::clone(&self.shared), self.stopping.clone()));
        }
        self.tasks.spawn(time::watch(Arc::clone(&self.shared), self.stopping.clone()));
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Takes nobody more, tells clients to go elsewhere, and disconnects them one by one in the time
    /// that the options give.
    pub async fn lame_duck(&self) {
        self.accepting.cancel();
        self.shared.lame.store(true, Ordering::Release);
        let connections: Vec<_> = self.shared.connections.lock().values().cloned().collect();
        for connection in &connections {
            connection.out.say(&self.shared.info(connection, None).line());
        }
        let pause = self.shared.options.lame_duck / u32::try_from(connections.len().max(1)).unwrap_or(u32::MAX);
        for connection in connections {
            tokio::time::sleep(pause).await;
            connection.out.close(Closed::Shutdown);
        }
    }

    /// Disconnects everyone, and returns when everything has come to rest.
    pub async fn close(self) {
        self.accepting.cancel();
        let connections: Vec<_> = self.shared.connections.lock().values().cloned().collect();
        for connection in connections {
            connection.out.say(&error_line("Server Shutdown"));
            connection.out.close(Closed::Shutdown);
        }
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Names the server, in the shape of a server's public key.
fn server_id() -> String {
    let mut id = String::from("N");
    while id.len() < 56 {
        id.extend(random_text(32).chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()));
    }
    id.truncate(56);
    id
}

//! Takes connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::{Closed, Outbound, plain, random_text};
use crate::codec::error_line;
use crate::limits::REQUESTS_WAITING_MAX;
use crate::session::{Connection, Session, Shared};

/// How long to wait after a connection could not be taken: most often files have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes of entropy in a nonce: as many as NATS has.
const NONCE_BYTES: usize = 11;

/// Takes connections and gives each its tasks.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub(super) shared: Arc<Shared>,
    pub(super) accepting: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Acceptor {
    pub(super) async fn clients(self, listener: TcpListener) {
        while let Some((socket, address)) = self.next(&listener).await {
            let acceptor = self.clone();
            self.tasks.spawn(async move { acceptor.client(socket, address).await });
        }
    }

    pub(super) async fn websocket(self, listener: TcpListener) {
        while let Some((_socket, _address)) = self.next(&listener).await {}
    }

    async fn next(&self, listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.accepting.cancelled() => return None,
            };
            match accepted {
                Ok((socket, address)) => {
                    if let Err(error) = socket.set_nodelay(true) {
                        debug!(%error, "cannot set nodelay");
                    }
                    return Some((socket, address));
                }
                Err(error) => {
                    warn!(%error, "cannot take a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// A client over TCP.
    async fn client(self, socket: TcpStream, address: SocketAddr) {
        let socket = Arc::new(socket);
        let out = Arc::new(Outbound::new(Some(Arc::clone(&socket)), self.shared.options.max_pending));
        let (connection, nonce) = self.connection(out, address, "nats", false);
        connection.out.say(&self.shared.info(&connection, Some(nonce.clone())).line());
        let Some(session) = self.enter(&connection, nonce) else {
            plain::send(socket, Arc::clone(&connection.out)).await;
            return;
        };
        self.tasks.spawn(plain::send(Arc::clone(&socket), Arc::clone(&connection.out)));
        plain::receive(socket, session, connection).await;
    }

    fn connection(
        &self,
        out: Arc<Outbound>,
        address: SocketAddr,
        kind: &'static str,
        tls: bool,
    ) -> (Arc<Connection>, String) {
        let connection = Connection {
            id: self.shared.next.fetch_add(1, Ordering::Relaxed),
            address,
            kind,
            tls,
            began: Instant::now(),
            began_at: SystemTime::now(),
            out,
            heard: AtomicU64::new(0),
            asked: AtomicU32::new(0),
            asked_at: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            subscriptions: AtomicUsize::new(0),
            admitted: AtomicBool::new(false),
            about: Mutex::default(),
            wishes: Mutex::default(),
        };
        (Arc::new(connection), random_text(NONCE_BYTES))
    }

    /// A session for a connection; `None` where there are as many as may be.
    fn enter(&self, connection: &Arc<Connection>, nonce: String) -> Option<Session> {
        if !self.shared.enter(connection) {
            connection.out.say(&error_line("maximum connections exceeded"));
            connection.out.close(Closed::Connections);
            return None;
        }
        let (sender, mut requests) = mpsc::channel(REQUESTS_WAITING_MAX);
        let jetstream = Arc::clone(&self.shared.jetstream);
        self.tasks.spawn(async move {
            while let Some((who, request)) = requests.recv().await {
                Arc::clone(&jetstream).request(who, request).await;
            }
        });
        Some(Session::new(Arc::clone(&self.shared), Arc::clone(connection), sender, nonce))
    }
}

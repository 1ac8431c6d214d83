//! Takes connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::{Closed, Outbound, plain, random_text, stream};
use crate::codec::error_line;
use crate::limits::REQUESTS_WAITING_MAX;
use crate::options::HandshakeFirst;
use crate::session::{Connection, Session, Shared};

/// How long to wait after a connection could not be taken: most often files have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// How long TLS and WebSocket may take to begin: NATS's own.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(2);

/// What a client that speaks TLS begins with.
const TLS_HANDSHAKE: [u8; 1] = [0x16];

/// Bytes of a WebSocket message besides the largest payload: lines, and other operations with it.
const FRAME_BYTES_BESIDES: usize = 1024 * 1024;

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
        while let Some((socket, address)) = self.next(&listener).await {
            let acceptor = self.clone();
            self.tasks.spawn(async move { acceptor.browser(socket, address).await });
        }
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
        let Some(tls) = self.shared.options.tls.clone() else {
            return self.plain(socket, address).await;
        };
        match self.shake_hands(socket, address, TlsAcceptor::from(tls())).await {
            Ok((stream, connection, nonce)) => self.streamed(tokio::io::split(stream), connection, nonce).await,
            Err(error) => info!(%address, %error, "TLS handshake failed"),
        }
    }

    async fn plain(self, socket: TcpStream, address: SocketAddr) {
        let (reader, writer) = socket.into_split();
        let writer = Arc::new(writer);
        let out = Arc::new(Outbound::new(Some(Arc::clone(&writer)), self.shared.options.max_pending));
        let (connection, nonce) = self.connection(out, address, "nats", false);
        connection.out.say(&self.shared.info(&connection, Some(nonce.clone())).line());
        let Some(session) = self.enter(&connection, nonce) else {
            plain::send(writer, Arc::clone(&connection.out)).await;
            return;
        };
        self.tasks.spawn(plain::send(writer, Arc::clone(&connection.out)));
        plain::receive(reader, session, connection).await;
    }

    /// Says INFO and shakes hands, in the order that the options want.
    async fn shake_hands(
        &self,
        mut socket: TcpStream,
        address: SocketAddr,
        acceptor: TlsAcceptor,
    ) -> io::Result<(TlsStream<TcpStream>, Arc<Connection>, String)> {
        let out = Arc::new(Outbound::new(None, self.shared.options.max_pending));
        let (connection, nonce) = self.connection(out, address, "nats", true);
        let info = self.shared.info(&connection, Some(nonce.clone())).line();
        let first = match self.shared.options.handshake_first {
            HandshakeFirst::Never => false,
            HandshakeFirst::Always => true,
            // Looked at, since a socket may call itself readable before anything came.
            HandshakeFirst::Within(span) => timeout(span, socket.peek(&mut [0])).await.is_ok(),
        };
        if !first {
            socket.write_all(&info).await?;
        }
        let shake = async {
            let mut byte = [0];
            if socket.peek(&mut byte).await? == 1 && byte != TLS_HANDSHAKE {
                socket.write_all(&error_line("Secure Connection - TLS Required")).await?;
                return Err(io::Error::other("the client does not speak TLS"));
            }
            acceptor.accept(socket).await
        };
        let stream = timeout(HANDSHAKE_DEADLINE, shake).await.map_err(io::Error::other)??;
        if first {
            connection.out.say(&info);
        }
        Ok((stream, connection, nonce))
    }

    /// A client over WebSocket.
    async fn browser(self, socket: TcpStream, address: SocketAddr) {
        let Some(tls) = self.shared.options.websocket_tls.clone() else {
            return self.upgraded(socket, address, false).await;
        };
        match timeout(HANDSHAKE_DEADLINE, TlsAcceptor::from(tls()).accept(socket)).await {
            Ok(Ok(stream)) => self.upgraded(stream, address, true).await,
            Ok(Err(error)) => info!(%address, %error, "TLS handshake failed"),
            Err(_) => info!(%address, "TLS handshake took too long"),
        }
    }

    async fn upgraded<S>(self, stream: S, address: SocketAddr, tls: bool)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // A frame may hold several operations, the largest of which has a payload and its line.
        let largest = self.shared.options.max_payload + FRAME_BYTES_BESIDES;
        let config = WebSocketConfig::default().max_message_size(Some(largest)).max_frame_size(Some(largest));
        let upgrade = tokio_tungstenite::accept_async_with_config(stream, Some(config));
        let websocket = match timeout(HANDSHAKE_DEADLINE, upgrade).await {
            Ok(Ok(websocket)) => websocket,
            Ok(Err(error)) => return info!(%address, %error, "WebSocket handshake failed"),
            Err(_) => return info!(%address, "WebSocket handshake took too long"),
        };
        let out = Arc::new(Outbound::new(None, self.shared.options.max_pending));
        let (connection, nonce) = self.connection(out, address, "websocket", tls);
        connection.out.say(&self.shared.info(&connection, Some(nonce.clone())).line());
        let (sink, source) = websocket.split();
        self.streamed((source, sink), connection, nonce).await;
    }

    async fn streamed<R, W>(self, (source, drain): (R, W), connection: Arc<Connection>, nonce: String)
    where
        R: stream::Source + 'static,
        W: stream::Drain + 'static,
    {
        let session = self.enter(&connection, nonce);
        let sending = stream::send(drain, Arc::clone(&connection.out));
        let Some(session) = session else {
            return sending.await;
        };
        self.tasks.spawn(sending);
        stream::receive(source, session, connection).await;
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
            standing: Mutex::default(),
            grown: AtomicBool::new(false),
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

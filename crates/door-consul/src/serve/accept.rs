//! Takes connections: as many as may be, from each address as many as may be.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::desk::Desk;
use super::shared::Shared;
use super::socket::Socket;
use super::thin::{self, Left};
use crate::counts::{count, uncount};
use crate::limits::{CLOSE_DEADLINE, HEAD_BYTES_MAX, STREAMS_PER_CONNECTION_MAX};

/// How long to wait after a connection could not be taken: most often files have run out.
const PAUSE: Duration = Duration::from_millis(100);
/// What whoever has too many connections is told, in the original's words.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: 80\r\n\
    Connection: close\r\n\r\nYour IP is issuing too many concurrent connections, please rate limit your calls";

/// Which of the two listeners a connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
}

/// A connection's place among all; given back when it is dropped.
struct Seat {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Seat {
    /// A seat, where there is one.
    fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Seat> {
        let mut seats = shared.seats.lock();
        if seats.total >= shared.options.connections_max {
            return None;
        }
        let own = seats.by_address.entry(address).or_default();
        if *own >= shared.options.per_address_max {
            return None;
        }
        *own += 1;
        seats.total += 1;
        drop(seats);
        count(&shared.totals.connections);
        count(&shared.totals.connected);
        Some(Seat { shared: Arc::clone(shared), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        uncount(&self.shared.totals.connections);
        let mut seats = self.shared.seats.lock();
        seats.total -= 1;
        if let Some(own) = seats.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                seats.by_address.remove(&self.address);
            }
        }
    }
}

/// Takes connections of a listener until the door closes.
pub(crate) async fn listen(listener: TcpListener, shared: Arc<Shared>, role: Role, stopping: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot take a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if let Err(error) = socket.set_nodelay(true) {
            debug!(%error, "cannot set nodelay");
        }
        match Seat::take(&shared, address.ip().to_canonical()) {
            Some(seat) => {
                let desk = Desk { shared: Arc::clone(&shared), role };
                shared.tasks.spawn(serve(socket, address, desk, stopping.clone(), seat));
            }
            None => refuse(&shared, role, socket),
        }
    }
}

/// Says that there are too many, as far as that goes without waiting.
fn refuse(shared: &Shared, role: Role, socket: TcpStream) {
    count(&shared.totals.refused);
    let plain = role == Role::Http && shared.options.tls.is_none();
    // A new socket takes so little at once; who does not get it sees the end all the same.
    let _sent = plain.then(|| socket.try_write(TOO_MANY));
}

/// What a connection's task holds while it lives is what its requests hold; whatever else is needed for a while is
/// apart, and goes.
async fn serve(socket: TcpStream, address: SocketAddr, desk: Desk, stopping: CancellationToken, seat: Seat) {
    let (options, role) = (&desk.shared.options, desk.role);
    let tls = match role {
        Role::Http => options.tls.clone(),
        Role::Grpc => options.grpc_tls.clone(),
    };
    if let Some(tls) = tls {
        return Box::pin(serve_tls(socket, address, desk, stopping, seat, offering(&tls(), role))).await;
    }
    let closing = async {
        stopping.cancelled().await;
        tokio::time::sleep(CLOSE_DEADLINE).await;
    };
    let left = match role {
        Role::Http => tokio::select! {
            left = thin::serve(socket, &desk, &stopping) => left,
            () = closing => Left::Nothing,
        },
        Role::Grpc => Left::Two(socket, Bytes::new()),
    };
    let write = desk.shared.options.write_deadline;
    match left {
        Left::One(socket, first) => {
            Box::pin(speak_one(Socket::new(socket, first, write), desk, &stopping, address)).await;
        }
        Left::Two(socket, first) => {
            Box::pin(speak_two(Socket::new(socket, first, write), desk, &stopping, address)).await;
        }
        Left::Nothing => {}
    }
    drop(seat);
}

/// The same, with the protocols that a listener speaks.
fn offering(config: &ServerConfig, role: Role) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = match role {
        Role::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Role::Grpc => vec![b"h2".to_vec()],
    };
    Arc::new(config)
}

async fn serve_tls(
    socket: TcpStream,
    address: SocketAddr,
    desk: Desk,
    stopping: CancellationToken,
    seat: Seat,
    config: Arc<ServerConfig>,
) {
    let options = &desk.shared.options;
    match Box::pin(timeout(options.slow_deadline, TlsAcceptor::from(config).accept(socket))).await {
        Ok(Ok(stream)) => {
            let two = stream.get_ref().1.alpn_protocol() == Some(b"h2") || desk.role == Role::Grpc;
            let stream = Socket::new(stream, Bytes::new(), options.write_deadline);
            if two {
                speak_two(stream, desk, &stopping, address).await;
            } else {
                speak_one(stream, desk, &stopping, address).await;
            }
        }
        Ok(Err(error)) => debug!(%address, %error, "TLS handshake failed"),
        Err(_) => debug!(%address, "TLS handshake took too long"),
    }
    drop(seat);
}

async fn speak_one<S>(stream: S, desk: Desk, stopping: &CancellationToken, address: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let slow = desk.shared.options.slow_deadline;
    let service = service_fn(move |request| desk.clone().answer(request));
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(slow)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(false)
        .title_case_headers(true);
    let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            Box::pin(timeout(CLOSE_DEADLINE, connection)).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        debug!(%address, %error, "a connection ended");
    }
}

async fn speak_two<S>(stream: S, desk: Desk, stopping: &CancellationToken, address: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| desk.clone().answer(request));
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.timer(TokioTimer::new()).max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
    let mut connection = Box::pin(server.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            Box::pin(timeout(CLOSE_DEADLINE, connection)).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        debug!(%address, %error, "a connection ended");
    }
}

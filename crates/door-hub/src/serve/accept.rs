//! Takes connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::http::{Desk, Role};
use super::shared::Shared;
use crate::limits::HEAD_DEADLINE;

/// How long to wait after a connection could not be taken: most often files have run out.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that have not become a WebSocket: more wait in the system's queue.
const REQUESTING_MAX: usize = 4096;
/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Takes connections of a listener until the door closes.
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>, role: Role, stopping: CancellationToken) {
    let places = Arc::new(Semaphore::new(REQUESTING_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
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
        let (desk, stopping) = (Desk { shared: Arc::clone(&shared), role, address }, stopping.clone());
        shared.tasks.spawn(async move {
            tokio::select! {
                () = request(socket, address, desk) => {}
                () = stopping.cancelled() => {}
            }
            drop(place);
        });
    }
}

async fn request(socket: TcpStream, address: SocketAddr, desk: Desk) {
    let Some(tls) = desk.shared.options.tls.clone() else {
        return Box::pin(speak(socket, desk)).await;
    };
    match timeout(HEAD_DEADLINE, TlsAcceptor::from(tls()).accept(socket)).await {
        Ok(Ok(stream)) => Box::pin(speak(stream, desk)).await,
        Ok(Err(error)) => debug!(%address, %error, "TLS handshake failed"),
        Err(_) => debug!(%address, "TLS handshake took too long"),
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, desk: Desk) {
    let address = desk.address;
    let service = service_fn(move |request| desk.clone().answer(request));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(HEAD_BYTES_MAX);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        debug!(%address, %error, "a connection ended");
    }
}

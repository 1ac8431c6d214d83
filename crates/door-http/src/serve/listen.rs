//! Listening: connections, TLS, time limits, and an orderly end.
//!
//! # Invariants
//! - Connections are counted; beyond the limit new ones wait in the operating system's queue.
//! - A connection that says nothing costs a task and a socket, and is closed after
//!   [`HEAD_WAIT_MAX`]; a request head that does not end, too.
//! - At shutdown nothing new is taken, requests under way have [`DRAIN_WAIT_MAX`] to end, and then
//!   what is left is cut.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::limits::{CONNECTIONS_MAX, DRAIN_WAIT_MAX, H2_STREAMS_MAX, HANDSHAKE_WAIT_MAX, HEAD_WAIT_MAX};

/// Bytes of one request's head, at most: a full header block, twice.
const HEAD_BYTES_MAX: usize = 128 * 1024;

/// How often an HTTP/2 connection is asked whether it is still there.
const H2_PING_EVERY: Duration = Duration::from_secs(30);

/// How long to wait where no connection can be taken, for want of file descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves a router on a listener until `shutdown`, and then until what is under way has ended. A
/// certificate is replaced by the resolver of the TLS configuration, for the connections that follow.
pub async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, router: Router, shutdown: CancellationToken) {
    let (slots, tasks) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), TaskTracker::new());
    let cut = CancellationToken::new();
    while let Some(stream) = accept(&listener, &slots, &shutdown).await {
        let (stream, slot) = stream;
        let (tls, router) = (tls.clone(), router.clone());
        let (shutdown, cut) = (shutdown.clone(), cut.clone());
        tasks.spawn(async move {
            let _slot = slot;
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = connection(stream, tls, router, shutdown) => {}
            }
        });
    }
    drop(listener);
    tasks.close();
    if timeout(DRAIN_WAIT_MAX, tasks.wait()).await.is_err() {
        cut.cancel();
        tasks.wait().await;
    }
}

type Slot = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, Slot)> {
    let next = async {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, slot)),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        next = next => next,
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, router: Router, shutdown: CancellationToken) {
    // Answers are small and each is awaited by somebody.
    let _best_effort = stream.set_nodelay(true);
    // Nothing is set up for a connection before it says something.
    let spoke = tokio::select! {
        biased;
        () = shutdown.cancelled() => false,
        spoke = timeout(HEAD_WAIT_MAX, stream.readable()) => matches!(spoke, Ok(Ok(()))),
    };
    if !spoke {
        return;
    }
    match tls {
        None => speak(stream, router, shutdown).await,
        Some(tls) => match timeout(HANDSHAKE_WAIT_MAX, TlsAcceptor::from(tls).accept(stream)).await {
            Ok(Ok(stream)) => speak(stream, router, shutdown).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    shutdown: CancellationToken,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT_MAX).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING_EVERY)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .adaptive_window(true);
    let asked = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&asked);
    let service = TowerToHyperService::new(router.map_request(move |request: Request<Incoming>| {
        noted.store(true, Ordering::Relaxed);
        request.map(Body::new)
    }));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Before the first request the protocol itself may be unknown, and then no other limit holds.
    let mut first = pin!(sleep(HEAD_WAIT_MAX));
    let (mut ending, mut waited) = (false, false);
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            () = shutdown.cancelled(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = first.as_mut(), if !waited => {
                waited = true;
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended with an error");
    }
}

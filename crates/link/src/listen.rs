//! The listener of a group: connections, TLS, limits of time, and an orderly end.
//!
//! # Invariants
//! - Connections are counted; beyond the limit new ones wait in the operating system's queue.
//! - A client is cut off that is silent, sends a head or a body slowly, or does not read its answer.
//! - At shutdown nothing new is taken, requests under way have [`ListenOptions::drain`] to end, and then
//!   what is left is cut.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{
    DRAIN_WAIT_MAX, HANDSHAKE_WAIT_MAX, HEAD_BYTES_MAX, HEAD_WAIT_MAX, LISTEN_CONNECTIONS_MAX, WRITE_PAUSE_MAX,
};
use crate::receive::{Intake, receive};
use crate::tls::ServerTls;

/// How long to wait where no connection can be taken, for want of file descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a listener allows. How long a body may take is the gate's to say ([`crate::Gate`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections at a time.
    pub connections: usize,
    /// For silence, and for the head of a request.
    pub head: Duration,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For an answer that is not read.
    pub write: Duration,
    /// For requests under way at shutdown.
    pub drain: Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            connections: LISTEN_CONNECTIONS_MAX,
            head: HEAD_WAIT_MAX,
            handshake: HANDSHAKE_WAIT_MAX,
            write: WRITE_PAUSE_MAX,
            drain: DRAIN_WAIT_MAX,
        }
    }
}

/// What every connection of a listener shares.
struct Shared {
    intake: Arc<dyn Intake>,
    tls: Option<Arc<ServerTls>>,
    options: ListenOptions,
    shutdown: CancellationToken,
}

/// Serves an intake on a listener until `shutdown`, and then until what is under way has ended.
pub async fn serve(
    listener: TcpListener,
    intake: Arc<dyn Intake>,
    tls: Option<Arc<ServerTls>>,
    options: ListenOptions,
    shutdown: CancellationToken,
) {
    let (slots, tasks, cut) =
        (Arc::new(Semaphore::new(options.connections)), TaskTracker::new(), CancellationToken::new());
    let shared = Arc::new(Shared { intake, tls, options, shutdown: shutdown.clone() });
    while let Some((stream, peer, slot)) = accept(&listener, &slots, &shutdown).await {
        let (shared, cut) = (Arc::clone(&shared), cut.clone());
        tasks.spawn(async move {
            let _slot = slot;
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = connection(stream, peer, &shared) => {}
            }
        });
    }
    drop(listener);
    tasks.close();
    if timeout(options.drain, tasks.wait()).await.is_err() {
        cut.cancel();
        tasks.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let next = async {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, slot)),
                Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection of a peer can be taken");
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

async fn connection(stream: TcpStream, peer: SocketAddr, shared: &Shared) {
    // Answers are small and each is awaited by somebody.
    let _best_effort = stream.set_nodelay(true);
    // Nothing is set up for a connection before it says something.
    let spoke = tokio::select! {
        biased;
        () = shared.shutdown.cancelled() => false,
        spoke = timeout(shared.options.head, stream.readable()) => matches!(spoke, Ok(Ok(()))),
    };
    if !spoke {
        return;
    }
    let local = peer.ip().to_canonical().is_loopback();
    let Some(tls) = &shared.tls else {
        return speak(stream, local, shared).await;
    };
    let known = tls.files().client_authorities.is_some();
    match timeout(shared.options.handshake, TlsAcceptor::from(tls.current()).accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, local || known, shared).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, trusted: bool, shared: &Shared) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(receive(&*shared.intake, request, trusted).await)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(shared.options.head).max_buf_size(HEAD_BYTES_MAX);
    let stream = Impatient::new(stream, shared.options.write);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut ending = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            () = shared.shutdown.cancelled(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of a peer ended with an error");
    }
}

/// A stream whose writes fail once nothing could be written for a while.
struct Impatient<S> {
    stream: S,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<S> Impatient<S> {
    fn new(stream: S, patience: Duration) -> Self {
        Impatient { stream, patience, timer: Box::pin(sleep(patience)), waiting: false }
    }

    /// What a write came to, or that it took too long.
    fn timed<T>(&mut self, context: &mut Context<'_>, came: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if came.is_ready() {
            self.waiting = false;
            return came;
        }
        if !self.waiting {
            self.waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.patience);
        }
        match self.timer.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let came = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, came)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let came = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.timed(context, came)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let came = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(context, came)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let came = Pin::new(&mut self.stream).poll_shutdown(context);
        self.timed(context, came)
    }
}

//! Takes connections and their calls.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::body::{Incoming, Reply};
use super::{Code, Status};
use crate::limits::{HEAD_DEADLINE, PING_DEADLINE, PING_INTERVAL, STREAMS_PER_CONNECTION_MAX};
use crate::options::Options;

/// How long to wait after a connection could not be taken: most often files have run out.
const PAUSE: Duration = Duration::from_millis(100);
/// How long calls that are open may take to end when the door closes.
const CLOSE_DEADLINE: Duration = Duration::from_millis(300);

/// A call.
pub(crate) struct Call {
    /// The path of the method.
    pub(crate) path: String,
    /// What the caller presented, the whole header.
    pub(crate) presented: Option<String>,
    /// Where the caller is.
    pub(crate) from: IpAddr,
    /// What it sends.
    pub(crate) body: Incoming,
}

/// Who answers calls.
pub(crate) trait Calls: Send + Sync {
    fn answer(self: Arc<Self>, call: Call) -> Pin<Box<dyn Future<Output = Response<Reply>> + Send>>;
}

/// What serves connections.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) options: Options,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
}

impl Server {
    /// Takes connections until the door closes.
    pub(crate) async fn listen(self, listener: TcpListener, calls: Arc<dyn Calls>) {
        let connected = Arc::new(AtomicUsize::new(0));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stopping.cancelled() => return,
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
            if connected.fetch_add(1, Ordering::Relaxed) >= self.options.connections_max {
                connected.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (server, calls, connected) = (self.clone(), Arc::clone(&calls), Arc::clone(&connected));
            self.tasks.spawn(async move {
                Box::pin(server.serve(socket, address, calls)).await;
                connected.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    async fn serve(self, socket: TcpStream, address: SocketAddr, calls: Arc<dyn Calls>) {
        let Some(tls) = self.options.tls.clone() else {
            let mut first = [0];
            return match timeout(HEAD_DEADLINE, socket.peek(&mut first)).await {
                Ok(Ok(1)) => self.speak(socket, address, calls).await,
                Ok(_) | Err(_) => debug!(%address, "a connection said nothing"),
            };
        };
        let mut config = (*tls()).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        match timeout(HEAD_DEADLINE, TlsAcceptor::from(Arc::new(config)).accept(socket)).await {
            Ok(Ok(stream)) => self.speak(stream, address, calls).await,
            Ok(Err(error)) => debug!(%address, %error, "TLS handshake failed"),
            Err(_) => debug!(%address, "TLS handshake took too long"),
        }
    }

    async fn speak<S>(self, stream: S, address: SocketAddr, calls: Arc<dyn Calls>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let from = address.ip().to_canonical();
        let used = Arc::new(AtomicBool::new(false));
        let calling = Arc::clone(&used);
        let service = service_fn(move |request| {
            calling.store(true, Ordering::Relaxed);
            let calls = Arc::clone(&calls);
            async move { Ok::<_, Infallible>(answer(calls, request, from).await) }
        });
        let mut server = http2::Builder::new(TokioExecutor::new());
        server
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .keep_alive_interval(Some(PING_INTERVAL))
            .keep_alive_timeout(PING_DEADLINE);
        let mut connection = Box::pin(server.serve_connection(TokioIo::new(stream), service));
        let idle = async {
            // Who is there for nothing takes another's place.
            tokio::time::sleep(HEAD_DEADLINE).await;
            if used.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = idle => return debug!(%address, "a connection called nothing"),
            () = self.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                timeout(CLOSE_DEADLINE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = outcome {
            debug!(%address, %error, "a connection ended");
        }
    }
}

async fn answer(calls: Arc<dyn Calls>, request: Request<hyper::body::Incoming>, from: IpAddr) -> Response<Reply> {
    if request.method() != Method::POST {
        return Reply::refused(Status::new(Code::Unimplemented, "calls are made with POST"));
    }
    let presented = request.headers().get(AUTHORIZATION).map(HeaderValue::to_str);
    let Ok(presented) = presented.transpose().map(|text| text.map(str::to_owned)) else {
        return Reply::refused(Status::new(Code::InvalidArgument, "the authorization cannot be read"));
    };
    let path = request.uri().path().to_owned();
    calls.answer(Call { path, presented, from, body: Incoming::new(request.into_body()) }).await
}

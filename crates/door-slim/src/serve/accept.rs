//! Takes connections, and finds out what they speak: HTTP/2, or HTTP/1.1 for a WebSocket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::carrier::UNAUTHENTICATED;
use super::grpc::{self, OPEN_CHANNEL, Sent};
use super::shared::Shared;
use super::socket::Socket;
use super::ws;
use crate::counts::add;
use crate::limits::{CHUNK_BYTES, CLOSE_DEADLINE, HEAD_DEADLINE, STREAMS_PER_CONNECTION_MAX};

/// How long to wait after a connection could not be taken: most often files have run out.
const PAUSE: Duration = Duration::from_millis(100);
/// Largest head of a request, in bytes: an identity's token is in it.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// What a stream, and a connection, may send before it is read.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// Largest frame of HTTP/2.
const FRAME_BYTES: u32 = 256 * 1024;

/// Takes connections until the door closes.
pub(crate) async fn listen(listener: TcpListener, shared: Arc<Shared>, ending: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ending.cancelled() => return,
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
        if shared.connected.fetch_add(1, Ordering::Relaxed) >= shared.options.connections_max {
            shared.connected.fetch_sub(1, Ordering::Relaxed);
            add(&shared.totals.refused, 1);
            continue;
        }
        let tasks = shared.tasks.clone();
        let desk = Desk { shared: Arc::clone(&shared), address, used: Arc::default() };
        tasks.spawn(async move {
            let shared = Arc::clone(&desk.shared);
            Box::pin(serve(socket, desk)).await;
            shared.connected.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// One connection's requests.
#[derive(Clone)]
struct Desk {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// A call was let in: the connection is somebody's.
    used: Arc<AtomicBool>,
}

async fn serve(socket: TcpStream, desk: Desk) {
    let address = desk.address;
    let Some(tls) = desk.shared.options.tls.clone() else {
        let mut first = [0];
        // The first byte tells: the preface of HTTP/2 begins like POST, which nobody sends here.
        return match timeout(HEAD_DEADLINE, socket.peek(&mut first)).await {
            Ok(Ok(1)) if first == *b"P" => two(Socket(socket), desk).await,
            Ok(Ok(1)) => one(Socket(socket), desk).await,
            Ok(_) | Err(_) => debug!(%address, "a connection said nothing"),
        };
    };
    let acceptor = TlsAcceptor::from(offering(&tls()));
    match timeout(HEAD_DEADLINE, acceptor.accept(Socket(socket))).await {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"http/1.1") => Box::pin(one(stream, desk)).await,
        Ok(Ok(stream)) => Box::pin(two(stream, desk)).await,
        Ok(Err(error)) => debug!(%address, %error, "TLS handshake failed"),
        Err(_) => debug!(%address, "TLS handshake took too long"),
    }
}

/// The same, with the protocols that the door speaks.
fn offering(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

async fn two<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, desk: Desk) {
    let (shared, address, used) = (Arc::clone(&desk.shared), desk.address, Arc::clone(&desk.used));
    let options = &shared.options;
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.call(request)) }
    });
    let mut server = http2::Builder::new(TokioExecutor::new());
    server
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_send_buf_size(4 * CHUNK_BYTES)
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(options.ping_deadline);
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
        () = idle => return debug!(%address, "a connection opened no link"),
        () = shared.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(CLOSE_DEADLINE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        debug!(%address, %error, "a connection ended");
    }
}

async fn one<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, desk: Desk) {
    let (shared, address) = (Arc::clone(&desk.shared), desk.address);
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.upgrade(request)) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(HEAD_BYTES_MAX);
    let connection = server.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let outcome = tokio::select! {
        outcome = connection => outcome,
        () = shared.stopping.cancelled() => Ok(()),
    };
    if let Err(error) = outcome {
        debug!(%address, %error, "a connection ended");
    }
}

impl Desk {
    /// Answers a call of gRPC.
    fn call(&self, request: Request<Incoming>) -> Response<Sent> {
        let shared = &self.shared;
        if request.uri().path() != OPEN_CHANNEL || request.method() != Method::POST {
            add(&shared.totals.refused, 1);
            return grpc::refused(12, "unknown service or method");
        }
        let token = token(&request);
        match shared.port.authenticate(token.as_deref()) {
            Ok(who) => {
                self.used.store(true, Ordering::Relaxed);
                let connection = shared.enter(self.address, who, token.as_deref(), "grpc");
                grpc::open(shared, connection, request.into_body())
            }
            Err(error) => {
                add(&shared.totals.refused, 1);
                grpc::refused(UNAUTHENTICATED, &error.to_string())
            }
        }
    }

    /// Answers a request for a WebSocket.
    fn upgrade(&self, request: Request<Incoming>) -> Response<Sent> {
        let shared = &self.shared;
        let refused = |status: StatusCode| {
            add(&shared.totals.refused, 1);
            let mut response = Response::new(Sent::nothing());
            *response.status_mut() = status;
            response
        };
        if shared.options.path.as_deref().is_some_and(|path| path != request.uri().path()) {
            return refused(StatusCode::NOT_FOUND);
        }
        let Some(key) = ws::key(request.headers()) else {
            return refused(StatusCode::UPGRADE_REQUIRED);
        };
        if shared.port.is_open() && is_foreign(request.headers()) {
            return refused(StatusCode::FORBIDDEN);
        }
        let token = token(&request);
        match shared.port.authenticate(token.as_deref()) {
            Ok(who) => {
                let connection = shared.enter(self.address, who, token.as_deref(), "websocket");
                ws::open(shared, connection, request, &key)
            }
            Err(_) => {
                let mut response = refused(StatusCode::UNAUTHORIZED);
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                response
            }
        }
    }
}

/// Whether a page of another host asks. A door without tokens is open to whoever reaches it, but not to whatever page
/// somebody looks at who does.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
    let same = origin.as_ref().and_then(Uri::authority).map(|own| own.as_str()) == text(HOST);
    headers.contains_key(ORIGIN) && !same
}

/// What is presented: a bearer token, the password of a user, or `?token=`, since pages cannot set heads.
fn token(request: &Request<Incoming>) -> Option<String> {
    presented(request.headers()).or_else(|| {
        let pairs = request.uri().query()?.split('&');
        let value = pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == "token")?.1;
        Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

fn presented(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(value.trim()).ok()).flatten()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

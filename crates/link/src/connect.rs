//! A connection to a peer: resolve, connect, TLS, each with a time limit; and its use for one request at a time.
//!
//! Redirects are answers like any other: nothing here follows one. Texts of errors name the phase and the
//! cause, and hold nothing of what was sent or received.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::limits::HEAD_BYTES_MAX;

/// Bytes of a body that are handed to a connection at a time.
const PIECE_BYTES: usize = 64 << 10;

/// How long a connection from the pool has to become ready: it is, unless its last request just ended.
const READY_WAIT_MAX: Duration = Duration::from_millis(100);

/// How long each phase of a push may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// To find the addresses of the peer and to connect to one of them.
    pub connect: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// Until the body has been handed over.
    pub send: Duration,
    /// From then to the end of the answer's head.
    pub answer: Duration,
    /// From then to the end of its body.
    pub body: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        let (short, long) = (Duration::from_secs(5), Duration::from_secs(30));
        Waits { connect: short, handshake: short, send: long, answer: long, body: short }
    }
}

impl Waits {
    /// A request, and then its answer, may take so long; the short phases take no longer than they do.
    pub fn of_request(most: Duration) -> Self {
        Waits { send: most, answer: most, ..Waits::default().within(most) }
    }

    /// No phase may take longer than `most`.
    #[must_use]
    pub fn within(self, most: Duration) -> Self {
        Waits {
            connect: self.connect.min(most),
            handshake: self.handshake.min(most),
            send: self.send.min(most),
            answer: self.answer.min(most),
            body: self.body.min(most),
        }
    }
}

/// Where a peer listens: `http` or `https`, a host, and what stands before the paths.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// What goes into the `Host` header.
    pub authority: HeaderValue,
    pub prefix: String,
    /// How TLS is spoken from the next connection on, and the name that the certificate is to be for.
    pub tls: Option<(Mutex<Arc<ClientConfig>>, ServerName<'static>)>,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Trouble {
    /// The name has no address.
    #[error("{0} cannot be resolved: {1}")]
    Resolve(String, String),
    /// No address took a connection.
    #[error("no connection to {0}: {1}")]
    Connect(String, String),
    /// The handshake failed: certificates, or versions.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection broke before there was an answer.
    #[error("the connection ended before an answer: {0}")]
    Broken(String),
    /// A phase took too long.
    #[error("{0} took longer than {1:?}")]
    Slow(&'static str, Duration),
}

/// An open connection, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<Pieces>,
    driver: AbortHandle,
    /// When it was last put aside.
    pub idle_since: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Endpoint {
    /// `host:port`, for people.
    fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The target of a request, in origin form.
    pub fn path(&self, path: &str) -> Option<Uri> {
        format!("{}{path}", self.prefix).parse().ok()
    }

    /// Opens a connection.
    pub async fn connect(&self, waits: &Waits) -> Result<Connection, Trouble> {
        let stream = self.tcp(waits.connect).await?;
        // Requests are small and each is waited for.
        let _best_effort = stream.set_nodelay(true);
        match &self.tls {
            None => open(stream).await,
            Some((config, name)) => {
                let config = Arc::clone(&config.lock());
                let handshake = TlsConnector::from(config).connect(name.clone(), stream);
                match timeout(waits.handshake, handshake).await {
                    Ok(Ok(stream)) => open(stream).await,
                    Ok(Err(error)) => Err(Trouble::Tls(error.to_string())),
                    Err(_) => Err(Trouble::Slow("the TLS handshake", waits.handshake)),
                }
            }
        }
    }

    /// Tries the addresses of the host in turn; what is left of the time is shared by those that are left.
    async fn tcp(&self, wait: Duration) -> Result<TcpStream, Trouble> {
        let end = Instant::now() + wait;
        let found = match timeout(wait, lookup_host((self.host.as_str(), self.port))).await {
            Ok(Ok(found)) => found.collect::<Vec<SocketAddr>>(),
            Ok(Err(error)) => return Err(Trouble::Resolve(self.host.clone(), error.to_string())),
            Err(_) => return Err(Trouble::Slow("to resolve the host", wait)),
        };
        let mut trouble = Trouble::Resolve(self.host.clone(), "it has no address".to_owned());
        for (place, address) in found.iter().enumerate() {
            let left = u32::try_from(found.len() - place).unwrap_or(u32::MAX);
            let share = end.saturating_duration_since(Instant::now()) / left;
            trouble = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => Trouble::Connect(self.place(), error.to_string()),
                Err(_) => Trouble::Slow("to connect", wait),
            };
        }
        Err(trouble)
    }
}

async fn open(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Connection, Trouble> {
    let (sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Trouble::Broken(error.to_string()))?;
    let driver = tokio::spawn(async move {
        // Whoever waits for an answer is told of the same error.
        let _told = connection.await;
    })
    .abort_handle();
    Ok(Connection { sender, driver, idle_since: Instant::now() })
}

impl Connection {
    /// Whether it can carry another request. The last one may just have ended, so it is given a moment.
    pub async fn is_ready(&mut self) -> bool {
        matches!(timeout(READY_WAIT_MAX, self.sender.ready()).await, Ok(Ok(())))
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(&mut self, head: Request<()>, body: Bytes, waits: &Waits) -> Result<Response<Incoming>, Trouble> {
        let (gone, handed_over) = oneshot::channel();
        let request = head.map(|()| Pieces { left: body, gone: Some(gone) });
        let mut answer = std::pin::pin!(self.sender.send_request(request));
        let answered = tokio::select! {
            biased;
            answered = answer.as_mut() => Some(answered),
            _ = handed_over => None,
            () = sleep(waits.send) => return Err(Trouble::Slow("to send", waits.send)),
        };
        let answered = match answered {
            Some(answered) => answered,
            None => timeout(waits.answer, answer).await.map_err(|_| Trouble::Slow("the answer", waits.answer))?,
        };
        answered.map_err(|error| Trouble::Broken(error.to_string()))
    }
}

/// The body of an answer, `most` bytes at most. `None` where it has more, does not end in time, or breaks off.
pub(crate) async fn whole(mut body: Incoming, most: usize, wait: Duration) -> Option<Bytes> {
    let read = async {
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.ok()?.into_data() {
                if whole.len() + data.len() > most {
                    return None;
                }
                whole.extend_from_slice(&data);
            }
        }
        Some(Bytes::from(whole))
    };
    timeout(wait, read).await.ok().flatten()
}

/// A body in pieces, which says when the last has been taken.
pub(crate) struct Pieces {
    left: Bytes,
    gone: Option<oneshot::Sender<()>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let size = self.left.len().min(PIECE_BYTES);
        let piece = self.left.split_to(size);
        if self.left.is_empty() {
            // Dropped, it tells as well.
            self.gone = None;
        }
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

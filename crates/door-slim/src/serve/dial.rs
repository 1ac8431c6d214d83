//! Links that this node opens: to replicas whose names are greater than its own (the others open theirs), and to other
//! domains as a controller tells.
//!
//! Each is dialled by a task of its own, again and again: one that is not there holds up nobody.
//!
//! Source: agntcy/slim, `peer_discovery` and `negotiation.rs`.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::client::conn::http2;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::carrier::Carrier;
use super::grpc::{OPEN_CHANNEL, read};
use super::shared::{Connection, Shared};
use super::socket::Socket;
use crate::codec::Kind;
use crate::options::Presented;
use crate::session::{Offered, Session};

/// Wait before a link is dialled again, at first.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
/// See [`AGAIN_FIRST`]: the longest.
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// What became of a link, once that is known: it is up, or why it is not.
pub(crate) type Outcome = Option<Result<(), String>>;

/// What is dialled.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// What both ends call the link.
    pub(crate) link: String,
    /// What the other side is called, for logs; empty: not known.
    pub(crate) node: String,
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) tls: bool,
    /// Whether this node's credentials are shown there.
    pub(crate) shows: bool,
}

/// What is sent on a link. Who drops it ends the link.
struct Outgoing(Arc<Connection>);

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.out.end((0, String::new()));
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.out.poll_take(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Dials the replicas that this node is to dial.
pub(crate) fn replicas(shared: &Arc<Shared>) {
    let own = &shared.options.node;
    for replica in shared.options.replicas.iter().filter(|replica| *own < replica.node) {
        let target = Target {
            kind: Kind::Peer,
            link: format!("{own}:{}", replica.node),
            node: replica.node.clone(),
            address: replica.address.clone(),
            tls: replica.tls,
            // Whoever runs the node named the place.
            shows: true,
        };
        let (said, _nobody) = watch::channel(None);
        shared.tasks.spawn(keep(Arc::clone(shared), target, shared.stopping.child_token(), said));
    }
}

/// Keeps one link, until it is told to stop.
pub(crate) async fn keep(
    shared: Arc<Shared>,
    target: Target,
    stopping: CancellationToken,
    outcome: watch::Sender<Outcome>,
) {
    let mut wait = AGAIN_FIRST;
    let mut quiet = false;
    loop {
        let own = Arc::default();
        let opened = tokio::select! {
            ended = link(&shared, &target, &outcome, &own) => {
                if let Err(error) = &ended
                    && !std::mem::replace(&mut quiet, true)
                {
                    let Target { kind, node, link, address, .. } = &target;
                    info!(?kind, node, link, address, %error, "a node cannot be reached");
                }
                let why = ended.as_ref().map_or_else(ToString::to_string, |_| String::from("the link ended"));
                outcome.send_replace(Some(Err(why)));
                ended.is_ok()
            }
            () = stopping.cancelled() => {
                abandon(&shared, &own);
                return;
            }
        };
        abandon(&shared, &own);
        quiet &= !opened;
        wait = if opened { AGAIN_FIRST } else { (wait * 2).min(AGAIN_MAX) };
        tokio::select! {
            () = sleep(wait) => {}
            () = stopping.cancelled() => return,
        }
    }
}

/// The link that is being opened, or open.
type Opening = parking_lot::Mutex<Option<Arc<Connection>>>;

/// Leaves nothing of a link behind, however it ended.
fn abandon(shared: &Shared, own: &Opening) {
    if let Some(connection) = own.lock().take() {
        connection.out.end((0, String::new()));
        shared.leave(connection.id);
    }
}

/// One link, from its first byte to its end.
///
/// # Errors
/// Where it was never open.
async fn link(
    shared: &Arc<Shared>,
    target: &Target,
    outcome: &watch::Sender<Outcome>,
    own: &Opening,
) -> io::Result<()> {
    let presented = shared.presented(target.tls).await.map_err(io::Error::other)?;
    let deadline = shared.options.negotiation_deadline;
    let socket = timeout(deadline, TcpStream::connect(&target.address)).await??;
    socket.set_nodelay(true)?;
    let connection = shared.enter_trusted(socket.peer_addr()?);
    *own.lock() = Some(Arc::clone(&connection));
    let Some(config) = presented.tls.clone().filter(|_| target.tls) else {
        return speak(shared, target, &presented, connection, Socket(socket), outcome).await;
    };
    let host = target.address.rsplit_once(':').map_or(target.address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut config = (*config).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = timeout(deadline, TlsConnector::from(Arc::new(config)).connect(name, Socket(socket))).await??;
    speak(shared, target, &presented, connection, stream, outcome).await
}

async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    shared: &Arc<Shared>,
    target: &Target,
    presented: &Presented,
    own: Arc<Connection>,
    stream: S,
    outcome: &watch::Sender<Outcome>,
) -> io::Result<()> {
    let (deadline, address) = (shared.options.negotiation_deadline, own.address);
    let mut client = http2::Builder::new(TokioExecutor::new());
    client
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(shared.options.ping_interval))
        .keep_alive_timeout(shared.options.ping_deadline)
        .keep_alive_while_idle(true);
    let handshake = timeout(deadline, client.handshake(TokioIo::new(stream))).await?;
    let (mut requests, connection) = handshake.map_err(io::Error::other)?;
    let driver = shared.tasks.spawn(async move {
        if let Err(error) = connection.await {
            debug!(%address, %error, "a connection to a node ended");
        }
    });
    // Ends with this link, however it does.
    let _driver = tokio_util::task::AbortOnDropHandle::new(driver);
    let scheme = if target.tls { "https" } else { "http" };
    let mut request = Request::post(format!("{scheme}://{}{OPEN_CHANNEL}", target.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(authorization) = presented.authorization.as_ref().filter(|_| target.shows) {
        request = request.header(AUTHORIZATION, &**authorization);
    }
    let request = request.body(Outgoing(Arc::clone(&own))).map_err(io::Error::other)?;
    let offered = Offered { link: target.link.clone(), kind: target.kind };
    let (session, offer) = Session::offering(shared.rules(), offered).ok_or(io::ErrorKind::Other)?;
    own.out.say(&offer);
    let response = timeout(deadline, requests.send_request(request)).await?.map_err(io::Error::other)?;
    refusal(&response).map_or(Ok(()), |why| Err(io::Error::other(why)))?;
    let opened = async {
        own.opened.notified().await;
        outcome.send_replace(Some(Ok(())));
        std::future::pending().await
    };
    tokio::select! {
        () = read(response.into_body(), Carrier::of(shared, &own, session)) => {}
        () = opened => {}
    }
    match own.out.over() {
        _ if matches!(*outcome.borrow(), Some(Ok(()))) => Ok(()),
        Some((_, why)) if !why.is_empty() => Err(io::Error::other(why)),
        _ => Err(io::Error::other("the link was ended before it was negotiated")),
    }
}

/// Why a call was turned away at once, where it was.
fn refusal(response: &Response<hyper::body::Incoming>) -> Option<String> {
    if !response.status().is_success() {
        return Some(format!("the node answered {}", response.status()));
    }
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = text("grpc-status").filter(|status| *status != "0")?;
    Some(format!("the node refused the link ({status}): {}", text("grpc-message").unwrap_or_default()))
}

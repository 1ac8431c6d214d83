//! Links to replicas that this node opens: to those whose names are greater than its own. The others open theirs.
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
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::carrier::Carrier;
use super::grpc::{OPEN_CHANNEL, read};
use super::shared::{Connection, Shared};
use super::socket::Socket;
use crate::options::Replica;
use crate::session::Session;

/// Wait before a replica is dialled again, at first.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
/// See [`AGAIN_FIRST`]: the longest.
const AGAIN_MAX: Duration = Duration::from_secs(5);

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
        shared.tasks.spawn(keep(Arc::clone(shared), replica.clone()));
    }
}

/// Keeps one link.
async fn keep(shared: Arc<Shared>, replica: Replica) {
    let mut wait = AGAIN_FIRST;
    let mut quiet = false;
    loop {
        let link = async {
            match link(&shared, &replica).await {
                Ok(opened) => opened,
                Err(error) => {
                    if !std::mem::replace(&mut quiet, true) {
                        info!(replica = replica.node, address = replica.address, %error, "a replica cannot be reached");
                    }
                    false
                }
            }
        };
        let opened = tokio::select! {
            opened = link => opened,
            () = shared.stopping.cancelled() => return,
        };
        quiet &= !opened;
        wait = if opened { AGAIN_FIRST } else { (wait * 2).min(AGAIN_MAX) };
        tokio::select! {
            () = sleep(wait) => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// One link, to its end; whether it was ever open.
async fn link(shared: &Arc<Shared>, replica: &Replica) -> io::Result<bool> {
    let deadline = shared.options.negotiation_deadline;
    let socket = timeout(deadline, TcpStream::connect(&replica.address)).await??;
    socket.set_nodelay(true)?;
    let address = socket.peer_addr()?;
    let mut client = http2::Builder::new(TokioExecutor::new());
    client
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(shared.options.ping_interval))
        .keep_alive_timeout(shared.options.ping_deadline)
        .keep_alive_while_idle(true);
    let (mut requests, connection) =
        timeout(deadline, client.handshake(TokioIo::new(Socket(socket)))).await?.map_err(io::Error::other)?;
    let driver = shared.tasks.spawn(async move {
        if let Err(error) = connection.await {
            debug!(%address, %error, "a connection to a replica ended");
        }
    });
    let own = shared.enter_trusted(address);
    let body = Outgoing(Arc::clone(&own));
    let request = Request::post(format!("http://{}{OPEN_CHANNEL}", replica.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body);
    let opened = async {
        let request = request.map_err(io::Error::other)?;
        let name = format!("{}:{}", shared.options.node, replica.node);
        let (session, offer) = Session::offering(shared.rules(), name).ok_or(io::ErrorKind::Other)?;
        own.out.say(&offer);
        let response: Response<_> =
            timeout(deadline, requests.send_request(request)).await?.map_err(io::Error::other)?;
        read(response.into_body(), Carrier::of(shared, &own, session)).await;
        Ok(own.terms.get().is_some())
    };
    let opened = opened.await;
    own.out.end((0, String::new()));
    shared.leave(own.id);
    driver.abort();
    opened
}

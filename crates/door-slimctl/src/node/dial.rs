//! Dials a controller: one call, on which messages go both ways.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::client::conn::http2;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::led::Shown;
use super::{Ended, Place};
use crate::grpc::{Incoming, frame};
use crate::limits::{DIAL_DEADLINE, PING_DEADLINE, PING_INTERVAL, SAY_DEADLINE, WAITING_MAX};
use crate::proto::control::{ControlMessage, OPEN_CONTROL_CHANNEL};

/// What is sent, as it comes, until the sender is dropped.
struct Sent(mpsc::Receiver<Bytes>);

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// An open channel to a controller. Who drops it ends it.
pub(super) struct Line {
    out: mpsc::Sender<Bytes>,
    pub(super) body: Incoming,
    _driver: AbortOnDropHandle<()>,
}

impl Line {
    /// Says something.
    ///
    /// # Errors
    /// [`Ended`], where nobody reads it.
    pub(super) async fn say(&self, message: &ControlMessage) -> Result<(), Ended> {
        match timeout(SAY_DEADLINE, self.out.send(frame(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::lost("the channel ended")),
            Err(_) => Err(Ended::lost("the controller does not read")),
        }
    }
}

/// Opens a channel, and says the first message, without which some answer nothing.
pub(super) async fn open(place: &Place, shown: &Shown, first: &ControlMessage) -> Result<Line, Ended> {
    let opening = async {
        let socket = TcpStream::connect(&place.address).await.map_err(|error| Ended::lost(&error))?;
        socket.set_nodelay(true).map_err(|error| Ended::lost(&error))?;
        if !place.tls {
            return call(place, shown, socket, first).await;
        }
        let config = shown.tls.as_ref().ok_or_else(|| Ended::lost("this node was not told how to speak TLS"))?;
        let host = place.address.rsplit_once(':').map_or(place.address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| Ended::lost(&error))?;
        let mut config = (**config).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connecting = TlsConnector::from(std::sync::Arc::new(config)).connect(name, socket);
        call(place, shown, connecting.await.map_err(|error| Ended::lost(&error))?, first).await
    };
    timeout(DIAL_DEADLINE, opening).await.unwrap_or_else(|_| Err(Ended::lost("the controller does not answer")))
}

async fn call<S>(place: &Place, shown: &Shown, stream: S, first: &ControlMessage) -> Result<Line, Ended>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut client = http2::Builder::new(TokioExecutor::new());
    client
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING_INTERVAL))
        .keep_alive_timeout(PING_DEADLINE)
        .keep_alive_while_idle(true);
    let (mut requests, connection) =
        client.handshake(TokioIo::new(stream)).await.map_err(|error| Ended::lost(&error))?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "a connection to a controller ended");
        }
    });
    let driver = AbortOnDropHandle::new(driver);
    let (out, flow) = mpsc::channel(WAITING_MAX);
    // There is room: nothing was sent yet.
    let _room = out.try_send(frame(first));
    let scheme = if place.tls { "https" } else { "http" };
    let mut request = Request::post(format!("{scheme}://{}{OPEN_CONTROL_CHANNEL}", place.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(authorization) = &shown.authorization {
        request = request.header(AUTHORIZATION, &**authorization);
    }
    let request = request.body(Sent(flow)).map_err(|error| Ended::lost(&error))?;
    let response = requests.send_request(request).await.map_err(|error| Ended::lost(&error))?;
    match refusal(&response) {
        Some(ended) => Err(ended),
        None => Ok(Line { out, body: Incoming::new(response.into_body()), _driver: driver }),
    }
}

/// Why a call was turned away at once, where it was.
fn refusal(response: &Response<hyper::body::Incoming>) -> Option<Ended> {
    if !response.status().is_success() {
        return Some(Ended::lost(&format!("it answered {}", response.status())));
    }
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = text("grpc-status").filter(|status| *status != "0")?;
    let why = format!("it refused the call ({status}): {}", text("grpc-message").unwrap_or_default());
    // Permission denied, unauthenticated.
    Some(if matches!(status, "7" | "16") { Ended::Rejected(why) } else { Ended::lost(&why) })
}

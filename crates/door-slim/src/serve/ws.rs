//! The same messages over a WebSocket: one in each binary frame.
//!
//! Source: agntcy/slim, `websocket.rs`; RFC 6455.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, SinkExt as _, Stream, StreamExt as _};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tracing::debug;

use super::carrier::Carrier;
use super::grpc::Sent;
use super::pace;
use super::shared::{Connection, Shared};
use crate::codec::{Frames, Piece};
use crate::limits::{CLOSE_DEADLINE, READ_BYTES};

type Wire = WebSocketStream<TokioIo<Upgraded>>;

/// How many times the largest message a frame may have, so that one that is too large is answered and not cut off.
const LARGER: usize = 4;

/// The key of a request that may become a WebSocket.
pub(crate) fn key(headers: &HeaderMap) -> Option<String> {
    let has = |name: &HeaderName, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|each| each.trim().eq_ignore_ascii_case(token))
    };
    let asks = has(&CONNECTION, "upgrade") && has(&UPGRADE, "websocket") && has(&SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    (asks && !key.is_empty()).then(|| key.to_owned())
}

/// Opens a link on a request that becomes a WebSocket.
pub(crate) fn open(
    shared: &Arc<Shared>,
    connection: Arc<Connection>,
    mut request: Request<Incoming>,
    key: &str,
) -> Response<Sent> {
    let mut response = Response::new(Sent::nothing());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    shared.tasks.spawn(upgraded(Arc::clone(shared), connection, upgrade));
    response
}

async fn upgraded(shared: Arc<Shared>, connection: Arc<Connection>, upgrade: OnUpgrade) {
    match upgrade.await {
        Ok(upgraded) => {
            let max = shared.options.message_bytes_max.saturating_mul(LARGER);
            let config = WebSocketConfig::default().max_message_size(Some(max)).max_frame_size(Some(max));
            // Pongs wait for a client that does not read, too.
            let most = config.write_buffer_size.saturating_add(max);
            let config = config.max_write_buffer_size(most);
            let wire = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
            Box::pin(run(wire, Carrier::new(&shared, &connection))).await;
        }
        Err(error) => debug!(address = %connection.address, %error, "an upgrade failed"),
    }
    connection.out.end((0, String::new()));
    shared.leave(connection.id);
}

/// What a link has to do next.
enum Next {
    Read(Option<Result<Message, Error>>),
    Send(Option<Bytes>),
    Ping,
    Silent,
    Late,
    Judge,
}

async fn run(mut wire: Wire, mut carrier: Carrier) {
    let (shared, connection) = (Arc::clone(&carrier.shared), Arc::clone(&carrier.connection));
    let options = &shared.options;
    let late = Instant::now() + options.negotiation_deadline;
    let mut pings = interval_at(Instant::now() + options.ping_interval, options.ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let patience = options.ping_interval + options.ping_deadline;
    let mut heard = Instant::now();
    // What waits comes with the frames of gRPC, and is cut into messages again.
    let mut cutter = Frames::new(usize::MAX);
    carrier.judge();
    loop {
        let next = tokio::select! {
            read = wire.next() => Next::Read(read),
            () = carrier.access_changed() => Next::Judge,
            sent = poll_fn(|context| connection.out.poll_take(context)) => Next::Send(sent),
            _ = pings.tick() => Next::Ping,
            () = sleep_until(heard + patience) => Next::Silent,
            () = sleep_until(late), if !carrier.is_open() => Next::Late,
        };
        let outcome = match next {
            Next::Read(Some(Ok(message))) => {
                heard = Instant::now();
                read(&mut wire, &mut carrier, message).await
            }
            Next::Read(_) | Next::Silent => Err(()),
            Next::Send(Some(bytes)) => send(&mut wire, &connection, &mut cutter, bytes, options.write_deadline).await,
            Next::Send(None) => {
                let (_, why) = connection.out.over().unwrap_or_default();
                close(&mut wire, CloseCode::Policy, why).await;
                Err(())
            }
            Next::Ping => {
                let sent = timeout(options.write_deadline, wire.send(Message::Ping(Bytes::new()))).await;
                sent.map_err(drop).and_then(|sent| sent.map_err(drop))
            }
            Next::Judge => {
                carrier.judge();
                Ok(())
            }
            Next::Late => {
                carrier.late();
                Ok(())
            }
        };
        if outcome.is_err() {
            return;
        }
    }
}

/// Does what came, and what else is there already.
async fn read(wire: &mut Wire, carrier: &mut Carrier, first: Message) -> Result<(), ()> {
    let (mut message, mut count) = (Some(first), 0);
    while let Some(came) = message.take() {
        match came {
            Message::Binary(bytes) if bytes.len() > carrier.shared.options.message_bytes_max => {
                carrier.too_large(&bytes, bytes.len());
            }
            Message::Binary(bytes) => {
                count += bytes.len();
                carrier.message(&bytes);
            }
            Message::Text(_) => {
                close(wire, CloseCode::Unsupported, String::from("messages are binary")).await;
                return Err(());
            }
            Message::Close(_) => return Err(()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        if count < READ_BYTES && !carrier.connection.out.is_over() {
            message = ready(wire)?;
        }
    }
    pace(carrier).await;
    Ok(())
}

/// A message that is there already.
fn ready<S: Stream<Item = Result<Message, Error>> + Unpin>(wire: &mut S) -> Result<Option<Message>, ()> {
    match wire.next().now_or_never() {
        None => Ok(None),
        Some(Some(Ok(message))) => Ok(Some(message)),
        Some(_) => Err(()),
    }
}

async fn send(
    wire: &mut Wire,
    connection: &Connection,
    cutter: &mut Frames,
    bytes: Bytes,
    deadline: std::time::Duration,
) -> Result<(), ()> {
    let mut messages = Vec::new();
    cutter.take(bytes, |piece| {
        if let Piece::Message(message) = piece {
            messages.push(message);
        }
    });
    let sending = async {
        for message in messages {
            wire.feed(Message::Binary(message)).await?;
        }
        wire.flush().await
    };
    match timeout(deadline, sending).await {
        Ok(sent) => sent.map_err(drop),
        Err(_) => {
            connection.out.end((14, String::from("the link takes nothing")));
            Err(())
        }
    }
}

async fn close(wire: &mut Wire, code: CloseCode, why: String) {
    let mut reason = BytesMut::from(why.as_bytes());
    reason.truncate(120);
    let reason = String::from_utf8_lossy(&reason).into_owned().into();
    // Whoever is gone does not want to know.
    let _said = timeout(CLOSE_DEADLINE, wire.close(Some(CloseFrame { code, reason }))).await;
}

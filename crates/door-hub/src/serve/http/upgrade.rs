//! From a request to a WebSocket: RFC 6455, section 4, with the rules of the original's library.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use door::{Listener, Principal};
use http_body_util::Full;
use hyper::body::Incoming as Body;
use hyper::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::{debug, warn};

use super::{Answer, Desk, Refusal, header, query, text};
use crate::codec::{Side, pattern};
use crate::serve::carrier::Carrier;
use crate::serve::outbound::Outbound;
use crate::serve::plain::{Reader, run, run_streamed};
use crate::serve::receiver::Receiver;
use crate::serve::replay::{Replay, Since};
use crate::serve::shared::{Connection, Newcomer, Shared};
use crate::session::{Kind, Session};

/// Names the node at the other end of a link.
pub(in crate::serve) static TIDINGS_NODE: HeaderName = HeaderName::from_static("tidings-node");
/// Says that a link's text is control.
pub(in crate::serve) static TIDINGS_HUB: HeaderName = HeaderName::from_static("tidings-hub");
/// The version of that which is spoken.
pub(in crate::serve) const TIDINGS_HUB_VERSION: &str = "1";

impl Desk {
    /// Turns a request into a connection.
    pub(super) async fn connect(&self, mut request: Request<Body>, kind: Kind, id: Option<Arc<str>>) -> Answer {
        let shared = &self.shared;
        let key = match self.accept(&request, kind) {
            Ok(key) => key,
            Err(refusal) => {
                shared.totals.refused.fetch_add(1, Ordering::Relaxed);
                return *refusal;
            }
        };
        let who = match self.who(&request).and_then(|who| self.may_be(&who, kind).map(|()| who)) {
            Ok(who) => who,
            Err(refusal) => return *refusal,
        };
        let since = match Since::of(query(&request, "since"), query(&request, "last"), shared.port.now()) {
            Ok(since) => since.filter(|_| kind == Kind::Messenger),
            Err(why) => return text(StatusCode::BAD_REQUEST, &why),
        };
        if !shared.has_room() {
            warn!(address = %self.address, "there are as many connections as may be");
            shared.totals.refused.fetch_add(1, Ordering::Relaxed);
            return text(StatusCode::SERVICE_UNAVAILABLE, "there are as many connections as may be");
        }
        let (kind, peer) = match (kind, header(request.headers(), &TIDINGS_HUB)) {
            (Kind::Hub, TIDINGS_HUB_VERSION) => {
                let node = header(request.headers(), &TIDINGS_NODE);
                (Kind::Twin, Some(Arc::from(node)).filter(|_| !node.is_empty()))
            }
            _ => (kind, id),
        };
        let kind = if kind == Kind::Twin && peer.is_none() { Kind::Hub } else { kind };
        let newcomer = Newcomer { kind, address: self.address, peer, dialled: false, target: None, who };
        let (shared, upgrade) = (Arc::clone(shared), hyper::upgrade::on(&mut request));
        self.shared.tasks.spawn(upgraded(shared, newcomer, upgrade, since));
        switching(&self.shared, kind, &key)
    }

    /// The key of a request that may be upgraded.
    fn accept(&self, request: &Request<Body>, kind: Kind) -> Result<String, Refusal> {
        let headers = request.headers();
        let has = |name: &HeaderName, token: &str| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|each| each.trim().eq_ignore_ascii_case(token))
        };
        let key = header(headers, &SEC_WEBSOCKET_KEY);
        let asks = has(&CONNECTION, "upgrade") && has(&UPGRADE, "websocket") && has(&SEC_WEBSOCKET_VERSION, "13");
        if !asks || key.is_empty() {
            let mut answer = text(StatusCode::BAD_REQUEST, "Bad Request\n");
            answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            return Err(Box::new(answer));
        }
        let origin = header(headers, &ORIGIN);
        if headers.contains_key(ORIGIN) && !self.is_own(origin, header(headers, &HOST)) {
            debug!(address = %self.address, origin, kind = kind.text(), "a page of another origin");
            let mut answer = text(StatusCode::FORBIDDEN, "Forbidden\n");
            answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            return Err(Box::new(answer));
        }
        Ok(key.to_owned())
    }

    /// Whether a page may come from an origin: of the same host, or a listed one.
    fn is_own(&self, origin: &str, host: &str) -> bool {
        let same = origin.parse::<Uri>().ok();
        let same = same.as_ref().and_then(Uri::authority).is_some_and(|own| own.as_str().eq_ignore_ascii_case(host));
        same || self.shared.options.origins.iter().any(|each| each == "*" || each.eq_ignore_ascii_case(origin))
    }

    /// Whether somebody may be what he says.
    fn may_be(&self, who: &Principal, kind: Kind) -> Result<(), Refusal> {
        let options = &self.shared.options;
        let names = match kind {
            Kind::Messenger => return Ok(()),
            Kind::Hub | Kind::Twin => &options.hubs,
            Kind::Repeater | Kind::Peer | Kind::Target => &options.repeaters,
        };
        let every = || pattern("*").is_some_and(|every| who.may_publish_all(&every) && who.may_read_all(&every));
        let may = match names {
            _ if self.shared.port.is_open() => true,
            Some(names) => names.iter().any(|name| **name == **who.name()),
            None => every(),
        };
        if may {
            return Ok(());
        }
        self.shared.totals.refused.fetch_add(1, Ordering::Relaxed);
        let why = format!("the token '{}' may not connect as a {}", who.name(), kind.text());
        warn!(address = %self.address, "{why}");
        Err(Box::new(text(StatusCode::FORBIDDEN, &why)))
    }
}

fn switching(shared: &Shared, kind: Kind, key: &str) -> Answer {
    let mut answer = Response::new(Full::<Bytes>::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if kind == Kind::Twin
        && let Ok(node) = HeaderValue::from_str(&shared.options.node)
    {
        headers.insert(&TIDINGS_NODE, node);
        headers.insert(&TIDINGS_HUB, HeaderValue::from_static(TIDINGS_HUB_VERSION));
    }
    answer
}

async fn upgraded(shared: Arc<Shared>, newcomer: Newcomer, upgrade: OnUpgrade, since: Option<Since>) {
    match upgrade.await {
        Ok(upgraded) => {
            take(&shared, newcomer, upgraded, since);
        }
        Err(error) => debug!(address = %newcomer.address, %error, "an upgrade failed"),
    }
}

/// Gives a connection its task. That of the upgrade ends here, with all that it held.
pub(in crate::serve) fn take(
    shared: &Arc<Shared>,
    newcomer: Newcomer,
    upgraded: Upgraded,
    since: Option<Since>,
) -> Arc<Connection> {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let socket = Arc::new(parts.io.into_inner());
            let (reader, connection) = enter(shared, newcomer, Some(Arc::clone(&socket)), &parts.read_buf, since);
            shared.tasks.spawn(served(Arc::clone(shared), Arc::clone(&connection), run(socket, reader)));
            return connection;
        }
        Err(upgraded) => upgraded,
    };
    let upgraded = match upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() {
        Ok(parts) => {
            let (reader, connection) = enter(shared, newcomer, None, &parts.read_buf, since);
            let running = run_streamed(parts.io.into_inner(), reader);
            shared.tasks.spawn(served(Arc::clone(shared), Arc::clone(&connection), running));
            return connection;
        }
        Err(upgraded) => upgraded,
    };
    let (reader, connection) = enter(shared, newcomer, None, b"", since);
    let running = run_streamed(TokioIo::new(upgraded), reader);
    shared.tasks.spawn(served(Arc::clone(shared), Arc::clone(&connection), running));
    connection
}

/// Makes a connection known, so that it is heard of and hears.
fn enter(
    shared: &Arc<Shared>,
    newcomer: Newcomer,
    socket: Option<Arc<TcpStream>>,
    left: &[u8],
    since: Option<Since>,
) -> (Reader, Arc<Connection>) {
    let options = &shared.options;
    let out = Outbound::new(socket, options.pending_bytes_max, options.pending_messages_max);
    let side = if newcomer.dialled { Side::Server } else { Side::Client };
    let target = newcomer.target.clone();
    let connection = shared.enter(newcomer, out);
    let lenient = connection.kind == Kind::Peer && options.strict_compat;
    let session = Session::new(connection.kind, side, shared.frame_bytes_max()).lenient(lenient);
    let mut hand = Carrier::new(shared, &connection);
    match connection.kind {
        Kind::Messenger => hand.replay = since.map(|since| Box::new(Replay::new(shared, &connection, since))),
        Kind::Repeater => listen(shared, &connection, Receiver::new(shared, &connection)),
        // Its listener comes when the link is up.
        Kind::Hub | Kind::Twin | Kind::Peer | Kind::Target => {}
    }
    match (&target, connection.kind) {
        (Some(name), Kind::Hub | Kind::Twin) => shared.links.dialled(shared, &connection, name),
        (None, Kind::Hub | Kind::Twin) => shared.links.accepted(shared, &connection),
        _ => {}
    }
    (Reader::new(session, hand, left), connection)
}

/// Has a connection hear every room.
pub(in crate::serve) fn listen(shared: &Arc<Shared>, connection: &Arc<Connection>, receiver: Receiver) {
    let Some(every) = pattern("*") else { return };
    let listener = Listener {
        patterns: vec![every],
        queue: None,
        connection: connection.id,
        class: connection.class(),
        taker: Arc::new(receiver),
    };
    let id = shared.port.fabric().join(listener);
    connection.wishes.lock().listeners.push(id);
}

async fn served(shared: Arc<Shared>, connection: Arc<Connection>, running: impl Future<Output = ()>) {
    running.await;
    shared.leave(&connection);
    if matches!(connection.kind, Kind::Hub | Kind::Twin) {
        shared.links.lost(&shared, &connection);
    }
}

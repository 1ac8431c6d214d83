//! Dialling: TCP, TLS, requests and upgrades.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::debug;

use crate::options::Bearer;

/// Bytes of an answer's body that are looked at for a reason.
const REASON_BYTES_MAX: usize = 200;

/// Where to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    tls: bool,
    /// As the certificate and the `Host` have it; an IPv6 address in brackets.
    host: String,
    port: u16,
    /// Begins with `/`, or is empty.
    pub(super) path: String,
}

impl Address {
    /// Reads `ws://`, `wss://`, `http://`, `https://` or `host[:port]`; a port that is missing is `port`, or
    /// where that is `None` and there is a scheme the scheme's.
    pub(super) fn parse(text: &str, port: u16, scheme_port: bool) -> Result<Address, String> {
        let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "" | "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(format!("'{text}' is no address: begin it with ws://, wss://, http:// or https://")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, given) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let standard = match (scheme, tls) {
            ("", _) => port,
            _ if !scheme_port => port,
            (_, true) => 443,
            (_, false) => 80,
        };
        let port = match given {
            Some(given) => given.parse().map_err(|_| format!("'{given}' in '{text}' is no port"))?,
            None => standard,
        };
        let fits = !host.is_empty() && !host.contains([' ', '@', '?', '#', '%']);
        if !fits {
            return Err(format!("'{text}' is no address"));
        }
        Ok(Address { tls, host: host.to_owned(), port, path: path.trim_end_matches('/').to_owned() })
    }
}

/// What goes with a request.
pub(super) struct Asking<'a> {
    pub(super) token: Option<&'a Bearer>,
    pub(super) tls: Option<&'a Arc<ClientConfig>>,
}

/// An upgraded connection.
pub(super) struct Dialled {
    pub(super) upgraded: Upgraded,
    pub(super) address: SocketAddr,
    pub(super) headers: HeaderMap,
}

type Sender = SendRequest<Full<Bytes>>;

/// An open connection for requests.
async fn open(address: &Address, asking: &Asking<'_>) -> Result<(Sender, SocketAddr), String> {
    let host = address.host.trim_matches(['[', ']']);
    let socket = TcpStream::connect((host, address.port)).await.map_err(|error| error.to_string())?;
    let at = socket.peer_addr().map_err(|error| error.to_string())?;
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "cannot set nodelay");
    }
    if !address.tls {
        return Ok((speak(socket).await?, at));
    }
    let tls = asking.tls.ok_or("nothing says which certificates to trust")?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::clone(tls));
    let stream = connector.connect(name, socket).await.map_err(|error| format!("TLS: {error}"))?;
    Ok((speak(stream).await?, at))
}

async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> Result<Sender, String> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "a dialled connection ended");
        }
    });
    Ok(sender)
}

fn request(method: Method, address: &Address, path: &str, token: Option<&Bearer>) -> Result<Request<()>, String> {
    let mut request = Request::builder()
        .method(method)
        .uri(if path.is_empty() { "/" } else { path })
        .header(HOST, format!("{}:{}", address.host, address.port))
        .body(())
        .map_err(|error| error.to_string())?;
    if let Some(Bearer(token)) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| "the token has characters that no header has")?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

/// Opens a WebSocket. The caller sets the deadline.
pub(super) async fn upgrade(
    address: &Address,
    path: &str,
    asking: &Asking<'_>,
    also: &[(&HeaderName, &str)],
) -> Result<Dialled, String> {
    let (mut sender, at) = open(address, asking).await?;
    let mut nonce = [0; 16];
    SystemRandom::new().fill(&mut nonce).map_err(|_| "the system gives no entropy")?;
    let key = STANDARD.encode(nonce);
    let mut request = request(Method::GET, address, path, asking.token)?.map(|()| Full::default());
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).map_err(|error| error.to_string())?);
    for (name, value) in also {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(*name, value);
        }
    }
    let mut answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let said = reason(answer.into_body()).await;
        return Err(format!("it answered {status}: {said}"));
    }
    let accept = answer.headers().get(SEC_WEBSOCKET_ACCEPT).and_then(|value| value.to_str().ok());
    if accept != Some(&derive_accept_key(key.as_bytes())) {
        return Err(String::from("what answers is no WebSocket"));
    }
    let headers = answer.headers().clone();
    let upgraded = hyper::upgrade::on(&mut answer).await.map_err(|error| error.to_string())?;
    Ok(Dialled { upgraded, address: at, headers })
}

async fn reason(mut body: hyper::body::Incoming) -> String {
    let first = match body.frame().await {
        Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    };
    let said = String::from_utf8_lossy(first.get(..REASON_BYTES_MAX).unwrap_or(&first)).into_owned();
    said.trim().to_owned()
}

/// Connections for posting to one address, of which one is kept.
#[derive(Default)]
pub(super) struct Poster(Option<Sender>);

impl Poster {
    /// Posts a body as JSON; the status. The caller sets the deadline; a post that is given up may have
    /// arrived.
    pub(super) async fn post(
        &mut self,
        address: &Address,
        asking: &Asking<'_>,
        body: Bytes,
    ) -> Result<StatusCode, String> {
        let kept = self.0.take().filter(|sender| !sender.is_closed());
        let mut sender = match kept {
            Some(mut sender) => match sender.ready().await {
                Ok(()) => sender,
                Err(_) => open(address, asking).await?.0,
            },
            None => open(address, asking).await?.0,
        };
        let mut request = request(Method::POST, address, &address.path, asking.token)?.map(|()| Full::new(body));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        // The connection is good for more when the answer was read to its end; a long one is not waited for.
        let mut body = answer.into_body();
        for _ in 0..4 {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => break,
                None => {
                    self.0 = Some(sender);
                    break;
                }
            }
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_ports() {
        let check = |text: &str, scheme_port, expected: Option<(bool, &str, u16, &str)>| {
            let found = Address::parse(text, 7100, scheme_port).ok();
            let expected =
                expected.map(|(tls, host, port, path)| Address { tls, host: host.into(), port, path: path.into() });
            assert_eq!(found, expected, "{text}");
        };
        check("hub", false, Some((false, "hub", 7100, "")));
        check("hub:1/", false, Some((false, "hub", 1, "")));
        check("ws://hub", false, Some((false, "hub", 7100, "")));
        check("ws://hub", true, Some((false, "hub", 80, "")));
        check("https://hub/a/b", true, Some((true, "hub", 443, "/a/b")));
        check("wss://[::1]:9", true, Some((true, "[::1]", 9, "")));
        check("[::1]", false, Some((false, "[::1]", 7100, "")));
        for bad in ["", "ftp://x", "hub:port", "ws://", "a@b", "a b"] {
            check(bad, true, None);
        }
    }
}

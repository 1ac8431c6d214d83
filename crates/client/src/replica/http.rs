//! One request over HTTP/1.1, and its body as it comes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::connect::{Wire, believing};
use crate::limits::DIAL;
use crate::options::Authorities;
use crate::replica::error::ReplicaError;

/// Largest answer that is read as a whole, in bytes: a million users in a list.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of a refusal that are shown.
const REFUSAL_BYTES_MAX: usize = 400;

/// Whom requests go to.
#[derive(Clone)]
pub(crate) struct Server {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

fn away(error: impl std::fmt::Display) -> ReplicaError {
    ReplicaError::Away(error.to_string())
}

/// A small file, read beside the asynchronous tasks.
async fn read(file: &Path) -> Result<Vec<u8>, ReplicaError> {
    let path = file.to_owned();
    let read = spawn_blocking(move || std::fs::read(path)).await.map_err(std::io::Error::other).flatten();
    // It may be replaced just now.
    read.map_err(|error| ReplicaError::Away(format!("cannot read {}: {error}", file.display())))
}

/// The first line of a file, which is a secret: it is in no message.
pub(crate) async fn secret(file: &Path) -> Result<String, ReplicaError> {
    let bytes = read(file).await?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        return Err(ReplicaError::Away(format!("{} holds no secret", file.display())));
    }
    Ok(line.to_owned())
}

impl Server {
    /// Takes a URL apart, and reads the authorities where it is https.
    pub(crate) async fn new(url: &str, ca: Option<&Path>) -> Result<Self, ReplicaError> {
        let shown: String = url.chars().take(200).collect();
        let wrong = |why: &str| ReplicaError::Spec(format!("'{shown}' is no URL of a server: {why}"));
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong("it cannot be read"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("it begins neither with http nor with https")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(ReplicaError::Spec("a URL holds a password; name a file with it instead".to_owned()));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let tls = match (tls, ca) {
            (false, _) => None,
            (true, None) => Some(Authorities::System),
            (true, Some(file)) => Some(Authorities::Pem(read(file).await?)),
        };
        let tls = match tls {
            None => None,
            Some(authorities) => Some(believing(&authorities).await.map_err(|error| wrong(&error.to_string()))?),
        };
        Ok(Server { uri, host, port, tls })
    }

    /// Asks, with a deadline for the head of the answer.
    pub(crate) async fn get(
        &self,
        path: &str,
        headers: &[(HeaderName, String)],
    ) -> Result<Response<Incoming>, ReplicaError> {
        let late = || ReplicaError::Away(format!("no answer within {} s", DIAL.as_secs()));
        timeout(DIAL, Box::pin(self.get_slowly(path, headers))).await.map_err(|_| late())?
    }

    async fn get_slowly(
        &self,
        path: &str,
        headers: &[(HeaderName, String)],
    ) -> Result<Response<Incoming>, ReplicaError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(away)?;
        stream.set_nodelay(true).map_err(away)?;
        let wire = match &self.tls {
            None => Wire::Plain(stream),
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone()).map_err(away)?;
                let connector = TlsConnector::from(Arc::clone(tls));
                Wire::Tls(Box::new(connector.connect(name, stream).await.map_err(away)?))
            }
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(wire)).await.map_err(away)?;
        // It ends with its body.
        tokio::spawn(connection);
        let base = self.uri.path().trim_end_matches('/');
        let mut request = Request::get(format!("{base}{path}"))
            .header(HOST, self.uri.authority().map_or("", |authority| authority.as_str()))
            .header(USER_AGENT, concat!("tidings-client/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| ReplicaError::Spec(error.to_string()))?;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value);
            let mut value = value.map_err(|_| ReplicaError::Spec(format!("the header {name} cannot be sent")))?;
            value.set_sensitive(name != ACCEPT);
            request.headers_mut().insert(name, value);
        }
        let answer = sender.send_request(request).await.map_err(away)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let body = timeout(DIAL, whole(answer.into_body(), REFUSAL_BYTES_MAX * 16)).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        Err(ReplicaError::Refused { status, text: refusal(&body) })
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn get_whole(
        &self,
        path: &str,
        headers: &[(HeaderName, String)],
        wait: Duration,
    ) -> Result<Vec<u8>, ReplicaError> {
        let late = || ReplicaError::Away(format!("no whole answer within {} s", wait.as_secs()));
        let whole = async {
            let answer = self.get(path, headers).await?;
            whole(answer.into_body(), ANSWER_BYTES_MAX).await
        };
        timeout(wait, whole).await.map_err(|_| late())?
    }

    /// The path and query of the URL itself.
    pub(crate) fn own_path(&self) -> String {
        self.uri.query().map(|query| format!("?{query}")).unwrap_or_default()
    }
}

/// The header that presents a token.
pub(crate) fn bearer(token: &str) -> (HeaderName, String) {
    (AUTHORIZATION, format!("Bearer {token}"))
}

async fn whole(mut body: Incoming, max: usize) -> Result<Vec<u8>, ReplicaError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(away)?.into_data() {
            if bytes.len() + data.len() > max {
                return Err(ReplicaError::Away(format!("the answer has more than {max} bytes")));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// What a refusal says: the detail of its problem, or its beginning.
pub(crate) fn refusal(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    let text = detail.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).take(REFUSAL_BYTES_MAX).collect()
}

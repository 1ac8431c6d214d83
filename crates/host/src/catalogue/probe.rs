//! One look at a service: an HTTP request or a TCP connection, with an end.
//!
//! # Invariants
//! - Nothing is read beyond [`OUTPUT_BYTES_MAX`], and nothing takes longer than the check's timeout: a service that
//!   hangs, or answers for ever, costs one task and that much memory.
//! - Names are looked up on at most [`LOOKUPS_MAX`] threads, however long their servers are silent: those are the
//!   threads that the node's own blocking work needs too. An address that is written as one is not looked up.
//! - What a service answers is told as text; bytes that are none are replaced.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::Status;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_util::task::AbortOnDropHandle;

/// Bytes of an answer that are kept: the original's own number.
const OUTPUT_BYTES_MAX: usize = 4 * 1024;

/// Names that are looked up at a time. Each takes a thread until its servers answer or the system gives up, which no
/// timeout of a check ends.
const LOOKUPS_MAX: usize = 4;

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Probe {
    /// A request; 2xx is passing, 429 a warning, all else critical.
    Http {
        url: String,
        method: String,
        headers: Vec<(String, String)>,
        body: String,
        /// Whether any certificate is taken.
        unverified: bool,
    },
    /// A connection that comes about is passing.
    Tcp(String),
}

/// What every look needs.
pub(super) struct Means {
    trust: Trust,
    names: Names,
}

impl Means {
    /// Reads the system's authorities. Blocks.
    pub(super) fn read() -> Self {
        let resolve = |name: &str| name.to_socket_addrs().map(Iterator::collect);
        Means { trust: Trust::read(), names: Names::new(resolve) }
    }
}

/// Gives the addresses of a name with a port. Blocks.
type Resolve = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Finds the addresses of names.
struct Names {
    turns: Arc<Semaphore>,
    resolve: Arc<Resolve>,
}

impl Names {
    fn new(resolve: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Names { turns: Arc::new(Semaphore::new(LOOKUPS_MAX)), resolve: Arc::new(resolve) }
    }

    /// The addresses of a name with a port.
    async fn find(&self, name: &str) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|error| error.to_string())?;
        let (resolve, name) = (Arc::clone(&self.resolve), name.to_owned());
        // The thread keeps the turn, whether somebody still waits for it or not.
        let found = spawn_blocking(move || {
            let found = resolve(&name);
            drop(turn);
            found
        });
        found.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

/// What certificates are checked by.
struct Trust {
    /// The system's authorities, where it has any.
    verified: Option<Arc<ClientConfig>>,
    /// Nothing.
    unverified: Option<Arc<ClientConfig>>,
}

impl Trust {
    /// Reads the system's authorities. Blocks.
    fn read() -> Self {
        Trust { verified: link::client_config(&link::ClientFiles::default()).ok(), unverified: unverified() }
    }
}

fn unverified() -> Option<Arc<ClientConfig>> {
    let provider = Arc::new(default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().ok()?;
    let verifier = Arc::new(Unverified(provider));
    Some(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// Takes any certificate, for checks that ask for that; that the other side has its key is checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What came of it.
pub(super) struct Finding {
    pub(super) status: Status,
    pub(super) output: String,
}

/// Looks, for so long at most.
pub(super) async fn look(probe: &Probe, within: Duration, means: &Means) -> Finding {
    let Means { trust, names } = means;
    let (what, looked) = match probe {
        Probe::Tcp(address) => (format!("TCP connect {address}"), timeout(within, tcp(address, names)).await),
        Probe::Http { url, method, headers, body, unverified } => {
            let tls = if *unverified { trust.unverified.as_ref() } else { trust.verified.as_ref() };
            (format!("HTTP {method} {url}"), timeout(within, http(url, (method, headers, body), tls, names)).await)
        }
    };
    match looked {
        Ok(Ok((status, said))) => Finding { status, output: format!("{what}: {said}") },
        Ok(Err(reason)) => Finding { status: Status::Critical, output: format!("{what}: {reason}") },
        Err(_) => Finding { status: Status::Critical, output: format!("{what}: no answer within {within:?}") },
    }
}

async fn tcp(address: &str, names: &Names) -> Result<(Status, String), String> {
    connect(address, names).await?;
    Ok((Status::Passing, String::from("Success")))
}

/// The first address of a name that takes a connection.
async fn connect(name: &str, names: &Names) -> Result<TcpStream, String> {
    let mut refused = String::from("the name has no address");
    for address in names.find(name).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error.to_string(),
        }
    }
    Err(refused)
}

async fn http(
    url: &str,
    (method, headers, body): (&str, &[(String, String)], &str),
    tls: Option<&Arc<ClientConfig>>,
    names: &Names,
) -> Result<(Status, String), String> {
    let uri: Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    let host = uri.host().ok_or("the URL names no host")?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(String::from("the URL begins with neither http:// nor https://")),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = connect(&format!("{host}:{port}"), names).await?;
    let request = request(&uri, method, headers, body)?;
    if !secure {
        return ask(stream, request).await;
    }
    let tls = tls.ok_or("this node has no authorities to check a certificate by")?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| error.to_string())?;
    let connected = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
    ask(connected.map_err(|error| error.to_string())?, request).await
}

fn request(uri: &Uri, method: &str, headers: &[(String, String)], body: &str) -> Result<Request<Full<Bytes>>, String> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("'{method}' is not a method"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| String::from("the URL's path is none"))?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let own =
        [(HOST.as_str(), authority), (USER_AGENT.as_str(), "Tidings Health Check"), ("accept", "text/plain, */*")];
    let theirs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.into_iter().chain(theirs) {
        let header = HeaderName::try_from(name).map_err(|_| format!("'{name}' is not a header's name"))?;
        // A value may be a secret: it is not told.
        let value = HeaderValue::try_from(value).map_err(|_| format!("the value of the header '{name}' is not fit"))?;
        request.headers_mut().insert(header, value);
    }
    Ok(request)
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(Status, String), String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // What it fails of is told to who waits for the answer.
    let _connected = AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let said = beginning(answer).await;
    let judged = match status {
        status if status.is_success() => Status::Passing,
        StatusCode::TOO_MANY_REQUESTS => Status::Warning,
        _ => Status::Critical,
    };
    Ok((judged, format!("{status} Output: {said}")))
}

/// As much of an answer as is kept.
async fn beginning(mut answer: Response<hyper::body::Incoming>) -> String {
    let mut kept = Vec::new();
    while kept.len() < OUTPUT_BYTES_MAX {
        // An answer that breaks off has said what it has said.
        let Some(Ok(frame)) = answer.body_mut().frame().await else { break };
        if let Some(data) = frame.data_ref() {
            let room = OUTPUT_BYTES_MAX - kept.len();
            kept.extend(data.iter().take(room));
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        let names = Names::new(|_| panic!("looked up"));
        for address in ["127.0.0.1:80", "[::1]:80"] {
            assert_eq!(names.find(address).await, Ok(vec![address.parse().unwrap()]));
        }
    }

    #[tokio::test]
    async fn names_whose_servers_are_silent_take_few_threads() {
        let under_way = Arc::new(AtomicUsize::new(0));
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (release, released) = mpsc::channel::<()>();
        let (count, released) = (Arc::clone(&under_way), parking_lot::Mutex::new(released));
        let names = Arc::new(Names::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            begun.send(()).unwrap();
            // Ends when nobody holds what releases it.
            let _released = released.lock().recv();
            Ok(Vec::new())
        }));
        let finds: Vec<_> = (0..20)
            .map(|place| {
                let names = Arc::clone(&names);
                tokio::spawn(async move { names.find(&format!("n{place}.example:80")).await })
            })
            .collect();
        for _ in 0..LOOKUPS_MAX {
            begins.recv().await.unwrap();
        }
        // Nobody waits for them any more, and still their threads are taken.
        finds[..LOOKUPS_MAX].iter().for_each(tokio::task::JoinHandle::abort);
        tokio::task::yield_now().await;
        assert_eq!((under_way.load(Ordering::SeqCst), names.turns.available_permits()), (LOOKUPS_MAX, 0));
        drop(release);
        for find in finds.into_iter().skip(LOOKUPS_MAX) {
            assert_eq!(find.await.unwrap(), Ok(Vec::new()));
        }
    }
}

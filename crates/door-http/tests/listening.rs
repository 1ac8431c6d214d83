//! The listening, over real sockets: both protocols, TLS, time limits, idle crowds, an orderly end.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use door::Port;
use door_http::limits::HEAD_WAIT_MAX;
use door_http::{Options, router, serve};
use event::Moment;
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use journal::local::Local;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

struct Served {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn served(tls: Option<Arc<ServerConfig>>) -> Served {
    let local = Local::new(Arc::new(|| Moment::from_nanos(1)));
    let shutdown = CancellationToken::new();
    let options = Options { shutdown: shutdown.clone(), ..Options::default() };
    let port = Port::open(Arc::new(local));
    let config = journal::StreamConfig::new("S", [event::Pattern::parse("a.>").unwrap()]);
    port.stream_put(&door::Principal::anyone(), config).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(serve(listener, tls, router(port, options), shutdown.clone()));
    Served { address, shutdown, task }
}

async fn connect(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()
}

async fn over_http1(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let answer = sender.send_request(get("/healthz")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "alive\n");
    }
}

async fn over_http2(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answers: Vec<_> = (0..20).map(|_| sender.send_request(get("/healthz"))).collect();
    for answer in answers {
        assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn both_protocols_are_spoken_on_one_port() {
    let served = served(None).await;
    over_http1(connect(&served).await).await;
    over_http2(connect(&served).await).await;
}

#[tokio::test]
async fn tls_chooses_the_protocol() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(pair.cert.pem().as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let mut config = builder.unwrap().with_no_client_auth().with_single_cert(chain.clone(), key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let served = served(Some(Arc::new(config))).await;
    for protocol in ["h2", "http/1.1"] {
        let mut roots = RootCertStore::empty();
        roots.add(chain[0].clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let mut client = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(client)).connect(name, connect(&served).await).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        if protocol == "h2" { over_http2(stream).await } else { over_http1(stream).await }
    }
    // A client that speaks no TLS is turned away, and the next one is served.
    let mut plain = connect(&served).await;
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _reset_or_alert = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"));
}

/// How long a connection lives that sends these bytes and no more.
async fn lives(served: &Served, sent: &[u8]) -> Duration {
    let mut stream = connect(served).await;
    let began = tokio::time::Instant::now();
    stream.write_all(sent).await.unwrap();
    let mut rest = Vec::new();
    let _closed = stream.read_to_end(&mut rest).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_never_ends_is_not_kept() {
    let served = served(None).await;
    let about = |lived: Duration| lived >= HEAD_WAIT_MAX && lived < HEAD_WAIT_MAX * 2 + Duration::from_secs(1);
    for sent in [&b""[..], b"P", b"GET / HTTP/1.1\r\nhost: x\r\nx: ", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let lived = lives(&served, sent).await;
        assert!(about(lived), "{}: {lived:?}", String::from_utf8_lossy(sent));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_408() {
    let served = served(None).await;
    let mut stream = connect(&served).await;
    stream.write_all(b"POST /v1/publish/a.b HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_crowd_of_idle_connections_keeps_nobody_out() {
    let served = served(None).await;
    let mut crowd = Vec::new();
    for place in 0..1_000 {
        let mut stream = connect(&served).await;
        if place % 2 == 0 {
            stream.write_all(b"GET /v1/streams/S/mess").await.unwrap();
        }
        crowd.push(stream);
    }
    over_http1(connect(&served).await).await;
    drop(crowd);
}

#[tokio::test]
async fn shutdown_ends_what_goes_on_for_ever() {
    let served = served(None).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(connect(&served).await)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("/v1/streams/S/messages").header("accept", "text/event-stream");
    let answer = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut body = answer.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    let idle = connect(&served).await;
    served.shutdown.cancel();
    assert!(body.frame().await.is_none(), "the following ends in order");
    served.task.await.unwrap();
    connection.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_fetch() {
    let served = served(None).await;
    let ask = async |line: &str, body: &str| {
        let mut stream = connect(&served).await;
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let text = async |mut stream: TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let consumer = "/v1/streams/S/consumers/c";
    assert!(text(ask(&format!("PUT {consumer}"), "{}").await).await.starts_with("HTTP/1.1 201"));
    let waits = ask(&format!("POST {consumer}/fetch"), r#"{"batch":10,"wait":"1h"}"#).await;
    while !text(ask(&format!("GET {consumer}"), "").await).await.contains(r#""waiting":1"#) {
        tokio::task::yield_now().await;
    }
    assert!(text(ask("POST /v1/publish/a.b", "one").await).await.starts_with("HTTP/1.1 201"));
    drop(waits);
    loop {
        let answer = text(ask(&format!("POST {consumer}/fetch"), r#"{"batch":1}"#).await).await;
        if answer.contains(r#""data":"one""#) {
            break;
        }
        tokio::task::yield_now().await;
    }
}

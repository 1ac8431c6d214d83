//! Both listeners over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use door::Access;
use door_consul::Options;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::streams::{Call, health};
use crate::support::{Client, Served, serve_with};

/// A node whose listeners present a certificate, and what trusts it.
async fn serve() -> (Served, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let server = Arc::new(server.with_single_cert(vec![made.cert.der().clone()], key).unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let tls: door_consul::Tls = Arc::new(move || Arc::clone(&server));
    let options = Options { tls: Some(Arc::clone(&tls)), grpc_tls: Some(tls), ..Options::default() };
    (serve_with(options, Access::open()).await, client)
}

/// A connection that offers these protocols.
async fn connect(address: SocketAddr, trust: &ClientConfig, offers: &[&str]) -> TlsStream<TcpStream> {
    let mut config = trust.clone();
    config.alpn_protocols = offers.iter().map(|offer| offer.as_bytes().to_vec()).collect();
    let (socket, name) = (TcpStream::connect(address).await.unwrap(), ServerName::try_from("localhost").unwrap());
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
}

const WEB: &str = r#"{"Node":"n1","Address":"10.0.0.1","Service":{"ID":"web1","Service":"web","Port":80}}"#;

#[tokio::test]
async fn http_one_is_written_read_blocked_and_followed_over_tls() {
    let (node, trust) = serve().await;
    let client = async |offers: &[&str]| Client::over(connect(node.address, &trust, offers).await);
    let mut writer = client(&["http/1.1"]).await;
    assert_eq!(writer.ask("PUT", "/v1/catalog/register", WEB).await.text(), "true");
    let mut reader = client(&[]).await;
    let first = reader.ask("GET", "/v1/health/service/web", "").await;
    assert_eq!(first.json()[0]["Service"]["Port"], 80);
    reader.send("GET", &format!("/v1/health/service/web?index={}", first.index()), "", b"").await;
    node.until("it is blocked", |counts| counts.blocked == 1).await;
    let mut follower = client(&["http/1.1"]).await;
    follower.send("GET", "/v1/health/service/web", "Accept: text/event-stream\r\n", b"").await;
    follower.events("event: end").await;
    assert_eq!(writer.ask("PUT", "/v1/catalog/register", &WEB.replace(":80", ":81")).await.text(), "true");
    let woken = reader.reply().await;
    assert_eq!(woken.json()[0]["Service"]["Port"], 81);
    assert!(woken.index() > first.index());
    assert!(follower.events("event: put").await[0].contains("\"Port\":81"));
    reader.send("GET", &format!("/v1/health/service/web?index={}", woken.index()), "", b"").await;
    node.until("it is blocked again", |counts| counts.blocked == 1).await;
    drop((reader, follower));
    node.until("who leaves is gone", |counts| (counts.blocked, counts.connections) == (0, 1)).await;
}

#[tokio::test]
async fn grpc_is_told_over_tls() {
    let (node, trust) = serve().await;
    let mut writer = Client::over(connect(node.address, &trust, &[]).await);
    assert_eq!(writer.ask("PUT", "/v1/catalog/register", WEB).await.text(), "true");
    let stream = connect(node.door.grpc_address().unwrap(), &trust, &["h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let mut call = Call::over(stream, &health("web", 0, "")).await;
    assert!(call.next().await.unwrap().health.is_some());
    assert!(call.next().await.unwrap().end);
    assert_eq!(writer.ask("PUT", "/v1/catalog/register", &WEB.replace(":80", ":81")).await.text(), "true");
    assert!(call.next().await.unwrap().health.is_some());
}

#[tokio::test]
async fn who_speaks_no_tls_is_not_answered() {
    let (node, _) = serve().await;
    let mut plain = node.client().await;
    plain.send("GET", "/v1/catalog/services", "", b"").await;
    plain.ended().await;
}

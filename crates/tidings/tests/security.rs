//! Tokens and TLS of the real binary, and taking up new ones while it runs.

#![allow(clippy::unwrap_used, reason = "a test")]

mod process;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use process::{Answer, Running, ask, until};
use rustix::process::Signal;
use tempfile::{TempDir, tempdir};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const OLD: &str = "old-token-0123456789abcdef";
const NEW: &str = "new-token-0123456789abcdef";

fn write_tokens(path: &Path, token: &str) {
    let text = format!(
        "tokens:\n  - name: one\n    token: {token}\n    publish: [events.mine.>]\n    read: [events.mine.>]\n"
    );
    // Renamed into place, as careful tools do.
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, path).unwrap();
}

fn publish(node: &Running, subject: &str, token: Option<&str>) -> u16 {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    node.ask("POST", &format!("/v1/publish/{subject}"), &headers, b"x").status
}

#[test]
fn a_token_allows_what_its_patterns_say_and_is_never_shown() {
    let dir = tempdir().unwrap();
    let tokens = dir.path().join("tokens.yaml");
    write_tokens(&tokens, OLD);
    let node = Running::start(&dir.path().join("data"), &["--tokens", tokens.to_str().unwrap(), "--log", "trace"]);
    assert_eq!(publish(&node, "events.mine.a", Some(OLD)), 201);
    assert_eq!(publish(&node, "events.other", Some(OLD)), 403);
    assert_eq!(publish(&node, "events.mine.a", Some(NEW)), 401);
    assert_eq!(publish(&node, "events.mine.a", None), 401);
    assert_eq!(node.get("/healthz").status, 200);
    let welcome = node.welcome.join("\n");
    let said = node.stop();
    for text in [welcome, said] {
        assert!(!text.contains(OLD) && !text.contains(NEW), "{text}");
    }
}

#[test]
fn tokens_are_taken_up_at_a_signal_and_when_their_file_changes() {
    let dir = tempdir().unwrap();
    let tokens = dir.path().join("tokens.yaml");
    write_tokens(&tokens, OLD);
    let node = Running::start(&dir.path().join("data"), &["--tokens", tokens.to_str().unwrap()]);
    write_tokens(&tokens, NEW);
    node.signal(Signal::HUP);
    until("the new token is known", || publish(&node, "events.mine.a", Some(NEW)) == 201);
    assert_eq!(publish(&node, "events.mine.a", Some(OLD)), 401);

    std::fs::write(&tokens, "tokens: [").unwrap();
    node.signal(Signal::HUP);
    write_tokens(&tokens, OLD);
    until("the file's change is noticed", || publish(&node, "events.mine.a", Some(OLD)) == 201);
    assert_eq!(publish(&node, "events.mine.a", Some(NEW)), 401);
    node.stop();
}

struct Pair {
    _dir: TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let pair = Pair { _dir: dir, certificate, key };
        pair.replace();
        pair
    }

    fn replace(&self) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&self.key, pair.signing_key.serialize_pem()).unwrap();
        std::fs::write(&self.certificate, pair.cert.pem()).unwrap();
    }

    /// Asks a node that must present this very certificate.
    fn get(&self, node: &Running, path: &str) -> Result<Answer, std::io::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.certificate).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(client, TcpStream::connect(node.http()).unwrap());
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(ask(stream, "GET", path, &[], b""))
    }
}

#[test]
fn a_certificate_is_replaced_while_the_node_runs() {
    let dir = tempdir().unwrap();
    let pair = Pair::new();
    let (certificate, key) = (pair.certificate.to_str().unwrap(), pair.key.to_str().unwrap());
    let node = Running::start(dir.path(), &["--tls-cert", certificate, "--tls-key", key]);
    assert!(node.ports.tls && node.welcome.iter().any(|line| line.contains("https://")));
    assert_eq!(pair.get(&node, "/healthz").unwrap().status, 200);

    pair.replace();
    node.signal(Signal::HUP);
    until("the new certificate is presented", || pair.get(&node, "/healthz").is_ok());

    pair.replace();
    until("the files' change is noticed", || pair.get(&node, "/healthz").is_ok());

    let plain = std::panic::catch_unwind(|| node.get("/healthz").status);
    assert!(plain.is_err() || plain.unwrap() == 400, "plain HTTP is not answered on a TLS door");
    node.stop();
}

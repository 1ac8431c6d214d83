//! TLS at both ends, with and without certificates of clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use link::{
    ClientFiles, ListenOptions, Pushed, Secret, ServerFiles, ServerTls, Target, TargetOptions, TlsError, client_config,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::support::{Memory, NOW, SECRET, fact, served};

/// An authority, and files of certificates that it gave.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { dir, issuer }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for a name, and its key.
    fn give(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let path = |kind: &str| self.dir.path().join(format!("{name}.{kind}.pem"));
        std::fs::write(path("crt"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("crt"), path("key"))
    }

    fn server(&self, name: &str, clients: Option<PathBuf>) -> Arc<ServerTls> {
        let (certificate, key) = self.give(name);
        Arc::new(ServerTls::read(ServerFiles { certificate, key, client_authorities: clients }).unwrap())
    }
}

/// Pushes a fact to a listener over TLS, and says how it went.
async fn push(tls: Arc<ServerTls>, files: ClientFiles, server_name: Option<&str>) -> Result<(), String> {
    let served = served(Memory::new(), Some(tls), ListenOptions::default()).await;
    let options = TargetOptions {
        tls: Some(client_config(&files).unwrap()),
        server_name: server_name.map(str::to_owned),
        ..TargetOptions::default()
    };
    let target = Target::new(&format!("https://{}", served.address), options).unwrap();
    match target.push_one(&Secret::new(SECRET), NOW, fact("1")).await {
        Pushed::Accepted { .. } => Ok(()),
        Pushed::Refused { text, .. } | Pushed::Failed { text } => Err(text),
    }
}

fn trusting(authority: &Authority) -> ClientFiles {
    ClientFiles { authorities: Some(authority.path()), identity: None }
}

#[tokio::test]
async fn a_peer_shows_a_certificate_of_an_authority_for_its_name() {
    let (ours, other) = (Authority::new(), Authority::new());
    assert_eq!(push(ours.server("127.0.0.1", None), trusting(&ours), None).await, Ok(()));
    assert_eq!(push(ours.server("cloud.example", None), trusting(&ours), Some("cloud.example")).await, Ok(()));
    let wrong_name = push(ours.server("cloud.example", None), trusting(&ours), None).await.unwrap_err();
    assert!(wrong_name.starts_with("TLS: ") && wrong_name.contains("name"), "{wrong_name}");
    let stranger = push(other.server("127.0.0.1", None), trusting(&ours), None).await.unwrap_err();
    assert!(stranger.starts_with("TLS: invalid peer certificate"), "{stranger}");
}

#[tokio::test]
async fn a_listener_may_ask_for_certificates_of_clients() {
    let (ours, other) = (Authority::new(), Authority::new());
    let tls = || ours.server("127.0.0.1", Some(ours.path()));
    let with = |identity| ClientFiles { identity: Some(identity), ..trusting(&ours) };
    assert_eq!(push(tls(), with(ours.give("site-a")), None).await, Ok(()));
    assert!(push(tls(), with(other.give("site-a")), None).await.is_err());
    assert!(push(tls(), trusting(&ours), None).await.is_err());
}

#[tokio::test]
async fn a_certificate_is_replaced_while_the_listener_runs() {
    let (first, second) = (Authority::new(), Authority::new());
    let tls = first.server("127.0.0.1", None);
    let served = served(Memory::new(), Some(Arc::clone(&tls)), ListenOptions::default()).await;
    let push = async |authority: &Authority| {
        let tls = Some(client_config(&trusting(authority)).unwrap());
        let target = Target::new(&format!("https://{}", served.address), TargetOptions { tls, ..Default::default() });
        target.unwrap().push_one(&Secret::new(SECRET), NOW, fact("1")).await
    };
    assert!(matches!(push(&first).await, Pushed::Accepted { .. }));
    let (certificate, key) = second.give("127.0.0.1");
    std::fs::copy(certificate, &tls.files().certificate).unwrap();
    // Half of a pair is not taken.
    assert!(tls.reload().is_err());
    assert!(matches!(push(&first).await, Pushed::Accepted { .. }));
    std::fs::copy(key, &tls.files().key).unwrap();
    tls.reload().unwrap();
    assert!(matches!(push(&second).await, Pushed::Accepted { .. }));
    assert!(matches!(push(&first).await, Pushed::Failed { .. }));
}

#[tokio::test]
async fn a_client_is_given_another_certificate_while_it_pushes() {
    let (ours, other) = (Authority::new(), Authority::new());
    let with = |identity| client_config(&ClientFiles { identity: Some(identity), ..trusting(&ours) }).unwrap();
    let served =
        served(Memory::new(), Some(ours.server("127.0.0.1", Some(ours.path()))), ListenOptions::default()).await;
    let options = TargetOptions { tls: Some(with(other.give("site-a"))), ..TargetOptions::default() };
    let target = Target::new(&format!("https://{}", served.address), options).unwrap();
    let push = async || target.push_one(&Secret::new(SECRET), NOW, fact("1")).await;
    assert!(matches!(push().await, Pushed::Failed { .. }));
    target.set_tls(with(ours.give("site-a")));
    assert!(matches!(push().await, Pushed::Accepted { .. }));
    target.set_tls(with(other.give("site-a")));
    assert!(matches!(push().await, Pushed::Failed { .. }));
}

#[tokio::test]
async fn plain_http_to_a_tls_listener_and_back_are_failures() {
    let ours = Authority::new();
    let tls = served(Memory::new(), Some(ours.server("127.0.0.1", None)), ListenOptions::default()).await;
    let target = Target::new(&format!("http://{}", tls.address), TargetOptions::default()).unwrap();
    let plain = target.push_one(&Secret::new(SECRET), NOW, fact("1")).await;
    assert!(matches!(plain, Pushed::Failed { .. }), "{plain:?}");
    let plain = served(Memory::new(), None, ListenOptions::default()).await;
    let options = TargetOptions { tls: Some(client_config(&trusting(&ours)).unwrap()), ..TargetOptions::default() };
    let target = Target::new(&format!("https://{}", plain.address), options).unwrap();
    let tls = target.push_one(&Secret::new(SECRET), NOW, fact("1")).await;
    assert!(matches!(tls, Pushed::Failed { .. }), "{tls:?}");
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let ours = Authority::new();
    let (certificate, key) = ours.give("a");
    let refused = |certificate: &Path, key: &Path| {
        let files = ServerFiles { certificate: certificate.into(), key: key.into(), client_authorities: None };
        ServerTls::read(files).unwrap_err()
    };
    assert!(matches!(refused(&key, &key), TlsError::Unusable { what: "certificate", .. }));
    assert!(matches!(refused(&certificate, &certificate), TlsError::Unusable { what: "private key", .. }));
    assert!(matches!(refused(&certificate, &ours.give("b").1), TlsError::Refused { .. }));
    assert!(refused(Path::new("/nowhere"), &key).to_string().contains("/nowhere"));
    assert!(client_config(&ClientFiles::default()).is_ok());
}

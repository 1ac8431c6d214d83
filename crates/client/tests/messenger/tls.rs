//! The same over TLS.

use std::sync::Arc;

use client::{Authorities, ConnectError, Messenger, Options};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_tungstenite::accept_async;

use crate::support::{Hub, Peer, quick, receives, soon};

#[tokio::test]
async fn a_hub_whose_authority_is_known_is_believed_and_no_other() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (acceptor, hub) = (TlsAcceptor::from(Arc::new(config)), Hub::start().await);
    let url = format!("wss://{}", hub.address);
    let accept = async {
        let (stream, _) = soon(hub.listener.accept()).await.unwrap();
        let stream = Box::new(soon(acceptor.accept(stream)).await.ok()?);
        Some(Peer(soon(accept_async(stream)).await.unwrap()))
    };

    let known = Options { authorities: Authorities::Pem(made.cert.pem().into_bytes()), ..quick() };
    let (messenger, peer) = tokio::join!(Messenger::connect(&url, known), accept);
    let (messenger, mut peer) = (messenger.unwrap(), peer.unwrap());
    messenger.send("A", "over TLS").await.unwrap();
    peer.expect(&["A\nover TLS"]).await;
    peer.event("A\nback").await;
    receives(&messenger, &[("A", "back")]).await;

    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let unknown = Options { authorities: Authorities::Pem(other.cert.pem().into_bytes()), ..quick() };
    let accept = async {
        let (stream, _) = soon(hub.listener.accept()).await.unwrap();
        acceptor.accept(stream).await.is_err()
    };
    let (refused, failed) = tokio::join!(Messenger::connect(&url, unknown), accept);
    assert!(matches!(refused.unwrap_err(), ConnectError::Unreachable(_)) && failed);
    let none = Options { authorities: Authorities::Pem(Vec::new()), ..quick() };
    assert!(matches!(Messenger::connect(&url, none).await.unwrap_err(), ConnectError::Tls(_)));
}

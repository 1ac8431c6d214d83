//! Who may connect as what, and which rooms he may send to and hear; TLS.

use std::sync::Arc;

use door::Access;
use door_hub::{Bearer, Link, Options};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::support::{Client, get, post, request, serve, serve_with, token};

#[tokio::test]
async fn tokens_say_who_may_connect_as_what() {
    let access = Access::tokens([token("room-a", &["room.A"]), token("hub", &["room.>"])]);
    let served = serve_with(Options::default(), access.clone()).await;
    let at = served.address;
    let named = Options { hubs: Some(vec!["room-a".into()]), ..Options::default() };
    let listed = serve_with(named, access).await.address;
    for (at, path, token, expected) in [
        (at, "/connect/messenger", "", Some(401)),
        (at, "/connect/messenger", "wrong", Some(401)),
        (at, "/connect/messenger", "room-a", None),
        (at, "/connect/hub", "room-a", Some(403)),
        (at, "/connect/repeater", "room-a", Some(403)),
        (at, "/connect/hub", "hub", None),
        (at, "/connect/repeater", "hub", None),
        (listed, "/connect/hub", "room-a", None),
        (listed, "/connect/hub", "hub", Some(403)),
    ] {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", &*bearer)];
        let headers = if token.is_empty() { &[][..] } else { &headers };
        assert_eq!(Client::with(at, path, headers).await.err(), expected, "{path} {token}");
    }
    assert!(Client::with(at, "/connect/messenger?token=room-a", &[]).await.is_ok());
    assert_eq!(get(at, "/status").await.0, 401);
    assert_eq!(get(at, "/health").await.0, 200);
    assert_eq!(post(at, "/interconnect/x", "").await.0, 401);
}

#[tokio::test]
async fn a_messenger_sends_to_and_hears_its_own_rooms() {
    let access = Access::tokens([token("room-a", &["room.A"]), token("all", &["room.>"])]);
    let served = serve_with(Options::default(), access).await;
    let mut all = Client::new(served.address, "/connect/messenger?token=all").await;
    all.subscribe(&["*"]).await;
    let mut limited = Client::new(served.address, "/connect/messenger?token=room-a").await;
    limited.subscribe(&["A", "B"]).await;
    let mut every = Client::new(served.address, "/connect/messenger?token=room-a").await;
    every.subscribe(&["*"]).await;
    limited.binary("B\n1").await;
    limited.binary("A\n2").await;
    all.hears("A\n\n2").await;
    every.hears("A\n\n2").await;
    assert_eq!(served.dropped("not-allowed"), 1);
    all.binary("B\n3").await;
    all.binary("A\n4").await;
    limited.hears("A\n\n4").await;
    every.hears("A\n\n4").await;
    let body = br#"{"affected-room":{"roomID":"B"}}"#;
    let head = "POST /event HTTP/1.1\r\nAuthorization: Bearer room-a";
    let (status, _, why) = request(served.address, head, body).await;
    assert!(status == 403 && why.contains("'B'"), "{why}");
}

#[tokio::test]
async fn hubs_link_over_tls_with_a_token() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let server =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let server = Arc::new(server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
    let tls: door_hub::Tls = Arc::new(move || Arc::clone(&server));
    let access = Access::tokens([token("hub", &["room.>"])]);
    let far = serve_with(Options { node: "far".into(), tls: Some(tls), ..Options::default() }, access).await;
    let near = serve(Options { node: "near".into(), ..Options::default() }).await;
    let link = |token: &str| Link {
        token: Some(Bearer(token.into())),
        tls: Some(Arc::clone(&client)),
        ..Link::new(token, format!("wss://localhost:{}", far.address.port()))
    };
    near.door.set_links(vec![link("wrong")]);
    near.until("it is refused", |door| {
        door.status()["links"][0]["error"].as_str().is_some_and(|error| error.contains("401"))
    })
    .await;
    near.door.set_links(vec![link("hub")]);
    near.until("it is up", |door| door.counts().links_up == 1).await;
    let mut heard =
        far.port.subscribe(&door::Principal::anyone(), &[event::Pattern::parse("room.*").unwrap()]).unwrap();
    let mut sender = near.client("messenger").await;
    let body = "x".repeat(900_000);
    for turn in 0..3 {
        sender.binary(format!("R\n{turn}{body}")).await;
    }
    for turn in 0..3 {
        let Some(door::Heard::Message(message)) = heard.next().await else { panic!("nothing came") };
        assert_eq!(message.payload, format!("{turn}{body}"));
    }
}

//! Links to other domains, as a controller tells them.

use std::net::SocketAddr;
use std::sync::Arc;

use door::{Access, Token, TokenHash};
use door_slim::codec::{Encoded, component};
use door_slim::{Dial, Options, Present, Presented, Reins, Route};
use event::Pattern;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::support::*;

async fn led(node: &str) -> (Served, Reins) {
    let served = serve(options(node)).await;
    let reins = served.door.reins();
    (served, reins)
}

fn options(node: &str) -> Options {
    Options { node: node.to_owned(), domain: node.to_owned(), led: true, ..Options::default() }
}

fn dial(link: &str, to: &Served) -> Dial {
    Dial { link: link.to_owned(), address: to.address.to_string(), tls: false, shows: true }
}

fn route(To(components, id): To, link: &str) -> Route {
    Route { name: Encoded { components, id }, texts: None, link: link.to_owned() }
}

/// Listens at an address that was in use until now.
fn listener(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(16).unwrap()
}

/// Waits until a link of this name that another dialled is up.
async fn took(reins: &Reins, link: &str) {
    let up = async {
        while reins.taken().iter().all(|(name, _)| name != link) {
            reins.changed().await;
        }
    };
    timeout(PATIENCE, up).await.expect("the link comes up");
}

/// Waits until it is, and its names are there again.
async fn is_up(reins: &Reins, link: &str) {
    let up = async {
        while reins.dialled(link).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, up).await.expect("the link comes up");
}

#[tokio::test]
async fn what_a_controller_tells_is_dialled_and_names_lead_over_it_both_ways() {
    for enforce_pqc in [false, true] {
        let serve = |node: &str| serve(Options { enforce_pqc, ..options(node) });
        let (a, b) = (serve("a").await, serve("b").await);
        let (one, other) = (a.door.reins(), b.door.reins());
        one.set_links(vec![dial("l", &b)]);
        assert_eq!(one.dialled("l").await, Ok(()));
        took(&other, "l").await;
        let shown: Vec<_> = one.links().into_iter().map(|link| (link.link, link.is_outgoing, link.node)).collect();
        assert_eq!(shown, [(String::from("l"), true, String::from("b"))]);
        if enforce_pqc {
            continue;
        }
        let mut alice = Client::open_as(a.address, "alice", 2, None).await;
        let mut bob = Client::open_as(b.address, "bob", 2, None).await;
        alice.subscribe(one_of(4)).await;
        bob.subscribe(one_of(3)).await;
        assert_eq!(one.set_routes(&[route(one_of(3), "l")]), [Ok(())]);
        assert_eq!(other.set_routes(&[route(one_of(4), "l")]), [Ok(())]);
        for name in [any(3), one_of(3)] {
            for fanout in [1, 256] {
                alice.publish(&Head { fanout, ..Head::to(name) }, b"over").await;
                bob.gets(b"over").await;
            }
        }
        bob.publish(&Head::to(any(4)), b"and back").await;
        alice.gets(b"and back").await;
        // No longer told: it leads nowhere.
        assert_eq!(one.set_routes(&[]), []);
        alice.publish(&Head::to(any(3)), b"nobody").await;
        assert_eq!(alice.told().await["error"], "nobody subscribed the name");
        bob.hears_nothing().await;
    }
}

fn one_of(third: u64) -> To {
    one(third, 10)
}

#[tokio::test]
async fn a_link_that_is_not_there_says_so_and_its_names_are_there_as_soon_as_it_is() {
    let (a, one) = led("a").await;
    let address = listener("127.0.0.1:0".parse().unwrap()).local_addr().unwrap();
    one.set_links(vec![Dial { link: String::from("l"), address: address.to_string(), tls: false, shows: false }]);
    assert!(one.dialled("l").await.is_err());
    assert!(one.dialled("other").await.is_err());
    assert_eq!(one.set_routes(&[route(any(3), "l")]), [Err(String::from("connection not found"))]);
    let b = serve_at(listener(address), options("b"), Access::open());
    let mut bob = Client::open_as(b.address, "bob", 2, None).await;
    bob.subscribe(any(3)).await;
    is_up(&one, "l").await;
    let alice = Client::open_as(a.address, "alice", 2, None).await;
    alice.publish(&Head::to(any(3)), b"over").await;
    bob.gets(b"over").await;
    // It goes with what it was, and comes back.
    b.door.close().await;
    while one.dialled("l").await.is_ok() {
        tokio::task::yield_now().await;
    }
    let b = serve_at(listener(address), options("b"), Access::open());
    let mut bob = Client::open_as(b.address, "bob", 2, None).await;
    bob.subscribe(any(3)).await;
    is_up(&one, "l").await;
    alice.publish(&Head::to(any(3)), b"again").await;
    bob.gets(b"again").await;
    one.set_links(Vec::new());
    assert!(one.dialled("l").await.is_err());
    let gone = async {
        while b.door.counts().links > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("a link that is no longer told ends");
}

#[tokio::test]
async fn a_hub_hands_on_what_comes_over_one_link_to_another_and_never_back() {
    let ((a, ra), (hub, rh), (b, rb)) = (led("a").await, led("hub").await, led("b").await);
    ra.set_links(vec![dial("to-a", &hub)]);
    rb.set_links(vec![dial("to-b", &hub)]);
    assert_eq!((ra.dialled("to-a").await, rb.dialled("to-b").await), (Ok(()), Ok(())));
    took(&rh, "to-a").await;
    took(&rh, "to-b").await;
    let mut bob = Client::open_as(b.address, "bob", 2, None).await;
    bob.subscribe(any(3)).await;
    assert_eq!(ra.set_routes(&[route(any(3), "to-a")]), [Ok(())]);
    assert_eq!(rh.set_routes(&[route(any(3), "to-b")]), [Ok(())]);
    let alice = Client::open_as(a.address, "alice", 2, None).await;
    alice.publish(&Head::every(any(3)), b"by the hub").await;
    bob.gets(b"by the hub").await;
    bob.hears_nothing().await;
    // What is for a name that leads back over its own link goes nowhere.
    assert_eq!(rh.set_routes(&[route(any(3), "to-a")]), [Ok(())]);
    alice.publish(&Head::every(any(3)), b"round").await;
    hub.await_dropped("unroutable", 1).await;
    bob.hears_nothing().await;
}

#[tokio::test]
async fn who_comes_as_another_domain_subscribes_nothing_and_hears_nothing() {
    let (served, reins) = led("a").await;
    let mut app = Client::open_as(served.address, "app", 2, None).await;
    app.subscribe(any(3)).await;
    let mut rogue = Client::open_as(served.address, "l", 0, None).await;
    for field in [1, 2] {
        rogue.send(&rogue.change(field, &Head::to(any(3)), 9, true)).await;
        let why = String::from("a link between domains subscribes nothing by itself");
        assert_eq!(rogue.hear().await, Heard::Ack(9, Some(why)));
    }
    served.await_dropped("not-allowed", 2).await;
    app.publish(&Head::every(any(3)), b"not for it").await;
    rogue.hears_nothing().await;
    // A link that this node dials itself is nobody else's.
    reins.set_links(vec![dial("own", &served)]);
    let mut thief = Client::silent(served.address, None).await;
    thief.send(&negotiation("own", &[9; 32], 0)).await;
    assert!(matches!(thief.hear().await, Heard::Over(status, _) if status == "10"));
    // What a controller tells of its link holds for it.
    assert_eq!(reins.set_routes(&[route(any(5), "l")]), [Ok(())]);
    app.publish(&Head::to(any(5)), b"told").await;
    rogue.gets(b"told").await;
}

#[tokio::test]
async fn names_of_applications_are_fetched_with_their_texts_where_these_are_true() {
    let (served, reins) = led("a").await;
    reins.fetching(true);
    let components = ["org", "ns", "app"].map(component);
    let mut app = Client::open_as(served.address, "app", 2, None).await;
    let id = app.subscribe(To(components, Some(7))).await;
    app.subscribe(any(3)).await;
    reins.changed().await;
    let fetched = reins.fetch(10);
    assert_eq!(fetched.len(), 1, "the texts of the other are not its own: {fetched:?}");
    assert_eq!(fetched[0].name, Encoded { components, id: Some(7) });
    assert_eq!((fetched[0].texts.join("/"), fetched[0].is_there), (String::from("org/ns/app"), true));
    assert_eq!(reins.names(10).len(), 2);
    assert_eq!(app.unsubscribe(To(components, Some(7)), id).await, None);
    assert_eq!(reins.fetch(10).iter().map(|changed| changed.is_there).collect::<Vec<_>>(), [false]);
}

/// What a node of this name speaks TLS with, and whom others believe.
fn tls(name: &str) -> (door_slim::Tls, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let provider = || Arc::new(default_provider());
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let server = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let client = builder.with_root_certificates(roots).with_no_client_auth();
    let server = Arc::new(server);
    (Arc::new(move || Arc::clone(&server)), Arc::new(client))
}

fn showing(tls: &Arc<ClientConfig>, authorization: &str) -> Present {
    let (tls, authorization) = (Arc::clone(tls), authorization.to_owned());
    Arc::new(move |_| {
        let presented = Presented { tls: Some(Arc::clone(&tls)), authorization: Some(authorization.as_str().into()) };
        Box::pin(std::future::ready(Ok(presented)))
    })
}

#[tokio::test]
async fn links_are_dialled_with_tls_and_what_is_to_be_shown() {
    let all = vec![Pattern::all()];
    let token = Token { name: "b".into(), hash: TokenHash::of("two"), publish: all.clone(), read: all, admin: false };
    let (server, believes) = tls("127.0.0.1");
    let (_, believes_others) = tls("127.0.0.1");
    let b = serve_with(Options { tls: Some(server), ..options("b") }, Access::tokens([token])).await;
    let check = async |present: Option<Present>, tls: bool, expected: Result<(), &str>| {
        let a = serve(Options { present, ..options("a") }).await;
        let reins = a.door.reins();
        reins.set_links(vec![Dial { tls, ..dial("l", &b) }]);
        match (reins.dialled("l").await, expected) {
            (Ok(()), Ok(())) => {}
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
        a.door.close().await;
    };
    check(Some(showing(&believes, "Bearer two")), true, Ok(())).await;
    check(Some(showing(&believes, "Basic eDp0d28=")), true, Ok(())).await;
    check(Some(showing(&believes, "Bearer three")), true, Err("(16)")).await;
    check(Some(showing(&believes_others, "Bearer two")), true, Err("certificate")).await;
    check(Some(showing(&believes, "Bearer two")), false, Err("")).await;
    check(None, true, Err("not told how to speak TLS")).await;
}

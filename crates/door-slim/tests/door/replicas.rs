//! Nodes that are replicas of each other.

use door::{Access, Token, TokenHash};
use door_slim::{Options, Replica};
use event::Pattern;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::*;

/// Doors of these nodes, each a replica of the others.
async fn replicas<const N: usize>(names: [&str; N]) -> [Served; N] {
    let mut listeners = Vec::new();
    for name in names {
        listeners.push((name, TcpListener::bind("127.0.0.1:0").await.unwrap()));
    }
    let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let all: Vec<Replica> = listeners
        .iter()
        .map(|(name, listener)| Replica { node: (*name).to_owned(), address: address(listener), tls: false })
        .collect();
    let served = listeners.into_iter().map(|(name, listener)| {
        let options = Options { node: name.to_owned(), replicas: all.clone(), ..Options::default() };
        serve_at(listener, options, Access::open())
    });
    served.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("as many as there are"))
}

/// Waits until a node knows so many names of others.
async fn knows(served: &Served, names: u64) {
    let known = async {
        loop {
            let status = served.door.status();
            let links = status["links"].as_array().unwrap();
            let peers = links.iter().filter(|link| link["kind"] == "peer");
            if peers.map(|link| link["subscriptions"].as_u64().unwrap()).sum::<u64>() == names {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, known).await.unwrap_or_else(|_| panic!("{}", served.door.status()));
}

#[tokio::test]
async fn what_is_subscribed_at_one_is_reached_from_the_other_and_not_from_a_third() {
    let [a, b, c] = replicas(["a", "b", "c"]).await;
    let mut there = Client::open_as(b.address, "there", 2, None).await;
    let id = there.subscribe(one(3, 10)).await;
    knows(&a, 1).await;
    knows(&c, 1).await;
    knows(&b, 0).await;
    let mut here = Client::open_as(a.address, "here", 2, None).await;
    for name in [any(3), one(3, 10)] {
        for fanout in [1, 256] {
            here.publish(&Head { fanout, ..Head::to(name) }, b"over").await;
            there.gets(b"over").await;
        }
    }
    there.hears_nothing().await;
    assert_eq!(there.unsubscribe(one(3, 10), id).await, None);
    knows(&a, 0).await;
    here.publish(&Head::to(any(3)), b"nobody").await;
    assert_eq!(here.told().await["error"], "nobody subscribed the name");
}

#[tokio::test]
async fn one_that_comes_back_learns_everything_again_and_is_known_again() {
    let [a, b] = replicas(["a", "b"]).await;
    let mut there = Client::open_as(b.address, "there", 2, None).await;
    there.subscribe(any(3)).await;
    let mut here = Client::open_as(a.address, "here", 2, None).await;
    here.subscribe(any(4)).await;
    knows(&a, 1).await;
    knows(&b, 1).await;
    // The one that dials goes, and comes back at another place with nothing.
    a.door.close().await;
    knows(&b, 0).await;
    let options = Options {
        node: String::from("a"),
        replicas: vec![Replica { node: String::from("b"), address: b.address.to_string(), tls: false }],
        ..Options::default()
    };
    let a = serve(options).await;
    let mut here = Client::open_as(a.address, "here", 2, None).await;
    here.subscribe(any(5)).await;
    knows(&a, 1).await;
    knows(&b, 1).await;
    here.publish(&Head::to(any(3)), b"there").await;
    there.gets(b"there").await;
    there.publish(&Head::to(any(5)), b"and back").await;
    here.gets(b"and back").await;
}

#[tokio::test]
async fn a_replica_that_is_not_there_holds_up_no_other() {
    let b = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let replica = |node: &str, address: String| Replica { node: node.to_owned(), address, tls: false };
    let at = b.local_addr().unwrap().to_string();
    let nowhere = || String::from("127.0.0.1:1");
    let all = vec![replica("a", nowhere()), replica("aa", nowhere()), replica("b", at)];
    let a = serve(Options { node: String::from("a"), replicas: all.clone(), ..Options::default() }).await;
    let b = serve_at(b, Options { node: String::from("b"), replicas: all, ..Options::default() }, Access::open());
    let mut there = Client::open_as(b.address, "there", 2, None).await;
    there.subscribe(any(3)).await;
    knows(&a, 1).await;
}

#[tokio::test]
async fn who_is_no_replica_or_of_another_domain_is_refused() {
    let served = serve(Options::default()).await;
    let replicas = vec![Replica { node: String::from("client"), address: String::from("127.0.0.1:1"), tls: false }];
    let other =
        Options { replicas: vec![Replica { node: String::from("b"), ..replicas[0].clone() }], ..Options::default() };
    let other = serve(Options { node: String::from("c"), ..other }).await;
    // One whose name is told, and whose token reads too little.
    let access = Access::tokens([token("some", "one", "slim.>"), token("all", "two", ">")]);
    let asks = serve_with(Options { node: String::from("x"), replicas, ..Options::default() }, access).await;
    for (address, presented) in [(served.address, None), (other.address, None), (asks.address, Some("one"))] {
        let mut stranger = Client::silent(address, presented).await;
        stranger.send(&negotiation("stranger", &[9; 32], 1)).await;
        assert!(matches!(stranger.hear().await, Heard::Over(status, _) if status == "7"), "{address}");
    }
    let mut replica = Client::silent(asks.address, Some("two")).await;
    replica.send(&negotiation("stranger", &[9; 32], 1)).await;
    assert!(replica.raw().await.is_ok(), "it is answered");
}

fn token(name: &str, text: &str, read: &str) -> Token {
    let patterns = vec![Pattern::parse(read).unwrap()];
    Token { name: name.into(), hash: TokenHash::of(text), publish: patterns.clone(), read: patterns, admin: false }
}

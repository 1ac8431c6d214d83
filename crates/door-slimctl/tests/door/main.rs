//! The door, spoken with over its sockets as nodes and operators speak with it.

#![allow(clippy::unwrap_used, reason = "in a test, what cannot be is a failure")]

mod board;
mod client;
mod led;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use board::InMemory;
use client::{Caller, Node};
use door_slimctl::proto::control::{Details, Entry, Kind, Payload, Register, Route};
use door_slimctl::proto::plane::{
    AddDomain, Between, DomainList, LinkEntry, Named, NodeEntry, RouteEntry, SegmentList, TopologyLink, Warnings,
};
use door_slimctl::proto::{Encoded, Name, Texts};
use door_slimctl::{Options, SlimControl};
use ring::hmac;
use tokio::net::TcpListener;
use twox_hash::XxHash64;

const SECRETS: [(&str, &str); 2] =
    [("a", "secret-of-a-0123456789-abcdefghijkl"), ("b", "secret-of-b-0123456789-abcdefghijkl")];

struct Door {
    door: SlimControl,
    south: String,
    north: String,
    _board: Arc<InMemory>,
}

async fn open(token: Option<&str>) -> Door {
    let board = InMemory::new(&SECRETS, token);
    let listen = || TcpListener::bind("127.0.0.1:0");
    let (south, north) = (listen().await.unwrap(), listen().await.unwrap());
    let (door, [south, north]) =
        SlimControl::open(Some(south), Some(north), Arc::clone(&board) as _, Options::default()).unwrap();
    Door { door, south: south.unwrap().to_string(), north: north.unwrap().to_string(), _board: board }
}

/// The credentials of a node, made with a secret.
fn token(domain: &str, node: &str, secret: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let signed = format!("{domain}/{node}_Ab12Cd34:{now}:bm9uY2U:");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}:{}", URL_SAFE_NO_PAD.encode(tag))
}

fn register(domain: &str, node: &str, secret: &str) -> Register {
    let details = Details {
        endpoint: "0.0.0.0:46357".into(),
        external_endpoint: Some(format!("{node}.example:46357")),
        ..Details::default()
    };
    Register {
        node_id: node.into(),
        details: vec![details],
        domain_name: Some(domain.into()),
        credentials: token(domain, node, secret),
        ..Register::default()
    }
}

async fn joined(door: &Door, domain: &str, node: &str) -> Node {
    let secret = SECRETS.iter().find(|(name, _)| *name == domain).unwrap().1;
    let mut node_side = Node::dial(&door.south).await;
    assert!(node_side.register(register(domain, node, secret)).await, "{domain}/{node}");
    node_side
}

fn hash(text: &str) -> u64 {
    XxHash64::oneshot(0, &[text.as_bytes(), &[0xff]].concat())
}

fn app() -> Name {
    Name {
        encoded: Some(Encoded { first: hash("org"), second: hash("ns"), third: hash("app"), id: None }),
        texts: Some(Texts { first: "org".into(), second: "ns".into(), third: "app".into() }),
    }
}

fn link(one: &str, two: &str) -> TopologyLink {
    TopologyLink { domain_a: one.into(), domain_b: two.into(), segment: String::new() }
}

#[tokio::test]
async fn a_node_is_taken_by_the_proof_of_its_domain_alone() {
    let door = open(None).await;
    let check = async |register: Register, expected: bool| {
        let mut node = Node::dial(&door.south).await;
        let shown = format!("{:?}", register.domain_name);
        assert_eq!(node.register(register).await, expected, "{shown}");
    };
    check(register("a", "n1", SECRETS[0].1), true).await;
    check(register("a", "n2", SECRETS[1].1), false).await;
    // One whose domain may be declared yet is to come again.
    let mut early = Node::dial(&door.south).await;
    assert!(early.register(register("c", "n1", SECRETS[0].1)).await);
    assert_eq!(early.next().await, None);
    // The token of another node, and none.
    let own = register("a", "n3", SECRETS[0].1);
    check(Register { node_id: "n4".into(), ..own.clone() }, false).await;
    check(Register { credentials: String::new(), ..own.clone() }, false).await;
    check(Register { domain_name: None, ..own }, false).await;
    door.door.close().await;
}

#[tokio::test]
async fn two_domains_that_are_linked_get_a_link_and_routes_for_what_is_announced() {
    let door = open(None).await;
    let (mut one, mut two) = (joined(&door, "a", "a1").await, joined(&door, "b", "b1").await);
    let mut caller = Caller::dial(&door.north).await;
    let _: Vec<Warnings> = caller.call("AddTopologyLink", &link("a", "b")).await.unwrap();
    // One of both is told to dial the other, where that one said that it is dialled from outside.
    let dialled = one.until_dials().await;
    assert!(dialled.config_data.contains("http://b1.example:46357"), "{}", dialled.config_data);
    // Both list the link: it is applied.
    one.links.push(Entry {
        kind: Kind::Remote as i32,
        link_id: Some(dialled.link_id.clone()),
        direction: 0,
        ..Entry::default()
    });
    two.links.push(Entry {
        kind: Kind::Remote as i32,
        link_id: Some(dialled.link_id.clone()),
        direction: 1,
        ..Entry::default()
    });
    two.received(&dialled.link_id).await;
    // What is announced at one leads over the link from the other.
    one.announce(Route { name: Some(app()), ..Route::default() }).await;
    let route = two.until_route().await;
    assert_eq!(route.link_id.as_deref(), Some(dialled.link_id.as_str()));
    assert_eq!(route.name.unwrap().encoded.unwrap().third, hash("app"));
    // And operators see all of it.
    let nodes: Vec<NodeEntry> = caller.call("ListNodes", &Named::default()).await.unwrap();
    assert_eq!(nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["a/a1", "b/b1"]);
    let links =
        caller.until("ListLinks", &Between::default(), |links: &[LinkEntry]| links.iter().all(|l| l.status == 2)).await;
    assert_eq!(links[0].link_id, dialled.link_id);
    let asked = Between { from: "b/b1".into(), to: String::new() };
    let routes: Vec<RouteEntry> = caller.call("ListRoutes", &asked).await.unwrap();
    assert_eq!(routes[0].name.clone().unwrap().texts, app().texts);
    assert_eq!(routes[0].dest_node_id, "a/a1");
    door.door.close().await;
}

#[tokio::test]
async fn segments_and_domains_are_changed_and_listed() {
    let door = open(Some("right")).await;
    let mut caller = Caller::dial(&door.north).await;
    let named = |name: &str| Named { name: name.into() };
    let denied = caller.call::<_, Warnings>("AddSegment", &named("s")).await;
    assert_eq!(denied.unwrap_err(), 7);
    caller.presented = Some("right".into());
    let _: Vec<Warnings> = caller.call("AddSegment", &named("s")).await.unwrap();
    let _: Vec<Warnings> =
        caller.call("AddTopologyLink", &TopologyLink { segment: "s".into(), ..link("a", "b") }).await.unwrap();
    let segments: Vec<SegmentList> = caller.call("ListSegments", &Named::default()).await.unwrap();
    assert_eq!(segments[0].segments[0].domains, ["a", "b"]);
    let missing = caller.call::<_, Warnings>("RemoveSegment", &named("other")).await;
    assert_eq!(missing.unwrap_err(), 5);
    let add = AddDomain { domain_name: "c".into(), secret: "secret-of-c-0123456789-abcdefghijkl".into() };
    let _: Vec<Warnings> = caller.call("AddDomain", &add).await.unwrap();
    let domains: Vec<DomainList> = caller.call("ListDomains", &Named::default()).await.unwrap();
    let names: Vec<_> = domains[0].domains.iter().map(|domain| domain.domain_name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(caller.call::<_, Warnings>("NoSuch", &named("x")).await.unwrap_err(), 12);
    door.door.close().await;
}

#[tokio::test]
async fn a_node_whose_channel_ends_is_gone_and_another_of_its_name_takes_its_place() {
    let door = open(None).await;
    let mut caller = Caller::dial(&door.north).await;
    let first = joined(&door, "a", "a1").await;
    let mut second = joined(&door, "a", "a1").await;
    drop(first);
    let one = |nodes: &[NodeEntry]| nodes.len() == 1 && nodes[0].status == 1;
    caller.until("ListNodes", &Named::default(), one).await;
    second.leave().await;
    caller.until("ListNodes", &Named::default(), |nodes: &[NodeEntry]| nodes.is_empty()).await;
    door.door.close().await;
}

#[tokio::test]
async fn strangers_bytes_end_their_own_channel() {
    let door = open(None).await;
    for bytes in [&b"\0\0\0\0\x03\xff\xff\xff"[..], b"\x01\0\0\0\0", b"\0\xff\xff\xff\xff", b"\0\0\0\0\0"] {
        let mut node = Node::dial(&door.south).await;
        node.raw(bytes).await;
        assert!(!matches!(node.next().await, Some(message) if matches!(message.payload, Some(Payload::Registered(_)))));
    }
    joined(&door, "a", "a1").await;
    door.door.close().await;
}

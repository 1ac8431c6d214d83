//! Hubs that are linked: by declaration, by request, from both sides, in circles, and after an absence.

use door_hub::{Link, Options};
use event::Pattern;
use futures_util::{SinkExt, StreamExt};
use journal::StreamConfig;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, PATIENCE, Served, post, serve, serve_on};

async fn node(name: &str) -> Served {
    serve(Options { node: name.into(), ..Options::default() }).await
}

fn link(from: &Served, to: &[&Served]) {
    let links = to.iter().map(|to| Link::new(format!("to-{}", to.address.port()), to.address.to_string()));
    from.door.set_links(links.collect());
}

async fn up(served: &Served, links: u64) {
    served.until("links are up", |door| door.counts().links_up == links).await;
}

async fn keep(served: &Served, pattern: &str) {
    let config = StreamConfig::new("ROOMS", [Pattern::parse(pattern).unwrap()]);
    served.port.stream_create(&door::Principal::anyone(), config).await.unwrap();
}

#[tokio::test]
async fn linked_hubs_hear_each_other() {
    let (a, b) = (node("a").await, node("b").await);
    link(&a, &[&b]);
    up(&a, 1).await;
    up(&b, 1).await;
    let (mut here, mut there) = (a.messenger(&["R"]).await, b.messenger(&["R"]).await);
    here.binary("R\n1").await;
    // What a node of this kind passes on has the newlines of the last hop alone.
    there.hears("R\n\n1").await;
    there.binary("R\n2").await;
    here.hears("R\n\n2").await;
    assert_eq!(post(a.address, "/event", r#"{"affected-room":{"roomID":"R"}}"#).await.0, 200);
    there.hears("R\n\n{\"affected-room\":{\"roomID\":\"R\"}}").await;
    a.door.set_links(Vec::new());
    up(&b, 0).await;
}

#[tokio::test]
async fn hubs_that_dial_each_other_in_a_triangle_have_one_link_each_and_no_loop() {
    let (a, b, c) = (node("a").await, node("b").await, node("c").await);
    link(&a, &[&b, &c]);
    link(&b, &[&a, &c]);
    link(&c, &[&a, &b]);
    for served in [&a, &b, &c] {
        up(served, 2).await;
        served.until("doubled links are gone", |door| door.counts().connections.hubs == 2).await;
    }
    let mut messengers = Vec::new();
    for served in [&a, &b, &c] {
        messengers.push(served.messenger(&["*"]).await);
    }
    let mut sender = a.client("messenger").await;
    for turn in 0..20 {
        sender.binary(format!("R\n{turn}")).await;
    }
    for messenger in &mut messengers {
        for turn in 0..20 {
            messenger.hears(&format!("R\n\n{turn}")).await;
        }
        messenger.settle().await;
    }
}

#[tokio::test]
async fn interconnect_links_hubs_and_says_why_it_cannot() {
    let (a, b) = (node("a").await, node("b").await);
    let (status, said) = post(a.address, &format!("/interconnect/{}", b.address), "").await;
    assert_eq!(status, 200, "{said}");
    let mut there = b.messenger(&["R"]).await;
    let mut here = a.client("messenger").await;
    here.binary("R\n1").await;
    there.hears("R\n\n1").await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (status, said) = post(a.address, &format!("/interconnect/{free}"), "").await;
    assert!(status == 500 && said.starts_with("Couldn't establish hub connction: "), "{status} {said}");
    let (status, said) = post(a.address, &format!("/interconnect/{}", a.address), "").await;
    assert_eq!(status, 500, "a hub is not linked to itself: {said}");
    assert_eq!(a.door.counts().links, 1);
}

#[tokio::test]
async fn a_hub_that_was_away_gets_what_it_missed_of_a_kept_room_and_only_once() {
    let a = node("a").await;
    keep(&a, "room.K").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let b = node("b").await;
    let port = b.port.clone();
    b.door.close().await;
    let open = |hub: TcpListener| {
        let sockets = door_hub::Sockets { hub, repeater: None };
        door_hub::HubDoor::open(sockets, port.clone(), Options { node: "b".into(), ..Options::default() }).unwrap()
    };
    let first = open(listener);
    a.door.set_links(vec![Link::new("b", at.to_string())]);
    up(&a, 1).await;
    let mut there = Client::new(at, "/connect/messenger").await;
    there.subscribe(&["K", "U"]).await;
    let mut here = a.client("messenger").await;
    here.binary("K\n1").await;
    there.hears("K\n\n1").await;
    first.close().await;
    up(&a, 0).await;
    for missed in ["K\n2", "U\n2", "K\n3"] {
        here.binary(missed).await;
    }
    here.settle().await;
    let second = open(TcpListener::bind(at).await.unwrap());
    let mut there = Client::new(at, "/connect/messenger").await;
    there.subscribe(&["K", "U"]).await;
    there.hears("K\n\n2").await;
    there.hears("K\n\n3").await;
    here.binary("K\n4").await;
    there.hears("K\n\n4").await;
    there.settle().await;
    a.until("all is acknowledged", |door| door.status()["links"][0]["owed"] == 0).await;
    second.close().await;
}

#[tokio::test]
async fn a_declared_hub_that_was_never_there_gets_what_it_missed() {
    let a = node("a").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    a.door.set_links(vec![Link::new("later", at.to_string())]);
    keep(&a, "room.K").await;
    let mut here = a.client("messenger").await;
    for turn in 0..3 {
        here.binary(format!("K\n{turn}")).await;
    }
    here.settle().await;
    let b = node("b").await;
    let sockets = door_hub::Sockets { hub: TcpListener::bind(at).await.unwrap(), repeater: None };
    let options = Options { node: "later-b".into(), ..Options::default() };
    let mut heard = b.port.subscribe(&door::Principal::anyone(), &[Pattern::parse("room.K").unwrap()]).unwrap();
    let door = door_hub::HubDoor::open(sockets, b.port.clone(), options).unwrap();
    for turn in 0..3 {
        let Some(door::Heard::Message(message)) = heard.next().await else { panic!("nothing came") };
        assert_eq!(message.payload, turn.to_string());
    }
    a.until("all is acknowledged", |door| door.status()["links"][0]["owed"] == 0).await;
    door.close().await;
}

/// A hub that knows nothing of nodes of this kind.
#[tokio::test]
async fn a_plain_hub_gets_kept_rooms_and_its_pongs_acknowledge_them() {
    let a = node("a").await;
    keep(&a, "room.K").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    a.door.set_links(vec![Link::new("plain", format!("ws://{at}"))]);
    let (socket, _) = listener.accept().await.unwrap();
    let mut hub = tokio_tungstenite::accept_async(socket).await.unwrap();
    up(&a, 1).await;
    let mut here = a.messenger(&["K"]).await;
    here.binary("K\n1").await;
    here.binary("U\n1").await;
    let mut came = Vec::new();
    while came.len() < 2 {
        let next = tokio::time::timeout(PATIENCE, hub.next()).await.unwrap().unwrap().unwrap();
        if let Message::Binary(bytes) = next {
            came.push(String::from_utf8(bytes.to_vec()).unwrap());
        }
    }
    came.sort();
    assert_eq!(came, ["K\n\n1", "U\n\n1"]);
    hub.send(Message::binary("K\nback")).await.unwrap();
    here.hears("K\n\nback").await;
    a.until("all is acknowledged", |door| door.status()["links"][0]["owed"] == 0).await;
    drop(hub);
    up(&a, 0).await;
    here.binary("K\n2").await;
    let (socket, _) = listener.accept().await.unwrap();
    let mut hub = tokio_tungstenite::accept_async(socket).await.unwrap();
    let next = loop {
        let next = tokio::time::timeout(PATIENCE, hub.next()).await.unwrap().unwrap().unwrap();
        if next.is_binary() {
            break next;
        }
    };
    assert_eq!(next.into_data().as_ref(), b"K\n\n2");
}

#[tokio::test]
async fn a_link_sends_its_rooms_alone() {
    let (a, b) = (node("a").await, node("b").await);
    let rooms = vec![String::from("R")];
    a.door.set_links(vec![Link { rooms, ..Link::new("b", b.address.to_string()) }]);
    up(&a, 1).await;
    let (mut there, mut here) = (b.messenger(&["*"]).await, a.client("messenger").await);
    here.binary("S\n1").await;
    here.binary("R\n2").await;
    there.hears("R\n\n2").await;
    let _unused = serve_on;
}

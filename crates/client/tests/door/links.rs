//! Messengers on hubs whose links are cut while events go over them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use client::{Bound, Messenger, Options, Policy, State};
use door::{Access, Port, Principal};
use door_hub::{HubDoor, Link};
use event::Pattern;
use journal::{Read, StreamConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::{SOON, messenger, open_as, port, quick};

/// Events that each hub's messenger sends.
const EVENTS: usize = 400;

/// A way to a hub that can be cut: every connection over it ends without a word.
struct Way {
    address: SocketAddr,
    cut: watch::Sender<u64>,
}

impl Way {
    async fn to(hub: SocketAddr) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, cut) = (listener.local_addr().unwrap(), watch::Sender::new(0));
        let cuts = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(hub).await {
                        tokio::select! {
                            _ = copy_bidirectional(&mut near, &mut far) => {}
                            _ = cut.changed() => {}
                        }
                    }
                });
            }
        });
        Way { address, cut }
    }

    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

async fn again(port: &Port, name: &str, at: &str) -> HubDoor {
    let options = door_hub::Options { node: name.into(), ..door_hub::Options::default() };
    open_as(port, at, options).await
}

async fn hub(name: &str) -> (Port, HubDoor) {
    let port = port(Access::open());
    let kept = StreamConfig::new("ROOMS", [Pattern::parse("room.K").unwrap()]);
    port.stream_create(&Principal::anyone(), kept).await.unwrap();
    let door = again(&port, name, "127.0.0.1:0").await;
    (port, door)
}

async fn linked(doors: &[&HubDoor]) {
    let all = async {
        while doors.iter().any(|door| door.counts().links_up < doors.len() as u64 - 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, all).await.unwrap();
}

/// A messenger with room for everything.
async fn listener(door: &HubDoor) -> Messenger {
    let incoming = Bound { events: 100_000, bytes: usize::MAX, policy: Policy::Block };
    messenger(&door.address().to_string(), &["K"], Options { incoming, ..quick() }).await
}

#[tokio::test]
async fn every_event_of_a_kept_room_comes_to_every_hub_once_though_links_are_cut_all_the_time() {
    let (a, b, c) = (hub("a").await.1, hub("b").await.1, hub("c").await.1);
    let doors = [&a, &b, &c];
    let mut ways = Vec::new();
    for door in doors {
        ways.push(Way::to(door.address()).await);
    }
    // Every one dials every other: each pair has two connections to choose from.
    for (at, door) in doors.iter().enumerate() {
        let others = ways.iter().enumerate().filter(|(other, _)| *other != at);
        door.set_links(others.map(|(other, way)| Link::new(format!("to-{other}"), way.address.to_string())).collect());
    }
    linked(&doors).await;
    let mut messengers = Vec::new();
    for door in doors {
        messengers.push(listener(door).await);
    }
    for turn in 0..EVENTS {
        for (at, messenger) in messengers.iter().enumerate() {
            messenger.send("K", format!("{at}-{turn}")).await.unwrap();
        }
        if turn % 40 == 20 {
            messengers[0].heard().await.unwrap();
            ways[turn / 40 % 3].cut();
        }
        if turn % 100 == 99 {
            linked(&doors).await;
        }
    }
    for (at, messenger) in messengers.iter().enumerate() {
        let mut got: BTreeMap<String, u32> = BTreeMap::new();
        while got.len() < 2 * EVENTS {
            let event = timeout(SOON, messenger.receive()).await;
            let event = event.unwrap_or_else(|_| panic!("{at} got {} only; {}", got.len(), doors[at].status()));
            *got.entry(String::from_utf8(event.unwrap().trimmed().to_vec()).unwrap()).or_default() += 1;
        }
        timeout(SOON, messenger.heard()).await.unwrap().unwrap();
        assert_eq!(messenger.counts().incoming, 0, "nothing more came to {at}");
        assert!(got.values().all(|times| *times == 1) && got.keys().all(|event| !event.starts_with(&format!("{at}-"))));
    }
    assert!(doors.iter().any(|door| door.counts().duplicates > 0 || door.counts().connected > 8), "links were cut");
}

/// The events that a node has recorded, by how often.
async fn recorded(port: &Port) -> BTreeMap<String, u32> {
    let page = port.read(&Principal::anyone(), "ROOMS", Read::from(1, usize::MAX)).await.unwrap();
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for stored in page.messages {
        let payload = stored.message.payload.iter().copied().filter(|byte| *byte != b'\n').collect();
        *times.entry(String::from_utf8(payload).unwrap()).or_default() += 1;
    }
    times
}

#[tokio::test]
async fn hubs_that_are_restarted_while_events_go_to_them_record_each_once() {
    let ((one, mut a), (two, mut b)) = (hub("a").await, hub("b").await);
    let addresses = [a.address().to_string(), b.address().to_string()];
    let link = |a: &HubDoor, b: &HubDoor| {
        a.set_links(vec![Link::new("b", addresses[1].clone())]);
        b.set_links(vec![Link::new("a", addresses[0].clone())]);
    };
    link(&a, &b);
    linked(&[&a, &b]).await;
    let sender = messenger(&addresses[0], &[], quick()).await;
    for turn in 0..EVENTS {
        sender.send("K", format!("{turn}")).await.unwrap();
        if turn % 80 == 40 {
            b.close().await;
            b = again(&two, "b", &addresses[1]).await;
            link(&a, &b);
        }
        if turn % 160 == 100 {
            // What was said before is at the node, and the rest waits in the messenger once it knows.
            timeout(SOON, sender.heard()).await.unwrap().unwrap();
            a.close().await;
            let away = |state: &State| *state != State::Connected;
            timeout(SOON, sender.states().wait_for(away)).await.unwrap().unwrap();
            a = again(&one, "a", &addresses[0]).await;
            link(&a, &b);
        }
    }
    let all = async {
        while recorded(&two).await.len() < EVENTS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(SOON, all).await.is_err() {
        let (here, there) = (recorded(&one).await, recorded(&two).await);
        let missing: Vec<_> = here.keys().filter(|event| !there.contains_key(*event)).collect();
        panic!("{} here, {} there; not there: {missing:?}; {}", here.len(), there.len(), a.status());
    }
    for port in [&one, &two] {
        assert!(recorded(port).await.values().all(|times| *times == 1));
    }
}

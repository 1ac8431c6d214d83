//! Who gets what.

use std::sync::Arc;

use door::{Class, Listener, NOBODY, Parcel, Taker, Took};
use door_slim::Options;
use door_slim::codec::{Message, read};
use event::Pattern;
use parking_lot::Mutex;

use crate::support::*;

async fn four() -> (Served, [Client; 4]) {
    let served = serve(Options::default()).await;
    let mut clients = Vec::new();
    for place in 0..4 {
        clients.push(Client::open_as(served.address, &format!("link-{place}"), 2, None).await);
    }
    let clients = clients.try_into().unwrap_or_else(|_| panic!("four"));
    (served, clients)
}

#[tokio::test]
async fn one_of_all_instances_gets_what_is_for_any() {
    let (_served, [a, mut b, mut c, mut d]) = four().await;
    b.subscribe(one(3, 10)).await;
    c.subscribe(one(3, 11)).await;
    d.subscribe(any(3)).await;
    for _ in 0..9 {
        a.publish(&Head::to(any(3)), b"to any").await;
        a.publish(&Head::to(one(3, u128::MAX)), b"to any").await;
    }
    for client in [&mut b, &mut c, &mut d] {
        for _ in 0..6 {
            client.gets(b"to any").await;
        }
        client.hears_nothing().await;
    }
}

#[tokio::test]
async fn an_instance_alone_gets_what_is_for_it() {
    let (served, [mut a, mut b, mut c, mut d]) = four().await;
    b.subscribe(one(3, 10)).await;
    c.subscribe(one(3, 11)).await;
    d.subscribe(any(3)).await;
    a.publish(&Head::to(one(3, 10)), b"to ten").await;
    a.publish(&Head::every(one(3, 11)), b"to eleven").await;
    a.publish(&Head::to(one(3, 12)), b"to twelve").await;
    b.gets(b"to ten").await;
    c.gets(b"to eleven").await;
    assert_eq!(a.told().await["error"], "nobody subscribed the name");
    for client in [&mut b, &mut c, &mut d] {
        client.hears_nothing().await;
    }
    assert_eq!(served.door.counts().unroutable, 1);
}

#[tokio::test]
async fn every_connection_gets_what_is_for_all_once_but_the_sender() {
    let (_served, [mut a, mut b, mut c, mut d]) = four().await;
    a.subscribe(one(3, 9)).await;
    for name in [one(3, 10), one(3, 11), any(3)] {
        b.subscribe(name).await;
    }
    c.subscribe(one(3, 10)).await;
    d.subscribe(one(4, 10)).await;
    for fanout in [0, 2, 256] {
        a.publish(&Head { fanout, ..Head::to(any(3)) }, b"to all").await;
        for client in [&mut b, &mut c] {
            client.gets(b"to all").await;
        }
    }
    a.publish(&Head::every(one(3, 10)), b"to all tens").await;
    for client in [&mut b, &mut c] {
        client.gets(b"to all tens").await;
    }
    for client in [&mut a, &mut b, &mut c, &mut d] {
        client.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_subscription_lasts_until_each_of_its_ids_is_taken_back() {
    let (_served, [a, mut b, ..]) = four().await;
    let (first, second) = (b.subscribe(any(3)).await, b.subscribe(any(3)).await);
    a.publish(&Head::every(any(3)), b"once").await;
    b.gets(b"once").await;
    assert_eq!(b.unsubscribe(any(3), first).await, None);
    a.publish(&Head::to(any(3)), b"still").await;
    b.gets(b"still").await;
    assert_eq!(b.unsubscribe(any(3), first).await.as_deref(), Some("subscription id not found: 1"));
    assert_eq!(b.unsubscribe(any(3), second).await, None);
    assert_eq!(b.unsubscribe(any(3), second).await.as_deref(), Some("subscription not found"));
    a.publish(&Head::to(any(3)), b"no more").await;
    b.hears_nothing().await;
}

#[tokio::test]
async fn who_came_back_subscribes_without_an_id_and_takes_back_with_the_old_one() {
    let (served, [a, mut b, ..]) = four().await;
    b.send(&b.change(1, &Head::to(any(3)), 0, true)).await;
    while served.door.counts().subscriptions == 0 {
        tokio::task::yield_now().await;
    }
    a.publish(&Head::to(any(3)), b"back").await;
    b.gets(b"back").await;
    assert_eq!(b.unsubscribe(any(3), 77).await, None);
    assert_eq!(served.door.counts().subscriptions, 0);
}

#[tokio::test]
async fn what_a_link_subscribed_goes_with_it() {
    let (served, [mut a, mut b, c, d]) = four().await;
    b.subscribe(one(3, 10)).await;
    drop((b, c, d));
    while served.door.counts().links > 1 {
        tokio::task::yield_now().await;
    }
    a.publish(&Head::to(any(3)), b"x").await;
    assert_eq!(a.told().await["error"], "nobody subscribed the name");
    assert_eq!(served.door.counts().subscriptions, 0);
}

#[tokio::test]
async fn a_message_is_handed_on_as_it_came_but_for_the_links_own_fields() {
    let (_served, [a, mut b, ..]) = four().await;
    b.subscribe(any(3)).await;
    // Fields that this node does not know, the end-to-end signature, and metadata before and behind.
    let more = Proto::default().bytes(12, [9; 64]).number(9, 3).bytes(200, b"unknown");
    let head = Head { more, recv_from: Some(3), forward_to: Some(4), ttl: 2, ..Head::to(any(3)) };
    let entry = |key: &str| Proto::default().bytes(1, key).bytes(2, "value");
    let inner = a.published(&head, b"payload");
    let mut whole = Proto::default().message(4, entry("before"));
    whole.0.extend_from_slice(&inner.0);
    let whole = whole.message(4, entry("behind")).bytes(100, b"unknown too");
    a.send(&whole).await;
    let Heard::Published { ttl, raw, .. } = b.hear().await else { panic!("a message") };
    assert_eq!(ttl, 1);
    let find = |needle: &[u8]| raw.windows(needle.len()).filter(|window| *window == needle).count();
    for kept in [&b"before"[..], b"behind", b"unknown", b"unknown too", &[9; 64], b"payload", b"text/plain", b"me"] {
        assert!(find(kept) >= 1, "{}", String::from_utf8_lossy(kept));
    }
    let Ok(Message::Publish(publish)) = read(&raw) else { panic!("a message") };
    assert_eq!((publish.session.session, publish.session.message), (42, 5));
    assert!(publish.header.recv_from.is_none() && publish.header.forward_to.is_none());
}

#[tokio::test]
async fn the_last_hop_is_not_taken() {
    let (served, [a, mut b, ..]) = four().await;
    b.subscribe(any(3)).await;
    for ttl in [0, 1, 2] {
        a.publish(&Head { ttl, ..Head::to(any(3)) }, &[u8::try_from(ttl).unwrap()]).await;
    }
    b.gets(&[2]).await;
    assert_eq!(served.dropped("ttl"), 2);
}

#[derive(Default)]
struct Ear(Mutex<Vec<(String, String, Vec<u8>)>>);

impl Taker for Ear {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        let headers = String::from_utf8(parcel.headers.to_vec()).unwrap();
        self.0.lock().push((parcel.subject.to_owned(), headers, parcel.payload.to_vec()));
        Took::Yes
    }
}

#[tokio::test]
async fn other_doors_see_who_and_what_and_the_whole_message() {
    let (served, [a, ..]) = four().await;
    let ear = Arc::new(Ear::default());
    let patterns = vec![Pattern::parse("slim.>").unwrap()];
    let taker = Arc::clone(&ear) as Arc<dyn Taker>;
    served.port.fabric().join(Listener { patterns, queue: None, connection: NOBODY, class: Class::Client, taker });
    let sent = a.published(&Head::to(one(3, 0xab)), b"x");
    a.send(&sent).await;
    while ear.0.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let (subject, headers, payload) = ear.0.lock().remove(0);
    let id = format!("{:032x}", 0xab);
    assert_eq!(subject, format!("slim.{:016x}.{:016x}.{:016x}.{id}", 1, 2, 3));
    let me = format!("{:032x}", 7);
    assert_eq!(
        headers,
        format!(
            "slim-source: org/ns/app/{me}\r\nslim-destination: org/ns/app/{id}\r\nslim-session-type: 1\r\n\
             slim-message-type: 1\r\nslim-session: 42\r\n"
        )
    );
    assert_eq!(payload, sent.0);
}

//! What a client should not do, and what it cannot do to others.

use bytes::Bytes;
use door_slim::Options;
use door_slim::limits::PENDING_BYTES_DEFAULT;

use crate::support::*;

async fn pair(options: Options) -> (Served, Client, Client) {
    let served = serve(options).await;
    let a = Client::open_as(served.address, "a", 2, None).await;
    let b = Client::open_as(served.address, "b", 2, None).await;
    (served, a, b)
}

#[tokio::test]
async fn a_wrong_or_missing_tag_is_no_message() {
    let (served, a, mut b) = pair(Options::default()).await;
    b.subscribe(any(3)).await;
    let good = a.published(&Head::to(any(3)), b"forged");
    // One that is signed for other hops, or for another link, is not right here.
    let at = good.0.windows(2).position(|pair| pair == [0x30, 8]).unwrap();
    let mut forged = good.clone();
    forged.0[at + 1] = 7;
    a.send(&forged).await;
    a.send(&b.published(&Head::to(any(3)), b"forged")).await;
    let untagged = b.change(1, &Head::to(any(4)), 9, false);
    b.send(&untagged).await;
    served.await_dropped("header-mac", 3).await;
    b.hears_nothing().await;
    a.publish(&Head::to(any(3)), b"right").await;
    b.gets(b"right").await;
}

#[tokio::test]
async fn a_lax_node_takes_subscriptions_without_a_tag_and_links_without_a_key() {
    let (served, a, mut b) = pair(Options { require_header_mac: false, ..Options::default() }).await;
    b.send(&b.change(1, &Head::to(any(3)), 9, false)).await;
    assert_eq!(b.hear().await, Heard::Ack(9, None));
    let mut wrong = b.change(1, &Head::to(any(4)), 10, true);
    let at = wrong.0.windows(2).position(|pair| pair == [0x5a, 32]).unwrap();
    wrong.0[at + 5] ^= 1;
    b.send(&wrong).await;
    served.await_dropped("header-mac", 1).await;
    let mut bare = Client::silent(served.address, None).await;
    bare.send(&negotiation("bare", &[], 2)).await;
    bare.raw().await.unwrap();
    bare.publish(&Head::to(any(3)), b"untagged").await;
    b.gets(b"untagged").await;
    bare.subscribe(any(5)).await;
    a.publish(&Head::to(any(5)), b"to one without a key").await;
    bare.gets(b"to one without a key").await;
}

#[tokio::test]
async fn what_is_said_of_other_connections_is_not_acted_upon() {
    let (served, mut a, mut b) = pair(Options::default()).await;
    let ids = served.door.status()["links"].as_array().unwrap().iter().map(|link| link["id"].as_u64().unwrap()).max();
    for victim in [0, 1, ids.unwrap()] {
        a.publish(&Head { forward_to: Some(victim), ..Head::to(any(3)) }, b"pushed").await;
        assert_eq!(a.told().await["error"], "nobody subscribed the name");
        a.send(&a.change(1, &Head { recv_from: Some(victim), ..Head::to(any(8)) }, 5, true)).await;
        assert_eq!(a.hear().await, Heard::Ack(5, None));
    }
    b.publish(&Head::to(any(8)), b"to a").await;
    a.gets(b"to a").await;
    b.hears_nothing().await;
}

#[tokio::test]
async fn a_message_that_only_its_receiver_could_not_read_is_not_handed_on() {
    let (served, a, mut b) = pair(Options::default()).await;
    b.subscribe(any(3)).await;
    let good = a.published(&Head::to(any(3)), b"payload");
    let spoiled = |from: &[u8], to: &[u8]| {
        let at = good.0.windows(from.len()).position(|window| window == from).unwrap();
        let mut bad = good.clone();
        bad.0[at..at + to.len()].copy_from_slice(to);
        bad
    };
    let cases = [
        spoiled(b"text/plain", &[0xff]),
        spoiled(&[1 << 3 | 2, 10, b't'], &[1 << 3 | 5]),
        good.clone().bytes(4, [0xff, 0xff]),
        good.clone().bytes(4, [10, 1, 0xff]),
        good.clone().message(3, Proto::default()),
        good.clone().message(1, Proto::default()),
        Proto(good.0[..good.0.len() - 1].to_vec()),
        Proto([&good.0[..], &[0x0b]].concat()),
        Proto([&good.0[..], &[0x00, 0x00]].concat()),
        Proto::default().message(3, Proto::default()),
    ];
    for case in &cases {
        a.send(case).await;
    }
    served.await_dropped("malformed", cases.len() as u64).await;
    a.publish(&Head::to(any(3)), b"and on").await;
    b.gets(b"and on").await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_answered_and_the_stream_lives() {
    let (served, mut a, mut b) = pair(Options { message_bytes_max: 100_000, ..Options::default() }).await;
    b.subscribe(any(3)).await;
    for size in [99_990, 150_000, 300_000] {
        a.publish(&Head::to(any(3)), &vec![1; size]).await;
        let told = a.told().await;
        assert!(told["error"].as_str().unwrap().contains("100000"), "{told}");
        assert_eq!(told["session_context"]["session_id"], 42);
    }
    a.publish(&Head::to(any(3)), &vec![1; 99_000]).await;
    b.gets(&vec![1; 99_000]).await;
    assert_eq!(served.dropped("too-large"), 3);
}

#[tokio::test]
async fn names_of_ten_kilobytes_are_taken_and_larger_headers_are_not() {
    let (served, a, mut b) = pair(Options::default()).await;
    b.subscribe(any(3)).await;
    a.publish(&Head { more: Proto::default().bytes(50, vec![b'n'; 10_000]), ..Head::to(any(3)) }, b"long").await;
    b.gets(b"long").await;
    a.publish(&Head { more: Proto::default().bytes(50, vec![b'n'; 70_000]), ..Head::to(any(3)) }, b"longer").await;
    served.await_dropped("malformed", 1).await;
}

#[tokio::test]
async fn a_compressed_message_ends_the_stream_with_a_reason() {
    let (_served, mut a, _b) = pair(Options::default()).await;
    a.send_bytes(Bytes::from_static(&[1, 0, 0, 0, 1, 0])).await;
    assert!(matches!(a.hear().await, Heard::Over(status, _) if status == "12"));
}

#[tokio::test]
async fn a_storm_of_subscriptions_has_an_end() {
    let (served, mut a, mut b) = pair(Options { subscriptions_max: 1000, ..Options::default() }).await;
    for id in 1..=2000 {
        a.send(&a.change(1, &Head::to(one(3, id.into())), id, true)).await;
    }
    let mut refused = 0;
    for id in 1..=2000 {
        match a.hear().await {
            Heard::Ack(same, None) => assert_eq!(same, id),
            Heard::Ack(same, Some(why)) => {
                assert_eq!(same, id);
                assert!(why.contains("at most 1000"), "{why}");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((refused, served.door.counts().subscriptions), (1000, 1000));
    b.publish(&Head::every(any(3)), b"once").await;
    a.gets(b"once").await;
    b.hears_nothing().await;
    drop(a);
    while served.door.counts().subscriptions > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_that_stops_reading_freezes_nobody() {
    let (served, a, mut stopped) = pair(Options::default()).await;
    let mut reader = Client::open_as(served.address, "reader", 2, None).await;
    stopped.subscribe(one(3, 1)).await;
    reader.subscribe(one(3, 2)).await;
    let payload = vec![7; 64 * 1024];
    let count = 2 * PENDING_BYTES_DEFAULT / payload.len();
    for _ in 0..count {
        a.publish(&Head::every(any(3)), &payload).await;
        reader.gets(&payload).await;
    }
    assert!(served.dropped("slow") > 0);
    assert_eq!(served.door.counts().links, 3, "who stopped is still there");
    // It wakes, and has what waited, and what comes.
    let mut heard = 0;
    while heard < 100 {
        stopped.gets(&payload).await;
        heard += 1;
    }
}

//! What survives a connection that is lost.

use std::sync::Arc;
use std::time::Duration;

use client::{Messenger, Options, Policy, SendError, State};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{Hub, SOON, quick, receives, soon, until, waiting};

#[tokio::test]
async fn subscriptions_are_restored_once_each_and_before_any_event() {
    let hub = Hub::start().await;
    let (messenger, mut peer) = hub.messenger(quick()).await;
    messenger.subscribe(["A", "B"]).unwrap();
    peer.expect(&[r#"{"rooms":["A","B"],"create":true}"#]).await;
    let address = hub.address;
    drop((peer, hub));
    until(&messenger, waiting).await;
    // What is said meanwhile changes what is wanted, and is not said twice.
    messenger.send("A", "1").await.unwrap();
    messenger.subscribe(["A", "C", "C"]).unwrap();
    messenger.unsubscribe(["B"]);
    messenger.send("A", "2").await.unwrap();
    let hub = Hub::start_at(address).await;
    let mut peer = hub.accept().await;
    peer.expect(&[r#"{"rooms":["A","C"],"create":true}"#, "A\n1", "A\n2"]).await;
    peer.nothing_more().await;
    // And again, after a connection that said nothing.
    drop(peer);
    let mut peer = hub.accept().await;
    peer.expect(&[r#"{"rooms":["A","C"],"create":true}"#]).await;
    peer.nothing_more().await;
    peer.event("C\nx").await;
    receives(&messenger, &[("C", "x")]).await;
    assert_eq!(messenger.counts().connections, 3);
}

#[tokio::test]
async fn events_wait_for_a_hub_that_is_away_as_the_policy_says() {
    let check = async |policy: Policy, expected: [&str; 2], dropped: u64| {
        let hub = Hub::start().await;
        let mut options = quick();
        (options.outgoing.events, options.outgoing.policy) = (2, policy);
        let (messenger, peer) = hub.messenger(options).await;
        let (messenger, address) = (Arc::new(messenger), hub.address);
        drop((peer, hub));
        until(&messenger, waiting).await;
        messenger.send("A", "1").await.unwrap();
        messenger.send("A", "2").await.unwrap();
        let sender = Arc::clone(&messenger);
        let third = tokio::spawn(async move { sender.send("A", "3").await });
        if policy != Policy::Block {
            let refused = if policy == Policy::DropNewest { Err(SendError::Full) } else { Ok(()) };
            assert_eq!(soon(third).await.unwrap(), refused);
            assert_eq!(messenger.counts().outgoing, 2);
        } else {
            assert!(!third.is_finished());
        }
        let hub = Hub::start_at(address).await;
        let mut peer = hub.accept().await;
        peer.expect(&expected.map(|body| ["A\n", body].concat()).each_ref().map(String::as_str)).await;
        if policy == Policy::Block {
            peer.expect(&["A\n3"]).await;
        }
        peer.nothing_more().await;
        assert_eq!(messenger.counts().outgoing_dropped, dropped);
    };
    check(Policy::Block, ["1", "2"], 0).await;
    check(Policy::DropOldest, ["2", "3"], 1).await;
    check(Policy::DropNewest, ["1", "2"], 1).await;
}

#[tokio::test]
async fn an_event_that_was_not_written_as_a_whole_goes_again_and_once() {
    let hub = Hub::start().await;
    let (messenger, mut peer) = hub.messenger(quick()).await;
    let large = "x".repeat(15 * 1024 * 1024);
    messenger.send("A", &large).await.unwrap();
    messenger.send("A", "after").await.unwrap();
    // The hub reads the beginning alone.
    let mut beginning = vec![0; 1024 * 1024];
    soon(peer.0.get_mut().read_exact(&mut beginning)).await.unwrap();
    drop(peer);
    let mut peer = hub.accept().await;
    let whole = peer.frame().await.into_data();
    assert_eq!((whole.len(), &whole[..2]), (large.len() + 2, &b"A\n"[..]));
    peer.expect(&["A\nafter"]).await;
    peer.nothing_more().await;
    assert_eq!((messenger.counts().sent, messenger.counts().outgoing_dropped), (2, 0));
}

#[tokio::test]
async fn a_hub_that_says_nothing_for_too_long_is_left() {
    let hub = Hub::start().await;
    let (messenger, mut peer) = hub
        .messenger(Options {
            read_deadline: Duration::from_millis(200),
            redial_first: Duration::from_millis(200),
            redial_max: Duration::from_millis(200),
            ..quick()
        })
        .await;
    // Its pings are enough.
    for _ in 0..3 {
        peer.nothing_more().await;
    }
    let mut states = messenger.states();
    soon(states.wait_for(|state| matches!(state, State::Waiting { error, .. } if error.contains("too long"))))
        .await
        .unwrap();
    let _again = hub.accept().await;
}

#[tokio::test]
async fn why_a_hub_closed_is_told_and_answered() {
    let hub = Hub::start().await;
    let slow = Options { redial_first: SOON, redial_max: SOON, ..quick() };
    let (messenger, mut peer) = hub.messenger(slow).await;
    let frame = CloseFrame { code: CloseCode::Policy, reason: "too slow".into() };
    let mut states = messenger.states();
    peer.say(Message::Close(Some(frame.clone()))).await;
    assert_eq!(peer.frame().await, Message::Close(Some(frame)));
    drop(peer);
    let told = |state: &State| matches!(state, State::Waiting { error, .. } if error.ends_with(": 1008 too slow"));
    soon(states.wait_for(told)).await.unwrap();
}

#[tokio::test]
async fn one_that_is_closed_or_dropped_while_the_hub_is_away_ends_at_once() {
    let hub = Hub::start().await;
    let slow = Options { redial_first: Duration::from_secs(600), redial_max: Duration::from_secs(600), ..quick() };
    for close in [true, false] {
        let (messenger, peer) = hub.messenger(slow.clone()).await;
        drop(peer);
        until(&messenger, waiting).await;
        messenger.send("A", "1").await.unwrap();
        let mut states = messenger.states();
        if close {
            soon(messenger.close()).await;
            assert_eq!(messenger.counts().outgoing_dropped, 1);
        } else {
            drop(messenger);
        }
        soon(states.wait_for(|state| *state == State::Closed)).await.unwrap();
    }
}

#[tokio::test]
async fn closing_does_not_wait_for_ever_for_a_hub_that_reads_nothing() {
    let hub = Hub::start().await;
    let options = Options { close_deadline: Duration::from_millis(100), ..quick() };
    let (messenger, _peer): (Messenger, _) = hub.messenger(options).await;
    messenger.send("A", vec![b'x'; 24 * 1024 * 1024]).await.unwrap();
    messenger.send("A", "after").await.unwrap();
    soon(messenger.close()).await;
    assert_eq!((messenger.state(), messenger.counts().outgoing), (State::Closed, 0));
    assert_eq!(messenger.counts().outgoing_dropped, 2);
}

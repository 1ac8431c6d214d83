//! A messenger against a hub that does what a test tells it to.

#![allow(clippy::unwrap_used, reason = "a test")]

mod outages;
mod support;
mod tls;

use bytes::Bytes;
use client::{ConnectError, EventV2, Messenger, Options, Policy, Replay, RoomInfo, SendError, State};
use futures_util::StreamExt;
use support::{Hub, Peer, quick, receives, soon, until};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn it_subscribes_sends_and_receives_in_the_bytes_of_the_original() {
    let hub = Hub::start().await;
    let (messenger, mut peer) = hub.messenger(quick()).await;
    assert_eq!(messenger.state(), State::Connected);
    messenger.subscribe(["ITB-1108", "ITB-1101"]).unwrap();
    peer.expect(&[r#"{"rooms":["ITB-1101","ITB-1108"],"create":true}"#]).await;
    messenger.subscribe(["ITB-1101"]).unwrap();
    messenger.unsubscribe(["ITB-1108", "never"]);
    peer.expect(&[r#"{"rooms":["ITB-1108"],"create":false}"#]).await;
    let event = EventV2 { key: "a<b".into(), affected_room: RoomInfo::of("ITB-1101"), ..EventV2::default() };
    messenger.send("", "").await.unwrap();
    messenger.send_event(&event).await.unwrap();
    let body = concat!(
        r#"{"generating-system":"","timestamp":"0001-01-01T00:00:00Z","event-tags":null,"target-device":{},"#,
        r#""affected-room":{"buildingID":"ITB","roomID":"ITB-1101"},"key":"a\u003cb","value":"","user":""}"#
    );
    peer.expect(&["\n", &format!("ITB-1101\n{body}")]).await;
    peer.event("ITB-1101\n\n{\"key\":\"x\"}").await;
    peer.event("\n").await;
    let event = soon(messenger.receive()).await.unwrap();
    assert_eq!((event.room.as_str(), &event.body[..]), ("ITB-1101", &b"\n{\"key\":\"x\"}"[..]));
    assert_eq!((event.v2().unwrap().key.as_str(), &event.trimmed()[..]), ("x", &b"{\"key\":\"x\"}"[..]));
    receives(&messenger, &[("", "")]).await;
    assert_eq!(messenger.rooms(), ["ITB-1101"]);
}

#[tokio::test]
async fn what_is_no_event_is_counted_and_pings_are_answered() {
    let hub = Hub::start().await;
    let (messenger, mut peer) = hub.messenger(quick()).await;
    for text in ["no line break", ""] {
        peer.event(text).await;
    }
    peer.say(Message::Binary(Bytes::from_static(b"\xff\nroom"))).await;
    peer.say(Message::text("A\nevent")).await;
    peer.nothing_more().await;
    peer.event("A\nb\nc").await;
    receives(&messenger, &[("A", "b\nc")]).await;
    let counts = messenger.counts();
    assert_eq!((counts.malformed, counts.received), (4, 1));
}

#[tokio::test]
async fn what_no_room_can_be_called_is_refused() {
    let hub = Hub::start().await;
    let (messenger, mut peer) = hub.messenger(quick()).await;
    let long = "x".repeat(client::ROOM_BYTES_MAX + 1);
    assert_eq!(messenger.subscribe(["fine", "a\nb"]), Err(SendError::Room));
    assert_eq!(messenger.send(&long, "").await, Err(SendError::Room));
    assert_eq!(messenger.send("a\nb", "").await, Err(SendError::Room));
    peer.nothing_more().await;
}

#[tokio::test]
async fn what_was_said_is_heard_when_the_hub_says_so() {
    let hub = Hub::start().await;
    let (messenger, mut peer) = hub.messenger(quick()).await;
    messenger.send("A", "1").await.unwrap();
    messenger.subscribe(["A"]).unwrap();
    let hears = async {
        peer.expect(&[r#"{"rooms":["A"],"create":true}"#, "A\n1"]).await;
        assert!(peer.frame().await.is_ping());
        peer.nothing_more().await;
    };
    let (heard, ()) = tokio::join!(soon(messenger.heard()), hears);
    assert_eq!(heard, Ok(()));
    let lost = async { soon(messenger.heard()).await };
    let (lost, ()) = tokio::join!(lost, async {
        peer.0.get_mut().readable().await.unwrap();
        drop(peer);
    });
    assert_eq!(lost, Err(SendError::Lost));
    soon(messenger.close()).await;
    assert_eq!((messenger.heard().await, messenger.counts().outgoing_dropped), (Err(SendError::Closed), 0));
}

#[tokio::test]
async fn many_rooms_are_asked_for_in_several_changes() {
    let hub = Hub::start().await;
    let (messenger, mut peer) = hub.messenger(quick()).await;
    messenger.subscribe((0..600).map(|room| format!("R-{room:04}"))).unwrap();
    let mut rooms = 0;
    for _ in 0..3 {
        let text = peer.frame().await.into_text().unwrap();
        rooms += text.matches("R-").count();
        assert!(text.ends_with(r#""create":true}"#), "{text}");
    }
    assert_eq!(rooms, 600);
    peer.nothing_more().await;
}

#[tokio::test]
async fn an_address_that_is_none_and_a_refusal_are_errors_at_once_whatever_was_asked_for() {
    let keep_trying = Options { keep_trying: true, ..quick() };
    let none = Messenger::connect("ftp://hub", keep_trying.clone()).await.unwrap_err();
    assert!(matches!(none, ConnectError::Address { .. }) && none.is_final(), "{none}");
    let token = Options { token: Some("a\nb".into()), ..keep_trying.clone() };
    assert!(Messenger::connect("ws://hub", token).await.unwrap_err().is_final());
    for (status, text) in [(403, "Forbidden"), (400, "invalid connection type"), (401, "")] {
        let hub = Hub::start().await;
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        let url = hub.url();
        let (refused, _) = tokio::join!(Messenger::connect(&url, keep_trying.clone()), hub.answer(&answer));
        assert_eq!(refused.unwrap_err(), ConnectError::Refused { status, text: text.to_owned() });
    }
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_an_error_or_tried_again_as_asked() {
    let hub = Hub::start().await;
    let (url, address) = (hub.url(), hub.address);
    drop(hub);
    let error = Messenger::connect(&url, quick()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)) && !error.is_final(), "{error}");
    let messenger = Messenger::connect(&url, Options { keep_trying: true, ..quick() }).await.unwrap();
    assert!(!matches!(messenger.state(), State::Connected | State::Closed));
    until(&messenger, |state| matches!(state, State::Waiting { failures: 3.., error } if error.contains("refused")))
        .await;
    messenger.subscribe(["A"]).unwrap();
    messenger.send("A", "first").await.unwrap();
    let hub = Hub::start_at(address).await;
    let mut peer = hub.accept().await;
    peer.expect(&[r#"{"rooms":["A"],"create":true}"#, "A\nfirst"]).await;
    until(&messenger, |state| *state == State::Connected).await;
}

#[tokio::test]
async fn a_hub_that_is_busy_is_tried_again() {
    let hub = Hub::start().await;
    let url = hub.url();
    let answer = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let options = Options { keep_trying: true, ..quick() };
    let (messenger, _) = tokio::join!(Messenger::connect(&url, options), hub.answer(answer));
    let messenger = messenger.unwrap();
    hub.answer("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await;
    let _peer = hub.accept().await;
    until(&messenger, |state| *state == State::Connected).await;
}

#[tokio::test]
async fn the_token_is_shown_each_time_and_a_replay_asked_for_once() {
    let hub = Hub::start().await;
    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let replay = Some(Replay::Since("10m".into()));
    let options = Options { keep_trying: true, token: Some("secret".into()), replay, ..quick() };
    let url = hub.url();
    let (messenger, request) = tokio::join!(Messenger::connect(&url, options), hub.answer(busy));
    let messenger = messenger.unwrap();
    let check = |request: &str, path: &str| {
        assert!(request.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{request}");
        assert!(request.to_lowercase().contains("\r\nauthorization: bearer secret\r\n"), "{request}");
        assert!(!request.contains("Origin") && !request.contains("Sec-WebSocket-Protocol"), "{request}");
    };
    check(&request, "/connect/messenger?since=10m");
    assert!(!format!("{messenger:?}").contains("secret"), "a token is in no log");
    drop(hub.accept().await);
    check(&hub.answer(busy).await, "/connect/messenger");
}

#[tokio::test]
async fn it_closes_in_the_hubs_hearing_when_all_is_sent_and_what_came_can_still_be_taken() {
    let hub = Hub::start().await;
    let (messenger, mut peer) = hub.messenger(quick()).await;
    peer.event("A\none").await;
    peer.event("A\ntwo").await;
    peer.nothing_more().await;
    for number in 0..100 {
        messenger.send("A", number.to_string()).await.unwrap();
    }
    let reads = async {
        for number in 0..100 {
            peer.expect(&[&format!("A\n{number}")]).await;
        }
        assert!(peer.frame().await.is_close());
        assert!(soon(peer.0.next()).await.is_none(), "the close is answered");
        peer
    };
    let (_, _peer) = tokio::join!(soon(messenger.close()), reads);
    assert_eq!((messenger.state(), messenger.counts().outgoing_dropped), (State::Closed, 0));
    assert_eq!(messenger.send("A", "late").await, Err(SendError::Closed));
    receives(&messenger, &[("A", "one"), ("A", "two")]).await;
    assert_eq!(messenger.receive().await, None);
    soon(messenger.close()).await;
}

#[tokio::test]
async fn a_receiver_that_is_not_called_holds_up_nothing_or_the_hub_as_asked() {
    let hub = Hub::start().await;
    let check = async |policy: Policy, kept: [&str; 2], dropped: u64| {
        let mut options = quick();
        (options.incoming.events, options.incoming.policy) = (2, policy);
        let (messenger, mut peer) = hub.messenger(options).await;
        for event in ["A\n1", "A\n2", "A\n3", "A\n4"] {
            peer.event(event).await;
        }
        if policy != Policy::Block {
            peer.nothing_more().await;
        }
        receives(&messenger, &kept.map(|body| ("A", body))).await;
        assert_eq!(messenger.counts().incoming_dropped, dropped);
        (messenger, peer)
    };
    check(Policy::DropOldest, ["3", "4"], 2).await;
    check(Policy::DropNewest, ["1", "2"], 2).await;
    let (messenger, mut peer): (Messenger, Peer) = check(Policy::Block, ["1", "2"], 0).await;
    receives(&messenger, &[("A", "3"), ("A", "4")]).await;
    peer.nothing_more().await;
}

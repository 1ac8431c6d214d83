//! Messengers at a Tidings node's hub door.

#![allow(clippy::unwrap_used, reason = "a test")]

mod links;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use client::{ConnectError, Messenger, Options, Replay, State};
use door::suite::Plain;
use door::{Access, Limits, Port, Principal, Token, TokenHash};
use door_hub::{HubDoor, Sockets};
use event::{Moment, Pattern};
use journal::StreamConfig;
use journal::local::Local;
use tokio::net::TcpListener;
use tokio::time::timeout;

/// How long a test waits for something that is to happen.
const SOON: Duration = Duration::from_secs(20);

fn clock() -> Moment {
    Moment::EPOCH.after(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

fn port(access: Access) -> Port {
    Port::new(Arc::new(Local::new(Arc::new(clock))), Arc::new(Plain::default()), access, Limits::default())
}

/// Opens the door at an address; strictly, so that a doubled subscription would show.
async fn open(port: &Port, at: &str) -> HubDoor {
    open_as(port, at, door_hub::Options { strict_compat: true, ..door_hub::Options::default() }).await
}

async fn open_as(port: &Port, at: &str, options: door_hub::Options) -> HubDoor {
    let sockets = Sockets { hub: TcpListener::bind(at).await.unwrap(), repeater: None };
    HubDoor::open(sockets, port.clone(), options).unwrap()
}

fn quick() -> Options {
    Options { redial_first: Duration::from_millis(5), redial_max: Duration::from_millis(20), ..Options::default() }
}

/// A messenger whose subscriptions the door has.
async fn messenger(at: &str, rooms: &[&str], options: Options) -> Messenger {
    let messenger = Messenger::connect(at, options).await.unwrap();
    messenger.subscribe(rooms).unwrap();
    messenger.heard().await.unwrap();
    messenger
}

async fn until(messenger: &Messenger, state: State) {
    timeout(SOON, messenger.states().wait_for(|now| *now == state)).await.unwrap().unwrap();
}

async fn receives(messenger: &Messenger, expected: &[(&str, &str)]) {
    for (room, body) in expected {
        let event = timeout(SOON, messenger.receive()).await.unwrap().unwrap();
        assert_eq!((event.room.as_str(), &event.trimmed()[..]), (*room, body.as_bytes()));
    }
}

/// Nothing more came than was received.
async fn nothing_more(messengers: &[&Messenger]) {
    for messenger in messengers {
        timeout(SOON, messenger.heard()).await.unwrap().unwrap();
        assert_eq!(messenger.counts().incoming, 0);
    }
}

#[tokio::test]
async fn messengers_hear_each_other_and_after_a_restart_again_and_everything_once() {
    let port = port(Access::open());
    let door = open(&port, "127.0.0.1:0").await;
    let at = door.address().to_string();
    let one = messenger(&at, &["A", "A"], quick()).await;
    let all = messenger(&at, &["*"], quick()).await;
    one.subscribe(["A"]).unwrap();
    one.send("A", "1").await.unwrap();
    all.send("A", "2").await.unwrap();
    all.send("B", "3").await.unwrap();
    receives(&all, &[("A", "1")]).await;
    receives(&one, &[("A", "2")]).await;
    nothing_more(&[&one, &all]).await;

    door.close().await;
    timeout(SOON, one.states().wait_for(|state| *state != State::Connected)).await.unwrap().unwrap();
    timeout(SOON, all.states().wait_for(|state| *state != State::Connected)).await.unwrap().unwrap();
    one.subscribe(["A", "C"]).unwrap();
    one.unsubscribe(["C"]);
    one.send("A", "4").await.unwrap();
    let door = open(&port, &at).await;
    for messenger in [&one, &all] {
        until(messenger, State::Connected).await;
        timeout(SOON, messenger.heard()).await.unwrap().unwrap();
    }
    all.send("A", "5").await.unwrap();
    all.send("C", "6").await.unwrap();
    receives(&one, &[("A", "5")]).await;
    nothing_more(&[&one]).await;
    one.send("A", "7").await.unwrap();
    // What waited went when the connection was there, be it before the other one's subscription.
    let first = timeout(SOON, all.receive()).await.unwrap().unwrap();
    if first.trimmed() == "4" {
        receives(&all, &[("A", "7")]).await;
    } else {
        assert_eq!(first.trimmed(), "7");
    }
    nothing_more(&[&one, &all]).await;
    timeout(SOON, one.close()).await.unwrap();
    assert_eq!(one.counts().outgoing_dropped, 0);
    door.close().await;
}

#[tokio::test]
async fn what_was_kept_is_replayed_on_request_and_once() {
    let port = port(Access::open());
    let rooms = StreamConfig::new("ROOMS", [Pattern::parse("room.A").unwrap()]);
    port.stream_create(&Principal::anyone(), rooms).await.unwrap();
    let door = open(&port, "127.0.0.1:0").await;
    let at = door.address().to_string();
    let sender = messenger(&at, &[], quick()).await;
    for body in ["1", "2"] {
        sender.send("A", body).await.unwrap();
    }
    timeout(SOON, sender.heard()).await.unwrap().unwrap();
    let late = messenger(&at, &["A"], Options { replay: Some(Replay::Since("10m".into())), ..quick() }).await;
    receives(&late, &[("A", "1"), ("A", "2")]).await;
    sender.send("A", "3").await.unwrap();
    receives(&late, &[("A", "3")]).await;
    door.close().await;
    timeout(SOON, late.states().wait_for(|state| *state != State::Connected)).await.unwrap().unwrap();
    let _door = open(&port, &at).await;
    until(&late, State::Connected).await;
    timeout(SOON, late.heard()).await.unwrap().unwrap();
    until(&sender, State::Connected).await;
    sender.send("A", "4").await.unwrap();
    receives(&late, &[("A", "4")]).await;
}

#[tokio::test]
async fn who_shows_no_token_is_refused_at_once_and_a_room_that_is_not_allowed_is_not_heard() {
    let patterns = vec![Pattern::parse("room.A").unwrap()];
    let token = Token {
        name: "panel".into(),
        hash: TokenHash::of("secret"),
        publish: patterns.clone(),
        read: patterns,
        admin: false,
    };
    let door = open(&port(Access::tokens(vec![token])), "127.0.0.1:0").await;
    let at = door.address().to_string();
    let shown = |token: &str| Options { token: Some(token.into()), keep_trying: true, ..quick() };
    for options in [quick(), shown("wrong")] {
        let refused = Messenger::connect(&at, options).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Refused { status: 401, .. }), "{refused}");
    }
    let one = messenger(&at, &["A", "B"], shown("secret")).await;
    let two = messenger(&at, &["A", "B"], shown("secret")).await;
    one.send("B", "no").await.unwrap();
    one.send("A", "yes").await.unwrap();
    receives(&two, &[("A", "yes")]).await;
    nothing_more(&[&one, &two]).await;
}

//! Bad input, and connections that stall, vanish or come and go: each with its answer, counted, at bounded cost.

use std::time::Duration;

use door_hub::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, PATIENCE, Served, serve, usual};

/// A connection that is spoken to in bytes.
struct Raw(TcpStream);

impl Raw {
    async fn new(served: &Served, kind: &str) -> Raw {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        let head = format!(
            "GET /connect/{kind} HTTP/1.1\r\nHost: localhost:7100\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).await.unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 ") && answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
        assert!(!answer.contains("protocol:") && !answer.contains("extensions"), "{answer}");
        Raw(socket)
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Everything until the end.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("it stays open");
        let _reset_counts_as_an_end = read;
        rest
    }
}

/// A masked frame (the mask is zero) of a claimed length.
fn frame(first: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 127];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn event(payload: &[u8]) -> Vec<u8> {
    frame(0x82, payload.len() as u64, payload)
}

#[tokio::test]
async fn frames_that_are_no_events_are_dropped_and_the_connection_stays() {
    let served = usual().await;
    let mut every = served.messenger(&["*"]).await;
    let mut sender = served.client("messenger").await;
    sender.binary("no newline").await;
    sender.binary([&[b'r'; 10_000][..], b"\nx"].concat()).await;
    sender.text("not json").await;
    sender.text("{\"rooms\":5}").await;
    sender.text(&serde_json::json!({"rooms": ["r".repeat(10_000)], "create": true}).to_string()).await;
    sender.settle().await;
    assert_eq!((served.dropped("no-newline"), served.dropped("room-too-long")), (1, 2));
    for room in [&b""[..], b"*", b"a.*.>", b"..", b"\xff\xfe", b"%", b" \t\r"] {
        sender.binary([room, b"\n\xff\x00"].concat()).await;
        every.hears(&String::from_utf8_lossy(&[room, b"\n\n\xff\x00"].concat())).await;
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_with_its_reason() {
    let served = usual().await;
    for (bytes, code, why) in [
        (frame(0x82, 64 * 1024 * 1024, b""), 1009_u16, "too-long"),
        (frame(0x82, u64::MAX, b""), 1009, "too-long"),
        (vec![0x82, 1, b'x'], 1002, "protocol"),
        (frame(0xf2, 0, b""), 1002, "protocol"),
        (frame(0x80, 0, b""), 1002, "protocol"),
        ([frame(0x02, 1, b"a"), frame(0x82, 1, b"b")].concat(), 1002, "protocol"),
    ] {
        let before = served.disconnected(why);
        let mut raw = Raw::new(&served, "messenger").await;
        raw.say(&bytes).await;
        let [high, low] = code.to_be_bytes();
        assert_eq!(raw.rest().await, [0x88, 2, high, low]);
        served.until("it is counted", |_| served.disconnected(why) == before + 1).await;
    }
}

#[tokio::test]
async fn fragments_are_put_together_and_those_that_never_end_are_bounded() {
    let served = serve(Options { payload_bytes_max: 1000, ..Options::default() }).await;
    let mut here = served.messenger(&["A"]).await;
    let mut raw = Raw::new(&served, "messenger").await;
    let ping = vec![0x89, 0x80, 0, 0, 0, 0];
    let parts = [frame(0x02, 2, b"A\n"), ping, frame(0x00, 1, b"x"), frame(0x80, 1, b"y")].concat();
    for byte in parts {
        raw.say(&[byte]).await;
    }
    here.hears("A\n\nxy").await;
    raw.say(&frame(0x02, 2, b"A\n")).await;
    let mut said = 0;
    let part = frame(0x00, 1000, &[b'x'; 1000]);
    while said < 10_000_000 && raw.0.write_all(&part).await.is_ok() {
        said += part.len();
    }
    raw.rest().await;
    assert!(said < 10_000_000);
    served.until("it is counted", |_| served.disconnected("too-long") == 1).await;
    let mut large = served.client("messenger").await;
    large.binary([b"A\n", &[b'x'; 2000][..]].concat()).await;
    large.settle().await;
    assert_eq!(served.dropped("too-large"), 1);
}

#[tokio::test]
async fn who_never_answers_pings_is_cut_without_a_word_and_data_does_not_help() {
    let spans = (Duration::from_millis(100), Duration::from_millis(400));
    let served = serve(Options { ping_interval: spans.0, read_deadline: spans.1, ..Options::default() }).await;
    let mut silent = Raw::new(&served, "messenger").await;
    let mut here = served.messenger(&["A"]).await;
    silent.say(&event(b"A\n1")).await;
    here.hears("A\n\n1").await;
    let listening = tokio::spawn(async move { here.heard().await });
    let rest = silent.rest().await;
    assert!(rest.chunks(2).all(|ping| ping == [0x89, 0]) && rest.len() >= 4, "{rest:?}");
    served.until("it is counted", |_| served.disconnected("no-pong") == 1).await;
    let mut sender = served.client("messenger").await;
    sender.binary("A\n2").await;
    assert_eq!(listening.await.unwrap(), "A\n\n2", "who answers pings stays");
}

#[tokio::test]
async fn who_does_not_read_is_given_up_with_its_reason_and_delays_nobody() {
    let deadline = Duration::from_millis(300);
    let limits = Options { pending_bytes_max: 300_000, write_deadline: deadline, ..Options::default() };
    for (options, why, kind) in [
        (limits.clone(), "slow-pending", "messenger"),
        (
            Options { pending_bytes_max: 1 << 30, pending_messages_max: 1 << 20, ..limits.clone() },
            "slow-deadline",
            "hub",
        ),
        (limits, "slow-pending", "repeater"),
    ] {
        let served = serve(options).await;
        let mut stalled = Raw::new(&served, kind).await;
        if kind == "messenger" {
            let change = br#"{"rooms":["A"],"create":true}"#;
            stalled.say(&frame(0x81, change.len() as u64, change)).await;
        }
        let mut here = served.messenger(&["A"]).await;
        let mut sender = served.client("messenger").await;
        let body = format!("A\n{}", "x".repeat(10_000));
        let mut sent = 0;
        while served.disconnected(why) == 0 {
            sender.binary(&body).await;
            here.heard().await;
            sent += 1;
            assert!(sent < 20_000, "{kind}: {:?}", served.door.counts());
        }
        served.until("what it lost is counted", |_| served.dropped("full") > 0).await;
        drop(stalled);
    }
}

#[tokio::test]
async fn connections_that_come_and_go_leave_nothing() {
    let served = usual().await;
    for turn in 0..300 {
        match turn % 3 {
            0 => drop(TcpStream::connect(served.address).await.unwrap()),
            1 => drop(Raw::new(&served, "hub").await),
            _ => drop(served.messenger(&["A", "*"]).await),
        }
    }
    served.until("all are gone", |door| door.status()["connections"].as_array().unwrap().is_empty()).await;
    served.until("no link stays", |door| door.counts().links_up == 0).await;
    assert!(served.fabric().is_quiet());
}

#[tokio::test]
async fn beyond_the_limit_nobody_more_is_taken() {
    let served = serve(Options { connections_max: 2, ..Options::default() }).await;
    let (_one, _two) = (served.messenger(&["A"]).await, served.messenger(&["A"]).await);
    assert_eq!(Client::with(served.address, "/connect/messenger", &[]).await.err(), Some(503));
    drop(_one);
    served.until("there is room", |door| door.counts().connections.messengers == 1).await;
    served.messenger(&["A"]).await;
}

#[tokio::test]
async fn the_door_says_goodbye_when_it_closes() {
    let served = usual().await;
    let (mut here, mut hub) = (served.messenger(&["A"]).await, served.client("hub").await);
    let door = std::sync::Arc::clone(&served.door);
    let closing = tokio::spawn(async move { door.close().await });
    assert_eq!((here.closed().await, hub.closed().await), (Some(1001), Some(1001)));
    drop((here, hub));
    closing.await.unwrap();
    assert_eq!(served.disconnected("shutdown"), 2);
}

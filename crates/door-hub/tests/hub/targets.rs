//! The repeater's own role: what comes in by it, and what it pushes.

use std::time::Duration;

use door_hub::{Format, Target};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::support::{Client, PATIENCE, post, request, usual};

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    (listener, at)
}

/// One POST: its body, answered with a status.
async fn posted(listener: &TcpListener, status: u16) -> String {
    let (mut socket, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    answered(&mut socket, status).await
}

async fn answered(socket: &mut TcpStream, status: u16) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            assert!(
                head.starts_with("post /hook http/1.1") && head.contains("content-type: application/json"),
                "{head}"
            );
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
                return body.to_owned();
            }
        }
        assert!(socket.read_buf(&mut read).await.unwrap() > 0, "{text}");
    }
}

#[tokio::test]
async fn http_targets_are_tried_again_and_a_dead_one_delays_nobody() {
    let served = usual().await;
    let ((hook, at), (dead, dead_at), (refusing, refusing_at)) = (listener().await, listener().await, listener().await);
    let target = |name: &str, at: &str| Target {
        backoff: Duration::from_millis(5),
        timeout: Duration::from_secs(5),
        rooms: vec!["A".into()],
        ..Target::new(name, format!("http://{at}/hook"), Format::Http)
    };
    served.door.set_targets(vec![target("hook", &at), target("dead", &dead_at), target("refusing", &refusing_at)]);
    let mut sender = served.client("messenger").await;
    sender.binary("A\n1").await;
    sender.binary("B\n1").await;
    sender.settle().await;
    for status in [500, 503, 200] {
        assert_eq!(posted(&hook, status).await, "\n\n1");
    }
    posted(&refusing, 400).await;
    served
        .until("one is pushed and one is given up", |door| {
            let counts = door.counts();
            counts.pushed == 1 && counts.push_retries == 2
        })
        .await;
    served.until("a refusal is not tried again", |_| served.dropped("undeliverable") == 1).await;
    assert_eq!(post(served.address, "/event", r#"{"affected-room":{"roomID":"A"}}"#).await.0, 200);
    assert_eq!(posted(&hook, 200).await, "\n{\"affected-room\":{\"roomID\":\"A\"}}");
    let listing = served.door.status();
    assert_eq!(listing["targets"][0]["name"], "dead");
    assert_eq!(listing["targets"][2]["error"], "it answered 400 Bad Request");
    drop(dead);
}

#[tokio::test]
async fn a_full_queue_drops_for_its_target_alone_and_counts() {
    let served = usual().await;
    let (_never, at) = listener().await;
    let target = Target { timeout: Duration::from_secs(60), ..Target::new("t", format!("http://{at}"), Format::Http) };
    served.door.set_targets(vec![target]);
    let mut sender = served.client("messenger").await;
    for _ in 0..1100 {
        sender.binary("A\n1").await;
    }
    sender.settle().await;
    assert!((98..=100).contains(&served.dropped("full")), "{}", served.dropped("full"));
    served.door.set_targets(Vec::new());
    served.until("what waited is counted", |_| served.dropped("connection-ended") >= 1000).await;
}

async fn accepted(listener: &TcpListener, path: &str) -> WebSocketStream<TcpStream> {
    let (socket, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    #[expect(clippy::result_large_err, reason = "the library's shape")]
    let check = |request: &Request, response: Response| {
        assert_eq!(request.uri().path(), path);
        Ok(response)
    };
    tokio_tungstenite::accept_hdr_async(socket, check).await.unwrap()
}

#[tokio::test]
async fn websocket_targets_get_frames_as_from_a_repeater_and_are_closed_when_idle() {
    let served = usual().await;
    let (peer, at) = listener().await;
    let target =
        Target { idle: Duration::from_millis(50), ..Target::new("peer", format!("ws://{at}"), Format::WebSocket) };
    served.door.set_targets(vec![target]);
    let mut sender = served.client("messenger").await;
    sender.binary("ITB-1101\n{}").await;
    let mut socket = accepted(&peer, "/connect/ITB-1101/tidings").await;
    let next = socket.next().await.unwrap().unwrap();
    assert_eq!(next, Message::binary("ITB-1101\n\n\n{}"));
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else { panic!("no close") };
    assert_eq!(u16::from(frame.code), 1001);
    assert!(socket.next().await.is_none_or(|end| end.is_err()));
    served.until("it is closed", |door| door.counts().connections.targets == 0).await;
    sender.binary("a b\n2").await;
    let mut socket = accepted(&peer, "/connect/a%20b/tidings").await;
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary("a b\n\n\n2"));
}

#[tokio::test]
async fn events_that_come_by_the_repeater_go_to_messengers_and_hubs_and_to_no_repeater() {
    let served = usual().await;
    let mut here = served.messenger(&["A"]).await;
    let (mut hub, mut repeater) = (served.client("hub").await, served.client("repeater").await);
    hub.settle().await;
    repeater.settle().await;
    let mut peer = Client::new(served.repeater, "/connect/whatever/ITB-1101-CP1").await;
    peer.binary("A\n\n\n1").await;
    peer.text("A\n2").await;
    here.hears("A\n\n\n\n1").await;
    here.hears("A\n\n2").await;
    hub.hears("A\n\n\n\n1").await;
    hub.hears("A\n\n2").await;
    repeater.settle().await;
    let body = r#"{"affected-room":{"roomID":"A"}}"#;
    assert_eq!(post(served.repeater, "/send", body).await, (200, "ok".into()));
    here.hears(&format!("A\n\n{body}")).await;
    let (status, _, why) = request(served.repeater, "POST /send HTTP/1.1", body.as_bytes()).await;
    assert!(status == 400 && why.contains("code=415"), "{status} {why}");
    assert_eq!(request(served.repeater, "GET /connect/messenger HTTP/1.1", b"").await.0, 404);
    assert_eq!(served.door.counts().connections.peers, 1);
}

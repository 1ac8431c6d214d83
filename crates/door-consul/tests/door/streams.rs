//! Streams: a snapshot, then changes, by server-sent events and by gRPC.

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use door_consul::Options;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Client, PATIENCE, Served, serve, serve_with, token};

async fn follow(node: &Served, path: &str, headers: &str) -> Client {
    let mut client = node.client().await;
    client.send("GET", path, &format!("Accept: text/event-stream\r\n{headers}"), b"").await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.to_lowercase().contains("text/event-stream"), "{head}");
    client
}

fn id(event: &str) -> u64 {
    event
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap_or_else(|| panic!("no id: {event}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_snapshot_then_changes() {
    let node = serve().await;
    node.register("web", "n1", "web1", 80).await;
    node.register("web", "n1", "web2", 81).await;
    let mut client = follow(&node, "/v1/health/service/web", "").await;
    let events = client.events("event: end").await;
    assert_eq!(events.len(), 4, "{events:?}");
    assert!(events[0].contains("event: snapshot") && events[0].contains("id: 0"));
    assert!(events[1].contains("event: put") && !events[1].contains("id: "));
    let at = id(&events[3]);
    assert_eq!(at, node.get("/v1/health/service/web").await.index());
    node.register("db", "n1", "db1", 5432).await;
    node.register("web", "n1", "web2", 82).await;
    let change = client.events("\"Port\":82").await;
    assert_eq!(change.len(), 1, "{change:?}");
    assert!(change[0].contains("event: put") && id(&change[0]) > at);
    node.put("/v1/catalog/deregister", r#"{"Node":"n1","ServiceID":"web1"}"#).await;
    let gone = client.events("event: remove").await;
    assert!(gone[0].contains(r#"data: {"Node":"n1","ServiceID":"web1","ServiceName":"web"}"#), "{gone:?}");
}

#[tokio::test]
async fn whoever_comes_back_is_told_what_it_missed() {
    let node = serve().await;
    for port in [80, 81] {
        node.register("web", "n1", "web1", port).await;
    }
    let mut first = follow(&node, "/v1/health/service/web", "").await;
    let at = id(first.events("event: end").await.last().unwrap());
    drop(first);
    node.until("it is gone", |counts| counts.sse == 0).await;
    node.register("web", "n2", "web2", 90).await;
    node.register("web", "n3", "web3", 91).await;
    let snapshots = node.door.counts().snapshots_sent;
    let mut client = follow(&node, "/v1/health/service/web", &format!("Last-Event-ID: {at}\r\n")).await;
    let events = client.events("web3").await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[0].contains("web2") && id(&events[0]) > at);
    assert_eq!(node.door.counts().snapshots_sent, snapshots);
    assert_eq!(node.door.counts().resumed, 1);
    let mut ahead = follow(&node, "/v1/health/service/web", "Last-Event-ID: 99999\r\n").await;
    assert!(ahead.events("event: end").await[0].contains("event: snapshot"));
}

#[tokio::test]
async fn many_who_arrive_share_one_snapshot_and_each_change() {
    let node = serve().await;
    node.register("web", "n1", "web1", 80).await;
    let mut clients = Vec::new();
    for place in 0..50 {
        if place == 25 {
            node.register("web", "n1", "web2", 81).await;
        }
        clients.push(follow(&node, "/v1/health/service/web", "").await);
    }
    node.until("all are there", |counts| counts.sse == 50).await;
    node.register("web", "n1", "web3", 82).await;
    for client in &mut clients {
        let events = client.events("web3").await;
        assert!(events.iter().any(|event| event.contains("web2")), "{events:?}");
    }
    let counts = node.door.counts();
    assert_eq!((counts.snapshots, counts.snapshots_sent), (1, 50));
    assert!(counts.batches <= 3, "{counts:?}");
}

#[tokio::test]
async fn what_does_not_fit_any_more_is_removed() {
    let node = serve().await;
    let register = |status: &str| {
        let check = serde_json::json!({"CheckID": "c", "Name": "c", "Status": status, "ServiceID": "web1"});
        let service = serde_json::json!({"ID": "web1", "Service": "web"});
        serde_json::json!({"Node": "n1", "Address": "1.2.3.4", "Service": service, "Check": check}).to_string()
    };
    node.put("/v1/catalog/register", &register("passing")).await;
    let mut client = follow(&node, "/v1/health/service/web?passing", "").await;
    assert_eq!(client.events("event: end").await.len(), 3);
    node.put("/v1/catalog/register", &register("critical")).await;
    assert!(client.events("event: remove").await[0].contains("web1"));
    node.put("/v1/catalog/register", &register("passing")).await;
    assert!(client.events("event: put").await[0].contains("web1"));
}

/// What is in the chunks that are whole.
fn whole_chunks(mut bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(chunk) = bytes.get(end + 2..end + 2 + size) else { break };
        all.extend_from_slice(chunk);
        bytes = bytes.get(end + 2 + size + 2..).unwrap_or_default();
    }
    all
}

#[tokio::test]
async fn a_compressed_stream_is_one_stream_of_gzip() {
    let node = serve().await;
    for id in 0..50 {
        node.register("web", "n1", &format!("web{id}"), 80).await;
    }
    let mut client = follow(&node, "/v1/health/service/web", "Accept-Encoding: gzip\r\n").await;
    let (mut came, mut packed) = (Vec::new(), Vec::new());
    let mut text = String::new();
    while !text.contains("event: end") {
        came.extend_from_slice(&client.some().await);
        packed = whole_chunks(&came);
        let mut read = vec![0; 1 << 20];
        let mut decoder = flate2::read::GzDecoder::new(&packed[..]);
        let mut all = Vec::new();
        while let Ok(count @ 1..) = decoder.read(&mut read) {
            all.extend_from_slice(&read[..count]);
        }
        text = String::from_utf8_lossy(&all).into_owned();
    }
    assert_eq!(text.matches("event: put").count(), 50);
    assert!(packed.len() < text.len() / 4, "{} of {}", packed.len(), text.len());
}

#[tokio::test]
async fn other_rights_end_a_stream_and_the_close_of_the_door_does() {
    let all = || token("all", &[">"], &[">"]);
    let web = token("web", &[], &["catalog.dc1.web.>"]);
    let node = serve_with(Options::default(), door::Access::tokens([all(), web])).await;
    let mut client = follow(&node, "/v1/health/service/web?token=web", "").await;
    client.events("event: end").await;
    let mut other = follow(&node, "/v1/health/service/web?token=all", "").await;
    other.events("event: end").await;
    let refused = node.get("/v1/health/service/db?token=web").await;
    assert_eq!(refused.text(), "[]");
    node.port.set_access(door::Access::tokens([all()]));
    client.ended().await;
    node.until("one goes on", |counts| counts.sse == 1).await;
    node.door.close().await;
    other.ended().await;
}

#[derive(Clone, PartialEq, Message)]
pub struct Request4 {
    #[prost(int32, tag = "1")]
    topic: i32,
    #[prost(string, tag = "3")]
    token: String,
    #[prost(uint64, tag = "4")]
    index: u64,
    #[prost(bool, optional, tag = "9")]
    wildcard: Option<bool>,
    #[prost(message, optional, tag = "10")]
    named: Option<Named>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    key: String,
}

/// An event, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
pub struct Told {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(bool, tag = "2")]
    pub end: bool,
    #[prost(bool, tag = "3")]
    follows: bool,
    #[prost(bytes = "vec", optional, tag = "10")]
    pub health: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "12")]
    service: Option<Vec<u8>>,
}

/// A call and what has come of it.
pub struct Call {
    body: Incoming,
    left: Vec<u8>,
    status: Option<String>,
}

impl Call {
    async fn new(node: &Served, request: &Request4) -> Call {
        Call::over(TcpStream::connect(node.door.grpc_address().unwrap()).await.unwrap(), request).await
    }

    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, request: &Request4) -> Call {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let message = request.encode_to_vec();
        let mut body = vec![0];
        body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend_from_slice(&message);
        let request = Request::post("http://x/subscribe.StateChangeSubscription/Subscribe")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
        // The connection lives as long as somebody can ask on it.
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            drop(sender);
        });
        Call { body: response.into_body(), left: Vec::new(), status }
    }

    /// The next event; `None` at the end, whose status is then known.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            if self.left.len() >= 5 {
                let length = u32::from_be_bytes(self.left[1..5].try_into().unwrap()) as usize;
                if self.left.len() >= 5 + length {
                    let frame: Vec<u8> = self.left.drain(..5 + length).collect();
                    return Some(Told::decode(&frame[5..]).unwrap());
                }
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("nothing comes")?.unwrap();
            match frame.into_data() {
                Ok(bytes) => self.left.extend_from_slice(&bytes),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap();
                    self.status = Some(trailers["grpc-status"].to_str().unwrap().to_owned());
                }
            }
        }
    }
}

pub fn health(key: &str, index: u64, token: &str) -> Request4 {
    let named = Some(Named { key: key.into() });
    Request4 { topic: 1, token: token.into(), index, wildcard: None, named }
}

#[tokio::test]
async fn grpc_tells_a_snapshot_then_changes_and_resumes() {
    let node = serve().await;
    node.register("web", "n1", "web1", 80).await;
    let mut call = Call::new(&node, &health("web", 0, "")).await;
    assert!(call.next().await.unwrap().health.is_some());
    let end = call.next().await.unwrap();
    assert!(end.end && end.index > 0);
    node.register("web", "n1", "web1", 81).await;
    let change = call.next().await.unwrap();
    assert!(change.health.is_some() && change.index > end.index);
    let mut resumed = Call::new(&node, &health("web", end.index, "")).await;
    assert_eq!(resumed.next().await.unwrap(), change);
    let mut ahead = Call::new(&node, &health("web", 999_999, "")).await;
    assert!(ahead.next().await.unwrap().follows);
    assert!(ahead.next().await.unwrap().health.is_some() && ahead.next().await.unwrap().end);
    node.until("all are there", |counts| counts.grpc == 3).await;
    node.door.close().await;
    assert_eq!((call.next().await, call.status.as_deref()), (None, Some("14")));
}

#[tokio::test]
async fn grpc_tells_the_names_of_services() {
    let node = serve().await;
    node.register("web", "n1", "web1", 80).await;
    let request = Request4 { topic: 7, wildcard: Some(true), ..Request4::default() };
    let mut call = Call::new(&node, &request).await;
    assert!(call.next().await.unwrap().service.is_some());
    assert!(call.next().await.unwrap().end);
    node.register("web", "n1", "web2", 80).await;
    node.register("db", "n1", "db1", 80).await;
    // Operation 0 is not written; the name is field 2.
    assert_eq!(call.next().await.unwrap().service.unwrap(), [0x12, 2, b'd', b'b']);
    node.put("/v1/catalog/deregister", r#"{"Node":"n1","ServiceID":"db1"}"#).await;
    assert_eq!(call.next().await.unwrap().service.unwrap(), [8, 1, 0x12, 2, b'd', b'b']);
}

#[tokio::test]
async fn grpc_refuses_what_cannot_be_followed_and_ends_what_may_not_be() {
    let all = || token("all", &[">"], &[">"]);
    let web = token("web", &[], &["catalog.dc1.web.>"]);
    let node = serve_with(Options::default(), door::Access::tokens([all(), web])).await;
    let wild = |topic| Request4 { topic, token: "all".into(), wildcard: Some(true), ..Request4::default() };
    let none = |topic| Request4 { topic, token: "all".into(), ..Request4::default() };
    for (request, code) in [
        (wild(1), "3"),
        (none(1), "3"),
        (none(7), "3"),
        (wild(3), "3"),
        (health("web", 0, "nobody"), "7"),
        (health("db", 0, "web"), "7"),
    ] {
        let mut call = Call::new(&node, &request).await;
        assert_eq!((call.next().await, call.status.as_deref()), (None, Some(code)), "{request:?}");
    }
    let mut call = Call::new(&node, &health("web", 0, "web")).await;
    assert!(call.next().await.unwrap().end);
    node.port.set_access(door::Access::tokens([all()]));
    assert_eq!((call.next().await, call.status.as_deref()), (None, Some("10")));
}

#[tokio::test]
async fn a_stream_behind_other_requests_comes_in_chunks() {
    let node = serve().await;
    let mut client = node.client().await;
    assert_eq!(client.ask("GET", "/v1/health/service/web", "").await.status, 200);
    let body = r#"{"Node":"n1","Address":"1.2.3.4","Service":{"Service":"web"}}"#;
    assert_eq!(client.ask("PUT", "/v1/catalog/register", body).await.text(), "true");
    client.send("GET", "/v1/health/service/web", "Accept: text/event-stream\r\n", b"").await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
    client.events("event: end").await;
    node.register("web", "n2", "web2", 81).await;
    assert!(client.events("event: put").await[0].contains("web2"));
    node.door.close().await;
    client.until(b"0\r\n\r\n").await;
}

#[tokio::test]
async fn whoever_does_not_read_its_stream_is_told_the_newest_when_it_does() {
    let node = serve().await;
    node.register("web", "n1", "web1", 1).await;
    let mut slow = follow(&node, "/v1/health/service/web", "").await;
    let mut fast = follow(&node, "/v1/health/service/web", "").await;
    slow.events("event: end").await;
    fast.events("event: end").await;
    let large = "x".repeat(4_000);
    for port in 1..=2_000 {
        let check =
            serde_json::json!({"CheckID": "c", "Name": "c", "Output": format!("{port} {large}"), "ServiceID": "web1"});
        let service = serde_json::json!({"ID": "web1", "Service": "web", "Port": port});
        let body = serde_json::json!({"Node": "n1", "Address": "1.2.3.4", "Service": service, "Check": check});
        assert_eq!(node.put("/v1/catalog/register", &body.to_string()).await.text(), "true");
    }
    fast.events("\"Port\":2000").await;
    let told = slow.events("\"Port\":2000").await;
    let ids: Vec<u64> = told.iter().map(|event| id(event)).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(told.len() <= 2_000, "{}", told.len());
}

#[tokio::test]
async fn http_two_is_spoken_where_it_is_begun_with() {
    let node = serve().await;
    node.register("web", "n1", "web1", 80).await;
    let stream = TcpStream::connect(node.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://x/v1/health/service/web").body(Full::new(Bytes::new())).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (hyper::Version::HTTP_2, 200));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, node.get("/v1/health/service/web").await.body);
}

#[tokio::test]
async fn grpc_tells_what_is_reached_by_mesh() {
    let node = serve().await;
    node.register("web", "n1", "web1", 80).await;
    let mut call = Call::new(&node, &Request4 { topic: 2, ..health("web", 0, "") }).await;
    assert!(call.next().await.unwrap().end);
    let proxy = serde_json::json!({
        "Name": "web-proxy", "Kind": "connect-proxy", "Port": 20000, "Proxy": {"DestinationServiceName": "web"},
    });
    assert_eq!(node.put("/v1/agent/service/register", &proxy.to_string()).await.status, 200);
    let came = call.next().await.unwrap();
    assert!(came.health.unwrap().windows(9).any(|window| window == b"web-proxy"));
    assert_eq!(node.put("/v1/agent/service/deregister/web-proxy", "").await.status, 200);
    let gone = call.next().await.unwrap();
    assert!(gone.index > came.index && gone.health.unwrap().starts_with(&[8, 1]));
}

#[tokio::test]
async fn who_reads_nothing_is_given_up() {
    let options = Options { write_deadline: Duration::from_millis(100), ..Options::default() };
    let node = serve_with(options, door::Access::open()).await;
    for id in 0..40 {
        let output = "x".repeat(4_000);
        let check = serde_json::json!({"CheckID": format!("c{id}"), "Name": "c", "Output": output, "ServiceID": format!("web{id}")});
        let service = serde_json::json!({"ID": format!("web{id}"), "Service": "web"});
        let body = serde_json::json!({"Node": "n1", "Address": "1.2.3.4", "Service": service, "Check": check});
        assert_eq!(node.put("/v1/catalog/register", &body.to_string()).await.text(), "true");
    }
    let mut client = node.client().await;
    for _ in 0..200 {
        client.send("GET", "/v1/health/service/web", "", b"").await;
    }
    node.until("it is gone", |counts| counts.connections == 0).await;
}

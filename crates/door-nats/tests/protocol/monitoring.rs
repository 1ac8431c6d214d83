//! What tools are told.

use std::net::SocketAddr;

use crate::support::{Client, serve};
use door_nats::Options;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The JSON that the monitoring gives for a path.
pub async fn get(monitor: SocketAddr, path: &str) -> Value {
    let text = fetch(monitor, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(body).unwrap()
}

async fn fetch(monitor: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(monitor).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn tools_find_the_fields_that_they_read() {
    let served = serve(Options::default()).await;
    let mut client = Client::new(&served, r#"{"verbose":false,"name":"me","lang":"rust","version":"1"}"#).await;
    client.say("SUB a.* 1\r\nPUB a.b 2\r\nhi\r\n").await;
    client.hears("MSG a.b 1 2\r\nhi\r\n").await;
    client.settle().await;
    let varz = get(served.monitor, "/varz").await;
    for (field, expected) in
        [("connections", 1), ("in_msgs", 1), ("out_msgs", 1), ("in_bytes", 2), ("subscriptions", 1)]
    {
        assert_eq!(varz[field], expected, "{field}");
    }
    assert!(varz["server_id"].as_str().unwrap().len() == 56 && varz["mem"].as_u64().unwrap() > 0);
    let connz = get(served.monitor, "/connz?subs=1").await;
    assert_eq!(connz["connections"][0]["name"], "me");
    assert_eq!(connz["connections"][0]["subscriptions_list"][0], "a.*");
    assert_eq!(get(served.monitor, "/subsz?subs=1").await["subscriptions_list"][0]["subject"], "a.*");
    assert_eq!(get(served.monitor, "/jsz?streams=1").await["streams"], 0);
    assert_eq!(get(served.monitor, "/healthz").await["status"], "ok");
}

#[tokio::test]
async fn only_questions_are_answered() {
    let served = serve(Options::default()).await;
    let refused =
        fetch(served.monitor, "POST /varz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 405"), "{refused}");
    let unknown = fetch(served.monitor, "GET /etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
}

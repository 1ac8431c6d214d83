//! Any bytes to any subject, and those who listen now.

use std::time::Duration;

use door::suite::{self, Seen, Street};
use door::{Access, Limits};

use crate::support::{Events, Node};

async fn stream(node: &Node) {
    node.check("PUT /v1/streams/S", &[], r#"{"subjects":["a.>"]}"#, 201, &[]).await;
}

#[tokio::test]
async fn bytes_and_headers_are_kept() {
    let node = Node::new();
    stream(&node).await;
    let headers = [("content-type", "image/png"), ("x-mine", "1"), ("authorization", "Bearer x"), ("cookie", "c=d")];
    let has = [r#"{"stream":"S","seq":1,"duplicate":false,"subject":"a.b"}"#];
    node.check("POST /v1/publish/a.b", &headers, &b"\x89PNG"[..], 201, &has).await;
    let message = node.check("GET /v1/streams/S/messages/1", &[], "", 200, &[]).await.json();
    assert_eq!(message["headers"], serde_json::json!({"content-type": ["image/png"], "x-mine": ["1"]}));
    assert_eq!((&message["data_base64"], &message["subject"]), (&"iVBORw==".into(), &"a.b".into()));
    assert_eq!((message["time"].as_str(), &message["event"]), (Some("2026-01-31T12:00:00Z"), &serde_json::Value::Null));
}

#[tokio::test]
async fn preconditions_hold_or_refuse() {
    let node = Node::new();
    stream(&node).await;
    let check = async |query: &str, status, has: &[&str]| {
        node.check(&format!("POST /v1/publish/a.b?{query}"), &[], "x", status, has).await;
    };
    check("expect_last=0&expect_stream=S&id=one", 201, &[r#""seq":1"#]).await;
    check("expect_last=0", 412, &["precondition", r#""expected":0"#, r#""found":1"#]).await;
    check("expect_stream=T", 412, &[r#""found":"S""#]).await;
    check("expect_last_of_subject=5", 412, &[r#""found":1"#]).await;
    check("expect_last_of_subject=0&expect_subject=a.c.*", 201, &[r#""seq":2"#]).await;
    check("expect_last_id=two", 412, &[r#""found":"one""#]).await;
    check("id=one", 201, &[r#""seq":1"#, r#""duplicate":true"#]).await;
    check("expect_subject=a", 400, &[r#""parameter":"expect_subject""#]).await;
    check("expect_last=x", 400, &[r#""parameter":"expect_last""#]).await;
    check("id=", 400, &[r#""parameter":"id""#]).await;
    check(&format!("id={}", "x".repeat(513)), 400, &[r#""field":"id""#]).await;
    check("expected_last=1", 400, &[r#""parameter":"expected_last""#]).await;
}

#[tokio::test]
async fn a_bad_subject_is_named() {
    let node = Node::new();
    stream(&node).await;
    for subject in ["a..b", "a.", ".a", "a.*", "a.%3E", "a%20b", "%FF", "a%0Ab"] {
        let answer = node.ask(&format!("POST /v1/publish/{subject}"), &[], "x").await;
        assert_eq!(answer.status, 400, "{subject}: {}", answer.text());
    }
    node.check(&format!("POST /v1/publish/{}", "a".repeat(1025)), &[], "x", 400, &["invalid-subject", "1024"]).await;
    node.check("POST /v1/publish/b", &[], "x", 404, &["no-stream", r#""subject":"b""#]).await;
    node.check("GET /v1/streams/S", &[], "", 200, &[r#""last_seq":0"#]).await;
}

#[tokio::test]
async fn a_full_stream_pushes_back() {
    let node = Node::new();
    let config = r#"{"subjects":["a"],"discard":"new","messages_max":1,"allow_ttl":false}"#;
    node.check("PUT /v1/streams/S", &[], config, 201, &[]).await;
    node.check("POST /v1/publish/a?ttl=1s", &[], "x", 400, &[r#""field":"ttl""#]).await;
    node.publish("a", "x").await;
    node.check("POST /v1/publish/a", &[], "x", 429, &["stream-full", r#""field":"messages_max""#]).await;
}

#[tokio::test]
async fn who_listens_hears_and_the_publisher_learns_of_it() {
    let node = Node::new();
    stream(&node).await;
    node.check("POST /v1/publish/live.x", &[], "x", 404, &["nobody listens"]).await;
    let mut events = Events::of(node.send("GET /v1/subscribe?subject=live.*&subject=a.*", &[], "").await);
    assert!(events.next().await.unwrap().contains(": following"));
    node.check("POST /v1/publish/live.x", &[("x-mine", "1")], "live", 202, &[r#"{"delivered":1}"#]).await;
    let (name, _, data) = events.event().await.unwrap();
    let expected = serde_json::json!({"subject": "live.x", "headers": {"x-mine": ["1"]}, "data": "live"});
    assert_eq!((name.as_str(), data), ("message", expected));
    // A duplicate is not heard twice; what is recorded is heard.
    node.check("POST /v1/publish/a.b?id=1", &[], "recorded", 201, &[]).await;
    node.check("POST /v1/publish/a.b?id=1", &[], "recorded", 201, &[]).await;
    assert_eq!(events.event().await.unwrap().2["data"], "recorded");
    node.shutdown.cancel();
    assert_eq!(events.next().await, None);
    drop(events);
    node.check("POST /v1/publish/live.x", &[], "x", 404, &[]).await;
    node.check("GET /v1/subscribe?subject=a..b", &[], "", 400, &[r#""parameter":"subject""#]).await;
    node.check("GET /v1/subscribe", &[("accept", "image/png")], "", 406, &["text/event-stream"]).await;
}

#[tokio::test]
async fn a_slow_listener_is_told_what_it_missed() {
    let limits = Limits { live_messages_max: 2, ..Limits::default() };
    let node = Node::with(Access::open(), limits);
    stream(&node).await;
    let mut events = Events::of(node.send("GET /v1/subscribe", &[], "").await);
    events.next().await.unwrap();
    for payload in ["1", "2", "3", "4", "5"] {
        node.publish("a.b", payload).await;
    }
    let (name, _, data) = events.event().await.unwrap();
    assert_eq!((name.as_str(), &data["dropped"]), ("dropped", &3.into()));
    assert_eq!(events.event().await.unwrap().2["data"], "1");
    assert_eq!(events.event().await.unwrap().2["data"], "2");
}

#[tokio::test(start_paused = true)]
async fn an_idle_listener_gets_a_sign_of_life() {
    let node = Node::new();
    let mut events = Events::of(node.send("GET /v1/subscribe", &[], "").await);
    events.next().await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(events.next().await.unwrap(), ": heartbeat");
    assert_eq!(began.elapsed(), Duration::from_secs(15));
}

/// This door's client for the stories that every door passes.
struct Client(Node);

impl Street for Client {
    fn name(&self) -> &'static str {
        "http"
    }

    async fn publish(&self, subject: &str, payload: &[u8]) -> Result<u64, String> {
        let subject = subject.replace('%', "%25").replace(' ', "%20").replace('>', "%3E");
        let answer = self.0.ask(&format!("POST /v1/publish/{subject}"), &[], payload.to_vec()).await;
        if answer.status == 201 { Ok(answer.json()["seq"].as_u64().unwrap()) } else { Err(answer.text()) }
    }

    async fn read(&self, stream: &str, from: u64, limit: usize) -> Result<Vec<Seen>, String> {
        let list = self.0.ask(&format!("GET /v1/streams/{stream}/messages?from={from}&limit={limit}"), &[], "").await;
        let mut seen = Vec::new();
        for message in list.json()["messages"].as_array().unwrap() {
            let seq = message["seq"].as_u64().unwrap();
            let payload = self.0.ask(&format!("GET /v1/streams/{stream}/messages/{seq}?raw=true"), &[], "").await.body;
            seen.push(Seen { seq, subject: message["subject"].as_str().unwrap().to_owned(), payload });
        }
        Ok(seen)
    }
}

#[tokio::test]
async fn the_door_passes_the_suite() {
    let client = Client(Node::new());
    stream(&client.0).await;
    suite::published_through_one_is_read_through_the_other(&client, &client, "S", "a.suite").await;
    suite::a_bad_subject_is_refused(&client, "S", "a.bad").await;
}

//! Reading, following, and removing.

use std::time::Duration;

use crate::support::{Events, Node};

const FOLLOW: (&str, &str) = ("accept", "text/event-stream");

async fn filled() -> Node {
    let node = Node::new();
    node.check("PUT /v1/streams/S", &[], r#"{"subjects":["a.>"]}"#, 201, &[]).await;
    for (subject, payload) in [("a.x", "1"), ("a.y", "2"), ("a.x", "3")] {
        node.publish(subject, payload).await;
    }
    node
}

#[tokio::test]
async fn pages_go_on_where_they_ended() {
    let node = filled().await;
    let list = async |query: &str| {
        let page = node.check(&format!("GET /v1/streams/S/messages{query}"), &[], "", 200, &[]).await.json();
        let data: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| m["data"].to_string()).collect();
        (data.join(""), page["next"].as_u64().unwrap(), page["last"].as_u64().unwrap())
    };
    assert_eq!(list("").await, (r#""1""2""3""#.to_owned(), 4, 3));
    assert_eq!(list("?limit=2").await, (r#""1""2""#.to_owned(), 3, 3));
    assert_eq!(list("?from=3").await, (r#""3""#.to_owned(), 4, 3));
    assert_eq!(list("?filter=a.x").await.0, r#""1""3""#);
    assert_eq!(list("?filter=a.x&filter=a.y").await.0, r#""1""2""3""#);
    assert_eq!(list("?last_per_subject=true").await.0, r#""2""3""#);
    assert_eq!(list("?since=1h").await.0, r#""1""2""3""#);
    assert_eq!(list("?since=2026-01-31T12:00:01Z").await, (String::new(), 4, 3));
    assert_eq!(list("?from=new").await, (String::new(), 4, 3));
}

#[tokio::test]
async fn a_faulty_question_is_refused() {
    let node = filled().await;
    for (query, has) in [
        ("limit=0", r#""parameter":"limit""#),
        ("limit=10001", r#""parameter":"limit""#),
        ("from=one", r#""parameter":"from""#),
        ("from=1&since=1h", r#""parameter":"since""#),
        ("since=then", r#""parameter":"since""#),
        ("filter=a..b", r#""parameter":"filter""#),
        ("wait=5", r#""parameter":"wait""#),
        ("last_per_subject=maybe", r#""parameter":"last_per_subject""#),
        ("fliter=a", r#""parameter":"fliter""#),
        ("from=1&from=2", r#""parameter":"from""#),
        ("filter=%FF", r#""parameter":"filter""#),
    ] {
        node.check(&format!("GET /v1/streams/S/messages?{query}"), &[], "", 400, &[has]).await;
    }
    node.check("GET /v1/streams/NONE/messages", &[], "", 404, &["no-stream"]).await;
    node.check("GET /v1/streams/NONE/messages", &[FOLLOW], "", 404, &["no-stream"]).await;
    node.check("GET /v1/streams/S/messages", &[("accept", "image/png")], "", 406, &["not-acceptable"]).await;
    let resume = [FOLLOW, ("last-event-id", "x")];
    node.check("GET /v1/streams/S/messages", &resume, "", 400, &["last_event_id"]).await;
}

#[tokio::test]
async fn one_message_is_given_and_removed() {
    let node = filled().await;
    node.check("GET /v1/streams/S/messages/2", &[], "", 200, &[r#""seq":2"#, r#""data":"2""#]).await;
    let raw = node.check("GET /v1/streams/S/messages/2?raw", &[], "", 200, &[]).await;
    assert_eq!((raw.text().as_str(), raw.header("content-type")), ("2", "application/octet-stream"));
    assert_eq!((raw.header("tidings-subject"), raw.header("tidings-stream")), ("a.y", "S"));
    let event = [("accept", "application/cloudevents+json")];
    node.check("GET /v1/streams/S/messages/2", &event, "", 406, &["carries no event"]).await;
    node.check("GET /v1/streams/S/last", &[], "", 200, &[r#""seq":3"#]).await;
    node.check("GET /v1/streams/S/last?filter=a.y", &[], "", 200, &[r#""seq":2"#]).await;
    node.check("GET /v1/streams/S/last?filter=a.none", &[], "", 404, &["no-message"]).await;
    node.check("DELETE /v1/streams/S/messages/2", &[], "", 204, &[]).await;
    node.check("DELETE /v1/streams/S/messages/2", &[], "", 404, &["no-message"]).await;
    node.check("GET /v1/streams/S/messages/2", &[], "", 404, &["no-message"]).await;
    node.check("GET /v1/streams/S/messages/two", &[], "", 400, &["'two'"]).await;
    node.check("GET /v1/streams/S/messages/2?raw=no", &[], "", 400, &[r#""parameter":"raw""#]).await;
}

#[tokio::test]
async fn following_gives_the_past_and_then_what_comes() {
    let node = filled().await;
    let mut events = Events::of(node.send("GET /v1/streams/S/messages?filter=a.x", &[FOLLOW], "").await);
    assert!(events.next().await.unwrap().contains("retry: "));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (name, id, data) = events.event().await.unwrap();
        assert_eq!((name.as_str(), data["seq"].to_string()), ("message", id.clone()));
        seen.push(id);
    }
    assert_eq!(seen, ["1", "3"]);
    let next = tokio::spawn(async move { (events.event().await, events) });
    tokio::task::yield_now().await;
    node.publish("a.y", "other").await;
    node.publish("a.x", "4\n").await;
    let (event, mut events) = next.await.unwrap();
    let (_, id, data) = event.unwrap();
    assert_eq!((id.as_str(), &data["data"]), ("5", &"4\n".into()));
    node.shutdown.cancel();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn following_resumes_after_the_last_id() {
    let node = filled().await;
    for (line, headers) in [
        ("GET /v1/streams/S/messages?limit=1", &[FOLLOW, ("last-event-id", "2")][..]),
        ("GET /v1/streams/S/messages?limit=1&last_event_id=2&from=1", &[FOLLOW]),
        ("GET /v1/streams/S/messages?limit=1&from=3", &[FOLLOW]),
    ] {
        let mut events = Events::of(node.send(line, headers, "").await);
        assert_eq!(events.event().await.unwrap().1, "3", "{line}");
        assert_eq!(events.next().await, None, "{line}: it ends at its limit");
    }
}

#[tokio::test]
async fn following_can_begin_with_what_is_true_now() {
    let node = filled().await;
    let mut events = Events::of(node.send("GET /v1/streams/S/messages?last_per_subject", &[FOLLOW], "").await);
    assert_eq!((events.event().await.unwrap().1, events.event().await.unwrap().1), ("2".into(), "3".into()));
    node.publish("a.y", "4").await;
    node.publish("a.y", "5").await;
    assert_eq!((events.event().await.unwrap().1, events.event().await.unwrap().1), ("4".into(), "5".into()));
}

#[tokio::test(start_paused = true)]
async fn an_idle_following_gets_a_sign_of_life_and_an_end_with_its_stream() {
    let node = filled().await;
    let mut events = Events::of(node.send("GET /v1/streams/S/messages?from=new", &[FOLLOW], "").await);
    events.next().await.unwrap();
    let next = tokio::spawn(async move { (events.next().await, events) });
    tokio::task::yield_now().await;
    node.pass(Duration::from_secs(16)).await;
    let (block, mut events) = next.await.unwrap();
    assert_eq!(block.unwrap(), ": heartbeat");
    node.check("DELETE /v1/streams/S", &[], "", 204, &[]).await;
    let (name, _, data) = events.event().await.unwrap();
    assert_eq!((name.as_str(), &data["status"]), ("error", &404.into()));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_reader_that_stops_slows_nobody_and_misses_nothing() {
    let node = filled().await;
    let mut events = Events::of(node.send("GET /v1/streams/S/messages", &[FOLLOW], "").await);
    for _ in 0..2_000 {
        node.publish("a.x", "more").await;
    }
    for expected in 1..=2_003 {
        assert_eq!(events.event().await.unwrap().1, expected.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_waits_for_the_first_message() {
    let node = filled().await;
    let router = node.router.clone();
    let asked = tokio::spawn(async move {
        let request = axum::http::Request::get("/v1/streams/S/messages?from=4&wait=10s");
        let request = request.body(axum::body::Body::empty()).unwrap();
        tower::ServiceExt::oneshot(router, request).await.unwrap()
    });
    tokio::task::yield_now().await;
    node.publish("a.x", "late").await;
    let response = asked.await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("late"));
}

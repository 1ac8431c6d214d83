//! Consumers: declaring, pulling, answering.

use axum::body::Body;
use serde_json::Value;

use crate::support::{Events, Node};

const C: &str = "/v1/streams/S/consumers/c";

async fn filled(config: &'static str) -> Node {
    let node = Node::new();
    node.check("PUT /v1/streams/S", &[], r#"{"subjects":["a.>"]}"#, 201, &[]).await;
    for (subject, payload) in [("a.x", "1"), ("a.y", "2"), ("a.x", "3")] {
        node.publish(subject, payload).await;
    }
    node.check(&format!("PUT {C}"), &[], config, 201, &[]).await;
    node
}

async fn fetch(node: &Node, body: &str) -> (Vec<Value>, String) {
    let answer = node.check(&format!("POST {C}/fetch"), &[], body.to_owned(), 200, &[]).await.json();
    (answer["messages"].as_array().unwrap().clone(), answer["end"].as_str().unwrap().to_owned())
}

fn tokens(messages: &[Value]) -> String {
    let tokens: Vec<&Value> = messages.iter().map(|message| &message["token"]).collect();
    serde_json::json!({ "tokens": tokens }).to_string()
}

#[tokio::test]
async fn a_consumer_lives() {
    let node = filled(r#"{"name":"c","filters":["a.x"],"ack_wait":"1m","backoff":["1s","90s"]}"#).await;
    let info = node.check(&format!("GET {C}"), &[], "", 200, &[]).await.json();
    let expected = serde_json::json!({
        "name": "c", "description": "", "durable": true, "filters": ["a.x"], "start": "all", "ack": "explicit",
        "ack_wait": "1m", "backoff": ["1s", "90s"], "dead_letter": true, "ack_pending_max": 1000,
    });
    assert_eq!(info["config"], expected);
    for name in ["delivered", "deliveries", "ack_floor", "ack_pending", "redelivered", "pending", "waiting", "dead"] {
        assert!(info[name].is_u64(), "{name}");
    }
    assert_eq!(info["stream"], "S");
    assert!(info["pending"].as_u64().is_some_and(|pending| pending >= 2), "an upper bound");
    let list = node.check("GET /v1/streams/S/consumers", &[], "", 200, &[]).await.json();
    assert_eq!(list["consumers"], serde_json::json!([info]));
    let changed = r#"{"filters":["a.x"],"description":"changed"}"#;
    node.check(&format!("PUT {C}"), &[], changed, 200, &[r#""description":"changed""#, r#""ack_wait":"30s""#]).await;
    node.check(&format!("DELETE {C}"), &[], "", 204, &[]).await;
    node.check(&format!("GET {C}"), &[], "", 404, &["no-consumer", r#""consumer":"c""#]).await;
    node.check(&format!("POST {C}/fetch"), &[], "", 404, &["no-consumer"]).await;
}

#[tokio::test]
async fn a_faulty_consumer_is_refused() {
    let node = filled("{}").await;
    node.check("PUT /v1/streams/NONE/consumers/c", &[], "{}", 404, &["no-stream", r#""stream":"NONE""#]).await;
    node.check("GET /v1/streams/NONE/consumers", &[], "", 404, &["no-stream"]).await;
    for (body, has) in [
        (r#"{"start":"seq"}"#, r#""field":"start_seq""#),
        (r#"{"start_time":"2026-01-31T12:00:00Z"}"#, r#""field":"start_time""#),
        (r#"{"start":"never"}"#, r#""field":"start""#),
        (r#"{"ack_wait":"0s"}"#, r#""field":"ack_wait""#),
        (r#"{"acks":"all"}"#, r#""field":"acks""#),
        (r#"{"ack":"all"}"#, r#""field":"ack""#),
        (r#"{"filters":["a.*","a.x"]}"#, r#""field":"filters""#),
        (r#"{"pause_until":"noon"}"#, r#""field":"pause_until""#),
    ] {
        node.check(&format!("PUT {C}"), &[], body, 400, &[has]).await;
    }
}

#[tokio::test]
async fn deliveries_are_acknowledged() {
    let node = filled("{}").await;
    let (messages, end) = fetch(&node, r#"{"batch":2}"#).await;
    assert_eq!((messages.len(), end.as_str()), (2, "full"));
    assert_eq!((&messages[0]["data"], &messages[0]["attempt"]), (&"1".into(), &1.into()));
    assert_eq!((&messages[0]["pending"], &messages[1]["pending"]), (&2.into(), &1.into()));
    let body = tokens(&messages);
    node.check(&format!("POST {C}/ack"), &[], body, 200, &[r#"{"acknowledged":2,"errors":[]}"#]).await;
    let (messages, end) = fetch(&node, "").await;
    assert_eq!((messages.len(), end.as_str()), (1, "expired"));
    let synced = serde_json::json!({"tokens": [messages[0]["token"]], "sync": true}).to_string();
    node.check(&format!("POST {C}/ack"), &[], synced, 200, &[]).await;
    node.check(&format!("GET {C}"), &[], "", 200, &[r#""ack_floor":3"#, r#""ack_pending":0"#]).await;
}

#[tokio::test]
async fn what_is_given_back_comes_again_and_what_is_given_up_does_not() {
    let node = filled("{}").await;
    let (messages, _) = fetch(&node, r#"{"batch":2}"#).await;
    node.check(&format!("POST {C}/progress"), &[], tokens(&messages), 200, &[]).await;
    let nak = serde_json::json!({"tokens": [messages[0]["token"]], "delay": "0s"}).to_string();
    node.check(&format!("POST {C}/nak"), &[], nak, 200, &[]).await;
    let term = serde_json::json!({"tokens": [messages[1]["token"]], "reason": "broken"}).to_string();
    node.check(&format!("POST {C}/term"), &[], term, 200, &[]).await;
    let (again, _) = fetch(&node, r#"{"batch":5}"#).await;
    let seen: Vec<_> = again.iter().map(|m| (m["seq"].as_u64().unwrap(), m["attempt"].as_u64().unwrap())).collect();
    assert_eq!(seen, [(1, 2), (3, 1)]);
    node.check(&format!("GET {C}"), &[], "", 200, &[r#""dead":1"#]).await;
    node.check("GET /v1/streams/DEAD/messages", &[], "", 200, &[r#""subject":"dead.S.c""#, "broken"]).await;
}

#[tokio::test]
async fn a_token_that_does_not_fit_is_told_why() {
    let node = filled("{}").await;
    node.check("PUT /v1/streams/S/consumers/other", &[], "{}", 201, &[]).await;
    let (messages, _) = fetch(&node, r#"{"batch":2}"#).await;
    let (first, second) = (tokens(&messages[..1]), tokens(&messages[1..]));
    let has = ["ack-other-consumer", "S/c"];
    node.check("POST /v1/streams/S/consumers/other/ack", &[], first.clone(), 409, &has).await;
    node.check(&format!("POST {C}/ack"), &[], first.clone(), 200, &[]).await;
    node.check(&format!("POST {C}/ack"), &[], first, 409, &["ack-already"]).await;
    node.check(&format!("POST {C}/ack"), &[], r#"{"tokens":["nonsense"]}"#, 409, &["ack-malformed"]).await;
    let mixed = second.replace("]}", r#","nonsense"]}"#);
    let mixed = node.check(&format!("POST {C}/ack"), &[], mixed, 207, &[r#""acknowledged":1"#]).await.json();
    assert_eq!(
        (&mixed["errors"][0]["token"], &mixed["errors"][0]["error"]),
        (&"nonsense".into(), &"ack-malformed".into())
    );
    for (verb, body, has) in [
        ("ack", r#"{"tokens":[]}"#, r#""field":"tokens""#),
        ("ack", "{}", "tokens"),
        ("ack", r#"{"tokens":["x"],"delay":"1s"}"#, r#""field":"delay""#),
        ("nak", r#"{"tokens":["x"],"reason":"r"}"#, r#""field":"reason""#),
        ("term", r#"{"tokens":["x"],"sync":true}"#, r#""field":"sync""#),
        ("progress", r#"{"tokens":"x"}"#, r#""field":"tokens""#),
    ] {
        node.check(&format!("POST {C}/{verb}"), &[], body, 400, &[has]).await;
    }
}

#[tokio::test]
async fn a_fetch_has_its_limits() {
    let node = filled("{}").await;
    node.check(&format!("POST {C}/fetch"), &[], r#"{"batch":0}"#, 400, &[r#""field":"batch""#]).await;
    node.check(&format!("POST {C}/fetch"), &[], r#"{"batch":10001}"#, 400, &[r#""field":"batch""#]).await;
    node.check(&format!("POST {C}/fetch"), &[], r#"{"wait":"long"}"#, 400, &[r#""field":"wait""#]).await;
    let (messages, end) = fetch(&node, r#"{"max_bytes":5}"#).await;
    assert_eq!((messages.len(), end.as_str()), (1, "bytes"));
}

#[tokio::test]
async fn a_pause_holds_until_it_is_lifted() {
    let node = filled("{}").await;
    let has = [r#""pause_until":"2026-01-31T12:10:00Z""#];
    node.check(&format!("POST {C}/pause"), &[], r#"{"for":"10m"}"#, 200, &has).await;
    assert_eq!(fetch(&node, "").await.0.len(), 0);
    let both = r#"{"for":"10m","until":"2026-01-31T13:00:00Z"}"#;
    node.check(&format!("POST {C}/pause"), &[], both, 400, &[r#""field":"for""#]).await;
    let info = node.check(&format!("POST {C}/pause"), &[], "null", 200, &[]).await;
    assert!(!info.text().contains("pause_until"));
    assert_eq!(fetch(&node, "").await.0.len(), 3);
}

#[tokio::test]
async fn a_push_goes_on_until_the_client_leaves() {
    let node = filled("{}").await;
    let accept = [("accept", "text/event-stream")];
    let mut events = Events::of(node.send(&format!("POST {C}/fetch"), &accept, "").await);
    for expected in ["1", "2", "3"] {
        let (name, id, data) = events.event().await.unwrap();
        assert_eq!((name.as_str(), id.as_str()), ("message", expected));
        assert!(data["token"].as_str().unwrap().starts_with("S.c."));
    }
    let next = tokio::spawn(async move { (events.event().await, events) });
    tokio::task::yield_now().await;
    node.publish("a.z", "4").await;
    let (event, events) = next.await.unwrap();
    assert_eq!(event.unwrap().1, "4");
    drop(events);
    node.publish("a.z", "5").await;
    // The client that left took none of it: the next one gets it, at its first delivery or at once again.
    let (messages, _) = fetch(&node, "").await;
    assert_eq!(messages.iter().map(|m| m["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [5]);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_fetch_costs_no_wait() {
    let node = filled("{}").await;
    let router = node.router.clone();
    let asked = tokio::spawn(async move {
        let request =
            axum::http::Request::post(format!("{C}/fetch")).body(Body::from(r#"{"batch":10,"wait":"1h"}"#)).unwrap();
        tower::ServiceExt::oneshot(router, request).await.unwrap()
    });
    while !node.check(&format!("GET {C}"), &[], "", 200, &[]).await.text().contains(r#""ack_pending":3"#) {
        tokio::task::yield_now().await;
    }
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    let (messages, _) = fetch(&node, "").await;
    assert_eq!(messages.len(), 3);
}

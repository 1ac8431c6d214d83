//! Declaring, changing, emptying and deleting streams.

use crate::support::Node;

#[tokio::test]
async fn a_stream_lives() {
    let node = Node::new();
    let config = r#"{"name":"S","subjects":["a.>","b"],"age_max":"168h","messages_max":5,"metadata":{"k":"v"}}"#;
    let made = node.check("PUT /v1/streams/S", &[], config, 201, &[]).await.json();
    let expected = serde_json::json!({
        "name": "S", "description": "", "subjects": ["a.>", "b"], "storage": "file", "retention": "limits",
        "discard": "old", "discard_new_per_subject": false, "messages_max": 5, "age_max": "168h",
        "duplicate_window": "2m", "allow_ttl": true, "deny_delete": false, "deny_purge": false, "replicas": 1,
        "metadata": {"k": "v"},
    });
    assert_eq!(made["config"], expected);
    assert_eq!(made["created"], "2026-01-31T12:00:00Z");
    let state = serde_json::json!({
        "messages": 0, "bytes": 0, "first_seq": 1, "last_seq": 0, "subjects": 0, "deleted": 0, "damaged": 0,
    });
    assert_eq!((&made["state"], &made["consumers"], &made["disk_bytes"]), (&state, &0.into(), &0.into()));
    for payload in ["1", "2", "3"] {
        node.publish("a.b", payload).await;
    }
    let info = node.check("GET /v1/streams/S", &[], "", 200, &[r#""messages":3"#, r#""last_seq":3"#]).await;
    let listed = node.check("GET /v1/streams", &[], "", 200, &[]).await;
    assert_eq!(listed.json()["streams"], serde_json::json!([info.json()]));
    let changed = r#"{"subjects":["a.>"],"messages_max":2}"#;
    node.check("PUT /v1/streams/S", &[], changed, 200, &[r#""messages":2"#, r#""subjects":["a.>"]"#]).await;
    node.check("DELETE /v1/streams/S", &[], "", 204, &[]).await;
    node.check("DELETE /v1/streams/S", &[], "", 404, &["no-stream", r#""stream":"S""#]).await;
    node.check("GET /v1/streams/S", &[], "", 404, &["no-stream"]).await;
}

#[tokio::test]
async fn a_faulty_declaration_is_refused_by_its_field() {
    let node = Node::new();
    for (body, has) in [
        (r#"{"subjects":["a"],"max_age":"1h"}"#, r#""field":"max_age""#),
        (r#"{"subjects":["a"],"age_max":"1 hour"}"#, r#""field":"age_max""#),
        (r#"{"subjects":["a"],"messages_max":0}"#, r#""field":"messages_max""#),
        (r#"{"subjects":["a"],"storage":"tape"}"#, r#""field":"storage""#),
        (r#"{"subjects":["a..b"]}"#, r#""field":"subjects"#),
        (r#"{"subjects":["a","*"]}"#, r#""field":"subjects""#),
        (r#"{"subjects":[]}"#, r#""field":"subjects""#),
        ("{}", "subjects"),
        (r#"{"subjects":["a"],"name":"T"}"#, r#""field":"name""#),
        (r#"{"subjects":["a"]"#, "invalid-body"),
        ("", "invalid-body"),
    ] {
        node.check("PUT /v1/streams/S", &[], body, 400, &[has]).await;
    }
    node.check("PUT /v1/streams/a%20b", &[], r#"{"subjects":["a"]}"#, 400, &[r#""field":"name""#]).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    node.check("PUT /v1/streams/S", &form, r#"{"subjects":["a"]}"#, 415, &["application/json"]).await;
    let large = format!("{{\"description\":\"{}\"}}", "x".repeat(3 * 1024 * 1024));
    node.check("PUT /v1/streams/S", &[], large, 413, &["too-large"]).await;
    node.check("GET /v1/streams?all=1", &[], "", 400, &[r#""parameter":"all""#]).await;
    node.check("GET /v1/streams", &[], "", 200, &[r#"{"streams":[]}"#]).await;
}

#[tokio::test]
async fn overlapping_streams_are_both_named() {
    let node = Node::new();
    node.check("PUT /v1/streams/FIRST", &[], r#"{"subjects":["a.>"]}"#, 201, &[]).await;
    let has = ["overlap", r#""stream":"SECOND""#, r#""other_stream":"FIRST""#, r#""subject":"a.*""#];
    node.check("PUT /v1/streams/SECOND", &[], r#"{"subjects":["a.*"]}"#, 409, &has).await;
    let has = [r#""field":"storage""#, "cannot be changed"];
    node.check("PUT /v1/streams/FIRST", &[], r#"{"subjects":["a.>"],"storage":"memory"}"#, 400, &has).await;
}

#[tokio::test]
async fn subjects_are_listed_and_purged() {
    let node = Node::new();
    node.check("PUT /v1/streams/S", &[], r#"{"subjects":["a.>"]}"#, 201, &[]).await;
    for subject in ["a.x", "a.y", "a.y", "a.z"] {
        node.publish(subject, "1").await;
    }
    let all = node.check("GET /v1/streams/S/subjects", &[], "", 200, &[]).await.json();
    let second = serde_json::json!({"subject": "a.y", "messages": 2, "first_seq": 2, "last_seq": 3});
    assert_eq!((all["subjects"].as_array().unwrap().len(), &all["subjects"][1]), (3, &second));
    let page = node.check("GET /v1/streams/S/subjects?filter=a.*&after=a.x&limit=1", &[], "", 200, &[]).await.json();
    assert_eq!(page["subjects"], serde_json::json!([second]));
    let has = [r#"{"purged":2}"#];
    node.check("POST /v1/streams/S/purge", &[], r#"{"filter":"a.y"}"#, 200, &has).await;
    node.check("POST /v1/streams/S/purge", &[], r#"{"keep":1}"#, 200, &[r#"{"purged":1}"#]).await;
    node.check("POST /v1/streams/S/purge", &[], r#"{"before":9,"keep":1}"#, 400, &[r#""field":"keep""#]).await;
    node.check("POST /v1/streams/S/purge", &[], r#"{"all":true}"#, 400, &[r#""field":"all""#]).await;
    node.check("POST /v1/streams/S/purge", &[], "", 200, &[r#"{"purged":1}"#]).await;
    node.check("POST /v1/streams/NONE/purge", &[], "", 404, &["no-stream"]).await;
    let denies = r#"{"subjects":["b"],"deny_purge":true,"deny_delete":true}"#;
    node.check("PUT /v1/streams/D", &[], denies, 201, &[]).await;
    node.publish("b", "1").await;
    node.check("POST /v1/streams/D/purge", &[], "", 409, &["denied", "deny_purge"]).await;
    node.check("DELETE /v1/streams/D/messages/1", &[], "", 409, &["denied", "deny_delete"]).await;
}

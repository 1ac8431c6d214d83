//! Tokens, and what each may do.

use door::{Access, Limits, NameRule, Token, TokenHash};
use event::Pattern;

use crate::support::{Events, Node};

const ADMIN: (&str, &str) = ("authorization", "Bearer root");
const APP: (&str, &str) = ("authorization", "bearer app-token");

fn token(name: &str, text: &str, publish: &[&str], read: &[&str], admin: bool) -> Token {
    let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Token { name: name.into(), hash: TokenHash::of(text), publish: patterns(publish), read: patterns(read), admin }
}

async fn node() -> Node {
    let tokens = [
        token("root", "root", &[">"], &[">"], true),
        token("app", "app-token", &["app.*"], &["app.*", "shared.news"], false),
    ];
    let node = Node::with(Access::tokens(tokens), Limits::default());
    for (name, subjects) in [("APP", r#"["app.*"]"#), ("SHARED", r#"["shared.>"]"#), ("SECRET", r#"["secret"]"#)] {
        let body = format!("{{\"subjects\":{subjects}}}");
        node.check(&format!("PUT /v1/streams/{name}"), &[ADMIN], body, 201, &[]).await;
    }
    for subject in ["app.a", "shared.news", "shared.pay", "secret"] {
        node.check(&format!("POST /v1/publish/{subject}"), &[ADMIN], "x", 201, &[]).await;
    }
    node
}

#[tokio::test]
async fn every_request_needs_a_token_but_probes() {
    let node = node().await;
    for line in ["GET /", "GET /metrics", "GET /openapi.json", "GET /v1/streams", "POST /v1/events", "GET /nothing"] {
        for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "Basic cm9vdA==")]] {
            let answer = node.check(line, headers, "", 401, &["unauthenticated"]).await;
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"tidings\"");
            assert!(!answer.text().contains("wrong"));
        }
    }
    node.check("GET /healthz", &[], "", 200, &[]).await;
    node.check("GET /readyz", &[], "", 200, &[r#""ready":true"#]).await;
    node.check("GET /", &[APP], "", 200, &[]).await;
}

#[tokio::test]
async fn tokens_are_replaced_while_it_runs() {
    let node = node().await;
    node.check("GET /v1/streams", &[APP], "", 200, &[]).await;
    node.port.set_access(Access::tokens([token("new", "new", &[], &[], false)]));
    node.check("GET /v1/streams", &[APP], "", 401, &[]).await;
    node.check("GET /v1/streams", &[("authorization", "Bearer new")], "", 200, &[r#"{"streams":[]}"#]).await;
}

#[tokio::test]
async fn what_is_followed_ends_for_whom_a_rule_or_a_lost_token_shuts_out_and_goes_on_for_others() {
    let node = node().await;
    let follow = [APP, ("accept", "text/event-stream")];
    let lines = ["GET /v1/streams/SHARED/messages?filter=shared.news", "GET /v1/subscribe?subject=shared.news"];
    node.check("PUT /v1/streams/SHARED/consumers/mine", &[APP], r#"{"filters":["shared.news"]}"#, 201, &[]).await;
    let mut shut = Vec::new();
    for line in lines {
        shut.push(Events::of(node.send(line, &follow, "").await));
    }
    shut.push(Events::of(node.send("POST /v1/streams/SHARED/consumers/mine/fetch", &follow, "{}").await));
    let mut stays = Events::of(node.send("GET /v1/subscribe?subject=app.*", &follow, "").await);
    for events in shut.iter_mut().chain([&mut stays]) {
        assert!(events.next().await.unwrap().contains("following"));
    }
    for at in [0, 2] {
        assert_eq!(shut[at].event().await.unwrap().0, "message");
    }
    node.port.set_name_rules(vec![NameRule {
        subjects: vec![Pattern::parse("shared.news").unwrap()],
        publish: None,
        subscribe: Some(vec!["root".into()]),
    }]);
    for events in &mut shut {
        let (name, _, problem) = events.event().await.unwrap();
        assert!(name == "error" && problem.to_string().contains("not-allowed"), "{problem}");
        assert!(events.next().await.is_none());
    }
    node.check("POST /v1/publish/shared.news", &[ADMIN], "x", 201, &[]).await;
    node.check("POST /v1/publish/app.a", &[ADMIN], "x", 201, &[]).await;
    assert_eq!(stays.event().await.unwrap().0, "message");
    node.port.set_access(Access::tokens([token("new", "new", &[], &[], false)]));
    let (name, _, problem) = stays.event().await.unwrap();
    assert!(name == "error" && problem.to_string().contains("unauthenticated"), "{problem}");
}

#[tokio::test]
async fn publishing_is_within_the_patterns() {
    let node = node().await;
    node.check("POST /v1/publish/app.b", &[APP], "x", 201, &[]).await;
    let has = ["not-allowed", r#""token":"app""#, r#""verb":"publish""#, r#""what":"shared.news""#];
    node.check("POST /v1/publish/shared.news", &[APP], "x", 403, &has).await;
    let event = [APP, ("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    node.check("POST /v1/events", &event, "x", 403, &["events.t"]).await;
    node.check("POST /v1/events?subject=app.b", &event, "x", 201, &[]).await;
    let batch = r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"}]"#;
    let headers = [APP, ("content-type", "application/cloudevents-batch+json")];
    node.check("POST /v1/events", &headers, batch, 403, &[r#""index":0"#]).await;
}

#[tokio::test]
async fn reading_is_within_the_patterns() {
    let node = node().await;
    node.check("GET /v1/streams/APP/messages", &[APP], "", 200, &["app.a"]).await;
    let has = ["not-allowed", r#""what":"shared.>""#];
    node.check("GET /v1/streams/SHARED/messages", &[APP], "", 403, &has).await;
    let follow = [APP, ("accept", "text/event-stream")];
    node.check("GET /v1/streams/SHARED/messages", &follow, "", 403, &has).await;
    let only = node.check("GET /v1/streams/SHARED/messages?filter=shared.news", &[APP], "", 200, &[]).await;
    assert!(only.text().contains("shared.news") && !only.text().contains("shared.pay"));
    let line = "GET /v1/streams/SHARED/messages?filter=shared.news&filter=shared.*";
    node.check(line, &[APP], "", 403, &[r#""what":"shared.*""#]).await;
    node.check("GET /v1/streams/SHARED/messages/1", &[APP], "", 200, &[]).await;
    node.check("GET /v1/streams/SHARED/messages/2", &[APP], "", 403, &["SHARED/2"]).await;
    node.check("GET /v1/streams/SHARED/last", &[APP], "", 403, &[]).await;
    node.check("GET /v1/streams/SHARED/last?filter=shared.news", &[APP], "", 200, &[]).await;
    node.check("GET /v1/streams/SHARED/subjects", &[APP], "", 403, &[]).await;
    node.check("GET /v1/subscribe?subject=shared.*", &[APP], "", 403, &[]).await;
    Events::of(node.send("GET /v1/subscribe?subject=app.*", &[APP], "").await);
    node.check("GET /v1/events/1?stream=SECRET", &[APP], "", 403, &[]).await;
}

#[tokio::test]
async fn only_what_concerns_the_token_is_seen_and_administered() {
    let node = node().await;
    let list = node.check("GET /v1/streams", &[APP], "", 200, &["APP", "SHARED"]).await;
    assert!(!list.text().contains("SECRET"));
    node.check("GET /v1/streams/SECRET", &[APP], "", 403, &[]).await;
    node.check("PUT /v1/streams/MORE", &[APP], r#"{"subjects":["more"]}"#, 403, &[r#""verb":"administer""#]).await;
    node.check("PUT /v1/streams/SECRET", &[APP], r#"{"subjects":["app.x"]}"#, 403, &[]).await;
    node.check("PUT /v1/streams/APP", &[APP], r#"{"subjects":["app.*"],"messages_max":9}"#, 200, &[]).await;
    for line in ["DELETE /v1/streams/SHARED", "POST /v1/streams/SHARED/purge", "DELETE /v1/streams/SHARED/messages/1"] {
        node.check(line, &[APP], "", 403, &[r#""what":"SHARED""#]).await;
    }
    node.check("POST /v1/streams/APP/purge", &[APP], "", 200, &[]).await;
}

#[tokio::test]
async fn a_consumer_is_used_by_who_may_read_it() {
    let node = node().await;
    let path = "/v1/streams/SHARED/consumers";
    node.check(&format!("PUT {path}/all"), &[ADMIN], "{}", 201, &[]).await;
    let taken = node.check(&format!("POST {path}/all/fetch"), &[ADMIN], r#"{"batch":1}"#, 200, &[]).await.json();
    let tokens = serde_json::json!({"tokens": [taken["messages"][0]["token"]]}).to_string();
    for (line, body) in [
        (format!("PUT {path}/mine"), "{}"),
        (format!("PUT {path}/all"), r#"{"filters":["shared.news"]}"#),
        (format!("GET {path}/all"), ""),
        (format!("DELETE {path}/all"), ""),
        (format!("POST {path}/all/fetch"), ""),
        (format!("POST {path}/all/pause"), ""),
        (format!("POST {path}/all/ack"), &*tokens),
    ] {
        node.check(&line, &[APP], body.to_owned(), 403, &["not-allowed"]).await;
    }
    node.check(&format!("PUT {path}/mine"), &[APP], r#"{"filters":["shared.news"]}"#, 201, &[]).await;
    let mine = node.check(&format!("POST {path}/mine/fetch"), &[APP], "", 200, &["shared.news"]).await.json();
    let tokens = serde_json::json!({"tokens": [mine["messages"][0]["token"]]}).to_string();
    node.check(&format!("POST {path}/mine/ack"), &[APP], tokens, 200, &[]).await;
    node.check(&format!("POST {path}/all/ack"), &[ADMIN], tokens_of(&taken), 200, &[]).await;
}

fn tokens_of(fetched: &serde_json::Value) -> String {
    serde_json::json!({"tokens": [fetched["messages"][0]["token"]]}).to_string()
}

#[tokio::test]
async fn a_foreign_page_is_kept_out_of_an_open_door() {
    let node = Node::with_events().await;
    let host = ("host", "127.0.0.1:7070");
    for line in ["POST /v1/streams/EVENTS/purge", "POST /v1/publish/events.a", "GET /v1/streams"] {
        for origin in ["https://example.com", "http://127.0.0.1:8080", "null"] {
            node.check(line, &[host, ("origin", origin)], "", 403, &["foreign-origin"]).await;
        }
    }
    node.check("POST /v1/publish/events.a", &[host, ("origin", "http://127.0.0.1:7070")], "x", 201, &[]).await;
    node.check("GET /v1/streams", &[("host", "node.example.com")], "", 200, &[]).await;
    let local = node.local();
    local.check("GET /v1/streams", &[("host", "page.example.com:7070")], "", 421, &["foreign-host"]).await;
    local.check("GET /v1/streams", &[("host", "localhost:7070")], "", 200, &[]).await;
    local.check("GET /healthz", &[("host", "page.example.com:7070")], "", 200, &[]).await;
}

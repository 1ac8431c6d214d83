//! What a token lets its holder see and change: as much as the messages themselves, through every endpoint.

use door::{Access, Token};
use door_consul::Options;
use serde_json::{Value, json};

use crate::support::{Reply, Served, serve_with, token};

/// A node with these tokens, and one that may do everything.
async fn node_with(tokens: impl IntoIterator<Item = Token>) -> Served {
    let all = token("all", &[">"], &[">"]);
    serve_with(Options::default(), Access::tokens(std::iter::once(all).chain(tokens))).await
}

/// Registers an instance of a service on `n1`, as who may do everything.
async fn register(node: &Served, service: &str) {
    let body = json!({"Node": "n1", "Address": "1.2.3.4", "Service": {"Service": service}}).to_string();
    assert_eq!(node.put("/v1/catalog/register?token=all", &body).await.text(), "true");
}

#[tokio::test]
async fn who_may_read_a_part_of_a_service_does_not_see_the_service() {
    let part = token("part", &[], &["catalog.dc1.web.*", "catalog.dc1.web.n2.>"]);
    let node = node_with([part, token("web", &[], &["catalog.dc1.web.>"])]).await;
    register(&node, "web").await;
    let seen = |who: &str| format!("/v1/health/service/web?token={who}");
    assert_eq!(node.get(&seen("web")).await.json().as_array().unwrap().len(), 1);
    let hidden = node.get(&seen("part")).await;
    assert_eq!((hidden.text().as_str(), hidden.header("x-consul-results-filtered-by-acls")), ("[]", Some("true")));
    assert_eq!(node.get("/v1/catalog/services?token=part").await.json(), json!({"consul": []}));
}

#[tokio::test]
async fn sessions_and_user_events_are_listed_to_who_may_read_them() {
    let node_only = token("node", &[], &["catalog.dc1.%node.>"]);
    let both = token("both", &[], &["catalog.dc1.%session.*", "catalog.dc1.%event.deploy.>"]);
    let node = node_with([node_only, both]).await;
    register(&node, "web").await;
    let created = node.put("/v1/session/create?token=all", r#"{"Node": "n1"}"#).await.json();
    let id = created["ID"].as_str().unwrap();
    for name in ["deploy", "other"] {
        assert_eq!(node.put(&format!("/v1/event/fire/{name}?token=all"), "secret").await.status, 200);
    }
    let session = format!("/v1/session/info/{id}");
    for path in ["/v1/session/list", "/v1/session/node/n1", session.as_str()] {
        let hidden = node.get(&format!("{path}?token=node")).await;
        assert_eq!((hidden.text().as_str(), hidden.header("x-consul-results-filtered-by-acls")), ("[]", Some("true")));
        assert_eq!(node.get(&format!("{path}?token=both")).await.json()[0]["ID"], id, "{path}");
    }
    assert_eq!(node.get("/v1/event/list?token=node").await.text(), "[]");
    let seen = node.get("/v1/event/list?token=both").await.json();
    assert_eq!((seen.as_array().unwrap().len(), &seen[0]["Name"]), (1, &json!("deploy")));
}

#[tokio::test]
async fn a_stream_tells_nothing_of_a_proxy_that_may_not_be_seen() {
    let node = node_with([token("web", &[], &["catalog.dc1.web.>", "catalog.dc1.seen.>"])]).await;
    let mut client = node.client().await;
    let accept = "Accept: text/event-stream\r\nX-Consul-Token: web\r\n";
    client.send("GET", "/v1/health/connect/web", accept, b"").await;
    client.until(b"\r\n\r\n").await;
    client.events("event: end").await;
    for proxy in ["hidden", "seen"] {
        let lead = json!({"DestinationServiceName": "web"});
        let service = json!({"Service": proxy, "Kind": "connect-proxy", "Port": 1, "Proxy": lead});
        let body = json!({"Node": "n1", "Address": "1.2.3.4", "Service": service}).to_string();
        assert_eq!(node.put("/v1/catalog/register?token=all", &body).await.text(), "true");
    }
    let mut told = client.events("event: put").await;
    for proxy in ["hidden", "seen"] {
        let gone = json!({"Node": "n1", "ServiceID": proxy}).to_string();
        assert_eq!(node.put("/v1/catalog/deregister?token=all", &gone).await.text(), "true");
    }
    told.extend(client.events("event: remove").await);
    let told = told.join("\n");
    assert!(told.contains("seen") && !told.contains("hidden"), "{told}");
}

/// Asks as a token's holder.
async fn put(node: &Served, who: &str, path: &str, body: &Value) -> Reply {
    let mut client = node.client().await;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    client.send("PUT", path, &format!("X-Consul-Token: {who}\r\n"), body.as_bytes()).await;
    client.reply().await
}

#[tokio::test]
async fn a_transaction_gives_no_key_that_may_not_be_read() {
    let a = token("a", &["catalog.dc1.%kv.a"], &["catalog.dc1.%kv.a"]);
    let blind = token("blind", &["catalog.dc1.%kv.a"], &[]);
    let node = node_with([a, blind]).await;
    for key in ["a", "b"] {
        assert_eq!(node.put(&format!("/v1/kv/{key}?token=all"), "secret").await.text(), "true");
    }
    let at = node.get("/v1/kv/b?token=all").await.json()[0]["ModifyIndex"].clone();
    let one = |verb: &str, key: &str| json!([{"KV": {"Verb": verb, "Key": key, "Index": at, "Value": "eA=="}}]);
    let verbs = ["get", "get-or-empty", "get-tree", "check-index", "check-session", "check-not-exists", "set", "cas"];
    for verb in verbs.into_iter().chain(["lock", "unlock", "delete", "delete-cas"]) {
        let reply = put(&node, "a", "/v1/txn", &one(verb, "b")).await;
        assert_eq!((reply.status, reply.text().as_str()), (403, "Permission denied"), "{verb}");
    }
    assert_eq!(put(&node, "a", "/v1/txn", &one("get-tree", "")).await.status, 403);
    assert_eq!(put(&node, "a", "/v1/txn", &one("delete-tree", "")).await.status, 403);
    let mine = put(&node, "a", "/v1/txn", &one("get-tree", "a")).await;
    assert_eq!((mine.status, &mine.json()["Results"][0]["KV"]["Key"]), (200, &json!("a")));
    let set = put(&node, "blind", "/v1/txn", &one("set", "a")).await;
    assert_eq!((set.status, &set.json()["Results"]), (200, &json!([])));
    assert_eq!(put(&node, "a", "/v1/kv/b?cas=1", &json!("x")).await.status, 403, "nor is it compared with");
}

#[tokio::test]
async fn who_may_not_write_a_thing_gives_it_no_sign_of_life() {
    let node = node_with([token("other", &["catalog.dc1.other.>"], &[">"])]).await;
    let check = json!({"TTL": "10s", "Status": "passing"});
    let body = json!({"Name": "web", "Check": check});
    assert_eq!(put(&node, "all", "/v1/agent/service/register", &body).await.status, 200);
    let created = put(&node, "all", "/v1/session/create", &json!({"NodeChecks": []})).await.json();
    let renew = format!("/v1/session/renew/{}", created["ID"].as_str().unwrap());
    let nothing = Value::Null;
    for (path, body) in [
        (renew.as_str(), &nothing),
        ("/v1/agent/check/pass/service:web", &nothing),
        ("/v1/agent/check/fail/service:web", &nothing),
        ("/v1/agent/check/update/service:web", &json!({"Status": "passing"})),
        ("/v1/agent/service/register", &body),
        ("/v1/agent/service/maintenance/web?enable=false", &nothing),
    ] {
        let reply = put(&node, "other", path, body).await;
        assert_eq!((reply.status, reply.text().as_str()), (403, "Permission denied"), "{path}");
        assert_eq!(put(&node, "all", path, body).await.status, 200, "{path}");
    }
    let mine = json!({"Name": "other", "Check": check});
    for path in ["/v1/agent/service/register", "/v1/agent/check/pass/service:other"] {
        assert_eq!(put(&node, "other", path, &mine).await.status, 200, "{path}");
    }
}

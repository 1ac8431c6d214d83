//! What is refused, in the original's words and with its statuses.

use door_consul::Options;
use serde_json::json;

use crate::support::{Client, serve, serve_with, token};

#[tokio::test]
async fn every_refusal_has_the_originals_words() {
    let node = serve().await;
    let ns = "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature";
    let unknown = "Request decode failed: json: unknown field \"Tagss\"";
    let weights = "Invalid Weights: Passing must be greater than 0";
    let interval = "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks";
    let status = "Status for checks must 'passing', 'warning', 'critical'";
    let address = "Must provide address if SkipNodeUpdate is not set";
    let missing = "failed inserting check: Missing service registration on node \"n9\"";
    for (method, path, body, code, text) in [
        ("GET", "/v1/health/service/web?index=abc", "", 400, "Invalid index"),
        ("GET", "/v1/health/service/web?index=18446744073709551616", "", 400, "Invalid index"),
        ("GET", "/v1/health/service/web?wait=xyz", "", 400, "Invalid wait time"),
        ("GET", "/v1/health/service/web?wait=5", "", 400, "Invalid wait time"),
        ("GET", "/v1/health/service/web?passing=foo", "", 400, "Invalid value for ?passing"),
        (
            "GET",
            "/v1/catalog/services?stale&consistent",
            "",
            400,
            "Cannot specify ?stale with ?consistent, conflicting semantics.",
        ),
        ("GET", "/v1/catalog/services?max_stale=zz", "", 400, "Invalid max_stale value \"zz\""),
        ("GET", "/v1/catalog/services?ns=x", "", 400, ns),
        ("GET", "/v1/catalog/services?dc=mars", "", 500, "No path to datacenter"),
        ("PUT", "/v1/kv/x?dc=mars", "1", 500, "No path to datacenter"),
        ("GET", "/v1/health/service/", "", 400, "Missing service name"),
        ("GET", "/v1/catalog/service/", "", 400, "Missing service name"),
        ("GET", "/v1/health/checks/", "", 400, "Missing service name"),
        ("GET", "/v1/health/node/", "", 400, "Missing node name"),
        ("GET", "/v1/catalog/node/", "", 400, "Missing node name"),
        ("GET", "/v1/health/state/", "", 400, "Missing check state"),
        ("GET", "/v1/kv/", "", 400, "Missing key name"),
        ("PUT", "/v1/kv/", "1", 400, "Missing key name"),
        ("POST", "/v1/catalog/services", "", 405, "method POST not allowed"),
        ("DELETE", "/v1/status/leader", "", 405, "method DELETE not allowed"),
        ("PUT", "/v1/agent/service/register", r#"{"Name":"a","Tagss":["x"]}"#, 400, unknown),
        ("PUT", "/v1/agent/service/register", r#"{"ID":"a"}"#, 400, "Missing service name"),
        ("PUT", "/v1/agent/service/register", r#"{"Name":"a","Address":"0.0.0.0"}"#, 400, "Invalid service address"),
        ("PUT", "/v1/agent/service/register", r#"{"Name":"a","Weights":{"Passing":0,"Warning":1}}"#, 400, weights),
        ("PUT", "/v1/agent/service/register", r#"{"Name":"a","Check":{"TTL":"9s","Status":"bad"}}"#, 400, status),
        ("PUT", "/v1/agent/service/register", r#"{"Name":"a","Check":{"HTTP":"http://x"}}"#, 400, interval),
        ("PUT", "/v1/agent/check/update/x", r#"{"Status":"bad"}"#, 400, "Invalid check status: 'bad'"),
        ("PUT", "/v1/agent/check/pass/x", "", 500, "CheckID \"x\" does not have associated TTL"),
        ("PUT", "/v1/catalog/register", r#"{"Address":"1.2.3.4"}"#, 500, "Must provide node"),
        ("PUT", "/v1/catalog/register", r#"{"Node":"n9"}"#, 500, address),
        (
            "PUT",
            "/v1/catalog/register",
            r#"{"Node":"n9","Address":"1.2.3.4","Check":{"Name":"c","ServiceID":"s","Status":"passing"}}"#,
            500,
            missing,
        ),
        ("GET", "/v1/nothing", "", 404, "Invalid URL path: not a recognized HTTP API endpoint"),
    ] {
        let reply = node.ask(method, path, body).await;
        assert_eq!((reply.status, reply.text().as_str()), (code, text), "{method} {path} {body}");
        assert!(reply.header("content-type").unwrap().starts_with("text/plain"), "{}", reply.head);
    }
    assert!(node.door.counts().faults >= 30);
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_says_where() {
    let node = serve().await;
    let reply = node.get("/v1/health/service/web?filter=Service.Port%20%3D%3D").await;
    assert_eq!(reply.status, 500);
    assert!(reply.text().starts_with("Failed to create boolean expression evaluator: "), "{}", reply.text());
}

#[tokio::test]
async fn a_bad_id_of_a_node_is_named() {
    let node = serve().await;
    let reply = node.put("/v1/catalog/register", r#"{"Node":"n","ID":"zz","Address":"1.2.3.4"}"#).await;
    assert_eq!(reply.status, 500);
    assert!(reply.text().contains("Bad node ID"), "{}", reply.text());
}

#[tokio::test]
async fn methods_that_are_asked_about_are_told() {
    let node = serve().await;
    let reply = node.ask("OPTIONS", "/v1/kv/x", "").await;
    assert_eq!((reply.status, reply.header("allow")), (200, Some("OPTIONS,GET,PUT,DELETE")));
    let mut client = node.client().await;
    client.send("HEAD", "/v1/catalog/services", "Connection: close\r\n", b"").await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    assert_eq!(node.get("/v1/status/leader?").await.text(), "\"127.0.0.1:8300\"");
}

#[tokio::test]
async fn bodies_beyond_their_limits_are_refused() {
    let node = serve().await;
    let reply = node.put("/v1/kv/big", &"x".repeat(512 * 1024 + 1)).await;
    assert_eq!(reply.status, 413);
    assert_eq!(node.put("/v1/kv/big", &"x".repeat(512 * 1024)).await.text(), "true");
    let reply = node.put("/v1/catalog/register", &" ".repeat(2 * 1024 * 1024)).await;
    assert_eq!(reply.status, 413);
    let reply = node.put("/v1/agent/service/register", &"[".repeat(100_000)).await;
    assert_eq!(reply.status, 400);
    let long = json!({"Node": "n", "Address": "a".repeat(10_000)}).to_string();
    let reply = node.put("/v1/catalog/register", &long).await;
    assert!((400..=500).contains(&reply.status) && reply.text().len() < 2_000, "{} {}", reply.status, reply.text());
}

#[tokio::test]
async fn who_has_too_many_connections_is_told() {
    let options = Options { per_address_max: 2, ..Options::default() };
    let node = serve_with(options, door::Access::open()).await;
    let mut held = [node.client().await, node.client().await];
    for client in &mut held {
        assert_eq!(client.ask("GET", "/v1/status/leader", "").await.status, 200);
    }
    let mut refused = Client::new(node.address).await;
    let reply = refused.reply().await;
    let text = "Your IP is issuing too many concurrent connections, please rate limit your calls";
    assert_eq!((reply.status, reply.text().as_str()), (429, text));
    assert_eq!(node.door.counts().refused, 1);
}

#[tokio::test]
async fn who_sends_slowly_is_given_up() {
    let options = Options { slow_deadline: std::time::Duration::from_millis(50), ..Options::default() };
    let node = serve_with(options, door::Access::open()).await;
    let mut client = node.client().await;
    client.send("PUT", "/v1/kv/x", "Content-Length: 10\r\n", b"").await;
    assert_eq!(client.reply().await.status, 408);
    let _head = node.client().await;
    node.until("all are gone", |counts| counts.connections == 0).await;
}

#[tokio::test]
async fn rights_decide_what_is_seen_and_what_is_written() {
    let all = token("all", &[">"], &[">"]);
    let web = token("web", &["catalog.dc1.web.>"], &["catalog.dc1.web.>", "catalog.dc1.%node.>"]);
    let node = serve_with(Options::default(), door::Access::tokens([all, web])).await;
    for service in ["web", "db"] {
        let body = json!({"Node": "n1", "Address": "1.2.3.4", "Service": {"Service": service}}).to_string();
        assert_eq!(node.put("/v1/catalog/register?token=all", &body).await.text(), "true");
    }
    let none = node.get("/v1/health/service/web").await;
    assert_eq!((none.status, none.text().as_str()), (403, "Permission denied"));
    let wrong = node.get("/v1/health/service/web?token=x").await;
    assert_eq!((wrong.status, wrong.text().as_str()), (403, "ACL not found"));
    assert_eq!(node.get("/v1/status/leader").await.status, 200);
    let mut client = node.client().await;
    client.send("GET", "/v1/catalog/services", "Authorization: Bearer web\r\n", b"").await;
    let seen = client.reply().await;
    assert_eq!(seen.header("x-consul-results-filtered-by-acls"), Some("true"));
    assert_eq!(seen.json(), json!({"consul": [], "web": []}));
    client.send("GET", "/v1/health/service/db", "X-Consul-Token: web\r\n", b"").await;
    let hidden = client.reply().await;
    assert_eq!((hidden.text().as_str(), hidden.status), ("[]", 200));
    client.send("GET", "/v1/health/service/web", "X-Consul-Token: web\r\nAuthorization: Basic Og==\r\n", b"").await;
    assert_eq!(client.reply().await.json().as_array().unwrap().len(), 1);
    client.send("PUT", "/v1/kv/x", "X-Consul-Token: web\r\n", b"1").await;
    let refused = client.reply().await;
    assert_eq!((refused.status, refused.text().as_str()), (403, "Permission denied"));
}

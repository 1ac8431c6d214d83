//! What the node says of itself.

use door::journal::Journal;

use crate::support::Node;

#[tokio::test]
async fn the_index_says_where_things_are() {
    let node = Node::new();
    node.check("GET /", &[], "", 200, &["/v1/events", "/openapi.json", "curl"]).await;
    node.check("GET /v2", &[], "", 404, &["no-route"]).await;
    let answer = node.check("PATCH /v1/streams/S", &[], "", 405, &["method"]).await;
    assert_eq!(answer.header("allow"), "GET,HEAD,PUT,DELETE");
    node.check("GET /v1/publish/a", &[], "", 405, &[]).await;
    node.check("GET /v1/streams/%FF", &[], "", 400, &["invalid-request"]).await;
}

#[tokio::test]
async fn readiness_is_the_journals_truth() {
    let node = Node::new();
    node.check("GET /healthz", &[], "", 200, &["alive"]).await;
    node.check("GET /readyz", &[], "", 200, &[r#""ready":true"#, r#""waiting":0"#]).await;
    node.local.close().await;
    node.check("GET /readyz", &[], "", 503, &[r#""ready":false"#, r#""reason":"#]).await;
    node.check("GET /healthz", &[], "", 200, &[]).await;
    node.check("POST /v1/publish/a", &[], "x", 503, &["closed"]).await;
}

#[tokio::test]
async fn metrics_are_the_hosts_and_the_doors() {
    let node = Node::new();
    node.check("GET /v1/streams/S", &[], "", 404, &[]).await;
    let has = [
        "host_figure 7\n",
        "tidings_http_requests_total{route=\"/v1/streams/{stream}\",method=\"GET\",status=\"404\"} 1\n",
        "tidings_http_request_seconds_bucket{route=\"/v1/streams/{stream}\",le=\"+Inf\"} 1\n",
    ];
    let plain = node.check("GET /metrics", &[], "", 200, &has).await;
    assert!(plain.header("content-type").starts_with("text/plain; version=0.0.4") && !plain.text().contains("# EOF"));
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    let open = node.check("GET /metrics", &accept, "", 200, &has).await;
    assert!(open.text().ends_with("# EOF\n") && open.text().matches("# EOF").count() == 1);
}

#[tokio::test]
async fn every_route_is_described() {
    let node = Node::new();
    let document = node.check("GET /openapi.json", &[], "", 200, &[]).await.json();
    let paths = document["paths"].as_object().unwrap();
    let mut operations = 0;
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            assert!(operation["summary"].is_string() || operation["description"].is_string(), "{method} {path}");
            assert!(operation["responses"].as_object().is_some_and(|all| !all.is_empty()), "{method} {path}");
            let named = path.split('/').filter(|part| part.starts_with('{')).count();
            let described = operation["parameters"].as_array().into_iter().flatten();
            assert_eq!(described.filter(|each| each["in"] == "path").count(), named, "{method} {path}");
            // It is there: anything but 'no such route' and 'no such method'.
            let uri = path.replace("{seq}", "1").replace("{stream}", "S").replace("{consumer}", "c");
            let uri = uri.replace("{subject}", "a").replace("{id}", "1");
            let answer = node.send(&format!("{} {uri}", method.to_uppercase()), &[], "").await;
            assert_ne!(answer.status(), 405, "{method} {path}");
            assert!(!answer.headers().is_empty(), "{method} {path}");
        }
    }
    // The routes of the module's source, counted: what is routed is described, by construction.
    let source = include_str!("../../src/serve/mod.rs");
    let routed: usize =
        source.lines().filter(|line| line.contains("routes!(")).map(|line| line.matches("::").count()).sum();
    assert_eq!(operations, routed);
    assert!(document["components"]["schemas"]["StreamDeclaration"]["properties"]["age_max"].is_object());
}

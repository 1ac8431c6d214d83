//! What a token lets its holder see and change: as much as the messages themselves, through every endpoint.

use door::{Access, Token};
use door_consul::Options;
use serde_json::json;

use crate::support::{Served, serve_with, token};

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

//! `/v1/resources`: who may ask, what is handed on, and how refusals are told. What resources mean is the
//! host's to test.

use std::sync::Arc;

use bytes::Bytes;
use door::{Access, Limits, Token, TokenHash};
use door_http::problem::Problem;
use door_http::{Faulty, Named, Options, ResourceAnswer, Resources, ambiguous, faulty, no_resource, router};
use event::Pattern;
use serde_json::{Value, json};

use crate::support::Node;

const ADMIN: (&str, &str) = ("authorization", "Bearer root");
const APP: (&str, &str) = ("authorization", "Bearer app");

/// Says what it was asked.
struct Echo;

fn answer<'a>(value: Result<Value, Problem>) -> ResourceAnswer<'a> {
    Box::pin(std::future::ready(value))
}

impl Resources for Echo {
    fn list(&self, kind: Option<&str>) -> Vec<Value> {
        vec![json!({"asked": kind})]
    }

    fn get(&self, named: &Named) -> Result<Value, Problem> {
        match named.name.as_str() {
            "none" => Err(no_resource(named)),
            "two" => Err(ambiguous(named, &["a/v1", "b/v1"])),
            name => Ok(json!({"kind": named.kind, "name": name, "apiVersion": named.api_version})),
        }
    }

    fn apply<'a>(&'a self, who: &'a str, body: Bytes, dry_run: bool) -> ResourceAnswer<'a> {
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if body["bad"] != true {
            return answer(Ok(json!({"who": who, "body": body, "dryRun": dry_run})));
        }
        let fault = |path: &str| Faulty { resource: "a/v1/K/n".into(), path: path.into(), reason: "is wrong".into() };
        answer(Err(faulty(&[fault("spec.x"), fault("")])))
    }

    fn delete<'a>(&'a self, who: &'a str, named: Named, dry_run: bool) -> ResourceAnswer<'a> {
        answer(Ok(json!({"who": who, "kind": named.kind, "name": named.name, "dryRun": dry_run})))
    }

    fn history(&self, named: Named) -> ResourceAnswer<'_> {
        answer(Ok(json!({"history": [named.name]})))
    }
}

fn node() -> Node {
    let token = |name: &str, admin| {
        let all = || vec![Pattern::all()];
        Token { name: name.into(), hash: TokenHash::of(name), publish: all(), read: all(), admin }
    };
    let mut node = Node::with(Access::tokens([token("root", true), token("app", false)]), Limits::default());
    let options = Options { resources: Arc::new(Echo), shutdown: node.shutdown.clone(), ..Options::default() };
    node.router = router(node.port.clone(), options);
    node
}

#[tokio::test]
async fn they_are_for_administrators_alone() {
    let node = node();
    for line in [
        "GET /v1/resources",
        "POST /v1/resources",
        "GET /v1/resources/K/n",
        "DELETE /v1/resources/K/n",
        "GET /v1/resources/K/n/history",
    ] {
        node.check(line, &[], "", 401, &["unauthenticated"]).await;
        node.check(line, &[APP], "", 403, &["not-allowed", r#""verb":"administer""#, r#""what":"resources""#]).await;
        node.check(&format!("{line}?x=1"), &[ADMIN], "", 400, &["invalid-parameter"]).await;
    }
}

#[tokio::test]
async fn what_is_asked_is_handed_on() {
    let node = node();
    node.check("GET /v1/resources", &[ADMIN], "", 200, &[r#"{"resources":[{"asked":null}]}"#]).await;
    node.check("GET /v1/resources?kind=Plugin", &[ADMIN], "", 200, &[r#""asked":"Plugin""#]).await;
    let line = "GET /v1/resources/K/a%2Fb?apiVersion=x%2Fv1";
    node.check(line, &[ADMIN], "", 200, &[r#""name":"a/b""#, r#""apiVersion":"x/v1""#]).await;
    let has = [r#""who":"root""#, r#""body":{"a":1}"#, r#""dryRun":false"#];
    node.check("POST /v1/resources", &[ADMIN], r#"{"a":1}"#, 200, &has).await;
    node.check("POST /v1/resources?dryRun=true", &[ADMIN], "{}", 200, &[r#""dryRun":true"#]).await;
    node.check("DELETE /v1/resources/K/n?dryRun=true", &[ADMIN], "", 200, &[r#""dryRun":true"#, r#""kind":"K""#]).await;
    node.check("GET /v1/resources/K/n/history", &[ADMIN], "", 200, &[r#"{"history":["n"]}"#]).await;
}

#[tokio::test]
async fn faults_are_named_one_by_one() {
    let node = node();
    let answer = node.check("POST /v1/resources", &[ADMIN], r#"{"bad":true}"#, 400, &["invalid-resource"]).await.json();
    assert_eq!(answer["detail"], "a/v1/K/n spec.x is wrong (and 1 more)");
    assert_eq!(answer["faults"][0], json!({"resource": "a/v1/K/n", "path": "spec.x", "reason": "is wrong"}));
    assert_eq!(answer["faults"].as_array().map(Vec::len), Some(2));
    node.check("GET /v1/resources/K/none", &[ADMIN], "", 404, &["no-resource"]).await;
    node.check("GET /v1/resources/K/two", &[ADMIN], "", 400, &["apiVersion", "a/v1, b/v1"]).await;
    node.check("POST /v1/resources?dryRun=maybe", &[ADMIN], "{}", 400, &["dryRun"]).await;
    let text = [ADMIN, ("content-type", "text/yaml")];
    node.check("POST /v1/resources", &text, "a: 1", 415, &["media-type"]).await;
    let large = "x".repeat(3 << 20);
    node.check("POST /v1/resources", &[ADMIN], large, 413, &["too-large"]).await;
}

#[tokio::test]
async fn a_node_without_any_says_so() {
    let node = Node::new();
    node.check("GET /v1/resources", &[], "", 200, &[r#"{"resources":[]}"#]).await;
    node.check("GET /v1/resources/K/n", &[], "", 404, &["no-resource"]).await;
    node.check("POST /v1/resources", &[], "{}", 501, &["no-resources"]).await;
}

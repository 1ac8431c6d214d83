//! `/v1/mesh`: who may ask, and what is handed on. What the mesh answers is the host's to test.

use std::sync::Arc;

use door::{Access, Limits, Token, TokenHash};
use door_http::{Mesh, MeshAnswer, MeshQuestion, Options, router};
use event::Pattern;
use serde_json::json;

use crate::support::Node;

const READER: (&str, &str) = ("authorization", "Bearer reader");
const WRITER: (&str, &str) = ("authorization", "Bearer writer");
const ROOT: (&str, &str) = ("authorization", "Bearer root");
const APP: (&str, &str) = ("authorization", "Bearer app");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Says what it was asked.
struct Echo;

impl Mesh for Echo {
    fn ask(&self, question: MeshQuestion) -> MeshAnswer<'_> {
        Box::pin(std::future::ready(Ok(json!({"asked": format!("{question:?}")}))))
    }

    fn ailment(&self) -> Option<String> {
        None
    }
}

fn node() -> Node {
    let token = |name: &str, publish: &str, read: &str| {
        let one = |text: &str| vec![Pattern::parse(text).unwrap()];
        let (hash, admin) = (TokenHash::of(name), name == "root");
        Token { name: name.into(), hash, publish: one(publish), read: one(read), admin }
    };
    let all =
        [("reader", "none", ">"), ("writer", "orders.>", ">"), ("app", "orders.>", "orders.>"), ("root", ">", ">")];
    let tokens = all.map(|(name, publish, read)| token(name, publish, read));
    let mut node = Node::with(Access::tokens(tokens), Limits::default());
    let options = Options { mesh: Arc::new(Echo), shutdown: node.shutdown.clone(), ..Options::default() };
    node.router = router(node.port.clone(), options);
    node
}

#[tokio::test]
async fn who_reads_everything_may_ask_and_who_may_publish_there_too_may_probe() {
    let node = node();
    let (ask, probe) = ("GET /v1/mesh/trace?subject=orders.1", "POST /v1/mesh/trace?subject=orders.1");
    for line in [ask, probe, &format!("GET /v1/mesh/trace?id={TRACE}"), "GET /v1/mesh/routes", "GET /v1/mesh/nodes"] {
        node.check(line, &[], "", 401, &["unauthenticated"]).await;
        node.check(line, &[APP], "", 403, &["not-allowed", "the mesh"]).await;
    }
    node.check(ask, &[READER], "", 200, &["Trace {", "orders.1"]).await;
    node.check(probe, &[READER], "", 403, &["not-allowed", r#""verb":"publish""#]).await;
    node.check(probe, &[WRITER], "", 200, &["Probe {", "orders.1"]).await;
    let far = format!("{probe}&from=a/a1");
    node.check(&far, &[WRITER], "", 403, &["not-allowed", r#""verb":"administer""#]).await;
    node.check(&far, &[ROOT], "", 200, &["Probe {", "orders.1", "a/a1"]).await;
    let own = "POST /v1/mesh/trace?subject=tidings.mesh.lease";
    node.check(own, &[WRITER], "", 403, &["not-allowed"]).await;
}

#[tokio::test]
async fn what_is_asked_is_handed_on_and_what_cannot_be_asked_is_named() {
    let node = node();
    node.check(&format!("GET /v1/mesh/trace?id={TRACE}"), &[READER], "", 200, &["Traced("]).await;
    for id in
        ["", "0", &TRACE.to_uppercase(), &"0".repeat(32), &format!("{TRACE}&subject=a"), &format!("{TRACE}&from=a")]
    {
        let line = format!("GET /v1/mesh/trace?id={id}");
        node.check(&line, &[READER], "", 400, &["invalid-parameter", r#""parameter":"id""#]).await;
    }
    node.check("GET /v1/mesh/trace", &[READER], "", 400, &["subject"]).await;
    let line = "GET /v1/mesh/routes?subject=a&at=b/b1&limit=7";
    node.check(line, &[READER], "", 200, &["Some(7)", "b/b1"]).await;
    node.check("GET /v1/mesh/routes?limit=x", &[READER], "", 400, &["limit"]).await;
}

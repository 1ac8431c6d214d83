//! Two nodes that share an engine, and what a restart makes of what does not go together.

use super::*;
use door::{Access, Limits, Port};
use journal::Journal;
use journal::local::Local;
use serde_json::json;

use crate::live::Live;

fn resource(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": plan::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn domain(name: &str) -> Value {
    resource("Domain", name, json!({"secretFile": "/etc/secret"}))
}

fn never(from: &str, to: &str) -> Value {
    resource("Topology", "rules", json!({"never": [{"from": from, "to": to}]}))
}

fn star(name: &str, spokes: &[&str]) -> Value {
    resource("Segment", name, json!({"links": [{"domain": "hub", "neighbors": spokes}]}))
}

fn shared() -> Arc<dyn Journal> {
    Arc::new(Local::new(Arc::new(crate::clock::now)))
}

async fn open(journal: &Arc<dyn Journal>, folder: Option<PathBuf>) -> Result<Arc<Resources>, StartError> {
    let port = Port::new(Arc::clone(journal), Arc::new(Live::default()), Access::open(), Limits::default());
    let recorder = Recorder::new("n", Arc::clone(journal), port);
    Resources::open(folder, recorder, Some(Name::parse("hub").unwrap())).await
}

async fn apply(to: &Resources, resources: Value) -> Result<Value, Problem> {
    Shown::apply(to, "who", Bytes::from(resources.to_string()), false).await
}

fn names(of: &Resources) -> Vec<String> {
    let mut names: Vec<String> = of.list(None).iter().map(|each| each["metadata"]["name"].to_string()).collect();
    names.sort();
    names.iter().map(|name| name.trim_matches('"').to_owned()).collect()
}

#[tokio::test]
async fn of_two_nodes_on_one_engine_each_judges_by_what_the_other_recorded() {
    let journal = shared();
    let (one, two) = (open(&journal, None).await.unwrap(), open(&journal, None).await.unwrap());
    apply(&one, json!([domain("a"), domain("b")])).await.unwrap();
    apply(&two, never("a", "b")).await.unwrap();
    let refused = apply(&one, star("star", &["a", "b"])).await.unwrap_err();
    assert!(refused.detail().contains("forbids it"), "{refused:?}");
    // Both at once: one of them is judged by what the other did.
    let (first, second) = tokio::join!(apply(&one, star("s-a", &["a"])), apply(&two, star("s-b", &["b"])));
    first.and(second).unwrap();
    one.catch_up().await;
    two.catch_up().await;
    assert_eq!(names(&one), ["a", "b", "rules", "s-a", "s-b"]);
    assert_eq!(names(&one), names(&two));
}

#[tokio::test]
async fn changes_of_two_nodes_at_once_are_all_there_at_both() {
    let journal = shared();
    let (one, two) = (open(&journal, None).await.unwrap(), open(&journal, None).await.unwrap());
    for round in 0..20 {
        let (a, b) = (domain(&format!("a{round}")), domain(&format!("b{round}")));
        let (a, b) = tokio::join!(apply(&one, a), apply(&two, b));
        a.and(b).unwrap();
    }
    one.catch_up().await;
    two.catch_up().await;
    assert_eq!(names(&one).len(), 40);
    assert_eq!(names(&one), names(&two));
}

#[tokio::test]
async fn after_a_restart_a_promise_holds_and_the_recorded_segment_that_breaks_it_is_left_out() {
    let (journal, folder) = (shared(), tempfile::tempdir().unwrap());
    let node = open(&journal, None).await.unwrap();
    // The newest is innocent, and neither of the two alone breaks it.
    let segments = [star("wide", &["a", "b"]), star("wider", &["*"]), star("own", &["a"])];
    apply(&node, json!([domain("a"), domain("b"), segments[0], segments[1], segments[2]])).await.unwrap();
    // A file says the promise: it was not there when the segments were recorded.
    std::fs::write(folder.path().join("rules.yaml"), never("a", "b").to_string()).unwrap();
    let node = open(&journal, Some(folder.path().to_owned())).await.unwrap();
    assert_eq!(names(&node), ["a", "b", "own", "rules"]);
    // One of them goes for good, and the other is there again where the promise is not.
    let wide = Named { kind: String::from("Segment"), name: String::from("wide"), api_version: None };
    Shown::delete(&*node, "who", wide, false).await.unwrap();
    std::fs::remove_file(folder.path().join("rules.yaml")).unwrap();
    let again = Arc::clone(&node);
    tokio::task::spawn_blocking(move || again.reload()).await.unwrap();
    assert_eq!(names(&node), ["a", "b", "own", "wider"]);
}

#[tokio::test]
async fn a_node_whose_files_break_a_recorded_promise_does_not_start() {
    let (journal, folder) = (shared(), tempfile::tempdir().unwrap());
    let node = open(&journal, None).await.unwrap();
    apply(&node, json!([domain("a"), domain("b"), never("a", "b")])).await.unwrap();
    std::fs::write(folder.path().join("star.yaml"), star("wide", &["a", "b"]).to_string()).unwrap();
    let error = open(&journal, Some(folder.path().to_owned())).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("change the files") && error.contains("rules forbids it"), "{error}");
}

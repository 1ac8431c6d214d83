//! What nodes note of messages whose publishers ask for a trace.

use std::time::Duration;

use door::{Fabric, Subscription};
use event::{Headers, Message, Pattern, TraceParent};
use serde_json::Value;

use super::super::controller::Governor;
use super::super::way;
use super::rogue::World;
use super::{LONG, Station, chain, message, next, until, wanted};

fn traced(subject: &str, parent: &TraceParent) -> Message {
    let headers = Headers::from_pairs([("traceparent", parent.to_string().as_str())]).unwrap();
    Message { headers, ..message(subject, "x".to_owned()) }
}

/// What a station noted of a trace.
async fn note(station: &Station, parent: &TraceParent) -> Value {
    let told = || station.body.traces.shelf.told(parent.trace);
    until(async || told().is_some()).await;
    let told = told().unwrap();
    assert_eq!(told["notes"].as_array().unwrap().len(), 1, "{told}");
    told["notes"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_notes_what_became_of_a_message_whose_publisher_asks_for_that() {
    let stations = chain(&["a", "b", "c"], 1).await;
    let listen = |at: usize, pattern: &str| {
        Subscription::new(stations[at].live.clone() as _, &[Pattern::parse(pattern).unwrap()], 10, 1 << 20)
    };
    let mut far = listen(2, "news.>");
    wanted(&stations[0], "news.x", true).await;
    stations[0].live.deliver(&message("news.x", "untraced".to_owned()));
    next(&mut far).await;
    let parent = way::parent().unwrap();
    assert_eq!(stations[0].live.deliver(&traced("news.x", &parent)), 1);
    next(&mut far).await;
    let notes =
        [note(&stations[0], &parent).await, note(&stations[1], &parent).await, note(&stations[2], &parent).await];
    for (at, came, sent, direct) in [(0, "", "b/1", 0), (1, "a/1", "c/1", 0), (2, "b/1", "", 1)] {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = &notes[at];
        assert_eq!((text(&told["came"]["node"]).as_str(), text(&told["sent"][0]["node"]).as_str()), (came, sent));
        assert_eq!((&told["direct"], &told["why"]), (&direct.into(), &Value::Array(Vec::new())), "{told}");
    }
    assert_eq!(stations[1].body.traces.noted.load(std::sync::atomic::Ordering::Relaxed), 1, "the other was not noted");
    let unsampled = TraceParent { sampled: false, ..way::parent().unwrap() };
    stations[0].live.deliver(&traced("news.x", &unsampled));
    next(&mut far).await;
    assert!(stations[0].body.traces.shelf.told(unsampled.trace).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_wants_is_noted_where_it_ends() {
    let stations = chain(&["a", "b"], 1).await;
    let parent = way::parent().unwrap();
    assert_eq!(stations[0].live.deliver(&traced("nobody.here", &parent)), 0);
    assert_eq!(note(&stations[0], &parent).await["why"][0], "nobody who can be reached wants it");
    assert!(stations[1].body.traces.shelf.told(parent.trace).is_none());
    let subject = event::Subject::parse("nobody.here").unwrap();
    let parent = way::parent().unwrap();
    assert_eq!(way::probe(&stations[0].body, &subject, &parent.to_string()), Ok(0));
    assert!(!stations[0].body.traces.shelf.whole(way::parent().unwrap().trace, Duration::ZERO).await);
    assert!(stations[0].body.traces.shelf.whole(parent.trace, LONG).await);
    assert!(way::probe(&stations[0].body, &subject, "no parent").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_shows_the_whole_path_of_what_its_nodes_note() {
    let world = World::new().await;
    let parent = way::parent().unwrap();
    wanted(&world.b, "orders.1", true).await;
    world.b.live.deliver(&traced("orders.1", &parent));
    assert!(world.governor.traces.whole(parent.trace, LONG).await);
    let told = world.governor.traces.told(parent.trace).unwrap();
    let nodes: Vec<&str> = told["notes"].as_array().unwrap().iter().filter_map(|note| note["node"].as_str()).collect();
    assert_eq!(nodes, ["b/b1", "hub/h1"], "{told}");
    assert_eq!((&told["notes"][1]["segment"], &told["notes"][1]["direct"]), (&"customer-b".into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_another_one_has_nodes_prove_themselves_anew_while_their_links_stay() {
    let mut world = World::new().await;
    let is_there =
        async |world: &World| world.nodes().await.iter().any(|node| node.connected && node.id.to_string() == "b/b1");
    std::fs::write(world.folder.path().join("b"), "another".repeat(8)).unwrap();
    let reload = |secrets: std::sync::Arc<Governor>| tokio::task::spawn_blocking(move || secrets.reload(None));
    reload(world.governor.clone()).await.unwrap();
    until(async || !is_there(&world).await).await;
    let links = world.b.body.ask(mesh::node::Node::links);
    assert!(links.iter().all(|link| link.up.is_some()) && !links.is_empty(), "links have keys of their own");
    world.hub.live.deliver(&message("still", "here".to_owned()));
    assert_eq!(next(&mut world.heard_b).await.subject.as_str(), "still");
    let of_b = std::sync::Arc::clone(&world.of_b);
    tokio::task::spawn_blocking(move || of_b.reload()).await.unwrap();
    until(async || is_there(&world).await).await;
    reload(world.governor.clone()).await.unwrap();
    assert!(is_there(&world).await, "what is as it was ends nothing");
}

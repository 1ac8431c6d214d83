//! `/v1/views`: rows, waits, followings.

use std::sync::Arc;
use std::time::Duration;

use door::{Access, Limits, Standing, Token, TokenHash, View, ViewParts};
use event::{Message, Moment, Pattern, Subject};
use journal::Stored;
use serde_json::{Value, json};
use view::rule::{Origin, Rule};
use view::{Bounds, Fold};

use crate::support::{Events, NOON, Node};

const FOLLOW: (&str, &str) = ("accept", "text/event-stream");

/// A view `users` of the subjects `users.<key>`, with rows that are removed by empty payloads.
fn users(node: &Node, epoch: u32, bounds: Bounds) -> Arc<View> {
    let rule = Rule { key: Origin::Subject(vec![2]), ..Rule::default() };
    let patterns = vec![Pattern::parse("users.>").unwrap()];
    let fold = Fold::new(rule, bounds);
    let view = Arc::new(View::new(ViewParts { name: "users".into(), stream: "S".into(), patterns, epoch, fold }));
    node.views.put(Arc::clone(&view));
    view.stand(Standing::Ready);
    view
}

fn put(view: &View, seq: u64, key: &str, payload: &str) {
    let message = Message::new(Subject::parse(&format!("users.{key}")).unwrap(), payload.to_owned());
    let stored = Stored { seq, time: Moment::from_nanos(NOON), message };
    view.change(|fold, touched| fold.fold(&stored, touched)).unwrap();
}

/// The events of a body up to the first that is named so, shortly: `put a@1 id`.
async fn told(events: &mut Events, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let (name, id, data) = events.event().await.unwrap();
        let key = data["key"].as_str().map(|key| format!(" {key}@{}", data["position"])).unwrap_or_default();
        let id = if id.is_empty() { id } else { format!(" #{id}") };
        let shown = format!("{name}{key}{id}");
        let over = shown.starts_with(last);
        all.push(shown);
        if over {
            return all;
        }
    }
}

async fn resumed(node: &Node, id: &str) -> Events {
    Events::of(node.send("GET /v1/views/users", &[FOLLOW, ("last-event-id", id)], "").await)
}

#[tokio::test]
async fn rows_are_read_by_key_and_by_prefix() {
    let node = Node::new();
    let view = users(&node, 7, Bounds::default());
    for (seq, key, payload) in [(1, "ann", "{\"n\": 1}"), (2, "bob", "text"), (3, "abe", "2")] {
        put(&view, seq, key, payload);
    }
    let answer = node.check("GET /v1/views/users", &[], "", 200, &[]).await;
    assert_eq!(answer.header("tidings-index"), "3-00000007");
    let rows = answer.json();
    assert_eq!((&rows["index"], &rows["position"]), (&json!("3-00000007"), &json!(3)));
    let keys: Vec<&str> = rows["rows"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["abe", "ann", "bob"]);
    assert!(answer.text().contains("\"value\":{\"n\": 1}") && answer.text().contains("\"text\":\"text\""));
    let page = node.check("GET /v1/views/users?prefix=a&limit=1", &[], "", 200, &[]).await.json();
    assert_eq!((&page["rows"][0]["key"], &page["next"]), (&json!("abe"), &json!("abe")));
    let page = node.check("GET /v1/views/users?prefix=a&limit=1&after=abe", &[], "", 200, &[]).await.json();
    assert_eq!((&page["rows"][0]["key"], &page["next"]), (&json!("ann"), &Value::Null));
    node.check("GET /v1/views/users/bob", &[], "", 200, &["\"position\":2", "\"text\":\"text\""]).await;
    let raw = node.check("GET /v1/views/users/ann?raw=true", &[], "", 200, &[]).await;
    assert_eq!((raw.text().as_str(), raw.header("content-type")), ("{\"n\": 1}", "application/octet-stream"));
    let none = node.check("GET /v1/views/users/eve", &[], "", 404, &["no row 'eve'"]).await;
    assert_eq!(none.header("tidings-index"), "3-00000007");
    let listed = node.check("GET /v1/views", &[], "", 200, &[]).await.json();
    let first = &listed["views"][0];
    assert_eq!((&first["name"], &first["state"], &first["rows"]), (&json!("users"), &json!("ready"), &json!(3)));
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let node = Node::new();
    users(&node, 7, Bounds::default());
    node.check("GET /v1/views/nobody", &[], "", 404, &["no-view", "nobody"]).await;
    node.check("GET /v1/views/nobody/key", &[], "", 404, &["no-view"]).await;
    node.check("GET /v1/views/users?index=x", &[], "", 400, &["index"]).await;
    node.check("GET /v1/views/users?wait=5s", &[], "", 400, &["needs index"]).await;
    node.check("GET /v1/views/users?index=1&wait=-5s", &[], "", 400, &["wait"]).await;
    node.check("GET /v1/views/users?limit=0", &[], "", 400, &["limit"]).await;
    node.check("GET /v1/views/users?perfix=a", &[], "", 400, &["perfix"]).await;
    node.check("GET /v1/views/users", &[FOLLOW, ("last-event-id", "soon")], "", 400, &["last_event_id"]).await;
    node.check("GET /v1/views/users", &[("accept", "text/html")], "", 406, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_a_change_of_its_own_answer_or_with_its_time() {
    let node = Arc::new(Node::new());
    let view = users(&node, 7, Bounds::default());
    put(&view, 1, "ann", "1");
    put(&view, 2, "bob", "1");
    // It changed already.
    node.check("GET /v1/views/users/bob?index=1-00000007", &[], "", 200, &[]).await;
    // An index of another history, or ahead: nothing can be said, so it is answered.
    node.check("GET /v1/views/users/ann?index=2-00000008", &[], "", 200, &[]).await;
    node.check("GET /v1/views/users/ann?index=99999999999999999", &[], "", 200, &[]).await;
    let ask = |line: &'static str| {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.ask(line, &[], "").await })
    };
    let ann = ask("GET /v1/views/users/ann?index=2&wait=50s");
    let eve = ask("GET /v1/views/users/eve?index=2&wait=50s");
    let prefix = ask("GET /v1/views/users?prefix=e&index=2&wait=50s");
    let late = ask("GET /v1/views/users/bob?index=2&wait=5s");
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(view.waited_for(), 4);
    put(&view, 3, "carl", "1");
    let late = late.await.unwrap();
    assert_eq!((late.status.as_u16(), late.header("tidings-index")), (200, "3-00000007"));
    assert!(!ann.is_finished() && !eve.is_finished() && !prefix.is_finished());
    put(&view, 4, "eve", "1");
    assert_eq!(eve.await.unwrap().status.as_u16(), 200);
    assert!(prefix.await.unwrap().text().contains("\"key\":\"eve\""));
    put(&view, 5, "ann", "");
    let ann = ann.await.unwrap();
    assert_eq!((ann.status.as_u16(), ann.header("tidings-index")), (404, "5-00000007"));
    assert_eq!(view.waited_for(), 0);
}

#[tokio::test]
async fn a_view_is_followed_from_a_snapshot_and_resumed_from_any_index_that_is_remembered() {
    let node = Node::new();
    let view = users(&node, 7, Bounds { removals_max: 2, ..Bounds::default() });
    for (seq, key, payload) in [(1, "ann", "1"), (2, "bob", "1"), (3, "ann", "2")] {
        put(&view, seq, key, payload);
    }
    let mut events = Events::of(node.send("GET /v1/views/users", &[FOLLOW], "").await);
    assert_eq!(told(&mut events, "end").await, ["snapshot", "put ann@3", "put bob@2", "end #3-00000007"]);
    put(&view, 4, "bob", "");
    put(&view, 5, "carl", "1");
    assert_eq!(told(&mut events, "put carl").await, ["remove bob@4 #4-00000007", "put carl@5 #5-00000007"]);
    let mut events = resumed(&node, "2-00000007").await;
    let missed = ["put ann@3 #3-00000007", "remove bob@4 #4-00000007", "put carl@5 #5-00000007"];
    assert_eq!(told(&mut events, "put carl").await, missed);
    // Of another history: all of it again, as it was encoded of late, and what changed since.
    let mut events = resumed(&node, "2-00000009").await;
    let anew = ["snapshot", "put ann@3", "put bob@2", "end #3-00000007", missed[1], missed[2]];
    assert_eq!(told(&mut events, "put carl").await, anew);
    for (seq, key) in [(6, "ann"), (7, "carl")] {
        put(&view, seq, key, "");
    }
    // From before what is remembered, where what was encoded does not serve either.
    let mut events = resumed(&node, "2-00000007").await;
    assert_eq!(told(&mut events, "end").await, ["snapshot", "end #7-00000007"]);
    // Who missed nothing is told so; who wants a snapshot gets one that is not older than what it knows.
    let mut events = resumed(&node, "7-00000007").await;
    assert_eq!(told(&mut events, "end").await, ["end #7-00000007"]);
    put(&view, 8, "dora", "1");
    let anew = node.send("GET /v1/views/users?snapshot=true", &[FOLLOW, ("last-event-id", "8-00000007")], "");
    assert_eq!(told(&mut Events::of(anew.await), "end").await, ["snapshot", "put dora@8", "end #8-00000007"]);
    let mut events = resumed(&node, "6-00000007").await;
    let last = ["remove carl@7 #7-00000007", "put dora@8 #8-00000007", "end #8-00000007"];
    assert_eq!(told(&mut events, "end").await, last);
}

#[tokio::test]
async fn who_follows_a_prefix_hears_of_it_alone_and_goes_over_to_a_view_that_takes_the_place() {
    let node = Node::new();
    let view = users(&node, 7, Bounds::default());
    for (seq, key) in [(1, "ann"), (2, "bob")] {
        put(&view, seq, key, "1");
    }
    let mut events = Events::of(node.send("GET /v1/views/users?prefix=b", &[FOLLOW], "").await);
    assert_eq!(told(&mut events, "end").await, ["snapshot", "put bob@2", "end #2-00000007"]);
    put(&view, 3, "ann", "2");
    put(&view, 4, "bea", "2");
    assert_eq!(told(&mut events, "put").await, ["put bea@4 #4-00000007"]);
    let next = users(&node, 8, Bounds::default());
    put(&next, 4, "bea", "3");
    // What was put before it was looked at is in the snapshot, or behind it.
    let all = told(&mut events, "put bea").await;
    assert_eq!(all[0], "snapshot");
    node.views.remove("users");
    let (name, _, problem) = loop {
        let event = events.event().await.unwrap();
        if event.0 == "error" {
            break event;
        }
    };
    assert_eq!((name.as_str(), problem["status"].as_u64()), ("error", Some(404)));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn who_may_not_read_any_more_is_told_so_at_once() {
    let token = |read: &str| {
        let read = vec![Pattern::parse(read).unwrap()];
        Token { name: "svc".into(), hash: TokenHash::of("s3cret"), publish: vec![], read, admin: false }
    };
    let node = Arc::new(Node::with(Access::tokens([token("users.>")]), Limits::default()));
    let view = users(&node, 7, Bounds::default());
    put(&view, 1, "ann", "1");
    let who = ("authorization", "Bearer s3cret");
    let mut events = Events::of(node.send("GET /v1/views/users", &[FOLLOW, who], "").await);
    told(&mut events, "end").await;
    let waiting = Arc::clone(&node);
    let waiting =
        tokio::spawn(async move { waiting.ask("GET /v1/views/users/ann?index=1&wait=50s", &[who], "").await });
    while view.waited_for() < 1 {
        tokio::task::yield_now().await;
    }
    let next = tokio::spawn(async move { (events.event().await, events.next().await) });
    tokio::task::yield_now().await;
    node.port.set_access(Access::tokens([token("other.>")]));
    let (refused, end) = next.await.unwrap();
    let (name, _, problem) = refused.unwrap();
    assert_eq!((name.as_str(), problem["status"].as_u64(), end), ("error", Some(403), None));
    assert_eq!(waiting.await.unwrap().status.as_u16(), 403);
    node.check("GET /v1/views/users", &[who], "", 403, &["users.>"]).await;
    node.check("GET /v1/views", &[who], "", 200, &["\"views\":[]"]).await;
}

#[tokio::test]
async fn rows_of_subjects_that_were_added_are_told_to_nobody_who_may_not_read_those() {
    let read = vec![Pattern::parse("users.>").unwrap()];
    let token = Token { name: "svc".into(), hash: TokenHash::of("s3cret"), publish: vec![], read, admin: false };
    let node = Arc::new(Node::with(Access::tokens([token]), Limits::default()));
    let view = users(&node, 7, Bounds::default());
    put(&view, 1, "ann", "1");
    let who = ("authorization", "Bearer s3cret");
    let mut events = Events::of(node.send("GET /v1/views/users", &[FOLLOW, who], "").await);
    told(&mut events, "end").await;
    let waiting = Arc::clone(&node);
    let waiting = tokio::spawn(async move { waiting.ask("GET /v1/views/users?index=1&wait=50s", &[who], "").await });
    while view.waited_for() < 1 {
        tokio::task::yield_now().await;
    }
    view.set_patterns(vec![Pattern::parse("users.>").unwrap(), Pattern::parse("salaries.>").unwrap()]);
    put(&view, 2, "bob", "1");
    let (name, _, problem) = events.event().await.unwrap();
    assert_eq!((name.as_str(), problem["status"].as_u64()), ("error", Some(403)));
    assert_eq!(waiting.await.unwrap().status.as_u16(), 403);
}

#[tokio::test]
async fn a_view_that_is_not_folded_yet_gives_no_rows_whatever_keeps_it_from_that() {
    let node = Arc::new(Node::new());
    let view = users(&node, 7, Bounds::default());
    put(&view, 1, "ann", "1");
    view.stand(Standing::Stuck("the stream S cannot be read".into()));
    node.check("GET /v1/views", &[], "", 200, &["\"state\":\"folding\"", "cannot be read"]).await;
    let mut events = Events::of(node.send("GET /v1/views/users", &[FOLLOW], "").await);
    let asking = Arc::clone(&node);
    let asking = tokio::spawn(async move { asking.ask("GET /v1/views/users", &[], "").await });
    tokio::task::yield_now().await;
    put(&view, 2, "bob", "1");
    view.stand(Standing::Ready);
    assert_eq!(told(&mut events, "end").await, ["snapshot", "put ann@1", "put bob@2", "end #2-00000007"]);
    let answer = asking.await.unwrap();
    assert!(answer.status.as_u16() == 200 && answer.text().contains("bob"), "{}", answer.text());
}

//! Blocking queries: who wakes, when, and with which index.

use std::time::{Duration, Instant};

use door_consul::Options;
use serde_json::json;

use crate::support::{serve, serve_with, token};

#[tokio::test]
async fn a_blocked_reader_wakes_with_its_own_answer_alone() {
    let node = serve().await;
    node.register("web", "n1", "web1", 80).await;
    let first = node.get("/v1/health/service/web").await;
    let mut client = node.client().await;
    client.send("GET", &format!("/v1/health/service/web?index={}&wait=60s", first.index()), "", b"").await;
    node.until("it is blocked", |counts| counts.blocked == 1).await;
    node.register("db", "n1", "db1", 5432).await;
    node.put("/v1/kv/a", "1").await;
    node.register("web", "n1", "web1", 80).await;
    assert_eq!(node.door.counts().blocked, 1, "others' changes, and the same again, wake nobody");
    node.register("web", "n1", "web1", 81).await;
    let second = client.reply().await;
    assert_eq!(second.json()[0]["Service"]["Port"], 81);
    assert!(second.index() > first.index());
    assert_eq!(node.get("/v1/health/service/web").await.index(), second.index());
    assert_eq!(node.door.counts().woken, 1);
}

#[tokio::test]
async fn what_is_left_out_wakes_nobody() {
    let node = serve().await;
    let register = |port: u16, status: &str| {
        let check = json!({"CheckID": "c", "Name": "c", "Status": status, "ServiceID": "web1"});
        let service = json!({"ID": "web1", "Service": "web", "Port": port});
        json!({"Node": "n1", "Address": "1.2.3.4", "Service": service, "Check": check}).to_string()
    };
    node.put("/v1/catalog/register", &register(80, "critical")).await;
    let path = "/v1/health/service/web?passing";
    let first = node.get(path).await;
    assert_eq!(first.text(), "[]");
    let mut client = node.client().await;
    client.send("GET", &format!("{path}&index={}&wait=60s", first.index()), "", b"").await;
    node.until("it is blocked", |counts| counts.blocked == 1).await;
    node.put("/v1/catalog/register", &register(81, "critical")).await;
    node.until("it looked", |counts| counts.unchanged > 0).await;
    assert_eq!(node.door.counts().blocked, 1);
    node.put("/v1/catalog/register", &register(81, "passing")).await;
    let second = client.reply().await;
    assert_eq!(second.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_missing_key_wakes_for_itself_alone() {
    let node = serve().await;
    node.put("/v1/kv/other", "0").await;
    let first = node.get("/v1/kv/absent").await;
    assert_eq!((first.status, first.body.len()), (404, 0));
    let mut client = node.client().await;
    client.send("GET", &format!("/v1/kv/absent?index={}&wait=60s", first.index()), "", b"").await;
    node.until("it is blocked", |counts| counts.blocked == 1).await;
    for value in 0..10 {
        node.put("/v1/kv/other", &value.to_string()).await;
    }
    assert_eq!(node.door.counts().blocked, 1);
    node.put("/v1/kv/absent", "here").await;
    let second = client.reply().await;
    assert_eq!((second.status, second.json()[0]["Value"].as_str()), (200, Some("aGVyZQ==")));
    assert!(second.index() > first.index());
}

#[tokio::test]
async fn a_prefix_wakes_when_something_below_it_goes_and_its_index_never_falls() {
    let node = serve().await;
    node.put("/v1/kv/a/1", "1").await;
    node.put("/v1/kv/a/2", "2").await;
    let first = node.get("/v1/kv/a/?recurse").await;
    let mut client = node.client().await;
    client.send("GET", &format!("/v1/kv/a/?recurse&index={}", first.index()), "", b"").await;
    node.until("it is blocked", |counts| counts.blocked == 1).await;
    node.ask("DELETE", "/v1/kv/a/2", "").await;
    let second = client.reply().await;
    assert_eq!(second.json().as_array().unwrap().len(), 1);
    assert!(second.index() > first.index());
}

#[tokio::test]
async fn the_time_of_a_wait_is_what_was_asked_and_a_sixteenth_more_at_most() {
    let node = serve().await;
    node.register("web", "n1", "web1", 80).await;
    for index in [node.get("/v1/health/service/web").await.index(), u64::MAX] {
        let began = Instant::now();
        let reply = node.get(&format!("/v1/health/service/web?index={index}&wait=320ms")).await;
        let took = began.elapsed();
        assert_eq!(reply.status, 200);
        assert!(reply.index() < u64::MAX && reply.json().as_array().unwrap().len() == 1);
        assert!(took >= Duration::from_millis(320) && took < Duration::from_millis(900), "{took:?}");
    }
    assert_eq!(node.door.counts().timed_out, 2);
}

#[tokio::test]
async fn a_negative_wait_is_the_usual_one() {
    let options = Options { wait_default: Duration::from_millis(60), ..Options::default() };
    let node = serve_with(options, door::Access::open()).await;
    for wait in ["-5s", "0s", "-0"] {
        let reply = node.get(&format!("/v1/catalog/nodes?index=99999&wait={wait}")).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "[]"), "{wait}");
    }
}

#[tokio::test]
async fn many_who_wait_for_the_same_share_one_answer() {
    let node = serve().await;
    node.register("web", "n1", "web1", 80).await;
    let index = node.get("/v1/health/service/web").await.index();
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = node.client().await;
        client.send("GET", &format!("/v1/health/service/web?index={index}"), "", b"").await;
        clients.push(client);
    }
    node.until("all are blocked", |counts| counts.blocked == 100).await;
    let before = node.door.counts().encoded;
    node.register("web", "n1", "web1", 81).await;
    for client in &mut clients {
        assert_eq!(client.reply().await.json()[0]["Service"]["Port"], 81);
    }
    assert_eq!(node.door.counts().encoded, before + 1);
}

#[tokio::test]
async fn whoever_leaves_while_blocked_takes_nothing_with_it() {
    let node = serve().await;
    node.register("web", "n1", "web1", 80).await;
    let index = node.get("/v1/health/service/web").await.index();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = node.client().await;
        client.send("GET", &format!("/v1/health/service/web?index={index}"), "", b"").await;
        clients.push(client);
    }
    node.until("all are blocked", |counts| counts.blocked == 20).await;
    let mut last = clients.pop().unwrap();
    drop(clients);
    node.until("one is left", |counts| counts.blocked == 1).await;
    node.register("web", "n1", "web1", 81).await;
    assert_eq!(last.reply().await.json()[0]["Service"]["Port"], 81);
    drop(last);
    node.until("nothing is waited for", |counts| counts.blocked == 0).await;
    assert_eq!(node.catalogue.waited_for(), 0);
}

#[tokio::test]
async fn other_rights_end_a_wait_at_once() {
    let all = || token("all", &[">"], &[">"]);
    let node = serve_with(Options::default(), door::Access::tokens([all(), token("web", &[], &["catalog.>"])])).await;
    let mut client = node.client().await;
    client.send("GET", "/v1/health/service/web?index=9999&token=web", "", b"").await;
    let mut other = node.client().await;
    other.send("GET", "/v1/health/service/web?index=9999&token=all", "", b"").await;
    node.until("both are blocked", |counts| counts.blocked == 2).await;
    node.port.set_access(door::Access::tokens([all()]));
    assert_eq!(client.reply().await.status, 403);
    node.until("the other waits on", |counts| counts.blocked == 1).await;
}

#[tokio::test]
async fn a_door_that_closes_answers_who_waits() {
    let node = serve().await;
    let mut client = node.client().await;
    client.send("GET", "/v1/catalog/services?index=9999", "", b"").await;
    node.until("it is blocked", |counts| counts.blocked == 1).await;
    node.door.close().await;
    assert_eq!(client.reply().await.status, 200);
    assert_eq!(node.door.counts().connections, 0);
}

#[tokio::test]
async fn an_agents_service_is_waited_for_by_its_content() {
    let node = serve().await;
    let register = |port: u16| json!({"Name": "web", "Port": port}).to_string();
    node.put("/v1/agent/service/register", &register(80)).await;
    let first = node.get("/v1/agent/service/web").await;
    let hash = first.header("x-consul-contenthash").unwrap().to_owned();
    assert_eq!(first.json()["ContentHash"], hash.as_str());
    let mut client = node.client().await;
    client.send("GET", &format!("/v1/agent/service/web?hash={hash}&wait=60s"), "", b"").await;
    node.until("it is blocked", |counts| counts.blocked == 1).await;
    node.put("/v1/agent/service/register", &register(81)).await;
    let second = client.reply().await;
    assert_eq!(second.json()["Port"], 81);
    assert_ne!(second.header("x-consul-contenthash").unwrap(), hash);
}

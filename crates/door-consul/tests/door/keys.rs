//! Keys, sessions, transactions and user events.

use serde_json::{Value, json};

use crate::support::serve;

#[tokio::test]
async fn keys_are_set_read_and_deleted() {
    let node = serve().await;
    assert_eq!(node.put("/v1/kv/a/b?flags=42", "value").await.text(), "true");
    let read = node.get("/v1/kv/a/b").await;
    let pair = &read.json()[0];
    assert_eq!((&pair["Key"], &pair["Flags"], &pair["Value"]), (&json!("a/b"), &json!(42), &json!("dmFsdWU=")));
    assert_eq!(read.index(), pair["ModifyIndex"].as_u64().unwrap());
    let raw = node.get("/v1/kv/a/b?raw").await;
    assert_eq!((raw.text().as_str(), raw.header("content-type")), ("value", Some("text/plain")));
    assert_eq!(raw.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(raw.header("content-security-policy"), Some("sandbox"));
    assert_eq!(node.put("/v1/kv/a/empty", "").await.text(), "true");
    assert_eq!(node.get("/v1/kv/a/empty").await.json()[0]["Value"], Value::Null);
    assert_eq!(node.put("/v1/kv/a/c/d%20e", "x").await.text(), "true");
    assert_eq!(node.get("/v1/kv/a/?keys").await.json(), json!(["a/b", "a/c/d e", "a/empty"]));
    assert_eq!(node.get("/v1/kv/a/?keys&separator=/").await.json(), json!(["a/b", "a/c/", "a/empty"]));
    assert_eq!(node.get("/v1/kv/?recurse").await.json().as_array().unwrap().len(), 3);
    assert_eq!(node.ask("DELETE", "/v1/kv/a/b", "").await.text(), "true");
    assert_eq!(node.ask("DELETE", "/v1/kv/a/b", "").await.text(), "true");
    let gone = node.get("/v1/kv/a/b").await;
    assert_eq!((gone.status, gone.body.len()), (404, 0));
    assert!(gone.index() > read.index());
    assert_eq!(node.ask("DELETE", "/v1/kv/a?recurse", "").await.text(), "true");
    assert_eq!(node.get("/v1/kv/?keys").await.status, 404);
}

#[tokio::test]
async fn a_key_is_set_only_as_it_was_known() {
    let node = serve().await;
    assert_eq!(node.put("/v1/kv/a?cas=5", "x").await.text(), "false");
    assert_eq!(node.put("/v1/kv/a?cas=0", "x").await.text(), "true");
    assert_eq!(node.put("/v1/kv/a?cas=0", "y").await.text(), "false");
    let index = node.get("/v1/kv/a").await.json()[0]["ModifyIndex"].as_u64().unwrap();
    assert_eq!(node.put(&format!("/v1/kv/a?cas={index}"), "y").await.text(), "true");
    assert_eq!(node.ask("DELETE", &format!("/v1/kv/a?cas={index}"), "").await.text(), "false");
    assert_eq!(node.put("/v1/kv/a?cas=abc", "y").await.status, 400);
    assert_eq!(node.put("/v1/kv/a?cas=1&acquire=x", "y").await.status, 400);
    assert_eq!(node.ask("DELETE", "/v1/kv/a?cas=1&recurse", "").await.status, 400);
}

#[tokio::test]
async fn sessions_hold_keys() {
    let node = serve().await;
    node.register("consul", "tidings", "consul", 8300).await;
    let create = json!({"Name": "s", "LockDelay": 0, "TTL": "90s"}).to_string();
    let created = node.put("/v1/session/create", &create).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let created = created.json();
    let id = created["ID"].as_str().unwrap();
    assert_eq!(node.put(&format!("/v1/kv/lock?acquire={id}"), "me").await.text(), "true");
    let other = node.put("/v1/session/create", "").await;
    assert_eq!(other.status, 200, "{}", other.text());
    let other = other.json()["ID"].as_str().unwrap().to_owned();
    assert_eq!(node.put(&format!("/v1/kv/lock?acquire={other}"), "you").await.text(), "false");
    let pair = node.get("/v1/kv/lock").await.json();
    assert_eq!((&pair[0]["Session"], &pair[0]["LockIndex"]), (&json!(id), &json!(1)));
    let info = node.get(&format!("/v1/session/info/{id}")).await;
    assert_eq!((&info.json()[0]["TTL"], &info.json()[0]["LockDelay"]), (&json!("90s"), &json!(0)));
    assert!(info.index() > 0);
    assert_eq!(node.put(&format!("/v1/session/renew/{id}"), "").await.json()[0]["ID"], id);
    assert_eq!(node.get("/v1/session/list").await.json().as_array().unwrap().len(), 2);
    assert_eq!(node.get("/v1/session/node/tidings").await.json().as_array().unwrap().len(), 2);
    assert_eq!(node.put(&format!("/v1/session/destroy/{id}"), "").await.text(), "true");
    assert_eq!(node.get("/v1/kv/lock").await.json()[0].get("Session"), None);
    assert_eq!(node.get(&format!("/v1/session/info/{id}")).await.text(), "[]");
    let unknown = node.put(&format!("/v1/session/renew/{id}"), "").await;
    assert_eq!((unknown.status, unknown.text()), (404, format!("Session id '{id}' not found")));
    assert_eq!(node.put("/v1/session/create", r#"{"Behavior":"x"}"#).await.status, 400);
}

#[tokio::test]
async fn a_transaction_is_made_whole_or_not_at_all() {
    let node = serve().await;
    let set = |key: &str, value: &str| json!({"KV": {"Verb": "set", "Key": key, "Value": value}});
    let body = json!([set("a", "eA=="), set("b", "eQ=="), {"KV": {"Verb": "get", "Key": "a"}}]);
    let made = node.put("/v1/txn", &body.to_string()).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let made = made.json();
    assert_eq!((&made["Errors"], &made["Results"][2]["KV"]["Value"]), (&Value::Null, &json!("eA==")));
    assert_eq!(made["Results"][0]["KV"]["Value"], Value::Null);
    let modified = made["Results"][0]["KV"]["ModifyIndex"].as_u64().unwrap();
    assert_eq!(node.get("/v1/kv/a").await.json()[0]["ModifyIndex"].as_u64(), Some(modified));
    let body = json!([set("a", "eg=="), {"KV": {"Verb": "cas", "Key": "b", "Index": 99999, "Value": "eg=="}}]);
    let undone = node.put("/v1/txn", &body.to_string()).await;
    assert_eq!((undone.status, &undone.json()["Errors"][0]["OpIndex"]), (409, &json!(1)));
    assert_eq!(node.get("/v1/kv/a?raw").await.text(), "x");
    let many: Vec<Value> = (0..65).map(|place| set(&place.to_string(), "")).collect();
    assert_eq!(node.put("/v1/txn", &json!(many).to_string()).await.status, 413);
    for bad in ["{}", "[{}]", r#"[{"KV":{"Verb":"x","Key":"a"}}]"#, r#"[{"KV":{"Verb":"set","Key":"a","Value":"%"}}]"#]
    {
        let reply = node.put("/v1/txn", bad).await;
        assert!(reply.status == 400 && reply.text().starts_with("Failed to parse body: "), "{bad} {}", reply.text());
    }
}

#[tokio::test]
async fn user_events_are_fired_listed_and_waited_for() {
    let node = serve().await;
    let before = node.get("/v1/event/list").await;
    assert_eq!(before.text(), "[]");
    let mut client = node.client().await;
    client.send("GET", &format!("/v1/event/list?name=deploy&index={}", before.index()), "", b"").await;
    node.until("it is blocked", |counts| counts.blocked == 1).await;
    assert_eq!(node.put("/v1/event/fire/other", "").await.status, 200);
    let fired = node.put("/v1/event/fire/deploy?service=web", "v2").await.json();
    assert_eq!((&fired["Name"], &fired["Payload"], &fired["Version"]), (&json!("deploy"), &json!("djI="), &json!(1)));
    assert_eq!(fired["ServiceFilter"], "web");
    let listed = client.reply().await;
    assert_eq!(listed.json()[0]["ID"], fired["ID"]);
    assert!(listed.index() > before.index());
    assert_eq!(node.put("/v1/event/fire/", "").await.status, 400);
}

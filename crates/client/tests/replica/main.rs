//! A view kept in SQLite, through the HTTP door, on sockets of this machine.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use client::replica::{Column, Endpoint, Kind, Replica, ReplicaSpec, ReplicaState};

use support::{World, columns, endpoint};

/// Waits until the table is what the view is.
async fn same(world: &World, replica: &Replica) {
    let mut states = replica.states();
    let mut patience = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..500 {
        if world.table() == world.view() {
            return;
        }
        tokio::select! {
            changed = states.changed() => changed.unwrap(),
            _ = patience.tick() => {}
        }
    }
    panic!("{:?}\n{:?}\n{:?} {:?}", world.table(), world.view(), replica.state(), replica.counts());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_follows_its_view_from_a_snapshot_on_and_goes_on_from_its_position() {
    let mut world = World::new().await;
    for user in 0..300 {
        world.put(user, &format!("name{user}"));
    }
    let replica = Replica::start(world.spec()).unwrap();
    assert!(matches!(replica.caught_up().await, ReplicaState::Following { position: 300 }));
    assert_eq!(world.table().len(), 300);
    world.put(7, "other");
    world.remove(8);
    same(&world, &replica).await;
    let counts = replica.close().await;
    assert_eq!((counts.snapshots, counts.removed, counts.unfit, counts.refused), (1, 1, 0, 0));

    world.put(9, "while away");
    world.remove(10);
    let replica = Replica::start(world.spec()).unwrap();
    same(&world, &replica).await;
    // What was missed came without a snapshot.
    assert_eq!(replica.close().await.snapshots, 0);

    // Another history: what is there no more goes.
    world.anew().await;
    world.put(1, "first");
    let replica = Replica::start(world.spec()).unwrap();
    same(&world, &replica).await;
    let counts = replica.close().await;
    assert_eq!((counts.snapshots, world.table().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_change_hands_stall_nothing() {
    let mut world = World::new().await;
    world.put(1, "ann");
    world.put(2, "bob");
    world.put(3, "eve");
    let replica = Replica::start(world.spec()).unwrap();
    replica.caught_up().await;
    // At once, so that they come as one batch: a swap, and a name that is free because its holder went.
    world.put_many(&[(1, "bob"), (2, "ann")]);
    world.remove(3);
    world.put(4, "eve");
    same(&world, &replica).await;
    // Two of one name cannot be: the second is left out and told, and what comes after it goes on.
    world.put(5, "eve");
    world.put(6, "zoe");
    while !world.table().contains_key("6") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let counts = replica.close().await;
    assert_eq!(counts.refused, 1);
    assert!(counts.reason.unwrap().contains("UNIQUE"));
    // And in a snapshot, as in a batch.
    world.anew().await;
    for (user, name) in [(1, "ann"), (2, "bob"), (6, "eve"), (4, "zoe")] {
        world.put(user, name);
    }
    let replica = Replica::start(world.spec()).unwrap();
    same(&world, &replica).await;
    assert_eq!(replica.close().await.refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_depends_on_a_row_goes_with_it_and_what_is_older_does_not_come_back() {
    let mut world = World::new().await;
    world.execute("CREATE TABLE namespaces (name TEXT PRIMARY KEY, owner_id TEXT)");
    world.execute("CREATE TABLE keys (name TEXT PRIMARY KEY, user_id TEXT)");
    world.execute("INSERT INTO namespaces VALUES ('n1', '1'), ('n2', '2')");
    world.execute("INSERT INTO keys VALUES ('k1', '1'), ('k2', '2')");
    let mut spec = world.spec();
    spec.on_delete = vec![
        "UPDATE namespaces SET owner_id = NULL WHERE owner_id = $1".to_owned(),
        "DELETE FROM keys WHERE user_id = $1".to_owned(),
    ];
    spec.columns.push(Column::new("version").kind(Kind::Integer));
    spec.version = Some("version".to_owned());
    world.put_versioned(1, "ann", 5);
    world.put_versioned(2, "bob", 5);
    let replica = Replica::start(spec.clone()).unwrap();
    replica.caught_up().await;
    world.remove(1);
    same(&world, &replica).await;
    assert_eq!(world.count("SELECT count(*) FROM namespaces WHERE owner_id IS NULL AND name = 'n1'"), 1);
    assert_eq!(world.count("SELECT count(*) FROM keys"), 1);
    world.put_versioned(2, "old", 4);
    world.put_versioned(3, "carl", 1);
    while !world.table().contains_key("3") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.table()["2"], "bob");
    replica.close().await;
    // A snapshot takes out what is gone in the same way.
    world.anew().await;
    world.put_versioned(3, "carl", 1);
    let replica = Replica::start(spec).unwrap();
    same(&world, &replica).await;
    assert_eq!(world.count("SELECT count(*) FROM keys"), 0);
    replica.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_lacks_something_is_told_and_the_one_before_it_stays() {
    let mut world = World::new().await;
    world.put(1, "ann");
    world.put(2, "bob");
    let replica = Replica::start(world.spec()).unwrap();
    replica.caught_up().await;
    world.put_raw(1, "{\"nick\":1}");
    world.put(2, "ben");
    while world.table().get("2").map(String::as_str) != Some("ben") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.table()["1"], "ann");
    let counts = replica.close().await;
    assert_eq!((counts.unfit, counts.reason.as_deref()), (1, Some("the row '1': it has no name")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_another_table_holds_stays_is_told_and_stalls_nothing() {
    let mut world = World::new().await;
    world.put(1, "ann");
    world.put(2, "bob");
    let replica = Replica::start(world.spec()).unwrap();
    replica.caught_up().await;
    replica.close().await;
    world.execute("CREATE TABLE posts (author TEXT REFERENCES users (id))");
    world.execute("INSERT INTO posts VALUES ('1')");
    // Gone by a snapshot, and by a change.
    world.anew().await;
    world.put(3, "carl");
    let replica = Replica::start(world.spec()).unwrap();
    replica.caught_up().await;
    assert_eq!(world.table().into_keys().collect::<Vec<_>>(), ["1", "3"]);
    world.put(1, "ann");
    world.remove(1);
    world.put(4, "dora");
    while !world.table().contains_key("4") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let counts = replica.close().await;
    assert_eq!((counts.removed, counts.refused), (1, 2));
    assert!(counts.reason.unwrap().contains("FOREIGN KEY"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_outlives_its_node_and_catches_up_when_it_returns() {
    let mut world = World::new().await;
    world.put(1, "ann");
    let replica = Replica::start(world.spec()).unwrap();
    replica.caught_up().await;
    world.stop().await;
    let mut states = replica.states();
    states.wait_for(|state| matches!(state, ReplicaState::Away { .. })).await.unwrap();
    assert_eq!(world.table().len(), 1);
    world.put(2, "bob");
    world.start().await;
    same(&world, &replica).await;
    assert_eq!(replica.counts().away, 1);
    states.wait_for(|state| matches!(state, ReplicaState::Following { .. })).await.unwrap();
    replica.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_brings_what_the_view_does_not_hold_and_reconciling_removes_what_neither_does() {
    let mut world = World::new().await;
    let secret = world.path("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let list = endpoint("s3cret", r#"{"users":[{"id":"1","name":"listed"},{"id":"9","name":"early"}]}"#).await;
    world.put(1, "ann");
    let mut spec = world.spec();
    spec.startup = Some(Endpoint {
        url: format!("http://{list}/api/users"),
        list: Some("users".to_owned()),
        key: Some("id".to_owned()),
        header: Some("X-Service-Key".to_owned()),
        secret_file: Some(secret),
        timeout: Duration::from_secs(5),
    });
    let replica = Replica::start(spec.clone()).unwrap();
    replica.caught_up().await;
    let expected: BTreeMap<String, String> = [("1", "ann"), ("9", "early")].map(|(k, v)| (k.into(), v.into())).into();
    assert_eq!(world.table(), expected);
    replica.close().await;
    // A row that is in neither, however it came there, goes when the table is compared.
    world.execute("INSERT INTO users VALUES ('77', 'ghost')");
    spec.reconcile = Duration::from_millis(100);
    let replica = Replica::start(spec.clone()).unwrap();
    while world.table() != expected {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    replica.close().await;
    // Where the list cannot be had, the view is kept all the same, and nothing is removed for want of it.
    spec.startup.as_mut().unwrap().url = "http://127.0.0.1:1/".to_owned();
    world.anew().await;
    world.put(2, "bob");
    let replica = Replica::start(spec).unwrap();
    replica.caught_up().await;
    assert_eq!(world.table().len(), 3);
    assert!(replica.close().await.reason.unwrap().contains("the list of the endpoint"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_at_any_moment_rows_and_position_fit() {
    let mut world = World::new().await;
    for user in 0..200 {
        world.put(user, &format!("name{user}"));
    }
    let mut chance = 7_u64;
    for round in 0..25 {
        let replica = Replica::start(world.spec()).unwrap();
        for step in 0..20_u64 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let user = (chance >> 33) % 250;
            if chance.is_multiple_of(5) {
                world.remove(user);
            } else {
                world.put(user, &format!("r{round}s{step}"));
            }
        }
        tokio::time::sleep(Duration::from_micros((chance >> 40) % 30_000)).await;
        // Not closed: its task ends wherever it is.
        drop(replica);
        world.check_position();
        if round == 12 {
            world.anew().await;
        }
    }
    let replica = Replica::start(world.spec()).unwrap();
    same(&world, &replica).await;
    replica.close().await;
}

#[test]
fn a_spec_that_cannot_be_used_is_refused_at_once() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let mut spec = ReplicaSpec::new("v", "sqlite:x.db", "t", columns());
    spec.key = Some("nobody".to_owned());
    assert!(Replica::start(spec).err().unwrap().is_final());
}

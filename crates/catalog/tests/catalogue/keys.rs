//! Keys, transactions, sessions and user events by examples.

use std::time::Duration;

use crate::world::World;
use catalog::{
    Behavior, CheckDraft, Command, Fire, Form, KeyPut, Outcome, RefusedKind, Register, SessionCreate, SetCheck, Status,
    Touch, TxnAnswer, TxnOperation, TxnVerb,
};

fn put(key: &str, value: &'static str) -> KeyPut {
    KeyPut { key: key.into(), value: value.into(), ..KeyPut::default() }
}

fn delete(key: &str, recurse: bool, cas: Option<u64>) -> Command {
    Command::KeyDelete { key: key.into(), recurse, cas }
}

#[track_caller]
fn flag(world: &mut World, command: Command) -> bool {
    match world.run(command).unwrap() {
        Outcome::Flag(flag) => flag,
        other => panic!("{other:?}"),
    }
}

fn operation(verb: TxnVerb, key: &str, value: &'static str) -> TxnOperation {
    TxnOperation { verb, key: key.into(), value: value.into(), flags: 0, index: 0, session: String::new() }
}

#[track_caller]
fn transact(world: &mut World, operations: Vec<TxnOperation>) -> TxnAnswer {
    match world.run(Command::Txn(operations)).unwrap() {
        Outcome::Txn(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// A node with a check that is well.
fn ground() -> World {
    let mut world = World::new();
    let mut register = Register::new(Form::Catalog, "n1");
    register.address = "10.0.0.1".into();
    let alive = CheckDraft { id: "serfHealth".into(), status: "passing".into(), ..CheckDraft::default() };
    register.checks = vec![alive];
    world.run(Command::Register(Box::new(register))).unwrap();
    world
}

fn session(id: &str, behavior: Behavior) -> SessionCreate {
    SessionCreate {
        id: id.into(),
        name: String::new(),
        node: "n1".into(),
        lock_delay: None,
        behavior,
        ttl: None,
        node_checks: None,
        service_checks: vec![],
        agent: "n1".into(),
    }
}

#[test]
fn keys_are_set_where_they_are_as_expected() {
    let mut world = World::new();
    assert!(flag(&mut world, Command::KeyPut(KeyPut { flags: Some(42), ..put("a/b.c *", "1") })));
    let pair = world.state.key("a/b.c *").unwrap().value.clone();
    assert_eq!((pair.flags, pair.created, pair.changed), (42, 1, 1));
    assert!(flag(&mut world, Command::KeyPut(KeyPut { flags: Some(42), ..put("a/b.c *", "1") })));
    assert_eq!(world.log.len(), 1, "the same again is no change");
    assert!(!flag(&mut world, Command::KeyPut(KeyPut { cas: Some(0), ..put("a/b.c *", "2") })));
    assert!(flag(&mut world, Command::KeyPut(KeyPut { cas: Some(1), ..put("a/b.c *", "2") })));
    assert!(!flag(&mut world, delete("a/b.c *", false, Some(1))));
    assert!(flag(&mut world, delete("absent", false, Some(7))));
    assert!(flag(&mut world, delete("a/b.c *", false, Some(2))));
    assert!(world.is_touched(&Touch::Key("a/b.c *".into())));
    assert_eq!(world.state.key_changed("a/b.c *"), 3);
    assert!(flag(&mut world, Command::KeyPut(KeyPut { cas: Some(0), ..put("a/b.c *", "") })));
    assert_eq!(world.state.key("a/b.c *").unwrap().value.value, "", "an empty value is one");
    let kind = |command: Command| world.judge(&command).unwrap_err().kind;
    assert_eq!(kind(Command::KeyPut(put("", ""))), RefusedKind::Invalid);
    let large = KeyPut { key: "k".into(), value: vec![0; 524_289].into(), ..KeyPut::default() };
    assert_eq!(kind(Command::KeyPut(large)), RefusedKind::TooLarge);
    let torn = KeyPut { cas: Some(0), acquire: Some("s".into()), ..put("k", "") };
    assert_eq!(kind(Command::KeyPut(torn)), RefusedKind::Invalid);
}

#[test]
fn a_prefix_has_an_index_that_a_deletion_raises_and_strangers_do_not() {
    let mut world = World::new();
    for key in ["a/1", "a/2", "a\u{10ffff}", "b"] {
        flag(&mut world, Command::KeyPut(put(key, "x")));
    }
    assert_eq!(world.state.keys("a").count(), 3);
    assert_eq!(world.state.keys("a\u{10ffff}").count(), 1);
    let below = world.state.prefix_changed("a/");
    flag(&mut world, Command::KeyPut(put("b", "y")));
    assert_eq!((below, world.state.prefix_changed("a/")), (2, 2));
    assert_eq!(world.state.key_changed("absent"), 1);
    flag(&mut world, delete("a/", true, None));
    assert_eq!((world.state.keys("a/").count(), world.state.prefix_changed("a/")), (0, 7));
    let again = world.restarted();
    assert_eq!((again.keys("").count(), again.prefix_changed("a/")), (2, 7));
}

#[test]
fn a_key_is_held_by_one_session_and_released_when_that_ends() {
    let mut world = ground();
    for id in ["s1", "s2"] {
        world.run(Command::SessionCreate(session(id, Behavior::Release))).unwrap();
    }
    let acquire = |id: &str| Command::KeyPut(KeyPut { acquire: Some(id.into()), ..put("lock", "me") });
    let release = |id: &str| Command::KeyPut(KeyPut { release: Some(id.into()), ..put("lock", "free") });
    let unknown = world.judge(&acquire("nobody")).unwrap_err();
    assert_eq!((unknown.kind, unknown.text.as_str()), (RefusedKind::Failed, "invalid session \"nobody\""));
    assert!(flag(&mut world, acquire("s1")) && flag(&mut world, acquire("s1")) && !flag(&mut world, acquire("s2")));
    assert!(flag(&mut world, Command::KeyPut(put("lock", "other"))), "a lock is advice");
    let pair = world.state.key("lock").unwrap().value.clone();
    assert_eq!((pair.session.as_deref(), pair.lock_index), (Some("s1"), 1));
    assert!(!flag(&mut world, release("s2")) && flag(&mut world, release("s1")));
    assert!(flag(&mut world, acquire("s2")), "who releases leaves no delay");
    assert_eq!(world.state.keys_held_by("s2").count(), 1);
    world.run(Command::SessionDestroy { id: "s2".into() }).unwrap();
    for state in [&world.state, &world.restarted()] {
        let pair = &state.key("lock").unwrap().value;
        assert_eq!((&pair.session, pair.lock_index, state.keys_held_by("s2").count()), (&None, 2, 0));
        assert!(state.is_delayed("lock", world.now.after(Duration::from_secs(14))));
        assert!(!state.is_delayed("lock", world.now.after(Duration::from_secs(16))));
    }
    assert!(!flag(&mut world, acquire("s1")));
    world.pass(Duration::from_secs(16));
    assert!(flag(&mut world, acquire("s1")));
    let renew = |id: &str| Command::SessionRenew { id: id.into() };
    assert!(world.judge(&renew("s1")).unwrap().writes.is_empty());
    assert_eq!(world.judge(&renew("s2")).unwrap_err().kind, RefusedKind::NotFound);
}

#[test]
fn a_session_goes_with_its_checks_and_its_keys_with_it_where_it_says_so() {
    let mut world = ground();
    world.run(Command::SessionCreate(session("s", Behavior::Delete))).unwrap();
    flag(&mut world, Command::KeyPut(KeyPut { acquire: Some("s".into()), ..put("k", "") }));
    assert_eq!(world.state.broken_sessions().count(), 0);
    let (node, check_id) = (String::from("n1"), String::from("serfHealth"));
    let ill = SetCheck { node, check_id, status: Status::Critical, output: String::new(), ttl: false };
    world.run(Command::SetCheck(ill)).unwrap();
    assert_eq!(world.state.broken_sessions().count(), 1);
    world.run(Command::SessionDestroy { id: "s".into() }).unwrap();
    assert!(world.state.key("k").is_none() && world.state.session("s").is_none());
    assert!(world.is_touched(&Touch::Sessions) && world.is_touched(&Touch::Key("k".into())));
    let refused = |create: SessionCreate| world.judge(&Command::SessionCreate(create)).unwrap_err().text;
    assert_eq!(refused(session("t", Behavior::Delete)), "Check 'serfHealth' is in critical state");
    let mut other = session("t", Behavior::Release);
    other.node_checks = Some(vec!["x".into()]);
    assert_eq!(refused(other), "Missing check 'x' registration");
    let mut other = session("t", Behavior::Release);
    other.ttl = Some(Duration::from_secs(5));
    assert_eq!(refused(other), "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]");
    let mut other = session("t", Behavior::Release);
    other.node = "x".into();
    assert_eq!(refused(other), "Missing node registration");
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let mut world = World::new();
    let both = vec![operation(TxnVerb::Set, "a", "1"), operation(TxnVerb::Set, "b", "2")];
    let answer = transact(&mut world, both);
    let position = world.state.position();
    let given: Vec<_> = answer.at(position).map(|(pair, value)| (pair.key.to_string(), pair.changed, value)).collect();
    assert_eq!(given, [("a".into(), 1, false), ("b".into(), 2, false)]);
    let torn = vec![
        operation(TxnVerb::Delete, "a", ""),
        operation(TxnVerb::Cas, "b", "3"),
        operation(TxnVerb::Get, "c", ""),
        operation(TxnVerb::CheckNotExists, "a", ""),
    ];
    let answer = transact(&mut world, torn);
    let errors: Vec<_> = answer.errors.iter().map(|error| (error.operation, error.what.as_str())).collect();
    assert_eq!(errors, [(1, "failed to set key \"b\", index is stale"), (2, "key \"c\" doesn't exist")]);
    assert_eq!((world.log.len(), answer.results.len()), (2, 0));
    let mixed = vec![
        operation(TxnVerb::Set, "a", "9"),
        operation(TxnVerb::Set, "a", "10"),
        operation(TxnVerb::DeleteTree, "b", ""),
        operation(TxnVerb::GetTree, "", ""),
    ];
    let answer = transact(&mut world, mixed);
    assert_eq!((world.log.len(), answer.results.len(), world.state.keys("").count()), (4, 3, 1));
    let seen: Vec<_> = answer.at(4).map(|(pair, _)| (pair.value, pair.changed)).collect();
    assert_eq!(seen.last().unwrap(), &("10".into(), world.state.key_changed("a")));
    let many = vec![operation(TxnVerb::Set, "a", ""); 65];
    assert_eq!(world.judge(&Command::Txn(many)).unwrap_err().kind, RefusedKind::TooLarge);
}

#[test]
fn user_events_are_listed_in_their_order() {
    let mut world = World::new();
    for number in 0..300 {
        let (id, name) = (format!("id-{number}"), String::from("deploy"));
        world.run(Command::Fire(Fire { id, name, payload: "x".into(), ..Fire::default() })).unwrap();
    }
    let ids: Vec<_> = world.state.events().map(|event| event.id.to_string()).collect();
    assert_eq!((ids.len(), ids[0].as_str(), world.state.events_changed()), (256, "id-44", 300));
    assert_eq!(world.restarted().events().count(), 256);
}

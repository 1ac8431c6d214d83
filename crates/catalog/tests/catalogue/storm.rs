//! Random commands, and strangers' messages between them. Whatever comes: an answer that changed has a higher index and
//! was touched; no index falls; and after a restart all is as it was.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use catalog::{
    Behavior, Check, CheckDraft, Command, Definition, Form, Health, KeyPut, Register, ServiceDraft, SessionCreate,
    SetCheck, State, Status, Touch, TxnOperation, TxnVerb,
};
use proptest::prelude::*;

use crate::world::World;

const SERVICES: [&str; 3] = ["web", "DB", "a.b"];
const NODES: [&str; 2] = ["n1", "N2"];
const IDS: [&str; 2] = ["x", "y"];
const KEYS: [&str; 4] = ["a", "a/b", "a/c", "z"];
const SESSIONS: [&str; 2] = ["s1", "s2"];

#[derive(Debug, Clone)]
enum Act {
    Run(Command),
    Publish(String, String),
    Pass(u64),
}

fn of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(words).prop_map(String::from)
}

fn status() -> impl Strategy<Value = Status> {
    prop::sample::select(&[Status::Passing, Status::Warning, Status::Critical][..])
}

fn check() -> impl Strategy<Value = CheckDraft> {
    (prop::sample::select(&["", "c1", "c2"][..]), prop::option::of(status())).prop_map(|(id, status)| CheckDraft {
        id: id.into(),
        status: status.map_or("", Status::as_str).into(),
        definition: Definition { ttl: Some(Duration::from_secs(9)), ..Definition::default() },
        ..CheckDraft::default()
    })
}

fn registration() -> impl Strategy<Value = Command> {
    let service = (of(&SERVICES), of(&IDS), 1..3_i64, prop::sample::subsequence(vec!["t1", "t2"], 0..3));
    let service = service.prop_map(|(name, id, port, tags)| ServiceDraft {
        id,
        name,
        port,
        tags: tags.into_iter().map(String::from).collect(),
        ..ServiceDraft::default()
    });
    let checks = prop::collection::vec(check(), 0..3);
    (of(&NODES), prop::option::weighted(0.8, service), checks, any::<(bool, bool)>(), 1..3_u8).prop_map(
        |(node, service, mut checks, (agent, replace_existing_checks), host)| {
            let form = if agent { Form::Agent { replace_existing_checks } } else { Form::Catalog };
            let mut register = Register::new(form, node);
            register.address = format!("10.0.0.{host}");
            if service.is_none() || !agent {
                for check in &mut checks {
                    check.name = "named".into();
                    check.service_id = service.as_ref().map(|service| service.id.clone()).unwrap_or_default();
                }
            }
            (register.service, register.checks) = (service, checks);
            Command::Register(Box::new(register))
        },
    )
}

fn key() -> impl Strategy<Value = Command> {
    let put = (of(&KEYS), 0..3_u8, prop::option::of(of(&SESSIONS)), 0..4_u8).prop_map(|(key, value, session, how)| {
        let mut put = KeyPut { key, value: vec![value; usize::from(value)].into(), ..KeyPut::default() };
        match how {
            0 => put.cas = Some(0),
            1 => put.acquire = session,
            2 => put.release = session,
            _ => {}
        }
        Command::KeyPut(put)
    });
    let delete = (of(&KEYS), any::<bool>()).prop_map(|(key, recurse)| Command::KeyDelete { key, recurse, cas: None });
    let verbs =
        [TxnVerb::Set, TxnVerb::Delete, TxnVerb::DeleteTree, TxnVerb::Get, TxnVerb::Lock, TxnVerb::CheckNotExists];
    let operation = (prop::sample::select(verbs.to_vec()), of(&KEYS), of(&SESSIONS))
        .prop_map(|(verb, key, session)| TxnOperation { verb, key, value: "v".into(), flags: 1, index: 0, session });
    prop_oneof![4 => put, 2 => delete, 1 => prop::collection::vec(operation, 0..4).prop_map(Command::Txn)]
}

fn other() -> impl Strategy<Value = Command> {
    let ids = ["", "c1", "service:x", "service:y", "named"];
    let deregister = (of(&NODES), prop::sample::select(&["", "x", "y"][..]), prop::sample::select(ids.to_vec()))
        .prop_map(|(node, id, check)| Command::Deregister { node, service_id: id.into(), check_id: check.into() });
    let set = (of(&NODES), prop::sample::select(ids[1..].to_vec()), status(), 0..2_u8).prop_map(
        |(node, id, status, said)| {
            Command::SetCheck(SetCheck { node, check_id: id.into(), status, output: said.to_string(), ttl: false })
        },
    );
    let maintain = (of(&NODES), prop::sample::select(&["", "x"][..]), any::<bool>()).prop_map(|(node, id, enable)| {
        Command::Maintenance { node, service_id: id.into(), enable, reason: String::new() }
    });
    let create = (of(&SESSIONS), of(&NODES), any::<bool>()).prop_map(|(id, node, delete)| {
        Command::SessionCreate(SessionCreate {
            id,
            name: String::new(),
            node,
            lock_delay: Some(Duration::from_secs(1)),
            behavior: if delete { Behavior::Delete } else { Behavior::Release },
            ttl: None,
            node_checks: None,
            service_checks: vec![],
            agent: String::new(),
        })
    });
    let destroy = of(&SESSIONS).prop_map(|id| Command::SessionDestroy { id });
    prop_oneof![3 => deregister, 4 => set, 1 => maintain, 2 => create, 1 => destroy]
}

fn stranger() -> impl Strategy<Value = Act> {
    let subject = prop_oneof![
        (of(&["web", "db", "a%2Eb"]), of(&["n1", "n2"]), of(&IDS))
            .prop_map(|(s, n, i)| format!("catalog.dc1.{s}.{n}.{i}")),
        of(&["n1", "n2"]).prop_map(|node| format!("catalog.dc1.%node.{node}")),
        of(&["a", "a/b"]).prop_map(|key| format!("catalog.dc1.%kv.{key}")),
        of(&SESSIONS).prop_map(|id| format!("catalog.dc1.%session.{id}")),
    ];
    let payload = of(&[
        "",
        "{}",
        "{",
        r#"{"Checks":[{"CheckID":"c1","Status":"passing"}]}"#,
        r#"{"Service":{"Port":7,"Tags":["t3"]},"Checks":[{"CheckID":"c1","Status":"critical"}]}"#,
        r#"{"Node":{"Address":"10.9.9.9","ModifyIndex":1},"Checks":[{"CheckID":"alive","Status":"warning"}]}"#,
        r#"{"Service":{"CreateIndex":99999999,"ModifyIndex":99999999}}"#,
    ]);
    (subject, payload).prop_map(|(subject, payload)| Act::Publish(subject, payload))
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => registration().prop_map(Act::Run),
        5 => other().prop_map(Act::Run),
        4 => key().prop_map(Act::Run),
        3 => stranger(),
        1 => (1..400_u64).prop_map(Act::Pass),
    ];
    prop::collection::vec(act, 1..40)
}

fn shown_check(check: &Check) -> String {
    let Check { check_id, status, output, service_id, service_name, since, created, changed, .. } = check;
    format!("{check_id} {} {output} {service_id} {service_name} {since} {created} {changed}", status.as_str())
}

fn shown(state: &State, health: &Health) -> String {
    let (node, service) = (&health.node, &health.service);
    let is_implied = state.node(&node.node).is_none_or(|node| node.is_implied());
    let ages = if is_implied { (0, 0) } else { (node.created, node.changed) };
    let checks: Vec<_> = health.checks.iter().map(|check| shown_check(check)).collect();
    format!("{} {} {ages:?} {service:?} {checks:?} {}\n", node.node, node.address, health.position)
}

/// Each answer, with its index and what wakes its readers.
fn answers(state: &State) -> BTreeMap<String, (String, u64, Touch)> {
    let mut answers = BTreeMap::new();
    let mut add = |name: String, answer: String, index: u64, touch: Touch| {
        assert!(index > 0, "{name}");
        answers.insert(name, (answer, index, touch));
    };
    for name in SERVICES {
        let all: String = state
            .instances(name)
            .iter()
            .map(|(_, entry)| {
                // The position alone is no answer.
                let health = Health { position: 0, ..(*entry.value).clone() };
                shown(state, &health)
            })
            .collect();
        add(format!("service {name}"), all, state.service_changed(name), Touch::service(name));
    }
    let list = state.services().fold(String::new(), |mut list, service| {
        let _ = write!(list, "{} {:?};", service.name(), service.tags().collect::<Vec<_>>());
        list
    });
    add("services".into(), list, state.services_changed(), Touch::Services);
    for name in NODES {
        let node = state.node(name);
        let services =
            node.map(|node| node.instances().map(|health| format!("{:?}", health.service)).collect::<String>());
        let record = node.map(|node| format!("{:?}", node.node()));
        add(format!("node {name}"), format!("{record:?} {services:?}"), state.node_changed(name), Touch::node(name));
        let checks = node.map(|node| node.checks().map(|check| shown_check(check)).collect::<String>());
        add(format!("checks {name}"), checks.unwrap_or_default(), state.node_checks_changed(name), Touch::node(name));
    }
    let nodes: String = state.nodes().map(|node| format!("{:?}", node.node())).collect();
    add("nodes".into(), nodes, state.nodes_changed(), Touch::Nodes);
    let checks: String = state.checks().map(|(_, check)| shown_check(check)).collect();
    add("checks".into(), checks, state.checks_changed(), Touch::Checks);
    for key in KEYS {
        let pair = state.key(key).map(|entry| format!("{:?}", entry.value)).unwrap_or_default();
        add(format!("key {key}"), pair, state.key_changed(key), Touch::Key(key.into()));
    }
    let sessions: String = state.sessions().map(|session| format!("{:?}", session)).collect();
    add("sessions".into(), sessions, state.sessions_changed(), Touch::Sessions);
    answers
}

/// What must be the same after a restart. Strangers do not say how old what they tell is.
fn truth(state: &State, strangers: bool) -> String {
    let all = whole(state);
    if !strangers {
        return all;
    }
    // All numbers of ages stand alone.
    let is_age =
        |word: &&str| word.trim_matches(|c: char| !c.is_alphanumeric()).parse::<u64>().is_ok() || word.contains("Z");
    all.split_whitespace().filter(|word| !is_age(word)).collect::<Vec<_>>().join(" ").to_lowercase()
}

fn whole(state: &State) -> String {
    let mut all: String = state
        .services()
        .flat_map(|service| service.instances().iter().map(|(_, entry)| shown(state, &entry.value)).collect::<Vec<_>>())
        .collect();
    for node in state.nodes() {
        let record = if node.is_implied() { node.node().node.to_string() } else { format!("{:?}", node.node()) };
        let _ = writeln!(all, "{record} {:?}", node.checks().map(|check| shown_check(check)).collect::<Vec<_>>());
    }
    for pair in state.keys("") {
        let _ = writeln!(all, "{pair:?}");
    }
    for session in state.sessions() {
        let held: Vec<_> = state.keys_held_by(&session.id).collect();
        let _ = writeln!(all, "{} {} {held:?}", session.id, session.node);
    }
    for key in KEYS {
        assert_eq!(state.key(key).is_some(), state.keys(key).any(|pair| &*pair.key == key));
    }
    all
}

/// The checks to run are those that a walk finds.
fn check_runs(state: &State) {
    for agent in NODES {
        let mut runs: Vec<_> = state.checks_to_run(agent).map(|check| shown_check(check)).collect();
        let walked = state.checks().map(|(_, check)| check);
        let walked = walked.filter(|check| *check.agent == *agent && check.definition.is_some());
        let mut walked: Vec<_> = walked.map(|check| shown_check(check)).collect();
        runs.sort();
        walked.sort();
        assert_eq!(runs, walked, "the checks to run are those that there are");
    }
}

fn check_all(acts: Vec<Act>) {
    let (mut world, mut strangers) = (World::new(), false);
    // An index is never 0, so the first position tells nothing from before it. A node's first is its own record.
    world.publish("catalog.dc1.%event.begin.1", "").unwrap();
    for act in acts {
        let before = answers(&world.state);
        let position = world.state.position();
        let said = format!("{act:?}");
        match act {
            // Refused or not, what there is stays sound.
            Act::Run(command) => _ = world.run(command),
            // What is unfit stands in the place of what was there: only a restart would show it.
            Act::Publish(subject, payload) if world.holds(&subject) && world.is_unfit(&subject, &payload) => {}
            // A stranger that renames, and then removes, leaves what was there before to be found by a restart.
            Act::Publish(subject, _) if world.is_another_services(&subject) => {}
            Act::Publish(subject, payload) => {
                strangers = true;
                // Unfit or not, as above.
                let _ = world.publish(&subject, &payload);
            }
            Act::Pass(seconds) => world.pass(Duration::from_secs(seconds)),
        }
        for (name, (answer, index, touch)) in answers(&world.state) {
            let (old, was, _) = &before[&name];
            assert!(index >= *was, "{name} fell from {was} to {index}: {said}");
            if *old != answer {
                assert!(
                    index > *was && index > position,
                    "{name} changed at {index}, was {was}: {said}\n{old}\n{answer}"
                );
                assert!(world.is_touched(&touch), "{name} changed, and was not touched: {said}\n{old}\n{answer}");
            }
        }
    }
    let again = world.restarted();
    let ahead = world.restarted_ahead();
    assert_eq!((whole(&ahead), answers(&ahead)), (whole(&again), answers(&again)), "read ahead, it is the same");
    if !strangers {
        // They may give two instances a check of one id.
        check_runs(&world.state);
        check_runs(&again);
    }
    assert_eq!(truth(&again, strangers), truth(&world.state, strangers), "as it was");
    for (name, (_, index, _)) in answers(&again) {
        let was = answers(&world.state)[&name].1;
        assert!(index >= was, "{name} fell from {was} to {index} in a restart");
    }
}

#[test]
fn what_a_stranger_tells_twice_is_as_old_as_its_last_telling_after_a_restart() {
    let payload = r#"{"Node":{"Address":"10.9.9.9"},"Checks":[{"CheckID":"alive","Status":"warning"}]}"#;
    let told = || Act::Publish("catalog.dc1.%node.n1".into(), payload.into());
    let other = Act::Publish("catalog.dc1.%node.n2".into(), payload.into());
    check_all(vec![told(), told(), other]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_index_falls_and_a_restart_changes_nothing(acts in acts()) {
        check_all(acts);
    }
}

//! The catalogue by examples: registrations, checks, maintenance, what a stranger publishes, indexes.

use std::time::Duration;

use crate::world::World;
use catalog::{
    CheckDraft, Command, Definition, Form, Health, Outcome, Refused, RefusedKind, Register, ServiceDraft, SetCheck,
    State, Status, Touch, Weights,
};

fn service(name: &str) -> ServiceDraft {
    ServiceDraft { name: name.into(), address: "10.1.1.1".into(), port: 80, ..ServiceDraft::default() }
}

fn agent(draft: ServiceDraft, checks: Vec<CheckDraft>) -> Register {
    let mut register = Register::new(Form::Agent { replace_existing_checks: false }, "n1");
    (register.service, register.checks) = (Some(draft), checks);
    register
}

fn node(name: &str, address: &str) -> Register {
    let mut register = Register::new(Form::Catalog, name);
    register.address = address.into();
    register
}

fn register(register: Register) -> Command {
    Command::Register(Box::new(register))
}

fn ttl() -> CheckDraft {
    let definition = Definition { ttl: Some(Duration::from_secs(10)), ..Definition::default() };
    CheckDraft { definition, ..CheckDraft::default() }
}

fn set(check: &str, status: Status, output: &str) -> Command {
    let (node, check_id, output) = ("n1".into(), check.into(), output.into());
    Command::SetCheck(SetCheck { node, check_id, status, output, ttl: true })
}

fn only(state: &State, name: &str) -> Health {
    let table = state.service(name).unwrap();
    assert_eq!(table.len(), 1);
    (*table.iter().next().unwrap().1.value).clone()
}

#[track_caller]
fn refused(world: &World, command: &Command, kind: RefusedKind, text: &str) {
    let refused = world.judge(command).unwrap_err();
    assert_eq!(refused, Refused { kind, text: text.into() });
}

#[test]
fn an_agent_registers_a_service_and_what_it_leaves_out_is_filled_in() {
    let mut world = World::new();
    world.run(register(agent(service("Web"), vec![ttl()]))).unwrap();
    let health = only(&world.state, "wEB");
    assert_eq!((&*health.service.id, &*health.service.service, health.service.port), ("Web", "Web", 80));
    let address = health.service.tagged_addresses.get("lan_ipv4").unwrap();
    assert_eq!((&*address.address, address.port), ("10.1.1.1", 80));
    assert_eq!(health.service.weights, Weights { passing: 1, warning: 1 });
    let check = &health.checks[0];
    assert_eq!(
        (&*check.check_id, &*check.name, check.status),
        ("service:Web", "Service 'Web' check", Status::Critical)
    );
    assert_eq!((&*check.kind, &*check.agent, &*check.service_id), ("ttl", "n1", "Web"));
    assert_eq!(world.state.checks_to_run("n1").count(), 1);
    assert!(world.is_touched(&Touch::service("web")) && world.is_touched(&Touch::Services));
    assert!(world.is_touched(&Touch::node("N1")) && world.is_touched(&Touch::Nodes));
    let many = world.run(register(agent(service("two"), vec![ttl(), ttl()])));
    assert!(matches!(many, Ok(Outcome::Done)));
    let ids: Vec<_> = only(&world.state, "two").checks.iter().map(|check| check.check_id.to_string()).collect();
    assert_eq!(ids, ["service:two:1", "service:two:2"]);
}

#[test]
fn told_again_nothing_is_written_and_a_check_stands_as_it_stood() {
    let mut world = World::new();
    let command = || register(agent(service("web"), vec![ttl()]));
    world.run(command()).unwrap();
    world.run(set("service:web", Status::Passing, "fine")).unwrap();
    let position = world.state.position();
    world.run(command()).unwrap();
    assert_eq!(world.state.position(), position);
    let mut other = agent(service("web"), vec![ttl()]);
    other.service.as_mut().unwrap().port = 81;
    world.run(register(other)).unwrap();
    let health = only(&world.state, "web");
    assert_eq!((health.service.port, health.checks[0].status), (81, Status::Passing));
    assert_eq!((health.service.created, health.service.changed, health.checks[0].changed), (1, 3, 2));
}

#[test]
fn checks_that_are_not_named_stay_unless_they_are_to_be_replaced() {
    let mut world = World::new();
    let named = |id: &str| CheckDraft { id: id.into(), ..ttl() };
    world.run(register(agent(service("web"), vec![named("a"), named("b")]))).unwrap();
    world.run(register(agent(service("web"), vec![named("c")]))).unwrap();
    assert_eq!(only(&world.state, "web").checks.len(), 3);
    let mut replacing = agent(service("web"), vec![named("c")]);
    replacing.form = Form::Agent { replace_existing_checks: true };
    world.run(register(replacing)).unwrap();
    assert_eq!(only(&world.state, "web").checks.len(), 1);
    assert_eq!(world.state.checks_to_run("n1").count(), 1);
}

#[test]
fn registrations_are_refused_in_the_words_of_the_original() {
    let world = World::new();
    let invalid = |command: &Command, text| refused(&world, command, RefusedKind::Invalid, text);
    let failed = |command: &Command, text| refused(&world, command, RefusedKind::Failed, text);
    invalid(&register(agent(ServiceDraft::default(), vec![])), "Missing service name");
    for address in ["0.0.0.0", "::", "[::]"] {
        let draft = ServiceDraft { address: address.into(), ..service("web") };
        invalid(&register(agent(draft, vec![])), "Invalid service address");
    }
    let draft = ServiceDraft { address: "a".repeat(10_000), ..service("web") };
    invalid(&register(agent(draft, vec![])), "Invalid service address");
    let draft = ServiceDraft { weights: Some(Weights { passing: 0, warning: 1 }), ..service("web") };
    invalid(&register(agent(draft, vec![])), "Invalid Weights: Passing must be greater than 0");
    let check = CheckDraft { status: "bad".into(), ..ttl() };
    invalid(&register(agent(service("web"), vec![check])), "Status for checks must 'passing', 'warning', 'critical'");
    let definition = Definition { http: Some("http://x".into()), ..Definition::default() };
    let check = CheckDraft { definition, ..CheckDraft::default() };
    invalid(
        &register(agent(service("web"), vec![check])),
        "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
    );
    failed(&register(node("", "10.0.0.1")), "Must provide node");
    failed(&register(node("n1", "")), "Must provide address if SkipNodeUpdate is not set");
    let mut bad = node("n1", "10.0.0.1");
    bad.id = "x".into();
    failed(&register(bad), "Bad node ID: uuid string is wrong length");
    let mut bad = node("n1", "10.0.0.1");
    bad.checks = vec![CheckDraft { id: "c".into(), service_id: "none".into(), ..CheckDraft::default() }];
    failed(&register(bad), "failed inserting check: Missing service registration on node \"n1\"");
    let mut bad = node("n1", "10.0.0.1");
    bad.datacenter = "dc9".into();
    failed(&register(bad), "No path to datacenter");
    failed(&set("x", Status::Passing, ""), "CheckID \"x\" does not have associated TTL");
}

#[test]
fn a_name_that_makes_no_subject_is_refused_and_odd_ones_are_taken() {
    let mut world = World::new();
    let long = register(agent(service(&"é.".repeat(200)), vec![]));
    assert_eq!(world.judge(&long).unwrap_err().kind, RefusedKind::Invalid);
    for name in ["a.b", "*", ">", "Über uns", "%kv", "%6B"] {
        world.run(register(agent(service(name), vec![]))).unwrap();
        assert_eq!(&*only(&world.state, name).service.service, name);
    }
    assert_eq!(world.restarted().services().count(), 6);
}

#[test]
fn a_service_that_is_renamed_goes_from_one_name_to_the_other() {
    let mut world = World::new();
    let named = |name: &str| ServiceDraft { id: "x".into(), ..service(name) };
    world.run(register(agent(named("one"), vec![ttl()]))).unwrap();
    world.run(register(agent(named("two"), vec![]))).unwrap();
    assert!(world.state.service("one").is_none());
    let health = only(&world.state, "two");
    assert_eq!((health.checks.len(), &*health.checks[0].service_name), (1, "two"));
    assert!(world.is_touched(&Touch::service("one")) && world.is_touched(&Touch::service("two")));
    let stranger = r#"{"Node":"n1","Service":{"ID":"x","Service":"three"}}"#;
    world.publish("catalog.dc1.three.n1.x", stranger).unwrap();
    assert!(world.state.service("two").is_none() && world.state.service("three").is_some());
    assert!(world.is_touched(&Touch::service("two")));
    let again = world.restarted();
    assert!(again.service("two").is_none() && again.service("three").is_some());
    let gone = Command::Deregister { node: "n1".into(), service_id: "x".into(), check_id: String::new() };
    world.run(gone).unwrap();
    assert_eq!(world.restarted().services().count(), 0, "nothing of before comes back");
}

#[test]
fn what_a_stranger_publishes_is_registered_and_what_does_not_parse_changes_nothing() {
    let mut world = World::new();
    world.publish("catalog.dc1.web.n1.web1", r#"{"Service":{"Port":80},"Checks":null}"#).unwrap();
    let health = only(&world.state, "web");
    assert_eq!((&*health.service.id, &*health.node.node, health.service.port), ("web1", "n1", 80));
    let before = format!("{:?}", only(&world.state, "web"));
    for (subject, payload) in [
        ("catalog.dc1.web.n1.web1", "{"),
        ("catalog.dc1.web.n1.web1", "[]x"),
        ("catalog.dc1.web.n1.web1", r#"{"Node":"n2"}"#),
        ("catalog.dc1.web.n1.web1", r#"{"Service":{"ID":"other"}}"#),
        ("catalog.dc1.web.n1.web1", r#"{"Service":{"Port":"80"}}"#),
        ("catalog.dc1.web.n1.web1", r#"{"Checks":[{"CheckID":"c","Status":"odd"}]}"#),
        ("catalog.dc1.web.n1.web1", r#"{"Checks":[{"Status":"passing"}]}"#),
        ("catalog.dc1.Web.n1.web1", r#"{}"#),
        ("catalog.dc1.web.n1", r#"{}"#),
        ("catalog.dc1.%node.n1", "7"),
        ("catalog.dc1.%kv.a.b.c.d", "7"),
        ("catalog.dc1", "7"),
    ] {
        assert!(world.publish(subject, payload).is_err(), "{subject} {payload}");
        assert!(world.touched.is_empty(), "{subject} {payload}");
    }
    assert_eq!(format!("{:?}", only(&world.state, "web")), before);
    world.run(register(agent(ServiceDraft { id: "web1".into(), ..service("web") }, vec![]))).unwrap();
    world.run(register(node("n1", "10.0.0.1"))).unwrap();
    let all = Command::Deregister { node: "n1".into(), service_id: String::new(), check_id: String::new() };
    world.run(all).unwrap();
    world.publish("catalog.dc1.web.n1.web1", "{}").unwrap();
    world.publish("catalog.dc2.web.n1.web1", "not ours").unwrap();
    world.publish("catalog.dc1.web.n1.web1", "").unwrap();
    assert!(world.state.service("web").is_none());
    assert_eq!(world.state.nodes().count(), 0, "it was known by its instance alone");
}

#[test]
fn a_nodes_record_is_part_of_all_its_instances() {
    let mut world = World::new();
    let mut first = node("N1", "10.0.0.1");
    first.service = Some(ServiceDraft { address: String::new(), ..service("web") });
    world.run(register(first)).unwrap();
    world.run(register(agent(service("db"), vec![]))).unwrap();
    let before = (world.state.service_changed("web"), world.state.services_changed());
    let mut other = node("n1", "10.0.0.2");
    other.checks = vec![CheckDraft { id: "alive".into(), status: "warning".into(), ..CheckDraft::default() }];
    world.run(register(other)).unwrap();
    let health = only(&world.state, "web");
    assert_eq!((health.address(), health.status()), ("10.0.0.2", Status::Warning));
    assert!(world.state.service_changed("web") > before.0 && world.state.service_changed("db") > before.0);
    assert_eq!(world.state.services_changed(), before.1, "the list of services did not change");
    assert_eq!(world.state.node("n1").unwrap().checks().count(), 1);
    world.run(Command::Deregister { node: "n1".into(), service_id: String::new(), check_id: String::new() }).unwrap();
    assert_eq!((world.state.nodes().count(), world.state.services().count()), (0, 0));
    assert!(world.state.service_changed("web") > before.0);
    let again = Command::Deregister { node: "n1".into(), service_id: "web".into(), check_id: String::new() };
    assert!(world.judge(&again).unwrap().writes.is_empty());
}

#[test]
fn a_check_that_says_the_same_is_not_recorded_and_its_words_alone_seldom() {
    let mut world = World::new();
    world.run(register(agent(service("web"), vec![ttl()]))).unwrap();
    world.run(set("service:web", Status::Passing, "1")).unwrap();
    assert!(world.judge(&set("service:web", Status::Passing, "1")).unwrap().writes.is_empty());
    assert!(world.judge(&set("service:web", Status::Passing, "2")).unwrap().writes.is_empty());
    assert_eq!(world.judge(&set("service:web", Status::Warning, "2")).unwrap().writes.len(), 1);
    world.pass(Duration::from_secs(301));
    assert_eq!(world.judge(&set("service:web", Status::Passing, "2")).unwrap().writes.len(), 1);
    let began = world.now;
    world.run(set("service:web", Status::Critical, "gone")).unwrap();
    world.pass(Duration::from_secs(600));
    world.run(set("service:web", Status::Critical, "still gone")).unwrap();
    for state in [&world.state, &world.restarted()] {
        let check = state.check("n1", "service:web").unwrap();
        assert_eq!((state.critical_since(check), &*check.output), (Some(began), "still gone"));
    }
}

#[test]
fn maintenance_is_a_check_of_its_own() {
    let mut world = World::new();
    world.run(register(agent(service("web"), vec![]))).unwrap();
    let maintain = |service: &str, enable, reason: &str| {
        let (node, service_id, reason) = ("n1".into(), service.into(), reason.into());
        Command::Maintenance { node, service_id, enable, reason }
    };
    refused(&world, &maintain("x", true, ""), RefusedKind::NotFound, "No service registered with ID \"x\"");
    world.run(maintain("web", true, "")).unwrap();
    let health = only(&world.state, "web");
    assert_eq!(&*health.checks[0].check_id, "_service_maintenance:web");
    assert!(health.checks[0].notes.contains("no reason was provided"));
    world.run(maintain("", true, "moving")).unwrap();
    let health = only(&world.state, "web");
    assert_eq!((&*health.checks[0].check_id, &*health.checks[0].notes), ("_node_maintenance", "moving"));
    world.run(maintain("", false, "")).unwrap();
    world.run(maintain("web", false, "")).unwrap();
    assert_eq!(only(&world.state, "web").status(), Status::Passing);
}

#[test]
fn an_index_moves_for_its_own_answer_alone_and_never_falls() {
    let mut world = World::new();
    assert_eq!(world.state.service_changed("web"), 1);
    world.run(register(agent(service("other"), vec![]))).unwrap();
    world.run(register(agent(service("web"), vec![ttl()]))).unwrap();
    let (absent, web) = (world.state.service_changed("absent"), world.state.service_changed("web"));
    let services = world.state.services_changed();
    world.run(set("service:web", Status::Passing, "")).unwrap();
    assert!(world.state.service_changed("web") > web);
    assert_eq!((world.state.services_changed(), world.state.service_changed("absent")), (services, absent));
    let mut tagged = service("web");
    tagged.tags = vec!["v2".into()];
    world.run(register(agent(tagged, vec![ttl()]))).unwrap();
    assert!(world.state.services_changed() > services);
    let there = world.state.service_changed("web");
    let gone = Command::Deregister { node: "n1".into(), service_id: "web".into(), check_id: String::new() };
    world.run(gone).unwrap();
    let extinct = world.state.service_changed("web");
    assert!(extinct > there);
    world.run(register(agent(service("third"), vec![]))).unwrap();
    assert_eq!(world.state.service_changed("web"), extinct);
    let again = world.restarted();
    for name in ["web", "other", "third", "absent"] {
        assert!(again.service_changed(name) >= world.state.service_changed(name), "{name}");
    }
}

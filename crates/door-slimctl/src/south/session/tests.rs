use std::collections::BTreeMap;

use mesh::names::Name;
use serde_json::Value;

use super::*;
use crate::proto::control::{CommandAck, ConnectionAck, Connections, Details, Direction, Kind, RouteAck};
use crate::proto::{Encoded, Name as Sent, Texts};

const LINK: &str = "a~b#1.2";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn link(id: &str, node: Option<&str>, dial: Option<&str>) -> LinkPlan {
    LinkPlan {
        id: LinkId::parse(id).unwrap(),
        kind: LinkKind::Remote,
        domain: name("b"),
        node: node.map(name),
        dial: dial.map(Arc::from),
        key: [7; 32],
        segments: vec![name("default")],
    }
}

fn plan(number: u64, links: Vec<LinkPlan>) -> Act {
    let generation = Generation { epoch: 1, number };
    Act::Tell { session: 9, plan: Arc::new(Plan { generation, links, ..Plan::default() }) }
}

fn tls(_: &LinkPlan) -> Option<Details> {
    Some(Details { tls_required: true, ..Details::default() })
}

fn nobody(_: &LinkPlan) -> Option<Details> {
    None
}

fn session() -> Session {
    Session::new(9, NodeId { domain: name("a"), node: name("n1") }, Arc::default())
}

fn sent(steps: &[Step]) -> Vec<&ControlMessage> {
    let messages = steps.iter().filter_map(|step| if let Step::Send(message) = step { Some(message) } else { None });
    messages.collect()
}

fn told(steps: Vec<Step>) -> Vec<Event> {
    let events = steps.into_iter().filter_map(|step| if let Step::Tell(event) = step { Some(event) } else { None });
    events.collect()
}

fn command(message: &ControlMessage) -> &Command {
    match &message.payload {
        Some(Payload::Command(command)) => command,
        other => panic!("{other:?} is no command"),
    }
}

fn acknowledged(id: &str, connections: Vec<ConnectionAck>, routes: Vec<RouteAck>) -> ControlMessage {
    let ack = CommandAck { original_message_id: id.into(), connections, routes };
    ControlMessage::new("x".into(), Payload::CommandAck(ack))
}

fn listed(id: &str, entries: Vec<Entry>, done: bool) -> ControlMessage {
    let part = Connections { original_message_id: id.into(), entries, done };
    ControlMessage::new("x".into(), Payload::Connections(part))
}

fn entry(link: &str, direction: Direction, peer: Option<&str>) -> Entry {
    Entry {
        kind: Kind::Remote as i32,
        link_id: Some(link.into()),
        direction: direction as i32,
        peer_node_id: peer.map(str::to_owned),
        ..Entry::default()
    }
}

#[test]
fn a_plan_is_told_as_all_links_that_are_to_be_dialled_and_all_routes() {
    let check = |known: &Known<'_>, endpoint: &str, secure: bool| {
        let mut session = session();
        let peer = LinkPlan { kind: LinkKind::Peer, ..link("n1~n2", Some("n2"), Some("10.0.0.2:1")) };
        let taken = link("other", Some("b2"), None);
        let steps = session.act(plan(4, vec![link(LINK, Some("b1"), Some("10.0.0.9:46357")), taken, peer]), known);
        let command = command(sent(&steps)[0]);
        assert!(command.reconcile && command.routes_to_set.is_empty());
        let dialled: Vec<_> = command.connections_to_create.iter().map(|each| each.link_id.as_str()).collect();
        assert_eq!(dialled, [LINK]);
        let config: Value = serde_json::from_str(&command.connections_to_create[0].config_data).unwrap();
        assert_eq!((config["endpoint"].as_str(), config["tls_required"].as_bool()), (Some(endpoint), Some(secure)));
        assert_eq!(config["auth_method"], "none");
    };
    check(&nobody, "http://10.0.0.9:46357", false);
    check(&tls, "https://10.0.0.9:46357", true);
}

#[test]
fn routes_wait_for_the_plan_and_are_told_once_for_each_name_and_link() {
    let mut session = session();
    let route = |to: &str| RouteAt {
        name: event::Pattern::parse("slim.0000000000000001.0000000000000002.0000000000000003").unwrap(),
        segment: name("default"),
        to: name(to),
        link: LinkId::parse(LINK).unwrap(),
    };
    let routes = Act::Routes { session: 9, routes: Arc::from([route("b"), route("c")]) };
    assert_eq!(session.act(routes, &nobody), []);
    let steps = session.act(plan(1, vec![link(LINK, Some("b1"), None)]), &nobody);
    let told = &command(sent(&steps)[0]).routes_to_set;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].link_id.as_deref(), Some(LINK));
    let told = told[0].name.clone().unwrap();
    assert_eq!((told.encoded.unwrap().third, told.texts.unwrap().third.as_str()), (3, "0000000000000003"));
}

#[test]
fn what_became_of_a_plan_is_told_and_the_links_are_asked_for() {
    let mut session = session();
    let steps = session.act(plan(4, vec![link(LINK, Some("b1"), Some("10.0.0.9:1"))]), &nobody);
    let id = sent(&steps)[0].message_id.clone();
    let status = |link: &str, success| ConnectionAck { link_id: link.into(), success, error: "refused".into() };
    let known = &nobody;
    // An answer to something else, and a link that nobody planned, are not told.
    assert_eq!(session.heard(acknowledged("0-0", vec![status(LINK, false)], vec![]), known), []);
    let both = vec![status(LINK, false), status("foreign", false)];
    let steps = session.heard(acknowledged(&id, both, vec![]), known);
    assert!(matches!(sent(&steps)[0].payload, Some(Payload::ConnectionList(_))));
    let failed = vec![(LinkId::parse(LINK).unwrap(), Arc::from("refused"))];
    let generation = Generation { epoch: 1, number: 4 };
    assert_eq!(told(steps), [Event::Acked { session: 9, generation, failed }]);
}

#[test]
fn links_are_told_as_the_node_lists_them_held_against_its_plan() {
    let check = |planned: LinkPlan, entries: Vec<Entry>, expected: Option<(&str, bool)>| {
        let mut session = session();
        let steps = session.act(plan(1, vec![planned]), &nobody);
        let id = sent(&steps)[0].message_id.clone();
        let steps = session.heard(acknowledged(&id, vec![], vec![]), &nobody);
        let id = sent(&steps)[0].message_id.clone();
        assert_eq!(session.heard(listed(&id, vec![], false), &nobody), []);
        let events = told(session.heard(listed(&id, entries, true), &nobody));
        let Event::Links { session: 9, up } = &events[0] else { panic!("{events:?}") };
        let found = up.first().map(|up| (up.peer.to_string(), up.dialled.is_some()));
        assert_eq!(found, expected.map(|(peer, dialled)| (peer.to_owned(), dialled)));
    };
    let (dialled, taken) = (link(LINK, Some("b1"), Some("b:1")), link(LINK, Some("b1"), None));
    check(dialled.clone(), vec![entry(LINK, Direction::Outgoing, None)], Some(("b/b1", true)));
    check(taken.clone(), vec![entry(LINK, Direction::Incoming, None)], Some(("b/b1", false)));
    check(dialled.clone(), vec![entry("foreign", Direction::Outgoing, None)], None);
    check(taken, vec![entry(LINK, Direction::Outgoing, None)], None);
    // Whoever took a shared address says who it is.
    let shared = link(LINK, None, Some("b:1"));
    check(shared.clone(), vec![entry(LINK, Direction::Outgoing, Some("b2"))], Some(("b/b2", true)));
    check(shared, vec![entry(LINK, Direction::Outgoing, None)], None);
}

#[test]
fn a_link_that_ended_is_dialled_again_and_a_route_that_had_no_link_is_told_again() {
    let mut session = session();
    let dialled = link(LINK, Some("b1"), Some("b:1"));
    let mut id = sent(&session.act(plan(1, vec![dialled]), &nobody))[0].message_id.clone();
    let failed = |success| RouteAck { route: None, success, error: String::new() };
    let up = || vec![entry(LINK, Direction::Outgoing, None)];
    let list = |session: &mut Session, id: &str, routes: Vec<RouteAck>, entries: Vec<Entry>| {
        let steps = session.heard(acknowledged(id, vec![], routes), &nobody);
        let asked = sent(&steps)[0].message_id.clone();
        let steps = session.heard(listed(&asked, entries, true), &nobody);
        sent(&steps).first().map(|message| message.message_id.clone())
    };
    // The link is new, and a route had failed: told again.
    id = list(&mut session, &id, vec![failed(false)], up()).unwrap();
    assert_eq!(list(&mut session, &id, vec![failed(true)], up()), None);
    // The sweep finds no link: first it is told, then it is dialled again.
    for expected in [false, true] {
        let Some(Step::Send(asked)) = session.look() else { panic!("nothing is asked") };
        let steps = session.heard(listed(&asked.message_id, vec![], true), &nobody);
        assert_eq!(sent(&steps).len(), usize::from(expected));
    }
}

#[test]
fn names_are_announced_once_and_taken_back() {
    let mut session = session();
    let sent = |third| Sent {
        encoded: Some(Encoded { first: 1, second: 2, third, id: None }),
        texts: Some(Texts { first: "org".into(), second: "ns".into(), third: "app".into() }),
    };
    let route = |third, link: Option<&str>| Route {
        name: Some(sent(third)),
        link_id: link.map(str::to_owned),
        direction: None,
    };
    let mut check = |set: Vec<Route>, delete: Vec<Route>, expected: &[bool]| {
        let command = Command { routes_to_set: set, routes_to_delete: delete, ..Command::default() };
        let steps = session.heard(ControlMessage::new("x".into(), Payload::Command(command)), &nobody);
        let wanted = told(steps).into_iter().map(|event| match event {
            Event::Announced { wanted, .. } => wanted,
            other => panic!("{other:?}"),
        });
        assert_eq!(wanted.collect::<Vec<_>>(), expected);
    };
    check(vec![route(3, None), route(3, None)], vec![], &[true]);
    check(vec![route(4, Some("link"))], vec![], &[]);
    check(vec![], vec![route(5, None), route(3, None)], &[false]);
    // Its texts are not those of its hashes.
    let text = session.seen.name("slim.0000000000000001.0000000000000002.0000000000000003").unwrap().texts.unwrap();
    assert_eq!(text.third, "0000000000000003");
}

#[test]
fn lists_that_operators_ask_for_come_together_from_their_parts() {
    let mut session = session();
    let (asker, mut answer) = oneshot::channel();
    let Step::Send(asked) = session.ask(Asked::Connections(asker)) else { panic!("nothing is asked") };
    let parts: BTreeMap<usize, bool> = BTreeMap::from([(0, false), (1, false), (2, true)]);
    for done in parts.into_values() {
        let part = listed(&asked.message_id, vec![entry(LINK, Direction::Incoming, None)], done);
        assert_eq!(session.heard(part, &nobody), []);
    }
    assert_eq!(answer.try_recv().unwrap().len(), 3);
}

#[test]
fn whoever_says_it_leaves_may_go() {
    let mut session = session();
    let leaves = ControlMessage::new("7".into(), Payload::Deregister(crate::proto::control::Deregister::default()));
    let steps = session.heard(leaves, &nobody);
    let Some(Payload::Deregistered(reply)) = &sent(&steps)[0].payload else { panic!("{steps:?}") };
    assert!(reply.success && reply.original_message_id == "7");
    assert_eq!(steps.last(), Some(&Step::End));
    assert_eq!(told(steps), [Event::Deregistered { session: 9 }]);
}

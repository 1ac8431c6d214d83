//! Who may join, and what the two ways to change a topology allow.

use crate::world::{World, id, links, name};
use mesh::control::{DomainRule, Endpoints, Event, LinkState, Rejected};
use mesh::plan::{LinkKind, Shape};
use mesh::segment::{Edit, EditError};
use mesh::topology::{Document, SegmentText, TopologyError};

fn segment(name: &str) -> Edit {
    Edit::AddSegment(SegmentText { name: name.to_owned(), links: Vec::new() })
}

fn link(segment: &str) -> Edit {
    let (domain, neighbor) = ("domain-a".to_owned(), "domain-b".to_owned());
    Edit::AddLink { segment: Some(segment.to_owned()), domain, neighbor, weight: 1 }
}

fn unlink(segment: &str) -> Edit {
    let (domain, neighbor) = ("domain-b".to_owned(), "domain-a".to_owned());
    Edit::RemoveLink { segment: Some(segment.to_owned()), domain, neighbor }
}

#[test]
fn segments_and_links_are_added_and_removed_one_by_one() {
    let mut world = World::new(Document::default());
    assert_eq!(world.edit(segment("s")), Ok(true));
    assert_eq!(world.edit(segment("s")), Ok(false));
    assert_eq!(world.edit(link("s")), Ok(true));
    assert!(world.status().warnings.len() >= 2, "the domains are not there yet");
    assert_eq!(world.edit(link("s")), Ok(false));
    world.start_all("domain-a/1 domain-b/1");
    assert!(world.status().warnings.is_empty());
    assert!(world.held("domain-a", "domain-b").is_some());
    world.want("domain-a/1", "x", None);
    assert_eq!(world.publish("domain-b/1", "x"), ["domain-b/1 domain-a/1"]);
    assert_eq!(world.edit(unlink("s")), Ok(true));
    world.rest();
    assert!(world.status().links.is_empty());
    assert_eq!(world.publish("domain-b/1", "x"), Vec::<String>::new());
    assert!(matches!(world.edit(unlink("s")), Err(EditError::NoLink { .. })));
    assert_eq!(world.edit(link("s")), Ok(true));
    world.rest();
    assert_eq!(world.publish("domain-b/1", "x"), ["domain-b/1 domain-a/1"]);
    assert_eq!(world.edit(Edit::RemoveSegment("s".into())), Ok(true));
    world.rest();
    assert_eq!(world.publish("domain-b/1", "x"), Vec::<String>::new());
    assert!(world.segments.is_empty());
    assert_eq!(world.edit(Edit::RemoveSegment("s".into())), Err(EditError::NoSegment("s".into())));
    assert_eq!(world.edit(Edit::RemoveSegment("default".into())), Err(EditError::Default));
}

#[test]
fn a_link_without_a_segment_is_of_the_default_one() {
    let mut world = World::new(Document::default());
    world.start_all("a/1 b/1");
    let add = Edit::AddLink { segment: None, domain: "a".into(), neighbor: "b".into(), weight: 1 };
    assert_eq!(world.edit(add), Ok(true));
    world.rest();
    assert_eq!(world.link("a", "b").unwrap().segments, [name("default")]);
}

#[test]
fn what_a_document_says_is_not_edited() {
    let mut world = World::linked("*: *");
    assert_eq!(world.edit(segment("s")), Err(EditError::Declared));
    assert_eq!(world.edit(link("default")), Err(EditError::Declared));
    world.segments.push(SegmentText { name: "s".into(), links: Vec::new() });
    assert_eq!(world.declare(), Err(TopologyError::Declared("s".into())));
}

#[test]
fn a_node_of_a_domain_that_is_not_declared_is_turned_away_until_it_is() {
    let mut world = World::linked("*: *");
    world.declared.open = false;
    world.domain("b", Shape::FullMesh);
    world.start_all("a/1 b/1");
    let rejected = world.bodies[&id("a/1")].rejected.clone().unwrap();
    assert_eq!(rejected, Rejected::UnknownDomain(name("a")));
    assert!(!rejected.is_final(), "it tries again");
    world.domain("a", Shape::FullMesh);
    world.register(&id("a/1"));
    world.rest();
    assert_eq!(world.held("a", "b").as_deref(), Some("a/1 b/1"));
}

#[test]
fn when_a_domain_is_removed_its_nodes_are_turned_away() {
    let mut world = World::linked("*: *");
    world.declared.open = false;
    world.domain("a", Shape::FullMesh);
    world.domain("b", Shape::FullMesh);
    world.start_all("a/1 b/1");
    assert!(world.held("a", "b").is_some());
    world.declared.domains = vec![DomainRule { name: name("b"), shape: Shape::FullMesh }];
    world.declare().unwrap();
    world.rest();
    assert_eq!(world.bodies[&id("a/1")].rejected, Some(Rejected::UnknownDomain(name("a"))));
    assert!(world.status().links.is_empty());
    assert_eq!(world.status().nodes.len(), 1);
    assert!(world.bodies[&id("b/1")].node.links().is_empty());
}

#[test]
fn of_two_nodes_with_one_id_the_later_stays_and_the_earlier_is_told_why() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1");
    let first = world.bodies[&id("a/1")].session.unwrap();
    let (node, endpoints) = (id("a/1"), Endpoints { listen: Some("x".into()), external: Some("y".into()) });
    let event = Event::Registered {
        session: 99_999,
        node,
        endpoints,
        plan: mesh::plan::Generation::default(),
        up: Vec::new(),
        routes: false,
    };
    world.tell(event);
    let rejected = world.bodies[&id("a/1")].rejected.clone().unwrap();
    assert!(rejected.is_final(), "two of them would take turns");
    assert_eq!(rejected, Rejected::Superseded(id("a/1")));
    // What the earlier one still says is not heard.
    world.tell(Event::Gone { session: first });
    assert!(world.status().nodes.iter().any(|node| node.id == id("a/1") && node.connected));
}

#[test]
fn channels_of_several_listeners_share_what_is_known() {
    let mut world = World::linked("*: *");
    // A controller has no listeners of its own: it is told sessions, wherever they came in.
    world.start("a/1");
    world.start("b/1");
    assert_eq!(world.held("a", "b").as_deref(), Some("a/1 b/1"));
}

#[test]
fn a_domain_that_nobody_can_dial_dials_itself() {
    let mut world = World::linked("*: *");
    world.start_at("a/1", Some("a/1"), Some("ext.a"));
    world.start_at("b/1", Some("b/1"), None);
    world.rest();
    let view = world.link("a", "b").unwrap();
    assert_eq!((view.from, view.to), (id("b/1"), Some(id("a/1"))));
}

#[test]
fn two_domains_of_which_nobody_can_be_dialled_are_shown() {
    let mut world = World::linked("*: *");
    world.start_at("a/1", Some("a/1"), None);
    world.start_at("b/1", Some("b/1"), None);
    world.rest();
    assert_eq!(world.link("a", "b"), None);
    assert_eq!(world.status().unheld, [(name("a"), name("b"))]);
}

#[test]
fn a_shared_address_is_claimed_by_whoever_takes_the_link() {
    let mut world = World::linked("*: *");
    for node in ["b/1", "b/2", "b/3"] {
        world.start_at(node, Some(node), Some("balancer.b"));
    }
    world.run(std::time::Duration::from_millis(100));
    world.start_at("a/1", Some("a/1"), None);
    world.tell(Event::Tick);
    let before = world.status().links.into_iter().find(|link| link.kind == LinkKind::Remote).unwrap();
    assert_eq!((before.to, before.state), (None, LinkState::Pending));
    assert!(world.status().domains.iter().any(|domain| domain.name.as_str() == "b" && domain.gateways.is_empty()));
    world.rest();
    let view = world.link("a", "b").unwrap();
    let claimed = view.to.clone().unwrap();
    assert_eq!(view.state, LinkState::Applied);
    world.want("b/1", "x", None);
    assert_eq!(world.publish("a/1", "x").len(), 1);
    // When the one that took it dies, another behind the same address does.
    world.kill(&claimed.to_string());
    world.rest();
    let view = world.link("a", "b").unwrap();
    assert_eq!((view.state, view.to == Some(claimed)), (LinkState::Applied, false));
}

#[test]
fn a_shared_address_is_claimed_anew_when_it_leads_elsewhere() {
    let mut world = World::linked("*: *");
    for node in ["b/1", "b/2"] {
        world.start_at(node, Some(node), Some("balancer.b"));
    }
    world.start_at("a/1", Some("a/1"), None);
    world.rest();
    let first = world.link("a", "b").unwrap();
    world.drop_wire(&first.id);
    world.rest();
    let second = world.link("a", "b").unwrap();
    assert_eq!((second.state, &second.id), (LinkState::Applied, &first.id));
    assert_ne!(second.to, first.to);
    world.want("b/1", "x", None);
    assert_eq!(world.publish("a/1", "x").len(), 1);
}

#[test]
fn a_topology_is_refused_for_each_of_its_faults() {
    let check = |links_text: &str| {
        let document = Document { links: links(links_text), ..Document::default() };
        let known = ["a", "b", "c"].into_iter().map(name).collect();
        mesh::topology::Topology::check(&document, &[], Some(&known)).map(|_| ()).unwrap_err()
    };
    assert!(matches!(check("a: b b"), TopologyError::NeighborTwice { .. }));
    assert!(matches!(check("a: b; a: c"), TopologyError::DomainTwice { .. }));
    assert!(matches!(check("a: a"), TopologyError::Itself { .. }));
    assert!(matches!(check("a: x"), TopologyError::Unknown { .. }));
    assert!(matches!(check("A: b"), TopologyError::Domain { .. }));
    assert!(matches!(check("a: $domain"), TopologyError::TemplateOutside(_)));
    let both = Document {
        links: links("a: b"),
        segments: vec![SegmentText { name: "s".into(), links: links("a: b") }],
        ..Document::default()
    };
    assert_eq!(mesh::topology::Topology::check(&both, &[], None), Err(TopologyError::BothKeys));
    let shared = Document {
        segments: vec![SegmentText { name: "s".into(), links: links("a: $domain") }],
        ..Document::default()
    };
    assert_eq!(mesh::topology::Topology::check(&shared, &[], None), Err(TopologyError::TemplateName("s".into())));
}

//! Nodes that die, come back, and move; controllers that change.

use std::time::Duration;

use crate::world::{World, id};
use mesh::control::{Endpoints, Event, LinkState, Report};
use mesh::plan::Generation;

/// A world of two domains with two nodes each, of which one wants a name.
fn twins() -> World {
    let mut world = World::linked("*: *");
    world.start_all("a/1 a/2 b/1 b/2");
    world.want("b/1", "x", None);
    world.want("b/2", "x", None);
    world
}

/// Kills the gateway of a domain, and gives how long it took until the link was up again at a sibling.
fn check(world: &mut World, domain: &str) -> Duration {
    let held = world.held("a", "b").unwrap();
    let gateway = held.split(' ').find(|node| node.starts_with(domain)).unwrap().to_owned();
    let before = world.now;
    world.kill(&gateway);
    world.run(Duration::ZERO);
    let now = world.held("a", "b").unwrap();
    assert!(!now.contains(&gateway), "{now}");
    world.now.since(before)
}

#[test]
fn when_the_gateway_that_dialled_dies_a_sibling_dials_in_the_same_step() {
    let mut world = twins();
    assert_eq!(check(&mut world, "a"), Duration::ZERO);
    let left = if world.held("a", "b").unwrap().contains("a/1") { "a/1" } else { "a/2" };
    assert_eq!(world.publish(left, "x").len(), 2);
}

#[test]
fn when_the_gateway_that_took_the_link_dies_a_sibling_takes_it_in_the_same_step() {
    let mut world = twins();
    let reached = if check(&mut world, "b") == Duration::ZERO { world.publish("a/1", "x") } else { Vec::new() };
    assert_eq!(reached.len(), 1);
    assert_eq!(world.publish("a/2", "x").len(), 1);
}

#[test]
fn a_gateway_that_loses_its_controller_goes_on() {
    let mut world = twins();
    let held = world.held("a", "b").unwrap();
    let gateway = held.split(' ').next().unwrap().to_owned();
    let before = world.tells;
    world.lose_channel(&gateway);
    world.rest();
    assert_eq!(world.held("a", "b"), Some(held.clone()));
    assert_eq!(world.publish("a/1", "x").len(), 2);
    assert_eq!(world.tells, before, "nobody is told anything");
    world.register(&id(&gateway));
    world.rest();
    assert_eq!(world.held("a", "b"), Some(held));
}

#[test]
fn a_gateway_without_controller_that_dies_is_replaced_when_the_other_end_tells() {
    let mut world = twins();
    let held = world.held("a", "b").unwrap();
    let gateway = held.split(' ').next().unwrap().to_owned();
    world.lose_channel(&gateway);
    world.rest();
    world.kill(&gateway);
    world.run(Duration::ZERO);
    assert!(!world.held("a", "b").unwrap().contains(&gateway));
    assert_eq!(world.status().nodes.len(), 3);
}

#[test]
fn a_link_that_only_one_end_sees_dead_moves_after_its_grace() {
    let mut world = twins();
    let view = world.link("a", "b").unwrap();
    let session = world.bodies[&view.from].session.unwrap();
    let peer = view.to.clone().unwrap();
    // The node that took it does not answer any longer: the dialler sees it, nobody else does.
    world.bodies.get_mut(&peer).unwrap().awake = false;
    world.tell(Event::Down { session, link: view.id, why: "silent".into() });
    world.run(Duration::from_millis(300));
    assert_ne!(world.link("a", "b").unwrap().to, Some(peer));
    assert_eq!(world.link("a", "b").unwrap().state, LinkState::Applied);
}

#[test]
fn what_a_dead_node_wanted_leads_nowhere_and_leads_there_again_when_it_is_back() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1");
    world.want("a/1", "x", None);
    world.kill("a/1");
    world.rest();
    assert_eq!(world.publish("b/1", "x"), Vec::<String>::new());
    world.start("a/1");
    assert_eq!(world.publish("b/1", "x"), ["b/1 a/1"]);
}

#[test]
fn a_name_that_a_foreign_node_announced_is_forgotten_when_it_dies() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1");
    let name = event::Pattern::parse("slim.1.2.3").unwrap();
    let session = world.bodies[&id("a/1")].session.unwrap();
    world.tell(Event::Announced { session, name: name.clone(), wanted: true });
    world.rest();
    assert_eq!(world.controller.routes_at(&id("b/1")).len(), 1);
    assert_eq!(world.controller.routes_at(&id("a/1")).len(), 0);
    world.kill("a/1");
    world.rest();
    assert_eq!(world.status().routes, Vec::new());
    world.start("a/1");
    assert_eq!(world.status().routes, Vec::new());
    let session = world.bodies[&id("a/1")].session.unwrap();
    world.tell(Event::Announced { session, name, wanted: true });
    assert_eq!(world.controller.routes_at(&id("b/1")).len(), 1);
}

#[test]
fn a_link_between_nodes_of_two_makes_says_that_it_cannot_be() {
    let mut world = World::linked("*: *");
    world.start_all("b/1 c/1");
    let endpoints = Endpoints { listen: None, external: Some("a:46357".into()) };
    let (node, plan, up) = (id("a/1"), Generation::default(), Vec::new());
    world.tell(Event::Registered { session: 1_000, node, endpoints, plan, up, routes: true });
    world.rest();
    for link in world.status().links {
        let mixed = link.from == id("a/1") || link.to_domain == id("a/1").domain;
        let said = matches!(&link.state, LinkState::Failed(why) if why.contains("no link in common"));
        assert_eq!(said, mixed, "{link:?}");
    }
    assert_eq!(world.held("b", "c").as_deref(), Some("b/1 c/1"));
}

#[test]
fn with_its_last_node_a_domain_loses_its_links_and_with_the_first_it_has_them_again() {
    let mut world = World::linked("a: b; b: c");
    world.start_all("a/1 b/1 b/2 c/1");
    world.want("c/1", "x", None);
    world.kill("b/1");
    world.kill("b/2");
    world.rest();
    assert!(world.status().links.iter().all(|link| !link.serves));
    assert_eq!(world.publish("a/1", "x"), Vec::<String>::new());
    world.start("b/3");
    assert_eq!(world.held("a", "b").as_deref(), Some("a/1 b/3"));
    assert_eq!(world.publish("a/1", "x"), ["a/1 b/3 c/1"]);
}

#[test]
fn a_node_that_crashed_has_its_link_back() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1");
    world.kill("b/1");
    world.rest();
    assert_eq!(world.held("a", "b"), None);
    world.start("b/1");
    assert_eq!(world.held("a", "b").as_deref(), Some("a/1 b/1"));
}

#[test]
fn a_node_that_comes_back_at_another_address_is_dialled_there() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1");
    world.kill("b/1");
    world.start_at("b/1", Some("elsewhere"), Some("ext.elsewhere"));
    world.rest();
    let view = world.link("a", "b").unwrap();
    assert_eq!((view.address.as_deref(), view.state), (Some("ext.elsewhere"), LinkState::Applied));
}

#[test]
fn a_node_that_moves_without_being_missed_is_dialled_anew() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1");
    // The channel of the new process opens before anybody noticed that the old one ended.
    world.start_at("b/1", Some("elsewhere"), Some("ext.elsewhere"));
    world.rest();
    let view = world.link("a", "b").unwrap();
    assert_eq!((view.address.as_deref(), view.state), (Some("ext.elsewhere"), LinkState::Applied));
}

#[test]
fn when_the_hub_of_a_star_dies_and_is_back_the_spokes_reach_each_other_again() {
    let mut world = World::linked("hub: *");
    world.start_all("a/1 b/1 hub/1");
    world.want("a/1", "x", None);
    world.kill("hub/1");
    world.rest();
    assert_eq!(world.publish("b/1", "x"), Vec::<String>::new());
    world.start("hub/1");
    assert_eq!(world.publish("b/1", "x"), ["b/1 hub/1 a/1"]);
}

#[test]
fn paths_lead_around_a_link_that_stays_down() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1 c/1");
    world.want("c/1", "x", None);
    assert_eq!(world.publish("a/1", "x"), ["a/1 c/1"]);
    // Nobody can be dialled by that pair any longer, while both are there.
    let view = world.link("a", "c").unwrap();
    let plans = world.bodies[&id("a/1")].plans.len();
    world.jam(&view.id);
    world.run(Duration::from_secs(3));
    assert_eq!(world.publish("a/1", "x"), ["a/1 b/1 c/1"]);
    assert!(world.bodies[&id("a/1")].plans.len() > plans);
    world.clear_jams();
    world.run(Duration::from_secs(90));
    assert_eq!(world.publish("a/1", "x"), ["a/1 c/1"]);
}

#[test]
fn a_controller_that_takes_over_leaves_what_works() {
    let mut world = twins();
    let (held, before) = (world.held("a", "b"), world.wires_made());
    world.take_over();
    world.rest();
    assert_eq!(world.held("a", "b"), held);
    assert_eq!(world.wires_made(), before, "no connection was made anew");
    assert_eq!(world.publish("a/1", "x").len(), 2);
    assert_eq!(world.generation("a/1").epoch, 2);
}

#[test]
fn a_controller_that_does_not_lead_any_longer_moves_nothing() {
    let mut world = twins();
    let stale = world.bodies[&id("a/1")].plans[0].clone();
    world.take_over();
    world.rest();
    let before = world.generation("a/1");
    world.force_plan("a/1", &stale);
    assert_eq!(world.generation("a/1"), before);
    // One node that tells of a later plan than any is turned away, and leads nobody astray.
    let session = 1_000_000;
    let plan = mesh::plan::Generation { epoch: 9, number: 1 };
    let (node, endpoints) = (id("a/9"), mesh::control::Endpoints::default());
    world.tell(Event::Registered { session, node, endpoints, plan, up: Vec::new(), routes: false });
    assert!(world.controller.leads());
    assert!(world.reports.contains(&Report::Deposed { node: id("a/9"), epoch: 9 }));
    world.register(&id("a/1"));
    assert_eq!(world.bodies[&id("a/1")].rejected, None);
    assert!(world.controller.status().nodes.iter().all(|node| node.id != id("a/9")));
}

#[test]
fn the_sweep_finds_nothing_to_mend() {
    let mut world = twins();
    world.run(Duration::from_secs(600));
    assert!(!world.reports.iter().any(|report| matches!(report, Report::Mended(_))), "{:?}", world.reports);
}

#[test]
fn a_plan_that_is_not_acknowledged_is_told_again_later_and_later() {
    let mut world = World::linked("*: *");
    world.start_all("a/1");
    world.bodies.get_mut(&id("a/1")).unwrap().awake = false;
    world.start("b/1");
    let told: Vec<_> = world.bodies[&id("a/1")].plans.iter().map(|plan| plan.generation).collect();
    assert!(told.len() >= 5, "{told:?}");
    world.run(Duration::from_secs(60));
    assert!(world.bodies[&id("a/1")].plans.len() <= told.len() + 4);
}

#[test]
fn a_clock_that_jumps_back_an_hour_stops_nothing() {
    let mut world = twins();
    world.now = world.now.before(Duration::from_secs(3_600));
    assert_eq!(check(&mut world, "a"), Duration::ZERO);
    world.start("c/1");
    assert!(world.held("a", "c").is_some());
}

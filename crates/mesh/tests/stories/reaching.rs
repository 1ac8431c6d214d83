//! Who is linked, and what is reached by which way.

use crate::world::{World, id, links};
use mesh::control::LinkState;
use mesh::plan::Shape;
use mesh::topology::Document;

#[test]
fn three_domains_of_a_full_mesh_are_linked_pair_by_pair() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1 c/1");
    for (one, two) in [("a", "b"), ("a", "c"), ("b", "c")] {
        assert_eq!(world.held(one, two), Some(format!("{one}/1 {two}/1")));
    }
    assert_eq!(world.status().links.len(), 3);
    assert!(world.status().unheld.is_empty());
}

#[test]
fn a_name_that_is_wanted_in_one_domain_is_reached_from_the_other() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1");
    assert_eq!(world.publish("b/1", "orders.paid"), Vec::<String>::new());
    world.want("a/1", "orders.*", None);
    assert_eq!(world.publish("b/1", "orders.paid"), ["b/1 a/1"]);
    // What was heard of another domain is not told back to it.
    assert_eq!(world.publish("a/1", "orders.paid"), Vec::<String>::new());
}

#[test]
fn names_of_both_domains_are_reached_both_ways() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1");
    world.want("a/1", "in.a", None);
    world.want("b/1", "in.b", None);
    assert_eq!(world.publish("b/1", "in.a"), ["b/1 a/1"]);
    assert_eq!(world.publish("a/1", "in.b"), ["a/1 b/1"]);
}

#[test]
fn a_spoke_reaches_a_spoke_by_the_hub() {
    let mut world = World::linked("hub: *");
    world.start_all("a/1 b/1 hub/1");
    assert_eq!(world.held("a", "b"), None);
    world.want("a/1", "to.a", None);
    assert_eq!(world.publish("b/1", "to.a"), ["b/1 hub/1 a/1"]);
}

#[test]
fn in_a_chain_a_message_passes_each_domain() {
    let mut world = World::linked("a: b; b: c; c: d");
    world.start_all("a/1 b/1 c/1 d/1");
    world.want("d/1", "far", None);
    assert_eq!(world.publish("a/1", "far"), ["a/1 b/1 c/1 d/1"]);
}

#[test]
fn whom_several_want_each_gets_one_copy() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 a/2 b/1 b/2 c/1 c/2");
    for node in ["a/2", "b/1", "b/2", "c/1", "c/2"] {
        world.want(node, "news", None);
    }
    let got = world.publish("a/1", "news");
    assert_eq!(got.len(), 5, "{got:?}");
    let mut ends: Vec<_> = got.iter().map(|path| path.rsplit(' ').next().unwrap()).collect();
    ends.sort_unstable();
    ends.dedup();
    assert_eq!(ends, ["a/2", "b/1", "b/2", "c/1", "c/2"]);
}

#[test]
fn when_the_last_subscriber_goes_nothing_leads_there() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1");
    world.want("a/1", "gone", None);
    world.unwant("a/1", "gone", None);
    assert_eq!(world.publish("b/1", "gone"), Vec::<String>::new());
}

#[test]
fn several_names_are_reached_and_taken_back_one_by_one() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1 c/1");
    for subject in ["x.1", "x.2", "y.*"] {
        world.want("a/1", subject, None);
    }
    for subject in ["x.1", "x.2", "y.9"] {
        assert_eq!(world.publish("c/1", subject), ["c/1 a/1"]);
    }
    world.unwant("a/1", "x.1", None);
    assert_eq!(world.publish("c/1", "x.1"), Vec::<String>::new());
    assert_eq!(world.publish("c/1", "x.2"), ["c/1 a/1"]);
}

#[test]
fn a_route_that_was_declared_leads_to_its_domain_from_every_other() {
    let mut world = World::linked("a: b; b: c");
    world.route("audit.>", "c");
    world.start_all("a/1 b/1 c/1");
    let routes = world.status().routes;
    let shown: Vec<_> = routes.iter().map(|route| format!("{} {} {}", route.from, route.next, route.to)).collect();
    assert_eq!(shown, ["a b c", "b c c"]);
    assert!(routes.iter().all(|route| route.state == LinkState::Applied && route.segment.as_str() == "default"));
    world.kill("b/1");
    world.rest();
    assert_eq!(world.status().routes, Vec::new());
}

#[test]
fn the_lighter_way_is_taken() {
    let mut rows = links("a: b; b: c");
    let mut direct = links("a: c");
    direct[0].weight = 5;
    rows.extend(direct);
    let mut world = World::new(Document { links: rows, ..Document::default() });
    world.start_all("a/1 b/1 c/1");
    world.want("c/1", "far", None);
    assert_eq!(world.publish("a/1", "far"), ["a/1 b/1 c/1"]);
    world.kill("b/1");
    world.rest();
    assert_eq!(world.publish("a/1", "far"), ["a/1 c/1"]);
}

#[test]
fn in_a_domain_with_a_hub_the_hub_relays_and_another_stands_in_for_it() {
    let mut world = World::linked("*: *");
    world.domain("a", Shape::Hub(id("a/3").node));
    world.start_all("a/1 a/2 a/3");
    world.want("a/2", "inner", None);
    assert_eq!(world.publish("a/1", "inner"), ["a/1 a/3 a/2"]);
    world.kill("a/3");
    world.rest();
    assert_eq!(world.publish("a/2", "none"), Vec::<String>::new());
    assert_eq!(world.publish("a/1", "inner"), ["a/1 a/2"]);
}

#[test]
fn gateways_share_the_load() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 a/2 a/3 b/1 c/1 d/1 e/1 f/1 g/1");
    let loads: Vec<_> = (world.status().nodes.iter())
        .filter(|node| node.id.domain.as_str() == "a")
        .map(|node| node.remote_links)
        .collect();
    assert_eq!(loads, [2, 2, 2]);
}

#[test]
fn a_node_that_comes_later_takes_its_share_without_a_gap() {
    let mut world = World::linked("a: *");
    world.start_all("a/1 b/1 c/1 d/1 e/1");
    world.want("b/1", "x", None);
    world.start("a/2");
    let loads: Vec<_> = (world.status().nodes.iter())
        .filter(|node| node.id.domain.as_str() == "a")
        .map(|node| node.remote_links)
        .collect();
    assert_eq!(loads, [2, 2]);
    assert_eq!(world.publish("c/1", "x").len(), 1);
    assert!(world.publish("c/1", "x")[0].ends_with("b/1"));
}

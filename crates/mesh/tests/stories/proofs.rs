//! Links whose ends cannot prove themselves.

use std::time::Duration;

use crate::world::{World, id};
use mesh::control::LinkState;

/// What becomes of the link of two nodes, of which one holds other keys.
fn check(wrong: &str) -> (World, LinkState) {
    let mut world = World::linked("*: *");
    world.start("b/1");
    world.start("a/1");
    assert_eq!(world.held("a", "b").as_deref(), Some("a/1 b/1"));
    let link = world.link("a", "b").unwrap().id;
    if !wrong.is_empty() {
        world.bodies.get_mut(&id(wrong)).unwrap().wrong_key = true;
        world.drop_wire(&link);
    }
    world.run(Duration::from_secs(1));
    let state = world.link("a", "b").unwrap().state;
    (world, state)
}

#[test]
fn a_link_whose_ends_prove_themselves_is_applied() {
    assert_eq!(check("").1, LinkState::Applied);
}

#[test]
fn a_link_whose_dialler_has_another_key_fails_with_the_reason() {
    assert!(matches!(check("a/1").1, LinkState::Failed(why) if why.contains("key")));
}

#[test]
fn a_link_whose_taker_has_another_key_fails_with_the_reason() {
    assert!(matches!(check("b/1").1, LinkState::Failed(why) if why.contains("key")));
}

#[test]
fn a_link_that_failed_is_applied_when_the_key_is_right_again() {
    let (mut world, state) = check("b/1");
    assert!(matches!(state, LinkState::Failed(_)));
    world.bodies.get_mut(&id("b/1")).unwrap().wrong_key = false;
    world.rest();
    assert_eq!(world.link("a", "b").unwrap().state, LinkState::Applied);
}

#[test]
fn an_address_behind_which_somebody_else_is_fails() {
    let mut world = World::linked("*: *");
    world.start_at("b/1", Some("b/1"), Some("ext.b"));
    world.start_at("c/9", Some("c/9"), None);
    world.rest();
    // Somebody of another domain is found where b is to be.
    world.kill("b/1");
    world.bodies.get_mut(&id("c/9")).unwrap().endpoints.external = Some("ext.b".into());
    world.start_at("b/1", Some("b/1"), Some("ext.b"));
    world.bodies.get_mut(&id("b/1")).unwrap().endpoints.external = None;
    world.start_at("a/1", Some("a/1"), None);
    world.run(Duration::from_millis(200));
    assert!(matches!(world.link("a", "b").unwrap().state, LinkState::Failed(_)));
}

#[test]
fn where_one_of_several_nodes_holds_no_key_another_holds_the_link() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 b/1 b/2");
    let view = world.link("a", "b").unwrap();
    let taker = view.to.unwrap();
    world.bodies.get_mut(&taker).unwrap().wrong_key = true;
    world.drop_wire(&view.id);
    world.rest();
    let view = world.link("a", "b").unwrap();
    assert_eq!((view.state, view.to == Some(taker)), (LinkState::Applied, false));
}

#[test]
fn both_ends_of_each_link_and_nobody_else_hold_its_key() {
    let mut world = World::linked("*: *");
    world.start_all("a/1 a/2 b/1 b/2 c/1 c/2");
    let mut keys = std::collections::BTreeMap::<[u8; 32], Vec<String>>::new();
    for (node, body) in &world.bodies {
        for link in &body.node.plan().links {
            keys.entry(link.key).or_default().push(node.to_string());
        }
    }
    assert!(keys.values().all(|ends| ends.len() == 2), "{:?}", keys.values());
    assert_eq!(keys.len(), 3 + 3);
}

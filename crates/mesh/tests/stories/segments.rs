//! Segments: who cannot see whom, and what a change of them is proven to do.

use std::collections::BTreeSet;

use crate::world::{World, links, name};
use mesh::control::Report;
use mesh::plan::{AclRule, Who};
use mesh::proof::{Access, Reach, Why, diff, explain, prove};
use mesh::segment::Segments;
use mesh::topology::{Document, SegmentText, Topology, Warning};

fn document(segments: &[(&str, &str)]) -> Document {
    let texts = segments.iter().map(|(name, text)| SegmentText { name: (*name).to_owned(), links: links(text) });
    Document { segments: texts.collect(), ..Document::default() }
}

fn domains(text: &str) -> BTreeSet<mesh::names::Name> {
    text.split_whitespace().map(name).collect()
}

fn expand(document: &Document, all: &str) -> (Segments, Vec<Warning>) {
    Topology::check(document, &[], None).unwrap().expand(&domains(all))
}

fn reach(document: &Document, all: &str) -> Reach {
    Reach::of(&expand(document, all).0, &domains(all))
}

#[test]
fn spokes_of_a_segmented_star_see_the_hub_and_not_each_other() {
    let mut world = World::segmented(&[("segment-$domain", "hub: $domain")]);
    world.start_all("hub/1 x/1 y/1");
    let shown: Vec<_> = world.controller.segments().all().iter().map(|segment| segment.name.to_string()).collect();
    assert_eq!(shown, ["segment-x", "segment-y"]);
    for node in ["hub/1", "x/1", "y/1"] {
        world.want(node, "all", None);
    }
    assert_eq!(world.publish("hub/1", "all"), ["hub/1 x/1", "hub/1 y/1"]);
    assert_eq!(world.publish("x/1", "all"), ["x/1 hub/1"]);
    assert_eq!(world.publish("y/1", "all"), ["y/1 hub/1"]);
    // A spoke that comes later has a segment of its own.
    world.start("z/1");
    assert_eq!(world.publish("z/1", "all"), ["z/1 hub/1"]);
}

#[test]
fn domains_of_two_segments_that_share_a_domain_do_not_reach_each_other() {
    let mut world = World::segmented(&[("left", "a: m"), ("right", "m: b")]);
    world.start_all("a/1 b/1 m/1");
    world.want("b/1", "x", None);
    assert_eq!(world.publish("a/1", "x"), Vec::<String>::new());
    assert_eq!(world.publish("m/1", "x"), ["m/1 b/1"]);
    let why = explain(&world.controller.reach(), &name("a"), &name("b"));
    assert!(matches!(&why, Why::Apart { between, .. } if *between == [name("m")]), "{why:?}");
}

#[test]
fn a_domain_of_two_segments_with_the_same_neighbour_has_one_link_for_both() {
    let mut world = World::segmented(&[("one", "a: b"), ("two", "a: b; b: c")]);
    world.start_all("a/1 b/1 c/1");
    assert_eq!(world.link("a", "b").unwrap().segments, [name("one"), name("two")]);
    assert_eq!(world.link("b", "c").unwrap().segments, [name("two")]);
    world.want("b/1", "x", None);
    world.want("c/1", "x", None);
    assert_eq!(world.publish("a/1", "x"), ["a/1 b/1", "a/1 b/1 c/1"]);
}

#[test]
fn a_template_never_joins_what_it_parts() {
    // Names that a template makes and that are taken, or are none, are left out and told.
    let (segments, warnings) = expand(&document(&[("s-$domain", "hub: $domain"), ("s-x", "x: y")]), "hub x y");
    let shown: Vec<_> = segments.all().iter().map(|segment| segment.name.as_str()).collect();
    assert_eq!(shown, ["s-x", "s-y"]);
    assert_eq!(segments.get("s-x").unwrap().domains, [name("x"), name("y")]);
    assert!(warnings.contains(&Warning::Taken { segment: name("s-x"), domain: name("x") }));
    let long = "x".repeat(60);
    let (segments, warnings) = expand(&document(&[("segment-$domain", "hub: $domain")]), &format!("hub {long}"));
    assert!(segments.all().is_empty());
    assert!(matches!(warnings.as_slice(), [Warning::Name { .. }]));
}

#[test]
fn a_change_is_proven_with_a_witness_for_each_pair() {
    let before = document(&[("left", "a: m"), ("right", "m: b")]);
    let after = document(&[("left", "a: m; m: b")]);
    let all = "a b m";
    let changes = diff(&reach(&before, all), &reach(&after, all));
    let shown: Vec<_> =
        changes.iter().map(|each| format!("{} {} {} {}", each.from, each.to, each.gained, each.witness)).collect();
    assert_eq!(shown, ["a b true a → m → b in 'left'"]);
    let changes = diff(&reach(&after, all), &reach(&before, all));
    assert_eq!(changes.len(), 1);
    assert!(!changes[0].gained);
    assert_eq!(diff(&reach(&after, all), &reach(&after, all)), []);
}

#[test]
fn an_invariant_that_a_change_breaks_is_told_with_how() {
    let mut after = document(&[("left", "a: m; m: b")]);
    after.never = vec![("a".into(), "b".into())];
    after.always = vec![("m".into(), "*".into())];
    let topology = Topology::check(&after, &[], None).unwrap();
    let now = reach(&document(&[("left", "a: m")]), "a b m");
    let proof = prove((&now, &[]), (&reach(&after, "a b m"), &[]), topology.invariants());
    assert!(!proof.holds());
    let shown: Vec<_> = proof.broken.iter().map(|(broken, count)| format!("{broken} {count}")).collect();
    assert_eq!(shown, ["'a never reaches b' does not hold: a → m → b in 'left' 1"]);
    let proof = prove((&now, &[]), (&now, &[]), topology.invariants());
    assert_eq!(proof.broken[0].0.to_string(), "'m always reaches *' does not hold: no segment leads from m to b");
}

#[test]
fn what_breaks_an_invariant_is_not_applied() {
    let mut world = World::segmented(&[("left", "a: m"), ("right", "m: b")]);
    world.start_all("a/1 b/1 m/1");
    world.want("b/1", "x", None);
    let mut bad = document(&[("left", "a: m; m: b")]);
    bad.never = vec![("a".into(), "b".into())];
    world.rewrite(bad).unwrap();
    world.rest();
    assert!(world.reports.iter().any(|report| matches!(report, Report::Broken(_))));
    assert_eq!(world.publish("a/1", "x"), Vec::<String>::new());
    assert_eq!(world.publish("m/1", "x"), ["m/1 b/1"]);
}

#[test]
fn a_change_of_who_may_use_names_is_shown_by_domain() {
    let rule = |who: &[&str]| AclRule {
        name: "closed".into(),
        subjects: vec![event::Pattern::parse("secret.>").unwrap()],
        publish: Some(who.iter().map(|domain| Who::Domain(name(domain))).collect()),
        subscribe: None,
    };
    let reach = reach(&document(&[("s", "a: b")]), "a b");
    let proof = prove((&reach, &[rule(&["a"])]), (&reach, &[rule(&["b"])]), &[]);
    let shown: Vec<_> = proof.access.iter().map(|each| (each.domain.as_str(), each.access, each.gained)).collect();
    assert_eq!(shown, [("a", Access::Publish, false), ("b", Access::Publish, true)]);
}

#[test]
fn why_a_domain_reaches_another_or_not_is_explained() {
    let reach = reach(&document(&[("one", "a: b; b: c"), ("two", "a: c; c: q"), ("three", "x: y")]), "a b c q x y z");
    let check = |from: &str, to: &str| explain(&reach, &name(from), &name(to)).to_string();
    assert_eq!(check("a", "c"), "it does: a → c in 'two'; also a → b → c in 'one'");
    assert_eq!(
        check("b", "q"),
        "they share no segment: one is in one, the other in two; a, c is in both, and messages do not change their segment there"
    );
    assert_eq!(check("a", "z"), "'z' is in no segment");
    assert_eq!(check("a", "nobody"), "the domain 'nobody' is not known");
    assert_eq!(check("a", "a"), "it is the same domain");
    assert!(check("a", "x").starts_with("they share no segment: one is in one, two"));
}

//! What parts make of a configuration, and what they cannot.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use event::{Fact, Moment};
use plan::{
    Document, Effective, FactRef, Identity, Origin, Part, PolicySpec, captured, digest, documents, effective,
    part_source,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const NET: &str = "net.routerd.net/v1alpha1";

fn at(seconds: u64) -> Moment {
    Moment::parse("2026-11-21T12:00:00Z").unwrap().after(Duration::from_secs(seconds))
}

fn interface(name: &str, device: &str) -> Value {
    json!({"apiVersion": NET, "kind": "Interface", "metadata": {"name": name}, "spec": {"ifname": device}})
}

fn declared(resources: &[Value]) -> Vec<Document> {
    documents(Value::Array(resources.to_vec())).unwrap()
}

/// A part of a source that was observed so many seconds after noon and holds for an hour.
fn part(source: &str, seconds: u64, resources: &[Value]) -> Part {
    let mut part = Part::new(source, 1, at(seconds));
    part.resources = declared(resources);
    part.digest = digest(&part.resources, &part.directives);
    part.expires = Some(at(seconds + 3600));
    part
}

fn masking(source: &str, seconds: u64, name: &str, reason: &str) -> Part {
    let spec = json!({"source": source, "generation": 1, "observedAt": at(seconds).to_string(),
        "expiresAt": at(seconds + 3600).to_string(),
        "directives": [{"op": "mask", "target": {"apiVersion": NET, "kind": "Interface", "name": name}, "reason": reason}]});
    Part::from_spec(&spec).unwrap()
}

fn policy(source: &str, name: &str) -> PolicySpec {
    let rule = json!({"allow": [{"source": source, "operations": ["mask"],
        "targets": [{"apiVersion": NET, "kind": "Interface", "name": name}]}]});
    serde_json::from_value(rule).unwrap()
}

fn id(name: &str) -> Identity {
    Identity { api_version: NET.into(), kind: "Interface".into(), name: name.into() }
}

fn names(merged: &Effective) -> Vec<&str> {
    merged.resources.iter().map(|resource| resource.document.name.as_str()).collect()
}

/// Merges parts into `wan` and `lan`, a policy letting every part of `claims` and `Plugin/p` mask `wan`.
#[track_caller]
fn check(parts: &[Part], resources: &[&str], quarantined: &[&str], lines: &[&str]) -> Effective {
    let base = declared(&[interface("wan", "ens18"), interface("lan", "br0")]);
    let policies = [policy("EventSubscription/claims", "wan"), policy("Plugin/p", "wan")];
    let merged = effective(&base, &policies, parts, at(100));
    assert_eq!(names(&merged), resources);
    let reasons: Vec<String> = merged.quarantined.iter().map(|one| format!("{} {}", one.source, one.reason)).collect();
    assert_eq!(reasons, quarantined);
    assert_eq!(merged.diff_lines(), lines);
    let mut reversed = parts.to_vec();
    reversed.reverse();
    assert_eq!(effective(&base, &policies, &reversed, at(100)), merged);
    merged
}

#[test]
fn nothing_derived_is_what_was_declared() {
    let merged = check(&[], &["wan", "lan"], &[], &["no dynamic config changes"]);
    let router = merged.router("edge");
    assert_eq!(router["kind"], "Router");
    assert_eq!(documents(router).unwrap().len(), 2);
}

#[test]
fn parts_add_and_masks_take_away() {
    let claims = part_source("claims", &["evt-1"]);
    let merged = check(
        &[
            part("Plugin/p", 1, &[interface("tun0", "tun0")]),
            masking(&claims, 2, "wan", "the cloud has it"),
            masking("Plugin/q", 3, "lan", ""),
            masking("EventSubscription/claims2/x", 3, "wan", ""),
        ],
        &["lan", "tun0"],
        &[
            "EventSubscription/claims2/x masks net.routerd.net/v1alpha1/Interface/wan, which no DynamicOverridePolicy allows EventSubscription/claims2/x",
            "Plugin/q masks net.routerd.net/v1alpha1/Interface/lan, which no DynamicOverridePolicy allows Plugin/q",
        ],
        &[
            "+ net.routerd.net/v1alpha1/Interface/tun0  source=Plugin/p                                                       generation=1",
            "- net.routerd.net/v1alpha1/Interface/wan   maskedBy=DynamicConfigPart/EventSubscription/claims/7b409f932d2c88e9  maskedUntil=2026-11-21T13:00:02Z  reason=the cloud has it",
        ],
    );
    assert_eq!(merged.active, ["Plugin/p", "EventSubscription/claims/7b409f932d2c88e9"]);
    let masked = merged.explain(&id("wan")).to_json();
    assert_eq!(
        (&masked["from"], &masked["maskedBy"]),
        (&json!("masked"), &json!(format!("DynamicConfigPart/{claims}")))
    );
}

#[test]
fn several_masks_of_one_resource_are_one() {
    let merged = check(
        &[masking("Plugin/p", 9, "wan", "b"), masking(&part_source("claims", &["x"]), 2, "wan", "a")],
        &["lan"],
        &[],
        &[
            "- net.routerd.net/v1alpha1/Interface/wan  maskedBy=DynamicConfigPart/EventSubscription/claims/2d711642b726b044,DynamicConfigPart/Plugin/p  maskedUntil=2026-11-21T13:00:09Z  reason=a; b",
        ],
    );
    assert_eq!(merged.suppressed.len(), 1);
    let mut forever = masking("Plugin/p", 9, "wan", "");
    forever.expires = None;
    check(
        &[forever],
        &["lan"],
        &[],
        &["- net.routerd.net/v1alpha1/Interface/wan  maskedBy=DynamicConfigPart/Plugin/p  maskedUntil=-"],
    );
}

#[test]
fn a_part_that_conflicts_is_quarantined_and_the_others_apply() {
    let merged = check(
        &[
            part("c", 7, &[interface("tun0", "new"), interface("tun2", "x")]),
            part("a", 5, &[interface("tun1", "x")]),
            part("b", 6, &[interface("tun0", "old")]),
            part("d", 8, &[interface("wan", "x")]),
            part("e", 9, &[interface("tun9", "x"), interface("tun9", "y")]),
            masking("Plugin/p", 9, "none", ""),
        ],
        &["wan", "lan", "tun1", "tun0"],
        &[
            "c names net.routerd.net/v1alpha1/Interface/tun0, which b gives",
            "d names net.routerd.net/v1alpha1/Interface/wan, which is declared",
            "Plugin/p masks net.routerd.net/v1alpha1/Interface/none, which is not declared",
            "e names net.routerd.net/v1alpha1/Interface/tun9 twice",
        ],
        &[
            "+ net.routerd.net/v1alpha1/Interface/tun1  source=a  generation=1",
            "+ net.routerd.net/v1alpha1/Interface/tun0  source=b  generation=1",
        ],
    );
    assert_eq!(merged.quarantined[0].with.as_deref(), Some("b"));
    let explained = merged.explain(&id("tun0")).to_json();
    assert_eq!(explained["part"], json!({"source": "b", "generation": 1}));
    assert_eq!(explained["quarantined"][0]["source"], "c");
}

#[test]
fn of_parts_of_the_same_age_the_first_source_keeps() {
    let (a, b) = (part("a", 5, &[interface("tun0", "a")]), part("b", 5, &[interface("tun0", "b")]));
    check(
        &[b, a],
        &["wan", "lan", "tun0"],
        &["b names net.routerd.net/v1alpha1/Interface/tun0, which a gives"],
        &["+ net.routerd.net/v1alpha1/Interface/tun0  source=a  generation=1"],
    );
}

#[test]
fn a_masked_resource_is_not_free_for_a_part() {
    check(
        &[masking("Plugin/p", 1, "wan", ""), part("x", 2, &[interface("wan", "mine")])],
        &["lan"],
        &["x names net.routerd.net/v1alpha1/Interface/wan, which is declared"],
        &[
            "- net.routerd.net/v1alpha1/Interface/wan  maskedBy=DynamicConfigPart/Plugin/p  maskedUntil=2026-11-21T13:00:01Z",
        ],
    );
}

#[test]
fn only_the_newest_generation_of_a_source_counts_and_none_that_has_ended() {
    let mut newer = part("a", 6, &[interface("tun1", "x")]);
    newer.generation = 2;
    let mut ended = part("z", 1, &[interface("tun7", "x")]);
    ended.expires = Some(at(100));
    let merged = check(
        &[newer, part("a", 5, &[interface("tun0", "x")]), ended],
        &["wan", "lan", "tun1"],
        &[],
        &["+ net.routerd.net/v1alpha1/Interface/tun1  source=a  generation=2"],
    );
    assert_eq!(merged.expired, ["z"]);
}

#[test]
fn what_governs_is_only_declared_and_what_is_known_keeps_its_rules() {
    let plugin = json!({"apiVersion": "tidings.dev/v1", "kind": "Plugin", "metadata": {"name": "own"},
        "spec": {"executable": "/bin/sh"}});
    let claim = |address: &str| {
        json!({"apiVersion": "tidings.dev/v1", "kind": "AddressClaim", "metadata": {"name": address.replace('/', "-")},
            "spec": {"address": address}})
    };
    let parts = [part("a", 1, &[plugin]), part("b", 2, &[claim("10.0.0.9/32")]), part("c", 3, &[claim("nonsense")])];
    let merged = effective(&[], &[], &parts, at(100));
    assert_eq!(names(&merged), ["10.0.0.9-32"]);
    let reasons: Vec<&str> = merged.quarantined.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons[0], "holds tidings.dev/v1/Plugin/own, of a kind that is only declared");
    assert!(reasons[1].starts_with("holds tidings.dev/v1/AddressClaim/nonsense, whose spec.address "), "{reasons:?}");
}

#[test]
fn a_resource_is_explained_by_its_part_run_and_facts() {
    let mut part = part("EventSubscription/claims/7b409f932d2c88e9", 1, &[interface("tun0", "x")]);
    part.origin = Some(Origin {
        subscription: "claims".into(),
        plugin: "make-claims".into(),
        run: 12,
        group: "edge".into(),
        facts: vec![FactRef::of(&Fact::new("edge", "evt-1", "seen"), 5)],
        ttl: Duration::from_secs(60),
        replaces: None,
    });
    assert_eq!(Part::from_json(&part.to_json()).as_ref(), Ok(&part));
    let merged = effective(&[], &[], std::slice::from_ref(&part), at(100));
    let explained = merged.explain(&id("tun0")).to_json();
    assert_eq!(explained["from"], "part");
    assert_eq!((&explained["subscription"], &explained["plugin"]), (&json!("claims"), &json!("make-claims")));
    assert_eq!((&explained["run"], &explained["events"]), (&json!(12), &json!(["evt-1"])));
    assert!(merged.explain(&id("other")).is_empty());
}

fn any_part() -> impl Strategy<Value = Part> {
    let names = prop::collection::vec(0..5_u8, 0..3);
    let mask = prop::option::weighted(0.3, 0..3_u8);
    (0..8_u8, 1..3_u64, 0..4_u64, names, mask, prop::option::weighted(0.2, Just(50_u64))).prop_map(
        |(source, generation, seconds, names, mask, ended)| {
            let source =
                if source == 0 { "Plugin/p".to_string() } else { part_source("claims", &[&source.to_string()]) };
            let resources: Vec<Value> = names
                .iter()
                .map(|name| if *name == 0 { interface("wan", "x") } else { interface(&format!("tun{name}"), &source) })
                .collect();
            let mut made = part(&source, seconds, &resources);
            made.generation = generation;
            if let Some(mask) = mask {
                made.directives = masking(&source, 0, ["wan", "lan", "none"][usize::from(mask)], "because").directives;
            }
            made.digest = digest(&made.resources, &made.directives);
            if let Some(ended) = ended {
                made.expires = Some(at(ended));
            }
            made
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn neither_order_nor_a_quarantined_part_changes_what_others_give(
        parts in prop::collection::vec(any_part(), 0..8).prop_shuffle(),
        turn in 0..8_usize,
    ) {
        let base = declared(&[interface("wan", "ens18"), interface("lan", "br0")]);
        let policies = [policy("EventSubscription/*", "wan")];
        let merged = effective(&base, &policies, &parts, at(100));
        let mut turned = parts.clone();
        if !turned.is_empty() {
            let middle = turn % turned.len();
            turned.rotate_left(middle);
        }
        prop_assert_eq!(&effective(&base, &policies, &turned, at(100)), &merged);
        let taken: Vec<Part> = parts
            .iter()
            .filter(|part| !merged.quarantined.iter().any(|one| one.source == part.source))
            .cloned()
            .collect();
        let without = effective(&base, &policies, &taken, at(100));
        prop_assert_eq!(&without.resources, &merged.resources);
        prop_assert_eq!(&without.suppressed, &merged.suppressed);
        prop_assert_eq!(&without.digest, &merged.digest);
        prop_assert!(without.quarantined.is_empty());
        let mut seen = std::collections::BTreeSet::new();
        for resource in &merged.resources {
            prop_assert!(seen.insert(resource.document.identity()), "named twice");
        }
    }
}

fn observation(source: &str, address: &str) -> Fact {
    let mut fact = Fact::new("edge", format!("{source}-{address}"), "routerd.client.ipv4.observed");
    fact.source = source.into();
    fact.subject = address.into();
    fact
}

#[track_caller]
fn guarded(fact: &Fact, parts: &[Part], claims: &[Document], wanted: &str) {
    let found = match captured(fact, parts, claims, "cloud", at(100)) {
        Ok(claim) => claim.map(|claim| claim.to_string()).unwrap_or_default(),
        Err(error) => error.to_string(),
    };
    assert_eq!(found, wanted);
}

fn claim(address: &str, node: &str) -> Value {
    json!({"apiVersion": "tidings.dev/v1", "kind": "AddressClaim", "metadata": {"name": "vip"},
        "spec": {"address": address, "node": node}})
}

#[test]
fn what_this_node_captures_is_no_observation_but_of_those_it_was_derived_from() {
    let derived = |node: &str| {
        let mut part = part("EventSubscription/claims/x", 1, &[claim("10.88.60.9/32", node)]);
        part.origin = Some(Origin {
            subscription: "claims".into(),
            plugin: "p".into(),
            run: 1,
            group: "edge".into(),
            facts: vec![FactRef::of(&observation("site-a", "10.88.60.9/32"), 5)],
            ttl: Duration::from_secs(60),
            replaces: None,
        });
        [part]
    };
    let refused = "federation observed event for 10.88.60.9 rejected: address is locally captured by AddressClaim/vip";
    guarded(&observation("cloud", "10.88.60.9"), &derived("cloud"), &[], refused);
    guarded(&observation("", "10.88.60.9/32"), &derived(""), &[], refused);
    guarded(&observation("site-b", "10.88.60.9/32"), &derived("cloud"), &[], refused);
    guarded(&observation("site-a", "10.88.60.9/32"), &derived("cloud"), &[], "");
    guarded(&observation("cloud", "10.88.60.9"), &derived("site-b"), &[], "");
    guarded(&observation("cloud", "10.88.60.10"), &derived("cloud"), &[], "");
    guarded(&observation("cloud", "not an address"), &derived("cloud"), &[], "");
    let mut by_payload = observation("cloud", "client-9");
    by_payload.payload.insert("address".into(), "10.88.60.9/32".into());
    guarded(&by_payload, &derived("cloud"), &[], refused);
    by_payload.kind = "routerd.client.ipv4.expired".into();
    guarded(&by_payload, &derived("cloud"), &[], "");
    let declared = declared(&[claim("10.88.60.0/24", "cloud")]);
    guarded(&observation("cloud", "10.88.60.9"), &[], &declared, refused);
    guarded(&observation("site-b", "10.88.60.9"), &[], &declared, "");
}

#[test]
fn what_a_mobility_pool_captures_is_no_observation_and_a_broken_plan_lets_nothing_through() {
    let plan = |change: &dyn Fn(&mut Value)| {
        let mut spec = json!({
            "source": "MobilityPool/edge/node/cloud", "generation": 1, "digest": "d",
            "observedAt": at(50).to_string(), "expiresAt": at(650).to_string(),
            "mobilityDataplane": {"poolPrefix": "10.88.60.0/24", "captures": [
                {"id": "c", "poolRef": "edge", "address": "10.88.60.9/32", "disposition": "desired", "captureType": "proxy-arp"},
                {"id": "r", "poolRef": "edge", "address": "10.88.60.8/32", "disposition": "release", "captureType": "proxy-arp"}]},
        });
        change(&mut spec);
        [Part::from_spec(&spec).unwrap()]
    };
    let seen = |address: &str| observation("cloud", address);
    let refused = "federation observed event for 10.88.60.9 rejected: address is locally captured by MobilityPool/edge";
    guarded(&seen("10.88.60.9"), &plan(&|_| ()), &[], refused);
    guarded(&seen("10.88.60.8"), &plan(&|_| ()), &[], "");
    guarded(&observation("site-a", "10.88.60.9"), &plan(&|_| ()), &[], "");
    guarded(&seen("10.88.60.9"), &plan(&|spec| spec["expiresAt"] = json!(at(90).to_string())), &[], "");
    guarded(
        &seen("10.88.60.9"),
        &plan(&|spec| spec["source"] = json!("MobilityPool/edge/node/cloud/arp-observer")),
        &[],
        "",
    );
    guarded(&seen("10.88.60.9"), &plan(&|spec| spec["source"] = json!("MobilityPool/edge/nodes/cloud")), &[], "");
    let broken = |change: &dyn Fn(&mut Value), reason: &str| {
        let text = "invalid active MobilityPool typed plan record prevents federation self-capture evaluation";
        guarded(&seen("10.0.0.1"), &plan(change), &[], &format!("{text}: MobilityPool/edge/node/cloud: {reason}"));
    };
    broken(&|spec| spec["generation"] = json!(2), "its generation is not 1");
    broken(&|spec| spec["expiresAt"] = json!(at(651).to_string()), "its lease is not between 0 and 10 minutes");
    broken(
        &|spec| spec["mobilityDataplane"]["captures"][0]["address"] = json!("10.88.61.9/32"),
        "captures holds \"10.88.61.9/32\", which is not canonical or outside 10.88.60.0/24",
    );
    broken(&|spec| spec["mobilityDataplane"]["extra"] = json!(1), "the plan has an unknown field extra");
    let twice = [plan(&|_| ()), plan(&|_| ())].concat();
    let error = captured(&seen("10.0.0.1"), &twice, &[], "cloud", at(100)).unwrap_err();
    assert!(error.to_string().ends_with("the source has several parts"));
}

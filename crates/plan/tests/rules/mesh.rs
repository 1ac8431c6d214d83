//! The kinds of the mesh: each by its rules, and where links may be said.

use super::*;
use plan::DomainShape;

const NAME: &str = "must have 1 to 63 lower-case letters, digits, '.', '_' and '-', and begin with a letter or digit";

#[test]
fn a_domain_has_a_secret_and_a_shape() {
    let declared = taken(&[resource(OURS, "Domain", "site-a", json!({"secretFile": "/etc/a"}))]);
    let domain = &declared.domains()["site-a"];
    assert_eq!((domain.shape, domain.hub.as_str()), (DomainShape::FullMesh, ""));
    let hub = json!({"secretFile": "/etc/a", "shape": "hub", "hub": "a1"});
    assert_eq!(taken(&[resource(OURS, "Domain", "a", hub)]).domains()["a"].hub, "a1");
    spec_refused("Domain", json!({}), &["spec.secretFile is required"]);
    spec_refused("Domain", json!({"secretFile": "/a", "shape": "hub"}), &["spec.hub is required with shape hub"]);
    spec_refused("Domain", json!({"secretFile": "/a", "shape": "ring"}), &["spec.shape must be full-mesh or hub"]);
    let name = format!("tidings.dev/v1/Domain/Site A metadata.name \"Site A\" {NAME}");
    refused(&[resource(OURS, "Domain", "Site A", json!({"secretFile": "/etc/a"}))], &[&name]);
}

#[test]
fn links_are_said_once() {
    let links = json!([{"domain": "hub", "neighbors": ["*"]}]);
    let declared = taken(&[resource(OURS, "Topology", "main", json!({"links": links}))]);
    assert_eq!(declared.topologies()["main"].links[0].weight, 1);
    let both = json!({"links": links, "segments": [{"name": "s", "links": links}]});
    spec_refused("Topology", both, &["spec says links and segments, where one of them may be said"]);
    let twice = json!({"segments": [{"name": "s", "links": links}, {"name": "s", "links": links}]});
    spec_refused("Topology", twice, &["spec.segments[1].name \"s\" is there twice"]);
    let topology = resource(OURS, "Topology", "main", json!({"links": links}));
    let segment = resource(OURS, "Segment", "s", json!({"links": links}));
    let reason =
        "is declared alone, where tidings.dev/v1/Topology/main says all segments: change that, or take its links out";
    refused(&[topology.clone(), segment.clone()], &[&format!("tidings.dev/v1/Segment/s {reason}")]);
    let other = resource(OURS, "Topology", "other", json!({"links": links}));
    let reason = "spec says links, as tidings.dev/v1/Topology/main does: one Topology may say them";
    refused(&[topology, other], &[&format!("tidings.dev/v1/Topology/other {reason}")]);
    let invariants = json!({"never": [{"from": "a", "to": "b"}]});
    taken(&[resource(OURS, "Topology", "rules", invariants), segment]);
}

#[test]
fn names_in_links_are_names() {
    let links = |domain: &str, neighbor: &str| json!({"links": [{"domain": domain, "neighbors": [neighbor]}]});
    let bad = format!("spec.links[0].domain \"A\" {NAME}, or *");
    spec_refused("Segment", links("A", "b"), &[&bad]);
    spec_refused("Segment", links("a", "a"), &["spec.links[0].neighbors[0] \"a\" is linked with itself"]);
    let bad = format!("spec.links[0].neighbors[0] \"$domain\" {NAME}, or *");
    spec_refused("Segment", links("a", "$domain"), &[&bad]);
    taken(&[resource(OURS, "Segment", "cust-$domain", links("hub", "$domain"))]);
    let reason = "spec.links names no $domain, where the name of the segment does: all of them would be alike";
    refused(
        &[resource(OURS, "Segment", "cust-$domain", links("hub", "a"))],
        &[&format!("tidings.dev/v1/Segment/cust-$domain {reason}")],
    );
    let weight = json!({"links": [{"domain": "a", "neighbors": ["b"], "weight": 0}]});
    spec_refused("Segment", weight, &["spec.links[0].weight must be >= 1"]);
}

#[test]
fn invariants_name_two_domains() {
    let never = |from: &str, to: &str| json!({"never": [{"from": from, "to": to}]});
    taken(&[resource(OURS, "Topology", "rules", never("customer-a", "*"))]);
    let reason = "spec.never[0] says a domain twice: who is in it reaches itself";
    spec_refused("Topology", never("a", "a"), &[reason]);
}

#[test]
fn rights_routes_and_mirrors_are_held_to_their_rules() {
    let acl = json!({"subjects": ["orders.>"], "publish": ["domain:shop", "token:clerk", "domain:shop/token:clerk"], "subscribe": ["*"]});
    let declared = taken(&[resource(OURS, "NameAcl", "orders", acl)]);
    assert_eq!(declared.name_acls()["orders"].subscribe, Some(vec!["*".into()]));
    let acl = json!({"subjects": ["orders..x"], "publish": ["shop"]});
    let faults = [
        "spec.subjects[0] must be a pattern such as orders.*.paid: a subject cannot have an empty token (a dot at an end, or two in a row)",
        "spec.publish[0] must be domain:NAME, token:NAME, domain:NAME/token:NAME or *",
    ];
    spec_refused("NameAcl", acl, &faults);
    let open = [resource(OURS, "NameAcl", "x", json!({"subjects": ["a"]}))];
    warned(&open, &["tidings.dev/v1/NameAcl/x spec closes nothing: it says neither publish nor subscribe"]);
    taken(&[resource(OURS, "NameAcl", "x", json!({"subjects": ["a"], "publish": []}))]);
    taken(&[resource(OURS, "Route", "audit", json!({"subjects": ["audit.>"], "to": ["*"]}))]);
    spec_refused("Route", json!({"subjects": ["a"], "to": []}), &["spec.to requires at least 1"]);
    let mirror = json!({"stream": "ORDERS", "to": ["b"], "as": "ORDERS_A"});
    assert_eq!(taken(&[resource(OURS, "Mirror", "m", mirror)]).mirrors()["m"].stream_there, "ORDERS_A");
    spec_refused("Mirror", json!({"stream": "S", "to": ["b", "b"]}), &["spec.to[1] \"b\" is there twice"]);
}

#[test]
fn a_mirror_says_which_side_of_it_a_node_is() {
    for spec in [
        json!({"stream": "S", "to": ["*", "hub/h1"], "filters": ["a.>"]}),
        json!({"stream": "S", "from": "hub/h1", "as": "T", "bytesMax": 1_000_000, "ageMax": "24h"}),
        json!({"stream": "*", "accept": ["a", "b/b1"], "ageMax": "1h"}),
        json!({"stream": "S", "accept": ["*"]}),
    ] {
        taken(&[resource(OURS, "Mirror", "m", spec)]);
    }
    let side = "spec must say one of to (where it is kept), from (where it comes from) and accept (who may bring it)";
    spec_refused("Mirror", json!({"stream": "S"}), &[side]);
    spec_refused("Mirror", json!({"stream": "S", "to": ["a"], "from": "b"}), &[side]);
    let stream = "spec.stream \"*\" must have 1 to 255 letters, digits, '_' and '-'";
    spec_refused("Mirror", json!({"stream": "*", "to": ["a"]}), &[stream]);
    let rule = "is no domain and no domain/node: each must have 1 to 63 lower-case letters, digits, '.', '_' and '-', \
                and begin with a letter or digit";
    for from in ["b/", "/b", "b/c/d", "B", "*"] {
        spec_refused("Mirror", json!({"stream": "S", "from": from}), &[&format!("spec.from \"{from}\" {rule}")]);
    }
    let kept = "spec.bytesMax is of no use with to: who keeps a stream says it";
    spec_refused("Mirror", json!({"stream": "S", "to": ["a"], "bytesMax": 1}), &[kept]);
    let brought = "spec.as is of no use with accept: who brings a stream says it";
    spec_refused("Mirror", json!({"stream": "S", "accept": ["a"], "as": "T"}), &[brought]);
}

//! What documents are, and what they say of each other.

use super::*;

#[test]
fn a_group_needs_a_key_where_it_speaks_with_others() {
    let peer = |version: &str| {
        resource(version, "EventPeer", "b", json!({"groupRef": "edge", "nodeName": "b", "endpoint": "http://b:1"}))
    };
    for version in [OURS, FEDERATION] {
        let group = |spec: Value| resource(version, "EventGroup", "edge", spec);
        let id = format!("{version}/EventGroup/edge spec.auth.secretFile");
        refused(
            &[group(json!({"nodeName": "a", "listen": {"address": "10.0.0.1", "port": 1}}))],
            &[&format!("{id} is required when spec.listen.address is set")],
        );
        refused(
            &[group(json!({"nodeName": "a", "peersFrom": [{"resource": "SAMNodeSet/x", "optional": true}]}))],
            &[&format!("{id} is required when spec.peersFrom is set")],
        );
        refused(
            &[group(json!({"nodeName": "a"})), peer(version)],
            &[&format!("{id} is required because {version}/EventPeer/b references this EventGroup")],
        );
        taken(&[group(json!({"nodeName": "a"}))]);
        taken(&[group(json!({"nodeName": "a", "auth": {"secretFile": "/k"}})), peer(version)]);
    }
    // Ours: a key by name is a key, and so is that of a peer.
    let keys = json!({"nodeName": "a", "auth": {"keys": [{"name": "new", "secretFile": "/k"}]}});
    taken(&[resource(OURS, "EventGroup", "edge", keys), peer(OURS)]);
    let own = json!({"groupRef": "edge", "nodeName": "b", "endpoint": "http://b:1", "auth": {"secretFile": "/k"}});
    taken(&[resource(OURS, "EventGroup", "edge", json!({"nodeName": "a"})), resource(OURS, "EventPeer", "b", own)]);
}

#[test]
fn a_reference_to_nothing_is_a_fault_of_ours_and_a_warning_of_routerds() {
    let peer = json!({"groupRef": "edge", "nodeName": "b", "endpoint": "http://b:1"});
    let absent = "spec.groupRef \"edge\" does not reference an existing EventGroup resource";
    refused(&[resource(OURS, "EventPeer", "b", peer.clone())], &[&format!("{OURS}/EventPeer/b {absent}")]);
    warned(&[resource(FEDERATION, "EventPeer", "b", peer)], &[&format!("{FEDERATION}/EventPeer/b {absent}")]);
    let subscription = json!({"groupRef": "edge", "match": {"types": ["t"]}, "trigger": {"pluginRef": "derive"}});
    let id = |version: &str| format!("{version}/EventSubscription/s ");
    let both = |version: &str| {
        let plugin = "spec.trigger.pluginRef \"derive\" does not reference an existing Plugin resource";
        [format!("{}{absent}", id(version)), format!("{}{plugin}", id(version))]
    };
    let [first, second] = both(OURS);
    refused(&[resource(OURS, "EventSubscription", "s", subscription.clone())], &[&first, &second]);
    let [first, second] = both(FEDERATION);
    warned(&[resource(FEDERATION, "EventSubscription", "s", subscription.clone())], &[&first, &second]);
    taken(&[group(), plugin(), resource(OURS, "EventSubscription", "s", subscription)]);
    let from = json!({"nodeName": "a", "auth": {"secretFile": "/k"}, "peersFrom": [{"resource": "SAMNodeSet/all"}]});
    let missing = "spec.peersFrom[0].resource references missing SAMNodeSet \"all\"";
    refused(&[resource(OURS, "EventGroup", "x", from.clone())], &[&format!("{OURS}/EventGroup/x {missing}")]);
    warned(&[resource(FEDERATION, "EventGroup", "x", from)], &[&format!("{FEDERATION}/EventGroup/x {missing}")]);
}

#[test]
fn an_slo_belongs_to_one_group_that_exists_in_every_version() {
    for version in [OURS, FEDERATION] {
        let slo = |name: &str| resource(version, "FederationSLO", name, json!({"groupRef": "edge"}));
        refused(
            &[slo("s")],
            &[&format!(
                "{version}/FederationSLO/s spec.groupRef \"edge\" does not reference an existing EventGroup resource"
            )],
        );
        refused(
            &[group(), slo("s"), slo("t")],
            &[&format!(
                "{version}/FederationSLO/t spec.groupRef \"edge\" conflicts with {version}/FederationSLO/s: only one FederationSLO per EventGroup is allowed"
            )],
        );
    }
}

#[test]
fn peers_come_from_node_sets_and_those_declared_take_their_place() {
    let group = json!({"nodeName": "a", "auth": {"secretFile": "/k"}, "peersFrom": [{"resource": "SAMNodeSet/all"}]});
    let peer = json!({"groupRef": "edge", "nodeName": "b", "endpoint": "http://10.9.9.9:1", "types": ["t"]});
    let declared = taken(&[
        resource(OURS, "EventGroup", "edge", group),
        resource(MOBILITY, "SAMNodeSet", "all", nodes()),
        resource(OURS, "EventPeer", "override", peer),
    ]);
    let found = declared.peers_of("edge");
    let told: Vec<_> = found.iter().map(|peer| (peer.name.as_str(), peer.endpoint.as_deref())).collect();
    assert_eq!(told, [("b", Some("http://10.9.9.9:1")), ("c", None)]);
    assert_eq!(found[0].types, ["t"]);
    assert_eq!(found[0].from, plan::PeerFrom::Peer("override".into()));
    assert_eq!(found[1].from, plan::PeerFrom::NodeSet("all".into()));
    assert!(declared.peers_of("other").is_empty());
}

#[test]
fn a_kind_belongs_to_its_versions() {
    let group = |version: &str| resource(version, "EventGroup", "x", json!({"nodeName": "a"}));
    let versions = "kind must use apiVersion tidings.dev/v1 or federation.routerd.net/v1alpha1";
    for version in [PLUGIN, "net.routerd.net/v1alpha1", "tidings.dev/v2"] {
        refused(&[group(version)], &[&format!("{version}/EventGroup/x {versions}")]);
    }
    taken(&[group("acme.example/v1")]);
    assert!(taken(&[group("acme.example/v1")]).groups().is_empty());
    refused(
        &[resource(OURS, "EventGruop", "x", json!({}))],
        &["tidings.dev/v1/EventGruop/x kind is not a kind of tidings.dev/v1; did you mean EventGroup?"],
    );
    refused(
        &[resource("hybrid.routerd.net/v1alpha1", "RemoteAddressClaim", "x", json!({}))],
        &["hybrid.routerd.net/v1alpha1/RemoteAddressClaim/x kind is not a kind of hybrid.routerd.net/v1alpha1"],
    );
    taken(&[
        resource(MOBILITY, "SAMTransportProfile", "x", json!({"any": 1})),
        resource("hybrid.routerd.net/v1alpha1", "OverlayPeer", "x", json!({})),
        resource("net.routerd.net/v1alpha1", "Interface", "wan", json!({"ifname": "eth0"})),
    ]);
}

#[test]
fn a_field_that_does_not_exist_is_a_fault_of_ours_and_a_warning_of_routerds() {
    let spec = json!({"nodeName": "a", "listen": {"prot": 1}, "intervall": "1s"});
    let listen = "spec.listen.prot does not exist; did you mean spec.listen.port?";
    let other = "spec.intervall does not exist; the fields are auth, listen, nodeName, peersFrom, replayWindow, retention, trace, when";
    spec_refused("EventGroup", spec.clone(), &[other, listen]);
    let id = format!("{FEDERATION}/EventGroup/x ");
    warned(&[resource(FEDERATION, "EventGroup", "x", spec)], &[&format!("{id}{other}"), &format!("{id}{listen}")]);
}

#[test]
fn a_value_of_another_type_is_named_and_routerds_numbers_are_texts() {
    spec_refused(
        "EventGroup",
        json!({"nodeName": 5}),
        &["spec.nodeName must be a text, not a number: put it in quotes"],
    );
    spec_refused("EventGroup", json!({"nodeName": ["a"]}), &["spec.nodeName must be a text, not a list"]);
    spec_refused("EventGroup", json!({"nodeName": "a", "listen": 1}), &["spec.listen must be a mapping, not a number"]);
    spec_refused(
        "EventGroup",
        json!({"nodeName": "a", "listen": {"port": "1"}}),
        &["spec.listen.port must be a whole number, not a text"],
    );
    spec_refused(
        "EventGroup",
        json!({"nodeName": "a", "retention": {"maxEvents": 1.5}}),
        &["spec.retention.maxEvents must be a whole number, not one with a fraction or too many digits"],
    );
    spec_refused(
        "EventGroup",
        json!({"nodeName": "a", "trace": "yes"}),
        &["spec.trace must be true or false, not a text"],
    );
    let subscription = json!({"groupRef": "edge", "match": {"types": ["t"], "payload": {"vlan": 10}}, "trigger": {"pluginRef": "derive"}});
    let declared = taken(&[group(), plugin(), resource(FEDERATION, "EventSubscription", "s", subscription.clone())]);
    assert_eq!(declared.subscriptions()["s"].matches.payload["vlan"], "10");
    spec_refused(
        "EventSubscription",
        subscription,
        &["spec.match.payload.vlan must be a text, not a number: put it in quotes"],
    );
}

#[test]
fn a_name_is_there_once() {
    let x = || resource(OURS, "EventGroup", "x", json!({"nodeName": "a"}));
    refused(&[x(), x()], &["tidings.dev/v1/EventGroup/x is declared twice"]);
    refused(
        &[x(), resource(FEDERATION, "EventGroup", "x", json!({"nodeName": "a"}))],
        &[&format!(
            "{FEDERATION}/EventGroup/x metadata.name is that of tidings.dev/v1/EventGroup/x: a name is unique in its kind"
        )],
    );
    let peer = |name: &str| {
        resource(OURS, "EventPeer", name, json!({"groupRef": "edge", "nodeName": "b", "endpoint": "http://b:1"}))
    };
    refused(
        &[group(), peer("p"), peer("q")],
        &["tidings.dev/v1/EventPeer/q spec.nodeName \"b\" is that of tidings.dev/v1/EventPeer/p too"],
    );
}

#[test]
fn every_fault_is_told_at_once_and_every_kind_has_a_typed_form() {
    let found = judged(&[resource(OURS, "EventGroup", "x", json!({})), resource(OURS, "Plugin", "p", json!({}))]);
    assert_eq!(found.unwrap_err().len(), 2);
    for kind in plan::KINDS {
        let found = judged(&[resource(OURS, kind.name, "x", json!({}))]).err().unwrap_or_default();
        assert!(
            !found.iter().any(|fault| fault.contains("typed form") || fault.contains("cannot be read")),
            "{found:?}"
        );
    }
}

#[test]
fn a_router_of_routerd_is_taken_as_it_is() {
    let router = json!({"apiVersion": "routerd.net/v1alpha1", "kind": "Router", "metadata": {"name": "r"}, "spec": {"resources": [
        resource(FEDERATION, "EventGroup", "cloudedge", json!({"nodeName": "onprem-router", "retention": {"maxEvents": 1000, "maxAge": "24h"},
            "replayWindow": "5m", "auth": {"secretFile": "/etc/routerd/key"}})),
        resource(FEDERATION, "EventPeer", "cloud-router", json!({"groupRef": "cloudedge", "nodeName": "cloud-router",
            "endpoint": "http://169.254.110.2:8787", "direction": "push", "types": ["routerd.client.ipv4.observed"], "subjectPrefixes": ["10.88.60."]})),
        resource("net.routerd.net/v1alpha1", "Interface", "lan", json!({"ifname": "eth1"})),
    ]}});
    let declared = check(documents(router).unwrap()).unwrap();
    assert_eq!((declared.documents().len(), declared.warnings()), (3, &[][..]));
    assert_eq!(declared.peers_of("cloudedge")[0].subject_prefixes, ["10.88.60."]);
}

//! The rules of each kind.

use std::time::Duration;

use super::*;

#[test]
fn a_group_has_the_defaults_of_routerd() {
    for version in [OURS, FEDERATION] {
        let declared = taken(&[resource(version, "EventGroup", "edge", json!({"nodeName": " a "}))]);
        let group = &declared.groups()["edge"];
        assert_eq!((group.node_name.as_str(), group.replay_window), ("a", Duration::from_secs(300)));
        assert_eq!((group.retention.max_events, group.retention.max_age), (0, None));
        assert!(group.trace && group.listen_at().is_none() && !group.has_key() && group.signing_key().is_none());
    }
}

#[test]
fn a_group_is_held_to_its_rules() {
    spec_refused("EventGroup", json!({}), &["spec.nodeName is required"]);
    spec_refused("EventGroup", json!({"nodeName": "  "}), &["spec.nodeName is required"]);
    spec_refused("EventGroup", json!({"nodeName": null}), &["spec.nodeName is required"]);
    let with = |field: &str, value: Value| json!({"nodeName": "a", field: value});
    spec_refused(
        "EventGroup",
        with("peersFrom", json!([{"resource": "NodeSet/x"}])),
        &["spec.peersFrom[0].resource must reference SAMNodeSet/<name>"],
    );
    let retention = |value| with("retention", value);
    spec_refused("EventGroup", retention(json!({"maxEvents": -1})), &["spec.retention.maxEvents must be >= 0"]);
    spec_refused(
        "EventGroup",
        retention(json!({"maxAge": "1d"})),
        &["spec.retention.maxAge must be a Go duration: '1d' has the unit 'd', which is none of ns, us, ms, s, m, h"],
    );
    spec_refused("EventGroup", with("auth", json!({"mode": "rsa"})), &["spec.auth.mode must be empty or hmac"]);
    let key = |listen: Value| json!({"nodeName": "a", "auth": {"mode": "hmac", "secretFile": "/k"}, "listen": listen});
    let port = "spec.listen.port must be 1..65535 when listen.address is set";
    spec_refused("EventGroup", key(json!({"address": "10.0.0.1"})), &[port]);
    spec_refused("EventGroup", key(json!({"address": "10.0.0.1", "port": 0})), &[port]);
    spec_refused(
        "EventGroup",
        key(json!({"address": "10.0.0.1", "port": 65536})),
        &["spec.listen.port must be <= 65535"],
    );
    spec_refused("EventGroup", key(json!({"address": "10.0.0.1", "port": -1})), &["spec.listen.port must be >= 0"]);
    spec_refused(
        "EventGroup",
        key(json!({"address": "node", "port": 1})),
        &["spec.listen.address must be an IP address of this machine"],
    );
    spec_refused(
        "EventGroup",
        with("replayWindow", json!("5")),
        &["spec.replayWindow must be a Go duration: '5' has a number without a unit (ns, us, ms, s, m, h)"],
    );
    for same in ["0", "0s", "-5m", "", "  "] {
        let declared = taken(&[resource(OURS, "EventGroup", "x", with("replayWindow", json!(same)))]);
        assert_eq!(declared.groups()["x"].replay_window, Duration::from_secs(300), "{same}");
    }
    let whole = json!({"nodeName": "a", "retention": {"maxEvents": 1000, "maxAge": "24h"}, "replayWindow": "90s", "when": {"state": {"x": {"equals": "y"}}}});
    let declared = taken(&[resource(OURS, "EventGroup", "x", whole)]);
    let group = &declared.groups()["x"];
    assert_eq!((group.retention.max_events, group.retention.max_age), (1000, Some(Duration::from_secs(86_400))));
    assert_eq!(group.replay_window, Duration::from_secs(90));
}

#[test]
fn a_port_without_an_address_is_loopback_to_us_and_no_listener_to_routerd() {
    let spec = json!({"nodeName": "a", "auth": {"secretFile": "/k"}, "listen": {"port": 8787}});
    let of = |version| taken(&[resource(version, "EventGroup", "x", spec.clone())]).groups()["x"].clone();
    assert_eq!(of(OURS).listen_at(), Some(("127.0.0.1", 8787)));
    assert_eq!(of(FEDERATION).listen_at(), None);
    let open = json!({"nodeName": "a", "auth": {"secretFile": "/k"}, "listen": {"port": 8787, "open": true}});
    assert_eq!(taken(&[resource(OURS, "EventGroup", "x", open)]).groups()["x"].listen_at(), Some(("::", 8787)));
}

#[test]
fn keys_have_names_and_one_signs() {
    let group = |auth: Value| json!({"nodeName": "a", "auth": auth});
    let key = |name: &str| json!({"name": name, "secretFile": format!("/{name}")});
    let auth =
        json!({"secretFile": "/old", "keys": [key("new"), {"name": "b", "secretFile": "/b", "sourceNodes": ["b"]}]});
    let declared = taken(&[resource(OURS, "EventGroup", "x", group(auth))]);
    let spec = &declared.groups()["x"];
    let keys: Vec<_> = spec.keys().map(|(name, file, nodes)| (name, file, nodes.to_vec())).collect();
    assert_eq!(keys, [("default", "/old", vec![]), ("new", "/new", vec![]), ("b", "/b", vec!["b".to_owned()])]);
    assert_eq!(spec.signing_key(), Some("default"));
    let signing = json!({"secretFile": "/old", "keys": [key("new")], "signingKey": "new"});
    assert_eq!(taken(&[resource(OURS, "EventGroup", "x", group(signing))]).groups()["x"].signing_key(), Some("new"));
    spec_refused(
        "EventGroup",
        group(json!({"keys": [key("k"), key("k")]})),
        &["spec.auth.keys[1].name \"k\" is there twice"],
    );
    spec_refused(
        "EventGroup",
        group(json!({"secretFile": "/k", "keys": [key("default")]})),
        &["spec.auth.keys[0].name \"default\" is the name of secretFile"],
    );
    spec_refused(
        "EventGroup",
        group(json!({"signingKey": "k"})),
        &["spec.auth.signingKey \"k\" is the name of no key"],
    );
    spec_refused(
        "EventGroup",
        group(json!({"keys": [{"name": "k", "sourceNodes": [" "]}]})),
        &["spec.auth.keys[0].sourceNodes[0] must not be empty", "spec.auth.keys[0].secretFile is required"],
    );
}

#[test]
fn a_peer_is_held_to_its_rules() {
    let required = ["spec.groupRef is required", "spec.nodeName is required", "spec.endpoint is required"];
    spec_refused("EventPeer", json!({}), &required);
    let with = |field: &str, value: Value| {
        let mut spec = json!({"groupRef": "edge", "nodeName": "b", "endpoint": "https://b:1/base"});
        spec[field] = value;
        spec
    };
    spec_refused("EventPeer", with("direction", json!("pull")), &["spec.direction must be empty or push"]);
    spec_refused("EventPeer", with("types", json!(["a", ""])), &["spec.types[1] must not be empty"]);
    spec_refused("EventPeer", with("subjectPrefixes", json!([null])), &["spec.subjectPrefixes[0] must not be empty"]);
    spec_refused("EventPeer", with("endpoint", json!("b:1")), &["spec.endpoint must use http or https"]);
    spec_refused("EventPeer", with("timeout", json!("0s")), &["spec.timeout must be greater than 0"]);
    spec_refused("EventPeer", with("batch", json!("always")), &["spec.batch must be auto or off"]);
    spec_refused(
        "EventPeer",
        with("tls", json!({"certFile": "/c"})),
        &["spec.tls needs certFile and keyFile together"],
    );
    let mut plain = with("tls", json!({"caFile": "/ca"}));
    plain["endpoint"] = json!("http://b:1");
    spec_refused("EventPeer", plain, &["spec.tls is of no use with an http endpoint; write https"]);
    let declared = taken(&[group(), resource(OURS, "EventPeer", "x", with("types", json!(["t"])))]);
    assert_eq!(declared.peers()["x"].timeout, Duration::from_secs(30));
}

#[test]
fn a_subscription_is_held_to_its_rules() {
    spec_refused(
        "EventSubscription",
        json!({"match": {"types": ["t"]}}),
        &["spec.groupRef is required", "spec.trigger is required"],
    );
    let with = |matches: Value, trigger: Value| json!({"groupRef": "edge", "match": matches, "trigger": trigger});
    let trigger = || json!({"pluginRef": "derive"});
    let types = || json!({"types": ["t"]});
    spec_refused("EventSubscription", with(types(), json!({})), &["spec.trigger.pluginRef is required"]);
    for matches in [json!({}), json!({"types": []}), json!({"subjectPrefixes": ["10."]})] {
        spec_refused(
            "EventSubscription",
            with(matches, trigger()),
            &["spec.match.types is required (at least one type)"],
        );
    }
    spec_refused(
        "EventSubscription",
        with(json!({"types": [" "]}), trigger()),
        &["spec.match.types[0] must not be empty"],
    );
    for field in ["subjectPrefixes", "sourceNodes", "patterns"] {
        let matches = json!({"types": ["t"], field: ["x", ""]});
        spec_refused(
            "EventSubscription",
            with(matches, trigger()),
            &[&format!("spec.match.{field}[1] must not be empty")],
        );
    }
    let blank = json!({"types": ["t"], "payload": {" ": "x"}});
    spec_refused("EventSubscription", with(blank, trigger()), &["spec.match.payload has a blank key"]);
    let pattern = json!({"patterns": ["a.>.b"]});
    spec_refused(
        "EventSubscription",
        with(pattern, trigger()),
        &[
            "spec.match.patterns[0] must be a pattern such as routerd.client.*.observed: '>' can only be the last token of a pattern",
        ],
    );
}

#[test]
fn a_trigger_has_spans_and_a_limit_to_its_runs() {
    let with = |matches: Value, trigger: Value| json!({"groupRef": "edge", "match": matches, "trigger": trigger});
    let types = || json!({"types": ["t"]});
    for field in ["batchWindow", "debounce", "grace"] {
        let trigger = json!({"pluginRef": "derive", field: "soon"});
        let found = judged(&[resource(OURS, "EventSubscription", "x", with(types(), trigger))]).unwrap_err();
        assert!(found[0].contains(&format!("spec.trigger.{field} must be a Go duration: ")), "{found:?}");
    }
    let retry = json!({"pluginRef": "derive", "retry": {"maxAttempts": 0, "backoff": "0"}});
    spec_refused(
        "EventSubscription",
        with(types(), retry),
        &["spec.trigger.retry.backoff must be greater than 0", "spec.trigger.retry.maxAttempts must be >= 1"],
    );
    let retry = json!({"pluginRef": "derive", "retry": {"backoff": "2m"}});
    spec_refused(
        "EventSubscription",
        with(types(), retry),
        &["spec.trigger.retry.backoff must not be longer than maxBackoff"],
    );
    let whole = with(
        json!({"patterns": ["a.*.>"], "payload": {"k": ""}}),
        json!({"pluginRef": "derive", "batchWindow": "2s", "debounce": "-1s", "grace": "1m"}),
    );
    let declared = taken(&[group(), plugin(), resource(OURS, "EventSubscription", "x", whole)]);
    let spec = &declared.subscriptions()["x"];
    assert_eq!((spec.trigger.batch_window, spec.trigger.debounce), (Some(Duration::from_secs(2)), None));
    assert_eq!((spec.trigger.retry.max_attempts, spec.trigger.retry.backoff), (3, Duration::from_secs(1)));
    assert_eq!(
        (spec.trigger.retry.max_backoff, spec.trigger.grace),
        (Duration::from_secs(60), Duration::from_secs(60))
    );
    assert_eq!(spec.matches.payload["k"], "");
}

#[test]
fn an_slo_has_defaults_where_it_says_zero_and_its_thresholds_are_in_order() {
    spec_refused("FederationSLO", json!({}), &["spec.groupRef is required"]);
    let slo = |delivery: Value| json!({"groupRef": "edge", "delivery": delivery});
    let declared = taken(&[group(), resource(OURS, "FederationSLO", "s", slo(json!({"lagWarnSeconds": 0})))]);
    let spec = &declared.slos()["s"];
    let delivery = &spec.delivery;
    assert_eq!((delivery.lag_warn_seconds, delivery.lag_fail_seconds, delivery.expires_soon_seconds), (60, 180, 120));
    assert_eq!((spec.subscription.max_pending_runs, spec.subscription.max_failed_runs), (0, 0));
    assert!(declared.slo_of("edge").0 && !declared.slo_of("other").0);
    let order = |warn: u64, fail: u64| {
        format!("spec.delivery.lagWarnSeconds (effective {warn}) must be less than lagFailSeconds (effective {fail})")
    };
    spec_refused("FederationSLO", slo(json!({"lagWarnSeconds": 200})), &[&order(200, 180)]);
    spec_refused("FederationSLO", slo(json!({"lagFailSeconds": 60})), &[&order(60, 60)]);
    for field in ["lagWarnSeconds", "lagFailSeconds", "expiresSoonSeconds"] {
        spec_refused("FederationSLO", slo(json!({field: -1})), &[&format!("spec.delivery.{field} must be >= 0")]);
    }
    for field in ["maxPendingRuns", "maxFailedRuns"] {
        let spec = json!({"groupRef": "edge", "subscription": {field: -1}});
        spec_refused("FederationSLO", spec, &[&format!("spec.subscription.{field} must be >= 0")]);
    }
}

#[test]
fn a_plugin_is_held_to_its_rules() {
    spec_refused("Plugin", json!({}), &["spec.executable is required"]);
    spec_refused("Plugin", json!({"executable": "derive"}), &["spec.executable must be an absolute path"]);
    let with = |field: &str, value: Value| json!({"executable": "/bin/derive", field: value});
    spec_refused("Plugin", with("timeout", json!("0")), &["spec.timeout must be greater than 0"]);
    spec_refused("Plugin", with("timeout", json!("-1s")), &["spec.timeout must be greater than 0"]);
    spec_refused(
        "Plugin",
        with("capabilities", json!(["observe.events"])),
        &[
            "spec.capabilities[0] must be observe.cloud, observe.providerPrivateIPs, propose.dynamicConfig, propose.providerAction, or execute.providerAction",
        ],
    );
    spec_refused(
        "Plugin",
        with("triggers", json!([{"type": "cron"}])),
        &["spec.triggers[0].type must be interval or event"],
    );
    let every = "spec.triggers[0].every is required for interval triggers";
    spec_refused("Plugin", with("triggers", json!([{"type": "interval"}])), &[every]);
    spec_refused(
        "Plugin",
        with("triggers", json!([{"type": "interval", "every": "0"}])),
        &["spec.triggers[0].every must be greater than 0"],
    );
    spec_refused(
        "Plugin",
        with("context", json!({"resources": [{"kind": "Interface", "name": ""}]})),
        &["spec.context.resources[0].apiVersion is required", "spec.context.resources[0].name is required"],
    );
    spec_refused("Plugin", with("env", json!({"A=B": "x"})), &["spec.env \"A=B\" cannot be the name of a variable"]);
    spec_refused("Plugin", with("limits", json!({"stdoutBytes": 0})), &["spec.limits.stdoutBytes must be >= 1"]);
    let whole = json!({"executable": "/bin/derive", "capabilities": ["observe.cloud", "propose.dynamicConfig"],
        "env": {"A": "", "B": "x"}, "triggers": [{"type": "event", "topic": "t"}, {"type": "interval", "every": "1m"}]});
    let declared = taken(&[resource(OURS, "Plugin", "derive", whole)]);
    let spec = &declared.plugins()["derive"];
    assert_eq!(
        (spec.timeout, spec.limits.stdout_bytes, spec.limits.stderr_bytes),
        (Duration::from_secs(10), 4 << 20, 64 << 10)
    );
    assert_eq!(
        spec.capabilities.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["observe.cloud", "propose.dynamicConfig"]
    );
}

#[test]
fn a_source_is_accepted_and_said_not_to_run() {
    spec_refused("DynamicConfigSource", json!({}), &["spec.pluginRef is required", "spec.ttl is required"]);
    let with = |field: &str, value: Value| {
        let mut spec = json!({"pluginRef": "derive", "ttl": "5m"});
        spec[field] = value;
        spec
    };
    spec_refused("DynamicConfigSource", with("ttl", json!("0s")), &["spec.ttl must be greater than 0"]);
    let policy = json!({"conflict": "merge"});
    spec_refused(
        "DynamicConfigSource",
        with("mergePolicy", policy),
        &["spec.mergePolicy.conflict must be empty or reject"],
    );
    let source = resource(PLUGIN, "DynamicConfigSource", "s", with("mergePolicy", json!({"conflict": "reject"})));
    let warning = "is accepted and not run: an EventSubscription runs a plugin here";
    warned(&[plugin(), source], &[&format!("{PLUGIN}/DynamicConfigSource/s {warning}")]);
}

#[test]
fn a_policy_names_sources_and_whole_targets() {
    let rule = |rule: Value| json!({"allow": [rule]});
    spec_refused("DynamicOverridePolicy", rule(json!({"operations": ["mask"]})), &["spec.allow[0].source is required"]);
    let target = json!({"apiVersion": "net.routerd.net/v1alpha1", "kind": "Interface", "name": "wan"});
    let replace = json!({"source": "Plugin/p", "operations": ["replace"], "targets": [target]});
    spec_refused("DynamicOverridePolicy", rule(replace), &["spec.allow[0].operations[0] must be mask"]);
    let partial = json!({"source": "Plugin/p", "operations": ["mask"], "targets": [{"name": "wan"}]});
    spec_refused(
        "DynamicOverridePolicy",
        rule(partial),
        &["spec.allow[0].targets[0].apiVersion is required", "spec.allow[0].targets[0].kind is required"],
    );
    let whole = rule(json!({"source": "Plugin/p", "operations": ["mask"], "targets": [target]}));
    taken(&[resource(CONFIG, "DynamicOverridePolicy", "p", whole)]);
    taken(&[resource(CONFIG, "DynamicOverridePolicy", "p", json!({}))]);
    let of = json!({"source": "EventSubscription/gone", "operations": ["mask"], "targets": [target]});
    let warning = "spec.allow[0].source \"EventSubscription/gone\" is of no EventSubscription that exists";
    warned(
        &[resource(OURS, "DynamicOverridePolicy", "p", rule(of))],
        &[&format!("{OURS}/DynamicOverridePolicy/p {warning}")],
    );
}

#[test]
fn a_part_carries_resources_and_masks() {
    let target = json!({"apiVersion": "net.routerd.net/v1alpha1", "kind": "Interface", "name": "wan"});
    let whole = json!({"source": "Plugin/p", "generation": 3, "observedAt": "2026-01-31T12:00:00Z", "resources": [group()],
        "directives": [{"op": "mask", "target": target, "reason": "down"}], "actionPlans": [{"name": "x"}]});
    taken(&[resource(CONFIG, "DynamicConfigPart", "p", whole)]);
    spec_refused("DynamicConfigPart", json!({}), &["spec.source is required"]);
    let part = |field: &str, value: Value| json!({"source": "Plugin/p", field: value});
    spec_refused(
        "DynamicConfigPart",
        part("expiresAt", json!("tomorrow")),
        &["spec.expiresAt must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"],
    );
    spec_refused(
        "DynamicConfigPart",
        part("resources", json!([{"kind": "X"}])),
        &["spec.resources[0].apiVersion is required"],
    );
    spec_refused(
        "DynamicConfigPart",
        part("directives", json!([{"op": "drop", "target": target}])),
        &["spec.directives[0].op must be mask"],
    );
}

#[test]
fn a_node_set_and_a_pool_are_held_to_what_is_read_of_them() {
    spec_refused("SAMNodeSet", json!({}), &["spec.nodes is required"]);
    spec_refused("SAMNodeSet", json!({"nodes": []}), &["spec.nodes requires at least 1"]);
    let node = |field: &str, value: Value| json!({"nodes": [{"nodeRef": "a", field: value}]});
    spec_refused("SAMNodeSet", json!({"nodes": [{"site": "x"}]}), &["spec.nodes[0].nodeRef is required"]);
    spec_refused(
        "SAMNodeSet",
        json!({"nodes": [{"nodeRef": "a"}, {"nodeRef": "a"}]}),
        &["spec.nodes[1].nodeRef \"a\" is duplicated"],
    );
    spec_refused("SAMNodeSet", node("role", json!("hub")), &["spec.nodes[0].role must be empty, onprem, or cloud"]);
    spec_refused(
        "SAMNodeSet",
        node("eventEndpoint", json!("ftp://a")),
        &["spec.nodes[0].eventEndpoint must use http or https"],
    );
    spec_refused(
        "SAMNodeSet",
        node("macAddresses", json!(["aa:bb"])),
        &["spec.nodes[0].macAddresses[0] \"aa:bb\" is no MAC address"],
    );
    spec_refused("SAMNodeSet", node("samEndpoint", json!("::1")), &["spec.nodes[0].samEndpoint must be IPv4"]);
    let pool =
        |prefix: &str| json!({"prefix": prefix, "groupRef": "edge", "membersFrom": [{"resource": "SAMNodeSet/all"}]});
    let set = || resource(OURS, "SAMNodeSet", "all", nodes());
    taken(&[group(), set(), resource(MOBILITY, "MobilityPool", "p", pool("10.88.60.0/24"))]);
    spec_refused("MobilityPool", pool("10.88.60.1"), &["spec.prefix must be a CIDR"]);
    spec_refused("MobilityPool", pool("2001:db8::/64"), &["spec.prefix must be an IPv4 CIDR"]);
    spec_refused(
        "MobilityPool",
        json!({"prefix": "10.0.0.0/8", "groupRef": "edge"}),
        &["spec.membersFrom requires at least one SAMNodeSet source"],
    );
    let two = [
        group(),
        set(),
        resource(OURS, "MobilityPool", "p", pool("10.0.0.0/8")),
        resource(OURS, "MobilityPool", "q", pool("10.88.60.0/24")),
    ];
    refused(&two, &["tidings.dev/v1/MobilityPool/q spec.prefix overlaps that of tidings.dev/v1/MobilityPool/p"]);
    refused(
        &[set(), resource(OURS, "MobilityPool", "p", pool("10.0.0.0/8"))],
        &["tidings.dev/v1/MobilityPool/p spec.groupRef must reference a local EventGroup with spec.nodeName"],
    );
}

#[test]
fn a_claim_is_an_address_or_a_prefix() {
    for address in ["10.88.60.9/32", "10.88.60.9", "2001:db8::1/128"] {
        taken(&[resource(OURS, "AddressClaim", "c", json!({"address": address, "node": "a"}))]);
    }
    let reason = "spec.address must be an IP address or a CIDR, such as 10.88.60.9/32";
    spec_refused("AddressClaim", json!({"address": "10.88.60"}), &[reason]);
    refused(
        &[resource(FEDERATION, "AddressClaim", "c", json!({"address": "10.0.0.1"}))],
        &[&format!("{FEDERATION}/AddressClaim/c kind must use apiVersion tidings.dev/v1")],
    );
}

#[test]
fn a_hub_link_names_another_hub() {
    let declared =
        taken(&[resource(OURS, "HubLink", "east", json!({"address": "hub.east:7100", "rooms": ["ITB-1101"]}))]);
    assert_eq!(declared.hub_links()["east"].rooms, ["ITB-1101"]);
    for address in ["ws://10.0.0.7:7100", "wss://hub.example", "hub", "[::1]:7100"] {
        taken(&[resource(OURS, "HubLink", "h", json!({"address": address}))]);
    }
    spec_refused("HubLink", json!({"address": "http://hub"}), &["spec.address must use ws or wss"]);
    spec_refused("HubLink", json!({"address": "ws://:7100"}), &["spec.address must include a host"]);
    spec_refused("HubLink", json!({"address": "hub:0"}), &["spec.address has a port that is not 1..65535"]);
}

#[test]
fn a_repeater_target_has_rooms_and_patience() {
    let spec = json!({"address": "http://10.0.0.9/events", "rooms": ["*"]});
    let declared = taken(&[resource(OURS, "RepeaterTarget", "t", spec)]);
    let target = &declared.repeater_targets()["t"];
    let waits = (target.timeout, target.idle, target.retry.backoff);
    assert_eq!(waits, (Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(1)));
    assert_eq!(target.retry.max_attempts, 3);
    let reason = "spec.address must use ws, wss, http or https";
    spec_refused("RepeaterTarget", json!({"address": "ftp://x", "rooms": ["a"]}), &[reason]);
    spec_refused(
        "RepeaterTarget",
        json!({"address": "x", "rooms": ["a"], "retry": {"backoff": "2m"}}),
        &["spec.retry.backoff must not be longer than maxBackoff"],
    );
}

#[test]
fn a_view_says_what_a_message_is_about_and_what_is_kept() {
    let spec = json!({
        "stream": "AUTH", "filters": ["auth.user.*.*"], "key": {"tokens": [3]}, "ttl": "24h",
        "remove": {"subjects": ["auth.user.*.deleted"]}, "version": {"path": "metadata.version"},
        "fields": ["username", "profile.display_name"], "limits": {"rows": 1000},
    });
    let declared = taken(&[resource(OURS, "View", "users", spec)]);
    let view = &declared.views()["users"];
    assert_eq!((view.ttl, view.remove.empty, view.limits.rows), (Some(Duration::from_secs(86_400)), true, 1000));
    taken(&[resource(OURS, "View", "all", json!({"stream": "S"}))]);
    spec_refused("View", json!({}), &["spec.stream is required"]);
    spec_refused(
        "View",
        json!({"stream": "S", "filters": ["a..b"]}),
        &[
            "spec.filters[0] must be a pattern such as user.*.deleted: a subject cannot have an empty token (a dot at an end, or two in a row)",
        ],
    );
    let two = json!({"stream": "S", "key": {"tokens": [1], "path": "a"}});
    let reason = "spec.key says 2 places, where one of tokens, attribute, header and path may be said";
    spec_refused("View", two, &[reason]);
    spec_refused(
        "View",
        json!({"stream": "S", "key": {"path": "a..b"}}),
        &["spec.key.path is no path such as user.id or items[0].name: no plain name at byte 1"],
    );
    spec_refused(
        "View",
        json!({"stream": "S", "fields": ["a.x", "b.x"]}),
        &["spec.fields[1] would be called \"x\", as another is"],
    );
    spec_refused(
        "View",
        json!({"stream": "S", "filters": ["a.*"], "key": {"tokens": [3]}}),
        &["spec.key.tokens names token 3, where subjects of \"a.*\" have 2"],
    );
    spec_refused("View", json!({"stream": "S", "key": {"tokens": [0]}}), &["spec.key.tokens[0] must be >= 1"]);
}

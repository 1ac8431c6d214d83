//! What a plugin is asked and may answer, and what its part looks like.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use event::{Fact, Moment};
use plan::{
    Document, Part, PluginRequest, PluginResult, PluginSpec, Trigger, context, documents, part_source, redacted,
};
use serde_json::{Value, json};

fn plugin(capabilities: &[&str]) -> PluginSpec {
    let spec = json!({"executable": "/usr/local/bin/claims", "capabilities": capabilities,
        "context": {"resources": [{"apiVersion": "net.routerd.net/v1alpha1", "kind": "Interface", "name": "wan"},
            {"apiVersion": "net.routerd.net/v1alpha1", "kind": "Interface", "name": "none"}]}});
    serde_json::from_value(spec).unwrap()
}

fn noon() -> Moment {
    Moment::parse("2026-11-21T12:00:00Z").unwrap()
}

#[test]
fn a_source_is_made_of_the_ids_in_any_order() {
    let qualified = "qual-healthy-20260618T100643Z-federation-qual-c1-1781777210";
    assert_eq!(part_source("s", &[qualified]), "EventSubscription/s/fcdeb463c2b24254");
    assert_eq!(part_source("s", &["evt-1"]), "EventSubscription/s/7b409f932d2c88e9");
    assert_eq!(part_source("s", &["evt-2", "evt-1"]), "EventSubscription/s/493d056058eaa80d");
}

#[test]
fn a_request_is_what_routerd_sends() {
    let mut fact = Fact::new("edge", "evt-1", "routerd.client.ipv4.observed");
    fact.source = "site-a".into();
    fact.subject = "10.88.60.9/32".into();
    fact.payload.insert("mac".into(), "aa:bb".into());
    fact.observed = Some(noon());
    let base = documents(json!([{"apiVersion": "net.routerd.net/v1alpha1", "kind": "Interface",
        "metadata": {"name": "wan"}, "spec": {"ifname": "ens18", "psk": "hidden"}}]))
    .unwrap();
    let request = PluginRequest {
        plugin: "claims",
        trigger: Trigger::subscription("sub"),
        now: noon(),
        facts: &[Arc::new(fact)],
        previous_generation: 0,
        idempotency_key: String::new(),
        context: context(&plugin(&[]).context.resources, &base),
    };
    assert_eq!(
        request.to_json(),
        json!({
            "apiVersion": "plugin.routerd.net/v1alpha1", "kind": "PluginRequest", "metadata": {"name": "claims"},
            "spec": {
                "trigger": {"type": "federation-subscription", "topic": "routerd.federation.subscription/sub"},
                "startupConfigHash": "", "effectiveGeneration": 0, "previousDynamicGeneration": 0,
                "now": "2026-11-21T12:00:00Z",
                "events": [{"id": "evt-1", "group": "edge", "sourceNode": "site-a",
                    "type": "routerd.client.ipv4.observed", "subject": "10.88.60.9/32", "dedupeKey": "evt-1",
                    "payload": {"mac": "aa:bb"}, "observedAt": "2026-11-21T12:00:00Z",
                    "expiresAt": "0001-01-01T00:00:00Z"}],
                "context": {"resources": [{"apiVersion": "net.routerd.net/v1alpha1", "kind": "Interface",
                    "name": "wan", "spec": {"ifname": "ens18", "psk": ""}}]},
            },
        })
    );
    assert_eq!(context(&[], &base), json!({}));
}

#[test]
fn secrets_are_blanked_and_where_they_lie_is_not_told() {
    let spec = json!({
        "keyFile": "/k", "SecretFile": "/s", "passwordFile": "/p", "configFile": "/etc/x",
        "secretRef": "x", "adminPassword": "x", "tokens": ["a"], "credential": {"a": 1}, "authKey": 5, "wpaPSK": "x",
        "privateKey": null,
        "authFrom": {"file": "/f"}, "valueFrom": {"file": "/f", "other": 1}, "emptyFrom": {}, "routesFrom": ["a"],
        "peers": [{"presharedKey": "x", "endpoint": "a"}],
    });
    let shown = json!({
        "configFile": "/etc/x", "secretRef": "", "adminPassword": "", "tokens": "", "authKey": "", "wpaPSK": "",
        "privateKey": "",
        "valueFrom": {"file": "/f", "other": 1}, "emptyFrom": {}, "routesFrom": ["a"],
        "peers": [{"presharedKey": "", "endpoint": "a"}],
    });
    assert_eq!(redacted(&spec), shown);
}

fn result() -> Value {
    json!({
        "apiVersion": "plugin.routerd.net/v1alpha1", "kind": "PluginResult", "metadata": {"name": "claims"},
        "status": {
            "observedAt": "2026-11-21T11:59:00Z", "ttl": "5m",
            "resources": [{"apiVersion": "tidings.dev/v1", "kind": "AddressClaim", "metadata": {"name": "c"},
                "spec": {"address": "10.88.60.9/32"}}],
            "directives": [{"op": "mask", "target": {"apiVersion": "a/v1", "kind": "K", "name": "n"}, "reason": "r"}],
            "actionPlans": [{"name": "assign", "provider": "aws", "action": "assign-secondary-ip",
                "target": {"address": "10.88.60.9", "nicRef": 7}, "undo": {"action": "unassign-secondary-ip"}}],
            "events": [{"type": "seen", "message": "m", "attributes": {"count": 3}}],
        },
    })
}

const ALL: [&str; 3] = ["propose.dynamicConfig", "propose.providerAction", "observe.cloud"];

#[test]
fn a_result_becomes_a_part() {
    let read = PluginResult::parse(&result(), &plugin(&ALL)).unwrap();
    assert_eq!(read.action_plans[0].target["nicRef"], "7");
    assert_eq!(read.events[0].attributes["count"], "3");
    let mut part = read.into_part("Plugin/claims", 7, noon());
    assert_eq!(part.name(), "Plugin-claims-7");
    assert_eq!(part.expires, Some(noon().after(Duration::from_secs(240))));
    assert_eq!(part.digest, "dfd9146ed0eda8ec4369c75349095f78cf7a4accd73dc848004d543c219c2368");
    let mut fact = Fact::new("edge", "evt-1", "t");
    fact.subject = "10.88.60.9/32".into();
    part.annotate("sub", &[Arc::new(fact), Arc::new(Fact::new("edge", "evt-0", "t"))]);
    let annotations: Vec<(&str, &str)> =
        part.resources[0].annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let wanted = [
        ("routerd.net/dynamic-source", "EventSubscription/sub"),
        ("routerd.net/event-group", "edge"),
        ("routerd.net/event-id", "evt-0,evt-1"),
        ("routerd.net/event-subject", "10.88.60.9/32"),
    ];
    assert_eq!(annotations, wanted);
    assert_eq!(plan::digest(&part.resources, &part.directives), part.digest);
    assert_eq!(Part::from_json(&part.to_json()).as_ref(), Ok(&part));
    let as_document: Vec<Document> = documents(part.to_json()).unwrap();
    assert!(plan::check(as_document).is_ok());
}

#[track_caller]
fn refused(pointer: &str, value: Value, text: &str) {
    let mut result = result();
    *result.pointer_mut(pointer).unwrap() = value;
    assert_eq!(PluginResult::parse(&result, &plugin(&ALL)).unwrap_err().to_string(), text);
}

#[test]
fn a_result_that_is_wrong_is_refused_with_the_field() {
    refused("", json!(null), "PluginResult kind must be PluginResult");
    refused("/apiVersion", json!("v1"), "PluginResult apiVersion must be plugin.routerd.net/v1alpha1");
    refused("/kind", json!("PluginRequest"), "PluginResult kind must be PluginResult");
    refused("/status/ttl", json!(null), "PluginResult status.ttl is required");
    refused("/status/ttl", json!("0s"), "PluginResult status.ttl must be more than 0");
    refused("/status/ttl", json!(300), "PluginResult status.ttl must be a span of time with a unit, such as 5m");
    refused("/status/resources", json!({}), "PluginResult status.resources must be a list");
    refused("/status/resources/0/kind", json!(""), "PluginResult status.resources[0].kind is required");
    refused(
        "/status/resources/0/spec",
        json!([]),
        "PluginResult status.resources[0].spec is required and must be a mapping",
    );
    refused("/status/directives/0/op", json!("replace"), "PluginResult status.directives[0].op must be mask");
    refused(
        "/status/directives/0/target/name",
        json!(" "),
        "PluginResult status.directives[0].target.name is required",
    );
    let plan = "/status/actionPlans/0";
    let at = "PluginResult status.actionPlans[0]";
    refused(&format!("{plan}/provider"), json!("ibm"), &format!("{at}.provider must be one of aws, azure, oci, gcp"));
    refused(
        &format!("{plan}/target"),
        json!({"address": "a"}),
        &format!("{at}.target.nicRef is required for assign-secondary-ip"),
    );
    refused(
        &format!("{plan}/target"),
        json!({"address": "a", "nicRef": "n", "captureStrategy": "route-table"}),
        &format!("{at}.target.routeTableRef is required for assign-secondary-ip"),
    );
    refused(
        &format!("{plan}/undo/action"),
        json!("undo"),
        &format!(
            "{at}.undo.action must be one of assign-secondary-ip, unassign-secondary-ip, assign-route-table-route, unassign-route-table-route, ensure-forwarding-enabled, ensure-forwarding-disabled"
        ),
    );
    let mut executing = result();
    executing["status"]["actionPlans"][0]["mode"] = json!("execute");
    let every = plugin(&["propose.dynamicConfig", "propose.providerAction", "observe.cloud", "execute.providerAction"]);
    let error = PluginResult::parse(&executing, &every).unwrap_err().to_string();
    assert_eq!(error, format!("{at}.mode cannot be execute: plans are shown, never executed"));
}

#[test]
fn what_a_plugin_may_not_propose_is_refused_with_the_capability() {
    let refused = |capabilities: &[&str], keep: &str, text: &str| {
        let mut result = result();
        for key in ["resources", "directives", "actionPlans", "events"].iter().filter(|key| **key != keep) {
            result["status"][*key] = json!([]);
        }
        let judged = PluginResult::parse(&result, &plugin(capabilities));
        assert_eq!(judged.map_err(|error| error.to_string()).err().unwrap_or_default(), text);
    };
    let text = |field: &str, names: &str| {
        format!("PluginResult status.{field} needs the capability {names}, which the plugin does not have")
    };
    refused(&[], "none", "");
    refused(&ALL[1..], "resources", &text("resources", "propose.dynamicConfig"));
    refused(&ALL[1..], "directives", &text("directives", "propose.dynamicConfig"));
    refused(&["execute.providerAction"], "actionPlans", &text("actionPlans", "propose.providerAction"));
    refused(&ALL[..2], "events", &text("events", "observe.cloud or observe.providerPrivateIPs"));
    refused(&["observe.providerPrivateIPs"], "events", "");
}

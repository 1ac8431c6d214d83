//! Strangers' bytes as the result of a plugin: judged without panic, and what is taken keeps its
//! promises: it is what the plugin may propose, it makes a part that reads back the same, and the merge
//! takes it or says why not.
//!
//! Run with a fuzzer: `cargo bolero test -p plan results`. With `cargo test` it takes its corpus and a
//! bounded number of random inputs.

#![allow(clippy::unwrap_used, reason = "a test")]

use event::Moment;
use plan::{Part, PluginResult, PluginSpec, PolicySpec, effective, redacted};
use serde_json::{Value, json};

/// Inputs with `cargo test`: a second or so.
const ITERATIONS: usize = 20_000;

/// Random bytes seldom make a result: they choose among its words, and what they choose stands anywhere.
fn spelt(input: &[u8], depth: usize, at: &mut usize) -> Value {
    const KEYS: [&str; 24] = [
        "apiVersion",
        "kind",
        "metadata",
        "name",
        "spec",
        "status",
        "observedAt",
        "ttl",
        "resources",
        "directives",
        "actionPlans",
        "events",
        "op",
        "target",
        "reason",
        "provider",
        "action",
        "mode",
        "type",
        "attributes",
        "passwordFrom",
        "secretFile",
        "annotations",
        "address",
    ];
    const TEXTS: [&str; 16] = [
        "plugin.routerd.net/v1alpha1",
        "PluginResult",
        "tidings.dev/v1",
        "AddressClaim",
        "Plugin",
        "Interface",
        "5m",
        "-1s",
        "2026-11-21T08:00:00Z",
        "0001-01-01T00:00:00Z",
        "mask",
        "aws",
        "ensure-forwarding-enabled",
        "execute",
        "10.0.0.9/32",
        "",
    ];
    let mut next = || {
        *at += 1;
        usize::from(input.get(*at).copied().unwrap_or_default())
    };
    match (next() % 8, depth) {
        (0, _) => Value::Null,
        (1, _) => json!(next()),
        (2, 1..) => {
            let count = next() % 4;
            (0..count).map(|_| spelt(input, depth - 1, at)).collect()
        }
        (3..6, 1..) => {
            let count = next() % 6;
            let keys: Vec<usize> = (0..count).map(|_| next()).collect();
            let pairs = keys.into_iter().map(|key| (KEYS[key % KEYS.len()].to_string(), spelt(input, depth - 1, at)));
            Value::Object(pairs.collect())
        }
        _ => json!(TEXTS[next() % TEXTS.len()]),
    }
}

/// A good result in which one place says something else.
fn bent(input: &[u8]) -> Value {
    let mut at = 0;
    let mut value = json!({
        "apiVersion": "plugin.routerd.net/v1alpha1", "kind": "PluginResult",
        "status": {
            "observedAt": "2026-11-21T08:00:00Z", "ttl": "5m",
            "resources": [{"apiVersion": "tidings.dev/v1", "kind": "AddressClaim", "metadata": {"name": "c"},
                "spec": {"address": "10.0.0.9/32"}}],
            "directives": [{"op": "mask", "target": {"apiVersion": "a/v1", "kind": "K", "name": "n"}}],
            "actionPlans": [{"name": "p", "provider": "aws", "action": "ensure-forwarding-enabled", "target": {}}],
            "events": [{"type": "t", "message": "m", "attributes": {"a": 1}}],
        },
    });
    let mut path = String::new();
    for byte in input.iter().take(5) {
        let step = match value.pointer(&path) {
            Some(Value::Object(map)) if !map.is_empty() => map.keys().nth(usize::from(*byte) % map.len()).cloned(),
            Some(Value::Array(items)) if !items.is_empty() => Some((usize::from(*byte) % items.len()).to_string()),
            _ => None,
        };
        let Some(step) = step else { break };
        path = format!("{path}/{step}");
    }
    *value.pointer_mut(&path).unwrap() = spelt(input, 3, &mut at);
    value
}

fn hold(value: &Value) {
    let may = json!({"executable": "/bin/true", "capabilities": ["propose.dynamicConfig", "propose.providerAction", "observe.cloud"]});
    let plugin: PluginSpec = serde_json::from_value(may).unwrap();
    let powerless = PluginSpec { capabilities: Vec::new(), ..plugin.clone() };
    let Ok(result) = PluginResult::parse(value, &plugin) else {
        assert!(PluginResult::parse(value, &powerless).is_err());
        return;
    };
    assert!(!result.ttl.is_zero());
    let empty = result.resources.is_empty()
        && result.directives.is_empty()
        && result.action_plans.is_empty()
        && result.events.is_empty();
    assert_eq!(PluginResult::parse(value, &powerless).is_ok(), empty);
    let now = Moment::parse("2026-11-21T08:01:00Z").unwrap();
    let part = result.into_part("Plugin/x", 1, now);
    assert_eq!(Part::from_json(&part.to_json()).as_ref(), Ok(&part));
    assert!(part.action_plans.iter().all(|plan| plan.mode != "execute"));
    let merged = effective(&[], std::iter::empty::<&PolicySpec>(), std::slice::from_ref(&part), now);
    let judged = merged.active.len() + merged.quarantined.len() + merged.expired.len();
    assert_eq!(judged, 1);
    assert!(merged.quarantined.is_empty() || merged.resources.is_empty());
}

#[test]
fn results() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        if let Ok(value) = serde_json::from_slice::<Value>(input) {
            hold(&value);
        }
        let mut at = 0;
        hold(&spelt(input, 6, &mut at));
        let value = bent(input);
        hold(&value);
        assert_eq!(redacted(&redacted(&value)), redacted(&value));
    });
}

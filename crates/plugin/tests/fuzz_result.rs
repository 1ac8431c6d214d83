//! Strangers' bytes: whatever a plugin writes, it is read without panic and within bounds.
//!
//! Run with a fuzzer: `cargo bolero test -p plugin results`. With `cargo test` a bounded number of random
//! inputs is taken.

#![allow(clippy::unwrap_used, reason = "a test")]

use plugin::{RESULT_NODES_MAX, parse_result};
use serde_json::Value;

/// Inputs with `cargo test`: a second or so.
const ITERATIONS: usize = 20_000;

const RESULTS: [&str; 3] = [
    r#"{"kind":"PluginResult","status":{"observedAt":"2026-01-31T12:00:00Z","ttl":"10m","resources":[{"a":1.5}]}}"#,
    "kind: PluginResult\nstatus:\n  ttl: 10m\n  resources:\n    - &a {apiVersion: v1, kind: X}\n    - *a\n",
    "a: &a [x, x]\nb: &b [*a, *a]\nc:\n  <<: {d: !!str 5}\n  e: |\n    text\n...\n",
];

/// Where the first byte says so, the input is a list of changes to one of the results, three bytes each:
/// where, how, what.
fn changed(input: &[u8]) -> Vec<u8> {
    let Some((choice, changes)) = input.split_first() else { return Vec::new() };
    let Some(seed) = RESULTS.get(usize::from(*choice) % (RESULTS.len() + 1)) else { return changes.to_vec() };
    let mut bytes = seed.as_bytes().to_vec();
    for change in changes.chunks_exact(3).take(6) {
        let &[place, how, what] = change else { break };
        let place = usize::from(place) * (bytes.len() + 1) / 256;
        match how % 3 {
            0 => bytes.insert(place, what),
            1 if place < bytes.len() => _ = bytes.remove(place),
            _ => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = what),
        }
    }
    bytes
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(members) => members.values().map(nodes).sum(),
        _ => 0,
    }
}

#[test]
fn results() {
    for text in RESULTS {
        parse_result(text.as_bytes()).unwrap();
    }
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        if let Ok(value) = parse_result(&changed(input)) {
            assert!(value.is_object() && nodes(&value) <= RESULT_NODES_MAX);
            // What was read is JSON, and JSON is read as the same.
            assert_eq!(parse_result(value.to_string().as_bytes()).unwrap(), value);
        }
    });
}

//! Strangers' documents: judged without panic, read back as they were written, and what is taken is
//! taken again.
//!
//! Run with a fuzzer: `cargo bolero test -p plan documents_of_bytes`. With `cargo test` each target takes
//! its corpus and a bounded number of random inputs.

#![allow(clippy::unwrap_used, reason = "a test")]

use plan::{Document, KINDS, check, diff, documents, duration, explain, schema_of};
use serde_json::{Map, Value, json};

/// Inputs of each target with `cargo test`: some seconds.
const ITERATIONS: usize = 20_000;

/// What must hold of any documents.
fn judge(value: Value) {
    let Ok(found) = documents(value) else { return };
    for document in &found {
        assert_eq!(documents(document.to_json()).as_deref(), Ok(std::slice::from_ref(document)));
        assert_eq!(diff(Some(document), Some(document)), []);
    }
    for pair in found.windows(2) {
        let (old, new): (&Document, &Document) = (&pair[0], &pair[1]);
        let same = old.spec == new.spec && old.annotations == new.annotations && old.owner_refs == new.owner_refs;
        assert_eq!(diff(Some(old), Some(new)).is_empty(), same);
    }
    match check(found.clone()) {
        Ok(declared) => {
            assert_eq!(declared.documents(), found);
            assert!(found.iter().all(|document| declared.get(&document.identity()) == Some(document)));
            for (name, group) in declared.groups() {
                assert!(declared.peers_of(name).iter().all(|peer| peer.name != group.node_name));
            }
            assert_eq!(check(declared.documents().to_vec()), Ok(declared));
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            assert!(faults.iter().all(|fault| !fault.resource.is_empty() && !fault.reason.is_empty()));
        }
    }
}

/// Spends bytes as choices.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.next() % of.len()].clone()
    }
}

/// A value that is near what the schema says: right mostly, wrong sometimes.
fn near(schema: &Value, choices: &mut Choices<'_>, depth: usize) -> Value {
    const TEXTS: [&str; 14] = [
        "",
        " ",
        "edge",
        "a",
        "SAMNodeSet/all",
        "/bin/x",
        "5m",
        "-1s",
        "10.88.60.0/24",
        "http://b:1",
        "a.*.>",
        "mask",
        "\u{0}\u{202e}é",
        "default",
    ];
    if choices.next().is_multiple_of(16) || depth > 6 {
        return choices.one(&[
            Value::Null,
            json!(0),
            json!(-1),
            json!(1.5),
            json!(u64::MAX),
            json!([]),
            json!({}),
            json!("x"),
            json!(true),
        ]);
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
        return choices.one(allowed);
    }
    if let Some(fixed) = schema.get("const") {
        return fixed.clone();
    }
    let types = schema.get("type").map(|found| found.as_array().cloned().unwrap_or_else(|| vec![found.clone()]));
    match types.and_then(|types| types[0].as_str().map(str::to_owned)).as_deref() {
        Some("object") => {
            let mut map = Map::new();
            for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if !choices.next().is_multiple_of(3) {
                    map.insert(name.clone(), near(field, choices, depth + 1));
                }
            }
            if choices.next().is_multiple_of(16) || schema.get("properties").is_none() {
                map.insert(choices.one(&TEXTS).into(), near(&json!({"type": "string"}), choices, depth + 1));
            }
            Value::Object(map)
        }
        Some("array") => {
            let items = schema.get("items").cloned().unwrap_or_default();
            (0..choices.next() % 3).map(|_| near(&items, choices, depth + 1)).collect()
        }
        Some("integer") => choices.one(&[json!(0), json!(1), json!(8787), json!(65_536)]),
        Some("boolean") => choices.one(&[json!(true), json!(false)]),
        _ => choices.one(&TEXTS).into(),
    }
}

#[test]
fn documents_of_bytes() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        if let Ok(value) = serde_json::from_slice(input) {
            judge(value);
        }
    });
}

#[test]
fn documents_near_their_schemas() {
    let schemas: Vec<Value> = KINDS.iter().map(|kind| schema_of(kind.name).unwrap()).collect();
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let mut choices = Choices(input);
        let count = 1 + choices.next() % 4;
        judge(
            (0..count)
                .map(|_| {
                    let schema = choices.one(&schemas);
                    near(&schema, &mut choices, 0)
                })
                .collect(),
        );
    });
}

#[test]
fn spans_and_paths_of_bytes() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let _ = duration::parse(text);
        if let Ok(told) = explain(text) {
            assert_eq!(explain(&told.path).as_ref(), Ok(&told));
        }
    });
}

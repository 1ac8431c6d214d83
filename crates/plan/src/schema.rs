//! JSON Schemas of the kinds, for editors, checkers and `explain`.
//!
//! Draft 2020-12, one for a document of each kind, with nothing referred to, and one for a document of
//! any kind. Beside the standard's keywords stand `x-duration` (a span in Go's syntax: `positive` must
//! be greater than zero, `optional` says nothing at zero) and `x-zero` (`default`: 0 stands for the
//! default). Schemas are of our own documents: routerd's may have fields that are not here.

use alloc::vec;
use alloc::vec::Vec;

use serde_json::{Map, Value, json};

use crate::document::{API_VERSION, NAME_BYTES_MAX, ROUTER_API_VERSION};
use crate::kinds::{KINDS, Kind};

/// The dialect.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of a document of the kind; `None`: there is no such kind.
pub fn schema_of(kind: &str) -> Option<Value> {
    Kind::named(kind).map(of_kind)
}

/// The schemas of the documents of every kind.
pub fn schemas() -> impl Iterator<Item = (&'static Kind, Value)> {
    KINDS.iter().map(|kind| (kind, of_kind(kind)))
}

/// The schema of a document of any kind, of a list of them, or of routerd's `Router`. A kind that is not
/// ours passes, as an operator's own does.
pub fn schema_of_any() -> Value {
    let kinds: Vec<Value> = KINDS.iter().map(|kind| {
        let versions: Vec<&str> = kind.api_versions().collect();
        let is = json!({"properties": {"kind": {"const": kind.name}, "apiVersion": {"enum": versions}}, "required": ["kind", "apiVersion"]});
        json!({"if": is, "then": without_dialect(of_kind(kind))})
    }).collect();
    let ours: Vec<&str> = KINDS.iter().map(|kind| kind.name).chain(["Router"]).collect();
    let mut all = kinds;
    all.push(json!({
        "if": {"properties": {"apiVersion": {"const": API_VERSION}}, "required": ["apiVersion"]},
        "then": {"properties": {"kind": {"enum": ours}}},
    }));
    all.push(json!({
        "if": {"properties": {"kind": {"const": "Router"}, "apiVersion": {"enum": [ROUTER_API_VERSION, API_VERSION]}}, "required": ["kind", "apiVersion"]},
        "then": {"properties": {"spec": {"properties": {"resources": {"type": "array", "items": {"$ref": "#/$defs/resource"}}}}}},
    }));
    json!({
        "$schema": DIALECT,
        "title": "Resources of Tidings",
        "description": "One resource, or a list of them.",
        "$defs": {"resource": {
            "type": "object",
            "properties": {
                "apiVersion": {"type": "string", "description": "tidings.dev/v1, or the version of whoever's kind it is."},
                "kind": {"type": "string", "description": "What it is."},
            },
            "required": ["apiVersion", "kind", "metadata"],
            "allOf": all,
        }},
        "if": {"type": "array"},
        "then": {"items": {"$ref": "#/$defs/resource"}},
        "else": {"$ref": "#/$defs/resource"},
    })
}

fn without_dialect(mut schema: Value) -> Value {
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
    }
    schema
}

fn of_kind(kind: &'static Kind) -> Value {
    let versions: Vec<&str> = kind.api_versions().collect();
    let mut spec = without_dialect(kind.spec_schema().to_value());
    if let Some(map) = spec.as_object_mut() {
        map.remove("title");
    }
    let needs_spec = spec.get("required").and_then(Value::as_array).is_some_and(|required| !required.is_empty());
    let mut required = vec!["apiVersion", "kind", "metadata"];
    required.extend(needs_spec.then_some("spec"));
    let mut properties = Map::new();
    properties
        .insert("apiVersion".into(), json!({"enum": versions, "description": "Whose rules hold: ours, or routerd's."}));
    properties.insert("kind".into(), json!({"const": kind.name, "description": "What it is."}));
    properties.insert("metadata".into(), metadata());
    properties.insert("spec".into(), spec);
    properties.insert("status".into(), json!({"description": "What tools report of it; not read."}));
    json!({
        "$schema": DIALECT,
        "title": kind.name,
        "description": kind.doc,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn metadata() -> Value {
    json!({
        "type": "object",
        "description": "What it is known by.",
        "properties": {
            "name": {
                "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": "^[^/]+$",
                "description": "Unique in its kind. It holds neither '/' nor control characters.",
            },
            "annotations": {
                "type": "object", "additionalProperties": {"type": "string"},
                "description": "What tools say of it; it means nothing here.",
            },
            "ownerRefs": {
                "type": "array", "items": {"type": "object"},
                "description": "Whose it is, each by apiVersion, kind and name; carried.",
            },
        },
        "required": ["name"],
        "additionalProperties": false,
    })
}

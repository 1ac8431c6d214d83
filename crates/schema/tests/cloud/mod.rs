//! The schemas that tests use.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses its part, and ends where it cannot go on")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use event::{Message, Subject};
use serde_json::{Value, json};
use std::path::Path;

/// The descriptor set of the test's messages, in base64.
pub fn descriptor() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = [folder.join("cloud.proto"), folder.join("shapes.proto")];
    STANDARD.encode(schema::compile_proto(&files, &[]).unwrap())
}

/// A schema of one message, with more or other fields of its `spec`.
pub fn protobuf(message: &str, extra: Value) -> Value {
    let mut spec = json!({
        "subjects": ["cluster.metrics"], "type": "protobuf", "message": message, "descriptor": descriptor(),
    });
    for (name, value) in extra.as_object().unwrap() {
        spec[name] = value.clone();
    }
    json!({"apiVersion": "tidings.dev/v1", "kind": "Schema", "metadata": {"name": "p"}, "spec": spec})
}

/// A schema of events about accounts.
pub fn json_schema() -> Value {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["metadata", "user_id", "username"],
        "properties": {
            "metadata": {
                "type": "object",
                "required": ["event_id", "entity_id", "timestamp", "source"],
                "properties": {"timestamp": {"type": "integer"}, "source": {"const": "auth-service"}},
            },
            "user_id": {"$ref": "#/$defs/id"},
            "username": {"type": "string", "minLength": 1},
        },
        "$defs": {"id": {"type": "string", "pattern": "^[0-9A-Za-z]{6}$"}},
    });
    json!({"apiVersion": "tidings.dev/v1", "kind": "Schema", "metadata": {"name": "accounts"},
        "spec": {"subjects": ["auth.user.*.*"], "type": "json", "schema": schema}})
}

/// A message of some bytes.
pub fn message(subject: &str, data: &[u8]) -> Message {
    Message::new(Subject::parse(subject).unwrap(), data.to_vec())
}

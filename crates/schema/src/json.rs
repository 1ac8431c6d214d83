//! JSON Schema: a validator that is compiled once, knows no network and no file, and whose regular
//! expressions run in linear time.
//!
//! References lead within the schema itself. A schema is an operator's work: one whose branches recurse
//! twice into the same value costs its publishers accordingly.

use std::collections::HashSet;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::fault::{Fault, Invalid};
use crate::limits::{PATTERN_BYTES_MAX, PATTERN_CACHE_BYTES_MAX};

/// A compiled JSON Schema.
#[derive(Debug)]
pub(crate) struct JsonSchema(Validator);

impl JsonSchema {
    pub(crate) fn compile(schema: &Value) -> Result<Self, Invalid> {
        endless(schema)?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_CACHE_BYTES_MAX);
        let built = jsonschema::options().offline().should_validate_formats(true).with_pattern_options(patterns);
        built.build(schema).map(JsonSchema).map_err(|error| {
            let place = error.instance_path().to_string();
            Invalid::new(format!("spec.schema{place}"), error.to_string())
        })
    }

    pub(crate) fn check(&self, json: &[u8]) -> Result<(), Fault> {
        // Nesting is bounded by the parser.
        let value: Value =
            serde_json::from_slice(json).map_err(|error| Fault::whole(format!("is not JSON: {error}")))?;
        self.0.validate(&value).map_err(|error| Fault::at(error.instance_path().as_str(), error.masked().to_string()))
    }
}

/// References and combinations in a row, at most, before something of the value is looked at.
const IN_PLACE_MAX: usize = 256;

/// Keywords whose schemas judge the same value.
const IN_PLACE_ONE: [&str; 4] = ["not", "if", "then", "else"];
const IN_PLACE_LIST: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Finds references that lead back to themselves without going into the value: they would never end.
fn endless(root: &Value) -> Result<(), Invalid> {
    let mut judged = HashSet::new();
    let mut places = vec![root];
    while let Some(value) = places.pop() {
        match value {
            Value::Array(items) => places.extend(items),
            Value::Object(members) => {
                follow(root, value, &mut judged, 0)?;
                places.extend(members.values());
            }
            _ => {}
        }
    }
    Ok(())
}

fn follow(root: &Value, schema: &Value, judged: &mut HashSet<*const Value>, steps: usize) -> Result<(), Invalid> {
    if judged.contains(&std::ptr::from_ref(schema)) {
        return Ok(());
    }
    if steps > IN_PLACE_MAX {
        return Err(Invalid::new("spec.schema", "has references that lead back to themselves, or too many in a row"));
    }
    let referred = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
    let referred = referred.and_then(|pointer| root.pointer(pointer));
    let ones = IN_PLACE_ONE.iter().filter_map(|name| schema.get(name));
    let lists = IN_PLACE_LIST.iter().filter_map(|name| schema.get(name)?.as_array()).flatten();
    let each = schema.get("dependentSchemas").and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    for next in referred.into_iter().chain(ones).chain(lists).chain(each) {
        follow(root, next, judged, steps + 1)?;
    }
    judged.insert(std::ptr::from_ref(schema));
    Ok(())
}

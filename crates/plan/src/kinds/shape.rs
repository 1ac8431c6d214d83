//! The shape of a `spec`: held against its kind's JSON Schema, and brought into the form that the typed
//! specs read.
//!
//! Judged here, because a schema says it: required fields, kinds of values, closed sets, least and
//! greatest numbers, spans, times, fields that do not exist. What says nothing is left out of the form:
//! `null`, a blank text, a span or number that stands for the default. So a typed spec has its default
//! wherever Go would have had it.
//!
//! Cost: one walk over the value. Depth is bounded by that of the schema, not of the value.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use event::Moment;
use serde_json::{Map, Value};

use super::nearest;
use crate::document::{described, shown};
use crate::duration;

/// Faults of one resource, at most: enough to mend, and bounded.
const FAULTS_MAX: usize = 100;

/// A field, and what is wrong with it.
pub(crate) type Finding = (String, String);

/// What the walk found.
#[derive(Default)]
pub(crate) struct Examined {
    /// The form for the typed spec. Complete only where there are no faults.
    pub(crate) spec: Value,
    /// What is wrong.
    pub(crate) faults: Vec<Finding>,
    /// Fields that do not exist; they are not in the form.
    pub(crate) unknown: Vec<Finding>,
}

struct Walk {
    /// Whether a number stands for the text that it prints as, as it does to routerd.
    lenient: bool,
    faults: Vec<Finding>,
    unknown: Vec<Finding>,
}

/// Holds `spec` against the schema of its kind.
pub(crate) fn examine(schema: &Value, spec: &Value, lenient: bool) -> Examined {
    let mut walk = Walk { lenient, faults: Vec::new(), unknown: Vec::new() };
    let spec = walk.value(schema, spec, "spec").unwrap_or_default();
    Examined { spec, faults: walk.faults, unknown: walk.unknown }
}

/// Whether the schema takes values of the type.
pub(crate) fn takes(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(several)) => several.iter().any(|one| one == name),
        _ => name == "string" && schema.get("enum").is_some(),
    }
}

/// A whole number that is written as one.
fn whole(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

impl Walk {
    fn fault(&mut self, path: &str, reason: impl Into<String>) -> Option<Value> {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push((path.to_owned(), reason.into()));
        }
        None
    }

    fn value(&mut self, schema: &Value, value: &Value, path: &str) -> Option<Value> {
        if takes(schema, "object") {
            match value {
                Value::Object(map) if schema.get("properties").is_some() => self.object(schema, map, path),
                Value::Object(map) => self.map(schema, map, path),
                other => self.fault(path, format!("must be a mapping, not {}", described(other))),
            }
        } else if takes(schema, "array") {
            match value {
                Value::Array(items) => self.list(schema, items, path),
                other => self.fault(path, format!("must be a list, not {}", described(other))),
            }
        } else if takes(schema, "string") {
            self.text(schema, value, path)
        } else if takes(schema, "integer") {
            self.number(schema, value, path)
        } else if takes(schema, "boolean") {
            match value {
                Value::Bool(_) => Some(value.clone()),
                other => self.fault(path, format!("must be true or false, not {}", described(other))),
            }
        } else {
            Some(value.clone())
        }
    }

    fn object(&mut self, schema: &Value, map: &Map<String, Value>, path: &str) -> Option<Value> {
        let empty = Map::new();
        let fields = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let mut form = Map::new();
        for (key, value) in map {
            let Some(field) = fields.get(key) else {
                self.strange(key, fields, path);
                continue;
            };
            let place = format!("{path}.{key}");
            if says_nothing(field, value) {
                continue;
            }
            if let Some(value) = self.value(field, value, &place) {
                form.insert(key.clone(), value);
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for key in required {
            let given = map.get(key).filter(|value| !fields.get(key).is_some_and(|field| says_nothing(field, value)));
            if given.is_none() {
                self.fault(&format!("{path}.{key}"), "is required");
            }
        }
        Some(Value::Object(form))
    }

    fn strange(&mut self, key: &str, fields: &Map<String, Value>, path: &str) {
        if self.unknown.len() >= FAULTS_MAX {
            return;
        }
        let near = nearest(key, fields.keys().map(String::as_str));
        let near = match near {
            Some(near) => format!("; did you mean {path}.{near}?"),
            None => format!("; the fields are {}", fields.keys().cloned().collect::<Vec<_>>().join(", ")),
        };
        self.unknown.push((format!("{path}.{}", shown(key)), format!("does not exist{near}")));
    }

    fn map(&mut self, schema: &Value, map: &Map<String, Value>, path: &str) -> Option<Value> {
        let values = schema.get("additionalProperties").unwrap_or(&Value::Null);
        let mut form = Map::new();
        for (key, value) in map {
            if key.trim().is_empty() {
                self.fault(path, "has a blank key");
                continue;
            }
            let place = format!("{path}.{}", shown(key));
            let value = match value {
                Value::Null if takes(values, "string") => Some(Value::String(String::new())),
                Value::String(_) if takes(values, "string") => Some(value.clone()),
                value => self.value(values, value, &place),
            };
            form.extend(value.map(|value| (key.clone(), value)));
        }
        Some(Value::Object(form))
    }

    fn list(&mut self, schema: &Value, items: &[Value], path: &str) -> Option<Value> {
        let each = schema.get("items").unwrap_or(&Value::Null);
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            return self.fault(path, format!("requires at least {least}"));
        }
        let mut form = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = format!("{path}[{index}]");
            let blank = item.is_null() || item.as_str().is_some_and(|text| text.trim().is_empty());
            if blank && each.get("minLength").is_some() {
                self.fault(&place, "must not be empty");
                continue;
            }
            form.extend(self.value(each, item, &place));
        }
        Some(Value::Array(form))
    }

    fn text(&mut self, schema: &Value, value: &Value, path: &str) -> Option<Value> {
        let text = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Bool(_) | Value::Number(_) if self.lenient => value.to_string(),
            Value::Bool(_) | Value::Number(_) => {
                return self.fault(path, format!("must be a text, not {}: put it in quotes", described(value)));
            }
            other => return self.fault(path, format!("must be a text, not {}", described(other))),
        };
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            if !allowed.contains(&text.as_str()) {
                return self.fault(path, format!("must be {}", choice(&allowed)));
            }
        }
        if let Some(sort) = schema.get(duration::KEYWORD).and_then(Value::as_str) {
            match duration::parse(&text) {
                Err(error) => return self.fault(path, format!("must be a Go duration: {error}")),
                Ok(nanos) if sort == "positive" && nanos <= 0 => return self.fault(path, "must be greater than 0"),
                Ok(_) => {}
            }
        }
        if schema.get("format").and_then(Value::as_str) == Some("date-time") && Moment::parse(&text).is_err() {
            return self.fault(path, "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z");
        }
        Some(Value::String(text))
    }

    fn number(&mut self, schema: &Value, value: &Value, path: &str) -> Option<Value> {
        let Some(number) = whole(value) else {
            let sort = if value.is_number() { "one with a fraction or too many digits" } else { described(value) };
            return self.fault(path, format!("must be a whole number, not {sort}"));
        };
        let widest = match schema.get("format").and_then(Value::as_str) {
            Some("uint16") => i128::from(u16::MAX),
            Some("uint32") => i128::from(u32::MAX),
            _ => i128::from(u64::MAX),
        };
        let least = schema.get("minimum").and_then(whole).unwrap_or(0);
        let greatest = schema.get("maximum").and_then(whole).unwrap_or(widest);
        if number < least {
            return self.fault(path, format!("must be >= {least}"));
        }
        if number > greatest {
            return self.fault(path, format!("must be <= {greatest}"));
        }
        Some(value.clone())
    }
}

/// Whether a member is as good as absent.
fn says_nothing(schema: &Value, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) if text.trim().is_empty() => takes(schema, "string"),
        Value::String(text) if schema.get(duration::KEYWORD).is_some_and(|sort| sort == "optional") => {
            duration::parse(text.trim()).is_ok_and(|nanos| nanos <= 0)
        }
        Value::Number(number) => schema.get("x-zero").is_some() && number.as_u64() == Some(0),
        _ => false,
    }
}

/// A closed set as a sentence has it: `empty or hmac`, `a, b, or c`.
fn choice(allowed: &[&str]) -> String {
    let named: Vec<&str> = allowed.iter().map(|word| if word.is_empty() { "empty" } else { *word }).collect();
    match named.as_slice() {
        [] => String::new(),
        [one] => one.to_string(),
        [first, second] => format!("{first} or {second}"),
        [several @ .., last] => format!("{}, or {last}", several.join(", ")),
    }
}

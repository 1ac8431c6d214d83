//! What a field is, told from the schemas; and what differs between two documents.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::document::{Document, shown};
use crate::duration;
use crate::kinds::{KINDS, Kind, nearest};
use crate::schema::schema_of;

/// A kind or a field of one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Such as `EventPeer.spec.types`.
    pub path: String,
    /// In words, such as `list of texts`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether it must be there.
    pub required: bool,
    /// What holds where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The values that it can have; empty: any of its type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// What it is.
    pub doc: String,
    /// Its own fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// A field of what was explained.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Its name.
    pub name: String,
    /// In words.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether it must be there.
    pub required: bool,
    /// What holds where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What it is.
    pub doc: String,
}

/// Why there is nothing to explain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// The first word is no kind.
    #[error("'{word}' is not a kind{}", meant(near))]
    Kind {
        /// The word.
        word: String,
        /// The nearest kind.
        near: Option<String>,
    },
    /// A word after it is no field.
    #[error("{within} has no field '{word}'{}", meant(near))]
    Field {
        /// What was found so far.
        within: String,
        /// The word.
        word: String,
        /// The nearest field.
        near: Option<String>,
    },
}

fn meant(near: &Option<String>) -> String {
    near.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// Explains a kind, or a field by its path: `EventPeer.spec.types`, `eg.spec.listen.port`. `spec` may be
/// left out; `[]` and numbers in brackets mean any item of a list.
///
/// # Errors
/// [`ExplainError`], with the nearest word there is.
pub fn explain(path: &str) -> Result<Explained, ExplainError> {
    let mut words = path.trim().split('.').map(|word| word.split('[').next().unwrap_or_default());
    let word = words.next().unwrap_or_default();
    let Some(kind) = Kind::find(word) else {
        let names = KINDS.iter().flat_map(|kind| [kind.name, kind.plural]);
        return Err(ExplainError::Kind { word: shown(word), near: nearest(word, names).map(ToOwned::to_owned) });
    };
    let Some(whole) = schema_of(kind.name) else {
        return Err(ExplainError::Kind { word: shown(word), near: None });
    };
    let (mut schema, mut place, mut required) = (&whole, kind.name.to_owned(), true);
    for (depth, word) in words.filter(|word| !word.is_empty()).enumerate() {
        let spec = whole.pointer("/properties/spec").unwrap_or(&Value::Null);
        if depth == 0 && fields_of(&whole).all(|name| name != word) && fields_of(spec).any(|name| name == word) {
            (schema, place) = (spec, format!("{place}.spec"));
        }
        let within = inner(schema);
        let Some(field) = field(within, word) else {
            let near = nearest(word, fields_of(within)).map(|near| format!("{place}.{near}"));
            return Err(ExplainError::Field { within: place, word: shown(word), near });
        };
        required = requires(within, word);
        place = format!("{place}.{word}");
        schema = field;
    }
    Ok(Explained {
        type_name: type_name(schema),
        required,
        default: default_of(schema),
        allowed: allowed(schema),
        doc: doc(schema),
        fields: fields(inner(schema)),
        path: place,
    })
}

fn field<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get("properties")?.get(name)
}

fn fields_of(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys().map(String::as_str))
}

fn requires(schema: &Value, name: &str) -> bool {
    schema.get("required").and_then(Value::as_array).is_some_and(|required| required.iter().any(|one| one == name))
}

/// What a list or a mapping holds; of anything else itself.
fn inner(schema: &Value) -> &Value {
    let of = |name: &str| schema.get(name).filter(|inner| inner.is_object());
    of("items").or_else(|| of("additionalProperties")).map_or(schema, inner)
}

fn fields(schema: &Value) -> Vec<Field> {
    let each = |name: &str| {
        let field = field(schema, name)?;
        Some(Field {
            name: name.to_owned(),
            type_name: type_name(field),
            required: requires(schema, name),
            default: default_of(field),
            doc: doc(field),
        })
    };
    fields_of(schema).filter_map(each).collect()
}

fn doc(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    // A paragraph is one line, however it was broken in the source.
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n")
}

/// The default of a value; that of a mapping is in its fields.
fn default_of(schema: &Value) -> Option<Value> {
    let default = schema.get("default")?;
    let empty = match default {
        Value::Null | Value::Object(_) => true,
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    (!empty).then(|| default.clone())
}

fn allowed(schema: &Value) -> Vec<String> {
    let item = inner(schema);
    let mut values: Vec<String> = item
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(String::from)
        .collect();
    values.extend(item.get("const").and_then(Value::as_str).map(String::from));
    values.retain(|value| !value.is_empty());
    values
}

/// A type in words.
fn type_name(schema: &Value) -> String {
    let is = |name: &str| crate::kinds::shape::takes(schema, name);
    if is("array") {
        return format!("list of {}", plural(&type_name(schema.get("items").unwrap_or(&Value::Null))));
    }
    if is("object") {
        return match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) => format!("mapping of {}", plural(&type_name(values))),
            None => "mapping".to_owned(),
        };
    }
    if schema.get(duration::KEYWORD).is_some() {
        return "span of time".to_owned();
    }
    if schema.get("format").is_some_and(|format| format == "date-time") {
        return "time".to_owned();
    }
    if is("integer") {
        return "whole number".to_owned();
    }
    if is("boolean") {
        return "true or false".to_owned();
    }
    if is("string") || schema.get("const").is_some() { "text".to_owned() } else { "anything".to_owned() }
}

fn plural(word: &str) -> String {
    match word {
        "anything" => "anything".to_owned(),
        "span of time" => "spans of time".to_owned(),
        word if word.starts_with("list of") => format!("lists of{}", word.trim_start_matches("list of")),
        word => format!("{word}s"),
    }
}

/// A value that differs between two documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Where, such as `spec.listen.port` or `spec.types[1]`.
    pub path: String,
    /// What was there; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What is there; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// What differs, by path, as the documents are written: `spec` and what `metadata` says beside the name.
/// A document that is not there differs in everything the other says.
pub fn diff(old: Option<&Document>, new: Option<&Document>) -> Vec<Change> {
    let value = |document: Option<&Document>| {
        let mut value = document.map(Document::to_json)?;
        let map = value.as_object_mut()?;
        map.get_mut("metadata").and_then(Value::as_object_mut)?.remove("name");
        map.retain(|key, value| key == "spec" || (key == "metadata" && *value != Value::Object(Map::new())));
        Some(value)
    };
    let mut changes = Vec::new();
    compare(value(old).as_ref(), value(new).as_ref(), "", &mut changes);
    changes
}

/// Depth is that of documents, which their parsers bound.
fn compare(old: Option<&Value>, new: Option<&Value>, path: &str, changes: &mut Vec<Change>) {
    match (old.or(new), new.or(old)) {
        (Some(Value::Object(left)), Some(Value::Object(right))) if !(left.is_empty() && right.is_empty()) => {
            for key in left.keys().chain(right.keys()).collect::<BTreeSet<&String>>() {
                let place = if path.is_empty() { key.clone() } else { format!("{path}.{}", shown(key)) };
                let (old, new) = (old.and_then(|value| value.get(key)), new.and_then(|value| value.get(key)));
                compare(old, new, &place, changes);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) if !(left.is_empty() && right.is_empty()) => {
            for index in 0..left.len().max(right.len()) {
                let (old, new) = (old.and_then(|value| value.get(index)), new.and_then(|value| value.get(index)));
                compare(old, new, &format!("{path}[{index}]"), changes);
            }
        }
        _ if old == new => {}
        _ => changes.push(Change { path: path.to_string(), from: old.cloned(), to: new.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::documents;
    use serde_json::json;

    #[test]
    fn a_field_is_told_whichever_way_it_is_named() {
        for path in ["EventGroup.spec.listen.port", "eg.listen.port", "eventgroups.spec.listen.port"] {
            let told = explain(path).unwrap();
            assert_eq!((told.path.as_str(), told.type_name.as_str()), ("EventGroup.spec.listen.port", "whole number"));
        }
        let types = explain("EventPeer.spec.types").unwrap();
        assert_eq!((types.type_name.as_str(), types.required), ("list of texts", false));
        let key = explain("EventGroup.spec.auth.keys[0].name").unwrap();
        assert!(key.required && key.doc.contains("signingKey"), "{key:?}");
        let timeout = explain("plugin.timeout").unwrap();
        assert_eq!((timeout.type_name.as_str(), timeout.default), ("span of time", Some(json!("10s"))));
        let capabilities = explain("Plugin.spec.capabilities").unwrap();
        assert_eq!(capabilities.allowed.len(), 5);
        assert!(explain("EventGroup").unwrap().fields.iter().any(|field| field.name == "spec" && field.required));
    }

    #[test]
    fn what_is_not_there_is_told_with_the_nearest_word() {
        let text = |path| explain(path).unwrap_err().to_string();
        assert_eq!(text("EventGruop"), "'EventGruop' is not a kind; did you mean EventGroup?");
        assert_eq!(
            text("EventGroup.spec.listn"),
            "EventGroup.spec has no field 'listn'; did you mean EventGroup.spec.listen?"
        );
        assert_eq!(text("EventGroup.spec.nodeName.x"), "EventGroup.spec.nodeName has no field 'x'");
    }

    #[test]
    fn every_field_of_every_kind_is_told() {
        fn walk(path: &str) {
            let told = explain(path).unwrap();
            assert!(!told.doc.is_empty(), "{path} says nothing of itself");
            for field in told.fields {
                walk(&format!("{path}.{}", field.name));
            }
        }
        KINDS.iter().for_each(|kind| walk(kind.name));
    }

    #[test]
    fn two_documents_differ_by_path() {
        let document = |spec: Value| {
            let value =
                json!({"apiVersion": "tidings.dev/v1", "kind": "EventPeer", "metadata": {"name": "b"}, "spec": spec});
            documents(value).unwrap().remove(0)
        };
        let old = document(json!({"groupRef": "g", "types": ["a", "b"], "tls": {}}));
        let new = document(json!({"groupRef": "h", "types": ["a"], "timeout": "5s", "tls": {}}));
        let changes = diff(Some(&old), Some(&new));
        let told: Vec<Value> = changes.iter().map(|change| serde_json::to_value(change).unwrap()).collect();
        assert_eq!(
            told,
            [
                json!({"path": "spec.groupRef", "from": "g", "to": "h"}),
                json!({"path": "spec.timeout", "to": "5s"}),
                json!({"path": "spec.types[1]", "from": "b"}),
            ]
        );
        assert_eq!(diff(Some(&old), Some(&old)), []);
        assert_eq!(diff(None, Some(&old)).len(), 4);
        assert_eq!(diff(Some(&old), None).len(), 4);
        assert_eq!(diff(None, None), []);
    }
}

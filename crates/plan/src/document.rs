//! Documents: resources as they are written, before their kinds judge them.
//!
//! A document is `apiVersion`, `kind`, `metadata` (`name`, `annotations`, `ownerRefs`), `spec` and a
//! `status` that is not read. A value holds one, a list, `{"resources": […]}`, or a `Router` of
//! routerd, whose `spec.resources` are taken. Nothing is judged here but this frame.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::kinds::nearest;

/// The version of our own documents.
pub const API_VERSION: &str = "tidings.dev/v1";

/// The version of routerd's configuration file, whose kind is `Router`.
pub const ROUTER_API_VERSION: &str = "routerd.net/v1alpha1";

/// Documents of one value, at most: a hundred times the largest configuration known, and bounded.
pub const DOCUMENTS_MAX: usize = 65_536;

/// Longest name of a resource, in bytes: that of a DNS name.
pub const NAME_BYTES_MAX: usize = 253;

/// Characters of a strange value that a fault repeats.
const SHOWN: usize = 60;

/// What a resource is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Such as `tidings.dev/v1`.
    pub api_version: String,
    /// Such as `EventGroup`.
    pub kind: String,
    /// Unique in its kind.
    pub name: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.api_version, self.kind, self.name)
    }
}

/// What is wrong with a document, or worth a warning. Never worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
#[error("{resource}{}{path} {reason}", if path.is_empty() { "" } else { " " })]
pub struct Fault {
    /// `apiVersion/kind/name`, or which document it is where that is not known.
    pub resource: String,
    /// The field, such as `spec.listen.port` or `spec.types[2]`; empty: the document as a whole.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

impl Fault {
    /// A fault of a field.
    pub fn new(resource: impl ToString, path: impl Into<String>, reason: impl Into<String>) -> Self {
        Fault { resource: resource.to_string(), path: path.into(), reason: reason.into() }
    }
}

/// A resource as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Such as `tidings.dev/v1`.
    pub api_version: String,
    /// Such as `EventGroup`.
    pub kind: String,
    /// Unique in its kind.
    pub name: String,
    /// What tools say of it; it means nothing here.
    pub annotations: BTreeMap<String, String>,
    /// Whose it is, as written.
    pub owner_refs: Vec<Value>,
    /// What it says, as written.
    pub spec: Value,
}

impl Document {
    /// What it is known by.
    pub fn identity(&self) -> Identity {
        Identity { api_version: self.api_version.clone(), kind: self.kind.clone(), name: self.name.clone() }
    }

    /// As JSON: `apiVersion`, `kind`, `metadata`, `spec`. What is empty is left out, and [`documents`]
    /// reads the same document back.
    pub fn to_json(&self) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".into(), self.name.clone().into());
        if !self.annotations.is_empty() {
            let annotations = self.annotations.iter().map(|(key, value)| (key.clone(), value.clone().into()));
            metadata.insert("annotations".into(), Value::Object(annotations.collect()));
        }
        if !self.owner_refs.is_empty() {
            metadata.insert("ownerRefs".into(), self.owner_refs.clone().into());
        }
        let mut whole = Map::new();
        whole.insert("apiVersion".into(), self.api_version.clone().into());
        whole.insert("kind".into(), self.kind.clone().into());
        whole.insert("metadata".into(), Value::Object(metadata));
        whole.insert("spec".into(), self.spec.clone());
        Value::Object(whole)
    }

    /// Whether the version is our own, and the rules are ours: what is not known is refused.
    pub(crate) fn is_ours(&self) -> bool {
        self.api_version == API_VERSION
    }
}

/// The documents of a value.
///
/// # Errors
/// The first [`Fault`]: the frame of a document is broken. It names the document by its identity, or
/// by its place where it has none.
pub fn documents(value: Value) -> Result<Vec<Document>, Fault> {
    let mut found = Vec::new();
    gather(value, "document", true, &mut found)?;
    Ok(found)
}

fn gather(value: Value, place: &str, outer: bool, found: &mut Vec<Document>) -> Result<(), Fault> {
    if found.len() >= DOCUMENTS_MAX {
        return Err(Fault::new(place, "", format!("is one of more than {DOCUMENTS_MAX} documents")));
    }
    match value {
        Value::Array(items) if outer => each(items, "document", found),
        Value::Object(mut map) if outer && is_router(&map) => {
            match map.get_mut("spec").and_then(|spec| spec.get_mut("resources")).map(Value::take) {
                Some(Value::Array(items)) => each(items, "spec.resources", found),
                None | Some(Value::Null) => Ok(()),
                Some(_) => Err(Fault::new(place, "spec.resources", "must be a list of resources")),
            }
        }
        Value::Object(mut map) if outer && !map.contains_key("kind") && map.contains_key("resources") => {
            match map.remove("resources") {
                Some(Value::Array(items)) => each(items, "resources", found),
                _ => Err(Fault::new(place, "resources", "must be a list of resources")),
            }
        }
        Value::Object(map) => {
            found.push(framed(map, place)?);
            Ok(())
        }
        other => Err(Fault::new(place, "", format!("must be a resource, not {}", described(&other)))),
    }
}

fn each(items: Vec<Value>, list: &str, found: &mut Vec<Document>) -> Result<(), Fault> {
    for (index, item) in items.into_iter().enumerate() {
        gather(item, &format!("{list}[{index}]"), false, found)?;
    }
    Ok(())
}

fn is_router(map: &Map<String, Value>) -> bool {
    let version = map.get("apiVersion").and_then(Value::as_str);
    map.get("kind").and_then(Value::as_str) == Some("Router")
        && matches!(version, Some(ROUTER_API_VERSION | API_VERSION))
}

/// A document by its frame.
fn framed(mut map: Map<String, Value>, place: &str) -> Result<Document, Fault> {
    let api_version = text(&mut map, "apiVersion", place, "apiVersion")?;
    let kind = text(&mut map, "kind", place, "kind")?;
    if kind == "Router" && (api_version == ROUTER_API_VERSION || api_version == API_VERSION) {
        return Err(Fault::new(place, "kind", "cannot be Router within a Router or a list"));
    }
    let mut metadata = match map.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        None | Some(Value::Null) => Map::new(),
        Some(other) => {
            return Err(Fault::new(place, "metadata", format!("must be a mapping, not {}", described(&other))));
        }
    };
    let name = text(&mut metadata, "name", &format!("{place} ({kind})"), "metadata.name")?;
    let resource = format!("{api_version}/{kind}/{name}");
    if let Some(reason) = unfit(&name) {
        return Err(Fault::new(resource, "metadata.name", reason));
    }
    let annotations = annotations(metadata.remove("annotations"), &resource)?;
    let owner_refs = match metadata.remove("ownerRefs") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(refs)) => refs,
        Some(_) => return Err(Fault::new(resource, "metadata.ownerRefs", "must be a list")),
    };
    let spec = match map.remove("spec") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(spec @ Value::Object(_)) => spec,
        Some(other) => {
            return Err(Fault::new(resource, "spec", format!("must be a mapping, not {}", described(&other))));
        }
    };
    map.remove("status");
    let document = Document { api_version, kind, name, annotations, owner_refs, spec };
    if document.is_ours() {
        strange(&map, "", &["apiVersion", "kind", "metadata", "spec", "status"], &resource)?;
        strange(&metadata, "metadata.", &["name", "annotations", "ownerRefs"], &resource)?;
    }
    Ok(document)
}

/// Refuses what is left over.
fn strange(left: &Map<String, Value>, prefix: &str, known: &[&str], resource: &str) -> Result<(), Fault> {
    let Some(key) = left.keys().next() else { return Ok(()) };
    let nearest = nearest(key, known.iter().copied()).map(|near| format!("; did you mean {prefix}{near}?"));
    let reason = format!("is not a field of a resource{}", nearest.unwrap_or_default());
    Err(Fault::new(resource, format!("{prefix}{}", shown(key)), reason))
}

fn text(map: &mut Map<String, Value>, key: &str, place: &str, path: &str) -> Result<String, Fault> {
    match map.remove(key) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        None | Some(Value::Null | Value::String(_)) => Err(Fault::new(place, path, "is required")),
        Some(other) => Err(Fault::new(place, path, format!("must be a text, not {}", described(&other)))),
    }
}

fn annotations(value: Option<Value>, resource: &str) -> Result<BTreeMap<String, String>, Fault> {
    let map = match value {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(Fault::new(resource, "metadata.annotations", "must be a mapping of texts")),
    };
    let pair = |(key, value): (String, Value)| match value {
        Value::String(text) => Ok((key, text)),
        Value::Bool(_) | Value::Number(_) => Ok((key, value.to_string())),
        _ => Err(Fault::new(resource, format!("metadata.annotations.{}", shown(&key)), "must be a text")),
    };
    map.into_iter().map(pair).collect()
}

/// Why a text cannot name a resource.
fn unfit(name: &str) -> Option<String> {
    if name.len() > NAME_BYTES_MAX {
        return Some(format!("can have at most {NAME_BYTES_MAX} bytes"));
    }
    name.contains(|c: char| c.is_control() || c == '/').then(|| "cannot hold '/' or control characters".to_owned())
}

/// What sort of value it is, in a sentence.
pub(crate) fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// A stranger's text, cut and without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use serde_json::json;

    fn group(name: &str) -> Value {
        json!({"apiVersion": "tidings.dev/v1", "kind": "EventGroup", "metadata": {"name": name}, "spec": {"nodeName": "a"}})
    }

    #[track_caller]
    fn check(value: Value, names: &[&str]) {
        let found = documents(value).unwrap();
        assert_eq!(found.iter().map(|document| document.name.as_str()).collect::<Vec<_>>(), names);
        for document in found {
            assert_eq!(documents(document.to_json()).unwrap(), vec![document]);
        }
    }

    #[track_caller]
    fn refused(value: Value, text: &str) {
        assert_eq!(documents(value).unwrap_err().to_string(), text);
    }

    #[test]
    fn one_document_a_list_and_a_router_are_taken() {
        check(group("a"), &["a"]);
        check(json!([group("a"), group("b")]), &["a", "b"]);
        check(json!({"resources": [group("a")]}), &["a"]);
        let router = json!({"apiVersion": "routerd.net/v1alpha1", "kind": "Router", "metadata": {"name": "r"},
            "spec": {"reconcile": {}, "resources": [group("a"), group("b")]}});
        check(router, &["a", "b"]);
        check(json!({"apiVersion": "routerd.net/v1alpha1", "kind": "Router", "metadata": {"name": "r"}}), &[]);
    }

    #[test]
    fn a_broken_frame_is_named() {
        refused(json!(5), "document must be a resource, not a number");
        refused(json!([group("a"), []]), "document[1] must be a resource, not a list");
        refused(json!({"kind": "EventGroup"}), "document apiVersion is required");
        refused(
            json!({"apiVersion": "tidings.dev/v1", "kind": "EventGroup"}),
            "document (EventGroup) metadata.name is required",
        );
        let mut wrong = group("a");
        wrong["sepc"] = json!({});
        refused(wrong, "tidings.dev/v1/EventGroup/a sepc is not a field of a resource; did you mean spec?");
        let mut wrong = group("a");
        wrong["metadata"]["anotations"] = json!({});
        refused(
            wrong,
            "tidings.dev/v1/EventGroup/a metadata.anotations is not a field of a resource; did you mean metadata.annotations?",
        );
        refused(group("a/b"), "tidings.dev/v1/EventGroup/a/b metadata.name cannot hold '/' or control characters");
    }

    #[test]
    fn routerds_documents_may_say_more() {
        let document = json!({"apiVersion": "federation.routerd.net/v1alpha1", "kind": "EventGroup",
            "metadata": {"name": "a", "labels": {}}, "spec": {}, "extra": 1, "status": {"phase": "Applied"}});
        check(document, &["a"]);
    }
}

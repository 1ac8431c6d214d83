//! A result's text as a value: YAML or JSON, bounded however it is written.
//!
//! Aliases make a short text large, so what counts is the size of the value that comes of it. Every
//! byte of text and every node is counted as it is made, and the reading ends where there are too many.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// Most bytes of text in a result, keys counted at every use, unless what was written is longer itself.
pub const RESULT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most values in a result: 64 bytes or more each in memory.
pub const RESULT_NODES_MAX: usize = 256 * 1024;

/// Deepest nesting of a result: what its readers go down by recursion.
const RESULT_DEPTH_MAX: usize = 64;

/// Why a text is no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct NotYaml {
    /// From 1; 0 where it is not known.
    pub line: u64,
    /// From 1; 0 where it is not known.
    pub column: u64,
    /// What is wrong.
    pub reason: String,
}

/// Reads one document, which must be a mapping. Takes a moment for long texts: call it where blocking is allowed.
///
/// # Errors
/// [`NotYaml`], with the place.
pub fn parse_result(text: &[u8]) -> Result<Value, NotYaml> {
    let nowhere = |reason: String| NotYaml { line: 0, column: 0, reason };
    let text = std::str::from_utf8(text).map_err(|error| nowhere(format!("it is not UTF-8: {error}")))?;
    let room = Room::new(text);
    // Nearly every result is JSON, which is read faster. What is no JSON may still be YAML.
    let mut json = serde_json::Deserializer::from_str(text);
    let value = match Node(&room).deserialize(&mut json).and_then(|value| json.end().map(|()| value)) {
        Ok(value) => value,
        Err(_) => parse_yaml(text)?,
    };
    if value.is_object() {
        return Ok(value);
    }
    Err(NotYaml { line: 1, column: 1, reason: format!("it is {}, not a mapping", shape(&value)) })
}

fn parse_yaml(text: &str) -> Result<Value, NotYaml> {
    let room = Room::new(text);
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: RESULT_DEPTH_MAX, max_documents: 1, max_nodes: RESULT_NODES_MAX },
    };
    let read =
        serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| Node(&room).deserialize(yaml));
    read.map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = error.location().map_or((0, 0), |location| (location.line(), location.column()));
        let reason = error.to_string();
        NotYaml { line, column, reason: reason.lines().next().unwrap_or_default().to_owned() }
    })
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// What may still be made.
struct Room {
    bytes: Cell<usize>,
    nodes: Cell<usize>,
}

impl Room {
    /// For what comes of this text.
    fn new(text: &str) -> Self {
        Room { bytes: Cell::new(RESULT_BYTES_MAX.max(text.len())), nodes: Cell::new(RESULT_NODES_MAX) }
    }

    fn node<E: de::Error>(&self) -> Result<(), E> {
        let left = self.nodes.get().checked_sub(1);
        self.nodes.set(left.ok_or_else(|| E::custom(format!("it has more than {RESULT_NODES_MAX} values")))?);
        Ok(())
    }

    fn text<E: de::Error>(&self, text: &str) -> Result<(), E> {
        let left = self.bytes.get().checked_sub(text.len());
        self.bytes.set(
            left.ok_or_else(|| {
                E::custom("its texts are longer than a result may be, when every alias is written out")
            })?,
        );
        Ok(())
    }
}

/// One value within the room.
#[derive(Clone, Copy)]
struct Node<'r>(&'r Room);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.node()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.text(value)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        self.0.text(&value)?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.0.text(&key)?;
            let value = map.next_value_seed(self)?;
            if members.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is given twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

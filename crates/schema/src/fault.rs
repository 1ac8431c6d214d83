//! What is wrong: with data, as a publisher is told, and with a schema, as an operator is told.

use thiserror::Error;

use crate::limits::{FIELD_CHARS_MAX, WHY_CHARS_MAX};

/// What is wrong with data. Bounded, and fit for a header: no control character, no line end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{why}", prefix(field))]
pub struct Fault {
    /// The path of the field; empty: the data as a whole. `nodes[2].name` in protobuf, a JSON Pointer
    /// (RFC 6901) in JSON.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

fn prefix(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

impl Fault {
    pub(crate) fn whole(why: impl AsRef<str>) -> Self {
        Fault::at("", why)
    }

    pub(crate) fn at(field: impl AsRef<str>, why: impl AsRef<str>) -> Self {
        Fault { field: plain(field.as_ref(), FIELD_CHARS_MAX), why: plain(why.as_ref(), WHY_CHARS_MAX) }
    }

    /// The same fault, seen from the message that holds the field `step`.
    pub(crate) fn within(mut self, step: &str) -> Self {
        let joined = if self.field.is_empty() { step.to_owned() } else { format!("{step}.{}", self.field) };
        self.field = plain(&joined, FIELD_CHARS_MAX);
        self
    }
}

/// A text that a header takes, cut at `max` characters.
fn plain(text: &str, max: usize) -> String {
    let mut plain: String = text.chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        plain.push('…');
    }
    plain
}

/// What is wrong with a schema. Never worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{why}", prefix(field))]
pub struct Invalid {
    /// The field of the resource, such as `spec.descriptor`; empty: the resource as a whole.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Invalid {
    pub(crate) fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Invalid { field: field.into(), why: plain(&why.into(), 2 * WHY_CHARS_MAX) }
    }
}

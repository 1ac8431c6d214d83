//! Spans of time and sizes in a configuration file: the grammar of [`event::units`], read by `serde`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use event::units::{self, SizeError, SpanError};
use serde::Deserialize;

/// A span of time; see [`event::units::Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// A number of bytes; see [`event::units::Size`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        text.parse().map(|units::Span(span)| Span(span))
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        text.parse().map(|units::Size(bytes)| Size(bytes))
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl TryFrom<String> for Size {
    type Error = SizeError;

    fn try_from(text: String) -> Result<Self, SizeError> {
        text.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        units::Span(self.0).fmt(f)
    }
}

/// The beginning of a text that someone gave, for an error message.
pub(crate) fn brief(text: &str) -> String {
    text.chars().take(64).collect()
}

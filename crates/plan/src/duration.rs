//! Spans of time as routerd's documents write them: Go's syntax.
//!
//! One or more numbers, each with a unit (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), a fraction and a sign
//! allowed: `5m`, `200ms`, `1h30m`, `1.5h`, `-1s`; or a bare `0`. Not the spans of our own flags
//! (`event::units`), which know days and no fractions. Source: Go, package time, `ParseDuration`.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use event::units::Span;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer};
use thiserror::Error;

/// Why a text is not a span in Go's syntax.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// No number where one must stand, or nothing at all.
    #[error("'{0}' is not a span of time, such as 200ms, 5m or 1h30m")]
    Malformed(String),
    /// A number without a unit.
    #[error("'{0}' has a number without a unit (ns, us, ms, s, m, h)")]
    MissingUnit(String),
    /// A unit that Go does not know.
    #[error("'{text}' has the unit '{unit}', which is none of ns, us, ms, s, m, h")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Beyond 64 bits of nanoseconds, about 292 years.
    #[error("'{0}' is too long: the longest span has about 292 years")]
    TooLong(String),
}

/// Characters of a refused text that an error repeats.
const SHOWN: usize = 40;

/// Nanoseconds of each unit.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// What a JSON Schema says of such a text.
const PATTERN: &str = "^([+-]?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h))+))?$";

/// Parses a span, which may be negative: nanoseconds.
///
/// # Errors
/// [`DurationError`], which repeats the text, cut.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let shown = || text.chars().take(SHOWN).collect::<String>();
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed(shown()));
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(DurationError::Malformed(shown()));
        }
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(shown()));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit { unit: unit.chars().take(SHOWN).collect(), text: shown() });
        };
        let part = term(whole, fraction, *nanos).ok_or_else(|| DurationError::TooLong(shown()))?;
        total = total.checked_add(part).ok_or_else(|| DurationError::TooLong(shown()))?;
        rest = tail;
    }
    let total = i64::try_from(total).map_err(|_| DurationError::TooLong(shown()))?;
    Ok(if negative { -total } else { total })
}

/// Nanoseconds of `whole.fraction` units.
fn term(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    // Beyond the 19th digit a fraction of an hour has no nanosecond left.
    let (mut scaled, mut scale) = (0_u128, 1_u128);
    for digit in fraction.bytes().take(19) {
        scaled = scaled * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    let part = scaled * u128::from(unit) / scale;
    nanos = nanos.checked_add(u64::try_from(part).ok()?)?;
    Some(nanos)
}

/// A span as it is printed: one number with the largest unit that gives a whole one.
pub fn print(span: Duration) -> String {
    Span(span).to_string()
}

/// A field that must be greater than zero. Its JSON Schema; the value is a [`Duration`].
pub(crate) struct Positive;

/// A field that says nothing where it is zero or less. Its JSON Schema.
pub(crate) struct Optional;

/// The keyword by which a schema says that a text is a span: `positive` or `optional`.
pub(crate) const KEYWORD: &str = "x-duration";

impl JsonSchema for Positive {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> alloc::borrow::Cow<'static, str> {
        "Positive".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN, "x-duration": "positive"})
    }
}

impl JsonSchema for Optional {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> alloc::borrow::Cow<'static, str> {
        "Optional".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN, "x-duration": "optional"})
    }
}

/// A text as a span; less than nothing is nothing.
fn span<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    let nanos = parse(text.trim()).map_err(|error| E::custom(format!("must be a Go duration: {error}")))?;
    Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

/// For `serde(with)`: a text, and a span that is always there.
pub(crate) mod always {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&print(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        span(&String::deserialize(from)?)
    }
}

/// For `serde(with)`: a text, and a span that may be absent.
pub(crate) mod maybe {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.serialize_str(&print(*value)),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<String>::deserialize(from)?.map(|text| span(&text)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, nanos: i64) {
        assert_eq!(parse(text), Ok(nanos), "{text}");
    }

    #[test]
    fn spans_as_go_reads_them() {
        check("5m", 300_000_000_000);
        check("200ms", 200_000_000);
        check("1h30m", 5_400_000_000_000);
        check("1.5h", 5_400_000_000_000);
        check(".5s", 500_000_000);
        check("1.s", 1_000_000_000);
        check("-1s", -1_000_000_000);
        check("+5s", 5_000_000_000);
        check("0", 0);
        check("-0", 0);
        check("3\u{b5}s2us", 5_000);
        check("9223372036s", 9_223_372_036_000_000_000);
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for bad in ["", "5", "m", "1d", "5 m", "1..5s", ".s", "1h5", "- 1s", "9223372037s", "1e3s", "s1", "é"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(parse("5d"), Err(DurationError::UnknownUnit { unit, .. }) if unit == "d"));
        assert!(matches!(parse("5"), Err(DurationError::MissingUnit(_))));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(nanos in 0..i64::MAX) {
            let span = Duration::from_nanos(u64::try_from(nanos).unwrap());
            prop_assert_eq!(parse(&print(span)), Ok(nanos));
        }

        #[test]
        fn any_text_is_judged_without_panic(text: String) {
            let _ = parse(&text);
        }
    }
}

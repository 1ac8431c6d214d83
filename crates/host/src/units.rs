//! Numbers with a unit, as people write them in a configuration: spans of time and counts of bytes.
//!
//! Not a general parser: one number and one unit, nothing else.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// A span of time: `500us`, `10ms`, `2s`, `5m`, `12h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// A count of bytes: `4096`, `64KiB`, `1MiB`, `2GiB`, `1TiB`, and `KB`, `MB`, `GB`, `TB` as powers of ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

const NANOS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const BYTES: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = units.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, factor)| *factor)?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text.trim(), &NANOS)
            .map(|nanos| Span(Duration::from_nanos(nanos)))
            .ok_or_else(|| format!("'{}' is not a span of time such as 10ms, 2s, 5m, 12h or 7d", brief(text)))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text.trim(), &BYTES)
            .map(Size)
            .ok_or_else(|| format!("'{}' is not a number of bytes such as 4096, 64KiB, 1MiB or 2GiB", brief(text)))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The beginning of a text that someone gave, for an error message.
pub(crate) fn brief(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_span(text: &str, nanos: Option<u64>) {
        assert_eq!(text.parse().ok(), nanos.map(|nanos| Span(Duration::from_nanos(nanos))), "{text}");
    }

    #[track_caller]
    fn check_size(text: &str, bytes: Option<u64>) {
        assert_eq!(text.parse().ok(), bytes.map(Size), "{text}");
    }

    #[test]
    fn one_number_and_one_unit_is_all_that_is_taken() {
        check_span("10ms", Some(10_000_000));
        check_span(" 2 s ", Some(2_000_000_000));
        check_span("7d", Some(604_800_000_000_000));
        for bad in ["", "10", "ms", "-1s", "1.5s", "1w", "1m30s", "99999999999999999d"] {
            check_span(bad, None);
        }
        check_size("4096", Some(4096));
        check_size("64KiB", Some(65_536));
        check_size("1 MB", Some(1_000_000));
        for bad in ["", "KiB", "1kib", "-1", "1e3", "99999999TiB"] {
            check_size(bad, None);
        }
    }
}

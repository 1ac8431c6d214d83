//! Spans of time and sizes, as people write them: in requests, configurations and command lines.
//!
//! One grammar for all of them, so that what one door takes another does not refuse.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use thiserror::Error;

/// A span of time: one or more numbers, each with a unit (`ns`, `us`, `ms`, `s`, `m`, `h`, `d`,
/// `w`), added up, such as `500ms`, `2m` or `1h30m`; or a bare `0`. Prints one number with the
/// largest unit up to `h` that gives a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: a number, alone or with `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1,024) or
/// `KB`, `MB`, `GB`, `TB` (powers of 1,000), in any case. Prints in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Why a text is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not a span of time, such as 500ms, 30s, 2m, 168h or 1h30m")]
pub struct SpanError(pub String);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not a number of bytes, such as 4096, 64KiB, 1MiB or 10GB")]
pub struct SizeError(pub String);

/// Nanoseconds of each unit.
const NANOS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// Bytes of each unit.
const BYTES: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// Characters of a refused text that an error repeats.
const SHOWN: usize = 40;

/// The number at the start of a text, the word behind it, and the rest.
fn term(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, tail) = text.split_at(digits);
    let word = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
    let (word, rest) = tail.split_at(word);
    Some((number.parse().ok()?, word.trim(), rest))
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let refused = || SpanError(text.chars().take(SHOWN).collect());
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Span(Duration::ZERO));
        }
        let mut nanos = 0_u64;
        loop {
            let (number, word, tail) = term(rest).ok_or_else(refused)?;
            let unit = NANOS.iter().find(|(name, _)| *name == word).ok_or_else(refused)?.1;
            nanos = number.checked_mul(unit).and_then(|part| nanos.checked_add(part)).ok_or_else(refused)?;
            rest = tail;
            if rest.is_empty() {
                return Ok(Span(Duration::from_nanos(nanos)));
            }
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 {
            return f.write_str("0s");
        }
        // Days and weeks are read, not printed: hours are what declarations compare by.
        let whole = NANOS.iter().rev().skip(2).find(|(_, unit)| nanos.is_multiple_of(*unit));
        let (name, unit) = whole.copied().unwrap_or(("ns", 1));
        write!(f, "{}{name}", nanos / unit)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let refused = || SizeError(text.chars().take(SHOWN).collect());
        let (number, word, rest) = term(text.trim()).ok_or_else(refused)?;
        let unit = BYTES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).ok_or_else(refused)?.1;
        match number.checked_mul(unit) {
            Some(bytes) if rest.is_empty() => Ok(Size(bytes)),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[track_caller]
    fn check_span(text: &str, millis: u64, printed: &str) {
        let span: Span = text.parse().unwrap();
        assert_eq!((span.0, span.to_string().as_str()), (Duration::from_millis(millis), printed), "{text}");
    }

    #[test]
    fn spans_as_people_write_them() {
        check_span("500ms", 500, "500ms");
        check_span("2m", 120_000, "2m");
        check_span(" 2 s ", 2_000, "2s");
        check_span("168h", 604_800_000, "168h");
        check_span("1w", 604_800_000, "168h");
        check_span("1h30m", 5_400_000, "90m");
        check_span("0", 0, "0s");
        check_span("1500us500us", 2, "2ms");
        for bad in ["", "5", "m", "-1s", "1.5s", "99999999999h", "18446744073709551616ns", "1é", "1s2", "1y"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [("4096", 4096), ("64KiB", 65_536), ("1 MB", 1_000_000), ("10gb", 10_000_000_000)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "KiB", "-1", "1e3", "1KiB2", "99999999TiB", "ten"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_span_comes_back(nanos: u64) {
            let span = Span(Duration::from_nanos(nanos));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn any_text_is_judged_without_panic(text: String) {
            let _ = text.parse::<Span>();
            let _ = text.parse::<Size>();
        }
    }
}

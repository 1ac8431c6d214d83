//! Durations as text: `500ms`, `2m`, `168h`, `1h30m`.
//!
//! Parses one or more numbers, each with a unit (`ns`, `us`, `ms`, `s`, `m`, `h`, `d`, `w`), and
//! adds them. Prints one number with the largest unit up to `h` that gives a whole one.

use std::time::Duration;

use thiserror::Error;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not a duration, such as 500ms, 30s, 2m, 168h or 1h30m")]
pub struct SpanError(pub String);

/// Nanoseconds of each unit.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// Reads a duration. A bare `0` is one too.
///
/// # Errors
/// [`SpanError`] where the text is none, or it is longer than 584 years.
pub fn parse(text: &str) -> Result<Duration, SpanError> {
    let refused = || SpanError(text.chars().take(40).collect());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (text, 0_u64);
    if rest.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let each = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?.1;
        let number: u64 = number.parse().map_err(|_| refused())?;
        nanos = number.checked_mul(each).and_then(|part| nanos.checked_add(part)).ok_or_else(refused)?;
        rest = tail;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Prints a duration.
pub fn print(span: Duration) -> String {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return "0s".into();
    }
    let whole = UNITS.iter().rev().skip(2).find(|(_, each)| nanos % each == 0);
    whole.map_or_else(|| format!("{nanos}ns"), |(name, each)| format!("{}{name}", nanos / each))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, millis: u64, printed: &str) {
        let span = parse(text).unwrap();
        assert_eq!((span, print(span).as_str()), (Duration::from_millis(millis), printed), "{text}");
        assert_eq!(parse(printed), Ok(span));
    }

    #[test]
    fn durations_as_people_write_them() {
        check("500ms", 500, "500ms");
        check("2m", 120_000, "2m");
        check("168h", 604_800_000, "168h");
        check("1w", 604_800_000, "168h");
        check("1h30m", 5_400_000, "90m");
        check("90s", 90_000, "90s");
        check("0", 0, "0s");
        check("1500us500us", 2, "2ms");
    }

    #[test]
    fn what_is_no_duration() {
        for text in ["", "5", "m", "-1s", "1.5s", "1 s", "99999999999h", "18446744073709551616ns", "1é", "1s2"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! Spans of time in the original's grammar: signed decimal numbers, each with a unit, such as `1h15m30.5s`.
//! Source: the Go standard library, `time.ParseDuration` and `Duration.String`.

use std::time::Duration;

/// Nanoseconds of each unit.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// Digits of a fraction that make a difference to any unit.
const FRACTION_DIGITS_MAX: usize = 18;

/// Nanoseconds; `None` where the text is none, or beyond what 64 bits hold.
pub fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let word = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (word, tail) = tail.split_at(word);
        let unit = UNITS.iter().find(|(name, _)| *name == word)?.1;
        total = total.checked_add(term(number, unit)?)?;
        if total > i128::from(i64::MAX) + 1 {
            return None;
        }
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn term(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    if fraction.contains('.') {
        return None;
    }
    let fraction = fraction.get(..fraction.len().min(FRACTION_DIGITS_MAX))?;
    let mut part = 0_i128;
    let mut scale = 1_i128;
    for digit in fraction.bytes() {
        part = part * 10 + i128::from(digit - b'0');
        scale *= 10;
    }
    whole.checked_mul(unit)?.checked_add(part.checked_mul(unit)? / scale)
}

/// As the original prints it: `1h0m0s`, `1m30s`, `2.5s`, `100ms`, `0s`.
pub fn print(span: Duration) -> String {
    let nanos = span.as_nanos();
    if nanos == 0 {
        return String::from("0s");
    }
    if nanos < 1_000_000_000 {
        let (unit, name) = match nanos {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "\u{b5}s"),
            _ => (1_000_000, "ms"),
        };
        return format!("{}{name}", decimal(nanos, unit));
    }
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
    let minutes = nanos / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn decimal(nanos: u128, unit: u128) -> String {
    let width = unit.ilog10() as usize;
    let fraction = format!("{:0width$}", nanos % unit);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{}", nanos / unit) } else { format!("{}.{fraction}", nanos / unit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_in_the_grammar_of_go() {
        for (text, nanos) in [
            ("5s", Some(5_000_000_000)),
            ("1h15m30.918273645s", Some(4_530_918_273_645)),
            ("-2s", Some(-2_000_000_000)),
            ("+1.5ms", Some(1_500_000)),
            (".5s", Some(500_000_000)),
            ("5.s", Some(5_000_000_000)),
            ("0", Some(0)),
            ("-0", Some(0)),
            ("1µs", Some(1_000)),
            ("9223372036854775807ns", Some(i64::MAX)),
            ("-9223372036854775808ns", Some(i64::MIN)),
            ("9223372036854775808ns", None),
            ("99999999999999999999999999999999999999999999h", None),
            ("5", None),
            ("", None),
            ("-", None),
            (".s", None),
            ("1.2.3s", None),
            ("xyz", None),
            ("1 s", None),
            ("1d", None),
            ("0.000000000000000000000000001h", Some(0)),
        ] {
            assert_eq!(parse(text), nanos, "{text}");
        }
    }

    #[test]
    fn spans_are_printed_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (10_000_000_000, "10s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (5_432_100_000_000, "1h30m32.1s"),
        ] {
            assert_eq!(print(Duration::from_nanos(nanos)), text);
        }
    }
}

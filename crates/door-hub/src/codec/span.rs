//! Spans of time as Go prints them.

use std::fmt::Write as _;
use std::time::Duration;

/// A span as Go's `time.Duration` prints it: `1m5s`, `1.5s`, `20ms`, `0s`.
pub fn go_duration(span: Duration) -> String {
    let nanos = span.as_nanos();
    if nanos == 0 {
        return String::from("0s");
    }
    let decimal = |value: u128, unit: u128| {
        let (whole, rest) = (value / unit, value % unit);
        let width = unit.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() || unit == 1 { whole.to_string() } else { format!("{whole}.{digits}") }
    };
    match nanos {
        0..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => decimal(nanos, 1_000) + "µs",
        1_000_000..1_000_000_000 => decimal(nanos, 1_000_000) + "ms",
        _ => {
            let minutes = span.as_secs() / 60;
            let mut text = String::new();
            let _infallible = match (minutes / 60, minutes % 60) {
                (0, 0) => Ok(()),
                (0, minutes) => write!(text, "{minutes}m"),
                (hours, minutes) => write!(text, "{hours}h{minutes}m"),
            };
            text + &decimal(nanos % 60_000_000_000, 1_000_000_000) + "s"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_printed_as_go_does() {
        for (nanos, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (20_000_000, "20ms"),
            (1_500_000_000, "1.5s"),
            (65_000_000_000, "1m5s"),
            (60_000_000_000, "1m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (90_061_000_000_001, "25h1m1.000000001s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), expected);
        }
    }
}

//! What people write on a command line: spans of time, moments, sizes, pairs.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use event::Moment;

/// A span of time such as `500ms`, `2m`, `1h30m`, `7d`. Prints as the node's API takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A moment: RFC 3339, a date, or a span before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When(pub Moment);

/// A number of bytes such as `512`, `64KiB`, `10GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// A limit, or `none` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<T>(pub Option<T>);

/// `name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Before the first `=`.
    pub name: String,
    /// After it.
    pub value: String,
}

/// The present, by this machine's clock.
pub fn now() -> Moment {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment::EPOCH.after(elapsed)
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            || format!("'{text}' is not a span of time: write a number and ms, s, m, h, d or w, as in 90s or 1h30m");
        let mut rest = text.trim();
        let mut nanos: u128 = 0;
        if rest.is_empty() {
            return Err(refused());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
            let (number, after) = rest.split_at(digits);
            let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, next) = after.split_at(unit_end);
            let unit_nanos: u128 = match unit.trim() {
                "ns" => 1,
                "us" | "µs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" | "min" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "d" => 86_400_000_000_000,
                "w" => 604_800_000_000_000,
                _ => return Err(refused()),
            };
            let number: u128 = number.parse().map_err(|_| refused())?;
            nanos = number.checked_mul(unit_nanos).and_then(|n| n.checked_add(nanos)).ok_or_else(refused)?;
            rest = next;
        }
        u64::try_from(nanos).map(|nanos| Span(Duration::from_nanos(nanos))).map_err(|_| refused())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units =
            [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];
        match units.into_iter().find(|(_, unit)| nanos >= *unit && nanos.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", nanos / unit),
            None if nanos == 0 => f.write_str("0s"),
            None => write!(f, "{nanos}ns"),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(When(now()));
        }
        if let Ok(moment) = Moment::parse(text).or_else(|_| Moment::parse(&format!("{text}T00:00:00Z"))) {
            return Ok(When(moment));
        }
        let span: Span = text.parse().map_err(|_| {
            format!("'{text}' is no moment: write 2026-01-31T12:00:00Z, 2026-01-31, or a span before now such as 2h")
        })?;
        Ok(When(now().before(span.0)))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            || format!("'{text}' is not a size: write a number of bytes, or one with KiB, MiB, GiB, KB, MB or GB");
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(refused()),
        };
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).map(Size).ok_or_else(refused)
    }
}

impl<T: FromStr> FromStr for Limit<T>
where
    T::Err: fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" | "unlimited" => Ok(Limit(None)),
            _ => text.parse().map(|limit| Limit(Some(limit))).map_err(|error: T::Err| format!("{error}, or none")),
        }
    }
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Pair { name: name.to_owned(), value: value.to_owned() }),
            _ => Err(format!("'{text}' is not a pair: write NAME=VALUE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, shown) in
            [("90s", "90s"), ("1h30m", "90m"), ("7d", "168h"), ("500ms", "500ms"), ("0s", "0s"), ("60s", "1m")]
        {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), shown);
        }
        for bad in ["", "5", "s", "-1s", "1y", "1.5h", "99999999999999w"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_are_absolute_or_before_now() {
        assert_eq!("2026-01-31".parse::<When>().unwrap().to_string(), "2026-01-31T00:00:00Z");
        let hour = now().since("1h".parse::<When>().unwrap().0);
        assert!((3590..3610).contains(&hour.as_secs()));
        assert!("yesterday".parse::<When>().is_err());
    }

    #[test]
    fn sizes_and_limits_and_pairs() {
        assert_eq!("64KiB".parse::<Size>().unwrap(), Size(65_536));
        assert_eq!("10gb".parse::<Size>().unwrap(), Size(10_000_000_000));
        assert!("ten".parse::<Size>().is_err() && "99999999999T".parse::<Size>().is_err());
        assert_eq!("none".parse::<Limit<Size>>().unwrap(), Limit(None));
        assert_eq!("5".parse::<Limit<u64>>().unwrap(), Limit(Some(5)));
        assert_eq!("a=b=c".parse::<Pair>().unwrap(), Pair { name: "a".into(), value: "b=c".into() });
        assert!("=b".parse::<Pair>().is_err());
    }
}

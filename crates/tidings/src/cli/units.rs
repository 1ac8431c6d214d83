//! What people write on a command line: moments, limits and pairs, besides spans and sizes.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use event::Moment;
pub use event::units::{Size, Span};

/// A moment: RFC 3339, a date, or a span before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When(pub Moment);

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
    fn moments_are_absolute_or_before_now() {
        assert_eq!("2026-01-31".parse::<When>().unwrap().to_string(), "2026-01-31T00:00:00Z");
        let hour = now().since("1h".parse::<When>().unwrap().0);
        assert!((3590..3610).contains(&hour.as_secs()));
        assert!("yesterday".parse::<When>().is_err());
    }

    #[test]
    fn limits_and_pairs() {
        assert_eq!("none".parse::<Limit<Size>>().unwrap(), Limit(None));
        assert_eq!("5".parse::<Limit<u64>>().unwrap(), Limit(Some(5)));
        assert_eq!("a=b=c".parse::<Pair>().unwrap(), Pair { name: "a".into(), value: "b=c".into() });
        assert!("=b".parse::<Pair>().is_err());
    }
}

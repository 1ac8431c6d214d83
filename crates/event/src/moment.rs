//! Time as an argument.

use alloc::string::{String, ToString};
use core::fmt;
use core::time::Duration;

use thiserror::Error;

/// An instant: nanoseconds since the Unix epoch, UTC. Prints and parses as RFC 3339.
///
/// Covers 1970 to 2554. Arithmetic saturates; nothing here reads a clock.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

/// Why a text is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z, from 1970 on")]
pub struct MomentError(pub String);

impl Moment {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Moment = Moment(0);

    /// The moment `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Moment(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// This moment and `span` more; the last moment there is, where that overflows.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Moment(self.0.saturating_add(nanos_of(span)))
    }

    /// This moment less `span`; the epoch, where that lies before it.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Moment(self.0.saturating_sub(nanos_of(span)))
    }

    /// The time from `earlier` to this moment; zero where `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Parses an RFC 3339 time (RFC 3339, section 5.6).
    ///
    /// # Errors
    /// [`MomentError`] where the text has no offset, is malformed, or lies outside the range.
    pub fn parse(text: &str) -> Result<Self, MomentError> {
        let refused = || MomentError(text.chars().take(64).collect());
        // jiff accepts ISO 8601 more widely than RFC 3339 does: the separator and the length are held here.
        if text.len() < 20 || !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
            return Err(refused());
        }
        let stamp: jiff::Timestamp = text.parse().map_err(|_| refused())?;
        u64::try_from(stamp.as_nanosecond()).map(Moment).map_err(|_| refused())
    }
}

fn nanos_of(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(stamp) => f.write_str(&stamp.to_string()),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_rfc_3339() {
        let text = "2026-11-21T08:55:34.123456789Z";
        let moment = Moment::parse(text).unwrap();
        assert_eq!(moment.to_string(), text);
        assert_eq!(Moment::parse("2026-11-21T09:55:34.123456789+01:00").unwrap(), moment);
        assert_eq!(Moment::EPOCH.to_string(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn refuses_what_is_not_a_moment() {
        for text in ["", "now", "2026-11-21", "2026-11-21T08:55:34", "1969-01-01T00:00:00Z", "2026-13-01T00:00:00Z"] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Moment::EPOCH.before(Duration::from_secs(1)), Moment::EPOCH);
        assert_eq!(Moment::from_nanos(u64::MAX).after(Duration::from_secs(1)).nanos(), u64::MAX);
        assert_eq!(Moment::EPOCH.since(Moment::from_nanos(5)), Duration::ZERO);
    }
}

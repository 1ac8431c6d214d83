//! Times as Go reads and writes them in JSON: RFC 3339, strictly; the zero time is "none".
//!
//! Source: RFC 3339, section 5.6; `time.Time.UnmarshalJSON` of Go, which takes capital `T` and `Z`, a
//! fraction behind a dot, and offsets to 23:59, and knows the years 0 to 9999. Days are counted in the
//! proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").

use core::fmt;

use event::Moment;

/// Seconds from year 1 to 1970: Go's zero time is that much before the epoch.
const ZERO_SECONDS: i64 = -62_135_596_800;

/// What Go writes for "none".
const ZERO_TEXT: &str = "0001-01-01T00:00:00Z";

/// The time in a text: `Some(None)` for "none"; `None` where it is no time.
#[allow(clippy::option_option, reason = "that it is a time, and that it says none, are two answers")]
pub fn parse(text: &str) -> Option<Option<Moment>> {
    let (clock, rest) = text.split_at_checked(19)?;
    let seconds = civil(clock.as_bytes())?;
    let (nanos, zone) = fraction(rest)?;
    let seconds = seconds - offset(zone)?;
    if seconds == ZERO_SECONDS && nanos == 0 {
        return Some(None);
    }
    let moment = match u64::try_from(seconds) {
        Ok(seconds) => seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        Err(_) => 0,
    };
    Some(Some(Moment::from_nanos(moment)))
}

/// The number in a slice of digits.
fn number(digits: Option<&[u8]>) -> Option<i64> {
    let digits = digits?;
    let good = digits.iter().all(u8::is_ascii_digit);
    good.then(|| digits.iter().fold(0, |so_far, digit| so_far * 10 + i64::from(digit - b'0')))
}

/// Seconds from 1970 to `YYYY-MM-DDTHH:MM:SS`.
fn civil(text: &[u8]) -> Option<i64> {
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.into_iter().any(|(place, mark)| text.get(place) != Some(&mark)) {
        return None;
    }
    let (year, month, day) = (number(text.get(..4))?, number(text.get(5..7))?, number(text.get(8..10))?);
    let (hour, minute, second) = (number(text.get(11..13))?, number(text.get(14..16))?, number(text.get(17..19))?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Nanoseconds of a fraction, and what stands behind it. Digits beyond the ninth are cut off.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(digits) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    let (digits, zone) = digits.split_at_checked(end).filter(|_| end > 0)?;
    let nanos = digits.bytes().chain(core::iter::repeat(b'0')).take(9);
    Some((nanos.fold(0, |so_far, digit| so_far * 10 + u64::from(digit - b'0')), zone))
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let bytes = zone.as_bytes();
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    if bytes.len() != 6 || bytes.get(3) != Some(&b':') {
        return None;
    }
    let (hours, minutes) = (number(bytes.get(1..3))?, number(bytes.get(4..6))?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// A time as Go writes it.
pub struct Shown(pub Option<Moment>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(moment) => moment.fmt(f),
            None => f.write_str(ZERO_TEXT),
        }
    }
}

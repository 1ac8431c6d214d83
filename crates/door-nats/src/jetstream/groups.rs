//! Requests for messages, as clients write them, and what of them priority groups are about.

use std::time::Duration;

use journal::{Fetch, FetchError};
use serde::Deserialize;

/// A request's body. Fields that are not known are passed over, as NATS does here even where it is strict.
#[derive(Debug, Default, Deserialize)]
struct Body {
    batch: Option<i64>,
    expires: Option<i64>,
    no_wait: Option<bool>,
    max_bytes: Option<i64>,
    idle_heartbeat: Option<i64>,
    group: Option<String>,
    id: Option<String>,
    min_pending: Option<i64>,
    min_ack_pending: Option<i64>,
    priority: Option<i64>,
}

/// A request for messages.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ask {
    /// What the journal is asked.
    pub(super) fetch: Fetch,
    /// How long until the client gives up waiting; `None`: it never does.
    pub(super) expires: Option<Duration>,
    /// How often a client that hears nothing is told that it is not forgotten.
    pub(super) heartbeat: Option<Duration>,
}

fn span(nanos: Option<i64>) -> Option<Duration> {
    nanos.filter(|nanos| *nanos != 0).map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(1)))
}

fn count(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

impl Ask {
    /// Reads a request's body: nothing, a number, or JSON.
    ///
    /// # Errors
    /// What is wrong with it, as the status has it.
    pub(super) fn parse(body: &[u8]) -> Result<Ask, String> {
        let body = body.trim_ascii();
        if body.first() == Some(&b'{') {
            return Ask::of(serde_json::from_slice(body).map_err(|error| format!("json: {error}"))?);
        }
        let number = std::str::from_utf8(body).ok().and_then(|text| text.parse::<u64>().ok());
        let wait = Some(Duration::MAX);
        let batch = number.unwrap_or(1).clamp(1, u64::MAX - 1);
        Ok(Ask { fetch: Fetch { batch, wait, ..Fetch::default() }, expires: None, heartbeat: None })
    }

    fn of(body: Body) -> Result<Ask, String> {
        let (expires, heartbeat) = (span(body.expires), span(body.idle_heartbeat.filter(|nanos| *nanos > 0)));
        if heartbeat.is_some_and(|heartbeat| heartbeat.saturating_mul(2) > expires.unwrap_or_default()) {
            return Err(String::from("heartbeat value too large"));
        }
        let no_wait = body.no_wait.unwrap_or_default();
        let wait = if no_wait { expires } else { Some(expires.unwrap_or(Duration::MAX)) };
        let fetch = Fetch {
            batch: count(body.batch).max(1),
            bytes: Some(count(body.max_bytes)).filter(|bytes| *bytes > 0),
            wait,
            no_wait,
            group: Some(body.group.unwrap_or_default()),
            priority: u8::try_from(body.priority.unwrap_or_default()).unwrap_or(u8::MAX),
            min_pending: count(body.min_pending),
            min_ack_pending: count(body.min_ack_pending),
            pin: body.id.filter(|id| !id.is_empty()),
        };
        Ok(Ask { fetch, expires, heartbeat })
    }
}

/// A refusal as the status has it. `None`: the consumer is not there.
pub(super) fn refusal(error: &FetchError) -> Option<String> {
    Some(match error {
        FetchError::NotFound { .. } => return None,
        FetchError::Waiting { .. } => String::from("409 Exceeded MaxWaiting"),
        FetchError::Batch => String::from("400 Bad Request - a batch has at least 1 message"),
        FetchError::BatchMax { max } => format!("409 Exceeded MaxRequestBatch of {max}"),
        FetchError::BytesMax { max } => format!("409 Exceeded MaxRequestMaxBytes of {max}"),
        FetchError::ExpiresMax { max } => format!("409 Exceeded MaxRequestExpires of {}", spoken(*max)),
        FetchError::NotOverflow => String::from("400 Bad Request - Not a Overflow Priority consumer"),
        FetchError::NotPinned => String::from("400 Bad Request - Not a Pinned Client Priority consumer"),
        FetchError::Priority => String::from("400 Bad Request - Priority must be between 0 and 9"),
        FetchError::GroupMissing => String::from("400 Bad Request - Priority Group missing"),
        FetchError::GroupUnknown(_) => String::from("400 Bad Request - Invalid Priority Group"),
        FetchError::Storage(_) => String::from("500 Storage Failure"),
        FetchError::Closed(_) => String::from("409 Server Shutdown"),
    })
}

/// A span of time as Go prints it: `1h0m0s`, `1.5s`, `100ms`.
pub(super) fn spoken(span: Duration) -> String {
    let nanos = span.as_nanos();
    let (unit, size) = match nanos {
        0 => return String::from("0s"),
        1..1_000 => ("ns", 1),
        1_000..1_000_000 => ("µs", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    let whole = nanos / size;
    let rest = nanos % size;
    let digits = size.ilog10() as usize;
    let fraction = format!("{rest:0digits$}");
    let fraction = fraction.trim_end_matches('0');
    let point = if rest == 0 { String::new() } else { format!(".{fraction}") };
    if unit != "s" {
        return format!("{whole}{point}{unit}");
    }
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{point}s"),
        (0, _) => format!("{minutes}m{seconds}{point}s"),
        _ => format!("{hours}h{minutes}m{seconds}{point}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_nothing_a_number_or_json() {
        let endless = |batch| Fetch { batch, wait: Some(Duration::MAX), ..Fetch::default() };
        assert_eq!(Ask::parse(b" ").unwrap().fetch, endless(1));
        assert_eq!(Ask::parse(b"25").unwrap().fetch, endless(25));
        assert_eq!(Ask::parse(b"-25").unwrap().fetch, endless(1));
        assert_eq!(Ask::parse(b"x").unwrap().fetch, endless(1));
        let text = br#"{"batch":10,"expires":3000000000,"no_wait":true,"max_bytes":0,"group":null,"odd":1}"#;
        let ask = Ask::parse(text).unwrap();
        assert_eq!((ask.fetch.batch, ask.fetch.no_wait, ask.fetch.bytes), (10, true, None));
        assert_eq!((ask.fetch.wait, ask.fetch.group), (Some(Duration::from_secs(3)), Some(String::new())));
        assert_eq!(Ask::parse(br#"{"no_wait":true}"#).unwrap().fetch.wait, None);
        assert_eq!(Ask::parse(br#"{"batch":-1}"#).unwrap().fetch.batch, 1);
        assert_eq!(Ask::parse(br#"{"priority":-1}"#).unwrap().fetch.priority, u8::MAX);
    }

    #[test]
    fn a_heartbeat_is_at_most_half_the_wait() {
        let late = Ask::parse(br#"{"expires":100,"idle_heartbeat":51}"#);
        assert_eq!(late, Err(String::from("heartbeat value too large")));
        assert!(Ask::parse(br#"{"expires":100,"idle_heartbeat":50}"#).is_ok());
        assert!(Ask::parse(br#"{"idle_heartbeat":50}"#).is_err());
        assert!(Ask::parse(br#"{"batch":"x"}"#).unwrap_err().starts_with("json: "));
        assert!(Ask::parse(b"{").is_err());
    }

    #[test]
    fn spans_are_spoken_as_go_does() {
        let spans = [(0, "0s"), (100, "100ns"), (1_500, "1.5µs"), (100_000_000, "100ms"), (1_500_000_000, "1.5s")];
        let longer = [(60_000_000_000, "1m0s"), (3_600_000_000_000, "1h0m0s"), (90_061_000_000_000, "25h1m1s")];
        for (nanos, text) in spans.into_iter().chain(longer) {
            assert_eq!(spoken(Duration::from_nanos(nanos)), text);
        }
    }
}

//! What is told of a peer's refusal: its status, and its reason where that is one that is known.
//!
//! A peer may answer anything, even what was sent to it. So nothing of an answer is repeated but texts that
//! are known word for word.

/// Reasons that are answered word for word: the original's, then ours.
const EXACT: [&str; 11] = [
    "read body",
    "bad timestamp",
    "stale timestamp",
    "bad signature",
    "bad event body",
    "invalid event: federation event id is required",
    "invalid event: federation event group is required",
    "invalid event: federation event type is required",
    "store error",
    "body too large",
    "busy",
];

/// How reasons begin that go on with something of the fact, and what is told of them.
const BEGINNINGS: [(&str, &str); 6] = [
    ("foreign group", "foreign group"),
    ("foreign source", "foreign source"),
    ("own source", "own source"),
    ("id in use", "id in use"),
    ("invalid event", "invalid event"),
    ("federation observed event for ", "the address is captured there"),
];

/// Seconds by which clocks may differ without a word.
const SKEW_TOLD: u64 = 5;

/// The reason in an answer, if it is a known one.
pub(crate) fn known(answer: &[u8]) -> Option<&'static str> {
    let answer = answer.trim_ascii();
    let exact = EXACT.into_iter().find(|reason| answer == reason.as_bytes());
    let begun = || BEGINNINGS.into_iter().find(|(start, _)| answer.starts_with(start.as_bytes()));
    exact.or_else(|| begun().map(|(_, told)| told))
}

/// What is told: the status, the reason, and for a stale timestamp how the clocks differ.
pub(crate) fn text(status: u16, reason: Option<&str>, peer_ahead: Option<i64>) -> String {
    let mut text = format!("peer returned HTTP {status}");
    if let Some(reason) = reason {
        text.push_str(": ");
        text.push_str(reason);
    }
    if reason == Some("stale timestamp")
        && let Some(ahead) = peer_ahead.filter(|ahead| ahead.unsigned_abs() > SKEW_TOLD)
    {
        let side = if ahead > 0 { "ahead of" } else { "behind" };
        text.push_str(&format!(" (its clock is {} s {side} ours)", ahead.unsigned_abs()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, answer: &str, ahead: Option<i64>, told: &str) {
        assert_eq!(text(status, known(answer.as_bytes()), ahead), told);
    }

    #[test]
    fn only_known_reasons_are_repeated() {
        check(401, "bad signature\n", None, "peer returned HTTP 401: bad signature");
        check(400, "you sent secret-of-yours", None, "peer returned HTTP 400");
        check(400, "", None, "peer returned HTTP 400");
        check(403, "foreign group: this key is for 'lab'\n", None, "peer returned HTTP 403: foreign group");
        check(400, "invalid event: secret-of-yours\n", None, "peer returned HTTP 400: invalid event");
    }

    #[test]
    fn a_stale_timestamp_tells_how_the_clocks_differ() {
        let told = "peer returned HTTP 403: stale timestamp";
        check(403, "stale timestamp\n", Some(600), &format!("{told} (its clock is 600 s ahead of ours)"));
        check(403, "stale timestamp\n", Some(-600), &format!("{told} (its clock is 600 s behind ours)"));
        check(403, "stale timestamp\n", Some(1), told);
        check(
            403,
            "stale timestamp\n",
            Some(i64::MIN),
            &format!("{told} (its clock is 9223372036854775808 s behind ours)"),
        );
        check(401, "bad signature\n", Some(600), "peer returned HTTP 401: bad signature");
    }
}

//! May a received fact be taken?
//!
//! Everything that is asked of a request beside its signature: whether it is fresh, whether it was seen,
//! whether the key that signed it may speak for its group and source; and what is answered where not, in
//! the status and the bytes that routerd answers. No secret and no header is known here.
//!
//! Invariants: a key binds a group, so its holder writes into no other; a fact that claims to be of the
//! receiving node itself is never taken, so nobody makes it push what it did not observe. Source: the
//! notes on routerd's federation in docs/federation.md, section 2. Costs: the cache a few dozen bytes a
//! request in its window.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use event::Fact;
use thiserror::Error;

use crate::envelope::{EnvelopeError, json_string};
use crate::fingerprint::Fingerprint;
use crate::limits::{REPLAYS_MAX, WINDOW_DEFAULT};

/// What a key that is accepted stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binding {
    /// The key's name, or the peer's whose key it is: what facts are marked with that came by it.
    pub name: String,
    /// The only group into which it writes.
    pub group: String,
    /// The only sources that it speaks for; `None`: any but the receiving node itself.
    pub sources: Option<Vec<String>>,
}

/// How far the time of a request may be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    seconds: u64,
}

impl Freshness {
    /// A window in either direction: whole seconds count, and zero is the default of five minutes.
    pub fn new(window: Duration) -> Self {
        let window = if window.as_secs() == 0 { WINDOW_DEFAULT } else { window };
        Freshness { seconds: window.as_secs() }
    }

    /// The window, in seconds.
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// Whether a request of the moment `timestamp` is fresh at `now`, both in seconds since 1970.
    pub fn check(self, now: i64, timestamp: i64) -> bool {
        now.abs_diff(timestamp) <= self.seconds
    }
}

/// Requests that were taken, for as long as they are fresh.
///
/// A request that comes again is answered from the table of facts; this is how it is known and counted.
/// Bounded by [`REPLAYS_MAX`]: the oldest go first.
#[derive(Debug)]
pub struct ReplayCache {
    window: Freshness,
    /// By the time of the request, in seconds: fingerprints of signatures.
    seen: BTreeMap<i64, BTreeSet<u64>>,
    len: usize,
}

impl ReplayCache {
    /// An empty cache.
    pub fn new(window: Freshness) -> Self {
        ReplayCache { window, seen: BTreeMap::new(), len: 0 }
    }

    /// Whether this very request was noted already.
    pub fn seen(&self, timestamp: i64, signature: &[u8]) -> bool {
        self.seen.get(&timestamp).is_some_and(|seen| seen.contains(&print(signature)))
    }

    /// Notes a request whose signature was found good, at `now` in seconds; false where it was noted.
    pub fn note(&mut self, now: i64, timestamp: i64, signature: &[u8]) -> bool {
        while let Some((oldest, seen)) = self.seen.first_key_value() {
            let stale = *oldest < now && !self.window.check(now, *oldest);
            if !stale && self.len < REPLAYS_MAX {
                break;
            }
            self.len -= seen.len();
            self.seen.pop_first();
        }
        let new = self.seen.entry(timestamp).or_default().insert(print(signature));
        self.len += usize::from(new);
        new
    }

    /// How many requests are known.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn print(signature: &[u8]) -> u64 {
    Fingerprint::new(4).bytes(signature).value()
}

/// Why something received is not taken. The text is what is answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reject {
    /// The body could not be read.
    #[error("read body")]
    ReadBody,
    /// The timestamp header is absent, or no whole number.
    #[error("bad timestamp")]
    BadTimestamp,
    /// The request is too old, or from a clock too far ahead.
    #[error("stale timestamp")]
    StaleTimestamp,
    /// No accepted key made this signature.
    #[error("bad signature")]
    BadSignature,
    /// The body is no fact.
    #[error("bad event body")]
    BadBody,
    /// The fact lacks something, or cannot be recorded. The text is the whole answer.
    #[error("{0}")]
    Validation(String),
    /// The body is too long.
    #[error("body too large")]
    TooLarge,
    /// The key binds another group.
    #[error("foreign group: this key writes into the group '{0}' only")]
    ForeignGroup(String),
    /// The key binds other sources.
    #[error("foreign source: this key does not speak for '{0}'")]
    ForeignSource(String),
    /// The fact claims to be of the receiving node itself.
    #[error("own source: '{0}' is this node, which takes no facts about itself from others")]
    OwnSource(String),
    /// The id is in use for a fact of another source.
    #[error("id in use: '{0}' is a fact of another source")]
    Conflict(String),
    /// This node itself captures what was observed. The text names the claim.
    #[error("{claim}")]
    SelfCapture {
        /// What is said of it.
        claim: String,
    },
    /// It could not be recorded. Worth trying again.
    #[error("store error")]
    StoreError,
    /// Too much is being taken already. Worth trying again.
    #[error("busy")]
    Busy,
}

impl Reject {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Reject::ReadBody | Reject::BadTimestamp | Reject::BadBody | Reject::Validation(_) => 400,
            Reject::BadSignature => 401,
            Reject::StaleTimestamp | Reject::ForeignGroup(_) | Reject::ForeignSource(_) | Reject::OwnSource(_) => 403,
            Reject::Conflict(_) | Reject::SelfCapture { .. } => 409,
            Reject::TooLarge => 413,
            Reject::StoreError => 500,
            Reject::Busy => 503,
        }
    }

    /// The body of the answer: `text/plain`, with its line feed.
    pub fn body(&self) -> String {
        format!("{self}\n")
    }

    /// The label under which it is counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Reject::ReadBody => "read_body",
            Reject::BadTimestamp => "bad_timestamp",
            Reject::StaleTimestamp => "stale_timestamp",
            Reject::BadSignature => "bad_signature",
            Reject::BadBody => "bad_body",
            Reject::Validation(_) => "validation",
            Reject::TooLarge => "too_large",
            Reject::ForeignGroup(_) => "foreign_group",
            Reject::ForeignSource(_) => "foreign_source",
            Reject::OwnSource(_) => "own_source",
            Reject::Conflict(_) => "conflict",
            Reject::SelfCapture { .. } => "self_capture",
            Reject::StoreError => "store_error",
            Reject::Busy => "busy",
        }
    }
}

impl From<EnvelopeError> for Reject {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::Body => Reject::BadBody,
            required @ EnvelopeError::Required(_) => Reject::Validation(format!("{required}")),
        }
    }
}

impl From<crate::stored::StoredError> for Reject {
    fn from(error: crate::stored::StoredError) -> Self {
        Reject::Validation(format!("invalid event: {error}"))
    }
}

/// Judges a fact that came by a key.
///
/// # Errors
/// [`Reject::ForeignGroup`], [`Reject::OwnSource`] or [`Reject::ForeignSource`].
pub fn judge(binding: &Binding, fact: &Fact, own_node: &str) -> Result<(), Reject> {
    if fact.group != binding.group {
        return Err(Reject::ForeignGroup(binding.group.clone()));
    }
    if !own_node.is_empty() && fact.source == own_node {
        return Err(Reject::OwnSource(fact.source.clone()));
    }
    if binding.sources.as_ref().is_some_and(|sources| !sources.contains(&fact.source)) {
        return Err(Reject::ForeignSource(fact.source.clone()));
    }
    Ok(())
}

/// The body of the answer to a fact that was taken, byte for byte as routerd answers.
pub fn accepted(id: &str, duplicate: bool) -> String {
    format!("{{\"accepted\":true,\"duplicate\":{duplicate},\"id\":{}}}\n", json_string(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn three_hundred_seconds_are_fresh_and_one_more_is_not() {
        let window = Freshness::new(Duration::from_millis(300_900));
        let now = 1_748_600_000;
        for (off, fresh) in [(0, true), (300, true), (-300, true), (301, false), (-301, false)] {
            assert_eq!(window.check(now, now + off), fresh, "{off}");
        }
        assert!(!window.check(now, i64::MIN) && !window.check(now, i64::MAX) && !window.check(i64::MIN, i64::MAX));
        assert!(!window.check(now, now.wrapping_sub(i64::MIN)), "no way around by overflow");
        assert_eq!(Freshness::new(Duration::ZERO).seconds(), 300);
        assert_eq!(Freshness::new(Duration::from_millis(900)).seconds(), 300);
    }

    #[test]
    fn a_request_is_known_while_it_is_fresh() {
        let mut cache = ReplayCache::new(Freshness::new(Duration::from_secs(300)));
        assert!(!cache.seen(1_000, b"aa") && cache.note(1_000, 1_000, b"aa"));
        assert!(cache.seen(1_000, b"aa") && !cache.note(1_100, 1_000, b"aa"));
        assert!(!cache.seen(1_001, b"aa") && !cache.seen(1_000, b"ab"));
        assert!(cache.note(1_300, 1_600, b"ahead"));
        assert!(cache.seen(1_000, b"aa") && cache.len() == 2);
        assert!(cache.note(1_301, 1_301, b"bb"));
        assert!(!cache.seen(1_000, b"aa") && cache.len() == 2, "stale: refused for its age from now on");
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = ReplayCache::new(Freshness::new(Duration::from_secs(300)));
        for number in 0..=REPLAYS_MAX as i64 {
            cache.note(1_000, 1_000 + number % 100, &number.to_le_bytes());
        }
        assert!(!cache.is_empty() && cache.len() <= REPLAYS_MAX);
        assert!(!cache.seen(1_000, &0_i64.to_le_bytes()), "the oldest second went");
    }

    fn check(reject: Reject, status: u16, body: &str, reason: &str) {
        assert_eq!((reject.status(), reject.body().as_str(), reject.reason()), (status, body, reason));
    }

    #[test]
    fn what_is_refused_is_answered_as_routerd_answers() {
        check(Reject::ReadBody, 400, "read body\n", "read_body");
        check(Reject::BadTimestamp, 400, "bad timestamp\n", "bad_timestamp");
        check(Reject::StaleTimestamp, 403, "stale timestamp\n", "stale_timestamp");
        check(Reject::BadSignature, 401, "bad signature\n", "bad_signature");
        check(EnvelopeError::Body.into(), 400, "bad event body\n", "bad_body");
        let required = "invalid event: federation event group is required\n";
        check(EnvelopeError::Required("group").into(), 400, required, "validation");
        check(Reject::StoreError, 500, "store error\n", "store_error");
        check(Reject::TooLarge, 413, "body too large\n", "too_large");
        assert_eq!(accepted("a<b", false), "{\"accepted\":true,\"duplicate\":false,\"id\":\"a\\u003cb\"}\n");
    }

    #[test]
    fn a_key_speaks_for_its_group_and_sources_alone() {
        let mut binding = Binding { name: "k".into(), group: "g".into(), sources: None };
        let mut fact = Fact::new("g", "1", "t");
        let judged = |binding: &Binding, fact: &Fact| judge(binding, fact, "me").map_err(|reject| reject.reason());
        assert_eq!(judged(&binding, &fact), Ok(()), "a source that is not said is nobody's");
        fact.source = "site-a".to_string();
        assert_eq!(judged(&binding, &fact), Ok(()));
        binding.sources = Some(["site-b".to_string()].into());
        assert_eq!(judged(&binding, &fact), Err("foreign_source"));
        fact.source = "me".to_string();
        binding.sources = Some(["me".to_string()].into());
        assert_eq!(judged(&binding, &fact), Err("own_source"));
        fact.group = "other".to_string();
        assert_eq!(judged(&binding, &fact), Err("foreign_group"));
        assert_eq!(judge(&binding, &fact, "me").unwrap_err().status(), 403);
    }
}

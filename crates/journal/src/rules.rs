//! The rules that every engine applies in the same words: what a declaration must be, and whether
//! an append is taken.

mod consumers;

use alloc::format;
use alloc::string::{String, ToString};

use event::{Moment, Pattern};

use crate::config::{Discard, StreamConfig};
use crate::error::{AppendError, StreamError};
use crate::limits::{MESSAGE_ID_BYTES_MAX, NAME_BYTES_MAX, PATTERNS_MAX};
use crate::stream::{Append, StreamState};

pub use consumers::{check_consumer, check_consumer_update};

/// What the rules ask of one stream's contents.
pub trait Contents {
    /// What it holds, appends not yet durable included.
    fn state(&self) -> StreamState;
    /// The last position of a subject, and how many messages it has; `(0, 0)` where none.
    fn subject(&self, subject: &str) -> (u64, u64);
    /// The last position of all that a pattern matches; 0 where none.
    fn last_matching(&self, pattern: &Pattern) -> u64;
    /// The position recorded under a message id within the window.
    fn recorded(&self, id: &[u8], now: Moment) -> Option<u64>;
    /// The id last recorded.
    fn last_id(&self) -> Option<String>;
}

/// What the rules say of an append that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Record it at this position and moment; it expires then.
    New {
        /// Position.
        seq: u64,
        /// Moment: now, or that of the message ahead where the clock went back.
        time: Moment,
        /// When its own lifetime ends.
        expires: Option<Moment>,
    },
    /// It is there already.
    Duplicate {
        /// Where.
        seq: u64,
    },
}

/// Judges an append to the stream that captures its subject.
///
/// # Errors
/// [`AppendError`] where a precondition or a limit refuses it.
pub fn admit(
    config: &StreamConfig,
    contents: &impl Contents,
    append: &Append,
    now: Moment,
) -> Result<Admission, AppendError> {
    let (expect, state) = (&append.expect, contents.state());
    let size = append.message.size() as u64;
    if let Some(expected) = expect.stream.as_ref().filter(|expected| **expected != config.name) {
        return Err(AppendError::OtherStream { expected: expected.clone(), found: config.name.clone() });
    }
    if let Some(max) = config.message_bytes_max.map(u64::from).filter(|max| size > *max) {
        return Err(AppendError::TooLarge { size, max });
    }
    if append.ttl.is_some() && !config.allow_ttl {
        return Err(AppendError::TtlNotAllowed);
    }
    if let Some(id) = &append.id {
        if id.len() > MESSAGE_ID_BYTES_MAX {
            return Err(AppendError::IdTooLong);
        }
        if let Some(seq) = contents.recorded(id, now) {
            return Ok(Admission::Duplicate { seq });
        }
    }
    check_expectations(contents, append, state)?;
    check_room(config, contents, append, state, size)?;
    let time = now.max(state.last_time);
    Ok(Admission::New { seq: state.last + 1, time, expires: append.ttl.map(|ttl| time.after(ttl)) })
}

fn check_expectations(contents: &impl Contents, append: &Append, state: StreamState) -> Result<(), AppendError> {
    let expect = &append.expect;
    if let Some(expected) = expect.last.filter(|expected| *expected != state.last) {
        return Err(AppendError::LastSeq { expected, found: state.last });
    }
    if let Some(expected) = expect.last_of_subject {
        let found = match &expect.subject {
            Some(pattern) => contents.last_matching(pattern),
            None => contents.subject(append.message.subject.as_str()).0,
        };
        if found != expected {
            return Err(AppendError::LastSubjectSeq { expected, found });
        }
    }
    if let Some(expected) = &expect.last_id {
        let found = contents.last_id().unwrap_or_default();
        if found != *expected {
            return Err(AppendError::LastId { expected: expected.clone(), found });
        }
    }
    Ok(())
}

fn check_room(
    config: &StreamConfig,
    contents: &impl Contents,
    append: &Append,
    state: StreamState,
    size: u64,
) -> Result<(), AppendError> {
    if let Some(max) = config.bytes_max.filter(|max| size > *max) {
        return Err(AppendError::TooLarge { size, max });
    }
    if config.discard == Discard::Old {
        return Ok(());
    }
    let of_subject = |max: &u64| contents.subject(append.message.subject.as_str()).1 >= *max;
    let subject_full = config.messages_per_subject_max.as_ref().is_some_and(of_subject);
    if subject_full && config.discard_new_per_subject {
        return Err(AppendError::Full { limit: "messages_per_subject_max" });
    }
    // Of a full subject the oldest message goes for the new one, so the count does not grow.
    if !subject_full && config.messages_max.is_some_and(|max| state.messages >= max) {
        return Err(AppendError::Full { limit: "messages_max" });
    }
    if config.bytes_max.is_some_and(|max| state.bytes + size > max) {
        return Err(AppendError::Full { limit: "bytes_max" });
    }
    Ok(())
}

/// Whether the oldest message has to go: over a limit by count, bytes or age.
pub fn oldest_must_go(config: &StreamConfig, state: &StreamState, now: Moment) -> bool {
    let over = |max: Option<u64>, value: u64| max.is_some_and(|max| value > max);
    state.messages > 0
        && (over(config.messages_max, state.messages)
            || over(config.bytes_max, state.bytes)
            || config.age_max.is_some_and(|age| now.since(state.first_time) >= age))
}

fn check_name(name: &str, field: &'static str) -> Result<(), (&'static str, String)> {
    let good = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if good {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    Err((field, format!("must be 1 to {NAME_BYTES_MAX} letters, digits, '_' or '-', not {shown:?}")))
}

/// Judges a stream's declaration by itself; overlap with other streams is the engine's to check
/// with [`overlap`].
///
/// # Errors
/// [`StreamError::Invalid`] naming the field.
pub fn check_stream(config: &StreamConfig) -> Result<(), StreamError> {
    let invalid = |field, reason: &str| Err(StreamError::Invalid { field, reason: reason.to_string() });
    check_name(&config.name, "name").map_err(|(field, reason)| StreamError::Invalid { field, reason })?;
    if config.subjects.is_empty() || config.subjects.len() > PATTERNS_MAX {
        return invalid("subjects", "must be 1 to 256 patterns");
    }
    for (place, ours) in config.subjects.iter().enumerate() {
        for theirs in config.subjects.iter().skip(place + 1) {
            if ours.overlaps(theirs) {
                let reason = format!("must not overlap one another: '{ours}' and '{theirs}' do");
                return Err(StreamError::Invalid { field: "subjects", reason });
            }
        }
    }
    for (field, limit) in [
        ("messages_max", config.messages_max),
        ("bytes_max", config.bytes_max),
        ("messages_per_subject_max", config.messages_per_subject_max),
        ("message_bytes_max", config.message_bytes_max.map(u64::from)),
        ("age_max", config.age_max.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))),
        ("replicas", Some(u64::from(config.replicas))),
    ] {
        if limit == Some(0) {
            return invalid(field, "must be at least 1; leave it out for no limit");
        }
    }
    if config.discard_new_per_subject && (config.discard != Discard::New || config.messages_per_subject_max.is_none()) {
        return invalid("discard_new_per_subject", "needs discard: new and messages_per_subject_max");
    }
    if config.age_max.is_some_and(|age| config.duplicate_window > age) {
        return invalid("duplicate_window", "must not be longer than age_max");
    }
    Ok(())
}

/// The first overlap of a declaration with another stream's.
///
/// # Errors
/// [`StreamError::Overlap`] naming both.
pub fn overlap(config: &StreamConfig, other: &StreamConfig) -> Result<(), StreamError> {
    for ours in &config.subjects {
        if let Some(theirs) = other.subjects.iter().find(|theirs| ours.overlaps(theirs)) {
            return Err(StreamError::Overlap {
                name: config.name.clone(),
                ours: ours.clone(),
                other: other.name.clone(),
                theirs: theirs.clone(),
            });
        }
    }
    Ok(())
}

/// Judges a change of a stream's declaration.
///
/// # Errors
/// [`StreamError::Invalid`] naming a field that cannot change.
pub fn check_stream_update(old: &StreamConfig, new: &StreamConfig) -> Result<(), StreamError> {
    check_stream(new)?;
    let fixed = |field| Err(StreamError::Invalid { field, reason: "cannot be changed".to_string() });
    if old.storage != new.storage {
        return fixed("storage");
    }
    if old.retention != new.retention {
        return fixed("retention");
    }
    if old.deny_delete && !new.deny_delete {
        return fixed("deny_delete");
    }
    if old.deny_purge && !new.deny_purge {
        return fixed("deny_purge");
    }
    Ok(())
}

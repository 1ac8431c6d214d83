//! The rules that every engine applies in the same words: what a declaration must be, and whether
//! an append is taken.

mod consumers;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use event::{Headers, Message, Moment, Pattern, Subject};

use crate::config::{Discard, Source, StreamConfig};
use crate::error::{AppendError, BatchError, ConsumerError, StreamError};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, MARKER_TTL_MIN, MESSAGE_ID_BYTES_MAX, NAME_BYTES_MAX, PATTERNS_MAX,
    SOURCES_MAX,
};
use crate::stream::{Append, Purge, Rollup, StreamState};

pub use consumers::{check_consumer, check_consumer_update};

/// What the rules ask of one stream's contents.
pub trait Contents {
    /// What it holds, appends not yet durable included.
    fn state(&self) -> StreamState;
    /// The last position of a subject, and how many messages it has; `(0, 0)` where none.
    fn subject(&self, subject: &str) -> (u64, u64);
    /// The size of the only message of a subject; `None` where it has none or several.
    fn sole(&self, subject: &str) -> Option<u64>;
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
        /// When its own lifetime ends; [`NEVER`]: it does not go by age either.
        expires: Option<Moment>,
    },
    /// It is there already.
    Duplicate {
        /// Where.
        seq: u64,
    },
}

/// When a message expires that lives for [`TTL_NEVER`](crate::limits::TTL_NEVER).
pub const NEVER: Moment = Moment::from_nanos(u64::MAX);

/// Does what the stream's transform says to an append's subject. `last` is the position ahead of it.
/// To be done once, before it is judged.
pub fn transform(config: &StreamConfig, last: u64, append: &mut Append) {
    let Some(transform) = &config.transform else { return };
    // SplitMix64 of the position: as good as chance for spreading, and the same on every engine.
    let mut chance = last.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    chance = (chance ^ (chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    chance = (chance ^ (chance >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    if let Some(subject) = transform.apply(&append.message.subject, chance ^ (chance >> 31)) {
        append.message.subject = subject;
    }
}

/// Judges an append to the stream that captures its subject, or that it names. Its subject is as
/// [`transform`] left it.
///
/// # Errors
/// [`AppendError`] where a precondition or a limit refuses it.
pub fn admit(
    config: &StreamConfig,
    contents: &impl Contents,
    append: &Append,
    now: Moment,
) -> Result<Admission, AppendError> {
    let state = contents.state();
    let size = check_alone(config, append)?;
    if let Some(id) = append.id.as_ref().filter(|_| append.at.is_none())
        && let Some(seq) = contents.recorded(id, now)
    {
        return Ok(Admission::Duplicate { seq });
    }
    check_expectations(contents, append, state)?;
    check_room(config, contents, append, state, size)?;
    let (seq, time) = match append.at {
        None => (state.last + 1, now),
        Some((seq, time)) if seq > state.last => (seq, time),
        Some((seq, _)) => return Err(AppendError::Position { seq, last: state.last }),
    };
    let time = time.max(state.last_time);
    Ok(Admission::New { seq, time, expires: append.ttl.map(|ttl| time.after(lifetime(config, ttl))) })
}

/// Judges all appends of a batch, as if they came one after the other, before any is recorded. Their
/// subjects are as [`transform`] left them.
///
/// What an earlier message of the batch would decide is not judged but refused, as in NATS: the last
/// position is expected by the first message only; that of a subject only where the batch has not
/// brought a message of it; a rollup of a subject only by its first message in the batch, and of the
/// stream only by the first of all. The last message id cannot be expected.
///
/// # Errors
/// The first message that is refused, and why.
pub fn admit_all(
    config: &StreamConfig,
    contents: &impl Contents,
    appends: &[Append],
    now: Moment,
) -> Result<Vec<Admission>, BatchError> {
    let whole = |error| Err(BatchError { index: 0, error });
    if config.sealed {
        return whole(AppendError::Sealed);
    }
    if !config.allow_atomic {
        return whole(AppendError::BatchNotAllowed);
    }
    let bytes: usize = appends.iter().map(|append| append.message.size()).sum();
    if appends.len() > BATCH_MESSAGES_MAX || bytes > BATCH_BYTES_MAX {
        return whole(AppendError::BatchTooLarge);
    }
    if appends.is_empty() {
        return whole(AppendError::BatchUnsupported("it is empty"));
    }
    let state = contents.state();
    let time = now.max(state.last_time);
    let mut staged = Staged::default();
    let mut admissions = Vec::with_capacity(appends.len());
    for (index, append) in appends.iter().enumerate() {
        staged.admit(config, contents, append, now, state).map_err(|error| BatchError { index, error })?;
        let expires = append.ttl.map(|ttl| time.after(lifetime(config, ttl)));
        admissions.push(Admission::New { seq: state.last + staged.count, time, expires });
    }
    Ok(admissions)
}

/// What the messages of a batch so far bring.
#[derive(Default)]
struct Staged<'a> {
    count: u64,
    bytes: u64,
    subjects: BTreeMap<&'a str, u64>,
    ids: BTreeSet<&'a [u8]>,
}

impl<'a> Staged<'a> {
    fn admit(
        &mut self,
        config: &StreamConfig,
        contents: &impl Contents,
        append: &'a Append,
        now: Moment,
        state: StreamState,
    ) -> Result<(), AppendError> {
        let size = check_alone(config, append)?;
        let (expect, subject) = (&append.expect, append.message.subject.as_str());
        if append.at.is_some() {
            return Err(AppendError::BatchUnsupported("a position of its own"));
        }
        if expect.last_id.is_some() {
            return Err(AppendError::BatchUnsupported("the last message id"));
        }
        if let Some(id) = &append.id
            && (!self.ids.insert(id) || contents.recorded(id, now).is_some())
        {
            return Err(AppendError::BatchDuplicate);
        }
        let decided = |pattern: &Pattern| self.subjects.keys().any(|each| pattern.matches(each));
        let known = self.subjects.contains_key(subject);
        if expect.last_of_subject.is_some() && expect.subject.as_ref().map_or(known, decided) {
            return Err(AppendError::BatchUnsupported("the last position of a subject that it brings"));
        }
        check_expectations(contents, append, StreamState { last: state.last + self.count, ..state })?;
        if expect.last.is_some() && self.count > 0 {
            return Err(AppendError::BatchUnsupported("the last position"));
        }
        match append.rollup {
            Some(Rollup::Subject) if known => return Err(AppendError::BatchUnsupported("a rollup of its own subject")),
            Some(Rollup::All) if self.count > 0 => return Err(AppendError::BatchUnsupported("a rollup of all")),
            _ => {}
        }
        self.count += 1;
        self.bytes += size;
        let of_subject = self.subjects.entry(subject).or_default();
        *of_subject += 1;
        if config.discard == Discard::Old {
            return Ok(());
        }
        if config.messages_max.is_some_and(|max| state.messages + self.count > max) {
            return Err(AppendError::Full { limit: "messages_max" });
        }
        if config.bytes_max.is_some_and(|max| state.bytes + self.bytes > max) {
            return Err(AppendError::Full { limit: "bytes_max" });
        }
        let full = |max: u64| contents.subject(subject).1 + *of_subject > max;
        if config.discard_new_per_subject
            && append.rollup.is_none()
            && config.messages_per_subject_max.is_some_and(full)
        {
            return Err(AppendError::Full { limit: "messages_per_subject_max" });
        }
        Ok(())
    }
}

/// How long a message lives that asks for so long: as long as the marker that may follow it, so that
/// no marker outlives what was recorded behind it.
fn lifetime(config: &StreamConfig, ttl: Duration) -> Duration {
    match config.marker_ttl {
        Some(marker) if config.messages_per_subject_max != Some(1) => ttl.max(marker),
        Some(_) => ttl.max(Duration::from_nanos(1)),
        None => ttl,
    }
}

/// Judges what an append says of itself; gives its size.
fn check_alone(config: &StreamConfig, append: &Append) -> Result<u64, AppendError> {
    let size = append.message.size() as u64;
    if config.sealed {
        return Err(AppendError::Sealed);
    }
    if let Some(expected) = append.expect.stream.as_ref().filter(|expected| **expected != config.name) {
        return Err(AppendError::OtherStream { expected: expected.clone(), found: config.name.clone() });
    }
    let largest = [config.message_bytes_max.map(u64::from), config.bytes_max].into_iter().flatten().min();
    if let Some(max) = largest.filter(|max| size > *max) {
        return Err(AppendError::TooLarge { size, max });
    }
    if append.ttl.is_some() && !config.allow_ttl && append.at.is_none() {
        return Err(AppendError::TtlNotAllowed);
    }
    if append.rollup.is_some() && !config.allow_rollup && append.at.is_none() {
        return Err(AppendError::RollupNotAllowed);
    }
    if append.id.as_ref().is_some_and(|id| id.len() > MESSAGE_ID_BYTES_MAX) {
        return Err(AppendError::IdTooLong);
    }
    Ok(size)
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
    if config.discard == Discard::Old {
        return Ok(());
    }
    let subject = append.message.subject.as_str();
    let subject_full = config.messages_per_subject_max.is_some_and(|max| contents.subject(subject).1 >= max);
    // What a message replaces goes in any case, so that it does not make its subject fuller.
    if subject_full && config.discard_new_per_subject && append.rollup.is_none() {
        return Err(AppendError::Full { limit: "messages_per_subject_max" });
    }
    // Of a full subject the oldest message goes for the new one, so the count does not grow.
    if !subject_full && config.messages_max.is_some_and(|max| state.messages >= max) {
        return Err(AppendError::Full { limit: "messages_max" });
    }
    let freed = contents.sole(subject).filter(|_| subject_full).unwrap_or(0);
    if config.bytes_max.is_some_and(|max| state.bytes - freed.min(state.bytes) + size > max) {
        return Err(AppendError::Full { limit: "bytes_max" });
    }
    Ok(())
}

/// Whether the oldest message has to go: over a limit by count or bytes.
pub fn oldest_must_go(config: &StreamConfig, state: &StreamState) -> bool {
    let over = |max: Option<u64>, value: u64| max.is_some_and(|max| value > max);
    state.messages > 0 && (over(config.messages_max, state.messages) || over(config.bytes_max, state.bytes))
}

/// Whether a message of a moment has to go by age.
pub fn is_aged(config: &StreamConfig, time: Moment, now: Moment) -> bool {
    config.age_max.is_some_and(|age| now.since(time) >= age)
}

/// The header by which a marker says why its subject has nothing else any more (NATS ADR-43).
pub const MARKER_REASON: &str = "Nats-Marker-Reason";

/// The marker that takes the place of a subject's last message, and how long it lives. `None` where
/// the stream wants none.
///
/// `headers` are those of the message that goes: a marker is not followed by another, nor is what a
/// key-value store's purge left.
pub fn marker(config: &StreamConfig, subject: &Subject, headers: &Headers) -> Option<(Message, Duration)> {
    let life = config.marker_ttl.filter(|_| !config.sealed && !is_marker(headers))?;
    let seconds = life.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    };
    let pairs = [(MARKER_REASON, "MaxAge"), ("Nats-TTL", text.as_str()), ("Nats-Rollup", "sub")];
    let headers = Headers::from_pairs(pairs).ok()?;
    Some((Message { headers, ..Message::new(subject.clone(), Bytes::new()) }, Duration::from_secs(seconds)))
}

/// Whether headers are those of a marker.
pub fn is_marker(headers: &Headers) -> bool {
    headers.get(MARKER_REASON).is_some_and(|reason| !reason.is_empty()) || headers.get("KV-Operation") == Some("PURGE")
}

/// Judges the deletion of one message.
///
/// # Errors
/// [`StreamError::Denied`].
pub fn check_delete(config: &StreamConfig) -> Result<(), StreamError> {
    match (config.sealed, config.deny_delete) {
        (true, _) => Err(StreamError::Denied("sealed")),
        (_, true) => Err(StreamError::Denied("deny_delete")),
        _ => Ok(()),
    }
}

/// Judges a purge.
///
/// # Errors
/// [`StreamError::Denied`], or [`StreamError::Invalid`] naming a field.
pub fn check_purge(config: &StreamConfig, purge: &Purge) -> Result<(), StreamError> {
    if config.sealed {
        return Err(StreamError::Denied("sealed"));
    }
    if config.deny_purge {
        return Err(StreamError::Denied("deny_purge"));
    }
    if purge.before.is_some() && purge.keep.is_some() {
        return Err(StreamError::Invalid { field: "keep", reason: "must not be given with 'before'".into() });
    }
    Ok(())
}

/// Judges whether a stream takes one consumer more than it has.
///
/// # Errors
/// [`ConsumerError::TooMany`].
pub fn check_consumers(config: &StreamConfig, count: u64) -> Result<(), ConsumerError> {
    match config.consumers_max.filter(|max| count >= *max) {
        Some(max) => Err(ConsumerError::TooMany(max)),
        None => Ok(()),
    }
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
    let fed = config.mirror.is_some() || !config.sources.is_empty();
    if (config.subjects.is_empty() && !fed) || config.subjects.len() > PATTERNS_MAX {
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
        ("consumers_max", config.consumers_max),
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
    if config.deny_purge && config.allow_rollup {
        return invalid("allow_rollup", "must not be set with deny_purge");
    }
    if config.marker_ttl.is_some_and(|life| life < MARKER_TTL_MIN) {
        return invalid("marker_ttl", "must be at least a second");
    }
    if config.marker_ttl.is_some() && !config.allow_ttl {
        return invalid("marker_ttl", "needs allow_ttl");
    }
    check_origins(config)
}

/// Judges where a stream's messages come from.
fn check_origins(config: &StreamConfig) -> Result<(), StreamError> {
    let invalid = |field, reason: &str| Err(StreamError::Invalid { field, reason: reason.to_string() });
    if let Some(mirror) = &config.mirror {
        check_source(mirror, "mirror")?;
        let absent = [
            ("subjects", config.subjects.is_empty()),
            ("sources", config.sources.is_empty()),
            ("first", config.first <= 1),
            ("allow_atomic", !config.allow_atomic),
            ("marker_ttl", config.marker_ttl.is_none()),
        ];
        if let Some((field, _)) = absent.into_iter().find(|(_, absent)| !absent) {
            return invalid(field, "must not be given for a mirror");
        }
    }
    if config.sources.len() > SOURCES_MAX {
        return invalid("sources", "must be at most 256");
    }
    for (place, source) in config.sources.iter().enumerate() {
        check_source(source, "sources")?;
        if config.sources.iter().skip(place + 1).any(|other| other == source) {
            return invalid("sources", "must not name the same source twice");
        }
    }
    Ok(())
}

fn check_source(source: &Source, field: &'static str) -> Result<(), StreamError> {
    check_name(&source.stream, field).map_err(|(field, reason)| StreamError::Invalid { field, reason })?;
    let invalid = |reason: &str| Err(StreamError::Invalid { field, reason: reason.to_string() });
    if source.filter.is_some() && !source.transforms.is_empty() {
        return invalid("must not have a filter and transforms");
    }
    if source.transforms.len() > PATTERNS_MAX {
        return invalid("must have at most 256 transforms");
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
    if old.sealed && !new.sealed {
        return fixed("sealed");
    }
    if new.mirror.is_some() && old.mirror != new.mirror {
        return fixed("mirror");
    }
    Ok(())
}

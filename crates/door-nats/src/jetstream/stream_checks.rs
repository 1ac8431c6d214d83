//! What a stream's declaration must be, in the words of NATS, and how its zeros are filled.
//!
//! Judged in the order in which a NATS server judges, because clients test which fault is named
//! first. What depends on other streams is judged where they are at hand.

use std::time::Duration;

use event::{Pattern, Subject};
use journal::limits::DUPLICATE_WINDOW_DEFAULT;

use super::errors::{self as e, ApiError};
use super::stream_forms::nanos;
use super::wire::{Discard, Retention, SourceForm, StreamForm, TransformForm};

/// Longest name, in bytes.
const NAME_MAX: usize = 255;
/// Longest description, in bytes.
pub(super) const DESCRIPTION_MAX: usize = 4 * 1024;
/// Longest metadata, in bytes of keys and values.
pub(super) const METADATA_MAX: usize = 128 * 1024;
/// Most copies that a NATS server allows.
const REPLICAS_MAX: i64 = 5;
/// Shortest age, and shortest window for duplicates, in nanoseconds.
const SHORTEST: i64 = 100_000_000;
const SECOND: i64 = 1_000_000_000;

fn bad<T>(why: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, ApiError> {
    Err(ApiError::stream_config(why))
}

/// Whether a name is one that NATS allows.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| matches!(c, '.' | '*' | '>' | '\\' | '/') || c.is_whitespace())
}

/// Bytes of keys and values.
pub(super) fn metadata_bytes(metadata: &std::collections::BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// Judges a declaration by itself and fills its zeros.
///
/// # Errors
/// What a NATS server says of it.
pub(super) fn check(form: &mut StreamForm, pedantic: bool) -> Result<(), ApiError> {
    check_texts(form)?;
    fill_limits(form, pedantic)?;
    check_window(form)?;
    check_flags(form, pedantic)?;
    check_mirror(form)?;
    check_sources(form)?;
    check_subjects(form)?;
    check_republish(form, pedantic)?;
    if form.placement.as_ref().is_some_and(|placement| !placement.preferred.is_empty()) {
        return bad("preferred server not permitted in placement");
    }
    form.placement = form.placement.take().filter(|placement| *placement != Default::default());
    Ok(())
}

fn check_texts(form: &StreamForm) -> Result<(), ApiError> {
    if !is_name(&form.name) {
        return bad("stream name is required and can not contain '.', '*', '>', '\\', '/'");
    }
    if form.name.len() > NAME_MAX {
        return bad(format!("stream name is too long, maximum allowed is {NAME_MAX}"));
    }
    if form.description.len() > DESCRIPTION_MAX {
        return bad(format!("stream description is too long, maximum allowed is {DESCRIPTION_MAX}"));
    }
    if metadata_bytes(&form.metadata) > METADATA_MAX {
        return bad(format!("stream metadata exceeds maximum size of {METADATA_MAX} bytes"));
    }
    Ok(())
}

fn fill_limits(form: &mut StreamForm, pedantic: bool) -> Result<(), ApiError> {
    if form.num_replicas == 0 {
        form.num_replicas = 1;
    }
    if form.num_replicas > REPLICAS_MAX {
        return bad(format!("maximum replicas is {REPLICAS_MAX}"));
    }
    if form.num_replicas < 0 {
        return Err(e::REPLICAS_NEGATIVE);
    }
    let mut size = i64::from(form.max_msg_size);
    for (name, value) in [
        ("max_msgs", &mut form.max_msgs),
        ("max_msgs_per_subject", &mut form.max_msgs_per_subject),
        ("max_bytes", &mut form.max_bytes),
        ("max_msg_size", &mut size),
        ("max_consumers", &mut form.max_consumers),
    ] {
        if pedantic && *value < -1 {
            return Err(ApiError::new(400, 10157, format!("pedantic mode: {name} must be set to -1")));
        }
        if *value <= 0 {
            *value = -1;
        }
    }
    form.max_msg_size = i32::try_from(size).unwrap_or(-1);
    if form.max_age < 0 {
        return bad("max age can not be negative");
    }
    if form.max_age != 0 && form.max_age < SHORTEST {
        return bad("max age needs to be >= 100ms");
    }
    Ok(())
}

fn check_window(form: &mut StreamForm) -> Result<(), ApiError> {
    if form.duplicate_window == 0 && form.mirror.is_none() && form.sources.is_empty() {
        let window = nanos(DUPLICATE_WINDOW_DEFAULT);
        form.duplicate_window = if form.max_age != 0 { window.min(form.max_age) } else { window };
    }
    if form.duplicate_window < 0 {
        return bad("duplicates window can not be negative");
    }
    if form.max_age != 0 && form.duplicate_window > form.max_age {
        return bad("duplicates window can not be larger then max age");
    }
    if form.duplicate_window > 0 && form.duplicate_window < SHORTEST {
        return bad("duplicates window needs to be >= 100ms");
    }
    Ok(())
}

fn check_flags(form: &mut StreamForm, pedantic: bool) -> Result<(), ApiError> {
    if form.deny_purge && form.allow_rollup_hdrs {
        return bad("roll-ups require the purge permission");
    }
    if form.allow_msg_counter {
        match () {
            () if form.discard == Discard::New => return bad("counter stream cannot use discard new"),
            () if form.allow_msg_ttl => return bad("counter stream cannot use message TTLs"),
            () if form.allow_msg_schedules => return bad("counter stream cannot use message schedules"),
            () if form.retention != Retention::Limits => return bad("counter stream can only use limits retention"),
            () => {}
        }
    }
    if form.discard_new_per_subject {
        if form.discard != Discard::New {
            return bad("discard new per subject requires discard new policy to be set");
        }
        if form.max_msgs_per_subject <= 0 {
            return bad("discard new per subject requires max msgs per subject > 0");
        }
    }
    match form.subject_delete_marker_ttl {
        0 => {}
        ttl if ttl < 0 => return bad("subject delete marker TTL must not be negative"),
        ttl if ttl < SECOND => return bad("subject delete marker TTL must be at least 1 second"),
        _ if pedantic && !form.allow_msg_ttl => {
            return bad("subject delete marker cannot be set if message TTLs are disabled");
        }
        _ if pedantic && !form.allow_rollup_hdrs => {
            return bad("subject delete marker cannot be set if roll-ups are disabled");
        }
        _ => {
            form.allow_msg_ttl = true;
            if !form.allow_rollup_hdrs {
                (form.allow_rollup_hdrs, form.deny_purge) = (true, false);
            }
        }
    }
    if form.allow_msg_schedules {
        if form.discard == Discard::New {
            return bad("message scheduling cannot use discard new");
        }
        if !form.allow_rollup_hdrs {
            (form.allow_rollup_hdrs, form.deny_purge) = (true, false);
        }
    }
    Ok(())
}

fn check_mirror(form: &StreamForm) -> Result<(), ApiError> {
    let Some(mirror) = &form.mirror else {
        return Ok(());
    };
    for (wrong, error) in [
        (form.first_seq > 0, e::MIRROR_WITH_FIRST),
        (!form.subjects.is_empty(), e::MIRROR_WITH_SUBJECTS),
        (!form.sources.is_empty(), e::MIRROR_WITH_SOURCES),
        (form.allow_msg_counter, e::MIRROR_WITH_COUNTERS),
        (form.allow_atomic, e::MIRROR_WITH_ATOMIC),
        (form.allow_batched, e::MIRROR_WITH_BATCHES),
        (form.allow_msg_schedules, e::MIRROR_WITH_SCHEDULES),
        (!mirror.filter_subject.is_empty() && !mirror.subject_transforms.is_empty(), e::MIRROR_MULTIPLE_FILTERS),
    ] {
        if wrong {
            return Err(error);
        }
    }
    if form.subject_delete_marker_ttl > 0 {
        return bad("subject delete markers forbidden on mirrors");
    }
    for (place, each) in mirror.subject_transforms.iter().enumerate() {
        check_source_transform(each, (10151, "mirror transform source"), (10154, "mirror transform"))?;
        if overlaps_another(&mirror.subject_transforms, place, Pattern::overlaps) {
            return Err(e::MIRROR_OVERLAP);
        }
    }
    within_this_node(mirror)?;
    if !is_name(&mirror.name) {
        return Err(e::MIRROR_BAD_NAME);
    }
    Ok(())
}

fn check_sources(form: &StreamForm) -> Result<(), ApiError> {
    if !form.sources.is_empty() && form.allow_msg_schedules {
        return Err(e::SOURCE_WITH_SCHEDULES);
    }
    for (place, source) in form.sources.iter().enumerate() {
        if !is_name(&source.name) {
            return Err(e::SOURCE_BAD_NAME);
        }
        let same = |other: &SourceForm| {
            (&other.name, &other.filter_subject, &other.subject_transforms)
                == (&source.name, &source.filter_subject, &source.subject_transforms)
        };
        if form.sources.iter().take(place).any(same) {
            return Err(e::SOURCE_DUPLICATE);
        }
        if !source.filter_subject.is_empty() && !source.subject_transforms.is_empty() {
            return Err(e::SOURCE_MULTIPLE_FILTERS);
        }
        for (place, each) in source.subject_transforms.iter().enumerate() {
            check_source_transform(each, (10145, "source transform source"), (10146, "source transform"))?;
            if overlaps_another(&source.subject_transforms, place, |a, b| b.contains(a)) {
                return Err(e::SOURCE_OVERLAP);
            }
        }
        within_this_node(source)?;
    }
    Ok(())
}

fn within_this_node(source: &SourceForm) -> Result<(), ApiError> {
    if source.external.as_ref().is_some_and(|external| *external != Default::default()) {
        return bad("streams of other accounts and domains can not be taken over");
    }
    Ok(())
}

fn overlaps_another(all: &[TransformForm], place: usize, meets: impl Fn(&Pattern, &Pattern) -> bool) -> bool {
    let pattern = |form: &TransformForm| match form.src.as_str() {
        "" => Some(Pattern::all()),
        text => Pattern::parse(text).ok(),
    };
    let Some(own) = all.get(place).and_then(pattern) else {
        return false;
    };
    all.iter().enumerate().any(|(other, form)| other != place && pattern(form).is_some_and(|form| meets(&own, &form)))
}

fn check_source_transform(
    form: &TransformForm,
    (source_code, source): (u16, &str),
    (code, name): (u16, &str),
) -> Result<(), ApiError> {
    if !form.src.is_empty() && Pattern::parse(&form.src).is_err() {
        return Err(ApiError::new(400, source_code, format!("{source}: invalid subject {}", form.src)));
    }
    match event::Transform::new(&form.src, &form.dest) {
        Ok(_) => Ok(()),
        Err(why) => Err(ApiError::new(400, code, format!("{name}: {why}"))),
    }
}

fn check_subjects(form: &mut StreamForm) -> Result<(), ApiError> {
    if form.subjects.is_empty() {
        if form.mirror.is_none() && form.sources.is_empty() {
            form.subjects.push(form.name.clone());
        }
        return Ok(());
    }
    let mut patterns: Vec<Pattern> = Vec::with_capacity(form.subjects.len());
    for text in &form.subjects {
        let Ok(pattern) = Pattern::parse(text) else {
            return bad("invalid subject");
        };
        if patterns.contains(&pattern) {
            return bad("duplicate subjects detected");
        }
        if text == ">" && !form.no_ack {
            return bad("capturing all subjects requires no-ack to be true");
        }
        if text == ">" && form.num_replicas != 1 {
            return bad("capturing all subjects requires replicas of 1");
        }
        if !form.no_ack {
            check_reserved(&pattern)?;
        }
        if let Some(other) = patterns.iter().find(|other| other.overlaps(&pattern)) {
            return bad(format!("subject {:?} overlaps with {:?}", other.as_str(), text));
        }
        patterns.push(pattern);
    }
    Ok(())
}

/// Subjects that are the server's own are not captured but by streams that do not answer.
fn check_reserved(pattern: &Pattern) -> Result<(), ApiError> {
    let meets = |text: &str| Pattern::parse(text).is_ok_and(|own| own.overlaps(pattern));
    let within = |text: &str| Pattern::parse(text).is_ok_and(|own| own.contains(pattern));
    if ["$JS.>", "$JSC.>", "$NRG.>"].into_iter().any(meets) && !within("$JS.EVENT.>") {
        return bad("subjects that overlap with jetstream api require no-ack to be true");
    }
    if meets("$SYS.>") && !within("$SYS.ACCOUNT.>") {
        return bad("subjects that overlap with system api require no-ack to be true");
    }
    Ok(())
}

fn check_republish(form: &mut StreamForm, pedantic: bool) -> Result<(), ApiError> {
    if let Some(transform) = &form.subject_transform {
        check_source_transform(transform, (10155, "stream transform source"), (10156, "stream transform"))?;
    }
    let Some(republish) = &mut form.republish else {
        return Ok(());
    };
    if republish.src.is_empty() {
        if pedantic {
            return Err(ApiError::new(400, 10157, "pedantic mode: republish source can not be empty"));
        }
        ">".clone_into(&mut republish.src);
    }
    if let ([subject], Some(transform)) = (form.subjects.as_slice(), &form.subject_transform)
        && republish.dest == ">"
        && republish.src == ">"
        && transform.src == *subject
    {
        republish.src.clone_from(&transform.dest);
        republish.dest.clone_from(&transform.dest);
    }
    let destination = Pattern::parse(&republish.dest);
    let meets = |text: &String| match (&destination, Pattern::parse(text)) {
        (Ok(destination), Ok(subject)) => destination.overlaps(&subject),
        _ => false,
    };
    if form.subjects.iter().any(meets) {
        return bad("stream configuration for republish destination forms a cycle");
    }
    Ok(())
}

/// Judges a change, and settles what a sealed stream is.
///
/// # Errors
/// What a NATS server says of it.
pub(super) fn check_update(old: &StreamForm, new: &mut StreamForm) -> Result<(), ApiError> {
    if new.num_replicas > 1 {
        return Err(e::REPLICAS_NOT_SUPPORTED);
    }
    let queue = |form: &StreamForm| form.retention == Retention::WorkQueue;
    for (wrong, why) in [
        (old.storage != new.storage, "stream configuration update can not change storage type"),
        (
            old.retention != new.retention && (queue(old) || queue(new)),
            "stream configuration update can not change retention policy to/from workqueue",
        ),
        (old.sealed && !new.sealed, "stream configuration update can not unseal a sealed stream"),
        (old.deny_delete && !new.deny_delete, "stream configuration update can not cancel deny message deletes"),
        (old.deny_purge && !new.deny_purge, "stream configuration update can not cancel deny purge"),
    ] {
        if wrong {
            return bad(why);
        }
    }
    if new.mirror.is_some() && new.mirror != old.mirror {
        return Err(e::MIRROR_NOT_UPDATABLE);
    }
    for (wrong, why) in [
        (old.allow_msg_ttl && !new.allow_msg_ttl, "message TTL status can not be disabled"),
        (
            old.allow_msg_counter != new.allow_msg_counter,
            "stream configuration update can not change message counter setting",
        ),
        (old.allow_msg_schedules && !new.allow_msg_schedules, "message schedules can not be disabled"),
    ] {
        if wrong {
            return bad(why);
        }
    }
    if new.sealed {
        new.max_age = 0;
        new.discard = Discard::New;
        (new.deny_delete, new.deny_purge, new.allow_rollup_hdrs) = (true, true, false);
    }
    Ok(())
}

/// Whether a subject is one to which can be published.
pub(super) fn is_literal(text: &str) -> bool {
    Subject::parse(text).is_ok()
}

const _: () = assert!(Duration::from_nanos(SHORTEST.unsigned_abs()).as_millis() == 100);

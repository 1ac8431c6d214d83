//! A stream's declaration, between the API's form and the journal's.
//!
//! What the journal has a field for stands there and nowhere else, so that another door's changes are
//! seen here; the rest is kept as one JSON under [`REST`] in the metadata, hidden from clients. A
//! declaration without it, made through another door, has NATS's defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use event::limits::SUBJECT_BYTES_MAX;
use event::{Pattern, Transform};
use journal::{Republish, Source, SourceStart, StreamConfig};

use super::errors::ApiError;
use super::wire::{
    self, Discard, RepublishForm, Retention, SourceConsumerForm, SourceForm, Storage, StreamForm, StreamRest, Time,
    TransformForm,
};
use crate::limits::{API_LEVEL, NATS_VERSION};

/// Under which key of the metadata the rest is.
pub(crate) const REST: &str = "_tidings.nats";
/// What the keys begin with that the server itself writes into metadata.
const SERVERS_OWN: &str = "_nats.";

/// A limit of the API: −1 for none.
fn limit(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

/// A limit as the API tells it.
pub(crate) fn told(limit: Option<u64>) -> i64 {
    limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

/// A span of time as the API tells it.
pub(crate) fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// A span of time of the API; nothing below zero.
pub(crate) fn span(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// What users noted, and the rest beside it where there is some.
pub(crate) fn metadata_with(
    users: &BTreeMap<String, String>,
    rest: &(impl serde::Serialize + Default + PartialEq),
) -> BTreeMap<String, String> {
    let mut kept: BTreeMap<_, _> = users
        .iter()
        .filter(|(key, _)| !key.starts_with(SERVERS_OWN) && *key != REST)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !wire::zero(rest) {
        let text = serde_json::to_string(rest).unwrap_or_default();
        kept.insert(REST.to_owned(), text);
    }
    kept
}

/// The rest, as it was kept.
pub(crate) fn rest_of<T: serde::de::DeserializeOwned + Default>(metadata: &BTreeMap<String, String>) -> T {
    metadata.get(REST).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// What clients see of metadata: what users noted, and what the server says of itself.
pub(crate) fn metadata_shown(metadata: &BTreeMap<String, String>, level: u32) -> BTreeMap<String, String> {
    let mut shown = metadata.clone();
    shown.remove(REST);
    shown.insert("_nats.req.level".to_owned(), level.to_string());
    shown.insert("_nats.level".to_owned(), API_LEVEL.to_string());
    shown.insert("_nats.ver".to_owned(), NATS_VERSION.to_owned());
    shown
}

/// The journal's declaration of a form that was checked.
///
/// # Errors
/// Where a name or subject is none.
pub(crate) fn to_journal(form: &StreamForm) -> Result<StreamConfig, ApiError> {
    let subjects = form.subjects.iter().map(|text| pattern(text)).collect::<Result<Vec<_>, _>>()?;
    let rest = StreamRest {
        max_msg_size: form.max_msg_size.max(0),
        no_ack: form.no_ack,
        placement: form.placement.clone(),
        compression: form.compression,
        mirror_direct: form.mirror_direct,
        consumer_limits: form.consumer_limits,
        allow_msg_counter: form.allow_msg_counter,
        allow_msg_schedules: form.allow_msg_schedules,
        persist_mode: form.persist_mode,
        allow_batched: form.allow_batched,
        consumers: consumers(form),
    };
    let largest = u32::try_from(form.max_msg_size).ok().filter(|size| *size > 0);
    Ok(StreamConfig {
        description: form.description.clone(),
        storage: match form.storage {
            Storage::File => journal::Storage::File,
            Storage::Memory => journal::Storage::Memory,
        },
        retention: match form.retention {
            Retention::Limits => journal::Retention::Limits,
            Retention::Interest => journal::Retention::Interest,
            Retention::WorkQueue => journal::Retention::WorkQueue,
        },
        discard: match form.discard {
            Discard::Old => journal::Discard::Old,
            Discard::New => journal::Discard::New,
        },
        discard_new_per_subject: form.discard_new_per_subject,
        messages_max: limit(form.max_msgs),
        bytes_max: limit(form.max_bytes),
        messages_per_subject_max: limit(form.max_msgs_per_subject),
        age_max: (form.max_age > 0).then(|| span(form.max_age)),
        // The API counts headers and payload, the journal the subject too; the door counts exactly.
        message_bytes_max: largest.map(|size| size.saturating_add(SUBJECT_ROOM)),
        duplicate_window: span(form.duplicate_window),
        consumers_max: limit(form.max_consumers),
        allow_ttl: form.allow_msg_ttl,
        allow_rollup: form.allow_rollup_hdrs,
        allow_atomic: form.allow_atomic,
        allow_direct: form.allow_direct,
        deny_delete: form.deny_delete,
        deny_purge: form.deny_purge,
        sealed: form.sealed,
        first: form.first_seq,
        marker_ttl: (form.subject_delete_marker_ttl > 0).then(|| span(form.subject_delete_marker_ttl)),
        transform: form.subject_transform.as_ref().map(stream_transform).transpose()?,
        republish: form.republish.as_ref().map(republish).transpose()?,
        mirror: form.mirror.as_ref().map(source).transpose()?,
        sources: form.sources.iter().map(source).collect::<Result<_, _>>()?,
        replicas: u8::try_from(form.num_replicas).unwrap_or(1).max(1),
        metadata: metadata_with(&form.metadata, &rest),
        ..StreamConfig::new(form.name.clone(), subjects)
    })
}

/// The consumers that a mirror and sources name; empty where none does.
fn consumers(form: &StreamForm) -> Vec<Option<SourceConsumerForm>> {
    let named: Vec<_> = form.mirror.iter().chain(&form.sources).map(|source| source.consumer.clone()).collect();
    if named.iter().any(Option::is_some) { named } else { Vec::new() }
}

/// Bytes of a subject at most: what the journal's size of a message has beyond the API's.
#[allow(clippy::cast_possible_truncation)]
const SUBJECT_ROOM: u32 = SUBJECT_BYTES_MAX as u32;

fn pattern(text: &str) -> Result<Pattern, ApiError> {
    Pattern::parse(text).map_err(|_| ApiError::stream_config("invalid subject"))
}

fn stream_transform(form: &TransformForm) -> Result<Transform, ApiError> {
    Transform::new(&form.src, &form.dest).map_err(|why| match why {
        event::TransformError::Source(_) => {
            ApiError::new(400, 10155, format!("stream transform source: invalid subject {}", form.src))
        }
        why => ApiError::new(400, 10156, format!("stream transform: {why}")),
    })
}

fn republish(form: &RepublishForm) -> Result<Republish, ApiError> {
    let transform = Transform::new(&form.src, &form.dest).map_err(|_| {
        let (src, dest) = (&form.src, &form.dest);
        ApiError::stream_config(format!(
            "stream configuration for republish with transform from '{src}' to '{dest}' not valid"
        ))
    })?;
    Ok(Republish { transform, headers_only: form.headers_only })
}

fn source(form: &SourceForm) -> Result<Source, ApiError> {
    let start = match (form.opt_start_seq, form.opt_start_time) {
        (0, Some(Time(Some(moment)))) => Some(SourceStart::Time(moment)),
        (0, _) => None,
        (seq, _) => Some(SourceStart::Seq(seq)),
    };
    let filter = match form.filter_subject.as_str() {
        "" => None,
        text => Some(pattern(text)?),
    };
    let transform = |each: &TransformForm| {
        Transform::new(&each.src, &each.dest)
            .map_err(|why| ApiError::new(400, 10146, format!("source transform: {why}")))
    };
    let transforms = form.subject_transforms.iter().map(transform).collect::<Result<_, _>>()?;
    Ok(Source { stream: form.name.clone(), start, filter, transforms })
}

/// The form of a journal's declaration.
pub(crate) fn of_journal(config: &StreamConfig) -> StreamForm {
    let rest: StreamRest = rest_of(&config.metadata);
    let largest = config.message_bytes_max.map(|size| i32::try_from(size.saturating_sub(SUBJECT_ROOM)).unwrap_or(-1));
    let mut form = StreamForm {
        name: config.name.clone(),
        description: config.description.clone(),
        subjects: config.subjects.iter().map(ToString::to_string).collect(),
        retention: match config.retention {
            journal::Retention::Limits => Retention::Limits,
            journal::Retention::Interest => Retention::Interest,
            journal::Retention::WorkQueue => Retention::WorkQueue,
        },
        max_consumers: told(config.consumers_max),
        max_msgs: told(config.messages_max),
        max_bytes: told(config.bytes_max),
        max_age: config.age_max.map_or(0, nanos),
        max_msgs_per_subject: told(config.messages_per_subject_max),
        max_msg_size: match largest {
            Some(size) if size == rest.max_msg_size => size,
            Some(_) => config.message_bytes_max.and_then(|size| i32::try_from(size).ok()).unwrap_or(-1),
            None => -1,
        },
        discard: match config.discard {
            journal::Discard::Old => Discard::Old,
            journal::Discard::New => Discard::New,
        },
        storage: match config.storage {
            journal::Storage::File => Storage::File,
            journal::Storage::Memory => Storage::Memory,
        },
        num_replicas: i64::from(config.replicas),
        no_ack: rest.no_ack,
        duplicate_window: nanos(config.duplicate_window),
        placement: rest.placement.clone(),
        mirror: config.mirror.as_ref().map(source_form),
        sources: config.sources.iter().map(source_form).collect(),
        compression: rest.compression,
        first_seq: config.first,
        subject_transform: config.transform.as_ref().map(transform_form),
        republish: config.republish.as_ref().map(|republish| RepublishForm {
            src: republish.transform.source().to_owned(),
            dest: republish.transform.destination().to_owned(),
            headers_only: republish.headers_only,
        }),
        allow_direct: config.allow_direct,
        mirror_direct: rest.mirror_direct,
        discard_new_per_subject: config.discard_new_per_subject,
        sealed: config.sealed,
        deny_delete: config.deny_delete,
        deny_purge: config.deny_purge,
        allow_rollup_hdrs: config.allow_rollup,
        consumer_limits: rest.consumer_limits,
        allow_msg_ttl: config.allow_ttl,
        subject_delete_marker_ttl: config.marker_ttl.map_or(0, nanos),
        allow_msg_counter: rest.allow_msg_counter,
        allow_atomic: config.allow_atomic,
        allow_msg_schedules: rest.allow_msg_schedules,
        persist_mode: rest.persist_mode,
        allow_batched: rest.allow_batched,
        metadata: BTreeMap::new(),
    };
    for (source, consumer) in form.mirror.iter_mut().chain(&mut form.sources).zip(rest.consumers) {
        source.consumer = consumer;
    }
    form.metadata = metadata_shown(&config.metadata, level(&form));
    form
}

/// The level of the API that a declaration needs.
fn level(form: &StreamForm) -> u32 {
    let second = form.allow_msg_counter
        || form.allow_atomic
        || form.allow_msg_schedules
        || form.persist_mode == wire::PersistMode::Async;
    match form {
        _ if form.allow_batched => 4,
        _ if second => 2,
        _ if form.allow_msg_ttl || form.subject_delete_marker_ttl > 0 => 1,
        _ => 0,
    }
}

pub(crate) fn transform_form(transform: &Transform) -> TransformForm {
    TransformForm { src: transform.source().to_owned(), dest: transform.destination().to_owned() }
}

fn source_form(source: &Source) -> SourceForm {
    let (opt_start_seq, opt_start_time) = match source.start {
        None => (0, None),
        Some(SourceStart::Seq(seq)) => (seq, None),
        Some(SourceStart::Time(moment)) => (0, Some(Time(Some(moment)))),
    };
    SourceForm {
        name: source.stream.clone(),
        opt_start_seq,
        opt_start_time,
        filter_subject: source.filter.as_ref().map(ToString::to_string).unwrap_or_default(),
        subject_transforms: source.transforms.iter().map(transform_form).collect(),
        external: None,
        consumer: None,
    }
}

//! Declarations of streams and consumers as JetStream has them, and back.
//!
//! What JetStream has no field for, or would change, stands in the declaration's metadata under
//! `tidings.`, where users of other software see it and no user of ours does. Fields that this
//! contract does not know (mirrors, sources, republishing) are left as they stand by an update.

use std::collections::BTreeMap;
use std::time::Duration;

use event::{Moment, Pattern, Transform};
use journal::{
    AckPolicy, ConsumerConfig, ConsumerStart, Discard, PriorityConfig, PriorityPolicy, Republish, Retention, Source,
    SourceStart, Storage, StreamConfig,
};
use serde_json::{Value, json};

use crate::api::nanos;
use crate::limits::WIRE_SLACK;
use crate::wire::{Object, moment};

/// What JetStream takes for "none" in a limit.
const NO_LIMIT: i64 = -1;
/// Metadata that the server itself writes.
const OF_THE_SERVER: &str = "_nats.";
/// Metadata that this engine writes.
const OURS: &str = "tidings.";
const WINDOW: &str = "tidings.duplicate_window";
const MESSAGE_BYTES: &str = "tidings.message_bytes_max";
const FILTERS: &str = "tidings.filters";
const DEAD: &str = "tidings.dead_letter";
const PENDING: &str = "tidings.ack_pending_max";
const ACK_WAIT: &str = "tidings.ack_wait";
const START: &str = "tidings.start";
const DIRECT: &str = "tidings.allow_direct";
const HEADERS_ONLY: &str = "tidings.headers_only";
const RATE: &str = "tidings.rate_limit_bps";
const ORIGINAL: &str = "tidings.replay_original";

fn metadata(given: &BTreeMap<String, String>, ours: Vec<(&str, String)>) -> Value {
    let given = given.iter().filter(|(key, _)| !key.starts_with(OURS) && !key.starts_with(OF_THE_SERVER));
    let all = given.map(|(key, value)| (key.clone(), value.clone()));
    let all: BTreeMap<String, String> =
        all.chain(ours.into_iter().map(|(key, value)| (key.to_owned(), value))).collect();
    json!(all)
}

fn all_metadata(config: &Object) -> BTreeMap<String, String> {
    let map = config.get("metadata").and_then(Value::as_object);
    let pairs = map.into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn of_users(all: BTreeMap<String, String>) -> BTreeMap<String, String> {
    all.into_iter().filter(|(key, _)| !key.starts_with(OURS) && !key.starts_with(OF_THE_SERVER)).collect()
}

fn limit(value: Option<u64>) -> Value {
    value.map_or(json!(NO_LIMIT), |value| json!(value.min(i64::MAX.unsigned_abs())))
}

fn limit_of(config: &Object, field: &str) -> Option<u64> {
    config.get(field).and_then(Value::as_i64).and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0)
}

fn text(config: &Object, field: &str) -> String {
    config.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn flag(config: &Object, field: &str) -> bool {
    config.get(field).and_then(Value::as_bool).unwrap_or(false)
}

fn span_of(config: &Object, field: &str) -> Option<Duration> {
    limit_of(config, field).map(Duration::from_nanos)
}

fn patterns(value: Option<&Value>) -> Vec<Pattern> {
    let texts = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    texts.filter_map(|text| Pattern::parse(text).ok()).collect()
}

/// Whether the stream is one of the engine's own, which users do not see.
pub(crate) fn is_internal(name: &str) -> bool {
    name == crate::keeper::NOTICES
}

/// A stream's declaration, written over what stands there.
pub(crate) fn stream_onto(config: &StreamConfig, mut onto: Object) -> Object {
    let mut ours = Vec::new();
    if config.duplicate_window.is_zero() {
        ours.push((WINDOW, String::from("0")));
    }
    if let Some(max) = config.message_bytes_max {
        ours.push((MESSAGE_BYTES, max.to_string()));
    }
    if !config.allow_direct {
        ours.push((DIRECT, String::from("off")));
    }
    let shortest = Duration::from_millis(100);
    let fields = json!({
        "name": config.name,
        "description": config.description,
        "subjects": config.subjects.iter().map(Pattern::as_str).collect::<Vec<_>>(),
        "storage": match config.storage { Storage::File => "file", Storage::Memory => "memory" },
        "retention": match config.retention {
            Retention::Limits => "limits",
            Retention::Interest => "interest",
            Retention::WorkQueue => "workqueue",
        },
        "discard": match config.discard { Discard::Old => "old", Discard::New => "new" },
        "discard_new_per_subject": config.discard_new_per_subject,
        "max_msgs": limit(config.messages_max),
        "max_bytes": limit(config.bytes_max),
        "max_msgs_per_subject": limit(config.messages_per_subject_max),
        "max_age": config.age_max.map_or(0, nanos),
        "max_msg_size": limit(config.message_bytes_max.map(|max| {
            u64::from(max.saturating_add(WIRE_SLACK)).min(i32::MAX.unsigned_abs().into())
        })),
        "max_consumers": limit(config.consumers_max),
        "duplicate_window": nanos(config.duplicate_window.max(shortest)),
        "allow_rollup_hdrs": config.allow_rollup,
        "sealed": config.sealed,
        "allow_msg_ttl": config.allow_ttl,
        "allow_direct": true,
        "deny_delete": config.deny_delete,
        "deny_purge": config.deny_purge,
        "num_replicas": config.replicas,
        "metadata": metadata(&config.metadata, ours),
    });
    if let Value::Object(fields) = fields {
        onto.extend(fields);
    }
    for field in ["subject_transform", "republish", "mirror", "sources", "subject_delete_marker_ttl", "first_seq"] {
        onto.remove(field);
    }
    let mut put = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            onto.insert(field.to_owned(), value);
        }
    };
    put("allow_atomic", config.allow_atomic.then_some(json!(true)));
    put("first_seq", (config.first > 1).then(|| json!(config.first)));
    put("subject_delete_marker_ttl", config.marker_ttl.map(|ttl| json!(nanos(ttl))));
    put("subject_transform", config.transform.as_ref().map(transform));
    put(
        "republish",
        config.republish.as_ref().map(|republish| {
            let Republish { transform, headers_only } = republish;
            json!({ "src": transform.source(), "dest": transform.destination(), "headers_only": headers_only })
        }),
    );
    put("mirror", config.mirror.as_ref().map(source));
    let sources: Vec<Value> = config.sources.iter().map(source).collect();
    put("sources", (!sources.is_empty()).then(|| json!(sources)));
    onto
}

fn transform(transform: &Transform) -> Value {
    json!({ "src": transform.source(), "dest": transform.destination() })
}

fn transform_from(value: Option<&Value>) -> Option<Transform> {
    let text = |field: &str| value?.get(field)?.as_str();
    Transform::new(text("src").unwrap_or_default(), text("dest")?).ok()
}

fn source(source: &Source) -> Value {
    let mut wire = Object::new();
    let mut put = |field: &str, value: Value| drop(wire.insert(field.to_owned(), value));
    put("name", json!(source.stream));
    match source.start {
        Some(SourceStart::Seq(seq)) => put("opt_start_seq", json!(seq)),
        Some(SourceStart::Time(time)) => put("opt_start_time", json!(time.to_string())),
        None => {}
    }
    if let Some(filter) = &source.filter {
        put("filter_subject", json!(filter.as_str()));
    }
    if !source.transforms.is_empty() {
        put("subject_transforms", json!(source.transforms.iter().map(transform).collect::<Vec<_>>()));
    }
    Value::Object(wire)
}

fn source_from(value: &Value) -> Option<Source> {
    let wire = value.as_object()?;
    let start = match limit_of(wire, "opt_start_seq") {
        Some(seq) => Some(SourceStart::Seq(seq)),
        None => Moment::parse(&text(wire, "opt_start_time")).ok().map(SourceStart::Time),
    };
    let transforms = wire.get("subject_transforms").and_then(Value::as_array).into_iter().flatten();
    Some(Source {
        stream: text(wire, "name"),
        start,
        filter: Pattern::parse(&text(wire, "filter_subject")).ok(),
        transforms: transforms.filter_map(|value| transform_from(Some(value))).collect(),
    })
}

/// A stream's declaration as it was made; `None` where it has no name, or one that is none of ours.
pub(crate) fn stream_from(config: &Object) -> Option<StreamConfig> {
    let all = all_metadata(config);
    let wire_max = limit_of(config, "max_msg_size").and_then(|max| u32::try_from(max).ok());
    let noted = all.get(MESSAGE_BYTES).and_then(|text| text.parse::<u32>().ok());
    let message_bytes_max = match (wire_max, noted) {
        (Some(wire), Some(noted)) if wire == noted.saturating_add(WIRE_SLACK) => Some(noted),
        (wire, _) => wire,
    };
    let no_window = all.get(WINDOW).is_some_and(|text| text == "0");
    let window = span_of(config, "duplicate_window").unwrap_or(Duration::ZERO);
    let name = text(config, "name");
    (!name.is_empty()).then(|| StreamConfig {
        name,
        description: text(config, "description"),
        subjects: patterns(config.get("subjects")),
        storage: if text(config, "storage") == "memory" { Storage::Memory } else { Storage::File },
        retention: match text(config, "retention").as_str() {
            "interest" => Retention::Interest,
            "workqueue" => Retention::WorkQueue,
            _ => Retention::Limits,
        },
        discard: if text(config, "discard") == "new" { Discard::New } else { Discard::Old },
        discard_new_per_subject: flag(config, "discard_new_per_subject"),
        messages_max: limit_of(config, "max_msgs"),
        bytes_max: limit_of(config, "max_bytes"),
        messages_per_subject_max: limit_of(config, "max_msgs_per_subject"),
        age_max: span_of(config, "max_age"),
        message_bytes_max,
        duplicate_window: if no_window { Duration::ZERO } else { window },
        allow_ttl: flag(config, "allow_msg_ttl"),
        deny_delete: flag(config, "deny_delete"),
        deny_purge: flag(config, "deny_purge"),
        replicas: limit_of(config, "num_replicas").and_then(|count| u8::try_from(count).ok()).unwrap_or(1),
        consumers_max: limit_of(config, "max_consumers"),
        allow_rollup: flag(config, "allow_rollup_hdrs"),
        allow_atomic: flag(config, "allow_atomic"),
        allow_direct: flag(config, "allow_direct") && all.get(DIRECT).is_none_or(|text| text != "off"),
        sealed: flag(config, "sealed"),
        first: limit_of(config, "first_seq").unwrap_or(0),
        marker_ttl: span_of(config, "subject_delete_marker_ttl"),
        transform: transform_from(config.get("subject_transform")),
        republish: transform_from(config.get("republish")).map(|transform| Republish {
            transform,
            headers_only: config
                .get("republish")
                .and_then(Value::as_object)
                .is_some_and(|wire| flag(wire, "headers_only")),
        }),
        mirror: config.get("mirror").and_then(source_from),
        sources: config
            .get("sources")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(source_from)
            .collect(),
        metadata: of_users(all),
    })
}

/// A consumer's declaration, written over what stands there.
pub(crate) fn consumer_onto(config: &ConsumerConfig, mut onto: Object) -> Object {
    let mut ours = vec![(DEAD, if config.dead_letter { "on" } else { "off" }.to_owned())];
    let mut filters: Vec<&str> = config.filters.iter().map(Pattern::as_str).collect();
    if filters.is_empty() && config.start == ConsumerStart::LastPerSubject {
        // The server wants a filter here.
        ours.push((FILTERS, String::from("none")));
        filters.push(">");
    }
    ours.push((START, start_text(config.start)));
    ours.push((ACK_WAIT, nanos(config.ack_wait).to_string()));
    let acked = config.ack != AckPolicy::None;
    if !acked {
        ours.push((PENDING, config.ack_pending_max.unwrap_or(0).to_string()));
    }
    if config.headers_only {
        ours.push((HEADERS_ONLY, String::from("on")));
    }
    if let Some(rate) = config.rate_limit_bps {
        ours.push((RATE, rate.to_string()));
    }
    if config.replay_original {
        ours.push((ORIGINAL, String::from("on")));
    }
    for field in ["filter_subject", "filter_subjects", "opt_start_seq", "opt_start_time", "pause_until", "backoff"] {
        onto.remove(field);
    }
    for field in ["priority_policy", "priority_groups", "priority_timeout", "sample_freq", "max_batch", "max_bytes"] {
        onto.remove(field);
    }
    for field in ["inactive_threshold", "durable_name", "max_ack_pending", "ack_wait", "max_expires", "mem_storage"] {
        onto.remove(field);
    }
    let fields = json!({
        "name": config.name,
        "description": config.description,
        "deliver_policy": deliver_policy(config.start),
        "ack_policy": match config.ack {
            AckPolicy::Explicit => "explicit",
            AckPolicy::All => "all",
            AckPolicy::None => "none",
        },
        "max_deliver": config.deliver_max.filter(|_| acked).map_or(NO_LIMIT, |max| i64::try_from(max).unwrap_or(i64::MAX)),
        "replay_policy": "instant",
        "max_waiting": config.waiting_max,
        "metadata": metadata(&config.metadata, ours),
    });
    if let Value::Object(fields) = fields {
        onto.extend(fields);
    }
    put_where_it_begins(config, &filters, &mut onto);
    put_what_is_asked(config, acked, &mut onto);
    onto
}

fn put(onto: &mut Object, field: &str, value: Value) {
    onto.insert(field.to_owned(), value);
}

fn put_where_it_begins(config: &ConsumerConfig, filters: &[&str], onto: &mut Object) {
    match filters {
        [] => {}
        [one] => put(onto, "filter_subject", json!(one)),
        several => put(onto, "filter_subjects", json!(several)),
    }
    match config.start {
        ConsumerStart::Seq(seq) => put(onto, "opt_start_seq", json!(seq.max(1))),
        ConsumerStart::Time(time) => put(onto, "opt_start_time", json!(time.to_string())),
        _ => {}
    }
}

fn put_what_is_asked(config: &ConsumerConfig, acked: bool, onto: &mut Object) {
    if acked {
        put(onto, "max_ack_pending", limit(config.ack_pending_max));
        put(onto, "ack_wait", json!(nanos(config.ack_wait)));
        if !config.backoff.is_empty() {
            put(onto, "backoff", json!(config.backoff.iter().map(|wait| nanos(*wait)).collect::<Vec<_>>()));
        }
    }
    if let Some(until) = config.pause_until {
        put(onto, "pause_until", json!(until.to_string()));
    }
    if let Some(inactive) = config.inactive {
        put(onto, "inactive_threshold", json!(nanos(inactive)));
    }
    if config.durable {
        put(onto, "durable_name", json!(config.name));
    }
    if config.memory {
        put(onto, "mem_storage", json!(true));
    }
    let spans = [("max_expires", config.expires_max.map(nanos))];
    for (field, value) in [("max_batch", config.batch_max), ("max_bytes", config.bytes_max)].into_iter().chain(spans) {
        if let Some(value) = value {
            put(onto, field, json!(value));
        }
    }
    if let Some(sample) = &config.sample {
        put(onto, "sample_freq", json!(sample));
    }
    if let Some(PriorityConfig { policy, groups, pinned_ttl }) = &config.priority {
        put(onto, "priority_policy", json!(policy_text(*policy)));
        put(onto, "priority_groups", json!(groups));
        if *policy == PriorityPolicy::Pinned {
            put(onto, "priority_timeout", json!(nanos(*pinned_ttl)));
        }
    }
}

fn policy_text(policy: PriorityPolicy) -> &'static str {
    match policy {
        PriorityPolicy::Overflow => "overflow",
        PriorityPolicy::Pinned => "pinned_client",
        PriorityPolicy::Prioritized => "prioritized",
    }
}

fn priority_from(config: &Object) -> Option<PriorityConfig> {
    let groups = config.get("priority_groups").and_then(Value::as_array).into_iter().flatten();
    let groups: Vec<String> = groups.filter_map(Value::as_str).map(str::to_owned).collect();
    let policy = match text(config, "priority_policy").as_str() {
        "pinned_client" => PriorityPolicy::Pinned,
        "prioritized" => PriorityPolicy::Prioritized,
        _ => PriorityPolicy::Overflow,
    };
    let ttl = span_of(config, "priority_timeout").unwrap_or(journal::limits::PINNED_TTL_DEFAULT);
    (!groups.is_empty()).then_some(PriorityConfig { policy, groups, pinned_ttl: ttl })
}

fn deliver_policy(start: ConsumerStart) -> &'static str {
    match start {
        ConsumerStart::All => "all",
        ConsumerStart::Last => "last",
        ConsumerStart::New => "new",
        ConsumerStart::Seq(_) => "by_start_sequence",
        ConsumerStart::Time(_) => "by_start_time",
        ConsumerStart::LastPerSubject => "last_per_subject",
    }
}

/// A position 0 that was asked for is told apart from 1, which is what the server is asked for.
fn start_text(start: ConsumerStart) -> String {
    match start {
        ConsumerStart::Seq(seq) => seq.to_string(),
        _ => String::new(),
    }
}

/// A consumer's declaration as it was made.
pub(crate) fn consumer_from(name: &str, config: &Object) -> ConsumerConfig {
    let all = all_metadata(config);
    let noted = |key: &str| all.get(key).and_then(|text| text.parse::<u64>().ok());
    let mut filters = patterns(config.get("filter_subjects"));
    filters.extend(Pattern::parse(&text(config, "filter_subject")).ok());
    if all.get(FILTERS).is_some_and(|text| text == "none") {
        filters.clear();
    }
    let start = match text(config, "deliver_policy").as_str() {
        "last" => ConsumerStart::Last,
        "new" => ConsumerStart::New,
        "by_start_sequence" => ConsumerStart::Seq(noted(START).or(limit_of(config, "opt_start_seq")).unwrap_or(1)),
        "by_start_time" => ConsumerStart::Time(moment(&text(config, "opt_start_time"))),
        "last_per_subject" => ConsumerStart::LastPerSubject,
        _ => ConsumerStart::All,
    };
    let backoff = config.get("backoff").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64);
    let pause = Moment::parse(&text(config, "pause_until")).ok();
    let defaults = ConsumerConfig::new(name);
    ConsumerConfig {
        description: text(config, "description"),
        durable: !text(config, "durable_name").is_empty(),
        filters,
        start,
        ack: match text(config, "ack_policy").as_str() {
            "none" => AckPolicy::None,
            "all" => AckPolicy::All,
            _ => AckPolicy::Explicit,
        },
        ack_wait: noted(ACK_WAIT)
            .map(Duration::from_nanos)
            .or_else(|| span_of(config, "ack_wait"))
            .unwrap_or(defaults.ack_wait),
        backoff: backoff.map(Duration::from_nanos).collect(),
        deliver_max: limit_of(config, "max_deliver"),
        dead_letter: all.get(DEAD).is_none_or(|text| text == "on"),
        ack_pending_max: match noted(PENDING) {
            Some(noted) => Some(noted).filter(|noted| *noted > 0),
            None => limit_of(config, "max_ack_pending"),
        },
        waiting_max: limit_of(config, "max_waiting").unwrap_or(defaults.waiting_max),
        batch_max: limit_of(config, "max_batch"),
        bytes_max: limit_of(config, "max_bytes"),
        expires_max: span_of(config, "max_expires"),
        headers_only: all.contains_key(HEADERS_ONLY) || flag(config, "headers_only"),
        rate_limit_bps: noted(RATE),
        replay_original: all.contains_key(ORIGINAL) || text(config, "replay_policy") == "original",
        sample: Some(text(config, "sample_freq")).filter(|text| !text.is_empty()),
        memory: flag(config, "mem_storage"),
        priority: priority_from(config),
        pause_until: pause,
        inactive: span_of(config, "inactive_threshold"),
        metadata: of_users(all),
        ..defaults
    }
}

/// Whether the consumer was declared here, so that its dead letters are ours to write.
pub(crate) fn keeps_dead_letters(config: &Object) -> Option<bool> {
    all_metadata(config).get(DEAD).map(|text| text == "on")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[track_caller]
    fn check_stream(change: impl FnOnce(&mut StreamConfig)) {
        let mut config = StreamConfig::new("S", [Pattern::parse("a.>").unwrap()]);
        change(&mut config);
        assert_eq!(stream_from(&stream_onto(&config, Map::new())), Some(config));
    }

    #[test]
    fn a_stream_comes_back_as_declared() {
        check_stream(|_| ());
        check_stream(|config| {
            config.duplicate_window = Duration::ZERO;
            config.message_bytes_max = Some(10);
            config.messages_max = Some(7);
            config.metadata = [(String::from("k"), String::from("v"))].into();
            config.retention = Retention::WorkQueue;
            (config.allow_direct, config.allow_rollup, config.first) = (true, true, 7);
            config.transform = Some(Transform::new("a.*", "b.$1").unwrap());
            config.sources = vec![Source { start: Some(SourceStart::Seq(3)), ..Source::new("T") }];
            config.age_max = Some(Duration::from_secs(3));
        });
    }

    #[track_caller]
    fn check_consumer(change: impl FnOnce(&mut ConsumerConfig)) {
        let mut config = ConsumerConfig::new("c");
        change(&mut config);
        assert_eq!(consumer_from("c", &consumer_onto(&config, Map::new())), config);
    }

    #[test]
    fn a_consumer_comes_back_as_declared() {
        check_consumer(|_| ());
        check_consumer(|config| config.start = ConsumerStart::LastPerSubject);
        check_consumer(|config| config.start = ConsumerStart::Seq(0));
        check_consumer(|config| {
            config.ack = AckPolicy::None;
            config.ack_pending_max = Some(5);
            config.filters = vec![Pattern::parse("a").unwrap(), Pattern::parse("b").unwrap()];
            config.pause_until = Some(Moment::from_nanos(7));
        });
        check_consumer(|config| {
            config.ack_pending_max = None;
            config.priority = Some(PriorityConfig::new(PriorityPolicy::Pinned, "g"));
            (config.headers_only, config.rate_limit_bps, config.batch_max) = (true, Some(8), Some(9));
            (config.memory, config.replay_original, config.expires_max) = (true, true, Some(Duration::from_secs(1)));
        });
        check_consumer(|config| {
            config.backoff = vec![Duration::from_secs(2)];
            config.deliver_max = Some(3);
            config.dead_letter = false;
            (config.durable, config.inactive) = (false, Some(Duration::from_secs(5)));
        });
    }
}

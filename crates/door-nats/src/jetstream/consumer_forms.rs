//! A consumer's declaration: how its zeros are filled, what it must be, and how it stands between the
//! API's form and the journal's.
//!
//! What only this door keeps of it is one JSON in the journal's metadata, as with streams.

use event::Pattern;
use journal::{ConsumerConfig, ConsumerStart, PriorityConfig, PriorityPolicy};

use super::errors::{self as e, ApiError};
use super::known::Known;
use super::stream_checks::{DESCRIPTION_MAX, METADATA_MAX, is_literal, is_name, metadata_bytes};
use super::stream_forms::{metadata_shown, metadata_with, nanos, rest_of, span, told};
use super::wire::{AckPolicy, ConsumerForm, ConsumerLimits, ConsumerRest, DeliverPolicy, Priority, ReplayPolicy, Time};

const MILLISECOND: i64 = 1_000_000;
/// Deliveries outstanding where nothing is said.
const ACK_PENDING: i64 = 1_000;
/// Fetches waiting where nothing is said.
const WAITING: i64 = 512;

fn pedantic_mode<T>(why: &str) -> Result<T, ApiError> {
    Err(ApiError::new(400, 10157, format!("pedantic mode: {why}")))
}

/// Fills what is not said.
///
/// # Errors
/// In pedantic mode, where that would change something that was said.
pub(super) fn fill(form: &mut ConsumerForm, stream: &Known, pedantic: bool) -> Result<(), ApiError> {
    for (name, value, none) in [
        ("max_deliver must be set to -1", &mut form.max_deliver, -1),
        ("max_waiting must not be negative", &mut form.max_waiting, 0),
        ("max_ack_pending must be set to -1", &mut form.max_ack_pending, -1),
        ("max_batch must not be negative", &mut form.max_batch, 0),
        ("max_expires must not be negative", &mut form.max_expires, 0),
        ("max_bytes must not be negative", &mut form.max_bytes, 0),
        ("idle_heartbeat must not be negative", &mut form.idle_heartbeat, 0),
        ("inactive_threshold must not be negative", &mut form.inactive_threshold, 0),
        ("priority_timeout must not be negative", &mut form.priority_timeout, 0),
    ] {
        if *value < none {
            if pedantic {
                return pedantic_mode(name);
            }
            *value = none;
        }
    }
    if form.max_deliver == 0 {
        form.max_deliver = -1;
    }
    if form.deliver_subject.is_empty() && form.max_waiting == 0 {
        form.max_waiting = WAITING;
    }
    if form.ack_wait == 0 && matches!(form.ack_policy, AckPolicy::Explicit | AckPolicy::All) {
        form.ack_wait = nanos(journal::limits::ACK_WAIT_DEFAULT);
    }
    if let Some(first) = form.backoff.first() {
        if pedantic && form.ack_wait != *first {
            return pedantic_mode("first backoff value has to equal batch AckWait");
        }
        form.ack_wait = *first;
    }
    let limits = stream.rest.consumer_limits;
    if form.max_ack_pending == 0 {
        form.max_ack_pending = limits.max_ack_pending;
    }
    if form.inactive_threshold == 0 {
        form.inactive_threshold = limits.inactive_threshold;
    }
    if form.inactive_threshold == 0 && form.durable_name.is_empty() {
        form.inactive_threshold = nanos(journal::limits::INACTIVE_DEFAULT);
    }
    if form.max_ack_pending == 0 && form.ack_policy != AckPolicy::None {
        form.max_ack_pending = ACK_PENDING;
    }
    if form.priority_policy == Priority::PinnedClient && form.priority_timeout == 0 {
        form.priority_timeout = nanos(journal::limits::PINNED_TTL_DEFAULT);
    }
    Ok(())
}

/// Judges a declaration, in the order in which a NATS server does.
///
/// # Errors
/// What a NATS server says of it.
pub(super) fn check(form: &ConsumerForm, stream: &Known) -> Result<(), ApiError> {
    check_names(form, stream)?;
    if form.backoff.iter().any(|wait| *wait < 0) {
        return Err(e::BACKOFF_NEGATIVE);
    }
    if form.ack_wait < 0 {
        return Err(e::ACK_WAIT_NEGATIVE);
    }
    if form.ack_policy == AckPolicy::FlowControl {
        return Err(ApiError::new(400, 10181, "consumer ack policy invalid"));
    }
    let waits = i64::try_from(form.backoff.len()).unwrap_or(i64::MAX);
    if waits > 0 && form.max_deliver != -1 && waits > form.max_deliver {
        return Err(e::MAX_DELIVER_BACKOFF);
    }
    if form.description.len() > DESCRIPTION_MAX {
        let why = format!("consumer description is too long, maximum allowed is {DESCRIPTION_MAX}");
        return Err(ApiError::new(400, 10107, why));
    }
    if form.deliver_subject.is_empty() { check_pull(form, stream) } else { check_push(form, stream) }?;
    check_within(form, stream.rest.consumer_limits)?;
    check_filters(form)?;
    check_start(form)?;
    check_sampling(form)?;
    if form.flow_control && form.idle_heartbeat == 0 {
        return Err(e::FLOW_NEEDS_HEARTBEATS);
    }
    if !form.durable_name.is_empty() && !form.name.is_empty() && form.name != form.durable_name {
        return Err(e::DURABLE_AND_NAME);
    }
    if metadata_bytes(&form.metadata) > METADATA_MAX {
        return Err(ApiError::new(400, 10135, "consumer metadata exceeds maximum size of 128KB"));
    }
    check_groups(form)
}

fn check_names(form: &ConsumerForm, stream: &Known) -> Result<(), ApiError> {
    if !form.name.is_empty() && !is_name(&form.name) {
        return Err(ApiError::stream_config("consumer name can not contain '.', '*', '>', '\\', '/'"));
    }
    if !form.durable_name.is_empty() && !is_name(&form.durable_name) {
        return Err(ApiError::stream_config("consumer durable name can not contain '.', '*', '>', '\\', '/'"));
    }
    if form.name.len().max(form.durable_name.len()) > journal::limits::NAME_BYTES_MAX {
        let max = journal::limits::NAME_BYTES_MAX;
        return Err(ApiError::new(400, 10102, format!("consumer name is too long, maximum allowed is {max}")));
    }
    let replicas = i64::from(stream.config.replicas);
    if form.num_replicas > replicas {
        return Err(e::REPLICAS_EXCEED_STREAM);
    }
    if form.num_replicas < 0 {
        return Err(e::REPLICAS_NEGATIVE);
    }
    if stream.config.retention != journal::Retention::Limits && form.num_replicas != 0 && form.num_replicas != replicas
    {
        return Err(e::REPLICAS_MATCH_STREAM);
    }
    Ok(())
}

fn check_push(form: &ConsumerForm, stream: &Known) -> Result<(), ApiError> {
    if !is_literal(&form.deliver_subject) {
        let pattern = Pattern::parse(&form.deliver_subject).is_ok();
        return Err(if pattern { e::DELIVER_TO_WILDCARDS } else { e::INVALID_DELIVER_SUBJECT });
    }
    for (wrong, error) in [
        (stream.config.captures(&form.deliver_subject), e::DELIVER_CYCLE),
        (form.max_waiting != 0, e::PUSH_MAX_WAITING),
        (form.max_ack_pending > 0 && form.ack_policy == AckPolicy::None, e::ACK_PENDING_NEEDS_POLICY),
        (form.idle_heartbeat > 0 && form.idle_heartbeat < 100 * MILLISECOND, e::SMALL_HEARTBEAT),
        (form.direct && !form.durable_name.is_empty(), e::DIRECT_REQUIRES_EPHEMERAL),
    ] {
        if wrong {
            return Err(error);
        }
    }
    Ok(())
}

fn check_pull(form: &ConsumerForm, stream: &Known) -> Result<(), ApiError> {
    let queue = stream.config.retention == journal::Retention::WorkQueue;
    for (wrong, error) in [
        (form.ack_policy == AckPolicy::None && queue, e::PULL_REQUIRES_ACK),
        (form.rate_limit_bps > 0, e::PULL_WITH_RATE_LIMIT),
        (form.idle_heartbeat > 0, e::HEARTBEAT_REQUIRES_PUSH),
        (form.flow_control, e::FLOW_REQUIRES_PUSH),
        (form.max_expires != 0 && form.max_expires < MILLISECOND, e::MAX_EXPIRES_TOO_SMALL),
        (form.direct, e::DIRECT_REQUIRES_PUSH),
    ] {
        if wrong {
            return Err(error);
        }
    }
    Ok(())
}

/// Judges a consumer by what its stream allows consumers.
///
/// # Errors
/// What a NATS server says of it.
pub(super) fn check_within(form: &ConsumerForm, limits: ConsumerLimits) -> Result<(), ApiError> {
    if limits.max_ack_pending > 0 && form.max_ack_pending > limits.max_ack_pending {
        let why = format!("consumer max ack pending exceeds system limit of {}", limits.max_ack_pending);
        return Err(ApiError::new(400, 10121, why));
    }
    if limits.inactive_threshold > 0 && form.inactive_threshold > limits.inactive_threshold {
        let limit = event::units::Span(span(limits.inactive_threshold));
        return Err(ApiError::new(400, 10153, format!("consumer inactive threshold exceeds system limit of {limit}")));
    }
    Ok(())
}

fn check_filters(form: &ConsumerForm) -> Result<(), ApiError> {
    let bad_subject = || ApiError::stream_config("invalid subject");
    if !form.filter_subject.is_empty() && !form.filter_subjects.is_empty() {
        return Err(e::DUPLICATE_FILTERS);
    }
    if form.filter_subjects.iter().any(String::is_empty) {
        return Err(e::EMPTY_FILTER);
    }
    let filters = patterns(form).ok_or_else(bad_subject)?;
    for (place, ours) in filters.iter().enumerate() {
        if filters.iter().skip(place + 1).any(|theirs| ours.contains(theirs) || theirs.contains(ours)) {
            return Err(e::OVERLAPPING_FILTERS);
        }
    }
    Ok(())
}

fn patterns(form: &ConsumerForm) -> Option<Vec<Pattern>> {
    let single = Some(&form.filter_subject).filter(|text| !text.is_empty());
    single.into_iter().chain(&form.filter_subjects).map(|text| Pattern::parse(text).ok()).collect()
}

fn check_start(form: &ConsumerForm) -> Result<(), ApiError> {
    let wrong = |why: String| Err(ApiError::new(400, 10094, why));
    let policy = |name: &str| format!("consumer delivery policy is deliver {name}, but optional");
    let also = |name: &str, what: &str| wrong(format!("{} start {what} is also set", policy(name)));
    let (seq, time) = (form.opt_start_seq > 0, form.opt_start_time.is_some());
    let name = match form.deliver_policy {
        DeliverPolicy::All => "all",
        DeliverPolicy::Last => "last",
        DeliverPolicy::New => "new",
        DeliverPolicy::LastPerSubject => "last per subject",
        DeliverPolicy::ByStartSequence if !seq => {
            return wrong(format!("{} start sequence is not set", policy("by start sequence")));
        }
        DeliverPolicy::ByStartSequence if time => return also("by start sequence", "time"),
        DeliverPolicy::ByStartTime if !time => {
            return wrong(format!("{} start time is not set", policy("by start time")));
        }
        DeliverPolicy::ByStartTime if seq => {
            return wrong(format!("{} start start sequence is also set", policy("by start time")));
        }
        _ => return Ok(()),
    };
    if seq {
        return also(name, "sequence");
    }
    if time {
        return also(name, "time");
    }
    if name == "last per subject" && form.filter_subject.is_empty() && form.filter_subjects.is_empty() {
        return wrong(format!("{} filter subject is not set", policy(name)));
    }
    Ok(())
}

fn check_sampling(form: &ConsumerForm) -> Result<(), ApiError> {
    if form.sample_freq.is_empty() {
        return Ok(());
    }
    let text = form.sample_freq.strip_suffix('%').unwrap_or(&form.sample_freq);
    match text.parse::<u32>() {
        Ok(_) => Ok(()),
        Err(_) => {
            let why = format!("failed to parse consumer sampling configuration: parsing {text:?}: invalid syntax");
            Err(ApiError::new(400, 10095, why))
        }
    }
}

fn check_groups(form: &ConsumerForm) -> Result<(), ApiError> {
    if form.priority_policy == Priority::None {
        return match () {
            () if !form.priority_groups.is_empty() => Err(e::GROUPS_WITHOUT_POLICY),
            () if form.priority_timeout > 0 => Err(e::PINNED_TTL_WITHOUT_POLICY),
            () => Ok(()),
        };
    }
    if !form.deliver_subject.is_empty() {
        return Err(e::PUSH_WITH_GROUPS);
    }
    if form.priority_groups.is_empty() {
        return Err(e::PRIORITY_WITHOUT_GROUP);
    }
    for group in &form.priority_groups {
        if group.is_empty() {
            return Err(e::EMPTY_GROUP);
        }
        if !is_group(group) {
            return Err(e::BAD_GROUP_NAME);
        }
    }
    Ok(())
}

/// Whether a name is one of a priority group.
pub(super) fn is_group(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"/_=-".contains(&byte);
    (1..=journal::limits::GROUP_BYTES_MAX).contains(&name.len()) && name.bytes().all(letter)
}

/// Judges a change.
///
/// # Errors
/// What a NATS server says of it.
pub(super) fn check_update(old: &ConsumerForm, new: &ConsumerForm) -> Result<(), ApiError> {
    for (changed, why) in [
        (old.deliver_policy != new.deliver_policy, "deliver policy can not be updated"),
        (old.mem_storage != new.mem_storage, "storage type can not be updated"),
        (old.direct != new.direct, "direct can not be updated"),
        (old.sourcing != new.sourcing, "sourcing can not be updated"),
        (old.opt_start_seq != new.opt_start_seq, "start sequence can not be updated"),
        (old.opt_start_time != new.opt_start_time, "start time can not be updated"),
        (old.ack_policy != new.ack_policy, "ack policy can not be updated"),
        (old.replay_policy != new.replay_policy, "replay policy can not be updated"),
        (old.idle_heartbeat != new.idle_heartbeat, "heart beats can not be updated"),
        (old.flow_control != new.flow_control, "flow control can not be updated"),
        (
            old.deliver_subject.is_empty() && !new.deliver_subject.is_empty(),
            "can not update pull consumer to push based",
        ),
        (
            !old.deliver_subject.is_empty() && new.deliver_subject.is_empty(),
            "can not update push consumer to pull based",
        ),
        (old.max_waiting != new.max_waiting, "max waiting can not be updated"),
    ] {
        if changed {
            return Err(ApiError::consumer_create(why));
        }
    }
    Ok(())
}

/// The journal's declaration of a form that was checked, under a name.
///
/// # Errors
/// Where a filter is no pattern.
pub(super) fn to_journal(form: &ConsumerForm, name: &str) -> Result<ConsumerConfig, ApiError> {
    let acknowledges = form.ack_policy != AckPolicy::None;
    let rest = ConsumerRest {
        deliver_subject: form.deliver_subject.clone(),
        deliver_group: form.deliver_group.clone(),
        flow_control: form.flow_control,
        idle_heartbeat: form.idle_heartbeat,
        ack_wait: if acknowledges { 0 } else { form.ack_wait },
        max_ack_pending: if acknowledges { 0 } else { form.max_ack_pending },
        filter_list: form.filter_subjects.len() == 1,
        num_replicas: form.num_replicas,
        direct: form.direct,
        sourcing: form.sourcing,
    };
    let some = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let base = ConsumerConfig::new(name);
    Ok(ConsumerConfig {
        description: form.description.clone(),
        durable: !form.durable_name.is_empty(),
        filters: patterns(form).ok_or_else(|| ApiError::stream_config("invalid subject"))?,
        start: match (form.deliver_policy, form.opt_start_time) {
            (DeliverPolicy::All, _) => ConsumerStart::All,
            (DeliverPolicy::Last, _) => ConsumerStart::Last,
            (DeliverPolicy::New, _) => ConsumerStart::New,
            (DeliverPolicy::LastPerSubject, _) => ConsumerStart::LastPerSubject,
            (DeliverPolicy::ByStartSequence, _) => ConsumerStart::Seq(form.opt_start_seq),
            (DeliverPolicy::ByStartTime, time) => {
                ConsumerStart::Time(time.and_then(|Time(moment)| moment).unwrap_or_default())
            }
        },
        ack: match form.ack_policy {
            AckPolicy::None => journal::AckPolicy::None,
            AckPolicy::All => journal::AckPolicy::All,
            AckPolicy::Explicit | AckPolicy::FlowControl => journal::AckPolicy::Explicit,
        },
        ack_wait: if form.ack_wait > 0 { span(form.ack_wait) } else { base.ack_wait },
        backoff: form.backoff.iter().map(|wait| span(*wait)).collect(),
        deliver_max: some(form.max_deliver),
        dead_letter: false,
        ack_pending_max: some(form.max_ack_pending).filter(|_| acknowledges),
        waiting_max: some(form.max_waiting).unwrap_or(base.waiting_max),
        batch_max: some(form.max_batch),
        bytes_max: some(form.max_bytes),
        expires_max: (form.max_expires > 0).then(|| span(form.max_expires)),
        headers_only: form.headers_only,
        rate_limit_bps: Some(form.rate_limit_bps).filter(|rate| *rate > 0),
        replay_original: form.replay_policy == ReplayPolicy::Original,
        sample: Some(form.sample_freq.clone()).filter(|text| !text.is_empty()),
        memory: form.mem_storage,
        priority: priority(form),
        pause_until: form.pause_until.and_then(|Time(moment)| moment),
        inactive: (form.inactive_threshold > 0).then(|| span(form.inactive_threshold)),
        metadata: metadata_with(&form.metadata, &rest),
        ..base
    })
}

fn priority(form: &ConsumerForm) -> Option<PriorityConfig> {
    let policy = match form.priority_policy {
        Priority::None => return None,
        Priority::Overflow => PriorityPolicy::Overflow,
        Priority::PinnedClient => PriorityPolicy::Pinned,
        Priority::Prioritized => PriorityPolicy::Prioritized,
    };
    Some(PriorityConfig { policy, groups: form.priority_groups.clone(), pinned_ttl: span(form.priority_timeout) })
}

/// What only this door keeps of a consumer.
pub(crate) fn rest(config: &ConsumerConfig) -> ConsumerRest {
    rest_of(&config.metadata)
}

/// The form of a journal's declaration.
pub(super) fn of_journal(config: &ConsumerConfig) -> ConsumerForm {
    let rest = rest(config);
    let acknowledges = config.ack != journal::AckPolicy::None;
    let (deliver_policy, opt_start_seq, opt_start_time) = match config.start {
        ConsumerStart::All => (DeliverPolicy::All, 0, None),
        ConsumerStart::Last => (DeliverPolicy::Last, 0, None),
        ConsumerStart::New => (DeliverPolicy::New, 0, None),
        ConsumerStart::LastPerSubject => (DeliverPolicy::LastPerSubject, 0, None),
        ConsumerStart::Seq(seq) => (DeliverPolicy::ByStartSequence, seq, None),
        ConsumerStart::Time(moment) => (DeliverPolicy::ByStartTime, 0, Some(Time(Some(moment)))),
    };
    let texts: Vec<String> = config.filters.iter().map(ToString::to_string).collect();
    let (filter_subject, filter_subjects) = match texts.as_slice() {
        [one] if !rest.filter_list => (one.clone(), Vec::new()),
        _ => (String::new(), texts),
    };
    let count = |limit: Option<u64>| limit.map_or(0, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let level = u32::from(config.pause_until.is_some() || config.priority.is_some());
    ConsumerForm {
        durable_name: if config.durable { config.name.clone() } else { String::new() },
        name: config.name.clone(),
        description: config.description.clone(),
        deliver_policy,
        opt_start_seq,
        opt_start_time,
        ack_policy: match config.ack {
            journal::AckPolicy::None => AckPolicy::None,
            journal::AckPolicy::All => AckPolicy::All,
            journal::AckPolicy::Explicit => AckPolicy::Explicit,
        },
        ack_wait: if acknowledges { nanos(config.ack_wait) } else { rest.ack_wait },
        max_deliver: told(config.deliver_max),
        backoff: config.backoff.iter().map(|wait| nanos(*wait)).collect(),
        filter_subject,
        filter_subjects,
        replay_policy: if config.replay_original { ReplayPolicy::Original } else { ReplayPolicy::Instant },
        rate_limit_bps: config.rate_limit_bps.unwrap_or(0),
        sample_freq: config.sample.clone().unwrap_or_default(),
        max_waiting: if rest.deliver_subject.is_empty() { count(Some(config.waiting_max)) } else { 0 },
        max_ack_pending: if acknowledges { told(config.ack_pending_max) } else { rest.max_ack_pending },
        flow_control: rest.flow_control,
        headers_only: config.headers_only,
        max_batch: count(config.batch_max),
        max_expires: config.expires_max.map_or(0, nanos),
        max_bytes: count(config.bytes_max),
        deliver_subject: rest.deliver_subject,
        deliver_group: rest.deliver_group,
        idle_heartbeat: rest.idle_heartbeat,
        inactive_threshold: config.inactive.map_or(0, nanos),
        num_replicas: rest.num_replicas,
        mem_storage: config.memory,
        direct: rest.direct,
        sourcing: rest.sourcing,
        metadata: metadata_shown(&config.metadata, level),
        pause_until: config.pause_until.map(|moment| Time(Some(moment))),
        priority_groups: config.priority.as_ref().map(|priority| priority.groups.clone()).unwrap_or_default(),
        priority_policy: match config.priority.as_ref().map(|priority| priority.policy) {
            None => Priority::None,
            Some(PriorityPolicy::Overflow) => Priority::Overflow,
            Some(PriorityPolicy::Pinned) => Priority::PinnedClient,
            Some(PriorityPolicy::Prioritized) => Priority::Prioritized,
        },
        priority_timeout: match &config.priority {
            Some(priority) if priority.policy == PriorityPolicy::Pinned => nanos(priority.pinned_ttl),
            _ => 0,
        },
    }
}

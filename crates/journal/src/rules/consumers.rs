//! What a consumer's declaration must be, and what of it may change.
//!
//! What may change is what nats-server lets change.

use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

use event::Pattern;

use crate::consumer::{ConsumerConfig, PriorityConfig};
use crate::error::ConsumerError;
use crate::limits::{GROUP_BYTES_MAX, INACTIVE_DEFAULT, PATTERNS_MAX, PINNED_TTL_DEFAULT};

use super::check_name;

/// Judges a consumer's declaration, and fills its defaults.
///
/// # Errors
/// [`ConsumerError::Invalid`] naming the field.
pub fn check_consumer(mut config: ConsumerConfig) -> Result<ConsumerConfig, ConsumerError> {
    check_name(&config.name, "name").map_err(|(field, reason)| ConsumerError::Invalid { field, reason })?;
    check_filters(&config.filters)?;
    if config.ack_wait.is_zero() {
        return invalid("ack_wait", "must be longer than zero");
    }
    for (field, limit) in [
        ("deliver_max", config.deliver_max),
        ("ack_pending_max", config.ack_pending_max),
        ("waiting_max", Some(config.waiting_max)),
        ("batch_max", config.batch_max),
        ("bytes_max", config.bytes_max),
        ("rate_limit_bps", config.rate_limit_bps),
    ] {
        if limit == Some(0) {
            return invalid(field, "must be at least 1; leave it out for no limit");
        }
    }
    if config.expires_max.is_some_and(|max| max < Duration::from_millis(1)) {
        return invalid("expires_max", "must be at least a millisecond; leave it out for no limit");
    }
    if config.deliver_max.is_some_and(|max| config.backoff.len() as u64 > max) {
        return invalid("backoff", "must not have more waits than deliver_max has deliveries");
    }
    if let Some(priority) = &mut config.priority {
        check_groups(priority)?;
    }
    if !config.durable && config.inactive.is_none() {
        config.inactive = Some(INACTIVE_DEFAULT);
    }
    Ok(config)
}

fn invalid<T>(field: &'static str, reason: &str) -> Result<T, ConsumerError> {
    Err(ConsumerError::Invalid { field, reason: reason.to_string() })
}

fn check_filters(filters: &[Pattern]) -> Result<(), ConsumerError> {
    if filters.len() > PATTERNS_MAX {
        return invalid("filters", &format!("must be at most {PATTERNS_MAX} patterns"));
    }
    for (place, ours) in filters.iter().enumerate() {
        for theirs in filters.iter().skip(place + 1) {
            if ours.overlaps(theirs) {
                return invalid("filters", &format!("must not overlap one another: '{ours}' and '{theirs}' do"));
            }
        }
    }
    Ok(())
}

fn check_groups(priority: &mut PriorityConfig) -> Result<(), ConsumerError> {
    if priority.groups.is_empty() {
        return invalid("priority_groups", "must name one group at least");
    }
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"/_=-".contains(&b);
    let good = |name: &str| (1..=GROUP_BYTES_MAX).contains(&name.len()) && name.bytes().all(letter);
    if let Some(bad) = priority.groups.iter().find(|name| !good(name)) {
        let shown: alloc::string::String = bad.chars().take(40).collect();
        let reason = format!("must be 1 to {GROUP_BYTES_MAX} letters, digits, '/', '_', '=' or '-', not {shown:?}");
        return invalid("priority_groups", &reason);
    }
    if priority.pinned_ttl.is_zero() {
        priority.pinned_ttl = PINNED_TTL_DEFAULT;
    }
    Ok(())
}

/// Judges a change of a consumer's declaration.
///
/// # Errors
/// [`ConsumerError::Invalid`] naming a field that cannot change.
pub fn check_consumer_update(old: &ConsumerConfig, new: ConsumerConfig) -> Result<ConsumerConfig, ConsumerError> {
    let new = check_consumer(new)?;
    for (field, same) in [
        ("start", old.start == new.start),
        ("memory", old.memory == new.memory),
        ("ack", old.ack == new.ack),
        ("replay_original", old.replay_original == new.replay_original),
        ("waiting_max", old.waiting_max == new.waiting_max),
        ("durable", old.durable == new.durable),
    ] {
        if !same {
            return invalid(field, "cannot be changed");
        }
    }
    Ok(new)
}

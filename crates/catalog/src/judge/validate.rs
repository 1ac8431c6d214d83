//! What a registration must be, in the original's words.

use alloc::format;
use alloc::string::String;
use core::net::IpAddr;

use crate::command::Refused;
use crate::limits::{
    ADDRESS_BYTES_MAX, META_KEY_BYTES_MAX, META_PAIRS_MAX, META_VALUE_BYTES_MAX, NAME_BYTES_MAX, OUTPUT_BYTES_MAX,
};
use crate::model::{Definition, Status, Weights};

/// A text that is not longer than is kept, cut at a character.
pub(super) fn cut(text: &str) -> &str {
    let mut end = text.len().min(OUTPUT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A name that can be part of a subject.
pub(super) fn name(what: &str, name: &str) -> Result<(), Refused> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Refused::invalid(format!("Invalid {what} name: longer than {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// An address that can be one.
pub(super) fn address(what: &str, address: &str) -> Result<(), Refused> {
    if address.len() > ADDRESS_BYTES_MAX || address.chars().any(char::is_control) {
        return Err(Refused::invalid(format!("Invalid {what} address")));
    }
    Ok(())
}

/// An address that can be reached: an agent's.
pub(super) fn reachable(text: &str) -> Result<(), Refused> {
    address("service", text)?;
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if inner.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(Refused::invalid("Invalid service address"));
    }
    Ok(())
}

/// Metadata, of a service where `strict`.
pub(super) fn meta<'a>(
    pairs: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
    strict: bool,
) -> Result<(), String> {
    if pairs.len() > META_PAIRS_MAX {
        return Err(format!("Node metadata cannot contain more than {META_PAIRS_MAX} key/value pairs"));
    }
    for (key, value) in pairs {
        let is_odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        let why = if key.is_empty() {
            "Key cannot be blank".into()
        } else if key.len() > META_KEY_BYTES_MAX {
            format!("Key is too long (limit: {META_KEY_BYTES_MAX} characters)")
        } else if value.len() > META_VALUE_BYTES_MAX {
            format!("Value is too long (limit: {META_VALUE_BYTES_MAX} characters)")
        } else if strict && key.contains(is_odd) {
            "Key contains invalid characters".into()
        } else {
            continue;
        };
        let (key, value) = (short(key), short(value));
        return Err(format!("Couldn't load metadata pair ('{key}', '{value}'): {why}"));
    }
    Ok(())
}

/// The beginning of a text that is repeated in an error.
fn short(text: &str) -> String {
    const SHOWN: usize = 64;
    text.chars().take(SHOWN).collect()
}

/// Weights that DNS can carry.
pub(super) fn weights(weights: Weights) -> Result<(), &'static str> {
    const MAX: i64 = 65_535;
    match weights {
        Weights { passing, .. } if passing < 1 => Err("Passing must be greater than 0"),
        Weights { warning, .. } if warning < 0 => Err("Warning must be greater or equal than 0"),
        Weights { passing, warning } if passing > MAX || warning > MAX => Err("DNS Weight must be between 0 and 65535"),
        _ => Ok(()),
    }
}

/// A status, or the one that stands where nothing is said.
pub(super) fn status(text: &str) -> Result<Option<Status>, Refused> {
    match text {
        "" => Ok(None),
        text => match Status::parse(text) {
            Some(status) => Ok(Some(status)),
            None => Err(Refused::invalid("Status for checks must 'passing', 'warning', 'critical'")),
        },
    }
}

/// A check that this node can make.
pub(super) fn runnable(definition: &Definition) -> Result<(), Refused> {
    let repeats = definition.http.is_some() || definition.tcp.is_some();
    let why = if repeats && definition.interval.is_none_or(|interval| interval.is_zero()) {
        "Interval must be > 0 for Script, HTTP, or TCP checks"
    } else if repeats && definition.ttl.is_some() {
        "Interval and TTL cannot both be specified"
    } else if !repeats && definition.ttl.is_none_or(|ttl| ttl.is_zero()) {
        "TTL must be > 0 for TTL checks"
    } else if definition.http.as_ref().is_some_and(|url| url.len() > ADDRESS_BYTES_MAX * 4) {
        "the URL is too long"
    } else {
        return Ok(());
    };
    Err(Refused::invalid(format!("Invalid check: {why}")))
}

/// A node's id: a UUID.
pub(super) fn uuid(text: &str) -> Result<(), Refused> {
    const BYTES: usize = 36;
    let why = if text.len() != BYTES {
        "uuid string is wrong length"
    } else if !text.bytes().enumerate().all(|(place, byte)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    }) {
        "uuid is improperly formatted"
    } else {
        return Ok(());
    };
    Err(Refused::failed(format!("Bad node ID: {why}")))
}

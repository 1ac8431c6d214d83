//! The envelope: one fact as the JSON that peers send each other.
//!
//! It is not signed here; [`signed_bytes`] says over what. Read as leniently as Go's decoder reads, and
//! written byte for byte as Go's encoder writes. `withdrawn` is ours: it is written only when true, and
//! a peer that does not know it passes over it. Source: the federation of routerd v20260822.1715, whose
//! envelope this is. Costs one pass over the body, and the strings.
//!
//! ```text
//! {"id":"…","group":"…","sourceNode":"…","type":"…","subject":"…","dedupeKey":"…",
//!  "payload":{"k":"v"},"observedAt":"2025-05-30T10:13:10Z","expiresAt":"0001-01-01T00:00:00Z"}
//! ```

mod json;
#[cfg(test)]
mod tests;
mod time;

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use event::{Fact, Moment};
use thiserror::Error;

use json::Reader;

/// Why a body is no fact. Never worth trying again unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// It is not JSON, not an object, or a field has a value of another type.
    #[error("bad event body")]
    Body,
    /// A field that must be there is blank.
    #[error("invalid event: federation event {0} is required")]
    Required(&'static str),
}

/// Reads a body, and normalises the fact as [`normalise`] does.
///
/// As Go does: unknown fields are passed over, names are taken in any case, of a field given twice the
/// last counts (payloads are joined), `null` leaves what was there, bytes that are not UTF-8 become
/// U+FFFD. Times before 1970 count as 1970 and those after 2554 as 2554, save the zero time of Go, which is
/// "none".
///
/// # Errors
/// [`EnvelopeError`].
pub fn decode(body: &[u8]) -> Result<Fact, EnvelopeError> {
    let mut fact = read(body).ok_or(EnvelopeError::Body)?;
    normalise(&mut fact)?;
    Ok(fact)
}

fn read(body: &[u8]) -> Option<Fact> {
    let mut fact = Fact::new("", "", "");
    let mut reader = Reader::new(body);
    if !reader.null() {
        reader.object(|name, reader| field(&mut fact, name, reader))?;
    }
    reader.end()?;
    Some(fact)
}

fn field(fact: &mut Fact, name: &str, reader: &mut Reader<'_>) -> Option<()> {
    let names = [
        "id",
        "group",
        "sourceNode",
        "type",
        "subject",
        "dedupeKey",
        "payload",
        "observedAt",
        "expiresAt",
        "withdrawn",
    ];
    let Some(name) = names.into_iter().find(|each| json::same_name(each, name)) else {
        return reader.pass_over();
    };
    if reader.null() {
        if name == "payload" {
            fact.payload.clear();
        }
        return Some(());
    }
    match name {
        "id" => fact.id = reader.string()?,
        "group" => fact.group = reader.string()?,
        "sourceNode" => fact.source = reader.string()?,
        "type" => fact.kind = reader.string()?,
        "subject" => fact.subject = reader.string()?,
        "dedupeKey" => fact.dedupe_key = reader.string()?,
        "observedAt" => fact.observed = time::parse(&reader.string()?)?,
        "expiresAt" => fact.expires = time::parse(&reader.string()?)?,
        "withdrawn" => fact.withdrawn = reader.boolean()?,
        _ => reader.object(|key, reader| {
            let value = if reader.null() { String::new() } else { reader.string()? };
            fact.payload.insert(key.to_owned(), value);
            Some(())
        })?,
    }
    Some(())
}

/// Takes white space off the ends of the names, fills in the key, and asks for what is required.
///
/// # Errors
/// [`EnvelopeError::Required`].
pub fn normalise(fact: &mut Fact) -> Result<(), EnvelopeError> {
    let Fact { id, group, source, kind, subject, dedupe_key, .. } = fact;
    for text in [id, group, source, kind, subject, dedupe_key] {
        let trimmed = text.trim();
        if trimmed.len() != text.len() {
            *text = trimmed.to_owned();
        }
    }
    let required = [("id", &fact.id), ("group", &fact.group), ("type", &fact.kind)];
    if let Some((name, _)) = required.into_iter().find(|(_, value)| value.is_empty()) {
        return Err(EnvelopeError::Required(name));
    }
    if fact.dedupe_key.is_empty() {
        fact.dedupe_key.clone_from(&fact.id);
    }
    Ok(())
}

/// The body of a fact, byte for byte as Go writes it.
pub fn encode(fact: &Fact) -> Vec<u8> {
    let mut out = String::with_capacity(256);
    let mut first = true;
    let mut text = |out: &mut String, name: &str, value: &str, always: bool| {
        if always || !value.is_empty() {
            out.push_str(if first { "{\"" } else { ",\"" });
            first = false;
            out.push_str(name);
            out.push_str("\":");
            json::write(out, value);
        }
    };
    text(&mut out, "id", &fact.id, true);
    text(&mut out, "group", &fact.group, true);
    text(&mut out, "sourceNode", &fact.source, false);
    text(&mut out, "type", &fact.kind, true);
    text(&mut out, "subject", &fact.subject, false);
    text(&mut out, "dedupeKey", &fact.dedupe_key, false);
    payload(&mut out, &fact.payload);
    out.push_str(&format!(",\"observedAt\":\"{}\"", time::Shown(fact.observed)));
    out.push_str(&format!(",\"expiresAt\":\"{}\"", time::Shown(fact.expires)));
    out.push_str(if fact.withdrawn { ",\"withdrawn\":true}" } else { "}" });
    out.into_bytes()
}

fn payload(out: &mut String, payload: &BTreeMap<String, String>) {
    for (place, (key, value)) in payload.iter().enumerate() {
        out.push_str(if place == 0 { ",\"payload\":{" } else { "," });
        json::write(out, key);
        out.push(':');
        json::write(out, value);
    }
    if !payload.is_empty() {
        out.push('}');
    }
}

/// What is signed: the seconds since 1970 in decimal, a line feed, the body as it is sent.
pub fn signed_bytes(timestamp: i64, body: &[u8]) -> Vec<u8> {
    let mut signed = format!("{timestamp}\n").into_bytes();
    signed.extend_from_slice(body);
    signed
}

/// The seconds in a timestamp header. A sign and leading zeros are taken, as Go takes them.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// A time as an envelope writes it: RFC 3339 in UTC; "none" is Go's zero time.
pub fn time_text(moment: Option<Moment>) -> String {
    format!("{}", time::Shown(moment))
}

/// The time in an envelope's text: `Some(None)` for "none"; `None` where it is no time.
pub fn parse_time(text: &str) -> Option<Option<Moment>> {
    time::parse(text)
}

/// A JSON string as Go writes it, with its quotes.
pub fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    json::write(&mut out, text);
    out
}

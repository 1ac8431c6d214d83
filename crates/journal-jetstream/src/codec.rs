//! Messages as they stand in a JetStream stream.
//!
//! Subject and payload are the message's own. Headers are the message's own, and those that tell the
//! server what is asked of an append (`Nats-Msg-Id`, `Nats-Expected-*`, `Nats-TTL`). So that a reader
//! gets back what was recorded, one header more is written where it is needed:
//!
//! ```text
//! Tidings-Own: <what was added>[;<order>]
//!   i  a Nats-Msg-Id    e  Nats-Expected-*    t  a Nats-TTL    r  a Nats-Rollup
//!   order: the names as they were, joined by commas, where they were not sorted by name
//! ```
//!
//! The client library keeps headers in a table without order; that is why the order is told.
//!
//! # Invariants
//! - A header of the message itself never acts as a command to the server: one of a name that the
//!   server heeds travels as `Tidings-Kept-<name>`, unless it says the append's own id.
//! - Headers of a message that other software recorded come sorted by name where they were delivered,
//!   and as they stand where they were asked for one by one.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use async_nats::header::{HeaderName, HeaderValue};
use async_nats::{HeaderMap, Message as Wire};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use event::{Headers, Message, Moment, Subject};
use journal::limits::TTL_NEVER;
use journal::{Append, Expect, Rollup, Stored};

use crate::wire::{GotMessage, moment};

pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";
const TTL: &str = "Nats-TTL";
const ROLLUP: &str = "Nats-Rollup";
const EXPECTED: &str = "Nats-Expected-";
const PIN: &str = "Nats-Pin-Id";
const OWN: &str = "Tidings-Own";
const KEPT: &str = "Tidings-Kept-";

/// Beginnings of the names that the server heeds in what is published.
const HEEDED: [&str; 9] = [
    MESSAGE_ID,
    TTL,
    EXPECTED,
    ROLLUP,
    "Nats-Incr",
    "Nats-Counter-",
    "Nats-Batch-",
    "Nats-Schedule",
    "Nats-Stream-Source",
];

/// What the server adds to a message that is read directly.
const OF_A_READ: [&str; 6] =
    ["Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence"];

/// A message id as a header's value.
pub(crate) fn id_text(id: &[u8]) -> String {
    match std::str::from_utf8(id) {
        Ok(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => text.to_owned(),
        _ => id.iter().fold(String::from("tidings.hex."), |text, byte| format!("{text}{byte:02x}")),
    }
}

/// The headers of an append, if it needs any. `internal` is the id that the engine gives where the
/// publisher gave none.
pub(crate) fn headers_of(append: &Append, internal: Option<&str>) -> Option<HeaderMap> {
    let id = append.id.as_ref().map(|id| id_text(id));
    let id = id.as_deref().or(internal);
    let mut pairs: Vec<(String, &str)> = Vec::new();
    let mut told = false;
    for (name, value) in append.message.headers.iter() {
        if name == MESSAGE_ID && Some(value) == id && !told {
            told = true;
            pairs.push((name.to_owned(), value));
        } else if HEEDED.iter().any(|heeded| name.starts_with(heeded)) || name == OWN || name.starts_with(KEPT) {
            pairs.push((format!("{KEPT}{name}"), value));
        } else {
            pairs.push((name.to_owned(), value));
        }
    }
    let order = order_of(&pairs);
    let mut own = String::new();
    let mut all = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) {
            all.append(name, value);
        }
    };
    if let Some(id) = id.filter(|_| !told) {
        own.push('i');
        add(MESSAGE_ID, id);
    }
    if expectations(&append.expect, &mut add) {
        own.push('e');
    }
    if let Some(ttl) = append.ttl {
        own.push('t');
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0)).max(1);
        add(TTL, &if ttl == TTL_NEVER { String::from("never") } else { seconds.to_string() });
    }
    if let Some(rollup) = append.rollup {
        own.push('r');
        add(ROLLUP, if rollup == Rollup::All { "all" } else { "sub" });
    }
    for (name, value) in &pairs {
        add(name, value);
    }
    if let Some(order) = order {
        own.push(';');
        own.push_str(&order);
    }
    if !own.is_empty() {
        add(OWN, &own);
    }
    (!all.is_empty()).then_some(all)
}

fn expectations(expect: &Expect, add: &mut impl FnMut(&str, &str)) -> bool {
    let mut any = false;
    let mut say = |name: &str, value: &str| {
        any = true;
        add(&format!("{EXPECTED}{name}"), value);
    };
    if let Some(stream) = &expect.stream {
        say("Stream", stream);
    }
    if let Some(last) = expect.last {
        say("Last-Sequence", &last.to_string());
    }
    if let Some(last) = expect.last_of_subject {
        say("Last-Subject-Sequence", &last.to_string());
        if let Some(subject) = &expect.subject {
            say("Last-Subject-Sequence-Subject", subject.as_str());
        }
    }
    if let Some(id) = &expect.last_id {
        say("Last-Msg-Id", &id_text(id.as_bytes()));
    }
    any
}

/// The names as they stand, unless sorting gives the same.
fn order_of(pairs: &[(String, &str)]) -> Option<String> {
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    (!names.is_sorted()).then(|| names.join(","))
}

/// A message that a direct read gave, with how many the server holds behind it.
pub(crate) struct Direct {
    pub(crate) stored: Stored,
    pub(crate) pending: u64,
}

/// What a direct read gave; `None` where it is no message.
pub(crate) fn direct(wire: Wire) -> Option<Direct> {
    let mut table = table_of(wire.headers.as_ref());
    let mut taken = OF_A_READ.iter().map(|name| {
        let values = table.get_mut(*name)?;
        let value = values.pop();
        if values.is_empty() {
            table.remove(*name);
        }
        value
    });
    let _stream = taken.next();
    let [subject, seq, time, pending] =
        [taken.next()??, taken.next()??, taken.next()??, taken.next()?.unwrap_or_default()];
    let _last = taken.next();
    drop(taken);
    let subject = Subject::parse(&subject).ok()?;
    let message = Message { subject, reply: None, headers: own_headers(table), payload: wire.payload };
    let stored = Stored { seq: seq.parse().ok()?, time: moment(&time), message };
    Some(Direct { stored, pending: pending.parse().unwrap_or(0) })
}

/// A number in a header.
pub(crate) fn number(wire: &Wire, name: &str) -> Option<u64> {
    wire.headers.as_ref()?.get_last(name)?.as_str().trim().parse().ok()
}

/// The pin that a delivery names.
pub(crate) fn pin(wire: &Wire) -> Option<Arc<str>> {
    Some(wire.headers.as_ref()?.get_last(PIN)?.as_str().into())
}

/// A message that a consumer delivered, without what its reply subject tells.
pub(crate) fn delivered(wire: Wire, seq: u64, time: Moment) -> Option<Stored> {
    let subject = Subject::parse(wire.subject.as_str()).ok()?;
    let mut table = table_of(wire.headers.as_ref());
    table.remove(PIN);
    let headers = own_headers(table);
    Some(Stored { seq, time, message: Message { subject, reply: None, headers, payload: wire.payload } })
}

/// A message that was asked for by itself.
pub(crate) fn got(message: &GotMessage) -> Option<Stored> {
    let decode = |text: &str| STANDARD.decode(text).ok();
    let (block, payload) = (decode(&message.hdrs)?, decode(&message.data)?);
    let block = String::from_utf8(block).ok()?;
    let lines = block.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let pairs: Vec<(&str, &str)> = lines.map(|(name, value)| (name, value.trim())).collect();
    let ours = pairs.iter().any(|(name, _)| *name == OWN);
    let headers = if ours {
        let mut table = Table::new();
        for (name, value) in pairs {
            table.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        own_headers(table)
    } else {
        from_pairs(pairs.into_iter())
    };
    let subject = Subject::parse(&message.subject).ok()?;
    let message_of = Message { subject, reply: None, headers, payload: Bytes::from(payload) };
    Some(Stored { seq: message.seq, time: moment(&message.time), message: message_of })
}

type Table = BTreeMap<String, Vec<String>>;

fn table_of(headers: Option<&HeaderMap>) -> Table {
    let all = headers.into_iter().flat_map(HeaderMap::iter);
    all.map(|(name, values)| (name.to_string(), values.iter().map(|value| value.as_str().to_owned()).collect()))
        .collect()
}

/// The message's own headers, as they were.
fn own_headers(mut table: Table) -> Headers {
    let own = table.remove(OWN).and_then(|values| values.into_iter().next()).unwrap_or_default();
    let (added, order) = own.split_once(';').map_or((own.as_str(), None), |(added, order)| (added, Some(order)));
    if added.contains('i') {
        table.remove(MESSAGE_ID);
    }
    if added.contains('t') {
        table.remove(TTL);
    }
    if added.contains('r') {
        table.remove(ROLLUP);
    }
    if added.contains('e') {
        table.retain(|name, _| !name.starts_with(EXPECTED));
    }
    // Only a batch says these; a message's own are kept under another name.
    table.retain(|name, _| !name.starts_with("Nats-Batch-"));
    let mut pairs: Vec<(String, String)> = Vec::new();
    for name in order.into_iter().flat_map(|order| order.split(',')) {
        if let Some(values) = table.get_mut(name)
            && !values.is_empty()
        {
            pairs.push((name.to_owned(), values.remove(0)));
        }
    }
    for (name, values) in table {
        pairs.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    from_pairs(pairs.iter().map(|(name, value)| (name.strip_prefix(KEPT).unwrap_or(name), value.as_str())))
}

/// The headers of pairs; those that are none are left out.
fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Headers {
    let good = pairs.filter(|(name, value)| Headers::from_pairs([(*name, *value)]).is_ok());
    Headers::from_pairs(good).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], id: Option<&str>, expected_on_the_wire: &[(&str, &str)]) {
        let mut message = Message::new(Subject::parse("a").unwrap(), "p");
        message.headers = Headers::from_pairs(pairs.iter().copied()).unwrap();
        let append = Append { id: id.map(|id| Bytes::copy_from_slice(id.as_bytes())), ..Append::new(message.clone()) };
        let wire = headers_of(&append, None);
        let mut found: Vec<(String, String)> = table_of(wire.as_ref())
            .into_iter()
            .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)))
            .collect();
        found.sort();
        let mut expected: Vec<_> =
            expected_on_the_wire.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(own_headers(table_of(wire.as_ref())), message.headers);
    }

    #[test]
    fn headers_come_back_as_they_were_and_command_nothing() {
        check(&[], None, &[]);
        check(&[("a", "1"), ("b", ""), ("b", "2")], None, &[("a", "1"), ("b", ""), ("b", "2")]);
        check(&[], Some("one"), &[("Nats-Msg-Id", "one"), ("Tidings-Own", "i")]);
        check(&[("Nats-Msg-Id", "one")], Some("one"), &[("Nats-Msg-Id", "one")]);
        let kept = [("Tidings-Kept-Nats-Rollup", "all"), ("Tidings-Kept-Tidings-Own", "e")];
        check(&[("Nats-Rollup", "all"), ("Tidings-Own", "e")], None, &kept);
        let order = ("Tidings-Own", "i;x,a,x");
        check(
            &[("x", "1"), ("a", "2"), ("x", "3")],
            Some("i"),
            &[("Nats-Msg-Id", "i"), order, ("a", "2"), ("x", "1"), ("x", "3")],
        );
        check(
            &[("Nats-Msg-Id", "other")],
            Some("one"),
            &[("Nats-Msg-Id", "one"), ("Tidings-Own", "i"), ("Tidings-Kept-Nats-Msg-Id", "other")],
        );
    }

    #[test]
    fn an_id_of_any_bytes_is_a_line() {
        assert_eq!(id_text(b"one"), "one");
        assert_eq!(id_text(&[0xff, b'\n']), "tidings.hex.ff0a");
    }
}

//! A stored message as JSON, as a CloudEvent, and as a server-sent event.
//!
//! Written straight into a buffer: a listing of thousands of messages builds no tree of values.
//!
//! # Invariants
//! - An event's JSON data is spliced in as it was recorded. Where the recorded bytes are not the
//!   JSON that their media type promises, they travel as `data_base64`.
//! - In a server-sent event the JSON is on one line: a line end can only stand between tokens of
//!   spliced JSON, and a space stands in its place.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use event::cloud::{Event, decode_value};
use event::{Headers, Message};
use journal::{Delivery, Page, Stored};
use serde::de::IgnoredAny;

use crate::codec::cloud::is_json;

/// A message as it is given, for the API's description; [`message`] writes it.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "read by the description that is derived from it, never made")]
pub struct MessageView {
    /// The stream that holds it.
    stream: String,
    /// Its position.
    seq: u64,
    /// When it was recorded.
    #[schema(format = DateTime)]
    time: String,
    /// Its subject.
    subject: String,
    /// Its headers: every value of each name.
    headers: std::collections::BTreeMap<String, Vec<String>>,
    /// Its payload, where it is UTF-8.
    data: Option<String>,
    /// Its payload, where it is not.
    data_base64: Option<String>,
    /// The CloudEvents JSON form, where it carries an event.
    #[schema(value_type = Option<Object>)]
    event: Option<String>,
}

/// A page of a listing, for the API's description; [`page`] writes it.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "read by the description that is derived from it, never made")]
pub struct PageView {
    /// In order of position.
    messages: Vec<MessageView>,
    /// Where to go on: the next `from`.
    next: u64,
    /// The stream's last position. `next > last`: this page reached the end.
    last: u64,
    /// Positions of damaged records that were passed over.
    damaged: Vec<u64>,
}

/// A delivery, for the API's description; [`delivery`] writes it.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "read by the description that is derived from it, never made")]
pub struct DeliveryView {
    #[serde(flatten)]
    message: MessageView,
    /// What acknowledges it.
    token: String,
    /// Which delivery of this message it is, from 1.
    attempt: u64,
    /// Matching messages left behind it.
    pending: u64,
}

/// What a fetch gave, for the API's description.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "read by the description that is derived from it, never made")]
pub struct FetchedView {
    /// In the order in which they were delivered.
    messages: Vec<DeliveryView>,
    /// Why the fetch ended: `full`, `expired`, `bytes`, `consumer_deleted`, `closed` or `failed`.
    end: String,
}

/// Writes a text as a JSON string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    // Writing to memory cannot fail, and every text is a JSON string.
    let _infallible = serde_json::to_writer(out, text);
}

fn raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, number: u64) {
    raw(out, &number.to_string());
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    raw(out, &STANDARD.encode(bytes));
    out.push(b'"');
}

/// Writes a message, without the closing brace.
fn open(out: &mut Vec<u8>, stream: &str, stored: &Stored) {
    let Stored { seq, time, message } = stored;
    out.reserve(256 + message.size() * 2);
    raw(out, "{\"stream\":");
    string(out, stream);
    raw(out, ",\"seq\":");
    number(out, *seq);
    raw(out, ",\"time\":");
    string(out, &time.to_string());
    raw(out, ",");
    content(out, message);
}

/// Writes what is in a message, as members.
fn content(out: &mut Vec<u8>, message: &Message) {
    raw(out, "\"subject\":");
    string(out, message.subject.as_str());
    raw(out, ",\"headers\":");
    headers(out, &message.headers);
    match std::str::from_utf8(&message.payload) {
        Ok(text) => {
            raw(out, ",\"data\":");
            string(out, text);
        }
        Err(_) => {
            raw(out, ",\"data_base64\":");
            base64(out, &message.payload);
        }
    }
    let before = out.len();
    raw(out, ",\"event\":");
    if !event(out, message) {
        out.truncate(before);
    }
}

fn headers(out: &mut Vec<u8>, headers: &Headers) {
    out.push(b'{');
    for (place, (name, _)) in headers.iter().enumerate() {
        let same = |other: &str| other.eq_ignore_ascii_case(name);
        if headers.iter().take(place).any(|(other, _)| same(other)) {
            continue;
        }
        if place > 0 {
            out.push(b',');
        }
        string(out, name);
        raw(out, ":[");
        for (count, (_, value)) in headers.iter().filter(|(other, _)| same(other)).enumerate() {
            if count > 0 {
                out.push(b',');
            }
            string(out, value);
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// Writes a message as `Message` JSON.
pub fn message(out: &mut Vec<u8>, stream: &str, stored: &Stored) {
    open(out, stream, stored);
    out.push(b'}');
}

/// Writes a message that is not recorded, or not yet known to be: without stream, position and time.
pub fn live(out: &mut Vec<u8>, message: &Message) {
    out.reserve(256 + message.size() * 2);
    out.push(b'{');
    content(out, message);
    out.push(b'}');
}

/// Writes a delivery: the message, its `token`, its `attempt` and what is `pending` behind it.
pub fn delivery(out: &mut Vec<u8>, delivery: &Delivery) {
    open(out, &delivery.token.stream, &delivery.stored);
    raw(out, ",\"token\":");
    string(out, &delivery.token.to_string());
    raw(out, ",\"attempt\":");
    number(out, delivery.token.attempt);
    raw(out, ",\"pending\":");
    number(out, delivery.pending);
    out.push(b'}');
}

/// Writes the JSON form of the event in a message (CloudEvents JSON format, section 3); `false`, and
/// nothing written, where the message is none.
pub fn event(out: &mut Vec<u8>, message: &Message) -> bool {
    if Event::from_message(message).is_none_or(|event| event.is_err()) {
        return false;
    }
    let mut media_type = None;
    out.push(b'{');
    for (name, value) in message.headers.iter() {
        let name = name.to_ascii_lowercase();
        let (name, value) = match name.strip_prefix("ce-") {
            Some(name) => (name, decode_value(value)),
            None if name == "content-type" => ("datacontenttype", value.to_owned()),
            None => continue,
        };
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        string(out, &value);
        if name == "datacontenttype" {
            media_type = Some(value);
        }
    }
    if !message.payload.is_empty() {
        event_data(out, media_type.as_deref(), &message.payload);
    }
    out.push(b'}');
    true
}

fn event_data(out: &mut Vec<u8>, media_type: Option<&str>, payload: &[u8]) {
    let text = std::str::from_utf8(payload).ok().zip(media_type);
    match text {
        Some((text, media_type)) if !is_json(media_type) => {
            raw(out, ",\"data\":");
            return string(out, text);
        }
        Some((text, _)) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            raw(out, ",\"data\":");
            return raw(out, text);
        }
        _ => {}
    }
    raw(out, ",\"data_base64\":");
    base64(out, payload);
}

/// Writes a page of a listing.
pub fn page(out: &mut Vec<u8>, stream: &str, page: &Page) {
    raw(out, "{\"messages\":[");
    for (place, stored) in page.messages.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        message(out, stream, stored);
    }
    let mut rest = String::new();
    // Writing to a text cannot fail.
    let _infallible = write!(rest, "],\"next\":{},\"last\":{},\"damaged\":{:?}}}", page.next, page.last, page.damaged);
    raw(out, &rest);
}

/// Writes the events of a page as a batch; how many messages carry none.
pub fn batch(out: &mut Vec<u8>, page: &Page) -> usize {
    let mut skipped = 0;
    out.push(b'[');
    for stored in &page.messages {
        let before = out.len();
        if before > 1 {
            out.push(b',');
        }
        if !event(out, &stored.message) {
            out.truncate(before);
            skipped += 1;
        }
    }
    out.push(b']');
    skipped
}

/// Writes a server-sent event. `write` writes its data.
pub fn sse(out: &mut Vec<u8>, id: Option<u64>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    if let Some(id) = id {
        raw(out, "id: ");
        number(out, id);
        out.push(b'\n');
    }
    raw(out, "event: ");
    raw(out, name);
    raw(out, "\ndata: ");
    let start = out.len();
    write(out);
    for byte in out.iter_mut().skip(start) {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    raw(out, "\n\n");
}

/// A comment that keeps an idle connection alive.
pub const HEARTBEAT: &[u8] = b": heartbeat\n\n";

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Moment, Subject};

    fn stored(pairs: &[(&str, &str)], payload: &'static [u8]) -> Stored {
        let mut message = Message::new(Subject::parse("a.b").unwrap(), payload);
        message.headers = Headers::from_pairs(pairs.iter().copied()).unwrap();
        Stored { seq: 7, time: Moment::EPOCH, message }
    }

    fn check(pairs: &[(&str, &str)], payload: &'static [u8], expected: &str) {
        let mut out = Vec::new();
        message(&mut out, "S", &stored(pairs, payload));
        let text = String::from_utf8(out).unwrap();
        let rest = text.strip_prefix(r#"{"stream":"S","seq":7,"time":"1970-01-01T00:00:00Z","subject":"a.b","#);
        assert_eq!(rest, Some(expected));
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }

    const EVENT: [(&str, &str); 4] = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];

    #[test]
    fn messages_as_json() {
        check(&[], b"x\n", r#""headers":{},"data":"x\n"}"#);
        check(&[("A", "1"), ("b", "2"), ("a", "3")], b"", r#""headers":{"A":["1","3"],"b":["2"]},"data":""}"#);
        check(&[], &[0xff], r#""headers":{},"data_base64":"/w=="}"#);
    }

    fn check_event(media_type: Option<&str>, payload: &'static [u8], expected: &str) {
        let pairs: Vec<_> = EVENT.into_iter().chain(media_type.map(|value| ("content-type", value))).collect();
        let mut out = Vec::new();
        assert!(event(&mut out, &stored(&pairs, payload).message));
        let text = String::from_utf8(out).unwrap();
        let start = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#;
        assert_eq!(text.strip_prefix(start), Some(expected), "{text}");
    }

    #[test]
    fn events_as_json() {
        let json = Some("application/json");
        check_event(None, b"", "}");
        check_event(
            json,
            b"{\"b\":1.0, \"a\":1}",
            ",\"datacontenttype\":\"application/json\",\"data\":{\"b\":1.0, \"a\":1}}",
        );
        check_event(json, b"{", ",\"datacontenttype\":\"application/json\",\"data_base64\":\"ew==\"}");
        check_event(Some("text/plain"), b"a\"", ",\"datacontenttype\":\"text/plain\",\"data\":\"a\\\"\"}");
        check_event(None, b"a", ",\"data_base64\":\"YQ==\"}");
    }

    #[test]
    fn a_server_sent_event_has_one_line_of_data() {
        let pairs: Vec<_> = EVENT.into_iter().chain([("content-type", "application/json")]).collect();
        let mut out = Vec::new();
        sse(&mut out, Some(7), "message", |out| message(out, "S", &stored(&pairs, b"{\r\n\"a\": 1\n}")));
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!((lines.len(), lines[0], lines[1]), (5, "id: 7", "event: message"));
        assert!(lines[2].ends_with(r#""data":{  "a": 1 }}}"#), "{}", lines[2]);
    }
}

//! Strangers' bytes: whatever a request's head or body holds, the codecs judge it without panic, and
//! what they take comes back as it was.
//!
//! Run with a fuzzer: `cargo bolero test -p door-http events`. With `cargo test` each target takes its
//! corpus and a bounded number of random inputs.

#![allow(clippy::unwrap_used, reason = "a test")]

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use door_http::codec::declare::{
    self, ConsumerDeclaration, FetchRequest, PauseRequest, PurgeRequest, StreamDeclaration, TokensRequest,
};
use door_http::codec::query::Query;
use door_http::codec::{cloud, kept, message};
use event::cloud::Event;
use event::units::Span;
use event::{Message, Moment, Subject};
use journal::{AckToken, Stored};

/// Inputs of each target with `cargo test`: a second or so.
const ITERATIONS: usize = 50_000;

/// Random bytes seldom make JSON: where the first byte says so, the input is a list of changes to one
/// of these, three bytes each: where, how, what.
fn changed(seeds: &[&str], input: &[u8]) -> Vec<u8> {
    let Some((choice, changes)) = input.split_first() else { return Vec::new() };
    let Some(seed) = seeds.get(usize::from(*choice) % (seeds.len() + 1)) else { return changes.to_vec() };
    let mut bytes = seed.as_bytes().to_vec();
    for change in changes.chunks_exact(3).take(4) {
        let &[place, how, what] = change else { break };
        let place = usize::from(place) * (bytes.len() + 1) / 256;
        match how % 4 {
            0 => bytes.insert(place, what),
            1 if place < bytes.len() => _ = bytes.remove(place),
            2 => bytes.truncate(place),
            _ => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = what),
        }
    }
    bytes
}

const EVENTS: [&str; 4] = [
    r#"{"specversion":"1.0","id":"1","source":"/s","type":"t.a","time":"2026-01-31T12:00:00Z","ext":5,"data":{"a":[1.0]}}"#,
    r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"a\u00e9"}"#,
    r#"{"specversion":"1.0","id":"1","source":"/s","type":"..","dataschema":"a:b","data_base64":"AP8=","subject":null}"#,
    r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t","ok":true},{"specversion":"1.0","id":"2","source":"b"}]"#,
];

const HEADS: [&str; 2] = [
    "ce-specversion: 1.0\nce-id: 1\nce-source: /s\nce-type: t\nce-time: 2026-01-31T12:00:00Z\ncontent-type: a/b",
    "content-type: application/cloudevents+json; charset=utf-8\nauthorization: Bearer x\nce-subject: \"a%20b\"",
];

const DECLARATIONS: [&str; 5] = [
    r#"{"name":"S","subjects":["a.>"],"age_max":"1h30m","messages_max":5,"discard":"new","metadata":{"a":"b"}}"#,
    r#"{"name":"c","filters":["a.*"],"start":"seq","start_seq":4,"ack_wait":"30s","backoff":["1s","2m"]}"#,
    r#"{"batch":5,"max_bytes":100,"wait":"5s"}"#,
    r#"{"tokens":["S.c.1.2.3.4"],"sync":true}"#,
    r#"{"filter":"a.>","before":5}"#,
];

const QUERIES: [&str; 2] =
    ["from=1&since=2026-01-31T12:00:00%2B01:00&wait=1h30m&limit=5&filter=a.%3E&filter=b", "raw&wait=500ms&since=1h"];

const MESSAGES: [&str; 2] = [
    "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: s\r\nce-type: t\r\n[1,                                              \n]",
    "content-type: application/json\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: s\r\nce-type: t\r\n\
     {\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":\n[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9]}",
];

fn judge(intake: cloud::Intake) {
    assert!(intake.message_id().len() <= journal::limits::MESSAGE_ID_BYTES_MAX);
    let event = intake.event.clone();
    let Ok(subject) = event.routing_subject() else { return };
    let Ok(message) = intake.into_message(subject) else { return };
    let back = Event::from_message(&message).expect("an event").expect("a valid event");
    assert_eq!((&back.id, &back.source, &back.kind), (&event.id, &event.source, &event.kind));
    assert_eq!(back.data, event.data.filter(|data| !data.is_empty()));
    let mut out = Vec::new();
    assert!(message::event(&mut out, &message));
    // The JSON form is read as the same event again.
    let again = cloud::structured(&out.into()).expect("our own JSON").event;
    assert_eq!((again.id, again.source, again.kind), (back.id, back.source, back.kind));
}

#[test]
fn events() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let input = &changed(&EVENTS, input)[..];
        let body = Bytes::copy_from_slice(input);
        if let Ok(intake) = cloud::structured(&body) {
            judge(intake);
        }
        for intake in cloud::batch(&body).unwrap_or_default() {
            judge(intake);
        }
    });
}

#[test]
fn heads() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let input = &changed(&HEADS, input)[..];
        let mut headers = HeaderMap::new();
        for line in input.split(|byte| *byte == b'\n') {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        let _mode = cloud::mode(&headers);
        if let Ok(intake) = cloud::binary(&headers, Bytes::copy_from_slice(input)) {
            judge(intake);
        }
        if let Ok(kept) = kept::keep(&headers) {
            let mut message = Message::new(Subject::parse("a").unwrap(), "");
            message.headers = kept;
            let mut given = HeaderMap::new();
            kept::give(&message, &mut given);
            assert!(!given.contains_key("authorization") && !given.contains_key("content-length"));
        }
    });
}

#[test]
fn declarations() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let input = &changed(&DECLARATIONS, input)[..];
        if let Ok(declared) = declare::body::<StreamDeclaration>(input)
            && let Ok(config) = declared.named("S")
        {
            let json = serde_json::to_vec(&StreamDeclaration::from(config.clone())).unwrap();
            assert_eq!(declare::body::<StreamDeclaration>(&json).unwrap().named("S").unwrap(), config);
        }
        if let Ok(declared) = declare::body::<ConsumerDeclaration>(input)
            && let Ok(config) = declared.named("c")
        {
            let json = serde_json::to_vec(&ConsumerDeclaration::from(config.clone())).unwrap();
            assert_eq!(declare::body::<ConsumerDeclaration>(&json).unwrap().named("c").unwrap(), config);
        }
        let _fetch = declare::body::<FetchRequest>(input);
        let _pause = declare::body::<PauseRequest>(input);
        let _purge = declare::body::<PurgeRequest>(input).map(PurgeRequest::judged);
        if let Ok(request) = declare::body::<TokensRequest>(input) {
            for token in request.tokens {
                if let Ok(token) = token.parse::<AckToken>() {
                    assert_eq!(token.to_string().parse::<AckToken>(), Ok(token));
                }
            }
        }
    });
}

#[test]
fn queries() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let input = &changed(&QUERIES, input)[..];
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(query) = Query::parse(Some(text), &["from", "since", "wait", "limit", "raw"], &["filter"]) {
            let _number = query.number("from");
            let _moment = query.moment("since", Moment::from_nanos(u64::MAX));
            let _count = query.count("limit", 10);
            let _flag = query.flag("raw");
            let _patterns = query.patterns("filter");
            if let Ok(Some(wait)) = query.span("wait") {
                assert_eq!(Span(wait).to_string().parse(), Ok(Span(wait)));
            }
        }
    });
}

#[test]
fn messages() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let input = &changed(&MESSAGES, input)[..];
        let (head, payload) = input.split_at(input.len() / 2);
        let mut message = Message::new(Subject::parse("a").unwrap(), Bytes::copy_from_slice(payload));
        if let Ok(headers) = event::Headers::from_block(Bytes::copy_from_slice(head)) {
            message.headers = headers;
        }
        let mut out = Vec::new();
        let stored = Stored { seq: 1, time: Moment::EPOCH, message };
        message::sse(&mut out, Some(1), "message", |out| message::message(out, "S", &stored));
        let text = String::from_utf8(out).expect("UTF-8");
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines.len(), 5, "{text}");
        let json = lines.get(2).and_then(|line| line.strip_prefix("data: ")).expect("data");
        serde_json::from_str::<serde_json::Value>(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    });
}

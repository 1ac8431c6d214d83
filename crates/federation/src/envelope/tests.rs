//! The bytes that routerd sends and takes.

use alloc::string::{String, ToString};

use super::*;
use proptest::prelude::*;

/// The worked vector of the specification: what Go writes for one fact.
const BODY: &str = "{\"id\":\"evt-1\",\"group\":\"cloudedge\",\"sourceNode\":\"onprem\",\
    \"type\":\"routerd.client.ipv4.observed\",\"subject\":\"10.88.60.9/32\",\"dedupeKey\":\"evt-1\",\
    \"payload\":{\"address\":\"10.88.60.9/32\",\"mac\":\"aa:bb:cc:dd:ee:ff\"},\
    \"observedAt\":\"2025-05-30T10:13:10Z\",\"expiresAt\":\"2025-05-30T10:43:10Z\"}";

#[test]
fn the_worked_vector_is_read_and_written_byte_for_byte() {
    assert_eq!(BODY.len(), 275);
    let fact = decode(BODY.as_bytes()).unwrap();
    assert_eq!((fact.id.as_str(), fact.source.as_str(), fact.subject.as_str()), ("evt-1", "onprem", "10.88.60.9/32"));
    assert_eq!(fact.observed, Some(Moment::from_nanos(1_748_599_990_000_000_000)));
    assert_eq!(fact.payload.len(), 2);
    assert_eq!(String::from_utf8(encode(&fact)).unwrap(), BODY);
    let signed = signed_bytes(1_748_600_000, BODY.as_bytes());
    assert_eq!(signed, [b"1748600000\n", BODY.as_bytes()].concat());
}

#[test]
fn timestamps_are_read_as_go_reads_them() {
    let read = |text: &str| parse_timestamp(text);
    assert_eq!(read("1748600000"), Some(1_748_600_000));
    assert_eq!(read("+1748600000"), Some(1_748_600_000));
    assert_eq!(read("0001748600000"), Some(1_748_600_000));
    assert_eq!(read("-9223372036854775808"), Some(i64::MIN));
    for text in ["", "1748600000.0", "1e9", " 1", "9223372036854775808", "1_000", "+", "now"] {
        assert_eq!(read(text), None, "{text}");
    }
}

/// What becomes of a body: the body that the fact read from it has, or the error.
fn check(body: impl AsRef<[u8]>, expected: Result<&str, EnvelopeError>) {
    let body = body.as_ref();
    let found = decode(body).map(|fact| String::from_utf8(encode(&fact)).unwrap());
    assert_eq!(found.as_deref().map_err(|error| *error), expected, "{}", String::from_utf8_lossy(body));
}

const NONE: &str = "\"observedAt\":\"0001-01-01T00:00:00Z\",\"expiresAt\":\"0001-01-01T00:00:00Z\"";

/// A body of the least fact with more fields, and the one expected for it.
fn check_more(fields: &str, expected: Result<&str, EnvelopeError>) {
    let body = alloc::format!("{{\"id\":\"1\",\"group\":\"g\",\"type\":\"t\"{fields}}}");
    match expected {
        Err(error) => check(body, Err(error)),
        Ok(more) => {
            let more = alloc::format!("{{\"id\":\"1\",\"group\":\"g\",\"type\":\"t\",\"dedupeKey\":\"1\"{more}}}");
            check(body, Ok(&more));
        }
    }
}

#[test]
fn leniency_is_that_of_go_row_by_row() {
    let none = alloc::format!(",{NONE}");
    // Unknown fields are passed over, whatever they hold.
    check_more(",\"x\":[1,{\"y\":[null,true,-1.5e+3,\"\\u0041\"]},{}],\"z\":false", Ok(&none));
    // Names are taken in any case, as Go folds case.
    let folded = alloc::format!("{{\"id\":\"1\",\"group\":\"g\",\"type\":\"t\",\"dedupeKey\":\"1\",{NONE}}}");
    check("{\"ID\":\"1\",\"Group\":\"g\",\"TYPE\":\"t\",\"dedupe\u{212a}ey\":\"1\"}", Ok(&folded));
    // Of two the last counts; a null counts for nothing; payloads are joined, and a null empties them.
    check_more(",\"id\":\"2\",\"Id\":\"1\",\"id\":null", Ok(&none));
    let joined = alloc::format!(",\"payload\":{{\"a\":\"2\",\"b\":\"\"}},{NONE}");
    check_more(",\"payload\":{\"b\":null,\"a\":\"1\"},\"payload\":{\"a\":\"2\"}", Ok(&joined));
    check_more(",\"payload\":{\"a\":\"1\"},\"payload\":null", Ok(&none));
    // What is not UTF-8 becomes U+FFFD, byte by byte; so does half a surrogate pair.
    let body =
        [b"{\"id\":\"1\",\"group\":\"g\",\"type\":\"a\xff\xe2\x82b\\ud800c\\ud83d\\ude00\"}".as_slice()].concat();
    let replaced = alloc::format!(
        "{{\"id\":\"1\",\"group\":\"g\",\"type\":\"a\u{fffd}\u{fffd}\u{fffd}b\u{fffd}c\u{1f600}\",\"dedupeKey\":\"1\",{NONE}}}"
    );
    check(body, Ok(&replaced));
    // White space around what is named goes, Unicode's too.
    check_more(",\"id\":\" \\u3000 1 \\n\",\"sourceNode\":\"  \"", Ok(&none));
    // Expired long ago is a fact all the same.
    let expired = ",\"observedAt\":\"0001-01-01T00:00:00Z\",\"expiresAt\":\"1999-12-31T23:59:59Z\"";
    check_more(",\"expiresAt\":\"1999-12-31T23:59:59Z\"", Ok(expired));
    check_more(",\"withdrawn\":true", Ok(&alloc::format!(",{NONE},\"withdrawn\":true")));
    check_more(",\"withdrawn\":false,\"observedAt\":null", Ok(&none));
}

#[test]
fn what_go_refuses_is_refused() {
    let body = Err(EnvelopeError::Body);
    check("", body);
    check("[]", body);
    check("\"x\"", body);
    check("{", body);
    check("{\"id\":\"1\",\"group\":\"g\",\"type\":\"t\"} x", body);
    check("{\"id\":\"1\",\"group\":\"g\",\"type\":\"t\"}{}", body);
    check("{\"id\":\"1\",\"group\":\"g\",\"type\":\"t\",}", body);
    check("\u{feff}{\"id\":\"1\",\"group\":\"g\",\"type\":\"t\"}", body);
    for fields in [
        ",\"id\":1",
        ",\"payload\":{\"a\":1}",
        ",\"payload\":[]",
        ",\"payload\":\"a\"",
        ",\"observedAt\":\"\"",
        ",\"observedAt\":1748600000",
        ",\"expiresAt\":\"2025-05-30 10:13:10Z\"",
        ",\"expiresAt\":\"2025-05-30t10:13:10z\"",
        ",\"expiresAt\":\"2025-05-30T10:13:10\"",
        ",\"expiresAt\":\"2025-02-29T10:13:10Z\"",
        ",\"expiresAt\":\"2025-05-30T24:00:00Z\"",
        ",\"expiresAt\":\"2025-05-30T10:13:60Z\"",
        ",\"expiresAt\":\"2025-05-30T10:13:10.Z\"",
        ",\"expiresAt\":\"2025-05-30T10:13:10,5Z\"",
        ",\"expiresAt\":\"2025-05-30T10:13:10+24:00\"",
        ",\"withdrawn\":\"true\"",
        ",\"x\":01",
        ",\"x\":{\"a\"}",
        ",\"x\":[1,]",
        ",\"x\":\"a\tb\"",
        ",\"x\":\"\\x\"",
        ",\"x\":nul",
    ] {
        check_more(fields, body);
    }
    let deep = |depth: usize| alloc::format!(",\"x\":{}{}", "[".repeat(depth), "]".repeat(depth));
    check_more(&deep(9_999), Ok(&alloc::format!(",{NONE}")));
    check_more(&deep(10_000), body);
}

#[test]
fn what_is_required_is_named_in_order() {
    check("{\"events\":[]}", Err(EnvelopeError::Required("id")));
    check("null", Err(EnvelopeError::Required("id")));
    check("{\"id\":\" \",\"group\":\"g\"}", Err(EnvelopeError::Required("id")));
    check("{\"id\":\"1\",\"type\":\"t\"}", Err(EnvelopeError::Required("group")));
    check("{\"id\":\"1\",\"group\":\"g\"}", Err(EnvelopeError::Required("type")));
    let text = EnvelopeError::Required("type").to_string();
    assert_eq!(text, "invalid event: federation event type is required");
    assert_eq!(EnvelopeError::Body.to_string(), "bad event body");
}

#[test]
fn strings_are_written_as_go_writes_them() {
    let mut fact = Fact::new("g", "<a>&\"\\\u{1}\u{8}\n\u{7f}\u{2028}é", "t");
    fact.payload.insert("z".into(), "1".into());
    fact.payload.insert("a".into(), String::new());
    fact.dedupe_key.clear();
    let text = String::from_utf8(encode(&fact)).unwrap();
    let id = "\\u003ca\\u003e\\u0026\\\"\\\\\\u0001\\b\\n\u{7f}\\u2028é";
    let expected = alloc::format!(
        "{{\"id\":\"{id}\",\"group\":\"g\",\"type\":\"t\",\"payload\":{{\"a\":\"\",\"z\":\"1\"}},{NONE}}}"
    );
    assert_eq!(text, expected);
}

#[test]
fn times_are_those_of_go() {
    let nanos = |text: &str| parse_time(text).unwrap().map(Moment::nanos);
    assert_eq!(nanos("0001-01-01T00:00:00Z"), None);
    assert_eq!(nanos("0001-01-01T01:00:00+01:00"), None);
    assert_eq!(nanos("1970-01-01T00:00:00Z"), Some(0));
    assert_eq!(nanos("1969-12-31T23:59:59Z"), Some(0), "before the epoch counts as the epoch");
    assert_eq!(nanos("2000-02-29T23:59:59-23:59"), Some(951_955_139_000_000_000));
    assert_eq!(nanos("2025-05-30T10:13:10.1200000009Z"), Some(1_748_599_990_120_000_000));
    assert_eq!(nanos("9999-12-31T23:59:59Z"), Some(u64::MAX), "for ever, as far as it goes");
    assert_eq!(time_text(Some(Moment::from_nanos(1_748_599_990_120_000_000))), "2025-05-30T10:13:10.12Z");
    for text in ["2025-05-30T10:13:10Z", "2025-12-31T23:59:59.000000001Z", "2024-02-29T00:00:00Z"] {
        assert_eq!(time_text(parse_time(text).unwrap()), text);
        assert_eq!(parse_time(text).unwrap(), Some(Moment::parse(text).unwrap()));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        texts in proptest::collection::vec("\\PC{0,12}", 5),
        payload in proptest::collection::btree_map(".{0,6}", ".{0,6}", 0..4),
        observed in proptest::option::of(any::<u64>()),
        expires in proptest::option::of(any::<u64>()),
        withdrawn: bool,
    ) {
        let mut fact = Fact::new(alloc::format!("g{}", texts[0]), alloc::format!("i{}", texts[1]), alloc::format!("t{}", texts[2]));
        fact.source.clone_from(&texts[3]);
        fact.subject.clone_from(&texts[4]);
        fact.payload = payload;
        fact.observed = observed.map(Moment::from_nanos);
        fact.expires = expires.map(Moment::from_nanos);
        fact.withdrawn = withdrawn;
        normalise(&mut fact).unwrap();
        let body = encode(&fact);
        prop_assert_eq!(decode(&body).unwrap(), fact);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }
}

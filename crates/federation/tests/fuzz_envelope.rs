//! Strangers' bytes as envelopes and as records: judged without panic, and what is taken comes back from
//! every form that it is given.
//!
//! Run with a fuzzer: `cargo bolero test -p federation envelopes`. With `cargo test` each target takes its
//! corpus and a bounded number of random inputs.

#![allow(clippy::unwrap_used, reason = "a test")]

use event::{Message, Subject};
use federation::deliveries;
use federation::envelope::{EnvelopeError, decode, encode};
use federation::facts::Facts;
use federation::stored::{from_message, message_id, to_message};
use serde_json::Value;

/// Inputs of each target with `cargo test`: a second or so.
const ITERATIONS: usize = 300_000;

/// Random bytes seldom make JSON: most inputs are spelt with its own words.
fn spelt(input: &[u8]) -> Vec<u8> {
    const WORDS: [&str; 32] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\"id\":\"1\"",
        "\"group\":\"g\"",
        "\"type\":\"t\"",
        "\"payload\":{",
        "\"observedAt\":\"2025-05-30T10:13:10Z\"",
        "\"expiresAt\":\"",
        "0001-01-01T00:00:00Z",
        "\"withdrawn\":true",
        "\"sourceNode\":\" a \"",
        "\"a\":\"b\"",
        "null",
        "true",
        "-1.5e3",
        "0",
        "\\u00e9",
        "\\ud83d",
        "\\ude00",
        " ",
        "\n",
        "\"dedupeKey\":\"",
        "\"subject\":\"x\"",
        "+01:00",
        ".5",
        "\u{e9}",
    ];
    match input.split_first() {
        Some((choice, rest)) if choice % 4 != 0 => {
            let words = rest.iter().map(|byte| WORDS.get(usize::from(byte % 32)).copied().unwrap_or_default());
            words.collect::<String>().into_bytes()
        }
        _ => input.to_vec(),
    }
}

#[test]
fn envelopes() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let mut body = spelt(input);
        if input.len().is_multiple_of(2) {
            body = [b"{\"id\":\"1\",\"group\":\"g\",\"type\":\"t\",".as_slice(), &body, b"}"].concat();
        }
        let Ok(fact) = decode(&body) else { return };
        assert!(!fact.id.is_empty() && !fact.group.is_empty() && !fact.kind.is_empty() && !fact.dedupe_key.is_empty());
        let written = encode(&fact);
        assert!(serde_json::from_slice::<Value>(&written).is_ok());
        assert_eq!(decode(&written).as_ref(), Ok(&fact));
        if let Ok(message) = to_message(&fact, Some("peer")) {
            let stored = from_message(&message, &fact.group).unwrap().unwrap();
            assert_eq!((&stored.fact, stored.via.as_deref()), (&fact, Some("peer")));
            assert!(message_id(&fact).len() <= 512);
            let mut facts = Facts::new(fact.group.clone());
            facts.fold(1, event::Moment::EPOCH, &stored, event::Moment::EPOCH);
            assert!(facts.judge(&fact) == federation::facts::Judged::Duplicate);
        }
    });
}

#[test]
fn grammar() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let body = [b"{\"x\":".as_slice(), &spelt(input), b"}"].concat();
        // The other reader knows neither bytes that are not UTF-8, nor halves of surrogates, nor depth.
        let Ok(text) = std::str::from_utf8(&body) else { return };
        if text.contains("\\u") || text.matches(['[', '{']).count() > 100 {
            return;
        }
        let found = decode(&body);
        match serde_json::from_str::<Value>(text) {
            // A number may be too large for it.
            Err(error) if error.to_string().contains("out of range") => {}
            Err(_) => assert_eq!(found, Err(EnvelopeError::Body), "{text}"),
            Ok(Value::Object(members)) if members.len() == 1 => {
                assert_eq!(found, Err(EnvelopeError::Required("id")), "{text}");
            }
            Ok(_) => {}
        }
    });
}

#[test]
fn records() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        if let Ok(rows) = deliveries::decode(input) {
            assert_eq!(deliveries::decode(&deliveries::encode(&rows)), Ok(rows));
        }
        let mut message = Message::new(Subject::parse("fed.g.t").unwrap(), "x");
        if let Ok(headers) = event::Headers::from_block(input.to_vec().into()) {
            message.headers = headers;
        }
        let _judged = from_message(&message, "g");
    });
}

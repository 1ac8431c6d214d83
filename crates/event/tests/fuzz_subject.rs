//! Strangers' bytes as subjects, patterns, header blocks and paths into JSON: judged without panic, and what is taken
//! keeps the grammar's promises.
//!
//! Run with a fuzzer: `cargo bolero test -p event subjects`. With `cargo test` each target takes its
//! corpus and a bounded number of random inputs.

#![allow(clippy::unwrap_used, reason = "a test")]

use event::cloud::Event;
use event::{Headers, JsonPath, Message, Pattern, Subject, Wanted, decode_token, encode_token};

/// Inputs of each target with `cargo test`: a second or so.
const ITERATIONS: usize = 500_000;

/// Random bytes seldom make a pattern: half of the inputs are spelt with the grammar's own letters.
fn spelt(input: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 8] = b"ab.*>..\n";
    match input.split_first() {
        Some((choice, rest)) if choice % 2 == 0 => {
            rest.iter().map(|byte| LETTERS.get(usize::from(byte % 8)).copied().unwrap_or(b'a')).collect()
        }
        _ => input.to_vec(),
    }
}

#[test]
fn subjects() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let input = spelt(input);
        let mut parts = input.splitn(2, |byte| *byte == b'\n').map(<[u8]>::to_vec);
        let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Ok(pattern) = Pattern::new(second) else { return };
        assert!(pattern.contains(&pattern) && pattern.overlaps(&pattern) && Pattern::all().contains(&pattern));
        if let Ok(subject) = Subject::new(first.clone()) {
            let literal = Pattern::from(subject.clone());
            let matches = pattern.matches(subject.as_str());
            assert_eq!(pattern.contains(&literal), matches);
            assert_eq!(pattern.overlaps(&literal), matches);
            assert_eq!(literal.literal(), Some(subject.clone()));
            let mut wanted = Wanted::default();
            wanted.insert(&pattern, ());
            assert_eq!(wanted.any(subject.as_str()), matches);
        }
        if let Ok(other) = Pattern::new(first) {
            assert_eq!(pattern.overlaps(&other), other.overlaps(&pattern));
            assert!(!pattern.contains(&other) || pattern.overlaps(&other));
        }
    });
}

#[test]
fn tokens() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        assert_eq!(decode_token(&encode_token(text)).as_deref(), Some(text));
        if let Some(decoded) = decode_token(text) {
            assert_eq!(encode_token(&decoded), text);
        }
    });
}

#[test]
fn headers() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let Ok(headers) = Headers::from_block(input.to_vec().into()) else { return };
        for (name, _) in headers.iter() {
            assert!(headers.get(name).is_some());
        }
        let mut message = Message::new(Subject::parse("a").unwrap(), "data");
        message.headers = headers;
        if let Some(Ok(event)) = Event::from_message(&message) {
            let again = event.clone().into_message(message.subject.clone()).unwrap();
            assert_eq!(Event::from_message(&again), Some(Ok(event)));
        }
    });
}

#[test]
fn paths() {
    const LETTERS: &[u8; 12] = b"ab.$[]\"'\\01 ";
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let spelt = input.iter().map(|byte| LETTERS.get(usize::from(byte % 12)).copied().unwrap_or(b'a')).collect();
        for text in [String::from_utf8(spelt), String::from_utf8(input.to_vec())].into_iter().flatten() {
            let Ok(path) = JsonPath::parse(&text) else { continue };
            assert!(path.steps().len() <= 128 && text.len() <= 1_024);
            // What is shown may be longer than what may be written, since all names are in quotes.
            let shown = path.to_string();
            assert!(shown.len() > 1_024 || JsonPath::parse(&shown).as_ref() == Ok(&path), "{text} {shown}");
        }
    });
}

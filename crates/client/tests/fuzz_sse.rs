//! A stranger's bytes as server-sent events: taken apart without panic, and alike in whatever pieces they come.
//!
//! Run with a fuzzer: `cargo bolero test -p client events`. With `cargo test` it takes a bounded number of random inputs.

use client::sse::{SseError, SseEvent, SseParser};

/// Inputs with `cargo test`: a second or so.
const ITERATIONS: usize = 200_000;

/// Random bytes seldom make a line: half of the inputs are spelt with what events are made of.
fn spelt(input: &[u8]) -> Vec<u8> {
    const PARTS: [&[u8]; 8] = [b"data", b"id", b"event", b":", b" ", b"\n", b"\r\n", b"\xc3\xa9"];
    match input.split_first() {
        Some((choice, rest)) if choice % 2 == 0 => {
            rest.iter().flat_map(|byte| PARTS.get(usize::from(byte % 9)).copied().unwrap_or(b"x")).copied().collect()
        }
        _ => input.to_vec(),
    }
}

fn told<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<SseEvent>, Option<SseError>) {
    let mut parser = SseParser::default();
    let error = pieces.map(|piece| parser.feed(piece)).find_map(Result::err);
    (std::iter::from_fn(|| parser.next_event()).collect(), error)
}

#[test]
fn events() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let size = 1 + usize::from(input.last().copied().unwrap_or_default() % 7);
        let input = spelt(input);
        let (events, error) = told(std::iter::once(input.as_slice()));
        assert_eq!(told(input.chunks(size)), (events.clone(), error));
        // What was understood is understood alike when it is written again.
        let written: String = events
            .iter()
            .map(|SseEvent { id, kind, data }| {
                let id = id.as_ref().map_or(String::new(), |id| format!("id: {id}\r\n"));
                let data: String = data.split('\n').map(|line| format!("data: {line}\r\n")).collect();
                format!("{id}event: {kind}\r\n{data}\r\n")
            })
            .collect();
        assert_eq!(told(std::iter::once(written.as_bytes())), (events, None));
    });
}

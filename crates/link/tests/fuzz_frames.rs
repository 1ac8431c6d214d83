//! Strangers' bytes where frames are awaited: none makes the reader panic, and how they are cut changes nothing.
//!
//! Run with a fuzzer: `cargo bolero test -p link frames`. With `cargo test` a bounded number of random inputs.

#![allow(clippy::unwrap_used, reason = "a test")]

use link::mesh::frame::{encode, next};
use link::mesh::{Frame, Letter, frames_of};

/// Inputs with `cargo test`: a second or so.
const ITERATIONS: usize = 20_000;

/// Good frames with some of their bytes changed.
fn stream(input: &[u8]) -> Vec<u8> {
    let Some((choice, rest)) = input.split_first() else { return Vec::new() };
    if choice & 1 == 1 {
        return rest.to_vec();
    }
    let letter =
        Letter { head: b"head", subject: "a.b", reply: "c", status: "503", headers: b"h", payload: b"payload" };
    let good = [Frame::Note(b"note"), Frame::Message(letter), Frame::Keep(letter), Frame::Kept(b"k"), Frame::Ping(1)];
    let mut bytes: Vec<u8> = good.iter().flat_map(|frame| encode(frame).unwrap()).collect();
    for change in rest.chunks_exact(2) {
        let place = usize::from(change[0]) % bytes.len();
        bytes[place] ^= change[1];
    }
    bytes
}

#[test]
fn frames() {
    bolero::check!().with_iterations(ITERATIONS).with_type::<(Vec<u8>, u8)>().for_each(|(input, cut)| {
        let bytes = stream(input);
        let whole = frames_of([&bytes[..]]);
        let cut = usize::from(*cut) + 1;
        let parts = frames_of(bytes.chunks(cut));
        assert_eq!(whole.is_ok(), parts.is_ok());
        if let (Ok(whole), Ok(parts)) = (whole, parts) {
            assert_eq!(whole, parts);
        }
        if let Ok(Some((frame, used))) = next(&bytes) {
            assert_eq!(encode(&frame).unwrap(), bytes[..used]);
        }
    });
}

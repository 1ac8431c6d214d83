//! Strangers' bytes under a good signature: whatever a body holds, it is answered, without panic.
//!
//! Run with a fuzzer: `cargo bolero test -p link bodies`. With `cargo test` a bounded number of random inputs.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "link/support.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;

use support::{Asked, Memory, SECRET, answer, fact};

/// Inputs with `cargo test`: a second or so.
const ITERATIONS: usize = 3_000;

/// A body made of the input: as it is, or a batch of facts with some of its bytes changed, packed or not.
fn body(input: &[u8]) -> (Vec<u8>, bool) {
    let Some((choice, rest)) = input.split_first() else { return (Vec::new(), false) };
    let mut batch = [&fact("1")[..], b"\n", &fact("2")[..], b"\n"].concat();
    if choice & 2 != 0 {
        batch = zstd::bulk::compress(&batch, 1).unwrap();
    }
    for change in rest.chunks_exact(2) {
        let place = usize::from(change[0]) % batch.len();
        batch[place] ^= change[1];
    }
    (if choice & 1 == 0 { batch } else { rest.to_vec() }, choice & 2 != 0)
}

#[test]
fn bodies() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    bolero::check!().with_iterations(ITERATIONS).with_type::<Vec<u8>>().for_each(|input| {
        let (body, packed) = body(input);
        let intake = Memory::new();
        for path in ["/v1/events", "/v1/federation/batch", "/v1/federation/trace/ask"] {
            let mut asked = Asked::signed(path, SECRET, body.clone());
            if packed {
                asked = asked.header("Content-Encoding", "zstd");
            }
            let (status, _, text) = runtime.block_on(answer(&*intake, asked, false));
            assert!(matches!(status, 200 | 400 | 403 | 404 | 413), "{status} {text}");
            assert!(text.ends_with('\n'));
        }
    });
}

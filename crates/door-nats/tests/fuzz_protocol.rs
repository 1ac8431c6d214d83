//! Any bytes, as a client may send them, are judged without panic, and each operation takes some.

use door_nats::codec::{Next, Operation, next, split_block};

#[test]
fn any_bytes_are_judged() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut rest = bytes;
        while let Next::Operation(operation, used) = next(rest, 128, 1024) {
            assert!(used > 0 && used <= rest.len());
            if let Operation::Publish(publish) = operation {
                assert!(publish.headers.len() + publish.payload.len() <= 1024);
                if let Some((status, lines)) = split_block(publish.headers) {
                    assert!(status.len() + lines.len() < publish.headers.len());
                }
            }
            rest = &rest[used..];
        }
    });
}

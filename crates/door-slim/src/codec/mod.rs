//! The bytes of SLIM's data plane: protobuf, read in place and written with edits. Pure; fuzzed.
//!
//! A message is looked at where it lies. What is handed on is its own bytes with a few fields of its header
//! replaced, so that whatever this code does not know survives.
//!
//! # Invariants
//! - What [`read`] takes, a client's own decoder takes too: fields that it knows have the right form to the last,
//!   and texts are UTF-8. So nobody can end another's stream by a message that only he cannot read.
//! - A field of the header stands there once: two readers cannot see two names.
//!
//! # Cost
//! No allocation. One pass over a message, but for the bytes of its payload.
//!
//! Source: `data_plane.proto` of agntcy/slim, by the numbers of its fields.

mod frame;
pub(crate) mod mac;
mod message;
mod name;
mod shape;
mod wire;
mod write;

pub(crate) use frame::{Frames, Piece};
pub(crate) use mac::{Key, Signer};
pub(crate) use message::partial;
pub use message::{Bad, Change, Header, Kind, Message, Negotiation, Publish, Session, read};
pub use name::{Encoded, Name, component, pattern, subject};
pub(crate) use write::{
    Answer, Reply, ack, answer, forward, forwarded_bytes, framed, negotiation, reply, subscription,
};

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    /// What is read can be handed on, and is then the same but for the link's own fields.
    fn check(bytes: &[u8]) {
        let (Ok(Message::Publish(publish)), key) = (read(bytes), Key::new(&[7; 32], "link")) else { return };
        for key in [None, Some(&key)] {
            let (mut out, mut scratch) = (BytesMut::new(), Vec::new());
            forward(&mut out, &publish, key, &mut Signer::default());
            let length = u32::from_be_bytes([out[1], out[2], out[3], out[4]]) as usize;
            let raw = &out[5..];
            assert_eq!(raw.len(), length);
            let again = match read(raw) {
                Ok(Message::Publish(again)) => again,
                other => panic!("{other:?}"),
            };
            let ttl = publish.header.ttl.saturating_sub(1);
            let expected = Header { ttl, recv_from: None, forward_to: None, mac: again.header.mac, ..publish.header };
            assert_eq!((again.header, again.session), (expected, publish.session));
            match key {
                None => assert_eq!(again.header.mac, None),
                Some(key) => assert!(key.verifies(&again.header, &mut scratch) && length <= forwarded_bytes(&publish)),
            }
        }
    }

    #[test]
    fn whatever_is_read_can_be_handed_on() {
        bolero::check!().for_each(|bytes: &[u8]| check(bytes));
    }

    #[test]
    fn a_message_that_was_spoiled_at_a_byte_is_read_or_is_not() {
        let name = |id| Name { encoded: Some(Encoded { components: [1, 2, 3], id }), texts: Some(["o", "n", "a"]) };
        let (source, destination) = (name(Some(5)), name(None));
        let to = destination.encoded.unwrap();
        let (recv_from, forward_to, error, mac) = (None, None, None, None);
        let header =
            Header { source, destination, to, identity: "", fanout: 1, ttl: 9, recv_from, forward_to, error, mac };
        let said = Session { session_type: 1, message_type: 1, session: 2, message: 3 };
        let whole = answer(&Answer { header: &header, session: said, text: "text" }, Some(&Key::new(&[1; 32], "l")));
        assert!(matches!(read(&whole), Ok(Message::Publish(_))));
        for place in 0..whole.len() {
            for byte in 0..=255 {
                let mut spoiled = whole.clone();
                spoiled[place] = byte;
                check(&spoiled);
            }
            assert!(!matches!(read(&whole[..place]), Ok(Message::Publish(_))));
            let _beginning = partial(&whole[..place]);
        }
    }
}

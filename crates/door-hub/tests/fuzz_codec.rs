//! Any bytes, as anybody may send them, are judged without panic, and frames agree with another codec.

use std::io::Cursor;

use door_hub::codec::{Change, Control, Next, Opcode, Side, attributes, next, post, split, subject, write_frame};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

#[test]
fn any_frames_are_judged() {
    bolero::check!().for_each(|bytes: &[u8]| {
        for side in [Side::Client, Side::Server] {
            let mut rest = bytes;
            loop {
                match next(rest, side, 1024) {
                    Next::Frame(head) => {
                        let used = head.head + head.payload;
                        assert!(head.payload <= 1024 && used <= rest.len());
                        let mut other = Cursor::new(rest);
                        let (_, length) = FrameHeader::parse(&mut other).unwrap().unwrap();
                        assert_eq!((length, other.position()), (head.payload as u64, head.head as u64));
                        rest = &rest[used..];
                    }
                    Next::More(needed) => {
                        assert!(needed > rest.len());
                        break;
                    }
                    Next::Fault(_) => break,
                }
            }
        }
    });
}

#[test]
fn any_bodies_and_rooms_are_judged() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = (Change::parse(bytes), Control::parse(bytes), post(bytes).is_ok());
        let (room, payload) = split(bytes).unwrap_or((bytes, bytes));
        if let Some(subject) = subject(room) {
            assert_eq!(door_hub::codec::decode_room(subject.as_str()).as_deref(), Some(room));
        }
        let block = attributes("", &String::from_utf8_lossy(room), payload);
        let headers = event::Headers::from_block(block.into()).unwrap();
        let mut message = event::Message::new(event::Subject::parse("room.r").unwrap(), payload.to_vec());
        message.headers = headers;
        if let Some(event) = event::cloud::Event::from_message(&message) {
            event.unwrap();
        }
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Binary, None, &[bytes]);
        assert!(matches!(next(&frame, Side::Server, bytes.len()), Next::Frame(_)));
    });
}

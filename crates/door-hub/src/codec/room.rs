//! Rooms and subjects.
//!
//! A room is any bytes without a newline; its subject is `room.` and one token. The token is the room's
//! text as [`event::encode_token`] makes it; a byte that is not UTF-8 becomes `%` and two digits, which
//! no text of that encoding does. A token that no room encodes to, published by another door, is a
//! room of that name.

use std::borrow::Cow;

use event::{Pattern, Subject, encode_token};

/// What begins the subject of a room.
const PREFIX: &str = "room.";
/// The subscription to every room.
const EVERY: &[u8] = b"*";

/// The token of a room.
pub fn encode_room(room: &[u8]) -> Cow<'_, str> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>' | b'%');
    if let (Ok(text), true, false) = (std::str::from_utf8(room), room.iter().all(plain), room.is_empty()) {
        return Cow::Borrowed(text);
    }
    if room.is_empty() {
        return Cow::Owned(encode_token(""));
    }
    let mut token = String::with_capacity(room.len() + 16);
    for chunk in room.utf8_chunks() {
        if !chunk.valid().is_empty() {
            token.push_str(&encode_token(chunk.valid()));
        }
        for byte in chunk.invalid() {
            token.push('%');
            token.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
            token.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(token)
}

/// The room of a subject; `None` where it is none's.
pub fn decode_room(subject: &str) -> Option<Cow<'_, [u8]>> {
    let token = subject.strip_prefix(PREFIX)?;
    if !token.contains('%') {
        return Some(Cow::Borrowed(token.as_bytes()));
    }
    if token == "%" {
        return Some(Cow::Borrowed(b""));
    }
    let room: Vec<u8> = percent_encoding::percent_decode_str(token).collect();
    match encode_room(&room) == token {
        true => Some(Cow::Owned(room)),
        false => Some(Cow::Borrowed(token.as_bytes())),
    }
}

/// The subject of a room's events; `None` where its name is too long.
pub fn subject(room: &[u8]) -> Option<Subject> {
    let token = encode_room(room);
    let mut text = String::with_capacity(PREFIX.len() + token.len());
    text.push_str(PREFIX);
    text.push_str(&token);
    Subject::new(text).ok()
}

/// What a subscription to a room wants; `None` where its name is too long.
pub fn pattern(room: &str) -> Option<Pattern> {
    match room.as_bytes() {
        EVERY => Pattern::parse("room.*").ok(),
        room => subject(room).map(Pattern::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rooms_have_subjects() {
        for (room, expected) in [
            (&b"ITB-1101"[..], "room.ITB-1101"),
            (b"A\r", "room.A%0D"),
            (b"*", "room.%2A"),
            (b"", "room.%"),
            (b"a.b c%", "room.a%2Eb%20c%25"),
            ("é".as_bytes(), "room.é"),
            (&[b'a', 0xff, b'.'], "room.a%FF%2E"),
        ] {
            let made = subject(room).unwrap();
            assert_eq!(made.as_str(), expected);
            assert_eq!(decode_room(expected).as_deref(), Some(room));
        }
        assert_eq!(subject(&[b'a'; 10_000]), None);
        assert_eq!(pattern("*").unwrap().as_str(), "room.*");
        assert_eq!(pattern("ITB-1101").unwrap().as_str(), "room.ITB-1101");
        assert_eq!(decode_room("room.%zz").as_deref(), Some(&b"%zz"[..]));
        assert_eq!(decode_room("other.x"), None);
    }

    proptest! {
        #[test]
        fn a_room_comes_back(room in proptest::collection::vec(any::<u8>(), 0..40)) {
            let subject = subject(&room).unwrap();
            let back = decode_room(subject.as_str());
            prop_assert_eq!(back.as_deref(), Some(&room[..]));
            prop_assert!(pattern("*").unwrap().matches(subject.as_str()));
        }

        #[test]
        fn the_room_of_a_text_is_the_token_that_other_doors_make(room in "\\PC{1,20}") {
            prop_assert_eq!(encode_room(room.as_bytes()), encode_token(&room));
        }
    }
}

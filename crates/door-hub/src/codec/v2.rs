//! The v2 event: what of it is a CloudEvent, and what of it is posted.
//!
//! | attribute | from |
//! |---|---|
//! | `ce-id` | 128 bits of hash over room and bytes, in hex |
//! | `ce-source` | `/hub/<generating-system>`, `/hub` where that is empty |
//! | `ce-type` | `hub.<key>`, `hub.event` where that is empty |
//! | `ce-subject` | `target-device.deviceID`, else `affected-room.roomID`, else the room |
//! | `ce-time` | `timestamp`, where it is RFC 3339 |
//! | `content-type` | `application/json` |
//!
//! The bytes are never changed and never written anew. Keys are read as Go reads them: in any case, the last
//! of several counts, `null` is nothing.
//!
//! # Cost
//! One pass over the body, without allocation where strings hold no escapes; one hash over it.

use std::borrow::Cow;
use std::fmt;
use std::hash::Hasher as _;

use event::cloud::encode_value;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Longest header block made of an event, in bytes; one with longer fields gets none.
const BLOCK_BYTES_MAX: usize = 4096;

/// What is looked at of a v2 event. All borrowed where it can be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct V2<'a> {
    /// `generating-system`.
    pub system: Cow<'a, str>,
    /// `timestamp`, where it is RFC 3339.
    pub timestamp: Option<Cow<'a, str>>,
    /// `target-device.deviceID`.
    pub device: Cow<'a, str>,
    /// `affected-room.roomID`.
    pub room: Cow<'a, str>,
    /// `key`.
    pub key: Cow<'a, str>,
    /// Whether it says which system made it or what its key is: else it is no v2 event.
    pub told: bool,
    /// A timestamp that is none, as it stands in the body.
    bad_time: Option<String>,
}

/// The room that a posted body is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Posted<'a>(pub Cow<'a, str>);

/// Judges a posted body.
///
/// # Errors
/// The text of the original's answer.
pub fn post(body: &[u8]) -> Result<Posted<'_>, String> {
    let refused = |why: String| format!("unable to unmarshal body: {why}");
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        // Go takes what is not UTF-8 for U+FFFD; all that is kept of it here is the room.
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            return post(text.as_bytes()).map(|Posted(room)| Posted(Cow::Owned(room.into_owned())));
        }
    };
    let event: V2<'_> = serde_json::from_str(text).map_err(|error| refused(as_go(&error, text)))?;
    if let Some(time) = event.bad_time {
        let why = format!("parsing time {time:?} as \"\\\"2006-01-02T15:04:05Z07:00\\\"\": cannot parse it");
        return Err(refused(why));
    }
    Ok(Posted(event.room))
}

/// A syntax error in Go's words, as near as they can be had.
fn as_go(error: &serde_json::Error, text: &str) -> String {
    if error.is_eof() {
        return String::from("unexpected end of JSON input");
    }
    if error.is_data() {
        return format!("json: cannot unmarshal: {error}");
    }
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = line.as_bytes().get(error.column().saturating_sub(1)).copied().map_or('?', char::from);
    let what = match error.to_string() {
        text if text.starts_with("trailing characters") => "after top-level value",
        _ => "looking for beginning of value",
    };
    format!("invalid character {at:?} {what}")
}

/// The header block of the CloudEvent that a payload is, to stand behind `start`; `start` alone where
/// it is no v2 event.
pub fn attributes(start: &str, room: &str, payload: &[u8]) -> String {
    let mut block = String::with_capacity(start.len() + 256);
    block.push_str(start);
    let looks = payload.trim_ascii_start().first() == Some(&b'{');
    let Some(event) = looks.then(|| serde_json::from_slice::<V2<'_>>(payload).ok()).flatten().filter(|e| e.told) else {
        return block;
    };
    let mut hasher = SipHasher13::new();
    hasher.write(room.as_bytes());
    hasher.write(b"\n");
    hasher.write(payload);
    let id = hasher.finish128().as_u128();
    let subject = [&*event.device, &*event.room, room].into_iter();
    let subject = subject.map(encode).find(|text| !text.is_empty()).unwrap_or(Cow::Borrowed("*"));
    let mut line = |parts: [&str; 3]| {
        parts.into_iter().for_each(|part| block.push_str(part));
        block.push_str("\r\n");
    };
    line(["ce-specversion: 1.0", "", ""]);
    line(["ce-id: ", &format!("{id:032x}"), ""]);
    match &*event.system {
        "" => line(["ce-source: /hub", "", ""]),
        system => line(["ce-source: /hub/", &encode_source(system), ""]),
    }
    match &*encode(&event.key) {
        "" => line(["ce-type: hub.event", "", ""]),
        key => line(["ce-type: hub.", key, ""]),
    }
    line(["ce-subject: ", &subject, ""]);
    if let Some(time) = &event.timestamp {
        line(["ce-time: ", time, ""]);
    }
    line(["content-type: application/json", "", ""]);
    if block.len() > start.len() + BLOCK_BYTES_MAX {
        block.truncate(start.len());
    }
    block
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%'))
}

fn encode(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    // An attribute holds no control characters.
    let held: String = text.chars().filter(|c| !c.is_control()).collect();
    Cow::Owned(encode_value(&held))
}

/// A part of a URI's path: what may not stand in one is encoded, and again for the header.
fn encode_source(text: &str) -> Cow<'_, str> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte);
    if text.bytes().all(unreserved) {
        return Cow::Borrowed(text);
    }
    let part: String = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).collect();
    Cow::Owned(encode_value(&part))
}

/// Whether Go parses a text as RFC 3339 (`2006-01-02T15:04:05Z07:00`, fractions allowed).
fn is_time(text: &str) -> bool {
    fn inner(text: &str) -> Option<bool> {
        let bytes = text.as_bytes();
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
            digits.parse::<u32>().ok()
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut rest = text.get(19..)?;
        if let Some(fraction) = rest.strip_prefix('.') {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            rest = fraction.get(digits..).filter(|_| digits > 0)?;
        }
        let zone = match rest.as_bytes() {
            b"Z" => true,
            [b'+' | b'-', a, b, b':', c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()) => {
                (a - b'0') * 10 + (b - b'0') < 24 && *c < b'6'
            }
            _ => false,
        };
        let ranges = (1..=12).contains(&month) && (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60;
        Some(zone && ranges && marks.iter().all(|(place, mark)| bytes.get(*place) == Some(mark)))
    }
    inner(text).unwrap_or(false)
}

/// A string that is borrowed where it has no escapes; `null` is none.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A list of strings whose contents do not matter; `null` is none.
struct Tags;

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Tags;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings")
            }
            fn visit_unit<E>(self) -> Result<Tags, E> {
                Ok(Tags)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut tags: A) -> Result<Tags, A::Error> {
                while tags.next_element::<Text<'_>>()?.is_some() {}
                Ok(Tags)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// `buildingID`, `roomID`, `deviceID`: of a device or a room.
#[derive(Default)]
struct Names<'a> {
    room: Option<Cow<'a, str>>,
    device: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Names<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Names<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_unit<E>(self) -> Result<Names<'de>, E> {
                Ok(Names::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names<'de>, A::Error> {
                let mut names = Names::default();
                while let Some(Text(key)) = map.next_key()? {
                    let key = key.unwrap_or_default();
                    if key.eq_ignore_ascii_case("roomID") {
                        let Text(room) = map.next_value()?;
                        names.room = room.or(names.room);
                    } else if key.eq_ignore_ascii_case("deviceID") {
                        let Text(device) = map.next_value()?;
                        names.device = device.or(names.device);
                    } else if key.eq_ignore_ascii_case("buildingID") {
                        map.next_value::<Text<'_>>()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(names)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for V2<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = V2<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_unit<E>(self) -> Result<V2<'de>, E> {
        Ok(V2::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<V2<'de>, A::Error> {
        let mut event = V2::default();
        while let Some(Text(key)) = map.next_key()? {
            let key = key.unwrap_or_default();
            let is = |name: &str| key.eq_ignore_ascii_case(name);
            if is("generating-system") {
                let Text(system) = map.next_value()?;
                event.system = system.unwrap_or(event.system);
                event.told = true;
            } else if is("key") {
                let Text(key) = map.next_value()?;
                event.key = key.unwrap_or(event.key);
                event.told = true;
            } else if is("timestamp") {
                match map.next_value()? {
                    Text(Some(time)) if is_time(&time) => event.timestamp = Some(time),
                    Text(Some(time)) => event.bad_time = Some(format!("\"{time}\"")),
                    Text(None) => {}
                }
            } else if is("target-device") {
                let names: Names<'_> = map.next_value()?;
                event.device = names.device.unwrap_or(event.device);
            } else if is("affected-room") {
                let names: Names<'_> = map.next_value()?;
                event.room = names.room.unwrap_or(event.room);
            } else if is("value") || is("user") {
                map.next_value::<Text<'_>>()?;
            } else if is("event-tags") {
                map.next_value::<Tags>()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = r#"{"generating-system":"","timestamp":"0001-01-01T00:00:00Z","event-tags":null,"target-device":{},"affected-room":{},"key":"","value":"","user":""}"#;
    const FULL: &str = r#"{"generating-system":"ITB-1101-CP1","timestamp":"2020-02-29T10:11:12.5-07:00","event-tags":["core-state"],"target-device":{"buildingID":"ITB","roomID":"ITB-1101","deviceID":"ITB-1101-D1"},"affected-room":{"buildingID":"ITB","roomID":"ITB-1101"},"key":"power","value":"on","user":"","data":{"a":[1]}}"#;

    fn lines(payload: &str) -> Vec<String> {
        attributes("", "ITB-1101", payload.as_bytes()).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_v2_event_is_a_cloudevent() {
        let found = lines(FULL);
        assert!(found[1].starts_with("ce-id: ") && found[1].len() == "ce-id: ".len() + 32);
        assert_eq!(found[0], "ce-specversion: 1.0");
        assert_eq!(
            found[2..],
            [
                "ce-source: /hub/ITB-1101-CP1",
                "ce-type: hub.power",
                "ce-subject: ITB-1101-D1",
                "ce-time: 2020-02-29T10:11:12.5-07:00",
                "content-type: application/json",
            ]
        );
        let zero = lines(ZERO);
        assert_eq!(zero[2..5], ["ce-source: /hub", "ce-type: hub.event", "ce-subject: ITB-1101"]);
        assert_ne!(zero[1], found[1]);
        assert_eq!(lines(&format!("\n\n{FULL}"))[2..], found[2..]);
    }

    #[test]
    fn what_is_no_v2_event_is_no_cloudevent() {
        for payload in ["", "x", "{}", "[1]", "\"key\"", r#"{"a":1}"#, r#"{"key":1}"#, r#"{"key":"a"} x"#] {
            assert!(lines(payload).is_empty(), "{payload}");
        }
        let long = format!(r#"{{"key":"{}"}}"#, "a".repeat(BLOCK_BYTES_MAX));
        assert_eq!(attributes("Hub-From: hub\r\n", "r", long.as_bytes()), "Hub-From: hub\r\n");
    }

    #[test]
    fn attributes_are_an_event_whatever_the_fields_hold() {
        for text in ["a b", "é\u{2028}%\\\"", "<>&", "a/b?c#d", "a\u{7f}"] {
            let payload =
                serde_json::json!({"generating-system": text, "key": text, "target-device": {"deviceID": text}});
            let block = attributes("Hub-From: post\r\n", "r", payload.to_string().as_bytes());
            let headers = event::Headers::from_block(block.into()).unwrap();
            let mut message = event::Message::new(event::Subject::parse("room.r").unwrap(), payload.to_string());
            message.headers = headers;
            let event = event::cloud::Event::from_message(&message).unwrap();
            let event = event.unwrap_or_else(|error| panic!("{text}: {error}"));
            let held = text.replace('\u{7f}', "");
            assert_eq!((event.kind, event.subject), (format!("hub.{held}"), Some(held)));
        }
    }

    #[test]
    fn posted_bodies_are_judged_as_the_original_does() {
        let room = |body: &str| post(body.as_bytes()).map(|Posted(room)| room.into_owned());
        assert_eq!(room(FULL).as_deref(), Ok("ITB-1101"));
        assert_eq!(room(ZERO).as_deref(), Ok(""));
        assert_eq!(room("{}").as_deref(), Ok(""));
        assert_eq!(room("null").as_deref(), Ok(""));
        assert_eq!(room(r#"{"Affected-Room":{"ROOMID":"a\u0062"},"more":1}"#).as_deref(), Ok("ab"));
        assert_eq!(room(r#"{"affected-room":{"roomID":"a"},"affected-room":null}"#).as_deref(), Ok("a"));
        for bad in ["", "x", "[]", "{", r#"{"key":1}"#, r#"{"timestamp":"yesterday"}"#, r#"{"event-tags":[1]}"#, "{}x"]
        {
            let why = room(bad).unwrap_err();
            assert!(why.starts_with("unable to unmarshal body: "), "{bad}: {why}");
        }
        assert!(room("").unwrap_err().ends_with("unexpected end of JSON input"));
        assert!(room("x").unwrap_err().ends_with("invalid character 'x' looking for beginning of value"));
        assert_eq!(post(b"{\"value\":\"\xff\",\"affected-room\":{\"roomID\":\"a\"}}"), Ok(Posted("a".into())));
    }

    #[test]
    fn times_are_what_go_takes() {
        for good in ["0001-01-01T00:00:00Z", "2020-02-29T23:59:59.999999999+05:30", "2020-01-01T00:00:00-07:00"] {
            assert!(is_time(good), "{good}");
        }
        for bad in [
            "",
            "2020-01-01",
            "2020-01-01 00:00:00Z",
            "2021-02-29T00:00:00Z",
            "2020-01-01T24:00:00Z",
            "2020-01-01T00:00:00",
            "2020-01-01T00:00:00.Z",
            "2020-1-01T00:00:00Z",
            "2020-01-01T00:00:00+25:00",
        ] {
            assert!(!is_time(bad), "{bad}");
        }
    }
}

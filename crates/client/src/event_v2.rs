//! The event of the central event system, second version, as JSON.
//!
//! It is written byte for byte as Go's encoder does: the fields in their order, `<`, `>`, `&` and the line
//! separators U+2028 and U+2029 escaped. It is read leniently: a field that is missing or null has its zero value,
//! others that are not known are passed over.

use std::io;

use bytes::Bytes;
use event::Moment;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use crate::BodyError;

/// Where a device is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceInfo {
    /// The building, as `ITB`.
    #[serde(rename = "buildingID", skip_serializing_if = "String::is_empty", deserialize_with = "or_zero")]
    pub building: String,
    /// The room, as `ITB-1101`.
    #[serde(rename = "roomID", skip_serializing_if = "String::is_empty", deserialize_with = "or_zero")]
    pub room: String,
    /// The device, as `ITB-1101-CP1`.
    #[serde(rename = "deviceID", skip_serializing_if = "String::is_empty", deserialize_with = "or_zero")]
    pub device: String,
}

/// Where something happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomInfo {
    /// The building.
    #[serde(rename = "buildingID", skip_serializing_if = "String::is_empty", deserialize_with = "or_zero")]
    pub building: String,
    /// The room: the one that an event is sent into.
    #[serde(rename = "roomID", skip_serializing_if = "String::is_empty", deserialize_with = "or_zero")]
    pub room: String,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct EventV2 {
    /// Who made it.
    #[serde(deserialize_with = "or_zero")]
    pub generating_system: String,
    /// When, RFC 3339.
    #[serde(deserialize_with = "or_zero_time")]
    pub timestamp: String,
    /// Its tags; `None` is written as `null`, as Go does with a list that was never set.
    pub event_tags: Option<Vec<String>>,
    /// What it is about.
    #[serde(deserialize_with = "or_zero")]
    pub target_device: DeviceInfo,
    /// Where.
    #[serde(deserialize_with = "or_zero")]
    pub affected_room: RoomInfo,
    /// What changed.
    #[serde(deserialize_with = "or_zero")]
    pub key: String,
    /// To what.
    #[serde(deserialize_with = "or_zero")]
    pub value: String,
    /// By whom.
    #[serde(deserialize_with = "or_zero")]
    pub user: String,
    /// More; left out where it is null.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// Go's zero time.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

impl Default for EventV2 {
    fn default() -> Self {
        EventV2 {
            generating_system: String::new(),
            timestamp: ZERO_TIME.to_owned(),
            event_tags: None,
            target_device: DeviceInfo::default(),
            affected_room: RoomInfo::default(),
            key: String::new(),
            value: String::new(),
            user: String::new(),
            data: Value::Null,
        }
    }
}

fn or_zero<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn or_zero_time<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_else(|| ZERO_TIME.to_owned()))
}

impl DeviceInfo {
    /// Of a device's id: `ITB-1101-CP1` has a building and a room. Of an id of other than three parts, only the
    /// id is known.
    pub fn of(device: &str) -> Self {
        let device = device.to_uppercase();
        match device.split('-').collect::<Vec<_>>()[..] {
            [building, room, _] => {
                DeviceInfo { building: building.to_owned(), room: format!("{building}-{room}"), device }
            }
            _ => DeviceInfo { device, ..DeviceInfo::default() },
        }
    }
}

impl RoomInfo {
    /// Of a room's id: `ITB-1101` has a building. Of an id of other than two parts, the first part is the room.
    pub fn of(room: &str) -> Self {
        let room = room.to_uppercase();
        match room.split('-').collect::<Vec<_>>()[..] {
            [building, _] => RoomInfo { building: building.to_owned(), room },
            [first, ..] => RoomInfo { room: first.to_owned(), ..RoomInfo::default() },
            [] => RoomInfo::default(),
        }
    }
}

impl EventV2 {
    /// When it happened.
    #[must_use]
    pub fn at(mut self, moment: Moment) -> Self {
        self.timestamp = moment.to_string();
        self
    }

    /// The body of a message. An event that cannot be written has parts that are no JSON.
    ///
    /// # Errors
    /// [`BodyError`] where JSON cannot say it.
    pub fn to_body(&self) -> Result<Bytes, BodyError> {
        to_json(self).map(Bytes::from)
    }

    /// Reads the body of a message, be it with the line breaks in front that hubs add.
    ///
    /// # Errors
    /// [`BodyError`] where it is no such event.
    pub fn from_body(body: &[u8]) -> Result<Self, BodyError> {
        serde_json::from_slice(body).map_err(|error| BodyError(error.to_string()))
    }
}

/// JSON as Go writes it.
pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, BodyError> {
    let mut out = Vec::with_capacity(256);
    value
        .serialize(&mut Serializer::with_formatter(&mut out, AsGo(CompactFormatter)))
        .map_err(|error| BodyError(error.to_string()))?;
    Ok(out)
}

/// Escapes what Go escapes beyond the needs of JSON.
struct AsGo(CompactFormatter);

impl Formatter for AsGo {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, from) = rest.split_at(at);
            let Some(special) = from.chars().next() else { break };
            write!(to, "{plain}\\u{:04x}", u32::from(special))?;
            rest = from.strip_prefix(special).unwrap_or_default();
        }
        to.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, to: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(to, escape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_zero_event_has_the_bytes_of_the_original() {
        let zero = concat!(
            r#"{"generating-system":"","timestamp":"0001-01-01T00:00:00Z","event-tags":null,"target-device":{},"#,
            r#""affected-room":{},"key":"","value":"","user":""}"#
        );
        assert_eq!(EventV2::default().to_body().unwrap(), zero);
        assert_eq!(EventV2::from_body(b"{}").unwrap(), EventV2::default());
        assert_eq!(EventV2::from_body(b"\n\n{\"key\":null,\"other\":[1]}").unwrap(), EventV2::default());
        assert!(EventV2::from_body(b"{\"key\":1}").is_err() && EventV2::from_body(b"").is_err());
    }

    #[test]
    fn fields_come_in_order_and_what_go_escapes_is_escaped() {
        let event = EventV2 {
            generating_system: "ITB-1101-CP1".to_owned(),
            event_tags: Some(vec!["core-state".to_owned(), "heartbeat".to_owned()]),
            target_device: DeviceInfo::of("itb-1101-d1"),
            affected_room: RoomInfo::of("itb-1101"),
            key: "<&>".to_owned(),
            value: "a\u{2028}\"\\\n\tü".to_owned(),
            user: "\u{1}".to_owned(),
            data: serde_json::json!({"z": 1, "a": "x>y"}),
            ..EventV2::default()
        }
        .at(Moment::parse("2026-11-21T08:55:34.5Z").unwrap());
        let expected = concat!(
            r#"{"generating-system":"ITB-1101-CP1","timestamp":"2026-11-21T08:55:34.5Z","#,
            r#""event-tags":["core-state","heartbeat"],"#,
            r#""target-device":{"buildingID":"ITB","roomID":"ITB-1101","deviceID":"ITB-1101-D1"},"#,
            r#""affected-room":{"buildingID":"ITB","roomID":"ITB-1101"},"key":"\u003c\u0026\u003e","#,
            r#""value":"a\u2028\"\\\n\tü","user":"\u0001","data":{"a":"x\u003ey","z":1}}"#
        );
        assert_eq!(event.to_body().unwrap(), expected);
        assert_eq!(EventV2::from_body(expected.as_bytes()).unwrap(), event);
    }

    #[test]
    fn ids_are_taken_apart_as_the_original_does() {
        assert_eq!(DeviceInfo::of("a-b"), DeviceInfo { device: "A-B".to_owned(), ..DeviceInfo::default() });
        assert_eq!(DeviceInfo::of("a-b-c-d").room, "");
        assert_eq!(RoomInfo::of("a-b-c"), RoomInfo { room: "A".to_owned(), ..RoomInfo::default() });
        assert_eq!(RoomInfo::of("itb-1101").building, "ITB");
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(key in any::<String>(), value in any::<String>(), tags in any::<Option<Vec<String>>>()) {
            let event = EventV2 { key, value, event_tags: tags, ..EventV2::default() };
            let body = event.to_body().unwrap();
            prop_assert!(!body.iter().any(|byte| b"<>&".contains(byte)));
            prop_assert_eq!(EventV2::from_body(&body).unwrap(), event);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = EventV2::from_body(&bytes);
        }
    }
}

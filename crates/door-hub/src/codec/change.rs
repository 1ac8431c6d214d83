//! Changes of subscriptions: a messenger's frames of text, decoded as the original decodes them.
//!
//! `{"rooms":["ITB-1101"],"create":true}` subscribes; without `create` it unsubscribes, and without rooms
//! from all. Keys in any case, unknown ones ignored, the last of several counts; a change with a
//! value of the wrong type is no change.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A change of what a messenger wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether the rooms are added, not taken out.
    pub create: bool,
    /// Which rooms.
    pub rooms: Vec<String>,
}

impl Change {
    /// The change that a text asks for; `None` where the original ignores it.
    pub fn parse(text: &[u8]) -> Option<Change> {
        // Go takes bytes that are not UTF-8 for U+FFFD.
        match std::str::from_utf8(text) {
            Ok(text) => serde_json::from_str(text).ok(),
            Err(_) => serde_json::from_str(&String::from_utf8_lossy(text)).ok(),
        }
    }
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Change;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a change of subscriptions")
    }

    fn visit_unit<E>(self) -> Result<Change, E> {
        Ok(Change::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Change, A::Error> {
        let mut change = Change::default();
        while let Some(key) = map.next_key::<String>()? {
            if key.eq_ignore_ascii_case("rooms") {
                change.rooms = match map.next_value::<Option<Vec<Option<String>>>>()? {
                    None => Vec::new(),
                    Some(rooms) => rooms.into_iter().map(Option::unwrap_or_default).collect(),
                };
            } else if key.eq_ignore_ascii_case("create") {
                change.create = map.next_value::<Option<bool>>()?.unwrap_or(change.create);
            } else if key.eq_ignore_ascii_case("type") || key.eq_ignore_ascii_case("id") {
                map.next_value::<Option<String>>()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(bool, &[&str])>) {
        let found = Change::parse(text.as_bytes());
        let expected = expected
            .map(|(create, rooms)| Change { create, rooms: rooms.iter().map(|room| (*room).to_owned()).collect() });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn changes_are_decoded_as_go_does() {
        check(r#"{"rooms":["ITB-1101","ITB-1108"],"create":true}"#, Some((true, &["ITB-1101", "ITB-1108"])));
        check(r#"{"ROOMS":["a"],"Create":true,"type":"x","id":"y","more":{"a":[1]}}"#, Some((true, &["a"])));
        check(r#"{"rooms":["a"]}"#, Some((false, &["a"])));
        check("{}", Some((false, &[])));
        check("null", Some((false, &[])));
        check(r#"{"rooms":null,"create":null}"#, Some((false, &[])));
        check(r#"{"rooms":["a"],"rooms":["b"]}"#, Some((false, &["b"])));
        for bad in ["", "x", "[]", "1", r#"{"rooms":"a"}"#, r#"{"rooms":[1]}"#, r#"{"create":"yes"}"#, "{} {}"] {
            check(bad, None);
        }
        assert_eq!(Change::parse(b"{\"rooms\":[\"\xff\"]}").unwrap().rooms, ["\u{fffd}"]);
    }
}

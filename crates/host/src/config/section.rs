//! A door's section of a configuration: a mapping of fields, or one word where only the address is meant.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::Listen;

/// Reads an address, or the fields.
pub(super) fn word_or_fields<'de, D, F>(deserializer: D) -> Result<F, D::Error>
where
    D: Deserializer<'de>,
    F: Deserialize<'de> + From<Listen>,
{
    deserializer.deserialize_any(WordOrFields(PhantomData))
}

struct WordOrFields<F>(PhantomData<F>);

impl<'de, F: Deserialize<'de> + From<Listen>> Visitor<'de> for WordOrFields<F> {
    type Value = F;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, 'off', or fields")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<F, E> {
        text.parse::<Listen>().map(F::from).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, port: u64) -> Result<F, E> {
        self.visit_str(&port.to_string())
    }

    fn visit_bool<E: Error>(self, open: bool) -> Result<F, E> {
        self.visit_str(&open.to_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<F, A::Error> {
        F::deserialize(MapAccessDeserializer::new(map))
    }
}

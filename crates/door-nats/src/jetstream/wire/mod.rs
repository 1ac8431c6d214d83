//! The JSON of the JetStream API: requests read, replies written.
//!
//! A request is read into a form of its own, with Go's conventions: what is absent or `null` is
//! zero, durations are whole nanoseconds, times are RFC 3339 with the year 1 for none. A field that
//! nobody knows is refused where the door is strict.

mod consumer;
mod requests;
mod stream;

pub(crate) use consumer::{
    AckPolicy, Action, ConsumerForm, ConsumerInfoReply, ConsumerRest, CreateConsumer, DeliverPolicy, GroupReply,
    Priority, ReplayPolicy, SequencePair,
};
pub(crate) use requests::{
    ConsumerPause, ConsumerReset, ConsumerUnpin, MessageDelete, MessageGet, Page, StreamInfoRequest, StreamNames,
    StreamPurge,
};
pub(crate) use stream::{
    ClusterReply, ConsumerLimits, Discard, PersistMode, RepublishForm, Retention, SourceConsumerForm, SourceForm,
    SourceReply, StateReply, Storage, StreamForm, StreamInfoReply, StreamRequest, StreamRest, TransformForm,
};

use event::Moment;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::errors::ApiError;

/// Zero, as Go writes a time.
pub(crate) const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// A time as requests and replies have it; `None`: Go's zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Option<Moment>);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => to.serialize_str(NO_TIME),
            Some(moment) => to.collect_str(&moment),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.starts_with("0001-01-01T00:00:00") {
            return Ok(Time(None));
        }
        Moment::parse(&text).map(|moment| Time(Some(moment))).map_err(|_| {
            serde::de::Error::custom(format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse"))
        })
    }
}

/// Declares an enum that JSON has as words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $first:ident = $first_word:literal, $($variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub(crate) enum $name { #[default] $first, $($variant,)* }

        impl $name {
            /// Its word.
            pub(crate) fn word(self) -> &'static str {
                match self { $name::$first => $first_word, $($name::$variant => $word,)* }
            }

            /// Whether it is what is meant where nothing is said.
            #[allow(dead_code, clippy::trivially_copy_pass_by_ref)]
            pub(crate) fn is_default(&self) -> bool {
                *self == $name::default()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.word())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(from)?;
                match text.as_str() {
                    $first_word => Ok($name::$first),
                    $($word => Ok($name::$variant),)*
                    other => Err(serde::de::Error::custom(format!("can not unmarshal {other:?}"))),
                }
            }
        }
    };
}
pub(crate) use words;

/// Whether a value is its type's zero: such fields are left out of replies.
pub(crate) fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a request. An empty body is a request of zeros.
///
/// # Errors
/// 10025 where it is no JSON, has a field of the wrong type, or, where `strict`, an unknown one.
pub(crate) fn decode<T: DeserializeOwned + Default>(body: &[u8], strict: bool) -> Result<T, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    let mut value: Value = serde_json::from_slice(body).map_err(ApiError::json)?;
    if value.is_null() {
        return Ok(T::default());
    }
    drop_nulls(&mut value);
    let mut unknown = None;
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let read = serde_ignored::deserialize(tracked, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    });
    match (read, unknown) {
        (Err(error), _) => Err(ApiError::json(named(&error.to_string(), &track.path().to_string()))),
        (Ok(_), Some(path)) if strict => {
            let field = path.rsplit('.').next().unwrap_or_default();
            Err(ApiError::json(format!("json: unknown field {field:?}")))
        }
        (Ok(request), _) => Ok(request),
    }
}

/// What is wrong, and where.
fn named(error: &str, path: &str) -> String {
    if error.starts_with("can not unmarshal") || error.starts_with("parsing time") {
        return error.to_owned();
    }
    format!("json: cannot unmarshal field {path}: {error}")
}

/// Takes out what is `null`: Go leaves such a field at its zero.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => {
            list.retain(|value| !value.is_null());
            list.iter_mut().for_each(drop_nulls);
        }
        _ => {}
    }
}

/// Whether a body is meant as JSON: Go's server ignores others where a request is optional.
pub(crate) fn is_json(body: &[u8]) -> bool {
    matches!(body.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'['))
}

/// A reply: its type, then its body or its error.
#[derive(Serialize)]
pub(crate) struct Reply<'a, T> {
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a ApiError>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<T>,
}

/// Where in a list a reply is.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Paged {
    pub(crate) total: usize,
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}

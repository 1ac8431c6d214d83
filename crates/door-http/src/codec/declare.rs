//! Streams and consumers as JSON: what a client declares, and what it is told.
//!
//! Wire types, each with its way to the journal's type and back. An absent limit is no limit; a
//! field that is not known is refused by name.

mod consumers;
mod streams;

use std::time::Duration;

use event::{Moment, Pattern};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::problem::Problem;
use event::units::Span;

pub use consumers::{
    AckName, Acknowledged, ConsumerDeclaration, ConsumerList, ConsumerView, FetchRequest, PauseRequest, StartName,
    TokenFault, TokensRequest,
};
pub use streams::{
    DiscardName, PurgeRequest, Purged, RetentionName, StorageName, StreamDeclaration, StreamList, StreamStateView,
    StreamView, SubjectList, SubjectView,
};

/// Reads a JSON body.
///
/// # Errors
/// A problem naming the field, where one is at fault, and the place.
pub fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.into_inner());
        let text = inner.to_string();
        if !inner.is_data() {
            return Problem::body(format!("the body is not JSON: {text}"));
        }
        // An unknown field's own name stands in the message only.
        let unknown = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let name = unknown.map_or(path, ToOwned::to_owned);
        let name = if name == "." { String::new() } else { name };
        Problem::field(&name, &format!("is wrong: {text}"))
    })?;
    reader.end().map_err(|error| Problem::body(format!("the body goes on after its JSON: {error}")))?;
    Ok(value)
}

mod duration {
    use super::{Duration, Span};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(&Span(*value)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| text.parse().map(|Span(span)| span).map_err(D::Error::custom)).transpose()
    }
}

mod durations {
    use super::{Duration, Span};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value.iter().map(|each| Span(*each).to_string()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        let texts: Vec<String> = Vec::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map(|Span(span)| span).map_err(D::Error::custom)).collect()
    }
}

mod moment {
    use super::Moment;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &Option<Moment>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Moment>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| Moment::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

mod patterns {
    use super::Pattern;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &[Pattern], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value.iter().map(Pattern::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
        let texts: Vec<String> = Vec::deserialize(deserializer)?;
        let parse = |text: &String| {
            let shown: String = text.chars().take(64).collect();
            Pattern::parse(text).map_err(|error| D::Error::custom(format!("'{shown}': {error}")))
        };
        texts.iter().map(parse).collect()
    }
}

mod pattern {
    use super::Pattern;
    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pattern>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| Pattern::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

/// The same names on the wire as in the journal, in lower case; the first is the default.
macro_rules! names {
    ($(#[$doc:meta])* $wire:ident of $domain:ident { $first:ident $(, $rest:ident)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "lowercase")]
        #[allow(missing_docs)]
        pub enum $wire { #[default] $first $(, $rest)* }

        impl From<$wire> for $domain {
            fn from(wire: $wire) -> Self {
                match wire { $wire::$first => $domain::$first $(, $wire::$rest => $domain::$rest)* }
            }
        }

        impl From<$domain> for $wire {
            fn from(domain: $domain) -> Self {
                match domain { $domain::$first => $wire::$first $(, $domain::$rest => $wire::$rest)* }
            }
        }
    };
}

use names;

fn yes() -> bool {
    true
}

fn agree(body: &str, path: &str) -> Result<(), Problem> {
    if body.is_empty() || body == path {
        return Ok(());
    }
    let shown: String = body.chars().take(64).collect();
    Err(Problem::field("name", &format!("is '{shown}' in the body and '{path}' in the path")))
}

/// Where an event or a message was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptView {
    /// The stream.
    pub stream: String,
    /// The position; of the earlier one, for a duplicate.
    pub seq: u64,
    /// Whether it was there already.
    pub duplicate: bool,
    /// The subject that it was published to.
    pub subject: String,
}

/// Where the events of a batch were recorded, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptList {
    /// One for each.
    pub events: Vec<ReceiptView>,
}

/// A message that no stream captures was handed to those who listen now.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveredView {
    /// To so many.
    pub delivered: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_comes_back() {
        let text = r#"{"subjects":["a.>"],"storage":"memory","retention":"workqueue","discard":"new","age_max":"90s",
            "messages_max":5,"metadata":{"a":"b"},"duplicate_window":"30s"}"#;
        let config = body::<StreamDeclaration>(text.as_bytes()).unwrap().named("S").unwrap();
        let wire = serde_json::to_string(&StreamDeclaration::from(config.clone())).unwrap();
        assert!(wire.contains(r#""age_max":"90s""#) && !wire.contains("bytes_max"), "{wire}");
        assert_eq!(body::<StreamDeclaration>(wire.as_bytes()).unwrap().named("S").unwrap(), config);

        let text = r#"{"start":"seq","start_seq":4,"backoff":["1s","1m"],"filters":["a"],"ack":"all"}"#;
        let config = body::<ConsumerDeclaration>(text.as_bytes()).unwrap().named("c").unwrap();
        let wire = serde_json::to_string(&ConsumerDeclaration::from(config.clone())).unwrap();
        assert_eq!(body::<ConsumerDeclaration>(wire.as_bytes()).unwrap().named("c").unwrap(), config);
    }

    fn refuse<T: DeserializeOwned>(text: &str, named: &str) {
        let problem = body::<T>(text.as_bytes()).err().unwrap_or_else(|| panic!("{text} was taken"));
        let json = String::from_utf8(problem.to_json(None)).unwrap();
        assert!(json.contains(named), "{text}: {json}");
    }

    #[test]
    fn the_faulty_field_is_named() {
        refuse::<StreamDeclaration>(r#"{"subjects":["a"],"maxmessages":1}"#, r#""field":"maxmessages""#);
        refuse::<StreamDeclaration>(r#"{"subjects":["a..b"]}"#, r#""field":"subjects""#);
        refuse::<StreamDeclaration>(r#"{"subjects":["a"],"age_max":"soon"}"#, r#""field":"age_max""#);
        refuse::<StreamDeclaration>(r#"{"subjects":["a"],"storage":"tape"}"#, r#""field":"storage""#);
        refuse::<StreamDeclaration>(r#"{"subjects":["a"],"messages_max":-1}"#, r#""field":"messages_max""#);
        refuse::<StreamDeclaration>("{}", "subjects");
        refuse::<StreamDeclaration>(r#"{"subjects":["a"]} x"#, "goes on");
        refuse::<StreamDeclaration>(r#"{"subjects":"#, "not JSON");
        refuse::<StreamDeclaration>(&"[".repeat(100_000), "is wrong");
        refuse::<FetchRequest>(r#"{"wait":5}"#, r#""field":"wait""#);
        let problem = body::<ConsumerDeclaration>(br#"{"start":"seq"}"#).unwrap().named("c").unwrap_err();
        assert!(problem.detail().contains("start_seq"));
    }
}

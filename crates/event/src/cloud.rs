//! CloudEvents 1.0 attributes, and how they travel in a message.
//!
//! In a message an event is in the binary mode of the CloudEvents NATS binding: each attribute is a
//! `ce-` header, `datacontenttype` is `content-type`, the data is the payload, untouched. Values are
//! percent-encoded as the HTTP binding says (section 3.1.3.2). Sources: CloudEvents 1.0.2 core
//! specification, sections 3 and 4; HTTP binding, section 3; NATS binding, section 3.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS};
use thiserror::Error;

use crate::{HeaderError, Headers, Message, Moment, Subject, SubjectError, encode_token};

/// The version that this module speaks.
pub const SPECVERSION: &str = "1.0";

/// The prefix of the subject that an event has where none is given.
pub const SUBJECT_PREFIX: &str = "events";

/// Longest attribute name, in bytes: CloudEvents advises 20; senders in the field use more.
pub const NAME_BYTES_MAX: usize = 64;

/// An event: the attributes of CloudEvents and the data's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `id`: with `source`, names the event.
    pub id: String,
    /// `source`: a URI reference, the context in which it happened.
    pub source: String,
    /// `type`: what kind of fact it states.
    pub kind: String,
    /// `subject`: what in the source it is about. Not the routing subject.
    pub subject: Option<String>,
    /// `time`, as the sender wrote it: RFC 3339.
    pub time: Option<String>,
    /// `datacontenttype`: the media type of the data.
    pub datacontenttype: Option<String>,
    /// `dataschema`: a URI.
    pub dataschema: Option<String>,
    /// Extension attributes, by name.
    pub extensions: Vec<(String, String)>,
    /// The data, if the event has any.
    pub data: Option<Bytes>,
}

/// What is wrong with an event. Each variant names the attribute. Never worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventError {
    /// A required attribute is absent or empty.
    #[error("the attribute '{0}' is required and must not be empty")]
    Missing(&'static str),
    /// The version is another than 1.0.
    #[error("the attribute 'specversion' is '{0}'; this node speaks 1.0")]
    Specversion(String),
    /// An attribute's value breaks the rules of its type.
    #[error("the attribute '{name}' {reason}")]
    Invalid {
        /// The attribute.
        name: String,
        /// What its value must be.
        reason: &'static str,
    },
    /// An attribute was given twice.
    #[error("the attribute '{0}' is given more than once")]
    Twice(String),
    /// An attribute's name breaks the naming rules.
    #[error("'{0}' cannot name an attribute: names are 1 to {NAME_BYTES_MAX} lower-case letters or digits")]
    Name(String),
    /// The type makes no subject.
    #[error("the attribute 'type' makes no subject: {0}")]
    Subject(SubjectError),
    /// The attributes make no header block.
    #[error("the attributes cannot travel as headers: {0}")]
    Headers(HeaderError),
}

/// Collects attributes as a door finds them, by their CloudEvents names, and judges them at the end.
#[derive(Debug, Default)]
pub struct Builder {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    extensions: Vec<(String, String)>,
    data: Option<Bytes>,
}

impl Builder {
    /// Adds one attribute.
    ///
    /// # Errors
    /// [`EventError::Name`] or [`EventError::Twice`].
    pub fn attribute(&mut self, name: &str, value: String) -> Result<(), EventError> {
        let place = match name {
            "specversion" => &mut self.specversion,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.kind,
            "subject" => &mut self.subject,
            "time" => &mut self.time,
            "datacontenttype" => &mut self.datacontenttype,
            "dataschema" => &mut self.dataschema,
            _ => return self.extension(name, value),
        };
        if place.replace(value).is_some() {
            return Err(EventError::Twice(name.to_owned()));
        }
        Ok(())
    }

    fn extension(&mut self, name: &str, value: String) -> Result<(), EventError> {
        let good = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name != "data"
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !good {
            return Err(EventError::Name(name.chars().take(NAME_BYTES_MAX).collect()));
        }
        if self.extensions.iter().any(|(each, _)| each == name) {
            return Err(EventError::Twice(name.to_owned()));
        }
        self.extensions.push((name.to_owned(), value));
        Ok(())
    }

    /// Sets the data.
    pub fn data(&mut self, data: Bytes) {
        self.data = Some(data);
    }

    /// The `id` so far, for naming the event in an error.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Judges what was collected.
    ///
    /// # Errors
    /// [`EventError`] naming the first faulty attribute.
    pub fn build(self) -> Result<Event, EventError> {
        let present = |value: Option<String>, name| match value {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(EventError::Missing(name)),
        };
        let specversion = present(self.specversion, "specversion")?;
        if specversion != SPECVERSION {
            return Err(EventError::Specversion(specversion.chars().take(16).collect()));
        }
        let event = Event {
            id: present(self.id, "id")?,
            source: present(self.source, "source")?,
            kind: present(self.kind, "type")?,
            subject: self.subject,
            time: self.time,
            datacontenttype: self.datacontenttype,
            dataschema: self.dataschema,
            extensions: self.extensions,
            data: self.data,
        };
        event.check()?;
        Ok(event)
    }
}

impl Event {
    fn check(&self) -> Result<(), EventError> {
        let invalid = |name: &str, reason| Err(EventError::Invalid { name: name.to_owned(), reason });
        for (name, value) in self.attributes() {
            if value.chars().any(|c| c.is_control()) {
                return invalid(name, "holds a control character");
            }
            if value.is_empty() && !self.extensions.iter().any(|(each, _)| each == name) {
                return invalid(name, "must not be empty where it is given");
            }
        }
        if self.source.contains(char::is_whitespace) {
            return invalid("source", "must be a URI reference, without white space");
        }
        if self.time.as_deref().is_some_and(|time| Moment::parse(time).is_err()) {
            return invalid("time", "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z");
        }
        if self.dataschema.as_deref().is_some_and(|uri| uri.contains(char::is_whitespace) || !uri.contains(':')) {
            return invalid("dataschema", "must be an absolute URI");
        }
        let media = |text: &str| {
            text.split(';').next().is_some_and(|t| t.trim().split('/').filter(|p| !p.is_empty()).count() == 2)
        };
        if self.datacontenttype.as_deref().is_some_and(|text| !media(text)) {
            return invalid("datacontenttype", "must be a media type, such as application/json");
        }
        Ok(())
    }

    /// Every attribute with its CloudEvents name, except `specversion`.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let required = [("id", &self.id), ("source", &self.source), ("type", &self.kind)];
        let optional = [
            ("subject", &self.subject),
            ("time", &self.time),
            ("datacontenttype", &self.datacontenttype),
            ("dataschema", &self.dataschema),
        ];
        required
            .into_iter()
            .map(|(name, value)| (name, value.as_str()))
            .chain(optional.into_iter().filter_map(|(name, value)| value.as_deref().map(|value| (name, value))))
            .chain(self.extensions.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// The routing subject that the type gives: `events.` and the type's tokens, each encoded.
    ///
    /// # Errors
    /// [`EventError::Subject`] where it is too long.
    pub fn routing_subject(&self) -> Result<Subject, EventError> {
        let mut text = String::from(SUBJECT_PREFIX);
        for token in self.kind.split('.') {
            text.push('.');
            text.push_str(&encode_token(token));
        }
        Subject::new(text).map_err(EventError::Subject)
    }

    /// The message that carries this event at `subject`. Where `data` is `None` the payload is empty.
    ///
    /// # Errors
    /// [`EventError::Headers`] where the attributes are too long together.
    pub fn into_message(self, subject: Subject) -> Result<Message, EventError> {
        let mut pairs = Vec::with_capacity(8 + self.extensions.len());
        pairs.push(("ce-specversion".to_owned(), SPECVERSION.to_owned()));
        for (name, value) in self.attributes() {
            match name {
                "datacontenttype" => pairs.push(("content-type".to_owned(), value.to_owned())),
                _ => pairs.push((format!("ce-{name}"), encode_value(value))),
            }
        }
        let headers = Headers::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .map_err(EventError::Headers)?;
        Ok(Message { subject, reply: None, headers, payload: self.data.unwrap_or_default() })
    }

    /// The event in a message; `None` where the message carries none.
    ///
    /// # Errors
    /// [`EventError`] where it has CloudEvents headers that make no event.
    pub fn from_message(message: &Message) -> Option<Result<Event, EventError>> {
        message.headers.get("ce-specversion")?;
        let mut builder = Builder::default();
        let mut read = || {
            for (name, value) in message.headers.iter() {
                let name = name.to_ascii_lowercase();
                if name == "content-type" {
                    builder.attribute("datacontenttype", value.to_owned())?;
                } else if let Some(name) = name.strip_prefix("ce-") {
                    builder.attribute(name, decode_value(value))?;
                }
            }
            Ok(())
        };
        if let Err(error) = read() {
            return Some(Err(error));
        }
        if !message.payload.is_empty() {
            builder.data(message.payload.clone());
        }
        Some(builder.build())
    }
}

/// Space, `"`, `%` and all outside U+0021 to U+007E (HTTP binding, section 3.1.3.2).
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// An attribute's value as a header's.
pub fn encode_value(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, VALUE).collect()
}

/// The value that a header carries. Quoted strings are taken too, as the binding asks of receivers.
pub fn decode_value(value: &str) -> String {
    let plain = match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => {
            let mut plain = String::with_capacity(quoted.len());
            let mut escaped = false;
            for c in quoted.chars() {
                escaped = c == '\\' && !escaped;
                if !escaped {
                    plain.push(c);
                }
            }
            plain
        }
        None => value.to_owned(),
    };
    percent_encoding::percent_decode_str(&plain).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(pairs: &[(&str, &str)]) -> Result<Event, EventError> {
        let mut builder = Builder::default();
        for (name, value) in [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "com.example.made")] {
            if !pairs.iter().any(|(each, _)| *each == name) {
                builder.attribute(name, value.into())?;
            }
        }
        for (name, value) in pairs {
            builder.attribute(name, (*value).into())?;
        }
        builder.build()
    }

    #[test]
    fn names_the_faulty_attribute() {
        for (pairs, named) in [
            (&[("id", "")][..], "id"),
            (&[("type", "")], "type"),
            (&[("source", "")], "source"),
            (&[("source", "a b")], "source"),
            (&[("specversion", "0.3")], "specversion"),
            (&[("time", "yesterday")], "time"),
            (&[("datacontenttype", "json")], "datacontenttype"),
            (&[("dataschema", "schema")], "dataschema"),
            (&[("Upper", "x")], "Upper"),
            (&[("data", "x")], "data"),
            (&[("ext", "a"), ("ext", "b")], "ext"),
            (&[("subject", "a\nb")], "subject"),
        ] {
            let error = event(pairs).unwrap_err();
            assert!(format!("{error}").contains(&format!("'{named}'")), "{error}");
        }
    }

    #[test]
    fn the_type_gives_the_subject() {
        let subject = |kind| event(&[("type", kind)]).unwrap().routing_subject().unwrap();
        assert_eq!(subject("com.example.made").as_str(), "events.com.example.made");
        assert_eq!(subject("a b..>").as_str(), "events.a%20b.%.%3E");
    }

    #[test]
    fn quoted_values_are_taken() {
        assert_eq!(decode_value("\"a\\\"b\""), "a\"b");
        assert_eq!(decode_value("Euro%20%E2%82%AC"), "Euro €");
    }

    proptest! {
        #[test]
        fn an_event_comes_back(id in "\\PC{1,20}", subject in "\\PC{1,20}", value in "\\PC{0,20}", data: Vec<u8>) {
            let mut builder = Builder::default();
            for (name, text) in [("specversion", "1.0"), ("id", &*id), ("source", "/s"), ("type", "t"),
                ("subject", &*subject), ("ext1", &*value), ("datacontenttype", "application/octet-stream")] {
                builder.attribute(name, text.into()).unwrap();
            }
            if !data.is_empty() {
                builder.data(data.into());
            }
            let event = builder.build().unwrap();
            let message = event.clone().into_message(event.routing_subject().unwrap()).unwrap();
            prop_assert_eq!(Event::from_message(&message).unwrap().unwrap(), event);
        }
    }
}

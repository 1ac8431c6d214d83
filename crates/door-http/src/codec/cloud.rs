//! The CloudEvents HTTP binding: requests to events.
//!
//! # Invariants
//! - The data's bytes are the sender's: a JSON value is the slice of the body that it stood in,
//!   never printed anew; `data_base64` is decoded; a JSON string of a media type that is not JSON
//!   gives its text.
//! - Attributes keep the order in which they came.
//! - A batch is judged whole: the first faulty event is named by its place, and none is taken.
//!
//! Where structured data comes without `datacontenttype`, it is noted as `application/json`, which
//! is what its absence means (JSON format, section 3.1). Integers and booleans become their text,
//! since headers know no types (HTTP binding, section 3.1.3.2); `null` is absence.
//!
//! Sources: CloudEvents 1.0.2 HTTP binding, section 3; JSON format, sections 2 to 4.

use std::fmt;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use event::cloud::{Builder, Event, EventError, encode_value};
use event::{Headers, Message, Subject};
use journal::limits::MESSAGE_ID_BYTES_MAX;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::BATCH_EVENTS_MAX;
use crate::problem::Problem;

/// The media type of one structured event.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The media type of a batch.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// How a request carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Attributes in headers, data in the body.
    Binary,
    /// One event in JSON.
    Structured,
    /// Several events in JSON.
    Batch,
}

/// An event as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// The event, which keeps the rules.
    pub event: Event,
    /// Its attributes' names, in the order in which they came.
    names: Vec<String>,
}

impl Intake {
    /// What names the event for de-duplication: its source and its id, or their SHA-256 where they
    /// are longer than a message id may be.
    pub fn message_id(&self) -> Bytes {
        let (source, id) = (self.event.source.as_bytes(), self.event.id.as_bytes());
        let mut bytes = Vec::with_capacity(source.len() + id.len() + 1);
        bytes.extend_from_slice(source);
        bytes.push(b'\n');
        bytes.extend_from_slice(id);
        if bytes.len() <= MESSAGE_ID_BYTES_MAX {
            return bytes.into();
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        format!("sha256\n{}", STANDARD.encode(digest)).into_bytes().into()
    }

    /// The message that carries the event at `subject`.
    ///
    /// # Errors
    /// [`EventError::Headers`] where the attributes are too long together.
    pub fn into_message(self, subject: Subject) -> Result<Message, EventError> {
        let mut pairs: Vec<(String, String)> = Vec::with_capacity(self.names.len());
        for name in &self.names {
            let value = match name.as_str() {
                "specversion" => Some(event::cloud::SPECVERSION),
                name => self.event.attributes().find(|(each, _)| *each == name).map(|(_, value)| value),
            };
            let Some(value) = value else { continue };
            pairs.push(match name.as_str() {
                "datacontenttype" => ("content-type".to_owned(), value.to_owned()),
                name => (format!("ce-{name}"), encode_value(value)),
            });
        }
        let headers = Headers::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .map_err(EventError::Headers)?;
        Ok(Message { subject, reply: None, headers, payload: self.event.data.unwrap_or_default() })
    }
}

/// Whether a media type's content is JSON.
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}

/// How a request carries events, from its headers.
///
/// # Errors
/// 415 where it is a CloudEvents format that this node does not speak, or not UTF-8.
pub fn mode(headers: &HeaderMap) -> Result<Mode, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Mode::Binary);
    };
    let text = value.to_str().map_err(|_| Problem::media_type("the Content-Type header is not ASCII"))?;
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mode = match essence.as_str() {
        STRUCTURED => Mode::Structured,
        BATCH => Mode::Batch,
        other if other.starts_with("application/cloudevents") => {
            let detail = format!("'{other}' is not spoken here; send {STRUCTURED}, {BATCH} or the binary mode");
            return Err(Problem::media_type(detail));
        }
        _ => return Ok(Mode::Binary),
    };
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.eq_ignore_ascii_case("charset") && !value.trim_matches('"').eq_ignore_ascii_case("utf-8") {
            return Err(Problem::media_type(format!("the charset '{value}' is not taken; send UTF-8")));
        }
    }
    Ok(mode)
}

/// Reads an event in binary mode.
///
/// # Errors
/// A problem naming the attribute.
pub fn binary(headers: &HeaderMap, body: Bytes) -> Result<Intake, Problem> {
    let mut builder = Builder::default();
    let mut names = Vec::with_capacity(8);
    for (name, value) in headers {
        let name = match name.as_str() {
            "content-type" => "datacontenttype",
            other => match other.strip_prefix("ce-") {
                Some(name) => name,
                None => continue,
            },
        };
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid(name, "is not UTF-8"))?;
        let value = if name == "datacontenttype" { text.to_owned() } else { event::cloud::decode_value(text) };
        builder.attribute(name, value).map_err(|error| Problem::event(&error))?;
        names.push(name.to_owned());
    }
    if !names.iter().any(|name| name != "datacontenttype") {
        let detail = format!(
            "the attribute 'specversion' is required: this is no CloudEvent; send ce-id, ce-source, ce-type and \
             ce-specversion as headers, or the content type {STRUCTURED} or {BATCH}"
        );
        return Err(Problem::event(&EventError::Missing("specversion")).detailed(detail));
    }
    if !body.is_empty() {
        builder.data(body);
    }
    let event = builder.build().map_err(|error| Problem::event(&error))?;
    Ok(Intake { event, names })
}

fn invalid(name: &str, reason: &'static str) -> Problem {
    Problem::event(&EventError::Invalid { name: name.to_owned(), reason })
}

/// The members of a JSON object, in order, as they stand; a name may come twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event, which is a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(12);
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn utf8(body: &Bytes) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|error| Problem::body(format!("the body is not UTF-8: {error}")))
}

/// Reads one event in JSON.
///
/// # Errors
/// A problem naming the attribute, or where the JSON breaks off.
pub fn structured(body: &Bytes) -> Result<Intake, Problem> {
    let members = serde_json::from_str(utf8(body)?).map_err(|error| malformed(&error))?;
    intake(members, body)
}

/// Reads a batch.
///
/// # Errors
/// As [`structured`], and naming the event's place, from 0.
pub fn batch(body: &Bytes) -> Result<Vec<Intake>, Problem> {
    let events: Vec<&RawValue> = serde_json::from_str(utf8(body)?).map_err(|error| malformed(&error))?;
    if events.len() > BATCH_EVENTS_MAX {
        return Err(Problem::too_large(format!("a batch has at most {BATCH_EVENTS_MAX} events"), BATCH_EVENTS_MAX));
    }
    let mut taken = Vec::with_capacity(events.len());
    for (index, raw) in events.into_iter().enumerate() {
        let members = serde_json::from_str(raw.get()).map_err(|error| malformed(&error).at(index))?;
        taken.push(intake(members, body).map_err(|problem| problem.at(index))?);
    }
    Ok(taken)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::body(format!("the body is not the JSON of an event: {error}"))
}

fn intake(Members(members): Members<'_>, body: &Bytes) -> Result<Intake, Problem> {
    let mut builder = Builder::default();
    let mut names = Vec::with_capacity(members.len());
    let (mut data, mut base64, mut media_type) = (None, None, None);
    for (name, raw) in members {
        let place = match name.as_str() {
            "data" => &mut data,
            "data_base64" => &mut base64,
            _ => {
                let Some(value) = attribute(&name, raw)? else { continue };
                if name == "datacontenttype" {
                    media_type = Some(value.clone());
                }
                builder.attribute(&name, value).map_err(|error| Problem::event(&error))?;
                names.push(name);
                continue;
            }
        };
        if place.replace(raw).is_some() {
            return Err(Problem::event(&EventError::Twice(name)));
        }
    }
    let base64 = base64.filter(|raw| raw.get() != "null");
    if base64.is_some() && data.is_some_and(|raw| raw.get() != "null") {
        return Err(invalid("data", "cannot be given together with 'data_base64'"));
    }
    if let Some(raw) = base64 {
        let text: String = serde_json::from_str(raw.get()).map_err(|_| invalid("data_base64", "must be a string"))?;
        let bytes =
            STANDARD.decode(text).map_err(|_| invalid("data_base64", "must be base64 (RFC 4648, section 4)"))?;
        builder.data(bytes.into());
    } else if let Some(raw) = data {
        if media_type.is_none() {
            builder.attribute("datacontenttype", "application/json".into()).map_err(|error| Problem::event(&error))?;
            names.push("datacontenttype".into());
        }
        if let Some(bytes) = data_bytes(raw, media_type.as_deref(), body) {
            builder.data(bytes);
        }
    }
    let event = builder.build().map_err(|error| Problem::event(&error))?;
    Ok(Intake { event, names })
}

fn attribute(name: &str, raw: &RawValue) -> Result<Option<String>, Problem> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).map(Some).map_err(|_| invalid(name, "is a malformed string")),
        Some(b't' | b'f') => Ok(Some(text.to_owned())),
        Some(b'n') => Ok(None),
        Some(b'-' | b'0'..=b'9') if !text.contains(['.', 'e', 'E']) => Ok(Some(text.to_owned())),
        _ => Err(invalid(name, "must be a string, a boolean or an integer")),
    }
}

fn data_bytes(raw: &RawValue, media_type: Option<&str>, body: &Bytes) -> Option<Bytes> {
    let text = raw.get();
    if media_type.is_none_or(is_json) {
        return Some(body.slice_ref(text.as_bytes()));
    }
    match text.as_bytes().first() {
        Some(b'n') => None,
        Some(b'"') => serde_json::from_str::<String>(text).ok().map(Bytes::from),
        _ => Some(body.slice_ref(text.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, data: Option<&[u8]>, media_type: Option<&str>) {
        let intake = structured(&Bytes::copy_from_slice(json.as_bytes()));
        let event = intake.unwrap_or_else(|problem| panic!("{json}: {}", problem.detail())).event;
        assert_eq!(event.data.as_deref(), data, "{json}");
        assert_eq!(event.datacontenttype.as_deref(), media_type, "{json}");
    }

    fn with(rest: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{rest}}}"#)
    }

    #[test]
    fn the_data_keeps_its_bytes() {
        let json = Some("application/json");
        check(&with(""), None, None);
        check(&with(r#","data":{"b" : 1.0,"a":1e2}"#), Some(br#"{"b" : 1.0,"a":1e2}"#), json);
        check(&with(r#","data":"text""#), Some(br#""text""#), json);
        check(&with(r#","data":null"#), Some(b"null"), json);
        check(&with(r#","data":"a\u00e9","datacontenttype":"text/plain""#), Some("aé".as_bytes()), Some("text/plain"));
        check(&with(r#","datacontenttype":"text/xml","data":null"#), None, Some("text/xml"));
        check(&with(r#","datacontenttype":"a/b+json","data":"x""#), Some(br#""x""#), Some("a/b+json"));
        check(&with(r#","data_base64":"AP8=""#), Some(&[0, 0xff]), None);
        check(&with(r#","data":null,"data_base64":"AP8=""#), Some(&[0, 0xff]), None);
    }

    fn refuse(json: &str, named: &str) {
        let problem = structured(&Bytes::copy_from_slice(json.as_bytes())).unwrap_err();
        let text = String::from_utf8(problem.to_json(None)).unwrap();
        assert!(text.contains(named), "{json}: {text}");
    }

    #[test]
    fn the_fault_is_named() {
        refuse(&with(r#","data":1,"data_base64":"AA==""#), r#""attribute":"data""#);
        refuse(&with(r#","data_base64":"!""#), r#""attribute":"data_base64""#);
        refuse(&with(r#","ext":{}"#), r#""attribute":"ext""#);
        refuse(&with(r#","ext":1.5"#), r#""attribute":"ext""#);
        refuse(&with(r#","id":"2""#), r#""attribute":"id""#);
        refuse(&with(r#","data":1,"data":2"#), r#""attribute":"data""#);
        refuse(r#"{"specversion":"1.0","id":"1","source":"/s"}"#, r#""attribute":"type""#);
        refuse("[]", "JSON object");
        refuse("{", "line 1");
        refuse(&with(r#","data":[1,}"#), "line 1");
    }

    #[test]
    fn attributes_keep_their_order() {
        let json = r#"{"type":"t","zz":true,"id":"1","aa":5,"specversion":"1.0","source":"/s","subject":null}"#;
        let intake = structured(&Bytes::from_static(json.as_bytes())).unwrap();
        let message = intake.into_message(Subject::parse("events.t").unwrap()).unwrap();
        let pairs: Vec<_> = message.headers.iter().collect();
        let expected = [("ce-type", "t"), ("ce-zz", "true"), ("ce-id", "1"), ("ce-aa", "5")];
        assert_eq!(&pairs[..4], expected);
        assert_eq!(&pairs[4..], [("ce-specversion", "1.0"), ("ce-source", "/s")]);
    }

    #[test]
    fn long_names_make_short_message_ids() {
        let id =
            |id: &str| structured(&Bytes::from(with("").replace("\"1\"", &format!("\"{id}\"")))).unwrap().message_id();
        assert_eq!(id("7"), "/s\n7");
        assert_ne!(id(&"a".repeat(600)), id(&"b".repeat(600)));
        assert!(id(&"a".repeat(600)).len() <= MESSAGE_ID_BYTES_MAX);
    }

    #[test]
    fn a_batch_names_the_place() {
        let body = format!("[{},{}]", with(""), with(r#","time":"never""#));
        let text = String::from_utf8(batch(&body.into()).unwrap_err().to_json(None)).unwrap();
        assert!(text.contains(r#""index":1"#) && text.contains(r#""attribute":"time""#), "{text}");
        assert_eq!(batch(&Bytes::from_static(b"[]")).unwrap(), []);
    }
}

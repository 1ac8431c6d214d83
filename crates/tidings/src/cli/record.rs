//! A recorded message as the node's API gives it, and how people see one.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::failure::Failure;
use super::output::{Colour, Out, date, preview, safe, size};

/// Characters of data shown on one line of a listing.
const PREVIEW_CHARS: usize = 100;

/// A recorded message; of a fetch, also its delivery.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    /// Its stream.
    pub stream: String,
    /// Its position there.
    pub seq: u64,
    /// When it was recorded.
    #[serde(default)]
    pub time: String,
    /// Its routing subject.
    pub subject: String,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// Its payload, where that is text.
    #[serde(default)]
    pub data: Option<String>,
    /// Its payload in base64, where it is not.
    #[serde(default)]
    pub data_base64: Option<String>,
    /// The CloudEvent in it, if it is one.
    #[serde(default)]
    pub event: Option<Value>,
    /// What acknowledges this delivery.
    #[serde(default)]
    pub token: Option<String>,
    /// Which delivery of this message it is.
    #[serde(default)]
    pub attempt: Option<u64>,
    /// The payload as the schema of the subject reads it.
    #[serde(skip)]
    pub decoded: Option<Decoded>,
}

/// A payload, decoded.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The schema that it was decoded by.
    pub schema: String,
    /// What it says.
    pub value: Value,
}

/// A page of messages, each as the node wrote it.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// The messages.
    #[serde(default)]
    pub messages: Vec<Box<RawValue>>,
    /// Where the next page starts.
    #[serde(default)]
    pub next: u64,
    /// The stream's last position; where `next` is beyond it, this page is the last.
    #[serde(default)]
    pub last: u64,
    /// Positions passed over because they are damaged.
    #[serde(default)]
    pub damaged: Vec<u64>,
}

impl Record {
    /// Reads one message.
    pub fn parse(json: &str) -> Result<Self, Failure> {
        serde_json::from_str(json).map_err(|error| Failure::strange(format!("a message: {error}")))
    }

    /// A CloudEvents attribute, if the message is an event and has it.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.event.as_ref()?.get(name)?.as_str()
    }

    /// The media type that the payload is said to have; empty where none is.
    pub fn content_type(&self) -> &str {
        let found = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        found.and_then(|(_, values)| values.first()).map_or("", String::as_str)
    }

    /// A JSON document of the message with what was decoded as its last members.
    pub fn document(&self, json: &[u8]) -> Vec<u8> {
        let mut document = json.trim_ascii_end().to_vec();
        if let Some(Decoded { schema, value }) = &self.decoded
            && document.pop() == Some(b'}')
        {
            let schema = Value::from(schema.as_str());
            document.extend_from_slice(format!(",\"schema\":{schema},\"decoded\":{value}}}").as_bytes());
        }
        document
    }

    /// The payload's bytes.
    pub fn payload(&self) -> Vec<u8> {
        match (&self.data, &self.data_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(text)) => STANDARD.decode(text).unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }

    /// The payload on one line.
    pub fn summary(&self) -> String {
        if let Some(decoded) = &self.decoded {
            return preview(&decoded.value.to_string(), PREVIEW_CHARS);
        }
        match (&self.data, &self.data_base64) {
            (Some(text), _) => preview(text, PREVIEW_CHARS),
            (None, Some(text)) => format!("({} of bytes)", size((text.trim_end_matches('=').len() * 3 / 4) as u64)),
            (None, None) => String::new(),
        }
    }

    /// One line for people: when, where, what.
    pub fn line(&self, out: &Out) -> String {
        let time = out.paint(Colour::Faint, &date(&self.time));
        let place = out.paint(Colour::Faint, &format!("{}:{}", self.stream, self.seq));
        let subject = out.paint(Colour::Bold, &safe(&self.subject));
        format!("{time}  {place}  {subject}  {}", self.summary()).trim_end().to_owned()
    }

    /// Everything about the message, for people.
    pub fn detail(&self, out: &mut Out) -> Result<(), Failure> {
        let mut fields = vec![
            ("position", format!("{}:{}", self.stream, self.seq)),
            ("recorded", date(&self.time)),
            ("subject", safe(&self.subject)),
        ];
        if let (Some(token), attempt) = (&self.token, self.attempt.unwrap_or(1)) {
            fields.push(("delivery", format!("{attempt}, acknowledged by {}", safe(token))));
        }
        out.fields(&fields)?;
        if let Some(Value::Object(event)) = &self.event {
            out.line(out.paint(Colour::Bold, "event"))?;
            let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let attributes: Vec<(&str, String)> = event
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "data" | "data_base64" | "specversion"))
                .map(|(name, value)| (name.as_str(), safe(&shown(value))))
                .collect();
            out.fields(&attributes)?;
        }
        let headers: Vec<(&str, String)> = self
            .headers
            .iter()
            .filter(|(name, _)| self.event.is_none() || !carries_event(name))
            .map(|(name, values)| (name.as_str(), safe(&values.join(", "))))
            .collect();
        if !headers.is_empty() {
            out.line(out.paint(Colour::Bold, "headers"))?;
            out.fields(&headers)?;
        }
        self.data_shown(out)
    }

    fn data_shown(&self, out: &mut Out) -> Result<(), Failure> {
        if let Some(Decoded { schema, value }) = &self.decoded {
            out.line(format!("{} by the schema {}", out.paint(Colour::Bold, "data"), safe(schema)))?;
            for line in serde_json::to_string_pretty(value).unwrap_or_default().lines() {
                out.line(safe(line))?;
            }
            return Ok(());
        }
        let Some(text) = &self.data else {
            return match self.summary() {
                summary if summary.is_empty() => Ok(()),
                summary => out.line(format!("{} {summary}", out.paint(Colour::Bold, "data"))),
            };
        };
        out.line(out.paint(Colour::Bold, "data"))?;
        let pretty =
            serde_json::from_str::<Value>(text).ok().and_then(|value| serde_json::to_string_pretty(&value).ok());
        for line in pretty.as_deref().unwrap_or(text).lines() {
            out.line(safe(line))?;
        }
        Ok(())
    }
}

fn carries_event(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    header.starts_with("ce-") || header == "content-type"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_text_or_bytes() {
        let text = Record::parse(r#"{"stream":"S","seq":1,"subject":"a","data":"hé"}"#).unwrap();
        assert_eq!((text.payload(), text.summary()), ("hé".as_bytes().to_vec(), "hé".to_owned()));
        let bytes = Record::parse(r#"{"stream":"S","seq":1,"subject":"a","data_base64":"AP8="}"#).unwrap();
        assert_eq!((bytes.payload(), bytes.summary()), (vec![0, 255], "(2 B of bytes)".to_owned()));
        assert!(Record::parse("{}").is_err());
    }
}

//! One line of newline-delimited JSON made into one CloudEvent. Pure: knows no file and no node.
//!
//! A line that has `specversion` is an event already and is sent as it is, byte for byte. Any other
//! JSON is the data of an event whose attributes the command line gives. An event that is given no
//! id gets one made of its line's number and content, so that the same line sent twice is one event.

use std::hash::Hasher;

use serde_json::Value;
use serde_json::value::RawValue;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::template::{Fill, Template};

/// What the command line says of lines that are not events already.
#[derive(Debug, Clone)]
pub struct Wrap {
    /// The attributes by name, in the order in which they are written; `type` and `source` among them.
    pub attributes: Vec<(String, Template)>,
    /// The routing subject, where it is not the type's.
    pub to: Option<Template>,
}

/// A line made into an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The event in the JSON format of CloudEvents.
    pub json: Vec<u8>,
    /// The routing subject, where one is given.
    pub to: Option<String>,
}

/// What stands for all lines so far: the same only for the same bytes.
#[derive(Debug, Clone)]
pub struct Digest(SipHasher13);

impl Digest {
    /// Of no line.
    pub fn new() -> Self {
        Digest(SipHasher13::new())
    }

    /// Adds a line, without its end.
    pub fn add(&mut self, line: &[u8]) {
        self.0.write(line);
        self.0.write_u8(b'\n');
    }

    /// The digest in hex.
    pub fn hex(&self) -> String {
        format!("{:032x}", self.0.finish128().as_u128())
    }
}

impl Wrap {
    /// Makes an event of line `number`. The error says what is wrong with the line.
    pub fn event(&self, number: u64, text: &str) -> Result<Line, String> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let is_event =
            raw.get().starts_with('{') && raw.get().contains("\"specversion\"") && has_specversion(raw.get());
        let varies = self.to.as_ref().is_some_and(Template::varies)
            || (!is_event && self.attributes.iter().any(|(_, template)| template.varies()));
        let fields: Value = match varies {
            true => serde_json::from_str(raw.get()).map_err(|error| format!("it is not JSON: {error}"))?,
            false => Value::Null,
        };
        let to = self.to.as_ref().map(|to| to.fill(&fields, Fill::Token)).transpose()?;
        let json = if is_event { raw.get().as_bytes().to_vec() } else { self.wrapped(number, raw.get(), &fields)? };
        Ok(Line { json, to })
    }

    fn wrapped(&self, number: u64, data: &str, fields: &Value) -> Result<Vec<u8>, String> {
        let mut builder = event::cloud::Builder::default();
        let mut json = String::with_capacity(data.len() + 256);
        json.push_str("{\"specversion\":\"1.0\"");
        let mut put = |name: &str, value: String| {
            json.push_str(",\"");
            json.push_str(name);
            json.push_str("\":");
            json.push_str(&Value::String(value.clone()).to_string());
            builder.attribute(name, value).map_err(|error| error.to_string())
        };
        if !self.attributes.iter().any(|(name, _)| name == "id") {
            put("id", derived_id(number, data))?;
        }
        for (name, template) in &self.attributes {
            put(name, template.fill(fields, Fill::Plain)?)?;
        }
        if !self.attributes.iter().any(|(name, _)| name == "datacontenttype") {
            put("datacontenttype", "application/json".to_owned())?;
        }
        builder.attribute("specversion", event::cloud::SPECVERSION.to_owned()).map_err(|error| error.to_string())?;
        builder.build().map_err(|error| error.to_string())?;
        json.push_str(",\"data\":");
        json.push_str(data);
        json.push('}');
        Ok(json.into_bytes())
    }
}

fn has_specversion(object: &str) -> bool {
    serde_json::from_str::<std::collections::BTreeMap<String, &RawValue>>(object)
        .is_ok_and(|fields| fields.contains_key("specversion"))
}

fn derived_id(number: u64, data: &str) -> String {
    let mut digest = Digest::new();
    digest.add(data.as_bytes());
    format!("{number}-{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(attributes: &[(&str, &str)], to: Option<&str>, line: &str, expected: Result<(&str, Option<&str>), &str>) {
        let attributes = attributes.iter().map(|(name, text)| ((*name).to_owned(), text.parse().unwrap())).collect();
        let wrap = Wrap { attributes, to: to.map(|to| to.parse().unwrap()) };
        let found = wrap.event(7, line);
        match expected {
            Ok((json, to)) => {
                let found = found.unwrap();
                assert_eq!(String::from_utf8(found.json).unwrap(), json);
                assert_eq!(found.to.as_deref(), to);
            }
            Err(part) => assert!(found.clone().unwrap_err().contains(part), "{found:?}"),
        }
    }

    #[test]
    fn an_event_is_sent_as_it_is() {
        let line = r#"{"specversion":"1.0", "id":"1","source":"/s","type":"t","data":{"n":1.0}}"#;
        check(&[("type", "x")], None, line, Ok((line, None)));
        check(&[], Some("a.{type}.{data.n}"), line, Ok((line, Some("a.t.1%2E0"))));
    }

    #[test]
    fn any_other_json_is_the_data_of_an_event() {
        check(
            &[("type", "dev.git.commit"), ("source", "/repo"), ("id", "{hash}"), ("author", "{by}")],
            Some("events.git.{by}"),
            r#"{"hash":"ab","by":"Ada","n":1.0}"#,
            Ok((
                r#"{"specversion":"1.0","type":"dev.git.commit","source":"/repo","id":"ab","author":"Ada","datacontenttype":"application/json","data":{"hash":"ab","by":"Ada","n":1.0}}"#,
                Some("events.git.Ada"),
            )),
        );
    }

    #[test]
    fn the_same_line_gets_the_same_id() {
        let wrap = |number, text| {
            let attributes = vec![("type".into(), "t".parse().unwrap()), ("source".into(), "/s".parse().unwrap())];
            Wrap { attributes, to: None }.event(number, text).unwrap().json
        };
        assert_eq!(wrap(1, "[1]"), wrap(1, "[1]"));
        assert_ne!(wrap(1, "[1]"), wrap(2, "[1]"));
        assert_ne!(wrap(1, "[1]"), wrap(1, "[2]"));
    }

    #[test]
    fn a_faulty_line_is_told() {
        let good = [("type", "t"), ("source", "/s")];
        check(&good, None, "{", Err("not JSON"));
        check(&good, None, "1 2", Err("not JSON"));
        check(&[("type", "{kind}"), ("source", "/s")], None, "{}", Err("no field 'kind'"));
        check(&[("type", "t"), ("source", "/s"), ("Bad", "x")], None, "{}", Err("'Bad'"));
        check(&[("type", "t")], None, "{}", Err("'source'"));
        check(&[("type", "t"), ("source", "/s"), ("time", "noon")], None, "{}", Err("'time'"));
    }

    #[test]
    fn a_digest_stands_for_all_lines() {
        let digest = |lines: &[&str]| {
            let mut digest = Digest::new();
            lines.iter().for_each(|line| digest.add(line.as_bytes()));
            digest.hex()
        };
        assert_eq!(digest(&["a", "b"]), digest(&["a", "b"]));
        assert_ne!(digest(&["a", "b"]), digest(&["ab"]));
        assert_ne!(digest(&["a", "b"]), digest(&["b", "a"]));
    }
}

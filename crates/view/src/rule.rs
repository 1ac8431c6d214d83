//! How a message of a stream becomes a fact of a view: its key, whether it puts or removes, and what of it is kept.
//!
//! A [`Rule`] is what an operator declares. It judges one message at a time and remembers nothing; [`crate::Fold`]
//! does. What a rule does not understand is [`Unfit`], with its reason, and changes nothing.
//!
//! # Cost
//! A message whose key, version and kept fields come from its subject and headers is not parsed. Else its payload is
//! parsed once.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use event::cloud::decode_value;
use event::path::Step;
use event::{JsonPath, Message, Moment, Pattern, decode_token};
use journal::Stored;
use serde_json::{Map, Value};
use thiserror::Error;

/// Longest key, in bytes: what an index of any database takes.
pub const KEY_BYTES_MAX: usize = 1_024;

/// Before the names of CloudEvents attributes in headers.
const ATTRIBUTE_PREFIX: &str = "ce-";

/// Where a word of a message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// These tokens of the subject, from 1, decoded, with dots between them. None: the whole subject.
    Subject(Vec<usize>),
    /// A CloudEvents attribute.
    Attribute(String),
    /// A header.
    Header(String),
    /// A place in the JSON data.
    Data(JsonPath),
}

/// Which messages: any whose type or subject matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct When {
    /// CloudEvents types, by the grammar of subjects.
    pub types: Vec<Pattern>,
    /// Subjects.
    pub subjects: Vec<Pattern>,
}

/// How messages become facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The key.
    pub key: Origin,
    /// What puts; nothing said: all that does not remove.
    pub put: When,
    /// What removes.
    pub remove: When,
    /// Whether an empty payload removes.
    pub remove_empty: bool,
    /// How long a fact holds after it was recorded; none: until it is removed.
    pub ttl: Option<Duration>,
    /// What grows with each change of a fact; a message with a lower one than the fact has is old, and ignored.
    pub version: Option<Origin>,
    /// Places in the data that are kept, as an object; none: the whole payload, as it came.
    pub fields: Vec<JsonPath>,
}

impl Default for Rule {
    fn default() -> Self {
        Rule {
            key: Origin::Subject(Vec::new()),
            put: When::default(),
            remove: When::default(),
            remove_empty: true,
            ttl: None,
            version: None,
            fields: Vec::new(),
        }
    }
}

/// What grows with each change of a fact. A number is below any text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// A whole number, also one written as a text.
    Number(i128),
    /// Another text, such as a time.
    Text(String),
}

impl Version {
    /// Of a text.
    pub fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Version::Text(text.to_owned()), Version::Number)
    }
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Version::Number(number) => write!(f, "{number}"),
            Version::Text(text) => f.write_str(text),
        }
    }
}

/// What a message means to a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The key has this value now.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
        /// Its version, where the rule names one.
        version: Option<Version>,
        /// When it ends to hold.
        expires: Option<Moment>,
    },
    /// The key is gone.
    Remove {
        /// The key.
        key: String,
    },
    /// It is not for this view.
    Nothing,
}

/// Why a message means nothing to a view although it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    /// The word is not where the rule says.
    #[error("it has no {what}: {place}")]
    Absent {
        /// `key` or `version`.
        what: &'static str,
        /// Where it was looked for.
        place: String,
    },
    /// It is no text and no number.
    #[error("its {what} is neither a text nor a whole number: {place}")]
    Kind {
        /// `key` or `version`.
        what: &'static str,
        /// Where it stands.
        place: String,
    },
    /// The key is empty, or too long.
    #[error("its key is empty or has more than {KEY_BYTES_MAX} bytes")]
    Key,
    /// The payload is not JSON, which the rule needs.
    #[error("its data is not JSON: {0}")]
    Data(String),
}

impl When {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.subjects.is_empty()
    }

    fn matches(&self, message: &Message) -> bool {
        let kind = || message.headers.get("ce-type");
        self.subjects.iter().any(|pattern| pattern.matches(message.subject.as_str()))
            || (!self.types.is_empty()
                && kind().is_some_and(|kind| self.types.iter().any(|pattern| pattern.matches(kind))))
    }
}

impl Rule {
    /// Judges a recorded message.
    ///
    /// # Errors
    /// [`Unfit`] where it should say something and does not.
    pub fn judge(&self, stored: &Stored) -> Result<Verdict, Unfit> {
        let message = &stored.message;
        let removes = (self.remove_empty && message.payload.is_empty()) || self.remove.matches(message);
        if !removes && !self.put.is_empty() && !self.put.matches(message) {
            return Ok(Verdict::Nothing);
        }
        let mut data = Data::new(&message.payload);
        let key = word(&self.key, message, &mut data, "key")?;
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Unfit::Key);
        }
        if removes {
            return Ok(Verdict::Remove { key });
        }
        let version = match &self.version {
            None => None,
            Some(from) => Some(Version::of(&word(from, message, &mut data, "version")?)),
        };
        let value = if self.fields.is_empty() { message.payload.clone() } else { kept(&self.fields, data.json()?) };
        let expires = self.ttl.map(|ttl| stored.time.after(ttl));
        Ok(Verdict::Put { key, value, version, expires })
    }
}

/// A payload, parsed when it is first asked for.
struct Data<'a> {
    bytes: &'a [u8],
    json: Option<Value>,
}

impl<'a> Data<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Data { bytes, json: None }
    }

    fn json(&mut self) -> Result<&Value, Unfit> {
        if self.json.is_none() {
            let parsed = serde_json::from_slice(self.bytes).map_err(|error| Unfit::Data(error.to_string()))?;
            self.json = Some(parsed);
        }
        self.json.as_ref().ok_or_else(|| Unfit::Data(String::new()))
    }
}

/// What stands at a place; `None`: nothing, or `null`.
pub fn at<'a>(path: &JsonPath, value: &'a Value) -> Option<&'a Value> {
    let down = |value: &'a Value, step: &Step| match step {
        Step::Name(name) => value.get(name.as_str()),
        Step::Index(index) => value.get(*index),
    };
    path.steps().iter().try_fold(value, down).filter(|value| !value.is_null())
}

fn word(from: &Origin, message: &Message, data: &mut Data<'_>, what: &'static str) -> Result<String, Unfit> {
    let absent = |place: String| Unfit::Absent { what, place };
    match from {
        Origin::Subject(tokens) if tokens.is_empty() => Ok(message.subject.as_str().to_owned()),
        Origin::Subject(tokens) => {
            let mut words = Vec::with_capacity(tokens.len());
            for place in tokens {
                let token = place.checked_sub(1).and_then(|place| message.subject.tokens().nth(place));
                let token = token.ok_or_else(|| absent(format!("the subject has no token {place}")))?;
                words.push(decode_token(token).unwrap_or_else(|| token.to_owned()));
            }
            Ok(words.join("."))
        }
        Origin::Attribute(name) => {
            let value = message.headers.get(&format!("{ATTRIBUTE_PREFIX}{name}"));
            value.map(decode_value).ok_or_else(|| absent(format!("no attribute {name}")))
        }
        Origin::Header(name) => {
            message.headers.get(name).map(ToOwned::to_owned).ok_or_else(|| absent(format!("no header {name}")))
        }
        Origin::Data(path) => match at(path, data.json()?) {
            None => Err(absent(format!("nothing at {path}"))),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
            Some(Value::Bool(truth)) if what == "key" => Ok(truth.to_string()),
            Some(_) => Err(Unfit::Kind { what, place: path.to_string() }),
        },
    }
}

/// The fields that are kept, each by its last name. One that is not there is left out.
fn kept(fields: &[JsonPath], data: &Value) -> Bytes {
    let mut object = Map::new();
    for path in fields {
        if let (Some(name), Some(value)) = (path.last_name(), at(path, data)) {
            object.insert(name.to_owned(), value.clone());
        }
    }
    Bytes::from(Value::Object(object).to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::vec;
    use event::{Headers, Subject};

    pub(crate) fn stored(seq: u64, subject: &str, headers: &[(&str, &str)], payload: &str) -> Stored {
        let mut message = Message::new(Subject::parse(subject).unwrap(), payload.to_owned());
        message.headers = Headers::from_pairs(headers.iter().copied()).unwrap();
        Stored { seq, time: Moment::from_nanos(seq * 1_000_000_000), message }
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    fn path(text: &str) -> JsonPath {
        JsonPath::parse(text).unwrap()
    }

    #[track_caller]
    fn check(rule: &Rule, message: &Stored, expected: &str) {
        let told = match rule.judge(message) {
            Ok(Verdict::Nothing) => "nothing".to_owned(),
            Ok(Verdict::Remove { key }) => format!("-{key}"),
            Ok(Verdict::Put { key, value, version, expires }) => {
                let version = version.map(|version| format!(" v{version}")).unwrap_or_default();
                let expires = expires.map(|at| format!(" until {at}")).unwrap_or_default();
                format!("+{key} {}{version}{expires}", String::from_utf8_lossy(&value))
            }
            Err(unfit) => format!("!{unfit}"),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn a_key_comes_from_subject_attribute_header_or_data() {
        let message = stored(1, "a.b%2Ec.d", &[("ce-id", "e%201"), ("X", "h")], "{\"u\":{\"id\":7}}");
        let by = |key| Rule { key, ..Rule::default() };
        let value = "{\"u\":{\"id\":7}}";
        check(&by(Origin::Subject(vec![])), &message, &format!("+a.b%2Ec.d {value}"));
        check(&by(Origin::Subject(vec![2, 3])), &message, &format!("+b.c.d {value}"));
        check(&by(Origin::Subject(vec![4])), &message, "!it has no key: the subject has no token 4");
        check(&by(Origin::Attribute("id".into())), &message, &format!("+e 1 {value}"));
        check(&by(Origin::Header("x".into())), &message, &format!("+h {value}"));
        check(&by(Origin::Data(path("u.id"))), &message, &format!("+7 {value}"));
        check(&by(Origin::Data(path("u.name"))), &message, "!it has no key: nothing at $.u.name");
        check(&by(Origin::Data(path("u"))), &message, "!its key is neither a text nor a whole number: $.u");
        assert!(matches!(by(Origin::Data(path("u"))).judge(&stored(1, "a", &[], "x")), Err(Unfit::Data(_))));
    }

    #[test]
    fn types_subjects_and_empty_payloads_put_and_remove() {
        let rule = Rule {
            key: Origin::Subject(vec![3]),
            put: When { types: patterns(&["user.made", "user.changed"]), ..When::default() },
            remove: When { types: patterns(&["user.gone"]), subjects: patterns(&["auth.user.*.deleted"]) },
            ..Rule::default()
        };
        check(&rule, &stored(1, "auth.user.u1", &[("ce-type", "user.made")], "{}"), "+u1 {}");
        check(&rule, &stored(1, "auth.user.u1", &[("ce-type", "user.seen")], "{}"), "nothing");
        check(&rule, &stored(1, "auth.user.u1", &[], "{}"), "nothing");
        check(&rule, &stored(1, "auth.user.u1", &[("ce-type", "user.gone")], "{}"), "-u1");
        check(&rule, &stored(1, "auth.user.u1.deleted", &[], "{}"), "-u1");
        check(&rule, &stored(1, "auth.user.u1", &[], ""), "-u1");
        let kept = Rule { remove_empty: false, key: Origin::Subject(vec![3]), ..Rule::default() };
        check(&kept, &stored(1, "auth.user.u1", &[], ""), "+u1 ");
    }

    #[test]
    fn versions_lifetimes_and_fields_are_taken() {
        let rule = Rule {
            key: Origin::Data(path("id")),
            version: Some(Origin::Data(path("meta.version"))),
            ttl: Some(Duration::from_secs(5)),
            fields: vec![path("name"), path("meta.by"), path("absent")],
            ..Rule::default()
        };
        let data = "{\"id\":\"u1\",\"name\":\"Ann\",\"meta\":{\"version\":\"12\",\"by\":[1]}}";
        check(&rule, &stored(1, "a", &[], data), "+u1 {\"by\":[1],\"name\":\"Ann\"} v12 until 1970-01-01T00:00:06Z");
        check(&rule, &stored(1, "a", &[], "{\"id\":\"u1\"}"), "!it has no version: nothing at $.meta.version");
        assert!(Version::of("9") < Version::of("10") && Version::of("10") < Version::of("2026-01-31"));
    }
}

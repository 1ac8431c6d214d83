//! Bodies of requests: JSON objects whose keys are compared without case, and whose unknown fields are refused by
//! name. Source: the Go standard library, `encoding/json` with `DisallowUnknownFields`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::duration;

/// Why a body cannot be read, in the original's words.
pub type Why = String;

/// A body of JSON.
///
/// # Errors
/// Where it is none.
pub fn parse(body: &[u8]) -> Result<Value, Why> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(String::from("EOF"));
    }
    serde_json::from_slice(body).map_err(|error| format!("invalid JSON: {error}"))
}

/// The fields of an object, of which each is taken once.
pub struct Fields<'a> {
    left: Vec<(&'a str, &'a Value)>,
}

impl<'a> Fields<'a> {
    /// The fields of a value.
    ///
    /// # Errors
    /// Where it is no object.
    pub fn of(value: &'a Value) -> Result<Self, Why> {
        match value {
            Value::Object(fields) => Ok(Fields::all(fields)),
            other => Err(format!("json: cannot unmarshal {} into Go value of type object", kind(other))),
        }
    }

    fn all(fields: &'a Map<String, Value>) -> Self {
        Fields { left: fields.iter().map(|(name, value)| (name.as_str(), value)).collect() }
    }

    /// Takes a field; `None` where it is not there, or null.
    pub fn take(&mut self, name: &str) -> Option<&'a Value> {
        let mut found = None;
        self.left.retain(|(each, value)| {
            let same = is_same(each, name);
            if same && (found.is_none() || *each == name) {
                found = Some(*value);
            }
            !same
        });
        found.filter(|value| !value.is_null())
    }

    /// A text; empty where it is not there.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn text(&mut self, name: &str) -> Result<String, Why> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(mismatch(other, name, "string")),
        }
    }

    /// A text, where it is there and not empty.
    ///
    /// # Errors
    /// As [`Fields::text`].
    pub fn some_text(&mut self, name: &str) -> Result<Option<String>, Why> {
        self.text(name).map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    /// `true` or `false`, which it is where it is not there.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn flag(&mut self, name: &str) -> Result<bool, Why> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(mismatch(other, name, "bool")),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn whole(&mut self, name: &str) -> Result<Option<i64>, Why> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| mismatch(value, name, "int")),
        }
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn unsigned(&mut self, name: &str) -> Result<Option<u64>, Why> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| mismatch(value, name, "uint64")),
        }
    }

    /// A list of texts; empty where it is not there.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Why> {
        self.list(name)?.iter().map(|value| as_text(value, name)).collect()
    }

    /// A list; empty where it is not there.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn list(&mut self, name: &str) -> Result<&'a [Value], Why> {
        match self.take(name) {
            None => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(mismatch(other, name, "list")),
        }
    }

    /// An object of texts, where it is there.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn map(&mut self, name: &str) -> Result<Option<BTreeMap<String, String>>, Why> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                let pairs = fields.iter().map(|(key, value)| Ok((key.clone(), as_text(value, name)?)));
                pairs.collect::<Result<_, _>>().map(Some)
            }
            Some(other) => Err(mismatch(other, name, "map[string]string")),
        }
    }

    /// A span of time: a text in the grammar of Go, or nanoseconds; zero where it is not there, or negative.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn span(&mut self, name: &str) -> Result<Duration, Why> {
        let nanos = match self.take(name) {
            None => 0,
            Some(Value::String(text)) if text.is_empty() => 0,
            Some(Value::String(text)) => {
                duration::parse(text).ok_or_else(|| format!("time: invalid duration \"{}\"", shown(text)))?
            }
            // Go writes a span as a number of nanoseconds, and reads fractions of them.
            Some(Value::Number(number)) => {
                let whole = number.as_i64().or_else(|| number.as_f64().and_then(|f| format!("{f:.0}").parse().ok()));
                whole.ok_or_else(|| format!("time: invalid duration {number}"))?
            }
            Some(other) => return Err(mismatch(other, name, "duration")),
        };
        Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
    }

    /// The name of a field that was not taken yet.
    pub fn next_name(&self) -> Option<&'a str> {
        self.left.first().map(|(name, _)| *name)
    }

    /// Takes fields that are known and change nothing here.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            let _taken = self.take(name);
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// Where a field was not taken: the first is named.
    pub fn end(self) -> Result<(), Why> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("json: unknown field \"{}\"", shown(name))),
        }
    }
}

/// Whether a key means a field: in any case, and as `snake_case` too, as the original's agent takes it.
fn is_same(key: &str, name: &str) -> bool {
    let letters = |text: &str| -> Vec<u8> { text.bytes().filter(|byte| *byte != b'_').collect() };
    key.eq_ignore_ascii_case(name) || (key.contains('_') && letters(key).eq_ignore_ascii_case(&letters(name)))
}

fn as_text(value: &Value, name: &str) -> Result<String, Why> {
    value.as_str().map(str::to_owned).ok_or_else(|| mismatch(value, name, "string"))
}

fn mismatch(value: &Value, name: &str, wanted: &str) -> Why {
    format!("json: cannot unmarshal {} into Go struct field .{name} of type {wanted}", kind(value))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The beginning of a text that is repeated to who sent it.
pub fn shown(text: &str) -> String {
    /// Characters that are repeated.
    const SHOWN: usize = 128;
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_without_case_and_unknown_ones_are_named() {
        let value = parse(br#"{"name":"web","TAGS":["a"],"Interval":"10s","TTL":1000000000,"Tagss":[]}"#).unwrap();
        let mut fields = Fields::of(&value).unwrap();
        assert_eq!(fields.text("Name").unwrap(), "web");
        assert_eq!(fields.texts("Tags").unwrap(), ["a"]);
        assert_eq!(fields.span("Interval").unwrap(), Duration::from_secs(10));
        assert_eq!(fields.span("TTL").unwrap(), Duration::from_secs(1));
        assert_eq!(fields.end(), Err(String::from("json: unknown field \"Tagss\"")));
    }

    #[test]
    fn what_is_of_another_kind_is_named() {
        let value = parse(br#"{"Name":5,"Port":"x","Tags":[1],"Meta":{"a":1},"TTL":"soon"}"#).unwrap();
        let mut fields = Fields::of(&value).unwrap();
        let expected = "json: cannot unmarshal number into Go struct field .Name of type string";
        assert_eq!(fields.text("Name").unwrap_err(), expected);
        assert!(fields.whole("Port").is_err() && fields.texts("Tags").is_err() && fields.map("Meta").is_err());
        assert_eq!(fields.span("TTL").unwrap_err(), "time: invalid duration \"soon\"");
        assert!(Fields::of(&Value::Null).is_err() && parse(b"").is_err() && parse(b"{").is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}

//! Rows of views as JSON, and as server-sent events.
//!
//! # Invariants
//! - A value that is JSON is spliced in as it was recorded; another text is a string, and other bytes are base64.
//! - Of the events that share an index only the last has an id: who resumes gets all of them, or none.

use std::str::from_utf8;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use door::{Cursor, ViewKey};
use serde::de::IgnoredAny;
use view::rule::Version;
use view::{Change, Entry, Index, Row};

use crate::codec::message::string;

/// A row as it is given, for the API's description; [`row`] writes it.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "read by the description that is derived from it, never made")]
pub struct RowView {
    /// The key.
    key: String,
    /// The position of the message that put it.
    position: u64,
    /// The position at which the key came to be.
    created: u64,
    /// When that message was recorded.
    #[schema(format = DateTime)]
    time: String,
    /// Its version, where the view has one.
    version: Option<String>,
    /// When it ends to hold, where the view has a lifetime.
    #[schema(format = DateTime)]
    expires: Option<String>,
    /// The value, where it is JSON.
    #[schema(value_type = Option<Object>)]
    value: Option<String>,
    /// The value, where it is another text.
    text: Option<String>,
    /// The value, where it is no text.
    value_base64: Option<String>,
}

/// Rows of a view, for the API's description; [`rows`] writes them.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "read by the description that is derived from it, never made")]
pub struct RowsView {
    /// The view.
    view: String,
    /// What to wait behind, or to resume after.
    index: String,
    /// The rows are exact at this position of the stream.
    position: u64,
    /// In byte order of the keys.
    rows: Vec<RowView>,
    /// Where there are more: the next `after`.
    next: Option<String>,
}

/// A row, taken out of its view: cheap to clone.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Its key.
    pub key: ViewKey,
    /// What it holds; `None`: it went.
    pub entry: Option<Entry<Row>>,
    /// The index of its last change.
    pub changed: Index,
}

impl Taken {
    /// A row that is held.
    pub fn held(key: &ViewKey, entry: &Entry<Row>) -> Self {
        let changed = Index::from_raw(entry.changed);
        Taken { key: key.clone(), entry: Some(entry.clone()), changed }
    }

    /// What happened to a row.
    pub fn change(change: &Change<'_, ViewKey, Row>) -> Self {
        let changed = Index::from_raw(change.position());
        match change {
            Change::Put(key, entry) => Taken::held(key, entry),
            Change::Removed(key, _) => Taken { key: ViewKey::clone(key), entry: None, changed },
        }
    }
}

fn raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Writes a value as a member.
fn value(out: &mut Vec<u8>, bytes: &[u8]) {
    match from_utf8(bytes) {
        Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            raw(out, "\"value\":");
            raw(out, text);
        }
        Ok(text) => {
            raw(out, "\"text\":");
            string(out, text);
        }
        Err(_) => {
            raw(out, "\"value_base64\":\"");
            raw(out, &STANDARD.encode(bytes));
            out.push(b'"');
        }
    }
}

/// Writes a row as an object. One that went has its key and position alone.
pub fn row(out: &mut Vec<u8>, taken: &Taken) {
    raw(out, "{\"key\":");
    string(out, &taken.key);
    raw(out, ",\"position\":");
    raw(out, &taken.changed.position().to_string());
    if let Some(Entry { value: row, created, .. }) = &taken.entry {
        out.reserve(160 + row.value.len());
        raw(out, ",\"created\":");
        raw(out, &Index::from_raw(*created).position().to_string());
        raw(out, ",\"time\":");
        string(out, &row.time.to_string());
        if let Some(version) = &row.version {
            raw(out, ",\"version\":");
            match version {
                Version::Number(number) => string(out, &number.to_string()),
                Version::Text(text) => string(out, text),
            }
        }
        if let Some(expires) = row.expires {
            raw(out, ",\"expires\":");
            string(out, &expires.to_string());
        }
        raw(out, ",");
        value(out, &row.value);
    }
    out.push(b'}');
}

/// Writes rows, as [`RowsView`] says.
pub fn rows(out: &mut Vec<u8>, view: &str, cursor: &Cursor, rows: &[Taken], next: Option<&str>) {
    raw(out, "{\"view\":");
    string(out, view);
    raw(out, ",\"index\":");
    string(out, &cursor.to_string());
    raw(out, ",\"position\":");
    raw(out, &cursor.index.position().to_string());
    raw(out, ",\"rows\":[");
    for (place, taken) in rows.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        row(out, taken);
    }
    out.push(b']');
    if let Some(next) = next {
        raw(out, ",\"next\":");
        string(out, next);
    }
    out.push(b'}');
}

/// Writes a server-sent event; its data goes on one line.
pub fn event(out: &mut Vec<u8>, id: Option<&Cursor>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    if let Some(id) = id {
        raw(out, "id: ");
        raw(out, &id.to_string());
        out.push(b'\n');
    }
    crate::codec::message::sse(out, None, name, write);
}

/// Writes the change of a row as a server-sent event.
pub fn changed(out: &mut Vec<u8>, id: Option<&Cursor>, taken: &Taken) {
    let name = if taken.entry.is_some() { "put" } else { "remove" };
    event(out, id, name, |out| row(out, taken));
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use event::Moment;

    fn check(value: &'static [u8], expected: &str) {
        let value = Bytes::from_static(value);
        let row = Row { value, time: Moment::EPOCH, version: Some(Version::of("3")), expires: None };
        let index = Index::at(7).raw();
        let taken = Taken::held(&"a".into(), &Entry { value: row, created: Index::at(2).raw(), changed: index });
        let mut out = Vec::new();
        super::row(&mut out, &taken);
        let start = r#"{"key":"a","position":7,"created":2,"time":"1970-01-01T00:00:00Z","version":"3","#;
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.strip_prefix(start), Some(expected), "{text}");
    }

    #[test]
    fn a_value_comes_out_as_it_went_in() {
        check(b"{\"b\":1.0, \"a\":1}", "\"value\":{\"b\":1.0, \"a\":1}}");
        check(b"12", "\"value\":12}");
        check(b"no json", "\"text\":\"no json\"}");
        check(b"", "\"text\":\"\"}");
        check(&[0xff], "\"value_base64\":\"/w==\"}");
    }

    #[test]
    fn a_removal_has_its_key_and_position() {
        let changed = Index::at(7).next_step().unwrap();
        let cursor = Cursor { index: changed, epoch: Some(1) };
        let mut out = Vec::new();
        super::changed(&mut out, Some(&cursor), &Taken { key: "a".into(), entry: None, changed });
        let expected = "id: 7.1-00000001\nevent: remove\ndata: {\"key\":\"a\",\"position\":7}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

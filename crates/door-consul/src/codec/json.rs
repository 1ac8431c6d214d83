//! JSON as the original writes it: compact, fields in their order, `<`, `>` and `&` escaped; or indented by four
//! spaces and ended by a line end. Source: the Go standard library, `encoding/json`.

use std::fmt::Write as _;

/// A JSON object that is being written. Must be ended.
pub struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub fn new(out: &'a mut String) -> Self {
        out.push('{');
        Object { out, first: true }
    }

    /// A field's name; its value is to be written to what this returns.
    pub fn key(&mut self, name: &str) -> &mut String {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        text(self.out, name);
        self.out.push(':');
        self.out
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        text(self.key(name), value);
        self
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: impl Into<i128>) -> &mut Self {
        number(self.key(name), value.into());
        self
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.key(name).push_str(if value { "true" } else { "false" });
        self
    }

    /// JSON as it is.
    pub fn raw(&mut self, name: &str, value: &str) -> &mut Self {
        self.key(name).push_str(value);
        self
    }

    /// A list of texts, never null.
    pub fn texts<T: AsRef<str>>(&mut self, name: &str, values: impl IntoIterator<Item = T>) -> &mut Self {
        texts(self.key(name), values);
        self
    }

    /// An object of texts.
    pub fn map<K: AsRef<str>, V: AsRef<str>>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Self {
        let mut object = Object::new(self.key(name));
        for (key, value) in values {
            object.text(key.as_ref(), value.as_ref());
        }
        object.end();
        self
    }

    /// Ends it.
    pub fn end(self) {
        self.out.push('}');
    }
}

/// Writes a number.
pub fn number(out: &mut String, value: i128) {
    // Writing to a string does not fail.
    let _written = write!(out, "{value}");
}

/// Writes a list of texts.
pub fn texts<T: AsRef<str>>(out: &mut String, values: impl IntoIterator<Item = T>) {
    list(out, values, |out, value| text(out, value.as_ref()));
}

/// Writes a list.
pub fn list<T>(out: &mut String, values: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut String, T)) {
    out.push('[');
    for (place, value) in values.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        each(out, value);
    }
    out.push(']');
}

/// Writes a text, escaped.
pub fn text(out: &mut String, value: &str) {
    out.push('"');
    let mut from = 0;
    for (at, c) in value.char_indices() {
        if !matches!(c, '"' | '\\' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}') {
            continue;
        }
        out.push_str(value.get(from..at).unwrap_or_default());
        from = at + c.len_utf8();
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string does not fail.
            c => {
                let _written = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    out.push_str(value.get(from..).unwrap_or_default());
    out.push('"');
}

/// The same JSON, indented by four spaces, with a line end behind it.
pub fn indented(compact: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut chars = compact.chars().peekable();
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            quoted = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                quoted = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("    ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_written_as_go_writes_it() {
        let mut out = String::new();
        let mut object = Object::new(&mut out);
        object.text("a", "x\"<\n\u{1}\u{2028}é").number("n", -5).flag("f", true).texts("t", ["b", "c"]);
        object.map("m", [("k", "v")]).raw("r", "{}");
        object.end();
        let expected =
            concat!(r#"{"a":"x\"\u003c\n\u0001\u2028é","n":-5,"f":true,"#, r#""t":["b","c"],"m":{"k":"v"},"r":{}}"#);
        assert_eq!(out, expected);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["a"], "x\"<\n\u{1}\u{2028}é");
    }

    #[test]
    fn indented_is_what_marshal_indent_gives() {
        let compact = r#"{"a":[],"b":{},"c":[1,{"d":"x,{\"}"}]}"#;
        let expected = "{\n    \"a\": [],\n    \"b\": {},\n    \"c\": [\n        1,\n        {\n            \
                        \"d\": \"x,{\\\"}\"\n        }\n    ]\n}\n";
        assert_eq!(indented(compact), expected);
    }
}

//! The configuration format of NATS: maps, lists and scalars with little punctuation.
//!
//! ```text
//! document = fields                      | "{" fields "}"
//! fields   = { key [":" | "="] value [","|";"] }      "include" FILE
//! value    = "{" fields "}" | "[" { value [","] } "]" | string | word | "(" raw ")"
//! ```
//!
//! `#` and `//` begin comments. A word that is a number may have a suffix (`k` is 1000, `kb`, `ki` and
//! `kib` are 1024); one that begins with `$` is the value of that key further out, or of the
//! environment. Later fields stand behind earlier ones; who looks for a key takes the last.

use std::path::Path;

/// How deep maps, lists and includes may lie in each other.
const DEPTH_MAX: usize = 32;

/// Fields in their order.
pub type Fields = Vec<(String, Value)>;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `{…}`
    Map(Fields),
    /// `[…]`
    List(Vec<Value>),
    /// In quotes.
    Text(String),
    /// Without quotes: a number, a truth, or a text.
    Word(String),
}

impl Value {
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) | Value::Word(text) => Some(text),
            _ => None,
        }
    }

    /// The fields of a map.
    pub fn fields(&self) -> &[(String, Value)] {
        match self {
            Value::Map(fields) => fields,
            _ => &[],
        }
    }

    /// A number, its suffix reckoned in.
    pub fn number(&self) -> Option<i64> {
        let text = self.text()?;
        let digits = text.trim_start_matches('-').chars().take_while(char::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits + (text.len() - text.trim_start_matches('-').len()));
        let power = |base: i64| {
            let unit = suffix.to_ascii_lowercase();
            let power = "kmgtpe".find(unit.chars().next()?)?;
            base.checked_pow(u32::try_from(power).ok()? + 1)
        };
        let factor = match suffix.len() {
            0 => Some(1),
            1 => power(1000),
            2 | 3 if matches!(suffix.to_ascii_lowercase().get(1..), Some("b" | "i" | "ib")) => power(1024),
            _ => None,
        };
        number.parse::<i64>().ok()?.checked_mul(factor?)
    }

    /// A truth.
    pub fn truth(&self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }
}

/// The last value of a key, whatever its case.
pub fn get<'a>(fields: &'a [(String, Value)], key: &str) -> Option<&'a Value> {
    fields.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

/// Reads a file, and what it includes.
pub fn read(path: &Path) -> Result<Fields, String> {
    read_at(path, 0)
}

fn read_at(path: &Path, depth: usize) -> Result<Fields, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut parser = Parser { rest: &text, line: 1, depth, folder: path.parent(), outer: Vec::new() };
    parser.document().map_err(|reason| format!("{}:{}: {reason}", path.display(), parser.line))
}

/// Reads a text that includes no files.
#[cfg(test)]
pub fn parse(text: &str) -> Result<Fields, String> {
    Parser { rest: text, line: 1, depth: 0, folder: None, outer: Vec::new() }.document()
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    depth: usize,
    folder: Option<&'a Path>,
    /// Fields so far of the maps that we are in.
    outer: Vec<Fields>,
}

/// What ends a word, besides white space.
const ENDS: &[char] = &[',', ';', ']', '}'];

impl Parser<'_> {
    fn document(&mut self) -> Result<Fields, String> {
        self.skip(true);
        let braced = self.take('{');
        let fields = self.fields(braced)?;
        self.skip(true);
        if self.rest.is_empty() { Ok(fields) } else { Err(self.unexpected("the end")) }
    }

    fn fields(&mut self, braced: bool) -> Result<Fields, String> {
        self.enter()?;
        self.outer.push(Fields::new());
        loop {
            self.skip(true);
            if self.rest.is_empty() && !braced || braced && self.take('}') {
                break;
            }
            let key = self.scalar(&[':', '=', '{', '['])?;
            if key.text() == Some("include") && matches!(key, Value::Word(_)) {
                self.include()?;
                continue;
            }
            let key = key.text().unwrap_or_default().to_string();
            self.skip(false);
            let _separated = self.take(':') || self.take('=');
            self.skip(true);
            let value = self.value()?;
            if let Some(fields) = self.outer.last_mut() {
                fields.push((key, value));
            }
        }
        self.depth -= 1;
        self.outer.pop().ok_or_else(|| String::from("a map ends that did not begin"))
    }

    fn include(&mut self) -> Result<(), String> {
        self.skip(false);
        let name = self.scalar(&[])?;
        let name = name.text().unwrap_or_default();
        let path = self.folder.unwrap_or(Path::new("")).join(name);
        let included = read_at(&path, self.depth)?;
        if let Some(fields) = self.outer.last_mut() {
            fields.extend(included);
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Value, String> {
        if self.take('{') {
            return self.fields(true).map(Value::Map);
        }
        if self.take('[') {
            return self.list();
        }
        if self.take('(') {
            let (raw, rest) = self.rest.split_once(')').ok_or("a '(' is not closed")?;
            self.line += raw.matches('\n').count();
            self.rest = rest;
            return Ok(Value::Text(raw.trim().to_string()));
        }
        let value = self.scalar(&[])?;
        match &value {
            Value::Word(word) if word.starts_with('$') => self.variable(&word[1..]),
            _ => Ok(value),
        }
    }

    fn list(&mut self) -> Result<Value, String> {
        self.enter()?;
        let mut values = Vec::new();
        loop {
            self.skip(true);
            if self.take(']') {
                self.depth -= 1;
                return Ok(Value::List(values));
            }
            values.push(self.value()?);
        }
    }

    fn variable(&self, name: &str) -> Result<Value, String> {
        if let Some(value) = self.outer.iter().rev().find_map(|fields| get(fields, name)) {
            return Ok(value.clone());
        }
        let found = std::env::var(name).map_err(|_| format!("the variable ${name} is not defined"))?;
        Ok(Value::Word(found))
    }

    /// A text in quotes, or a word up to white space, one of [`ENDS`], or one of `ends`.
    fn scalar(&mut self, ends: &[char]) -> Result<Value, String> {
        let quote = self.rest.chars().next().filter(|first| matches!(first, '"' | '\''));
        if let Some(quote) = quote {
            return self.quoted(quote).map(Value::Text);
        }
        let end = self.rest.find(|c: char| c.is_whitespace() || ENDS.contains(&c) || ends.contains(&c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if word.is_empty() {
            return Err(self.unexpected("a key or a value"));
        }
        let word = word.to_string();
        self.rest = rest;
        Ok(Value::Word(word))
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                // Only double quotes know escapes.
                '\\' if quote == '"' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other) => text.push(other),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(format!("a {quote} is not closed"))
    }

    /// Skips white space and comments; with `lines` also their ends and what separates fields.
    fn skip(&mut self, lines: bool) {
        loop {
            let before = self.rest;
            let blank = |c: char| c.is_whitespace() && c != '\n' || lines && matches!(c, '\n' | ',' | ';');
            self.rest = before.trim_start_matches(blank);
            self.line += before[..before.len() - self.rest.len()].matches('\n').count();
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
            } else {
                return;
            }
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn enter(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(format!("deeper than {DEPTH_MAX} levels")) } else { Ok(()) }
    }

    fn unexpected(&self, wanted: &str) -> String {
        let found: String = self.rest.chars().take(16).collect();
        format!("expected {wanted}, found '{}'", found.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Value {
        Value::Word(text.to_string())
    }

    #[test]
    fn fields_need_little_punctuation() {
        let text =
            "# c\nport: 4222\nnet = localhost // c\nweb { port 80; no_tls: true }\nlist [a, 'b c'\n \"d\\\"\"]\n";
        let fields = parse(text).unwrap();
        assert_eq!(get(&fields, "PORT"), Some(&word("4222")));
        assert_eq!(get(&fields, "net"), Some(&word("localhost")));
        let web = get(&fields, "web").unwrap().fields();
        assert_eq!((get(web, "port").unwrap().number(), get(web, "no_tls").unwrap().truth()), (Some(80), Some(true)));
        let list = vec![word("a"), Value::Text("b c".into()), Value::Text("d\"".into())];
        assert_eq!(get(&fields, "list"), Some(&Value::List(list)));
        assert_eq!(parse("{\"jetstream\": true}").unwrap(), [(String::from("jetstream"), word("true"))]);
        assert_eq!(parse("jetstream {}\n").unwrap(), [(String::from("jetstream"), Value::Map(Vec::new()))]);
    }

    #[test]
    fn numbers_have_suffixes_and_words_may_be_variables() {
        for (text, expected) in [
            ("128KB", Some(131_072)),
            ("10GiB", Some(10 << 30)),
            ("2k", Some(2000)),
            ("-1", Some(-1)),
            ("64MiB", Some(64 << 20)),
            ("300ms", None),
            ("x", None),
        ] {
            assert_eq!(word(text).number(), expected, "{text}");
        }
        let fields = parse("TOKEN: abc\na { token: $TOKEN }\n").unwrap();
        assert_eq!(get(get(&fields, "a").unwrap().fields(), "token"), Some(&word("abc")));
        assert!(parse("a: $NOWHERE_TO_BE_FOUND").unwrap_err().contains("NOWHERE"));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in ["\"port\": : 1", "a {", "a [", "a: 'x", "a: (x", "}", "a: ]"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"a {".repeat(100_000)).unwrap_err().contains("deeper"));
        assert!(parse(&"a [".replace("a ", "").repeat(100_000)).is_err());
    }
}

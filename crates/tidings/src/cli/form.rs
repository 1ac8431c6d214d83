//! The form in which what a node told is shown: a table for people, JSON or YAML for machines.
//!
//! Plain JSON and YAML are the node's own answer. With `--compat routerd` names, emptiness and columns
//! are those of routerd's own command line, so that scripts and harnesses written for it run unchanged:
//! Go field names where it has them, `null` for no rows, times in whole seconds, `<`, `>` and `&`
//! escaped, YAML names in lower case.

use std::path::PathBuf;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::failure::Failure;
use super::output::{Out, date, safe};

/// A time that Go prints for none.
const GO_NO_TIME: &str = "0001-01-01T00:00:00Z";

/// How a command shows what it found.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Form")]
pub struct Form {
    /// How it is shown
    #[arg(long, short = 'o', value_name = "FORMAT", value_enum)]
    output: Option<Format>,
    /// JSON for machines, in place of text for people: the same as --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Names, columns and empty results as another command line has them
    #[arg(long, value_name = "WHOSE", value_enum, env = "TIDINGS_COMPAT")]
    compat: Option<Compat>,
    /// Taken so that scripts written for routerctl run unchanged; the node knows where its data is
    #[arg(long, value_name = "FILE", hide = true)]
    state_file: Option<PathBuf>,
}

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[value(alias = "text")]
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

/// Whose names are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compat {
    /// Those of routerctl
    Routerd,
}

/// One record with its names in order.
#[derive(Debug, Clone, Default)]
pub struct Row(pub Vec<(&'static str, Value)>);

/// What routerd's command line would print.
#[derive(Debug, Clone)]
pub enum Theirs {
    /// Records with Go's field names: `null` where there are none, in lower case in YAML.
    Go(Vec<Row>),
    /// One record with Go's field names.
    GoOne(Row),
    /// Records with names of their own: `[]` where there are none.
    Rows(Vec<Row>),
    /// Records with names of their own: `null` where there are none.
    RowsOrNull(Vec<Row>),
    /// One record with names of its own.
    One(Row),
    /// A document as it is.
    Document(Value),
}

impl Form {
    /// The form, where nothing else was said.
    pub fn format_or(&self, absent: Format) -> Format {
        if self.json { Format::Json } else { self.output.unwrap_or(absent) }
    }

    /// Whether JSON is asked for.
    pub fn is_json(&self) -> bool {
        self.format_or(Format::Table) == Format::Json
    }

    /// Whether names and columns are routerd's.
    pub fn is_routerd(&self) -> bool {
        self.compat == Some(Compat::Routerd)
    }

    /// What routerd's YAML cannot be, where only tables and JSON exist.
    pub fn refuse_yaml(&self) -> Result<(), Failure> {
        match self.output {
            Some(Format::Yaml) => Err(Failure::usage(
                "there is no YAML of what no group says (--output yaml)",
                "use --output json, or name a group with --group",
            )),
            _ => Ok(()),
        }
    }

    /// Shows an answer: `ours` is the node's, `theirs` what routerd would print, `table` is for people.
    pub fn show(
        &self,
        ours: &[u8],
        theirs: impl FnOnce() -> Theirs,
        table: impl FnOnce(&mut Out) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.show_or(Format::Table, ours, theirs, table)
    }

    /// The same with another form where none was asked for.
    pub fn show_or(
        &self,
        absent: Format,
        ours: &[u8],
        theirs: impl FnOnce() -> Theirs,
        table: impl FnOnce(&mut Out) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut out = Out::new();
        match (self.format_or(absent), self.is_routerd()) {
            (Format::Table, _) => table(&mut out)?,
            (Format::Json, false) => out.document(ours)?,
            (Format::Yaml, false) => {
                let answer: Value = serde_json::from_slice(ours).map_err(Failure::strange)?;
                out.bytes(yaml(&answer)?.as_bytes())?;
            }
            (Format::Json, true) => out.document(theirs().json()?.as_bytes())?,
            (Format::Yaml, true) => out.bytes(theirs().yaml()?.as_bytes())?,
        }
        out.flush()
    }

    /// A moment for a table.
    pub fn moment(&self, time: Option<&str>) -> String {
        match time {
            None | Some("" | GO_NO_TIME) => "-".to_owned(),
            Some(time) if self.is_routerd() => safe(&whole_seconds(time)),
            Some(time) => date(time),
        }
    }
}

impl Theirs {
    fn json(&self) -> Result<String, Failure> {
        let text = match self {
            Theirs::Go(rows) | Theirs::RowsOrNull(rows) if rows.is_empty() => Ok("null".to_owned()),
            Theirs::Go(rows) | Theirs::Rows(rows) | Theirs::RowsOrNull(rows) => serde_json::to_string_pretty(rows),
            Theirs::GoOne(row) | Theirs::One(row) => serde_json::to_string_pretty(row),
            Theirs::Document(document) => serde_json::to_string_pretty(document),
        };
        Ok(html_escaped(&text.map_err(Failure::strange)?))
    }

    fn yaml(&self) -> Result<String, Failure> {
        match self {
            Theirs::Go(rows) => yaml(&rows.iter().map(Lower).collect::<Vec<_>>()),
            Theirs::GoOne(row) => yaml(&Lower(row)),
            Theirs::Rows(rows) | Theirs::RowsOrNull(rows) => yaml(rows),
            Theirs::One(row) => yaml(row),
            Theirs::Document(document) => yaml(document),
        }
    }
}

/// A record whose names are in lower case.
struct Lower<'a>(&'a Row);

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for Lower<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.0.len()))?;
        for (name, value) in &self.0.0 {
            map.serialize_entry(&name.to_ascii_lowercase(), value)?;
        }
        map.end()
    }
}

/// A document in YAML, with a line feed at its end.
pub fn yaml(document: &impl Serialize) -> Result<String, Failure> {
    // A long text stays on its line; one of several lines is shown as it is.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text = serde_saphyr::to_string_with_options(document, options).map_err(Failure::strange)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// A time as Go writes it: in whole seconds, the year 1 for none.
pub fn go_time(time: Option<&str>) -> Value {
    match time {
        None | Some("") => Value::from(GO_NO_TIME),
        Some(time) => Value::from(whole_seconds(time)),
    }
}

/// A time without its fraction of a second.
pub fn whole_seconds(time: &str) -> String {
    let Some((head, tail)) = time.split_once('.') else { return time.to_owned() };
    let zone = tail.find(|c: char| !c.is_ascii_digit()).map_or("", |end| &tail[end..]);
    format!("{head}{zone}")
}

/// A span of whole seconds as Go prints it; `-` for none.
pub fn go_span(seconds: i64) -> String {
    if seconds == 0 {
        return "-".to_owned();
    }
    let (sign, total) = (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs());
    let (hours, minutes, rest) = (total / 3_600, total % 3_600 / 60, total % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, _) => format!("{sign}{minutes}m{rest}s"),
        _ => format!("{sign}{hours}h{minutes}m{rest}s"),
    }
}

/// A text for a cell: `-` where there is none.
pub fn cell(text: &str) -> String {
    if text.trim().is_empty() { "-".to_owned() } else { safe(text) }
}

/// JSON in which the three characters that end or begin HTML are escaped. They stand in strings alone.
fn html_escaped(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_shown_as_go_shows_them() {
        let row = || Row(vec![("ID", Value::from("e1")), ("SourceNode", Value::from("a<b"))]);
        let check = |theirs: Theirs, json: &str, yaml: &str| {
            assert_eq!((theirs.json().unwrap().as_str(), theirs.yaml().unwrap().as_str()), (json, yaml));
        };
        check(Theirs::Go(Vec::new()), "null", "[]\n");
        check(Theirs::Rows(Vec::new()), "[]", "[]\n");
        check(
            Theirs::Go(vec![row()]),
            "[\n  {\n    \"ID\": \"e1\",\n    \"SourceNode\": \"a\\u003cb\"\n  }\n]",
            "- id: e1\n  sourcenode: a<b\n",
        );
        check(Theirs::GoOne(Row(vec![("Attempts", Value::from(2))])), "{\n  \"Attempts\": 2\n}", "attempts: 2\n");
    }

    #[test]
    fn times_and_spans_are_those_of_go() {
        assert_eq!(whole_seconds("2026-01-31T12:00:00.123456Z"), "2026-01-31T12:00:00Z");
        assert_eq!(whole_seconds("2026-01-31T12:00:00.5+01:00"), "2026-01-31T12:00:00+01:00");
        assert_eq!(go_time(None), "0001-01-01T00:00:00Z");
        for (seconds, text) in [(0, "-"), (9, "9s"), (60, "1m0s"), (-61, "-1m1s"), (3_605, "1h0m5s")] {
            assert_eq!(go_span(seconds), text);
        }
    }

    #[test]
    fn a_long_text_stays_on_its_line() {
        let long = "word ".repeat(40).trim_end().to_owned();
        assert_eq!(yaml(&serde_json::json!({"a": long})).unwrap(), format!("a: {long}\n"));
    }
}

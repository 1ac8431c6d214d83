//! YAML as values, with the place of every field: several documents a text, each bounded.
//!
//! Aliases make a short text large, so every byte of text and every node is counted as it is made.
//! JSON is YAML.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::file::{YamlFault, fault_of};

/// Most bytes of text in one document, with every alias written out: eight files of the largest size.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most values in one document.
const NODES_MAX: usize = 256 * 1024;

/// Deepest nesting.
const DEPTH_MAX: usize = 64;

/// Line and column, from 1.
pub(super) type Place = (u64, u64);

/// One document of a text.
#[derive(Debug)]
pub(super) struct Tree {
    /// What it says.
    pub(super) value: Value,
    /// Where it begins.
    begins: Place,
    places: BTreeMap<String, Place>,
}

impl Tree {
    /// Where a path such as `spec.types[2]` is; where it is not there, what it would be in.
    pub(super) fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return self.begins,
            }
        }
    }
}

/// The documents of a text. Empty ones are left out.
pub(super) fn trees(text: &str) -> Result<Vec<Tree>, YamlFault> {
    let mut trees = Vec::new();
    for (lines_before, part) in parts(text) {
        let says = |line: &&str| {
            let line = line.trim_start_matches("---").trim();
            !(line.is_empty() || line == "..." || line.starts_with(['#', '%']))
        };
        let Some(first) = part.lines().position(|line| says(&line)) else { continue };
        let reading = Reading {
            bytes: Cell::new(TEXT_BYTES_MAX),
            nodes: Cell::new(NODES_MAX),
            places: RefCell::default(),
            lines_before,
        };
        let options = serde_saphyr::options! {
            with_snippet: false,
            budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_documents: 1, max_nodes: NODES_MAX },
        };
        let root = Node { reading: &reading, path: String::new() };
        let read = |yaml: serde_saphyr::Deserializer<'_, '_>| root.deserialize(yaml);
        let value = serde_saphyr::with_deserializer_from_str_with_options(part, options, read);
        let value = value.map_err(|error| {
            let fault = fault_of(&error);
            // The parser counts from this document's beginning, in its words too.
            let reason = fault.reason.split(" at line ").next().unwrap_or_default().to_owned();
            YamlFault { line: if fault.line == 0 { 0 } else { fault.line + lines_before }, reason, ..fault }
        })?;
        if !value.is_null() {
            let begins = (lines_before + number(first) + 1, 1);
            trees.push(Tree { value, begins, places: reading.places.into_inner() });
        }
    }
    Ok(trees)
}

/// The text between marks, which stand at the beginning of a line and cannot stand there otherwise (YAML
/// 1.2.2, section 9.1.2): each with the lines before it.
fn parts(text: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let (mut begin, mut begin_line, mut end) = (0, 0, 0);
    for (line, content) in (0..).zip(text.split_inclusive('\n')) {
        let rest = content.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            parts.push((begin_line, text.get(begin..end).unwrap_or_default()));
            (begin, begin_line) = (end, line);
        }
        end += content.len();
    }
    parts.push((begin_line, text.get(begin..).unwrap_or_default()));
    parts
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What is known of a document while it is read.
struct Reading {
    /// Bytes of text that may still come.
    bytes: Cell<usize>,
    /// Values that may still come.
    nodes: Cell<usize>,
    places: RefCell<BTreeMap<String, Place>>,
    lines_before: u64,
}

impl Reading {
    fn node<E: serde::de::Error>(&self) -> Result<(), E> {
        let left = self.nodes.get().checked_sub(1);
        self.nodes.set(left.ok_or_else(|| E::custom(format!("the document has more than {NODES_MAX} values")))?);
        Ok(())
    }

    fn text<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        let left = self.bytes.get().checked_sub(text.len());
        let too_long = || E::custom("the document is too long when every alias is written out");
        self.bytes.set(left.ok_or_else(too_long)?);
        Ok(())
    }

    fn put(&self, path: &str, line: u64, column: u64) {
        if line > 0 {
            self.places.borrow_mut().entry(path.to_owned()).or_insert((line + self.lines_before, column));
        }
    }
}

/// One value, at a path.
struct Node<'r> {
    reading: &'r Reading,
    path: String,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.reading.node()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.reading.text(value)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let Node { reading, path } = self;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Node { reading, path: format!("{path}[{}]", values.len()) })? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Node { reading, path } = self;
        let mut members = Map::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let (line, column) = (key.referenced.line(), key.referenced.column());
            let key = key.value;
            reading.text(&key)?;
            // A list's item is where its first field is.
            if path.ends_with(']') {
                reading.put(&path, line, column);
            }
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            reading.put(&inner, line, column);
            let value = map.next_value_seed(Node { reading, path: inner })?;
            if members.insert(key, value).is_some() {
                return Err(A::Error::custom("a field is given twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Tree> {
        trees(text).unwrap_or_else(|fault| panic!("line {}: {}", fault.line, fault.reason))
    }

    #[test]
    fn every_field_has_its_place_in_the_right_document() {
        let text = "# none here\n---\nkind: A\nspec:\n  types:\n    - x\n    - {a: 1}\n--- # next\nkind: B\nspec: {port: 5, \
                    on: yes}\ntext: |\n  line\n  --- no mark\n---\n# nothing\n---\n- kind: C\n  name: c\n- kind: D\n";
        let trees = read(text);
        assert_eq!(trees.len(), 3);
        for (tree, path, line) in [
            (0, "kind", 3),
            (0, "spec", 4),
            (0, "spec.types", 5),
            (0, "spec.types[0]", 5),
            (0, "spec.types[1]", 7),
            (0, "spec.types[1].a", 7),
            (0, "spec.unknown.more", 4),
            (0, "", 3),
            (1, "spec.port", 10),
            (1, "metadata.name", 9),
            (2, "[0]", 17),
            (2, "[0].name", 18),
            (2, "[1].spec.x", 19),
        ] {
            assert_eq!(trees[tree].place(path).0, line, "{tree} {path}");
        }
        assert_eq!(trees[1].place("spec.port").1, 8);
        assert_eq!(trees[1].value["text"], "line\n--- no mark\n");
    }

    #[test]
    fn json_and_nothing_are_yaml_too() {
        assert!(read("").is_empty() && read("# nothing\n---\n...\n").is_empty() && read("---\nnull\n").is_empty());
        let trees = read("{\n\t\"kind\": \"A\",\n\t\"spec\": {\n\t\t\"port\": 1}}\n");
        assert_eq!(trees[0].place("spec.port").0, 4);
    }

    #[track_caller]
    fn check(text: &str, line: u64, part: &str) {
        let fault = trees(text).err().unwrap();
        assert!(fault.reason.contains(part), "{}", fault.reason);
        assert_eq!(fault.line, line, "{}", fault.reason);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        check("a: 1\n---\nb: 1\nc: [1\n---\nd: 1\n", 4, "unclosed");
        check("a: 1\n---\nb: 1\nb: 2\n", 4, "twice");
        check("a: 1\n---\nb: .inf\n", 3, "finite");
    }

    #[test]
    fn a_bomb_ends_before_it_is_large() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..10 {
            let list = vec![format!("*a{}", level - 1); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        assert!(trees(&bomb).is_err());
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 19), vec!["*a"; 1000].join(","));
        assert!(trees(&long).is_err());
    }
}

//! A row of a view as cells of a table.

use event::JsonPath;
use event::path::Step;
use serde::Deserialize;
use serde_json::Value;

use crate::replica::spec::{Kind, Place, Plan};

/// A row as the node tells it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    pub(crate) key: String,
    pub(crate) position: u64,
    pub(crate) time: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) value: Option<Value>,
    pub(crate) text: Option<String>,
    pub(crate) value_base64: Option<String>,
}

/// The cells of a row, in the order of the columns, as texts; or what the row lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) key: String,
    pub(crate) cells: Result<Vec<Option<String>>, String>,
}

/// What happened to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Mapped),
    Remove(String),
}

impl Change {
    pub(crate) fn key(&self) -> &str {
        match self {
            Change::Put(mapped) => &mapped.key,
            Change::Remove(key) => key,
        }
    }

    /// The row that is put.
    pub(crate) fn row(&self) -> Option<&Mapped> {
        match self {
            Change::Put(mapped) => Some(mapped),
            Change::Remove(_) => None,
        }
    }
}

/// Rows that lack something, of those that one transaction brings.
#[derive(Debug, Default)]
pub(crate) struct Unfit {
    pub(crate) count: u64,
    /// What the last of them lacks.
    pub(crate) reason: Option<String>,
}

impl Unfit {
    pub(crate) fn see(&mut self, row: Option<&Mapped>) {
        if let Some(Mapped { key, cells: Err(reason) }) = row {
            let shown: String = key.chars().take(80).collect();
            self.count += 1;
            self.reason = Some(format!("the row '{shown}': {reason}"));
        }
    }
}

pub(crate) fn at<'a>(path: &JsonPath, value: &'a Value) -> Option<&'a Value> {
    let down = |value: &'a Value, step: &Step| match step {
        Step::Name(name) => value.get(name.as_str()),
        Step::Index(index) => value.get(*index),
    };
    path.steps().iter().try_fold(value, down).filter(|value| !value.is_null())
}

/// A value as the text of a cell.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Plan {
    /// The cells of a row that the node tells.
    pub(crate) fn map(&self, told: &Told) -> Mapped {
        let data = told.value.as_ref();
        let cell = |place: &Place, kind: Kind| match place {
            Place::Key => Some(told.key.clone()),
            Place::Position => Some(told.position.to_string()),
            Place::Time => told.time.clone(),
            Place::Version => told.version.clone(),
            Place::Value => {
                data.map(Value::to_string).or_else(|| told.text.clone()).or_else(|| told.value_base64.clone())
            }
            Place::Data(path) => data.and_then(|data| at(path, data)).map(|value| written(value, kind)),
        };
        self.cells(told.key.clone(), cell)
    }

    /// The cells of an object of a list; its key stands at `key`.
    pub(crate) fn map_listed(&self, key: &JsonPath, object: &Value) -> Option<Mapped> {
        let key = at(key, object).map(text)?;
        let cell = |place: &Place, kind: Kind| match place {
            Place::Key => Some(key.clone()),
            Place::Value => Some(object.to_string()),
            Place::Position | Place::Time | Place::Version => None,
            Place::Data(path) => at(path, object).map(|value| written(value, kind)),
        };
        Some(self.cells(key.clone(), cell))
    }

    fn cells(&self, key: String, cell: impl Fn(&Place, Kind) -> Option<String>) -> Mapped {
        let one = |(column, place): &(super::spec::Column, Place)| {
            let text = cell(place, column.kind).or_else(|| column.default.clone());
            match text {
                None if column.required => Err(format!("it has no {}", column.name)),
                Some(text) if !fits(&text, column.kind) => {
                    let shown: String = text.chars().take(40).collect();
                    Err(format!("its {}, '{shown}', is no {}", column.name, named(column.kind)))
                }
                // PostgreSQL takes no NUL in a text.
                Some(text) if text.contains('\0') => Err(format!("its {} holds the character NUL", column.name)),
                text => Ok(text),
            }
        };
        let cells = self.columns.iter().map(one).collect();
        Mapped { key, cells }
    }
}

/// A value for a column of a kind: one of JSON is written as JSON, a text too.
fn written(value: &Value, kind: Kind) -> String {
    if kind == Kind::Json { value.to_string() } else { text(value) }
}

fn fits(text: &str, kind: Kind) -> bool {
    match kind {
        Kind::Text | Kind::Json | Kind::Timestamp => true,
        Kind::Integer => text.parse::<i64>().is_ok(),
        Kind::Real => text.parse::<f64>().is_ok(),
        Kind::Boolean => matches!(text, "true" | "false"),
    }
}

fn named(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Integer => "whole number of 64 bits",
        Kind::Real => "number",
        Kind::Boolean => "true or false",
        Kind::Json => "JSON",
        Kind::Timestamp => "time",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::spec::{Column, ReplicaSpec};

    fn plan() -> Plan {
        let required = Column { required: true, ..Column::new("name") };
        let shown = Column { default: Some(String::new()), ..Column::new("shown").from("profile.shown") };
        let columns = vec![
            Column::new("id").from("$key"),
            required,
            shown,
            Column::new("age").kind(Kind::Integer),
            Column::new("tags").kind(Kind::Json),
            Column::new("at").from("$position").kind(Kind::Integer),
        ];
        Plan::new(&ReplicaSpec::new("v", "sqlite:a", "t", columns)).unwrap()
    }

    #[track_caller]
    fn check(value: &str, expected: Result<&[Option<&str>], &str>) {
        let told = Told { key: "u1".into(), position: 7, value: serde_json::from_str(value).ok(), ..Told::default() };
        let mapped = plan().map(&told);
        let cells = mapped.cells.as_ref().map_err(String::as_str);
        let cells = cells.map(|cells| cells.iter().map(Option::as_deref).collect::<Vec<_>>());
        assert_eq!(cells.as_deref().map_err(|reason| *reason), expected);
    }

    #[test]
    fn cells_come_from_the_value_and_what_is_lacking_is_told() {
        check(
            r#"{"name":"Ann","profile":{"shown":"A"},"age":5,"tags":["x"]}"#,
            Ok(&[Some("u1"), Some("Ann"), Some("A"), Some("5"), Some("[\"x\"]"), Some("7")]),
        );
        check(r#"{"name":"Ann","age":null}"#, Ok(&[Some("u1"), Some("Ann"), Some(""), None, None, Some("7")]));
        check(r#"{"name":"Ann","tags":"x"}"#, Ok(&[Some("u1"), Some("Ann"), Some(""), None, Some("\"x\""), Some("7")]));
        check("{}", Err("it has no name"));
        check(r#"{"name":"Ann","age":"old"}"#, Err("its age, 'old', is no whole number of 64 bits"));
        check(r#"{"name":"A\u0000"}"#, Err("its name holds the character NUL"));
    }

    #[test]
    fn an_object_of_a_list_has_its_key_where_it_is_said() {
        let object: Value = serde_json::from_str(r#"{"user_id":"u2","name":"Bob"}"#).unwrap();
        let mapped = plan().map_listed(&JsonPath::parse("user_id").unwrap(), &object).unwrap();
        assert_eq!((mapped.key.as_str(), mapped.cells.unwrap()[1].as_deref()), ("u2", Some("Bob")));
        assert!(plan().map_listed(&JsonPath::parse("id").unwrap(), &object).is_none());
    }
}

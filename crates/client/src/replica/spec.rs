//! What is declared of a replica: which view, which table, which columns.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use event::JsonPath;
use event::units::Span;
use serde::{Deserialize, Deserializer};

use crate::replica::error::ReplicaError;

/// Longest name of a table or column, in bytes: PostgreSQL cuts longer ones.
const NAME_BYTES_MAX: usize = 63;

/// Between two reconciliations, where nothing is said.
const RECONCILE: Duration = Duration::from_secs(60 * 60);

/// How long an endpoint may take, where nothing is said.
const ENDPOINT_WAIT: Duration = Duration::from_secs(30);

/// What is kept where, as a file says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicaSpec {
    /// The node's HTTP door, such as `http://127.0.0.1:7070`.
    #[serde(default = "server")]
    pub server: String,
    /// The file whose first line is the bearer token; none: none is presented. Read at each connection.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) that are trusted for https, in place of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The view.
    pub view: String,
    /// The database: `sqlite:PATH`, `postgres://user@host/database` without a password, or `env:NAME`, the variable
    /// that holds the URL, a password too.
    pub to: String,
    /// The file that holds the database's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The table, `schema.table` too. What is in it is what the view holds: rows of others go.
    pub table: String,
    /// The columns that are written, in order.
    pub columns: Vec<Column>,
    /// The column of the key, which must be unique; none: the first whose `from` is `$key`.
    #[serde(default)]
    pub key: Option<String>,
    /// The column of the version: a row does not give way to one with a lower.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether the table is made where it is not there.
    #[serde(default = "yes")]
    pub create: bool,
    /// Statements that are executed, in the same transaction, before a row goes; `$1` is its key.
    #[serde(default)]
    pub on_delete: Vec<String>,
    /// A list of rows that the view may not hold, such as those from before its stream began.
    #[serde(default)]
    pub startup: Option<Endpoint>,
    /// How often the whole table is compared with the view; `0s`: never, but after a time away.
    #[serde(default = "reconcile", deserialize_with = "span")]
    pub reconcile: Duration,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds: a place in the value, such as `profile.name`; or `$key`, `$value`, `$position`, `$time`, `$version`
    /// (the view's own). None: the place that is called like the column.
    #[serde(default)]
    pub from: Option<String>,
    /// Its type, where the table is made.
    #[serde(default, rename = "type")]
    pub kind: Kind,
    /// Whether a row without it is refused.
    #[serde(default)]
    pub required: bool,
    /// What it holds where the value says nothing.
    #[serde(default)]
    pub default: Option<String>,
    /// Whether no two rows have the same, where the table is made.
    #[serde(default)]
    pub unique: bool,
}

/// Types of columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `TEXT`.
    #[default]
    Text,
    /// `BIGINT`, `INTEGER`.
    Integer,
    /// `DOUBLE PRECISION`, `REAL`.
    Real,
    /// `BOOLEAN`; in SQLite 0 or 1.
    Boolean,
    /// `JSONB`; in SQLite a text.
    Json,
    /// `TIMESTAMPTZ`; in SQLite a text.
    Timestamp,
}

/// Where a list of rows is: a JSON list of objects, from which the columns are taken as from values.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Its URL.
    pub url: String,
    /// Where the list is in the answer; none: the answer is the list.
    #[serde(default)]
    pub list: Option<String>,
    /// Where the key is in an object; none: the place that is called like the key's column.
    #[serde(default)]
    pub key: Option<String>,
    /// A header that carries a secret, such as `X-Service-Key`.
    #[serde(default)]
    pub header: Option<String>,
    /// The file that holds the secret.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// How long it may take.
    #[serde(default = "endpoint_wait", deserialize_with = "span")]
    pub timeout: Duration,
}

fn server() -> String {
    String::from("http://127.0.0.1:7070")
}

fn yes() -> bool {
    true
}

fn reconcile() -> Duration {
    RECONCILE
}

fn endpoint_wait() -> Duration {
    ENDPOINT_WAIT
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(|Span(span)| span).map_err(serde::de::Error::custom)
}

impl Column {
    /// A column of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Column { name: name.into(), from: None, kind: Kind::Text, required: false, default: None, unique: false }
    }

    /// What it holds.
    #[must_use]
    pub fn from(mut self, place: impl Into<String>) -> Self {
        self.from = Some(place.into());
        self
    }

    /// Of this type.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

impl ReplicaSpec {
    /// A view into a table, with everything else as it is where nothing is said.
    pub fn new(view: impl Into<String>, to: impl Into<String>, table: impl Into<String>, columns: Vec<Column>) -> Self {
        ReplicaSpec {
            server: server(),
            token_file: None,
            ca_file: None,
            view: view.into(),
            to: to.into(),
            password_file: None,
            table: table.into(),
            columns,
            key: None,
            version: None,
            create: true,
            on_delete: Vec::new(),
            startup: None,
            reconcile: RECONCILE,
        }
    }
}

/// Where the text of a cell comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Key,
    Value,
    Position,
    Time,
    Version,
    Data(JsonPath),
}

/// A spec that was judged.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) table: Vec<String>,
    pub(crate) columns: Vec<(Column, Place)>,
    /// Of the columns, which is the key.
    pub(crate) key: usize,
    /// Of the columns, which is the version.
    pub(crate) version: Option<usize>,
    pub(crate) create: bool,
    pub(crate) on_delete: Vec<String>,
    /// The row of `tidings_positions`.
    pub(crate) name: String,
    pub(crate) view: String,
}

fn refused(what: impl Into<String>) -> ReplicaError {
    ReplicaError::Spec(what.into())
}

fn named(what: &str, name: &str) -> Result<(), ReplicaError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
        return Err(refused(format!("the {what} '{name}' must have 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

impl Plan {
    /// Judges a spec.
    pub(crate) fn new(spec: &ReplicaSpec) -> Result<Self, ReplicaError> {
        let table: Vec<String> = spec.table.split('.').map(str::to_owned).collect();
        if table.len() > 2 {
            return Err(refused(format!("the table '{}' must be TABLE or SCHEMA.TABLE", spec.table)));
        }
        table.iter().try_for_each(|part| named("table", part))?;
        if spec.view.is_empty() {
            return Err(refused("the view is not said"));
        }
        let (mut columns, mut names) = (Vec::new(), BTreeSet::new());
        for column in &spec.columns {
            named("column", &column.name)?;
            if !names.insert(&column.name) {
                return Err(refused(format!("the column '{}' is there twice", column.name)));
            }
            columns.push((column.clone(), place(column)?));
        }
        let find = |what: &str, name: &String| {
            let place = columns.iter().position(|(column, _)| column.name == *name);
            place.ok_or_else(|| refused(format!("the {what} '{name}' is none of the columns")))
        };
        let key = match &spec.key {
            Some(name) => find("key", name)?,
            None => columns
                .iter()
                .position(|(_, place)| *place == Place::Key)
                .ok_or_else(|| refused("no column is the key: say one whose from is $key"))?,
        };
        let version = spec.version.as_ref().map(|name| find("version", name)).transpose()?;
        let (create, on_delete) = (spec.create, spec.on_delete.clone());
        let (name, view) = (spec.table.clone(), spec.view.clone());
        Ok(Plan { table, columns, key, version, create, on_delete, name, view })
    }

    /// The column of the key.
    pub(crate) fn key_column(&self) -> &str {
        self.columns.get(self.key).map_or("", |(column, _)| column.name.as_str())
    }
}

fn place(column: &Column) -> Result<Place, ReplicaError> {
    let text = column.from.as_deref().unwrap_or(&column.name);
    Ok(match text {
        "$key" => Place::Key,
        "$value" => Place::Value,
        "$position" => Place::Position,
        "$time" => Place::Time,
        "$version" => Place::Version,
        text => Place::Data(
            JsonPath::parse(text)
                .map_err(|error| refused(format!("what the column '{}' holds, '{text}', {error}", column.name)))?,
        ),
    })
}

/// A name as it stands in a statement.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> ReplicaSpec {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_spec_is_read_with_what_counts_where_nothing_is_said() {
        let spec = spec(
            r#"{"view":"users","to":"sqlite:a.db","table":"user_cache","version":"v","reconcile":"5m",
                "columns":[{"name":"user_id","from":"$key"},{"name":"username","required":true},{"name":"v","type":"integer"}]}"#,
        );
        let plan = Plan::new(&spec).unwrap();
        assert_eq!((plan.key, plan.version, plan.key_column()), (0, Some(2), "user_id"));
        assert_eq!(plan.columns[1].1, Place::Data(JsonPath::parse("username").unwrap()));
        assert_eq!((spec.reconcile, spec.create), (Duration::from_secs(300), true));
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut ReplicaSpec), reason: &str) {
        let mut spec = ReplicaSpec::new("v", "sqlite:a", "t", vec![Column::new("k").from("$key"), Column::new("a")]);
        change(&mut spec);
        let told = Plan::new(&spec).unwrap_err().to_string();
        assert!(told.contains(reason), "{told}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(|spec| spec.table = "a.b.c".into(), "must be TABLE or SCHEMA.TABLE");
        check(|spec| spec.table = String::new(), "the table ''");
        check(|spec| spec.columns.push(Column::new("a")), "'a' is there twice");
        check(|spec| spec.columns.push(Column::new("b").from("x..y")), "'b' holds, 'x..y'");
        check(|spec| spec.key = Some("x".into()), "the key 'x' is none");
        check(|spec| spec.version = Some("x".into()), "the version 'x' is none");
        check(|spec| spec.columns.clear(), "no column is the key");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}

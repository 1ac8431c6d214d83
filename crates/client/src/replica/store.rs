//! Where a replica is kept.

use std::path::PathBuf;

use crate::replica::error::ReplicaError;
#[cfg(feature = "postgres")]
use crate::replica::postgres::Postgres;
use crate::replica::row::{Change, Mapped};
use crate::replica::spec::{Plan, ReplicaSpec};
#[cfg(feature = "sqlite")]
use crate::replica::sqlite::Sqlite;

/// Where a replica is in the history of its view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// As the node said it.
    pub(crate) cursor: String,
    /// The position in it.
    pub(crate) position: u64,
}

impl Position {
    pub(crate) fn of(cursor: String) -> Self {
        let digits = cursor.split(['.', '-']).next().unwrap_or_default();
        let position = digits.parse().unwrap_or_default();
        Position { cursor, position }
    }
}

/// What a transaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Rows that were put, and were not so before.
    pub(crate) put: u64,
    /// Rows that went.
    pub(crate) removed: u64,
    /// Rows that the database refused.
    pub(crate) refused: u64,
    /// Why it refused the last of them.
    pub(crate) reason: Option<String>,
}

impl Applied {
    pub(crate) fn add(&mut self, other: &Applied) {
        self.put += other.put;
        self.removed += other.removed;
        self.refused += other.refused;
        self.reason = other.reason.clone().or(self.reason.take());
    }
}

/// A database, open.
#[allow(clippy::large_enum_variant, reason = "there is one of it a replica")]
pub(crate) enum Store {
    #[cfg(feature = "sqlite")]
    Sqlite(Sqlite),
    #[cfg(feature = "postgres")]
    Postgres(Postgres),
}

/// Which database.
#[derive(Clone)]
pub(crate) enum Target {
    Sqlite(PathBuf),
    /// With its URL, which may hold a password.
    Postgres(String),
}

impl Target {
    /// Reads what `to` says.
    pub(crate) fn of(spec: &ReplicaSpec) -> Result<Self, ReplicaError> {
        let wrong = |what: &str| ReplicaError::Spec(what.to_owned());
        let (text, from_environment) = match spec.to.strip_prefix("env:") {
            None => (spec.to.clone(), false),
            Some(name) => {
                let value = std::env::var(name);
                (
                    value.map_err(|_| ReplicaError::Spec(format!("the variable {name} holds no URL of a database")))?,
                    true,
                )
            }
        };
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(wrong("sqlite: names no file")) } else { Ok(Target::Sqlite(path.into())) };
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(wrong("the database is sqlite:PATH, postgres://…, or env:NAME with either in it"));
        }
        let authority = text.split_once("://").map_or("", |(_, rest)| rest).split('/').next().unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        if user.contains(':') && !from_environment {
            return Err(wrong(
                "the URL of the database holds a password; name a file with passwordFile, or use env:NAME",
            ));
        }
        Ok(Target::Postgres(text))
    }
}

/// Calls the same of whichever database it is.
macro_rules! dispatch {
    ($store:expr, $of:ident => $call:expr) => {
        match $store {
            #[cfg(feature = "sqlite")]
            Store::Sqlite($of) => $call.await,
            #[cfg(feature = "postgres")]
            Store::Postgres($of) => $call.await,
        }
    };
}

impl Store {
    pub(crate) async fn open(target: &Target, spec: &ReplicaSpec, plan: &Plan) -> Result<Self, ReplicaError> {
        match target {
            #[cfg(feature = "sqlite")]
            Target::Sqlite(path) => {
                let _used_by_the_other = spec;
                Sqlite::open(path, plan).await.map(Store::Sqlite)
            }
            #[cfg(feature = "postgres")]
            Target::Postgres(url) => {
                Postgres::open(url, spec.password_file.as_deref(), plan).await.map(Store::Postgres)
            }
            #[allow(unreachable_patterns, reason = "with both features every target is there")]
            _ => {
                let _unused = (spec, plan);
                Err(ReplicaError::Spec("this program was built without that database".to_owned()))
            }
        }
    }

    /// Where the table is; `None`: nothing was brought there yet.
    pub(crate) async fn position(&mut self) -> Result<Option<String>, ReplicaError> {
        dispatch!(self, store => store.position())
    }

    /// A snapshot begins: what was staged before is forgotten.
    pub(crate) async fn stage_begin(&mut self) -> Result<(), ReplicaError> {
        dispatch!(self, store => store.stage_begin())
    }

    /// Rows of the snapshot.
    pub(crate) async fn stage(&mut self, rows: Vec<Mapped>) -> Result<(), ReplicaError> {
        dispatch!(self, store => store.stage(rows))
    }

    /// The snapshot is complete: the table becomes what was staged, in one transaction with the position. Rows that
    /// were not staged go, where `removes`.
    pub(crate) async fn merge(
        &mut self,
        to: Position,
        expected: Option<String>,
        removes: bool,
    ) -> Result<Applied, ReplicaError> {
        dispatch!(self, store => store.merge(to, expected, removes))
    }

    /// Changes, in one transaction with the position. A key is there once.
    pub(crate) async fn apply(
        &mut self,
        changes: Vec<Change>,
        to: Position,
        expected: Option<String>,
    ) -> Result<Applied, ReplicaError> {
        dispatch!(self, store => store.apply(changes, to, expected))
    }

    /// Rows of a list: those that are not there are put; the others too where `update`, or where their version is
    /// newer.
    pub(crate) async fn list(&mut self, rows: Vec<Mapped>, update: bool) -> Result<Applied, ReplicaError> {
        dispatch!(self, store => store.list(rows, update))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::spec::Column;

    #[track_caller]
    fn check(to: &str, expected: Result<&str, &str>) {
        let spec = ReplicaSpec::new("v", to, "t", vec![Column::new("k").from("$key")]);
        match (Target::of(&spec), expected) {
            (Ok(Target::Sqlite(path)), Ok(expected)) => assert_eq!(path, PathBuf::from(expected)),
            (Ok(Target::Postgres(url)), Ok(expected)) => assert_eq!(url, expected),
            (Err(error), Err(expected)) => {
                let told = error.to_string();
                assert!(told.contains(expected) && !told.contains("s3cret"), "{told}");
            }
            (found, _) => panic!("{to}: {}", found.err().map(|error| error.to_string()).unwrap_or_default()),
        }
    }

    #[test]
    fn databases_are_named_and_a_password_is_not_taken_from_what_others_see() {
        check("sqlite:/var/lib/a.db", Ok("/var/lib/a.db"));
        check("sqlite:///var/lib/a.db", Ok("/var/lib/a.db"));
        check("postgres://me@host:5432/db", Ok("postgres://me@host:5432/db"));
        check("postgres://me:s3cret@host/db", Err("holds a password"));
        check("env:THERE_IS_NO_SUCH_VARIABLE", Err("holds no URL"));
        check("mysql://x", Err("the database is"));
        check("sqlite:", Err("names no file"));
    }

    #[test]
    fn a_cursor_tells_its_position() {
        for (cursor, position) in [("12-5f", 12), ("12.3-5f", 12), ("12", 12), ("x", 0)] {
            assert_eq!(Position::of(cursor.to_owned()).position, position, "{cursor}");
        }
    }
}

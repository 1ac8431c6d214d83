//! A table of SQLite.
//!
//! # Invariants
//! - Rows and position change in one transaction. While a snapshot comes in, it lies in a temporary table, beside the one
//!   that is read.
//! - Statements run beside the asynchronous tasks.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Savepoint, ToSql, TransactionBehavior, params, params_from_iter,
};
use tokio::task::spawn_blocking;

use crate::replica::error::ReplicaError;
use crate::replica::row::{Change, Mapped};
use crate::replica::spec::{Kind, Plan, quoted};
use crate::replica::store::{Applied, Position};

/// How long another writer is waited for.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// Where replicas are.
const POSITIONS: &str = "CREATE TABLE IF NOT EXISTS tidings_positions (name TEXT PRIMARY KEY, view TEXT NOT NULL, \
    cursor TEXT NOT NULL, position INTEGER NOT NULL, synced_at TEXT NOT NULL)";

/// See the module.
pub(crate) struct Sqlite {
    /// Away while a statement runs.
    connection: Option<Connection>,
    plan: Plan,
}

fn failed(error: rusqlite::Error) -> ReplicaError {
    ReplicaError::Database(error.to_string())
}

/// The table's name as it stands in a statement.
fn table(plan: &Plan) -> String {
    plan.table.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".")
}

fn column_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Json | Kind::Timestamp => "TEXT",
        Kind::Integer | Kind::Boolean => "INTEGER",
        Kind::Real => "REAL",
    }
}

fn declared(plan: &Plan) -> String {
    let column = |(place, (column, _)): (usize, &(super::spec::Column, super::spec::Place))| {
        let mut text = format!("{} {}", quoted(&column.name), column_type(column.kind));
        if place == plan.key {
            text.push_str(" PRIMARY KEY");
        }
        if column.required || place == plan.key {
            text.push_str(" NOT NULL");
        }
        if column.unique && place != plan.key {
            text.push_str(" UNIQUE");
        }
        text
    };
    let columns: Vec<String> = plan.columns.iter().enumerate().map(column).collect();
    format!("CREATE TABLE IF NOT EXISTS {} ({})", table(plan), columns.join(", "))
}

fn columns(plan: &Plan) -> Vec<String> {
    plan.columns.iter().map(|(column, _)| quoted(&column.name)).collect()
}

/// Inserts, or updates what differs and is not newer.
fn upsert(plan: &Plan, source: &str, otherwise: Otherwise) -> String {
    let (table, columns, key) = (table(plan), columns(plan), quoted(plan.key_column()));
    let others: Vec<&String> = columns.iter().filter(|column| **column != key).collect();
    let head = format!("INSERT INTO {table} ({}) {source}", columns.join(", "));
    let version = plan.version.and_then(|place| columns.get(place));
    if others.is_empty() || (otherwise == Otherwise::Keep && version.is_none()) {
        return format!("{head} ON CONFLICT ({key}) DO NOTHING");
    }
    let set: Vec<String> = others.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    let differs: Vec<String> =
        others.iter().map(|column| format!("{table}.{column} IS NOT excluded.{column}")).collect();
    let mut only = format!("({})", differs.join(" OR "));
    if let Some(version) = version {
        only.push_str(&format!(
            " AND ({table}.{version} IS NULL OR excluded.{version} IS NULL OR {table}.{version} <= excluded.{version})"
        ));
    }
    format!("{head} ON CONFLICT ({key}) DO UPDATE SET {} WHERE {only}", set.join(", "))
}

/// What becomes of a row that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    /// It is brought to what is told, unless it is newer.
    Update,
    /// It stays, unless what is told has a newer version.
    Keep,
}

fn cell(kind: Kind, text: Option<&String>) -> Value {
    let Some(text) = text else { return Value::Null };
    let plain = || Value::Text(text.clone());
    match kind {
        Kind::Text | Kind::Json | Kind::Timestamp => plain(),
        Kind::Integer => text.parse().map_or_else(|_| plain(), Value::Integer),
        Kind::Real => text.parse().map_or_else(|_| plain(), Value::Real),
        Kind::Boolean => Value::Integer((text == "true").into()),
    }
}

fn key(plan: &Plan, key: &str) -> Value {
    let kind = plan.columns.get(plan.key).map_or(Kind::Text, |(column, _)| column.kind);
    cell(kind, Some(&key.to_owned()))
}

fn values(plan: &Plan, cells: &[Option<String>]) -> Vec<Value> {
    plan.columns.iter().zip(cells).map(|((column, _), text)| cell(column.kind, text.as_ref())).collect()
}

impl Sqlite {
    /// Opens the file, and makes what is not there.
    pub(crate) async fn open(path: &Path, plan: &Plan) -> Result<Self, ReplicaError> {
        let (path, declared, create) = (path.to_owned(), declared(plan), plan.create);
        let opened = spawn_blocking(move || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY_WAIT)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // A commit is on disk when it is told.
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.execute(POSITIONS, [])?;
            if create {
                connection.execute(&declared, [])?;
            }
            Ok(connection)
        });
        let connection = opened.await.map_err(|error| ReplicaError::Database(error.to_string()))?.map_err(failed)?;
        Ok(Sqlite { connection: Some(connection), plan: plan.clone() })
    }

    /// Runs beside the asynchronous tasks.
    async fn with<R: Send + 'static>(
        &mut self,
        run: impl FnOnce(&mut Connection, &Plan) -> Result<R, ReplicaError> + Send + 'static,
    ) -> Result<R, ReplicaError> {
        let lost = || ReplicaError::Database("its connection was lost".to_owned());
        let (mut connection, plan) = (self.connection.take().ok_or_else(lost)?, self.plan.clone());
        let done = spawn_blocking(move || {
            let result = run(&mut connection, &plan);
            (connection, result)
        });
        let (connection, result) = done.await.map_err(|_| lost())?;
        self.connection = Some(connection);
        result
    }

    pub(crate) async fn position(&mut self) -> Result<Option<String>, ReplicaError> {
        self.with(|connection, plan| cursor(connection, plan)).await
    }

    pub(crate) async fn stage_begin(&mut self) -> Result<(), ReplicaError> {
        self.with(|connection, plan| {
            let columns: Vec<String> = (0..plan.columns.len()).map(|place| format!("c{place}")).collect();
            let text = format!(
                "DROP TABLE IF EXISTS temp.tidings_staging; \
                 CREATE TEMP TABLE tidings_staging (k PRIMARY KEY, fit INTEGER NOT NULL, {})",
                columns.join(", ")
            );
            connection.execute_batch(&text).map_err(failed)
        })
        .await
    }

    pub(crate) async fn stage(&mut self, rows: Vec<Mapped>) -> Result<(), ReplicaError> {
        self.with(move |connection, plan| stage(connection, plan, &rows).map_err(failed)).await
    }

    pub(crate) async fn merge(
        &mut self,
        to: Position,
        expected: Option<String>,
        removes: bool,
    ) -> Result<Applied, ReplicaError> {
        self.with(move |connection, plan| merge(connection, plan, &to, expected.as_deref(), removes)).await
    }

    pub(crate) async fn apply(
        &mut self,
        changes: Vec<Change>,
        to: Position,
        expected: Option<String>,
    ) -> Result<Applied, ReplicaError> {
        self.with(move |connection, plan| apply(connection, plan, &changes, &to, expected.as_deref())).await
    }

    pub(crate) async fn list(&mut self, rows: Vec<Mapped>, update: bool) -> Result<Applied, ReplicaError> {
        self.with(move |connection, plan| {
            let otherwise = if update { Otherwise::Update } else { Otherwise::Keep };
            let changes: Vec<Change> = rows.into_iter().map(Change::Put).collect();
            let mut transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            let savepoint = transaction.savepoint().map_err(failed)?;
            let applied = each(savepoint, plan, &changes, otherwise)?;
            transaction.commit().map_err(failed)?;
            Ok(applied)
        })
        .await
    }
}

fn cursor(connection: &Connection, plan: &Plan) -> Result<Option<String>, ReplicaError> {
    let text = "SELECT cursor FROM tidings_positions WHERE name = ?1 AND view = ?2";
    connection.query_row(text, params![plan.name, plan.view], |row| row.get(0)).optional().map_err(failed)
}

/// Puts the position beside the rows, unless somebody else has.
fn advance(connection: &Connection, plan: &Plan, to: &Position, expected: Option<&str>) -> Result<(), ReplicaError> {
    if cursor(connection, plan)?.as_deref() != expected {
        return Err(ReplicaError::Overtaken);
    }
    let text = "INSERT INTO tidings_positions (name, view, cursor, position, synced_at) \
        VALUES (?1, ?2, ?3, ?4, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) \
        ON CONFLICT (name) DO UPDATE SET view = excluded.view, cursor = excluded.cursor, \
        position = excluded.position, synced_at = excluded.synced_at";
    let position = i64::try_from(to.position).unwrap_or(i64::MAX);
    connection.execute(text, params![plan.name, plan.view, to.cursor, position]).map_err(failed)?;
    Ok(())
}

fn stage(connection: &mut Connection, plan: &Plan, rows: &[Mapped]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let marks: Vec<&str> = std::iter::repeat_n("?", plan.columns.len() + 2).collect();
        let text = format!("INSERT OR REPLACE INTO temp.tidings_staging VALUES ({})", marks.join(", "));
        let mut statement = transaction.prepare_cached(&text)?;
        let nothing = vec![None; plan.columns.len()];
        for row in rows {
            let cells = row.cells.as_ref().unwrap_or(&nothing);
            let mut all = vec![key(plan, &row.key), Value::Integer(row.cells.is_ok().into())];
            all.extend(values(plan, cells));
            statement.execute(params_from_iter(all))?;
        }
    }
    transaction.commit()
}

fn merge(
    connection: &mut Connection,
    plan: &Plan,
    to: &Position,
    expected: Option<&str>,
    removes: bool,
) -> Result<Applied, ReplicaError> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    advance(&transaction, plan, to, expected)?;
    let mut applied = Applied::default();
    let (table, key) = (table(plan), quoted(plan.key_column()));
    if removes {
        let absent = format!("{key} NOT IN (SELECT k FROM temp.tidings_staging)");
        let at_once = || transaction.execute(&format!("DELETE FROM {table} WHERE {absent}"), []);
        match plan.on_delete.is_empty().then(at_once) {
            Some(Ok(gone)) => applied.removed += gone as u64,
            Some(Err(error)) if !is_refused(&error) => return Err(failed(error)),
            // What another table holds stays, and is counted.
            Some(Err(_)) | None => {
                let tasks = {
                    let text = format!("SELECT {key} FROM {table} WHERE {absent}");
                    let mut statement = transaction.prepare(&text).map_err(failed)?;
                    let keys = statement.query_map([], |row| row.get(0).map(Task::Remove)).map_err(failed)?;
                    keys.collect::<rusqlite::Result<_>>().map_err(failed)?
                };
                let savepoint = transaction.savepoint().map_err(failed)?;
                applied.add(&each_values(savepoint, plan, tasks, Otherwise::Update)?);
            }
        }
    }
    let staged: Vec<String> = (0..plan.columns.len()).map(|place| format!("c{place}")).collect();
    // "WHERE true" keeps the grammar from taking ON CONFLICT for a join's.
    let source = format!("SELECT {} FROM temp.tidings_staging WHERE fit = 1", staged.join(", "));
    let savepoint = transaction.savepoint().map_err(failed)?;
    match savepoint.execute(&upsert(plan, &source, Otherwise::Update), []) {
        Ok(put) => {
            applied.put += put as u64;
            savepoint.commit().map_err(failed)?;
        }
        Err(error) if is_refused(&error) => {
            drop(savepoint);
            let changes = staged_rows(&transaction, plan, &source).map_err(failed)?;
            let savepoint = transaction.savepoint().map_err(failed)?;
            applied.add(&each_values(savepoint, plan, changes, Otherwise::Update)?);
        }
        Err(error) => return Err(failed(error)),
    }
    transaction.commit().map_err(failed)?;
    // It is dropped with the connection anyway.
    let _left = connection.execute("DROP TABLE IF EXISTS temp.tidings_staging", []);
    Ok(applied)
}

/// The rows that were staged, as values.
fn staged_rows(connection: &Connection, plan: &Plan, source: &str) -> rusqlite::Result<Vec<Task>> {
    let mut statement = connection.prepare(source)?;
    let rows = statement.query_map([], |row| {
        let values: Vec<Value> =
            (0..plan.columns.len()).map(|place| row.get(place)).collect::<rusqlite::Result<_>>()?;
        Ok(Task::Put(values))
    })?;
    rows.collect()
}

fn apply(
    connection: &mut Connection,
    plan: &Plan,
    changes: &[Change],
    to: &Position,
    expected: Option<&str>,
) -> Result<Applied, ReplicaError> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    advance(&transaction, plan, to, expected)?;
    let savepoint = transaction.savepoint().map_err(failed)?;
    let applied = each(savepoint, plan, changes, Otherwise::Update)?;
    transaction.commit().map_err(failed)?;
    Ok(applied)
}

/// One thing to do.
enum Task {
    Put(Vec<Value>),
    Remove(Value),
}

fn each(
    savepoint: Savepoint<'_>,
    plan: &Plan,
    changes: &[Change],
    otherwise: Otherwise,
) -> Result<Applied, ReplicaError> {
    let tasks = changes.iter().filter_map(|change| match change {
        Change::Remove(removed) => Some(Task::Remove(key(plan, removed))),
        Change::Put(Mapped { cells, .. }) => cells.as_ref().ok().map(|cells| Task::Put(values(plan, cells))),
    });
    each_values(savepoint, plan, tasks.collect(), otherwise)
}

/// Does one thing after the other. What the database refuses is tried again behind the others: a name may be free
/// then. Rows that hold each other's are taken out first; what is refused even so is left out, and counted.
fn each_values(
    mut savepoint: Savepoint<'_>,
    plan: &Plan,
    tasks: Vec<Task>,
    otherwise: Otherwise,
) -> Result<Applied, ReplicaError> {
    let marks: Vec<&str> = std::iter::repeat_n("?", plan.columns.len()).collect();
    let text = upsert(plan, &format!("VALUES ({})", marks.join(", ")), otherwise);
    let (mut applied, mut waiting) = (Applied::default(), tasks);
    loop {
        let before = waiting.len();
        let mut refused = Vec::new();
        for task in waiting {
            let inner = savepoint.savepoint().map_err(failed)?;
            let done = match &task {
                Task::Put(values) => {
                    let put = || inner.prepare_cached(&text)?.execute(params_from_iter(values));
                    put().map(|count| applied.put += count as u64)
                }
                Task::Remove(key) => remove(&inner, plan, key).map(|count| applied.removed += count),
            };
            match done {
                Ok(()) => inner.commit().map_err(failed)?,
                Err(error) if is_refused(&error) => {
                    applied.reason = Some(error.to_string());
                    drop(inner);
                    refused.push(task);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        if refused.is_empty() {
            applied.reason = None;
            break;
        }
        if refused.len() == before {
            if swap(&mut savepoint, plan, &text, &refused).map_err(failed)? {
                applied.put += refused.len() as u64;
                applied.reason = None;
            } else {
                applied.refused += refused.len() as u64;
            }
            break;
        }
        waiting = refused;
    }
    savepoint.commit().map_err(failed)?;
    Ok(applied)
}

/// Puts rows that hold what each other want: all are taken out, and put again. Whether all could be; else nothing was
/// done.
fn swap(savepoint: &mut Savepoint<'_>, plan: &Plan, text: &str, tasks: &[Task]) -> rusqlite::Result<bool> {
    let delete = format!("DELETE FROM {} WHERE {} = ?1", table(plan), quoted(plan.key_column()));
    let inner = savepoint.savepoint()?;
    let done = || -> rusqlite::Result<()> {
        let puts = || {
            tasks.iter().filter_map(|task| match task {
                Task::Put(values) => Some(values),
                Task::Remove(_) => None,
            })
        };
        for values in puts() {
            inner.execute(&delete, params_from_iter(values.get(plan.key)))?;
        }
        for values in puts() {
            inner.execute(text, params_from_iter(values))?;
        }
        Ok(())
    };
    match done() {
        Ok(()) if tasks.iter().all(|task| matches!(task, Task::Put(_))) => inner.commit().map(|()| true),
        Ok(()) => Ok(false),
        Err(error) if is_refused(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes a row out, behind the statements that go before it.
fn remove(connection: &Connection, plan: &Plan, key: &Value) -> rusqlite::Result<u64> {
    for text in &plan.on_delete {
        let mut statement = connection.prepare_cached(text)?;
        let count = statement.parameter_count();
        let parameters: Vec<&dyn ToSql> = std::iter::repeat_n(key as &dyn ToSql, count).collect();
        statement.execute(parameters.as_slice())?;
    }
    let text = format!("DELETE FROM {} WHERE {} = ?1", table(plan), quoted(plan.key_column()));
    Ok(connection.prepare_cached(&text)?.execute([key])? as u64)
}

/// Whether the row is at fault, and not the database.
fn is_refused(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    )
}

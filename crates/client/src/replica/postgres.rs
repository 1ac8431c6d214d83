//! A table of PostgreSQL.
//!
//! # Invariants
//! - Rows and position change in one transaction, which holds the position's row: of two replicas of one table one
//!   waits, and then finds that it was overtaken.
//! - While a snapshot comes in, it lies in a temporary table, beside the one that is read.
//!
//! # Cost
//! A snapshot is copied and merged by a few statements, a batch of changes by two, whatever their number. What the
//! database refuses makes a batch go row by row.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::{Client, Config, NoTls, Transaction};

use crate::replica::error::ReplicaError;
use crate::replica::http::secret;
use crate::replica::row::{Change, Mapped};
use crate::replica::spec::{Kind, Plan, quoted};
use crate::replica::store::{Applied, Position};

/// How long a connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 64 * 1024;

/// Where replicas are.
const POSITIONS: &str = "CREATE TABLE IF NOT EXISTS tidings_positions (name TEXT PRIMARY KEY, view TEXT NOT NULL, \
    cursor TEXT NOT NULL, position BIGINT NOT NULL, synced_at TIMESTAMPTZ NOT NULL)";

/// The lock under which tables are made: two that begin at once would both make them.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8389772276738122611)";

/// See the module.
pub(crate) struct Postgres {
    client: Client,
    plan: Plan,
    /// The type of each column, as the database names it.
    types: Vec<String>,
}

fn failed(error: tokio_postgres::Error) -> ReplicaError {
    let told = error.as_db_error().map(|told| match told.detail() {
        Some(detail) => format!("{} ({detail})", told.message()),
        None => told.message().to_owned(),
    });
    ReplicaError::Database(told.unwrap_or_else(|| error.to_string()))
}

/// Whether the row is at fault, and not the database: classes 22, data, and 23, integrity.
fn is_refused(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("22") || code.code().starts_with("23"))
}

fn table(plan: &Plan) -> String {
    plan.table.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".")
}

fn columns(plan: &Plan) -> Vec<String> {
    plan.columns.iter().map(|(column, _)| quoted(&column.name)).collect()
}

fn column_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "TEXT",
        Kind::Integer => "BIGINT",
        Kind::Real => "DOUBLE PRECISION",
        Kind::Boolean => "BOOLEAN",
        Kind::Json => "JSONB",
        Kind::Timestamp => "TIMESTAMPTZ",
    }
}

fn declared(plan: &Plan) -> String {
    let column = |(place, (column, _)): (usize, &(super::spec::Column, super::spec::Place))| {
        let mut text = format!("{} {}", quoted(&column.name), column_type(column.kind));
        if place == plan.key {
            text.push_str(" PRIMARY KEY");
        } else if column.required {
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

impl Postgres {
    /// Connects, and makes what is not there.
    pub(crate) async fn open(url: &str, password: Option<&Path>, plan: &Plan) -> Result<Self, ReplicaError> {
        // The parser's own error may repeat the URL.
        let mut config: Config =
            url.parse().map_err(|_| ReplicaError::Spec("the URL of the database cannot be read".to_owned()))?;
        if let Some(file) = password {
            config.password(secret(file).await?);
        } else if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        config.connect_timeout(CONNECT_WAIT).application_name("tidings");
        let (mut client, connection) = config.connect(NoTls).await.map_err(failed)?;
        tokio::spawn(async move {
            // Whoever uses the client is told.
            let _ended = connection.await;
        });
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.batch_execute(LOCK).await.map_err(failed)?;
        transaction.batch_execute(POSITIONS).await.map_err(failed)?;
        if plan.create {
            transaction.batch_execute(&declared(plan)).await.map_err(failed)?;
        }
        let types = types(&transaction, plan).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(Postgres { client, plan: plan.clone(), types })
    }

    pub(crate) async fn position(&mut self) -> Result<Option<String>, ReplicaError> {
        let text = "SELECT cursor FROM tidings_positions WHERE name = $1 AND view = $2";
        let row = self.client.query_opt(text, &[&self.plan.name, &self.plan.view]).await.map_err(failed)?;
        Ok(row.map(|row| row.get(0)))
    }

    pub(crate) async fn stage_begin(&mut self) -> Result<(), ReplicaError> {
        let columns: Vec<String> = (0..self.plan.columns.len()).map(|place| format!("c{place} TEXT")).collect();
        let text = format!(
            "DROP TABLE IF EXISTS pg_temp.tidings_staging; \
             CREATE TEMP TABLE tidings_staging (k TEXT, fit BOOLEAN NOT NULL, {})",
            columns.join(", ")
        );
        self.client.batch_execute(&text).await.map_err(failed)
    }

    pub(crate) async fn stage(&mut self, rows: Vec<Mapped>) -> Result<(), ReplicaError> {
        let sink = self.client.copy_in::<_, Bytes>("COPY pg_temp.tidings_staging FROM STDIN").await.map_err(failed)?;
        let mut sink = pin!(sink);
        let mut out = BytesMut::with_capacity(COPY_BYTES * 2);
        for row in &rows {
            copied(&mut out, row, self.plan.columns.len());
            if out.len() >= COPY_BYTES {
                sink.send(out.split().freeze()).await.map_err(failed)?;
            }
        }
        sink.send(out.freeze()).await.map_err(failed)?;
        sink.finish().await.map_err(failed)?;
        Ok(())
    }

    pub(crate) async fn merge(
        &mut self,
        to: Position,
        expected: Option<String>,
        removes: bool,
    ) -> Result<Applied, ReplicaError> {
        let (plan, types) = (&self.plan, &self.types);
        self.client.batch_execute("ANALYZE pg_temp.tidings_staging").await.map_err(failed)?;
        let mut transaction = self.client.transaction().await.map_err(failed)?;
        advance(&transaction, plan, &to, expected.as_deref()).await?;
        let mut applied = Applied::default();
        if removes {
            let savepoint = transaction.transaction().await.map_err(failed)?;
            match remove_absent(&savepoint, plan, types).await {
                Ok(removed) => {
                    savepoint.commit().await.map_err(failed)?;
                    applied.removed = removed;
                }
                Err(error) if is_refused(&error) => {
                    savepoint.rollback().await.map_err(failed)?;
                    applied.add(&remove_absent_each(&mut transaction, plan, types).await?);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let cells: Vec<String> = types.iter().enumerate().map(|(place, kind)| format!("s.c{place}::{kind}")).collect();
        let source = format!("SELECT {} FROM pg_temp.tidings_staging s WHERE s.fit", cells.join(", "));
        let savepoint = transaction.transaction().await.map_err(failed)?;
        match savepoint.execute(&upsert(plan, types, &source, true), &[]).await {
            Ok(put) => {
                applied.put = put;
                savepoint.commit().await.map_err(failed)?;
            }
            Err(error) if is_refused(&error) => {
                savepoint.rollback().await.map_err(failed)?;
                let text = staged(plan);
                let rows = transaction.query(&text, &[]).await.map_err(failed)?;
                let tasks =
                    rows.iter().map(|row| Task::Put((0..plan.columns.len()).map(|place| row.get(place)).collect()));
                applied.add(&each(&mut transaction, plan, types, tasks.collect(), true).await?);
            }
            Err(error) => return Err(failed(error)),
        }
        transaction.commit().await.map_err(failed)?;
        // It is dropped with the connection anyway.
        let _left = self.client.batch_execute("DROP TABLE IF EXISTS pg_temp.tidings_staging").await;
        Ok(applied)
    }

    pub(crate) async fn apply(
        &mut self,
        changes: Vec<Change>,
        to: Position,
        expected: Option<String>,
    ) -> Result<Applied, ReplicaError> {
        let (plan, types) = (&self.plan, &self.types);
        let mut transaction = self.client.transaction().await.map_err(failed)?;
        advance(&transaction, plan, &to, expected.as_deref()).await?;
        let applied = at_once_or_each(&mut transaction, plan, types, changes, true).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(applied)
    }

    pub(crate) async fn list(&mut self, rows: Vec<Mapped>, update: bool) -> Result<Applied, ReplicaError> {
        let (plan, types) = (&self.plan, &self.types);
        let latest: BTreeMap<String, Mapped> = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        let changes = latest.into_values().map(Change::Put).collect();
        let mut transaction = self.client.transaction().await.map_err(failed)?;
        let applied = at_once_or_each(&mut transaction, plan, types, changes, update).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(applied)
    }
}

/// The types of the table's columns.
async fn types(transaction: &Transaction<'_>, plan: &Plan) -> Result<Vec<String>, ReplicaError> {
    // Without lengths: a cast to one cuts, where an assignment refuses.
    let text = "SELECT attname::text, CASE WHEN atttypid IN ('varchar'::regtype, 'bpchar'::regtype) THEN 'text' \
        ELSE format_type(atttypid, NULL) END FROM pg_attribute \
        WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
    let rows = transaction.query(text, &[&table(plan)]).await.map_err(failed)?;
    if rows.is_empty() {
        return Err(ReplicaError::Database(format!("there is no table {}", table(plan))));
    }
    let known: BTreeMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let kind = |(column, _): &(super::spec::Column, _)| {
        let absent = || ReplicaError::Database(format!("the table {} has no column '{}'", table(plan), column.name));
        known.get(&column.name).cloned().ok_or_else(absent)
    };
    plan.columns.iter().map(kind).collect()
}

/// Puts the position beside the rows, unless somebody else has.
async fn advance(
    transaction: &Transaction<'_>,
    plan: &Plan,
    to: &Position,
    expected: Option<&str>,
) -> Result<(), ReplicaError> {
    let position = i64::try_from(to.position).unwrap_or(i64::MAX);
    let made = "INSERT INTO tidings_positions (name, view, cursor, position, synced_at) VALUES ($1, $2, '', 0, now()) \
        ON CONFLICT (name) DO NOTHING";
    transaction.execute(made, &[&plan.name, &plan.view]).await.map_err(failed)?;
    let held = "SELECT CASE WHEN view = $2 THEN cursor ELSE '' END FROM tidings_positions WHERE name = $1 FOR UPDATE";
    let held: String = transaction.query_one(held, &[&plan.name, &plan.view]).await.map_err(failed)?.get(0);
    if held != expected.unwrap_or_default() {
        return Err(ReplicaError::Overtaken);
    }
    let text = "UPDATE tidings_positions SET view = $2, cursor = $3, position = $4, synced_at = now() WHERE name = $1";
    transaction.execute(text, &[&plan.name, &plan.view, &to.cursor, &position]).await.map_err(failed)?;
    Ok(())
}

/// A row as COPY takes it. One whose key no text can hold is in no table either.
fn copied(out: &mut BytesMut, row: &Mapped, columns: usize) {
    if row.key.contains('\0') {
        return;
    }
    escaped(out, &row.key);
    out.put_slice(if row.cells.is_ok() { b"\tt" } else { b"\tf" });
    match &row.cells {
        Ok(cells) => {
            for cell in cells {
                out.put_u8(b'\t');
                match cell {
                    Some(text) => escaped(out, text),
                    None => out.put_slice(b"\\N"),
                }
            }
        }
        Err(_) => (0..columns).for_each(|_| out.put_slice(b"\t\\N")),
    }
    out.put_u8(b'\n');
}

fn escaped(out: &mut BytesMut, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            other => out.put_u8(other),
        }
    }
}

/// Inserts, or updates what differs and is not newer; where not `update`, only what is older.
fn upsert(plan: &Plan, types: &[String], source: &str, update: bool) -> String {
    let (table, columns, key) = (table(plan), columns(plan), quoted(plan.key_column()));
    let others: Vec<(&String, &String)> = columns.iter().zip(types).filter(|(column, _)| **column != key).collect();
    let head = format!("INSERT INTO {table} AS t ({}) {source}", columns.join(", "));
    let version = plan.version.and_then(|place| columns.get(place));
    if others.is_empty() || (!update && version.is_none()) {
        return format!("{head} ON CONFLICT ({key}) DO NOTHING");
    }
    let set: Vec<String> = others.iter().map(|(column, _)| format!("{column} = EXCLUDED.{column}")).collect();
    // json has no equality.
    let as_text = |kind: &str| if matches!(kind, "json" | "xml" | "point") { "::text" } else { "" };
    let differs: Vec<String> = others
        .iter()
        .map(|(column, kind)| {
            let cast = as_text(kind);
            format!("t.{column}{cast} IS DISTINCT FROM EXCLUDED.{column}{cast}")
        })
        .collect();
    let mut only = format!("({})", differs.join(" OR "));
    if let Some(version) = version {
        only.push_str(&format!(
            " AND (t.{version} IS NULL OR EXCLUDED.{version} IS NULL OR t.{version} <= EXCLUDED.{version})"
        ));
    }
    format!("{head} ON CONFLICT ({key}) DO UPDATE SET {} WHERE {only}", set.join(", "))
}

fn staged(plan: &Plan) -> String {
    let cells: Vec<String> = (0..plan.columns.len()).map(|place| format!("c{place}")).collect();
    format!("SELECT {} FROM pg_temp.tidings_staging WHERE fit", cells.join(", "))
}

fn key_type<'a>(plan: &Plan, types: &'a [String]) -> &'a str {
    types.get(plan.key).map_or("text", String::as_str)
}

/// The rows that were not staged.
fn absent(plan: &Plan, types: &[String]) -> String {
    let (key, kind) = (quoted(plan.key_column()), key_type(plan, types));
    format!("NOT EXISTS (SELECT 1 FROM pg_temp.tidings_staging s WHERE s.k::{kind} = t.{key})")
}

/// Their keys.
async fn absent_keys(
    transaction: &Transaction<'_>,
    plan: &Plan,
    types: &[String],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let (table, key, absent) = (table(plan), quoted(plan.key_column()), absent(plan, types));
    let keys = transaction.query(&format!("SELECT t.{key}::text FROM {table} t WHERE {absent}"), &[]).await?;
    Ok(keys.iter().filter_map(|row| row.get(0)).collect())
}

/// Takes out what was not staged.
async fn remove_absent(
    transaction: &Transaction<'_>,
    plan: &Plan,
    types: &[String],
) -> Result<u64, tokio_postgres::Error> {
    if !plan.on_delete.is_empty() {
        let keys = absent_keys(transaction, plan, types).await?;
        before_delete(transaction, plan, types, &keys).await?;
    }
    let (table, absent) = (table(plan), absent(plan, types));
    transaction.execute(&format!("DELETE FROM {table} t WHERE {absent}"), &[]).await
}

/// Likewise, where a key is none of the table's type, or a row is held by another table: the key is passed over, since
/// no row has it, and the row stays, and is counted.
async fn remove_absent_each(
    transaction: &mut Transaction<'_>,
    plan: &Plan,
    types: &[String],
) -> Result<Applied, ReplicaError> {
    let kind = key_type(plan, types);
    let text = format!(
        "CREATE OR REPLACE FUNCTION pg_temp.tidings_is_key(k text) RETURNS boolean LANGUAGE plpgsql AS $f$ \
         BEGIN PERFORM k::{kind}; RETURN true; \
         EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN RETURN false; END $f$; \
         UPDATE pg_temp.tidings_staging SET k = NULL WHERE NOT pg_temp.tidings_is_key(k)"
    );
    transaction.batch_execute(&text).await.map_err(failed)?;
    let keys = absent_keys(transaction, plan, types).await.map_err(failed)?;
    each(transaction, plan, types, keys.into_iter().map(Task::Remove).collect(), true).await
}

/// Executes the statements that go before deletions.
async fn before_delete(
    transaction: &Transaction<'_>,
    plan: &Plan,
    types: &[String],
    keys: &[String],
) -> Result<(), tokio_postgres::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let kind = key_type(plan, types);
    for text in &plan.on_delete {
        // The key comes as a text, whatever it is compared with.
        let text = text.replace("$1", &format!("($1::text::{kind})"));
        let statement = transaction.prepare(&text).await?;
        for key in keys {
            if statement.params().is_empty() {
                transaction.execute(&statement, &[]).await?;
            } else {
                transaction.execute(&statement, &[key]).await?;
            }
        }
    }
    Ok(())
}

/// One thing to do: cells to be put, or a key to be removed.
enum Task {
    Put(Vec<Option<String>>),
    Remove(String),
}

async fn at_once_or_each(
    transaction: &mut Transaction<'_>,
    plan: &Plan,
    types: &[String],
    changes: Vec<Change>,
    update: bool,
) -> Result<Applied, ReplicaError> {
    let tasks: Vec<Task> = changes
        .into_iter()
        .filter_map(|change| match change {
            // A key that no text can hold is in no table.
            Change::Remove(key) => Some(key).filter(|key| !key.contains('\0')).map(Task::Remove),
            Change::Put(Mapped { cells, .. }) => cells.ok().map(Task::Put),
        })
        .collect();
    let savepoint = transaction.transaction().await.map_err(failed)?;
    match at_once(&savepoint, plan, types, &tasks, update).await {
        Ok(applied) => {
            savepoint.commit().await.map_err(failed)?;
            Ok(applied)
        }
        Err(error) if is_refused(&error) => {
            savepoint.rollback().await.map_err(failed)?;
            each(transaction, plan, types, tasks, update).await
        }
        Err(error) => Err(failed(error)),
    }
}

/// Does all things by two statements: removals first, since what they held may be wanted.
async fn at_once(
    transaction: &Transaction<'_>,
    plan: &Plan,
    types: &[String],
    tasks: &[Task],
    update: bool,
) -> Result<Applied, tokio_postgres::Error> {
    let mut applied = Applied::default();
    let removed: Vec<String> = tasks
        .iter()
        .filter_map(|task| match task {
            Task::Remove(key) => Some(key.clone()),
            Task::Put(_) => None,
        })
        .collect();
    if !removed.is_empty() {
        applied.removed = remove(transaction, plan, types, &removed).await?;
    }
    let puts: Vec<&Vec<Option<String>>> = tasks
        .iter()
        .filter_map(|task| match task {
            Task::Put(cells) => Some(cells),
            Task::Remove(_) => None,
        })
        .collect();
    if !puts.is_empty() {
        let lists: Vec<Vec<Option<&str>>> = (0..plan.columns.len())
            .map(|place| puts.iter().map(|cells| cells.get(place).and_then(Option::as_deref)).collect())
            .collect();
        applied.put = transaction.execute(&unnested(plan, types, update), &parameters(&lists)).await?;
    }
    Ok(applied)
}

/// Puts rows of lists, one a column.
fn unnested(plan: &Plan, types: &[String], update: bool) -> String {
    let lists: Vec<String> = (1..=types.len()).map(|place| format!("${place}::text[]")).collect();
    let names: Vec<String> = (0..types.len()).map(|place| format!("c{place}")).collect();
    let cells: Vec<String> = types.iter().enumerate().map(|(place, kind)| format!("s.c{place}::{kind}")).collect();
    let source = format!("SELECT {} FROM unnest({}) AS s({})", cells.join(", "), lists.join(", "), names.join(", "));
    upsert(plan, types, &source, update)
}

type Parameter<'a> = &'a (dyn tokio_postgres::types::ToSql + Sync);

fn parameters<'a>(lists: &'a [Vec<Option<&'a str>>]) -> Vec<Parameter<'a>> {
    lists.iter().map(|list| list as Parameter<'a>).collect()
}

async fn remove(
    transaction: &Transaction<'_>,
    plan: &Plan,
    types: &[String],
    keys: &[String],
) -> Result<u64, tokio_postgres::Error> {
    before_delete(transaction, plan, types, keys).await?;
    let (table, key, kind) = (table(plan), quoted(plan.key_column()), key_type(plan, types));
    let text = format!("DELETE FROM {table} WHERE {key} = ANY (SELECT unnest($1::text[])::{kind})");
    transaction.execute(&text, &[&keys]).await
}

/// Does one thing after the other. What the database refuses is tried again behind the others: a name may be free
/// then. Rows that hold each other's are taken out together; what is refused even so is left out, and counted.
async fn each(
    transaction: &mut Transaction<'_>,
    plan: &Plan,
    types: &[String],
    tasks: Vec<Task>,
    update: bool,
) -> Result<Applied, ReplicaError> {
    let (mut applied, mut waiting) = (Applied::default(), tasks);
    loop {
        let before = waiting.len();
        let mut refused = Vec::new();
        for task in waiting {
            let savepoint = transaction.transaction().await.map_err(failed)?;
            match at_once(&savepoint, plan, types, std::slice::from_ref(&task), update).await {
                Ok(done) => {
                    savepoint.commit().await.map_err(failed)?;
                    applied.add(&done);
                }
                Err(error) if is_refused(&error) => {
                    savepoint.rollback().await.map_err(failed)?;
                    applied.reason = Some(failed(error).to_string());
                    refused.push(task);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        if refused.is_empty() {
            applied.reason = None;
            return Ok(applied);
        }
        if refused.len() == before {
            let savepoint = transaction.transaction().await.map_err(failed)?;
            match swap(&savepoint, plan, types, &refused, update).await {
                Ok(put) => {
                    savepoint.commit().await.map_err(failed)?;
                    applied.put += put;
                    applied.reason = None;
                }
                Err(error) if is_refused(&error) => {
                    savepoint.rollback().await.map_err(failed)?;
                    applied.refused += refused.len() as u64;
                }
                Err(error) => return Err(failed(error)),
            }
            return Ok(applied);
        }
        waiting = refused;
    }
}

/// Puts rows that hold what each other want: all are taken out, and put again.
async fn swap(
    transaction: &Transaction<'_>,
    plan: &Plan,
    types: &[String],
    tasks: &[Task],
    update: bool,
) -> Result<u64, tokio_postgres::Error> {
    let key_of = |task: &Task| match task {
        Task::Put(cells) => cells.get(plan.key).cloned().flatten(),
        Task::Remove(_) => None,
    };
    let keys: Vec<String> = tasks.iter().filter_map(key_of).collect();
    let (table, key, kind) = (table(plan), quoted(plan.key_column()), key_type(plan, types));
    let text = format!("DELETE FROM {table} WHERE {key} = ANY (SELECT unnest($1::text[])::{kind})");
    transaction.execute(&text, &[&keys]).await?;
    at_once(transaction, plan, types, tasks, update).await.map(|applied| applied.put)
}

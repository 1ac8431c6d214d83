//! `tidings view sync`: a view kept in a table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use client::replica::{Column, Endpoint, Kind, Replica, ReplicaCounts, ReplicaSpec, ReplicaState};
use serde_json::json;
use tokio::time::{Instant, interval};

use crate::cli::client::Reach;
use crate::cli::failure::Failure;
use crate::cli::output::{Out, Show, number};
use crate::cli::units::Span;

pub const EXAMPLES: &str = "Examples:
  tidings view sync --view users --to sqlite:users.db --table user_cache --column 'user_id=$key' --column username \\
      --column display_name
  tidings view sync --view users --to postgres://app@localhost/app --password-file pw --table user_cache \\
      --column 'user_id=$key' --column username:text:unique --column version:integer --version version \\
      --on-delete 'UPDATE namespaces SET owner_id = NULL WHERE owner_id = $1'
  tidings view sync -f users.yaml --once

A column is NAME[=PLACE][:TYPE][:required][:unique]; a PLACE is one in the value, or $key, $value, $position, $time,
$version; a TYPE is text, integer, real, boolean, json or timestamp.";

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(2);

/// Flags of `tidings view sync`.
#[derive(Debug, clap::Args)]
pub struct SyncArgs {
    /// A file (YAML) that says all of this
    #[arg(long = "file", short = 'f', value_name = "FILE", conflicts_with_all = ["view", "to", "table", "columns"])]
    file: Option<PathBuf>,
    /// The view
    #[arg(long, required_unless_present = "file")]
    view: Option<String>,
    /// The database: sqlite:PATH, postgres://USER@HOST/DATABASE, or env:NAME, a variable with either in it
    #[arg(long, value_name = "URL", required_unless_present = "file")]
    to: Option<String>,
    /// A file with the database's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The table; what is in it is what the view holds
    #[arg(long, required_unless_present = "file")]
    table: Option<String>,
    /// A column; may be repeated
    #[arg(long = "column", value_name = "COLUMN", required_unless_present = "file")]
    columns: Vec<String>,
    /// The column of the key [default: the one that holds $key]
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
    /// The column of the version: a row does not give way to one with a lower
    #[arg(long, value_name = "COLUMN")]
    version: Option<String>,
    /// A statement that goes before a deletion, in its transaction; $1 is the key; may be repeated
    #[arg(long, value_name = "SQL")]
    on_delete: Vec<String>,
    /// Make no table
    #[arg(long)]
    no_create: bool,
    /// How often the whole table is compared with the view; 0s: never [default: 1h]
    #[arg(long, value_name = "SPAN")]
    reconcile: Option<Span>,
    /// A URL with a JSON list of rows that the view may lack
    #[arg(long, value_name = "URL")]
    startup_url: Option<String>,
    /// The header that carries the secret of that URL
    #[arg(long, value_name = "NAME", requires_all = ["startup_url", "startup_secret_file"])]
    startup_header: Option<String>,
    /// A file with that secret
    #[arg(long, value_name = "FILE", requires = "startup_header")]
    startup_secret_file: Option<PathBuf>,
    /// End once the table is what the view is
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Does it.
pub fn run(args: &SyncArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::usage(format!("cannot start threads: {error}"), "see ulimit -u"))?;
    let spec = spec(args)?;
    runtime.block_on(keep(spec, args))
}

fn spec(args: &SyncArgs) -> Result<ReplicaSpec, Failure> {
    let mut spec = match &args.file {
        Some(file) => read(file)?,
        None => {
            let columns = args.columns.iter().map(|text| column(text)).collect::<Result<Vec<_>, _>>()?;
            let text = |flag: &Option<String>| flag.clone().unwrap_or_default();
            ReplicaSpec::new(text(&args.view), text(&args.to), text(&args.table), columns)
        }
    };
    if args.file.is_none() || args.reach.server != "http://127.0.0.1:7070" {
        spec.server.clone_from(&args.reach.server);
    }
    if !spec.server.contains("://") {
        spec.server = format!("http://{}", spec.server);
    }
    spec.token_file = args.reach.token_file.clone().or(spec.token_file);
    spec.ca_file = args.reach.ca.clone().or(spec.ca_file);
    spec.password_file = args.password_file.clone().or(spec.password_file);
    spec.key = args.key.clone().or(spec.key);
    spec.version = args.version.clone().or(spec.version);
    spec.on_delete.extend(args.on_delete.iter().cloned());
    spec.create &= !args.no_create;
    if let Some(Span(every)) = args.reconcile {
        spec.reconcile = every;
    }
    if let Some(url) = &args.startup_url {
        spec.startup = Some(Endpoint {
            url: url.clone(),
            list: None,
            key: None,
            header: args.startup_header.clone(),
            secret_file: args.startup_secret_file.clone(),
            timeout: Duration::from_secs(30),
        });
    }
    Ok(spec)
}

fn read(file: &Path) -> Result<ReplicaSpec, Failure> {
    let refused = |what: String| Failure::usage(format!("{}: {what}", file.display()), "see docs/views.md");
    let text = std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| refused(error.to_string()))
}

/// `NAME[=PLACE][:TYPE][:required][:unique]`.
fn column(text: &str) -> Result<Column, Failure> {
    let refused = |what: String| {
        Failure::usage(format!("--column '{text}': {what}"), "write it as in --column 'user_id=$key:text:required'")
    };
    let mut words = text.split(':');
    let head = words.next().unwrap_or_default();
    let mut column = match head.split_once('=') {
        Some((name, place)) => Column::new(name).from(place),
        None => Column::new(head),
    };
    for word in words {
        column.kind = match word {
            "text" => Kind::Text,
            "integer" => Kind::Integer,
            "real" => Kind::Real,
            "boolean" => Kind::Boolean,
            "json" => Kind::Json,
            "timestamp" => Kind::Timestamp,
            "required" => {
                column.required = true;
                continue;
            }
            "unique" => {
                column.unique = true;
                continue;
            }
            other => return Err(refused(format!("'{other}' is neither a type, nor required, nor unique"))),
        };
    }
    Ok(column)
}

async fn keep(spec: ReplicaSpec, args: &SyncArgs) -> Result<(), Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::usage(error.to_string(), "see tidings view sync --help");
    let replica = Replica::start(spec).map_err(|error| refused(&error))?;
    let (mut states, mut progress, mut out) = (replica.states(), interval(PROGRESS), Out::new());
    let (mut told, mut said, began) = (String::new(), ReplicaCounts::default(), Instant::now());
    loop {
        let state = states.borrow_and_update().clone();
        let line = match &state {
            ReplicaState::Connecting => String::from("connecting"),
            ReplicaState::Loading { rows, of } if of > rows => {
                format!("loading: {} of {} rows", number(*rows), number(*of))
            }
            ReplicaState::Loading { rows, .. } => format!("loading: {} rows", number(*rows)),
            ReplicaState::Following { .. } => String::from("following"),
            ReplicaState::Away { reason, .. } => {
                format!("warning: {reason}; the table stays as it is, and is tried again")
            }
            ReplicaState::Ended(Some(error)) => return Err(refused(error)),
            ReplicaState::Ended(None) => break,
        };
        if line != told {
            eprintln!("{line}");
            told = line;
        }
        if args.once && matches!(state, ReplicaState::Following { .. }) {
            break;
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() {
                break;
            },
            _ = tokio::signal::ctrl_c() => break,
            _ = progress.tick() => {
                let counts = replica.counts();
                if counts != said && matches!(state, ReplicaState::Following { .. }) {
                    report(&counts, &said);
                    said = counts;
                }
            }
        }
    }
    let position = match replica.state() {
        ReplicaState::Following { position } => Some(position),
        _ => None,
    };
    let counts = replica.close().await;
    if args.show.json {
        let text = json!({
            "position": position, "received": counts.received, "put": counts.put, "removed": counts.removed,
            "unfit": counts.unfit, "refused": counts.refused, "reason": counts.reason, "listed": counts.listed,
            "snapshots": counts.snapshots, "transactions": counts.transactions, "away": counts.away,
            "seconds": began.elapsed().as_secs_f64(),
        });
        out.document(text.to_string().as_bytes())?;
    } else {
        let position = position.map(|position| format!(" at position {position}")).unwrap_or_default();
        let (put, removed) = (number(counts.put), number(counts.removed));
        let seconds = began.elapsed().as_secs_f64();
        out.line(format!("{put} rows put, {removed} removed{position}, in {seconds:.1} s"))?;
    }
    out.flush()
}

/// Tells what was done, and what was left out and why.
fn report(counts: &ReplicaCounts, before: &ReplicaCounts) {
    let (put, removed) = (number(counts.put), number(counts.removed));
    eprintln!("{put} rows put, {removed} removed, in {} transactions", number(counts.transactions));
    let left_out = counts.unfit + counts.refused;
    if left_out > before.unfit + before.refused || counts.reason != before.reason {
        let reason = counts.reason.as_deref().unwrap_or_default();
        eprintln!("warning: {} rows are left out; the last reason: {reason}", number(left_out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_one_word() {
        let full = column("age=person.age:integer:required").unwrap();
        assert_eq!((full.name.as_str(), full.from.as_deref()), ("age", Some("person.age")));
        assert_eq!((full.kind, full.required, full.unique), (Kind::Integer, true, false));
        assert_eq!(column("name").unwrap(), Column::new("name"));
        assert!(column("name:varchar").is_err());
    }
}

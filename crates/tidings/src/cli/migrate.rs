//! `tidings migrate`: copies a data directory, while no node runs on it, to a NATS cluster.
//!
//! A move that stopped goes on when it is asked for again. Nothing is changed in the directory.

use std::path::PathBuf;

use host::migrate::{Address, MoveError, Moved, Target};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::failure::{Failure, Problem};
use super::output::{Out, Show, number, safe};

/// Flags of `tidings migrate`.
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    /// The data directory of a node that does not run
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The servers, as nats://host:4222[,host2…]
    #[arg(long, value_name = "URL")]
    to: Address,
    /// Copies of each stream
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: u8,
    /// What lets us in at the servers: see serve --engine-creds
    #[arg(long, value_name = "FILE", env = "TIDINGS_ENGINE_CREDS")]
    engine_creds: Option<PathBuf>,
    #[command(flatten)]
    show: Show,
}

/// Copies, and says what is there now.
pub fn run(args: MigrateArgs) -> Result<(), Failure> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template("{msg}  {bar:30} {pos} of {len} messages  {per_sec}  {eta}") {
        bar.set_style(style);
    }
    let to = Target { servers: args.to.clone(), replicas: args.replicas, creds: args.engine_creds.clone() };
    let shown = bar.clone();
    let moved = host::migrate::migrate(&args.from, to, move |progress| {
        shown.set_length(progress.total);
        shown.set_position(progress.done);
        shown.set_message(safe(&progress.stream));
    });
    bar.finish_and_clear();
    let moved = moved.map_err(|error| refused(&error))?;
    let mut out = Out::new();
    match args.show.json {
        true => out.document(document(&moved).to_string().as_bytes())?,
        false => told(&args, &moved, &mut out)?,
    }
    out.flush()
}

fn refused(error: &MoveError) -> Failure {
    let hint = match error {
        MoveError::Source { .. } => "stop the node that uses it, and name its directory, the one of serve --data",
        MoveError::Target(_) => "see docs/scale.md",
        MoveError::Stopped(_) => "what was copied stays; see to the cause and run it again: it goes on from there",
    };
    Failure::Refused(Problem {
        title: String::from("the data was not moved"),
        detail: error.to_string(),
        hint: Some(hint.to_owned()),
        ..Problem::default()
    })
}

fn told(args: &MigrateArgs, moved: &[Moved], out: &mut Out) -> Result<(), Failure> {
    let rows = moved.iter().map(|moved| {
        vec![
            safe(&moved.stream),
            number(moved.copied),
            number(moved.messages.1),
            number(moved.last.1),
            number(moved.gaps),
            number(moved.consumers),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    out.table(&["STREAM", "COPIED", "MESSAGES", "LAST", "GAPS", "CONSUMERS"], &[1, 2, 3, 4, 5], rows)?;
    out.line(format!("every stream has as many messages at {} as here", args.to))
}

fn document(moved: &[Moved]) -> Value {
    let streams = moved.iter().map(|moved| {
        json!({
            "stream": moved.stream, "copied": moved.copied, "messages": moved.messages.1, "last": moved.last.1,
            "gaps": moved.gaps, "consumers": moved.consumers,
        })
    });
    json!({ "streams": streams.collect::<Vec<Value>>() })
}

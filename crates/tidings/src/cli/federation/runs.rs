//! What subscriptions did: each call of a plugin.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::{Client, Reach};
use super::super::failure::Failure;
use super::super::form::{Form, Row, Theirs, cell, whole_seconds};
use super::super::output::{preview, safe};
use super::{about, hinted};

pub const EXAMPLES: &str = "Examples:
  tidings subscription runs
  tidings subscription runs --subscription cloud-claims --status dead
  tidings fed subscription runs --subscription EventSubscription/cloud-claims -o json --compat routerd";

/// What the word for subscriptions is, before their names.
const KIND: &str = "EventSubscription/";
/// Longest error in a table, in characters; routerd cuts there too.
const ERROR_CHARS: usize = 60;
/// Where a subscription is missing.
const HINT: &str = "see what is declared: tidings get EventSubscription";

/// Flags of `tidings subscription runs`.
#[derive(Debug, clap::Args)]
pub struct RunsArgs {
    /// Only this subscription: its name, or EventSubscription/NAME
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
    /// Only runs with this fact
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Only what came out so
    #[arg(long, value_name = "STATUS", value_enum)]
    status: Option<Status>,
    /// Most runs: the newest
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Status {
    /// It waits, or is under way
    Pending,
    /// It gave a result
    Succeeded,
    /// It failed and is tried again
    Failed,
    /// It failed for the last time
    Dead,
}

#[derive(Debug, Deserialize)]
struct Listed {
    runs: Vec<Run>,
}

/// A run as the node tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Run {
    run: Value,
    subscription: String,
    event_ids: Vec<String>,
    event_group: String,
    plugin: String,
    status: String,
    attempts: u64,
    started_at: Option<String>,
    completed_at: Option<String>,
    dynamic_source: Option<String>,
    dynamic_generation: Option<u64>,
    error: Option<String>,
}

/// Lists runs.
pub fn run(args: &RunsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let name = args.subscription.as_deref().map(|name| name.strip_prefix(KIND).unwrap_or(name));
    let status = args.status.map(|status| format!("{status:?}").to_ascii_lowercase());
    let request = about(&["runs"])
        .query_if("subscription", name)
        .query_if("event", args.event_id.as_ref())
        .query_if("status", status)
        .query_if("limit", args.limit);
    let answer = client.ask(&request).map_err(hinted(HINT))?;
    let runs = serde_json::from_slice::<Listed>(&answer).map_err(Failure::strange)?.runs;
    let form = &args.form;
    form.show(
        &answer,
        || Theirs::Go(runs.iter().flat_map(Run::go).collect()),
        |out| {
            if form.is_routerd() {
                let header = [
                    "ID",
                    "SUBSCRIPTION",
                    "EVENT_ID",
                    "GROUP",
                    "PLUGIN",
                    "STATUS",
                    "ATTEMPTS",
                    "STARTED",
                    "COMPLETED",
                    "ERROR",
                ];
                return out.table(&header, &[], runs.iter().flat_map(Run::go_cells).collect());
            }
            if runs.is_empty() {
                eprintln!("no subscription has run; see what is declared: tidings get EventSubscription");
                return Ok(());
            }
            let header = [
                "RUN",
                "SUBSCRIPTION",
                "EVENTS",
                "GROUP",
                "PLUGIN",
                "STATUS",
                "ATTEMPTS",
                "STARTED",
                "COMPLETED",
                "PART",
                "ERROR",
            ];
            out.table(&header, &[6], runs.iter().map(|run| run.row(form)).collect())
        },
    )
}

impl Run {
    fn key(&self) -> String {
        format!("{KIND}{}", self.subscription.strip_prefix(KIND).unwrap_or(&self.subscription))
    }

    fn number(&self) -> String {
        self.run.as_str().map_or_else(|| self.run.to_string(), safe)
    }

    fn go_status(&self) -> &str {
        if self.status == "dead" { "failed" } else { &self.status }
    }

    /// One record for each fact: routerd records runs so.
    fn go(&self) -> Vec<Row> {
        let time = |time: &Option<String>| json!(time.as_deref().map(whole_seconds).unwrap_or_default());
        let text = |text: &Option<String>| json!(text.as_deref().unwrap_or_default());
        let record = |event: &String| {
            Row(vec![
                ("ID", self.run.clone()),
                ("Subscription", json!(self.key())),
                ("EventID", json!(event)),
                ("EventGroup", json!(self.event_group)),
                ("Plugin", json!(self.plugin)),
                ("Status", json!(self.go_status())),
                ("Attempts", json!(self.attempts)),
                ("StartedAt", time(&self.started_at)),
                ("CompletedAt", time(&self.completed_at)),
                ("DynamicSource", text(&self.dynamic_source)),
                ("DynamicGeneration", json!(self.dynamic_generation.unwrap_or_default())),
                ("Error", text(&self.error)),
            ])
        };
        self.event_ids.iter().map(record).collect()
    }

    fn go_cells(&self) -> Vec<Vec<String>> {
        let time = |time: &Option<String>| safe(&time.as_deref().map(whole_seconds).unwrap_or_default());
        let error = self.error.as_deref().unwrap_or_default();
        let error = match error.char_indices().nth(ERROR_CHARS) {
            Some(_) => format!("{}...", safe(&error.chars().take(ERROR_CHARS - 3).collect::<String>())),
            None => safe(error),
        };
        let record = |event: &String| {
            let mut row = vec![self.number(), safe(&self.key()), safe(event), safe(&self.event_group)];
            row.extend([safe(&self.plugin), safe(self.go_status()), self.attempts.to_string()]);
            row.extend([time(&self.started_at), time(&self.completed_at), error.clone()]);
            row
        };
        self.event_ids.iter().map(record).collect()
    }

    fn row(&self, form: &Form) -> Vec<String> {
        let events = match self.event_ids.as_slice() {
            [] => "-".to_owned(),
            [one] => safe(one),
            [first, rest @ ..] => format!("{} and {} more", safe(first), rest.len()),
        };
        let mut row = vec![self.number(), safe(&self.subscription), events, cell(&self.event_group)];
        row.extend([safe(&self.plugin), safe(&self.status), self.attempts.to_string()]);
        row.extend([form.moment(self.started_at.as_deref()), form.moment(self.completed_at.as_deref())]);
        row.push(cell(self.dynamic_source.as_deref().unwrap_or_default()));
        row.push(cell(&preview(self.error.as_deref().unwrap_or_default(), ERROR_CHARS)));
        row
    }
}

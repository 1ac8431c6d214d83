//! `tidings plugin`: plugins as declared, and runs of them by hand.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Reach, Request};
use super::dynamic::{self, Part};
use super::failure::Failure;
use super::federation::hinted;
use super::form::{Form, Row, Theirs, cell};
use super::output::{Colour, Out, safe};

const LIST_EXAMPLES: &str = "Examples:
  tidings plugin list
  tidings plugin list -o yaml";

const RUN_EXAMPLES: &str = "Examples:
  tidings plugin run claims --group cloudedge --dry-run       # what would be derived from the facts that hold
  tidings plugin run claims --group cloudedge --event seen-1 --dry-run";

/// Where a plugin is missing.
const HINT: &str = "see the plugins there are: tidings plugin list; declare one with: tidings apply -f FILE";
/// Longest run that is waited for: beyond any timeout that a plugin is given in earnest.
const RUN_WAIT: Duration = Duration::from_secs(600);

/// What can be done with plugins.
#[derive(Debug, clap::Subcommand)]
pub enum PluginCommand {
    /// List the plugins as declared
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Run a plugin on the facts that hold, and show what it derives
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
}

/// Flags of `tidings plugin list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings plugin run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The plugin
    name: String,
    /// Show what would be derived, and derive nothing
    #[arg(long)]
    dry_run: bool,
    /// The group whose facts it is given
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only this fact
    #[arg(long, value_name = "ID", requires = "group")]
    event: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Deserialize)]
struct Listed {
    plugins: Vec<Plugin>,
}

/// A plugin as the node tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Plugin {
    name: String,
    executable: String,
    timeout: Value,
    capabilities: Vec<String>,
    triggers: Vec<Value>,
    runs: u64,
    failed: u64,
    last_run_at: Option<String>,
    problem: Option<String>,
}

/// What a run gave.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ran {
    plugin: String,
    took_seconds: f64,
    part: Part,
    diff: Lines,
    quarantined: Vec<Value>,
    applied: bool,
    stderr: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lines {
    lines: Vec<String>,
}

/// Does what was asked.
pub fn run(command: PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::List(args) => list(&args),
        PluginCommand::Run(args) => run_one(&args),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let answer = client.ask(&Request::get(&["plugins"]))?;
    let plugins = serde_json::from_slice::<Listed>(&answer).map_err(Failure::strange)?.plugins;
    let form = &args.form;
    let theirs = || Theirs::Rows(plugins.iter().map(Plugin::row_of_routerd).collect());
    form.show(&answer, theirs, |out| {
        if form.is_routerd() {
            let row = |plugin: &Plugin| {
                let texts = [&plugin.executable, &plugin.capabilities.join(","), &plugin.triggers()];
                [vec![safe(&plugin.name)], texts.map(|text| cell(text)).to_vec()].concat()
            };
            return out.table(
                &["NAME", "EXECUTABLE", "CAPABILITIES", "TRIGGERS"],
                &[],
                plugins.iter().map(row).collect(),
            );
        }
        if plugins.is_empty() {
            eprintln!("no plugin is declared; declare one with: tidings apply -f FILE");
            return Ok(());
        }
        let header = ["NAME", "EXECUTABLE", "CAPABILITIES", "TIMEOUT", "RUNS", "FAILED", "LAST_RUN", "PROBLEM"];
        out.table(&header, &[4, 5], plugins.iter().map(|plugin| plugin.row(form)).collect())
    })
}

fn run_one(args: &RunArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let request = Request::post(&["plugins", &args.name, "run"])
        .query_if("group", args.group.as_ref())
        .query_if("event", args.event.as_ref())
        .query_if("dryRun", args.dry_run.then_some(true))
        .wait(RUN_WAIT);
    let answer = client.ask(&request).map_err(hinted(HINT))?;
    let ran: Ran = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    let part = serde_json::from_slice::<Value>(&answer).map_err(Failure::strange)?["part"].clone();
    let theirs = || Theirs::One(ran.row_of_routerd(args.dry_run, &part));
    args.form.show(&answer, theirs, |out| ran.show(out, &args.form, args.dry_run))
}

impl Plugin {
    fn triggers(&self) -> String {
        let text = |trigger: &Value| {
            let kind = trigger["type"].as_str().unwrap_or_default();
            match trigger["every"].as_str().or(trigger["topic"].as_str()) {
                Some(detail) => format!("{kind}:{detail}"),
                None => kind.to_owned(),
            }
        };
        self.triggers.iter().map(text).collect::<Vec<_>>().join(",")
    }

    fn row_of_routerd(&self) -> Row {
        Row(vec![
            ("name", json!(self.name)),
            ("executable", json!(self.executable)),
            ("capabilities", json!(self.capabilities.join(","))),
            ("triggers", json!(self.triggers())),
        ])
    }

    fn row(&self, form: &Form) -> Vec<String> {
        let timeout = match &self.timeout {
            Value::Null => "-".to_owned(),
            Value::String(text) => cell(text),
            seconds => format!("{seconds}s"),
        };
        let mut row = vec![safe(&self.name), cell(&self.executable), cell(&self.capabilities.join(", ")), timeout];
        row.extend([self.runs.to_string(), self.failed.to_string(), form.moment(self.last_run_at.as_deref())]);
        row.push(cell(self.problem.as_deref().unwrap_or_default()));
        row
    }
}

impl Ran {
    fn show(&self, out: &mut Out, form: &Form, dry_run: bool) -> Result<(), Failure> {
        let outcome = match (self.applied, dry_run) {
            (true, _) if self.quarantined.is_empty() => out.paint(Colour::Green, "in effect"),
            (false, true) => "shown only (--dry-run)".to_owned(),
            _ => out.paint(Colour::Yellow, "not in effect: tidings dynamic diff says why"),
        };
        out.fields(&[
            ("plugin", safe(&self.plugin)),
            ("took", format!("{:.3} s", self.took_seconds)),
            ("outcome", outcome),
        ])?;
        self.part.show(out, form)?;
        out.line("the configuration in effect with it, against what is declared:")?;
        for line in &self.diff.lines {
            out.line(format!("  {}", safe(line)))?;
        }
        if self.diff.lines.is_empty() {
            out.line("  none")?;
        }
        for each in &self.quarantined {
            out.line(out.paint(Colour::Yellow, &format!("! {}", dynamic::quarantine(each))))?;
        }
        if !self.stderr.trim().is_empty() {
            eprintln!("the plugin wrote on standard error:");
            for line in self.stderr.lines() {
                eprintln!("  {}", safe(line));
            }
        }
        Ok(())
    }

    fn row_of_routerd(&self, dry_run: bool, part: &Value) -> Row {
        let count = |name: &str| part[name].as_array().map_or(0, Vec::len);
        let mut outcome = json!({"durationMs": self.milliseconds(), "stdoutDigest": ""});
        if !self.stderr.is_empty() {
            outcome["stderr"] = json!(self.stderr);
        }
        let summary = json!({
            "resources": count("resources"), "directives": count("directives"), "actionPlans": count("actionPlans"),
            "events": 0, "actionPlansDisplayOnly": true,
        });
        let mut row = vec![
            ("plugin", json!(self.plugin)),
            ("source", json!(self.part.source)),
            ("dryRun", json!(dry_run)),
            ("stored", json!(self.applied)),
            ("outcome", outcome),
            ("part", json!({"kind": "DynamicConfigPart", "spec": part})),
            ("summary", summary),
        ];
        if count("actionPlans") > 0 {
            row.push(("actionPlans", part["actionPlans"].clone()));
        }
        Row(row)
    }

    #[allow(clippy::cast_possible_truncation, reason = "a float becomes the nearest whole number there is")]
    fn milliseconds(&self) -> i64 {
        (self.took_seconds * 1_000.0) as i64
    }
}

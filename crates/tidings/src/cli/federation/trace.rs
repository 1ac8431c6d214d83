//! Where a fact went: one line for each thing that happened to it, oldest first.

use event::Moment;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::client::{Client, Reach};
use super::super::failure::{Failure, Problem};
use super::super::form::{Form, Theirs};
use super::super::output::{Colour, Out, date, safe};
use super::{about, hinted};

pub const EXAMPLES: &str = "Examples:
  tidings event trace seen-1 --group cloudedge             # here and at the peers
  tidings event trace seen-1 --group cloudedge --local     # here alone";

/// Where no fact has the id.
const HINT: &str = "see the facts there are: tidings event list --group GROUP --include-expired";

/// Flags of `tidings event trace`.
#[derive(Debug, clap::Args)]
pub struct TraceArgs {
    /// The fact's id
    id: String,
    /// Its group, where several groups use the id
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Ask the peers too, as far as they allow it: so it is, unless --local says otherwise
    #[arg(long, conflicts_with = "local")]
    peers: bool,
    /// Only what happened at this node
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Trace {
    id: String,
    group: Option<String>,
    hops: Vec<Hop>,
    asked: Vec<Asked>,
}

/// One thing that happened.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Hop {
    node: String,
    at: String,
    what: String,
    detail: Map<String, Value>,
}

/// A peer that was asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    peer: String,
    answered: bool,
    error: Option<String>,
}

/// Shows where a fact went.
pub fn run(args: &TraceArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let request = about(&["trace", &args.id])
        .query_if("group", args.group.as_ref())
        .query_if("peers", (args.peers || !args.local).then_some(true));
    let answer = client.ask(&request).map_err(hinted(HINT))?;
    let trace: Trace = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    if trace.hops.is_empty() {
        return Err(Failure::NotFound(Problem {
            title: "nothing is known of this fact".to_owned(),
            detail: format!("{} {}", safe(&args.id), trace.silent()).trim_end().to_owned(),
            hint: Some(HINT.to_owned()),
            ..Problem::default()
        }));
    }
    let theirs = || Theirs::Document(serde_json::from_slice(&answer).unwrap_or(Value::Null));
    args.form.show(&answer, theirs, |out| trace.show(out))
}

impl Trace {
    fn show(&self, out: &mut Out) -> Result<(), Failure> {
        let group = self.group.as_deref().unwrap_or_default();
        let told = |name| self.hops.iter().find_map(|hop| hop.detail.get(name)?.as_str());
        let about = [told("type"), told("subject")].into_iter().flatten().map(safe).collect::<Vec<_>>().join(" ");
        out.line(format!("{} in {}  {about}", out.paint(Colour::Bold, &safe(&self.id)), safe(group)).trim_end())?;
        let first = self.hops.first().and_then(|hop| Moment::parse(&hop.at).ok());
        let rows: Vec<Vec<String>> = self.hops.iter().map(|hop| hop.row(first)).collect();
        out.table(&["TIME (UTC)", "AFTER", "NODE", "WHAT", "DETAIL"], &[1], rows)?;
        for asked in &self.asked {
            let peer = safe(&asked.peer);
            match (asked.answered, asked.error.as_deref()) {
                (true, _) => out.line(format!("asked {peer}: answered"))?,
                (false, Some(error)) => out.line(format!("asked {peer}: no answer: {}", safe(error)))?,
                (false, None) => out.line(format!("asked {peer}: no answer"))?,
            }
        }
        Ok(())
    }
}

impl Trace {
    /// Who was asked and did not answer.
    fn silent(&self) -> String {
        let silent: Vec<String> =
            self.asked.iter().filter(|asked| !asked.answered).map(|asked| safe(&asked.peer)).collect();
        if silent.is_empty() { String::new() } else { format!("(no answer from {})", silent.join(", ")) }
    }
}

impl Hop {
    fn row(&self, first: Option<Moment>) -> Vec<String> {
        let after = match (first, Moment::parse(&self.at).ok()) {
            (Some(first), Some(at)) if at >= first => span(at.since(first)),
            _ => String::new(),
        };
        vec![date(&self.at), after, safe(&self.node), safe(&self.what), details(&self.detail)]
    }
}

/// A span since the first hop: in milliseconds up to ten seconds, in tenths up to ten minutes.
fn span(span: std::time::Duration) -> String {
    match span.as_secs() {
        0..10 => format!("+{}ms", span.as_millis()),
        10..600 => format!("+{:.1}s", span.as_secs_f64()),
        seconds => format!("+{}m", seconds / 60),
    }
}

/// What every hop of a fact says, or its time does: JSON has all of it.
const KNOWN: [&str; 15] = [
    "at",
    "id",
    "eventId",
    "eventExpiresAt",
    "group",
    "type",
    "subject",
    "status",
    "facts",
    "history",
    "observedAt",
    "startedAt",
    "endedAt",
    "lastAttemptAt",
    "deliveredAt",
];

/// Details as `name=value`, in order of their names; lists with commas. Leaves out what the line or the
/// fact says already, and what has a structure of its own.
fn details(detail: &Map<String, Value>) -> String {
    let text = |value: &Value| match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(list) if list.iter().any(|each| each.is_object() || each.is_array()) => None,
        Value::Array(list) => {
            let texts = list.iter().map(|each| each.as_str().map_or_else(|| each.to_string(), str::to_owned));
            Some(texts.collect::<Vec<_>>().join(","))
        }
        other => Some(other.to_string()),
    };
    let quoted = |text: String| if text.contains(' ') { format!("\"{text}\"") } else { text };
    let shown = detail.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str()));
    let pair = |(name, value): (&String, &Value)| Some(safe(&format!("{name}={}", quoted(text(value)?))));
    shown.filter_map(pair).collect::<Vec<_>>().join(" ")
}

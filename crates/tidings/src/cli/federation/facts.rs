//! Facts of a group: stated, withdrawn, listed.

use std::collections::{BTreeMap, HashSet};

use event::Moment;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::client::{Client, Reach, Request};
use super::super::failure::Failure;
use super::super::form::{Form, Row, Theirs, cell, go_time};
use super::super::output::{Colour, Out, safe};
use super::super::record::Record;
use super::super::units::{Pair, Span, When, now};
use super::{GROUPS_HINT, about, hinted};

pub const EMIT_EXAMPLES: &str = "Examples:
  tidings federation event emit --group cloudedge --type routerd.client.ipv4.observed \\
      --subject 10.88.60.9/32 --payload mac=aa:bb:cc:dd:ee:ff --ttl 30m
  tidings fed event emit --group cloudedge --type com.example.seen --id seen-1 --ttl 1h   # again: refreshed";

pub const WITHDRAW_EXAMPLES: &str = "Examples:
  tidings federation event withdraw --group cloudedge --id seen-1
  tidings event withdraw --group cloudedge --id seen-1";

pub const LIST_EXAMPLES: &str = "Examples:
  tidings federation event list
  tidings fed event list --group cloudedge --include-expired -o json --compat routerd";

/// Where a fact is missing.
const FACT_HINT: &str = "see the facts there are: tidings event list --group GROUP --include-expired";

/// What is stated.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Statement {
    /// The group that is told
    #[arg(long, value_name = "GROUP")]
    pub group: String,
    /// What kind of fact it is, such as routerd.client.ipv4.observed
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "withdraw")]
    pub kind: Option<String>,
    /// What it is about, such as 10.88.60.9/32
    #[arg(long, value_name = "TEXT")]
    pub subject: Option<String>,
    /// The node that observed it; the node that is asked, where absent
    #[arg(long, value_name = "NODE")]
    pub source_node: Option<String>,
    /// Its id: stated again with a later expiry, the fact is refreshed. Made up where absent
    #[arg(long)]
    pub id: Option<String>,
    /// What facts that replace each other share; the id, where absent
    #[arg(long, value_name = "KEY")]
    pub dedupe_key: Option<String>,
    /// What was observed: a name and a text
    #[arg(long, value_name = "NAME=VALUE")]
    pub payload: Vec<Pair>,
    /// How long it holds from when it was observed; for ever, where absent
    #[arg(long, value_name = "SPAN")]
    pub ttl: Option<Span>,
    /// When it was observed: 2026-01-31T12:00:00Z, or a span before now such as 5m; now, where absent
    #[arg(long, value_name = "TIME")]
    pub observed_at: Option<When>,
    /// Take the fact back
    #[arg(long, requires = "id")]
    pub withdraw: bool,
}

/// Flags of `tidings federation event emit`.
#[derive(Debug, clap::Args)]
pub struct StateArgs {
    #[command(flatten)]
    statement: Statement,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings event withdraw`.
#[derive(Debug, clap::Args)]
pub struct WithdrawArgs {
    /// The group that is told
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// The fact's id
    #[arg(long)]
    id: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings federation event list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only this group
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Only facts of this type; a * at its end stands for any rest
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// What holds no longer, too
    #[arg(long)]
    pub include_expired: bool,
    /// Most facts: the newest
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub form: Form,
    #[command(flatten)]
    pub reach: Reach,
}

/// Where a fact was recorded.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Recorded {
    id: String,
    source_node: String,
    stream: String,
    seq: u64,
    duplicate: bool,
    event: Option<Fact>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    events: Vec<Fact>,
}

/// A fact as the node tells it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Fact {
    id: String,
    group: String,
    source_node: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    dedupe_key: String,
    payload: BTreeMap<String, Value>,
    observed_at: Option<String>,
    expires_at: Option<String>,
    recorded_at: Option<String>,
    via: Option<String>,
    withdrawn: bool,
    live: bool,
}

/// States what `args` say.
pub fn state(args: &StateArgs) -> Result<(), Failure> {
    emit(&Client::new(&args.reach)?, &args.statement, &args.form)
}

/// Takes a fact back.
pub fn withdraw(args: &WithdrawArgs) -> Result<(), Failure> {
    let statement =
        Statement { group: args.group.clone(), id: Some(args.id.clone()), withdraw: true, ..Statement::default() };
    emit(&Client::new(&args.reach)?, &statement, &args.form)
}

/// States a fact.
pub fn emit(client: &Client, statement: &Statement, form: &Form) -> Result<(), Failure> {
    let request = Request::post(&["federation", &statement.group, "events"]).json(&statement.body());
    let hint = if statement.withdraw { FACT_HINT } else { GROUPS_HINT };
    let answer = client.ask(&request).map_err(hinted(hint))?;
    let recorded: Recorded = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    if form.is_routerd() {
        let fact = match &recorded.event {
            Some(fact) => fact.clone(),
            None => stated(client, statement, &recorded),
        };
        let one = std::slice::from_ref(&fact);
        return form.show(&answer, || Theirs::GoOne(fact.go()), |out| table(out, form, one));
    }
    let none = || Theirs::Document(Value::Null);
    form.show(&answer, none, |out| {
        let place = out.paint(Colour::Green, &format!("{}:{}", safe(&recorded.stream), recorded.seq));
        let note = match recorded.duplicate {
            true => out.paint(Colour::Yellow, "  (was there already)"),
            false if statement.withdraw => "  (withdrawn)".to_owned(),
            false => String::new(),
        };
        out.line(format!("{place}  group {}  id {}{note}", safe(&statement.group), safe(&recorded.id)))
    })
}

/// Lists facts.
pub fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let start = args.kind.as_deref().and_then(|kind| kind.strip_suffix('*'));
    let request = about(&["events"])
        .query_if("group", args.group.as_ref())
        .query_if("type", args.kind.as_ref().filter(|_| start.is_none()))
        .query_if("includeExpired", args.include_expired.then_some(true))
        .query_if("limit", args.limit.filter(|_| start.is_none()));
    let mut answer = client.ask(&request).map_err(hinted(GROUPS_HINT))?;
    if let Some(start) = start {
        answer = narrowed(&answer, start, args.limit)?;
    }
    let mut facts = serde_json::from_slice::<Listed>(&answer).map_err(Failure::strange)?.events;
    if args.form.is_routerd() {
        facts = newest_of_each(facts);
    }
    let theirs = || Theirs::Go(facts.iter().map(Fact::go).collect());
    args.form.show(&answer, theirs, |out| {
        if facts.is_empty() && !args.form.is_routerd() {
            eprintln!("{}", nothing(args));
            return Ok(());
        }
        table(out, &args.form, &facts)
    })
}

/// The newest record of each fact, in order: routerd keeps no other.
fn newest_of_each(facts: Vec<Fact>) -> Vec<Fact> {
    let mut seen = HashSet::new();
    let newest = facts.into_iter().rev().filter(|fact| seen.insert((fact.group.clone(), fact.id.clone())));
    let mut newest: Vec<Fact> = newest.collect();
    newest.reverse();
    newest
}

fn nothing(args: &ListArgs) -> String {
    let place = args.group.as_deref().map(|group| format!(" in {}", safe(group))).unwrap_or_default();
    match args.include_expired {
        true => format!("no fact was stated{place}"),
        false => format!("no fact holds{place}; --include-expired shows those that held"),
    }
}

/// An answer with only the facts whose type begins with `start`.
fn narrowed(answer: &[u8], start: &str, limit: Option<u64>) -> Result<Vec<u8>, Failure> {
    let mut document: Value = serde_json::from_slice(answer).map_err(Failure::strange)?;
    if let Some(facts) = document["events"].as_array_mut() {
        facts.retain(|fact| fact["type"].as_str().is_some_and(|kind| kind.starts_with(start)));
        let kept = limit.map_or(facts.len(), |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        facts.drain(..facts.len().saturating_sub(kept));
    }
    Ok(document.to_string().into_bytes())
}

/// The fact that was just stated, as the stream has it; as it was stated, where that may not be read.
fn stated(client: &Client, statement: &Statement, recorded: &Recorded) -> Fact {
    let request = Request::get(&["streams", &recorded.stream, "messages", &recorded.seq.to_string()]);
    if let Ok(message) = client.ask_json::<Record>(&request)
        && message.attribute("id") == Some(&recorded.id)
    {
        return Fact::of(&statement.group, &message);
    }
    let said = |text: &Option<String>| text.clone().unwrap_or_default();
    Fact {
        id: recorded.id.clone(),
        group: statement.group.clone(),
        kind: said(&statement.kind),
        subject: said(&statement.subject),
        source_node: statement.source_node.clone().unwrap_or_else(|| recorded.source_node.clone()),
        dedupe_key: statement.dedupe_key.clone().unwrap_or_else(|| recorded.id.clone()),
        payload: statement.payload.iter().map(|pair| (pair.name.clone(), json!(pair.value))).collect(),
        observed_at: statement.observed_at.map(|when| when.to_string()),
        ..Fact::default()
    }
}

fn table(out: &mut Out, form: &Form, facts: &[Fact]) -> Result<(), Failure> {
    let mut header = vec!["ID", "GROUP", "SOURCE", "TYPE", "SUBJECT", "OBSERVED", "EXPIRES"];
    let row = |fact: &Fact| {
        let mut row = vec![safe(&fact.id), safe(&fact.group), cell(&fact.source_node), safe(&fact.kind)];
        row.extend([cell(&fact.subject), form.moment(fact.observed_at.as_deref())]);
        row.push(form.moment(fact.expires_at.as_deref()));
        if !form.is_routerd() {
            row.extend([fact.state().to_owned(), cell(fact.via.as_deref().unwrap_or_default())]);
        }
        row
    };
    if !form.is_routerd() {
        header.extend(["STATE", "VIA"]);
    }
    out.table(&header, &[], facts.iter().map(row).collect())
}

impl Statement {
    fn body(&self) -> Value {
        let mut body = Map::new();
        let mut say = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.clone().map(Value::from);
        say("type", text(&self.kind));
        say("subject", text(&self.subject));
        say("sourceNode", text(&self.source_node));
        say("id", text(&self.id));
        say("dedupeKey", text(&self.dedupe_key));
        let payload: Map<String, Value> =
            self.payload.iter().map(|pair| (pair.name.trim().to_owned(), json!(pair.value))).collect();
        say("payload", (!payload.is_empty()).then_some(Value::Object(payload)));
        say("ttl", self.ttl.map(|ttl| json!(ttl.to_string())));
        say("observedAt", self.observed_at.map(|when| json!(when.to_string())));
        say("withdrawn", self.withdraw.then_some(json!(true)));
        Value::Object(body)
    }
}

impl Fact {
    /// A fact as its group's stream has it. A source that is no node's name begins with `/federation/`.
    fn of(group: &str, message: &Record) -> Self {
        let text = |name: &str| message.attribute(name).map(str::to_owned);
        let id = text("id").unwrap_or_default();
        Fact {
            group: group.to_owned(),
            source_node: text("source").filter(|source| !source.starts_with("/federation/")).unwrap_or_default(),
            kind: text("type").unwrap_or_default(),
            subject: text("subject").unwrap_or_default(),
            dedupe_key: text("fedkey").unwrap_or_else(|| id.clone()),
            payload: serde_json::from_slice(&message.payload()).unwrap_or_default(),
            observed_at: text("time"),
            expires_at: text("fedexpires"),
            recorded_at: Some(message.time.clone()),
            via: text("fedvia"),
            withdrawn: text("fedwithdrawn").is_some(),
            live: true,
            id,
        }
    }

    /// What became of it. A record that was followed by another of the fact is replaced.
    fn state(&self) -> &'static str {
        let over = self.expires_at.as_deref().and_then(|at| Moment::parse(at).ok()).is_some_and(|at| at < now());
        match (self.withdrawn, self.live, over) {
            (true, ..) => "withdrawn",
            (false, true, _) => "live",
            (false, false, true) => "expired",
            (false, false, false) => "replaced",
        }
    }

    fn go(&self) -> Row {
        let text = |value: &Value| json!(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let payload: Map<String, Value> =
            self.payload.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        Row(vec![
            ("ID", json!(self.id)),
            ("Group", json!(self.group)),
            ("SourceNode", json!(self.source_node)),
            ("Type", json!(self.kind)),
            ("Subject", json!(self.subject)),
            ("DedupeKey", json!(self.dedupe_key)),
            ("Payload", Value::Object(payload)),
            ("ObservedAt", go_time(self.observed_at.as_deref())),
            ("ExpiresAt", go_time(self.expires_at.as_deref())),
            ("RecordedAt", go_time(self.recorded_at.as_deref())),
        ])
    }
}

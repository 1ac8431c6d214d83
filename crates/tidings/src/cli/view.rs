//! `tidings view`: what is true now: views declared, read, watched, and kept in a database.

mod sync;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use self::sync::SyncArgs;
use super::client::{Client, Reach, Request, refusal};
use super::failure::Failure;
use super::interrupt::Interrupt;
use super::output::{Colour, Out, Show, number, preview, safe, size};
use super::sse::SseReader;
use super::units::{Size, Span};

const ADD_EXAMPLES: &str = "Examples:
  tidings view add users --stream AUTH --filter 'auth.user.*.*' --key token:3 --remove-subject 'auth.user.*.deleted'
  tidings view add prices --stream SHOP --key attribute:subject --remove-type shop.price.withdrawn --ttl 24h
  tidings view add roles --stream IAM --key path:account.id --version path:version --field roles --field account.name";

const GET_EXAMPLES: &str = "Examples:
  tidings view get users
  tidings view get users u7 --raw
  tidings view get users u7 --index 12-5f2c9d01 --wait 30s    # once it is another than it was there";

/// Characters of a value in a list.
const VALUE_CHARS: usize = 80;

/// Wait before a watch connects anew.
const RECONNECT: Duration = Duration::from_secs(1);

/// What can be done with views.
#[derive(Debug, clap::Subcommand)]
pub enum ViewCommand {
    /// Declare a view, or declare it otherwise: it is folded anew then
    #[command(after_help = ADD_EXAMPLES)]
    Add(Box<AddArgs>),
    /// List the views, and how they stand
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Show the rows of a view, or one of them
    #[command(after_help = GET_EXAMPLES)]
    Get(GetArgs),
    /// Show the rows of a view, and then each change as it comes
    Watch(WatchArgs),
    /// Declare a view no longer; its stream stays as it is
    #[command(alias = "remove")]
    Rm(RmArgs),
    /// Keep a view in a table of SQLite or PostgreSQL, until interrupted
    #[command(after_help = sync::EXAMPLES)]
    Sync(Box<SyncArgs>),
}

/// Flags of `tidings view add`.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// The view
    name: String,
    /// The stream that is folded
    #[arg(long)]
    stream: String,
    /// Only subjects that this pattern matches; may be repeated
    #[arg(long = "filter", value_name = "PATTERN")]
    filters: Vec<String>,
    /// What a message is about: token:N[,M] of the subject, attribute:NAME, header:NAME, or path:PLACE in the JSON data
    /// [default: the whole subject]
    #[arg(long, value_name = "FROM")]
    key: Option<String>,
    /// A CloudEvents type that puts; may be repeated [default: all that do not remove]
    #[arg(long = "put-type", value_name = "PATTERN")]
    put_types: Vec<String>,
    /// Subjects that put; may be repeated
    #[arg(long = "put-subject", value_name = "PATTERN")]
    put_subjects: Vec<String>,
    /// A CloudEvents type that removes; may be repeated
    #[arg(long = "remove-type", value_name = "PATTERN")]
    remove_types: Vec<String>,
    /// Subjects that remove; may be repeated
    #[arg(long = "remove-subject", value_name = "PATTERN")]
    remove_subjects: Vec<String>,
    /// Take an empty payload for a value; it removes otherwise
    #[arg(long)]
    keep_empty: bool,
    /// How long a row holds after its message was recorded
    #[arg(long, value_name = "SPAN")]
    ttl: Option<Span>,
    /// What grows with each change, so that older ones are ignored: attribute:NAME, header:NAME, or path:PLACE
    #[arg(long, value_name = "FROM")]
    version: Option<String>,
    /// A place in the JSON data that is kept; may be repeated [default: the whole payload]
    #[arg(long = "field", value_name = "PLACE")]
    fields: Vec<String>,
    /// Most rows; those that changed longest ago go
    #[arg(long, value_name = "N")]
    rows_max: Option<u64>,
    /// Most bytes of keys and values
    #[arg(long, value_name = "SIZE")]
    bytes_max: Option<Size>,
    /// Say whether it could be, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings view ls`.
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings view get`.
#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// The view
    view: String,
    /// One row
    key: Option<String>,
    /// Only keys that begin so
    #[arg(long, conflicts_with = "key")]
    prefix: Option<String>,
    /// Most rows [default: all]
    #[arg(long, short = 'n', value_name = "N", conflicts_with = "key")]
    limit: Option<usize>,
    /// The value alone, as it was recorded
    #[arg(long, requires = "key", conflicts_with = "json")]
    raw: bool,
    /// Wait until it changed behind this index
    #[arg(long, value_name = "INDEX")]
    index: Option<String>,
    /// How long to wait
    #[arg(long, value_name = "SPAN", requires = "index")]
    wait: Option<Span>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings view watch`.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// The view
    view: String,
    /// Only keys that begin so
    #[arg(long)]
    prefix: Option<String>,
    /// Begin behind this index, in place of a snapshot
    #[arg(long, value_name = "INDEX")]
    after: Option<String>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings view rm`.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// The view
    name: String,
    #[command(flatten)]
    reach: Reach,
}

/// Does what was asked.
pub fn run(command: ViewCommand) -> Result<(), Failure> {
    match command {
        ViewCommand::Add(args) => add(&args),
        ViewCommand::Ls(args) => ls(&args),
        ViewCommand::Get(args) => get(&args),
        ViewCommand::Watch(args) => watch(&args),
        ViewCommand::Rm(args) => rm(&args),
        ViewCommand::Sync(args) => sync::run(&args),
    }
}

/// `token:3,4`, `attribute:x`, `header:x` or `path:x` as a member of a spec.
fn origin(flag: &str, text: &str) -> Result<Value, Failure> {
    let hint = format!("write it as in --{flag} path:user.id");
    let (kind, of) =
        text.split_once(':').ok_or_else(|| Failure::usage(format!("--{flag} '{text}' says no place"), &*hint))?;
    match kind {
        "token" if flag == "key" => {
            let numbers: Result<Vec<u32>, _> = of.split(',').map(|part| part.trim().parse::<u32>()).collect();
            let numbers =
                numbers.map_err(|_| Failure::usage(format!("'{of}' are no numbers of tokens, from 1"), &*hint))?;
            Ok(json!({"tokens": numbers}))
        }
        "attribute" | "header" | "path" => Ok(json!({kind: of})),
        other => Err(Failure::usage(format!("--{flag} knows no '{other}'"), &*hint)),
    }
}

fn spec(args: &AddArgs) -> Result<Value, Failure> {
    let mut spec = Map::new();
    let mut say = |name: &str, value: Value| {
        let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        if !empty && !value.is_null() {
            spec.insert(name.to_owned(), value);
        }
    };
    let when = |types: &[String], subjects: &[String]| {
        let mut when = Map::new();
        for (name, list) in [("types", types), ("subjects", subjects)] {
            if !list.is_empty() {
                when.insert(name.to_owned(), json!(list));
            }
        }
        when
    };
    say("stream", json!(args.stream));
    say("filters", json!(args.filters));
    say("key", args.key.as_deref().map(|text| origin("key", text)).transpose()?.unwrap_or_default());
    say("put", when(&args.put_types, &args.put_subjects).into());
    let mut remove = when(&args.remove_types, &args.remove_subjects);
    if args.keep_empty {
        remove.insert("empty".to_owned(), json!(false));
    }
    say("remove", remove.into());
    say("ttl", json!(args.ttl.map(|Span(ttl)| plan::duration::print(ttl))));
    say("version", args.version.as_deref().map(|text| origin("version", text)).transpose()?.unwrap_or_default());
    say("fields", json!(args.fields));
    let mut limits = Map::new();
    limits.extend(args.rows_max.map(|rows| ("rows".to_owned(), json!(rows))));
    limits.extend(args.bytes_max.map(|Size(bytes)| ("bytes".to_owned(), json!(bytes))));
    say("limits", limits.into());
    Ok(spec.into())
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let resource = json!({
        "apiVersion": plan::API_VERSION, "kind": "View", "metadata": {"name": args.name}, "spec": spec(args)?,
    });
    let client = Client::new(&args.reach)?;
    let request = Request::post(&["resources"]).query_if("dryRun", args.dry_run.then_some(true));
    let answer = client.ask(&request.json(&json!({"resources": [resource]})))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let answer: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    let action = answer["results"][0]["action"].as_str().unwrap_or("applied");
    let would = if args.dry_run { " (not done)" } else { "" };
    out.line(format!("the view {} is {}{would}", safe(&args.name), safe(action)))?;
    out.flush()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Standing {
    name: String,
    stream: String,
    state: String,
    reason: Option<String>,
    index: String,
    rows: u64,
    bytes: u64,
    unfit: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listed {
    views: Vec<Standing>,
}

fn ls(args: &LsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let answer = client.ask(&Request::get(&["views"]))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let listed: Listed = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    if listed.views.is_empty() {
        eprintln!("there is no view; declare one with: tidings view add");
        return Ok(());
    }
    let row = |view: &Standing| {
        let state = match &view.reason {
            Some(reason) => format!("{}: {}", safe(&view.state), safe(reason)),
            None => safe(&view.state),
        };
        vec![
            safe(&view.name),
            safe(&view.stream),
            number(view.rows),
            size(view.bytes),
            safe(&view.index),
            number(view.unfit),
            state,
        ]
    };
    let header = ["VIEW", "STREAM", "ROWS", "BYTES", "INDEX", "UNFIT", "STATE"];
    out.table(&header, &[2, 3, 5], listed.views.iter().map(row).collect())?;
    out.flush()
}

/// The value of a row, for people.
fn value(row: &Value) -> String {
    match (&row["value"], row["text"].as_str(), row["value_base64"].as_str()) {
        (Value::Null, Some(text), _) => preview(text, VALUE_CHARS),
        (Value::Null, None, Some(base64)) => preview(&format!("base64 {base64}"), VALUE_CHARS),
        (value, ..) => preview(&value.to_string(), VALUE_CHARS),
    }
}

fn get(args: &GetArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let waits = |request: Request| {
        let request = request.query_if("index", args.index.as_ref()).query_if("wait", args.wait);
        request.wait(args.wait.map_or(Duration::from_secs(60), |Span(wait)| wait))
    };
    let mut out = Out::new();
    if let Some(key) = &args.key {
        let request = waits(Request::get(&["views", &args.view, key]));
        let answer = client.ask(&request.query_if("raw", args.raw.then_some(true))).map_err(hinted)?;
        if args.raw {
            out.bytes(&answer)?;
            return out.flush();
        }
        if args.show.json {
            out.document(&answer)?;
            return out.flush();
        }
        let row: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
        let text = |name: &str| row[name].as_str().map(safe).unwrap_or_default();
        out.fields(&[
            ("key", text("key")),
            ("position", row["position"].to_string()),
            ("time", text("time")),
            ("version", text("version")),
            ("expires", text("expires")),
        ])?;
        let value = &row["value"];
        let shown = if value.is_null() { value_of(&row) } else { format!("{value:#}") };
        out.line(shown)?;
        return out.flush();
    }
    let (mut after, mut left, mut rows) = (None::<String>, args.limit, Vec::new());
    loop {
        let request = Request::get(&["views", &args.view]).query_if("prefix", args.prefix.as_ref());
        let request = request.query_if("after", after.as_ref()).query_if("limit", left);
        let request = if after.is_none() { waits(request) } else { request };
        let answer = client.ask(&request).map_err(hinted)?;
        let page: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
        let found = page["rows"].as_array().cloned().unwrap_or_default();
        left = left.map(|left| left.saturating_sub(found.len()));
        rows.extend(found);
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() || left == Some(0) {
            return shown(&mut out, args.show.json, &args.view, &page["index"], rows);
        }
    }
}

fn value_of(row: &Value) -> String {
    row["text"].as_str().or(row["value_base64"].as_str()).map(safe).unwrap_or_default()
}

fn shown(out: &mut Out, as_json: bool, view: &str, index: &Value, rows: Vec<Value>) -> Result<(), Failure> {
    if as_json {
        out.document(json!({"view": view, "index": index, "rows": rows}).to_string().as_bytes())?;
        return out.flush();
    }
    let cells =
        |row: &Value| vec![safe(row["key"].as_str().unwrap_or_default()), row["position"].to_string(), value(row)];
    out.table(&["KEY", "POSITION", "VALUE"], &[1], rows.iter().map(cells).collect())?;
    out.flush()
}

/// What to do where there is no such view.
fn hinted(failure: Failure) -> Failure {
    match failure {
        Failure::NotFound(mut problem) => {
            problem.hint.get_or_insert_with(|| "see what there is: tidings view ls".to_owned());
            Failure::NotFound(problem)
        }
        other => other,
    }
}

fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let interrupt = Interrupt::watch();
    let (mut after, mut first, mut out) = (args.after.clone(), true, Out::new());
    loop {
        let mut request = Request::get(&["views", &args.view]).query_if("prefix", args.prefix.as_ref());
        request = request.header("accept", "text/event-stream");
        if let Some(after) = &after {
            request = request.header("last-event-id", after);
        }
        match client.follow(&request).map_err(hinted) {
            Ok(body) => {
                let mut reader = SseReader::new(body);
                while let Ok(Some(event)) = reader.next() {
                    if interrupt.asked() {
                        return Ok(());
                    }
                    first = false;
                    after = event.id.clone().or(after);
                    if event.kind == "error" {
                        return Err(hinted(refusal(0, None, event.data.as_bytes())));
                    }
                    told(&mut out, args.show.json, event.id.as_deref(), &event.kind, &event.data)?;
                }
            }
            Err(failure @ Failure::Unreachable { .. }) if first => return Err(failure),
            Err(Failure::Unreachable { .. }) => {}
            Err(failure) => return Err(failure),
        }
        if interrupt.asked() {
            return Ok(());
        }
        eprintln!("the connection ended; connecting anew");
        std::thread::sleep(RECONNECT);
    }
}

/// Shows an event. Of machines each is a line: what it is, and its data.
fn told(out: &mut Out, as_json: bool, id: Option<&str>, kind: &str, data: &str) -> Result<(), Failure> {
    let data: Value = serde_json::from_str(data).unwrap_or_default();
    if as_json {
        out.line(json!({"event": kind, "index": id, "data": data}).to_string())?;
        return out.flush();
    }
    let key = safe(data["key"].as_str().unwrap_or_default());
    let position = data["position"].to_string();
    match kind {
        "put" => {
            let (mark, position) = (out.paint(Colour::Green, "+"), out.paint(Colour::Faint, &position));
            out.line(format!("{mark} {key}  {}  {position}", value(&data)))?;
        }
        "remove" => {
            let (mark, position) = (out.paint(Colour::Yellow, "-"), out.paint(Colour::Faint, &position));
            out.line(format!("{mark} {key}  {position}"))?;
        }
        "end" => {
            let line = format!("at {}", safe(id.unwrap_or_default()));
            out.line(out.paint(Colour::Faint, &line))?;
        }
        _ => return Ok(()),
    }
    out.flush()
}

fn rm(args: &RmArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    client.ask(&Request::new(Method::DELETE, &["resources", "View", &args.name])).map_err(hinted)?;
    let mut out = Out::new();
    out.line(format!("the view {} is declared no longer", safe(&args.name)))?;
    out.flush()
}

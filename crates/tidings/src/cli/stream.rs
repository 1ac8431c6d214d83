//! `tidings stream`: declare streams and look after them.

use std::io::{IsTerminal, Write};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Client, Reach, Request};
use super::failure::{Failure, Problem};
use super::output::{Colour, Out, Show, date, number, safe, size};
use super::units::{Limit, Pair, Size, Span};
use ureq::http::Method;

/// What can be done with streams.
#[derive(Debug, clap::Subcommand)]
pub enum StreamCommand {
    /// List the streams
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Declare a stream
    #[command(alias = "create")]
    Add(AddArgs),
    /// Show a stream: what was declared and what it holds
    #[command(alias = "show")]
    Info(InfoArgs),
    /// Change what was declared
    Edit(EditArgs),
    /// Remove messages: all of them, or those that the flags name
    Purge(PurgeArgs),
    /// Remove a stream with all its messages and consumers
    #[command(alias = "delete")]
    Rm(RmArgs),
}

/// Flags of `tidings stream ls`.
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings stream info`.
#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    /// The stream
    name: String,
    /// List its subjects too, those that match
    #[arg(long, value_name = "PATTERN", num_args = 0..=1, default_missing_value = ">")]
    subjects: Option<String>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// What a declaration can say.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Declaration")]
pub struct Declared {
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What happens at a limit: the oldest messages go, or the new one is refused
    #[arg(long, value_parser = ["old", "new"])]
    discard: Option<String>,
    /// With --discard new: whether the limit per subject refuses too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    discard_new_per_subject: Option<bool>,
    /// Most messages
    #[arg(long, value_name = "N|none")]
    messages_max: Option<Limit<u64>>,
    /// Most bytes, such as 10GiB
    #[arg(long, value_name = "SIZE|none")]
    bytes_max: Option<Limit<Size>>,
    /// Most messages of one subject
    #[arg(long, value_name = "N|none")]
    messages_per_subject_max: Option<Limit<u64>>,
    /// Age after which a message goes, such as 7d
    #[arg(long, value_name = "SPAN|none")]
    age_max: Option<Limit<Span>>,
    /// Largest message
    #[arg(long, value_name = "SIZE|none")]
    message_bytes_max: Option<Limit<Size>>,
    /// How long a message's id is remembered
    #[arg(long, value_name = "SPAN")]
    duplicate_window: Option<Span>,
    /// Whether messages may carry a lifetime of their own
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    allow_ttl: Option<bool>,
    /// Whether deleting single messages is refused
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    deny_delete: Option<bool>,
    /// Whether purging is refused
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    deny_purge: Option<bool>,
    /// Copies, where the engine is a cluster
    #[arg(long, value_name = "N")]
    replicas: Option<u8>,
    /// A note, kept as it is; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    metadata: Vec<Pair>,
}

/// Flags of `tidings stream add`.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// The stream: letters, digits, - and _
    name: String,
    /// The subjects that it captures: patterns, by commas or repeated
    #[arg(long, value_name = "PATTERN", required = true, value_delimiter = ',')]
    subjects: Vec<String>,
    /// Where messages are kept
    #[arg(long, value_parser = ["file", "memory"], default_value = "file")]
    storage: String,
    /// What makes messages go: the limits; every interested consumer's acknowledgement; or any one's
    #[arg(long, value_parser = ["limits", "interest", "workqueue"], default_value = "limits")]
    retention: String,
    #[command(flatten)]
    declared: Declared,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings stream edit`.
#[derive(Debug, clap::Args)]
pub struct EditArgs {
    /// The stream
    name: String,
    /// The subjects that it captures from now on, in place of those before
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    subjects: Vec<String>,
    #[command(flatten)]
    declared: Declared,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings stream purge`.
#[derive(Debug, clap::Args)]
pub struct PurgeArgs {
    /// The stream
    name: String,
    /// Only subjects that match this pattern
    #[arg(long, value_name = "PATTERN")]
    filter: Option<String>,
    /// Only positions before this one
    #[arg(long, value_name = "SEQ", conflicts_with = "keep")]
    before: Option<u64>,
    /// All but the newest N
    #[arg(long, value_name = "N")]
    keep: Option<u64>,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings stream rm`.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// The stream
    name: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Deserialize)]
struct Streams {
    streams: Vec<Info>,
}

#[derive(Deserialize)]
struct Info {
    config: Map<String, Value>,
    #[serde(default)]
    created: String,
    state: State,
    #[serde(default)]
    consumers: u64,
    #[serde(default)]
    disk_bytes: u64,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct State {
    messages: u64,
    bytes: u64,
    first_seq: u64,
    first_time: Option<String>,
    last_seq: u64,
    last_time: Option<String>,
    subjects: u64,
    deleted: u64,
    damaged: u64,
}

#[derive(Deserialize)]
struct Subjects {
    subjects: Vec<SubjectState>,
}

#[derive(Deserialize)]
struct SubjectState {
    subject: String,
    messages: u64,
    first_seq: u64,
    last_seq: u64,
}

/// Most subjects listed with a stream.
const SUBJECTS_SHOWN: u64 = 1_000;

/// Does what was asked.
pub fn run(command: StreamCommand) -> Result<(), Failure> {
    match command {
        StreamCommand::Ls(args) => ls(&args),
        StreamCommand::Add(args) => add(&args),
        StreamCommand::Info(args) => info(&args),
        StreamCommand::Edit(args) => edit(&args),
        StreamCommand::Purge(args) => purge(&args),
        StreamCommand::Rm(args) => rm(&args),
    }
}

/// The first and the last position of a stream; the first is one more than the last where it is empty.
pub fn last_position(client: &Client, stream: &str) -> Result<(u64, u64), Failure> {
    let info: Info = client.ask_json(&Request::get(&["streams", stream]))?;
    let last = info.state.last_seq;
    let first = if info.state.messages == 0 { last + 1 } else { info.state.first_seq.max(1) };
    Ok((first, last))
}

/// Asks before something that cannot be undone. Without a terminal there is nobody to ask: `--yes` is needed.
pub fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::usage(format!("this would {what}, and there is no terminal to ask on"), "add --yes"));
    }
    eprint!("This will {what}. Type yes to go on: ");
    std::io::stderr().flush().map_err(Failure::output)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::output)?;
    if matches!(answer.trim(), "yes" | "y") { Ok(()) } else { Err(Failure::Interrupted) }
}

impl Declared {
    /// Writes what the flags say into a declaration.
    fn apply(&self, config: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                config.insert(name.to_owned(), value);
            }
        };
        put("description", self.description.as_ref().map(|text| json!(text)));
        put("discard", self.discard.as_ref().map(|text| json!(text)));
        put("discard_new_per_subject", self.discard_new_per_subject.map(Value::from));
        put("messages_max", self.messages_max.map(|limit| json!(limit.0)));
        put("bytes_max", self.bytes_max.map(|limit| json!(limit.0.map(|size| size.0))));
        put("messages_per_subject_max", self.messages_per_subject_max.map(|limit| json!(limit.0)));
        put("age_max", self.age_max.map(|limit| json!(limit.0.map(|span| span.to_string()))));
        put("message_bytes_max", self.message_bytes_max.map(|limit| json!(limit.0.map(|size| size.0))));
        put("duplicate_window", self.duplicate_window.map(|span| json!(span.to_string())));
        put("allow_ttl", self.allow_ttl.map(Value::from));
        put("deny_delete", self.deny_delete.map(Value::from));
        put("deny_purge", self.deny_purge.map(Value::from));
        put("replicas", self.replicas.map(Value::from));
        put_metadata(config, &self.metadata);
    }
}

/// Adds notes to those of a declaration.
pub fn put_metadata(config: &mut Map<String, Value>, pairs: &[Pair]) {
    if pairs.is_empty() {
        return;
    }
    let metadata = config.entry("metadata").or_insert_with(|| json!({}));
    if let Value::Object(metadata) = metadata {
        metadata.extend(pairs.iter().map(|pair| (pair.name.clone(), json!(pair.value))));
    }
}

/// A refusal that this side makes, in the node's words.
pub fn exists(what: &str, name: &str, instead: String) -> Failure {
    Failure::Refused(Problem {
        title: format!("the {what} exists already"),
        detail: format!("a {what} is named '{name}'"),
        status: 409,
        hint: Some(instead),
        ..Problem::default()
    })
}

fn ls(args: &LsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let answer = client.ask(&Request::get(&["streams"]))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let streams: Streams = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    let rows = streams.streams.iter().map(|info| {
        let text = |name: &str| info.config.get(name).map(shown).unwrap_or_default();
        let state = &info.state;
        let last = state.last_time.as_deref().map(date).unwrap_or_default();
        let counts = [number(state.messages), size(state.bytes), number(state.last_seq), number(info.consumers)];
        let mut row = vec![text("name"), text("subjects"), text("storage")];
        row.extend(counts);
        row.push(last);
        row
    });
    let header = ["STREAM", "SUBJECTS", "STORAGE", "MESSAGES", "BYTES", "LAST SEQ", "CONSUMERS", "LAST (UTC)"];
    out.table(&header, &[3, 4, 5, 6], rows.collect())?;
    out.flush()
}

/// A value of a declaration, for people.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => safe(text),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{}={}", safe(name), shown(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn info(args: &InfoArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let answer = client.ask(&Request::get(&["streams", &args.name]))?;
    let subjects = match &args.subjects {
        Some(filter) => {
            let request = Request::get(&["streams", &args.name, "subjects"]);
            Some(client.ask(&request.query("filter", filter).query("limit", SUBJECTS_SHOWN))?)
        }
        None => None,
    };
    let mut out = Out::new();
    if args.show.json {
        let answer = match &subjects {
            None => answer,
            Some(subjects) => {
                let mut info: Map<String, Value> = serde_json::from_slice(&answer).map_err(Failure::strange)?;
                info.extend(serde_json::from_slice::<Map<String, Value>>(subjects).map_err(Failure::strange)?);
                Value::Object(info).to_string().into_bytes()
            }
        };
        out.document(&answer)?;
        return out.flush();
    }
    let info: Info = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    info.detail(&mut out)?;
    if let Some(subjects) = subjects {
        let subjects: Subjects = serde_json::from_slice(&subjects).map_err(Failure::strange)?;
        out.line("")?;
        let row = |each: &SubjectState| {
            vec![safe(&each.subject), number(each.messages), each.first_seq.to_string(), each.last_seq.to_string()]
        };
        let rows = subjects.subjects.iter().map(row).collect();
        out.table(&["SUBJECT", "MESSAGES", "FIRST SEQ", "LAST SEQ"], &[1, 2, 3], rows)?;
    }
    out.flush()
}

impl Info {
    fn detail(&self, out: &mut Out) -> Result<(), Failure> {
        let of = |time: &Option<String>| time.as_deref().map(date).unwrap_or_default();
        let state = &self.state;
        out.line(out.paint(Colour::Bold, &self.config.get("name").map(shown).unwrap_or_default()))?;
        let mut fields = vec![
            ("created", date(&self.created)),
            ("messages", number(state.messages)),
            ("bytes", size(state.bytes)),
            ("on disk", if self.disk_bytes == 0 { String::new() } else { size(self.disk_bytes) }),
            ("first", format!("{}  {}", state.first_seq, of(&state.first_time)).trim_end().to_owned()),
            ("last", format!("{}  {}", state.last_seq, of(&state.last_time)).trim_end().to_owned()),
            ("subjects held", number(state.subjects)),
            ("deleted", if state.deleted == 0 { String::new() } else { number(state.deleted) }),
            ("consumers", number(self.consumers)),
        ];
        if state.damaged > 0 {
            let damaged = format!("{} (see: tidings verify DIR)", number(state.damaged));
            fields.push(("damaged", out.paint(Colour::Yellow, &damaged)));
        }
        out.fields(&fields)?;
        out.line(out.paint(Colour::Bold, "declared"))?;
        declaration(out, &self.config)
    }
}

/// Writes a declaration, without its name and without what it does not say.
pub fn declaration(out: &mut Out, config: &Map<String, Value>) -> Result<(), Failure> {
    let said = |value: &Value| match value {
        Value::Null => false,
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(values) => !values.is_empty(),
        _ => true,
    };
    let fields: Vec<(&str, String)> = config
        .iter()
        .filter(|(name, value)| name.as_str() != "name" && said(value))
        .map(|(name, value)| (name.as_str(), shown(value)))
        .collect();
    out.fields(&fields)
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    match client.ask(&Request::get(&["streams", &args.name])) {
        Ok(_) => return Err(exists("stream", &args.name, format!("tidings stream edit {}", args.name))),
        Err(Failure::NotFound(_)) => {}
        Err(failure) => return Err(failure),
    }
    let mut config = Map::new();
    config.insert("name".to_owned(), json!(args.name));
    config.insert("subjects".to_owned(), json!(args.subjects));
    config.insert("storage".to_owned(), json!(args.storage));
    config.insert("retention".to_owned(), json!(args.retention));
    args.declared.apply(&mut config);
    put(&client, &args.name, config, args.show, "declared")
}

fn edit(args: &EditArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let info: Info = client.ask_json(&Request::get(&["streams", &args.name]))?;
    let mut config = info.config.clone();
    if !args.subjects.is_empty() {
        config.insert("subjects".to_owned(), json!(args.subjects));
    }
    args.declared.apply(&mut config);
    if config == info.config {
        return Err(Failure::usage("nothing would change", "say what to change; see tidings stream edit --help"));
    }
    put(&client, &args.name, config, args.show, "changed")
}

fn put(client: &Client, name: &str, config: Map<String, Value>, show: Show, done: &str) -> Result<(), Failure> {
    let answer = client.ask(&Request::new(Method::PUT, &["streams", name]).json(&Value::Object(config)))?;
    let mut out = Out::new();
    if show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let info: Info = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    out.line(format!("{done}: {}", out.paint(Colour::Bold, name)))?;
    declaration(&mut out, &info.config)?;
    out.flush()
}

fn purge(args: &PurgeArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let mut body = Map::new();
    let mut what = match &args.filter {
        Some(filter) => format!("remove the messages of {} on '{filter}'", args.name),
        None => format!("remove the messages of {}", args.name),
    };
    if let Some(filter) = &args.filter {
        body.insert("filter".to_owned(), json!(filter));
    }
    if let Some(before) = args.before {
        body.insert("before".to_owned(), json!(before));
        what.push_str(&format!(" before position {before}"));
    }
    if let Some(keep) = args.keep {
        body.insert("keep".to_owned(), json!(keep));
        what.push_str(&format!(", all but the newest {keep}"));
    }
    confirm(args.yes, &what)?;
    let answer = client.ask(&Request::post(&["streams", &args.name, "purge"]).json(&Value::Object(body)))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let purged: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    out.line(format!("removed {} messages", number(purged["purged"].as_u64().unwrap_or_default())))?;
    out.flush()
}

fn rm(args: &RmArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    if !args.yes {
        let info: Info = client.ask_json(&Request::get(&["streams", &args.name]))?;
        let held = number(info.state.messages);
        confirm(
            false,
            &format!("remove the stream {} with its {held} messages and {} consumers", args.name, info.consumers),
        )?;
    }
    client.ask(&Request::new(Method::DELETE, &["streams", &args.name]))?;
    let mut out = Out::new();
    out.line(format!("removed: {}", args.name))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_only_what_they_say() {
        let mut config = json!({"name":"S","age_max":"1h","bytes_max":5,"metadata":{"a":"1"}});
        let declared = Declared {
            age_max: Some("none".parse().unwrap()),
            bytes_max: Some("1KiB".parse().unwrap()),
            metadata: vec!["b=2".parse().unwrap()],
            ..Declared::default()
        };
        let Value::Object(fields) = &mut config else { panic!("an object") };
        declared.apply(fields);
        assert_eq!(config, json!({"name":"S","age_max":null,"bytes_max":1024,"metadata":{"a":"1","b":"2"}}));
    }
}

//! `tidings consumer`: declare consumers and look after them. What they deliver is in [`deliveries`].

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, Request};
use super::deliveries::{self, AckArgs, NakArgs, NextArgs, TermArgs, TokensArgs};
use super::failure::Failure;
use super::output::{Colour, Out, Show, date, number};
use super::stream::{confirm, declaration, exists, put_metadata, shown};
use super::units::{Limit, Pair, Span, When, now};

/// What can be done with consumers.
#[derive(Debug, clap::Subcommand)]
pub enum ConsumerCommand {
    /// List the consumers of a stream
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Declare a consumer
    #[command(alias = "create")]
    Add(AddArgs),
    /// Show a consumer: what was declared and where it stands
    #[command(alias = "show")]
    Info(OneArgs),
    /// Take the next messages
    #[command(alias = "fetch")]
    Next(NextArgs),
    /// Say that deliveries are done with
    Ack(AckArgs),
    /// Say that deliveries are not done, to have them again
    Nak(NakArgs),
    /// Give deliveries up: they become dead letters
    Term(TermArgs),
    /// Say that work on deliveries goes on, so that they are not delivered again yet
    Progress(TokensArgs),
    /// Deliver nothing for a time
    Pause(PauseArgs),
    /// Deliver again after a pause
    Resume(OneArgs),
    /// Remove a consumer
    #[command(alias = "delete")]
    Rm(RmArgs),
}

/// Which consumer.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// The stream
    stream: String,
    /// The consumer
    name: String,
}

/// Flags of `tidings consumer ls`.
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// The stream
    stream: String,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of commands about one consumer.
#[derive(Debug, clap::Args)]
pub struct OneArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings consumer add`.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    #[command(flatten)]
    named: Named,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Only subjects that match: patterns, by commas or repeated
    #[arg(long = "filter", value_name = "PATTERN", value_delimiter = ',')]
    filters: Vec<String>,
    /// Where to start: all, last, new, last_per_subject, a position, a time, or a span before now [default: all]
    #[arg(long, value_name = "WHERE")]
    start: Option<String>,
    /// What must be acknowledged: each message, all up to one, or nothing [default: explicit]
    #[arg(long, value_name = "POLICY", value_parser = ["explicit", "all", "none"], hide_possible_values = true)]
    ack: Option<String>,
    /// How long a delivery may go unacknowledged before it is made again
    #[arg(long, value_name = "SPAN")]
    ack_wait: Option<Span>,
    /// Waits before the second, third, ... delivery, by commas
    #[arg(long, value_name = "SPAN", value_delimiter = ',')]
    backoff: Vec<Span>,
    /// Deliveries after which a message is a dead letter
    #[arg(long, value_name = "N|none")]
    deliver_max: Option<Limit<u64>>,
    /// Whether messages that are given up go to the dead-letter stream
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    dead_letter: Option<bool>,
    /// Most deliveries outstanding
    #[arg(long, value_name = "N")]
    ack_pending_max: Option<u64>,
    /// Let it go when nobody fetches for --inactive
    #[arg(long)]
    ephemeral: bool,
    /// How long without a fetch before it goes
    #[arg(long, value_name = "SPAN")]
    inactive: Option<Span>,
    /// A note, kept as it is; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    metadata: Vec<Pair>,
    /// If the consumer exists already, change what the flags say
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings consumer pause`.
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    #[command(flatten)]
    named: Named,
    /// Until this time
    #[arg(long, value_name = "TIME", required_unless_present = "span", conflicts_with = "span")]
    until: Option<When>,
    /// For this span
    #[arg(long = "for", value_name = "SPAN", id = "span")]
    span: Option<Span>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings consumer rm`.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    #[command(flatten)]
    named: Named,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Deserialize)]
struct Consumers {
    consumers: Vec<Info>,
}

#[derive(Deserialize)]
struct Info {
    config: Map<String, Value>,
    #[serde(default)]
    created: String,
    #[serde(flatten)]
    state: State,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    delivered: u64,
    deliveries: u64,
    ack_floor: u64,
    ack_pending: u64,
    redelivered: u64,
    pending: u64,
    waiting: u64,
    dead: u64,
}

/// Does what was asked.
pub fn run(command: ConsumerCommand) -> Result<(), Failure> {
    match command {
        ConsumerCommand::Ls(args) => ls(&args),
        ConsumerCommand::Add(args) => add(&args),
        ConsumerCommand::Info(args) => info(&args),
        ConsumerCommand::Next(args) => deliveries::next(&args),
        ConsumerCommand::Ack(args) => deliveries::ack(&args),
        ConsumerCommand::Nak(args) => deliveries::nak(&args),
        ConsumerCommand::Term(args) => deliveries::term(&args),
        ConsumerCommand::Progress(args) => deliveries::progress(&args),
        ConsumerCommand::Pause(args) => {
            let until = args.until.map(|until| json!({"until": until.to_string()}));
            let span = args.span.map(|span| json!({"for": span.to_string()}));
            pause(&args.reach, args.show, &args.named, &until.or(span).unwrap_or_default())
        }
        ConsumerCommand::Resume(args) => pause(&args.reach, args.show, &args.named, &json!({})),
        ConsumerCommand::Rm(args) => rm(&args),
    }
}

impl Named {
    /// The path of the consumer, and more behind it.
    pub fn path<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut path = vec!["streams", &self.stream, "consumers", &self.name];
        path.extend(more);
        path
    }
}

fn ls(args: &LsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let answer = client.ask(&Request::get(&["streams", &args.stream, "consumers"]))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let consumers: Consumers = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    let rows = consumers.consumers.iter().map(|info| {
        let text = |name: &str| info.config.get(name).map(shown).unwrap_or_default();
        let state = &info.state;
        let figures =
            [state.delivered, state.ack_floor, state.ack_pending, state.redelivered, state.pending, state.dead];
        let mut row = vec![text("name"), text("filters"), text("ack")];
        row.extend(figures.map(number));
        row
    });
    let header =
        ["CONSUMER", "FILTERS", "ACK", "DELIVERED", "ACK FLOOR", "OUTSTANDING", "REDELIVERED", "PENDING", "DEAD"];
    out.table(&header, &[3, 4, 5, 6, 7, 8], rows.collect())?;
    out.flush()
}

fn info(args: &OneArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let answer = client.ask(&Request::get(&args.named.path(&[])))?;
    shown_info(&answer, args.show, None)
}

fn shown_info(answer: &[u8], show: Show, done: Option<&str>) -> Result<(), Failure> {
    let mut out = Out::new();
    if show.json {
        out.document(answer)?;
        return out.flush();
    }
    let info: Info = serde_json::from_slice(answer).map_err(Failure::strange)?;
    let name = out.paint(Colour::Bold, &info.config.get("name").map(shown).unwrap_or_default());
    match done {
        Some(done) => out.line(format!("{done}: {name}"))?,
        None => {
            out.line(name)?;
            let state = &info.state;
            out.fields(&[
                ("created", date(&info.created)),
                ("delivered up to", number(state.delivered)),
                ("done up to", number(state.ack_floor)),
                ("deliveries", number(state.deliveries)),
                ("outstanding", number(state.ack_pending)),
                ("redelivered", number(state.redelivered)),
                ("pending", number(state.pending)),
                ("fetches waiting", number(state.waiting)),
                ("dead letters", number(state.dead)),
            ])?;
            out.line(out.paint(Colour::Bold, "declared"))?;
        }
    }
    declaration(&mut out, &info.config)?;
    out.flush()
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let (config, done) = match client.ask_json::<Info>(&Request::get(&args.named.path(&[]))) {
        Ok(info) if args.replace => (info.config, "changed"),
        Ok(_) => return Err(exists("consumer", &args.named.name, "add --replace to change it".to_owned())),
        Err(Failure::NotFound(_)) => (Map::new(), "declared"),
        Err(failure) => return Err(failure),
    };
    let config = Value::Object(args.config(config)?);
    let answer = client.ask(&Request::new(Method::PUT, &args.named.path(&[])).json(&config))?;
    shown_info(&answer, args.show, Some(done))
}

impl AddArgs {
    /// Writes what the flags say into a declaration.
    fn config(&self, mut config: Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                config.insert(name.to_owned(), value);
            }
        };
        put("name", Some(json!(self.named.name)));
        put("description", self.description.as_ref().map(|text| json!(text)));
        put("durable", self.ephemeral.then_some(json!(false)));
        put("filters", (!self.filters.is_empty()).then(|| json!(self.filters)));
        put("ack", self.ack.as_ref().map(|policy| json!(policy)));
        put("ack_wait", self.ack_wait.map(|span| json!(span.to_string())));
        let backoff: Vec<String> = self.backoff.iter().map(Span::to_string).collect();
        put("backoff", (!backoff.is_empty()).then(|| json!(backoff)));
        put("deliver_max", self.deliver_max.map(|limit| json!(limit.0)));
        put("dead_letter", self.dead_letter.map(Value::from));
        put("ack_pending_max", self.ack_pending_max.map(Value::from));
        put("inactive", self.inactive.map(|span| json!(span.to_string())));
        for (name, value) in self.start.as_deref().map(started).transpose()?.into_iter().flatten() {
            config.insert(name.to_owned(), value);
        }
        put_metadata(&mut config, &self.metadata);
        Ok(config)
    }
}

/// The fields of a declaration that say where to start.
fn started(text: &str) -> Result<Vec<(&'static str, Value)>, Failure> {
    if matches!(text, "all" | "last" | "new" | "last_per_subject") {
        return Ok(vec![("start", json!(text))]);
    }
    if let Ok(seq) = text.parse::<u64>() {
        return Ok(vec![("start", json!("seq")), ("start_seq", json!(seq))]);
    }
    let moment: When = text.parse().map_err(|_| {
        let hint = "write all, last, new, last_per_subject, a position, a time, or a span before now such as 2h";
        Failure::usage(format!("'{text}' is no place to start"), hint)
    })?;
    Ok(vec![("start", json!("time")), ("start_time", json!(moment.to_string()))])
}

fn pause(reach: &Reach, show: Show, named: &Named, body: &Value) -> Result<(), Failure> {
    let client = Client::new(reach)?;
    client.ask(&Request::post(&named.path(&["pause"])).json(body))?;
    let answer = client.ask(&Request::get(&named.path(&[])))?;
    if show.json {
        return shown_info(&answer, show, None);
    }
    let info: Info = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    let until = info.config.get("pause_until").and_then(Value::as_str);
    let mut out = Out::new();
    match until {
        Some(until) if event::Moment::parse(until).is_ok_and(|until| until > now()) => {
            out.line(format!("paused until {} UTC", date(until)))?;
        }
        _ => out.line("delivering")?,
    }
    out.flush()
}

fn rm(args: &RmArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    confirm(args.yes, &format!("remove the consumer {} of {}", args.named.name, args.named.stream))?;
    client.ask(&Request::new(Method::DELETE, &args.named.path(&[])))?;
    let mut out = Out::new();
    out.line(format!("removed: {}", args.named.name))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: &str, expected: Result<Value, &str>) {
        #[derive(clap::Parser)]
        struct Parsed {
            #[command(flatten)]
            args: AddArgs,
        }
        let words = ["add", "S", "c"].into_iter().chain(flags.split_whitespace());
        let parsed = <Parsed as clap::Parser>::try_parse_from(words).unwrap();
        match (parsed.args.config(Map::new()), expected) {
            (Ok(config), Ok(Value::Object(expected))) => {
                for (name, value) in &expected {
                    assert_eq!(config.get(name), Some(value), "{flags}: {name}");
                }
            }
            (Err(failure), Err(part)) => assert!(failure.to_string().contains(part), "{failure}"),
            (found, expected) => panic!("{flags}: {found:?} {expected:?}"),
        }
    }

    #[test]
    fn flags_make_a_declaration() {
        check("", Ok(json!({"name":"c"})));
        check("--ack none --start new", Ok(json!({"ack":"none","start":"new"})));
        check("--start 42", Ok(json!({"start":"seq","start_seq":42})));
        check("--start 2026-01-31", Ok(json!({"start":"time","start_time":"2026-01-31T00:00:00Z"})));
        check("--filter a.>,b --ephemeral", Ok(json!({"filters":["a.>","b"],"durable":false})));
        check("--backoff 1s,90s --deliver-max none", Ok(json!({"backoff":["1s","90s"],"deliver_max":null})));
        check("--start soon", Err("no place to start"));
    }
}

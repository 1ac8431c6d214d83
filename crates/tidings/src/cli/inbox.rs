//! `tidings inbox`: names of the SLIM door whose messages are kept while their owner is away.
//!
//! An inbox is a stream: with it the messages stay, and go.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, Request};
use super::failure::Failure;
use super::output::{Out, Show, date, number, safe, size};
use super::stream::{confirm, exists};
use super::units::{Limit, Size, Span};

pub const EXAMPLES: &str = "Examples:
  tidings inbox keep org/ns/app --for 7d
  tidings inbox ls
  tidings inbox subject org/ns/app      # as NameAcls and streams name it
  tidings inbox forget org/ns/app --yes";

/// Says in a stream's metadata whose inbox it is.
const NAME: &str = "slim-name";

/// What can be done with inboxes.
#[derive(Debug, clap::Subcommand)]
pub enum InboxCommand {
    /// Keep what is for a name whose owner is away, and deliver it when it comes
    #[command(after_help = EXAMPLES)]
    Keep(KeepArgs),
    /// List the inboxes
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Keep an inbox no longer: what was kept in it goes
    Forget(ForgetArgs),
    /// Say the subjects that a name stands for, for NameAcls, streams and traces
    Subject(SubjectArgs),
}

/// Flags of `tidings inbox keep`.
#[derive(Debug, clap::Args)]
pub struct KeepArgs {
    /// The name, org/namespace/application
    name: String,
    /// How long messages are kept, such as 7d, or none for ever [default: 7d]
    #[arg(long = "for", value_name = "SPAN|none")]
    keep: Option<Limit<Span>>,
    /// Most bytes that are kept, such as 1GiB; the oldest go
    #[arg(long, value_name = "SIZE|none")]
    bytes_max: Option<Limit<Size>>,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings inbox ls`.
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings inbox forget`.
#[derive(Debug, clap::Args)]
pub struct ForgetArgs {
    /// The name, as it was kept
    name: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings inbox subject`.
#[derive(Debug, clap::Args)]
pub struct SubjectArgs {
    /// The name, org/namespace/application
    name: String,
}

#[derive(Deserialize)]
struct Streams {
    streams: Vec<Info>,
}

#[derive(Deserialize)]
struct Info {
    config: Config,
    state: State,
}

#[derive(Deserialize)]
struct Config {
    name: String,
    subjects: Vec<String>,
    #[serde(default)]
    age_max: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct State {
    messages: u64,
    bytes: u64,
    #[serde(default)]
    last_time: Option<String>,
}

/// Does what was asked.
pub fn run(command: InboxCommand) -> Result<(), Failure> {
    match command {
        InboxCommand::Keep(args) => keep(&args),
        InboxCommand::Ls(args) => ls(&args),
        InboxCommand::Forget(args) => forget(&args),
        InboxCommand::Subject(args) => subject(&args),
    }
}

/// The stream of a name, and what it captures.
fn place(name: &str) -> Result<(String, String), Failure> {
    let wrong = || Failure::usage(format!("'{}' is no name", safe(name)), "a name is org/namespace/application");
    host::inbox_of(name).ok_or_else(wrong)
}

fn keep(args: &KeepArgs) -> Result<(), Failure> {
    let (stream, pattern) = place(&args.name)?;
    let client = Client::new(&args.reach)?;
    match client.ask_json::<Info>(&Request::get(&["streams", &stream])) {
        Ok(known) if known.config.subjects != [pattern.clone()] => {
            return Err(exists("stream", &stream, format!("look at it with: tidings stream info {stream}")));
        }
        Ok(_) | Err(Failure::NotFound(_)) => {}
        Err(failure) => return Err(failure),
    }
    let age = args.keep.unwrap_or(Limit("7d".parse().ok()));
    let mut config = json!({
        "subjects": [pattern],
        "description": format!("What is for {} while its owner is away", args.name),
        "age_max": age.0.map(|span| span.to_string()),
        "metadata": {NAME: args.name},
    });
    if let Some(bytes) = args.bytes_max {
        config["bytes_max"] = json!(bytes.0.map(|size| size.0));
    }
    client.ask(&Request::new(Method::PUT, &["streams", &stream]).json(&config))?;
    let mut out = Out::new();
    let span = age.0.map_or_else(|| String::from("for ever"), |span| format!("for {span}"));
    out.line(format!("what is for {} is kept {span} while its owner is away", safe(&args.name)))?;
    out.flush()
}

fn ls(args: &LsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let streams: Streams = client.ask_json(&Request::get(&["streams"]))?;
    let named = |info: &Info| {
        let name = info.config.metadata.get(NAME)?;
        host::inbox_of(name).filter(|(stream, _)| *stream == info.config.name).map(|_| name.clone())
    };
    let kept: Vec<(String, &Info)> = streams.streams.iter().filter_map(|info| Some((named(info)?, info))).collect();
    let mut out = Out::new();
    if args.show.json {
        let row = |(name, info): &(String, &Info)| {
            json!({"name": name, "stream": info.config.name, "for": info.config.age_max,
                "messages": info.state.messages, "bytes": info.state.bytes, "last": info.state.last_time})
        };
        let all: Vec<Value> = kept.iter().map(row).collect();
        out.document(json!({"inboxes": all}).to_string().as_bytes())?;
        return out.flush();
    }
    let row = |(name, info): &(String, &Info)| {
        let age = info.config.age_max.clone().unwrap_or_else(|| String::from("ever"));
        let last = info.state.last_time.as_deref().map(date).unwrap_or_default();
        vec![safe(name), age, number(info.state.messages), size(info.state.bytes), last]
    };
    let header = ["NAME", "FOR", "KEPT", "BYTES", "LAST (UTC)"];
    out.table(&header, &[2, 3], kept.iter().map(row).collect())?;
    out.flush()
}

fn forget(args: &ForgetArgs) -> Result<(), Failure> {
    let (stream, _) = place(&args.name)?;
    let client = Client::new(&args.reach)?;
    let info: Info = client.ask_json(&Request::get(&["streams", &stream]))?;
    let held = number(info.state.messages);
    confirm(args.yes, &format!("remove the {held} messages that are kept for {}", safe(&args.name)))?;
    client.ask(&Request::new(Method::DELETE, &["streams", &stream]))?;
    let mut out = Out::new();
    out.line(format!("nothing is kept for {} any more", safe(&args.name)))?;
    out.flush()
}

fn subject(args: &SubjectArgs) -> Result<(), Failure> {
    let (_, pattern) = place(&args.name)?;
    let each = pattern.trim_start_matches("slim-inbox.");
    let mut out = Out::new();
    out.line(format!("slim.{}", each.trim_end_matches(".*")))?;
    out.line(format!("slim.{each}"))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_three_parts() {
        for bad in ["", "a", "a/b", "a/b/c/d", "a//c", "/a/b"] {
            assert!(place(bad).is_err(), "{bad}");
        }
        let (stream, pattern) = place("org/default/class").ok().unwrap();
        assert_eq!(stream, "SLIM_INBOX_873e580376ea963b_219303c7c93f9668_df365d4b83d27cb2");
        assert_eq!(pattern, "slim-inbox.873e580376ea963b.219303c7c93f9668.df365d4b83d27cb2.*");
    }
}

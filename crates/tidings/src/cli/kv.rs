//! `tidings kv`: keys and their values, over the node's Consul door.

use std::io::{IsTerminal, Read};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use ureq::http::Method;

use super::client::Request;
use super::consul::{At, Door};
use super::failure::{Failure, Problem};
use super::output::{Out, Show, number, preview, safe, size};
use super::watch::{self, Told};

const PUT_EXAMPLES: &str = "Examples:
  tidings kv put app/limit 100
  tidings kv put app/limit 200 --cas 17     # only where nobody changed it since index 17; 0: only where it is new
  tidings kv put app/config - < config.json";

/// Largest value that is read, in bytes: a node takes no larger one.
const VALUE_BYTES_MAX: usize = 512 * 1024;

/// Characters of a value in a listing.
const VALUE_CHARS: usize = 60;

/// What can be done with keys.
#[derive(Debug, clap::Subcommand)]
pub enum KvCommand {
    /// Show a key's value, as it is
    Get(GetArgs),
    /// Give a key a value
    #[command(after_help = PUT_EXAMPLES)]
    Put(PutArgs),
    /// List keys
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Delete a key, or all below a prefix
    #[command(alias = "delete")]
    Rm(RmArgs),
    /// Run a command whenever a key changes
    Watch(WatchArgs),
}

/// Flags of `tidings kv get`.
#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// The key
    key: String,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    at: At,
}

/// Flags of `tidings kv put`.
#[derive(Debug, clap::Args)]
pub struct PutArgs {
    /// The key
    key: String,
    /// The value; - reads it from standard input
    #[arg(allow_hyphen_values = true, default_value = "")]
    value: String,
    /// Only where the key last changed at this index; 0: only where there is no such key
    #[arg(long, value_name = "INDEX")]
    cas: Option<u64>,
    /// A number to keep beside the value
    #[arg(long, value_name = "NUMBER")]
    flags: Option<u64>,
    #[command(flatten)]
    at: At,
}

/// Flags of `tidings kv ls`.
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// What the keys begin with
    #[arg(default_value = "")]
    prefix: String,
    /// Show values, flags and indexes too
    #[arg(long, short)]
    long: bool,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    at: At,
}

/// Flags of `tidings kv rm`.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// The key
    key: String,
    /// All keys that begin so
    #[arg(long, short, conflicts_with = "cas")]
    recurse: bool,
    /// Only where the key last changed at this index
    #[arg(long, value_name = "INDEX")]
    cas: Option<u64>,
    #[command(flatten)]
    at: At,
}

/// Flags of `tidings kv watch`.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// The key
    key: String,
    /// All keys that begin so
    #[arg(long)]
    prefix: bool,
    #[command(flatten)]
    told: Told,
    #[command(flatten)]
    at: At,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    key: String,
    flags: u64,
    value: Option<String>,
    modify_index: u64,
    #[serde(default)]
    session: Option<String>,
}

/// Does what was asked.
pub fn run(command: KvCommand) -> Result<(), Failure> {
    match command {
        KvCommand::Get(args) => get(&args),
        KvCommand::Put(args) => put(&args),
        KvCommand::Ls(args) => ls(&args),
        KvCommand::Rm(args) => rm(&args),
        KvCommand::Watch(args) => {
            let request = Request::get(&["kv", &args.key]).query_if("recurse", args.prefix.then_some("true"));
            watch::follow(&args.at, &request, &args.told)
        }
    }
}

fn no_key(key: &str, failure: Failure) -> Failure {
    match failure {
        Failure::NotFound(_) => Failure::NotFound(Problem {
            title: format!("there is no key '{}'", safe(key)),
            hint: Some("see what there is: tidings kv ls".to_owned()),
            ..Problem::default()
        }),
        other => other,
    }
}

fn get(args: &GetArgs) -> Result<(), Failure> {
    let raw = (!args.show.json).then_some("true");
    let request = Request::get(&["kv", &args.key]).query_if("raw", raw);
    let answer = Door::new(&args.at)?.ask(&request).map_err(|failure| no_key(&args.key, failure))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    out.bytes(&answer)?;
    if std::io::stdout().is_terminal() && !answer.ends_with(b"\n") {
        out.bytes(b"\n")?;
    }
    out.flush()
}

fn put(args: &PutArgs) -> Result<(), Failure> {
    let mut value = args.value.clone().into_bytes();
    if args.value == "-" {
        value.clear();
        let limit = VALUE_BYTES_MAX as u64 + 1;
        std::io::stdin().lock().take(limit).read_to_end(&mut value).map_err(|error| {
            Failure::usage(format!("cannot read standard input: {error}"), "give the value as an argument")
        })?;
        if value.len() > VALUE_BYTES_MAX {
            let what = format!("standard input has more than {VALUE_BYTES_MAX} bytes");
            return Err(Failure::usage(what, "keep what is large elsewhere, and where it is in the key"));
        }
    }
    let request = Request::new(Method::PUT, &["kv", &args.key]).query_if("cas", args.cas).query_if("flags", args.flags);
    done(&Door::new(&args.at)?.ask(&request.body(value))?, &args.key)
}

fn rm(args: &RmArgs) -> Result<(), Failure> {
    let recurse = args.recurse.then_some("true");
    let request = Request::new(Method::DELETE, &["kv", &args.key]).query_if("recurse", recurse);
    done(&Door::new(&args.at)?.ask(&request.query_if("cas", args.cas))?, &args.key)
}

/// The node answers `true`, or `false` where a condition did not hold.
fn done(answer: &[u8], key: &str) -> Result<(), Failure> {
    if answer.trim_ascii() == b"true" {
        return Ok(());
    }
    Err(Failure::Refused(Problem {
        title: format!("the key '{}' was changed by somebody else", safe(key)),
        detail: "--cas names an index at which it did not last change".to_owned(),
        hint: Some(format!("look, and decide anew: tidings kv get {} --json", safe(key))),
        ..Problem::default()
    }))
}

fn ls(args: &LsArgs) -> Result<(), Failure> {
    let how = if args.long { "recurse" } else { "keys" };
    let path: &[&str] = if args.prefix.is_empty() { &["kv", ""] } else { &["kv", &args.prefix] };
    let answer = match Door::new(&args.at)?.ask(&Request::get(path).query(how, "true")) {
        // There is none: an empty list.
        Err(Failure::NotFound(_)) => b"[]".to_vec(),
        answer => answer?,
    };
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let strange = |error: serde_json::Error| super::consul::strange(&error);
    if !args.long {
        let keys: Vec<String> = serde_json::from_slice(&answer).map_err(strange)?;
        keys.iter().try_for_each(|key| out.line(safe(key)))?;
        return out.flush();
    }
    let pairs: Vec<Pair> = serde_json::from_slice(&answer).map_err(strange)?;
    let row = |pair: &Pair| {
        let value = BASE64_STANDARD.decode(pair.value.as_deref().unwrap_or_default()).unwrap_or_default();
        let text = preview(&String::from_utf8_lossy(&value), VALUE_CHARS);
        let session = safe(pair.session.as_deref().unwrap_or_default());
        let (flags, index) = (pair.flags.to_string(), number(pair.modify_index));
        vec![safe(&pair.key), size(value.len() as u64), flags, index, text, session]
    };
    out.table(&["KEY", "SIZE", "FLAGS", "INDEX", "VALUE", "SESSION"], &[1, 2, 3], pairs.iter().map(row).collect())?;
    out.flush()
}

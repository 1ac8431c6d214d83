//! Deliveries on the command line: taking them, and saying what became of them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::client::{Client, Reach, Request};
use super::consumer::Named;
use super::failure::Failure;
use super::interrupt::Interrupt;
use super::output::{Colour, Out, Show, safe};
use super::record::Record;
use super::units::{Size, Span};

/// How long one fetch of a following worker waits at the node: short enough to hear Ctrl-C.
const FOLLOW_WAIT: Duration = Duration::from_secs(2);
/// Wait before a following worker asks again after the node was away.
const AWAY_WAIT: Duration = Duration::from_millis(500);

/// Flags of `tidings consumer next`.
#[derive(Debug, clap::Args)]
pub struct NextArgs {
    #[command(flatten)]
    named: Named,
    /// Most messages
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// How long to wait for them
    #[arg(long, value_name = "SPAN", default_value = "0s")]
    wait: Span,
    /// Most bytes
    #[arg(long, value_name = "SIZE")]
    bytes_max: Option<Size>,
    /// Acknowledge each once it is written out
    #[arg(long)]
    ack: bool,
    /// Go on taking messages until interrupted
    #[arg(long, short = 'f', conflicts_with = "wait")]
    follow: bool,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Which deliveries.
#[derive(Debug, clap::Args)]
pub struct Tokens {
    #[command(flatten)]
    named: Named,
    /// The deliveries' tokens, as `next` shows them
    #[arg(required = true)]
    tokens: Vec<String>,
}

/// Flags of commands about deliveries that need no more.
#[derive(Debug, clap::Args)]
pub struct TokensArgs {
    #[command(flatten)]
    tokens: Tokens,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings consumer ack`.
#[derive(Debug, clap::Args)]
pub struct AckArgs {
    #[command(flatten)]
    tokens: Tokens,
    /// Answer only once the acknowledgement is on disk
    #[arg(long)]
    sync: bool,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings consumer nak`.
#[derive(Debug, clap::Args)]
pub struct NakArgs {
    #[command(flatten)]
    tokens: Tokens,
    /// Deliver again only after this span
    #[arg(long, value_name = "SPAN")]
    delay: Option<Span>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings consumer term`.
#[derive(Debug, clap::Args)]
pub struct TermArgs {
    #[command(flatten)]
    tokens: Tokens,
    /// Why, kept with the dead letter
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Deserialize)]
struct Fetched {
    #[serde(default)]
    messages: Vec<Box<RawValue>>,
}

/// What the node says of tokens: those that it did not take.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    errors: Vec<Fault>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fault {
    token: String,
    detail: String,
}

/// Takes messages and shows them.
pub fn next(args: &NextArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let interrupt = if args.follow { Interrupt::watch() } else { Interrupt::default() };
    let mut out = Out::new();
    let mut reached = false;
    let mut taken = 0;
    while !interrupt.asked() {
        let count = match args.follow {
            // What is there, as much as is asked for; else the first that comes, without waiting for more.
            true => match take(&client, args, args.batch, Duration::ZERO, &mut out) {
                Ok(0) => take(&client, args, 1, FOLLOW_WAIT, &mut out),
                other => other,
            },
            false => take(&client, args, args.batch, args.wait.0, &mut out),
        };
        match count {
            Ok(count) => taken += count,
            Err(failure) if args.follow && reached && failure.retry_after_seconds().is_some() => {
                std::thread::sleep(AWAY_WAIT);
            }
            Err(failure) => return Err(failure),
        }
        reached = true;
        if !args.follow {
            if taken == 0 && !args.show.json {
                eprintln!("nothing to take; --wait SPAN waits for more");
            }
            return Ok(());
        }
    }
    Err(Failure::Interrupted)
}

/// Makes one fetch, writes out what came, acknowledges if asked to. Gives how many came.
fn take(client: &Client, args: &NextArgs, batch: u64, wait: Duration, out: &mut Out) -> Result<usize, Failure> {
    let mut body = Map::new();
    body.insert("batch".to_owned(), json!(batch));
    if !wait.is_zero() {
        body.insert("wait".to_owned(), json!(Span(wait).to_string()));
    }
    if let Some(bytes) = args.bytes_max {
        body.insert("max_bytes".to_owned(), json!(bytes.0));
    }
    let request = Request::post(&args.named.path(&["fetch"])).json(&Value::Object(body)).wait(wait);
    let fetched: Fetched = client.ask_json(&request)?;
    let mut tokens = Vec::new();
    for raw in &fetched.messages {
        let record = Record::parse(raw.get())?;
        if args.show.json {
            out.document(raw.get().as_bytes())?;
        } else {
            out.line(record.line(out))?;
            let again = match record.attempt {
                Some(attempt) if attempt > 1 => format!("  (delivery {attempt})"),
                _ => String::new(),
            };
            if let (Some(token), false) = (&record.token, args.ack) {
                out.line(format!("    token {}{}", safe(token), out.paint(Colour::Yellow, &again)))?;
            } else if !again.is_empty() {
                out.line(out.paint(Colour::Yellow, &format!("    {}", again.trim())))?;
            }
        }
        tokens.extend(record.token);
    }
    out.flush()?;
    if args.ack && !tokens.is_empty() {
        let answer = client.ask(&Request::post(&args.named.path(&["ack"])).json(&json!({ "tokens": tokens })))?;
        warn_of_faults(&answer);
    }
    Ok(fetched.messages.len())
}

/// Says that deliveries are done with.
pub fn ack(args: &AckArgs) -> Result<(), Failure> {
    say(&args.reach, args.show, &args.tokens, "ack", args.sync.then_some(("sync", json!(true))))
}

/// Gives deliveries back.
pub fn nak(args: &NakArgs) -> Result<(), Failure> {
    let extra = args.delay.map(|delay| ("delay", json!(delay.to_string())));
    say(&args.reach, args.show, &args.tokens, "nak", extra)
}

/// Gives deliveries up.
pub fn term(args: &TermArgs) -> Result<(), Failure> {
    let extra = args.reason.as_ref().map(|reason| ("reason", json!(reason)));
    say(&args.reach, args.show, &args.tokens, "term", extra)
}

/// Says that work on deliveries goes on.
pub fn progress(args: &TokensArgs) -> Result<(), Failure> {
    say(&args.reach, args.show, &args.tokens, "progress", None)
}

fn say(reach: &Reach, show: Show, tokens: &Tokens, verb: &str, extra: Option<(&str, Value)>) -> Result<(), Failure> {
    let client = Client::new(reach)?;
    let mut body = Map::new();
    body.insert("tokens".to_owned(), json!(tokens.tokens));
    body.extend(extra.map(|(name, value)| (name.to_owned(), value)));
    let answer = client.ask(&Request::post(&tokens.named.path(&[verb])).json(&Value::Object(body)))?;
    let faults = warn_of_faults(&answer);
    let mut out = Out::new();
    if show.json {
        out.document(if answer.trim_ascii().is_empty() { b"{}" } else { &answer })?;
    } else {
        let done = match verb {
            "ack" => "acknowledged",
            "nak" => "given back",
            "term" => "given up",
            _ => "extended",
        };
        out.line(format!("{done}: {}", tokens.tokens.len() - faults.min(tokens.tokens.len())))?;
    }
    out.flush()?;
    if faults > 0 { Err(Failure::Found) } else { Ok(()) }
}

/// Tells of the tokens that the node did not take, and how many they are.
fn warn_of_faults(answer: &[u8]) -> usize {
    let said: Said = serde_json::from_slice(answer).unwrap_or_default();
    for fault in &said.errors {
        eprintln!("not taken: {}: {}", safe(&fault.token), safe(&fault.detail));
    }
    said.errors.len()
}

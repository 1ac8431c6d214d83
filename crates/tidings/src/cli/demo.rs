//! `tidings demo`: a node doing its main job before one's eyes.
//!
//! Starts a node of this binary on a free port with its data in a scratch directory, publishes to it,
//! kills it in the middle, starts it again, and compares what was acknowledged with what is there. Then
//! one worker takes events and vanishes, and another finishes them. Everything is removed at the end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, Request};
use super::emit::Outcome;
use super::failure::Failure;
use super::output::{Colour, Out, number};
use super::record::{Page, Record};

/// Events in one request.
const BATCH: u64 = 100;
/// The type of the events that are counted.
const COUNTED: &str = "demo.counted";
/// The type of the events that are worked on.
const TASK: &str = "demo.task";
/// Events acknowledged before the kill, at least.
const EVENTS_BEFORE: u64 = 5_000;
/// Longest time for a node to become ready.
const READY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often to look whether it is.
const READY_EVERY: Duration = Duration::from_millis(2);
/// Messages read at once.
const PAGE_MESSAGES: u64 = 1_000;
/// How long a worker may keep an event before another gets it.
const ACK_WAIT: &str = "500ms";
/// Events that the first worker takes and the second finishes.
const WORK: u64 = 3;

/// Flags of `tidings demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Keep the node's data, and say where it is
    #[arg(long)]
    keep: bool,
}

/// A node that is killed when nobody needs it any more.
struct Running {
    child: Child,
    client: Client,
    ready_after: Duration,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that goes with its owner.
struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[derive(Deserialize)]
struct Receipts {
    events: Vec<Outcome>,
}

/// Shows it.
pub fn run(args: DemoArgs) -> Result<(), Failure> {
    let path = std::env::temp_dir().join(format!("tidings-demo-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&path).map_err(|error| cannot("make a scratch directory", &error))?;
    let scratch = Scratch { path, keep: args.keep };
    let mut out = Out::new();

    let mut node = Running::start(&scratch.path)?;
    say(&mut out, "A node runs", &format!("at {}, ready after {:.0?}", node.client.server(), node.ready_after))?;

    let begun = Instant::now();
    let acknowledged = publish_until_killed(&mut node)?;
    let took = begun.elapsed();
    say(&mut out, "Events are published", &format!("{} were acknowledged in {took:.0?}", number(acknowledged)))?;
    say(&mut out, "The node is killed", "kill -9, with a request under way")?;
    drop(node);

    let node = Running::start(&scratch.path)?;
    say(&mut out, "It starts again", &format!("on the same data, ready after {:.0?}", node.ready_after))?;
    let found = numbers(&node.client)?;
    compare(&mut out, acknowledged, &found)?;

    let duplicates = publish(&node.client, COUNTED, acknowledged.saturating_sub(BATCH), 2 * BATCH)?;
    let told = format!("{} events: {duplicates} were there already, {} are new", 2 * BATCH, 2 * BATCH - duplicates);
    say(&mut out, "The publisher, in doubt, sends again", &told)?;

    work(&mut out, &node.client)?;
    say(&mut out, "Now with a node of your own", "tidings serve")?;
    if args.keep {
        say(&mut out, "The data is kept", &format!("in {}", scratch.path.join("data").display()))?;
    }
    Ok(())
}

fn say(out: &mut Out, what: &str, more: &str) -> Result<(), Failure> {
    let what = out.paint(Colour::Bold, &format!("{what}:"));
    out.line(format!("{what} {more}"))?;
    out.flush()
}

fn cannot(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("cannot {what}: {error}"), "see whether the temporary directory can be written (TMPDIR)")
}

impl Running {
    fn start(scratch: &Path) -> Result<Self, Failure> {
        let (data, log) = (scratch.join("data"), scratch.join("node.log"));
        let binary = std::env::current_exe().map_err(|error| cannot("find this binary", &error))?;
        let log_file = std::fs::File::options().create(true).append(true).open(&log);
        let log_file = log_file.map_err(|error| cannot("write the node's log", &error))?;
        let ports = data.join("ports.json");
        // What a killed node left behind would name the port that it had.
        let _ = std::fs::remove_file(&ports);
        let mut command = Command::new(binary);
        command
            .args([
                "serve",
                "--http",
                "127.0.0.1:0",
                "--nats",
                "off",
                "--hub",
                "off",
                "--consul",
                "off",
                "--dns",
                "off",
                "--slim",
                "off",
                "--data",
            ])
            .arg(&data);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDINGS_") {
                command.env_remove(name);
            }
        }
        let begun = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file).spawn();
        let mut child = child.map_err(|error| cannot("start the node", &error))?;
        loop {
            if let Some(server) = address(&ports) {
                let client = Client::new(&Reach { server, token_file: None, ca: None })?;
                return Ok(Running { child, client, ready_after: begun.elapsed() });
            }
            let ended = child.try_wait().ok().flatten();
            if ended.is_some() || begun.elapsed() > READY_WAIT_MAX {
                let _ = child.kill();
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(cannot("start the node", &said.trim()));
            }
            std::thread::sleep(READY_EVERY);
        }
    }
}

fn address(ports: &Path) -> Option<String> {
    let ports: Value = serde_json::from_slice(&std::fs::read(ports).ok()?).ok()?;
    Some(format!("http://{}", ports.get("http")?.as_str()?))
}

/// Publishes numbered events in one request; how many were there already.
fn publish(client: &Client, kind: &str, first: u64, count: u64) -> Result<u64, Failure> {
    let event = |number: u64| {
        json!({"specversion": "1.0", "type": kind, "source": "/demo", "id": format!("{kind}-{number}"),
            "datacontenttype": "application/json", "data": number})
    };
    let events: Vec<Value> = (first..first + count).map(event).collect();
    let body = Value::Array(events).to_string().into_bytes();
    let request = Request::post(&["events"]).header("content-type", "application/cloudevents-batch+json").body(body);
    let receipts: Receipts = client.ask_json(&request)?;
    let mut duplicates = 0;
    for outcome in receipts.events {
        duplicates += u64::from(outcome.recorded()?.duplicate);
    }
    Ok(duplicates)
}

/// Publishes until the node, which is killed meanwhile, answers no more. How many were acknowledged.
fn publish_until_killed(node: &mut Running) -> Result<u64, Failure> {
    let mut acknowledged = 0;
    while acknowledged < EVENTS_BEFORE {
        publish(&node.client, COUNTED, acknowledged, BATCH)?;
        acknowledged += BATCH;
    }
    let client = node.client.clone();
    let publisher = std::thread::spawn(move || {
        while publish(&client, COUNTED, acknowledged, BATCH).is_ok() {
            acknowledged += BATCH;
        }
        acknowledged
    });
    std::thread::sleep(READY_EVERY);
    node.child.kill().map_err(|error| cannot("kill the node", &error))?;
    publisher.join().map_err(|_| cannot("publish", &"the publisher failed"))
}

/// The numbers of all events recorded, in order.
fn numbers(client: &Client) -> Result<Vec<u64>, Failure> {
    let (mut found, mut from) = (Vec::new(), 1);
    loop {
        let request = Request::get(&["streams", "EVENTS", "messages"]);
        let page: Page = client.ask_json(&request.query("from", from).query("limit", PAGE_MESSAGES))?;
        for raw in &page.messages {
            found.extend(Record::parse(raw.get())?.data.and_then(|data| data.parse::<u64>().ok()));
        }
        if page.next > page.last || page.next <= from {
            return Ok(found);
        }
        from = page.next;
    }
}

/// What was acknowledged must be there, once, in order. Of the request under way, a part may be.
fn compare(out: &mut Out, acknowledged: u64, found: &[u64]) -> Result<(), Failure> {
    let in_order = found.iter().copied().eq(0..found.len() as u64);
    let there = (found.len() as u64).min(acknowledged);
    let more = (found.len() as u64).saturating_sub(acknowledged);
    let order = if in_order { "each once, in order" } else { "NOT each once and in order" };
    let told = format!(
        "{} of {} acknowledged events, {order}; and {more} of the request that was under way",
        number(there),
        number(acknowledged)
    );
    say(out, "What is there", &told)?;
    if in_order && there == acknowledged { Ok(()) } else { Err(Failure::Found) }
}

/// One worker takes events and vanishes; another gets them again and finishes them.
fn work(out: &mut Out, client: &Client) -> Result<(), Failure> {
    publish(client, TASK, 0, WORK)?;
    let consumer = ["streams", "EVENTS", "consumers", "demo"];
    let config = json!({"ack_wait": ACK_WAIT, "filters": ["events.demo.task"]});
    client.ask(&Request::new(Method::PUT, &consumer).json(&config))?;
    let take = |wait: Option<&str>| -> Result<Vec<Record>, Failure> {
        let path = [&consumer[..], &["fetch"]].concat();
        let wait = wait.map_or(json!({"batch": WORK}), |wait| json!({"batch": WORK, "wait": wait}));
        let page: Page = client.ask_json(&Request::post(&path).json(&wait))?;
        page.messages.iter().map(|raw| Record::parse(raw.get())).collect()
    };
    let dropped = take(None)?;
    say(out, "A worker takes events and vanishes", &format!("positions {}", positions(&dropped)))?;
    let again = take(Some("5s"))?;
    let tokens: Vec<&String> = again.iter().filter_map(|record| record.token.as_ref()).collect();
    client.ask(&Request::post(&[&consumer[..], &["ack"]].concat()).json(&json!({"tokens": tokens, "sync": true})))?;
    let attempt = again.iter().filter_map(|record| record.attempt).max().unwrap_or_default();
    let told = format!("positions {}, delivery {attempt}, acknowledged", positions(&again));
    say(out, "Another gets the same and finishes", &told)?;
    if positions(&dropped) == positions(&again) { Ok(()) } else { Err(Failure::Found) }
}

fn positions(records: &[Record]) -> String {
    records.iter().map(|record| record.seq.to_string()).collect::<Vec<_>>().join(", ")
}

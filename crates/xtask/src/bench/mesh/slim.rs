//! The SLIM door: what a message costs the node, what a stock client waits for an answer, what one that stopped costs
//! the others; beside the original's own node where its bindings bring one.
//!
//! The load is an example of the crate door-slim, which signs and frames as stock clients do and does nothing else.
//! Round trips are those of the bindings themselves, from PyPI, with which nothing can be done but wait.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::Bench;
use crate::bench::figure;
use crate::bench::spread::Spread;
use crate::node::{Launch, Node};
use crate::street;
use crate::tree::root;

/// Processor time for one message that the original was seen to take is 6 µs.
const CPU_MAX: Duration = Duration::from_micros(2);
/// A reliable round trip that the original was seen to take is 88 ms.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(2);
/// Members of the channel.
const MEMBERS: usize = 4;

/// A node with its SLIM door.
struct Site {
    node: Node,
    slim: SocketAddr,
}

impl Site {
    fn start(bench: &Bench) -> Result<Site, String> {
        let folder = bench.folder.join("slim");
        let _absent = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut launch = Launch::new(&bench.binary, &folder);
        let variables = ["TIDINGS_SLIM=127.0.0.1:0", "TIDINGS_MONITOR=off", "TIDINGS_LOG=warn"];
        launch.wrapper = ["env"].iter().chain(&variables).map(ToString::to_string).collect();
        let node = launch.start()?;
        let ports = fs::read(launch.data.join("ports.json")).map_err(|error| error.to_string())?;
        let ports: Value = serde_json::from_slice(&ports).map_err(|error| error.to_string())?;
        let slim = ports["slim"].as_str().and_then(|address| address.parse().ok());
        Ok(Site { node, slim: slim.ok_or_else(|| format!("the node has no SLIM door: {ports}"))? })
    }
}

/// What came of one load.
struct Came {
    seconds: f64,
    /// Messages that each reader had.
    received: Vec<u64>,
    /// Processor time of the node.
    cpu: Duration,
}

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let load = built()?;
    let count = bench.count(400_000, 40_000);
    loads(bench, &load, count)?;
    stopped(bench, &load, count)?;
    let target = crate::node::scratch("bench-slim-env")?;
    let python = street::prepare(target.parent().unwrap_or(&target));
    let _empty = fs::remove_dir(&target);
    match python {
        Ok(python) => round_trips(bench, &python),
        Err(reason) => {
            println!("round trips: skipped: {reason}");
            Ok(())
        }
    }
}

/// The optimised load.
fn built() -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os("TIDINGS_SLIM_LOAD") {
        return Ok(PathBuf::from(given));
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--package", "door-slim", "--example", "load", "--message-format", "json"]);
    let built = cargo.current_dir(root()).stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    let printed = String::from_utf8_lossy(&built.stdout);
    let mut messages = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = messages.find_map(|message| {
        let mine = message["target"]["name"] == "load";
        mine.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    });
    found.ok_or_else(|| String::from("the load of door-slim does not build"))
}

fn drive(site: &Site, load: &Path, arguments: &[(&str, usize)]) -> Result<Came, String> {
    let mut command = Command::new(load);
    command.arg(site.slim.to_string());
    for (name, value) in arguments {
        command.arg(format!("--{name}")).arg(value.to_string());
    }
    let before = site.node.cpu()?;
    let output = command.output().map_err(|error| format!("{}: {error}", load.display()))?;
    let cpu = site.node.cpu()?.saturating_sub(before);
    let said: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("the load ended: {}", String::from_utf8_lossy(&output.stderr)))?;
    let received = said["received"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    Ok(Came { seconds: said["seconds"].as_f64().unwrap_or_default(), received, cpu })
}

/// One pair, four pairs, larger messages, and a channel.
fn loads(bench: &Bench, load: &Path, count: usize) -> Result<(), String> {
    let rows: [(&str, usize, usize, usize, Option<Duration>); 5] = [
        ("one pair, 128 B", 128, 1, 1, Some(CPU_MAX)),
        ("four pairs, 128 B", 128, 1, 4, Some(CPU_MAX)),
        ("one pair, 1 KiB", 1024, 1, 1, None),
        ("one pair, 16 KiB", 16 * 1024, 1, 1, None),
        ("a channel of four, 128 B", 128, MEMBERS, 1, Some(CPU_MAX)),
    ];
    for (name, size, members, pairs, most) in rows {
        let (mut rate, mut cpu) = (Spread::default(), Spread::default());
        let count = if size > 4096 { count / 10 } else { count / pairs };
        for _ in 0..bench.rounds {
            let site = Site::start(bench)?;
            let arguments = [("count", count), ("size", size), ("members", members), ("pairs", pairs)];
            let came = drive(&site, load, &arguments)?;
            let all: u64 = came.received.iter().sum();
            if all != (count * members * pairs) as u64 {
                return Err(format!("{name}: of {count} messages each came {:?}", came.received));
            }
            rate.add(all as f64 / came.seconds);
            cpu.add(came.cpu.as_secs_f64() / all as f64);
            site.node.stop()?;
        }
        rate.print_rate(&format!("{name}: delivered"), None);
        cpu.print_time(&format!("{name}: processor time of the node for one delivery"), most);
    }
    Ok(())
}

/// The same channel with a member that does not read.
fn stopped(bench: &Bench, load: &Path, count: usize) -> Result<(), String> {
    let (mut alone, mut beside) = (Spread::default(), Spread::default());
    for _ in 0..bench.rounds {
        for (idle, rates) in [(0, &mut alone), (1, &mut beside)] {
            let site = Site::start(bench)?;
            let came = drive(&site, load, &[("count", count / 4), ("size", 1024), ("members", 2), ("stopped", idle)])?;
            if came.received.iter().any(|came| *came != (count / 4) as u64) {
                return Err(format!("beside {idle} that stopped, of {} each came {:?}", count / 4, came.received));
            }
            rates.add(came.received.iter().sum::<u64>() as f64 / came.seconds);
            site.node.stop()?;
        }
    }
    alone.print_rate("two members, 1 KiB: delivered", None);
    beside.print_rate("the same beside one that does not read, none lost", None);
    figure("which is of the rate without", &format!("{:.0} %", 100.0 * beside.median() / alone.median()), None);
    Ok(())
}

/// What the bindings wait, at this node and at their own.
fn round_trips(bench: &Bench, python: &Path) -> Result<(), String> {
    let count = bench.count(1000, 200);
    for (what, arguments, most) in [
        ("reliable, 128 B", &["--size", "128"][..], Some(ROUND_TRIP_MAX)),
        ("unreliable, 128 B", &["--size", "128", "--unreliable"][..], None),
        ("reliable, 16 KiB", &["--size", "16384"][..], None),
    ] {
        let (mut ours, mut theirs) = (Spread::default(), Spread::default());
        for _ in 0..bench.rounds {
            let site = Site::start(bench)?;
            ours.add(round_trip(python, &site.slim.to_string(), count, arguments)?);
            site.node.stop()?;
            let original = Original::start(python)?;
            // It is a hundred times slower.
            theirs.add(round_trip(python, &original.address, count / 10, arguments)?);
        }
        ours.print_time(&format!("round trip of the bindings, {what}: p50"), most);
        theirs.print_time("    the same at a node of their own", None);
    }
    Ok(())
}

/// The median round trip, in seconds.
fn round_trip(python: &Path, address: &str, count: usize, more: &[&str]) -> Result<f64, String> {
    let mut command = Command::new(python);
    command.arg("street/slim.py").arg("rtt").arg(format!("http://{address}"));
    command.args(["--count", &count.to_string()]).args(more).current_dir(root());
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let found = said.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()?["p50_us"].as_f64());
    found.map(|micros| micros / 1e6).ok_or_else(|| {
        let error = String::from_utf8_lossy(&output.stderr);
        format!("the bindings end: {}", error.trim().lines().last().unwrap_or("no reason given"))
    })
}

/// A node of the bindings' own.
struct Original {
    child: Child,
    address: String,
}

impl Original {
    fn start(python: &Path) -> Result<Original, String> {
        // It does not say which port it took.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = free.map_err(|error| error.to_string())?.to_string();
        let mut command = Command::new(python);
        command.args(["street/slim.py", "node", &address]).current_dir(root());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or("no output")?;
        BufReader::new(out).read_line(&mut line).map_err(|error| error.to_string())?;
        let original = Original { child, address };
        if line.contains("listening") { Ok(original) } else { Err(String::from("the original does not start")) }
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

//! `tidings watch`: a command run on each change, with the result on its standard input.
//!
//! A blocking query at a time. What changed while the command ran, or within the debounce, is one change. A node that
//! is away is waited for; that it was is told once. Indexes are positions of a stream, and go on across a restart.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use event::units::Span;

use super::catalog::Which;
use super::client::Request;
use super::consul::{At, Door};
use super::failure::Failure;
use super::output::Out;

const EXAMPLES: &str = "Examples:
  tidings watch service web --passing -- ./write-upstreams.sh
  tidings watch service web                       # each result as a line of JSON
  tidings watch service web -- sh -c 'jq length'

The command finds the result on its standard input, its index in TIDINGS_INDEX. What it ends with is told where it is
not 0, and the watch goes on; with --times, the watch ends with 1 where the last run failed.";

/// How long one blocking query waits.
const WAIT: Duration = Duration::from_secs(300);
/// The first wait for a node that is away, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What can be watched.
#[derive(Debug, clap::Subcommand)]
pub enum WatchCommand {
    /// Instances of a service
    #[command(after_help = EXAMPLES)]
    Service(ServiceArgs),
    /// The names of all services
    Services(PlainArgs),
    /// The nodes
    Nodes(PlainArgs),
}

/// What is done with a change.
#[derive(Debug, clap::Args)]
pub struct Told {
    /// How long to wait for further changes before the command runs
    #[arg(long, value_name = "SPAN", default_value = "100ms")]
    debounce: Span,
    /// End after so many runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    times: Option<u64>,
    /// The command with its arguments; none: each result is shown, on a line
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Flags of `tidings watch service`.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    told: Told,
    #[command(flatten)]
    at: At,
}

/// Flags of the others.
#[derive(Debug, clap::Args)]
pub struct PlainArgs {
    #[command(flatten)]
    told: Told,
    #[command(flatten)]
    at: At,
}

/// Does what was asked.
pub fn run(command: WatchCommand) -> Result<(), Failure> {
    match command {
        WatchCommand::Service(args) => follow(&args.at, &args.which.request(), &args.told),
        WatchCommand::Services(args) => follow(&args.at, &Request::get(&["catalog", "services"]), &args.told),
        WatchCommand::Nodes(args) => follow(&args.at, &Request::get(&["catalog", "nodes"]), &args.told),
    }
}

/// One watch: what it saw last.
struct Watch<'a> {
    door: Door,
    request: &'a Request,
    /// 0: the next answer comes at once.
    index: u64,
    away: Option<Duration>,
}

/// Runs the command on each change of the answer, the first included. What there is not is an empty result.
pub fn follow(at: &At, request: &Request, told: &Told) -> Result<(), Failure> {
    let mut watch = Watch { door: Door::new(at)?, request, index: 0, away: None };
    let (mut last, mut runs) = (None, 0);
    loop {
        let mut seen = watch.next()?;
        if last.as_ref() == Some(&seen) {
            continue;
        }
        if last.is_some() && !told.debounce.0.is_zero() {
            thread::sleep(told.debounce.0);
            watch.index = 0;
            seen = watch.next()?;
            if last.as_ref() == Some(&seen) {
                continue;
            }
        }
        let ended = tell(told, watch.index, &seen)?;
        last = Some(seen);
        runs += 1;
        if told.times == Some(runs) {
            return if ended { Ok(()) } else { Err(Failure::Found) };
        }
    }
}

impl Watch<'_> {
    /// The next answer: when it has changed, or the wait is over.
    fn next(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            let waiting = match self.index {
                0 => self.request.clone(),
                index => self.request.clone().query("index", index).query("wait", "5m").wait(WAIT + WAIT / 8),
            };
            match self.door.ask_indexed(&waiting) {
                Ok((index, body)) => return Ok(self.came(index, body)),
                Err(failure) => match failure.retry_after_seconds() {
                    Some(seconds) => self.wait(&failure, Duration::from_secs(seconds)),
                    None => return Err(failure),
                },
            }
        }
    }

    fn came(&mut self, index: u64, body: Vec<u8>) -> Vec<u8> {
        if self.away.take().is_some() {
            eprintln!("the node is back");
        }
        // An index that went back is of another stream: begin anew.
        self.index = if index < self.index { 0 } else { index };
        body
    }

    fn wait(&mut self, failure: &Failure, least: Duration) {
        let (first, longest) = RETRY;
        let pause = self.away.map_or(first, |before| (before * 2).min(longest));
        if self.away.is_none() {
            failure.report();
            eprintln!("waiting for the node");
        }
        self.away = Some(pause);
        thread::sleep(pause.max(least.min(longest)));
    }
}

/// Hands a result on. Answers whether the command ended well.
fn tell(told: &Told, index: u64, result: &[u8]) -> Result<bool, Failure> {
    let Some((program, arguments)) = told.command.split_first() else {
        let mut out = Out::new();
        out.document(result)?;
        out.flush()?;
        return Ok(true);
    };
    let mut command = Command::new(program);
    command.args(arguments).env("TIDINGS_INDEX", index.to_string()).stdin(Stdio::piped());
    let child = command.spawn().map_err(|error| {
        Failure::usage(format!("cannot run '{program}': {error}"), "name a program that can be run, behind --")
    })?;
    let status = fed(child, result)
        .map_err(|error| Failure::usage(format!("cannot wait for '{program}': {error}"), "try again"))?;
    if !status.success() {
        eprintln!("'{program}' ended with {status}");
    }
    Ok(status.success())
}

/// Feeds a command and waits for it.
fn fed(mut child: Child, result: &[u8]) -> std::io::Result<ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read to the end has seen enough.
        let _enough = stdin.write_all(result);
    }
    child.wait()
}

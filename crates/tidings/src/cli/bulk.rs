//! `tidings event emit --ndjson`: one event for each line of standard input.
//!
//! A thread reads and makes events of lines; this one sends them. What is there when a request has
//! been acknowledged goes into the next, so a slow input is sent at once and a fast one in full
//! batches. One request is under way at a time: that is what keeps the events in the lines' order.
//!
//! Invariants: a line is counted as acknowledged only once the node said so; the checkpoint never
//! names a line beyond that; a request is tried again with the same bytes, so that the node's
//! de-duplication by id makes one event of both.

use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, Request};
use super::emit::{Outcome, Recorded, addressed, uncaptured};
use super::failure::Failure;
use super::interrupt::Interrupt;
use super::lines::{Digest, Wrap};
use super::output::{Out, number};
use super::units::Span;

/// Longest line, in bytes: the largest payload that a node takes, with room for attributes.
const LINE_BYTES_MAX: u64 = event::limits::PAYLOAD_BYTES_MAX as u64 + (1 << 20);
/// Bytes of events after which a request is full, whatever its count: below a node's usual limit for a body.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// Batches that are read ahead of the one under way.
const BATCHES_AHEAD: usize = 2;
/// First wait before a request is tried again; each further one is twice as long.
const RETRY_WAIT_FIRST: Duration = Duration::from_millis(200);
/// Longest wait before a request is tried again, unless the node names a longer one.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often to look whether the user wants to stop.
const INTERRUPT_EVERY: Duration = Duration::from_millis(100);
/// How often to tell how far it came, where standard error is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What to send, and how.
pub struct Bulk {
    /// Makes an event of a line.
    pub wrap: Wrap,
    /// How long the node keeps the events.
    pub ttl: Option<Span>,
    /// Where the checkpoint is.
    pub resume: Option<PathBuf>,
    /// Most events in one request.
    pub batch_events_max: usize,
    /// How long to try again.
    pub patience: Duration,
    /// Whether to sum up in JSON.
    pub json: bool,
}

/// How far an input was acknowledged.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Checkpoint {
    /// Lines acknowledged, from the first.
    lines: u64,
    /// What those lines were.
    digest: String,
}

/// What the reading thread hands over.
struct Item {
    number: u64,
    digest: String,
    line: super::lines::Line,
}

type Read1 = Result<Item, Failure>;

/// A request's worth of events.
#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    lines: Vec<u64>,
    to: Option<String>,
    reached: Checkpoint,
}

/// How far this run came.
struct Progress {
    begun: Instant,
    told: Instant,
    bar: ProgressBar,
    skipped: u64,
    reached: Checkpoint,
    events: u64,
    duplicates: u64,
    last: Option<Recorded>,
}

#[derive(Deserialize)]
struct Answer {
    events: Vec<Outcome>,
}

/// Sends every line and says how it went.
pub fn run(client: &Client, bulk: Bulk) -> Result<(), Failure> {
    let interrupt = Interrupt::watch();
    let from = bulk.resume.as_ref().map(|file| Checkpoint::load(file)).transpose()?.flatten().unwrap_or_default();
    let (sender, receiver) = sync_channel(bulk.batch_events_max * BATCHES_AHEAD);
    let (wrap, skip) = (bulk.wrap.clone(), from.clone());
    // The thread ends with the input, or with the receiver; at the latest with the process.
    std::thread::spawn(move || read(std::io::stdin().lock(), &wrap, &skip, &sender));
    let mut progress = Progress::new(from);
    let done = send_all(client, &bulk, &receiver, &mut progress, &interrupt);
    progress.bar.finish_and_clear();
    progress.sum_up(&bulk)?;
    match done {
        Err(failure) => {
            eprintln!("stopped: {} acknowledged; {}", lines_up_to(progress.reached.lines), bulk.advice());
            Err(failure)
        }
        Ok(()) => Ok(()),
    }
}

fn send_all(
    client: &Client,
    bulk: &Bulk,
    receiver: &Receiver<Read1>,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut kept = None;
    loop {
        let (batch, end) = gather(bulk, receiver, &mut kept, interrupt);
        if let Some(batch) = batch {
            let recorded = send(client, bulk, &batch, progress, interrupt)?;
            progress.acknowledged(&batch, recorded);
            if let Some(file) = &bulk.resume {
                progress.reached.store(file)?;
            }
        }
        match end {
            Some(end) => return end,
            None if interrupt.asked() => return Err(Failure::Interrupted),
            None => {}
        }
    }
}

/// Takes what is there, waiting for the first line only; and how the input ended, if it has.
fn gather(
    bulk: &Bulk,
    receiver: &Receiver<Read1>,
    kept: &mut Option<Item>,
    interrupt: &Interrupt,
) -> (Option<Batch>, Option<Result<(), Failure>>) {
    let mut batch: Option<Batch> = kept.take().map(Batch::of);
    loop {
        if batch.as_ref().is_some_and(|batch| batch.is_full(bulk)) {
            return (batch, None);
        }
        let item = match batch {
            Some(_) => receiver.try_recv(),
            None => match receiver.recv_timeout(INTERRUPT_EVERY) {
                Err(RecvTimeoutError::Timeout) if interrupt.asked() => return (None, Some(Err(Failure::Interrupted))),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => Err(TryRecvError::Disconnected),
                Ok(item) => Ok(item),
            },
        };
        match (item, &mut batch) {
            (Ok(Ok(item)), Some(batch)) if batch.takes(&item) => batch.add(item),
            (Ok(Ok(item)), Some(_)) => {
                *kept = Some(item);
                return (batch, None);
            }
            (Ok(Ok(item)), None) => batch = Some(Batch::of(item)),
            (Ok(Err(failure)), _) => return (batch, Some(Err(failure))),
            (Err(TryRecvError::Empty), _) => return (batch, None),
            (Err(TryRecvError::Disconnected), _) => return (batch, Some(Ok(()))),
        }
    }
}

fn send(
    client: &Client,
    bulk: &Bulk,
    batch: &Batch,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Vec<Recorded>, Failure> {
    let request = Request::post(&["events"]).header("content-type", "application/cloudevents-batch+json");
    let mut body = Vec::with_capacity(batch.body.len() + 2);
    body.push(b'[');
    body.extend_from_slice(&batch.body);
    body.push(b']');
    let request = addressed(request, batch.to.as_deref(), bulk.ttl).body(body);
    let begun = Instant::now();
    let mut wait = RETRY_WAIT_FIRST;
    loop {
        let failure = match client.ask_json::<Answer>(&request) {
            Ok(answer) => {
                let recorded = answer.events.into_iter().map(Outcome::recorded).collect::<Result<_, _>>();
                return recorded.map_err(|failure| batch.refused(failure));
            }
            Err(failure) => uncaptured(failure),
        };
        let Some(seconds) = failure.retry_after_seconds() else { return Err(batch.refused(failure)) };
        let pause = wait.max(Duration::from_secs(seconds));
        // A node that was never there is more likely a wrong address than one that is coming back.
        let never_there = progress.events == 0 && matches!(failure, Failure::Unreachable { .. });
        if never_there || begun.elapsed() + pause > bulk.patience {
            return Err(failure);
        }
        if wait == RETRY_WAIT_FIRST {
            progress.bar.suspend(|| eprintln!("{failure}\ntrying again for up to {}", Span(bulk.patience)));
        }
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if interrupt.asked() {
                return Err(Failure::Interrupted);
            }
            std::thread::sleep(INTERRUPT_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
        wait = (wait * 2).min(RETRY_WAIT_MAX);
    }
}

/// Reads lines until the input or the receiver ends. Passes over the lines that `skip` acknowledges.
fn read(mut input: impl BufRead, wrap: &Wrap, skip: &Checkpoint, sender: &SyncSender<Read1>) {
    let mut digest = Digest::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let end = match input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) if number <= skip.lines => Err(other_input(skip, "the input is shorter")),
            Ok(0) => return,
            Ok(_) if line.len() as u64 == LINE_BYTES_MAX => Err(faulty(number, "it is longer than any event")),
            Ok(_) => Ok(()),
            Err(error) => Err(faulty(number, &format!("it cannot be read: {error}"))),
        };
        if let Err(failure) = end {
            let _ = sender.send(Err(failure));
            return;
        }
        line.pop_if(|byte| *byte == b'\n');
        line.pop_if(|byte| *byte == b'\r');
        digest.add(&line);
        if number == skip.lines && digest.hex() != skip.digest {
            let _ = sender.send(Err(other_input(skip, "its lines are others")));
            return;
        }
        if number <= skip.lines || line.trim_ascii().is_empty() {
            continue;
        }
        let made = std::str::from_utf8(&line).map_err(|_| "it is not UTF-8".to_owned());
        let item = match made.and_then(|text| wrap.event(number, text)) {
            Ok(line) => Ok(Item { number, digest: digest.hex(), line }),
            Err(what) => Err(faulty(number, &what)),
        };
        let last = item.is_err();
        if sender.send(item).is_err() || last {
            return;
        }
    }
}

fn faulty(number: u64, what: &str) -> Failure {
    let hint = "correct the line, or give what it lacks by a flag; the lines before it are recorded";
    Failure::usage(format!("line {number} makes no event: {what}"), hint)
}

fn other_input(skip: &Checkpoint, how: &str) -> Failure {
    Failure::usage(
        format!("this is not the input of which the checkpoint acknowledges {} lines: {how}", skip.lines),
        "give the same input, or another file to --resume; removing the file starts from the first line",
    )
}

fn lines_up_to(lines: u64) -> String {
    if lines == 0 { "no line".to_owned() } else { format!("every line up to {}", number(lines)) }
}

impl Bulk {
    fn advice(&self) -> String {
        match &self.resume {
            Some(file) => format!("run it again with --resume {} to go on from there", file.display()),
            None => "run it again with --resume FILE, and it will know where to go on another time".to_owned(),
        }
    }
}

impl Batch {
    fn of(item: Item) -> Self {
        let mut batch = Batch { to: item.line.to.clone(), ..Batch::default() };
        batch.add(item);
        batch
    }

    fn is_full(&self, bulk: &Bulk) -> bool {
        self.lines.len() >= bulk.batch_events_max || self.body.len() >= BATCH_BYTES_MAX
    }

    fn takes(&self, item: &Item) -> bool {
        self.to == item.line.to && self.body.len() + item.line.json.len() <= BATCH_BYTES_MAX
    }

    fn add(&mut self, item: Item) {
        if !self.lines.is_empty() {
            self.body.push(b',');
        }
        self.body.extend_from_slice(&item.line.json);
        self.lines.push(item.number);
        self.reached = Checkpoint { lines: item.number, digest: item.digest };
    }

    fn refused(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Refused(mut problem) => {
                let faulty = problem.index.and_then(|index| self.lines.get(usize::try_from(index).ok()?));
                let place = match (faulty, self.lines.first()) {
                    (Some(line), _) => format!("line {line}"),
                    (None, first) => format!("lines {} to {}", first.unwrap_or(&0), self.reached.lines),
                };
                problem.detail = format!("{place}: {}", problem.detail);
                Failure::Refused(problem)
            }
            other => other,
        }
    }
}

impl Checkpoint {
    fn load(file: &std::path::Path) -> Result<Option<Self>, Failure> {
        let refused = |why: String| {
            Failure::usage(
                format!("cannot use the checkpoint {}: {why}", file.display()),
                "name another file, or remove it to start from the first line",
            )
        };
        match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| refused(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Replaces the file in one step. Not synced: an older checkpoint only sends some lines twice,
    /// which the node sees.
    fn store(&self, file: &std::path::Path) -> Result<(), Failure> {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".new");
        let text = json!(self).to_string();
        std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, file)).map_err(|error| {
            Failure::usage(
                format!("cannot write the checkpoint {}: {error}", file.display()),
                "name a file in a directory that you can write",
            )
        })
    }
}

impl Progress {
    fn new(from: Checkpoint) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Progress {
            begun: now,
            told: now,
            bar,
            skipped: from.lines,
            reached: from,
            events: 0,
            duplicates: 0,
            last: None,
        }
    }

    fn acknowledged(&mut self, batch: &Batch, recorded: Vec<Recorded>) {
        self.events += batch.lines.len() as u64;
        self.duplicates += recorded.iter().filter(|each| each.duplicate).count() as u64;
        self.reached = batch.reached.clone();
        self.last = recorded.into_iter().next_back().or_else(|| self.last.take());
        self.bar.set_message(self.text());
        self.bar.tick();
        if self.bar.is_hidden() && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            eprintln!("{}", self.text());
        }
    }

    fn text(&self) -> String {
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { self.events as f64 / seconds } else { 0.0 };
        let mut text = format!("{} events, {rate:.0}/s", number(self.events));
        if self.duplicates > 0 {
            text.push_str(&format!(", {} of them there already", number(self.duplicates)));
        }
        if let Some(last) = &self.last {
            text.push_str(&format!(", last at {}:{}", last.stream, last.seq));
        }
        if self.skipped > 0 {
            text.push_str(&format!("; {} lines acknowledged before", number(self.skipped)));
        }
        text
    }

    fn sum_up(&self, bulk: &Bulk) -> Result<(), Failure> {
        eprintln!("{}", self.text());
        if !bulk.json {
            return Ok(());
        }
        let mut out = Out::new();
        let last = self.last.as_ref().map(|last| json!({"stream": last.stream, "seq": last.seq}));
        let summary = json!({
            "lines": self.reached.lines, "lines_skipped": self.skipped, "events": self.events,
            "duplicates": self.duplicates, "seconds": self.begun.elapsed().as_secs_f64(), "last": last,
        });
        out.document(summary.to_string().as_bytes())?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, skip: &Checkpoint, expected: &[Result<u64, &str>]) {
        let attributes = vec![("type".into(), "t".parse().unwrap()), ("source".into(), "/s".parse().unwrap())];
        let (sender, receiver) = sync_channel(100);
        read(input.as_bytes(), &Wrap { attributes, to: None }, skip, &sender);
        drop(sender);
        let found: Vec<Read1> = receiver.into_iter().collect();
        assert_eq!(found.len(), expected.len(), "{input:?}");
        for (found, expected) in found.iter().zip(expected) {
            match (found, expected) {
                (Ok(item), Ok(number)) => assert_eq!(item.number, *number),
                (Err(failure), Err(part)) => assert!(failure.to_string().contains(part), "{failure}"),
                (found, expected) => panic!("{expected:?}: {:?}", found.as_ref().err()),
            }
        }
    }

    fn reached(lines: &[&str]) -> Checkpoint {
        let mut digest = Digest::new();
        lines.iter().for_each(|line| digest.add(line.as_bytes()));
        Checkpoint { lines: lines.len() as u64, digest: digest.hex() }
    }

    #[test]
    fn lines_are_numbered_as_they_stand() {
        check("1\n\n2\r\n3", &Checkpoint::default(), &[Ok(1), Ok(3), Ok(4)]);
        check("", &Checkpoint::default(), &[]);
    }

    #[test]
    fn reading_stops_at_a_faulty_line() {
        check("1\n{\n3\n", &Checkpoint::default(), &[Ok(1), Err("line 2")]);
    }

    #[test]
    fn acknowledged_lines_are_passed_over() {
        check("1\n2\n3\n", &reached(&["1", "2"]), &[Ok(3)]);
        check("1\n2\n", &reached(&["1", "2"]), &[]);
        check("1\n9\n3\n", &reached(&["1", "2"]), &[Err("not the input")]);
        check("1\n", &reached(&["1", "2"]), &[Err("shorter")]);
    }

    #[test]
    fn a_checkpoint_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state");
        assert_eq!(Checkpoint::load(&file).unwrap(), None);
        let checkpoint = reached(&["a"]);
        checkpoint.store(&file).unwrap();
        assert_eq!(Checkpoint::load(&file).unwrap(), Some(checkpoint));
        std::fs::write(&file, "x").unwrap();
        assert!(Checkpoint::load(&file).is_err());
    }
}

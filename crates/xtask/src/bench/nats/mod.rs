//! `cargo xtask bench nats`: our NATS door and JetStream beside nats-server, in one run, with one load.
//!
//! Each row is run some times in turn against each server, on a fresh one every time; medians are
//! compared with what is asked. A row that finds a message missing, doubled or out of order fails, and a
//! figure of it is never shown. The load is this program: raw sockets, so that the server is measured.
//! It shares the processor with the server; the server's own processor time stands beside each rate.

mod core;
mod limits;
mod publish;
mod read;
mod report;
mod server;
mod size;
pub(super) mod wire;

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fs, thread};

use report::{Asked, Figure, Unit, Verdict};
use server::{Kind, Programs};

use super::LOAD_MAX;
use crate::flags::Flags;
use crate::node;

/// How long a quiet machine is waited for.
const QUIET_MAX: Duration = Duration::from_secs(900);
/// How often the load is looked at.
const QUIET_LOOK: Duration = Duration::from_secs(5);

/// What one run of a row measured, by the key of its figure.
type Values = Vec<(&'static str, f64)>;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Scale {
    quick: bool,
}

impl Scale {
    fn of(self, count: u64) -> u64 {
        if self.quick { count / 10 } else { count }
    }

    fn time(self, seconds: u64) -> Duration {
        if self.quick { Duration::from_millis(seconds * 200) } else { Duration::from_secs(seconds) }
    }
}

/// A row: one load, and what it is held to.
struct Row {
    name: &'static str,
    title: &'static str,
    kinds: &'static [Kind],
    run: fn(&Programs, Kind, &Scale) -> Result<Values, String>,
    figures: &'static [Figure],
}

const BOTH: &[Kind] = &[Kind::Ours, Kind::Nats];
const ALL: &[Kind] = &[Kind::Ours, Kind::Nats, Kind::NatsSynced];
const MIB: f64 = 1024.0 * 1024.0;
const MB: f64 = 1e6;
const MICROS: f64 = 1e3;
const MILLIS: f64 = 1e6;
const SECONDS: f64 = 1e9;

const fn figure(key: &'static str, name: &'static str, unit: Unit, asked: &'static [Asked]) -> Figure {
    Figure { key, name, unit, asked }
}

const ROWS: &[Row] = &[
    Row {
        name: "publish",
        title: "publish to one subscriber, 128 B, 4 publishers",
        kinds: BOTH,
        run: core::publish,
        figures: &[
            figure("rate", "messages", Unit::Rate, &[Asked::Times(Kind::Nats, 1.0)]),
            figure("cpu", "server CPU a message", Unit::Nanos, &[Asked::AtMost(265.0)]),
        ],
    },
    Row {
        name: "fan-out",
        title: "fan-out, 1 to 100 connections, 128 B",
        kinds: BOTH,
        run: core::fan_out,
        figures: &[
            figure("rate", "deliveries", Unit::Rate, &[Asked::Times(Kind::Nats, 1.5)]),
            figure("cpu", "server CPU a delivery", Unit::Nanos, &[Asked::AtMost(150.0)]),
        ],
    },
    Row {
        name: "queue",
        title: "queue group, 1 to 4, 128 B",
        kinds: BOTH,
        run: core::queue_group,
        figures: &[
            figure("rate", "messages", Unit::Rate, &[Asked::Times(Kind::Nats, 1.5)]),
            figure("cpu", "server CPU a message", Unit::Nanos, &[Asked::AtMost(375.0)]),
        ],
    },
    Row {
        name: "request",
        title: "request and reply, 16 B, one at a time",
        kinds: BOTH,
        run: core::request,
        figures: &[
            figure("p50", "p50", Unit::Nanos, &[Asked::NotAbove(Kind::Nats)]),
            figure("p99", "p99", Unit::Nanos, &[Asked::NotAbove(Kind::Nats)]),
            figure("cpu", "server CPU a request", Unit::Nanos, &[]),
        ],
    },
    Row {
        name: "js-publish",
        title: "JetStream publish, file, 128 B, 256 in flight",
        kinds: ALL,
        run: publish::plain,
        figures: &[
            figure("rate", "messages", Unit::Rate, &[Asked::AtLeast(200_000.0), Asked::Times(Kind::Nats, 1.0)]),
            figure("cpu", "server CPU a message", Unit::Nanos, &[Asked::NotAbove(Kind::Nats)]),
        ],
    },
    Row {
        name: "js-subjects",
        title: "the same with 10,000 subjects",
        kinds: ALL,
        run: publish::subjects,
        figures: &[
            figure("rate", "messages", Unit::Rate, &[Asked::Times(Kind::Nats, 1.0)]),
            figure("cpu", "server CPU a message", Unit::Nanos, &[]),
        ],
    },
    Row {
        name: "js-ids",
        title: "the same with a message id on each",
        kinds: ALL,
        run: publish::ids,
        figures: &[
            figure("rate", "messages", Unit::Rate, &[Asked::Times(Kind::Nats, 1.0)]),
            figure("cpu", "server CPU a message", Unit::Nanos, &[]),
        ],
    },
    Row {
        name: "js-one",
        title: "JetStream publish, one in flight",
        kinds: ALL,
        run: publish::one,
        figures: &[
            figure("rate", "messages", Unit::Rate, &[Asked::Times(Kind::NatsSynced, 1.5)]),
            figure("p50", "p50", Unit::Nanos, &[]),
            figure("p99", "p99", Unit::Nanos, &[]),
        ],
    },
    Row {
        name: "fetch",
        title: "fetch and acknowledge, batches of 100, two under way",
        kinds: BOTH,
        run: read::fetch,
        figures: &[
            figure("rate", "messages", Unit::Rate, &[Asked::Times(Kind::Nats, 1.5)]),
            figure("cpu", "server CPU a message", Unit::Nanos, &[Asked::AtMost(3.0 * MICROS)]),
        ],
    },
    Row {
        name: "replay",
        title: "replay of 1,000,000 × 128 B, ordered consumer",
        kinds: BOTH,
        run: read::replay,
        figures: &[
            figure("rate", "messages", Unit::Rate, &[Asked::Times(Kind::Nats, 1.5)]),
            figure("cpu", "server CPU a message", Unit::Nanos, &[Asked::AtMost(MICROS)]),
        ],
    },
    Row {
        name: "direct-get",
        title: "direct get of the last message of one of 10,000 subjects",
        kinds: BOTH,
        run: read::direct,
        figures: &[
            figure("rate", "requests", Unit::Rate, &[Asked::Times(Kind::Nats, 1.5)]),
            figure("p50", "p50", Unit::Nanos, &[]),
            figure("p99", "p99", Unit::Nanos, &[]),
        ],
    },
    Row {
        name: "memory",
        title: "resident memory",
        kinds: BOTH,
        run: size::memory,
        figures: &[
            figure("idle", "idle", Unit::Bytes, &[Asked::AtMost(12.0 * MIB)]),
            figure("messages", "after 1,000,000 messages", Unit::Bytes, &[Asked::AtMost(30.0 * MIB)]),
            figure("ids", "after 1,000,000 message ids", Unit::Bytes, &[Asked::AtMost(60.0 * MIB)]),
        ],
    },
    Row {
        name: "subjects",
        title: "1,000,000 messages on 1,000,000 subjects",
        kinds: BOTH,
        run: size::subjects,
        figures: &[
            figure("memory", "memory", Unit::Bytes, &[Asked::AtMost(100.0 * MB)]),
            figure("memory_start", "memory after a start", Unit::Bytes, &[Asked::AtMost(100.0 * MB)]),
            figure("start", "start", Unit::Nanos, &[Asked::AtMost(100.0 * MILLIS)]),
        ],
    },
    Row {
        name: "streams",
        title: "10,000 streams",
        kinds: BOTH,
        run: size::streams,
        figures: &[
            figure("memory", "memory", Unit::Bytes, &[Asked::AtMost(100.0 * MB)]),
            figure("creation", "creation, one after another", Unit::Nanos, &[Asked::AtMost(4.0 * SECONDS)]),
            figure("start", "restart", Unit::Nanos, &[Asked::AtMost(SECONDS)]),
        ],
    },
    Row {
        name: "idle-consumers",
        title: "1,000 idle consumers on the stream",
        kinds: BOTH,
        run: publish::idle_consumers,
        figures: &[
            figure("added", "CPU added to a publish", Unit::Percent, &[Asked::AtMost(20.0)]),
            figure("cpu", "server CPU a message, without", Unit::Nanos, &[]),
            figure("cpu_with", "server CPU a message, with", Unit::Nanos, &[]),
            figure("rate", "messages, without", Unit::Rate, &[]),
            figure("rate_with", "messages, with", Unit::Rate, &[]),
        ],
    },
    Row {
        name: "unanswered",
        title: "1,000,000 publishes without a reply into a stream",
        kinds: BOTH,
        run: publish::unanswered,
        figures: &[
            figure("kept", "kept", Unit::Percent, &[Asked::AtLeast(100.0)]),
            figure("rate", "messages taken", Unit::Rate, &[]),
        ],
    },
    Row {
        name: "start",
        title: "start with 1,000,000 messages stored, to the first answer of the API",
        kinds: BOTH,
        run: size::start,
        figures: &[
            figure("without", "without consumers", Unit::Nanos, &[Asked::AtMost(20.0 * MILLIS)]),
            figure("with", "with 10 consumers", Unit::Nanos, &[Asked::AtMost(30.0 * MILLIS)]),
        ],
    },
    Row {
        name: "cluster",
        title: "cluster of three, three replicas, 128 B, 256 in flight: straight, and through our engine on it",
        kinds: ALL,
        run: publish::cluster,
        figures: &[
            figure("rate", "messages, its default", Unit::Rate, &[Asked::Times(Kind::Nats, 0.7)]),
            figure("rate_synced", "messages, synced", Unit::Rate, &[Asked::Times(Kind::NatsSynced, 0.7)]),
        ],
    },
];

/// What is to be run.
struct Wanted {
    only: Vec<String>,
    rounds: u64,
    kinds: Vec<Kind>,
    scale: Scale,
    noisy: bool,
    json: bool,
    markdown: bool,
}

impl Wanted {
    fn read(flags: &mut Flags) -> Result<Wanted, String> {
        let kinds = match flags.all("server").pop().as_deref() {
            None | Some("both") => ALL.to_vec(),
            Some("tidings") => vec![Kind::Ours],
            Some("nats-server") => vec![Kind::Nats, Kind::NatsSynced],
            Some(other) => return Err(format!("there is no server '{other}'; there are tidings, nats-server, both")),
        };
        let only: Vec<String> =
            flags.all("only").iter().flat_map(|names| names.split(',').map(str::to_string)).collect();
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).chain([limits::NAME]).collect();
        if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
            return Err(format!("there is no row '{unknown}'; there are {}", names.join(", ")));
        }
        Ok(Wanted {
            only,
            rounds: flags.number("rounds")?.unwrap_or(3).max(1),
            kinds,
            scale: Scale { quick: flags.has("quick") },
            noisy: flags.has("noisy"),
            json: flags.has("json"),
            markdown: flags.has("markdown"),
        })
    }

    fn has(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// Runs the rows that are wanted; `false` where one of them failed. A figure that is missed is no failure.
pub fn run(flags: &mut Flags) -> Result<bool, String> {
    let wanted = Wanted::read(flags)?;
    let given = flags.all("nats-server").pop().map(PathBuf::from);
    flags.nothing_left()?;
    let folder = scratch()?;
    let _sweeper = server::Sweeper::watch(&folder)?;
    let done = run_in(&wanted, given, folder.clone());
    let _left_behind = fs::remove_dir_all(&folder);
    done
}

fn run_in(wanted: &Wanted, given: Option<PathBuf>, folder: PathBuf) -> Result<bool, String> {
    let ours = wanted.kinds.contains(&Kind::Ours);
    let theirs = wanted.kinds.iter().any(|kind| *kind != Kind::Ours);
    let target = folder.ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    let programs = Programs {
        tidings: if ours { Some(binary()?) } else { None },
        nats: if theirs { Some(server::find_nats(given, &target)?) } else { None },
        folder: folder.clone(),
    };
    let busy = !quiet(wanted.noisy);
    let machine = super::machine(&folder)?;
    let mut verdicts = Vec::new();
    for row in ROWS.iter().filter(|row| wanted.has(row.name)) {
        verdicts.push(run_row(row, wanted, &programs));
    }
    let limits = if wanted.has(limits::NAME) { limits::measure(&folder)? } else { Vec::new() };
    let report = report::Report { machine, busy, rounds: wanted.rounds, verdicts, limits };
    match (wanted.json, wanted.markdown) {
        (true, _) => println!("{}", report.json()),
        (_, true) => print!("{}", report.markdown()),
        _ => print!("{}", report.table()),
    }
    Ok(report.verdicts.iter().all(|verdict| verdict.failures.is_empty()))
}

fn run_row(row: &'static Row, wanted: &Wanted, programs: &Programs) -> Verdict {
    let mut verdict = Verdict::new(row.name, row.title, row.figures);
    for round in 1..=wanted.rounds {
        for kind in row.kinds.iter().filter(|kind| wanted.kinds.contains(kind)) {
            if verdict.failures.iter().any(|(failed, _)| failed == kind) {
                continue;
            }
            let begun = Instant::now();
            let result = (row.run)(programs, *kind, &wanted.scale);
            let spelt = match &result {
                Ok(values) => report::spell_all(row.figures, values),
                Err(reason) => format!("FAILED: {reason}"),
            };
            let took = begun.elapsed().as_secs_f64();
            eprintln!("{} {round}/{} {} ({took:.1} s): {spelt}", row.name, wanted.rounds, kind.name());
            verdict.add(*kind, result);
        }
    }
    verdict
}

fn binary() -> Result<PathBuf, String> {
    let binary = node::build(true)?;
    binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))
}

/// Waits for a quiet machine; `false` where there was none.
fn quiet(noisy: bool) -> bool {
    let begun = Instant::now();
    loop {
        if super::load() < LOAD_MAX {
            return true;
        }
        if noisy || begun.elapsed() > QUIET_MAX {
            return false;
        }
        eprintln!("load {:.2}: waiting for a quiet machine", super::load());
        thread::sleep(QUIET_LOOK);
    }
}

/// A fresh folder; what runs left that were killed is removed.
fn scratch() -> Result<PathBuf, String> {
    const NAME: &str = "bench-nats";
    let folder = node::scratch(NAME)?;
    let beside = folder.parent().and_then(|parent| fs::read_dir(parent).ok());
    for entry in beside.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(NAME).and_then(|rest| rest.strip_prefix('-'));
        if process.is_some_and(|process| !PathBuf::from(format!("/proc/{process}")).exists()) {
            let _left_behind = fs::remove_dir_all(entry.path());
        }
    }
    Ok(folder)
}

/// So many in a second.
fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}

/// Nanoseconds for each of so many.
fn per_message(used: Duration, count: u64) -> f64 {
    used.as_secs_f64() * 1e9 / count.max(1) as f64
}

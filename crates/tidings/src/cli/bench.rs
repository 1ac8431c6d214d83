//! `tidings bench`: publishes events over several connections and says how fast the node records them.
//!
//! Every event is acknowledged, so what is measured is durable. Bounded by a count or a time. Uses a
//! stream of its own, which it removes again, so that nothing of a user's is touched.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, Request};
use super::failure::Failure;
use super::interrupt::Interrupt;
use super::output::{Out, Show, number};

/// The stream that the benchmark makes, unless another is named.
const STREAM: &str = "TIDINGS_BENCH";
/// The first token of the subjects that it publishes on.
const SUBJECT: &str = "tidings-bench";
/// Most connections: each is a thread here and a task there.
const CONNECTIONS_MAX: u16 = 1_000;

/// Flags of `tidings bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Connections, each with one request under way
    #[arg(long, short = 'c', value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=i64::from(CONNECTIONS_MAX)))]
    connections: u16,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Stop after this many seconds; 10 where neither bound is given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Bytes of data in each event
    #[arg(long, value_name = "SIZE", default_value = "128")]
    size: super::units::Size,
    /// Events in each request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,
    /// Where the benchmark's stream keeps its messages
    #[arg(long, value_parser = ["file", "memory"], default_value = "file")]
    storage: String,
    /// Keep the benchmark's stream
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// What one connection found.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    events: u64,
}

/// What every connection goes by.
struct Plan<'a> {
    args: &'a BenchArgs,
    begun: Instant,
    until: Option<Instant>,
    taken: AtomicU64,
    messages: u64,
    interrupt: Interrupt,
    failure: Mutex<Option<Failure>>,
}

/// Measures and says what it found.
pub fn run(args: BenchArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let interrupt = Interrupt::watch();
    make_stream(&client, &args)?;
    let seconds = args.seconds.or(args.messages.is_none().then_some(10));
    let begun = Instant::now();
    let plan = Plan {
        args: &args,
        begun,
        until: seconds.and_then(|seconds| begun.checked_add(Duration::from_secs(seconds))),
        taken: AtomicU64::new(0),
        messages: args.messages.unwrap_or(u64::MAX),
        interrupt,
        failure: Mutex::new(None),
    };
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let (plan, client) = (&plan, &client);
        let workers: Vec<_> =
            (0..args.connections).map(|worker| scope.spawn(move || plan.work(&client.apart(), worker))).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    });
    let elapsed = plan.begun.elapsed();
    if !args.keep {
        client.ask(&Request::new(Method::DELETE, &["streams", STREAM]))?;
    }
    if let Some(failure) = plan.failure.into_inner().unwrap_or(None) {
        return Err(failure);
    }
    report(&args, elapsed, tallies)?;
    if plan.interrupt.asked() { Err(Failure::Interrupted) } else { Ok(()) }
}

fn make_stream(client: &Client, args: &BenchArgs) -> Result<(), Failure> {
    let config = json!({
        "name": STREAM, "subjects": [format!("{SUBJECT}.>")], "storage": args.storage,
        "description": "made by tidings bench",
    });
    client.ask(&Request::new(Method::PUT, &["streams", STREAM]).json(&config)).map(drop)
}

impl Plan<'_> {
    fn work(&self, client: &Client, worker: u16) -> Tally {
        let mut tally = Tally::default();
        let data = "x".repeat(usize::try_from(self.args.size.0).unwrap_or_default());
        let subject = format!("{SUBJECT}.{worker}");
        let batch = u64::from(self.args.batch);
        loop {
            let stopped = self.interrupt.asked() || self.failure.lock().map_or(true, |failure| failure.is_some());
            if stopped || self.until.is_some_and(|until| Instant::now() >= until) {
                return tally;
            }
            let first = self.taken.fetch_add(batch, Ordering::Relaxed);
            let count = self.messages.saturating_sub(first).min(batch);
            if count == 0 {
                return tally;
            }
            let request = self.request(&subject, &data, first, count);
            let asked = Instant::now();
            match client.ask(&request) {
                Ok(_) => {
                    tally.latencies.push(asked.elapsed());
                    tally.events += count;
                }
                Err(failure) => {
                    if let Ok(mut kept) = self.failure.lock() {
                        kept.get_or_insert(failure);
                    }
                    return tally;
                }
            }
        }
    }

    fn request(&self, subject: &str, data: &str, first: u64, count: u64) -> Request {
        let request = Request::post(&["events"]).query("subject", subject);
        let id = |index: u64| format!("{:x}-{}", std::process::id(), first + index);
        if self.args.batch == 1 {
            return request
                .header("ce-specversion", "1.0")
                .header("ce-type", "tidings.bench")
                .header("ce-source", "/tidings/bench")
                .header("ce-id", id(0))
                .header("content-type", "text/plain")
                .body(data.as_bytes().to_vec());
        }
        let events: Vec<Value> = (0..count)
            .map(|index| {
                json!({"specversion": "1.0", "type": "tidings.bench", "source": "/tidings/bench", "id": id(index),
                    "datacontenttype": "text/plain", "data": data})
            })
            .collect();
        let body = Value::Array(events).to_string().into_bytes();
        request.header("content-type", "application/cloudevents-batch+json").body(body)
    }
}

fn report(args: &BenchArgs, elapsed: Duration, tallies: Vec<Tally>) -> Result<(), Failure> {
    let events: u64 = tallies.iter().map(|tally| tally.events).sum();
    let mut latencies: Vec<Duration> = tallies.into_iter().flat_map(|tally| tally.latencies).collect();
    latencies.sort_unstable();
    let micros = |per_mille: usize| {
        let index = (latencies.len() * per_mille / 1_000).min(latencies.len().saturating_sub(1));
        latencies.get(index).copied().unwrap_or_default().as_micros()
    };
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { events as f64 / seconds } else { 0.0 };
    let mut out = Out::new();
    if args.show.json {
        let found = json!({
            "events": events, "seconds": seconds, "events_per_second": rate, "connections": args.connections,
            "batch": args.batch, "size": args.size.0, "storage": args.storage,
            "latency_us": {"p50": micros(500), "p90": micros(900), "p99": micros(990), "p999": micros(999), "max": micros(1_000)},
        });
        out.document(found.to_string().as_bytes())?;
        return out.flush();
    }
    let ms = |per_mille| format!("{:.2} ms", micros(per_mille) as f64 / 1_000.0);
    out.fields(&[
        ("recorded", format!("{} events of {} B in {seconds:.2} s", number(events), args.size.0)),
        ("rate", format!("{rate:.0} events/s over {} connections, {} in a request", args.connections, args.batch)),
        ("latency", format!("p50 {}, p90 {}, p99 {}, p99.9 {}, max {}", ms(500), ms(900), ms(990), ms(999), ms(1_000))),
    ])?;
    out.flush()
}

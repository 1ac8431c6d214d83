//! How many facts a second pass between two ends in one process: one a request, and in batches.
//!
//! `cargo run --release -p link --example rates [facts] [milliseconds that a write takes]`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use event::{Fact, Moment};
use federation::envelope;
use federation::intake::{Binding, Reject};
use link::{
    Doing, Gate, Intake, Key, KeyRing, ListenOptions, Noted, Pushed, Secret, Status, Taken, Target, TargetOptions,
    serve,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Facts handed to a target at a time.
const AT_ONCE: usize = 8_192;

/// Takes everything, after as long as a write takes.
struct Sink {
    ring: Arc<KeyRing>,
    gate: Gate,
    taken: AtomicU64,
    write: Duration,
}

impl Intake for Sink {
    fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring)
    }
    fn now(&self) -> Moment {
        Moment::EPOCH.after(since_1970())
    }
    fn window(&self) -> Duration {
        Duration::from_secs(300)
    }
    fn own_node(&self, _group: &str) -> Arc<str> {
        Arc::from("cloud")
    }
    fn gate(&self) -> &Gate {
        &self.gate
    }
    fn take<'a>(&'a self, _binding: &'a Binding, facts: Vec<Fact>) -> Doing<'a, Vec<Result<Taken, Reject>>> {
        Box::pin(async move {
            tokio::time::sleep(self.write).await;
            self.taken.fetch_add(facts.len() as u64, Ordering::Relaxed);
            facts.iter().map(|_| Ok(Taken { duplicate: false })).collect()
        })
    }
    fn status(&self) -> Status {
        Status::default()
    }
    fn note(&self, _noted: Noted<'_>) {}
}

fn fact(number: usize) -> Bytes {
    let mut fact = Fact::new("cloudedge", format!("evt-{number:012}"), "routerd.client.ipv4.observed");
    fact.source = "onprem".to_owned();
    fact.subject = format!("10.{}.{}.{}/32", number >> 16 & 255, number >> 8 & 255, number & 255);
    fact.payload.insert("address".to_owned(), fact.subject.clone());
    fact.payload.insert(
        "mac".to_owned(),
        format!("aa:bb:cc:{:02x}:{:02x}:{:02x}", number >> 16 & 255, number >> 8 & 255, number & 255),
    );
    fact.observed = Some(Moment::from_nanos(1_748_600_000_000_000_000 + number as u64 * 1_000_000_000));
    fact.expires = fact.observed.map(|observed| observed.after(Duration::from_secs(600)));
    envelope::encode(&fact).into()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let facts: usize = arguments.next().map_or(Ok(100_000), |argument| argument.parse())?;
    let write = Duration::from_millis(arguments.next().map_or(Ok(2), |argument| argument.parse())?);
    let secret = Secret::new(b"a secret");
    let binding = Binding { name: "default".to_owned(), group: "cloudedge".to_owned(), sources: None };
    let ring = Arc::new(KeyRing::new(vec![Key { binding, secret: secret.clone() }]));
    let sink = Arc::new(Sink { ring, gate: Gate::default(), taken: AtomicU64::new(0), write });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(listener, sink, None, ListenOptions::default(), shutdown.clone()));

    for (name, batch) in [("one a request", false), ("in batches", true)] {
        let target = Target::new(&url, TargetOptions { batch, ..TargetOptions::default() })?;
        let began = Instant::now();
        for first in (0..facts).step_by(AT_ONCE) {
            let part: Vec<Bytes> = (first..facts.min(first + AT_ONCE)).map(fact).collect();
            let pushed = target.push_many(&secret, i64::try_from(since_1970().as_secs())?, &part).await;
            if let Some(other) = pushed.iter().find(|pushed| !matches!(pushed, Pushed::Accepted { .. })) {
                return Err(format!("a fact was not accepted: {other:?}").into());
            }
        }
        let took = began.elapsed().as_secs_f64();
        println!("{name}: {facts} facts in {took:.2} s, {:.0}/s", facts as f64 / took);
    }
    shutdown.cancel();
    Ok(())
}

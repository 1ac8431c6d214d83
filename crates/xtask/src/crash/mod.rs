//! The crash loop: the finished binary, killed again and again while several clients publish and
//! consume, and asked afterwards for everything that it acknowledged.
//!
//! What is checked after every kill, on the messages since the one before, and on all of them at the
//! end: each acknowledged message is there once, at its position, with its bytes; one without an
//! answer is there once at most, and is known when it is sent again; the messages of one client stand
//! in the order in which they were sent; positions have no gap. At the end: every message came out of
//! the consumer, and none came again that was acknowledged longer ago than the journal allows itself.
//!
//! The seed decides what is sent and how long a life lasts; how far things got by then is the machine's.

mod ledger;
mod worker;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::api;
use crate::node::{self, Launch, Node};
use crate::random::Random;
use ledger::{Client, check_stream};
use worker::Worker;

/// Publishing clients.
const CLIENTS: u64 = 6;
/// Streams; the clients take turns among them.
pub const STREAMS: u64 = 3;
/// How long a life lasts, in milliseconds.
const LIFE_MS: Range<u64> = 10..400;
/// One life in so many is long: longer than the journal may take to make an acknowledgement durable.
const LONG_LIFE_EVERY: u64 = 12;
/// How long a long life lasts, in milliseconds.
const LONG_LIFE_MS: u64 = 2_500;
/// After so many kills everything is read, not only what is new.
const READ_ALL_EVERY: u64 = 25;

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many kills.
    pub kills: u64,
    /// The seed.
    pub seed: u64,
    /// Whether the optimised binary.
    pub release: bool,
}

#[derive(Debug, Default)]
struct Sums {
    acked: u64,
    unanswered: u64,
    found: u64,
    start_max: Duration,
}

/// Runs the loop and prints what it saw.
pub fn run(plan: &Plan) -> Result<bool, String> {
    let binary = node::build(plan.release)?;
    let folder = node::scratch("crash")?;
    println!("crash: seed {}, {} kills, {}", plan.seed, plan.kills, folder.display());
    match live(plan, &Launch::new(&binary, &folder)) {
        Ok(()) => {
            let _left_behind = std::fs::remove_dir_all(&folder);
            Ok(true)
        }
        Err(reason) => {
            println!("crash: FAILED with seed {}: {reason}", plan.seed);
            println!("crash: the data is kept in {}", folder.display());
            Ok(false)
        }
    }
}

/// The name of a stream.
pub fn stream(number: u64) -> String {
    format!("CRASH{number}")
}

fn live(plan: &Plan, launch: &Launch) -> Result<(), String> {
    let mut chance = Random::new(plan.seed, u64::MAX);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|number| Client::new(plan.seed, number)).collect();
    let mut worker = Worker::new(plan.seed);
    let (mut sums, mut checked) = (Sums::default(), vec![0_u64; usize::try_from(STREAMS).unwrap_or(0)]);
    declare(launch)?;
    for kill in 1..=plan.kills {
        let life = if kill % LONG_LIFE_EVERY == 0 { LONG_LIFE_MS } else { LIFE_MS.start + chance.below(LIFE_MS.end) };
        let node = launch.start()?;
        sums.start_max = sums.start_max.max(node.start);
        if kill % READ_ALL_EVERY == 0 {
            checked.fill(0);
        }
        check_all(&node, &mut clients, &mut checked, &mut sums)?;
        one_life(node, Duration::from_millis(life), &mut clients, &mut worker)?;
        if kill % 10 == 0 || kill == plan.kills {
            let sent: u64 = clients.iter().map(Client::acked).sum();
            println!("crash: {kill} of {} kills, {sent} messages acknowledged", plan.kills);
        }
    }
    finish(launch, &mut clients, &mut worker, &mut sums)?;
    sums.acked = clients.iter().map(Client::acked).sum();
    println!(
        "crash: seed {}: {} kills, {} messages acknowledged, all there once; {} had no answer, of which {} were \
         recorded; {} deliveries, {} of them again; slowest start {:.1} ms",
        plan.seed,
        plan.kills,
        sums.acked,
        sums.unanswered,
        sums.found,
        worker.deliveries,
        worker.repeated,
        sums.start_max.as_secs_f64() * 1e3
    );
    if plan.kills > 0 && sums.acked == 0 {
        return Err("nothing was ever acknowledged: nothing was shown".to_string());
    }
    Ok(())
}

fn declare(launch: &Launch) -> Result<(), String> {
    let node = launch.start()?;
    let mut conn = node.connect()?;
    for number in 0..STREAMS {
        api::create_stream(&mut conn, &stream(number), &[&format!("crash.{number}.>")])?;
    }
    api::create_consumer(&mut conn, &stream(0), worker::NAME, worker::ACK_WAIT)?;
    node.kill()
}

/// Clients and the worker do what they do until the node is gone.
fn one_life(node: Node, life: Duration, clients: &mut [Client], worker: &mut Worker) -> Result<(), String> {
    let (address, stopping) = (node.http, AtomicBool::new(false));
    let (killed, ended) = thread::scope(|scope| {
        let stopping = &stopping;
        let mut tasks: Vec<_> = clients.iter_mut().map(|c| scope.spawn(move || c.publish(address, stopping))).collect();
        tasks.push(scope.spawn(|| worker.consume(address, stopping)));
        thread::sleep(life);
        // Set first: from here on a broken connection is what was wanted.
        stopping.store(true, Ordering::SeqCst);
        let killed = node.kill().map(|()| Instant::now());
        let ended: Vec<Result<(), String>> = tasks
            .into_iter()
            .map(|task| task.join().unwrap_or_else(|_| Err("a client panicked".to_string())))
            .collect();
        (killed, ended)
    });
    worker.note_kill(killed?);
    ended.into_iter().collect()
}

/// Checks what each stream holds from behind what was checked before.
fn check_all(node: &Node, clients: &mut [Client], checked: &mut [u64], sums: &mut Sums) -> Result<(), String> {
    let mut conn = node.connect()?;
    for (number, after) in (0..STREAMS).zip(checked.iter_mut()) {
        let (recorded, damaged) = api::read_all(&mut conn, &stream(number), *after + 1)?;
        if !damaged.is_empty() {
            return Err(format!("{}: positions {damaged:?} are damaged", stream(number)));
        }
        *after = check_stream(number, *after, &recorded, clients)?;
    }
    for client in clients.iter_mut() {
        let (unanswered, found) = client.settle(&mut conn)?;
        sums.unanswered += unanswered;
        sums.found += found;
    }
    Ok(())
}

fn finish(launch: &Launch, clients: &mut [Client], worker: &mut Worker, sums: &mut Sums) -> Result<(), String> {
    let node = launch.start()?;
    sums.start_max = sums.start_max.max(node.start);
    let mut checked = vec![0; usize::try_from(STREAMS).unwrap_or(0)];
    check_all(&node, clients, &mut checked, sums)?;
    // What was sent again just now is there too.
    check_all(&node, clients, &mut vec![0; checked.len()], sums)?;
    let last = api::done(&mut node.connect()?, "GET", &format!("/v1/streams/{}", stream(0)), &serde_json::Value::Null)?;
    let last = last["state"]["last_seq"].as_u64().ok_or_else(|| format!("no last position in {last}"))?;
    worker.drain(node.http, last)?;
    let status = node.stop()?;
    if !status.success() {
        return Err(format!("the clean stop ended with {status}:\n{}", launch.log_tail()));
    }
    Ok(())
}

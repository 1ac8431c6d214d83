//! What consumers cost, by thread: `consume_rate DIR [MESSAGES]`.
//!
//! First a consumer that fetches by the hundred and acknowledges each delivery; then what an append costs
//! beside no consumers, beside a thousand that nobody fetches from, and beside a thousand whose fetches
//! wait for subjects that never come. Prints nanoseconds of processor time for each message, by the
//! name of the thread that spent them, as Linux counts them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use event::{Headers, Message, Moment, Pattern, Subject};
use journal::{
    Ack, AckToken, Append, ConsumerConfig, ConsumerStart, Delivery, Fetch, FetchEnd, Journal, Sink, StreamConfig, Want,
};
use journal_disk::{DiskJournal, Options, RealDisk};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error>;

/// Appends that are on their way at a time.
const OUTSTANDING: u64 = 1024;

/// Consumers that are idle.
const IDLE: u64 = 1000;

fn now() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Moment::EPOCH.after(since)
}

enum Heard {
    Token(AckToken),
    End,
}

struct Hand(Sender<Heard>);

impl Sink for Hand {
    fn deliver(&mut self, delivery: Delivery) -> Want {
        if self.0.send(Heard::Token(delivery.token)).is_ok() { Want::More } else { Want::Closed }
    }

    fn ready(&mut self) -> Option<bool> {
        Some(true)
    }

    fn end(self: Box<Self>, _: FetchEnd) {
        let _gone = self.0.send(Heard::End);
    }
}

/// Nanoseconds on a processor, by thread.
fn spent() -> BTreeMap<String, u64> {
    let mut spent = BTreeMap::new();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return spent };
    for task in tasks.flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let nanos: u64 = stat.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        *spent.entry(name.trim().to_owned()).or_default() += nanos;
    }
    spent
}

fn tell(what: &str, count: u64, begun: Instant, before: &BTreeMap<String, u64>) {
    let after = spent();
    let mut all = 0;
    let mut parts = String::new();
    for (name, nanos) in &after {
        let each = nanos.saturating_sub(before.get(name).copied().unwrap_or(0)) / count.max(1);
        all += each;
        if each > 20 {
            parts.push_str(&format!("  {name} {each}"));
        }
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("{what}: {rate:.0}/s, {all} ns each:{parts}");
}

fn fill(journal: &DiskJournal, messages: u64, what: Option<&str>) -> Result<(), Failure> {
    let subject = Subject::parse("a.b")?;
    let (before, begun) = (spent(), Instant::now());
    let (sender, receiver) = channel();
    let payload = Bytes::from(vec![b'x'; 128]);
    let mut out = 0;
    for _ in 0..messages {
        let message =
            Message { subject: subject.clone(), reply: None, headers: Headers::default(), payload: payload.clone() };
        let sender = sender.clone();
        journal.append(
            Append::new(message),
            Box::new(move |receipt| {
                let _gone = sender.send(receipt.is_ok());
            }),
        );
        out += 1;
        if out == OUTSTANDING {
            for _ in 0..OUTSTANDING {
                receiver.recv()?;
            }
            out = 0;
        }
    }
    for _ in 0..out {
        receiver.recv()?;
    }
    if let Some(what) = what {
        tell(what, messages, begun, &before);
    }
    Ok(())
}

fn wait<T>(mut answer: journal::Answer<T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        match answer.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::yield_now(),
        }
    }
}

/// Fetches and acknowledges; how many.
fn consume(journal: &DiskJournal, heard: (&Sender<Heard>, &Receiver<Heard>), most: u64) -> Result<u64, Failure> {
    let mut done = 0;
    while done < most {
        let fetch = Fetch { wait: Some(Duration::from_millis(100)), ..Fetch::new(100) };
        journal.fetch("S", "c", fetch, Box::new(Hand(heard.0.clone())));
        let before = done;
        while let Heard::Token(token) = heard.1.recv()? {
            journal.acknowledge(token, Ack::Done, false, Box::new(drop));
            done += 1;
        }
        if done == before {
            break;
        }
    }
    Ok(done)
}

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let folder = words.next().ok_or("consume_rate DIR [MESSAGES]")?;
    let messages = words.next().map_or(Ok(500_000), |text| text.parse())?;
    let journal = DiskJournal::open(Arc::new(RealDisk::new(&folder)?), Options::default(), Arc::new(now))?;
    wait(journal.stream_create(StreamConfig::new("S", [Pattern::parse("a.>")?])))?;
    fill(&journal, messages, Some("append, no consumer"))?;
    fill(&journal, messages, Some("append, no consumer"))?;
    wait(journal.consumer_create("S", ConsumerConfig::new("c")))?;
    let (sender, receiver) = channel();
    let (before, begun) = (spent(), Instant::now());
    let done = consume(&journal, (&sender, &receiver), messages)?;
    tell("fetch by 100 and acknowledge", done, begun, &before);
    wait(journal.consumer_delete("S", "c"))?;
    for number in 0..IDLE {
        let config = ConsumerConfig { start: ConsumerStart::New, ..ConsumerConfig::new(format!("i{number}")) };
        wait(journal.consumer_create("S", config))?;
    }
    fill(&journal, messages, Some("append, 1000 idle"))?;
    for number in 0..IDLE {
        let filters = vec![Pattern::parse(&format!("a.f{number}"))?];
        let config = ConsumerConfig { start: ConsumerStart::New, filters, ..ConsumerConfig::new(format!("w{number}")) };
        let name = config.name.clone();
        wait(journal.consumer_create("S", config))?;
        let fetch = Fetch { wait: Some(Duration::from_secs(600)), ..Fetch::new(100) };
        journal.fetch("S", &name, fetch, Box::new(Hand(sender.clone())));
    }
    std::thread::sleep(Duration::from_millis(500));
    fill(&journal, messages, Some("append, 1000 idle and 1000 waiting"))?;
    wait(journal.close());
    Ok(())
}

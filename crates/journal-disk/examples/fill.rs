//! Fills a data directory: `fill DIR MESSAGES SUBJECTS BYTES`.
//!
//! Messages of so many bytes go, in turn, to the subjects `events.f00000000` and on (16 bytes each) of a
//! stream `EVENTS`, which captures `events.>` as the default stream of a node does.

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use event::{Headers, Message, Moment, Pattern, Subject};
use journal::{Append, Journal, StreamConfig};
use journal_disk::{DiskJournal, Options, RealDisk};

/// Appends outstanding: enough for full commits.
const OUTSTANDING: usize = 16_384;

fn now() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Moment::EPOCH.after(since)
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, messages, subjects, bytes] = words.as_slice() else {
        return Err("fill DIR MESSAGES SUBJECTS BYTES".into());
    };
    let (messages, subjects, bytes): (u64, u64, usize) = (messages.parse()?, subjects.parse()?, bytes.parse()?);
    let journal = DiskJournal::open(Arc::new(RealDisk::new(folder)?), Options::default(), Arc::new(now))?;
    wait(journal.stream_create(StreamConfig::new("EVENTS", [Pattern::parse("events.>")?])))?;
    let payload = Bytes::from(vec![b'x'; bytes]);
    let (done, answers) = sync_channel(OUTSTANDING);
    let begun = Instant::now();
    for number in 0..messages {
        if number >= OUTSTANDING as u64 {
            answers.recv()??;
        }
        let subject = Subject::parse(&format!("events.f{:08}", number % subjects.max(1)))?;
        let message = Message { subject, reply: None, headers: Headers::EMPTY, payload: payload.clone() };
        let done = done.clone();
        // There is room for every answer that is outstanding.
        journal.append(Append::new(message), Box::new(move |receipt| drop(done.try_send(receipt))));
    }
    for _ in 0..messages.min(OUTSTANDING as u64) {
        answers.recv()??;
    }
    println!("{messages} messages in {:.1} s", begun.elapsed().as_secs_f64());
    wait(journal.close());
    Ok(())
}

/// Waits for an answer without an executor.
fn wait<T>(mut answer: journal::Answer<T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        match answer.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::yield_now(),
        }
    }
}

//! How many deliveries and acknowledgements one core does: the desk alone, over the engine in memory.
//!
//! `cargo run --release -p journal --example desk_rate [messages]`

use std::time::{Duration, Instant};

use event::{Message, Moment, Pattern, Subject};
use journal::desk::{Desk, Input, Output, What};
use journal::memory::Memory;
use journal::{Ack, AckToken, Append, ConsumerConfig, Fetch, Page, Retention, StreamConfig};

struct Rim {
    now: Moment,
    memory: Memory,
    desk: Desk,
    out: Vec<AckToken>,
    saved: usize,
}

impl Rim {
    fn serve(&mut self) {
        while let Some(output) = self.desk.poll(self.now) {
            match output {
                Output::Read { key, stream, what: What::Next(read) } => {
                    let result = self.memory.read(&stream, &read);
                    self.desk.handle(self.now, Input::Page { key, result });
                }
                Output::Read { key, .. } => {
                    let none = Page { messages: Vec::new(), next: u64::MAX, last: 0, damaged: Vec::new() };
                    self.desk.handle(self.now, Input::Page { key, result: Ok(none) });
                }
                Output::Deliver { delivery, .. } => self.out.push(delivery.token),
                Output::Save { key, bytes, .. } => {
                    self.saved += bytes.len();
                    self.desk.handle(self.now, Input::Saved { key, result: Ok(()) });
                }
                _ => {}
            }
        }
    }
}

fn main() {
    let messages = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000_u64);
    let now = Moment::from_nanos(1_000_000_000);
    let (mut memory, mut desk) = (Memory::new(), Desk::new());
    let (Ok(pattern), Ok(subject)) = (Pattern::parse("s.>"), Subject::parse("s.a")) else { return };
    if memory.stream_create(now, StreamConfig::new("S", [pattern])).is_err() {
        return;
    }
    for _ in 0..messages {
        if memory.append(now, Append::new(Message::new(subject.clone(), vec![b'x'; 128]))).is_err() {
            return;
        }
    }
    desk.handle(now, Input::Stream { stream: "S", retention: Retention::Limits, first: 1, last: messages });
    let config = ConsumerConfig::new("c");
    desk.handle(now, Input::Create { ticket: 0, stream: "S", config });
    let mut rim = Rim { now, memory, desk, out: Vec::new(), saved: 0 };
    for (name, batch, at_random) in [("batches of 100, in order", 100, false), ("batches of 500, reversed", 500, true)]
    {
        let (start, mut done) = (Instant::now(), 0);
        while done < messages / 2 {
            let fetch = Fetch { batch, bytes: None, wait: None, ..Fetch::default() };
            rim.desk.handle(rim.now, Input::Fetch { request: done, stream: "S", consumer: "c", fetch });
            rim.serve();
            let mut tokens = std::mem::take(&mut rim.out);
            if tokens.is_empty() {
                return println!("no more messages");
            }
            if at_random {
                tokens.reverse();
            }
            done += tokens.len() as u64;
            rim.now = rim.now.after(Duration::from_micros(100));
            for token in tokens {
                rim.desk.handle(rim.now, Input::Ack { ticket: 0, token, ack: Ack::Done, synced: false });
            }
            rim.serve();
        }
        let rate = done as f64 / start.elapsed().as_secs_f64();
        println!("{name}: {rate:.0} deliveries with acknowledgement per second, {} bytes saved", rim.saved);
    }
}

//! A worker that takes messages from a consumer, acknowledges most of them, and remembers which.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ledger::gone;
use super::stream;
use crate::api::{self, Recorded};
use crate::http::Connection;
use crate::random::Random;

/// The consumer's name.
pub const NAME: &str = "worker";
/// Its acknowledgement wait: short, so that what is left lying comes again within the run.
pub const ACK_WAIT: &str = "2s";
/// How long before a kill an acknowledgement must have been answered to be sure to survive it: the
/// second that the contract allows, and as much again for a machine that is busy.
const ACK_DURABLE: Duration = Duration::from_secs(2);
/// Messages of one fetch.
const BATCH: u64 = 50;
/// One delivery in so many is left lying.
const LEFT_LYING_ONE_IN: u64 = 5;
/// Messages of one fetch at the end.
const DRAIN_BATCH: u64 = 500;
/// How long nothing may come out at the end while something is left: many times the wait for what was
/// left lying.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The worker.
pub struct Worker {
    chance: Random,
    /// When the acknowledgement of a position was answered, and whether a kill has confirmed it.
    acked: BTreeMap<u64, Acked>,
    /// Deliveries so far.
    pub deliveries: u64,
    /// Of those, of a position that was acknowledged before.
    pub repeated: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acked {
    /// At this moment, in the present life.
    Now(Instant),
    /// Just before a kill: it may have been lost.
    Unsure,
    /// Long enough before a kill.
    Sure,
}

impl Worker {
    /// A worker that has taken nothing.
    pub fn new(seed: u64) -> Self {
        Worker { chance: Random::new(seed, 1 << 60), acked: BTreeMap::new(), deliveries: 0, repeated: 0 }
    }

    /// Takes and acknowledges until the node is gone.
    pub fn consume(&mut self, address: SocketAddr, stopping: &AtomicBool) -> Result<(), String> {
        let Ok(mut conn) = Connection::open(address) else { return gone(stopping, "cannot connect") };
        while !stopping.load(Ordering::SeqCst) {
            let fetched = match api::fetch(&mut conn, &stream(0), NAME, BATCH, "100ms") {
                Ok(fetched) => fetched,
                Err(error) => return gone(stopping, &error),
            };
            for message in fetched {
                self.note_delivery(&message)?;
                if self.chance.one_in(LEFT_LYING_ONE_IN) {
                    continue;
                }
                if let Err(error) = self.acknowledge(&mut conn, std::slice::from_ref(&message)) {
                    return gone(stopping, &error);
                }
            }
        }
        Ok(())
    }

    /// The node was killed: what was acknowledged long enough before is sure now.
    pub fn note_kill(&mut self, at: Instant) {
        for acked in self.acked.values_mut() {
            if let Acked::Now(when) = *acked {
                *acked = if at.duration_since(when) > ACK_DURABLE { Acked::Sure } else { Acked::Unsure };
            }
        }
    }

    /// Takes everything that is left, up to a position, and checks that nothing was skipped.
    pub fn drain(&mut self, address: SocketAddr, last: u64) -> Result<(), String> {
        let mut conn = Connection::open(address).map_err(|error| error.to_string())?;
        let (mut first_missing, mut idle_since) = (1, Instant::now());
        while first_missing <= last {
            if self.acked.contains_key(&first_missing) {
                first_missing += 1;
                continue;
            }
            let fetched = api::fetch(&mut conn, &stream(0), NAME, DRAIN_BATCH, "500ms")?;
            if fetched.is_empty() && idle_since.elapsed() > IDLE_MAX {
                return Err(format!("{}:{first_missing} never came out of the consumer", stream(0)));
            }
            if !fetched.is_empty() {
                idle_since = Instant::now();
            }
            for message in &fetched {
                self.note_delivery(message)?;
            }
            self.acknowledge(&mut conn, &fetched)?;
        }
        Ok(())
    }

    fn note_delivery(&mut self, message: &Recorded) -> Result<(), String> {
        self.deliveries += 1;
        match self.acked.get(&message.seq) {
            None => Ok(()),
            Some(Acked::Unsure) => {
                self.repeated += 1;
                Ok(())
            }
            Some(_) => Err(format!("{}:{} was acknowledged, and came again", stream(0), message.seq)),
        }
    }

    fn acknowledge(&mut self, conn: &mut Connection, messages: &[Recorded]) -> Result<(), String> {
        let tokens: Option<Vec<&str>> = messages.iter().map(|message| message.token.as_deref()).collect();
        // Taken before the answer is there: a kill between the two leaves it open.
        self.acked.extend(messages.iter().map(|message| (message.seq, Acked::Unsure)));
        api::ack(conn, &stream(0), NAME, &tokens.ok_or("a delivery without a token")?)?;
        self.acked.extend(messages.iter().map(|message| (message.seq, Acked::Now(Instant::now()))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(worker: &mut Worker, seq: u64) -> Result<(), String> {
        worker.note_delivery(&Recorded { seq, subject: String::new(), payload: Vec::new(), token: None })
    }

    #[test]
    fn only_an_acknowledgement_just_before_a_kill_may_be_lost() {
        let mut worker = Worker::new(1);
        let begun = Instant::now();
        for (seq, after) in [(1, 0), (2, 2_900)] {
            worker.acked.insert(seq, Acked::Now(begun + Duration::from_millis(after)));
        }
        assert!(delivered(&mut worker, 2).is_err());
        worker.note_kill(begun + Duration::from_secs(3));
        assert!(delivered(&mut worker, 1).is_err());
        assert!(delivered(&mut worker, 2).is_ok());
        assert!(delivered(&mut worker, 3).is_ok());
        assert_eq!((worker.deliveries, worker.repeated), (4, 1));
    }
}

//! What a publishing client knows: what it sent, and which of it was acknowledged where.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{STREAMS, stream};
use crate::api::{self, Receipt, Recorded, Way};
use crate::http::Connection;
use crate::random::Random;

/// Largest payload, in bytes.
const PAYLOAD_BYTES_MAX: u64 = 3_000;

/// A publishing client. It sends one message after the other, and the next only when the node has
/// answered, so what it sent to a stream has an order.
///
/// Invariant: only the last message may be without an answer.
pub struct Client {
    seed: u64,
    number: u64,
    /// What was sent, by its own counting.
    sent: Vec<Sent>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    stream: u64,
    /// Where it was acknowledged.
    acked: Option<u64>,
    /// Where it was found.
    found: Option<u64>,
}

impl Client {
    /// A client that has sent nothing.
    pub fn new(seed: u64, number: u64) -> Self {
        Client { seed, number, sent: Vec::new() }
    }

    /// How many of its messages were acknowledged.
    pub fn acked(&self) -> u64 {
        self.sent.iter().filter(|sent| sent.acked.is_some()).count() as u64
    }

    /// Publishes until the node is gone.
    pub fn publish(&mut self, address: SocketAddr, stopping: &AtomicBool) -> Result<(), String> {
        let Ok(mut conn) = Connection::open(address) else { return gone(stopping, "cannot connect") };
        while !stopping.load(Ordering::SeqCst) {
            let made = self.make(self.sent.len());
            self.sent.push(Sent { stream: made.stream, acked: None, found: None });
            match self.send(&mut conn, &made) {
                Ok(receipt) => {
                    let receipt = receipt?;
                    if receipt.duplicate {
                        return Err(format!("{} is new and was called a duplicate", made.id));
                    }
                    self.acked_at(receipt.seq);
                }
                Err(error) => return gone(stopping, &error.to_string()),
            }
        }
        Ok(())
    }

    /// Sends again what has no answer; answers how many, and how many of them were recorded.
    pub fn settle(&mut self, conn: &mut Connection) -> Result<(u64, u64), String> {
        let Some(last) = self.sent.last().copied().filter(|last| last.acked.is_none()) else { return Ok((0, 0)) };
        let made = self.make(self.sent.len() - 1);
        let receipt = self.send(conn, &made).map_err(|error| error.to_string())??;
        match (last.found, receipt) {
            (Some(found), Receipt { seq, duplicate: true }) if found == seq => {}
            (None, Receipt { duplicate: false, .. }) => {}
            (found, receipt) => return Err(format!("{} was found at {found:?}, sent again: {receipt:?}", made.id)),
        }
        self.acked_at(receipt.seq);
        Ok((1, u64::from(last.found.is_some())))
    }

    fn acked_at(&mut self, seq: u64) {
        if let Some(last) = self.sent.last_mut() {
            last.acked = Some(seq);
        }
    }

    fn send(&self, conn: &mut Connection, made: &Made) -> std::io::Result<Result<Receipt, String>> {
        let way = [Way::Publish, Way::Binary, Way::Structured][usize::try_from(self.number % 3).unwrap_or(0)];
        let response = api::send(conn, way, &made.subject, &made.id, &made.payload)?;
        Ok(api::receipt(&response).map_err(|reason| format!("{}: {reason}", made.id)))
    }

    /// The message of a number: always the same.
    fn make(&self, count: usize) -> Made {
        let mut chance = Random::new(self.seed, (self.number << 40) + count as u64);
        let stream = chance.below(STREAMS);
        let length = usize::try_from(chance.below(PAYLOAD_BYTES_MAX)).unwrap_or(0);
        let length = if chance.one_in(10) { 0 } else { length };
        let printable = chance.one_in(2);
        let id = format!("{}-{count}", self.number);
        Made { stream, subject: format!("crash.{stream}.{id}"), payload: chance.bytes(length, printable), id }
    }
}

struct Made {
    stream: u64,
    subject: String,
    payload: Vec<u8>,
    id: String,
}

/// A broken connection is right when the node was being killed, and wrong before.
pub fn gone(stopping: &AtomicBool, error: &str) -> Result<(), String> {
    if stopping.load(Ordering::SeqCst) {
        return Ok(());
    }
    Err(format!("the connection broke while the node was to be alive: {error}"))
}

/// Checks what a stream holds behind a position; answers its last.
pub fn check_stream(number: u64, after: u64, recorded: &[Recorded], clients: &mut [Client]) -> Result<u64, String> {
    let name = stream(number);
    let mut last = after;
    let mut last_of: BTreeMap<usize, usize> = BTreeMap::new();
    for message in recorded {
        let place = format!("{name}:{} ({})", message.seq, message.subject);
        if message.seq != last + 1 {
            return Err(format!("{place} follows {last}"));
        }
        last = message.seq;
        let (client, count) = named(&message.subject).ok_or_else(|| format!("{place} was never sent"))?;
        let known = clients.get_mut(client).ok_or_else(|| format!("{place} was never sent"))?;
        let made = known.make(count);
        let sent = known.sent.get_mut(count).ok_or_else(|| format!("{place} was never sent"))?;
        if made.subject != message.subject || made.stream != number || made.payload != message.payload {
            return Err(format!("{place} has other bytes than were sent"));
        }
        if sent.acked.is_some_and(|acked| acked != message.seq) {
            return Err(format!("{place} was acknowledged at {:?}", sent.acked));
        }
        if sent.found.is_some_and(|found| found != message.seq) {
            return Err(format!("{place} is there twice, first at {:?}", sent.found));
        }
        sent.found = Some(message.seq);
        if last_of.insert(client, count).is_some_and(|before| before >= count) {
            return Err(format!("{place} stands behind a later one of the same client"));
        }
    }
    for client in clients.iter() {
        let here = client.sent.iter().enumerate().filter(|(_, sent)| sent.stream == number);
        for (count, sent) in here.filter(|(_, sent)| sent.acked.is_some_and(|acked| acked > after)) {
            if sent.found != sent.acked || sent.acked.is_some_and(|acked| acked > last) {
                return Err(format!("{name}: {}-{count}, acknowledged at {:?}, is lost", client.number, sent.acked));
            }
        }
    }
    Ok(last)
}

/// The client and the count in a subject.
fn named(subject: &str) -> Option<(usize, usize)> {
    let (client, count) = subject.rsplit('.').next()?.split_once('-')?;
    Some((client.parse().ok()?, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clients; three messages of the first and one of the second stand in stream 0.
    fn world() -> (Vec<Client>, Vec<Recorded>) {
        let mut clients = vec![Client::new(7, 0), Client::new(7, 1)];
        let mut recorded = Vec::new();
        for (client, wanted) in [(0, 3), (1, 1)] {
            let known: &mut Client = &mut clients[client];
            while recorded.len() < if client == 0 { wanted } else { 3 + wanted } {
                let made = known.make(known.sent.len());
                let here = made.stream == 0;
                let seq = recorded.len() as u64 + 1;
                known.sent.push(Sent { stream: made.stream, acked: here.then_some(seq), found: None });
                if here {
                    recorded.push(Recorded { seq, subject: made.subject, payload: made.payload, token: None });
                }
            }
        }
        (clients, recorded)
    }

    #[track_caller]
    fn check(expected: &str, spoil: impl FnOnce(&mut Vec<Client>, &mut Vec<Recorded>)) {
        let (mut clients, mut recorded) = world();
        spoil(&mut clients, &mut recorded);
        let judged = check_stream(0, 0, &recorded, &mut clients);
        match judged {
            Ok(last) => assert_eq!((expected, last), ("", 4)),
            Err(reason) => assert!(!expected.is_empty() && reason.contains(expected), "{reason}"),
        }
    }

    #[test]
    fn what_was_acknowledged_and_is_there_passes() {
        check("", |_, _| {});
    }

    #[test]
    fn a_lost_message_is_found() {
        check("is lost", |_, recorded| drop(recorded.pop()));
    }

    #[test]
    fn a_gap_is_found() {
        check("follows", |_, recorded| drop(recorded.remove(1)));
    }

    #[test]
    fn changed_bytes_are_found() {
        check("other bytes", |_, recorded| recorded[2].payload.push(0));
    }

    #[test]
    fn a_message_at_another_position_is_found() {
        check("was acknowledged at", |_, recorded| {
            recorded.swap(0, 3);
            recorded.iter_mut().zip(1..).for_each(|(message, seq)| message.seq = seq);
        });
    }

    #[test]
    fn a_doubled_message_is_found() {
        check("is there twice", |clients, recorded| {
            clients.iter_mut().flat_map(|client| &mut client.sent).for_each(|sent| sent.acked = None);
            recorded.push(Recorded { seq: 5, ..recorded[0].clone() });
        });
    }

    #[test]
    fn a_changed_order_is_found() {
        check("stands behind a later one", |clients, recorded| {
            clients.iter_mut().flat_map(|client| &mut client.sent).for_each(|sent| sent.acked = None);
            recorded.swap(0, 1);
            recorded.iter_mut().zip(1..).for_each(|(message, seq)| message.seq = seq);
        });
    }

    #[test]
    fn a_message_that_nobody_sent_is_found() {
        check("was never sent", |_, recorded| recorded[3].subject = "crash.0.9-9".to_string());
    }
}

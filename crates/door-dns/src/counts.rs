//! What the door counts, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// The names of response codes, by which answers are counted; all others are `other`.
pub const RCODES: [&str; 7] = ["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "other"];

/// What the door has counted since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions over UDP.
    pub questions_udp: u64,
    /// Questions over TCP.
    pub questions_tcp: u64,
    /// Answers by response code. Every code of [`RCODES`] is listed, 0 or not.
    pub answers: Vec<(&'static str, u64)>,
    /// Answers that had to leave something out, and said so.
    pub truncated: u64,
    /// Packets that deserved no answer: shorter than a header, or a response.
    pub dropped: u64,
    /// Answers that could not be sent.
    pub unsent: u64,
    /// Connections over TCP, now.
    pub connections: u64,
    /// Connections over TCP that were given up: too slow, or too long a question.
    pub given_up: u64,
}

/// The same, as it is counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub questions_udp: AtomicU64,
    pub questions_tcp: AtomicU64,
    answers: [AtomicU64; RCODES.len()],
    truncated: AtomicU64,
    pub dropped: AtomicU64,
    pub unsent: AtomicU64,
    pub connections: AtomicU64,
    pub given_up: AtomicU64,
}

/// Adds one.
pub(crate) fn one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    /// Counts an answer by its header.
    pub fn answer(&self, packet: &[u8]) {
        let &[_, _, flags, codes, ..] = packet else { return };
        let code = usize::from(codes & 0x0f).min(RCODES.len() - 1);
        if let Some(count) = self.answers.get(code) {
            one(count);
        }
        if flags & 0x02 != 0 {
            one(&self.truncated);
        }
    }

    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            questions_udp: get(&self.questions_udp),
            questions_tcp: get(&self.questions_tcp),
            answers: RCODES.iter().zip(&self.answers).map(|(name, count)| (*name, get(count))).collect(),
            truncated: get(&self.truncated),
            dropped: get(&self.dropped),
            unsent: get(&self.unsent),
            connections: get(&self.connections),
            given_up: get(&self.given_up),
        }
    }
}

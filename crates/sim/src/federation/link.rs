//! What goes over a link, and what becomes of it there.

use federation::outbox::Outcome;

/// A request or an answer on its way.
#[derive(Debug, Clone)]
pub enum Packet {
    /// Facts that are pushed.
    Request(Request),
    /// How it went with each of them.
    Answer {
        /// Who answers.
        from: usize,
        /// Who asked.
        to: usize,
        /// Which life of his did: an answer to one before a crash is of no use.
        life: u64,
        /// The batch.
        batch: u64,
        /// In the order of the bodies.
        outcomes: Vec<Outcome>,
    },
}

/// Facts that are pushed, signed.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who pushes.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// In which life.
    pub life: u64,
    /// The batch.
    pub batch: u64,
    /// When, in seconds by the clock of the sender.
    pub timestamp: i64,
    /// What stands for the signature: another in every request.
    pub signature: [u8; 8],
    /// The envelopes.
    pub bodies: Vec<Vec<u8>>,
}

impl Packet {
    /// Its two ends.
    pub fn ends(&self) -> (usize, usize) {
        match self {
            Packet::Request(request) => (request.from, request.to),
            Packet::Answer { from, to, .. } => (*from, *to),
        }
    }
}

//! What became of each fact towards each peer.
//!
//! Not who sends: an [`outbox`](crate::outbox) makes the records, the host keeps them in a stream and
//! folds them here again after a restart. A row is of the latest state of a fact that the peer was told,
//! or is owed.
//!
//! Invariants: one row a (fact, peer); of two records the one of the later state counts, and of the same
//! state a delivery counts against everything else, so the order of records does not matter for it. Rows
//! go with their facts. Costs: a look-up by id, then by peer; a row about 150 bytes.

mod codec;
mod summary;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use event::Moment;

use crate::facts::{Entry, Facts};
use crate::peer::{PeerSpec, Verdict};
pub use codec::{DecodeError, decode, encode};
pub use summary::{Filter, Summary};

/// Up to so many peers, the rows of a fact take no more room than they need.
const FEW_PEERS: usize = 4;

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Owed, and not tried or not answered yet.
    Pending,
    /// Tried without success; it is tried again.
    Failed,
    /// The fact expired before the peer was told.
    Expired,
    /// Not for this peer.
    Skipped,
    /// The peer has it.
    Delivered,
}

impl Status {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Failed => "failed",
            Status::Expired => "expired",
            Status::Skipped => "skipped",
            Status::Delivered => "delivered",
        }
    }

    /// The status of a word.
    pub fn of(word: &str) -> Option<Self> {
        let all = [Status::Pending, Status::Failed, Status::Expired, Status::Skipped, Status::Delivered];
        all.into_iter().find(|status| status.word() == word)
    }

    /// Whether the peer is still to be told.
    pub fn is_outstanding(self) -> bool {
        matches!(self, Status::Pending | Status::Failed)
    }
}

/// What became of one fact towards one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The fact.
    pub id: Arc<str>,
    /// The peer.
    pub peer: Arc<str>,
    /// Where the state is recorded that this is about.
    pub seq: u64,
    /// When that was.
    pub recorded: Moment,
    /// How it stands.
    pub status: Status,
    /// How often this state was tried.
    pub attempts: u32,
    /// When it was tried last.
    pub last_attempt: Option<Moment>,
    /// Why the last try failed, cut to [`ERROR_BYTES_MAX`](crate::limits::ERROR_BYTES_MAX).
    pub last_error: Option<Arc<str>>,
    /// When the peer took it.
    pub delivered: Option<Moment>,
    /// The expiry that the peer knows, or is to be told; `None`, too, where it is to be told afterwards.
    pub expires: Option<Moment>,
}

impl Delivery {
    /// The row of a fact that a peer is owed.
    pub fn pending(entry: &Entry, peer: &Arc<str>) -> Self {
        Delivery {
            id: entry.id.clone(),
            peer: peer.clone(),
            seq: entry.seq,
            recorded: entry.recorded,
            status: Status::Pending,
            attempts: 0,
            last_attempt: None,
            last_error: None,
            delivered: None,
            expires: entry.expires.filter(|_| !entry.withdrawn && !entry.outlasted),
        }
    }

    /// From when the fact was recorded to when the peer took it, or until `now` where it has not.
    pub fn lag(&self, now: Moment) -> Duration {
        self.delivered.unwrap_or(now).since(self.recorded)
    }
}

/// The table. See the module.
#[derive(Debug, Default)]
pub struct Deliveries {
    /// By fact, then in the order of the peers: a row is of one fact towards one peer.
    rows: BTreeMap<Arc<str>, Vec<Delivery>>,
    len: usize,
}

impl Deliveries {
    /// An empty table.
    pub fn new() -> Self {
        Deliveries::default()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a record; false where a later one is there.
    ///
    /// What is only owed does not take the place of what was delivered: such a row is stale until its
    /// next record.
    pub fn apply(&mut self, delivery: Delivery) -> bool {
        let peers = self.rows.entry(delivery.id.clone()).or_default();
        match place(peers, &delivery.peer) {
            Err(place) => {
                // Most nodes have a few peers, and many facts.
                if peers.len() < FEW_PEERS {
                    peers.reserve_exact(1);
                }
                peers.insert(place, delivery);
                self.len += 1;
                true
            }
            Ok(place) => {
                let Some(row) = peers.get_mut(place) else { return false };
                let delivered = row.status == Status::Delivered;
                let older = delivery.seq < row.seq || (delivery.seq == row.seq && delivered);
                let owed_again = delivery.status == Status::Pending && (delivered || delivery.seq == row.seq);
                if older || owed_again {
                    return false;
                }
                *row = delivery;
                true
            }
        }
    }

    /// One row.
    pub fn get(&self, id: &str, peer: &str) -> Option<&Delivery> {
        let peers = self.rows.get(id)?;
        peers.get(place(peers, peer).ok()?)
    }

    /// The rows of one fact, by peer.
    pub fn of(&self, id: &str) -> impl Iterator<Item = &Delivery> {
        self.rows.get(id).into_iter().flatten()
    }

    /// All rows, by fact, then peer.
    pub fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.rows.values().flatten()
    }

    /// Whether a peer is still to be told the latest state of a fact that holds or is taken back. One that
    /// expired by a clock that was ahead, and holds, is owed again.
    pub fn owes(&self, entry: &Entry, peer: &str) -> bool {
        let ended = |row: &Delivery| matches!(row.status, Status::Delivered | Status::Skipped);
        self.get(&entry.id, peer).is_none_or(|row| row.seq < entry.seq || !ended(row))
    }

    /// The position from which on a peer is owed something; `None`: nothing. Where an outbox begins after a
    /// start, after its peer's filters changed, and after the table was folded anew.
    pub fn first_owed(&self, facts: &Facts, peer: &PeerSpec, own_node: &str, now: Moment) -> Option<u64> {
        let told = |entry: &&Entry| entry.withdrawn || entry.is_live(now);
        let wanted = |entry: &&Entry| peer.wants_entry(entry, own_node) == Verdict::Push;
        let owed = facts.after(0).filter(told).filter(wanted).find(|entry| self.owes(entry, &peer.name));
        owed.map(|entry| entry.seq)
    }

    /// Lets go of the rows of facts that are no more.
    pub fn prune<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>) {
        for id in ids {
            self.len -= self.rows.remove(id).map_or(0, |peers| peers.len());
        }
    }

    /// Lets go of the rows of a peer that is no more.
    pub fn prune_peer(&mut self, peer: &str) {
        for peers in self.rows.values_mut() {
            if let Ok(place) = place(peers, peer) {
                peers.remove(place);
                self.len -= 1;
            }
        }
        self.rows.retain(|_, peers| !peers.is_empty());
    }
}

/// Where a peer's row is among those of a fact, or belongs.
fn place(peers: &[Delivery], peer: &str) -> Result<usize, usize> {
    peers.binary_search_by(|row| (*row.peer).cmp(peer))
}

/// An error's text as it is kept.
pub fn error_text(text: &str) -> Arc<str> {
    let mut end = text.len().min(crate::limits::ERROR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    String::from(text.get(..end).unwrap_or_default()).into()
}

//! Deliveries in numbers, by group and peer, as routerd's command line gives them.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use event::Moment;
use serde::Serialize;

use super::{Deliveries, Delivery, Status};
use crate::facts::{Entry, Facts};

/// Which rows count. What is `None` is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one peer.
    pub peer: Option<String>,
    /// Of facts of one type.
    pub kind: Option<String>,
    /// Of facts that hold no longer, too, as far as they are still in the table.
    pub include_expired: bool,
}

/// How it stands with one peer of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The group.
    pub group: String,
    /// The peer.
    pub peer: String,
    /// Facts that the peer has or is to have.
    pub events: u64,
    /// Of these, those that it has.
    pub delivered: u64,
    /// Of those, the ones that were refreshed or changed since.
    #[serde(rename = "staleTTL")]
    pub stale_ttl: u64,
    /// Tried without success.
    pub failed: u64,
    /// Not tried yet.
    pub pending: u64,
    /// Longest time from recording to delivery, and of what is outstanding until now; in seconds.
    pub max_lag_seconds: u64,
    /// Until the next of these facts expires, in seconds; `None`: none does.
    pub min_expires_in_seconds: Option<u64>,
}

impl Deliveries {
    /// The rows of a group's facts that a filter takes, each with its fact.
    pub(crate) fn matching<'a>(
        &'a self,
        facts: &'a Facts,
        filter: &'a Filter,
        now: Moment,
    ) -> impl Iterator<Item = (&'a Entry, &'a Delivery)> {
        let entries = self.rows.iter().filter_map(move |(id, peers)| Some((facts.get(id)?, peers)));
        let wanted = entries.filter(move |(entry, _)| {
            (filter.include_expired || entry.is_live(now))
                && filter.kind.as_deref().is_none_or(|kind| kind == &*entry.kind)
        });
        let rows = wanted.flat_map(|(entry, peers)| peers.iter().map(move |row| (entry, row)));
        rows.filter(|(_, row)| filter.peer.as_deref().is_none_or(|peer| peer == &*row.peer))
    }

    /// Numbers for each peer, by its name, over the facts of one group.
    pub fn summary(&self, facts: &Facts, filter: &Filter, now: Moment) -> Vec<Summary> {
        let mut by_peer: BTreeMap<&str, Summary> = BTreeMap::new();
        for (entry, row) in self.matching(facts, filter, now) {
            let new = || Summary::new(facts.group(), &row.peer);
            by_peer.entry(&row.peer).or_insert_with(new).count(entry, row, now);
        }
        by_peer.into_values().collect()
    }
}

impl Summary {
    fn new(group: &str, peer: &str) -> Self {
        Summary {
            group: group.to_string(),
            peer: peer.to_string(),
            events: 0,
            delivered: 0,
            stale_ttl: 0,
            failed: 0,
            pending: 0,
            max_lag_seconds: 0,
            min_expires_in_seconds: None,
        }
    }

    fn count(&mut self, entry: &Entry, row: &Delivery, now: Moment) {
        match row.status {
            Status::Delivered => self.delivered += 1,
            Status::Failed => self.failed += 1,
            Status::Pending => self.pending += 1,
            Status::Expired | Status::Skipped => return,
        }
        self.events += 1;
        self.stale_ttl += u64::from(row.status == Status::Delivered && row.seq < entry.seq);
        self.max_lag_seconds = self.max_lag_seconds.max(row.lag(now).as_secs());
        if let Some(expires) = entry.expires.filter(|expires| *expires >= now) {
            let left = expires.since(now).as_secs();
            self.min_expires_in_seconds = Some(self.min_expires_in_seconds.map_or(left, |least| least.min(left)));
        }
    }
}

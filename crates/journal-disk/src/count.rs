//! How many messages lie between two positions.
//!
//! Where everything is wanted, that is arithmetic: positions less those that hold nothing. Otherwise the
//! subjects' own counts are added up, and only of a subject that lies on both sides of a boundary are the
//! positions walked, on the shorter side of it.

use std::io;
use std::sync::Arc;

use event::{Pattern, Wanted};
use journal::ReadError;

use crate::index;
use crate::live::Shared;
use crate::read::Reader;
use crate::subjects::Entry;

/// Subjects looked at under one hold of the lock.
const SUBJECTS_STEP: u32 = 8192;

impl Reader {
    /// How many messages there are from a position up to and with another that one of the filters
    /// matches; of all, where there are none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn count(&self, stream: &str, filters: &[Pattern], from: u64, upto: u64) -> Result<u64, ReadError> {
        let shared = self.shared(stream)?;
        count(&shared, filters, from, upto).map_err(|error| ReadError::Storage(error.to_string()))
    }
}

fn count(shared: &Arc<Shared>, filters: &[Pattern], from: u64, upto: u64) -> io::Result<u64> {
    let live = shared.live.read();
    let (state, all) = (live.state, filters.is_empty() || filters.iter().any(|filter| filter.as_str() == ">"));
    let (from, upto) = (from.max(state.first), upto.min(state.last));
    if from > upto {
        return Ok(0);
    }
    let positions = upto + 1 - from - live.gone.count_in(from..upto + 1);
    if all {
        return Ok(positions);
    }
    drop(live);
    let found = entries(shared, filters);
    if found.iter().map(|(_, entry)| entry.count).sum::<u64>() >= state.messages {
        return Ok(positions);
    }
    let mut count = 0;
    for (id, entry) in found {
        if entry.last >= from && entry.first <= upto {
            count += count_one(shared, id, entry, from, upto)?;
        }
    }
    Ok(count.min(positions))
}

/// The subjects that filters match.
fn entries(shared: &Shared, filters: &[Pattern]) -> Vec<(u32, Entry)> {
    let literals: Option<Vec<_>> = filters.iter().map(Pattern::literal).collect();
    if let Some(literals) = literals {
        let live = shared.live.read();
        let found = literals.iter().filter_map(|subject| live.table.find(subject.as_str()));
        return found.map(|id| (id, live.table.entry(id))).collect();
    }
    let mut wanted = Wanted::default();
    for filter in filters {
        wanted.insert(filter, ());
    }
    let (mut found, mut next) = (Vec::new(), 0_u32);
    loop {
        let live = shared.live.read();
        let end = next.saturating_add(SUBJECTS_STEP).min(live.table.ids());
        let matching = (next..end).filter(|id| {
            let text = live.table.text(*id);
            !text.is_empty() && wanted.any(text)
        });
        found.extend(matching.map(|id| (id, live.table.entry(id))));
        if end <= next {
            return found;
        }
        next = end;
    }
}

/// The messages of one subject. `entry.first` is at or before its first.
fn count_one(shared: &Shared, id: u32, entry: Entry, from: u64, upto: u64) -> io::Result<u64> {
    let (before, behind) = (from.saturating_sub(entry.first), entry.last.saturating_sub(upto));
    if before + behind <= upto - from {
        let outside = walk(shared, id, entry.first, from.saturating_sub(1).min(entry.last))?
            + walk(shared, id, upto + 1, entry.last)?;
        return Ok(entry.count.saturating_sub(outside));
    }
    walk(shared, id, from, upto.min(entry.last))
}

/// Counts one by one.
fn walk(shared: &Shared, id: u32, mut from: u64, upto: u64) -> io::Result<u64> {
    let mut count = 0;
    while from <= upto {
        match index::next_of_id(shared, id, from)? {
            Some((seq, _)) if seq <= upto => {
                count += u64::from(shared.live.read().holds(seq));
                from = seq + 1;
            }
            _ => break,
        }
    }
    Ok(count)
}

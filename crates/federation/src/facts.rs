//! The table of facts: what holds now in one group, folded from the records of its stream.
//!
//! Not a store: payloads stay in the journal, of each fact its summary and a fingerprint are here. What
//! is recorded is decided by [`Facts::judge`] and [`Facts::merged`]; what the records mean, by
//! [`Facts::fold`], which judges again, because two appends may have raced.
//!
//! Invariants:
//! - one entry an id; of the states of a fact the latest observation holds, and at the same moment a
//!   withdrawal beats what it withdraws: the order in which states arrive does not matter.
//! - a refresh is observed no earlier and extends: an expiry never comes earlier, and "for ever" gives way
//!   to an expiry and never replaces one.
//! - what a peer observed again is recorded although nothing else is new: a fact that said something
//!   else in between, and is still on its way, is thereby known as overtaken.
//! - who missed that a fact was withdrawn and told anew holds it to the later expiry of both lives. Where
//!   that is for ever, the end of the second life is kept and told like a withdrawal.
//! - `X.expired` withdraws the `X.observed` of the same source and subject that were observed before it
//!   or with it, whichever arrives first.
//! - of discovery facts with one key the newest holds (observed, then recorded, then id).
//! - an id belongs to the source that used it first, for as long as the fact holds.
//!
//! How a fact ended is remembered for [`ENDED_KEEP`](crate::limits::ENDED_KEEP), so that a late copy is a
//! duplicate and not a new fact; a withdrawal until the fact would have expired, at least so long and at
//! most [`WITHDRAWN_KEEP`]. Sources: sections 3 and 4 of the notes on routerd's federation that
//! docs/federation.md gives; its table is `federation_events`.
//!
//! Costs: judging is one look-up in a tree, folding and expiring a few more, whatever the number of facts.
//! A fact costs about 500 bytes and its id and subject.

mod ended;
mod state;
#[cfg(test)]
mod tests;

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;
use core::time::Duration;

use event::{Fact, Moment};

use crate::fingerprint;
use crate::limits::{CLOCK_SLACK, ENDED_KEEP, NAMES_MAX, WITHDRAWN_KEEP};
use crate::stored::Stored;
use ended::Ended;
pub use state::Judged;
use state::State;

/// What ends the type of a fact that states an observation.
const OBSERVED: &str = ".observed";
/// What ends the type of a fact that says that an observation holds no longer.
const EXPIRED: &str = ".expired";
/// The type whose discovery facts replace each other.
const DISCOVERED: &str = "routerd.client.ipv4.observed";
/// The values of `source` in the payload of a discovery fact.
const DISCOVERIES: [&str; 2] = ["provider-discovery", "onprem-l2-discovery"];

/// The last moment that an expiry can be.
const FOR_EVER: Moment = Moment::from_nanos(u64::MAX);

/// What the table knows of one fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id, unique here.
    pub id: Arc<str>,
    /// Where its latest state is recorded.
    pub seq: u64,
    /// When that was.
    pub recorded: Moment,
    /// The peer or key by which it came; `None`: told here.
    pub via: Option<Arc<str>>,
    /// The node that observed it; may be empty.
    pub source: Arc<str>,
    /// Its type.
    pub kind: Arc<str>,
    /// What it is about; may be empty.
    pub subject: Arc<str>,
    /// When it was observed.
    pub observed: Option<Moment>,
    /// The last moment at which it holds; `None`: for ever.
    pub expires: Option<Moment>,
    /// Whether it is taken back.
    pub withdrawn: bool,
    /// Of what it says: type, subject, key and payload.
    pub fingerprint: u64,
    /// Its key, where it is a discovery fact.
    discovery: Option<Arc<str>>,
    /// Until when it is kept, where it is withdrawn.
    kept: Option<Moment>,
    /// Whether who missed what came before may hold it for ever: then its end is told, too.
    pub(crate) outlasted: bool,
}

impl Entry {
    /// Whether it holds.
    pub fn is_live(&self, now: Moment) -> bool {
        !self.withdrawn && self.expires.is_none_or(|expires| now <= expires)
    }

    /// Whether a node owes it to its peers: it was told here, of this node.
    pub fn is_own(&self, own_node: &str) -> bool {
        self.via.is_none() && !own_node.is_empty() && *self.source == *own_node
    }

    /// The fact as peers are to be told: what its record says, with what the table knows from before. Two
    /// that were told at once were recorded without knowing of each other.
    #[must_use]
    pub fn complete(&self, mut recorded: Fact) -> Fact {
        (*self.kind).clone_into(&mut recorded.kind);
        (*self.subject).clone_into(&mut recorded.subject);
        recorded.observed = self.observed;
        recorded.expires = self.expires;
        recorded
    }

    fn state(&self) -> State {
        State {
            source: state::source_of(&self.source),
            observed: self.observed,
            expires: self.expires,
            withdrawn: self.withdrawn,
            over: self.withdrawn,
            fingerprint: self.fingerprint,
        }
    }

    /// The last moment in the table.
    fn end(&self) -> Option<Moment> {
        self.kept.or(self.expires)
    }

    fn place(&self) -> (Moment, Arc<str>) {
        (self.observed.unwrap_or(Moment::EPOCH), self.id.clone())
    }
}

/// Why a fact holds no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its time is over.
    Expired,
    /// It was taken back, or its end is to be told though it expired: that stands in its place.
    Withdrawn,
    /// An `X.expired` says that it is over: that is what peers are told.
    Ended,
    /// A newer discovery with the same key stands in its place.
    Replaced,
    /// Its record left the stream; or it is a withdrawal that is kept no longer.
    Forgotten,
}

/// A fact that holds no longer, or a withdrawal that is kept no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Its id.
    pub id: Arc<str>,
    /// Where its last state is recorded that held.
    pub seq: u64,
    /// Why.
    pub why: Why,
}

/// What a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A fact holds that did not.
    New,
    /// A fact holds longer, or was observed again.
    Refreshed,
    /// A fact says something else.
    Changed,
    /// A fact is taken back: it is in [`Folded::gone`] where it held.
    Withdrawn,
    /// Nothing holds because of it: a state that was there, one that is overtaken or over, an id of
    /// another source.
    Ignored,
}

/// What a fold did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// To the record's own fact.
    pub change: Change,
    /// What holds no longer: by this record, or because its time was over.
    pub gone: Vec<Gone>,
}

/// The table. See the module.
#[derive(Debug)]
pub struct Facts {
    group: String,
    /// By id, which is unique in a group.
    entries: BTreeMap<Arc<str>, Entry>,
    /// By the position of the latest state: a position holds one record.
    by_seq: BTreeMap<u64, Arc<str>>,
    /// By observation, then id; those that are not withdrawn.
    by_observed: BTreeSet<(Moment, Arc<str>)>,
    /// By the last moment in the table, then id.
    by_end: BTreeSet<(Moment, Arc<str>)>,
    /// Observations and their ends: by source, type, subject, then id; those that are not withdrawn.
    about: BTreeSet<[Arc<str>; 4]>,
    /// Which discovery fact holds, by key.
    discovered: BTreeMap<Arc<str>, Arc<str>>,
    ended: Ended,
    /// Up to when facts were let expire.
    expired_at: Moment,
    /// Sources, types and peers: many facts share one.
    names: BTreeSet<Arc<str>>,
}

impl Facts {
    /// The empty table of a group.
    pub fn new(group: impl Into<String>) -> Self {
        Facts {
            group: group.into(),
            entries: BTreeMap::new(),
            by_seq: BTreeMap::new(),
            by_observed: BTreeSet::new(),
            by_end: BTreeSet::new(),
            about: BTreeSet::new(),
            discovered: BTreeMap::new(),
            ended: Ended::default(),
            expired_at: Moment::EPOCH,
            names: BTreeSet::new(),
        }
    }

    /// Whose facts these are.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// How many facts hold, as of the last [`Facts::expire`].
    pub fn len(&self) -> usize {
        self.by_observed.len()
    }

    /// Whether none holds.
    pub fn is_empty(&self) -> bool {
        self.by_observed.is_empty()
    }

    /// One fact: one that holds, or one whose withdrawal is kept.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// The facts that hold, in the order of their observation, then id.
    pub fn live(&self, now: Moment) -> impl Iterator<Item = &Entry> {
        self.by_observed.iter().filter_map(|(_, id)| self.entries.get(id)).filter(move |entry| entry.is_live(now))
    }

    /// Facts and withdrawals by the position of their latest record, behind a position: what an outbox
    /// goes through.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &Entry> {
        let behind = (Bound::Excluded(seq), Bound::Unbounded);
        self.by_seq.range(behind).filter_map(|(_, id)| self.entries.get(id))
    }

    /// What a fact would be, if it were recorded now. What expired since the last [`Facts::expire`] counts
    /// as if it held.
    pub fn judge(&self, fact: &Fact) -> Judged {
        if let Some(entry) = self.entries.get(fact.id.as_str()) {
            return entry.state().judge(fact, fingerprint::content(fact));
        }
        match self.ended.get(&fact.id) {
            Some(state) => state.judge_ended(fact, fingerprint::content(fact)),
            None if fact.withdrawn => Judged::Withdrawal,
            None => Judged::New,
        }
    }

    /// When a fact is observed that is told here now and does not say: now, or just behind what was told of
    /// it before, where a clock was ahead then. What is told last is thereby the latest.
    pub fn stamp(&self, id: &str, now: Moment) -> Moment {
        let known = self.entries.get(id).map(Entry::state).or_else(|| self.ended.get(id));
        let before = known.and_then(|state| state.observed);
        before.map_or(now, |before| now.max(before.after(Duration::from_nanos(1))))
    }

    /// Whether the clock was set back so far since the last fold or [`Facts::expire`] that what expired by
    /// it may hold after all: then the stream is to be folded into a new table.
    pub fn is_ahead_of(&self, now: Moment) -> bool {
        self.expired_at > now.after(CLOCK_SLACK)
    }

    /// What is to be recorded of a fact that is not a duplicate and not in conflict: the later
    /// observation and the later expiry of both. A withdrawal takes type and subject of what it withdraws,
    /// so that it passes the same filters, and expires when it was observed, so that a peer that does not
    /// know withdrawals does not take it for a fact that holds. What was over and is told anew for ever gets
    /// the last expiry there is: to have none would not outlast the one that a peer may still know.
    #[must_use]
    pub fn merged(&self, fact: &Fact) -> Fact {
        let mut merged = fact.clone();
        let entry = self.entries.get(fact.id.as_str());
        if fact.withdrawn {
            if let Some(entry) = entry {
                (*entry.kind).clone_into(&mut merged.kind);
                (*entry.subject).clone_into(&mut merged.subject);
                merged.observed = fact.observed.max(entry.observed);
            }
            merged.expires = Some(merged.observed.unwrap_or(Moment::EPOCH));
        } else if let Some(entry) = entry.filter(|entry| !entry.withdrawn) {
            merged.observed = fact.observed.max(entry.observed);
            merged.expires = state::longer(entry.expires, fact.expires);
        } else if fact.expires.is_none() && (entry.is_some() || self.ended.get(&fact.id).is_some()) {
            merged.expires = Some(FOR_EVER);
        }
        merged
    }

    /// Takes a record of the stream. Records come in the order of their positions.
    ///
    /// What expired before it was recorded goes first: so records that are read again later give the same
    /// table. What expired since goes with [`Facts::expire`]. A moment of recording that lies ahead, because
    /// a clock was, counts as `now`.
    pub fn fold(&mut self, seq: u64, recorded: Moment, stored: &Stored, now: Moment) -> Folded {
        let now = now.min(recorded);
        let mut gone = self.expire(now);
        let fact = &stored.fact;
        let change = match self.judge(fact) {
            Judged::Duplicate | Judged::Conflict => Change::Ignored,
            Judged::Withdrawal | Judged::Again if fact.withdrawn => {
                let entry = self.entry(seq, recorded, stored);
                self.withdraw(entry, &mut gone)
            }
            judged => {
                let entry = self.entry(seq, recorded, stored);
                let held = self.hold(entry, now, &mut gone);
                match judged {
                    _ if !held => Change::Ignored,
                    Judged::Refresh | Judged::Again => Change::Refreshed,
                    Judged::Changed => Change::Changed,
                    _ => Change::New,
                }
            }
        };
        Folded { change, gone }
    }

    /// The entry that a record makes, over the one that there is.
    fn entry(&mut self, seq: u64, recorded: Moment, stored: &Stored) -> Entry {
        let fact = &stored.fact;
        let merged = self.merged(fact);
        let discovers = !fact.withdrawn
            && fact.kind == DISCOVERED
            && fact.payload.get("source").is_some_and(|source| DISCOVERIES.contains(&source.as_str()));
        let outlasted = merged.expires.is_some()
            && match self.entries.get(fact.id.as_str()) {
                Some(before) => before.outlasted || before.withdrawn || before.expires.is_none(),
                None => self.ended.get(&fact.id).is_some_and(|state| state.over && state.expires.is_none()),
            };
        Entry {
            outlasted,
            kept: None,
            id: self
                .entries
                .get_key_value(fact.id.as_str())
                .map_or_else(|| fact.id.as_str().into(), |(id, _)| id.clone()),
            seq,
            recorded,
            via: stored.via.as_deref().map(|via| self.name(via)),
            source: self.name(&fact.source),
            kind: self.name(&merged.kind),
            subject: merged.subject.as_str().into(),
            observed: merged.observed,
            expires: merged.expires,
            withdrawn: fact.withdrawn,
            fingerprint: fingerprint::content(fact),
            discovery: discovers.then(|| fact.dedupe_key.as_str().into()),
        }
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        if self.names.len() < NAMES_MAX {
            self.names.insert(new.clone());
        }
        new
    }

    /// Puts a withdrawal in the place of its fact.
    fn withdraw(&mut self, entry: Entry, gone: &mut Vec<Gone>) -> Change {
        let held = self.remove(&entry.id.clone());
        let end = held.as_ref().map_or(entry.expires, Entry::end);
        gone.extend(held.filter(|held| !held.withdrawn).map(|held| held.gone(Why::Withdrawn)));
        self.bury(entry, end);
        Change::Withdrawn
    }

    /// Keeps what is over, for peers to be told, until it would have expired.
    fn bury(&mut self, mut entry: Entry, end: Option<Moment>) {
        let (least, most) = (entry.recorded.after(ENDED_KEEP), entry.recorded.after(WITHDRAWN_KEEP));
        entry.kept = Some(end.unwrap_or(most).clamp(least, most));
        entry.withdrawn = true;
        self.insert(entry);
    }

    /// Puts a fact that holds; false where it is over already, or overtaken.
    fn hold(&mut self, entry: Entry, now: Moment, gone: &mut Vec<Gone>) -> bool {
        let before = self.remove(&entry.id.clone());
        let why = if !entry.is_live(now) {
            Some(Why::Expired)
        } else if self.is_said_to_be_over(&entry) {
            Some(Why::Ended)
        } else if self.newer_discovery(&entry) {
            Some(Why::Replaced)
        } else {
            None
        };
        if let Some(why) = why {
            let buried = why == Why::Expired && entry.outlasted;
            let why = if buried { Why::Withdrawn } else { why };
            gone.extend(before.filter(|before| !before.withdrawn).map(|before| before.gone(why)));
            if buried {
                self.bury(entry, None);
            } else {
                self.remember(&entry, why, now);
            }
            return false;
        }
        let overtaken = self.overtaken_by(&entry);
        for (id, why) in overtaken {
            if let Some(over) = self.remove(&id) {
                self.remember(&over, why, now);
                gone.push(over.gone(why));
            }
        }
        self.insert(entry);
        true
    }

    /// Facts about the same as `entry`, of the type `kind`.
    fn about(&self, entry: &Entry, kind: String) -> impl Iterator<Item = &Entry> {
        let from = [entry.source.clone(), kind.into(), entry.subject.clone(), Arc::from("")];
        let same = from.clone();
        let range = self.about.range(from..).take_while(move |key| key.iter().zip(&same).take(3).all(|(a, b)| a == b));
        range.filter_map(|[.., id]| self.entries.get(id))
    }

    /// Whether an `X.expired` that is there speaks of this `X.observed`.
    fn is_said_to_be_over(&self, entry: &Entry) -> bool {
        let Some(stem) = entry.kind.strip_suffix(OBSERVED) else { return false };
        self.about(entry, stem.to_owned() + EXPIRED).any(|over| over.observed >= entry.observed)
    }

    fn newer_discovery(&self, entry: &Entry) -> bool {
        let other = entry.discovery.as_ref().and_then(|key| self.discovered.get(key));
        let other = other.and_then(|id| self.entries.get(id));
        other.is_some_and(|other| {
            (other.observed, other.recorded, &other.id) > (entry.observed, entry.recorded, &entry.id)
        })
    }

    /// What ends because `entry` holds.
    fn overtaken_by(&self, entry: &Entry) -> Vec<(Arc<str>, Why)> {
        let mut over = Vec::new();
        if let Some(stem) = entry.kind.strip_suffix(EXPIRED) {
            let observations = self.about(entry, stem.to_owned() + OBSERVED);
            let ended = observations.filter(|observation| observation.observed <= entry.observed);
            over.extend(ended.map(|observation| (observation.id.clone(), Why::Ended)));
        }
        let older = entry.discovery.as_ref().and_then(|key| self.discovered.get(key));
        over.extend(older.map(|id| (id.clone(), Why::Replaced)));
        over
    }

    /// Lets go of what expired before `now`, and of withdrawals that are kept no longer. Answers what is
    /// in the table no more.
    pub fn expire(&mut self, now: Moment) -> Vec<Gone> {
        self.expired_at = self.expired_at.max(now);
        let mut gone = Vec::new();
        while let Some((end, id)) = self.by_end.first().filter(|(end, _)| *end < now).cloned() {
            let Some(entry) = self.remove(&id) else {
                self.by_end.remove(&(end, id));
                continue;
            };
            if entry.withdrawn {
                gone.push(entry.gone(Why::Forgotten));
                continue;
            }
            if entry.outlasted {
                gone.push(entry.clone().gone(Why::Withdrawn));
                self.bury(entry, None);
                continue;
            }
            self.remember(&entry, Why::Expired, now);
            gone.push(entry.gone(Why::Expired));
        }
        self.ended.expire(now);
        gone
    }

    /// When [`Facts::expire`] has something to do next.
    pub fn next_expiry(&self) -> Option<Moment> {
        // A fact holds through the moment of its expiry.
        self.by_end.first().map(|(end, _)| end.after(Duration::from_nanos(1)))
    }

    /// Lets go of facts whose record lies before a position: the stream keeps no more. Answers what is in
    /// the table no more.
    pub fn forget_before(&mut self, seq: u64, now: Moment) -> Vec<Gone> {
        let mut gone = Vec::new();
        while let Some((_, id)) = self.by_seq.first_key_value().filter(|(at, _)| **at < seq) {
            let id = id.clone();
            let Some(entry) = self.remove(&id) else {
                self.by_seq.pop_first();
                continue;
            };
            self.remember(&entry, Why::Forgotten, now);
            gone.push(entry.gone(Why::Forgotten));
        }
        gone
    }

    fn remember(&mut self, entry: &Entry, why: Why, now: Moment) {
        let over = why == Why::Ended || entry.withdrawn;
        self.ended.insert(&entry.id, State { over, ..entry.state() }, now.after(ENDED_KEEP));
    }

    fn insert(&mut self, entry: Entry) {
        let id = entry.id.clone();
        self.ended.remove(&id);
        self.by_seq.insert(entry.seq, id.clone());
        if let Some(end) = entry.end() {
            self.by_end.insert((end, id.clone()));
        }
        if !entry.withdrawn {
            self.by_observed.insert(entry.place());
            if let Some(key) = entry.about() {
                self.about.insert(key);
            }
            if let Some(key) = &entry.discovery {
                self.discovered.insert(key.clone(), id.clone());
            }
        }
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: &Arc<str>) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.by_seq.remove(&entry.seq);
        if let Some(end) = entry.end() {
            self.by_end.remove(&(end, id.clone()));
        }
        if !entry.withdrawn {
            self.by_observed.remove(&entry.place());
            if let Some(key) = entry.about() {
                self.about.remove(&key);
            }
            if let Some(key) = entry.discovery.as_ref().filter(|key| self.discovered.get(*key) == Some(id)) {
                self.discovered.remove(key);
            }
        }
        Some(entry)
    }
}

impl Entry {
    fn about(&self) -> Option<[Arc<str>; 4]> {
        let pairs = self.kind.ends_with(OBSERVED) || self.kind.ends_with(EXPIRED);
        pairs.then(|| [self.source.clone(), self.kind.clone(), self.subject.clone(), self.id.clone()])
    }

    fn gone(self, why: Why) -> Gone {
        Gone { id: self.id, seq: self.seq, why }
    }
}

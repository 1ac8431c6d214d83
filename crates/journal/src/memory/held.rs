//! What one stream holds in memory.
//!
//! # Invariants
//! - `messages`, `subjects`, `expiries` and `eternal` speak of the same messages.
//! - Positions are given once, and grow; `last` never falls.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

use bytes::Bytes;
use event::{Message, Moment, Pattern, Subject};

use crate::config::StreamConfig;
use crate::limits::PAGE_MESSAGES_MAX;
use crate::rules::{self, Contents};
use crate::stream::{Page, Purge, Read, Rollup, Start, Stored, StreamInfo, StreamState, SubjectState, Until};

#[derive(Debug, Clone)]
struct Kept {
    stored: Stored,
    expires: Option<Moment>,
}

#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) config: StreamConfig,
    created: Moment,
    messages: BTreeMap<u64, Kept>,
    bytes: u64,
    last: u64,
    last_time: Moment,
    subjects: BTreeMap<Subject, BTreeSet<u64>>,
    expiries: BTreeSet<(Moment, u64)>,
    /// Messages that do not go by age.
    eternal: BTreeSet<u64>,
    ids: BTreeMap<Bytes, (u64, Moment)>,
    ids_by_time: BTreeSet<(Moment, u64, Bytes)>,
    last_id: Option<Bytes>,
}

impl Held {
    pub(super) fn new(config: StreamConfig, created: Moment) -> Self {
        Held {
            last: config.first.saturating_sub(1),
            config,
            created,
            messages: BTreeMap::new(),
            bytes: 0,
            last_time: Moment::EPOCH,
            subjects: BTreeMap::new(),
            expiries: BTreeSet::new(),
            eternal: BTreeSet::new(),
            ids: BTreeMap::new(),
            ids_by_time: BTreeSet::new(),
            last_id: None,
        }
    }

    pub(super) fn info(&self) -> StreamInfo {
        StreamInfo {
            config: self.config.clone(),
            created: self.created,
            state: self.state(),
            consumers: 0,
            disk_bytes: 0,
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn first(&self) -> u64 {
        self.messages.keys().next().copied().unwrap_or(self.last + 1)
    }

    pub(super) fn insert(&mut self, stored: Stored, id: Option<Bytes>, expires: Option<Moment>) {
        let seq = stored.seq;
        (self.last, self.last_time) = (seq, stored.time);
        self.bytes += stored.message.size() as u64;
        self.subjects.entry(stored.message.subject.clone()).or_default().insert(seq);
        match expires {
            Some(rules::NEVER) => self.eternal.extend([seq]),
            expires => self.expiries.extend(expires.map(|moment| (moment, seq))),
        }
        if let Some(id) = id {
            if let Some((earlier, time)) = self.ids.insert(id.clone(), (seq, stored.time)) {
                self.ids_by_time.remove(&(time, earlier, id.clone()));
            }
            self.ids_by_time.insert((stored.time, seq, id.clone()));
            self.last_id = Some(id);
        }
        self.messages.insert(seq, Kept { stored, expires });
    }

    pub(super) fn remove(&mut self, seq: u64) -> bool {
        let Some(Kept { stored, expires }) = self.messages.remove(&seq) else { return false };
        self.bytes -= stored.message.size() as u64;
        if let Some(moment) = expires {
            self.expiries.remove(&(moment, seq));
            self.eternal.remove(&seq);
        }
        if let Some(seqs) = self.subjects.get_mut(&stored.message.subject) {
            seqs.remove(&seq);
            if seqs.is_empty() {
                self.subjects.remove(&stored.message.subject);
            }
        }
        true
    }

    /// Applies the limits after an append or at a tick: the subject of the last message, then the head.
    pub(super) fn apply_limits(&mut self, now: Moment) {
        if let Some(kept) = self.messages.get(&self.last) {
            let subject = kept.stored.message.subject.clone();
            self.apply_subject_limit(&subject);
        }
        while rules::oldest_must_go(&self.config, &self.state()) {
            let Some(first) = self.messages.keys().next().copied() else { break };
            self.remove(first);
        }
        if !self.ages_apart() {
            while let Some(seq) = self.aged(now) {
                self.remove(seq);
            }
        }
        while let Some((time, seq, id)) = self.ids_by_time.first().cloned() {
            if now.since(time) < self.config.duplicate_window {
                break;
            }
            self.ids_by_time.remove(&(time, seq, id.clone()));
            self.ids.remove(&id);
        }
    }

    pub(super) fn apply_subject_limits(&mut self) {
        let subjects: Vec<Subject> = self.subjects.keys().cloned().collect();
        subjects.iter().for_each(|subject| self.apply_subject_limit(subject));
    }

    fn apply_subject_limit(&mut self, subject: &Subject) {
        let Some(max) = self.config.messages_per_subject_max else { return };
        while let Some(seqs) = self.subjects.get(subject).filter(|seqs| seqs.len() as u64 > max) {
            let Some(first) = seqs.first().copied() else { return };
            self.remove(first);
        }
    }

    /// Removes earlier messages that a new one takes the place of.
    pub(super) fn roll_up(&mut self, rollup: Option<Rollup>, subject: &Subject) {
        let gone: Vec<u64> = match rollup {
            None => return,
            Some(Rollup::All) => self.messages.keys().copied().collect(),
            Some(Rollup::Subject) => self.subjects.get(subject).into_iter().flatten().copied().collect(),
        };
        gone.into_iter().for_each(|seq| {
            self.remove(seq);
        });
    }

    /// Whether messages age one by one and not from the head, or leave a marker.
    pub(super) fn ages_apart(&self) -> bool {
        self.config.marker_ttl.is_some() || !self.eternal.is_empty()
    }

    /// The oldest message that may go by age.
    fn ageing(&self) -> Option<&Kept> {
        self.messages.values().find(|kept| kept.expires != Some(rules::NEVER))
    }

    /// The oldest message, if it has to go by age.
    fn aged(&self, now: Moment) -> Option<u64> {
        let oldest = self.ageing().filter(|kept| rules::is_aged(&self.config, kept.stored.time, now));
        oldest.map(|kept| kept.stored.seq)
    }

    /// Removes the messages that are too old, and then those whose own lifetime is over, in order;
    /// gives the markers that take the place of some.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<(u64, Subject)> {
        let mut markers = Vec::new();
        while let Some(seq) = self.aged(now) {
            markers.extend(self.let_go(seq, now));
        }
        while let Some((_, seq)) = self.expiries.first().copied().filter(|(moment, _)| *moment <= now) {
            markers.extend(self.let_go(seq, now));
        }
        markers
    }

    /// Removes a message that expired, for a marker if it is its subject's last.
    fn let_go(&mut self, seq: u64, now: Moment) -> Option<(u64, Subject)> {
        let message: Message = self.messages.get(&seq)?.stored.message.clone();
        let sole = self.sole(message.subject.as_str()).is_some();
        let marker = rules::marker(&self.config, &message.subject, &message.headers).filter(|_| sole);
        let marked = marker.map(|(marker, life)| {
            let (next, time) = (self.last + 1, now.max(self.last_time));
            self.insert(Stored { seq: next, time, message: marker }, None, Some(time.after(life)));
            (next, message.subject)
        });
        self.remove(seq);
        marked
    }

    pub(super) fn wake_at(&self) -> Option<Moment> {
        let own = self.expiries.first().map(|(moment, _)| *moment);
        let first = self.ageing();
        let aged = self.config.age_max.and_then(|age| first.map(|kept| kept.stored.time.after(age)));
        own.into_iter().chain(aged).min()
    }

    pub(super) fn purge(&mut self, purge: &Purge) -> u64 {
        let wanted = |kept: &&Kept| {
            let subject = kept.stored.message.subject.as_str();
            purge.filter.as_ref().is_none_or(|filter| filter.matches(subject))
                && purge.before.is_none_or(|before| kept.stored.seq < before)
        };
        let mut gone: Vec<u64> = self.messages.values().filter(wanted).map(|kept| kept.stored.seq).collect();
        let keep = usize::try_from(purge.keep.unwrap_or(0)).unwrap_or(usize::MAX);
        gone.truncate(gone.len().saturating_sub(keep));
        gone.iter().filter(|seq| self.remove(**seq)).count() as u64
    }

    pub(super) fn get(&self, seq: u64) -> Option<Stored> {
        self.messages.get(&seq).map(|kept| kept.stored.clone())
    }

    pub(super) fn subjects(&self, pattern: &Pattern, after: Option<&Subject>, limit: usize) -> Vec<SubjectState> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.subjects.range::<Subject, _>((from, Bound::Unbounded));
        let state = |(subject, seqs): (&Subject, &BTreeSet<u64>)| {
            let (first, last) = (seqs.first().copied()?, seqs.last().copied()?);
            Some(SubjectState { subject: subject.clone(), messages: seqs.len() as u64, first, last })
        };
        behind.filter(|(subject, _)| pattern.matches(subject.as_str())).filter_map(state).take(limit).collect()
    }

    /// Positions between first and last that hold nothing.
    pub(super) fn deleted(&self, from: u64, limit: usize) -> Vec<u64> {
        let gone = (from.max(self.first())..=self.last).filter(|seq| !self.messages.contains_key(seq));
        gone.take(limit).collect()
    }

    /// The last message of a subject up to a position.
    fn last_of(&self, subject: &Subject, until: u64) -> Option<u64> {
        self.subjects.get(subject)?.range(..=until).next_back().copied()
    }

    pub(super) fn read(&self, read: &Read) -> Page {
        let last = match read.until {
            None => self.last,
            Some(Until::Seq(seq)) => seq.min(self.last),
            Some(Until::Time(time)) => {
                // Behind the last message there is, time goes on without one.
                let behind = self.messages.values().find(|kept| kept.stored.time > time);
                behind.map_or(self.last, |kept| kept.stored.seq - 1)
            }
        };
        let limit = read.limit.clamp(1, PAGE_MESSAGES_MAX);
        let start = match read.start {
            Start::Seq(seq) => seq.max(1),
            Start::Time(time) => {
                let found = self.messages.values().find(|kept| kept.stored.time >= time && kept.stored.seq <= last);
                found.map_or(last + 1, |kept| kept.stored.seq)
            }
            Start::New => last + 1,
        };
        let mut page = Page { messages: Vec::new(), next: start.max(last + 1), last, damaged: Vec::new() };
        let mut bytes = 0;
        for (seq, kept) in self.messages.range(start..page.next) {
            let message = &kept.stored.message;
            let filtered = read.filters.is_empty() || read.filters.iter().any(|f| f.matches(message.subject.as_str()));
            if !filtered || (read.last_per_subject && self.last_of(&message.subject, last) != Some(*seq)) {
                continue;
            }
            bytes += message.size();
            if page.messages.len() == limit || (bytes > read.bytes && !page.messages.is_empty()) {
                page.next = page.messages.last().map_or(start, |stored| stored.seq + 1);
                break;
            }
            page.messages.push(kept.stored.clone());
        }
        page
    }
}

impl Contents for Held {
    fn state(&self) -> StreamState {
        let head = self.messages.iter().next();
        let first = head.map_or(self.last + 1, |(seq, _)| *seq);
        StreamState {
            messages: self.messages.len() as u64,
            bytes: self.bytes,
            first,
            first_time: head.map_or(self.last_time, |(_, kept)| kept.stored.time),
            last: self.last,
            last_time: self.last_time,
            subjects: self.subjects.len() as u64,
            deleted: self.last + 1 - first - self.messages.len() as u64,
            damaged: 0,
        }
    }

    fn subject(&self, subject: &str) -> (u64, u64) {
        let found = Subject::parse(subject).ok().and_then(|subject| self.subjects.get(&subject));
        found.map_or((0, 0), |seqs| (seqs.last().copied().unwrap_or(0), seqs.len() as u64))
    }

    fn sole(&self, subject: &str) -> Option<u64> {
        let seqs = Subject::parse(subject).ok().and_then(|subject| self.subjects.get(&subject))?;
        let only = seqs.first().filter(|_| seqs.len() == 1)?;
        self.messages.get(only).map(|kept| kept.stored.message.size() as u64)
    }

    fn last_matching(&self, pattern: &Pattern) -> u64 {
        let matching = self.subjects.iter().filter(|(subject, _)| pattern.matches(subject.as_str()));
        matching.filter_map(|(_, seqs)| seqs.last().copied()).max().unwrap_or(0)
    }

    fn recorded(&self, id: &[u8], now: Moment) -> Option<u64> {
        let found = self.ids.get(id);
        found.filter(|(_, time)| now.since(*time) < self.config.duplicate_window).map(|(seq, _)| *seq)
    }

    fn last_id(&self) -> Option<String> {
        self.last_id.as_ref().map(|id| String::from_utf8_lossy(id).into_owned())
    }
}

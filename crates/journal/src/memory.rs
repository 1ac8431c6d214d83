//! The engine in memory: streams as ordered maps, naive and obviously right.
//!
//! It is the oracle that other engines are held against, and what [`Local`](crate::local::Local)
//! makes a journal of. It holds streams only; consumers are the desk's. It waits
//! for nothing and reads no clock: who hosts it calls [`Memory::tick`] at [`Memory::wake_at`], and
//! what has expired by then goes then, not before.
//!
//! # Invariants
//! - No two streams capture the same subject.
//! - Whatever a verb refuses has changed nothing.
//!
//! # Cost
//! An append is a handful of tree insertions; finding the stream of a subject asks each stream; a
//! read by filter asks each message. A message costs its bytes and about 300 more.

mod held;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::{Moment, Pattern, Subject};

use crate::config::StreamConfig;
use crate::error::{AppendError, BatchError, ReadError, StreamError};
use crate::rules::{self, Admission};
use crate::stream::{Append, Page, Proof, Purge, Read, Receipt, Stored, StreamInfo, SubjectState};

use held::Held;

/// All streams. See the module.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    streams: BTreeMap<Arc<str>, Held>,
    markers: Vec<Marked>,
}

/// A marker that was recorded: its stream, position and subject.
pub type Marked = (Arc<str>, u64, Subject);

impl Memory {
    /// A journal without streams.
    pub fn new() -> Self {
        Memory::default()
    }

    /// Records a message in the stream that captures its subject.
    ///
    /// # Errors
    /// As [`Journal::append`](crate::Journal::append).
    pub fn append(&mut self, now: Moment, mut append: Append) -> Result<Receipt, AppendError> {
        let stream = self.stream_of(&append)?;
        self.expire_apart(&stream, now);
        let held = self.streams.get_mut(&stream).ok_or_else(|| AppendError::NotFound(stream.to_string()))?;
        rules::transform(&held.config, held.last(), &mut append);
        let admission = rules::admit(&held.config, &*held, &append, now)?;
        let (seq, duplicate) = record(held, append, admission, now);
        self.expire_apart(&stream, now);
        Ok(Receipt { stream, seq, duplicate, proof: Proof::Memory })
    }

    /// Records several messages in one stream, all or none.
    ///
    /// # Errors
    /// As [`Journal::append_all`](crate::Journal::append_all).
    pub fn append_all(&mut self, now: Moment, mut appends: Vec<Append>) -> Result<Receipt, BatchError> {
        let at = |index| move |error| BatchError { index, error };
        let streams = appends.iter().map(|append| self.stream_of(append)).enumerate();
        let streams: Vec<Arc<str>> =
            streams.map(|(index, stream)| stream.map_err(at(index))).collect::<Result<_, _>>()?;
        let empty = || at(0)(AppendError::BatchUnsupported("it is empty"));
        let stream = streams.first().cloned().ok_or_else(empty)?;
        if let Some((index, other)) = streams.iter().enumerate().find(|(_, other)| **other != stream) {
            return Err(at(index)(AppendError::OtherStream { expected: stream.to_string(), found: other.to_string() }));
        }
        self.expire_apart(&stream, now);
        let found = self.streams.get_mut(&stream);
        let held = found.ok_or_else(|| at(0)(AppendError::NotFound(stream.to_string())))?;
        for (append, last) in appends.iter_mut().zip(held.last()..) {
            rules::transform(&held.config, last, append);
        }
        let admissions = rules::admit_all(&held.config, &*held, &appends, now)?;
        let mut seq = 0;
        for (append, admission) in appends.into_iter().zip(admissions) {
            (seq, _) = record(held, append, admission, now);
        }
        self.expire_apart(&stream, now);
        Ok(Receipt { stream, seq, duplicate: false, proof: Proof::Memory })
    }

    /// The stream that an append goes to.
    fn stream_of(&self, append: &Append) -> Result<Arc<str>, AppendError> {
        if let Some(name) = &append.into {
            let found = self.streams.get_key_value(name.as_str());
            return found.map(|(name, _)| name.clone()).ok_or_else(|| AppendError::NotFound(name.clone()));
        }
        let subject = &append.message.subject;
        self.captured_by(subject).ok_or_else(|| AppendError::NoStream(subject.as_str().to_string()))
    }

    /// Does at once what is due in a stream whose messages age one by one: markers stand before what
    /// is recorded later.
    fn expire_apart(&mut self, stream: &Arc<str>, now: Moment) {
        let Some(held) = self.streams.get_mut(stream).filter(|held| held.ages_apart()) else { return };
        let markers = held.expire(now);
        held.apply_limits(now);
        self.markers.extend(markers.into_iter().map(|(seq, subject)| (stream.clone(), seq, subject)));
    }

    /// The markers that were recorded since this was asked last, in order for each stream.
    pub fn take_markers(&mut self) -> Vec<Marked> {
        core::mem::take(&mut self.markers)
    }

    /// Creates a stream. The same declaration a second time is answered as the first.
    ///
    /// # Errors
    /// As [`Journal::stream_create`](crate::Journal::stream_create).
    pub fn stream_create(&mut self, now: Moment, config: StreamConfig) -> Result<StreamInfo, StreamError> {
        rules::check_stream(&config)?;
        if let Some(held) = self.streams.get(config.name.as_str()) {
            return if held.config == config { Ok(held.info()) } else { Err(StreamError::Exists(config.name)) };
        }
        self.check_overlap(&config)?;
        let name = Arc::from(config.name.as_str());
        Ok(self.streams.entry(name).or_insert_with(|| Held::new(config, now)).info())
    }

    /// Changes a stream's declaration, and applies new limits at once.
    ///
    /// # Errors
    /// As [`Journal::stream_update`](crate::Journal::stream_update).
    pub fn stream_update(&mut self, now: Moment, config: StreamConfig) -> Result<StreamInfo, StreamError> {
        let held = self.held(&config.name).ok_or_else(|| StreamError::NotFound(config.name.clone()))?;
        rules::check_stream_update(&held.config, &config)?;
        self.check_overlap(&config)?;
        let held = self.held_mut(&config.name.clone())?;
        let name = Arc::from(config.name.as_str());
        held.config = config;
        held.apply_subject_limits();
        held.apply_limits(now);
        self.expire_apart(&name, now);
        self.stream_info(&name)
    }

    /// Deletes a stream with its messages.
    ///
    /// # Errors
    /// [`StreamError::NotFound`].
    pub fn stream_delete(&mut self, stream: &str) -> Result<(), StreamError> {
        self.streams.remove(stream).map(|_| ()).ok_or_else(|| StreamError::NotFound(stream.to_string()))
    }

    /// One stream. Its consumers are not counted here.
    ///
    /// # Errors
    /// [`StreamError::NotFound`].
    pub fn stream_info(&self, stream: &str) -> Result<StreamInfo, StreamError> {
        self.held(stream).map(Held::info).ok_or_else(|| StreamError::NotFound(stream.to_string()))
    }

    /// A stream's declaration.
    pub fn config(&self, stream: &str) -> Option<&StreamConfig> {
        self.held(stream).map(|held| &held.config)
    }

    /// A stream's first position; as [`StreamState::first`](crate::StreamState::first).
    pub fn first(&self, stream: &str) -> Option<u64> {
        self.held(stream).map(Held::first)
    }

    /// All streams, by name.
    pub fn streams(&self) -> Vec<StreamInfo> {
        self.streams.values().map(Held::info).collect()
    }

    /// The name of the stream that captures a subject, if one does.
    pub fn captured_by(&self, subject: &Subject) -> Option<Arc<str>> {
        let capturing = self.streams.iter().find(|(_, held)| held.config.captures(subject.as_str()));
        capturing.map(|(name, _)| name.clone())
    }

    /// As [`Journal::subjects`](crate::Journal::subjects).
    ///
    /// # Errors
    /// [`ReadError::NotFound`].
    pub fn subjects(
        &self,
        stream: &str,
        pattern: &Pattern,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<Vec<SubjectState>, ReadError> {
        Ok(self.readable(stream)?.subjects(pattern, after, limit))
    }

    /// Removes messages; answers how many.
    ///
    /// # Errors
    /// As [`Journal::purge`](crate::Journal::purge).
    pub fn purge(&mut self, stream: &str, purge: &Purge) -> Result<u64, StreamError> {
        let held = self.held_mut(stream)?;
        rules::check_purge(&held.config, purge)?;
        Ok(held.purge(purge))
    }

    /// Removes one message.
    ///
    /// # Errors
    /// As [`Journal::delete`](crate::Journal::delete).
    pub fn delete(&mut self, stream: &str, seq: u64) -> Result<(), StreamError> {
        let held = self.held_mut(stream)?;
        rules::check_delete(&held.config)?;
        if held.remove(seq) { Ok(()) } else { Err(StreamError::NoMessage(seq)) }
    }

    /// Removes messages that consumers are done with, whatever the stream denies to users. Those
    /// that are not there are passed over.
    pub fn retire(&mut self, stream: &str, seqs: &[u64]) {
        if let Some(held) = self.streams.get_mut(stream) {
            for seq in seqs {
                held.remove(*seq);
            }
        }
    }

    /// Reads one page of what is there; never waits.
    ///
    /// # Errors
    /// As [`Journal::read`](crate::Journal::read).
    pub fn read(&self, stream: &str, read: &Read) -> Result<Page, ReadError> {
        if read.filters.len() > crate::limits::PATTERNS_MAX {
            return Err(ReadError::Filters);
        }
        Ok(self.readable(stream)?.read(read))
    }

    /// The message at a position.
    ///
    /// # Errors
    /// As [`Journal::get`](crate::Journal::get).
    pub fn get(&self, stream: &str, seq: u64) -> Result<Stored, ReadError> {
        self.readable(stream)?.get(seq).ok_or(ReadError::NoMessage)
    }

    /// Positions that hold nothing.
    ///
    /// # Errors
    /// As [`Journal::deleted`](crate::Journal::deleted).
    pub fn deleted(&self, stream: &str, from: u64, limit: usize) -> Result<Vec<u64>, ReadError> {
        Ok(self.readable(stream)?.deleted(from, limit))
    }

    /// The last message of all that a pattern matches.
    ///
    /// # Errors
    /// As [`Journal::last`](crate::Journal::last).
    pub fn last(&self, stream: &str, pattern: &Pattern) -> Result<Stored, ReadError> {
        use crate::rules::Contents;
        let held = self.readable(stream)?;
        held.get(held.last_matching(pattern)).ok_or(ReadError::NoMessage)
    }

    /// Removes what has expired. What follows is as if it had gone on time, save that nobody was told.
    pub fn tick(&mut self, now: Moment) {
        for (stream, held) in &mut self.streams {
            let markers = held.expire(now);
            held.apply_limits(now);
            self.markers.extend(markers.into_iter().map(|(seq, subject)| (stream.clone(), seq, subject)));
        }
    }

    /// When something expires next.
    pub fn wake_at(&self) -> Option<Moment> {
        self.streams.values().filter_map(Held::wake_at).min()
    }

    fn check_overlap(&self, config: &StreamConfig) -> Result<(), StreamError> {
        let mut others = self.streams.values().filter(|held| held.config.name != config.name);
        others.try_for_each(|held| rules::overlap(config, &held.config))
    }

    fn held(&self, stream: &str) -> Option<&Held> {
        self.streams.get(stream)
    }

    fn readable(&self, stream: &str) -> Result<&Held, ReadError> {
        self.held(stream).ok_or_else(|| ReadError::NotFound(stream.to_string()))
    }

    fn held_mut(&mut self, stream: &str) -> Result<&mut Held, StreamError> {
        self.streams.get_mut(stream).ok_or_else(|| StreamError::NotFound(String::from(stream)))
    }
}

/// Records what was admitted; says where, and whether it was there already.
fn record(held: &mut Held, mut append: Append, admission: Admission, now: Moment) -> (u64, bool) {
    match admission {
        Admission::Duplicate { seq } => (seq, true),
        Admission::New { seq, time, expires } => {
            append.message.reply = None;
            held.roll_up(append.rollup, &append.message.subject);
            held.insert(Stored { seq, time, message: append.message }, append.id, expires);
            held.apply_limits(now);
            (seq, false)
        }
    }
}

//! What each request does: judged by the journal's rules, noted in its stream, and put into the
//! commit's records as effects.

mod appends;
mod expiry;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use event::{Moment, Wanted};
use journal::rules;
use journal::{AppendError, BatchError, Purge, Storage, StreamConfig, StreamError, StreamInfo, StreamState};

use crate::core::{Act, Core};
use crate::cursor::Cursor;
use crate::ops::{Op, Reply};
use crate::record::{Draft, Kind, REMOVED_MAX, removed_payload};
use crate::stream::{Known, Stream};

/// Bytes read at a time by a purge.
const PURGE_CHUNK: usize = 256 * 1024;

impl Core {
    /// Closes the engine where what has to be removed cannot be read: the commit at hand is half done.
    pub(crate) fn fail_reading(&mut self, error: &io::Error) -> String {
        let why = format!("what has to be removed cannot be read: {error}");
        self.fail(&why);
        why
    }

    /// What was judged, or that the engine is closed.
    fn judged<T>(&mut self, result: io::Result<Result<T, StreamError>>) -> Result<T, StreamError> {
        result.unwrap_or_else(|error| Err(StreamError::Closed(self.fail_reading(&error))))
    }

    /// Does what is asked, in the commit at hand; what is answered once that is durable.
    pub(crate) fn judge(&mut self, op: Op, now: Moment) -> Option<Reply> {
        Some(match op {
            Op::Append(append, done) => {
                let result = self.append(append, now);
                Reply::Append(done, result.unwrap_or_else(|error| Err(AppendError::Closed(self.fail_reading(&error)))))
            }
            Op::AppendAll(appends, done) => {
                let result = self.append_all(appends, now).unwrap_or_else(|error| {
                    Err(BatchError { index: 0, error: AppendError::Closed(self.fail_reading(&error)) })
                });
                Reply::AppendAll(done, result)
            }
            Op::Create(config, done) => {
                let created = self.create(config, now);
                Reply::Info(done, created.and_then(|id| self.told(id)))
            }
            Op::Update(config, done) => {
                let result = self.update(config, now);
                let updated = self.judged(result);
                Reply::Info(done, updated.and_then(|id| self.told(id)))
            }
            Op::Drop(name, done) => Reply::Unit(done, self.drop_stream(&name, now)),
            Op::Purge(name, purge, done) => {
                let result = self.purge(&name, &purge, now);
                Reply::Count(done, self.judged(result))
            }
            Op::Delete(name, seq, done) => {
                let result = self.delete(&name, seq, now);
                Reply::Unit(done, self.judged(result))
            }
            Op::Retire(name, seqs) => {
                if let Err(error) = self.retire(&name, &seqs, now) {
                    self.fail_reading(&error);
                }
                return None;
            }
            Op::DeskWhole(bytes) => {
                self.desk = vec![bytes];
                return None;
            }
            Op::Desk { bytes, done, .. } => {
                self.batch.add_apart(&Draft { payload: &bytes, ..Draft::bare(Kind::Desk, 0, 0, now) });
                self.desk.push(bytes);
                Reply::Desk(done)
            }
        })
    }

    /// A stream as a request leaves it, whatever follows in the same commit.
    fn told(&self, id: u32) -> Result<Box<StreamInfo>, StreamError> {
        let stream = self.streams.get(&id).ok_or_else(|| StreamError::NotFound(id.to_string()))?;
        let mut info = crate::read::info(&stream.shared);
        info.config = (*stream.config).clone();
        if stream.state != stream.shared.live.read().state {
            let damaged = info.state.damaged;
            info.state = StreamState { damaged, ..stream.state };
        }
        Ok(Box::new(info))
    }

    fn named(&self, name: &str) -> Result<u32, StreamError> {
        self.names.get(name).copied().ok_or_else(|| StreamError::NotFound(name.to_owned()))
    }

    fn create(&mut self, config: StreamConfig, now: Moment) -> Result<u32, StreamError> {
        rules::check_stream(&config)?;
        if let Some(id) = self.names.get(config.name.as_str()) {
            let same = self.streams.get(id).is_some_and(|stream| *stream.config == config);
            return if same { Ok(*id) } else { Err(StreamError::Exists(config.name)) };
        }
        self.check_overlap(&config, None)?;
        let id = self.next_stream;
        self.put_record(id, &config, now)?;
        self.next_stream += 1;
        self.add_stream(id, config, now);
        self.acts.push(Act::Put(id));
        Ok(id)
    }

    fn put_record(&mut self, id: u32, config: &StreamConfig, created: Moment) -> Result<(), StreamError> {
        let json = crate::catalog::config_json(config).map_err(StreamError::Storage)?;
        self.batch.add_apart(&Draft { payload: &json, ..Draft::bare(Kind::StreamPut, id, 0, created) });
        Ok(())
    }

    /// Takes a new stream in.
    pub(crate) fn add_stream(&mut self, id: u32, config: StreamConfig, created: Moment) {
        let stream = Stream::empty(self.files(), &self.options, id, config, created);
        self.adopt(stream);
    }

    /// Takes a stream in by its names and subjects.
    pub(crate) fn adopt(&mut self, stream: Stream) {
        let id = stream.shared.id;
        self.names.insert(stream.shared.name.clone(), id);
        for pattern in &stream.config.subjects {
            self.captures.insert(pattern, id);
        }
        self.streams.insert(id, stream);
    }

    fn update(&mut self, config: StreamConfig, now: Moment) -> io::Result<Result<u32, StreamError>> {
        let id = match self.check_update(&config) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        let created = self.streams.get(&id).map_or(now, |stream| stream.created);
        if let Err(error) = self.put_record(id, &config, created) {
            return Ok(Err(error));
        }
        self.redeclare(id, config);
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(Ok(id)) };
        let over = stream.over_per_subject()?;
        let memory = stream.config.storage == Storage::Memory;
        for (subject, removed) in over {
            emit_removed(&mut self.batch, id, &subject, &removed, now, memory);
        }
        stream.trim(now)?;
        self.touched.insert(id);
        self.expire_apart(id, now, usize::MAX)?;
        self.note_due(id);
        Ok(Ok(id))
    }

    fn check_update(&self, config: &StreamConfig) -> Result<u32, StreamError> {
        let id = self.named(&config.name)?;
        if let Some(stream) = self.streams.get(&id) {
            rules::check_stream_update(&stream.config, config)?;
        }
        self.check_overlap(config, Some(id))?;
        Ok(id)
    }

    /// Refuses what overlaps a stream other than `own`.
    fn check_overlap(&self, config: &StreamConfig, own: Option<u32>) -> Result<(), StreamError> {
        let mut met = None;
        for pattern in &config.subjects {
            self.captures.each_overlapping(pattern, &mut |id| {
                if Some(*id) != own {
                    met = Some(*id);
                }
            });
        }
        let other = met.and_then(|id| self.streams.get(&id));
        other.map_or(Ok(()), |other| rules::overlap(config, &other.config))
    }

    /// Takes a stream's new declaration in.
    pub(crate) fn redeclare(&mut self, id: u32, config: StreamConfig) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let old = stream.config.clone();
        for pattern in &old.subjects {
            self.captures.remove(pattern, &id);
        }
        for pattern in &config.subjects {
            self.captures.insert(pattern, id);
        }
        stream.window.set_window(config.duplicate_window);
        stream.config = Arc::new(config);
        self.acts.push(Act::Update { stream: id, old });
    }

    fn drop_stream(&mut self, name: &str, now: Moment) -> Result<(), StreamError> {
        let id = self.named(name)?;
        self.batch.add_apart(&Draft::bare(Kind::StreamDelete, id, 0, now));
        if let Some(stream) = self.forget(id) {
            self.acts.push(Act::Drop(Box::new(stream)));
        }
        Ok(())
    }

    /// Takes a stream out by its names and subjects.
    pub(crate) fn forget(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        if let Some(due) = stream.due_noted {
            self.dues.remove(&(due, id));
        }
        self.names.remove(&stream.shared.name);
        for pattern in &stream.config.subjects {
            self.captures.remove(pattern, &id);
        }
        Some(stream)
    }

    fn delete(&mut self, name: &str, seq: u64, now: Moment) -> io::Result<Result<(), StreamError>> {
        let id = match self.named(name) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(Ok(())) };
        if let Err(error) = rules::check_delete(&stream.config) {
            return Ok(Err(error));
        }
        if !stream.holds(seq) {
            return Ok(Err(StreamError::NoMessage(seq)));
        }
        self.remove_all(id, &[seq], now)?;
        Ok(Ok(()))
    }

    fn retire(&mut self, name: &str, seqs: &[u64], now: Moment) -> io::Result<()> {
        match self.names.get(name).copied() {
            Some(id) => self.remove_all(id, seqs, now),
            None => Ok(()),
        }
    }

    /// Removes single messages, those of them that are there.
    fn remove_all(&mut self, id: u32, seqs: &[u64], now: Moment) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let memory = stream.config.storage == Storage::Memory;
        for seq in seqs {
            if stream.holds(*seq) {
                let known = stream.known(*seq)?;
                stream.note_removed(&known)?;
                emit_removed(&mut self.batch, id, &known.subject, &[(known.seq, known.size)], now, memory);
            }
        }
        self.touched.insert(id);
        Ok(())
    }

    fn purge(&mut self, name: &str, purge: &Purge, now: Moment) -> io::Result<Result<u64, StreamError>> {
        let id = match self.named(name) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(Ok(0)) };
        if let Err(error) = rules::check_purge(&stream.config, purge) {
            return Ok(Err(error));
        }
        let before = stream.state.messages;
        self.touched.insert(id);
        if purge.filter.is_none() {
            match (purge.before, purge.keep) {
                (None, None | Some(0)) => stream.clear(),
                (Some(end), _) if end > stream.state.last => stream.clear(),
                (Some(end), _) => stream.trim_to(end)?,
                (None, Some(keep)) => stream.trim_to_count(keep)?,
            }
            return Ok(Ok(before - stream.state.messages));
        }
        let memory = stream.config.storage == Storage::Memory;
        let matched = matching(stream, purge)?;
        let mut by_subject: BTreeMap<Bytes, Vec<(u64, u32)>> = BTreeMap::new();
        for known in matched {
            stream.note_removed(&known)?;
            by_subject.entry(known.subject).or_default().push((known.seq, known.size));
        }
        for (subject, removed) in by_subject {
            emit_removed(&mut self.batch, id, &subject, &removed, now, memory);
        }
        Ok(Ok(before - stream.state.messages))
    }
}

fn emit_removed(
    batch: &mut crate::batch::Batch,
    stream: u32,
    subject: &[u8],
    removed: &[(u64, u32)],
    now: Moment,
    memory: bool,
) {
    for some in removed.chunks(REMOVED_MAX) {
        let payload = removed_payload(some);
        let seq = some.first().map_or(0, |(seq, _)| *seq);
        batch.add(&Draft { subject, payload: &payload, ..Draft::bare(Kind::Delete, stream, seq, now) }, memory);
    }
}

/// What a purge with a filter removes, in order of position.
fn matching(stream: &mut Stream, purge: &Purge) -> io::Result<Vec<Known>> {
    let mut wanted: Wanted<()> = Wanted::default();
    if let Some(filter) = &purge.filter {
        wanted.insert(filter, ());
    }
    let end = purge.before.unwrap_or(u64::MAX).min(stream.state.last + 1);
    let text = |subject: &[u8]| std::str::from_utf8(subject).is_ok_and(|subject| wanted.any(subject));
    let mut found = Vec::new();
    let committed = stream.shared.live.read().state.last;
    let mut cursor =
        Cursor::new(stream.shared.clone(), stream.state.first, committed.min(end.saturating_sub(1)), PURGE_CHUNK);
    while let Some((head, bytes)) = cursor.next()? {
        let subject = bytes.get(head.subject_range()).unwrap_or_default();
        if text(subject) && stream.holds(head.seq) {
            let size = u32::try_from(head.size(&bytes)).unwrap_or(u32::MAX);
            let subject = Bytes::copy_from_slice(subject);
            found.push(Known { seq: head.seq, time: head.time, subject, size, marker: false });
        }
    }
    for known in stream.pending() {
        if known.seq < end && text(&known.subject) && stream.holds(known.seq) {
            found.push(known);
        }
    }
    if let Some(keep) = purge.keep {
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        found.truncate(found.len().saturating_sub(keep));
    }
    Ok(found)
}

/// Positions that a stream in memory takes ahead with one record of the log. So many are passed over
/// at most after a kill, and none after a clean end.
const RESERVED_AHEAD: u64 = 4096;

/// Takes positions of a stream in memory ahead, so that none is used twice.
fn reserve(batch: &mut crate::batch::Batch, stream: &mut Stream, seq: u64, now: Moment) {
    if stream.config.storage == Storage::Memory && seq > stream.reserved {
        stream.reserved = seq.saturating_add(RESERVED_AHEAD - 1);
        batch.add_apart(&Draft::bare(Kind::Reserve, stream.shared.id, stream.reserved, now));
    }
}

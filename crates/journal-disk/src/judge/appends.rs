//! What appends do: one by one, or a batch of them in one frame of the log.

use std::io;

use bytes::Bytes;
use event::Moment;
use journal::rules::{self, Admission};
use journal::{Append, AppendError, BatchError, Proof, Receipt, Rollup, Storage};

use super::{emit_removed, reserve};
use crate::core::Core;
use crate::record::{Draft, Kind};
use crate::stream::Stream;

impl Core {
    /// Records a message, or says why not.
    pub(super) fn append(&mut self, mut append: Append, now: Moment) -> io::Result<Result<Receipt, AppendError>> {
        let id = match self.stream_of(&append) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        self.expire_apart(id, now, usize::MAX)?;
        let Some(stream) = self.streams.get(&id) else { return Ok(Err(AppendError::NotFound(id.to_string()))) };
        rules::transform(&stream.config, stream.state.last, &mut append);
        let admission = match rules::admit(&stream.config, stream, &append, now) {
            Err(error) => return Ok(Err(error)),
            Ok(admission) => admission,
        };
        let (seq, duplicate) = self.record(id, &append, admission, now)?;
        Ok(self.recorded(id, seq, duplicate, now)?.ok_or_else(|| AppendError::NotFound(id.to_string())))
    }

    /// Records several messages, all or none.
    pub(super) fn append_all(
        &mut self,
        mut appends: Vec<Append>,
        now: Moment,
    ) -> io::Result<Result<Receipt, BatchError>> {
        let refused = |index, error| Ok(Err(BatchError { index, error }));
        let mut streams = Vec::with_capacity(appends.len());
        for (index, append) in appends.iter().enumerate() {
            match self.stream_of(append) {
                Ok(id) => streams.push(id),
                Err(error) => return refused(index, error),
            }
        }
        let Some(id) = streams.first().copied() else {
            return refused(0, AppendError::BatchUnsupported("it is empty"));
        };
        let name = |id: &u32| self.streams.get(id).map_or_else(String::new, |stream| stream.shared.name.to_string());
        if let Some((index, other)) = streams.iter().enumerate().find(|(_, other)| **other != id) {
            return refused(index, AppendError::OtherStream { expected: name(&id), found: name(other) });
        }
        self.expire_apart(id, now, usize::MAX)?;
        let Some(stream) = self.streams.get(&id) else { return refused(0, AppendError::NotFound(id.to_string())) };
        for (append, last) in appends.iter_mut().zip(stream.state.last..) {
            rules::transform(&stream.config, last, append);
        }
        let admissions = match rules::admit_all(&stream.config, stream, &appends, now) {
            Ok(admissions) => admissions,
            Err(error) => return Ok(Err(error)),
        };
        let mut last = 0;
        for (append, admission) in appends.iter().zip(admissions) {
            (last, _) = self.record(id, append, admission, now)?;
        }
        let receipt = self.recorded(id, last, false, now)?;
        Ok(receipt.ok_or_else(|| BatchError { index: 0, error: AppendError::NotFound(id.to_string()) }))
    }

    /// The stream that an append goes to.
    fn stream_of(&self, append: &Append) -> Result<u32, AppendError> {
        if let Some(name) = &append.into {
            return self.names.get(name.as_str()).copied().ok_or_else(|| AppendError::NotFound(name.clone()));
        }
        let mut captured = None;
        let subject = append.message.subject.as_str();
        self.captures.each(subject, &mut |stream| captured = Some(*stream));
        captured.ok_or_else(|| AppendError::NoStream(subject.to_owned()))
    }

    /// Notes and writes what was admitted; says where, and whether it was there already.
    fn record(&mut self, id: u32, append: &Append, admission: Admission, now: Moment) -> io::Result<(u64, bool)> {
        let (seq, time, expires) = match admission {
            Admission::Duplicate { seq } => return Ok((seq, true)),
            Admission::New { seq, time, expires } => (seq, time, expires),
        };
        let Some(stream) = self.streams.get_mut(&id) else { return Ok((seq, false)) };
        let memory = stream.config.storage == Storage::Memory;
        reserve(&mut self.batch, stream, seq, now);
        let subject = Bytes::copy_from_slice(append.message.subject.as_bytes());
        if append.rollup.is_some() {
            roll_up(&mut self.batch, stream, append.rollup, &subject, now)?;
        }
        let displaced = match stream.config.messages_per_subject_max {
            Some(max) if stream.entry(&subject).count >= max => stream.oldest_of(&subject)?,
            _ => None,
        };
        let draft = Draft {
            subject: &subject,
            headers: append.message.headers.as_block(),
            id: append.id.as_deref(),
            expires,
            displaces: displaced.as_ref().map(|known| (known.seq, known.size)),
            payload: &append.message.payload,
            ..Draft::bare(Kind::Message, id, seq, time)
        };
        let at = self.batch.add(&draft, memory);
        let size = u32::try_from(append.message.size()).unwrap_or(u32::MAX);
        stream.note_message(seq, time, &subject, size, at, append.id.as_ref(), expires);
        if stream.config.marker_ttl.is_some() && rules::is_marker(&append.message.headers) {
            stream.note_marker();
        }
        if let Some(known) = displaced {
            stream.note_removed(&known)?;
        }
        stream.trim(now)?;
        self.touched.insert(id);
        Ok((seq, false))
    }

    /// What is answered, after what has to go at once is gone.
    fn recorded(&mut self, id: u32, seq: u64, duplicate: bool, now: Moment) -> io::Result<Option<Receipt>> {
        if !duplicate {
            self.expire_apart(id, now, usize::MAX)?;
        }
        let Some(stream) = self.streams.get(&id) else { return Ok(None) };
        let proof = if stream.config.storage == Storage::Memory { Proof::Memory } else { self.proof() };
        let receipt = Receipt { stream: stream.shared.name.clone(), seq, duplicate, proof };
        self.note_due(id);
        Ok(Some(receipt))
    }
}

/// Removes what a message takes the place of, ahead of it.
fn roll_up(
    batch: &mut crate::batch::Batch,
    stream: &mut Stream,
    rollup: Option<Rollup>,
    subject: &Bytes,
    now: Moment,
) -> io::Result<()> {
    let (id, memory) = (stream.shared.id, stream.config.storage == Storage::Memory);
    if rollup == Some(Rollup::All) {
        if stream.state.messages > 0 {
            stream.clear();
            // What was noted of the head so far is part of this record.
            let _noted = stream.take_trim();
            batch.add(&Draft::bare(Kind::Trim, id, stream.state.first, now), memory);
        }
        return Ok(());
    }
    let mut removed = Vec::new();
    while let Some(known) = stream.oldest_of(subject)? {
        stream.note_removed(&known)?;
        removed.push((known.seq, known.size));
    }
    emit_removed(batch, id, subject, &removed, now, memory);
    Ok(())
}

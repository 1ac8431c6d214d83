//! What goes by age and by lifetimes, and the markers that take the place of a subject's last message.

use std::io;

use event::{Headers, Moment, Subject};
use journal::{Storage, rules};

use super::{emit_removed, reserve};
use crate::core::{Core, EXPIRED_MAX};
use crate::record::{Draft, Kind};
use crate::stream::{Known, Stream};

impl Core {
    /// Removes what is too old, in the streams where something is, and finds out when to do so again.
    pub(crate) fn expire(&mut self, now: Moment) -> io::Result<()> {
        let mut left = EXPIRED_MAX;
        let due: Vec<(Moment, u32)> = self.dues.iter().copied().take_while(|(moment, _)| *moment <= now).collect();
        for noted in due {
            let id = noted.1;
            self.dues.remove(&noted);
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.due_noted = None;
            if stream.due().is_some_and(|due| due <= now) {
                left -= self.expire_in(id, now, left)?;
            }
            self.note_due(id);
        }
        Ok(())
    }

    /// Removes what is too old in a stream, of what has a lifetime of its own at most so many.
    /// Answers how many of those went.
    fn expire_in(&mut self, id: u32, now: Moment, left: usize) -> io::Result<usize> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(0) };
        self.touched.insert(id);
        if stream.ages_apart() {
            let count = self.expire_apart(id, now, left)?;
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.rest();
            }
            return Ok(count);
        }
        stream.trim(now)?;
        stream.rest();
        let expired = stream.take_expired(now, left);
        self.remove_all(id, &expired, now)?;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.trim(now)?;
        }
        Ok(expired.len())
    }

    /// Does what is due in a stream whose messages age one by one, at most so many of them: by age in
    /// order of position, then by their own lifetimes. Answers how many went.
    pub(super) fn expire_apart(&mut self, id: u32, now: Moment, max: usize) -> io::Result<usize> {
        let mut count = 0;
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.ages_apart()) else { return Ok(0) };
        if stream.due().is_none_or(|due| due > now) {
            return Ok(0);
        }
        while count < max {
            let aged = |stream: &&mut Stream| stream.config.age_max.is_some();
            let Some(stream) = self.streams.get_mut(&id).filter(aged) else { break };
            let Some(known) = stream.ageing()? else { break };
            if !rules::is_aged(&stream.config, known.time, now) {
                break;
            }
            self.let_go(id, &known, now)?;
            count += 1;
        }
        while count < max {
            let Some(stream) = self.streams.get_mut(&id) else { break };
            let Some(seq) = stream.take_expired(now, 1).first().copied() else { break };
            if stream.holds(seq) {
                let known = stream.known(seq)?;
                self.let_go(id, &known, now)?;
                count += 1;
            }
        }
        self.touched.insert(id);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.trim(now)?;
        }
        Ok(count)
    }

    /// Removes a message that expired, for a marker if it is its subject's last.
    fn let_go(&mut self, id: u32, known: &Known, now: Moment) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let memory = stream.config.storage == Storage::Memory;
        let sole = !known.marker && stream.entry(&known.subject).count == 1;
        let subject = Subject::new(known.subject.clone()).ok().filter(|_| sole);
        // What its headers say is in `known`.
        let marker = subject.and_then(|subject| rules::marker(&stream.config, &subject, &Headers::EMPTY));
        let Some((message, life)) = marker else {
            stream.note_removed(known)?;
            emit_removed(&mut self.batch, id, &known.subject, &[(known.seq, known.size)], now, memory);
            return Ok(());
        };
        let (seq, time) = (stream.state.last + 1, now.max(stream.state.last_time));
        let expires = Some(time.after(life));
        reserve(&mut self.batch, stream, seq, now);
        let draft = Draft {
            subject: &known.subject,
            headers: message.headers.as_block(),
            expires,
            displaces: Some((known.seq, known.size)),
            ..Draft::bare(Kind::Message, id, seq, time)
        };
        let at = self.batch.add(&draft, memory);
        let size = u32::try_from(message.size()).unwrap_or(u32::MAX);
        stream.note_message(seq, time, &known.subject, size, at, None, expires);
        stream.note_marker();
        stream.note_removed(known)
    }
}

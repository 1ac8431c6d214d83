//! Reads that wait for a message to come.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use event::{Moment, Pattern, Subject, Wanted};

use crate::contract::{Answer, Done, answer, ready};
use crate::error::ReadError;
use crate::limits::WAIT_MAX;
use crate::memory::Memory;
use crate::stream::{Page, Read, Start};

use super::{CLOSED, Call, Shared, State};

type Told = Result<Page, ReadError>;

struct Reader {
    stream: Arc<str>,
    read: Read,
    filters: Vec<Pattern>,
    deadline: Moment,
    done: Done<Told>,
}

/// All reads that wait.
#[derive(Default)]
pub(super) struct Readers {
    next: u64,
    waiting: BTreeMap<u64, Reader>,
    /// Unique: a key is given once.
    deadlines: BTreeMap<(Moment, u64), ()>,
    wanted: BTreeMap<Arc<str>, Wanted<u64>>,
}

impl Readers {
    /// Registers a read that found nothing before `next`.
    pub(super) fn wait(
        shared: Arc<Shared>,
        state: &mut State,
        now: Moment,
        stream: &str,
        read: Read,
        next: u64,
    ) -> Answer<Told> {
        let Some(span) = read.wait.filter(|span| !span.is_zero()) else {
            return ready(state.memory.read(stream, &read));
        };
        let readers = &mut state.readers;
        let (done, told) = answer(|| Err(ReadError::Closed(CLOSED.to_string())));
        let key = readers.next;
        readers.next += 1;
        let deadline = now.after(span.min(WAIT_MAX));
        let filters = if read.filters.is_empty() { Vec::from([Pattern::all()]) } else { read.filters.clone() };
        let stream: Arc<str> = Arc::from(stream);
        let wanted = readers.wanted.entry(stream.clone()).or_default();
        for filter in &filters {
            wanted.insert(filter, key);
        }
        readers.deadlines.insert((deadline, key), ());
        let read = Read { start: Start::Seq(next), ..read };
        readers.waiting.insert(key, Reader { stream, read, filters, deadline, done });
        Box::pin(Waiting { shared, key, told })
    }

    pub(super) fn wake_at(&self) -> Option<Moment> {
        self.deadlines.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Answers those that want a message that came.
    pub(super) fn appended(&mut self, memory: &Memory, stream: &str, subject: &Subject, calls: &mut VecDeque<Call>) {
        let mut keys = Vec::new();
        if let Some(wanted) = self.wanted.get(stream) {
            wanted.each(subject.as_str(), &mut |key| keys.push(*key));
        }
        for key in keys {
            // A message that a limit removed at once is waited past.
            let found = self.waiting.get(&key).map(|reader| memory.read(&reader.stream, &reader.read));
            if found.is_some_and(|told| told.is_ok_and(|page| !page.messages.is_empty())) {
                self.answer(memory, key, calls);
            }
        }
    }

    /// Answers those whose wait is over.
    pub(super) fn tick(&mut self, memory: &Memory, now: Moment, calls: &mut VecDeque<Call>) {
        while let Some((_, key)) = self.deadlines.keys().next().copied().filter(|(deadline, _)| *deadline <= now) {
            self.answer(memory, key, calls);
        }
    }

    /// Answers those that wait on a stream that is gone.
    pub(super) fn deleted(&mut self, stream: &str, calls: &mut VecDeque<Call>) {
        let on = |(key, reader): (&u64, &Reader)| (*reader.stream == *stream).then_some(*key);
        let keys: Vec<u64> = self.waiting.iter().filter_map(on).collect();
        for key in keys {
            self.tell(key, Err(ReadError::NotFound(stream.to_string())), calls);
        }
    }

    pub(super) fn close(&mut self, calls: &mut VecDeque<Call>) {
        let keys: Vec<u64> = self.waiting.keys().copied().collect();
        for key in keys {
            self.tell(key, Err(ReadError::Closed(CLOSED.to_string())), calls);
        }
    }

    fn answer(&mut self, memory: &Memory, key: u64, calls: &mut VecDeque<Call>) {
        if let Some(reader) = self.waiting.get(&key) {
            let told = memory.read(&reader.stream, &reader.read);
            self.tell(key, told, calls);
        }
    }

    fn tell(&mut self, key: u64, told: Told, calls: &mut VecDeque<Call>) {
        if let Some(reader) = self.remove(key) {
            calls.push_back(Box::new(move || (reader.done)(told)));
        }
    }

    fn remove(&mut self, key: u64) -> Option<Reader> {
        let reader = self.waiting.remove(&key)?;
        self.deadlines.remove(&(reader.deadline, key));
        if let Some(wanted) = self.wanted.get_mut(&reader.stream) {
            for filter in &reader.filters {
                wanted.remove(filter, &key);
            }
            if wanted.is_empty() {
                self.wanted.remove(&reader.stream);
            }
        }
        Some(reader)
    }
}

/// The answer to a read that waits; dropped, it waits no more.
struct Waiting {
    shared: Arc<Shared>,
    key: u64,
    told: Answer<Told>,
}

impl Future for Waiting {
    type Output = Told;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Told> {
        self.told.as_mut().poll(context)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let unwanted = self.shared.state.lock().readers.remove(self.key);
        drop(unwanted);
    }
}

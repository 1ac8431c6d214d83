//! Reading: pages, single messages, subjects. Nothing here waits for the writer or is waited for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use event::{Moment, Pattern, Subject, Wanted};
use journal::limits::{PAGE_BYTES_MAX, PAGE_MESSAGES_MAX, PATTERNS_MAX};
use journal::{Page, Read, ReadError, Start, Stored, StreamInfo, SubjectState, Until};

use crate::cursor::Cursor;
use crate::directory::Directory;
use crate::index::{self, Indexing};
use crate::live::Shared;
use crate::record::Record;

/// Bytes read at a time for a whole page.
const PAGE_CHUNK: usize = 256 * 1024;
/// Bytes read at a time for one message: a block of the index at about 128 bytes each.
const GET_CHUNK: usize = 16 * 1024;
/// Where more than one message in so many matches, reading everything is cheaper than the postings.
const SCAN_RATIO: u64 = 16;
/// Messages up to which everything is read, whatever matches.
const SCAN_MESSAGES: u64 = 4096;
/// Subjects beyond which a filter is answered by reading everything.
const POSTINGS_SUBJECTS_MAX: usize = 4096;
/// Subjects looked at under one hold of the lock.
const SUBJECTS_STEP: u32 = 8192;
/// A message so close behind a cursor is read on to.
const NEAR: u64 = 64;

/// Reads any stream. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    directory: Arc<Directory>,
}

fn storage(error: io::Error) -> ReadError {
    ReadError::Storage(error.to_string())
}

/// A stream's declaration and what it holds.
pub fn info(shared: &Arc<Shared>) -> StreamInfo {
    let live = shared.live.read();
    let mut info = StreamInfo {
        config: (*live.config).clone(),
        created: live.created,
        state: live.state,
        consumers: shared.consumers.load(std::sync::atomic::Ordering::Relaxed),
        disk_bytes: live.disk_bytes(),
    };
    let (timed, first, last) = (live.first_timed, live.state.first, live.state.last);
    drop(live);
    info.state.damaged = shared.damaged.lock().len() as u64;
    if !timed
        && first <= last
        && let Ok(Some((head, _))) = Cursor::new(shared.clone(), first, last, GET_CHUNK).next()
    {
        info.state.first_time = head.time;
    }
    info
}

fn stored(record: &Record) -> Option<Stored> {
    Some(Stored { seq: record.head.seq, time: record.head.time, message: record.message()? })
}

/// A page being gathered.
struct Gathering {
    page: Page,
    limit: usize,
    bytes: usize,
    taken: usize,
}

impl Gathering {
    /// Whether the page holds enough, or would hold too much with one more.
    fn full(&self, size: usize) -> bool {
        let some = !self.page.messages.is_empty();
        self.page.messages.len() >= self.limit || (some && self.taken + size > self.bytes)
    }

    fn take(&mut self, stored: Stored, size: usize) {
        self.page.next = stored.seq + 1;
        self.taken += size;
        self.page.messages.push(stored);
    }
}

impl Reader {
    /// Reads the streams of a directory.
    pub fn new(directory: Arc<Directory>) -> Self {
        Reader { directory }
    }

    pub(crate) fn shared(&self, stream: &str) -> Result<Arc<Shared>, ReadError> {
        self.directory.get(stream).ok_or_else(|| ReadError::NotFound(stream.to_owned()))
    }

    /// One stream.
    pub fn info(&self, stream: &str) -> Option<StreamInfo> {
        Some(info(&self.directory.get(stream)?))
    }

    /// All streams, by name.
    pub fn streams(&self) -> Vec<StreamInfo> {
        self.directory.all().iter().map(info).collect()
    }

    /// Records found damaged since the engine was opened.
    pub fn damaged(&self) -> u64 {
        self.directory.all().iter().map(|shared| shared.damaged.lock().len() as u64).sum()
    }

    /// The stream that captures a subject.
    pub fn captured_by(&self, subject: &Subject) -> Option<Arc<str>> {
        self.directory.captured_by(subject.as_str())
    }

    /// Reads one page, without waiting.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn page(&self, stream: &str, read: &Read) -> Result<Page, ReadError> {
        if read.filters.len() > PATTERNS_MAX {
            return Err(ReadError::Filters);
        }
        let shared = self.shared(stream)?;
        let mut state = shared.live.read().state;
        state.last = match read.until {
            None => state.last,
            Some(Until::Seq(seq)) => seq.min(state.last),
            Some(Until::Time(moment)) => {
                let behind = moment.after(Duration::from_nanos(1));
                first_at(&shared, behind, state.last).map_err(storage)?.saturating_sub(1)
            }
        };
        let from = match read.start {
            Start::Seq(seq) => seq.max(1),
            Start::New => state.last + 1,
            Start::Time(moment) => first_at(&shared, moment, state.last).map_err(storage)?,
        };
        let mut gathering = Gathering {
            page: Page { messages: Vec::new(), next: from, last: state.last, damaged: Vec::new() },
            limit: read.limit.clamp(1, PAGE_MESSAGES_MAX),
            bytes: read.bytes.clamp(1, PAGE_BYTES_MAX),
            taken: 0,
        };
        if from > state.last {
            return Ok(gathering.page);
        }
        match plan(&shared, read, from.max(state.first), state.last).map_err(storage)? {
            Plan::Scan(wanted) => scan(&shared, &mut gathering, wanted.as_ref(), from, state.last),
            Plan::Last(lasts) => fetch(&shared, &mut gathering, &mut lasts.into_iter().map(Ok), state.last),
            Plan::Postings(ids) => {
                let mut merged = Merged::new(&shared, &ids, from, state.last).map_err(storage)?;
                fetch(&shared, &mut gathering, &mut merged, state.last)
            }
        }
        .map_err(storage)?;
        Ok(gathering.page)
    }

    /// As [`journal::Journal::version`].
    pub fn version(&self) -> u64 {
        self.directory.version()
    }

    /// Positions between a stream's first and last that hold nothing, from `from` on.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn deleted(&self, stream: &str, from: u64, limit: usize) -> Result<Vec<u64>, ReadError> {
        let shared = self.shared(stream)?;
        let live = shared.live.read();
        Ok(live.gone.from(from.max(live.state.first), limit))
    }

    /// The message at a position.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn get(&self, stream: &str, seq: u64) -> Result<Stored, ReadError> {
        get(&self.shared(stream)?, seq)
    }

    /// The last message of all that a pattern matches.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn last(&self, stream: &str, pattern: &Pattern) -> Result<Stored, ReadError> {
        let shared = self.shared(stream)?;
        let live = shared.live.read();
        let last = live.table.matching(pattern).map(|id| live.table.entry(id).last).max();
        drop(live);
        get(&shared, last.ok_or(ReadError::NoMessage)?)
    }

    /// What a stream holds of each subject that the pattern matches, in byte order, after `after`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn subjects(
        &self,
        stream: &str,
        pattern: &Pattern,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<Vec<SubjectState>, ReadError> {
        let shared = self.shared(stream)?;
        let live = shared.live.read();
        let ids = live.table.after(after.map(Subject::as_str), pattern, limit);
        let found: Vec<_> =
            ids.into_iter().map(|id| (id, live.table.text(id).to_owned(), live.table.entry(id))).collect();
        drop(live);
        let mut subjects = Vec::with_capacity(found.len());
        for (id, text, entry) in found {
            let first = match entry.count {
                1 => entry.first,
                _ => first_of(&shared, id, entry.first).map_err(storage)?,
            };
            let Ok(subject) = Subject::new(text) else { continue };
            subjects.push(SubjectState { subject, messages: entry.count, first, last: entry.last });
        }
        Ok(subjects)
    }
}

/// The first position of a subject, from a bound at or before it.
fn first_of(shared: &Shared, id: u32, bound: u64) -> io::Result<u64> {
    let mut first = bound;
    while let Some((seq, _)) = index::next_of_id(shared, id, first)? {
        if shared.live.read().holds(seq) {
            return Ok(seq);
        }
        first = seq + 1;
    }
    Ok(first)
}

fn get(shared: &Arc<Shared>, seq: u64) -> Result<Stored, ReadError> {
    if !shared.live.read().holds(seq) {
        return Err(ReadError::NoMessage);
    }
    let found = Cursor::new(shared.clone(), seq, seq, GET_CHUNK).next_record().map_err(storage)?;
    match found.as_ref().and_then(stored) {
        Some(stored) => Ok(stored),
        None if shared.live.read().holds(seq) => {
            shared.note_damaged(seq);
            Err(ReadError::Damaged(seq))
        }
        None => Err(ReadError::NoMessage),
    }
}

/// The first position recorded at or after a moment; `last + 1` where there is none.
fn first_at(shared: &Arc<Shared>, moment: Moment, last: u64) -> io::Result<u64> {
    let live = shared.live.read();
    let first = live.state.first;
    let at = live.segments.partition_point(|segment| segment.first_time < moment).saturating_sub(1);
    let Some(segment) = live.segments.get(at) else { return Ok(last + 1) };
    let next = live.segments.get(at + 1).map_or(last + 1, |next| next.base);
    let near = match &segment.index {
        Indexing::Active(builder) => builder.locate_time(moment.nanos()).map(|(seq, _)| seq),
        Indexing::Sealed(sealed) => {
            let sealed = sealed.clone();
            drop(live);
            sealed.locate_time(shared, moment)?
        }
    };
    let mut cursor = Cursor::new(shared.clone(), near.unwrap_or(next).max(first), last, GET_CHUNK);
    while let Some((head, _)) = cursor.next()? {
        if head.time >= moment {
            return Ok(head.seq);
        }
    }
    Ok(last + 1)
}

/// How a page is found.
enum Plan {
    /// Everything is read, and what is wanted is taken.
    Scan(Option<Wanted<()>>),
    /// These positions.
    Last(Vec<u64>),
    /// The positions of these subjects.
    Postings(Vec<u32>),
}

fn plan(shared: &Shared, read: &Read, from: u64, last: u64) -> io::Result<Plan> {
    if read.last_per_subject {
        return lasts(shared, &read.filters, from, last).map(Plan::Last);
    }
    Ok(plan_of_all(shared, read, from, last))
}

fn plan_of_all(shared: &Shared, read: &Read, from: u64, last: u64) -> Plan {
    if read.filters.is_empty() || read.filters.iter().any(|filter| filter.as_str() == ">") {
        return Plan::Scan(None);
    }
    let mut wanted = Wanted::default();
    for filter in &read.filters {
        wanted.insert(filter, ());
    }
    if last.saturating_sub(from) < SCAN_MESSAGES {
        return Plan::Scan(Some(wanted));
    }
    match few_subjects(shared, &read.filters, &wanted) {
        Some(ids) => Plan::Postings(ids),
        None => Plan::Scan(Some(wanted)),
    }
}

/// The ids of the subjects that filters match, where they hold few of the messages.
fn few_subjects(shared: &Shared, filters: &[Pattern], wanted: &Wanted<()>) -> Option<Vec<u32>> {
    let literals: Option<Vec<Subject>> = filters.iter().map(Pattern::literal).collect();
    let live = shared.live.read();
    let (total, ids) = (live.state.messages, live.table.ids());
    if let Some(literals) = literals {
        let found: Vec<u32> = literals.iter().filter_map(|subject| live.table.find(subject.as_str())).collect();
        let messages: u64 = found.iter().map(|id| live.table.entry(*id).count).sum();
        return (messages * SCAN_RATIO <= total).then_some(found);
    }
    drop(live);
    let (mut found, mut messages, mut next) = (Vec::new(), 0, 0);
    while next < ids {
        let live = shared.live.read();
        let end = next.saturating_add(SUBJECTS_STEP).min(ids);
        for id in next..end {
            let text = live.table.text(id);
            if !text.is_empty() && wanted.any(text) {
                messages += live.table.entry(id).count;
                found.push(id);
            }
        }
        if found.len() > POSTINGS_SUBJECTS_MAX || messages * SCAN_RATIO > total {
            return None;
        }
        next = end;
    }
    Some(found)
}

/// The last positions up to `until` of all subjects that filters match, from a position on, in order.
fn lasts(shared: &Shared, filters: &[Pattern], from: u64, until: u64) -> io::Result<Vec<u64>> {
    let all = [Pattern::all()];
    let filters = if filters.is_empty() { &all[..] } else { filters };
    let live = shared.live.read();
    let found = filters.iter().flat_map(|filter| live.table.matching(filter));
    let (mut lasts, mut later) = (Vec::new(), Vec::new());
    for (id, entry) in found.map(|id| (id, live.table.entry(id))).filter(|(_, entry)| entry.last >= from) {
        if entry.last <= until {
            lasts.push(entry.last);
        } else if entry.first <= until {
            later.push((id, entry.first));
        }
    }
    drop(live);
    for (id, first) in later {
        // One that is behind `from` will do: whatever follows it up to `until` is found.
        lasts.extend(last_of(shared, id, first.max(from), until)?);
    }
    lasts.sort_unstable();
    lasts.dedup();
    Ok(lasts)
}

/// The last position of a subject in a range, both ends included. Costs a look-up for each there.
fn last_of(shared: &Shared, id: u32, mut from: u64, until: u64) -> io::Result<Option<u64>> {
    let mut last = None;
    while let Some((seq, _)) = index::next_of_id(shared, id, from)?.filter(|(seq, _)| *seq <= until) {
        if shared.live.read().holds(seq) {
            last = Some(seq);
        }
        from = seq + 1;
    }
    Ok(last)
}

fn scan(
    shared: &Arc<Shared>,
    gathering: &mut Gathering,
    wanted: Option<&Wanted<()>>,
    from: u64,
    last: u64,
) -> io::Result<()> {
    let live = shared.live.read();
    let (first, whole) = (live.state.first, live.gone.is_empty());
    drop(live);
    let chunk = if gathering.limit < 64 { GET_CHUNK } else { PAGE_CHUNK };
    let mut cursor = Cursor::new(shared.clone(), from.max(first), last, chunk);
    let mut expected = from.max(first);
    while let Some(record) = cursor.next_record()? {
        let seq = record.head.seq;
        let size = record.size();
        let match_subject =
            |wanted: &Wanted<()>| std::str::from_utf8(&record.subject).is_ok_and(|text| wanted.any(text));
        let takes = wanted.is_none_or(match_subject) && (whole || shared.live.read().holds(seq));
        if gathering.full(if takes { size } else { 0 }) {
            return Ok(());
        }
        note_missing(shared, gathering, expected..seq);
        expected = seq + 1;
        gathering.page.next = seq + 1;
        if !takes {
            continue;
        }
        match stored(&record) {
            Some(stored) => gathering.take(stored, size),
            None => note_missing(shared, gathering, seq..seq + 1),
        }
    }
    note_missing(shared, gathering, expected..last + 1);
    gathering.page.next = last + 1;
    Ok(())
}

/// Tells of positions that were not found though nothing removed them.
fn note_missing(shared: &Shared, gathering: &mut Gathering, range: Range<u64>) {
    if range.is_empty() {
        return;
    }
    let live = shared.live.read();
    let missing: Vec<u64> = range.filter(|seq| live.holds(*seq)).take(PAGE_MESSAGES_MAX).collect();
    drop(live);
    for seq in missing {
        shared.note_damaged(seq);
        gathering.page.damaged.push(seq);
    }
}

/// Takes messages at given positions, which grow.
fn fetch(
    shared: &Arc<Shared>,
    gathering: &mut Gathering,
    positions: &mut dyn Iterator<Item = io::Result<u64>>,
    last: u64,
) -> io::Result<()> {
    let mut cursor: Option<Cursor> = None;
    for seq in positions {
        let seq = seq?;
        if seq > last {
            break;
        }
        if gathering.full(0) {
            return Ok(());
        }
        if !shared.live.read().holds(seq) {
            gathering.page.next = seq + 1;
            continue;
        }
        let near = cursor.as_ref().is_some_and(|cursor| cursor.want() <= seq && seq - cursor.want() < NEAR);
        if !near {
            cursor = None;
        }
        let cursor = cursor.get_or_insert_with(|| Cursor::new(shared.clone(), seq, last, GET_CHUNK));
        let found = cursor.seek(seq)?;
        match found.as_ref().and_then(stored) {
            Some(stored) => {
                let size = stored.message.size();
                if gathering.full(size) {
                    return Ok(());
                }
                gathering.take(stored, size);
            }
            None => {
                note_missing(shared, gathering, seq..seq + 1);
                gathering.page.next = seq + 1;
            }
        }
    }
    gathering.page.next = last + 1;
    Ok(())
}

/// The positions of several subjects, merged in order.
struct Merged<'a> {
    shared: &'a Shared,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    last: u64,
}

impl<'a> Merged<'a> {
    fn new(shared: &'a Shared, ids: &[u32], from: u64, last: u64) -> io::Result<Self> {
        let mut heap = BinaryHeap::with_capacity(ids.len());
        for id in ids {
            let entry = shared.live.read().table.entry(*id);
            if entry.count > 0
                && entry.last >= from
                && let Some((seq, _)) = index::next_of_id(shared, *id, from.max(entry.first))?
            {
                heap.push(Reverse((seq, *id)));
            }
        }
        Ok(Merged { shared, heap, last })
    }
}

impl Iterator for Merged<'_> {
    type Item = io::Result<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((seq, id)) = self.heap.pop()?;
        if seq <= self.last {
            match index::next_of_id(self.shared, id, seq + 1) {
                Ok(Some((next, _))) => self.heap.push(Reverse((next, id))),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(seq))
    }
}

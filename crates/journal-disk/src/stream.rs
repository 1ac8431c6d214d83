//! One stream as its writer sees it: what is committed, and what the commit at hand will change.
//!
//! Appends and removals are noted here at once, so that what follows in the same commit is judged
//! by them; readers see nothing of it before [`Stream::publish`]. The same notes serve live work
//! and replay, so both come to the same state.
//!
//! # Invariants
//! 1. `state` is what readers will see after the commit at hand.
//! 2. `ahead` holds an entry for each subject that the commit touched, and for no other.
//! 3. An entry's `first` is a lower bound: the true first position of a subject is at or behind it.
//!    Its `last` and `count` are exact.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bytes::Bytes;
use event::Moment;
use journal::rules;
use journal::{StreamConfig, StreamState};
use parking_lot::{Mutex, RwLock};

use crate::core::Options;
use crate::cursor::Cursor;
use crate::disk::Disk;
use crate::gone::Gone;
use crate::live::{Added, Changes, Handles, Live, Shared, Touched};
use crate::record::{Kind, Record};
use crate::snapshot::Snapshot;
use crate::subjects::{Entry, SubjectTable};
use crate::window::Window;

mod contents;

/// Bytes read at a time for what is removed at the head.
const HEAD_CHUNK: usize = 16 * 1024;

/// What has to be known of a message to remove it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its position.
    pub seq: u64,
    /// When it was recorded.
    pub time: Moment,
    /// Its subject; empty where its record is damaged.
    pub subject: Bytes,
    /// Its size.
    pub size: u32,
    /// Whether no marker follows it; known only where the stream leaves markers.
    pub marker: bool,
}

/// Where a stream's files are, and which are open.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    /// The disk.
    pub disk: &'a Arc<dyn Disk>,
    /// Those open.
    pub handles: &'a Arc<Handles>,
}

/// See the module.
pub struct Stream {
    /// What readers share.
    pub shared: Arc<Shared>,
    /// The declaration.
    pub config: Arc<StreamConfig>,
    /// When it was created.
    pub created: Moment,
    /// What it will hold.
    pub state: StreamState,
    /// Whether `state.first_time` is known.
    pub first_timed: bool,
    /// The ids of the last messages.
    pub window: Window,
    /// The id last recorded.
    pub last_id: Option<Bytes>,
    /// Of a stream in memory: the log says that positions up to this one may have been used.
    pub reserved: u64,
    /// When [`Stream::due`] was noted to be.
    pub due_noted: Option<Moment>,
    /// When messages with a lifetime expire. May name messages that are gone.
    pub expiries: BinaryHeap<Reverse<(Moment, u64)>>,
    /// Messages that do not go by age.
    pub eternal: BTreeSet<u64>,
    /// All before it are gone or do not go by age.
    aged: u64,
    /// The message there, as far as it was looked at.
    ageing_at: Option<(u64, Moment)>,
    /// Subjects touched, in order.
    touched: Vec<Touched>,
    /// Places in `touched`.
    ahead: HashMap<Bytes, usize>,
    added: Vec<Added>,
    gone: BTreeSet<u64>,
    /// Whether the commit removed all that was committed.
    cleared: bool,
    /// Whether the head moved on by a limit, which the commit has to record.
    trimmed: bool,
    head: Option<Cursor>,
    head_known: Option<Known>,
}

impl Stream {
    /// The writer's side of a stream whose committed state is in `shared`.
    pub fn new(shared: Arc<Shared>, window: Window) -> Self {
        let live = shared.live.read();
        let (config, created, state, first_timed) = (live.config.clone(), live.created, live.state, live.first_timed);
        drop(live);
        Stream {
            shared,
            config,
            created,
            state,
            first_timed,
            window,
            last_id: None,
            reserved: 0,
            due_noted: None,
            expiries: BinaryHeap::new(),
            eternal: BTreeSet::new(),
            aged: 0,
            ageing_at: None,
            touched: Vec::new(),
            ahead: HashMap::new(),
            added: Vec::new(),
            gone: BTreeSet::new(),
            cleared: false,
            trimmed: false,
            head: None,
            head_known: None,
        }
    }

    /// A stream that nothing was recorded in.
    pub fn empty(files: Files<'_>, options: &Options, id: u32, config: StreamConfig, created: Moment) -> Self {
        let key = options.seed;
        let window = Window::new(key, config.duplicate_window);
        // What nobody wants goes at once: that is found out where consumers are known.
        let retires = config.retention == journal::Retention::Interest;
        let first = config.first;
        let shared = Shared {
            id,
            name: config.name.as_str().into(),
            live: RwLock::new(Live {
                config: Arc::new(config),
                created,
                state: StreamState { first: first.max(1), last: first.saturating_sub(1), ..StreamState::default() },
                first_timed: true,
                table: SubjectTable::new(key),
                gone: Gone::default(),
                segments: VecDeque::new(),
                deleted: false,
            }),
            waiters: Mutex::default(),
            disk: files.disk.clone(),
            handles: files.handles.clone(),
            damaged: Mutex::default(),
            watched: AtomicBool::new(retires),
            consumers: AtomicU64::new(0),
        };
        Stream::new(Arc::new(shared), window)
    }

    /// Takes over what a snapshot has. For a stream that nothing was done to yet.
    pub fn restore(&mut self, snapshot: Snapshot) {
        (self.state, self.first_timed) = (snapshot.state, snapshot.first_timed);
        (self.last_id, self.window) = (snapshot.last_id, snapshot.window);
        for Reverse((moment, seq)) in snapshot.expiries {
            self.expire_at(moment, seq);
        }
        self.window.set_window(self.config.duplicate_window);
        let mut live = self.shared.live.write();
        (live.state, live.first_timed) = (snapshot.state, snapshot.first_timed);
        (live.table, live.gone) = (snapshot.table, snapshot.gone);
    }

    /// Sets the last position of an empty stream.
    pub fn set_last(&mut self, last: u64) {
        (self.state.last, self.state.first) = (last, last + 1);
        self.shared.live.write().state = self.state;
    }

    /// Passes the positions that a stream in memory may have used before it was opened.
    pub fn pass_reserved(&mut self, last: u64) {
        self.reserved = self.reserved.max(last);
        self.set_last(self.reserved);
    }

    /// Lets an empty stream start at its first segment that is left.
    pub fn start_at(&mut self, base: u64) {
        self.set_last(base.saturating_sub(1));
    }

    /// Notes a new message with what else is kept of it.
    #[expect(clippy::too_many_arguments, reason = "they are a message's parts, in the record's order")]
    pub fn note_message(
        &mut self,
        seq: u64,
        time: Moment,
        subject: &Bytes,
        size: u32,
        at: u64,
        id: Option<&Bytes>,
        expires: Option<Moment>,
    ) {
        self.note_added(seq, time, subject, size, at);
        if let Some(id) = id {
            self.remember(id, seq, time);
        }
        if let Some(expires) = expires {
            self.expire_at(expires, seq);
        }
    }

    fn expire_at(&mut self, moment: Moment, seq: u64) {
        if moment == rules::NEVER {
            self.eternal.insert(seq);
        } else {
            self.expiries.push(Reverse((moment, seq)));
        }
    }

    /// Whether messages age one by one and not from the head, or leave a marker.
    pub fn ages_apart(&self) -> bool {
        self.config.marker_ttl.is_some() || !self.eternal.is_empty()
    }

    /// The oldest message that may go by age, where they age apart.
    ///
    /// # Errors
    /// What the disk says.
    pub fn ageing(&mut self) -> io::Result<Option<Known>> {
        self.aged = self.aged.max(self.state.first);
        while self.aged <= self.state.last && (self.eternal.contains(&self.aged) || !self.holds(self.aged)) {
            self.aged += 1;
        }
        if self.aged > self.state.last {
            self.ageing_at = None;
            return Ok(None);
        }
        let known = self.known(self.aged)?;
        self.ageing_at = Some((self.aged, known.time));
        Ok(Some(known))
    }

    /// Removes what the limits say has to go from the head.
    ///
    /// # Errors
    /// What the disk says.
    pub fn trim(&mut self, now: Moment) -> io::Result<()> {
        while self.overdue(now)? {
            let Some(known) = self.head()? else { break };
            self.trimmed = true;
            self.note_removed(&known)?;
        }
        Ok(())
    }

    /// Removes all before a position.
    ///
    /// # Errors
    /// What the disk says.
    pub fn trim_to(&mut self, first: u64) -> io::Result<()> {
        self.trimmed = true;
        if first > self.state.last {
            self.clear();
            return Ok(());
        }
        while self.state.first < first {
            let Some(known) = self.head()? else { break };
            self.note_removed(&known)?;
        }
        Ok(())
    }

    /// Removes all but the newest so many.
    ///
    /// # Errors
    /// What the disk says.
    pub fn trim_to_count(&mut self, keep: u64) -> io::Result<()> {
        self.trimmed = true;
        while self.state.messages > keep {
            let Some(known) = self.head()? else { break };
            self.note_removed(&known)?;
        }
        Ok(())
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.trimmed = true;
        (self.state.messages, self.state.bytes) = (0, 0);
        self.eternal.clear();
        self.advance_first();
    }

    /// The new first position, where the commit has to record it.
    pub fn take_trim(&mut self) -> Option<u64> {
        std::mem::take(&mut self.trimmed).then_some(self.state.first)
    }

    /// When something here expires, or earlier.
    pub fn due(&self) -> Option<Moment> {
        let own = self.expiries.peek().map(|Reverse((moment, _))| *moment);
        // Of those that age apart the oldest that may go is not at the head, perhaps.
        let timed = self.first_timed && self.eternal.is_empty();
        let age = match self.ageing_at.filter(|(seq, _)| *seq == self.aged && self.aged >= self.state.first) {
            Some((_, time)) => self.config.age_max.map(|age| time.after(age)),
            None => self
                .config
                .age_max
                .filter(|_| self.state.messages > self.eternal.len() as u64)
                .map(|age| if timed { self.state.first_time.after(age) } else { Moment::EPOCH }),
        };
        match (own, age) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Positions whose own lifetime is over, at most `max`.
    pub fn take_expired(&mut self, now: Moment, max: usize) -> Vec<u64> {
        let mut expired = Vec::new();
        while expired.len() < max && self.expiries.peek().is_some_and(|Reverse((moment, _))| *moment <= now) {
            expired.extend(self.expiries.pop().map(|Reverse((_, seq))| seq));
        }
        expired
    }

    /// Messages of the commit at hand.
    pub fn pending(&self) -> Vec<Known> {
        let known = |added: &Added| Known {
            seq: added.seq,
            time: added.time,
            subject: added.subject.clone(),
            size: added.size,
            marker: added.marker,
        };
        self.added.iter().map(known).collect()
    }

    /// Removes what each subject has beyond its limit; returns it by subject.
    ///
    /// # Errors
    /// What the disk says.
    pub fn over_per_subject(&mut self) -> io::Result<BTreeMap<Bytes, Vec<(u64, u32)>>> {
        let mut removed: BTreeMap<Bytes, Vec<(u64, u32)>> = BTreeMap::new();
        let Some(max) = self.config.messages_per_subject_max else { return Ok(removed) };
        let mut over: BTreeSet<Bytes> = self.ahead.keys().cloned().collect();
        let live = self.shared.live.read();
        for id in (0..live.table.ids()).filter(|id| live.table.entry(*id).count > max) {
            over.insert(Bytes::copy_from_slice(live.table.text(id).as_bytes()));
        }
        drop(live);
        for subject in over {
            while self.entry(&subject).count > max {
                let Some(known) = self.oldest_of(&subject)? else { break };
                self.note_removed(&known)?;
                removed.entry(subject.clone()).or_default().push((known.seq, known.size));
            }
        }
        Ok(removed)
    }

    /// What is known of a subject, the commit at hand included.
    pub fn entry(&self, subject: &[u8]) -> Entry {
        match self.ahead.get(subject).and_then(|place| self.touched.get(*place)) {
            Some(touched) => touched.entry,
            None => self.committed(subject).1,
        }
    }

    /// A subject's id and what is committed of it, if what is committed stays.
    fn committed(&self, subject: &[u8]) -> (Option<u32>, Entry) {
        if self.cleared {
            return (None, Entry::default());
        }
        let live = self.shared.live.read();
        let id = live.table.find(std::str::from_utf8(subject).unwrap_or_default());
        (id, id.map(|id| live.table.entry(id)).unwrap_or_default())
    }

    /// Notes that a subject is touched; says its place in `touched`.
    fn touch(&mut self, subject: &Bytes) -> usize {
        if let Some(place) = self.ahead.get(subject) {
            return *place;
        }
        let (id, entry) = self.committed(subject);
        let place = self.touched.len();
        self.touched.push(Touched { subject: subject.clone(), entry, id });
        self.ahead.insert(subject.clone(), place);
        place
    }

    /// Notes a new message. `at` is where its record starts in the bytes of this commit.
    pub fn note_added(&mut self, seq: u64, time: Moment, subject: &Bytes, size: u32, at: u64) {
        let place = self.touch(subject);
        if let Some(Touched { entry, .. }) = self.touched.get_mut(place) {
            if entry.count == 0 {
                entry.first = seq;
                self.state.subjects += 1;
            }
            (entry.last, entry.count, entry.last_size) = (seq, entry.count + 1, size);
        }
        if self.state.messages == 0 {
            // Positions that replay finds missing, behind an empty head, are passed.
            (self.state.first, self.state.first_time, self.first_timed) = (seq, time, true);
        } else {
            for missing in self.state.last + 1..seq {
                self.gone.insert(missing);
                self.state.deleted += 1;
            }
        }
        self.state.messages += 1;
        self.state.bytes += u64::from(size);
        (self.state.last, self.state.last_time) = (seq, time);
        self.added.push(Added { seq, time, subject: subject.clone(), place, size, at, marker: false });
    }

    /// Notes that the message that was noted last is a marker.
    pub fn note_marker(&mut self) {
        if let Some(added) = self.added.last_mut() {
            added.marker = true;
        }
    }

    /// Whether there is a message at a position, the commit at hand included.
    pub fn holds(&self, seq: u64) -> bool {
        seq >= self.state.first
            && seq <= self.state.last
            && !self.gone.contains(&seq)
            && !self.shared.live.read().gone.contains(seq)
    }

    /// Notes that a message that is there goes.
    ///
    /// # Errors
    /// What the disk says of finding what else its subject has.
    pub fn note_removed(&mut self, known: &Known) -> io::Result<()> {
        self.eternal.remove(&known.seq);
        let mut entry = self.entry(&known.subject);
        if entry.count > 0 {
            entry.count -= 1;
            if entry.count == 0 {
                entry = Entry::default();
                self.state.subjects -= 1;
            } else if entry.last == known.seq {
                let last = self.last_before(&known.subject, entry.first, known.seq)?;
                (entry.last, entry.last_size) = last.unwrap_or((entry.first, 0));
            } else if entry.first == known.seq {
                entry.first = known.seq + 1;
            }
            if entry.count == 1 {
                entry.first = entry.last;
            }
            let place = self.touch(&known.subject);
            if let Some(touched) = self.touched.get_mut(place) {
                touched.entry = entry;
            }
        }
        self.state.messages -= 1;
        self.state.bytes = self.state.bytes.saturating_sub(u64::from(known.size));
        if known.seq == self.state.first {
            self.advance_first();
        } else {
            self.gone.insert(known.seq);
            self.state.deleted += 1;
        }
        Ok(())
    }

    fn advance_first(&mut self) {
        self.first_timed = false;
        if self.state.messages == 0 {
            // Subjects of damaged records would otherwise stay.
            (self.state.deleted, self.state.subjects, self.state.bytes) = (0, 0, 0);
            (self.cleared, self.state.first) = (true, self.state.last + 1);
            self.touched.clear();
            self.ahead.clear();
            (self.state.first_time, self.first_timed) = (self.state.last_time, true);
            return;
        }
        let live = self.shared.live.read();
        self.state.first += 1;
        while self.gone.contains(&self.state.first) || live.gone.contains(self.state.first) {
            self.state.first += 1;
            self.state.deleted = self.state.deleted.saturating_sub(1);
        }
    }

    /// The message at the head; `None` in an empty stream.
    ///
    /// # Errors
    /// What the disk says.
    pub fn head(&mut self) -> io::Result<Option<Known>> {
        if self.state.messages == 0 {
            return Ok(None);
        }
        if self.head_known.as_ref().is_none_or(|known| known.seq != self.state.first) {
            self.head_known = Some(self.known(self.state.first)?);
        }
        if let Some(known) = self.head_known.as_ref().filter(|_| !self.first_timed) {
            (self.state.first_time, self.first_timed) = (known.time, true);
        }
        Ok(self.head_known.clone())
    }

    /// What removing a message needs. Where its record is damaged, as much as can be said.
    ///
    /// # Errors
    /// What the disk says.
    pub fn known(&mut self, seq: u64) -> io::Result<Known> {
        if let Some(first) = self.added.first().map(|added| added.seq).filter(|first| seq >= *first) {
            let near = usize::try_from(seq - first).unwrap_or(usize::MAX);
            let found = self.added.get(near).filter(|added| added.seq == seq);
            if let Some(added) = found.or_else(|| self.added.iter().find(|added| added.seq == seq)) {
                let (subject, marker) = (added.subject.clone(), added.marker);
                return Ok(Known { seq, time: added.time, subject, size: added.size, marker });
            }
        }
        let last = self.shared.live.read().state.last;
        let near = self.head.as_ref().is_some_and(|head| head.want() <= seq && seq - head.want() < 256);
        if !near {
            self.head = Some(Cursor::new(self.shared.clone(), seq, last, HEAD_CHUNK));
        }
        let damaged = Known { seq, time: self.state.first_time, subject: Bytes::new(), size: 0, marker: false };
        let marks = self.config.marker_ttl.is_some();
        let Some(head) = self.head.as_mut() else { return Ok(damaged) };
        head.extend(last);
        while head.want() <= seq {
            match head.next()? {
                Some((found, bytes)) if found.seq == seq => {
                    let subject = bytes.get(found.subject_range()).unwrap_or_default();
                    let size = u32::try_from(found.size(&bytes)).unwrap_or(u32::MAX);
                    let subject = Bytes::copy_from_slice(subject);
                    let message =
                        if marks { Record::read(&bytes).ok().and_then(|record| record.message()) } else { None };
                    let marker = message.is_some_and(|message| rules::is_marker(&message.headers));
                    return Ok(Known { seq, time: found.time, subject, size, marker });
                }
                Some((found, _)) if found.seq > seq => break,
                Some(_) => {}
                None => break,
            }
        }
        self.head = None;
        Ok(damaged)
    }

    /// Does what a record says was done.
    ///
    /// # Errors
    /// What the disk says.
    pub fn replay(&mut self, record: &Record, at: u64) -> io::Result<()> {
        match record.head.kind {
            Kind::Message if record.head.seq > self.state.last => {
                let (seq, time) = (record.head.seq, record.head.time);
                let size = u32::try_from(record.size()).unwrap_or(u32::MAX);
                let subject = Bytes::copy_from_slice(&record.subject);
                self.note_message(seq, time, &subject, size, at, record.id.as_ref(), record.expires);
                if let Some((seq, size)) = record.displaces.filter(|(seq, _)| self.holds(*seq)) {
                    self.note_removed(&Known { seq, time, subject, size, marker: false })?;
                }
            }
            Kind::Trim => {
                self.trim_to(record.head.seq)?;
            }
            Kind::Delete => {
                let subject = Bytes::copy_from_slice(&record.subject);
                for (seq, size) in record.removed() {
                    if self.holds(seq) {
                        let (time, subject) = (record.head.time, subject.clone());
                        self.note_removed(&Known { seq, time, subject, size, marker: false })?;
                    }
                }
            }
            _ => {}
        }
        self.trimmed = false;
        Ok(())
    }

    /// Lets go of buffers that only a busy head needs.
    pub fn rest(&mut self) {
        self.head = None;
    }

    /// The oldest message of a subject; `None` where it has none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn oldest_of(&mut self, subject: &Bytes) -> io::Result<Option<Known>> {
        let entry = self.entry(subject);
        if entry.count == 0 {
            return Ok(None);
        }
        if entry.count == 1 {
            let time = self.state.first_time;
            let (seq, subject, size) = (entry.last, subject.clone(), entry.last_size);
            return Ok(Some(Known { seq, time, subject, size, marker: false }));
        }
        let mut from = entry.first;
        while let Some(seq) = self.next_of(subject, from)? {
            if self.holds(seq) {
                return self.known(seq).map(Some);
            }
            from = seq + 1;
        }
        Ok(None)
    }

    /// The next position of a subject from `from` on, one that is gone perhaps.
    fn next_of(&self, subject: &Bytes, from: u64) -> io::Result<Option<u64>> {
        if let Some(found) = crate::index::next_of(&self.shared, subject, from)? {
            return Ok(Some(found));
        }
        Ok(self.added.iter().find(|added| added.seq >= from && added.subject == *subject).map(|added| added.seq))
    }

    /// The last message of a subject before `end`: position and size. Costs a look-up for each of
    /// the subject's messages; only removing a subject's last message by hand needs it.
    fn last_before(&mut self, subject: &Bytes, first: u64, end: u64) -> io::Result<Option<(u64, u32)>> {
        let (mut from, mut last) = (first, None);
        while let Some(seq) = self.next_of(subject, from)?.filter(|seq| *seq < end) {
            if self.holds(seq) {
                last = Some(seq);
            }
            from = seq + 1;
        }
        match last {
            Some(seq) => Ok(Some((seq, self.known(seq)?.size))),
            None => Ok(None),
        }
    }

    /// Whether the message at the head has to go now.
    ///
    /// # Errors
    /// What the disk says.
    pub fn overdue(&mut self, now: Moment) -> io::Result<bool> {
        if self.config.age_max.is_some() && !self.first_timed && !self.ages_apart() {
            self.head()?;
        }
        let ages = self.state.messages > 0 && !self.ages_apart();
        let aged = ages && rules::is_aged(&self.config, self.state.first_time, now);
        Ok(aged || rules::oldest_must_go(&self.config, &self.state))
    }

    /// Remembers a message id.
    pub fn remember(&mut self, id: &Bytes, seq: u64, time: Moment) {
        if !self.config.duplicate_window.is_zero() {
            let hash = self.window.hash(id);
            self.window.insert(hash, seq, time);
        }
        self.last_id = Some(Bytes::copy_from_slice(id));
    }

    /// Makes the commit visible. `bytes` are the records of this stream, in order.
    /// Returns the new messages.
    pub fn publish(&mut self, bytes: Vec<Bytes>, placed: Option<u64>, segment_bytes: u64) -> Vec<Added> {
        let subjects = std::mem::take(&mut self.touched);
        let changes = Changes {
            added: std::mem::take(&mut self.added),
            subjects,
            gone: std::mem::take(&mut self.gone).into_iter().collect(),
            bytes,
            cleared: std::mem::take(&mut self.cleared),
            placed,
        };
        self.ahead.clear();
        let mut live = self.shared.live.write();
        live.publish(&self.shared, &changes, self.state, self.first_timed, segment_bytes);
        drop(live);
        let woken = self.shared.waiters.lock().take(&changes.added);
        woken.into_iter().for_each(|wake| wake());
        changes.added
    }
}

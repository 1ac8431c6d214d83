//! The inbox: what is for a name whose owner is away is kept, and delivered in order when it comes.
//!
//! An inbox of a name is a stream of the journal, `SLIM_INBOX_<c0>_<c1>_<c2>`, which captures
//! `slim-inbox.<c0>.<c1>.<c2>.*`; the last token is the instance, or `any`, and for what came from another domain
//! `@` and the segment behind it. Its age is how long messages are kept. So it is declared, listed and forgotten like
//! any stream.
//!
//! It listens like any subscriber, in groups of its own: for its name, to what nobody else takes; and while something is
//! kept for an instance, to what is for that one, before everybody else. So what is published at any node of a mesh
//! comes here, wherever the owner is.
//!
//! # Invariants
//! - While anything is kept for a name's instance, what comes for it is kept too: nothing overtakes. What other nodes
//!   bring is awaited a moment longer: it may be on its way while they hear that they may send it to the owner.
//! - What came in a segment goes to the own domain and to others within that segment.
//! - A message is removed after somebody took it. Whoever is cut off just then may have lost it; nobody has it twice
//!   but after a crash between the two.
//!
//! # Cost
//! One append for each message, and one look-up for each name that a link publishes to. Names without an inbox pay
//! for nothing more.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use door::{
    Class, ConnectionId, KEEPS_AHEAD, KEEPS_UNTAKEN, Listener, ListenerId, NOBODY, Parcel, Spread, Taker, Took,
    WITHIN_HEADER,
};
use event::{Headers, Message, Pattern, Subject, decode_token, encode_token};
use journal::{Append, Purge, Read, ReadError, Start};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::shared::Shared;
use crate::codec::{self, Encoded, Publish, component, read};
use crate::counts::add;
use crate::limits::{
    INBOX_BACKLOGS_MAX, INBOX_IDS_MAX, INBOX_INSTANCES_MAX, INBOX_LINGER, INBOX_LINGER_MAX, INBOX_LOOK,
    INBOX_PAGE_BYTES, INBOX_PAGE_MESSAGES, INBOX_PENDING_BYTES_MAX, INBOX_RETRY, INBOX_TIDY,
};
use crate::session::Dropped;

/// What begins the subjects that inboxes record at.
pub const INBOX_PREFIX: &str = "slim-inbox.";
/// What begins the names of their streams.
const STREAM_PREFIX: &str = "SLIM_INBOX_";
/// Stands for any instance.
const ANY: &str = "any";
/// Stands before the segment in which a message came.
const WITHIN: char = '@';
/// Says that every member is to have a kept message.
const EVERY: &str = "slim-every";
/// Of a session's messages those that are worthless later: signs of life.
const HEARTBEAT: u32 = 17;
/// Subjects of one inbox read at a time.
const SUBJECTS_PAGE: usize = 4096;
/// Of the time, the share that looking at everything may take: one in so many.
const SHARE: u32 = 5;
/// How long a receiver that is pressed is left alone.
const NAP: Duration = Duration::from_millis(2);
/// The connection that inboxes listen by.
const CONNECTION: ConnectionId = 0x736c_696d_2069_6e62;

/// The stream of a name's inbox.
fn inbox_stream(components: [u64; 3]) -> String {
    let [first, second, third] = components;
    format!("{STREAM_PREFIX}{first:016x}_{second:016x}_{third:016x}")
}

/// The stream of the inbox of a name as people write it, `org/ns/app`, and what it captures; `None` where the text is no
/// such name.
pub fn inbox_of(name: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = name.split('/').collect();
    let [first, second, third] = parts.as_slice() else { return None };
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let components = [component(first), component(second), component(third)];
    let name = Encoded { components, id: None };
    Some((inbox_stream(components), format!("{INBOX_PREFIX}{name}.*")))
}

/// Where inboxes keep what is for the subjects of a pattern, so that a rule for these holds for those; `None`: no name is
/// among them.
pub fn inbox_pattern(pattern: &Pattern) -> Option<Pattern> {
    let mut tokens: Vec<&str> = pattern.as_str().split('.').collect();
    let first = tokens.first_mut()?;
    if *first != "slim" {
        return None;
    }
    *first = INBOX_PREFIX.trim_end_matches('.');
    // The last token is more than the instance.
    if tokens.len() >= 4 && !tokens.contains(&">") {
        tokens.truncate(4);
        tokens.push("*");
    }
    Pattern::parse(&tokens.join(".")).ok()
}

/// What is kept for a name's instance.
#[derive(Debug, Default)]
struct Backlog {
    /// Appends that are not answered.
    pending: usize,
    /// Appends that were, to tell whether any was since one looked.
    recorded: u64,
    /// What is kept: a session sends again what is not acknowledged. Forgotten with the last that is kept, since what
    /// was delivered may be needed again.
    ids: HashSet<Id>,
    /// Who listens before everybody else.
    ahead: Option<ListenerId>,
    /// Whether any of it came from another node.
    afar: bool,
    /// Nothing is kept any more: since when, and when the last came since.
    drained: Option<(Instant, Instant)>,
}

/// Tells a session's messages apart: who sends it, the session, its kind and its number.
type Id = (Encoded, u32, u32, u32);

/// What is kept.
#[derive(Default)]
struct Backlogs {
    /// By the subject it is recorded at.
    all: HashMap<Arc<str>, Backlog>,
    /// By name, of how many of its instances anything is.
    counts: HashMap<[u64; 3], usize>,
    /// Those to look at: something of them has changed.
    due: HashSet<Arc<str>>,
}

impl Backlogs {
    /// That of a subject, begun where there is none; `None`: there are too many.
    fn admit(&mut self, key: &Arc<str>, name: [u64; 3]) -> Option<&mut Backlog> {
        if !self.all.contains_key(key) {
            let count = self.counts.get(&name).copied().unwrap_or(0);
            if self.all.len() >= INBOX_BACKLOGS_MAX || count >= INBOX_INSTANCES_MAX {
                return None;
            }
        }
        Some(self.begin(key, name))
    }

    fn begin(&mut self, key: &Arc<str>, name: [u64; 3]) -> &mut Backlog {
        let counts = &mut self.counts;
        self.all.entry(Arc::clone(key)).or_insert_with(|| {
            *counts.entry(name).or_default() += 1;
            Backlog::default()
        })
    }

    /// Forgets one; who listens for it.
    fn end(&mut self, key: &str) -> Option<ListenerId> {
        let gone = self.all.remove(key)?;
        let name = stream_of(key).and_then(|stream| components_of(&stream));
        if let Some((name, count)) = name.and_then(|name| Some((name, self.counts.get_mut(&name)?))) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&name);
            }
        }
        gone.ahead
    }
}

/// Who listens for a name that has an inbox.
struct Held {
    untaken: ListenerId,
    /// Until it is known what was kept before this start: takes everything first.
    early: Option<ListenerId>,
}

#[derive(Default)]
struct State {
    backlogs: Mutex<Backlogs>,
    held: Mutex<HashMap<[u64; 3], Held>>,
    /// What was kept before this start is known.
    known: AtomicBool,
    /// Bytes of appends that are not answered.
    pending_bytes: AtomicUsize,
    /// The streams as they were last looked at.
    version: AtomicU64,
    /// Something was kept, or inboxes have changed.
    kept: Arc<Notify>,
}

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Inboxes(Arc<State>);

/// The end of all inboxes that the fabric holds.
struct Keeper(Weak<Shared>);

impl Taker for Keeper {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        let taken = self.0.upgrade().is_some_and(|shared| shared.inboxes.take(&shared, parcel));
        if taken { Took::Yes } else { Took::No }
    }

    fn is_pressed(&self) -> bool {
        let pending = |shared: Arc<Shared>| shared.inboxes.0.pending_bytes.load(Ordering::Relaxed);
        self.0.upgrade().is_some_and(|shared| pending(shared) > INBOX_PENDING_BYTES_MAX / 2)
    }
}

/// Where a message is kept that is for a name, and came in a segment.
fn subject_of(name: &Encoded, segment: Option<&str>) -> Option<Subject> {
    let any = if name.instance().is_none() { format!(".{ANY}") } else { String::new() };
    let within = segment.map(|segment| format!("{WITHIN}{}", encode_token(segment))).unwrap_or_default();
    Subject::parse(&format!("{INBOX_PREFIX}{name}{any}{within}")).ok()
}

/// Where what is kept at a subject is delivered, and the segment in which it came.
fn target(at: &str) -> Option<(String, Option<String>)> {
    let name = at.strip_prefix(INBOX_PREFIX)?;
    let (name, segment) = match name.split_once(WITHIN) {
        Some((name, segment)) => (name, Some(decode_token(segment)?)),
        None => (name, None),
    };
    let name = name.strip_suffix(ANY).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
    Some((format!("slim.{name}"), segment))
}

/// What a parcel from another node says of how it came: the segment, empty in the own domain. It is what the headers
/// begin with: what stands behind is the publisher's.
fn within(headers: &[u8]) -> Option<&str> {
    let rest = headers.strip_prefix(WITHIN_HEADER.as_bytes())?.strip_prefix(b": ")?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// The name that an inbox's stream is for.
fn components_of(stream: &str) -> Option<[u64; 3]> {
    let mut parts = stream.strip_prefix(STREAM_PREFIX)?.split('_').map(|part| u64::from_str_radix(part, 16).ok());
    let components = [parts.next()??, parts.next()??, parts.next()??];
    (parts.next().is_none() && inbox_stream(components) == stream).then_some(components)
}

impl Inboxes {
    /// Where there is an inbox of a name here, it listens from now on.
    pub(crate) fn ensure(&self, shared: &Arc<Shared>, name: &Encoded) {
        let captured = subject_of(name, None).and_then(|at| shared.port.captured_by(&at));
        if captured.is_some_and(|stream| *stream == *inbox_stream(name.components)) {
            self.listen(shared, name.components);
        }
    }

    /// Whether all that was kept before this start stands before what comes.
    fn is_known(&self) -> bool {
        self.0.known.load(Ordering::Acquire)
    }

    fn join(shared: &Arc<Shared>, queue: &str, patterns: Vec<Pattern>) -> ListenerId {
        let (queue, taker) = (Some(queue.into()), Arc::new(Keeper(Arc::downgrade(shared))));
        shared.port.fabric().join(Listener { patterns, queue, connection: CONNECTION, class: Class::Client, taker })
    }

    fn listen(&self, shared: &Arc<Shared>, components: [u64; 3]) {
        let mut held = self.0.held.lock();
        // Nodes that share a journal would each deliver the same.
        if held.contains_key(&components) || shared.stopping.is_cancelled() || shared.port.is_shared() {
            return;
        }
        let name = Encoded { components, id: None };
        let patterns = [format!("slim.{name}"), format!("slim.{name}.*")];
        let patterns: Vec<Pattern> = patterns.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        let early = (!self.is_known()).then(|| Self::join(shared, KEEPS_AHEAD, patterns.clone()));
        held.insert(components, Held { untaken: Self::join(shared, KEEPS_UNTAKEN, patterns), early });
    }

    /// What was kept before this start is known.
    fn knows(&self, shared: &Shared) {
        let mut held = self.0.held.lock();
        self.0.known.store(true, Ordering::Release);
        held.values_mut().filter_map(|held| held.early.take()).for_each(|id| shared.port.fabric().leave(id));
    }

    /// Takes up inboxes that are new, and lets go of those that are not there any more.
    async fn look(&self, shared: &Arc<Shared>) {
        let port = &shared.port;
        let version = port.catalogue_version().wrapping_add(port.journal().version()).wrapping_add(1);
        if self.0.version.swap(version, Ordering::AcqRel) == version {
            return;
        }
        let streams = port.journal().streams().await;
        let now: HashSet<[u64; 3]> = streams.iter().filter_map(|each| components_of(&each.config.name)).collect();
        now.iter().for_each(|components| self.listen(shared, *components));
        let mut gone = Vec::new();
        self.0.held.lock().retain(|components, held| {
            let stays = now.contains(components);
            if !stays {
                gone.extend([Some(held.untaken), held.early].into_iter().flatten());
            }
            stays
        });
        let mut backlogs = self.0.backlogs.lock();
        let captured = |key: &str| port.captured_by(&Subject::parse(key).ok()?);
        let there = |key: &str| captured(key).is_some_and(|stream| stream_of(key).as_deref() == Some(&*stream));
        let over: Vec<Arc<str>> = backlogs.all.keys().filter(|key| !there(key)).cloned().collect();
        gone.extend(over.iter().filter_map(|key| backlogs.end(key)));
        drop(backlogs);
        gone.into_iter().for_each(|id| port.fabric().leave(id));
    }

    /// Hands a message on, where its receiver has come and nothing is kept, or else keeps it; whether that could be.
    pub(crate) fn take(&self, shared: &Arc<Shared>, parcel: &Parcel<'_>) -> bool {
        let Ok(codec::Message::Publish(publish)) = read(parcel.payload) else {
            shared.totals.dropped(Dropped::Malformed);
            return false;
        };
        let name = publish.header.to.plain();
        let is_for = codec::subject(&name).is_some_and(|subject| subject.as_str() == parcel.subject);
        if !is_for || shared.port.is_closed(parcel.subject) {
            return false;
        }
        let within = within(parcel.headers);
        let segment = within.filter(|segment| !segment.is_empty());
        let Some(at) = subject_of(&name, segment) else { return false };
        self.pass(shared, parcel, &at, segment, publish.header.fanout != 1)
            || self.keep(shared, &publish, at, within.is_some())
    }

    /// Hands a message to its receiver, where nothing is kept for it; whether somebody took it.
    fn pass(
        &self,
        shared: &Arc<Shared>,
        parcel: &Parcel<'_>,
        at: &Subject,
        segment: Option<&str>,
        every: bool,
    ) -> bool {
        if !self.is_known() {
            return false;
        }
        match self.0.backlogs.lock().all.get_mut(at.as_str()).map(|backlog| &mut backlog.drained) {
            Some(Some((_, last))) => *last = Instant::now(),
            Some(None) => return false,
            None => {}
        }
        let fabric = shared.port.fabric();
        let way = fabric.way_within(parcel.subject, segment).spread(if every { Spread::Every } else { Spread::One });
        let parcel = Parcel::new(parcel.subject, parcel.payload);
        let (taken, refused) = way.offer(&parcel, NOBODY, &mut |taker| taker.wake());
        fabric.count(taken, refused);
        taken > 0
    }

    /// Keeps a message; whether it is going to be.
    fn keep(&self, shared: &Arc<Shared>, publish: &Publish<'_>, at: Subject, afar: bool) -> bool {
        let (state, said, size) = (Arc::clone(&self.0), publish.session, publish.raw.len());
        if said.message_type == HEARTBEAT {
            return true;
        }
        let every = publish.header.fanout != 1;
        let Ok(headers) = Headers::from_pairs(every.then_some((EVERY, "true"))) else { return false };
        if state.pending_bytes.fetch_add(size, Ordering::Relaxed) > INBOX_PENDING_BYTES_MAX {
            state.pending_bytes.fetch_sub(size, Ordering::Relaxed);
            return false;
        }
        let key: Arc<str> = at.as_str().into();
        let source = publish.header.source.encoded.unwrap_or(publish.header.to);
        let id: Id = (source, said.session, said.message_type, said.message);
        let mut backlogs = state.backlogs.lock();
        let again = backlogs.admit(&key, publish.header.to.components).map(|backlog| backlog.ids.contains(&id));
        let (Some(false), Some(backlog)) = (again, backlogs.all.get_mut(&key)) else {
            state.pending_bytes.fetch_sub(size, Ordering::Relaxed);
            return again.is_some();
        };
        if backlog.ids.len() < INBOX_IDS_MAX {
            backlog.ids.insert(id);
        }
        (backlog.pending, backlog.drained) = (backlog.pending + 1, None);
        backlog.afar |= afar;
        backlog.go_ahead(shared, &key);
        drop(backlogs);
        let message = Message { subject: at, reply: None, headers, payload: Bytes::copy_from_slice(publish.raw) };
        let totals = Arc::clone(&shared.totals);
        shared.port.journal().append(
            Append::new(message),
            Box::new(move |answer| {
                state.pending_bytes.fetch_sub(size, Ordering::Relaxed);
                let mut backlogs = state.backlogs.lock();
                if let Some(backlog) = backlogs.all.get_mut(&key) {
                    backlog.pending = backlog.pending.saturating_sub(1);
                    backlog.recorded += 1;
                    if answer.is_err() {
                        backlog.ids.remove(&id);
                    }
                }
                backlogs.due.insert(key);
                drop(backlogs);
                match answer {
                    Ok(_) => add(&totals.kept, 1),
                    Err(error) => {
                        warn!(%error, "an inbox could not keep a message");
                        totals.dropped(Dropped::Journal);
                    }
                }
                state.kept.notify_one();
            }),
        );
        true
    }
}

impl Backlog {
    /// Has everything that is for the same come here first.
    fn go_ahead(&mut self, shared: &Arc<Shared>, key: &str) {
        let pattern = target(key).and_then(|(to, _)| Pattern::parse(&to).ok());
        if let (None, Some(pattern)) = (self.ahead, pattern) {
            self.ahead = Some(Inboxes::join(shared, KEEPS_AHEAD, vec![pattern]));
        }
    }
}

/// Delivers what is kept, until the door closes.
pub(crate) async fn deliver(shared: Arc<Shared>) {
    let (state, joined) = (Arc::clone(&shared.inboxes.0), Arc::clone(&shared.joined));
    let hook = Arc::clone(&joined);
    shared.port.fabric().watch(Arc::new(move || hook.notify_one()));
    let hook = Arc::clone(&state.kept);
    shared.port.when_catalogue_changes(Arc::new(move || hook.notify_one()));
    // Everything is looked at when somebody comes, and not all the time.
    let (mut everything, mut rests_until, mut tidied) = (true, Instant::now(), Instant::now());
    loop {
        shared.inboxes.look(&shared).await;
        let all = everything && Instant::now() >= rests_until;
        let began = Instant::now();
        let mut again = sweep(&shared, &state, all).await;
        if all {
            everything = false;
            rests_until = Instant::now() + began.elapsed() * SHARE;
        } else if everything {
            let rest = rests_until.saturating_duration_since(Instant::now());
            again = Some(again.map_or(rest, |again| again.min(rest)));
        }
        if tidied.elapsed() >= INBOX_TIDY {
            tidy(&shared, &state).await;
            tidied = Instant::now();
        }
        tokio::select! {
            () = joined.notified() => everything = true,
            () = state.kept.notified() => {}
            () = tokio::time::sleep(again.unwrap_or(INBOX_LOOK)) => {}
            () = shared.stopping.cancelled() => break,
        }
    }
    let fabric = shared.port.fabric();
    let held: Vec<Held> = state.held.lock().drain().map(|(_, held)| held).collect();
    held.iter().flat_map(|held| [Some(held.untaken), held.early]).flatten().for_each(|id| fabric.leave(id));
    let ahead: Vec<ListenerId> = state.backlogs.lock().all.drain().filter_map(|(_, each)| each.ahead).collect();
    ahead.into_iter().for_each(|id| fabric.leave(id));
}

/// Looks at everything that is kept, or at what has changed; when it is to be looked at again though nobody says so.
async fn sweep(shared: &Arc<Shared>, state: &Arc<State>, all: bool) -> Option<Duration> {
    if shared.port.is_shared() {
        return None;
    }
    if !state.known.load(Ordering::Acquire) && !find(shared, state).await {
        return Some(INBOX_RETRY);
    }
    let keys: Vec<Arc<str>> = {
        let mut backlogs = state.backlogs.lock();
        let due = std::mem::take(&mut backlogs.due);
        if all { backlogs.all.keys().cloned().collect() } else { due.into_iter().collect() }
    };
    let mut again = None;
    for key in keys {
        let wait = match linger(shared, state, &key) {
            None => empty(shared, state, &key).await,
            Some(wait) => wait,
        };
        if wait.is_some() {
            state.backlogs.lock().due.insert(key);
        }
        again = [again, wait].into_iter().flatten().min();
    }
    again
}

/// The subjects at which inboxes keep anything, each with its name; `None`: they cannot be read now.
async fn subjects(shared: &Arc<Shared>) -> Option<Vec<(Arc<str>, [u64; 3])>> {
    let (journal, every) = (shared.port.journal(), Pattern::all());
    let mut found = Vec::new();
    for stream in journal.streams().await {
        let stream = stream.config.name;
        let Some(name) = components_of(&stream) else { continue };
        let mut after = None;
        loop {
            let page = match journal.subjects(&stream, &every, after, SUBJECTS_PAGE).await {
                Ok(page) => page,
                Err(ReadError::NotFound(_)) => break,
                Err(error) => {
                    debug!(%error, "an inbox cannot be read");
                    return None;
                }
            };
            found.extend(page.iter().map(|each| (Arc::from(each.subject.as_str()), name)));
            after = page.last().filter(|_| page.len() >= SUBJECTS_PAGE).map(|last| last.subject.clone());
            if after.is_none() {
                break;
            }
        }
    }
    Some(found)
}

/// Finds what was kept before this start; whether it could be read.
async fn find(shared: &Arc<Shared>, state: &Arc<State>) -> bool {
    let Some(found) = subjects(shared).await else { return false };
    for (key, name) in found {
        let mut backlogs = state.backlogs.lock();
        let backlog = backlogs.begin(&key, name);
        // Where it came from is not known any more.
        backlog.afar = true;
        backlog.go_ahead(shared, &key);
        backlogs.due.insert(key);
    }
    shared.inboxes.knows(shared);
    true
}

/// Forgets those of which nothing is kept any more: it became too old, or was removed.
async fn tidy(shared: &Arc<Shared>, state: &Arc<State>) {
    let idle = |backlog: &Backlog| backlog.pending == 0 && backlog.drained.is_none();
    let before: HashMap<Arc<str>, u64> = {
        let backlogs = state.backlogs.lock();
        let idle = backlogs.all.iter().filter(|(_, backlog)| idle(backlog));
        idle.map(|(key, backlog)| (Arc::clone(key), backlog.recorded)).collect()
    };
    if before.is_empty() {
        return;
    }
    let Some(found) = subjects(shared).await else { return };
    let found: HashSet<Arc<str>> = found.into_iter().map(|(key, _)| key).collect();
    for (key, recorded) in before.iter().filter(|(key, _)| !found.contains(*key)) {
        let mut backlogs = state.backlogs.lock();
        let same = backlogs.all.get(key).is_some_and(|backlog| idle(backlog) && backlog.recorded == *recorded);
        let ahead = if same { backlogs.end(key) } else { None };
        drop(backlogs);
        ahead.into_iter().for_each(|id| shared.port.fabric().leave(id));
    }
}

/// Of one for which nothing is kept any more: whether it still goes ahead, and when to look again. `None`: something is
/// kept.
fn linger(shared: &Shared, state: &State, key: &Arc<str>) -> Option<Option<Duration>> {
    let mut backlogs = state.backlogs.lock();
    let backlog = backlogs.all.get(key)?;
    let (since, last) = backlog.drained?;
    let left = INBOX_LINGER.saturating_sub(last.elapsed()).min(INBOX_LINGER_MAX.saturating_sub(since.elapsed()));
    if backlog.afar && !left.is_zero() {
        return Some(Some(left));
    }
    if let Some(id) = backlogs.end(key) {
        shared.port.fabric().leave(id);
    }
    Some(None)
}

/// The stream that records at a subject.
fn stream_of(at: &str) -> Option<String> {
    let mut tokens = at.strip_prefix(INBOX_PREFIX)?.split('.');
    let parts: Vec<&str> = tokens.by_ref().take(3).collect();
    (parts.len() == 3).then(|| format!("{STREAM_PREFIX}{}", parts.join("_")))
}

/// Forgets what is kept at a subject.
fn forget(shared: &Shared, state: &State, key: &str) {
    let ahead = state.backlogs.lock().end(key);
    if let Some(id) = ahead {
        shared.port.fabric().leave(id);
    }
}

/// Delivers what is kept at a subject, as far as somebody takes it; when to try again where somebody is there who has
/// no room now.
async fn empty(shared: &Arc<Shared>, state: &Arc<State>, key: &Arc<str>) -> Option<Duration> {
    let ((to, segment), stream, filter) = (target(key)?, stream_of(key)?, Pattern::parse(key).ok()?);
    let (port, fabric) = (&shared.port, shared.port.fabric());
    loop {
        if fabric.way_within(&to, segment.as_deref()).is_empty() {
            return None;
        }
        let recorded = state.backlogs.lock().all.get(key).map_or(0, |backlog| backlog.recorded);
        let read = Read {
            start: Start::Seq(1),
            filters: vec![filter.clone()],
            bytes: INBOX_PAGE_BYTES,
            ..Read::from(1, INBOX_PAGE_MESSAGES)
        };
        let page = match port.journal().read(&stream, read).await {
            Ok(page) => page,
            Err(ReadError::NotFound(_)) => {
                forget(shared, state, key);
                return None;
            }
            Err(error) => {
                debug!(%error, stream, "an inbox cannot be read");
                return Some(INBOX_RETRY);
            }
        };
        let mut taken = Vec::new();
        let mut done = None;
        for stored in &page.messages {
            if !offer(shared, (&to, segment.as_deref()), &stored.message, &mut taken) {
                break;
            }
            add(&shared.totals.inbox_delivered, 1);
            done = Some(stored.seq);
        }
        taken.iter().for_each(|taker| taker.wake());
        if let Some(last) = done {
            let purge = Purge { filter: Some(filter.clone()), before: Some(last + 1), keep: None };
            if let Err(error) = port.journal().purge(&stream, purge).await {
                warn!(%error, stream, "what an inbox delivered cannot be removed");
                return Some(INBOX_RETRY);
            }
        }
        while taken.iter().any(|taker| taker.is_pressed()) && !shared.stopping.is_cancelled() {
            tokio::time::sleep(NAP).await;
        }
        if done != page.messages.last().map(|last| last.seq) {
            return Some(INBOX_RETRY);
        }
        if page.messages.is_empty() && page.next > page.last {
            match finish(state, key, recorded) {
                Finished::Yes => return linger(shared, state, key).flatten(),
                // What is pending tells when it is there.
                Finished::Pending => return None,
                Finished::No => {}
            }
        }
    }
}

enum Finished {
    Yes,
    Pending,
    No,
}

/// Nothing is kept at a subject, unless something was recorded since.
fn finish(state: &State, key: &str, recorded: u64) -> Finished {
    let mut backlogs = state.backlogs.lock();
    match backlogs.all.get_mut(key) {
        Some(backlog) if backlog.pending > 0 => Finished::Pending,
        Some(backlog) if backlog.recorded != recorded => Finished::No,
        Some(backlog) => {
            let now = Instant::now();
            (backlog.drained, backlog.ids) = (Some((now, now)), HashSet::new());
            Finished::Yes
        }
        None => Finished::Pending,
    }
}

/// Offers a kept message; whether somebody took it, or it is of no use to anybody.
fn offer(
    shared: &Shared,
    (to, segment): (&str, Option<&str>),
    message: &Message,
    taken: &mut Vec<Arc<dyn Taker>>,
) -> bool {
    let every = message.headers.get(EVERY).is_some();
    let way = shared.port.fabric().way_within(to, segment);
    let way = way.spread(if every { Spread::Every } else { Spread::One });
    let parcel = Parcel::new(to, &message.payload);
    let (count, refused) = way.offer(&parcel, NOBODY, &mut |taker| taken.push(Arc::clone(taker)));
    shared.port.fabric().count(count, refused);
    count > 0
}

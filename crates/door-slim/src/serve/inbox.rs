//! The inbox: what is for a name whose owner is away is kept, and delivered in order when it comes.
//!
//! An inbox of a name is a stream of the journal, `SLIM_INBOX_<c0>_<c1>_<c2>`, which captures
//! `slim-inbox.<c0>.<c1>.<c2>.*`; the last token is the instance, or `any`. Its age is how long messages are kept. So
//! it is declared, listed and forgotten like any stream.
//!
//! # Invariants
//! - While anything is kept for a name's instance, what comes for it is kept too: nothing overtakes.
//! - A message is removed after somebody took it. Whoever is cut off just then may have lost it; nobody has it twice
//!   but after a crash between the two.
//!
//! # Cost
//! One append for each message, and one look-up for each name that a link publishes to. Names without an inbox pay
//! for nothing more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use door::{Class, NOBODY, Parcel, Port, Spread, Taker};
use event::{Headers, Message, Pattern, Subject};
use journal::{Append, Purge, Read, Start};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::shared::Shared;
use crate::codec::{Encoded, Publish, component};
use crate::counts::add;
use crate::limits::{INBOX_IDS_MAX, INBOX_PAGE_BYTES, INBOX_PAGE_MESSAGES, INBOX_SWEEP};
use crate::session::Dropped;

/// What begins the subjects that inboxes record at.
pub const INBOX_PREFIX: &str = "slim-inbox.";
/// What begins the names of their streams.
const STREAM_PREFIX: &str = "SLIM_INBOX_";
/// Stands for any instance.
const ANY: &str = "any";
/// Says that every member is to have a kept message.
const EVERY: &str = "slim-every";
/// Of a session's messages those that are worthless later: signs of life.
const HEARTBEAT: u32 = 17;
/// Subjects of one inbox looked at in one sweep.
const SUBJECTS_MAX: usize = 4096;
/// How long a receiver that is pressed is left alone.
const NAP: Duration = Duration::from_millis(2);

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
}

/// Tells a session's messages apart: who sends it, the session, its kind and its number.
type Id = (Encoded, u32, u32, u32);

#[derive(Default)]
struct State {
    /// By the subject it is recorded at.
    backlogs: Mutex<HashMap<Arc<str>, Backlog>>,
    /// What was kept before this start is known.
    known: AtomicBool,
    /// Something was kept.
    kept: Notify,
}

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Inboxes(Arc<State>);

/// The inbox of one name's instance.
pub(crate) struct Inbox {
    at: Subject,
    key: Arc<str>,
    state: Arc<State>,
}

impl Inboxes {
    /// The inbox of a name, where there is one.
    pub(crate) fn of(&self, port: &Port, name: &Encoded) -> Option<Inbox> {
        let at = subject_of(name)?;
        let stream = port.captured_by(&at)?;
        (*stream == *inbox_stream(name.components)).then(|| Inbox {
            key: at.as_str().into(),
            at,
            state: Arc::clone(&self.0),
        })
    }
}

fn subject_of(name: &Encoded) -> Option<Subject> {
    let any = if name.instance().is_none() { format!(".{ANY}") } else { String::new() };
    Subject::parse(&format!("{INBOX_PREFIX}{name}{any}")).ok()
}

/// Where what is kept at a subject is delivered.
fn target(at: &str) -> Option<String> {
    let name = at.strip_prefix(INBOX_PREFIX)?;
    let name = name.strip_suffix(ANY).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
    Some(format!("slim.{name}"))
}

impl Inbox {
    /// Whether what comes is to be kept, since something is.
    pub(crate) fn is_behind(&self) -> bool {
        !self.state.known.load(Ordering::Acquire) || self.state.backlogs.lock().contains_key(&self.key)
    }

    /// Keeps a message; whether it is going to be.
    pub(crate) fn keep(&self, shared: &Arc<Shared>, publish: &Publish<'_>, every: bool) -> bool {
        let said = publish.session;
        if said.message_type == HEARTBEAT {
            return true;
        }
        let Ok(headers) = Headers::from_pairs(every.then_some((EVERY, "true"))) else { return false };
        let payload = Bytes::copy_from_slice(publish.raw);
        let message = Message { subject: self.at.clone(), reply: None, headers, payload };
        let source = publish.header.source.encoded.unwrap_or(publish.header.to);
        let id: Id = (source, said.session, said.message_type, said.message);
        let mut backlogs = self.state.backlogs.lock();
        let backlog = backlogs.entry(Arc::clone(&self.key)).or_default();
        if backlog.ids.contains(&id) {
            return true;
        }
        if backlog.ids.len() < INBOX_IDS_MAX {
            backlog.ids.insert(id);
        }
        backlog.pending += 1;
        drop(backlogs);
        let (state, key, totals) = (Arc::clone(&self.state), Arc::clone(&self.key), Arc::clone(&shared.totals));
        shared.port.journal().append(
            Append::new(message),
            Box::new(move |answer| {
                if let Some(backlog) = state.backlogs.lock().get_mut(&key) {
                    backlog.pending = backlog.pending.saturating_sub(1);
                    backlog.recorded += 1;
                    if answer.is_err() {
                        backlog.ids.remove(&id);
                    }
                }
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

/// Delivers what is kept, until the door closes.
pub(crate) async fn deliver(shared: Arc<Shared>) {
    let state = Arc::clone(&shared.inboxes.0);
    let joined = Arc::clone(&shared.joined);
    let hook = Arc::clone(&joined);
    shared.port.fabric().watch(Arc::new(move || hook.notify_one()));
    loop {
        sweep(&shared, &state).await;
        tokio::select! {
            () = joined.notified() => {}
            () = state.kept.notified() => {}
            () = tokio::time::sleep(INBOX_SWEEP) => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// Looks at everything that is kept.
async fn sweep(shared: &Arc<Shared>, state: &Arc<State>) {
    let journal = shared.port.journal();
    let (known, every) = (state.known.load(Ordering::Acquire), Pattern::all());
    let keys: Vec<(String, Arc<str>)> = if known {
        let backlogs = state.backlogs.lock();
        backlogs.keys().filter_map(|key| Some((stream_of(key)?, Arc::clone(key)))).collect()
    } else {
        let mut keys = Vec::new();
        for stream in journal.streams().await.iter().filter(|each| each.config.name.starts_with(STREAM_PREFIX)) {
            match journal.subjects(&stream.config.name, &every, None, SUBJECTS_MAX).await {
                Ok(subjects) => {
                    let found = subjects.into_iter().map(|each| Arc::<str>::from(each.subject.as_str()));
                    keys.extend(found.map(|key| (stream.config.name.clone(), key)));
                }
                Err(error) => {
                    debug!(%error, "an inbox cannot be read");
                    return;
                }
            }
        }
        let mut backlogs = state.backlogs.lock();
        for (_, key) in &keys {
            backlogs.entry(Arc::clone(key)).or_default();
        }
        drop(backlogs);
        state.known.store(true, Ordering::Release);
        keys
    };
    for (stream, key) in keys {
        empty(shared, state, &stream, &key).await;
    }
}

/// The stream that records at a subject.
fn stream_of(at: &str) -> Option<String> {
    let mut tokens = at.strip_prefix(INBOX_PREFIX)?.split('.');
    let parts: Vec<&str> = tokens.by_ref().take(3).collect();
    (parts.len() == 3).then(|| format!("{STREAM_PREFIX}{}", parts.join("_")))
}

/// Delivers what is kept at a subject, as far as somebody takes it.
async fn empty(shared: &Arc<Shared>, state: &Arc<State>, stream: &str, key: &Arc<str>) {
    let (Some(to), Ok(filter)) = (target(key), Pattern::parse(key)) else { return };
    let (port, fabric) = (&shared.port, shared.port.fabric());
    loop {
        if fabric.way_from(&to, Class::Client).is_empty() {
            return;
        }
        let recorded = state.backlogs.lock().get(key).map_or(0, |backlog| backlog.recorded);
        let read = Read {
            start: Start::Seq(1),
            filters: vec![filter.clone()],
            bytes: INBOX_PAGE_BYTES,
            ..Read::from(1, INBOX_PAGE_MESSAGES)
        };
        let page = match port.journal().read(stream, read).await {
            Ok(page) => page,
            Err(error) => {
                debug!(%error, stream, "an inbox cannot be read");
                // The inbox is forgotten.
                state.backlogs.lock().remove(key);
                return;
            }
        };
        let mut taken = Vec::new();
        let mut done = None;
        for stored in &page.messages {
            if !offer(shared, &to, &stored.message, &mut taken) {
                break;
            }
            add(&shared.totals.inbox_delivered, 1);
            done = Some(stored.seq);
        }
        taken.iter().for_each(|taker| taker.wake());
        if let Some(last) = done {
            let purge = Purge { filter: Some(filter.clone()), before: Some(last + 1), keep: None };
            if let Err(error) = port.journal().purge(stream, purge).await {
                warn!(%error, stream, "what an inbox delivered cannot be removed");
                return;
            }
        }
        while taken.iter().any(|taker| taker.is_pressed()) && !shared.stopping.is_cancelled() {
            tokio::time::sleep(NAP).await;
        }
        if done != page.messages.last().map(|last| last.seq) {
            return;
        }
        if page.messages.is_empty() && page.next > page.last {
            let mut backlogs = state.backlogs.lock();
            if backlogs.get(key).is_some_and(|backlog| backlog.pending == 0 && backlog.recorded == recorded) {
                backlogs.remove(key);
                return;
            }
            // What is pending tells when it is there.
            if backlogs.get(key).is_none_or(|backlog| backlog.pending > 0) {
                return;
            }
        }
    }
}

/// Offers a kept message; whether somebody took it, or it is of no use to anybody.
fn offer(shared: &Shared, to: &str, message: &Message, taken: &mut Vec<Arc<dyn Taker>>) -> bool {
    let every = message.headers.get(EVERY).is_some();
    let way = shared.port.fabric().way_from(to, Class::Client);
    let way = way.spread(if every { Spread::Every } else { Spread::One });
    let parcel = Parcel::new(to, &message.payload);
    let (count, refused) = way.offer(&parcel, NOBODY, &mut |taker| taken.push(Arc::clone(taker)));
    shared.port.fabric().count(count, refused);
    count > 0
}

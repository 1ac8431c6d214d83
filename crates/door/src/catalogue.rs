//! The catalogue of services, as doors hold it: read, written, waited for.
//!
//! What it holds is a fold of the stream [`STREAM`], and the stream alone: what is written is judged against the
//! fold, recorded, and answered once it was folded again. So who writes and then reads finds it, and what another
//! door publishes to the stream is there just the same.
//!
//! # Invariants
//! - A write that was judged by what is not so any more is judged anew: each message names the position of its
//!   subject that it was judged by.
//! - No lock is held across an await. A reader copies out what it needs, and encodes afterwards.
//!
//! # Cost
//! A read takes a lock that all readers share. A fold takes it alone, for one page of messages.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use catalog::{Command, Judged, Need, Outcome, Reader, Refused, State, Touch, TxnResult, WasRead, Write};
use event::Moment;
use journal::limits::BATCH_MESSAGES_MAX;
use journal::{Append, AppendError, Receipt, Stored};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use crate::access::Principal;
use crate::fabric::NOBODY;
use crate::port::{Port, Published, refusal};
use crate::refused::{PublishError, Verb};
use crate::wakes::{Waiting, Wakes};

/// The stream that the catalogue is folded from.
pub const STREAM: &str = "CATALOG";

/// What it captures.
pub const PATTERN: &str = "catalog.>";

/// How often a write that lost a race is judged anew. Each loss is another's gain, so a few are enough.
const ATTEMPTS: usize = 16;

/// What came of a write.
#[derive(Debug, Clone)]
pub struct Written {
    /// The position of the last message that was recorded; of the catalogue, where nothing had to be.
    pub position: u64,
    /// What the command comes to.
    pub outcome: Outcome,
}

/// Why nothing was written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The command is not fit, as the catalogue stands.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// It is not allowed, or not recorded.
    #[error("{0}")]
    Publish(#[from] PublishError),
    /// Others wrote the same, again and again. Try again.
    #[error("others changed the same again and again; try again")]
    Contended,
    /// The catalogue is not folded yet, or the node stops. Try again.
    #[error("the catalogue is not ready; try again")]
    NotReady,
}

/// A sign of life that is not recorded: a check that says what it said before, a session that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sign {
    /// Of a check.
    Check {
        /// The node, in lower case.
        node: Arc<str>,
        /// The check.
        check: Arc<str>,
    },
    /// Of a session.
    Session(Arc<str>),
}

impl Sign {
    /// Of a check of a node.
    pub fn check(node: &str, check: &str) -> Sign {
        Sign::Check { node: node.to_lowercase().into(), check: check.into() }
    }

    /// What a command that was taken is a sign of. What a node finds out by itself (a check that it made, a lifetime
    /// that ran out) is none.
    fn of(command: &Command) -> Option<Sign> {
        match command {
            Command::SetCheck(told) if told.ttl => Some(Sign::check(&told.node, &told.check_id)),
            Command::SessionRenew { id } => Some(Sign::Session(id.as_str().into())),
            _ => None,
        }
    }

    /// Whether what it is of is still there.
    fn is_of_any(&self, state: &State) -> bool {
        match self {
            Sign::Check { node, check } => state.check(node, check).is_some(),
            Sign::Session(id) => state.session(id).is_some(),
        }
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Catalogue(Arc<Shared>);

struct Shared {
    port: Port,
    node: Arc<str>,
    datacenter: Arc<str>,
    state: RwLock<State>,
    wakes: Wakes<Touch>,
    /// Prefixes of keys that are waited for, and by how many.
    prefixes: Mutex<BTreeMap<Arc<str>, usize>>,
    folded: watch::Sender<u64>,
    ready: AtomicBool,
    unfit: AtomicU64,
    /// Locked by who looks at the state, never the other way round.
    signs: Mutex<HashMap<Sign, Moment>>,
}

/// Ends when something that it waits for has changed, or rights have.
pub struct Change {
    waiting: Waiting<Touch>,
    prefixes: Vec<Arc<str>>,
    of: Catalogue,
}

/// Nothing, before a stream is folded.
fn begun(datacenter: &str, port: &Port) -> State {
    let mut state = State::new(datacenter);
    state.begin(port.now());
    state
}

/// Those of some texts that a key begins with, the longest first. `last` gives the greatest of them up to a text.
///
/// One look-up for each that is found, and for each shorter beginning of the key that another of them parts from it
/// at: never more than the key has bytes, however many there are.
pub(crate) fn prefixes_of<'a>(key: &str, last: impl Fn(&str) -> Option<&'a Arc<str>>) -> Vec<&'a Arc<str>> {
    let (mut found, mut upto) = (Vec::new(), key);
    while let Some(near) = last(upto) {
        // What is between a beginning of the key and the key has that beginning too.
        let same = near.bytes().zip(upto.bytes()).take_while(|(one, other)| one == other).count();
        let mut end = same;
        if same == near.len() {
            found.push(near);
            let Some(shorter) = same.checked_sub(1) else { break };
            end = shorter;
        }
        upto = &key[..key.floor_char_boundary(end)];
    }
    found
}

impl Catalogue {
    /// An empty catalogue, which is not ready.
    pub fn new(port: Port, datacenter: &str, node: &str) -> Self {
        let catalogue = Catalogue(Arc::new(Shared {
            state: RwLock::new(begun(datacenter, &port)),
            port,
            node: node.into(),
            datacenter: datacenter.into(),
            wakes: Wakes::default(),
            prefixes: Mutex::default(),
            folded: watch::channel(0).0,
            ready: AtomicBool::new(false),
            unfit: AtomicU64::new(0),
            signs: Mutex::default(),
        }));
        let wakes = catalogue.0.wakes.clone();
        catalogue.0.port.when_access_changes(Arc::new(move || wakes.wake_all()));
        catalogue
    }

    /// Looks at what holds. Not for long: nothing is folded meanwhile.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.0.state.read())
    }

    /// Has something changed: judges it, records what that takes, and answers when it is there for every reader.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed then, but where the engine's servers know no atomic batches.
    pub async fn write(&self, who: &Principal, command: Command) -> Result<Written, WriteError> {
        if !self.is_ready() {
            return Err(WriteError::NotReady);
        }
        for _ in 0..ATTEMPTS {
            let now = self.0.port.now();
            let (judged, position) = self.read(|state| (self.judged(state, who, &command, now), state.position()));
            let judged = judged?;
            if let Some(sign) = Sign::of(&command) {
                self.0.signs.lock().insert(sign, now);
            }
            if judged.writes.is_empty() {
                return Ok(Written { position, outcome: judged.outcome });
            }
            match self.record(who, judged.writes, judged.atomic).await {
                Ok(receipt) => {
                    self.folded(receipt.seq).await?;
                    return Ok(Written { position: receipt.seq, outcome: judged.outcome });
                }
                Err(PublishError::Journal(
                    AppendError::LastSubjectSeq { found, .. } | AppendError::LastSeq { found, .. },
                )) => self.folded(found).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Contended)
    }

    /// Judges a command of who may do all that it needs.
    fn judged(&self, state: &State, who: &Principal, command: &Command, now: Moment) -> Result<Judged, WriteError> {
        if who.does_everything() {
            return Ok(state.judge(command, now)?);
        }
        for need in state.needs(command) {
            match need {
                Need::Publish(subject) => self.0.port.may_publish(who, &subject).map_err(PublishError::from)?,
                Need::Read(subject) if who.may_read(subject.as_str()) => {}
                Need::Read(subject) => {
                    return Err(PublishError::from(refusal(who, Verb::Read, subject.as_str())).into());
                }
            }
        }
        let mut judged = state.judge(command, now)?;
        if let Outcome::Txn(answer) = &mut judged.outcome {
            // A key that was set tells who holds it.
            let key = |result: &TxnResult| catalog::key_subject(&self.0.datacenter, &result.pair.key);
            answer.results.retain(|result| who.may_read(&key(result)));
        }
        Ok(judged)
    }

    /// Records messages, all or none; what is not `atomic`, as many at a time as a batch takes.
    async fn record(&self, who: &Principal, writes: Vec<Write>, atomic: bool) -> Result<Receipt, PublishError> {
        let mut left: Vec<Append> = writes.into_iter().map(Write::append).collect();
        while !atomic && left.len() > BATCH_MESSAGES_MAX {
            let rest = left.split_off(BATCH_MESSAGES_MAX);
            self.record_all(who, std::mem::replace(&mut left, rest)).await?;
        }
        self.record_all(who, left).await
    }

    async fn record_all(&self, who: &Principal, mut appends: Vec<Append>) -> Result<Receipt, PublishError> {
        let (sender, receiver) = oneshot::channel();
        // Whoever left does not want to know.
        let told = move |outcome| _ = sender.send(outcome);
        match (appends.len(), appends.pop()) {
            (1, Some(append)) => self.0.port.publish_then(who, append, move |outcome| {
                told(outcome.and_then(|published| match published {
                    Published::Recorded(receipt) => Ok(receipt),
                    Published::Delivered(_) => Err(AppendError::NotFound(STREAM.into()).into()),
                }));
            }),
            (_, last) => {
                appends.extend(last);
                self.0.port.publish_all_then(who, NOBODY, appends, move |outcome| {
                    told(outcome.map_err(|(_, error)| error));
                });
            }
        }
        let lost = || Err(AppendError::Closed("the journal gave the write up".into()).into());
        receiver.await.unwrap_or_else(|_| lost())
    }

    /// Waits for any of these to be touched by a fold, or for other rights to be in force.
    pub fn wait(&self, on: &[Touch]) -> Change {
        let prefixes: Vec<Arc<str>> = on.iter().filter_map(Touch::prefix).cloned().collect();
        if !prefixes.is_empty() {
            let mut waited = self.0.prefixes.lock();
            prefixes.iter().for_each(|prefix| *waited.entry(Arc::clone(prefix)).or_default() += 1);
        }
        Change { waiting: self.0.wakes.wait(on), prefixes, of: self.clone() }
    }

    /// Waits until what was recorded up to a position is folded.
    ///
    /// # Errors
    /// [`WriteError::NotReady`] where the node stops.
    pub async fn folded(&self, position: u64) -> Result<(), WriteError> {
        let mut folded = self.0.folded.subscribe();
        match folded.wait_for(|at| *at >= position).await {
            Ok(_) if self.is_ready() => Ok(()),
            _ => Err(WriteError::NotReady),
        }
    }

    /// What reads messages ahead of their fold, until it is [given back](Catalogue::end_reading).
    pub fn reader(&self) -> Reader {
        self.0.state.write().reader()
    }

    /// Takes back what read messages ahead.
    pub fn end_reading(&self, reader: Reader) {
        self.0.state.write().end_reading(reader);
    }

    /// Folds messages of the stream, and wakes who waits for what they touch. For who follows the stream.
    pub fn fold(&self, messages: &[Stored], upto: u64) {
        self.fold_read(messages.iter().map(|stored| (stored, WasRead::default())), upto);
    }

    /// The same, of messages with what was read of each.
    pub fn fold_read<'m>(&self, messages: impl IntoIterator<Item = (&'m Stored, WasRead)>, upto: u64) {
        let mut touched = Vec::new();
        let mut state = self.0.state.write();
        let fold = |(stored, read)| Some((stored, state.fold_read(stored, read, &mut touched).err()?));
        let mut unfit = messages.into_iter().filter_map(fold);
        let first = unfit.next();
        let more = unfit.count();
        drop(state);
        if let Some((stored, why)) = first {
            self.0.unfit.fetch_add(1 + more as u64, Ordering::Relaxed);
            let (seq, subject) = (stored.seq, stored.message.subject.as_str());
            tracing::warn!(seq, subject, %why, more, "not of the catalogue");
        }
        self.0.folded.send_if_modified(|at| std::mem::replace(at, upto.max(*at)) < upto);
        self.touch(&touched);
    }

    fn touch(&self, touched: &[Touch]) {
        self.0.wakes.wake(touched);
        let waited = self.0.prefixes.lock();
        if waited.is_empty() {
            return;
        }
        let keys = touched.iter().filter_map(Touch::key);
        let last = |upto: &str| {
            let upto = (Bound::Unbounded, Bound::Included(upto));
            waited.range::<str, _>(upto).next_back().map(|(found, _)| found)
        };
        let prefixes: Vec<Touch> =
            keys.flat_map(|key| prefixes_of(key, last)).map(|prefix| Touch::Keys(Arc::clone(prefix))).collect();
        drop(waited);
        self.0.wakes.wake(&prefixes);
    }

    /// Begins anew, with nothing: for who follows the stream, where that was made anew.
    pub fn forget(&self) {
        *self.0.state.write() = begun(&self.0.datacenter, &self.0.port);
        self.0.folded.send_replace(0);
        self.0.wakes.wake_all();
    }

    /// Says whether what was there at the start is folded.
    pub fn set_ready(&self, ready: bool) {
        if ready {
            self.0.state.write().settle();
        }
        self.0.ready.store(ready, Ordering::Release);
        // Who waits for a position looks again.
        self.0.folded.send_modify(|at| {
            if !ready {
                *at = u64::MAX
            }
        });
        self.0.wakes.wake_all();
    }

    /// Whether what was there at the start is folded.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// When a sign of life was last heard here, since the start.
    pub fn last_heard(&self, sign: &Sign) -> Option<Moment> {
        self.0.signs.lock().get(sign).copied()
    }

    /// Forgets the signs of what is gone.
    pub fn forget_signs_of_gone(&self) {
        self.read(|state| self.0.signs.lock().retain(|sign, _| sign.is_of_any(state)));
    }

    /// Whether a principal may read a service: all its instances, on every node.
    pub fn may_read(&self, who: &Principal, service: &str) -> bool {
        let all = || catalog::service_pattern(&self.0.datacenter, service);
        who.reads_everything() || all().is_some_and(|all| who.may_read_all(&all))
    }

    /// Messages of the stream that were not fit to be folded, since the start.
    pub fn unfit(&self) -> u64 {
        self.0.unfit.load(Ordering::Relaxed)
    }

    /// The datacenter's name.
    pub fn datacenter(&self) -> &Arc<str> {
        &self.0.datacenter
    }

    /// This node's name.
    pub fn node(&self) -> &Arc<str> {
        &self.0.node
    }

    /// The port that it writes through.
    pub fn port(&self) -> &Port {
        &self.0.port
    }

    /// How many different things are waited for.
    pub fn waited_for(&self) -> usize {
        self.0.wakes.len()
    }
}

impl Future for Change {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::pin::Pin::new(&mut self.waiting).poll(context)
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if self.prefixes.is_empty() {
            return;
        }
        let mut waited = self.of.0.prefixes.lock();
        for prefix in &self.prefixes {
            let Some(count) = waited.get_mut(prefix) else { continue };
            *count -= 1;
            if *count == 0 {
                waited.remove(prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::BTreeSet;

    fn check(prefixes: &[&str], key: &str) -> usize {
        let set: BTreeSet<Arc<str>> = prefixes.iter().map(|prefix| Arc::from(*prefix)).collect();
        let looks = Cell::new(0);
        let found = prefixes_of(key, |upto| {
            looks.set(looks.get() + 1);
            set.range::<str, _>((Bound::Unbounded, Bound::Included(upto))).next_back()
        });
        let mut expected: Vec<&Arc<str>> = set.iter().filter(|prefix| key.starts_with(&***prefix)).collect();
        expected.reverse();
        assert_eq!(found, expected, "{prefixes:?} {key}");
        looks.get()
    }

    #[test]
    fn all_that_a_key_begins_with_are_found() {
        check(&[], "a");
        check(&["", "a", "a/", "a/b", "a/bc", "b"], "a/b");
        check(&["", "a/b0", "a/b/c", "a/a", "a"], "a/b/d");
        check(&["é", "è", "éa", "\u{e8}\u{301}"], "éab");
        check(&["a", "aa", "aaa", "ab", "aab", "aaab"], "aaaa");
        check(&["x", "y"], "");
    }

    #[test]
    fn many_that_are_waited_for_are_not_all_looked_at() {
        let many: Vec<String> = (0..10_000).map(|place| format!("app/{place:05}/")).collect();
        let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
        many.extend(["", "app/"]);
        assert!(check(&many, "app/05000/key") <= 6);
        assert!(check(&many, "zzz") <= 3);
        assert!(check(&many, "app/99999/key") <= "app/99999/key".len());
    }
}

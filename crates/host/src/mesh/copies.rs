//! Streams of other nodes that are kept here.
//!
//! ```text
//!              a message comes        read, or made                a message, behind the one before
//!   nothing ──────────────────▶ loading ─────────────▶ ready ──┐ recorded with the stream's last position as condition
//!      ▲                         ▲   └──▶ refused ◀──────┤ ◀───┘
//!      │                         └───────────────────────┘ another wrote first: read anew
//!      └── some time after it was refused
//! ```
//!
//! # Invariants
//! - Kept is what somebody here asked for or accepts, by a `Mirror` of this node, and what nodes of the own domain bring.
//!   Nothing is made, and nothing remembered, of what is not.
//! - Only a stream that was made for it takes what is brought. It captures subjects of its own, where nobody publishes.
//! - A source is a domain, a stream and the moment in which that was made: what comes from another is never mixed in.
//! - Recorded once, in order, without a gap: a message is taken only behind the one that was sent before it, and recorded
//!   only if the stream's last position is still the one that was counted on, whoever else writes there. How far a stream
//!   came is read from its own last message, or from a mark beside it, whichever is further.
//! - Confirmed means recorded and marked, with the proof that the engine gives, and so is all before it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use event::{Headers, Message, Pattern, Subject, Transform};
use journal::limits::DEAD_STREAM;
use journal::{Append, AppendError, Expect, Journal, ReadError, Receipt, StreamConfig, StreamError, StreamInfo};
use link::mesh::Letter;
use mesh::names::NodeId;
use parking_lot::{Mutex, RwLock};
use plan::MirrorSpec;
use tokio::time::Instant;
use tracing::{info, warn};

use super::body::Body;
use super::custody::{Custody, Whereto};
use super::data::TELL_EVERY;
use super::kept::{Head, What};
use super::marks::{self, Mark};

/// The header that says where a mirrored message is from: `<domain>/<stream>/<position>`.
pub(super) const SOURCE_HEADER: &str = "Tidings-Source";

/// What a stream's metadata says that it is kept of: `<domain>/<stream>`.
pub(super) const SOURCE_KEY: &str = "mirror-of";
/// When that stream was made, in nanoseconds.
const BORN_KEY: &str = "mirror-of-born";

/// What begins the subjects that copies capture.
const SPACE: &str = "$MIRROR";

/// Names of streams that nodes make for themselves, and what begins such names.
const OWN_STREAMS: [&str; 5] = ["CATALOG", DEAD_STREAM, "DYNAMIC", "FEDERATION", "TIDINGS"];
/// See [`OWN_STREAMS`].
const OWN_STREAM_PREFIXES: [&str; 4] = ["FED_", "SLIM_INBOX_", "SLIM_ROOM_", "TIDINGS_"];

/// Streams that are kept for one domain, at most: whoever is let in could else make any number.
const COPIES_MAX: usize = 256;

/// How long a stream that could not be written to is left alone.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// A confirmation is sent at the latest after so many messages, and when none is under way any more.
const CONFIRM_EVERY: u64 = 64;

/// What is kept, in bytes and age, at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bounds {
    bytes_max: Option<u64>,
    age_max: Option<Duration>,
}

/// What a copy is of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    domain: String,
    stream: String,
    born: u64,
}

impl Source {
    fn name(&self) -> String {
        format!("{}/{}", self.domain, self.stream)
    }
}

/// How far a copy came.
#[derive(Debug, Clone, Copy)]
struct Reached {
    /// The position that was taken last; `None`: nothing that was recorded is left to tell.
    taken: Option<u64>,
    /// The position up to which all is recorded, and marked to be.
    recorded: Option<u64>,
    /// The copy's own last position, with what is under way.
    last: u64,
    /// When the copy was made, in nanoseconds.
    made: u64,
    /// The run that was last told to come again.
    again: Option<u64>,
}

enum State {
    Loading,
    Ready(Reached),
    Refused(String, Instant),
}

struct Copy {
    source: Source,
    state: State,
    /// When it was last looked whether it is still of that source.
    looked: Instant,
    /// What was begun before the copy was read anew says nothing any more.
    epoch: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Copies {
    journal: OnceLock<Arc<dyn Journal>>,
    declared: RwLock<Arc<BTreeMap<String, MirrorSpec>>>,
    /// By the name of the stream here.
    held: Mutex<BTreeMap<String, Copy>>,
    epochs: AtomicU64,
    told: Mutex<Option<Instant>>,
}

/// To whom the answer to a message is said.
#[derive(Clone)]
struct Back {
    body: Weak<Body>,
    to: Whereto,
    flow: String,
    run: u64,
}

impl Back {
    fn say(&self, what: What) {
        if let Some(body) = self.body.upgrade() {
            // Who cannot be reached finds that nothing is confirmed, and sends it again.
            let _away = Custody::say(&body, &self.to, &self.flow, self.run, what);
        }
    }
}

/// What a mirrored stream is called where it is kept.
pub(super) fn name_there(spec: &MirrorSpec) -> &str {
    if spec.stream_there.is_empty() { &spec.stream } else { &spec.stream_there }
}

/// Whether a stream is one that nodes make for themselves.
pub(super) fn is_own(stream: &str) -> bool {
    OWN_STREAMS.contains(&stream) || OWN_STREAM_PREFIXES.iter().any(|prefix| stream.starts_with(prefix))
}

impl Copies {
    pub(super) fn record_in(&self, journal: Arc<dyn Journal>) {
        let _kept = self.journal.set(journal);
    }

    pub(super) fn journal(&self) -> Option<Arc<dyn Journal>> {
        self.journal.get().cloned()
    }

    /// What is declared at this node, from now on.
    pub(super) fn declare(&self, declared: &BTreeMap<String, MirrorSpec>) {
        let mut known = self.declared.write();
        if **known == *declared {
            return;
        }
        *known = Arc::new(declared.clone());
        drop(known);
        // What was refused may be taken now, and bounds may be others.
        self.held.lock().retain(|_, copy| matches!(copy.state, State::Loading));
    }

    /// The position of its source up to which a copy has all; `None`: that was not read yet.
    pub(super) fn reached(&self, into: &str) -> Option<u64> {
        match self.held.lock().get(into)?.state {
            State::Ready(reached) => reached.recorded,
            State::Loading | State::Refused(..) => None,
        }
    }

    /// Whether a stream may be kept here, and how much of it.
    fn consent(&self, own: &NodeId, origin: &NodeId, stream: &str, into: &str) -> Result<Bounds, String> {
        if is_own(into) {
            return Err(format!("'{into}' is a name of streams that nodes make for themselves"));
        }
        let whom = |text: &str| text == "*" || Whereto::parse(text).is_some_and(|meant| meant.means(origin));
        let takes = |spec: &&MirrorSpec| match spec.from.is_empty() {
            false => whom(&spec.from) && spec.stream == stream && name_there(spec) == into,
            true => spec.accept.iter().any(|text| whom(text)) && (spec.stream == "*" || spec.stream == into),
        };
        let declared = Arc::clone(&self.declared.read());
        // The one that names the stream counts before the one that takes any.
        let found = declared.values().filter(takes).min_by_key(|spec| spec.stream == "*");
        match found {
            Some(spec) => Ok(Bounds { bytes_max: spec.bytes_max, age_max: spec.age_max }),
            None if origin.domain == own.domain => Ok(Bounds::default()),
            None => Err(format!(
                "nobody at {own} accepts it: declare there a Mirror with stream: {into} and accept: [{}]",
                origin.domain
            )),
        }
    }

    /// A message came that is to be kept here.
    pub(super) fn take(self: &Arc<Self>, body: &Arc<Body>, origin: &NodeId, head: &Head<'_>, letter: &Letter<'_>) {
        let (flow, run) = (head.flow.to_owned(), head.run);
        let back = Back { body: Arc::downgrade(body), to: Whereto::of(origin), flow, run };
        let Some(journal) = self.journal.get() else {
            return back.say(What::Refused("this node keeps nothing".to_owned()));
        };
        let bounds = match self.consent(&body.id, origin, head.stream, head.into) {
            Ok(bounds) => bounds,
            Err(why) => return back.say(What::Refused(self.told(origin, head.into, why))),
        };
        let (domain, stream) = (origin.domain.to_string(), head.stream.to_owned());
        let source = Source { domain, stream, born: head.born };
        match self.next(&source, head, letter, journal.relates()) {
            Next::Nothing => {}
            Next::Say(what) => back.say(what),
            Next::Mixed { why, look } => {
                if let Some(epoch) = look {
                    tokio::spawn(Arc::clone(self).look(Arc::clone(journal), head.into.to_owned(), epoch));
                }
                back.say(What::Refused(why));
            }
            Next::Load(epoch) => self.load(journal, head.into.to_owned(), source, bounds, epoch, back),
            Next::Append(append, epoch) => {
                let (copies, into, position) = (Arc::downgrade(self), head.into.to_owned(), head.position);
                let done = move |result: Result<Receipt, AppendError>| {
                    if let Some(copies) = copies.upgrade() {
                        copies.recorded(&into, epoch, position, result, &back);
                    }
                };
                journal.append(*append, Box::new(done));
            }
        }
    }

    /// Tells the log, once a while, that something is refused.
    fn told(&self, origin: &NodeId, into: &str, why: String) -> String {
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            warn!(from = %origin, stream = into, why, "what another node brings is not kept");
        }
        why
    }

    /// What is to be done with a message.
    fn next(&self, source: &Source, head: &Head<'_>, letter: &Letter<'_>, relates: bool) -> Next {
        let mut held = self.held.lock();
        let (state, epoch) = match held.get_mut(head.into) {
            Some(Copy { state: State::Refused(_, since), .. }) if since.elapsed() >= REFUSED_FOR => (None, 0),
            Some(copy) if copy.source != *source => {
                let why = mixed(head.into, source, &copy.source);
                let look = copy.looked.elapsed() >= REFUSED_FOR;
                if look {
                    copy.looked = Instant::now();
                }
                return Next::Mixed { why, look: look.then_some(copy.epoch) };
            }
            Some(copy) => (Some(&mut copy.state), copy.epoch),
            None => (None, 0),
        };
        let reached = match state {
            Some(State::Loading) => return Next::Nothing,
            Some(State::Refused(why, _)) => return Next::Say(What::Refused(why.clone())),
            Some(State::Ready(reached)) => reached,
            None => {
                drop(held);
                return self.begin(source, head.into);
            }
        };
        if reached.taken.is_some_and(|taken| head.position <= taken) {
            return Next::Say(What::Confirmed(reached.recorded.unwrap_or(0)));
        }
        // A place that nothing is left to tell is where a run begins that the sender began since: what it took for
        // confirmed is. Of a run from its middle on nothing says what is recorded.
        if reached.taken.is_none() && head.previous == head.floor {
            (reached.taken, reached.recorded) = (Some(head.floor), Some(head.floor));
        }
        if reached.taken.is_none_or(|taken| head.previous > taken) {
            let said = reached.again.replace(head.run) == Some(head.run);
            return if said { Next::Nothing } else { Next::Say(What::Again(reached.recorded)) };
        }
        match append(source, head, letter, reached.last, relates) {
            Ok(append) => {
                reached.taken = Some(head.position);
                reached.last += 1;
                Next::Append(Box::new(append), epoch)
            }
            Err(why) => Next::Say(What::Refused(format!("the message {} cannot be kept: {why}", head.position))),
        }
    }

    /// Forgets a copy that is not there any more, or is of another source by now.
    async fn look(self: Arc<Self>, journal: Arc<dyn Journal>, into: String, epoch: u64) {
        let found = match journal.stream_info(&into).await {
            Ok(info) => Some(info),
            Err(StreamError::NotFound(_)) => None,
            Err(_) => return,
        };
        let mut held = self.held.lock();
        let of = |copy: &Copy, info: &StreamInfo| {
            let metadata = &info.config.metadata;
            metadata.get(SOURCE_KEY) == Some(&copy.source.name())
                && metadata.get(BORN_KEY) == Some(&copy.source.born.to_string())
        };
        let gone = |copy: &&Copy| copy.epoch == epoch && !found.as_ref().is_some_and(|info| of(copy, info));
        if held.get(&into).filter(gone).is_some() {
            held.remove(&into);
        }
    }

    /// Begins to read how far a copy came.
    fn begin(&self, source: &Source, into: &str) -> Next {
        let mut held = self.held.lock();
        let of_domain = |copy: &Copy| copy.source.domain == source.domain;
        if !held.contains_key(into) && held.values().filter(|copy| of_domain(copy)).count() >= COPIES_MAX {
            held.retain(|_, copy| !of_domain(copy) || !matches!(copy.state, State::Refused(..)));
            if held.values().filter(|copy| of_domain(copy)).count() >= COPIES_MAX {
                return Next::Say(What::Refused(too_many(&source.domain)));
            }
        }
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
        let copy = Copy { source: source.clone(), state: State::Loading, looked: Instant::now(), epoch };
        held.insert(into.to_owned(), copy);
        Next::Load(epoch)
    }

    fn load(
        self: &Arc<Self>,
        journal: &Arc<dyn Journal>,
        into: String,
        source: Source,
        bounds: Bounds,
        epoch: u64,
        back: Back,
    ) {
        let (copies, journal) = (Arc::clone(self), Arc::clone(journal));
        tokio::spawn(async move {
            let found = come_to(&*journal, &source, &into, bounds).await;
            let (state, said) = match found {
                Ok((taken, last, made)) => {
                    let again = Some(back.run);
                    (State::Ready(Reached { taken, recorded: taken, last, made, again }), What::Again(taken))
                }
                Err(why) => {
                    let why = copies.why(&source, &into, why);
                    (State::Refused(why.clone(), Instant::now()), What::Refused(why))
                }
            };
            let mut held = copies.held.lock();
            let Some(copy) = held.get_mut(&into).filter(|copy| copy.epoch == epoch) else { return };
            copy.state = state;
            drop(held);
            back.say(said);
        });
    }

    fn why(&self, source: &Source, into: &str, why: String) -> String {
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            warn!(stream = into, from = source.name(), why, "a stream of another node is not kept here");
        }
        why
    }

    /// A message is recorded, or could not be.
    fn recorded(
        self: &Arc<Self>,
        into: &str,
        epoch: u64,
        position: u64,
        result: Result<Receipt, AppendError>,
        back: &Back,
    ) {
        let mut held = self.held.lock();
        let Some(copy) = held.get_mut(into).filter(|copy| copy.epoch == epoch) else { return };
        let State::Ready(reached) = &mut copy.state else { return };
        let why = match result {
            Ok(receipt) => {
                let due = reached.taken == Some(position) || receipt.seq.is_multiple_of(CONFIRM_EVERY);
                let mark = Mark { made: reached.made, position, at: receipt.seq };
                drop(held);
                if due {
                    self.mark(into, epoch, mark, back);
                }
                return;
            }
            // Another wrote there: what there is now is read anew with the next that comes.
            Err(AppendError::LastSeq { .. }) => {
                held.remove(into);
                drop(held);
                return back.say(What::Again(None));
            }
            Err(error) => error.to_string(),
        };
        drop(held);
        self.refuse(into, epoch, why, back);
    }

    /// Marks how far a copy came, and confirms it then.
    fn mark(self: &Arc<Self>, into: &str, epoch: u64, mark: Mark, back: &Back) {
        let Some(journal) = self.journal.get() else { return };
        let (copies, name, back) = (Arc::downgrade(self), into.to_owned(), back.clone());
        marks::write(&**journal, into, mark, move |written| {
            let Some(copies) = copies.upgrade() else { return };
            if let Err(why) = written {
                return copies.refuse(&name, epoch, why, &back);
            }
            let mut held = copies.held.lock();
            let Some(copy) = held.get_mut(&name).filter(|copy| copy.epoch == epoch) else { return };
            let State::Ready(reached) = &mut copy.state else { return };
            reached.recorded = reached.recorded.max(Some(mark.position));
            drop(held);
            back.say(What::Confirmed(mark.position));
        });
    }

    /// A copy could not be written to: it is left alone for some time.
    fn refuse(&self, into: &str, epoch: u64, why: String, back: &Back) {
        let mut held = self.held.lock();
        let Some(copy) = held.get_mut(into).filter(|copy| copy.epoch == epoch) else { return };
        copy.state = State::Refused(why.clone(), Instant::now());
        copy.epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
        let source = copy.source.clone();
        drop(held);
        back.say(What::Refused(self.why(&source, into, why)));
    }
}

enum Next {
    Nothing,
    Say(What),
    /// The copy is of another source; by this epoch it is to be looked whether it still is.
    Mixed {
        why: String,
        look: Option<u64>,
    },
    Load(u64),
    Append(Box<Append>, u64),
}

fn too_many(domain: &str) -> String {
    format!("{COPIES_MAX} streams are kept here for the domain {domain}, and no more")
}

fn mixed(into: &str, source: &Source, other: &Source) -> String {
    if source.name() == other.name() {
        return format!(
            "'{}' is not the stream that '{into}' was begun with: it was made anew. Delete '{into}', or name another",
            source.name()
        );
    }
    format!("'{into}' is kept of {}, not of {}: name another", other.name(), source.name())
}

/// Whether a header is the one that says where a mirrored message is from.
fn is_source(name: &str) -> bool {
    name.trim().eq_ignore_ascii_case(SOURCE_HEADER)
}

/// The message as it is recorded behind the copy's last position. Where the engine brings messages to streams by their
/// subjects, it goes by one that the copy alone captures, and is given back its own there.
fn append(source: &Source, head: &Head<'_>, letter: &Letter<'_>, last: u64, relates: bool) -> Result<Append, String> {
    let headers = match letter.headers {
        [] => Headers::EMPTY,
        block => Headers::from_block(Bytes::copy_from_slice(block)).map_err(|error| error.to_string())?,
    };
    let from = format!("{}/{}", source.name(), head.position);
    // Whoever publishes may set it, and a message of a copy has it: how far this copy came is read from its own alone.
    let others = headers.iter().filter(|(name, _)| !is_source(name));
    let headers = Headers::from_pairs(others.chain([(SOURCE_HEADER, from.as_str())]));
    let headers = headers.map_err(|error| error.to_string())?;
    let subject = match relates {
        true => Subject::parse(&format!("{SPACE}.{}.{}", head.into, letter.subject)),
        false => Subject::parse(letter.subject),
    };
    let subject = subject.map_err(|error| error.to_string())?;
    let message = Message { subject, reply: None, headers, payload: Bytes::copy_from_slice(letter.payload) };
    let id = format!("{}/{}/{}", source.name(), source.born, head.position);
    let expect = Expect { stream: Some(head.into.to_owned()), last: Some(last), ..Expect::default() };
    Ok(Append { into: Some(head.into.to_owned()), id: Some(id.into()), expect, ..Append::new(message) })
}

/// The declaration of a copy.
fn declaration(source: &Source, into: &str, bounds: Bounds) -> Result<StreamConfig, String> {
    let space = format!("{SPACE}.{into}.>");
    let pattern = Pattern::parse(&space).map_err(|error| error.to_string())?;
    let mut config = StreamConfig::new(into, [pattern]);
    config.transform = Some(Transform::new(&space, ">").map_err(|error| error.to_string())?);
    config.description = format!("Kept of another domain: {}", source.name());
    config.metadata.insert(SOURCE_KEY.to_owned(), source.name());
    config.metadata.insert(BORN_KEY.to_owned(), source.born.to_string());
    bound(&mut config, bounds);
    Ok(config)
}

/// Bounds as declared; where nothing is, those that somebody gave the stream stay.
fn bound(config: &mut StreamConfig, bounds: Bounds) {
    config.bytes_max = bounds.bytes_max.or(config.bytes_max);
    if let Some(age) = bounds.age_max {
        config.age_max = Some(age);
        config.duplicate_window = config.duplicate_window.min(age);
    }
}

/// The position up to which a copy has what it is to have, its own last one, and when it was made. It is made where it is
/// not there.
async fn come_to(
    journal: &dyn Journal,
    source: &Source,
    into: &str,
    bounds: Bounds,
) -> Result<(Option<u64>, u64, u64), String> {
    let info = match journal.stream_info(into).await {
        Ok(info) => info,
        Err(StreamError::NotFound(_)) => {
            let begin = format!("{}/", source.domain);
            let of_domain =
                |info: &&StreamInfo| info.config.metadata.get(SOURCE_KEY).is_some_and(|of| of.starts_with(&begin));
            if journal.streams().await.iter().filter(of_domain).count() >= COPIES_MAX {
                return Err(too_many(&source.domain));
            }
            let made = journal.stream_create(declaration(source, into, bounds)?).await;
            let made = made.map_err(|error| error.to_string())?;
            info!(stream = into, from = source.name(), "a stream is made to keep another's");
            made
        }
        Err(error) => return Err(error.to_string()),
    };
    let metadata = |key: &str| info.config.metadata.get(key).cloned().unwrap_or_default();
    let name = source.name();
    if metadata(SOURCE_KEY) != name {
        return Err(format!("a stream '{into}' is there already, and not to keep {name}: name another"));
    }
    if metadata(BORN_KEY) != source.born.to_string() {
        return Err(mixed(into, source, source));
    }
    let mut config = info.config.clone();
    bound(&mut config, bounds);
    if config != info.config {
        journal.stream_update(config).await.map_err(|error| error.to_string())?;
    }
    let (said, last) = said_last(journal, into, &name, info.state.last).await?;
    let marked = marks::read(journal, into, &info).await?.map(|mark| mark.position);
    let (taken, made) = (said.max(marked), info.created.nanos());
    if let Some(position) = taken.filter(|taken| *taken > marked.unwrap_or(0)) {
        marks::written(journal, into, Mark { made, position, at: last }).await?;
    }
    Ok((taken, last, made))
}

/// The position that a copy's last message is from, as far as there is one to tell, and the copy's own last one.
async fn said_last(journal: &dyn Journal, into: &str, name: &str, last: u64) -> Result<(Option<u64>, u64), String> {
    match journal.last(into, &Pattern::all()).await {
        Ok(stored) => {
            // The last counts: it is written at the end.
            let value = stored.message.headers.iter().filter(|(name, _)| is_source(name)).last();
            let value = value.map(|(_, value)| value).unwrap_or_default();
            let position = value.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')?.parse().ok());
            let position = position.ok_or_else(|| format!("the last message of '{into}' is not from {name}"))?;
            Ok((Some(position), stored.seq.max(last)))
        }
        // What was there is gone by age, or was purged: only the sender knows what was confirmed.
        Err(ReadError::NoMessage) if last > 0 => Ok((None, last)),
        Err(ReadError::NoMessage) => Ok((Some(0), 0)),
        Err(error) => Err(error.to_string()),
    }
}

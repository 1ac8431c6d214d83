//! The one place through which every door asks.
//!
//! # What a principal may do
//! - **Publish** to a subject that one of its publish patterns matches, but for those that only the node writes at.
//! - **Read** a stream or a consumer where what could be delivered lies within its read patterns: it
//!   names filters that do, or the stream's own subjects do. A read that names no filters is then
//!   narrowed to the stream's subjects, so that messages captured under older declarations stay
//!   hidden.
//! - **Administer** a stream (create, change, delete, purge) where it is `admin`, or where its
//!   publish patterns cover all subjects of the stream, before and after. Administer a consumer
//!   where it is `admin`, or may read what the consumer delivers.
//! - **See** a stream's declaration where any of its patterns touches one of the stream's subjects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use event::{Message, Moment, Pattern, Subject};
use journal::limits::FETCH_MESSAGES_MAX;
use journal::{
    Ack, AckError, AckToken, Append, AppendError, ConsumerConfig, ConsumerError, ConsumerInfo, Expect, Fetch,
    FetchError, Health, Journal, Page, Purge, Read, ReadError, Receipt, Stored, StreamConfig, StreamError, StreamInfo,
    SubjectState,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::access::{Access, NameRule, Principal, Unauthenticated};
use crate::check::{Check, Unfit};
use crate::deliveries::Deliveries;
use crate::fabric::{ConnectionId, Fabric, Listener, ListenerId, NOBODY, Parcel, Quiet, Way};
use crate::limits::Limits;
use crate::refused::{NotAllowed, PublishError, Refused, Verb};
use crate::subscription::Subscription;

/// What begins the subjects that the node records its resources at. Nobody publishes there: resources
/// are declared, and judged, before they are recorded.
pub const RESOURCES_PREFIX: &str = "tidings.resources.";

/// What begins the subjects that only the node writes at: resources, what became of facts, copies and inboxes.
const OWN_PREFIXES: [&str; 6] =
    [RESOURCES_PREFIX, "tidings.federation.", "tidings.dynamic.", "tidings.mesh.", "$MIRROR.", INBOX_PREFIX];

/// Whether only the node itself publishes to a subject.
pub fn is_own(subject: &str) -> bool {
    OWN_PREFIXES.iter().any(|prefix| subject.starts_with(prefix))
}

/// What begins the subjects that inboxes record at.
const INBOX_PREFIX: &str = "slim-inbox.";

/// What became of a published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It was recorded.
    Recorded(Receipt),
    /// No stream captures it; so many subscribers took it, and nobody keeps it.
    Delivered(u64),
}

/// What any client may ask. Cheap to clone.
#[derive(Clone)]
pub struct Port(Arc<Shared>);

struct Shared {
    journal: Arc<dyn Journal>,
    fabric: Arc<dyn Fabric>,
    /// The tokens within the rules.
    access: ArcSwap<Access>,
    /// Both apart, so that one can be replaced without the other.
    declared: Mutex<(Access, Vec<NameRule>)>,
    access_version: AtomicU64,
    access_hooks: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
    catalogue_hooks: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
    /// Other nodes work on the same journal.
    shared: AtomicBool,
    check: ArcSwapOption<Arc<dyn Check>>,
    limits: Limits,
    clock: Box<dyn Fn() -> Moment + Send + Sync>,
    in_flight: Arc<AtomicUsize>,
    catalogue: AtomicU64,
}

/// Bytes that an append in flight takes besides its message, about.
const APPEND_BYTES_BESIDES: usize = 128;

/// A share of the bytes in flight, given back when dropped.
pub(crate) struct Room {
    in_flight: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn system_clock() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Moment::EPOCH.after(since)
}

impl Port {
    /// A port to a journal and a fabric.
    pub fn new(journal: Arc<dyn Journal>, fabric: Arc<dyn Fabric>, access: Access, limits: Limits) -> Self {
        Port::with_clock(journal, fabric, access, limits, Box::new(system_clock))
    }

    /// As [`Port::new`], with a clock of the caller's.
    pub fn with_clock(
        journal: Arc<dyn Journal>,
        fabric: Arc<dyn Fabric>,
        access: Access,
        limits: Limits,
        clock: Box<dyn Fn() -> Moment + Send + Sync>,
    ) -> Self {
        let declared = Mutex::new((access.clone(), Vec::new()));
        let (access, check) = (ArcSwap::from_pointee(access), ArcSwapOption::empty());
        let (in_flight, catalogue) = (Arc::new(AtomicUsize::new(0)), AtomicU64::new(0));
        let (access_version, access_hooks, catalogue_hooks) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Port(Arc::new(Shared {
            journal,
            fabric,
            access,
            declared,
            access_version,
            access_hooks,
            check,
            limits,
            clock,
            in_flight,
            catalogue,
            catalogue_hooks,
            shared: AtomicBool::new(false),
        }))
    }

    /// A port that is open to anyone, without live subscribers.
    pub fn open(journal: Arc<dyn Journal>) -> Self {
        Port::new(journal, Arc::new(Quiet), Access::open(), Limits::default())
    }

    /// Puts other tokens in force, for every request that follows.
    pub fn set_access(&self, access: Access) {
        self.declare_access(|declared| declared.0 = access);
    }

    /// Puts other rules of names in force, for every request that follows.
    pub fn set_name_rules(&self, rules: Vec<NameRule>) {
        if self.0.declared.lock().1 != rules {
            self.declare_access(|declared| declared.1 = rules);
        }
    }

    /// What the rules of names leave of a principal that a door knows by itself.
    pub fn within_name_rules(&self, who: &Principal) -> Principal {
        who.within(&self.0.declared.lock().1)
    }

    /// Says that other nodes work on the same journal: what one node alone can do is refused from now on.
    pub fn set_shared(&self) {
        self.0.shared.store(true, Ordering::Release);
    }

    /// Whether other nodes work on the same journal.
    pub fn is_shared(&self) -> bool {
        self.0.shared.load(Ordering::Acquire)
    }

    /// Whether the rules of names let nobody at all read a subject here.
    pub fn is_closed(&self, subject: &str) -> bool {
        let nobody = |rule: &&NameRule| rule.subscribe.as_ref().is_some_and(Vec::is_empty);
        let declared = self.0.declared.lock();
        declared.1.iter().filter(nobody).any(|rule| rule.subjects.iter().any(|pattern| pattern.matches(subject)))
    }

    fn declare_access(&self, change: impl FnOnce(&mut (Access, Vec<NameRule>))) {
        let mut declared = self.0.declared.lock();
        change(&mut declared);
        self.0.access.store(Arc::new(declared.0.within(&declared.1)));
        drop(declared);
        self.0.access_version.fetch_add(1, Ordering::Release);
        let hooks = self.0.access_hooks.lock().clone();
        hooks.iter().for_each(|hook| hook());
    }

    /// Grows whenever other tokens are put in force: who answered a principal for long asks again. Costs one load.
    pub fn access_version(&self) -> u64 {
        self.0.access_version.load(Ordering::Acquire)
    }

    /// Has a hook called whenever other tokens are put in force, for as long as the port lives; it must not block.
    pub fn when_access_changes(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        self.0.access_hooks.lock().push(hook);
    }

    /// Has every message that is published from now on judged; `None`: takes them unseen, which costs
    /// one load for each. Who keeps what [`Port::is_judged`] said asks again: the catalogue's version grows.
    pub fn set_check(&self, check: Option<Arc<dyn Check>>) {
        self.0.check.store(check.map(Arc::new));
        self.catalogue_changed();
    }

    /// Whether messages of a subject are judged on entry: for doors that deliver by themselves what no
    /// stream captures. They call [`Port::fit`] for such a message.
    pub fn is_judged(&self, subject: &Subject) -> bool {
        self.0.check.load().as_ref().is_some_and(|check| check.is_bound(subject.as_str()))
    }

    /// Judges a message on entry, for doors that record or deliver other than by publishing here. May
    /// mark it by headers.
    ///
    /// # Errors
    /// [`Unfit`] naming the schema and the field.
    pub fn fit(&self, message: &mut Message) -> Result<(), Unfit> {
        match &*self.0.check.load() {
            None => Ok(()),
            Some(check) => check.check(message),
        }
    }

    /// Whether anyone may do everything.
    pub fn is_open(&self) -> bool {
        self.0.access.load().is_open()
    }

    /// Who presents a token.
    ///
    /// # Errors
    /// [`Unauthenticated`] where tokens are in force and this is none of them.
    pub fn authenticate(&self, token: Option<&str>) -> Result<Principal, Unauthenticated> {
        self.0.access.load().authenticate(token)
    }

    /// The principal of a name, where its token is still in force.
    pub fn principal(&self, name: &str) -> Option<Principal> {
        self.0.access.load().principal(name)
    }

    /// What bounds this port.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        (self.0.clock)()
    }

    /// Whether the node can accept and acknowledge.
    pub fn health(&self) -> Health {
        self.0.journal.health()
    }

    /// Bytes of appends in flight.
    pub fn in_flight_bytes(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    fn room(&self, bytes: usize) -> Option<Room> {
        let before = self.0.in_flight.fetch_add(bytes, Ordering::Relaxed);
        let room = Room { in_flight: Arc::clone(&self.0.in_flight), bytes };
        (before == 0 || before.saturating_add(bytes) <= self.0.limits.in_flight_bytes_max).then_some(room)
    }

    /// Publishes a message: records it where a stream captures it, and hands it to whoever listens.
    ///
    /// # Errors
    /// [`PublishError`]; [`AppendError::NoStream`] where nobody listens either.
    pub async fn publish(&self, who: &Principal, append: Append) -> Result<Published, PublishError> {
        let (sender, receiver) = oneshot::channel();
        self.publish_then(who, append, move |outcome| {
            // Whoever left does not want to know.
            let _unwanted = sender.send(outcome);
        });
        let lost = || Err(AppendError::Closed("the journal gave the append up".into()).into());
        receiver.await.unwrap_or_else(|_| lost())
    }

    /// As [`Port::publish`]; `done` is called once, perhaps from an engine's thread, and must not block.
    ///
    /// Live subscribers hear a recorded message once it is recorded, in order of position: never
    /// one that was refused, and never a duplicate.
    pub fn publish_then(
        &self,
        who: &Principal,
        append: Append,
        done: impl FnOnce(Result<Published, PublishError>) + Send + 'static,
    ) {
        let quiet = self.0.fabric.is_quiet();
        let way = (!quiet).then(|| self.0.fabric.way(append.message.subject.as_str()));
        self.publish_from(who, NOBODY, way.as_ref(), append, done);
    }

    /// As [`Port::publish_then`], along a way that the caller keeps (`None`: to nobody live), and not
    /// back to the connection `without`.
    pub fn publish_from(
        &self,
        who: &Principal,
        without: ConnectionId,
        way: Option<&Arc<Way>>,
        mut append: Append,
        done: impl FnOnce(Result<Published, PublishError>) + Send + 'static,
    ) {
        let room = match self.admit(who, &mut append.message) {
            Ok(room) => room,
            Err(error) => return done(Err(error)),
        };
        let heard = way.filter(|way| !way.is_empty());
        let live = heard.map(|way| (Arc::clone(&self.0.fabric), Arc::clone(way), append.message.clone()));
        let unconditional = append.expect == Expect::default();
        let answered = move |answer: Result<Receipt, AppendError>| {
            drop(room);
            let deliver = || live.map_or(0, |(fabric, way, message)| offer(&*fabric, way, &message, without));
            done(match answer {
                Ok(receipt) => {
                    if !receipt.duplicate {
                        deliver();
                    }
                    Ok(Published::Recorded(receipt))
                }
                Err(AppendError::NoStream(subject)) if unconditional => match deliver() {
                    0 => Err(AppendError::NoStream(subject).into()),
                    count => Ok(Published::Delivered(count)),
                },
                Err(error) => Err(error.into()),
            });
        };
        self.0.journal.append(append, Box::new(answered));
    }

    /// Whether so many bytes of appends are in flight that the next had better wait.
    pub fn is_pressed(&self) -> bool {
        self.in_flight_bytes() >= self.0.limits.in_flight_bytes_max / 2
    }

    /// Whether there is room for what one connection may bring at a time, far below the limit.
    pub fn has_room(&self) -> bool {
        self.in_flight_bytes() < self.0.limits.in_flight_bytes_max / 8
    }

    /// Where messages of a subject go live.
    pub fn fabric(&self) -> &Arc<dyn Fabric> {
        &self.0.fabric
    }

    /// The journal, for doors whose protocol has verbs of its own for it. Such a door asks the
    /// principal itself before it calls.
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.0.journal
    }

    /// The stream that captures a subject, and the version of the catalogue that says so.
    pub fn captured_by(&self, subject: &Subject) -> Option<Arc<str>> {
        self.0.journal.captured_by(subject)
    }

    /// Grows whenever what [`Port::captured_by`] answers may have changed.
    pub fn catalogue_version(&self) -> u64 {
        self.0.catalogue.load(Ordering::Acquire)
    }

    /// Says that streams were changed through [`Port::journal`].
    pub fn catalogue_changed(&self) {
        self.0.catalogue.fetch_add(1, Ordering::Release);
        let hooks = self.0.catalogue_hooks.lock().clone();
        hooks.iter().for_each(|hook| hook());
    }

    /// Has a hook called whenever streams were changed through this port, for as long as it lives; it must not block.
    pub fn when_catalogue_changes(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        self.0.catalogue_hooks.lock().push(hook);
    }

    /// Adds a listener for what is published from now on. Where some of what it wants is denied, the
    /// taker judges each message itself.
    ///
    /// # Errors
    /// [`NotAllowed`] naming the pattern.
    pub fn listen(&self, who: &Principal, listener: Listener) -> Result<ListenerId, NotAllowed> {
        match listener.patterns.iter().find(|pattern| !who.may_listen(pattern)) {
            Some(pattern) => Err(refusal(who, Verb::Read, pattern.as_str())),
            None => Ok(self.0.fabric.join(listener)),
        }
    }

    /// Has a listener want other patterns, at once.
    ///
    /// # Errors
    /// [`NotAllowed`] naming the pattern; the listener wants what it wanted.
    pub fn listen_otherwise(&self, who: &Principal, id: ListenerId, patterns: Vec<Pattern>) -> Result<(), NotAllowed> {
        match patterns.iter().find(|pattern| !who.may_listen(pattern)) {
            Some(pattern) => Err(refusal(who, Verb::Read, pattern.as_str())),
            None => {
                self.0.fabric.change(id, patterns);
                Ok(())
            }
        }
    }

    /// Takes a listener out.
    pub fn leave(&self, id: ListenerId) {
        self.0.fabric.leave(id);
    }

    /// Offers a parcel to everyone who listens to `to`, without asking anybody's rights: for answers.
    pub fn send(&self, to: &str, parcel: &Parcel<'_>) -> u64 {
        self.0.fabric.send(to, parcel)
    }

    pub(crate) fn admit(&self, who: &Principal, message: &mut Message) -> Result<Room, PublishError> {
        self.may_publish(who, &message.subject)?;
        let (size, max) = (message.payload.len(), self.0.limits.payload_bytes_max);
        if size > max {
            return Err(PublishError::PayloadTooLarge { size, max });
        }
        let room = self.room(message.size() + APPEND_BYTES_BESIDES).ok_or(PublishError::Journal(AppendError::Busy))?;
        self.fit(message)?;
        Ok(room)
    }

    /// Judges, ahead of the work, whether a principal may publish to a subject.
    ///
    /// # Errors
    /// [`NotAllowed`] naming the subject.
    pub fn may_publish(&self, who: &Principal, subject: &Subject) -> Result<(), NotAllowed> {
        if who.may_publish(subject.as_str()) && !is_own(subject.as_str()) {
            return Ok(());
        }
        Err(refusal(who, Verb::Publish, subject.as_str()))
    }

    /// Listens to what is published from now on.
    ///
    /// # Errors
    /// [`NotAllowed`] naming the pattern.
    pub fn subscribe(&self, who: &Principal, patterns: &[Pattern]) -> Result<Subscription, NotAllowed> {
        let Limits { live_messages_max, live_bytes_max, .. } = self.0.limits;
        may_hear(who, patterns)?;
        let mut made = Subscription::new(Arc::clone(&self.0.fabric), patterns, live_messages_max, live_bytes_max);
        made.judge_by(who);
        Ok(made)
    }

    /// Judges who holds a subscription to these patterns anew: his rights are others now.
    ///
    /// # Errors
    /// As [`Port::subscribe`]; the subscription is to end then.
    pub fn judge(&self, who: &Principal, patterns: &[Pattern], held: &mut Subscription) -> Result<(), NotAllowed> {
        may_hear(who, patterns)?;
        held.judge_by(who);
        Ok(())
    }

    /// Creates a stream, or changes it where it exists; whether it was created.
    ///
    /// # Errors
    /// [`Refused`] with what the journal, or the token, does not allow.
    pub async fn stream_put(
        &self,
        who: &Principal,
        config: StreamConfig,
    ) -> Result<(StreamInfo, bool), Refused<StreamError>> {
        administer_all(who, &config)?;
        if self.is_shared() && config.subjects.iter().any(|each| each.as_str().starts_with(INBOX_PREFIX)) {
            let reason =
                String::from("cannot be an inbox's: this node shares its engine, and each node would deliver it");
            return Err(Refused::Journal(StreamError::Invalid { field: "subjects", reason }));
        }
        match self.0.journal.stream_info(&config.name).await {
            Ok(_) => {}
            Err(StreamError::NotFound(_)) => match self.0.journal.stream_create(config.clone()).await {
                Err(StreamError::Exists(_)) => {}
                made => {
                    self.catalogue_changed();
                    return made.map(|info| (info, true)).map_err(Refused::Journal);
                }
            },
            Err(error) => return Err(Refused::Journal(error)),
        }
        self.administer(who, &config.name).await?;
        let changed = self.0.journal.stream_update(config).await;
        self.catalogue_changed();
        changed.map(|info| (info, false)).map_err(Refused::Journal)
    }

    /// Deletes a stream with its messages and consumers.
    ///
    /// # Errors
    /// As [`Port::stream_put`].
    pub async fn stream_delete(&self, who: &Principal, stream: &str) -> Result<(), Refused<StreamError>> {
        self.administer(who, stream).await?;
        let deleted = self.0.journal.stream_delete(stream).await;
        self.catalogue_changed();
        deleted.map_err(Refused::Journal)
    }

    /// One stream.
    ///
    /// # Errors
    /// As [`Port::stream_put`].
    pub async fn stream_info(&self, who: &Principal, stream: &str) -> Result<StreamInfo, Refused<StreamError>> {
        let info = self.0.journal.stream_info(stream).await.map_err(Refused::Journal)?;
        if !sees(who, &info) {
            return Err(refusal(who, Verb::Read, stream).into());
        }
        Ok(info)
    }

    /// Every stream that the principal may see, by name.
    pub async fn streams(&self, who: &Principal) -> Vec<StreamInfo> {
        let mut streams = self.0.journal.streams().await;
        streams.retain(|info| sees(who, info));
        streams
    }

    /// What a stream holds of each subject that a pattern matches.
    ///
    /// # Errors
    /// [`Refused`] with what the journal, or the token, does not allow.
    pub async fn subjects(
        &self,
        who: &Principal,
        stream: &str,
        pattern: &Pattern,
        after: Option<Subject>,
        limit: usize,
    ) -> Result<Vec<SubjectState>, Refused<ReadError>> {
        if !who.may_read_all(pattern) {
            return Err(refusal(who, Verb::Read, pattern.as_str()).into());
        }
        self.0.journal.subjects(stream, pattern, after, limit).await.map_err(Refused::Journal)
    }

    /// Removes messages; answers how many.
    ///
    /// # Errors
    /// As [`Port::stream_put`].
    pub async fn purge(&self, who: &Principal, stream: &str, purge: Purge) -> Result<u64, Refused<StreamError>> {
        self.administer(who, stream).await?;
        self.0.journal.purge(stream, purge).await.map_err(Refused::Journal)
    }

    /// Removes one message.
    ///
    /// # Errors
    /// As [`Port::stream_put`].
    pub async fn delete(&self, who: &Principal, stream: &str, seq: u64) -> Result<(), Refused<StreamError>> {
        self.administer(who, stream).await?;
        self.0.journal.delete(stream, seq).await.map_err(Refused::Journal)
    }

    /// Reads one page.
    ///
    /// # Errors
    /// [`Refused`] with what the journal, or the token, does not allow.
    pub async fn read(&self, who: &Principal, stream: &str, mut read: Read) -> Result<Page, Refused<ReadError>> {
        read.filters = self.narrow(who, stream, read.filters).await?;
        self.0.journal.read(stream, read).await.map_err(Refused::Journal)
    }

    /// The message at a position.
    ///
    /// # Errors
    /// As [`Port::read`].
    pub async fn get(&self, who: &Principal, stream: &str, seq: u64) -> Result<Stored, Refused<ReadError>> {
        let stored = self.0.journal.get(stream, seq).await.map_err(Refused::Journal)?;
        if !who.may_read(stored.message.subject.as_str()) {
            return Err(refusal(who, Verb::Read, &format!("{stream}/{seq}")).into());
        }
        Ok(stored)
    }

    /// The last message of all that a pattern matches.
    ///
    /// # Errors
    /// As [`Port::read`].
    pub async fn last(&self, who: &Principal, stream: &str, pattern: &Pattern) -> Result<Stored, Refused<ReadError>> {
        if !who.may_read_all(pattern) {
            return Err(refusal(who, Verb::Read, pattern.as_str()).into());
        }
        self.0.journal.last(stream, pattern).await.map_err(Refused::Journal)
    }

    /// Creates a consumer, or changes it where it exists; whether it was created.
    ///
    /// # Errors
    /// [`Refused`] with what the journal, or the token, does not allow.
    pub async fn consumer_put(
        &self,
        who: &Principal,
        stream: &str,
        config: ConsumerConfig,
    ) -> Result<(ConsumerInfo, bool), Refused<ConsumerError>> {
        if !who.is_admin() {
            self.consumes(who, stream, config.filters.clone()).await?;
        }
        match self.0.journal.consumer_info(stream, &config.name).await {
            Ok(_) => {}
            Err(ConsumerError::NotFound { .. }) => match self.0.journal.consumer_create(stream, config.clone()).await {
                Err(ConsumerError::Exists(_)) => {}
                made => return made.map(|info| (info, true)).map_err(Refused::Journal),
            },
            Err(error) => return Err(Refused::Journal(error)),
        }
        self.administer_consumer(who, stream, &config.name).await?;
        self.0.journal.consumer_update(stream, config).await.map(|info| (info, false)).map_err(Refused::Journal)
    }

    /// Deletes a consumer; its fetches end.
    ///
    /// # Errors
    /// As [`Port::consumer_put`].
    pub async fn consumer_delete(
        &self,
        who: &Principal,
        stream: &str,
        consumer: &str,
    ) -> Result<(), Refused<ConsumerError>> {
        self.administer_consumer(who, stream, consumer).await?;
        self.0.journal.consumer_delete(stream, consumer).await.map_err(Refused::Journal)
    }

    /// One consumer.
    ///
    /// # Errors
    /// As [`Port::consumer_put`].
    pub async fn consumer_info(
        &self,
        who: &Principal,
        stream: &str,
        consumer: &str,
    ) -> Result<ConsumerInfo, Refused<ConsumerError>> {
        self.administer_consumer(who, stream, consumer).await?;
        self.0.journal.consumer_info(stream, consumer).await.map_err(Refused::Journal)
    }

    /// All consumers of a stream that the principal may see, by name.
    ///
    /// # Errors
    /// As [`Port::consumer_put`].
    pub async fn consumers(&self, who: &Principal, stream: &str) -> Result<Vec<ConsumerInfo>, Refused<ConsumerError>> {
        self.stream_info(who, stream).await.map_err(as_consumer_error)?;
        self.0.journal.consumers(stream).await.map_err(Refused::Journal)
    }

    /// Delivers nothing before `until`; `None` resumes.
    ///
    /// # Errors
    /// As [`Port::consumer_put`].
    pub async fn consumer_pause(
        &self,
        who: &Principal,
        stream: &str,
        consumer: &str,
        until: Option<Moment>,
    ) -> Result<ConsumerInfo, Refused<ConsumerError>> {
        self.administer_consumer(who, stream, consumer).await?;
        self.0.journal.consumer_pause(stream, consumer, until).await.map_err(Refused::Journal)
    }

    /// Pulls from a consumer. A refusal of the journal's comes as the fetch's end.
    ///
    /// # Errors
    /// [`Refused`] where the token does not allow it, or the batch is none.
    pub async fn fetch(
        &self,
        who: &Principal,
        stream: &str,
        consumer: &str,
        fetch: Fetch,
    ) -> Result<Deliveries, Refused<FetchError>> {
        let batch = usize::try_from(fetch.batch).unwrap_or(usize::MAX);
        if batch == 0 || batch > FETCH_MESSAGES_MAX {
            return Err(Refused::Journal(FetchError::Batch));
        }
        self.uses_consumer(who, stream, consumer).await.map_err(|error| match error {
            Refused::NotAllowed(refusal) => Refused::NotAllowed(refusal),
            Refused::Journal(ConsumerError::Storage(why)) => Refused::Journal(FetchError::Storage(why)),
            Refused::Journal(ConsumerError::Closed(why)) => Refused::Journal(FetchError::Closed(why)),
            Refused::Journal(_) => Refused::Journal(not_found(stream, consumer)),
        })?;
        let (sink, deliveries) = Deliveries::pair(Arc::clone(&self.0.journal), batch);
        self.0.journal.fetch(stream, consumer, fetch, sink);
        Ok(deliveries)
    }

    /// Says the same of several deliveries of one consumer; the answers in the tokens' order.
    ///
    /// # Errors
    /// [`Refused`] where the token does not allow it. What the journal says of each delivery
    /// stands in its own answer.
    pub async fn acknowledge(
        &self,
        who: &Principal,
        stream: &str,
        consumer: &str,
        tokens: Vec<Result<AckToken, AckError>>,
        ack: &Ack,
        synced: bool,
    ) -> Result<Vec<Result<(), AckError>>, Refused<AckError>> {
        let missing = || AckError::NotFound { stream: stream.into(), name: consumer.into() };
        self.uses_consumer(who, stream, consumer).await.map_err(|error| match error {
            Refused::NotAllowed(refusal) => Refused::NotAllowed(refusal),
            Refused::Journal(ConsumerError::Closed(why)) => Refused::Journal(AckError::Closed(why)),
            Refused::Journal(_) => Refused::Journal(missing()),
        })?;
        // All are on their way before the first is waited for, so that they share one sync.
        let asked: Vec<_> = tokens
            .into_iter()
            .map(|token| {
                let token = token?;
                if *token.stream != *stream || *token.consumer != *consumer {
                    return Err(AckError::OtherConsumer(format!("{}/{}", token.stream, token.consumer)));
                }
                let (done, answer) = journal::answer(|| Err(AckError::Closed("the journal gave it up".into())));
                self.0.journal.acknowledge(token, ack.clone(), synced, done);
                Ok(answer)
            })
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for each in asked {
            answers.push(match each {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            });
        }
        Ok(answers)
    }

    /// The filters that keep a read within what the principal may read.
    async fn narrow(
        &self,
        who: &Principal,
        stream: &str,
        filters: Vec<Pattern>,
    ) -> Result<Vec<Pattern>, Refused<ReadError>> {
        if who.reads_everything() {
            return Ok(filters);
        }
        let filters = if filters.is_empty() {
            let info = self.0.journal.stream_info(stream).await;
            info.map_err(|error| Refused::Journal(as_read_error(error, stream)))?.config.subjects
        } else {
            filters
        };
        match filters.iter().find(|filter| !who.may_read_all(filter)) {
            Some(filter) => Err(refusal(who, Verb::Read, filter.as_str()).into()),
            None => Ok(filters),
        }
    }

    async fn consumes(
        &self,
        who: &Principal,
        stream: &str,
        filters: Vec<Pattern>,
    ) -> Result<(), Refused<ConsumerError>> {
        self.narrow(who, stream, filters).await.map(|_| ()).map_err(|error| match error {
            Refused::NotAllowed(refusal) => Refused::NotAllowed(refusal),
            Refused::Journal(ReadError::Closed(why)) => Refused::Journal(ConsumerError::Closed(why)),
            Refused::Journal(ReadError::Storage(why)) => Refused::Journal(ConsumerError::Storage(why)),
            Refused::Journal(_) => Refused::Journal(ConsumerError::NoStream(stream.into())),
        })
    }

    async fn uses_consumer(&self, who: &Principal, stream: &str, consumer: &str) -> Result<(), Refused<ConsumerError>> {
        if who.reads_everything() {
            return Ok(());
        }
        let info = self.0.journal.consumer_info(stream, consumer).await.map_err(Refused::Journal)?;
        self.consumes(who, stream, info.config.filters).await
    }

    async fn administer_consumer(
        &self,
        who: &Principal,
        stream: &str,
        consumer: &str,
    ) -> Result<(), Refused<ConsumerError>> {
        if who.is_admin() {
            return Ok(());
        }
        self.uses_consumer(who, stream, consumer).await
    }

    async fn administer(&self, who: &Principal, stream: &str) -> Result<(), Refused<StreamError>> {
        if who.is_admin() {
            return Ok(());
        }
        let info = self.0.journal.stream_info(stream).await.map_err(Refused::Journal)?;
        administer_all(who, &info.config).map_err(Refused::NotAllowed)
    }
}

/// Offers a recorded message along the way that its publisher knew, or the one that leads there now.
fn offer(fabric: &dyn Fabric, way: Arc<Way>, message: &Message, without: ConnectionId) -> u64 {
    let way = match fabric.is_current(&way) {
        true => way,
        false => fabric.way_from(message.subject.as_str(), way.from).spread(way.spread),
    };
    let (taken, refused) = way.offer(&Parcel::of(message), without, &mut |taker| taker.wake());
    fabric.count(taken, refused);
    taken
}

fn administer_all(who: &Principal, config: &StreamConfig) -> Result<(), NotAllowed> {
    if who.is_admin() || config.subjects.iter().all(|pattern| who.may_publish_all(pattern)) {
        return Ok(());
    }
    Err(refusal(who, Verb::Administer, &config.name))
}

fn sees(who: &Principal, info: &StreamInfo) -> bool {
    who.is_admin() || info.config.subjects.iter().any(|pattern| who.touches(pattern))
}

fn may_hear(who: &Principal, patterns: &[Pattern]) -> Result<(), NotAllowed> {
    match patterns.iter().find(|pattern| !who.may_read_all(pattern)) {
        None => Ok(()),
        Some(pattern) => Err(refusal(who, Verb::Read, pattern.as_str())),
    }
}

pub(crate) fn refusal(who: &Principal, verb: Verb, what: &str) -> NotAllowed {
    NotAllowed { who: Arc::clone(who.name()), verb, what: what.to_owned() }
}

fn not_found(stream: &str, consumer: &str) -> FetchError {
    FetchError::NotFound { stream: stream.into(), name: consumer.into() }
}

fn as_read_error(error: StreamError, stream: &str) -> ReadError {
    match error {
        StreamError::Storage(why) => ReadError::Storage(why),
        StreamError::Closed(why) => ReadError::Closed(why),
        _ => ReadError::NotFound(stream.into()),
    }
}

fn as_consumer_error(error: Refused<StreamError>) -> Refused<ConsumerError> {
    match error {
        Refused::NotAllowed(refusal) => Refused::NotAllowed(refusal),
        Refused::Journal(StreamError::NotFound(name)) => Refused::Journal(ConsumerError::NoStream(name)),
        Refused::Journal(StreamError::Storage(why)) => Refused::Journal(ConsumerError::Storage(why)),
        Refused::Journal(error) => Refused::Journal(ConsumerError::Closed(error.to_string())),
    }
}

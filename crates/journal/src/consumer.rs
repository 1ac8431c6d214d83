//! How a consumer is declared, and what passes between it and its users.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use event::{Moment, Pattern, decode_token, encode_token};

use crate::error::AckError;
use crate::limits::{ACK_PENDING_DEFAULT, ACK_WAIT_DEFAULT, FETCHES_WAITING_MAX, PINNED_TTL_DEFAULT};
use crate::stream::Stored;

/// Where a consumer starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConsumerStart {
    /// At the first message there is.
    #[default]
    All,
    /// At the last message that its filters match, when it is created.
    Last,
    /// After the last message there is when it is created.
    New,
    /// At a position.
    Seq(u64),
    /// At a moment.
    Time(Moment),
    /// At the last message of each subject that its filters match, when it is created; then all.
    LastPerSubject,
}

/// What must be acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AckPolicy {
    /// Each message.
    #[default]
    Explicit,
    /// A message stands for all before it.
    All,
    /// Nothing: delivered is done.
    None,
}

/// Which of the fetches that wait is served first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PriorityPolicy {
    /// A fetch with thresholds is served only while one of them is passed.
    #[default]
    Overflow,
    /// One user is served, until it is silent for [`PriorityConfig::pinned_ttl`] or unpinned.
    Pinned,
    /// The fetch with the lowest [`Fetch::priority`].
    Prioritized,
}

/// What a consumer's fetches are told apart by: NATS's ADR-42.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriorityConfig {
    /// Which is served first.
    pub policy: PriorityPolicy,
    /// Groups that fetches may name, at least one; the first is the one that is pinned.
    pub groups: Vec<String>,
    /// Under [`PriorityPolicy::Pinned`], how long without a fetch of the pinned user until another is pinned.
    pub pinned_ttl: Duration,
}

impl PriorityConfig {
    /// A policy with one group and the default lifetime of a pin.
    pub fn new(policy: PriorityPolicy, group: impl Into<String>) -> Self {
        PriorityConfig { policy, groups: Vec::from([group.into()]), pinned_ttl: PINNED_TTL_DEFAULT }
    }
}

/// A consumer's declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Unique in its stream; the rule for names is the stream's.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it outlives inactivity and restarts. An ephemeral one goes after `inactive`.
    pub durable: bool,
    /// Which messages it takes. Empty: all.
    pub filters: Vec<Pattern>,
    /// Where it starts. Cannot be changed later.
    pub start: ConsumerStart,
    /// What must be acknowledged. Cannot be changed later.
    pub ack: AckPolicy,
    /// How long a delivery may go unacknowledged before it is made again.
    pub ack_wait: Duration,
    /// Waits before the second, third, … delivery, in place of `ack_wait`; the last one stays.
    /// Also the delay after a negative acknowledgement that names none.
    pub backoff: Vec<Duration>,
    /// Deliveries after which a message is a dead letter. `None`: never.
    pub deliver_max: Option<u64>,
    /// Whether a message that is given up goes to the dead-letter stream.
    pub dead_letter: bool,
    /// Most deliveries outstanding; none is made beyond. `None`: no limit, and each outstanding one
    /// takes about 100 bytes of memory.
    pub ack_pending_max: Option<u64>,
    /// Fetches that may wait at a time. Cannot be changed later.
    pub waiting_max: u64,
    /// Most messages of one fetch. `None`: no limit.
    pub batch_max: Option<u64>,
    /// Most bytes that one fetch may ask for. `None`: no limit.
    pub bytes_max: Option<u64>,
    /// Longest wait that one fetch may ask for. `None`: no limit.
    pub expires_max: Option<Duration>,
    /// Whether deliveries are without payloads. Kept here; done by doors.
    pub headers_only: bool,
    /// Most bits a second of a push. Kept here; done by doors.
    pub rate_limit_bps: Option<u64>,
    /// Whether a push goes at the pace at which the messages were recorded. Kept here; done by
    /// doors. Cannot be changed later.
    pub replay_original: bool,
    /// Which share of the acknowledgements is reported, as in NATS. Kept here; done by doors.
    pub sample: Option<String>,
    /// Whether it is kept in memory only, and so gone after a restart. Cannot be changed later.
    pub memory: bool,
    /// What its fetches are told apart by. `None`: nothing.
    pub priority: Option<PriorityConfig>,
    /// Nothing is delivered before this moment.
    pub pause_until: Option<Moment>,
    /// How long without a fetch before an ephemeral consumer goes; for a durable one, `None`: never.
    pub inactive: Option<Duration>,
    /// What users and doors note about the consumer; kept as it is.
    pub metadata: BTreeMap<String, String>,
}

impl ConsumerConfig {
    /// A durable consumer of everything, with explicit acknowledgement and the defaults.
    pub fn new(name: impl Into<String>) -> Self {
        ConsumerConfig {
            name: name.into(),
            description: String::new(),
            durable: true,
            filters: Vec::new(),
            start: ConsumerStart::All,
            ack: AckPolicy::Explicit,
            ack_wait: ACK_WAIT_DEFAULT,
            backoff: Vec::new(),
            deliver_max: None,
            dead_letter: true,
            ack_pending_max: Some(ACK_PENDING_DEFAULT),
            waiting_max: FETCHES_WAITING_MAX as u64,
            batch_max: None,
            bytes_max: None,
            expires_max: None,
            headers_only: false,
            rate_limit_bps: None,
            replay_original: false,
            sample: None,
            memory: false,
            priority: None,
            pause_until: None,
            inactive: None,
            metadata: BTreeMap::new(),
        }
    }

    /// Whether it is there after a restart.
    pub fn kept(&self) -> bool {
        self.durable && !self.memory
    }
}

/// A consumer: what was declared and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Its stream.
    pub stream: Arc<str>,
    /// The declaration, with its defaults filled.
    pub config: ConsumerConfig,
    /// When it was created.
    pub created: Moment,
    /// Last stream position delivered for the first time; before the first, the one before its start.
    pub delivered: u64,
    /// How many deliveries were made, repeated ones too: the last one's [`AckToken::order`].
    pub deliveries: u64,
    /// When the last delivery was made. Not kept over a restart.
    pub last_delivered: Option<Moment>,
    /// Every matching message up to this stream position is done with.
    pub ack_floor: u64,
    /// Every delivery up to this [`AckToken::order`] is done with. A message delivered again counts as its first delivery.
    pub ack_floor_order: u64,
    /// When something was last acknowledged as done. Not kept over a restart.
    pub last_acknowledged: Option<Moment>,
    /// Deliveries outstanding.
    pub ack_pending: u64,
    /// Of those, how many were delivered more than once.
    pub redelivered: u64,
    /// Matching messages not yet delivered. Where counting exactly would cost a scan, an upper bound.
    pub pending: u64,
    /// Fetches waiting.
    pub waiting: u64,
    /// Messages given up so far.
    pub dead: u64,
    /// Its priority groups, in the order declared.
    pub groups: Vec<GroupState>,
}

/// One priority group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// Its name.
    pub name: String,
    /// Whom it is pinned to.
    pub pin: Option<Arc<str>>,
    /// Since when.
    pub since: Option<Moment>,
}

/// A pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetch {
    /// Most messages. `u64::MAX` makes it a push: it goes on until its sink is closed.
    pub batch: u64,
    /// Most bytes, counted as [`event::Message::size`]; a larger message ends the fetch.
    pub bytes: Option<u64>,
    /// How long to wait for the batch to fill. `None`: give what is there and end. [`Duration::MAX`]:
    /// as long as its user is there.
    pub wait: Option<Duration>,
    /// With `wait`: end as soon as something was given and nothing more is there.
    pub no_wait: bool,
    /// The priority group. `None`: it knows nothing of groups, and is not held to naming one.
    pub group: Option<String>,
    /// 0, which is served first, to 9. Of use under [`PriorityPolicy::Prioritized`].
    pub priority: u8,
    /// Be served only while at least so many messages are pending; 0: always, unless
    /// `min_ack_pending` is given. Only under [`PriorityPolicy::Overflow`].
    pub min_pending: u64,
    /// As `min_pending`, for deliveries outstanding.
    pub min_ack_pending: u64,
    /// The pin that an earlier delivery named. Only under [`PriorityPolicy::Pinned`].
    pub pin: Option<String>,
}

impl Fetch {
    /// At most so many messages, of what is there.
    pub fn new(batch: u64) -> Self {
        Fetch { batch, ..Fetch::default() }
    }
}

/// What a sink says to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Go on.
    More,
    /// This one was taken; give no more until the sink is asked [`Sink::ready`] and says yes.
    Pause,
    /// This one was not taken, and the user is gone: end the fetch, deliver it to another at once.
    Closed,
}

/// Where a fetch's deliveries go. Called from the engine's own thread: must not block.
pub trait Sink: Send {
    /// Takes one delivery.
    fn deliver(&mut self, delivery: Delivery) -> Want;
    /// Whether a paused or idle sink takes more. `None`: its user is gone.
    fn ready(&mut self) -> Option<bool>;
    /// The fetch ended. Nothing follows.
    fn end(self: Box<Self>, end: FetchEnd);
}

/// Why a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchEnd {
    /// The batch is full.
    Full,
    /// Nothing more is there, and the fetch does not wait, or its wait is over.
    Expired,
    /// The next message is larger than what is left of `bytes`.
    Bytes,
    /// The consumer is gone.
    ConsumerDeleted,
    /// The sink said that its user is gone.
    Closed,
    /// Another is pinned than [`Fetch::pin`].
    WrongPin,
    /// The fetch was refused, or the engine failed.
    Failed(crate::error::FetchError),
}

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What acknowledges it.
    pub token: AckToken,
    /// The message.
    pub stored: Stored,
    /// Matching messages left behind it; see [`ConsumerInfo::pending`].
    pub pending: u64,
    /// The pin to be named by the next fetch, where the consumer pins its users.
    pub pin: Option<Arc<str>>,
}

/// What names one delivery. Prints and parses as `stream.consumer.tag.seq.attempt.order`, the
/// names encoded as tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AckToken {
    /// The stream.
    pub stream: Arc<str>,
    /// The consumer.
    pub consumer: Arc<str>,
    /// Tells this consumer from an earlier one of the same name: when it was created, in nanoseconds.
    /// In an acknowledgement 0: whichever has the name now.
    pub tag: u64,
    /// The message's position in the stream.
    pub seq: u64,
    /// Which delivery of this message it is, from 1.
    pub attempt: u64,
    /// Which delivery of the consumer it is, from 1.
    pub order: u64,
}

impl fmt::Display for AckToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AckToken { stream, consumer, tag, seq, attempt, order } = self;
        write!(f, "{}.{}.{tag}.{seq}.{attempt}.{order}", encode_token(stream), encode_token(consumer))
    }
}

impl FromStr for AckToken {
    type Err = AckError;

    fn from_str(text: &str) -> Result<Self, AckError> {
        let malformed = || AckError::Malformed(text.chars().take(64).collect::<String>().to_string());
        let mut parts = text.split('.');
        let mut name = || parts.next().and_then(decode_token).ok_or_else(malformed);
        let (stream, consumer) = (name()?.into(), name()?.into());
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or_else(malformed);
        let (tag, seq, attempt, order) = (number()?, number()?, number()?, number()?);
        match parts.next() {
            None => Ok(AckToken { stream, consumer, tag, seq, attempt, order }),
            Some(_) => Err(malformed()),
        }
    }
}

/// What is said of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ack {
    /// Done with. Under [`AckPolicy::All`], so are all before it.
    Done,
    /// Not done: deliver it again, after `delay` or after the back-off's.
    Again {
        /// The delay.
        delay: Option<Duration>,
    },
    /// Still at work: count the wait anew.
    Progress,
    /// Never deliver it again: a dead letter.
    Give {
        /// Why.
        reason: String,
    },
}

//! One peer as it is pushed to: its consumer, what is owed to it, and the hand that pushes.
//!
//! Each peer has a task, a consumer and connections of its own, so that one that hangs delays no other.
//! What does not get through goes back to the consumer, which keeps it over restarts.
//!
//! # Invariants
//! - A fact is acknowledged when the peer has it, will never be asked again, or is not owed it.
//! - What came from elsewhere is not owed.
//! - While the peer fails, one fact at a time is sent, and none before its time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use door::Port;
use event::Moment;
use federation::deliveries::{Delivery as Record, Status, encode, error_text};
use federation::envelope;
use federation::facts::Why;
use federation::outbox::{Breaker, Input, Outbox, Outcome, Output, Shape};
use federation::peer::{PeerSpec as Wants, Verdict};
use federation::stored::from_message;
use journal::{Ack, AckToken, ConsumerConfig, ConsumerError, ConsumerStart, Delivery, Journal};
use link::{ClientFiles, Key, Mode, Pushed, SecretError, Target, TargetError, TargetOptions, TlsError, Waits};
use parking_lot::Mutex;
use plan::{Batch, GroupSpec, ResolvedPeer};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::feed::Feed;
use super::group::Group;
use super::keys;
use super::ledger::Ledger;
use super::meters::{Ended, Meters, PeerMeters};

/// Bytes of bodies that wait in memory for one peer, at most, save that there is one: a few full batches.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a fact may wait here before the consumer gives it again, which changes nothing.
const ACK_WAIT: Duration = Duration::from_secs(3_600);

/// How long each phase of a probe may take, so that a peer that is back is soon found to be.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// Where the consumer notes what the peer wants.
const WANTS: &str = "tidings.wants";

/// How long to wait where the consumer is gone.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a peer cannot be pushed to.
#[derive(Debug, Error)]
pub(super) enum PeerError {
    /// No key signs.
    #[error("no key signs what is pushed; give the group auth.secretFile, or the peer a key of its own")]
    NoKey,
    /// The key cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The endpoint is none.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journal refuses.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// A thread is gone.
    #[error("{0}")]
    System(String),
}

/// See the module.
pub(super) struct Peer {
    pub(super) name: String,
    row_name: Arc<str>,
    own_node: String,
    resolved: ResolvedPeer,
    wants: Wants,
    group: Arc<Group>,
    consumer: String,
    target: Target,
    key: ArcSwapOption<Key>,
    /// How it stands, for those who ask.
    standing: Mutex<Standing>,
    ledger: Arc<Ledger>,
    meters: Arc<Meters>,
    counts: PeerMeters,
    port: Port,
    journal: Arc<dyn Journal>,
    /// Another key signs: what waits is tried at once.
    nudge: Notify,
    end: CancellationToken,
    over: CancellationToken,
}

/// How it stands with a peer.
#[derive(Debug, Clone, Default)]
struct Standing {
    breaker: Option<Breaker>,
    waiting: u64,
    oldest: Option<Moment>,
    next: Option<Moment>,
    last_error: Option<Arc<str>>,
}

/// A fact that waits, or is on its way.
struct Owed {
    token: AckToken,
    id: Arc<str>,
    kind: Arc<str>,
    body: Bytes,
    /// The peer has an earlier state of it.
    again: bool,
}

/// What the task has in hand.
struct Hand {
    outbox: Outbox,
    owed: BTreeMap<u64, Owed>,
    /// The position of the state that waits, by fact.
    latest: BTreeMap<Arc<str>, u64>,
    bytes: usize,
}

/// A batch that ended.
struct Round {
    batch: u64,
    outcomes: Vec<(u64, Outcome)>,
    took: Duration,
}

impl Peer {
    /// Makes the peer's consumer.
    ///
    /// # Errors
    /// [`PeerError`].
    pub(super) async fn open(
        group: &Arc<Group>,
        resolved: &ResolvedPeer,
        ledger: &Arc<Ledger>,
        meters: &Arc<Meters>,
        port: &Port,
        end: CancellationToken,
    ) -> Result<Arc<Self>, PeerError> {
        let spec = group.spec.load_full();
        let (name, peer) = (group.name.clone(), resolved.clone());
        let prepared = tokio::task::spawn_blocking(move || prepare(&name, &spec, &peer)).await;
        let (target, key) = prepared.map_err(|error| PeerError::System(error.to_string()))??;
        let wants = Wants {
            name: resolved.name.clone(),
            types: resolved.types.clone(),
            subject_prefixes: resolved.subject_prefixes.clone(),
        };
        let peer = Peer {
            name: resolved.name.clone(),
            own_node: group.own_node(),
            resolved: resolved.clone(),
            wants,
            group: Arc::clone(group),
            consumer: super::consumer_name("peer", &resolved.name),
            target,
            key: ArcSwapOption::from_pointee(key),
            standing: Mutex::default(),
            ledger: Arc::clone(ledger),
            meters: Arc::clone(meters),
            counts: PeerMeters::new(meters, &group.name, &resolved.name),
            port: port.clone(),
            journal: Arc::clone(port.journal()),
            row_name: resolved.name.as_str().into(),
            nudge: Notify::new(),
            end,
            over: CancellationToken::new(),
        };
        peer.declare(false).await?;
        Ok(Arc::new(peer))
    }

    /// Has the journal keep the peer's consumer. From the beginning where the peer wants what it did not
    /// before, or `anew`: what it has, the table of deliveries knows.
    async fn declare(&self, anew: bool) -> Result<(), ConsumerError> {
        let mut config = ConsumerConfig::new(&self.consumer);
        config.description = format!("What is owed to the peer {}", self.name);
        config.start = ConsumerStart::All;
        config.ack_wait = ACK_WAIT;
        config.ack_pending_max = None;
        let wants = json!([self.own_node, self.wants.types, self.wants.subject_prefixes]).to_string();
        config.metadata.insert(WANTS.to_owned(), wants);
        let known = self.journal.consumer_info(&self.group.stream, &self.consumer).await;
        let again = known.is_ok_and(|known| known.config.metadata.get(WANTS) != config.metadata.get(WANTS));
        super::need_consumer(&self.journal, &self.group.stream, config).await?;
        // Without a position: what was on its way when the process before ended is sent again.
        let from = (anew || again).then_some(1);
        self.journal.consumer_reset(&self.group.stream, &self.consumer, from).await.map(|_| ())
    }

    /// Whether it is what is declared.
    pub(super) fn is(&self, resolved: &ResolvedPeer, spec: &GroupSpec) -> bool {
        self.resolved == *resolved && self.own_node == spec.node_name
    }

    /// Reads the certificates again that it is spoken to with. Blocks on files.
    ///
    /// # Errors
    /// [`TlsError`]; the old ones stay in force.
    pub(super) fn reload_tls(&self) -> Result<(), TlsError> {
        if let Some(config) = tls_of(&self.resolved)? {
            self.target.set_tls(config);
        }
        Ok(())
    }

    /// Signs with another key from now on.
    pub(super) fn set_key(&self, key: Key) {
        let key = Arc::new(key);
        if self.key.swap(Some(Arc::clone(&key))).is_none_or(|before| before.secret != key.secret) {
            self.nudge.notify_one();
        }
    }

    /// Pushes until told to end.
    pub(super) async fn run(self: Arc<Self>) {
        let _over = self.over.clone().drop_guard();
        let seed = crate::entropy::seed().map_or(0, |[word, _]| word);
        let mut hand = Hand {
            outbox: Outbox::new(seed, Shape::default()),
            owed: BTreeMap::new(),
            latest: BTreeMap::new(),
            bytes: 0,
        };
        let mut gone = self.group.gone.subscribe();
        let mut refolded = self.group.refolded.subscribe();
        let mut feed = Feed::open(&self.journal, &self.group.stream, &self.consumer);
        let mut rounds: JoinSet<Round> = JoinSet::new();
        info!(group = self.group.name, peer = self.name, "facts are pushed to the peer");
        loop {
            self.carry_out(&mut hand, &mut rounds);
            let wake = hand.outbox.next_wake().map(|at| at.since(self.now()));
            let room = hand.outbox.room() > 0 && hand.bytes < HELD_BYTES_MAX;
            tokio::select! {
                biased;
                () = self.end.cancelled() => return,
                Some(round) = rounds.join_next() => match round {
                    Ok(round) => self.answered(&mut hand, round),
                    Err(error) => warn!(peer = self.name, %error, "a push was lost"),
                },
                told = gone.recv() => if let Ok(all) = told {
                    for over in all.iter().filter(|over| over.why != Why::Withdrawn) {
                        hand.outbox.handle(self.now(), Input::Gone { id: Arc::clone(&over.id) });
                    }
                },
                delivery = feed.next(), if room => match delivery {
                    Some(delivery) => self.gather(&mut hand, delivery, &mut feed).await,
                    None => {
                        sleep(PAUSE).await;
                        feed = self.feed_anew(false).await;
                    }
                },
                Ok(()) = refolded.changed() => feed = self.feed_anew(true).await,
                () = sleep_until(Instant::now() + wake.unwrap_or_default()), if wake.is_some() => {
                    hand.outbox.handle(self.now(), Input::Tick);
                }
                () = self.nudge.notified() => hand.outbox.handle(self.now(), Input::Nudge),
            }
        }
    }

    async fn feed_anew(&self, from_the_beginning: bool) -> Feed {
        if let Err(error) = self.declare(from_the_beginning).await {
            warn!(peer = self.name, %error, "the peer's consumer cannot be had");
        }
        Feed::open(&self.journal, &self.group.stream, &self.consumer)
    }

    fn now(&self) -> Moment {
        self.port.now()
    }

    /// Takes a delivery and what is held behind it into the outbox.
    async fn gather(&self, hand: &mut Hand, first: Delivery, feed: &mut Feed) {
        let mut given = vec![first];
        let most = hand.outbox.room().max(1);
        while given.len() < most
            && let Some(next) = feed.held()
        {
            given.push(next);
        }
        // What the table says counts, so it must have read what is judged by it.
        let last = given.iter().map(|delivery| delivery.stored.seq).max().unwrap_or(0);
        self.group.folded(last).await;
        for delivery in given {
            self.take(hand, delivery);
        }
    }

    fn done(&self, token: AckToken) {
        self.journal.acknowledge(token, Ack::Done, false, Box::new(|_| ()));
    }

    /// Takes a fact that the peer is owed; what it is not owed is done with.
    fn take(&self, hand: &mut Hand, delivery: Delivery) {
        let Delivery { token, stored: message, .. } = delivery;
        let Some(Ok(stored)) = from_message(&message.message, &self.group.name) else { return self.done(token) };
        if self.wants.wants(&stored, &self.own_node) != Verdict::Push {
            return self.done(token);
        }
        // A later state is told in its own time; what ended is told to nobody.
        let entry = self.group.entry(&stored.fact.id).filter(|entry| entry.seq == message.seq);
        let Some(entry) = entry.filter(|entry| entry.withdrawn || entry.is_live(self.now())) else {
            return self.done(token);
        };
        let before = self.group.deliveries.lock().get(&entry.id, &self.name).cloned();
        if before.as_ref().is_some_and(|row| row.seq == entry.seq && row.status == Status::Delivered) {
            return self.done(token);
        }
        let peer: Arc<str> = Arc::clone(&self.row_name);
        let mut row = Record::pending(&entry, &peer);
        row.attempts = before.as_ref().filter(|row| row.seq == entry.seq).map_or(0, |row| row.attempts);
        let body = Bytes::from(envelope::encode(&entry.complete(stored.fact)));
        let again = before.is_some_and(|row| row.seq < entry.seq && row.delivered.is_some());
        let (bytes, withdrawal) = (body.len(), entry.withdrawn);
        if let Some(earlier) = hand.latest.insert(Arc::clone(&entry.id), entry.seq)
            && earlier != entry.seq
        {
            // This state stands for the one before.
            Self::taken_out(hand, earlier).into_iter().for_each(|token| self.done(token));
            hand.latest.insert(Arc::clone(&entry.id), entry.seq);
        }
        hand.bytes += bytes;
        let kind = Arc::clone(&entry.kind);
        let owed = Owed { token, id: Arc::clone(&entry.id), kind, body, again };
        // Given anew, under another token.
        if let Some(given_before) = hand.owed.insert(entry.seq, owed) {
            hand.bytes = hand.bytes.saturating_sub(given_before.body.len());
        }
        hand.outbox.handle(self.now(), Input::Owe { row, bytes, withdrawal });
    }

    /// Takes a position out of what waits.
    fn taken_out(hand: &mut Hand, seq: u64) -> Option<AckToken> {
        let owed = hand.owed.remove(&seq)?;
        hand.bytes = hand.bytes.saturating_sub(owed.body.len());
        if hand.latest.get(&owed.id) == Some(&seq) {
            hand.latest.remove(&owed.id);
        }
        Some(owed.token)
    }

    /// Does what the outbox wants.
    fn carry_out(self: &Arc<Self>, hand: &mut Hand, rounds: &mut JoinSet<Round>) {
        let (mut kept, mut over) = (Vec::new(), Vec::new());
        while let Some(output) = hand.outbox.poll() {
            match output {
                Output::Push { batch, seqs } => {
                    let probe = hand.outbox.breaker() == Breaker::HalfOpen;
                    let bodies = seqs.iter().map(|seq| hand.owed.get(seq).map(|owed| owed.body.clone()));
                    let facts: Vec<(u64, Bytes)> =
                        seqs.iter().copied().zip(bodies).filter_map(|(seq, body)| Some((seq, body?))).collect();
                    rounds.spawn(Arc::clone(self).round(batch, facts, probe));
                }
                Output::Record { row, keep } => {
                    over.extend(self.recorded(hand, &row));
                    if keep {
                        kept.push(row);
                    }
                }
                Output::Moved(breaker) => self.moved(breaker),
            }
        }
        self.keep(&kept, over);
        let mut standing = self.standing.lock();
        standing.breaker = Some(hand.outbox.breaker());
        standing.waiting = hand.outbox.len() as u64;
        standing.oldest = hand.outbox.oldest();
        standing.next = hand.outbox.next_wake();
    }

    /// Records rows, and acknowledges what is done with once they are.
    fn keep(&self, rows: &[Record], over: Vec<AckToken>) {
        let journal = Arc::clone(&self.journal);
        let done = move || {
            for token in over {
                journal.acknowledge(token, Ack::Done, false, Box::new(|_| ()));
            }
        };
        if rows.is_empty() {
            return done();
        }
        let tokens = ["deliveries", self.group.name.as_str(), self.name.as_str()];
        if let Err(error) = self.ledger.lines(&tokens, encode(rows), done) {
            warn!(peer = self.name, %error, "what became of facts is not recorded");
        }
    }

    /// A row is now so; what is done with then.
    fn recorded(&self, hand: &mut Hand, row: &Record) -> Option<AckToken> {
        {
            let facts = self.group.facts.lock();
            if facts.get(&row.id).is_some() {
                self.group.deliveries.lock().apply(row.clone());
            }
        }
        let now = self.now();
        if let Some(owed) = hand.owed.get(&row.seq)
            && matches!(row.status, Status::Delivered | Status::Failed)
        {
            let delivered = row.status == Status::Delivered;
            self.counts.pushed(&Ended { kind: &owed.kind, delivered, again: owed.again, lag: row.lag(now) });
        }
        match row.status {
            Status::Delivered | Status::Expired => Self::taken_out(hand, row.seq),
            Status::Pending | Status::Failed | Status::Skipped => None,
        }
    }

    fn moved(&self, breaker: Breaker) {
        let (group, peer) = (&self.group.name, &self.name);
        let error = self.standing.lock().last_error.clone().unwrap_or_default();
        match breaker {
            Breaker::Open => {
                warn!(group, peer, %error, "the peer does not take facts; they are kept, and it is tried again")
            }
            Breaker::HalfOpen => debug!(group, peer, "the peer is tried again"),
            Breaker::Closed => info!(group, peer, "the peer takes facts again"),
        }
    }

    /// Pushes facts, once.
    async fn round(self: Arc<Self>, batch: u64, facts: Vec<(u64, Bytes)>, probe: bool) -> Round {
        let began = Instant::now();
        let seconds = i64::try_from(self.now().nanos() / 1_000_000_000).unwrap_or(i64::MAX);
        let (seqs, bodies): (Vec<u64>, Vec<Bytes>) = facts.into_iter().unzip();
        let pushed = match self.key.load_full() {
            None => Vec::new(),
            Some(key) => match (bodies.first(), probe) {
                (Some(body), true) => vec![self.target.probe(&key.secret, seconds, body.clone(), PROBE_WAIT).await],
                _ => self.target.push_many(&key.secret, seconds, &bodies).await,
            },
        };
        let outcome = |pushed| match pushed {
            Pushed::Accepted { .. } => Outcome::Delivered,
            Pushed::Refused { status, text } => Outcome::Refused { status, text },
            Pushed::Failed { text } => Outcome::Failed { text },
        };
        let outcomes = seqs.into_iter().zip(pushed.into_iter().map(outcome)).collect();
        Round { batch, outcomes, took: began.elapsed() }
    }

    fn answered(&self, hand: &mut Hand, round: Round) {
        let Round { batch, outcomes, took } = round;
        let failure = outcomes.iter().find_map(|(_, outcome)| match outcome {
            Outcome::Delivered => None,
            Outcome::Refused { text, .. } | Outcome::Failed { text } => Some(error_text(text)),
        });
        self.meters.tick(&self.group.name, &self.name, failure.is_some(), took);
        self.standing.lock().last_error = failure;
        hand.outbox.handle(self.now(), Input::Answered { batch, outcomes });
    }

    /// What waits for the peer, here and in its consumer, and how old the oldest of it is.
    async fn waiting(&self) -> (Standing, u64, Duration) {
        let standing = self.standing.lock().clone();
        let pending = self.journal.consumer_info(&self.group.stream, &self.consumer).await;
        let queue = standing.waiting + pending.map_or(0, |info| info.pending);
        let lag = standing.oldest.map_or(Duration::ZERO, |oldest| self.now().since(oldest));
        (standing, queue, lag)
    }

    /// Puts what waits into the gauges.
    pub(super) async fn measure(&self) {
        let (standing, queue, lag) = self.waiting().await;
        let breaker = match standing.breaker {
            None | Some(Breaker::Closed) => 0,
            Some(Breaker::HalfOpen) => 1,
            Some(Breaker::Open) => 2,
        };
        self.meters.peer(&self.group.name, &self.name, queue, lag, breaker);
    }

    /// As the API shows it.
    pub(super) async fn show(&self) -> Value {
        let (standing, queue, lag) = self.waiting().await;
        let mode = match self.target.mode() {
            Mode::Unknown => "unknown",
            Mode::Single => "single",
            Mode::Batch => "batch",
        };
        let mut shown = json!({"group": self.group.name, "peer": self.name, "endpoint": self.resolved.endpoint,
            "breaker": standing.breaker.unwrap_or(Breaker::Closed).word(), "queue": queue,
            "lagSeconds": lag.as_secs_f64(), "mode": mode});
        if let Some(error) = &standing.last_error {
            shown["lastError"] = (**error).into();
        }
        if let Some(next) = standing.next {
            shown["nextAttemptAt"] = next.to_string().into();
        }
        shown
    }

    /// Asks the peer what it knows of a fact.
    ///
    /// # Errors
    /// Why it does not say, for people.
    pub(super) async fn ask(&self, id: &str) -> Result<Value, String> {
        let key = self.key.load_full().ok_or("no key signs")?;
        let body = json!({"group": self.group.name, "id": id}).to_string();
        let seconds = i64::try_from(self.now().nanos() / 1_000_000_000).unwrap_or(i64::MAX);
        match self.target.ask(&key.secret, seconds, link::wire::TRACE, body.into()).await {
            Ok(answer) => serde_json::from_slice(&answer).map_err(|_| String::from("the answer is no JSON")),
            Err(Pushed::Refused { text, .. } | Pushed::Failed { text }) => Err(text),
            Err(Pushed::Accepted { .. }) => Err(String::from("the peer does not say")),
        }
    }

    /// Ends, and waits until it did.
    pub(super) async fn end(&self) {
        self.end.cancel();
        self.over.cancelled().await;
    }

    /// Lets go of what the journal keeps for it: the peer is no more.
    pub(super) async fn forget(&self) {
        self.group.deliveries.lock().prune_peer(&self.name);
        if let Err(error) = self.journal.consumer_delete(&self.group.stream, &self.consumer).await {
            warn!(peer = self.name, %error, "the peer's consumer stays");
        }
    }
}

/// Reads what a peer needs of files. Blocks.
fn prepare(group: &str, spec: &GroupSpec, peer: &ResolvedPeer) -> Result<(Target, Option<Key>), PeerError> {
    let key = keys::signing(group, spec, peer)?.ok_or(PeerError::NoKey)?;
    let endpoint = peer.endpoint.as_deref().unwrap_or_default();
    let tls = tls_of(peer)?;
    let options = TargetOptions {
        tls,
        server_name: Some(peer.tls.server_name.clone()).filter(|name| !name.is_empty()),
        waits: Waits::of_request(peer.timeout),
        batch: peer.batch == Batch::Auto,
        ..TargetOptions::default()
    };
    Ok((Target::new(endpoint, options)?, Some(key)))
}

/// What a peer is spoken to with, where its endpoint is https. Blocks on files.
fn tls_of(peer: &ResolvedPeer) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    let given = |file: &str| Some(file).filter(|file| !file.is_empty()).map(std::path::PathBuf::from);
    if !peer.endpoint.as_deref().unwrap_or_default().trim_start().starts_with("https:") {
        return Ok(None);
    }
    let identity = given(&peer.tls.cert_file).zip(given(&peer.tls.key_file));
    link::client_config(&ClientFiles { authorities: given(&peer.tls.ca_file), identity }).map(Some)
}

//! One group on this node: its stream, and the table of facts that is folded from it.
//!
//! # Invariants
//! - A fact is answered for when it is on disk, and not before.
//! - What the table holds is what the stream says: whoever writes to it, by whatever door, is read by
//!   [`Group::follow`], and only by it.
//! - A fact that came from elsewhere is never owed to a peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use door::{Port, Principal, PublishError, Published};
use event::{Fact, Moment, encode_token};
use federation::deliveries::{Deliveries, Delivery, decode};
use federation::facts::{Entry, Facts, Gone, Judged, Why};
use federation::intake::Reject;
use federation::stored::{Stored, from_message, group_pattern, message_id, stream_name, to_message};
use journal::limits::PAGE_MESSAGES_MAX;
use journal::{Append, AppendError, Journal, Page, Read, ReadError, Start, StreamConfig, StreamError};
use parking_lot::Mutex;
use plan::GroupSpec;
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::dynamic::Dynamic;
use super::ledger::Ledger;
use super::meters::{Meters, Received};

/// How long a message id is remembered: until the record it names was folded, by far.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(10);

/// Longest wait of one read, after which retention is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How long to wait where the stream cannot be read.
const PAUSE: Duration = Duration::from_secs(1);

/// Facts gone that a reaction may be behind; beyond, it looks at the whole table.
const GONE_HELD_MAX: usize = 1_024;

/// A fact that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// Its position; 0 where it was there already.
    pub(super) seq: u64,
    /// Whether nothing was recorded, since it says nothing new.
    pub(super) duplicate: bool,
}

/// A recorded fact with its place.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) seq: u64,
    pub(super) recorded: Moment,
    pub(super) stored: Stored,
}

/// See the module.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) stream: String,
    pub(super) spec: ArcSwap<GroupSpec>,
    pub(super) facts: Mutex<Facts>,
    /// What became of the facts in the table towards each peer.
    pub(super) deliveries: Mutex<Deliveries>,
    /// Facts that hold no longer, for reactions.
    pub(super) gone: broadcast::Sender<Arc<[Gone]>>,
    /// The position up to which the table is folded.
    folded: watch::Sender<u64>,
    /// The last position that somebody was told of here.
    answered: AtomicU64,
    /// How often the table was folded anew: facts that had ended may hold again.
    pub(super) refolded: watch::Sender<u64>,
    journal: Arc<dyn Journal>,
    port: Port,
    dynamic: Arc<Dynamic>,
    meters: Arc<Meters>,
    pub(super) received: Received,
    /// The node itself, where a peer's fact is recorded.
    itself: Principal,
}

/// What a group needs of its node.
pub(super) struct Surroundings {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) port: Port,
    pub(super) dynamic: Arc<Dynamic>,
    pub(super) meters: Arc<Meters>,
}

impl Group {
    /// Makes the group's stream and folds what it holds.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn open(
        name: &str,
        spec: GroupSpec,
        ledger: &Ledger,
        around: Surroundings,
    ) -> Result<Arc<Self>, StreamError> {
        let Surroundings { journal, port, dynamic, meters } = around;
        let group = Group {
            name: name.to_owned(),
            stream: stream_name(name),
            spec: ArcSwap::from_pointee(spec),
            facts: Mutex::new(Facts::new(name)),
            deliveries: Mutex::default(),
            gone: broadcast::channel(GONE_HELD_MAX).0,
            folded: watch::channel(0).0,
            answered: AtomicU64::new(0),
            refolded: watch::channel(0).0,
            journal,
            port,
            dynamic,
            meters,
            received: Received::default(),
            itself: Principal::anyone(),
        };
        group.declare().await?;
        let mut next = 1;
        loop {
            let page = match group.journal.read(&group.stream, Read::from(next, PAGE_MESSAGES_MAX)).await {
                Ok(page) => page,
                Err(error) => return Err(StreamError::Closed(error.to_string())),
            };
            // Nobody listens yet.
            group.fold(&page);
            next = page.next;
            if page.next > page.last {
                break;
            }
        }
        group.restore(ledger).await;
        Ok(Arc::new(group))
    }

    /// Takes up what became of facts before a restart. Where it cannot be read, peers are told again.
    async fn restore(&self, ledger: &Ledger) {
        let tokens = format!("deliveries.{}.>", encode_token(&self.name));
        let read = ledger.entries_at(&tokens, |entry| {
            let facts = self.facts.lock();
            let mut deliveries = self.deliveries.lock();
            for delivery in decode(&entry.data).unwrap_or_default() {
                if facts.get(&delivery.id).is_some() {
                    deliveries.apply(delivery);
                }
            }
        });
        if let Err(error) = read.await {
            warn!(group = self.name, %error, "what became of facts cannot be read");
        }
    }

    /// Every delivery of a fact, ended ones too: from the ledger.
    pub(super) async fn deliveries_of(&self, ledger: &Ledger, id: &str) -> Vec<Delivery> {
        let mut found = Deliveries::new();
        let tokens = format!("deliveries.{}.>", encode_token(&self.name));
        let read = ledger.entries_at(&tokens, |entry| {
            // A line that cannot be read is one of another time.
            let all = decode(&entry.data).unwrap_or_default();
            all.into_iter().filter(|delivery| *delivery.id == *id).for_each(|delivery| _ = found.apply(delivery));
        });
        // A ledger that cannot be read has nothing to say of it.
        let _unread = read.await;
        self.deliveries.lock().of(id).cloned().for_each(|delivery| _ = found.apply(delivery));
        found.of(id).cloned().collect()
    }

    /// Has the stream keep what the specification says.
    async fn declare(&self) -> Result<(), StreamError> {
        let pattern = group_pattern(&self.name)
            .map_err(|error| StreamError::Invalid { field: "subjects", reason: error.to_string() })?;
        let retention = self.spec.load().retention.clone();
        let (age_max, messages_max) = (retention.max_age.filter(|age| !age.is_zero()), retention.max_events);
        let messages_max = Some(messages_max).filter(|max| *max > 0);
        match self.journal.stream_info(&self.stream).await {
            Ok(found) if found.config.age_max == age_max && found.config.messages_max == messages_max => Ok(()),
            Ok(found) => {
                let config = StreamConfig { age_max, messages_max, ..found.config };
                self.journal.stream_update(config).await.map(|_| ())
            }
            Err(StreamError::NotFound(_)) => {
                let mut config = StreamConfig::new(&self.stream, [pattern]);
                config.description = format!("Facts of the group {}", self.name);
                (config.age_max, config.messages_max) = (age_max, messages_max);
                config.duplicate_window = DUPLICATE_WINDOW;
                self.journal.stream_create(config).await?;
                self.port.catalogue_changed();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes another specification of the same group.
    pub(super) async fn change(&self, spec: GroupSpec) {
        self.spec.store(Arc::new(spec));
        if let Err(error) = self.declare().await {
            warn!(group = self.name, %error, "the group's stream cannot be changed");
        }
    }

    /// Folds what the stream brings, until told to end.
    pub(super) async fn follow(self: Arc<Self>, end: CancellationToken) {
        let mut next = *self.folded.borrow() + 1;
        loop {
            let wait = self.until_expiry();
            let read = Read { wait: Some(wait), ..Read::from(next, PAGE_MESSAGES_MAX) };
            let page = tokio::select! {
                biased;
                () = end.cancelled() => return,
                page = self.journal.read(&self.stream, read) => page,
            };
            if self.facts.lock().is_ahead_of(self.port.now()) {
                warn!(group = self.name, "the clock was set back; the facts are looked at anew");
                match self.fold_anew().await {
                    Ok(reached) => next = reached,
                    Err(error) => {
                        warn!(group = self.name, %error, "the group's facts cannot be read");
                        pause(&end).await;
                    }
                }
                continue;
            }
            match page {
                Ok(page) => {
                    next = page.next;
                    self.fold(&page);
                    self.forget().await;
                }
                Err(ReadError::NotFound(_)) => {
                    error!(group = self.name, stream = self.stream, "the group's stream is gone; it is made anew");
                    self.answered.store(0, Ordering::Relaxed);
                    *self.facts.lock() = Facts::new(&self.name);
                    next = 1;
                    if let Err(error) = self.declare().await {
                        error!(group = self.name, %error, "the group's stream cannot be made");
                    }
                    pause(&end).await;
                }
                Err(error) => {
                    warn!(group = self.name, %error, "the group's facts cannot be read");
                    pause(&end).await;
                }
            }
        }
    }

    /// Makes the table again, of all that is kept, and puts it in the place of the one that is. What went
    /// within that history is told to nobody: it had been told when it did.
    async fn fold_anew(&self) -> Result<u64, ReadError> {
        let mut facts = Facts::new(&self.name);
        let mut next = 1;
        loop {
            let page = self.journal.read(&self.stream, Read::from(next, PAGE_MESSAGES_MAX)).await?;
            let now = self.port.now();
            for message in &page.messages {
                if let Some(Ok(stored)) = from_message(&message.message, &self.name) {
                    facts.fold(message.seq, message.time, &stored, now);
                }
            }
            next = page.next;
            if page.next > page.last {
                break;
            }
        }
        *self.facts.lock() = facts;
        self.folded.send_replace(next.saturating_sub(1));
        self.refolded.send_modify(|times| *times += 1);
        Ok(next)
    }

    fn until_expiry(&self) -> Duration {
        let now = self.port.now();
        self.facts.lock().next_expiry().map_or(LOOK, |expiry| expiry.since(now)).min(LOOK)
    }

    fn fold(&self, page: &Page) {
        let now = self.port.now();
        let mut gone = Vec::new();
        {
            let mut facts = self.facts.lock();
            for message in &page.messages {
                match from_message(&message.message, &self.name) {
                    Some(Ok(stored)) => gone.extend(facts.fold(message.seq, message.time, &stored, now).gone),
                    Some(Err(error)) => warn!(group = self.name, seq = message.seq, %error, "no fact"),
                    None => {}
                }
            }
            gone.extend(facts.expire(now));
        }
        self.tell_gone(gone);
        self.folded.send_replace(page.next.saturating_sub(1));
    }

    fn tell_gone(&self, gone: Vec<Gone>) {
        if !gone.is_empty() {
            let over = gone.iter().filter(|gone| gone.why != Why::Withdrawn).map(|gone| &*gone.id);
            self.deliveries.lock().prune(over);
            // Where no subscription listens, nothing is derived either.
            let _unheard = self.gone.send(gone.into());
        }
    }

    /// Lets go of what the stream keeps no more.
    async fn forget(&self) {
        let Some(first) = self.facts.lock().after(0).next().map(|entry| entry.seq) else { return };
        match self.journal.stream_info(&self.stream).await {
            Ok(info) if info.state.first > first => {
                let gone = self.facts.lock().forget_before(info.state.first, self.port.now());
                self.meters.pruned(&self.name, Some(gone.len() as u64));
                self.tell_gone(gone);
            }
            Ok(_) => self.meters.pruned(&self.name, Some(0)),
            Err(_) => self.meters.pruned(&self.name, None),
        }
    }

    /// Waits until the table holds what was recorded up to a position.
    pub(super) async fn folded(&self, seq: u64) {
        let mut folded = self.folded.subscribe();
        // The sender lives as long as this.
        let _gone = folded.wait_for(|at| *at >= seq).await;
    }

    /// Waits until the table holds what somebody was told is recorded: who tells and then asks finds it.
    pub(super) async fn up_to_date(&self) {
        self.folded(self.answered.load(Ordering::Relaxed)).await;
    }

    /// This node's name in the group.
    pub(super) fn own_node(&self) -> String {
        self.spec.load().node_name.clone()
    }

    /// Records facts that came by `via`, each for itself, in the node's own name.
    pub(super) async fn take(&self, via: &str, facts: Vec<Fact>) -> Vec<Result<Taken, Reject>> {
        let begun: Vec<_> = facts.iter().map(|fact| self.begin(&self.itself, Some(via), fact)).collect();
        let mut taken = Vec::with_capacity(begun.len());
        for (begun, fact) in begun.into_iter().zip(&facts) {
            let answer = match begun {
                Err(reject) => Err(reject),
                Ok(Begun::Known) => Ok(Taken { seq: 0, duplicate: true }),
                Ok(Begun::Asked(answer)) => outcome(answer.await).map_err(|error| self.not_stored(&error)),
            };
            match &answer {
                Ok(taken) => {
                    self.answered.fetch_max(taken.seq, Ordering::Relaxed);
                    self.meters.received(&self.received, &self.name, &fact.kind, taken.duplicate);
                }
                Err(reject) => self.meters.rejected(&self.name, reject.reason()),
            }
            taken.push(answer);
        }
        taken
    }

    fn not_stored(&self, error: &PublishError) -> Reject {
        if matches!(error, PublishError::Journal(AppendError::Busy)) {
            return Reject::Busy;
        }
        warn!(group = self.name, %error, "a fact that was received cannot be recorded");
        Reject::StoreError
    }

    /// Records a fact that is told here, in somebody's name.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) async fn tell(&self, who: &Principal, fact: &Fact) -> Result<Taken, Refusal> {
        match self.begin(who, None, fact).map_err(Refusal::Reject)? {
            Begun::Known => {
                let seq = self.facts.lock().get(&fact.id).map_or(0, |entry| entry.seq);
                Ok(Taken { seq, duplicate: true })
            }
            Begun::Asked(answer) => {
                let taken = outcome(answer.await).map_err(Refusal::Publish)?;
                self.answered.fetch_max(taken.seq, Ordering::Relaxed);
                Ok(taken)
            }
        }
    }

    fn begin(&self, who: &Principal, via: Option<&str>, fact: &Fact) -> Result<Begun, Reject> {
        if let Some(claim) = self.dynamic.captured(fact, &self.own_node()) {
            return Err(Reject::SelfCapture { claim });
        }
        let merged = {
            let facts = self.facts.lock();
            match facts.judge(fact) {
                Judged::Conflict => return Err(Reject::Conflict(fact.id.clone())),
                judged if !judged.is_news(via.is_some()) => return Ok(Begun::Known),
                _ => facts.merged(fact),
            }
        };
        let message =
            to_message(&merged, via).map_err(|error| Reject::Validation(format!("invalid event: {error}")))?;
        let append = Append { id: Some(message_id(&merged)), ..Append::new(message) };
        let (sender, receiver) = oneshot::channel();
        self.port.publish_then(who, append, move |outcome| {
            // Whoever left does not want to know.
            let _unwanted = sender.send(outcome);
        });
        Ok(Begun::Asked(receiver))
    }

    /// A recorded fact.
    ///
    /// # Errors
    /// As the journal says; not found where the position holds none.
    pub(super) async fn read(&self, seq: u64) -> Option<Found> {
        let message = self.journal.get(&self.stream, seq).await.ok()?;
        let stored = from_message(&message.message, &self.name)?.ok()?;
        Some(Found { seq, recorded: message.time, stored })
    }

    /// Every record from a position on, given to `each`, until it says that it has enough.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn records(&self, from: u64, mut each: impl FnMut(Found) -> bool) -> Result<(), ReadError> {
        let mut read = Read::from(from, PAGE_MESSAGES_MAX);
        loop {
            let page = self.journal.read(&self.stream, read.clone()).await?;
            for message in &page.messages {
                let Some(Ok(stored)) = from_message(&message.message, &self.name) else { continue };
                if !each(Found { seq: message.seq, recorded: message.time, stored }) {
                    return Ok(());
                }
            }
            if page.next > page.last {
                return Ok(());
            }
            read.start = Start::Seq(page.next);
        }
    }

    /// What the table says of a fact.
    pub(super) fn entry(&self, id: &str) -> Option<Entry> {
        self.facts.lock().get(id).cloned()
    }
}

/// A fact on its way to the disk.
enum Begun {
    /// It says nothing new.
    Known,
    /// It is asked for.
    Asked(oneshot::Receiver<Result<Published, PublishError>>),
}

/// Why a fact told here was not recorded.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It may not be.
    Reject(Reject),
    /// The port or the journal refused.
    Publish(PublishError),
}

fn outcome(answer: Result<Result<Published, PublishError>, oneshot::error::RecvError>) -> Result<Taken, PublishError> {
    let lost = |_| Err(AppendError::Closed("the journal gave the append up".into()).into());
    match answer.unwrap_or_else(lost)? {
        Published::Recorded(receipt) => Ok(Taken { seq: receipt.seq, duplicate: receipt.duplicate }),
        // Its stream went away in between; a sender tries again.
        Published::Delivered(_) => Err(AppendError::Busy.into()),
    }
}

async fn pause(end: &CancellationToken) {
    tokio::select! {
        () = end.cancelled() => {}
        () = tokio::time::sleep(PAUSE) => {}
    }
}

//! One subscription as it runs: its consumer, its machine, and the plugins that it calls.
//!
//! # Invariants
//! - A position is acknowledged after what became of it was recorded, and not before.
//! - At a start the machine is told what was kept and every fact that holds, before anything is decided.
//! - Where the ledger cannot be written, nothing further is decided: it is tried until it can.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use door::Port;
use event::{Fact, Moment, Pattern, encode_token};
use federation::facts::Gone;
use federation::stored::{SUBJECT_PREFIX, from_message};
use journal::{Ack, AckToken, ConsumerConfig, ConsumerError, ConsumerStart, Delivery, Journal};
use plan::reaction::{Input, Output, Reaction, RunFailure, RunRecord};
use plan::{Declared, Part, PluginRequest, PluginResult, PluginSpec, SubscriptionSpec, Trigger, context};
use plugin::{Call, Limits};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::dynamic::Dynamic;
use super::feed::Feed;
use super::group::Group;
use super::ledger::Ledger;
use super::meters::Meters;

/// How long to wait where the ledger cannot be written, or the consumer is gone.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a fact may be at work before it is given again, which the machine takes for the same.
const ACK_WAIT: Duration = Duration::from_secs(3_600);

/// What a subscription needs of its node.
pub(super) struct Surroundings {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) port: Port,
    pub(super) ledger: Arc<Ledger>,
    pub(super) dynamic: Arc<Dynamic>,
    pub(super) meters: Arc<Meters>,
    pub(super) plugins: Arc<Semaphore>,
    pub(super) declared: watch::Receiver<Arc<Declared>>,
}

/// See the module.
pub(super) struct Reacting {
    name: String,
    spec: SubscriptionSpec,
    plugin: PluginSpec,
    group: Arc<Group>,
    consumer: String,
    around: Surroundings,
    end: CancellationToken,
    over: CancellationToken,
}

/// A run that ended.
type Ended = (u64, Result<PluginResult, RunFailure>);

impl Reacting {
    /// Makes the subscription's consumer.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn open(
        name: &str,
        spec: &SubscriptionSpec,
        plugin: &PluginSpec,
        group: Arc<Group>,
        around: Surroundings,
        end: CancellationToken,
    ) -> Result<Arc<Self>, ConsumerError> {
        let reacting = Reacting {
            name: name.to_owned(),
            spec: spec.clone(),
            plugin: plugin.clone(),
            consumer: super::consumer_name("sub", name),
            group,
            around,
            end,
            over: CancellationToken::new(),
        };
        reacting.declare().await?;
        Ok(Arc::new(reacting))
    }

    async fn declare(&self) -> Result<(), ConsumerError> {
        let mut config = ConsumerConfig::new(&self.consumer);
        config.description = format!("EventSubscription/{}", self.name);
        config.filters = self.filters();
        config.start = ConsumerStart::All;
        config.ack_wait = ACK_WAIT;
        config.ack_pending_max = None;
        super::need_consumer(&self.around.journal, &self.group.stream, config).await?;
        // What was delivered to a process that is gone is delivered to this one.
        self.around.journal.consumer_reset(&self.group.stream, &self.consumer, None).await.map(|_| ())
    }

    /// What of the group's stream can concern it: withdrawals come at the type of what they withdraw.
    fn filters(&self) -> Vec<Pattern> {
        let group = encode_token(&self.group.name);
        let types = self.spec.matches.types.iter().map(|kind| {
            let mut fact = Fact::new(&self.group.name, "x", kind.as_str());
            fact.kind.clone_from(kind);
            federation::stored::subject(&fact).ok().and_then(|subject| Pattern::parse(subject.as_str()).ok())
        });
        let patterns = self
            .spec
            .matches
            .patterns
            .iter()
            .map(|pattern| Pattern::parse(&format!("{SUBJECT_PREFIX}.{group}.{pattern}")).ok());
        let filters: Option<Vec<Pattern>> = types.chain(patterns).collect();
        let mut filters = filters.unwrap_or_default();
        filters.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        filters.dedup();
        // Patterns that overlap are one too many for a consumer: the machine judges each fact anyway.
        let overlap =
            filters.iter().enumerate().any(|(at, one)| filters[at + 1..].iter().any(|other| one.overlaps(other)));
        if overlap { Vec::new() } else { filters }
    }

    /// Runs until told to end.
    pub(super) async fn run(self: Arc<Self>) {
        let _over = self.over.clone().drop_guard();
        let mut machine = Reaction::new(&self.name, &self.spec, crate::entropy::seed().map_or(0, |[word, _]| word));
        let mut gone = self.group.gone.subscribe();
        if !self.catch_up(&mut machine).await {
            return;
        }
        let mut feed = Feed::open(&self.around.journal, &self.group.stream, &self.consumer);
        let mut runs: JoinSet<Ended> = JoinSet::new();
        info!(subscription = self.name, plugin = self.spec.trigger.plugin_ref, "the subscription reacts");
        loop {
            while let Some(output) = machine.poll() {
                if !self.carry_out(output, &mut runs).await {
                    return;
                }
            }
            self.around.dynamic.settle();
            let wake = machine.next_wake().map(|at| at.since(self.now()));
            let room = machine.room() > 0;
            tokio::select! {
                biased;
                () = self.end.cancelled() => return,
                Some(ended) = runs.join_next() => match ended {
                    Ok((run, outcome)) => machine.handle(self.now(), Input::Ran { run, outcome }),
                    Err(error) => error!(subscription = self.name, %error, "a run was lost"),
                },
                told = gone.recv() => match told {
                    Ok(all) => all.iter().for_each(|gone| self.tell_gone(&mut machine, gone)),
                    Err(RecvError::Lagged(_)) => self.compare(&mut machine),
                    Err(RecvError::Closed) => return,
                },
                delivery = feed.next(), if room => match delivery {
                    Some(delivery) => {
                        self.given(&mut machine, &delivery).await;
                        // What came together goes together.
                        while machine.room() > 0
                            && let Some(delivery) = feed.held()
                        {
                            self.given(&mut machine, &delivery).await;
                        }
                    }
                    None => {
                        self.pause().await;
                        if let Err(error) = self.declare().await {
                            warn!(subscription = self.name, %error, "the subscription's consumer cannot be had");
                        }
                        feed = Feed::open(&self.around.journal, &self.group.stream, &self.consumer);
                    }
                },
                () = sleep_until(Instant::now() + wake.unwrap_or_default()), if wake.is_some() => {
                    machine.handle(self.now(), Input::Tick);
                }
            }
        }
    }

    fn now(&self) -> Moment {
        self.around.port.now()
    }

    /// Tells the machine what was kept.
    async fn catch_up(&self, machine: &mut Reaction) -> bool {
        let now = self.now();
        for part in self.around.dynamic.parts_of(&self.name) {
            machine.handle(now, Input::Restore { part: Box::new(part) });
        }
        loop {
            let mut records = Vec::new();
            let token = format!("runs.{}", encode_token(&self.name));
            let read = self.around.ledger.entries_at(&token, |entry| {
                let record = serde_json::from_slice(&entry.data).ok();
                records.extend(record.and_then(|record| RunRecord::from_json(&record).ok()));
            });
            match read.await {
                Ok(()) => {
                    for record in records {
                        machine.handle(now, Input::RestoreRun { record: Box::new(record) });
                    }
                    break;
                }
                Err(error) => {
                    warn!(subscription = self.name, %error, "the runs so far cannot be read");
                    if !self.pause().await {
                        return false;
                    }
                }
            }
        }
        let holds: Vec<u64> = {
            let facts = self.group.facts.lock();
            facts.live(now).map(|entry| entry.seq).collect()
        };
        for seq in holds {
            if let Some(found) = self.group.read(seq).await
                && machine.is_about(&found.stored.fact)
            {
                machine.handle(now, Input::Fact { seq, fact: Arc::new(found.stored.fact) });
            }
        }
        machine.handle(self.now(), Input::CaughtUp);
        true
    }

    /// A delivery: a fact for the machine, or nothing to wait for.
    async fn given(&self, machine: &mut Reaction, delivery: &Delivery) {
        let stored = &delivery.stored;
        let fact = from_message(&stored.message, &self.group.name).and_then(Result::ok).map(|stored| stored.fact);
        let Some(fact) = fact.filter(|fact| machine.is_about(fact)) else {
            return self.acknowledge(stored.seq);
        };
        // What the table says counts, so it must have read what is judged by it.
        self.group.folded(stored.seq).await;
        let now = self.now();
        match self.group.entry(&fact.id) {
            Some(entry) if entry.is_live(now) && entry.seq == stored.seq => {
                machine.handle(now, Input::Fact { seq: stored.seq, fact: Arc::new(fact) });
            }
            // A later state comes in its own time.
            Some(entry) if entry.is_live(now) => self.acknowledge(stored.seq),
            _ => {
                machine.handle(now, Input::Gone { id: fact.id });
                self.acknowledge(stored.seq);
            }
        }
    }

    fn tell_gone(&self, machine: &mut Reaction, gone: &Gone) {
        machine.handle(self.now(), Input::Gone { id: gone.id.to_string() });
    }

    /// Too much went at once: whatever the parts stand on and holds no longer is told.
    fn compare(&self, machine: &mut Reaction) {
        let now = self.now();
        let stands_on = self.around.dynamic.parts_of(&self.name).into_iter().filter_map(|part| part.origin);
        for fact in stands_on.flat_map(|origin| origin.facts) {
            if !self.group.entry(&fact.id).is_some_and(|entry| entry.is_live(now)) {
                machine.handle(now, Input::Gone { id: fact.id });
            }
        }
    }

    fn acknowledge(&self, seq: u64) {
        let (stream, consumer) = (self.group.stream.as_str().into(), self.consumer.as_str().into());
        let token = AckToken { stream, consumer, tag: 0, seq, attempt: 1, order: 0 };
        self.around.journal.acknowledge(token, Ack::Done, false, Box::new(|_| ()));
    }

    /// Does what the machine wants; false where it is told to end.
    async fn carry_out(&self, output: Output, runs: &mut JoinSet<Ended>) -> bool {
        match output {
            Output::Run { run, facts, previous_generation, idempotency_key, .. } => {
                let request = self.request(&facts, previous_generation, idempotency_key);
                runs.spawn(self.call(run, request));
            }
            Output::Put(part) => return self.insist(|| self.around.dynamic.put((*part).clone())).await,
            Output::Renew { source, until, seqs } => {
                return self.insist(|| self.around.dynamic.renew(&source, until, &seqs)).await;
            }
            Output::Drop { source, why } => {
                return self.insist(|| self.around.dynamic.drop_part(&source, why.as_str())).await;
            }
            Output::Record(record) => return self.record("runs", &record).await,
            Output::Dead(record) => {
                warn!(subscription = self.name, run = record.run, error = record.error, "the run is given up");
                return self.record("dead", &record).await;
            }
            Output::Done { seqs } => seqs.into_iter().for_each(|seq| self.acknowledge(seq)),
        }
        true
    }

    async fn record(&self, place: &str, record: &RunRecord) -> bool {
        let (json, tokens) = (record.to_json(), [place, self.name.as_str()]);
        self.insist(|| self.around.ledger.recorded(&tokens, "run", json.clone())).await
    }

    /// Tries until it is done; false where it is told to end before.
    async fn insist<F: Future<Output = Result<(), journal::AppendError>>>(&self, what: impl Fn() -> F) -> bool {
        loop {
            match what().await {
                Ok(()) => return true,
                Err(error) => {
                    warn!(subscription = self.name, %error, "what became of facts cannot be recorded; it is tried again");
                }
            }
            if !self.pause().await {
                return false;
            }
        }
    }

    /// Waits a little; false where it is told to end.
    async fn pause(&self) -> bool {
        tokio::select! {
            () = self.end.cancelled() => false,
            () = sleep(PAUSE) => true,
        }
    }

    fn request(&self, facts: &[Arc<Fact>], previous_generation: u64, idempotency_key: String) -> serde_json::Value {
        let declared = self.around.declared.borrow().clone();
        let request = PluginRequest {
            plugin: &self.spec.trigger.plugin_ref,
            trigger: Trigger::subscription(&self.name),
            now: self.now(),
            facts,
            previous_generation,
            idempotency_key,
            context: context(&self.plugin.context.resources, declared.documents()),
        };
        request.to_json()
    }

    /// One run of the plugin, when there is room for it.
    fn call(&self, run: u64, request: serde_json::Value) -> impl Future<Output = Ended> + Send + use<> {
        let (name, spec) = (self.spec.trigger.plugin_ref.clone(), self.plugin.clone());
        let (slots, meters) = (Arc::clone(&self.around.plugins), Arc::clone(&self.around.meters));
        async move {
            let Ok(_slot) = slots.acquire_owned().await else {
                return (run, Err(RunFailure { error: String::from("the node stops"), interrupted: true }));
            };
            (run, call(&name, &spec, &request, &meters).await.map(|(result, _)| result))
        }
    }

    /// Waits until it runs no more.
    pub(super) async fn ended(&self) {
        self.over.cancelled().await;
    }

    /// Lets go of what the journal keeps for it: the subscription is no more, and so is what it derived.
    pub(super) async fn forget(&self) {
        if let Err(error) = self.around.journal.consumer_delete(&self.group.stream, &self.consumer).await {
            warn!(subscription = self.name, %error, "the subscription's consumer stays");
        }
        let sources: Vec<String> =
            self.around.dynamic.parts_of(&self.name).into_iter().map(|part: Part| part.source).collect();
        for source in sources {
            if let Err(error) = self.around.dynamic.drop_part(&source, "subscription deleted").await {
                warn!(subscription = self.name, source, %error, "a part stays until its time is over");
            }
        }
        self.around.dynamic.settle();
    }
}

/// Calls a plugin once and judges its result; what it wrote to standard error beside it.
///
/// # Errors
/// [`RunFailure`] for people.
pub(super) async fn call(
    name: &str,
    spec: &PluginSpec,
    request: &serde_json::Value,
    meters: &Meters,
) -> Result<(PluginResult, String), RunFailure> {
    let executable = PathBuf::from(&spec.executable);
    let limits = Limits {
        time: spec.timeout,
        stdout_bytes: usize::try_from(spec.limits.stdout_bytes).unwrap_or(usize::MAX),
        stderr_bytes: usize::try_from(spec.limits.stderr_bytes).unwrap_or(usize::MAX),
        memory_bytes: spec.limits.memory_bytes,
        cpu: spec.limits.cpu,
        processes: spec.limits.processes,
    };
    let ran = plugin::run(&Call { name, executable: &executable, env: &spec.env, limits }, request).await;
    match ran {
        Ok(ran) => match PluginResult::parse(&ran.result, spec) {
            Ok(result) => {
                meters.ran(name, "succeeded", ran.took);
                Ok((result, ran.stderr))
            }
            Err(error) => {
                meters.ran(name, "refused", ran.took);
                Err(RunFailure::new(format!("the plugin {name} gave a result that is refused: {error}")))
            }
        },
        Err(error) => {
            meters.ran(name, "failed", error.took);
            Err(RunFailure::new(error.to_string()))
        }
    }
}

//! What peers push, taken: at a group's own listener, and at the HTTP door for all groups.
//!
//! # Invariants
//! - A key takes facts into the group that it is bound to, whichever listener they came by.
//! - Every refusal is counted; those of a fact are recorded in the ledger too, so that a trace shows them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use door::Port;
use event::{Fact, Moment};
use federation::intake::{Binding, Reject};
use link::{Doing, Gate, Intake as Takes, KeyRing, Noted, Status, Taken};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::group::Group;
use super::ledger::Ledger;
use super::meters::Meters;
use super::trace::hops;

/// Refusals that wait to be recorded; beyond, they are counted alone.
const REFUSALS_HELD_MAX: usize = 256;

/// Refusals recorded in a second, at most: a stranger must not fill the ledger.
const REFUSALS_A_SECOND: u32 = 20;

/// One group's intake.
pub(super) struct Intake {
    group: Arc<Group>,
    ledger: Arc<Ledger>,
    port: Port,
    meters: Arc<Meters>,
    gate: Gate,
    keys: ArcSwap<KeyRing>,
    received: AtomicU64,
    duplicate: AtomicU64,
    rejected: AtomicU64,
    /// The second, and how many refusals were recorded in it.
    pace: Mutex<(u64, u32)>,
    refusals: mpsc::Sender<Value>,
}

impl Intake {
    pub(super) fn new(group: Arc<Group>, ledger: Arc<Ledger>, port: Port, meters: Arc<Meters>) -> Self {
        let (refusals, mut waiting) = mpsc::channel::<Value>(REFUSALS_HELD_MAX);
        let (name, kept) = (group.name.clone(), Arc::clone(&ledger));
        tokio::spawn(async move {
            while let Some(refusal) = waiting.recv().await {
                if let Err(error) = ledger.record(&["refusals", &name], "fact.refused", refusal).await {
                    tracing::warn!(group = name, %error, "a refusal is not recorded");
                }
            }
        });
        Intake {
            group,
            ledger: kept,
            port,
            meters,
            gate: Gate::default(),
            keys: ArcSwap::default(),
            received: AtomicU64::new(0),
            duplicate: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            pace: Mutex::default(),
            refusals,
        }
    }

    pub(super) fn set_keys(&self, keys: Arc<KeyRing>) {
        self.keys.store(keys);
    }

    pub(super) fn ring(&self) -> Arc<KeyRing> {
        self.keys.load_full()
    }

    async fn take_all(&self, via: &str, facts: Vec<Fact>) -> Vec<Result<Taken, Reject>> {
        let told: Vec<(String, String, String)> =
            facts.iter().map(|fact| (fact.id.clone(), fact.kind.clone(), fact.source.clone())).collect();
        let taken = self.group.take(via, facts).await;
        let count =
            |taken: Result<super::group::Taken, Reject>, (id, kind, source): (String, String, String)| match taken {
                Ok(taken) => {
                    self.received.fetch_add(1, Ordering::Relaxed);
                    if taken.duplicate {
                        self.duplicate.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(Taken { duplicate: taken.duplicate })
                }
                Err(reject) => {
                    self.rejected.fetch_add(1, Ordering::Relaxed);
                    self.record(&reject, Some(via), json!({"id": id, "type": kind, "sourceNode": source}));
                    Err(reject)
                }
            };
        taken.into_iter().zip(told).map(|(taken, told)| count(taken, told)).collect()
    }

    fn refused(&self, noted: &Noted<'_>) {
        let Some(reject) = noted.reject else {
            self.received.fetch_add(1, Ordering::Relaxed);
            self.duplicate.fetch_add(1, Ordering::Relaxed);
            let kind = noted.fact.map_or("", |fact| fact.kind.as_str());
            self.meters.received(&self.group.received, &self.group.name, kind, true);
            return;
        };
        self.rejected.fetch_add(1, Ordering::Relaxed);
        self.meters.rejected(&self.group.name, reject.reason());
        if let Some(fact) = noted.fact {
            let told = json!({"id": fact.id, "type": fact.kind, "sourceNode": fact.source, "group": fact.group});
            self.record(reject, noted.via.map(|binding| binding.name.as_str()), told);
        }
    }

    /// Has a refusal recorded soon, unless there are too many.
    fn record(&self, reject: &Reject, via: Option<&str>, mut told: Value) {
        let second = self.port.now().nanos() / 1_000_000_000;
        {
            let mut pace = self.pace.lock();
            if pace.0 != second {
                *pace = (second, 0);
            }
            pace.1 += 1;
            if pace.1 > REFUSALS_A_SECOND {
                return;
            }
        }
        told["via"] = json!(via);
        told["reason"] = json!(reject.reason());
        told["text"] = json!(reject.body().trim_end());
        told["at"] = json!(self.port.now().to_string());
        // Where the ledger does not keep up, the count stays.
        let _counted = self.refusals.try_send(told);
    }
}

impl Takes for Intake {
    fn keys(&self) -> Arc<KeyRing> {
        self.ring()
    }

    fn now(&self) -> Moment {
        self.port.now()
    }

    fn window(&self) -> Duration {
        self.group.spec.load().replay_window
    }

    fn own_node(&self, _group: &str) -> Arc<str> {
        self.group.own_node().into()
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn take<'a>(&'a self, binding: &'a Binding, facts: Vec<Fact>) -> Doing<'a, Vec<Result<Taken, Reject>>> {
        Box::pin(self.take_all(&binding.name, facts))
    }

    fn status(&self) -> Status {
        Status {
            node: self.group.own_node(),
            group: self.group.name.clone(),
            received: self.received.load(Ordering::Relaxed),
            duplicate: self.duplicate.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            stored_events: self.group.facts.lock().len() as u64,
            replay_window_seconds: self.window().as_secs(),
        }
    }

    fn trace<'a>(&'a self, _binding: &'a Binding, id: &'a str) -> Doing<'a, Option<Value>> {
        Box::pin(async move {
            if !self.group.spec.load().trace {
                return None;
            }
            Some(Value::Array(hops(&self.group, &self.ledger, self.port.now(), id).await))
        })
    }

    fn note(&self, noted: Noted<'_>) {
        self.refused(&noted);
    }
}

/// The HTTP door's intake: every group's.
pub(super) struct Everywhere {
    intakes: RwLock<BTreeMap<String, Arc<Intake>>>,
    keys: ArcSwap<KeyRing>,
    gate: Gate,
    port: Port,
    node: String,
    meters: Arc<Meters>,
}

impl Everywhere {
    pub(super) fn new(node: &str, port: &Port, meters: &Arc<Meters>) -> Self {
        let (intakes, keys, gate) = (RwLock::default(), ArcSwap::default(), Gate::default());
        Everywhere { intakes, keys, gate, port: port.clone(), node: node.to_owned(), meters: Arc::clone(meters) }
    }

    /// Takes for these groups from now on.
    pub(super) fn set(&self, intakes: BTreeMap<String, Arc<Intake>>) {
        let accepted = intakes.values().flat_map(|intake| intake.ring().accepted().to_vec()).collect();
        self.keys.store(Arc::new(KeyRing::new(accepted)));
        *self.intakes.write() = intakes;
    }

    fn of(&self, group: &str) -> Option<Arc<Intake>> {
        self.intakes.read().get(group).cloned()
    }
}

impl Takes for Everywhere {
    fn keys(&self) -> Arc<KeyRing> {
        self.keys.load_full()
    }

    fn now(&self) -> Moment {
        self.port.now()
    }

    fn window(&self) -> Duration {
        self.intakes.read().values().map(|intake| intake.window()).max().unwrap_or_default()
    }

    fn window_of(&self, binding: &Binding) -> Duration {
        self.of(&binding.group).map(|intake| intake.window()).unwrap_or_default()
    }

    fn own_node(&self, group: &str) -> Arc<str> {
        self.of(group).map_or_else(|| self.node.as_str().into(), |intake| intake.own_node(group))
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn take<'a>(&'a self, binding: &'a Binding, facts: Vec<Fact>) -> Doing<'a, Vec<Result<Taken, Reject>>> {
        Box::pin(async move {
            match self.of(&binding.group) {
                Some(intake) => intake.take_all(&binding.name, facts).await,
                None => facts.iter().map(|_| Err(Reject::ForeignGroup(binding.group.clone()))).collect(),
            }
        })
    }

    fn status(&self) -> Status {
        let intakes = self.intakes.read();
        let each: Vec<Status> = intakes.values().map(|intake| intake.status()).collect();
        let groups: Vec<&str> = each.iter().map(|status| status.group.as_str()).collect();
        let sum = |count: fn(&Status) -> u64| each.iter().map(count).sum();
        Status {
            node: self.node.clone(),
            group: groups.join(","),
            received: sum(|status| status.received),
            duplicate: sum(|status| status.duplicate),
            rejected: sum(|status| status.rejected),
            stored_events: sum(|status| status.stored_events),
            replay_window_seconds: each.iter().map(|status| status.replay_window_seconds).max().unwrap_or(0),
        }
    }

    fn trace<'a>(&'a self, binding: &'a Binding, id: &'a str) -> Doing<'a, Option<Value>> {
        Box::pin(async move {
            let intake = self.of(&binding.group)?;
            intake.trace(binding, id).await
        })
    }

    fn note(&self, noted: Noted<'_>) {
        match noted.via.and_then(|binding| self.of(&binding.group)) {
            Some(intake) => intake.refused(&noted),
            None => {
                if let Some(reject) = noted.reject {
                    self.meters.rejected("", reject.reason());
                }
            }
        }
    }
}

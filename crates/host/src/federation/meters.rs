//! What is counted of facts between sites, under `tidings_federation_`.
//!
//! # Invariants
//! - No label names a fact, an address or an endpoint. Types are labels up to [`TYPES_MAX`] of them;
//!   the rest are counted as `other`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Types that are told apart in labels.
const TYPES_MAX: usize = 256;

/// What the rest is counted as.
const OTHER: &str = "other";

/// First bucket of every histogram, in seconds.
const SECONDS_MIN: f64 = 0.001;

/// Buckets, each four times as wide as the one before: up to an hour.
const BUCKETS: u16 = 12;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pushed {
    group: String,
    peer: String,
    event_type: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    group: String,
    peer: String,
    event_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Towards {
    group: String,
    peer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct In {
    group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Came {
    group: String,
    event_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Turned {
    group: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ran {
    plugin: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plugin {
    plugin: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(SECONDS_MIN, 4.0, BUCKETS))
}

/// The counters.
pub(crate) struct Meters {
    types: Mutex<BTreeSet<String>>,
    delivery: Family<Pushed, Counter>,
    attempts: Family<Pushed, Counter>,
    repush: Family<Of, Counter>,
    stale: Family<Of, Counter>,
    lag: Histograms<Of>,
    ticks: Family<Towards, Counter>,
    tick_errors: Family<Towards, Counter>,
    tick_seconds: Histograms<Towards>,
    accepted: Family<Came, Counter>,
    duplicate: Family<Came, Counter>,
    reject: Family<Turned, Counter>,
    prune_ticks: Family<In, Counter>,
    pruned: Family<In, Counter>,
    prune_errors: Family<In, Counter>,
    queue: Family<Towards, Gauge>,
    lag_now: Family<Towards, Gauge<f64, std::sync::atomic::AtomicU64>>,
    breaker: Family<Towards, Gauge>,
    runs: Family<Ran, Counter>,
    run_seconds: Histograms<Plugin>,
    parts: Gauge,
    quarantined: Gauge,
}

/// What is counted towards one peer, of one type. Looked up once: a label costs more than a count.
#[derive(Clone)]
struct Handles {
    delivered: [Counter; 2],
    failed: [Counter; 2],
    repush: Counter,
    stale: Counter,
    lag: Histogram,
}

/// What is counted towards one peer.
pub(super) struct PeerMeters {
    meters: Arc<Meters>,
    group: String,
    peer: String,
    kinds: Mutex<HashMap<String, Handles>>,
}

/// How one push of one fact ended.
pub(super) struct Ended<'a> {
    pub(super) kind: &'a str,
    pub(super) delivered: bool,
    /// Whether the peer had it before, with an earlier expiry.
    pub(super) again: bool,
    /// From recorded to delivered.
    pub(super) lag: Duration,
}

impl PeerMeters {
    pub(super) fn new(meters: &Arc<Meters>, group: &str, peer: &str) -> Self {
        let (group, peer) = (group.to_owned(), peer.to_owned());
        PeerMeters { meters: Arc::clone(meters), group, peer, kinds: Mutex::default() }
    }

    pub(super) fn pushed(&self, ended: &Ended<'_>) {
        let mut kinds = self.kinds.lock();
        let handles = match kinds.get(ended.kind) {
            Some(handles) => handles,
            None => {
                let handles = self.handles(ended.kind);
                // Beyond so many types there is one handle for all the others.
                let key = if kinds.len() < TYPES_MAX { ended.kind } else { OTHER };
                kinds.entry(key.to_owned()).or_insert(handles)
            }
        };
        for counter in if ended.delivered { &handles.delivered } else { &handles.failed } {
            counter.inc();
        }
        if ended.again {
            handles.stale.inc();
        }
        if ended.again && ended.delivered {
            handles.repush.inc();
        }
        if ended.delivered {
            handles.lag.observe(ended.lag.as_secs_f64());
        }
    }

    fn handles(&self, kind: &str) -> Handles {
        let (meters, group, peer) = (&self.meters, self.group.clone(), self.peer.clone());
        let event_type = meters.kind(kind);
        let of = Of { group: group.clone(), peer: peer.clone(), event_type: event_type.clone() };
        let counters = |status| {
            let label = Pushed { group: group.clone(), peer: peer.clone(), event_type: event_type.clone(), status };
            [meters.delivery.get_or_create_owned(&label), meters.attempts.get_or_create_owned(&label)]
        };
        Handles {
            delivered: counters("delivered"),
            failed: counters("failed"),
            repush: meters.repush.get_or_create_owned(&of),
            stale: meters.stale.get_or_create_owned(&of),
            lag: meters.lag.get_or_create_owned(&of),
        }
    }
}

/// What is counted of a group's receiving: accepted and duplicate, by type.
#[derive(Default)]
pub(super) struct Received(Mutex<HashMap<String, [Counter; 2]>>);

impl Meters {
    pub(crate) fn new() -> Self {
        Meters {
            types: Mutex::default(),
            delivery: Family::default(),
            attempts: Family::default(),
            repush: Family::default(),
            stale: Family::default(),
            lag: Family::new_with_constructor(seconds),
            ticks: Family::default(),
            tick_errors: Family::default(),
            tick_seconds: Family::new_with_constructor(seconds),
            accepted: Family::default(),
            duplicate: Family::default(),
            reject: Family::default(),
            prune_ticks: Family::default(),
            pruned: Family::default(),
            prune_errors: Family::default(),
            queue: Family::default(),
            lag_now: Family::default(),
            breaker: Family::default(),
            runs: Family::default(),
            run_seconds: Family::new_with_constructor(seconds),
            parts: Gauge::default(),
            quarantined: Gauge::default(),
        }
    }

    /// Has the counters shown.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("federation");
        r.register("outbox_delivery", "Deliveries that ended, by how", self.delivery.clone());
        r.register("outbox_delivery_attempts", "Pushes tried, by how they ended", self.attempts.clone());
        r.register("outbox_repush", "Facts pushed again since they hold longer", self.repush.clone());
        r.register("outbox_stale_ttl_delivery", "Peers found to have an earlier expiry", self.stale.clone());
        r.register("outbox_delivery_lag_seconds", "From recorded to delivered", self.lag.clone());
        r.register("outbox_tick", "Rounds of pushing", self.ticks.clone());
        r.register("outbox_tick_errors", "Rounds that did not get through", self.tick_errors.clone());
        r.register("outbox_tick_duration_seconds", "How long a round took", self.tick_seconds.clone());
        r.register("receiver_accepted", "Facts received and recorded", self.accepted.clone());
        r.register("receiver_duplicate", "Facts received that were there", self.duplicate.clone());
        r.register("receiver_reject", "Requests refused, by reason", self.reject.clone());
        r.register("pruner_tick", "Looks for what is to go", self.prune_ticks.clone());
        r.register("pruner_pruned", "Facts that went by age or count", self.pruned.clone());
        r.register("pruner_tick_errors", "Looks that failed", self.prune_errors.clone());
        r.register("queue", "Facts that wait for a peer", self.queue.clone());
        r.register("lag_seconds", "Age of the oldest fact that waits for a peer", self.lag_now.clone());
        r.register(
            "breaker",
            "0: the peer is tried; 1: it is asked whether it is back; 2: left alone",
            self.breaker.clone(),
        );
        r.register("plugin_runs", "Runs of plugins, by how they ended", self.runs.clone());
        r.register("plugin_run_duration_seconds", "How long a run took", self.run_seconds.clone());
        r.register("parts", "Live derived parts", self.parts.clone());
        r.register("parts_quarantined", "Parts that conflict and are left out", self.quarantined.clone());
    }

    fn kind(&self, kind: &str) -> String {
        let mut types = self.types.lock();
        if types.contains(kind) {
            return kind.to_owned();
        }
        if types.len() >= TYPES_MAX {
            return OTHER.to_owned();
        }
        types.insert(kind.to_owned());
        kind.to_owned()
    }

    pub(super) fn tick(&self, group: &str, peer: &str, failed: bool, took: Duration) {
        let towards = Towards { group: group.to_owned(), peer: peer.to_owned() };
        self.ticks.get_or_create(&towards).inc();
        if failed {
            self.tick_errors.get_or_create(&towards).inc();
        }
        self.tick_seconds.get_or_create(&towards).observe(took.as_secs_f64());
    }

    pub(super) fn received(&self, known: &Received, group: &str, kind: &str, duplicate: bool) {
        let mut kinds = known.0.lock();
        let counters = match kinds.get(kind) {
            Some(counters) => counters,
            None => {
                let came = Came { group: group.to_owned(), event_type: self.kind(kind) };
                let counters = [self.accepted.get_or_create_owned(&came), self.duplicate.get_or_create_owned(&came)];
                let key = if kinds.len() < TYPES_MAX { kind } else { OTHER };
                kinds.entry(key.to_owned()).or_insert(counters)
            }
        };
        counters[usize::from(duplicate)].inc();
    }

    pub(super) fn rejected(&self, group: &str, reason: &'static str) {
        self.reject.get_or_create(&Turned { group: group.to_owned(), reason }).inc();
    }

    pub(super) fn pruned(&self, group: &str, facts: Option<u64>) {
        let group = In { group: group.to_owned() };
        self.prune_ticks.get_or_create(&group).inc();
        match facts {
            Some(facts) => _ = self.pruned.get_or_create(&group).inc_by(facts),
            None => _ = self.prune_errors.get_or_create(&group).inc(),
        }
    }

    pub(super) fn peer(&self, group: &str, peer: &str, queue: u64, lag: Duration, breaker: i64) {
        let towards = Towards { group: group.to_owned(), peer: peer.to_owned() };
        self.queue.get_or_create(&towards).set(i64::try_from(queue).unwrap_or(i64::MAX));
        self.lag_now.get_or_create(&towards).set(lag.as_secs_f64());
        self.breaker.get_or_create(&towards).set(breaker);
    }

    pub(super) fn peer_gone(&self, group: &str, peer: &str) {
        let towards = Towards { group: group.to_owned(), peer: peer.to_owned() };
        self.queue.remove(&towards);
        self.lag_now.remove(&towards);
        self.breaker.remove(&towards);
    }

    pub(super) fn ran(&self, plugin: &str, status: &'static str, took: Duration) {
        self.runs.get_or_create(&Ran { plugin: plugin.to_owned(), status }).inc();
        self.run_seconds.get_or_create(&Plugin { plugin: plugin.to_owned() }).observe(took.as_secs_f64());
    }

    pub(super) fn parts(&self, live: usize, quarantined: usize) {
        self.parts.set(i64::try_from(live).unwrap_or(i64::MAX));
        self.quarantined.set(i64::try_from(quarantined).unwrap_or(i64::MAX));
    }
}

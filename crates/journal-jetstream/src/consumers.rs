//! The verbs on consumers, and what this node remembers of each.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_nats::SubscribeError;
use event::{Moment, Pattern};
use futures_util::StreamExt;
use journal::rules::{check_consumer, check_consumer_update};
use journal::{AckPolicy, ConsumerConfig, ConsumerError, ConsumerInfo, Delivery, GroupState, QueueError, Retention};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::api::{Fault, call, call_noting};
use crate::declared::{consumer_from, consumer_onto, is_internal};
use crate::engine::Shared;
use crate::flights::Flights;
use crate::follow::is_own;
use crate::keeper;
use crate::limits::RETRY_PAUSE;
use crate::streams::is_name;
use crate::wire::{Anything, Consumer as Wire, Consumers, Group, Object, Place, moment};

/// How often a pause is looked for before what is told is told.
const PAUSE_LOOKS: u32 = 40;

const NO_STREAM: u32 = 10059;
const NOT_FOUND: u32 = 10014;
const TOO_MANY: u32 = 10026;

/// Notices of consumers that came and went.
const NOTICES: [&str; 2] = ["$JS.EVENT.ADVISORY.CONSUMER.CREATED.>", "$JS.EVENT.ADVISORY.CONSUMER.DELETED.>"];

/// A consumer as this node knows it.
pub(crate) struct Consumer {
    pub(crate) stream: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) created: Moment,
    pub(crate) config: ConsumerConfig,
    pub(crate) flights: Arc<Mutex<Flights>>,
    /// Messages given up that left no dead letter, as far as this node saw.
    pub(crate) unkept: Arc<AtomicU64>,
    /// Whether it was found to be gone.
    pub(crate) gone: AtomicBool,
    /// Fetches of this node that wait.
    pub(crate) waiting: Arc<AtomicU64>,
    /// Delivered to a user of this node that did not take it, where the servers do not deliver again.
    pub(crate) unclaimed: Arc<Mutex<VecDeque<Delivery>>>,
}

impl Consumer {
    /// Tells this consumer from an earlier one of the same name.
    pub(crate) fn tag(&self) -> u64 {
        self.created.nanos()
    }
}

type Key = (String, String);

/// What this node remembers of consumers.
#[derive(Default)]
pub(crate) struct Desk(Mutex<HashMap<Key, Arc<Consumer>>>);

impl Desk {
    fn get(&self, stream: &str, name: &str) -> Option<Arc<Consumer>> {
        self.0.lock().get(&(stream.to_owned(), name.to_owned())).cloned()
    }

    /// Remembers a consumer as it is now; what was out of just this one stays out.
    fn enter(&self, wire: &Wire, stream: &str) -> Arc<Consumer> {
        let mut consumers = self.0.lock();
        let key = (stream.to_owned(), wire.name.clone());
        let created = moment(&wire.created);
        let before = consumers.get(&key);
        if let Some(other) = before.filter(|known| known.created != created) {
            other.gone.store(true, Ordering::Release);
        }
        let same = before.filter(|known| known.created == created);
        let (flights, unkept, unclaimed, waiting) = same
            .map(|known| {
                let Consumer { flights, unkept, unclaimed, waiting, .. } = &**known;
                (Arc::clone(flights), Arc::clone(unkept), Arc::clone(unclaimed), Arc::clone(waiting))
            })
            .unwrap_or_default();
        flights.lock().floor(wire.ack_floor.stream_seq);
        let consumer = Arc::new(Consumer {
            stream: stream.into(),
            name: wire.name.as_str().into(),
            created,
            config: consumer_from(&wire.name, &wire.config),
            flights,
            unkept,
            unclaimed,
            waiting,
            gone: AtomicBool::new(false),
        });
        consumers.insert(key, Arc::clone(&consumer));
        consumer
    }

    pub(crate) fn forget(&self, stream: &str, name: &str) {
        if let Some(gone) = self.0.lock().remove(&(stream.to_owned(), name.to_owned())) {
            gone.gone.store(true, Ordering::Release);
        }
    }

    pub(crate) fn forget_stream(&self, stream: &str) {
        self.0.lock().retain(|(of, _), consumer| {
            consumer.gone.fetch_or(of == stream, Ordering::AcqRel);
            of != stream
        });
    }
}

/// Keeps what is remembered true: a consumer of which there is a notice is asked for again.
pub(crate) async fn watch(shared: &Arc<Shared>) -> Result<(), SubscribeError> {
    for notice in NOTICES {
        let mut notices = shared.client.subscribe(notice).await?;
        let weak = Arc::downgrade(shared);
        tokio::spawn(async move {
            while let Some(wire) = notices.next().await {
                let Some(shared) = weak.upgrade() else { break };
                let mut tokens = wire.subject.as_str().rsplit('.');
                let (Some(name), Some(stream)) = (tokens.next(), tokens.next()) else { continue };
                if shared.desk.get(stream, name).is_some() {
                    // What is not there any more is forgotten by asking.
                    let _gone = ask(&shared, stream, name).await;
                }
            }
        });
    }
    Ok(())
}

fn missing(stream: &str, name: &str) -> ConsumerError {
    ConsumerError::NotFound { stream: stream.to_owned(), name: name.to_owned() }
}

fn refused(stream: &str, name: &str, fault: Fault) -> ConsumerError {
    let invalid = |field, reason: String| ConsumerError::Invalid { field, reason };
    match fault {
        Fault::Unreachable(reason) => ConsumerError::Closed(reason),
        Fault::Refused(error) => match error.err_code {
            NO_STREAM => ConsumerError::NoStream(stream.to_owned()),
            NOT_FOUND | 10149 => missing(stream, name),
            10148 | 10013 | 10105 => ConsumerError::Exists(name.to_owned()),
            10093 | 10136 | 10138 => invalid("filters", error.to_string()),
            10098 => ConsumerError::Queue(QueueError::NotExplicit),
            10099 => ConsumerError::Queue(QueueError::Unfiltered),
            10100 => ConsumerError::Queue(QueueError::Overlap { other: String::new() }),
            10101 => ConsumerError::Queue(QueueError::NotAll),
            10121 => invalid("ack_pending_max", error.to_string()),
            10153 => invalid("inactive", error.to_string()),
            10023 | 10026 | 10028 | 10047 => ConsumerError::Storage(error.to_string()),
            _ if error.code >= 500 => ConsumerError::Storage(error.to_string()),
            _ => invalid("config", error.to_string()),
        },
    }
}

/// Asks the servers for a consumer.
pub(crate) async fn ask(shared: &Shared, stream: &str, name: &str) -> Result<(Wire, Arc<Consumer>), ConsumerError> {
    if !is_name(stream) || is_internal(stream) {
        return Err(ConsumerError::NoStream(stream.to_owned()));
    }
    if !is_name(name) {
        return Err(missing(stream, name));
    }
    match call::<Wire>(&shared.client, &format!("CONSUMER.INFO.{stream}.{name}"), &Value::Null).await {
        Ok(wire) => {
            let consumer = shared.desk.enter(&wire, stream);
            Ok((wire, consumer))
        }
        Err(fault) => {
            if matches!(fault.number(), NO_STREAM | NOT_FOUND) {
                shared.desk.forget(stream, name);
            }
            Err(refused(stream, name, fault))
        }
    }
}

/// A consumer, as it is remembered or else asked for.
pub(crate) async fn find(shared: &Shared, stream: &str, name: &str) -> Result<Arc<Consumer>, ConsumerError> {
    match shared.desk.get(stream, name) {
        Some(known) => Ok(known),
        None => Ok(ask(shared, stream, name).await?.1),
    }
}

fn last(place: &Place) -> Option<Moment> {
    Moment::parse(&place.last_active).ok()
}

fn group(wire: &Group) -> GroupState {
    GroupState {
        name: wire.group.clone(),
        pin: Some(wire.pinned_client_id.as_str().into()).filter(|pin: &Arc<str>| !pin.is_empty()),
        since: Moment::parse(&wire.pinned_ts).ok(),
    }
}

async fn told(shared: &Shared, wire: &Wire, consumer: &Consumer) -> ConsumerInfo {
    let kept = keeper::count(shared, &consumer.stream, &consumer.name).await;
    let acked = consumer.config.ack != AckPolicy::None;
    let out = acked && wire.num_ack_pending > 0;
    ConsumerInfo {
        stream: Arc::clone(&consumer.stream),
        config: consumer.config.clone(),
        created: consumer.created,
        delivered: wire.delivered.stream_seq,
        deliveries: wire.delivered.consumer_seq,
        ack_floor: if out { wire.ack_floor.stream_seq } else { wire.delivered.stream_seq },
        ack_pending: if acked { wire.num_ack_pending } else { 0 },
        redelivered: wire.num_redelivered,
        pending: wire.num_pending,
        waiting: wire.num_waiting,
        last_delivered: last(&wire.delivered),
        ack_floor_order: if out { wire.ack_floor.consumer_seq } else { wire.delivered.consumer_seq },
        last_acknowledged: last(&wire.ack_floor),
        groups: wire.priority_groups.iter().map(group).collect(),
        dead: kept + consumer.unkept.load(Ordering::Acquire),
    }
}

async fn put(
    shared: &Arc<Shared>,
    stream: &str,
    action: &str,
    config: &ConsumerConfig,
    onto: Object,
) -> Result<ConsumerInfo, ConsumerError> {
    if config.deliver_max.is_some() && config.ack != AckPolicy::None {
        keeper::ensure(shared).await.map_err(|fault| refused(stream, &config.name, fault))?;
    }
    check_queue(shared, stream, config).await?;
    let name = &config.name;
    let body = json!({ "stream_name": stream, "config": consumer_onto(config, onto), "action": action });
    let asked: Result<Wire, Fault> = call(&shared.client, &format!("CONSUMER.CREATE.{stream}.{name}"), &body).await;
    let wire = asked.map_err(|fault| match (fault.number(), most(shared, stream)) {
        (TOO_MANY, Some(max)) => ConsumerError::TooMany(max),
        _ => refused(stream, name, fault),
    })?;
    let consumer = shared.desk.enter(&wire, stream);
    Ok(told(shared, &wire, &consumer).await)
}

fn most(shared: &Shared, stream: &str) -> Option<u64> {
    shared.catalogue.get(stream)?.config.consumers_max
}

/// Holds a declaration against the other consumers of a work queue: in a cluster, the servers do not
/// when one is changed.
async fn check_queue(shared: &Arc<Shared>, stream: &str, config: &ConsumerConfig) -> Result<(), ConsumerError> {
    let queue = shared.catalogue.get(stream).is_some_and(|known| known.config.retention == Retention::WorkQueue);
    if !queue {
        return Ok(());
    }
    for other in list(Arc::clone(shared), stream.to_owned()).await? {
        let other = other.config;
        if other.name == config.name {
            continue;
        }
        if config.filters.is_empty() {
            return Err(ConsumerError::Queue(QueueError::Unfiltered));
        }
        let shares = |ours: &Pattern| other.filters.iter().any(|theirs| ours.overlaps(theirs));
        if other.filters.is_empty() || config.filters.iter().any(shares) {
            return Err(ConsumerError::Queue(QueueError::Overlap { other: other.name }));
        }
    }
    Ok(())
}

pub(crate) async fn create(
    shared: Arc<Shared>,
    stream: String,
    config: ConsumerConfig,
) -> Result<ConsumerInfo, ConsumerError> {
    let config = check_consumer(config)?;
    match ask(&shared, &stream, &config.name).await {
        Ok((wire, there)) if there.config == config => return Ok(told(&shared, &wire, &there).await),
        Ok(_) => return Err(ConsumerError::Exists(config.name)),
        Err(ConsumerError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    put(&shared, &stream, "create", &config, Map::new()).await
}

pub(crate) async fn update(
    shared: Arc<Shared>,
    stream: String,
    config: ConsumerConfig,
) -> Result<ConsumerInfo, ConsumerError> {
    let (wire, there) = ask(&shared, &stream, &config.name).await?;
    let config = check_consumer_update(&there.config, config)?;
    put(&shared, &stream, "update", &config, wire.config).await
}

pub(crate) async fn delete(shared: Arc<Shared>, stream: String, name: String) -> Result<(), ConsumerError> {
    if !is_name(&stream) || is_internal(&stream) {
        return Err(ConsumerError::NoStream(stream));
    }
    if !is_name(&name) {
        return Err(missing(&stream, &name));
    }
    let subject = format!("CONSUMER.DELETE.{stream}.{name}");
    let asked = call_noting::<Anything>(&shared.client, &subject, &Value::Null).await;
    shared.desk.forget(&stream, &name);
    match asked {
        Ok(_) => Ok(()),
        // The first sending did it.
        Err((fault, true)) if fault.number() == NOT_FOUND => Ok(()),
        Err((fault, _)) => Err(refused(&stream, &name, fault)),
    }
}

pub(crate) async fn info(shared: Arc<Shared>, stream: String, name: String) -> Result<ConsumerInfo, ConsumerError> {
    let (wire, consumer) = ask(&shared, &stream, &name).await?;
    Ok(told(&shared, &wire, &consumer).await)
}

pub(crate) async fn list(shared: Arc<Shared>, stream: String) -> Result<Vec<ConsumerInfo>, ConsumerError> {
    if !is_name(&stream) || is_internal(&stream) {
        return Err(ConsumerError::NoStream(stream));
    }
    let (mut infos, mut seen) = (Vec::new(), 0);
    loop {
        let subject = format!("CONSUMER.LIST.{stream}");
        let asked: Result<Consumers, Fault> = call(&shared.client, &subject, &json!({ "offset": seen })).await;
        let page = asked.map_err(|fault| refused(&stream, "", fault))?;
        let consumers = page.consumers.unwrap_or_default();
        seen += consumers.len();
        let last = consumers.is_empty() || seen >= page.total;
        for wire in &consumers {
            // Those that only wake readers are the engine's own.
            if !is_own(&wire.name) {
                let consumer = shared.desk.enter(wire, &stream);
                infos.push(told(&shared, wire, &consumer).await);
            }
        }
        if last {
            infos.sort_by(|a: &ConsumerInfo, b| a.config.name.cmp(&b.config.name));
            return Ok(infos);
        }
    }
}

pub(crate) async fn pause(
    shared: Arc<Shared>,
    stream: String,
    name: String,
    until: Option<Moment>,
) -> Result<ConsumerInfo, ConsumerError> {
    ask(&shared, &stream, &name).await?;
    let body = until.map_or(json!({}), |until| json!({ "pause_until": until.to_string() }));
    let asked: Result<Anything, Fault> = call(&shared.client, &format!("CONSUMER.PAUSE.{stream}.{name}"), &body).await;
    asked.map_err(|fault| refused(&stream, &name, fault))?;
    // In a cluster the pause is agreed on first, and told a moment later.
    for _ in 0..PAUSE_LOOKS {
        let told = info(Arc::clone(&shared), stream.clone(), name.clone()).await?;
        if told.config.pause_until == until {
            return Ok(told);
        }
        sleep(RETRY_PAUSE.0).await;
    }
    info(shared, stream, name).await
}

pub(crate) async fn reset(
    shared: Arc<Shared>,
    stream: String,
    name: String,
    to: Option<u64>,
) -> Result<ConsumerInfo, ConsumerError> {
    let (_, consumer) = ask(&shared, &stream, &name).await?;
    let body = to.map_or(json!({}), |to| json!({ "seq": to }));
    let asked: Result<Anything, Fault> = call(&shared.client, &format!("CONSUMER.RESET.{stream}.{name}"), &body).await;
    match asked {
        Ok(_) => {}
        Err(Fault::Refused(error)) if error.code < 500 && !matches!(error.err_code, NO_STREAM | NOT_FOUND) => {
            return Err(ConsumerError::Reset("not allowed"));
        }
        Err(fault) => return Err(refused(&stream, &name, fault)),
    }
    *consumer.flights.lock() = Flights::default();
    info(shared, stream, name).await
}

pub(crate) async fn unpin(
    shared: Arc<Shared>,
    stream: String,
    name: String,
    group: String,
) -> Result<(), ConsumerError> {
    ask(&shared, &stream, &name).await?;
    let body = json!({ "group": group });
    let asked: Result<Anything, Fault> = call(&shared.client, &format!("CONSUMER.UNPIN.{stream}.{name}"), &body).await;
    match asked {
        Ok(_) => Ok(()),
        Err(Fault::Refused(error)) if error.code < 500 && !matches!(error.err_code, NO_STREAM | NOT_FOUND) => {
            Err(ConsumerError::NoGroup(group))
        }
        Err(fault) => Err(refused(&stream, &name, fault)),
    }
}

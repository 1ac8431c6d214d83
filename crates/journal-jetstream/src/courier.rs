//! The courier: brings appends to the servers, in order, and their receipts back.
//!
//! One task owns all of it, so nothing is locked. An append is sent when fewer than
//! [`ACKS_OUTSTANDING_MAX`] are unanswered. What fails for a passing reason (no leader, no answer in
//! time, a lost connection) is sent again, with the same message id, until [`RETRY_DEADLINE`].
//!
//! # Invariants
//! - What is sent again keeps its place: while a stream has unanswered failures, nothing newer of that
//!   stream is sent, and the oldest goes alone until it is answered.
//! - An append whose fate is unknown and that carries no id is never sent again: its publisher is told
//!   that it is unknown. With an id inside the stream's window, sending again cannot double it.
//! - Each append is answered once.
//!
//! # Cost
//! A publish and an acknowledgement each; an id of the engine's own costs about 50 bytes stored and
//! the server's memory for it during the window (docs/scale.md).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message as Wire, StatusCode, Subscriber};
use futures_util::StreamExt;
use journal::{Append, AppendError, Done, Proof, Receipt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::api::is_passing;
use crate::catalogue::{Catalogue, Known};
use crate::codec::headers_of;
use crate::limits::{ACK_TIMEOUT, ACKS_OUTSTANDING_MAX, APPENDS_WAITING_MAX, RETRY_DEADLINE, RETRY_PAUSE};
use crate::verdict::{self, Judge};
use crate::wire::{ApiError, PubAck};

/// How often what is overdue is looked for.
const TICK: Duration = Duration::from_millis(50);

/// What a publisher waits for.
pub(crate) type Told = Done<Result<Receipt, AppendError>>;

/// An append on its way.
pub(crate) struct Job {
    pub(crate) append: Append,
    /// The stream that captures it, as it was known when it was sent.
    pub(crate) stream: Arc<Known>,
    pub(crate) done: Told,
    /// How often a precondition that holds was refused all the same.
    pub(crate) tries: u32,
}

pub(crate) enum Order {
    Append(Box<Job>),
    /// To be answered when everything before it is.
    Fence(oneshot::Sender<()>),
    /// Nothing behind it is sent before its other end is let go.
    Gate(oneshot::Receiver<()>),
}

/// How many wait, and since when.
#[derive(Default)]
pub(crate) struct Gauge {
    waiting: AtomicU64,
    oldest: Mutex<Option<Instant>>,
}

impl Gauge {
    /// One that was answered is on its way again.
    pub(crate) fn one_again(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// One was answered by other means.
    pub(crate) fn one_less(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Acquire)
    }

    pub(crate) fn oldest(&self) -> Duration {
        self.oldest.lock().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// The way to the courier.
pub(crate) struct Courier {
    orders: mpsc::UnboundedSender<Order>,
    gauge: Arc<Gauge>,
}

impl Courier {
    /// Sets it to work. `ids` says whether it gives ids to appends that have none.
    pub(crate) async fn start(
        client: Client,
        catalogue: Arc<Catalogue>,
        ids: bool,
    ) -> Result<Courier, async_nats::SubscribeError> {
        let (sender, orders) = mpsc::unbounded_channel();
        let gauge = Arc::<Gauge>::default();
        let judge = Judge { client: client.clone(), catalogue, again: sender.downgrade(), gauge: Arc::clone(&gauge) };
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await?;
        // What other clients of the servers cannot guess serves as this run's name too.
        let nonce = inbox.rsplit('.').next().unwrap_or_default().to_owned();
        let work = Work {
            client,
            judge,
            inbox,
            nonce: ids.then_some(nonce),
            next: 0,
            out: BTreeMap::new(),
            lanes: HashMap::new(),
            fences: VecDeque::new(),
            gauge: Arc::clone(&gauge),
        };
        tokio::spawn(work.run(orders, answers));
        Ok(Courier { orders: sender, gauge })
    }

    /// Takes an append in, or refuses it at once.
    pub(crate) fn send(&self, job: Job) {
        if self.gauge.waiting.fetch_add(1, Ordering::AcqRel) >= APPENDS_WAITING_MAX {
            self.gauge.waiting.fetch_sub(1, Ordering::AcqRel);
            return (job.done)(Err(AppendError::Busy));
        }
        if let Err(mpsc::error::SendError(Order::Append(job))) = self.orders.send(Order::Append(Box::new(job))) {
            self.gauge.waiting.fetch_sub(1, Ordering::AcqRel);
            (job.done)(Err(AppendError::Closed(String::from("the engine is shutting down"))));
        }
    }

    /// Resolves when every append taken in before is answered; `None` where none waits.
    pub(crate) fn fence(&self) -> Option<oneshot::Receiver<()>> {
        if self.gauge.waiting() == 0 {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.orders.send(Order::Fence(sender)).ok()?;
        Some(receiver)
    }

    /// Holds back what is taken in from now on, until what it gives is dropped: who reads what is new
    /// must not find it older than what its caller appends after.
    pub(crate) fn gate(&self) -> oneshot::Sender<()> {
        let (sender, receiver) = oneshot::channel();
        // A courier that is gone sends nothing.
        let _gone = self.orders.send(Order::Gate(receiver));
        sender
    }

    pub(crate) fn gauge(&self) -> &Gauge {
        &self.gauge
    }
}

/// One append, from when it is taken in to when it is answered.
struct Item {
    append: Append,
    headers: Option<HeaderMap>,
    stream: Arc<Known>,
    done: Told,
    tries: u32,
    /// Whether sending it again cannot double it.
    guarded: bool,
    since: Instant,
    sent: Instant,
}

/// What waits for its stream to answer again.
#[derive(Default)]
struct Lane {
    /// Sent and unanswered.
    out: usize,
    /// Failed; to be sent again, in order.
    again: BTreeMap<u64, Item>,
    /// Newer.
    behind: VecDeque<(u64, Item)>,
    not_before: Option<Instant>,
    pause: Duration,
}

impl Lane {
    fn is_held(&self) -> bool {
        !self.again.is_empty() || !self.behind.is_empty()
    }
}

struct Work {
    client: Client,
    judge: Judge,
    inbox: String,
    nonce: Option<String>,
    next: u64,
    out: BTreeMap<u64, Item>,
    lanes: HashMap<Arc<str>, Lane>,
    fences: VecDeque<(u64, oneshot::Sender<()>)>,
    gauge: Arc<Gauge>,
}

impl Work {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>, mut answers: Subscriber) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = self.out.len() < ACKS_OUTSTANDING_MAX;
            tokio::select! {
                biased;
                answer = answers.next() => match answer {
                    Some(answer) => self.answered(&answer),
                    None => break,
                },
                order = orders.recv(), if room => match order {
                    Some(Order::Append(job)) => self.take(*job).await,
                    Some(Order::Fence(fence)) => self.fences.push_back((self.next, fence)),
                    // It is opened, or let go of.
                    Some(Order::Gate(gate)) => drop(timeout(ACK_TIMEOUT, gate).await),
                    None if self.out.is_empty() && self.lanes.values().all(|lane| !lane.is_held()) => break,
                    None => { ticks.tick().await; self.tick().await; }
                },
                _ = ticks.tick() => self.tick().await,
            }
            self.open_fences();
        }
        self.abandon();
    }

    async fn take(&mut self, job: Job) {
        let number = self.next;
        self.next += 1;
        let window = !job.stream.config.duplicate_window.is_zero();
        let mut append = job.append;
        if !window {
            append.id = None;
        }
        let internal = match &self.nonce {
            Some(nonce) if window && append.id.is_none() => Some(format!("tidings.{nonce}.{number}")),
            _ => None,
        };
        let headers = headers_of(&append, internal.as_deref());
        let guarded = append.id.is_some() || internal.is_some();
        let now = Instant::now();
        let item = Item {
            append,
            headers,
            stream: job.stream,
            done: job.done,
            tries: job.tries,
            guarded,
            since: now,
            sent: now,
        };
        let lane = self.lanes.entry(Arc::clone(&item.stream.name)).or_default();
        if lane.is_held() {
            lane.behind.push_back((number, item));
        } else {
            self.send(number, item).await;
        }
    }

    async fn send(&mut self, number: u64, mut item: Item) {
        item.sent = Instant::now();
        let (subject, reply) = (item.append.message.subject.to_string(), format!("{}.{number}", self.inbox));
        let payload = item.append.message.payload.clone();
        let sent = match item.headers.clone() {
            Some(headers) => self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await,
            None => self.client.publish_with_reply(subject, reply, payload).await,
        };
        if let Some(lane) = self.lanes.get_mut(&item.stream.name) {
            lane.out += 1;
        }
        match sent {
            Ok(()) => drop(self.out.insert(number, item)),
            Err(error) => {
                self.left(&item);
                let size = item.append.message.size() as u64;
                let max = self.client.max_payload() as u64;
                let refused = if size > max { AppendError::TooLarge { size, max } } else { closed(&error.to_string()) };
                self.tell(item, Err(refused));
            }
        }
    }

    /// One of the lane's is not out any more.
    fn left(&mut self, item: &Item) {
        if let Some(lane) = self.lanes.get_mut(&item.stream.name) {
            lane.out = lane.out.saturating_sub(1);
        }
    }

    fn tell(&mut self, item: Item, result: Result<Receipt, AppendError>) {
        self.gauge.waiting.fetch_sub(1, Ordering::AcqRel);
        (item.done)(result);
    }

    fn answered(&mut self, wire: &Wire) {
        let number = wire.subject.as_str().rsplit('.').next().and_then(|text| text.parse::<u64>().ok());
        let Some((number, item)) = number.and_then(|number| Some((number, self.out.remove(&number)?))) else {
            return;
        };
        self.left(&item);
        if wire.status == Some(StatusCode::NO_RESPONDERS) {
            return self.unheard(number, item);
        }
        let ack: PubAck = match serde_json::from_slice(&wire.payload) {
            Ok(ack) => ack,
            Err(error) => return self.unknown(number, item, &format!("an answer that is not understood: {error}")),
        };
        match ack.error {
            None => {
                let (stream, proof) = (Arc::clone(&item.stream.name), proof(&item.stream));
                if let Some(lane) = self.lanes.get_mut(&stream) {
                    (lane.pause, lane.not_before) = (RETRY_PAUSE.0, None);
                }
                self.tell(item, Ok(Receipt { stream, seq: ack.seq, duplicate: ack.duplicate, proof }));
            }
            Some(error) if is_passing(&error) => self.again(number, item, &error.description),
            Some(error) => self.refused(item, error),
        }
    }

    /// The server refused it. Finding out what is there may take a question of its own.
    fn refused(&mut self, item: Item, error: ApiError) {
        if let Some(refusal) = verdict::plain(&item.append, &item.stream, &error) {
            return self.tell(item, Err(refusal));
        }
        let Item { append, stream, done, tries, .. } = item;
        self.gauge.waiting.fetch_sub(1, Ordering::AcqRel);
        self.judge.judge(Job { append, stream, done, tries }, error);
    }

    /// Nobody took it: nothing was recorded. Either the stream is gone, or it has no leader now.
    fn unheard(&mut self, number: u64, item: Item) {
        if item.since.elapsed() >= RETRY_DEADLINE {
            return self.tell(item, Err(closed("no server answers for the stream")));
        }
        self.judge.doubt(&item.stream.name);
        if self.judge.is_gone(&item.stream) {
            let subject = item.append.message.subject.to_string();
            return self.tell(item, Err(AppendError::NoStream(subject)));
        }
        self.hold(number, item);
    }

    /// It was not recorded, and may be later.
    fn again(&mut self, number: u64, item: Item, why: &str) {
        if item.since.elapsed() >= RETRY_DEADLINE {
            return self.tell(item, Err(closed(why)));
        }
        self.hold(number, item);
    }

    /// Whether it was recorded is unknown.
    fn unknown(&mut self, number: u64, item: Item, why: &str) {
        if !item.guarded || item.since.elapsed() >= RETRY_DEADLINE {
            return self.tell(item, Err(closed(why)));
        }
        self.judge.doubt(&item.stream.name);
        if self.judge.is_gone(&item.stream) {
            let subject = item.append.message.subject.to_string();
            return self.tell(item, Err(AppendError::NoStream(subject)));
        }
        self.hold(number, item);
    }

    fn hold(&mut self, number: u64, item: Item) {
        let lane = self.lanes.entry(Arc::clone(&item.stream.name)).or_default();
        lane.pause = if lane.not_before.is_none() { RETRY_PAUSE.0 } else { (lane.pause * 2).min(RETRY_PAUSE.1) };
        lane.not_before = Some(Instant::now() + lane.pause);
        lane.again.insert(number, item);
    }

    async fn tick(&mut self) {
        let overdue: Vec<u64> =
            self.out.iter().filter(|(_, item)| item.sent.elapsed() >= ACK_TIMEOUT).map(|(number, _)| *number).collect();
        for number in overdue {
            if let Some(item) = self.out.remove(&number) {
                self.left(&item);
                self.unknown(number, item, "the servers did not acknowledge in time");
            }
        }
        let held: Vec<Arc<str>> =
            self.lanes.iter().filter(|(_, lane)| lane.is_held()).map(|(name, _)| Arc::clone(name)).collect();
        for name in held {
            self.release(&name).await;
        }
        let oldest = self.out.values().map(|item| item.since);
        let held = self.lanes.values().flat_map(|lane| lane.again.values().map(|item| item.since));
        *self.gauge.oldest.lock() = oldest.chain(held).min();
    }

    /// Sends what a lane holds: the oldest failure alone, and once nothing failed is left, the rest.
    async fn release(&mut self, name: &Arc<str>) {
        while let Some(lane) = self.lanes.get_mut(name) {
            // After a failure, until an answer comes, one goes at a time, and no sooner than its pause.
            let early = lane.not_before.is_some_and(|at| lane.out > 0 || Instant::now() < at);
            if early || self.out.len() >= ACKS_OUTSTANDING_MAX {
                return;
            }
            let next = lane.again.pop_first().or_else(|| lane.behind.pop_front());
            let Some((number, item)) = next else { return };
            self.send(number, item).await;
        }
    }

    fn open_fences(&mut self) {
        while let Some((before, _)) = self.fences.front() {
            let out = self.out.first_key_value().map(|(number, _)| *number);
            let held = self.lanes.values().filter_map(|lane| {
                let again = lane.again.first_key_value().map(|(number, _)| *number);
                again.or_else(|| lane.behind.front().map(|(number, _)| *number))
            });
            if out.into_iter().chain(held).any(|number| number < *before) {
                return;
            }
            if let Some((_, fence)) = self.fences.pop_front() {
                // Who asked may be gone.
                let _unwanted = fence.send(());
            }
        }
    }

    fn abandon(&mut self) {
        let mut left: Vec<Item> = std::mem::take(&mut self.out).into_values().collect();
        for lane in std::mem::take(&mut self.lanes).into_values() {
            left.extend(lane.again.into_values());
            left.extend(lane.behind.into_iter().map(|(_, item)| item));
        }
        for item in left {
            self.tell(item, Err(closed("the engine is shutting down")));
        }
    }
}

fn closed(reason: &str) -> AppendError {
    AppendError::Closed(reason.to_owned())
}

fn proof(stream: &Known) -> Proof {
    match stream.config.storage {
        journal::Storage::Memory => Proof::Memory,
        journal::Storage::File => Proof::Replicas(stream.config.replicas),
    }
}

//! Push consumers: messages that go to a subject as they come, for as long as anybody listens there.
//!
//! ```text
//!                 somebody listens                 nobody listens
//!   dormant ───────────────────────────▶ running ─────────────────▶ dormant
//!                                          │ ▲
//!                window full, receiver     ▼ │   answered, relieved,
//!                laden, too fast        standing  its time has come
//! ```
//!
//! A push is one fetch of the journal's without end. A dormant one costs a look when somebody starts
//! to listen anywhere; nothing is polled.
//!
//! # Invariants
//! - A push has at most one fetch.
//! - A heartbeat never tells of a delivery that it overtakes: both are sent under the lane's lock.
//! - A dormant push is in the list before it is looked whether anybody listens.

use std::sync::{Arc, Weak};
use std::time::Duration;

use door::{Fabric, Parcel};
use event::Moment;
use journal::{ConsumerConfig, Delivery, Fetch, FetchEnd, Sink, Want};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use super::delivering::Delivering;
use super::flow::Window;
use super::outlet::{Offered, Outlet, Receivers};
use super::posts::Post;
use super::pull::{HEARTBEAT, Relief, heartbeat};
use super::timers::Timed;

/// Under which key of a consumer's metadata the door keeps what the journal has no field for.
const KEPT: &str = "_tidings.nats";
/// How long a push rests whose receivers would not take a message.
const REST: Duration = Duration::from_millis(100);
/// Differences in time that a replay at the original pace passes over.
const PACE_LEAST: Duration = Duration::from_millis(1);

/// Where and how a consumer pushes: a part of what the door keeps in a consumer's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Push {
    pub(super) deliver_subject: String,
    pub(super) deliver_group: String,
    pub(super) flow_control: bool,
    /// In nanoseconds; 0: none.
    pub(super) idle_heartbeat: i64,
}

impl Push {
    /// `None`: the consumer is pulled.
    pub(super) fn of(config: &ConsumerConfig) -> Option<Push> {
        let kept = config.metadata.get(KEPT)?;
        serde_json::from_str(kept).ok().filter(|push: &Push| !push.deliver_subject.is_empty())
    }

    fn heartbeat(&self) -> Option<Duration> {
        u64::try_from(self.idle_heartbeat).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }

    fn receivers(&self) -> Receivers {
        if self.deliver_group.is_empty() { Receivers::Direct } else { Receivers::Groups }
    }

    /// Whether anybody listens.
    pub(super) fn is_bound(&self, fabric: &dyn Fabric) -> bool {
        self.receivers().are_on(&fabric.way(&self.deliver_subject))
    }
}

/// What a consumer's push is at.
pub(super) struct Pushing {
    push: Push,
    lane: Mutex<Lane>,
}

#[derive(Default)]
struct Lane {
    /// Made when it is first needed.
    outlet: Option<Outlet>,
    running: bool,
    /// The consumer is gone, or has another entry now.
    over: bool,
    window: Option<Window>,
    /// When the receiver was last sent something.
    told: Option<Instant>,
    relief: Option<Arc<Relief>>,
    /// A delivery whose time has not come, and what waits for it.
    early: Option<(Delivery, Arc<Early>)>,
    pace: Pace,
    /// Whether the last message was not taken.
    refused: bool,
    /// What has it begin again, after that.
    rest: Option<Arc<Rested>>,
}

impl Pushing {
    pub(super) fn new(push: Push) -> Self {
        let lane = Lane { window: push.flow_control.then(Window::new), ..Lane::default() };
        Pushing { push, lane: Mutex::new(lane) }
    }

    /// Takes an answer to flow control; whether the push stood still for it.
    pub(super) fn answered(&self, subject: &str) -> bool {
        let mut lane = self.lane.lock();
        let Some(window) = &mut lane.window else { return false };
        let stood = window.is_full();
        window.answered(subject) && stood
    }

    /// Ends it for good.
    pub(super) fn end(&self) {
        self.lane.lock().over = true;
    }
}

/// How fast a push may go.
#[derive(Debug, Default)]
struct Pace {
    /// When the last message was recorded, and when it was due, in a replay at the original pace.
    last: Option<(Moment, Instant)>,
    /// Until when what was sent takes, at the rate.
    busy: Option<Instant>,
}

impl Pace {
    /// When a message may be sent, if that is not now.
    fn hold(&mut self, post: &Post, delivery: &Delivery, size: usize, now: Instant) -> Option<Instant> {
        let mut hold = None;
        if post.shape.replay_original {
            let time = delivery.stored.time;
            let due = self.last.map_or(now, |(last, due)| due + time.since(last));
            self.last = Some((time, due));
            hold = Some(due).filter(|due| *due > now + PACE_LEAST);
        }
        if let Some(bits) = post.shape.rate_limit_bps.filter(|bits| *bits > 0) {
            let start = self.busy.filter(|busy| *busy > now);
            hold = hold.max(start.filter(|start| *start > now + PACE_LEAST));
            let takes = Duration::from_secs_f64(size as f64 * 8.0 / bits as f64);
            self.busy = Some(start.unwrap_or(now) + takes);
        }
        hold
    }
}

/// One run of a push: what the journal's fetch and the timers hold.
struct Run {
    post: Arc<Post>,
    delivering: Arc<Delivering>,
}

/// The fetch's end of it.
struct PushSink(Arc<Run>);

/// Waits for an early delivery's time.
struct Early(Weak<Run>);

/// Has a push begin again.
struct Rested(Weak<Post>, Weak<Delivering>);

impl Delivering {
    /// Starts a consumer's push where anybody listens, and remembers it where nobody does.
    pub(super) fn push(self: &Arc<Self>, post: &Arc<Post>) {
        if !self.begin(post) {
            self.dormant(post);
            self.begin(post);
        }
    }

    /// Whether the push needs nothing more: it runs, or never will.
    fn begin(self: &Arc<Self>, post: &Arc<Post>) -> bool {
        let Some(pushing) = &post.pushing else { return true };
        let mut lane = pushing.lane.lock();
        if lane.running || lane.over {
            return true;
        }
        let fabric = self.port.fabric();
        let to = pushing.push.deliver_subject.as_str();
        let new = || Outlet::new(Arc::clone(fabric), to, pushing.push.receivers(), &post.acknowledged);
        if !lane.outlet.get_or_insert_with(new).is_wanted() {
            return false;
        }
        lane.running = true;
        lane.pace = Pace::default();
        lane.told = Some(Instant::now());
        drop(lane);
        let run = Arc::new(Run { post: Arc::clone(post), delivering: Arc::clone(self) });
        if let Some(every) = pushing.push.heartbeat() {
            let weak = Arc::downgrade(&run);
            self.timers.at(Instant::now() + every, weak);
        }
        let fetch = Fetch { batch: u64::MAX, wait: Some(Duration::MAX), ..Fetch::default() };
        self.port.journal().fetch(&post.stream, &post.consumer, fetch, Box::new(PushSink(run)));
        true
    }
}

impl Run {
    fn lane(&self) -> Option<(&Pushing, parking_lot::MutexGuard<'_, Lane>)> {
        self.post.pushing.as_ref().map(|pushing| (pushing, pushing.lane.lock()))
    }

    fn deliver(self: &Arc<Self>, delivery: Delivery) -> Want {
        let Some((_, mut lane)) = self.lane() else { return Want::Closed };
        let Lane { outlet: Some(outlet), over: false, pace, early, .. } = &mut *lane else { return Want::Closed };
        if !outlet.is_wanted() {
            return Want::Closed;
        }
        let shape = &self.post.shape;
        let size = outlet.prepare(&delivery, shape.headers_only);
        if (shape.replay_original || shape.rate_limit_bps.is_some())
            && let Some(when) = pace.hold(&self.post, &delivery, size, Instant::now())
        {
            let waits = Arc::new(Early(Arc::downgrade(self)));
            let weak = Arc::downgrade(&waits);
            *early = Some((delivery, waits));
            self.delivering.timers.at(when, weak);
            return Want::Pause;
        }
        self.give(&mut lane, &delivery, size)
    }

    /// Sends a delivery that was made ready.
    fn give(&self, lane: &mut Lane, delivery: &Delivery, size: usize) -> Want {
        let Some(outlet) = &mut lane.outlet else { return Want::Closed };
        let first = match outlet.offer(delivery, self.post.shape.headers_only) {
            Offered::Taken { first } => first,
            offered => {
                lane.refused = offered == Offered::Refused;
                return Want::Closed;
            }
        };
        self.post.delivered(delivery.token.order, delivery.stored.seq);
        if first {
            lane.told = Some(Instant::now());
        }
        let mut want = Want::More;
        if let Some(window) = &mut lane.window {
            if window.sent(size) {
                let question = window.ask(&self.post.stream, &self.post.consumer);
                outlet.send(&Parcel {
                    reply: question,
                    status: "100 FlowControl Request",
                    ..Parcel::new(outlet.to(), b"")
                });
            }
            if window.is_full() {
                want = Want::Pause;
            }
        }
        if let Some(taker) = outlet.laden() {
            let Delivering { port, timers, .. } = &*self.delivering;
            lane.relief = Some(Relief::wait(taker, port.journal(), timers));
            want = Want::Pause;
        }
        want
    }

    fn ready(&self) -> Option<bool> {
        let (_, mut lane) = self.lane()?;
        let Lane { outlet: Some(outlet), over: false, window, relief, early, .. } = &mut *lane else { return None };
        if !outlet.is_wanted() {
            return None;
        }
        if relief.as_ref().is_some_and(|relief| relief.taker.is_laden()) {
            return Some(false);
        }
        *relief = None;
        Some(early.is_none() && !window.as_ref().is_some_and(Window::is_full))
    }

    /// Sends the delivery whose time has come.
    fn give_early(&self) {
        let Some((_, mut lane)) = self.lane() else { return };
        let Some((delivery, _)) = lane.early.take() else { return };
        let outlet = lane.outlet.as_mut();
        let wanted = outlet.is_some_and(Outlet::is_wanted);
        let size = lane.outlet.as_mut().map_or(0, |outlet| outlet.prepare(&delivery, self.post.shape.headers_only));
        let want = if wanted { self.give(&mut lane, &delivery, size) } else { Want::Closed };
        drop(lane);
        let journal = self.delivering.port.journal();
        if want == Want::Closed {
            let again = journal::Ack::Again { delay: Some(Duration::ZERO) };
            journal.acknowledge(delivery.token, again, false, Box::new(|_| ()));
        }
        journal.nudge();
    }

    fn ended(&self, end: &FetchEnd) {
        let Some((pushing, mut lane)) = self.lane() else { return };
        lane.running = false;
        lane.relief = None;
        lane.early = None;
        lane.window = pushing.push.flow_control.then(Window::new);
        let refused = std::mem::take(&mut lane.refused);
        match end {
            FetchEnd::ConsumerDeleted | FetchEnd::Failed(_) => lane.over = true,
            _ => {}
        }
        if lane.over {
            return;
        }
        if !refused {
            drop(lane);
            return self.delivering.push(&self.post);
        }
        let rested = Arc::new(Rested(Arc::downgrade(&self.post), Arc::downgrade(&self.delivering)));
        let weak = Arc::downgrade(&rested);
        lane.rest = Some(rested);
        self.delivering.timers.at(Instant::now() + REST, weak);
    }
}

impl Sink for PushSink {
    fn deliver(&mut self, delivery: Delivery) -> Want {
        self.0.deliver(delivery)
    }

    fn ready(&mut self) -> Option<bool> {
        self.0.ready()
    }

    fn end(self: Box<Self>, end: FetchEnd) {
        self.0.ended(&end);
    }
}

impl Timed for Run {
    /// Heartbeats, for as long as the run lasts.
    fn due(self: Arc<Self>, now: Instant) -> Option<Instant> {
        let (pushing, mut lane) = self.lane()?;
        let every = pushing.push.heartbeat()?;
        let due = lane.told.unwrap_or(now) + every;
        if now < due {
            return Some(due);
        }
        lane.told = Some(now);
        let open = lane.window.as_ref().and_then(Window::open);
        let mut headers = heartbeat(self.post.last());
        if let Some(question) = open {
            headers.extend(["Nats-Consumer-Stalled: ", question, "\r\n"]);
        }
        if !lane.running || lane.over {
            return None;
        }
        let outlet = lane.outlet.as_mut()?;
        if outlet.is_wanted() {
            let parcel = Parcel { status: HEARTBEAT, headers: headers.as_bytes(), ..Parcel::new(outlet.to(), b"") };
            outlet.send(&parcel);
        }
        Some(now + every)
    }
}

impl Timed for Early {
    fn due(self: Arc<Self>, now: Instant) -> Option<Instant> {
        let _now = now;
        if let Some(run) = self.0.upgrade() {
            run.give_early();
        }
        None
    }
}

impl Timed for Rested {
    fn due(self: Arc<Self>, now: Instant) -> Option<Instant> {
        let _now = now;
        if let (Some(post), Some(delivering)) = (self.0.upgrade(), self.1.upgrade()) {
            delivering.push(&post);
        }
        None
    }
}

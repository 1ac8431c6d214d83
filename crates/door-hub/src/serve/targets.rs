//! The repeater's own role: events go out to systems that do not connect.
//!
//! All targets together are one listener, one repeater among those of this hub. An event that it takes goes to
//! each target that wants its room, over that target's own queue and task, so that one that is slow or gone
//! delays no other.
//!
//! ```text
//!   the listener ──▶ queue of each target ──▶ its task ──▶ POST, tried again with growing waits
//!                                                     └──▶ a WebSocket for each room, closed when idle
//! ```
//!
//! # Invariants
//! - A queue is bounded by events and bytes. Where it is full the event is dropped for that target, and counted.
//! - Events of one target go in order, one at a time.

mod push;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use door::{Class, Listener, ListenerId, Parcel, Taker, Took};
use event::Pattern;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::receiver::newlines;
use super::shared::Shared;
use crate::codec::{Source, decode_room, pattern};
use crate::limits::{TARGET_QUEUE_BYTES, TARGET_QUEUE_MESSAGES};
use crate::options::{Format, Target};
use crate::session::{Dropped, Kind};

/// An event on its way to a target.
pub(super) struct Waiting {
    pub(super) room: Bytes,
    /// The payload, with the newlines of the hops before it.
    pub(super) body: Bytes,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

/// One target.
pub(super) struct Outlet {
    pub(super) target: Target,
    rooms: Vec<Pattern>,
    queue: Mutex<Queue>,
    pub(super) filled: Notify,
    pub(super) over: CancellationToken,
    pub(super) pushed: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) error: Mutex<Option<String>>,
}

impl Outlet {
    fn new(target: Target) -> Self {
        Outlet {
            rooms: target.rooms.iter().filter_map(|room| pattern(room)).collect(),
            target,
            queue: Mutex::default(),
            filled: Notify::new(),
            over: CancellationToken::new(),
            pushed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            open: AtomicU64::new(0),
            error: Mutex::default(),
        }
    }

    /// Whether it wants a room's events.
    fn wants(&self, subject: &str) -> bool {
        self.rooms.iter().any(|room| room.matches(subject))
    }

    /// Queues an event; whether there was room.
    fn put(&self, room: &Bytes, body: &Bytes) -> bool {
        let mut queue = self.queue.lock();
        let full = queue.waiting.len() >= TARGET_QUEUE_MESSAGES
            || (queue.bytes > 0 && queue.bytes + body.len() > TARGET_QUEUE_BYTES);
        if full || self.over.is_cancelled() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        queue.bytes += body.len();
        queue.waiting.push_back(Waiting { room: room.clone(), body: body.clone() });
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// The next event.
    pub(super) fn next(&self) -> Option<Waiting> {
        let mut queue = self.queue.lock();
        let next = queue.waiting.pop_front()?;
        queue.bytes -= next.body.len();
        Some(next)
    }

    fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }
}

/// What the fabric gives to the repeater goes to every target that wants it.
struct Pump {
    shared: Arc<Shared>,
    outlets: Vec<Arc<Outlet>>,
}

impl Taker for Pump {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        let Some(room) = decode_room(parcel.subject) else {
            return Took::No;
        };
        let mut wanting = self.outlets.iter().filter(|outlet| outlet.wants(parcel.subject)).peekable();
        if wanting.peek().is_none() {
            return Took::No;
        }
        let newlines = newlines(Kind::Target, Source::of(parcel.headers));
        let mut body = Vec::with_capacity(newlines + parcel.payload.len());
        body.resize(newlines, b'\n');
        body.extend_from_slice(parcel.payload);
        let (room, body) = (Bytes::copy_from_slice(&room), Bytes::from(body));
        let (mut taken, mut full) = (false, 0);
        for outlet in wanting {
            match outlet.put(&room, &body) {
                true => taken = true,
                false => full += 1,
            }
        }
        // Where none took it, another repeater may: then nothing is dropped but what the targets count.
        self.shared.totals.dropped(Dropped::Full, full);
        if taken { Took::Yes } else { Took::No }
    }
}

#[derive(Default)]
struct State {
    outlets: BTreeMap<Box<str>, Arc<Outlet>>,
    listener: Option<ListenerId>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Targets(Mutex<State>);

/// Whether a target declared anew is the same, so that what waits for it stays.
fn is_same(a: &Target, b: &Target) -> bool {
    let trusts = |target: &Target| target.tls.as_ref().map(|tls| Arc::as_ptr(tls) as usize);
    let shape = |target: &Target| (target.format, target.attempts_max, target.backoff, target.backoff_max);
    a.address == b.address
        && a.rooms == b.rooms
        && shape(a) == shape(b)
        && (a.idle, a.timeout) == (b.idle, b.timeout)
        && a.token == b.token
        && trusts(a) == trusts(b)
}

impl Targets {
    /// Pushes to these, and to no others.
    pub(crate) fn set(&self, shared: &Arc<Shared>, targets: Vec<Target>) {
        let mut state = self.0.lock();
        let mut before = std::mem::take(&mut state.outlets);
        for target in targets {
            let name: Box<str> = target.name.as_str().into();
            let outlet = match before.remove(&name) {
                Some(outlet) if is_same(&outlet.target, &target) => outlet,
                other => {
                    other.iter().for_each(|outlet| outlet.over.cancel());
                    let outlet = Arc::new(Outlet::new(target));
                    shared.tasks.spawn(push::run(Arc::clone(shared), Arc::clone(&outlet)));
                    outlet
                }
            };
            state.outlets.insert(name, outlet);
        }
        before.values().for_each(|outlet| outlet.over.cancel());
        let outlets: Vec<_> = state.outlets.values().cloned().collect();
        let patterns = outlets.iter().flat_map(|outlet| outlet.rooms.iter().cloned()).collect();
        // The new listener comes before the old one goes: an event between goes to one of the two, never to none.
        let before = state.listener.take();
        if !outlets.is_empty() {
            let taker = Arc::new(Pump { shared: Arc::clone(shared), outlets });
            let connection = shared.next_id();
            let listener = Listener { patterns, queue: None, connection, class: Class::Repeater, taker };
            state.listener = Some(shared.port.fabric().join(listener));
        }
        if let Some(listener) = before {
            shared.port.leave(listener);
        }
    }

    /// Events that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().outlets.values().map(|outlet| outlet.waiting()).sum()
    }

    /// Targets as listings show them.
    pub(crate) fn listing(&self) -> Value {
        let state = self.0.lock();
        let shown = state.outlets.values().map(|outlet| {
            let error = outlet.error.lock().clone();
            let state = match (&error, outlet.open.load(Ordering::Relaxed), outlet.waiting()) {
                (Some(_), _, _) => "failing",
                (None, 0, 0) => "idle",
                (None, _, _) => "open",
            };
            json!({
                "name": outlet.target.name,
                "address": outlet.target.address,
                "format": match outlet.target.format { Format::WebSocket => "websocket", Format::Http => "http" },
                "rooms": outlet.target.rooms,
                "state": state,
                "waiting": outlet.waiting(),
                "pushed": outlet.pushed.load(Ordering::Relaxed),
                "dropped": outlet.dropped.load(Ordering::Relaxed),
                "error": error,
            })
        });
        Value::Array(shown.collect())
    }
}

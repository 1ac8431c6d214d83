//! What all connections of the door share, and what is known of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use door::{Class, ConnectionId, ListenerId, Port, Principal};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use super::links::LinkDriver;
use super::outbound::{Closed, Outbound};
use super::targets::Targets;
use crate::codec::{Opcode, write_frame};
use crate::counts::{Connections, Counts};
use crate::options::Options;
use crate::session::{Dropped, Kind, Masks, Spans};

/// Where the numbers of this door's connections begin: apart from those of other doors, since the fabric
/// tells connections apart by them.
const FIRST_CONNECTION: ConnectionId = 1 << 48;

/// What a messenger wants, and the listeners that stand for it.
#[derive(Default)]
pub(crate) struct Wishes {
    /// The rooms; in strict mode one may be there twice.
    pub(crate) rooms: Vec<Box<str>>,
    /// One, or in strict mode one for each of the rooms.
    pub(crate) listeners: Vec<ListenerId>,
    /// It wanted more rooms than it may, and that was said.
    pub(crate) full: bool,
}

/// One connection, as others see it.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    /// The other side's node or name, where it told one.
    pub(crate) peer: Option<Arc<str>>,
    pub(crate) dialled: bool,
    pub(crate) who: Principal,
    pub(crate) began: Instant,
    pub(crate) began_at: SystemTime,
    pub(crate) out: Arc<Outbound>,
    pub(crate) masks: Masks,
    /// When the last pong came and the last ping went, in milliseconds since `began`.
    pub(crate) pong: AtomicU64,
    pub(crate) ping: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Appends that the journal has not answered.
    pub(crate) appending: AtomicU32,
    /// That an event of it was not taken was said; the rest is counted.
    pub(crate) complained: AtomicBool,
    pub(crate) wishes: Mutex<Wishes>,
}

impl Connection {
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX)
    }

    /// Has a frame sent that is no event.
    pub(crate) fn say(&self, opcode: Opcode, payload: &[u8]) {
        let mut bytes = Vec::with_capacity(payload.len() + 14);
        write_frame(&mut bytes, opcode, self.masks.next(), &[payload]);
        self.out.say(&bytes);
    }

    /// Says goodbye and ends it.
    pub(crate) fn goodbye(&self, code: u16, why: Closed) {
        self.say(Opcode::Close, &code.to_be_bytes());
        self.out.close(why);
    }

    /// As `/status` names it.
    pub(crate) fn label(&self) -> String {
        match (&self.peer, self.kind) {
            (Some(peer), Kind::Peer | Kind::Target) => format!("{}{}:{peer}", self.address, self.kind.text()),
            _ => format!("{}{}", self.address, self.kind.text()),
        }
    }

    /// What the fabric takes it for.
    pub(crate) fn class(&self) -> Class {
        match self.kind {
            Kind::Messenger => Class::Client,
            Kind::Hub | Kind::Twin => Class::Hub,
            Kind::Repeater | Kind::Peer | Kind::Target => Class::Repeater,
        }
    }
}

/// What a new connection is made of.
pub(crate) struct Newcomer {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) peer: Option<Arc<str>>,
    pub(crate) dialled: bool,
    /// What this node dialled it for.
    pub(crate) target: Option<Arc<str>>,
    pub(crate) who: Principal,
}

/// Counts of the door since it was opened.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) connected: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) pushed: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) targets: AtomicU64,
    /// Of connections that have ended, and of requests.
    pub(crate) events_in: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) deliveries: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    disconnected: [AtomicU64; Closed::ALL.len()],
}

impl Totals {
    /// Counts events that went nowhere.
    pub(crate) fn dropped(&self, why: Dropped, count: u64) {
        let place = Dropped::ALL.iter().position(|each| *each == why);
        if let Some(counter) = place.and_then(|place| self.dropped.get(place)) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn disconnected(&self, why: Closed) {
        let place = Closed::ALL.iter().position(|each| *each == why);
        if let Some(counter) = place.and_then(|place| self.disconnected.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) port: Port,
    pub(crate) options: Options,
    pub(crate) began: Instant,
    pub(crate) connections: Mutex<BTreeMap<ConnectionId, Arc<Connection>>>,
    /// Grows whenever somebody came, went or changed rooms.
    pub(crate) roster: watch::Sender<u64>,
    next: AtomicU64,
    pub(crate) totals: Totals,
    pub(crate) links: LinkDriver,
    pub(crate) targets: Targets,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: AtomicBool,
    /// What `/log-level` was last told. The node's own log is not changed by it.
    pub(crate) log_level: Mutex<Box<str>>,
}

impl Shared {
    pub(crate) fn new(port: Port, options: Options, tasks: TaskTracker) -> Self {
        let links = LinkDriver::new(&options.node);
        Shared {
            port,
            options,
            began: Instant::now(),
            connections: Mutex::default(),
            roster: watch::Sender::default(),
            next: AtomicU64::new(FIRST_CONNECTION),
            totals: Totals::default(),
            links,
            targets: Targets::default(),
            tasks,
            stopping: AtomicBool::new(false),
            log_level: Mutex::new("warn".into()),
        }
    }

    /// Longest message on a WebSocket, in bytes.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        let event = self.options.payload_bytes_max + crate::limits::FRAME_BYTES_BESIDES;
        event.max(crate::limits::CHANGE_BYTES_MAX)
    }

    pub(crate) fn spans(&self) -> Spans {
        let Options { ping_interval, read_deadline, write_deadline, .. } = self.options;
        Spans { ping: ping_interval, read: read_deadline, write: write_deadline }
    }

    pub(crate) fn next_id(&self) -> ConnectionId {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether there is room for one more.
    pub(crate) fn has_room(&self) -> bool {
        self.connections.lock().len() < self.options.connections_max
    }

    /// Tells that somebody came, went or changed rooms.
    pub(crate) fn roster_changed(&self) {
        self.roster.send_modify(|roster| *roster = roster.wrapping_add(1));
    }

    /// Adds a connection.
    pub(crate) fn enter(&self, newcomer: Newcomer, out: Outbound) -> Arc<Connection> {
        let Newcomer { kind, address, peer, dialled, who, .. } = newcomer;
        let masks = if dialled { Masks::from(super::random()) } else { Masks::NONE };
        let connection = Arc::new(Connection {
            id: self.next_id(),
            kind,
            address,
            peer,
            dialled,
            who,
            began: Instant::now(),
            began_at: SystemTime::now(),
            out: Arc::new(out),
            masks,
            pong: AtomicU64::new(0),
            ping: AtomicU64::new(0),
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            appending: AtomicU32::new(0),
            complained: AtomicBool::new(false),
            wishes: Mutex::default(),
        });
        self.connections.lock().insert(connection.id, Arc::clone(&connection));
        self.roster_changed();
        self.totals.connected.fetch_add(1, Ordering::Relaxed);
        if self.stopping.load(Ordering::Acquire) {
            connection.goodbye(1001, Closed::Shutdown);
        }
        debug!(id = %connection.label(), connection = connection.id, "connected");
        connection
    }

    /// Takes a connection out, with its listeners, and keeps its counts.
    pub(crate) fn leave(&self, connection: &Arc<Connection>) {
        for listener in std::mem::take(&mut *connection.wishes.lock()).listeners {
            self.port.leave(listener);
        }
        if self.connections.lock().remove(&connection.id).is_none() {
            return;
        }
        self.roster_changed();
        let why = connection.out.closed().unwrap_or(Closed::Client);
        match why {
            Closed::Client | Closed::Idle | Closed::Shutdown => {
                debug!(id = %connection.label(), why = why.text(), "disconnected");
            }
            _ => info!(id = %connection.label(), why = why.text(), "disconnected"),
        }
        self.totals.disconnected(why);
        let slow = matches!(why, Closed::SlowPending | Closed::SlowDeadline);
        let lost = u64::from(connection.out.lost());
        self.totals.dropped(if slow { Dropped::Full } else { Dropped::Ended }, lost);
        let add = |total: &AtomicU64, own: &AtomicU64| total.fetch_add(own.load(Ordering::Relaxed), Ordering::Relaxed);
        add(&self.totals.events_in, &connection.events);
        add(&self.totals.bytes_in, &connection.bytes);
        add(&self.totals.deliveries, &connection.out.messages);
        add(&self.totals.bytes_out, &connection.out.message_bytes);
    }

    /// See [`HubDoor::counts`](super::HubDoor::counts).
    pub(crate) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let totals = &self.totals;
        let (mut events_in, mut bytes_in) = (load(&totals.events_in), load(&totals.bytes_in));
        let (mut deliveries, mut bytes_out) = (load(&totals.deliveries), load(&totals.bytes_out));
        let mut connections = Connections { targets: load(&totals.targets), ..Connections::default() };
        for connection in self.connections.lock().values() {
            match connection.kind {
                Kind::Messenger => connections.messengers += 1,
                Kind::Repeater => connections.repeaters += 1,
                Kind::Hub | Kind::Twin => connections.hubs += 1,
                Kind::Peer => connections.peers += 1,
                Kind::Target => {}
            }
            events_in += load(&connection.events);
            bytes_in += load(&connection.bytes);
            deliveries += load(&connection.out.messages);
            bytes_out += load(&connection.out.message_bytes);
        }
        let (links, links_up) = self.links.counts();
        let dropped = Dropped::ALL.iter().zip(&totals.dropped).map(|(why, count)| (why.text(), load(count)));
        let disconnected = Closed::ALL.iter().zip(&totals.disconnected).map(|(why, count)| (why.text(), load(count)));
        Counts {
            connections,
            connected: load(&totals.connected),
            refused: load(&totals.refused),
            events_in,
            bytes_in,
            deliveries,
            bytes_out,
            duplicates: load(&totals.duplicates),
            links,
            links_up,
            pushed: load(&totals.pushed),
            push_retries: load(&totals.retries),
            dropped: dropped.collect(),
            disconnected: disconnected.collect(),
        }
    }

    /// See [`HubDoor::ailment`](super::HubDoor::ailment).
    pub(crate) fn ailment(&self) -> Option<String> {
        let health = self.port.health();
        if let Some(why) = health.refusing {
            return Some(format!("the journal takes nothing: {why}"));
        }
        let oldest = Duration::from_nanos(health.oldest_nanos);
        (oldest > self.options.write_deadline)
            .then(|| format!("the journal has not answered for {} seconds", oldest.as_secs()))
    }
}

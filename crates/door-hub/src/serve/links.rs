//! Links to other hubs: carries out what [`mesh::hub::Links`] decides.
//!
//! # Invariants
//! - What the machine wants is done in the order in which it wants it, by one at a time.
//! - A link has a listener and, for its kept rooms, a keeper, from when it is up until it is down, on the one
//!   connection that it is up on.
//! - An acknowledgement goes back on every connection that a copy came by: which of them the sender still has
//!   is known to the sender alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use door::{Class, Listener, Principal, PublishError};
use event::{Moment, Pattern};
use mesh::hub::{Input, Links, Output, Seen, TargetState};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::dial::{Address, Asking, upgrade};
use super::http::{TIDINGS_HUB, TIDINGS_HUB_VERSION, TIDINGS_NODE, take};
use super::kept::{Keeper, forget, keep};
use super::outbound::Closed;
use super::receiver::{KeptRooms, Receiver};
use super::shared::{Connection, Newcomer, Shared};
use crate::codec::{Control, Opcode, Place, pattern};
use crate::options::Link;
use crate::session::Kind;

/// The port of a hub.
const HUB_PORT: u16 = 7100;
/// What a probe is.
const PROBE: &[u8] = b"probe";
/// How long the driver sleeps at most: the machine says when to wake, in a clock that may be set.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Events of peers' streams that are being recorded, and the connections that copies of each came by.
type Arriving = BTreeMap<(Arc<str>, String, u64), Vec<Arc<Connection>>>;

struct State {
    machine: Links,
    declared: BTreeMap<Arc<str>, Link>,
    /// Since when each is declared, in this process: from then on its kept rooms are owed to it.
    since: BTreeMap<Arc<str>, Moment>,
    /// Those that `/interconnect` asked for.
    asked: BTreeMap<Arc<str>, Link>,
    connections: BTreeMap<u64, Arc<Connection>>,
    /// Links that are up: what looks after their kept rooms, by connection.
    keepers: BTreeMap<u64, Arc<Keeper>>,
    seen: Seen,
    arriving: Arriving,
}

/// See the module.
pub(crate) struct LinkDriver {
    state: Mutex<State>,
    /// Held by who carries out.
    acting: Mutex<()>,
    /// Something changed that the driver's sleep depends on.
    changed: Notify,
    wanted: Notify,
    turns: Mutex<BTreeMap<String, Turn>>,
}

/// Held by who reads a consumer.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

impl State {
    /// What is declared or asked for of a link: by the target that was dialled, or the one that another
    /// connection to the same hub stands for.
    fn leads_to(&self, link: &Arc<str>, target: Option<&str>) -> Option<Link> {
        let covered = || {
            let mut targets = self.machine.targets();
            targets.find(|view| view.state == TargetState::Covered(Arc::clone(link))).map(|view| view.name)
        };
        let name = target.map(Arc::from).or_else(covered)?;
        self.declared.get(&name).or_else(|| self.asked.get(&name)).cloned()
    }
}

fn every() -> Vec<Pattern> {
    pattern("*").into_iter().collect()
}

/// What a link sends.
fn patterns(link: &Link) -> Vec<Pattern> {
    match link.rooms.as_slice() {
        [] => every(),
        rooms => rooms.iter().filter_map(|room| pattern(room)).collect(),
    }
}

/// Looks after time until the door closes.
pub(super) async fn drive(shared: Arc<Shared>, stopping: CancellationToken) {
    loop {
        shared.links.handle(&shared, Input::Tick);
        let wake = shared.links.state.lock().machine.next_wake();
        let sleep = wake.map_or(SLEEP_MAX, |wake| wake.since(shared.port.now())).min(SLEEP_MAX);
        tokio::select! {
            () = tokio::time::sleep(sleep.max(Duration::from_millis(1))) => {}
            () = shared.links.changed.notified() => {}
            () = stopping.cancelled() => break,
        }
    }
    let keepers: Vec<_> = std::mem::take(&mut shared.links.state.lock().keepers).into_values().collect();
    keepers.iter().for_each(|keeper| keeper.end());
}

impl LinkDriver {
    pub(crate) fn new(node: &str) -> Self {
        let state = State {
            machine: Links::new(node, super::random()),
            declared: BTreeMap::new(),
            since: BTreeMap::new(),
            asked: BTreeMap::new(),
            connections: BTreeMap::new(),
            keepers: BTreeMap::new(),
            seen: Seen::new(),
            arriving: Arriving::new(),
        };
        let (changed, wanted) = (Notify::new(), Notify::new());
        LinkDriver { state: Mutex::new(state), acting: Mutex::default(), changed, wanted, turns: Mutex::default() }
    }

    /// What whoever reads a consumer holds.
    pub(super) fn turn(&self, consumer: &str) -> Turn {
        let mut turns = self.turns.lock();
        turns.retain(|name, turn| name == consumer || Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(consumer.to_owned()).or_default())
    }

    /// Has these links, and those asked for.
    pub(crate) fn set(&self, shared: &Arc<Shared>, links: Vec<Link>) {
        let now = shared.port.now();
        let mut state = self.state.lock();
        let State { declared, since, .. } = &mut *state;
        *declared = links.into_iter().map(|link| (Arc::from(&*link.name), link)).collect();
        let gone: Vec<Arc<str>> = since.keys().filter(|name| !declared.contains_key(*name)).cloned().collect();
        since.retain(|name, _| declared.contains_key(name));
        for name in declared.keys() {
            since.entry(Arc::clone(name)).or_insert(now);
        }
        drop(state);
        if !gone.is_empty() && !shared.stopping.load(Ordering::Acquire) {
            shared.tasks.spawn(forget(Arc::clone(shared), gone));
        }
        self.want(shared);
    }

    /// Links that are declared: name, what is owed to each, and since when.
    pub(super) fn owed(&self) -> Vec<(Arc<str>, Vec<Pattern>, Moment)> {
        let state = self.state.lock();
        let since = |name: &Arc<str>| state.since.get(name).copied().unwrap_or_default();
        state.declared.iter().map(|(name, link)| (Arc::clone(name), patterns(link), since(name))).collect()
    }

    fn want(&self, shared: &Arc<Shared>) {
        let state = self.state.lock();
        let target = |(name, link): (&Arc<str>, &Link)| mesh::hub::Target {
            name: Arc::clone(name),
            address: Arc::from(&*link.address),
        };
        // What is declared comes last: of two of a name it counts.
        let targets = state.asked.iter().chain(&state.declared).map(target).collect();
        drop(state);
        self.handle(shared, Input::Want(targets));
    }

    /// Tells the machine, and does what it wants.
    fn handle(&self, shared: &Arc<Shared>, input: Input) {
        let (now, tick) = (shared.port.now(), input == Input::Tick);
        self.state.lock().machine.handle(now, input);
        loop {
            let acting = self.acting.lock();
            let Some(output) = self.state.lock().machine.poll() else { break };
            self.act(shared, output);
            drop(acting);
        }
        let acting = self.acting.lock();
        self.recognise(shared);
        drop(acting);
        // The driver itself brings the ticks.
        if !tick {
            self.changed.notify_one();
        }
        self.wanted.notify_waiters();
    }

    fn act(&self, shared: &Arc<Shared>, output: Output) {
        let find = |number: u64| self.state.lock().connections.get(&number).cloned();
        match output {
            Output::Dial { name, address } => {
                if shared.stopping.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(shared);
                shared.tasks.clone().spawn(async move { dial(shared, name, address).await });
            }
            Output::Close { connection, why } => {
                if let Some(connection) = find(connection) {
                    info!(id = %connection.label(), peer = connection.peer.as_deref(), why = why.word(), "{why}");
                    connection.goodbye(1000, Closed::Link);
                }
            }
            Output::Probe { connection } => {
                if let Some(connection) = find(connection) {
                    connection.say(Opcode::Ping, PROBE);
                }
            }
            Output::Up { connection, link, peer, target } => {
                if let Some(connection) = find(connection) {
                    info!(link = &*link, peer = peer.as_deref(), address = %connection.address, "a link is up");
                    self.up(shared, &connection, &link, target.as_deref());
                }
            }
            Output::Down { connection, link, why } => {
                info!(link = &*link, why = why.word(), "a link is down: {why}");
                let keeper = self.state.lock().keepers.remove(&connection);
                keeper.iter().for_each(|keeper| keeper.end());
                if let Some(connection) = find(connection) {
                    for listener in std::mem::take(&mut connection.wishes.lock().listeners) {
                        shared.port.leave(listener);
                    }
                }
            }
        }
    }

    /// A link is up: from now on it hears.
    fn up(&self, shared: &Arc<Shared>, connection: &Arc<Connection>, link: &Arc<str>, target: Option<&str>) {
        let found = self.state.lock().leads_to(link, target);
        let patterns = found.as_ref().map_or_else(every, patterns);
        // One that tells no name and dialled is another one after each dial.
        let keeps = connection.peer.is_some() || target.is_some();
        let mut receiver = Receiver::new(shared, connection);
        receiver.kept = keeps.then(KeptRooms::default);
        let listener =
            Listener { patterns, queue: None, connection: connection.id, class: Class::Hub, taker: Arc::new(receiver) };
        let id = shared.port.fabric().join(listener);
        connection.wishes.lock().listeners.push(id);
        if keeps {
            self.keep(shared, connection, link, found.as_ref());
        }
    }

    /// Has kept rooms sent on a link.
    fn keep(&self, shared: &Arc<Shared>, connection: &Arc<Connection>, link: &Arc<str>, found: Option<&Link>) {
        let mut state = self.state.lock();
        let declared = found.map(|link| Arc::<str>::from(&*link.name)).filter(|name| state.declared.contains_key(name));
        let since = declared.as_ref().and_then(|name| state.since.get(name)).copied();
        let since = since.unwrap_or_else(|| shared.port.now());
        let patterns = found.map_or_else(every, patterns);
        let keeper = Arc::new(Keeper::new(connection, declared, link, patterns, since));
        let before = state.keepers.insert(connection.id, Arc::clone(&keeper));
        drop(state);
        before.iter().for_each(|before| before.end());
        shared.tasks.spawn(keep(Arc::clone(shared), keeper));
    }

    /// Of links that the peer dialled it shows later which declared one they are, when that was dialled too.
    fn recognise(&self, shared: &Arc<Shared>) {
        let state = self.state.lock();
        let mut found = Vec::new();
        for view in state.machine.links() {
            let unknown = state.keepers.get(&view.connection).is_some_and(|keeper| keeper.declared.is_none());
            if unknown
                && let Some(link) = state.leads_to(&view.link, view.target.as_deref())
                && state.declared.contains_key(&*link.name)
                && let Some(connection) = state.connections.get(&view.connection)
            {
                found.push((Arc::clone(connection), view.link, link));
            }
        }
        drop(state);
        for (connection, name, link) in found {
            if let Some(id) = connection.wishes.lock().listeners.first() {
                shared.port.fabric().change(*id, patterns(&link));
            }
            self.keep(shared, &connection, &name, Some(&link));
        }
    }

    /// A hub dialled this node.
    pub(crate) fn accepted(&self, shared: &Arc<Shared>, connection: &Arc<Connection>) {
        self.state.lock().connections.insert(connection.id, Arc::clone(connection));
        self.handle(shared, Input::Accepted { connection: connection.id, peer: connection.peer.clone() });
    }

    /// A dial succeeded.
    pub(crate) fn dialled(&self, shared: &Arc<Shared>, connection: &Arc<Connection>, name: &Arc<str>) {
        self.state.lock().connections.insert(connection.id, Arc::clone(connection));
        let outcome = Ok((connection.id, connection.peer.clone()));
        self.handle(shared, Input::Dialled { name: Arc::clone(name), outcome });
    }

    /// A connection ended.
    pub(crate) fn lost(&self, shared: &Arc<Shared>, connection: &Arc<Connection>) {
        let why = connection.out.closed().map_or("client", Closed::text).to_owned();
        self.handle(shared, Input::Lost { connection: connection.id, why });
        self.state.lock().connections.remove(&connection.id);
    }

    /// Links there are to be, and links that are up.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.machine.targets().count() as u64, state.machine.links().count() as u64)
    }

    /// Links as listings show them.
    pub(crate) fn listing(&self) -> Value {
        let state = self.state.lock();
        let owed = |connection: u64| state.keepers.get(&connection).map_or(0, |keeper| keeper.owed());
        let mut shown: Vec<Value> = Vec::new();
        for target in state.machine.targets() {
            let link = match &target.state {
                TargetState::Linked(number) => state.machine.links().find(|link| link.connection == *number),
                TargetState::Covered(name) => state.machine.links().find(|link| link.link == *name),
                TargetState::Waiting(_) | TargetState::Dialling => None,
            };
            shown.push(json!({
                "name": &*target.name,
                "address": &*target.address,
                "state": if link.is_some() { "up" } else { target.state.word() },
                "peer": link.as_ref().and_then(|link| link.peer.as_deref()),
                "since": link.as_ref().map(|link| link.since.to_string()),
                "dialled": matches!(target.state, TargetState::Linked(_)),
                "failures": target.failures,
                "error": target.error.as_deref(),
                "owed": link.map_or(0, |link| owed(link.connection)),
            }));
        }
        let covered = |name: &str| {
            state.machine.targets().any(|target| matches!(&target.state, TargetState::Covered(link) if **link == *name))
        };
        for link in state.machine.links().filter(|link| link.target.is_none() && !covered(&link.link)) {
            let address = state.connections.get(&link.connection).map(|connection| connection.address.to_string());
            shown.push(json!({
                "name": &*link.link,
                "address": address,
                "state": "up",
                "peer": link.peer.as_deref(),
                "since": link.since.to_string(),
                "dialled": false,
                "failures": 0,
                "error": null,
                "owed": owed(link.connection),
            }));
        }
        Value::Array(shown)
    }

    /// Dials a hub because somebody asked, and keeps the link. What is said to whoever asked.
    pub(crate) async fn interconnect(&self, shared: &Arc<Shared>, address: &str) -> Result<String, String> {
        Address::parse(address, HUB_PORT, false)?;
        let name: Arc<str> = Arc::from(address);
        let mut link = Link::new(address, address);
        link.token.clone_from(&shared.options.interconnect_token);
        self.state.lock().asked.insert(Arc::clone(&name), link);
        self.want(shared);
        self.handle(shared, Input::Nudge(Some(Arc::clone(&name))));
        let outcome = async {
            loop {
                let wanted = self.wanted.notified();
                let view = self.state.lock().machine.targets().find(|target| target.name == name);
                match view {
                    None => return Err(String::from("it is not wanted any more")),
                    Some(view) => match (view.state, view.error) {
                        (TargetState::Linked(_) | TargetState::Covered(_), _) => return Ok(()),
                        (TargetState::Waiting(_), Some(error)) => return Err(error.to_string()),
                        _ => {}
                    },
                }
                wanted.await;
            }
        };
        let deadline = shared.options.dial_deadline + Duration::from_secs(1);
        let outcome = tokio::time::timeout(deadline, outcome).await;
        match outcome.unwrap_or_else(|_| Err(String::from("it took too long"))) {
            Ok(()) => Ok(format!("connected to {address}")),
            Err(why) => {
                self.state.lock().asked.remove(&name);
                self.want(shared);
                Err(why)
            }
        }
    }

    /// An event of a peer's kept room came: the id that it is recorded under, or `None` where it came before.
    pub(crate) fn arrived(&self, shared: &Shared, connection: &Arc<Connection>, place: &Place) -> Option<Bytes> {
        let peer = connection.peer.clone()?;
        let mut state = self.state.lock();
        let key = (Arc::clone(&peer), place.stream.clone(), place.seq);
        if state.seen.take(&peer, &place.stream, place.seq) {
            state.arriving.insert(key, vec![Arc::clone(connection)]);
            return Some(Bytes::from(format!("hub:{peer}:{}:{}", place.stream, place.seq)));
        }
        shared.totals.duplicates.fetch_add(1, Ordering::Relaxed);
        // While the first copy is being recorded, its answer is this one's too.
        if let Some(under_way) = state.arriving.get_mut(&key) {
            under_way.retain(|each| each.id != connection.id && each.out.closed().is_none());
            under_way.push(Arc::clone(connection));
            return None;
        }
        drop(state);
        acknowledge(connection, place);
        None
    }

    /// What became of an event that arrived.
    pub(crate) fn settled(&self, connection: &Arc<Connection>, place: &Place, outcome: Result<(), PublishError>) {
        let Some(peer) = connection.peer.clone() else { return };
        let mut state = self.state.lock();
        let came_by = state.arriving.remove(&(Arc::clone(&peer), place.stream.clone(), place.seq));
        let came_by = came_by.unwrap_or_else(|| vec![Arc::clone(connection)]);
        if let Err(PublishError::Journal(_)) = outcome {
            // It may be taken when it is sent again, which it is on a new connection.
            state.seen.give_back(&peer, &place.stream, place.seq);
            drop(state);
            return came_by.iter().for_each(|each| each.goodbye(1013, Closed::Link));
        }
        drop(state);
        came_by.iter().for_each(|each| acknowledge(each, place));
    }

    /// An event that arrived is not wanted, now or ever.
    pub(crate) fn passed_over(&self, connection: &Connection, place: &Place) {
        acknowledge(connection, place);
    }

    /// The peer has recorded or delivered an event.
    pub(crate) fn acknowledged(&self, connection: &Connection, place: &Place) {
        let keeper = self.state.lock().keepers.get(&connection.id).cloned();
        if let Some(keeper) = keeper {
            keeper.acknowledged(place);
        }
    }

    /// A pong came.
    pub(crate) fn pong(&self, shared: &Arc<Shared>, connection: &Connection, payload: &[u8]) {
        let keeper = self.state.lock().keepers.get(&connection.id).cloned();
        if connection.kind == Kind::Hub
            && let Some(keeper) = keeper
        {
            keeper.ponged(payload);
        }
        self.handle(shared, Input::Heard { connection: connection.id });
    }
}

fn acknowledge(connection: &Connection, place: &Place) {
    let control = Control { at: None, ack: Some(place.clone()) };
    connection.say(Opcode::Text, &control.text());
}

async fn dial(shared: Arc<Shared>, name: Arc<str>, address: Arc<str>) {
    let link = {
        let state = shared.links.state.lock();
        state.declared.get(&name).or_else(|| state.asked.get(&name)).cloned()
    };
    let Some(link) = link else {
        let outcome = Err(String::from("it is not wanted any more"));
        return shared.links.handle(&shared, Input::Dialled { name, outcome });
    };
    let dialling = Box::pin(connect(&shared, &link, &address));
    let outcome = tokio::time::timeout(shared.options.dial_deadline, dialling).await;
    match outcome.unwrap_or_else(|_| Err(String::from("it took too long"))) {
        Ok((mut newcomer, upgraded)) => {
            newcomer.target = Some(name);
            take(&shared, newcomer, upgraded, None);
        }
        Err(why) => {
            warn!(link = &*name, address = &*address, "cannot reach the hub: {why}");
            shared.links.handle(&shared, Input::Dialled { name, outcome: Err(why) });
        }
    }
}

async fn connect(shared: &Shared, link: &Link, address: &str) -> Result<(Newcomer, hyper::upgrade::Upgraded), String> {
    let address = Address::parse(address, HUB_PORT, false)?;
    let asking = Asking { token: link.token.as_ref(), tls: link.tls.as_ref().or(shared.options.client_tls.as_ref()) };
    let path = format!("{}/connect/hub", address.path);
    let also = [(&TIDINGS_NODE, &*shared.options.node), (&TIDINGS_HUB, TIDINGS_HUB_VERSION)];
    let dialled = upgrade(&address, &path, &asking, &also).await?;
    let said = |name| dialled.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let node = Some(said(&TIDINGS_NODE)).filter(|node| !node.is_empty() && said(&TIDINGS_HUB) == TIDINGS_HUB_VERSION);
    let rooms = Pattern::parse("room.>").map_err(|error| error.to_string())?;
    let newcomer = Newcomer {
        kind: if node.is_some() { Kind::Twin } else { Kind::Hub },
        address: dialled.address,
        peer: node.map(Arc::from),
        dialled: true,
        target: None,
        who: Principal::new(&link.name, vec![rooms.clone()], vec![rooms], false),
    };
    Ok((newcomer, dialled.upgraded))
}

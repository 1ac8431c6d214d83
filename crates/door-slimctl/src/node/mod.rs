//! This node under a controller of SLIM's make: it registers, is told its links and routes, says what became of them,
//! and tells the names that its own applications subscribe.
//!
//! ```text
//!  dialled ─▶ register, with proof ─▶ taken ─▶ all names told ─▶ commands, lists, names as they change
//!     ▲              │ turned away: said once, again after a minute        │
//!     └──────────────┴──────────────── ended: again, or the next controller ┘
//! ```
//!
//! One controller leads at a time. Where several are told, they are places of one: the next is tried where one does not
//! answer. While none does, what was told last stays.
//!
//! # Invariants
//! - A controller that comes is told everything again, and what it says of links and routes replaces what was said.
//! - What is acknowledged was so when it was acknowledged.
//! - A command that never ends, or that nobody could hold, costs no more than its limits.
//!
//! Source: agntcy/slim, its node's controller service.

mod desired;
mod dial;
mod led;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::counts::Totals;
use crate::limits::{
    AGAIN_FIRST, AGAIN_MAX, LEAVE_DEADLINE, LINKS_DEADLINE, LIST_MAX, NAMES_PER_MESSAGE, REGISTERED_DEADLINE,
    REJECTED_PAUSE, ROUTES_BYTES_MAX, STEADY,
};
use crate::parts::parts;
use crate::proof;
use crate::proto::control::{
    Ack, Command, CommandAck, Connections, ControlMessage, Deregister, Details, Direction, Entry, Kind, Node, Payload,
    Register, Registered, Route, Routes,
};
use desired::{Desired, link_ack, route_ack};
use dial::Line;
pub use led::{Dial, Leads, Led, Shown};

/// Where a controller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `host:port`.
    pub address: String,
    /// Whether with TLS.
    pub tls: bool,
}

/// Who this node is to its controller.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its id in its domain.
    pub node: String,
    /// Its domain.
    pub domain: String,
    /// Where it can be dialled.
    pub details: Details,
    /// Where its controller may be, the first one first. Not empty.
    pub controllers: Vec<Place>,
}

/// How a channel ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// The controller would not have this node.
    Rejected(String),
    /// It was not there, or is gone.
    Lost(String),
    /// This node stops.
    Stopped,
}

impl Ended {
    fn lost(why: &(impl ToString + ?Sized)) -> Self {
        Ended::Lost(why.to_string())
    }
}

/// Keeps this node registered until it stops.
pub(crate) async fn follow(led: Arc<dyn Led>, who: Identity, totals: Arc<Totals>, stopping: CancellationToken) {
    let (mut wait, mut at, mut desired) = (AGAIN_FIRST, 0, Desired::default());
    // What was said of each place: once for each reason, until it is another.
    let mut said: Vec<Option<Ended>> = vec![None; who.controllers.len()];
    loop {
        at %= who.controllers.len().max(1);
        let (Some(place), Some(told)) = (who.controllers.get(at), said.get_mut(at)) else { return };
        let began = Instant::now();
        let mut channel = Channel { led: &*led, who: &who, totals: &totals, place, taken: AtomicBool::new(false) };
        let ended = channel.run(&mut desired, &stopping).await;
        totals.leave();
        led.fetching(false);
        let taken = channel.taken.load(Ordering::Relaxed);
        let (pause, why) = match &ended {
            Ended::Stopped => return,
            Ended::Rejected(why) => {
                totals.rejected();
                (REJECTED_PAUSE, why)
            }
            Ended::Lost(why) => {
                wait = if began.elapsed() > STEADY { AGAIN_FIRST } else { (wait * 2).min(AGAIN_MAX) };
                (wait, why)
            }
        };
        if taken || told.as_ref() != Some(&ended) {
            match ended {
                Ended::Rejected(_) => {
                    warn!(controller = place.address, %why, "this node is turned away; it asks again")
                }
                _ => info!(controller = place.address, %why, "no controller leads this node; it dials again"),
            }
        }
        if taken {
            said.fill(None);
        } else {
            *told = Some(ended);
        }
        at += 1;
        tokio::select! {
            () = sleep(pause) => {}
            () = stopping.cancelled() => return,
        }
    }
}

/// One channel.
struct Channel<'a> {
    led: &'a dyn Led,
    who: &'a Identity,
    totals: &'a Totals,
    place: &'a Place,
    /// Whether the controller took this node.
    taken: AtomicBool,
}

/// What is on a channel while it lasts.
struct Talk {
    line: Line,
    /// The links that the controller was told of.
    told: BTreeSet<(String, u64)>,
    messages: u64,
}

impl Talk {
    fn message(&mut self, payload: Payload) -> ControlMessage {
        self.messages += 1;
        ControlMessage::new(format!("n-{}", self.messages), payload)
    }

    async fn say(&mut self, payload: Payload) -> Result<(), Ended> {
        let message = self.message(payload);
        self.line.say(&message).await
    }
}

impl Channel<'_> {
    /// The channel from its first byte to its end.
    async fn run(&mut self, desired: &mut Desired, stopping: &CancellationToken) -> Ended {
        let opened = tokio::select! {
            opened = self.register() => opened,
            () = stopping.cancelled() => return Ended::Stopped,
        };
        let (mut talk, registered) = match opened {
            Ok(opened) => opened,
            Err(ended) => return ended,
        };
        self.taken.store(true, Ordering::Relaxed);
        self.totals.enter();
        info!(controller = self.place.address, "this node is registered with a controller");
        let ended = tokio::select! {
            ended = self.talk(&mut talk, desired, registered) => ended,
            () = stopping.cancelled() => Ended::Stopped,
        };
        if ended == Ended::Stopped {
            // Who does not take leave is noticed all the same.
            let _left = timeout(LEAVE_DEADLINE, leave(&mut talk, &self.who.node)).await;
        }
        ended
    }

    async fn register(&self) -> Result<(Talk, Registered), Ended> {
        let shown = self.led.shown(self.place.tls).await.map_err(Ended::Lost)?;
        let secret = self.led.secret().await.map_err(Ended::Lost)?;
        let Identity { node, domain, details, .. } = self.who;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let credentials = match secret {
            None => String::new(),
            Some(secret) => proof::make(&secret, domain, node, now).map_err(|why| Ended::Rejected(why.to_string()))?,
        };
        let route = |leads: Leads| Route { name: Some(leads.name), link_id: Some(leads.link), direction: None };
        let register = Register {
            node_id: node.clone(),
            details: vec![details.clone()],
            domain_name: Some(domain.clone()).filter(|domain| !domain.is_empty()),
            connections: self.led.connections().into_iter().filter(|entry| entry.kind == Kind::Remote as i32).collect(),
            routes: some(self.led.routes().into_iter().map(route)),
            credentials,
        };
        let first = ControlMessage::new(String::from("register"), Payload::Register(register));
        let line = dial::open(self.place, &shown, &first).await?;
        let mut talk = Talk { line, told: BTreeSet::new(), messages: 0 };
        let answer = async {
            loop {
                match talk.line.body.next::<ControlMessage>().await {
                    Some(Ok(ControlMessage { payload: Some(Payload::Registered(registered)), .. })) => {
                        return Ok(registered);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(status)) => return Err(Ended::Lost(status.text)),
                    None => return Err(Ended::lost("the channel ended before this node was taken")),
                }
            }
        };
        let answer = timeout(REGISTERED_DEADLINE, answer).await;
        let registered =
            answer.unwrap_or_else(|_| Err(Ended::lost("the controller does not say whether it takes us")))?;
        match registered.success {
            true => Ok((talk, registered)),
            false => Err(Ended::Rejected(format!(
                "it takes no node '{node}' of the domain '{domain}' with this secret; its log says more"
            ))),
        }
    }

    async fn talk(&self, talk: &mut Talk, desired: &mut Desired, registered: Registered) -> Ended {
        let Registered { connections, routes, .. } = registered;
        if !connections.is_empty() || !routes.is_empty() {
            let all = Command {
                connections_to_create: connections,
                routes_to_set: routes,
                reconcile: true,
                ..Command::default()
            };
            let _nobody_asked = self.apply(desired, all).await;
        }
        self.led.fetching(true);
        if let Err(ended) = self.announce(talk).await {
            return ended;
        }
        loop {
            let done = tokio::select! {
                message = talk.line.body.next::<ControlMessage>() => match message {
                    Some(Ok(message)) => self.heard(talk, desired, message).await,
                    Some(Err(status)) => Err(Ended::Lost(status.text)),
                    None => Err(Ended::lost("the channel ended")),
                },
                () = self.led.changed() => self.announce(talk).await,
            };
            if let Err(ended) = done {
                return ended;
            }
        }
    }

    /// Tells the names that changed, and the links that others dialled.
    async fn announce(&self, talk: &mut Talk) -> Result<(), Ended> {
        loop {
            let changed = self.led.fetch(NAMES_PER_MESSAGE);
            if changed.is_empty() {
                break;
            }
            let (there, gone): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(_, is_there)| *is_there);
            let route = |(name, _)| Route { name: Some(name), link_id: None, direction: None };
            let command = Command {
                routes_to_set: there.into_iter().map(route).collect(),
                routes_to_delete: gone.into_iter().map(route).collect(),
                ..Command::default()
            };
            talk.say(Payload::Command(command)).await?;
        }
        let taken: BTreeSet<(String, u64)> = self.led.taken().into_iter().collect();
        let news: Vec<Entry> = taken.difference(&talk.told).map(|(link, id)| received(link, *id)).collect();
        talk.told = taken;
        for part in news.chunks(NAMES_PER_MESSAGE) {
            let command = Command { connections_received: part.to_vec(), ..Command::default() };
            talk.say(Payload::Command(command)).await?;
        }
        Ok(())
    }

    async fn heard(&self, talk: &mut Talk, desired: &mut Desired, message: ControlMessage) -> Result<(), Ended> {
        let id = message.message_id;
        match message.payload {
            Some(Payload::Command(command)) => {
                let mut ack = self.apply(desired, command).await;
                ack.original_message_id = id;
                talk.say(Payload::CommandAck(ack)).await
            }
            Some(Payload::RouteList(_)) => {
                for (entries, done) in parts(self.led.names(LIST_MAX)) {
                    talk.say(Payload::Routes(Routes { original_message_id: id.clone(), entries, done })).await?;
                }
                Ok(())
            }
            Some(Payload::ConnectionList(_)) => {
                for (entries, done) in parts(self.led.connections()) {
                    let part = Connections { original_message_id: id.clone(), entries, done };
                    talk.say(Payload::Connections(part)).await?;
                }
                Ok(())
            }
            Some(Payload::Register(_) | Payload::Deregister(_)) => {
                let messages = vec![String::from("this node is no controller")];
                talk.say(Payload::Ack(Ack { original_message_id: id, success: false, messages })).await
            }
            _ => Ok(()),
        }
    }

    /// Does what a command says; what became of it.
    async fn apply(&self, desired: &mut Desired, command: Command) -> CommandAck {
        self.totals.command();
        let taken = desired.take(command, self.led.has_credentials());
        self.led.set_links(desired.links());
        let until = Instant::now() + LINKS_DEADLINE;
        let mut ack = CommandAck::default();
        for (link, known) in taken.links {
            let outcome = match known {
                Some(known) => known,
                None => match timeout_at(until, self.led.dialled(&link)).await {
                    Ok(outcome) => outcome.map_err(|why| format!("Connection failed: {why}")),
                    Err(_) => Err(String::from("Connection failed: the node does not answer")),
                },
            };
            ack.connections.push(link_ack(link, outcome));
        }
        let routes = desired.routes();
        let outcomes = self.led.set_routes(&routes);
        let mut became: std::collections::BTreeMap<_, _> = routes
            .iter()
            .zip(outcomes)
            .filter_map(|(leads, outcome)| Some(((crate::names::pattern(&leads.name)?, leads.link.clone()), outcome)))
            .collect();
        for (route, known) in taken.routes {
            let outcome = known.unwrap_or_else(|| {
                let key = route.name.as_ref().and_then(crate::names::pattern).zip(route.link_id.clone());
                key.and_then(|key| became.remove(&key)).unwrap_or(Ok(()))
            });
            ack.routes.push(route_ack(route, outcome));
        }
        let failed = ack.connections.iter().filter(|each| !each.success).count()
            + ack.routes.iter().filter(|each| !each.success).count();
        self.totals.failed(failed);
        ack
    }
}

/// As many routes as a first message has room for: they spare the controller to tell them again.
fn some(routes: impl Iterator<Item = Route>) -> Vec<Route> {
    let mut room = ROUTES_BYTES_MAX;
    let fits = |route: &Route| {
        room = room.saturating_sub(route.encoded_len());
        room > 0
    };
    routes.take_while(fits).collect()
}

/// A link that another node dialled, as a controller is told.
fn received(link: &str, id: u64) -> Entry {
    Entry {
        id,
        kind: Kind::Remote as i32,
        config_data: String::new(),
        link_id: Some(link.to_owned()),
        direction: Direction::Incoming as i32,
        peer_node_id: None,
    }
}

/// Takes leave, and waits until the controller has heard it.
async fn leave(talk: &mut Talk, node: &str) -> Result<(), Ended> {
    talk.say(Payload::Deregister(Deregister { node: Some(Node { id: node.to_owned() }) })).await?;
    while let Some(Ok(message)) = talk.line.body.next::<ControlMessage>().await {
        if matches!(message.payload, Some(Payload::Deregistered(_))) {
            break;
        }
    }
    Ok(())
}

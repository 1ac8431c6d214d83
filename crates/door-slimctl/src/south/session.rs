//! One node's control channel, once it is registered: what it is told, what it says, and what that means for the
//! controller. Pure: it is told what happened, and says what is to be done.
//!
//! ```text
//!  plan, routes ─▶ command (all links and routes) ─▶ acknowledged ─▶ list asked ─▶ links told to the controller
//!                        ▲                                              │ a link that is to be dialled is not there,
//!                        └──────────────────────────────────────────────┘ or a route had no link yet, and now has
//! ```
//!
//! A node does not say that a link ended: it is asked from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh::control::{Act, Event, RouteAt, Standing};
use mesh::names::{LinkId, NodeId};
use mesh::plan::{Generation, LinkKind, LinkPlan, Plan};
use tokio::sync::oneshot;

use super::details::{self, Known};
use crate::limits::{LIST_MAX, NAMES_MAX};
use crate::names::{self, Seen};
use crate::proto::control::{
    Command, CommandAck, Connection, ControlMessage, Deregistered, Direction, Empty, Entry, Payload, Route, RouteEntry,
};

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Sent to the node.
    Send(ControlMessage),
    /// Told to the controller.
    Tell(Event),
    /// The channel ends.
    End,
}

/// What an operator asked of a node.
pub(crate) enum Asked {
    Routes(oneshot::Sender<Vec<RouteEntry>>),
    Connections(oneshot::Sender<Vec<Entry>>),
}

/// A list that comes in parts.
enum Listing {
    Routes(oneshot::Sender<Vec<RouteEntry>>, Vec<RouteEntry>),
    Connections(oneshot::Sender<Vec<Entry>>, Vec<Entry>),
    /// For the controller.
    Links(Vec<Entry>),
}

impl Listing {
    fn is_dropped(&self) -> bool {
        match self {
            Listing::Routes(asker, _) => asker.is_closed(),
            Listing::Connections(asker, _) => asker.is_closed(),
            Listing::Links(_) => false,
        }
    }
}

/// One node's control channel.
pub(super) struct Session {
    number: u64,
    node: NodeId,
    /// By which routes are told with their texts: an original node ends where they are missing.
    seen: Arc<Seen>,
    plan: Option<Arc<Plan>>,
    routes: Arc<[RouteAt]>,
    /// The command that was not acknowledged yet.
    told: Option<(String, Generation)>,
    /// Whether the last command had routes whose links were not there.
    owed: bool,
    /// The links that were there at the last list.
    up: BTreeSet<LinkId>,
    /// Unique by message: lists that were asked for.
    listings: BTreeMap<String, Listing>,
    /// What the node announced. Never more than [`NAMES_MAX`].
    names: BTreeSet<event::Pattern>,
    messages: u64,
}

impl Session {
    pub(super) fn new(number: u64, node: NodeId, seen: Arc<Seen>) -> Self {
        Session {
            number,
            node,
            seen,
            plan: None,
            routes: Arc::from([]),
            told: None,
            owed: false,
            up: BTreeSet::new(),
            listings: BTreeMap::new(),
            names: BTreeSet::new(),
            messages: 0,
        }
    }

    fn id(&mut self) -> String {
        self.messages += 1;
        format!("{}-{}", self.number, self.messages)
    }

    /// What the controller wants.
    pub(super) fn act(&mut self, act: Act, known: &Known) -> Vec<Step> {
        match act {
            Act::Tell { plan, .. } => self.plan = Some(plan),
            Act::Routes { routes, .. } => self.routes = routes,
            Act::Reject { .. } => return vec![Step::End],
            Act::Report(_) => return Vec::new(),
        }
        self.command(known)
    }

    /// All that the node is to have.
    fn command(&mut self, known: &Known) -> Vec<Step> {
        let Some(plan) = self.plan.clone() else { return Vec::new() };
        let dialled = remote(&plan).filter(|link| link.dial.is_some());
        let connections =
            dialled.map(|link| Connection { link_id: link.id.to_string(), config_data: details::config(link, known) });
        let routes = self.routes.iter().filter_map(|route| {
            Some(Route {
                name: Some(self.seen.name(route.name.as_str())?),
                link_id: Some(route.link.to_string()),
                direction: None,
            })
        });
        let mut routes: Vec<_> = routes.collect();
        // The same name may lead to several domains over one link.
        routes.dedup();
        let connections = connections.collect();
        let command = Command {
            connections_to_create: connections,
            routes_to_set: routes,
            reconcile: true,
            ..Command::default()
        };
        let id = self.id();
        self.told = Some((id.clone(), plan.generation));
        vec![Step::Send(ControlMessage::new(id, Payload::Command(command)))]
    }

    /// What the node says.
    pub(super) fn heard(&mut self, message: ControlMessage, known: &Known) -> Vec<Step> {
        let id = message.message_id;
        match message.payload {
            Some(Payload::Command(command)) => self.announced(&command),
            Some(Payload::CommandAck(ack)) => self.acknowledged(&ack),
            Some(Payload::Connections(part)) => {
                self.connections(&part.original_message_id, part.entries, part.done, known)
            }
            Some(Payload::Routes(part)) => {
                self.routes(&part.original_message_id, part.entries, part.done);
                Vec::new()
            }
            Some(Payload::Deregister(_)) => {
                let reply = Deregistered { original_message_id: id, success: true };
                let reply = ControlMessage::new(self.id(), Payload::Deregistered(reply));
                vec![Step::Send(reply), Step::Tell(Event::Deregistered { session: self.number }), Step::End]
            }
            _ => Vec::new(),
        }
    }

    /// Names that somebody listens to at the node, or does not any longer, and links that came in.
    fn announced(&mut self, command: &Command) -> Vec<Step> {
        let mut steps = Vec::new();
        let changes = command.routes_to_set.iter().map(|route| (route, true));
        for (route, wanted) in changes.chain(command.routes_to_delete.iter().map(|route| (route, false))) {
            let Some(name) = route.name.as_ref().filter(|_| route.link_id.as_deref().is_none_or(str::is_empty)) else {
                continue;
            };
            let Some(pattern) = names::pattern(name) else { continue };
            let news = match wanted {
                true => self.names.len() < NAMES_MAX && self.names.insert(pattern.clone()),
                false => self.names.remove(&pattern),
            };
            if news {
                match wanted {
                    true => self.seen.keep(name),
                    false => self.seen.forget(pattern.as_str()),
                }
                steps.push(Step::Tell(Event::Announced { session: self.number, name: pattern, wanted }));
            }
        }
        if !command.connections_received.is_empty() {
            steps.extend(self.look());
        }
        steps
    }

    fn acknowledged(&mut self, ack: &CommandAck) -> Vec<Step> {
        let Some((_, generation)) = self.told.take_if(|(id, _)| *id == ack.original_message_id) else {
            return Vec::new();
        };
        let planned = |link: &LinkId| self.plan.iter().any(|plan| remote(plan).any(|known| known.id == *link));
        let failed = ack.connections.iter().filter(|each| !each.success).filter_map(|each| {
            let link = LinkId::parse(&each.link_id).ok().filter(&planned)?;
            Some((link, Arc::from(each.error.as_str())))
        });
        let failed = failed.collect();
        self.owed = ack.routes.iter().any(|each| !each.success);
        let mut steps = vec![Step::Tell(Event::Acked { session: self.number, generation, failed })];
        steps.extend(self.look());
        steps
    }

    /// Asks the node for its links, unless it was asked and has not answered.
    pub(super) fn look(&mut self) -> Option<Step> {
        self.listings.retain(|_, listing| !listing.is_dropped());
        if self.plan.is_none() || self.listings.values().any(|listing| matches!(listing, Listing::Links(_))) {
            return None;
        }
        let id = self.id();
        self.listings.insert(id.clone(), Listing::Links(Vec::new()));
        Some(Step::Send(ControlMessage::new(id, Payload::ConnectionList(Empty {}))))
    }

    /// What an operator wants to know of the node.
    pub(super) fn ask(&mut self, asked: Asked) -> Step {
        let id = self.id();
        let (listing, payload) = match asked {
            Asked::Routes(asker) => (Listing::Routes(asker, Vec::new()), Payload::RouteList(Empty {})),
            Asked::Connections(asker) => (Listing::Connections(asker, Vec::new()), Payload::ConnectionList(Empty {})),
        };
        self.listings.insert(id.clone(), listing);
        Step::Send(ControlMessage::new(id, payload))
    }

    fn routes(&mut self, id: &str, entries: Vec<RouteEntry>, done: bool) {
        let Some(Listing::Routes(_, all)) = self.listings.get_mut(id) else { return };
        let room = LIST_MAX.saturating_sub(all.len());
        all.extend(entries.into_iter().take(room));
        if done && let Some(Listing::Routes(asker, all)) = self.listings.remove(id) {
            // Who asked may have gone.
            let _gone = asker.send(all);
        }
    }

    fn connections(&mut self, id: &str, entries: Vec<Entry>, done: bool, known: &Known) -> Vec<Step> {
        let Some(Listing::Connections(_, all) | Listing::Links(all)) = self.listings.get_mut(id) else {
            return Vec::new();
        };
        let room = LIST_MAX.saturating_sub(all.len());
        all.extend(entries.into_iter().take(room));
        if !done {
            return Vec::new();
        }
        match self.listings.remove(id) {
            Some(Listing::Connections(asker, all)) => {
                let _gone = asker.send(all);
                Vec::new()
            }
            Some(Listing::Links(all)) => self.listed(&all, known),
            Some(Listing::Routes(..)) | None => Vec::new(),
        }
    }

    /// The links that the node has, held against its plan.
    fn listed(&mut self, entries: &[Entry], known: &Known) -> Vec<Step> {
        let Some(plan) = self.plan.clone() else { return Vec::new() };
        let planned: BTreeMap<&str, &LinkPlan> = remote(&plan).map(|link| (link.id.as_str(), link)).collect();
        let standing = entries.iter().filter_map(|entry| {
            let link = planned.get(entry.link_id.as_deref()?)?;
            let outgoing = entry.direction == Direction::Outgoing as i32;
            if outgoing != link.dial.is_some() {
                return None;
            }
            let node = match &link.node {
                Some(node) => node.clone(),
                // Whoever took it said who it is.
                None => details::node_name(entry.peer_node_id.as_deref()?)?,
            };
            let peer = NodeId { domain: link.domain.clone(), node };
            Some(Standing { link: link.id.clone(), peer, dialled: link.dial.clone() })
        });
        let standing: Vec<_> = standing.collect();
        let up: BTreeSet<LinkId> = standing.iter().map(|each| each.link.clone()).collect();
        let missing = remote(&plan).any(|link| {
            link.dial.is_some() && !entries.iter().any(|entry| entry.link_id.as_deref() == Some(link.id.as_str()))
        });
        let news = up != self.up;
        self.up = up;
        let mut steps = vec![Step::Tell(Event::Links { session: self.number, up: standing })];
        if self.told.is_none() && ((self.owed && news) || (missing && !news && !self.owed)) {
            self.owed = false;
            steps.extend(self.command(known));
        }
        steps
    }

    /// The node that this is.
    pub(super) fn node(&self) -> &NodeId {
        &self.node
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| self.seen.forget(name.as_str()));
    }
}

/// The links of a plan to other domains. A node of a foreign make finds its peers by itself.
fn remote(plan: &Plan) -> impl Iterator<Item = &LinkPlan> {
    plan.links.iter().filter(|link| link.kind == LinkKind::Remote)
}

#[cfg(test)]
mod tests;

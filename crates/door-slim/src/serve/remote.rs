//! Links to other domains, and the names that lead over them, as a controller tells them.
//!
//! ```text
//!  told link ─▶ dialled ─▶ up ─▶ its names are subscribed in the name of the link
//!                  ▲       │
//!                  └───────┘ it ended: dialled again, until it is no longer told
//! ```
//!
//! What is told stays, whether its link is up or not: names are there again as soon as their link is.
//!
//! # Invariants
//! - A link between domains subscribes nothing by itself: what leads over it is told by the controller alone.
//! - Of two links of one name at most one is up: the first, until it has ended.
//! - Nothing here waits for a link.
//!
//! Source: agntcy/slim, its node's controller service, by what it does.

use std::collections::BTreeMap;
use std::sync::Arc;

use door::ConnectionId;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::dial::{Outcome, Target, keep};
use super::own::Texts;
use super::shared::{Connection, Shared};
use super::subscriptions::Subscriptions;
use crate::codec::{Encoded, Kind};

/// Under which number a link holds what the controller told.
const TOLD: u64 = 1;

/// A link to another domain that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// What both ends call it.
    pub link: String,
    /// Where, `host:port`.
    pub address: String,
    /// Whether with TLS.
    pub tls: bool,
    /// Whether this node's credentials are shown there.
    pub shows: bool,
}

/// A name that leads over a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The name.
    pub name: Encoded,
    /// What its hashes were made of, where that is known.
    pub texts: Option<[String; 3]>,
    /// The link.
    pub link: String,
}

/// A name that changed: applications subscribe it here, or none does any longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The name.
    pub name: Encoded,
    /// What its hashes were made of.
    pub texts: [String; 3],
    /// Whether somebody subscribes it.
    pub is_there: bool,
}

/// A link of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number at this node.
    pub id: ConnectionId,
    /// What it is for.
    pub kind: Kind,
    /// What both ends call it.
    pub link: String,
    /// Whether this node dialled it.
    pub is_outgoing: bool,
    /// Who is at the other end, as it says.
    pub node: String,
    /// Where that is.
    pub address: String,
}

/// A name, and the links that subscribe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: Encoded,
    /// What its hashes were made of, where that is known.
    pub texts: Option<[String; 3]>,
    /// The numbers of the links.
    pub links: Vec<ConnectionId>,
}

/// A link that is dialled again and again.
struct Dialled {
    dial: Dial,
    stopping: CancellationToken,
    outcome: watch::Receiver<Outcome>,
}

/// A link that is up.
struct Up {
    connection: Arc<Connection>,
    subscriptions: Subscriptions,
}

type Names = BTreeMap<Encoded, Option<[String; 3]>>;

#[derive(Default)]
struct State {
    /// Unique by link.
    dialled: BTreeMap<String, Dialled>,
    /// Unique by link.
    up: BTreeMap<String, Up>,
    /// What leads over each link, whether it is up or not.
    told: BTreeMap<String, Names>,
}

/// What the door keeps of it.
#[derive(Default)]
pub(crate) struct Remotes {
    state: Mutex<State>,
    /// A link came or went.
    changed: Notify,
}

impl Remotes {
    /// A link between domains is negotiated; why it cannot be.
    pub(crate) fn opened(&self, shared: &Arc<Shared>, connection: &Arc<Connection>, link: &str) -> Result<(), String> {
        let mut state = self.state.lock();
        if !connection.trusted && state.dialled.contains_key(link) {
            return Err(String::from("this node dials that link itself"));
        }
        if state.up.get(link).is_some_and(|up| !up.connection.out.is_over()) {
            return Err(String::from("the link is there already"));
        }
        let mut subscriptions = Subscriptions::new(shared, connection);
        for (name, texts) in state.told.get(link).into_iter().flatten() {
            // What cannot be is said when the controller tells it again.
            let _refused = subscriptions.add(*name, plain(texts.as_ref()), TOLD);
        }
        let former = state.up.insert(link.to_owned(), Up { connection: Arc::clone(connection), subscriptions });
        drop(state);
        drop(former);
        self.changed.notify_one();
        Ok(())
    }

    /// Other tokens or rules are in force for a link: what it may not hear any longer is taken back.
    pub(crate) fn judge(&self, id: ConnectionId) {
        let mut state = self.state.lock();
        let up = state.up.values_mut().find(|up| up.connection.id == id);
        up.into_iter().for_each(|up| up.subscriptions.judge());
    }

    /// A link is gone.
    pub(crate) fn closed(&self, id: ConnectionId) {
        let mut state = self.state.lock();
        let link = state.up.iter().find(|(_, up)| up.connection.id == id).map(|(link, _)| link.clone());
        let gone = link.and_then(|link| state.up.remove(&link));
        drop(state);
        if gone.is_some() {
            self.changed.notify_one();
        }
    }
}

fn plain(texts: Option<&[String; 3]>) -> Option<[&str; 3]> {
    texts.map(|texts| texts.each_ref().map(String::as_str))
}

fn owned(texts: &Texts) -> [String; 3] {
    texts.each_ref().map(|text| text.clone().into_string())
}

/// By which a controller leads this node: see the module.
#[derive(Clone)]
pub struct Reins {
    shared: Arc<Shared>,
}

impl Reins {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Reins { shared: Arc::clone(shared) }
    }

    /// All links that this node is to dial. Others that it dials between domains end.
    pub fn set_links(&self, links: Vec<Dial>) {
        let wanted: BTreeMap<String, Dial> = links.into_iter().map(|dial| (dial.link.clone(), dial)).collect();
        let mut state = self.shared.remotes.state.lock();
        state.dialled.retain(|link, dialled| {
            let stays = wanted.get(link) == Some(&dialled.dial);
            if !stays {
                dialled.stopping.cancel();
            }
            stays
        });
        for (link, dial) in wanted {
            if state.dialled.contains_key(&link) || self.shared.stopping.is_cancelled() {
                continue;
            }
            let (said, outcome) = watch::channel(None);
            let stopping = self.shared.stopping.child_token();
            let target = Target {
                kind: Kind::Remote,
                link: link.clone(),
                node: String::new(),
                address: dial.address.clone(),
                tls: dial.tls,
                shows: dial.shows,
            };
            self.shared.tasks.spawn(keep(Arc::clone(&self.shared), target, stopping.clone(), said));
            state.dialled.insert(link, Dialled { dial, stopping, outcome });
        }
    }

    /// What became of a link that is dialled, once that is known.
    ///
    /// # Errors
    /// Why it is not up.
    pub async fn dialled(&self, link: &str) -> Result<(), String> {
        let outcome = self.shared.remotes.state.lock().dialled.get(link).map(|dialled| dialled.outcome.clone());
        let Some(mut outcome) = outcome else { return Err(String::from("the link is not dialled")) };
        match outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(String::from("the link is no longer dialled")),
        }
    }

    /// All names that lead over links, whether these are up or not. For each whether it does: if not, why.
    pub fn set_routes(&self, routes: &[Route]) -> Vec<Result<(), String>> {
        let mut told: BTreeMap<String, Names> = BTreeMap::new();
        for route in routes {
            told.entry(route.link.clone()).or_default().insert(route.name, route.texts.clone());
        }
        let mut state = self.shared.remotes.state.lock();
        let State { up, told: before, .. } = &mut *state;
        for (link, names) in before.iter() {
            let Some(Up { subscriptions, .. }) = up.get_mut(link) else { continue };
            let stays = |name: &Encoded| told.get(link).is_some_and(|names| names.contains_key(name));
            for name in names.keys().filter(|name| !stays(name)) {
                // One that was refused is not there.
                let _absent = subscriptions.remove(name, TOLD);
            }
        }
        let outcomes = routes.iter().map(|route| match up.get_mut(&route.link) {
            Some(Up { subscriptions, .. }) => subscriptions.add(route.name, plain(route.texts.as_ref()), TOLD),
            None => Err(String::from("connection not found")),
        });
        let outcomes = outcomes.collect();
        *before = told;
        outcomes
    }

    /// Waits until a link came or went, or there are names to fetch. For one who waits at a time.
    pub async fn changed(&self) {
        tokio::select! {
            () = self.shared.remotes.changed.notified() => {}
            () = self.shared.own.fetchable.notified() => {}
        }
    }

    /// Names of applications are fetched from now on, all of them at first; or no longer.
    pub fn fetching(&self, begins: bool) {
        self.shared.own.fetching(begins);
    }

    /// At most so many names that changed since they were last fetched.
    pub fn fetch(&self, most: usize) -> Vec<Changed> {
        let fetched = self.shared.own.fetch(most).into_iter();
        fetched.map(|(name, texts, is_there)| Changed { name, texts: owned(&texts), is_there }).collect()
    }

    /// The links that are negotiated.
    pub fn links(&self) -> Vec<Link> {
        let mut all = self.shared.all();
        all.sort_by_key(|each| each.id);
        let link = |each: &Arc<Connection>| {
            let terms = each.terms.get()?;
            Some(Link {
                id: each.id,
                kind: terms.kind,
                link: terms.link.clone(),
                is_outgoing: each.trusted,
                node: terms.node.clone(),
                address: each.address.to_string(),
            })
        };
        all.iter().filter_map(link).collect()
    }

    /// The links between domains that others dialled and that are up, each with its number.
    pub fn taken(&self) -> Vec<(String, ConnectionId)> {
        let state = self.shared.remotes.state.lock();
        let taken = state.up.iter().filter(|(_, up)| !up.connection.trusted);
        taken.map(|(link, up)| (link.clone(), up.connection.id)).collect()
    }

    /// The names that lead over links now, each with its link.
    pub fn routes(&self) -> Vec<Route> {
        let state = self.shared.remotes.state.lock();
        let up = state.told.iter().filter(|(link, _)| state.up.contains_key(*link));
        let route = |link: &str, (name, texts): (&Encoded, &Option<[String; 3]>)| Route {
            name: *name,
            texts: texts.clone(),
            link: link.to_owned(),
        };
        up.flat_map(|(link, names)| names.iter().map(|each| route(link, each))).collect()
    }

    /// At most so many names that are subscribed here, with the links that subscribe them.
    pub fn names(&self, most: usize) -> Vec<Listed> {
        let listed = self.shared.own.list(most).into_iter();
        listed.map(|(name, texts, links)| Listed { name, texts: texts.as_ref().map(owned), links }).collect()
    }
}

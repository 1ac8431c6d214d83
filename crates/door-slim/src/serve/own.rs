//! The names that links of this node subscribe, and who is told of them: replicas, and a controller that leads this node.
//!
//! A replica that comes is told all of them; from then on the first who subscribes a name and the last who leaves it.
//! What another replica told is not told on: each tells its own (one hop).
//!
//! A controller fetches what changed since it fetched last, in parts. It is told the names of applications alone, and
//! those alone whose texts are known: it makes their hashes itself.
//!
//! # Invariants
//! - A replica is told a name once, and that it ended once, in order; and only a name that it may listen to.
//! - What a controller has yet to fetch is bounded by what is subscribed now and what it was told: a name that comes
//!   and goes in between leaves nothing behind.
//!
//! Source: agntcy/slim, `sync/peer.rs` and its node's controller service, by what is sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use door::{Class, ConnectionId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::shared::Connection;
use crate::codec::{Encoded, pattern, subscription};

/// The texts that the hashes of a name were made of.
pub(crate) type Texts = Arc<[Box<str>; 3]>;

fn plain(texts: Option<&Texts>) -> Option<[&str; 3]> {
    texts.map(|texts| texts.each_ref().map(|text| &**text))
}

/// One name.
struct Entry {
    /// Who subscribes it. Few, mostly one.
    links: Vec<(ConnectionId, Class)>,
    /// By which replicas know it; 0: they were not told.
    id: u64,
    texts: Option<Texts>,
    /// Whether the controller was told.
    is_told: bool,
}

impl Entry {
    /// Whether replicas are to know it.
    fn is_own(&self) -> bool {
        self.links.iter().any(|(_, class)| *class != Class::Peer)
    }

    /// Whether a controller is to know it.
    fn is_announced(&self) -> bool {
        self.texts.is_some() && self.links.iter().any(|(_, class)| *class == Class::Client)
    }
}

#[derive(Default)]
struct State {
    /// Unique by name.
    names: BTreeMap<Encoded, Entry>,
    /// Unique by connection.
    replicas: HashMap<ConnectionId, Arc<Connection>>,
    last: u64,
    /// Whether a controller fetches.
    is_fetched: bool,
    /// What it has yet to fetch. Each is in `names`.
    changed: BTreeSet<Encoded>,
}

/// A name, who subscribes it, and its texts where they are known.
pub(crate) type Listed = (Encoded, Option<Texts>, Vec<ConnectionId>);

/// See the module.
#[derive(Default)]
pub(crate) struct Own {
    state: Mutex<State>,
    /// There is something to fetch.
    pub(crate) fetchable: Notify,
}

impl Own {
    /// One more link subscribes a name. `begin` is where ids begin, so that those of two nodes differ.
    pub(crate) fn enter(&self, name: Encoded, texts: Option<Texts>, link: (ConnectionId, Class), begin: u64) {
        let mut state = self.state.lock();
        let State { names, replicas, last, .. } = &mut *state;
        let entry =
            names.entry(name).or_insert_with(|| Entry { links: Vec::new(), id: 0, texts: None, is_told: false });
        entry.links.push(link);
        if entry.texts.is_none() {
            entry.texts = texts;
        }
        if entry.id == 0 && entry.is_own() {
            *last += 1;
            entry.id = begin.wrapping_add(*last).max(1);
            tell(replicas, &name, &subscription(&name, plain(entry.texts.as_ref()), entry.id, true));
        }
        self.look(&mut state, name);
    }

    /// One link fewer does.
    pub(crate) fn leave(&self, name: &Encoded, link: ConnectionId) {
        let mut state = self.state.lock();
        let State { names, replicas, .. } = &mut *state;
        let Some(entry) = names.get_mut(name) else { return };
        entry.links.retain(|(each, _)| *each != link);
        if entry.id != 0 && !entry.is_own() {
            let id = std::mem::take(&mut entry.id);
            tell(replicas, name, &subscription(name, plain(entry.texts.as_ref()), id, false));
        }
        self.look(&mut state, *name);
    }

    /// Sees what a controller is to fetch of a name, and forgets one that nobody needs any more.
    fn look(&self, state: &mut State, name: Encoded) {
        let Some(entry) = state.names.get(&name) else { return };
        if state.is_fetched && entry.is_announced() != entry.is_told {
            if state.changed.insert(name) {
                self.fetchable.notify_one();
            }
        } else {
            state.changed.remove(&name);
        }
        if entry.links.is_empty() && !entry.is_told {
            state.names.remove(&name);
        }
    }

    /// A controller fetches from now on, and begins with everything; or does not any longer.
    pub(crate) fn fetching(&self, begins: bool) {
        let mut state = self.state.lock();
        state.is_fetched = begins;
        state.changed.clear();
        state.names.values_mut().for_each(|entry| entry.is_told = false);
        state.names.retain(|_, entry| !entry.links.is_empty());
        if begins {
            let State { names, changed, .. } = &mut *state;
            changed.extend(names.iter().filter(|(_, entry)| entry.is_announced()).map(|(name, _)| *name));
            self.fetchable.notify_one();
        }
    }

    /// At most so many names that changed since they were last fetched, each with whether it is there.
    pub(crate) fn fetch(&self, most: usize) -> Vec<(Encoded, Texts, bool)> {
        let mut state = self.state.lock();
        let State { names, changed, .. } = &mut *state;
        let mut fetched = Vec::with_capacity(most.min(changed.len()));
        while fetched.len() < most {
            let Some(name) = changed.pop_first() else { break };
            let Some(entry) = names.get_mut(&name) else { continue };
            entry.is_told = entry.is_announced();
            if let Some(texts) = entry.texts.clone() {
                fetched.push((name, texts, entry.is_told));
            }
            if entry.links.is_empty() && !entry.is_told {
                names.remove(&name);
            }
        }
        if !changed.is_empty() {
            self.fetchable.notify_one();
        }
        fetched
    }

    /// At most so many names, with who subscribes them.
    pub(crate) fn list(&self, most: usize) -> Vec<Listed> {
        let state = self.state.lock();
        let listed = state.names.iter().filter(|(_, entry)| !entry.links.is_empty()).take(most);
        let links = |entry: &Entry| entry.links.iter().map(|(link, _)| *link).collect();
        listed.map(|(name, entry)| (*name, entry.texts.clone(), links(entry))).collect()
    }

    /// A replica came: it is told everything.
    pub(crate) fn replica(&self, connection: &Arc<Connection>) {
        let mut state = self.state.lock();
        for (name, entry) in state.names.iter().filter(|(name, entry)| entry.id != 0 && may(connection, name)) {
            connection.out.say(&subscription(name, plain(entry.texts.as_ref()), entry.id, true));
        }
        state.replicas.insert(connection.id, Arc::clone(connection));
    }

    /// A link is gone.
    pub(crate) fn gone(&self, id: ConnectionId) {
        self.state.lock().replicas.remove(&id);
    }
}

/// Whether a replica may hear of a name.
fn may(replica: &Connection, name: &Encoded) -> bool {
    pattern(name).is_some_and(|pattern| replica.who.lock().may_listen(&pattern))
}

fn tell(replicas: &HashMap<ConnectionId, Arc<Connection>>, name: &Encoded, message: &[u8]) {
    replicas.values().filter(|each| may(each, name)).for_each(|each| each.out.say(message));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(third: u64) -> Encoded {
        Encoded { components: [1, 2, third], id: None }
    }

    fn texts() -> Option<Texts> {
        Some(Arc::new(["org".into(), "ns".into(), "app".into()]))
    }

    fn fetched(own: &Own) -> Vec<(u64, bool)> {
        own.fetch(10).into_iter().map(|(name, _, there)| (name.components[2], there)).collect()
    }

    #[test]
    fn a_controller_fetches_all_names_of_applications_and_then_what_changed() {
        let own = Own::default();
        own.enter(name(1), texts(), (1, Class::Client), 0);
        own.enter(name(2), texts(), (2, Class::Peer), 0);
        own.enter(name(3), texts(), (3, Class::Remote), 0);
        own.enter(name(4), None, (1, Class::Client), 0);
        assert_eq!(fetched(&own), []);
        own.fetching(true);
        assert_eq!(fetched(&own), [(1, true)]);
        own.enter(name(1), texts(), (4, Class::Client), 0);
        own.enter(name(2), texts(), (4, Class::Client), 0);
        assert_eq!(fetched(&own), [(2, true)]);
        own.leave(&name(1), 1);
        assert_eq!(fetched(&own), []);
        own.leave(&name(1), 4);
        assert_eq!(fetched(&own), [(1, false)]);
        own.fetching(false);
        own.fetching(true);
        assert_eq!(fetched(&own), [(2, true)]);
    }

    #[test]
    fn what_comes_and_goes_before_it_is_fetched_leaves_nothing() {
        let own = Own::default();
        own.fetching(true);
        own.enter(name(1), texts(), (1, Class::Client), 0);
        assert_eq!(fetched(&own), [(1, true)]);
        for third in 2..100 {
            own.enter(name(third), texts(), (1, Class::Client), 0);
            own.leave(&name(third), 1);
        }
        own.leave(&name(1), 1);
        own.enter(name(1), texts(), (1, Class::Client), 0);
        assert_eq!((fetched(&own).len(), own.state.lock().names.len()), (0, 1));
        own.leave(&name(1), 1);
        assert_eq!((fetched(&own), own.state.lock().names.len()), (vec![(1, false)], 0));
    }
}

//! What one link subscribes.
//!
//! # Invariants
//! - Any subject is matched by at most one listener of a link: one for each name, which hears what is for any instance,
//!   and one for each instance, which hears what is for that one. So nothing comes twice.
//! - A subscription lasts until each of its ids is taken back, or its link ends. The id 0 is that of a client which
//!   subscribes again after it came back, and whatever id it then takes back.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use door::{Listener, ListenerId};

use super::own::Texts;
use super::receiver::Receiver;
use super::shared::{Connection, Shared};
use crate::codec::{Encoded, component, pattern};
use crate::counts::{add, less};
use crate::limits::TEXT_BYTES_MAX;

/// The queue group of all subscribers of a name: one of them, or every one, gets a message.
const GROUP: &str = "slim";

struct Held {
    ids: BTreeSet<u64>,
    /// For one instance.
    listener: Option<ListenerId>,
}

/// See the module. Whoever drops it leaves nothing behind.
pub(crate) struct Subscriptions {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    held: HashMap<Encoded, Held>,
    /// How many instances of each name there are, and who hears what is for any.
    names: HashMap<[u64; 3], (usize, ListenerId)>,
    /// Ids of all subscriptions together.
    count: usize,
    group: Arc<str>,
}

impl Subscriptions {
    pub(crate) fn new(shared: &Arc<Shared>, connection: &Arc<Connection>) -> Self {
        Subscriptions {
            shared: Arc::clone(shared),
            connection: Arc::clone(connection),
            held: HashMap::new(),
            names: HashMap::new(),
            count: 0,
            group: GROUP.into(),
        }
    }

    /// Subscribes a name, by these texts where they are known; what is said where that cannot be.
    pub(crate) fn add(&mut self, name: Encoded, texts: Option<[&str; 3]>, id: u64) -> Result<(), String> {
        if let Some(held) = self.held.get_mut(&name) {
            if !held.ids.contains(&id) {
                if self.count >= self.shared.options.subscriptions_max {
                    return Err(self.too_many());
                }
                held.ids.insert(id);
                self.count += 1;
            }
            return Ok(());
        }
        if self.count >= self.shared.options.subscriptions_max {
            return Err(self.too_many());
        }
        let any = Encoded { id: None, ..name };
        let listener = name.id.map(|_| self.listen(&name)).transpose()?;
        match self.names.get_mut(&name.components) {
            Some((count, _)) => *count += 1,
            None => match self.listen(&any) {
                Ok(id) => drop(self.names.insert(name.components, (1, id))),
                Err(why) => {
                    listener.into_iter().for_each(|id| self.shared.port.fabric().leave(id));
                    return Err(why);
                }
            },
        }
        self.held.insert(name, Held { ids: BTreeSet::from([id]), listener });
        self.count += 1;
        let link = (self.connection.id, self.shared.class(&self.connection));
        self.shared.own.enter(name, texts.and_then(|texts| kept(&name, texts)), link, self.shared.ids);
        add(&self.shared.totals.subscriptions, 1);
        self.connection.subscriptions.store(self.held.len(), Ordering::Relaxed);
        self.shared.joined.notify_one();
        Ok(())
    }

    fn too_many(&self) -> String {
        format!("a link has at most {} subscriptions here", self.shared.options.subscriptions_max)
    }

    fn listen(&self, name: &Encoded) -> Result<ListenerId, String> {
        let pattern = pattern(name).ok_or_else(|| String::from("the name cannot be a subject"))?;
        let class = self.shared.class(&self.connection);
        let receiver = Receiver { connection: Arc::clone(&self.connection), totals: Arc::clone(&self.shared.totals) };
        let listener = Listener {
            patterns: vec![pattern],
            queue: Some(Arc::clone(&self.group)),
            connection: self.connection.id,
            class,
            taker: Arc::new(receiver),
        };
        let who = self.connection.who.lock().clone();
        self.shared.port.listen(&who, listener).map_err(|error| error.to_string())
    }

    /// Takes a subscription back; what is said where there is none.
    pub(crate) fn remove(&mut self, name: &Encoded, id: u64) -> Result<(), String> {
        let held = self.held.get_mut(name).ok_or_else(|| String::from("subscription not found"))?;
        // Who came back subscribed by 0, and takes back by the number that it had.
        if !held.ids.remove(&id) && !held.ids.remove(&0) {
            return Err(format!("subscription id not found: {id}"));
        }
        self.count -= 1;
        if held.ids.is_empty() {
            self.leave(name);
        }
        Ok(())
    }

    fn leave(&mut self, name: &Encoded) {
        let fabric = self.shared.port.fabric();
        let Some(held) = self.held.remove(name) else { return };
        self.shared.own.leave(name, self.connection.id);
        held.listener.into_iter().for_each(|id| fabric.leave(id));
        if let Some((count, id)) = self.names.get_mut(&name.components) {
            *count -= 1;
            if *count == 0 {
                fabric.leave(*id);
                self.names.remove(&name.components);
            }
        }
        less(&self.shared.totals.subscriptions, 1);
        self.connection.subscriptions.store(self.held.len(), Ordering::Relaxed);
    }

    /// Takes back what the link may not hear any more.
    pub(crate) fn judge(&mut self) {
        let who = self.connection.who.lock().clone();
        let may = |name: &Encoded| pattern(name).is_some_and(|pattern| who.may_listen(&pattern));
        let any = |name: &Encoded| Encoded { id: None, ..*name };
        let lost: Vec<Encoded> = self.held.keys().filter(|name| !may(name) || !may(&any(name))).copied().collect();
        for name in lost {
            self.count -= self.held.get(&name).map_or(0, |held| held.ids.len());
            self.leave(&name);
        }
    }
}

/// The texts of a name, where they are what its hashes were made of, and not too long to be kept.
fn kept(name: &Encoded, texts: [&str; 3]) -> Option<Texts> {
    let fit = |(text, hash): (&&str, &u64)| text.len() <= TEXT_BYTES_MAX && component(text) == *hash;
    texts.iter().zip(&name.components).all(fit).then(|| Arc::new(texts.map(Into::into)))
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        let names: Vec<Encoded> = self.held.keys().copied().collect();
        names.iter().for_each(|name| self.leave(name));
    }
}

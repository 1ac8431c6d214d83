//! The names that this node's own links subscribe, and the replicas that are told of them.
//!
//! A replica that comes is told all of them; from then on the first who subscribes a name and the last who leaves it.
//! What another replica told is not told on: each tells its own (one hop).
//!
//! # Invariants
//! - A replica is told a name once, and that it ended once, in order.
//!
//! Source: agntcy/slim, `sync/peer.rs`, by what is sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use door::ConnectionId;
use parking_lot::Mutex;

use super::shared::Connection;
use crate::codec::{Encoded, subscription};

#[derive(Default)]
struct State {
    /// Unique by name: how many links subscribe it, and the id by which replicas know that.
    names: BTreeMap<Encoded, (usize, u64)>,
    /// Unique by connection.
    replicas: HashMap<ConnectionId, Arc<Connection>>,
    last: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Own {
    state: Mutex<State>,
}

impl Own {
    /// One more link subscribes a name. `begin` is where ids begin, so that those of two nodes differ.
    pub(crate) fn enter(&self, name: Encoded, begin: u64) {
        let mut state = self.state.lock();
        if let Some((count, _)) = state.names.get_mut(&name) {
            *count += 1;
            return;
        }
        state.last += 1;
        let id = begin.wrapping_add(state.last).max(1);
        state.names.insert(name, (1, id));
        tell(&state, &subscription(&name, id, true));
    }

    /// One link fewer does.
    pub(crate) fn leave(&self, name: &Encoded) {
        let mut state = self.state.lock();
        let Some((count, id)) = state.names.get_mut(name) else { return };
        *count -= 1;
        if *count == 0 {
            let id = *id;
            state.names.remove(name);
            tell(&state, &subscription(name, id, false));
        }
    }

    /// A replica came: it is told everything.
    pub(crate) fn replica(&self, connection: &Arc<Connection>) {
        let mut state = self.state.lock();
        for (name, (_, id)) in &state.names {
            connection.out.say(&subscription(name, *id, true));
        }
        state.replicas.insert(connection.id, Arc::clone(connection));
    }

    /// A link is gone.
    pub(crate) fn gone(&self, id: ConnectionId) {
        self.state.lock().replicas.remove(&id);
    }
}

fn tell(state: &State, message: &[u8]) {
    state.replicas.values().for_each(|each| each.out.say(message));
}

//! What a messenger subscribes to.
//!
//! A messenger is one listener with all its rooms, so that it gets one copy of each event. In strict mode it
//! is a listener for each subscription, as in the original: who subscribed twice gets two, and one
//! unsubscription takes one away.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use door::{ConnectionId, Listener};
use event::Pattern;
use tracing::warn;

use super::receiver::{KeptRooms, Receiver};
use super::replay::Replay;
use super::shared::{Connection, Shared, Wishes};
use crate::codec::{Change, pattern};
use crate::session::Dropped;

/// Does what a change asks for.
pub(crate) fn change(shared: &Arc<Shared>, connection: &Arc<Connection>, change: Change, replay: Option<&mut Replay>) {
    let mut wishes = connection.wishes.lock();
    let rooms: Vec<(Box<str>, Pattern)> = match change.create {
        true => change.rooms.iter().filter_map(|room| allowed(shared, connection, room)).collect(),
        false => Vec::new(),
    };
    if shared.options.strict_compat && replay.is_none() {
        return strictly(shared, connection, &mut wishes, &change, rooms);
    }
    let before = wishes.rooms.len();
    if change.create {
        for (room, _) in rooms {
            if !wishes.rooms.contains(&room) && has_room(shared, connection, &mut wishes) {
                wishes.rooms.push(room);
            }
        }
    } else if change.rooms.is_empty() {
        wishes.rooms.clear();
    } else {
        wishes.rooms.retain(|room| !change.rooms.iter().any(|each| **each == **room));
    }
    if wishes.rooms.len() == before {
        // Rooms are only added or only taken out.
        return;
    }
    let patterns: Vec<Pattern> = wishes.rooms.iter().filter_map(|room| pattern(room)).collect();
    match wishes.listeners.first() {
        Some(id) => shared.port.fabric().change(*id, patterns),
        None if patterns.is_empty() => {}
        None => {
            let mut receiver = guarded(shared, connection);
            receiver.kept = replay.is_some().then(KeptRooms::default);
            let id = shared.port.fabric().join(listener(connection.id, patterns, connection, receiver));
            wishes.listeners.push(id);
        }
    }
    if let Some(replay) = replay {
        replay.want(&wishes.rooms);
    }
}

/// Whether a messenger may subscribe to one room more; that it may not is said once.
fn has_room(shared: &Shared, connection: &Connection, wishes: &mut Wishes) -> bool {
    let max = shared.options.rooms_max;
    if wishes.rooms.len() < max {
        return true;
    }
    shared.totals.refused.fetch_add(1, Ordering::Relaxed);
    if !std::mem::replace(&mut wishes.full, true) {
        warn!(id = %connection.label(), max, "it subscribes to more rooms than it may");
    }
    false
}

fn listener(id: ConnectionId, patterns: Vec<Pattern>, connection: &Connection, receiver: Receiver) -> Listener {
    Listener { patterns, queue: None, connection: id, class: connection.class(), taker: Arc::new(receiver) }
}

/// A receiver that judges each message where some of what it may want is denied.
fn guarded(shared: &Arc<Shared>, connection: &Arc<Connection>) -> Receiver {
    let mut receiver = Receiver::new(shared, connection);
    receiver.guard = (!connection.who.reads_everything()).then(|| connection.who.clone());
    receiver
}

/// The room's pattern, where the messenger may listen to it.
fn allowed(shared: &Shared, connection: &Connection, room: &str) -> Option<(Box<str>, Pattern)> {
    let Some(pattern) = pattern(room) else {
        shared.totals.dropped(Dropped::Room, 1);
        warn!(id = %connection.label(), "it subscribes to a room whose name is too long");
        return None;
    };
    // Of `*` it gets what it may read.
    let may = connection.who.may_listen(&pattern) || (room == "*" && connection.who.touches(&pattern));
    if !may {
        shared.totals.refused.fetch_add(1, Ordering::Relaxed);
        warn!(id = %connection.label(), room, who = %connection.who.name(), "it may not subscribe to this room");
        return None;
    }
    Some((room.into(), pattern))
}

/// The original's way: subscriptions are counted.
fn strictly(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    wishes: &mut Wishes,
    change: &Change,
    rooms: Vec<(Box<str>, Pattern)>,
) {
    for (room, pattern) in rooms {
        if !has_room(shared, connection, wishes) {
            return;
        }
        let mut receiver = guarded(shared, connection);
        receiver.every = &*room == "*";
        let id = shared.port.fabric().join(listener(connection.id, vec![pattern], connection, receiver));
        wishes.rooms.push(room);
        wishes.listeners.push(id);
    }
    if change.create {
        return;
    }
    if change.rooms.is_empty() {
        wishes.rooms.clear();
        wishes.listeners.drain(..).for_each(|id| shared.port.leave(id));
    }
    for room in &change.rooms {
        let Some(place) = wishes.rooms.iter().position(|each| **each == **room) else {
            continue;
        };
        wishes.rooms.remove(place);
        shared.port.leave(wishes.listeners.remove(place));
    }
}

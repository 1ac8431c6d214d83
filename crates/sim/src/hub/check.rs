//! What must hold when all is mended and the world is at rest.

use std::collections::{BTreeMap, BTreeSet};

use super::run::World;
use super::wire::{End, side};

/// Each pair that is to be linked is, by one connection, and no other pair is.
pub fn linked(world: &World) -> Result<(), String> {
    let mut open: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (index, pipe) in world.pipes.iter().enumerate() {
        let lives = pipe.hubs.iter().all(|(hub, life)| world.hubs.get(*hub).is_some_and(|hub| hub.life == *life));
        if !pipe.broken && lives && pipe.ends != [End::Gone; 2] {
            let (one, two) = (pipe.hubs[0].0, pipe.hubs[1].0);
            open.entry((one.min(two), one.max(two))).or_default().push(index);
        }
    }
    let pairs = world.setting.pairs();
    if let Some(extra) = open.keys().find(|pair| !pairs.contains(pair)) {
        return Err(format!("{extra:?} are linked, and are not to be"));
    }
    for (one, two) in pairs {
        let [index] = open.get(&(one, two)).map(Vec::as_slice).unwrap_or_default() else {
            return Err(format!("{one} and {two} are not linked by one connection: {:?}", open.get(&(one, two))));
        };
        for (here, there) in [(one, two), (two, one)] {
            let (Some(hub), Some(peer)) = (world.hubs.get(here), world.hubs.get(there)) else { continue };
            if hub.links.connection(&peer.name).map(|connection| side(connection).0) != Some(*index) {
                return Err(format!("{here} has another connection to {there} than {index}"));
            }
        }
    }
    Ok(())
}

/// What a hub recorded of its own since a link was first up, the other hub has; in a stream of its own once.
/// Gives how many were found.
pub fn nothing_kept_is_lost(world: &World) -> Result<u64, String> {
    let mut agreed = 0;
    for hub in &world.hubs {
        for records in hub.streams.values() {
            let mut known = BTreeSet::new();
            if let Some(twice) = records.iter().find(|record| !known.insert(record.event)) {
                return Err(format!("{} recorded {twice:?} twice", hub.name));
            }
        }
        for ((link, room), consumer) in &hub.consumers {
            let peer = world.hubs.iter().position(|peer| peer.name == *link).ok_or("a link to nobody")?;
            let skipped = usize::try_from(consumer.start.saturating_sub(1)).unwrap_or(usize::MAX);
            for record in hub.streams.get(room).into_iter().flatten().skip(skipped) {
                if record.from.is_some() {
                    continue;
                }
                agreed += 1;
                let stream = world.hubs.get(peer).and_then(|peer| peer.streams.get(room));
                let there = match stream {
                    Some(stream) => stream.iter().any(|other| other.event == record.event),
                    None => world.taken.contains_key(&(peer, record.event)),
                };
                if !there {
                    return Err(format!("event {} of {} never came to {link}", record.event, hub.name));
                }
            }
        }
    }
    Ok(agreed)
}

/// What was sent live came exactly once, where its connection lived until then; gives how many did.
pub fn what_was_sent_live(world: &World) -> Result<u64, String> {
    for ((hub, event), pipe) in &world.expected {
        let times = world.taken.get(&(*hub, *event)).map_or(0, |(live, _)| *live);
        if times != 1 {
            return Err(format!("event {event} was sent to {hub} on {pipe}, which lived, and came {times} times"));
        }
    }
    Ok(world.expected.len() as u64)
}

/// Events from a number on were sent when all was linked: every messenger that is to has each.
pub fn last_round(world: &World, from: u64) -> Result<(), String> {
    let pairs = world.setting.pairs();
    for (event, (origin, room)) in (0_u64..).zip(&world.events).filter(|(event, _)| *event >= from) {
        for (index, hub) in world.hubs.iter().enumerate() {
            let reached = index == *origin || pairs.contains(&(index.min(*origin), index.max(*origin)));
            for (number, session) in &hub.sessions {
                let is_to = reached && session.wants(*room);
                if session.got.contains(&event) != is_to {
                    let what = if is_to { "did not get" } else { "got" };
                    return Err(format!("messenger {number} of {index} {what} event {event} of {origin}, room {room}"));
                }
            }
        }
    }
    Ok(())
}

/// A number that the log, every record and every messenger decide.
pub fn digest(world: &World) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| {
        for byte in bytes.iter().copied().chain((bytes.len() as u64).to_le_bytes()) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    world.log.iter().for_each(|line| take(line.as_bytes()));
    for hub in &world.hubs {
        for record in hub.streams.values().flatten() {
            take(&record.event.to_le_bytes());
            take(&record.seq.to_le_bytes());
            take(record.from.as_deref().unwrap_or_default().as_bytes());
        }
        for event in hub.sessions.values().flat_map(|session| &session.got) {
            take(&event.to_le_bytes());
        }
    }
    sum
}

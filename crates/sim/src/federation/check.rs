//! What must hold when all is mended and the world is at rest.

use std::collections::{BTreeMap, BTreeSet};

use event::{Fact, Moment};
use federation::doctor::{GroupView, PeerView, State, examine};
use federation::facts::Entry;
use federation::peer::{PeerSpec, Verdict};
use federation::stored::{Stored, message_id, stream_name};
use journal::Read;

use super::node::{GROUP, Node};
use super::run::World;

/// Checks everything; gives how many facts two nodes agree upon.
pub fn all(world: &World) -> Result<u64, String> {
    let mut agreed = 0;
    nothing_acknowledged_is_lost(world)?;
    for (index, node) in world.nodes.iter().enumerate() {
        nothing_is_doubled(node)?;
        what_was_answered_is_there(world, index)?;
        for peer in &node.peers {
            let Some(other) = world.nodes.get(peer.to) else { continue };
            agreed += both_hold_the_same(world, node, other, &peer.spec)?;
        }
        the_doctor_finds_nothing(world, node)?;
    }
    Ok(agreed)
}

fn nothing_acknowledged_is_lost(world: &World) -> Result<(), String> {
    for (index, seq, state) in &world.acked {
        let Some(node) = world.nodes.get(*index) else { continue };
        let found = node.records(*seq)?.into_iter().next().filter(|(at, ..)| at == seq);
        let found = found.map(|(.., stored)| message_id(&stored.fact).to_vec());
        if found.as_ref() != Some(state) {
            let state = String::from_utf8_lossy(state);
            return Err(format!("{} acknowledged {state} at {seq}, and it is not there", node.name));
        }
    }
    Ok(())
}

fn nothing_is_doubled(node: &Node) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (seq, _, stored) in node.records(1)? {
        let id = message_id(&stored.fact);
        if !seen.insert(id.clone()) {
            return Err(format!("{} has {} a second time, at {seq}", node.name, String::from_utf8_lossy(&id)));
        }
        let own = stored.fact.source == node.name;
        if own != stored.via.is_none() {
            return Err(format!("{} has at {seq} {} by {:?}", node.name, stored.fact.id, stored.via));
        }
    }
    Ok(())
}

/// Whatever a peer was answered for is recorded there, or something observed later.
fn what_was_answered_is_there(world: &World, index: usize) -> Result<(), String> {
    let Some(node) = world.nodes.get(index) else { return Ok(()) };
    let mut latest: BTreeMap<String, Option<Moment>> = BTreeMap::new();
    for (_, _, Stored { fact, .. }) in node.records(1)? {
        let Fact { id, observed, .. } = fact;
        let known = latest.entry(id).or_default();
        *known = observed.max(*known);
    }
    for (to, id, observed) in world.answered.iter().filter(|(to, ..)| *to == index) {
        if latest.get(id).is_none_or(|known| known < observed) {
            return Err(format!("site-{to} took {id} of {observed:?}, and it is not there"));
        }
    }
    Ok(())
}

/// What a peer holds by a node is what that node holds and the peer wants.
fn both_hold_the_same(world: &World, node: &Node, other: &Node, spec: &PeerSpec) -> Result<u64, String> {
    let now = world.now();
    let own = node.facts.live(now).filter(|entry| spec.wants_entry(entry, &node.name) == Verdict::Push);
    let told = other.facts.live(now).filter(|entry| *entry.source == *node.name);
    let (own, told): (Vec<&Entry>, Vec<&Entry>) = (own.collect(), told.collect());
    for entry in &own {
        let found = other.facts.get(&entry.id).filter(|found| found.is_live(now));
        let Some(found) = found else {
            return Err(format!("{} does not hold {entry:?}", other.name));
        };
        let same = (found.observed, found.fingerprint) == (entry.observed, entry.fingerprint);
        let missed_an_end = world.lives.contains(&*entry.id) && found.expires > entry.expires;
        if !same || (found.expires != entry.expires && !missed_an_end) {
            return Err(format!("{} holds {found:?}\n  and {} {entry:?}", other.name, node.name));
        }
    }
    let ids: BTreeSet<&str> = own.iter().map(|entry| &*entry.id).collect();
    for entry in &told {
        if !ids.contains(&*entry.id) && !world.lives.contains(&*entry.id) {
            return Err(format!("{} holds {entry:?}, which {} does not", other.name, node.name));
        }
    }
    Ok(own.len() as u64)
}

fn the_doctor_finds_nothing(world: &World, node: &Node) -> Result<(), String> {
    let view = |spec: &PeerSpec| PeerView {
        spec: spec.clone(),
        endpoint: String::from("somewhere"),
        resource: format!("EventPeer/{}", spec.name),
    };
    let group = GroupView {
        node: &node.name,
        facts: &node.facts,
        deliveries: &node.deliveries,
        peers: node.peers.iter().map(|peer| view(&peer.spec)).collect(),
        runs: Vec::new(),
        slo: None,
    };
    let report = examine(&[group], world.now());
    // How late things were, and what will expire soon, is what the run was about.
    let expected = ["delivery-lag", "event-expiry"];
    let bad = |check: &&federation::doctor::Check| check.status == State::Fail && !expected.contains(&check.code);
    match report.checks.iter().find(bad) {
        Some(check) => Err(format!("the doctor of {}: {check:?}", node.name)),
        None => Ok(()),
    }
}

/// A number that the log and every record decide.
pub fn digest(nodes: &[Node], log: &[String]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| {
        for byte in bytes.iter().copied().chain((bytes.len() as u64).to_le_bytes()) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    log.iter().for_each(|line| take(line.as_bytes()));
    for node in nodes {
        let page = node.disk.read(&stream_name(GROUP), &Read::from(1, usize::MAX));
        for message in page.map(|page| page.messages).unwrap_or_default() {
            take(&message.seq.to_le_bytes());
            take(&message.time.nanos().to_le_bytes());
            take(message.message.subject.as_bytes());
            take(message.message.headers.as_block());
            take(&message.message.payload);
        }
    }
    sum
}

//! The links between domains: which pairs there are, which nodes hold the link of each, and what becomes of a link
//! that is not up.
//!
//! ```text
//!          told           dialler acknowledged        an end reports it
//!  (pair) ─────▶ PENDING ──────────────────────▶ CONNECTING ──────────▶ APPLIED
//!                   │                                 │  ▲                 │
//!                   └────── an end could not ─────────┴──┼─▶ FAILED(why)   │ an end reports it down
//!                                                        └─────────────────┘
//!          not up in time, and there are other nodes: a new link takes its place
//! ```

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;

use event::Moment;

use super::limits::{
    BALANCE, BALANCE_MOVES_MAX, BALANCE_SPREAD, EDGE_GRACE, LINK_FIRST, LINK_GRACE, LINK_RETRY_MAX, RETIRE,
    STANDING_MAX,
};
use super::{Act, Controller, LinkState, Report, Standing, Timer, back_off};
use crate::names::{LinkId, Name, NodeId};

/// Two domains that are neighbours in some segment.
#[derive(Debug, Default)]
pub(super) struct Pair {
    /// The segments, sorted.
    pub(super) segments: Vec<Name>,
    /// The link that serves.
    pub(super) serving: Option<LinkId>,
    /// One that is to take its place when it is up.
    pub(super) next: Option<LinkId>,
    /// One whose place was taken.
    pub(super) retiring: Option<LinkId>,
    /// When paths lead around it, where it is not up.
    pub(super) out_at: Option<Moment>,
    /// Whether they do.
    pub(super) out: bool,
}

/// A link between two domains.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) pair: (Name, Name),
    pub(super) dialer: NodeId,
    /// Who takes it; `None`: nobody claimed it yet.
    pub(super) acceptor: Option<NodeId>,
    /// The domain that takes it.
    pub(super) taken_by: Name,
    /// Whether whoever of that domain has this address may take it.
    pub(super) shared: bool,
    pub(super) address: Arc<str>,
    pub(super) key: [u8; 32],
    pub(super) state: LinkState,
    /// Attempts since it was last up.
    pub(super) attempts: u32,
}

impl Link {
    /// Its end in a domain, where it is known.
    pub(super) fn end_in(&self, domain: &Name) -> Option<&NodeId> {
        if self.dialer.domain == *domain { Some(&self.dialer) } else { self.acceptor.as_ref() }
    }

    fn ends(&self) -> impl Iterator<Item = &NodeId> {
        core::iter::once(&self.dialer).chain(&self.acceptor)
    }
}

/// Who is to hold a link.
struct Ends {
    dialer: NodeId,
    acceptor: Option<NodeId>,
    taken_by: Name,
    address: Arc<str>,
}

impl Controller {
    /// Makes the pairs anew of the segments.
    pub(super) fn pair_up(&mut self, now: Moment) {
        let wanted = self.segments.pairs();
        let gone: Vec<_> = self.pairs.keys().filter(|pair| !wanted.contains_key(*pair)).cloned().collect();
        for pair in gone {
            self.unpair(&pair);
        }
        let mut fresh = Vec::new();
        for (pair, segments) in wanted {
            let known = self.pairs.entry(pair.clone()).or_default();
            if known.segments != segments {
                known.segments = segments;
                self.dirty.extend([pair.0.clone(), pair.1.clone()]);
            }
            self.near.entry(pair.0.clone()).or_default().insert(pair.1.clone());
            self.near.entry(pair.1.clone()).or_default().insert(pair.0.clone());
            if self.pairs.get(&pair).is_some_and(|known| known.serving.is_none()) {
                fresh.push(pair);
            }
        }
        for pair in fresh {
            self.hold(now, &pair);
        }
        self.edges = true;
        self.gather(now);
    }

    fn unpair(&mut self, pair: &(Name, Name)) {
        let Some(known) = self.pairs.remove(pair) else { return };
        for link in [known.serving, known.next, known.retiring].into_iter().flatten() {
            self.release(&link);
        }
        for (one, two) in [(&pair.0, &pair.1), (&pair.1, &pair.0)] {
            if let Some(near) = self.near.get_mut(one) {
                near.remove(two);
            }
        }
        self.dirty.extend([pair.0.clone(), pair.1.clone()]);
    }

    /// Finds nodes for the pairs of a domain that have none.
    pub(super) fn hold_all(&mut self, now: Moment, domain: &Name) {
        for other in self.near.get(domain).cloned().unwrap_or_default() {
            let pair = ordered(domain, &other);
            if self.pairs.get(&pair).is_some_and(|known| known.serving.is_none()) {
                self.hold(now, &pair);
            }
        }
    }

    /// Finds nodes for a pair that has none.
    fn hold(&mut self, now: Moment, pair: &(Name, Name)) {
        if let Some((session, up)) = self.stands_already(pair) {
            self.link_up(now, session, up);
            return;
        }
        let Some(ends) = self.choose(pair, &BTreeSet::new()) else { return };
        let link = self.make(now, pair, ends, LINK_FIRST);
        if let Some(known) = self.pairs.get_mut(pair) {
            known.serving = link;
            known.out_at = known.out_at.or(Some(now.after(LINK_FIRST)));
            self.edges |= core::mem::take(&mut known.out);
        }
        self.edges = true;
        self.gather(now);
    }

    /// A link that a node dialled for an earlier controller, and that joins the domains of a pair.
    fn stands_already(&self, pair: &(Name, Name)) -> Option<(u64, Standing)> {
        let both = [(&pair.0, &pair.1), (&pair.1, &pair.0)].into_iter();
        let mut dialled = both.flat_map(|(domain, other)| {
            let sessions = self.connected(domain).filter_map(|(_, state)| Some((state.session?, state)));
            let ours = sessions.flat_map(|(session, state)| state.up.values().map(move |up| (session, up)));
            ours.filter(move |(_, up)| up.dialled.is_some() && up.peer.domain == *other)
        });
        dialled.find(|(_, up)| !self.links.contains_key(&up.link)).map(|(session, up)| (session, up.clone()))
    }

    /// The nodes that are to hold a pair's link, without those that are to be avoided.
    fn choose(&self, pair: &(Name, Name), avoid: &BTreeSet<NodeId>) -> Option<Ends> {
        for (from, to) in [(&pair.0, &pair.1), (&pair.1, &pair.0)] {
            let least = |domain: &Name, takes: bool| {
                let able = self
                    .connected(domain)
                    .filter(|(node, state)| !avoid.contains(*node) && (!takes || state.endpoints.external.is_some()));
                able.min_by_key(|(node, state)| (state.holds.len(), Reverse(prefers(pair, node)), *node))
            };
            let (Some((dialer, _)), Some((taker, state))) = (least(from, false), least(to, true)) else { continue };
            let address = state.endpoints.external.clone()?;
            let shared = self.shares(taker, &address);
            let acceptor = (!shared).then(|| taker.clone());
            return Some(Ends { dialer: dialer.clone(), acceptor, taken_by: to.clone(), address });
        }
        None
    }

    /// Whether another node of the domain is behind the same address.
    fn shares(&self, node: &NodeId, address: &Arc<str>) -> bool {
        self.connected(&node.domain)
            .any(|(other, state)| other != node && state.endpoints.external.as_ref() == Some(address))
    }

    fn make(&mut self, now: Moment, pair: &(Name, Name), ends: Ends, wait: core::time::Duration) -> Option<LinkId> {
        self.number += 1;
        let id = link_id(pair, self.epoch.unwrap_or(0), self.number)?;
        let shared = ends.acceptor.is_none();
        let link = Link {
            pair: pair.clone(),
            key: self.keys.key(&format!("remote {id} {} {}", pair.0, pair.1)),
            dialer: ends.dialer,
            acceptor: ends.acceptor,
            taken_by: ends.taken_by,
            shared,
            address: ends.address,
            state: LinkState::Pending,
            attempts: 0,
        };
        self.enter(id.clone(), link);
        self.at(now.after(wait), Timer::Link(id.clone()));
        Some(id)
    }

    fn enter(&mut self, id: LinkId, link: Link) {
        for end in link.ends() {
            if let Some(state) = self.nodes.get_mut(end) {
                state.holds.insert(id.clone());
            }
        }
        if link.shared {
            self.offered.entry(link.taken_by.clone()).or_default().insert(id.clone());
        }
        self.dirty.extend([link.pair.0.clone(), link.pair.1.clone()]);
        self.links.insert(id, link);
    }

    /// Takes a link away.
    fn release(&mut self, id: &LinkId) {
        let Some(link) = self.links.remove(id) else { return };
        for end in link.ends() {
            if let Some(state) = self.nodes.get_mut(end) {
                state.holds.remove(id);
            }
        }
        if let Some(offered) = self.offered.get_mut(&link.taken_by) {
            offered.remove(id);
        }
        if let Some(pair) = self.pairs.get_mut(&link.pair) {
            for place in [&mut pair.serving, &mut pair.next, &mut pair.retiring] {
                if place.as_ref() == Some(id) {
                    *place = None;
                }
            }
        }
        self.dirty.extend([link.pair.0, link.pair.1]);
    }

    /// Gives a link other ends, where there are any without those that are to be avoided. Of the ends that are not
    /// avoided, one that is connected stays. Where there are none, the link goes if an end of it is not there.
    pub(super) fn replace(&mut self, now: Moment, id: &LinkId, why: &str, avoid: &BTreeSet<NodeId>) {
        let Some(link) = self.links.get(id) else { return };
        let (pair, attempts) = (link.pair.clone(), link.attempts);
        let serves = self.pairs.get(&pair).is_some_and(|known| known.serving.as_ref() == Some(id));
        if !serves {
            self.release(id);
            return;
        }
        let there = link.ends().all(|end| self.nodes.contains_key(end));
        match self.choose(&pair, avoid) {
            Some(ends) => {
                self.release(id);
                // Another that was to take its place is of no use: what is chosen now is chosen of all.
                if let Some(next) = self.pairs.get_mut(&pair).and_then(|known| known.next.take()) {
                    self.release(&next);
                }
                let made = self.make(now, &pair, ends, back_off(LINK_FIRST, attempts, LINK_RETRY_MAX));
                if let Some(link) = made.as_ref().and_then(|made| self.links.get_mut(made)) {
                    link.attempts = attempts;
                }
                if let Some(known) = self.pairs.get_mut(&pair) {
                    known.serving = made;
                    known.out_at = known.out_at.or(Some(now.after(LINK_FIRST)));
                }
                self.acts.push_back(Act::Report(Report::Moved { pair, why: why.into() }));
            }
            None if there => {}
            None => {
                self.release(id);
                self.edges = true;
            }
        }
        self.mend(now);
    }

    /// Gives other ends to the links of a node that went away, where the other end does not report them.
    pub(super) fn move_unheld(&mut self, now: Moment, node: &NodeId) {
        let Some(state) = self.nodes.get(node) else { return };
        let held: BTreeSet<&LinkId> = state.held_by.iter().map(|(_, link)| link).collect();
        let unheld: Vec<_> = state.holds.iter().filter(|link| !held.contains(link)).cloned().collect();
        for link in unheld {
            self.replace(now, &link, "a node is away", &BTreeSet::from([node.clone()]));
        }
    }

    /// A node has other addresses than before.
    pub(super) fn endpoints_moved(&mut self, node: &NodeId) {
        self.dirty.insert(node.domain.clone());
        let Some(state) = self.nodes.get(node) else { return };
        let address = state.endpoints.external.clone();
        for id in state.holds.clone() {
            let Some(link) = self.links.get_mut(&id).filter(|link| link.acceptor.as_ref() == Some(node)) else {
                continue;
            };
            if let Some(address) = address.clone().filter(|address| *address != link.address) {
                link.address = address;
                self.dirty.extend([link.pair.0.clone(), link.pair.1.clone()]);
            }
        }
    }

    /// A node tells all its links.
    pub(super) fn link_report(&mut self, now: Moment, session: u64, mut up: Vec<Standing>) {
        up.truncate(STANDING_MAX);
        let Some(node) = self.node_of(session) else { return };
        let told: BTreeSet<&LinkId> = up.iter().map(|up| &up.link).collect();
        let before = self.nodes.get(&node).map(|state| state.up.clone()).unwrap_or_default();
        for link in before.keys().filter(|link| !told.contains(link)) {
            self.link_down(now, session, link, "not told any longer");
        }
        for up in up {
            if before.get(&up.link) != Some(&up) {
                self.link_up(now, session, up);
            }
        }
    }

    /// A link is up at a node.
    pub(super) fn link_up(&mut self, now: Moment, session: u64, up: Standing) {
        let Some(node) = self.node_of(session) else { return };
        let Some(state) = self.nodes.get_mut(&node) else { return };
        if state.up.len() >= STANDING_MAX && !state.up.contains_key(&up.link) {
            return;
        }
        let remote = up.peer.domain != node.domain;
        let paired = !remote || self.pairs.contains_key(&ordered(&node.domain, &up.peer.domain));
        if remote && paired && !self.has_part(&node, &up) {
            self.acts.push_back(Act::Report(Report::Foreign { node, link: up.link }));
            return;
        }
        let before = self.nodes.get_mut(&node).and_then(|state| state.up.insert(up.link.clone(), up.clone()));
        if let Some(before) = before.filter(|before| before.peer != up.peer) {
            self.let_go(now, &node, &up.link, &before.peer);
        }
        if paired && (!remote || self.may_bring(&node, &up)) {
            self.count_on(&node, &up);
        }
        if remote && paired {
            let acceptor = if up.dialled.is_some() { up.peer } else { node };
            self.stands(now, &up.link, acceptor);
        }
    }

    /// Whether a node of another domain is counted on that is known by this report alone: where the link is one that
    /// it holds, or the pair has none. Whoever makes links up brings nobody else's domain any nodes.
    fn may_bring(&self, node: &NodeId, up: &Standing) -> bool {
        let pair = self.pairs.get(&ordered(&node.domain, &up.peer.domain));
        let serves = pair.and_then(|pair| self.links.get(pair.serving.as_ref()?));
        let served = serves.is_some_and(|link| link.state == LinkState::Applied);
        !served || self.links.contains_key(&up.link) || self.nodes.contains_key(&up.peer)
    }

    /// Whether a node may tell of a link between domains. One that is not known is taken over, where the pair can use
    /// it: a controller before this one made it.
    fn has_part(&mut self, node: &NodeId, up: &Standing) -> bool {
        let (dialer, acceptor) = if up.dialled.is_some() { (node, &up.peer) } else { (&up.peer, node) };
        if let Some(link) = self.links.get(&up.link) {
            let taken = link.taken_by == acceptor.domain;
            return link.dialer == *dialer && taken && (link.shared || link.acceptor.as_ref() == Some(acceptor));
        }
        let pair = ordered(&node.domain, &up.peer.domain);
        let Some(known) = self.pairs.get(&pair) else { return true };
        let serves = known.serving.as_ref().and_then(|id| self.links.get(id));
        if serves.is_some_and(|link| link.state == LinkState::Applied) || up.dialled.is_none() {
            return true;
        }
        let address = up.dialled.clone().unwrap_or_else(|| Arc::from(""));
        if let Some(old) = known.serving.clone() {
            self.release(&old);
        }
        let link = Link {
            key: self.keys.key(&format!("remote {} {} {}", up.link, pair.0, pair.1)),
            pair: pair.clone(),
            dialer: dialer.clone(),
            acceptor: Some(acceptor.clone()),
            taken_by: acceptor.domain.clone(),
            shared: false,
            address,
            state: LinkState::Connecting,
            attempts: 0,
        };
        self.enter(up.link.clone(), link);
        if let Some(known) = self.pairs.get_mut(&pair) {
            known.serving = Some(up.link.clone());
        }
        self.edges = true;
        true
    }

    /// A link stands, and this node took it.
    fn stands(&mut self, now: Moment, id: &LinkId, acceptor: NodeId) {
        let Some(link) = self.links.get_mut(id) else { return };
        let (pair, dialer) = (link.pair.clone(), link.dialer.clone());
        let claimed = link.acceptor.as_ref() != Some(&acceptor);
        let before = link.acceptor.replace(acceptor.clone()).filter(|before| *before != acceptor);
        (link.state, link.attempts) = (LinkState::Applied, 0);
        if let Some(state) = before.and_then(|before| self.nodes.get_mut(&before)) {
            state.holds.remove(id);
        }
        for end in [dialer, acceptor] {
            if let Some(state) = self.nodes.get_mut(&end) {
                state.holds.insert(id.clone());
            }
        }
        let Some(known) = self.pairs.get_mut(&pair) else { return };
        known.out_at = None;
        let back = core::mem::take(&mut known.out);
        self.edges |= back;
        let takes_over = known.next.as_ref() == Some(id);
        if takes_over {
            let old = core::mem::replace(&mut known.serving, known.next.take());
            let older = core::mem::replace(&mut known.retiring, old.clone());
            older.iter().for_each(|older| self.release(older));
            old.into_iter().for_each(|old| self.at(now.after(RETIRE), Timer::Link(old)));
        }
        if takes_over || claimed {
            self.dirty.extend([pair.0, pair.1]);
        }
        if takes_over || claimed || back {
            self.gather(now);
        }
    }

    /// A link is down at a node.
    pub(super) fn link_down(&mut self, now: Moment, session: u64, id: &LinkId, _why: &str) {
        let Some(node) = self.node_of(session) else { return };
        let peer = self.nodes.get_mut(&node).and_then(|state| state.up.remove(id));
        if let Some(link) = self.links.get_mut(id).filter(|link| peer.is_some() && link.state == LinkState::Applied) {
            link.state = LinkState::Connecting;
            let ends: Vec<_> = link.ends().cloned().collect();
            if let Some(pair) = self.pairs.get_mut(&link.pair).filter(|pair| pair.serving.as_ref() == Some(id)) {
                pair.out_at = Some(now.after(EDGE_GRACE));
            }
            let away: BTreeSet<_> = ends.into_iter().filter(|end| !self.is_connected(end)).collect();
            if away.is_empty() {
                self.at(now.after(LINK_GRACE), Timer::Link(id.clone()));
            } else {
                self.replace(now, id, "a node is gone", &away);
                // Where nobody else can hold it, paths lead around it at once.
                self.at(now.after(EDGE_GRACE), Timer::Link(id.clone()));
            }
        }
        if let Some(up) = peer {
            self.let_go(now, &node, id, &up.peer);
        }
    }

    /// The ends of a plan could not bring about links.
    pub(super) fn links_failed(&mut self, now: Moment, node: &NodeId, failed: Vec<(LinkId, Arc<str>)>) {
        for (id, why) in failed.into_iter().take(STANDING_MAX) {
            let Some(link) = self.links.get_mut(&id) else { continue };
            if link.ends().any(|end| end == node) && link.state != LinkState::Applied {
                link.state = LinkState::Failed(why);
                self.at(now.after(LINK_GRACE), Timer::Link(id));
            }
        }
    }

    /// A link's time came: it is not up in time, or its place was taken.
    pub(super) fn link_due(&mut self, now: Moment, id: &LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        let Some(pair) = self.pairs.get_mut(&link.pair) else { return };
        if pair.retiring.as_ref() == Some(id) {
            self.release(id);
            self.gather(now);
            return;
        }
        if link.state == LinkState::Applied {
            return;
        }
        if pair.serving.as_ref() != Some(id) {
            self.release(id);
            self.gather(now);
            return;
        }
        link.attempts = link.attempts.saturating_add(1);
        let (attempts, ends): (u32, Vec<NodeId>) = (link.attempts, link.ends().cloned().collect());
        match pair.out_at {
            Some(at) if at <= now && !pair.out => {
                pair.out = true;
                self.edges = true;
                self.mend(now);
            }
            Some(at) if at > now => self.at(at, Timer::Link(id.clone())),
            _ => {}
        }
        // Which of both ends is at fault is not known: first the one that takes it, then the one that dials, then both.
        let avoid = match (attempts % 3, ends.as_slice()) {
            (1, [_, taker]) => BTreeSet::from([taker.clone()]),
            (2, [dialer, _]) => BTreeSet::from([dialer.clone()]),
            _ => ends.into_iter().collect(),
        };
        self.replace(now, id, "the link is not up", &avoid);
        if self.links.contains_key(id) {
            self.at(now.after(back_off(LINK_FIRST, attempts, LINK_RETRY_MAX)), Timer::Link(id.clone()));
        }
    }

    /// Moves links from nodes that hold many to nodes of their domain that hold few.
    pub(super) fn balance(&mut self, now: Moment) {
        let mut moves = 0;
        for domain in self.members.keys().cloned().collect::<Vec<_>>() {
            while moves < BALANCE_MOVES_MAX && self.balance_one(now, &domain) {
                moves += 1;
            }
        }
        if moves > 0 {
            self.balance_at = Some(now.after(BALANCE));
            self.gather(now);
        }
    }

    /// Moves one link of a domain, where loads are far apart.
    fn balance_one(&mut self, now: Moment, domain: &Name) -> bool {
        let load = |state: &super::NodeState| state.holds.len();
        let Some((most, state)) = self.connected(domain).max_by_key(|(node, state)| (load(state), Reverse(*node)))
        else {
            return false;
        };
        for id in &state.holds {
            let Some(link) = self.links.get(id).filter(|link| link.state == LinkState::Applied && !link.shared) else {
                continue;
            };
            let Some(pair) = self.pairs.get(&link.pair) else { continue };
            if pair.serving.as_ref() != Some(id) || pair.next.is_some() || pair.retiring.is_some() {
                continue;
            }
            let takes = link.taken_by == *domain;
            let fits = |other: &super::NodeState| {
                load(other) + BALANCE_SPREAD <= load(state) && (!takes || other.endpoints.external.is_some())
            };
            let able = self.connected(domain).filter(|(node, other)| *node != most && fits(other));
            let Some((least, other)) = able.min_by_key(|(node, other)| (load(other), *node)) else { continue };
            let mut ends = Ends {
                dialer: link.dialer.clone(),
                acceptor: link.acceptor.clone(),
                taken_by: link.taken_by.clone(),
                address: link.address.clone(),
            };
            match other.endpoints.external.clone().filter(|_| takes) {
                Some(address) if self.shares(least, &address) => continue,
                Some(address) => (ends.acceptor, ends.address) = (Some(least.clone()), address),
                None => ends.dialer = least.clone(),
            }
            let pair = link.pair.clone();
            let next = self.make(now, &pair, ends, LINK_FIRST);
            if let Some(known) = self.pairs.get_mut(&pair) {
                known.next = next;
            }
            return true;
        }
        false
    }

    /// Whether a node has a control channel.
    pub(super) fn is_connected(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|state| state.session.is_some())
    }

    /// The pairs without whose edge paths are to be: by the smaller domain, the greater ones.
    pub(super) fn out(&self) -> BTreeMap<Name, BTreeSet<Name>> {
        let mut out: BTreeMap<Name, BTreeSet<Name>> = BTreeMap::new();
        for ((one, two), pair) in &self.pairs {
            if pair.out || pair.serving.is_none() {
                out.entry(one.clone()).or_default().insert(two.clone());
            }
        }
        out
    }
}

/// Two domains, in order.
pub(super) fn ordered(one: &Name, two: &Name) -> (Name, Name) {
    if one < two { (one.clone(), two.clone()) } else { (two.clone(), one.clone()) }
}

/// Bytes of a domain's name that a link's id shows.
const SHOWN: usize = 40;

/// The id of a link: both domains, and a number that no other link of the mesh has. Always within the limit of ids.
fn link_id(pair: &(Name, Name), epoch: u64, number: u64) -> Option<LinkId> {
    let shown = |name: &Name| name.as_str().chars().take(SHOWN).collect::<alloc::string::String>();
    LinkId::parse(&format!("{}~{}#{epoch:x}.{number:x}", shown(&pair.0), shown(&pair.1))).ok()
}

/// How much a pair prefers a node: a number that depends on nothing else.
fn prefers(pair: &(Name, Name), node: &NodeId) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for text in [pair.0.as_str(), pair.1.as_str(), node.domain.as_str(), node.node.as_str()] {
        for byte in text.bytes().chain([0]) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    // FNV's high bits depend little on the last bytes.
    sum ^= sum >> 32;
    sum.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

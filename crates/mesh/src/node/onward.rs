//! Where a message goes: what enters here, and what came on a link, after it was judged.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Beyond, Conn, FarGroup, Leg, Node, Onward, Refusal, STANDING};
use crate::acl::Asker;
use crate::envelope::{DESTINATIONS_MAX, Deliver, ENVELOPE_BYTES_MAX, Envelope, HOPS_MAX};
use crate::interest::SourceNumber;
use crate::names::{Name, NodeId};
use crate::plan::LinkKind;
use crate::tree::Distance;
use crate::wire::Source;

/// Who wants a subject beyond this node.
#[derive(Default)]
struct Wanting {
    /// Other nodes of the own domain.
    nodes: BTreeMap<Name, Deliver>,
    /// Other domains, each in every segment where it is heard, the nearest first.
    domains: BTreeMap<Name, BTreeMap<(Distance, Name), Deliver>>,
    alike: bool,
}

/// Copies that are being made: one for each connection and segment.
pub(super) struct Legs<'a> {
    node: &'a Node,
    origin: &'a NodeId,
    /// Hops that are left after the next.
    hops: Option<u8>,
    every: bool,
    traced: bool,
    copies: BTreeMap<(u64, Option<Name>), Envelope>,
}

fn union(into: &mut Deliver, more: &Deliver) {
    into.direct |= more.direct;
    into.queues.extend(more.queues.iter().cloned());
}

fn put(list: &mut Vec<(Name, Deliver)>, name: &Name, deliver: &Deliver) {
    match list.binary_search_by(|(each, _)| each.cmp(name)) {
        Ok(place) => {
            if let Some((_, into)) = list.get_mut(place) {
                union(into, deliver);
            }
        }
        Err(place) => list.insert(place, (name.clone(), deliver.clone())),
    }
}

impl<'a> Legs<'a> {
    pub(super) fn new(node: &'a Node, origin: &'a NodeId, hops: Option<u8>, every: bool) -> Self {
        Legs { node, origin, hops, every, traced: false, copies: BTreeMap::new() }
    }

    /// Of what came with this envelope.
    pub(super) fn onward(node: &'a Node, head: &'a Envelope, every: bool) -> Self {
        Legs { traced: head.traced, ..Legs::new(node, &head.origin, head.hops.checked_sub(1), every) }
    }

    fn copy(&mut self, conn: u64, segment: Option<&Name>) -> Result<&mut Envelope, Refusal> {
        let hops = self.hops.ok_or(Refusal::Hops)?;
        let (origin, every, traced) = (self.origin, self.every, self.traced);
        Ok(self.copies.entry((conn, segment.cloned())).or_insert_with(|| Envelope {
            origin: origin.clone(),
            segment: segment.cloned(),
            hops,
            every,
            traced,
            here: Deliver::NOBODY,
            nodes: Vec::new(),
            to: Vec::new(),
        }))
    }

    /// To another node of the own domain.
    pub(super) fn node(&mut self, to: &Name, deliver: &Deliver, segment: Option<&Name>) -> Result<(), Refusal> {
        let next = self.node.routes.next_node(to);
        let conn = *self.node.peers.get(next).ok_or(Refusal::NoWay)?;
        let copy = self.copy(conn, segment)?;
        if next == to {
            union(&mut copy.here, deliver);
        } else {
            put(&mut copy.nodes, to, deliver);
        }
        Ok(())
    }

    /// To another domain.
    pub(super) fn domain(&mut self, to: &Name, segment: &Name, deliver: &Deliver) -> Result<(), Refusal> {
        let conn = self.node.way_to(to, segment).ok_or(Refusal::NoWay)?;
        put(&mut self.copy(conn, Some(segment))?.to, to, deliver);
        Ok(())
    }

    /// The copies: what goes to a peer for itself goes along with what it is to hand on.
    pub(super) fn finish(mut self) -> Vec<Leg> {
        let inner: Vec<u64> =
            self.copies.keys().filter(|(_, segment)| segment.is_none()).map(|(conn, _)| *conn).collect();
        for conn in inner {
            let other = self.copies.range((conn, None)..).nth(1).map(|(key, _)| key.clone());
            let Some(other) = other.filter(|(each, _)| *each == conn) else { continue };
            let Some(inner) = self.copies.remove(&(conn, None)) else { continue };
            if let Some(copy) = self.copies.get_mut(&other) {
                (copy.here, copy.nodes) = (inner.here, inner.nodes);
            }
        }
        let mut legs = Vec::with_capacity(self.copies.len());
        for ((conn, _), envelope) in self.copies {
            split(conn, envelope, &mut legs);
        }
        legs
    }
}

/// Halves what is too large, until nothing is.
fn split(conn: u64, mut envelope: Envelope, legs: &mut Vec<Leg>) {
    let bytes = |list: &[(Name, Deliver)]| -> usize {
        let queues = |deliver: &Deliver| deliver.queues.iter().map(|queue| queue.len() + 2).sum::<usize>();
        list.iter().map(|(name, deliver)| name.as_str().len() + queues(deliver) + 4).sum()
    };
    let (nodes, to) = (envelope.nodes.len(), envelope.to.len());
    let large = bytes(&envelope.nodes) + bytes(&envelope.to) > ENVELOPE_BYTES_MAX;
    if nodes <= DESTINATIONS_MAX && to <= DESTINATIONS_MAX && (!large || nodes + to < 2) {
        legs.push(Leg { conn, envelope });
        return;
    }
    let mut rest = envelope.clone();
    rest.here = Deliver::NOBODY;
    if nodes > to {
        rest.nodes = envelope.nodes.split_off(nodes / 2);
        rest.to.clear();
    } else {
        rest.to = envelope.to.split_off(to / 2);
        rest.nodes.clear();
    }
    split(conn, envelope, legs);
    split(conn, rest, legs);
}

impl Node {
    /// Where the messages of a subject go that enter at this node. Of what only other domains want, nothing where the
    /// own domain may not publish to it, or they may not hear it.
    pub fn beyond(&self, subject: &str) -> Beyond {
        self.beyond_to(&self.wanting(subject))
    }

    /// The same for a message that came in a segment and was kept here: no other domain hears of it than those of the
    /// segment.
    pub fn beyond_within(&self, subject: &str, segment: &str) -> Beyond {
        let mut wanting = self.wanting(subject);
        for segments in wanting.domains.values_mut() {
            segments.retain(|(_, each), _| each.as_str() == segment);
        }
        self.beyond_to(&wanting)
    }

    fn beyond_to(&self, wanting: &Wanting) -> Beyond {
        let mut direct = self.own_legs(false);
        let mut queues = BTreeSet::new();
        for (node, deliver) in &wanting.nodes {
            queues.extend(deliver.queues.iter().cloned());
            if deliver.direct {
                let _ = direct.node(node, &Deliver::direct(), None);
            }
        }
        for (domain, segments) in &wanting.domains {
            let Some((segment, deliver)) = nearest(segments) else { continue };
            queues.extend(deliver.queues.iter().cloned());
            if deliver.direct {
                let _ = direct.domain(domain, segment, &Deliver::direct());
            }
        }
        let groups = queues.iter().map(|queue| self.far_group(queue, wanting)).collect();
        Beyond { direct: direct.finish(), groups, alike: wanting.alike }
    }

    /// Whether anybody wants a subject, here or beyond this node.
    pub fn wants(&self, subject: &str) -> bool {
        let mut any = false;
        self.interests.each(subject, &mut |number, _| any |= number != STANDING);
        any
    }

    pub(super) fn own_legs(&self, every: bool) -> Legs<'_> {
        Legs::new(self, &self.id, HOPS_MAX.checked_sub(1), every)
    }

    fn far_group(&self, queue: &Arc<str>, wanting: &Wanting) -> FarGroup {
        let member = Deliver::queue(queue);
        let mut tiers: BTreeMap<Option<Distance>, Vec<Leg>> = BTreeMap::new();
        let mut everywhere = self.own_legs(true);
        for (node, _) in wanting.nodes.iter().filter(|(_, deliver)| deliver.queues.contains(queue)) {
            let mut one = self.own_legs(false);
            if one.node(node, &member, None).is_ok() {
                tiers.entry(None).or_default().append(&mut one.finish());
                let _ = everywhere.node(node, &member, None);
            }
        }
        for (domain, segments) in &wanting.domains {
            let Some((segment, deliver)) = nearest(segments) else { continue };
            let mut one = self.own_legs(false);
            if deliver.queues.contains(queue) && one.domain(domain, segment, &member).is_ok() {
                let distance = self.routes.distance(domain, segment.as_str());
                tiers.entry(distance).or_default().append(&mut one.finish());
                let _ = everywhere.domain(domain, segment, &member);
            }
        }
        FarGroup { queue: Arc::clone(queue), tiers: tiers.into_values().collect(), everywhere: everywhere.finish() }
    }

    /// Who wants a subject beyond this node and may have what the own domain says there.
    fn wanting(&self, subject: &str) -> Wanting {
        let mut wanting = Wanting::default();
        let mut found: BTreeMap<SourceNumber, Deliver> = BTreeMap::new();
        let alike = self.interests.each(subject, &mut |number, queue| {
            let deliver = found.entry(number).or_default();
            match queue {
                Some(queue) => drop(deliver.queues.insert(Arc::clone(queue))),
                None => deliver.direct = true,
            }
        });
        wanting.alike = alike && self.acl.is_open();
        let own = Asker { domain: &self.id.domain, principal: None };
        let publishes = self.acl.may_publish(&own, subject).is_ok();
        for (number, deliver) in found {
            let Some(known) = self.interests.known(number).filter(|known| known.conn.is_some()) else { continue };
            match &known.source {
                Source::Node(node) => drop(wanting.nodes.insert(node.clone(), deliver)),
                Source::Domain { domain, segment } => {
                    let hears = self.acl.may_hear(&Asker { domain, principal: None }, subject).is_ok();
                    let distance = self.routes.distance(domain, segment.as_str());
                    if let Some(distance) = distance.filter(|_| publishes && hears) {
                        let segments = wanting.domains.entry(domain.clone()).or_default();
                        segments.insert((distance, segment.clone()), deliver);
                    }
                }
            }
        }
        wanting
    }

    /// The copy of a message for one domain, whether or not anybody there listens: for what is awaited there. In the
    /// segment in which it is nearest, of those that a link is up for.
    ///
    /// # Errors
    /// Why there is none: a rule, or no way now.
    pub fn toward(&self, to: &Name, subject: &str) -> Result<Leg, Refusal> {
        self.may_cross(&self.id.domain, to, subject).map_err(|forbidden| forbidden.why)?;
        self.straight(to, None)
    }

    /// Judges a message that came on a connection, and says what is to be done with it.
    ///
    /// # Errors
    /// Why nothing of it may be taken.
    pub fn judge(&self, conn: u64, head: &Envelope, subject: &str) -> Result<Onward, Refusal> {
        let from = self.conns.get(&conn).ok_or(Refusal::Closed)?;
        match from.kind {
            LinkKind::Remote => self.judge_remote(from, head)?,
            LinkKind::Peer => self.judge_peer(from, head)?,
        }
        let origin = &head.origin.domain;
        if *origin != self.id.domain {
            let asker = Asker { domain: origin, principal: None };
            self.acl.may_publish(&asker, subject).map_err(|_| Refusal::PublishRule)?;
        }
        let mut onward = Onward { here: head.here.clone(), every: head.every, ..Onward::default() };
        let mut legs = Legs::onward(self, head, head.every);
        for (node, deliver) in &head.nodes {
            if let Err(why) = legs.node(node, deliver, head.segment.as_ref()) {
                onward.lost.push((node.clone(), why));
            }
        }
        for (domain, deliver) in &head.to {
            let gone = match &head.segment {
                Some(_) if *domain == self.id.domain => self.arrive(head, deliver, subject, &mut legs, &mut onward),
                Some(segment) => self.relay(from, domain, segment).and_then(|()| legs.domain(domain, segment, deliver)),
                None => Err(Refusal::LinkSegment),
            };
            if let Err(why) = gone {
                onward.lost.push((domain.clone(), why));
            }
        }
        let mut sent = legs.finish();
        // What came from a peer never goes back to it, whatever the plans say.
        let before = sent.len();
        sent.retain(|leg| leg.conn != conn);
        if sent.len() != before {
            onward.lost.push((from.peer.node.clone(), Refusal::Relay));
        }
        onward.direct = sent;
        Ok(onward)
    }

    /// What may come from another domain.
    pub(super) fn judge_remote(&self, from: &Conn, head: &Envelope) -> Result<(), Refusal> {
        let segment = head.segment.as_ref().filter(|segment| from.segments.contains(segment));
        let segment = segment.ok_or(Refusal::LinkSegment)?.as_str();
        let (own, neighbour, origin) = (&self.id.domain, &from.peer.domain, &head.origin.domain);
        if !self.routes.is_in(own, segment) {
            return Err(Refusal::OwnSegment);
        }
        if !self.routes.is_in(origin, segment) {
            return Err(Refusal::OriginSegment);
        }
        if !head.here.is_empty() || !head.nodes.is_empty() {
            return Err(Refusal::Shape);
        }
        for (domain, _) in &head.to {
            if !self.routes.is_in(domain, segment) {
                return Err(Refusal::DestinationSegment);
            }
            if origin == own || !self.routes.passes(origin, neighbour, domain, segment) {
                return Err(Refusal::Path);
            }
        }
        Ok(())
    }

    /// What may come from a node of the own domain.
    pub(super) fn judge_peer(&self, from: &Conn, head: &Envelope) -> Result<(), Refusal> {
        let (own, origin) = (&self.id.domain, &head.origin);
        // What a node says itself it brings itself, unless a hub hands it on.
        let hub = self.routes.other_hub() == Some(&from.peer.node);
        if *origin == self.id || (origin.domain == *own && origin.node != from.peer.node && !hub) {
            return Err(Refusal::Path);
        }
        if !head.nodes.is_empty() && !self.routes.is_hub() {
            return Err(Refusal::Relay);
        }
        let Some(segment) = head.segment.as_ref().map(Name::as_str) else {
            let inner = origin.domain == *own && head.to.is_empty();
            return if inner { Ok(()) } else { Err(Refusal::LinkSegment) };
        };
        if !self.routes.is_in(own, segment) {
            return Err(Refusal::OwnSegment);
        }
        if !self.routes.is_in(&origin.domain, segment) {
            return Err(Refusal::OriginSegment);
        }
        for (domain, _) in &head.to {
            if !self.routes.is_in(domain, segment) {
                return Err(Refusal::DestinationSegment);
            }
            if domain == own || !self.routes.touches(&origin.domain, domain, segment) {
                return Err(Refusal::Path);
            }
        }
        Ok(())
    }

    /// Whether a message for another domain may go on from here. From a peer it goes on to another domain, or, at the
    /// hub, to the gateway.
    pub(super) fn relay(&self, from: &Conn, domain: &Name, segment: &Name) -> Result<(), Refusal> {
        if from.kind == LinkKind::Remote || self.routes.is_hub() {
            return Ok(());
        }
        let next = self.routes.next_domain(domain, segment.as_str()).ok_or(Refusal::NoWay)?;
        if *self.routes.gateway(next) == self.id.node { Ok(()) } else { Err(Refusal::Relay) }
    }

    /// A message has come to its domain: whichever nodes want it get it.
    fn arrive(
        &self,
        head: &Envelope,
        deliver: &Deliver,
        subject: &str,
        legs: &mut Legs<'_>,
        onward: &mut Onward,
    ) -> Result<(), Refusal> {
        let own = Asker { domain: &self.id.domain, principal: None };
        self.acl.may_hear(&own, subject).map_err(|_| Refusal::SubscribeRule)?;
        union(&mut onward.here, deliver);
        let wanting = self.wanting_nodes(subject);
        let meant = |wanted: &Deliver, queues: bool| Deliver {
            direct: deliver.direct && wanted.direct,
            queues: if queues {
                deliver.queues.intersection(&wanted.queues).cloned().collect()
            } else {
                BTreeSet::new()
            },
        };
        let mut lost = Ok(());
        for (node, wanted) in &wanting {
            let meant = meant(wanted, head.every);
            if !meant.is_empty() {
                lost = legs.node(node, &meant, head.segment.as_ref()).and(lost);
            }
        }
        for queue in deliver.queues.iter().filter(|_| !head.every) {
            let mut tier = Vec::new();
            for (node, _) in wanting.iter().filter(|(_, wanted)| wanted.queues.contains(queue)) {
                let mut one = Legs::onward(self, head, false);
                lost = one.node(node, &Deliver::queue(queue), head.segment.as_ref()).and(lost);
                tier.append(&mut one.finish());
            }
            if !tier.is_empty() {
                let group = FarGroup { queue: Arc::clone(queue), tiers: alloc::vec![tier], everywhere: Vec::new() };
                onward.groups.push(group);
            }
        }
        lost
    }

    fn wanting_nodes(&self, subject: &str) -> BTreeMap<Name, Deliver> {
        let mut nodes: BTreeMap<Name, Deliver> = BTreeMap::new();
        self.interests.each(subject, &mut |number, queue| {
            let known = self.interests.known(number).filter(|known| known.conn.is_some());
            if let Some(Source::Node(node)) = known.map(|known| &known.source) {
                let deliver = nodes.entry(node.clone()).or_default();
                match queue {
                    Some(queue) => drop(deliver.queues.insert(Arc::clone(queue))),
                    None => deliver.direct = true,
                }
            }
        });
        nodes
    }
}

/// The segment in which a domain is nearest, and what it wants, in whichever segment that was told.
fn nearest(segments: &BTreeMap<(Distance, Name), Deliver>) -> Option<(&Name, Deliver)> {
    let ((_, segment), _) = segments.first_key_value()?;
    let mut wanted = Deliver::NOBODY;
    segments.values().for_each(|deliver| union(&mut wanted, deliver));
    Some((segment, wanted))
}

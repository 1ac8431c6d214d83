//! Where messages go that enter at this node and are wanted beyond it.

use std::sync::Arc;

use door::{Beyond, Far, Group, Hop, KEEPS_AHEAD, KEEPS_UNTAKEN, Parcel, Taker, Took, Tracer};
use link::mesh::{Letter, Outbound, Put};
use mesh::envelope::{Deliver, Envelope, HOPS_MAX};
use mesh::node::{FarGroup, Leg};

use super::body::Body;
use super::replies::Asker;

/// The group of those in other domains who have something kept. They go ahead of nobody in the own domain: else whoever
/// holds a link could take its messages away.
pub(crate) const AHEAD_ELSEWHERE: &str = "keeps ahead elsewhere";

/// One copy on one link: the link's buffer, and the envelope that says for whom it is.
pub(super) struct Egress {
    out: Arc<Outbound>,
    head: Box<[u8]>,
    led: Arc<Led>,
}

/// The subject that ways lead by.
pub(super) struct Led {
    subject: Box<str>,
    /// Whether every subject that differs in its last token alone has the same ways.
    alike: bool,
}

impl Led {
    pub(super) fn by(subject: &str, alike: bool) -> Arc<Self> {
        Arc::new(Led { subject: subject.into(), alike })
    }

    /// Whether a message of this subject goes these ways at the next node too. One that is handed over under another
    /// address, as a push consumer's is, would be led astray there by its own.
    fn leads(&self, subject: &str) -> bool {
        let near = |subject: &str| subject.rfind('.').map(|end| subject[..end].len());
        *self.subject == *subject
            || (self.alike
                && near(subject)
                    .is_some_and(|end| near(&self.subject) == Some(end) && subject[..end] == self.subject[..end]))
    }
}

impl Egress {
    fn put(&self, head: &[u8], parcel: &Parcel<'_>) -> Took {
        let Parcel { subject, reply, status, headers, payload } = *parcel;
        if !self.led.leads(subject) {
            return Took::No;
        }
        match self.out.message(&Letter { head, subject, reply, status, headers, payload }) {
            Put::No => Took::No,
            Put::Yes => Took::Yes,
            Put::First => Took::First,
        }
    }
}

impl Taker for Egress {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        self.put(&self.head, parcel)
    }

    fn take_traced(&self, parcel: &Parcel<'_>) -> Took {
        self.put(&Envelope::traced(&self.head), parcel)
    }

    fn flush(&self) {
        self.out.flush();
    }

    fn wake(&self) {
        self.out.wake();
    }

    fn is_pressed(&self) -> bool {
        self.out.is_pressed()
    }

    fn is_laden(&self) -> bool {
        self.out.is_laden()
    }
}

/// The link of a leg as a receiver; `None`: it has just ended.
fn hop(body: &Body, leg: &Leg, led: &Arc<Led>) -> Option<Hop> {
    let out = Arc::clone(&body.conn(leg.conn)?.out);
    let taker = Arc::new(Egress { out, head: leg.envelope.encode().into(), led: Arc::clone(led) });
    Some(Hop { connection: leg.conn, taker })
}

pub(super) fn hops(body: &Body, legs: &[Leg], led: &Arc<Led>) -> Vec<Hop> {
    legs.iter().filter_map(|leg| hop(body, leg, led)).collect()
}

/// The members of a group beyond this node.
pub(super) fn group(body: &Body, far: &FarGroup, led: &Arc<Led>) -> Group {
    let tiers = far.tiers.iter().map(|tier| hops(body, tier, led)).filter(|tier| !tier.is_empty());
    Group { near: Vec::new(), far: tiers.collect(), everywhere: hops(body, &far.everywhere, led) }
}

/// The way to somebody who asked, where he is not on the ways that interests make.
fn answer(body: &Body, subject: &str, found: &[Leg]) -> Option<Leg> {
    let node = |leg: &Leg, conn| leg.conn == conn && leg.envelope.here.direct;
    match body.replies.find(subject)? {
        Asker::Domain(domain) => {
            let known =
                found.iter().any(|leg| leg.envelope.to.iter().any(|(to, deliver)| *to == domain && deliver.direct));
            if known { None } else { body.ask(|node| node.toward(&domain, subject)).ok() }
        }
        Asker::Peer(conn) => {
            let known = found.iter().any(|leg| node(leg, conn));
            let (origin, here) = (body.id.clone(), Deliver::direct());
            let (segment, nodes, to, traced) = (None, Vec::new(), Vec::new(), false);
            let envelope = Envelope { origin, segment, hops: HOPS_MAX, every: false, traced, here, nodes, to };
            (!known).then_some(Leg { conn, envelope })
        }
    }
}

/// The links of what the machine found.
fn led(body: &Body, subject: &str, found: &mesh::node::Beyond) -> Beyond {
    let led = Led::by(subject, found.alike);
    let mut groups: Vec<(Arc<str>, Group)> = Vec::with_capacity(found.groups.len());
    for far in found.groups.iter().filter(|far| *far.queue != *AHEAD_ELSEWHERE) {
        if *far.queue == *KEEPS_AHEAD {
            let (own, elsewhere) = apart(far);
            groups.push((Arc::clone(&far.queue), group(body, &own, &led)));
            if !is_wanted_in_domain(found) {
                groups.push((AHEAD_ELSEWHERE.into(), group(body, &elsewhere, &led)));
            }
        } else {
            groups.push((Arc::clone(&far.queue), group(body, far, &led)));
        }
    }
    groups.retain(|(_, group)| !group.far.is_empty() || !group.everywhere.is_empty());
    Beyond { direct: hops(body, &found.direct, &led), groups, alike: found.alike }
}

/// Those of a group in the own domain, and those in others.
fn apart(far: &FarGroup) -> (FarGroup, FarGroup) {
    let of = |own: bool| FarGroup {
        queue: Arc::clone(&far.queue),
        tiers: far.tiers.iter().map(|tier| legs(tier, own)).filter(|tier| !tier.is_empty()).collect(),
        everywhere: Vec::new(),
    };
    (of(true), of(false))
}

fn legs(all: &[Leg], own: bool) -> Vec<Leg> {
    all.iter().filter(|leg| leg.envelope.to.is_empty() == own).cloned().collect()
}

/// Whether anybody at another node of the own domain takes messages, those left out who keep them.
fn is_wanted_in_domain(found: &mesh::node::Beyond) -> bool {
    let inner = |leg: &Leg| !leg.envelope.here.is_empty() || !leg.envelope.nodes.is_empty();
    let takes = |far: &&FarGroup| *far.queue != *KEEPS_AHEAD && *far.queue != *KEEPS_UNTAKEN;
    found.direct.iter().any(inner) || found.groups.iter().filter(takes).any(|far| far.tiers.iter().flatten().any(inner))
}

impl Far for Body {
    fn is_quiet(&self) -> bool {
        self.replies.is_empty() && self.ask(mesh::node::Node::is_quiet)
    }

    fn beyond(&self, subject: &str) -> Beyond {
        let mut found = self.ask(|node| node.beyond(subject));
        found.direct.extend(answer(self, subject, &found.direct));
        led(self, subject, &found)
    }

    fn beyond_within(&self, subject: &str, segment: &str) -> Beyond {
        led(self, subject, &self.ask(|node| node.beyond_within(subject, segment)))
    }

    fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        Some(Arc::clone(&self.entry) as Arc<dyn Tracer>)
    }
}

#[cfg(test)]
mod tests {
    use super::Led;

    fn check(led: &str, alike: bool, subject: &str, expected: bool) {
        assert_eq!(Led::by(led, alike).leads(subject), expected, "{subject} by {led}");
    }

    #[test]
    fn a_message_goes_the_ways_of_its_own_subject_alone() {
        check("a.b", false, "a.b", true);
        check("a.b", false, "a.c", false);
        check("a.b", true, "a.c", true);
        check("a.b", true, "a.c.d", false);
        check("a.b", true, "x.b", false);
        check("_INBOX.x", true, "orders", false);
        check("a", true, "b", false);
    }
}

//! What must hold of every message at any time.

use mesh::envelope::Envelope;
use mesh::names::Name;
use mesh::tree::Graph;

use super::super::body::{Got, Message};
use super::super::check::share;
use super::Run;

impl Run {
    /// Somebody got a message: it never comes twice, nor from a domain that shares no segment with this one.
    pub(super) fn check_got(&mut self, got: &Got) {
        let sent = &self.sent[got.number];
        let domain = &self.world.nodes[got.node].domain;
        let shared = self.held.iter().any(|held| share(&self.world.topologies[*held], &sent.domain, domain));
        let before: u64 = match (&got.queue, sent.every) {
            (Some(_), _) if sent.lie => 0,
            (Some(queue), false) => {
                let same = |each: &&Got| each.queue.as_ref() == Some(queue);
                let from = Got { number: got.number, node: 0, queue: None };
                self.got
                    .range(from..)
                    .map(|(each, _)| each)
                    .take_while(|each| each.number == got.number)
                    .filter(same)
                    .count() as u64
            }
            _ => self.got.get(got).copied().unwrap_or(0),
        };
        let from = sent.domain.clone();
        if before > 0 {
            self.fail(format!("{got:?} came twice"));
        }
        if !shared {
            self.fail(format!("{got:?} is of domain {from}, with which no segment is shared"));
        }
    }

    /// Who gets a message is told truly where it entered; a rogue may name its own domain, and those behind it.
    pub(super) fn check_claim(&mut self, node: usize, head: &Envelope, message: Message) {
        let (sent, claimed) = (&self.sent[message.number], &head.origin.domain);
        let to = &self.world.nodes[node].domain;
        let behind = |held: &usize| {
            let mut segments = self.world.topologies[*held].iter();
            let segment = segments.find(|segment| Some(&segment.name) == head.segment.as_ref());
            let tree = segment.and_then(|segment| Graph::new(&segment.domains, &segment.edges).tree(to));
            tree.is_some_and(|tree| tree.path(claimed).contains(&&sent.domain))
        };
        let right = *claimed == sent.domain || (sent.lie && self.held.iter().any(behind));
        if !right {
            self.fail(format!(
                "node {node} is told that message {} of {} entered in {claimed}",
                message.number, sent.domain
            ));
        }
    }

    /// A copy goes out: copies end, and none is on a link that does not carry its segment.
    pub(super) fn check_copy(&mut self, wire: usize, end: usize, head: &[u8], message: Message) {
        self.counts.copies += 1;
        let nodes = self.world.nodes.len() as u64;
        let sent = &mut self.sent[message.number];
        sent.copies += 1;
        // Each node is a destination once, and each group has one more; each goes some links and no more.
        let most = (nodes + 4) * 32;
        let (copies, origin) = (sent.copies, sent.domain.clone());
        if copies > most {
            self.fail(format!("message {} circles: {copies} copies", message.number));
        }
        let Ok(head) = Envelope::decode(head) else {
            return self.fail(format!("message {} has a head that cannot be read", message.number));
        };
        let wire = &self.wires[wire];
        let to = &self.world.nodes[wire.ends[1 - end]].domain;
        if self.world.nodes[wire.ends[end]].domain == *to {
            return;
        }
        let right = |topology: &usize| {
            let segment =
                self.world.topologies[*topology].iter().find(|each| Some(&each.name) == head.segment.as_ref());
            segment.is_some_and(|segment| {
                let inside = |domain: &Name| segment.domains.contains(domain);
                inside(to) && inside(&origin) && head.to.iter().all(|(domain, _)| inside(domain))
            })
        };
        if !self.held.iter().any(right) {
            let to = to.clone();
            self.fail(format!("message {} of {origin} is on a link to {to}: {head:?}", message.number));
        }
    }
}

//! Where frames of custody go: each is for one domain, or one node, whatever anybody there listens to.
//!
//! What is to be kept travels like any message, under the same rules of segments, paths and names. Words about it have no
//! subject: they are held to segments and paths.

use alloc::sync::Arc;
use alloc::vec::Vec;

use event::Pattern;

use super::onward::Legs;
use super::{Leg, Node, Refusal};
use crate::acl::{AclRule, Asker};
use crate::envelope::{Deliver, Envelope};
use crate::names::Name;
use crate::plan::LinkKind;
use crate::tree::Distance;

/// What is to be done with a frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handed {
    /// It is for this node.
    Here,
    /// It goes on.
    On(Leg),
}

/// The rule of names that stands in the way of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden {
    /// Whether it is about publishing or about subscribing.
    pub why: Refusal,
    /// Its name.
    pub rule: Arc<str>,
    /// The domain that it does not name.
    pub domain: Name,
}

impl Forbidden {
    fn new(why: Refusal, domain: &Name) -> impl Fn(&AclRule) -> Forbidden {
        move |rule| Forbidden { why, rule: Arc::clone(&rule.name), domain: domain.clone() }
    }
}

impl Node {
    /// The copy of a frame for a domain, in the segment in which it is nearest, of those that a link is up for; or for
    /// one node of the own domain. Which node of another domain it is for is that domain's gateway's to read.
    ///
    /// # Errors
    /// There is no way now, or it is for this node itself.
    pub fn straight(&self, to: &Name, node: Option<&Name>) -> Result<Leg, Refusal> {
        if *to == self.id.domain {
            let node = node.filter(|node| **node != self.id.node).ok_or(Refusal::Shape)?;
            let mut legs = self.own_legs(false);
            legs.node(node, &Deliver::direct(), None)?;
            return legs.finish().pop().ok_or(Refusal::NoWay);
        }
        let mut segments: Vec<(Distance, &Name)> = self
            .routes
            .segments()
            .filter_map(|segment| Some((self.routes.distance(to, segment.as_str())?, segment)))
            .collect();
        segments.sort_unstable();
        for (_, segment) in segments {
            let mut legs = self.own_legs(false);
            if legs.domain(to, segment, &Deliver::direct()).is_ok() {
                return legs.finish().pop().ok_or(Refusal::NoWay);
            }
        }
        Err(Refusal::NoWay)
    }

    /// Judges a frame that came on a connection, but for names. `node` is the node of the domain that it is for; none:
    /// whichever it comes to.
    ///
    /// # Errors
    /// Why it may not be taken, or not go on.
    pub fn hand(&self, conn: u64, head: &Envelope, node: Option<&Name>) -> Result<Handed, Refusal> {
        let from = self.conns.get(&conn).ok_or(Refusal::Closed)?;
        match from.kind {
            LinkKind::Remote => self.judge_remote(from, head)?,
            LinkKind::Peer => self.judge_peer(from, head)?,
        }
        let other = node.filter(|node| **node != self.id.node);
        let mut legs = Legs::onward(self, head, false);
        match (&head.to[..], &head.nodes[..], head.here.direct) {
            ([], [], true) if other.is_none() => return Ok(Handed::Here),
            ([], [(to, _)], false) => legs.node(to, &Deliver::direct(), head.segment.as_ref())?,
            ([(to, _)], [], false) if *to == self.id.domain => match other {
                None => return Ok(Handed::Here),
                Some(other) => legs.node(other, &Deliver::direct(), head.segment.as_ref())?,
            },
            ([(to, _)], [], false) => {
                let segment = head.segment.as_ref().ok_or(Refusal::LinkSegment)?;
                self.relay(from, to, segment)?;
                legs.domain(to, segment, &Deliver::direct())?;
            }
            _ => return Err(Refusal::Shape),
        }
        // What came from a peer never goes back to it.
        let leg = legs.finish().pop().filter(|leg| leg.conn != conn);
        leg.map(Handed::On).ok_or(Refusal::Relay)
    }

    /// Whether one domain may publish to a subject, and another hear it.
    ///
    /// # Errors
    /// The first rule that does not let them.
    pub fn may_cross(&self, from: &Name, to: &Name, subject: &str) -> Result<(), Forbidden> {
        let publishes = self.acl.may_publish(&Asker { domain: from, principal: None }, subject);
        publishes.map_err(Forbidden::new(Refusal::PublishRule, from))?;
        let hears = self.acl.may_hear(&Asker { domain: to, principal: None }, subject);
        hears.map_err(Forbidden::new(Refusal::SubscribeRule, to))
    }

    /// Whether a domain may subscribe to all subjects of a pattern.
    ///
    /// # Errors
    /// The first rule that does not let it.
    pub fn may_take(&self, domain: &Name, pattern: &Pattern) -> Result<(), Forbidden> {
        let takes = self.acl.may_subscribe(&Asker { domain, principal: None }, pattern);
        takes.map_err(Forbidden::new(Refusal::SubscribeRule, domain))
    }

    /// Every other domain to which there is a way in some segment, whether or not its links are up.
    pub fn domains(&self) -> impl Iterator<Item = &Name> {
        let apart = |domain: &&Name| **domain != self.id.domain;
        let all = self.plan.segments.iter().flat_map(|segment| &segment.domains);
        all.filter(apart).filter(|domain| {
            self.routes.segments().any(|segment| self.routes.distance(domain, segment.as_str()).is_some())
        })
    }
}

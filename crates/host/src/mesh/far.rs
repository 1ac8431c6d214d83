//! Where messages go that enter at this node and are wanted beyond it.

use std::sync::Arc;

use door::{Beyond, Far, Group, Hop, Parcel, Taker, Took};
use link::mesh::{Letter, Outbound, Put};
use mesh::node::{FarGroup, Leg};

use super::body::Body;

/// One copy on one link: the link's buffer, and the envelope that says for whom it is.
pub(super) struct Egress {
    out: Arc<Outbound>,
    head: Box<[u8]>,
}

impl Taker for Egress {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        let Parcel { subject, reply, status, headers, payload } = *parcel;
        match self.out.message(&Letter { head: &self.head, subject, reply, status, headers, payload }) {
            Put::No => Took::No,
            Put::Yes => Took::Yes,
            Put::First => Took::First,
        }
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
pub(super) fn hop(body: &Body, leg: &Leg) -> Option<Hop> {
    let out = Arc::clone(&body.conn(leg.conn)?.out);
    let taker = Arc::new(Egress { out, head: leg.envelope.encode().into() });
    Some(Hop { connection: leg.conn, taker })
}

pub(super) fn hops(body: &Body, legs: &[Leg]) -> Vec<Hop> {
    legs.iter().filter_map(|leg| hop(body, leg)).collect()
}

/// The members of a group beyond this node.
pub(super) fn group(body: &Body, far: &FarGroup) -> Group {
    let tiers = far.tiers.iter().map(|tier| hops(body, tier)).filter(|tier| !tier.is_empty());
    Group { near: Vec::new(), far: tiers.collect(), everywhere: hops(body, &far.everywhere) }
}

impl Far for Body {
    fn is_quiet(&self) -> bool {
        self.ask(mesh::node::Node::is_quiet)
    }

    fn beyond(&self, subject: &str) -> Beyond {
        let found = self.ask(|node| node.beyond(subject));
        Beyond {
            direct: hops(self, &found.direct),
            groups: found.groups.iter().map(|far| (Arc::clone(&far.queue), group(self, far))).collect(),
            alike: found.alike,
        }
    }
}

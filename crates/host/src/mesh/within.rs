//! How a message came, for those at this node who keep messages: they are to hand it on within its segment alone.

use std::sync::Arc;

use door::{Group, Hop, KEEPS_AHEAD, KEEPS_UNTAKEN, Parcel, Taker, Took, WITHIN_HEADER};
use mesh::envelope::Envelope;
use mesh::names::Name;

/// A keeper that is told, before all other headers, the segment in which messages come.
struct Told {
    keeper: Arc<dyn Taker>,
    header: Box<str>,
}

impl Taker for Told {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        let headers = [self.header.as_bytes(), parcel.headers].concat();
        self.keeper.take(&Parcel { headers: &headers, ..*parcel })
    }

    fn flush(&self) {
        self.keeper.flush();
    }

    fn wake(&self) {
        self.keeper.wake();
    }

    fn is_pressed(&self) -> bool {
        self.keeper.is_pressed()
    }

    fn is_laden(&self) -> bool {
        self.keeper.is_laden()
    }
}

/// The members of a group at this node, of which those who keep are told how the message came.
pub(super) fn told(queue: &str, members: Group, own: &Name, envelope: &Envelope) -> Group {
    if queue != KEEPS_AHEAD && queue != KEEPS_UNTAKEN {
        return members;
    }
    let segment = envelope.segment.as_ref().filter(|_| envelope.origin.domain != *own).map_or("", Name::as_str);
    let told = |Hop { connection, taker: keeper }| {
        let header = format!("{WITHIN_HEADER}: {segment}\r\n").into();
        Hop { connection, taker: Arc::new(Told { keeper, header }) }
    };
    Group { near: members.near.into_iter().map(told).collect(), ..members }
}

//! The end of a link that the fabric holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use door::{Parcel, Taker, Took};

use super::shared::Connection;
use crate::codec::{Message, forward, forwarded_bytes, read};
use crate::counts::{Totals, add};
use crate::session::Dropped;

/// See the module.
pub(crate) struct Receiver {
    pub(crate) connection: Arc<Connection>,
    pub(crate) totals: Arc<Totals>,
}

impl Taker for Receiver {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        let Some(terms) = self.connection.terms.get() else {
            return Took::No;
        };
        // It need not come from this door: whoever may publish to the subject wrote it.
        let Ok(Message::Publish(publish)) = read(parcel.payload) else {
            self.totals.dropped(Dropped::Malformed);
            return Took::No;
        };
        if publish.header.ttl <= 1 {
            self.totals.dropped(Dropped::Ttl);
            return Took::No;
        }
        let size = forwarded_bytes(&publish);
        let write = |out: &mut _, signer: &mut _| forward(out, &publish, terms.key.as_ref(), signer);
        let took = self.connection.out.put(size, write);
        if took == Took::No {
            self.connection.dropped.fetch_add(1, Ordering::Relaxed);
            self.totals.dropped(Dropped::Slow);
            return Took::No;
        }
        add(&self.totals.delivered, 1);
        add(&self.totals.bytes_out, size as u64);
        // Whoever sends is to see that it is pressed, though it was woken long ago.
        if self.connection.out.is_laden() { Took::First } else { took }
    }

    fn wake(&self) {
        self.connection.out.wake();
    }

    fn is_pressed(&self) -> bool {
        self.connection.out.is_pressed()
    }

    fn is_laden(&self) -> bool {
        self.connection.out.is_laden()
    }
}

//! The receiving end of a connection's listener.

use std::collections::HashMap;
use std::sync::Arc;

use door::{Parcel, Port, Principal, Taker, Took};
use event::Subject;
use parking_lot::Mutex;

use super::outbound::Closed;
use super::shared::{Connection, Shared};
use crate::codec::{Source, decode_room, write_event};
use crate::session::{Dropped, Kind};

/// Rooms of which it is known whether they are kept.
const KNOWN_MAX: usize = 4096;

/// See the module.
pub(crate) struct Receiver {
    pub(crate) connection: Arc<Connection>,
    pub(crate) shared: Arc<Shared>,
    /// Where some of what it wants is denied: who judges each message.
    pub(crate) guard: Option<Principal>,
    /// Where kept rooms come another way: what tells which these are.
    pub(crate) kept: Option<KeptRooms>,
    /// In strict mode, whether it stands for a subscription to `*`.
    pub(crate) every: bool,
}

impl Receiver {
    pub(crate) fn new(shared: &Arc<Shared>, connection: &Arc<Connection>) -> Self {
        let (shared, connection) = (Arc::clone(shared), Arc::clone(connection));
        Receiver { connection, shared, guard: None, kept: None, every: false }
    }

    /// How many copies it gets: more than one only in strict mode.
    fn copies(&self, parcel: &Parcel<'_>, source: Source) -> u32 {
        let twice = self.shared.options.strict_compat
            && match self.connection.kind {
                Kind::Hub | Kind::Twin => source == Source::Repeater,
                // The room `*` is looked up once for itself, and once for all rooms.
                Kind::Messenger => self.every && parcel.subject == "room.%2A",
                _ => false,
            };
        if twice { 2 } else { 1 }
    }
}

/// Newlines besides the separator that an event has on a connection of a kind.
pub(crate) fn newlines(kind: Kind, source: Source) -> usize {
    match kind {
        // What a node of this kind reads is the payload as it was.
        Kind::Twin => 0,
        // The original's repeater is a hop of its own behind its hub.
        Kind::Peer | Kind::Target => 1 + usize::from(source.is_parsed()),
        Kind::Messenger | Kind::Repeater | Kind::Hub => usize::from(source.is_parsed()),
    }
}

impl Taker for Receiver {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        if self.guard.as_ref().is_some_and(|who| !who.may_read(parcel.subject)) {
            return Took::No;
        }
        if self.kept.as_ref().is_some_and(|kept| kept.is_kept(&self.shared.port, parcel.subject)) {
            // It comes from the journal.
            return Took::Yes;
        }
        let Some(room) = decode_room(parcel.subject) else {
            return Took::No;
        };
        let source = Source::of(parcel.headers);
        let (copies, newlines) = (self.copies(parcel, source), newlines(self.connection.kind, source));
        let masks = &self.connection.masks;
        let size = parcel.payload.len() * copies as usize;
        let took = self.connection.out.put(copies, size, |bytes| {
            for _ in 0..copies {
                write_event(bytes, masks.next(), &room, newlines, parcel.payload);
            }
        });
        if took == Took::No {
            let slow = matches!(self.connection.out.closed(), Some(Closed::SlowPending | Closed::SlowDeadline));
            let why = if slow { Dropped::Full } else { Dropped::Ended };
            // Another repeater takes it in its place, or the fabric counts it.
            if self.connection.kind != Kind::Repeater {
                self.shared.totals.dropped(why, u64::from(copies));
            }
        }
        took
    }

    fn flush(&self) {
        self.connection.out.flush();
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

/// Which rooms a stream captures, as far as it was asked.
#[derive(Default)]
pub(crate) struct KeptRooms(Mutex<(u64, HashMap<Box<str>, bool>)>);

/// Grows whenever which rooms are kept may have changed.
pub(crate) fn catalogue(port: &Port) -> u64 {
    port.catalogue_version().wrapping_add(port.journal().version())
}

impl KeptRooms {
    /// Whether a stream captures a subject now.
    pub(crate) fn is_kept(&self, port: &Port, subject: &str) -> bool {
        let version = catalogue(port);
        let mut known = self.0.lock();
        if known.0 != version || known.1.len() > KNOWN_MAX {
            *known = (version, HashMap::new());
        }
        if let Some(kept) = known.1.get(subject) {
            return *kept;
        }
        let kept = Subject::parse(subject).is_ok_and(|subject| port.captured_by(&subject).is_some());
        known.1.insert(subject.into(), kept);
        kept
    }
}

//! What a connection's frames do: the hand of its session.
//!
//! # Cost
//! An event of a room that is not kept: a look at the room's way, one pass over the body for its attributes,
//! and a copy for each receiver. One of a kept room is copied once more, and delivered when it is recorded.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{BufMut, Bytes, BytesMut};
use door::{Class, ConnectionId, Parcel, Principal, PublishError, Published, Taker, Way};
use event::{Headers, Message, Subject};
use journal::{Append, AppendError};
use tracing::{debug, warn};

use super::receiver::catalogue;
use super::shared::{Connection, Shared};
use super::wishes;
use crate::codec::{Change, Control, Opcode, Source, attributes, subject};
use crate::limits::{APPENDS_WAITING_MAX, WAYS_KEPT_MAX};
use crate::session::{Dropped, Hand, Kind};

/// Receivers to be flushed for which room is kept.
const FIRST_KEPT_MAX: usize = 64;

/// What is known of a room.
pub(crate) struct Room {
    room: Box<[u8]>,
    subject: Subject,
    way: Arc<Way>,
    allowed: bool,
    captured: bool,
    judged: bool,
    catalogue: u64,
}

impl Room {
    /// Whether whoever publishes may.
    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed
    }
}

impl Shared {
    /// What is known of a room to one who publishes; `None` where its name is too long.
    pub(crate) fn room(&self, who: &Principal, class: Class, room: &[u8]) -> Option<Room> {
        let subject = subject(room)?;
        // Versions are read before what they stand for, so that a change meanwhile is noticed.
        let catalogue = catalogue(&self.port);
        let way = self.port.fabric().way_from(subject.as_str(), class);
        Some(Room {
            room: room.into(),
            way,
            allowed: self.port.may_publish(who, &subject).is_ok(),
            captured: self.port.captured_by(&subject).is_some(),
            judged: self.port.is_judged(&subject),
            catalogue,
            subject,
        })
    }

    fn is_current(&self, room: &Room) -> bool {
        catalogue(&self.port) == room.catalogue && self.port.fabric().is_current(&room.way)
    }
}

/// An event on its way in.
pub(crate) struct Incoming<'a> {
    pub(crate) source: Source,
    pub(crate) without: ConnectionId,
    pub(crate) payload: &'a [u8],
    /// Makes a second append of the same event a duplicate.
    pub(crate) id: Option<Bytes>,
}

/// Why an append came to nothing, for the counts.
pub(crate) fn dropped(error: &PublishError) -> Dropped {
    match error {
        PublishError::NotAllowed(_) => Dropped::NotAllowed,
        PublishError::PayloadTooLarge { .. } => Dropped::TooLarge,
        PublishError::Unfit(_) => Dropped::Unfit,
        PublishError::Journal(_) => Dropped::Journal,
    }
}

/// Hands an event on. Where its room is kept, `done` is called when it is recorded or refused; else it is
/// called before this returns. `first` is called for each receiver that waits to be flushed.
pub(crate) fn carry(
    shared: &Arc<Shared>,
    who: &Principal,
    room: &Room,
    incoming: Incoming<'_>,
    first: &mut dyn FnMut(&Arc<dyn Taker>),
    done: impl FnOnce(Result<(), PublishError>) + Send + 'static,
) {
    let Incoming { source, without, payload, id } = incoming;
    let max = shared.options.payload_bytes_max;
    if payload.len() > max {
        return done(Err(PublishError::PayloadTooLarge { size: payload.len(), max }));
    }
    let name = String::from_utf8_lossy(&room.room);
    let block = attributes(source.line(), &name, payload);
    if !room.captured && !room.judged {
        let parcel = Parcel { headers: block.as_bytes(), ..Parcel::new(room.subject.as_str(), payload) };
        let (taken, refused) = room.way.offer(&parcel, without, first);
        shared.port.fabric().count(taken, refused);
        return done(Ok(()));
    }
    let Some(mut message) = message(room, &block, payload) else {
        return done(Err(AppendError::Busy.into()));
    };
    if room.captured {
        let append = Append { id, ..Append::new(message) };
        return shared.port.publish_from(who, without, Some(&room.way), append, move |outcome| {
            done(match outcome {
                Ok(Published::Recorded(_) | Published::Delivered(_)) => Ok(()),
                // The stream was deleted meanwhile, and nobody listens.
                Err(PublishError::Journal(AppendError::NoStream(_))) => Ok(()),
                Err(error) => Err(error),
            });
        });
    }
    if let Err(unfit) = shared.port.fit(&mut message) {
        return done(Err(unfit.into()));
    }
    let (taken, refused) = room.way.offer(&Parcel::of(&message), without, first);
    shared.port.fabric().count(taken, refused);
    done(Ok(()));
}

/// The message to record: headers and payload share one allocation.
fn message(room: &Room, block: &str, payload: &[u8]) -> Option<Message> {
    let mut body = BytesMut::with_capacity(block.len() + payload.len());
    body.put_slice(block.as_bytes());
    body.put_slice(payload);
    let mut body = body.freeze();
    let headers = Headers::from_block(body.split_to(block.len())).ok()?;
    Some(Message { subject: room.subject.clone(), reply: None, headers, payload: body })
}

/// See the module.
pub(crate) struct Carrier {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Arc<Connection>,
    source: Source,
    last: Option<Arc<Room>>,
    rooms: HashMap<Box<[u8]>, Arc<Room>>,
    first: Vec<Arc<dyn Taker>>,
    pressed: Vec<Arc<dyn Taker>>,
    /// Where the next event stands in the stream of a node of this kind.
    at: Option<crate::codec::Place>,
    /// Whether the last event was of a kept room.
    recording: bool,
    pub(crate) replay: Option<Box<super::replay::Replay>>,
}

impl Carrier {
    pub(crate) fn new(shared: &Arc<Shared>, connection: &Arc<Connection>) -> Self {
        let source = match connection.kind {
            Kind::Messenger => Source::Messenger,
            Kind::Hub | Kind::Twin => Source::Hub,
            Kind::Repeater | Kind::Peer | Kind::Target => Source::Repeater,
        };
        Carrier {
            shared: Arc::clone(shared),
            connection: Arc::clone(connection),
            source,
            last: None,
            rooms: HashMap::new(),
            first: Vec::new(),
            pressed: Vec::new(),
            at: None,
            recording: false,
            replay: None,
        }
    }

    fn room(&mut self, room: &[u8]) -> Option<Arc<Room>> {
        if let Some(last) = &self.last
            && *last.room == *room
            && self.shared.is_current(last)
        {
            return Some(Arc::clone(last));
        }
        if let Some(known) = self.rooms.get(room)
            && self.shared.is_current(known)
        {
            let known = Arc::clone(known);
            self.last = Some(Arc::clone(&known));
            return Some(known);
        }
        let found = Arc::new(self.shared.room(&self.connection.who, self.connection.class(), room)?);
        // A messenger mostly speaks for one room.
        if let Some(last) = self.last.replace(Arc::clone(&found))
            && last.room != found.room
        {
            if self.rooms.len() >= WAYS_KEPT_MAX {
                self.rooms.clear();
            }
            self.rooms.insert(last.room.clone(), last);
            self.rooms.insert(found.room.clone(), Arc::clone(&found));
        }
        Some(found)
    }

    /// Has sent what receivers took; whether one of them is pressed.
    pub(crate) fn flush(&mut self) -> bool {
        self.first.iter().for_each(|taker| taker.flush());
        self.pressed.clear();
        self.pressed.extend(self.first.drain(..).filter(|taker| taker.is_pressed()));
        if self.first.capacity() > FIRST_KEPT_MAX {
            self.first = Vec::new();
        }
        !self.pressed.is_empty()
    }

    /// Whether one of those that were pressed is it still.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.iter().any(|taker| taker.is_pressed())
    }
}

impl Hand for Carrier {
    fn event(&mut self, room: &[u8], payload: &[u8]) {
        self.connection.events.fetch_add(1, Ordering::Relaxed);
        self.connection.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        let at = self.at.take();
        let found = match self.room(room) {
            Some(found) if found.allowed => found,
            other => {
                // Sent again it would fare no better.
                at.iter().for_each(|place| self.shared.links.passed_over(&self.connection, place));
                return self.dropped(if other.is_some() { Dropped::NotAllowed } else { Dropped::Room });
            }
        };
        let id = match &at {
            None => None,
            Some(place) => match self.shared.links.arrived(&self.shared, &self.connection, place) {
                Some(id) => Some(id),
                None => return,
            },
        };
        self.recording = found.captured;
        let (shared, connection) = (Arc::clone(&self.shared), Arc::clone(&self.connection));
        connection.appending.fetch_add(1, Ordering::Relaxed);
        let done = move |outcome: Result<(), PublishError>| {
            connection.appending.fetch_sub(1, Ordering::Relaxed);
            if let Err(error) = &outcome {
                if !connection.complained.swap(true, Ordering::Relaxed) {
                    warn!(id = %connection.label(), %error, "an event was not taken; more of this connection are counted");
                }
                shared.totals.dropped(dropped(error), 1);
            }
            if let Some(place) = at {
                shared.links.settled(&connection, &place, outcome);
            }
        };
        let incoming = Incoming { source: self.source, without: self.connection.id, payload, id };
        let first = &mut self.first;
        let mut push = |taker: &Arc<dyn Taker>| first.push(Arc::clone(taker));
        carry(&self.shared, &self.connection.who, &found, incoming, &mut push, done);
    }

    fn change(&mut self, change: Change) {
        wishes::change(&self.shared, &self.connection, change, self.replay.as_deref_mut());
        self.shared.roster_changed();
    }

    fn control(&mut self, control: Control) {
        if let Some(ack) = control.ack {
            self.shared.links.acknowledged(&self.connection, &ack);
        }
        if control.at.is_some() {
            self.at = control.at;
        }
    }

    fn dropped(&mut self, why: Dropped) {
        debug!(id = %self.connection.label(), why = why.text(), "an event is dropped");
        self.shared.totals.dropped(why, 1);
    }

    fn pong(&mut self, payload: &[u8]) {
        self.connection.pong.store(self.connection.millis(), Ordering::Relaxed);
        if matches!(self.connection.kind, Kind::Hub | Kind::Twin) {
            self.shared.links.pong(&self.shared, &self.connection, payload);
        }
    }

    fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        self.connection.say(opcode, payload);
    }

    fn is_busy(&self) -> bool {
        let appending = self.connection.appending.load(Ordering::Relaxed) as usize;
        appending >= APPENDS_WAITING_MAX || (self.recording && appending > 0 && !self.shared.port.has_room())
    }
}

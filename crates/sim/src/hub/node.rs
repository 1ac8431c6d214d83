//! A hub: the machines of `mesh` and the routes of `route`, over streams that survive.
//!
//! What a real hub does with sockets and a journal is done here step by step. An event that comes from a
//! messenger goes by its route, live, where the room is not kept; where it is, it is recorded, and each link
//! reads it from there, as far as [`Custody`] lets it. Invariants: nothing that came from a hub is sent to a hub;
//! what is in memory is gone after a crash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use event::{Moment, Pattern};
use mesh::hub::{Custody, Input, Links, Load, Output, Seen};
use route::{Class, Interests, Leg};

use super::story::ROOMS;
use super::wire::Frame;

/// Numbers of sessions begin here, so that none is that of a connection.
const SESSIONS_FROM: u64 = 1 << 40;

/// A record of a stream: the event, and where it stood at the peer that sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub event: u64,
    pub from: Option<Arc<str>>,
    pub seq: u64,
}

/// What a link is owed of a stream, as it is on the disk.
#[derive(Debug, Clone, Copy)]
pub struct Consumer {
    /// The first position that is owed.
    pub start: u64,
    /// Everything below it was answered for.
    saved: u64,
}

/// The same, in memory.
#[derive(Debug)]
pub struct Cursor {
    pub custody: Custody,
    again: BTreeSet<u64>,
    next: u64,
}

impl Cursor {
    fn floor(&self) -> u64 {
        let again = self.again.first().copied();
        [self.custody.oldest(), again].into_iter().flatten().fold(self.next, u64::min)
    }
}

/// A messenger that is connected.
#[derive(Debug)]
pub struct Session {
    /// The rooms; `None`: all.
    pub rooms: Option<Vec<usize>>,
    /// It reads kept rooms from their beginning instead of live.
    replays: bool,
    next: BTreeMap<usize, usize>,
    pub got: BTreeSet<u64>,
}

impl Session {
    /// Whether it wants a room.
    pub fn wants(&self, room: usize) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.contains(&room))
    }
}

/// An event of a peer that is being recorded.
#[derive(Debug)]
struct Pending {
    /// Where it came by, each time.
    connections: Vec<u64>,
    peer: Arc<str>,
    room: usize,
    event: u64,
    at: Option<u64>,
}

/// What a leg of a route leads to.
#[derive(Debug, Clone, Copy)]
enum Hand {
    Messenger,
    Hub,
}

/// What the world is to do.
#[derive(Debug)]
pub enum Act {
    Dial {
        name: Arc<str>,
        address: Arc<str>,
    },
    Close {
        connection: u64,
        why: String,
    },
    Send {
        connection: u64,
        frame: Frame,
    },
    /// Ends all connections to a peer, because something of it could not be kept.
    Drop {
        peer: Arc<str>,
    },
    /// A peer's event is to be recorded.
    Record,
    /// An event of a peer was taken: recorded, or delivered where the room is not kept.
    Taken {
        event: u64,
        at: bool,
    },
    /// An event of a peer, sent live, could not be recorded.
    Refused {
        event: u64,
    },
    /// For the log.
    Say(String),
}

/// A hub. See the module.
#[derive(Debug)]
pub struct Hub {
    pub name: Arc<str>,
    pub life: u64,
    pub up: bool,
    owed: Load,
    /// Whether what goes again may come after something new.
    late: bool,
    /// What is on its disk: the streams, what is in them by peer and position, and the consumers of links.
    pub streams: BTreeMap<usize, Vec<Record>>,
    recorded: BTreeSet<(usize, Arc<str>, u64)>,
    pub consumers: BTreeMap<(Arc<str>, usize), Consumer>,
    /// What is in memory.
    pub links: Links,
    interests: Interests<Hand>,
    peers: BTreeMap<u64, Arc<str>>,
    pub cursors: BTreeMap<(Arc<str>, usize), Cursor>,
    seen: Seen,
    pending: VecDeque<Pending>,
    pub sessions: BTreeMap<u64, Session>,
    numbered: u64,
    pub wake: Option<Moment>,
    acts: VecDeque<Act>,
    /// How often something happened that a run is to have met.
    pub doubled: u64,
    pub duplicates: u64,
    pub again: u64,
}

fn subject(room: usize) -> String {
    format!("room.r{room}")
}

fn patterns(rooms: &[String]) -> Result<Vec<Pattern>, String> {
    rooms.iter().map(|text| Pattern::parse(text).map_err(|error| error.to_string())).collect()
}

impl Hub {
    pub fn new(name: &str, kept: &BTreeSet<usize>, owed: Load, late: bool) -> Self {
        Hub {
            name: name.into(),
            life: 0,
            up: false,
            owed,
            late,
            streams: kept.iter().map(|room| (*room, Vec::new())).collect(),
            recorded: BTreeSet::new(),
            consumers: BTreeMap::new(),
            links: Links::new(name, 0),
            interests: Interests::new(),
            peers: BTreeMap::new(),
            cursors: BTreeMap::new(),
            seen: Seen::new(),
            pending: VecDeque::new(),
            sessions: BTreeMap::new(),
            numbered: SESSIONS_FROM,
            wake: None,
            acts: VecDeque::new(),
            doubled: 0,
            duplicates: 0,
            again: 0,
        }
    }

    /// Loses what is in memory.
    pub fn crash(&mut self) {
        self.up = false;
        self.life += 1;
        self.wake = None;
        self.sessions.clear();
        self.pending.clear();
        self.acts.clear();
    }

    /// Starts again from what is on the disk.
    pub fn start(&mut self, seed: u64) {
        self.up = true;
        self.links = Links::new(Arc::clone(&self.name), seed);
        (self.interests, self.seen) = (Interests::new(), Seen::new());
        self.peers.clear();
        let cursor = |consumer: &Consumer| Cursor {
            custody: Custody::new(self.owed),
            again: BTreeSet::new(),
            next: consumer.saved,
        };
        self.cursors = self.consumers.iter().map(|(key, consumer)| (key.clone(), cursor(consumer))).collect();
    }

    /// What the world is to do next.
    pub fn act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// A messenger comes.
    pub fn connect(&mut self, rooms: Option<Vec<usize>>, replays: bool) -> Result<(), String> {
        self.numbered += 1;
        let live = |room: &usize| !(replays && self.streams.contains_key(room));
        let texts: Vec<String> = match &rooms {
            // A messenger that reads some rooms from their streams wants the others by name.
            None if !replays => vec![String::from("room.*"), subject(0)],
            None => (0..ROOMS).filter(live).map(subject).collect(),
            Some(rooms) => rooms.iter().copied().filter(live).map(subject).collect(),
        };
        let leg = Leg {
            class: Class::Client,
            number: self.numbered,
            connection: self.numbered,
            queue: None,
            hand: Hand::Messenger,
        };
        self.interests.add(leg, &patterns(&texts)?);
        let mut session = Session { rooms, replays, next: BTreeMap::new(), got: BTreeSet::new() };
        session.next =
            self.streams.keys().filter(|room| replays && session.wants(**room)).map(|room| (*room, 0)).collect();
        self.sessions.insert(self.numbered, session);
        self.catch_up()
    }

    /// The messenger that came first leaves.
    pub fn disconnect(&mut self) {
        if let Some((number, _)) = self.sessions.pop_first() {
            self.interests.remove(number);
        }
    }

    /// Hands messengers that read a stream what is new in it.
    fn catch_up(&mut self) -> Result<(), String> {
        for session in self.sessions.values_mut().filter(|session| session.replays) {
            for (room, next) in &mut session.next {
                for record in self.streams.get(room).into_iter().flatten().skip(*next) {
                    *next += 1;
                    if !session.got.insert(record.event) {
                        return Err(format!("a messenger got event {} twice from its stream", record.event));
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands an event to messengers, and where the class may reach hubs and `live`, to those.
    fn deliver(&mut self, from: Class, room: usize, event: u64, live: bool) -> Result<(), String> {
        let route = self.interests.route(&subject(room), from);
        for leg in &route.direct {
            match leg.hand {
                Hand::Messenger => {
                    let session = self.sessions.get_mut(&leg.number).ok_or("a route to a messenger that left")?;
                    if !session.got.insert(event) {
                        return Err(format!("a messenger of {} got event {event} twice", self.name));
                    }
                }
                Hand::Hub if live => {
                    let frame = Frame::Event { room, event, at: None };
                    self.acts.push_back(Act::Send { connection: leg.connection, frame });
                }
                Hand::Hub => {}
            }
        }
        Ok(())
    }

    /// A messenger sends an event.
    pub fn publish(&mut self, room: usize, event: u64) -> Result<(), String> {
        let Some(stream) = self.streams.get_mut(&room) else {
            return self.deliver(Class::Client, room, event, true);
        };
        stream.push(Record { event, from: None, seq: 0 });
        self.deliver(Class::Client, room, event, false)?;
        self.catch_up()?;
        self.pump_all(room)
    }

    fn pump_all(&mut self, room: usize) -> Result<(), String> {
        let links: Vec<Arc<str>> = self.links.links().map(|link| link.link).collect();
        links.iter().try_for_each(|link| self.pump(link, room))
    }

    /// Sends a link what it is owed of a room, as far as there is room.
    fn pump(&mut self, link: &Arc<str>, room: usize) -> Result<(), String> {
        let (Some(connection), Some(stream)) = (self.links.connection(link), self.streams.get(&room)) else {
            return Ok(());
        };
        let Some(cursor) = self.cursors.get_mut(&(Arc::clone(link), room)) else { return Ok(()) };
        loop {
            // A consumer may give what goes again after something new.
            let new_first = self.late && cursor.next.is_multiple_of(2) && cursor.next <= stream.len() as u64;
            let again = cursor.again.first().copied().filter(|_| !new_first);
            let seq = again.unwrap_or(cursor.next);
            let record = usize::try_from(seq).ok().and_then(|seq| stream.get(seq.checked_sub(1)?));
            let Some(record) = record else { return Ok(()) };
            let bytes = 4 + usize::try_from(record.event % 7).unwrap_or(0);
            let own = record.from.is_none();
            if own && !cursor.custody.fits(bytes) {
                return Ok(());
            }
            if !cursor.again.remove(&seq) {
                cursor.next += 1;
            }
            if own {
                if !cursor.custody.sent(seq, bytes) {
                    return Err(format!("position {seq} is sent to {link} a second time"));
                }
                let load = cursor.custody.load();
                if load.messages > self.owed.messages || (load.messages > 1 && load.bytes > self.owed.bytes) {
                    return Err(format!("more is out than may be: {load:?} of {:?}", self.owed));
                }
                let frame = Frame::Event { room, event: record.event, at: Some(seq) };
                self.acts.push_back(Act::Send { connection, frame });
            }
        }
    }

    /// Saves how far a link came, as a consumer does now and then.
    pub fn save(&mut self) {
        for (key, cursor) in &self.cursors {
            if let Some(consumer) = self.consumers.get_mut(key) {
                consumer.saved = cursor.floor();
            }
        }
    }

    /// Has the machine of the links take something, and does what it wants done.
    pub fn link(&mut self, now: Moment, input: Input) -> Result<(), String> {
        if let Input::Accepted { connection, peer: Some(peer) }
        | Input::Dialled { outcome: Ok((connection, Some(peer))), .. } = &input
        {
            self.peers.insert(*connection, Arc::clone(peer));
        }
        self.links.handle(now, input);
        while let Some(output) = self.links.poll() {
            match output {
                Output::Dial { name, address } => self.acts.push_back(Act::Dial { name, address }),
                Output::Close { connection, why } => {
                    self.doubled += u64::from(why.word() == "doubled");
                    self.acts.push_back(Act::Close { connection, why: why.to_string() });
                }
                Output::Probe { connection } => {
                    self.acts.push_back(Act::Send { connection, frame: Frame::Ping });
                }
                Output::Up { connection, link, .. } => {
                    self.acts.push_back(Act::Say(format!("{}: {link} is up on {connection}", self.name)));
                    self.went_up(connection, &link)?;
                }
                Output::Down { connection, link, why } => {
                    self.acts.push_back(Act::Say(format!("{}: {link} is down on {connection}: {why}", self.name)));
                    self.interests.remove(connection);
                    for (_, cursor) in self.cursors.iter_mut().filter(|((name, _), _)| *name == link) {
                        cursor.again.extend(cursor.custody.lost());
                        self.again += cursor.again.len() as u64;
                    }
                }
            }
        }
        Ok(())
    }

    fn went_up(&mut self, connection: u64, link: &Arc<str>) -> Result<(), String> {
        let leg = Leg { class: Class::Hub, number: connection, connection, queue: None, hand: Hand::Hub };
        self.interests.add(leg, &patterns(&[String::from("room.>")])?);
        let rooms: Vec<(usize, u64)> = self.streams.iter().map(|(room, of)| (*room, of.len() as u64 + 1)).collect();
        for (room, start) in rooms {
            let key = (Arc::clone(link), room);
            self.consumers.entry(key.clone()).or_insert(Consumer { start, saved: start });
            let custody = Custody::new(self.owed);
            self.cursors.entry(key).or_insert(Cursor { custody, again: BTreeSet::new(), next: start });
            self.pump(link, room)?;
        }
        Ok(())
    }

    /// Takes a frame; closing is the world's.
    pub fn frame(&mut self, now: Moment, connection: u64, frame: Frame) -> Result<(), String> {
        let Some(peer) = self.peers.get(&connection).cloned() else { return Ok(()) };
        match frame {
            Frame::Event { room, event, at } => self.received(connection, peer, room, event, at),
            Frame::Acknowledged { room, seq } => {
                if let Some(cursor) = self.cursors.get_mut(&(Arc::clone(&peer), room)) {
                    cursor.custody.acknowledged(seq);
                    cursor.again.remove(&seq);
                }
                self.pump(&peer, room)
            }
            Frame::Ping => {
                self.acts.push_back(Act::Send { connection, frame: Frame::Pong });
                Ok(())
            }
            Frame::Pong => self.link(now, Input::Heard { connection }),
            Frame::Close | Frame::Closed => Ok(()),
        }
    }

    fn received(
        &mut self,
        connection: u64,
        peer: Arc<str>,
        room: usize,
        event: u64,
        at: Option<u64>,
    ) -> Result<(), String> {
        let kept = self.streams.contains_key(&room);
        if let Some(seq) = at
            && !self.seen.take(&peer, &subject(room), seq)
        {
            self.duplicates += 1;
            // While the first is being recorded, nothing is answered for; then each is, where it came by.
            let under_way = |each: &&mut Pending| each.peer == peer && each.room == room && each.at == at;
            match self.pending.iter_mut().find(under_way) {
                Some(pending) => pending.connections.push(connection),
                None => self.acknowledge(connection, room, seq),
            }
            return Ok(());
        }
        if kept {
            self.pending.push_back(Pending { connections: vec![connection], peer, room, event, at });
            self.acts.push_back(Act::Record);
            return Ok(());
        }
        self.acts.push_back(Act::Taken { event, at: at.is_some() });
        self.deliver(Class::Hub, room, event, true)?;
        if let Some(seq) = at {
            self.acknowledge(connection, room, seq);
        }
        Ok(())
    }

    /// Answers on the connection that it came by: where that is closed, the peer sends it again.
    fn acknowledge(&mut self, connection: u64, room: usize, seq: u64) {
        self.acts.push_back(Act::Send { connection, frame: Frame::Acknowledged { room, seq } });
    }

    /// The event of a peer that waits longest is recorded, or cannot be.
    pub fn record(&mut self, fails: bool) -> Result<(), String> {
        let Some(Pending { connections, peer, room, event, at }) = self.pending.pop_front() else { return Ok(()) };
        if fails {
            self.acts.push_back(match at {
                Some(seq) => {
                    self.seen.give_back(&peer, &subject(room), seq);
                    Act::Drop { peer }
                }
                None => Act::Refused { event },
            });
            return Ok(());
        }
        let stream = self.streams.get_mut(&room).ok_or("a room that is not kept")?;
        let new = at.is_none_or(|seq| self.recorded.insert((room, Arc::clone(&peer), seq)));
        if new {
            stream.push(Record { event, from: Some(Arc::clone(&peer)), seq: at.unwrap_or(0) });
            self.acts.push_back(Act::Taken { event, at: at.is_some() });
            self.deliver(Class::Hub, room, event, true)?;
            self.catch_up()?;
            self.pump_all(room)?;
        } else {
            self.duplicates += 1;
        }
        if let Some(seq) = at {
            connections.into_iter().for_each(|connection| self.acknowledge(connection, room, seq));
        }
        Ok(())
    }

    /// Whether nothing is under way or owed.
    pub fn is_quiet(&self) -> bool {
        let quiet = |((_, room), cursor): (&(Arc<str>, usize), &Cursor)| {
            let length = self.streams.get(room).map_or(0, Vec::len) as u64;
            cursor.custody.is_empty() && cursor.again.is_empty() && cursor.next > length
        };
        self.up && self.pending.is_empty() && self.cursors.iter().all(quiet)
    }
}

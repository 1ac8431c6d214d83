//! What surrounds the machine of a node: its clients, its connections, and the doing of what it says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use event::Moment;
use mesh::envelope::{Deliver, Envelope};
use mesh::names::LinkId;
use mesh::node::{FarGroup, Input, Leg, Node, Output, Refusal};
use mesh::plan::{LinkPlan, Plan};
use mesh::wire::{Note, Wish};

use crate::chance::Chance;

/// A message on its way: its number, and what all copies share.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// Its number.
    pub number: usize,
    /// Its subject.
    pub subject: &'static str,
}

/// What is on a connection.
#[derive(Debug, Clone)]
pub enum Frame {
    /// Of interests.
    Note(Vec<u8>),
    /// A copy of a message.
    Message(Vec<u8>, Message),
}

/// Somebody got a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Got {
    /// The message.
    pub number: usize,
    /// Where.
    pub node: usize,
    /// As a member of which group.
    pub queue: Option<Arc<str>>,
}

/// A node with its body.
pub struct Body {
    /// Its number.
    pub number: usize,
    /// The machine; `None` while the node is dead.
    pub node: Option<Node>,
    /// Its clients' wishes: they come back when it starts again.
    pub wishes: BTreeSet<Wish>,
    /// What the machine wants linked.
    pub links: Vec<LinkPlan>,
    /// Connections that are up here, each with its link.
    pub conns: BTreeMap<u64, LinkId>,
    /// Plans that are on their way.
    pub plans: Vec<Plan>,
    /// Its clock: as far off as it may be.
    pub clock: u64,
}

/// What a body did.
#[derive(Debug, Default)]
pub struct Done {
    /// Frames that went out.
    pub sent: VecDeque<(u64, Frame)>,
    /// Connections that it closed.
    pub closed: Vec<u64>,
    /// Messages that its clients got.
    pub got: Vec<Got>,
    /// Whole messages and wishes that were refused.
    pub refused: Vec<Refusal>,
}

impl Body {
    fn now(&mut self) -> Moment {
        self.clock = self.clock.wrapping_add(1_000);
        Moment::from_nanos(self.clock)
    }

    /// Hands the machine what happened, and does what it says.
    pub fn handle(&mut self, input: Input, done: &mut Done) {
        let now = self.now();
        let Some(node) = &mut self.node else { return };
        if let Input::Up { conn, link, .. } = &input {
            self.conns.insert(*conn, link.clone());
        }
        if let Input::Down { conn } = &input {
            self.conns.remove(conn);
        }
        node.handle(now, input);
        while let Some(output) = node.poll() {
            match output {
                Output::Send { conn, note } => {
                    let bytes = note.encode();
                    assert_eq!(Note::decode(&bytes).as_ref(), Ok(&note));
                    done.sent.push_back((conn, Frame::Note(bytes)));
                }
                Output::Close { conn, .. } => {
                    self.conns.remove(&conn);
                    done.closed.push(conn);
                }
                Output::Refused { why, .. } => done.refused.push(why),
                Output::Links { want } => self.links = want,
                Output::Touched(_) | Output::Report(_) => {}
            }
        }
    }

    /// Starts the node, with its clients.
    pub fn start(&mut self, id: &mesh::names::NodeId, seed: u64, done: &mut Done) {
        self.node = Some(Node::new(id.clone(), seed));
        self.links.clear();
        self.conns.clear();
        for wish in self.wishes.clone() {
            self.handle(Input::Local { wish, present: true }, done);
        }
    }

    /// A client publishes.
    pub fn publish(&mut self, message: Message, every: bool, chance: &mut Chance, done: &mut Done) {
        let Some(node) = &self.node else { return };
        let beyond = node.beyond(message.subject);
        let own = self.wanted(message.subject);
        if own.direct {
            done.got.push(Got { number: message.number, node: self.number, queue: None });
        }
        let mut groups: BTreeMap<Arc<str>, Option<&FarGroup>> =
            own.queues.iter().map(|queue| (Arc::clone(queue), None)).collect();
        groups.extend(beyond.groups.iter().map(|group| (Arc::clone(&group.queue), Some(group))));
        for (queue, far) in groups {
            let here = own.queues.contains(&queue);
            if here {
                done.got.push(Got { number: message.number, node: self.number, queue: Some(queue) });
            }
            match far {
                Some(far) if every => send(&far.everywhere, message, done),
                Some(far) if !here => one(far, message, chance, done),
                _ => {}
            }
        }
        send(&beyond.direct, message, done);
    }

    /// A copy of a message came.
    pub fn came(&mut self, conn: u64, head: &Envelope, message: Message, chance: &mut Chance, done: &mut Done) {
        let Some(node) = &self.node else { return };
        let onward = match node.judge(conn, head, message.subject) {
            Ok(onward) => onward,
            Err(why) => return done.refused.push(why),
        };
        let own = self.wanted(message.subject);
        if onward.here.direct && own.direct {
            done.got.push(Got { number: message.number, node: self.number, queue: None });
        }
        for queue in onward.here.queues.intersection(&own.queues) {
            done.got.push(Got { number: message.number, node: self.number, queue: Some(Arc::clone(queue)) });
        }
        for group in onward.groups.iter().filter(|group| !own.queues.contains(&group.queue)) {
            one(group, message, chance, done);
        }
        send(&onward.direct, message, done);
    }

    /// Who of this node's clients wants a subject.
    pub fn wanted(&self, subject: &str) -> Deliver {
        let mut wanted = Deliver::NOBODY;
        for wish in self.wishes.iter().filter(|wish| wish.pattern.matches(subject)) {
            match &wish.queue {
                Some(queue) => drop(wanted.queues.insert(Arc::clone(queue))),
                None => wanted.direct = true,
            }
        }
        wanted
    }
}

fn send(legs: &[Leg], message: Message, done: &mut Done) {
    for leg in legs {
        done.sent.push_back((leg.conn, Frame::Message(leg.envelope.encode(), message)));
    }
}

/// One of the nearest, now and then of those behind: as if the nearest had no room.
fn one(group: &FarGroup, message: Message, chance: &mut Chance, done: &mut Done) {
    let full = chance.happens(1, 8);
    let tier = if full { group.tiers.last() } else { group.tiers.first() };
    if let Some(leg) = tier.and_then(|tier| chance.pick(tier)) {
        send(std::slice::from_ref(leg), message, done);
    }
}

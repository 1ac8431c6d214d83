//! A gateway that lies: frames and wishes that it may not send.

use std::collections::BTreeSet;

use mesh::envelope::{Deliver, Envelope};
use mesh::names::Name;
use mesh::wire::{Note, Part, Source};

use super::body::{Frame, Message};
use super::story::{World, wish};
use crate::chance::Chance;

fn segment(chance: &mut Chance) -> Name {
    let names = ["s0", "s1", "s2", "s9"];
    Name::parse(chance.pick(&names).copied().unwrap_or("s0")).expect("a name")
}

fn domain(world: &World, chance: &mut Chance) -> Name {
    world.domains[chance.index(world.domains.len())].name.clone()
}

fn deliver(chance: &mut Chance) -> Deliver {
    let queues = if chance.happens(1, 3) { BTreeSet::from(["q".into()]) } else { BTreeSet::new() };
    Deliver { direct: queues.is_empty() || chance.happens(1, 2), queues }
}

/// Something that nobody asked for.
pub fn lie(world: &World, message: Message, chance: &mut Chance) -> Frame {
    if chance.happens(1, 3) {
        return Frame::Note(note(world, chance).encode());
    }
    let mut to: Vec<(Name, Deliver)> = Vec::new();
    for domain in &world.domains {
        if chance.happens(1, 2) {
            to.push((domain.name.clone(), deliver(chance)));
        }
    }
    let origin = world.nodes[chance.index(world.nodes.len())].clone();
    let name = Name::parse("n0").expect("a name");
    let envelope = Envelope {
        origin,
        segment: if chance.happens(9, 10) { Some(segment(chance)) } else { None },
        hops: u8::try_from(chance.below(40)).unwrap_or(0),
        every: chance.happens(1, 3),
        traced: false,
        here: if chance.happens(1, 4) { deliver(chance) } else { Deliver::NOBODY },
        nodes: if chance.happens(1, 4) { vec![(name, deliver(chance))] } else { Vec::new() },
        to,
    };
    Frame::Message(envelope.encode(), message)
}

fn note(world: &World, chance: &mut Chance) -> Note {
    let source = match chance.below(4) {
        0 => Source::Node(Name::parse("n0").expect("a name")),
        _ => Source::Domain { domain: domain(world, chance), segment: segment(chance) },
    };
    match chance.below(6) {
        0 => Note::Gone(vec![source]),
        1 => Note::Ask(vec![source]),
        2 => Note::Full,
        _ => {
            let add = vec![wish(">", None), wish("b.>", Some("q"))];
            Note::Wishes(vec![Part { source, anew: chance.happens(1, 2), add, remove: vec![wish("a", None)] }])
        }
    }
}

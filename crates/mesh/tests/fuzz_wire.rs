//! Strangers' bytes as notes, envelopes and plans: judged without panic; what is taken has one spelling. And whatever
//! notes and envelopes a neighbour sends, a node neither panics nor lets them out of the segment.
//!
//! Run with a fuzzer: `cargo bolero test -p mesh notes`. With `cargo test` each target takes a bounded number of
//! random inputs.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::sync::Arc;

use event::{Moment, Pattern};
use mesh::envelope::{Deliver, Envelope};
use mesh::names::{LinkId, Name, NodeId};
use mesh::node::{Input, Node, Output};
use mesh::plan::{AclRule, Generation, LinkKind, LinkPlan, Plan, SegmentPlan, Shape, Who};
use mesh::wire::{Note, Part, Source, Wish};

/// Inputs of each target with `cargo test`: a second or so.
const ITERATIONS: usize = 40_000;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn wish(text: &str, queue: Option<&str>) -> Wish {
    Wish { pattern: Pattern::parse(text).unwrap(), queue: queue.map(Into::into) }
}

/// Numbers that bytes decide.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*byte) % bound.max(1)
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn some<T>(&mut self, most: usize, mut each: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most)).map(|_| each(self)).collect()
    }
}

fn domain(choices: &mut Choices<'_>) -> Name {
    name(choices.of(&["a", "b", "c", "d", "e"]))
}

fn segment(choices: &mut Choices<'_>) -> Name {
    name(choices.of(&["s", "t", "u"]))
}

fn source(choices: &mut Choices<'_>) -> Source {
    match choices.below(3) {
        0 => Source::Node(name(choices.of(&["1", "2", "3"]))),
        _ => Source::Domain { domain: domain(choices), segment: segment(choices) },
    }
}

fn some_wish(choices: &mut Choices<'_>) -> Wish {
    let pattern = choices.of(&[">", "a", "a.*", "a.b", "*.b", "b.>", "*"]);
    let queue = choices.of(&[None, Some("q"), Some("")]);
    wish(pattern, queue)
}

fn note(choices: &mut Choices<'_>) -> Note {
    match choices.below(6) {
        0 => Note::Gone(choices.some(4, source)),
        1 => Note::Ask(choices.some(4, source)),
        2 => Note::Full,
        _ => Note::Wishes(choices.some(4, |choices| Part {
            source: source(choices),
            anew: choices.below(2) == 0,
            add: choices.some(5, some_wish),
            remove: choices.some(5, some_wish),
        })),
    }
}

fn deliver(choices: &mut Choices<'_>) -> Deliver {
    let queues = choices.some(3, |choices| Arc::from(choices.of(&["q", "r"])));
    Deliver { direct: queues.is_empty() || choices.below(2) == 0, queues: queues.into_iter().collect() }
}

fn destinations(choices: &mut Choices<'_>) -> Vec<(Name, Deliver)> {
    let names: BTreeSet<Name> = choices.some(5, domain).into_iter().collect();
    names.into_iter().map(|name| (name, deliver(choices))).collect()
}

fn envelope(choices: &mut Choices<'_>) -> Envelope {
    Envelope {
        origin: NodeId::new(domain(choices), name(choices.of(&["1", "2", "3"]))),
        segment: if choices.below(8) == 0 { None } else { Some(segment(choices)) },
        hops: u8::try_from(choices.below(40)).unwrap(),
        every: choices.below(2) == 0,
        traced: choices.below(2) == 0,
        here: if choices.below(3) == 0 { deliver(choices) } else { Deliver::NOBODY },
        nodes: if choices.below(3) == 0 { vec![(name("1"), deliver(choices))] } else { Vec::new() },
        to: destinations(choices),
    }
}

fn plan(choices: &mut Choices<'_>) -> Plan {
    let who = |choices: &mut Choices<'_>| match choices.below(4) {
        0 => Who::Anyone,
        1 => Who::Domain(domain(choices)),
        2 => Who::Principal("token:x".into()),
        _ => Who::Member(domain(choices), "token:y".into()),
    };
    let rule = |choices: &mut Choices<'_>| AclRule {
        name: "rule".into(),
        subjects: choices.some(3, |choices| some_wish(choices).pattern),
        publish: Some(choices.some(3, who)).filter(|list| !list.is_empty()),
        subscribe: Some(choices.some(3, who)).filter(|list| list.len() != 1),
    };
    let link = |choices: &mut Choices<'_>| {
        let (domain, number) = (domain(choices), choices.below(9));
        LinkPlan {
            id: LinkId::parse(&format!("link {number}")).unwrap(),
            kind: choices.of(&[LinkKind::Peer, LinkKind::Remote]),
            domain,
            node: Some(name("1")).filter(|_| choices.below(2) == 0),
            dial: Some("there:7200".into()).filter(|_| choices.below(2) == 0),
            key: [u8::try_from(choices.below(256)).unwrap(); 32],
            segments: choices.some(3, segment),
        }
    };
    Plan {
        generation: Generation { epoch: 1, number: choices.below(9) as u64 },
        segments: choices.some(3, |choices| {
            let edges = choices.some(6, |choices| (domain(choices), domain(choices), 1));
            let domains = ["a", "b", "c", "d"].map(name).to_vec();
            Arc::new(SegmentPlan { name: segment(choices), domains, edges })
        }),
        shape: if choices.below(2) == 0 { Shape::FullMesh } else { Shape::Hub(name(choices.of(&["1", "2"]))) },
        gateways: choices.some(3, |choices| (domain(choices), NodeId::new(name("a"), name(choices.of(&["1", "2"]))))),
        links: choices.some(5, link),
        acl: choices.some(3, rule).into(),
        standing: choices.some(3, |choices| some_wish(choices).pattern),
    }
}

#[test]
fn notes() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|bytes: &[u8]| {
        if let Ok(note) = Note::decode(bytes) {
            assert_eq!(note.encode(), bytes);
        }
        let note = note(&mut Choices(bytes));
        assert_eq!(Note::decode(&note.encode()), Ok(note));
    });
}

#[test]
fn envelopes() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|bytes: &[u8]| {
        if let Ok(envelope) = Envelope::decode(bytes) {
            assert_eq!(envelope.encode(), bytes);
        }
        let envelope = envelope(&mut Choices(bytes));
        assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
    });
}

#[test]
fn plans() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|bytes: &[u8]| {
        if let Ok(plan) = Plan::decode(bytes) {
            assert_eq!(plan.encode(), bytes);
        }
        let plan = plan(&mut Choices(bytes));
        assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
    });
}

/// Bytes that are nearly right: one of a good note is changed.
#[test]
fn damaged_bytes() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|bytes: &[u8]| {
        let choices = &mut Choices(bytes);
        let mut damaged = match choices.below(3) {
            0 => note(choices).encode(),
            1 => envelope(choices).encode(),
            _ => plan(choices).encode(),
        };
        let place = choices.below(damaged.len());
        damaged[place] ^= 1 << choices.below(8);
        if let Ok(note) = Note::decode(&damaged) {
            assert_eq!(note.encode(), damaged);
        }
        if let Ok(envelope) = Envelope::decode(&damaged) {
            assert_eq!(envelope.encode(), damaged);
        }
        if let Ok(plan) = Plan::decode(&damaged) {
            assert_eq!(plan.encode(), damaged);
        }
    });
}

/// The gateway of domain b holds a link to a in segment s, and one to c in segment t. Whatever a sends, nothing of it
/// goes to c, and what it wants is not asked of c.
#[test]
fn a_rogue_neighbour() {
    bolero::check!().with_iterations(ITERATIONS / 4).for_each(|bytes: &[u8]| {
        let choices = &mut Choices(bytes);
        let mut node = between();
        for _ in 0..8 {
            node.handle(Moment::EPOCH, Input::Heard { conn: 1, note: note(choices) });
            node.handle(Moment::EPOCH, Input::Room { conn: 2 });
            while let Some(output) = node.poll() {
                let Output::Send { conn: 2, note: Note::Wishes(parts) } = output else { continue };
                let own = Source::Domain { domain: name("b"), segment: name("t") };
                assert!(parts.iter().all(|part| part.source == own && part.remove.is_empty()), "{parts:?}");
            }
            if let Ok(onward) = node.judge(1, &envelope(choices), "a.b") {
                assert!(onward.direct.iter().all(|leg| leg.conn == 3));
                assert!(onward.groups.iter().flat_map(|group| group.tiers.iter().flatten()).all(|leg| leg.conn == 3));
            }
        }
    });
}

fn between() -> Node {
    let mut node = Node::new(NodeId::new(name("b"), name("1")), 1);
    let link = |id: &str, kind, domain: &str, peer: &str, segments: &[&str]| LinkPlan {
        id: LinkId::parse(id).unwrap(),
        kind,
        domain: name(domain),
        node: Some(name(peer)),
        dial: None,
        key: [0; 32],
        segments: segments.iter().map(|text| name(text)).collect(),
    };
    let part = |segment: &str, domains: [&str; 2]| {
        let [one, two] = domains.map(name);
        let edges = vec![(one.clone(), two.clone(), 1)];
        Arc::new(SegmentPlan { name: name(segment), domains: vec![one, two], edges })
    };
    let plan = Plan {
        generation: Generation { epoch: 1, number: 1 },
        segments: vec![part("s", ["a", "b"]), part("t", ["b", "c"])],
        links: vec![
            link("1", LinkKind::Remote, "a", "1", &["s"]),
            link("2", LinkKind::Remote, "c", "1", &["t"]),
            link("3", LinkKind::Peer, "b", "2", &[]),
        ],
        ..Plan::default()
    };
    node.handle(Moment::EPOCH, Input::Plan(plan));
    for (conn, peer) in [(1, "a/1"), (2, "c/1"), (3, "b/2")] {
        let link = LinkId::parse(&conn.to_string()).unwrap();
        let peer = NodeId::parse(peer).unwrap();
        node.handle(Moment::EPOCH, Input::Up { conn, link, peer, dialled: false });
    }
    let part = Part { source: Source::Node(name("2")), anew: true, add: vec![wish(">", None)], remove: vec![] };
    node.handle(Moment::EPOCH, Input::Heard { conn: 3, note: Note::Wishes(vec![part]) });
    while node.poll().is_some() {}
    node
}

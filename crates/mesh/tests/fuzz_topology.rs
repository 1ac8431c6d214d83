//! Fuzz target: topology documents, edits of them, and what they come to.
//!
//! Run with a fuzzer: `cargo bolero test -p mesh topologies`. With `cargo test` it takes its corpus and a number of
//! made-up inputs. Each byte picks a step of making a document: names that are good, bad, templates, too long.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

use mesh::names::Name;
use mesh::proof::{Reach, diff, explain, prove};
use mesh::segment::{Edit, edit};
use mesh::topology::{Adjacent, Document, Mode, SegmentText, Topology};
use mesh::tree::Graph;

const ITERATIONS: usize = 4_000;

/// What a document's texts are made of.
const TEXTS: [&str; 20] = [
    "a",
    "b",
    "c",
    "d",
    "*",
    "$domain",
    "s-$domain",
    "$domain-$domain",
    "default",
    "",
    "A",
    "a b",
    "é",
    "$",
    "**",
    "domain$",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-$domain",
    "e",
    "s1",
    "s2",
];

/// Bytes that are taken one by one; zeros when there are none.
struct Taken<'a>(&'a [u8]);

impl Taken<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*byte) % bound.max(1)
    }

    fn text(&mut self) -> String {
        match self.below(40) {
            39 => "x".repeat(10_000),
            // Mostly what is good, so that documents come through.
            number if number >= TEXTS.len() => TEXTS[number % 5].to_owned(),
            number => TEXTS[number].to_owned(),
        }
    }

    fn rows(&mut self) -> Vec<Adjacent> {
        (0..self.below(4))
            .map(|_| Adjacent {
                domain: self.text(),
                neighbors: (0..self.below(4)).map(|_| self.text()).collect(),
                weight: u32::try_from(self.below(8)).unwrap(),
            })
            .collect()
    }

    fn segment(&mut self) -> SegmentText {
        SegmentText { name: self.text(), links: self.rows() }
    }

    fn pairs(&mut self) -> Vec<(String, String)> {
        (0..self.below(3)).map(|_| (self.text(), self.text())).collect()
    }

    fn document(&mut self) -> Document {
        let links = if self.below(3) == 0 { self.rows() } else { Vec::new() };
        let segments = (0..self.below(4)).map(|_| self.segment()).collect();
        Document { links, segments, never: self.pairs(), always: self.pairs() }
    }
}

fn domains(text: &str) -> BTreeSet<Name> {
    text.split_whitespace().map(|name| Name::parse(name).unwrap()).collect()
}

/// What a good topology comes to is in order, and two domains reach each other exactly if a tree says so.
fn check(topology: &Topology, known: &BTreeSet<Name>) {
    let (segments, _) = topology.expand(known);
    for segment in segments.all() {
        assert!(segment.domains.is_sorted() && segment.edges.is_sorted());
        for (one, two, weight) in &segment.edges {
            assert!(one < two && *weight > 0);
            assert!([one, two].into_iter().all(|name| segment.domains.contains(name) && known.contains(name)));
        }
    }
    let reach = Reach::of(&segments, known);
    for one in known {
        for two in known {
            let tree = segments.of(one).any(|segment| {
                let tree = Graph::new(&segment.domains, &segment.edges).tree(one);
                tree.is_some_and(|tree| tree.distance(two).is_some())
            });
            assert_eq!(reach.reaches(one, two), tree || one == two, "{one} {two}");
            assert_eq!(reach.witness(one, two).is_some(), tree);
            let _ = explain(&reach, one, two).to_string();
        }
    }
    let nothing = Reach::of(&mesh::segment::Segments::default(), known);
    let gained = diff(&nothing, &reach);
    assert!(gained.iter().all(|change| change.gained && change.from < change.to));
    assert_eq!(gained.len(), diff(&reach, &nothing).len());
    let proof = prove((&nothing, &[]), (&reach, &[]), topology.invariants());
    proof.broken.iter().for_each(|(broken, _)| drop(broken.to_string()));
}

#[test]
fn topologies() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|bytes: &[u8]| {
        let mut taken = Taken(bytes);
        let document = taken.document();
        let known = domains("a b c d");
        for all in [None, Some(&known)] {
            match Topology::check(&document, &[], all) {
                Ok(topology) => check(&topology, &known),
                Err(error) => assert!(error.to_string().len() < 1_000),
            }
        }
        let mut segments = Vec::new();
        for _ in 0..taken.below(8) {
            let change = match taken.below(4) {
                0 => Edit::AddSegment(taken.segment()),
                1 => Edit::RemoveSegment(taken.text()),
                number => {
                    let segment = (taken.below(2) == 0).then(|| taken.text());
                    let (domain, neighbor) = (taken.text(), taken.text());
                    if number == 2 {
                        Edit::AddLink { segment, domain, neighbor, weight: 1 }
                    } else {
                        Edit::RemoveLink { segment, domain, neighbor }
                    }
                }
            };
            let before = segments.clone();
            match edit(Mode::Edited, &mut segments, change.clone()) {
                Ok(changed) => {
                    assert_eq!(changed, before != segments, "{change:?}");
                    let topology = Topology::check(&Document::default(), &segments, None).unwrap();
                    check(&topology, &known);
                }
                Err(error) => {
                    assert_eq!(before, segments, "what is refused changes nothing: {error}");
                }
            }
        }
    });
}

//! Shortest path trees over the domains of a segment.
//!
//! A [`Graph`] is made of a segment's domains and the edges between them; [`Graph::tree`] gives the tree of
//! shortest paths from one of them. Every node that holds the same graph computes the same tree, on any machine
//! and in any run, so that what one node sends by it the next expects by it: a path is chosen by its weight, then
//! by its number of hops, then by the smallest name of the domain before the last, and so on towards the root.
//!
//! It is not a routing protocol: it knows no links, no nodes, and nothing of what is up.
//!
//! Invariants:
//! - the order in which domains and edges are given changes nothing.
//! - what is on a tree's path to a domain is that path for every domain on it.
//!
//! Sources: E. W. Dijkstra, "A note on two problems in connexion with graphs" (1959).
//! Costs: a tree takes O((domains + edges) log domains), 4 bytes a domain for parents and 16 for distances; a
//! parent is one binary search over the names.

use alloc::collections::BinaryHeap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::names::Name;

/// Marks a domain that has no parent: the root, or one that cannot be reached.
const NOBODY: u32 = u32::MAX;

/// The domains of a segment, and which of them are neighbours.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Sorted; an index into it stands for a domain everywhere below.
    names: Arc<[Name]>,
    /// Where each domain's neighbours begin in `near`; one more than there are domains.
    starts: Vec<u32>,
    /// Neighbour and weight, sorted by neighbour.
    near: Vec<(u32, u32)>,
}

/// The shortest paths from one domain to all others.
#[derive(Debug, Clone)]
pub struct Tree {
    names: Arc<[Name]>,
    root: u32,
    /// By domain: the domain before it.
    parents: Vec<u32>,
    /// By domain; of those that cannot be reached, without meaning.
    distances: Vec<Distance>,
}

/// How far a domain is from the root. Orders by weight, then by hops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance {
    /// The sum of the weights on the path.
    pub weight: u64,
    /// The number of edges on it.
    pub hops: u32,
}

impl Graph {
    /// The graph of these domains. An edge is walked both ways; one whose end is not among the domains, or that
    /// leads back to where it begins, is left out; of two between the same domains the lighter counts; a weight of
    /// 0 counts as 1.
    pub fn new(domains: &[Name], edges: &[(Name, Name, u32)]) -> Self {
        let mut names = domains.to_vec();
        names.sort_unstable();
        names.dedup();
        let names: Arc<[Name]> = names.into();
        let mut ways = Vec::with_capacity(edges.len().saturating_mul(2));
        for (one, two, weight) in edges {
            let (Some(one), Some(two)) = (place(&names, one), place(&names, two)) else { continue };
            if one != two {
                ways.push((one, two, (*weight).max(1)));
                ways.push((two, one, (*weight).max(1)));
            }
        }
        ways.sort_unstable();
        ways.dedup_by_key(|(from, to, _)| (*from, *to));
        let mut starts = vec![0_u32; names.len() + 1];
        for (from, _, _) in &ways {
            if let Some(count) = starts.get_mut(*from as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        Graph { names, starts, near: ways.into_iter().map(|(_, to, weight)| (to, weight)).collect() }
    }

    /// The domains, sorted.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// The neighbours of a domain, with the weight of the edge, sorted by name. None of a domain that is not here.
    pub fn neighbours<'a>(&'a self, domain: &Name) -> impl Iterator<Item = (&'a Name, u32)> + use<'a> {
        let near = place(&self.names, domain).map(|place| self.near(place)).unwrap_or_default();
        near.iter().filter_map(|(to, weight)| Some((self.names.get(*to as usize)?, *weight)))
    }

    /// Whether two domains are neighbours.
    pub fn adjacent(&self, one: &Name, two: &Name) -> bool {
        let (Some(one), Some(two)) = (place(&self.names, one), place(&self.names, two)) else { return false };
        self.near(one).binary_search_by_key(&two, |(to, _)| *to).is_ok()
    }

    /// The tree of shortest paths from a domain; `None` where it is not here.
    pub fn tree(&self, root: &Name) -> Option<Tree> {
        let root = place(&self.names, root)?;
        let count = self.names.len();
        let far = Distance { weight: u64::MAX, hops: u32::MAX };
        let mut distances = vec![far; count];
        let mut parents = vec![NOBODY; count];
        let mut open = BinaryHeap::new();
        if let Some(distance) = distances.get_mut(root as usize) {
            *distance = Distance::default();
        }
        open.push(Reverse((Distance::default(), root)));
        while let Some(Reverse((distance, at))) = open.pop() {
            if distances.get(at as usize).is_none_or(|known| *known < distance) {
                continue;
            }
            for (to, weight) in self.near(at) {
                let through = Distance {
                    weight: distance.weight.saturating_add(u64::from(*weight)),
                    hops: distance.hops.saturating_add(1),
                };
                let (Some(known), Some(parent)) = (distances.get_mut(*to as usize), parents.get_mut(*to as usize))
                else {
                    continue;
                };
                if through < *known {
                    (*known, *parent) = (through, at);
                    open.push(Reverse((through, *to)));
                } else if through == *known && at < *parent {
                    *parent = at;
                }
            }
        }
        Some(Tree { names: Arc::clone(&self.names), root, parents, distances })
    }

    fn near(&self, at: u32) -> &[(u32, u32)] {
        let bound = |place: usize| self.starts.get(place).map_or(0, |start| *start as usize);
        self.near.get(bound(at as usize)..bound(at as usize + 1)).unwrap_or_default()
    }
}

impl Tree {
    /// Where all paths begin.
    pub fn root(&self) -> Option<&Name> {
        self.names.get(self.root as usize)
    }

    /// The domain before this one on the path from the root. `None` for the root itself, and for one that cannot be
    /// reached.
    pub fn parent(&self, domain: &Name) -> Option<&Name> {
        self.name(self.above(place(&self.names, domain)?)?)
    }

    /// The domain after `at` on the path from the root to `to`: where what came to `at` goes next. `None` where `to`
    /// does not lie below `at`.
    pub fn next(&self, at: &Name, to: &Name) -> Option<&Name> {
        let at = place(&self.names, at)?;
        let mut below = place(&self.names, to)?;
        loop {
            let above = self.above(below)?;
            if above == at {
                return self.name(below);
            }
            below = above;
        }
    }

    /// How far a domain is from the root; `None` where it cannot be reached.
    pub fn distance(&self, domain: &Name) -> Option<Distance> {
        let place = place(&self.names, domain)?;
        let reached = place == self.root || self.above(place).is_some();
        self.distances.get(place as usize).copied().filter(|_| reached)
    }

    /// The domains on the way from the root to this one, both included; empty where it cannot be reached.
    pub fn path(&self, domain: &Name) -> Vec<&Name> {
        let mut path = Vec::new();
        let mut at = place(&self.names, domain).filter(|_| self.distance(domain).is_some());
        while let Some(place) = at {
            path.extend(self.name(place));
            at = self.above(place);
        }
        path.reverse();
        path
    }

    /// The domains that can be reached, sorted; the root is one of them.
    pub fn reached(&self) -> impl Iterator<Item = &Name> {
        self.names.iter().filter(|name| self.distance(name).is_some())
    }

    fn above(&self, place: u32) -> Option<u32> {
        self.parents.get(place as usize).copied().filter(|parent| *parent != NOBODY)
    }

    fn name(&self, place: u32) -> Option<&Name> {
        self.names.get(place as usize)
    }
}

fn place(names: &[Name], name: &Name) -> Option<u32> {
    names.binary_search(name).ok().and_then(|place| u32::try_from(place).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// A graph from a text such as `a-b a-c:5`.
    fn graph(text: &str) -> Graph {
        let edges: Vec<_> = text
            .split_whitespace()
            .map(|edge| {
                let (edge, weight) = edge.split_once(':').unwrap_or((edge, "1"));
                let (one, two) = edge.split_once('-').unwrap();
                (name(one), name(two), weight.parse().unwrap())
            })
            .collect();
        let domains: Vec<_> = edges.iter().flat_map(|(one, two, _)| [one.clone(), two.clone()]).collect();
        Graph::new(&domains, &edges)
    }

    /// The path from one domain to another, as a text.
    fn check(edges: &str, from: &str, to: &str) -> String {
        let graph = graph(edges);
        let tree = graph.tree(&name(from)).unwrap();
        tree.path(&name(to)).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_lightest_path_is_taken_then_the_shortest_then_the_smallest_names() {
        assert_eq!(check("a-b b-c a-c:5", "a", "c"), "a b c");
        assert_eq!(check("a-b b-c a-c:2", "a", "c"), "a c");
        assert_eq!(check("a-x a-b x-z b-z", "a", "z"), "a b z");
        assert_eq!(check("a-b:0 b-c:0 a-c:0", "a", "c"), "a c");
    }

    #[test]
    fn what_cannot_be_reached_has_no_path() {
        assert_eq!(check("a-b c-d", "a", "d"), "");
        let tree = graph("a-b c-d").tree(&name("a")).unwrap();
        assert_eq!(tree.distance(&name("d")), None);
        assert_eq!(tree.distance(&name("a")), Some(Distance::default()));
        assert_eq!(tree.reached().count(), 2);
        assert!(graph("a-b").tree(&name("q")).is_none());
    }

    #[test]
    fn the_next_domain_lies_on_the_path() {
        let tree = graph("a-b b-c c-d b-e").tree(&name("a")).unwrap();
        assert_eq!(tree.next(&name("b"), &name("d")), Some(&name("c")));
        assert_eq!(tree.next(&name("b"), &name("e")), Some(&name("e")));
        assert_eq!(tree.next(&name("c"), &name("e")), None);
        assert_eq!(tree.next(&name("a"), &name("a")), None);
        assert_eq!(tree.parent(&name("d")), Some(&name("c")));
        assert_eq!(tree.parent(&name("a")), None);
    }

    fn edges() -> impl Strategy<Value = Vec<(u8, u8, u32)>> {
        proptest::collection::vec((0_u8..9, 0_u8..9, 0_u32..4), 0..30)
    }

    fn named(edges: &[(u8, u8, u32)]) -> Vec<(Name, Name, u32)> {
        let domain = |number: u8| name(&format!("d{number}"));
        edges.iter().map(|(one, two, weight)| (domain(*one), domain(*two), *weight)).collect()
    }

    proptest! {
        #[test]
        fn trees_do_not_depend_on_the_order_of_edges(edges in edges(), turn in 0_usize..30) {
            let domains: Vec<_> = (0..9).map(|number| name(&format!("d{number}"))).collect();
            let straight = named(&edges);
            let mut turned: Vec<_> = straight.iter().map(|(one, two, weight)| (two.clone(), one.clone(), *weight)).collect();
            let middle = turn.min(turned.len());
            turned.rotate_left(middle);
            let (one, two) = (Graph::new(&domains, &straight), Graph::new(&domains, &turned));
            for root in &domains {
                let (one, two) = (one.tree(root).unwrap(), two.tree(root).unwrap());
                prop_assert_eq!(&one.parents, &two.parents);
            }
        }

        /// The oracle is Bellman and Ford's: relax every edge until nothing changes.
        #[test]
        fn distances_are_those_of_a_simple_model(edges in edges()) {
            let domains: Vec<_> = (0..9).map(|number| name(&format!("d{number}"))).collect();
            let edges = named(&edges);
            let graph = Graph::new(&domains, &edges);
            for root in &domains {
                let tree = graph.tree(root).unwrap();
                let mut model = alloc::collections::BTreeMap::from([(root.clone(), (0_u64, 0_u32))]);
                for _ in 0..domains.len() {
                    for (one, two, weight) in edges.iter().flat_map(|(a, b, w)| [(a, b, w), (b, a, w)]) {
                        let Some((far, hops)) = model.get(one).copied() else { continue };
                        let through = (far + u64::from((*weight).max(1)), hops + 1);
                        let known = model.entry(two.clone()).or_insert(through);
                        *known = (*known).min(through);
                    }
                }
                for domain in &domains {
                    let expected = model.get(domain).map(|(weight, hops)| Distance { weight: *weight, hops: *hops });
                    prop_assert_eq!(tree.distance(domain), expected);
                    let path = tree.path(domain);
                    prop_assert!(path.windows(2).all(|pair| graph.adjacent(pair[0], pair[1])));
                    prop_assert_eq!(path.len(), expected.map_or(0, |distance| distance.hops as usize + 1));
                }
            }
        }
    }
}

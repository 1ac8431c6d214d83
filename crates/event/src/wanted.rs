//! Who wants a subject: a set of patterns, each with a value, matched in one walk.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::Pattern;

/// A set of `(pattern, value)` pairs that answers which values a subject is wanted by.
///
/// A trie by token. A match walks at most `2^wildcards` paths of the subject's depth, so its cost
/// follows what could match, not how many pairs there are. The same pair counts once.
#[derive(Debug, Clone)]
pub struct Wanted<T> {
    root: Node<T>,
    pairs: usize,
}

#[derive(Debug, Clone)]
struct Node<T> {
    literal: BTreeMap<Box<str>, Node<T>>,
    one: Option<Box<Node<T>>>,
    here: Vec<T>,
    tail: Vec<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node { literal: BTreeMap::new(), one: None, here: Vec::new(), tail: Vec::new() }
    }
}

impl<T> Default for Wanted<T> {
    fn default() -> Self {
        Wanted { root: Node::default(), pairs: 0 }
    }
}

impl<T: Clone + PartialEq> Wanted<T> {
    /// How many pairs are in the set.
    pub fn len(&self) -> usize {
        self.pairs
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    /// Adds a pair; `false` where it was there already.
    pub fn insert(&mut self, pattern: &Pattern, value: T) -> bool {
        let (node, tail) = self.place(pattern);
        let values = if tail { &mut node.tail } else { &mut node.here };
        let new = !values.contains(&value);
        if new {
            values.push(value);
            self.pairs += 1;
        }
        new
    }

    /// Adds a pair that the caller knows is not there: costs the pattern's depth, however many
    /// values the pattern has.
    pub fn add(&mut self, pattern: &Pattern, value: T) {
        let (node, tail) = self.place(pattern);
        let values = if tail { &mut node.tail } else { &mut node.here };
        values.push(value);
        self.pairs += 1;
    }

    fn place(&mut self, pattern: &Pattern) -> (&mut Node<T>, bool) {
        let mut node = &mut self.root;
        let mut tail = false;
        for token in pattern.tokens() {
            match token {
                ">" => tail = true,
                "*" => node = node.one.get_or_insert_with(Box::default),
                literal => node = node.literal.entry(literal.into()).or_default(),
            }
        }
        (node, tail)
    }

    /// Takes a pair out; `false` where it was not there. Branches left empty go with it.
    pub fn remove(&mut self, pattern: &Pattern, value: &T) -> bool {
        let tokens: Vec<String> = pattern.tokens().map(ToString::to_string).collect();
        let removed = self.root.remove(&tokens, value);
        self.pairs -= usize::from(removed);
        removed
    }

    /// Calls `found` for each value whose pattern matches; a value under several patterns comes
    /// once for each.
    pub fn each(&self, subject: &str, found: &mut impl FnMut(&T)) {
        self.root.each(Some(subject), found);
    }

    /// Calls `found` for each value whose pattern overlaps another; one under several patterns comes
    /// once for each. Costs a walk of the branches that the pattern may meet.
    pub fn each_overlapping(&self, pattern: &Pattern, found: &mut impl FnMut(&T)) {
        let tokens: Vec<&str> = pattern.tokens().collect();
        self.root.each_overlapping(&tokens, found);
    }

    /// As [`Wanted::each`]; whether every subject that differs in its last token alone is wanted by the
    /// same: no pattern names that token.
    pub fn each_alike(&self, subject: &str, found: &mut impl FnMut(&T)) -> bool {
        self.root.each_alike(subject, found)
    }

    /// Whether any pattern matches.
    pub fn any(&self, subject: &str) -> bool {
        let mut any = false;
        self.each(subject, &mut |_| any = true);
        any
    }
}

impl<T: Clone + PartialEq> Node<T> {
    fn is_bare(&self) -> bool {
        self.literal.is_empty() && self.one.is_none() && self.here.is_empty() && self.tail.is_empty()
    }

    fn remove(&mut self, tokens: &[String], value: &T) -> bool {
        let take = |values: &mut Vec<T>| {
            let place = values.iter().position(|each| each == value);
            place.map(|place| values.swap_remove(place)).is_some()
        };
        let Some((token, rest)) = tokens.split_first() else {
            return take(&mut self.here);
        };
        match token.as_str() {
            ">" => take(&mut self.tail),
            "*" => {
                let removed = self.one.as_mut().is_some_and(|node| node.remove(rest, value));
                if self.one.as_ref().is_some_and(|node| node.is_bare()) {
                    self.one = None;
                }
                removed
            }
            literal => {
                let removed = self.literal.get_mut(literal).is_some_and(|node| node.remove(rest, value));
                if self.literal.get(literal).is_some_and(Node::is_bare) {
                    self.literal.remove(literal);
                }
                removed
            }
        }
    }

    fn all(&self, found: &mut impl FnMut(&T)) {
        self.here.iter().chain(&self.tail).for_each(&mut *found);
        self.literal.values().chain(self.one.as_deref()).for_each(|node| node.all(found));
    }

    fn each_overlapping(&self, tokens: &[&str], found: &mut impl FnMut(&T)) {
        let Some((token, rest)) = tokens.split_first() else {
            self.here.iter().for_each(found);
            return;
        };
        // A tail takes one token or more, and so does what is left of the other.
        self.tail.iter().for_each(&mut *found);
        match *token {
            ">" => self.literal.values().chain(self.one.as_deref()).for_each(|node| node.all(found)),
            "*" => self.literal.values().for_each(|node| node.each_overlapping(rest, found)),
            literal => {
                if let Some(node) = self.literal.get(literal) {
                    node.each_overlapping(rest, found);
                }
            }
        }
        if let Some(node) = self.one.as_ref().filter(|_| *token != ">") {
            node.each_overlapping(rest, found);
        }
    }

    fn each_alike(&self, rest: &str, found: &mut impl FnMut(&T)) -> bool {
        let Some((token, rest)) = rest.split_once('.') else {
            self.each(Some(rest), found);
            return self.literal.is_empty();
        };
        self.tail.iter().for_each(&mut *found);
        let mut alike = true;
        if let Some(node) = self.literal.get(token) {
            alike &= node.each_alike(rest, found);
        }
        if let Some(node) = &self.one {
            alike &= node.each_alike(rest, found);
        }
        alike
    }

    fn each(&self, rest: Option<&str>, found: &mut impl FnMut(&T)) {
        let Some(rest) = rest else {
            self.here.iter().for_each(found);
            return;
        };
        self.tail.iter().for_each(&mut *found);
        let (token, rest) = match rest.split_once('.') {
            Some((token, rest)) => (token, Some(rest)),
            None => (rest, None),
        };
        if let Some(node) = self.literal.get(token) {
            node.each(rest, found);
        }
        if let Some(node) = &self.one {
            node.each(rest, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pair_counts_once_and_leaves_nothing_behind() {
        let mut wanted = Wanted::default();
        let pattern = Pattern::parse("a.*.>").unwrap();
        assert!(wanted.insert(&pattern, 1));
        assert!(!wanted.insert(&pattern, 1));
        assert!(wanted.any("a.b.c"));
        assert!(wanted.remove(&pattern, &1));
        assert!(!wanted.remove(&pattern, &1));
        assert!(wanted.is_empty() && wanted.root.is_bare());
    }

    proptest! {
        #[test]
        fn agrees_with_asking_each_pattern(
            patterns in proptest::collection::vec("[ab*](\\.[ab*]){0,3}(\\.>)?", 0..12),
            subject in "[ab](\\.[ab]){0,4}",
            other in "[ab*](\\.[ab*]){0,3}(\\.>)?",
        ) {
            let mut wanted = Wanted::default();
            let mut expected = Vec::new();
            for (value, text) in patterns.iter().enumerate() {
                let pattern = Pattern::parse(text).unwrap();
                wanted.insert(&pattern, value);
                if pattern.matches(&subject) {
                    expected.push(value);
                }
            }
            let other = Pattern::parse(&other).unwrap();
            let expected_over: Vec<usize> = patterns.iter().enumerate()
                .filter(|(_, text)| Pattern::parse(text).unwrap().overlaps(&other)).map(|(value, _)| value).collect();
            let mut over = Vec::new();
            wanted.each_overlapping(&other, &mut |value| over.push(*value));
            over.sort_unstable();
            prop_assert_eq!(over, expected_over);
            let found = |subject: &str| {
                let mut found = Vec::new();
                let alike = wanted.each_alike(subject, &mut |value| found.push(*value));
                found.sort_unstable();
                (found, alike)
            };
            let (values, alike) = found(&subject);
            prop_assert_eq!(&values, &expected);
            if alike {
                let before = subject.rsplit_once('.').map_or("", |(before, _)| before);
                for last in ["a", "b", "c"] {
                    let other = [before, last].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>();
                    prop_assert_eq!(found(&other.join(".")).0, values.clone());
                }
            }
            for (value, text) in patterns.iter().enumerate() {
                prop_assert!(wanted.remove(&Pattern::parse(text).unwrap(), &value));
            }
            prop_assert!(wanted.root.is_bare());
        }
    }
}

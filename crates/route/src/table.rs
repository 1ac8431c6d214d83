//! Interests, and the immutable tables made of them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use event::{Pattern, Wanted};

use crate::class::Class;

/// Where a message can go: a connection, by the number that its owner gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// Its kind.
    pub class: Class,
    /// Unique among the destinations of one [`Interests`], whatever their classes.
    pub number: u64,
}

/// Which destinations want which subjects, now. The one place where it changes.
#[derive(Debug, Default)]
pub struct Interests {
    /// By destination, since a connection goes with everything that it wanted.
    patterns: BTreeMap<Destination, Vec<Pattern>>,
    wanted: Wanted<Destination>,
    version: u64,
}

impl Interests {
    /// Nobody wants anything.
    pub fn new() -> Self {
        Interests::default()
    }

    /// Adds an interest; `false` where it was there already.
    pub fn add(&mut self, destination: Destination, pattern: &Pattern) -> bool {
        let new = self.wanted.insert(pattern, destination);
        if new {
            self.patterns.entry(destination).or_default().push(pattern.clone());
            self.version += 1;
        }
        new
    }

    /// Takes an interest out; `false` where it was not there.
    pub fn remove(&mut self, destination: Destination, pattern: &Pattern) -> bool {
        let old = self.wanted.remove(pattern, &destination);
        if old {
            if let Some(patterns) = self.patterns.get_mut(&destination) {
                patterns.retain(|each| each != pattern);
            }
            self.patterns.retain(|_, patterns| !patterns.is_empty());
            self.version += 1;
        }
        old
    }

    /// Takes out everything that a destination wants; `false` where it wanted nothing.
    pub fn leave(&mut self, destination: Destination) -> bool {
        let Some(patterns) = self.patterns.remove(&destination) else {
            return false;
        };
        for pattern in &patterns {
            self.wanted.remove(pattern, &destination);
        }
        self.version += 1;
        true
    }

    /// What a destination wants.
    pub fn of(&self, destination: Destination) -> &[Pattern] {
        self.patterns.get(&destination).map_or(&[], Vec::as_slice)
    }

    /// Grows with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The table of what is wanted now.
    pub fn table(&self) -> ForwardingTable {
        ForwardingTable { wanted: self.wanted.clone(), version: self.version }
    }
}

/// Where messages go, as it was at one version of the interests. Never changes.
#[derive(Debug, Clone, Default)]
pub struct ForwardingTable {
    wanted: Wanted<Destination>,
    version: u64,
}

impl ForwardingTable {
    /// The version of the interests that it was made of.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether nobody wants anything.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Where a message goes that came from a connection of a class. The connection that it came
    /// from is its owner's to leave out.
    pub fn matches(&self, subject: &str, from: Class) -> Vec<Destination> {
        let mut found = Vec::new();
        self.wanted.each(subject, &mut |destination: &Destination| {
            if from.reaches(destination.class) {
                found.push(*destination);
            }
        });
        found.sort_unstable_by_key(|destination| (destination.class == Class::Repeater, destination.number));
        found.dedup();
        let others = found.iter().filter(|destination| destination.class != Class::Repeater).count();
        found.truncate(others + 1);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn client(number: u64) -> Destination {
        Destination { class: Class::Client, number }
    }

    #[test]
    fn one_copy_for_each_destination_and_one_for_all_repeaters() {
        let mut interests = Interests::new();
        let repeaters = [7, 3].map(|number| Destination { class: Class::Repeater, number });
        for text in ["a.>", "a.*"] {
            interests.add(client(9), &pattern(text));
            interests.add(repeaters[0], &pattern(text));
            interests.add(repeaters[1], &pattern(text));
        }
        let table = interests.table();
        assert_eq!(table.matches("a.b", Class::Client), [client(9), repeaters[1]]);
        assert_eq!(table.matches("a.b", Class::Repeater), [client(9)]);
        assert_eq!(table.matches("b", Class::Client), []);
    }

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let mut interests = Interests::new();
        interests.add(client(1), &pattern("a"));
        interests.add(client(1), &pattern("b.>"));
        let before = interests.version();
        assert!(interests.leave(client(1)) && !interests.leave(client(1)));
        assert!(interests.table().is_empty() && interests.version() > before);
        assert!(interests.of(client(1)).is_empty());
    }

    fn class() -> impl Strategy<Value = Class> {
        proptest::sample::select(&Class::ALL[..])
    }

    proptest! {
        #[test]
        fn agrees_with_asking_each_interest(
            wishes in proptest::collection::vec((0_u64..6, "[ab*](\\.[ab*]){0,2}(\\.>)?", any::<bool>()), 0..24),
            classes in proptest::collection::vec(class(), 6),
            subject in "[ab](\\.[ab]){0,3}",
            from in class(),
        ) {
            let mut interests = Interests::new();
            let mut naive: Vec<(Destination, Pattern)> = Vec::new();
            for (number, text, add) in wishes {
                let place = usize::try_from(number).unwrap();
                let (wish, destination) = (pattern(&text), Destination { class: classes[place], number });
                let (version, had) = (interests.version(), naive.contains(&(destination, wish.clone())));
                if add {
                    prop_assert_eq!(interests.add(destination, &wish), !had);
                    if !had {
                        naive.push((destination, wish));
                    }
                } else {
                    prop_assert_eq!(interests.remove(destination, &wish), had);
                    naive.retain(|each| *each != (destination, wish.clone()));
                }
                prop_assert_eq!(interests.version() > version, had != add);
            }
            let mut expected: Vec<Destination> = Vec::new();
            let mut repeater: Option<Destination> = None;
            for (destination, wish) in naive {
                if !wish.matches(&subject) || !from.reaches(destination.class) || expected.contains(&destination) {
                    continue;
                }
                if destination.class == Class::Repeater {
                    repeater = Some(repeater.map_or(destination, |other| other.min(destination)));
                } else {
                    expected.push(destination);
                }
            }
            expected.sort_unstable_by_key(|destination| destination.number);
            expected.extend(repeater);
            let table = interests.table();
            prop_assert_eq!(table.matches(&subject, from), expected);
            prop_assert_eq!(table.version(), interests.version());
        }
    }
}

//! Interests, and the immutable routes made of them.
//!
//! # Cost
//! Adding or removing an interest costs its pattern's depth. A route costs one walk of the tokens;
//! whoever sends much keeps it, and asks anew when the interests have changed.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::{Pattern, Wanted};

use crate::class::Class;

/// Somewhere a message can go, and what its owner needs to hand it over.
#[derive(Debug)]
pub struct Leg<T> {
    /// The kind of the connection that it leads to.
    pub class: Class,
    /// Unique among the legs of one [`Interests`].
    pub number: u64,
    /// The connection, for messages that are not to go back where they came from. Legs of no
    /// connection have 0.
    pub connection: u64,
    /// The queue group: each message goes to one leg of those that share the group's name.
    pub queue: Option<Arc<str>>,
    /// What hands over.
    pub hand: T,
}

/// Members of one group.
type Legs<T> = Vec<Arc<Leg<T>>>;

#[derive(Debug)]
struct Wish<T> {
    leg: Arc<Leg<T>>,
    patterns: Vec<Pattern>,
}

/// Which legs want which subjects, now. The one place where it changes.
#[derive(Debug)]
pub struct Interests<T> {
    wishes: BTreeMap<u64, Wish<T>>,
    wanted: Wanted<u64>,
}

impl<T> Default for Interests<T> {
    fn default() -> Self {
        Interests { wishes: BTreeMap::new(), wanted: Wanted::default() }
    }
}

impl<T> Interests<T> {
    /// Nobody wants anything.
    pub fn new() -> Self {
        Interests::default()
    }

    /// Adds a leg that wants whatever any of the patterns matches. A leg of the same number goes.
    pub fn add(&mut self, leg: Leg<T>, patterns: &[Pattern]) {
        self.remove(leg.number);
        let mut kept: Vec<Pattern> = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            if !kept.contains(pattern) {
                self.wanted.add(pattern, leg.number);
                kept.push(pattern.clone());
            }
        }
        self.wishes.insert(leg.number, Wish { leg: Arc::new(leg), patterns: kept });
    }

    /// Has a leg want other patterns from now on; what it wanted, `None` where there is no such leg.
    pub fn change(&mut self, number: u64, patterns: &[Pattern]) -> Option<Vec<Pattern>> {
        let wish = self.wishes.get_mut(&number)?;
        let mut kept: Vec<Pattern> = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            if !kept.contains(pattern) {
                kept.push(pattern.clone());
            }
        }
        for pattern in kept.iter().filter(|pattern| !wish.patterns.contains(pattern)) {
            self.wanted.add(pattern, number);
        }
        for pattern in wish.patterns.iter().filter(|pattern| !kept.contains(pattern)) {
            self.wanted.remove(pattern, &number);
        }
        Some(core::mem::replace(&mut wish.patterns, kept))
    }

    /// Takes a leg out; what it wanted, `None` where there is no such leg.
    pub fn remove(&mut self, number: u64) -> Option<Vec<Pattern>> {
        let wish = self.wishes.remove(&number)?;
        for pattern in &wish.patterns {
            self.wanted.remove(pattern, &number);
        }
        Some(wish.patterns)
    }

    /// A leg.
    pub fn leg(&self, number: u64) -> Option<&Leg<T>> {
        self.wishes.get(&number).map(|wish| &*wish.leg)
    }

    /// How many legs there are.
    pub fn len(&self) -> usize {
        self.wishes.len()
    }

    /// Whether nobody wants anything.
    pub fn is_empty(&self) -> bool {
        self.wishes.is_empty()
    }

    /// Every leg with what it wants, in order of the numbers.
    pub fn each(&self) -> impl Iterator<Item = (&Leg<T>, &[Pattern])> {
        self.wishes.values().map(|wish| (&*wish.leg, wish.patterns.as_slice()))
    }

    /// Where a message goes that came from a connection of a class.
    pub fn route(&self, subject: &str, from: Class) -> Route<T> {
        let mut numbers = Vec::new();
        let alike = self.wanted.each_alike(subject, &mut |number: &u64| numbers.push(*number));
        numbers.sort_unstable();
        numbers.dedup();
        let mut route = Route { direct: Vec::new(), groups: Vec::new(), alike };
        let mut groups: BTreeMap<(Class, Option<&str>), Legs<T>> = BTreeMap::new();
        for wish in numbers.iter().filter_map(|number| self.wishes.get(number)) {
            let leg = &wish.leg;
            match (&leg.queue, leg.class) {
                _ if !from.reaches(leg.class) => {}
                (None, Class::Repeater) => groups.entry((Class::Repeater, None)).or_default().push(Arc::clone(leg)),
                (None, _) => route.direct.push(Arc::clone(leg)),
                (Some(queue), _) => groups.entry((Class::Client, Some(queue))).or_default().push(Arc::clone(leg)),
            }
        }
        route.groups.extend(groups.into_values());
        route
    }
}

/// Where the messages of one subject go, as it was when it was made. Never changes.
#[derive(Debug)]
pub struct Route<T> {
    /// Each of these gets a copy.
    pub direct: Vec<Arc<Leg<T>>>,
    /// Of each of these, one gets a copy: the members of a queue group, or all repeaters.
    pub groups: Vec<Vec<Arc<Leg<T>>>>,
    /// Whether every subject that differs in its last token alone has the same route.
    pub alike: bool,
}

impl<T> Route<T> {
    /// Whether it leads nowhere.
    pub fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.groups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn leg(number: u64, class: Class, queue: Option<&str>) -> Leg<()> {
        Leg { class, number, connection: 0, queue: queue.map(Into::into), hand: () }
    }

    type Found = (Vec<u64>, Vec<Vec<u64>>);

    fn found(interests: &Interests<()>, subject: &str, from: Class) -> Found {
        let route = interests.route(subject, from);
        let numbers = |legs: &[Arc<Leg<()>>]| legs.iter().map(|leg| leg.number).collect::<Vec<_>>();
        (numbers(&route.direct), route.groups.iter().map(|group| numbers(group)).collect())
    }

    #[test]
    fn one_copy_for_each_leg_and_one_for_each_group_and_all_repeaters() {
        let mut interests = Interests::new();
        let both = [pattern("a.>"), pattern("a.*"), pattern("a.*")];
        interests.add(leg(9, Class::Client, None), &both);
        interests.add(leg(3, Class::Repeater, None), &both);
        interests.add(leg(7, Class::Repeater, None), &both);
        interests.add(leg(4, Class::Client, Some("q")), &both);
        interests.add(leg(5, Class::Client, Some("q")), &both);
        interests.add(leg(6, Class::Client, Some("r")), &both);
        let expected = (vec![9], vec![vec![4, 5], vec![6], vec![3, 7]]);
        assert_eq!(found(&interests, "a.b", Class::Client), expected);
        assert_eq!(found(&interests, "a.b", Class::Repeater), (vec![9], vec![vec![4, 5], vec![6]]));
        assert!(interests.route("b", Class::Client).is_empty());
    }

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let mut interests = Interests::new();
        interests.add(leg(1, Class::Client, None), &[pattern("a"), pattern("b.>")]);
        assert_eq!(interests.remove(1), Some(vec![pattern("a"), pattern("b.>")]));
        assert!(interests.remove(1).is_none() && interests.is_empty() && interests.wanted.is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_asking_each_leg(
            wishes in proptest::collection::vec(
                (0_u64..6, proptest::collection::vec("[ab*](\\.[ab*]){0,2}(\\.>)?", 0..3), any::<bool>(), any::<bool>()),
                0..24,
            ),
            classes in proptest::collection::vec(proptest::sample::select(&Class::ALL[..]), 6),
            subject in "[ab](\\.[ab]){0,3}",
            from in proptest::sample::select(&Class::ALL[..]),
        ) {
            let mut interests = Interests::new();
            let mut naive: BTreeMap<u64, (Vec<Pattern>, bool)> = BTreeMap::new();
            for (number, texts, queued, add) in wishes {
                let patterns: Vec<Pattern> = texts.iter().map(|text| pattern(text)).collect();
                if add && queued && interests.change(number, &patterns).is_some() {
                    naive.entry(number).and_modify(|(known, _)| *known = patterns);
                } else if add {
                    let class = classes[usize::try_from(number).unwrap()];
                    interests.add(leg(number, class, queued.then_some("q")), &patterns);
                    naive.insert(number, (patterns, queued));
                } else {
                    prop_assert_eq!(interests.remove(number).is_some(), naive.remove(&number).is_some());
                }
            }
            let (mut direct, mut queue, mut repeaters) = (Vec::new(), Vec::new(), Vec::new());
            for (number, (patterns, queued)) in naive {
                let class = classes[usize::try_from(number).unwrap()];
                if from.reaches(class) && patterns.iter().any(|pattern| pattern.matches(&subject)) {
                    match (queued, class) {
                        (true, _) => queue.push(number),
                        (false, Class::Repeater) => repeaters.push(number),
                        (false, _) => direct.push(number),
                    }
                }
            }
            let groups = [queue, repeaters].into_iter().filter(|group| !group.is_empty()).collect();
            prop_assert_eq!(found(&interests, &subject, from), (direct, groups));
        }
    }
}

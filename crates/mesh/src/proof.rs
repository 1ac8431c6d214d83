//! Who can reach whom, proven before it is so: the difference that a change makes, with a witness for each pair,
//! the invariants that it must keep, and why one domain reaches another or does not.
//!
//! [`Reach`] is computed from segments alone, not from what is up: a link that is down today is up tomorrow, and
//! what could then be reached is what is proven. Reaching is mutual, since edges are walked both ways; who may
//! publish and who may listen to which names is told apart, by [`closed`] and [`Access`].
//!
//! Invariants:
//! - two domains reach each other if some segment holds a path between them: never through two segments.
//! - a witness is a path of neighbours inside one segment: in a difference the lightest of the first segment that has
//!   one; asked for one pair, the one that messages take: of all segments the one with the fewest hops, and of
//!   equals that of the smallest name.
//!
//! Costs: a reach of S segments over D domains takes O(S × (D + edges)) at most and S × D² / 64 words' work; a
//! difference a tree for each domain that gains or loses others, in each segment that witnesses it.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::names::Name;
use crate::plan::{AclRule, SegmentPlan, Who};
use crate::segment::Segments;
use crate::topology::ANY;
use crate::tree::{Graph, Tree};

/// What must hold of a topology, whatever changes. `None` stands for any domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// These never reach each other.
    Never {
        /// One side.
        from: Option<Name>,
        /// The other; never the same domain as the first.
        to: Option<Name>,
    },
    /// These always reach each other.
    Always {
        /// One side.
        from: Option<Name>,
        /// The other.
        to: Option<Name>,
    },
}

/// Who can reach whom.
#[derive(Debug, Clone)]
pub struct Reach {
    segments: Segments,
    /// Sorted; a place in it stands for a domain.
    domains: Vec<Name>,
    /// By domain, one bit for each other.
    rows: Vec<Vec<u64>>,
    /// By segment and domain: the smallest domain that it hangs together with there.
    groups: Vec<Vec<u32>>,
}

/// The group of a domain that is not in a segment.
const NOWHERE: u32 = u32::MAX;

/// A way from one domain to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The segment in which it runs.
    pub segment: Name,
    /// The domains on it, both ends included.
    pub domains: Vec<Name>,
}

/// A pair of domains of which a change decides. Both ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The smaller name.
    pub from: Name,
    /// The greater.
    pub to: Name,
    /// Whether they reach each other after the change, and did not before; or the other way round.
    pub gained: bool,
    /// How: after the change where it is gained, before it where it is lost.
    pub witness: Path,
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// For which pair.
    pub from: Name,
    /// The other.
    pub to: Name,
    /// How they reach each other, where they never may.
    pub witness: Option<Path>,
}

/// What a domain may do with the names of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Publish to them.
    Publish,
    /// Subscribe to them.
    Subscribe,
}

/// A domain's access to the names of a rule, of which a change decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessChange {
    /// The rule.
    pub rule: Arc<str>,
    /// The domain.
    pub domain: Name,
    /// What it may do, or may not any longer.
    pub access: Access,
    /// Whether it may after the change, and might not before; or the other way round.
    pub gained: bool,
}

/// What a change comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Pairs that gain or lose each other, sorted.
    pub changes: Vec<Change>,
    /// Domains that gain or lose names, by rule.
    pub access: Vec<AccessChange>,
    /// Invariants that would not hold after it. One broken pair for each is told, and how many there are.
    pub broken: Vec<(Broken, usize)>,
}

impl Proof {
    /// Whether every invariant holds after the change.
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }
}

/// Proves a change: who reaches whom before and after, and which invariants it breaks.
pub fn prove(before: (&Reach, &[AclRule]), after: (&Reach, &[AclRule]), invariants: &[Invariant]) -> Proof {
    let domains: BTreeSet<&Name> = before.0.domains.iter().chain(&after.0.domains).collect();
    Proof {
        changes: diff(before.0, after.0),
        access: access_diff(before.1, after.1, &domains),
        broken: invariants.iter().filter_map(|invariant| after.0.broken(invariant)).collect(),
    }
}

/// The pairs that gain or lose each other, sorted.
pub fn diff(before: &Reach, after: &Reach) -> Vec<Change> {
    let mut changes = Vec::new();
    for (reach, other, gained) in [(after, before, true), (before, after, false)] {
        let mut graphs = BTreeMap::new();
        for (place, from) in reach.domains.iter().enumerate() {
            let there = other.row(from);
            let mut trees = BTreeMap::new();
            for (at, to) in reach.above(place) {
                if there.is_some_and(|row| other.bit(row, to)) {
                    continue;
                }
                let Some((number, segment)) = reach.joined(place, at) else { continue };
                let graph = graphs.entry(number).or_insert_with(|| Graph::new(&segment.domains, &segment.edges));
                let Some(tree) = trees.entry(number).or_insert_with(|| graph.tree(from)) else { continue };
                let domains = tree.path(to).into_iter().cloned().collect();
                let witness = Path { segment: segment.name.clone(), domains };
                changes.push(Change { from: from.clone(), to: to.clone(), gained, witness });
            }
        }
    }
    changes.sort_by(|one, two| (&one.from, &one.to).cmp(&(&two.from, &two.to)));
    changes
}

impl Reach {
    /// Who can reach whom among these domains, by these segments.
    pub fn of(segments: &Segments, domains: &BTreeSet<Name>) -> Self {
        let domains: Vec<Name> = domains.iter().cloned().collect();
        let words = domains.len().div_ceil(64);
        let mut rows = vec![vec![0_u64; words]; domains.len()];
        let mut all = Vec::with_capacity(segments.all().len());
        for segment in segments.all() {
            let mut hangs = vec![NOWHERE; domains.len()];
            for group in groups(segment, &domains) {
                let first = group.first().and_then(|first| u32::try_from(*first).ok()).unwrap_or(NOWHERE);
                for place in &group {
                    if let Some(slot) = hangs.get_mut(*place) {
                        *slot = first;
                    }
                }
                let mut bits = vec![0_u64; words];
                group.iter().for_each(|place| set(&mut bits, *place));
                for place in group {
                    let Some(row) = rows.get_mut(place) else { continue };
                    row.iter_mut().zip(&bits).for_each(|(row, bits)| *row |= bits);
                }
            }
            all.push(hangs);
        }
        for (place, row) in rows.iter_mut().enumerate() {
            set(row, place);
        }
        Reach { segments: segments.clone(), domains, rows, groups: all }
    }

    /// The domains, sorted.
    pub fn domains(&self) -> &[Name] {
        &self.domains
    }

    /// Whether two domains reach each other. Each reaches itself.
    pub fn reaches(&self, from: &Name, to: &Name) -> bool {
        self.row(from).is_some_and(|row| self.bit(row, to))
    }

    /// The domains that one reaches, sorted, without itself.
    pub fn reached<'a>(&'a self, from: &'a Name) -> impl Iterator<Item = &'a Name> {
        let row = self.row(from).unwrap_or_default();
        self.domains
            .iter()
            .enumerate()
            .filter(move |(place, name)| has(row, *place) && *name != from)
            .map(|(_, name)| name)
    }

    /// The way that messages take from one domain to another: along the tree of the one that they go to.
    pub fn witness(&self, from: &Name, to: &Name) -> Option<Path> {
        let mut path = self.shortest(to, from, &mut BTreeMap::new())?;
        path.domains.reverse();
        Some(path)
    }

    /// The first pair that breaks an invariant, and how many do.
    pub fn broken(&self, invariant: &Invariant) -> Option<(Broken, usize)> {
        let (from, to, always) = match invariant {
            Invariant::Never { from, to } => (from, to, false),
            Invariant::Always { from, to } => (from, to, true),
        };
        let (mut first, mut count) = (None, 0);
        for one in meant(from.as_ref(), &self.domains) {
            for two in meant(to.as_ref(), &self.domains).filter(|two| *two != one) {
                if self.reaches(one, two) != always {
                    count += 1;
                    first = first.or(Some((one, two)));
                }
            }
        }
        let (one, two) = first?;
        let witness = self.witness(one, two);
        Some((Broken { invariant: invariant.clone(), from: one.clone(), to: two.clone(), witness }, count))
    }

    fn shortest(&self, from: &Name, to: &Name, trees: &mut BTreeMap<Name, Option<Tree>>) -> Option<Path> {
        let mut best: Option<(u32, &Arc<SegmentPlan>)> = None;
        for segment in self.segments.of(from).filter(|segment| segment.domains.binary_search(to).is_ok()) {
            let tree = trees
                .entry(segment.name.clone())
                .or_insert_with(|| Graph::new(&segment.domains, &segment.edges).tree(from));
            let Some(hops) = tree.as_ref().and_then(|tree| tree.distance(to)).map(|distance| distance.hops) else {
                continue;
            };
            if best.is_none_or(|(known, _)| hops < known) {
                best = Some((hops, segment));
            }
        }
        let (_, segment) = best?;
        let domains = trees.get(&segment.name)?.as_ref()?.path(to).into_iter().cloned().collect();
        Some(Path { segment: segment.name.clone(), domains })
    }

    fn row(&self, domain: &Name) -> Option<&[u64]> {
        self.rows.get(self.domains.binary_search(domain).ok()?).map(Vec::as_slice)
    }

    fn bit(&self, row: &[u64], domain: &Name) -> bool {
        self.domains.binary_search(domain).is_ok_and(|place| has(row, place))
    }

    /// The domains of greater name that one reaches, with their places.
    fn above(&self, place: usize) -> impl Iterator<Item = (usize, &Name)> {
        let row = self.rows.get(place).map(Vec::as_slice).unwrap_or_default();
        self.domains.iter().enumerate().skip(place + 1).filter(move |(other, _)| has(row, *other))
    }

    /// The first segment in which a path leads from one domain to another, with its number.
    fn joined(&self, one: usize, two: usize) -> Option<(usize, &Arc<SegmentPlan>)> {
        let number = self.groups.iter().position(|groups| {
            let of = |place: usize| groups.get(place).filter(|group| **group != NOWHERE);
            of(one).is_some() && of(one) == of(two)
        })?;
        Some((number, self.segments.all().get(number)?))
    }
}

/// Why one domain reaches another, or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is the same domain.
    Same,
    /// A domain that is not known.
    Unknown(Name),
    /// It does, by these ways: the one that messages take first, then those of the other segments.
    Reaches(Vec<Path>),
    /// A domain that is in no segment.
    Alone(Name),
    /// They share no segment. What each is in.
    Apart {
        /// The segments of the first.
        from: Vec<Name>,
        /// The segments of the second.
        to: Vec<Name>,
        /// Domains that are in a segment of each: messages do not change their segment there.
        between: Vec<Name>,
    },
    /// They share these segments, and in none of them is there a path.
    Parted(Vec<Name>),
}

/// Why one domain reaches another, or does not.
pub fn explain(reach: &Reach, from: &Name, to: &Name) -> Why {
    if from == to {
        return Why::Same;
    }
    if let Some(unknown) = [from, to].into_iter().find(|name| reach.domains.binary_search(name).is_err()) {
        return Why::Unknown(unknown.clone());
    }
    let of = |name| reach.segments.of(name).collect::<Vec<_>>();
    let (here, there) = (of(from), of(to));
    for (name, segments) in [(from, &here), (to, &there)] {
        if segments.is_empty() {
            return Why::Alone(name.clone());
        }
    }
    let shared: Vec<_> = here.iter().filter(|segment| segment.domains.binary_search(to).is_ok()).collect();
    let names = |segments: &[&Arc<SegmentPlan>]| segments.iter().map(|segment| segment.name.clone()).collect();
    if shared.is_empty() {
        let near: BTreeSet<_> = here.iter().flat_map(|segment| &segment.domains).collect();
        let far: BTreeSet<_> = there.iter().flat_map(|segment| &segment.domains).collect();
        let between = near.intersection(&far).copied().cloned().collect();
        return Why::Apart { from: names(&here), to: names(&there), between };
    }
    let mut ways: Vec<Path> = shared
        .iter()
        .filter_map(|segment| {
            let tree = Graph::new(&segment.domains, &segment.edges).tree(to)?;
            let domains: Vec<_> = tree.path(from).into_iter().rev().cloned().collect();
            (!domains.is_empty()).then(|| Path { segment: segment.name.clone(), domains })
        })
        .collect();
    if ways.is_empty() {
        return Why::Parted(shared.iter().map(|segment| segment.name.clone()).collect());
    }
    ways.sort_by_key(|path| path.domains.len());
    Why::Reaches(ways)
}

/// The rules whose names a domain may not publish to, or not subscribe to, as its border judges: a token of whatever
/// domain stands for no domain as a whole.
pub fn closed<'a>(rules: &'a [AclRule], domain: &'a Name, access: Access) -> impl Iterator<Item = &'a AclRule> {
    rules.iter().filter(move |rule| !open(rule, domain, access))
}

fn open(rule: &AclRule, domain: &Name, access: Access) -> bool {
    let list = match access {
        Access::Publish => rule.publish.as_ref(),
        Access::Subscribe => rule.subscribe.as_ref(),
    };
    list.is_none_or(|list| {
        list.iter().any(|who| match who {
            Who::Anyone => true,
            Who::Domain(name) | Who::Member(name, _) => name == domain,
            Who::Principal(_) => false,
        })
    })
}

fn access_diff(before: &[AclRule], after: &[AclRule], domains: &BTreeSet<&Name>) -> Vec<AccessChange> {
    let find = |rules: &'_ [AclRule], name: &str| rules.iter().position(|rule| &*rule.name == name);
    let names: BTreeSet<&Arc<str>> = before.iter().chain(after).map(|rule| &rule.name).collect();
    let mut changes = Vec::new();
    for name in names {
        let (old, new) =
            (find(before, name).and_then(|at| before.get(at)), find(after, name).and_then(|at| after.get(at)));
        for domain in domains {
            for access in [Access::Publish, Access::Subscribe] {
                let may = |rule: Option<&AclRule>| rule.is_none_or(|rule| open(rule, domain, access));
                if may(old) != may(new) {
                    let domain = Name::clone(domain);
                    changes.push(AccessChange { rule: Arc::clone(name), domain, access, gained: may(new) });
                }
            }
        }
    }
    changes
}

/// The domains of a segment that hang together, as places among all domains.
fn groups(segment: &SegmentPlan, domains: &[Name]) -> Vec<Vec<usize>> {
    let members = &segment.domains;
    let mut heads: Vec<usize> = (0..members.len()).collect();
    let mut left = members.len();
    let (mut one_at, mut two_at) = (0, 0);
    for (one, two, _) in &segment.edges {
        // Nothing can be joined any more.
        if left <= 1 {
            break;
        }
        let (Some(first), Some(second)) = (find(members, one, one_at), find(members, two, two_at + 1)) else {
            continue;
        };
        (one_at, two_at) = (first, second);
        let (first, second) = (head(&mut heads, first), head(&mut heads, second));
        if first != second {
            if let Some(place) = heads.get_mut(first.max(second)) {
                *place = first.min(second);
            }
            left -= 1;
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut at = 0;
    for (place, member) in members.iter().enumerate() {
        let Some(known) = find(domains, member, at) else { continue };
        at = known + 1;
        groups.entry(head(&mut heads, place)).or_default().push(known);
    }
    groups.into_values().collect()
}

/// Where a name stands, with a guess that is mostly right: edges and domains come in order.
fn find(names: &[Name], name: &Name, guess: usize) -> Option<usize> {
    if names.get(guess) == Some(name) {
        return Some(guess);
    }
    names.binary_search(name).ok()
}

/// The first of a place's group; shortens the way to it.
fn head(heads: &mut [usize], mut place: usize) -> usize {
    while let Some(above) = heads.get(place).copied().filter(|above| *above != place) {
        let top = heads.get(above).copied().unwrap_or(above);
        if let Some(slot) = heads.get_mut(place) {
            *slot = top;
        }
        place = top;
    }
    place
}

fn set(bits: &mut [u64], place: usize) {
    if let Some(word) = bits.get_mut(place / 64) {
        *word |= 1 << (place % 64);
    }
}

fn has(bits: &[u64], place: usize) -> bool {
    bits.get(place / 64).is_some_and(|word| word & (1 << (place % 64)) != 0)
}

fn meant<'a>(end: Option<&'a Name>, domains: &'a [Name]) -> impl Iterator<Item = &'a Name> {
    let all = if end.is_none() { domains } else { &[] };
    end.into_iter().chain(all)
}

impl Invariant {
    /// The domains that it names.
    pub fn named(&self) -> impl Iterator<Item = &Name> {
        let (Invariant::Never { from, to } | Invariant::Always { from, to }) = self;
        from.iter().chain(to)
    }

    /// `never` or `always`.
    pub fn word(&self) -> &'static str {
        match self {
            Invariant::Never { .. } => "never",
            Invariant::Always { .. } => "always",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Invariant::Never { from, to } | Invariant::Always { from, to }) = self;
        let shown = |end: &'_ Option<Name>| end.as_ref().map_or_else(|| ANY.to_owned(), ToString::to_string);
        write!(f, "{} {} reaches {}", shown(from), self.word(), shown(to))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, domain) in self.domains.iter().enumerate() {
            write!(f, "{}{domain}", if place == 0 { "" } else { " → " })?;
        }
        write!(f, " in '{}'", self.segment)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.witness {
            Some(path) => write!(f, "'{}' does not hold: {path}", self.invariant),
            None => write!(f, "'{}' does not hold: no segment leads from {} to {}", self.invariant, self.from, self.to),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Same => f.write_str("it is the same domain"),
            Why::Unknown(domain) => write!(f, "the domain '{domain}' is not known"),
            Why::Reaches(paths) => {
                f.write_str("it does:")?;
                paths
                    .iter()
                    .enumerate()
                    .try_for_each(|(place, path)| write!(f, "{} {path}", if place == 0 { "" } else { "; also" }))
            }
            Why::Alone(domain) => write!(f, "'{domain}' is in no segment"),
            Why::Apart { from, to, between } => {
                write!(f, "they share no segment: one is in {}, the other in {}", List(from), List(to))?;
                if between.is_empty() {
                    return Ok(());
                }
                write!(f, "; {} is in both, and messages do not change their segment there", List(between))
            }
            Why::Parted(segments) => write!(f, "they share {}, and no path leads between them there", List(segments)),
        }
    }
}

/// Names with commas between them.
struct List<'a>(&'a [Name]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .enumerate()
            .try_for_each(|(place, name)| write!(f, "{}{name}", if place == 0 { "" } else { ", " }))
    }
}

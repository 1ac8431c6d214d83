//! The segments that there are, and how they are changed one by one.
//!
//! [`Segments`] is what a topology comes to: who is in which segment, and which edges it has. [`edit`] changes a
//! list of segments as it is written, where no document says which there are: add or remove a segment or a link.
//!
//! It proves nothing (that is [`crate::proof`]) and knows no nodes.
//!
//! Invariants:
//! - segments, their domains and their edges are sorted and each is there once; the ends of an edge are in order.
//! - a domain of a segment has an edge in it.
//! - an edit that adds what is there, changes nothing and says so.
//!
//! Source: the northbound interface of SLIM's control plane, for the rules of edits.
//! Costs: looking up a segment is a binary search; the segments of a domain are found once and kept.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::names::Name;
use crate::plan::SegmentPlan;
use crate::topology::{Adjacent, DEFAULT, Mode, SegmentText, Topology, TopologyError};

/// The segments that there are.
#[derive(Debug, Clone, Default)]
pub struct Segments {
    /// Sorted by name.
    all: Vec<Arc<SegmentPlan>>,
    /// Unique by name: the segments in which a domain is, as places in `all`.
    of: BTreeMap<Name, Vec<usize>>,
}

impl PartialEq for Segments {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Segments {
    /// These segments. Of two of one name the first counts.
    pub fn new(segments: impl IntoIterator<Item = SegmentPlan>) -> Self {
        Segments::shared(segments.into_iter().map(Arc::new))
    }

    /// As [`Segments::new`], of segments that are shared.
    pub fn shared(segments: impl IntoIterator<Item = Arc<SegmentPlan>>) -> Self {
        let mut all: Vec<_> = segments.into_iter().collect();
        all.sort_by(|one, two| one.name.cmp(&two.name));
        all.dedup_by(|later, first| later.name == first.name);
        let mut of: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
        for (place, segment) in all.iter().enumerate() {
            for domain in &segment.domains {
                of.entry(domain.clone()).or_default().push(place);
            }
        }
        Segments { all, of }
    }

    /// All of them, sorted by name.
    pub fn all(&self) -> &[Arc<SegmentPlan>] {
        &self.all
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Arc<SegmentPlan>> {
        let place = self.all.binary_search_by(|segment| segment.name.as_str().cmp(name)).ok()?;
        self.all.get(place)
    }

    /// The segments in which a domain is, sorted by name.
    pub fn of<'a>(&'a self, domain: &Name) -> impl Iterator<Item = &'a Arc<SegmentPlan>> + use<'a> {
        self.of.get(domain).into_iter().flatten().filter_map(|place| self.all.get(*place))
    }

    /// The domains that are in a segment, sorted.
    pub fn domains(&self) -> impl Iterator<Item = &Name> {
        self.of.keys()
    }

    /// The pairs of domains that are neighbours in some segment, in order, each with the segments.
    pub fn pairs(&self) -> BTreeMap<(Name, Name), Vec<Name>> {
        let mut pairs: BTreeMap<(Name, Name), Vec<Name>> = BTreeMap::new();
        for segment in &self.all {
            for (one, two, _) in &segment.edges {
                pairs.entry((one.clone(), two.clone())).or_default().push(segment.name.clone());
            }
        }
        pairs
    }

    /// The same segments without the edges that are to be left out: by the smaller domain, the greater ones. A segment
    /// that comes out as in `before` is shared with it, and one of which nothing is left out with this one.
    #[must_use]
    pub fn without(&self, out: &BTreeMap<Name, BTreeSet<Name>>, before: &Segments) -> Segments {
        let gone = |one: &Name, two: &Name| out.get(one).is_some_and(|others| others.contains(two));
        Segments::shared(self.all.iter().map(|segment| {
            if !segment.edges.iter().any(|(one, two, _)| gone(one, two)) {
                return Arc::clone(segment);
            }
            let edges: Vec<_> = segment.edges.iter().filter(|(one, two, _)| !gone(one, two)).cloned().collect();
            let same = |known: &&Arc<SegmentPlan>| known.edges == edges && known.domains == segment.domains;
            if let Some(known) = before.get(segment.name.as_str()).filter(same) {
                return Arc::clone(known);
            }
            // Who is in a segment stays so while a link is down: what it may carry does not change.
            Arc::new(SegmentPlan { name: segment.name.clone(), domains: segment.domains.clone(), edges })
        }))
    }
}

/// A change of the segments as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Adds a segment, with its links.
    AddSegment(SegmentText),
    /// Takes one away.
    RemoveSegment(String),
    /// Links a domain with another. The segment `default` is made where it is not there yet.
    AddLink {
        /// The segment; `default` where nothing is said.
        segment: Option<String>,
        /// One domain, or `*`.
        domain: String,
        /// The other.
        neighbor: String,
        /// What a hop costs.
        weight: u32,
    },
    /// Takes a link away, whichever way round it was written.
    RemoveLink {
        /// The segment; `default` where nothing is said.
        segment: Option<String>,
        /// One domain, or `*`.
        domain: String,
        /// The other.
        neighbor: String,
    },
}

/// Why an edit is refused. Never worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditError {
    /// The topology's document says which segments there are.
    Declared,
    /// The segment `default` stays.
    Default,
    /// There is no such segment.
    NoSegment(String),
    /// There is a segment of that name, with other links.
    Exists(String),
    /// There is no such link.
    NoLink {
        /// The segment.
        segment: String,
        /// One domain.
        domain: String,
        /// The other.
        neighbor: String,
    },
    /// What would come of it is no topology.
    Topology(TopologyError),
}

/// Makes a change to the segments as they are written; says whether anything changed.
///
/// # Errors
/// [`EditError`]; nothing was changed then.
pub fn edit(mode: Mode, segments: &mut Vec<SegmentText>, edit: Edit) -> Result<bool, EditError> {
    if mode == Mode::Declared {
        return Err(EditError::Declared);
    }
    let mut after = segments.clone();
    let changed = match edit {
        Edit::AddSegment(segment) => add_segment(&mut after, segment)?,
        Edit::RemoveSegment(name) if name == DEFAULT => return Err(EditError::Default),
        Edit::RemoveSegment(name) => {
            let before = after.len();
            after.retain(|segment| segment.name != name);
            if after.len() == before {
                return Err(EditError::NoSegment(name));
            }
            true
        }
        Edit::AddLink { segment, domain, neighbor, weight } => {
            let segment = place_for(&mut after, segment)?;
            add_link(segment, &domain, &neighbor, weight)
        }
        Edit::RemoveLink { segment, domain, neighbor } => {
            let segment = place_for(&mut after, segment)?;
            if !remove_link(segment, &domain, &neighbor) {
                return Err(EditError::NoLink { segment: segment.name.clone(), domain, neighbor });
            }
            true
        }
    };
    Topology::check(&crate::topology::Document::default(), &after, None).map_err(EditError::Topology)?;
    *segments = after;
    Ok(changed)
}

fn add_segment(segments: &mut Vec<SegmentText>, segment: SegmentText) -> Result<bool, EditError> {
    match segments.iter_mut().find(|each| each.name == segment.name) {
        Some(known) if *known == segment || segment.links.is_empty() => Ok(false),
        Some(known) if known.links.is_empty() => {
            *known = segment;
            Ok(true)
        }
        Some(_) => Err(EditError::Exists(segment.name)),
        None => {
            segments.push(segment);
            Ok(true)
        }
    }
}

/// The segment that an edit of links is about.
fn place_for(segments: &mut Vec<SegmentText>, name: Option<String>) -> Result<&mut SegmentText, EditError> {
    let name = name.unwrap_or_else(|| DEFAULT.to_owned());
    let place = segments.iter().position(|segment| segment.name == name);
    let place = match place {
        Some(place) => place,
        None if name == DEFAULT => {
            segments.push(SegmentText { name: name.clone(), links: Vec::new() });
            segments.len() - 1
        }
        None => return Err(EditError::NoSegment(name)),
    };
    segments.get_mut(place).ok_or(EditError::NoSegment(name))
}

fn add_link(segment: &mut SegmentText, domain: &str, neighbor: &str, weight: u32) -> bool {
    let has = |row: &Adjacent, one: &str, two: &str| row.domain == one && row.neighbors.iter().any(|each| each == two);
    let known = segment.links.iter().find(|row| has(row, domain, neighbor) || has(row, neighbor, domain));
    if known.is_some_and(|row| row.weight == weight) {
        return false;
    }
    remove_link(segment, domain, neighbor);
    match segment.links.iter_mut().find(|row| row.domain == domain && row.weight == weight) {
        Some(row) => row.neighbors.push(neighbor.to_owned()),
        None => {
            segment.links.push(Adjacent { domain: domain.to_owned(), neighbors: [neighbor.to_owned()].into(), weight });
        }
    }
    true
}

fn remove_link(segment: &mut SegmentText, domain: &str, neighbor: &str) -> bool {
    let mut found = false;
    for row in &mut segment.links {
        let other = if row.domain == domain {
            neighbor
        } else if row.domain == neighbor {
            domain
        } else {
            continue;
        };
        let before = row.neighbors.len();
        row.neighbors.retain(|each| each != other);
        found |= row.neighbors.len() != before;
    }
    segment.links.retain(|row| !row.neighbors.is_empty());
    found
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::Declared => f.write_str("the topology document says which segments there are: change that"),
            EditError::Default => f.write_str("the segment 'default' stays: remove its links"),
            EditError::NoSegment(name) => write!(f, "there is no segment '{name}'"),
            EditError::Exists(name) => {
                write!(f, "there is a segment '{name}' with other links: remove it, or edit them")
            }
            EditError::NoLink { segment, domain, neighbor } => {
                write!(f, "in '{segment}': '{domain}' and '{neighbor}' are not linked")
            }
            EditError::Topology(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl core::error::Error for EditError {}

//! Which domains may be neighbours: topology documents, checked, and what they come to for the domains there are.
//!
//! A [`Document`] is a topology as it was written: `links`, an adjacency list that makes the one segment `default`;
//! or `segments`, each with an adjacency list of its own; or neither, and then segments and links are added one by
//! one ([`Edit`]). In a list `*` stands for any domain. In a segment's name and links `$domain` makes the segment a
//! template: there is one of it for each domain that the template does not name itself. Edges are walked both ways
//! and may have a weight. A [`Topology`] is a document that was found good; [`Topology::expand`] gives the
//! [`Segments`] that it comes to.
//!
//! It is not the wire form (that is the plan's kind), and it knows nothing of nodes and links.
//!
//! Invariants:
//! - segments are never merged: a template whose links have `$domain` has it in its name too, and of two segments
//!   of one name that a template makes, the second is left out, and told.
//! - the same document and domains give the same segments, in whatever order they are given.
//!
//! Source: the topology section of SLIM's control plane, which this takes over and sharpens.
//! Costs: an expansion takes O(segments × domains²) for `*` against `*`, and only there.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::names::Name;
use crate::plan::SegmentPlan;
use crate::proof::Invariant;
use crate::segment::Segments;

/// Stands for any domain.
pub const ANY: &str = "*";

/// Stands for each domain in turn.
pub const EACH: &str = "$domain";

/// The segment of a document that has `links`, and of links that are added without a segment.
pub const DEFAULT: &str = "default";

/// Most segments of one document. Each costs its edges in every plan of its domains.
pub const SEGMENTS_MAX: usize = 4_096;

/// Most edges that one document may come to, over all segments: 100 full meshes of 100 domains. They are held by
/// every node of the domains concerned.
pub const EDGES_MAX: usize = 1_000_000;

/// Most links that one document may write down.
pub const LINKS_MAX: usize = 100_000;

/// A topology as it was written. Nothing in it is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// `links`: the adjacency list of the segment `default`.
    pub links: Vec<Adjacent>,
    /// `segments`, each with its own.
    pub segments: Vec<SegmentText>,
    /// Domains that must never reach each other, whatever changes: pairs of a domain or `*`.
    pub never: Vec<(String, String)>,
    /// Domains that must always reach each other.
    pub always: Vec<(String, String)>,
}

/// A segment as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentText {
    /// May hold `$domain`.
    pub name: String,
    /// Its adjacency list.
    pub links: Vec<Adjacent>,
}

/// A row of an adjacency list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adjacent {
    /// A domain, `*`, or a text with `$domain`.
    pub domain: String,
    /// Whom it is linked with, in the same words.
    pub neighbors: Vec<String>,
    /// What a hop over each of these links costs, at least 1.
    pub weight: u32,
}

/// What is wrong with a topology. Never worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopologyError {
    /// Both `links` and `segments` are given.
    BothKeys,
    /// A segment was added where the document says which there are.
    Declared(String),
    /// A text is not a domain.
    Domain {
        /// The segment.
        segment: String,
        /// The text.
        text: String,
    },
    /// A text is not a segment's name.
    SegmentName(String),
    /// Two segments have one name.
    SegmentTwice(String),
    /// A domain has two rows of one weight in one list.
    DomainTwice {
        /// The segment.
        segment: String,
        /// The domain.
        domain: String,
    },
    /// A neighbour stands twice among those of one domain.
    NeighborTwice {
        /// The segment.
        segment: String,
        /// Whose row.
        domain: String,
        /// The neighbour.
        neighbor: String,
    },
    /// A domain is written as its own neighbour.
    Itself {
        /// The segment.
        segment: String,
        /// The domain.
        domain: String,
    },
    /// A domain is named that is not declared.
    Unknown {
        /// The segment, or `never` or `always`.
        segment: String,
        /// The domain.
        domain: String,
    },
    /// `$domain` stands in a segment's links and not in its name: all of them would be one.
    TemplateName(String),
    /// `$domain` stands where it means nothing: in `links`.
    TemplateOutside(String),
    /// A weight is 0.
    Weight {
        /// The segment.
        segment: String,
        /// Whose row.
        domain: String,
    },
    /// Over one of this module's limits.
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

/// A segment or an edge that was left out, and why. Not an error: the rest holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// A template made a name that is none, or is too long.
    Name {
        /// The text.
        text: String,
        /// The domain that it was made for.
        domain: Name,
    },
    /// A template made a segment of a name that is taken.
    Taken {
        /// The name.
        segment: Name,
        /// The domain that it was made for.
        domain: Name,
    },
    /// A domain is named of which nothing is known yet.
    Unknown {
        /// The segment.
        segment: Name,
        /// The domain.
        domain: Name,
    },
    /// There are more edges than [`EDGES_MAX`]: this segment and those after it are left out.
    TooMany {
        /// The first that is left out.
        segment: Name,
    },
}

/// How a topology changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// By its document alone: it has `links` or `segments`.
    Declared,
    /// Segment by segment and link by link.
    Edited,
}

/// A topology that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    mode: Mode,
    rules: Vec<Rule>,
    invariants: Vec<Invariant>,
}

/// A segment, or a template of segments.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    name: End,
    links: Vec<Line>,
}

/// Two places that are linked, and what a hop between them costs.
type Line = (End, End, u32);

/// A place where a domain or a name is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Any,
    /// A text that holds `$domain`.
    Each(Arc<str>),
    One(Name),
}

impl End {
    fn parse(text: &str) -> Option<Self> {
        if text == ANY {
            return Some(End::Any);
        }
        if text.contains(EACH) {
            // What it gives for a short domain must be a name: then nothing but its length can go wrong later.
            return Name::parse(&text.replace(EACH, "x")).ok().map(|_| End::Each(text.into()));
        }
        Name::parse(text).ok().map(End::One)
    }

    /// What it comes to for one domain, where it is a template.
    fn of(&self, domain: &Name) -> Result<End, Warning> {
        let End::Each(text) = self else { return Ok(self.clone()) };
        let text = text.replace(EACH, domain.as_str());
        Name::parse(&text).map(End::One).map_err(|_| Warning::Name { text, domain: domain.clone() })
    }
}

impl Topology {
    /// A topology of no segments, to be edited.
    pub fn edited() -> Self {
        Topology { mode: Mode::Edited, rules: Vec::new(), invariants: Vec::new() }
    }

    /// Judges a document, and the segments that were added one by one. With `known`, each domain that the document
    /// names must be one of these; an added segment may name what is not there yet.
    ///
    /// # Errors
    /// [`TopologyError`] naming the first fault, in the order of the document.
    pub fn check(
        document: &Document,
        added: &[SegmentText],
        known: Option<&BTreeSet<Name>>,
    ) -> Result<Self, TopologyError> {
        let (mode, rules) = match (document.links.as_slice(), document.segments.as_slice()) {
            ([], []) => (Mode::Edited, rules_of(added)?),
            (links, []) => (Mode::Declared, alloc::vec![default_rule(links)?]),
            ([], segments) => (Mode::Declared, rules_of(segments)?),
            _ => return Err(TopologyError::BothKeys),
        };
        if let Some(segment) = added.first().filter(|_| mode == Mode::Declared) {
            return Err(TopologyError::Declared(shown(&segment.name)));
        }
        let topology = Topology { mode, rules, invariants: invariants_of(document)? };
        if let Some(known) = known {
            topology.all_known(known)?;
        }
        Ok(topology)
    }

    /// How it changes.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What must hold of it, whatever changes.
    pub fn invariants(&self) -> &[Invariant] {
        &self.invariants
    }

    /// The domains that it names, sorted.
    pub fn named(&self) -> BTreeSet<Name> {
        self.rules.iter().flat_map(Rule::named).collect()
    }

    /// The segments that it comes to for these domains, sorted by name; and what was left out.
    pub fn expand(&self, domains: &BTreeSet<Name>) -> (Segments, Vec<Warning>) {
        let domains = domains.iter().collect();
        let mut work = Expansion { domains, left: EDGES_MAX, warnings: Vec::new(), made: BTreeMap::new() };
        // Segments that are named come first: a template cannot take the name of one of them.
        let (plain, templates): (Vec<_>, Vec<_>) = self.rules.iter().partition(|rule| !rule.is_template());
        for rule in plain {
            if let End::One(name) = &rule.name {
                rule.instance(name, &rule.links, &mut work);
                work.tell_unknown(name, &rule.links);
            }
        }
        for rule in templates {
            let named = rule.named();
            for domain in work.domains.clone().into_iter().filter(|domain| !named.contains(*domain)) {
                match rule.for_domain(domain) {
                    Ok((name, _)) if work.made.contains_key(&name) => {
                        work.warnings.push(Warning::Taken { segment: name, domain: domain.clone() });
                    }
                    Ok((name, links)) => {
                        rule.instance(&name, &links, &mut work);
                        work.tell_unknown(&name, &links);
                    }
                    Err(warning) => work.warnings.push(warning),
                }
            }
        }
        (Segments::new(work.made.into_values()), work.warnings)
    }

    fn all_known(&self, known: &BTreeSet<Name>) -> Result<(), TopologyError> {
        let unknown = |segment: String, domain: &Name| TopologyError::Unknown { segment, domain: domain.to_string() };
        for rule in self.rules.iter().filter(|_| self.mode == Mode::Declared) {
            if let Some(domain) = rule.named().iter().find(|domain| !known.contains(*domain)) {
                return Err(unknown(rule.name.to_string(), domain));
            }
        }
        for invariant in &self.invariants {
            if let Some(domain) = invariant.named().find(|domain| !known.contains(*domain)) {
                return Err(unknown(invariant.word().to_owned(), domain));
            }
        }
        Ok(())
    }
}

impl Rule {
    fn is_template(&self) -> bool {
        matches!(self.name, End::Each(_))
    }

    fn named(&self) -> BTreeSet<Name> {
        let ends = self.links.iter().flat_map(|(one, two, _)| [one, two]);
        ends.filter_map(|end| if let End::One(name) = end { Some(name.clone()) } else { None }).collect()
    }

    /// What a template comes to for one domain.
    fn for_domain(&self, domain: &Name) -> Result<(Name, Vec<Line>), Warning> {
        let End::One(name) = self.name.of(domain)? else {
            return Err(Warning::Name { text: self.name.to_string(), domain: domain.clone() });
        };
        let links = self.links.iter().map(|(one, two, weight)| Ok((one.of(domain)?, two.of(domain)?, *weight)));
        Ok((name, links.collect::<Result<_, _>>()?))
    }

    /// Makes one segment.
    fn instance(&self, name: &Name, links: &[Line], work: &mut Expansion<'_>) {
        let count = work.domains.len();
        let mut edges: Vec<(usize, usize, u8, u32)> = Vec::new();
        for (one, two, weight) in links {
            // What is named outright outweighs what is meant by `*`, whatever the weights.
            let vague = u8::from(*one == End::Any) + u8::from(*two == End::Any);
            for one in work.meant(one) {
                let pairs = work.meant(two).filter(|two| *two != one);
                edges.extend(pairs.map(|two| (one.min(two), one.max(two), vague, *weight)));
            }
            if edges.len() > work.left.saturating_mul(2) {
                break;
            }
        }
        edges.sort_unstable();
        edges.dedup_by_key(|(one, two, ..)| (*one, *two));
        if edges.len() > work.left {
            work.left = 0;
            work.warnings.push(Warning::TooMany { segment: name.clone() });
            return;
        }
        work.left -= edges.len();
        let mut member = alloc::vec![false; count];
        for place in edges.iter().flat_map(|(one, two, ..)| [*one, *two]) {
            if let Some(member) = member.get_mut(place) {
                *member = true;
            }
        }
        let named = |place: usize| work.domains.get(place).map(|name| Name::clone(name));
        let plan = SegmentPlan {
            name: name.clone(),
            domains: (0..count).filter(|place| member.get(*place) == Some(&true)).filter_map(named).collect(),
            edges: edges
                .iter()
                .filter_map(|(one, two, _, weight)| Some((named(*one)?, named(*two)?, *weight)))
                .collect(),
        };
        work.made.insert(name.clone(), plan);
    }
}

/// An expansion on its way.
struct Expansion<'a> {
    /// Sorted; a place in it stands for a domain.
    domains: Vec<&'a Name>,
    /// Edges that may still be made.
    left: usize,
    warnings: Vec<Warning>,
    made: BTreeMap<Name, SegmentPlan>,
}

impl Expansion<'_> {
    /// The domains that an end means.
    fn meant(&self, end: &End) -> core::ops::Range<usize> {
        match end {
            End::Any => 0..self.domains.len(),
            End::One(name) => match self.domains.binary_search(&name) {
                Ok(place) => place..place + 1,
                Err(_) => 0..0,
            },
            End::Each(_) => 0..0,
        }
    }

    /// Tells of the domains that a segment names and that are not there.
    fn tell_unknown(&mut self, segment: &Name, links: &[Line]) {
        let unknown: BTreeSet<&Name> = links
            .iter()
            .flat_map(|(one, two, _)| [one, two])
            .filter_map(|end| if let End::One(name) = end { Some(name) } else { None })
            .filter(|name| self.domains.binary_search(name).is_err())
            .collect();
        let told = unknown.into_iter();
        self.warnings.extend(told.map(|domain| Warning::Unknown { segment: segment.clone(), domain: domain.clone() }));
    }
}

fn default_rule(links: &[Adjacent]) -> Result<Rule, TopologyError> {
    let mut texts = links.iter().flat_map(|row| core::iter::once(&row.domain).chain(&row.neighbors));
    match texts.find(|text| text.contains(EACH)) {
        Some(text) => Err(TopologyError::TemplateOutside(shown(text))),
        None => rule_of(DEFAULT, links),
    }
}

fn rules_of(segments: &[SegmentText]) -> Result<Vec<Rule>, TopologyError> {
    if segments.len() > SEGMENTS_MAX {
        return Err(TopologyError::TooMuch { what: "segments", max: SEGMENTS_MAX });
    }
    let mut names = BTreeSet::new();
    let mut rules = Vec::with_capacity(segments.len());
    for segment in segments {
        let rule = rule_of(&segment.name, &segment.links)?;
        if !names.insert(rule.name.clone()) {
            return Err(TopologyError::SegmentTwice(shown(&segment.name)));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn rule_of(segment: &str, rows: &[Adjacent]) -> Result<Rule, TopologyError> {
    let bad_name = || TopologyError::SegmentName(shown(segment));
    let name = End::parse(segment).filter(|end| *end != End::Any).ok_or_else(bad_name)?;
    if rows.iter().map(|row| row.neighbors.len().saturating_add(1)).sum::<usize>() > LINKS_MAX {
        return Err(TopologyError::TooMuch { what: "links", max: LINKS_MAX });
    }
    let end = |text: &str| {
        End::parse(text).ok_or_else(|| TopologyError::Domain { segment: shown(segment), text: shown(text) })
    };
    let (mut links, mut seen, mut pairs) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for row in rows {
        let (segment, domain) = (shown(segment), shown(&row.domain));
        let one = end(&row.domain)?;
        if row.weight == 0 {
            return Err(TopologyError::Weight { segment, domain });
        }
        if !seen.insert((one.clone(), row.weight)) {
            return Err(TopologyError::DomainTwice { segment, domain });
        }
        for neighbor in &row.neighbors {
            let two = end(neighbor)?;
            if one == two && one != End::Any {
                return Err(TopologyError::Itself { segment, domain });
            }
            if !pairs.insert((one.clone(), two.clone())) {
                return Err(TopologyError::NeighborTwice { segment, domain, neighbor: shown(neighbor) });
            }
            links.push((one.clone(), two, row.weight));
        }
    }
    let templates = links.iter().flat_map(|(one, two, _)| [one, two]).any(|end| matches!(end, End::Each(_)));
    if templates && !matches!(name, End::Each(_)) {
        return Err(TopologyError::TemplateName(shown(segment)));
    }
    Ok(Rule { name, links })
}

fn invariants_of(document: &Document) -> Result<Vec<Invariant>, TopologyError> {
    let end = |word: &str, text: &str| match End::parse(text) {
        Some(End::Any) => Ok(None),
        Some(End::One(name)) => Ok(Some(name)),
        _ => Err(TopologyError::Domain { segment: word.to_owned(), text: shown(text) }),
    };
    let mut invariants = Vec::with_capacity(document.never.len() + document.always.len());
    for (one, two) in &document.never {
        invariants.push(Invariant::Never { from: end("never", one)?, to: end("never", two)? });
    }
    for (one, two) in &document.always {
        invariants.push(Invariant::Always { from: end("always", one)?, to: end("always", two)? });
    }
    Ok(invariants)
}

/// As much of a text as an error shows.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    text.chars().take(CHARS_MAX).collect()
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Any => f.write_str(ANY),
            End::Each(text) => f.write_str(text),
            End::One(name) => fmt::Display::fmt(name, f),
        }
    }
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopologyError::BothKeys => {
                f.write_str("'links' and 'segments' exclude each other: move the links into a segment")
            }
            TopologyError::Declared(name) => {
                write!(f, "the segment '{name}' cannot be added: the topology document says which there are")
            }
            TopologyError::Domain { segment, text } => {
                write!(f, "in '{segment}': '{text}' is neither a domain, nor '*', nor a name with '$domain'")
            }
            TopologyError::SegmentName(text) => write!(f, "'{text}' cannot name a segment"),
            TopologyError::SegmentTwice(name) => write!(f, "the segment '{name}' is given twice"),
            TopologyError::DomainTwice { segment, domain } => {
                write!(f, "in '{segment}': the domain '{domain}' is given twice: put all its neighbors in one list")
            }
            TopologyError::NeighborTwice { segment, domain, neighbor } => {
                write!(f, "in '{segment}': '{neighbor}' is given twice among the neighbors of '{domain}'")
            }
            TopologyError::Itself { segment, domain } => {
                write!(f, "in '{segment}': the domain '{domain}' cannot be its own neighbor")
            }
            TopologyError::Unknown { segment, domain } => {
                write!(f, "in '{segment}': the domain '{domain}' is not declared")
            }
            TopologyError::TemplateName(name) => {
                write!(
                    f,
                    "the segment '{name}' has '$domain' in its links and not in its name: all domains would share it"
                )
            }
            TopologyError::TemplateOutside(text) => {
                write!(f, "'{text}': '$domain' belongs in a segment's links, not in 'links'")
            }
            TopologyError::Weight { segment, domain } => {
                write!(f, "in '{segment}': a weight of '{domain}' is 0; the least is 1")
            }
            TopologyError::TooMuch { what, max } => write!(f, "more than {max} {what} in one topology"),
        }
    }
}

impl core::error::Error for TopologyError {}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Name { text, domain } => write!(f, "'{text}', made for the domain '{domain}', cannot be a name"),
            Warning::Taken { segment, domain } => {
                write!(f, "the segment '{segment}', made for the domain '{domain}', exists already")
            }
            Warning::Unknown { segment, domain } => {
                write!(f, "the segment '{segment}' names the domain '{domain}', of which nothing is known yet")
            }
            Warning::TooMany { segment } => {
                write!(f, "the segment '{segment}' is left out: over {EDGES_MAX} edges in all")
            }
        }
    }
}

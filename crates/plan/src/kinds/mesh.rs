//! `Domain`, `Topology`, `Segment`, `NameAcl`, `Route` and `Mirror`: who is in the mesh, who is linked
//! with whom, and who may reach what.
//!
//! Here stands what one document can be wrong in. What a topology means for the domains that are there
//! (templates, `*`, invariants) is judged by who computes with it. Sources: the original's
//! `topology.links` and `topology.segments`; weights, names with rights and mirrors are ours.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use event::Pattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::quoted;
use crate::declared::{Judged, Report};
use crate::duration;

/// Longest name of a domain, segment or node, in bytes: that of a DNS label.
const NAME_BYTES_MAX: usize = 63;
/// Longest name of a stream, in bytes: that of a token that is a folder name too.
const STREAM_BYTES_MAX: usize = 255;
/// Every domain that is registered.
const ANY: &str = "*";
/// Stands for each registered domain that its segment does not name.
const TEMPLATE: &str = "$domain";
/// The segment of `spec.links` of a Topology.
const DEFAULT: &str = "default";

/// What a `Domain` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct DomainSpec {
    /// The file, on the controller, of the secret by which nodes prove that they are of this domain: at least 32
    /// bytes, which each of its nodes is given with --domain-secret-file.
    #[schemars(length(min = 1))]
    pub secret_file: String,
    /// How the nodes of the domain are linked: each with each, or all with one hub that relays.
    #[serde(default)]
    pub shape: DomainShape,
    /// The node that is the hub, with shape hub.
    #[serde(default)]
    pub hub: String,
}

/// How the nodes of a domain are linked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("enum" = ["full-mesh", "hub"]))]
pub enum DomainShape {
    /// Each with each: one hop, and nobody relays.
    #[default]
    FullMesh,
    /// All with one, which relays.
    Hub,
}

/// Which domains are linked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct NeighborsSpec {
    /// A domain; `*`: each that is registered; `$domain`: in a template, the domain that it is made for.
    #[schemars(length(min = 1))]
    pub domain: String,
    /// Whom it is linked with, in the same words. Links have no direction.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub neighbors: Vec<String>,
    /// What a hop over one of these links costs; paths are those that cost least.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub weight: u32,
}

/// Two domains of an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PairSpec {
    /// A domain; `*`: any.
    #[schemars(length(min = 1))]
    pub from: String,
    /// A domain; `*`: any other.
    #[schemars(length(min = 1))]
    pub to: String,
}

/// A segment of a Topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct TopologySegment {
    /// What it is called; with `$domain` in it, a template.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its links.
    #[schemars(length(min = 1))]
    pub links: Vec<NeighborsSpec>,
}

/// What a `Topology` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct TopologySpec {
    /// Links of one segment, which is called default. Either this or segments; neither: segments are declared one by
    /// one, each a Segment.
    #[serde(default)]
    pub links: Vec<NeighborsSpec>,
    /// Segments and their links. Either this or links.
    #[serde(default)]
    pub segments: Vec<TopologySegment>,
    /// Domains that must never reach each other: what would let them is refused.
    #[serde(default)]
    pub never: Vec<PairSpec>,
    /// Domains that must always reach each other: what would part them is refused.
    #[serde(default)]
    pub always: Vec<PairSpec>,
}

/// What a `Segment` says. Its name may hold `$domain`: then there is one for each domain that it does not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct SegmentSpec {
    /// Its links.
    #[schemars(length(min = 1))]
    pub links: Vec<NeighborsSpec>,
}

/// What a `NameAcl` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct NameAclSpec {
    /// The subjects that it is about, as patterns.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub subjects: Vec<String>,
    /// Who may publish to them: domain:NAME, token:NAME in any domain, domain:NAME/token:NAME in one, or * for
    /// everyone. Nothing said: everyone; an empty list: nobody. Between domains it is the domain that is asked for: a
    /// token is proven to the node that it came to, and to no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>", inner(length(min = 1)))]
    pub publish: Option<Vec<String>>,
    /// Who may subscribe to them, in the same words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>", inner(length(min = 1)))]
    pub subscribe: Option<Vec<String>>,
}

/// What a `Route` says: an interest that stands, whoever subscribes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct RouteSpec {
    /// The subjects, as patterns.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub subjects: Vec<String>,
    /// The domains to which messages of these subjects go; `*`: each that can be reached.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub to: Vec<String>,
}

/// What a `Mirror` says: a stream that is kept in other domains too, with custody. One of `to`, `from` and `accept`
/// says which side of it this node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct MirrorSpec {
    /// The stream as it is called where it is from; it may be made later. With accept, what it may be called here; `*`:
    /// anything.
    #[schemars(length(min = 1))]
    pub stream: String,
    /// This node's stream is kept there: DOMAIN, DOMAIN/NODE for one node of it, or * for every domain that can be
    /// reached, also later. There somebody must accept it.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub to: Vec<String>,
    /// The stream of another domain is kept here: DOMAIN, or DOMAIN/NODE for the node of it that has the stream.
    #[serde(default)]
    pub from: String,
    /// Who may have streams kept here: DOMAIN, DOMAIN/NODE, or * for everyone who can reach this domain.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub accept: Vec<String>,
    /// What it is called where it is kept; nothing said: as where it is from.
    #[serde(default, rename = "as")]
    pub stream_there: String,
    /// Only messages whose subject one of these patterns matches; none: all of the stream.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub filters: Vec<String>,
    /// With from or accept: bytes that are kept of it here, at most; the oldest messages go first. Nothing said: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub bytes_max: Option<u64>,
    /// With from or accept: age beyond which a message goes here. Nothing said: no limit.
    #[serde(default, with = "duration::maybe", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<duration::Optional>")]
    pub age_max: Option<Duration>,
}

fn one() -> u32 {
    1
}

/// Whether a text names a domain, segment or node: 1 to 63 bytes of lower-case letters, digits, `.`, `_` and `-`,
/// and it begins with a letter or digit.
pub(crate) fn is_name(text: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= NAME_BYTES_MAX
        && text.bytes().next().is_some_and(first)
        && text.bytes().all(|byte| first(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether a text says who may: a domain, a token of any domain or of one, or everyone.
fn is_who(text: &str) -> bool {
    let token = |text: &str| text.strip_prefix("token:").is_some_and(|name| !name.trim().is_empty() && name != ANY);
    match text.strip_prefix("domain:").map(|rest| rest.split_once('/')) {
        Some(Some((domain, rest))) => is_name(domain) && token(rest),
        Some(None) => text.strip_prefix("domain:").is_some_and(is_name),
        None => text == ANY || token(text),
    }
}

/// Whether a text names a segment, or is a template of names.
fn is_segment(text: &str) -> bool {
    is_name(&text.replace(TEMPLATE, "d"))
}

const NAME_RULE: &str =
    "must have 1 to 63 lower-case letters, digits, '.', '_' and '-', and begin with a letter or digit";

const STREAM_RULE: &str = "must have 1 to 255 letters, digits, '_' and '-'";

fn named(place: String, text: &str, words: &[&str], report: &mut Report) {
    let made = words.contains(&TEMPLATE) && is_segment(text);
    if !is_name(text) && !made && !words.contains(&text) {
        let words: Vec<String> = words.iter().map(|word| format!(", or {word}")).collect();
        report.fault(place, format!("{} {NAME_RULE}{}", quoted(text), words.concat()));
    }
}

fn subjects(place: &str, texts: &[String], report: &mut Report) {
    for (index, text) in texts.iter().enumerate() {
        if let Err(error) = Pattern::parse(text) {
            report.fault(format!("{place}[{index}]"), format!("must be a pattern such as orders.*.paid: {error}"));
        }
    }
}

/// The links of one segment: names, and nobody linked with itself.
fn links(place: &str, segment: &str, links: &[NeighborsSpec], report: &mut Report) {
    let template = segment.contains(TEMPLATE);
    let words: &[&str] = if template { &[ANY, TEMPLATE] } else { &[ANY] };
    let mut asked = false;
    for (index, link) in links.iter().enumerate() {
        let place = format!("{place}[{index}]");
        named(format!("{place}.domain"), &link.domain, words, report);
        for (at, neighbor) in link.neighbors.iter().enumerate() {
            named(format!("{place}.neighbors[{at}]"), neighbor, words, report);
            if neighbor == &link.domain && neighbor != ANY {
                report.fault(format!("{place}.neighbors[{at}]"), format!("{} is linked with itself", quoted(neighbor)));
            }
        }
        asked |= link.domain.contains(TEMPLATE) || link.neighbors.iter().any(|neighbor| neighbor.contains(TEMPLATE));
    }
    if template && !asked {
        report.fault(place, "names no $domain, where the name of the segment does: all of them would be alike");
    }
}

fn segment_name(place: &str, name: &str, report: &mut Report) {
    if !is_segment(name) {
        report.fault(place, format!("{} {NAME_RULE}; $domain may be a part of it", quoted(name)));
    }
}

fn pairs(place: &str, pairs: &[PairSpec], report: &mut Report) {
    for (index, pair) in pairs.iter().enumerate() {
        named(format!("{place}[{index}].from"), &pair.from, &[ANY], report);
        named(format!("{place}[{index}].to"), &pair.to, &[ANY], report);
        if pair.from == pair.to && pair.from != ANY {
            report.fault(format!("{place}[{index}]"), "says a domain twice: who is in it reaches itself");
        }
    }
}

impl DomainSpec {
    /// What only the document's name tells.
    pub(crate) fn judge_name(name: &str, report: &mut Report) {
        named("metadata.name".into(), name, &[], report);
    }
}

impl TopologySpec {
    /// Whether it says which domains are linked: then no Segment can be declared beside it.
    pub fn says_links(&self) -> bool {
        !self.links.is_empty() || !self.segments.is_empty()
    }
}

impl SegmentSpec {
    /// What only the document's name tells.
    pub(crate) fn judge_name(&self, name: &str, report: &mut Report) {
        segment_name("metadata.name", name, report);
        links("spec.links", name, &self.links, report);
    }
}

impl Judged for DomainSpec {
    fn judge(&mut self, report: &mut Report) {
        match (self.shape, self.hub.is_empty()) {
            (DomainShape::Hub, true) => report.fault("spec.hub", "is required with shape hub"),
            (DomainShape::FullMesh, false) => report.fault("spec.hub", "is of no use without shape hub"),
            (DomainShape::Hub, false) => named("spec.hub".into(), &self.hub, &[], report),
            (DomainShape::FullMesh, true) => {}
        }
    }
}

impl Judged for TopologySpec {
    fn judge(&mut self, report: &mut Report) {
        if !self.links.is_empty() && !self.segments.is_empty() {
            report.fault("spec", "says links and segments, where one of them may be said");
        }
        links("spec.links", DEFAULT, &self.links, report);
        let mut names = BTreeSet::new();
        for (index, segment) in self.segments.iter().enumerate() {
            segment_name(&format!("spec.segments[{index}].name"), &segment.name, report);
            if !names.insert(segment.name.as_str()) {
                report
                    .fault(format!("spec.segments[{index}].name"), format!("{} is there twice", quoted(&segment.name)));
            }
            links(&format!("spec.segments[{index}].links"), &segment.name, &segment.links, report);
        }
        pairs("spec.never", &self.never, report);
        pairs("spec.always", &self.always, report);
    }
}

impl Judged for SegmentSpec {
    fn judge(&mut self, _report: &mut Report) {}
}

impl Judged for NameAclSpec {
    fn judge(&mut self, report: &mut Report) {
        subjects("spec.subjects", &self.subjects, report);
        for (place, who) in [("spec.publish", &self.publish), ("spec.subscribe", &self.subscribe)] {
            for (index, who) in who.iter().flatten().enumerate() {
                if !is_who(who) {
                    let reason = "must be domain:NAME, token:NAME, domain:NAME/token:NAME or *";
                    report.fault(format!("{place}[{index}]"), reason);
                }
            }
        }
        if self.publish.is_none() && self.subscribe.is_none() {
            report.warn("spec", "closes nothing: it says neither publish nor subscribe");
        }
    }
}

impl Judged for RouteSpec {
    fn judge(&mut self, report: &mut Report) {
        subjects("spec.subjects", &self.subjects, report);
        for (index, domain) in self.to.iter().enumerate() {
            named(format!("spec.to[{index}]"), domain, &[ANY], report);
        }
    }
}

impl Judged for MirrorSpec {
    fn judge(&mut self, report: &mut Report) {
        let said = [("to", !self.to.is_empty()), ("from", !self.from.is_empty()), ("accept", !self.accept.is_empty())];
        let said: Vec<&str> = said.iter().filter(|(_, said)| *said).map(|(field, _)| *field).collect();
        if said.len() != 1 {
            let reason =
                "must say one of to (where it is kept), from (where it comes from) and accept (who may bring it)";
            report.fault("spec", reason);
        }
        let accepts = !self.accept.is_empty();
        if !(stream_name(&self.stream) || accepts && self.stream == ANY) {
            let reason = format!("{} {STREAM_RULE}", quoted(&self.stream));
            report.fault("spec.stream", if accepts { format!("{reason}, or be *") } else { reason });
        }
        if !self.stream_there.is_empty() && !stream_name(&self.stream_there) {
            report.fault("spec.as", format!("{} {STREAM_RULE}", quoted(&self.stream_there)));
        }
        let place = |list: &str, index: usize| format!("spec.{list}[{index}]");
        for (list, texts) in [("to", &self.to), ("accept", &self.accept)] {
            for (index, text) in texts.iter().enumerate() {
                whereabouts(place(list, index), text, &[ANY], report);
                if texts[..index].contains(text) {
                    report.fault(place(list, index), format!("{} is there twice", quoted(text)));
                }
            }
        }
        if !self.from.is_empty() {
            whereabouts("spec.from".into(), &self.from, &[], report);
        }
        for (field, given) in [("spec.as", !self.stream_there.is_empty()), ("spec.filters", !self.filters.is_empty())] {
            if accepts && given {
                report.fault(field, "is of no use with accept: who brings a stream says it");
            }
        }
        for (field, given) in [("spec.bytesMax", self.bytes_max.is_some()), ("spec.ageMax", self.age_max.is_some())] {
            if !self.to.is_empty() && given {
                report.fault(field, "is of no use with to: who keeps a stream says it");
            }
        }
        subjects("spec.filters", &self.filters, report);
    }
}

/// Whether a stream can be called so.
fn stream_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=STREAM_BYTES_MAX).contains(&text.len()) && text.bytes().all(letter)
}

/// A domain, or a node of one.
fn whereabouts(place: String, text: &str, words: &[&str], report: &mut Report) {
    let (domain, node) = text.split_once('/').map_or((text, None), |(domain, node)| (domain, Some(node)));
    let good = words.contains(&text) || is_name(domain) && node.is_none_or(is_name);
    if !good {
        report.fault(place, format!("{} is no domain and no domain/node: each {NAME_RULE}", quoted(text)));
    }
}

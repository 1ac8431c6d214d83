//! The effective configuration: what was declared, less what is masked, and what parts add.
//!
//! A part is taken whole or not at all. One that cannot be taken is quarantined, with the reason and the name of
//! what it conflicts with, and everything else applies. Older parts are judged first (by time of
//! observation, then source), and only what was taken counts against the next; so neither the order in which parts
//! are handed over nor a part that is quarantined changes what the others give.
//!
//! A part is quarantined that names a declared resource (masked or not), one that an older part gives,
//! or one twice; that has a directive other than a mask that a `DynamicOverridePolicy` allows, of a
//! declared resource; that holds a resource of a known kind that breaks its rules; or one of the kinds that govern
//! what is derived, which only an operator declares. Of one source only the newest generation counts.
//!
//! Cost: each call looks at every part and resource once, O(n log n).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use event::Moment;
use serde_json::{Map, Value, json};

use crate::canonical;
use crate::declared::check;
use crate::document::{Document, Identity, ROUTER_API_VERSION};
use crate::kinds::{Kind, Known, Operation, PolicySpec, known};
use crate::part::{Directive, Origin, Part, identity_json, time};

/// Known kinds that a part may hold; the others govern what is derived.
const DERIVABLE: [&str; 3] = ["AddressClaim", "SAMNodeSet", "MobilityPool"];

/// Sources whose parts say nothing but what a mobility pool captures.
pub(crate) const RESERVED: &str = "MobilityPool/";

/// Where a resource comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// An operator.
    Declared,
    /// A part.
    Part {
        /// Whose.
        source: String,
        /// Which of its parts.
        generation: u64,
    },
}

/// A resource of the effective configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// What it says.
    pub document: Document,
    /// Where it comes from.
    pub from: From,
}

/// A declared resource that is masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppressed {
    /// Which.
    pub target: Identity,
    /// `DynamicConfigPart/<source>` of each part that masks it, sorted and joined by `,`.
    pub masked_by: String,
    /// When the last of them ends. `None`: never.
    pub masked_until: Option<Moment>,
    /// Their reasons, sorted and joined by `; `.
    pub reason: String,
}

/// A part that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Whose.
    pub source: String,
    /// Which of its parts.
    pub generation: u64,
    /// The resource that it is about.
    pub resource: Option<Identity>,
    /// What it conflicts with: the source of another part, or the declared resource.
    pub with: Option<String>,
    /// Why, in a sentence about the part.
    pub reason: String,
}

/// A resource that a part adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Whose.
    pub source: String,
    /// Which of its parts.
    pub generation: u64,
    /// The resource.
    pub resource: Identity,
}

/// The effective configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effective {
    /// Declared ones in their order, then those of parts, older parts first.
    pub resources: Vec<Resolved>,
    /// By identity.
    pub suppressed: Vec<Suppressed>,
    /// Older parts first.
    pub quarantined: Vec<Quarantined>,
    /// Older parts first.
    pub added: Vec<Added>,
    /// Sources of the parts that were taken, older parts first.
    pub active: Vec<String>,
    /// Sources of the parts that have ended, by source.
    pub expired: Vec<String>,
    /// SHA-256 of the resources, in hexadecimal digits: the same configuration has the same.
    pub digest: String,
    origins: BTreeMap<String, Origin>,
}

/// Merges. `policies` are the declared ones alone: what a part says about masks does not count.
pub fn effective<'a>(
    declared: &[Document],
    policies: impl IntoIterator<Item = &'a PolicySpec>,
    parts: &[Part],
    now: Moment,
) -> Effective {
    let policies: Vec<&PolicySpec> = policies.into_iter().collect();
    let declared_ids: BTreeSet<Identity> = declared.iter().map(Document::identity).collect();
    let (live, expired) = in_order(parts, now);
    let broken = broken(&live);
    let mut merged = Effective { expired, ..Effective::default() };
    let mut masks: BTreeMap<Identity, Vec<(&Part, &Directive)>> = BTreeMap::new();
    let mut given: BTreeMap<Identity, &Part> = BTreeMap::new();
    let mut taken = Vec::new();
    for (index, part) in live.iter().enumerate() {
        let verdict = judge(part, &declared_ids, &given, &policies).or_else(|| broken.get(&index).cloned());
        if let Some(quarantined) = verdict {
            merged.quarantined.push(quarantined);
            continue;
        }
        merged.active.push(part.source.clone());
        if let Some(origin) = &part.origin {
            merged.origins.insert(part.source.clone(), origin.clone());
        }
        if part.source.starts_with(RESERVED) {
            continue;
        }
        given.extend(part.resources.iter().map(|resource| (resource.identity(), *part)));
        for directive in &part.directives {
            masks.entry(directive.target.clone()).or_default().push((part, directive));
        }
        taken.push(*part);
    }
    let kept = declared.iter().filter(|document| !masks.contains_key(&document.identity()));
    merged.resources.extend(kept.map(|document| Resolved { document: document.clone(), from: From::Declared }));
    for part in taken {
        merged.add(part);
    }
    merged.suppressed = masks.into_iter().map(|(target, by)| suppressed(target, &by)).collect();
    let resources = merged.resources.iter().map(|resource| resource.document.to_json()).collect();
    merged.digest = canonical::sha256(canonical::text(&Value::Array(resources)).as_bytes());
    merged
}

/// The parts that hold, the newest of each source, older ones first; and the sources of those that have
/// ended.
fn in_order(parts: &[Part], now: Moment) -> (Vec<&Part>, Vec<String>) {
    let mut newest: BTreeMap<&str, &Part> = BTreeMap::new();
    let mut expired: BTreeSet<&str> = BTreeSet::new();
    for part in parts {
        if part.is_expired(now) {
            expired.insert(&part.source);
            continue;
        }
        let rank = |part: &Part| (part.generation, part.observed, part.expires, part.digest.clone());
        newest
            .entry(&part.source)
            .and_modify(|known| {
                if rank(known) < rank(part) {
                    *known = part;
                }
            })
            .or_insert(part);
    }
    expired.retain(|source| !newest.contains_key(source));
    let mut live: Vec<&Part> = newest.into_values().collect();
    live.sort_by(|a, b| (a.observed, &a.source).cmp(&(b.observed, &b.source)));
    (live, expired.into_iter().map(str::to_string).collect())
}

/// Why a part cannot be taken beside what was declared and what older parts give.
fn judge(
    part: &Part,
    declared: &BTreeSet<Identity>,
    given: &BTreeMap<Identity, &Part>,
    policies: &[&PolicySpec],
) -> Option<Quarantined> {
    if part.source.starts_with(RESERVED) {
        return None;
    }
    let no = |resource: Identity, with: Option<String>, reason: String| {
        Some(Quarantined {
            source: part.source.clone(),
            generation: part.generation,
            resource: Some(resource),
            with,
            reason,
        })
    };
    let mut own = BTreeSet::new();
    for resource in &part.resources {
        let id = resource.identity();
        if declared.contains(&id) {
            let reason = format!("names {id}, which is declared");
            return no(id.clone(), Some(id.to_string()), reason);
        }
        if let Some(other) = given.get(&id) {
            let reason = format!("names {id}, which {} gives", other.source);
            return no(id, Some(other.source.clone()), reason);
        }
        if Kind::named(&id.kind).is_some_and(|kind| governs(kind, &id)) {
            let reason = format!("holds {id}, of a kind that is only declared");
            return no(id, None, reason);
        }
        if !own.insert(id.clone()) {
            let reason = format!("names {id} twice");
            return no(id, Some(part.source.clone()), reason);
        }
    }
    for directive in &part.directives {
        let id = directive.target.clone();
        if directive.op != "mask" {
            let reason = format!("has a directive {} of {id}; only mask is known", directive.op);
            return no(id, None, reason);
        }
        if !declared.contains(&id) {
            let reason = format!("masks {id}, which is not declared");
            return no(id, None, reason);
        }
        if !policies.iter().any(|policy| allows(policy, &part.source, &id)) {
            let reason = format!("masks {id}, which no DynamicOverridePolicy allows {}", part.source);
            return no(id.clone(), Some(id.to_string()), reason);
        }
    }
    None
}

fn governs(kind: &Kind, id: &Identity) -> bool {
    kind.api_versions().any(|version| version == id.api_version) && !DERIVABLE.contains(&kind.name)
}

/// Whether a policy lets the source mask the target.
fn allows(policy: &PolicySpec, source: &str, target: &Identity) -> bool {
    policy.allow.iter().any(|rule| {
        is_source(&rule.source, source)
            && rule.operations.contains(&Operation::Mask)
            && rule.targets.iter().any(|allowed| {
                (&allowed.api_version, &allowed.kind, &allowed.name)
                    == (&target.api_version, &target.kind, &target.name)
            })
    })
}

/// Whether a rule means a source: exactly, as `EventSubscription/<name>` for every part of it, or by a
/// beginning that ends in `/*`.
fn is_source(rule: &str, source: &str) -> bool {
    let below = |beginning: &str| source.strip_prefix(beginning).is_some_and(|rest| rest.starts_with('/'));
    rule == source
        || rule.strip_suffix("/*").is_some_and(below)
        || (rule.starts_with("EventSubscription/") && rule.matches('/').count() == 1 && below(rule))
}

/// Parts that hold a resource of a known kind that breaks its rules, by their place.
fn broken(parts: &[&Part]) -> BTreeMap<usize, Quarantined> {
    // Each under a name of its own: which names may stand together is judged elsewhere.
    let mut renamed = BTreeMap::new();
    let mut documents = Vec::new();
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| !part.source.starts_with(RESERVED)) {
        for resource in &part.resources {
            let judged = match known(&resource.api_version, &resource.kind) {
                Known::Opaque => false,
                Known::Unknown(_) => true,
                // What a pool says of groups can only be judged with them.
                Known::Kind(kind) => DERIVABLE.contains(&kind.name) && kind.name != "MobilityPool",
            };
            if judged {
                let document = Document { name: format!("n{}", documents.len()), ..resource.clone() };
                renamed.insert(document.identity().to_string(), (index, resource.identity()));
                documents.push(document);
            }
        }
    }
    let mut found = BTreeMap::new();
    for fault in check(documents).err().into_iter().flatten() {
        let Some((index, id)) = renamed.get(&fault.resource) else { continue };
        let Some(part) = parts.get(*index) else { continue };
        found.entry(*index).or_insert_with(|| Quarantined {
            source: part.source.clone(),
            generation: part.generation,
            resource: Some(id.clone()),
            with: None,
            reason: format!("holds {id}, whose {} {}", fault.path, fault.reason),
        });
    }
    found
}

fn suppressed(target: Identity, by: &[(&Part, &Directive)]) -> Suppressed {
    let sources: BTreeSet<String> = by.iter().map(|(part, _)| format!("DynamicConfigPart/{}", part.source)).collect();
    let reasons: BTreeSet<&str> = by.iter().map(|(_, directive)| directive.reason.trim()).collect();
    let reasons: Vec<&str> = reasons.into_iter().filter(|reason| !reason.is_empty()).collect();
    let forever = by.iter().any(|(part, _)| part.expires.is_none());
    let last = by.iter().filter_map(|(part, _)| part.expires).max();
    Suppressed {
        target,
        masked_by: sources.into_iter().collect::<Vec<_>>().join(","),
        masked_until: last.filter(|_| !forever),
        reason: reasons.join("; "),
    }
}

impl Effective {
    fn add(&mut self, part: &Part) {
        let from = From::Part { source: part.source.clone(), generation: part.generation };
        for document in &part.resources {
            self.added.push(Added {
                source: part.source.clone(),
                generation: part.generation,
                resource: document.identity(),
            });
            self.resources.push(Resolved { document: document.clone(), from: from.clone() });
        }
    }

    /// The resources as a `Router` document of routerd.
    pub fn router(&self, name: &str) -> Value {
        let resources: Vec<Value> = self.resources.iter().map(|resource| resource.document.to_json()).collect();
        json!({"apiVersion": ROUTER_API_VERSION, "kind": "Router", "metadata": {"name": name},
            "spec": {"resources": resources}})
    }

    /// What the merge did: `suppressed`, `addedResources`, `activeParts`, `expiredParts` by routerd's
    /// names, and `quarantined`.
    pub fn to_json(&self) -> Value {
        let suppressed = |one: &Suppressed| {
            let mut map = Map::new();
            map.insert("target".into(), identity_json(&one.target));
            map.insert("maskedBy".into(), one.masked_by.clone().into());
            map.insert("maskedUntil".into(), time(one.masked_until).into());
            if !one.reason.is_empty() {
                map.insert("reason".into(), one.reason.clone().into());
            }
            Value::Object(map)
        };
        let added = |one: &Added| {
            json!({"source": one.source, "generation": one.generation, "apiVersion": one.resource.api_version,
                "kind": one.resource.kind, "name": one.resource.name})
        };
        json!({
            "suppressed": self.suppressed.iter().map(suppressed).collect::<Vec<_>>(),
            "addedResources": self.added.iter().map(added).collect::<Vec<_>>(),
            "activeParts": self.active,
            "expiredParts": self.expired,
            "quarantined": self.quarantined.iter().map(Quarantined::to_json).collect::<Vec<_>>(),
        })
    }

    /// What the merge changed, a line for each resource, in routerd's words and columns.
    pub fn diff_lines(&self) -> Vec<String> {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for added in &self.added {
            let generation = format!("generation={}", added.generation);
            rows.push([format!("+ {}", added.resource), format!("source={}", added.source), generation].into());
        }
        for one in &self.suppressed {
            // The wire's times have whole seconds here.
            let until = one.masked_until.map(|until| Moment::from_nanos(until.nanos() / 1_000_000_000 * 1_000_000_000));
            let until = until.map_or_else(|| "-".into(), |until| until.to_string());
            let masked_by = format!("maskedBy={}", one.masked_by);
            let mut row: Vec<String> = [format!("- {}", one.target), masked_by, format!("maskedUntil={until}")].into();
            if !one.reason.is_empty() {
                row.push(format!("reason={}", one.reason));
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return ["no dynamic config changes".into()].into();
        }
        aligned(&rows)
    }

    /// Where a resource comes from, or why it is not there.
    pub fn explain(&self, identity: &Identity) -> Explanation<'_> {
        let same = |resource: &&Resolved| {
            let document = &resource.document;
            document.name == identity.name
                && document.kind == identity.kind
                && document.api_version == identity.api_version
        };
        let resource = self.resources.iter().find(same);
        let origin = resource.and_then(|resource| match &resource.from {
            From::Declared => None,
            From::Part { source, .. } => self.origins.get(source),
        });
        Explanation {
            resource,
            origin,
            suppressed: self.suppressed.iter().find(|one| one.target == *identity),
            quarantined: self.quarantined.iter().filter(|one| one.resource.as_ref() == Some(identity)).collect(),
        }
    }
}

impl Quarantined {
    /// As JSON: `source`, `generation`, `resource`, `with`, `reason`.
    pub fn to_json(&self) -> Value {
        json!({"source": self.source, "generation": self.generation, "with": self.with, "reason": self.reason,
            "resource": self.resource.as_ref().map(identity_json)})
    }
}

/// What is known of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation<'a> {
    /// The resource, where it is in the effective configuration.
    pub resource: Option<&'a Resolved>,
    /// The run and the facts that it was derived from.
    pub origin: Option<&'a Origin>,
    /// Who masks it.
    pub suppressed: Option<&'a Suppressed>,
    /// Parts that are not taken on account of it.
    pub quarantined: Vec<&'a Quarantined>,
}

impl Explanation<'_> {
    /// Whether anything is known at all.
    pub fn is_empty(&self) -> bool {
        self.resource.is_none() && self.suppressed.is_none() && self.quarantined.is_empty()
    }

    /// As JSON; what is not known is null. `run` is a number; its record is with who keeps records.
    pub fn to_json(&self) -> Value {
        let from = self.resource.map(|resource| &resource.from);
        let part = match from {
            Some(From::Part { source, generation }) => json!({"source": source, "generation": generation}),
            _ => Value::Null,
        };
        let from = match (from, self.suppressed) {
            (Some(From::Declared), _) => "declared",
            (Some(From::Part { .. }), _) => "part",
            (None, Some(_)) => "masked",
            (None, None) => "nowhere",
        };
        let facts = self.origin.map(|origin| origin.facts.as_slice()).unwrap_or_default();
        json!({
            "resource": self.resource.map(|resource| resource.document.to_json()),
            "from": from,
            "part": part,
            "subscription": self.origin.map(|origin| &origin.subscription),
            "plugin": self.origin.map(|origin| &origin.plugin),
            "run": self.origin.map(|origin| origin.run),
            "group": self.origin.map(|origin| &origin.group),
            "events": facts.iter().map(|fact| fact.id.as_str()).collect::<Vec<_>>(),
            "maskedBy": self.suppressed.map(|one| &one.masked_by),
            "maskedUntil": self.suppressed.and_then(|one| one.masked_until).map(|until| until.to_string()),
            "quarantined": self.quarantined.iter().map(|one| one.to_json()).collect::<Vec<_>>(),
        })
    }
}

/// Rows whose cells stand under each other, two spaces apart. A column reaches over the rows next to each
/// other that have a cell behind it. Source: Go's text/tabwriter with a padding of 2.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let mut lines: Vec<String> = rows.iter().map(|_| String::new()).collect();
    for column in 0..columns {
        let mut start = 0;
        while start < rows.len() {
            let padded = |row: &&Vec<String>| row.len() > column + 1;
            let block = rows.iter().skip(start).take_while(padded).count();
            let cells = rows.iter().skip(start).take(block.max(1));
            let width = cells.clone().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
            for (line, row) in lines.iter_mut().skip(start).zip(cells) {
                let Some(cell) = row.get(column) else { continue };
                line.push_str(cell);
                if block > 0 {
                    let pad = width.unwrap_or_default() + 2 - cell.chars().count();
                    line.extend(core::iter::repeat_n(' ', pad));
                }
            }
            start += block.max(1);
        }
    }
    lines
}

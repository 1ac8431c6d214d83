//! A part: what one run of a plugin derived, and from which facts.
//!
//! As JSON it is a `DynamicConfigPart` of routerd (`config.routerd.net/v1alpha1`): `spec` has its
//! fields by their names there, and `status.origin` says where it comes from, which routerd does not
//! record. A part says what should be so; whether it is taken is for [`merge`](crate::effective).
//!
//! Invariants: the digest covers what the plugin gave, before the annotations were put on, so a part that is
//! read back has the digest that it was written with. A source and a generation name one part.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use event::{Fact, Moment};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::canonical;
use crate::document::{Document, Identity, documents};
use crate::duration;

/// The version of a part as JSON.
pub const PART_API_VERSION: &str = "config.routerd.net/v1alpha1";

/// The kind of a part as JSON.
pub const PART_KIND: &str = "DynamicConfigPart";

/// How Go prints no time at all.
pub(crate) const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The annotations that say where a resource comes from: the subscription, and of its facts the
/// group, the ids and the subjects.
pub const ANNOTATIONS: [&str; 4] =
    ["routerd.net/dynamic-source", "routerd.net/event-group", "routerd.net/event-id", "routerd.net/event-subject"];

/// Hexadecimal digits of a source that stand for the ids of its facts.
const SOURCE_DIGITS: usize = 16;

/// What asks for a change of what was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// `mask` is the only one that is ever allowed.
    pub op: String,
    /// The declared resource that is meant.
    pub target: Identity,
    /// Why. Empty: not said.
    pub reason: String,
}

/// An operation at a provider that a plugin proposes. It is carried and shown; nothing here executes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ActionPlan {
    /// Unique in its part.
    pub name: String,
    /// `aws`, `azure`, `oci` or `gcp`.
    pub provider: String,
    /// Such as `assign-secondary-ip`.
    pub action: String,
    /// What it acts on, such as `address` and `nicRef`.
    pub target: BTreeMap<String, String>,
    /// Which account of the provider.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider_ref: String,
    /// Empty or `dry-run`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Empty, `low`, `medium` or `high`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub risk_level: String,
    /// What makes two tries one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub idempotency_key: String,
    /// What else the provider is told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// What should be so before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preconditions: Vec<ActionCheck>,
    /// What should be so afterwards, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected_effects: Vec<String>,
    /// How it is taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<ActionUndo>,
}

/// What should be so before an operation. It is shown, not evaluated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ActionCheck {
    /// What is looked at.
    pub name: String,
    /// What is expected.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expect: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Where it is looked at.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub target: BTreeMap<String, String>,
}

/// How an operation is taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ActionUndo {
    /// The inverse operation.
    pub action: String,
    /// What else the provider is told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// A fact as a part and a run remember it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FactRef {
    /// Unique in the group.
    pub id: String,
    /// The newest position of the group's stream at which it was seen.
    pub seq: u64,
    /// What it said, as a fingerprint: a refresh leaves it, another payload changes it.
    pub revision: u64,
    /// What it is about. Empty: not said.
    pub subject: String,
    /// The node that observed it. Empty: not said.
    pub node: String,
}

impl FactRef {
    /// What is remembered of a fact.
    pub fn of(fact: &Fact, seq: u64) -> Self {
        FactRef {
            id: fact.id.clone(),
            seq,
            revision: revision(fact),
            subject: fact.subject.clone(),
            node: fact.source.clone(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({"id": self.id, "seq": self.seq, "revision": format!("{:016x}", self.revision),
            "subject": self.subject, "sourceNode": self.node})
    }

    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        Some(FactRef {
            id: value.get("id")?.as_str()?.into(),
            seq: value.get("seq")?.as_u64()?,
            revision: u64::from_str_radix(value.get("revision")?.as_str()?, 16).ok()?,
            subject: word("subject"),
            node: word("sourceNode"),
        })
    }
}

/// Where a part comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The name of the subscription.
    pub subscription: String,
    /// The name of the plugin.
    pub plugin: String,
    /// The run of the subscription.
    pub run: u64,
    /// Where the facts come from.
    pub group: String,
    /// The facts, by id.
    pub facts: Vec<FactRef>,
    /// How long the plugin said it holds.
    pub ttl: Duration,
    /// The source of the part that it took the place of.
    pub replaces: Option<String>,
}

/// Derived configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Who derived it, such as `EventSubscription/claims/7b409f932d2c88e9`.
    pub source: String,
    /// Grows with each part of the same source; only the newest counts.
    pub generation: u64,
    /// When it was derived.
    pub observed: Moment,
    /// The first moment at which it no longer holds. `None`: it holds until it is dropped.
    pub expires: Option<Moment>,
    /// SHA-256 of the resources and directives as the plugin gave them, in hexadecimal digits.
    pub digest: String,
    /// What should be so beside what was declared.
    pub resources: Vec<Document>,
    /// What should not be so of what was declared.
    pub directives: Vec<Directive>,
    /// What is proposed to be done at providers.
    pub action_plans: Vec<ActionPlan>,
    /// What a mobility pool captures, as routerd writes it.
    pub mobility_dataplane: Option<Value>,
    /// What a mobility pool listens to, as routerd writes it.
    pub arp_observer_intents: Vec<Value>,
    /// What a mobility pool routes, as routerd writes it.
    pub fib_verdicts: Vec<Value>,
    /// Where it comes from; `None`: it was declared, or a plugin was run by hand.
    pub origin: Option<Origin>,
}

/// Why a value is not a part. Never worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path} {reason}")]
pub struct PartError {
    /// The field, such as `spec.resources[0].kind`.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

impl PartError {
    pub(crate) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        PartError { path: path.into(), reason: reason.into() }
    }
}

impl Part {
    /// A part that says nothing yet and holds until it is dropped.
    pub fn new(source: impl Into<String>, generation: u64, observed: Moment) -> Self {
        Part {
            source: source.into(),
            generation,
            observed,
            expires: None,
            digest: digest(&[], &[]),
            resources: Vec::new(),
            directives: Vec::new(),
            action_plans: Vec::new(),
            mobility_dataplane: None,
            arp_observer_intents: Vec::new(),
            fib_verdicts: Vec::new(),
            origin: None,
        }
    }

    /// Whether it holds no longer. A part has ended *at* its expiry, where a fact still holds.
    pub fn is_expired(&self, now: Moment) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// The name of the part as a resource: source and generation, joined by `-`.
    pub fn name(&self) -> String {
        let source = self.source.replace('/', "-");
        match source.trim_matches('-') {
            "" => format!("dynamic-{}", self.generation),
            source => format!("{source}-{}", self.generation),
        }
    }

    /// The same part, which holds until `until`, its facts seen up to `seqs` (id and position).
    #[must_use]
    pub fn renewed(mut self, until: Option<Moment>, seqs: &[(String, u64)]) -> Self {
        self.expires = until;
        for fact in self.origin.iter_mut().flat_map(|origin| &mut origin.facts) {
            let seen = seqs.iter().filter(|(id, _)| *id == fact.id).map(|(_, seq)| *seq).max();
            fact.seq = fact.seq.max(seen.unwrap_or_default());
        }
        self
    }

    /// Puts on each resource where it comes from, over what was there under the same names.
    pub fn annotate(&mut self, subscription: &str, facts: &[Arc<Fact>]) {
        let mut ids: Vec<&str> = facts.iter().map(|fact| fact.id.as_str()).collect();
        ids.sort_unstable();
        let subjects: Vec<&str> = facts.iter().map(|f| f.subject.as_str()).filter(|text| !text.is_empty()).collect();
        let group = facts.first().map(|fact| fact.group.as_str()).unwrap_or_default();
        let source = format!("EventSubscription/{subscription}");
        let values = [source, group.into(), ids.join(","), subjects.join(",")];
        for resource in &mut self.resources {
            for (name, value) in ANNOTATIONS.iter().zip(&values) {
                if *name != ANNOTATIONS[3] || !value.is_empty() {
                    resource.annotations.insert((*name).into(), value.clone());
                }
            }
        }
    }

    /// As JSON: a `DynamicConfigPart`. [`Part::from_json`] reads the same part back.
    pub fn to_json(&self) -> Value {
        let mut spec = Map::new();
        spec.insert("source".into(), self.source.clone().into());
        spec.insert("generation".into(), self.generation.into());
        spec.insert("observedAt".into(), self.observed.to_string().into());
        spec.insert("expiresAt".into(), time(self.expires).into());
        spec.insert("digest".into(), self.digest.clone().into());
        spec.insert("resources".into(), self.resources.iter().map(Document::to_json).collect());
        spec.insert("directives".into(), self.directives.iter().map(directive_json).collect());
        let plans = self.action_plans.iter().map(|plan| serde_json::to_value(plan).unwrap_or_default());
        let lists = [
            ("actionPlans", plans.collect()),
            ("arpObserverIntents", self.arp_observer_intents.clone()),
            ("fibVerdicts", self.fib_verdicts.clone()),
        ];
        for (name, list) in lists {
            if !list.is_empty() {
                spec.insert(name.into(), Value::Array(list));
            }
        }
        if let Some(dataplane) = &self.mobility_dataplane {
            spec.insert("mobilityDataplane".into(), dataplane.clone());
        }
        let mut whole = json!({"apiVersion": PART_API_VERSION, "kind": PART_KIND,
            "metadata": {"name": self.name()}, "spec": spec});
        if let (Some(origin), Some(map)) = (&self.origin, whole.as_object_mut()) {
            map.insert("status".into(), json!({"origin": origin_json(origin)}));
        }
        whole
    }

    /// Reads a part. A digest that is absent is computed.
    ///
    /// # Errors
    /// [`PartError`] names the first field that is not as it should be.
    pub fn from_json(value: &Value) -> Result<Self, PartError> {
        let spec = value.get("spec").ok_or_else(|| PartError::new("spec", "is required"))?;
        let mut part = Part::from_spec(spec)?;
        if let Some(origin) = value.get("status").and_then(|status| status.get("origin")) {
            let origin =
                origin_of(origin).ok_or_else(|| PartError::new("status.origin", "is not where a part comes from"))?;
            part.origin = Some(origin);
        }
        Ok(part)
    }

    /// Reads the `spec` of a part.
    ///
    /// # Errors
    /// As [`Part::from_json`].
    pub fn from_spec(spec: &Value) -> Result<Self, PartError> {
        let source = spec.get("source").and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let source = source.ok_or_else(|| PartError::new("spec.source", "is required"))?;
        let generation = match spec.get("generation") {
            None | Some(Value::Null) => 0,
            Some(number) => {
                number.as_u64().ok_or_else(|| PartError::new("spec.generation", "must be a number from 0 on"))?
            }
        };
        let observed = moment(spec.get("observedAt"), "spec.observedAt")?.unwrap_or_default();
        let mut part = Part::new(source, generation, observed);
        part.expires = moment(spec.get("expiresAt"), "spec.expiresAt")?;
        part.resources = resources(spec.get("resources"), "spec.resources")?;
        part.directives = directives(spec.get("directives"), "spec.directives")?;
        part.action_plans = action_plans(spec.get("actionPlans"), "spec.actionPlans")?;
        part.arp_observer_intents = list(spec.get("arpObserverIntents"), "spec.arpObserverIntents")?.to_vec();
        part.fib_verdicts = list(spec.get("fibVerdicts"), "spec.fibVerdicts")?.to_vec();
        part.mobility_dataplane = spec.get("mobilityDataplane").filter(|value| !value.is_null()).cloned();
        part.digest = match spec.get("digest").and_then(Value::as_str).filter(|digest| !digest.is_empty()) {
            Some(digest) => digest.into(),
            None => digest(&part.resources, &part.directives),
        };
        Ok(part)
    }
}

/// The source of a part of a subscription: its name and the facts' ids, in whatever order.
pub fn part_source(subscription: &str, ids: &[&str]) -> String {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    let mut hash = canonical::sha256(ids.join(",").as_bytes());
    hash.truncate(SOURCE_DIGITS);
    format!("EventSubscription/{subscription}/{hash}")
}

/// The digest of resources and directives: the annotations that say where a resource comes from do not
/// count.
///
/// What routerd computes of kinds that it knows has the keys of a `spec` in the order of its own types;
/// here they are sorted, so the two agree only where that is the same.
pub fn digest(resources: &[Document], directives: &[Directive]) -> String {
    let mut out = String::from("{\"resources\":[");
    for (index, resource) in resources.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_resource(resource, &mut out);
    }
    out.push_str("],\"directives\":[");
    for (index, directive) in directives.iter().enumerate() {
        out.push_str(if index > 0 { ",{\"op\":" } else { "{\"op\":" });
        canonical::quote(&directive.op, &mut out);
        out.push_str(",\"target\":{\"apiVersion\":");
        canonical::quote(&directive.target.api_version, &mut out);
        out.push_str(",\"kind\":");
        canonical::quote(&directive.target.kind, &mut out);
        out.push_str(",\"name\":");
        canonical::quote(&directive.target.name, &mut out);
        out.push('}');
        if !directive.reason.is_empty() {
            out.push_str(",\"reason\":");
            canonical::quote(&directive.reason, &mut out);
        }
        out.push('}');
    }
    out.push_str("]}");
    canonical::sha256(out.as_bytes())
}

/// A resource with its keys in routerd's order.
fn write_resource(resource: &Document, out: &mut String) {
    out.push_str("{\"apiVersion\":");
    canonical::quote(&resource.api_version, out);
    out.push_str(",\"kind\":");
    canonical::quote(&resource.kind, out);
    out.push_str(",\"metadata\":{\"name\":");
    canonical::quote(&resource.name, out);
    if !resource.owner_refs.is_empty() {
        out.push_str(",\"ownerRefs\":");
        canonical::write(&Value::Array(resource.owner_refs.clone()), out);
    }
    let own = resource.annotations.iter().filter(|(key, _)| !ANNOTATIONS.contains(&key.as_str()));
    let own: Map<String, Value> = own.map(|(key, value)| (key.clone(), value.clone().into())).collect();
    if !own.is_empty() {
        out.push_str(",\"annotations\":");
        canonical::write(&Value::Object(own), out);
    }
    out.push_str("},\"spec\":");
    canonical::write(&resource.spec, out);
    out.push('}');
}

/// A fingerprint of what a fact says. When it was observed and until when it holds do not count: that is
/// what a refresh changes.
pub fn revision(fact: &Fact) -> u64 {
    let mut out = String::new();
    for text in [&fact.kind, &fact.subject, &fact.source] {
        canonical::quote(text, &mut out);
    }
    for (key, value) in &fact.payload {
        canonical::quote(key, &mut out);
        canonical::quote(value, &mut out);
    }
    let digits = canonical::sha256(out.as_bytes());
    digits.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// A time as Go prints it, none being the first of its times.
pub(crate) fn time(moment: Option<Moment>) -> String {
    moment.map_or_else(|| NO_TIME.into(), |moment| moment.to_string())
}

/// Reads a time; absent, empty and Go's first time are none.
pub(crate) fn moment(value: Option<&Value>, path: &str) -> Result<Option<Moment>, PartError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() || text == NO_TIME => Ok(None),
        Some(Value::String(text)) => {
            Moment::parse(text).map(Some).map_err(|error| PartError::new(path, error.to_string()))
        }
        Some(_) => Err(PartError::new(path, "must be an RFC 3339 time")),
    }
}

/// A list; absent is empty.
pub(crate) fn list<'a>(value: Option<&'a Value>, path: &str) -> Result<&'a [Value], PartError> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(PartError::new(path, "must be a list")),
    }
}

/// Resources, each with `apiVersion`, `kind`, `metadata.name` and `spec`.
pub(crate) fn resources(value: Option<&Value>, path: &str) -> Result<Vec<Document>, PartError> {
    let mut found = Vec::new();
    for (index, item) in list(value, path)?.iter().enumerate() {
        let at = format!("{path}[{index}]");
        if !item.is_object() {
            return Err(PartError::new(at, "must be a resource"));
        }
        let named = |key: &str| item.get(key).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
        for key in ["apiVersion", "kind"] {
            if !named(key) {
                return Err(PartError::new(format!("{at}.{key}"), "is required"));
            }
        }
        if !item.get("spec").is_some_and(Value::is_object) {
            return Err(PartError::new(format!("{at}.spec"), "is required and must be a mapping"));
        }
        let read = documents(item.clone()).map_err(|fault| PartError::new(at.as_str(), fault.to_string()))?;
        match <[Document; 1]>::try_from(read) {
            Ok([document]) => found.push(document),
            Err(_) => return Err(PartError::new(at, "must be one resource")),
        }
    }
    Ok(found)
}

/// Directives, each with `op` and `target`.
pub(crate) fn directives(value: Option<&Value>, path: &str) -> Result<Vec<Directive>, PartError> {
    let mut found = Vec::new();
    for (index, item) in list(value, path)?.iter().enumerate() {
        let at = format!("{path}[{index}]");
        let word = |value: &Value, key: &str, name: &str| match value.get(key).and_then(Value::as_str).map(str::trim) {
            Some(text) if !text.is_empty() => Ok(text.to_string()),
            _ => Err(PartError::new(format!("{at}.{name}"), "is required")),
        };
        let target = item.get("target").unwrap_or(&Value::Null);
        found.push(Directive {
            op: word(item, "op", "op")?,
            target: Identity {
                api_version: word(target, "apiVersion", "target.apiVersion")?,
                kind: word(target, "kind", "target.kind")?,
                name: word(target, "name", "target.name")?,
            },
            reason: item.get("reason").and_then(Value::as_str).unwrap_or_default().into(),
        });
    }
    Ok(found)
}

/// Action plans, of which every leaf is a text: numbers, true and false are taken for theirs.
pub(crate) fn action_plans(value: Option<&Value>, path: &str) -> Result<Vec<ActionPlan>, PartError> {
    let plan = |(index, item): (usize, &Value)| {
        let at = format!("{path}[{index}]");
        if !item.is_object() {
            return Err(PartError::new(at, "must be an action plan"));
        }
        serde_json::from_value(texts(item)).map_err(|error| PartError::new(at, error.to_string()))
    };
    list(value, path)?.iter().enumerate().map(plan).collect()
}

/// A value in which every leaf is a text, and nothing is null.
pub(crate) fn texts(value: &Value) -> Value {
    match value {
        Value::Number(_) | Value::Bool(_) => Value::String(value.to_string()),
        Value::Array(items) => items.iter().filter(|item| !item.is_null()).map(texts).collect(),
        Value::Object(map) => {
            let pairs = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(pairs.map(|(key, value)| (key.clone(), texts(value))).collect())
        }
        Value::Null | Value::String(_) => value.clone(),
    }
}

pub(crate) fn identity_json(identity: &Identity) -> Value {
    json!({"apiVersion": identity.api_version, "kind": identity.kind, "name": identity.name})
}

fn directive_json(directive: &Directive) -> Value {
    let mut value = json!({"op": directive.op, "target": identity_json(&directive.target)});
    if let (false, Some(map)) = (directive.reason.is_empty(), value.as_object_mut()) {
        map.insert("reason".into(), directive.reason.clone().into());
    }
    value
}

fn origin_json(origin: &Origin) -> Value {
    json!({
        "subscription": origin.subscription,
        "plugin": origin.plugin,
        "run": origin.run,
        "group": origin.group,
        "ttl": duration::print(origin.ttl),
        "replaces": origin.replaces,
        "facts": origin.facts.iter().map(FactRef::to_json).collect::<Vec<_>>(),
    })
}

fn origin_of(value: &Value) -> Option<Origin> {
    let word = |key: &str| Some(value.get(key)?.as_str()?.to_string());
    let facts = value.get("facts")?.as_array()?.iter().map(FactRef::from_json).collect::<Option<Vec<_>>>()?;
    let ttl = duration::parse(value.get("ttl")?.as_str()?).ok()?;
    Some(Origin {
        subscription: word("subscription")?,
        plugin: word("plugin")?,
        run: value.get("run")?.as_u64()?,
        group: word("group")?,
        facts,
        ttl: Duration::from_nanos(u64::try_from(ttl).ok()?),
        replaces: word("replaces"),
    })
}

//! What a plugin is asked, and what it answers.
//!
//! A request is one JSON document for standard input, a result one document from standard output
//! (YAML, which the caller has made a value of); both are routerd's formats, so a plugin that was
//! written for it runs unchanged. A plugin is shown the facts that matched and no resource that its
//! `spec.context` does not name, and of those no secret. What it proposes beyond its capabilities is refused
//! whole: half a result would be another result.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use event::{Fact, Moment};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::document::Document;
use crate::duration;
use crate::kinds::{Capability, PluginSpec, ResourceRef};
use crate::part::{self, ActionPlan, Directive, Part, PartError, digest};

/// The version of requests and results.
pub const PLUGIN_API_VERSION: &str = "plugin.routerd.net/v1alpha1";

/// Levels of lists and mappings in a result, at most: what reads a value walks it on the stack.
pub const RESULT_DEPTH_MAX: usize = 64;

/// Resources of a result, at most: a hundred times the largest plan known, and bounded.
pub const RESULT_RESOURCES_MAX: usize = 10_000;

/// What starts a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Such as `federation-subscription`.
    pub on: String,
    /// What of it. Empty: not said.
    pub topic: String,
}

impl Trigger {
    /// The facts of a subscription.
    pub fn subscription(name: &str) -> Self {
        Trigger { on: "federation-subscription".into(), topic: format!("routerd.federation.subscription/{name}") }
    }

    /// Somebody at a command line.
    pub fn manual() -> Self {
        Trigger { on: "manual".into(), topic: String::new() }
    }
}

/// What a plugin is asked.
#[derive(Debug, Clone)]
pub struct PluginRequest<'a> {
    /// The name of the plugin.
    pub plugin: &'a str,
    /// Why it is asked.
    pub trigger: Trigger,
    /// When it is asked.
    pub now: Moment,
    /// The facts that matched, in the order in which they are told.
    pub facts: &'a [Arc<Fact>],
    /// The generation of the part that the result takes the place of; 0: there is none.
    pub previous_generation: u64,
    /// The same for each try of the same facts, so that what a plugin does twice can have effect once.
    /// Empty: not said. Ours; routerd does not send it.
    pub idempotency_key: String,
    /// What [`context`] gives.
    pub context: Value,
}

impl PluginRequest<'_> {
    /// The document.
    pub fn to_json(&self) -> Value {
        let mut spec = Map::new();
        let mut trigger = json!({"type": self.trigger.on});
        if let (false, Some(map)) = (self.trigger.topic.is_empty(), trigger.as_object_mut()) {
            map.insert("topic".into(), self.trigger.topic.clone().into());
        }
        spec.insert("trigger".into(), trigger);
        spec.insert("startupConfigHash".into(), "".into());
        spec.insert("effectiveGeneration".into(), 0.into());
        spec.insert("previousDynamicGeneration".into(), self.previous_generation.into());
        spec.insert("now".into(), self.now.to_string().into());
        if !self.facts.is_empty() {
            spec.insert("events".into(), self.facts.iter().map(|fact| fact_json(fact)).collect());
        }
        spec.insert("context".into(), self.context.clone());
        if !self.idempotency_key.is_empty() {
            spec.insert("idempotencyKey".into(), self.idempotency_key.clone().into());
        }
        json!({"apiVersion": PLUGIN_API_VERSION, "kind": "PluginRequest", "metadata": {"name": self.plugin},
            "spec": spec})
    }
}

/// A fact with the names of the envelope.
fn fact_json(fact: &Fact) -> Value {
    let mut map = Map::new();
    let texts = [
        ("id", &fact.id),
        ("group", &fact.group),
        ("sourceNode", &fact.source),
        ("type", &fact.kind),
        ("subject", &fact.subject),
        ("dedupeKey", &fact.dedupe_key),
    ];
    for (name, text) in texts {
        if !text.is_empty() || matches!(name, "id" | "group" | "type") {
            map.insert(name.into(), text.clone().into());
        }
    }
    if !fact.payload.is_empty() {
        let pairs = fact.payload.iter().map(|(key, value)| (key.clone(), Value::String(value.clone())));
        map.insert("payload".into(), Value::Object(pairs.collect()));
    }
    map.insert("observedAt".into(), part::time(fact.observed).into());
    map.insert("expiresAt".into(), part::time(fact.expires).into());
    Value::Object(map)
}

/// The context of a request: of `resources` those that `allow` names, without their secrets. What is
/// named and does not exist is left out.
pub fn context(allow: &[ResourceRef], resources: &[Document]) -> Value {
    let mut shown = Vec::new();
    for wanted in allow {
        let same = |document: &&Document| {
            document.api_version == wanted.api_version && document.kind == wanted.kind && document.name == wanted.name
        };
        let Some(document) = resources.iter().find(same) else { continue };
        let mut resource = Map::new();
        resource.insert("apiVersion".into(), document.api_version.clone().into());
        resource.insert("kind".into(), document.kind.clone().into());
        resource.insert("name".into(), document.name.clone().into());
        match redacted(&document.spec) {
            // Of what is no mapping nothing can be told apart as a secret.
            Value::Object(spec) if !spec.is_empty() => {
                resource.insert("spec".into(), Value::Object(spec));
            }
            _ => {}
        }
        shown.push(Value::Object(resource));
    }
    if shown.is_empty() { json!({}) } else { json!({ "resources": shown }) }
}

/// A value without its secrets. By the name of a key, in any case: what ends in `keyfile`, `secretfile`
/// or `passwordfile` is left out; what holds `secret`, `password`, `privatekey`, `presharedkey`, `psk`, `token`,
/// `credential`, `passphrase` or `authkey` is made an empty text, or left out where it is a mapping; and what ends in
/// `from` is left out where it is a mapping of nothing but `file`, `env` and `base64`.
pub fn redacted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(redacted).collect(),
        Value::Object(map) => Value::Object(map.iter().filter_map(|(key, value)| told(key, value)).collect()),
        other => other.clone(),
    }
}

/// What is told of a pair.
fn told(key: &str, value: &Value) -> Option<(String, Value)> {
    const FILES: [&str; 3] = ["keyfile", "secretfile", "passwordfile"];
    const SECRETS: [&str; 9] =
        ["secret", "password", "privatekey", "presharedkey", "psk", "token", "credential", "passphrase", "authkey"];
    const SOURCES: [&str; 3] = ["file", "env", "base64"];
    let name = key.to_lowercase();
    if FILES.iter().any(|suffix| name.ends_with(suffix)) {
        return None;
    }
    if SECRETS.iter().any(|word| name.contains(word)) {
        return if value.is_object() { None } else { Some((key.into(), "".into())) };
    }
    let points = |map: &Map<String, Value>| {
        !map.is_empty() && map.keys().all(|key| SOURCES.contains(&key.to_lowercase().as_str()))
    };
    if name.ends_with("from") && value.as_object().is_some_and(points) {
        return None;
    }
    Some((key.into(), redacted(value)))
}

/// Something that a plugin tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEvent {
    /// What kind of event.
    pub kind: String,
    /// For people.
    pub message: String,
    /// What else.
    pub attributes: BTreeMap<String, String>,
}

/// What a plugin answers.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginResult {
    /// When it observed; `None`: when it was asked.
    pub observed: Option<Moment>,
    /// How long what it says holds, from then on.
    pub ttl: Duration,
    /// What should be so.
    pub resources: Vec<Document>,
    /// What should not be so.
    pub directives: Vec<Directive>,
    /// What is proposed to be done.
    pub action_plans: Vec<ActionPlan>,
    /// What it tells.
    pub events: Vec<PluginEvent>,
}

/// Why a result is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResultError {
    /// It is not what a result should be. Asking again may help: the next answer is another one.
    #[error("PluginResult {0}")]
    Malformed(#[from] PartError),
    /// It proposes what the plugin may not. Asking again does not help before the plugin is allowed to.
    #[error("PluginResult {path} needs the capability {}, which the plugin does not have", names(.needs))]
    Capability {
        /// The field that proposes it.
        path: &'static str,
        /// The capabilities, each of which would do.
        needs: &'static [Capability],
    },
}

fn names(needs: &[Capability]) -> String {
    needs.iter().map(|capability| capability.as_str()).collect::<Vec<_>>().join(" or ")
}

impl PluginResult {
    /// Reads a result and holds it against what the plugin may do.
    ///
    /// # Errors
    /// [`ResultError`] names the field at fault, or the capability that is missing.
    pub fn parse(value: &Value, plugin: &PluginSpec) -> Result<Self, ResultError> {
        if !shallow(value, RESULT_DEPTH_MAX) {
            return Err(PartError::new("document", format!("has more than {RESULT_DEPTH_MAX} levels")).into());
        }
        for (key, wanted) in [("apiVersion", PLUGIN_API_VERSION), ("kind", "PluginResult")] {
            let given = value.get(key);
            // Leaving the version out does no harm.
            if given.and_then(Value::as_str) != Some(wanted) && (given.is_some() || key == "kind") {
                return Err(PartError::new(key, format!("must be {wanted}")).into());
            }
        }
        let status = value.get("status").ok_or_else(|| PartError::new("status", "is required"))?;
        let result = PluginResult {
            observed: part::moment(status.get("observedAt"), "status.observedAt")?,
            ttl: ttl(status.get("ttl"))?,
            resources: part::resources(status.get("resources"), "status.resources")?,
            directives: part::directives(status.get("directives"), "status.directives")?,
            action_plans: part::action_plans(status.get("actionPlans"), "status.actionPlans")?,
            events: events(status.get("events"))?,
        };
        result.check()?;
        result.allowed(plugin)?;
        Ok(result)
    }

    /// What holds of every result, whoever gave it.
    fn check(&self) -> Result<(), PartError> {
        if self.resources.len() > RESULT_RESOURCES_MAX {
            let reason = format!("has more than {RESULT_RESOURCES_MAX} resources");
            return Err(PartError::new("status.resources", reason));
        }
        for (index, directive) in self.directives.iter().enumerate() {
            if directive.op != "mask" {
                return Err(PartError::new(format!("status.directives[{index}].op"), "must be mask"));
            }
        }
        for (index, plan) in self.action_plans.iter().enumerate() {
            check_plan(plan)
                .map_err(|error| PartError { path: format!("status.actionPlans[{index}].{}", error.path), ..error })?;
        }
        Ok(())
    }

    fn allowed(&self, plugin: &PluginSpec) -> Result<(), ResultError> {
        const CONFIG: &[Capability] = &[Capability::ProposeDynamicConfig];
        const ACTION: &[Capability] = &[Capability::ProposeProviderAction];
        const OBSERVE: &[Capability] = &[Capability::ObserveCloud, Capability::ObserveProviderPrivateIps];
        let proposed = [
            ("status.resources", self.resources.is_empty(), CONFIG),
            ("status.directives", self.directives.is_empty(), CONFIG),
            ("status.actionPlans", self.action_plans.is_empty(), ACTION),
            ("status.events", self.events.is_empty(), OBSERVE),
        ];
        for (path, empty, needs) in proposed {
            if !empty && !needs.iter().any(|capability| plugin.capabilities.contains(capability)) {
                return Err(ResultError::Capability { path, needs });
            }
        }
        Ok(())
    }

    /// The part that the result is, from `now` or its own time on.
    pub fn into_part(self, source: impl Into<String>, generation: u64, now: Moment) -> Part {
        let mut part = Part::new(source, generation, self.observed.unwrap_or(now));
        part.expires = Some(part.observed.after(self.ttl));
        part.digest = digest(&self.resources, &self.directives);
        part.resources = self.resources;
        part.directives = self.directives;
        part.action_plans = self.action_plans;
        part
    }
}

fn ttl(value: Option<&Value>) -> Result<Duration, PartError> {
    let fault = |reason: &str| PartError::new("status.ttl", reason);
    let text = match value {
        None | Some(Value::Null) => return Err(fault("is required")),
        Some(Value::String(text)) if text.trim().is_empty() => return Err(fault("is required")),
        Some(Value::String(text)) => text.trim(),
        Some(_) => return Err(fault("must be a span of time with a unit, such as 5m")),
    };
    let nanos = duration::parse(text).map_err(|error| fault(&error.to_string()))?;
    match u64::try_from(nanos) {
        Ok(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
        _ => Err(fault("must be more than 0")),
    }
}

fn events(value: Option<&Value>) -> Result<Vec<PluginEvent>, PartError> {
    let event = |(index, item): (usize, &Value)| {
        let item = part::texts(item);
        let word = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        let kind = word("type");
        if kind.trim().is_empty() {
            return Err(PartError::new(format!("status.events[{index}].type"), "is required"));
        }
        let pairs = item.get("attributes").and_then(Value::as_object).into_iter().flatten();
        let attributes = pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string())));
        Ok(PluginEvent { kind, message: word("message"), attributes: attributes.collect() })
    };
    part::list(value, "status.events")?.iter().enumerate().map(event).collect()
}

/// Whether a plan is one that may be carried.
///
/// # Errors
/// [`PartError`] with the field of the plan. `execute` is refused always: plans are shown, not executed.
pub fn check_plan(plan: &ActionPlan) -> Result<(), PartError> {
    const PROVIDERS: [&str; 4] = ["aws", "azure", "oci", "gcp"];
    const ACTIONS: [&str; 6] = [
        "assign-secondary-ip",
        "unassign-secondary-ip",
        "assign-route-table-route",
        "unassign-route-table-route",
        "ensure-forwarding-enabled",
        "ensure-forwarding-disabled",
    ];
    const RISKS: [&str; 4] = ["", "low", "medium", "high"];
    let one_of = |path: &str, text: &str, all: &[&str]| match all.contains(&text) {
        true => Ok(()),
        false if text.trim().is_empty() => Err(PartError::new(path, "is required")),
        false => Err(PartError::new(path, format!("must be one of {}", all.join(", ").trim_start_matches(", ")))),
    };
    if plan.name.trim().is_empty() {
        return Err(PartError::new("name", "is required"));
    }
    one_of("provider", &plan.provider, &PROVIDERS)?;
    one_of("action", &plan.action, &ACTIONS)?;
    let target = |key: &str| plan.target.get(key).map(|text| text.trim()).unwrap_or_default();
    let wanted: &[&str] = match plan.action.as_str() {
        "assign-secondary-ip" | "unassign-secondary-ip" if target("captureStrategy") == "route-table" => {
            &["address", "nicRef", "routeTableRef"]
        }
        "assign-secondary-ip" | "unassign-secondary-ip" => &["address", "nicRef"],
        "assign-route-table-route" | "unassign-route-table-route" => &["address", "routeTableRef", "nicRef"],
        _ => &[],
    };
    if let Some(missing) = wanted.iter().find(|key| target(key).is_empty()) {
        return Err(PartError::new(format!("target.{missing}"), format!("is required for {}", plan.action)));
    }
    match plan.mode.as_str() {
        "" | "dry-run" => {}
        "execute" => return Err(PartError::new("mode", "cannot be execute: plans are shown, never executed")),
        _ => return Err(PartError::new("mode", "must be dry-run or absent")),
    }
    one_of("riskLevel", &plan.risk_level, &RISKS)?;
    plan.undo.as_ref().map_or(Ok(()), |undo| one_of("undo.action", &undo.action, &ACTIONS))
}

/// Whether a value has at most `levels` levels.
fn shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| shallow(item, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|item| shallow(item, levels - 1)),
        _ => true,
    }
}

//! `DynamicConfigPart`, as a document says it. What a part means is in [`crate::part`].

use alloc::string::String;
use alloc::vec::Vec;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plugin::ResourceRef;
use super::policy::Operation;

/// What a `DynamicConfigPart` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PartSpec {
    /// Who derived it, such as `Plugin/<name>`.
    #[schemars(length(min = 1))]
    pub source: String,
    /// Which of the source's parts it is.
    #[serde(default)]
    pub generation: u64,
    /// When, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub observed_at: Option<String>,
    /// Until when it holds, in RFC 3339; none: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: Option<String>,
    /// SHA-256 of resources and directives, in hex.
    #[serde(default)]
    pub digest: String,
    /// Resources that it adds.
    #[serde(default)]
    pub resources: Vec<Value>,
    /// Declared resources that it masks.
    #[serde(default)]
    pub directives: Vec<DirectiveSpec>,
    /// Actions that it proposes. They are shown and never executed.
    #[serde(default)]
    pub action_plans: Vec<Value>,
    /// routerd's plan of captured addresses; the guard against observing ourselves reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mobility_dataplane: Option<Value>,
    /// routerd's; carried.
    #[serde(default)]
    pub arp_observer_intents: Vec<Value>,
    /// routerd's; carried.
    #[serde(default)]
    pub fib_verdicts: Vec<Value>,
}

/// Something a part does to a declared resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct DirectiveSpec {
    /// What: `mask`.
    pub op: Operation,
    /// To which.
    pub target: ResourceRef,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

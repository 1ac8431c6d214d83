//! `DynamicOverridePolicy`.

use alloc::string::String;
use alloc::vec::Vec;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plugin::ResourceRef;

/// What a `DynamicOverridePolicy` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PolicySpec {
    /// What is allowed; everything else is not.
    #[serde(default)]
    pub allow: Vec<AllowRule>,
}

/// One thing that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct AllowRule {
    /// The source of the part, exactly, such as `Plugin/<name>`. Ours: `EventSubscription/<name>` is every
    /// part of that subscription, since the rest of such a source is made of fact ids.
    #[schemars(length(min = 1))]
    pub source: String,
    /// What it may do to the targets: `mask`.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// Declared resources, each by its whole identity.
    #[serde(default)]
    pub targets: Vec<ResourceRef>,
}

/// What a part may do to a declared resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(extend("enum" = ["mask"]))]
pub enum Operation {
    /// Take it out of the effective configuration while the part holds.
    Mask,
}

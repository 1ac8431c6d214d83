//! `AddressClaim`: ours.

use alloc::string::String;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an `AddressClaim` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ClaimSpec {
    /// The address or the CIDR that is captured, IPv4 or IPv6.
    #[schemars(length(min = 1))]
    pub address: String,
    /// The node that captures it; none: every node that has the claim.
    #[serde(default)]
    pub node: String,
    /// The pool that it belongs to; none: it belongs to none.
    #[serde(default)]
    pub pool: String,
}

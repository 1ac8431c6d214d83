//! `SAMNodeSet` and `MobilityPool`: routerd's, read as far as groups and the guard need them.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a `SAMNodeSet` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct NodeSetSpec {
    /// The nodes.
    #[schemars(length(min = 1))]
    pub nodes: Vec<NodeSpec>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name in every group that takes its peers from here.
    #[schemars(length(min = 1))]
    pub node_ref: String,
    /// Where it is.
    #[serde(default)]
    pub site: String,
    /// On which side it is.
    #[serde(default)]
    #[schemars(extend("enum" = ["", "onprem", "cloud"]))]
    pub role: String,
    /// The URL that facts are pushed to; none: it is told nothing.
    #[serde(default)]
    pub event_endpoint: String,
    /// routerd's; carried.
    #[serde(default)]
    pub route_reflector: bool,
    /// routerd's; carried.
    #[serde(default)]
    pub sam_endpoint: String,
    /// routerd's; carried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sam_endpoint_from: Option<Value>,
    /// routerd's; carried.
    #[serde(default, rename = "macAddresses")]
    pub mac_addresses: Vec<String>,
    /// routerd's; carried.
    #[serde(default, rename = "wireGuard", skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<Value>,
    /// routerd's; carried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Value>,
    /// routerd's; carried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Value>,
    /// routerd's; carried.
    #[serde(default, rename = "maxSecondaryIPs")]
    pub max_secondary_ips: u64,
}

/// What a `MobilityPool` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PoolSpec {
    /// The addresses: an IPv4 CIDR, apart from those of other pools.
    #[schemars(length(min = 1))]
    pub prefix: String,
    /// The EventGroup in which the pool's addresses are told.
    #[schemars(length(min = 1))]
    pub group_ref: String,
    /// Node sets whose nodes are members; at least one.
    #[serde(default)]
    pub members_from: Vec<MembersSource>,
    /// What the local member does; carried.
    #[serde(default)]
    pub members: Vec<Value>,
    /// Names and values that profiles refer to; carried.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// Pieces that members refer to; carried.
    #[serde(default)]
    pub profiles: BTreeMap<String, Value>,
    /// Planned moves of addresses; carried.
    #[serde(default)]
    pub static_handovers: Vec<StaticHandover>,
}

/// Where members come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct MembersSource {
    /// `SAMNodeSet/<name>`.
    #[schemars(length(min = 1))]
    pub resource: String,
    /// Whether the node set may be absent.
    #[serde(default)]
    pub optional: bool,
}

/// A planned move of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct StaticHandover {
    /// The address.
    #[schemars(length(min = 1))]
    pub address: String,
    /// The node that gives it.
    #[schemars(length(min = 1))]
    pub from_node_ref: String,
    /// The node that takes it.
    #[schemars(length(min = 1))]
    pub to_node_ref: String,
}

//! `Plugin`, and `DynamicConfigSource`, which runs one.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration;

/// How long a run may take, where nothing is said: routerd's own.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Standard output of a run, at most, in bytes, where nothing is said: routerd's own.
const STDOUT_BYTES: u64 = 4 * 1024 * 1024;
/// Standard error of a run, at most, in bytes, where nothing is said: routerd's own.
const STDERR_BYTES: u64 = 64 * 1024;

/// What a `Plugin` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PluginSpec {
    /// The program's absolute path. It is run without arguments and without a shell.
    #[schemars(length(min = 1))]
    pub executable: String,
    /// How long a run may take.
    #[serde(default = "timeout", with = "duration::always")]
    #[schemars(with = "duration::Positive")]
    pub timeout: Duration,
    /// Its environment, beside PATH.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What it may do. What its result proposes beyond that is refused.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// When it is run without a subscription. Accepted; subscriptions are what runs plugins here.
    #[serde(default)]
    pub triggers: Vec<PluginTrigger>,
    /// Which resources it is shown; secrets in them never are.
    #[serde(default)]
    pub context: ContextSpec,
    /// Ours: what a run may use.
    #[serde(default)]
    pub limits: PluginLimits,
}

/// What a plugin may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("enum" = [
    "observe.cloud",
    "observe.providerPrivateIPs",
    "propose.dynamicConfig",
    "propose.providerAction",
    "execute.providerAction",
]))]
pub enum Capability {
    /// Tell facts about a cloud.
    #[serde(rename = "observe.cloud")]
    ObserveCloud,
    /// Tell facts about addresses of a cloud's machines.
    #[serde(rename = "observe.providerPrivateIPs")]
    ObserveProviderPrivateIps,
    /// Propose resources and masks.
    #[serde(rename = "propose.dynamicConfig")]
    ProposeDynamicConfig,
    /// Propose plans of actions, which are shown and not executed.
    #[serde(rename = "propose.providerAction")]
    ProposeProviderAction,
    /// Named by routerd for programs that execute plans. Nothing is executed here.
    #[serde(rename = "execute.providerAction")]
    ExecuteProviderAction,
}

impl Capability {
    /// As documents name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Capability::ObserveCloud => "observe.cloud",
            Capability::ObserveProviderPrivateIps => "observe.providerPrivateIPs",
            Capability::ProposeDynamicConfig => "propose.dynamicConfig",
            Capability::ProposeProviderAction => "propose.providerAction",
            Capability::ExecuteProviderAction => "execute.providerAction",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When a plugin is run by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PluginTrigger {
    /// What starts it.
    #[serde(rename = "type")]
    pub on: TriggerType,
    /// How often; required for interval.
    #[serde(default, with = "duration::maybe", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<duration::Positive>")]
    pub every: Option<Duration>,
    /// Which events.
    #[serde(default)]
    pub topic: String,
}

/// What starts a plugin by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(extend("enum" = ["interval", "event"]))]
pub enum TriggerType {
    /// The clock.
    Interval,
    /// An event.
    Event,
}

/// Which resources a plugin is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ContextSpec {
    /// Those and no others; one that does not exist is left out.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
}

/// A resource by its identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ResourceRef {
    /// Such as `net.routerd.net/v1alpha1`.
    #[schemars(length(min = 1))]
    pub api_version: String,
    /// Such as `Interface`.
    #[schemars(length(min = 1))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// What a run may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PluginLimits {
    /// Bytes of standard output.
    #[serde(default = "stdout_bytes")]
    #[schemars(range(min = 1, max = 67108864))]
    pub stdout_bytes: u64,
    /// Bytes of standard error.
    #[serde(default = "stderr_bytes")]
    #[schemars(range(min = 1, max = 67108864))]
    pub stderr_bytes: u64,
    /// Memory of a process, in bytes; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub memory_bytes: Option<u64>,
    /// Processor time of a process; none: no limit.
    #[serde(default, with = "duration::maybe", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<duration::Positive>")]
    pub cpu: Option<Duration>,
    /// Processes at a time of the user that runs it; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub processes: Option<u64>,
}

impl Default for PluginLimits {
    fn default() -> Self {
        PluginLimits {
            stdout_bytes: STDOUT_BYTES,
            stderr_bytes: STDERR_BYTES,
            memory_bytes: None,
            cpu: None,
            processes: None,
        }
    }
}

/// What a `DynamicConfigSource` says. Accepted and shown; subscriptions are what runs plugins here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct SourceSpec {
    /// The Plugin.
    #[schemars(length(min = 1))]
    pub plugin_ref: String,
    /// How long a result holds.
    #[serde(with = "duration::always")]
    #[schemars(with = "duration::Positive")]
    pub ttl: Duration,
    /// What becomes of a conflict.
    #[serde(default)]
    pub merge_policy: MergePolicySpec,
    /// When it is run.
    #[serde(default)]
    pub triggers: Vec<PluginTrigger>,
}

/// What becomes of a conflict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct MergePolicySpec {
    /// The conflicting part is refused; there is no other way.
    #[serde(default)]
    #[schemars(extend("enum" = ["", "reject"]))]
    pub conflict: String,
}

fn timeout() -> Duration {
    TIMEOUT
}

fn stdout_bytes() -> u64 {
    STDOUT_BYTES
}

fn stderr_bytes() -> u64 {
    STDERR_BYTES
}

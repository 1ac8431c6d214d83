//! `EventSubscription`.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration;

/// Runs of one batch, at most, where nothing is said: routerd's own.
const ATTEMPTS_MAX: u32 = 3;
/// Time before a failed run is tried again, where nothing is said.
const BACKOFF: Duration = Duration::from_secs(1);
/// Longest such time, where nothing is said.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What an `EventSubscription` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct SubscriptionSpec {
    /// The EventGroup whose facts are matched.
    #[schemars(length(min = 1))]
    pub group_ref: String,
    /// Which facts. All that is said must hold.
    #[serde(default, rename = "match")]
    pub matches: MatchSpec,
    /// What they call, and how they are gathered.
    pub trigger: TriggerSpec,
}

/// Which facts match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct MatchSpec {
    /// Types, one of which the fact has exactly. Required where there are no patterns.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub types: Vec<String>,
    /// Ours: patterns over the type's dot-separated tokens, one of which matches: `*` is one token, `>` the
    /// rest. A fact that has one of types, or matches one of patterns, passes.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub patterns: Vec<String>,
    /// Beginnings, one of which the fact's subject has.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub subject_prefixes: Vec<String>,
    /// Pairs, all of which the payload has.
    #[serde(default)]
    pub payload: BTreeMap<String, String>,
    /// Nodes, one of which observed the fact.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub source_nodes: Vec<String>,
}

/// What matched facts call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct TriggerSpec {
    /// The Plugin.
    #[schemars(length(min = 1))]
    pub plugin_ref: String,
    /// How long facts are gathered after the first one; none: they are not.
    #[serde(default, with = "duration::maybe", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<duration::Optional>")]
    pub batch_window: Option<Duration>,
    /// How long it must be quiet after the last new fact, up to a minute after the first; none: not at all.
    #[serde(default, with = "duration::maybe", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<duration::Optional>")]
    pub debounce: Option<Duration>,
    /// Ours: when a failed run is tried again.
    #[serde(default)]
    pub retry: RetrySpec,
    /// Ours: how long derived configuration outlives its facts, so that a fact that comes back changes
    /// nothing.
    #[serde(default, with = "duration::always")]
    #[schemars(with = "duration::Optional")]
    pub grace: Duration,
}

/// When what failed, a run or a push, is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct RetrySpec {
    /// Tries of one batch of facts, or of one event, at most.
    #[serde(default = "attempts_max")]
    #[schemars(range(min = 1))]
    pub max_attempts: u32,
    /// Time before the second try; it doubles with each.
    #[serde(default = "backoff", with = "duration::always")]
    #[schemars(with = "duration::Positive")]
    pub backoff: Duration,
    /// Longest time between two tries.
    #[serde(default = "backoff_max", with = "duration::always")]
    #[schemars(with = "duration::Positive")]
    pub max_backoff: Duration,
}

impl Default for RetrySpec {
    fn default() -> Self {
        RetrySpec { max_attempts: ATTEMPTS_MAX, backoff: BACKOFF, max_backoff: BACKOFF_MAX }
    }
}

fn attempts_max() -> u32 {
    ATTEMPTS_MAX
}

fn backoff() -> Duration {
    BACKOFF
}

fn backoff_max() -> Duration {
    BACKOFF_MAX
}

//! `FederationSLO`.

use alloc::string::String;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Thresholds where nothing is said, in seconds: routerd's own.
const LAG_WARN: u64 = 60;
const LAG_FAIL: u64 = 180;
const EXPIRES_SOON: u64 = 120;

/// What a `FederationSLO` says, with what counts where it says nothing or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct SloSpec {
    /// The EventGroup. A group has one FederationSLO at most.
    #[schemars(length(min = 1))]
    pub group_ref: String,
    /// Of deliveries to peers.
    #[serde(default)]
    pub delivery: SloDelivery,
    /// Of the runs of subscriptions.
    #[serde(default)]
    pub subscription: SloSubscription,
}

/// Thresholds of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct SloDelivery {
    /// Seconds of lag from which the doctor warns; 0: the default. Less than lagFailSeconds.
    #[serde(default = "lag_warn")]
    #[schemars(extend("x-zero" = "default"))]
    pub lag_warn_seconds: u64,
    /// Seconds of lag from which the doctor fails; 0: the default.
    #[serde(default = "lag_fail")]
    #[schemars(extend("x-zero" = "default"))]
    pub lag_fail_seconds: u64,
    /// Seconds before its expiry from which an undelivered fact is urgent; 0: the default.
    #[serde(default = "expires_soon")]
    #[schemars(extend("x-zero" = "default"))]
    pub expires_soon_seconds: u64,
}

/// Thresholds of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct SloSubscription {
    /// Runs that may wait before the doctor warns.
    #[serde(default)]
    pub max_pending_runs: u64,
    /// Runs that may have failed before the doctor fails.
    #[serde(default)]
    pub max_failed_runs: u64,
}

impl Default for SloDelivery {
    fn default() -> Self {
        SloDelivery { lag_warn_seconds: LAG_WARN, lag_fail_seconds: LAG_FAIL, expires_soon_seconds: EXPIRES_SOON }
    }
}

fn lag_warn() -> u64 {
    LAG_WARN
}

fn lag_fail() -> u64 {
    LAG_FAIL
}

fn expires_soon() -> u64 {
    EXPIRES_SOON
}

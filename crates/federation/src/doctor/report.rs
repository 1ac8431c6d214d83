//! The report, in the shape of `routerctl doctor federation -o json`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use event::Moment;
use serde::Serialize;

use super::{RunsView, Slo};

/// How a check stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There was nothing to judge.
    Skip,
    /// Good.
    Pass,
    /// To be looked at.
    Warn,
    /// Not as it should be.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Always `federation`.
    pub area: &'static str,
    /// Which check, for programs; empty where none of them is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub code: &'static str,
    /// Which check of what, such as `cloudedge/leaf delivery lag`.
    pub name: String,
    /// How it stands.
    pub status: State,
    /// What was found.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// What an action would be aimed at: group, peer, resource.
    #[serde(skip)]
    pub(super) target: [String; 3],
}

impl Check {
    pub(super) fn new(code: &'static str, name: String, status: State, detail: String) -> Self {
        Check { area: "federation", code, name, status, detail, remedy: String::new(), target: Default::default() }
    }

    pub(super) fn skip(code: &'static str, name: &str, detail: &str) -> Self {
        Check::new(code, name.to_string(), State::Skip, detail.to_string())
    }

    pub(super) fn of_peer(mut self, group: &str, peer: &str) -> Self {
        self.target = [group.to_string(), peer.to_string(), String::new()];
        self
    }

    pub(super) fn remedy(mut self, remedy: String) -> Self {
        self.remedy = remedy;
        self
    }
}

/// How many checks stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Good.
    pub pass: u64,
    /// To be looked at.
    pub warn: u64,
    /// Not as they should be.
    pub fail: u64,
    /// Nothing to judge.
    pub skip: u64,
}

impl Counts {
    fn count(&mut self, state: State) {
        match state {
            State::Pass => self.pass += 1,
            State::Warn => self.warn += 1,
            State::Fail => self.fail += 1,
            State::Skip => self.skip += 1,
        }
    }
}

/// The worst of all, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The worst.
    pub overall: State,
    /// How many.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A threshold that is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Of what.
    pub check: String,
    /// Which.
    pub threshold: String,
    /// What was found.
    pub actual: String,
    /// How bad it is.
    pub severity: State,
}

/// A group's thresholds, and how they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupSlo {
    /// The group.
    pub group: String,
    /// Whether a FederationSLO declares them.
    pub defined: bool,
    /// Them.
    pub thresholds: Thresholds,
    /// What is not kept.
    pub violations: Vec<Violation>,
}

/// Thresholds as the report has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Thresholds {
    delivery: DeliveryThresholds,
    subscription: RunThresholds,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryThresholds {
    lag_warn_seconds: u64,
    lag_fail_seconds: u64,
    expires_soon_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RunThresholds {
    max_pending_runs: u64,
    max_failed_runs: u64,
}

impl GroupSlo {
    pub(super) fn new(group: &str, defined: bool, slo: Slo) -> Self {
        let delivery = DeliveryThresholds {
            lag_warn_seconds: slo.lag_warn,
            lag_fail_seconds: slo.lag_fail,
            expires_soon_seconds: slo.expires_soon,
        };
        let subscription =
            RunThresholds { max_pending_runs: slo.pending_runs_max, max_failed_runs: slo.failed_runs_max };
        let thresholds = Thresholds { delivery, subscription };
        GroupSlo { group: group.to_string(), defined, thresholds, violations: Vec::new() }
    }
}

/// All groups' thresholds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Slos {
    /// By group, in the order of their names.
    pub groups: Vec<GroupSlo>,
}

/// Federation in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Federation {
    /// Checks.
    pub severity_counts: Counts,
    /// Deliveries tried without success.
    pub failed_delivery_count: u64,
    /// Deliveries of a state that was refreshed or changed since.
    #[serde(rename = "staleTTLCount")]
    pub stale_ttl_count: u64,
    /// Deliveries not tried yet.
    pub pending_delivery_count: u64,
    /// Peers that lack rows or an endpoint.
    pub missing_expected_peer_count: u64,
    /// Longest lag that is judged.
    pub max_delivery_lag_seconds: u64,
    /// Until the next fact expires; 0: none does.
    pub min_expires_in_seconds: u64,
    /// Deliveries made or to be made.
    pub total_events: u64,
    /// Deliveries made.
    pub total_delivered: u64,
    /// Runs.
    pub subscription_runs_total: u64,
    /// Runs that succeeded.
    pub subscription_runs_succeeded: u64,
    /// Runs that failed for good.
    pub subscription_runs_failed: u64,
    /// Runs that wait.
    pub subscription_runs_pending: u64,
    /// Thresholds.
    pub slo: Slos,
}

impl Federation {
    pub(super) fn count_runs(&mut self, runs: &RunsView) {
        self.subscription_runs_total += runs.succeeded + runs.failed + runs.pending;
        self.subscription_runs_succeeded += runs.succeeded;
        self.subscription_runs_failed += runs.failed;
        self.subscription_runs_pending += runs.pending;
    }
}

/// Something that could be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// What.
    pub action: &'static str,
    /// For which group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_group: String,
    /// For which peer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_peer: String,
    /// For which resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_resource: String,
    /// Why.
    pub reason: String,
    /// Whether it can do no harm.
    pub safe: bool,
    /// Whether somebody has to agree.
    pub requires_operator_approval: bool,
}

/// What could be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// When this was judged, to the second.
    pub generated_at: String,
    /// Each once, by action, group, peer and resource.
    pub actions: Vec<Action>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The worst, and counts.
    pub summary: Summary,
    /// Every check.
    pub checks: Vec<Check>,
    /// Numbers.
    pub federation: Federation,
    /// What could be done.
    pub remediation_plan: Plan,
}

impl Report {
    pub(super) fn empty(now: Moment) -> Self {
        let whole = Moment::from_nanos(now.nanos() - now.nanos() % 1_000_000_000);
        Report {
            summary: Summary { overall: State::Pass, counts: Counts::default() },
            checks: Vec::new(),
            federation: Federation::default(),
            remediation_plan: Plan { generated_at: format!("{whole}"), actions: Vec::new() },
        }
    }

    pub(super) fn check(&mut self, check: Check) {
        self.summary.counts.count(check.status);
        if check.status == State::Fail && check.code.starts_with("expected-delivery") {
            self.federation.missing_expected_peer_count += 1;
        }
        self.checks.push(check);
    }

    pub(super) fn finish(&mut self) {
        let worst = self.checks.iter().map(|check| check.status).max();
        self.summary.overall = worst.unwrap_or(State::Skip);
        self.federation.severity_counts = self.summary.counts;
        self.federation.slo.groups.sort_by(|one, two| one.group.cmp(&two.group));
        let mut actions: BTreeMap<(&'static str, [String; 3]), Action> = BTreeMap::new();
        for check in self.checks.iter().filter(|check| check.status >= State::Warn) {
            if let Some((action, safe)) = action_of(check.code) {
                let [group, peer, resource] = check.target.clone();
                actions.entry((action, check.target.clone())).or_insert_with(|| Action {
                    action,
                    target_group: group,
                    target_peer: peer,
                    target_resource: resource,
                    reason: check.detail.clone(),
                    safe,
                    requires_operator_approval: !safe,
                });
            }
        }
        self.remediation_plan.actions = actions.into_values().collect();
    }
}

/// What could be done where a check warns or fails, and whether it can do no harm.
fn action_of(code: &str) -> Option<(&'static str, bool)> {
    Some(match code {
        "failed-deliveries" => ("retry-failed-deliveries", true),
        "pending-deliveries" => ("investigate-pending-deliveries", true),
        "stale-ttl" => ("force-repush-stale-ttl", true),
        "delivery-lag" => ("check-peer-connectivity", true),
        "expected-delivery" => ("investigate-missing-delivery-rows", true),
        "expected-delivery-no-endpoint" => ("configure-peer-endpoint", false),
        "subscription-runs" => ("inspect-failed-subscription-runs", true),
        _ => return None,
    })
}

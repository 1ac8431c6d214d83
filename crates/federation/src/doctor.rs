//! What is wrong with the exchange of facts, by the checks, codes and thresholds of routerd's doctor.
//!
//! Reads tables that are there already and changes nothing. Where the original misjudges, this does not:
//! - **lag** is judged of what is outstanding, and of what was delivered within the last `lagFail` seconds:
//!   one late delivery that was made fails the check for so long and no longer, not until its fact expires;
//! - **expected delivery** asks for rows of the facts alone that the peer's filters take, and asks it of the
//!   peers that come from node sets too;
//! - what was recorded within the last [`SETTLING`] is on its way, and neither missing nor stale.
//!
//! Sources: section 7 of the notes on routerd's federation in docs/federation.md; the shape of the report is
//! its `doctor federation -o json`. Costs: one pass over the facts of each group for each peer.

mod checks;
mod report;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use event::Moment;

use crate::deliveries::Deliveries;
use crate::facts::Facts;
use crate::peer::PeerSpec;
pub use report::{Action, Check, Counts, Federation, GroupSlo, Plan, Report, State, Summary, Violation};

/// How long a fact may be on its way before anything is missing or stale: pushes take milliseconds, and
/// the tables are read one after the other.
pub const SETTLING: Duration = Duration::from_secs(2);

/// Thresholds of a group. A zero is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slo {
    /// Seconds of lag from which it warns.
    pub lag_warn: u64,
    /// Seconds of lag from which it fails.
    pub lag_fail: u64,
    /// Seconds before its expiry from which a fact that is not delivered is urgent.
    pub expires_soon: u64,
    /// Runs that may wait.
    pub pending_runs_max: u64,
    /// Runs that may have failed.
    pub failed_runs_max: u64,
}

impl Default for Slo {
    fn default() -> Self {
        Slo { lag_warn: 60, lag_fail: 180, expires_soon: 120, pending_runs_max: 0, failed_runs_max: 0 }
    }
}

impl Slo {
    /// With the defaults in the place of zeros.
    #[must_use]
    pub fn effective(self) -> Self {
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        let default = Slo::default();
        Slo {
            lag_warn: or(self.lag_warn, default.lag_warn),
            lag_fail: or(self.lag_fail, default.lag_fail),
            expires_soon: or(self.expires_soon, default.expires_soon),
            ..self
        }
    }
}

/// A declared peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its name and filters.
    pub spec: PeerSpec,
    /// Where it is pushed to; blank: not known.
    pub endpoint: String,
    /// What declares it, such as `EventPeer/cloud` or `SAMNodeSet/sites`.
    pub resource: String,
}

/// How a subscription's runs stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunsView {
    /// The subscription's name.
    pub subscription: String,
    /// Runs that succeeded.
    pub succeeded: u64,
    /// Runs that failed for good.
    pub failed: u64,
    /// Runs that wait or are under way.
    pub pending: u64,
    /// Most attempts of one run.
    pub attempts_max: u32,
}

/// A group as it stands.
#[derive(Debug)]
pub struct GroupView<'a> {
    /// The node's name in this group.
    pub node: &'a str,
    /// What holds.
    pub facts: &'a Facts,
    /// What became of it.
    pub deliveries: &'a Deliveries,
    /// Who is to be told, this node left out.
    pub peers: Vec<PeerView>,
    /// Its subscriptions.
    pub runs: Vec<RunsView>,
    /// Its thresholds; `None`: none are declared, and the defaults hold.
    pub slo: Option<Slo>,
}

/// Judges all groups.
pub fn examine(groups: &[GroupView<'_>], now: Moment) -> Report {
    let mut report = Report::empty(now);
    if groups.is_empty() {
        report.check(Check::skip("", "delivery summary", "no event groups are declared"));
    }
    for group in groups {
        group.examine(now, &mut report);
    }
    report.finish();
    report
}

impl GroupView<'_> {
    fn examine(&self, now: Moment, report: &mut Report) {
        let slo = self.slo.unwrap_or_default().effective();
        let mut group = GroupSlo::new(self.facts.group(), self.slo.is_some(), slo);
        for peer in self.peer_names() {
            let standing = checks::Standing::of(self, peer, slo, now);
            for check in standing.checks(self.facts.group(), peer, slo) {
                report.check(check);
            }
            group.violations.extend(standing.violations(self.facts.group(), peer, slo));
            standing.count(&mut report.federation);
        }
        for peer in &self.peers {
            report.check(checks::expected(self, peer, now));
        }
        for runs in &self.runs {
            report.check(checks::runs(runs, slo));
            report.federation.count_runs(runs);
        }
        report.federation.slo.groups.push(group);
    }

    /// Declared peers, and those that rows remember.
    fn peer_names(&self) -> BTreeSet<&str> {
        let declared = self.peers.iter().map(|peer| peer.spec.name.as_str());
        declared.chain(self.deliveries.iter().map(|row| &*row.peer)).collect()
    }
}

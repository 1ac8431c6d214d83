//! The checks, one function each.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use event::Moment;

use super::report::{Check, Federation, State, Violation};
use super::{GroupView, PeerView, RunsView, SETTLING, Slo};
use crate::deliveries::{Filter, Status};
use crate::peer::Verdict;

/// Ids that a check names.
const NAMED_MAX: usize = 3;

/// How it stands with one peer of one group.
#[derive(Debug, Default)]
pub struct Standing {
    events: u64,
    delivered: u64,
    stale: u64,
    failed: u64,
    pending: u64,
    /// Outstanding, and soon expired.
    urgent: u64,
    /// Longest lag of what is judged; `None`: nothing is.
    lag: Option<u64>,
    expires_in: Option<u64>,
}

impl Standing {
    /// Counts the rows of the facts that hold.
    pub fn of(group: &GroupView<'_>, peer: &str, slo: Slo, now: Moment) -> Self {
        let filter = Filter { peer: Some(peer.to_owned()), ..Filter::default() };
        let mut standing = Standing::default();
        let judged_from = now.before(Duration::from_secs(slo.lag_fail));
        for (entry, row) in group.deliveries.matching(group.facts, &filter, now) {
            let outstanding = row.status.is_outstanding();
            match row.status {
                Status::Delivered => standing.delivered += 1,
                Status::Failed => standing.failed += 1,
                Status::Pending => standing.pending += 1,
                Status::Expired | Status::Skipped => continue,
            }
            standing.events += 1;
            let settled = now.since(entry.recorded) >= SETTLING;
            standing.stale += u64::from(!outstanding && settled && row.seq < entry.seq);
            if outstanding || row.delivered.is_some_and(|delivered| delivered >= judged_from) {
                standing.lag = standing.lag.max(Some(row.lag(now).as_secs()));
            }
            if let Some(expires) = entry.expires {
                let left = expires.since(now).as_secs();
                standing.expires_in = Some(standing.expires_in.map_or(left, |least| least.min(left)));
                standing.urgent += u64::from(outstanding && left < slo.expires_soon);
            }
        }
        standing
    }

    /// Adds to the report's numbers.
    pub fn count(&self, federation: &mut Federation) {
        federation.total_events += self.events;
        federation.total_delivered += self.delivered;
        federation.failed_delivery_count += self.failed;
        federation.stale_ttl_count += self.stale;
        federation.pending_delivery_count += self.pending;
        federation.max_delivery_lag_seconds = federation.max_delivery_lag_seconds.max(self.lag.unwrap_or(0));
        let least = federation.min_expires_in_seconds;
        if let Some(left) = self.expires_in.filter(|left| least == 0 || *left < least) {
            federation.min_expires_in_seconds = left;
        }
    }

    /// The five checks of a peer.
    pub fn checks(&self, group: &str, peer: &str, slo: Slo) -> Vec<Check> {
        let name = |what: &str| format!("{group}/{peer} {what}");
        if self.events == 0 {
            return [Check::skip("", &name("delivery summary"), "no deliveries of facts that hold")].into();
        }
        let checks = [
            self.failed(name("failed deliveries"), group, peer),
            self.pending(name("pending deliveries"), slo),
            self.stale(name("stale TTL")),
            self.lag(name("delivery lag"), slo),
            self.expiry(name("event expiry"), slo),
        ];
        checks.into_iter().map(|check| check.of_peer(group, peer)).collect()
    }

    fn failed(&self, name: String, group: &str, peer: &str) -> Check {
        const CODE: &str = "failed-deliveries";
        if self.failed == 0 {
            return Check::new(CODE, name, State::Pass, "no failed deliveries".to_owned());
        }
        let detail = format!("{} of {} deliveries failed and are tried again", self.failed, self.events);
        Check::new(CODE, name, State::Fail, detail)
            .remedy(format!("see why: tidings event deliveries --group {group} --peer {peer} --status failed"))
    }

    fn pending(&self, name: String, slo: Slo) -> Check {
        const CODE: &str = "pending-deliveries";
        if self.pending == 0 {
            return Check::new(CODE, name, State::Pass, "no pending deliveries".to_owned());
        }
        let mut detail = format!("{} pending", self.pending);
        if self.urgent == 0 {
            return Check::new(CODE, name, State::Warn, detail)
                .remedy("if they stay, see whether the peer is reachable".to_owned());
        }
        detail += &format!("; {} expire within {} s and are not delivered", self.urgent, slo.expires_soon);
        Check::new(CODE, name, State::Fail, detail)
            .remedy("see whether the peer is reachable, before they expire".to_owned())
    }

    fn stale(&self, name: String) -> Check {
        const CODE: &str = "stale-ttl";
        if self.stale == 0 {
            return Check::new(CODE, name, State::Pass, "no stale TTL deliveries".to_owned());
        }
        let detail = format!("{} of {} delivered facts were refreshed since", self.stale, self.delivered);
        let (state, remedy) = if self.stale == self.delivered {
            (State::Fail, "nothing that was refreshed gets through: see the peer's breaker and last error")
        } else {
            (State::Warn, "they are pushed again; if they stay, see the peer's breaker and last error")
        };
        Check::new(CODE, name, state, detail).remedy(remedy.to_owned())
    }

    fn lag(&self, name: String, slo: Slo) -> Check {
        const CODE: &str = "delivery-lag";
        let Some(lag) = self.lag else {
            let detail = format!("nothing outstanding, and nothing delivered within the last {} s", slo.lag_fail);
            return Check::new(CODE, name, State::Skip, detail);
        };
        let detail = format!("max delivery lag {lag}s");
        let (state, threshold) = match lag {
            _ if lag >= slo.lag_fail => (State::Fail, slo.lag_fail),
            _ if lag >= slo.lag_warn => (State::Warn, slo.lag_warn),
            _ => return Check::new(CODE, name, State::Pass, detail),
        };
        Check::new(CODE, name, state, detail)
            .remedy(format!("the threshold is {threshold} s: see the way to the peer, and its clock"))
    }

    fn expiry(&self, name: String, slo: Slo) -> Check {
        const CODE: &str = "event-expiry";
        let Some(left) = self.expires_in else {
            return Check::new(CODE, name, State::Skip, "events with no expiry".to_owned());
        };
        let detail = format!("nearest event expires in {left}s");
        if left >= slo.expires_soon {
            return Check::new(CODE, name, State::Pass, detail);
        }
        let state = if self.pending + self.failed > 0 { State::Fail } else { State::Warn };
        let detail = format!("{detail}; {} pending {} failed", self.pending, self.failed);
        Check::new(CODE, name, state, detail)
            .remedy("if it still holds, it is to be told again; see who observes it".to_owned())
    }

    /// Thresholds that are not kept.
    pub fn violations(&self, group: &str, peer: &str, slo: Slo) -> Vec<Violation> {
        let violation = |what: &str, threshold: String, actual: String, severity| Violation {
            check: format!("{group}/{peer} {what}"),
            threshold,
            actual,
            severity,
        };
        let mut violations = Vec::new();
        let lag = self.lag.unwrap_or(0);
        if self.lag.is_some() && lag >= slo.lag_fail {
            let threshold = format!("lagFailSeconds={}", slo.lag_fail);
            violations.push(violation("delivery lag", threshold, format!("{lag}s"), State::Fail));
        } else if self.lag.is_some() && lag >= slo.lag_warn {
            let threshold = format!("lagWarnSeconds={}", slo.lag_warn);
            violations.push(violation("delivery lag", threshold, format!("{lag}s"), State::Warn));
        }
        if self.failed > 0 {
            let actual = format!("{}", self.failed);
            violations.push(violation("failed deliveries", "failedDeliveryCount=0".to_owned(), actual, State::Fail));
        }
        if let Some(left) = self.expires_in.filter(|_| self.pending > 0 && self.urgent > 0) {
            let threshold = format!("expiresSoonSeconds={}", slo.expires_soon);
            let actual = format!("minExpiresIn={left}s, pending={}", self.pending);
            violations.push(violation("pending expiring-soon", threshold, actual, State::Fail));
        }
        violations
    }
}

/// Whether every fact for a peer has a row.
pub fn expected(group: &GroupView<'_>, peer: &PeerView, now: Moment) -> Check {
    const CODE: &str = "expected-delivery";
    let (of, to) = (group.facts.group(), peer.spec.name.as_str());
    let name = format!("{of}/{to} expected delivery");
    if peer.endpoint.trim().is_empty() {
        let detail = format!("{} has no endpoint", peer.resource);
        return Check::new("expected-delivery-no-endpoint", name, State::Fail, detail)
            .remedy(format!("give {} an endpoint for group {of}", peer.resource))
            .of_peer(of, to);
    }
    let wanted = || group.facts.live(now).filter(|entry| peer.spec.wants_entry(entry, group.node) == Verdict::Push);
    let missing = || {
        let settled = wanted().filter(|entry| now.since(entry.recorded) >= SETTLING);
        settled.filter(|entry| group.deliveries.get(&entry.id, to).is_none())
    };
    let (all, lacking) = (wanted().count(), missing().count());
    let check = if all == 0 {
        Check::new(CODE, name, State::Skip, "no fact of this node is for this peer".to_owned())
    } else if lacking == 0 {
        Check::new(CODE, name, State::Pass, format!("all {all} facts for this peer have delivery rows"))
    } else {
        let named: Vec<&str> = missing().take(NAMED_MAX).map(|entry| &*entry.id).collect();
        let mut detail = format!("{lacking} of {all} facts have no delivery row: {}", named.join(", "));
        if lacking > NAMED_MAX {
            detail += &format!(" and {} more", lacking - NAMED_MAX);
        }
        Check::new(CODE, name, State::Fail, detail)
            .remedy("the outbox of this peer does not run: see the node's log and the peer's declaration".to_owned())
    };
    check.of_peer(of, to)
}

/// Whether a subscription's runs go well.
pub fn runs(runs: &RunsView, slo: Slo) -> Check {
    const CODE: &str = "subscription-runs";
    let subject = format!("EventSubscription/{}", runs.subscription);
    let RunsView { succeeded, failed, pending, attempts_max, .. } = runs;
    let name = format!("{subject} subscription runs");
    let mut check = if succeeded + failed + pending == 0 {
        Check::new(CODE, name, State::Skip, "no subscription run records".to_owned())
    } else if *failed > slo.failed_runs_max {
        let detail = format!("{succeeded} succeeded, {failed} failed, {pending} pending (max attempts {attempts_max})");
        Check::new(CODE, name, State::Fail, detail)
            .remedy(format!("see why: tidings subscription runs --subscription {}", runs.subscription))
    } else if *pending > slo.pending_runs_max {
        let detail = format!("{succeeded} succeeded, {pending} pending (max attempts {attempts_max})");
        Check::new(CODE, name, State::Warn, detail).remedy("if they stay, see the plugin and its last error".to_owned())
    } else {
        Check::new(CODE, name, State::Pass, format!("{succeeded} runs succeeded"))
    };
    check.target = [String::new(), String::new(), subject];
    check
}

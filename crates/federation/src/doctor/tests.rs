//! Groups in every state, and what is said of them.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;

use super::*;
use crate::deliveries::{Delivery, Status};
use crate::stored::Stored;
use event::Fact;

fn at(seconds: u64) -> Moment {
    Moment::EPOCH.after(Duration::from_secs(seconds))
}

/// A group `g` of node `me` with the peer `p`, and its tables.
struct World {
    facts: Facts,
    deliveries: Deliveries,
    seq: u64,
    peers: Vec<PeerView>,
    runs: Vec<RunsView>,
    slo: Option<Slo>,
}

impl World {
    fn new() -> Self {
        let spec = PeerSpec { name: "p".into(), ..PeerSpec::default() };
        let peer = PeerView { spec, endpoint: "http://p".into(), resource: "EventPeer/p".into() };
        let facts = Facts::new("g");
        World { facts, deliveries: Deliveries::new(), seq: 0, peers: vec![peer], runs: vec![], slo: None }
    }

    /// A fact of this node, recorded at a moment; it expires at another (0: never).
    fn fact(&mut self, id: &str, recorded: u64, expires: u64) -> &mut Self {
        let mut fact = Fact::new("g", id, "seen");
        fact.source = "me".into();
        fact.subject = id.to_string();
        fact.observed = Some(at(recorded));
        fact.expires = (expires > 0).then(|| at(expires));
        self.seq += 1;
        self.facts.fold(self.seq, at(recorded), &Stored { fact, via: None }, at(recorded));
        self
    }

    /// The row of a fact towards `p`; delivered at a moment (0: not).
    fn row(&mut self, id: &str, status: Status, delivered: u64) -> &mut Self {
        let pending = Delivery::pending(self.facts.get(id).unwrap(), &Arc::from("p"));
        let delivered = (delivered > 0).then(|| at(delivered));
        self.deliveries.apply(Delivery { status, delivered, ..pending });
        self
    }

    fn examine(&mut self, now: u64) -> Report {
        let group = GroupView {
            node: "me",
            facts: &self.facts,
            deliveries: &self.deliveries,
            peers: self.peers.clone(),
            runs: self.runs.clone(),
            slo: self.slo,
        };
        examine(&[group], at(now))
    }

    /// That exactly these checks warn or fail, by code; gives the actions.
    fn check(&mut self, now: u64, expected: &[(&str, State)]) -> Vec<&'static str> {
        let report = self.examine(now);
        let bad = report.checks.iter().filter(|check| check.status >= State::Warn);
        let found: Vec<_> = bad.map(|check| (check.code, check.status)).collect();
        assert_eq!(found, expected, "{:#?}", report.checks);
        let worst = expected.iter().map(|(_, state)| *state).max();
        assert_eq!(report.summary.overall.max(State::Pass), worst.unwrap_or(State::Pass));
        report.remediation_plan.actions.iter().map(|action| action.action).collect()
    }
}

#[test]
fn a_healthy_group_has_nothing_to_say() {
    let mut world = World::new();
    world.fact("a", 10, 1_000).row("a", Status::Delivered, 10).fact("b", 11, 0).row("b", Status::Delivered, 12);
    assert!(world.check(100, &[]).is_empty());
    let report = world.examine(100);
    assert_eq!((report.federation.total_events, report.federation.total_delivered), (2, 2));
    assert_eq!(report.federation.min_expires_in_seconds, 900);
    assert_eq!(report.checks.len(), 6);
}

#[test]
fn failed_and_pending_deliveries_are_told() {
    let mut world = World::new();
    world.fact("a", 10, 1_000).row("a", Status::Failed, 0);
    let actions = world.check(20, &[("failed-deliveries", State::Fail)]);
    assert_eq!(actions, ["retry-failed-deliveries"]);
    let mut world = World::new();
    world.fact("a", 10, 1_000).row("a", Status::Pending, 0);
    assert_eq!(world.check(20, &[("pending-deliveries", State::Warn)]), ["investigate-pending-deliveries"]);
    // It expires soon: the deadline is what makes it a failure; its age is another matter.
    world.check(
        885,
        &[("pending-deliveries", State::Fail), ("delivery-lag", State::Fail), ("event-expiry", State::Fail)],
    );
    assert_eq!(world.examine(885).federation.slo.groups[0].violations.len(), 2);
}

#[test]
fn stale_deliveries_warn_and_fail_where_all_are() {
    let mut world = World::new();
    world.fact("a", 10, 1_000).row("a", Status::Delivered, 10).fact("b", 10, 1_000).row("b", Status::Delivered, 10);
    world.fact("a", 20, 2_000);
    world.check(21, &[]);
    world.check(22, &[("stale-ttl", State::Warn)]);
    world.fact("b", 20, 2_000);
    assert_eq!(world.check(22, &[("stale-ttl", State::Fail)]), ["force-repush-stale-ttl"]);
}

#[test]
fn a_late_delivery_that_was_made_fails_for_a_while_and_no_longer() {
    let mut world = World::new();
    world.fact("a", 10, 9_000).row("a", Status::Pending, 0);
    world.check(69, &[("pending-deliveries", State::Warn)]);
    world.check(70, &[("pending-deliveries", State::Warn), ("delivery-lag", State::Warn)]);
    world.check(190, &[("pending-deliveries", State::Warn), ("delivery-lag", State::Fail)]);
    world.row("a", Status::Delivered, 300);
    assert_eq!(world.check(301, &[("delivery-lag", State::Fail)]), ["check-peer-connectivity"]);
    world.check(480, &[("delivery-lag", State::Fail)]);
    world.check(481, &[]);
    world.slo = Some(Slo { lag_warn: 400, lag_fail: 500, ..Slo::default() });
    world.check(301, &[]);
}

#[test]
fn thresholds_are_those_of_the_group_and_zero_is_the_default() {
    let slo = Slo { lag_warn: 0, lag_fail: 0, expires_soon: 0, pending_runs_max: 5, failed_runs_max: 0 };
    assert_eq!(slo.effective(), Slo { pending_runs_max: 5, ..Slo::default() });
    let mut world = World::new();
    world.slo = Some(Slo { expires_soon: 30, ..slo });
    world.fact("a", 10, 100).row("a", Status::Delivered, 10);
    world.check(70, &[]);
    assert!(world.check(71, &[("event-expiry", State::Warn)]).is_empty(), "there is nothing to do about it");
    let report = world.examine(71);
    let text = serde_json::to_string(&report.federation.slo.groups[0].thresholds).unwrap();
    let expected = "{\"delivery\":{\"lagWarnSeconds\":60,\"lagFailSeconds\":180,\"expiresSoonSeconds\":30},\
        \"subscription\":{\"maxPendingRuns\":5,\"maxFailedRuns\":0}}";
    assert_eq!((text.as_str(), report.federation.slo.groups[0].defined), (expected, true));
}

#[test]
fn a_fact_without_a_row_is_missed_only_by_peers_that_want_it() {
    let mut world = World::new();
    world.fact("a", 10, 0);
    world.check(11, &[]);
    assert_eq!(world.check(12, &[("expected-delivery", State::Fail)]), ["investigate-missing-delivery-rows"]);
    assert_eq!(world.examine(12).federation.missing_expected_peer_count, 1);
    world.peers[0].spec.types = vec!["other".into()];
    world.check(12, &[]);
    world.peers[0].spec = PeerSpec { name: "p".into(), subject_prefixes: vec!["b".into()], types: vec![] };
    world.check(12, &[]);
    for id in ["b1", "b2", "b3", "b4"] {
        world.fact(id, 10, 0);
    }
    let report = world.examine(20);
    let check = report.checks.iter().find(|check| check.code == "expected-delivery").unwrap();
    assert_eq!(check.detail, "4 of 4 facts have no delivery row: b1, b2, b3 and 1 more");
}

#[test]
fn a_peer_without_an_endpoint_needs_an_operator() {
    let mut world = World::new();
    world.peers[0].endpoint = " ".into();
    world.peers[0].resource = "SAMNodeSet/sites".into();
    assert_eq!(world.check(1, &[("expected-delivery-no-endpoint", State::Fail)]), ["configure-peer-endpoint"]);
    let action = &world.examine(1).remediation_plan.actions[0];
    assert!(!action.safe && action.requires_operator_approval);
    assert_eq!((action.target_group.as_str(), action.target_peer.as_str()), ("g", "p"));
}

#[test]
fn runs_are_held_to_their_thresholds() {
    let mut world = World::new();
    let runs = RunsView { subscription: "s".into(), succeeded: 3, failed: 0, pending: 1, attempts_max: 1 };
    world.runs = vec![runs.clone()];
    assert_eq!(world.check(1, &[("subscription-runs", State::Warn)]), ["inspect-failed-subscription-runs"]);
    world.runs = vec![RunsView { failed: 1, ..runs }];
    world.check(1, &[("subscription-runs", State::Fail)]);
    world.slo = Some(Slo { failed_runs_max: 1, pending_runs_max: 1, ..Slo::default() });
    world.check(1, &[]);
    assert_eq!(world.examine(1).federation.subscription_runs_total, 5);
}

#[test]
fn the_report_has_the_shape_that_programs_know() {
    let mut world = World::new();
    world.fact("a", 10, 1_000).row("a", Status::Failed, 0);
    let report = serde_json::to_value(world.examine(20)).unwrap();
    assert_eq!(report["summary"]["overall"], "fail");
    assert_eq!(report["summary"]["fail"], 1);
    let check = &report["checks"][0];
    assert_eq!((&check["area"], &check["code"]), (&"federation".into(), &"failed-deliveries".into()));
    assert_eq!((&check["name"], &check["status"]), (&"g/p failed deliveries".into(), &"fail".into()));
    assert_eq!(report["federation"]["failedDeliveryCount"], 1);
    assert_eq!(report["federation"]["staleTTLCount"], 0);
    assert_eq!(report["federation"]["severityCounts"]["fail"], 1);
    let violation = &report["federation"]["slo"]["groups"][0]["violations"][0];
    assert_eq!(violation["threshold"], "failedDeliveryCount=0");
    assert_eq!(report["remediationPlan"]["generatedAt"], "1970-01-01T00:00:20Z");
    assert_eq!(report["remediationPlan"]["actions"][0]["targetPeer"], "p");
    assert_eq!(examine(&[], at(1)).summary.overall, State::Skip);
}

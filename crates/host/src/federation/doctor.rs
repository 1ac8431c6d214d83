//! What is wrong with the exchange of facts: the groups as they stand, for the doctor to judge.

use std::collections::BTreeMap;

use door_http::problem::Problem;
use door_http::{Told, Which};
use federation::doctor::{GroupView, PeerView, RunsView, Slo, examine};
use federation::peer::PeerSpec as Wants;
use plan::{Declared, PeerFrom, ResolvedPeer};
use serde_json::Value;

use super::Federation;

/// What is counted of the runs of each subscription.
fn runs_of(runs: &Value) -> BTreeMap<String, RunsView> {
    let mut counted: BTreeMap<String, RunsView> = BTreeMap::new();
    for run in runs["runs"].as_array().into_iter().flatten() {
        let Some(name) = run["subscription"].as_str() else { continue };
        let new = || RunsView { subscription: name.to_owned(), succeeded: 0, failed: 0, pending: 0, attempts_max: 0 };
        let view = counted.entry(name.to_owned()).or_insert_with(new);
        match run["status"].as_str() {
            Some("succeeded" | "skipped") => view.succeeded += 1,
            Some("failed" | "dead") => view.failed += 1,
            _ => view.pending += 1,
        }
        let attempts = run["attempts"].as_u64().and_then(|attempts| u32::try_from(attempts).ok()).unwrap_or(0);
        view.attempts_max = view.attempts_max.max(attempts);
    }
    counted
}

fn view_of(peer: ResolvedPeer) -> PeerView {
    let resource = match &peer.from {
        PeerFrom::Peer(name) => format!("EventPeer/{name}"),
        PeerFrom::NodeSet(name) => format!("SAMNodeSet/{name}"),
    };
    let spec = Wants { name: peer.name, types: peer.types, subject_prefixes: peer.subject_prefixes };
    PeerView { spec, endpoint: peer.endpoint.unwrap_or_default(), resource }
}

fn slo_of(declared: &Declared, group: &str) -> Option<Slo> {
    let (defined, slo) = declared.slo_of(group);
    defined.then_some(Slo {
        lag_warn: slo.delivery.lag_warn_seconds,
        lag_fail: slo.delivery.lag_fail_seconds,
        expires_soon: slo.delivery.expires_soon_seconds,
        pending_runs_max: slo.subscription.max_pending_runs,
        failed_runs_max: slo.subscription.max_failed_runs,
    })
}

impl Federation {
    /// The doctor's report on every group.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(super) async fn doctor(&self) -> Result<Told, Problem> {
        let mut runs = runs_of(&self.runs(&Which::default()).await?.body);
        let declared = self.declared.borrow().clone();
        let groups = self.groups_of(None)?;
        let nodes: Vec<String> = groups.iter().map(|group| group.own_node()).collect();
        let tables: Vec<_> = groups.iter().map(|group| (group.facts.lock(), group.deliveries.lock())).collect();
        let mut views = Vec::with_capacity(groups.len());
        for ((group, node), (facts, deliveries)) in groups.iter().zip(&nodes).zip(&tables) {
            let of_group = declared.subscriptions().iter().filter(|(_, spec)| spec.group_ref == group.name);
            views.push(GroupView {
                node,
                facts,
                deliveries,
                peers: declared.peers_of(&group.name).into_iter().map(view_of).collect(),
                runs: of_group.filter_map(|(name, _)| runs.remove(name)).collect(),
                slo: slo_of(&declared, &group.name),
            });
        }
        let report = examine(&views, self.port.now());
        let shown = serde_json::to_value(&report).map_err(|error| Problem::closed(error.to_string()))?;
        Ok(shown.into())
    }
}

//! What the HTTP door asks, answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use door::Principal;
use door_http::problem::Problem;
use door_http::{Ask, Federation as Asked, Push, PushAnswer, Telling, Told, Which, no_such};
use event::Fact;
use federation::deliveries::{Delivery, Filter, Status};
use federation::facts::Entry;
use futures_util::future::join_all;
use plan::reaction::BATCH_FACTS_MAX;
use plan::{Identity, Kind, Part, PluginRequest, PluginSpec, Trigger, context, duration};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Federation;
use super::dynamic::ROUTER;
use super::group::Group;
use super::peer::Peer;
use super::reaction::call;
use super::trace::delivery_json;

/// What to do where a group is not there.
const GROUP_HINT: &str = "tidings get eventgroups lists them";

impl Asked for Federation {
    fn ask(&self, who: Principal, ask: Ask) -> Telling<'_, Result<Told, Problem>> {
        Box::pin(self.answer(who, ask))
    }

    fn receive(&self, push: Push) -> Telling<'_, PushAnswer> {
        // A stranger may see nothing here: the status is asked for with a token, elsewhere.
        Box::pin(link::receive(&self.everywhere, push, false))
    }
}

impl Federation {
    async fn answer(&self, who: Principal, ask: Ask) -> Result<Told, Problem> {
        self.up_to_date().await;
        if !matches!(ask, Ask::Emit { .. }) {
            self.settled().await;
        }
        match ask {
            Ask::Emit { group, body } => self.emit(&who, &group, &body).await,
            Ask::Events(which) => self.facts(&which).await,
            Ask::Deliveries(which) => self.deliveries(&which).await,
            Ask::Summary(which) => self.summary(&which),
            Ask::Runs(which) => self.runs(&which).await,
            Ask::Peers(which) => self.peers(&which).await,
            Ask::Status => {
                let status = link::Intake::status(&self.everywhere);
                serde_json::to_value(&status).map(Told::from).map_err(|error| Problem::closed(error.to_string()))
            }
            Ask::Doctor => self.doctor().await,
            Ask::Trace { id, group, peers } => self.trace(&id, group.as_deref(), peers).await,
            Ask::Parts { source } => self.show_parts(source.as_deref()),
            Ask::Effective { index, wait } => Ok(self.effective(index, wait).await),
            Ask::Differences => Ok(self.differences()),
            Ask::Explain { api_version, kind, name } => self.explain(api_version.as_deref(), &kind, &name).await,
            Ask::Plugins => self.show_plugins().await,
            Ask::Run { plugin, dry_run, which } => self.run_by_hand(&plugin, dry_run, &which).await,
        }
    }

    /// A group by its name.
    pub(super) fn group(&self, name: &str) -> Result<Arc<Group>, Problem> {
        let groups = self.groups.read();
        groups.get(name).map(|running| Arc::clone(&running.group)).ok_or_else(|| no_such("group", name, GROUP_HINT))
    }

    /// One group, or all.
    pub(super) fn groups_of(&self, name: Option<&str>) -> Result<Vec<Arc<Group>>, Problem> {
        match name {
            Some(name) => Ok(vec![self.group(name)?]),
            None => Ok(self.groups.read().values().map(|running| Arc::clone(&running.group)).collect()),
        }
    }

    /// The peers of a group.
    pub(super) fn peers_of(&self, group: &str) -> Vec<Arc<Peer>> {
        self.groups.read().get(group).map(|running| running.peers.values().cloned().collect()).unwrap_or_default()
    }

    fn wanted_peers(&self, which: &Which) -> Result<Vec<Arc<Peer>>, Problem> {
        let mut found = Vec::new();
        for group in self.groups_of(which.group.as_deref())? {
            found.extend(self.peers_of(&group.name));
        }
        found.retain(|peer| which.peer.as_ref().is_none_or(|name| *name == peer.name));
        Ok(found)
    }

    /// What became of facts towards peers: of those in the table, or of one that may have ended.
    async fn deliveries(&self, which: &Which) -> Result<Told, Problem> {
        let status = which.status.as_deref().map(|word| {
            let known = "is one of pending, failed, expired, skipped, delivered";
            Status::of(word).ok_or_else(|| Problem::query("status", known))
        });
        let status = status.transpose()?;
        let mut shown = Vec::new();
        for group in self.groups_of(which.group.as_deref())? {
            let all: Vec<Delivery> = match &which.event {
                Some(id) => group.deliveries_of(&self.ledger, id).await,
                None => group.deliveries.lock().iter().cloned().collect(),
            };
            let fits = |delivery: &&Delivery| {
                which.peer.as_ref().is_none_or(|peer| **peer == *delivery.peer)
                    && status.is_none_or(|status| status == delivery.status)
            };
            let fitting = all.iter().filter(fits);
            shown.extend(fitting.map(|delivery| (delivery.recorded, delivery_json(&group.name, delivery))));
        }
        shown.sort_by_key(|(recorded, _)| *recorded);
        let skip = shown.len().saturating_sub(which.limit.unwrap_or(usize::MAX));
        let deliveries: Vec<Value> = shown.into_iter().skip(skip).map(|(_, shown)| shown).collect();
        Ok(json!({ "deliveries": deliveries }).into())
    }

    fn summary(&self, which: &Which) -> Result<Told, Problem> {
        let filter =
            Filter { peer: which.peer.clone(), kind: which.kind.clone(), include_expired: which.include_expired };
        let mut rows = Vec::new();
        for group in self.groups_of(which.group.as_deref())? {
            let facts = group.facts.lock();
            rows.extend(group.deliveries.lock().summary(&facts, &filter, self.port.now()));
        }
        Ok(json!({ "summary": rows }).into())
    }

    async fn peers(&self, which: &Which) -> Result<Told, Problem> {
        let peers = self.wanted_peers(which)?;
        let shown = join_all(peers.iter().map(|peer| peer.show())).await;
        Ok(json!({ "peers": shown }).into())
    }

    /// Runs, oldest first: each as it is now.
    pub(super) async fn runs(&self, which: &Which) -> Result<Told, Problem> {
        let wanted = which.subscription.as_deref().map(|name| name.strip_prefix("EventSubscription/").unwrap_or(name));
        let mut newest: BTreeMap<(String, u64), (event::Moment, Value)> = BTreeMap::new();
        let each = |entry: super::ledger::Entry| {
            let Ok(run) = serde_json::from_slice::<Value>(&entry.data) else { return };
            let key = (run["subscription"].as_str().unwrap_or_default().to_owned(), run["run"].as_u64().unwrap_or(0));
            newest.insert(key, (entry.time, run));
        };
        self.ledger.entries("runs", each).await.map_err(Problem::from)?;
        let fits = |run: &Value| {
            wanted.is_none_or(|name| run["subscription"] == *name)
                && which.event.as_ref().is_none_or(|id| {
                    run["facts"].as_array().is_some_and(|facts| facts.iter().any(|fact| fact["id"] == **id))
                })
                && which.status.as_ref().is_none_or(|status| run["status"] == **status)
        };
        let mut runs: Vec<_> = newest.into_values().filter(|(_, run)| fits(run)).collect();
        runs.sort_by_key(|(time, _)| *time);
        let skip = runs.len().saturating_sub(which.limit.unwrap_or(usize::MAX));
        let runs: Vec<Value> = runs.into_iter().skip(skip).map(|(_, run)| run_json(&run)).collect();
        Ok(json!({ "runs": runs }).into())
    }

    fn show_parts(&self, source: Option<&str>) -> Result<Told, Problem> {
        let current = self.dynamic.current();
        let now = self.port.now();
        let shown = |part: &Part| {
            let mut shown = part.to_json()["spec"].take();
            shown["status"] = if part.is_expired(now) { "expired" } else { "active" }.into();
            if let Some(why) = current.effective.quarantined.iter().find(|each| each.source == part.source) {
                shown["status"] = "quarantined".into();
                shown["reason"] = why.reason.as_str().into();
            }
            shown["origin"] = part.to_json()["status"]["origin"].take();
            shown
        };
        let parts = self.dynamic.parts();
        if let Some(source) = source
            && !parts.iter().any(|part| part.source == source)
        {
            return Err(no_such("part", source, "tidings dynamic list shows them"));
        }
        let wanted = parts.iter().filter(|part| source.is_none_or(|source| part.source == source));
        Ok(json!({"parts": wanted.map(shown).collect::<Vec<_>>()}).into())
    }

    async fn effective(&self, index: Option<u64>, wait: Duration) -> Told {
        let current = match index {
            None => self.dynamic.current(),
            Some(_) => self.dynamic.next(index, wait).await,
        };
        let effective = &current.effective;
        let mut body = effective.to_json();
        body["index"] = current.index.into();
        body["digest"] = effective.digest.as_str().into();
        body["config"] = effective.router(ROUTER);
        Told { created: false, index: Some(current.index), body }
    }

    fn differences(&self) -> Told {
        let current = self.dynamic.current();
        let effective = &current.effective;
        let whole = effective.to_json();
        json!({"lines": effective.diff_lines(), "addedResources": whole["addedResources"],
            "suppressed": whole["suppressed"], "quarantined": whole["quarantined"]})
        .into()
    }

    async fn explain(&self, api_version: Option<&str>, kind: &str, name: &str) -> Result<Told, Problem> {
        let current = self.dynamic.current();
        let effective = &current.effective;
        let kind = Kind::find(kind).map_or(kind, |kind| kind.name);
        let known = effective.resources.iter().map(|resolved| resolved.document.identity());
        let known = known.chain(effective.suppressed.iter().map(|one| one.target.clone()));
        let known = known.chain(effective.quarantined.iter().filter_map(|one| one.resource.clone()));
        let fits =
            |id: &Identity| id.kind == kind && id.name == name && api_version.is_none_or(|it| it == id.api_version);
        let identity = known.into_iter().find(fits);
        let hint = "tidings dynamic render shows what there is";
        let identity = identity.ok_or_else(|| no_such("resource", &format!("{kind}/{name}"), hint))?;
        let mut body = effective.explain(&identity).to_json();
        if let (Some(subscription), Some(run)) = (body["subscription"].as_str(), body["run"].as_u64()) {
            let which = Which { subscription: Some(subscription.to_owned()), ..Which::default() };
            let runs = self.runs(&which).await?.body;
            let run = runs["runs"].as_array().into_iter().flatten().find(|each| each["run"] == run).cloned();
            body["run"] = run.unwrap_or_else(|| json!({"run": body["run"].clone()}));
        }
        Ok(body.into())
    }

    async fn show_plugins(&self) -> Result<Told, Problem> {
        let runs = self.runs(&Which::default()).await?.body;
        let runs = runs["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let declared = self.declared.borrow().clone();
        let shown = |(name, spec): (&String, &PluginSpec)| {
            let own = || runs.iter().filter(|run| run["plugin"] == **name);
            let failed = own().filter(|run| matches!(run["status"].as_str(), Some("failed" | "dead"))).count();
            let capabilities: Vec<&str> = spec.capabilities.iter().map(|each| each.as_str()).collect();
            let mut shown = json!({"name": name, "executable": spec.executable,
                "timeout": duration::print(spec.timeout), "capabilities": capabilities,
                "runs": own().count(), "failed": failed});
            if let Some(last) = own().next_back() {
                shown["lastRunAt"] = last["startedAt"].clone();
            }
            if let Err(error) = plugin::check_executable(std::path::Path::new(&spec.executable)) {
                shown["problem"] = error.to_string().into();
            }
            shown
        };
        Ok(json!({"plugins": declared.plugins().iter().map(shown).collect::<Vec<_>>()}).into())
    }

    /// Runs a plugin for somebody who asked, on a group's live facts or on one.
    async fn run_by_hand(&self, name: &str, dry_run: bool, which: &Which) -> Result<Told, Problem> {
        let declared = self.declared.borrow().clone();
        let spec = declared.plugins().get(name);
        let spec = spec.ok_or_else(|| no_such("plugin", name, "tidings plugin list shows them"))?;
        let facts = self.facts_for(which).await?;
        let source = format!("Plugin/{name}");
        let before = self.dynamic.parts().into_iter().find(|part| part.source == source);
        let generation = before.map_or(0, |part| part.generation);
        let request = PluginRequest {
            plugin: name,
            trigger: Trigger::manual(),
            now: self.port.now(),
            facts: &facts,
            previous_generation: generation,
            idempotency_key: String::new(),
            context: context(&spec.context.resources, declared.documents()),
        };
        let began = Instant::now();
        let slot = self.plugins.acquire().await.map_err(|_| Problem::closed("the node stops"))?;
        let (result, stderr) = call(name, spec, &request.to_json(), &self.meters)
            .await
            .map_err(|failure| door_http::failed_run(&failure.error))?;
        drop(slot);
        let took = began.elapsed().as_secs_f64();
        let part = result.into_part(source, generation + 1, self.port.now());
        let shown = part.to_json()["spec"].take();
        let would = self.dynamic.with(&part);
        if !dry_run {
            self.dynamic.put(part).await.map_err(Problem::from)?;
            self.dynamic.settle();
        }
        Ok(json!({"plugin": name, "tookSeconds": took, "part": shown, "diff": {"lines": would.diff_lines()},
            "quarantined": would.to_json()["quarantined"], "applied": !dry_run, "stderr": stderr})
        .into())
    }

    async fn facts_for(&self, which: &Which) -> Result<Vec<Arc<Fact>>, Problem> {
        let Some(group) = &which.group else { return Ok(Vec::new()) };
        let group = self.group(group)?;
        let now = self.port.now();
        let seqs: Vec<u64> = {
            let table = group.facts.lock();
            let wanted = |entry: &&Entry| which.event.as_ref().is_none_or(|id| **id == *entry.id);
            table.live(now).filter(wanted).take(BATCH_FACTS_MAX).map(|entry| entry.seq).collect()
        };
        if let (Some(id), true) = (&which.event, seqs.is_empty()) {
            return Err(no_such("fact", id, "tidings event list --group shows those that hold"));
        }
        let mut facts = Vec::with_capacity(seqs.len());
        for seq in seqs {
            facts.extend(group.read(seq).await.map(|found| Arc::new(found.stored.fact)));
        }
        Ok(facts)
    }
}

/// A run as the API shows it.
fn run_json(run: &Value) -> Value {
    let ids: Vec<&Value> = run["facts"].as_array().into_iter().flatten().map(|fact| &fact["id"]).collect();
    let history: Vec<Value> = run["history"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|each| json!({"attempt": each["attempt"], "at": each["endedAt"], "error": each["error"]}))
        .collect();
    let mut shown = json!({
        "run": run["run"], "subscription": run["subscription"], "eventIds": ids, "eventGroup": run["group"],
        "plugin": run["plugin"], "status": run["status"], "attempts": run["attempt"],
        "startedAt": run["startedAt"], "history": history,
    });
    let optional = [("completedAt", "endedAt"), ("dynamicSource", "source"), ("error", "error")];
    for (name, from) in optional {
        if !run[from].is_null() {
            shown[name] = run[from].clone();
        }
    }
    if run["generation"].as_u64().unwrap_or(0) > 0 {
        shown["dynamicGeneration"] = run["generation"].clone();
    }
    shown
}

//! Jobs: how facts become runs, and what follows from how a run ended.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use event::Fact;

use super::{
    Attempt, DropReason, Finished, HISTORY_MAX, Job, Kept, Output, Reaction, RunFailure, RunRecord, RunStatus,
};
use crate::canonical;
use crate::part::{FactRef, Origin, part_source};
use crate::request::PluginResult;

impl Reaction {
    /// Starts the next run that is due, if none is under way.
    pub(super) fn start_next(&mut self) {
        if self.running.is_some() {
            return;
        }
        self.queue_dirty();
        while self.running.is_none() {
            if let Some(&(at, job)) = self.queue.first().filter(|(at, _)| *at <= self.now) {
                self.queue.remove(&(at, job));
                self.start(job);
            } else if self.window.due().is_some_and(|due| due <= self.now) {
                self.gather();
            } else {
                return;
            }
        }
    }

    /// A job for each part that has lost facts, made of those that are left.
    fn queue_dirty(&mut self) {
        for source in core::mem::take(&mut self.dirty) {
            let Some(part) = self.parts.get(&source) else { continue };
            let ids: BTreeSet<String> = part.facts.keys().cloned().collect();
            self.queue_job(ids, Some(source), true);
        }
    }

    /// Makes jobs of the facts whose time has come: one for each part that they are in already, since that
    /// part is derived anew as a whole, and one for all others.
    fn gather(&mut self) {
        let mut fresh = BTreeSet::new();
        let mut changed = BTreeSet::new();
        for id in self.window.take() {
            let Some(held) = self.held.get_mut(&id) else { continue };
            held.waiting = None;
            if held.job.is_some() {
                continue;
            }
            match self.members.get(&id) {
                Some(source) => drop(changed.insert(source.clone())),
                None => drop(fresh.insert(id)),
            }
        }
        for source in changed {
            let ids = self.parts.get(&source).map(|part| part.facts.keys().cloned().collect()).unwrap_or_default();
            self.queue_job(ids, Some(source), false);
        }
        if !fresh.is_empty() {
            self.queue_job(fresh, None, false);
        }
    }

    fn queue_job(&mut self, ids: BTreeSet<String>, replaces: Option<String>, removal: bool) {
        let same = |job: &&mut Job| replaces.is_some() && job.replaces == replaces;
        if let Some(job) = self.jobs.values_mut().find(same) {
            job.removal |= removal;
            job.ids.extend(ids);
            return;
        }
        let job = Job { ids, replaces, removal, ..Job::default() };
        self.add_job(job);
    }

    pub(super) fn add_job(&mut self, job: Job) -> u64 {
        self.jobs_made += 1;
        let at = self.jobs_made;
        for id in &job.ids {
            if let Some(held) = self.held.get_mut(id) {
                held.job = Some(at);
            }
        }
        self.jobs.insert(at, job);
        self.queue.insert((self.now, at));
        at
    }

    /// Starts a job, with what its facts say now. One for which there is nothing left to do ends here.
    fn start(&mut self, at: u64) {
        let Some(mut job) = self.jobs.remove(&at) else { return };
        // A fact of the part may have come back since the job was made.
        if let Some(part) = job.replaces.as_ref().and_then(|source| self.parts.get(source)) {
            job.ids.extend(part.facts.keys().cloned());
        }
        job.ids.retain(|id| self.held.contains_key(id));
        let replaced = job.replaces.as_ref().is_some_and(|source| !self.parts.contains_key(source));
        if replaced {
            job.replaces = None;
        }
        let mut facts: Vec<Arc<Fact>> = Vec::new();
        for id in &job.ids {
            let Some(held) = self.held.get_mut(id) else { continue };
            held.job = Some(at);
            if let Some(place) = held.waiting.take() {
                self.window.remove(place);
            }
            job.seqs.extend(held.unacked.drain(..).map(|seq| (id.clone(), seq)));
            facts.push(held.fact.clone());
        }
        if job.ids.is_empty() || (replaced && job.seqs.is_empty()) {
            if job.run != 0 {
                let mut record = self.record(&job, RunStatus::Skipped);
                record.error = Some("there was nothing left to run it for".into());
                self.out.push_back(Output::Record(Box::new(record)));
            }
            self.end(job);
            return;
        }
        job.refs = facts.iter().filter_map(|fact| Some(FactRef::of(fact, self.held.get(&fact.id)?.seq))).collect();
        if job.attempt >= self.retry.max_attempts.max(1) {
            self.bury(job);
            return;
        }
        if job.run == 0 {
            self.runs_made += 1;
            job.run = self.runs_made;
        }
        job.attempt += 1;
        job.started = self.now;
        job.open = true;
        let record = self.record(&job, RunStatus::Started);
        self.out.push_back(Output::Record(Box::new(record)));
        facts.sort_by(|a, b| (a.observed, &a.id).cmp(&(b.observed, &b.id)));
        let source = self.source_of(&job);
        let previous = job.replaces.as_ref().or(Some(&source)).and_then(|source| self.parts.get(source));
        self.out.push_back(Output::Run {
            run: job.run,
            attempt: job.attempt,
            facts,
            previous_generation: previous.map(|part| part.generation).unwrap_or_default(),
            idempotency_key: idempotency_key(&source, &job.refs),
        });
        self.running = Some(at);
        self.jobs.insert(at, job);
    }

    fn source_of(&self, job: &Job) -> String {
        let ids: Vec<&str> = job.refs.iter().map(|fact| fact.id.as_str()).collect();
        part_source(&self.name, &ids)
    }

    pub(super) fn ran(&mut self, run: u64, outcome: Result<PluginResult, RunFailure>) {
        let Some(at) = self.running.filter(|at| self.jobs.get(at).is_some_and(|job| job.run == run)) else { return };
        let Some(mut job) = self.jobs.remove(&at) else { return };
        self.running = None;
        job.open = false;
        match outcome {
            Ok(result) => match self.stale(&result) {
                None => self.succeed(job, result),
                Some(error) => self.fail(at, job, error),
            },
            Err(failure) if failure.interrupted => {
                let mut record = self.record(&job, RunStatus::Interrupted);
                job.attempt -= 1;
                record.error = Some(failure.error);
                self.again_later(at, job, record, Duration::ZERO);
            }
            Err(failure) => self.fail(at, job, failure.error),
        }
    }

    /// Why a result says nothing about now.
    fn stale(&self, result: &PluginResult) -> Option<String> {
        let observed = result.observed.unwrap_or(self.now);
        let until = observed.after(result.ttl);
        (until <= self.now).then(|| format!("PluginResult is stale: observed at {observed}, it held until {until}"))
    }

    fn succeed(&mut self, mut job: Job, result: PluginResult) {
        let left: BTreeSet<String> =
            job.refs.iter().map(|fact| &fact.id).filter(|id| self.has_left(id)).cloned().collect();
        if left.len() == job.refs.len() {
            let mut record = self.record(&job, RunStatus::Skipped);
            record.error = Some("its facts went while it ran".into());
            self.out.push_back(Output::Record(Box::new(record)));
            if let Some(source) = &job.replaces {
                self.drop_part(&source.clone(), DropReason::FactsGone);
            }
            self.end(job);
            return;
        }
        let source = self.keep(&job, result);
        if let Some(old) = job.replaces.as_ref().filter(|old| **old != source) {
            self.drop_part(&old.clone(), DropReason::Replaced);
        }
        let mut record = self.record(&job, RunStatus::Succeeded);
        record.generation = self.parts.get(&source).map(|part| part.generation).unwrap_or_default();
        record.source = Some(source.clone());
        self.out.push_back(Output::Record(Box::new(record)));
        self.finish(&mut job);
        self.end(job);
        for id in left {
            self.part_lost(&id);
        }
    }

    /// Makes a part of a result and gives its source.
    fn keep(&mut self, job: &Job, result: PluginResult) -> String {
        let source = self.source_of(job);
        let generation = self.parts.get(&source).map(|part| part.generation).unwrap_or_default() + 1;
        let ttl = result.ttl;
        let mut part = result.into_part(source.clone(), generation, self.now);
        let facts: BTreeMap<_, _> = job.refs.iter().map(|fact| (fact.id.clone(), fact.clone())).collect();
        let mut told: Vec<Arc<Fact>> = facts.keys().filter_map(|id| Some(self.held.get(id)?.fact.clone())).collect();
        told.sort_by(|a, b| (a.observed, &a.id).cmp(&(b.observed, &b.id)));
        part.annotate(&self.name, &told);
        let cap = self.facts_end(facts.keys());
        part.expires = [part.expires, cap].into_iter().flatten().min();
        let replaces = job.replaces.clone().filter(|old| *old != source);
        part.origin = Some(Origin {
            subscription: self.name.clone(),
            plugin: self.plugin.clone(),
            run: job.run,
            group: self.group.clone(),
            facts: job.refs.clone(),
            ttl,
            replaces: replaces.clone(),
        });
        let kept = Kept { run: job.run, generation, facts, expires: part.expires, ttl, replaces };
        self.out.push_back(Output::Put(Box::new(part)));
        self.take_part(source.clone(), kept);
        source
    }

    fn fail(&mut self, at: u64, mut job: Job, error: String) {
        job.history.push(Attempt { attempt: job.attempt, started: job.started, ended: self.now, error: error.clone() });
        if job.history.len() > HISTORY_MAX {
            job.history.remove(0);
        }
        if job.attempt >= self.retry.max_attempts {
            self.bury(job);
            return;
        }
        let mut record = self.record(&job, RunStatus::Failed);
        record.error = Some(error);
        let delay = self.delay(job.attempt);
        self.again_later(at, job, record, delay);
    }

    /// The time before the next attempt: it doubles with each, and half of it is left to chance.
    fn delay(&mut self, attempt: u32) -> Duration {
        let doubled = self.retry.backoff.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
        let nanos = u64::try_from(doubled.min(self.retry.max_backoff).as_nanos()).unwrap_or(u64::MAX);
        let half = nanos / 2;
        Duration::from_nanos(nanos - half + self.chance(half))
    }

    fn again_later(&mut self, at: u64, job: Job, record: RunRecord, delay: Duration) {
        self.out.push_back(Output::Record(Box::new(record)));
        let left: Vec<String> = job.ids.iter().filter(|id| self.has_left(id)).cloned().collect();
        self.jobs.insert(at, job);
        self.queue.insert((self.now.after(delay), at));
        for id in left {
            self.forget(&id);
        }
    }

    /// The last attempt failed.
    fn bury(&mut self, mut job: Job) {
        let mut record = self.record(&job, RunStatus::Dead);
        record.error = job.history.last().map(|attempt| attempt.error.clone());
        // The letter first: one that is laid aside twice is found, one that is lost is not.
        self.out.push_back(Output::Dead(Box::new(record.clone())));
        self.out.push_back(Output::Record(Box::new(record)));
        self.finish(&mut job);
        if let Some(source) = job.replaces.as_ref().filter(|_| job.removal) {
            self.drop_part(source, DropReason::RerunFailed);
        }
        self.end(job);
    }

    /// Whether a fact went during the run, and has no grace or none left.
    fn has_left(&self, id: &str) -> bool {
        self.held.get(id).is_none_or(|held| held.left) && !self.gone.contains_key(id)
    }

    /// Remembers what the facts of a job said, and acknowledges them.
    fn finish(&mut self, job: &mut Job) {
        let mut seqs: Vec<u64> = job.seqs.drain(..).map(|(_, seq)| seq).collect();
        for fact in &job.refs {
            let Some(held) = self.held.get_mut(&fact.id) else { continue };
            let mut seq = fact.seq;
            // A refresh during the run changes nothing that it was told.
            if held.revision == fact.revision && held.waiting.is_none() {
                seqs.append(&mut held.unacked);
                seq = held.seq;
            }
            self.finished.insert(fact.id.clone(), Finished { seq, revision: fact.revision });
        }
        self.done(seqs);
    }

    /// Lets go of a job's facts; what is not acknowledged yet of those that went, is. What the others said
    /// meanwhile waits for a run of its own.
    fn end(&mut self, mut job: Job) {
        let mut seqs: Vec<u64> = job.seqs.drain(..).map(|(_, seq)| seq).collect();
        for id in &job.ids {
            let left = self.has_left(id) && !self.members.contains_key(id);
            let Some(held) = self.held.get_mut(id) else { continue };
            held.job = None;
            if left {
                seqs.append(&mut held.unacked);
                self.finished.remove(id);
                self.held.remove(id);
                continue;
            }
            if !held.unacked.is_empty() && held.waiting.is_none() {
                held.waiting = Some(self.window.push(self.now, &held.fact));
            }
            self.release(id);
        }
        self.done(seqs);
    }

    pub(super) fn record(&self, job: &Job, status: RunStatus) -> RunRecord {
        RunRecord {
            subscription: self.name.clone(),
            plugin: self.plugin.clone(),
            group: self.group.clone(),
            run: job.run,
            attempt: job.attempt,
            status,
            facts: job.refs.clone(),
            started: job.started,
            ended: (status != RunStatus::Started).then_some(self.now),
            source: None,
            generation: 0,
            replaces: job.replaces.clone(),
            error: None,
            history: job.history.clone(),
        }
    }
}

/// What makes two calls for the same facts, saying the same, one.
fn idempotency_key(source: &str, facts: &[FactRef]) -> String {
    let mut facts: Vec<String> = facts.iter().map(|fact| format!("{}:{:016x}", fact.id, fact.revision)).collect();
    facts.sort_unstable();
    let mut hash = canonical::sha256(facts.join(",").as_bytes());
    hash.truncate(16);
    format!("{source}/{hash}")
}

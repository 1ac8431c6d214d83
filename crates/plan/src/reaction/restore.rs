//! What was kept, told again after a restart.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Attempt, DropReason, Finished, HISTORY_MAX, Job, Kept, Output, Reaction, RunRecord, RunStatus};
use crate::part::{FactRef, Part};

impl Reaction {
    pub(super) fn restore(&mut self, part: Part) {
        let Some(origin) = part.origin.filter(|origin| origin.subscription == self.name) else { return };
        self.restoring = true;
        self.runs_made = self.runs_made.max(origin.run);
        self.remember(&origin.facts);
        let kept = Kept {
            run: origin.run,
            generation: part.generation,
            facts: origin.facts.into_iter().map(|fact| (fact.id.clone(), fact)).collect(),
            expires: part.expires,
            ttl: origin.ttl,
            replaces: origin.replaces,
        };
        for id in kept.facts.keys() {
            let newer = self.members.get(id).and_then(|other| self.parts.get(other)).map(|other| other.run);
            if newer.is_none_or(|run| run <= kept.run) {
                self.members.insert(id.clone(), part.source.clone());
            }
        }
        if let Some(until) = kept.expires {
            self.ends.insert((until, part.source.clone()));
        }
        self.parts.insert(part.source, kept);
    }

    /// Remembers facts as finished.
    fn remember(&mut self, facts: &[FactRef]) {
        for fact in facts {
            let now = Finished { seq: fact.seq, revision: fact.revision };
            let known = self.finished.entry(fact.id.clone()).or_insert(now);
            if fact.seq >= known.seq {
                *known = now;
            }
        }
    }

    pub(super) fn restore_run(&mut self, record: RunRecord) {
        if record.subscription != self.name {
            return;
        }
        self.restoring = true;
        if record.run == 0 {
            return;
        }
        self.runs_made = self.runs_made.max(record.run);
        let known = self.jobs.iter().find(|(_, job)| job.run == record.run).map(|(at, _)| *at);
        let old = known.and_then(|at| self.jobs.remove(&at));
        if record.status.is_final() {
            if record.status != RunStatus::Skipped {
                self.remember(&record.facts);
            }
            return;
        }
        let at = known.unwrap_or_else(|| {
            self.jobs_made += 1;
            self.jobs_made
        });
        let mut job = Job {
            ids: record.facts.iter().map(|fact| fact.id.clone()).collect(),
            run: record.run,
            attempt: record.attempt.saturating_sub((record.status == RunStatus::Interrupted).into()),
            replaces: record.replaces,
            refs: record.facts,
            started: record.started,
            open: record.status == RunStatus::Started,
            history: record.history,
            ..Job::default()
        };
        if let Some(old) = old.filter(|old| old.open && job.open) {
            job.history = old.history;
            cut_short(&mut job.history, old.attempt, old.started, record.started);
        }
        self.jobs.insert(at, job);
    }

    pub(super) fn caught_up(&mut self) {
        if !core::mem::take(&mut self.restoring) {
            return;
        }
        self.drop_replaced();
        for (source, part) in &mut self.parts {
            let known = part.facts.len();
            part.facts.retain(|id, _| self.members.get(id) == Some(source));
            if part.facts.len() < known {
                self.dirty.insert(source.clone());
            }
        }
        let jobs: Vec<u64> = self.jobs.keys().copied().collect();
        for at in jobs {
            self.resume(at);
        }
        let missing: Vec<String> = self.members.keys().filter(|id| !self.held.contains_key(*id)).cloned().collect();
        for id in missing {
            self.leave(&id);
        }
        let seen = core::mem::take(&mut self.seen);
        self.finished.retain(|id, _| seen.contains(id) || self.members.contains_key(id));
    }

    /// Parts whose place another had taken when we stopped.
    fn drop_replaced(&mut self) {
        let replaced = |part: &Kept| {
            let old = self.parts.get_key_value(part.replaces.as_ref()?)?;
            (old.1.run < part.run).then(|| old.0.clone())
        };
        let replaced: Vec<String> = self.parts.values().filter_map(replaced).collect();
        for source in replaced {
            self.drop_part(&source, DropReason::Replaced);
        }
    }

    /// A run that was not over when we stopped. The part may have been kept, and only its record not; an
    /// attempt that was under way counts as failed, or what kills us would be tried for ever.
    fn resume(&mut self, at: u64) {
        let Some(mut job) = self.jobs.remove(&at) else { return };
        let derived = self.parts.iter().find(|(_, part)| part.run == job.run);
        if let Some((source, generation)) = derived.map(|(source, part)| (source.clone(), part.generation)) {
            let mut record = self.record(&job, RunStatus::Succeeded);
            (record.source, record.generation) = (Some(source), generation);
            self.out.push_back(Output::Record(Box::new(record)));
            self.settle_resumed(&job);
            return;
        }
        let mut when = self.now;
        if core::mem::take(&mut job.open) {
            cut_short(&mut job.history, job.attempt, job.started, self.now);
            if job.attempt < self.retry.max_attempts {
                let mut record = self.record(&job, RunStatus::Failed);
                record.error = job.history.last().map(|attempt| attempt.error.clone());
                self.out.push_back(Output::Record(Box::new(record)));
            }
        } else if let Some(last) = job.history.last() {
            let doubled = self.retry.backoff.saturating_mul(1_u32.checked_shl(job.attempt).unwrap_or(u32::MAX) / 2);
            when = last.ended.after(doubled.min(self.retry.max_backoff));
        }
        job.refs.retain(|fact| self.held.contains_key(&fact.id));
        for id in &job.ids {
            if let Some(held) = self.held.get_mut(id) {
                held.job = Some(at);
            }
        }
        self.queue.insert((when, at));
        self.jobs.insert(at, job);
    }

    /// Acknowledges and lets go of the facts of a run that turned out to be over.
    fn settle_resumed(&mut self, job: &Job) {
        for fact in &job.refs {
            let Some(held) = self.held.get_mut(&fact.id) else { continue };
            held.job = None;
            let seqs = core::mem::take(&mut held.unacked);
            if held.revision == fact.revision {
                self.done(seqs);
                continue;
            }
            // It says something else by now: that is another run.
            for seq in seqs {
                self.wait(&fact.id, seq);
            }
        }
    }
}

fn cut_short(history: &mut Vec<Attempt>, attempt: u32, started: event::Moment, ended: event::Moment) {
    if history.last().is_none_or(|last| last.attempt < attempt) {
        history.push(Attempt { attempt, started, ended, error: "interrupted by a restart".into() });
    }
    if history.len() > HISTORY_MAX {
        history.remove(0);
    }
}

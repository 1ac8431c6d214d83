//! Facts that come and go.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use event::Fact;

use super::{Held, Output, Reaction, RunRecord, RunStatus};
use crate::part::{FactRef, revision};

impl Reaction {
    pub(super) fn fact(&mut self, seq: u64, fact: Arc<Fact>) {
        if self.restoring {
            self.seen.insert(fact.id.clone());
        }
        if let Some(known) = self.known_seq(&fact.id).filter(|known| seq <= *known) {
            self.again(seq, known, fact);
            return;
        }
        let about = self.is_about(&fact);
        if about && fact.is_live(self.now) {
            self.hold(seq, fact);
            return;
        }
        let new = self.finished.get(&fact.id).is_none_or(|finished| finished.revision != revision(&fact));
        self.leave(&fact.id);
        if about && new {
            self.skip(vec![FactRef::of(&fact, seq)], "it had gone before it was run");
        }
        self.done(vec![seq]);
    }

    /// The newest position at which a fact was seen.
    fn known_seq(&self, id: &str) -> Option<u64> {
        match self.held.get(id) {
            Some(held) => Some(held.seq),
            None => self.finished.get(id).map(|finished| finished.seq),
        }
    }

    /// A position that was told before.
    fn again(&mut self, seq: u64, known: u64, fact: Arc<Fact>) {
        let id = fact.id.as_str();
        // Told again after a restart: what a part is made of is needed to derive it anew.
        let made_of = self.members.get(id).and_then(|source| self.parts.get(source)?.facts.get(id));
        let needed = made_of.is_some_and(|made_of| seq == known || made_of.revision == revision(&fact));
        if fact.is_live(self.now) {
            match self.held.get_mut(id) {
                // It was first told as it was before: with another end, perhaps.
                Some(held) if seq == held.seq => held.fact = fact.clone(),
                None if needed => {
                    self.uncount_gone(id);
                    self.held.insert(id.to_string(), held(known, fact.clone()));
                }
                _ => {}
            }
        }
        let outstanding = self.held.get(id).is_some_and(|held| {
            let in_job = |job: &u64| self.jobs.get(job).is_some_and(|job| job.seqs.iter().any(|(_, at)| *at == seq));
            held.unacked.contains(&seq) || held.job.as_ref().is_some_and(in_job)
        });
        let renewing = |(_, at, _): &(String, u64, bool)| *at == seq;
        if !outstanding && !self.renewing.values().flatten().any(renewing) {
            self.done(vec![seq]);
        }
    }

    /// Takes a fact that holds: new, refreshed, changed, or come back.
    fn hold(&mut self, seq: u64, fact: Arc<Fact>) {
        let id = fact.id.clone();
        self.uncount_gone(&id);
        let job = self.restoring.then(|| self.jobs.iter().find(|(_, job)| job.ids.contains(&id)).map(|(at, _)| *at));
        let now = revision(&fact);
        let held =
            self.held.entry(id.clone()).or_insert_with(|| Held { job: job.flatten(), ..held(seq, fact.clone()) });
        held.seq = seq;
        held.revision = now;
        held.fact = fact;
        held.left = false;
        let member = self.members.get(&id).cloned();
        let same = |source: &String| {
            let made_of = self.parts.get(source).and_then(|part| part.facts.get(&id));
            made_of.is_some_and(|made_of| made_of.revision == now)
        };
        let fresh_in = member.filter(same);
        let running = held.job.filter(|job| self.running == Some(*job));
        let unchanged = running
            .and_then(|job| self.jobs.get(&job))
            .is_some_and(|job| job.refs.iter().any(|made_of| made_of.id == id && made_of.revision == now));
        let pending = held.waiting.is_some() || (held.job.is_some() && running.is_none()) || unchanged;
        if pending {
            held.unacked.push(seq);
        }
        // The run under way makes a part of what the fact says no more.
        let overtaken = running.is_some() && !unchanged;
        if let Some(source) = fresh_in.filter(|_| !overtaken) {
            self.renewing.entry(source).or_default().push((id, seq, !pending));
        } else if !pending {
            // New, changed, or refreshed after its part had ended or it was laid aside.
            self.wait(&id, seq);
        }
    }

    /// Puts a held fact into the window.
    pub(super) fn wait(&mut self, id: &str, seq: u64) {
        let Some(held) = self.held.get_mut(id) else { return };
        held.unacked.push(seq);
        if held.waiting.is_none() {
            held.waiting = Some(self.window.push(self.now, &held.fact));
        }
    }

    /// A fact holds no longer, or is not ours any more. A member waits out its grace.
    pub(super) fn leave(&mut self, id: &str) {
        let member = self.members.contains_key(id);
        if member && !self.gone.contains_key(id) {
            let due = self.now.after(self.grace);
            self.gone.insert(id.to_string(), due);
            self.gone_due.insert((due, id.to_string()));
        }
        if !member {
            self.finished.remove(id);
        }
        let Some(held) = self.held.get_mut(id) else { return };
        let seqs = match held.waiting.take() {
            Some(place) => {
                self.window.remove(place);
                core::mem::take(&mut held.unacked)
            }
            None => Vec::new(),
        };
        let made_of = FactRef::of(&held.fact, held.seq);
        if held.job.is_some() && held.job == self.running {
            held.left = true;
        }
        if !seqs.is_empty() {
            self.skip(vec![made_of], "it had gone before it was run");
            self.done(seqs);
        }
        if !member && self.held.get(id).is_some_and(|held| !held.left) {
            self.forget(id);
        }
    }

    /// A fact came back within its grace.
    fn uncount_gone(&mut self, id: &str) {
        if let Some(due) = self.gone.remove(id) {
            self.gone_due.remove(&(due, id.to_string()));
        }
    }

    /// Forgets a fact that has gone and is in no part and no run under way; what was not acknowledged of
    /// it is skipped.
    pub(super) fn forget(&mut self, id: &str) {
        self.uncount_gone(id);
        self.finished.remove(id);
        let Some(held) = self.held.remove(id) else { return };
        if let Some(place) = held.waiting {
            self.window.remove(place);
        }
        let made_of = FactRef::of(&held.fact, held.seq);
        let mut seqs = held.unacked;
        if let Some(job) = held.job.and_then(|job| self.jobs.get_mut(&job)) {
            job.ids.remove(id);
            let of_it = job.seqs.extract_if(.., |(of, _)| of == id);
            seqs.extend(of_it.map(|(_, seq)| seq));
        }
        if !seqs.is_empty() {
            self.skip(vec![made_of], "it had gone before it was run");
            self.done(seqs);
        }
    }

    /// Records that facts were not run.
    pub(super) fn skip(&mut self, facts: Vec<FactRef>, why: &str) {
        self.out.push_back(Output::Record(Box::new(RunRecord {
            subscription: self.name.clone(),
            plugin: self.plugin.clone(),
            group: self.group.clone(),
            run: 0,
            attempt: 0,
            status: RunStatus::Skipped,
            facts,
            started: self.now,
            ended: Some(self.now),
            source: None,
            generation: 0,
            replaces: None,
            error: Some(why.into()),
            history: Vec::new(),
        })));
    }
}

pub(super) fn held(seq: u64, fact: Arc<Fact>) -> Held {
    let revision = revision(&fact);
    Held { fact, seq, revision, unacked: Vec::new(), waiting: None, job: None, left: false }
}

//! Parts: how they are renewed, lose facts, and end.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use event::Moment;

use super::{DropReason, Kept, Output, Reaction};

impl Reaction {
    /// Does what is due.
    pub(super) fn settle(&mut self) {
        self.renew();
        self.end_parts();
        self.take_gone();
        self.start_next();
    }

    /// Lets parts hold longer whose facts were refreshed, each once for all of them.
    fn renew(&mut self) {
        for (source, refreshed) in core::mem::take(&mut self.renewing) {
            let Some(part) = self.parts.get(&source) else {
                self.renew_nothing(refreshed);
                continue;
            };
            let (expires, held_until) = (part.expires, self.now.after(part.ttl));
            let cap = self.facts_end(part.facts.keys());
            let until = Some(cap.map_or(held_until, |cap| cap.min(held_until)));
            let seqs: Vec<(String, u64)> = refreshed.iter().map(|(id, seq, _)| (id.clone(), *seq)).collect();
            if let Some(part) = self.parts.get_mut(&source) {
                for (id, seq) in &seqs {
                    if let Some(fact) = part.facts.get_mut(id) {
                        fact.seq = fact.seq.max(*seq);
                    }
                }
            }
            if expires.is_some_and(|expires| until.is_none_or(|until| until > expires)) {
                self.set_end(&source, until);
                self.out.push_back(Output::Renew { source, until, seqs });
            }
            for (id, seq, _) in &refreshed {
                if let Some(finished) = self.finished.get_mut(id) {
                    finished.seq = finished.seq.max(*seq);
                }
            }
            self.done(refreshed.into_iter().filter(|(_, _, at_once)| *at_once).map(|(_, seq, _)| seq).collect());
        }
    }

    /// The part went before it could be renewed: its facts are run again.
    fn renew_nothing(&mut self, refreshed: Vec<(String, u64, bool)>) {
        for (id, seq, at_once) in refreshed {
            if !at_once {
                continue;
            }
            if self.held.contains_key(&id) {
                self.wait(&id, seq);
            } else {
                self.done([seq].into());
            }
        }
    }

    /// When the last of the facts is over, and its grace; `None`: never.
    pub(super) fn facts_end<'a>(&self, ids: impl Iterator<Item = &'a String>) -> Option<Moment> {
        let mut last = None;
        for held in ids.filter_map(|id| self.held.get(id)) {
            last = last.max(Some(held.fact.expires?));
        }
        Some(last?.after(self.grace))
    }

    fn set_end(&mut self, source: &str, until: Option<Moment>) {
        let Some(part) = self.parts.get_mut(source) else { return };
        if let Some(old) = part.expires {
            self.ends.remove(&(old, source.to_string()));
        }
        part.expires = until;
        if let Some(until) = until {
            self.ends.insert((until, source.to_string()));
        }
    }

    /// Takes a part in, over one of the same source; its facts leave the parts that they were in.
    pub(super) fn take_part(&mut self, source: String, part: Kept) {
        if let Some(old) = self.parts.get(&source).and_then(|old| old.expires) {
            self.ends.remove(&(old, source.clone()));
        }
        if let Some(until) = part.expires {
            self.ends.insert((until, source.clone()));
        }
        for id in part.facts.keys() {
            if let Some(old) = self.members.insert(id.clone(), source.clone()).filter(|old| *old != source)
                && Some(&old) != part.replaces.as_ref()
                && let Some(old_part) = self.parts.get_mut(&old)
            {
                old_part.facts.remove(id);
                self.dirty.insert(old);
            }
        }
        self.dirty.remove(&source);
        self.parts.insert(source, part);
    }

    fn end_parts(&mut self) {
        while let Some((_, source)) = self.ends.first().filter(|(at, _)| *at <= self.now).cloned() {
            self.drop_part(&source, DropReason::Expired);
        }
    }

    /// Facts whose grace is over leave their parts.
    fn take_gone(&mut self) {
        while let Some((_, id)) = self.gone_due.first().filter(|(at, _)| *at <= self.now).cloned() {
            self.part_lost(&id);
        }
        let empty = |source: &&String| self.parts.get(*source).is_some_and(|part| part.facts.is_empty());
        let empty: Vec<String> = self.dirty.iter().filter(empty).cloned().collect();
        for source in empty {
            self.drop_part(&source, DropReason::FactsGone);
        }
    }

    /// Takes a fact out of its part for good.
    pub(super) fn part_lost(&mut self, id: &str) {
        if let Some(due) = self.gone.remove(id) {
            self.gone_due.remove(&(due, id.to_string()));
        }
        if let Some(source) = self.members.remove(id)
            && let Some(part) = self.parts.get_mut(&source)
        {
            part.facts.remove(id);
            self.dirty.insert(source);
        }
        match self.held.get_mut(id) {
            // The run under way was told of it; what follows is decided when it ends.
            Some(held) if held.job.is_some() && held.job == self.running => held.left = true,
            _ => self.forget(id),
        }
    }

    pub(super) fn drop_part(&mut self, source: &str, why: DropReason) {
        let Some(part) = self.parts.remove(source) else { return };
        if let Some(at) = part.expires {
            self.ends.remove(&(at, source.to_string()));
        }
        self.dirty.remove(source);
        self.out.push_back(Output::Drop { source: source.to_string(), why });
        if let Some(refreshed) = self.renewing.remove(source) {
            self.renew_nothing(refreshed);
        }
        let ids: BTreeSet<String> = part.facts.into_keys().collect();
        for id in ids {
            if self.members.get(&id).is_none_or(|now| now != source) {
                continue;
            }
            self.members.remove(&id);
            if self.gone.contains_key(&id) {
                self.part_lost(&id);
            } else if matches!(why, DropReason::Replaced | DropReason::RerunFailed) {
                // It came back after the run was told of the others: what takes the part's place is without it.
                self.wait_again(&id);
            } else {
                self.release(&id);
            }
        }
    }

    /// Puts a held fact into the window that is in no part any more, and in no run.
    fn wait_again(&mut self, id: &str) {
        if let Some(held) = self.held.get_mut(id)
            && held.job.is_none()
            && held.waiting.is_none()
        {
            held.waiting = Some(self.window.push(self.now, &held.fact));
        }
    }

    /// Lets go of a fact that is in nothing any more. That it was finished is remembered.
    pub(super) fn release(&mut self, id: &str) {
        let idle = |held: &super::Held| held.waiting.is_none() && held.job.is_none() && held.unacked.is_empty();
        if !self.members.contains_key(id) && self.held.get(id).is_some_and(idle) {
            self.held.remove(id);
        }
    }
}

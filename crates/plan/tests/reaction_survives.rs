//! Random lives of a subscription, crashes between any two outputs included: every fact is
//! acknowledged after a recorded run or as a dead letter, never neither; and when all is quiet, parts
//! are made of exactly the facts that hold, as they are.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use event::{Fact, Moment};
use plan::reaction::{Input, Output, Reaction, RunFailure, RunRecord, RunStatus};
use plan::{Part, PluginResult, SubscriptionSpec, revision};
use proptest::prelude::*;
use serde_json::json;

/// A step of a life. Facts are few, so that they meet themselves again.
#[derive(Debug, Clone)]
enum Step {
    /// A fact is told, for so many milliseconds; another content is another fact under the same id.
    Fact {
        id: u8,
        content: u8,
        lasts: Option<u16>,
    },
    Withdraw {
        id: u8,
    },
    Pass {
        ms: u16,
    },
    Succeed {
        ttl_ms: u32,
    },
    Fail,
    Stop,
    /// Outputs that are carried out before everything in memory is lost.
    Crash {
        after: u8,
    },
}

fn step(ttl_ms: std::ops::Range<u32>) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_u8, 0..2_u8, prop::option::of(0..3000_u16))
            .prop_map(|(id, content, lasts)| Step::Fact { id, content, lasts }),
        2 => (0..6_u8).prop_map(|id| Step::Withdraw { id }),
        4 => (0..1500_u16).prop_map(|ms| Step::Pass { ms }),
        4 => ttl_ms.prop_map(|ttl_ms| Step::Succeed { ttl_ms }),
        2 => Just(Step::Fail),
        1 => Just(Step::Stop),
        2 => (0..6_u8).prop_map(|after| Step::Crash { after }),
    ]
}

/// The world around the machine: a stream, a table of what holds, and what was recorded.
struct World {
    spec: SubscriptionSpec,
    reaction: Reaction,
    now: Moment,
    stream: Vec<Arc<Fact>>,
    table: BTreeMap<String, (u64, Arc<Fact>)>,
    acknowledged: BTreeSet<u64>,
    parts: BTreeMap<String, Part>,
    records: Vec<RunRecord>,
    dead: BTreeSet<String>,
    running: Option<u64>,
    /// Outputs until the crash.
    left: Option<u8>,
}

impl World {
    fn new(trigger: serde_json::Value) -> Self {
        let mut trigger = trigger;
        trigger["pluginRef"] = json!("claims");
        let spec = json!({"groupRef": "edge", "match": {"types": ["seen"]}, "trigger": trigger});
        let spec: SubscriptionSpec = serde_json::from_value(spec).unwrap();
        World {
            reaction: Reaction::new("claims", &spec, 7),
            spec,
            now: Moment::EPOCH.after(Duration::from_secs(1_000_000)),
            stream: Vec::new(),
            table: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            parts: BTreeMap::new(),
            records: Vec::new(),
            dead: BTreeSet::new(),
            running: None,
            left: None,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Fact { id, content, lasts } => {
                let mut fact = Fact::new("edge", format!("f{id}"), "seen");
                fact.observed = Some(self.now);
                fact.payload.insert("content".into(), content.to_string());
                fact.expires = lasts.map(|lasts| self.now.after(Duration::from_millis(lasts.into())));
                let fact = Arc::new(fact);
                self.stream.push(fact.clone());
                let seq = self.stream.len() as u64;
                self.table.insert(fact.id.clone(), (seq, fact.clone()));
                self.tell(Input::Fact { seq, fact });
            }
            Step::Withdraw { id } => self.gone(&format!("f{id}")),
            Step::Pass { ms } => self.pass(Duration::from_millis((*ms).into())),
            Step::Succeed { ttl_ms } => self.ran(Ok(PluginResult {
                observed: None,
                ttl: Duration::from_millis((*ttl_ms).into()),
                resources: Vec::new(),
                directives: Vec::new(),
                action_plans: Vec::new(),
                events: Vec::new(),
            })),
            Step::Fail => self.ran(Err(RunFailure::new("boom"))),
            Step::Stop => self.ran(Err(RunFailure { error: "stopped".into(), interrupted: true })),
            Step::Crash { after } => self.left = Some(*after),
        }
    }

    fn ran(&mut self, outcome: Result<PluginResult, RunFailure>) {
        if let Some(run) = self.running.take() {
            self.tell(Input::Ran { run, outcome });
        }
    }

    fn gone(&mut self, id: &str) {
        if self.table.remove(id).is_some() {
            self.tell(Input::Gone { id: id.into() });
        }
    }

    /// Time passes from event to event: expiries of facts, and what the machine wants to be woken for.
    fn pass(&mut self, span: Duration) {
        let end = self.now.after(span);
        loop {
            let ended = |(_, fact): &(u64, Arc<Fact>)| fact.expires.map(|at| at.after(Duration::from_nanos(1)));
            let expiry = self.table.values().filter_map(ended).min();
            let next = expiry.into_iter().chain(self.reaction.next_wake()).min().filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            let over: Vec<String> = self
                .table
                .values()
                .filter(|(_, fact)| !fact.is_live(self.now))
                .map(|(_, fact)| fact.id.clone())
                .collect();
            over.iter().for_each(|id| self.gone(id));
            self.tell(Input::Tick);
        }
        self.now = end;
    }

    fn tell(&mut self, input: Input) {
        self.reaction.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut steps = 0;
        while let Some(output) = self.reaction.poll() {
            steps += 1;
            assert!(steps < 10_000, "it never ends: {output:?}");
            if self.left == Some(0) {
                self.left = None;
                self.restart();
                return;
            }
            self.left = self.left.map(|left| left - 1);
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Run { run, facts, .. } => {
                assert!(self.running.replace(run).is_none(), "two runs at a time");
                assert!(!facts.is_empty());
            }
            Output::Put(part) => drop(self.parts.insert(part.source.clone(), *part)),
            Output::Renew { source, until, seqs } => {
                let part = self.parts.remove(&source).unwrap();
                assert!(until > part.expires || until.is_none());
                self.parts.insert(source, part.renewed(until, &seqs));
            }
            Output::Drop { source, .. } => drop(self.parts.remove(&source).unwrap()),
            Output::Record(record) => self.records.push(*record),
            Output::Dead(record) => {
                assert!(!record.history.is_empty());
                self.dead.extend(record.facts.iter().map(|fact| fact.id.clone()));
            }
            Output::Done { seqs } => seqs.into_iter().for_each(|seq| self.acknowledge(seq)),
        }
    }

    fn told_at(&self, seq: u64) -> &Arc<Fact> {
        &self.stream[usize::try_from(seq).unwrap() - 1]
    }

    /// What is acknowledged has a run on record that ended, or a part that was renewed for it.
    fn acknowledge(&mut self, seq: u64) {
        let (id, said) = (&self.told_at(seq).id, revision(self.told_at(seq)));
        // A refresh of what was finished before stands on the run that finished it.
        let seen = |fact: &plan::FactRef| fact.id == *id && (fact.seq >= seq || fact.revision == said);
        let recorded = self.records.iter().any(|record| record.status.is_final() && record.facts.iter().any(seen));
        let derived = |part: &Part| part.origin.as_ref().unwrap().facts.iter().any(|fact| fact.id == *id);
        let derived = self.parts.values().any(derived);
        assert!(recorded || derived, "{id} at {seq} was acknowledged on nothing");
        self.acknowledged.insert(seq);
    }

    fn restart(&mut self) {
        self.running = None;
        self.reaction = Reaction::new("claims", &self.spec, 8);
        for part in self.parts.values() {
            let part = Part::from_json(&part.to_json()).unwrap();
            self.reaction.handle(self.now, Input::Restore { part: Box::new(part) });
        }
        for record in &self.records {
            let record = RunRecord::from_json(&record.to_json()).unwrap();
            self.reaction.handle(self.now, Input::RestoreRun { record: Box::new(record) });
        }
        for (seq, fact) in self.stream.iter().enumerate().map(|(index, fact)| (index as u64 + 1, fact)) {
            let newest = self.table.get(&fact.id).is_some_and(|(at, _)| *at == seq);
            if newest || !self.acknowledged.contains(&seq) {
                let fact = match self.table.contains_key(&fact.id) {
                    true => fact.clone(),
                    false => Arc::new(Fact { withdrawn: true, ..(**fact).clone() }),
                };
                self.reaction.handle(self.now, Input::Fact { seq, fact });
            }
        }
        self.reaction.handle(self.now, Input::CaughtUp);
        // What is said of facts that have gone is acknowledged by whoever knows that they have.
        let gone =
            |(index, fact): &(usize, &Arc<Fact>)| (!self.table.contains_key(&fact.id)).then_some(*index as u64 + 1);
        let gone: Vec<u64> = self.stream.iter().enumerate().filter_map(|pair| gone(&pair)).collect();
        self.acknowledged.extend(gone);
        self.drain();
    }

    /// Lets everything come to rest: every run succeeds from now on.
    fn rest(&mut self, ttl_ms: u32) {
        self.left = None;
        for _ in 0..200 {
            self.step(&Step::Succeed { ttl_ms });
            self.pass(Duration::from_millis(100));
        }
        assert_eq!(self.running, None);
        assert_eq!(self.reaction.waiting(), (0, 0));
        assert_eq!(self.reaction.room(), plan::reaction::UNFINISHED_FACTS_MAX);
        for seq in 1..=self.stream.len() as u64 {
            assert!(self.acknowledged.contains(&seq), "{} at {seq} was never acknowledged", self.told_at(seq).id);
        }
    }

    /// Parts are made of the facts that hold, each once, as they are; but for dead letters.
    fn converged(&self) {
        let mut members: BTreeMap<String, u64> = BTreeMap::new();
        for part in self.parts.values() {
            for fact in &part.origin.as_ref().unwrap().facts {
                assert_eq!(members.insert(fact.id.clone(), fact.revision), None, "{} is in two parts", fact.id);
            }
        }
        for (id, (_, fact)) in &self.table {
            if !self.dead.contains(id) {
                assert_eq!(members.get(id), Some(&revision(fact)), "{id} is in no part, or not as it is");
            }
        }
        for id in members.keys() {
            assert!(self.table.contains_key(id), "{id} has gone and is in a part");
        }
    }
}

fn trigger() -> impl Strategy<Value = serde_json::Value> {
    let window = prop::option::of(0..800_u16);
    (window.clone(), window, 0..1000_u16, 1..4_u8).prop_map(|(window, debounce, grace, attempts)| {
        let mut trigger = json!({"grace": format!("{grace}ms"),
            "retry": {"maxAttempts": attempts, "backoff": "200ms", "maxBackoff": "1s"}});
        for (key, span) in [("batchWindow", window), ("debounce", debounce)] {
            if let Some(span) = span {
                trigger[key] = json!(format!("{span}ms"));
            }
        }
        trigger
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_fact_is_lost_and_parts_are_what_holds(trigger in trigger(), steps in prop::collection::vec(step(3_600_000..3_600_001), 0..60)) {
        let mut world = World::new(trigger);
        steps.iter().for_each(|step| world.step(step));
        world.rest(3_600_000);
        world.converged();
    }

    #[test]
    fn no_fact_is_lost_where_parts_end_before_their_facts(trigger in trigger(), steps in prop::collection::vec(step(1..2000), 0..60)) {
        let mut world = World::new(trigger);
        steps.iter().for_each(|step| world.step(step));
        world.rest(500);
    }
}

#[test]
fn what_kills_us_is_not_tried_for_ever() {
    let mut world = World::new(json!({"retry": {"maxAttempts": 3, "backoff": "10ms", "maxBackoff": "10ms"}}));
    world.step(&Step::Fact { id: 1, content: 0, lasts: None });
    for _ in 0..5 {
        world.restart();
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(world.running, None);
    assert_eq!(world.records.last().unwrap().status, RunStatus::Dead);
    assert_eq!(world.records.last().unwrap().history.len(), 3);
    assert_eq!(world.acknowledged, [1].into());
}

//! Stories of a subscription, each a transcript: lines with `>` are what happens, the others what the
//! machine wants done, to the millisecond. Outputs stand at the moment at which the machine asked to be woken.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use event::{Fact, Moment};
use plan::reaction::{Input, Output, Reaction, RunFailure, RunRecord};
use plan::{FactRef, Part, PluginResult, SubscriptionSpec};
use serde_json::{Value, json};

struct Story {
    spec: SubscriptionSpec,
    reaction: Reaction,
    clock: u64,
    seq: u64,
    run: u64,
    parts: Vec<Part>,
    records: Vec<RunRecord>,
    transcript: String,
}

fn at(ms: u64) -> Moment {
    Moment::from_nanos(ms * 1_000_000)
}

fn ms(moment: Moment) -> String {
    match moment.nanos() % 1_000_000 {
        0 => (moment.nanos() / 1_000_000).to_string(),
        _ => format!("{}ns", moment.nanos()),
    }
}

fn names(facts: &[FactRef]) -> String {
    facts.iter().map(|fact| fact.id.as_str()).collect::<Vec<_>>().join(",")
}

fn span(text: &str) -> Duration {
    Duration::from_nanos(u64::try_from(plan::duration::parse(text).unwrap()).unwrap())
}

impl Story {
    fn new(trigger: Value) -> Self {
        let mut trigger = trigger;
        trigger["pluginRef"] = json!("claims");
        let spec = json!({"groupRef": "edge", "match": {"types": ["seen"]}, "trigger": trigger});
        let spec: SubscriptionSpec = serde_json::from_value(spec).unwrap();
        Story {
            reaction: Reaction::new("claims", &spec, 7),
            spec,
            clock: 0,
            seq: 0,
            run: 0,
            parts: Vec::new(),
            records: Vec::new(),
            transcript: String::new(),
        }
    }

    fn play(&mut self, line: &str) {
        writeln!(self.transcript, "> {line}").unwrap();
        let mut words = line.split_whitespace();
        let time: u64 = words.next().unwrap().parse().unwrap();
        while let Some(wake) = self.reaction.next_wake().filter(|wake| *wake < at(time)) {
            assert!(wake >= at(self.clock), "woken in the past: {wake} before {}", self.clock);
            self.clock = wake.nanos() / 1_000_000;
            self.tell(wake, Input::Tick);
            assert_ne!(self.reaction.next_wake(), Some(wake), "woken for nothing");
        }
        self.clock = time;
        let verb = words.next().unwrap();
        let rest: Vec<&str> = words.collect();
        match verb {
            "facts" => {
                for id in &rest {
                    let input = self.fact(&[id]);
                    self.reaction.handle(at(time), input);
                }
                self.drain(at(time));
            }
            "fact" => {
                let input = self.fact(&rest);
                self.tell(at(time), input);
            }
            "gone" => {
                for id in &rest {
                    self.reaction.handle(at(time), Input::Gone { id: (*id).into() });
                }
                self.drain(at(time));
            }
            "ok" => {
                let result = PluginResult {
                    observed: None,
                    ttl: span(rest[0]),
                    resources: Vec::new(),
                    directives: Vec::new(),
                    action_plans: Vec::new(),
                    events: Vec::new(),
                };
                self.tell(at(time), Input::Ran { run: self.run, outcome: Ok(result) });
            }
            "fail" => {
                let outcome = Err(RunFailure::new(rest.join(" ")));
                self.tell(at(time), Input::Ran { run: self.run, outcome });
            }
            "stop" => {
                let outcome = Err(RunFailure { error: "stopped".into(), interrupted: true });
                self.tell(at(time), Input::Ran { run: self.run, outcome });
            }
            "crash" => self.crash(),
            "told" => self.tell(at(time), Input::CaughtUp),
            "tick" => self.tell(at(time), Input::Tick),
            other => panic!("{other}"),
        }
    }

    /// `id [until=<ms>] [seq=<n>] [<key>=<value>]…`
    fn fact(&mut self, words: &[&str]) -> Input {
        let mut fact = Fact::new("edge", words[0], "seen");
        fact.observed = Some(at(self.clock));
        fact.source = "site-a".into();
        let mut seq = None;
        for word in &words[1..] {
            match word.split_once('=').unwrap() {
                ("until", time) => fact.expires = Some(at(time.parse().unwrap())),
                ("seq", number) => seq = Some(number.parse().unwrap()),
                ("type", kind) => fact.kind = kind.into(),
                (key, value) => drop(fact.payload.insert(key.into(), value.into())),
            }
        }
        self.seq = seq.unwrap_or(self.seq + 1);
        Input::Fact { seq: self.seq, fact: Arc::new(fact) }
    }

    fn crash(&mut self) {
        self.reaction = Reaction::new("claims", &self.spec, 8);
        for part in self.parts.clone() {
            let part = Part::from_json(&part.to_json()).unwrap();
            self.reaction.handle(at(self.clock), Input::Restore { part: Box::new(part) });
        }
        for record in &self.records {
            let record = RunRecord::from_json(&record.to_json()).unwrap();
            self.reaction.handle(at(self.clock), Input::RestoreRun { record: Box::new(record) });
        }
        assert_eq!(self.reaction.next_wake(), None);
    }

    fn tell(&mut self, now: Moment, input: Input) {
        self.reaction.handle(now, input);
        self.drain(now);
    }

    fn drain(&mut self, now: Moment) {
        while let Some(output) = self.reaction.poll() {
            if let Some(line) = self.carry_out(&output) {
                writeln!(self.transcript, "{} {line}", ms(now)).unwrap();
            }
        }
    }

    fn carry_out(&mut self, output: &Output) -> Option<String> {
        match output {
            Output::Run { run, attempt, facts, .. } => {
                self.run = *run;
                let ids: Vec<&str> = facts.iter().map(|fact| fact.id.as_str()).collect();
                Some(format!("run {run}.{attempt} {}", ids.join(",")))
            }
            Output::Put(part) => {
                self.parts.retain(|other| other.source != part.source);
                self.parts.push((**part).clone());
                let until = part.expires.map_or("ever".into(), ms);
                let facts = names(&part.origin.as_ref().unwrap().facts);
                Some(format!("put {facts} generation {} until {until}", part.generation))
            }
            Output::Renew { source, until, seqs } => {
                let place = self.parts.iter().position(|part| part.source == *source).unwrap();
                let part = self.parts.remove(place).renewed(*until, seqs);
                let facts = names(&part.origin.as_ref().unwrap().facts);
                self.parts.push(part);
                Some(format!("renew {facts} until {}", until.map_or("ever".into(), ms)))
            }
            Output::Drop { source, why } => {
                let place = self.parts.iter().position(|part| part.source == *source).unwrap();
                let facts = names(&self.parts.remove(place).origin.unwrap().facts);
                Some(format!("drop {facts}: {why}"))
            }
            Output::Record(record) => {
                self.records.push((**record).clone());
                (record.status.as_str() != "started")
                    .then(|| format!("{} {}.{} {}", record.status, record.run, record.attempt, names(&record.facts)))
            }
            Output::Dead(record) => {
                let why: Vec<&str> = record.history.iter().map(|attempt| attempt.error.as_str()).collect();
                Some(format!("dead letter {}: {}", names(&record.facts), why.join(" / ")))
            }
            Output::Done { seqs } => {
                let mut seqs = seqs.clone();
                seqs.sort_unstable();
                Some(format!("done {}", seqs.iter().map(u64::to_string).collect::<Vec<_>>().join(",")))
            }
        }
    }
}

#[track_caller]
fn check(trigger: Value, transcript: &str) {
    let wanted: Vec<&str> = transcript.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut story = Story::new(trigger);
    for line in wanted.iter().filter_map(|line| line.strip_prefix("> ")) {
        story.play(line);
    }
    assert_eq!(story.transcript.lines().collect::<Vec<_>>().join("\n"), wanted.join("\n"));
}

#[test]
fn without_a_window_what_is_there_goes_at_once_and_what_comes_meanwhile_goes_together() {
    check(
        json!({}),
        "
        > 0 facts b a
        0 run 1.1 a,b
        > 10 fact c
        > 20 fact d
        > 50 ok 1h
        50 put a,b generation 1 until 3600050
        50 succeeded 1.1 a,b
        50 done 1,2
        50 run 2.1 c,d
        > 60 ok 1h
        60 put c,d generation 1 until 3600060
        60 succeeded 2.1 c,d
        60 done 3,4
        > 100 fact x type=other
        100 done 5
        ",
    );
}

#[test]
fn a_window_counts_from_the_first_fact() {
    check(
        json!({"batchWindow": "200ms"}),
        "
        > 1000 fact a
        > 1100 fact b
        > 1199 fact c
        > 1201 tick
        1200 run 1.1 a,b,c
        > 1202 fact d
        > 1210 ok 1h
        1210 put a,b,c generation 1 until 3601210
        1210 succeeded 1.1 a,b,c
        1210 done 1,2,3
        > 2000 tick
        1402 run 2.1 d
        ",
    );
}

#[test]
fn a_quiet_time_counts_from_the_last_new_fact_and_is_put_off_for_a_minute_at_most() {
    check(
        json!({"debounce": "5s"}),
        "
        > 0 fact a
        > 4999 fact b
        > 9000 fact a
        > 20000 tick
        9999 run 1.1 b,a
        ",
    );
    let mut story = Story::new(json!({"debounce": "5s"}));
    for index in 0..30 {
        story.play(&format!("{} fact f{index:02}", index * 4000));
    }
    assert!(story.transcript.contains("\n60000 run 1.1 f00,"), "{}", story.transcript);
}

#[test]
fn of_a_window_and_a_quiet_time_the_earlier_counts() {
    let trigger = || json!({"batchWindow": "1s", "debounce": "300ms"});
    check(
        trigger(),
        "
        > 0 fact a
        > 100 fact b
        > 2000 tick
        400 run 1.1 a,b
        ",
    );
    check(
        trigger(),
        "
        > 0 fact a
        > 250 fact b
        > 500 fact c
        > 750 fact d
        > 2000 tick
        1000 run 1.1 a,b,c,d
        ",
    );
}

#[test]
fn a_full_batch_goes_at_once() {
    let mut story = Story::new(json!({"batchWindow": "1h"}));
    let ids: Vec<String> = (0..1030).map(|index| format!("f{index:04}")).collect();
    story.play(&format!("5 facts {}", ids.join(" ")));
    let runs: Vec<usize> =
        story.transcript.lines().filter(|line| line.starts_with("5 run")).map(|line| line.split(',').count()).collect();
    assert_eq!(runs, [1024]);
    assert_eq!(story.reaction.waiting(), (0, 6));
    let big = "x".repeat(1024 * 1024);
    let mut story = Story::new(json!({"batchWindow": "1h"}));
    for index in 0..3 {
        story.play(&format!("{index} fact f{index} data={big}"));
    }
    assert!(!story.transcript.contains("\n2 run"));
    story.play(&format!("9 fact f9 data={big}"));
    assert!(story.transcript.contains("\n9 run 1.1 f0,f1,f2\n"));
}

#[test]
fn a_failed_run_is_tried_again_later_and_does_not_hold_others_up() {
    let mut story = Story::new(json!({"retry": {"maxAttempts": 3, "backoff": "1s", "maxBackoff": "1m"}}));
    for line in ["0 fact a", "100 fail exit status 1", "150 fact b", "160 ok 1h", "5000 tick"] {
        story.play(line);
    }
    let retried = |story: &Story, run: &str| {
        let line = story.transcript.lines().find(|line| line.contains(run)).unwrap().to_string();
        line.split(' ').next().unwrap().trim_end_matches("ns").parse::<u64>().unwrap()
    };
    let second = retried(&story, "run 1.2 a") / 1_000_000;
    assert!((600..=1100).contains(&second), "{second}");
    story.play("5100 fail exit status 2");
    story.play("9000 tick");
    let third = retried(&story, "run 1.3 a") / 1_000_000;
    assert!((6100..=7100).contains(&third), "{third}");
    story.play("9100 fail exit status 3");
    let end = "
        9100 dead letter a: exit status 1 / exit status 2 / exit status 3
        9100 dead 1.3 a
        9100 done 1
        "
    .replace("\n        ", "\n");
    assert!(story.transcript.ends_with(end.trim_start()), "{}", story.transcript);
    assert!(story.transcript.contains("150 run 2.1 b\n"));
    // Told again, it is a dead letter still; refreshed, it is another try.
    story.play("9200 fact a seq=1");
    assert!(story.transcript.ends_with("9200 done 1\n"));
    story.play("9300 fact a seq=9");
    assert!(story.transcript.ends_with("9300 run 3.1 a\n"));
}

#[test]
fn a_stale_result_is_a_failed_run() {
    let mut story = Story::new(json!({"retry": {"maxAttempts": 1}}));
    story.play("1000000 fact a");
    let mut result = PluginResult {
        observed: Some(at(1000)),
        ttl: Duration::from_secs(5),
        resources: Vec::new(),
        directives: Vec::new(),
        action_plans: Vec::new(),
        events: Vec::new(),
    };
    story.tell(at(1_000_010), Input::Ran { run: 1, outcome: Ok(result.clone()) });
    assert!(story.transcript.contains("dead letter a: PluginResult is stale"), "{}", story.transcript);
    result.observed = None;
    story.tell(at(1_000_020), Input::Ran { run: 1, outcome: Ok(result) });
    assert!(!story.transcript.contains("put"));
}

#[test]
fn a_refresh_renews_the_part_and_runs_nothing() {
    check(
        json!({"grace": "2s"}),
        "
        > 0 fact a until=10000
        0 run 1.1 a
        > 10 ok 30s
        10 put a generation 1 until 12000
        10 succeeded 1.1 a
        10 done 1
        > 8000 fact a until=20000
        8000 renew a until 22000
        8000 done 2
        > 9000 fact a until=90000
        9000 renew a until 39000
        9000 done 3
        > 9500 fact a until=90000 seq=3
        9500 done 3
        > 39000 tick
        39000 drop a: expired
        > 40000 fact a until=90000
        40000 run 2.1 a
        ",
    );
}

#[test]
fn what_was_derived_from_a_fact_goes_after_its_grace() {
    check(
        json!({"grace": "5s"}),
        "
        > 0 fact a
        0 run 1.1 a
        > 10 ok 1h
        10 put a generation 1 until 3600010
        10 succeeded 1.1 a
        10 done 1
        > 1000 gone a
        > 9000 tick
        6000 drop a: facts gone
        > 10000 gone a
        ",
    );
    check(
        json!({}),
        "
        > 0 fact a until=1000
        0 run 1.1 a
        > 10 ok 1h
        10 put a generation 1 until 1000
        10 succeeded 1.1 a
        10 done 1
        > 2000 tick
        1000 drop a: expired
        ",
    );
}

#[test]
fn a_fact_that_comes_back_within_its_grace_changes_nothing() {
    check(
        json!({"grace": "5s"}),
        "
        > 0 fact a until=60000
        0 run 1.1 a
        > 10 ok 1h
        10 put a generation 1 until 65000
        10 succeeded 1.1 a
        10 done 1
        > 1000 gone a
        > 5900 fact a until=60000
        5900 done 2
        > 30000 tick
        > 31000 gone a
        > 40000 tick
        36000 drop a: facts gone
        ",
    );
}

#[test]
fn a_part_that_loses_a_fact_is_derived_again_from_the_others() {
    check(
        json!({}),
        "
        > 0 facts a b c
        0 run 1.1 a,b,c
        > 10 ok 1h
        10 put a,b,c generation 1 until 3600010
        10 succeeded 1.1 a,b,c
        10 done 1,2,3
        > 100 gone b
        100 run 2.1 a,c
        > 110 ok 1h
        110 put a,c generation 1 until 3600110
        110 drop a,b,c: replaced
        110 succeeded 2.1 a,c
        > 200 gone a c
        200 drop a,c: facts gone
        ",
    );
}

#[test]
fn a_part_that_cannot_be_derived_again_goes_in_the_end() {
    check(
        json!({"retry": {"maxAttempts": 1}}),
        "
        > 0 facts a b
        0 run 1.1 a,b
        > 10 ok 1h
        10 put a,b generation 1 until 3600010
        10 succeeded 1.1 a,b
        10 done 1,2
        > 100 gone b
        100 run 2.1 a
        > 110 fail boom
        110 dead letter a: boom
        110 dead 2.1 a
        110 drop a,b: re-run failed
        ",
    );
}

#[test]
fn a_fact_that_says_something_else_is_run_again_with_those_beside_it() {
    check(
        json!({}),
        "
        > 0 fact a x=1
        0 run 1.1 a
        > 10 ok 1h
        10 put a generation 1 until 3600010
        10 succeeded 1.1 a
        10 done 1
        > 20 fact a x=2
        20 run 2.1 a
        > 30 fact a x=3
        > 40 ok 1h
        40 put a generation 2 until 3600040
        40 succeeded 2.1 a
        40 done 2
        40 run 3.1 a
        > 50 ok 1h
        50 put a generation 3 until 3600050
        50 succeeded 3.1 a
        50 done 3
        > 60 fact a x=3 type=other
        60 done 4
        60 drop a: facts gone
        ",
    );
}

#[test]
fn a_fact_that_goes_before_its_run_is_skipped() {
    check(
        json!({"batchWindow": "1s"}),
        "
        > 0 facts a b
        > 500 gone a
        500 skipped 0.0 a
        500 done 1
        > 1000 tick
        1000 run 1.1 b
        > 1100 gone b
        > 1200 ok 1h
        1200 skipped 1.1 b
        1200 done 2
        > 2000 fact c until=1500
        2000 skipped 0.0 c
        2000 done 3
        ",
    );
}

#[test]
fn a_restart_finds_what_was_finished_and_goes_on_with_what_was_not() {
    check(
        json!({"grace": "1s"}),
        "
        > 0 facts a b
        0 run 1.1 a,b
        > 10 ok 1h
        10 put a,b generation 1 until 3600010
        10 succeeded 1.1 a,b
        10 done 1,2
        > 20 fact c
        20 run 2.1 c
        > 1000 crash
        > 1001 fact a seq=1
        1001 done 1
        > 1002 fact c seq=3
        > 1003 fact d seq=4
        > 1010 told
        1010 failed 2.1 c
        1010 run 2.2 c
        > 1100 ok 1h
        1100 put c generation 1 until 3601100
        1100 succeeded 2.2 c
        1100 done 3
        1100 run 3.1 d
        > 1200 ok 1h
        1200 put d generation 1 until 3601200
        1200 succeeded 3.1 d
        1200 done 4
        > 3000 tick
        2010 run 4.1 a
        ",
    );
}

#[test]
fn an_attempt_that_we_stop_does_not_count() {
    check(
        json!({"retry": {"maxAttempts": 1}}),
        "
        > 0 fact a
        0 run 1.1 a
        > 10 stop
        10 interrupted 1.1 a
        10 run 1.1 a
        > 20 ok 1h
        20 put a generation 1 until 3600020
        20 succeeded 1.1 a
        20 done 1
        ",
    );
}

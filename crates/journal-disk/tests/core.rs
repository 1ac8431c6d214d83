//! The stepped engine against a model: random requests, checkpoints, kills and clean ends.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failed step fails the test; counts are small"
)]

mod bench;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bench::{all, append, message, open, run, small};
use bytes::Bytes;
use event::{Moment, Pattern};
use journal::{AppendError, Discard, Purge, Read, StreamConfig};
use journal_disk::{Core, Op, Reader, RealDisk};

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[derive(Default)]
struct Model {
    last: u64,
    messages: BTreeMap<u64, (String, String, Option<Moment>)>,
    ids: HashMap<String, u64>,
}

impl Model {
    fn limit(&mut self, config: &StreamConfig, subject: &str) {
        if let Some(max) = config.messages_per_subject_max {
            let of = self.of(subject);
            for seq in &of[..of.len().saturating_sub(max as usize)] {
                self.messages.remove(seq);
            }
        }
        while config.messages_max.is_some_and(|max| self.messages.len() as u64 > max) {
            self.messages.pop_first();
        }
    }

    /// The positions of a subject.
    fn of(&self, subject: &str) -> Vec<u64> {
        self.messages.iter().filter(|(_, m)| m.0 == subject).map(|(seq, _)| *seq).collect()
    }
}

/// An engine and the model beside it.
struct Pair {
    dir: tempfile::TempDir,
    config: StreamConfig,
    seed: u64,
    step: i32,
    chance: Chance,
    now: Moment,
    /// `None` only between two lives.
    core: Option<Core>,
    model: Model,
}

impl Pair {
    fn new(seed: u64, config: StreamConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Moment::from_nanos(1_000_000_000);
        let mut core = open(dir.path(), now);
        run(&mut core, now, |done| Op::Create(config.clone(), done)).unwrap();
        let (core, model) = (Some(core), Model::default());
        Pair { dir, config, seed, step: 0, chance: Chance(seed), now, core, model }
    }

    fn core(&mut self) -> &mut Core {
        self.core.as_mut().unwrap()
    }

    fn step(&mut self) {
        self.now = self.now.after(Duration::from_millis(1));
        let now = self.now;
        match self.chance.below(100) {
            0..70 => self.append(),
            70..76 => self.delete(),
            76 => self.purge_subject(),
            77 => self.purge_before(),
            78..82 => self.core().flush(now).unwrap(),
            82..86 => self.core().checkpoint(now).unwrap(),
            86..92 => self.kill(),
            92..94 => self.end(),
            _ => {}
        }
        self.core().tick(now);
        self.model.messages.retain(|_, m| m.2.is_none_or(|expires| expires > now));
        self.check_state();
        if self.chance.below(10) == 0 {
            self.compare();
        }
        self.step += 1;
    }

    fn append(&mut self) {
        let (now, at) = (self.now, (self.seed, self.step));
        let chance = &mut self.chance;
        let subject = format!("a.{}", chance.below(6));
        let payload = format!("{}-{}", self.step, "x".repeat(chance.below(300) as usize));
        let id = (chance.below(3) == 0).then(|| format!("id{}", chance.below(60)));
        let mortal = self.config.allow_ttl && chance.below(8) == 0;
        let ttl = mortal.then(|| Duration::from_millis(1 + chance.below(40)));
        let mut wanted = message(&subject, &payload);
        wanted.id = id.clone().map(Bytes::from);
        wanted.ttl = ttl;
        let receipt = append(self.core(), now, wanted).unwrap();
        let model = &mut self.model;
        if let Some(seq) = id.as_ref().and_then(|id| model.ids.get(id)) {
            assert!(receipt.duplicate && receipt.seq == *seq, "{at:?}");
            return;
        }
        model.last += 1;
        assert_eq!((receipt.seq, receipt.duplicate), (model.last, false), "{at:?}");
        model.messages.insert(model.last, (subject.clone(), payload, ttl.map(|ttl| now.after(ttl))));
        model.ids.extend(id.map(|id| (id, model.last)));
        model.limit(&self.config, &subject);
    }

    fn delete(&mut self) {
        let (now, seq) = (self.now, 1 + self.chance.below(self.model.last + 1));
        let done = run(self.core(), now, |done| Op::Delete("S".into(), seq, done));
        assert_eq!(done.is_ok(), self.model.messages.remove(&seq).is_some(), "{} {} {seq}", self.seed, self.step);
    }

    fn purge_subject(&mut self) {
        let (now, subject) = (self.now, format!("a.{}", self.chance.below(6)));
        let keep = self.chance.below(3);
        let purge = Purge { filter: Some(Pattern::parse(&subject).unwrap()), before: None, keep: Some(keep) };
        let removed = run(self.core(), now, |done| Op::Purge("S".into(), purge, done)).unwrap();
        let of = self.model.of(&subject);
        let gone = of.len().saturating_sub(keep as usize);
        of[..gone].iter().for_each(|seq| drop(self.model.messages.remove(seq)));
        assert_eq!(removed, gone as u64, "{} {}", self.seed, self.step);
    }

    fn purge_before(&mut self) {
        let (now, before) = (self.now, 1 + self.chance.below(self.model.last + 1));
        let purge = Purge { before: Some(before), ..Purge::default() };
        run(self.core(), now, |done| Op::Purge("S".into(), purge, done)).unwrap();
        self.model.messages.retain(|seq, _| *seq >= before);
    }

    fn kill(&mut self) {
        drop(self.core.take());
        let core = open(self.dir.path(), self.now);
        assert!(core.recovered().damage.is_empty(), "{} {} {:?}", self.seed, self.step, core.recovered());
        self.core = Some(core);
    }

    fn end(&mut self) {
        let now = self.now;
        self.core().close(now);
        drop(self.core.take());
        let core = open(self.dir.path(), now);
        assert_eq!(core.recovered().replayed, 0, "{} {}", self.seed, self.step);
        self.core = Some(core);
    }

    fn check_state(&mut self) {
        let (seed, step, now) = (self.seed, self.step, self.now);
        let state = self.core().info("S").unwrap().state;
        let model = &self.model;
        let first = model.messages.keys().next().copied().unwrap_or(model.last + 1);
        let bytes: usize = model.messages.values().map(|m| m.0.len() + m.1.len()).sum();
        if state.messages != model.messages.len() as u64 {
            let wanted: Vec<_> = model.messages.iter().map(|(seq, m)| (*seq, m.2)).collect();
            let found: Vec<_> = all(self.core(), "S").into_iter().map(|m| m.0).collect();
            panic!("{seed} {step} {now} {state:?}\n{found:?}\n{wanted:?}");
        }
        assert_eq!(state.last, model.last, "{seed} {step}");
        assert_eq!((state.first, state.bytes), (first, bytes as u64), "{seed} {step}");
    }

    fn compare(&mut self) {
        let (seed, step) = (self.seed, self.step);
        let found = all(self.core(), "S");
        let reader = Reader::new(self.core().directory());
        let model = &self.model;
        let expected: Vec<_> =
            model.messages.iter().map(|(seq, m)| (*seq, m.0.clone(), Bytes::from(m.1.clone()))).collect();
        assert_eq!(found, expected, "{seed} {step}");
        let mut by_subject: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (seq, m) in &model.messages {
            by_subject.entry(&m.0).or_default().push(*seq);
        }
        let subjects = reader.subjects("S", &Pattern::all(), None, 100).unwrap();
        let seen: Vec<_> = subjects.iter().map(|s| (s.subject.as_str(), s.messages, s.first, s.last)).collect();
        let wanted: Vec<_> = by_subject.iter().map(|(s, q)| (*s, q.len() as u64, q[0], *q.last().unwrap())).collect();
        assert_eq!(seen, wanted, "{seed} {step}");
        for (subject, seqs) in &by_subject {
            let read = Read { filters: vec![Pattern::parse(subject).unwrap()], ..Read::from(1, 10_000) };
            let page = reader.page("S", &read).unwrap();
            assert_eq!(page.messages.iter().map(|m| m.seq).collect::<Vec<_>>(), *seqs, "{seed} {step}");
        }
        let read = Read { last_per_subject: true, ..Read::from(1, 10_000) };
        let mut lasts: Vec<u64> = by_subject.values().map(|seqs| *seqs.last().unwrap()).collect();
        lasts.sort_unstable();
        let page = reader.page("S", &read).unwrap();
        assert_eq!(page.messages.iter().map(|m| m.seq).collect::<Vec<_>>(), lasts, "{seed} {step}");
    }
}

fn check(seed: u64, config: StreamConfig) {
    let mut pair = Pair::new(seed, config);
    (0..600).for_each(|_| pair.step());
    pair.compare();
}

fn declared() -> StreamConfig {
    bench::declared("S", "a.>")
}

#[test]
fn a_stream_without_limits_agrees_with_the_model() {
    (0..6).for_each(|seed| check(seed, declared()));
}

#[test]
fn a_limit_by_count_agrees_with_the_model() {
    (100..104).for_each(|seed| check(seed, StreamConfig { messages_max: Some(20), ..declared() }));
}

#[test]
fn a_limit_per_subject_agrees_with_the_model() {
    for max in 1..4 {
        (200..202).for_each(|seed| check(seed, StreamConfig { messages_per_subject_max: Some(max), ..declared() }));
    }
}

#[test]
fn both_limits_agree_with_the_model() {
    let config = StreamConfig { messages_per_subject_max: Some(3), messages_max: Some(9), ..declared() };
    (300..304).for_each(|seed| check(seed, config.clone()));
}

#[test]
fn a_full_stream_that_discards_new_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let now = Moment::from_nanos(1);
    let mut core = open(dir.path(), now);
    let config = StreamConfig { messages_max: Some(1), discard: Discard::New, ..declared() };
    run(&mut core, now, |done| Op::Create(config, done)).unwrap();
    append(&mut core, now, message("a.b", "1")).unwrap();
    assert_eq!(append(&mut core, now, message("a.b", "2")), Err(AppendError::Full { limit: "messages_max" }));
}

#[test]
fn a_second_node_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), Moment::EPOCH);
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    let error = Core::open(disk, small(), Moment::EPOCH).err().unwrap();
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

#[test]
fn lifetimes_agree_with_the_model() {
    (400..404).for_each(|seed| check(seed, StreamConfig { allow_ttl: true, ..declared() }));
}

#[test]
fn subjects_overwritten_again_and_again_take_up_a_few_segments() {
    let dir = tempfile::tempdir().unwrap();
    let now = Moment::from_nanos(1);
    let mut core = open(dir.path(), now);
    let config = StreamConfig { messages_per_subject_max: Some(1), ..declared() };
    bench::create(&mut core, now, config);
    let payload = "x".repeat(100);
    for round in 0..100 {
        for subject in 0..50 {
            core.submit(Op::Append(message(&format!("a.{subject}"), &payload), Box::new(|_| {})));
        }
        core.commit(now);
        if round % 5 == 4 {
            core.checkpoint(now).unwrap();
        }
    }
    let files = std::fs::read_dir(dir.path().join("streams/00000001")).unwrap().map(|entry| entry.unwrap());
    let bytes: u64 = files.map(|entry| entry.metadata().unwrap().len()).sum();
    // What is held is 50 messages of about 150 bytes; what was recorded, 5,000.
    assert!(bytes < 100_000, "{bytes}");
    assert_eq!(all(&core, "S").len(), 50);
}

#[test]
fn many_streams_keep_few_files_open() {
    const STREAMS: usize = 400;
    const OPEN_MAX: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let now = Moment::from_nanos(1_000_000_000);
    let mut core = open(dir.path(), now);
    for number in 0..STREAMS {
        let subjects = [Pattern::parse(&format!("many.s{number}.>")).unwrap()];
        let config = StreamConfig::new(format!("S{number}"), subjects);
        run(&mut core, now, |done| Op::Create(config, done)).unwrap();
        append(&mut core, now, message(&format!("many.s{number}.a"), "x")).unwrap();
    }
    core.checkpoint(now).unwrap();
    for number in 0..STREAMS {
        append(&mut core, now, message(&format!("many.s{number}.b"), "y")).unwrap();
    }
    core.checkpoint(now).unwrap();
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let files = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
    let ours = files.filter(|file| file.starts_with(dir.path().canonicalize().unwrap().join("streams"))).count();
    assert!(ours <= OPEN_MAX, "{ours} files are open");
    for number in 0..STREAMS {
        assert_eq!(all(&core, &format!("S{number}")).len(), 2);
    }
}

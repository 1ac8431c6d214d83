//! The stepped engine against a model: random requests, checkpoints, kills and clean ends.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failed step fails the test; counts are small"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use event::{Message, Moment, Pattern, Subject};
use journal::{Append, AppendError, Discard, Purge, Read, Receipt, StreamConfig};
use journal_disk::{Core, Op, Options, Reader, RealDisk};

fn options() -> Options {
    Options { wal_file_bytes: 16 * 1024, segment_bytes: 4 * 1024, checkpoint_bytes: 8 * 1024, ..Options::default() }
}

fn open(dir: &std::path::Path, now: Moment) -> Core {
    Core::open(Arc::new(RealDisk::new(dir).unwrap()), options(), now).unwrap()
}

fn run<T: Send + 'static>(core: &mut Core, now: Moment, op: impl FnOnce(journal::Done<T>) -> Op) -> T {
    let slot = Arc::new(Mutex::new(None));
    let place = slot.clone();
    core.submit(op(Box::new(move |value| *place.lock().unwrap() = Some(value))));
    core.commit(now);
    let value = slot.lock().unwrap().take();
    value.unwrap()
}

fn append(core: &mut Core, now: Moment, append: Append) -> Result<Receipt, AppendError> {
    run(core, now, |done| Op::Append(append, done))
}

fn message(subject: &str, payload: &str) -> Append {
    Append::new(Message::new(Subject::parse(subject).unwrap(), Bytes::copy_from_slice(payload.as_bytes())))
}

fn all(core: &Core, stream: &str) -> Vec<(u64, String, Bytes)> {
    let reader = Reader::new(core.directory());
    let (mut from, mut found) = (1, Vec::new());
    loop {
        let page = reader.page(stream, &Read::from(from, 7)).unwrap();
        assert!(page.damaged.is_empty(), "{:?}", page.damaged);
        found.extend(
            page.messages
                .into_iter()
                .map(|each| (each.seq, each.message.subject.as_str().to_owned(), each.message.payload)),
        );
        from = page.next;
        if page.next > page.last {
            return found;
        }
    }
}

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
            let of: Vec<u64> = self.messages.iter().filter(|(_, m)| m.0 == subject).map(|(seq, _)| *seq).collect();
            for seq in &of[..of.len().saturating_sub(max as usize)] {
                self.messages.remove(seq);
            }
        }
        while config.messages_max.is_some_and(|max| self.messages.len() as u64 > max) {
            self.messages.pop_first();
        }
    }
}

fn check(seed: u64, config: StreamConfig) {
    let dir = tempfile::tempdir().unwrap();
    let mut chance = Chance(seed);
    let mut now = Moment::from_nanos(1_000_000_000);
    let mut core = open(dir.path(), now);
    let mut model = Model::default();
    run(&mut core, now, |done| Op::Create(config.clone(), done)).unwrap();
    for step in 0..600 {
        now = now.after(Duration::from_millis(1));
        match chance.below(100) {
            0..70 => {
                let subject = format!("a.{}", chance.below(6));
                let payload = format!("{step}-{}", "x".repeat(chance.below(300) as usize));
                let id = (chance.below(3) == 0).then(|| format!("id{}", chance.below(60)));
                let ttl =
                    (config.allow_ttl && chance.below(8) == 0).then(|| Duration::from_millis(1 + chance.below(40)));
                let mut wanted = message(&subject, &payload);
                wanted.id = id.clone().map(Bytes::from);
                wanted.ttl = ttl;
                let receipt = append(&mut core, now, wanted).unwrap();
                if let Some(seq) = id.as_ref().and_then(|id| model.ids.get(id)) {
                    assert!(receipt.duplicate && receipt.seq == *seq, "{seed} {step}");
                } else {
                    model.last += 1;
                    assert_eq!((receipt.seq, receipt.duplicate), (model.last, false), "{seed} {step}");
                    model.messages.insert(model.last, (subject.clone(), payload, ttl.map(|ttl| now.after(ttl))));
                    model.ids.extend(id.map(|id| (id, model.last)));
                    model.limit(&config, &subject);
                }
            }
            70..76 => {
                let seq = 1 + chance.below(model.last + 1);
                let done = run(&mut core, now, |done| Op::Delete("S".into(), seq, done));
                assert_eq!(done.is_ok(), model.messages.remove(&seq).is_some(), "{seed} {step} {seq}");
            }
            76 => {
                let subject = format!("a.{}", chance.below(6));
                let purge = Purge {
                    filter: Some(Pattern::parse(&subject).unwrap()),
                    before: None,
                    keep: Some(chance.below(3)),
                };
                let removed = run(&mut core, now, |done| Op::Purge("S".into(), purge.clone(), done)).unwrap();
                let of: Vec<u64> = model.messages.iter().filter(|(_, m)| m.0 == subject).map(|(seq, _)| *seq).collect();
                let gone = of.len().saturating_sub(purge.keep.unwrap() as usize);
                of[..gone].iter().for_each(|seq| drop(model.messages.remove(seq)));
                assert_eq!(removed, gone as u64, "{seed} {step}");
            }
            77 => {
                let before = 1 + chance.below(model.last + 1);
                let purge = Purge { before: Some(before), ..Purge::default() };
                run(&mut core, now, |done| Op::Purge("S".into(), purge, done)).unwrap();
                model.messages.retain(|seq, _| *seq >= before);
            }
            78..82 => core.flush(now).unwrap(),
            82..86 => core.checkpoint(now).unwrap(),
            86..92 => {
                drop(core);
                core = open(dir.path(), now);
                assert!(core.recovered().damage.is_empty(), "{seed} {step} {:?}", core.recovered());
            }
            92..94 => {
                core.close(now);
                drop(core);
                core = open(dir.path(), now);
                assert_eq!(core.recovered().replayed, 0, "{seed} {step}");
            }
            _ => {}
        }
        core.tick(now);
        model.messages.retain(|_, m| m.2.is_none_or(|expires| expires > now));
        let state = core.info("S").unwrap().state;
        let first = model.messages.keys().next().copied().unwrap_or(model.last + 1);
        let bytes: usize = model.messages.values().map(|m| m.0.len() + m.1.len()).sum();
        if state.messages != model.messages.len() as u64 {
            let found: Vec<_> = all(&core, "S").into_iter().map(|m| m.0).collect();
            let wanted: Vec<_> = model.messages.iter().map(|(seq, m)| (*seq, m.2)).collect();
            panic!("{seed} {step} {now} {state:?}\n{found:?}\n{wanted:?}");
        }
        assert_eq!(state.last, model.last, "{seed} {step}");
        assert_eq!((state.first, state.bytes), (first, bytes as u64), "{seed} {step}");
        if chance.below(10) == 0 {
            compare(&core, &model, seed, step);
        }
    }
    compare(&core, &model, seed, 600);
}

fn compare(core: &Core, model: &Model, seed: u64, step: i32) {
    let found = all(core, "S");
    let expected: Vec<_> =
        model.messages.iter().map(|(seq, m)| (*seq, m.0.clone(), Bytes::from(m.1.clone()))).collect();
    assert_eq!(found, expected, "{seed} {step}");
    let reader = Reader::new(core.directory());
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

fn declared() -> StreamConfig {
    StreamConfig::new("S", [Pattern::parse("a.>").unwrap()])
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
    let error = Core::open(disk, options(), Moment::EPOCH).err().unwrap();
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

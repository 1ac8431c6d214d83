//! Random operations on the engine in memory, checked against what can be counted by hand.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use event::{Message, Moment, Pattern, Subject};
use journal::memory::Memory;
use journal::{Append, AppendError, Discard, Purge, Read, StreamConfig};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append { subject: u8, size: u8, id: Option<u8>, ttl: Option<u8>, expect: Option<i8> },
    Delete(u8),
    Purge { subject: Option<u8>, before: Option<u8>, keep: Option<u8> },
    Limits { messages: Option<u8>, bytes: Option<u16>, of_subject: Option<u8>, age: Option<u8>, new: bool },
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let small = || proptest::option::weighted(0.3, 1..20_u8);
    prop_oneof![
        12 => (0..5_u8, 0..60_u8, small(), small(), proptest::option::weighted(0.1, -1..2_i8))
            .prop_map(|(subject, size, id, ttl, expect)| Step::Append { subject, size, id, ttl, expect }),
        2 => (1..60_u8).prop_map(Step::Delete),
        1 => (proptest::option::of(0..5_u8), small(), small(), any::<bool>()).prop_map(|(subject, a, b, which)| {
            let (before, keep) = if which { (a, None) } else { (None, b) };
            Step::Purge { subject, before, keep }
        }),
        1 => (small(), proptest::option::of(20..400_u16), small(), small(), any::<bool>())
            .prop_map(|(messages, bytes, of_subject, age, new)| Step::Limits { messages, bytes, of_subject, age, new }),
        3 => (1..8_u8).prop_map(Step::Wait),
    ]
}

fn seconds(count: u8) -> Duration {
    Duration::from_secs(u64::from(count))
}

fn subject(number: u8) -> Subject {
    Subject::parse(&format!("s.{number}")).unwrap()
}

fn append(number: u8, size: u8, id: Option<u8>, ttl: Option<u8>) -> Append {
    let mut append = Append::new(Message::new(subject(number), vec![b'x'; usize::from(size)]));
    append.id = id.map(|id| vec![id].into());
    append.ttl = ttl.map(seconds);
    append
}

/// What the stream says of itself is what its messages say.
fn check(memory: &Memory, now: Moment, last_before: u64) -> u64 {
    let info = memory.stream_info("S").unwrap();
    let (config, state) = (info.config, info.state);
    let page = memory.read("S", &Read::from(1, 10_000)).unwrap();
    let seqs: Vec<u64> = page.messages.iter().map(|stored| stored.seq).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(page.messages.windows(2).all(|pair| pair[0].time <= pair[1].time));
    assert_eq!(state.messages, seqs.len() as u64);
    assert_eq!(state.bytes, page.messages.iter().map(|stored| stored.message.size() as u64).sum::<u64>());
    assert_eq!(state.first, seqs.first().copied().unwrap_or(state.last + 1));
    assert_eq!(state.deleted, state.last + 1 - state.first - state.messages);
    assert!(state.last >= last_before && seqs.last().is_none_or(|last| *last <= state.last));
    assert_eq!((page.last, page.next), (state.last, state.last + 1));
    let mut by_subject: BTreeMap<Subject, BTreeSet<u64>> = BTreeMap::new();
    for stored in &page.messages {
        by_subject.entry(stored.message.subject.clone()).or_default().insert(stored.seq);
    }
    assert_eq!(state.subjects, by_subject.len() as u64);
    let listed = memory.subjects("S", &Pattern::all(), None, 100).unwrap();
    let listed: Vec<_> = listed.into_iter().map(|each| (each.subject, each.messages, each.first, each.last)).collect();
    let counted = by_subject
        .iter()
        .map(|(subject, seqs)| (subject.clone(), seqs.len() as u64, *seqs.first().unwrap(), *seqs.last().unwrap()));
    assert_eq!(listed, counted.collect::<Vec<_>>());
    assert!(config.messages_max.is_none_or(|max| state.messages <= max));
    assert!(config.bytes_max.is_none_or(|max| state.bytes <= max));
    assert!(config.messages_per_subject_max.is_none_or(|max| by_subject.values().all(|s| s.len() as u64 <= max)));
    assert!(config.age_max.is_none_or(|age| page.messages.iter().all(|stored| now.since(stored.time) < age)));
    assert!(memory.wake_at().is_none_or(|wake| wake > now));
    for (subject, seqs) in &by_subject {
        let last = memory.last("S", &subject.clone().into()).unwrap();
        assert_eq!(Some(&last.seq), seqs.last());
        let filters = vec![subject.clone().into()];
        let filtered = memory.read("S", &Read { filters, ..Read::from(1, 10_000) }).unwrap();
        assert!(filtered.messages.iter().map(|stored| &stored.seq).eq(seqs));
    }
    state.last
}

fn run(steps: Vec<Step>) {
    let (mut memory, mut now) = (Memory::new(), Moment::from_nanos(1_000_000_000_000));
    let mut config = StreamConfig::new("S", [Pattern::parse("s.>").unwrap()]);
    config.duplicate_window = Duration::from_secs(10);
    memory.stream_create(now, config.clone()).unwrap();
    let mut last = 0_u64;
    // When each id was last recorded, and where.
    let mut ids: BTreeMap<u8, (Moment, u64)> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Append { subject, size, id, ttl, expect } => {
                let mut append = append(subject, size, id, ttl);
                append.expect.last = expect.map(|off| last.saturating_add_signed(i64::from(off)));
                let expected = append.expect.last;
                let known =
                    id.and_then(|id| ids.get(&id)).filter(|(time, _)| now.since(*time) < Duration::from_secs(10));
                match memory.append(now, append) {
                    Ok(receipt) if receipt.duplicate => assert_eq!(known.map(|known| known.1), Some(receipt.seq)),
                    Ok(receipt) => {
                        assert_eq!((receipt.seq, known), (last + 1, None));
                        assert!(expected.is_none_or(|expected| expected == last));
                        if let Some(id) = id {
                            ids.insert(id, (now, receipt.seq));
                        }
                    }
                    Err(AppendError::LastSeq { expected, found }) => assert!(expected != last && found == last),
                    Err(AppendError::Full { .. }) => assert_eq!(config.discard, Discard::New),
                    Err(AppendError::TooLarge { max, .. }) => assert_eq!(Some(max), config.bytes_max),
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Delete(seq) => {
                let there = memory.get("S", u64::from(seq)).is_ok();
                assert_eq!(memory.delete("S", u64::from(seq)).is_ok(), there);
                assert!(memory.get("S", u64::from(seq)).is_err());
            }
            Step::Purge { subject: number, before, keep } => {
                let count = |memory: &Memory| memory.stream_info("S").unwrap().state.messages;
                let (filter, there) = (number.map(|number| subject(number).into()), count(&memory));
                let purge = Purge { filter, before: before.map(u64::from), keep: keep.map(u64::from) };
                let gone = memory.purge("S", &purge).unwrap();
                assert_eq!(there - gone, count(&memory));
                if number.is_none() && before.is_none() {
                    assert_eq!(count(&memory), there.min(keep.map_or(0, u64::from)));
                }
            }
            Step::Limits { messages, bytes, of_subject, age, new } => {
                config.messages_max = messages.map(u64::from);
                config.bytes_max = bytes.map(u64::from);
                config.messages_per_subject_max = of_subject.map(u64::from);
                config.age_max = age.map(|age| seconds(age.saturating_add(10)));
                config.discard = if new { Discard::New } else { Discard::Old };
                memory.stream_update(now, config.clone()).unwrap();
            }
            Step::Wait(span) => {
                now = now.after(seconds(span));
                memory.tick(now);
            }
        }
        last = check(&memory, now, last);
    }
}

proptest! {
    #[test]
    fn what_a_stream_says_of_itself_is_so(steps in proptest::collection::vec(step(), 1..120)) {
        run(steps);
    }
}

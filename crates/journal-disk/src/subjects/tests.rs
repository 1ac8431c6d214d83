use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

fn encoded(table: &SubjectTable) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.encode(&mut bytes).unwrap();
    bytes
}

#[derive(Debug, Clone)]
enum Step {
    Intern(u16, u64),
    Release(u16),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u16..400, 1u64..1000).prop_map(|(name, count)| Step::Intern(name, count)),
        4 => (0u16..400).prop_map(Step::Release),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 0..600)
}

fn check(steps: &[Step]) {
    let mut table = SubjectTable::new([1, 2]);
    let mut model: BTreeMap<String, Entry> = BTreeMap::new();
    let mut taken = (table.clone(), encoded(&table));
    for step in steps {
        match step {
            Step::Intern(name, count) => {
                let subject = format!("s.{}.{name}", "x".repeat(usize::from(*name) % 90));
                let id = table.intern(&subject);
                let entry = Entry { first: u64::from(id), last: *count, count: *count, last_size: 7 };
                table.set(id, entry);
                model.insert(subject, entry);
            }
            Step::Release(name) => {
                let subject = format!("s.{}.{name}", "x".repeat(usize::from(*name) % 90));
                assert_eq!(table.find(&subject).is_some(), model.contains_key(&subject));
                if let Some(id) = table.find(&subject) {
                    table.release(id);
                    model.remove(&subject);
                }
            }
            Step::Reopen => {
                let bytes = encoded(&table);
                // What was taken down earlier stays as it was.
                assert_eq!(encoded(&taken.0), taken.1);
                taken = (table.clone(), bytes.clone());
                table = if bytes.len().is_multiple_of(2) {
                    SubjectTable::decode(&mut bytes.as_slice()).unwrap()
                } else {
                    table
                };
            }
        }
    }
    assert_eq!(encoded(&taken.0), taken.1);
    assert_eq!(table.len(), model.len());
    for (subject, entry) in &model {
        let id = table.find(subject).unwrap();
        assert_eq!((table.text(id), table.entry(id)), (subject.as_str(), *entry));
    }
    let all = table.after(None, &Pattern::all(), usize::MAX);
    let texts: Vec<&str> = all.iter().map(|id| table.text(*id)).collect();
    assert_eq!(texts, model.keys().map(String::as_str).collect::<Vec<_>>());
    let page: Vec<&str> = table.after(Some("s.x"), &Pattern::all(), 3).iter().map(|id| table.text(*id)).collect();
    let expected = model.keys().map(String::as_str).filter(|text| *text > "s.x").take(3).collect::<Vec<_>>();
    assert_eq!(page, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_a_map(steps in steps()) {
        check(&steps);
    }

    #[test]
    fn strange_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(SubjectTable::decode(&mut bytes.as_slice()).is_err());
    }
}

fn filled(subjects: u32) -> SubjectTable {
    let mut table = SubjectTable::new([3, 4]);
    for number in 0..subjects {
        assert_eq!(table.intern(&format!("events.device.{number:06}")), number);
    }
    table
}

#[test]
fn a_subject_costs_at_most_eighty_bytes() {
    let mut table = SubjectTable::new([3, 4]);
    let mut worst: f64 = 0.0;
    for number in 0..200_000u32 {
        table.intern(&format!("events.device.{number:06}"));
        if number >= 10_000 && number % 97 == 0 {
            worst = worst.max(table.memory_bytes() as f64 / f64::from(number + 1));
        }
    }
    assert!(worst <= 80.0, "{worst}");
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = encoded(&filled(40));
    for place in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1 << (place % 8);
        assert!(SubjectTable::decode(&mut bytes.as_slice()).is_err(), "byte {place}");
        assert!(SubjectTable::decode(&mut &bytes[..place]).is_err(), "cut at {place}");
    }
}

#[test]
fn patterns_find_their_subjects() {
    let mut table = SubjectTable::new([5, 6]);
    for subject in ["a.b", "a.c", "a.b.c", "b"] {
        table.intern(subject);
    }
    let found = |pattern| {
        let mut found: Vec<&str> = table.matching(&Pattern::parse(pattern).unwrap()).map(|id| table.text(id)).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(found("a.*"), ["a.b", "a.c"]);
    assert_eq!(found("a.b"), ["a.b"]);
    assert_eq!(found("a.x"), [""; 0]);
    assert_eq!(found(">"), ["a.b", "a.b.c", "a.c", "b"]);
}

#[test]
fn texts_of_released_subjects_are_reclaimed() {
    let mut table = filled(20_000);
    let before = table.memory_bytes();
    for round in 0..20u32 {
        for number in 0..10_000u32 {
            let old =
                if round == 0 { format!("events.device.{number:06}") } else { format!("r{}.d.{number:06}", round - 1) };
            table.release(table.find(&old).unwrap());
            table.intern(&format!("r{round}.d.{number:06}"));
        }
    }
    assert_eq!(table.len(), 20_000);
    assert_eq!(table.ids(), 20_000);
    assert!(table.memory_bytes() < before * 3 / 2, "{} then {}", before, table.memory_bytes());
}

/// Prints what it measures; asserts only that all is there.
#[test]
fn a_large_table_comes_back() {
    let table = filled(200_000);
    let bytes = encoded(&table);
    let start = Instant::now();
    let again = SubjectTable::decode(&mut bytes.as_slice()).unwrap();
    println!("{} subjects, {} bytes, decoded in {:?}", again.len(), bytes.len(), start.elapsed());
    for number in 0..200_000u32 {
        assert_eq!(again.find(&format!("events.device.{number:06}")), Some(number));
    }
}

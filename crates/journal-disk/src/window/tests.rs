use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const KEY: [u64; 2] = [7, 8];

fn at(millis: u64) -> Moment {
    Moment::from_nanos(millis * NANOS_PER_MILLI)
}

fn encoded(window: &Window) -> Vec<u8> {
    let mut bytes = Vec::new();
    window.encode(&mut bytes).unwrap();
    bytes
}

fn reopened(window: &Window) -> Window {
    Window::decode(&mut encoded(window).as_slice()).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    /// An id is recorded so many milliseconds later.
    Insert(u16, u64),
    Back(u64),
    Expire,
    Reopen,
    Length(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![20 => 0u64..30, 1 => 0u64..3000, 1 => Just(u64::from(u32::MAX) + 5)];
    let step = prop_oneof![
        20 => (0u16..900, wait).prop_map(|(id, wait)| Step::Insert(id, wait)),
        1 => (0u64..500).prop_map(Step::Back),
        2 => Just(Step::Expire),
        1 => Just(Step::Reopen),
        1 => prop_oneof![Just(0), 1u64..20_000].prop_map(Step::Length),
    ];
    proptest::collection::vec(step, 0..1500)
}

/// Every id that the model says is remembered is, with its position. Where neither the clock nor the
/// length ever went back, no other is.
fn check(steps: &[Step]) {
    let mut length = 10_000;
    let mut window = Window::new(KEY, Duration::from_millis(length));
    let mut model: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
    let (mut now, mut seq, mut exact) = (1_000_000u64, 0u64, true);
    let mut taken = (window.clone(), encoded(&window));
    for step in steps {
        match step {
            Step::Insert(id, wait) => {
                now += wait;
                seq += 1 + if *wait == 29 { u64::from(u32::MAX) } else { 0 };
                let hash = window.hash(&id.to_le_bytes());
                if window.get(&hash, at(now)).is_none() {
                    window.insert(hash, seq, at(now));
                    if length > 0 {
                        model.insert(*id, (seq, now));
                    }
                }
            }
            Step::Back(by) => {
                now -= by;
                exact = false;
            }
            Step::Expire => while window.expire(at(now)) {},
            Step::Reopen => {
                // What was taken down earlier stays as it was.
                assert_eq!(encoded(&taken.0), taken.1);
                taken = (window.clone(), encoded(&window));
                window = if seq.is_multiple_of(2) { reopened(&window) } else { window };
            }
            Step::Length(new) => {
                length = *new;
                exact = false;
                window.set_window(Duration::from_millis(length));
                model.clear();
                window = Window::new(KEY, Duration::from_millis(length));
            }
        }
        model.retain(|_, (_, time)| now < *time + length);
    }
    assert_eq!(encoded(&taken.0), taken.1);
    for id in 0..900u16 {
        let found = window.get(&window.hash(&id.to_le_bytes()), at(now));
        match model.get(&id) {
            Some((seq, _)) => assert_eq!(found, Some(*seq)),
            None => assert!(found.is_none() || !exact, "{id} is still remembered"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn agrees_with_a_map(steps in steps()) {
        check(&steps);
    }

    #[test]
    fn strange_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(Window::decode(&mut bytes.as_slice()).is_err());
    }
}

#[test]
fn an_id_is_remembered_to_the_end_of_its_window_and_no_longer() {
    let mut window = Window::new(KEY, Duration::from_millis(100));
    let hash = window.hash(b"id");
    window.insert(hash, 5, at(1000));
    assert_eq!(window.get(&hash, Moment::from_nanos(1_099_999_999)), Some(5));
    assert_eq!(window.get(&hash, at(1100)), None);
    window.insert(hash, 6, at(1100));
    assert_eq!(window.get(&hash, at(1199)), Some(6));
    assert!(!window.expire(at(1200)));
    assert!(window.is_empty());
}

#[test]
fn a_window_of_no_length_remembers_nothing() {
    let mut window = Window::new(KEY, Duration::ZERO);
    let hash = window.hash(b"id");
    window.insert(hash, 5, at(1000));
    assert_eq!(window.get(&hash, at(1000)), None);
    assert!(window.is_empty());
}

#[test]
fn a_longer_window_holds_longer_what_is_still_remembered() {
    let mut window = Window::new(KEY, Duration::from_millis(100));
    let hash = window.hash(b"id");
    window.insert(hash, 5, at(1000));
    window.set_window(Duration::from_millis(1000));
    assert_eq!(window.get(&hash, at(1999)), Some(5));
}

#[test]
fn an_id_costs_at_most_forty_bytes() {
    let mut window = Window::new(KEY, Duration::from_secs(120));
    let mut worst: f64 = 0.0;
    for number in 0..300_000u32 {
        window.insert(window.hash(&number.to_le_bytes()), u64::from(number), at(u64::from(number / 1000)));
        if number >= 10_000 && number % 97 == 0 {
            worst = worst.max(window.memory_bytes() as f64 / f64::from(number + 1));
        }
    }
    assert!(worst <= 40.0, "{worst}");
    let again = reopened(&window);
    assert_eq!(again.memory_bytes() / 300_000, window.memory_bytes() / 300_000);
    for number in 0..300_000u32 {
        assert_eq!(again.get(&again.hash(&number.to_le_bytes()), at(300)), Some(u64::from(number)));
    }
}

#[test]
fn what_is_forgotten_gives_its_memory_back() {
    let mut window = Window::new(KEY, Duration::from_millis(50));
    for number in 0..100_000u32 {
        window.insert(window.hash(&number.to_le_bytes()), 1, at(1));
    }
    let hash = window.hash(b"last");
    window.insert(hash, 2, at(10));
    let mut steps = 1;
    while window.expire(at(55)) {
        steps += 1;
    }
    assert!(steps >= 100_000 / EXPIRE_STEP);
    assert_eq!((window.len(), window.get(&hash, at(55))), (1, Some(2)));
    assert!(window.memory_bytes() < 64 * 1024, "{}", window.memory_bytes());
}

#[test]
fn every_flipped_bit_is_found() {
    let mut window = Window::new(KEY, Duration::from_secs(1));
    for number in 0..40u32 {
        window.insert(window.hash(&number.to_le_bytes()), u64::from(number), at(1));
    }
    let mut bytes = Vec::new();
    window.encode(&mut bytes).unwrap();
    for place in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1 << (place % 8);
        assert!(Window::decode(&mut bytes.as_slice()).is_err(), "byte {place}");
        assert!(Window::decode(&mut &bytes[..place]).is_err(), "cut at {place}");
    }
}

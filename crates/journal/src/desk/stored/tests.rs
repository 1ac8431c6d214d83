//! What is written comes back; what was not written is refused.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

fn moment() -> impl Strategy<Value = Moment> {
    any::<u64>().prop_map(Moment::from_nanos)
}

fn span() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn start() -> impl Strategy<Value = ConsumerStart> {
    prop_oneof![
        Just(ConsumerStart::All),
        Just(ConsumerStart::Last),
        Just(ConsumerStart::New),
        any::<u64>().prop_map(ConsumerStart::Seq),
        moment().prop_map(ConsumerStart::Time),
        Just(ConsumerStart::LastPerSubject),
    ]
}

fn config() -> impl Strategy<Value = ConsumerConfig> {
    let ack = prop_oneof![Just(AckPolicy::Explicit), Just(AckPolicy::All), Just(AckPolicy::None)];
    let filter = "[a-z*]{1,3}(\\.[a-z]{1,3}){0,2}".prop_filter_map("a pattern", |text| Pattern::parse(&text).ok());
    let words = ("[a-zA-Z0-9_-]{1,20}", "\\PC{0,20}", any::<bool>(), vec(filter, 0..4), start(), ack);
    let waits = (span(), vec(span(), 0..4), option::of(any::<u64>()), any::<bool>(), any::<u64>());
    let rest = (option::of(moment()), option::of(span()), btree_map("\\PC{0,5}", "\\PC{0,5}", 0..4));
    (words, waits, rest).prop_map(|(words, waits, (pause_until, inactive, metadata))| {
        let (name, description, durable, filters, start, ack) = words;
        let (ack_wait, backoff, deliver_max, dead_letter, ack_pending_max) = waits;
        ConsumerConfig {
            name,
            description,
            durable,
            filters,
            start,
            ack,
            ack_wait,
            backoff,
            deliver_max,
            dead_letter,
            ack_pending_max,
            pause_until,
            inactive,
            metadata,
        }
    })
}

fn position() -> impl Strategy<Value = Position> {
    any::<[u64; 6]>().prop_map(|[cursor, until, delivered, order, dead, floor]| Position {
        cursor,
        until,
        delivered,
        order,
        dead,
        floor,
    })
}

fn flights() -> impl Strategy<Value = Vec<SavedFlight>> {
    let place = prop_oneof![moment().prop_map(SavedPlace::Out), "\\PC{0,20}".prop_map(SavedPlace::Dying)];
    let flight = (any::<u64>(), moment(), moment(), place);
    btree_map(any::<u64>(), flight, 0..6).prop_map(|flights| {
        let saved = flights.into_iter();
        saved.map(|(seq, (attempt, first, last, place))| SavedFlight { seq, attempt, first, last, place }).collect()
    })
}

fn seqs() -> impl Strategy<Value = Vec<u64>> {
    btree_set(any::<u64>(), 0..6).prop_map(|seqs| seqs.into_iter().collect())
}

fn entry() -> impl Strategy<Value = Entry> {
    let name = || "\\PC{0,20}";
    prop_oneof![
        (name(), any::<[u64; 2]>(), moment(), config(), position(), seqs(), flights()).prop_map(
            |(stream, [tag, origin], created, config, position, firsts, flights)| Entry::Whole {
                stream,
                tag,
                created,
                config,
                position,
                origin,
                firsts,
                flights
            }
        ),
        (name(), name(), any::<u64>(), position(), flights(), seqs()).prop_map(
            |(stream, name, tag, position, flights, landed)| Entry::Change {
                stream,
                name,
                tag,
                position,
                flights,
                landed
            }
        ),
        (name(), name(), any::<u64>()).prop_map(|(stream, name, tag)| Entry::Gone { stream, name, tag }),
    ]
}

proptest! {
    #[test]
    fn a_change_comes_back(entries in vec(entry(), 0..5)) {
        prop_assert_eq!(decode(&encode(&entries)), Ok(entries));
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes: Vec<u8>, kind in 0..5_u8) {
        let _ = decode(&bytes);
        let mut framed = Vec::from([VERSION, kind, u8::try_from(bytes.len().min(127)).unwrap()]);
        framed.extend(bytes);
        let _ = decode(&framed);
    }

    #[test]
    fn a_change_that_is_cut_is_refused(entry in entry(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&[entry]);
        let cut = cut.index(bytes.len() - 1) + 1;
        if cut > 1 {
            prop_assert!(decode(bytes.get(..cut).unwrap()).is_err());
        }
    }
}

/// Bytes of version 1, as written when it was new: what a node saved then is read for ever.
#[test]
fn version_1_is_read() {
    let bytes =
        [1, 2, 20, 1, b'S', 1, b'c', 5, 9, 0, 8, 8, 0, 6, 1, 7, 2, 10, 4, 0, 6, 1, 8, 3, 5, 1, b'S', 1, b'd', 5];
    let position = Position { cursor: 9, until: 0, delivered: 8, order: 8, dead: 0, floor: 6 };
    let (first, last, due) = (Moment::from_nanos(10), Moment::from_nanos(12), Moment::from_nanos(15));
    let flight = SavedFlight { seq: 7, attempt: 2, first, last, place: SavedPlace::Out(due) };
    let (stream, name) = (String::from("S"), String::from("c"));
    let change = Entry::Change { stream, name, tag: 5, position, flights: Vec::from([flight]), landed: Vec::from([8]) };
    let gone = Entry::Gone { stream: String::from("S"), name: String::from("d"), tag: 5 };
    let entries = [change, gone];
    assert_eq!(encode(&entries), bytes);
    assert_eq!(decode(&bytes).unwrap(), entries);
    assert_eq!(decode(&[2]), Err(Corrupt("version")));
}
